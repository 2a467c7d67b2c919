"""A market: one country's money, numbers, rules, prices and days, as data read from its pack."""

import re
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from enum import Enum
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

from umoja.money import Money, format_minor, parse_minor


class Service(Enum):
    """What a price or a limit is for, in the words of the packs."""

    __hash__ = object.__hash__

    SEND_ON_NET = "send_on_net"
    SEND_OFF_NET = "send_off_net"
    SEND_UNREGISTERED = "send_unregistered"
    WITHDRAW_AGENT = "withdraw_agent"
    WITHDRAW_ATM = "withdraw_atm"
    DEPOSIT_AGENT = "deposit_agent"
    PAY_BILL = "pay_bill"
    PAY_MERCHANT = "pay_merchant"
    WALLET_TO_BANK = "wallet_to_bank"
    AIRTIME = "airtime"
    BULK_PAYOUT = "bulk_payout"
    AIRTIME_TO_WALLET = "airtime_to_wallet"
    AGENT_FLOAT = "agent_float"  # between agents and the operator: never priced, never taxed


class FeePayer(Enum):
    CUSTOMER = "customer"
    MERCHANT = "merchant"
    SENDER_BUSINESS = "sender_business"


class Confidence(Enum):
    HIGH = "high"
    MEDIUM = "medium"
    RECALLED = "recalled"  # stated from general knowledge, not re-read
    PLACEHOLDER = "placeholder"  # invented but plausible: refused in production


class TaxBase(Enum):
    FEE = "fee"
    AMOUNT = "amount"
    COMMISSION = "commission"
    OPERATOR_INCOME = "operator_income"


class Per(Enum):
    """The period over which a quota or a threshold counts, in the market's own days."""

    DAY = "day"
    MONTH = "calendar_month"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a table comes from and how far to trust it."""

    what: str
    as_of: str
    confidence: Confidence
    assumed: tuple[str, ...] = ()
    """Figures of the table that nobody has read anywhere, however sure the rest is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """Days on which a row holds, both ends included; an absent end is open."""

    first: date | None = None
    last: date | None = None

    def holds(self, day: date) -> bool:
        return (self.first is None or self.first <= day) and (self.last is None or day <= self.last)


@dataclass(frozen=True, slots=True)
class Band:
    """Amounts `first..last` (minor units, both included) cost `fee` minor units or `millionths`."""

    first: int
    last: int
    fee: int
    millionths: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """The first `count` payments, or the first `value` minor units, of each period."""

    per: Per
    count: int | None = None
    value: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """The price of one service in one currency for one plan, over one period."""

    id: str
    service: Service
    currency: str
    payer: FeePayer
    plan: str = ""
    is_offered: bool = True
    period: Period
    bands: tuple[Band, ...] = ()
    fee_min: int | None = None
    fee_max: int | None = None
    free: Quota | None = None
    plan_quota: Quota | None = None
    beyond: str = ""  # the tariff that prices what passes `plan_quota`
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Tax:
    """A tax, levy or withholding on a fee, an amount or a commission, over one period."""

    id: str
    kind: str
    base: TaxBase
    millionths: int = 0
    bands: tuple[Band, ...] = ()
    is_included: bool
    services: frozenset[Service]  # empty: every service that has a fee
    threshold: Quota | None = None
    exempt: tuple[str, ...] = ()
    currency: str = ""  # of the bands and the threshold; empty: in every currency alike
    period: Period
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Commission:
    """What an agent earns on a service: the outlet `outlet_permille`, its dealer the rest."""

    id: str
    service: Service
    currency: str
    bands: tuple[Band, ...] = ()
    amount_millionths: int = 0
    fee_millionths: int = 0
    outlet_permille: int = 1000
    period: Period
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """How much a tier may do, in minor units of one currency; absent means without limit."""

    per_transaction: int | None = None
    daily: int | None = None
    monthly: int | None = None
    yearly: int | None = None
    balance: int | None = None
    count_per_day: int | None = None
    send_daily: int | None = None  # nested: person to person inside the daily total


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitChange:
    """Ceilings that held, or will hold, for a while instead of the tier's standing ones."""

    period: Period
    ceilings: dict[str, Ceiling]  # by currency
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    id: str
    name: str
    requires: tuple[str, ...]
    ceilings: dict[str, Ceiling]  # by currency
    changes: tuple[LimitChange, ...] = ()
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Currency:
    """ISO 4217 `code`, `digits` decimals in the books; people type multiples of `step` minor."""

    code: str
    numeric: str
    digits: int
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortCode:
    """A kind of number that people type: till, paybill, agent. `digits` are the lengths allowed."""

    kind: str
    digits: tuple[int, ...]
    takes_reference: bool
    value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Season:
    """Days with more payments than usual: each month, each year, or once.

    An end is (day), (month, day) or (year, month, day); both ends have the same form and are
    included, and the first two forms may run over the end of the month or of the year.
    """

    name: str
    first: tuple[int, ...]
    last: tuple[int, ...]
    load_permille: int

    def holds(self, day: date) -> bool:
        today = (day.year, day.month, day.day)[-len(self.first) :]
        if self.first <= self.last:
            return self.first <= today <= self.last
        return today >= self.first or today <= self.last


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """What is known to be missing from the pack, so that nobody takes silence for nought."""

    id: str
    what: str
    period: Period
    source: Source


