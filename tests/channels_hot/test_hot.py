"""The hot doors on a real socket: the same answers as through the framework, in order, bounded."""

import asyncio
import json
import socket
from pathlib import Path

import pytest
import uvicorn
from structlog.testing import capture_logs

from tests.stage import raised
from umoja.channels.gate import Gate
from umoja.channels.hot import door, finder
from umoja.channels.http import site
from umoja.channels.native_call import BODY_MAX
from umoja.channels.ussd import Ussd, ussd_door
from umoja.markets.texts import Texts
from umoja.parties.clients import SCOPES, Clients
from umoja.storage.database import Database

PIN = "2580"


class Running:
    """A site on a real socket, with a payer and a payee."""

    def __init__(self, folder: Path) -> None:
        self.stage = stage = raised("KE", folder / "ke")
        self.clients = Clients(Database(folder / "clients.db"), clock=stage.clock)
        client, secret = self.clients.register(name="Shop", market="KE", scopes=SCOPES)
        token = self.clients.issue(client, secret, scopes=frozenset())
        assert token is not None
        self.token = token.text
        self.payer, self.payee = stage.customer("Payer"), stage.customer("Payee")
        stage.store.set_pin(self.payer.id, PIN)
        stage.give_money(self.payer, 10_000_00)
        ussd = Ussd(branches={"KE": stage.branch}, texts=Texts.load(), clock=stage.clock)
        application = site(
            branches={"KE": stage.branch},
            clients=self.clients,
            clock=stage.clock,
            ready=lambda: {"KE": True},
            metrics=lambda: b"",
            extra=[ussd_door(ussd, secret="gateway")],
            is_sandbox=False,
        )
        find = finder(application.state.native, ussd, ussd_secret="gateway")
        self.bound = socket.socket()
        self.bound.bind(("127.0.0.1", 0))
        self.protocol = door(find)
        config = uvicorn.Config(
            application, http=self.protocol, log_config=None, access_log=False, lifespan="off"
        )
        self.server = uvicorn.Server(config)

    async def __aenter__(self) -> "Running":  # noqa: PYI034  never inherited from
        self.serving = asyncio.create_task(self.server.serve(sockets=[self.bound]))
        while not self.server.started:
            await asyncio.sleep(0.01)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.should_exit = True
        await self.serving
        await self.stage.desk.close()
        self.clients.close()
        self.bound.close()

    def gate_holds(self, most: int) -> None:
        self.protocol.gate = Gate(most)

    def quote(self) -> bytes:
        asked = json.loads(self.payment())
        del asked["pin"], asked["confirm"]
        return json.dumps(asked).encode()

    async def connected(self):
        return await asyncio.open_connection(*self.bound.getsockname())

    def request(self, path: str, body: bytes, **headers: str) -> bytes:
        lines = {
            "host": "umoja",
            "authorization": f"Bearer {self.token}",
            "content-type": "application/json",
            "content-length": str(len(body)),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body

    def payment(self, amount: str = "100", **more: object) -> bytes:
        asked = {
            "product": "send_money",
            "payer": {"party": self.payer.id},
            "payee": {"party": self.payee.id},
            "amount": amount,
            "currency": "KES",
            "pin": PIN,
            "confirm": True,
            **more,
        }
        return json.dumps(asked).encode()


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:] if line)
    headers = {name.lower(): value for name, value in headers.items()}
    return (
        int(head[0].split()[1]),
        headers,
        await reader.readexactly(int(headers["content-length"])),
    )


@pytest.fixture
async def running(tmp_path):
    async with Running(tmp_path) as site_:
        yield site_


async def test_a_payment_is_made_once_on_a_connection_that_stays(running):
    reader, writer = await running.connected()
    for _ in range(2):
        writer.write(running.request("/v1/payments", running.payment(), idempotency_key="k1"))
    status, headers, body = await answer(reader)
    again = await answer(reader)
    assert (status, again[0]) == (201, 201)
    assert body == again[2]
    assert json.loads(body)["state"] == "completed"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["location"].startswith("/v1/payments/")
    assert running.stage.has(running.payee, "wallet") == 100_00
    writer.close()


