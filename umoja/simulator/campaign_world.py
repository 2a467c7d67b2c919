"""The campaign's world: eight markets' counters on simulated days, ten seconds at a time. Seeded.

It makes counts and not payments, so that a month passes in minutes; what it makes goes into the same
board that real signals are counted on. What the centre cannot know is drawn here: how busy a day is,
how it wobbles, how much fails on a usual day and how that drifts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from umoja.markets.market import Market
from umoja.ops.board import (
    ATTEMPTS,
    BUCKETS,
    CALLBACK,
    DOUBLED,
    ECHO,
    FAILED,
    FEE,
    FEE_DUE,
    PAY,
    PIN,
    REFUSED,
    SESSION,
    SMS,
    TIMED,
    UNCLEAR,
    VALUE,
    VALUE_FAILED,
    WIDTH,
    Array,
    Key,
)

STEP_S = 10
CHUNK = 180  # steps that are drawn at once
RATES = (1_500.0, 400.0, 120.0, 40.0, 12.0, 4.0, 1.5, 0.1)
"""Payments a second on the mean of a usual day, the largest market first."""

LOCAL = {"send_money": 0.3, "deposit": 0.16, "withdraw": 0.16, "pay_till": 0.14, "pay_bill": 0.08}
AIRTIME = 0.08
BANK = 0.08
CHANNELS = {"ussd": 0.6, "api": 0.4}
CELLS = {"cell-1": 0.6, "cell-2": 0.4}
BANKS = {"bank-a": 0.6, "bank-b": 0.4}
ROUTES = {"sms-a": 0.7, "sms-b": 0.3}
MERCHANTS = {"merchants-a": 0.7, "merchants-b": 0.3}
DISTRICTS = ("north", "south")
NODES = ("node-1", "node-2")
ECHOES = 2.0  # a step, to each partner: one in five seconds
HASTY_ECHOES = 10.0  # while one was lost in the last minute: one a second
HASTY_STEPS = 6
LOST_ECHO_SHARE = 0.004
LINKS = ("bank-a", "bank-b", "airtime-a")
OWN_BUCKET, PARTNER_BUCKET = 11.0, 18.0  # 45 ms and 512 ms
BUCKET_SPREAD = 1.6
FEE_SHARE = 0.01
PIN_SHARE = 0.01
REFUSED_SHARE = 0.05
DUPLICATE_SHARE = 0.0005
LOST_SMS_SHARE = 0.01
WOBBLE = 0.08


@dataclass(slots=True)
class Place:
    """One market of the world, and where its keys stand in the world's arrays."""

    market: Market
    rate: float
    keys: list[Key]
    rows: npt.NDArray[np.int64]
    mean_minor: float
    _known: dict[tuple[tuple[str, str], ...], npt.NDArray[np.int64]] = field(default_factory=dict)

    @property
    def traffic(self) -> npt.NDArray[np.int64]:
        """Return the rows of what people do; echoes come at their own pace."""
        return np.concatenate([self.of(flow=flow) for flow in (PAY, SESSION, SMS, CALLBACK)])

    def of(self, **wanted: str) -> npt.NDArray[np.int64]:
        """Return the rows whose keys have these parts."""
        asked = tuple(wanted.items())
        found = self._known.get(asked)
        if found is None:
            found = self._known[asked] = np.array(
                [
                    row
                    for row, key in zip(self.rows, self.keys, strict=True)
                    if all(getattr(key, part) == value for part, value in asked)
                ],
                np.int64,
            )
        return found


@dataclass(slots=True)
class Step:
    """What happens in one step, before it is told. Faults change it in place."""

    now_s: int
    counts: Array
    gauges: dict[tuple[str, str, str], float] = field(default_factory=dict)
    is_heard: dict[str, bool] = field(default_factory=dict)
    messages: dict[str, tuple[int, int, int]] = field(default_factory=dict)


