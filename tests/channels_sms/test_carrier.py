"""A market's receipts in a process of their own: told upward, killed, and nothing lost or doubled."""

import asyncio
import os
import signal
from collections.abc import Callable

from tests.stage import Stage
from umoja.app import stage_settings
from umoja.carrier import Carriage
from umoja.clock import SystemClock
from umoja.house import open_house
from umoja.markets.texts import Texts
from umoja.posts import Duty, settings_of
from umoja.premises import Keys, load_markets
from umoja.signals import MessagesSeen, Signals
from umoja.storage.database import Database
from umoja.switches import Switches


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not is_so():
            await asyncio.sleep(0.02)


async def test_receipts_carried_apart_outlive_a_kill_of_their_process(tmp_path):
    config = stage_settings(tmp_path, "KE")
    signals, switches, seen = Signals(), Switches(), []
    house = open_house(
        load_markets(config)["KE"],
        config=config,
        clock=SystemClock(),
        keys=Keys.of(config),
        signals=signals,
        switches=switches,
        texts=Texts.load(),
        has_mail=False,
    )
    stage = Stage(
        market=house.branch.market,
        clock=SystemClock(),
        store=house.store,
        ledger=house.ledger,
        signals=signals,
        switches=switches,
        desk=house.branch.desk,
        wallets=house.branch.wallets,
    )
    amina, baraka = stage.customer("Amina Otieno"), stage.customer("Baraka Mwangi")
    stage.give_money(amina, 2_000_000)
    signals.listen(lambda told: seen.append(told) if isinstance(told, MessagesSeen) else None)
    carriage = Carriage(
        duty=Duty(role="market", markets=["KE"], settings=settings_of(config)),
        branch=house.branch,
        directory=house.store,
        signals=signals,
    )
    running = asyncio.create_task(carriage.run())
    sent = lambda: sum(each.sent for each in seen)  # noqa: E731
    try:
        await until(lambda: sent() >= 3)
        first = carriage.pid
        assert os.getpriority(os.PRIO_PROCESS, first) > 0

        stage.pay("send_money", amina.id, baraka.id, 100_000)
        os.kill(first, signal.SIGKILL)
        told = sent()
        order = stage.pay("send_money", amina.id, baraka.id, 100_000)
        await until(lambda: sent() >= told + 2 and carriage.pid not in {0, first})
        await until(lambda: sum(each.in_time for each in seen) >= 1)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await house.close()

    database = Database(tmp_path / "KE" / "messages.db")
    rows = database.query("SELECT id, text FROM messages ORDER BY place")
    database.close()
    assert len(rows) == 3 + 4
    assert len({row["id"] for row in rows}) == 7
    last = rows[-2]["text"]
    assert last.startswith(f"{order.receipt} confirmed. You sent KES 1,000 to Baraka Mwangi")
    # 20,000 given; two of 1,000 with a fee of 13 each: asked of the books when it was written
    assert last.endswith("Balance KES 17,974.")
    assert all(amina.phone not in str(each) for each in seen)
