"""The public status page: what each service's state is made of, its history, and its messages."""

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.ops.conftest import NOON, gauge, order
from tests.postgres import files_only
from umoja.clock import ManualClock
from umoja.faults import Unavailable
from umoja.ops.centre import Centre
from umoja.ops.finding import Counts, Finding
from umoja.ops.impact import Harm
from umoja.ops.incident import Cause, Incident, Sheet, Stage
from umoja.ops.incidents import Scene
from umoja.ops.service_state import Heard, State, listed, states, worst
from umoja.ops.status_messages import MessageRefused
from umoja.ops.status_page import HISTORY_DAYS
from umoja.signals import Outcome

ENGLISH = {
    "en": "Send money: some payments fail since 12:00.",
    "sw": "Tuma pesa: baadhi zinashindwa.",
}
SEEN = {"send_money": 60, "withdraw": 60, "airtime": 60}


def incident(
    *,
    detector: str = "failures",
    product: str = "",
    stage: Stage = Stage.INVESTIGATING,
    cause: Cause | None = None,
    share: int = 0,
) -> Incident:
    return Incident(
        id="INC-000001", market="KE", product=product, detector=detector, title="Payments fail",
        stage=stage, severity=3, began_at=NOON, opened_at=NOON, acknowledged_at=None,
        acknowledged_by="", identified_at=None, mitigated_at=None, resolved_at=None,
        reviewed_at=None, payments=1, value_minor={}, customers=1, timeline=(),
        sheet=Sheet(cause=cause, share_percent=share),
    )  # fmt: skip


def judged(**changes: Any) -> dict[str, State]:
    return states(Heard(**{"market": "KE", "is_blind": False, "seen_s": SEEN} | changes))


BANK = Cause(kind="vendor", name="bank")
WHOLE = Cause(kind="market", name="KE")


@pytest.mark.parametrize(
    ("heard", "send", "airtime"),
    [
        ({}, "working", "working"),
        ({"is_blind": True}, "unknown", "unknown"),
        ({"seen_s": {"send_money": 21_599, "airtime": 21_600}}, "working", "unknown"),
        ({"done": {"send_money": 19}, "failed": {"send_money": 0}}, "working", "working"),
        # Counts alone, without an incident
        ({"done": {"send_money": 17}, "failed": {"send_money": 4}}, "working", "working"),
        ({"done": {"send_money": 16}, "failed": {"send_money": 4}}, "partly", "working"),
        ({"done": {"send_money": 10}, "failed": {"send_money": 10}}, "down", "working"),
        ({"done": {"send_money": 9}, "failed": {"send_money": 10}}, "working", "working"),
        # An incident of one product, of several, of all
        ({"incidents": (incident(product="airtime"),)}, "working", "partly"),
        (
            {"incidents": (incident(product="airtime"),), "failed": {"airtime": 5}},
            "working",
            "down",
        ),
        ({"incidents": (incident(cause=BANK),)}, "partly", "partly"),
        ({"incidents": (incident(cause=BANK),), "done": {"send_money": 20}}, "working", "partly"),
        ({"incidents": (incident(cause=WHOLE),), "done": {"send_money": 20}}, "partly", "partly"),
        ({"incidents": (incident(share=50),), "done": {"send_money": 20}}, "partly", "partly"),
        ({"incidents": (incident(detector="volume", cause=WHOLE),)}, "down", "down"),
        ({"incidents": (incident(detector="volume", product="airtime"),)}, "working", "down"),
        ({"incidents": (incident(detector="latency", product="send_money"),)}, "partly", "working"),
        # What customers do not feel, or not any more
        ({"incidents": (incident(detector="trust_gap"),)}, "working", "working"),
        ({"incidents": (incident(detector="alert:disk"),)}, "working", "working"),
        ({"incidents": (incident(stage=Stage.MITIGATED, share=90),)}, "working", "working"),
        ({"incidents": (incident(stage=Stage.RESOLVED, share=90),)}, "working", "working"),
        # What staff say, and planned work
        ({"told": {"airtime": State.DOWN}}, "working", "down"),
        ({"planned": ("airtime",), "failed": {"airtime": 50}}, "working", "planned"),
        ({"planned": ("KE",)}, "planned", "planned"),
        ({"planned": ("KE",), "is_blind": True}, "unknown", "unknown"),
    ],
)
def test_a_state_is_made_of_counts_incidents_and_what_staff_say(
    heard: dict[str, Any], send: str, airtime: str
):
    found = judged(**heard)
    assert (found["send_money"].value, found["airtime"].value) == (send, airtime)


