"""What is usual in production: the pack's curve of days, at a level that is learned from what comes."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from tests.ops.conftest import gauge, order
from umoja.clock import ManualClock
from umoja.markets import packs
from umoja.markets.busy import busy_at
from umoja.markets.market import Market
from umoja.ops.board import ATTEMPTS, BUCKETS, PAY, SESSION, TIMED, VALUE, WIDTH, Key
from umoja.ops.centre import Centre
from umoja.ops.usual import Usual
from umoja.storage.port import Sql

KE = packs.load("KE")
STEP_S = 30
KEYS = [Key("KE", PAY, "send_money", "ussd"), Key("KE", PAY, "pay_till", "api"),
        Key("KE", SESSION, "", "ussd")]  # fmt: skip
SHARES = np.array([0.7, 0.3, 1.0])


class Days:
    """Simulated days of Kenya: what comes follows the pack's curve, and chance."""

    def __init__(self, centre: Centre, clock: ManualClock, *, average: float, seed: int) -> None:
        self.centre, self.clock, self.average = centre, clock, average
        self._random = np.random.default_rng(seed)
        self._rows = centre.telemetry.board.rows_of(KEYS)
        centre.watch.chronicle = None  # nobody reads these minutes again
        self.is_cut = False

    def run(self, hours: float) -> list[tuple[str, str, str]]:
        """Let time pass; return the incidents so far: title, and when each was opened, local time."""
        for _ in range(int(hours * 3_600 / STEP_S)):
            mean = self.average * busy_at(KE, self.clock.now()) * STEP_S * SHARES
            counts = np.zeros((len(KEYS), WIDTH))
            counts[:, ATTEMPTS] = self._random.poisson(mean) * (not self.is_cut)
            counts[:2, TIMED] = counts[:2, ATTEMPTS]
            counts[:2, BUCKETS] = 40 * counts[:2, ATTEMPTS]
            counts[:2, VALUE] = 1_000_00 * counts[:2, ATTEMPTS]
            self.centre.telemetry.board.add_many(self._rows, counts)
            self.clock.advance(timedelta(seconds=STEP_S))
            gauge(self.centre)
            self.centre.watch.look()
        return [
            (each.market, each.title, f"{KE.local(each.opened_at):%a %H}")
            for each in self.centre.incidents.recent()
        ]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 2, 28, 12, 0, tzinfo=UTC))  # Saturday, payday, end of month


def test_sunday_night_is_no_outage(opened: Callable[..., Centre], clock: ManualClock):
    centre = opened(learns_usual=True)
    days = Days(centre, clock, average=4.0, seed=1)
    assert days.run(40) == []  # over a month's end, a Sunday and its night, into Monday morning
    days.is_cut = True
    days.run(2 / 60)
    assert [each.title for each in centre.incidents.open_ones()] == ["Payments do not come"]
    centre.close()


def test_without_the_curve_the_night_looks_like_an_outage(
    opened: Callable[..., Centre], clock: ManualClock
):
    centre = opened()
    found = Days(centre, clock, average=4.0, seed=1).run(40)
    assert ("KE", "Payments do not come") in {each[:2] for each in found}
    centre.close()


# The level


def learned(database: Sql, clock: ManualClock, hours: int, *, a_minute: float = 120.0) -> Usual:
    """Return what is learned of a market with so many payments a minute on average."""
    usual = Usual(database, clock=clock, markets=[KE])
    goes_on(usual, clock, hours, a_minute=a_minute)
    return usual


def goes_on(
    usual: Usual,
    clock: ManualClock,
    hours: int,
    *,
    a_minute: float,
    is_ill: Callable[[str], bool] = lambda _: False,
) -> None:
    def came(_market: str, minute_s: int) -> int:
        middle = datetime.fromtimestamp(minute_s + 30, UTC)
        return round(a_minute * busy_at(KE, middle))

    for _ in range(hours * 60):
        clock.advance(timedelta(minutes=1))
        usual.look(came, is_ill=is_ill)


def test_the_level_is_learned_whatever_the_hour(database: Sql, clock: ManualClock):
    usual = learned(database, clock, 30)
    for day, hour in ((2, 0), (2, 14), (2, 17), (8, 9), (28, 9)):
        at = datetime(2026, 3, day, hour, tzinfo=UTC)
        assert usual.per_second(KE, at) == pytest.approx(2.0 * busy_at(KE, at), rel=0.01)


def test_nothing_is_said_before_two_hours_were_seen(database: Sql, clock: ManualClock):
    usual = learned(database, clock, 1)
    assert usual.per_second(KE, clock.now()) is None
    goes_on(usual, clock, 1, a_minute=120.0)
    assert usual.per_second(KE, clock.now()) is not None
    assert usual.per_second(packs.load("GH"), clock.now()) is None


def test_it_is_kept_for_the_next_start(database: Sql, clock: ManualClock):
    before = learned(database, clock, 3).per_second(KE, clock.now())
    again = Usual(database, clock=clock, markets=[KE])
    assert again.per_second(KE, clock.now()) == pytest.approx(before, rel=0.01)


def test_what_comes_while_a_market_is_ill_is_not_learned(database: Sql, clock: ManualClock):
    usual = learned(database, clock, 10)
    goes_on(usual, clock, 10, a_minute=0.0, is_ill=lambda code: code == "KE")
    at = clock.now()
    assert usual.per_second(KE, at) == pytest.approx(2.0 * busy_at(KE, at), rel=0.01)


def test_a_new_level_is_taken_up_within_weeks(database: Sql, clock: ManualClock):
    usual = learned(database, clock, 48)
    goes_on(usual, clock, 14 * 24, a_minute=240.0)
    found = usual.per_second(KE, clock.now())
    assert found is not None
    assert 3.7 < found / busy_at(KE, clock.now()) < 4.0


def test_the_wall_is_told_what_is_usual_when_it_was_learned(
    opened: Callable[..., Centre], clock: ManualClock
):
    centre = opened(learns_usual=True)
    assert centre.telemetry.figures("KE").expected_per_second is None
    for _ in range(125):
        for _each in range(6):
            centre.telemetry.hear(order(clock))
        clock.advance(timedelta(minutes=1))
        centre.watch.look()
    found = centre.telemetry.figures("KE").expected_per_second
    assert found == pytest.approx(0.1, rel=0.2)
    centre.close()


def curve(market: Market, day: date) -> float:
    return busy_at(market, datetime(day.year, day.month, day.day, 9, tzinfo=UTC))


def test_paydays_holidays_and_seasons_move_the_curve():
    usual = curve(KE, date(2026, 3, 10))
    assert curve(KE, date(2026, 3, 15)) == pytest.approx(usual * 1.15 * 0.9)  # payday, Sunday
    assert curve(KE, date(2026, 6, 1)) == pytest.approx(usual * 1.5 * 1.15 * 0.85)  # Madaraka Day
