"""The packs of the eight markets: each loads, says what the sources say, and can price."""

from datetime import UTC, date, datetime

import pytest

from umoja.markets import packs
from umoja.markets.market import (
    Confidence,
    FeePayer,
    Market,
    Notice,
    Service,
    Standing,
    TaxBase,
)
from umoja.money import Money
from umoja.payments.pricing import Item, price

CODES = ("CD", "EG", "ET", "GH", "KE", "LS", "MZ", "TZ")
TODAY = date(2026, 11, 24)


@pytest.fixture(scope="module")
def markets() -> dict[str, Market]:
    return {code: packs.load(code) for code in CODES}


def test_the_product_ships_eight_packs():
    assert packs.codes() == CODES


@pytest.mark.parametrize("code", CODES)
def test_a_pack_of_the_product_has_no_fault(code):
    assert [str(fault) for fault in packs.check(packs.PACKS / code)] == []


@pytest.mark.parametrize(
    ("code", "currencies", "dialling", "ussd", "pin", "zone", "weekend"),
    [
        ("KE", ["KES"], "254", "*334#", 4, "Africa/Nairobi", (5, 6)),
        ("TZ", ["TZS"], "255", "*150*00#", 4, "Africa/Dar_es_Salaam", (5, 6)),
        ("CD", ["USD", "CDF"], "243", "*1122#", 4, "Africa/Kinshasa", (5, 6)),
        ("MZ", ["MZN"], "258", "*150#", 4, "Africa/Maputo", (5, 6)),
        ("LS", ["LSL"], "266", "*111#", 4, "Africa/Maseru", (5, 6)),
        ("GH", ["GHS"], "233", "*110#", 4, "Africa/Accra", (5, 6)),
        ("EG", ["EGP"], "20", "*9#", 6, "Africa/Cairo", (4, 5)),
        ("ET", ["ETB"], "251", "*733#", 4, "Africa/Addis_Ababa", (5, 6)),
    ],
)
def test_a_market_is_told_by_its_pack(
    markets, code, currencies, dialling, ussd, pin, zone, weekend
):
    market = markets[code]
    assert [each.code for each in market.currencies] == currencies
    assert market.dialling_code == dialling
    assert market.ussd_code == ussd
    assert market.pin_digits == pin
    assert market.zones[0] == zone
    assert market.weekend == weekend


@pytest.mark.parametrize(
    "service",
    [
        Service.SEND_ON_NET,
        Service.WITHDRAW_AGENT,
        Service.DEPOSIT_AGENT,
        Service.PAY_MERCHANT,
        Service.PAY_BILL,
        Service.AIRTIME,
    ],
)
@pytest.mark.parametrize("code", CODES)
def test_every_market_prices_the_services_of_the_house_in_each_currency(markets, code, service):
    market = markets[code]
    for currency in market.currencies:
        tariffs = market.tariffs_for(service=service, currency=currency.code, day=TODAY)
        assert tariffs, currency.code
        assert all(tariff.is_offered and tariff.bands for tariff in tariffs), currency.code


@pytest.mark.parametrize("code", CODES)
def test_every_market_pays_agents_for_deposits_and_withdrawals(markets, code):
    market = markets[code]
    for currency in market.currencies:
        for service in (Service.DEPOSIT_AGENT, Service.WITHDRAW_AGENT):
            row = market.commission_for(service=service, currency=currency.code, day=TODAY)
            assert row is not None, (service, currency.code)
            assert row.bands or row.amount_millionths or row.fee_millionths


@pytest.mark.parametrize("code", CODES)
def test_every_market_has_tiers_short_codes_and_traffic(markets, code):
    market = markets[code]
    assert {"paybill", "till", "agent"} <= {each.kind for each in market.short_codes}
    assert market.tiers
    assert market.payments_a_second > 0
    assert market.mean_value_minor > 0
    assert market.identity_kinds
    for tier in market.tiers:
        for currency in market.currencies:
            assert market.ceiling(tier=tier.id, currency=currency.code) is not None


def test_only_one_market_reads_from_right_to_left_and_refuses_runs_in_pins(markets):
    assert [code for code in CODES if markets[code].is_right_to_left] == ["EG"]
    assert [code for code in CODES if markets[code].pin_rejects_runs] == ["EG"]


