"""The simulated partners keep the promises of their ports, also when they are made to fail."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from umoja.clock import ManualClock
from umoja.faults import Busy, OutcomeUnknown, Unavailable
from umoja.partners import airtime as airtime_module
from umoja.partners import sms_routes
from umoja.partners.airtime import SimulatedAirtime
from umoja.partners.banks import SimulatedBank
from umoja.partners.sms_routes import SimulatedRoute
from umoja.payments.ports import Parcel, TopUp


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 3, 10, tzinfo=UTC))


async def pass_time(clock: ManualClock, seconds: float) -> None:
    for _ in range(int(seconds * 10)):
        clock.advance(timedelta(seconds=0.1))
        for _ in range(4):
            await asyncio.sleep(0)


@pytest.fixture
async def route(clock: ManualClock):
    heard: list[tuple[str, bool]] = []
    made = SimulatedRoute(
        name="simulated",
        clock=clock,
        seed="7",
        on_receipt=lambda message, done: heard.append((message, done)),
        market="GH",
    )
    made.heard = heard
    yield made
    await made.close()


# The SMS route


async def test_a_text_arrives_within_three_seconds_and_its_delivery_is_told(route, clock):
    await route.send(message_id="m1", to="233201", text="Hello")
    assert route.inbox("233201") == []

    await pass_time(clock, 3.2)

    assert [each.text for each in route.inbox("233201")] == ["Hello"]
    assert route.heard == [("m1", True)]


async def test_the_same_message_is_delivered_once_and_its_delivery_told_again(route, clock):
    for _ in range(3):
        await route.send(message_id="m1", to="233201", text="Hello")
    await pass_time(clock, 3.2)
    await route.send(message_id="m1", to="233201", text="Hello")
    await pass_time(clock, 3.2)

    assert len(route.inbox("233201")) == 1
    assert route.heard == [("m1", True)] * 2


async def test_a_dead_route_refuses_and_delivers_what_it_had(route, clock):
    await route.send(message_id="m1", to="233201", text="before")
    route.is_dead = True
    with pytest.raises(Unavailable):
        await route.send(message_id="m2", to="233201", text="during")
    await pass_time(clock, 3.2)

    assert [each.text for each in route.inbox("233201")] == ["before"]


async def test_a_route_that_dies_while_a_slow_text_is_handed_over_has_not_taken_it(route, clock):
    route.slow_s = 5.0
    sending = asyncio.create_task(route.send(message_id="m1", to="233201", text="slow"))
    await pass_time(clock, 2)
    route.is_dead = True
    await pass_time(clock, 4)

    with pytest.raises(Unavailable):
        await sending


async def test_a_lossy_route_takes_and_stays_silent(route, clock):
    route.loses_permille = 1000
    await route.send(message_id="m1", to="233201", text="lost")
    await pass_time(clock, 10)

    assert (route.inbox("233201"), route.heard) == ([], [])


async def test_what_a_route_keeps_is_bounded(route, clock, monkeypatch):
    monkeypatch.setattr(sms_routes, "IN_TRANSIT_MAX", 20)
    for n in range(20):
        await route.send(message_id=f"m{n}", to="1", text="x")
    with pytest.raises(Busy):
        await route.send(message_id="m20", to="1", text="x")
    await pass_time(clock, 3.2)

    monkeypatch.setattr(sms_routes, "PHONES_MAX", 3)
    monkeypatch.setattr(sms_routes, "TEXTS_MAX", 30)
    for n in range(5):
        await route.send(message_id=f"p{n}", to=f"{n}", text="x")
        await pass_time(clock, 3.2)
    assert sum(bool(route.inbox(f"{n}")) for n in range(5)) <= 3
    monkeypatch.setattr(sms_routes, "REMEMBERED_MAX", 10)
    await route.send(message_id="new", to="9", text="x")
    await route.send(message_id="newer", to="9", text="x")
    assert len(route._known) <= 26


async def test_a_phone_keeps_its_last_fifty_texts(route, clock):
    for n in range(60):
        await route.send(message_id=f"m{n:02}", to="1", text=f"{n:02}")
        await pass_time(clock, 3.2)

    assert [each.text for each in route.inbox("1")] == [f"{n:02}" for n in range(10, 60)]


# Airtime


async def answered(clock: ManualClock, asking):
    task = asyncio.create_task(asking)
    for _ in range(400):
        if task.done():
            break
        await pass_time(clock, 0.1)
    return await task


def top_up(partner: SimulatedAirtime, order: str = "o1", phone: str = "254712345678"):
    return partner.top_up(order_id=order, phone=phone, minor=5_000, currency="KES")


async def test_an_order_is_topped_up_once_however_often_it_is_asked_for(clock):
    partner = SimulatedAirtime(name="simulated", clock=clock, seed="7")

    for _ in range(3):
        assert await answered(clock, top_up(partner)) is TopUp.DONE

    assert partner.sold_minor("KES") == 5_000
    assert await answered(clock, partner.ask("o1")) is TopUp.DONE
    assert await answered(clock, partner.ask("o2")) is None


async def test_a_number_that_ends_in_three_noughts_is_refused(clock):
    partner = SimulatedAirtime(name="simulated", clock=clock, seed="7")

    assert await answered(clock, top_up(partner, phone="254712345000")) is TopUp.REFUSED
    assert partner.sold_minor("KES") == 0


async def test_a_lost_answer_has_happened_and_can_be_asked_for(clock):
    partner = SimulatedAirtime(name="simulated", clock=clock, seed="7")
    partner.loses_answers_permille = 1000

    with pytest.raises(OutcomeUnknown):
        await answered(clock, top_up(partner))

    assert partner.sold_minor("KES") == 5_000
    assert await answered(clock, partner.ask("o1")) is TopUp.DONE


async def test_a_dead_seller_tops_up_nobody_and_a_slow_one_takes_its_time(clock):
    partner = SimulatedAirtime(name="simulated", clock=clock, seed="7")
    partner.is_dead = True
    with pytest.raises(Unavailable):
        await answered(clock, top_up(partner))
    with pytest.raises(Unavailable):
        await answered(clock, partner.ask("o1"))
    assert partner.sold_minor("KES") == 0

    partner.is_dead = False
    partner.slow_s = 20.0
    asking = asyncio.create_task(top_up(partner))
    await pass_time(clock, 19)
    assert not asking.done()
    await pass_time(clock, 3)
    assert await asking is TopUp.DONE


async def test_old_orders_are_forgotten(clock, monkeypatch):
    monkeypatch.setattr(airtime_module, "REMEMBERED_MAX", 2)
    partner = SimulatedAirtime(name="simulated", clock=clock, seed="7")
    for order in ("o1", "o2", "o3"):
        await answered(clock, top_up(partner, order))

    assert await answered(clock, partner.ask("o1")) is None
    assert await answered(clock, partner.ask("o3")) is TopUp.DONE


# The trust bank


@pytest.mark.parametrize(
    ("permille", "booked", "shown"),
    [(0, 1_000_000, 1_000_000), (1, 1_000_000, 999_000), (1, 1, 0), (1, 0, 0), (1000, 500, 0)],
)
def test_the_statement_shows_what_was_booked_less_what_is_made_to_miss(permille, booked, shown):
    bank = SimulatedBank()
    bank.short_permille = permille

    assert bank.statement_balance("KES", booked) == shown


async def test_a_route_taken_out_of_use_gives_its_texts_to_the_other(clock: ManualClock):
    out: set[str] = set()
    told: list[str] = []
    route = SimulatedRoute(
        name="simulated", clock=clock, seed="a", market="KE",
        on_receipt=lambda message, _: told.append(message), is_out=out.__contains__,
    )  # fmt: skip
    route.is_dead = True
    with pytest.raises(Unavailable, match="simulated does not answer"):
        await route.send(message_id="1", to="+254700000001", text="hello")
    out.add("simulated")
    assert route.name == "simulated-2"
    await route.send(message_id="1", to="+254700000001", text="hello")
    assert await route.send_many([Parcel("2", "+254700000001", "again")]) == [None]
    out.clear()
    with pytest.raises(Unavailable):
        await route.send(message_id="3", to="+254700000001", text="no")
    await route.close()