async def test_hot_and_other_requests_sent_at_once_are_answered_in_their_order(running):
    reader, writer = await running.connected()
    other = b"GET /healthz HTTP/1.1\r\nhost: umoja\r\n\r\n"
    quote = running.request("/v1/quote", b"{")
    writer.write(quote + other + running.request("/v1/quote", b"{}") + other)
    statuses = [(await answer(reader))[0] for _ in range(4)]
    assert statuses == [400, 200, 422, 200]
    writer.close()


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/v1/payments", b"{", {"idempotency_key": "k"}, 400),
        ("/v1/payments", b"\xff\xfe", {"idempotency_key": "k"}, 400),
        ("/v1/payments", b"{}", {"idempotency_key": "k"}, 422),
        ("/v1/payments", None, {}, 400),
        ("/v1/payments", None, {"idempotency_key": "k", "authorization": "Bearer no"}, 401),
        ("/v1/payments", None, {"idempotency_key": "k", "content_type": "text/plain"}, 415),
        (f"/v1/payments/{'0' * 32}/confirm", b'{"confirm": true}', {"idempotency_key": "k"}, 404),
        ("/ussd/KE", b"text=1", {}, 403),
        ("/ussd/KE", b"x" * 5000, {"x_umoja_secret": "gateway"}, 413),
        ("/ussd/KE", b"\xff", {"x_umoja_secret": "gateway"}, 200),
    ],
)
async def test_bad_input_gets_the_framework_s_own_answer_and_changes_nothing(
    running, path, body, headers, status
):
    before = running.stage.wallets.balances(running.payer)
    reader, writer = await running.connected()
    body = running.payment() if body is None else body
    writer.write(running.request(path, body, **headers))
    assert (await answer(reader))[0] == status
    writer.write(running.request(path + "?", body, **headers))  # a query: not a hot path any more
    assert (await answer(reader))[0] == status
    assert running.stage.wallets.balances(running.payer) == before
    writer.close()


async def test_a_body_that_is_too_large_is_refused_and_the_connection_ended(running):
    reader, writer = await running.connected()
    whole = running.request("/v1/quote", b" " * (4 * BODY_MAX))
    writer.write(whole[: 2 * BODY_MAX])  # it is not waited for the rest
    status, headers, _ = await answer(reader)
    assert (status, headers["connection"]) == (413, "close")
    assert await reader.read() == b""
    writer.close()


async def test_whoever_leaves_before_the_answer_is_paid_for_once_all_the_same(running):
    _, writer = await running.connected()
    writer.write(running.request("/v1/payments", running.payment(), idempotency_key="gone"))
    await writer.drain()
    writer.close()
    reader, writer = await running.connected()
    for _ in range(100):
        writer.write(running.request("/v1/payments", running.payment(), idempotency_key="gone"))
        status, _, _ = await answer(reader)
        if status != 409:  # still in flight
            break
    assert status == 201
    assert running.stage.has(running.payee, "wallet") == 100_00
    writer.close()


async def test_a_bug_of_ours_is_told_without_its_words(running, monkeypatch):
    words = f"the PIN was {PIN}"

    def buggy(_waiting, _request):
        raise ValueError(words)

    monkeypatch.setattr(running.stage.desk, "enqueue_for", buggy)
    reader, writer = await running.connected()
    with capture_logs() as logged:
        writer.write(running.request("/v1/payments", running.payment(), idempotency_key="bug"))
        status, _, body = await answer(reader)
    assert (status, json.loads(body)["type"]) == (500, "urn:umoja:problem:bug")
    assert [(each["event"], each["kind"]) for each in logged] == [
        ("channels.hot.bug", "ValueError")
    ]
    assert words not in str(logged)
    assert words not in body.decode()
    writer.close()
