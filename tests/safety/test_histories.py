"""Concurrent transfers and reads: totals constant in every read, one order explains all answers."""

import asyncio
import itertools
import random
import sqlite3
from dataclasses import replace

import pytest

from tests.stage import raised
from umoja.faults import Unavailable
from umoja.ids import receipt_place
from umoja.simulator.crash_history import (
    NEVER,
    Read,
    TooEntangled,
    Transfer,
    is_linearizable,
    unexplained,
)

OPENING = {1: 100, 2: 100}
JOURNAL = {7: (1, 2, 60), 8: (2, 1, 10)}


def honest():
    """Return two transfers that overlap, a refused one, and reads during and after them."""
    return [
        Transfer(began=0, ended=10, source=1, target=2, minor=60, sequence=7),
        Transfer(began=5, ended=15, source=2, target=1, minor=10, sequence=8),
        Read(began=6, ended=8, seen={1: 40, 2: 160}),
        Transfer(began=20, ended=25, source=1, target=2, minor=70, is_done=False),
        Read(began=30, ended=35, seen={1: 50, 2: 150}),
    ]


def test_an_honest_history_is_explained_and_linearizable():
    assert unexplained(honest(), JOURNAL, OPENING) == []
    assert is_linearizable(honest(), OPENING)


@pytest.mark.parametrize(
    ("place", "event", "sentence"),
    [
        (4, Read(began=30, ended=35, seen={1: 50, 2: 160}), "a read adds up to 210, not to 200"),
        (4, Read(began=30, ended=35, seen={1: 40, 2: 160}), "fits no moment from 2 to 2"),  # stale
        (
            2,
            Read(began=1, ended=3, seen={1: 50, 2: 150}),
            "fits no moment from 0 to 1",
        ),  # too early
        (
            3,
            Transfer(began=20, ended=25, source=1, target=2, minor=50, is_done=False),
            "1 was refused 50, and always had as much",
        ),
        (
            4,
            Transfer(began=30, ended=35, source=1, target=2, minor=1, sequence=9),
            "a done transfer is not line 9 of the journal",
        ),
    ],
)
def test_a_falsified_history_is_seen(place, event, sentence):
    history = honest()
    history[place] = event
    assert any(sentence in found for found in unexplained(history, JOURNAL, OPENING))
    assert not is_linearizable(history, OPENING) or event.began == 30  # a tenth would fit by itself


def test_a_read_that_goes_back_behind_another_is_seen():
    history = [
        Transfer(began=0, ended=100, source=1, target=2, minor=60, sequence=7),
        Read(began=10, ended=20, seen={1: 40, 2: 160}),
        Read(began=30, ended=40, seen={1: 100, 2: 100}),
    ]
    journal = {7: (1, 2, 60)}
    found = unexplained(history, journal, OPENING)
    assert found == ["a read of {1: 100, 2: 100} fits no moment from 1 to 1"]
    assert not is_linearizable(history, OPENING)


def test_a_journal_against_the_order_of_time_is_seen():
    history = [
        Transfer(began=0, ended=1, source=1, target=2, minor=60, sequence=8),
        Transfer(began=2, ended=3, source=2, target=1, minor=10, sequence=7),
    ]
    found = unexplained(history, {8: (1, 2, 60), 7: (2, 1, 10)}, OPENING)
    assert found == ["line 7 was asked after line 8 had been answered"]


def test_one_line_told_to_two_transfers_is_seen():
    history = honest()
    history[1] = replace(history[0], began=5)
    assert "line 7 was told to two transfers" in unexplained(history, JOURNAL, OPENING)


def test_what_was_never_answered_may_have_happened_or_not():
    lost = Transfer(began=0, ended=NEVER, source=1, target=2, minor=60)
    for left in (40, 100):
        assert is_linearizable([lost, Read(began=5, ended=6, seen={1: left})], OPENING)
    # but not both, one after the other
    again = [Read(began=5, ended=6, seen={1: 40}), Read(began=7, ended=8, seen={1: 100})]
    assert not is_linearizable([lost, *again], OPENING)


def test_a_search_without_end_is_given_up():
    history = [
        Transfer(began=0, ended=10**6, source=place % 7 + 1, target=8, minor=1 << place)
        for place in range(24)
    ]
    opening = dict.fromkeys(range(1, 9), 1 << 30)
    history.append(Read(began=0, ended=10**6, seen={8: 3}))
    with pytest.raises(TooEntangled):
        is_linearizable(history, opening, steps_max=20_000)


# The desk


