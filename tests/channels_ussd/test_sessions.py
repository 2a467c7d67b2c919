"""Sessions as operations count them: opened once, ended once, lapsed when nobody answers any more."""

from datetime import timedelta

import pytest

from tests.channels_ussd.conftest import Handset
from umoja.channels.ussd import Ussd
from umoja.markets.texts import Texts
from umoja.signals import SessionsSeen


@pytest.fixture
def counted(ke: Handset):
    """Return the counts of all that was told so far."""
    told: list[SessionsSeen] = []
    ke.ussd = Ussd(
        branches={"KE": ke.stage.branch},
        texts=Texts.load(),
        clock=ke.stage.clock,
        tell=told.append,
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
