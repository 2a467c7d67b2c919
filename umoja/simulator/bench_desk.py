"""The desk mode of a bench: complete orders without HTTP, through the desk's own queue."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from umoja.faults import Busy, Fault
from umoja.ledger.ledger import Ledger
from umoja.parties.store import PartyStore
from umoja.payments.desk import BATCH_MAX, Desk
from umoja.payments.order import Ask, Order, State
from umoja.simulator.bench_figures import Offered, Repeat, Schedule
from umoja.simulator.bench_run import DRAIN_S, Meter, Tally, timed
from umoja.simulator.bench_stage import Ground, prove
from umoja.simulator.bench_workload import Draw

TOLD = (
    "orders through the desk's queue: product, price, tax, limits, idempotency, receipt, durable"
    " journal line (the outbox's feed), telemetry"
)
_DONE = frozenset({State.COMPLETED, State.HELD})


class DeskRunner:
    """Keeps so many orders waiting at the desk. See bench_run.Runner.

    The load is made in the same loop: its microseconds are counted with the desk's.
    """

    def __init__(
        self,
        ground: Ground,
        desk: Desk,
        ledger: Ledger,
        store: PartyStore,
        *,
        meter: Meter,
        window: int,
        tell: Callable[[str], None],
        durability: dict[str, object],
        on_close: Callable[[], None],
        does_save: bool = True,
    ) -> None:
        """Without `does_save` no checkpoint is written at the end: all of the bench is a tail."""
        self._does_save = does_save
        self._ground = ground
        self._desk = desk
        self._ledger = ledger
        self._store = store
        self._meter = meter
        self._window = window
        self._tell = tell
        self._durability = durability
        self._on_close = on_close
        self._loop = asyncio.Runner()
        self._lines = ledger.head
        self._answered = 0
        self._is_closed = False

    def lap(self, draw: Draw, *, first: int, limit_s: float) -> Repeat:
        asks = self._ground.asks(draw, first=first)
        return self._loop.run(self._lap(asks, limit_s))

    def offer(self, draw: Draw, schedule: Schedule, *, first: int) -> Offered:
        asks = self._ground.asks(draw, first=first)
        return self._loop.run(self._offer(asks, schedule))

    async def _lap(self, asks: list[Ask], limit_s: float) -> Repeat:
        tally, repeats = Tally(), list[Repeat]()
        # Read from the end: what was sent is let go at once.
        asks.reverse()
        with timed(self._meter, tally, repeats):
            load = _Closed(self._desk, asks, tally, limit_s=limit_s)
            await load.run(self._window)
        self._told(tally)
        return repeats[0]

    async def _offer(self, asks: list[Ask], schedule: Schedule) -> Offered:
        tally, repeats = Tally(), list[Repeat]()
        with timed(self._meter, tally, repeats):
            await _Open(self._desk, asks, tally, schedule).run()
        self._told(tally)
        return Offered(
            rate=schedule.rate, seconds=schedule.seconds, due=len(asks), repeat=repeats[0]
        )

    def _told(self, tally: Tally) -> None:
        self._answered += tally.done + tally.declined
        for reason, times in tally.reasons.items():
            self._tell(f"{times} orders were not done: {reason}")

    def books(self) -> dict[str, object]:
        with suppress(Fault):  # a checkpoint only shortens the next start
            self._loop.run(self._desk.close(does_save=self._does_save))
        found = prove(self._ledger)
        added = self._ledger.head - self._lines
        # More lines than answers: an open loop stopped waiting for some. Fewer: something was lost.
        return found | {"lines_added": added, "every_answer_kept": added >= self._answered}

    def facts(self) -> dict[str, object]:
        return {
            "what": TOLD,
            "window": self._window,
            "batch": BATCH_MAX,
            "receipts_sent": False,
            "durability": self._durability,
        }

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._loop.close()
        self._ledger.close()
        self._store.close()
        self._on_close()


class _Sent:
    """One order at the desk: counts what becomes of it, and says that it was answered."""

    __slots__ = ("_answered", "_mark", "_tally")

    def __init__(self, tally: Tally, answered: Callable[[float], bool], mark: float) -> None:
        """`answered` is told the mark, and returns whether the order still counts."""
        self._tally = tally
        self._answered = answered
        self._mark = mark

    def done(self) -> bool:
        return False

    def set_result(self, order: Order) -> None:
        if not self._answered(self._mark):
            return
        if order.state in _DONE:
            self._tally.done += 1
        else:
            self._tally.declined += 1
            self._tally.why(order.decline.value if order.decline else order.state.value)

    def set_exception(self, fault: BaseException) -> None:
        if self._answered(self._mark):
            self._tally.failed += 1
            self._tally.why(f"{type(fault).__name__}: {fault}")


class _Closed:
    """As many orders as the window holds wait at any moment: each answer sends the next one."""

    __slots__ = ("_asks", "_desk", "_ended", "_out", "_tally", "_until")

    def __init__(self, desk: Desk, asks: list[Ask], tally: Tally, *, limit_s: float) -> None:
        self._desk = desk
        self._asks = asks
        self._tally = tally
        self._until = time.perf_counter() + limit_s if limit_s else 0.0
        self._out = 0
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, window: int) -> None:
        for _ in range(min(window, len(self._asks))):
            self._send(time.perf_counter())
        if self._out:
            await self._ended

    def _send(self, now: float) -> None:
        self._desk.enqueue_for(_Sent(self._tally, self._answered, now), self._asks.pop())
        self._out += 1

    def _answered(self, since: float) -> bool:
        """Note how long it took, and send the next one."""
        now = time.perf_counter()
        self._tally.latencies.append(now - since)
        self._out -= 1
        if self._asks and (not self._until or now < self._until):
            try:
                self._send(now)
            except Busy as fault:  # closing, or a window wider than the queue
                self._tally.failed += 1
                self._tally.why(str(fault))
        if not self._out and not self._ended.done():
            self._ended.set_result(None)
        return True


class _Open:
    """Sends each order when it is due, however many wait."""

    def __init__(self, desk: Desk, asks: list[Ask], tally: Tally, schedule: Schedule) -> None:
        self._desk = desk
        self._asks = asks
        self._tally = tally
        self._schedule = schedule
        self._began = 0.0
        self._out: set[int] = set()
        self._idle = asyncio.Event()

    async def run(self) -> None:
        schedule, total = self._schedule, len(self._asks)
        self._began = time.perf_counter()
        sent = 0
        while sent < total:
            due = schedule.due_by(time.perf_counter() - self._began)
            for number in range(sent, due):
                self._send(number)
            sent = max(sent, due)
            if sent < total:
                left = schedule.at_s(sent) - (time.perf_counter() - self._began)
                await asyncio.sleep(max(0.0, left))
        if self._out:
            self._idle.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), DRAIN_S)
        now = time.perf_counter() - self._began
        for number in self._out:  # still waiting: at least so long it would have taken
            self._tally.latencies.append(now - schedule.at_s(number))
            self._tally.failed += 1
            self._tally.why("no answer in time")
        self._out.clear()

    def _send(self, number: int) -> None:
        try:
            self._desk.enqueue_for(_Sent(self._tally, self._answered, number), self._asks[number])
        except Busy as fault:
            self._tally.failed += 1
            self._tally.why(str(fault))
            return
        self._out.add(number)

    def _answered(self, mark: float) -> bool:
        number = int(mark)
        if number not in self._out:
            return False  # it was counted as too late
        self._out.remove(number)
        late = time.perf_counter() - self._began - self._schedule.at_s(number)
        self._tally.latencies.append(late)
        if not self._out:
            self._idle.set()
        return True
