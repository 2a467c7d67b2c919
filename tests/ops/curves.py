"""Curves: seeded series of many kinds with labelled troubles, to judge the detectors on."""

from dataclasses import dataclass

import numpy as np

STEP_S = 300
DAY = 288  # rows
WINDOW = 200  # rows after a trouble begins within which it should be said


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Rows five minutes apart, and the places where a trouble begins (none: it must stay quiet)."""

    kind: str
    values: list[float]
    troubles: tuple[int, ...]


def _daily(rows: int, random: np.random.Generator, *, weekly: float = 0.0) -> np.ndarray:
    day = np.arange(rows) / DAY
    shape = 1 + 0.7 * np.sin(2 * np.pi * (day - 0.3)) + 0.25 * np.sin(4 * np.pi * (day - 0.1))
    if weekly:
        shape = np.where(day % 7 >= 5, shape * (1 - weekly), shape)
    return np.maximum(shape, 0.05)


def curves(seed: int, *, rows: int = 4_032) -> list[Curve]:
    """Return one curve of each kind. The same seed gives the same curves."""
    found = []
    for number, (kind, make) in enumerate(_KINDS.items()):
        random = np.random.default_rng([seed, number])
        start = int(random.integers(int(rows * 0.4), int(rows * 0.85)))
        values, troubles = make(random, rows, start)
        found.append(Curve(kind=kind, values=[float(v) for v in values], troubles=troubles))
    return found


def _ar(random, rows, *, keep=0.9, sigma=1.0):
    out = np.empty(rows)
    now = 0.0
    for place, noise in enumerate(random.normal(0, sigma, rows)):
        now = keep * now + noise
        out[place] = now
    return out


def _shift(random, rows, start):
    values = 50 + random.normal(0, 2, rows)
    values[start:] += random.choice([-1, 1]) * random.uniform(6, 15)
    return values, (start,)


def _shift_season(random, rows, start):
    values = 100 * _daily(rows, random) + random.normal(0, 5, rows)
    values[start : start + DAY] *= random.choice([0.5, 1.6])
    return values, (start,)


def _spike(random, rows, start):
    values = 20 + _ar(random, rows, keep=0.8)
    values[start : start + 3] += random.uniform(18, 40)
    return values, (start,)


def _cpu(random, rows, start):
    values = 3 + np.abs(_ar(random, rows, keep=0.5, sigma=0.3))
    every = int(random.integers(20, 60))
    values[::every] += random.uniform(10, 20, len(values[::every]))  # a job that always runs
    values[start : start + 60] += random.uniform(30, 60)
    return values, (start,)


def _cpu_calm(random, rows, start):
    values = 3 + np.abs(_ar(random, rows, keep=0.5, sigma=0.3))
    busy = random.random(rows) < 0.03
    values[busy] += random.lognormal(2.5, 0.4, busy.sum())
    return values, ()


def _leak(random, rows, start):
    values = 40 + random.normal(0, 1.5, rows)
    values[start:] += np.minimum(np.arange(rows - start) * 0.06, 14)
    return values, (start,)


def _missing_cycle(random, rows, start):
    start = start // DAY * DAY + 80
    values = 80 * _daily(rows, random) + random.normal(0, 4, rows)
    values[start : start + 160] = values[start - 78] + random.normal(0, 3, 160)
    return values, (start,)


def _spread(random, rows, start):
    values = 10 + random.normal(0, 1, rows)
    values[start:] = 10 + random.normal(0, 3, rows - start)
    return values, (start,)


def _drift(random, rows, start):
    return 60 + np.linspace(0, 30, rows) + random.normal(0, 2, rows), ()


def _walk(random, rows, start):
    return 80 + np.cumsum(random.normal(0, 0.15, rows)) + random.normal(0, 0.3, rows), ()


def _temperature(random, rows, start):
    values = 85 + _ar(random, rows, keep=0.995, sigma=0.35) + random.normal(0, 0.4, rows)
    values[start : start + 90] -= np.minimum(np.arange(90) * 1.2, 35)
    return values, (start,)


def _counts(rate):
    def make(random, rows, start):
        mean = (
            rate
            * _daily(rows, random, weekly=0.3)
            * np.exp(_ar(random, rows, keep=0.98, sigma=0.01))
        )
        mean[start : start + 120] *= 0.0 if rate >= 5 else 6.0
        return random.poisson(mean), (start,)

    return make


def _counts_calm(rate):
    def make(random, rows, start):
        mean = (
            rate
            * _daily(rows, random, weekly=0.3)
            * np.exp(_ar(random, rows, keep=0.98, sigma=0.01))
        )
        return random.poisson(mean), ()

    return make


def _traffic(random, rows, start):
    values = (
        1_000 * _daily(rows, random, weekly=0.35) * np.exp(_ar(random, rows, keep=0.7, sigma=0.05))
    )
    values[start : start + 40] *= 2.2
    return values, (start,)


def _heavy(random, rows, start):
    """Bytes written: mostly little, now and then very much, which is usual."""
    return random.lognormal(10, 1.2, rows), ()


def _flat(random, rows, start):
    values = 33 + random.normal(0, 1, rows)
    values[start : start + 150] = values[start]
    return values, (start,)


def _still(random, rows, start):
    values = np.full(rows, 45.0)
    values[start : start + 5] = 60.0
    return values, (start,)


def _tweets(random, rows, start):
    mean = 12 * _daily(rows, random) * random.lognormal(0, 0.5, rows)
    values = random.poisson(mean).astype(float)
    values[start : start + 12] += 250 * np.exp(-np.arange(12) / 5)
    return values, (start,)


_KINDS = {
    "level shift": _shift,
    "level of a season": _shift_season,
    "spike": _spike,
    "load above its usual jobs": _cpu,
    "usual bursts": _cpu_calm,
    "slow leak": _leak,
    "missing cycle": _missing_cycle,
    "wilder": _spread,
    "slow drift": _drift,
    "random walk": _walk,
    "temperature falls": _temperature,
    "outage of 500": _counts(500),
    "outage of 5": _counts(5),
    "burst of 0.1": _counts(0.1),
    "calm 500": _counts_calm(500),
    "calm 5": _counts_calm(5),
    "calm 0.1": _counts_calm(0.1),
    "web traffic doubles": _traffic,
    "heavy tails": _heavy,
    "stands still": _flat,
    "still, then not": _still,
    "mentions": _tweets,
}
