"""The link between fronts and a writer: made again when lost, honest about what it does not know, fair."""

import asyncio
import struct

import msgspec
import pytest

from umoja.faults import Busy, OutcomeUnknown, Unavailable
from umoja.frames import Frames, listen_at
from umoja.payments.link import FarDesk, Link, Shares, listen
from umoja.payments.order import Ask, State


class Far:
    """A front's end of a link."""

    def __init__(self, path, market) -> None:
        self.link = Link(path)
        self.desk = FarDesk(market=market, link=self.link)
        self.task = asyncio.create_task(self.link.run())

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture
async def fronts(short, ke):
    made: list[Far] = []

    def make() -> Far:
        made.append(Far(short / "desk.sock", ke.market))
        return made[-1]

    yield make
    for each in made:
        await each.end()
    await ke.desk.close()


def ask(stage, payer, payee, key: str, client: str = "shop") -> Ask:
    return stage.ask("send_money", payer.id, payee.id, 1_000, client=client, key=key)


async def test_a_front_finds_a_writer_that_comes_late_and_one_that_comes_back(
    short, ke, fronts, until
):
    payer, payee = ke.customer(), ke.customer()
    ke.give_money(payer, 1_000_000)
    front = fronts()
    with pytest.raises(Unavailable):
        await front.desk.submit(ask(ke, payer, payee, "k"))
    for _ in range(3):
        server = await listen(short / "desk.sock", {"KE": ke.desk})
        await until(lambda: front.link.is_up)
        order = await front.desk.submit(ask(ke, payer, payee, "k"))
        assert order.state is State.COMPLETED
        server.close()
        front.link._frames.close()
        await until(lambda: not front.link.is_up)
    assert ke.desk.find(order.id) == order
    assert ke.breaches() == ()


async def test_a_link_that_breaks_leaves_orders_open_and_questions_undone(short, ke, fronts, until):
    heard: list[bytes] = []
    sides: list[Frames] = []

    def silent() -> Frames:
        sides.append(Frames(heard.append, lambda: None))
        return sides[-1]

    server = await listen_at(short / "desk.sock", silent)
    front = fronts()
    await until(lambda: front.link.is_up)
    asking = asyncio.create_task(front.desk.submit(ask(ke, ke.customer(), ke.customer(), "k")))
    finding = asyncio.create_task(front.desk.look_up("0" * 32))
    await until(lambda: len(heard) == 2)
    server.close()
    sides[0].close()
    with pytest.raises(OutcomeUnknown):
        await asking
    with pytest.raises(Unavailable):
        await finding


async def test_garbage_from_a_front_ends_that_front_only(short, ke, fronts, until):
    server = await listen(short / "desk.sock", {"KE": ke.desk})
    front = fronts()
    await until(lambda: front.link.is_up)
    for garbage in (
        b"\xc1",
        b"\x93\x01\xa2KE\x80",
        msgspec.msgpack.encode([1, "KE", {"type": "Z"}]),
    ):
        reader, writer = await asyncio.open_unix_connection(str(short / "desk.sock"))
        writer.write(struct.pack(">I", len(garbage)) + garbage)
        assert await reader.read() == b""
        writer.close()
    assert front.link.is_up
    assert await front.desk.look_up("0" * 32) is None
    server.close()


async def test_garbage_from_the_writer_fails_who_waits_and_is_tried_again(short, ke, fronts, until):
    sides: list[Frames] = []

    def mad() -> Frames:
        sides.append(Frames(lambda _: sides[-1].send(b"\xc1"), lambda: None))
        return sides[-1]

    server = await listen_at(short / "desk.sock", mad)
    front = fronts()
    await until(lambda: front.link.is_up)
    with pytest.raises(OutcomeUnknown):
        await front.desk.submit(ask(ke, ke.customer(), ke.customer(), "k"))
    await until(lambda: len(sides) == 2)
    server.close()


async def test_a_market_that_is_not_there_is_shut(short, ke, fronts, until):
    server = await listen(short / "desk.sock", {})
    front = fronts()
    await until(lambda: front.link.is_up)
    with pytest.raises(Unavailable, match="shut"):
        await front.desk.look_up("0" * 32)
    server.close()


async def test_a_greedy_client_through_two_fronts_leaves_room_for_others(short, ke, fronts, until):
    payer, payee = ke.customer(), ke.customer()
    ke.give_money(payer, 10_000_000)
    server = await listen(
        short / "desk.sock", {"KE": ke.desk}, shares=Shares(front_max=100, client_max=20)
    )
    first, second = fronts(), fronts()
    await until(lambda: first.link.is_up and second.link.is_up)
    greedy = [
        asyncio.create_task(front.desk.submit(ask(ke, payer, payee, f"g{n}", "greedy")))
        for n in range(60)
        for front in (first, second)[n % 2 : n % 2 + 1]
    ]
    modest = [
        asyncio.create_task(
            front.desk.submit(ask(ke, payer, payee, f"m{front is first}", "modest"))
        )
        for front in (first, second)
    ]
    told = await asyncio.gather(*greedy, return_exceptions=True)
    assert all(order.state is State.COMPLETED for order in await asyncio.gather(*modest))
    done = [order for order in told if not isinstance(order, BaseException)]
    refused = [cause for cause in told if isinstance(cause, BaseException)]
    assert len(done) >= 20
    assert refused
    assert all(isinstance(cause, Busy) for cause in refused)
    # Places are given back: all that was refused goes through, and nothing twice.
    again = [await first.desk.submit(ask(ke, payer, payee, f"g{n}", "greedy")) for n in range(60)]
    assert len({order.id for order in again}) == 60
    assert ke.has(payee, "wallet") == 62 * 1_000
    server.close()


async def test_one_front_does_not_fill_the_desk_for_another(short, ke, fronts, until):
    payer, payee = ke.customer(), ke.customer()
    ke.give_money(payer, 10_000_000)
    server = await listen(
        short / "desk.sock", {"KE": ke.desk}, shares=Shares(front_max=10, client_max=1_000)
    )
    first, second = fronts(), fronts()
    await until(lambda: first.link.is_up and second.link.is_up)
    flood = [
        asyncio.create_task(first.desk.submit(ask(ke, payer, payee, f"f{n}", f"c{n}")))
        for n in range(50)
    ]
    other = await second.desk.submit(ask(ke, payer, payee, "o"))
    told = await asyncio.gather(*flood, return_exceptions=True)
    assert other.state is State.COMPLETED
    assert sum(isinstance(each, Busy) for each in told) > 0
    assert sum(not isinstance(each, BaseException) for each in told) >= 10
    server.close()
