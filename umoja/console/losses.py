"""Losses: what an incident costs minute by minute, made of the minutes that the centre keeps. Pure."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from umoja.ops.board import ATTEMPTS, FAILED, PAY, REFUSED, SMS, UNCLEAR, VALUE, VALUE_FAILED, Key
from umoja.ops.finding import Counts
from umoja.ops.incident import Cause, Incident
from umoja.ops.watch import DETECTORS

BEFORE_MIN = 30  # minutes before the beginning, from which the usual is taken
AFTER_MIN = 10  # shown after the end
SHOWN_MAX_MIN = 24 * 60
POINTS_MAX = 96
BASE_LEAST_MIN = 5  # below so many minutes before it nothing is said of what should have come
SURPRISE = 4  # standard deviations below what is expected: what chance alone hardly does

RECEIPTS = frozenset(each.name for each in DETECTORS if each.counts is Counts.RECEIPTS)
"""Detectors whose incidents lose receipts: no payment fails."""

PARTS: Mapping[str, Callable[[Key], str]] = {
    "product": lambda key: key.product,
    "channel": lambda key: key.channel,
    "vendor": lambda key: key.partner,
    "partner": lambda key: key.partner,
    "cell": lambda key: key.cell,
}
"""Kinds of cause that name a part of a market's payments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """One minute of what an incident is about. Values are minor units of the market's first currency."""

    tried: int
    value: int
    failed: int
    failed_value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One or several minutes from `minute` on: a minute's mean each. `lost` None: nobody saw."""

    minute: int
    minutes: int
    tried: float = 0.0
    failed: float = 0.0
    missing: float = 0.0  # that should have come and did not
    value: float = 0.0
    lost: float | None = None  # minor units a minute, beyond what is usual


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """What was lost over time: `usual` is what fails a minute on a good day, in minor units."""

    points: tuple[Point, ...]
    usual: float
    total: float

    @property
    def blind_minutes(self) -> int:
        return sum(each.minutes for each in self.points if each.lost is None)


def shown_between(incident: Incident, now_min: int) -> tuple[int, int]:
    """Return the first minute that is shown and the one behind the last, counted from 1970."""
    began = int(incident.began_at.timestamp()) // 60
    ended = incident.resolved_at or incident.mitigated_at
    until = now_min + 1
    if ended is not None and incident.resolved_at is not None:
        until = min(until, int(ended.timestamp()) // 60 + AFTER_MIN)
    since = max(began - BEFORE_MIN, until - SHOWN_MAX_MIN)
    return since, max(until, since + 1)


def counted(
    minute: Mapping[Key, Sequence[int]], *, cause: Cause | None, has_receipts: bool
) -> Counted:
    """Return what one minute says of an incident: of the part that its cause names, else of all."""
    part = PARTS.get(cause.kind) if cause is not None and not has_receipts else None
    tried = value = failed = failed_value = sent = unsent = 0
    for key, row in minute.items():
        if key.flow == SMS:
            sent += row[ATTEMPTS]
            unsent += row[FAILED]
        if key.flow != PAY or (part and cause and part(key) != cause.name):
            continue
        tried += row[ATTEMPTS] - row[REFUSED]
        value += row[VALUE]
        failed += row[FAILED] + row[UNCLEAR]
        failed_value += row[VALUE_FAILED]
    if not has_receipts:
        return Counted(tried=tried, value=value, failed=failed, failed_value=failed_value)
    # A receipt has the value of the payment it tells of; of each minute we know the mean.
    mean = value / tried if tried else 0.0
    return Counted(
        tried=sent, value=round(sent * mean), failed=unsent, failed_value=round(unsent * mean)
    )


def losses(
    minutes: Sequence[Counted | None],
    *,
    first: int,
    began: int,
    usual_a_minute: Callable[[int], float | None],
) -> Losses:
    """Return what was lost in each of the minutes from `first` on; what is before `began` is usual.

    `usual_a_minute` returns how many attempts the whole market has in a minute on a usual day, or
    None where nobody knows: then nothing is said of payments that do not come.
    """
    before = [each for each in minutes[: max(began - first, 0)] if each is not None]
    tried, value = _sum(before, "tried"), _sum(before, "value")
    share = min(_sum(before, "failed_value") / value, 1.0) if value else 0.0
    mean = value / tried if tried else 0.0
    expected = [usual_a_minute(first + at) for at in range(len(minutes))]
    part = _part_of(minutes, expected, until=began - first)
    points = []
    for at, each in enumerate(minutes):
        if each is None:
            points.append(Point(minute=first + at, minutes=1))
            continue
        should = (expected[at] or 0.0) * part
        missing = should - each.tried
        if missing < SURPRISE * math.sqrt(should) or first + at < began:
            missing = 0.0
        lost = max(each.failed_value - share * each.value, 0.0) + missing * mean
        points.append(
            Point(
                minute=first + at, minutes=1, tried=each.tried, failed=each.failed,
                missing=missing, value=each.value, lost=lost if first + at >= began else 0.0,
            )
        )  # fmt: skip
    total = sum(each.lost or 0.0 for each in points)
    size = -(-len(points) // POINTS_MAX)
    gathered = tuple(_together(points[at : at + size]) for at in range(0, len(points), size))
    return Losses(
        points=gathered, usual=share * value / len(before) if before else 0.0, total=total
    )


def _part_of(
    minutes: Sequence[Counted | None], expected: Sequence[float | None], *, until: int
) -> float:
    """Return what part of the market's usual traffic this is; 0 where that cannot be told."""
    pairs = [
        (each.tried, usual)
        for each, usual in zip(minutes[: max(until, 0)], expected, strict=False)
        if each is not None and usual
    ]
    if len(pairs) < BASE_LEAST_MIN:
        return 0.0
    return sum(came for came, _ in pairs) / sum(usual for _, usual in pairs)


def _together(points: Sequence[Point]) -> Point:
    seen = [each for each in points if each.lost is not None]
    made = Point(minute=points[0].minute, minutes=len(points))
    if not seen:
        return made
    return Point(
        minute=made.minute,
        minutes=made.minutes,
        tried=_mean(each.tried for each in seen),
        failed=_mean(each.failed for each in seen),
        missing=_mean(each.missing for each in seen),
        value=_mean(each.value for each in seen),
        lost=_mean(each.lost or 0.0 for each in seen),
    )


def _sum(counts: Iterable[Counted], name: str) -> int:
    return sum(int(getattr(each, name)) for each in counts)


def _mean(values: Iterable[float]) -> float:
    known = list(values)
    return sum(known) / len(known)
