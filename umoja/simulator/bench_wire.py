"""The load of an http bench: many kept-alive connections that send requests made ready before.

As lean as the event loop allows, so that the two processes share two cores fairly.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from umoja.faults import Unavailable
from umoja.simulator.bench_figures import Schedule
from umoja.simulator.bench_run import DRAIN_S, Tally

_END = b"\r\n\r\n"
_LENGTH = b"content-length:"
ANSWER_S = 30.0  # without a single answer for so long, a lap is given up
CREATED = 201
BUSY = frozenset({429, 503})

Count = Callable[[Tally, int, bytes], None]
"""Counts an answer by its status and body."""


class AnswerUnreadable(ValueError):
    """What came back is no plain HTTP/1.1 answer with a length."""


class Reader:
    """Cuts a stream of bytes into answers: status and body of each."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return the answers that are whole now. Raise AnswerUnreadable."""
        data = self._kept + data if self._kept else data
        found = []
        at = 0
        while (end := data.find(_END, at)) >= 0:
            status, length = _head(data[at:end])
            last = end + len(_END) + length
            if last > len(data):
                break
            found.append((status, data[end + len(_END) : last]))
            at = last
        self._kept = data[at:]
        return found


def _head(head: bytes) -> tuple[int, int]:
    """Return the status and the length that a head tells."""
    try:
        status = int(head[9:12])
        place = head.lower().index(_LENGTH) + len(_LENGTH)
        return status, int(head[place:].partition(b"\r\n")[0])
    except ValueError as cause:
        raise AnswerUnreadable(f"no plain answer: {head[:80]!r}") from cause


class Answered(Protocol):
    """Whoever hears what became of a line's request."""

    tally: Tally

    def answered(self, line: "Line", status: int, body: bytes) -> None: ...
    def lost(self, line: "Line") -> None: ...