class Notice(Enum):
    """Which incidents a regulator's rule is about."""

    PROVIDER = "provider"  # any that is grave enough
    SYSTEM = "system"  # those in which most of the market's payments fail


class Standing(Enum):
    """How surely a regulator's rule is known."""

    VERIFIED = "verified"  # read in the rule itself
    PRESS = "press"  # quoted by others
    PLACEHOLDER = "placeholder"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeRule:
    """Which incidents a regulator has to be told of, and within how many hours.

    It applies to an incident of `severity` or graver that has lasted `minutes`.
    """

    id: str
    scope: Notice
    severity: int
    minutes: int
    hours: int
    recipient: str
    form: str
    detail: str
    standing: Standing
    period: Period
    source: Source


class _InForce:
    """Remembers which rows hold on a day: asked for each payment, changed once a day."""

    ENTRIES_MAX = 4096

    def __init__(self) -> None:
        self.tariffs: dict[tuple[Service, str, str, date], tuple[Tariff, ...]] = {}
        self.taxes: dict[tuple[TaxBase, Service, str | None, date], tuple[Tax, ...]] = {}
        self.commissions: dict[tuple[Service, str, date], Commission | None] = {}


@dataclass(frozen=True, kw_only=True)
class Market:
    """One country. Its code is two letters; no code of ours knows which."""

    code: str
    iso3: str
    name: str
    brand: str
    operator: str
    currencies: tuple[Currency, ...]
    reference_rates: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Minor units of another currency worth one of the first, as (numerator, denominator)."""
    languages: tuple[str, ...]
    default_language: str
    zones: tuple[str, ...]
    weekend: tuple[int, ...]  # 0 is Monday
    is_right_to_left: bool
    dialling_code: str
    trunk_prefix: str
    national_length: tuple[int, ...]
    mobile_pattern: str
    own_prefixes: tuple[str, ...]
    excluded_prefixes: tuple[str, ...]
    number_example: str
    ussd_code: str
    pin_digits: int
    pin_rejects_runs: bool
    short_codes: tuple[ShortCode, ...]
    identity_kinds: tuple[str, ...]
    tiers: tuple[Tier, ...]
    minimums: dict[tuple[str, str], int]  # by currency and service word
    limit_exempt: frozenset[str]
    tariffs: tuple[Tariff, ...]
    commissions: tuple[Commission, ...]
    taxes: tuple[Tax, ...]
    holidays: dict[date, str]
    paydays: tuple[int, ...]  # days of the month
    peaks: tuple[tuple[time, time, int], ...]  # from, to, load in permille of usual
    maintenance: tuple[time, time] | None
    reversal_window_h: int
    tariff_notice_days: int | None
    incident_notice_h: int | None
    payments_a_second: float  # public yearly count over the year, or an estimate: for the simulator
    mean_value_minor: int
    sources: dict[str, Source]
    latitude: float
    longitude: float
    standard_plans: dict[str, str] = field(default_factory=dict)
    """By service word: the plan that prices whoever has chosen none."""
    service_ceilings: dict[tuple[str, str], Ceiling] = field(default_factory=dict)
    """By currency and service word: what one service may do inside the tier's own ceilings."""
    seasons: tuple[Season, ...] = ()
    rules: dict[str, dict[str, str]] = field(default_factory=dict)
    """By rule and word, as the pack writes them: safeguarding, interest, retention and the like."""
    gaps: tuple[Gap, ...] = ()
    notices: tuple[NoticeRule, ...] = ()
    names: dict[str, str] = field(default_factory=dict)
    """What the country is called in its own languages; `name` in those that are absent."""

    def named(self, language: str) -> str:
        """Return the country's name in a language, or in English where the pack has none."""
        return self.names.get(language, self.name)

    @cached_property
    def zone(self) -> ZoneInfo:
        """The time zone to which the business day is tied: the first one named."""
        return ZoneInfo(self.zones[0])

    def local(self, moment: datetime) -> datetime:
        return moment.astimezone(self.zone)

    def business_day(self, moment: datetime) -> date:
        return self.local(moment).date()

    def is_workday(self, day: date) -> bool:
        return day.weekday() not in self.weekend and day not in self.holidays

    def payday_near(self, day: date) -> bool:
        """Tell whether salaries are paid on this day or were on the day before."""
        return day.day in self.paydays or (day - timedelta(days=1)).day in self.paydays

    def currency(self, code: str) -> Currency | None:
        return self._currencies.get(code)

    @cached_property
    def _currencies(self) -> dict[str, Currency]:
        return {currency.code: currency for currency in self.currencies}

    def season_permille(self, day: date) -> int:
        """Return the load of the busiest season that holds on `day`; 1000 is a usual day."""
        return max((each.load_permille for each in self.seasons if each.holds(day)), default=1000)

    @cached_property
    def _in_force(self) -> _InForce:
        return _InForce()

    @cached_property
    def cards(self) -> dict[Any, Any]:
        """Where pricing remembers what it made of the rows: bounded by whoever fills it."""
        return {}

    def tariffs_for(
        self, *, service: Service, currency: str, plan: str = "", day: date
    ) -> tuple[Tariff, ...]:
        """Return the prices in force on `day`: one for each payer, or none where nothing holds.

        Where nobody has such a `plan`, the standard plan prices. A dated row wins over an undated
        one and a later first day over an earlier. A row may say that the service is not offered.
        """
        key = (service, currency, plan, day)
        known = self._in_force.tariffs
        if key not in known:
            _make_room(known)
            known[key] = self._tariffs_on(service, currency, plan, day)
        return known[key]

    def _tariffs_on(
        self, service: Service, currency: str, plan: str, day: date
    ) -> tuple[Tariff, ...]:
        standing = [
            tariff
            for tariff in self.tariffs
            if tariff.service is service
            and tariff.currency == currency
            and tariff.period.holds(day)
        ]
        standard = self.standard_plans.get(service.value, "")
        for wanted in (plan or standard, standard, ""):
            found: dict[FeePayer, Tariff] = {}
            for tariff in standing:
                rival = found.get(tariff.payer)
                if tariff.plan == wanted and (
                    rival is None or _began(rival.period) < _began(tariff.period)
                ):
                    found[tariff.payer] = tariff
            if found:
                return tuple(found[payer] for payer in FeePayer if payer in found)
        return ()

    def tariff(self, tariff_id: str) -> Tariff | None:
        return self._tariffs.get(tariff_id)

    @cached_property
    def _tariffs(self) -> dict[str, Tariff]:
        return {tariff.id: tariff for tariff in self.tariffs}

    def taxes_on(
        self, *, base: TaxBase, service: Service, day: date, currency: str | None = None
    ) -> tuple[Tax, ...]:
        """Return the taxes on this base of a payment of `service`, in the order of the pack.

        With `currency`, those written for another currency are left out.
        """
        key = (base, service, currency, day)
        known = self._in_force.taxes
        if key not in known:
            _make_room(known)
            known[key] = tuple(
                tax
                for tax in self.taxes
                if tax.base is base
                and service is not Service.AGENT_FLOAT
                and (not tax.services or service in tax.services)
                and (currency is None or tax.currency in {"", currency})
                and tax.period.holds(day)
            )
        return known[key]

    def commission_for(self, *, service: Service, currency: str, day: date) -> Commission | None:
        """Return what an agent earns on `service`; a later first day wins. None: nothing."""
        key = (service, currency, day)
        known = self._in_force.commissions
        if key not in known:
            _make_room(known)
            known[key] = max(
                (
                    row
                    for row in self.commissions
                    if row.service is service and row.currency == currency and row.period.holds(day)
                ),
                key=lambda row: _began(row.period),
                default=None,
            )
        return known[key]

    def ceiling(self, *, tier: str, currency: str, day: date | None = None) -> Ceiling | None:
        """Return how much a tier may do; with `day`, as it was or will be. None: no such tier."""
        found = self._tiers.get(tier)
        if found is None:
            return None
        if day is not None:
            dated = [
                change
                for change in found.changes
                if change.period.holds(day) and currency in change.ceilings
            ]
            if dated:
                return max(dated, key=lambda change: _began(change.period)).ceilings[currency]
        return found.ceilings.get(currency)

    def minimum(self, *, service: Service, currency: str) -> int:
        """Return the least that may be moved by `service`, in minor units; nought where none."""
        return self.minimums.get((currency, service.value), 0)

    def is_limit_exempt(self, service: Service) -> bool:
        return service.value in self.limit_exempt

    def tier(self, tier_id: str) -> Tier | None:
        return self._tiers.get(tier_id)

    @cached_property
    def _tiers(self) -> dict[str, Tier]:
        return {tier.id: tier for tier in self.tiers}

    def money(self, text: str, currency: str) -> Money:
        """Read what a person or an API wrote. Raise AmountUnreadable or KeyError."""
        return Money(parse_minor(text, digits=self._currencies[currency].digits), currency)

    def written(self, money: Money) -> str:
        """Write an amount for people: grouped, without a decimal part that is nought by custom."""
        return self.written_minor(money.minor, money.currency)

    def written_minor(self, minor: int, currency: str) -> str:
        """Write minor units of a currency as `written` does."""
        known = self._currencies[currency]
        scale = self._whole.get(currency)
        if scale and not minor % scale:
            return f"{currency} {minor // scale:,}"
        return f"{currency} {format_minor(minor, digits=known.digits, grouped=True)}"

    @cached_property
    def _whole(self) -> dict[str, int]:
        """Return minor units of one whole, for the currencies written without a decimal part."""
        return {
            each.code: 10**each.digits
            for each in self.currencies
            if each.step % 10**each.digits == 0
        }

    @cached_property
    def _mobile(self) -> re.Pattern[str]:
        return re.compile(self.mobile_pattern, re.ASCII)

    def phone_number(self, text: str) -> str | None:
        """Return digits with the dialling code for any way a person writes a number, or None.

        The trunk form (07…), the international (+254…, 00254…, 254…) and the bare national form
        are read; spaces, dots, dashes and brackets are passed over.
        """
        if len(text) > 32:
            return None
        code = self.dialling_code
        if text.startswith(code) and text.isascii() and text.isdigit():
            # Most come so, and a payout has thousands.
            national = text[len(code) :]
            if len(national) in self.national_length and self._mobile.fullmatch(national):
                return text
        digits = re.sub(r"[\s().\-\u00a0]", "", text)
        is_international = digits.startswith(("+", "00"))
        digits = digits.removeprefix("+") if digits.startswith("+") else digits.removeprefix("00")
        if not (digits.isascii() and digits.isdigit()):
            return None
        nationals = []
        if digits.startswith(self.dialling_code):
            nationals.append(digits[len(self.dialling_code) :])
        if not is_international:
            if self.trunk_prefix and digits.startswith(self.trunk_prefix):
                nationals.append(digits[len(self.trunk_prefix) :])
            nationals.append(digits)
        for national in nationals:
            if len(national) in self.national_length and self._mobile.fullmatch(national):
                return self.dialling_code + national
        return None


def _began(period: Period) -> date:
    """Return the first day for comparing: an open beginning is earlier than any."""
    return period.first or date.min


def _make_room(known: dict[Any, Any]) -> None:
    if len(known) >= _InForce.ENTRIES_MAX:
        known.clear()
