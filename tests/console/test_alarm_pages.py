"""Alarms and silences in the console: what stands, what mutes it, who may keep it quiet, and the record."""

from datetime import timedelta

import httpx
import pytest

from tests.console.conftest import Desk, Opened, told
from umoja.clock import to_micros
from umoja.ops.alert import told as alert_told
from umoja.ops.silences import State

DISK = {"alertname": "DiskFull", "market": "KE", "instance": "db-1", "severity": "critical"}
HOST = {"alertname": "HostDown", "instance": "web-7", "severity": "warning"}


def fires(
    desk: Desk, *alerts: dict[str, str], summary: str = "It is nearly full", link: str = ""
) -> None:
    now = to_micros(desk.clock.now())
    desk.centre.alarms.take_and_keep(
        alert_told(
            labels=labels,
            annotations={"summary": summary},
            starts_at=now,
            ends_at=0,
            generator_url=link,
            source="prometheus",
            now=now,
        )
        for labels in alerts
    )


async def silenced(desk: Desk, **fields: str) -> httpx.Response:
    given = {
        "act": "make",
        "matchers": 'alertname="DiskFull"',
        "comment": "a planned move",
        "lasts": "2h",
    } | fields
    return await desk.post("/silences", **given)


async def test_without_any_alarm_the_page_says_what_would_be_there(desk: Desk):
    text = told((await desk.get("/alarms")).text)
    assert "No alarm stands." in text
    assert "0 alarms are loud, 0 are muted" in text
    assert "No vendor’s page is read." in text
    assert "Nothing is kept quiet." in told((await desk.get("/silences")).text)


async def test_alarms_stand_in_groups_with_their_labels_and_their_incident(desk: Desk):
    fires(desk, DISK, HOST, link="https://prometheus.example/graph")
    for _ in range(3):
        desk.clock.advance(timedelta(seconds=6))
        desk.centre.alarms.look()
    answer = await desk.get("/alarms")
    text = told(answer.text)
    assert "2 alarms are loud, 0 are muted" in text
    assert "DiskFull 1 Kenya · INC-00000" in text
    assert "instance=db-1 market=KE" in text
    assert "no market of ours" in text
    assert 'href="https://prometheus.example/graph" rel="noreferrer"' in answer.text
    only = told((await desk.get("/alarms?market=KE")).text)
    assert ("DiskFull" in only, "HostDown" in only) == (True, False)
    assert "HostDown" in told((await desk.get("/alarms/live?market=*")).text)


async def test_what_others_tell_is_shown_as_text_and_never_as_markup_or_script(desk: Desk):
    fires(
        desk, DISK | {"note": "<b>x</b>"}, summary="<script>x</script>", link="javascript:alert(1)"
    )
    page = (await desk.get("/alarms")).text
    assert "<script>x" not in page
    assert "<b>x" not in page
    assert "javascript:" not in page


async def test_a_silence_has_its_author_its_reason_and_its_end_and_is_audited(desk: Desk):
    await desk.enter("amina", "engineer")
    fires(desk, DISK, HOST)
    answer = await silenced(desk)
    assert (answer.status_code, answer.headers["location"]) == (303, "/silences")
    [kept] = desk.centre.silences.browse()
    assert (kept.created_by, kept.comment) == ("amina", "a planned move")
    assert kept.ends_at - to_micros(desk.clock.now()) == 2 * 3_600_000_000
    text = told((await desk.get("/silences")).text)
    assert 'active a planned move alertname="DiskFull"'.replace('"', "&#34;") in text
    assert "by amina, from 2026-03-10 09:00 until 2026-03-10 11:00 UTC" in text
    assert "1 alarm that stands now fits it: DiskFull" in text
    alarms = told((await desk.get("/alarms")).text)
    assert "1 alarm is loud, 1 is muted" in alarms
    assert "kept quiet by a silence" in alarms
    assert desk.acts()[-1][:2] == ("amina", "silence_made")
    assert kept.id in desk.acts()[-1][3]


