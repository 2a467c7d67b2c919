"""Random requests over commits that fail at random, rounds overlapping: nothing is lost or doubled."""

import asyncio
import random
import threading
import time
from pathlib import Path

import msgspec
import pytest

from tests.stage import raised
from umoja.faults import Unavailable
from umoja.ledger import journal
from umoja.ledger.entries import Bundle, Verdict
from umoja.ledger.journal import Journal
from umoja.parties.party import SYSTEM
from umoja.payments.clerk import decode_order
from umoja.payments.order import Ask, Confirm, Consent, Decline, Reverse, Settle, State
from umoja.payments.ports import TopUp
from umoja.payments.recovery import Recovery

STEPS = 60
MONEY = 300_00


def one_of_all(chance, stage, people, keys):
    """Return any request: about few keys, so that repeats and followers are frequent."""
    desk, key = stage.desk, f"k{chance.randrange(keys)}"
    order = desk.order_id("test", key)
    payer, payee = people[hash_of(key) % 3], people[(hash_of(key) + 1) % 3]
    what = chance.randrange(10)
    if what < 5:
        kind = hash_of(key) // 3 % 3
        return stage.ask(
            "airtime" if kind == 2 else "send_money",
            payer.id,
            SYSTEM if kind == 2 else payee.id,
            10_00 + hash_of(key) % 7 * 20_00,
            key=key,
            reference=payer.phone if kind == 2 else "",
            is_confirmed=kind != 1,
        )
    if what == 5:
        return Confirm(order=order, client="test", says_yes=chance.random() < 0.8)
    if what == 6:
        return Settle(order=order, is_done=chance.random() < 0.5)
    if what == 7:
        return Reverse(order=order, payer=payer.id, client="test", channel="api")
    return Consent(order=order, payee=payee.id, says_yes=what == 8)


def hash_of(key):
    return int(key[1:]) * 7919 % 1009


def remembered(stage):
    clerk = stage.desk._clerk
    usage = clerk.companion()
    packed = msgspec.msgpack.decode(usage)[0]
    return (
        [packed[0], packed[1].rstrip(b"\0"), [rows.rstrip(b"\0") for rows in packed[2]]],
        clerk.waiting,
    )


@pytest.mark.parametrize("is_coarse", [False, True], ids=["digests", "digests-that-many-share"])
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_whatever_is_asked_while_commits_fail(tmp_path: Path, monkeypatch, seed, is_coarse):
    chance, fate = random.Random(seed), random.Random(seed + 100)
    if is_coarse:  # as if ids collided: the journal's line decides, wherever it is on its way
        real = journal.digest_of
        monkeypatch.setattr(journal, "digest_of", lambda name: real(name) % 5)
    stage = raised("KE", tmp_path, engine="sqlite")
    people = [stage.customer(f"Person {n}") for n in range(3)]
    for each in people:
        stage.give_money(each, MONEY)
    keep, failed = Journal.keep, []

    def at_random(ledger, lines):
        time.sleep(0.001)
        if fate.random() < 0.3:
            failed.append(len(lines))
            raise Unavailable("the disk is full")
        keep(ledger, lines)

    monkeypatch.setattr(Journal, "keep", at_random)
    told: list[tuple[object, object]] = []
    seen: list[int] = []

    async def hand() -> None:
        for _ in range(STEPS // 4):
            many = [one_of_all(chance, stage, people, 40) for _ in range(chance.randrange(1, 5))]
            answers = await stage.desk.enqueue_many(many)
            told.extend(zip(many, answers, strict=True))
            order = stage.desk.order_id("test", f"k{chance.randrange(40)}")
            found = await stage.desk.look_up(order)
            if found is not None:  # told, so it is in the file
                row = stage.ledger.row(f"{order}.{found.events - 1}")
                assert row is not None
                assert decode_order(row.story) == found
            seen.append(stage.ledger.head)

    await asyncio.gather(*[hand() for _ in range(4)])
    monkeypatch.setattr(Journal, "keep", keep)
    await stage.desk.close(does_save=False)
    assert failed
    assert any(isinstance(answer, Unavailable) for _, answer in told)

    rows = list(stage.ledger.rows())
    stories = {row.id: (row.sequence, decode_order(row.story)) for row in rows if row.story}
    assert len({row.id for row in rows}) == len(rows)  # no id twice, so no key paid twice
    assert [row.sequence for row in rows] == list(range(1, len(rows) + 1))
    for request, answer in told:
        if isinstance(answer, Exception):
            assert isinstance(answer, Unavailable)
            continue
        name = request.key if isinstance(request, Ask) else request.order
        number = stage.desk.order_id("test", name) if isinstance(request, Ask) else name
        assert answer.id == number  # never another line's
        if answer.decline in {Decline.ORDER_UNKNOWN, Decline.KEY_REUSED}:
            continue
        _, kept = stories[f"{number}.{answer.events - 1}"]
        refusals = {Decline.NOT_REVERSIBLE, Decline.MONEY_GONE, Decline.TOO_LATE}
        if answer.decline in refusals:  # told beside the order, kept nowhere
            kept = msgspec.structs.replace(kept, decline=answer.decline)
        assert answer == kept
    receipts = [
        order.receipt for _, order in stories.values() if order.step in {"booked", "settled"}
    ]
    receipts = [each for each in receipts if each]
    assert len(set(receipts)) == len(receipts)

    assert stage.breaches() == ()
    for total in stage.wallets.totals():
        assert total.issued == total.trust
    ours = remembered(stage), msgspec.msgpack.encode(stage.ledger.state.snapshot())
    stage.close()
    again = raised("KE", tmp_path, engine="sqlite", clock=stage.clock)
    assert (remembered(again), msgspec.msgpack.encode(again.ledger.state.snapshot())) == ours
    again.close()


@pytest.fixture
def stage(tmp_path: Path):
    found = raised("KE", tmp_path, engine="sqlite")
    yield found
    found.close()


def held_up(monkeypatch):
    """Hold each commit up until the event is set; return it and the sizes of what came."""
    is_free, came = threading.Event(), []
    keep = Journal.keep

    def slowly(ledger, lines):
        came.append(len(lines))
        assert is_free.wait(20)
        keep(ledger, lines)

    monkeypatch.setattr(Journal, "keep", slowly)
    return is_free, came


async def until(is_so):
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.001)


