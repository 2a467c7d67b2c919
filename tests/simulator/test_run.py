"""Playing the plan: a day comes twice the same, and in live time trouble never ends the traffic."""

import asyncio
import hashlib
from datetime import date, datetime, time, timedelta

import pytest

from tests.stage import Stage
from umoja.clock import ManualClock
from umoja.faults import Busy, OutcomeUnknown, Unavailable
from umoja.markets import packs
from umoja.payments.order import Decline, State
from umoja.signals import OrderSeen, Outcome
from umoja.simulator.population import plan, settle
from umoja.simulator.run import IN_FLIGHT_MAX, Traffic, play_day
from umoja.simulator.traffic import expected_per_second

DAY = date(2026, 3, 10)


def morning(code: str, day: date = DAY) -> ManualClock:
    zone = packs.load(code).zone
    return ManualClock(datetime.combine(day, time(0), zone) - timedelta(hours=1))


def played(raise_stage, code: str, *, seed: int, payments: int = 600, engine: str = "memory"):
    clock = morning(code)
    stage: Stage = raise_stage(code, clock=clock, engine=engine)
    people = plan(stage.market, customers=60, seed=seed)
    settle(stage.branch, people)
    told = play_day(
        stage.branch, people, day=DAY, per_second=payments / 86_400, seed=seed, clock=clock
    )
    digest = hashlib.sha256(b"".join(row.story for row in stage.ledger.rows())).hexdigest()
    return stage, told, digest


def test_the_same_seed_gives_the_same_day_to_the_byte(raise_stage):
    first = played(raise_stage, "KE", seed=7)
    again = played(raise_stage, "KE", seed=7, engine="sqlite")
    other = played(raise_stage, "KE", seed=8)

    assert first[1:] == again[1:]
    assert first[2] != other[2]


@pytest.mark.parametrize("code", ["CD", "EG", "GH", "TZ"])
def test_a_day_balances_and_almost_everything_goes_well(code: str, raise_stage):
    stage, told, _ = played(raise_stage, code, seed=7, payments=1_500)

    assert stage.breaches() == ()
    assert told["payments"] > 1_000
    assert told["completed"] > 0.93 * told["payments"]
    assert 0 < told["refused"] < 0.06 * told["payments"]
    assert {"pin_wrong", "not_enough"} <= set(told["refused because"])
    assert set(told["by product"]) >= {"send_money", "deposit", "withdraw", "airtime"}
    assert not [order for order in stage.desk.waiting() if order.state is State.HELD]


def test_outlets_that_ran_low_are_brought_back_to_their_float(raise_stage):
    clock = morning("GH")
    stage: Stage = raise_stage("GH", clock=clock)
    people = plan(stage.market, customers=60, seed=7)
    settle(stage.branch, people)
    outlet = stage.store.by_phone(people.outlets[0].party.phone)
    other = stage.store.by_phone(people.outlets[1].party.phone)
    stage.pay("float_transfer", outlet.id, other.id, stage.has(outlet, "float"))
    dealers = [stage.store.by_phone(each.phone) for each in people.dealers]
    for dealer in dealers:
        stage.pay("float_transfer", dealer.id, other.id, stage.has(dealer, "float"))

    told = play_day(stage.branch, people, day=DAY, per_second=0.005, seed=7, clock=clock)

    mark = people.float_marks["GHS"]
    assert told["by product"]["float_purchase"] == 2
    assert stage.has(outlet, "float") > mark // 3
    assert stage.has(other, "float") < 4 * mark
    assert stage.breaches() == ()


# In the clock's time


