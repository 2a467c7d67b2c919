"""The carrier: a market's receipts and webhooks in a process of their own, at a low priority.

It reads the journal's tail, and asks the market's process what is free in a purse, for texts tell
the balance as it stands when they are written. It may be killed at any moment: what it had in hand
is in its file, and what it had not read is in the journal. The market's side is here too.
"""

import asyncio
import itertools
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import structlog

from umoja.channels.pace import UNBOUNDED, Pace
from umoja.clock import SystemClock
from umoja.faults import Unavailable
from umoja.frames import FrameFaulty, Frames
from umoja.ledger.tail import Tail
from umoja.mail import open_mail
from umoja.markets.texts import Texts
from umoja.opening import open_sql
from umoja.parties.directory import Directory
from umoja.parties.party import Party
from umoja.parties.store import PartyStore
from umoja.payments.branch import Branch
from umoja.payments.tail import TailFeed
from umoja.posts import Duty, man
from umoja.premises import Keys, load_markets
from umoja.signals import RECEIPT_DUE_S, MessageSeen, MessagesSeen, Signal, Signals
from umoja.switches import Switches, kept_switches

NICE = 10
ROOMY = 4  # processors: from so many on nobody waits for a carrier
PERCENT = 25
"""What texts may take of a processor while payments come in, where there are few processors. A low
priority alone does not do it: two that share a processor's parts slow each other down."""
BATCH_MAX = 500  # signals in one frame
TELL_EVERY_S = 0.1
ANSWER_WITHIN_S = 10.0
STOP_WITHIN_S = 5.0
AGAIN_AFTER_S = 0.2
AGAIN_AFTER_MOST_S = 5.0
HEALTHY_AFTER_S = 10.0
SWITCHES_EVERY_S = 2.0

log = structlog.get_logger()


class Free(msgspec.Struct, frozen=True, tag=True):
    """Asks what parties may pay with now, each in a currency."""

    number: int
    asked: list[tuple[int, str]]


class Seen(msgspec.Struct, frozen=True, tag=True):
    """What was sent and delivered, in order."""

    signals: list[Signal]


class FreeNow(msgspec.Struct, frozen=True, tag=True):
    """The answer to Free, in the same order; None where somebody has no purse."""

    number: int
    minors: list[int | None]


_encode = msgspec.msgpack.Encoder().encode
_upward: Callable[[bytes], Free | Seen] = msgspec.msgpack.Decoder(Free | Seen).decode
_downward: Callable[[bytes], FreeNow] = msgspec.msgpack.Decoder(FreeNow).decode


# The market's side


