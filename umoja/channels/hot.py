"""The hot doors: the few requests that a country's peak is made of, answered beside the framework.

A connection is read by the web server's own protocol. A request for a hot path is taken out of it
and answered with one write; every other request goes on to the framework as before, on the same
connection, in the same order. Where a hot request comes whole and plain in one piece, as nearly all
do, it is not even read by the server's parser.
"""

import asyncio
import re
import traceback
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from umoja.channels.gate import HOLD_S, Gate
from umoja.channels.native import Native, Received
from umoja.channels.native_call import BODY_MAX, Operation, Told, Waiter, told
from umoja.channels.native_operations import OPERATIONS
from umoja.channels.plain_head import plain
from umoja.channels.problems import problem
from umoja.channels.ussd import BODY_MAX as USSD_BODY_MAX
from umoja.channels.ussd import Ussd, called_back

log = structlog.get_logger()

Headers = Mapping[bytes, bytes]
"""Names in small letters."""


class Handler(msgspec.Struct, frozen=True):
    """Answers a request of these headers, this body and the place in its path.

    `soon` answers it without a task, or says False where that cannot be; then `answer` does.
    """

    soon: Callable[[Headers, bytes, str, Waiter], bool]
    answer: Callable[[Headers, bytes, str], Awaitable[Told]]


Find = Callable[[bytes], "tuple[Handler, str] | None"]
"""Return who answers a POST to a target, with what stands in its path; None: not a hot one."""

LINGER_S = 1.0

_GUARDS = (
    b"x-content-type-options: nosniff\r\nreferrer-policy: no-referrer\r\nx-frame-options: DENY\r\n"
    b"cross-origin-opener-policy: same-origin\r\ncache-control: no-store\r\n"
    b"content-security-policy: default-src 'none'; frame-ancestors 'none'\r\n"
)
_HOT = {"pay", "confirm", "quote"}
_CONFIRM = re.compile(rb"/v1/payments/([0-9a-f]{32})/confirm")
_USSD = re.compile(rb"/ussd/([A-Z]{2})")
_FRAMED = {b"transfer-encoding", b"expect", b"upgrade"}
_NOBODY_WAITS = asyncio.Event()
_TOO_LARGE = told(problem("too_large"))
_NEVER = float("inf")
_COME_BACK = frozenset({429, 503})


class _Hot:
    """One hot request: stands where the server's protocol keeps the request it is busy with."""

    __slots__ = (
        "body",
        "disconnected",
        "door",
        "handler",
        "headers",
        "keep_alive",
        "message_event",
        "place",
        "response_complete",
        "started",
        "who",
    )

    def __init__(
        self,
        door: "HotDoor",
        found: tuple[Handler, str],
        headers: Headers,
        body: bytes,
        *,
        keep_alive: bool,
    ) -> None:
        self.door = door
        self.handler, self.place = found
        self.headers = headers
        self.body = body
        self.keep_alive = keep_alive
        self.who = headers.get(b"authorization", b"")
        self.started = False
        self.response_complete = False
        self.disconnected = False
        self.message_event = _NOBODY_WAITS

    def start(self) -> None:
        """Answer it, now that it is whole."""
        self.started = True
        door = self.door
        refusal = door.gate.enter(self.who)
        if refusal is not None:
            door.send(self, refusal)
            return
        try:
            if self.handler.soon(self.headers, self.body, self.place, self):
                return
        except Exception as cause:  # noqa: BLE001  told as a bug of ours, whatever it is
            self.fail(cause)
            return
        door.begin(self._answer())

    async def _answer(self) -> None:
        try:
            answer = await self.handler.answer(self.headers, self.body, self.place)
        except Exception as cause:  # noqa: BLE001  told as a bug of ours, whatever it is
            self.fail(cause)
            return
        self.tell(answer)

    def tell(self, answer: Told) -> None:
        door = self.door
        door.gate.leave(self.who)
        door.send(self, answer)

    def fail(self, cause: BaseException) -> None:
        # Neither the message nor the locals: they may hold a PIN or a name.
        places = "".join(traceback.format_tb(cause.__traceback__)[-5:])
        log.error("channels.hot.bug", kind=type(cause).__name__, places=places)
        self.tell(told(problem("bug")))


