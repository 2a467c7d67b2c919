"""Packs: the folders of tables that describe the markets, read into Market or faulted in full.

A pack is `packs/XX/` with seven files, `regulator.yaml` where a regulator's deadlines are known, and
`gaps.yaml` where something is known to be missing.
Amounts are written in major units, shares with a percent sign, and every table bears `source`,
`as_of` and `confidence`. The blank pack in `packs/_blank` explains each word where it stands.
"""

import re
from dataclasses import replace
from datetime import date, time
from itertools import pairwise
from math import gcd
from pathlib import Path
from typing import Any

from umoja.markets import checks
from umoja.markets.market import (
    Band,
    Ceiling,
    Commission,
    Confidence,
    Currency,
    FeePayer,
    Gap,
    LimitChange,
    Market,
    Notice,
    NoticeRule,
    Per,
    Period,
    Quota,
    Season,
    Service,
    ShortCode,
    Source,
    Standing,
    Tariff,
    Tax,
    TaxBase,
    Tier,
)
from umoja.markets.sheets import FILL_IN, Faults, PackFault, Row, Sheet, iso_day, millionths
from umoja.money import AmountUnreadable, Rounding, divide, parse_minor

PACKS = Path(__file__).parent / "packs"
BLANK = PACKS / "_blank"

_WEEKDAYS = {"mon": 0, "tue": 1, "wed": 2, "thu": 3, "fri": 4, "sat": 5, "sun": 6}
_TAX_KINDS = ("excise", "vat", "levy", "withholding", "regulatory_fee")
_SENDS = (Service.SEND_ON_NET, Service.SEND_OFF_NET, Service.SEND_UNREGISTERED)
_PRICED = {each.value: each for each in Service if each is not Service.AGENT_FLOAT}
_SEASON_END = re.compile(r"(?:(?:([0-9]{4})-)?([0-9]{2})-)?([0-9]{2})", re.ASCII)

_RULE_WORDS: dict[str, tuple[str, ...]] = {
    "reversal": ("window_h",),
    "change_notice": ("tariff_days",),
    "incident_notice": ("first_notice_h", "ordinary_provider_h", "data_breach_h"),
    "safeguarding": ("backing", "vehicle", "reconcile"),
    "interest": ("paid_to_customers", "share", "period", "destination"),
    "data_residency": ("level",),
    "reporting": ("frequency", "due_day"),
    "consumer": ("receipt", "fee_shown_before_confirm", "self_reversal", "complaint_days"),
    "dormancy": ("inactive_months", "terminate_after_months"),
    "retention": ("years",),
    "security": ("second_factor_above",),
    "customer_class": (),
    "exchange": (),
    "release_gate": (),
    "regulators": ("payments", "telecom", "tax", "data_protection", "unclaimed_assets", "aml"),
}
"""Each rule's own words; any rule may also have a `detail` for people to read."""


SEVERITY_MOST = 4


class PackUnknown(LookupError):
    """There is no pack of this code; `known` are the codes there are."""

    def __init__(self, code: str, known: tuple[str, ...]) -> None:
        super().__init__(f"there is no market {code!r}; known are {', '.join(known) or 'none'}")
        self.code = code
        self.known = known


class PackFaulty(ValueError):
    """A pack cannot be used; `faults` are all that is wrong with it."""

    def __init__(self, code: str, faults: tuple[PackFault, ...]) -> None:
        lines = "\n".join(f"  {fault}" for fault in faults)
        super().__init__(f"the pack of market {code} has {len(faults)} faults:\n{lines}")
        self.code = code
        self.faults = faults


def codes(*, folder: Path = PACKS) -> tuple[str, ...]:
    """Return the codes of the packs in a folder, in alphabetical order."""
    if not folder.is_dir():
        return ()
    found = (each.name for each in folder.iterdir() if each.is_dir())
    return tuple(sorted(name for name in found if checks.CODE.fullmatch(name)))


