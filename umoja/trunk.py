"""The trunk between market processes and the centre: signals and figures upward, switches downward.

A market never waits for the centre. It keeps a bounded number of signals while the centre is away or
slow, drops the oldest beyond that and counts them; the centre is told the count, so that it knows
that it was blind. Switches come down whole, at every connection and every change.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import structlog

from umoja.clock import Clock
from umoja.faults import Busy, Fault, OutcomeUnknown, Unavailable
from umoja.frames import FrameFaulty, Frames, listen_at
from umoja.signals import Answer, BooksSeen, Question, Signal
from umoja.switches import Switches

KEPT_MAX = 20_000  # signals that wait for the centre
BATCH_MAX = 500  # signals in one frame
UNTAKEN_MAX = 16  # frames that the centre has not answered
SEND_EVERY_S = 0.1
ASKED_MAX = 8  # questions that one market works at
ANSWER_WITHIN_S = 120.0
AGAIN_AFTER_S = 0.1
AGAIN_AFTER_MOST_S = 2.0

log = structlog.get_logger()


class Hello(msgspec.Struct, frozen=True, tag=True):
    """Who speaks: a market, and which run of its process."""

    market: str
    run: str


class Batch(msgspec.Struct, frozen=True, tag=True):
    """Signals in order. `lost` is how many this run of the process has dropped in all."""

    number: int
    lost: int
    signals: list[Signal]


class Taken(msgspec.Struct, frozen=True, tag=True):
    """The centre has counted a batch."""

    number: int


class Stop(msgspec.Struct, frozen=True, array_like=True):
    market: str
    product: str
    reason: str


class Decided(msgspec.Struct, frozen=True, tag=True):
    """All stops that the centre decided for a market: what is not named is open."""

    stops: list[Stop]


class Text(msgspec.Struct, frozen=True, tag=True):
    """A text message that the centre sends through the market's own route, to one of staff."""

    message: str
    phone: str
    text: str


class Asked(msgspec.Struct, frozen=True, tag=True):
    """The centre asks a market something."""

    number: int
    question: Question


class Answered(msgspec.Struct, frozen=True, tag=True):
    """What the market answers."""

    number: int
    answer: Answer


class Unanswered(msgspec.Struct, frozen=True, tag=True):
    """The market could not answer: nothing happened, or it may have (`is_unclear`)."""

    number: int
    why: str
    is_unclear: bool


Say = Callable[[str, str, str], None]
"""Hands a text message's id, phone and words to a route. Must not wait."""


_encode = msgspec.msgpack.Encoder().encode
_upward: Callable[[bytes], Any] = msgspec.msgpack.Decoder(
    Hello | Batch | BooksSeen | Answered | Unanswered
).decode
_downward: Callable[[bytes], Any] = msgspec.msgpack.Decoder(Taken | Decided | Text | Asked).decode

Reply = Callable[[Question], Awaitable[Answer]]
"""Answers the centre in a market. Raises Unavailable, or OutcomeUnknown."""


# A market's end


