"""Each market's own rules, from its own pack, with the expected figures written out (minor units)."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from tests.stage import Stage
from umoja.clock import ManualClock
from umoja.markets.market import Service
from umoja.payments.order import Consent, Decline, Quote, Reverse


def at(year: int, month: int, day: int, hour: int = 9) -> ManualClock:
    return ManualClock(datetime(year, month, day, hour, tzinfo=UTC))


def taxes(order) -> dict[str, int]:
    return {line.tax: line.minor for line in order.price.taxes}


# A levy on the amount, above what is free each day


@pytest.mark.parametrize(
    ("clock", "levies"),
    [
        # 1.5 % of what passes 100 cedis a day
        (at(2022, 6, 1), [0, 75, 90]),
        # 1 %
        (at(2024, 6, 10), [0, 50, 60]),
        # abolished
        (at(2025, 4, 2), [0, 0, 0]),
    ],
    ids=["2022", "2024", "2025"],
)
def test_a_levy_takes_its_rate_of_what_passes_the_day_s_threshold(raise_stage, clock, levies):
    gh: Stage = raise_stage("GH", clock=clock)
    payer, payee = gh.customer(tier="medium"), gh.customer(tier="medium")
    gh.give_money(payer, 1_000_00)
    orders = [gh.pay("send_money", payer.id, payee.id, cedis * 100) for cedis in (100, 50, 60)]
    assert [order.price.on_top for order in orders] == levies
    assert gh.has(payer, "wallet") == 1_000_00 - 210_00 - sum(levies)
    assert gh.operator("taxes") == sum(levies)
    clock.advance(timedelta(days=1))
    assert gh.pay("send_money", payer.id, payee.id, 100_00).price.on_top == 0
    assert gh.breaches() == ()


def test_a_levy_goes_back_with_a_reversal(raise_stage):
    gh: Stage = raise_stage("GH", clock=at(2024, 6, 10))
    payer, payee = gh.customer(tier="medium"), gh.customer(tier="medium")
    gh.give_money(payer, 1_000_00)
    order = gh.pay("send_money", payer.id, payee.id, 300_00)
    assert order.price.on_top == 200
    gh.desk.submit_now([Reverse(order=order.id, payer=payer.id, client="t", channel="ussd")])
    gh.desk.submit_now([Consent(order=order.id, payee=payee.id, says_yes=True)])
    assert gh.has(payer, "wallet") == 1_000_00
    assert gh.operator("taxes") == 0
    # The threshold is free again, too.
    assert gh.pay("send_money", payer.id, payee.id, 100_00).price.on_top == 0


def test_a_levy_by_bands_is_on_top_of_the_fee(raise_stage):
    tz: Stage = raise_stage("TZ", clock=at(2021, 10, 1))
    payer, payee = tz.customer(), tz.customer()
    digits = 10 ** tz.market.currencies[0].digits
    tz.give_money(payer, 100_000 * digits)
    order = tz.pay("send_money", payer.id, payee.id, 10_000 * digits)
    assert order.decline is None
    assert order.price.fee == 350 * digits
    assert order.price.on_top == 224 * digits
    assert order.total == 10_574 * digits


# Percentages with a floor and a cap


@pytest.mark.parametrize(
    ("amount", "fee"),
    [
        (5_00, 50),
        (50_00, 50),
        (50_01, 50),
        (51_00, 51),
        (100_00, 1_00),
        (1_000_00, 10_00),
        (2_000_00, 10_00),
    ],
)
def test_one_percent_has_a_floor_and_a_cap(raise_stage, amount, fee):
    gh: Stage = raise_stage("GH")
    payer, outlet = gh.customer(), gh.outlet()
    gh.give_money(payer, 3_000_00)
    quote = gh.desk.quote(
        product="withdraw", payer=payer.id, payee=outlet.id, amount=amount, currency="GHS"
    )
    assert isinstance(quote, Quote), quote
    assert quote.price.fee == fee


# Quotas


def test_the_first_transfer_of_a_month_is_free(raise_stage):
    eg: Stage = raise_stage("EG", clock=at(2026, 3, 30))
    payer, payee = eg.customer(), eg.customer()
    eg.give_money(payer, 5_000_00)
    fees = [eg.pay("send_money", payer.id, payee.id, 100_00).price.fee for _ in range(3)]
    assert fees == [0, 1_00, 1_00]
    eg.clock.advance(timedelta(days=2))
    fees = [eg.pay("send_money", payer.id, payee.id, 100_00).price.fee for _ in range(2)]
    assert fees == [0, 1_00]


def test_a_plan_prices_what_its_quota_holds_and_the_usual_price_the_rest(raise_stage):
    eg: Stage = raise_stage("EG")
    payer, outlet = eg.customer(), eg.outlet()
    payer = msgspec.structs.replace(payer, plan="cash_out_bundle")
    eg.store.update(payer)
    eg.give_money(payer, 20_000_00)
    first = eg.pay("withdraw", payer.id, outlet.id, 3_000_00)
    second = eg.pay("withdraw", payer.id, outlet.id, 2_500_00)
    assert (first.price.fee, first.price.fee_tariff) == (5_00, "eg.withdraw_agent.bundle")
    assert (second.price.fee, second.price.fee_tariff) == (25_00, "eg.withdraw_agent")


# Two currencies


def test_two_currencies_are_kept_apart_and_count_in_one_limit(raise_stage):
    cd: Stage = raise_stage("CD")
    payer, payee = cd.customer(tier="lite"), cd.customer(tier="premium")
    cd.give_money(payer, 90_00)
    for _ in range(2):
        cd.give_money(payer, 200_000_00, currency="CDF")
    sent = cd.pay("send_money", payer.id, payee.id, 60_00, currency="USD")
    assert (sent.price.fee, taxes(sent)) == (10, {"cd.vat": 1})
    # 20,000 francs are 7.20 dollars at 2,778: rounded up to the cent.
    francs = cd.pay("send_money", payer.id, payee.id, 20_000_00, currency="CDF")
    assert (francs.price.fee, taxes(francs)) == (150_00, {"cd.vat": 2_069})
    assert cd.desk.used(payer.id, Service.SEND_ON_NET).day_value == 60_00 + 7_20
    # 91,000 francs would be 32.76 dollars: together 99.96; 92,000 would pass the 100 a day.
    over = cd.pay("send_money", payer.id, payee.id, 92_000_00, currency="CDF")
    assert over.decline is Decline.LIMIT_DAILY
    assert cd.pay("send_money", payer.id, payee.id, 91_000_00, currency="CDF").receipt
    assert cd.has(payee, "wallet", "USD") == 60_00
    assert cd.has(payee, "wallet", "CDF") == 111_000_00
    assert cd.breaches() == ()


@pytest.mark.parametrize(
    ("code", "currency", "fine", "whole"),
    [
        ("KE", "KES", 100_50, 100_00),
        ("CD", "CDF", 1_000_50, 1_000_00),
        ("TZ", "TZS", 1_000_50, 1_000_00),
    ],
)
def test_people_pay_in_whole_steps(raise_stage, code, currency, fine, whole):
    stage: Stage = raise_stage(code)
    payer, payee = stage.customer(), stage.customer()
    stage.give_money(payer, 10_000_00, currency=currency)
    precise = stage.pay("send_money", payer.id, payee.id, fine, currency=currency)
    assert precise.decline is Decline.AMOUNT_TOO_PRECISE
    assert stage.pay("send_money", payer.id, payee.id, whole, currency=currency).receipt


# Taxes on top, nested limits, exempt parties


def test_a_tax_on_top_of_the_fee_is_paid_beside_it(raise_stage):
    et: Stage = raise_stage("ET")
    payer, payee = et.customer(tier="level2"), et.customer(tier="level2")
    et.give_money(payer, 10_000_00)
    order = et.pay("send_money", payer.id, payee.id, 1_000_00)
    assert (order.price.fee, order.price.on_top) == (2_00, 30)
    assert et.has(payer, "wallet") == 10_000_00 - 1_000_00 - 2_30
    assert (et.operator("fees"), et.operator("taxes")) == (2_00, 30)


def test_sending_has_a_limit_inside_the_day_s_limit(raise_stage):
    et: Stage = raise_stage("ET")
    payer, payee, shop = et.customer(tier="level2"), et.customer(tier="level2"), et.organisation()
    for _ in range(2):
        et.give_money(payer, 70_000_00)
    assert et.pay("send_money", payer.id, payee.id, 74_000_00).receipt
    over = et.pay("send_money", payer.id, payee.id, 1_001_00)
    assert over.decline is Decline.LIMIT_DAILY
    assert et.pay("pay_till", payer.id, shop.id, 1_001_00).receipt


def test_an_exempt_bill_is_paid_beyond_the_limit(raise_stage):
    et: Stage = raise_stage("ET")
    payer = et.customer(tier="level1")
    water, shop = et.organisation(category="utilities"), et.organisation(category="shop")
    et.give_money(payer, 1_000_00)
    for _ in range(3):
        et.give_money(payer, 8_000_00)
        assert et.pay("pay_bill", payer.id, water.id, 8_000_00, reference="meter").receipt
    et.give_money(payer, 8_000_00)
    refused = et.pay("pay_bill", payer.id, shop.id, 8_000_00, reference="meter")
    assert refused.decline is Decline.LIMIT_DAILY


@pytest.mark.parametrize(("clock", "withheld"), [(at(2025, 12, 31), 0), (at(2026, 1, 1), 50)])
def test_a_new_tax_on_commission_begins_on_its_day(raise_stage, clock, withheld):
    mz: Stage = raise_stage("MZ", clock=clock)
    customer, outlet = mz.customer(), mz.outlet()
    mz.give_float(outlet, 5_000_00)
    order = mz.pay("deposit", outlet.id, customer.id, 1_000_00)
    assert order.decline is None
    assert (order.price.commission, order.price.withheld) == (5_00, withheld)
    assert mz.has(outlet, "commission") == 5_00 - withheld


def test_old_limits_hold_on_old_days(raise_stage):
    for year, decline in ((2021, Decline.AMOUNT_TOO_LARGE), (2026, None)):
        gh: Stage = raise_stage("GH", clock=at(year, 6, 10))
        payer, payee = gh.customer(tier="minimum"), gh.customer(tier="medium")
        for _ in range(2):
            gh.give_money(payer, 900_00)
        assert gh.pay("send_money", payer.id, payee.id, 1_500_00).decline is decline


def test_a_minimum_is_of_its_service(raise_stage):
    et: Stage = raise_stage("ET")
    payer, payee, outlet = et.customer(), et.customer(), et.outlet()
    et.give_money(payer, 1_000_00)
    assert et.pay("send_money", payer.id, payee.id, 4_00).decline is Decline.AMOUNT_TOO_SMALL
    assert et.pay("send_money", payer.id, payee.id, 5_00).receipt
    assert et.pay("withdraw", payer.id, outlet.id, 49_00).decline is Decline.AMOUNT_TOO_SMALL


def test_a_thousand_a_day_were_free_for_a_while(raise_stage):
    clock = at(2020, 10, 8)
    mz: Stage = raise_stage("MZ", clock=clock)
    payer, payee = mz.customer(tier="level2"), mz.customer(tier="level2")
    mz.give_money(payer, 20_000_00)

    def fees(*meticais: int) -> list[int]:
        orders = [mz.pay("send_money", payer.id, payee.id, each * 100) for each in meticais]
        return [order.price.fee for order in orders]

    # 600 and 400 fill the day's thousand; the next one has its usual price.
    assert fees(600, 400, 100) == [0, 0, 1_00]
    clock.advance(timedelta(days=1))
    assert fees(1_001, 1_000) == [10_00, 6_00]
    # The measure was over on 10 October.
    clock.advance(timedelta(days=1))
    assert fees(600) == [6_00]
    assert mz.breaches() == ()


@pytest.mark.parametrize(
    ("clock", "most"),
    [(at(2020, 3, 29), 25_000_00), (at(2020, 3, 30), 50_000_00), (at(2024, 5, 1), 75_000_00)],
    ids=["before", "covid", "since"],
)
def test_a_ceiling_of_one_payment_changes_on_its_day(raise_stage, clock, most):
    mz: Stage = raise_stage("MZ", clock=clock)
    payer, payee = mz.customer(tier="level2"), mz.customer(tier="level3")
    for _ in range(4):
        mz.give_money(payer, 25_000_00)
    over = mz.pay("send_money", payer.id, payee.id, most + 1_00)
    assert over.decline is Decline.AMOUNT_TOO_LARGE
    assert mz.pay("send_money", payer.id, payee.id, most).receipt
