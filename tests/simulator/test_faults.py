"""Faults are switches with names, for one market at a time."""

from datetime import UTC, datetime

import pytest

from umoja.clock import ManualClock
from umoja.partners.airtime import SimulatedAirtime
from umoja.partners.banks import SimulatedBank
from umoja.partners.sms_routes import SimulatedRoute
from umoja.simulator.faults import FAULTS, Faults

NAMES = [fault.name for fault in FAULTS]


@pytest.fixture
def faults() -> Faults:
    clock = ManualClock(datetime(2026, 3, 10, tzinfo=UTC))

    def route(code: str) -> SimulatedRoute:
        return SimulatedRoute(
            name="simulated", clock=clock, seed=code, on_receipt=lambda *_: None, market=code
        )

    codes = ("GH", "KE")
    return Faults(
        routes={code: route(code) for code in codes},
        airtime={c: SimulatedAirtime(name="simulated", clock=clock, seed=c) for c in codes},
        banks={code: SimulatedBank() for code in codes},
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_fault_is_switched_on_and_off_in_one_market_alone(faults: Faults, name: str):
    assert not faults.is_on("GH", name)

    for _ in range(2):
        faults.switch("GH", name, is_on=True)
    assert [n for n in NAMES if faults.is_on("GH", n)] == [name]
    assert [n for n in NAMES if faults.is_on("KE", n)] == []

    for _ in range(2):
        faults.switch("GH", name, is_on=False)
    assert [n for n in NAMES if faults.is_on("GH", n)] == []


def test_faults_have_titles_and_unknown_ones_are_refused(faults: Faults):
    assert [fault.name for fault in faults.list("GH")] == NAMES
    assert all(len(fault.title.split()) >= 5 for fault in FAULTS)
    for market, name in (("GH", "fire"), ("XX", NAMES[0])):
        with pytest.raises(KeyError):
            faults.switch(market, name, is_on=True)
        with pytest.raises(KeyError):
            faults.is_on(market, name)
    with pytest.raises(KeyError):
        faults.list("XX")
