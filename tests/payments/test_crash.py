"""Killed with -9 at random moments, ten times over: nothing acknowledged is lost, nothing is doubled."""

import random
import subprocess
import sys
import time
from pathlib import Path

from tests.stage import raised

KILLS = 10
ROOT = Path(__file__).parent.parent.parent


def one_life(folder: Path, begin: int, lasts_s: float) -> dict[int, tuple[str, str]]:
    """Let the victim pay, kill it, and return what it had acknowledged."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.payments.crash_victim", str(folder), str(begin)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as victim:
        assert victim.stdout.readline() == "ready\n"
        time.sleep(lasts_s)
        victim.kill()
        lines = victim.stdout.read().splitlines(keepends=True)
    told = {}
    for line in lines:
        if line.endswith("\n"):  # the last one may be cut off
            place, order, answer = line.split()
            told[int(place)] = (order, answer)
    return told


def test_ten_kills_lose_nothing_and_double_nothing(tmp_path: Path):
    chance = random.Random(20261124)
    acknowledged: dict[int, tuple[str, str]] = {}
    begin = 0
    for _ in range(KILLS):
        told = one_life(tmp_path, begin, chance.uniform(0.02, 0.5))
        acknowledged |= told
        begin = (max(acknowledged, default=0) // 20 + 2) * 20
        stage = raised("KE", tmp_path, engine="sqlite")
        assert stage.breaches() == ()
        for place, (order_id, answer) in told.items():
            order = stage.desk.find(order_id)
            assert order is not None, f"payment {place} was acknowledged and is lost"
            assert (order.receipt or order.decline.value) == answer
        stage.close()
    stage = raised("KE", tmp_path, engine="sqlite")
    booked = [order for _, order in stage.desk.orders(limit=10**6) if order.step == "booked"]
    assert len({order.id for order in booked}) == len(booked), "a payment was booked twice"
    receipts = [order.receipt for order in booked]
    assert len(set(receipts)) == len(receipts)
    before = {p.id: stage.wallets.balances(p) for p in stage.store.browse(role="customer")}
    for place in list(acknowledged)[-50:]:
        people = stage.store.browse(role="customer", limit=8)
        payer, payee = people[place % 8], people[(place * 5 + 1) % 8]
        amount = 1_00 + place % 50 * 1_00
        again = stage.pay("send_money", payer.id, payee.id, amount, key=f"k{place}")
        assert again.id == acknowledged[place][0]
    assert {p.id: stage.wallets.balances(p) for p in stage.store.browse(role="customer")} == before
    assert len(acknowledged) > 100
    stage.close()
