"""The desk of one market: gathers orders, decides them one after the other, keeps them together.

Whatever the size of the batch, all of it is committed in one durable append before anybody is
answered. Idempotency rests on the order's id, which is made of the client and its key: a repeat
finds the order, wherever it stands.
"""

import asyncio
import hashlib
import hmac
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, TypeVar

import msgspec
import structlog

from umoja.clock import Clock, from_micros, to_micros
from umoja.faults import Busy, Fault
from umoja.ids import receipt, receipt_place
from umoja.ledger.entries import Bundle, Kind, Transfer, Verdict
from umoja.ledger.ledger import Batch, Ledger
from umoja.markets.market import Market, Service
from umoja.parties.directory import Directory
from umoja.parties.party import SYSTEM, Party, Role
from umoja.payments.accounts import Accounts, Purse
from umoja.payments.catalogue import PRODUCTS
from umoja.payments.decide import (
    OPERATOR,
    Facts,
    counts_for_usage,
    deal,
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
    OURS,
    Ask,
    Confirm,
    Consent,
    Decline,
    Lapse,
    Order,
    Price,
    Quote,
    Request,
    Reverse,
    Settle,
    State,
)
from umoja.payments.usage import Counters, Packed
from umoja.signals import OrderSeen, Outcome, Signals
from umoja.switches import Switches

QUEUE_MAX = 20_000
BATCH_MAX = 1_000
GATHER_FOR = timedelta(milliseconds=1)
SIM_LOCK = timedelta(hours=24)
MARKS_MAX = 100_000
_MICROSECOND = timedelta(microseconds=1)

Listener = Callable[[Order], None]

log = structlog.get_logger()

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Order).decode

K = TypeVar("K")
V = TypeVar("V")


class Companion(msgspec.Struct, array_like=True):
    """What the desk adds to a checkpoint: usage by party, and the orders that wait."""

    usage: Packed
    waiting: dict[str, Order]


_decode_companion = msgspec.msgpack.Decoder(Companion).decode

_BOOKED, _SETTLED = Step.BOOKED.value, Step.SETTLED.value
_CHANGES_USAGE = COUNTS | UNCOUNTS


class Moment(msgspec.Struct, frozen=True):
    """The time of one batch: all its orders are decided at the same one."""

    now: int  # microseconds since 1970 UTC
    day: date  # of the market


@dataclass(slots=True)
class _Errand:
    request: Request
    answer: "asyncio.Future[Order]"
    since_s: float


