"""Where little happens, or a little more every hour: what is found there, how soon, and what is not."""

from collections.abc import Callable
from math import log

import numpy as np
import pytest

from umoja.ops.board import (
    ATTEMPTS,
    BUCKETS,
    CALLBACK,
    DOUBLED,
    FAILED,
    FEE,
    FEE_DUE,
    PAY,
    SESSION,
    TIMED,
    VALUE,
    WIDTH,
    Board,
    Key,
)
from umoja.ops.detectors.callbacks import callbacks
from umoja.ops.detectors.failures import Failures
from umoja.ops.detectors.latency import Latency
from umoja.ops.detectors.tariff_shift import TariffShift
from umoja.ops.detectors.volume import Volume
from umoja.ops.episodes import FEW_LESS, Bounds, Sums
from umoja.ops.finding import Alarm, Wide

HOUR = 60  # steps of a minute
CELLS = [
    Key("KE", PAY, product, "api", partner, cell)
    for product, partner in (("send_money", ""), ("bank_transfer", "bank-a"))
    for cell in ("c1", "c2", "c3")
]

Counts = np.ndarray


class Steps:
    """A market's counters, shown to one detector step by step."""

    def __init__(self, detector: Wide, keys: list[Key], *, expected: float = 1.0) -> None:
        self.detector, self.keys, self.expected = detector, keys, expected
        self.random = np.random.default_rng(5)
        self.board = Board(["KE"])
        self.rows = self.board.rows_of(keys)
        self.now_s = 1_000_000 * 3_600
        self.seen(np.zeros((len(keys), WIDTH)), 60)

    def seen(self, counts: Counts, step_s: int) -> list[Alarm]:
        self.now_s += step_s
        self.board.heard("KE", self.now_s)
        self.board.add_many(self.rows, counts)
        frame = self.board.step(self.now_s, blind_after_s=15, expected={"KE": self.expected})
        assert frame is not None
        return self.detector.look(frame)

    def until(
        self, steps: int, make: Callable[[int], Counts], *, step_s: int = 60
    ) -> tuple[int, Alarm] | None:
        """Return after how many steps something was found, and what; None: nothing was."""
        for step in range(1, steps + 1):
            found = self.seen(make(step), step_s)
            if found:
                return step, found[0]
        return None

    def came(self, mean: float | list[float]) -> Counts:
        counts = np.zeros((len(self.keys), WIDTH))
        counts[:, ATTEMPTS] = self.random.poisson(mean, len(self.keys))
        counts[:, VALUE] = counts[:, ATTEMPTS] * 1_000
        return counts

    def answered(self, mean: float | list[float], slower: float | list[float] = 0.0) -> Counts:
        """Return payments that were answered so many buckets slower than their kind is."""
        counts = self.came(mean)
        counts[:, TIMED] = timed = counts[:, ATTEMPTS]
        kinds = np.array([18.0 if key.partner else 11.0 for key in self.keys])
        strays = 1.6 * np.sqrt(timed) * self.random.standard_normal(len(self.keys))
        counts[:, BUCKETS] = timed * (kinds + slower) + strays
        return counts


def evening(step: int) -> float:
    """Return how much slower all answers are at the load of this time of the day."""
    return 0.4 * np.sin(2 * np.pi * step / (24 * HOUR))


@pytest.fixture
def three_days() -> Steps:
    made = Steps(Latency(), CELLS)
    assert made.until(72 * HOUR, lambda step: made.answered(20, evening(step))) is None
    return made


def test_a_leak_of_one_cell_is_found_in_half_a_dozen_hours(three_days: Steps):
    leaking = np.array([key.cell == "c1" for key in CELLS])

    found = three_days.until(
        10 * HOUR,
        # Two per cent an hour; and the whole day is slower than the others were.
        lambda step: three_days.answered(
            20, evening(step) - 0.1 + leaking * 2 * np.log2(1.02) * step / HOUR
        ),
    )

    assert found is not None
    step, alarm = found
    assert (alarm.cause.kind, alarm.cause.name) == ("cell", "c1")
    assert step <= 6 * HOUR


def test_a_day_on_which_the_whole_market_is_slower_is_no_leak(three_days: Steps):
    assert (
        three_days.until(24 * HOUR, lambda step: three_days.answered(20, evening(step) + 0.3))
        is None
    )


def test_more_payments_to_a_slow_bank_are_not_slower_answers(three_days: Steps):
    to_banks = [60.0 if key.partner else 10.0 for key in CELLS]

    assert (
        three_days.until(3 * HOUR, lambda step: three_days.answered(to_banks, evening(step)))
        is None
    )


