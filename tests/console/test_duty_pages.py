"""On-call in the console: the page's link, the feed, rosters, handovers, allowances, and who may what."""

import json
import re
from datetime import timedelta

import pytest

from tests.console.conftest import Desk, told
from umoja.ops import paging
from umoja.ops.oncall import Chain, Step

JOAO = [
    {
        "name": "centre",
        "markets": ["*"],
        "layers": [
            {"name": "first", "zone": "UTC", "people": ["joao"], "first_day": "2026-01-01",
             "hands_over_at": "00:00"}
        ],
    }
]  # fmt: skip


async def test_a_page_is_read_by_anybody_who_has_its_link_and_acknowledged_by_a_press(desk: Desk):
    desk.centre.duty.put_chain(
        Chain(name="all", markets=("*",), steps=(Step(person="amina"),), least_severity=4)
    )
    desk.incident()
    await desk.centre.pager.step()
    # Only the digest is kept: the test makes a secret of its own for the page.
    secret = "a-secret-of-the-test-000"
    desk.centre._database.run("UPDATE pages SET digest = :digest", digest=paging._digest(secret))
    assert (await desk.get("/pages/another-secret")).status_code == 404
    page = await desk.get(f"/pages/{secret}")
    assert page.status_code == 200
    assert "I take it" in page.text
    incident = desk.centre.incidents.get("INC-000001")
    assert incident is not None
    assert incident.acknowledged_by == ""  # looking changes nothing

    answer = await desk.post(f"/pages/{secret}")
    assert "Acknowledged by amina" in answer.text
    again = await desk.post(f"/pages/{secret}")
    assert "Acknowledged by amina" in again.text
    assert ("amina", "page_acknowledged", "KE", "INC-000001") in desk.acts()


async def test_rosters_are_kept_and_what_cannot_work_is_said(desk: Desk):
    await desk.enter("amina", "administrator")
    assert (await desk.get("/on-call")).text.count("There is no roster") == 1
    assert (await desk.post("/on-call", act="rosters", body=json.dumps(JOAO))).status_code == 303
    assert "centre: joao" in (await desk.get("/on-call")).text
    broken = json.loads(json.dumps(JOAO))
    broken[0]["layers"][0]["zone"] = "Mars"
    refused = await desk.post("/on-call", act="rosters", body=json.dumps(broken))
    assert refused.status_code == 422
    assert "is no time zone" in refused.text
    for body in ("not json", "[{}]", '{"a": 1}'):
        assert (await desk.post("/on-call", act="chains", body=body)).status_code == 422
    assert (
        await desk.post(
            "/on-call", act="stand_in", roster="centre", person="amina",
            starts="2020-01-01T00:00", ends="2020-01-02T00:00",
        )
    ).status_code == 422  # fmt: skip


async def test_a_calendar_is_read_with_its_secret_alone(desk: Desk):
    await desk.enter("amina", "administrator")
    await desk.post("/on-call", act="rosters", body=json.dumps(JOAO).replace("joao", "amina"))
    told = await desk.post("/on-call", act="calendar")
    found = re.search(r"/calendars/[\w-]+\.ics", told.text)
    assert found is not None
    desk.http.cookies.clear()
    feed = await desk.get(found[0])
    assert feed.headers["content-type"].startswith("text/calendar")
    assert "BEGIN:VEVENT" in feed.text
    assert (await desk.get("/calendars/nothing.ics")).status_code == 404


async def test_a_handover_goes_from_one_to_another(desk: Desk):
    desk.incident()
    await desk.enter("amina", "administrator")
    await desk.post("/on-call", act="rosters", body=json.dumps(JOAO))
    assert "INC-000001" in (await desk.get("/on-call")).text
    await desk.post("/on-call", act="hand_over", roster="centre", body="All quiet")
    assert (await desk.post("/on-call", act="take_over", number="1")).status_code == 422
    await desk.enter("joao", "viewer", "KE")
    assert (await desk.post("/on-call", act="take_over", number="1")).status_code == 303
    assert desk.centre.duty.handovers()[0].taken_by == "joao"


@pytest.mark.parametrize(
    "fields",
    [
        {"act": "rosters", "body": "[]"},
        {"act": "chains", "body": "[]"},
        {"act": "stand_in", "roster": "centre"},
        {"act": "allow", "remedy": "switch_route", "market": "KE", "most": "1", "days": "1"},
        {"act": "forbid", "remedy": "switch_route", "market": "KE"},
    ],
)
async def test_an_engineer_changes_no_rosters_and_allows_nothing(
    desk: Desk, fields: dict[str, str]
):
    assert (await desk.post("/on-call", **fields)).status_code == 401
    await desk.enter("kofi", "engineer")
    assert (await desk.post("/on-call", **fields)).status_code == 403
    assert desk.centre.remedies.allowances() == []