async def live(stage: Stage, clock: ManualClock, *, seconds: float, rate: float = 2.0, hook=None):
    people = plan(stage.market, customers=60, seed=7)
    settle(stage.branch, people)
    seen: list[OrderSeen] = []
    stage.signals.listen(seen.append)
    traffic = Traffic(
        branches={stage.market.code: stage.branch},
        populations={stage.market.code: people},
        clock=clock,
        scale={stage.market.code: rate},
        seed=7,
    )
    if hook is not None:
        hook(traffic)
    running = asyncio.create_task(traffic.run())
    await asyncio.sleep(0)
    for _ in range(int(seconds * 2)):
        clock.advance(timedelta(seconds=0.5))
        for _ in range(5):
            await asyncio.sleep(0)
        if hook is None:
            while any(traffic._in_flight[stage.market.code]):
                await asyncio.sleep(0.0005)
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await traffic.close()
    return traffic, seen


async def test_live_traffic_comes_at_the_expected_rate_and_mostly_succeeds(raise_stage):
    clock = ManualClock(datetime(2026, 3, 10, 13, 0, 3, tzinfo=packs.load("KE").zone))
    stage: Stage = raise_stage("KE", clock=clock)
    expected = expected_per_second(stage.market, clock.now(), 2.0)

    traffic, seen = await live(stage, clock, seconds=120)

    assert (
        0.75 * expected * 120 < len([s for s in seen if not s.was_pending]) < 1.25 * expected * 120
    )
    outcomes = [each.outcome for each in seen]
    assert outcomes.count(Outcome.FAILED) == 0
    assert 0 < outcomes.count(Outcome.REFUSED) < 0.08 * len(seen)
    assert {each.channel for each in seen} == {"ussd", "api"}
    assert {each.reason for each in seen} >= {Decline.PIN_WRONG.value}
    assert traffic.dropped == 0
    assert stage.breaches() == ()
    await stage.desk.close()


async def test_traffic_starts_at_once_and_not_with_what_is_past(raise_stage):
    clock = ManualClock(datetime(2026, 3, 10, 13, 0, 8, tzinfo=packs.load("KE").zone))
    stage: Stage = raise_stage("KE", clock=clock)

    _, seen = await live(stage, clock, seconds=2, rate=10.0)

    assert 5 < len(seen) < 60
    await stage.desk.close()


@pytest.mark.parametrize(
    "trouble", [Busy("the desk"), Unavailable("disk full"), OutcomeUnknown("?"), AssertionError("bug")],
    ids=lambda trouble: type(trouble).__name__,
)  # fmt: skip
async def test_a_desk_in_trouble_ends_nothing_and_what_waits_is_bounded(
    trouble, raise_stage, monkeypatch
):
    clock = ManualClock(datetime(2026, 3, 10, 13, 0, tzinfo=packs.load("GH").zone))
    stage: Stage = raise_stage("GH", clock=clock)
    asked = 0

    async def troubled(_request):
        nonlocal asked
        asked += 1
        raise trouble

    most = 0

    def hook(traffic: Traffic):
        nonlocal most
        monkeypatch.setattr(stage.desk, "submit", troubled)

    traffic, _ = await live(stage, clock, seconds=40, rate=200.0, hook=hook)

    assert asked > 1_000
    assert all(len(tasks) <= IN_FLIGHT_MAX for tasks in traffic._in_flight.values())
    if isinstance(trouble, Unavailable):
        assert traffic.dropped > 100


async def test_a_machine_that_slept_is_not_made_up_for(raise_stage):
    clock = ManualClock(datetime(2026, 3, 10, 13, 0, tzinfo=packs.load("GH").zone))
    stage: Stage = raise_stage("GH", clock=clock)
    people = plan(stage.market, customers=60, seed=7)
    settle(stage.branch, people)
    before = stage.desk.head
    traffic = Traffic(
        branches={"GH": stage.branch},
        populations={"GH": people},
        clock=clock,
        scale={"GH": 2.0},
        seed=7,
    )
    running = asyncio.create_task(traffic.run())
    await asyncio.sleep(0)
    clock.advance(timedelta(hours=10))
    for _ in range(200):
        await asyncio.sleep(0.001)

    assert stage.desk.head - before < 100
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await traffic.close()
    await stage.desk.close()
