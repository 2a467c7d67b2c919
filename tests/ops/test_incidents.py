"""The life of incidents: one an episode, sized live, durable, and never in a payment's way."""

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.ops.conftest import NOON, message, order
from tests.ops.weather import Weather
from tests.postgres import files_only
from umoja.clock import ManualClock
from umoja.faults import Unavailable
from umoja.ops.centre import Centre
from umoja.ops.finding import Counts, Finding
from umoja.ops.impact import Harm
from umoja.ops.incidents import IncidentUnknown, NoteRefused
from umoja.storage.database import Database

ROOT = Path(__file__).parents[2]
BEGAN_S = int(NOON.timestamp())


def found(centre: Centre, harm: Harm, *, product: str = "", detector: str = "a_detector") -> None:
    finding = Finding(
        title="Receipts are missing", evidence="9 of 9", began_s=BEGAN_S, product=product
    )
    centre.incidents.found("KE", detector, finding, counts=Counts.RECEIPTS, harm=harm)
    centre.incidents.keep()


def hurt(harm: Harm, clock: ManualClock, *payers: int, product: str = "deposit") -> None:
    second = int(clock.now().timestamp())
    for payer in payers:
        harm.add(second, product=product, minor=50_00, currency="KES", mark=payer, order=0)


def test_an_incident_from_its_opening_to_its_end(centre: Centre, clock: ManualClock):
    harm = Harm()
    hurt(harm, clock, 1, 2)
    clock.advance(timedelta(seconds=20))

    found(centre, harm)

    (incident,) = centre.incidents.open_ones()
    assert incident.id == "INC-000001"
    assert (incident.market, incident.product, incident.detector) == ("KE", "deposit", "a_detector")
    assert (incident.state, incident.severity) == ("open", 4)
    assert (incident.opened_at, incident.resolved_at) == (NOON + timedelta(seconds=20), None)
    assert (incident.payments, incident.customers) == (2, 2)
    assert incident.value_minor == {"KES": 100_00}

    clock.advance(timedelta(seconds=5))
    hurt(harm, clock, *range(2, 60), product="withdraw")
    found(centre, harm)
    clock.advance(timedelta(seconds=5))
    found(centre, harm)
    clock.advance(timedelta(seconds=30))
    centre.incidents.quiet("KE", "a_detector")
    centre.incidents.keep()

    assert centre.incidents.open_ones() == []
    incident = centre.incidents.get("INC-000001")
    assert incident is not None
    assert (incident.state, incident.severity, incident.product) == ("resolved", 3, "")
    assert incident.resolved_at == NOON + timedelta(seconds=60)
    assert (incident.payments, incident.customers) == (60, 59)
    assert incident.value_minor == {"KES": 3_000_00}
    assert [((each.at - NOON).seconds, each.actor, each.what) for each in incident.timeline] == [
        (20, "system", "opened: 9 of 9, since 09:00:00 UTC"),
        (25, "system", "10 customers passed: 60 payments, KES 3,000, 59 customers"),
        (25, "system", "severity 4 became 3"),
        (60, "system", "resolved: 60 payments, KES 3,000, 59 customers"),
    ]


def test_one_finding_is_one_incident_and_another_product_is_another(
    centre: Centre, clock: ManualClock
):
    for _ in range(3):
        found(centre, Harm())
        found(centre, Harm(), product="airtime")
        found(centre, Harm(), detector="another")
        clock.advance(timedelta(seconds=5))

    assert [each.id for each in centre.incidents.open_ones()] == [
        "INC-000001",
        "INC-000002",
        "INC-000003",
    ]

    centre.incidents.quiet("KE", "a_detector")
    clock.advance(timedelta(minutes=10, seconds=1))
    found(centre, Harm())

    assert [each.id for each in centre.incidents.open_ones()] == ["INC-000003", "INC-000004"]
    assert [each.id for each in centre.incidents.recent()] == [
        "INC-000004",
        "INC-000003",
        "INC-000002",
        "INC-000001",
    ]
    assert [each.id for each in centre.incidents.recent(limit=2)] == ["INC-000004", "INC-000003"]
    assert centre.incidents.recent(market="GH") == []


