"""Recovery: a held payment ends, whatever its partner does, and is never topped up twice."""

import asyncio
from datetime import timedelta

import pytest

from tests.stage import Stage
from umoja.faults import OutcomeUnknown, Unavailable
from umoja.parties.party import SYSTEM
from umoja.payments.order import Decline, State
from umoja.payments.ports import TopUp
from umoja.payments.recovery import TRIES_UNAVAILABLE, Recovery
from umoja.signals import HELD_LATE_S, HeldSeen


class Partner:
    """A partner that plays what it is told, and remembers what it delivered."""

    name = "played"

    def __init__(self) -> None:
        self.delivered: list[str] = []
        self.asked: list[str] = []
        self.behaviour = "done"

    async def top_up(self, *, order_id: str, phone: str, minor: int, currency: str) -> TopUp:
        if self.behaviour == "unavailable":
            raise Unavailable("the network is away")
        if self.behaviour == "refuses":
            return TopUp.REFUSED
        if order_id not in self.delivered:
            self.delivered.append(order_id)
        if self.behaviour == "loses its answer":
            self.behaviour = "done"
            raise OutcomeUnknown("no answer")
        return TopUp.DONE

    async def ask(self, order_id: str) -> TopUp | None:
        self.asked.append(order_id)
        return TopUp.DONE if order_id in self.delivered else None


@pytest.fixture
def partner() -> Partner:
    return Partner()


@pytest.fixture
async def stage(ke: Stage):
    yield ke
    await ke.desk.close()


def held(stage: Stage) -> str:
    payer = stage.customer("Payer")
    stage.give_money(payer, 1_000_00)
    order = stage.pay("airtime", payer.id, SYSTEM, 50_00, reference=payer.phone)
    assert order.state is State.HELD
    return order.id


async def rounds(stage: Stage, recovery: Recovery, seconds: int) -> None:
    for _ in range(seconds):
        await recovery.look()
        await asyncio.sleep(0.01)
        stage.clock.advance(timedelta(seconds=1))


async def test_a_done_top_up_is_paid(stage, partner):
    order = held(stage)
    recovery = Recovery(desk=stage.desk, airtime=partner, clock=stage.clock)
    await rounds(stage, recovery, 2)
    assert stage.desk.find(order).state is State.COMPLETED
    assert partner.delivered == [order]
    assert recovery.pending() == (0, 0)
    assert stage.breaches() == ()


async def test_a_refused_top_up_goes_back(stage, partner):
    partner.behaviour = "refuses"
    order = held(stage)
    await rounds(stage, Recovery(desk=stage.desk, airtime=partner, clock=stage.clock), 2)
    found = stage.desk.find(order)
    assert (found.state, found.decline) == (State.FAILED, Decline.PARTNER_REFUSED)
    assert stage.operator("airtime") == 0


async def test_a_lost_answer_is_asked_after_and_never_repeated(stage, partner):
    partner.behaviour = "loses its answer"
    recovery = Recovery(desk=stage.desk, airtime=partner, clock=stage.clock)
    order = held(stage)
    await rounds(stage, recovery, 1)
    assert stage.desk.find(order).state is State.HELD
    assert recovery.pending()[0] == 1
    await rounds(stage, recovery, 4)
    assert stage.desk.find(order).state is State.COMPLETED
    assert partner.asked == [order]
    assert partner.delivered == [order]


async def test_a_partner_who_stays_away_gives_the_money_back(stage, partner):
    partner.behaviour = "unavailable"
    order = held(stage)
    recovery = Recovery(desk=stage.desk, airtime=partner, clock=stage.clock)
    await rounds(stage, recovery, 4)
    assert stage.desk.find(order).state is State.HELD
    await rounds(stage, recovery, 30)
    found = stage.desk.find(order)
    assert (found.state, found.decline) == (State.FAILED, Decline.PARTNER_FAILED)
    assert TRIES_UNAVAILABLE == 5
    assert partner.delivered == []


async def test_after_a_crash_the_partner_is_asked_first(stage, partner):
    order = held(stage)
    partner.delivered.append(order)  # it was delivered; the answer died with the process
    recovery = Recovery(desk=stage.desk, airtime=partner, clock=stage.clock)
    await rounds(stage, recovery, 2)
    assert partner.asked == [order]
    assert stage.desk.find(order).state is State.COMPLETED
    assert partner.delivered == [order]


async def test_a_slow_partner_holds_up_nobody_else(stage, partner):
    async def never(**_: object) -> TopUp:
        await asyncio.Event().wait()
        raise AssertionError

    partner.top_up = never
    held(stage)
    recovery = Recovery(desk=stage.desk, airtime=partner, clock=stage.clock)
    await rounds(stage, recovery, 1)
    payer, payee = stage.customer("Fast"), stage.customer("Payee")
    stage.give_money(payer, 1_000_00)
    sent = await stage.desk.submit(stage.ask("send_money", payer.id, payee.id, 10_00))
    assert sent.state is State.COMPLETED
    await recovery.close()


async def test_what_nobody_confirmed_lapses_by_itself(stage, partner):
    payer, payee = stage.customer("Payer"), stage.customer("Payee")
    stage.give_money(payer, 1_000_00)
    asked = stage.pay("send_money", payer.id, payee.id, 10_00, is_confirmed=False)
    stage.clock.advance(timedelta(minutes=6))
    await rounds(stage, Recovery(desk=stage.desk, airtime=partner, clock=stage.clock), 2)
    found = stage.desk.find(asked.id)
    assert (found.state, found.decline) == (State.CANCELLED, Decline.ORDER_EXPIRED)


async def test_how_long_partners_let_orders_wait_is_told_before_these_end(stage, partner):
    async def never(**_: object) -> TopUp:
        await asyncio.Event().wait()
        raise AssertionError

    recovery = Recovery(desk=stage.desk, airtime=partner, clock=stage.clock)
    held(stage)
    await rounds(stage, recovery, 3)
    assert recovery.held() == [HeldSeen(partner="airtime", judged=1, late=0)]
    assert recovery.held() == []

    partner.top_up = never
    held(stage)
    await rounds(stage, recovery, HELD_LATE_S)
    assert recovery.held() == []
    await rounds(stage, recovery, 60)
    assert recovery.held() == [HeldSeen(partner="airtime", judged=1, late=1)]
    await recovery.close()


async def test_what_waited_before_a_start_says_nothing_of_its_partner(stage, partner):
    held(stage)
    stage.clock.advance(timedelta(minutes=5))
    recovery = Recovery(desk=stage.desk, airtime=partner, clock=stage.clock)
    await rounds(stage, recovery, 3)

    assert recovery.pending() == (0, 0)
    assert recovery.held() == []
