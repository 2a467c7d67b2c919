"""Every refusal can be met, and whoever is refused loses nothing."""

from collections.abc import Callable
from datetime import timedelta

import msgspec
import pytest

from tests.stage import Stage
from umoja.parties.party import SYSTEM, Party, Status
from umoja.payments.order import (
    Confirm,
    Consent,
    Decline,
    Order,
    Reverse,
    Settle,
)

Way = Callable[[Stage, Party, Party], Order]
WAYS: dict[Decline, Way] = {}

ELSEWHERE = {
    # Said by a front before the desk is asked, or by the books themselves: tested where they are.
    Decline.PIN_LOCKED,
    Decline.PIN_NOT_SET,
    Decline.BOOKS_BROKEN,
    Decline.NOT_ALLOWED,
    # The other markets' limits: see the tests below.
    Decline.LIMIT_MONTHLY,
    Decline.LIMIT_YEARLY,
    Decline.LIMIT_COUNT,
}


def way(decline: Decline) -> Callable[[Way], Way]:
    def keep(function: Way) -> Way:
        WAYS[decline] = function
        return function

    return keep


@way(Decline.MALFORMED)
def _(s, payer, payee):
    return s.pay("send_money", payer.id, payee.id, 100_00, reference="a\x00b")


@way(Decline.PRODUCT_UNKNOWN)
def _(s, payer, payee):
    return s.pay("teleport", payer.id, payee.id, 100_00)


@way(Decline.PRODUCT_STOPPED)
def _(s, payer, payee):
    s.switches.stop(market="KE", product="*", reason="drill")
    return s.pay("send_money", payer.id, payee.id, 100_00)


@way(Decline.NOT_OFFERED)
def _(s, payer, payee):
    s.clock.advance(timedelta(days=-3000))  # before the first tariff row
    return s.pay("send_money", payer.id, payee.id, 100_00)


@way(Decline.CURRENCY_UNKNOWN)
def _(s, payer, payee):
    return s.pay("send_money", payer.id, payee.id, 100_00, currency="USD")


@way(Decline.AMOUNT_TOO_PRECISE)
def _(s, payer, payee):
    return s.pay("send_money", payer.id, payee.id, 100_01)


@way(Decline.AMOUNT_TOO_SMALL)
def _(s, payer, payee):
    return s.pay("send_money", payer.id, payee.id, 0)


@way(Decline.AMOUNT_TOO_LARGE)
def _(s, payer, payee):
    return s.pay("send_money", payer.id, payee.id, 250_001_00)


@way(Decline.PAYER_UNKNOWN)
def _(s, payer, payee):
    return s.pay("send_money", 999_999, payee.id, 100_00)


@way(Decline.PAYER_BARRED)
def _(s, payer, payee):
    s.store.update(msgspec.structs.replace(payer, status=Status.SUSPENDED))
    return s.pay("send_money", payer.id, payee.id, 100_00)


@way(Decline.PAYEE_UNKNOWN)
def _(s, payer, payee):
    return s.pay("send_money", payer.id, s.outlet().id, 100_00)


@way(Decline.PAYEE_BARRED)
def _(s, payer, payee):
    s.store.update(msgspec.structs.replace(payee, status=Status.CLOSED))
    return s.pay("send_money", payer.id, payee.id, 100_00)


@way(Decline.SAME_PARTY)
def _(s, payer, payee):
    return s.pay("send_money", payer.id, payer.id, 100_00)


@way(Decline.REFERENCE_MISSING)
def _(s, payer, payee):
    return s.pay("pay_bill", payer.id, s.organisation().id, 100_00, reference="  ")


@way(Decline.PIN_WRONG)
def _(s, payer, payee):
    return s.desk.refuse(s.ask("send_money", payer.id, payee.id, 100_00), Decline.PIN_WRONG)


@way(Decline.SIM_SWAPPED)
def _(s, payer, payee):
    s.store.swap_sim(payer.id)
    return s.pay("send_money", payer.id, payee.id, 100_00)


@way(Decline.NOT_ENOUGH)
def _(s, payer, payee):
    return s.pay("send_money", payer.id, payee.id, 10_000_00)  # enough for it, not for the fee


@way(Decline.AGENT_FLOAT_SHORT)
def _(s, payer, payee):
    return s.pay("deposit", s.outlet().id, payee.id, 100_00)


@way(Decline.LIMIT_DAILY)
def _(s, payer, payee):
    others = [s.customer(f"Other {n}") for n in range(3)]
    for _ in range(2):
        s.give_money(payer, 245_000_00)
    for first in others[:2]:
        assert s.pay("send_money", payer.id, first.id, 240_000_00).receipt
    s.give_money(payer, 100_000_00)
    return s.pay("send_money", payer.id, others[2].id, 20_001_00)


@way(Decline.LIMIT_PAYEE_BALANCE)
def _(s, payer, payee):
    for _ in range(2):
        s.give_money(payee, 250_000_00)
    return s.pay("send_money", payer.id, payee.id, 1_00)


@way(Decline.KEY_REUSED)
def _(s, payer, payee):
    assert s.pay("send_money", payer.id, payee.id, 1_00, key="k").receipt
    return s.pay("send_money", payer.id, payee.id, 2_00, key="k")


@way(Decline.ORDER_UNKNOWN)
def _(s, payer, payee):
    return s.desk.submit_now([Confirm(order="f" * 32, client="test")])[0]


