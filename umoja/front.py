"""A front: a process that takes requests, checks who asks, and hands orders to the markets' desks.

It holds no money and may be killed at any moment. What it does not answer itself goes on to the
process of the market, or to the centre's. It knows a market from the moment that market's desk can
be reached; until then, and whenever the desk is away, what is asked of it is told to come back.
"""

import asyncio
import socket
from contextlib import suppress
from functools import partial
from pathlib import Path

import structlog

from umoja.channels.forward import Forward
from umoja.channels.hot import door, finder
from umoja.channels.native import Native
from umoja.channels.sorting import Sorting
from umoja.clock import SystemClock
from umoja.config import Config
from umoja.house import SHUT, Background
from umoja.markets.market import Market
from umoja.opening import open_sql
from umoja.parties.clients import Clients
from umoja.parties.store import PartyStore
from umoja.payments.branch import Hatch
from umoja.payments.link import FarDesk, Link
from umoja.posts import Duty, Shut, man, tell
from umoja.premises import Keys, load_markets
from umoja.serving import Site, prepare_to_serve, serve_until_stopped

REACH_WITHIN_S = 1.0
REACH_LOOK_S = 0.02

log = structlog.get_logger()


class Hatches:
    """The markets that this front can serve: opened one by one as their desks are reached."""

    def __init__(self, *, config: Config, clock: SystemClock, duty: Duty) -> None:
        self._config = config
        self._clock = clock
        self._keys = Keys.of(config)
        self._stores: list[PartyStore] = []
        self._links: dict[str, Link] = {}
        self.open: dict[str, Hatch] = {}
        for market in load_markets(config).values():
            if market.code in duty.desks:
                path = Path(duty.desks[market.code])
                self._links[market.code] = Link(path, on_up=partial(self._reach, market))

    def begin(self, background: Background) -> None:
        for code, link in self._links.items():
            background.begin(f"link-{code}", link.run())

    def ready(self) -> dict[str, bool]:
        """Say of each market whether it takes payments."""
        return {code: code in self.open and link.is_up for code, link in self._links.items()}

    async def wait(self) -> None:
        """Wait a moment for the desks, so that those that are there are known before anybody asks."""
        with suppress(TimeoutError):
            async with asyncio.timeout(REACH_WITHIN_S):
                while len(self.open) < len(self._links):  # noqa: ASYNC110  a moment, once
                    await asyncio.sleep(REACH_LOOK_S)

    def close(self) -> None:
        for store in self._stores:
            store.close()

    def _reach(self, market: Market) -> bool:
        """Open a market's parties, whose files its process has made by now; tell whether they are."""
        code = market.code
        if code in self.open:
            return True
        try:
            store = PartyStore(
                open_sql(self._config, "parties", market=code),
                market=market,
                clock=self._clock,
                pin_key=self._keys.pin_of(code),
            )
        except SHUT as cause:
            log.error("front.market.shut", market=code, cause=str(cause))  # noqa: TRY400  tried again
            return False
        self._stores.append(store)
        desk = FarDesk(market=market, link=self._links[code])
        self.open[code] = Hatch(market=market, directory=store, desk=desk)
        tell("open", code)
        return True


async def _serve(duty: Duty, life: asyncio.StreamReader) -> None:
    config = duty.config()
    clock = SystemClock()
    try:
        clients = Clients(open_sql(config, "clients"), clock=clock)
    except SHUT as cause:
        log.exception("front.shut")
        raise Shut(str(cause)) from cause
    hatches = Hatches(config=config, clock=clock, duty=duty)
    native = Native(branches=hatches.open, clients=clients, clock=clock)
    forwards = {path: Forward(Path(path)) for path in {*duty.sites.values(), duty.centre}}
    application = Sorting(
        tokens=native.tokens,
        sites={code: forwards[path] for code, path in duty.sites.items()},
        centre=forwards[duty.centre],
        ready=hatches.ready,
    )
    background = Background()
    hatches.begin(background)
    try:
        await hatches.wait()
        prepare_to_serve()
        await serve_until_stopped(
            Site(application, door(finder(native))),
            at=socket.socket(fileno=duty.listening),
            on_ready=lambda: tell("ready"),
            trusted_proxies=config.trusted_proxies,
            life=life,
        )
    finally:
        await background.end()
        hatches.close()
        clients.close()


if __name__ == "__main__":
    man(_serve)
