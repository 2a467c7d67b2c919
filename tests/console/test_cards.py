"""Cards: how a market's figures are judged and written."""

from datetime import timedelta
from typing import Any

import pytest

from tests.stage import NOON
from umoja.console.cards import (
    budget_line,
    card_of,
    incident_line,
    judged,
    lasted,
    milliseconds,
    permille,
    short_amounts,
)
from umoja.markets import packs
from umoja.ops.incident import Incident, Sheet, Stage
from umoja.ops.objectives import Budget
from umoja.ops.telemetry import Figures

MARKET = packs.load("KE")


def figures(**changes: Any) -> Figures:
    values = {
        "market": "KE", "at": NOON, "attempts": 300, "completed": 300, "refused": 0, "failed": 0,
        "success_permille": 1000, "per_second": 1.0, "expected_per_second": 1.0,
        "p50_ms": 10.0, "p95_ms": 20.0, "p99_ms": 30.0, "pending": 0, "oldest_pending_ms": 0,
        "float_minor": {"KES": 100}, "issued": {"KES": 900}, "trust": {"KES": 900},
        "trust_gap": {"KES": 0}, "payments_today": 300, "moved_today": {"KES": 30_000},
        "sms_sent": 600, "sms_delivered": 600, "sms_failed": 0, "sms_permille": 1000,
        "is_blind": False,
    } | changes  # fmt: skip
    return Figures(**values)


def incident(severity: int = 2, **changes: Any) -> Incident:
    values = {
        "id": "INC-000007", "market": "KE", "product": "", "detector": "sms_receipts",
        "title": "SMS receipts do not arrive", "stage": Stage.INVESTIGATING, "severity": severity,
        "began_at": NOON, "opened_at": NOON, "acknowledged_at": None, "acknowledged_by": "",
        "identified_at": None, "mitigated_at": None, "resolved_at": None, "reviewed_at": None,
        "sheet": Sheet(), "payments": 1_234, "value_minor": {"KES": 123_456_50},
        "customers": 999, "timeline": (),
    } | changes  # fmt: skip
    return Incident(**values)


def state(*opened: Incident, minutes: list[float | None] | None = None, **changes: Any) -> str:
    return card_of(
        MARKET,
        figures(**changes),
        attempts=minutes if minutes is not None else [60.0],
        open_incidents=opened,
    ).state


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "good"),
        ({"success_permille": 985, "failed": 5}, "good"),
        ({"success_permille": 984, "failed": 5}, "attention"),
        ({"success_permille": 950, "failed": 15}, "bad"),
        ({"success_permille": 0, "completed": 0, "failed": 19}, "good"),  # too few to judge
        ({"success_permille": None, "completed": 0, "attempts": 0}, "good"),
        ({"p95_ms": 2_001.0}, "attention"),
        ({"p95_ms": 10_000.0}, "bad"),
        ({"pending": 3, "oldest_pending_ms": 59_000}, "good"),
        ({"pending": 3, "oldest_pending_ms": 61_000}, "attention"),
        ({"pending": 3, "oldest_pending_ms": 300_000}, "bad"),
        ({"sms_permille": 949}, "attention"),
        ({"sms_permille": 800}, "bad"),
        ({"sms_permille": None}, "good"),
        ({"trust_gap": {"KES": -1}}, "bad"),
        ({"trust_gap": {"KES": 1}}, "bad"),
        ({"per_second": 0.5}, "good"),  # thirty instead of sixty: chance alone does that
        ({"per_second": 0.45}, "attention"),
        ({"per_second": 0.2}, "bad"),
        ({"per_second": 2.0}, "attention"),
        ({"per_second": 0.0, "expected_per_second": 0.3}, "good"),  # a quiet night
        ({"per_second": 0.0, "expected_per_second": None}, "good"),
        ({"is_blind": True}, "blind"),
        ({"is_blind": True, "sms_permille": 0}, "blind"),
    ],
)
def test_how_a_market_is_judged(changes: dict[str, Any], expected: str):
    assert state(**changes) == expected


