"""A market's process: the one writer of its books, its API for what fronts pass on, its USSD menus.

It needs no centre: its signals wait there a while, and the last switches that it was told hold.
"""

import asyncio
import os
import secrets
import signal
from asyncio import StreamReader
from functools import partial

import structlog

from umoja.carrier import Carriage
from umoja.channels.hot import door, finder
from umoja.channels.http import site
from umoja.channels.ussd import Ussd, ussd_door
from umoja.clock import SystemClock
from umoja.faults import Fault
from umoja.house import SHUT, Background, Checkpoints, House, open_house
from umoja.mail import route_for_staff
from umoja.markets.texts import Texts
from umoja.opening import open_sql
from umoja.parties.clients import Clients
from umoja.payments.desk import QUEUE_MAX
from umoja.payments.link import Shares, listen
from umoja.payments.ports import SmsRoute
from umoja.posts import Duty, Shut, man, tell
from umoja.premises import (
    Keys,
    desk_socket,
    listening_locally,
    load_markets,
    site_socket,
    trunk_socket,
)
from umoja.serving import Site, prepare_to_serve, serve_until_stopped
from umoja.signals import Signals
from umoja.switches import kept_switches
from umoja.trunk import Upline

LOOK_EVERY_S = 5.0
SURE_EVERY_S = 0.2
TEXTS_MAX = 100  # of the centre, that wait for the route
FRONT_LEAST = 1_000  # requests in flight that any front may have

log = structlog.get_logger()


async def _serve(duty: Duty, life: StreamReader) -> None:
    config = duty.config()
    (code,) = duty.markets
    clock = SystemClock()
    market = load_markets(config)[code]
    signals = Signals()
    texts = Texts.load()
    try:
        folder = config.data / code
        folder.mkdir(mode=0o700, exist_ok=True)
        switches = kept_switches(folder / "switches.json")
        clients = Clients(open_sql(config, "clients"), clock=clock)
        house = open_house(
            market,
            config=config,
            clock=clock,
            keys=Keys.of(config),
            signals=signals,
            switches=switches,
            texts=texts,
            take_over=duty.is_again,
            has_mail=False,
            progress=partial(tell, "reading"),
        )
    except SHUT as cause:
        log.exception("market.shut", market=code)
        raise Shut(str(cause)) from cause
    route = route_for_staff(market, clock, partial(switches.is_route_out, code))
    texts_out: asyncio.Queue[tuple[str, str, str]] = asyncio.Queue(maxsize=TEXTS_MAX)
    upline = Upline(
        trunk_socket(config.data),
        market=code,
        run=secrets.token_hex(8),
        clock=clock,
        switches=switches,
        say=lambda *words: _put(texts_out, words),
        answer=house.making_good.answer,
    )
    signals.listen(upline.hear)
    background = Background()
    carriage = Carriage(
        duty=duty,
        branch=house.branch,
        directory=house.store,
        signals=signals,
        told=lambda pid: tell("carrier", str(pid)),
    )
    ussd = Ussd(
        branches={code: house.branch},
        texts=texts,
        clock=clock,
        noticed=switches.noticed,
        tell=signals.send,
    )
    background.begin("texts", _carry(route, texts_out))
    shares = Shares(front_max=max(FRONT_LEAST, QUEUE_MAX // duty.share_of))
    server = await listen(desk_socket(config.data, code), {code: house.branch.desk}, shares=shares)
    try:
        for name, work in house.parts():
            background.begin(name, work)
        background.begin("receipts", carriage.run())
        background.begin("trunk", upline.run())
        background.begin("look", _look(house, ussd, upline, clock))
        background.begin("checkpoints", Checkpoints(clock).run([house]))
        background.begin("sureness", _end_when_unsure(house, clock))
        prepare_to_serve()
        await serve_until_stopped(
            _site(house, clients, ussd, clock, config.ussd_secret or None),
            at=listening_locally(site_socket(config.data, code)),
            on_ready=lambda: tell("ready"),
            is_behind_fronts=True,
            life=life,
        )
    finally:
        server.close()
        await background.end()
        await house.close()
        await route.close()
        clients.close()


async def _end_when_unsure(house: House, clock: SystemClock) -> None:
    """End this process once a commit's outcome is unknown: the next one reads what became of it."""
    while not house.ledger.is_unsure:
        await clock.sleep(SURE_EVERY_S)
    log.error("market.unsure", market=house.branch.market.code)
    os.kill(os.getpid(), signal.SIGTERM)


def _put(waiting: asyncio.Queue[tuple[str, str, str]], words: tuple[str, str, str]) -> None:
    """Take a text of the centre's; one too many is dropped and told: the pager tries again."""
    try:
        waiting.put_nowait(words)
    except asyncio.QueueFull:
        log.warning("market.text.dropped", message=words[0])


async def _carry(route: SmsRoute, waiting: asyncio.Queue[tuple[str, str, str]]) -> None:
    """Hand the centre's texts to the route, one after the other, until cancelled."""
    while True:
        message, phone, text = await waiting.get()
        try:
            await route.send(message_id=message, to=phone, text=text)
        except Fault as cause:
            log.warning("market.text.refused", message=message, cause=str(cause))


async def _look(house: House, ussd: Ussd, upline: Upline, clock: SystemClock) -> None:
    while True:
        ussd.look()
        upline.look(house.look())
        await clock.sleep(LOOK_EVERY_S)


def _site(
    house: House,
    clients: Clients,
    ussd: Ussd,
    clock: SystemClock,
    ussd_secret: str | None,
) -> Site:
    branches = {house.branch.market.code: house.branch}
    application = site(
        branches=branches,
        clients=clients,
        clock=clock,
        ready=lambda: dict.fromkeys(branches, True),
        metrics=lambda: b"",
        extra=[ussd_door(ussd, secret=ussd_secret)],
        is_sandbox=False,
    )
    find = finder(application.state.native, ussd, ussd_secret=ussd_secret)
    return Site(application, door(find))


if __name__ == "__main__":
    man(_serve)
