"""Show: a market's figures on one day as plain tables of text, each with where it comes from.

Pure: `tables` takes a market and a day and returns text, ready for a screen or for JSON. Amounts
are in major units of the currency named beside them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import date
from typing import Any

from umoja.markets.market import (
    Band,
    Ceiling,
    Commission,
    Confidence,
    Market,
    Period,
    Quota,
    Source,
    Tariff,
    Tax,
)
from umoja.money import format_minor

INVENTED = "Marked placeholder: invented, and refused in production."


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of text under as many columns, with a note below where there is something to add."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def tables(market: Market, day: date) -> list[Table]:
    """Return what is in force in a market on `day`, and what is missing or invented."""
    return [
        _about(market),
        _prices(market, day),
        _tariffs(market, day),
        _taxes(market, day),
        _commissions(market, day),
        _limits(market, day),
        _minimums(market),
        _calendar(market, day),
        _rules(market),
        _notices(market),
        _gaps(market),
    ]


def plain(shown: Iterable[Table]) -> list[dict[str, Any]]:
    """Return tables as lists and dicts of text, each row by its column names."""
    return [
        {
            "title": table.title,
            "note": table.note,
            "rows": [dict(zip(table.columns, row, strict=True)) for row in table.rows],
        }
        for table in shown
    ]


def _about(market: Market) -> Table:
    codes = (
        f"{code.kind} {code.value or '/'.join(map(str, code.digits)) + ' digits'}"
        for code in market.short_codes
    )
    own = ", ".join(market.own_prefixes)
    lines = {
        "name": (market.name, "market"),
        "brand": (market.brand, "market"),
        "operator": (market.operator, "market"),
        "currencies": (", ".join(each.code for each in market.currencies), "currencies"),
        "languages": (", ".join(market.languages), "locale"),
        "time zones": (", ".join(market.zones), "locale"),
        "telephone": (
            f"+{market.dialling_code} {market.number_example}, own numbers begin with {own}",
            "numbers",
        ),
        "USSD": (market.ussd_code, "ussd"),
        "PIN": (f"{market.pin_digits} digits", "pin"),
        "identity": (", ".join(market.identity_kinds), "identity"),
        "short codes": (", ".join(codes), "short_codes / paybill"),
    }
    for code, (top, bottom) in market.reference_rates.items():
        first, other = market.currencies[0], market.currency(code)
        assert other is not None, "a pack has rates of its own currencies only"
        worth = top * 10**first.digits * 10_000 // (bottom * 10**other.digits)
        rate = format_minor(worth, digits=4).rstrip("0").rstrip(".")
        lines[f"{first.code} 1"] = (f"{code} {rate}", "reference_rates")
    return Table(
        title=f"{market.name} ({market.code})",
        columns=("what", "is", "confidence", "source"),
        rows=tuple(
            (name, text, *_origin(market.sources.get(f"market.yaml / {place}")))
            for name, (text, place) in lines.items()
        ),
        note=INVENTED,
    )


def _in_force(market: Market, day: date) -> list[Tariff]:
    return [
        tariff
        for tariff in market.tariffs
        if tariff
        in market.tariffs_for(
            service=tariff.service, currency=tariff.currency, plan=tariff.plan, day=day
        )
    ]


def _prices(market: Market, day: date) -> Table:
    rows = []
    for tariff in _in_force(market, day):
        for first, last, fee in _band_cells(market, tariff.bands, tariff.currency):
            rows.append((tariff.id, tariff.currency, first, last, fee))
        if not tariff.is_offered:
            rows.append((tariff.id, tariff.currency, "", "", "not offered"))
    return Table(
        title=f"Prices on {day}",
        columns=("tariff", "currency", "from", "to", "fee"),
        rows=tuple(rows),
    )


def _tariffs(market: Market, day: date) -> Table:
    rows = []
    for tariff in _in_force(market, day):
        bounds = [
            f"{word} {_amount(market, minor, tariff.currency)}"
            for word, minor in (("at least", tariff.fee_min), ("at most", tariff.fee_max))
            if minor is not None
        ]
        if tariff.free:
            bounds.append(f"free: first {_quota(market, tariff.free, tariff.currency)}")
        if tariff.plan_quota:
            held = _quota(market, tariff.plan_quota, tariff.currency)
            bounds.append(f"first {held}, then {tariff.beyond}")
        plan = tariff.plan
        if plan and market.standard_plans.get(tariff.service.value) == plan:
            plan += " (standard)"
        rows.append(
            (
                tariff.id,
                tariff.service.value,
                tariff.payer.value if tariff.is_offered else "",
                plan,
                "; ".join(bounds),
                _days(tariff.period),
                *_origin(tariff.source),
            )
        )
    return Table(
        title=f"Tariffs on {day}",
        columns=(
            "tariff",
            "service",
            "payer",
            "plan",
            "conditions",
            "holds",
            "confidence",
            "source",
        ),
        rows=tuple(rows),
        note=INVENTED,
    )


def _taxes(market: Market, day: date) -> Table:
    rows: list[tuple[str, ...]] = []
    for tax in market.taxes:
        if not tax.period.holds(day):
            continue
        services = ", ".join(sorted(each.value for each in tax.services)) or "all"
        rows.extend(
            (
                tax.id,
                tax.kind,
                tax.base.value,
                rate,
                "in the price" if tax.is_included else "on top",
                services,
                _days(tax.period),
                *_origin(tax.source),
            )
            for rate in _rates(market, tax)
        )
    return Table(
        title=f"Taxes on {day}",
        columns=(
            "tax",
            "kind",
            "of",
            "rate",
            "where",
            "services",
            "holds",
            "confidence",
            "source",
        ),
        rows=tuple(rows),
        note=INVENTED if rows else "No tax is known.",
    )


def _rates(market: Market, tax: Tax) -> list[str]:
    currency = tax.currency or market.currencies[0].code
    if tax.bands:
        return [
            f"{first} - {last}: {fee}"
            for first, last, fee in _band_cells(market, tax.bands, currency)
        ]
    rate = _percent(tax.millionths)
    if tax.threshold:
        rate += f" above {_quota(market, tax.threshold, currency)}"
    return [rate]


def _commissions(market: Market, day: date) -> Table:
    rows: list[tuple[str, ...]] = []
    for row in market.commissions:
        held = market.commission_for(service=row.service, currency=row.currency, day=day)
        if held is not row:
            continue
        rows.extend(
            (
                row.id,
                row.service.value,
                row.currency,
                earned,
                _percent(row.outlet_permille * 1000),
                _days(row.period),
                *_origin(row.source),
            )
            for earned in _earned(market, row)
        )
    return Table(
        title=f"Commissions on {day}",
        columns=(
            "commission",
            "service",
            "currency",
            "agent earns",
            "outlet keeps",
            "holds",
            "confidence",
            "source",
        ),
        rows=tuple(rows),
        note=INVENTED,
    )


def _earned(market: Market, row: Commission) -> list[str]:
    if row.bands:
        return [
            f"{first} - {last}: {fee}"
            for first, last, fee in _band_cells(market, row.bands, row.currency)
        ]
    parts = []
    if row.amount_millionths:
        parts.append(f"{_percent(row.amount_millionths)} of the amount")
    if row.fee_millionths:
        parts.append(f"{_percent(row.fee_millionths)} of the fee")
    return [" and ".join(parts)]


def _limits(market: Market, day: date) -> Table:
    words = tuple(each.name for each in fields(Ceiling))
    rows = []
    for tier in market.tiers:
        for currency in market.currencies:
            ceiling = market.ceiling(tier=tier.id, currency=currency.code, day=day)
            assert ceiling is not None, "a pack gives each tier ceilings in each currency"
            source = next(
                (each.source for each in tier.changes if each.period.holds(day)), tier.source
            )
            cells = _ceiling_cells(market, ceiling, currency.code)
            rows.append((tier.name, currency.code, *cells, *_origin(source)))
    for (code, service), ceiling in market.service_ceilings.items():
        source = market.sources[f"limits.yaml / service_ceilings / {service}"]
        cells = _ceiling_cells(market, ceiling, code)
        rows.append((f"in {service}", code, *cells, *_origin(source)))
    exempt = ", ".join(sorted(market.limit_exempt))
    return Table(
        title=f"Limits on {day}",
        columns=("tier", "currency", *words, "confidence", "source"),
        rows=tuple(rows),
        note=f"Outside every limit: {exempt}." if exempt else INVENTED,
    )


def _ceiling_cells(market: Market, ceiling: Ceiling, currency: str) -> tuple[str, ...]:
    cells = []
    for each in fields(Ceiling):
        value = getattr(ceiling, each.name)
        if value is None:
            cells.append("")
        elif each.name == "count_per_day":
            cells.append(str(value))
        else:
            cells.append(_amount(market, value, currency))
    return tuple(cells)


def _minimums(market: Market) -> Table:
    services = {tariff.service.value for tariff in market.tariffs}
    origin = _origin(market.sources.get("limits.yaml / minimums"))
    return Table(
        title="Least amounts",
        columns=("service", "currency", "least", "confidence", "source"),
        rows=tuple(
            (service, currency, _amount(market, least, currency), *origin)
            for (currency, service), least in market.minimums.items()
            if service in services
        ),
    )


def _calendar(market: Market, day: date) -> Table:
    rows = []

    def add(what: str, when: str, load: str, place: str) -> None:
        rows.append((what, when, load, *_origin(market.sources.get(f"calendar.yaml / {place}"))))

    add("paydays", ", ".join(map(str, market.paydays)), "", "paydays")
    for first, last, permille in market.peaks:
        add("peak", f"{first:%H:%M} - {last:%H:%M}", _percent(permille * 1000), "peaks")
    for season in market.seasons:
        when = f"{_season_end(season.first)} - {_season_end(season.last)}"
        add(season.name, when, _percent(season.load_permille * 1000), "seasons")
    if market.maintenance:
        first, last = market.maintenance
        add("maintenance", f"{first:%H:%M} - {last:%H:%M}", "", "maintenance")
    for holiday, name in sorted(market.holidays.items()):
        if holiday >= day:
            add(name, str(holiday), "", "holidays")
    return Table(
        title=f"Calendar from {day}",
        columns=("what", "when", "load", "confidence", "source"),
        rows=tuple(rows),
        note=INVENTED,
    )


def _season_end(parts: tuple[int, ...]) -> str:
    return "-".join(f"{part:02d}" for part in parts)


def _rules(market: Market) -> Table:
    return Table(
        title="Rules",
        columns=("rule", "word", "is", "confidence", "source"),
        rows=tuple(
            (rule, word, text, *_origin(market.sources.get(f"rules.yaml / rules / {rule}")))
            for rule, words in market.rules.items()
            for word, text in words.items()
        ),
        note=INVENTED,
    )


def _notices(market: Market) -> Table:
    return Table(
        title="Notices to the regulator",
        columns=("rule", "about", "severity", "after", "within", "to", "days", "known", "source"),
        rows=tuple(
            (
                each.id,
                each.scope.value,
                f"{each.severity} or graver",
                f"{each.minutes} min",
                f"{each.hours} h",
                each.recipient,
                _days(each.period),
                each.standing.value,
                each.source.what,
            )
            for each in market.notices
        ),
        note="No row: no rule on record. Ask your compliance officer."
        if not market.notices
        else "",
    )


def _gaps(market: Market) -> Table:
    return Table(
        title="Not known",
        columns=("gap", "what is missing", "days"),
        rows=tuple((gap.id, gap.what, _days(gap.period)) for gap in market.gaps),
    )


def _band_cells(market: Market, bands: tuple[Band, ...], currency: str) -> list[tuple[str, ...]]:
    return [
        (
            _amount(market, band.first, currency),
            _amount(market, band.last, currency),
            _percent(band.millionths) if band.millionths else _amount(market, band.fee, currency),
        )
        for band in bands
    ]


def _amount(market: Market, minor: int, currency: str) -> str:
    known = market.currency(currency)
    assert known is not None, "a pack names only its own currencies"
    text = format_minor(minor, digits=known.digits, grouped=True)
    return text.split(".")[0] if minor % 10**known.digits == 0 else text


def _percent(millionths: int) -> str:
    """Write 5500 as 0.55%."""
    whole, part = divmod(millionths, 10_000)
    return f"{whole}.{part:04d}".rstrip("0").rstrip(".") + "%"


def _quota(market: Market, quota: Quota, currency: str) -> str:
    of = [f"{quota.count} payment{'' if quota.count == 1 else 's'}"] if quota.count else []
    if quota.value is not None:
        of.append(f"{currency} {_amount(market, quota.value, currency)}")
    return f"{' or '.join(of)} a {quota.per.value.removeprefix('calendar_')}"


def _days(period: Period) -> str:
    match period.first, period.last:
        case None, None:
            return "always"
        case first, None:
            return f"from {first}"
        case None, last:
            return f"until {last}"
        case first, last:
            return f"{first} to {last}"


def _origin(source: Source | None) -> tuple[str, str]:
    """Return confidence and source; figures that nobody has read are named beside it."""
    if source is None:
        return "", ""
    confidence = source.confidence.value
    if source.assumed and source.confidence is not Confidence.PLACEHOLDER:
        confidence += f" (placeholder: {', '.join(source.assumed)})"
    return confidence, f"{source.what}, {source.as_of}"
