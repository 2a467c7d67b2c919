"""What staff do to an incident in the console: every button, who may press it, and its audit."""

import pytest

from tests.console.conftest import Desk
from umoja.ops.incident import Stage

ACTS = "/incidents/INC-000001/acts"


async def test_the_work_on_an_incident_from_page_to_review(desk: Desk):
    desk.incident()
    await desk.enter("amina", "engineer")
    for fields in (
        {"act": "acknowledge"},
        {"act": "appoint", "post": "commander", "name": "amina"},
        {"act": "task", "what": "ring the vendor", "owner": "amina"},
        {"act": "task_done", "number": "1"},
        {"act": "tick", "number": "1"},
        {"act": "cause", "kind": "route", "name": "simulated"},
        {"act": "remedy", "remedy": "switch_route", "target": "simulated"},
        {"act": "undo", "number": "1"},
        {"act": "stage", "stage": "resolved"},
        {"act": "review", "summary": "It broke", "causes": "A cable"},
        {"act": "action", "what": "Two cables", "owner": "amina", "due": "2026-12-01"},
        {"act": "action_done", "number": "1"},
    ):
        answer = await desk.post(ACTS, **fields)
        assert answer.status_code == 303, (fields, answer.text)

    incident = desk.centre.incidents.get("INC-000001")
    assert incident is not None
    assert (incident.stage, incident.sheet.roles) == (Stage.REVIEWED, {"commander": "amina"})
    page = (await desk.get("/incidents/INC-000001")).text
    for words in ("ring the vendor", "A cable", "Two cables", "undone by amina"):
        assert words in page
    assert [act[1] for act in desk.acts() if act[1].startswith("incident_")] == [
        "incident_acknowledge", "incident_appoint", "incident_task", "incident_task_done",
        "incident_tick", "incident_cause", "incident_remedy", "incident_undo", "incident_stage",
        "incident_review", "incident_action", "incident_action_done",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"act": "stage", "stage": "reviewed"}, "does not go from investigating to reviewed"),
        ({"act": "stage", "stage": "gone"}, "there is no such stage"),
        ({"act": "task_done", "number": "9"}, "there is no task 9"),
        ({"act": "task_done", "number": "-1"}, "there is none of that number"),
        ({"act": "appoint", "post": "commander", "name": "nobody"}, "held by one of staff"),
        ({"act": "remedy", "remedy": "open_circuit", "target": "x"}, "not what this incident"),
        ({"act": "undo", "number": "7"}, "is not this incident"),
        ({"act": "action", "what": "a", "owner": "b", "due": "soon"}, "2026-03-31"),
    ],
)
async def test_what_cannot_be_done_is_said_and_changes_nothing(
    desk: Desk, fields: dict[str, str], says: str
):
    desk.incident()
    await desk.enter("amina", "engineer")
    answer = await desk.post(ACTS, **fields)
    assert answer.status_code == 422
    assert says in answer.text
    assert not [act for act in desk.acts() if act[1].startswith("incident_")]


async def test_no_button_works_for_who_may_only_look(desk: Desk):
    desk.incident()
    assert (await desk.post(ACTS, act="acknowledge")).status_code == 401
    await desk.enter("kofi", "viewer")
    assert (await desk.post(ACTS, act="acknowledge")).status_code == 403
    await desk.enter("efua", "engineer", "GH")
    assert (await desk.post(ACTS, act="acknowledge")).status_code == 403
    assert (await desk.post(ACTS, act="nothing")).status_code == 403
    incident = desk.centre.incidents.get("INC-000001")
    assert incident is not None
    assert incident.acknowledged_by == ""


async def test_a_payment_that_hangs_is_owned_before_the_end(desk: Desk):
    desk.incident()
    desk.centre.incidents.unknown("KE", [])
    work = desk.centre.incidents._working[1]
    work.sheet.hanging = {"OA": "", "OB": ""}
    await desk.enter("amina", "engineer")
    refused = await desk.post(ACTS, act="stage", stage="resolved")
    assert refused.status_code == 422
    assert "2 payments of unknown outcome" in refused.text
    assert (await desk.post(ACTS, act="own", order="OA")).status_code == 303
    assert (await desk.post(ACTS, act="own_all")).status_code == 303
    assert (await desk.post(ACTS, act="stage", stage="resolved")).status_code == 303


async def test_times_are_told_by_market_and_month(desk: Desk):
    assert "No incident in the last six months" in (await desk.get("/incidents/times")).text
    desk.incident()
    page = (await desk.get("/incidents/times")).text
    assert f"{desk.clock.now():%Y-%m}" in page
    assert "Kenya" in page


async def test_the_list_is_narrowed_by_state_and_market(desk: Desk):
    ended = desk.incident("The switch is silent", market="GH")
    desk.centre.incidents.advance(ended.id, Stage.RESOLVED, actor="amina")
    desk.incident()
    for query, shown in (
        ("", {"INC-000001", "INC-000002"}),
        ("?state=open", {"INC-000002"}),
        ("?state=resolved", {"INC-000001"}),
        ("?state=resolved&market=KE", set()),
        ("?state=nonsense", {"INC-000001", "INC-000002"}),
    ):
        text = (await desk.get(f"/incidents{query}")).text
        assert {each for each in ("INC-000001", "INC-000002") if each in text} == shown, query
    assert (
        "There is no resolved incident here."
        in (await desk.get("/incidents?state=resolved&market=KE")).text
    )