@pytest.mark.parametrize(
    ("customers", "counts", "severity"),
    [
        (0, Counts.PAYMENTS, 4),
        (49, Counts.PAYMENTS, 4),
        (50, Counts.PAYMENTS, 3),
        (500, Counts.PAYMENTS, 2),
        (6_000, Counts.PAYMENTS, 1),
        (6_000, Counts.RECEIPTS, 2),
    ],
)
def test_severity_comes_from_the_impact(
    centre: Centre, clock: ManualClock, customers: int, counts: Counts, severity: int
):
    harm = Harm()
    hurt(harm, clock, *range(customers))
    finding = Finding(title="t", evidence="e", began_s=BEGAN_S)

    centre.incidents.found("KE", "d", finding, counts=counts, harm=harm)

    assert centre.incidents.open_ones()[0].severity == severity


def test_the_real_thing_counts_payments_not_messages(centre: Centre, clock: ManualClock):
    weather = Weather(centre, clock, per_second=2.0, seed=11, lost_permille=0)
    weather.run(60)
    weather.is_dead = True
    weather.run(120)
    weather.is_dead = False
    weather.run(300)

    (incident,) = centre.incidents.recent()

    payers = {payer for payer, _ in weather.harmed}
    assert incident.state == "resolved"
    assert incident.payments == len(weather.harmed) == 246
    assert incident.value_minor == {"KES": sum(minor for _, minor in weather.harmed)}
    assert incident.customers == len(payers)
    assert incident.product == ""


def test_staff_write_notes_while_it_is_open_and_after(centre: Centre, clock: ManualClock):
    found(centre, Harm())
    centre.incidents.note("INC-000001", actor="asha", what="  the route's vendor was called \x00")
    centre.incidents.quiet("KE", "a_detector")
    centre.incidents.keep()

    noted = centre.incidents.note("INC-000001", actor="asha", what="a certificate had expired")

    assert [(each.actor, each.what.split(":")[0]) for each in noted.timeline] == [
        ("system", "opened"),
        ("asha", "the route's vendor was called"),
        ("system", "resolved"),
        ("asha", "a certificate had expired"),
    ]


@pytest.mark.parametrize("what", ["", "   ", "\x00\x01", "x" * 1_001])
def test_notes_that_say_nothing_or_too_much_are_refused(centre: Centre, what: str):
    found(centre, Harm())

    with pytest.raises(NoteRefused):
        centre.incidents.note("INC-000001", actor="asha", what=what)


@pytest.mark.parametrize(
    "name",
    ["INC-000002", "INC-1", "INC-0000001", "inc-000001", "1", "", "INC-" + "9" * 30, "INC-00000١"],
)
def test_incidents_that_are_not_there(centre: Centre, name: str):
    found(centre, Harm())

    assert centre.incidents.get(name) is None
    with pytest.raises(IncidentUnknown):
        centre.incidents.note(name, actor="asha", what="hello")


def test_a_timeline_ends_somewhere(centre: Centre):
    found(centre, Harm())
    for number in range(499):
        centre.incidents.note("INC-000001", actor="asha", what=f"note {number}")

    with pytest.raises(NoteRefused, match="full"):
        centre.incidents.note("INC-000001", actor="asha", what="one too many")