class Upline:
    """A market process's end. `hear` may be given to its signals; `run` does the rest."""

    def __init__(
        self,
        path: Path,
        *,
        market: str,
        run: str,
        clock: Clock,
        switches: Switches,
        say: Say | None = None,
        answer: Reply | None = None,
        kept_max: int = KEPT_MAX,
    ) -> None:
        """Take where the centre hears, the market, a name of this run, and what obeys the centre.

        `say` sends the centre's own texts; without it they are dropped. `answer` answers its questions.
        """
        self._answer = answer
        self._answering: set[asyncio.Task[None]] = set()
        self._say = say
        self._path = path
        self._hello = Hello(market, run)
        self._clock = clock
        self._switches = switches
        self._kept: deque[Signal] = deque()
        self._kept_max = kept_max
        self._untaken: dict[int, int] = {}
        self._number = 0
        self._frames: Frames | None = None
        self.lost = 0

    def hear(self, signal: Signal) -> None:
        """Keep a signal for the centre. Never waits, never raises."""
        if len(self._kept) >= self._kept_max:
            self._kept.popleft()
            self.lost += 1
        self._kept.append(signal)

    def look(self, books: BooksSeen) -> None:
        """Tell what the books say now; dropped where the centre is away: the next one says more."""
        if self._frames is not None and len(self._untaken) < UNTAKEN_MAX:
            self._frames.send(_encode(books))

    @property
    def is_up(self) -> bool:
        return self._frames is not None

    async def run(self) -> None:
        """Keep the connection up, send what is kept and answer what is asked, until cancelled."""
        try:
            await self._keep_up()
        finally:
            for task in self._answering:  # the centre asks again for what it is not told
                task.cancel()
            await asyncio.gather(*self._answering, return_exceptions=True)

    async def _keep_up(self) -> None:
        pause_s = AGAIN_AFTER_S
        loop = asyncio.get_running_loop()
        while True:
            lost = asyncio.Event()
            try:
                _, frames = await loop.create_unix_connection(
                    lambda lost=lost: Frames(self._take, lost.set),  # type: ignore[misc]
                    str(self._path),
                )
            except OSError as cause:
                log.debug("trunk.centre.away", cause=str(cause))
            else:
                pause_s = AGAIN_AFTER_S
                try:
                    await self._speak(frames, lost)
                finally:
                    self._frames = None
                    frames.close()
                    # Counted or not, nobody can say: told as lost, and never told twice.
                    self.lost += sum(self._untaken.values())
                    self._untaken.clear()
                log.warning("trunk.centre.lost", market=self._hello.market)
            await self._clock.sleep(pause_s)
            pause_s = min(pause_s * 2, AGAIN_AFTER_MOST_S)

    async def _speak(self, frames: Frames, lost: asyncio.Event) -> None:
        frames.send(_encode(self._hello))
        self._frames = frames
        while not lost.is_set():
            while self._kept and len(self._untaken) < UNTAKEN_MAX and frames.is_open:
                size = min(BATCH_MAX, len(self._kept))
                signals = [self._kept.popleft() for _ in range(size)]
                self._number += 1
                self._untaken[self._number] = size
                frames.send(_encode(Batch(self._number, self.lost, signals)))
            await self._clock.sleep(SEND_EVERY_S)

    def _take(self, frame: bytes) -> None:
        try:
            told = _downward(frame)
        except msgspec.MsgspecError as cause:
            raise FrameFaulty(f"the centre says what is not understood: {cause}") from cause
        if isinstance(told, Taken):
            self._untaken.pop(told.number, None)
        elif isinstance(told, Asked):
            self._ask(told)
        elif isinstance(told, Text):
            if self._say is not None:
                self._say(told.message, told.phone, told.text)
        else:
            stops = {(each.market, each.product): each.reason for each in told.stops}
            self._switches.take(stops)

    def _ask(self, asked: Asked) -> None:
        """Begin to answer; one question too many is refused at once."""
        if self._answer is None or len(self._answering) >= ASKED_MAX:
            why = "too much is asked at once" if self._answer else "nobody answers here"
            self._tell(Unanswered(asked.number, why, is_unclear=False))
            return
        task = asyncio.get_running_loop().create_task(self._reply(asked, self._answer))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _reply(self, asked: Asked, answer: Reply) -> None:
        try:
            told: Answered | Unanswered = Answered(asked.number, await answer(asked.question))
        except Fault as cause:
            is_unclear = isinstance(cause, OutcomeUnknown)
            told = Unanswered(asked.number, str(cause), is_unclear=is_unclear)
        except Exception:
            log.exception("trunk.answer.bug", market=self._hello.market)
            told = Unanswered(asked.number, "the market met a bug of ours", is_unclear=True)
        self._tell(told)

    def _tell(self, told: Answered | Unanswered) -> None:
        if self._frames is not None:  # gone: the centre knows, and asks again
            self._frames.send(_encode(told))


# The centre's end