class Desk:
    """Decides and books the orders of one market. There is one desk a market at a time."""

    def __init__(
        self,
        *,
        market: Market,
        directory: Directory,
        ledger: Ledger,
        clock: Clock,
        signals: Signals,
        switches: Switches,
        mark_key: bytes = b"",
    ) -> None:
        """Take the state up from the ledger's checkpoint and the lines behind it."""
        self.market = market
        self._directory = directory
        self._ledger = ledger
        self._clock = clock
        self._signals = signals
        self._switches = switches
        self._mark_key = mark_key or b"unkeyed"
        self._accounts = Accounts(market)
        self._listeners: list[Listener] = []
        self._lock = threading.Lock()
        self._queue: deque[_Errand] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._executor: ThreadPoolExecutor | None = None
        self._wake: asyncio.Event | None = None
        self._is_closing = False
        self._committer = 0  # the thread whose batch is being committed elsewhere
        self._staged: dict[str, Order] = {}  # orders of the batch that is being decided
        self._marks: dict[int, int] = {}
        self._counters = Counters(counted(market))
        self._waiting: dict[str, Order] = {}
        self._day = (0, 0, date.min)  # from, until (microseconds), and which day that is
        self._moment = self._moment_now()
        after, companion = ledger.saved()
        kept = _decode_companion(companion) if companion else None
        # Where the pack counts other services than before, all is counted anew.
        if kept is not None and self._counters.unpack(kept.usage):
            self._waiting = kept.waiting
        else:
            after = 0
        for row in ledger.rows(after=after):
            if row.story:
                self._apply(_decode(row.story), [])
        self._staged.clear()

    # Asking

    async def submit(self, request: Request) -> Order:
        """Answer one request after its durable commit. Repeating it moves nothing twice.

        An expected refusal is an Order in state DECLINED with its reason. Raise Busy when the
        queue is full, Unavailable when nothing happened, OutcomeUnknown when it may have.
        """
        return await self.enqueue(request)

    def enqueue(self, request: Request) -> "asyncio.Future[Order]":
        """Queue one request and return what will hold its answer: see `submit`. Raise Busy."""
        if self._is_closing:
            raise Busy("the desk", retry_after_s=5)
        if len(self._queue) >= QUEUE_MAX:
            raise Busy("the desk")
        if self._worker is None:
            self._wake = asyncio.Event()
            self._executor = ThreadPoolExecutor(1, f"desk-{self.market.code}")
            self._worker = asyncio.create_task(self._work())
        errand = _Errand(request, asyncio.get_running_loop().create_future(), self._clock.ticks_s())
        self._queue.append(errand)
        assert self._wake is not None, "the worker was started"
        self._wake.set()
        return errand.answer

    def submit_now(self, requests: Iterable[Request]) -> list[Order]:
        """Answer one batch of requests at once, in this thread, after one durable commit."""
        began = self._clock.ticks_s()
        return self._answer([(request, began) for request in requests])

    def quote(
        self,
        *,
        product: str,
        payer: int,
        payee: int,
        amount: int,
        currency: str,
        reference: str = "-",
    ) -> Quote | Decline:
        """Return what an order would cost now, or why it would be refused. Nothing is kept."""
        ask = Ask(
            client="",
            key="",
            channel="",
            product=product,
            payer=payer,
            payee=payee,
            amount=amount,
            currency=currency,
            reference=reference,
        )
        order = order_of(ask, order_id="", market=self.market.code, fingerprint="", now=0)
        price, decline = decided(order, self._gather(ask, self._moment_now()))
        if decline is not None:
            return decline
        source = self._accounts.number(payer, PRODUCTS[product].payer_purse, currency)
        if (
            PRODUCTS[product].payer_purse is not Purse.TRUST
            and self._ledger.state.available(source) < amount + price.charge
        ):
            return self._short(order)
        party = self._party(payee)
        return Quote(
            product=product,
            amount=amount,
            currency=currency,
            price=price,
            payee=payee,
            payee_name=party.name if party else "",
        )

    def refuse(self, ask: Ask, decline: Decline) -> Order:
        """Return an ask refused before the desk, for a wrong PIN: kept nowhere, told to signals."""
        order = order_of(
            ask,
            order_id=self.order_id(ask.client, ask.key),
            market=self.market.code,
            fingerprint="",
            now=to_micros(self._clock.now()),
            payer_mark=self._mark(ask.payer),
        )
        refused = self._declined(order, decline, now=order.asked_at)
        self._tell(refused, latency_ms=0)
        return refused

    # Finding

    def order_id(self, client: str, key: str) -> str:
        """Return the id of the order that a client's key stands for."""
        return order_id(self.market.code, client, key)

    def find(self, order_id: str) -> Order | None:
        """Return an order as it stands now."""
        waiting = self._waiting.get(order_id)
        if waiting is not None:
            return waiting
        rows = self._ledger.thread(order_id)
        return _decode(rows[-1].story) if rows else None

    async def look_up(self, order: str) -> Order | None:
        """Return an order as it stands now: `find`, for whoever may be far from the desk."""
        return self.find(order)

    async def price(
        self,
        *,
        product: str,
        payer: int,
        payee: int,
        amount: int,
        currency: str,
        reference: str = "-",
    ) -> Quote | Decline:
        """Return what an order would cost now: `quote`, for whoever may be far from the desk."""
        return self.quote(
            product=product,
            payer=payer,
            payee=payee,
            amount=amount,
            currency=currency,
            reference=reference,
        )

    async def note_refused(self, ask: Ask, decline: Decline) -> Order:
        return self.refuse(ask, decline)

    def find_receipt(self, number: str) -> Order | None:
        """Return the order that has this receipt number."""
        place = receipt_place(number)
        if place is None or place[0] != self.market.code:
            return None
        row = self._ledger.at_sequence(place[1])
        if row is None or not row.story:
            return None
        order = _decode(row.story)
        return self.find(order.id) if order.receipt == number else None

    def awaiting_consent(self, payee: int) -> list[Order]:
        """Return the payments that were asked back of this receiver and wait for her answer."""
        return [
            order
            for order in list(self._waiting.values())
            if order.state is State.REVERSAL_ASKED and order.payee == payee
        ]

    def waiting(self) -> list[Order]:
        """Return all orders that wait for somebody or something."""
        return list(self._waiting.values())

    def orders(self, *, after: int = 0, limit: int = 500) -> list[tuple[int, Order]]:
        """Return journal sequences and orders behind `after`: the feed of receipts and exports."""
        return [
            (row.sequence, _decode(row.story))
            for row in self._ledger.rows(after=after, limit=limit)
            if row.story
        ]

    @property
    def head(self) -> int:
        return self._ledger.head

    def listen(self, listener: Listener) -> None:
        """Call `listener` with each order after it was committed. It must not wait."""
        self._listeners.append(listener)

    @property
    def queued(self) -> int:
        return len(self._queue)

    # Closing

    async def close(self) -> None:
        """Answer what is queued, then write a checkpoint. New orders are told to come back."""
        self._is_closing = True
        if self._worker is not None and self._wake is not None:
            self._wake.set()
            await self._worker
        if self._executor is not None:
            self._executor.shutdown()
        self.save()

    def save(self) -> None:
        """Write a checkpoint, so that the next start has little to fold. Not from the event loop."""
        with self._lock:
            kept = self._ledger.taken()
            companion = Companion(self._counters.packed(), dict(self._waiting))
        self._ledger.save(kept, _encode(companion))

    # The worker

    async def _work(self) -> None:
        assert self._wake is not None, "made with the worker"
        while True:
            if not self._queue:
                if self._is_closing:
                    return
                self._wake.clear()
                await self._wake.wait()
                await asyncio.sleep(GATHER_FOR.total_seconds())
            errands = [self._queue.popleft() for _ in range(min(BATCH_MAX, len(self._queue)))]
            if not errands:
                continue
            try:
                await self._answer_durably(errands)
            except AssertionError:
                # One request met a bug of ours: the others do not pay for it.
                for errand in errands:
                    try:
                        await self._answer_durably([errand])
                    except AssertionError as cause:
                        log.exception("payments.desk.bug", market=self.market.code)
                        _fail([errand], cause)

    async def _answer_durably(self, errands: list[_Errand]) -> None:
        """Decide a batch here and commit it in the desk's own thread; then answer everybody.

        Deciding beside the event loop would only make both wait for each other: the interpreter
        runs one of them at a time. The commit waits for a disk, so it goes to a thread.
        Faults are given to whoever asked; only a bug of ours is raised, with nothing done.
        """
        if not self._lock.acquire(blocking=False):  # a checkpoint is being taken
            await asyncio.get_running_loop().run_in_executor(self._executor, self._lock.acquire)
        try:
            self._committer = threading.get_ident()
            asked = [(errand.request, errand.since_s) for errand in errands]
            with self._decided(asked) as (answers, batch):
                assert self._executor is not None, "made with the worker"
                committing = self._executor.submit(batch.commit)
                try:
                    await asyncio.wrap_future(committing)
                except asyncio.CancelledError:
                    committing.result()  # what is on its way to the disk is waited for
                    raise
        except Fault as cause:
            _fail(errands, cause)
            return
        except AssertionError:
            raise
        except BaseException as cause:
            _fail(errands, cause)
            raise
        finally:
            self._committer = 0
            self._lock.release()
        self._tell_all(answers, asked)
        for errand, (order, _) in zip(errands, answers, strict=True):
            if not errand.answer.done():
                errand.answer.set_result(order)

    def _answer(self, asked: list[tuple[Request, float]]) -> list[Order]:
        """Decide and commit one batch in this thread; then tell the listeners."""
        assert self._committer != threading.get_ident(), "inside the event loop, await submit"
        with self._lock, self._decided(asked) as (answers, batch):
            batch.commit()
        self._tell_all(answers, asked)
        return [order for order, _ in answers]

    @contextmanager
    def _decided(
        self, asked: list[tuple[Request, float]]
    ) -> Iterator[tuple[list[tuple[Order, bool]], Batch]]:
        """Decide a batch, to be committed inside; whatever is raised, nothing of it is left."""
        self._moment = self._moment_now()
        undo: list[Callable[[], None]] = []
        answers: list[tuple[Order, bool]] = []
        try:
            with self._ledger.batch() as batch:
                for request, _ in asked:
                    answers.append(self._decide(request, batch, undo))
                yield answers, batch
        except BaseException:
            for step in reversed(undo):
                step()
            raise
        finally:
            self._staged.clear()

    def _tell_all(
        self, answers: list[tuple[Order, bool]], asked: list[tuple[Request, float]]
    ) -> None:
        ended = self._clock.ticks_s()
        for (order, is_new), (_, since_s) in zip(answers, asked, strict=True):
            if is_new:
                self._tell(order, latency_ms=(ended - since_s) * 1000)
                for listener in self._listeners:
                    listener(order)

    # Deciding

    def _decide(
        self, request: Request, batch: Batch, undo: list[Callable[[], None]]
    ) -> tuple[Order, bool]:
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

    def _begin(self, ask: Ask, batch: Batch, undo: list[Callable[[], None]]) -> tuple[Order, bool]:
        order_id = self.order_id(ask.client, ask.key)
        fingerprint = hashlib.blake2b(_encode(ask), digest_size=16).hexdigest()
        known = self._standing(order_id)
        moment = self._moment
        order = order_of(
            ask,
            order_id=order_id,
            market=self.market.code,
            fingerprint=fingerprint,
            now=moment.now,
            payer_mark=self._mark(ask.payer),
        )
        if known is not None:
            if hmac.compare_digest(known.fingerprint, fingerprint):
                return known, False
            return _replaced(order, state=State.DECLINED, decline=Decline.KEY_REUSED), False
        price, decline = decided(order, self._gather(ask, moment))
        if decline is not None:
            refused = self._declined(_replaced(order, price=price), decline, now=moment.now)
            return self._keep(None, refused, (), batch, undo), True
        if not ask.is_confirmed:
            awaiting = _replaced(
                order,
                price=price,
                step=Step.ASKED.value,
                state=State.AWAITING,
                until=moment.now + AWAITING_FOR // _MICROSECOND,
            )
            return self._keep(None, awaiting, (), batch, undo), True
        return self._book(None, order, price, batch, undo), True

    def _confirm(
        self, request: Confirm, batch: Batch, undo: list[Callable[[], None]]
    ) -> tuple[Order, bool]:
        order = self._standing(request.order)
        if order is None or order.client != request.client:
            return self._unknown(request.order), False
        if order.state is not State.AWAITING:
            return order, False  # already confirmed, cancelled or lapsed: the same answer again
        standing = order
        order = _replaced(order, events=order.events + 1)
        if order.until <= self._moment.now:
            expired = self._cancelled(order, Decline.ORDER_EXPIRED)
            return self._keep(standing, expired, (), batch, undo), True
        if not request.says_yes:
            cancelled = self._cancelled(order, Decline.ORDER_CANCELLED)
            return self._keep(standing, cancelled, (), batch, undo), True
        # Limits, switches and parties may have changed since it was asked; the price that the
        # payer has seen stands.
        _, decline = decided(order, self._gather(_as_ask(order), self._moment))
        if decline is not None:
            refused = self._declined(order, decline, now=self._moment.now)
            return self._keep(standing, refused, (), batch, undo), True
        return self._book(standing, order, order.price, batch, undo), True

    def _book(
        self,
        standing: Order | None,
        order: Order,
        price: Price,
        batch: Batch,
        undo: list[Callable[[], None]],
    ) -> Order:
        """Post the order's legs, or hold them for a partner; short of money it is declined."""
        product = PRODUCTS[order.product]
        order = _replaced(order, price=price, until=0, step=_BOOKED, booked_at=self._moment.now)
        dealer = None
        if product.earns:
            agent = order.payer if product.earns == "payer" else order.payee
            dealer = self._dealer_of(self._party(agent))
        legs = product.legs(deal(order, self._accounts, dealer))
        if product.asks_partner:
            hold = f"{order.id}.h"
            transfers = tuple(
                Transfer(Kind.HOLD, leg.source, leg.target, leg.minor, f"{hold}{number}")
                for number, leg in enumerate(legs)
            )
            done = _replaced(order, state=State.HELD, legs=legs, hold=hold)
        else:
            transfers = tuple([Transfer(Kind.POST, g.source, g.target, g.minor) for g in legs])
            done = _replaced(
                order,
                state=State.COMPLETED,
                legs=legs,
                done_at=self._moment.now,
                receipt=self._receipt(batch),
            )
        return self._keep(standing, done, transfers, batch, undo)

    def _settle(
        self, request: Settle, batch: Batch, undo: list[Callable[[], None]]
    ) -> tuple[Order, bool]:
        order = self._standing(request.order)
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
            done_at=self._moment.now,
            receipt=self._receipt(batch) if request.is_done else "",
        )
        return self._keep(order, settled, transfers, batch, undo), True

    def _reverse(
        self, request: Reverse, batch: Batch, undo: list[Callable[[], None]]
    ) -> tuple[Order, bool]:
        order = self._standing(request.order)
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
            until=self._moment.now + REVERSAL_ANSWER_FOR // _MICROSECOND,
        )
        transfer = Transfer(Kind.HOLD, lead.target, lead.source, lead.minor, hold)
        verdict = batch.post(self._bundle(asked, (transfer,)))
        if verdict is Verdict.NOT_ENOUGH:
            return _replaced(order, decline=Decline.MONEY_GONE), False
        assert verdict is Verdict.DONE, f"a reversal's hold was refused: {verdict.name}"
        self._apply(asked, undo)
        return asked, True

    def _why_not_reversible(self, order: Order) -> Decline | None:
        if order.state is not State.COMPLETED or not PRODUCTS[order.product].is_reversible:
            return Decline.NOT_REVERSIBLE
        hours = self.market.reversal_window_h or REVERSAL_WINDOW_H
        if self._moment.now > order.done_at + timedelta(hours=hours) // _MICROSECOND:
            return Decline.TOO_LATE
        return None

    def _consent(
        self, request: Consent, batch: Batch, undo: list[Callable[[], None]]
    ) -> tuple[Order, bool]:
        order = self._standing(request.order)
        if order is None or order.payee != request.payee:
            return self._unknown(request.order), False
        if order.state is not State.REVERSAL_ASKED:
            return order, False
        if request.says_yes:
            return self._give_back(order, batch, undo), True
        return self._let_go(order, batch, undo), True

    def _give_back(self, order: Order, batch: Batch, undo: list[Callable[[], None]]) -> Order:
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

    def _let_go(self, order: Order, batch: Batch, undo: list[Callable[[], None]]) -> Order:
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

    def _lapse(
        self, request: Lapse, batch: Batch, undo: list[Callable[[], None]]
    ) -> tuple[Order, bool]:
        order = self._standing(request.order)
        if order is None:
            return self._unknown(request.order), False
        if not order.until or order.until > self._moment.now:
            return order, False
        if order.state is State.REVERSAL_ASKED:
            return self._let_go(order, batch, undo), True
        if order.state is State.AWAITING:
            lapsed = _replaced(order, events=order.events + 1)
            expired = self._cancelled(lapsed, Decline.ORDER_EXPIRED)
            return self._keep(order, expired, (), batch, undo), True
        return order, False

    # Gathering

    def _moment_now(self) -> Moment:
        now = to_micros(self._clock.now())
        return Moment(now, self._day_of(now))

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

    def _gather(self, ask: Ask, moment: Moment) -> Facts:
        payer, payee = self._party(ask.payer), self._party(ask.payee)
        product = PRODUCTS.get(ask.product)
        dealer = None
        if product is not None and product.earns:
            dealer = self._dealer_of(payee if product.earns == "payee" else payer)
        swapped_at = payer.sim_swapped_at if payer else 0
        return Facts(
            market=self.market,
            day=moment.day,
            payer=payer,
            payee=payee,
            dealer=dealer,
            usage=self._counters.get(ask.payer, product.service) if product and payer else Usage(),
            payee_balance=self._wealth(payee) if payee else 0,
            stopped=self._switches.reason_stopped(market=self.market.code, product=ask.product),
            is_sim_fresh=bool(swapped_at) and moment.now < swapped_at + SIM_LOCK // _MICROSECOND,
        )

    def used(self, party: int, service: Service) -> Usage:
        """Return what a party has used of its limits, and of one service."""
        return self._counters.get(party, service)

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
        total = 0
        for currency in self.market.currencies:
            net = self._ledger.state.net(
                self._accounts.number(party.id, Purse.WALLET, currency.code)
            )
            total += in_first_currency(self.market, net, currency.code)
        return total

    # Keeping

    def _keep(
        self,
        before: Order | None,
        order: Order,
        transfers: tuple[Transfer, ...],
        batch: Batch,
        undo: list[Callable[[], None]],
    ) -> Order:
        """Post the order's next journal line; short of money, keep it as declined instead."""
        if before is not None and before.state is not order.state:
            assert may_follow(before.state, order.state), f"{order.state} after {before.state}"
        verdict = batch.post(self._bundle(order, transfers))
        if verdict is Verdict.NOT_ENOUGH and order.step == _BOOKED:
            short = _replaced(order, legs=(), receipt="", hold="", until=0, booked_at=0)
            order = self._declined(short, self._short(order), now=self._moment.now)
            verdict = batch.post(self._bundle(order, ()))
        assert verdict is Verdict.DONE, f"order {order.id} was refused: {verdict.name}"
        self._apply(order, undo)
        return order

    def _bundle(self, order: Order, transfers: tuple[Transfer, ...]) -> Bundle:
        has = self._ledger.state.has
        new = [
            number
            for transfer in transfers
            for number in (transfer.source, transfer.target)
            if not has(number)
        ]
        opens = tuple(map(self._accounts.account, dict.fromkeys(new))) if new else ()
        return Bundle(
            f"{order.id}.{order.events - 1}", self._moment.now, transfers, opens, _encode(order)
        )

    def _apply(self, order: Order, undo: list[Callable[[], None]]) -> None:
        """Fold one journal line into what the desk remembers; the same for new and old lines."""
        if order.state in WAITING:
            _put(self._waiting, order.id, order, undo)
        elif order.id in self._waiting:
            _put(self._waiting, order.id, None, undo)
        self._staged[order.id] = order  # emptied after each batch, whatever became of it
        if order.step in _CHANGES_USAGE and counts_for_usage(order):
            payer, service = order.payer, PRODUCTS[order.product].service
            usage = self._counters.get(payer, service)
            change = added if order.step in COUNTS else taken_back
            day = self._day_of(order.booked_at)
            put = self._counters.put
            put(payer, service, change(usage, entry(self.market, order, day=day)))
            undo.append(lambda: put(payer, service, usage))

    def _standing(self, order_id: str) -> Order | None:
        return self._staged.get(order_id) or self.find(order_id)

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
            done_at=self._moment.now,
        )

    def _short(self, order: Order) -> Decline:
        """Name whose money is short: a customer's wallet or an agent's float."""
        is_float = PRODUCTS[order.product].payer_purse is Purse.FLOAT
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

    def _mark(self, party: int) -> int:
        known = self._marks.get(party)
        if known is None:
            digest = hashlib.blake2b(str(party).encode(), key=self._mark_key[:64], digest_size=7)
            if len(self._marks) >= MARKS_MAX:
                self._marks.clear()
            known = self._marks[party] = int.from_bytes(digest.digest())
        return known

    def _tell(self, order: Order, *, latency_ms: float) -> None:
        """Signal an attempt that ended or began to wait for a partner."""
        outcome = _outcome(order)
        if outcome is None:
            return
        self._signals.send(
            OrderSeen(
                at=self._clock.now(),
                market=order.market,
                product=order.product if order.product in PRODUCTS else "unknown",
                channel=order.channel,
                outcome=outcome,
                reason=order.decline.value if order.decline else "",
                value_minor=order.amount,
                currency=order.currency,
                latency_ms=latency_ms,
                payer_mark=order.payer_mark,
                is_final=order.state is not State.HELD,
                was_pending=order.step in {Step.SETTLED.value, Step.FAILED.value},
            )
        )


