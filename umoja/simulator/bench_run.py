"""How a bench is run: what every mode offers, one lap of a closed loop, one load of an open one."""

import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from umoja.faults import Unavailable
from umoja.simulator.bench_figures import Latencies, Offered, Repeat, Schedule
from umoja.simulator.bench_machine import cpu_s
from umoja.simulator.bench_workload import Draw, Drawer

SLICE = 50_000  # payments made ready at once: memory stays bounded, whatever the size
OFFERED_MAX = 2_000_000  # payments of one offered load: all of them are made ready before it begins
DRAIN_S = 10.0  # so long after its end an open loop waits for answers


class Runner(Protocol):
    """One mode of a bench, ready to be used. Requests are made before the clock starts."""

    def lap(self, draw: Draw, *, first: int, limit_s: float) -> Repeat:
        """Put all payments of a draw through as fast as they go, or until `limit_s` (0: no limit).

        `first` is the number of the first one; a number is never used twice.
        """
        ...

    def offer(self, draw: Draw, schedule: Schedule, *, first: int) -> Offered:
        """Send each payment when it is due, whatever became of those before."""
        ...

    def books(self) -> dict[str, object]:
        """Stop, prove that money balances, and return how; nothing can be run afterwards."""
        ...

    def facts(self) -> dict[str, object]:
        """Return what this mode tells of itself: batches, windows, how durable a commit is."""
        ...

    def close(self) -> None:
        """Stop and clean up; closing twice is harmless."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """Counts the CPU seconds of the processes that payments pass through, and of the load."""

    counted: tuple[int, ...] = ()
    is_load_apart: bool = False  # whether this very process makes the load and nothing else

    def read(self) -> tuple[float, float]:
        """Return CPU seconds spent on payments and on making load, until now."""
        ours = cpu_s()
        others = sum(cpu_s(process) for process in self.counted)
        return (others, ours) if self.is_load_apart else (ours + others, 0.0)


class Tally:
    """What became of the payments of a lap, while it runs."""

    __slots__ = ("declined", "done", "failed", "latencies", "reasons")

    def __init__(self) -> None:
        self.done = 0
        self.declined = 0
        self.failed = 0
        self.latencies: list[float] = []
        self.reasons: dict[str, int] = {}

    def why(self, reason: str) -> None:
        """Note why a payment was not done; only a few reasons are kept apart."""
        if reason in self.reasons or len(self.reasons) < 20:
            self.reasons[reason] = self.reasons.get(reason, 0) + 1

    def repeat(
        self, *, seconds: float, cpu: tuple[float, float], load: tuple[float, float]
    ) -> Repeat:
        """Return the figures; `cpu` and `load` are seconds read before and after."""
        latencies = Latencies()
        latencies.add_all(self.latencies)
        return Repeat(
            done=self.done,
            declined=self.declined,
            failed=self.failed,
            seconds=seconds,
            cpu_s=cpu[1] - cpu[0],
            load_cpu_s=load[1] - load[0],
            latencies=latencies,
        )


@contextmanager
def timed(meter: Meter, tally: Tally, into: list[Repeat]) -> Iterator[None]:
    """Time what is inside and append its figures.

    What was made ready before is put out of the garbage collector's sight: a server has no such
    heap of requests that wait.
    """
    gc.collect()
    gc.freeze()
    try:
        before = meter.read()
        began = time.perf_counter()
        yield
        seconds = time.perf_counter() - began
        after = meter.read()
    finally:
        gc.unfreeze()
    into.append(
        tally.repeat(seconds=seconds, cpu=(before[0], after[0]), load=(before[1], after[1]))
    )


def joined(laps: Sequence[Repeat]) -> Repeat:
    """Return several laps as one repeat: the time between them is not counted."""
    latencies = Latencies()
    for lap in laps:
        latencies.join(lap.latencies)
    return Repeat(
        done=sum(lap.done for lap in laps),
        declined=sum(lap.declined for lap in laps),
        failed=sum(lap.failed for lap in laps),
        seconds=sum(lap.seconds for lap in laps),
        cpu_s=sum(lap.cpu_s for lap in laps),
        load_cpu_s=sum(lap.load_cpu_s for lap in laps),
        latencies=latencies,
    )


class Numbers:
    """Gives every payment of a bench a number of its own, also over many benches of one folder."""

    def __init__(self, began: int) -> None:
        """`began` is when this bench began, in microseconds since 1970."""
        self._next = began << 40

    def take(self, count: int) -> int:
        first = self._next
        self._next += count
        return first


def closed(
    runner: Runner, drawer: Drawer, numbers: Numbers, *, payments: int, limit_s: float
) -> Repeat:
    """Run one repeat: so many payments, or for so many seconds, whichever ends first."""
    laps: list[Repeat] = []
    left, left_s = payments, limit_s
    size = SLICE
    while left > 0 and (not limit_s or left_s > 0):
        count = min(size, left)
        lap = runner.lap(drawer.draw(count), first=numbers.take(count), limit_s=max(left_s, 0))
        laps.append(lap)
        if not lap.done:
            raise Unavailable("no payment came through: see the reasons above")
        left -= count
        left_s -= lap.seconds
        if limit_s:  # what is made ready and never sent is time lost
            size = min(SLICE, max(100, round(lap.per_second * left_s * 1.2)))
    return joined(laps)


def opened(
    runner: Runner, drawer: Drawer, numbers: Numbers, *, rate: float, seconds: float
) -> Offered:
    """Offer one load. Raise Unavailable where it is more than can be made ready at once."""
    schedule = Schedule(rate=rate, seconds=seconds)
    if schedule.total > OFFERED_MAX:
        raise Unavailable(
            f"{rate:g} a second for {seconds:g} seconds are more than {OFFERED_MAX} payments:"
            " fewer --seconds"
        )
    count = schedule.total
    return runner.offer(drawer.draw(count), schedule, first=numbers.take(count))
