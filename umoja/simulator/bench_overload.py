"""Overload in a bench: several times what can be done is offered, and what becomes of it is told.

The load is open: a payment is due whatever became of those before. One that is due while every
connection waits for its answer is held back and counted as such: the server reads nothing more from
connections that it has turned away until they have paused.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence

from umoja.faults import Unavailable
from umoja.simulator.bench_figures import Latencies
from umoja.simulator.bench_machine import cpu_s, memory_mb
from umoja.simulator.bench_run import Tally
from umoja.simulator.bench_wire import BUSY, CREATED, Line

LINES_LEAST = 4_000  # more than one client may have in work, or nobody is turned away
TICK_S = 0.002
AFTER_S = 12.0  # so long half the peak is offered afterwards, to see when it is as usual
CALM_S = 3.0  # and so long before, to see what is usual
WINDOW_S = 1.0
SLOWER = 3.0  # times the usual p99 is no more as usual
ROOM = 2.0  # requests made ready for each that can be done: those that are refused are sent again


class _Window:
    """What was answered in one second."""

    __slots__ = ("done", "latencies", "refused")

    def __init__(self) -> None:
        self.done = 0
        self.refused = 0
        self.latencies: list[float] = []

    def p99_ms(self) -> float:
        found = Latencies()
        found.add_all(self.latencies)
        return found.at_ms(99) or 0.0


class Flood:
    """Offers `times` the peak for so many seconds, over many connections. Used once."""

    def __init__(self, *, peak: float, times: float, seconds: float, connections: int) -> None:
        self.tally = Tally()
        self.done = 0
        self._peak = peak
        self._times = times
        self._seconds = seconds
        self._connections = connections
        self._requests: Sequence[bytes] = ()
        self._fresh = 0
        self._again: deque[int] = deque()
        self._idle: deque[Line] = deque()
        self._lines: list[Line] = []
        self._sent = self._held_back = self._lost = 0
        self._refused: dict[int, int] = {}
        self._other: dict[int, int] = {}
        self._slowest_refusal_s = 0.0
        self._window = _Window()

    @property
    def requests(self) -> int:
        """Return how many requests have to be made ready."""
        calm = self._peak / 2 * (CALM_S + AFTER_S)
        return round((self._peak * self._seconds + calm) * ROOM) + self._connections

    async def run(
        self, host: str, port: int, requests: Sequence[bytes], server: int
    ) -> dict[str, object]:
        """Return the figures. Raise Unavailable where the connections cannot be opened."""
        self._requests = requests
        loop = asyncio.get_running_loop()
        try:
            for _ in range(self._connections):
                _, line = await loop.create_connection(lambda: Line(self), host, port)
                self._lines.append(line)
        except OSError as cause:
            raise Unavailable(f"{len(self._lines)} connections and no more: {cause}") from cause
        self._idle = deque(self._lines)
        try:
            return await self._run(server)
        finally:
            for line in self._lines:
                line.close()

    async def _run(self, server: int) -> dict[str, object]:
        calm = await self._offer(self._peak / 2, CALM_S)
        usual_ms = max(window.p99_ms() for window in calm[1:] or calm)
        before_mb = memory_mb(server)
        self._refused.clear()
        sent, held, lost = self._sent, self._held_back, self._lost
        self._slowest_refusal_s = 0.0
        began, cpu_before = time.perf_counter(), cpu_s(server)
        flood = await self._offer(self._peak * self._times, self._seconds)
        took_s = time.perf_counter() - began
        cpu = cpu_s(server) - cpu_before
        done = sum(window.done for window in flood)
        figures: dict[str, object] = {
            "wanted_per_s": round(self._peak * self._times, 1),
            "offered_per_s": round((self._sent - sent) / took_s, 1),
            "held_back_per_s": round((self._held_back - held) / took_s, 1),
            "seconds": round(took_s, 2),
            "connections": self._connections,
            "goodput_per_s": round(done / took_s, 1),
            "goodput_share": round(done / took_s / self._peak, 3),
            "server_cpu_us_per_payment": round(cpu / done * 1e6, 2) if done else None,
            "refused": {str(status): count for status, count in sorted(self._refused.items())},
            "slowest_refusal_ms": round(self._slowest_refusal_s * 1000, 1),
            "p99_ms": max(window.p99_ms() for window in flood),
            "lost": self._lost - lost,
            "memory_mb_before": before_mb,
            "memory_mb_after": memory_mb(server),
        }
        after = await self._offer(self._peak / 2, AFTER_S)
        rough = [
            place + 1
            for place, window in enumerate(after)
            if window.refused or window.p99_ms() > max(usual_ms * SLOWER, 50.0)
        ]
        return figures | {
            "usual_p99_ms": usual_ms,
            "recovered_s": max(rough, default=0) * WINDOW_S,
            "other_answers": {str(status): count for status, count in self._other.items()},
        }

    async def _offer(self, rate: float, seconds: float) -> list[_Window]:
        """Offer a load; return what was answered, second by second."""
        windows = [_Window()]
        self._window = windows[0]
        began, due_before = time.perf_counter(), 0
        while (gone := time.perf_counter() - began) < seconds:
            if gone >= len(windows) * WINDOW_S:
                self._window = _Window()
                windows.append(self._window)
            due = int(gone * rate)
            for _ in range(due - due_before):
                if not self._idle:
                    self._held_back += due - due_before
                    break
                self._send(self._idle.popleft())
                due_before += 1
            due_before = due
            await asyncio.sleep(TICK_S)
        return windows

    def _send(self, line: Line) -> None:
        if self._again:
            number = self._again.popleft()
        else:
            number, self._fresh = self._fresh, self._fresh + 1
            if number >= len(self._requests):
                raise Unavailable("more was done than was made ready: measure the peak longer")
        self._sent += 1
        line.send(number, self._requests[number], time.perf_counter())

    def answered(self, line: Line, status: int, body: bytes) -> None:  # noqa: ARG002  a line tells all
        took_s = time.perf_counter() - line.since
        number, line.number = line.number, -1
        window = self._window
        if status == CREATED:
            self.done += 1
            window.done += 1
            window.latencies.append(took_s)
        elif status in BUSY:
            self._refused[status] = self._refused.get(status, 0) + 1
            self._slowest_refusal_s = max(self._slowest_refusal_s, took_s)
            window.refused += 1
            self._again.append(number)
        else:
            self._other[status] = self._other.get(status, 0) + 1
        self._idle.append(line)

    def lost(self, line: Line) -> None:
        self._lost += 1
        if line in self._idle:
            self._idle.remove(line)
