"""A budget that burns in both windows opens one incident an episode, which ends when it stops."""

from datetime import timedelta

import pytest

from tests.ops.conftest import gauge, order
from umoja.clock import ManualClock
from umoja.ops.centre import Centre
from umoja.ops.finding import Counts
from umoja.ops.objectives import BURN, Count, pace
from umoja.signals import Outcome


def play(centre: Centre, clock: ManualClock, *, good: int, bad: int, minutes: int = 1) -> None:
    for _ in range(minutes):
        for count, outcome in ((good, Outcome.COMPLETED), (bad, Outcome.FAILED)):
            for _ in range(count):
                centre.telemetry.hear(order(clock, outcome=outcome))
        gauge(centre)
        clock.advance(timedelta(seconds=60))
        centre.objectives.keep()


def level(centre: Centre, market: str = "KE") -> float:
    return round(centre.telemetry.board.levels(market, BURN).get("send_money", -1.0), 3)


@pytest.mark.parametrize(
    ("judged", "bad", "objective", "expected"),
    [
        (1_000, 5, 995, 10),
        (1_000, 15, 985, 10),
        (1_000, 72, 995, 144),
        (0, 0, 995, None),
        (3, 0, 995, 0),
    ],
)
def test_a_pace_is_told_in_tenths_of_the_even_one(
    judged: int, bad: int, objective: int, expected: int | None
):
    assert pace(Count(judged=judged, bad=bad), objective_permille=objective) == expected


def test_how_fast_a_budget_burns_is_told_to_the_board(centre: Centre, clock: ManualClock):
    clock.advance(timedelta(seconds=25))
    play(centre, clock, good=200, bad=1, minutes=3)
    assert level(centre) == 0.0  # three failures are too few to say anything
    play(centre, clock, good=180, bad=20, minutes=5)
    # 103 of 1,603 in all: 12.8 times the even pace, and six hours page at 6.0.
    assert level(centre) == 2.133
    assert level(centre, "GH") == -1.0
    play(centre, clock, good=200, bad=0, minutes=3)
    assert level(centre) == 0.0  # what is over is over, though both windows remember it
    (budget,) = centre.objectives.budgets("KE")
    assert budget.burns == "page"
    assert [each.long for each in budget.rates] == [93, 93, 93, 93]


def look(centre: Centre, clock: ManualClock, seconds: int, *, burns: float, bad: int = 0) -> None:
    for _ in range(seconds // 5):
        gauge(centre)
        centre.telemetry.board.gauge("KE", BURN, "send_money", burns)
        for _ in range(bad):
            centre.telemetry.hear(order(clock, outcome=Outcome.FAILED))
            centre.telemetry.hear(order(clock))
        clock.advance(timedelta(seconds=5))
        centre.watch.look()


def test_one_incident_an_episode_with_what_it_loses(centre: Centre, clock: ManualClock):
    look(centre, clock, 30, burns=0.99)
    assert centre.incidents.recent() == []
    look(centre, clock, 60, burns=1.25)
    look(centre, clock, 60, burns=3.0)
    (incident,) = centre.incidents.open_ones()
    assert (incident.detector, incident.product) == ("budget_burn", "send_money")
    assert incident.title == "An objective’s budget burns too fast"
    cause = incident.sheet.cause
    assert cause is not None
    assert (cause.kind, cause.name) == ("product", "send_money")
    assert "at 1.2 times the pace that pages, in both windows" in incident.timeline[0].what
    look(centre, clock, 90, burns=0.0)
    assert centre.incidents.recent()[0].mitigated_at is not None
    look(centre, clock, 600, burns=0.0)
    look(centre, clock, 30, burns=1.5)
    assert len(centre.incidents.recent()) <= 2


def test_it_joins_the_incident_that_a_service_detector_has_opened(
    centre: Centre, clock: ManualClock
):
    look(centre, clock, 60, burns=0.0, bad=20)
    (incident,) = centre.incidents.open_ones()
    assert incident.detector == "failures"
    look(centre, clock, 60, burns=4.0, bad=20)
    (same,) = centre.incidents.open_ones()
    assert same.id == incident.id
    assert "budget_burn" in same.sheet.also
    assert centre.telemetry.harm("KE", Counts.PAYMENTS) is not None
