"""Sessions as operations count them: opened once, ended once, lapsed when nobody answers any more."""

import asyncio
from datetime import timedelta

import pytest

from tests.channels_ussd.conftest import Handset
from umoja.channels.ussd import Ussd
from umoja.markets.texts import Texts
from umoja.signals import CallbacksSeen, SessionsSeen


@pytest.fixture
def counted(ke: Handset):
    """Return the counts of all that was told so far."""
    told: list[SessionsSeen] = []
    ke.ussd = Ussd(
        branches={"KE": ke.stage.branch},
        texts=Texts.load(),
        clock=ke.stage.clock,
        tell=lambda each: told.append(each) if isinstance(each, SessionsSeen) else None,
    )

    def count() -> tuple[int, int, int, int]:
        ke.ussd.look()
        assert {(each.market, each.channel) for each in told} <= {("KE", "ussd")}
        return (
            sum(each.opened for each in told),
            sum(each.ended for each in told),
            sum(each.failed for each in told),
            sum(each.lapsed for each in told),
        )

    return count


async def test_a_session_is_opened_and_ended_once_however_often_a_callback_is_repeated(
    ke: Handset, counted
):
    amina = ke.customer("Amina", money=1_000_00)
    for _ in range(3):
        await ke.send(amina.phone, "", session="one")
    assert counted() == (1, 0, 0, 0)

    for _ in range(3):
        await ke.send(amina.phone, "nonsense", session="two")
    opened, ended, failed, lapsed = counted()
    assert (opened, failed) == (2, 0)
    assert ended + lapsed >= 1


async def test_a_session_that_nobody_goes_on_with_lapses(ke: Handset, counted):
    amina = ke.customer("Amina", money=1_000_00)
    await ke.send(amina.phone, "", session="one")
    ke.stage.clock.advance(timedelta(seconds=180))
    assert counted() == (1, 0, 0, 0)

    ke.stage.clock.advance(timedelta(seconds=1))

    assert counted() == (1, 0, 0, 1)
    assert counted() == (1, 0, 0, 1)


async def test_a_session_that_breaks_on_a_bug_of_ours_has_failed(ke: Handset, counted, monkeypatch):
    amina = ke.customer("Amina", money=1_000_00)
    await ke.send(amina.phone, "", session="one")

    def broken(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("umoja.channels.ussd.walk", broken)
    screen = await ke.send(amina.phone, "1", session="one")

    assert screen.startswith("END ")
    assert counted() == (1, 0, 1, 0)


async def test_callbacks_are_counted_and_those_that_come_twice(ke: Handset):
    told: list[SessionsSeen | CallbacksSeen] = []
    ke.ussd = Ussd(
        branches={"KE": ke.stage.branch}, texts=Texts.load(), clock=ke.stage.clock, tell=told.append
    )
    amina = ke.customer("Amina", money=1_000_00)
    for text in ("", "", "1", "1"):
        await ke.send(amina.phone, text, session="one")
    await asyncio.gather(*(ke.send(amina.phone, "9", session="one") for _ in range(3)))
    ke.ussd.look()
    ke.ussd.look()
    calls = [each for each in told if isinstance(each, CallbacksSeen)]
    assert {(each.market, each.channel, each.partner) for each in calls} == {("KE", "ussd", "ussd")}
    assert sum(each.tried for each in calls) == 7
    # The first, the menu's and the one that came thrice: what comes again and again is one.
    assert sum(each.doubled for each in calls) == 3
    assert sum(each.failed for each in calls) == 0
