"""Cards: what the wall and a market's page show of a market's figures, and how it is judged. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup

from umoja.console.charts import line_chart
from umoja.console.pages import amount, clock_time, words
from umoja.console.words import _, day, later, money, number, percent, place, weekday
from umoja.markets.market import Market
from umoja.ops.incident import Incident
from umoja.ops.objectives import Budget
from umoja.ops.service_state import SERVICES
from umoja.ops.telemetry import CHANNELS, Figures, Part

NOTHING = "–"

SUCCESS_GOOD, SUCCESS_BAD = 985, 950  # permille of completed and failed
LEAST_JUDGED = 20  # attempts: below, a share says little
SURPRISE = 4  # standard deviations: what chance alone hardly does
SMS_GOOD, SMS_BAD = 950, 800
P95_GOOD_MS, P95_BAD_MS = 2_000, 10_000
OFFSET_GOOD_MS, OFFSET_BAD_MS = 100, 1_000
ABLE_GOOD, ABLE_BAD = 950, 800  # permille of a district's agents who can serve
DUE_SOON_S = 30 * 60  # of a regulator's clock
PENDING_GOOD_MS, PENDING_BAD_MS = 60_000, 300_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What the wall knows of a market beside its payments; None and () where nobody has told."""

    unheard_s: int | None = None  # since its last sign of life
    breaches: float | None = None  # that the auditor finds in the books
    offset_ms: float | None = None  # of the clock that is the farthest off
    able_permille: float | None = None  # of the agents, in the district that is worst off
    webhooks: tuple[int, int] | None = None  # events tried in five minutes, and not taken
    planned: tuple[str, ...] = ()  # names that are worked on
    planned_until: datetime | None = None
    due_s: int | None = None  # until the next notice to a regulator; below nought it is overdue
    peak: tuple[datetime, float] | None = None  # the next one, and attempts a second


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
    webhooks: str
    webhooks_state: str
    float: str
    able: str
    able_state: str
    gap: str
    gap_state: str
    books: str
    books_state: str
    offset: str
    offset_state: str
    peak: str
    moved: str
    payments_today: str
    unheard: str
    planned: str
    due: str
    due_state: str
    severity: int  # of the gravest open incident; 0: none
    cost: str  # of all that are open
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
    opened_day: str
    opened_time: str
    lasted: str
    payments: str
    customers: str
    value: str


NOTHING_AROUND = Around()


