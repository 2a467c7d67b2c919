"""The link between a front and the writer: a front's desk speaks to the real one over a local socket.

Each frame is a msgpack array. A front holds no money: it may be killed at any moment, and so may
the link; whoever waited for an answer then is told that it may have happened.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import structlog

from umoja.faults import Busy, Fault, OutcomeUnknown, Unavailable
from umoja.frames import FrameFaulty, Frames, listen_at
from umoja.markets.market import Market
from umoja.payments.clerk import order_id
from umoja.payments.desk import QUEUE_MAX, Desk, Waiting
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

WAITING_MAX = 20_000  # answers that one front may wait for
CLIENT_MAX = 5_000  # of one client, through all fronts together
RETRY = timedelta(milliseconds=50)
RETRY_MOST = timedelta(milliseconds=250)
HEALTHY_AFTER = timedelta(seconds=1)

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


# The writer's side


class Shares:
    """How much of a desk's queue each front, and each client through all fronts, may fill.

    A request has its place from when it is taken until it is answered. Whoever asks for more is
    told to come back, and the others still get in.
    """

    def __init__(self, *, front_max: int = QUEUE_MAX, client_max: int = CLIENT_MAX) -> None:
        self.front_max = front_max
        self._client_max = client_max
        self._by_client: dict[tuple[str, str], int] = {}

    def enter(self, market: str, client: str) -> bool:
        """Take a place of a client's; tell whether there was one."""
        taken = self._by_client.get((market, client), 0)
        if taken >= self._client_max:
            return False
        self._by_client[market, client] = taken + 1
        return True

    def leave(self, market: str, client: str) -> None:
        left = self._by_client[market, client] - 1
        if left:
            self._by_client[market, client] = left
        else:
            del self._by_client[market, client]


async def listen(
    path: Path, desks: Mapping[str, Desk], *, shares: Shares | None = None
) -> asyncio.Server:
    """Answer fronts at a socket that only this user may open. Close the server to end it."""
    fair = shares or Shares()
    return await listen_at(path, lambda: _Side(desks, fair))


class _Side(Frames):
    """One front's connection, at the writer."""

    def __init__(self, desks: Mapping[str, Desk], shares: Shares) -> None:
        super().__init__(self._answer, lambda: None)
        self._desks = desks
        self._shares = shares
        self._in_flight = 0
        self._finding: set[asyncio.Task[Order | None]] = set()

    def _answer(self, frame: bytes) -> None:
        try:
            asked = _asked(frame)
        except msgspec.MsgspecError as cause:
            raise FrameFaulty(f"a front asks what is not understood: {cause}") from cause
        desk = self._desks.get(asked.market)
        if desk is None:
            self._tell(asked.number, Failed("the market is shut", is_unknown=False))
            return
        try:
            self._ask(desk, asked.number, asked.what)
        except Busy as busy:
            self._tell(asked.number, Busied(busy.retry_after_s))
        except Fault as fault:
            is_unknown = isinstance(fault, OutcomeUnknown)
            self._tell(asked.number, Failed(str(fault), is_unknown=is_unknown))
        except AssertionError:
            log.exception("payments.link.bug", market=asked.market)
            self._tell(asked.number, Failed("it met a fault of ours", is_unknown=False))

    def _ask(self, desk: Desk, number: int, what: Any) -> None:
        if isinstance(what, Find):
            self._find(desk, number, what.order)
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
            self._tell(number, told)
        elif isinstance(what, Refuse):
            self._tell(number, Ordered(desk.refuse(what.ask, what.decline)))
        else:
            self._enqueue(desk, number, what)

    def _find(self, desk: Desk, number: int, order: str) -> None:
        if len(self._finding) >= QUEUE_MAX:
            raise Busy("this front's look-ups")
        finding = asyncio.create_task(desk.look_up(order), name="find")
        self._finding.add(finding)

        def told(done: "asyncio.Task[Order | None]") -> None:
            self._finding.discard(done)
            if done.cancelled() or done.exception() is not None:
                log.warning("payments.link.unfound", market=desk.market.code)
                self._tell(number, Failed("it cannot be looked up now", is_unknown=False))
                return
            found = done.result()
            self._tell(number, Nothing() if found is None else Ordered(found))

        finding.add_done_callback(told)

    def _enqueue(self, desk: Desk, number: int, request: Request) -> None:
        market, client = desk.market.code, getattr(request, "client", "")
        if self._in_flight >= self._shares.front_max:
            raise Busy("this front's share of the desk")
        if not self._shares.enter(market, client):
            raise Busy("this client's share of the desk")
        try:
            desk.enqueue_for(_Asker(self, number, market, client), request)
        except BaseException:
            self._shares.leave(market, client)
            raise
        self._in_flight += 1

    def answered(self, asker: "_Asker", what: Any) -> None:
        """Tell the front what became of an order, and free its place."""
        self._in_flight -= 1
        self._shares.leave(asker.market, asker.client)
        self._tell(asker.number, what)

    def _tell(self, number: int, what: Any) -> None:
        self.send(_encode(Answered(number, what)))


