"""Every screen in every language with the longest that may stand on it: 160 characters, no less.

A customer's name has 80 letters, a reference 40, an amount 15 digits with its cents; the prices
are those of a market whose bands have no end.
"""

import re
import shutil
from pathlib import Path

import msgspec
import pytest

from umoja.channels.ussd import DECLINED
from umoja.channels.ussd_menus import FLOWS, MENUS
from umoja.markets import packs
from umoja.markets.texts import SCREEN_MAX, Texts, characters, segments

TEXTS = Texts.load()
LANGUAGES = sorted(TEXTS.catalogues)
BODY = SCREEN_MAX - len("CON ")

LONG_NAME = "Wolde-Giyorgis Tekle-Haymanot Mohammed-Abdurrahman Ntombizodwa Rakotomalala-Sithe"[:80]
REFERENCE = "ACCOUNT-1234567890-ABCDEFGHIJKLMNOPQRSTU"
AMOUNT = "9999999999999"
WRITTEN = "KES 9,999,999,999,999"
FEE = "KES 50,000,000,000"
TOTAL = "KES 10,049,999,999,999"
USUAL = ("250000", "KES 250,000", "KES 1,250", "KES 251,250")


@pytest.fixture
def vast(handset_of, monkeypatch, tmp_path: Path):
    """A market in which any amount may be paid, at half a percent."""
    folder = Path(shutil.copytree(packs.PACKS / "KE", tmp_path / "packs" / "KE"))
    prices = (folder / "tariffs.yaml").read_text(encoding="utf-8")
    prices = re.sub(
        r"(    bands:\n)(?:      \S+ - \S+: \S+\n)+", rf"\1      1 - {AMOUNT}: 0.5%\n", prices
    )
    prices = re.sub(r"    fee_max: .*\n", "", prices)
    (folder / "tariffs.yaml").write_text(prices, encoding="utf-8")
    limits = (folder / "limits.yaml").read_text(encoding="utf-8")
    limits = re.sub(r"(per_transaction|daily|balance): \d+", r"\1: none", limits)
    (folder / "limits.yaml").write_text(limits, encoding="utf-8")
    monkeypatch.setattr(packs, "PACKS", folder.parent)
    return handset_of("KE")


def long_people(vast, language: str):
    stage, most = vast.stage, int(AMOUNT) * 100
    payer = vast.customer(LONG_NAME, language=language)
    friend = vast.customer(LONG_NAME[::-1].strip(), language=language)
    for _ in range(3):
        stage.give_money(payer, most)
    outlet = vast.outlet(float_minor=most, language=language)
    stage.give_float(outlet, most)
    outlet = vast.speaks(msgspec.structs.replace(outlet, name=LONG_NAME), language)
    shop = stage.organisation()
    stage.store.update(msgspec.structs.replace(shop, name=LONG_NAME))
    return payer, friend, outlet, shop


@pytest.mark.parametrize(
    ("amount", "written", "fee", "total"), [USUAL, (AMOUNT, WRITTEN, FEE, TOTAL)]
)
@pytest.mark.parametrize("language", LANGUAGES)
async def test_every_question_about_money_shows_amounts_in_full(
    vast, language, amount, written, fee, total
):
    payer, friend, outlet, shop = long_people(vast, language)
    other = vast.outlet()
    pin = TEXTS.say(language, "ask.pin_confirm")
    operator = TEXTS.say(language, "ask.pin_operator")
    back = TEXTS.say(language, "item.back")
    for place, (who, *keys) in enumerate(
        [
            (payer, "1", friend.phone, amount),
            (payer, "2", outlet.agent_code, amount),
            (payer, "3", shop.till, amount),
            (payer, "4", shop.paybill, REFERENCE, amount),
            (payer, "5", "2", friend.phone, amount),
            (outlet, "1", friend.phone, amount),
            (outlet, "4", other.agent_code, amount),
        ]
    ):
        flow = ("send", "withdraw", "till", "bill", "airtime", "deposit", "float")[place]
        session = f"{flow}-{language}"
        shown = await vast.dial(who, *keys, session=session)
        wrong = await vast.dial(who, *keys, "x", session=session)
        for screen in (shown, wrong):
            assert screen.startswith("CON "), (flow, screen)
            assert written in screen, (flow, screen)
            if flow in {"send", "withdraw", "bill"}:
                assert fee in screen, (flow, screen)
                assert total in screen, (flow, screen)
        assert shown.endswith(f"\n{operator if who is outlet else pin}\n{back}"), (flow, shown)
        # What was wrong is told too, unless it would push an amount off the screen.
        if amount != AMOUNT:
            assert TEXTS.say(language, "note.pin_form", digits="4") in wrong, (flow, wrong)
        # Leave the session, so that the next one is not asked to go on with it.
        await vast.dial(who, *keys, "00", session=session)
    assert max(map(characters, vast.seen)) <= SCREEN_MAX


