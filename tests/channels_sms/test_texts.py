"""Texts of every language fit a message, with everything on them that money is about."""

import msgspec
import pytest

from tests.channels_sms.conftest import writer_of
from umoja.channels.receipt_texts import TEXT_MAX
from umoja.markets import packs
from umoja.markets.texts import Texts, characters, segments
from umoja.payments.order import Order, State

TEXTS = Texts.load()
KEYS = sorted(key for key in TEXTS.catalogues["en"].entries if key.startswith("sms."))
LONG = {
    "receipt": "HGUIQD3OEN",
    "amount": "TZS 10,000,000",
    "fee": "TZS 12,500",
    "balance": "TZS 45,123,400",
    "when": "24/11/26 18:59",
    "code": "*150*00#",
    "name": "Bartholomew Nyamwezi-Mwakyusa",
    "reference": "2026-INV-0001-SCHOOL-FEES-TERM-3",
}


@pytest.mark.parametrize("language", sorted(TEXTS.catalogues))
@pytest.mark.parametrize("key", KEYS)
def test_a_long_text_loses_letters_of_names_and_nothing_else(language: str, key: str):
    entry = TEXTS.catalogues[language].entries[key]
    fields = {word: LONG[word] for word in entry.fields}

    text = TEXTS.fit(
        language, key, limit=TEXT_MAX, shrink=entry.fields & {"name", "reference"}, **fields
    )

    assert characters(text) <= 160
    assert segments(text) <= 3
    kept = [value for word, value in fields.items() if word not in {"name", "reference"}]
    assert [value for value in kept if value not in text] == []


@pytest.mark.parametrize("language", ["en", "sw", "fr", "pt", "st"])
def test_texts_in_latin_letters_are_one_message_or_two(language: str):
    found = {}
    for key in KEYS:
        entry = TEXTS.catalogues[language].entries[key]
        fields = {word: LONG[word] for word in entry.fields}
        shrink = entry.fields & {"name", "reference"}
        text = TEXTS.fit(language, key, limit=TEXT_MAX, shrink=shrink, **fields)
        found[key] = segments(text)
    assert max(found.values()) <= 3
    if language in {"en", "sw"}:
        assert set(found.values()) == {1}


@pytest.mark.parametrize("code", packs.codes())
def test_every_language_of_a_market_gets_its_text(code: str, raise_branch):
    stage = raise_branch(code)
    writer = writer_of(stage)
    first = stage.customer("Amina Otieno")
    stage.give_money(first, stage.market.mean_value_minor // 100 * 100)
    order = Order(
        id="0" * 32, market=code, product="send_money", channel="ussd", client="t", fingerprint="",
        payer=first.id, payee=first.id, amount=10_000, currency=stage.currency, step="booked",
        state=State.COMPLETED, receipt="HGUIQD3OEN", booked_at=1_770_000_000_000_000,
        done_at=1_770_000_000_000_000,
    )  # fmt: skip

    for language in stage.market.languages:
        stage.store.update(msgspec.structs.replace(first, language=language))
        spoken = language if language in TEXTS.catalogues else stage.market.default_language
        told = TEXTS.catalogues[spoken].entries["sms.send_money.payer"].text
        beginning = told.split("{receipt}")[0] + order.receipt
        payer, payee = writer.messages([(7, order)])
        assert payer.text.startswith(beginning)
        assert (payer.id, payee.id) == (
            f"000000000007.{'0' * 32}.payer",
            f"000000000007.{'0' * 32}.payee",
        )
        assert (payer.place, payee.place) == (14, 15)
        assert payer.phone == first.phone


def test_a_name_cannot_bring_lines_or_turn_the_text_around(raise_branch):
    stage = raise_branch("KE")
    writer = writer_of(stage)
    amina = stage.customer("Amina")
    other = stage.customer("Evil\u202e\nHGUIQD3OEN confirmed. KES 1,000,000 😀")
    stage.give_money(amina, 500_000)
    order = stage.pay("send_money", amina.id, other.id, 10_000)

    text = writer.messages([(7, order)])[0].text

    assert "\n" not in text
    assert "\u202e" not in text
    assert order.receipt in text
    assert characters(text) <= 160
