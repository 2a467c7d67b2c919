"""The console's pages: what they show, to whom, and what they refuse."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from tests.console.conftest import PASSWORD, Desk, Opened, told
from tests.stage import NOON
from umoja.console import site as console_site
from umoja.console.sandbox import Surprise
from umoja.signals import Outcome

FOLDER = Path(console_site.__file__).parent
TEMPLATES = sorted((FOLDER / "templates").glob("*.html"))
STATIC = sorted((FOLDER / "static").iterdir())


# What is shown


async def test_the_wall_shows_every_market_and_what_it_knows_of_it(desk: Desk):
    desk.gauge()
    desk.pays(30)
    page = await desk.get("/")
    assert page.status_code == 200
    text = told(page.text)
    assert "Ghana good" in text
    assert "Kenya good" in text
    assert "100 % of 30 in 5 min" in text
    assert "Moved today KES 37.0 k" in text  # 30 times 1,234.50
    assert "Agents’ float KES 2.0 k" in text
    assert "Payments today 30" in text
    assert "All markets are well" in text


async def test_before_anything_is_heard_a_market_is_blind_and_says_so(desk: Desk):
    text = told((await desk.get("/")).text)
    assert "Kenya blind" in text
    assert "Kenya blind Tue 12:00 blind never heard" in text
    assert "Markets heard 0 of 2" in text
    assert "Ghana, Kenya not heard" in text
    market = told((await desk.get("/markets/KE")).text)
    assert "No payment was tried in the last five minutes." in market
    assert "Nothing was heard of the books yet." in market
    assert "None so far." in market
    assert "There has been no incident." in told((await desk.get("/incidents")).text)


async def test_what_was_heard_too_long_ago_is_blind_again(desk: Desk):
    desk.gauge()
    assert "Kenya good" in told((await desk.get("/")).text)
    desk.clock.advance(timedelta(seconds=16))
    assert "Kenya blind" in told((await desk.get("/")).text)


async def test_a_trust_gap_is_bad_and_written_with_the_market_s_digits(desk: Desk):
    desk.gauge("GH")
    desk.gauge("KE", trust=4_999_50)
    wall = told((await desk.get("/")).text)
    assert "Kenya bad" in wall
    assert "Trust gap -KES 0.50" in wall
    assert "Kenya in trouble" in wall
    market = told((await desk.get("/markets/KE")).text)
    assert "Issued e-money KES 5,000 Trust account KES 4,999.50 Gap -KES 0.50" in market


async def test_an_incident_is_on_the_wall_its_market_s_page_the_list_and_its_own(desk: Desk):
    desk.gauge()
    incident = desk.incident()
    assert incident.id == "INC-000001"
    for path in ("/", "/markets/KE", "/incidents", "/incidents?market=KE", "/incidents/INC-000001"):
        page = await desk.get(path)
        assert page.status_code == 200, path
        assert "SMS receipts do not arrive" in page.text, path
    own = told((await desk.get("/incidents/INC-000001")).text)
    assert "opened: 9 of 10 are missing, since 09:00:00 UTC" in own
    assert "SMS receipts do not arrive" not in (await desk.get("/incidents?market=GH")).text
    assert "SMS receipts do not arrive" not in (await desk.get("/markets/GH")).text
    desk.centre.incidents.quiet("KE", "sms_receipts")
    wall = told((await desk.get("/")).text)
    assert "Open incidents 0 None. Lately resolved" in wall


@pytest.mark.parametrize("span", ["hour", "quarter", "day", "nonsense"])
async def test_charts_look_back_an_hour_or_more(desk: Desk, span: str):
    desk.pays(50)
    desk.clock.advance(timedelta(minutes=2))
    page = await desk.get(f"/markets/KE?span={span}")
    assert page.status_code == 200
    assert page.text.count('<svg class="chart"') == 4
    title = {"quarter": "6 h", "day": "24 h"}.get(span, "1 h")
    assert f"Payments, the last {title}; now " in page.text


async def test_a_market_s_page_says_which_products_were_refused_and_why(desk: Desk):
    desk.pays(3)
    desk.pays(2, outcome=Outcome.REFUSED, reason="not_enough")
    desk.pays(1, outcome=Outcome.FAILED, reason="partner_failed", product="airtime")
    text = told((await desk.get("/markets/KE")).text)
    # 12 ms are counted up to 16: latency is kept in steps
    assert "send money ussd 5 3 2 0 100 % 16 ms not enough 2" in text
    assert "airtime ussd 1 0 0 1 0.0 % 16 ms partner failed 1" in text


async def test_a_live_part_is_the_part_of_the_page_that_changes(desk: Desk):
    desk.incident()
    for path in ("/markets/KE", "/incidents/INC-000001"):
        part = await desk.get(f"{path}/live")
        assert part.status_code == 200
        assert "<html" not in part.text
        assert part.text.strip() in (await desk.get(path)).text


async def test_the_map_links_each_market_of_ours(desk: Desk):
    page = (await desk.get("/")).text
    assert re.findall(r'<a href="/markets/(\w+)" data-state="blind" data-place', page) == [
        "GH",
        "KE",
    ]
    assert "<title>Ghana: blind</title>" in page


# To whom


PAGES = ["/", "/markets/KE", "/incidents", "/incidents/INC-000001", "/audit", "/staff", "/account"]
PARTS = ["/wall/stream", "/markets/KE/live", "/incidents/INC-000001/live"]


@pytest.mark.parametrize("path", PAGES)
async def test_in_production_nothing_is_shown_before_signing_in(opened: Opened, path: str):
    desk = opened(is_sandbox=False)
    desk.incident()
    page = await desk.get(path)
    assert page.status_code == 303
    assert page.headers["location"] == f"/sign-in?to={path}"
    assert page.text == ""


@pytest.mark.parametrize("path", PARTS)
async def test_in_production_no_part_is_sent_before_signing_in(opened: Opened, path: str):
    desk = opened(is_sandbox=False)
    desk.incident()
    part = await desk.get(path, accept="*/*")
    assert part.status_code == 401
    assert part.text == "Sign in first"


async def test_in_production_there_is_no_handset_and_nothing_to_switch(opened: Opened):
    desk = opened(is_sandbox=False)
    await desk.enter("amina", "administrator")
    for path in ("/handset", "/handset/KE", "/handset/KE/inbox?phone=254712000001"):
        assert (await desk.get(path)).status_code == 404
    page = (await desk.get("/markets/KE")).text
    assert "Let something go wrong" not in page
    assert "handset" not in page.lower().replace("handset.js", "")
    for path in ("/markets/KE/faults/sms-route-dead", "/markets/KE/drills/sms-route-dead"):
        assert (await desk.post(path, on="1")).status_code == 404
    assert desk.toys.on == set()


RIGHTS = [
    # path, viewer, engineer, administrator
    ("GET", "/", 200, 200, 200),
    ("GET", "/markets/KE", 200, 200, 200),
    ("GET", "/markets/KE/live", 200, 200, 200),
    ("GET", "/incidents", 200, 200, 200),
    ("GET", "/incidents/INC-000001", 200, 200, 200),
    ("GET", "/audit", 403, 403, 200),
    ("GET", "/staff", 403, 403, 200),
    ("GET", "/account", 200, 200, 200),
    ("POST", "/incidents/INC-000001/notes", 403, 303, 303),
    ("POST", "/markets/KE/faults/airtime-dead", 403, 303, 303),
    ("POST", "/markets/KE/drills/sms-route-dead", 403, 303, 303),
    ("GET", "/drills", 200, 200, 200),
    ("POST", "/drills", 403, 303, 303),
    ("POST", "/staff", 403, 403, 303),
    ("POST", "/staff/zuri/remove", 403, 403, 303),
]


@pytest.mark.parametrize(("method", "path", "viewer", "engineer", "administrator"), RIGHTS)
async def test_who_may_what(
    desk: Desk, method: str, path: str, viewer: int, engineer: int, administrator: int
):
    desk.incident()
    desk.staff("zuri", "viewer")
    fields = {"note": "seen", "on": "1", "name": "juma", "password": PASSWORD,
              "role": "viewer", "market": "*"}  # fmt: skip
    for role, expected in (("viewer", viewer), ("engineer", engineer),
                           ("administrator", administrator)):  # fmt: skip
        await desk.enter(f"a-{role}", role)
        answer = await desk.get(path) if method == "GET" else await desk.post(path, **fields)
        assert answer.status_code == expected, role


@pytest.mark.parametrize("path", [path for method, path, *_ in RIGHTS if method == "POST"])
async def test_nobody_acts_without_signing_in(desk: Desk, path: str):
    desk.incident()
    desk.staff("zuri", "viewer")
    answer = await desk.post(path, note="seen", on="1", name="juma", password=PASSWORD,
                             role="viewer", market="*")  # fmt: skip
    assert answer.status_code == 401
    assert "Sign in first" in answer.text
    assert desk.toys.on == set()
    assert desk.toys.drilled == []
    assert [each.name for each in desk.centre.staff.browse()] == ["zuri"]
    assert len(desk.centre.incidents.get("INC-000001").timeline) == 1


async def test_a_role_in_one_market_counts_there_only(opened: Opened):
    desk = opened(is_sandbox=False)
    desk.incident(market="KE")
    desk.incident(market="GH", title="Elsewhere")
    await desk.enter("abena", "engineer", market="GH")
    assert (await desk.get("/markets/GH")).status_code == 200
    assert (await desk.get("/markets/KE")).status_code == 403
    assert (await desk.get("/markets/KE/live")).status_code == 401
    assert (await desk.get("/incidents/INC-000001")).status_code == 403
    assert (await desk.post("/incidents/INC-000001/notes", note="x")).status_code == 403
    listed = (await desk.get("/incidents")).text
    assert "Elsewhere" in listed
    assert "SMS receipts do not arrive" not in listed
    wall = await desk.get("/")
    assert (wall.status_code, wall.headers["location"]) == (303, "/markets/GH")


# What is refused


async def test_a_form_of_another_site_changes_nothing(desk: Desk):
    await desk.enter("amina", "administrator")
    token = desk.http.cookies["umoja_form"]
    path = "/markets/KE/faults/airtime-dead"
    refused = [
        await desk.raw(path, {"on": "1"}),
        await desk.raw(path, {"on": "1", "form_token": ""}),
        await desk.raw(path, {"on": "1", "form_token": token[:-1] + "~"}),
        await desk.raw(path, {"on": "1", "form_token": token}, **{"sec-fetch-site": "cross-site"}),
        await desk.raw(path, {"on": "1", "form_token": token}, **{"sec-fetch-site": "same-site"}),
    ]
    assert [answer.status_code for answer in refused] == [403] * 5
    assert desk.toys.on == set()
    assert "fault_switched_on" not in [act[1] for act in desk.acts()]
    right = await desk.raw(
        path, {"on": "1", "form_token": token}, **{"sec-fetch-site": "same-origin"}
    )
    assert right.status_code == 303
    assert desk.toys.on == {("KE", "airtime-dead")}


async def test_a_form_without_its_cookie_is_refused(desk: Desk):
    answer = await desk.raw("/sign-in", {"name": "x", "password": "y", "form_token": ""})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/markets/XX", 404),
        ("/markets/ke", 404),
        ("/markets/XX/live", 404),
        ("/incidents/INC-000099", 404),
        ("/incidents/%F0%9F%98%80", 404),
        ("/incidents/INC-99999999999999999999999", 404),
        ("/handset/XX", 404),
        ("/audit?before=-1", 200),
        ("/audit?before=9e9", 200),
        ("/audit?before=99999999999999999999999999", 200),
        ("/audit?before=%00", 200),
        ("/incidents?market=%3Cscript%3E", 200),
        ("/handset?market=XX", 200),
        ("/static/../site.py", 404),
        ("/static/%2e%2e/site.py", 404),
        ("/static/nothing.css", 404),
    ],
)
async def test_strange_addresses_get_a_page_that_says_so(desk: Desk, path: str, status: int):
    await desk.enter("amina", "administrator")
    answer = await desk.get(path)
    assert answer.status_code == status
    assert "<script>" not in answer.text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"\xff\xfe=\x80", 400),
        (b"form_token=%FF", 400),
        (b"&".join(b"a%d=1" % place for place in range(30)), 400),
        (b"note=" + b"x" * 40_000, 413),
        (b"", 403),
        (b'{"note": "json"}', 403),
    ],
)
async def test_forms_that_are_none_change_nothing(desk: Desk, body: bytes, status: int):
    desk.incident()
    await desk.enter("amina", "administrator")
    answer = await desk.http.post("/incidents/INC-000001/notes", content=body)
    assert answer.status_code == status
    assert len(desk.centre.incidents.get("INC-000001").timeline) == 1


@pytest.mark.parametrize("note", ["", "   ", "x" * 1_001])
async def test_a_note_that_will_not_do_is_given_back_with_the_reason(desk: Desk, note: str):
    desk.incident()
    await desk.enter("amina", "engineer")
    answer = await desk.post("/incidents/INC-000001/notes", note=note)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert "That was not done: a note" in answer.text
    assert note in answer.text
    assert "note_written" not in [act[1] for act in desk.acts()]


async def test_unknown_faults_and_drills_are_refused(desk: Desk):
    await desk.enter("amina", "administrator")
    for path in (
        "/markets/KE/faults/nothing",
        "/markets/XX/faults/airtime-dead",
        "/markets/KE/drills/airtime-dead",  # it has no drill
        "/markets/KE/drills/nothing",
    ):
        assert (await desk.post(path, on="1")).status_code == 404, path
    assert desk.toys.drilled == []


async def test_a_surprise_is_kept_secret_until_it_is_over_and_then_told(desk: Desk):
    await desk.enter("amina", "engineer")
    assert "Surprise me" in (await desk.get("/drills")).text
    await desk.post("/drills")
    assert desk.toys.drilled == [("somewhere", "something")]
    desk.toys.last = Surprise(is_running=True)
    running = (await desk.get("/drills")).text
    assert "It runs, or is about to begin." in running
    assert "Surprise me" not in running
    desk.toys.last = Surprise(
        is_running=False, market="KE", title="Airtime is dead", began_at=NOON,
        incident="INC-000001", found_s=25, acknowledged_s=61,
    )  # fmt: skip
    told = (await desk.get("/drills")).text
    assert "Airtime is dead" in told
    assert "Kenya" in told
    assert ("after 25 s" in told, "after 61 s" in told, "never" in told) == (True, True, True)
    desk.toys.last = Surprise(is_running=False)
    assert "switch something off" in (await desk.get("/drills")).text


# What is written down


async def test_every_act_of_staff_is_in_the_audit_log_with_its_actor(desk: Desk):
    desk.incident()
    await desk.enter("amina", "administrator")
    await desk.post("/markets/KE/faults/airtime-dead", on="1")
    await desk.post("/markets/KE/faults/airtime-dead", on="0")
    await desk.post("/markets/GH/drills/sms-route-dead")
    await desk.post("/incidents/INC-000001/notes", note="called the vendor")
    await desk.post("/staff", name="juma", password=PASSWORD, role="engineer", market="KE")
    await desk.post("/staff/juma/remove")
    await desk.post("/sign-out")
    assert desk.acts() == [
        ("test", "staff_added", "", 'amina: {"*": ["administrator"]}'),
        ("amina", "sign_in", "", "from 192.0.2.7"),
        ("amina", "fault_switched_on", "KE", "airtime-dead"),
        ("amina", "fault_switched_off", "KE", "airtime-dead"),
        ("amina", "drill_started", "GH", "sms-route-dead"),
        ("amina", "note_written", "KE", "INC-000001"),
        ("amina", "staff_added", "", 'juma: {"KE": ["engineer"]}'),
        ("amina", "staff_removed", "", "juma"),
        ("amina", "sign_out", "", ""),
    ]
    assert desk.toys.drilled == [("GH", "sms-route-dead")]
    moment = desk.centre.incidents.get("INC-000001").timeline[-1]
    assert (moment.actor, moment.what) == ("amina", "called the vendor")


async def test_the_audit_page_shows_the_log_page_by_page_and_says_that_it_holds(desk: Desk):
    await desk.enter("amina", "administrator")
    for number in range(120):
        desk.centre.audit.record(actor="clerk", action="tested", detail=f"act {number}")
    page = (await desk.get("/audit")).text
    assert "122 entries read and found whole" in told(page)
    assert "act 119" in page
    assert "act 10<" not in page
    assert 'href="/audit?before=23"' in page
    assert "act 10<" in (await desk.get("/audit?before=23")).text


async def test_the_audit_page_says_where_the_chain_is_broken(desk: Desk):
    await desk.enter("amina", "administrator")
    desk.centre.audit.record(actor="clerk", action="tested")
    desk.centre._database.run("UPDATE audit SET actor = 'nobody' WHERE number = 2")
    text = told((await desk.get("/audit")).text)
    assert "the chain is broken at entry 2" in text


# What strangers write


NASTY = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


async def test_what_people_write_is_shown_and_never_run(desk: Desk):
    desk.gauge()
    desk.incident(title=NASTY)
    await desk.enter("amina", "administrator")
    await desk.post("/incidents/INC-000001/notes", note=NASTY)
    desk.centre.audit.record(actor=NASTY, action=NASTY, market="KE", detail=NASTY)
    for path in ("/", "/markets/KE", "/incidents", "/incidents/INC-000001", "/audit"):
        page = (await desk.get(path)).text
        assert "&lt;script&gt;alert(1)" in page, path
        assert "<script>alert" not in page, path
        assert "<img src=x" not in page, path
        assert "\"'&" not in page, path


async def test_a_name_that_was_typed_wrong_comes_back_harmless(desk: Desk):
    page = await desk.post("/sign-in", name='"><script>alert(1)</script>', password="x" * 12)
    assert page.status_code == 401
    assert "<script>alert" not in page.text


# What every page bears


async def test_every_page_forbids_what_is_not_ours(desk: Desk):
    desk.incident()
    await desk.enter("amina", "administrator")
    for path in (*PAGES, "/handset", "/sign-in", "/markets/XX", "/markets/KE/live"):
        page = await desk.get(path)
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy, path
        assert "script-src 'self';" in policy, path
        assert "unsafe" not in policy, path
        assert "frame-ancestors 'none'" in policy, path
        assert page.headers["cache-control"] == "no-store", path
        assert page.headers["x-content-type-options"] == "nosniff", path


@pytest.mark.parametrize("path", [*TEMPLATES, *STATIC], ids=lambda path: path.name)
def test_no_file_names_another_host(path: Path):
    text = path.read_text("utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z]", text) == []
    assert "@import" not in text


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_template_has_script_or_style_of_its_own(path: Path):
    text = path.read_text("utf-8")
    assert re.findall(r"<script(?![^>]*\ssrc=)", text) == []
    assert re.findall(r"\s(?:on[a-z]+|style)=", text) == []
    assert "|safe" not in text.replace(" ", "")
    assert re.findall(r"<form(?![^>]*method=\"(?:post|dialog|get)\")", text) == []
    # What only asks for another view has no token: it would stand in the address.
    gets = re.findall(r"<form[^>]*method=\"get\".*?</form>", text, re.DOTALL)
    assert [form for form in gets if "form_token" in form] == []


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_every_form_that_acts_bears_the_token(path: Path):
    text = path.read_text("utf-8")
    forms = re.findall(r'<form method="post".*?</form>', text, re.DOTALL)
    assert len(forms) == text.count('method="post"')
    assert [
        form for form in forms if 'name="form_token" value="{{ form_token }}"' not in form
    ] == []


async def test_a_market_s_page_tells_what_is_left_of_its_objectives(desk: Desk):
    assert "No minute with payments was kept yet." in (await desk.get("/markets/KE")).text
    desk.gauge()
    desk.pays(995)
    desk.pays(5, outcome=Outcome.FAILED, reason="partner_down")
    desk.clock.advance(timedelta(minutes=3))
    desk.centre.objectives.keep()
    text = told((await desk.get("/markets/KE")).text)
    assert "send money 99.5 % 1,000 5 of 5 0 % evenly" in text
