"""Planned work in the console: planned, warned of, shown wherever it matters, and changed by who may."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.console.conftest import Desk, Opened, told
from umoja.ops.metrics import exposition
from umoja.ops.oncall import Layer, Roster
from umoja.ops.planned import Standing
from umoja.signals import MessageSeen

NOON = datetime(2026, 3, 10, 9, 0, tzinfo=UTC)


async def planned(desk: Desk, **fields: str) -> httpx.Response:
    """Send the form as it is filled in most often: an hour of the bank's work in Kenya."""
    given = {
        "act": "plan", "market": "KE", "what": "The bank moves its switch", "partners": "bank-a",
        "starts": "2026-03-10T12:00", "ends": "2026-03-10T13:00", "zone": "Africa/Nairobi",
        "done_by": "the bank", "undone_by": "kofi",
    } | fields  # fmt: skip
    return await desk.post("/planned", **given)


async def test_without_any_work_the_page_says_so(desk: Desk):
    text = told((await desk.get("/planned")).text)
    assert "On now Nothing. Coming Nothing. Over, the last two weeks Nothing." in text
    assert "Sign in to plan work." in text


async def test_work_is_planned_in_local_time_shown_and_audited(desk: Desk):
    await desk.enter("amina", "engineer")
    answer = await planned(desk, **{"on-airtime": "1"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/planned")
    [work] = desk.centre.planned.browse()
    assert (work.touches, work.done_by, work.undone_by) == (
        ("airtime", "bank-a"), "the bank", "kofi",
    )  # fmt: skip
    text = told((await desk.get("/planned")).text)
    assert "on now The bank moves its switch Kenya · airtime, bank-a" in text
    assert "2026-03-10 12:00 to 2026-03-10 13:00 (EAT)" in text
    assert "done by the bank, rolled back by kofi; planned by amina" in text
    assert desk.acts()[-1][:3] == ("amina", "work_planned", "KE")


async def test_it_is_told_on_the_wall_the_market_an_incident_and_the_feeds(desk: Desk):
    await desk.enter("amina", "administrator")
    desk.gauge()
    await planned(desk, **{"on-airtime": "1"})
    ribbon = "Planned work until 13:00 EAT: airtime, bank-a"
    assert ribbon in told((await desk.get("/")).text)
    assert ribbon in told((await desk.get("/markets/KE")).text)
    assert "Planned work" not in told((await desk.get("/markets/GH")).text).split("Products")[0]
    desk.clock.advance(timedelta(minutes=1))
    assert desk.centre.watch.changed("KE", 0) == [
        "planned work 1: The bank moves its switch, until 2026-03-10 13:00 EAT"
    ]
    figures = exposition(desk.centre, ["KE", "GH"]).decode()
    assert 'umoja_planned_work{market="KE"} 1.0' in figures
    assert 'umoja_planned_work{market="GH"} 0.0' in figures
    layer = Layer(name="first", zone="UTC", people=("amina",), first_day="2026-03-01")
    desk.centre.duty.put_roster(Roster(name="kenya", markets=("KE",), layers=(layer,)))
    desk.centre.duty.put_roster(Roster(name="ghana", markets=("GH",), layers=(layer,)))
    for roster, is_in in (("kenya", True), ("ghana", False)):
        feed = desk.centre.duty.feed(desk.centre.duty.make_calendar(roster=roster))
        assert feed is not None
        assert (b"SUMMARY:planned work 1\\, KE: The bank moves its switch" in feed) is is_in
        assert (b"DTSTART:20260310T090000Z" in feed) is is_in


async def test_the_public_is_told_which_service_and_when_and_no_more(desk: Desk):
    await desk.enter("amina", "engineer")
    desk.gauge()
    await planned(desk, **{"on-airtime": "1", "ends": "2026-03-10T13:30"})
    await planned(desk, partners="", whole="1", starts="2026-03-12T02:00", ends="2026-03-12T03:00")
    await planned(desk, starts="2026-03-13T02:00", ends="2026-03-13T03:00")  # only a partner's
    await planned(desk, whole="1", starts="2026-03-18T02:00", ends="2026-03-18T03:00")
    desk.centre.status.look()
    page = (await desk.get("/status/KE?lang=en")).text
    assert "Buy airtime: planned work until 10/03 13:30" in told(page)
    assert "All services: planned work from 12/03 02:00 to 12/03 03:00" in told(page)
    assert page.count("<li>") == 2  # neither the partner's, nor what is more than a week ahead
    assert "bank" not in page
    assert 'id="airtime"' in page and "Planned work" in told(page.split('id="airtime"')[1])
    swahili = (await desk.get("/status/KE?lang=sw")).text
    assert "matengenezo yaliyopangwa hadi 10/03 13:30" in swahili
    found = (await desk.get("/status/KE.json?lang=en")).json()["planned"]
    assert found[0] == {
        "services": ["airtime"], "from": "2026-03-10T09:00:00Z", "until": "2026-03-10T10:30:00Z",
        "says": "Buy airtime: planned work until 10/03 13:30",
    }  # fmt: skip
    assert found[1]["services"] == []


async def test_a_bad_time_is_warned_of_and_not_refused(desk: Desk):
    await desk.enter("amina", "engineer")
    late = {"starts": "2026-03-15T16:30", "ends": "2026-03-15T18:00"}
    answer = await planned(desk, act="look", **late)
    text = told(answer.text)
    assert "Kenya: the busy hours 17:00–21:00 lie in it Kenya: it is payday" in text
    assert 'value="The bank moves its switch"' in answer.text
    assert desk.centre.planned.browse() == []
    assert (await planned(desk, **late)).status_code == 303
    text = told((await desk.get("/planned")).text)
    assert "A busy time: Kenya: the busy hours 17:00–21:00 lie in it" in text
    night = {"starts": "2026-03-11T01:00", "ends": "2026-03-11T02:00"}
    assert "No busy hours, no payday and no busy season lie in it." in told(
        (await planned(desk, act="look", **night)).text
    )


async def test_it_is_extended_ended_and_called_off(desk: Desk):
    await desk.enter("amina", "engineer")
    await planned(desk)
    await planned(desk, starts="2026-03-11T12:00", ends="2026-03-11T13:00", what="Later")
    assert (await desk.post("/planned", act="extend", number="1", minutes="30")).status_code == 303
    assert "12:00 to 2026-03-10 13:30 (EAT)" in told((await desk.get("/planned")).text)
    desk.clock.advance(timedelta(minutes=10))
    for _ in range(2):
        assert (await desk.post("/planned", act="end", number="1")).status_code == 303
        assert (await desk.post("/planned", act="call_off", number="2")).status_code == 303
    text = told((await desk.get("/planned")).text)
    assert "On now Nothing. Coming Nothing." in text
    assert "12:00 to 2026-03-10 12:10 (EAT)" in text
    assert "called off by amina" in text
    assert [act[1] for act in desk.acts()][-4:] == [
        "work_planned", "work_extended", "work_ended", "work_called_off",
    ]  # fmt: skip


async def test_work_of_each_week_in_local_hours(desk: Desk):
    await desk.enter("amina", "engineer")
    days = {"again": "1", "day-tue": "1", "since": "23:00", "until": "02:00"}
    answer = await planned(desk, ends="2026-06-10T00:00", **days)
    assert answer.status_code == 303, told(answer.text)
    text = told((await desk.get("/planned")).text)
    assert "Each week: Tuesday, 23:00-02:00, Africa/Nairobi, until 2026-06-10 00:00" in text
    assert "2026-03-10 23:00 to 2026-03-11 02:00 (EAT)" in text
    [work] = desk.centre.planned.browse()
    assert work.standing(int(NOON.timestamp() + 12 * 3600) * 1_000_000) is Standing.ON


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"partners": ""}, "say what is touched"),
        ({"partners": "x" * 41}, "at most 40 letters"),
        ({"partners": "," * 601}, "at most 40 letters"),
        ({"ends": "2026-03-12T13:00"}, "at most 24 hours"),
        ({"ends": "2026-03-10T11:00"}, "that is over already"),
        ({"ends": "tomorrow"}, "a time is written as"),
        ({"ends": "0001-01-01T00:00"}, "a time is written as"),
        ({"starts": "9999-12-31T23:59", "zone": "UTC"}, "it ends before it begins"),
        ({"zone": "Mars/Base"}, "choose in which zone"),
        ({"what": " "}, "say what is done"),
        ({"undone_by": ""}, "say who may roll it back"),
        ({"again": "1"}, "work that is done each week has days"),
        ({"again": "1", "day-mon": "1", "since": "x", "until": "y"}, "22:00-04:00"),
        ({"again": "1", "day-mon": "1", "since": "00:00", "until": "23:00"}, "12 hours each time"),
    ],
)
async def test_what_will_not_do_says_why_and_keeps_what_was_typed(
    desk: Desk, fields: dict[str, str], says: str
):
    await desk.enter("amina", "engineer")
    answer = await planned(desk, **({"done_by": "my own hand"} | fields))
    assert answer.status_code == 422
    assert says in told(answer.text)
    assert 'value="my own hand"' in answer.text
    assert desk.centre.planned.browse() == []


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"act": "burn"}, 400),
        ({"act": "plan", "market": "XX"}, 400),
        ({"act": "end", "number": "7"}, 404),
        ({"act": "end", "number": "9" * 30}, 404),
        ({"act": "call_off", "number": "-1"}, 404),
        ({"act": "extend", "number": "x", "minutes": "5"}, 404),
        ({"act": "end", "number": "1"}, 422),
        ({"act": "extend", "number": "1", "minutes": "30"}, 422),
        ({"act": "extend", "number": "1", "minutes": "x"}, 404),
    ],
)
async def test_rubbish_is_refused(desk: Desk, fields: dict[str, str], status: int):
    await desk.enter("amina", "engineer")
    await planned(desk, starts="2026-03-11T12:00", ends="2026-03-11T13:00")
    assert (await desk.post("/planned", **fields)).status_code == status
    assert len(desk.acts()) == len([act for act in desk.acts() if act[1] != "work_ended"])


