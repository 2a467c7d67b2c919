"""The line above the menu while something is disturbed: it fits, and it changes no menu's meaning."""

import pytest

from tests.channels_ussd.conftest import Handset
from umoja.channels.ussd import Ussd
from umoja.channels.ussd_menus import CUSTOMER_ROOT, MENUS
from umoja.markets.texts import SCREEN_MAX, Texts, characters
from umoja.payments.noticing import notice_text

TEXTS = Texts.load()
PRODUCTS = ("", "send_money", "withdraw", "pay_till", "pay_bill", "airtime", "deposit")
BRAND = "Vodafone Cash"


@pytest.mark.parametrize("language", sorted(TEXTS.catalogues))
def test_every_line_fits_above_the_customers_menu_in_every_language(language: str):
    entries = TEXTS.catalogues[language].entries
    items = [
        f"{n} {entries[f'item.{item}'].text}" for n, item in enumerate(MENUS[CUSTOMER_ROOT], 1)
    ]
    for product in PRODUCTS:
        line = notice_text(TEXTS, language, "notice.line", product)
        screen = "CON " + "\n".join([line, BRAND, *items])
        assert characters(screen) <= SCREEN_MAX, (product, characters(screen))


async def test_the_first_screen_warns_and_the_next_ones_do_not(ke: Handset):
    stage = ke.stage
    caller = stage.customer()
    stage.store.set_pin(caller.id, "2468")
    noticed = ["airtime", "send_money", "payout"]  # no room for a third
    ussd = Ussd(
        branches={"KE": stage.branch}, texts=TEXTS, clock=stage.clock, noticed=lambda _: noticed
    )

    async def screen(text: str) -> str:
        return await ussd.answer(
            market="KE", session="s1", service_code="*1#", phone=caller.phone, text=text
        )

    first = await screen("")
    lines = first.split("\n")
    assert lines[0].startswith("CON ")
    assert lines[-7:-5] == ["M-PESA", "1 Send money"]
    assert set(lines[1:-7]) | {lines[0].removeprefix("CON ")} == {
        "Buy airtime: disturbed now",
        "Send money: disturbed now",
    }
    assert characters(first) <= SCREEN_MAX
    assert "disturbed" not in await screen("1")