def load(code: str, folder: Path | None = None) -> Market:
    """Read the market `code` from a `folder` of packs, or from those of the product.

    Raise PackUnknown where there is no such pack and PackFaulty, with every fault, where it cannot
    be used.
    """
    shelf = folder or PACKS
    known = codes(folder=shelf)
    if code not in known:
        raise PackUnknown(code, known)
    market, faults = _read(shelf / code)
    if faults:
        raise PackFaulty(code, faults)
    return market


def check(folder: Path) -> tuple[PackFault, ...]:
    """Return everything that is wrong with the pack in `folder`; nothing if it can be used."""
    if not folder.is_dir():
        return (PackFault(folder.name, "", "", "there is no such folder"),)
    return _read(folder)[1]


def new(code: str, parent: Path) -> Path:
    """Make the folder of a new market in `parent`, every figure still to be filled in.

    Return the folder. Raise ValueError for a code that is not two capital letters, and
    FileExistsError where the folder is there already: nothing is overwritten.
    """
    if not checks.CODE.fullmatch(code):
        raise ValueError(f"a market code is two capital letters, not {code!r}")
    folder = parent / code
    if folder.exists():
        raise FileExistsError(f"{folder} is there already: nothing was changed")
    folder.mkdir(parents=True)
    for blank in sorted(BLANK.glob("*.yaml")):
        text = blank.read_text(encoding="utf-8").replace("XX", code)
        text = text.replace("xx.", f"{code.lower()}.")
        (folder / blank.name).write_text(text, encoding="utf-8")
    return folder


def placeholders(market: Market) -> tuple[str, ...]:
    """Return the tables and figures that were invented: production refuses a market with any."""
    found = []
    for place, source in market.sources.items():
        if source.confidence is Confidence.PLACEHOLDER:
            found.append(place)
        elif source.assumed:
            found.append(f"{place} ({', '.join(source.assumed)})")
    return tuple(found)


FILES = (
    "market.yaml",
    "limits.yaml",
    "tariffs.yaml",
    "commissions.yaml",
    "taxes.yaml",
    "calendar.yaml",
    "rules.yaml",
    "regulator.yaml",
    "gaps.yaml",
)


def _read(folder: Path) -> tuple[Market, tuple[PackFault, ...]]:
    faults = Faults()
    for path in sorted(folder.iterdir()):
        if path.suffix in {".yaml", ".yml"} and path.name not in FILES:
            known = ", ".join(FILES)
            faults.add(file=path.name, message=f"unknown file; the files of a pack are {known}")
    market = _Pack(folder, faults).market()
    if not faults.found:
        checks.check(market, folder=folder.name, faults=faults)
    return market, tuple(faults.found)