async def test_a_silence_is_ended_now_and_may_be_ended_again(desk: Desk):
    await desk.enter("amina", "engineer")
    await silenced(desk)
    [kept] = desk.centre.silences.browse()
    for _ in range(2):
        assert (await desk.post("/silences", act="end", id=kept.id)).status_code == 303
    now = to_micros(desk.clock.now())
    assert desk.centre.silences.get(kept.id).state(now) is State.EXPIRED
    assert ("amina", "silence_ended") in [act[:2] for act in desk.acts()]
    assert (await desk.post("/silences", act="end", id="no-such")).status_code == 404
    assert "End it now" not in (await desk.get("/silences")).text


async def test_a_recurring_silence_keeps_quiet_in_local_hours_only(desk: Desk):
    await desk.enter("amina", "engineer")
    fires(desk, DISK)
    answer = await silenced(
        desk,
        **{"lasts": "90d", "recurs": "1", "day-tue": "1", "day-wed": "1"},
        since="13:00",
        until="14:30",
        zone="Africa/Nairobi",
    )
    assert answer.status_code == 303, told(answer.text)
    text = told((await desk.get("/silences")).text)
    # It is Tuesday, nine in the morning UTC: noon in Nairobi.
    assert "pending a planned move" in text
    assert "Tuesday, Wednesday, 13:00-14:30, Africa/Nairobi" in text
    desk.clock.advance(timedelta(hours=1))
    assert "active a planned move" in told((await desk.get("/silences")).text)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"matchers": "no matcher"}, "bad matcher format"),
        ({"matchers": ""}, "at least one matcher required"),
        ({"matchers": 'alertname=~".*"'}, "at least one matcher must not match the empty string"),
        ({"comment": " "}, "a silence has an author and a reason"),
        ({"lasts": "forever"}, "choose how long it lasts"),
        ({"starts": "tomorrow"}, "a time is written as"),
        ({"recurs": "1"}, "a recurring silence has days, a beginning and an end"),
        ({"act": "look", "matchers": ""}, "at least one matcher required"),
    ],
)
async def test_a_silence_that_will_not_do_says_why_and_keeps_what_was_typed(
    desk: Desk, fields: dict[str, str], says: str
):
    await desk.enter("amina", "engineer")
    answer = await silenced(desk, **({"comment": "my own reason"} | fields))
    assert answer.status_code == 422
    assert says in told(answer.text)
    if "comment" not in fields:
        assert 'value="my own reason"' in answer.text
    assert desk.centre.silences.browse() == []
    assert "silence_made" not in [act[1] for act in desk.acts()]


async def test_what_a_silence_would_mute_is_shown_before_it_is_made(desk: Desk):
    await desk.enter("amina", "engineer")
    fires(desk, DISK, HOST)
    would = await silenced(desk, act="look", matchers='instance=~"(db|web).*"', comment="")
    assert "It would mute 2 alarms that stand now: DiskFull, HostDown" in told(would.text)
    nothing = await silenced(desk, act="look", matchers='alertname="Other"')
    assert "It would mute no alarm that stands now." in told(nothing.text)
    assert desk.centre.silences.browse() == []


async def test_an_alarms_link_fills_the_matchers_in(desk: Desk):
    await desk.enter("amina", "engineer")
    fires(desk, DISK)
    [one] = desk.centre.alarms.standing()
    page = (await desk.get(f"/silences?for={one.alert.fingerprint}")).text
    assert "alertname=&#34;DiskFull&#34;\ninstance=&#34;db-1&#34;\nmarket=&#34;KE&#34;" in page
    assert "DiskFull" not in (await desk.get("/silences?for=ffff")).text.split("matchers-help")[0]


