"""The clerk of one market: decides one request after the other, and remembers what they became.

What he remembers (limits used, orders that wait) is a fold of the journal, like the ledger's state.
He reads no clock and no file: the desk gives him the moment and keeps what he decided.
"""

import hashlib
import hmac
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from typing import Any

import msgspec

from umoja.clock import from_micros, to_micros
from umoja.ids import receipt
from umoja.ledger.entries import Bundle, Kind, Transfer, Verdict
from umoja.ledger.ledger import Batch, Ledger
from umoja.markets.market import Market, Service
from umoja.parties.directory import Directory
from umoja.parties.party import SYSTEM, Party, Role
from umoja.payments.accounts import PARTY_SHIFT, Accounts, Purse
from umoja.payments.catalogue import PRODUCTS
from umoja.payments.decide import (
    OPERATOR,
    Facts,
    Known,
    counts_for_usage,
    decided,
    entry,
    order_of,
)
from umoja.payments.lifecycle import (
    AWAITING_FOR,
    COUNTS,
    REVERSAL_ANSWER_FOR,
    REVERSAL_WINDOW_H,
    UNCOUNTS,
    WAITING,
    Step,
    may_follow,
)
from umoja.payments.limits import Usage, added, counted, in_first_currency, taken_back
from umoja.payments.order import (
    Ask,
    Confirm,
    Consent,
    Decline,
    Lapse,
    Leg,
    Order,
    Price,
    Quote,
    Request,
    Reverse,
    Settle,
    State,
)
from umoja.payments.product import Form, Product, form_of, sides
from umoja.payments.usage import NO_USAGE, Counters, Packed
from umoja.switches import Switches

SIM_LOCK = timedelta(hours=24)
MARKS_MAX = 100_000
FORMS_MAX = 20_000
TOLD_EVERY = 10_000  # lines read at a start between two words of progress
_MICROSECOND = timedelta(microseconds=1)
_BOOKED = Step.BOOKED.value
_CHANGES_USAGE = COUNTS | UNCOUNTS
_SIM_LOCK = SIM_LOCK // _MICROSECOND
_POST = Kind.POST

encode_order = msgspec.msgpack.Encoder().encode
decode_order = msgspec.msgpack.Decoder(Order).decode

Undo = list[tuple[Callable[..., None], tuple[Any, ...]]]
"""What takes back what the clerk remembers, in the order of doing: see `take_back`."""


class Companion(msgspec.Struct, array_like=True):
    """What the clerk adds to a checkpoint: usage by party, and the orders that wait."""

    usage: Packed
    waiting: dict[str, Order]


Change = tuple[Usage, Usage | None]
"""What a payer has used before an order and with it, where that was found out already, else None."""

NO_CHANGE: Change = (NO_USAGE, None)


def take_back(undo: Undo) -> None:
    """Undo what was remembered, the newest first."""
    for do, words in reversed(undo):
        do(*words)


_decode_companion = msgspec.msgpack.Decoder(Companion).decode


class Told(msgspec.Struct, frozen=True, gc=False):
    """What of an order a start reads: the rest of its story is passed over, which is most of it."""

    id: str
    product: str
    payer: int = 0
    amount: int = 0
    currency: str = ""
    state: State = State.AWAITING
    step: str = ""
    booked_at: int = 0


_read_told = msgspec.msgpack.Decoder(Told).decode


class Moment(msgspec.Struct, frozen=True):
    """The time of one batch: all its orders are decided at the same one."""

    now: int  # microseconds since 1970 UTC
    day: date  # of the market


