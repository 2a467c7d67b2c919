"""Checks of a whole pack: what its tables say together, once each of them has been read.

Nothing here reads a file. Each check adds what it finds; none stops at the first.
"""

import re
from collections.abc import Iterable
from datetime import date
from itertools import combinations
from zoneinfo import ZoneInfo

from umoja.markets.market import Ceiling, Commission, Market, Period, Service, Tariff, Tax
from umoja.markets.sheets import Faults

CODE = re.compile(r"[A-Z]{2}", re.ASCII)

SERVICES = (
    Service.SEND_ON_NET,
    Service.SEND_OFF_NET,
    Service.SEND_UNREGISTERED,
    Service.WITHDRAW_AGENT,
    Service.WITHDRAW_ATM,
    Service.DEPOSIT_AGENT,
    Service.PAY_BILL,
    Service.PAY_MERCHANT,
    Service.WALLET_TO_BANK,
    Service.AIRTIME,
    Service.BULK_PAYOUT,
)
"""Each market says of each of these, in each currency, what it costs or that it is not offered."""


LANGUAGE = re.compile(r"[a-z]{2,3}", re.ASCII)


def check(market: Market, *, folder: str, faults: Faults) -> None:
    """Add what is wrong with a market that was read from `folder` without a fault."""
    _check_names(market, folder, faults)
    _check_numbers(market, faults)
    _check_services(market, faults)
    _check_plans(market, faults)
    _check_tariff_periods(market, faults)
    _check_commission_periods(market, faults)
    _check_tax_periods(market, faults)
    _check_tiers(market, faults)


def _check_names(market: Market, folder: str, faults: Faults) -> None:
    if market.code != folder:
        message = f"'code' is {market.code} but the folder is {folder}"
        faults.add(file="market.yaml", table="market", message=message)
    for language in market.languages:
        if not LANGUAGE.fullmatch(language):
            message = f"a language is two or three small letters like 'sw', not {language!r}"
            faults.add(file="market.yaml", table="locale", message=message)
    if market.default_language not in market.languages:
        message = f"'default_language' {market.default_language!r} is not one of 'languages'"
        faults.add(file="market.yaml", table="locale", message=message)
    for zone in market.zones:
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            message = f"unknown time zone {zone!r}"
            faults.add(file="market.yaml", table="locale", message=message)


def _check_numbers(market: Market, faults: Faults) -> None:
    example = market.number_example
    wanted = market.dialling_code + example
    for written in (example, f"+{wanted}"):
        if market.phone_number(written) != wanted:
            message = f"the example {written} does not fit the number plan"
            faults.add(file="market.yaml", table="numbers", message=message)
            return
    if not example.startswith(market.own_prefixes):
        message = f"the example {example} begins with none of 'own_prefixes'"
        faults.add(file="market.yaml", table="numbers", message=message)


def _check_services(market: Market, faults: Faults) -> None:
    priced = {(tariff.service, tariff.currency) for tariff in market.tariffs}
    for currency in market.currencies:
        for service in SERVICES:
            if (service, currency.code) not in priced:
                message = (
                    f"no row for {service.value} in {currency.code}: give its price or say"
                    " 'offered: no'"
                )
                faults.add(file="tariffs.yaml", table="tariffs", message=message)


def _check_plans(market: Market, faults: Faults) -> None:
    plans = {(tariff.service.value, tariff.plan) for tariff in market.tariffs}
    for word, plan in market.standard_plans.items():
        if (word, plan) not in plans:
            message = f"no tariff of {word} has the plan {plan!r}"
            faults.add(file="tariffs.yaml", table="standard_plans", row=word, message=message)
    for service, currency in {(each.service, each.currency) for each in market.tariffs}:
        known = {
            tariff.plan
            for tariff in market.tariffs
            if tariff.service is service and tariff.currency == currency
        }
        if not known & {"", market.standard_plans.get(service.value, "")}:
            message = (
                f"name the standard plan of {service.value}: one of {', '.join(sorted(known))}"
            )
            faults.add(
                file="tariffs.yaml", table="standard_plans", row=service.value, message=message
            )
    for tariff in market.tariffs:
        _check_beyond(market, tariff, faults)