class Carriage:
    """Keeps one market's carrier running, answers what it asks, and passes on what it tells."""

    def __init__(
        self,
        *,
        duty: Duty,
        branch: Branch,
        directory: Directory,
        signals: Signals,
        told: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Take the market process's own duty: the carrier gets the same, but for its role.

        `told` hears the number of its process whenever a new one is started, 0 where it died.
        """
        self._told = told
        self._duty = duty
        self._desk = branch.desk
        self._wallets = branch.wallets
        self._directory = directory
        self._signals = signals
        self._answering: set[asyncio.Task[None]] = set()
        self._frames: Frames | None = None
        self.pid = 0

    async def run(self) -> None:
        """Keep it running until cancelled; what dies is started again, later and later."""
        pause_s = AGAIN_AFTER_S
        loop = asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            code = await self._once()
            log.error("carrier.died", market=self._duty.markets[0], pid=self.pid, code=code)
            self.pid = 0
            self._told(0)
            if loop.time() - began_s >= HEALTHY_AFTER_S:
                pause_s = AGAIN_AFTER_S
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, AGAIN_AFTER_MOST_S)

    async def _once(self) -> int:
        """Run the process to its end; return its exit code."""
        ours, theirs = socket.socketpair()
        with theirs:
            _, frames = await asyncio.get_running_loop().create_unix_connection(
                lambda: Frames(self._take, lambda: None), sock=ours
            )
            self._frames = frames
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "umoja.carrier",
                *self._duty.markets,  # for people who list processes
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
            number = theirs.fileno()
        self.pid = process.pid
        self._told(self.pid)
        duty = msgspec.structs.replace(self._duty, role="receipts", listening=number)
        try:
            assert process.stdin is not None, "it was asked for"
            process.stdin.write(msgspec.json.encode(duty) + b"\n")
            return await process.wait()
        except asyncio.CancelledError:
            await _end(process)
            raise
        finally:
            frames.close()

    def _take(self, frame: bytes) -> None:
        try:
            told = _upward(frame)
        except msgspec.MsgspecError as cause:
            raise FrameFaulty("a carrier's frame says nothing") from cause
        if isinstance(told, Seen):
            for each in told.signals:
                self._signals.send(each)
            return
        answering = asyncio.get_running_loop().create_task(self._answer(told))
        self._answering.add(answering)  # one at a time: the carrier waits for each
        answering.add_done_callback(self._answering.discard)

    async def _answer(self, asked: Free) -> None:
        """Say what is free once that is durable: a text must not tell what a crash could undo."""
        minors = await self._desk.settled(lambda: self._free(asked.asked))
        if self._frames is not None:
            self._frames.send(_encode(FreeNow(asked.number, minors)))

    def _free(self, asked: Sequence[tuple[int, str]]) -> list[int | None]:
        known = [(self._directory.get(party), currency) for party, currency in asked]
        minors = iter(self._wallets.free([(who, what) for who, what in known if who is not None]))
        return [None if who is None else next(minors) for who, _ in known]


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_WITHIN_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


# The carrier's side


class _Market:
    """The market's process as its carrier sees it: purses to ask for, and an ear for signals."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count()
        self._asked: dict[int, Future[list[int | None]]] = {}
        self._unsaid: list[Signal] = []
        self._plain: dict[tuple[str, str, int], list[int]] = {}  # sent and in time, by second
        self._is_saying = False
        self.is_gone = asyncio.Event()
        self.frames = Frames(self._take, self._lost)

    def free(self, asked: Sequence[tuple[Party, str]]) -> list[int | None]:
        """Ask, from any thread but the loop's. Raise Unavailable where no answer comes."""
        question = [(party.id, currency) for party, currency in asked]
        answer: Future[list[int | None]] = Future()
        self._loop.call_soon_threadsafe(self._ask, question, answer)
        try:
            minors = answer.result(ANSWER_WITHIN_S)
        except TimeoutError as cause:
            raise Unavailable("the market's process does not answer its carrier") from cause
        if len(minors) != len(question):
            raise Unavailable("the market's process answered something else")
        return minors

    def _ask(self, question: list[tuple[int, str]], answer: "Future[list[int | None]]") -> None:
        if not self.frames.is_open:
            answer.set_exception(Unavailable("the market's process is gone"))
            return
        number = next(self._numbers)
        self._asked = {n: each for n, each in self._asked.items() if not each.done()}
        self._asked[number] = answer
        self.frames.send(_encode(Free(number, question)))

    def hear(self, told: Signal) -> None:
        """Pass a signal on, with others. Call it in the loop.

        What went as it should is only counted: it would cost the market more than its payments.
        """
        if not self._is_saying:
            self._is_saying = True
            self._loop.call_later(TELL_EVERY_S, self.say)
        if not isinstance(told, MessageSeen) or _is_harm(told):
            self._unsaid.append(told)
            if len(self._unsaid) >= BATCH_MAX:
                self._send_unsaid()
            return
        is_sent = told.state == "sent"
        now_s = told.at.timestamp()
        second = int(now_s if is_sent else now_s - told.waited_s)
        counts = self._plain.setdefault((told.market, told.route, second), [0, 0])
        counts[0 if is_sent else 1] += 1

    def say(self) -> None:
        """Tell what was heard and not told yet. Call it in the loop."""
        self._is_saying = False
        plain, self._plain = self._plain, {}
        for (market, route, second), (sent, in_time) in plain.items():
            self._unsaid.append(
                MessagesSeen(
                    market=market,
                    route=route,
                    second=second,
                    sent=sent,
                    in_time=in_time,
                )
            )
        self._send_unsaid()

    def _send_unsaid(self) -> None:
        for at in range(0, len(self._unsaid), BATCH_MAX):
            self.frames.send(_encode(Seen(self._unsaid[at : at + BATCH_MAX])))
        self._unsaid = []

    def _take(self, frame: bytes) -> None:
        try:
            told = _downward(frame)
        except msgspec.MsgspecError as cause:
            raise FrameFaulty("a market's frame says nothing") from cause
        answer = self._asked.pop(told.number, None)
        if answer is not None and not answer.done():
            answer.set_result(told.minors)

    def _lost(self) -> None:
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(Unavailable("the market's process is gone"))
        self._asked.clear()
        self.is_gone.set()


async def _read_switches(path: Path, routes: Switches) -> None:
    """Follow what the market's process keeps of the centre's decisions, until cancelled."""
    while True:
        try:
            routes.take(kept_switches(path).stopped)
        except Unavailable as cause:
            log.warning("carrier.switches.unread", cause=str(cause))  # the last known ones hold
        await asyncio.sleep(SWITCHES_EVERY_S)


def _is_harm(told: MessageSeen) -> bool:
    """Tell whether a customer misses or missed a receipt: what it was for has to be counted."""
    return told.state == "failed" or (told.state == "delivered" and told.waited_s > RECEIPT_DUE_S)


def _is_roomy() -> bool:
    return len(os.sched_getaffinity(0)) >= ROOMY


def _pace() -> Pace:
    return Pace(UNBOUNDED if _is_roomy() else PERCENT)


async def _carry(duty: Duty, life: asyncio.StreamReader) -> None:
    os.nice(NICE)  # payments first
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # Ctrl-C is the keeper's to hear
    config, clock, signals, books = duty.config(), SystemClock(), Signals(), _Market()
    await loop.create_unix_connection(
        lambda: books.frames, sock=socket.socket(fileno=duty.listening)
    )
    market = load_markets(config)[duty.markets[0]]
    store = PartyStore(
        open_sql(config, "parties", market=market.code),
        market=market,
        clock=clock,
        pin_key=Keys.of(config).pin_of(market.code),
    )
    feed = TailFeed(Tail(open_sql(config, "journal", market=market.code)))
    signals.listen(books.hear)
    routes = Switches()
    mail = open_mail(
        market,
        where=config,
        clock=clock,
        directory=store,
        purses=books,
        feed=feed,
        texts=Texts.load(),
        signals=signals,
        pace=_pace(),
        is_out=partial(routes.is_route_out, market.code),
        key=Keys.of(config).pin_of(market.code),
        may_be_private=not config.is_production,
        events_pace=Pace(UNBOUNDED) if _is_roomy() else None,
    )
    running = asyncio.create_task(mail.receipts.run(), name="receipts")
    telling = asyncio.create_task(mail.webhooks.run(), name="webhooks")
    reading = asyncio.create_task(
        _read_switches(config.data / market.code / "switches.json", routes), name="switches"
    )
    ends: list[asyncio.Task[Any]] = [
        asyncio.create_task(life.read(), name="life"),  # it ends when the market's process does
        asyncio.create_task(stopping.wait(), name="stopping"),
        asyncio.create_task(books.is_gone.wait(), name="books"),
    ]
    try:
        await asyncio.wait({running, telling, *ends}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (running, telling, reading, *ends):
            task.cancel()
        await asyncio.gather(running, telling, reading, *ends, return_exceptions=True)
        await mail.close()
        books.say()
        await asyncio.sleep(0)  # for the frame to go out
        books.frames.close()
        feed.close()
        store.close()


if __name__ == "__main__":
    man(_carry)