class Clerk:
    """Decides the requests of one market. Used by one thread at a time: whoever holds the desk."""

    def __init__(
        self,
        *,
        market: Market,
        directory: Directory,
        ledger: Ledger,
        switches: Switches,
        mark_key: bytes,
        progress: Callable[[int, int], None] = lambda *_: None,
    ) -> None:
        """Take the fold up from the ledger's checkpoint and the lines behind it.

        `progress` is told lines read and to read.
        """
        self.market = market
        self.waiting: dict[str, Order] = {}
        self.moment = Moment(0, date.min)
        self._directory = directory
        self._ledger = ledger
        self._switches = switches
        self._mark_key = mark_key
        self._accounts = Accounts(market)
        self._known: Known = {}
        first, *others = [
            (self._accounts.number(0, Purse.WALLET, each.code), each.code)
            for each in market.currencies
        ]
        self._first_wallet, self._other_wallets = first[0], others
        self._counters = Counters(counted(market))
        self._staged: dict[str, Order] = {}  # orders of the batch that is being decided
        self._sent: dict[str, Order] = {}  # of the one before it, which is on its way to the disk
        self._marks: dict[int, int] = {}
        self._forms: dict[tuple[Price, str, int, str], Form] = {}
        self._day = (0, 0, date.min)  # from, until (microseconds), and which day that is
        after, companion = ledger.saved()
        kept = _companion_of(companion)
        # Where the pack counts other services than before, all is counted anew.
        if kept is not None and self._counters.unpack(kept.usage):
            self.waiting = kept.waiting
        else:
            after = 0
        todo = ledger.head - after
        for done, (_, story) in enumerate(ledger.stories(after=after)):
            if story:
                self._recall(story)
            if not done % TOLD_EVERY:
                progress(done, todo)

    def companion(self) -> bytes:
        """Return the fold as bytes, for a checkpoint."""
        return encode_order(Companion(self._counters.packed(), self.waiting))

    def end_batch(self) -> None:
        """Forget the batch's orders as such: they are kept, or undone."""
        self._staged = {}

    def send_off(self) -> None:
        """Note that all of the batch is decided, and on its way to the disk."""
        self._sent, self._staged = self._staged, {}

    def landed(self) -> None:
        """Forget the orders of the batch that was on its way: they are kept, or undone."""
        self._sent = {}

    # Finding

    def find(self, order_id: str) -> Order | None:
        """Return an order as it stands now."""
        waiting = self.waiting.get(order_id)
        if waiting is not None:
            return waiting
        rows = self._ledger.thread(order_id)
        return decode_order(rows[-1].story) if rows else None

    def used(self, party: int, service: Service) -> Usage:
        """Return what a party has used of its limits, and of one service."""
        return self._counters.get(party, service)

    def mark(self, party: int) -> int:
        """Return a keyed hash that stands for a party in figures and names nobody."""
        known = self._marks.get(party)
        if known is None:
            digest = hashlib.blake2b(str(party).encode(), key=self._mark_key[:64], digest_size=7)
            if len(self._marks) >= MARKS_MAX:
                self._marks.clear()
            known = self._marks[party] = int.from_bytes(digest.digest())
        return known

    def quote(self, ask: Ask, moment: Moment) -> Quote | Decline:
        """Return what an order would cost, or why it would be refused. Nothing is kept."""
        price, decline, _ = decided(ask, self._gather(ask, moment), self._known)
        if decline is not None:
            return decline
        purse = PRODUCTS[ask.product].payer_purse
        source = self._accounts.number(ask.payer, purse, ask.currency)
        total = ask.amount + price.charge
        if purse is not Purse.TRUST and self._ledger.state.available(source) < total:
            return self._short(ask.product)
        party = self._party(ask.payee)
        return Quote(
            product=ask.product,
            amount=ask.amount,
            currency=ask.currency,
            price=price,
            payee=ask.payee,
            payee_name=party.name if party else "",
        )

    def refused(self, ask: Ask, decline: Decline, *, now: int) -> Order:
        """Return an ask that was refused before the desk."""
        number, market = order_id(self.market.code, ask.client, ask.key), self.market.code
        order = order_of(ask, number, market, "", now, self.mark(ask.payer))
        return self._declined(order, decline, now=now)

    def moment_of(self, micros: int) -> Moment:
        return Moment(micros, self._day_of(micros))

    # Deciding

    def decide(self, request: Request, batch: Batch, undo: Undo) -> tuple[Order, bool]:
        """Return the order after the request, and whether this request changed it."""
        match request:
            case Ask():
                return self._begin(request, batch, undo)
            case Confirm():
                return self._confirm(request, batch, undo)
            case Settle():
                return self._settle(request, batch, undo)
            case Reverse():
                return self._reverse(request, batch, undo)
            case Consent():
                return self._consent(request, batch, undo)
            case Lapse():
                return self._lapse(request, batch, undo)

    def _begin(self, ask: Ask, batch: Batch, undo: Undo) -> tuple[Order, bool]:
        number = order_id(self.market.code, ask.client, ask.key)
        fingerprint = hashlib.blake2b(encode_order(ask), digest_size=16).hexdigest()
        known = self._standing(number, batch)
        moment, market = self.moment, self.market.code
        now, mark = moment.now, self.mark(ask.payer)
        if known is not None:
            if hmac.compare_digest(known.fingerprint, fingerprint):
                return known, False
            order = order_of(ask, number, market, fingerprint, now, mark)
            return _replaced(order, state=State.DECLINED, decline=Decline.KEY_REUSED), False
        facts = self._gather(ask, moment)
        price, decline, after = decided(ask, facts, self._known)
        if decline is None and ask.is_confirmed:
            product = PRODUCTS[ask.product]
            legs, moves = self._legs(product, ask, price, facts)
            is_held = product.asks_partner
            # By places, because each payment passes here: the fields of Order in their order.
            booked = Order(
                number, market, ask.product, ask.channel, ask.client, fingerprint,
                ask.payer, ask.payee, ask.actor, ask.amount, ask.currency, ask.reference, price,
                State.HELD if is_held else State.COMPLETED,
                None,
                "" if is_held else self._receipt(batch),
                _BOOKED,
                now,
                now,
                0 if is_held else now,
                1,
                legs,
                _hold_of(number) if is_held else "",
                "",
                0,
                mark,
            )  # fmt: skip
            if is_held:
                moves = _holds(booked)
            return self._keep(None, booked, moves, batch, undo, (facts.usage, after)), True
        order = order_of(ask, number, market, fingerprint, now, mark, price)
        if decline is not None:
            return self._keep(None, self._declined(order, decline, now=now), (), batch, undo), True
        awaiting = _replaced(
            order,
            step=Step.ASKED.value,
            state=State.AWAITING,
            until=now + AWAITING_FOR // _MICROSECOND,
        )
        return self._keep(None, awaiting, (), batch, undo), True

    def _confirm(self, request: Confirm, batch: Batch, undo: Undo) -> tuple[Order, bool]:
        order = self._standing(request.order, batch)
        if order is None or order.client != request.client:
            return self._unknown(request.order), False
        if order.state is not State.AWAITING:
            return order, False  # already confirmed, cancelled or lapsed: the same answer again
        standing = order
        order = _replaced(order, events=order.events + 1)
        if order.until <= self.moment.now:
            expired = self._cancelled(order, Decline.ORDER_EXPIRED)
            return self._keep(standing, expired, (), batch, undo), True
        if not request.says_yes:
            cancelled = self._cancelled(order, Decline.ORDER_CANCELLED)
            return self._keep(standing, cancelled, (), batch, undo), True
        # Limits, switches and parties may have changed since it was asked; the price that the
        # payer has seen stands.
        facts = self._gather(order, self.moment)
        _, decline, after = decided(order, facts, self._known)
        if decline is not None:
            refused = self._declined(order, decline, now=self.moment.now)
            return self._keep(standing, refused, (), batch, undo), True
        product = PRODUCTS[order.product]
        is_held = product.asks_partner
        legs, moves = self._legs(product, order, order.price, facts)
        booked = _replaced(
            order,
            until=0,
            step=_BOOKED,
            booked_at=self.moment.now,
            state=State.HELD if is_held else State.COMPLETED,
            legs=legs,
            hold=_hold_of(order.id) if is_held else "",
            done_at=0 if is_held else self.moment.now,
            receipt="" if is_held else self._receipt(batch),
        )
        if is_held:
            moves = _holds(booked)
        return self._keep(standing, booked, moves, batch, undo, (facts.usage, after)), True

    def _legs(
        self, product: Product, order: Ask | Order, price: Price, facts: Facts
    ) -> tuple[tuple[Leg, ...], tuple[Transfer, ...]]:
        """Return an order's legs, and the transfers that book them.

        Amounts and prices come again and again, so the form of their legs is kept: only the parties
        are put in.
        """
        key = (price, product.code, order.amount, order.currency)
        form = self._forms.get(key)
        if form is None:
            if len(self._forms) >= FORMS_MAX:
                self._forms.clear()
            slot = self._accounts.slot(order.currency)
            form = self._forms[key] = form_of(product, order, price, slot)
        dealer = facts.dealer
        who = sides(order.payer, order.payee, 0 if dealer is None else dealer.id)
        legs, moves = [], []
        for giver, from_purse, taker, to_purse, minor in form:
            source, target = who[giver] | from_purse, who[taker] | to_purse
            legs.append(Leg(source, target, minor))
            moves.append(Transfer(_POST, source, target, minor))
        return tuple(legs), tuple(moves)

    def _settle(self, request: Settle, batch: Batch, undo: Undo) -> tuple[Order, bool]:
        order = self._standing(request.order, batch)
        if order is None:
            return self._unknown(request.order), False
        if order.state is not State.HELD:
            return order, False
        kind = Kind.COMMIT if request.is_done else Kind.VOID
        transfers = tuple(
            Transfer(kind, leg.source, leg.target, leg.minor, f"{order.hold}{number}")
            for number, leg in enumerate(order.legs)
        )
        settled = _replaced(
            order,
            step=(Step.SETTLED if request.is_done else Step.FAILED).value,
            state=State.COMPLETED if request.is_done else State.FAILED,
            decline=None if request.is_done else request.decline or Decline.PARTNER_REFUSED,
            events=order.events + 1,
            done_at=self.moment.now,
            receipt=self._receipt(batch) if request.is_done else "",
        )
        return self._keep(order, settled, transfers, batch, undo), True

    def _reverse(self, request: Reverse, batch: Batch, undo: Undo) -> tuple[Order, bool]:
        order = self._standing(request.order, batch)
        if order is None or order.payer != request.payer:
            return self._unknown(request.order), False
        if order.state in {State.REVERSAL_ASKED, State.REVERSED}:
            return order, False
        refusal = self._why_not_reversible(order)
        if refusal is not None:
            return _replaced(order, decline=refusal), False
        lead = order.legs[0]
        number = order.events
        hold = f"{order.id}.r{number}"
        asked = _replaced(
            order,
            step=Step.REVERSAL_ASKED.value,
            state=State.REVERSAL_ASKED,
            hold=hold,
            events=order.events + 1,
            until=self.moment.now + REVERSAL_ANSWER_FOR // _MICROSECOND,
        )
        transfer = Transfer(Kind.HOLD, lead.target, lead.source, lead.minor, hold)
        verdict = self._post(asked, (transfer,), batch)
        if verdict is Verdict.NOT_ENOUGH:
            return _replaced(order, decline=Decline.MONEY_GONE), False
        assert verdict is Verdict.DONE, f"a reversal's hold was refused: {verdict.name}"
        self._apply(asked, NO_CHANGE, undo)
        return asked, True

    def _why_not_reversible(self, order: Order) -> Decline | None:
        if order.state is not State.COMPLETED or not PRODUCTS[order.product].is_reversible:
            return Decline.NOT_REVERSIBLE
        hours = self.market.reversal_window_h or REVERSAL_WINDOW_H
        if self.moment.now > order.done_at + timedelta(hours=hours) // _MICROSECOND:
            return Decline.TOO_LATE
        return None

    def _consent(self, request: Consent, batch: Batch, undo: Undo) -> tuple[Order, bool]:
        order = self._standing(request.order, batch)
        if order is None or order.payee != request.payee:
            return self._unknown(request.order), False
        if order.state is not State.REVERSAL_ASKED:
            return order, False
        if request.says_yes:
            return self._give_back(order, batch, undo), True
        return self._let_go(order, batch, undo), True

    def _give_back(self, order: Order, batch: Batch, undo: Undo) -> Order:
        """Return the amount from the hold, and with it the fees and taxes that it had cost."""
        lead, rest = order.legs[0], order.legs[1:]
        transfers = (
            Transfer(Kind.COMMIT, lead.target, lead.source, lead.minor, order.hold),
            *(Transfer(Kind.POST, leg.target, leg.source, leg.minor) for leg in rest),
        )
        reversed_ = _replaced(
            order,
            step=Step.REVERSED.value,
            state=State.REVERSED,
            events=order.events + 1,
            until=0,
        )
        return self._keep(order, reversed_, transfers, batch, undo)

    def _let_go(self, order: Order, batch: Batch, undo: Undo) -> Order:
        lead = order.legs[0]
        transfer = Transfer(Kind.VOID, lead.target, lead.source, lead.minor, order.hold)
        kept = _replaced(
            order,
            step=Step.REVERSAL_REFUSED.value,
            state=State.COMPLETED,
            events=order.events + 1,
            until=0,
            hold="",
        )
        return self._keep(order, kept, (transfer,), batch, undo)

    def _lapse(self, request: Lapse, batch: Batch, undo: Undo) -> tuple[Order, bool]:
        order = self._standing(request.order, batch)
        if order is None:
            return self._unknown(request.order), False
        if not order.until or order.until > self.moment.now:
            return order, False
        if order.state is State.REVERSAL_ASKED:
            return self._let_go(order, batch, undo), True
        if order.state is State.AWAITING:
            lapsed = _replaced(order, events=order.events + 1)
            expired = self._cancelled(lapsed, Decline.ORDER_EXPIRED)
            return self._keep(order, expired, (), batch, undo), True
        return order, False

    # Gathering

    def _day_of(self, micros: int) -> date:
        """Return the market's day of a moment; the one asked for last is at hand."""
        start, end, day = self._day
        if not start <= micros < end:
            zone = self.market.zone
            day = from_micros(micros).astimezone(zone).date()
            start = to_micros(datetime.combine(day, time(), zone))
            end = to_micros(datetime.combine(day + timedelta(days=1), time(), zone))
            self._day = (start, end, day)
        return day

    def _gather(self, ask: Ask | Order, moment: Moment) -> Facts:
        payer, payee = self._party(ask.payer), self._party(ask.payee)
        product = PRODUCTS.get(ask.product)
        dealer = None
        if product is not None and product.earns:
            dealer = self._dealer_of(payee if product.earns == "payee" else payer)
        swapped_at = payer.sim_swapped_at if payer else 0
        stopped = None
        if self._switches.stopped:
            code = self.market.code
            stopped = self._switches.reason_stopped(market=code, product=ask.product)
            if stopped is None and product is not None and product.asks_partner:
                # The circuit to the partner is open: refused at once, instead of waiting for it.
                stopped = self._switches.stopped.get((code, f"partner:{ask.product}"))
        return Facts(
            self.market,
            moment.day,
            payer,
            payee,
            dealer,
            self._counters.get(ask.payer, product.service) if product and payer else NO_USAGE,
            self._wealth(payee) if payee else 0,
            stopped,
            bool(swapped_at) and moment.now < swapped_at + _SIM_LOCK,
        )

    def _party(self, party_id: int) -> Party | None:
        return OPERATOR if party_id == SYSTEM else self._directory.get(party_id)

    def _dealer_of(self, agent: Party | None) -> Party | None:
        if agent is None or agent.role is not Role.AGENT or not agent.parent:
            return None
        return self._directory.get(agent.parent)

    def _wealth(self, party: Party) -> int:
        """Return all that a customer's wallets hold, in the market's first currency."""
        if party.role is not Role.CUSTOMER:
            return 0
        number, net = party.id << PARTY_SHIFT, self._ledger.state.net
        total = net(number | self._first_wallet)
        for tail, currency in self._other_wallets:
            total += in_first_currency(self.market, net(number | tail), currency)
        return total

    # Keeping

    def _keep(
        self,
        before: Order | None,
        order: Order,
        transfers: tuple[Transfer, ...],
        batch: Batch,
        undo: Undo,
        usage: Change = NO_CHANGE,
    ) -> Order:
        """Post the order's next journal line; short of money, keep it as declined instead."""
        if before is not None and before.state is not order.state:
            assert may_follow(before.state, order.state), f"{order.state} after {before.state}"
        verdict = self._post(order, transfers, batch)
        if verdict is Verdict.NOT_ENOUGH and order.step == _BOOKED:
            short = _replaced(order, legs=(), receipt="", hold="", until=0, booked_at=0)
            order = self._declined(short, self._short(order.product), now=self.moment.now)
            verdict = self._post(order, (), batch)
        assert verdict is Verdict.DONE, f"order {order.id} was refused: {verdict.name}"
        self._apply(order, usage, undo)
        return order

    def _post(self, order: Order, transfers: tuple[Transfer, ...], batch: Batch) -> Verdict:
        """Post an order's line; accounts that are new are opened with it."""
        name, now, story = f"{order.id}.{order.events - 1}", self.moment.now, encode_order(order)
        verdict = batch.post(Bundle(name, now, transfers, (), story))
        if verdict is not Verdict.ACCOUNT_UNKNOWN:
            return verdict
        has = self._ledger.state.has
        numbers = [each for move in transfers for each in (move.source, move.target)]
        new = [number for number in dict.fromkeys(numbers) if not has(number)]
        opens = tuple(map(self._accounts.account, new))
        return batch.post(Bundle(name, now, transfers, opens, story))

    def _apply(self, order: Order, usage: Change, undo: Undo) -> None:
        """Fold one journal line into what the desk remembers; the same for new and old lines."""
        if order.state in WAITING:
            _put(self.waiting, order.id, order, undo)
        elif order.id in self.waiting:
            _put(self.waiting, order.id, None, undo)
        self._staged[order.id] = order  # emptied after each batch, whatever became of it
        if order.step in _CHANGES_USAGE and counts_for_usage(order):
            payer, service = order.payer, PRODUCTS[order.product].service
            before, after = usage
            if after is None or order.step not in COUNTS:
                before = self._counters.get(payer, service)
                change = added if order.step in COUNTS else taken_back
                day = self._day_of(order.booked_at)
                after = change(before, entry(self.market, order, day=day))
            put = self._counters.put
            put(payer, service, after)
            undo.append((put, (payer, service, before)))

    def _recall(self, story: bytes) -> None:
        """Fold an old journal line as `_apply` folds a new one, reading only what that needs."""
        told = _read_told(story)
        if told.state in WAITING:
            self.waiting[told.id] = decode_order(story)
        elif told.id in self.waiting:
            del self.waiting[told.id]
        if told.step in _CHANGES_USAGE and counts_for_usage(told):
            payer, service = told.payer, PRODUCTS[told.product].service
            change = added if told.step in COUNTS else taken_back
            day = self._day_of(told.booked_at)
            before = self._counters.get(payer, service)
            self._counters.put(payer, service, change(before, entry(self.market, told, day=day)))

    def _standing(self, order_id: str, batch: Batch) -> Order | None:
        """Return an order as it stands after what is decided so far, committed or not."""
        staged = self._staged.get(order_id) or self._sent.get(order_id)
        if staged is not None:
            return staged
        if order_id not in self.waiting and batch.row(f"{order_id}.0") is None:
            return None
        return self.find(order_id)

    def _declined(self, order: Order, decline: Decline, *, now: int) -> Order:
        return _replaced(
            order,
            step=Step.DECLINED.value,
            state=State.DECLINED,
            decline=decline,
            until=0,
            done_at=now,
        )

    def _cancelled(self, order: Order, decline: Decline) -> Order:
        return _replaced(
            order,
            step=Step.CANCELLED.value,
            state=State.CANCELLED,
            decline=decline,
            until=0,
            done_at=self.moment.now,
        )

    def _short(self, product: str) -> Decline:
        """Name whose money is short: a customer's wallet or an agent's float."""
        is_float = PRODUCTS[product].payer_purse is Purse.FLOAT
        return Decline.AGENT_FLOAT_SHORT if is_float else Decline.NOT_ENOUGH

    def _unknown(self, order_id: str) -> Order:
        return Order(
            id=order_id,
            market=self.market.code,
            product="",
            channel="",
            client="",
            fingerprint="",
            state=State.DECLINED,
            decline=Decline.ORDER_UNKNOWN,
        )

    def _receipt(self, batch: Batch) -> str:
        return receipt(market=self.market.code, sequence=batch.next_sequence)