def _check_beyond(market: Market, tariff: Tariff, faults: Faults) -> None:
    passed: set[str] = set()
    step: Tariff | None = tariff
    while step is not None and step.plan_quota is not None:
        passed.add(step.id)
        following = market.tariff(step.beyond)
        message = ""
        if following is None:
            message = f"'beyond' names no tariff: {step.beyond!r}"
        elif following.id in passed:
            message = f"'beyond' leads back to {following.id}"
        elif following.service is not tariff.service or following.currency != tariff.currency:
            message = f"'beyond' names a price of another service or currency: {following.id}"
        if message:
            faults.add(file="tariffs.yaml", table="tariffs", row=tariff.id, message=message)
            return
        step = following


def _check_tariff_periods(market: Market, faults: Faults) -> None:
    for first, second in combinations(market.tariffs, 2):
        if (first.service, first.currency, first.plan) != (
            second.service,
            second.currency,
            second.plan,
        ):
            continue
        if first.payer is second.payer:
            message = _rivalry(first.period, second.period)
        else:
            message = _mismatch(first.period, second.period)
        if message:
            faults.add(
                file="tariffs.yaml",
                table="tariffs",
                row=second.id,
                message=f"{message} {first.id}",
            )


def _check_commission_periods(market: Market, faults: Faults) -> None:
    def kind(row: Commission) -> tuple[Service, str]:
        return row.service, row.currency

    for first, second in combinations(market.commissions, 2):
        message = _rivalry(first.period, second.period)
        if kind(first) == kind(second) and message:
            faults.add(
                file="commissions.yaml",
                table="commissions",
                row=second.id,
                message=f"{message} {first.id}",
            )


def _check_tax_periods(market: Market, faults: Faults) -> None:
    for first, second in combinations(market.taxes, 2):
        if (
            (first.kind, first.base) == (second.kind, second.base)
            and (first.currency == second.currency or not first.currency or not second.currency)
            and _share_services(first, second)
            and _overlap(first.period, second.period)
        ):
            message = f"holds on the same days as {first.id}: end one of them with 'to'"
            faults.add(file="taxes.yaml", table="taxes", row=second.id, message=message)


def _share_services(first: Tax, second: Tax) -> bool:
    return not first.services or not second.services or bool(first.services & second.services)


def _overlap(first: Period, second: Period) -> bool:
    begins = max(first.first or date.min, second.first or date.min)
    return begins <= min(first.last or date.max, second.last or date.max)


def _rivalry(first: Period, second: Period) -> str:
    """Say why two prices of one thing cannot stand together, or nothing if one succeeds the other.

    A later first day succeeds an earlier open-ended row, and interrupts an undated one; what names
    its own last day must be over before the next begins.
    """
    if not _overlap(first, second):
        return ""
    if first.first == second.first:
        return "begins on the same day as"
    earlier = min(first, second, key=lambda period: period.first or date.min)
    if earlier.last is not None:
        return f"overlaps until {earlier.last} with"
    return ""


def _mismatch(first: Period, second: Period) -> str:
    """Say why the parts of two payers do not make one price: they begin and end together."""
    if not _overlap(first, second) or first == second:
        return ""
    return "is paid by another and does not begin and end on the days of"


def _check_tiers(market: Market, faults: Faults) -> None:
    for tier in market.tiers:
        for currency in market.currencies:
            if currency.code not in tier.ceilings:
                message = f"no ceilings in {currency.code}"
                faults.add(file="limits.yaml", table="tiers", row=tier.id, message=message)
        every = [tier.ceilings, *(change.ceilings for change in tier.changes)]
        for message in _disorder(ceiling for held in every for ceiling in held.values()):
            faults.add(file="limits.yaml", table="tiers", row=tier.id, message=message)


def _disorder(ceilings: Iterable[Ceiling]) -> Iterable[str]:
    """Say which ceilings can never be reached because a wider one is lower."""
    for ceiling in ceilings:
        nested = (
            ("per_transaction", ceiling.per_transaction, "daily", ceiling.daily),
            ("send_daily", ceiling.send_daily, "daily", ceiling.daily),
            ("daily", ceiling.daily, "monthly", ceiling.monthly),
            ("monthly", ceiling.monthly, "yearly", ceiling.yearly),
        )
        for inner, low, outer, high in nested:
            if low is not None and high is not None and low > high:
                yield f"{inner!r} is more than {outer!r}"
