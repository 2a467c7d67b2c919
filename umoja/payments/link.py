"""The link between a front and the writer: a front's desk speaks to the real one over a local socket.

A frame is four bytes of length and a msgpack array. What is asked and answered in one turn of the
event loop goes out in one write. A front holds no money: it may be killed at any moment, and so may
the link; whoever waited for an answer then is told that it may have happened.
"""

import asyncio
import stat
import struct
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import structlog

from umoja.faults import Busy, Fault, OutcomeUnknown, Unavailable
from umoja.markets.market import Market
from umoja.payments.clerk import order_id
from umoja.payments.desk import Desk
from umoja.payments.order import (
    Ask,
    Confirm,
    Consent,
    Decline,
    Lapse,
    Order,
    Quote,
    Request,
    Reverse,
    Settle,
)

FRAME_MAX = 1 << 20
WAITING_MAX = 20_000  # answers that one front may wait for
RETRY = timedelta(milliseconds=200)
_LENGTH = struct.Struct(">I")

log = structlog.get_logger()


class Find(msgspec.Struct, frozen=True, tag=True):
    """Asks for an order as it stands now."""

    order: str


class PriceOf(msgspec.Struct, frozen=True, tag=True):
    """Asks what an order would cost now."""

    product: str
    payer: int
    payee: int
    amount: int
    currency: str
    reference: str


class Refuse(msgspec.Struct, frozen=True, tag=True):
    """Tells of an ask that was refused before the desk."""

    ask: Ask
    decline: Decline


class Ordered(msgspec.Struct, frozen=True, tag=True):
    order: Order


class Quoted(msgspec.Struct, frozen=True, tag=True):
    quote: Quote


class Busied(msgspec.Struct, frozen=True, tag=True):
    retry_after_s: int


class Failed(msgspec.Struct, frozen=True, tag=True):
    """Nothing happened, or (`is_unknown`) it may have."""

    why: str
    is_unknown: bool


class Declined(msgspec.Struct, frozen=True, tag=True):
    decline: Decline


class Nothing(msgspec.Struct, frozen=True, tag=True):
    """There is no such order."""


class Asked(msgspec.Struct, frozen=True, array_like=True):
    number: int
    market: str
    what: Ask | Confirm | Reverse | Consent | Settle | Lapse | Find | PriceOf | Refuse


class Answered(msgspec.Struct, frozen=True, array_like=True):
    number: int
    what: Ordered | Quoted | Declined | Nothing | Busied | Failed


_encode = msgspec.msgpack.Encoder().encode
_asked = msgspec.msgpack.Decoder(Asked).decode
_answered = msgspec.msgpack.Decoder(Answered).decode


class _Frames(asyncio.Protocol):
    """Reads frames whole and writes those of one turn of the loop together."""

    def __init__(self, take: Callable[[bytes], None], lost: Callable[[], None]) -> None:
        self._take = take
        self._lost = lost
        self._read = bytearray()
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "a stream socket"
        self._transport = transport

    def connection_lost(self, _cause: Exception | None) -> None:
        self._transport = None
        self._lost()

    def data_received(self, data: bytes) -> None:
        read = self._read
        read += data
        at, end = 0, len(read)
        while end - at >= 4:
            (size,) = _LENGTH.unpack_from(read, at)
            if size > FRAME_MAX:
                log.error("payments.link.frame_too_large", size=size)
                self.close()
                return
            if end - at < 4 + size:
                break
            self._take(bytes(memoryview(read)[at + 4 : at + 4 + size]))
            at += 4 + size
        del read[:at]

    def send(self, frame: bytes) -> None:
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out += (_LENGTH.pack(len(frame)), frame)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _flush(self) -> None:
        if self._transport is not None:
            self._transport.write(b"".join(self._out))
        self._out.clear()


# The writer's side


async def listen(path: Path, desks: Mapping[str, Desk]) -> asyncio.Server:
    """Answer fronts at a socket that only this user may open. Close the server to end it."""
    _clear(path)
    server = await asyncio.get_running_loop().create_unix_server(lambda: _Side(desks), path)
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)  # noqa: ASYNC240  once, at the start
    return server


