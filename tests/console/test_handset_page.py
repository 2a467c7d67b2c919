"""The handset's page: its guide, whose messages it tells, and what it was made from."""

import hashlib
import json
import re
from pathlib import Path

import pytest

from tests.console.conftest import PIN, Desk, Opened, told
from umoja.channels.ussd import RESUME_WITHIN_S
from umoja.channels.ussd_menus import AGENT_ROOT, CUSTOMER_ROOT
from umoja.console import handset
from umoja.console.handset import keys_to
from umoja.console.sandbox import Text

STATIC = Path(handset.__file__).parent / "static"


def test_keys_lead_through_the_menus():
    assert keys_to(CUSTOMER_ROOT, "send_money") == "1"
    assert keys_to(CUSTOMER_ROOT, "account", "undo") == "6, 3"
    assert keys_to(AGENT_ROOT, "deposit") == "1"
    with pytest.raises(ValueError, match="not in"):
        keys_to(CUSTOMER_ROOT, "deposit")


async def test_the_guide_names_keys_that_lead_where_it_says(desk: Desk):
    """What the page tells a newcomer to press is pressed: money goes out, and is asked back."""
    page = told((await desk.get("/handset")).text)
    assert (
        "Send money Dial, press 1 , and answer what the screen asks: the other phone’s number"
        in page
    )
    assert "The sender: 6, 3 and the PIN. The other phone answers with 6, 4 ." in page
    assert "dial again within three minutes" in page
    assert RESUME_WITHIN_S == 180
    amina, baraka = desk.customer("Amina Otieno", money=100_000), desk.customer("Baraka Juma")

    async def press(phone: str, session: str, text: str) -> str:
        fields = {"sessionId": session, "serviceCode": "", "phoneNumber": phone, "text": text}
        return (await desk.http.post("/ussd/KE", data=fields)).text

    sent = await press(amina.phone, "a", f"1*{baraka.phone}*250*{PIN}")
    assert sent.startswith("END ")
    assert desk.stages["KE"].has(baraka, "wallet") == 250_00
    assert "Baraka Juma" in await press(amina.phone, "b", "6*3")
    assert (await press(amina.phone, "b", f"6*3*{PIN}")).startswith("END ")
    assert desk.stages["KE"].held(baraka, "wallet") == 250_00
    assert "Amina Otieno" in await press(baraka.phone, "c", "6*4")


async def test_only_who_may_be_played_shows_her_messages(desk: Desk):
    amina = desk.customer("Amina")
    hidden = desk.stages["KE"].customer("Not to be played").phone
    ghana = desk.customer("Kofi", market="GH").phone
    for market, phone in (("KE", hidden), ("GH", hidden), ("GH", amina.phone), ("KE", ghana)):
        desk.toys.inboxes[market, phone] = [Text(at=desk.clock.now(), text="secret")]
        answer = await desk.get(f"/handset/{market}/inbox?phone={phone}", accept="*/*")
        assert "secret" not in answer.text
        assert answer.status_code in {400, 404}
    unplayed = await desk.get(f"/handset/KE/inbox?phone={hidden}", accept="*/*")
    assert unplayed.status_code == 404
    assert (await desk.get("/handset/XX/inbox?phone=1", accept="*/*")).status_code == 404
    assert (await desk.get(f"/handset/KE/inbox?phone={amina.phone}")).json() == []


async def test_in_production_the_handset_tells_nothing_to_anybody(opened: Opened):
    desk = opened(is_sandbox=False)
    phone = desk.customer("Amina").phone
    for path in ("/handset", "/handset/KE", f"/handset/KE/inbox?phone={phone}"):
        assert (await desk.get(path, accept="application/json")).status_code == 404


async def test_the_page_has_no_person_in_it_and_what_tells_of_people_is_no_page(desk: Desk):
    """Names come as JSON and are written as text: nothing that a name holds is ever markup."""
    desk.customer("<img src=x onerror=alert(1)>")
    assert "onerror" not in (await desk.get("/handset?market=KE")).text
    about = await desk.get("/handset/KE")
    assert about.headers["content-type"] == "application/json"
    assert about.headers["x-content-type-options"] == "nosniff"
    assert about.headers["cache-control"] == "no-store"
    script = (STATIC / "handset.js").read_text("utf-8")
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", script) == []


def test_what_was_made_from_others_work_is_named_and_unchanged():
    named = json.loads((STATIC / "vendored.json").read_text("utf-8"))
    assert [each["file"] for each in named] == ["africa.svg"]
    for each in named:
        made = (STATIC / each["file"]).read_bytes()
        assert hashlib.sha256(made).hexdigest() == each["sha256"]
        assert len(made) < 60_000
        assert "ISC" in each["made_from"]
        assert "public domain" in each["made_from"]