class _Pack:
    """One pack being read. What it returns is only good while `faults` stays empty."""

    def __init__(self, folder: Path, faults: Faults) -> None:
        self._folder = folder
        self._faults = faults
        self._sources: dict[str, Source] = {}
        self._currencies: dict[str, Currency] = {}
        self._rates: dict[str, tuple[int, int]] = {}

    def market(self) -> Market:
        main = self._sheet("market.yaml")
        fields = {**self._about(main), **self._money(main)}
        fields |= {**self._place(main), **self._access(main), **self._traffic(main)}
        main.close()
        limits = self._sheet("limits.yaml")
        fields |= self._limits(limits)
        limits.close()
        tariffs = self._sheet("tariffs.yaml")
        fields |= {
            "standard_plans": self._standard_plans(tariffs),
            "tariffs": tuple(self._tariff(row) for row in tariffs.rows("tariffs")),
        }
        tariffs.close()
        commissions = self._sheet("commissions.yaml")
        rows = commissions.rows("commissions")
        fields["commissions"] = tuple(self._commission(row) for row in rows)
        commissions.close()
        taxes = self._sheet("taxes.yaml")
        fields["taxes"] = tuple(self._tax(row) for row in taxes.rows("taxes", needed=False))
        taxes.close()
        calendar = self._sheet("calendar.yaml")
        fields |= self._calendar(calendar)
        calendar.close()
        rules = self._sheet("rules.yaml")
        fields |= self._rules(rules)
        rules.close()
        duties = Sheet(self._folder, "regulator.yaml", faults=self._faults, needed=False)
        notices = duties.rows("notices", needed=False)
        fields["notices"] = tuple(self._notice(row) for row in notices)
        duties.close()
        gaps = Sheet(self._folder, "gaps.yaml", faults=self._faults, needed=False)
        fields["gaps"] = tuple(self._gap(row) for row in gaps.rows("gaps", needed=False))
        gaps.close()
        return Market(**fields, sources=self._sources)  # type: ignore[arg-type]

    def _sheet(self, file: str) -> Sheet:
        return Sheet(self._folder, file, faults=self._faults)

    # What every table has

    def _source(self, row: Row) -> Source:
        """Read where a table comes from, keep it by place, and close the row."""
        as_of = row.match(
            "as_of", r"[0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?", "a day, month or year like 2023-07-29"
        )
        assumed = row.words("assumed", needed=False)
        for word in assumed:
            if not word.startswith("from ") and not _stands_in(word, row.cells):
                row.fault(f"'assumed' names {word!r}, which is not a word of this row")
        source = Source(
            what=row.text("source"),
            as_of=as_of,
            confidence=row.choice("confidence", Confidence),
            assumed=assumed,
        )
        row.close()
        place = " / ".join(part for part in (row.file, row.table, row.row) if part)
        self._sources[place] = source
        return source

    def _period(self, row: Row) -> Period:
        first, last = row.day("from"), row.day("to")
        if first and last and last < first:
            row.fault(f"ends on {last} before it begins on {first}")
        return Period(first=first, last=last)

    def _currency(self, row: Row) -> Currency:
        """Read the currency of a row; where the market has one only, it need not be named."""
        if not row.has("currency") and len(self._currencies) == 1:
            return next(iter(self._currencies.values()))
        return self._known_currency(row, row.text("currency"))

    def _known_currency(self, row: Row, code: str) -> Currency:
        if code in self._currencies:
            return self._currencies[code]
        if code and self._currencies:
            row.fault(f"currency {code!r} is not one of {', '.join(self._currencies)}")
        return next(iter(self._currencies.values()), _NO_CURRENCY)

    def _service(self, row: Row, word: str) -> Service | None:
        if word in _PRICED:
            return _PRICED[word]
        if word and word != FILL_IN:
            row.fault(f"unknown service {word!r}")
        return None

    def _bands(self, row: Row, currency: Currency) -> tuple[Band, ...]:
        """Read 'from - to: fee' lines, and check that they neither overlap nor leave a gap."""
        lines = row.inner("bands")
        if lines is None:
            return ()
        found = [self._band(lines, span, price, currency) for span, price in lines.cells.items()]
        bands = [band for band in found if band is not None]
        if len(bands) < len(found):
            return tuple(bands)  # beside one that could not be read, a hole is no news
        for below, above in pairwise(bands):
            if above.last < below.first:
                row.fault(
                    f"the band from {_written(above.first, currency)} stands after that from"
                    f" {_written(below.first, currency)}: write the lowest first"
                )
                break
            if above.first <= below.last:
                row.fault(f"bands overlap at {_written(above.first, currency)}")
            elif above.first != below.last + currency.step:
                row.fault(
                    f"no band for amounts between {_written(below.last, currency)}"
                    f" and {_written(above.first, currency)}"
                )
        return tuple(bands)

    def _band(self, row: Row, span: str, price: str, currency: Currency) -> Band | None:
        if FILL_IN in {span, price}:
            row.fault("fill in the bands")
            return None
        ends = re.split(r"\s*-\s*", span)
        try:
            first, last = (parse_minor(end, digits=currency.digits) for end in ends)
        except ValueError:
            row.fault(f"a band must be like 101 - 500, not {span!r}")
            return None
        if last < first:
            row.fault(f"the band {span} ends before it begins")
            return None
        if first % currency.step or last % currency.step:
            row.fault(f"the band {span} does not fit the step of {currency.code}")
            return None
        try:
            if price.endswith("%"):
                return Band(first, last, 0, millionths(price))
            return Band(first, last, parse_minor(price, digits=currency.digits))
        except (AmountUnreadable, AttributeError):
            row.fault(f"the fee of {span} must be an amount or a percentage, not {price!r}")
            return None

    def _quota(self, row: Row, key: str, currency: Currency) -> tuple[Quota | None, str]:
        """Read {count or value, per, beyond}."""
        cells = row.inner(key)
        if cells is None:
            return None, ""
        quota = Quota(
            per=cells.one_of("per", {"day": Per.DAY, "month": Per.MONTH}),
            count=cells.maybe_whole("count"),
            value=cells.amount("value", digits=currency.digits, needed=False),
        )
        if quota.count is None and quota.value is None:
            cells.fault(f"{key!r} needs a count or a value")
        beyond = cells.text("beyond", default="")
        cells.close()
        return quota, beyond

    # market.yaml

    def _about(self, sheet: Sheet) -> dict[str, object]:
        row = self._table(sheet, "market")
        found: dict[str, object] = {
            "code": row.match("code", checks.CODE.pattern, "two capital letters"),
            "iso3": row.match("iso3", r"[A-Z]{3}", "three capital letters"),
            "name": row.text("name"),
            "brand": row.text("brand"),
            "operator": row.text("operator"),
            "latitude": row.decimal("latitude", least=-90, most=90),
            "longitude": row.decimal("longitude", least=-180, most=180),
        }
        names = row.inner("names")
        if names is not None:
            found["names"] = {language: names.text(language) for language in names.cells}
        self._source(row)
        return found

    def _table(self, sheet: Sheet, name: str) -> Row:
        """Return a needed table; a missing one is a fault already, and stays one fault."""
        row = sheet.table(name)
        return row or Row({}, faults=Faults(), file=sheet.file, table=name)

    def _money(self, sheet: Sheet) -> dict[str, object]:
        table = self._table(sheet, "currencies")
        lines = table.inner("list")
        for code, cells in lines.cells.items() if lines else ():
            row = Row(cells, faults=self._faults, file=sheet.file, table=table.table, row=code)
            if code == FILL_IN:
                table.fault("fill in the code of the currency")
            elif not re.fullmatch(r"[A-Z]{3}", code, re.ASCII):
                table.fault(f"a currency code is three capital letters, not {code!r}")
            digits = row.whole("digits")
            if digits > 4:
                row.fault("'digits' must be 4 or less")
            step = row.amount("step", digits=min(digits, 4))
            currency = Currency(
                code=code,
                numeric=row.match("numeric", r"[0-9]{3}", "three digits"),
                digits=digits,
                step=step or 1,
            )
            row.close()
            self._currencies[code] = currency
        if not self._currencies and table.cells:
            table.fault("'list' names no currency")
        self._source(table)
        self._reference_rates(sheet)
        return {
            "currencies": tuple(self._currencies.values()),
            "reference_rates": self._rates,
        }

    def _reference_rates(self, sheet: Sheet) -> None:
        """Read major units of each other currency worth one of the first."""
        others = list(self._currencies.values())[1:]
        table = sheet.table("reference_rates", needed=bool(others))
        if table is None:
            return
        rates = table.inner("rates")
        for other in others:
            rate = rates.amount(other.code, digits=4) if rates else None
            if rate:
                first = next(iter(self._currencies.values()))
                # The rate has four decimals here; the currencies have theirs.
                top, bottom = rate * 10**other.digits, 10**4 * 10**first.digits
                common = gcd(top, bottom)
                self._rates[other.code] = (top // common, bottom // common)
            else:
                table.fault(f"there is no rate for {other.code}")
        if rates:
            rates.close()
        self._source(table)

    def _place(self, sheet: Sheet) -> dict[str, object]:
        locale = self._table(sheet, "locale")
        weekend = locale.words("weekend")
        for word in weekend:
            if word not in _WEEKDAYS:
                locale.fault(f"'weekend' must be days like sat, sun, not {word!r}")
        found: dict[str, object] = {
            "languages": locale.words("languages"),
            "default_language": locale.text("default_language"),
            "zones": locale.words("zones"),
            "weekend": tuple(_WEEKDAYS[word] for word in weekend if word in _WEEKDAYS),
            "is_right_to_left": locale.yes_no("right_to_left"),
        }
        self._source(locale)
        numbers = self._table(sheet, "numbers")
        pattern = numbers.text("mobile_pattern")
        try:
            re.compile(pattern, re.ASCII)
        except re.error as wrong:
            numbers.fault(f"'mobile_pattern' is not a pattern: {wrong}")
        found |= {
            "dialling_code": numbers.match("dialling_code", r"[0-9]{1,3}", "one to three digits"),
            "trunk_prefix": numbers.match(
                "trunk_prefix", r"[0-9]{1,2}", "a digit or two", needed=False
            ),
            "national_length": numbers.numbers("national_length"),
            "mobile_pattern": pattern,
            "own_prefixes": numbers.words("own_prefixes"),
            "excluded_prefixes": numbers.words("excluded_prefixes", needed=False),
            "number_example": numbers.match("example", r"[0-9]{4,12}", "digits"),
        }
        self._source(numbers)
        return found

    def _access(self, sheet: Sheet) -> dict[str, object]:
        ussd, pin = self._table(sheet, "ussd"), self._table(sheet, "pin")
        identity = self._table(sheet, "identity")
        found: dict[str, object] = {
            "ussd_code": ussd.match("code", r"\*[0-9*]{1,12}#", "a code like *123#"),
            "pin_digits": pin.whole("digits", least=4),
            "pin_rejects_runs": pin.yes_no("no_runs"),
            "identity_kinds": identity.words("kinds"),
            "short_codes": tuple(self._short_code(row) for row in sheet.rows("short_codes")),
        }
        for row in (ussd, pin, identity):
            self._source(row)
        return found

    def _short_code(self, row: Row) -> ShortCode:
        code = ShortCode(
            kind=row.row,
            digits=row.numbers("digits"),
            takes_reference=row.yes_no("takes_reference"),
            value=row.text("value", default=""),
        )
        self._source(row)
        return code

    def _traffic(self, sheet: Sheet) -> dict[str, object]:
        rate, mean = self._table(sheet, "payments_a_second"), self._table(sheet, "mean_value")
        first = next(iter(self._currencies.values()), _NO_CURRENCY)
        found: dict[str, object] = {
            "payments_a_second": rate.decimal("value", least=0, most=1_000_000),
            "mean_value_minor": mean.amount("value", digits=first.digits) or 0,
        }
        self._source(rate)
        self._source(mean)
        return found

    # limits.yaml

    def _limits(self, sheet: Sheet) -> dict[str, object]:
        tiers = tuple(self._tier(row) for row in sheet.rows("tiers"))
        minimums = self._minimums(self._table(sheet, "minimums"))
        exempt: frozenset[str] = frozenset()
        row = sheet.table("exempt", needed=False)
        if row is not None:
            services = row.words("services", needed=False)
            for word in services:
                self._service(row, word)
            exempt = frozenset(services + row.words("parties", needed=False))
            self._source(row)
        caps: dict[tuple[str, str], Ceiling] = {}
        for row in sheet.rows("service_ceilings", needed=False):
            self._service(row, row.row)
            for code, ceiling in self._ceilings(row).items():
                caps[code, row.row] = ceiling
            self._source(row)
        return {
            "tiers": tiers,
            "minimums": minimums,
            "limit_exempt": exempt,
            "service_ceilings": caps,
        }

    def _tier(self, row: Row) -> Tier:
        name = row.text("name")
        requires = row.words("requires")
        ceilings = self._ceilings(row)
        changes = tuple(self._limit_change(change) for change in row.rows("changes"))
        return Tier(
            id=row.row,
            name=name,
            requires=requires,
            ceilings=ceilings,
            changes=changes,
            source=self._source(row),
        )

    def _limit_change(self, row: Row) -> LimitChange:
        return LimitChange(
            period=self._period(row),
            ceilings=self._ceilings(row),
            source=self._source(row),
        )

    def _ceilings(self, row: Row) -> dict[str, Ceiling]:
        """Read the ceilings by currency; 'as USD' converts them by the reference rate."""
        lines = row.inner("ceilings")
        found: dict[str, Ceiling] = {}
        converted: list[tuple[str, str]] = []
        for code, cells in lines.cells.items() if lines else ():
            currency = self._known_currency(row, code)
            if code not in self._currencies:
                continue
            if isinstance(cells, str) and cells.startswith("as "):
                converted.append((code, cells.removeprefix("as ").strip()))
                continue
            inner = lines.inner(code) if lines else None
            if inner is not None:
                found[code] = self._ceiling(inner, currency)
        for code, pattern in converted:
            if pattern not in found or code not in self._rates:
                row.fault(f"the ceilings of {code} cannot be those of {pattern!r}")
            else:
                found[code] = _converted(found[pattern], self._rates[code])
        if lines is None and not row.has("ceilings"):
            row.fault("'ceilings' is missing")
        return found

    def _ceiling(self, row: Row, currency: Currency) -> Ceiling:
        def most(key: str) -> int | None:
            return row.amount(key, digits=currency.digits, needed=False)

        ceiling = Ceiling(
            per_transaction=most("per_transaction"),
            daily=most("daily"),
            monthly=most("monthly"),
            yearly=most("yearly"),
            balance=most("balance"),
            count_per_day=row.maybe_whole("count_per_day"),
            send_daily=most("send_daily"),
        )
        row.close()
        return ceiling

    def _minimums(self, table: Row) -> dict[tuple[str, str], int]:
        """Read the least amounts; the word send stands for each kind of sending."""
        found: dict[tuple[str, str], int] = {}
        amounts = table.inner("amounts")
        for code in amounts.cells if amounts else ():
            currency = self._known_currency(table, code)
            row = amounts.inner(code) if amounts else None
            for word in row.cells if row else ():
                least = row.amount(word, digits=currency.digits) if row else None
                services = _SENDS if word == "send" else (self._service(table, word),)
                found[code, word] = least or 0
                for service in services:
                    if service is not None:
                        found[code, service.value] = least or 0
        self._source(table)
        return found

    # tariffs.yaml, commissions.yaml, taxes.yaml

    def _standard_plans(self, sheet: Sheet) -> dict[str, str]:
        table = sheet.table("standard_plans", needed=False)
        if table is None:
            return {}
        plans = table.inner("plans")
        found = {}
        for word in plans.cells if plans else ():
            self._service(table, word)
            found[word] = plans.text(word) if plans else ""
        self._source(table)
        return found

    def _tariff(self, row: Row) -> Tariff:
        service = self._service(row, row.text("service"))
        currency = self._currency(row)
        is_offered = row.yes_no("offered", default=True)
        bands = self._bands(row, currency)
        if is_offered and not bands and not row.has("bands"):
            row.fault("needs 'bands', or 'offered: no'")
        if not is_offered and bands:
            row.fault("has bands although it is not offered")
        free, _ = self._quota(row, "free", currency)
        plan_quota, beyond = self._quota(row, "plan_quota", currency)
        fee_min = row.amount("fee_min", digits=currency.digits, needed=False)
        fee_max = row.amount("fee_max", digits=currency.digits, needed=False)
        if fee_min is not None and fee_max is not None and fee_max < fee_min:
            row.fault("'fee_max' is less than 'fee_min'")
        return Tariff(
            id=row.row,
            service=service or Service.SEND_ON_NET,
            currency=currency.code,
            payer=row.choice("payer", FeePayer, default=None if is_offered else FeePayer.CUSTOMER),
            plan=row.text("plan", default=""),
            is_offered=is_offered,
            period=self._period(row),
            bands=bands,
            fee_min=fee_min,
            fee_max=fee_max,
            free=free,
            plan_quota=plan_quota,
            beyond=beyond,
            source=self._source(row),
        )

    def _commission(self, row: Row) -> Commission:
        service = self._service(row, row.text("service"))
        currency = self._currency(row)
        commission = Commission(
            id=row.row,
            service=service or Service.DEPOSIT_AGENT,
            currency=currency.code,
            bands=self._bands(row, currency),
            amount_millionths=row.percent("of_amount", needed=False),
            fee_millionths=row.percent("of_fee", needed=False),
            outlet_permille=row.percent("outlet") // 1000 if row.has("outlet") else 1000,
            period=self._period(row),
            source=self._source(row),
        )
        if not any(row.has(word) for word in ("bands", "of_amount", "of_fee")):
            row.fault("needs 'bands', 'of_amount' or 'of_fee'")
        if commission.outlet_permille > 1000:
            row.fault("'outlet' must be 100% or less")
        return commission

    def _tax(self, row: Row) -> Tax:
        kind = row.text("kind")
        if kind and kind not in _TAX_KINDS:
            row.fault(f"'kind' must be one of {', '.join(_TAX_KINDS)}, not {kind!r}")
        currency = self._currency(row) if row.has("currency") else None
        by_amount = row.has("bands") or row.has("threshold")
        if by_amount and currency is None and len(self._currencies) > 1:
            row.fault("needs 'currency', because the market has several")
        unit = currency or next(iter(self._currencies.values()), _NO_CURRENCY)
        if row.has("rate") == row.has("bands"):
            row.fault("needs either 'rate' or 'bands'")
        words = row.words("services")
        if "all" in words:
            words = words[1:] if words == ("all",) else words
        found = (self._service(row, word) for word in words)
        threshold, _ = self._quota(row, "threshold", unit)
        return Tax(
            id=row.row,
            kind=kind,
            base=row.choice("base", TaxBase),
            millionths=row.percent("rate", needed=False),
            bands=self._bands(row, unit),
            is_included=row.yes_no("included"),
            services=frozenset(service for service in found if service is not None),
            threshold=threshold,
            exempt=row.words("exempt", needed=False),
            currency=currency.code if currency else "",
            period=self._period(row),
            source=self._source(row),
        )

    # calendar.yaml, rules.yaml, gaps.yaml

    def _calendar(self, sheet: Sheet) -> dict[str, object]:
        paydays = self._table(sheet, "paydays")
        days = paydays.numbers("days")
        for day in days:
            if not 1 <= day <= 31:
                paydays.fault(f"{day} is not a day of the month")
        found: dict[str, object] = {
            "holidays": self._holidays(self._table(sheet, "holidays")),
            "paydays": tuple(sorted(days)),
            "peaks": self._peaks(self._table(sheet, "peaks")),
        }
        self._source(paydays)
        table = sheet.table("seasons", needed=False)
        if table is not None:
            found["seasons"] = tuple(self._season(row) for row in table.rows("list"))
            self._source(table)
        found["maintenance"] = None
        table = sheet.table("maintenance", needed=False)
        if table is not None:
            found["maintenance"] = table.span("window")
            self._source(table)
        return found

    def _holidays(self, table: Row) -> dict[date, str]:
        found = {}
        days = table.inner("days")
        for text in days.cells if days else ():
            if text == FILL_IN:
                table.fault("fill in the holidays")
                continue
            try:
                found[iso_day(text)] = days.text(text) if days else ""
            except ValueError:
                table.fault(f"a holiday is a day like 2026-01-01, not {text!r}")
        self._source(table)
        return found

    def _peaks(self, table: Row) -> tuple[tuple[time, time, int], ...]:
        found = []
        times = table.inner("times")
        for text in times.cells if times else ():
            load = times.percent(text) if times else 0
            span = Row({"times": text}, faults=self._faults, file=table.file, table=table.table)
            ends = span.span("times")
            if ends is not None:
                found.append((*ends, load // 1000))
        self._source(table)
        return tuple(found)

    def _season(self, row: Row) -> Season:
        season = Season(
            name=row.text("name"),
            first=self._season_end(row, "from"),
            last=self._season_end(row, "to"),
            load_permille=row.percent("load") // 1000,
        )
        if len(season.first) != len(season.last):
            row.fault("'from' and 'to' must be written alike")
        row.close()
        return season

    def _season_end(self, row: Row, key: str) -> tuple[int, ...]:
        text = row.text(key)
        parts = _SEASON_END.fullmatch(text)
        if parts is None:
            row.fault(f"{key!r} must be like 28, 12-20 or 2026-12-20, not {text!r}")
            return ()
        return tuple(int(part) for part in parts.groups() if part)

    def _rules(self, sheet: Sheet) -> dict[str, object]:
        rules: dict[str, dict[str, str]] = {}
        hours: dict[str, int | None] = {"reversal": None, "incident_notice": None}
        notice: int | None = None
        for row in sheet.rows("rules"):
            words = _RULE_WORDS.get(row.row)
            if words is None:
                row.fault(f"unknown rule; known are {', '.join(_RULE_WORDS)}")
                continue
            rules[row.row] = {word: row.text(word) for word in (*words, "detail") if row.has(word)}
            match row.row:
                case "reversal":
                    hours["reversal"] = row.whole("window_h")
                case "incident_notice":
                    hours["incident_notice"] = row.maybe_whole("first_notice_h")
                case "change_notice":
                    notice = row.maybe_whole("tariff_days")
                case _:
                    pass
            self._source(row)
        if "reversal" not in rules:
            self._faults.add(
                file=sheet.file, table="rules", row="reversal", message="the rule is missing"
            )
        return {
            "rules": rules,
            "reversal_window_h": hours["reversal"] or 0,
            "incident_notice_h": hours["incident_notice"],
            "tariff_notice_days": notice,
        }

    def _notice(self, row: Row) -> NoticeRule:
        severity = row.whole("severity", least=1)
        if severity > SEVERITY_MOST:
            row.fault(f"'severity' must be a whole number from 1 to {SEVERITY_MOST}")
        return NoticeRule(
            id=row.row,
            scope=row.choice("scope", Notice),
            severity=severity,
            minutes=row.whole("minutes"),
            hours=row.whole("hours", least=1),
            recipient=row.text("recipient"),
            form=row.text("form"),
            detail=row.text("detail", default=""),
            standing=row.choice("status", Standing),
            period=self._period(row),
            source=self._source(row),
        )

    def _gap(self, row: Row) -> Gap:
        return Gap(
            id=row.row,
            what=row.text("what"),
            period=self._period(row),
            source=self._source(row),
        )


def _stands_in(word: str, cells: Any) -> bool:
    """Tell whether a word is a key of the row, however deep."""
    return isinstance(cells, dict) and (
        word in cells or any(_stands_in(word, inner) for inner in cells.values())
    )


_NO_CURRENCY = Currency(code="", numeric="", digits=2, step=1)


def _converted(ceiling: Ceiling, rate: tuple[int, int]) -> Ceiling:
    """Return ceilings in another currency, rounded down: a ceiling is never passed."""

    def other(minor: int | None) -> int | None:
        return None if minor is None else divide(minor * rate[0], rate[1], Rounding.DOWN)

    return replace(
        ceiling,
        per_transaction=other(ceiling.per_transaction),
        daily=other(ceiling.daily),
        monthly=other(ceiling.monthly),
        yearly=other(ceiling.yearly),
        balance=other(ceiling.balance),
        send_daily=other(ceiling.send_daily),
    )


def _written(minor: int, currency: Currency) -> str:
    whole, part = divmod(minor, 10**currency.digits)
    return f"{whole}.{part:0{currency.digits}d}" if part else str(whole)