class Line(asyncio.Protocol):
    """One connection: one request at a time."""

    __slots__ = ("_load", "_reader", "_transport", "number", "since")

    def __init__(self, load: "Answered") -> None:
        self._load = load
        self._reader = Reader()
        self._transport: asyncio.Transport | None = None
        self.number = -1  # of the request that waits for its answer; -1: none does
        self.since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "a TCP connection is a stream"
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            answers = self._reader.feed(data)
        except AnswerUnreadable as cause:
            self._load.tally.why(str(cause))
            self.close()
            return
        for status, body in answers:
            self._load.answered(self, status, body)

    def connection_lost(self, _cause: Exception | None) -> None:
        self._transport = None
        self._load.lost(self)

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, number: int, request: bytes, since: float) -> None:
        assert self._transport is not None, "only an open line is given a request"
        self.number, self.since = number, since
        self._transport.write(request)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Load:
    """All connections of the load. One lap or one offered load at a time."""

    def __init__(
        self, host: str, port: int, *, connections: int, count: "Count | None" = None
    ) -> None:
        """Take where to, over how many connections, and how an answer counts."""
        self.tally = Tally()
        self._count = count or count_payment
        self._host = host
        self._port = port
        self._connections = connections
        self._lines: list[Line] = []
        self._idle: deque[Line] = deque()
        self._requests: list[bytes] = []
        self._waiting: deque[tuple[int, float]] = deque()  # due, and no line is idle
        self._next = 0
        self._is_closed_loop = True
        self._until = 0.0
        self._out = 0
        self._ended = asyncio.Event()

    async def connect(self) -> None:
        """Open what is missing of the connections. Raise Unavailable where the server is gone."""
        self._lines = [line for line in self._lines if line.is_open]
        loop = asyncio.get_running_loop()
        try:
            while len(self._lines) < self._connections:
                _, line = await loop.create_connection(lambda: Line(self), self._host, self._port)
                self._lines.append(line)
        except OSError as cause:
            raise Unavailable(f"the server cannot be reached: {cause}") from cause
        self._idle = deque(self._lines)

    def close(self) -> None:
        for line in self._lines:
            line.close()

    async def lap(self, requests: list[bytes], *, limit_s: float) -> None:
        """Send the next request on a line as soon as its last one is answered."""
        self._begin(requests, is_closed_loop=True)
        self._until = time.perf_counter() + limit_s if limit_s else 0.0
        while self._idle and self._next < len(requests):
            self._send_next(self._idle.popleft(), time.perf_counter())
        seen = -1
        while self._out:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), ANSWER_S)
            told = self.tally.done + self.tally.declined + self.tally.failed
            if self._out and told == seen:
                raise Unavailable(f"the server has not answered anything for {ANSWER_S:g} seconds")
            seen = told

    async def offer(self, requests: list[bytes], schedule: Schedule) -> None:
        """Send each request when it is due; where no line is idle it waits, and is late."""
        self._begin(requests, is_closed_loop=False)
        self._until = 0.0
        began, sent, total = time.perf_counter(), 0, len(requests)
        while sent < total:
            due = schedule.due_by(time.perf_counter() - began)
            for number in range(sent, due):
                self._waiting.append((number, began + schedule.at_s(number)))
            sent = max(sent, due)
            while self._waiting and self._idle:
                self._send_waiting(self._idle.popleft())
            if sent < total:
                left = schedule.at_s(sent) - (time.perf_counter() - began)
                await asyncio.sleep(max(0.0, left))
        if self._out or self._waiting:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), DRAIN_S)
        self._give_up(time.perf_counter())

    def answered(self, line: Line, status: int, body: bytes) -> None:
        now = time.perf_counter()
        if line.number < 0:
            return  # given up before
        tally = self.tally
        tally.latencies.append(now - line.since)
        line.number = -1
        self._out -= 1
        self._count(tally, status, body)
        self._go_on(line, now)

    def lost(self, line: Line) -> None:
        if line in self._idle:
            self._idle.remove(line)
        if line.number >= 0:
            line.number = -1
            self._out -= 1
            self.tally.failed += 1
            self.tally.why("the connection was lost before the answer")
        if not self._out:
            self._ended.set()

    def _begin(self, requests: list[bytes], *, is_closed_loop: bool) -> None:
        self._requests = requests
        self._is_closed_loop = is_closed_loop
        self._next = self._out = 0
        self._waiting.clear()
        self._ended.clear()

    def _go_on(self, line: Line, now: float) -> None:
        if self._is_closed_loop:
            if self._next < len(self._requests) and (not self._until or now < self._until):
                self._send_next(line, now)
                return
        elif self._waiting:
            self._send_waiting(line)
            return
        self._idle.append(line)
        if not self._out:
            self._ended.set()

    def _send_next(self, line: Line, now: float) -> None:
        number = self._next
        self._next += 1
        self._out += 1
        line.send(number, self._requests[number], now)

    def _send_waiting(self, line: Line) -> None:
        number, due = self._waiting.popleft()
        self._out += 1
        self._ended.clear()
        line.send(number, self._requests[number], due)

    def _give_up(self, now: float) -> None:
        """Count what was never answered as having taken until now."""
        tally = self.tally
        late = [line for line in self._lines if line.number >= 0]
        for line in late:
            tally.latencies.append(now - line.since)
            line.number = -1
            line.close()  # its answer would be taken for another's
        tally.latencies += [now - due for _, due in self._waiting]
        missing = len(late) + len(self._waiting)
        tally.failed += missing
        if missing:
            tally.why("no answer in time")
        self._waiting.clear()
        self._out = 0


def count_payment(tally: Tally, status: int, body: bytes) -> None:
    """Count the answer to one payment."""
    if status == CREATED:
        tally.done += 1
    elif status in BUSY or status >= 500:
        tally.failed += 1
        tally.why(f"{status} {body[:160].decode(errors='replace')}")
    else:
        tally.declined += 1
        tally.why(f"{status} {_word(body)}")


def _word(body: bytes) -> str:
    """Return what a problem's body says in a word, or its beginning."""
    import msgspec

    try:
        found = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return body[:80].decode(errors="replace")
    word = found.get("type") if isinstance(found, dict) else None
    return str(word or body[:80])
