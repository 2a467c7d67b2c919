"""The clock steps back and forth by an hour: nothing is doubled, no age is negative, no lease is lost."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.postgres import shared
from tests.stage import raised
from umoja.clock import ManualClock
from umoja.ledger.entries import Account, Bundle, Guard, Kind, Shelf, Transfer, Verdict
from umoja.ledger.journal import Fenced
from umoja.ledger.lease import Held
from umoja.ledger.postgres import PostgresLedger
from umoja.parties.clients import REMEMBERED_FOR_S, Clients
from umoja.partners.airtime import SimulatedAirtime
from umoja.payments.order import Decline, State
from umoja.payments.recovery import Recovery
from umoja.storage.database import Database
from umoja.storage.postgres import Server

HOUR = timedelta(hours=1)
LATE = datetime(2026, 3, 10, 20, 30, tzinfo=UTC)  # half past eleven at night in Nairobi


class SteppingClock(ManualClock):
    """A clock that can be set wrong: the stopwatch goes on as if nothing had happened."""

    def step(self, by):
        self._now += by


@pytest.fixture
def clock():
    return SteppingClock(LATE)


@pytest.fixture
def stage(tmp_path, clock):
    made = raised("KE", tmp_path, engine="sqlite", clock=clock)
    yield made
    made.close()


def test_receipts_and_the_journal_go_on_and_repeats_stay_repeats(stage, clock, tmp_path):
    payer, payee = stage.customer(), stage.customer("Brian Kamau")
    stage.give_money(payer, 1_000_00)
    orders = []
    for number, by in enumerate([timedelta(), -HOUR, 2 * HOUR, -HOUR]):
        clock.step(by)
        orders.append(stage.pay("send_money", payer.id, payee.id, 1_00, key=f"k{number}"))
    again = [
        stage.pay("send_money", payer.id, payee.id, 1_00, key=f"k{number}") for number in range(4)
    ]
    assert [order.receipt for order in again] == [order.receipt for order in orders]
    assert len({order.receipt for order in orders}) == 4
    assert stage.has(payee, "wallet") == 4_00
    lines = stage.wallets.statement(payee)
    assert [line.receipt for line in lines] == [order.receipt for order in reversed(orders)]
    assert stage.breaches() == ()
    folded = raised("KE", tmp_path / "other", engine="memory", clock=clock)
    for row in stage.ledger.rows():
        assert folded.ledger.post(
            [Bundle(row.id, row.at, row.transfers, row.opens, row.story)]
        ) == [Verdict.DONE]
    assert folded.ledger.state.balance(payee.id << 8) == stage.ledger.state.balance(payee.id << 8)
    folded.close()


def test_a_step_over_midnight_and_back_does_not_give_the_days_limit_again(stage, clock, tmp_path):
    payer, payees = stage.customer(), [stage.customer(f"Payee {number}") for number in range(4)]
    ceiling = stage.market.ceiling(tier=payer.tier, currency="KES")
    assert (ceiling.daily, ceiling.per_transaction) == (500_000_00, 250_000_00)
    stage.give_money(payer, 250_000_00)

    def pay(payee):
        return stage.pay("send_money", payer.id, payee.id, 200_000_00)

    assert pay(payees[0]).decline is None
    stage.give_money(payer, 250_000_00)
    assert pay(payees[1]).decline is None
    stage.give_money(payer, 250_000_00)
    assert pay(payees[2]).decline is Decline.LIMIT_DAILY

    clock.step(HOUR)  # half past midnight: another day
    assert stage.pay("send_money", payer.id, payees[2].id, 1_00).decline is None
    clock.step(-HOUR)  # and it was none
    assert pay(payees[2]).decline is None  # it counts for the day that was begun
    stage.give_money(payer, 150_000_00)
    assert pay(payees[3]).decline is None
    stage.give_money(payer, 150_000_00)
    assert pay(payees[3]).decline is Decline.LIMIT_DAILY
    clock.step(HOUR)
    assert pay(payees[3]).decline is Decline.LIMIT_DAILY


def test_no_age_is_negative_and_what_waits_is_not_forgotten(stage, clock):
    payer = stage.customer()
    stage.give_money(payer, 1_000_00)
    airtime = SimulatedAirtime(name="simulated", clock=clock, seed="KE")
    recovery = Recovery(desk=stage.desk, airtime=airtime, clock=clock)
    order = stage.pay("airtime", payer.id, 1, 100_00, reference=payer.phone)
    assert order.state is State.HELD, order.decline
    clock.step(-HOUR)
    assert recovery.pending() == (1, 0)
    clock.step(2 * HOUR)
    assert recovery.pending() == (1, 3_600_000)


def test_a_token_ends_by_the_clock_and_lives_no_longer_than_it_was_given(tmp_path, clock):
    clients = Clients(Database(tmp_path / "clients.db"), clock=clock)
    client, secret = clients.register(name="shop", market="KE", scopes=frozenset({"payments:read"}))
    token = clients.issue(client, secret, scopes=frozenset())
    clock.step(-HOUR)
    assert clients.holder(token.text) is not None
    fresh = clients.issue(client, secret, scopes=frozenset())
    assert clients.holder(fresh.text) is not None
    clock.step(2 * HOUR + timedelta(seconds=1))
    clock.advance(timedelta(seconds=REMEMBERED_FOR_S))  # a holder is remembered by the stopwatch
    assert clients.holder(token.text) is None
    assert clients.holder(fresh.text) is None
    clients.close()


# The lease, which is counted on the database's clock


def test_a_lease_is_not_lost_by_clocks_that_are_wrong(clock):
    cluster = shared()
    server = Server(url=cluster.url, schema=cluster.schema(), wait_s=5, allow_unsafe=True)
    trust = Account(1, "KES", Guard.DEBIT, Shelf.TRUST)
    wallet = Account(2, "KES", Guard.CREDIT, Shelf.EMONEY)

    def issue(ledger, name):
        return ledger.post([Bundle(name, 5, (Transfer(Kind.POST, 1, 2, 100),), (trust, wallet))])

    first = PostgresLedger(server, clock=clock)
    shelf = first._shelf
    for number, by in enumerate((-HOUR, 2 * HOUR, -HOUR)):
        clock.step(by)
        shelf.renew()  # a thread does so every few seconds, on the stopwatch
        for other in (-HOUR, timedelta(), HOUR):  # another machine's clock
            with pytest.raises(Held):
                PostgresLedger(server, clock=SteppingClock(clock.now() + other))
        assert issue(first, f"a{number}.0") == [Verdict.DONE]

    # Somebody says that the first is gone, and is wrong. Nothing is doubled.
    second = PostgresLedger(server, clock=clock, take_over=True)
    with pytest.raises(Fenced):
        issue(first, "b.0")
    assert issue(second, "b.0") == [Verdict.DONE]
    assert second.state.balance(2).available == 400
    assert [row.sequence for row in second.rows()] == [1, 2, 3, 4]
    first.close()
    second.close()