class Exchange:
    """The centre's end: counts what all markets tell, and tells them what is stopped.

    `hear` is called with each signal and `look` with each market's figures; neither may wait.
    """

    def __init__(
        self,
        *,
        switches: Switches,
        hear: Callable[[Signal], None],
        look: Callable[[BooksSeen], None],
    ) -> None:
        self._switches = switches
        self._hear = hear
        self._look = look
        self._sides: set[_Side] = set()
        self._known: dict[str, tuple[str, int]] = {}
        self.lost: dict[str, int] = {}
        switches.listen(self._tell_all)

    async def listen(self, path: Path) -> asyncio.Server:
        """Hear markets at a socket that only this user may open. Close the server to end it."""
        return await listen_at(path, lambda: _Side(self))

    def markets(self) -> set[str]:
        """Return the markets whose processes are heard now."""
        return {side.market for side in self._sides}

    def enter(self, side: "_Side") -> None:
        self._sides.add(side)
        self._tell(side)

    def leave(self, side: "_Side") -> None:
        self._sides.discard(side)

    def count(self, hello: Hello, batch: Batch) -> None:
        """Count a batch. What its process lost since it was last heard is added to `lost`."""
        run, before = self._known.get(hello.market, ("", 0))
        missing = batch.lost - (before if run == hello.run else 0)
        self._known[hello.market] = (hello.run, batch.lost)
        if missing > 0:
            self.lost[hello.market] = self.lost.get(hello.market, 0) + missing
            log.warning("trunk.signals.lost", market=hello.market, signals=missing)
        for signal in batch.signals:
            if signal.market == hello.market:  # a market tells of itself only
                self._hear(signal)

    def look(self, books: BooksSeen) -> None:
        self._look(books)

    async def send_text(self, market: str, message: str, phone: str, text: str) -> None:
        """Have a market send a text by its own route. Raise Unavailable where it is not heard."""
        side = next((each for each in self._sides if each.market == market), None)
        if side is None:
            raise Unavailable(f"{market} is not connected to the centre")
        side.send(_encode(Text(message, phone, text)))

    async def ask(self, market: str, question: Question) -> Answer:
        """Ask a market. Raise Unavailable, Busy, or OutcomeUnknown where no answer came."""
        side = next((each for each in self._sides if each.market == market), None)
        if side is None:
            raise Unavailable(f"{market} is not connected to the centre")
        return await side.ask(question)

    def _tell_all(self) -> None:
        for side in self._sides:
            self._tell(side)

    def _tell(self, side: "_Side") -> None:
        stops = [
            Stop(market, product, reason)
            for (market, product), reason in self._switches.stopped.items()
            if market == side.market
        ]
        side.send(_encode(Decided(stops)))


class _Side(Frames):
    """One market's connection, at the centre."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(self._heard, self._gone)
        self._exchange = exchange
        self._hello: Hello | None = None
        self._number = 0
        self._asked: dict[int, asyncio.Future[Answer]] = {}

    @property
    def market(self) -> str:
        return self._hello.market if self._hello is not None else ""

    async def ask(self, question: Question) -> Answer:
        """Ask this market; what it was asked and did not answer may have happened."""
        if len(self._asked) >= ASKED_MAX:
            raise Busy(f"{self.market}: what the centre asks")
        self._number += 1
        number = self._number
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        self.send(_encode(Asked(number, question)))
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return await answer
        except TimeoutError as cause:
            raise OutcomeUnknown(f"{self.market} has not answered in time") from cause
        finally:
            self._asked.pop(number, None)

    def _answered(self, told: Answered | Unanswered) -> None:
        answer = self._asked.get(told.number)
        if answer is None or answer.done():
            return  # too late: whoever asked has gone
        if isinstance(told, Answered):
            answer.set_result(told.answer)
        else:
            fault = OutcomeUnknown if told.is_unclear else Unavailable
            answer.set_exception(fault(told.why))

    def _heard(self, frame: bytes) -> None:
        try:
            told = _upward(frame)
        except msgspec.MsgspecError as cause:
            raise FrameFaulty(f"a market says what is not understood: {cause}") from cause
        if isinstance(told, Hello):
            self._hello = told
            self._exchange.enter(self)
        elif self._hello is None:
            raise FrameFaulty("a market did not say which it is")
        elif isinstance(told, Answered | Unanswered):
            self._answered(told)
        elif isinstance(told, BooksSeen):
            if told.market == self.market:
                self._exchange.look(told)
        else:
            self._exchange.count(self._hello, told)
            self.send(_encode(Taken(told.number)))

    def _gone(self) -> None:
        self._exchange.leave(self)
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(OutcomeUnknown(f"{self.market} went away before it answered"))
