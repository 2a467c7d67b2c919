"""The campaign's sixteen faults, each with its decoy: what moves, for how long, and what ends it.

A fault changes a step's counts in place and says what it cost. A decoy looks like its fault and is
none: a good centre stays calm.
"""

# ruff: noqa: ARG001  every effect is called alike, and most need only a part of it
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from umoja.ops.board import (
    ATTEMPTS,
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
    VALUE,
)
from umoja.simulator.campaign_world import Place, Step, fail, slow, swell, thin

Lost = tuple[float, float]
Effect = Callable[["Trouble", Place, Step, np.random.Generator], Lost]
Echo = Callable[["Trouble", Place, Step, np.random.Generator], None]
NOTHING: Lost = (0.0, 0.0)


@dataclass(slots=True, kw_only=True)
class Trouble:
    """A fault or a decoy with its place in time. Seconds are since 1970."""

    kind: str
    market: str
    start_s: int
    end_s: int
    cause: tuple[str, str]
    is_decoy: bool
    strength: float
    switch: str = ""  # what a remedy stops: with it the harm ends
    planned: frozenset[str] = frozenset()
    effect: Effect = field(repr=False)
    echo: Echo | None = field(default=None, repr=False)
    changed: str = ""
    per_second: float = 0.0
    payments: float = 0.0
    minor: float = 0.0
    is_mended: bool = False

    def apply(self, place: Place, step: Step, random: np.random.Generator) -> None:
        lost, minor = self.effect(self, place, step, random)
        self.payments += lost
        self.minor += minor

    def apply_echo(self, place: Place, step: Step, random: np.random.Generator) -> None:
        """Let a partner lose echoes: also while nothing else goes there any more."""
        if self.echo is not None:
            self.echo(self, place, step, random)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of fault: its cause, how long it lasts (minutes), and its decoy."""

    name: str
    effect: Effect
    decoy: str
    decoy_effect: Effect
    cause: Callable[[np.random.Generator], tuple[str, str]]
    switch: str = ""
    echo: Echo | None = None  # of a fault at a partner: what it does to his echoes
    lasts_min: tuple[int, int] = (10, 40)
    decoy_min: tuple[int, int] = (10, 60)
    strengths: tuple[float, ...] = (1.0,)
    is_planned: bool = False
    changed: str = ""


def _elapsed(trouble: Trouble, step: Step) -> float:
    return step.now_s - trouble.start_s


def _sms_dead(trouble: Trouble, place: Place, step: Step, random: np.random.Generator) -> Lost:
    rows = place.of(flow=SMS, partner=trouble.cause[1])
    sent = float(step.counts[rows, ATTEMPTS].sum())
    step.counts[rows, FAILED] = step.counts[rows, ATTEMPTS]
    return sent, sent * place.mean_minor


def _blast(trouble: Trouble, place: Place, step: Step, random: np.random.Generator) -> Lost:
    swell(step, place.of(flow=SMS), 12.0, random)
    return NOTHING


def _bank(trouble: Trouble, place: Place, step: Step, random: np.random.Generator) -> Lost:
    rows = place.of(flow=PAY, partner=trouble.cause[1])
    slow(step, rows, 1 + 5 * trouble.strength)
    return fail(step, rows, trouble.strength, random, unclear=0.5)


def _bank_echo(trouble: Trouble, place: Place, step: Step, random: np.random.Generator) -> None:
    fail(step, place.of(flow=ECHO, partner=trouble.cause[1]), trouble.strength, random)


def _database(trouble: Trouble, place: Place, step: Step, random: np.random.Generator) -> Lost:
    rows = place.of(flow=PAY, cell=trouble.cause[1])
    slow(step, rows, 4.0)
    return fail(step, rows, 0.08, random)


def _peak(trouble: Trouble, place: Place, step: Step, random: np.random.Generator) -> Lost:
    ramp = min(1.0, _elapsed(trouble, step) / 600, (trouble.end_s - step.now_s) / 600)
    swell(step, place.traffic, 1 + 0.6 * max(ramp, 0.0), random)
    slow(step, place.of(flow=PAY), 1 + 0.12 * max(ramp, 0.0))
    return NOTHING


def _tariff(trouble: Trouble, place: Place, step: Step, random: np.random.Generator) -> Lost:
    rows = place.of(flow=PAY, product=trouble.cause[1])
    before = step.counts[rows, FEE].copy()
    step.counts[rows, FEE] = before * (1 + trouble.strength)
    charged = float((step.counts[rows, ATTEMPTS] * (before > 0)).sum())
    return charged, float(np.abs(step.counts[rows, FEE] - before).sum())


def _new_tariff(trouble: Trouble, place: Place, step: Step, random: np.random.Generator) -> Lost:
    rows = place.of(flow=PAY, product="send_money")
    step.counts[rows, FEE] *= 1.3
    step.counts[rows, FEE_DUE] *= 1.3
    return NOTHING


def _fraud(trouble: Trouble, place: Place, step: Step, random: np.random.Generator) -> Lost:
    rows = place.of(flow=PAY, product=trouble.cause[1])
    tried = step.counts[rows, ATTEMPTS]
    wrong = random.binomial(tried.astype(np.int64), 0.18).astype(float)
    worth = step.counts[rows, VALUE] / np.maximum(tried, 1.0)
    step.counts[rows, PIN] += wrong
    step.counts[rows, ATTEMPTS] += wrong
    step.counts[rows, REFUSED] += wrong
    step.counts[rows, VALUE] += wrong * worth
    return float(wrong.sum()), float((wrong * worth).sum())


def _salaries(trouble: Trouble, place: Place, step: Step, random: np.random.Generator) -> Lost:
    swell(step, place.of(flow=PAY, product="send_money"), 2.0, random)
    return NOTHING


def _drought(trouble: Trouble, place: Place, step: Step, random: np.random.Generator) -> Lost:
    step.gauges[place.market.code, "agents_able_permille", trouble.cause[1]] = 620.0
    rows = place.of(flow=PAY, product="withdraw")
    more = random.binomial(step.counts[rows, ATTEMPTS].astype(np.int64), 0.15).astype(float)
    step.counts[rows, REFUSED] = np.minimum(
        step.counts[rows, REFUSED] + more, step.counts[rows, ATTEMPTS]
    )
    return NOTHING


def _cash_in(trouble: Trouble, place: Place, step: Step, random: np.random.Generator) -> Lost:
    step.gauges[place.market.code, "agents_able_permille", "north"] = 880.0
    swell(step, place.of(flow=PAY, product="deposit"), 1.5, random)
    return NOTHING


def _outage(trouble: Trouble, place: Place, step: Step, random: np.random.Generator) -> Lost:
    thin(step, place.of(flow=SESSION), 0.0, random)
    thin(step, place.of(flow=SMS), 0.0, random)
    thin(step, place.of(flow=CALLBACK), 0.0, random)
    return thin(step, place.of(flow=PAY), 0.0, random)


def _holiday(trouble: Trouble, place: Place, step: Step, random: np.random.Generator) -> Lost:
    ramp = min(1.0, _elapsed(trouble, step) / 1_800, (trouble.end_s - step.now_s) / 1_800)
    thin(step, place.traffic, 1 - 0.25 * max(ramp, 0.0), random)
    return NOTHING


def _skew(trouble: Trouble, place: Place, step: Step, random: np.random.Generator) -> Lost:
    step.gauges[place.market.code, "clock_offset_ms", trouble.cause[1]] = 2_400.0
    return fail(step, place.of(flow=PAY, channel="api"), 0.02, random)


def _summer_time(trouble: Trouble, place: Place, step: Step, random: np.random.Generator) -> Lost:
    ramp = min(1.0, _elapsed(trouble, step) / 900, (trouble.end_s - step.now_s) / 900)
    swell(step, place.traffic, 1 + 0.2 * max(ramp, 0.0), random)
    return NOTHING


def _doubled(trouble: Trouble, place: Place, step: Step, random: np.random.Generator) -> Lost:
    rows = place.of(flow=CALLBACK, partner=trouble.cause[1])
    step.counts[rows, DOUBLED] = random.binomial(step.counts[rows, ATTEMPTS].astype(np.int64), 0.4)
    return NOTHING


def _retries(trouble: Trouble, place: Place, step: Step, random: np.random.Generator) -> Lost:
    rows = place.of(flow=PAY, product="pay_till", channel="api")
    more = np.round(step.counts[rows, ATTEMPTS] * 1.5)
    step.counts[rows, ATTEMPTS] += more
    step.counts[rows, REFUSED] += more
    return NOTHING


def _ussd(trouble: Trouble, place: Place, step: Step, random: np.random.Generator) -> Lost:
    thin(step, place.of(flow=SESSION), 0.05, random)
    return thin(step, place.of(flow=PAY, channel="ussd"), 0.05, random)


def _expired(trouble: Trouble, place: Place, step: Step, random: np.random.Generator) -> Lost:
    step.gauges[place.market.code, "expires_in_s", trouble.cause[1]] = -_elapsed(trouble, step)
    return fail(step, place.of(flow=PAY, partner=trouble.cause[1]), 1.0, random)


def _expired_echo(trouble: Trouble, place: Place, step: Step, random: np.random.Generator) -> None:
    fail(step, place.of(flow=ECHO, partner=trouble.cause[1]), 1.0, random)


def _rotation(trouble: Trouble, place: Place, step: Step, random: np.random.Generator) -> Lost:
    left_s = 1_800.0 if trouble.end_s - step.now_s > 600 else 90 * 86_400.0
    step.gauges[place.market.code, "expires_in_s", "bank-a"] = left_s
    return NOTHING


def _stuck(trouble: Trouble, place: Place, step: Step, random: np.random.Generator) -> Lost:
    step.gauges[place.market.code, "oldest_s", trouble.cause[1]] = _elapsed(trouble, step)
    return NOTHING


def _batch(trouble: Trouble, place: Place, step: Step, random: np.random.Generator) -> Lost:
    saw = _elapsed(trouble, step) % 300
    step.gauges[place.market.code, "oldest_s", "callbacks"] = min(70.0, saw) if saw < 150 else 4.0
    return NOTHING


def _leak(trouble: Trouble, place: Place, step: Step, random: np.random.Generator) -> Lost:
    slow(step, place.of(flow=PAY, cell=trouble.cause[1]), 1.02 ** (_elapsed(trouble, step) / 3_600))
    return NOTHING


def _growth(trouble: Trouble, place: Place, step: Step, random: np.random.Generator) -> Lost:
    swell(step, place.traffic, 1 + 0.02 * _elapsed(trouble, step) / 3_600, random)
    return NOTHING


def _gap(trouble: Trouble, place: Place, step: Step, random: np.random.Generator) -> Lost:
    step.gauges[place.market.code, "trust_gap", "main"] = -50_000.0 * trouble.strength
    return NOTHING


def _late_statement(
    trouble: Trouble, place: Place, step: Step, random: np.random.Generator
) -> Lost:
    step.gauges.pop((place.market.code, "trust_gap", "main"), None)
    return NOTHING


def _deaf(trouble: Trouble, place: Place, step: Step, random: np.random.Generator) -> Lost:
    step.is_heard[place.market.code] = False
    step.counts[place.rows] = 0.0
    return NOTHING


def _quiet_night(trouble: Trouble, place: Place, step: Step, random: np.random.Generator) -> Lost:
    ramp = min(1.0, _elapsed(trouble, step) / 1_800, (trouble.end_s - step.now_s) / 1_800)
    thin(step, place.traffic, 1 - 0.3 * max(ramp, 0.0), random)
    return NOTHING


def _one(kind: str, *names: str) -> Callable[[np.random.Generator], tuple[str, str]]:
    return lambda random: (kind, str(random.choice(names)))


KINDS = {
    each.name: each
    for each in (
        Kind(name="sms-route-dead", effect=_sms_dead, decoy="marketing blast", decoy_effect=_blast,
             cause=_one("vendor", "sms-a", "sms-b"), switch="route:"),
        Kind(name="bank-timeouts", effect=_bank, decoy="a bank's announced window",
             decoy_effect=_bank, cause=_one("vendor", "bank-a", "bank-b"), switch="partner:",
             strengths=(0.2, 0.6, 1.0), is_planned=True, echo=_bank_echo),
        Kind(name="database-slow", effect=_database, decoy="payday peak", decoy_effect=_peak,
             cause=_one("cell", "cell-1", "cell-2")),
        Kind(name="bad-tariff", effect=_tariff, decoy="a genuine new tariff",
             decoy_effect=_new_tariff, cause=_one("release", "send_money", "withdraw", "pay_till"),
             switch="tariff:", strengths=(-0.5, 0.25, 1.0), changed="tariff of {} released"),
        Kind(name="fraud-spike", effect=_fraud, decoy="bulk salary run", decoy_effect=_salaries,
             cause=_one("fraud", "send_money")),
        Kind(name="float-drought", effect=_drought, decoy="holiday cash-in", decoy_effect=_cash_in,
             cause=_one("district", "north", "south")),
        Kind(name="market-outage", effect=_outage, decoy="public holiday dip",
             decoy_effect=_holiday, cause=lambda _: ("market", ""), decoy_min=(180, 600)),
        Kind(name="clock-skew", effect=_skew, decoy="summer-time change",
             decoy_effect=_summer_time, cause=_one("node", "node-1", "node-2")),
        Kind(name="duplicate-callbacks", effect=_doubled, decoy="merchant retry storm",
             decoy_effect=_retries, cause=_one("vendor", "merchants-a", "merchants-b")),
        Kind(name="ussd-loss", effect=_ussd, decoy="network operator works", decoy_effect=_ussd,
             cause=_one("channel", "ussd"), is_planned=True),
        Kind(name="expiry", effect=_expired, decoy="planned rotation", decoy_effect=_rotation,
             cause=_one("certificate", "bank-a", "bank-b", "airtime-a"), echo=_expired_echo),
        Kind(name="queue-stuck", effect=_stuck, decoy="settlement batch", decoy_effect=_batch,
             cause=_one("queue", "callbacks", "recovery")),
        Kind(name="slow-leak", effect=_leak, decoy="organic growth", decoy_effect=_growth,
             cause=_one("cell", "cell-1", "cell-2"), lasts_min=(1_200, 1_440),
             decoy_min=(600, 1_200)),
        Kind(name="two-at-once", effect=_bank, decoy="payday peak", decoy_effect=_peak,
             cause=_one("vendor", "bank-a", "bank-b"), switch="partner:", strengths=(0.6, 1.0),
             echo=_bank_echo),
        Kind(name="trust-mismatch", effect=_gap, decoy="statement delay",
             decoy_effect=_late_statement, cause=_one("trust", "main"), strengths=(0.001, 1.0)),
        Kind(name="monitoring-dead", effect=_deaf, decoy="quiet night", decoy_effect=_quiet_night,
             cause=lambda _: ("monitoring", ""), decoy_min=(180, 360)),
    )
}  # fmt: skip
RARE = frozenset({"slow-leak"})
"""Lasts a day: at most one in thirty."""


def begun(
    kind: Kind, *, market: str, start_s: int, is_decoy: bool, random: np.random.Generator
) -> Trouble:
    """Return one trouble of a kind, its length and strength drawn."""
    least, most = kind.decoy_min if is_decoy else kind.lasts_min
    lasts_s = int(random.integers(least * 60, most * 60 + 1))
    cause_kind, name = kind.cause(random)
    name = name or market
    names: frozenset[str] = frozenset()
    if is_decoy and kind.is_planned:
        names = frozenset(
            {name, "bank_transfer"} if name in {"bank-a", "bank-b"} else {name, market}
        )
    return Trouble(
        kind=kind.decoy if is_decoy else kind.name,
        market=market,
        start_s=start_s,
        end_s=start_s + lasts_s,
        cause=(cause_kind, name),
        is_decoy=is_decoy,
        strength=float(random.choice(kind.strengths)),
        switch=f"{kind.switch}{name}" if kind.switch and not is_decoy else "",
        planned=names,
        effect=kind.decoy_effect if is_decoy else kind.effect,
        echo=None if is_decoy and kind.decoy_effect is not kind.effect else kind.echo,
        changed=kind.changed.format(name) if kind.changed else "",
    )