def test_the_rate_is_not_judged_before_a_whole_minute_was_heard():
    assert state(minutes=[], per_second=0.0) == "good"
    assert state(minutes=[None], per_second=0.0) == "good"
    assert state(minutes=[None, 5.0], per_second=0.0) == "bad"


@pytest.mark.parametrize(
    ("severity", "expected"), [(1, "bad"), (2, "bad"), (3, "attention"), (4, "attention")]
)
def test_an_open_incident_is_seen_in_the_light(severity: int, expected: str):
    assert state(incident(severity)) == expected


@pytest.mark.parametrize(
    ("value", "good", "bad", "expected"),
    [
        (None, 1, 2, ""),
        (1, 1, 3, "good"),
        (2, 1, 3, "attention"),
        (3, 1, 3, "bad"),
        (9, 9, 5, "good"),
        (7, 9, 5, "attention"),
        (5, 9, 5, "bad"),
    ],
)
def test_judging_goes_by_either_side(value: float | None, good: float, bad: float, expected: str):
    assert judged(value, good=good, bad=bad) == expected


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (1000, "100 %"), (999, "99.9 %"), (0, "0.0 %"), (5, "0.5 %")]
)
def test_shares_are_never_rounded_up_to_a_hundred(value: int | None, text: str):
    assert permille(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (3.4, "3 ms"), (999.0, "999 ms"), (1_234.0, "1.2 s"), (120_000.0, "2 min")],
)
def test_durations_are_said_as_people_do(value: float | None, text: str):
    assert milliseconds(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (89, "89 s"), (90, "2 min"), (3_600, "60 min"), (7_200, "2.0 h")],
)
def test_how_long_something_lasted(seconds: float, text: str):
    assert lasted(seconds) == text


@pytest.mark.parametrize(
    ("code", "minor", "text"),
    [
        ("KE", {}, "–"),
        ("KE", {"KES": 0}, "KES 0"),
        ("KE", {"KES": 99_900}, "KES 999"),
        ("KE", {"KES": 1_234_50}, "KES 1.2 k"),
        ("KE", {"KES": 123_456_789_00}, "KES 123 M"),
        ("KE", {"KES": 1_500_000_000_000_00}, "KES 1.5 T"),
        ("CD", {"USD": 250_00, "CDF": 7_000_000_00}, "USD 250 + CDF 7.0 M"),
    ],
)
def test_amounts_on_the_wall_are_short(code: str, minor: dict[str, int], text: str):
    assert short_amounts(packs.load(code), minor) == text


def test_an_incident_s_line_says_what_it_costs():
    line = incident_line(incident(), MARKET, now=NOON + timedelta(minutes=3))
    assert line.value == "KES 123,456.50"
    assert (line.payments, line.customers) == ("1,234", "999")
    assert (line.opened, line.lasted) == ("2026-03-10 09:00:00", "3 min")


def test_an_incident_of_a_market_that_is_shut_is_told_all_the_same():
    ended = incident(resolved_at=NOON + timedelta(seconds=50), stage=Stage.RESOLVED)
    line = incident_line(ended, None, now=NOON + timedelta(hours=9))
    assert (line.market, line.value, line.lasted) == ("KE", "KES 12345650 minor", "50 s")


@pytest.mark.parametrize(
    ("bad", "left", "burns", "told"),
    [
        (0, 1000, "", ("0 of 200", "100 %", "good", "evenly", "")),
        (160, 200, "ticket", ("160 of 200", "20 %", "attention", "too fast", "attention")),
        (200, 0, "", ("200 of 200", "0 %", "attention", "evenly", "")),
        (201, -5, "page", ("201 of 200", "used up", "bad", "much too fast", "bad")),
    ],
)
def test_what_is_left_of_a_budget(bad: int, left: int, burns: str, told: tuple[str, ...]):
    line = budget_line(
        Budget(
            market="KE", product="send_money", objective_permille=995, judged=40_000, bad=bad,
            allowed=200, left_permille=left, burns=burns,
        )
    )  # fmt: skip
    assert (line.product, line.objective, line.judged) == ("send money", "99.5 %", "40,000")
    assert (line.failed, line.left, line.left_state, line.burns, line.burns_state) == told