def card_of(
    market: Market,
    said: Figures,
    *,
    attempts: Sequence[float | None],
    open_incidents: Sequence[Incident],
    around: Around = NOTHING_AROUND,
) -> Card:
    """Return the card of a market. A blind market is never shown as good, whatever it said last."""
    gap_state = "bad" if any(said.trust_gap.values()) else ""
    latency_state = judged(said.p95_ms, good=P95_GOOD_MS, bad=P95_BAD_MS)
    pending_state = judged(
        said.oldest_pending_ms if said.pending else None,
        good=PENDING_GOOD_MS,
        bad=PENDING_BAD_MS,
    )
    sms_state = judged(said.sms_permille, good=SMS_GOOD, bad=SMS_BAD)
    # A minute that was heard whole comes first: just started is not gone quiet.
    has_minute = bool(attempts) and attempts[-1] is not None
    rate_state = _rate_state(said) if has_minute else ""
    success_state = _success(said)
    tried, failed = around.webhooks or (0, 0)
    taken = (tried - failed) * 1000 // tried if tried else None
    books_state = "" if around.breaches is None else "bad" if around.breaches else "good"
    offset_state = "" if around.offset_ms is None else clock_state(around.offset_ms)
    able_state = judged(around.able_permille, good=ABLE_GOOD, bad=ABLE_BAD)
    states = [gap_state, latency_state, pending_state, sms_state, rate_state, success_state]
    states += [books_state, offset_state, able_state]
    states += ["bad" if incident.severity <= 2 else "attention" for incident in open_incidents]
    state = "blind" if said.is_blind else _worst(states)
    local = market.local(said.at)

    def seen(part: str) -> str:
        return "" if said.is_blind and part == "good" else part  # it was good, when it was heard

    expected = said.expected_per_second
    return Card(
        code=market.code,
        name=place(market),
        brand=market.brand,
        state=state,
        incidents=len(open_incidents),
        local=weekday(local),
        day=day(market.business_day(said.at)),
        success=permille(said.success_permille),
        success_note=_("of {count} in 5 min", count=said.completed + said.failed)
        if said.success_permille is not None
        else _("no payments in 5 min"),
        success_state=seen(success_state),
        rate=number(said.per_second, decimals=1),
        usual=number(expected, decimals=1) if expected is not None else "",
        rate_state=seen(rate_state),
        latency=milliseconds(said.p95_ms),
        latency_state=seen(latency_state),
        latency_p50=milliseconds(said.p50_ms),
        latency_p99=milliseconds(said.p99_ms),
        pending=f"{number(said.pending)} · {milliseconds(said.oldest_pending_ms)}"
        if said.pending
        else _("none"),
        pending_count=number(said.pending),
        pending_note=_("oldest {age}", age=milliseconds(said.oldest_pending_ms))
        if said.pending
        else _("nothing waits"),
        pending_state=seen(pending_state),
        sms=permille(said.sms_permille),
        sms_note=_(
            "{arrived} arrived, {failed} failed",
            arrived=said.sms_delivered,
            failed=said.sms_failed,
        ),
        sms_state=seen(sms_state),
        webhooks=permille(taken) if taken is not None else "",
        webhooks_state=seen(
            judged(taken, good=SMS_GOOD, bad=SMS_BAD) if tried >= LEAST_JUDGED else ""
        ),
        float=short_amounts(market, said.float_minor),
        able=""
        if around.able_permille is None
        else percent(f"{int(around.able_permille) // 10} %"),
        able_state=seen(able_state),
        gap=amounts(market, said.trust_gap) if gap_state else "0" if said.issued else NOTHING,
        gap_state=seen(gap_state),
        books=""
        if around.breaches is None
        else _("do not balance")
        if around.breaches
        else _("balance"),
        books_state=seen(books_state),
        offset="" if around.offset_ms is None else f"{around.offset_ms:+.0f} ms",
        offset_state=seen(offset_state),
        peak=_peak(market, around.peak),
        unheard=_("not heard for {age}", age=lasted(around.unheard_s))
        if around.unheard_s is not None
        else _("never heard"),
        planned=_planned(market, said.at, around),
        due="" if around.due_s is None else _due(around.due_s),
        due_state=""
        if around.due_s is None
        else "bad"
        if around.due_s < DUE_SOON_S
        else "attention",
        severity=min((each.severity for each in open_incidents), default=0),
        cost=_cost(market, open_incidents),
        moved=short_amounts(market, said.moved_today),
        payments_today=number(said.payments_today),
        spark=line_chart(
            attempts,
            name=_("Payments a minute, {market}, the last hour", market=place(market)),
            level=expected * 60 if expected is not None else None,
        ),
    )


def _planned(market: Market, now: datetime, around: Around) -> str:
    """Return what is worked on in a market, and until when in its own time; '' for nothing."""
    if not around.planned:
        return ""
    names = ", ".join(
        _("the whole market") if each == market.code else touched(each) for each in around.planned
    )
    if around.planned_until is None:
        return _("Planned work: {names}", names=names)
    until = market.local(around.planned_until)
    is_today = until.date() == market.local(now).date()
    time = f"{until:%H:%M %Z}" if is_today else f"{weekday(until)} {until:%Z}"
    return _("Planned work until {time}: {names}", time=time, names=names)


def touched(name: str) -> str:
    """Return what work touches: a service or a channel in words, a partner by its own name."""
    return words(name) if name in SERVICES or name in CHANNELS else name


def clock_state(offset_ms: float) -> str:
    """Judge how far a clock is off."""
    return judged(abs(offset_ms), good=OFFSET_GOOD_MS, bad=OFFSET_BAD_MS)


