"""The surprise drill: hidden while it runs, told afterwards, and the fault is off whatever ends it."""

import asyncio
from datetime import timedelta
from random import Random

import pytest

from tests.stage import NOON
from umoja.clock import ManualClock
from umoja.markets import packs
from umoja.ops.centre import Centre, open_centre
from umoja.ops.finding import Counts, Finding
from umoja.ops.impact import Harm
from umoja.ops.incident import Stage
from umoja.partners.airtime import SimulatedAirtime
from umoja.partners.banks import SimulatedBank
from umoja.partners.sms_routes import SimulatedRoute
from umoja.simulator.faults import FAULTS, Faults
from umoja.simulator.surprise import BEGINS_AFTER_S, LASTS_MOST_S, Surprises


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
def centre(tmp_path, clock):
    made = open_centre(tmp_path / "centre.db", clock=clock, markets=[packs.load("KE")])
    yield made
    made.close()


def faults_of(clock: ManualClock) -> Faults:
    route = SimulatedRoute(
        name="simulated", clock=clock, seed="KE", on_receipt=lambda *_: None, market="KE",
        is_out=lambda _: False,
    )  # fmt: skip
    return Faults(
        routes={"KE": route},
        airtime={"KE": SimulatedAirtime(name="simulated", clock=clock, seed="KE")},
        banks={"KE": SimulatedBank()},
    )


async def pass_time(clock: ManualClock, seconds: int) -> None:
    for _ in range(seconds):
        clock.advance(timedelta(seconds=1))
        for _ in range(5):
            await asyncio.sleep(0)


def on(faults: Faults) -> list[str]:
    return [each.name for each in FAULTS if faults.is_on("KE", each.name)]


async def test_it_is_hidden_until_its_incident_is_mitigated_and_then_told(
    centre: Centre, clock: ManualClock
):
    faults = faults_of(clock)
    surprises = Surprises(
        centre=centre, faults=faults, markets=["KE"], clock=clock, random=Random(3)
    )
    running = asyncio.create_task(surprises.run())
    await pass_time(clock, BEGINS_AFTER_S[1] + 2)
    (name,) = on(faults)
    assert surprises.is_hidden("KE", name)
    assert surprises.last is not None
    assert (surprises.last.is_running, surprises.last.title, surprises.last.market) == (
        True,
        "",
        "",
    )

    trouble = Finding(
        title="Payments fail", evidence="of one drill", began_s=int(clock.now().timestamp())
    )
    centre.incidents.found("KE", "failures", trouble, counts=Counts.PAYMENTS, harm=Harm())
    (incident,) = centre.incidents.open_ones()
    await pass_time(clock, 10)
    centre.incidents.acknowledge(incident.id, actor="asha")
    await pass_time(clock, 20)
    centre.incidents.advance(incident.id, Stage.MITIGATED, actor="asha")
    await pass_time(clock, 3)

    assert running.done()
    assert on(faults) == []
    assert not surprises.is_hidden("KE", name)
    told = surprises.last
    assert (told.is_running, told.market, told.incident) == (False, "KE", incident.id)
    assert told.title == next(each.title for each in FAULTS if each.name == name)
    assert told.acknowledged_s - told.found_s == 10
    assert told.mitigated_s - told.found_s == 30


async def test_nobody_noticing_ends_it_after_a_quarter_of_an_hour(
    centre: Centre, clock: ManualClock
):
    faults = faults_of(clock)
    surprises = Surprises(
        centre=centre, faults=faults, markets=["KE"], clock=clock, random=Random(4)
    )
    running = asyncio.create_task(surprises.run())
    await pass_time(clock, BEGINS_AFTER_S[1] + LASTS_MOST_S + 3)
    assert running.done()
    assert on(faults) == []
    assert (surprises.last.incident, surprises.last.found_s) == ("", None)
    assert surprises.last.began_at is not None


async def test_a_sandbox_that_ends_switches_it_off(centre: Centre, clock: ManualClock):
    faults = faults_of(clock)
    surprises = Surprises(
        centre=centre, faults=faults, markets=["KE"], clock=clock, random=Random(5)
    )
    running = asyncio.create_task(surprises.run())
    await pass_time(clock, BEGINS_AFTER_S[1] + 2)
    assert len(on(faults)) == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert on(faults) == []


async def test_what_is_switched_on_already_is_not_chosen(centre: Centre, clock: ManualClock):
    faults = faults_of(clock)
    for each in FAULTS:
        faults.switch("KE", each.name, is_on=True)
    surprises = Surprises(
        centre=centre, faults=faults, markets=["KE"], clock=clock, random=Random(6)
    )
    await surprises.run()
    assert (surprises.last.is_running, surprises.last.market) == (False, "")
    assert len(on(faults)) == len(FAULTS)
