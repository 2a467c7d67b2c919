"""Regulators' clocks: when one begins, how it warns, how it ends, and the draft of the notice."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.ops.conftest import NOON
from tests.postgres import files_only
from umoja.clock import ManualClock, from_micros
from umoja.faults import Unavailable
from umoja.markets import packs
from umoja.ops.centre import Centre
from umoja.ops.finding import Counts, Finding
from umoja.ops.impact import Harm
from umoja.ops.incident import Cause, Incident, Stage
from umoja.ops.incidents import Scene
from umoja.ops.regulator_notice import drafted
from umoja.ops.regulators import (
    LAST_QUARTER,
    OVERDUE,
    ClockRefused,
    ClockUnknown,
    RegulatorClock,
)

WHOLE = Cause(kind="market", name="KE")


def found(
    centre: Centre,
    *,
    market: str = "KE",
    severity: int = 2,
    detector: str = "failures",
    **scene: Any,
) -> Incident:
    began_s = int(NOON.timestamp()) - 30
    name = centre.incidents.found(
        market, detector, Finding(title="Payments fail", evidence="9 of 9", began_s=began_s),
        counts=Counts.PAYMENTS, harm=Harm(), scene=Scene(hint=severity, **scene),
    )  # fmt: skip
    made = centre.incidents.get(name)
    assert made is not None
    return made


def clocks(centre: Centre, incident: str = "INC-000001") -> list[tuple[str, str]]:
    """Return the rules of an incident's clocks, and when each is due, in UTC."""
    centre.regulators.look()
    return [
        (each.rule, f"{from_micros(each.due_at):%d %H:%M}")
        for each in centre.regulators.of_incident(incident)
    ]


def said(centre: Centre, incident: str = "INC-000001") -> list[str]:
    made = centre.incidents.get(incident)
    assert made is not None
    return [each.what for each in made.timeline if each.what.startswith("regulator clock")]


@pytest.mark.parametrize(
    ("incident", "begun"),
    [
        ({"severity": 2}, [("provider", "11 09:00")]),
        ({"severity": 3}, []),
        ({"severity": 3, "cause": Cause(kind="vendor", name="bank")}, []),
        ({"severity": 3, "share_percent": 49}, []),
        ({"severity": 3, "share_percent": 50}, [("whole_system", "10 11:00")]),
        ({"severity": 3, "cause": WHOLE}, [("whole_system", "10 11:00")]),
        ({"severity": 4, "cause": WHOLE}, []),
        (
            {"severity": 1, "cause": WHOLE},
            [("whole_system", "10 11:00"), ("provider", "11 09:00")],
        ),
        ({"severity": 1, "cause": WHOLE, "market": "GH"}, []),
    ],
)
def test_a_clock_begins_by_the_rule_s_condition(
    centre: Centre, incident: dict[str, Any], begun: list[tuple[str, str]]
):
    found(centre, **incident)
    assert clocks(centre) == begun


def test_rules_are_on_record_only_where_somebody_has_read_them(centre: Centre):
    assert centre.regulators.has_rules("KE")
    assert not centre.regulators.has_rules("GH")
    assert not centre.regulators.has_rules("XX")


def test_a_clock_begins_once_and_survives_a_start_and_the_end_of_the_condition(
    centre: Centre, clock: ManualClock, opened: Callable[..., Centre]
):
    about = found(centre)
    assert clocks(centre) == [("provider", "11 09:00")]
    clock.advance(timedelta(minutes=30))
    assert clocks(centre) == [("provider", "11 09:00")]
    centre.incidents.advance(about.id, Stage.RESOLVED, actor="amina")
    centre.close()
    again = opened()
    assert clocks(again) == [("provider", "11 09:00")]
    (only,) = again.regulators.running()
    assert only.left_s(only.counts_from) == 86_400
    assert (only.body.recipient, only.body.standing, only.body.as_of) == (
        "Central Bank of Kenya",
        "press",
        "2019-07",
    )
    assert said(again) == [
        (
            "regulator clock: Central Bank of Kenya is to be told by 2026-03-11 12:00 local time"
            " (24 h, known from press)"
        )
    ]
    again.close()