def _due(seconds: int) -> str:
    """Return how long is left to tell a regulator."""
    left = lasted(abs(seconds))
    return _("overdue by {time}", time=left) if seconds < 0 else _("{time} left", time=left)


def _peak(market: Market, peak: tuple[datetime, float] | None) -> str:
    if peak is None:
        return ""
    at, a_second = peak
    return f"{market.local(at):%H:%M} · {number(a_second, decimals=1)}"


def _cost(market: Market, incidents: Sequence[Incident]) -> str:
    summed = {code: minor for code, minor in _summed(incidents).items() if minor}
    return short_amounts(market, summed) if summed else ""


def _summed(incidents: Sequence[Incident]) -> dict[str, int]:
    summed: dict[str, int] = {}
    for incident in incidents:
        for currency, minor in incident.value_minor.items():
            summed[currency] = summed.get(currency, 0) + minor
    return summed


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
    return percent("100 %" if value == 1000 else f"{value / 10:.1f} %")


def milliseconds(value: float | None) -> str:
    """Return a duration as people say it: 4 ms, 1.2 s, 3 min."""
    if value is None:
        return NOTHING
    if value < 1_000:
        return f"{value:.0f} ms"
    if value < 60_000:
        return f"{number(value / 1_000, decimals=1)} s"
    return f"{value / 60_000:.0f} min"


def amounts(market: Market, minor: Mapping[str, int]) -> str:
    """Return the amounts of each currency in full."""
    return (
        " + ".join(money(amount(market, value, code)) for code, value in minor.items()) or NOTHING
    )


def short_amounts(market: Market, minor: Mapping[str, int]) -> str:
    """Return the amounts of each currency as a wall has room for: 12.3 M."""
    found = []
    for code, value in minor.items():
        currency = market.currency(code)
        units = value / 10 ** (currency.digits if currency else 0)
        found.append(money(f"{code} {_short(units)}"))
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
        else " + ".join(
            _("{amount} minor", amount=f"{code} {minor}")
            for code, minor in incident.value_minor.items()
        )
    )
    ended = incident.resolved_at or now
    return IncidentLine(
        id=incident.id,
        severity=incident.severity,
        code=incident.market,
        market=place(market) if market else incident.market,
        title=incident.title,
        state=incident.state,
        opened=f"{day(incident.opened_at)} {clock_time(incident.opened_at)}",
        opened_day=day(incident.opened_at),
        opened_time=clock_time(incident.opened_at),
        lasted=lasted((ended - incident.opened_at).total_seconds()),
        payments=number(incident.payments),
        customers=number(incident.customers),
        value=value or NOTHING,
    )


def lasted(seconds: float) -> str:
    """Return how long something took, as people say it."""
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    if seconds < 5_400:
        return f"{seconds / 60:.0f} min"
    return f"{number(seconds / 3_600, decimals=1)} h"


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
        return money(amount(market, minor.get(currency, 0), currency))

    return MoneyLine(
        currency=currency,
        issued=written(figures.issued),
        trust=written(figures.trust),
        gap=money(amount(market, gap, currency)) if gap else _("none"),
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
        attempts=number(part.attempts),
        completed=number(part.completed),
        refused=number(part.refused),
        failed=number(part.failed),
        failed_state="bad" if part.failed else "",
        success=permille(part.success_permille),
        p95=milliseconds(part.p95_ms),
        reasons=", ".join(f"{words(reason)} {number(count)}" for reason, count in part.reasons),
    )


BUDGET_LOW = 250  # permille of the budget: what is left for a week of 28 days
BURNS = {"": later("evenly"), "ticket": later("too fast"), "page": later("much too fast")}


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
        objective=percent(f"{budget.objective_permille / 10:.1f} %"),
        judged=number(budget.judged),
        failed=_("{failed} of {allowed}", failed=budget.bad, allowed=budget.allowed),
        left=percent(f"{left / 10:.0f} %") if left >= 0 else _("used up"),
        left_state="bad" if left < 0 else "attention" if left < BUDGET_LOW else "good",
        burns=_(BURNS[budget.burns]),
        burns_state={"": "", "ticket": "attention", "page": "bad"}[budget.burns],
    )
