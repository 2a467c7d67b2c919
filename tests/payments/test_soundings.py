"""Soundings: what a market's books show of fees and float, with figures that were worked out by hand."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.stage import Stage
from umoja.markets.market import Market
from umoja.payments import soundings
from umoja.payments.soundings import Soundings
from umoja.signals import FeesSeen


def sound(stage: Stage, *, market: Market | None = None) -> Soundings:
    return Soundings(
        market=market or stage.market,
        feed=stage.desk,
        directory=stage.store,
        free=stage.wallets.free,
        clock=stage.clock,
    )


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
    return payer, payee


def test_fees_of_the_tariff_are_as_much_as_is_due_and_are_told_once(ke: Stage, people):
    payer, payee = people
    looked = sound(ke)
    ke.pay("send_money", payer.id, payee.id, 50_00)  # free
    ke.pay("send_money", payer.id, payee.id, 1_000_00)  # 13 shillings

    assert looked.fees() == [
        FeesSeen(product="send_money", payments=2, fee_minor=13_00, due_minor=13_00)
    ]
    assert looked.fees() == []


def test_a_fee_that_is_not_the_tariffs_is_told_beside_what_was_due(ke: Stage, people):
    payer, payee = people
    looked = sound(ke, market=cheaper(ke.market, 3_25))
    ke.pay("send_money", payer.id, payee.id, 1_000_00)

    assert looked.fees() == [
        FeesSeen(product="send_money", payments=1, fee_minor=13_00, due_minor=9_75)
    ]


def test_where_much_is_paid_the_newest_stand_for_all(ke: Stage, people, monkeypatch):
    monkeypatch.setattr(soundings, "ORDERS_MAX", 2)
    payer, payee = people
    looked = sound(ke)
    for _ in range(6):
        ke.pay("send_money", payer.id, payee.id, 1_000_00)

    assert looked.fees() == [
        FeesSeen(product="send_money", payments=6, fee_minor=6 * 13_00, due_minor=6 * 13_00)
    ]


def test_what_was_refused_or_has_no_tariff_is_not_judged(ke: Stage, people):
    payer, payee = people
    looked = sound(ke)
    assert ke.pay("send_money", payer.id, payee.id, 90_000_00).decline is not None
    ke.give_float(ke.outlet(), 5_000_00)

    assert looked.fees() == []


def test_agents_who_can_serve_a_usual_deposit_are_counted_once_a_minute(ke: Stage):
    usual = ke.market.mean_value_minor
    for float_minor in (0, usual - 1, usual, 3 * usual):
        outlet = ke.outlet()
        if float_minor:
            ke.give_float(outlet, float_minor)
    looked = sound(ke)

    assert looked.agents() == (4, 2)
    ke.give_float(ke.outlet(), usual)
    ke.clock.advance(timedelta(seconds=59))
    assert looked.agents() == (4, 2)
    ke.clock.advance(timedelta(seconds=1))
    assert looked.agents() == (5, 3)


def test_some_agents_are_looked_at_in_turn(ke: Stage, monkeypatch):
    monkeypatch.setattr(soundings, "AGENTS_MAX", 2)
    usual = ke.market.mean_value_minor
    for float_minor in (usual, usual, 0):
        outlet = ke.outlet()
        if float_minor:
            ke.give_float(outlet, float_minor)
    looked = sound(ke)
    seen = []
    for _ in range(3):
        seen.append(looked.agents())
        ke.clock.advance(timedelta(minutes=1))

    assert seen == [(2, 2), (2, 1), (2, 1)]