async def test_many_clients_see_one_order_and_constant_totals(tmp_path):
    stage = raised("KE", tmp_path, engine="sqlite")
    people = [stage.customer(f"Customer {number}") for number in range(4)]
    for person in people:
        stage.give_money(person, 300_00)
    opening = {person.id: stage.has(person, "wallet") for person in people}
    before = stage.ledger.head
    ticks = itertools.count()
    history = []

    def have():
        return {person.id: stage.has(person, "wallet") for person in people}

    async def client(number):
        chance = random.Random(number)
        for _ in range(40):
            began = next(ticks)
            if chance.random() < 0.4:
                seen = await stage.desk.settled(have)
                history.append(Read(began=began, ended=next(ticks), seen=seen))
                continue
            source, target = chance.sample(people, 2)
            ask = stage.ask("send_money", source.id, target.id, chance.randint(60, 100) * 100)
            order = await stage.desk.submit(ask)
            place = receipt_place(order.receipt)
            history.append(
                Transfer(
                    began=began,
                    ended=next(ticks),
                    source=source.id,
                    target=target.id,
                    minor=ask.amount,
                    is_done=place is not None,
                    sequence=place[1] if place else 0,
                )
            )

    await asyncio.gather(*(client(number) for number in range(8)))
    await stage.desk.close()
    journal = {
        row.sequence: (
            order.payer,
            order.payee,
            order.amount,
        )
        for row, (_, order) in zip(
            stage.ledger.rows(after=before),
            stage.desk.orders(after=before, limit=10**6),
            strict=True,
        )
        if row.transfers
    }
    assert unexplained(history, journal, opening) == []
    assert is_linearizable(history, opening)
    refused = [each for each in history if isinstance(each, Transfer) and not each.is_done]
    reads = [each for each in history if isinstance(each, Read)]
    assert refused, "nobody was ever short of money: refusals were not tried"
    assert len(reads) > 80
    assert stage.breaches() == ()
    # The judges are awake: one altered answer, and both object.
    altered = replace(reads[40], seen=reads[40].seen | {people[0].id: 1})
    history[history.index(reads[40])] = altered
    assert len(unexplained(history, journal, opening)) == 2
    assert not is_linearizable(history, opening)
    stage.close()


async def test_nobody_is_told_what_a_failed_commit_takes_back(tmp_path):
    """A balance, and a payment that waits, are read while their commit hangs; then it fails."""
    stage = raised("KE", tmp_path, engine="sqlite")
    payer, payee = stage.customer(), stage.customer("Brian Kamau")
    stage.give_money(payer, 1_000_00)
    other = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # the commit waits for this
    paying = stage.desk.enqueue(stage.ask("send_money", payer.id, payee.id, 100_00))
    ask = stage.ask("send_money", payer.id, payee.id, 100_00, is_confirmed=False, key="waits")
    waiting = stage.desk.enqueue(ask)
    while stage.has(payer, "wallet") == 1_000_00:
        await asyncio.sleep(0.001)
    reading = asyncio.create_task(stage.desk.settled(lambda: stage.has(payer, "wallet")))
    looking = asyncio.create_task(stage.desk.look_up(stage.desk.order_id("test", "waits")))
    threaded = asyncio.create_task(
        asyncio.to_thread(stage.desk.settled_elsewhere, lambda: stage.has(payer, "wallet"))
    )
    early, _ = await asyncio.wait([reading, looking, threaded], timeout=0.05)
    other.execute("UPDATE writer SET epoch = epoch + 1")  # another writer takes over
    other.execute("COMMIT")
    other.close()

    for answer in (paying, waiting):
        with pytest.raises(Unavailable):
            await answer
    assert not early, "it was told before it was durable"
    assert await reading == 1_000_00
    assert await threaded == 1_000_00
    assert await looking is None
    stage.close()


async def test_what_is_read_during_a_commit_is_told_once_it_stands(tmp_path):
    stage = raised("KE", tmp_path, engine="sqlite")
    payer, payee = stage.customer(), stage.customer("Brian Kamau")
    stage.give_money(payer, 1_000_00)
    other = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    paying = stage.desk.enqueue(stage.ask("send_money", payer.id, payee.id, 100_00))
    while stage.has(payer, "wallet") == 1_000_00:
        await asyncio.sleep(0.001)
    reading = asyncio.create_task(stage.desk.settled(lambda: stage.has(payer, "wallet")))
    await asyncio.sleep(0)
    other.execute("ROLLBACK")

    assert await reading == 900_00
    assert (await paying).receipt
    other.close()
    await stage.desk.close()
    stage.close()