def test_it_counts_from_when_the_centre_noticed(centre: Centre, clock: ManualClock):
    about = found(centre, severity=4)
    assert clocks(centre) == []
    clock.advance(timedelta(hours=1))
    centre.incidents.found(
        "KE", "failures", Finding(title="Payments fail", evidence="all", began_s=0),
        counts=Counts.PAYMENTS, harm=Harm(), scene=Scene(hint=2),
    )  # fmt: skip
    assert clocks(centre) == [("provider", "11 09:00")]
    (only,) = centre.regulators.of_incident(about.id)
    assert from_micros(only.began_at) == NOON + timedelta(hours=1)


def test_it_warns_at_half_in_the_last_quarter_and_when_it_is_over(
    centre: Centre, clock: ManualClock, opened: Callable[..., Centre]
):
    found(centre, severity=3, cause=WHOLE)
    warned: list[tuple[str, int, str]] = []
    centre.regulators._remind = lambda incident, clock, mark, due: warned.append(
        (incident.id, mark, due)
    )
    for minutes in (59, 1, 29, 1, 29, 1):
        clock.advance(timedelta(minutes=minutes))
        centre.regulators.look()
        centre.regulators.look()
    due = "2026-03-10 14:00 local time"
    last = "the last quarter of the time has begun"
    bank = "regulator clock: Central Bank of Kenya"
    assert said(centre)[1:] == [
        f"{bank}, half of the time has gone, the notice is due by {due}",
        f"{bank}, {last}, the notice is due by {due}",
        f"{bank}, the notice was due by {due} and is not recorded as sent",
    ]
    assert warned == [("INC-000001", LAST_QUARTER, due), ("INC-000001", OVERDUE, due)]
    centre.close()
    again = opened()
    again.regulators.look()
    assert len(said(again)) == 4  # a start repeats no warning
    again.close()


def test_a_notice_ends_all_clocks_to_its_recipient(centre: Centre, clock: ManualClock):
    about = found(centre, severity=1, cause=WHOLE)
    centre.regulators.look()
    clock.advance(timedelta(minutes=90))
    first = centre.regulators.of_incident(about.id)[0]
    made = centre.regulators.sent(
        first.number, reference="CBK/7", actor="amina", at=NOON + timedelta(minutes=80)
    )
    assert (made.sent_by, made.reference, made.was_late) == ("amina", "CBK/7", False)
    assert from_micros(made.sent_at) == datetime(2026, 3, 10, 10, 20, tzinfo=UTC)
    assert centre.regulators.running() == []
    assert [each.reference for each in centre.regulators.ended()] == ["CBK/7", "CBK/7"]
    assert centre.regulators.sent(first.number, reference="CBK/7", actor="joao") == made
    with pytest.raises(ClockRefused, match="amina recorded a notice already, reference CBK/7"):
        centre.regulators.sent(first.number, reference="CBK/8", actor="joao")
    with pytest.raises(ClockRefused, match="recorded a notice already"):
        centre.regulators.not_required(first.number, reason="none", actor="joao")
    clock.advance(timedelta(hours=30))
    assert len(clocks(centre)) == 2  # ended clocks neither begin again nor warn
    assert said(centre)[2:] == [
        (
            "regulator clock: notice to Central Bank of Kenya sent at 2026-03-10 13:20 local time,"
            " reference CBK/7"
        )
    ]
    (entry,) = centre.audit.recent(limit=1)
    assert (entry.actor, entry.action, entry.market) == ("amina", "regulator_told", "KE")


def test_a_late_notice_is_late(centre: Centre, clock: ManualClock):
    found(centre, severity=3, cause=WHOLE)
    centre.regulators.look()
    clock.advance(timedelta(hours=2, seconds=1))
    assert centre.regulators.sent(1, reference="CBK/7", actor="amina").was_late


def test_only_a_person_says_that_none_is_required(centre: Centre, opened: Callable[..., Centre]):
    found(centre)
    centre.regulators.look()
    with pytest.raises(ClockRefused, match="say why"):
        centre.regulators.not_required(1, reason=" ", actor="amina")
    made = centre.regulators.not_required(1, reason="a planned test", actor="amina")
    assert (made.waived_by, made.reason, made.is_running) == ("amina", "a planned test", False)
    assert centre.regulators.not_required(1, reason="a planned test", actor="joao") == made
    with pytest.raises(ClockRefused, match="amina said already that no notice is required"):
        centre.regulators.sent(1, reference="CBK/7", actor="joao")
    centre.close()
    again = opened()
    assert clocks(again) == [("provider", "11 09:00")]
    assert again.regulators.running() == []
    assert len(said(again)) == 2
    again.close()


