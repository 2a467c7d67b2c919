"""The draft of a notice to a regulator: plain text, filled in from what was computed. Pure.

It names no customer, no phone number and no payment; a person reads it, adds what is asked for in
brackets, and sends it.
"""

from collections.abc import Sequence
from datetime import datetime
from textwrap import fill

from umoja.clock import from_micros
from umoja.markets.market import Market
from umoja.money import Money
from umoja.ops.incident import Incident
from umoja.ops.regulators import RegulatorClock

WIDTH = 78
LABEL = 26
LINES_MAX = 60  # of measures and of messages


def drafted(
    found: RegulatorClock,
    incident: Incident,
    market: Market,
    *,
    now: datetime,
    remedies: Sequence[str] = (),
    told: Sequence[tuple[datetime, str]] = (),
) -> str:
    """Return the draft. `remedies` are what was done; `told` are the messages to the public."""
    body = found.body
    product = incident.product.replace("_", " ") or "several services"
    cause = incident.sheet.cause
    parts = [
        _title("NOTICE OF AN INCIDENT (DRAFT)"),
        _row("To", body.recipient),
        _row("From", f"{market.operator} ({market.brand}, {market.name})"),
        _row("Our reference", incident.id),
        _row("Form", body.form),
        _row("Rule", f"within {body.hours} hours; {body.source}, {body.as_of} ({body.standing})"),
        _row("Due by", _at(market, from_micros(found.due_at))),
        _row("Figures as of", _at(market, now)),
        _title("1. What happened"),
        _row("Incident", incident.title),
        _row("Services", product),
        _row("State now", incident.stage.value),
        _row("Severity", f"{incident.severity} of 4, where 1 is the gravest"),
        _title("2. Times"),
        _row("Began", _at(market, incident.began_at)),
        _row("Noticed", _at(market, incident.opened_at)),
        _row("Taken in hand", _at(market, incident.acknowledged_at)),
        _row("Cause found", _at(market, incident.identified_at)),
        _row("Harm stopped", _at(market, incident.mitigated_at)),
        _row("Resolved", _at(market, incident.resolved_at)),
        _title("3. Impact, as computed"),
        _row("Payments that failed", f"{incident.payments:,} beyond what is usual"),
        *(_row("Their value", value) for value in _values(incident, market)),
        _row("Customers", f"{incident.customers:,}"),
        _row("Agents and merchants", f"{incident.sheet.agents:,}"),
        _row("Share of all payments", f"{incident.sheet.share_percent} % beyond what is usual"),
        _row(
            "Of unknown outcome",
            f"{len(incident.sheet.hanging):,} open, {incident.sheet.settled:,} settled",
        ),
        _title("4. Cause"),
        _row("As known now", f"{cause.kind}: {cause.name}" if cause else "not known yet"),
        _title("5. Measures"),
        *_listed(list(remedies) or list(incident.sheet.remedies), "[none yet]"),
        _title("6. What customers were told"),
        *_listed([f"{_at(market, at)}: {text}" for at, text in told], "[nothing yet]"),
        _title("7. To be added"),
        _row("Contact", "[name, telephone and e-mail of the person who answers for this notice]"),
        _row("Customers' data", "[whether any was touched]"),
        _row("Further steps", "[what is planned, and when the full report follows]"),
    ]
    return "\n".join(parts) + "\n"


def _title(text: str) -> str:
    return f"\n{text}\n{'-' * len(text)}"


def _row(label: str, text: str) -> str:
    return fill(
        text,
        WIDTH,
        initial_indent=f"{label}:".ljust(LABEL),
        subsequent_indent=" " * LABEL,
        break_long_words=False,
    )


def _listed(lines: Sequence[str], empty: str) -> list[str]:
    return [
        fill(each, WIDTH, initial_indent="- ", subsequent_indent="  ") for each in lines[:LINES_MAX]
    ] or [empty]


def _at(market: Market, at: datetime | None) -> str:
    """Write a moment in the market's time, with UTC beside it."""
    if at is None:
        return "not yet"
    return f"{market.local(at):%Y-%m-%d %H:%M:%S} ({market.zones[0]}), {at:%H:%M:%S} UTC"


def _values(incident: Incident, market: Market) -> list[str]:
    known = [
        market.written(Money(minor, currency))
        for currency, minor in sorted(incident.value_minor.items())
        if market.currency(currency) is not None
    ]
    return known or ["none counted"]
