"""The hot doors: the few requests that a country's peak is made of, answered beside the framework.

A connection is read by the web server's own protocol. A request for a hot path is taken out of it
as soon as its headers are there and answered with one write; every other request goes on to the
framework as before, on the same connection, in the same order.
"""

import asyncio
import re
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from umoja.channels.native import Native, Received
from umoja.channels.native_call import Operation, Told, told
from umoja.channels.native_operations import OPERATIONS
from umoja.channels.problems import problem
from umoja.channels.ussd import BODY_MAX as USSD_BODY_MAX
from umoja.channels.ussd import Ussd, called_back

log = structlog.get_logger()

Handler = Callable[[Mapping[str, str], bytes, str], Awaitable[Told]]
"""Answers a request of these headers (names in small letters), this body and the place in its path."""

Find = Callable[[bytes], "tuple[Handler, str] | None"]
"""Return who answers a POST to a target, with what stands in its path; None: not a hot one."""

BODY_MAX = 64 * 1024
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
_STATUS = {each.value: f"HTTP/1.1 {each.value} {each.phrase}\r\n".encode() for each in HTTPStatus}


class _Hot:
    """One hot request: stands where the server's protocol keeps the request it is busy with."""

    __slots__ = (
        "body",
        "disconnected",
        "handler",
        "headers",
        "keep_alive",
        "message_event",
        "place",
        "response_complete",
        "started",
    )

    def __init__(
        self,
        handler: Handler,
        place: str,
        headers: dict[str, str],
        event: asyncio.Event,
        *,
        keep_alive: bool,
    ) -> None:
        self.handler = handler
        self.place = place
        self.headers = headers
        self.body = b""
        self.keep_alive = keep_alive
        self.started = False
        self.response_complete = False
        self.disconnected = False
        self.message_event = event


class HotDoor(HttpToolsProtocol):
    """The server's protocol, with hot paths taken out. Make one for a site with `door`."""

    find: Find
    cycle: Any  # the server's own kind of request, or a hot one: it has what is asked of both

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._nobody_waits = asyncio.Event()

    def on_headers_complete(self) -> None:
        cycle = self.cycle
        is_free = (cycle is None or cycle.response_complete) and not self.pipeline
        if not is_free or self.parser.get_method() != b"POST":
            super().on_headers_complete()
            return
        found = type(self).find(self.url)
        if found is None or any(name in _FRAMED for name, _ in self.headers):
            super().on_headers_complete()
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in self.headers}
        self.cycle = _Hot(
            *found, headers, self._nobody_waits, keep_alive=self.parser.should_keep_alive()
        )

    def on_body(self, body: bytes) -> None:
        hot = self.cycle
        if type(hot) is not _Hot:
            super().on_body(body)
        elif not hot.started:
            hot.body += body
            if len(hot.body) > BODY_MAX:  # refused at once: what follows of it is dropped
                self._start(hot)

    def on_message_complete(self) -> None:
        hot = self.cycle
        if type(hot) is not _Hot:
            super().on_message_complete()
        elif not hot.started:
            self._start(hot)

    def _start(self, hot: _Hot) -> None:
        hot.started = True
        task = self.loop.create_task(self._answer(hot))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    async def _answer(self, hot: _Hot) -> None:
        try:
            if len(hot.body) > BODY_MAX:
                hot.keep_alive = False
                answer = told(problem("too_large"))
            else:
                answer = await hot.handler(hot.headers, hot.body, hot.place)
        except Exception as cause:  # noqa: BLE001  told as a bug of ours, whatever it is
            # Neither the message nor the locals: they may hold a PIN or a name.
            places = "".join(traceback.format_tb(cause.__traceback__)[-5:])
            log.error("channels.hot.bug", kind=type(cause).__name__, places=places)  # noqa: TRY400
            answer = told(problem("bug"))
        hot.response_complete = True
        if hot.disconnected:
            return
        common = self.server_state.default_headers
        self.transport.write(_written(answer, common, keep_alive=hot.keep_alive))
        if len(hot.body) > BODY_MAX:
            # Closed while it still sends, it would never see the answer: it is listened to a
            # little longer, and nothing of that is kept.
            self.transport.write_eof()
            self.loop.call_later(LINGER_S, self.transport.close)
            return
        if not hot.keep_alive:
            self.transport.close()
        self.on_response_complete()


def finder(native: Native, ussd: Ussd | None = None, *, ussd_secret: str | None = None) -> Find:
    """Return who answers the hot paths: pay, confirm, quote, and the USSD callback (a front passes it on)."""

    def of(operation: Operation) -> Handler:
        async def answer(headers: Mapping[str, str], body: bytes, place: str) -> Told:
            return await native.answer(operation, Received(headers=headers, body=body, place=place))

        return answer

    async def called(headers: Mapping[str, str], body: bytes, market: str) -> Told:
        assert ussd is not None, "a front passes its path on"
        if len(body) > USSD_BODY_MAX:
            return told(problem("too_large"))
        return await called_back(
            ussd, market=market, headers=headers, body=body, secret=ussd_secret
        )

    hot = {operation.name: of(operation) for operation in OPERATIONS if operation.name in _HOT}
    confirm = hot["confirm"]
    exact = {b"/v1/payments": (hot["pay"], ""), b"/v1/quote": (hot["quote"], "")}

    def find(target: bytes) -> tuple[Handler, str] | None:
        found = exact.get(target)
        if found is not None:
            return found
        named = _CONFIRM.fullmatch(target)
        if named is not None:
            return confirm, named[1].decode()
        named = None if ussd is None else _USSD.fullmatch(target)
        return None if named is None else (called, named[1].decode())

    return find


def door(find: Find) -> type[HotDoor]:
    """Return the protocol of a site whose hot paths `find` knows."""
    return type("SiteDoor", (HotDoor,), {"find": staticmethod(find)})


def _written(answer: Told, common: Sequence[tuple[bytes, bytes]], *, keep_alive: bool) -> bytes:
    head = [
        _STATUS[answer.status],
        b"content-type: ",
        answer.media_type.encode(),
        b"\r\ncontent-length: %d\r\n" % len(answer.body),
        _GUARDS,
    ]
    for field, content in common:  # the date
        head += [field, b": ", content, b"\r\n"]
    for name, value in answer.headers:
        assert "\n" not in value, "a header is one line"
        head.append(f"{name}: {value}\r\n".encode("latin-1"))
    head.append(b"\r\n" if keep_alive else b"connection: close\r\n\r\n")
    head.append(answer.body)
    return b"".join(head)
