"""How a market's services stand, in the five words of the public status page. Pure.

What is not seen is not known, and never said to work: a market that is not heard, and a service that
nobody has used for hours.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from umoja.ops.incident import Incident, Stage

SERVICES = ("send_money", "withdraw", "deposit", "pay_till", "pay_bill", "airtime")
"""What every market's page lists; `payout` only where it is used."""

PAYOUT = "payout"
MESSAGES = "messages"  # the receipts by SMS
LISTED = (*SERVICES, PAYOUT, MESSAGES)

SEEN_FOR_S = 6 * 3_600
"""A service that went well so long ago is not known to work now."""

LEAST_JUDGED = 20  # payments in five minutes: below, a share says little
LEAST_WITH_INCIDENT = 5
DOWN_PERCENT = 50
PARTLY_PERCENT = 20  # without an incident: far above any market's usual failures
HEALTHY_PERCENT = 2
WHOLE_PERCENT = 50  # of a market's payments failing beyond the usual: all of its services
SMS_DOWN_PERMILLE = 200

FAILING = frozenset(
    {
        "failures",
        "volume",
        "echoes",
        "latency",
        "pending",
        "held_orders",
        "clock_skew",
        "expiry",
    }
)
"""Detectors whose incidents customers feel as payments that fail or are late."""

RECEIPTS = frozenset({"sms_receipts"})


class State(Enum):
    """How a service stands, the worst last."""

    WORKING = "working"
    PLANNED = "planned"
    UNKNOWN = "unknown"
    PARTLY = "partly"
    DOWN = "down"


_ORDER = list(State)


def worst(states: Iterable[State]) -> State:
    """Return the worst of some states; UNKNOWN where there are none."""
    return max(states, key=_ORDER.index, default=State.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One market as the centre hears it: the last five minutes of each service, and open incidents.

    `done` and `failed` are counts by service. `seen_s` is how long ago one went well; a service that
    never did is absent. `told` is what staff have published. `planned` are names under planned work.
    """

    market: str
    is_blind: bool
    done: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)
    sms_permille: int | None = None
    incidents: tuple[Incident, ...] = ()
    seen_s: Mapping[str, int] = field(default_factory=dict)
    told: Mapping[str, State] = field(default_factory=dict)
    planned: Collection[str] = ()


def listed(heard: Heard) -> tuple[str, ...]:
    """Return the services that a market's page lists, in their order."""
    has_payouts = PAYOUT in heard.seen_s or heard.failed.get(PAYOUT, 0) or PAYOUT in heard.told
    return tuple(each for each in LISTED if each != PAYOUT or has_payouts)


def states(heard: Heard) -> dict[str, State]:
    """Return the state of each service that is listed."""
    return {product: _state(heard, product) for product in listed(heard)}


def _state(heard: Heard, product: str) -> State:
    if heard.is_blind:
        return State.UNKNOWN
    if product in heard.planned or heard.market in heard.planned:
        return State.PLANNED
    found = [_measured(heard, product)]
    found += [_by_incident(heard, product, each) for each in heard.incidents if _is_felt(each)]
    found.append(heard.told.get(product, State.WORKING))
    state = worst(found)
    is_seen = heard.seen_s.get(product, SEEN_FOR_S) < SEEN_FOR_S
    return State.UNKNOWN if state is State.WORKING and not is_seen else state


def _is_felt(incident: Incident) -> bool:
    return incident.is_open and incident.stage is not Stage.MITIGATED


def _measured(heard: Heard, product: str) -> State:
    """Judge by what was counted alone; too few say nothing against a service."""
    if product == MESSAGES:
        permille = heard.sms_permille
        return (
            State.DOWN if permille is not None and permille < SMS_DOWN_PERMILLE else State.WORKING
        )
    done, failed = heard.done.get(product, 0), heard.failed.get(product, 0)
    tried = done + failed
    if tried < LEAST_JUDGED or failed * 100 < PARTLY_PERCENT * tried:
        return State.WORKING
    return State.DOWN if failed * 100 >= DOWN_PERCENT * tried else State.PARTLY


def _by_incident(heard: Heard, product: str, incident: Incident) -> State:
    """Judge what one incident means for one service."""
    if product == MESSAGES:
        return State.PARTLY if incident.detector in RECEIPTS else State.WORKING
    if incident.detector not in FAILING:
        return State.WORKING
    cause = incident.sheet.cause
    named = cause.name if cause is not None and cause.kind == "product" else incident.product
    if named and named != product:
        return State.WORKING
    done, failed = heard.done.get(product, 0), heard.failed.get(product, 0)
    tried = done + failed
    if tried >= LEAST_WITH_INCIDENT and failed * 100 >= DOWN_PERCENT * tried:
        return State.DOWN
    if named or is_whole(incident):
        # An outage in which nothing fails: nobody gets through.
        is_silent = not sum(heard.done.values()) if not named else not tried
        return State.DOWN if is_silent and incident.detector == "volume" else State.PARTLY
    if tried >= LEAST_JUDGED and failed * 100 < HEALTHY_PERCENT * tried:
        return State.WORKING  # one of the several that this trouble does not touch
    return State.PARTLY


def is_whole(incident: Incident) -> bool:
    """Tell whether an incident touches its whole market and not some of its services."""
    cause = incident.sheet.cause
    is_market = cause is not None and cause.kind == "market"
    return is_market or incident.sheet.share_percent >= WHOLE_PERCENT