def test_receipts_have_a_state_of_their_own():
    sms = incident(detector="sms_receipts")
    seen = {"messages": 60, "send_money": 60}
    assert judged(seen_s=seen, incidents=(sms,))["messages"] is State.PARTLY
    assert judged(seen_s=seen, incidents=(sms,))["send_money"] is State.WORKING
    assert judged(seen_s=seen, sms_permille=199)["messages"] is State.DOWN
    assert judged(seen_s=seen, sms_permille=200)["messages"] is State.WORKING
    assert judged()["messages"] is State.UNKNOWN


def test_payouts_are_listed_where_they_are_used():
    assert "payout" not in listed(Heard(market="KE", is_blind=False))
    assert "payout" in listed(Heard(market="KE", is_blind=False, seen_s={"payout": 9_000_000}))


def test_the_worst_is_the_whole():
    assert worst([State.WORKING, State.UNKNOWN]) is State.UNKNOWN
    assert worst([State.DOWN, State.PARTLY, State.PLANNED]) is State.DOWN
    assert worst([]) is State.UNKNOWN


# On a centre


def pays(centre: Centre, clock: ManualClock, count: int = 30, **changes: Any) -> None:
    for _ in range(count):
        centre.telemetry.hear(order(clock, **changes))


def found(centre: Centre, detector: str = "failures", **scene: Any) -> Incident:
    began_s = int(NOON.timestamp()) - 30
    name = centre.incidents.found(
        "KE", detector, Finding(title="Payments fail", evidence="9 of 9", began_s=began_s),
        counts=Counts.PAYMENTS, harm=Harm(), scene=Scene(**scene),
    )  # fmt: skip
    made = centre.incidents.get(name)
    assert made is not None
    return made


def publish(centre: Centre, about: Incident, **changes: Any) -> int:
    values = {"product": "send_money", "kind": "partly", "texts": ENGLISH, "actor": "amina"}
    made = centre.status.publish(about, **(values | {"languages": ("en", "sw")} | changes))
    return made.number


def state(centre: Centre, product: str = "send_money", market: str = "KE") -> str:
    centre.status.look()
    shown = centre.status.shown(market)
    return next(each.state.value for each in shown.services if each.product == product)


def test_nothing_is_known_before_anything_was_seen(centre: Centre, clock: ManualClock):
    assert centre.status.state("KE") is State.UNKNOWN
    gauge(centre)
    assert state(centre) == "unknown"
    pays(centre, clock)
    assert state(centre) == "working"
    assert centre.status.state("KE") is State.WORKING
    assert centre.status.state("GH") is State.UNKNOWN


def test_a_blind_market_and_a_page_that_is_not_renewed_are_unknown(
    centre: Centre, clock: ManualClock
):
    gauge(centre)
    pays(centre, clock)
    assert state(centre) == "working"
    clock.advance(timedelta(seconds=16))
    assert state(centre) == "unknown"
    gauge(centre)
    assert state(centre) == "working"
    clock.advance(timedelta(seconds=31))
    assert {each.state for each in centre.status.shown("KE").services} == {State.UNKNOWN}
    assert centre.status.state("KE") is State.UNKNOWN


def test_the_state_is_measured_over_all_channels(centre: Centre, clock: ManualClock):
    gauge(centre)
    pays(centre, clock, 10, channel="ussd")
    pays(centre, clock, 30, channel="api", outcome=Outcome.FAILED)
    assert state(centre) == "down"


