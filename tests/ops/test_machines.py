"""Tokens of machines: told once, for what they are for, until they end."""

from datetime import UTC, datetime, timedelta

import pytest

from umoja.clock import ManualClock
from umoja.ops.audit import AuditLog
from umoja.ops.machines import Machines, TokenRefused, expiry
from umoja.storage.port import Sql


@pytest.fixture
def machines(database: Sql, clock: ManualClock, audit: AuditLog) -> Machines:
    return Machines(database, clock=clock, audit=audit)


def made(machines: Machines, *scopes: str, expires: datetime | None = None) -> tuple[int, str]:
    found, text = machines.make(
        name="prometheus", scopes=frozenset(scopes), expires=expires, actor="wanjiru"
    )
    return found.number, text


def test_a_token_opens_what_it_is_for_and_nothing_else(machines: Machines):
    _, text = made(machines, "alerts", "otlp")

    found = machines.holder(text, "alerts")
    assert found is not None
    assert found.name == "prometheus"
    assert machines.holder(text, "otlp") is not None
    for wrong in ((text, "metrics"), (text + "x", "alerts"), ("", "alerts"), ("é", "alerts")):
        assert machines.holder(*wrong) is None


def test_an_end_ends_and_a_revoked_one_is_dead_at_once(machines: Machines, clock: ManualClock):
    _, ending = made(machines, "alerts", expires=clock.now() + timedelta(hours=1))
    number, revoked = made(machines, "alerts")

    assert machines.revoke(number, actor="wanjiru")
    assert machines.revoke(number, actor="wanjiru")
    assert not machines.revoke(99, actor="wanjiru")
    assert machines.holder(revoked, "alerts") is None
    assert machines.holder(ending, "alerts") is not None
    clock.advance(timedelta(hours=1))
    assert machines.holder(ending, "alerts") is None
    assert [each.state(clock.now()) for each in machines.browse()] == ["revoked", "expired"]


def test_no_token_is_kept_and_every_act_is_audited(
    machines: Machines, database: Sql, audit: AuditLog
):
    number, text = made(machines, "alerts")
    machines.revoke(number, actor="wanjiru")

    (row,) = database.query("SELECT * FROM machine_tokens")
    assert text not in repr(dict(row))
    assert len(bytes(row["digest"])) == 32
    assert [(each.action, each.detail) for each in audit.recent()] == [
        ("token revoked", "1 prometheus"),
        ("token made", "1 prometheus: alerts"),
    ]
    assert audit.verify().broken_at is None


def test_its_last_use_is_noted_no_more_than_once_a_minute(machines: Machines, clock: ManualClock):
    _, text = made(machines, "alerts")
    machines.holder(text, "alerts")
    first = machines.browse()[0].used_at
    clock.advance(timedelta(seconds=59))
    machines.holder(text, "alerts")
    assert machines.browse()[0].used_at == first
    clock.advance(timedelta(seconds=1))
    machines.holder(text, "alerts")
    assert machines.browse()[0].used_at == clock.now()


@pytest.mark.parametrize("scopes", [(), ("everything",), ("alerts", "root")])
def test_scopes_that_are_none_are_refused(machines: Machines, scopes: tuple[str, ...]):
    with pytest.raises(TokenRefused):
        made(machines, *scopes)


def test_ends_are_read_as_people_write_them():
    now = datetime(2026, 3, 10, 9, tzinfo=UTC)
    assert expiry("90d", now) == datetime(2026, 6, 8, 9, tzinfo=UTC)
    assert expiry("12h", now) == datetime(2026, 3, 10, 21, tzinfo=UTC)
    assert expiry("2027-01-31T12:00Z", now) == datetime(2027, 1, 31, 12, tzinfo=UTC)
    for wrong in ("soon", "0d", "2027-01-31", "90"):
        with pytest.raises(TokenRefused):
            expiry(wrong, now)


@pytest.mark.parametrize("number", [0, -1, 1 << 63, 10**30])
def test_a_number_that_no_token_has_ends_nothing(machines: Machines, number: int):
    machines.make(name="prometheus", scopes={"alerts"}, expires=None, actor="asha")
    assert machines.revoke(number, actor="asha") is False
    assert [each.revoked_at for each in machines.browse()] == [None]
