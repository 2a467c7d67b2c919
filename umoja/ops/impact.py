"""Impact: the payments, value and customers that a trouble touched, counted as signals come."""

from collections import deque

import msgspec

from umoja.ops.distinct import Distinct

PERIOD_S = 5
PERIODS = 36  # three minutes: what is harmed before anybody notices is counted from there
ORDERS_MAX = 8192  # that are remembered, so that two messages of one payment count once
CURRENCIES_MAX = 8
PRODUCTS_MAX = 32


class _Kept(msgspec.Struct):
    payments: int
    value_minor: dict[str, int]
    products: list[str]
    customers: bytes


class Impact:
    """What was harmed so far. Values are minor units by currency; customers are counted by mark."""

    __slots__ = ("marks", "payments", "products", "value_minor")

    def __init__(self) -> None:
        self.payments = 0
        self.value_minor: dict[str, int] = {}
        self.products: set[str] = set()
        self.marks = Distinct()

    @property
    def customers(self) -> int:
        return self.marks.count()

    def add(self, *, product: str, minor: int, currency: str, mark: int) -> None:
        """Count one payment."""
        self.payments += 1
        if currency in self.value_minor or len(self.value_minor) < CURRENCIES_MAX:
            self.value_minor[currency] = self.value_minor.get(currency, 0) + minor
        if len(self.products) < PRODUCTS_MAX:
            self.products.add(product)
        self.marks.add(mark)

    def merge(self, other: "Impact") -> None:
        """Take in what another has counted; the other stays as it is."""
        self.payments += other.payments
        for currency, minor in other.value_minor.items():
            self.value_minor[currency] = self.value_minor.get(currency, 0) + minor
        self.products |= other.products
        self.marks.merge(other.marks)

    def with_more(self, other: "Impact | None") -> "Impact":
        """Return a new impact of both."""
        made = Impact()
        made.merge(self)
        if other is not None:
            made.merge(other)
        return made

    def kept(self) -> bytes:
        """Return all of it as bytes, for `from_kept`; a few kilobytes at most."""
        return msgspec.msgpack.encode(
            _Kept(self.payments, self.value_minor, sorted(self.products), self.marks.kept())
        )

    @classmethod
    def from_kept(cls, kept: bytes) -> "Impact":
        """Return what goes on from `kept`. Raise ValueError where these bytes are none."""
        found = msgspec.msgpack.decode(kept, type=_Kept)
        made = cls()
        made.payments = found.payments
        made.value_minor = found.value_minor
        made.products = set(found.products)
        made.marks = Distinct.from_kept(found.customers)
        return made


class Harm:
    """The impact of one kind of trouble in one market, by five seconds, for the last three minutes.

    One thread writes at a time. Periods only move forward: what comes late counts as now, so that
    whoever has taken a period up misses nothing.
    """

    __slots__ = ("_newest", "_orders", "_periods", "_remembered")

    def __init__(self) -> None:
        self._periods: dict[int, Impact] = {}
        self._newest = 0
        self._orders: set[int] = set()
        self._remembered: deque[int] = deque()

    def add(
        self, second: int, *, product: str, minor: int, currency: str, mark: int, order: int
    ) -> None:
        """Count a payment once, whatever number of its messages are told; `order` 0 is not known."""
        if order:
            if order in self._orders:
                return
            if len(self._remembered) >= ORDERS_MAX:
                self._orders.discard(self._remembered.popleft())
            self._orders.add(order)
            self._remembered.append(order)
        impact = self._impact(second)
        impact.add(product=product, minor=minor, currency=currency, mark=mark)

    def add_many(
        self,
        second: int,
        *,
        payments: int,
        minor: int,
        currency: str,
        product: str = "",
        marks: Distinct | None = None,
    ) -> None:
        """Count many payments at once, and the customers who stand behind them where they are known."""
        impact = self._impact(second)
        impact.payments += payments
        if currency in impact.value_minor or len(impact.value_minor) < CURRENCIES_MAX:
            impact.value_minor[currency] = impact.value_minor.get(currency, 0) + minor
        if product and len(impact.products) < PRODUCTS_MAX:
            impact.products.add(product)
        if marks is not None:
            impact.marks.merge(marks)

    def between(self, first: int, last: int) -> Impact:
        """Return the impact of the periods first..last, both included, as far as remembered."""
        made = Impact()
        for period, impact in sorted(self._periods.items()):
            if first <= period <= last:
                made.merge(impact)
        return made

    def _impact(self, second: int) -> Impact:
        period = max(second // PERIOD_S, self._newest)
        impact = self._periods.get(period)
        if impact is None:
            self._newest = period
            impact = self._periods[period] = Impact()
            for old in [each for each in self._periods if each <= period - PERIODS]:
                del self._periods[old]
        return impact

    def forget_all(self) -> None:
        """Begin again: for a clock that was set back."""
        self._periods.clear()
        self._newest = 0
