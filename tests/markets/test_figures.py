"""What each market charges, taxes and pays its agents at every band's edge, written out in full.

The tables in `expected/` were worked out from the published figures, not from the packs: major
units, for somebody who has used nothing yet on that day or in that month.
"""

import csv
from datetime import date
from pathlib import Path

import pytest

from umoja.markets import packs
from umoja.markets.market import Service
from umoja.money import format_minor
from umoja.payments.order import Price
from umoja.payments.pricing import Item, price

EXPECTED = Path(__file__).parent / "expected"
CODES = ("CD", "EG", "ET", "GH", "KE", "LS", "MZ", "TZ")
EARNING = {Service.DEPOSIT_AGENT, Service.WITHDRAW_AGENT}
COLUMNS = ("fee", "payee_fee", "tax_inside", "tax_on_top", "commission", "withheld")


def rows_of(code: str) -> list[dict[str, str]]:
    with (EXPECTED / f"{code}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("code", CODES)
def test_every_edge_costs_what_is_written_here(code):
    market = packs.load(code)
    wrong = []
    for row in rows_of(code):
        digits = market.currency(row["currency"]).digits
        service = Service(row["service"])
        found = price(
            market,
            Item(
                service=service,
                currency=row["currency"],
                minor=market.money(row["amount"], row["currency"]).minor,
                day=date.fromisoformat(row["day"]),
                plan=row["plan"],
                earns_commission=service in EARNING,
            ),
        )
        if not isinstance(found, Price):
            wrong.append((row, found))
            continue
        lines = (*found.taxes, *found.payee_taxes)
        inside = sum(line.minor for line in lines if line.is_included)
        on_top = sum(line.minor for line in lines if not line.is_included)
        figures = (found.fee, found.payee_fee, inside, on_top)
        if service in EARNING:
            figures += (found.commission, found.withheld)
        told = dict(zip(COLUMNS, (_major(each, digits) for each in figures), strict=False))
        wanted = {name: row[name] for name in COLUMNS if row[name]}
        if told != wanted:
            wrong.append((row, told))
    assert wrong == []


def _major(minor: int, digits: int) -> str:
    text = format_minor(minor, digits=digits)
    return text.rstrip("0").rstrip(".") if "." in text else text


@pytest.mark.parametrize("code", CODES)
def test_every_edge_of_every_price_of_today_is_in_the_table(code):
    market = packs.load(code)
    today = date(2026, 11, 24)
    told = {
        (row["service"], row["currency"], row["plan"], row["amount"])
        for row in rows_of(code)
        if row["day"] == str(today)
    }
    missing = [
        (tariff.id, end)
        for tariff in market.tariffs
        if tariff.period.holds(today)
        for band in tariff.bands
        for end in (band.first, band.last)
        if (
            tariff.service.value,
            tariff.currency,
            tariff.plan,
            _major(end, market.currency(tariff.currency).digits),
        )
        not in told
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("code", "rows"),
    [
        ("CD", 142),
        ("EG", 48),
        ("ET", 81),
        ("GH", 57),
        ("KE", 326),
        ("LS", 82),
        ("MZ", 105),
        ("TZ", 315),
    ],
)
def test_no_table_lost_its_rows(code, rows):
    assert len(rows_of(code)) == rows
