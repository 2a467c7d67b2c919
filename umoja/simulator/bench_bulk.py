"""Bulk payouts in a bench: requests of thousands of payments each, and how their answers count."""

import re

import msgspec

from umoja.clock import Clock, to_micros
from umoja.ledger.entries import Bundle, Kind, Transfer, Verdict
from umoja.ledger.ledger import Ledger
from umoja.markets.market import Service
from umoja.money import format_minor
from umoja.parties.party import FIRST
from umoja.payments.accounts import Purse
from umoja.simulator.bench_run import Tally
from umoja.simulator.bench_stage import Ground, phone_of
from umoja.simulator.bench_workload import Draw

TILL = 10**13  # minor units: more than a bench can pay out
OK = 200
_DECLINE = re.compile(rb'"decline":"([a-z_]+)"')
_encode = msgspec.json.Encoder().encode


class _Told(msgspec.Struct, frozen=True):
    completed: int
    declined: int
    open: int


_decode = msgspec.json.Decoder(_Told).decode


def fill_till(ground: Ground, ledger: Ledger, clock: Clock) -> None:
    """Give the first merchant money to pay out, unless that was done. Raise Unavailable."""
    trust = ground.accounts.system(Purse.TRUST, ground.currency)
    till = ground.accounts.number(ground.cast.merchants, Purse.TILL, ground.currency)
    bundle = Bundle(
        "bench.opening.bulk",
        to_micros(clock.now()),
        (Transfer(Kind.POST, trust, till, TILL),),
    )
    if ledger.row(bundle.id) is None:
        (verdict,) = ledger.post([bundle])
        assert verdict is Verdict.DONE, "the till is there"


def payouts(ground: Ground, draw: Draw, *, first: int, size: int, head: bytes) -> list[bytes]:
    """Return a draw as requests of `size` payments each to the customers drawn."""
    market = ground.market
    currency = market.currencies[0]
    least = market.minimum(service=Service.BULK_PAYOUT, currency=currency.code)
    amount = format_minor(
        -(-max(least, ground.prices.least) // currency.step) * currency.step,
        digits=currency.digits,
    )
    before = ground.cast.customers - FIRST
    found: list[bytes] = []
    for start in range(0, len(draw.payees), size):
        lines = [
            {
                "key": f"b{first + start + place}",
                "phone": phone_of(market, before + payee % ground.crowd.customers),
                "amount": amount,
            }
            for place, payee in enumerate(draw.payees[start : start + size])
        ]
        body = _encode({"currency": currency.code, "lines": lines})
        found.append(
            b"%b%d\r\nContent-Length: %d\r\n\r\n%b" % (head, first + start, len(body), body)
        )
    return found


def count_payouts(tally: Tally, status: int, body: bytes) -> None:
    """Count the answer to one request of many payments."""
    if status != OK:
        tally.failed += 1
        tally.why(f"{status} {body[:160].decode(errors='replace')}")
        return
    told = _decode(body)
    tally.done += told.completed
    tally.declined += told.declined
    tally.failed += told.open
    if told.declined or told.open:
        why = _DECLINE.search(body)
        tally.why(f"lines were not done: {why[1].decode() if why else 'the desk is busy'}")