SENDING = [  # amounts and fees in shillings, as published on 29 July 2023
    (1, 0), (100, 0),
    (101, 7), (500, 7),
    (501, 13), (1000, 13),
    (1001, 23), (1500, 23),
    (1501, 33), (2500, 33),
    (2501, 53), (3500, 53),
    (3501, 57), (5000, 57),
    (5001, 78), (7500, 78),
    (7501, 90), (10000, 90),
    (10001, 100), (15000, 100),
    (15001, 105), (20000, 105),
    (20001, 108), (250000, 108),
]  # fmt: skip

WITHDRAWING = [
    (50, 11), (100, 11),
    (101, 29), (2500, 29),
    (2501, 52), (3500, 52),
    (3501, 69), (5000, 69),
    (5001, 87), (7500, 87),
    (7501, 115), (10000, 115),
    (10001, 167), (15000, 167),
    (15001, 185), (20000, 185),
    (20001, 197), (35000, 197),
    (35001, 278), (50000, 278),
    (50001, 309), (250000, 309),
]  # fmt: skip


@pytest.mark.parametrize(("shillings", "fee"), SENDING)
def test_sending_costs_what_was_published_at_each_edge(markets, shillings, fee):
    found = price(
        markets["KE"],
        Item(service=Service.SEND_ON_NET, currency="KES", minor=shillings * 100, day=TODAY),
    )
    assert (found.fee, found.payee_fee) == (fee * 100, 0)


@pytest.mark.parametrize(("shillings", "fee"), WITHDRAWING)
def test_withdrawing_costs_what_was_published_at_each_edge(markets, shillings, fee):
    found = price(
        markets["KE"],
        Item(service=Service.WITHDRAW_AGENT, currency="KES", minor=shillings * 100, day=TODAY),
    )
    assert (found.fee, found.payee_fee) == (fee * 100, 0)


def test_the_shared_bill_plan_adds_up_to_the_whole_fee_in_every_band(markets):
    def bands(plan: str, payer: FeePayer) -> list[tuple[int, int, int]]:
        (tariff,) = [
            each
            for each in markets["KE"].tariffs_for(
                service=Service.PAY_BILL, currency="KES", plan=plan, day=TODAY
            )
            if each.payer is payer
        ]
        return [(band.first, band.last, band.fee) for band in tariff.bands]

    whole = bands("business_bouquet", FeePayer.CUSTOMER)
    customer = bands("mgao", FeePayer.CUSTOMER)
    business = bands("mgao", FeePayer.MERCHANT)
    assert len(whole) == 17
    assert whole[6] == (350_100, 500_000, 3_400)
    assert [
        (one[0], one[1], one[2] + other[2]) for one, other in zip(customer, business, strict=True)
    ] == whole


def test_a_bill_is_paid_by_the_customer_unless_the_biller_chose_otherwise(markets):
    def payers(plan: str) -> list[FeePayer]:
        found = markets["KE"].tariffs_for(
            service=Service.PAY_BILL, currency="KES", plan=plan, day=TODAY
        )
        return [each.payer for each in found]

    assert payers("") == [FeePayer.CUSTOMER]
    assert payers("nobody_has_this") == [FeePayer.CUSTOMER]
    assert payers("customer_bouquet") == [FeePayer.MERCHANT]
    assert payers("mgao") == [FeePayer.CUSTOMER, FeePayer.MERCHANT]


# Two currencies


def test_a_market_of_two_currencies_prices_each_by_its_own_bands(markets):
    def fee(currency: str, minor: int) -> int:
        item = Item(service=Service.SEND_ON_NET, currency=currency, minor=minor, day=TODAY)
        return price(markets["CD"], item).fee

    assert (fee("USD", 500), fee("USD", 501)) == (2, 5)
    assert (fee("CDF", 1_000_000), fee("CDF", 1_000_100)) == (5_000, 15_000)


def test_ceilings_of_the_second_currency_are_the_first_at_the_reference_rate(markets):
    market = markets["CD"]
    assert market.reference_rates == {"CDF": (2778, 1)}
    dollars = market.ceiling(tier="lite", currency="USD")
    francs = market.ceiling(tier="lite", currency="CDF")
    assert (dollars.daily, dollars.balance) == (10_000, 300_000)
    assert (francs.daily, francs.balance) == (27_780_000, 833_400_000)


