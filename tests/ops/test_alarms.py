"""Alarms of other systems: which become incidents, which are muted, and what a restart keeps."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from umoja.clock import ManualClock, to_micros
from umoja.faults import Busy
from umoja.ops import alarms as module
from umoja.ops.alert import Alert, AlertRefused, fingerprint_of, rank_of, told
from umoja.ops.centre import Centre
from umoja.ops.incident import Stage
from umoja.ops.matching import Matcher


def alert(
    clock: ManualClock, name: str = "NodeDown", *, ends: bool = False, **labels: str
) -> Alert:
    now = to_micros(clock.now())
    return told(
        labels={"alertname": name, "severity": "critical", **labels},
        annotations={"summary": f"{name} it is"},
        starts_at=0,
        ends_at=now if ends else 0,
        generator_url="",
        source="prometheus",
        now=now,
        holds=60 * 60 * 1_000_000,
    )


def looked(centre: Centre, clock: ManualClock, seconds: int) -> None:
    """Let time pass, looking as often as the loop does."""
    for _ in range(seconds // 5):
        clock.advance(timedelta(seconds=5))
        centre.alarms.look()


def open_ones(centre: Centre) -> list[tuple[str, str, str, int]]:
    return [
        (each.market, each.detector, each.title, each.severity)
        for each in centre.incidents.open_ones(children=True)
    ]


def silenced(centre: Centre, clock: ManualClock, name: str) -> str:
    now = to_micros(clock.now())
    return centre.silences.put(
        matchers=[Matcher(name="alertname", value=name, is_regex=False)],
        starts_at=now,
        ends_at=now + 3_600_000_000,
        created_by="wanjiru",
        comment="known",
    ).id


@pytest.mark.parametrize(
    ("link", "kept"),
    [
        ("http://prometheus:9090/graph?g0.expr=up+%3D%3D+0&g0.tab=1", True),
        ("https://[2001:db8::1]:3000/alerting/grafana/x/view?orgId=1#top", True),
        ("http://db-1", True),
        ("", False),
        ("'\U000782e9\x1e", False),
        ("/graph", False),
        ("javascript:alert(1)", False),
        ("http://", False),
        ("http://[::1", False),
        ("http://[:::]/", False),
        ("http://db:99999/", False),
        ("http://user:word@db/", False),
        ("http://db/a b", False),
        ("http://db/%4", False),
        ("http://db/#a#b", False),
        ("http://db/\u00e9", False),
        ("http://db/\n", False),
        ("http://d\nb/", False),
        ("http://db\r\n/x", False),
        ("http://d\tb/", False),
        ("http://db\n", False),
    ],
)
def test_a_link_nobody_could_follow_is_left_out_and_the_alert_is_taken(link: str, kept: bool):
    found = told(
        labels={"alertname": "NodeDown"},
        annotations={},
        starts_at=0,
        ends_at=0,
        generator_url=link,
        source="prometheus",
        now=1,
    )
    assert (found.name, found.generator_url) == ("NodeDown", link if kept else "")


def test_the_fingerprint_is_the_alertmanager_s_own():
    assert fingerprint_of({}) == "cbf29ce484222325"
    labels = {"alertname": "DiskFull", "instance": "db1", "market": "KE", "severity": "critical"}
    assert fingerprint_of(labels) == "ad7592248a996202"


def test_one_alert_told_a_hundred_times_is_one_incident_that_ends_with_it(
    centre: Centre, clock: ManualClock
):
    for _ in range(100):
        centre.alarms.take([alert(clock, market="ke")])
    centre.alarms.look()
    assert open_ones(centre) == []  # its group waits for what may come with it

    looked(centre, clock, 15)
    assert open_ones(centre) == [("KE", "alarm:NodeDown", "NodeDown it is", 2)]

    centre.alarms.take([alert(clock, market="KE", ends=True)])
    centre.alarms.take([alert(clock, market="ke", ends=True)])
    looked(centre, clock, 60)

    assert open_ones(centre) == []
    assert centre.incidents.recent()[0].stage is Stage.RESOLVED


def test_alerts_about_one_thing_in_one_market_are_one_incident(centre: Centre, clock: ManualClock):
    centre.alarms.take(
        [
            *(alert(clock, market="KE", instance=str(each)) for each in range(9)),
            alert(clock, market="GH"),
            alert(clock, "Slow", service="core", severity="warning"),
            alert(clock, "Wrong", service="core", severity="page"),
        ]
    )

    looked(centre, clock, 15)

    assert sorted(open_ones(centre)) == [
        ("*", "alarm:core", "Wrong it is", 1),
        ("GH", "alarm:NodeDown", "NodeDown it is", 2),
        ("KE", "alarm:NodeDown", "NodeDown it is", 2),
    ]
    (kenya,) = centre.incidents.recent(market="KE")
    assert "and 4 more by prometheus" in kenya.timeline[0].what


def test_what_only_informs_opens_nothing(centre: Centre, clock: ManualClock):
    centre.alarms.take([alert(clock, "Watchdog", severity="none"), alert(clock, severity="info")])

    looked(centre, clock, 30)

    assert open_ones(centre) == []
    assert rank_of([alert(clock, severity="strange")]) == 3


def test_a_parent_mutes_its_children_while_it_fires(centre: Centre, clock: ManualClock):
    child = alert(clock, "AppDown", instance="n1", market="KE")
    other = alert(clock, "AppDown", instance="n2", market="GH")
    parent = alert(clock, "NodeDown", instance="n1", market="KE")
    centre.alarms.take([child, other])
    clock.advance(timedelta(seconds=5))
    centre.alarms.take([parent])

    looked(centre, clock, 15)

    assert sorted(each[:2] for each in open_ones(centre)) == [
        ("GH", "alarm:AppDown"),
        ("KE", "alarm:NodeDown"),
    ]
    by_print = {each.alert.fingerprint: each for each in centre.alarms.standing()}
    assert by_print[child.fingerprint].inhibited_by == (parent.fingerprint,)
    assert by_print[parent.fingerprint].inhibited_by == ()
    assert centre.alarms.counts() == {"active": 2, "suppressed": 1}

    centre.alarms.take([alert(clock, "NodeDown", instance="n1", market="KE", ends=True)])
    looked(centre, clock, 45)

    assert ("KE", "alarm:AppDown") in {each[:2] for each in open_ones(centre)}


def test_a_silenced_alert_opens_nothing_until_the_silence_ends(centre: Centre, clock: ManualClock):
    made = silenced(centre, clock, "NodeDown")
    centre.alarms.take([alert(clock, market="KE")])
    looked(centre, clock, 30)
    assert open_ones(centre) == []

    centre.silences.expire(made)
    looked(centre, clock, 15)

    assert len(open_ones(centre)) == 1


def test_who_comes_and_goes_is_held_as_one_incident(centre: Centre, clock: ManualClock):
    for _ in range(4):
        centre.alarms.take([alert(clock, market="KE")])
        looked(centre, clock, 15)
        centre.alarms.take([alert(clock, market="KE", ends=True)])
        looked(centre, clock, 20)

    looked(centre, clock, 5 * 60)
    assert len(open_ones(centre)) == 1  # it has been quiet for five minutes: not for long enough
    assert len(centre.incidents.recent()) == 1

    looked(centre, clock, 12 * 60)
    assert open_ones(centre) == []


def test_a_restart_keeps_alerts_silences_and_ends_incidents_later(
    opened: Callable[..., Centre], clock: ManualClock
):
    first = opened()
    first.alarms.take([alert(clock, market="KE")])
    made = silenced(first, clock, "Other")
    looked(first, clock, 15)
    first.close()

    second = opened()

    assert [each.alert.name for each in second.alarms.standing()] == ["NodeDown"]
    assert [each.id for each in second.silences.active()] == [made]
    assert len(open_ones(second)) == 1
    second.alarms.take([alert(clock, market="KE", ends=True)])
    looked(second, clock, 60)
    assert open_ones(second) == []
    second.close()


def test_what_ended_long_ago_is_forgotten_on_disk_too(centre: Centre, clock: ManualClock):
    centre.alarms.take([alert(clock)])
    centre.alarms.keep()
    centre.alarms.take([alert(clock, ends=True)])
    clock.advance(timedelta(minutes=16))

    centre.alarms.look()

    assert centre.alarms.standing(with_ended=True) == []
    assert centre._database.query("SELECT * FROM alerts") == []


def test_a_full_list_gives_up_what_has_ended_and_refuses_the_rest(
    centre: Centre, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "ALERTS_MAX", 2)
    centre.alarms.take([alert(clock, "A"), alert(clock, "B")])

    with pytest.raises(Busy):
        centre.alarms.take([alert(clock, "C")])
    centre.alarms.take([alert(clock, "A", ends=True), alert(clock, "C")])

    assert sorted(each.alert.name for each in centre.alarms.standing()) == ["B", "C"]


@pytest.mark.parametrize(
    "labels",
    [{}, {"a": ""}, {"a": "x" * 1_025}, {"a": "\0"}, {"": "b"}, {str(n): "x" for n in range(65)}],
)
def test_labels_that_are_unfit_are_refused(labels: dict[str, str]):
    with pytest.raises(AlertRefused):
        told(
            labels=labels,
            annotations={},
            starts_at=0,
            ends_at=0,
            generator_url="",
            source="",
            now=1,
        )
