"""Who was wronged: double charges, wrong fees and stuck money of a time, found in one market's journal.

What each rule goes by, and how it may be mistaken, stands with it and in docs/make-good.md. Nothing
is written here, and nobody's name or number is told: an order's id, its amount, a keyed hash.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import msgspec

from umoja.clock import Clock, from_micros, to_micros
from umoja.ledger.entries import Row
from umoja.ledger.ledger import Ledger
from umoja.markets.market import Market
from umoja.parties.directory import Directory
from umoja.parties.party import SYSTEM, Party, Role
from umoja.payments.accounts import Purse
from umoja.payments.catalogue import PRODUCTS
from umoja.payments.lifecycle import HELD_FOR, Step
from umoja.payments.order import Decline, Order, State, TaxLine
from umoja.payments.pricing import Item, card_for, price
from umoja.signals import FindWrongs, Wrong, Wrongs

LINES_MAX = 500
"""Wrongs of one answer; the next one goes on behind them."""

ROWS_MAX = 200_000
"""Journal lines looked at for one answer."""

TWIN_WITHIN = timedelta(minutes=10)
"""The same payment again within this time may have been meant once."""

LATE = timedelta(seconds=10)
"""An answer that took this long counts as late: most phones have given up on it by then."""

NOTED = timedelta(seconds=10)
"""Deliveries are written down some seconds after they were told."""

STUCK_AFTER = timedelta(hours=1)
LAPSED_BY = timedelta(minutes=5)
"""A reversal that nobody let go so long after its time is stuck at the receiver."""

TWINS_MAX = 200_000  # payments remembered while their twin is looked for
STEP = 500

_MICROSECOND = timedelta(microseconds=1)
_TWIN_WITHIN = TWIN_WITHIN // _MICROSECOND
_LATE = LATE // _MICROSECOND
_NOTED = NOTED // _MICROSECOND
_SECOND = 1_000_000
_HOUR = timedelta(hours=1) // _MICROSECOND
_BOOKED = Step.BOOKED.value

_decode = msgspec.msgpack.Decoder(Order).decode

Find = Callable[[str], Order | None]

ToldAt = Callable[[int], int | None]
"""Returns when the payer's receipt of a journal line was on her phone; 0: it is not; None: unknown."""

CASHLESS = frozenset(
    code
    for code, product in PRODUCTS.items()
    if Role.CUSTOMER in product.payers and product.payee_purse is not Purse.FLOAT
)
"""Products in which no cash changes hands: of these the journal knows the whole story."""


@dataclass(frozen=True, slots=True)
class _Twin:
    order: str
    booked_at: int
    sequence: int


_TwinKey = tuple[int, int, str, int, str, str]


