"""Limits: how much a party has used of a day, a month and a year, and whether one more fits. Pure.

All sums are minor units of the market's first currency: where a market has several, amounts are
brought to the first by its reference rate, because regulators set one ceiling for all wallets.
"""

from datetime import date

import msgspec

from umoja.markets.market import Ceiling, Market, Per, Quota, Service
from umoja.money import Rounding, divide
from umoja.payments.order import Decline


class Used(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What was used in one day and in one month of a service: payments and minor units."""

    day: int = 0
    day_count: int = 0
    day_value: int = 0
    month: int = 0
    month_count: int = 0
    month_value: int = 0


NOTHING_USED = Used()


class Usage(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one party has used. Days are ordinals, months count from the year nought.

    `used` is of the one service that is asked about, where the market counts it by itself.
    """

    day: int = 0
    day_value: int = 0
    day_count: int = 0
    day_sent: int = 0
    month: int = 0
    month_value: int = 0
    year: int = 0
    year_value: int = 0
    used: Used = NOTHING_USED


class Entry(msgspec.Struct, frozen=True):
    """One payment as usage counts it; `value` in the market's first currency."""

    day: date
    value: int
    service: Service


PERSON_TO_PERSON = frozenset({Service.SEND_ON_NET, Service.SEND_OFF_NET, Service.SEND_UNREGISTERED})


def counted(market: Market) -> frozenset[Service]:
    """Return the services that the market's rows count by themselves: free ones, thresholds, ceilings."""
    found = {tariff.service for tariff in market.tariffs if tariff.free or tariff.plan_quota}
    for tax in market.taxes:
        if tax.threshold is not None:
            found |= tax.services or set(Service)
    return frozenset(found | {Service(service) for _, service in market.service_ceilings})


def added(usage: Usage, entry: Entry) -> Usage:
    """Return the usage with one more payment, older periods begun anew.

    A period that was begun is never left for an earlier one: a clock that steps back over midnight
    would else give everybody the same day's limits again.
    """
    date_, value = entry.day, entry.value
    day, month, year = date_.toordinal(), date_.year * 12 + date_.month, date_.year
    if day < usage.day:
        day, month, year = usage.day, max(month, usage.month), max(year, usage.year)
    used = usage.used
    is_day, is_month = used.day == day, used.month == month
    is_today = usage.day == day
    sent = value if entry.service in PERSON_TO_PERSON else 0
    return Usage(
        day,
        usage.day_value + value if is_today else value,
        usage.day_count + 1 if is_today else 1,
        usage.day_sent + sent if is_today else sent,
        month,
        usage.month_value + value if usage.month == month else value,
        year,
        usage.year_value + value if usage.year == year else value,
        Used(
            day,
            used.day_count + 1 if is_day else 1,
            used.day_value + value if is_day else value,
            month,
            used.month_count + 1 if is_month else 1,
            used.month_value + value if is_month else value,
        ),
    )


def taken_back(usage: Usage, entry: Entry) -> Usage:
    """Return the usage without a payment that came back; periods that ended stay as they are."""
    day, month = entry.day.toordinal(), _month(entry.day)
    is_day, is_month = usage.day == day, usage.month == month
    sent = entry.value if entry.service in PERSON_TO_PERSON else 0
    used = usage.used
    in_day, in_month = used.day == day, used.month == month
    return Usage(
        usage.day,
        usage.day_value - entry.value * is_day,
        usage.day_count - is_day,
        usage.day_sent - sent * is_day,
        usage.month,
        usage.month_value - entry.value * is_month,
        usage.year,
        usage.year_value - entry.value * (usage.year == entry.day.year),
        Used(
            used.day,
            used.day_count - in_day,
            used.day_value - entry.value * in_day,
            used.month,
            used.month_count - in_month,
            used.month_value - entry.value * in_month,
        ),
    )


def used_in(usage: Usage, *, day: date) -> Used:
    """Return what was used of the service in the day and month of `day`."""
    used = usage.used
    if not used.month:
        return NOTHING_USED
    today, month = max(day.toordinal(), used.day), max(_month(day), used.month)
    is_today, is_month = used.day == today, used.month == month
    return Used(
        today,
        used.day_count if is_today else 0,
        used.day_value if is_today else 0,
        month,
        used.month_count if is_month else 0,
        used.month_value if is_month else 0,
    )


def quota_left(used: Used, quota: Quota, *, value: int) -> bool:
    """Tell whether a payment of `value` still falls inside the quota."""
    match quota.per:
        case Per.DAY:
            count, spent = used.day_count, used.day_value
        case Per.MONTH:
            count, spent = used.month_count, used.month_value
    fits_count = quota.count is None or count < quota.count
    return fits_count and (quota.value is None or spent + value <= quota.value)


def above_threshold(used: Used, threshold: Quota, *, value: int) -> int:
    """Return how much of `value` lies above what the threshold leaves free in its period."""
    spent = used.day_value if threshold.per is Per.DAY else used.month_value
    return min(value, max(0, spent + value - (threshold.value or 0)))


def may_pay(ceiling: Ceiling, after: Usage, *, value: int) -> Decline | None:
    """Return why a payment of `value`, which leaves the usage `after`, does not fit the payer's tier."""
    # Written out because it is asked for each payment.
    if (most := ceiling.per_transaction) is not None and value > most:
        return Decline.AMOUNT_TOO_LARGE
    if (most := ceiling.daily) is not None and after.day_value > most:
        return Decline.LIMIT_DAILY
    if (most := ceiling.send_daily) is not None and after.day_sent > most:
        return Decline.LIMIT_DAILY
    if (most := ceiling.monthly) is not None and after.month_value > most:
        return Decline.LIMIT_MONTHLY
    if (most := ceiling.yearly) is not None and after.year_value > most:
        return Decline.LIMIT_YEARLY
    if (most := ceiling.count_per_day) is not None and after.day_count > most:
        return Decline.LIMIT_COUNT
    return None


def may_use(ceiling: Ceiling, after: Usage, *, value: int) -> Decline | None:
    """Return why a payment, which leaves the usage `after`, does not fit what its service may do."""
    used = after.used
    if _over(value, ceiling.per_transaction):
        return Decline.AMOUNT_TOO_LARGE
    if _over(used.day_value, ceiling.daily):
        return Decline.LIMIT_DAILY
    if _over(used.month_value, ceiling.monthly):
        return Decline.LIMIT_MONTHLY
    return Decline.LIMIT_COUNT if _over(used.day_count, ceiling.count_per_day) else None


def may_receive(ceiling: Ceiling, *, value: int, balance: int) -> Decline | None:
    """Return why a customer's wallet cannot take `value` more on top of `balance`, or None."""
    if _over(value, ceiling.per_transaction):
        return Decline.AMOUNT_TOO_LARGE
    if _over(balance + value, ceiling.balance):
        return Decline.LIMIT_PAYEE_BALANCE
    return None


def in_first_currency(market: Market, minor: int, currency: str) -> int:
    """Return minor units of the market's first currency worth `minor` of another, rounded up."""
    if currency == market.currencies[0].code:
        return minor
    numerator, denominator = market.reference_rates[currency]
    return divide(minor * denominator, numerator, Rounding.UP)


def _over(value: int, limit: int | None) -> bool:
    return limit is not None and value > limit


def _month(day: date) -> int:
    return day.year * 12 + day.month
