"""The campaign: sixteen kinds, each with its decoy, seeded; a drill on counters finds its cause."""

from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest

from umoja.markets import packs
from umoja.ops.board import ATTEMPTS, FAILED, FEE, FEE_DUE, PAY, TIMED, VALUE
from umoja.simulator.campaign import APART_S, WARM_S, campaign, drill_counts, planned_troubles
from umoja.simulator.campaign_faults import KINDS
from umoja.simulator.campaign_world import RATES, World, fail, swell, thin
from umoja.simulator.traffic import expected_per_second

BEGAN = datetime(2026, 3, 2, tzinfo=UTC)


def world(*codes: str, seed: int = 1) -> World:
    markets = [packs.load(code) for code in codes]
    return World(markets, began=BEGAN, rates=RATES, seed=seed, expected=expected_per_second)


def test_there_are_sixteen_faults_and_each_has_a_decoy():
    assert len(KINDS) == 16
    assert all(kind.decoy for kind in KINDS.values())


def test_the_same_seed_gives_the_same_steps_and_another_seed_others():
    first, same, other = world("KE"), world("KE"), world("KE", seed=2)

    counts = [made.step(0).counts for made in (first, same, other)]

    assert np.array_equal(counts[0], counts[1])
    assert not np.array_equal(counts[0], counts[2])


def test_a_step_is_one_that_could_be():
    made = world("KE", "GH")
    counts = made.step(0).counts

    assert (counts[:, FAILED] <= counts[:, ATTEMPTS]).all()
    assert (counts[:, FEE] == counts[:, FEE_DUE]).all()
    rows = made.places["KE"].of(flow=PAY)
    expected = expected_per_second(packs.load("KE"), BEGAN, RATES[0]) * 10
    assert 0.7 * expected < counts[rows, ATTEMPTS].sum() < 1.3 * expected


def test_what_fails_does_not_come_or_comes_more_often_is_counted():
    made, random = world("KE"), np.random.default_rng(1)
    step = made.step(0)
    rows = made.places["KE"].of(flow=PAY)
    before = step.counts[rows].sum(axis=0)

    lost, minor = fail(step, rows, 0.5, random)
    failed = step.counts[rows].sum(axis=0)
    assert failed[FAILED] == before[FAILED] + lost
    assert minor == pytest.approx(before[VALUE] * lost / before[ATTEMPTS], rel=0.1)

    swell(step, rows, 2.0, random)
    swollen = step.counts[rows].sum(axis=0)
    assert swollen[ATTEMPTS] == pytest.approx(2 * before[ATTEMPTS], rel=0.1)

    gone, worth = thin(step, rows, 0.0, random)
    thinned = step.counts[rows].sum(axis=0)
    assert gone == swollen[ATTEMPTS]
    assert worth == pytest.approx(swollen[VALUE])
    assert (thinned[ATTEMPTS], thinned[FAILED], thinned[TIMED], thinned[VALUE]) == (0, 0, 0, 0)


def test_troubles_leave_the_first_days_calm_and_do_not_overlap_in_a_market():
    made = world(*packs.codes())

    found = planned_troubles(made, days=30, faults=60, decoys=40, random=np.random.default_rng(5))

    assert sum(not trouble.is_decoy for trouble in found) == 60
    assert sum(trouble.is_decoy for trouble in found) == 40
    assert min(trouble.start_s for trouble in found) >= BEGAN.timestamp() + WARM_S
    assert {trouble.kind for trouble in found if not trouble.is_decoy} == set(KINDS)
    for market in packs.codes():
        mine = [trouble for trouble in found if trouble.market == market]
        for one, other in pairwise(mine):
            is_pair = one.kind == "two-at-once" and other.kind == "bad-tariff"
            assert is_pair or other.start_s >= one.start_s + APART_S or other.kind == "two-at-once"


@pytest.mark.bench
@pytest.mark.parametrize("fault", ["bank-timeouts", "market-outage", "bad-tariff", "two-at-once"])
def test_a_drill_on_counters_finds_the_cause_and_leaves_the_decoy_alone(fault: str):
    report = drill_counts(fault, market="TZ", seed=3)

    assert report["passed"], report["incidents"]
    assert report["detection_s"] <= 60


@pytest.mark.bench
@pytest.mark.timeout(600)
def test_a_short_campaign_finds_nearly_all_and_cries_no_wolf():
    report = campaign(days=3, faults=10, decoys=6, seed=9)

    # Eight faults count. A leak of a day may be missed, and one more.
    assert report["recall"] >= 0.75
    assert report["precision"] >= 0.7
    assert report["in_planned_windows"] == 0
