"""Forwarding: what a front does not answer itself goes on to the hall, over its local socket, unchanged.

One connection a request, closed with it: these are the pages and the rarer calls, not the hot ones.
"""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httptools
import structlog

from umoja.channels.native_call import Told, told
from umoja.channels.problems import problem

CONNECT_WITHIN_S = 2.0
HEAD_MAX = 64 * 1024
BODY_MAX = 2 << 20  # the hall has narrower limits of its own
PIECE = 64 * 1024
FORWARDED_MAX = 512  # at the same time; live pages stay open

_NOT_PASSED = {b"connection", b"keep-alive", b"transfer-encoding", b"content-length", b"upgrade"}
_OURS = {b"x-forwarded-for", b"x-forwarded-proto"}  # told by the front itself, never by who asks

_READS = {"GET", "HEAD", "OPTIONS"}
_GUARDS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]

log = structlog.get_logger()


class _Answer:
    """What the parser found of the hall's answer so far, and what became of it."""

    def __init__(self) -> None:
        self.has_begun = False  # to be handed back
        self.is_unwanted = False
        self.headers: list[tuple[bytes, bytes]] = []
        self.pieces: list[bytes] = []
        self.has_head = False
        self.is_whole = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() not in _NOT_PASSED or name.lower() == b"content-length":
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.has_head = True

    def on_body(self, body: bytes) -> None:
        self.pieces.append(body)

    def on_message_complete(self) -> None:
        self.is_whole = True


class Forward:
    """An ASGI application that hands each request to the hall and its answer back, as it comes."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._under_way = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", "a front speaks HTTP only"
        if self._under_way >= FORWARDED_MAX:
            await _refuse(send)
            return
        self._under_way += 1
        try:
            await self._pass_on(scope, receive, send)
        finally:
            self._under_way -= 1

    async def _pass_on(self, scope: Any, receive: Any, send: Any) -> None:
        body = await body_of(receive)
        if body is None:
            return
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                reader, writer = await asyncio.open_unix_connection(self._path)
        except (OSError, TimeoutError) as cause:
            log.info("channels.forward.unavailable", cause=str(cause))
            await _refuse(send)
            return
        gone = asyncio.create_task(_gone(receive))
        answer = _Answer()
        try:
            writer.write(_head(scope, len(body)) + body)
            await writer.drain()
            await _hand_back(reader, send, gone, answer)
        except (OSError, httptools.HttpParserError) as cause:
            # The process that was to answer has been killed, before it took all of this or after.
            log.info("channels.forward.broken", cause=str(cause))
        finally:
            gone.cancel()
            writer.close()
        if not answer.has_begun and not answer.is_unwanted:
            # It was handed over and not answered: what only reads may be asked again, the rest may
            # have happened. Where it has begun, the server closes what is not whole.
            is_read = scope["method"] in _READS
            await (_refuse(send) if is_read else _leave_open(send))


async def _hand_back(
    reader: asyncio.StreamReader, send: Any, gone: "asyncio.Task[None]", answer: _Answer
) -> None:
    """Hand an answer back as it comes, as far as it comes. Raise OSError, HttpParserError."""
    parser = httptools.HttpResponseParser(answer)
    while not answer.is_whole:
        reading = asyncio.create_task(reader.read(PIECE))
        await asyncio.wait({reading, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            reading.cancel()
            answer.is_unwanted = True  # whoever asked has left: a live page that was closed
            return
        data = reading.result()
        if not data:
            return
        parser.feed_data(data)
        if answer.has_head and not answer.has_begun:
            answer.has_begun = True
            await send(
                {
                    "type": "http.response.start",
                    "status": parser.get_status_code(),
                    "headers": answer.headers,
                }
            )
        if answer.has_begun and answer.pieces:
            piece = b"".join(answer.pieces)
            answer.pieces.clear()
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def body_of(receive: Any) -> bytes | None:
    """Return a request's body, cut where it is too large; None where whoever asked has left."""
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > BODY_MAX:  # the hall refuses it by its length
            return b"".join(pieces)[: BODY_MAX + 1]
        if not message.get("more_body", False):
            return b"".join(pieces)


async def _gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _head(scope: Any, length: int) -> bytes:
    target = scope["raw_path"]
    if scope["query_string"]:
        target += b"?" + scope["query_string"]
    client = scope["client"][0] if scope["client"] else ""
    return b"".join(
        [
            scope["method"].encode(),
            b" ",
            target,
            b" HTTP/1.1\r\n",
            *_lines(scope["headers"]),
            b"x-forwarded-for: ",
            client.encode(),
            b"\r\nx-forwarded-proto: ",
            scope["scheme"].encode(),
            b"\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % length,
        ]
    )


def _lines(headers: Iterable[tuple[bytes, bytes]]) -> Iterable[bytes]:
    for name, value in headers:
        if name not in _NOT_PASSED and name not in _OURS:
            yield b"%b: %b\r\n" % (name, value)


async def _refuse(send: Any) -> None:
    await tell(send, told(problem("unavailable")))


async def _leave_open(send: Any) -> None:
    detail = "Ask again with the same Idempotency-Key, or look up what became of it."
    await tell(send, told(problem("outcome_unknown", detail=detail)))


async def tell(send: Any, answer: Told, *, has_body: bool = True) -> None:
    """Send an answer of the front's own, with what guards every answer of the API."""
    headers = [(b"content-type", answer.media_type.encode()), *_GUARDS]
    headers += [(name.encode(), value.encode()) for name, value in answer.headers]
    headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    body = answer.body if has_body else b""
    await send({"type": "http.response.body", "body": body, "more_body": False})
