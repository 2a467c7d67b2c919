"""A disk that stands still: the queue fills up to its bound, the rest is told to come back, none is lost."""

import asyncio
import sqlite3

import pytest

from tests.stage import raised
from umoja.faults import Busy
from umoja.payments.desk import BATCH_MAX, QUEUE_MAX


async def test_while_the_disk_stands_still_the_queue_is_bounded_and_then_everything_is_answered(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("umoja.payments.desk.QUEUE_MAX", 50)
    stage = raised("KE", tmp_path, engine="sqlite")
    payer, payee = stage.customer(), stage.customer("Brian Kamau")
    stage.give_money(payer, 10_000_00)
    other = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # every commit waits for this

    def pay(number):
        return stage.desk.enqueue(
            stage.ask("send_money", payer.id, payee.id, 1_00, key=f"k{number}")
        )

    under_way = [pay(0)]
    while stage.desk.queued or stage.has(payee, "wallet") == 0:
        await asyncio.sleep(0.001)
    under_way += [pay(number) for number in range(1, 51)]
    for number in range(51, 60):
        with pytest.raises(Busy) as told:
            pay(number)
        assert told.value.retry_after_s == 1
    assert stage.desk.queued == 50

    other.execute("ROLLBACK")

    orders = await asyncio.gather(*under_way)
    assert len({order.receipt for order in orders}) == 51
    assert stage.has(payee, "wallet") == 51_00
    assert (await pay(55)).receipt  # what was turned away may come back
    other.close()
    await stage.desk.close()
    assert stage.breaches() == ()
    stage.close()


def test_the_real_bounds_are_what_the_documents_say():
    assert (QUEUE_MAX, BATCH_MAX) == (20_000, 1_000)
