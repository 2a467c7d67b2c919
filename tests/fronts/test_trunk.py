"""The trunk: signals and figures reach the centre, switches come down, and a gap is known as one."""

import asyncio
import struct
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from tests.postgres import tables
from umoja.clock import ManualClock, SystemClock, to_micros
from umoja.house import tell_books
from umoja.markets import packs
from umoja.ops.board import ATTEMPTS, FAILED, FEE, FEE_DUE, PAY, REFUSED, SESSION, Group, Key
from umoja.ops.centre import open_centre
from umoja.signals import (
    BooksSeen,
    FeesSeen,
    MessageSeen,
    OrderSeen,
    Outcome,
    SessionsSeen,
)
from umoja.switches import Switches, kept_switches
from umoja.trunk import Exchange, Upline

AT = datetime(2026, 3, 10, 9, 0, 0, 123456, tzinfo=UTC)
BOOKS = BooksSeen(
    market="KE",
    pending=2,
    oldest_ms=70,
    float_minor={"KES": 5},
    issued={"KES": 7},
    trust={"KES": 7},
    head=9,
    clock=1_773_133_200_123_456,
    fees=[FeesSeen(product="send_money", payments=3, fee_minor=39_00, due_minor=29_25)],
    agents=300,
    agents_able=290,
)


def seen(value: int, market: str = "KE") -> OrderSeen:
    return OrderSeen(
        at=AT,
        market=market,
        product="send_money",
        channel="api",
        outcome=Outcome.COMPLETED,
        reason="",
        value_minor=value,
        currency="KES",
        latency_ms=1.5,
        payer_mark=2**63 + value,
    )


TEXT = MessageSeen(
    at=AT,
    market="KE",
    route="r",
    state="sent",
    product="send_money",
    value_minor=1,
    currency="KES",
    payer_mark=1,
    waited_s=0.5,
)


SESSIONS = SessionsSeen(market="KE", channel="ussd", opened=7, ended=5, failed=1, lapsed=1)


class Room:
    """A centre that keeps what it hears."""

    def __init__(self, path, switches: Switches | None = None) -> None:
        self.path = path
        self.heard: list[object] = []
        self.books: list[BooksSeen] = []
        self.switches = switches or Switches()
        self.exchange = Exchange(
            switches=self.switches, hear=self.heard.append, look=self.books.append
        )
        self.server: asyncio.Server | None = None

    async def open(self) -> "Room":
        self.server = await self.exchange.listen(self.path)
        return self

    def close(self) -> None:
        assert self.server is not None
        self.server.close()
        for side in list(self.exchange._sides):
            side.close()


@pytest.fixture
async def market(short):
    ends = []

    def make(code: str = "KE", *, switches: Switches | None = None, kept_max: int = 20_000):
        upline = Upline(
            short / "trunk.sock",
            market=code,
            run=f"run-{len(ends)}",
            clock=SystemClock(),
            switches=switches or Switches(),
            kept_max=kept_max,
        )
        task = asyncio.create_task(upline.run())
        ends.append(task)
        return upline

    yield make
    for task in ends:
        task.cancel()
    await asyncio.gather(*ends, return_exceptions=True)


async def test_signals_and_figures_arrive_as_they_were_sent(short, market, until):
    room = await Room(short / "trunk.sock").open()
    upline = market()
    told = [*(seen(n) for n in range(1_200)), TEXT, SESSIONS]
    for signal in told:
        upline.hear(signal)
    await until(lambda: len(room.heard) == len(told))
    assert room.heard == told
    upline.look(BOOKS)
    await until(lambda: room.books)
    assert room.books == [BOOKS]
    assert room.exchange.markets() == {"KE"}
    assert room.exchange.lost == {}
    room.close()


async def test_what_is_kept_while_the_centre_is_away_is_bounded_and_the_rest_is_counted(
    short, market, until
):
    upline = market(kept_max=100)
    for number in range(250):
        upline.hear(seen(number))
    room = await Room(short / "trunk.sock").open()
    await until(lambda: len(room.heard) == 100)
    assert [signal.value_minor for signal in room.heard] == list(range(150, 250))
    assert room.exchange.lost == {"KE": 150}
    room.close()