async def test_a_silence_is_made_again_from_one_that_was(desk: Desk):
    await desk.enter("amina", "engineer")
    days = {"recurs": "1", "day-tue": "1", "day-sun": "1"}
    await silenced(desk, **days, since="22:00", until="04:00", zone="Africa/Nairobi", lasts="7d")
    [kept] = desk.centre.silences.browse()
    await desk.post("/silences", act="end", id=kept.id)
    page = (await desk.get(f"/silences?like={kept.id}")).text
    assert "alertname=&#34;DiskFull&#34;</textarea>" in page
    assert 'value="a planned move"' in page
    assert page.count(" checked") == 3
    assert ('value="22:00"' in page, 'value="04:00"' in page) == (True, True)
    assert "<option selected>Africa/Nairobi" in page
    assert (
        "DiskFull"
        not in (await desk.get("/silences?like=none"))
        .text.split('id="make"')[1]
        .split("matchers-help")[0]
    )


async def test_silences_are_found_by_state_and_by_word(desk: Desk):
    await desk.enter("amina", "engineer")
    await silenced(desk)
    await silenced(desk, matchers='alertname="HostDown"', comment="new host")
    [first] = [each for each in desk.centre.silences.browse() if "planned" in each.comment]
    await desk.post("/silences", act="end", id=first.id)
    assert "a planned move" not in (await desk.get("/silences?state=active")).text
    assert "a planned move" in (await desk.get("/silences?state=expired")).text
    found = (await desk.get("/silences?q=HOSTdown")).text
    assert ("new host" in found, "a planned move" in found) == (True, False)
    assert "No silence is like that." in (await desk.get("/silences?q=zzz")).text


async def test_an_engineer_of_one_market_keeps_only_that_markets_alarms_quiet(desk: Desk):
    await desk.enter("kofi", "engineer", market="GH")
    assert (await silenced(desk)).status_code == 403
    assert (await silenced(desk, matchers='market="KE"')).status_code == 403
    assert (await silenced(desk, matchers='market=~"GH|KE"')).status_code == 403
    assert (await silenced(desk, matchers='market="GH"')).status_code == 303


async def test_who_only_sees_may_not_keep_quiet_and_a_stranger_sees_nothing(opened: Opened):
    desk = opened(is_sandbox=False)
    for path in ("/alarms", "/silences"):
        answer = await desk.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/sign-in?to={path}")
    assert (await desk.get("/alarms/live")).status_code == 401
    assert (await silenced(desk)).status_code == 401
    await desk.enter("bahati", "viewer", market="KE")
    fires(desk, DISK, HOST)
    text = told((await desk.get("/alarms")).text)
    assert ("DiskFull" in text, "HostDown" in text) == (True, False)
    assert (await silenced(desk, matchers='market="KE"')).status_code == 403
    standing = {each.alert.name: each.alert for each in desk.centre.alarms.standing()}
    hidden = (await desk.get(f"/silences?for={standing['HostDown'].fingerprint}")).text
    assert "web-7" not in hidden  # it is of no market of hers
    assert "Your role may not keep alarms quiet." in told((await desk.get("/silences")).text)


async def test_a_vendors_page_is_watched_and_left(desk: Desk):
    await desk.enter("amina", "engineer")
    bad = await desk.post("/alarms/vendors", act="watch", name="sms-east", url="ftp://x.example/")
    assert bad.status_code == 422
    assert "an address is https://" in told(bad.text)
    assert 'value="sms-east"' in bad.text
    good = await desk.post(
        "/alarms/vendors", act="watch", name="sms-east", url="https://status.example/", market="KE"
    )
    assert good.status_code == 303
    text = told((await desk.get("/alarms")).text)
    assert "sms-east KE · not read yet" in text
    assert (await desk.post("/alarms/vendors", act="leave", name="sms-east")).status_code == 303
    assert desk.centre.vendor_pages.browse() == []
    assert [act[1] for act in desk.acts()][-2:] == ["vendor_page_watch", "vendor_page_leave"]
    assert (await desk.post("/alarms/vendors", act="burn", name="x")).status_code == 400
