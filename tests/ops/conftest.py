"""Parts for the tests of the centre: a centre on a file of its own, and signals made by hand."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher

from tests.postgres import tables
from umoja.clock import ManualClock
from umoja.markets import packs
from umoja.ops.audit import AuditLog
from umoja.ops.centre import Centre, open_centre
from umoja.ops.staff import Staff
from umoja.signals import MessageSeen, OrderSeen, Outcome
from umoja.storage.migrate import migrate
from umoja.storage.port import Sql

NOON = datetime(2026, 3, 10, 9, 0, tzinfo=UTC)  # of the markets' day, not of ours
MARKETS = ("KE", "GH")
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def order(clock: ManualClock, **changes: Any) -> OrderSeen:
    values = {
        "at": clock.now(),
        "market": "KE",
        "product": "send_money",
        "channel": "ussd",
        "outcome": Outcome.COMPLETED,
        "reason": "",
        "value_minor": 100_00,
        "currency": "KES",
        "latency_ms": 10.0,
        "payer_mark": 1,
    }
    return OrderSeen(**(values | changes))


def message(clock: ManualClock, state: str, **changes: Any) -> MessageSeen:
    values = {
        "at": clock.now(),
        "market": "KE",
        "route": "simulated",
        "state": state,
        "product": "send_money",
        "value_minor": 100_00,
        "currency": "KES",
        "payer_mark": 1,
        "waited_s": 0.0,
        "order_mark": 0,
    }
    return MessageSeen(**(values | changes))


def gauge(centre: Centre, *markets: str) -> None:
    for market in markets or MARKETS:
        centre.telemetry.gauge(
            market, pending=0, oldest_ms=0, float_minor={}, issued={}, trust={}, head=0
        )


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
def opened(tmp_path: Path, clock: ManualClock) -> Callable[..., Centre]:
    """Open the same centre, again and again where a test wants a start after a kill."""

    def open_it(**rest: Any) -> Centre:
        markets = [packs.load(code) for code in MARKETS]
        return open_centre(tables(tmp_path / "centre.db"), clock=clock, markets=markets, **rest)

    return open_it


@pytest.fixture
def centre(opened: Callable[..., Centre]) -> Iterator[Centre]:
    made = opened()
    yield made
    made.close()


@pytest.fixture
def database(tmp_path: Path, clock: ManualClock) -> Iterator[Sql]:
    made = tables(tmp_path / "centre.db")
    migrate(made, "centre", clock)
    yield made
    made.close()


@pytest.fixture
def audit(database: Sql, clock: ManualClock) -> AuditLog:
    return AuditLog(database, clock=clock)


@pytest.fixture
def staff(database: Sql, clock: ManualClock, audit: AuditLog) -> Staff:
    return Staff(database, clock=clock, audit=audit, markets=MARKETS, hasher=CHEAP)