@files_only
def test_a_kill_and_a_start_go_on_where_they_were(opened: Callable[..., Centre], clock, tmp_path):
    victim = subprocess.run(
        [sys.executable, "-m", "tests.ops.incident_victim", str(tmp_path / "centre.db")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    name, payments, customers = victim.stdout.splitlines()[-1].split()
    assert victim.returncode == -9

    clock.advance(timedelta(minutes=10))
    centre = opened()
    (incident,) = centre.incidents.open_ones()
    assert (incident.id, incident.state) == (name, "open")
    assert (incident.payments, incident.customers) == (int(payments), int(customers))
    weather = Weather(centre, clock, per_second=2.0, seed=1, lost_permille=0)
    weather.is_dead = True
    weather.run(60)

    (going_on,) = centre.incidents.open_ones()
    assert going_on.id == name
    assert going_on.payments == int(payments) + len(weather.harmed)
    # the same customers, who are not counted again
    assert int(customers) <= going_on.customers <= 300

    weather.is_dead = False
    weather.run(300)

    (ended,) = centre.incidents.recent()
    assert (ended.id, ended.state) == (name, "resolved")
    assert ended.timeline[0].what.startswith("opened: ")
    assert ended.timeline[-1].what.startswith("resolved: ")
    centre.close()


def test_a_start_without_traffic_proves_nothing_and_resolves_nothing(
    opened: Callable[..., Centre], clock: ManualClock
):
    centre = opened()
    weather = Weather(centre, clock, per_second=3.0, seed=2)
    weather.is_dead = True
    weather.run(120)
    assert weather.open()
    centre.close()

    centre = opened()
    Weather(centre, clock, per_second=0.0, seed=2).run(1_800)

    assert [each.state for each in centre.incidents.recent()] == ["open"]
    centre.close()


@files_only
def test_a_disk_that_fails_is_made_good_at_the_next_look(
    centre: Centre, opened: Callable[..., Centre], clock: ManualClock, tmp_path: Path
):
    other = Database(tmp_path / "centre.db", wait_s=0)
    weather = Weather(centre, clock, per_second=3.0, seed=3, lost_permille=0)
    centre.incidents._database._writer.execute("PRAGMA busy_timeout = 0")
    weather.run(30)
    weather.is_dead = True
    with other.transaction():  # the file cannot be written as long as this lasts
        weather.run(120)
        (incident,) = centre.incidents.open_ones()
        assert incident.payments == len(weather.harmed)
        assert other.one("SELECT count(*) FROM incidents")[0] == 0
        with pytest.raises(Unavailable):
            centre.incidents.note(incident.id, actor="asha", what="hello")
        assert len(centre.incidents.open_ones()[0].timeline) == len(incident.timeline)

    weather.run(5)

    kept = opened().incidents.open_ones()
    assert [each.payments for each in kept] == [len(weather.harmed)]
    other.close()


def test_a_closed_file_stops_neither_hearing_nor_looking(
    opened: Callable[..., Centre], clock: ManualClock
):
    centre = opened()
    weather = Weather(centre, clock, per_second=3.0, seed=3)
    weather.run(30)
    weather.is_dead = True
    centre.incidents._database._writer.close()

    weather.run(120)  # what cannot be written is logged at each look

    assert weather.open()
    assert centre.telemetry.figures("KE").completed > 0


def test_hearing_touches_no_file(centre: Centre, clock: ManualClock):
    centre.close()

    centre.telemetry.hear(order(clock))
    centre.telemetry.hear(message(clock, "failed"))

    assert centre.telemetry.figures("KE").completed == 1
    assert centre.telemetry.uncounted() == (0, None)


def test_the_day_on_the_wall_goes_on_after_a_stop(
    opened: Callable[..., Centre], clock: ManualClock
):
    centre = opened()
    for _ in range(3):
        centre.telemetry.hear(order(clock))
    centre.close()

    centre = opened()
    centre.telemetry.hear(order(clock))

    found_now = centre.telemetry.figures("KE")
    assert (found_now.payments_today, found_now.moved_today) == (4, {"KES": 400_00})
    centre.close()

    clock.advance(timedelta(days=1))
    centre = opened()
    assert centre.telemetry.figures("KE").payments_today == 0
    centre.close()


def test_a_kill_loses_at_most_fifteen_seconds_of_the_days_count(
    opened: Callable[..., Centre], clock: ManualClock
):
    centre = opened()
    centre.telemetry.hear(order(clock))
    clock.advance(timedelta(seconds=15))
    centre.watch.look()
    centre.telemetry.hear(order(clock))  # and killed

    assert opened().telemetry.figures("KE").payments_today == 1
