"""The ground of a bench: people, money and the books that are proved afterwards."""

from datetime import date
from pathlib import Path

import pytest

from tests.stage import NOON, raised
from umoja.clock import ManualClock
from umoja.faults import Unavailable
from umoja.ledger.entries import Bundle, Kind, Transfer, Verdict
from umoja.ledger.memory import MemoryLedger
from umoja.markets import packs
from umoja.parties.party import Role
from umoja.payments.accounts import Purse
from umoja.payments.order import State
from umoja.simulator import bench_stage
from umoja.simulator.bench_stage import Note, claim, ground_of, prove, register, settle
from umoja.simulator.bench_workload import Draw, Drawer, Workload

DAY = date(2026, 3, 10)
NOTE = Note(market="KE", engine="sqlite", customers=40, people="none")


def quiet(_what: str, _done: int, _todo: int) -> None:
    pass


@pytest.fixture
def ground():
    return ground_of(packs.load("KE"), customers=40, day=DAY)


def test_amounts_are_small_and_bear_a_fee(ground):
    assert (ground.prices.least, ground.amount(0)) == (10_100, 10_100)
    assert ground.amount(ground.prices.steps) == 20_200
    assert ground.prices.step == 100
    assert ground.opening == 25_000_000  # half of what a wallet may hold


def test_crowds_follow_on_each_other(ground):
    assert (ground.crowd.outlets, ground.crowd.merchants) == (4, 4)
    assert (ground.cast.dealer, ground.cast.outlets) == (1_000, 1_001)
    assert (ground.cast.merchants, ground.cast.customers) == (1_005, 1_009)


@pytest.mark.parametrize(
    ("product", "sides"),
    [
        ("send_money", (1_009, 1_010)),
        ("pay_bill", (1_009, 1_006)),
        ("withdraw", (1_009, 1_002)),
        ("deposit", (1_001, 1_010)),
    ],
)
def test_places_stand_for_the_right_crowd(ground, product, sides):
    assert ground.sides(product, 0, 1) == sides


def test_everybody_gets_money_once(ground, monkeypatch):
    monkeypatch.setattr(bench_stage, "PART", 7)
    ledger, clock = MemoryLedger(), ManualClock(NOON)
    settle(ground, ledger, clock, step=quiet)
    lines = ledger.head
    settle(ground, ledger, clock, step=quiet)
    assert ledger.head == lines
    wallets = [
        ledger.state.available(ground.accounts.number(party, Purse.WALLET, "KES"))
        for party in range(1_009, 1_049)
    ]
    assert wallets == [25_000_000] * 40
    books = prove(ledger)
    assert books["balanced"] is True
    assert books["currencies"][0]["issued"] == 40 * 25_000_000 + 4 * 10**13


def test_a_ground_that_was_cut_off_is_finished(ground, monkeypatch):
    monkeypatch.setattr(bench_stage, "PART", 7)
    monkeypatch.setattr(bench_stage, "PARTS_AT_ONCE", 2)
    ledger, clock = MemoryLedger(), ManualClock(NOON)

    def cut(_what: str, done: int, _todo: int) -> None:
        if done > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        settle(ground, ledger, clock, step=cut)
    settle(ground, ledger, clock, step=quiet)
    assert prove(ledger)["currencies"][0]["issued"] == 40 * 25_000_000 + 4 * 10**13


def test_a_bundle_has_three_legs_that_balance(ground):
    draw = Draw(["send_money"], [0], [1], [5])
    (bundle,) = ground.bundles(draw, first=9, now=1)
    payer = ground.accounts.number(1_009, Purse.WALLET, "KES")
    assert [(t.source, t.minor) for t in bundle.transfers] == [
        (payer, 10_600),
        (payer, 464),
        (payer, 66),
    ]
    assert bundle.id == "00000000000000000000000000000009.0"


@pytest.mark.parametrize("workload", list(Workload))
def test_orders_of_every_workload_are_completed(ground, tmp_path: Path, workload):
    stage = raised("KE", tmp_path)
    register(ground, stage.store, pins=True, step=quiet)
    settle(ground, stage.ledger, stage.clock, step=quiet)
    drawer = Drawer(workload, ground.crowd, seed=7, total=200, span=ground.prices.steps + 1)
    orders = stage.desk.submit_now(ground.asks(drawer.draw(200), first=1))
    assert {order.state for order in orders} == {State.COMPLETED}
    assert {order.decline for order in orders} == {None}
    assert {len(order.legs) for order in orders} <= {3, 4, 5, 6} | {
        2 for o in orders if o.product == "deposit"
    }
    assert stage.breaches() == ()
    stage.close()


def test_people_are_registered_once_with_numbers_in_a_row(ground, tmp_path: Path):
    stage = raised("KE", tmp_path)
    register(ground, stage.store, pins=False, step=quiet)
    register(ground, stage.store, pins=False, step=quiet)
    assert stage.store.count() == 1 + 4 + 4 + 40
    assert stage.store.get(1_000).role is Role.DEALER
    assert stage.store.get(1_001).parent == 1_000
    assert stage.store.get(1_005).role is Role.ORGANISATION
    assert stage.store.get(1_009).role is Role.CUSTOMER
    assert not stage.store.has_pin(1_009)
    stage.close()


def test_books_that_do_not_balance_are_told(ground):
    ledger = MemoryLedger()
    settle(ground, ledger, ManualClock(NOON), step=quiet)
    wallet = ground.accounts.number(1_009, Purse.WALLET, "KES")
    spent = ground.accounts.system(Purse.FEES, "KES")
    done = ledger.post([Bundle("x.0", 1, (Transfer(Kind.POST, wallet, spent, 5),))])
    assert done == [Verdict.DONE]
    assert prove(ledger)["balanced"] is True
    ledger.state._credits[0] += 1
    found = prove(ledger)
    assert found["balanced"] is False
    assert any("the state in use says" in breach for breach in found["breaches"])


def test_long_journals_are_proved_from_the_state_in_use(ground, monkeypatch):
    ledger = MemoryLedger()
    settle(ground, ledger, ManualClock(NOON), step=quiet)
    monkeypatch.setattr(bench_stage, "FOLDED_MAX", 1)
    found = prove(ledger)
    assert (found["balanced"], found["proved_by"]) == (True, "the state in use added up")
    ledger.state._credits[1] += 1
    assert prove(ledger)["balanced"] is False


def test_a_folder_is_taken_once_for_one_kind_of_bench(tmp_path: Path):
    folder = tmp_path / "new"
    claim(folder, NOTE)
    claim(folder, NOTE)
    with pytest.raises(Unavailable, match="made for another bench"):
        claim(folder, Note(market="KE", engine="sqlite", customers=41, people="none"))


def test_a_folder_that_holds_else_is_left_alone(tmp_path: Path):
    (tmp_path / "journal.db").write_text("somebody's money")
    with pytest.raises(Unavailable, match="no bench"):
        claim(tmp_path, NOTE)
    with pytest.raises(Unavailable, match="no folder"):
        claim(tmp_path / "journal.db", NOTE)
    assert [path.name for path in tmp_path.iterdir()] == ["journal.db"]


def test_a_damaged_note_is_told(tmp_path: Path):
    (tmp_path / "bench.json").write_text("{")
    with pytest.raises(Unavailable, match="damaged"):
        claim(tmp_path, NOTE)
