"""Rounds: what is decided while the one before is on its way to the disk, whatever becomes of that one."""

import asyncio
import threading
from pathlib import Path

import pytest

from tests.stage import raised
from umoja.faults import Busy, OutcomeUnknown, Unavailable
from umoja.ledger.journal import Journal
from umoja.payments.desk import BATCH_MAX, PART_MAX
from umoja.payments.order import Confirm, Decline, State


class Disk:
    """The way of a journal to its shelf: it can be held up, and each commit can be made to fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_free = threading.Event()
        self.commits: list[int] = []
        self.faults: list[Exception | None] = []  # of the next commits
        keep = Journal.keep

        def slowly(journal, lines):
            self.commits.append(len(lines))
            assert self.is_free.wait(20), "a test has forgotten to let go"
            fault = self.faults.pop(0) if self.faults else None
            if isinstance(fault, OutcomeUnknown):
                journal.shut("the last commit is unclear: start again")
            if fault is not None:
                raise fault
            keep(journal, lines)

        monkeypatch.setattr(Journal, "keep", slowly)


@pytest.fixture
def disk(monkeypatch):
    found = Disk(monkeypatch)
    found.is_free.set()
    yield found
    found.is_free.set()


@pytest.fixture
def stage(tmp_path: Path, disk):
    found = raised("KE", tmp_path, engine="sqlite")
    yield found
    assert found.breaches() == ()
    found.close()


@pytest.fixture
def pair(stage, disk):
    payer, payee = stage.customer("Payer"), stage.customer("Payee")
    stage.give_money(payer, 10_000_00)
    disk.commits.clear()
    return payer, payee


async def until(is_so):
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.001)


def asks(stage, pair, keys, minor=10_00):
    return [stage.ask("send_money", pair[0].id, pair[1].id, minor, key=key) for key in keys]


async def in_two_rounds(stage, pair, disk, behind, *, queued=0):
    """Return the answers to come of a first payment, on its way, and of `behind`, decided behind it."""
    disk.is_free.clear()
    (ask,) = asks(stage, pair, ["first"])
    first = stage.desk.enqueue(ask)
    await until(lambda: disk.commits == [1])
    rest = stage.desk.enqueue_many(behind)
    await until(lambda: stage.desk.queued == queued)
    return first, rest


async def test_what_is_asked_during_a_commit_is_decided_behind_it_and_told_after_its_own(
    stage, pair, disk
):
    first, rest = await in_two_rounds(stage, pair, disk, asks(stage, pair, ["a", "b"]))
    assert stage.has(pair[1], "wallet") == 30_00  # in memory
    assert not first.done()
    assert not rest.done()
    disk.is_free.set()
    order = await first
    assert [each.state for each in [order, *await rest]] == [State.COMPLETED] * 3
    assert disk.commits == [1, 2]
    await stage.desk.close()


async def test_many_who_ask_one_by_one_are_decided_during_a_commit_as_well(stage, pair, disk):
    disk.is_free.clear()
    (ask,) = asks(stage, pair, ["first"])
    answers = [stage.desk.enqueue(ask)]
    await until(lambda: disk.commits == [1])
    keys = [f"k{n}" for n in range(PART_MAX)]
    answers += [stage.desk.enqueue(each) for each in asks(stage, pair, keys, minor=10_00)]
    await until(lambda: stage.desk.queued == 0)
    disk.is_free.set()
    assert {order.state for order in await asyncio.gather(*answers)} == {State.COMPLETED}
    assert disk.commits == [1, PART_MAX]
    await stage.desk.close()


async def test_a_repeat_behind_its_first_commit_moves_nothing(stage, pair, disk):
    first, rest = await in_two_rounds(stage, pair, disk, asks(stage, pair, ["first", "other"]))
    disk.is_free.set()
    (again, other), order = await rest, await first
    assert again == order
    assert other.state is State.COMPLETED
    assert stage.has(pair[1], "wallet") == 20_00
    await stage.desk.close()


async def test_an_order_on_its_way_can_be_confirmed_behind_it(stage, pair, disk):
    disk.is_free.clear()
    payer, payee = pair
    asked = stage.ask("send_money", payer.id, payee.id, 70_00, key="two", is_confirmed=False)
    waiting = stage.desk.enqueue(asked)
    await until(lambda: disk.commits == [1])
    yes = Confirm(order=stage.desk.order_id("test", "two"), client="test")
    confirmed = stage.desk.enqueue_many([yes, yes])
    await until(lambda: stage.desk.queued == 0)
    disk.is_free.set()
    assert (await waiting).state is State.AWAITING
    assert [each.state for each in await confirmed] == [State.COMPLETED] * 2
    assert stage.has(payee, "wallet") == 70_00
    await stage.desk.close()


async def test_behind_a_commit_that_failed_everybody_is_decided_anew(stage, pair, disk):
    """The money that the first had brought is not there: whoever counted on it is refused."""
    payer, payee = pair
    third = stage.customer("Third")
    back = [
        stage.ask("send_money", payee.id, third.id, 5_00, key="counts on it"),
        stage.ask("send_money", payer.id, third.id, 7_00, key="has its own"),
        stage.ask(
            "send_money", payer.id, payee.id, 10_00, key="first"
        ),  # a repeat of the failed one
    ]
    disk.faults = [Unavailable("the disk is full")]
    first, rest = await in_two_rounds(stage, pair, disk, back)
    disk.is_free.set()
    with pytest.raises(Unavailable, match="the disk is full"):
        await first
    counted, own, again = await rest
    assert (counted.state, counted.decline) == (State.DECLINED, Decline.NOT_ENOUGH)
    assert (own.state, again.state) == (State.COMPLETED, State.COMPLETED)
    assert (stage.has(payee, "wallet"), stage.has(third, "wallet")) == (10_00, 7_00)
    await stage.desk.close()


async def test_behind_an_unclear_commit_nothing_happens_to_anybody(stage, pair, disk):
    disk.faults = [OutcomeUnknown("the disk failed")]
    first, rest = await in_two_rounds(stage, pair, disk, asks(stage, pair, ["a", "b"]))
    disk.is_free.set()
    with pytest.raises(OutcomeUnknown):
        await first
    assert [type(each) for each in await rest] == [Unavailable, Unavailable]
    assert stage.has(pair[1], "wallet") == 0
    assert disk.commits == [1]
    await stage.desk.close(does_save=False)


async def test_a_commit_that_meets_a_bug_stops_the_desk_and_says_so_to_all(stage, pair, disk):
    disk.faults = [OverflowError("too large")]
    first, rest = await in_two_rounds(stage, pair, disk, asks(stage, pair, ["a"]))
    disk.is_free.set()
    with pytest.raises(OutcomeUnknown):
        await first
    (answer,) = await rest
    assert isinstance(answer, Unavailable)
    with pytest.raises(Busy):  # and nobody waits for ever
        stage.desk.enqueue_many(asks(stage, pair, ["after"]))
    await stage.desk.close(does_save=False)
    assert stage.ledger.is_unsure  # its process ends, and the next one reads
    with pytest.raises(Unavailable, match="start again"):
        stage.desk.submit_now(asks(stage, pair, ["later"]))


async def test_a_bug_in_one_decision_behind_a_commit_takes_nobody_with_it(
    stage, pair, disk, monkeypatch
):
    real = stage.desk._clerk._gather

    def buggy(ask, moment):
        if ask.amount == 66_00:
            raise TypeError("a bug of ours")
        return real(ask, moment)

    monkeypatch.setattr(stage.desk._clerk, "_gather", buggy)
    payer, payee = pair
    behind = [
        stage.ask("send_money", payer.id, payee.id, minor, key=str(minor))
        for minor in (20_00, 66_00, 30_00)
    ]
    # They wait until those before them are told: then each is decided in a round of its own.
    first, rest = await in_two_rounds(stage, pair, disk, behind, queued=3)
    disk.is_free.set()
    one, bug, other = await rest
    assert (await first).state is one.state is other.state is State.COMPLETED
    assert isinstance(bug, TypeError)
    assert (one.amount, other.amount) == (20_00, 30_00)
    assert stage.has(payee, "wallet") == 60_00
    await stage.desk.close()


async def test_a_fault_while_deciding_behind_a_commit_is_told_to_those_it_met_in_their_order(
    stage, pair, disk, monkeypatch
):
    real = stage.desk._clerk._gather

    def absent(ask, moment):
        if ask.amount == 66_00:
            raise Unavailable("the directory cannot be read")
        return real(ask, moment)

    monkeypatch.setattr(stage.desk._clerk, "_gather", absent)
    disk.is_free.clear()
    payer, payee = pair
    minors = [1_00] * BATCH_MAX + [66_00, 20_00]
    many = stage.desk.enqueue_many(
        [
            stage.ask("send_money", payer.id, payee.id, minor, key=str(place))
            for place, minor in enumerate(minors)
        ]
    )
    await until(lambda: disk.commits == [BATCH_MAX])
    disk.is_free.set()
    answers = await many
    assert {each.state for each in answers[:BATCH_MAX]} == {State.COMPLETED}
    assert [type(each) for each in answers[BATCH_MAX:]] == [Unavailable, Unavailable]
    assert stage.has(payee, "wallet") == BATCH_MAX * 1_00
    await stage.desk.close()


async def test_a_read_waits_for_all_that_it_has_seen(stage, pair, disk):
    first, rest = await in_two_rounds(stage, pair, disk, asks(stage, pair, ["a"]))
    read = asyncio.ensure_future(stage.desk.settled(lambda: stage.has(pair[1], "wallet")))
    disk.is_free.set()
    await first
    assert not rest.done()
    assert not read.done()  # it has seen the second payment, which is not durable yet
    assert await read == 20_00
    assert rest.done()
    await stage.desk.close()


async def test_a_read_of_what_was_taken_back_is_read_again(stage, pair, disk):
    disk.faults = [Unavailable("the disk is full"), Unavailable("the disk is full")]
    first, rest = await in_two_rounds(stage, pair, disk, asks(stage, pair, ["a"]))
    read = asyncio.ensure_future(stage.desk.settled(lambda: stage.has(pair[1], "wallet")))
    await asyncio.sleep(0)
    disk.is_free.set()
    assert await read == 0
    with pytest.raises(Unavailable):
        await first
    assert [type(each) for each in await rest] == [Unavailable]
    await stage.desk.close()


@pytest.mark.parametrize("who", ["checkpoint", "auditor"])
async def test_whoever_needs_the_books_still_gets_them_under_endless_load(stage, pair, disk, who):
    """Rounds overlap, so that nothing would ever let a thread in that does not ask to be."""
    ended = threading.Event()
    does = stage.desk.save if who == "checkpoint" else stage.ledger.taken
    counts: list[int] = []

    async def load(hand: int) -> None:
        number = 0
        while not ended.is_set():
            keys = [f"{hand}-{number}-{place}" for place in range(20)]
            counts.append(len(await stage.desk.enqueue_many(asks(stage, pair, keys, minor=1_00))))
            number += 1

    hands = [asyncio.create_task(load(hand)) for hand in range(4)]
    await until(lambda: len(counts) > 8)
    for _ in range(3):
        async with asyncio.timeout(10):
            await asyncio.to_thread(does)
    ended.set()
    await asyncio.gather(*hands)
    await stage.desk.close()
