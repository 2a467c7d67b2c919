"""Echoes: how often a partner is asked, what counts as lost, and that nobody waits for another."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from umoja.clock import ManualClock
from umoja.faults import OutcomeUnknown, Unavailable
from umoja.payments.echoes import Echoes


class Partner:
    """Answers at once, unless told otherwise."""

    def __init__(self, clock: ManualClock) -> None:
        self.fault: Exception | None = None
        self.takes_s = 0.0
        self.asked_s: list[float] = []
        self._clock = clock

    async def echo(self) -> None:
        self.asked_s.append(self._clock.ticks_s())
        if self.takes_s:
            await self._clock.sleep(self.takes_s)
        if self.fault is not None:
            raise self.fault


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 3, 10, tzinfo=UTC))


@pytest.fixture
async def both(clock):
    """Two partners who are asked, and the counter of their echoes."""
    partners = {"airtime": Partner(clock), "bank": Partner(clock)}
    echoes = Echoes(partners, clock=clock)
    running = asyncio.create_task(echoes.run())
    yield partners, echoes
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not echoes._at_work


async def pass_time(clock: ManualClock, seconds: int) -> None:
    for _ in range(seconds * 2):
        for _ in range(8):
            await asyncio.sleep(0)
        clock.advance(timedelta(seconds=0.5))
    for _ in range(8):
        await asyncio.sleep(0)


def told(echoes: Echoes) -> dict[str, tuple[int, int]]:
    return {each.partner: (each.asked, each.lost) for each in echoes.told()}


async def test_a_partner_who_answers_is_asked_every_five_seconds(clock, both):
    _, echoes = both
    await pass_time(clock, 60)
    assert told(echoes) == {"airtime": (13, 0), "bank": (13, 0)}
    assert echoes.told() == []  # told once


@pytest.mark.parametrize(
    "fault",
    [
        Unavailable("he is down"),
        OutcomeUnknown("no answer"),
        ConnectionResetError(),
        TimeoutError(),
    ],
)
async def test_a_lost_echo_makes_the_next_come_quickly_for_a_minute(clock, both, fault):
    partners, echoes = both
    partners["bank"].fault = fault
    await pass_time(clock, 6)
    partners["bank"].fault = None
    lost = told(echoes)["bank"]
    assert lost[1] >= 2
    assert lost[0] == lost[1]
    partners["bank"].asked_s.clear()
    await pass_time(clock, 50)
    quickly = partners["bank"].asked_s[:]
    assert len(quickly) == pytest.approx(50, abs=1)
    await pass_time(clock, 30)
    partners["bank"].asked_s.clear()
    await pass_time(clock, 60)
    assert len(partners["bank"].asked_s) == pytest.approx(12, abs=1)
    assert told(echoes)["bank"][1] == 0


async def test_who_answers_late_has_lost_the_echo_and_holds_up_nobody(clock, both):
    partners, echoes = both
    partners["bank"].takes_s = 5.5
    await pass_time(clock, 60)
    found = told(echoes)
    assert found["airtime"] == (13, 0)
    asked, lost = found["bank"]
    assert asked == lost >= 40
    assert len(echoes._at_work) <= 7  # those of the last five seconds
    partners["bank"].takes_s = 4.0
    await pass_time(clock, 60)
    assert told(echoes)["bank"][1] <= 6  # those that were on their way


async def test_a_bug_of_a_partner_is_no_lost_echo(clock):
    partner = Partner(clock)
    partner.fault = KeyError("a bug")
    with pytest.raises(KeyError):
        await Echoes({"bank": partner}, clock=clock).ask("bank")
