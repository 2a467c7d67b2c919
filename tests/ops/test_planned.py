"""Planned work: its times, its bounds, what it mutes and what it does not, through ends and restarts."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
import pytest

from tests.ops.conftest import NOON, gauge
from tests.ops.weather import Weather
from umoja.clock import ManualClock, from_micros, to_micros
from umoja.markets import packs
from umoja.ops.board import ATTEMPTS, FAILED, PAY, VALUE, VALUE_FAILED, WIDTH, Key
from umoja.ops.centre import Centre
from umoja.ops.mutes import Mutes
from umoja.ops.planned import (
    LIVE_MAX,
    Busy,
    PlannedWork,
    PlannedWorks,
    Standing,
    Stretch,
    WorkRefused,
    WorkUnknown,
    busy_in,
)
from umoja.ops.silences import Window

HOUR = timedelta(hours=1)
KEYS = [Key("KE", PAY, "deposit", "ussd", "bank-a"), Key("KE", PAY, "withdraw", "ussd", "bank-b"),
        Key("KE", PAY, "send_money", "api", "")]  # fmt: skip
STEP_S = 10


def planned(centre: Centre, **changes: Any) -> PlannedWork:
    now = centre.planned._clock.now()
    values: dict[str, Any] = {
        "market": "KE", "touches": ["bank-a"], "what": "The bank moves its switch",
        "done_by": "bank-a", "undone_by": "kofi", "starts": now, "ends": now + HOUR,
        "actor": "amina",
    } | changes  # fmt: skip
    return centre.planned.plan(**values)


def weekly(days: tuple[int, ...], since: int, until: int, zone: str = "Africa/Nairobi") -> Window:
    return Window(days=days, since=since, until=until, zone=zone)


def names(centre: Centre, market: str) -> frozenset[str]:
    return centre.planned.names(market, int(centre.planned._clock.now().timestamp()))


def acts(centre: Centre) -> list[tuple[str, str, str]]:
    return [(e.actor, e.action, e.market) for e in reversed(centre.audit.recent(limit=50))]


# Times


def test_it_is_coming_then_on_then_past(centre: Centre, clock: ManualClock):
    made = planned(centre, starts=NOON + HOUR, ends=NOON + 2 * HOUR)
    seen = []
    for minutes in (0, 59, 1, 59, 1):
        clock.advance(timedelta(minutes=minutes))
        seen.append((made.standing(to_micros(clock.now())), names(centre, "KE")))
    assert seen == [
        (Standing.COMING, frozenset()),
        (Standing.COMING, frozenset()),
        (Standing.ON, frozenset({"bank-a"})),
        (Standing.ON, frozenset({"bank-a"})),
        (Standing.PAST, frozenset()),
    ]


def test_it_is_of_its_market_or_of_all_and_of_names_or_of_everything(centre: Centre):
    planned(centre, touches=["bank-a", " ussd", "bank-a"])
    planned(centre, market="GH", touches=[])
    planned(centre, market="*", touches=["sms-a"])
    assert names(centre, "KE") == {"bank-a", "ussd", "sms-a"}
    assert names(centre, "GH") == {"GH", "sms-a"}


def test_it_holds_at_once_and_ends_at_once(centre: Centre, clock: ManualClock):
    clock.advance(timedelta(milliseconds=700))
    made = planned(centre, starts=clock.now(), ends=clock.now() + HOUR)
    assert names(centre, "KE") == {"bank-a"}
    centre.planned.end_now(made.number, actor="amina")
    assert names(centre, "KE") == frozenset()


def test_what_is_done_each_week_is_on_in_its_local_hours(centre: Centre):
    made = planned(
        centre, starts=NOON, ends=NOON + timedelta(days=60), window=weekly((1, 6), 1380, 120)
    )
    found = list(made.stretches(to_micros(NOON), days=14))
    assert [(from_micros(each.starts_at), from_micros(each.ends_at)) for each in found[:3]] == [
        (datetime(2026, 3, 10, 20, 0, tzinfo=UTC), datetime(2026, 3, 10, 23, 0, tzinfo=UTC)),
        (datetime(2026, 3, 15, 20, 0, tzinfo=UTC), datetime(2026, 3, 15, 23, 0, tzinfo=UTC)),
        (datetime(2026, 3, 17, 20, 0, tzinfo=UTC), datetime(2026, 3, 17, 23, 0, tzinfo=UTC)),
    ]
    at = to_micros(datetime(2026, 3, 10, 22, 59, tzinfo=UTC))
    assert made.standing(at) is Standing.ON
    assert made.standing(at + 60_000_000) is Standing.COMING
    assert made.standing(to_micros(NOON + timedelta(days=61))) is Standing.PAST


def test_summer_time_moves_what_is_done_each_week(centre: Centre):
    made = planned(
        centre, starts=NOON, ends=NOON + timedelta(days=90),
        window=weekly((3,), 60, 180, "Africa/Cairo"),
    )  # fmt: skip
    begins = [
        from_micros(made.stretch(to_micros(at)).starts_at)
        for at in (datetime(2026, 4, 20, tzinfo=UTC), datetime(2026, 4, 27, tzinfo=UTC))
    ]
    # Clocks go forward in the night to Friday, 24 April: one in the morning is an hour earlier.
    assert begins == [
        datetime(2026, 4, 22, 23, 0, tzinfo=UTC),
        datetime(2026, 4, 29, 22, 0, tzinfo=UTC),
    ]


def test_only_the_time_that_is_on_is_ended_or_extended(centre: Centre, clock: ManualClock):
    made = planned(
        centre, starts=NOON, ends=NOON + timedelta(days=30), window=weekly((1,), 780, 840)
    )
    with pytest.raises(WorkRefused, match="it has not begun: call it off"):
        centre.planned.end_now(made.number, actor="amina")
    with pytest.raises(WorkRefused, match="it is not on now"):
        centre.planned.extend(made.number, minutes=10, actor="amina")
    clock.advance(timedelta(minutes=70))  # Tuesday, ten past one in Nairobi
    longer = centre.planned.extend(made.number, minutes=30, actor="amina")
    assert from_micros(longer.stretch(to_micros(clock.now())).ends_at) == NOON + timedelta(
        minutes=150
    )
    clock.advance(timedelta(minutes=65))
    assert names(centre, "KE") == {"bank-a"}
    centre.planned.end_now(made.number, actor="kofi")
    assert names(centre, "KE") == frozenset()
    assert centre.planned.end_now(made.number, actor="kofi").moved is not None
    after = centre.planned.get(made.number).stretch(to_micros(clock.now()))
    assert after == Stretch(
        starts_at=to_micros(NOON + timedelta(days=7, hours=1)),
        ends_at=to_micros(NOON + timedelta(days=7, hours=2)),
    )
    assert acts(centre) == [
        ("amina", "work_planned", "KE"),
        ("amina", "work_extended", "KE"),
        ("kofi", "work_ended", "KE"),
    ]


def test_it_is_ended_early_or_called_off_and_again(centre: Centre, clock: ManualClock):
    first, second = planned(centre), planned(centre, starts=NOON + HOUR, ends=NOON + 2 * HOUR)
    clock.advance(timedelta(minutes=10))
    for _ in range(2):
        assert centre.planned.end_now(first.number, actor="kofi").ends_at == to_micros(clock.now())
        assert centre.planned.call_off(second.number, actor="kofi").called_off_by == "kofi"
    assert [each.standing(to_micros(clock.now())) for each in centre.planned.browse()] == [
        Standing.PAST,
        Standing.PAST,
    ]
    assert [each[1] for each in acts(centre)] == [
        "work_planned", "work_planned", "work_ended", "work_called_off",
    ]  # fmt: skip
    entry = centre.audit.recent(limit=1)[0]
    assert entry.detail == (
        "planned work 2: The bank moves its switch; bank-a; until 2026-03-10 09:10 UTC; by bank-a,"
        " rolled back by kofi"
    )


def test_a_start_goes_on_where_it_was(
    centre: Centre, clock: ManualClock, opened: Callable[..., Centre]
):
    made = planned(centre)
    again = planned(centre, ends=NOON + timedelta(days=9), window=weekly((1,), 0, 600))
    centre.planned.extend(made.number, minutes=60, actor="amina")
    centre.planned.call_off(again.number, actor="amina")
    kept = {each.number: each for each in centre.planned.browse()}
    centre.close()
    after = opened()
    clock.advance(timedelta(minutes=90))
    assert {each.number: each for each in after.planned.browse()} == kept
    assert after.watch.planned("KE", int(clock.now().timestamp())) == {"bank-a"}
    after.close()


def test_what_is_long_over_is_not_shown(centre: Centre, clock: ManualClock):
    planned(centre)
    clock.advance(timedelta(days=14, hours=2))
    assert centre.planned.browse() == []
    centre.planned.forget()
    with pytest.raises(WorkUnknown, match="there is no planned work 1"):
        centre.planned.get(1)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"ends": NOON + timedelta(hours=24, seconds=1)}, "lasts at most 24 hours"),
        ({"ends": NOON}, "that is over already"),
        ({"starts": NOON + 2 * HOUR}, "it ends before it begins"),
        (
            {"starts": NOON + timedelta(days=367), "ends": NOON + timedelta(days=367, hours=1)},
            "more than a year ahead",
        ),
        ({"market": "XX"}, "there is no such market"),
        ({"what": " "}, "say what is done"),
        ({"what": "x" * 201}, "at most 200 letters"),
        ({"what": "a\ud800b"}, "none of them broken"),
        ({"done_by": ""}, "say who does it"),
        ({"undone_by": ""}, "say who may roll it back"),
        ({"touches": [f"p{n}" for n in range(13)]}, "at most 12 things"),
        ({"touches": ["x" * 41]}, "at most 40 letters"),
        ({"touches": ["a\0b"]}, "at most 40 letters"),
        ({"window": weekly((0,), 0, 0)}, "at most 12 hours each time"),
        ({"window": weekly((0,), 600, 599)}, "at most 12 hours each time"),
        (
            {"ends": NOON + timedelta(days=367), "window": weekly((0,), 0, 60)},
            "for a year at most",
        ),
        ({"window": weekly((4,), 0, 60)}, "none of these days"),
    ],
)
def test_what_cannot_be_planned_says_why(centre: Centre, changes: dict[str, Any], says: str):
    with pytest.raises(WorkRefused, match=says):
        planned(centre, **changes)
    assert centre.planned.browse() == []
    assert acts(centre) == []


def test_it_is_not_extended_beyond_a_day(centre: Centre):
    made = planned(centre, ends=NOON + timedelta(hours=23))
    centre.planned.extend(made.number, minutes=60, actor="amina")
    for minutes, says in ((1, "24 hours"), (0, "minutes more"), (10_000, "minutes more")):
        with pytest.raises(WorkRefused, match=says):
            centre.planned.extend(made.number, minutes=minutes, actor="amina")


def test_there_is_a_bound(centre: Centre):
    for _ in range(LIVE_MAX):
        planned(centre, touches=["sms-a"])
    with pytest.raises(WorkRefused, match="500 planned works already"):
        planned(centre)
    centre.planned.call_off(7, actor="amina")
    planned(centre)


@pytest.mark.parametrize(
    ("day", "since", "hours", "kinds"),
    [
        (date(2026, 3, 10), time(2, 0), 2, []),
        (date(2026, 3, 10), time(16, 0), 1, []),
        (date(2026, 3, 10), time(16, 0), 2, ["peak"]),
        (date(2026, 3, 10), time(20, 59), 9, ["peak"]),
        (date(2026, 3, 10), time(21, 0), 6, []),
        (date(2026, 3, 14), time(23, 0), 2, ["payday"]),
        (date(2026, 9, 7), time(1, 0), 1, ["season"]),
    ],
    ids=str,
)
def test_a_bad_time_is_told(day: date, since: time, hours: int, kinds: list[str]):
    market = packs.load("KE")
    starts = datetime.combine(day, since, tzinfo=market.zone)
    found = busy_in(
        market,
        Stretch(starts_at=to_micros(starts), ends_at=to_micros(starts + timedelta(hours=hours))),
    )
    assert [each.kind for each in found] == kinds
    if kinds == ["peak"]:
        assert found == [Busy(market="KE", kind="peak", hours="17:00–21:00")]


# What it mutes


class Shop:
    """Kenya's payments by two banks and none, of which some are made to fail or to stay away."""

    def __init__(self, centre: Centre, clock: ManualClock) -> None:
        self.centre, self.clock = centre, clock
        self.failing: dict[int, float] = {}
        self.share = [1.0, 1.0, 1.0]
        self._random = np.random.default_rng(7)
        self._rows = centre.telemetry.board.rows_of(KEYS)
        centre.watch.chronicle = None

    def run(self, minutes: float) -> list[str]:
        """Let time pass; return the causes of the incidents that are open, by their detector."""
        for _ in range(int(minutes * 60 / STEP_S)):
            counts = np.zeros((len(KEYS), WIDTH))
            mean = 3.0 * STEP_S * np.array(self.share)
            counts[:, ATTEMPTS] = self._random.poisson(mean)
            shares = np.array([self.failing.get(at, 0.01) for at in range(len(KEYS))])
            counts[:, FAILED] = self._random.binomial(counts[:, ATTEMPTS].astype(int), shares)
            counts[:, VALUE] = 500_00 * counts[:, ATTEMPTS]
            counts[:, VALUE_FAILED] = 500_00 * counts[:, FAILED]
            self.centre.telemetry.board.add_many(self._rows, counts)
            self.clock.advance(timedelta(seconds=STEP_S))
            gauge(self.centre)
            self.centre.watch.look()
        return [
            f"{each.detector} {each.sheet.cause.name if each.sheet.cause else '-'}"
            for each in self.centre.incidents.open_ones(children=True)
        ]


