"""A released batch and a process that is killed over and over: every customer gets her money once."""

import asyncio
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from tests.postgres import files_only
from umoja.app import Hall, stage_settings
from umoja.clock import ManualClock, SystemClock
from umoja.ledger.sqlite import journal_rows
from umoja.markets import packs
from umoja.ops.finding import Counts, Finding
from umoja.ops.impact import Harm
from umoja.parties.party import SYSTEM, Party, Role
from umoja.payments.clerk import decode_order
from umoja.payments.order import Ask
from umoja.signals import Wrong

LINES = 120
KILLS = (5, 30, 60, 100)
ROOT = Path(__file__).parents[2]


def prepared(folder: Path) -> None:
    """Leave a market in which 120 payments bore a fee of which 1 too much was taken, and a batch."""
    market = packs.load("KE")
    clock = ManualClock(SystemClock().now() - timedelta(minutes=5))
    hall = Hall(config=stage_settings(folder, "KE"), clock=clock, markets={"KE": market})
    branch, asked = hall.branches["KE"], 0

    def pay(product: str, payer: int, payee: int, amount: int, reference: str = "") -> str:
        nonlocal asked
        asked += 1
        (order,) = branch.desk.submit_now(
            [
                Ask(
                    client="test", key=str(asked), channel="api", product=product, payer=payer,
                    payee=payee, amount=amount, currency="KES", reference=reference,
                )
            ]
        )  # fmt: skip
        assert order.decline is None, order.decline
        return order.id

    def party(role: Role, **rest: str) -> int:
        return branch.directory.register(Party(id=0, role=role, name="Amina Otieno", **rest)).id

    example = market.phone_number(market.number_example) or ""
    tier = market.tiers[-1].id
    outlet = party(Role.AGENT, phone=f"{example[:-4]}0001", agent_code="200001")
    people = [
        party(Role.CUSTOMER, phone=f"{example[:-4]}{n:04d}", tier=tier) for n in range(10, 12)
    ]
    pay("float_purchase", SYSTEM, outlet, 300_000_00, "bank")
    pay("deposit", outlet, people[0], 200_000_00)
    orders = [pay("send_money", people[0], people[1], 1_000_00) for _ in range(LINES)]
    hall.centre.incidents.found(
        "KE",
        "tariff_shift",
        Finding(title="Fees", evidence="too high", began_s=int(clock.now().timestamp())),
        counts=Counts.PAYMENTS,
        harm=Harm(),
    )
    incident = hall.centre.incidents.get("INC-000001")
    assert incident is not None
    for name in ("ada", "bo"):
        hall.centre.staff.add(name, "a long enough password", {"*": ["administrator"]}, by="test")
    wrongs = [
        Wrong(
            order=each, kind="wrong_fee", act="compensate", product="send_money",
            amount_minor=1_00, currency="KES", at=0, who="ab", is_sure=True, why="why",
        )
        for each in orders
    ]  # fmt: skip
    hall.centre.make_good.draft(incident, wrongs, actor="ada")
    hall.centre.make_good.release(1, actor="bo")
    asyncio.run(hall.close())


@files_only
@pytest.mark.bench
def test_every_customer_gets_her_money_once_however_often_it_is_killed(tmp_path: Path):
    prepared(tmp_path)
    reached = []
    for until in (*KILLS, LINES + 1):
        victim = subprocess.Popen(
            [sys.executable, "-m", "tests.ops.make_good_victim", str(tmp_path), "KE"],
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        assert victim.stdout is not None
        count = -1
        for line in victim.stdout:
            words = line.split()
            if len(words) == 2 and words[0] in {b"released", b"done"}:
                count = int(words[1])
                if count >= until:
                    victim.kill()
                    break
        victim.wait()
        victim.stdout.close()
        reached.append(count)
    assert reached[-1] == LINES
    assert reached == sorted(reached)
    assert reached[0] < LINES  # it was killed in the middle, not at the end

    paid: Counter[str] = Counter()
    for row in journal_rows(tmp_path / "KE" / "journal.db"):
        order = decode_order(row.story)
        if order.product == "compensation" and order.step == "booked":
            paid[order.reference] += order.amount
    assert len(paid) == LINES
    assert set(paid.values()) == {1_00}
    hall = Hall(
        config=stage_settings(tmp_path, "KE"),
        clock=SystemClock(),
        markets={"KE": packs.load("KE")},
    )
    assert hall.branches["KE"].wallets.audit().breaches == ()
    batch = hall.centre.make_good.batch(1)
    assert batch is not None
    assert (batch.state, batch.done) == ("done", {"KES": LINES * 1_00})
    assert hall.centre.audit.verify().broken_at is None
    done = [each for each in hall.centre.audit.recent(limit=50) if each.action == "make_good_done"]
    assert len(done) == 1
    asyncio.run(hall.close())
