"""Replay: the detectors over a plain series of a file, for whoever wants to try them first.

Rows come as CSV with a header: `timestamp,value` and any further columns; they are judged one after
the other, each by what came before it. Nothing is read ahead beyond a few rows that are never
alarms, so a file may be judged while it grows.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from math import isfinite, log10, sqrt

from umoja.ops.series import Series, squashed
from umoja.ops.share import Share

ALARM_AT = 5.0  # decades
CALM_AT = 3.0  # and below that for a while, an episode is over
CALM_ROWS = (12, 240)  # at least and at most that while
CALM_SHARE = 0.03  # of the rows so far
EVIDENCE_DECADE = 6.0  # of a share's sum, in natural logarithms: thirty make an alarm
STEP_ROWS = 12  # rows that tell the step
COLUMNS_MAX = 16
DIGITS_FROM_S = 10_000_000  # a smaller number is a place in a list, if they count one by one
MILLIS_FROM = 100_000_000_000
BACK_MOST_S = 26 * 3_600  # a clock may be set back, an order may not be lost
_TIMES = re.compile(
    r"time|latency|duration|delay|wait|elapsed|(^|_)(ms|rt|p\d\d)($|_)", re.IGNORECASE
)


class SeriesRefused(ValueError):
    """The file is no series. It says which line, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A row's answer: how strange it is, and whether an episode begins with it."""

    timestamp: str
    score: float
    is_alarm: bool


class Replay:
    """Judges rows in the order of time; every column is a series of its own.

    A further column of whole numbers that never pass the first is taken for its successes: then the
    share that fails is judged, too. One whose name says that it is a time counts when it rises, and
    counts less in rows of few.
    """

    def __init__(self, *, columns: Sequence[str], step_s: float) -> None:
        self._are_times = [
            place > 0 and bool(_TIMES.search(name)) for place, name in enumerate(columns)
        ]
        self._series = [Series(step_s=step_s, is_up_only=is_time) for is_time in self._are_times]
        self._are_parts = [
            place > 0 and not is_time for place, is_time in enumerate(self._are_times)
        ]
        self._shares = [Share() for _ in columns]
        self._rows = 0
        self._usual = 0.0
        self._quiet = 0
        self._is_loud = False

    def row(self, at_s: float, values: Sequence[float | None]) -> tuple[float, bool]:
        """Return the row's score, and whether an episode begins. A None is a value that is missing."""
        self._rows += 1
        first = values[0] if values else None
        weight = 1.0
        if first is not None and len(values) > 1:
            self._usual += max(1 / self._rows, 0.002) * (abs(first) - self._usual)
            weight = min(1.0, sqrt(abs(first) / self._usual)) if self._usual else 1.0
        found = second = 0.0
        for place, (series, value) in enumerate(zip(self._series, values, strict=True)):
            if value is None:
                continue
            decades = series.surprise(at_s, value, weight=weight if self._are_times[place] else 1.0)
            if self._are_parts[place]:
                decades = max(decades, self._failing(place, first, value))
            if decades > found:
                found, second = decades, found
            elif decades > second:
                second = decades
        # Several series are more chances to be wrong; two that move at once are less so.
        found = max(0.0, found - log10(len(values)) + 0.5 * max(0.0, second - 2.0))
        return squashed(found, ALARM_AT), self._begins(found)

    def _failing(self, place: int, whole: float | None, part: float) -> float:
        """Return the decades of a share that fails; 0 where the column is not a part of the first."""
        if whole is None:
            return 0.0
        if not 0 <= part <= whole or part != int(part):
            self._are_parts[place] = False
            return 0.0
        evidence = self._shares[place].evidence(whole, whole - part)
        return evidence / EVIDENCE_DECADE if not self._series[place].is_on_probation else 0.0

    def _begins(self, decades: float) -> bool:
        if not self._is_loud:
            self._is_loud = decades >= ALARM_AT
            self._quiet = 0
            return self._is_loud
        self._quiet = 0 if decades >= CALM_AT else self._quiet + 1
        least, most = CALM_ROWS
        if self._quiet >= min(most, max(least, CALM_SHARE * self._rows)):
            self._is_loud = False
        return False


