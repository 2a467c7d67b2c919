"""Counters of one market: every signal is counted here, in memory that does not grow.

`order` and `message` are on the way of a payment: they take a microsecond or two, wait for nothing
but another signal of the same market, and touch no file.
"""

import threading
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from operator import add
from typing import Final

from umoja.clock import from_micros
from umoja.markets.market import Market
from umoja.ops.board import PIN_REASONS
from umoja.ops.finding import PERIOD_S, Due
from umoja.ops.impact import Harm
from umoja.ops.rings import Ring
from umoja.signals import (
    LATENCY_BUCKETS,
    RECEIPT_DUE_S,
    CallbacksSeen,
    MessageSeen,
    OrderSeen,
    Outcome,
    latency_bucket,
)

UNKNOWN: Final = "unknown"

# Columns of an order: how it ended at once, how one ended that was told before as pending, and
# where its latency lies.
DONE, REFUSED, FAILED, PENDING, UNCLEAR, LATER_DONE, LATER_REFUSED, LATER_FAILED = range(8)
LATENCY = 8
UNTIMED = LATENCY + LATENCY_BUCKETS
ORDER_WIDTH = UNTIMED + 1
ATTEMPTS = (DONE, REFUSED, FAILED, PENDING, UNCLEAR)

# Columns of a message, in the period in which a route took it (or refused it).
SENT, IN_TIME, LATE, LOST = range(4)
MESSAGE_WIDTH = 4

# Columns of callbacks, in the period in which they were told.
TRIED, NOT_TAKEN, TWICE = range(3)
CALLBACK_WIDTH = 3
ROUTES_MAX = 16  # a market; what is beyond is counted as "other"
PARTNERS_MAX = 200  # a market; what is beyond is counted as "other"

# A minute has the columns of both, and whether the market was heard.
MINUTE_MESSAGE = ORDER_WIDTH
HEARD = MINUTE_MESSAGE + MESSAGE_WIDTH
MINUTE_WIDTH = HEARD + 1

PERIODS = 64  # five minutes and a little
MINUTES = 24 * 60 + 2
REASONS_MAX = 48  # a market; what is beyond is counted as "other"
REASON_LENGTH_MAX = 40
DUE_AFTER_S = RECEIPT_DUE_S

_COMPLETED = Outcome.COMPLETED
_REFUSED = Outcome.REFUSED
_FAILED = Outcome.FAILED
_PENDING = Outcome.PENDING


class Cell:
    """What one product did in one channel: the last five minutes."""

    __slots__ = ("reasons", "ring")

    def __init__(self) -> None:
        self.ring = Ring(period_s=PERIOD_S, slots=PERIODS, width=ORDER_WIDTH)
        self.reasons: Ring | None = None