@pytest.fixture
def shop(centre: Centre, clock: ManualClock) -> Shop:
    made = Shop(centre, clock)
    assert made.run(30) == []
    return made


def test_what_it_explains_does_not_page_and_what_it_does_not_does(centre: Centre, shop: Shop):
    planned(centre)
    shop.failing = {0: 0.9}
    assert shop.run(10) == []
    shop.failing = {0: 0.9, 1: 0.9}
    assert shop.run(5) == ["failures bank-b"]


def test_without_it_the_same_pages(shop: Shop):
    shop.failing = {0: 0.9}
    assert shop.run(5) == ["failures bank-a"]


def test_what_was_broken_before_the_work_goes_on(centre: Centre, shop: Shop):
    shop.failing = {0: 0.9}
    shop.run(3)
    planned(centre)
    assert shop.run(5) == ["failures bank-a"]


def test_what_ends_with_the_work_never_pages(centre: Centre, shop: Shop):
    planned(centre, ends=shop.clock.now() + timedelta(minutes=10))
    shop.failing = {0: 0.9}
    shop.run(10)
    shop.failing = {}
    shop.run(60)
    assert centre.incidents.recent() == []


def test_what_lasts_beyond_the_work_pages_at_its_end(centre: Centre, shop: Shop):
    ends = shop.clock.now() + timedelta(minutes=10)
    planned(centre, ends=ends)
    shop.failing = {0: 0.9}
    assert shop.run(10) == []
    assert shop.run(5) == ["failures bank-a"]
    [found] = centre.incidents.recent()
    assert timedelta(seconds=60) < found.opened_at - ends <= timedelta(seconds=120)
    assert timedelta(0) <= found.began_at - ends <= timedelta(seconds=70)
    assert found.sheet.changed == [
        "planned work 1: The bank moves its switch, until 2026-03-10 12:40 EAT"
    ]
    # Ten minutes of 27 payments a step failed while it was planned: they are nobody's loss.
    assert 27 * 6 * 3 < found.payments < 27 * 6 * 5


