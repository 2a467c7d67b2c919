"""The centre's process: it hears all markets, watches, and shows the console. Payments do not need it."""

import sys
from asyncio import StreamReader

import structlog

from umoja.channels.hot import door, finder
from umoja.channels.http import site
from umoja.channels.intake import intake, scrapes
from umoja.clock import Clock, SystemClock
from umoja.console.site import console
from umoja.console.words import said_in
from umoja.faults import Fault
from umoja.house import Background, tell_books
from umoja.opening import open_sql
from umoja.ops.centre import WAIT_S, Centre, open_centre
from umoja.ops.metrics import exposition
from umoja.parties.clients import Clients
from umoja.payments.branch import Sight
from umoja.posts import Duty, Shut, man, tell
from umoja.premises import (
    centre_socket,
    listening_locally,
    load_markets,
    second_factor_of,
    staff_key_of,
    trunk_socket,
)
from umoja.serving import Site, serve_until_stopped
from umoja.storage.database import DatabaseDamaged
from umoja.storage.migrate import PlanBroken
from umoja.switches import kept_switches
from umoja.trunk import Exchange
from umoja.ways import address_of, ways_of

LOOK_EVERY_S = 5.0

log = structlog.get_logger()


async def _serve(duty: Duty, life: StreamReader) -> None:
    config = duty.config()
    clock = SystemClock()
    markets = load_markets(config)
    exchanges: list[Exchange] = []
    try:
        switches = kept_switches(config.data / "switches.json")
        clients = Clients(open_sql(config, "clients"), clock=clock)
        centre = open_centre(
            open_sql(config, "centre", wait_s=WAIT_S),
            clock=clock,
            markets=list(markets.values()),
            learns_usual=True,
            switches=switches,
            ways=ways_of(
                config,
                clock=clock,
                # the exchange is made a few lines further down, with this centre's hearing
                send_text=lambda *words: exchanges[0].send_text(*words),  # noqa: PLW0108
            ),
            address=address_of(config),
            say=said_in,
            ask=lambda *words: exchanges[0].ask(*words),  # noqa: PLW0108  made further down
            staff_key=staff_key_of(config),
            second_factor=second_factor_of(config),
        )
    except (Fault, DatabaseDamaged, PlanBroken) as cause:
        log.exception("centre.shut")
        raise Shut(str(cause)) from cause
    exchange = Exchange(
        switches=switches,
        hear=centre.telemetry.hear,
        look=lambda books: tell_books(centre, books),
    )
    exchanges.append(exchange)
    application = site(
        branches={},
        clients=clients,
        clock=clock,
        ready=lambda: {code: code in exchange.markets() for code in markets},
        metrics=lambda: exposition(centre, list(markets)) + _lost(exchange),
        extra=[
            *console(
                centre=centre,
                branches={code: Sight(market=market) for code, market in markets.items()},
                clock=clock,
                sandbox=None,
                secure_cookies=config.is_production,
            ),
            *intake(centre, clock=clock),
        ],
        is_sandbox=False,
        scrapes=scrapes(centre) if config.is_production else None,
    )

    def stop() -> None:
        application.state["is_stopping"] = True

    def ready() -> None:
        # Made only now that it can be told: a start that was cut off takes no password with it.
        password = centre.first_administrator()
        if password:
            sys.stderr.write(f"first administrator: administrator / {password} (told once)\n")
        tell("ready")

    background = Background()
    background.begin("watch", _watch(centre, clock))
    background.begin("pager", centre.pager.run())
    background.begin("alarms", centre.alarms.run())
    background.begin("make-good", centre.make_good.run())
    background.begin("notices", centre.notices.run())
    background.begin(
        "vendor pages", centre.vendor_pages.run(may_be_private=not config.is_production)
    )
    server = await exchange.listen(trunk_socket(config.data))
    try:
        await serve_until_stopped(
            Site(application, door(finder(application.state.native)), stop),
            at=listening_locally(centre_socket(config.data)),
            on_ready=ready,
            is_behind_fronts=True,
            life=life,
        )
    finally:
        server.close()
        await background.end()
        centre.close()
        clients.close()


async def _watch(centre: Centre, clock: Clock) -> None:
    while True:
        centre.upkeep.look()
        centre.watch.look()
        centre.remedies.act_by_itself()
        centre.objectives.keep()
        centre.status.look()
        centre.regulators.look()
        await clock.sleep(LOOK_EVERY_S)


def _lost(exchange: Exchange) -> bytes:
    """Return how many signals did not arrive, as text for a monitoring system."""
    lines = [
        "# HELP umoja_signals_lost_total Signals that the centre was not told",
        "# TYPE umoja_signals_lost_total counter",
    ]
    lines += [
        f'umoja_signals_lost_total{{market="{market}"}} {lost}'
        for market, lost in sorted(exchange.lost.items())
    ]
    return ("\n".join(lines) + "\n").encode()


if __name__ == "__main__":
    man(_serve)