async def test_an_administrator_allows_a_remedy_within_limits(desk: Desk):
    await desk.enter("amina", "administrator")
    allow = {"act": "allow", "remedy": "switch_route", "market": "KE", "days": "30"}
    assert (await desk.post("/on-call", **allow, most="99")).status_code == 422
    assert (await desk.post("/on-call", **allow, most="3")).status_code == 303
    assert [each.allowed_by for each in desk.centre.remedies.allowances()] == ["amina"]
    assert "switch route in KE, 3 a day" in (await desk.get("/on-call")).text
    await desk.post("/on-call", act="forbid", remedy="switch_route", market="KE")
    assert desk.centre.remedies.allowances() == []
    assert (await desk.post("/on-call", act="nothing")).status_code == 400


async def test_whoever_is_paged_reads_it_on_every_page_until_somebody_takes_it(desk: Desk):
    desk.centre.duty.put_chain(
        Chain(name="all", markets=("*",), steps=(Step(person="wanjiku"),), least_severity=4)
    )
    desk.incident()
    await desk.centre.pager.step()
    await desk.enter("wanjiku", "viewer")
    for path in ("/", "/incidents", "/markets/KE", "/account"):
        assert "You are paged:" in (await desk.get(path)).text, path
    page = await desk.get("/on-call")
    assert "Pages that wait for you" in page.text
    number = str(desk.centre.pager.waiting_for("wanjiku")[0].number)
    answer = await desk.post("/on-call", act="acknowledge", number="99999")
    assert "that page waits no longer" in answer.text
    await desk.post("/on-call", act="acknowledge", number=number)
    incident = desk.centre.incidents.get("INC-000001")
    assert incident is not None
    assert incident.acknowledged_by == "wanjiku"
    assert "You are paged:" not in (await desk.get("/")).text
    assert (await desk.post("/on-call", act="acknowledge", number=number)).status_code == 422


async def test_what_was_handed_over_is_read_by_the_next(desk: Desk):
    await desk.enter("amina", "administrator")
    await desk.post("/on-call", act="rosters", body=json.dumps(JOAO))
    await desk.post("/on-call", act="hand_over", roster="centre", body="The vendor rings at six")
    await desk.enter("joao", "viewer", "KE")
    assert "The vendor rings at six" in (await desk.get("/on-call")).text


async def test_a_page_of_a_regulators_clock_is_taken_by_itself(desk: Desk):
    await desk.enter("amina", "administrator")
    incident = desk.incident(detector="failures")
    incidents, regulators = desk.centre.incidents, desk.centre.regulators
    incidents._working[1].severity = 2
    regulators.look()
    incidents.acknowledge(incident.id, actor="amina")
    desk.clock.advance(timedelta(hours=18))
    regulators.look()
    await desk.centre.pager.step()
    await desk.enter("amina")  # the session of the morning is over
    text = told((await desk.get("/on-call")).text)
    assert "INC-000001 by console · a notice to the regulator" in text
    desk.centre._database.run("UPDATE pages SET digest = :it", it=paging._digest("a-secret"))
    page = told((await desk.get("/pages/a-secret")).text)
    assert "Regulator: Central Bank of Kenya is to be told by 2026-03-11 12:00 local time" in page
    assert "I see to the notice" in page
    french = told((await desk.get("/pages/a-secret", **{"accept-language": "fr"})).text)
    assert "Central Bank of Kenya doit être informé avant 2026-03-11 12:00 heure locale" in french
    for _ in range(2):
        answer = await desk.post("/pages/a-secret")
        assert "amina sees to the notice." in told(answer.text)
    assert "a notice to the regulator" not in told((await desk.get("/on-call")).text)


async def test_a_page_in_the_on_call_list_of_a_clock_is_taken(desk: Desk):
    await desk.enter("amina", "administrator")
    incident = desk.incident(detector="failures")
    desk.centre.incidents._working[1].severity = 2
    desk.centre.regulators.look()
    desk.centre.incidents.acknowledge(incident.id, actor="amina")
    desk.clock.advance(timedelta(hours=24))
    desk.centre.regulators.look()
    await desk.centre.pager.step()
    await desk.enter("amina")
    [waiting] = desk.centre.pager.waiting_for("amina")
    for status in (303, 422):
        answer = await desk.post("/on-call", act="acknowledge", number=str(waiting.number))
        assert answer.status_code == status
    reminder = desk.centre.pager.reminder_of(waiting)
    assert reminder is not None
    assert reminder.taken_by == "amina"


async def test_staff_choose_in_which_language_they_are_paged(desk: Desk):
    await desk.enter("amina", "engineer")
    fields = {"act": "contact", "zone": "UTC"}
    assert (await desk.post("/on-call", **fields, language="fr")).status_code == 303
    assert desk.centre.duty.contact("amina").language == "fr"
    assert '<option value="fr" lang="fr" selected>' in (await desk.get("/on-call")).text
    assert (await desk.post("/on-call", **fields, language="xx")).status_code == 422
    assert (await desk.post("/on-call", **fields)).status_code == 303
    assert desk.centre.duty.contact("amina").language == "en"
