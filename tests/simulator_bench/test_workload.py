"""Who pays whom: the shares that each workload promises, drawn the same every time."""

from collections import Counter

import numpy as np
import pytest

from umoja.simulator.bench_workload import (
    Crowd,
    Drawer,
    Workload,
    capped,
    scattered,
    zipf,
)

CROWD = Crowd(customers=1_000, merchants=50, outlets=20, payments_each=100)
MANY = 40_000


def drawn(workload: Workload, count: int = MANY, **rest):
    return Drawer(workload, CROWD, seed=7, total=count, span=11, **rest).draw(count)


@pytest.mark.parametrize("workload", list(Workload))
def test_every_place_exists_and_nobody_pays_herself(workload):
    draw = drawn(workload)
    sizes = {
        "send_money": (1_000, 1_000),
        "pay_bill": (1_000, 50),
        "withdraw": (1_000, 20),
        "deposit": (20, 1_000),
    }
    assert len(draw) == MANY
    for product, payer, payee, amount in zip(
        draw.products, draw.payers, draw.payees, draw.amounts, strict=True
    ):
        payers, payees = sizes[product]
        assert 0 <= payer < payers
        assert 0 <= payee < payees
        assert 0 <= amount < 11
        assert product != "send_money" or payer != payee


@pytest.mark.parametrize("workload", list(Workload))
def test_the_same_seed_draws_the_same(workload):
    assert drawn(workload, 500) == drawn(workload, 500)


def test_uniform_is_from_person_to_person():
    draw = drawn(Workload.UNIFORM)
    assert set(draw.products) == {"send_money"}
    assert max(Counter(draw.payers).values()) < 3 * MANY / 1_000


def test_one_merchant_receives_a_fifth():
    draw = drawn(Workload.MERCHANT)
    hot = [payee for product, payee in zip(draw.products, draw.payees, strict=True)
           if product == "pay_bill"]  # fmt: skip
    assert set(hot) == {0}
    assert 0.19 < len(hot) / MANY < 0.21


def test_few_merchants_receive_most_and_no_payer_passes_what_ceilings_allow():
    draw = drawn(Workload.ZIPF)
    receivers = Counter(draw.payees).most_common()
    assert receivers[0][0] == 0
    assert 0.2 < receivers[0][1] / MANY < 0.24
    assert max(Counter(draw.payers).values()) < 130  # 80 by the cap, and luck


def test_a_payday_is_a_mix_made_mostly_by_a_fifth():
    draw = drawn(Workload.PAYDAY)
    shares = {product: many / MANY for product, many in Counter(draw.products).items()}
    assert shares == pytest.approx(
        {"send_money": 0.45, "pay_bill": 0.35, "withdraw": 0.12, "deposit": 0.08}, abs=0.01
    )
    payers = Counter(
        payer for product, payer in zip(draw.products, draw.payers, strict=True)
        if product != "deposit"
    )  # fmt: skip
    busy = sum(many for _, many in payers.most_common(200))
    assert 0.8 < busy / sum(payers.values()) < 0.9


@pytest.mark.parametrize(
    ("workload", "payer", "payee"),
    [
        (Workload.UNIFORM, 0.001, 0.001),
        (Workload.MERCHANT, 0.001, 0.2),
        (Workload.PAYDAY, 0.004, 0.007),
        (Workload.ZIPF, 0.002, 0.218512),
    ],
)
def test_the_hottest_shares_are_told(workload, payer, payee):
    found = Drawer(workload, CROWD, seed=1, total=MANY, span=1).hottest
    assert found == {"payer": payer, "payee": payee}


def test_a_size_that_cannot_be_capped_is_drawn_evenly():
    draw = Drawer(Workload.ZIPF, CROWD, seed=1, total=10**9, span=1)
    assert draw.hottest["payer"] == 0.001


@pytest.mark.parametrize(
    ("shares", "cap", "expected"),
    [
        ([0.5, 0.3, 0.2], 1.0, [0.5, 0.3, 0.2]),
        ([0.5, 0.3, 0.2], 0.4, [0.4, 0.36, 0.24]),
        ([0.7, 0.2, 0.1], 0.35, [0.35, 0.35, 0.3]),
        ([0.5, 0.3, 0.2], 0.1, [1 / 3, 1 / 3, 1 / 3]),
    ],
)
def test_what_the_busiest_lose_the_others_share(shares, cap, expected):
    assert capped(np.array(shares), cap).tolist() == pytest.approx(expected)


def test_shares_of_ranks_fall_and_add_up():
    shares = zipf(1_000)
    assert shares.sum() == pytest.approx(1)
    assert shares[0] / shares[9] == pytest.approx(10**0.99)


@pytest.mark.parametrize("many", [2, 50, 1_000, 104_729, 7_368_787])
def test_scattered_ranks_are_all_places_once(many):
    assert len(set(scattered(np.arange(many), many).tolist())) == many


def test_slices_add_up():
    drawer = Drawer(Workload.UNIFORM, CROWD, seed=1, total=25, span=1)
    assert [len(draw) for draw in drawer.slices(25, 10)] == [10, 10, 5]