def test_each_currency_has_its_own_least_amounts_and_step(markets):
    market = markets["CD"]
    assert market.minimum(service=Service.SEND_ON_NET, currency="USD") == 50
    assert market.minimum(service=Service.SEND_ON_NET, currency="CDF") == 50_000
    assert market.minimum(service=Service.AIRTIME, currency="CDF") == 0
    assert (market.currency("USD").step, market.currency("CDF").step) == (1, 100)
    assert market.currency("KES") is None


def test_amounts_are_written_for_people_with_decimals_only_where_people_use_them(markets):
    assert markets["CD"].written(Money(123_456, "USD")) == "USD 1,234.56"
    assert markets["CD"].written(Money(123_400, "CDF")) == "CDF 1,234"
    assert markets["KE"].written(Money(100_000_000, "KES")) == "KES 1,000,000"
    assert markets["KE"].written(Money(1_950, "KES")) == "KES 19.50"
    assert markets["KE"].money("1500", "KES") == Money(150_000, "KES")


# What is particular to a market


def test_the_levy_falls_on_cash_out_only_and_by_the_amount(markets):
    market = markets["TZ"]
    (levy,) = market.taxes_on(base=TaxBase.AMOUNT, service=Service.WITHDRAW_AGENT, day=TODAY)
    assert levy.id == "tz.levy.2023-07"
    assert (levy.bands[0].first, levy.bands[0].fee) == (20_000, 1_000)
    assert (levy.bands[-1].last, levy.bands[-1].fee) == (1_000_000_000, 200_000)
    assert market.taxes_on(base=TaxBase.AMOUNT, service=Service.SEND_ON_NET, day=TODAY) == ()


def test_the_first_transfer_of_the_month_is_free(markets):
    (tariff,) = markets["EG"].tariffs_for(service=Service.SEND_ON_NET, currency="EGP", day=TODAY)
    assert (tariff.free.count, tariff.free.value, tariff.free.per.value) == (
        1,
        None,
        "calendar_month",
    )
    assert [band.fee for band in tariff.bands] == [100]


def test_a_bundle_names_the_price_beyond_its_quota(markets):
    (tariff,) = markets["EG"].tariffs_for(
        service=Service.WITHDRAW_AGENT, currency="EGP", plan="cash_out_bundle", day=TODAY
    )
    assert (tariff.plan_quota.value, tariff.beyond) == (500_000, "eg.withdraw_agent")
    assert markets["EG"].tariff("eg.withdraw_agent").fee_min == 300


def test_sending_has_a_ceiling_inside_the_total_and_some_payments_have_none(markets):
    market = markets["ET"]
    ceiling = market.ceiling(tier="level2", currency="ETB", day=TODAY)
    assert (ceiling.daily, ceiling.send_daily) == (30_000_000, 7_500_000)
    assert "utilities" in market.limit_exempt
    assert market.is_limit_exempt(Service.BULK_PAYOUT)
    assert not market.is_limit_exempt(Service.SEND_ON_NET)


def test_airtime_becomes_money_within_a_ceiling_of_its_own(markets):
    ceiling = markets["LS"].service_ceilings["LSL", "airtime_to_wallet"]
    assert (ceiling.daily, ceiling.monthly) == (20_000, 100_000)


def test_the_first_notice_of_an_incident_is_due_within_two_hours_where_the_law_says_so(markets):
    assert {code: markets[code].incident_notice_h for code in CODES} == {
        "CD": 24, "EG": 24, "ET": 24, "GH": 24, "KE": 2, "LS": 24, "MZ": 24, "TZ": 24,
    }  # fmt: skip


def test_a_regulator_s_deadlines_are_on_record_only_where_somebody_has_read_them(markets):
    assert {code: [(r.id, r.hours) for r in markets[code].notices] for code in CODES} == {
        "CD": [], "EG": [], "ET": [], "GH": [], "LS": [], "MZ": [], "TZ": [],
        "KE": [("provider", 24), ("whole_system", 2)],
    }  # fmt: skip
    wide = markets["KE"].notices[1]
    assert (wide.scope, wide.severity, wide.minutes) == (Notice.SYSTEM, 3, 0)
    assert (wide.standing, wide.recipient) == (Standing.PRESS, "Central Bank of Kenya")
    assert not wide.period.holds(date(2019, 9, 30))
    assert wide.period.holds(date(2019, 10, 1))