def test_ended_early_it_pages_then(centre: Centre, shop: Shop):
    made = planned(centre)
    shop.failing = {0: 0.9}
    assert shop.run(10) == []
    centre.planned.end_now(made.number, actor="amina")
    assert shop.run(4) == ["failures bank-a"]


def test_a_start_after_the_work_pages_too(
    centre: Centre, shop: Shop, opened: Callable[..., Centre], clock: ManualClock
):
    planned(centre)
    shop.failing = {0: 0.9}
    shop.run(5)
    centre.close()
    again = opened()
    other = Shop(again, clock)
    other.run(5)
    other.failing = {0: 0.9}
    assert other.run(5) == []  # the work goes on
    again.planned.end_now(1, actor="amina")
    assert other.run(5) == ["failures bank-a"]
    again.close()


def test_work_on_the_whole_market_mutes_its_services_and_never_its_books(
    centre: Centre, shop: Shop
):
    planned(centre, touches=[])
    shop.failing = {1: 0.9}
    shop.share = [0.0, 1.0, 1.0]
    assert shop.run(10) == []
    for _ in range(30):
        gauge(centre, "GH")
        centre.telemetry.gauge(
            "KE", pending=0, oldest_ms=0, float_minor={}, issued={"KES": 100},
            trust={"KES": 90}, head=1,
        )  # fmt: skip
        shop.clock.advance(timedelta(seconds=10))
        centre.watch.look()
    assert [each.detector for each in centre.incidents.open_ones()] == ["trust_gap"]