class World:
    """Draws every step of every market. The same seed gives the same steps."""

    def __init__(
        self,
        markets: Sequence[Market],
        *,
        began: datetime,
        rates: Sequence[float],
        seed: int,
        expected: Callable[[Market, datetime, float], float],
    ) -> None:
        self.began = began
        self.random = np.random.default_rng(seed)
        self._expected = expected
        self.places: dict[str, Place] = {}
        keys: list[Key] = []
        shares: list[float] = []
        for market, rate in zip(markets, rates, strict=False):
            first = len(keys)
            for key, share in _keys(market.code):
                keys.append(key)
                shares.append(share)
            self.places[market.code] = Place(
                market=market,
                rate=rate,
                keys=keys[first:],
                rows=np.arange(first, len(keys)),
                mean_minor=float(market.mean_value_minor),
            )
        self.keys = keys
        self.averages = {code: place.rate for code, place in self.places.items()}
        self._shares = np.array(shares)
        size = len(keys)
        self._market = np.concatenate(
            [np.full(len(place.rows), at) for at, place in enumerate(self.places.values())]
        )
        self._is_pay = np.array([key.flow == PAY for key in keys])
        self._echoes = np.array([at for at, key in enumerate(keys) if key.flow == ECHO], np.int64)
        self._hasty = np.zeros(len(self._echoes), np.int64)  # steps that echoes still come quickly
        self._last: Step | None = None
        self._is_p2p = np.array([key.product == "send_money" for key in keys])
        self._fails = self.random.uniform(0.002, 0.006, size) * np.where(
            [key.flow == SMS for key in keys], 0.0, 1.0
        )
        self._bucket = np.array([PARTNER_BUCKET if key.partner else OWN_BUCKET for key in keys])
        self._mean = np.array([self.places[key.market].mean_minor for key in keys])
        count = len(self.places)
        self._wobble = np.zeros(count)
        self._drift = np.zeros(count)
        self._level = np.ones(count)
        self._day = -1
        self._chunk: list[Array] = []
        self._chunk_s = 0

    def step(self, number: int) -> Step:
        """Return a step before any fault. Ask for them in order."""
        if number % CHUNK == 0:
            self._draw(number)
        now_s = int(self.began.timestamp()) + (number + 1) * STEP_S
        step = Step(now_s=now_s, counts=self._chunk[number % CHUNK])
        self._echo(step)
        for code in self.places:
            step.is_heard[code] = True
            step.gauges[code, "trust_gap", "main"] = 0.0
            step.gauges[code, "oldest_s", "callbacks"] = 2.0
            step.gauges[code, "oldest_s", "recovery"] = 5.0
            for node in NODES:
                step.gauges[code, "clock_offset_ms", node] = 4.0
            for district in DISTRICTS:
                step.gauges[code, "agents_able_permille", district] = 965.0
            for link in LINKS:
                step.gauges[code, "expires_in_s", link] = 60 * 86_400.0
        return step

    def _echo(self, step: Step) -> None:
        """Draw what partners are asked, as umoja.payments.echoes asks them: quickly after a loss."""
        rows = self._echoes
        if self._last is not None:
            is_lost = self._last.counts[rows, FAILED] > 0
            self._hasty = np.where(is_lost, HASTY_STEPS, np.maximum(self._hasty - 1, 0))
        asked = np.where(self._hasty > 0, HASTY_ECHOES, ECHOES)
        step.counts[rows, ATTEMPTS] = asked
        step.counts[rows, FAILED] = self.random.binomial(asked.astype(np.int64), LOST_ECHO_SHARE)
        self._last = step

    def _draw(self, number: int) -> None:
        random = self.random
        rates = np.zeros((CHUNK, len(self.places)))
        begins = self.began + timedelta(seconds=number * STEP_S)
        day = number * STEP_S // 86_400
        if day != self._day:
            self._day = day
            self._level = random.normal(1.0, 0.05, len(self.places)).clip(0.85, 1.15)
        for at, place in enumerate(self.places.values()):
            first = self._expected(place.market, begins, place.rate)
            last = self._expected(
                place.market, begins + timedelta(seconds=CHUNK * STEP_S), place.rate
            )
            rates[:, at] = np.linspace(first, last, CHUNK)
            self._drift[at] = 0.98 * self._drift[at] + 0.06 * random.standard_normal()
        noise = random.standard_normal((CHUNK, len(self.places)))
        for place_in in range(CHUNK):
            self._wobble = 0.995 * self._wobble + WOBBLE * 0.1 * noise[place_in]
            rates[place_in] *= np.exp(self._wobble) * self._level
        load = rates / np.array([place.rate for place in self.places.values()])
        wanted = rates[:, self._market] * self._shares * STEP_S
        attempts = random.poisson(wanted)
        counts = np.zeros((CHUNK, len(self.keys), WIDTH))
        counts[:, :, ATTEMPTS] = attempts
        pay = self._is_pay
        refused = random.binomial(attempts, np.where(pay, REFUSED_SHARE, 0.0))
        failing = np.clip(self._fails * np.exp(self._drift[self._market]), 0.0, 0.02)
        failed = random.binomial(attempts - refused, failing)
        counts[:, :, REFUSED] = refused
        counts[:, :, FAILED] = failed
        timed = np.where(pay, attempts, 0)
        counts[:, :, TIMED] = timed
        spread = random.standard_normal(attempts.shape)
        common = 0.12 * noise[:, self._market] + 0.25 * (load[:, self._market] - 1)
        counts[:, :, BUCKETS] = np.maximum(
            0.0, timed * (self._bucket + common) + BUCKET_SPREAD * np.sqrt(timed) * spread
        )
        counts[:, :, PIN] = np.minimum(
            random.binomial(attempts, np.where(self._is_p2p, PIN_SHARE, 0.003 * pay)), attempts
        )
        worth = self._mean * np.where(
            attempts > 0,
            np.exp(0.8 * random.standard_normal(attempts.shape) / np.sqrt(np.maximum(attempts, 1))),
            0.0,
        )
        counts[:, :, VALUE] = np.where(pay, attempts * worth, 0.0)
        counts[:, :, VALUE_FAILED] = np.where(pay, failed * worth, 0.0)
        counts[:, :, FEE_DUE] = np.where(pay, (attempts - refused - failed) * worth * FEE_SHARE, 0)
        counts[:, :, FEE] = counts[:, :, FEE_DUE]
        is_callback = np.array([key.flow == CALLBACK for key in self.keys])
        counts[:, :, DOUBLED] = random.binomial(
            attempts, np.where(is_callback, DUPLICATE_SHARE, 0.0)
        )
        is_sms = np.array([key.flow == SMS for key in self.keys])
        lost = random.binomial(attempts, np.where(is_sms, LOST_SMS_SHARE, 0.0))
        counts[:, :, FAILED] += lost
        self._chunk = list(counts)