def order_id(market: str, client: str, key: str) -> str:
    """Return the id of the order that a client's key stands for in a market."""
    words = f"{market}|{client}|{key}".encode()
    return hashlib.blake2b(words, digest_size=16).hexdigest()


def _replaced(order: Order, **changes: Any) -> Order:
    return msgspec.structs.replace(order, **changes)


def _hold_of(order_id: str) -> str:
    """Return the stem of the names of the holds that wait for a partner."""
    return f"{order_id}.h"


def _holds(order: Order) -> tuple[Transfer, ...]:
    """Return the transfers of an order that waits for a partner: holds of its legs."""
    return tuple(
        Transfer(Kind.HOLD, leg.source, leg.target, leg.minor, f"{order.hold}{number}")
        for number, leg in enumerate(order.legs)
    )


def _companion_of(data: bytes) -> Companion | None:
    """Return what a checkpoint has of the clerk's; None where it has nothing, or an older form."""
    if not data:
        return None
    try:
        return _decode_companion(data)
    except msgspec.ValidationError:
        return None


def _put(waiting: dict[str, Order], order_id: str, order: Order | None, undo: Undo) -> None:
    """Set or remove an order that waits, and note how to take that back."""
    undo.append((_set, (waiting, order_id, waiting.get(order_id))))
    _set(waiting, order_id, order)


def _set(waiting: dict[str, Order], order_id: str, order: Order | None) -> None:
    if order is None:
        waiting.pop(order_id, None)
    else:
        waiting[order_id] = order