def test_receipts_of_a_route_that_is_worked_on(centre: Centre, clock: ManualClock):
    weather = Weather(centre, clock, per_second=5.0, seed=3)
    weather.run(300)
    planned(centre, touches=["simulated"], ends=clock.now() + timedelta(minutes=4))
    weather.is_dead = True
    assert weather.run(240, until=weather.open) == 240
    assert not weather.open()
    assert weather.run(300, until=weather.open) < 200


def test_receipts_of_another_route_are_told(centre: Centre, clock: ManualClock):
    weather = Weather(centre, clock, per_second=5.0, seed=3)
    weather.run(300)
    planned(centre, touches=["sms-b"])
    weather.is_dead = True
    assert weather.run(240, until=weather.open) < 60


# Mutes by themselves


def test_an_alarm_is_quiet_until_it_is_sure_that_it_goes_on():
    mutes = Mutes()

    def asked(now_s: int, *, is_on: bool = False, harmed: float | None = 1.0) -> bool:
        muted = mutes.is_muted("a", now_s, is_explained=is_on, harmed=harmed)
        mutes.settle()
        return muted

    assert not asked(0)  # nobody planned anything
    assert asked(10, is_on=True)
    assert [asked(at) for at in (20, 30, 169, 170, 171)] == [True, True, True, False, False]
    assert mutes.over_s("a") == 20
    assert asked(200, is_on=True)
    assert [asked(at, harmed=0.0) for at in (300, 5_000, 50_000)] == [True, True, True]
    assert asked(60_000, is_on=True)
    assert [asked(at, harmed=None) for at in (60_010, 60_609, 60_610)] == [True, True, False]
    mutes.settle()
    assert not asked(60_620)  # it was over, and is another one
    assert mutes.over_s("a") == 0


def test_works_and_their_clock(centre: Centre, clock: ManualClock):
    works: PlannedWorks = centre.planned
    planned(centre, ends=NOON + HOUR)
    planned(centre, touches=["ussd"], ends=NOON + 3 * HOUR)
    assert works.until("KE") == NOON + 3 * HOUR
    assert works.until("GH") is None
    clock.advance(2 * HOUR)
    assert works.changed("KE") == [
        "planned work 1: The bank moves its switch, until 2026-03-10 13:00 EAT",
        "planned work 2: The bank moves its switch, until 2026-03-10 15:00 EAT",
    ]
    clock.advance(HOUR + timedelta(seconds=1))
    assert [each[:14] for each in works.changed("KE")] == ["planned work 2"]