async def test_who_may_what(opened: Opened):
    desk = opened(is_sandbox=False)
    answer = await desk.get("/planned")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?to=/planned")
    assert (await planned(desk)).status_code == 401
    await desk.enter("kofi", "engineer", market="GH")
    for market, status in (("KE", 403), ("*", 403), ("GH", 303)):
        assert (await planned(desk, market=market)).status_code == status
    desk.staff("amina", "administrator")
    await desk.post("/sign-out")
    await desk.enter("amina")
    await planned(desk, what="Of Kenya alone")
    await planned(desk, market="*", what="Of every market")
    await desk.post("/sign-out")
    await desk.enter("kofi")
    text = told((await desk.get("/planned")).text)
    assert ("Of Kenya alone" in text, "Of every market" in text) == (False, True)
    assert (await desk.post("/planned", act="end", number="2")).status_code == 403
    await desk.post("/sign-out")
    await desk.enter("bahati", "viewer")
    assert "Your role may not plan work." in told((await desk.get("/planned")).text)
    assert (await planned(desk)).status_code == 403


async def test_partners_in_use_are_offered(desk: Desk):
    desk.pays(1, partner="bank-a")
    desk.centre.telemetry.hear(
        MessageSeen(
            at=desk.clock.now(), market="KE", route="sms-east", state="sent", product="send_money",
            value_minor=1, currency="KES", payer_mark=1, waited_s=0.0, order_mark=0,
        )
    )  # fmt: skip
    await desk.enter("amina", "engineer")
    page = (await desk.get("/planned?market=KE")).text
    assert '<option value="bank-a"></option><option value="sms-east"></option>' in page
    assert '<option value="KE" selected>Kenya' in page


async def test_it_is_said_in_french(desk: Desk):
    await desk.enter("amina", "engineer")
    await planned(desk)
    text = told((await desk.get("/planned", **{"accept-language": "fr"})).text)
    assert "10/03/2026 12:00 à 10/03/2026 13:00 (EAT)" in text
    answer = await desk.http.post(
        "/planned",
        data={"form_token": desk.http.cookies["umoja_form"], "act": "extend", "number": "1",
              "minutes": "1400"},
        headers={"accept": "text/html", "accept-language": "fr"},
    )  # fmt: skip
    assert "des travaux prévus durent 24 heures au plus" in told(answer.text)