def test_ninety_days_are_shown_and_what_was_not_recorded_is_not_green(
    centre: Centre, clock: ManualClock, opened: Callable[..., Centre]
):
    day = date(2026, 3, 10)
    gauge(centre)
    pays(centre, clock)
    centre.status.look()

    def go(seconds: int) -> None:
        for _ in range(seconds // 10):
            clock.advance(timedelta(seconds=10))
            gauge(centre)
            centre.status.look()

    go(60)
    about = found(centre)
    publish(centre, about, kind="down")
    centre.status.look()
    go(120)
    days = centre.status.shown("KE").services[0].days
    assert len(days) == HISTORY_DAYS
    assert (days[-1].day, days[-1].state, days[-1].minutes) == (day, State.DOWN, 2)
    assert {each.state for each in days[:-1]} == {None}

    # The next day has one minute of record: nobody can say that it went well.
    clock.advance(timedelta(hours=18))
    centre.incidents.advance(about.id, Stage.RESOLVED, actor="amina")
    gauge(centre)
    pays(centre, clock)
    centre.status.look()
    go(60)
    centre.status.keep()
    days = centre.status.shown("KE").services[0].days
    assert [(each.state, each.minutes) for each in days[-2:]] == [
        (State.DOWN, 2),
        (State.UNKNOWN, 0),
    ]
    again = opened()
    assert again.status.state("KE") is State.UNKNOWN
    gauge(again)
    again.status.look()
    kept = again.status.shown("KE").services[0]
    assert kept.days == days
    assert kept.state is State.WORKING  # it went well a minute ago, before the start
    again.close()


@pytest.mark.parametrize(
    ("seconds", "state", "minutes"),
    [
        ({"working": 86_400}, "working", 0),
        ({"working": 77_760, "unclear": 8_640}, "working", 0),
        ({"working": 77_759, "unclear": 8_641}, "unknown", 0),
        ({"working": 77_759}, "unknown", 0),
        ({"working": 86_340, "planned": 60}, "planned", 0),
        ({"working": 86_341, "planned": 59}, "working", 0),
        ({"working": 86_341, "partly": 59}, "working", 0),
        ({"working": 86_000, "partly": 300, "down": 59}, "partly", 5),
        ({"partly": 300, "down": 60}, "down", 6),
    ],
)
def test_a_day_is_judged_by_its_seconds(
    opened: Callable[..., Centre], seconds: dict[str, int], state: str, minutes: int
):
    centre = opened()
    row = dict.fromkeys(("working", "planned", "unclear", "partly", "down"), 0) | seconds
    centre._database.run(
        "INSERT INTO status_days VALUES ('KE', 'airtime', '2026-03-09', :working, :planned,"
        " :unclear, :partly, :down, 0)",
        **row,
    )
    centre.close()
    again = opened()
    shown = again.status.shown("KE")
    again.close()
    day = next(each for each in shown.services if each.product == "airtime").days[-2]
    assert (day.state.value, day.minutes) == (state, minutes)


def test_what_staff_publish_holds_while_the_incident_is_open(centre: Centre, clock: ManualClock):
    gauge(centre)
    pays(centre, clock)
    about = found(centre, "alert:bank")
    assert state(centre) == "working"
    first = publish(centre, about)
    assert state(centre) == "partly"
    second = publish(centre, about, kind="down")
    assert state(centre) == "down"
    publish(centre, about, kind="identified")
    assert state(centre) == "down"
    centre.status.withdraw(about, second, reason="only some fail", actor="amina")
    assert state(centre) == "partly"
    publish(centre, about, kind="watching")
    assert state(centre) == "working"
    publish(centre, about, product="", kind="down")
    assert (state(centre), state(centre, "airtime")) == ("down", "down")
    assert state(centre, "messages") == "unknown"
    centre.incidents.advance(about.id, Stage.RESOLVED, actor="amina")
    assert state(centre) == "working"
    assert first == 1


def test_a_message_is_kept_told_and_audited(
    centre: Centre, clock: ManualClock, opened: Callable[..., Centre]
):
    about = found(centre)
    number = publish(centre, about)
    assert publish(centre, about) == number  # the second press changes nothing
    clock.advance(timedelta(minutes=3))
    made = centre.status.withdraw(about, number, reason="wrong market", actor="joao")
    assert centre.status.withdraw(about, number, reason="again", actor="eva") == made
    (kept,) = centre.status.shown("KE").messages
    assert (kept.texts, kept.published_by, kept.withdrawn_by) == (ENGLISH, "amina", "joao")
    assert centre.status.of_incident(about) == [kept]
    assert centre.status.shown("GH").messages == ()

    timeline = centre.incidents.get(about.id).timeline
    assert [(each.actor, each.what) for each in timeline[1:]] == [
        ("amina", "published on the status page: Send money: some payments fail since 12:00."),
        ("joao", "withdrawn from the status page: wrong market"),
    ]
    assert [(e.actor, e.action, e.market) for e in centre.audit.recent(limit=2)] == [
        ("joao", "status_withdrawn", "KE"),
        ("amina", "status_published", "KE"),
    ]
    centre.close()
    again = opened()
    assert again.status.shown("KE").messages == (kept,)
    clock.advance(timedelta(days=91))
    assert again.status.shown("KE").messages == ()
    again.close()


LONG = "x" * 501


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kind": "party"}, "no such kind"),
        ({"product": "send-money"}, "no such service"),
        ({"texts": {"en": "Down."}}, "the text in 'sw' is missing"),
        ({"texts": {"en": " \n", "sw": "Haifanyi kazi."}}, "the text in 'en' is missing"),
        ({"texts": ENGLISH | {"en": LONG}}, "more than 500 characters"),
        ({"texts": ENGLISH | {"en": "Call 0712 345 678"}}, "long number"),
        ({"texts": ENGLISH | {"sw": "Piga +254-712-345678"}}, "long number"),
        ({"texts": ENGLISH | {"en": "The SIMBA Bank switch is down"}}, "names Simba Bank"),
        ({"texts": ENGLISH | {"en": "KES 3,400 failed"}}, "an amount of money"),
        ({"texts": ENGLISH | {"en": "3400 KES failed"}}, "an amount of money"),
    ],
)
def test_what_is_not_for_the_public_is_refused(centre: Centre, changes: dict[str, Any], says: str):
    about = found(centre, cause=Cause(kind="vendor", name="Simba Bank"))
    work = centre.incidents._working[1]
    work.shown.value_minor["KES"] = 340_000
    about = centre.incidents.get(about.id)
    with pytest.raises(MessageRefused, match=says):
        publish(centre, about, **changes)
    assert centre.status.shown("KE").messages == ()