async def test_a_round_behind_is_not_written_any_more_once_the_books_are_shut(stage, monkeypatch):
    """Rounds follow on each other without end under load: a stop holds all the same."""
    payer, payee = stage.customer("Payer"), stage.customer("Payee")
    stage.give_money(payer, MONEY)
    is_free, came = held_up(monkeypatch)
    asks = [stage.ask("send_money", payer.id, payee.id, 10_00) for _ in range(3)]
    first = stage.desk.enqueue(asks[0])
    await until(lambda: came == [1])
    rest = stage.desk.enqueue_many(asks[1:])
    await until(lambda: stage.desk.queued == 0)
    head = stage.ledger.head
    real = Journal.stand

    def stand(ledger, *words):
        real(ledger, *words)
        ledger.shut("the auditor stopped it")

    monkeypatch.setattr(Journal, "stand", stand)
    is_free.set()
    assert (await first).state is State.COMPLETED
    assert [str(each) for each in await rest] == ["the auditor stopped it"] * 2
    assert (stage.ledger.head, stage.has(payee, "wallet")) == (head + 1, 10_00)
    await stage.desk.close(does_save=False)


async def test_a_partner_hears_of_an_order_when_it_is_durable(stage, monkeypatch):
    heard = []

    class Partner:
        name = "played"

        async def top_up(self, *, order_id, **_):
            heard.append(order_id)
            return TopUp.DONE

        async def ask(self, order_id):
            return None

    payer = stage.customer("Payer")
    stage.give_money(payer, MONEY)
    is_free, came = held_up(monkeypatch)
    recovery = Recovery(desk=stage.desk, airtime=Partner(), clock=stage.clock)
    order = stage.desk.enqueue(stage.ask("airtime", payer.id, SYSTEM, 50_00, reference=payer.phone))
    await until(lambda: came == [1])
    look = asyncio.create_task(recovery.look())
    for _ in range(20):
        await asyncio.sleep(0)
    assert heard == []
    is_free.set()
    await look
    number = (await order).id
    await until(lambda: heard == [number])
    await recovery.close()
    await stage.desk.close()


async def test_who_was_booked_is_told_so_although_a_listener_meets_a_bug(stage):
    payer, payee = stage.customer("Payer"), stage.customer("Payee")
    stage.give_money(payer, MONEY)

    def buggy(_order):
        raise TypeError("a bug of ours")

    stage.desk.listen(buggy)
    async with asyncio.timeout(10):
        order = await stage.desk.enqueue(stage.ask("send_money", payer.id, payee.id, 10_00))
    assert order.state is State.COMPLETED
    await stage.desk.close(does_save=False)
    assert stage.ledger.is_unsure  # its process ends, and the next one reads


def test_an_id_that_shares_its_digest_with_an_older_one_is_done_once_in_a_batch(stage, monkeypatch):
    monkeypatch.setattr(journal, "digest_of", lambda _: 7)
    ledger = stage.ledger
    bundles = [Bundle(f"{name}.0", 1, (), (), b"") for name in ("older", "new")]
    assert ledger.post(bundles[:1]) == [Verdict.DONE]
    head = ledger.head
    ahead = ledger.begin()
    assert [ahead.post(bundles[1]) for _ in range(2)] == [Verdict.DONE] * 2
    behind = ledger.begin(ahead)
    assert behind.post(bundles[1]) is Verdict.DONE
    ahead.commit()
    ahead.end()
    behind.commit()
    behind.end()
    assert ledger.head == head + 1
