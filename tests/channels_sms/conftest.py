"""A post office for tests: one market's receipts on a real outbox, with a clock moved by hand."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from tests.postgres import tables
from tests.stage import Stage, raised
from umoja.channels.pace import UNBOUNDED, Pace
from umoja.channels.receipt_texts import Writer
from umoja.channels.sms import Receipts
from umoja.markets.texts import Texts
from umoja.partners.sms_routes import SimulatedRoute
from umoja.payments.outbox import Outbox
from umoja.payments.ports import SmsRoute
from umoja.signals import MessageSeen
from umoja.storage.migrate import migrate

STEP = timedelta(milliseconds=100)


def writer_of(stage: Stage) -> Writer:
    return Writer(
        market=stage.market,
        directory=stage.store,
        purses=stage.wallets,
        texts=Texts.load(),
        clock=stage.clock,
    )


@dataclass
class Post:
    stage: Stage
    folder: Path
    seen: list[MessageSeen] = field(default_factory=list)
    other_route: SmsRoute | None = None
    running: asyncio.Task | None = None
    pace: Pace | None = None

    def __post_init__(self) -> None:
        self.stage.signals.listen(
            lambda signal: self.seen.append(signal) if isinstance(signal, MessageSeen) else None
        )

    def start(self) -> None:
        """Open the outbox and run, as a start of the program does; the phones keep their texts."""
        self.database = tables(self.folder / "messages.db")
        migrate(self.database, "messages", self.stage.clock)
        self.outbox = Outbox(self.database, self.stage.desk)
        if not hasattr(self, "route"):
            self.route = SimulatedRoute(
                name="simulated",
                clock=self.stage.clock,
                seed="7",
                on_receipt=self._hear,
                market=self.stage.market.code,
                on_delivered=self._hear_many,
            )
        self.receipts = Receipts(
            market=self.stage.market.code,
            writer=writer_of(self.stage),
            outbox=self.outbox,
            route=self.other_route or self.route,
            clock=self.stage.clock,
            signals=self.stage.signals,
            pace=self.pace or Pace(UNBOUNDED),
        )
        self.running = asyncio.create_task(self.receipts.run())

    def _hear(self, message: str, done: bool) -> None:
        self.receipts.on_receipt(message, done)

    def _hear_many(self, messages: Sequence[str]) -> None:
        self.receipts.on_delivered(messages)

    async def stop(self, *, gently: bool = True) -> None:
        """End it as Ctrl-C does, or (not gently) as a kill does: nothing more is written down."""
        assert self.running is not None
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        if self.receipts._errand is not None:
            await asyncio.gather(self.receipts._errand, return_exceptions=True)
        if gently:
            await self.receipts.close()
        self.database.close()
        self.running = None

    async def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds * 10)):
            self.stage.clock.advance(STEP)
            await self.rest()

    async def rest(self) -> None:
        """Let everything run that needs no time."""
        for _ in range(8):
            await asyncio.sleep(0)
        while self.receipts._errand is not None and not self.receipts._errand.done():
            await asyncio.sleep(0.0005)
        for _ in range(8):
            await asyncio.sleep(0)

    def texts(self, phone: str) -> list[str]:
        return [each.text for each in self.route.inbox(phone)]

    def told(self, state: str) -> int:
        return sum(1 for each in self.seen if each.state == state)


@pytest.fixture
async def post_of(tmp_path: Path):
    made: list[Post] = []

    def make(code: str, *, route: SmsRoute | None = None) -> Post:
        folder = tmp_path / f"{code}-{len(made)}"
        post = Post(raised(code, folder, engine="sqlite"), folder, other_route=route)
        made.append(post)
        return post

    yield make
    for post in made:
        if post.running is not None:
            await post.stop()
        if hasattr(post, "route"):
            await post.route.close()
        post.stage.close()


@pytest.fixture
def raise_branch(tmp_path: Path):
    stages: list[Stage] = []

    def make(code: str) -> Stage:
        stages.append(raised(code, tmp_path / f"branch-{len(stages)}"))
        return stages[-1]

    yield make
    for stage in stages:
        stage.close()