def _keys(code: str) -> list[tuple[Key, float]]:
    """Return the keys of a market, and what part of its payments each has."""
    found = []
    for channel, of_channel in CHANNELS.items():
        for cell, of_cell in CELLS.items():
            part = of_channel * of_cell
            for product, share in LOCAL.items():
                found.append((Key(code, PAY, product, channel, "", cell), share * part))
            found.append((Key(code, PAY, "airtime", channel, "airtime-a", cell), AIRTIME * part))
            for bank, of_bank in BANKS.items():
                key = Key(code, PAY, "bank_transfer", channel, bank, cell)
                found.append((key, BANK * of_bank * part))
    for cell, of_cell in CELLS.items():
        found.append((Key(code, SESSION, "", "ussd", "", cell), 0.7 * of_cell))
    found += [(Key(code, ECHO, "", "", link, ""), 0.0) for link in LINKS]  # no matter who pays
    for merchant, share in MERCHANTS.items():
        found.append((Key(code, CALLBACK, "", "", merchant, ""), 0.3 * share))
    for route, share in ROUTES.items():
        found.append((Key(code, SMS, "", "", route, ""), 1.6 * share))
    return found


def fail(
    step: Step,
    rows: npt.NDArray[np.int64],
    share: float,
    random: np.random.Generator,
    *,
    unclear: float = 0.0,
) -> tuple[float, float]:
    """Let a share of what would have gone well fail; return how many, and their value."""
    counts = step.counts
    well = counts[rows, ATTEMPTS] - counts[rows, REFUSED] - counts[rows, FAILED]
    lost = random.binomial(np.maximum(well, 0).astype(np.int64), min(1.0, share)).astype(float)
    mean = counts[rows, VALUE] / np.maximum(counts[rows, ATTEMPTS], 1.0)
    unknown = np.floor(lost * unclear)
    counts[rows, FAILED] += lost - unknown
    counts[rows, UNCLEAR] += unknown
    counts[rows, VALUE_FAILED] += (lost - unknown) * mean
    kept = 1 - lost / np.maximum(well, 1.0)
    counts[rows, FEE] *= kept
    counts[rows, FEE_DUE] *= kept
    return float(lost.sum()), float((lost * mean).sum())


def thin(
    step: Step, rows: npt.NDArray[np.int64], kept: float, random: np.random.Generator
) -> tuple[float, float]:
    """Let only a share of attempts come at all; return how many did not, and their value."""
    counts = step.counts
    before = counts[rows, ATTEMPTS].copy()
    worth = counts[rows, VALUE].copy()
    after = random.binomial(before.astype(np.int64), kept).astype(float)
    share = after / np.maximum(before, 1.0)
    for column in (FEE, FEE_DUE, VALUE, VALUE_FAILED, BUCKETS):
        counts[rows, column] *= share
    for column in (REFUSED, FAILED, UNCLEAR, PIN, DOUBLED):
        some = np.round(counts[rows, column]).astype(np.int64)
        counts[rows, column] = np.minimum(random.binomial(some, share), after)
    counts[rows, ATTEMPTS] = after
    counts[rows, TIMED] = np.where(counts[rows, TIMED] > 0, after, 0.0)
    is_pay = worth > 0
    gone = (before - after)[is_pay]
    return float(gone.sum()), float((worth - counts[rows, VALUE])[is_pay].sum())


def swell(
    step: Step, rows: npt.NDArray[np.int64], times: float, random: np.random.Generator
) -> None:
    """Let more of the same come."""
    counts = step.counts
    before = counts[rows, ATTEMPTS].copy()
    after = np.where(before > 0, before + random.poisson(before * max(times - 1, 0.0)), 0.0)
    share = after / np.maximum(before, 1.0)
    for column in (BUCKETS, FEE, FEE_DUE, VALUE, VALUE_FAILED):
        counts[rows, column] *= share
    for column in (REFUSED, FAILED, UNCLEAR, PIN, DOUBLED):
        some = counts[rows, column]
        counts[rows, column] = some + random.binomial(
            np.round(some).astype(np.int64), np.clip(share - 1, 0.0, 1.0)
        )
    counts[rows, TIMED] = np.where(counts[rows, TIMED] > 0, after, 0.0)
    counts[rows, ATTEMPTS] = after


def slow(step: Step, rows: npt.NDArray[np.int64], times: float) -> None:
    """Let answers take so many times as long."""
    step.counts[rows, BUCKETS] += step.counts[rows, TIMED] * 2 * np.log2(times)