class Counters:
    """One market's counters. Any thread may tell it something, and any may read."""

    def __init__(
        self, market: Market, *, products: frozenset[str], channels: frozenset[str]
    ) -> None:
        self.market = market
        self.cells: dict[tuple[str, str], Cell] = {}
        self.messages: dict[str, Ring] = {}  # by SMS route
        self.callbacks: dict[tuple[str, str], Ring] = {}
        self.minutes = Ring(period_s=60, slots=MINUTES, width=MINUTE_WIDTH)
        self.reasons: dict[str, int] = {}
        self.lost_receipts = Harm()
        self.failed_payments = Harm()
        self.wrong_pins = Harm()
        self.payments_today = 0
        self.moved_today: dict[str, int] = {currency.code: 0 for currency in market.currencies}
        self.day = date.min
        self._day_begins_s = self._day_ends_s = 0
        self._products = products
        self._channels = channels
        self._lock = threading.Lock()

    # Telling

    def order(self, seen: OrderSeen) -> None:
        """Count one order, or many that are told as one."""
        second = int(seen.at.timestamp())
        outcome = seen.outcome
        if outcome is _COMPLETED:
            column = DONE
        elif outcome is _REFUSED:
            column = REFUSED
        elif outcome is _FAILED:
            column = FAILED
        else:
            column = PENDING if outcome is _PENDING else UNCLEAR
        if seen.was_pending:
            # Its attempt and the time it took to be answered were counted when it began to wait.
            column = column + LATER_DONE if column <= FAILED else column
            timed = UNTIMED
        elif seen.latency_ms > 0:
            timed = LATENCY + latency_bucket(seen.latency_ms)
        else:
            timed = UNTIMED
        with self._lock:
            cell = self.cells.get((seen.product, seen.channel)) or self._cell(seen)
            cell.ring.add_pair(second, column, timed, seen.count)
            self.minutes.add_pair(second, column, timed, seen.count)
            if outcome is _COMPLETED:
                if second >= self._day_ends_s:
                    self._turn(second)
                if second >= self._day_begins_s:
                    self.payments_today += seen.count
                    if seen.currency in self.moved_today:
                        self.moved_today[seen.currency] += seen.value_minor
                return
            if seen.reason:
                self._note(cell, second, seen.reason)
            if outcome is _FAILED:
                harm = self.failed_payments
            elif outcome is _REFUSED and seen.reason in PIN_REASONS:
                harm = self.wrong_pins
            else:
                return
            harm.add(
                second,
                product=self._product(seen.product),
                minor=seen.value_minor,
                currency=self._currency(seen.currency),
                mark=seen.payer_mark,
                order=0,
            )

    def message(self, seen: MessageSeen) -> None:
        """Count one message in the period in which a route took it."""
        now_s = seen.at.timestamp()
        state = seen.state
        if state == "sent":
            column, second = SENT, int(now_s)
        elif state == "delivered":
            column = IN_TIME if seen.waited_s <= DUE_AFTER_S else LATE
            second = int(now_s - seen.waited_s)
        else:
            column, second = LOST, int(now_s - seen.waited_s)
        with self._lock:
            self._route(seen.route).add(second, column)
            self.minutes.add(second, MINUTE_MESSAGE + column)
            if column in {LOST, LATE}:  # a payment whose receipt is late and then lost counts once
                self.lost_receipts.add(
                    int(now_s),
                    product=self._product(seen.product),
                    minor=seen.value_minor,
                    currency=self._currency(seen.currency),
                    mark=seen.payer_mark,
                    order=seen.order_mark,
                )

    def messages_many(
        self, second: int, route: str, *, sent: int = 0, in_time: int = 0, lost: int = 0
    ) -> None:
        """Count many messages of one period at once; those that are lost without what they told of."""
        with self._lock:
            ring = self._route(route)
            for column, count in ((SENT, sent), (IN_TIME, in_time), (LOST, lost)):
                if count:
                    ring.add(second, column, count)
                    self.minutes.add(second, MINUTE_MESSAGE + column, count)

    def called(self, second: int, seen: CallbacksSeen) -> None:
        """Count callbacks of a partner."""
        key = (seen.channel, seen.partner[:REASON_LENGTH_MAX])
        with self._lock:
            if key not in self.callbacks and len(self.callbacks) >= PARTNERS_MAX:
                key = (seen.channel, "other")
            ring = self.callbacks.get(key)
            if ring is None:
                ring = self.callbacks[key] = Ring(
                    period_s=PERIOD_S, slots=PERIODS, width=CALLBACK_WIDTH
                )
            for column, count in (
                (TRIED, seen.tried),
                (NOT_TAKEN, seen.failed),
                (TWICE, seen.doubled),
            ):
                if count:
                    ring.add(second, column, count)

    def heard(self, second: int) -> None:
        """Note that the market's desk gave a sign of life."""
        with self._lock:
            self.minutes.add(second, HEARD)

    def mend(self, second: int) -> bool:
        """Begin again where the clock was set back; tell whether that was so."""
        rings = [self.minutes, *list(self.messages.values()), *list(self.callbacks.values())]
        rings += [cell.ring for cell in list(self.cells.values())]
        if all(ring.newest_s <= second + 2 * ring.period_s for ring in rings):
            return False
        with self._lock:
            for ring in rings:
                ring.forget_all()
            for cell in self.cells.values():
                cell.reasons = None
            self.lost_receipts.forget_all()
            self.failed_payments.forget_all()
            self.wrong_pins.forget_all()
        return True

    # Reading

    def row(self, *, since: int, until: int) -> list[int]:
        """Return the sums of all order columns over all products and channels."""
        sums = [0] * ORDER_WIDTH
        for cell in list(self.cells.values()):
            row = cell.ring.row(since=since, until=until)
            sums = [one + other for one, other in zip(sums, row, strict=True)]
        return sums

    def reason_counts(self, cell: Cell, *, since: int, until: int) -> list[tuple[str, int]]:
        """Return the reasons of a cell that were given at all, the most frequent first."""
        if cell.reasons is None:
            return []
        row = cell.reasons.row(since=since, until=until)
        named = [*((name, row[place]) for name, place in list(self.reasons.items()))]
        named.append(("other", row[REASONS_MAX]))
        return sorted((each for each in named if each[1]), key=lambda each: (-each[1], each[0]))

    def message_row(self, *, since: int, until: int) -> list[int]:
        """Return the sums of all message columns over all routes."""
        sums = [0] * MESSAGE_WIDTH
        for ring in list(self.messages.values()):
            sums = list(map(add, sums, ring.row(since=since, until=until)))
        return sums

    def due(
        self, second: int, *, last: int = PERIODS
    ) -> tuple[tuple[Due, ...], dict[str, tuple[Due, ...]]]:
        """Return the periods of the last minutes whose messages should have arrived by now.

        Of the whole market, and the same ones of each route.
        """
        until = (second - DUE_AFTER_S) // PERIOD_S * PERIOD_S  # periods that ended before that
        since = max((second // PERIOD_S - PERIODS + 2) * PERIOD_S, until - last * PERIOD_S)
        periods = range(since, max(since, until), PERIOD_S)
        sums = [[0] * MESSAGE_WIDTH for _ in periods]
        by_route = {}
        for route, ring in list(self.messages.items()):
            rows = list(ring.rows(since=since, until=until))
            by_route[route] = tuple(map(_due, periods, rows))
            sums = [list(map(add, *both)) for both in zip(sums, rows, strict=True)]
        return tuple(map(_due, periods, sums)), by_route

    def today(self, second: int) -> tuple[date, int, dict[str, int]]:
        """Return the business day, its completed payments and the value they moved."""
        with self._lock:
            if second >= self._day_ends_s:
                self._turn(second)
            return self.day, self.payments_today, dict(self.moved_today)

    def go_on(self, second: int, *, day: date, payments: int, moved: dict[str, int]) -> None:
        """Take up what was counted of this day before a stop; of another day, nothing."""
        with self._lock:
            if second >= self._day_ends_s:
                self._turn(second)
            if day != self.day:
                return
            self.payments_today += payments
            for currency in self.moved_today:
                self.moved_today[currency] += moved.get(currency, 0)

    # Within the lock

    def _cell(self, seen: OrderSeen) -> Cell:
        key = (self._product(seen.product), self._channel(seen.channel))
        cell = self.cells.get(key)
        if cell is None:
            cell = self.cells[key] = Cell()
        return cell

    def _route(self, route: str) -> Ring:
        route = route[:REASON_LENGTH_MAX]
        if route not in self.messages and len(self.messages) >= ROUTES_MAX:
            route = "other"
        ring = self.messages.get(route)
        if ring is None:
            ring = Ring(period_s=PERIOD_S, slots=PERIODS, width=MESSAGE_WIDTH)
            self.messages[route] = ring
        return ring

    def _product(self, product: str) -> str:
        return product if product in self._products else UNKNOWN

    def _channel(self, channel: str) -> str:
        return channel if channel in self._channels else UNKNOWN

    def _currency(self, currency: str) -> str:
        return currency if currency in self.moved_today else ""

    def _note(self, cell: Cell, second: int, reason: str) -> None:
        reason = reason[:REASON_LENGTH_MAX]
        place = self.reasons.get(reason, REASONS_MAX)
        if place == REASONS_MAX and len(self.reasons) < REASONS_MAX:
            place = self.reasons[reason] = len(self.reasons)
        if cell.reasons is None:
            cell.reasons = Ring(period_s=PERIOD_S, slots=PERIODS, width=REASONS_MAX + 1)
        cell.reasons.add(second, place)

    def _turn(self, second: int) -> None:
        """Begin the business day of this second, in the market's own zone."""
        zone = self.market.zone
        self.day = self.market.business_day(from_micros(second * 1_000_000))
        tomorrow = self.day + timedelta(days=1)
        self._day_begins_s = int(datetime.combine(self.day, time(0), zone).timestamp())
        self._day_ends_s = int(datetime.combine(tomorrow, time(0), zone).timestamp())
        self.payments_today = 0
        self.moved_today = dict.fromkeys(self.moved_today, 0)


def _due(began_s: int, row: Sequence[int]) -> Due:
    judged, missing = judged_of(row[SENT], row[IN_TIME], row[LOST])
    return Due(began_s=began_s, judged=judged, missing=missing)


def judged_of(sent: int, in_time: int, lost: int) -> tuple[int, int]:
    """Return how many messages of a period can be judged, and how many of them are missing.

    A lost one was sent before, or was refused and never sent: signals do not say which, so the
    greater of both counts is taken and none is counted twice.
    """
    missing = max(sent - in_time, lost, 0)
    return in_time + missing, missing
