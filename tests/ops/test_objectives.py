"""Minutes that are kept, charts after a start, objectives and their budgets."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.ops.conftest import gauge, order
from umoja.clock import ManualClock
from umoja.ops.centre import Centre
from umoja.ops.objectives import Count, is_burning, objective_of
from umoja.signals import Outcome


def play(centre: Centre, clock: ManualClock, *, good: int, bad: int = 0, refused: int = 0) -> None:
    """Play one minute and let it settle into the history."""
    for count, outcome in (
        (good, Outcome.COMPLETED),
        (bad, Outcome.FAILED),
        (refused, Outcome.REFUSED),
    ):
        for _ in range(count):
            centre.telemetry.hear(order(clock, outcome=outcome))
    gauge(centre)
    clock.advance(timedelta(seconds=60))
    centre.objectives.keep()


def now_s(clock: ManualClock) -> int:
    return int(clock.now().timestamp())


def test_minutes_are_kept_once_and_by_product(centre: Centre, clock: ManualClock):
    clock.advance(timedelta(seconds=25))  # a minute is kept twenty seconds after its end
    play(centre, clock, good=8, bad=2, refused=5)
    centre.objectives.keep()
    until = now_s(clock)
    since = until - 3_600
    assert centre.objectives.counted("KE", "send_money", since=since, until=until) == Count(
        judged=10, bad=2
    )
    assert centre.objectives.counted("KE", "", since=since, until=until) == Count(judged=10, bad=2)
    assert centre.objectives.counted("GH", "", since=since, until=until) == Count(judged=0, bad=0)
    assert centre.objectives.products("KE") == ["send_money"]


def test_charts_are_there_after_a_start(opened: Callable[..., Centre], clock: ManualClock):
    first = opened()
    clock.advance(timedelta(seconds=25))
    play(first, clock, good=6)
    play(first, clock, good=9)
    before = first.telemetry.series("KE", "attempts", minutes=5)
    first.close()

    after = opened()
    assert after.telemetry.series("KE", "attempts", minutes=5) == before
    assert [each for each in before if each] == [6, 9]
    after.close()


def test_a_minute_that_was_not_heard_is_a_gap(centre: Centre, clock: ManualClock):
    clock.advance(timedelta(seconds=25))
    clock.advance(timedelta(minutes=3))
    centre.objectives.keep()
    database = centre._database
    assert database.query("SELECT * FROM tallies") == []


@pytest.mark.parametrize(
    ("long", "short", "burns"),
    [
        ((1_000, 100), (100, 10), True),  # 10 % of 0.5 %: twenty times
        ((1_000, 100), (100, 5), False),  # the short one is over already
        ((1_000, 70), (100, 10), False),  # fourteen times: not enough
        ((1_000, 73), (100, 8), True),
        ((100, 19), (100, 19), False),  # too few to judge
        ((0, 0), (0, 0), False),
    ],
)
def test_a_budget_burns_in_both_windows_or_not_at_all(
    long: tuple[int, int], short: tuple[int, int], burns: bool
):
    assert (
        is_burning(
            Count(judged=long[0], bad=long[1]),
            Count(judged=short[0], bad=short[1]),
            objective_permille=995,
            tenths=144,
        )
        is burns
    )


def test_a_budget_says_what_is_left(centre: Centre, clock: ManualClock):
    clock.advance(timedelta(seconds=25))
    for _ in range(3):
        play(centre, clock, good=995, bad=5)
    (budget,) = centre.objectives.budgets("KE")
    assert (budget.judged, budget.bad, budget.allowed, budget.left_permille) == (3_000, 15, 15, 0)
    assert budget.burns == ""
    for _ in range(3):
        play(centre, clock, good=800, bad=200)
    (budget,) = centre.objectives.budgets("KE")
    assert budget.left_permille == -19_500
    assert budget.burns == "page"
    assert (objective_of("airtime"), objective_of("deposit")) == (985, 995)


def test_a_budget_of_less_than_one_payment_is_used_up_by_one(centre: Centre, clock: ManualClock):
    clock.advance(timedelta(seconds=25))
    play(centre, clock, good=60)
    (budget,) = centre.objectives.budgets("KE")
    assert (budget.allowed, budget.left_permille) == (0, 1_000)
    play(centre, clock, good=39, bad=1)
    (budget,) = centre.objectives.budgets("KE")
    assert (budget.judged, budget.bad, budget.allowed, budget.left_permille) == (100, 1, 0, -1_000)


def test_what_is_older_than_400_days_goes(centre: Centre, clock: ManualClock):
    clock.advance(timedelta(seconds=25))
    play(centre, clock, good=1)
    clock.advance(timedelta(days=401))
    play(centre, clock, good=1)
    database = centre._database
    rows = database.query("SELECT minute FROM tallies WHERE product = '' AND market = 'KE'")
    assert len(rows) == 1
