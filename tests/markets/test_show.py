"""The tables that people look at: what is in force on a day, and where it comes from."""

from datetime import date

import pytest

from umoja.markets import packs
from umoja.markets.show import Table, plain, tables


def table(code: str, day: date, title: str) -> Table:
    (found,) = [each for each in tables(packs.load(code), day) if each.title.startswith(title)]
    return found


@pytest.mark.parametrize(
    ("day", "fee", "tariff"),
    [
        (date(2023, 7, 28), "12", "ke.send_on_net.2021"),
        (date(2023, 7, 29), "13", "ke.send_on_net.2023"),
    ],
)
def test_prices_are_those_of_the_day(day, fee, tariff):
    rows = table("KE", day, "Prices").rows
    assert (tariff, "KES", "501", "1,000", fee) in rows
    assert {row[0] for row in rows if row[0].startswith("ke.send_on_net")} == {tariff}


@pytest.mark.parametrize(
    ("day", "taxes"),
    [
        (date(2018, 6, 30), [("ke.excise.2013", "10%")]),
        (date(2018, 7, 1), [("ke.excise.2018", "12%")]),
        (date(2023, 7, 29), [("ke.excise.2023", "15%")]),
    ],
)
def test_taxes_are_those_of_the_day(day, taxes):
    rows = table("KE", day, "Taxes").rows
    assert [(row[0], row[3]) for row in rows if row[1] == "excise"] == taxes


@pytest.mark.parametrize(
    ("day", "daily"),
    [(date(2020, 12, 31), "140,000"), (date(2021, 1, 1), "300,000"), (date(2026, 1, 1), "500,000")],
)
def test_limits_are_those_of_the_day(day, daily):
    found = table("KE", day, "Limits")
    assert [row[found.columns.index("daily")] for row in found.rows] == [daily]


def test_what_is_not_offered_is_said():
    rows = table("KE", date(2024, 3, 1), "Prices").rows
    assert ("ke.send_unregistered.closed", "KES", "", "", "not offered") in rows


def test_a_threshold_a_quota_and_a_cap_are_written_out():
    assert next(row[3] for row in table("GH", date(2024, 1, 1), "Taxes").rows) == (
        "1% above GHS 100 a day"
    )
    conditions = {row[0]: row[4] for row in table("EG", date(2026, 11, 24), "Tariffs").rows}
    assert conditions["eg.send_on_net"] == "free: first 1 payment a month"
    assert conditions["eg.withdraw_agent.bundle"] == (
        "first EGP 5,000 a month, then eg.withdraw_agent"
    )
    assert conditions["eg.withdraw_agent"] == "at least 3"
    assert {row[0]: row[4] for row in table("GH", date(2026, 11, 24), "Tariffs").rows}[
        "gh.withdraw_agent"
    ] == "at least 0.50; at most 10"


def test_invented_figures_are_marked():
    (row,) = [row for row in table("KE", date(2026, 11, 24), "Rules").rows if row[0] == "reversal"]
    assert row[3] == "placeholder"
    (row, *_) = [
        row for row in table("KE", date(2026, 11, 24), "Commissions").rows if row[0] == "ke.deposit"
    ]
    assert row[6] == "medium (placeholder: from 150001)"


@pytest.mark.parametrize("code", packs.codes())
@pytest.mark.parametrize("day", [date(2015, 1, 1), date(2026, 11, 24), date(2040, 1, 1)])
def test_every_market_can_be_shown_on_any_day(code, day):
    shown = tables(packs.load(code), day)
    for each in shown:
        assert all(len(row) == len(each.columns) for row in each.rows), each.title
    assert [each["title"] for each in plain(shown)] == [each.title for each in shown]
