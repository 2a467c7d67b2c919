"""Who was wronged: what each rule finds in a journal, with its figures, and what it leaves alone."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.stage import Stage
from umoja.clock import to_micros
from umoja.markets.market import Market
from umoja.parties.party import SYSTEM
from umoja.payments import wronged
from umoja.payments.order import Confirm, Consent, Order, Reverse, Settle
from umoja.payments.wronged import Wronged, line_before
from umoja.signals import FindWrongs, Wrong, Wrongs

MINUTE = timedelta(minutes=1)


def reader(stage: Stage, *, market: Market | None = None, **rest: Any) -> Wronged:
    return Wronged(
        market=market or stage.market,
        ledger=stage.ledger,
        directory=stage.store,
        find=stage.desk.find,
        waiting=stage.desk.waiting,
        mark=stage.desk.mark,
        clock=stage.clock,
        **rest,
    )


def look(stage: Stage, *, minutes: int = 60, after: int = 0, products=(), **rest: Any) -> Wrongs:
    now = to_micros(stage.clock.now())
    asked = FindWrongs(since=now - minutes * 60_000_000, until=now, products=products, after=after)
    return reader(stage, **rest).find(asked)


def lines(found: Wrongs) -> list[tuple[str, str, str, int, bool]]:
    return [(w.order, w.kind, w.act, w.amount_minor, w.is_sure) for w in found.lines]


def reverse(stage: Stage, order: Order) -> Order:
    return stage.desk.submit_now(
        [Reverse(order=order.id, payer=order.payer, client="t", channel="api")]
    )[0]


def cheaper(market: Market, less: int) -> Market:
    """Return the market with every fee of sending `less` minor units lower: the right tariff."""
    tariffs = tuple(
        replace(
            tariff,
            bands=tuple(replace(band, fee=max(band.fee - less, 0)) for band in tariff.bands),
        )
        if tariff.service.value == "send_on_net"
        else tariff
        for tariff in market.tariffs
    )
    return replace(market, tariffs=tariffs)


@pytest.fixture
def people(ke: Stage):
    payer, payee = ke.customer(), ke.customer("Baraka Mwangi")
    ke.give_money(payer, 20_000_00)
    ke.clock.advance(timedelta(hours=2))
    return payer, payee


# Charged twice


def test_the_same_payment_again_is_a_suspicion_with_its_doubt(ke: Stage, people):
    payer, payee = people
    ke.pay("send_money", payer.id, payee.id, 1_000_00)
    ke.clock.advance(timedelta(seconds=42))
    second = ke.pay("send_money", payer.id, payee.id, 1_000_00)
    ke.clock.advance(MINUTE)

    found = look(ke)

    # 1,000 and the fee of 13 that the band says
    assert lines(found) == [(second.id, "double_charge", "reverse", 1_013_00, False)]
    assert found.lines[0].why == (
        "the same payment again after 42 s; the first had its answer: the payer may have meant both"
    )
    assert found.lines[0].who == f"{ke.desk.mark(payer.id):x}"
    assert payer.phone not in repr(found)
    assert payer.name not in repr(found)


@pytest.mark.parametrize(
    ("change", "wait"),
    [
        ({"amount": 1_001_00}, 30),
        ({"reference": "other"}, 30),
        ({"product": "pay_till"}, 30),
        ({}, 601),
    ],
)
def test_what_differs_or_comes_later_is_no_double(ke: Stage, people, change, wait):
    payer, payee = people
    till = ke.organisation()
    ke.pay("send_money", payer.id, payee.id, 1_000_00, reference="a")
    ke.clock.advance(timedelta(seconds=wait))
    product = change.get("product", "send_money")
    payee_id = till.id if product == "pay_till" else payee.id
    ke.pay(
        product,
        payer.id,
        payee_id,
        change.get("amount", 1_000_00),
        reference=change.get("reference", "a"),
    )
    assert lines(look(ke)) == []


def test_ten_minutes_apart_is_still_a_double_and_the_third_is_one_too(ke: Stage, people):
    payer, payee = people
    ke.pay("send_money", payer.id, payee.id, 500_00)
    ke.clock.advance(10 * MINUTE)
    second = ke.pay("send_money", payer.id, payee.id, 500_00)
    ke.clock.advance(MINUTE)
    third = ke.pay("send_money", payer.id, payee.id, 500_00)
    assert [each.order for each in look(ke).lines] == [second.id, third.id]


@pytest.mark.parametrize(
    ("told_after_s", "is_sure"),
    [(None, False), (0, True), (5, False), (40, False), (41, True)],
    ids=["unknown", "never", "in time", "as late as notes are", "too late"],
)
def test_whose_receipt_came_too_late_is_sure(ke: Stage, people, told_after_s, is_sure):
    payer, payee = people
    first = ke.pay("send_money", payer.id, payee.id, 1_000_00)
    place = ke.desk.head
    ke.clock.advance(timedelta(seconds=30))
    ke.pay("send_money", payer.id, payee.id, 1_000_00)
    told_at = told_after_s and first.booked_at + told_after_s * 1_000_000

    found = look(ke, told_at={place: told_at}.get)

    assert [each.is_sure for each in found.lines] == [is_sure]
    assert ("before the receipt of the first" in found.lines[0].why) is is_sure


def test_talk_time_bought_again_while_the_first_was_held_is_paid_by_us_if_at_all(ke: Stage, people):
    payer, _ = people
    words = {"reference": "254712000001"}
    first = ke.pay("airtime", payer.id, SYSTEM, 100_00, **words)
    ke.clock.advance(timedelta(seconds=20))
    second = ke.pay("airtime", payer.id, SYSTEM, 100_00, **words)
    ke.clock.advance(timedelta(seconds=20))
    assert lines(look(ke)) == []  # neither is at its end
    ke.desk.submit_now([Settle(order=each.id, is_done=True) for each in (first, second)])

    found = look(ke)

    assert lines(found) == [(second.id, "double_charge", "compensate", second.total, False)]
    assert "while the first had no answer yet" in found.lines[0].why
    assert "delivered twice" in found.lines[0].why


def test_cash_is_left_to_those_who_counted_it(ke: Stage, people):
    payer, _ = people
    outlet = ke.outlet()
    for _ in range(2):
        assert ke.pay("withdraw", payer.id, outlet.id, 1_000_00).decline is None
    assert look(ke).lines == []


def test_what_went_back_is_no_wrong_and_what_was_kept_is_ours_to_pay(ke: Stage, people):
    payer, payee = people
    ke.pay("send_money", payer.id, payee.id, 1_000_00)
    given, kept = (ke.pay("send_money", payer.id, payee.id, 1_000_00) for _ in range(2))
    for order, says_yes in ((given, True), (kept, False)):
        reverse(ke, order)
        ke.desk.submit_now([Consent(order=order.id, payee=payee.id, says_yes=says_yes)])
    found = look(ke)
    # The one that went back is none; the one after it repeats one that went back.
    assert lines(found) == []

    again = ke.pay("send_money", payer.id, payee.id, 1_000_00)
    reverse(ke, again)
    ke.desk.submit_now([Consent(order=again.id, payee=payee.id, says_yes=False)])
    found = look(ke)
    assert lines(found) == [(again.id, "double_charge", "compensate", 1_013_00, False)]
    assert found.lines[0].why.endswith("; the receiver did not give it back")


# Charged a wrong fee


def test_a_fee_above_the_tariff_of_its_day_is_found_to_the_last_cent(ke: Stage, people):
    payer, payee = people
    small = ke.pay("send_money", payer.id, payee.id, 50_00)  # free: nothing to give back
    wrong = ke.pay("send_money", payer.id, payee.id, 1_000_00)

    found = look(ke, market=cheaper(ke.market, 3_25))

    assert small.price.charge == 0
    assert lines(found) == [(wrong.id, "wrong_fee", "compensate", 3_25, True)]
    assert found.lines[0].why == "charged KES 13, the tariff of that day says KES 9.75"
    assert look(ke).lines == []


def test_the_price_that_was_asked_for_yesterday_stands(ke: Stage, people):
    """A price is judged by the day on which it was said, not by the day of the yes."""
    payer, payee = people
    asked = ke.ask("send_money", payer.id, payee.id, 1_000_00, is_confirmed=False)
    (awaiting,) = ke.desk.submit_now([asked])
    ke.clock.advance(MINUTE)
    ke.desk.submit_now([Confirm(order=awaiting.id, client="test")])
    assert lines(look(ke)) == []
    assert look(ke).looked_at == 2


def test_a_fee_that_went_back_with_its_payment_is_not_given_again(ke: Stage, people):
    payer, payee = people
    order = ke.pay("send_money", payer.id, payee.id, 1_000_00)
    reverse(ke, order)
    right = cheaper(ke.market, 3_00)
    assert look(ke, market=right).lines == []
    ke.desk.submit_now([Consent(order=order.id, payee=payee.id, says_yes=True)])
    assert look(ke, market=right).lines == []


def test_a_fee_below_the_tariff_wronged_nobody(ke: Stage, people):
    payer, payee = people
    ke.pay("send_money", payer.id, payee.id, 1_000_00)
    assert look(ke, market=cheaper(ke.market, -5_00)).lines == []


def test_a_price_that_depends_on_what_was_used_is_counted_as_unjudged(raise_stage):
    """Some markets let the first payments of a period go free: nobody can say it afterwards."""
    stage = raise_stage("EG")
    payer, payee = stage.customer(), stage.customer()
    stage.give_money(payer, 500_00)
    stage.clock.advance(timedelta(hours=2))
    assert stage.pay("send_money", payer.id, payee.id, 50_00).decline is None
    assert look(stage) == Wrongs(lines=[], looked_at=1, unjudged=1)


# Stuck


def test_money_held_over_an_hour_is_told_and_after_a_day_it_is_due(ke: Stage, people):
    payer, _ = people
    order = ke.pay("airtime", payer.id, SYSTEM, 100_00, reference="254712000001")
    ke.clock.advance(59 * MINUTE)
    assert look(ke, minutes=120).lines == []
    ke.clock.advance(MINUTE)
    (wrong,) = look(ke, minutes=120).lines
    assert (wrong.kind, wrong.act, wrong.amount_minor) == ("stuck", "settle", order.total)
    assert not wrong.is_sure
    assert wrong.why == (
        "held for 1 h without the partner's word;"
        " he may still answer: until he does, or a day is over, it stays held"
    )
    ke.clock.advance(timedelta(hours=23))
    (wrong,) = look(ke, minutes=25 * 60).lines
    assert (wrong.is_sure, wrong.why) == (True, "held for 24 h without the partner's word")
    assert look(ke, minutes=25 * 60, products=("send_money",)).lines == []


def test_a_reversal_that_nobody_let_go_is_stuck_at_its_receiver(ke: Stage, people):
    payer, payee = people
    order = ke.pay("send_money", payer.id, payee.id, 1_000_00)
    reverse(ke, order)
    ke.clock.advance(timedelta(hours=24))
    assert look(ke, minutes=26 * 60).lines == []
    ke.clock.advance(5 * MINUTE)
    (wrong,) = look(ke, minutes=26 * 60).lines
    assert (wrong.kind, wrong.act, wrong.amount_minor) == ("stuck", "settle", 1_000_00)
    assert wrong.who == f"{ke.desk.mark(payee.id):x}"


# Going on


def test_an_answer_that_had_to_end_goes_on_without_missing_or_doubling(
    ke: Stage, people, monkeypatch
):
    payer, payee = people
    monkeypatch.setattr(wronged, "LINES_MAX", 2)
    monkeypatch.setattr(wronged, "STEP", 3)
    orders = [ke.pay("send_money", payer.id, payee.id, 500_00) for _ in range(6)]
    parts: list[list[Wrong]] = []
    after = 0
    while True:
        found = look(ke, after=after)
        parts.append(found.lines)
        after = found.more
        if not after:
            break
    assert [len(part) for part in parts] == [2, 2, 1]
    assert [each.order for part in parts for each in part] == [each.id for each in orders[1:]]


def test_only_the_time_and_the_product_that_were_asked_for(ke: Stage, people):
    payer, payee = people
    for _ in range(2):
        ke.pay("send_money", payer.id, payee.id, 500_00)
    assert len(look(ke, products=("send_money",)).lines) == 1
    assert look(ke, products=("airtime",)).lines == []
    ke.clock.advance(2 * MINUTE)
    assert look(ke, minutes=1) == Wrongs(lines=[], looked_at=0)


def test_the_line_before_a_moment(ke: Stage, people):
    payer, payee = people
    assert line_before(ke.ledger, 0) == 0
    head = ke.desk.head
    before = to_micros(ke.clock.now())
    ke.pay("send_money", payer.id, payee.id, 500_00)
    assert line_before(ke.ledger, before) == head
    assert line_before(ke.ledger, before + 1) == head + 1
