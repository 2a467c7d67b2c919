"""Who asks is the peer of the connection: a forged header changes nothing, a trusted proxy is believed."""

import asyncio
import socket
from pathlib import Path

import msgspec
import pytest

from umoja.channels.forward import Forward
from umoja.channels.hot import door
from umoja.channels.sorting import Sorting
from umoja.channels.tokens import WRONG_MAX, Tokens
from umoja.clock import SystemClock
from umoja.parties.clients import Clients
from umoja.serving import Site, serve_until_stopped
from umoja.storage.database import Database


@pytest.fixture
def tokens(tmp_path: Path):
    clients = Clients(Database(tmp_path / "clients.db"), clock=SystemClock())
    yield Tokens(clients, clock=SystemClock())
    clients.close()


class Served:
    """An application on a socket, as long as it is needed."""

    def __init__(self, application, at: socket.socket, **named: object) -> None:
        self.at = at
        self.life = asyncio.StreamReader()
        self.ready = asyncio.Event()
        self.serving = asyncio.create_task(
            serve_until_stopped(
                Site(application, door(lambda _: None)),
                at=at,
                on_ready=self.ready.set,
                life=self.life,
                **named,
            )
        )

    async def __aenter__(self) -> "Served":  # noqa: PYI034  never inherited from
        await self.ready.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.life.feed_eof()
        await self.serving


def bound() -> socket.socket:
    at = socket.socket()
    at.bind(("127.0.0.1", 0))
    return at


async def asked(at: socket.socket, forged: str) -> int:
    """Return the status of a token request with a wrong secret."""
    reader, writer = await asyncio.open_connection(*at.getsockname())
    body = b"grant_type=client_credentials&client_id=x&client_secret=y"
    writer.write(
        b"POST /oauth2/token HTTP/1.1\r\nhost: umoja\r\nconnection: close\r\n"
        b"content-type: application/x-www-form-urlencoded\r\nx-forwarded-for: %b\r\n"
        b"content-length: %d\r\n\r\n%b" % (forged.encode(), len(body), body)
    )
    status = int((await reader.readline()).split()[1])
    writer.close()
    return status


def front(tokens: Tokens) -> Sorting:
    nowhere = Forward(Path("nowhere"))
    return Sorting(tokens=tokens, sites={}, centre=nowhere, ready=dict)


async def test_a_forged_header_does_not_escape_the_limit_of_wrong_secrets(tokens: Tokens):
    async with Served(front(tokens), bound()) as served:
        statuses = [await asked(served.at, f"10.0.0.{n}") for n in range(WRONG_MAX + 1)]
    assert statuses == [401] * WRONG_MAX + [429]


async def test_a_trusted_proxy_is_believed_whom_it_asks_for(tokens: Tokens):
    async with Served(front(tokens), bound(), trusted_proxies="127.0.0.0/8") as served:
        statuses = [await asked(served.at, f"10.0.0.{n}") for n in range(WRONG_MAX + 1)]
        assert statuses == [401] * (WRONG_MAX + 1)
        same = [await asked(served.at, "10.0.0.1") for _ in range(WRONG_MAX)]
    assert same == [401] * (WRONG_MAX - 1) + [429]


async def test_behind_a_front_the_peer_is_whom_the_front_sees(tmp_path: Path):
    seen: list[tuple[str, bytes]] = []

    async def behind(scope, receive, send) -> None:
        told = dict(scope["headers"])
        seen.append((scope["client"][0], told[b"x-forwarded-for"]))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    local = socket.socket(socket.AF_UNIX)
    local.bind(str(tmp_path / "s"))
    async with (
        Served(behind, local, is_behind_fronts=True),
        Served(Forward(tmp_path / "s"), bound()) as public,
    ):
        assert await asked(public.at, "10.9.9.9, 10.8.8.8") == 204
    assert seen == [("127.0.0.1", b"127.0.0.1")]


class Killed:
    """A process on a socket that takes `takes` bytes of each request, says `says`, and is gone."""

    def __init__(self, path: Path, *, takes: int, says: bytes = b"") -> None:
        self.path, self.takes, self.says = path, takes, says

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(self.takes)
        writer.write(self.says)
        await writer.drain()
        writer.transport.abort()  # what was sent and not read makes the peer's writing fail

    async def __aenter__(self) -> None:
        self.server = await asyncio.start_unix_server(self._hear, self.path, limit=1)

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        await self.server.wait_closed()


async def answered(at: socket.socket, method: bytes, body: bytes) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection(*at.getsockname())
    writer.write(
        b"%b /v1/payments HTTP/1.1\r\nhost: umoja\r\nconnection: close\r\n"
        b"content-length: %d\r\n\r\n%b" % (method, len(body), body)
    )
    head, _, told = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), told


@pytest.mark.parametrize("size", [10, 1_500_000], ids=["taken", "taken in part"])
@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 200 OK\r\ncon", b"rubbish\r\n"])
async def test_a_process_that_dies_under_a_request_leaves_a_plain_answer(
    tmp_path: Path, size: int, says: bytes
):
    """What only reads may be asked again; of the rest nobody knows. Neither is a bug of ours."""
    async with (
        Killed(tmp_path / "s", takes=60, says=says),
        Served(Forward(tmp_path / "s"), bound()) as public,
    ):
        for method, status, word in (
            (b"POST", 504, "outcome_unknown"),
            (b"GET", 503, "unavailable"),
        ):
            found, told = await answered(public.at, method, b"x" * size)
            assert (found, msgspec.json.decode(told)["type"].rpartition(":")[2]) == (status, word)
