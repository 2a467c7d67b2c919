"""On-call: who answers a page at a moment. Rosters of layers in local time, overrides and swaps. Pure.

A layer is a list of people who take turns at a local hour of its zone. Later layers of a roster
stand above earlier ones in the hours they cover; an override stands above all. Local hours follow
summer time: a shift that begins at eight begins at eight all year.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import msgspec

PEOPLE_MAX = 50
LAYERS_MAX = 20
SHIFTS_MAX = 2_000
AHEAD_MOST = timedelta(days=400)
ALL_DAYS = (0, 1, 2, 3, 4, 5, 6)

_DAY = timedelta(days=1)
_MIDNIGHT = time(0, 0)


class RosterRefused(ValueError):
    """A roster, an override or a chain cannot be as given. It says what and why."""


class Hours(msgspec.Struct, frozen=True, kw_only=True):
    """Local hours of some days of the week (0 is Monday). An end at or before the start is next day's."""

    days: tuple[int, ...] = ALL_DAYS
    starts: str = "00:00"
    ends: str = "00:00"


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """People in turn, from a date on, each for so many days from a local hour on.

    `hours` narrows the layer to parts of days: follow-the-sun is three layers with eight hours each.
    """

    name: str
    zone: str
    people: tuple[str, ...]
    first_day: str  # YYYY-MM-DD, when the first of them begins
    hands_over_at: str = "08:00"
    turn_days: int = 7
    hours: tuple[Hours, ...] = ()


class Roster(msgspec.Struct, frozen=True, kw_only=True):
    """Who is on call for some markets; `*` is all of them."""

    name: str
    markets: tuple[str, ...]
    layers: tuple[Layer, ...]


