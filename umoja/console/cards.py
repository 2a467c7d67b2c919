"""Cards: what the wall and a market's page show of a market's figures, and how it is judged. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup

from umoja.console.charts import line_chart
from umoja.console.pages import amount, clock_time, words
from umoja.markets.market import Market
from umoja.ops.incident import Incident
from umoja.ops.objectives import Budget
from umoja.ops.telemetry import Figures, Part

NOTHING = "–"

SUCCESS_GOOD, SUCCESS_BAD = 985, 950  # permille of completed and failed
LEAST_JUDGED = 20  # attempts: below, a share says little
SURPRISE = 4  # standard deviations: what chance alone hardly does
SMS_GOOD, SMS_BAD = 950, 800
P95_GOOD_MS, P95_BAD_MS = 2_000, 10_000
PENDING_GOOD_MS, PENDING_BAD_MS = 60_000, 300_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One market as people see it: texts ready to be shown, and a state for each that is judged."""

    code: str
    name: str
    brand: str
    state: str
    incidents: int
    local: str
    day: str
    success: str
    success_note: str
    success_state: str
    rate: str
    usual: str
    rate_state: str
    latency: str
    latency_state: str
    latency_p50: str
    latency_p99: str
    pending: str
    pending_count: str
    pending_note: str
    pending_state: str
    sms: str
    sms_note: str
    sms_state: str
    float: str
    gap: str
    gap_state: str
    moved: str
    payments_today: str
    spark: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentLine:
    """An incident as lists show it."""

    id: str
    severity: int
    code: str
    market: str
    title: str
    state: str
    opened: str
    opened_time: str
    lasted: str
    payments: str
    customers: str
    value: str


def card_of(
    market: Market,
    figures: Figures,
    *,
    attempts: Sequence[float | None],
    open_incidents: Sequence[Incident],
) -> Card:
    """Return the card of a market. A blind market is never shown as good, whatever it said last."""
    gap_state = "bad" if any(figures.trust_gap.values()) else ""
    latency_state = judged(figures.p95_ms, good=P95_GOOD_MS, bad=P95_BAD_MS)
    pending_state = judged(
        figures.oldest_pending_ms if figures.pending else None,
        good=PENDING_GOOD_MS,
        bad=PENDING_BAD_MS,
    )
    sms_state = judged(figures.sms_permille, good=SMS_GOOD, bad=SMS_BAD)
    # A minute that was heard whole comes first: just started is not gone quiet.
    has_minute = bool(attempts) and attempts[-1] is not None
    rate_state = _rate_state(figures) if has_minute else ""
    success_state = _success(figures)
    states = [gap_state, latency_state, pending_state, sms_state, rate_state, success_state]
    states += ["bad" if incident.severity <= 2 else "attention" for incident in open_incidents]
    state = "blind" if figures.is_blind else _worst(states)
    local = market.local(figures.at)
    expected = figures.expected_per_second
    return Card(
        code=market.code,
        name=market.name,
        brand=market.brand,
        state=state,
        incidents=len(open_incidents),
        local=local.strftime("%a %H:%M"),
        day=str(market.business_day(figures.at)),
        success=permille(figures.success_permille),
        success_note=f"of {figures.completed + figures.failed:,} in 5 min"
        if figures.success_permille is not None
        else "no payments in 5 min",
        success_state=success_state,
        rate=f"{figures.per_second:.1f}",
        usual=f"{expected:.1f}" if expected is not None else "",
        rate_state=rate_state,
        latency=milliseconds(figures.p95_ms),
        latency_state=latency_state,
        latency_p50=milliseconds(figures.p50_ms),
        latency_p99=milliseconds(figures.p99_ms),
        pending=f"{figures.pending:,} · {milliseconds(figures.oldest_pending_ms)}"
        if figures.pending
        else "none",
        pending_count=f"{figures.pending:,}",
        pending_note=f"oldest {milliseconds(figures.oldest_pending_ms)}"
        if figures.pending
        else "nothing waits",
        pending_state=pending_state,
        sms=permille(figures.sms_permille),
        sms_note=f"{figures.sms_delivered:,} arrived, {figures.sms_failed:,} failed",
        sms_state=sms_state,
        float=short_amounts(market, figures.float_minor),
        gap=amounts(market, figures.trust_gap) if gap_state else "0" if figures.issued else NOTHING,
        gap_state=gap_state,
        moved=short_amounts(market, figures.moved_today),
        payments_today=f"{figures.payments_today:,}",
        spark=line_chart(
            attempts,
            name=f"Payments a minute, {market.name}, the last hour",
            level=expected * 60 if expected is not None else None,
        ),
    )


def _rate_state(figures: Figures) -> str:
    """Judge the last minute against what is usual: a small market's ups and downs are no trouble."""
    usual = (figures.expected_per_second or 0.0) * 60
    if usual < LEAST_JUDGED:
        return ""
    came = figures.per_second * 60
    if abs(came - usual) < SURPRISE * math.sqrt(usual):
        return "good"
    share = came / usual
    return "bad" if share < 0.3 else "attention" if share < 0.6 or share > 1.6 else "good"


def _success(figures: Figures) -> str:
    if figures.completed + figures.failed < LEAST_JUDGED:
        return ""
    return judged(figures.success_permille, good=SUCCESS_GOOD, bad=SUCCESS_BAD)


