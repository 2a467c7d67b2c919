"""What the centre asks a market over the trunk: an answer, a refusal, or the word that nobody knows."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from umoja import trunk
from umoja.clock import SystemClock
from umoja.faults import Busy, OutcomeUnknown, Unavailable
from umoja.signals import (
    Amend,
    Amended,
    Answer,
    FindWrongs,
    Question,
    Reached,
    TellTried,
    Wrong,
    Wrongs,
)
from umoja.switches import Switches
from umoja.trunk import ASKED_MAX, Exchange, Upline

WRONG = Wrong(
    order="a" * 32, kind="double_charge", act="reverse", product="send_money",
    amount_minor=1_013_00, currency="KES", at=7, who="ab", is_sure=False, why="why",
)  # fmt: skip
FIND = FindWrongs(since=1, until=2, products=("send_money",), after=3)
AMEND = Amend(
    key="INC-000001.1.1", order="a" * 32, kind="stuck", act="settle", amount_minor=1, currency="KES"
)
TELL = TellTried(incident="INC-000001", kind="over", product="", since=1, until=2)


@pytest.fixture
async def joined(short, until):
    """Join one market to a centre; return the centre's end once the market is heard."""
    ends: list[asyncio.Task[None]] = []
    servers: list[asyncio.Server] = []

    async def make(answer: Callable[[Question], Any] | None) -> Exchange:
        exchange = Exchange(switches=Switches(), hear=lambda _: None, look=lambda _: None)
        servers.append(await exchange.listen(short / "trunk.sock"))
        upline = Upline(
            short / "trunk.sock",
            market="KE",
            run="run",
            clock=SystemClock(),
            switches=Switches(),
            answer=answer,
        )
        ends.append(asyncio.create_task(upline.run()))
        await until(lambda: exchange.markets() == {"KE"})
        return exchange

    yield make
    for task in ends:
        task.cancel()
    await asyncio.gather(*ends, return_exceptions=True)
    for server in servers:
        server.close()


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (FIND, Wrongs(lines=[WRONG], looked_at=9, unjudged=1, more=4)),
        (AMEND, Amended(state="waiting", reason="she was asked")),
        (TELL, Reached(told=3, before=2, unreachable=1, is_cut=True)),
    ],
)
async def test_a_question_and_its_answer_arrive_as_they_were(joined, question, answer):
    heard: list[Question] = []

    async def reply(asked: Question) -> Answer:
        heard.append(asked)
        return answer

    exchange = await joined(reply)
    assert await exchange.ask("KE", question) == answer
    assert heard == [question]


@pytest.mark.parametrize(
    ("fault", "raised", "says"),
    [
        (Unavailable("the journal is shut"), Unavailable, "the journal is shut"),
        (Busy("the desk"), Unavailable, "the desk is busy"),
        (OutcomeUnknown("no answer"), OutcomeUnknown, "no answer"),
        (AssertionError("ours"), OutcomeUnknown, "a bug of ours"),
    ],
)
async def test_a_fault_of_the_market_is_the_same_fault_here(joined, fault, raised, says):
    async def reply(_: Question) -> Answer:
        raise fault

    exchange = await joined(reply)
    with pytest.raises(raised, match=says):
        await exchange.ask("KE", AMEND)


async def test_a_market_that_is_not_heard_did_nothing(joined):
    exchange = await joined(None)
    with pytest.raises(Unavailable, match="GH is not connected"):
        await exchange.ask("GH", AMEND)
    with pytest.raises(Unavailable, match="nobody answers here"):
        await exchange.ask("KE", AMEND)


async def test_a_market_that_goes_away_while_it_works_leaves_its_outcome_unknown(joined, until):
    asked = asyncio.Event()

    async def reply(_: Question) -> Answer:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody gets here")

    exchange = await joined(reply)
    waiting = asyncio.create_task(exchange.ask("KE", AMEND))
    await asked.wait()
    (side,) = exchange._sides
    side.close()
    with pytest.raises(OutcomeUnknown, match="went away"):
        await waiting


async def test_who_never_answers_is_not_waited_for_for_ever(joined, monkeypatch):
    monkeypatch.setattr(trunk, "ANSWER_WITHIN_S", 0.01)

    async def reply(_: Question) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError("nobody gets here")

    exchange = await joined(reply)
    with pytest.raises(OutcomeUnknown, match="not answered in time"):
        await exchange.ask("KE", AMEND)


async def test_a_market_that_stops_leaves_nothing_half_answered_behind(short, until):
    exchange = Exchange(switches=Switches(), hear=lambda _: None, look=lambda _: None)
    server = await exchange.listen(short / "trunk.sock")
    begun, ended = asyncio.Event(), asyncio.Event()

    async def reply(_: Question) -> Answer:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError("nobody gets here")

    upline = Upline(
        short / "trunk.sock",
        market="KE",
        run="run",
        clock=SystemClock(),
        switches=Switches(),
        answer=reply,
    )
    running = asyncio.create_task(upline.run())
    await until(lambda: exchange.markets() == {"KE"})
    waiting = asyncio.create_task(exchange.ask("KE", AMEND))
    await begun.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert ended.is_set()
    with pytest.raises(OutcomeUnknown):
        await waiting
    server.close()


async def test_only_so_many_questions_are_worked_at(joined):
    begun = asyncio.Event()

    async def reply(_: Question) -> Answer:
        await begun.wait()
        return Amended(state="done")

    exchange = await joined(reply)
    waiting = [asyncio.create_task(exchange.ask("KE", AMEND)) for _ in range(ASKED_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await exchange.ask("KE", AMEND)
    begun.set()
    assert await asyncio.gather(*waiting) == [Amended(state="done")] * ASKED_MAX
    assert await exchange.ask("KE", AMEND) == Amended(state="done")
