"""The handset: who may be played, what has arrived, and the callback that it dials."""

from datetime import timedelta

import pytest

from tests.console.conftest import PIN, Desk, told
from umoja.console.handset import INBOX_SHOWN, pin_prompts
from umoja.console.sandbox import Text
from umoja.markets import packs
from umoja.markets.texts import Texts


async def test_the_page_offers_every_market_and_two_phones(desk: Desk):
    page = (await desk.get("/handset?market=KE")).text
    assert '<option value="KE" selected>Kenya</option>' in page
    assert '<option value="GH">Ghana</option>' in page
    assert page.count("data-side=") == 2
    assert page.count('data-press="') == 2 * 15
    assert "script" in told(page)  # what is said where there is none


async def test_it_tells_who_may_be_played_and_what_to_dial(desk: Desk):
    amina = desk.customer('<b>Amina</b> "A"')
    about = (await desk.get("/handset/KE")).json()
    assert about["ussd"] == desk.stages["KE"].market.ussd_code
    assert (about["code"], about["name"], about["zone"]) == ("KE", "Kenya", "Africa/Nairobi")
    assert about["phones"] == [
        {
            "name": '<b>Amina</b> "A"',
            "phone": amina.phone,
            "role": "customer",
            "pin": PIN,
            "code": "",
        }
    ]
    assert (await desk.get("/handset/GH")).json()["phones"] == []


async def test_the_inbox_has_the_last_messages_of_one_phone(desk: Desk):
    amina, baraka = desk.customer("Amina"), desk.customer("Baraka")
    desk.toys.inboxes["KE", amina.phone] = [
        Text(at=desk.clock.now() + timedelta(seconds=place), text=f"message {place}")
        for place in range(INBOX_SHOWN + 5)
    ]
    found = (await desk.get(f"/handset/KE/inbox?phone=%2B{amina.phone}")).json()
    assert len(found) == 30
    assert found[0] == {"at": "2026-03-10T09:00:05Z", "text": "message 5"}
    assert found[-1]["text"] == "message 34"
    assert (await desk.get(f"/handset/KE/inbox?phone={baraka.phone}")).json() == []


@pytest.mark.parametrize("phone", ["", "x", "1" * 40, "%00", "++", "%F0%9F%98%80"])
async def test_a_number_that_is_none_is_refused(desk: Desk, phone: str):
    answer = await desk.get(f"/handset/KE/inbox?phone={phone}", accept="application/json")
    assert answer.status_code == 400
    assert answer.text == "That could not be read"


async def test_what_the_page_s_script_sends_is_a_gateway_s_callback(desk: Desk):
    amina, baraka = desk.customer("Amina Otieno", money=100_000), desk.customer("Baraka Juma")
    ussd = desk.stages["KE"].market.ussd_code
    typed: list[str] = []
    screens = []
    for key in ("", "1", f"+{baraka.phone}", "250", PIN):
        typed += [key] if key else []
        fields = {
            "sessionId": "s1",
            "serviceCode": ussd,
            "phoneNumber": f"+{amina.phone}",
            "text": "*".join(typed),
        }
        screens.append((await desk.http.post("/ussd/KE", data=fields)).text)
    assert [screen[:3] for screen in screens] == ["CON", "CON", "CON", "CON", "END"]
    prompts = pin_prompts(Texts.load(), desk.stages["KE"].market)
    asks = [any(prompt in screen for prompt in prompts) for screen in screens]
    assert asks == [False, False, False, True, False]  # only there the typed digits are hidden
    assert desk.stages["KE"].has(baraka, "wallet") == 250_00


@pytest.mark.parametrize("code", packs.codes())
def test_in_every_market_a_question_for_the_pin_is_known(code: str):
    market, texts = packs.load(code), Texts.load()
    prompts = pin_prompts(texts, market)
    for language in texts.offered(market):
        for key, entry in texts.catalogues[language].entries.items():
            asks = any(prompt in entry.text for prompt in prompts)
            if key.startswith("ask.pin"):
                assert asks, (language, key)
            elif key.startswith(("ask.", "root.", "menu.", "item.")):
                assert not asks, (language, key)