class Override(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody stands in. Times are microseconds; the newest one holds where two overlap."""

    number: int
    roster: str
    person: str
    starts_at: int
    ends_at: int
    made_by: str
    why: str = ""
    instead_of: str = ""  # only where this person would be on call; empty: whoever is


class Shift(msgspec.Struct, frozen=True, kw_only=True):
    """One stretch of time with one person on call. Aware times in UTC."""

    roster: str
    person: str
    layer: str  # or 'override'
    starts: datetime
    ends: datetime


def checked(roster: Roster) -> Roster:
    """Return the roster. Raise RosterRefused where it cannot be kept."""
    if not roster.name or len(roster.name) > 40 or not roster.name.isprintable():
        raise RosterRefused("a roster has a name of at most 40 letters")
    if not roster.markets or not roster.layers:
        raise RosterRefused("a roster has a market and a layer")
    if len(roster.layers) > LAYERS_MAX:
        raise RosterRefused(f"a roster has at most {LAYERS_MAX} layers")
    for layer in roster.layers:
        _check_layer(layer)
    return roster


def _check_layer(layer: Layer) -> None:
    try:
        ZoneInfo(layer.zone)
    except (KeyError, ValueError, OSError) as cause:
        raise RosterRefused(
            f"{layer.zone!r} is no time zone; one is written Africa/Cairo"
        ) from cause
    if not layer.people or len(layer.people) > PEOPLE_MAX:
        raise RosterRefused(f"layer {layer.name} has 1 to {PEOPLE_MAX} people")
    if not 1 <= layer.turn_days <= 366:
        raise RosterRefused(f"a turn of layer {layer.name} lasts 1 to 366 days")
    try:
        date.fromisoformat(layer.first_day)
        times = [layer.hands_over_at, *(t for h in layer.hours for t in (h.starts, h.ends))]
        for text in times:
            time.fromisoformat(text)
    except ValueError as cause:
        raise RosterRefused(f"layer {layer.name}: days are 2026-03-31, hours 08:00") from cause
    for hours in layer.hours:
        if not hours.days or not set(hours.days) <= set(ALL_DAYS):
            raise RosterRefused(f"layer {layer.name}: days of the week are 0 (Monday) to 6")


def on_call(roster: Roster, overrides: Iterable[Override], at: datetime) -> tuple[str, str] | None:
    """Return who is on call at an aware moment, and by which layer; None: nobody is."""
    person, layer = "", ""
    for each in reversed(roster.layers):
        found = _of_layer(each, at)
        if found:
            person, layer = found, each.name
            break
    stamp = _micros(at)
    standing = [
        each
        for each in overrides
        if each.roster == roster.name
        and each.starts_at <= stamp < each.ends_at
        and each.instead_of in {"", person}
    ]
    if standing:
        newest = max(standing, key=lambda each: each.number)
        return newest.person, "override"
    return (person, layer) if person else None


def shifts(
    roster: Roster, overrides: Sequence[Override], *, since: datetime, until: datetime
) -> list[Shift]:
    """Return the shifts in [since, until), in order; stretches without anybody are left out.

    At most 400 days ahead, and at most 2,000 shifts.
    """
    until = min(until, since + AHEAD_MOST)
    edges = sorted({since, until, *_edges(roster, overrides, since, until)})
    found: list[Shift] = []
    for starts, ends in pairwise(edges):
        duty = on_call(roster, overrides, starts)
        if duty is None:
            continue
        person, layer = duty
        last = found[-1] if found else None
        if last is not None and (last.person, last.layer, last.ends) == (person, layer, starts):
            found[-1] = msgspec.structs.replace(last, ends=ends)
            continue
        if len(found) == SHIFTS_MAX:
            break
        found.append(
            Shift(roster=roster.name, person=person, layer=layer, starts=starts, ends=ends)
        )
    return found


def gaps(
    roster: Roster, overrides: Sequence[Override], *, since: datetime, until: datetime
) -> list[tuple[datetime, datetime]]:
    """Return the stretches in which nobody is on call: a roster that has any is not finished."""
    found = []
    at = since
    for shift in shifts(roster, overrides, since=since, until=until):
        if shift.starts > at:
            found.append((at, shift.starts))
        at = shift.ends
    if at < min(until, since + AHEAD_MOST):
        found.append((at, until))
    return found


def _of_layer(layer: Layer, at: datetime) -> str:
    """Return whose turn it is in a layer at a moment; empty outside its hours or before it begins."""
    local = at.astimezone(ZoneInfo(layer.zone))
    if layer.hours and not any(_covers(each, local) for each in layer.hours):
        return ""
    day = local.date()
    if local.time() < time.fromisoformat(layer.hands_over_at):
        day -= _DAY  # this morning still belongs to whoever began yesterday
    passed = (day - date.fromisoformat(layer.first_day)).days
    if passed < 0:
        return ""
    return layer.people[passed // layer.turn_days % len(layer.people)]


def _covers(hours: Hours, local: datetime) -> bool:
    starts, ends = time.fromisoformat(hours.starts), time.fromisoformat(hours.ends)
    now, day = local.time(), local.weekday()
    if starts < ends:
        return day in hours.days and starts <= now < ends
    # Over midnight: the part of this evening, or that of yesterday's.
    return (day in hours.days and now >= starts) or ((day - 1) % 7 in hours.days and now < ends)


def _edges(
    roster: Roster, overrides: Iterable[Override], since: datetime, until: datetime
) -> Iterator[datetime]:
    """Yield the moments within the stretch at which the duty may change."""
    for layer in roster.layers:
        zone = ZoneInfo(layer.zone)
        clocks = {layer.hands_over_at}
        for hours in layer.hours:
            clocks |= {hours.starts, hours.ends, "00:00"}
        day = since.astimezone(zone).date() - _DAY
        last = until.astimezone(zone).date() + _DAY
        while day <= last:
            for clock in clocks:
                local = datetime.combine(day, time.fromisoformat(clock), tzinfo=zone)
                edge = local.astimezone(UTC)
                if since < edge < until:
                    yield edge
            day += _DAY
    for override in overrides:
        if override.roster == roster.name:
            for stamp in (override.starts_at, override.ends_at):
                edge = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=stamp)
                if since < edge < until:
                    yield edge


def _micros(at: datetime) -> int:
    return (at - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)


# Escalation


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a chain: page whoever is on call of a roster, or one person, then wait.

    `only_by_day`: skip a person whose local time is at night, unless the incident is of severity 1.
    """

    roster: str = ""
    person: str = ""
    via: tuple[str, ...] = ("console",)  # console, email, sms, webhook
    wait_s: int = 300
    only_by_day: bool = False


class Chain(msgspec.Struct, frozen=True, kw_only=True):
    """What happens, step by step, until somebody acknowledges; then again, `rounds` times in all."""

    name: str
    markets: tuple[str, ...]  # `*`: all
    steps: tuple[Step, ...]
    least_severity: int = 3  # a graver or equal incident pages; 4 does not
    rounds: int = 3


VIAS = frozenset({"console", "email", "sms", "webhook"})
STEPS_MAX = 20
ROUNDS_MAX = 10
DAY_BEGINS, NIGHT_BEGINS = time(7, 0), time(22, 0)


def checked_chain(chain: Chain, rosters: Iterable[str]) -> Chain:
    """Return the chain. Raise RosterRefused where it cannot be kept."""
    known = set(rosters)
    if not chain.name or not chain.markets or not 1 <= len(chain.steps) <= STEPS_MAX:
        raise RosterRefused(f"a chain has a name, a market and 1 to {STEPS_MAX} steps")
    if not 1 <= chain.rounds <= ROUNDS_MAX or not 1 <= chain.least_severity <= 4:
        raise RosterRefused(f"a chain has 1 to {ROUNDS_MAX} rounds and a severity of 1 to 4")
    for number, step in enumerate(chain.steps, 1):
        if bool(step.roster) == bool(step.person):
            raise RosterRefused(f"step {number} pages a roster or a person: one of the two")
        if step.roster and step.roster not in known:
            raise RosterRefused(f"step {number}: there is no roster {step.roster}")
        if not step.via or not set(step.via) <= VIAS:
            raise RosterRefused(f"step {number} pages by {', '.join(sorted(VIAS))}")
        if not 30 <= step.wait_s <= 24 * 3600:
            raise RosterRefused(f"step {number} waits 30 seconds to a day")
    return chain


def chain_for(chains: Iterable[Chain], *, market: str, severity: int) -> Chain | None:
    """Return the chain of an incident: one that names its market goes before one for all."""
    fitting = [
        each
        for each in chains
        if (market in each.markets or "*" in each.markets) and severity <= each.least_severity
    ]
    fitting.sort(key=lambda each: (market not in each.markets, each.name))
    return fitting[0] if fitting else None


def is_night(at: datetime, zone: str) -> bool:
    """Tell whether it is night where somebody lives."""
    local = at.astimezone(ZoneInfo(zone)).time()
    return local < DAY_BEGINS or local >= NIGHT_BEGINS