def test_who_is_judged_on_less_is_sure_sooner_and_a_link_to_a_partner_or_a_cell_soonest():
    board = Board(["KE"])
    rows = board.rows_of([Key("KE", PAY, "bank_transfer", "api", "bank-a", "c1")])
    bounds = Bounds(alarm_at=20.0)
    now_s = 1_000
    for _ in range(24 * HOUR * 2):
        now_s += 60
        counts = np.zeros((1, WIDTH))
        counts[0, ATTEMPTS] = 0.6
        board.add_many(rows, counts)
        frame = board.step(now_s, blind_after_s=10**9, expected={})
        assert frame is not None
        found = bounds.of(frame, frame.counts[:, ATTEMPTS], frame.is_seen)

    by_kind = {group.kind: float(found[place]) for group, place in frame.places.items()}
    assert by_kind["product"] == pytest.approx(20.0 + log(0.01), abs=0.2)
    assert by_kind["vendor"] == pytest.approx(by_kind["product"] - FEW_LESS)
    assert by_kind["cell"] == by_kind["vendor"]


def failing(step: int) -> Counts:
    """Return one payment to a bank; each third fails."""
    counts = np.zeros((len(CELLS), WIDTH))
    counts[3, ATTEMPTS] = 1
    counts[3, FAILED] = step % 3 == 0
    return counts


def test_a_bank_that_fails_and_is_slow_is_found_on_fewer_payments():
    fails = Steps(Failures(), CELLS)
    slow = Steps(Failures(), CELLS)
    places = slow.board.step(slow.now_s + 1, blind_after_s=15, expected={}).places
    slow.now_s += 1
    gains = np.zeros(len(places))
    slow.detector.slower = lambda: (gains, gains)
    alone = fails.until(60, failing)
    gains[:] = 0.5
    both = slow.until(60, failing)

    assert alone is not None
    assert both is not None
    assert both[0] < alone[0]
    gains[:] = 0.0
    assert slow.until(60, lambda _: failing(1)) is not None  # good ones are needed to be calm


def test_an_outage_where_little_comes_is_seen_at_the_doors_and_a_pause_is_none():
    keys = [
        Key("KE", PAY, "send_money", "ussd", "", ""),
        Key("KE", PAY, "send_money", "api", "", ""),
        Key("KE", SESSION, "", "ussd", "", ""),
    ]
    a_minute = [3.6, 2.4, 6.0]  # payments of a market with a tenth of one a second, and its menus
    steps = Steps(Volume(), keys, expected=0.1)
    assert steps.until(48 * HOUR, lambda _: steps.came(a_minute)) is None

    assert steps.until(4, lambda _: steps.came(0), step_s=10) is None
    assert steps.until(HOUR, lambda _: steps.came(a_minute)) is None
    found = steps.until(60, lambda _: steps.came(0), step_s=10)

    assert found is not None
    step, alarm = found
    assert (alarm.cause.kind, alarm.cause.name) == ("market", "KE")
    assert step <= 15  # payments alone need nineteen steps


def test_the_end_of_a_trouble_is_seen_after_some_good_payments():
    sums = Sums(alarm_at=20.0)
    sums.grow(1)
    for now_s in range(0, 600, 10):
        sums.add(np.array([4.0]), now_s, 10)
    assert sums.loud() == [0]
    for now_s in range(600, 760, 10):
        sums.add(np.array([-1.0]), now_s, 10)

    assert sums.loud() == []


@pytest.mark.parametrize(("payments", "is_found"), [(1, False), (2, True)], ids=["one", "two"])
def test_two_payments_with_a_wrong_fee_are_enough(payments: int, is_found: bool):
    steps = Steps(TariffShift(), [Key("KE", PAY, "withdraw", "api", "", "")])
    counts = np.zeros((1, WIDTH))
    counts[0, [ATTEMPTS, FEE, FEE_DUE]] = 1, 15, 10

    assert bool(steps.until(payments, lambda _: counts)) is is_found


@pytest.mark.parametrize(
    ("doubled", "is_found"), [(3, False), (8, True)], ids=["one comes thrice", "four in ten"]
)
def test_callbacks_of_a_small_partner_that_come_twice(doubled: int, is_found: bool):
    steps = Steps(callbacks(), [Key("KE", CALLBACK, "", "webhook", "shop", "")])
    assert steps.until(24 * HOUR, lambda _: steps.came(3)) is None
    counts = np.zeros((1, WIDTH))
    counts[0, [ATTEMPTS, DOUBLED]] = 20, doubled

    assert bool(steps.until(1, lambda _: counts)) is is_found