def test_a_country_is_named_in_its_own_languages(markets):
    assert markets["EG"].named("ar") == "مصر"
    assert markets["CD"].named("fr") == "RD Congo"
    assert markets["EG"].named("en") == "Egypt"
    assert markets["GH"].named("ak") == "Ghana"


def test_the_business_day_follows_the_first_zone_of_the_market(markets):
    before_midnight_in_kinshasa = datetime(2026, 3, 10, 22, 30, tzinfo=UTC)
    assert markets["CD"].business_day(before_midnight_in_kinshasa) == date(2026, 3, 10)
    assert markets["KE"].business_day(before_midnight_in_kinshasa) == date(2026, 3, 11)


def test_workdays_follow_the_weekend_and_the_holidays_of_the_market(markets):
    friday, saturday, sunday = date(2026, 11, 27), date(2026, 11, 28), date(2026, 11, 29)
    assert [markets["EG"].is_workday(day) for day in (friday, saturday, sunday)] == [
        False,
        False,
        True,
    ]
    assert [markets["KE"].is_workday(day) for day in (friday, saturday, sunday)] == [
        True,
        False,
        False,
    ]
    assert not markets["KE"].is_workday(date(2026, 6, 1))


def test_a_season_may_run_over_the_end_of_the_month(markets):
    market = markets["KE"]
    assert market.season_permille(date(2026, 11, 27)) == 1000
    assert market.season_permille(date(2026, 11, 28)) == 1500
    assert market.season_permille(date(2026, 12, 2)) == 1500
    assert market.season_permille(date(2026, 12, 3)) == 1000
    assert market.season_permille(date(2026, 12, 24)) == 1600


# What is invented


@pytest.mark.parametrize("code", CODES)
def test_what_is_invented_is_listed_by_file_table_and_row(markets, code):
    listed = packs.placeholders(markets[code])
    assert "rules.yaml / rules / reversal" in listed
    marked = [
        place
        for place, source in markets[code].sources.items()
        if source.confidence is Confidence.PLACEHOLDER
    ]
    assert set(marked) <= set(listed)


def test_the_invented_figures_of_one_market_are_these(markets):
    assert packs.placeholders(markets["KE"]) == (
        "commissions.yaml / commissions / ke.deposit (from 150001)",
        "commissions.yaml / commissions / ke.withdraw (from 25001)",
        "calendar.yaml / peaks",
        "calendar.yaml / seasons",
        "calendar.yaml / maintenance",
        "rules.yaml / rules / reversal",
        "rules.yaml / rules / consumer (complaint_days)",
        "regulator.yaml / notices / provider (severity, minutes, from)",
        "regulator.yaml / notices / whole_system (severity, minutes, from)",
    )


def test_a_price_list_that_nobody_has_read_is_listed_row_by_row(markets):
    listed = packs.placeholders(markets["CD"])
    assert "limits.yaml / tiers / lite changes 1 (per_transaction)" in listed
    assert "tariffs.yaml / tariffs / cd.send_on_net.usd" in listed
    assert "tariffs.yaml / tariffs / cd.deposit_agent.usd" not in listed
    assert "limits.yaml / tiers / lite (per_transaction)" in listed


def test_a_market_that_nobody_knows_is_refused_with_those_there_are():
    with pytest.raises(packs.PackUnknown, match="there is no market 'QQ'; known are CD, EG, ET"):
        packs.load("QQ")


def test_what_a_pack_cannot_say_stands_among_its_gaps(markets):
    assert "bank into a wallet" in next(
        gap.what for gap in markets["GH"].gaps if gap.id == "levy_from_banks"
    )
    (first,) = [gap for gap in markets["TZ"].gaps if gap.id == "levy_2021_07"]
    assert (first.period.first, first.period.last) == (date(2021, 7, 15), date(2021, 8, 31))


def test_rules_keep_a_detail_for_people(markets):
    assert markets["KE"].rules["change_notice"] == {
        "detail": "planned outages are told to the public days ahead"
    }
    assert markets["EG"].rules["release_gate"]["detail"].startswith("before a new service opens")
    assert markets["KE"].tariff_notice_days is None