class Wronged:
    """Reads one market's journal. Calls take as long as reading does: not in an event loop."""

    def __init__(
        self,
        *,
        market: Market,
        ledger: Ledger,
        directory: Directory,
        find: Find,
        waiting: Callable[[], list[Order]],
        mark: Callable[[int], int],
        clock: Clock,
        told_at: ToldAt = lambda _: None,
        pause: Callable[[], None] = lambda: None,
    ) -> None:
        """Take what reads the market: `find` returns an order as it stands now.

        `pause` is called after each few hundred lines, for payments to go before.
        """
        self._pause = pause
        self._told_at = told_at
        self._market = market
        self._ledger = ledger
        self._directory = directory
        self._find = find
        self._waiting = waiting
        self._mark = mark
        self._clock = clock

    def find(self, asked: FindWrongs) -> Wrongs:
        """Return who was wronged. Raise Unavailable where the journal cannot be read."""
        lines: list[Wrong] = []
        if not asked.after:
            lines += self._stuck(asked)
        first = asked.after or line_before(self._ledger, asked.since)
        row = self._ledger.at_sequence(first) if asked.after else None
        # The first of two payments may lie before what is looked at.
        after = line_before(self._ledger, (row.at if row else asked.since) - _TWIN_WITHIN)
        twins: OrderedDict[_TwinKey, _Twin] = OrderedDict()
        looked_at = unjudged = more = 0
        for row in self._rows(after):
            if row.at > asked.until:
                break
            is_new = row.sequence > first
            if is_new and (len(lines) >= LINES_MAX or looked_at >= ROWS_MAX):
                more = max(row.sequence - 1, 1)  # a journal begins with float, which wrongs nobody
                break
            looked_at += is_new
            order = _decode(row.story) if row.story else None
            if order is None or order.step != _BOOKED or order.product not in PRODUCTS:
                continue
            if asked.products and order.product not in asked.products:
                continue
            before = _twin_of(order, row.sequence, twins)
            if not is_new:
                continue
            if before is not None:
                lines += self._double(order, before)
            fees = self._fees(order)
            if fees is None:
                unjudged += 1
            else:
                lines += fees
        return Wrongs(lines=lines, looked_at=looked_at, unjudged=unjudged, more=more)

    def _rows(self, after: int) -> Iterator[Row]:
        """Yield the lines behind a place, some hundreds at a time."""
        while rows := list(self._ledger.rows(after=after, limit=STEP)):
            yield from rows
            after = rows[-1].sequence
            self._pause()

    # Charged twice

    def _double(self, order: Order, before: _Twin) -> list[Wrong]:
        """Return the order where it repeats another one that was done, and is done itself."""
        if not 0 <= order.booked_at - before.booked_at <= _TWIN_WITHIN:
            return []
        first, second = self._find(before.order), self._find(order.id)
        both = {each.state if each else None for each in (first, second)}
        if first is None or second is None or both != {State.COMPLETED}:
            return []  # one of them failed, went back, or is not at its end: see stuck money
        apart_s = (order.booked_at - before.booked_at) // _SECOND
        was_late = first.done_at > max(first.booked_at + _LATE, order.booked_at)
        told_at = None if was_late else self._told_at(before.sequence)
        was_untold = told_at is not None and (not told_at or told_at > order.booked_at + _NOTED)
        is_reversible = PRODUCTS[order.product].is_reversible
        why = f"the same payment again after {apart_s} s"
        if was_late:
            why += ", while the first had no answer yet"
        elif was_untold:
            why += ", before the receipt of the first was on the payer's phone"
        else:
            why += "; the first had its answer: the payer may have meant both"
        if not is_reversible:
            why += "; what was bought may have been delivered twice"
        was_kept = second.step == Step.REVERSAL_REFUSED.value
        if was_kept:
            why += "; the receiver did not give it back"
        return [
            Wrong(
                order=order.id,
                kind="double_charge",
                act="reverse" if is_reversible and not was_kept else "compensate",
                product=order.product,
                amount_minor=order.total,
                currency=order.currency,
                at=order.booked_at,
                who=f"{self._mark(order.payer):x}",
                is_sure=(was_late or was_untold) and is_reversible,
                why=why,
            )
        ]

    # Charged a wrong fee

    def _fees(self, order: Order) -> list[Wrong] | None:
        """Return what was charged beyond the tariff of the order's day; None: it cannot be judged."""
        product = PRODUCTS[order.product]
        has_customer = Role.CUSTOMER in product.payers | product.payees
        if product.is_gift or not has_customer:
            return []
        payer, payee = self._party(order.payer), self._party(order.payee)
        if payer is None or payee is None:
            return None
        business = next((each for each in (payee, payer) if each.role is Role.ORGANISATION), None)
        item = Item(
            service=product.service,
            currency=order.currency,
            minor=order.amount,
            day=self._day(order.asked_at),
            plan=(business or payer).plan,
            category=(business or payer).category,
        )
        card = card_for(self._market, item)
        due = price(self._market, item)
        if not card.is_plain or isinstance(due, Decline):
            return None
        charged = order.price
        over = charged.charge - due.charge
        payee_over = (charged.payee_fee + _on_top(charged.payee_taxes)) - (
            due.payee_fee + _on_top(due.payee_taxes)
        )
        if over <= 0 and payee_over <= 0:
            return []
        standing = self._find(order.id)
        if standing is None or standing.state is not State.COMPLETED:
            return []  # what came back took its fee with it
        doubt = "; the plan of the business may have been another one then" if business else ""
        found = []
        for kind, party, more, paid in (
            ("wrong_fee", payer, over, charged.charge),
            ("business_fee", payee, payee_over, charged.payee_fee + _on_top(charged.payee_taxes)),
        ):
            if more > 0 and party.role in {Role.CUSTOMER, Role.ORGANISATION}:
                told = self._market.written_minor
                found.append(
                    Wrong(
                        order=order.id,
                        kind=kind,
                        act="compensate",
                        product=order.product,
                        amount_minor=more,
                        currency=order.currency,
                        at=order.booked_at,
                        who=f"{self._mark(party.id):x}",
                        is_sure=business is None,
                        why=f"charged {told(paid, order.currency)}, the tariff of that day says"
                        f" {told(paid - more, order.currency)}{doubt}",
                    )
                )
        return found

    def _party(self, party: int) -> Party | None:
        if party == SYSTEM:
            return Party(id=SYSTEM, role=Role.OPERATOR, name="")
        return self._directory.get(party)

    def _day(self, micros: int) -> date:
        return self._market.local(from_micros(micros)).date()

    # Stuck

    def _stuck(self, asked: FindWrongs) -> list[Wrong]:
        """Return money that has been held too long, the oldest first, whatever it waits for."""
        now = to_micros(self._clock.now())
        found = []
        for order in sorted(self._waiting(), key=lambda each: each.booked_at):
            if asked.products and order.product not in asked.products:
                continue
            if not asked.since - _TWIN_WITHIN <= order.booked_at <= asked.until:
                continue
            if order.state is State.HELD and now - order.booked_at >= STUCK_AFTER // _MICROSECOND:
                hours = (now - order.booked_at) // _HOUR
                is_due = is_past_due(order, now)
                why = f"held for {hours} h without the partner's word"
                if not is_due:
                    why += "; he may still answer: until he does, or a day is over, it stays held"
                found.append(self._held(order, order.payer, is_due=is_due, why=why))
            elif order.state is State.REVERSAL_ASKED and is_lapsed(order, now):
                why = "asked back, and not let go when the time to answer was over"
                found.append(self._held(order, order.payee, is_due=True, why=why))
        return found[:LINES_MAX]

    def _held(self, order: Order, who: int, *, is_due: bool, why: str) -> Wrong:
        return Wrong(
            order=order.id,
            kind="stuck",
            act="settle",
            product=order.product,
            amount_minor=order.total if order.state is State.HELD else order.amount,
            currency=order.currency,
            at=order.booked_at,
            who=f"{self._mark(who):x}",
            is_sure=is_due,
            why=why,
        )


