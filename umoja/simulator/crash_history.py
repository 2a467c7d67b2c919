"""Histories of concurrent transfers and reads, and two judges of them. Pure functions.

`unexplained` knows the journal's order and says what does not fit it, with reasons. `is_linearizable`
knows nothing but the history: it looks for any order that explains it (after Wing and Gong).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NEVER = 1 << 62
"""When something ended that was never answered: it may take effect at any time, or not at all."""

STEPS_MAX = 2_000_000


class TooEntangled(RuntimeError):
    """The search was given up: too much overlaps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """`minor` units from one account to another. `sequence` is its journal line, 0 where unknown.

    Refused (`is_done` False) it moved nothing, for want of money. With `ended` NEVER nobody knows.
    """

    began: int
    ended: int
    source: int
    target: int
    minor: int
    is_done: bool = True
    sequence: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What several accounts had, read together."""

    began: int
    ended: int
    seen: Mapping[int, int]


Event = Transfer | Read


# With the journal


def unexplained(
    history: Sequence[Event],
    journal: Mapping[int, tuple[int, int, int]],
    opening: Mapping[int, int],
) -> list[str]:
    """Return every event that the journal's order does not explain, as sentences.

    `journal` has source, target and minor of each line by its sequence; `opening` what each account
    had before the first. Reads of all accounts must always add up to the same.
    """
    found: list[str] = []
    states, places = _states(journal, opening)
    total = sum(opening.values())
    transfers = [each for each in history if isinstance(each, Transfer)]
    _judge_transfers(transfers, journal, found)
    assigned: list[tuple[int, int]] = []  # ended, the place it was put at
    known = [(each.ended, places[each.sequence]) for each in transfers if each.sequence in places]
    later = [(each.began, places[each.sequence]) for each in transfers if each.sequence in places]
    for event in sorted(history, key=lambda each: each.began):
        if isinstance(event, Transfer) and event.is_done:
            continue
        lowest = max((at for ended, at in known + assigned if ended < event.began), default=0)
        highest = min(
            (at - 1 for began, at in later if began > event.ended), default=len(states) - 1
        )
        if isinstance(event, Transfer):
            if event.ended != NEVER and not any(
                state.get(event.source, 0) < event.minor for state in states[lowest : highest + 1]
            ):
                found.append(f"{event.source} was refused {event.minor}, and always had as much")
            continue
        if event.seen.keys() == opening.keys() and sum(event.seen.values()) != total:
            found.append(f"a read adds up to {sum(event.seen.values())}, not to {total}")
        place = next(
            (
                place
                for place in range(lowest, highest + 1)
                if all(states[place].get(a, 0) == minor for a, minor in event.seen.items())
            ),
            None,
        )
        if place is None:
            found.append(f"a read of {dict(event.seen)} fits no moment from {lowest} to {highest}")
        else:
            assigned.append((event.ended, place))
    return found


def _states(
    journal: Mapping[int, tuple[int, int, int]], opening: Mapping[int, int]
) -> tuple[list[dict[int, int]], dict[int, int]]:
    """Return what everybody had after each line, and the place of each line among these."""
    states = [dict(opening)]
    places = {}
    for sequence in sorted(journal):
        source, target, minor = journal[sequence]
        now = dict(states[-1])
        now[source] = now.get(source, 0) - minor
        now[target] = now.get(target, 0) + minor
        places[sequence] = len(states)
        states.append(now)
    return states, places


def _judge_transfers(
    transfers: Sequence[Transfer],
    journal: Mapping[int, tuple[int, int, int]],
    found: list[str],
) -> None:
    done = [each for each in transfers if each.is_done and each.ended != NEVER]
    owners: dict[int, Transfer] = {}
    found += [
        f"a done transfer is not line {each.sequence} of the journal"
        for each in done
        if journal.get(each.sequence) != (each.source, each.target, each.minor)
    ]
    found += [
        f"line {each.sequence} was told to two transfers"
        for each in done
        if owners.setdefault(each.sequence, each) is not each
    ]
    highest, pending = 0, sorted(done, key=lambda each: each.ended)
    at = 0
    for each in sorted(done, key=lambda each: each.began):
        while pending[at].ended < each.began:
            highest = max(highest, pending[at].sequence)
            at += 1
        if each.sequence < highest:
            found.append(f"line {each.sequence} was asked after line {highest} had been answered")


# Without the journal


def is_linearizable(
    history: Sequence[Event], opening: Mapping[int, int], *, steps_max: int = STEPS_MAX
) -> bool:
    """Tell whether some order of the events explains all answers and breaks no order in time.

    Meant for some hundred events of which few overlap. Raise TooEntangled where that takes too long.
    """
    accounts = sorted(opening)
    place = {account: number for number, account in enumerate(accounts)}
    events = sorted(history, key=lambda each: each.began)
    must = {number for number, each in enumerate(events) if each.ended != NEVER}
    start = (0, frozenset[int](), tuple(opening[account] for account in accounts))
    seen = {start}
    stack = [start]
    steps = 0
    while stack:
        first, done, had = stack.pop()
        if not any(number >= first and number not in done for number in must):
            return True
        horizon = NEVER
        for number in range(first, len(events)):
            event = events[number]
            if number in done:
                continue
            if event.began > horizon:
                break
            steps += 1
            if steps > steps_max:
                raise TooEntangled(f"given up after {steps_max} steps")
            horizon = min(horizon, event.ended)
            after = _applied(event, had, place)
            if after is None:
                continue
            key = (*_shortened(first, done | {number}), after)
            if key not in seen:
                seen.add(key)
                stack.append(key)
    return False


def _shortened(first: int, done: frozenset[int]) -> tuple[int, frozenset[int]]:
    """Return the same set of events as a whole beginning and the rest."""
    while first in done:
        done -= {first}
        first += 1
    return first, done


def _applied(
    event: Event, had: tuple[int, ...], place: Mapping[int, int]
) -> tuple[int, ...] | None:
    """Return what accounts have after an event, or None where its answer would be another now."""
    if isinstance(event, Read):
        return had if all(had[place[a]] == minor for a, minor in event.seen.items()) else None
    source, target = place[event.source], place[event.target]
    is_enough = had[source] >= event.minor
    if not event.is_done:
        return None if is_enough else had
    if not is_enough:
        return None
    after = list(had)
    after[source] -= event.minor
    after[target] += event.minor
    return tuple(after)