async def test_a_centre_that_comes_back_is_told_the_gap_once(short, market, until):
    room = await Room(short / "trunk.sock").open()
    upline = market(kept_max=10)
    upline.hear(seen(0))
    await until(lambda: room.heard)
    room.close()
    await until(lambda: not upline.is_up)
    for number in range(30):
        upline.hear(seen(number))
    again = await Room(short / "trunk.sock").open()
    await until(lambda: len(again.heard) == 10)
    assert again.exchange.lost["KE"] == 20
    upline.hear(seen(99))
    await until(lambda: len(again.heard) == 11)
    assert again.exchange.lost["KE"] == 20
    again.close()


async def test_a_market_tells_of_itself_only(short, market, until):
    room = await Room(short / "trunk.sock").open()
    upline = market("TZ")
    upline.look(BOOKS)
    upline.hear(seen(1, "KE"))
    upline.hear(seen(2, "TZ"))
    await until(lambda: room.heard)
    assert [signal.value_minor for signal in room.heard] == [2]
    assert room.books == []
    room.close()


async def test_garbage_ends_a_connection_and_not_the_centre(short, market, until):
    room = await Room(short / "trunk.sock").open()
    for garbage in (b"\xc1", b"\x81\xa4type\xa5Batch"):
        reader, writer = await asyncio.open_unix_connection(str(short / "trunk.sock"))
        writer.write(struct.pack(">I", len(garbage)) + garbage)
        assert await reader.read() == b""
        writer.close()
    market().hear(seen(1))
    await until(lambda: room.heard)
    room.close()


async def test_switches_come_down_and_outlive_the_centre(short, tmp_path, market, until):
    decided = kept_switches(tmp_path / "centre.json")
    decided.stop(market="KE", product="airtime", reason="the partner is down")
    room = await Room(short / "trunk.sock", decided).open()
    of_ke, of_tz = kept_switches(tmp_path / "ke.json"), kept_switches(tmp_path / "tz.json")
    upline = market("KE", switches=of_ke)
    market("TZ", switches=of_tz)
    await until(lambda: of_ke.stopped)
    assert of_ke.reason_stopped(market="KE", product="airtime") == "the partner is down"
    decided.stop(market="TZ", product="*", reason="maintenance")
    await until(lambda: of_tz.stopped)
    assert of_ke.reason_stopped(market="KE", product="send_money") is None
    room.close()
    await until(lambda: not upline.is_up)
    # Neither the centre's absence nor a restart of either opens what was stopped.
    assert kept_switches(tmp_path / "ke.json").stopped == {("KE", "airtime"): "the partner is down"}
    room = await Room(short / "trunk.sock", kept_switches(tmp_path / "centre.json")).open()
    await until(lambda: upline.is_up)
    room.switches.open(market="KE", product="airtime")
    await until(lambda: not of_ke.stopped)
    assert of_tz.reason_stopped(market="TZ", product="withdraw") == "maintenance"
    assert kept_switches(tmp_path / "ke.json").stopped == {}
    room.close()


async def test_what_a_market_sounds_out_stands_on_the_board_of_the_centre(
    short, market, until, tmp_path
):
    clock = ManualClock(AT)
    centre = open_centre(
        tables(tmp_path / "centre.db"), clock=clock, markets=[packs.load("KE"), packs.load("TZ")]
    )
    room = Room(short / "trunk.sock")
    looks: list[str] = []

    def look(books: BooksSeen) -> None:
        tell_books(centre, books)
        looks.append(books.market)

    room.exchange = Exchange(switches=Switches(), hear=centre.telemetry.hear, look=look)
    await room.open()
    upline = market()
    upline.hear(SESSIONS)
    await until(lambda: upline.is_up)
    for number in range(4):
        upline.look(
            replace(BOOKS, clock=to_micros(AT) + 2_400_000, fees=BOOKS.fees if number else [])
        )
        await until(lambda number=number: len(looks) > number)
    await until(lambda: centre.telemetry.board.running("KE").get(Key("KE", SESSION, "", "ussd")))
    clock.advance(timedelta(seconds=1))

    frame = centre.telemetry.frame()

    assert frame is not None
    product = frame.counts[frame.places[Group("KE", PAY, "product", "send_money")]]
    sessions = frame.counts[frame.places[Group("KE", SESSION, "channel", "ussd")]]
    assert (product[FEE], product[FEE_DUE]) == (3 * 39_00, 3 * 29_25)
    assert (sessions[ATTEMPTS], sessions[REFUSED], sessions[FAILED]) == (7, 1, 1)
    assert frame.gauges["clock_offset_ms"] == {("KE", "market process"): 2_400.0}
    assert frame.gauges["agents_able_permille"] == {("KE", "KE"): 966}
    room.close()
    centre.close()
