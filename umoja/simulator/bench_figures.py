"""The figures of a bench: latencies in bounded memory, percentiles, medians, and when to send."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

WIDTH = 1.01  # each class is one part in a hundred wider than the one before
LEAST_S = 1e-6
CLASSES = math.ceil(math.log(3_600 / LEAST_S) / math.log(WIDTH)) + 1  # up to an hour
_LOG_WIDTH = math.log(WIDTH)


class Latencies:
    """How long things took, counted in classes a hundredth wide: ten things or ten thousand million.

    A percentile is told as the upper edge of its class: never too low, at most 1 % too high.
    """

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts = np.zeros(CLASSES + 1, dtype=np.int64)

    def add(self, seconds: float, *, times: int = 1) -> None:
        """Count something that took so long, or several that took the same time."""
        self.counts[_class_of(seconds)] += times

    def add_all(self, seconds: Iterable[float]) -> None:
        values = np.fromiter(seconds, dtype=np.float64)
        if not len(values):
            return
        places = np.ceil(np.log(np.maximum(values, LEAST_S) / LEAST_S) / _LOG_WIDTH - 1e-9)
        places = np.clip(places, 0, CLASSES).astype(np.int64)
        self.counts += np.bincount(places, minlength=CLASSES + 1)

    def join(self, other: "Latencies") -> None:
        self.counts += other.counts

    def __len__(self) -> int:
        return int(self.counts.sum())

    def at_ms(self, percent: float) -> float | None:
        """Return the time in milliseconds that `percent` of all took at most; None: there are none."""
        assert 0 < percent <= 100, "a percentile lies between 0 and 100"
        total = len(self)
        if not total:
            return None
        rank = max(1, math.ceil(total * percent / 100 - 1e-9))
        place = int(np.searchsorted(np.cumsum(self.counts), rank))
        return round(LEAST_S * WIDTH**place * 1000, 4)


def _class_of(seconds: float) -> int:
    if seconds <= LEAST_S:
        return 0
    return min(CLASSES, math.ceil(math.log(seconds / LEAST_S) / _LOG_WIDTH - 1e-9))


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """One repeat: how many payments were completed in how many seconds, and what it cost.

    `declined` were answered and refused, `failed` met a fault or no answer; neither counts as done.
    CPU seconds are those of Umoja and, where it is ours, of its database; the load's are apart.
    """

    done: int
    declined: int
    failed: int
    seconds: float
    cpu_s: float
    load_cpu_s: float
    latencies: Latencies

    @property
    def per_second(self) -> float:
        return self.done / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """What became of a load that does not wait: latency counts from when a payment was due.

    So a stall makes all that were due meanwhile late. What got no answer counts as still waiting
    when the run ended.
    """

    rate: float
    seconds: float
    due: int
    repeat: Repeat


def middle(repeats: Sequence[Repeat]) -> dict[str, object]:
    """Return the figures that stand for all repeats: medians, the spread, percentiles of all."""
    assert repeats, "a bench has repeats"
    rates = [each.per_second for each in repeats]
    latencies = Latencies()
    for each in repeats:
        latencies.join(each.latencies)
    rate = median(rates)
    return {
        "payments": sum(each.done for each in repeats),
        "declined": sum(each.declined for each in repeats),
        "failed": sum(each.failed for each in repeats),
        "payments_per_s": round(rate, 1),
        "payments_per_s_all": [round(each, 1) for each in rates],
        "spread_percent": round((max(rates) - min(rates)) / rate * 100, 1) if rate else None,
        "seconds_all": [round(each.seconds, 3) for each in repeats],
        "p50_ms": latencies.at_ms(50),
        "p99_ms": latencies.at_ms(99),
        "p999_ms": latencies.at_ms(99.9),
        "max_ms": latencies.at_ms(100),
        "cpu_us_per_payment": _each_us([(r.cpu_s, r.done) for r in repeats]),
        "load_cpu_us_per_payment": _each_us([(r.load_cpu_s, r.done) for r in repeats]),
    }


def offered_figures(offered: Offered) -> dict[str, object]:
    """Return the figures of one offered load."""
    run = offered.repeat
    return {
        "offered_per_s": offered.rate,
        "seconds": round(run.seconds, 3),
        "due": offered.due,
        "payments": run.done,
        "declined": run.declined,
        "failed": run.failed,
        "payments_per_s": round(run.per_second, 1),
        "p50_ms": run.latencies.at_ms(50),
        "p99_ms": run.latencies.at_ms(99),
        "max_ms": run.latencies.at_ms(100),
        "cpu_us_per_payment": _each_us([(run.cpu_s, run.done)]),
    }


def _each_us(costs: Sequence[tuple[float, int]]) -> float | None:
    each = [seconds / done * 1e6 for seconds, done in costs if done]
    return round(median(each), 2) if each else None


# When to send


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Evenly spaced times at which payments are due, whatever became of those before."""

    rate: float  # a second
    seconds: float

    def __post_init__(self) -> None:
        assert self.rate > 0, "a load has a rate"
        assert self.seconds > 0, "a load has a length"

    @property
    def total(self) -> int:
        return max(1, math.floor(self.rate * self.seconds + 1e-9))

    def at_s(self, number: int) -> float:
        """Return when payment `number` (the first is 0) is due, in seconds from the beginning."""
        return number / self.rate

    def due_by(self, elapsed_s: float) -> int:
        """Return how many payments are due once so many seconds have gone."""
        if elapsed_s < 0:
            return 0
        return min(self.total, math.floor(elapsed_s * self.rate + 1e-9) + 1)


def rates_around(peak: float) -> tuple[float, ...]:
    """Return loads for a plot: from a fifth of a closed loop's rate to somewhat above it."""
    return tuple(max(1.0, float(round(peak * part))) for part in (0.2, 0.4, 0.6, 0.8, 0.9, 1, 1.1))