class _Side(_Frames):
    """One front's connection, at the writer."""

    def __init__(self, desks: Mapping[str, Desk]) -> None:
        super().__init__(self._answer, lambda: None)
        self._desks = desks

    def _answer(self, frame: bytes) -> None:
        asked = _asked(frame)
        desk = self._desks.get(asked.market)
        what = asked.what
        if desk is None:
            self._tell(asked.number, Failed("the market is shut", is_unknown=False))
        elif isinstance(what, Find):
            found = desk.find(what.order)
            self._tell(asked.number, Nothing() if found is None else Ordered(found))
        elif isinstance(what, PriceOf):
            quoted = desk.quote(
                product=what.product,
                payer=what.payer,
                payee=what.payee,
                amount=what.amount,
                currency=what.currency,
                reference=what.reference,
            )
            told = Declined(quoted) if isinstance(quoted, Decline) else Quoted(quoted)
            self._tell(asked.number, told)
        elif isinstance(what, Refuse):
            self._tell(asked.number, Ordered(desk.refuse(what.ask, what.decline)))
        else:
            self._enqueue(desk, asked.number, what)

    def _enqueue(self, desk: Desk, number: int, request: Request) -> None:
        try:
            answer = desk.enqueue(request)
        except Busy as busy:
            self._tell(number, Busied(busy.retry_after_s))
            return
        answer.add_done_callback(lambda done: self._tell(number, _outcome(done)))

    def _tell(self, number: int, what: Any) -> None:
        self.send(_encode(Answered(number, what)))


def _outcome(done: "asyncio.Future[Order]") -> Ordered | Busied | Failed:
    cause = done.exception()
    match cause:
        case None:
            return Ordered(done.result())
        case Busy():
            return Busied(cause.retry_after_s)
        case OutcomeUnknown():
            return Failed(str(cause), is_unknown=True)
        case Unavailable():
            return Failed(str(cause), is_unknown=False)
        case _:
            # A bug of ours: it was logged by the desk; nothing of the order is left.
            return Failed("the order met a fault of ours", is_unknown=False)


def _clear(path: Path) -> None:
    """Remove the socket that an earlier writer left behind; its data folder is locked by this one."""
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        path.unlink()


# The front's side


class Link:
    """A front's connection to the writer, made again whenever it is lost."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: dict[int, tuple[asyncio.Future[Any], bool]] = {}
        self._number = 0
        self._frames: _Frames | None = None

    async def run(self) -> None:
        """Keep the connection up, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            lost = loop.create_future()
            try:
                _, frames = await loop.create_unix_connection(
                    lambda lost=lost: _Frames(self._take, lambda: _note(lost)),  # type: ignore[misc]
                    str(self._path),
                )
            except OSError as cause:
                log.info("payments.link.waits", cause=str(cause))
                await asyncio.sleep(RETRY.total_seconds())
                continue
            self._frames = frames
            try:
                await lost
            finally:
                self._frames = None
                frames.close()
                self._fail_all()

    @property
    def is_up(self) -> bool:
        return self._frames is not None

    async def ask(self, market: str, what: Any, *, may_change: bool) -> Any:
        """Return the writer's answer.

        Raise Busy or Unavailable, or OutcomeUnknown where the link broke while something that may
        change the books was on its way.
        """
        if self._frames is None:
            raise Unavailable("the writer cannot be reached")
        if len(self._waiting) >= WAITING_MAX:
            raise Busy("the link to the writer")
        self._number = number = self._number + 1
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = (answer, may_change)
        self._frames.send(_encode(Asked(number, market, what)))
        try:
            told = await answer
        finally:
            self._waiting.pop(number, None)
        match told:
            case Busied():
                raise Busy("the desk", retry_after_s=told.retry_after_s)
            case Failed():
                fault: Fault = (OutcomeUnknown if told.is_unknown else Unavailable)(told.why)
                raise fault
            case Ordered():
                return told.order
            case Quoted():
                return told.quote
            case Declined():
                return told.decline
            case _:
                return None

    def _take(self, frame: bytes) -> None:
        answered = _answered(frame)
        waiting = self._waiting.get(answered.number)
        if waiting is not None and not waiting[0].done():
            waiting[0].set_result(answered.what)

    def _fail_all(self) -> None:
        for answer, may_change in self._waiting.values():
            if not answer.done():
                answer.set_result(Failed("the writer went away", is_unknown=may_change))


def _note(lost: "asyncio.Future[None]") -> None:
    if not lost.done():  # cancelled while the front ends
        lost.set_result(None)


class FarDesk:
    """A market's desk as a front sees it: what is asked of it, the real one decides."""

    def __init__(self, *, market: Market, link: Link) -> None:
        self.market = market
        self._link = link

    def order_id(self, client: str, key: str) -> str:
        return order_id(self.market.code, client, key)

    async def submit(self, request: Request) -> Order:
        order: Order = await self._link.ask(self.market.code, request, may_change=True)
        return order

    async def look_up(self, order: str) -> Order | None:
        found: Order | None = await self._link.ask(self.market.code, Find(order), may_change=False)
        return found

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
        asked = PriceOf(product, payer, payee, amount, currency, reference)
        told: Quote | Decline = await self._link.ask(self.market.code, asked, may_change=False)
        return told

    async def note_refused(self, ask: Ask, decline: Decline) -> Order:
        order: Order = await self._link.ask(
            self.market.code, Refuse(ask, decline), may_change=False
        )
        return order
