"""Traffic has the day's shape in the market's own time, its mix, and is the same for the same seed."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta

import pytest

from umoja.clock import to_micros
from umoja.markets import packs
from umoja.markets.busy import day_factor
from umoja.payments.catalogue import PRODUCTS
from umoja.simulator.population import plan
from umoja.simulator.traffic import (
    SLICE_US,
    Slip,
    expected_per_second,
    habits_of,
    intents,
)

CODES = packs.codes()


def slice_at(moment: datetime) -> int:
    return to_micros(moment) // SLICE_US


def usual_day(market) -> date:
    """Return a day without season, payday, weekend or holiday."""
    day = date(2026, 1, 1)
    while day_factor(market, day) != 1:
        day += timedelta(days=1)
    return day


@pytest.mark.parametrize("code", CODES)
def test_a_usual_day_has_its_average_and_a_busy_evening_and_a_quiet_night(code: str):
    market = packs.load(code)
    begins = datetime.combine(usual_day(market), datetime.min.time(), market.zone)
    minutes = [begins + timedelta(minutes=n) for n in range(24 * 60)]

    rates = [expected_per_second(market, minute, 10.0) for minute in minutes]

    assert 9.9 < sum(rates) / len(rates) < 10.1
    assert min(rates) > 0
    assert max(rates) < 25
    night, evening = rates[3 * 60 + 30], rates[19 * 60 + 30]
    assert evening > 10 * night


def test_the_curve_is_of_the_market_s_local_time():
    first, second = packs.load("GH"), packs.load("KE")  # three hours apart
    noon = datetime(2026, 2, 10, 3, 0, tzinfo=UTC)
    assert expected_per_second(first, noon, 1.0) < 0.2
    assert expected_per_second(second, noon, 1.0) > 0.5


@pytest.mark.parametrize(
    ("code", "day", "factor"),
    [
        ("KE", date(2026, 2, 10), 1.0),
        ("KE", date(2026, 2, 14), 0.9),  # a Saturday
        ("KE", date(2026, 2, 15), 0.9 * 1.15),  # a Sunday that is a payday
        ("KE", date(2026, 12, 24), 1.6),  # Christmas shopping
        ("KE", date(2026, 12, 25), 1.15 * 0.85),
        ("EG", date(2026, 3, 16), 1.6),  # before Eid, inside Ramadan
        ("EG", date(2026, 2, 6), 0.9),  # a Friday
    ],
)
def test_paydays_seasons_weekends_and_holidays_count(code: str, day: date, factor: float):
    assert day_factor(packs.load(code), day) == pytest.approx(factor)


@pytest.mark.parametrize("code", CODES)
def test_a_slice_is_the_same_for_the_same_seed_and_another_for_another(code: str):
    market = packs.load(code)
    people = plan(market, customers=60, seed=7)
    habits = habits_of(market, people, average=5.0)
    number = slice_at(datetime(2026, 3, 10, 15, 0, tzinfo=UTC))

    def planned(number: int, seed: int):
        return intents(market, people, habits, number=number, average=5.0, seed=seed)

    assert planned(number, 7) == planned(number, 7) != []
    assert planned(number, 8) != planned(number, 7) != planned(number + 1, 7)
    times = [intent.after_s for intent in planned(number, 7)]
    assert times == sorted(times)
    assert 0 < times[0] < times[-1] < 10


@pytest.mark.parametrize("code", CODES)
def test_intents_are_of_the_market_s_mix_and_amounts_that_it_takes(code: str):
    market = packs.load(code)
    people = plan(market, customers=300, seed=7)
    habits = habits_of(market, people, average=0.05)
    first = slice_at(datetime(2026, 3, 10, 9, 0, tzinfo=UTC))

    found = [
        intent
        for number in range(first, first + 40)
        for intent in intents(market, people, habits, number=number, average=10.0, seed=7)
    ]

    assert 3_000 < len(found) < 9_000
    products = Counter(intent.product for intent in found)
    whole = sum(people.mix.values())
    for product, share in people.mix.items():
        assert abs(products[product] / len(found) - share / whole) < 0.03
    currencies = {currency.code: currency for currency in market.currencies}
    assert {intent.currency for intent in found} == set(currencies)
    for intent in found:
        assert intent.amount % currencies[intent.currency].step == 0
        service = PRODUCTS[intent.product].service
        assert intent.amount >= market.minimum(service=service, currency=intent.currency)
    slips = sum(intent.slip is not Slip.NONE for intent in found) / len(found)
    assert 0.015 < slips < 0.04
    usual = [
        intent.amount
        for intent in found
        if intent.currency == market.currencies[0].code and intent.product != "airtime"
    ]
    mean = sum(usual) / len(usual)
    assert 0.4 * habits.scale < mean / market.mean_value_minor < 2 * habits.scale


def test_few_people_with_much_traffic_pay_small_amounts_so_that_ceilings_last():
    market = packs.load("KE")
    people = plan(market, customers=100, seed=7)
    assert habits_of(market, people, average=0.1).scale == 1
    assert habits_of(market, people, average=10.0).scale == pytest.approx(0.04, abs=0.01)
    assert habits_of(market, people, average=1e9).scale == 0.02