def order_id(market: str, client: str, key: str) -> str:
    """Return the id of the order that a client's key stands for in a market."""
    words = f"{market}|{client}|{key}".encode()
    return hashlib.blake2b(words, digest_size=16).hexdigest()


def _fail(errands: list[_Errand], cause: BaseException) -> None:
    for errand in errands:
        if not errand.answer.done():
            errand.answer.set_exception(cause)


def _outcome(order: Order) -> Outcome | None:
    """Return how operations count this row, or None where it is no attempt's end."""
    match order.step:
        case Step.BOOKED.value:
            return Outcome.PENDING if order.state is State.HELD else Outcome.COMPLETED
        case Step.SETTLED.value:
            return Outcome.COMPLETED
        case Step.DECLINED.value | Step.FAILED.value | Step.CANCELLED.value:
            return Outcome.FAILED if order.decline in OURS else Outcome.REFUSED
        case _:
            return None


def _replaced(order: Order, **changes: Any) -> Order:
    return msgspec.structs.replace(order, **changes)


def _as_ask(order: Order) -> Ask:
    """Return what an order asks, to gather its facts again."""
    return Ask(
        client=order.client,
        key="",
        channel=order.channel,
        product=order.product,
        payer=order.payer,
        payee=order.payee,
        amount=order.amount,
        currency=order.currency,
        reference=order.reference,
        actor=order.actor,
    )


def _put(where: dict[K, V], key: K, value: V | None, undo: list[Callable[[], None]]) -> None:
    """Set or remove a key, and note how to take that back."""
    before = where.get(key)
    if value is None:
        where.pop(key, None)
    else:
        where[key] = value

    def back() -> None:
        if before is None:
            where.pop(key, None)
        else:
            where[key] = before

    undo.append(back)