@way(Decline.ORDER_EXPIRED)
def _(s, payer, payee):
    order = s.pay("send_money", payer.id, payee.id, 100_00, is_confirmed=False)
    s.clock.advance(timedelta(minutes=6))
    return s.desk.submit_now([Confirm(order=order.id, client="test")])[0]


@way(Decline.ORDER_CANCELLED)
def _(s, payer, payee):
    order = s.pay("send_money", payer.id, payee.id, 100_00, is_confirmed=False)
    return s.desk.submit_now([Confirm(order=order.id, client="test", says_yes=False)])[0]


@way(Decline.TOO_LATE)
def _(s, payer, payee):
    order = s.pay("send_money", payer.id, payee.id, 100_00)
    s.clock.advance(timedelta(days=4))
    return s.desk.submit_now([Reverse(order=order.id, payer=payer.id, client="t", channel="a")])[0]


@way(Decline.NOT_REVERSIBLE)
def _(s, payer, payee):
    order = s.pay("withdraw", payer.id, s.outlet().id, 100_00)
    assert order.receipt
    return s.desk.submit_now([Reverse(order=order.id, payer=payer.id, client="t", channel="a")])[0]


@way(Decline.MONEY_GONE)
def _(s, payer, payee):
    order = s.pay("send_money", payer.id, payee.id, 100_00)
    assert s.pay("send_money", payee.id, payer.id, 50_00).receipt
    return s.desk.submit_now([Reverse(order=order.id, payer=payer.id, client="t", channel="a")])[0]


def _airtime(s: Stage, payer: Party, decline: Decline) -> Order:
    order = s.pay("airtime", payer.id, SYSTEM, 50_00, reference=payer.phone)
    return s.desk.submit_now([Settle(order=order.id, is_done=False, decline=decline)])[0]


@way(Decline.PARTNER_REFUSED)
def _(s, payer, payee):
    return _airtime(s, payer, Decline.PARTNER_REFUSED)


@way(Decline.PARTNER_FAILED)
def _(s, payer, payee):
    return _airtime(s, payer, Decline.PARTNER_FAILED)


def test_the_table_is_total():
    assert set(WAYS) | ELSEWHERE == set(Decline)
    assert set(WAYS) & ELSEWHERE == set()


@pytest.mark.parametrize("decline", WAYS, ids=lambda decline: decline.value)
def test_each_refusal_is_reached_and_the_books_hold(ke: Stage, decline: Decline):
    payer, payee = ke.customer("Payer"), ke.customer("Payee")
    ke.give_money(payer, 10_000_00)
    order = WAYS[decline](ke, payer, payee)
    assert order.decline is decline
    assert not order.legs or order.state.value in {"failed", "completed"}
    assert ke.breaches() == ()


@pytest.mark.parametrize(
    ("field", "decline"),
    [
        ("monthly", Decline.LIMIT_MONTHLY),
        ("yearly", Decline.LIMIT_YEARLY),
        ("count_per_day", Decline.LIMIT_COUNT),
    ],
)
def test_the_longer_limits_hold_where_a_market_has_them(ke: Stage, field: str, decline: Decline):
    from dataclasses import replace

    tier = ke.market.tiers[-1]
    ceiling = replace(tier.ceilings["KES"], **{field: 2 if "count" in field else 150_00})
    market = replace(
        ke.market,
        tiers=(*ke.market.tiers[:-1], replace(tier, ceilings={"KES": ceiling}, changes=())),
    )
    ke.desk._clerk.market = market
    payer, payee = ke.customer("Payer"), ke.customer("Payee")
    ke.give_money(payer, 10_000_00)
    orders = [ke.pay("send_money", payer.id, payee.id, 60_00) for _ in range(3)]
    assert [order.decline for order in orders] == [None, None, decline]
    ke.clock.advance(timedelta(days=1))
    assert (ke.pay("send_money", payer.id, payee.id, 60_00).decline is None) is (
        decline is Decline.LIMIT_COUNT
    )


def test_a_day_s_limit_is_of_the_market_s_own_day(ke: Stage):
    # 20:59 UTC is 23:59 in Nairobi; two minutes later it is another day there and not yet in UTC.
    payer, payees = ke.customer("Payer"), [ke.customer(f"Payee {n}") for n in range(3)]
    ke.clock.advance(timedelta(hours=11, minutes=59))
    for _ in range(2):
        ke.give_money(payer, 250_000_00)
    for payee in payees[:2]:
        assert ke.pay("send_money", payer.id, payee.id, 240_000_00).receipt
    ke.give_money(payer, 200_000_00)
    refused = ke.pay("send_money", payer.id, payees[2].id, 100_000_00)
    assert refused.decline is Decline.LIMIT_DAILY
    ke.clock.advance(timedelta(minutes=2))
    assert ke.pay("send_money", payer.id, payees[2].id, 100_000_00).receipt


def test_asking_again_after_a_consent_was_refused_is_allowed_once_more(ke: Stage):
    payer, payee = ke.customer("Payer"), ke.customer("Payee")
    ke.give_money(payer, 1_000_00)
    order = ke.pay("send_money", payer.id, payee.id, 100_00)
    ask = Reverse(order=order.id, payer=payer.id, client="t", channel="ussd")
    ke.desk.submit_now([ask])
    ke.desk.submit_now([Consent(order=order.id, payee=payee.id, says_yes=False)])
    again = ke.desk.submit_now([ask])[0]
    assert again.hold == f"{order.id}.r3"
    assert ke.held(payee, "wallet") == 100_00
