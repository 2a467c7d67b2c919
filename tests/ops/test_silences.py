"""Silences: how they stand, windows in local time through summer time, and bounds."""

from datetime import UTC, datetime, timedelta

import pytest

from umoja.clock import ManualClock, to_micros
from umoja.ops import silences as module
from umoja.ops.matching import Matcher, MatcherRefused, read_matcher
from umoja.ops.silences import SilenceRefused, Silences, State, Window, window_of
from umoja.storage.port import Sql


def put(silences: Silences, clock: ManualClock, *, name: str = "A", hours: int = 1, **rest: str):
    now = to_micros(clock.now())
    return silences.put(
        matchers=[Matcher(name="alertname", value=name, is_regex=False)],
        starts_at=now,
        ends_at=now + hours * 3_600_000_000,
        created_by="wanjiru",
        comment="known",
        annotations=rest,
    )


@pytest.fixture
def silences(database: Sql, clock: ManualClock) -> Silences:
    return Silences(database, clock=clock, zone_of={"KE": "Africa/Nairobi"}.get)


def test_a_recurring_one_is_active_only_in_its_window_of_local_time(
    silences: Silences, clock: ManualClock
):
    made = put(
        silences, clock, hours=24 * 30, umoja_days="tue,wed", umoja_hours="22:00-04:00",
        umoja_zone="ke",
    )  # fmt: skip
    assert made.window == Window(days=(1, 2), since=1320, until=240, zone="Africa/Nairobi")
    assert made.window.shown == "tue,wed 22:00-04:00 Africa/Nairobi"

    def state(day: int, hour: int, minute: int = 0) -> State:  # of Nairobi, March 2026
        moment = datetime(2026, 3, day, hour, minute, tzinfo=UTC) - timedelta(hours=3)
        return made.state(to_micros(moment))

    assert state(10, 21, 59) is State.PENDING  # a Tuesday
    assert state(10, 22) is State.ACTIVE
    assert state(11, 3, 59) is State.ACTIVE
    assert state(11, 4) is State.PENDING
    assert state(12, 3) is State.ACTIVE  # Wednesday's window goes on into Thursday
    assert state(12, 22) is State.PENDING


def test_a_window_moves_with_summer_time():
    window = window_of({"umoja_hours": "01:00-02:00", "umoja_zone": "Africa/Cairo"}, lambda _: None)
    assert window is not None

    assert window.holds(datetime(2026, 2, 1, 23, 30, tzinfo=UTC))
    assert window.holds(datetime(2026, 7, 1, 22, 30, tzinfo=UTC))
    assert not window.holds(datetime(2026, 7, 1, 23, 30, tzinfo=UTC))


@pytest.mark.parametrize(
    "notes",
    [
        {"umoja_days": "someday"},
        {"umoja_hours": "22-25:00"},
        {"umoja_hours": "x"},
        {"umoja_days": "mon", "umoja_zone": "Mars/Base"},
        {"umoja_days": "mon", "umoja_zone": "../../etc/passwd"},
    ],
)
def test_a_window_that_cannot_be_read_is_refused(notes: dict[str, str]):
    with pytest.raises(SilenceRefused):
        window_of(notes, lambda _: None)


def test_old_ones_are_forgotten_and_live_ones_bounded(
    silences: Silences, clock: ManualClock, database: Sql, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "LIVE_MAX", 2)
    put(silences, clock)
    put(silences, clock)
    with pytest.raises(SilenceRefused, match="2 silences already"):
        put(silences, clock)

    clock.advance(timedelta(days=6))
    silences.forget()

    assert silences.browse() == []
    assert database.query("SELECT * FROM silences") == []
    assert put(silences, clock).state(to_micros(clock.now())) is State.ACTIVE


@pytest.mark.parametrize(
    ("text", "name", "value", "is_regex", "is_equal"),
    [
        ("a=b", "a", "b", False, True),
        ('a="b c"', "a", "b c", False, True),
        ('a!="x\\"y"', "a", 'x"y', False, False),
        ("a=~x|y", "a", "x|y", True, True),
        ('a !~ "z.*" ', "a", "z.*", True, False),
        ('"with space"="1"', "with space", "1", False, True),
        ("a=", "a", "", False, True),
        ('{a="b"}', "a", "b", False, True),
        ("a=~x{2}", "a", "x{2}", True, True),
    ],
)
def test_a_matcher_is_read_as_amtool_writes_it(
    text: str, name: str, value: str, *, is_regex: bool, is_equal: bool
):
    found = read_matcher(text)
    assert found == Matcher(name=name, value=value, is_regex=is_regex, is_equal=is_equal)
    assert read_matcher(found.shown) == found


@pytest.mark.parametrize("text", ["", "a", "=b", 'a="b', "a=~((", "1a=b", "a=" + "x" * 1_025])
def test_a_matcher_that_cannot_be_read_is_refused(text: str):
    with pytest.raises(MatcherRefused):
        read_matcher(text)