def replayed(lines: Iterable[str]) -> Iterator[Scored]:
    """Yield an answer for every row of a CSV. Raise SeriesRefused at the first that is none."""
    reader = csv.reader(lines)
    header = next(reader, None)
    if header is None:
        raise SeriesRefused("line 1: the file is empty; it begins with timestamp,value")
    names = [name.strip().lstrip("\ufeff") for name in header]
    at_place, places = _places(names)
    waiting: list[tuple[str, float, list[float | None]]] = []
    replay: Replay | None = None
    last_s: float | None = None
    columns = [names[place] for place in places]
    for row in reader:
        if not row:
            continue
        line = reader.line_num
        if len(row) != len(names):
            raise SeriesRefused(f"line {line}: {len(row)} columns, the header has {len(names)}")
        at_s = _moment(row[at_place], line)
        if last_s is not None and at_s < last_s - BACK_MOST_S:
            raise SeriesRefused(f"line {line}: {row[at_place]} lies before the row above it")
        last_s = at_s
        values = [_number(row[place], names[place], line) for place in places]
        if replay is None:
            waiting.append((row[at_place], at_s, values))
            if len(waiting) == STEP_ROWS:
                replay = Replay(columns=columns, step_s=_step(waiting))
                yield from _all(replay, waiting)
            continue
        score, is_alarm = replay.row(at_s, values)
        yield Scored(timestamp=row[at_place], score=score, is_alarm=is_alarm)
    if replay is None:
        yield from _all(Replay(columns=columns, step_s=_step(waiting)), waiting)


def _all(replay: Replay, rows: list[tuple[str, float, list[float | None]]]) -> Iterator[Scored]:
    for timestamp, at_s, values in rows:
        score, is_alarm = replay.row(at_s, values)
        yield Scored(timestamp=timestamp, score=score, is_alarm=is_alarm)


def _places(names: list[str]) -> tuple[int, list[int]]:
    """Return where the time stands, and where the values stand, the one called so first."""
    lower = [name.lower() for name in names]
    if len(names) < 2:
        raise SeriesRefused("line 1: a series has at least two columns: timestamp,value")
    if len(names) > COLUMNS_MAX + 1:
        raise SeriesRefused(f"line 1: a series has at most {COLUMNS_MAX} columns beside the time")
    if "timestamp" not in lower:
        raise SeriesRefused(f"line 1: no column is called timestamp: {', '.join(names)[:200]}")
    at_place = lower.index("timestamp")
    rest = [place for place in range(len(names)) if place != at_place]
    if "value" in lower:
        rest.sort(key=lambda place: lower[place] != "value")
    return at_place, rest


def _moment(text: str, line: int) -> float:
    """Return seconds: of a date and time (UTC where it names no zone), or of a number."""
    text = text.strip()
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        pass
    else:
        if not text.isdigit():
            return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not isfinite(number):
        raise SeriesRefused(
            f"line {line}: {text[:40]!r} is no time: write 2026-03-31 14:05:00, or seconds since 1970"
        )
    return number / 1_000 if abs(number) >= MILLIS_FROM else number


def _number(text: str, name: str, line: int) -> float | None:
    """Return a value, or None where there is none."""
    text = text.strip()
    if not text or text.lower() in {"nan", "null", "none", "na"}:
        return None
    try:
        number = float(text)
    except ValueError:
        number = float("inf")
    if not isfinite(number):
        raise SeriesRefused(f"line {line}: {text[:40]!r} in {name} is no number")
    return number


def _step(rows: list[tuple[str, float, list[float | None]]]) -> float:
    """Return the usual time between rows, in seconds; 0 where times are places in a list."""
    gaps = sorted(after[1] - before[1] for before, after in pairwise(rows) if after[1] > before[1])
    if not gaps:
        return 0.0
    step_s = gaps[len(gaps) // 2]
    return 0.0 if step_s <= 1 and abs(rows[0][1]) < DIGITS_FROM_S else step_s