class HotDoor(HttpToolsProtocol):
    """The server's protocol, with hot paths taken out. Make one for a site with `door`."""

    find: Find
    gate: Gate
    cycle: Any  # the server's own kind of request, or a hot one: it has what is asked of both

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._is_between = True  # the parser has nothing of a message that is not whole
        self._idle_since = _NEVER

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None

    # Reading

    def data_received(self, data: bytes) -> None:
        self._idle_since = _NEVER
        if self._is_between and (self.cycle is None or self.cycle.response_complete):
            taken = None if self.pipeline else plain(data)
            found = taken and type(self).find(taken.target)
            if found and not self.transport.is_closing():
                assert taken is not None, "it was looked for"
                self.cycle = _Hot(self, found, taken.headers, taken.body, keep_alive=True)
                self.cycle.start()
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        self._is_between = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        cycle = self.cycle
        is_free = (cycle is None or cycle.response_complete) and not self.pipeline
        if not is_free or self.parser.get_method() != b"POST":
            super().on_headers_complete()
            return
        found = type(self).find(self.url)
        headers = dict(self.headers)
        if found is None or not _FRAMED.isdisjoint(headers):
            super().on_headers_complete()
            return
        keep_alive = self.parser.should_keep_alive()
        self.cycle = _Hot(self, found, headers, b"", keep_alive=keep_alive)

    def on_body(self, body: bytes) -> None:
        hot = self.cycle
        if type(hot) is not _Hot:
            super().on_body(body)
        elif not hot.started:
            hot.body += body
            if len(hot.body) > BODY_MAX:  # refused at once: what follows of it is dropped
                hot.started = True
                self._refuse_size(hot)

    def on_message_complete(self) -> None:
        self._is_between = True
        hot = self.cycle
        if type(hot) is not _Hot:
            super().on_message_complete()
        elif not hot.started:
            hot.start()

    # Answering

    def begin(self, answering: Any) -> None:
        """Answer a request in a task of its own."""
        task = self.loop.create_task(answering)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def send(self, hot: _Hot, answer: Told) -> None:
        """Write the answer of the request that this connection is busy with."""
        hot.response_complete = True
        if hot.disconnected:
            return
        head = _head(answer, self.server_state.default_headers, keep_alive=hot.keep_alive)
        self.transport.write(head + answer.body)
        if not hot.keep_alive:
            self.transport.close()
        elif answer.status in _COME_BACK:
            self._hold()
        self.cycle = None
        self.on_response_complete()

    def _refuse_size(self, hot: _Hot) -> None:
        # Closed while it still sends, it would never see the answer: it is listened to a little
        # longer, and nothing of that is kept.
        hot.response_complete = True
        if hot.disconnected:
            return
        head = _head(_TOO_LARGE, self.server_state.default_headers, keep_alive=False)
        self.transport.write(head + _TOO_LARGE.body)
        self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)

    def _hold(self) -> None:
        """Read nothing more from this connection for a while: it was told to come back later."""
        self.transport.pause_reading()
        self.loop.call_later(HOLD_S, self._read_on)

    def _read_on(self) -> None:
        if not self.flow.read_paused:
            self.transport.resume_reading()

    # Keeping alive: one timer a connection, which looks how long it has been idle

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since = _NEVER

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_again_in(self.timeout_keep_alive)

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        left_s = self.timeout_keep_alive - max(0.0, self.loop.time() - self._idle_since)
        if left_s > 0:
            self._look_again_in(left_s)
        else:
            super().timeout_keep_alive_handler()

    def _look_again_in(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(
            seconds, self.timeout_keep_alive_handler
        )


def finder(native: Native, ussd: Ussd | None = None, *, ussd_secret: str | None = None) -> Find:
    """Return who answers the hot paths: pay, confirm, quote, and the USSD callback (a front passes it on)."""

    def of(operation: Operation) -> Handler:
        def soon(headers: Headers, body: bytes, place: str, waiter: Waiter) -> bool:
            return native.answer_soon(operation, received(headers, body, place), waiter)

        def answer(headers: Headers, body: bytes, place: str) -> Awaitable[Told]:
            return native.answer(operation, received(headers, body, place))

        return Handler(soon, answer)

    async def called(headers: Headers, body: bytes, market: str) -> Told:
        assert ussd is not None, "a front passes its path on"
        if len(body) > USSD_BODY_MAX:
            return told(problem("too_large"))
        named = {_text(name): _text(value) for name, value in headers.items()}
        return await called_back(ussd, market=market, headers=named, body=body, secret=ussd_secret)

    hot = {operation.name: of(operation) for operation in OPERATIONS if operation.name in _HOT}
    confirm = hot["confirm"]
    callback = Handler(lambda *_: False, called)
    exact = {b"/v1/payments": (hot["pay"], ""), b"/v1/quote": (hot["quote"], "")}

    def find(target: bytes) -> tuple[Handler, str] | None:
        found = exact.get(target)
        if found is not None:
            return found
        named = _CONFIRM.fullmatch(target)
        if named is not None:
            return confirm, named[1].decode()
        named = None if ussd is None else _USSD.fullmatch(target)
        return None if named is None else (callback, named[1].decode())

    return find


def door(find: Find, gate: Gate | None = None) -> type[HotDoor]:
    """Return the protocol of a site whose hot paths `find` knows; all its connections share the gate."""
    return type("SiteDoor", (HotDoor,), {"find": staticmethod(find), "gate": gate or Gate()})


def received(headers: Headers, body: bytes, place: str) -> Received:
    """Return a request as the native API takes it."""
    return Received(
        authorization=_text(headers.get(b"authorization", b"")),
        content_type=_text(headers.get(b"content-type", b"")),
        key=_text(headers.get(b"idempotency-key", b"")),
        body=body,
        place=place,
    )


def _text(value: bytes) -> str:
    return value.decode("latin-1")


def _head(answer: Told, common: list[tuple[bytes, bytes]], *, keep_alive: bool) -> bytes:
    first = _beginning(answer.status, answer.media_type, keep_alive)
    if common is not _usual.given:  # the server makes a new list whenever the date has changed
        _usual.given = common
        _usual.lines = b"".join([b"%b: %b\r\n" % each for each in common])
    more = ""
    for name, value in answer.headers:
        assert "\n" not in value, "a header is one line"
        more += f"{name}: {value}\r\n"
    return b"%b%b%bcontent-length: %d\r\n\r\n" % (
        first,
        _usual.lines,
        more.encode("latin-1"),
        len(answer.body),
    )


class _Usual:
    """The headers that all answers of this moment have, as bytes."""

    __slots__ = ("given", "lines")

    def __init__(self) -> None:
        self.given: list[tuple[bytes, bytes]] | None = None
        self.lines = b""


_usual = _Usual()


@lru_cache(maxsize=256)
def _beginning(status: int, media_type: str, keep_alive: bool) -> bytes:  # noqa: FBT001  a cache's key
    """Return the part of a head that is the same for many answers."""
    line = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: {media_type}\r\n"
    return line.encode() + _GUARDS + (b"" if keep_alive else b"connection: close\r\n")
