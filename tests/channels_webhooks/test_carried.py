"""Webhooks in the carrier's process, as in production: killed with a request open, and told all the same."""

import asyncio
import json
import os
import signal

from tests.channels_sms.test_carrier import until
from tests.channels_webhooks.conftest import Receiver
from tests.stage import Stage
from umoja.app import stage_settings
from umoja.carrier import Carriage
from umoja.clock import SystemClock
from umoja.house import open_house
from umoja.markets.texts import Texts
from umoja.opening import opened
from umoja.parties.clients import SCOPES, Clients
from umoja.payments.webhooks import EVENTS
from umoja.posts import Duty, settings_of
from umoja.premises import Keys, load_markets
from umoja.signals import CallbacksSeen, Signals
from umoja.switches import Switches


async def test_a_carrier_killed_between_sending_and_noting_sends_again_under_the_same_id(
    tmp_path, receiver: Receiver
):
    config = stage_settings(tmp_path, "KE")
    signals, switches, seen = Signals(), Switches(), []
    clock = SystemClock()
    with opened(config, "clients") as database:
        client, _ = Clients(database, clock=clock).register(name="Shop", market="KE", scopes=SCOPES)
    house = open_house(
        load_markets(config)["KE"],
        config=config,
        clock=clock,
        keys=Keys.of(config),
        signals=signals,
        switches=switches,
        texts=Texts.load(),
        has_mail=False,
    )
    stage = Stage(
        market=house.branch.market,
        clock=clock,
        store=house.store,
        ledger=house.ledger,
        signals=signals,
        switches=switches,
        desk=house.branch.desk,
        wallets=house.branch.wallets,
    )
    payer, till = stage.customer("Amina Otieno"), stage.organisation()
    stage.give_money(payer, 2_000_000)
    signals.listen(lambda told: seen.append(told) if isinstance(told, CallbacksSeen) else None)
    receiver.answers["/shop"] = ""  # it takes the event, and its answer does not come
    house.branch.webhooks.register(
        client=client,
        organisation=till.id,
        key="k",
        url=receiver.url(),
        events=EVENTS,
        head=house.branch.desk.head,
    )
    carriage = Carriage(
        duty=Duty(role="market", markets=["KE"], settings=settings_of(config)),
        branch=house.branch,
        directory=house.store,
        signals=signals,
    )
    running = asyncio.create_task(carriage.run())

    def noted() -> tuple[str, int, int]:
        with opened(config, "messages", "KE") as database:
            (row,) = database.query("SELECT state, tries, status FROM deliveries")
        return row[0], row[1], row[2]

    try:
        order = stage.pay("pay_till", payer.id, till.id, 100_000)
        await until(lambda: receiver.got)
        del receiver.answers["/shop"]
        os.kill(carriage.pid, signal.SIGKILL)
        await until(lambda: len(receiver.got) == 2)
        await until(lambda: sum(each.tried for each in seen) == 1)
        await until(lambda: noted() == ("delivered", 1, 204))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await house.close()

    first, second = receiver.got
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert json.loads(first.body)["data"]["id"] == order.id
    assert [(each.partner, each.failed) for each in seen] == [(client, 0)]
