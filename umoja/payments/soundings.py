"""Soundings: what a market's own books show of fees and float, looked at every few seconds.

No payment waits for it: fees are judged from the journal, behind the payments, and only so many of
them at a look; agents are looked at some hundreds at a time, once a minute.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from umoja.clock import Clock, from_micros
from umoja.faults import Fault
from umoja.markets.market import Market
from umoja.parties.directory import Directory
from umoja.parties.party import SYSTEM, Party, Role, Status
from umoja.payments.catalogue import PRODUCTS
from umoja.payments.lifecycle import Step
from umoja.payments.order import Decline, Order, TaxLine
from umoja.payments.pricing import Item, card_for, price
from umoja.signals import FeesSeen

ORDERS_MAX = 60
"""Payments whose fee is judged at one look. With more of them, the newest stand for all."""

AGENTS_MAX = 300
AGENTS_EVERY_S = 60

_BOOKED = Step.BOOKED.value

log = structlog.get_logger()


class Feed(Protocol):
    """Where orders are read after they were booked."""

    @property
    def head(self) -> int: ...

    def orders(self, *, after: int = 0, limit: int = 500) -> list[tuple[int, Order]]: ...


Free = Callable[[Sequence[tuple[Party, str]]], list[int | None]]
"""Returns what each party has free in a currency, in the purse that she pays from."""


class Soundings:
    """Looks into one market's books. Not for several threads."""

    def __init__(
        self, *, market: Market, feed: Feed, directory: Directory, free: Free, clock: Clock
    ) -> None:
        """Begin at the journal's end: what was booked before is no news."""
        self._market = market
        self._feed = feed
        self._directory = directory
        self._free = free
        self._clock = clock
        self._currency = market.currencies[0].code
        self._looked = feed.head
        self._counted_s: float | None = None
        self._last_agent = 0
        self._agents = (0, 0)

    def fees(self) -> list[FeesSeen]:
        """Return what was charged since the last look, by product, beside what was due.

        Left out are products without a tariff, and prices that hang on what the payer had used
        before or that are not in the market's first currency.
        """
        head, first = self._feed.head, self._looked
        self._looked = head
        if head <= first:
            return []
        after = max(first, head - ORDERS_MAX)
        sums: dict[str, list[int]] = {}
        try:
            for _, order in self._feed.orders(after=after, limit=ORDERS_MAX):
                found = self._judged(order)
                if found is not None:
                    row = sums.setdefault(order.product, [0, 0, 0])
                    row[0] += 1
                    row[1] += found[0]
                    row[2] += found[1]
        except Fault as cause:
            log.warning("payments.soundings.unread", what="fees", cause=str(cause))
            return []
        whole, part = head - first, head - after
        return [
            FeesSeen(
                product=product,
                payments=payments * whole // part,
                fee_minor=fee * whole // part,
                due_minor=due * whole // part,
            )
            for product, (payments, fee, due) in sorted(sums.items())
        ]

    def agents(self) -> tuple[int, int]:
        """Return how many agents were looked at, and how many of them can serve a usual deposit.

        It looks once a minute, at other agents each time; between that it returns what it saw last.
        """
        now_s = self._clock.ticks_s()
        if self._counted_s is not None and now_s - self._counted_s < AGENTS_EVERY_S:
            return self._agents
        self._counted_s = now_s
        try:
            seen = self._next_agents()
        except Fault as cause:
            log.warning("payments.soundings.unread", what="agents", cause=str(cause))
            return self._agents
        self._last_agent = seen[-1].id if seen else 0
        working = [agent for agent in seen if agent.status is Status.ACTIVE]
        free = self._free([(agent, self._currency) for agent in working])
        usual = self._market.mean_value_minor
        self._agents = len(working), sum((minor or 0) >= usual for minor in free)
        return self._agents

    def _next_agents(self) -> list[Party]:
        """Return the next agents in a ring: behind the last one stands the first."""
        browse, after = self._directory.browse, self._last_agent
        seen = browse(after=after, limit=AGENTS_MAX, role=Role.AGENT.value)
        if after and len(seen) < AGENTS_MAX:
            more = browse(limit=AGENTS_MAX - len(seen), role=Role.AGENT.value)
            seen += [agent for agent in more if agent.id <= after]
        return seen

    def _judged(self, order: Order) -> tuple[int, int] | None:
        """Return what an order was charged and what was due, or None where nobody can say."""
        product = PRODUCTS.get(order.product)
        if product is None or order.step != _BOOKED or order.currency != self._currency:
            return None
        has_customer = Role.CUSTOMER in product.payers | product.payees
        payer, payee = self._party(order.payer), self._party(order.payee)
        if product.is_gift or not has_customer or payer is None or payee is None:
            return None
        business = next((each for each in (payee, payer) if each.role is Role.ORGANISATION), None)
        item = Item(
            service=product.service,
            currency=order.currency,
            minor=order.amount,
            day=self._market.local(from_micros(order.asked_at)).date(),
            plan=(business or payer).plan,
            category=(business or payer).category,
        )
        due = price(self._market, item)
        if isinstance(due, Decline) or not card_for(self._market, item).is_plain:
            return None
        paid = order.price
        return (
            paid.charge + paid.payee_fee + _on_top(paid.payee_taxes),
            due.charge + due.payee_fee + _on_top(due.payee_taxes),
        )

    def _party(self, party: int) -> Party | None:
        if party == SYSTEM:
            return Party(id=SYSTEM, role=Role.OPERATOR, name="")
        return self._directory.get(party)


def _on_top(taxes: tuple[TaxLine, ...]) -> int:
    return sum(line.minor for line in taxes if not line.is_included)