class _Asker:
    """One order of a front's, waiting at the desk: a payments.desk.Waiting."""

    __slots__ = ("_side", "client", "market", "number")

    def __init__(self, side: _Side, number: int, market: str, client: str) -> None:
        self._side = side
        self.number = number
        self.market = market
        self.client = client

    def done(self) -> bool:
        return False

    def set_result(self, order: Order) -> None:
        self._side.answered(self, Ordered(order))

    def set_exception(self, cause: BaseException) -> None:
        self._side.answered(self, _trouble(cause))


def _trouble(cause: BaseException) -> Busied | Failed:
    match cause:
        case Busy():
            return Busied(cause.retry_after_s)
        case OutcomeUnknown():
            return Failed(str(cause), is_unknown=True)
        case Unavailable():
            return Failed(str(cause), is_unknown=False)
        case asyncio.CancelledError():
            return Failed("the writer is closing", is_unknown=True)
        case _:
            # A bug of ours: it was logged by the desk; nothing of the order is left.
            return Failed("the order met a fault of ours", is_unknown=False)


# The front's side


class Link:
    """A front's connection to the writer, made again whenever it is lost."""

    def __init__(self, path: Path, *, on_up: Callable[[], bool] = lambda: True) -> None:
        """Take where the writer listens, and what to ask whenever the connection stands.

        Where `on_up` says no, the front cannot use it yet: it is given up and tried again later.
        """
        self._path = path
        self._on_up = on_up
        self._waiting: dict[int, tuple[Waiting, bool]] = {}
        self._number = 0
        self._frames: Frames | None = None

    async def run(self) -> None:
        """Keep the connection up, until cancelled."""
        loop = asyncio.get_running_loop()
        pause_s = RETRY.total_seconds()
        while True:
            lost = loop.create_future()
            try:
                _, frames = await loop.create_unix_connection(
                    lambda lost=lost: Frames(self._take, lambda: _note(lost)),  # type: ignore[misc]
                    str(self._path),
                )
            except OSError as cause:
                log.debug("payments.link.waits", cause=str(cause))
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, RETRY_MOST.total_seconds())
                continue
            began_s = loop.time()
            try:
                if self._on_up():
                    self._frames = frames
                    await lost
                    log.warning("payments.link.lost", at=self._path.parent.name)
            finally:
                self._frames = None
                frames.close()
                self._fail_all()
            if loop.time() - began_s >= HEALTHY_AFTER.total_seconds():
                pause_s = RETRY.total_seconds()
            await asyncio.sleep(pause_s)  # a writer that hangs up at once is not stormed
            pause_s = min(pause_s * 2, RETRY_MOST.total_seconds())

    @property
    def is_up(self) -> bool:
        return self._frames is not None

    async def ask(self, market: str, what: Any, *, may_change: bool) -> Any:
        """Return the writer's answer.

        Raise Busy or Unavailable, or OutcomeUnknown where the link broke while something that may
        change the books was on its way.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        number = self.ask_for(answer, market, what, may_change=may_change)
        try:
            return await answer
        finally:
            self._waiting.pop(number, None)

    def ask_for(self, waiting: Waiting, market: str, what: Any, *, may_change: bool) -> int:
        """Ask, and have `waiting` told what `ask` would return or raise; return the question's number.

        Raise Busy or Unavailable: then nothing was asked, and nothing will be told.
        """
        if self._frames is None or not self._frames.is_open:
            raise Unavailable("the writer cannot be reached")
        if len(self._waiting) >= WAITING_MAX:
            raise Busy("the link to the writer")
        self._number = number = self._number + 1
        self._waiting[number] = (waiting, may_change)
        self._frames.send(_encode(Asked(number, market, what)))
        return number

    def _take(self, frame: bytes) -> None:
        try:
            answered = _answered(frame)
        except msgspec.MsgspecError as cause:
            raise FrameFaulty(f"the writer says what is not understood: {cause}") from cause
        waiting = self._waiting.pop(answered.number, None)
        if waiting is not None:
            _pass_on(waiting[0], answered.what)

    def _fail_all(self) -> None:
        all_waiting, self._waiting = self._waiting, {}
        for waiting, may_change in all_waiting.values():
            _pass_on(waiting, Failed("the writer went away", is_unknown=may_change))


def _pass_on(waiting: Waiting, told: Any) -> None:
    """Tell whoever waits what the writer answered."""
    try:
        if waiting.done():
            return
        match told:
            case Ordered():
                waiting.set_result(told.order)
            case Busied():
                waiting.set_exception(Busy("the desk", retry_after_s=told.retry_after_s))
            case Failed():
                kind = OutcomeUnknown if told.is_unknown else Unavailable
                waiting.set_exception(kind(told.why))
            case Quoted():
                waiting.set_result(told.quote)
            case Declined():
                waiting.set_result(told.decline)
            case _:
                waiting.set_result(None)
    except Exception:  # the others on this link are told all the same
        log.exception("payments.link.untold")


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

    def enqueue_for(self, waiting: Waiting, request: Request) -> None:
        """Begin `submit`, and have `waiting` told what it would return or raise."""
        self._link.ask_for(waiting, self.market.code, request, may_change=True)

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
