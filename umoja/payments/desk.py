"""The desk of one market: gathers orders, has them decided one after the other, keeps them together.

Whatever the size of the batch, all of it is committed in one durable append before anybody is
answered. Idempotency rests on the order's id, which is made of the client and its key: a repeat
finds the order, wherever it stands.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from itertools import repeat
from typing import Any, Protocol, TypeVar

import structlog

from umoja.clock import Clock, to_micros
from umoja.faults import Busy, Fault, OutcomeUnknown, Unavailable
from umoja.ids import receipt_place
from umoja.ledger.awaited import AwaitedLock
from umoja.ledger.ledger import Batch, Ledger
from umoja.markets.market import Market, Service
from umoja.parties.directory import Directory
from umoja.payments.catalogue import PRODUCTS
from umoja.payments.clerk import Clerk, Moment, Undo, decode_order, order_id, take_back
from umoja.payments.lifecycle import Step
from umoja.payments.limits import Usage
from umoja.payments.order import OURS, Ask, Decline, Order, Quote, Request, State
from umoja.signals import OrderSeen, Outcome, Signals, latency_bucket
from umoja.switches import Switches

QUEUE_MAX = 20_000
BATCH_MAX = 1_000
PART_MAX = 200  # of a batch that are decided before the event loop comes to others
SETTLED_WITHIN_S = 10
GATHER_FOR = timedelta(milliseconds=1)
LET_IN = GATHER_FOR  # a thread that waits for desk or ledger goes first

_BOOKED, _SETTLED = Step.BOOKED.value, Step.SETTLED.value
_AFTER_PENDING = frozenset({Step.SETTLED.value, Step.FAILED.value})
_REFUSED = frozenset({Step.DECLINED.value, Step.FAILED.value, Step.CANCELLED.value})

Listener = Callable[[Order], None]
Found = TypeVar("Found")

log = structlog.get_logger()


class Waiting(Protocol):
    """Whoever waits for a desk's answer, as a Future does. One of the two is called, once.

    Calls come in the event loop, between other orders' answers: they must be quick.
    """

    def done(self) -> bool:
        """Tell whether nobody waits any more."""
        ...

    def set_result(self, found: Any) -> None: ...  # an Order, where an order was asked
    def set_exception(self, cause: BaseException) -> None: ...


class _Many:
    """Holds the answers of requests that were queued one behind the other, until all are there."""

    __slots__ = ("_found", "_left", "whole")

    def __init__(self, count: int, whole: "asyncio.Future[list[Order | BaseException]]") -> None:
        self._found: list[Order | BaseException] = []
        self._left = count
        self.whole = whole

    def done(self) -> bool:
        return False  # each is told once

    def set_result(self, found: Order | BaseException) -> None:
        self._found.append(found)
        self._left -= 1
        if not self._left and not self.whole.done():
            self.whole.set_result(self._found)

    set_exception = set_result


_Errand = tuple[Request, Waiting, float]
"""A request, what will hold its answer, and since when it waits."""


class _Round:
    """Errands that are decided together and kept by one commit."""

    __slots__ = (
        "answers", "batch", "before", "committing", "durable", "errands", "is_closed", "landing",
        "undo",
    )  # fmt: skip

    def __init__(
        self,
        batch: Batch,
        durable: "asyncio.Future[bool]",
        before: "asyncio.Future[bool] | None",
    ) -> None:
        """Take what becomes True once the round is durable and False when it is taken back.

        `before` is that of the round which this one was begun behind.
        """
        self.batch = batch
        self.durable = durable
        self.before = before
        self.errands: list[_Errand] = []
        self.answers: list[tuple[Order, bool]] = []
        self.undo: Undo = []
        self.is_closed = False
        self.committing: Future[None] | None = None
        self.landing: asyncio.Future[None] | None = None

    @property
    def room(self) -> int:
        return 0 if self.is_closed else BATCH_MAX - len(self.errands)

    def has_landed(self) -> bool:
        assert self.landing is not None, "it was sent"
        return self.landing.done()


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
        progress: Callable[[int, int], None] = lambda *_: None,
    ) -> None:
        """Take the state up from the ledger's checkpoint and the lines behind it.

        `progress` is told lines read and to read.
        """
        self.market = market
        self._ledger = ledger
        self._clock = clock
        self._signals = signals
        self._clerk = Clerk(
            market=market,
            directory=directory,
            ledger=ledger,
            switches=switches,
            mark_key=mark_key or b"unkeyed",
            progress=progress,
        )
        self._listeners: list[Listener] = []
        self._lock = AwaitedLock()  # held by whoever decides
        self._queue: deque[_Errand] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._executor: ThreadPoolExecutor | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # the worker's
        self._wake: asyncio.Event | None = None
        self._is_asleep = False
        self._is_closing = False
        self._decider = 0  # the thread of the worker, while it has the desk
        self._durable: asyncio.Future[bool] | None = None  # of the newest round that is not yet
        self._alone = 0  # the first of the queue, each of whom is decided in a round of its own
        self._is_held = False  # nobody is decided before the round that is on its way has landed

    # Asking

    async def submit(self, request: Request) -> Order:
        """Answer one request after its durable commit. Repeating it moves nothing twice.

        An expected refusal is an Order in state DECLINED with its reason. Raise Busy when the
        queue is full, Unavailable when nothing happened, OutcomeUnknown when it may have.
        """
        return await self.enqueue(request)

    def enqueue(self, request: Request) -> "asyncio.Future[Order]":
        """Queue one request and return what will hold its answer: see `submit`. Raise Busy."""
        answer: asyncio.Future[Order] = asyncio.get_running_loop().create_future()
        self.enqueue_for(answer, request)
        return answer

    def enqueue_for(self, waiting: Waiting, request: Request) -> None:
        """Queue one request; `waiting` is told its answer, or the fault that `submit` would raise.

        It is told in the event loop, in the order of asking, and must not wait. Raise Busy: then
        nothing was queued, and nothing will be told.
        """
        if self._is_closing:
            raise Busy("the desk", retry_after_s=5)
        if len(self._queue) >= QUEUE_MAX:
            raise Busy("the desk")
        if self._loop is None:
            self._begin_work()
        queue = self._queue
        queue.append((request, waiting, self._clock.ticks_s()))
        if self._is_asleep or len(queue) >= PART_MAX:
            self._stir()

    def enqueue_many(
        self, requests: Sequence[Request]
    ) -> "asyncio.Future[list[Order | BaseException]]":
        """Queue requests one behind the other; return what will hold all answers, in their order.

        An answer is the order, or the fault that `submit` would have raised. Raise Busy where not all
        of them fit into the queue.
        """
        assert requests, "there is something to ask"
        if self._is_closing:
            raise Busy("the desk", retry_after_s=5)
        if len(self._queue) + len(requests) > QUEUE_MAX:
            raise Busy("the desk")
        loop = self._loop or self._begin_work()
        many, since_s = _Many(len(requests), loop.create_future()), self._clock.ticks_s()
        self._queue.extend([(request, many, since_s) for request in requests])
        self._stir()
        return many.whole

    def _begin_work(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._executor = ThreadPoolExecutor(1, f"desk-{self.market.code}")
        self._worker = loop.create_task(self._work())
        self._loop = loop
        return loop

    def submit_now(self, requests: Iterable[Request]) -> list[Order]:
        """Answer one batch of requests at once, in this thread, after one durable commit."""
        assert self._decider != threading.get_ident(), "inside the event loop, await submit"
        began, asked = self._clock.ticks_s(), list(requests)
        with self._lock, self._decided(asked) as (answers, batch):
            batch.commit()
        self._tell_all(answers, repeat(began))
        return [order for order, _ in answers]

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
        return self._clerk.quote(ask, self._moment_now())

    def refuse(self, ask: Ask, decline: Decline) -> Order:
        """Return an ask refused before the desk, for a wrong PIN: kept nowhere, told to signals."""
        refused = self._clerk.refused(ask, decline, now=to_micros(self._clock.now()))
        self._tell(refused, self._clock.now(), 0)
        return refused

    # Finding

    def order_id(self, client: str, key: str) -> str:
        """Return the id of the order that a client's key stands for."""
        return order_id(self.market.code, client, key)

    def find(self, order_id: str) -> Order | None:
        """Return an order as it stands now."""
        return self._clerk.find(order_id)

    def mark(self, party: int) -> int:
        """Return a keyed hash that stands for a party where nobody may be named."""
        return self._clerk.mark(party)

    def used(self, party: int, service: Service) -> Usage:
        """Return what a party has used of its limits, and of one service."""
        return self._clerk.used(party, service)

    async def look_up(self, order: str) -> Order | None:
        """Return an order as it stands now: `find`, for whoever may be far from the desk."""
        return await self.settled(lambda: self.find(order))

    async def settled(self, read: Callable[[], Found]) -> Found:
        """Return what `read` finds, once all of it is durable. Whatever leaves the house is read so.

        State in memory runs ahead of the disk by what is decided and not yet committed: told at once,
        a crash could undo it. `read` is called in this thread and may be called several times.
        """
        while True:
            found = read()
            durable = self._durable
            if durable is None:
                return found
            await asyncio.wait([durable])
            if durable.result():
                return found
            await asyncio.sleep(0)  # what was read is taken back, and read again

    def settled_elsewhere(self, read: Callable[[], Found]) -> Found:
        """Return what `read` finds, once all of it is durable: `settled`, for other threads.

        Never from the event loop. Raise Unavailable where the loop does not come to it in time.
        """
        loop = self._loop
        if loop is None:  # nothing is committed beside whoever asks
            return read()
        waiting = asyncio.run_coroutine_threadsafe(self.settled(read), loop)
        try:
            return waiting.result(SETTLED_WITHIN_S)
        except TimeoutError as cause:
            waiting.cancel()
            raise Unavailable("the desk is too busy to say what is settled") from cause

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
        order = decode_order(row.story)
        return self.find(order.id) if order.receipt == number else None

    def awaiting_consent(self, payee: int) -> list[Order]:
        """Return the payments that were asked back of this receiver and wait for her answer."""
        return [
            order
            for order in list(self._clerk.waiting.values())
            if order.state is State.REVERSAL_ASKED and order.payee == payee
        ]

    def waiting(self) -> list[Order]:
        """Return all orders that wait for somebody or something."""
        return list(self._clerk.waiting.values())

    def orders(self, *, after: int = 0, limit: int = 500) -> list[tuple[int, Order]]:
        """Return journal sequences and orders behind `after`: the feed of receipts and exports."""
        return [
            (row.sequence, decode_order(row.story))
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

    async def close(self, *, does_save: bool = True) -> None:
        """Answer what is queued, then write a checkpoint. New orders are told to come back."""
        self._is_closing = True
        if self._worker is not None and self._wake is not None:
            self._wake.set()
            # What it met was told where it happened, and whoever asked was answered.
            with suppress(Exception):
                await self._worker
        if self._executor is not None:
            self._executor.shutdown()
        if does_save:
            self.save()

    def save(self) -> None:
        """Write a checkpoint, so that the next start has little to fold. Not from the event loop."""
        with self._lock:
            kept = self._ledger.taken()
            companion = self._clerk.companion()
        self._ledger.save(kept, companion)

    # The worker

    async def _work(self) -> None:
        assert self._wake is not None, "made with the worker"
        while self._queue or not self._is_closing:
            if not self._queue:
                self._wake.clear()
                self._is_asleep = True
                await self._wake.wait()
                self._is_asleep = False
                await asyncio.sleep(GATHER_FOR.total_seconds())
                continue
            if self._is_awaited():
                await asyncio.sleep(LET_IN.total_seconds())
                continue
            if not self._lock.acquire(blocking=False):  # a checkpoint is being taken
                await asyncio.get_running_loop().run_in_executor(self._executor, self._lock.acquire)
            self._decider = threading.get_ident()
            try:
                await self._answer_queue()
            finally:
                self._decider = 0
                self._lock.release()

    async def _answer_queue(self) -> None:
        """Answer whoever queues, until nobody does or another thread wants the desk.

        Deciding beside the event loop would only make both wait for each other: the interpreter
        runs one of them at a time. The commit waits for a disk, so it goes to a thread; what is asked
        meanwhile is decided here, in a round behind the one that is on its way, and sent when that
        one has landed. So two rounds are open at most.
        """
        sent: _Round | None = None
        behind: _Round | None = None
        try:
            while sent is not None or self._may_begin():
                while sent is not None and not sent.has_landed():
                    if not self._may_begin():
                        await self._stirred()
                    elif behind is None or behind.room:
                        behind = self._filled(behind or self._begun(sent), PART_MAX)
                        await asyncio.sleep(0)
                    else:
                        break
                if sent is not None:
                    is_kept = await self._landed(sent, behind)
                    sent, behind = None, behind if is_kept else None
                if self._may_begin():
                    behind = self._filled(behind or self._begun(None), BATCH_MAX)
                if behind is not None:
                    sent, behind = self._sent(behind), None
        except BaseException as cause:
            # Cancelled, or a bug of ours: nobody writes before a new start.
            if isinstance(cause, Exception):
                log.exception("payments.desk.stopped", market=self.market.code)
            self._is_closing = True  # whoever asks from now on is told to come back
            self._ledger.doubt("the desk has stopped in the middle: start again")
            self._abandon(sent, behind)
            raise

    async def _stirred(self) -> None:
        """Wait until a round has landed or there is enough to decide meanwhile."""
        assert self._wake is not None, "made with the worker"
        self._wake.clear()
        await self._wake.wait()

    def _may_begin(self) -> bool:
        """Tell whether somebody queues and no other thread wants the desk or the ledger."""
        return bool(self._queue) and not self._is_held and not self._is_awaited()

    def _is_awaited(self) -> bool:
        return self._lock.is_awaited or self._ledger.is_awaited

    def _begun(self, before: "_Round | None") -> "_Round | None":
        """Open a round, behind another that is on its way; None where nothing may be written."""
        try:
            batch = self._ledger.begin(None if before is None else before.batch)
        except Fault as cause:
            _fail(self._next(BATCH_MAX), cause)
            return None
        assert self._loop is not None, "set with the worker"
        opened = _Round(batch, self._loop.create_future(), self._durable)
        self._durable = opened.durable
        return opened

    def _next(self, count: int) -> list[_Errand]:
        popleft = self._queue.popleft
        return [popleft() for _ in range(min(count, len(self._queue)))]

    def _filled(self, opened: "_Round | None", count: int) -> "_Round | None":
        """Decide up to `count` of those who queue; None where the round is no more."""
        if opened is None or not opened.room:
            return opened
        errands = self._next(min(count, 1 if self._alone else opened.room))
        if self._alone:
            self._alone -= 1
            opened.is_closed = True
        opened.errands += errands
        self._clerk.moment = self._moment_now()
        decide, batch, undo = self._clerk.decide, opened.batch, opened.undo
        try:
            opened.answers += [decide(request, batch, undo) for request, _, _ in errands]
        except Fault as cause:
            self._take_back(opened)
            if self._is_on_its_way():
                self._queue_anew(opened.errands)
            else:
                _fail(opened.errands, cause)
            return None
        except Exception as cause:
            # One request met a bug of ours: the others do not pay for it.
            self._take_back(opened)
            if len(opened.errands) > 1 or self._is_on_its_way():
                self._queue_anew(opened.errands)
                self._alone += len(opened.errands)
            else:
                log.exception("payments.desk.bug", market=self.market.code)
                _fail(opened.errands, cause)
            return None
        return opened

    def _is_on_its_way(self) -> bool:
        """Tell whether somebody who asked before is still to be told."""
        return self._durable is not None

    def _queue_anew(self, errands: list[_Errand]) -> None:
        """Let errands be decided once more, when all who asked before them have been told."""
        self._queue.extendleft(reversed(errands))
        self._is_held = self._is_on_its_way()

    def _sent(self, opened: "_Round") -> "_Round":
        assert self._executor is not None, "made with the worker"
        self._clerk.send_off()
        opened.committing = self._executor.submit(opened.batch.keep)
        opened.landing = asyncio.wrap_future(opened.committing)
        opened.landing.add_done_callback(self._stir)
        return opened

    async def _landed(self, sent: "_Round", behind: "_Round | None") -> bool:
        """Wait until a round is durable and answer it. False: it is not, nor the one behind it.

        Faults are given to whoever asked. Those behind, to whom nothing has happened, queue anew.
        """
        assert sent.landing is not None, "it was sent"
        try:
            await sent.landing
        except Fault as cause:
            if behind is not None:
                self._take_back(behind)
                self._queue.extendleft(reversed(behind.errands))
            self._take_back(sent)
            _fail(sent.errands, cause)
            return False
        finally:
            self._is_held = False
        sent.batch.stand()
        sent.batch.end()
        self._clerk.landed()
        sent.durable.set_result(True)
        if self._durable is sent.durable:
            self._durable = None
        try:
            self._tell_all(sent.answers, [since_s for _, _, since_s in sent.errands])
        finally:  # whatever a listener does, it is booked
            self._answer_all(sent)
        return True

    def _answer_all(self, sent: "_Round") -> None:
        for (_, waiting, _), (order, _) in zip(sent.errands, sent.answers, strict=True):
            try:
                if not waiting.done():
                    waiting.set_result(order)
            except Exception:  # it is booked: the others are told all the same
                log.exception("payments.desk.untold", market=self.market.code)

    def _stir(self, _landing: object = None) -> None:
        assert self._wake is not None, "made with the worker"
        self._wake.set()

    def _take_back(self, newest: "_Round") -> None:
        """Undo the newest round: what the clerk remembers, what the ledger's state has."""
        take_back(newest.undo)
        newest.batch.end()
        if newest.committing is None:
            self._clerk.end_batch()
        else:
            self._clerk.landed()
        before = newest.before
        self._durable = before if before is not None and not before.done() else None
        newest.durable.set_result(False)

    def _abandon(self, sent: "_Round | None", behind: "_Round | None") -> None:
        """Let go of open rounds at the worker's end: what is on its way is waited for, and unclear."""
        if sent is not None and sent.committing is not None:
            wait([sent.committing])
        if behind is not None:
            self._take_back(behind)
        if sent is not None and not sent.durable.done():
            self._take_back(sent)
            _fail(sent.errands, OutcomeUnknown("the desk has stopped during a commit"))
        stopped = Unavailable("the desk has stopped")
        _fail([] if behind is None else behind.errands, stopped)
        _fail(self._next(len(self._queue)), stopped)

    @contextmanager
    def _decided(self, requests: list[Request]) -> Iterator[tuple[list[tuple[Order, bool]], Batch]]:
        """Decide a batch, to be committed inside; whatever is raised, nothing of it is left."""
        self._clerk.moment = self._moment_now()
        undo: Undo = []
        decide = self._clerk.decide
        try:
            with self._ledger.batch() as batch:
                yield [decide(request, batch, undo) for request in requests], batch
        except BaseException:
            take_back(undo)
            raise
        finally:
            self._clerk.end_batch()

    def _tell_all(self, answers: list[tuple[Order, bool]], since_s: Iterable[float]) -> None:
        """Tell what each request that changed something became, and how long it took."""
        ended, now = self._clock.ticks_s(), self._clock.now()
        tell, listeners = self._tell, self._listeners
        # Completed at once, by what they have in common; and the latency of each kind's first.
        alike: dict[tuple[str, str, str, int], list[Order]] = {}
        latencies: list[float] = []
        for (order, is_new), since in zip(answers, since_s, strict=False):
            if is_new:
                latency_ms = (ended - since) * 1000
                if order.step == _BOOKED and order.state is State.COMPLETED:
                    kind = (
                        order.product,
                        order.channel,
                        order.currency,
                        latency_bucket(latency_ms),
                    )
                    orders = alike.get(kind)
                    if orders is None:
                        alike[kind] = [order]
                        latencies.append(latency_ms)
                    else:
                        orders.append(order)
                else:
                    tell(order, now, latency_ms)
                for listener in listeners:
                    listener(order)
        for orders, latency_ms in zip(alike.values(), latencies, strict=True):
            tell(orders[0], now, latency_ms, orders)

    def _moment_now(self) -> Moment:
        return self._clerk.moment_of(to_micros(self._clock.now()))

    # Telling

    def _tell(
        self, order: Order, now: datetime, latency_ms: float, alike: Sequence[Order] = ()
    ) -> None:
        """Signal an attempt that ended or began to wait for a partner, or many like it."""
        outcome = _outcome(order)
        if outcome is None:
            return
        decline, many = order.decline, len(alike) > 1
        product = PRODUCTS.get(order.product)
        self._signals.send(
            OrderSeen(  # by places, because each payment passes here
                now,
                order.market,
                "unknown" if product is None else order.product,
                order.channel,
                outcome,
                "" if decline is None else decline.value,
                sum([each.amount for each in alike]) if many else order.amount,
                order.currency,
                latency_ms,
                0 if many else order.payer_mark,
                order.state is not State.HELD,
                order.step in _AFTER_PENDING,
                order.product if product is not None and product.asks_partner else "",
                "",
                len(alike) if many else 1,
            )
        )


def _fail(errands: list[_Errand], cause: BaseException) -> None:
    for _, waiting, _ in errands:
        try:
            if not waiting.done():
                waiting.set_exception(cause)
        except Exception:  # the others are told all the same
            log.exception("payments.desk.untold")


def _outcome(order: Order) -> Outcome | None:
    """Return how operations count this row, or None where it is no attempt's end."""
    step = order.step
    if step == _BOOKED:
        return Outcome.PENDING if order.state is State.HELD else Outcome.COMPLETED
    if step == _SETTLED:
        return Outcome.COMPLETED
    if step in _REFUSED:
        return Outcome.FAILED if order.decline in OURS else Outcome.REFUSED
    return None
