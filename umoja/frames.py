"""Frames: whole messages over a local socket. Four bytes of length, then so many bytes.

What is sent in one turn of the event loop goes out in one write. Nothing grows without bound: a
frame too large, or an other side that does not read what it is sent, ends the connection.
"""

import asyncio
import stat
import struct
from collections.abc import Callable
from pathlib import Path

import structlog

FRAME_MAX = 1 << 20
UNREAD_MAX = 32 << 20  # bytes that wait for the other side to read
_LENGTH = struct.Struct(">I")

log = structlog.get_logger()


class FrameFaulty(ValueError):
    """A frame says nothing that is understood: the connection is ended."""


class Frames(asyncio.Protocol):
    """Reads frames whole and writes those of one turn of the loop together.

    `take` is called with each frame, and may raise FrameFaulty; `lost` once the connection ended.
    """

    def __init__(
        self,
        take: Callable[[bytes], None],
        lost: Callable[[], None],
        *,
        unread_max: int = UNREAD_MAX,
    ) -> None:
        self._take = take
        self._lost = lost
        self._unread_max = unread_max
        self._read = bytearray()
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "a stream socket"
        self._transport = transport

    def connection_lost(self, _cause: Exception | None) -> None:
        self._transport = None
        self._out.clear()
        self._read.clear()
        self._lost()

    def data_received(self, data: bytes) -> None:
        read = self._read
        read += data
        at, end = 0, len(read)
        while end - at >= 4:
            (size,) = _LENGTH.unpack_from(read, at)
            if size > FRAME_MAX:
                self._refuse(f"a frame of {size} bytes")
                return
            if end - at < 4 + size:
                break
            try:
                self._take(bytes(memoryview(read)[at + 4 : at + 4 + size]))
            except FrameFaulty as cause:
                self._refuse(str(cause))
                return
            at += 4 + size
        del read[:at]

    def send(self, frame: bytes) -> None:
        """Send a frame; where the connection has ended it is dropped, as `lost` has told."""
        assert len(frame) <= FRAME_MAX, "the other side refuses a larger one"
        if self._transport is None or self._transport.is_closing():
            return
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out += (_LENGTH.pack(len(frame)), frame)

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _refuse(self, why: str) -> None:
        log.error("frames.refused", why=why)
        if self._transport is not None:
            self._transport.abort()

    def _flush(self) -> None:
        if self._transport is not None:
            self._transport.write(b"".join(self._out))
            unread = self._transport.get_write_buffer_size()
            if unread > self._unread_max:
                self._refuse(f"{unread} bytes unread by the other side")
        self._out.clear()


async def listen_at(path: Path, side: Callable[[], Frames]) -> asyncio.Server:
    """Answer at a local socket that only this user may open. Close the server to end it.

    What an earlier process left there is removed: whoever calls this holds the data folder.
    """
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):  # noqa: ASYNC240  once, at the start
        path.unlink()  # noqa: ASYNC240
    server = await asyncio.get_running_loop().create_unix_server(side, path)
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)  # noqa: ASYNC240
    return server