@pytest.mark.parametrize(
    ("reference", "at", "says"),
    [
        ("", NOON, "give the reference"),
        ("x" * 81, NOON, "give the reference"),
        ("CBK/7", NOON + timedelta(minutes=2), "later than now"),
        ("CBK/7", NOON - timedelta(minutes=1), "before the incident was noticed"),
    ],
)
def test_a_notice_that_cannot_be_is_refused(
    centre: Centre, reference: str, at: datetime, says: str
):
    found(centre)
    centre.regulators.look()
    with pytest.raises(ClockRefused, match=says):
        centre.regulators.sent(1, reference=reference, actor="amina", at=at)
    assert centre.regulators.get(1).is_running


def test_an_unknown_clock_is_said_to_be(centre: Centre):
    for act in (
        lambda: centre.regulators.get(7),
        lambda: centre.regulators.sent(7, reference="CBK/7", actor="amina"),
        lambda: centre.regulators.not_required(7, reason="none", actor="amina"),
    ):
        with pytest.raises(ClockUnknown, match="there is no clock 7"):
            act()


@files_only
def test_a_clock_that_could_not_be_written_begins_later_all_the_same(
    centre: Centre, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
):
    about = found(centre)
    real = centre._database.one

    def broken(*_: Any, **__: Any) -> None:
        raise Unavailable("the disk is full")

    monkeypatch.setattr(centre._database, "one", broken)
    centre.regulators.look()
    monkeypatch.setattr(centre._database, "one", real)
    centre.incidents.advance(about.id, Stage.RESOLVED, actor="amina")
    assert clocks(centre) == [("provider", "11 09:00")]


# The draft


def clock_of(centre: Centre) -> RegulatorClock:
    centre.regulators.look()
    return centre.regulators.of_incident("INC-000001")[0]


def test_the_draft_is_filled_from_what_was_computed(centre: Centre, clock: ManualClock):
    about = found(centre, severity=1, share_percent=60, agents=12)
    work = centre.incidents._working[1]
    work.shown.value_minor["KES"] = 340_000_00
    work.shown.payments = 1_234
    clock.advance(timedelta(minutes=5))
    centre.incidents.acknowledge(about.id, actor="amina")
    centre.incidents.name_cause(about.id, Cause(kind="vendor", name="bank switch"), actor="amina")
    about = centre.incidents.get(about.id)
    text = drafted(
        clock_of(centre), about, packs.load("KE"), now=clock.now(),
        remedies=["open the circuit to bank switch: its orders are refused at once"],
        told=[(clock.now(), "Send money: some payments fail.")],
    )  # fmt: skip
    for line in (
        "NOTICE OF AN INCIDENT (DRAFT)",
        "To:                       Central Bank of Kenya",
        "From:                     Safaricom PLC (M-PESA, Kenya)",
        "Our reference:            INC-000001",
        "Due by:                   2026-03-10 14:00:00 (Africa/Nairobi), 11:00:00 UTC",
        "Noticed:                  2026-03-10 12:00:00 (Africa/Nairobi), 09:00:00 UTC",
        "Began:                    2026-03-10 11:59:30 (Africa/Nairobi), 08:59:30 UTC",
        "Taken in hand:            2026-03-10 12:05:00 (Africa/Nairobi), 09:05:00 UTC",
        "Harm stopped:             not yet",
        "Payments that failed:     1,234 beyond what is usual",
        "Their value:              KES 340,000",
        "Agents and merchants:     12",
        "Share of all payments:    60 % beyond what is usual",
        "Of unknown outcome:       0 open, 0 settled",
        "As known now:             vendor: bank switch",
        "- open the circuit to bank switch: its orders are refused at once",
        "- 2026-03-10 12:05:00 (Africa/Nairobi), 09:05:00 UTC: Send money: some",
    ):
        assert line in text.splitlines(), line
    assert max(len(line) for line in text.splitlines()) <= 78


def test_an_empty_draft_says_what_is_missing(centre: Centre, clock: ManualClock):
    about = found(centre)
    text = drafted(clock_of(centre), about, packs.load("KE"), now=clock.now())
    for line in (
        "Services:                 several services",
        "Their value:              none counted",
        "As known now:             not known yet",
        "[none yet]",
        "[nothing yet]",
    ):
        assert line in text.splitlines(), line
