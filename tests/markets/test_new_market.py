"""A new market is a folder: blank it names each blank, filled in it passes and can price."""

from datetime import date
from pathlib import Path

import pytest

from umoja.markets import packs
from umoja.markets.market import Service
from umoja.markets.sheets import FILL_IN
from umoja.markets.show import tables
from umoja.payments.pricing import Item, price

ORIGIN = ("A price list on paper", "2026-11-01", "high")

ANSWERS = {
    "market.yaml": [
        *("ZMB", "Zambia", "Kwacha Money", "Kwacha Money Ltd", "-15.4", "28.3", *ORIGIN),
        *("ZMW", "'967'", "2", "1", *ORIGIN),
        *("en", "en", "Africa/Lusaka", "sat, sun", "no", *ORIGIN),
        *("'260'", "9", "9[567]\\d{7}", "96, 76", "'961234567'", *ORIGIN),
        *("'*303#'", *ORIGIN),
        *("4", "no", *ORIGIN),
        *("nrc, passport", *ORIGIN),
        *("5, 6", *ORIGIN),
        *("6", *ORIGIN),
        *("6", *ORIGIN),
        *("12", *ORIGIN),
        *("250", *ORIGIN),
    ],
    "limits.yaml": [
        *("Basic", "nrc", "ZMW", "5000", "10000", "20000", *ORIGIN),
        *("ZMW", "1", "10", *ORIGIN),
    ],
    "tariffs.yaml": [
        *("1 - 5000", "1%", *ORIGIN),
        *("10 - 5000", "2%", *ORIGIN),
        *("1 - 5000", "0", *ORIGIN),
        *("1 - 5000", "2", *ORIGIN),
        *("1 - 5000", "0.5%", *ORIGIN),
        *("1 - 5000", "0", *ORIGIN),
        *(5 * ORIGIN),
    ],
    "commissions.yaml": ["0.5%", *ORIGIN, "40%", *ORIGIN],
    "taxes.yaml": ["excise", "10%", "yes", *ORIGIN],
    "calendar.yaml": [
        *("25-31", *ORIGIN),
        *("'17:00 - 21:00'", "160%", *ORIGIN),
        *("2026-10-24", "Independence Day", *ORIGIN),
    ],
    "rules.yaml": ["24", *ORIGIN, "24", *ORIGIN],
    "gaps.yaml": [],
}
"""What somebody writes into the blanks of each file, from top to bottom."""


def filled(text: str, answers: list[str]) -> str:
    """Write the answers over the blanks; remarks are left as they are."""
    left = list(answers)
    lines = []
    for line in text.splitlines(keepends=True):
        if line.lstrip().startswith("#"):
            lines.append(line)
            continue
        words, mark, remark = line.partition("#")
        while FILL_IN in words:
            words = words.replace(FILL_IN, left.pop(0), 1)
        lines.append(words + mark + remark)
    assert left == []
    return "".join(lines)


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return packs.new("ZM", tmp_path)


def test_a_fresh_pack_names_each_blank(new):
    told = [str(fault) for fault in packs.check(new)]
    assert len(told) > 100
    assert "market.yaml / market: fill in 'iso3'" in told
    assert "market.yaml / short_codes / till: fill in 'digits'" in told
    assert "limits.yaml / tiers / basic: fill in 'name'" in told
    assert "tariffs.yaml / tariffs / zm.send_on_net: fill in the bands" in told
    assert "tariffs.yaml / tariffs / zm.bulk_payout: fill in 'source'" in told
    assert all("fill in" in each for each in told), [each for each in told if "fill" not in each]
    assert {each.split(" / ")[0] for each in told} == {
        *("market.yaml", "limits.yaml", "tariffs.yaml", "commissions.yaml"),
        *("taxes.yaml", "calendar.yaml", "rules.yaml"),
    }


def test_a_pack_that_was_filled_in_passes_and_prices(new):
    for file, answers in ANSWERS.items():
        path = new / file
        path.write_text(filled(path.read_text(encoding="utf-8"), answers), encoding="utf-8")

    assert [str(fault) for fault in packs.check(new)] == []
    market = packs.load("ZM", new.parent)
    item = Item(
        service=Service.WITHDRAW_AGENT, currency="ZMW", minor=50_000, day=date(2026, 11, 24)
    )
    assert price(market, item).fee == 1_000
    assert market.phone_number("+260 96 123 4567") == "260961234567"
    assert packs.placeholders(market) == ()
    assert tables(market, date(2026, 11, 24))[0].title == "Zambia (ZM)"


def test_a_folder_that_is_there_is_left_alone(new):
    (new / "taxes.yaml").write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError, match="ZM is there already: nothing was changed"):
        packs.new("ZM", new.parent)
    assert (new / "taxes.yaml").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("code", ["", "Z", "ZMB", "zm", "../X", "Z1", "ÉÉ"])
def test_a_code_is_two_capital_letters(tmp_path, code):
    with pytest.raises(ValueError, match="two capital letters"):
        packs.new(code, tmp_path)
    assert list(tmp_path.iterdir()) == []