@pytest.mark.parametrize("language", LANGUAGES)
async def test_every_other_screen_fits(vast, language):
    payer, friend, outlet, _ = long_people(vast, language)
    stage, number = vast.stage, 0

    async def dial(who, *keys):
        nonlocal number
        number += 1
        screen = await vast.dial(who, *keys, session=f"{language}-{number}")
        if screen.startswith("CON"):
            await vast.dial(who, *keys, "00", session=f"{language}-{number}")
        return screen

    paid = await dial(payer, "1", friend.phone, AMOUNT, "1357")
    assert paid.startswith("END ")
    assert WRITTEN in paid
    assert FEE in paid
    asked = await dial(payer, "6", "3")
    assert WRITTEN in asked
    assert WRITTEN in await dial(payer, "6", "3", "1357")
    assert WRITTEN in await dial(friend, "6", "4")
    assert WRITTEN in await dial(friend, "6", "4", "2", "1357")
    for who in (payer, friend):
        assert "999" in await dial(who, "6", "1", "1357")
        assert "999" in await dial(who, "6", "2", "1357")
    for key in ("1", "2", "3", "4", "5", "6"):
        for who in (payer, outlet):
            for wrong in ((), ("x",), ("x", "y"), ("9" * 60,)):
                await dial(who, key, *wrong)
    await dial(payer, "6", "6", "1357", "8642", "8643")
    fresh = vast.speaks(stage.customer(LONG_NAME), language)
    for keys in ((), ("1",), ("8642", "8643"), ("8642",)):
        await dial(fresh, *keys)
    assert max(map(characters, vast.seen)) <= SCREEN_MAX


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_of_a_screen_has_to_be_cut(language):
    """What is cut off at the end of a screen is lost: only names and references give way."""
    fields = {
        "amount": WRITTEN,
        "fee": FEE,
        "total": TOTAL,
        "balance": TOTAL,
        "name": "N" * 32,
        "phone": "254712345678",
        "reference": "R" * 40,
        "when": "31/12 23:59",
        "receipt": "ABCDEFGHIJ",
        "currency": "KES",
        "digits": "6",
        "brand": "Vodafone Cash",
        "example": "1234567890",
        "step": "KES 1",
        "code": "*150*00#",
    }
    entries = TEXTS.catalogues[language].entries
    for key, entry in entries.items():
        kind = key.partition(".")[0]
        if kind not in {"ask", "confirm", "done", "note", "end", "refused", "item", "word"}:
            continue
        used = {name: fields[name] for name in entry.fields}
        shrink = [name for name in ("name", "reference") if name in used]
        text = TEXTS.fit(language, key, limit=BODY, shrink=shrink, **used)
        assert characters(text) <= BODY, key
        for name in entry.fields - {"name", "reference"}:
            assert used[name] in text, (key, name)
        parts = re.split(r"\{[a-z_]+\}", entry.text)
        assert all(part in text for part in parts), (key, text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_menu_question_and_refusal_has_words_in_every_language(language):
    entries = TEXTS.catalogues[language].entries
    for menu, items in MENUS.items():
        lines = [f"{place} {entries[f'item.{item}'].text}" for place, item in enumerate(items, 1)]
        head = {"resume": entries["ask.resume"].text, "account": ""}.get(menu, "Vodafone Cash")
        lines = [head, *lines, *([entries["item.back"].text] if menu == "account" else [])]
        longest_note = entries["note.choice"].text
        assert characters("\n".join([longest_note, *lines])) <= BODY + 40, (menu, "room for a note")
        assert characters("\n".join(lines)) <= BODY, menu
    for flow, questions in FLOWS.items():
        for name in questions:
            word = {"customer": "phone", "says": "whose", "old_pin": "pin_old"}.get(name, name)
            word = {"new_pin": "pin_new", "again": "pin_again"}.get(word, word)
            assert f"ask.{word}" in entries, flow
    assert {f"{key}" for key in DECLINED.values()} <= entries.keys()


def test_scripts_that_take_two_bytes_are_counted_in_characters():
    """A screen may have 160 characters in every script; messages in most of them hold 70."""
    assert characters("ሰላም") == 3
    assert segments("a" * 160) == 1
    assert segments("ሰ" * 70) == 1
    assert segments("ሰ" * 71) == 2
