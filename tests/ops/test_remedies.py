"""Remedies: they act through the switches, within what somebody allowed, and can be undone."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.ops.conftest import NOON
from umoja.clock import ManualClock
from umoja.markets import packs
from umoja.ops.distinct import Distinct
from umoja.ops.finding import Counts, Finding
from umoja.ops.impact import Harm
from umoja.ops.incident import Cause, Incident, Stage
from umoja.ops.incidents import Incidents, Scene
from umoja.ops.remedies import REMEDIES, Remedies, RemedyRefused, offered
from umoja.ops.runbook import runbooks
from umoja.storage.database import Database
from umoja.storage.migrate import migrate
from umoja.switches import Switches

BANK = Cause(kind="partner", name="bank", share_percent=95)


class Ward:
    """Incidents, switches and remedies on one file."""

    def __init__(self, path: Path, clock: ManualClock) -> None:
        self.database = Database(path)
        migrate(self.database, "centre", clock)
        self.incidents = Incidents(self.database, clock=clock, markets=[packs.load("KE")])
        self.switches = Switches()
        self.remedies = Remedies(
            self.database, clock=clock, incidents=self.incidents, switches=self.switches
        )

    def found(
        self,
        cause: Cause | None,
        detector: str = "failures",
        product: str = "",
        lost: int = 9,
    ) -> Incident:
        harm = Harm()
        if lost:
            harm.add_many(
                int(NOON.timestamp()),
                payments=lost,
                minor=lost * 100,
                currency="KES",
                product=product,
                marks=Distinct(),
            )
        finding = Finding(
            title="Payments fail", evidence="9 of 9", began_s=int(NOON.timestamp()), product=product
        )
        name = self.incidents.found(
            "KE", detector, finding, counts=Counts.PAYMENTS, harm=harm, scene=Scene(cause=cause)
        )
        incident = self.incidents.get(name)
        assert incident is not None
        return incident


@pytest.fixture
def ward(tmp_path: Path, clock: ManualClock) -> Iterator[Ward]:
    made = Ward(tmp_path / "centre.db", clock)
    yield made
    made.database.close()


def test_every_remedy_of_a_runbook_is_one():
    named = {step.remedy for book in runbooks().values() for step in book.steps if step.remedy}
    assert named <= REMEDIES.keys()


def test_a_person_opens_a_circuit_and_closes_it_again(ward: Ward):
    incident = ward.found(BANK)
    done = ward.remedies.carry_out(incident, "open_circuit", target="bank", actor="amina")
    again = ward.remedies.carry_out(incident, "open_circuit", target="bank", actor="joao")

    assert again == done
    assert ward.switches.stopped == {
        ("KE", "partner:bank"): (
            "INC-000001: open the circuit to bank: its orders are refused at once"
        )
    }
    after = ward.incidents.get(incident.id)
    assert after is not None
    assert (after.stage, len(after.sheet.remedies)) == (Stage.MITIGATED, 1)

    ward.remedies.undo(done.number, actor="amina")
    ward.remedies.undo(done.number, actor="amina")
    assert ward.switches.stopped == {}
    assert ward.remedies.of_incident(incident.id)[0].undone_by == "amina"


def test_a_remedy_acts_only_on_what_the_incident_is_about(ward: Ward):
    incident = ward.found(BANK)
    for remedy, target in (("open_circuit", "other"), ("stop_product", "*"), ("pray", "bank")):
        with pytest.raises(RemedyRefused):
            ward.remedies.carry_out(incident, remedy, target=target, actor="amina")
    assert ward.switches.stopped == {}


@pytest.mark.parametrize(
    ("cause", "detector", "product", "names"),
    [
        (BANK, "failures", "", ["open_circuit"]),
        (None, "failures", "airtime", ["stop_product"]),
        (None, "failures", "", []),
        (None, "invariants", "", ["stop_market"]),
        (Cause(kind="vendor", name="a"), "sms_receipts", "", ["switch_route"]),
        (Cause(kind="vendor", name="a"), "failures", "", ["open_circuit"]),
        (Cause(kind="route", name="a"), "sms_receipts", "", ["switch_route"]),
        (
            Cause(kind="release", name="t7"),
            "tariff_shift",
            "deposit",
            ["roll_back_tariff", "stop_product"],
        ),
    ],
)
def test_what_is_offered_fits_the_cause(
    ward: Ward, cause: Cause | None, detector: str, product: str, names: list[str]
):
    incident = ward.found(cause, detector, product)
    assert [remedy.name for remedy, _ in offered(incident)] == names


def test_what_only_echoes_tell_is_not_switched_off_by_the_system(ward: Ward):
    ward.remedies.allow("open_circuit", market="KE", most_a_day=9, days=7, actor="amina")
    ward.found(BANK, "echoes", lost=0)
    assert ward.remedies.act_by_itself() == []
    ward.found(BANK, "echoes", lost=1)
    assert [each.target for each in ward.remedies.act_by_itself()] == ["bank"]


def test_the_system_does_by_itself_only_what_is_allowed_and_so_often(
    ward: Ward, clock: ManualClock
):
    ward.found(BANK)
    assert ward.remedies.act_by_itself() == []
    ward.remedies.allow("open_circuit", market="GH", most_a_day=1, days=7, actor="amina")
    assert ward.remedies.act_by_itself() == []
    ward.remedies.allow("open_circuit", market="KE", most_a_day=1, days=7, actor="amina")
    (done,) = ward.remedies.act_by_itself()
    assert (done.done_by, done.allowed_by, done.target) == ("system", "amina", "bank")
    assert ward.remedies.act_by_itself() == []

    ward.remedies.undo(done.number, actor="amina")
    ward.found(Cause(kind="partner", name="other", share_percent=90), product="airtime")
    assert ward.remedies.act_by_itself() == []  # once a day
    clock.advance(timedelta(days=1, seconds=1))
    assert [each.target for each in ward.remedies.act_by_itself()] == ["other"]

    ward.found(Cause(kind="partner", name="third", share_percent=90), product="deposit")
    clock.advance(timedelta(days=7))
    assert ward.remedies.act_by_itself() == []  # the allowance has ended
    assert ward.remedies.allowances() == []


@pytest.mark.parametrize(
    ("remedy", "most", "days"), [("pray", 1, 1), ("open_circuit", 0, 1), ("open_circuit", 1, 93)]
)
def test_no_allowance_without_limits(ward: Ward, remedy: str, most: int, days: int):
    with pytest.raises(RemedyRefused):
        ward.remedies.allow(remedy, market="KE", most_a_day=most, days=days, actor="amina")


def test_what_was_not_undone_holds_after_a_start(ward: Ward, clock: ManualClock, tmp_path: Path):
    incident = ward.found(BANK)
    ward.remedies.carry_out(incident, "open_circuit", target="bank", actor="amina")
    ward.incidents.keep()

    after = Ward(tmp_path / "centre.db", clock)
    assert after.switches.reason_stopped(market="KE", product="partner:bank")
    after.database.close()
