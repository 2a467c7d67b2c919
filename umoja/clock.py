"""Time is given, never called: every part that needs the time is handed a Clock."""

import asyncio
import heapq
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Clock(Protocol):
    """Tells the time: aware UTC, and a stopwatch that never runs backwards."""

    def now(self) -> datetime: ...

    def ticks_s(self) -> float:
        """Return seconds on a stopwatch: only differences mean something."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds of this clock."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)  # noqa: TID251  this is where the house gets its time

    def ticks_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class FastClock:
    """A clock that runs `speed` times as fast as the machine's, from `start` on."""

    def __init__(self, *, start: datetime, speed: float) -> None:
        assert start.tzinfo is not None, "a clock starts at an aware time"
        assert speed > 0, "time runs forward"
        self._start = start
        self._speed = speed
        self._began_s = time.monotonic()

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self.ticks_s())

    def ticks_s(self) -> float:
        return (time.monotonic() - self._began_s) * self._speed

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._speed)


class ManualClock:
    """A clock that stands still until it is told to move: for tests and simulated days."""

    def __init__(self, start: datetime) -> None:
        assert start.tzinfo is not None, "a clock starts at an aware time"
        self._now = start
        self._ticks_s = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._sleeps = 0

    def now(self) -> datetime:
        return self._now

    def ticks_s(self) -> float:
        return self._ticks_s

    async def sleep(self, seconds: float) -> None:
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleeps += 1
        heapq.heappush(self._sleepers, (self._ticks_s + seconds, self._sleeps, wake))
        await wake

    def advance(self, by: timedelta) -> None:
        """Move on, and wake in order whoever slept until then."""
        self._now += by
        self._ticks_s += by.total_seconds()
        while self._sleepers and self._sleepers[0][0] <= self._ticks_s:
            _, _, wake = heapq.heappop(self._sleepers)
            if not wake.done():
                wake.set_result(None)


def to_micros(moment: datetime) -> int:
    """Return whole microseconds since 1970 in UTC."""
    assert moment.tzinfo is not None, "only aware times are kept"
    return (moment - EPOCH) // MICROSECOND


def from_micros(micros: int) -> datetime:
    return EPOCH + timedelta(microseconds=micros)