def judged(value: float | None, *, good: float, bad: float) -> str:
    """Return good, attention or bad; which side is better is told by the bounds; '' for no value."""
    if value is None:
        return ""
    if good < bad:
        return "good" if value <= good else "bad" if value >= bad else "attention"
    return "good" if value >= good else "bad" if value <= bad else "attention"


def _worst(states: Sequence[str]) -> str:
    return "bad" if "bad" in states else "attention" if "attention" in states else "good"


def permille(value: int | None) -> str:
    if value is None:
        return NOTHING
    return "100 %" if value == 1000 else f"{value / 10:.1f} %"


def milliseconds(value: float | None) -> str:
    """Return a duration as people say it: 4 ms, 1.2 s, 3 min."""
    if value is None:
        return NOTHING
    if value < 1_000:
        return f"{value:.0f} ms"
    return f"{value / 1_000:.1f} s" if value < 60_000 else f"{value / 60_000:.0f} min"


def amounts(market: Market, minor: Mapping[str, int]) -> str:
    """Return the amounts of each currency in full."""
    return " + ".join(amount(market, value, code) for code, value in minor.items()) or NOTHING


def short_amounts(market: Market, minor: Mapping[str, int]) -> str:
    """Return the amounts of each currency as a wall has room for: 12.3 M."""
    found = []
    for code, value in minor.items():
        currency = market.currency(code)
        units = value / 10 ** (currency.digits if currency else 0)
        found.append(f"{code} {_short(units)}")
    return " + ".join(found) or NOTHING


def _short(units: float) -> str:
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(units) >= size:
            return (
                f"{units / size:.1f} {letter}"
                if abs(units) < 100 * size
                else f"{units / size:.0f} {letter}"
            )
    return f"{units:.0f}"


def incident_line(incident: Incident, market: Market | None, *, now: datetime) -> IncidentLine:
    """Return an incident as lists show it; one of a market that is shut keeps its code."""
    value = (
        amounts(market, incident.value_minor)
        if market
        else " + ".join(f"{code} {minor} minor" for code, minor in incident.value_minor.items())
    )
    ended = incident.resolved_at or now
    return IncidentLine(
        id=incident.id,
        severity=incident.severity,
        code=incident.market,
        market=market.name if market else incident.market,
        title=incident.title,
        state=incident.state,
        opened=incident.opened_at.strftime("%Y-%m-%d %H:%M:%S"),
        opened_time=clock_time(incident.opened_at),
        lasted=lasted((ended - incident.opened_at).total_seconds()),
        payments=f"{incident.payments:,}",
        customers=f"{incident.customers:,}",
        value=value or NOTHING,
    )


def lasted(seconds: float) -> str:
    """Return how long something took, as people say it."""
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5_400 else f"{seconds / 3_600:.1f} h"


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneyLine:
    """What the books of one currency say."""

    currency: str
    issued: str
    trust: str
    gap: str
    gap_state: str
    float: str
    moved: str


def money_line(market: Market, figures: Figures, currency: str) -> MoneyLine:
    gap = figures.trust_gap.get(currency, 0)

    def written(minor: Mapping[str, int]) -> str:
        return amount(market, minor.get(currency, 0), currency)

    return MoneyLine(
        currency=currency,
        issued=written(figures.issued),
        trust=written(figures.trust),
        gap=amount(market, gap, currency) if gap else "none",
        gap_state="bad" if gap else "good",
        float=written(figures.float_minor),
        moved=written(figures.moved_today),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PartLine:
    """One product in one channel, as a market's page lists it."""

    product: str
    channel: str
    attempts: str
    completed: str
    refused: str
    failed: str
    failed_state: str
    success: str
    p95: str
    reasons: str


def part_line(part: Part) -> PartLine:
    return PartLine(
        product=part.product,
        channel=part.channel,
        attempts=f"{part.attempts:,}",
        completed=f"{part.completed:,}",
        refused=f"{part.refused:,}",
        failed=f"{part.failed:,}",
        failed_state="bad" if part.failed else "",
        success=permille(part.success_permille),
        p95=milliseconds(part.p95_ms),
        reasons=", ".join(f"{words(reason)} {count}" for reason, count in part.reasons),
    )


BUDGET_LOW = 250  # permille of the budget: what is left for a week of 28 days
BURNS = {"": "evenly", "ticket": "too fast", "page": "much too fast"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetLine:
    """What is left of an objective of 28 days, as a market's page tells it."""

    product: str
    objective: str
    judged: str
    failed: str
    left: str
    left_state: str
    burns: str
    burns_state: str


def budget_line(budget: Budget) -> BudgetLine:
    left = budget.left_permille
    return BudgetLine(
        product=words(budget.product),
        objective=f"{budget.objective_permille / 10:.1f} %",
        judged=f"{budget.judged:,}",
        failed=f"{budget.bad:,} of {budget.allowed:,}",
        left=f"{left / 10:.0f} %" if left >= 0 else "used up",
        left_state="bad" if left < 0 else "attention" if left < BUDGET_LOW else "good",
        burns=BURNS[budget.burns],
        burns_state={"": "", "ticket": "attention", "page": "bad"}[budget.burns],
    )
