"""Frames between processes: whole whatever the pieces, refused when too large, bounded when unread."""

import asyncio
import socket
import struct

import pytest

from umoja.frames import FRAME_MAX, FrameFaulty, Frames, listen_at


class Side(Frames):
    """An end that keeps what it takes."""

    def __init__(self, *, unread_max: int = 1 << 20) -> None:
        self.taken: list[bytes] = []
        self.is_lost = False
        super().__init__(self._keep, self._note, unread_max=unread_max)

    def _keep(self, frame: bytes) -> None:
        if frame == b"garbage":
            raise FrameFaulty("garbage")
        self.taken.append(frame)

    def _note(self) -> None:
        self.is_lost = True


@pytest.fixture
async def listened(short):
    """Return the sides that a listener made, and a plain socket at it."""
    sides: list[Side] = []

    def make() -> Side:
        sides.append(Side(unread_max=256 * 1024))
        return sides[-1]

    server = await listen_at(short / "s", make)
    plain = socket.socket(socket.AF_UNIX)
    plain.setblocking(False)
    await asyncio.get_running_loop().sock_connect(plain, str(short / "s"))
    while not sides or not sides[0].is_open:
        await asyncio.sleep(0.005)
    yield sides[0], plain
    plain.close()
    for side in sides:
        side.close()
    server.close()


def framed(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


async def say(plain: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(plain, data)


async def test_frames_are_whole_however_they_are_cut(listened, until):
    side, plain = listened
    whole = framed(b"one") + framed(b"") + framed(b"three" * 1_000)
    for at in range(0, len(whole), 7):
        await say(plain, whole[at : at + 7])
    await until(lambda: len(side.taken) == 3)
    assert side.taken == [b"one", b"", b"three" * 1_000]


async def test_what_is_sent_in_one_turn_arrives_in_order(listened, until):
    side, plain = listened
    for number in range(100):
        side.send(b"%d" % number)
    heard = b""
    while len(heard) < len(b"".join(framed(b"%d" % number) for number in range(100))):
        heard += await asyncio.get_running_loop().sock_recv(plain, 65_536)
    assert heard == b"".join(framed(b"%d" % number) for number in range(100))


async def test_a_frame_that_is_too_large_ends_the_connection_before_it_is_read(listened, until):
    side, plain = listened
    await say(plain, struct.pack(">I", FRAME_MAX + 1))
    await until(lambda: side.is_lost)
    assert side.taken == []


async def test_a_frame_that_says_nothing_ends_the_connection(listened, until):
    side, plain = listened
    await say(plain, framed(b"good") + framed(b"garbage") + framed(b"never seen"))
    await until(lambda: side.is_lost)
    assert side.taken == [b"good"]
    side.send(b"to nobody")  # harmless


async def test_whoever_does_not_read_is_left(listened, until):
    side, _plain = listened
    sent = 0
    while not side.is_lost:
        side.send(bytes(64 * 1024))
        sent += 1
        await asyncio.sleep(0)
        assert sent < 200, "it grows without bound"
    await until(lambda: not side.is_open)


async def test_a_socket_left_behind_is_replaced_and_private(short):
    for _ in range(2):
        server = await listen_at(short / "s", Side)
        assert (short / "s").stat().st_mode & 0o777 == 0o600
        server.close()
