"""A market that still reads its journal is not called shut, and one that is shut is."""

from datetime import UTC, datetime, timedelta

import pytest

from umoja import keeper as keeper_module
from umoja.app import stage_settings
from umoja.clock import ManualClock
from umoja.faults import Unavailable
from umoja.house import Reading
from umoja.keeper import Keeper, Post, _started
from umoja.posts import Duty


def post(market: str, state: str, about: str = "") -> Post:
    duty = Duty(role="market", markets=[market], settings={})
    return Post(module="none", duty=duty, state=state, about=about, has_told=state != "reading")


@pytest.mark.parametrize("others", [[], [post("KE", "ready")]])
async def test_a_market_that_reads_is_awaited(tmp_path, monkeypatch, capsys, others):
    monkeypatch.setattr(keeper_module, "READY_WITHIN_S", 0.01)
    reading = post("LS", "reading", "books: 5 of 9 lines read")
    keeper = Keeper([*others, reading], data=tmp_path, lock=None)
    await _started(keeper, stage_settings(tmp_path, "LS"))
    said = capsys.readouterr().err
    assert "LS opens when its journal is read: books: 5 of 9 lines read" in said
    assert ("umoja serves KE at" in said) == bool(others)
    assert "shut" not in said


async def test_where_all_are_shut_the_start_fails_with_their_reasons(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(keeper_module, "READY_WITHIN_S", 0.01)
    keeper = Keeper([post("LS", "shut", "its disk is full")], data=tmp_path, lock=None)
    with pytest.raises(Unavailable, match="LS: its disk is full"):
        await _started(keeper, stage_settings(tmp_path, "LS"))
    assert "LS is shut: its disk is full" in capsys.readouterr().err


def test_a_start_that_reads_long_shows_a_bar_and_what_is_left():
    clock, told = ManualClock(datetime(2026, 3, 10, tzinfo=UTC)), []
    reading = Reading(clock, told.append)
    for done in (0, 250_000, 500_000, 1_000_000):
        reading.books(done, 1_000_000)
        clock.advance(timedelta(seconds=10))
    assert told == [
        "books: [#####...............] 250,000 of 1,000,000 lines read, about 30 s left",
        "books: [##########..........] 500,000 of 1,000,000 lines read, about 20 s left",
        "books: [####################] 1,000,000 of 1,000,000 lines read, about 0 s left",
    ]
    reading.limits(0, 0)
    assert len(told) == 3
