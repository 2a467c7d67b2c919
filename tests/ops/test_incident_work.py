"""What people and the watch do with an incident: stages, roles, tasks, hanging payments, review."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.ops.conftest import NOON
from tests.postgres import files_only
from umoja.clock import ManualClock, to_micros
from umoja.faults import Unavailable
from umoja.ops.centre import Centre
from umoja.ops.finding import Counts, Finding
from umoja.ops.impact import Harm
from umoja.ops.incident import Cause, Incident, Post, Review, Stage, severity_of, times_of
from umoja.ops.incidents import Hanging, NoteRefused, Scene, StepRefused, StillHanging
from umoja.ops.runbook import runbook_of, runbooks
from umoja.ops.watch import DETECTORS
from umoja.storage.database import Database

BEGAN_S = int(NOON.timestamp()) - 30


def found(
    centre: Centre, *, detector: str = "failures", product: str = "", scene: Scene | None = None
) -> str:
    finding = Finding(title="Payments fail", evidence="9 of 9", began_s=BEGAN_S, product=product)
    return centre.incidents.found(
        "KE", detector, finding, counts=Counts.PAYMENTS, harm=Harm(), scene=scene
    )


def get(centre: Centre, name: str = "INC-000001") -> Incident:
    incident = centre.incidents.get(name)
    assert incident is not None
    return incident


def said(incident: Incident) -> list[tuple[str, str]]:
    return [(each.actor, each.what) for each in incident.timeline[1:]]


@pytest.mark.parametrize(
    ("figures", "severity"),
    [
        ({"customers": 0}, 4),
        ({"customers": 49}, 4),
        ({"customers": 50}, 3),
        ({"customers": 500}, 2),
        ({"customers": 5_000}, 1),
        ({"customers": 5_000, "gravest": 2}, 2),
        ({"customers": 3, "share_percent": 4}, 4),
        ({"customers": 3, "share_percent": 5}, 3),
        ({"customers": 3, "share_percent": 20}, 2),
        ({"customers": 3, "share_percent": 50}, 1),
        ({"customers": 0, "share_percent": 100}, 4),
        ({"customers": 3, "agents": 10}, 3),
        ({"customers": 3, "agents": 200}, 1),
        ({"customers": 0, "is_money": True}, 1),
    ],
)
def test_severity_is_the_gravest_that_any_figure_says(figures: dict[str, int], severity: int):
    assert severity_of(**figures) == severity  # type: ignore[arg-type]


def test_from_the_page_to_the_review(centre: Centre, clock: ManualClock):
    name = found(centre)
    clock.advance(timedelta(seconds=40))
    centre.incidents.acknowledge(name, actor="amina")
    centre.incidents.acknowledge(name, actor="joao")  # the second press changes nothing
    centre.incidents.appoint(name, Post.COMMANDER, name="amina", actor="amina")
    centre.incidents.appoint(name, Post.COMMANDER, name="amina", actor="amina")
    centre.incidents.add_task(name, what="ring the bank", owner="joao", actor="amina")
    centre.incidents.finish_task(name, 1, actor="joao")
    centre.incidents.name_cause(name, Cause(kind="vendor", name="bank switch"), actor="amina")
    clock.advance(timedelta(seconds=60))
    centre.incidents.advance(name, Stage.MITIGATED, actor="amina", why="the route is switched")
    centre.incidents.advance(name, Stage.RESOLVED, actor="amina")
    with pytest.raises(NoteRefused, match="the causes says something"):
        centre.incidents.review(name, Review(summary="A cable was cut", causes=" "), actor="amina")
    centre.incidents.review(
        name, Review(summary="A cable was cut", causes="one cable"), actor="amina"
    )
    centre.incidents.add_action(
        name, what="a second cable", owner="joao", due="2026-04-01", actor="amina"
    )
    centre.incidents.finish_action(name, 1, actor="joao")

    incident = get(centre)
    assert said(incident) == [
        ("amina", "acknowledged"),
        ("amina", "commander: amina"),
        ("amina", "task 1 for joao: ring the bank"),
        ("joao", "task 1 done"),
        ("amina", "cause: vendor bank switch"),
        ("amina", "mitigated: the route is switched"),
        ("amina", "resolved"),
        ("amina", "review written"),
        ("amina", "action 1 for joao by 2026-04-01: a second cable"),
        ("joao", "action 1 done"),
    ]
    assert (incident.stage, incident.acknowledged_by) == (Stage.REVIEWED, "amina")
    assert incident.sheet.review.by == "amina"
    times = times_of([incident])
    assert (times.detect_s, times.acknowledge_s, times.mitigate_s, times.restore_s) == (
        30,
        40,
        100,
        100,
    )


def test_what_does_not_follow_is_refused(centre: Centre):
    name = found(centre)
    with pytest.raises(StepRefused, match="does not go from investigating to reviewed"):
        centre.incidents.advance(name, Stage.REVIEWED, actor="amina")
    with pytest.raises(StepRefused, match="reviewed when it is resolved"):
        centre.incidents.review(name, Review(summary="a", causes="b"), actor="amina")
    with pytest.raises(StepRefused, match="no task 1"):
        centre.incidents.finish_task(name, 1, actor="amina")
    with pytest.raises(NoteRefused, match="2026-03-31"):
        centre.incidents.add_action(name, what="a", owner="b", due="soon", actor="amina")
    assert said(get(centre)) == []


def test_one_that_nobody_took_ends_by_itself_and_one_that_somebody_took_does_not(
    centre: Centre, clock: ManualClock
):
    found(centre, detector="one")
    taken = found(centre, detector="two")
    centre.incidents.acknowledge(taken, actor="amina")
    clock.advance(timedelta(seconds=30))

    centre.incidents.quiet("KE", "one")
    centre.incidents.quiet("KE", "two")

    assert get(centre, "INC-000001").stage is Stage.RESOLVED
    incident = get(centre, taken)
    assert (incident.stage, incident.mitigated_at) == (Stage.MITIGATED, clock.now())


def test_what_comes_back_soon_is_the_same_incident(centre: Centre, clock: ManualClock):
    for _ in range(5):
        assert found(centre) == "INC-000001"
        clock.advance(timedelta(minutes=2))
        centre.incidents.quiet("KE", "failures")
        centre.incidents.keep()
        clock.advance(timedelta(minutes=2))

    incident = get(centre)
    assert (incident.sheet.returns, incident.stage) == (4, Stage.RESOLVED)
    clock.advance(timedelta(minutes=9))
    assert found(centre) == "INC-000002"


def test_a_second_detector_of_the_same_cause_adds_to_the_incident(centre: Centre):
    cause = Cause(kind="vendor", name="bank", share_percent=93)
    first = found(centre, scene=Scene(cause=cause))
    second = found(centre, detector="latency", scene=Scene(cause=cause))
    other = found(
        centre,
        detector="latency",
        product="airtime",
        scene=Scene(cause=Cause(kind="release", name="tariff 7", share_percent=80)),
    )

    assert (first, second, other) == ("INC-000001", "INC-000001", "INC-000002")
    incident = get(centre)
    assert (incident.stage, incident.sheet.cause, incident.sheet.also) == (
        Stage.IDENTIFIED,
        cause,
        ["latency"],
    )
    centre.incidents.quiet("KE", "failures")
    assert get(centre).is_open  # the other one still sees it
    centre.incidents.quiet("KE", "latency", "")
    assert not get(centre).is_open
    assert get(centre, other).is_open


def test_a_wide_trouble_explains_what_is_found_meanwhile(centre: Centre):
    told: list[str] = []
    centre.incidents.listen(lambda incident: told.append(incident.id))
    wide = found(
        centre,
        detector="silence",
        scene=Scene(cause=Cause(kind="market", name="KE", share_percent=100)),
    )
    child = found(centre, detector="failures")

    assert told == [wide]
    assert [each.id for each in centre.incidents.open_ones()] == [wide]
    assert [each.id for each in centre.incidents.open_ones(children=True)] == [wide, child]
    assert get(centre, child).parent == wide
    assert get(centre, wide).sheet.children == [child]


def test_no_incident_is_closed_while_a_payment_hangs_on_it(centre: Centre, clock: ManualClock):
    name = found(centre, product="send_to_bank")
    now = to_micros(clock.now())
    hanging = [
        Hanging(order="OA", product="send_to_bank", since=now - 60_000_000),
        Hanging(order="OB", product="send_to_bank", since=now),
        Hanging(order="OC", product="airtime", since=now),
        Hanging(order="OD", product="send_to_bank", since=now - 3_600_000_000),
    ]
    centre.incidents.unknown("KE", hanging)
    centre.incidents.unknown("GH", [])
    assert get(centre).sheet.hanging == {"OA": "", "OB": ""}

    centre.incidents.quiet("KE", "failures")
    assert get(centre).stage is Stage.MITIGATED
    with pytest.raises(StillHanging, match=r"2 payments of unknown outcome .* the first is OA"):
        centre.incidents.advance(name, Stage.RESOLVED, actor="amina")

    centre.incidents.unknown("KE", hanging[1:])  # OA has found its end
    incident = centre.incidents.own(name, "OB", owner="joao", actor="amina")
    assert (incident.orphans, incident.sheet.settled) == ([], 1)
    assert centre.incidents.advance(name, Stage.RESOLVED, actor="amina").stage is Stage.RESOLVED
    with pytest.raises(StepRefused, match="does not hang"):
        centre.incidents.own(name, "OA", owner="joao", actor="amina")


def test_an_untaken_one_ends_when_the_last_hanging_payment_does(centre: Centre, clock: ManualClock):
    found(centre)
    centre.incidents.unknown(
        "KE", [Hanging(order="OA", product="airtime", since=to_micros(clock.now()))]
    )
    centre.incidents.quiet("KE", "failures")
    assert get(centre).is_open
    centre.incidents.unknown("KE", [])
    assert not get(centre).is_open


def test_all_of_it_is_there_after_a_start(
    opened: Callable[..., Centre], clock: ManualClock, tmp_path: Path
):
    first = opened()
    name = found(first, scene=Scene(changed=("tariff 7 since 08:00",), share_percent=30, agents=12))
    first.incidents.acknowledge(name, actor="amina")
    first.incidents.add_task(name, what="look", owner="", actor="amina")
    before = get(first)
    first.close()

    after = get(opened())
    assert after == before
    assert after.sheet.tasks[0].owner == "amina"
    assert after.sheet.changed == ["tariff 7 since 08:00"]


@files_only
def test_what_could_not_be_written_was_not_done(centre: Centre, monkeypatch: pytest.MonkeyPatch):
    name = found(centre)
    centre.incidents.keep()

    def full(*_: object, **__: object) -> int:
        raise Unavailable("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Database, "run", full)
        with pytest.raises(Unavailable):
            centre.incidents.acknowledge(name, actor="amina")
    assert get(centre).acknowledged_by == ""
    assert centre.incidents.acknowledge(name, actor="joao").acknowledged_by == "joao"


def test_the_runbook_is_followed_with_names_and_times(centre: Centre, clock: ManualClock):
    name = found(centre)
    centre.incidents.tick(name, 2, actor="amina", note="circuit open")
    centre.incidents.tick(name, 2, actor="joao")  # done already
    with pytest.raises(StepRefused, match="no step 6"):
        centre.incidents.tick(name, 6, actor="amina")

    (tick,) = get(centre).sheet.ticks
    assert (tick.step, tick.by, tick.at) == (2, "amina", to_micros(clock.now()))
    assert said(get(centre)) == [("amina", "runbook step 2 done: circuit open")]


def test_every_detector_has_a_runbook_and_every_remedy_in_one_exists():
    books = runbooks()
    assert {detector.name for detector in DETECTORS} <= books.keys()
    assert all(2 <= len(book.steps) <= 6 for book in books.values())
    assert runbook_of("a detector of tomorrow").title == "Something is wrong"
