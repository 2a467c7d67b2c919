"""The desk: repeats, confirmation, holds, reversals; each leaves the books as they must be."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from tests.stage import Stage, raised
from umoja.clock import ManualClock
from umoja.faults import Busy
from umoja.ids import receipt_place
from umoja.markets.market import Service
from umoja.parties.party import SYSTEM
from umoja.payments import clerk as clerk_module
from umoja.payments import desk as desk_module
from umoja.payments.order import Confirm, Consent, Decline, Lapse, Reverse, Settle, State
from umoja.signals import Outcome


@pytest.fixture
def pair(ke: Stage):
    payer, payee = ke.customer("Payer"), ke.customer("Payee")
    ke.give_money(payer, 10_000_00)
    return payer, payee


def test_the_same_key_with_the_same_ask_moves_money_once(ke, pair):
    payer, payee = pair
    ask = ke.ask("send_money", payer.id, payee.id, 500_00)
    first = ke.desk.submit_now([ask])[0]
    again = ke.desk.submit_now([ask, ask])
    assert [order.id for order in again] == [first.id, first.id]
    assert {order.receipt for order in again} == {first.receipt}
    assert ke.has(payee, "wallet") == 500_00


def test_the_same_key_twice_in_one_batch_moves_money_once(ke, pair):
    payer, payee = pair
    ask = ke.ask("send_money", payer.id, payee.id, 500_00)
    first, second = ke.desk.submit_now([ask, ask])
    assert first == second
    assert ke.has(payee, "wallet") == 500_00


def test_the_same_key_with_another_ask_is_refused_and_moves_nothing(ke, pair):
    payer, payee = pair
    ke.pay("send_money", payer.id, payee.id, 500_00, key="same")
    other = ke.pay("send_money", payer.id, payee.id, 501_00, key="same")
    assert (other.state, other.decline) == (State.DECLINED, Decline.KEY_REUSED)
    assert ke.has(payee, "wallet") == 500_00


def test_another_client_may_use_the_same_key(ke, pair):
    payer, payee = pair
    for client in ("one", "other"):
        assert ke.pay("send_money", payer.id, payee.id, 100_00, key="k", client=client).receipt
    assert ke.has(payee, "wallet") == 200_00


def test_orders_of_one_batch_see_each_other_s_money(ke):
    payer, payee = ke.customer("Payer"), ke.customer("Payee")
    ke.give_money(payer, 150_00)
    asks = [ke.ask("send_money", payer.id, payee.id, 100_00) for _ in range(2)]
    first, second = ke.desk.submit_now(asks)
    assert first.state is State.COMPLETED
    assert second.decline is Decline.NOT_ENOUGH
    assert (ke.has(payer, "wallet"), ke.has(payee, "wallet")) == (50_00, 100_00)


def test_receipts_are_ten_characters_and_lead_back_to_their_payment(ke, pair):
    payer, payee = pair
    orders = [ke.pay("send_money", payer.id, payee.id, 10_00) for _ in range(20)]
    assert len({order.receipt for order in orders}) == 20
    for order in orders:
        assert len(order.receipt) == 10
        assert receipt_place(order.receipt)[0] == "KE"
        assert ke.desk.find_receipt(order.receipt) == order
    assert ke.desk.find_receipt("AAAAAAAAAA") is None
    assert ke.desk.find_receipt("rubbish!") is None


# Confirmation


def test_an_unconfirmed_order_moves_nothing_until_its_payer_says_yes(ke, pair):
    payer, payee = pair
    asked = ke.pay("send_money", payer.id, payee.id, 500_00, is_confirmed=False)
    assert asked.state is State.AWAITING
    assert ke.has(payee, "wallet") == 0
    done = ke.desk.submit_now([Confirm(order=asked.id, client="test")])[0]
    again = ke.desk.submit_now([Confirm(order=asked.id, client="test")])[0]
    assert done.state is State.COMPLETED
    assert again == done
    assert ke.has(payee, "wallet") == 500_00


def test_no_cancels_and_late_expires(ke, pair):
    payer, payee = pair
    first = ke.pay("send_money", payer.id, payee.id, 500_00, is_confirmed=False)
    no = ke.desk.submit_now([Confirm(order=first.id, client="test", says_yes=False)])[0]
    assert (no.state, no.decline) == (State.CANCELLED, Decline.ORDER_CANCELLED)
    second = ke.pay("send_money", payer.id, payee.id, 500_00, is_confirmed=False)
    ke.clock.advance(timedelta(minutes=6))
    late = ke.desk.submit_now([Confirm(order=second.id, client="test")])[0]
    assert (late.state, late.decline) == (State.CANCELLED, Decline.ORDER_EXPIRED)
    assert ke.has(payee, "wallet") == 0
    assert ke.desk.waiting() == []


def test_only_the_client_that_asked_may_confirm(ke, pair):
    payer, payee = pair
    asked = ke.pay("send_money", payer.id, payee.id, 500_00, is_confirmed=False)
    stranger = ke.desk.submit_now([Confirm(order=asked.id, client="stranger")])[0]
    assert stranger.decline is Decline.ORDER_UNKNOWN
    assert ke.desk.find(asked.id).state is State.AWAITING


# Airtime: hold, then the partner's word


def test_airtime_is_held_and_paid_when_the_partner_is_done(ke, pair):
    payer, _ = pair
    before = ke.has(payer, "wallet")
    order = ke.pay("airtime", payer.id, SYSTEM, 50_00, reference=payer.phone)
    assert order.state is State.HELD
    assert not order.receipt
    assert ke.has(payer, "wallet") == before - 50_00
    assert ke.held(payer, "wallet") == 50_00
    assert ke.operator("airtime") == 0
    done = ke.desk.submit_now([Settle(order=order.id, is_done=True)])[0]
    assert done.state is State.COMPLETED
    assert len(done.receipt) == 10
    assert ke.held(payer, "wallet") == 0
    assert ke.operator("airtime") == 50_00
    late = ke.desk.submit_now([Settle(order=order.id, is_done=False)])[0]
    assert late.state is State.COMPLETED, "what is settled stays settled"
    assert ke.breaches() == ()


def test_refused_airtime_gives_all_back_and_the_limits_too(ke, pair):
    payer, _ = pair
    before = ke.has(payer, "wallet")
    usage = ke.desk.used(payer.id, Service.SEND_ON_NET)
    order = ke.pay("airtime", payer.id, SYSTEM, 50_00, reference=payer.phone)
    failed = ke.desk.submit_now(
        [Settle(order=order.id, is_done=False, decline=Decline.PARTNER_REFUSED)]
    )[0]
    assert (failed.state, failed.decline) == (State.FAILED, Decline.PARTNER_REFUSED)
    assert ke.has(payer, "wallet") == before
    assert ke.desk.used(payer.id, Service.SEND_ON_NET).day_value == usage.day_value
    assert ke.breaches() == ()


# Reversal


def test_a_reversal_with_consent_restores_every_balance(ke, pair):
    payer, payee = pair
    order = ke.pay("send_money", payer.id, payee.id, 1_000_00)
    asked = ke.desk.submit_now(
        [Reverse(order=order.id, payer=payer.id, client="test", channel="ussd")]
    )[0]
    assert asked.state is State.REVERSAL_ASKED
    assert (ke.has(payee, "wallet"), ke.held(payee, "wallet")) == (0, 1_000_00)
    assert [waiting.id for waiting in ke.desk.awaiting_consent(payee.id)] == [order.id]
    back = ke.desk.submit_now([Consent(order=order.id, payee=payee.id, says_yes=True)])[0]
    assert back.state is State.REVERSED
    assert ke.has(payer, "wallet") == 10_000_00
    assert (ke.has(payee, "wallet"), ke.held(payee, "wallet")) == (0, 0)
    assert (ke.operator("fees"), ke.operator("taxes")) == (0, 0)
    assert ke.desk.used(payer.id, Service.SEND_ON_NET).day_value == 0
    assert ke.breaches() == ()


@pytest.mark.parametrize("ending", ["no", "silence"])
def test_a_reversal_without_consent_leaves_the_money_where_it_is(ke, pair, ending):
    payer, payee = pair
    order = ke.pay("send_money", payer.id, payee.id, 1_000_00)
    ke.desk.submit_now([Reverse(order=order.id, payer=payer.id, client="test", channel="ussd")])
    if ending == "no":
        ended = ke.desk.submit_now([Consent(order=order.id, payee=payee.id, says_yes=False)])[0]
    else:
        early = ke.desk.submit_now([Lapse(order=order.id)])[0]
        assert early.state is State.REVERSAL_ASKED
        ke.clock.advance(timedelta(hours=24, seconds=1))
        ended = ke.desk.submit_now([Lapse(order=order.id)])[0]
    assert ended.state is State.COMPLETED
    assert (ke.has(payee, "wallet"), ke.held(payee, "wallet")) == (1_000_00, 0)
    assert ke.desk.awaiting_consent(payee.id) == []
    assert ke.breaches() == ()


def test_money_that_is_spent_cannot_be_held(ke, pair):
    payer, payee = pair
    order = ke.pay("send_money", payer.id, payee.id, 1_000_00)
    assert ke.pay("send_money", payee.id, payer.id, 900_00).receipt
    asked = ke.desk.submit_now(
        [Reverse(order=order.id, payer=payer.id, client="test", channel="ussd")]
    )[0]
    assert (asked.state, asked.decline) == (State.COMPLETED, Decline.MONEY_GONE)
    assert ke.held(payee, "wallet") == 0


def test_strangers_can_neither_ask_back_nor_give_back(ke, pair):
    payer, payee = pair
    stranger = ke.customer("Stranger")
    order = ke.pay("send_money", payer.id, payee.id, 1_000_00)
    asked = Reverse(order=order.id, payer=stranger.id, client="test", channel="ussd")
    assert ke.desk.submit_now([asked])[0].decline is Decline.ORDER_UNKNOWN
    ke.desk.submit_now([Reverse(order=order.id, payer=payer.id, client="t", channel="ussd")])
    consent = Consent(order=order.id, payee=stranger.id, says_yes=True)
    assert ke.desk.submit_now([consent])[0].decline is Decline.ORDER_UNKNOWN
    assert ke.has(payee, "wallet") + ke.held(payee, "wallet") == 1_000_00


# The queue


async def test_many_at_once_share_commits_and_each_gets_its_own_answer(tmp_path: Path):
    stage = raised("KE", tmp_path, engine="sqlite")
    payer, payee = stage.customer("Payer"), stage.customer("Payee")
    stage.give_money(payer, 10_000_00)
    asks = [stage.ask("send_money", payer.id, payee.id, 10_00, key=f"k{n}") for n in range(200)]
    orders = await asyncio.gather(*(stage.desk.submit(ask) for ask in asks))
    assert [order.id for order in orders] == [
        stage.desk.order_id("test", f"k{n}") for n in range(200)
    ]
    assert stage.has(payee, "wallet") == 2_000_00
    await stage.desk.close()
    stage.close()


async def test_a_full_queue_says_busy_and_does_nothing(ke, pair, monkeypatch):
    payer, payee = pair
    monkeypatch.setattr(desk_module, "QUEUE_MAX", 3)
    asks = [ke.ask("send_money", payer.id, payee.id, 10_00, key=f"k{n}") for n in range(5)]
    answers = await asyncio.gather(*(ke.desk.submit(ask) for ask in asks), return_exceptions=True)
    assert sum(isinstance(answer, Busy) for answer in answers) == 2
    assert ke.has(payee, "wallet") == 30_00
    await ke.desk.close()


async def test_one_order_that_meets_a_bug_does_not_take_the_batch_with_it(ke, pair, monkeypatch):
    payer, payee = pair
    real = clerk_module.decided

    def buggy(order, facts, known):
        assert order.amount != 66_00, "a bug of ours"
        return real(order, facts, known)

    monkeypatch.setattr(clerk_module, "decided", buggy)
    asks = [ke.ask("send_money", payer.id, payee.id, minor) for minor in (10_00, 66_00, 20_00)]
    answers = await asyncio.gather(*(ke.desk.submit(ask) for ask in asks), return_exceptions=True)
    assert isinstance(answers[1], AssertionError)
    assert [answers[0].state, answers[2].state] == [State.COMPLETED, State.COMPLETED]
    assert ke.has(payee, "wallet") == 30_00
    assert ke.breaches() == ()
    await ke.desk.close()


# Starting again


@pytest.mark.parametrize("has_checkpoint", [True, False])
def test_a_second_start_goes_on_where_the_first_one_was(tmp_path: Path, has_checkpoint: bool):
    stage = raised("KE", tmp_path, engine="sqlite")
    payer, payee = stage.customer("Payer"), stage.customer("Payee")
    stage.give_money(payer, 10_000_00)
    sent = stage.pay("send_money", payer.id, payee.id, 1_000_00)
    held = stage.pay("airtime", payer.id, SYSTEM, 50_00, reference=payer.phone)
    if has_checkpoint:
        stage.desk.save()
    stage.pay("send_money", payer.id, payee.id, 500_00, key="after")
    balances = stage.wallets.balances(payer), stage.wallets.balances(payee)
    usage = stage.desk.used(payer.id, Service.SEND_ON_NET)
    assert usage.day_value == 1_550_00
    stage.close()
    again = raised("KE", tmp_path, engine="sqlite", clock=ManualClock(stage.clock.now()))
    assert (again.wallets.balances(payer), again.wallets.balances(payee)) == balances
    assert again.desk.used(payer.id, Service.SEND_ON_NET) == usage
    assert [order.id for order in again.desk.waiting()] == [held.id]
    assert again.desk.find(sent.id) == sent
    repeat = again.pay("send_money", payer.id, payee.id, 500_00, key="after")
    assert (again.wallets.balances(payer), again.wallets.balances(payee)) == balances
    assert repeat.receipt
    assert again.breaches() == ()
    again.close()


# What the centre hears


def test_each_attempt_is_told_once_without_names(ke, pair):
    payer, payee = pair
    heard = []
    ke.signals.listen(heard.append)
    ke.pay("send_money", payer.id, payee.id, 100_00)
    ke.pay("send_money", payer.id, payee.id, 99_999_00)
    held = ke.pay("airtime", payer.id, SYSTEM, 50_00, reference=payer.phone)
    ke.desk.submit_now([Settle(order=held.id, is_done=False, decline=Decline.PARTNER_FAILED)])
    ke.desk.refuse(ke.ask("send_money", payer.id, payee.id, 1_00), Decline.PIN_WRONG)
    assert [(seen.product, seen.outcome, seen.reason) for seen in heard] == [
        ("send_money", Outcome.COMPLETED, ""),
        ("send_money", Outcome.REFUSED, "not_enough"),
        ("airtime", Outcome.PENDING, ""),
        ("airtime", Outcome.FAILED, "partner_failed"),
        ("send_money", Outcome.REFUSED, "pin_wrong"),
    ]
    assert payer.phone not in repr(heard)
    assert len({seen.payer_mark for seen in heard}) == 1


def test_payments_that_went_alike_are_told_as_one(ke, pair):
    payer, payee = pair
    heard = []
    ke.signals.listen(heard.append)
    minors = (10_00, 20_00, 30_00, 99_999_00)
    asks = [ke.ask("send_money", payer.id, payee.id, minor) for minor in minors]
    asks += [ke.ask("send_money", payer.id, payee.id, 5_00, channel="ussd")]
    ke.desk.submit_now([*asks, asks[0]])  # a repeat is nothing new
    assert [
        (seen.channel, seen.outcome, seen.count, seen.value_minor, bool(seen.payer_mark))
        for seen in heard
    ] == [
        ("api", Outcome.REFUSED, 1, 99_999_00, True),
        ("api", Outcome.COMPLETED, 3, 60_00, False),
        ("ussd", Outcome.COMPLETED, 1, 5_00, True),
    ]


def test_an_open_circuit_refuses_what_its_partner_would_answer(ke, pair):
    payer, payee = pair
    ke.switches.stop(market="KE", product="partner:airtime", reason="it does not answer")
    refused = ke.pay("airtime", payer.id, SYSTEM, 50_00, reference="1")
    assert refused.decline is Decline.PRODUCT_STOPPED
    assert ke.pay("send_money", payer.id, payee.id, 100_00).decline is None
    ke.switches.open(market="KE", product="partner:airtime")
    assert ke.pay("airtime", payer.id, SYSTEM, 50_00, reference="1").decline is None


def test_a_stopped_product_is_refused_and_the_others_go_on(ke, pair):
    payer, payee = pair
    ke.switches.stop(market="KE", product="send_money", reason="planned work")
    assert ke.pay("send_money", payer.id, payee.id, 100_00).decline is Decline.PRODUCT_STOPPED
    assert ke.pay("airtime", payer.id, SYSTEM, 50_00, reference="1").decline is None
    ke.switches.open(market="KE", product="send_money")
    assert ke.pay("send_money", payer.id, payee.id, 100_00).decline is None
