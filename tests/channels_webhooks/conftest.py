"""A shop that hears of payments: a real receiver on a socket, a market, and its sender on a clock moved by hand."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.postgres import tables
from tests.stage import PIN_KEY, Stage, raised
from umoja.channels.webhooks import Sender
from umoja.parties.party import Party
from umoja.payments.deliveries import Deliveries
from umoja.payments.webhooks import EVENTS, Webhook, secret_of
from umoja.signals import CallbacksSeen
from umoja.storage.migrate import migrate

PATIENCE_S = 20.0
STEP = timedelta(milliseconds=500)


@dataclass(frozen=True, kw_only=True)
class Got:
    """One request, as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """A merchant's server. `answers` says what each path is answered; '' hangs until the end."""

    answers: dict[str, str] = field(default_factory=dict)
    got: list[Got] = field(default_factory=list)
    port: int = 0

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        self._server.close()

    def url(self, path: str = "/shop") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def at(self, path: str) -> list[Got]:
        return [each for each in self.got if each.path == path]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *lines = head.rstrip().split("\r\n")
                headers = {
                    name.lower(): value for name, value in (each.split(": ", 1) for each in lines)
                }
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                path = first.split(" ")[1]
                self.got.append(Got(path=path, headers=headers, body=body))
                answer = self.answers.get(path, "204 No Content\r\n\r\n")
                if not answer:
                    await asyncio.sleep(3600)
                writer.write(f"HTTP/1.1 {answer}".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@dataclass
class Shop:
    """A market with an organisation, its receiver, and the sender beside the books."""

    stage: Stage
    folder: Path
    receiver: Receiver
    till: Party
    payer: Party
    seen: list[CallbacksSeen] = field(default_factory=list)
    may_be_private: bool = True
    revoked: set[str] = field(default_factory=set)
    running: asyncio.Task[None] | None = None
    registered: int = 0

    def register(
        self,
        path: str = "/shop",
        *,
        client: str = "ke-shop",
        events: tuple[str, ...] = EVENTS,
        url: str = "",
        organisation: int | None = None,
    ) -> Webhook:
        self.registered += 1
        made, _ = self.stage.branch.webhooks.register(
            client=client,
            organisation=self.till.id if organisation is None else organisation,
            key=f"key-{self.registered}",
            url=url or self.receiver.url(path),
            events=events,
            head=self.stage.desk.head,
        )
        return made

    def start(self) -> None:
        """Open what is sent and run, as a start of the program does."""
        self.database = tables(self.folder / "messages.db")
        migrate(self.database, "messages", self.stage.clock)
        self.deliveries = Deliveries(self.database, self.stage.desk)
        self.sender = Sender(
            market=self.stage.market,
            directory=self.stage.store,
            deliveries=self.deliveries,
            secret=lambda webhook: secret_of(PIN_KEY, webhook),
            clock=self.stage.clock,
            signals=self.stage.signals,
            may_be_private=self.may_be_private,
            live=lambda clients: set(clients) - self.revoked,
        )
        self.running = asyncio.create_task(self.sender.run())

    async def stop(self, *, gently: bool = True) -> None:
        """End it as Ctrl-C does, or (not gently) as a kill does: nothing more is written down."""
        assert self.running is not None
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        if gently:
            await self.sender.close()
        self.database.close()
        self.running = None

    def pay(self, amount: int = 10_000, **rest: Any) -> Any:
        return self.stage.pay("pay_till", self.payer.id, self.till.id, amount, **rest)

    async def until(self, is_so: Callable[[], object]) -> None:
        """Let time pass until something is so: real time for sockets and disks, and the clock's."""
        async with asyncio.timeout(PATIENCE_S):
            while not is_so():
                await self.rest()
                self.stage.clock.advance(STEP)
                await asyncio.sleep(0.001)

    async def pass_time(self, seconds: float) -> None:
        """Let the clock's time pass, with a rest at each step for what is under way."""
        for _ in range(int(seconds / STEP.total_seconds())):
            self.stage.clock.advance(STEP)
            await self.rest()

    async def rest(self) -> None:
        """Wait until the round that was begun has ended."""
        for _ in range(3):
            await asyncio.sleep(0)
        errand = self.sender._errand
        while errand is not None and not errand.done():
            await asyncio.sleep(0.0005)
        for _ in range(3):
            await asyncio.sleep(0)

    def states(self, webhook: Webhook) -> list[tuple[str, str, int, int]]:
        """Return kind, state, status and tries of what was to be told, oldest first."""
        rows = self.stage._messages().query(
            "SELECT kind, state, status, tries FROM deliveries WHERE webhook = :id ORDER BY event",
            id=webhook.id,
        )
        return [(row[0], row[1], row[2], row[3]) for row in rows]

    def kept(self, webhook: Webhook) -> Webhook:
        found = self.stage.branch.webhooks.find(webhook.client, webhook.id)
        assert found is not None
        return found

    def told(self, what: str) -> int:
        return sum(getattr(each, what) for each in self.seen)


@pytest.fixture
async def receiver():
    found = Receiver()
    await found.open()
    yield found
    found.close()


@pytest.fixture
async def shop(tmp_path: Path, receiver: Receiver):
    stage = raised("KE", tmp_path, engine="sqlite")
    till, payer = stage.organisation(), stage.customer("Amina Otieno")
    stage.give_money(payer, 20_000_000)
    made = Shop(stage=stage, folder=tmp_path, receiver=receiver, till=till, payer=payer)
    stage.signals.listen(
        lambda signal: made.seen.append(signal) if isinstance(signal, CallbacksSeen) else None
    )
    yield made
    if made.running is not None:
        await made.stop()
    stage.close()
