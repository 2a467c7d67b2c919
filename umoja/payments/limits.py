"""Limits: how much a party has used of a day, a month and a year, and whether one more fits. Pure.

All sums are minor units of the market's first currency: where a market has several, amounts are
brought to the first by its reference rate, because regulators set one ceiling for all wallets.
"""

from dataclasses import dataclass
from datetime import date

import msgspec

from umoja.markets.market import Ceiling, Market, Per, Quota, Service
from umoja.money import Rounding, divide
from umoja.payments.order import Decline


class Used(msgspec.Struct, array_like=True):
    """What was used in one day and in one month of a service: payments and minor units."""

    day: int = 0
    day_count: int = 0
    day_value: int = 0
    month: int = 0
    month_count: int = 0
    month_value: int = 0


class Usage(msgspec.Struct, array_like=True):
    """What one party has used. Days are ordinals, months count from the year nought."""

    day: int = 0
    day_value: int = 0
    day_count: int = 0
    day_sent: int = 0
    month: int = 0
    month_value: int = 0
    year: int = 0
    year_value: int = 0
    services: dict[str, Used] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One payment as usage counts it; `value` in the market's first currency."""

    day: date
    value: int
    service: Service


PERSON_TO_PERSON = frozenset({Service.SEND_ON_NET, Service.SEND_OFF_NET, Service.SEND_UNREGISTERED})


def added(usage: Usage, entry: Entry) -> Usage:
    """Return the usage with one more payment, older periods begun anew."""
    day, month, year = entry.day.toordinal(), _month(entry.day), entry.day.year
    same_day, same_month, same_year = usage.day == day, usage.month == month, usage.year == year
    used = used_in(usage, service=entry.service, day=entry.day)
    sent = entry.value if entry.service in PERSON_TO_PERSON else 0
    return Usage(
        day=day,
        day_value=(usage.day_value if same_day else 0) + entry.value,
        day_count=(usage.day_count if same_day else 0) + 1,
        day_sent=(usage.day_sent if same_day else 0) + sent,
        month=month,
        month_value=(usage.month_value if same_month else 0) + entry.value,
        year=year,
        year_value=(usage.year_value if same_year else 0) + entry.value,
        services={
            **usage.services,
            entry.service.value: Used(
                day=day,
                day_count=used.day_count + 1,
                day_value=used.day_value + entry.value,
                month=month,
                month_count=used.month_count + 1,
                month_value=used.month_value + entry.value,
            ),
        },
    )


def taken_back(usage: Usage, entry: Entry) -> Usage:
    """Return the usage without a payment that came back; periods that ended stay as they are."""
    day, month = entry.day.toordinal(), _month(entry.day)
    is_day, is_month = usage.day == day, usage.month == month
    sent = entry.value if entry.service in PERSON_TO_PERSON else 0
    services = dict(usage.services)
    used = services.get(entry.service.value)
    if used is not None:
        in_day, in_month = used.day == day, used.month == month
        services[entry.service.value] = Used(
            day=used.day,
            day_count=used.day_count - in_day,
            day_value=used.day_value - entry.value * in_day,
            month=used.month,
            month_count=used.month_count - in_month,
            month_value=used.month_value - entry.value * in_month,
        )
    return Usage(
        day=usage.day,
        day_value=usage.day_value - entry.value * is_day,
        day_count=usage.day_count - is_day,
        day_sent=usage.day_sent - sent * is_day,
        month=usage.month,
        month_value=usage.month_value - entry.value * is_month,
        year=usage.year,
        year_value=usage.year_value - entry.value * (usage.year == entry.day.year),
        services=services,
    )


def used_in(usage: Usage, *, service: Service, day: date) -> Used:
    """Return what was used of a service in the day and month of `day`."""
    used = usage.services.get(service.value)
    if used is None:
        return Used()
    today, month = day.toordinal(), _month(day)
    is_today, is_month = used.day == today, used.month == month
    return Used(
        day=today,
        day_count=used.day_count if is_today else 0,
        day_value=used.day_value if is_today else 0,
        month=month,
        month_count=used.month_count if is_month else 0,
        month_value=used.month_value if is_month else 0,
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


def may_pay(ceiling: Ceiling, usage: Usage, entry: Entry) -> Decline | None:
    """Return why one more payment does not fit the payer's tier, or None."""
    after = added(usage, entry)
    if _over(entry.value, ceiling.per_transaction):
        return Decline.AMOUNT_TOO_LARGE
    if _over(after.day_value, ceiling.daily) or _over(after.day_sent, ceiling.send_daily):
        return Decline.LIMIT_DAILY
    if _over(after.month_value, ceiling.monthly):
        return Decline.LIMIT_MONTHLY
    if _over(after.year_value, ceiling.yearly):
        return Decline.LIMIT_YEARLY
    if _over(after.day_count, ceiling.count_per_day):
        return Decline.LIMIT_COUNT
    return None


def may_use(ceiling: Ceiling, usage: Usage, entry: Entry) -> Decline | None:
    """Return why one more payment does not fit what its service alone may do, or None."""
    used = used_in(added(usage, entry), service=entry.service, day=entry.day)
    if _over(entry.value, ceiling.per_transaction):
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
