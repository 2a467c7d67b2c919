"""Receipts take a bounded share while payments come in, catch up when it is quiet, and go in bulk."""

import itertools

import pytest

from tests.channels_sms.conftest import Post
from tests.postgres import tables
from umoja.channels.pace import UNBOUNDED, Pace
from umoja.faults import Busy, Unavailable
from umoja.ledger.entries import Bundle
from umoja.ledger.tail import Tail
from umoja.partners import sms_routes
from umoja.payments.outbox import Counts, Fate, Outbox, message_id
from umoja.payments.ports import Parcel
from umoja.payments.tail import TailFeed
from umoja.storage.database import Database


def stopwatch(step_s: float):
    """Return a thread's stopwatch on which a step passes each time somebody looks."""
    looks = itertools.count()
    return lambda: next(looks) * step_s


def people(post: Post):
    amina, baraka = post.stage.customer("Amina Otieno"), post.stage.customer("Baraka Mwangi")
    post.stage.give_money(amina, 2_000_000)
    return amina, baraka


def pay_many(post: Post, payer, payee, count: int) -> None:
    stage = post.stage
    for _ in range(count // 250):
        asks = [stage.ask("send_money", payer.id, payee.id, 100) for _ in range(250)]
        assert all(order.receipt for order in stage.desk.submit_now(asks))


@pytest.mark.parametrize(
    ("percent", "pause_s"), [(20, 4.0), (50, 1.0), (UNBOUNDED, 0.0)]
)  # fmt: skip
def test_what_was_used_is_paid_for_with_a_pause_while_the_journal_grows(percent, pause_s):
    pace = Pace(percent, spent_s=stopwatch(0.5))
    pace.used(pace.now_s())
    pace.used(pace.now_s())

    assert pace.pause_s(7) == pause_s
    assert pace.pause_s(8) == 0.0  # nothing was used since

    pace.used(pace.now_s())
    assert pace.pause_s(8) == 0.0  # quiet


async def test_a_backlog_waits_for_payments_and_drains_when_they_pause(post_of):
    post = post_of("KE")
    amina, baraka = people(post)
    pay_many(post, amina, baraka, 4_000)
    post.pace = Pace(20, spent_s=stopwatch(0.05))
    post.start()
    made = lambda: post.database.one("SELECT count(*) FROM messages")[0]  # noqa: E731

    for _ in range(20):
        post.stage.pay("send_money", amina.id, baraka.id, 100)
        await post.pass_time(0.1)
    busy = made()
    # Each round uses 0.1 s and owes 0.4: four to six rounds of 500 orders in two seconds.
    assert 3_900 <= busy <= 6 * 1_000

    await post.pass_time(1.2)  # what is owed of the busy time, and then no pause any more
    assert made() == 3 + 2 * 4_020
    await post.pass_time(6)
    assert post.outbox.counts() == Counts(delivered=3 + 2 * 4_020)


async def test_a_kill_between_rounds_of_a_backlog_loses_none_and_doubles_none(post_of):
    post = post_of("KE")
    amina, baraka = people(post)
    pay_many(post, amina, baraka, 1_500)
    post.pace = Pace(20, spent_s=stopwatch(0.05))

    for _ in range(4):
        post.start()
        post.stage.pay("send_money", amina.id, baraka.id, 100)
        await post.pass_time(0.3)
        await post.stop(gently=False)
    post.start()
    await post.pass_time(130)

    assert post.outbox.counts() == Counts(delivered=3 + 2 * 1_504)
    # Those of whom a killed process had heard nothing yet are told again: at least once each.
    assert post.told("delivered") >= 3 + 2 * 1_504
    assert len(post.texts(baraka.phone)) == 50
    assert len(set(post.texts(baraka.phone))) == 50


async def test_a_message_too_many_for_the_route_is_refused_and_tried_again(post_of, monkeypatch):
    monkeypatch.setattr(sms_routes, "IN_TRANSIT_MAX", 150)
    post = post_of("KE")
    amina, baraka = people(post)
    pay_many(post, amina, baraka, 250)
    post.start()
    await post.pass_time(0.3)
    assert post.told("sent") == 150
    assert post.told("failed") == 3 + 500 - 150

    await post.pass_time(90)
    assert post.outbox.counts() == Counts(delivered=3 + 500)


async def test_the_route_answers_for_each_message_of_a_batch(post_of, monkeypatch):
    monkeypatch.setattr(sms_routes, "IN_TRANSIT_MAX", 2)
    post = post_of("KE")
    post.start()
    parcels = [Parcel(f"m{n}", "254700000000", "Hello") for n in (1, 1, 2, 3)]

    troubles = await post.route.send_many(parcels)

    assert [type(each) for each in troubles] == [type(None), type(None), type(None), Busy]
    post.route.is_dead = True
    with pytest.raises(Unavailable):
        await post.route.send_many(parcels)


async def test_the_tail_tells_what_the_desk_tells_while_the_writer_writes(post_of, tmp_path):
    post = post_of("KE")
    amina, baraka = people(post)
    feed = TailFeed(Tail(Database(post.folder / "journal.db")))
    desk = post.stage.desk
    try:
        assert feed.head == desk.head > 0
        post.stage.pay("send_money", amina.id, baraka.id, 100)
        post.stage.ledger.post([Bundle(f"quiet.{n}", 1) for n in range(3)])
        post.stage.pay("send_money", amina.id, baraka.id, 100)

        assert feed.head == desk.head
        assert feed.orders(after=0, limit=500) == desk.orders(after=0, limit=500)
        # A page of lines that tell of no order is no end.
        assert [number for number, _ in feed.orders(after=desk.head - 4, limit=1)] == [desk.head]
        assert feed.orders(after=desk.head) == []
    finally:
        feed.close()


async def test_a_journal_from_an_older_copy_gets_its_receipts_again(post_of):
    post = post_of("KE")
    amina, baraka = people(post)
    post.start()
    await post.pass_time(6)
    await post.stop()
    # The copy was taken before another order had this line.
    other = message_id("0" * 32, post.stage.desk.head + 1, "payer")
    with (database := tables(post.folder / "messages.db")).transaction():
        database.run("UPDATE feed SET sequence = 1000")
        database.run(
            "UPDATE messages SET id = :id, place = :place"
            " WHERE place = (SELECT max(place) FROM messages)",
            id=other,
            place=2 * (post.stage.desk.head + 1),
        )
    database.close()

    post.start()
    order = post.stage.pay("send_money", amina.id, baraka.id, 100)
    await post.pass_time(6)

    assert post.texts(amina.phone)[-1].startswith(order.receipt)
    assert post.outbox.find(other) is None


async def test_a_message_of_an_earlier_program_is_sent_under_its_id(post_of):
    post = post_of("KE")
    amina, baraka = people(post)
    order = post.stage.pay("send_money", amina.id, baraka.id, 100)
    post.start()
    await post.pass_time(6)
    await post.stop()
    database = tables(post.folder / "messages.db")
    database.run(
        "UPDATE messages SET id = :id, state = 'sent', place = 1 WHERE id = :now",
        id=f"{order.id}.0.payee",
        now=message_id(order.id, post.stage.desk.head, "payee"),
    )
    database.close()
    post.seen.clear()

    post.start()
    await post.pass_time(6)

    assert post.told("delivered") == 1
    assert post.outbox.find(f"{order.id}.0.payee")[1] == "delivered"
    marks = {each.order_mark for each in post.seen}
    post.seen.clear()
    post.outbox.note([(1, Fate.REFUSED)], now=0)
    assert post.outbox.find(f"{order.id}.0.payee")[0].order_mark in marks


async def test_a_cursor_that_moved_by_an_unclear_commit_is_read_anew(post_of):
    post = post_of("KE")
    amina, baraka = people(post)
    post.start()
    await post.pass_time(6)
    post.stage.pay("send_money", amina.id, baraka.id, 100)
    head = post.stage.desk.head

    def write(orders):
        # As if an earlier take had been kept, although it was told as unclear.
        post.database.run("UPDATE feed SET sequence = :head", head=head)
        return []

    assert post.outbox.take(10, write=write, now=0) == ([], 1)
    assert post.outbox.take(10, write=write, now=0) == ([], 0)
    assert isinstance(post.outbox, Outbox)