def test_times_and_dates_may_stand_in_a_message(centre: Centre):
    texts = {"en": "Down since 10/03 12:05, 2026-03-10 at 14:00.", "sw": "Tangu 10/03/2026 12:05."}
    assert publish(centre, found(centre), texts=texts) == 1


def test_only_messages_of_the_incident_are_withdrawn(centre: Centre):
    about = found(centre)
    publish(centre, about)
    other = found(centre, "latency", cause=Cause(kind="product", name="airtime"))
    for incident_, number, reason, says in (
        (other, 1, "why", "no message 1 of this"),
        (about, 2, "why", "no message 2 of this"),
        (about, 1, " ", "say why"),
    ):
        with pytest.raises(MessageRefused, match=says):
            centre.status.withdraw(incident_, number, reason=reason, actor="amina")


@files_only
def test_a_disk_that_fails_loses_no_history(
    centre: Centre, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    gauge(centre)
    pays(centre, clock)
    centre.status.look()
    clock.advance(timedelta(seconds=10))
    gauge(centre)
    real = centre._database.run_many

    def broken(*_: Any) -> int:
        raise Unavailable("the disk is full")

    monkeypatch.setattr(centre._database, "run_many", broken)
    centre.status.look()
    centre.status.keep()
    monkeypatch.setattr(centre._database, "run_many", real)
    centre.status.keep()
    (row,) = centre._database.query(
        "SELECT * FROM status_days WHERE product = 'send_money' AND market = 'KE'"
    )
    assert (row["day"], row["working"], row["down"]) == ("2026-03-10", 10, 0)


def test_days_that_nobody_sees_any_more_are_forgotten(centre: Centre, clock: ManualClock):
    gauge(centre)
    pays(centre, clock)
    centre.status.look()
    clock.advance(timedelta(seconds=10))
    centre.status.look()
    centre.status.keep()
    clock.advance(timedelta(days=101))
    centre.status.keep()
    assert centre._database.query("SELECT * FROM status_days") == []