def _twin_of(order: Order, sequence: int, twins: OrderedDict[_TwinKey, _Twin]) -> _Twin | None:
    """Return the same payment before this one, and remember this one for the next."""
    if order.product not in CASHLESS:
        return None
    key = (
        order.payer,
        order.payee,
        order.product,
        order.amount,
        order.currency,
        order.reference,
    )
    before = twins.pop(key, None)
    twins[key] = _Twin(order.id, order.booked_at, sequence)
    if len(twins) > TWINS_MAX:
        twins.popitem(last=False)
    return before


def is_past_due(order: Order, now: int) -> bool:
    """Tell whether an order was held for longer than any partner may take."""
    return order.state is State.HELD and now - order.booked_at >= HELD_FOR // _MICROSECOND


def is_lapsed(order: Order, now: int) -> bool:
    return bool(order.until) and now >= order.until + LAPSED_BY // _MICROSECOND


def line_before(ledger: Ledger, micros: int) -> int:
    """Return the last journal line before a moment, or 0: lines are written in the order of time."""
    low, high = 0, ledger.head
    while low < high:
        middle = (low + high + 1) // 2
        row = ledger.at_sequence(middle)
        if row is None or row.at < micros:
            low = middle
        else:
            high = middle - 1
    return low


def _on_top(taxes: tuple[TaxLine, ...]) -> int:
    return sum(line.minor for line in taxes if not line.is_included)
