"""The hall: the one file that knows every part of the house and joins them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from umoja.channels.hot import door, finder
from umoja.channels.http import site
from umoja.channels.intake import intake, scrapes
from umoja.channels.ussd import Ussd, ussd_door
from umoja.clock import Clock
from umoja.config import Config, read
from umoja.console.sandbox import Sandbox
from umoja.console.site import console
from umoja.console.words import said_in
from umoja.faults import Unavailable
from umoja.house import SHUT, Background, Checkpoints, House, Progress, open_house, tell_books
from umoja.markets.market import Market
from umoja.markets.texts import Texts
from umoja.opening import open_sql
from umoja.ops.centre import WAIT_S, Centre, open_centre
from umoja.ops.metrics import exposition
from umoja.parties.clients import Clients
from umoja.payments.branch import Branch
from umoja.premises import Keys, hold, second_factor_of, staff_key_of
from umoja.serving import Site
from umoja.signals import Answer, Question, Signals
from umoja.switches import kept_switches
from umoja.ways import address_of, ways_of

LOOK_EVERY_S = 5.0

log = structlog.get_logger()

Settings = Config
"""What a hall is built from, as the rooms above the hall call it: they read no configuration."""


class Hall:
    """All markets and their centre, joined. Opened once, run, closed; then it is done with."""

    def __init__(
        self,
        *,
        config: Config,
        clock: Clock,
        markets: Mapping[str, Market],
        expected: Callable[[Market, datetime], float] | None = None,
        take_over: bool = False,
        has_mail: bool = True,
        progress: Progress = lambda _: None,
    ) -> None:
        """Open every journal and table. Raise DataInUse, or a Fault where the centre cannot be opened.

        A market that cannot be opened is shut and named in `shut`; the others go on. Without its
        mail a market's receipts are for another process to carry.
        """
        self.config = config
        self.clock = clock
        self.signals = Signals()
        self.texts = Texts.load()
        self._lock_file = hold(config.data)
        self.switches = kept_switches(config.data / "switches.json")
        keys = Keys.of(config)
        self.clients = Clients(open_sql(config, "clients"), clock=clock)
        self.houses: dict[str, House] = {}
        self.shut: dict[str, str] = {}
        for code, market in markets.items():
            progress(f"opening {code}")
            try:
                self.houses[code] = open_house(
                    market,
                    config=config,
                    clock=clock,
                    keys=keys,
                    signals=self.signals,
                    switches=self.switches,
                    texts=self.texts,
                    take_over=take_over,
                    has_mail=has_mail,
                    progress=partial(_tell_of, progress, code),
                )
            except SHUT as cause:
                log.exception("app.market.shut", market=code)
                self.shut[code] = str(cause)
        self.centre: Centre = open_centre(
            open_sql(config, "centre", wait_s=WAIT_S),
            clock=clock,
            markets=[house.branch.market for house in self.houses.values()],
            expected=expected,
            switches=self.switches,
            ways=ways_of(config, clock=clock, send_text=self._send_text),
            address=address_of(config),
            ask=self.ask,
            say=said_in,
            staff_key=staff_key_of(config),
            second_factor=second_factor_of(config),
        )
        self._background = Background()
        self._ussd: Ussd | None = None

    @property
    def branches(self) -> dict[str, Branch]:
        return {code: house.branch for code, house in self.houses.items()}

    # Running

    def start(self) -> None:
        """Start what works in the background. Call it once, inside a running loop.

        From here on the centre hears of orders: what was booked before (a sandbox's first money)
        is no traffic.
        """
        self.signals.listen(self.centre.telemetry.hear)
        for house in self.houses.values():
            for name, work in house.parts():
                self._background.begin(name, work)
        self._background.begin("watch", self._watch())
        self._background.begin("pager", self.centre.pager.run())
        self._background.begin("alarms", self.centre.alarms.run())
        self._background.begin("make-good", self.centre.make_good.run())
        self._background.begin("notices", self.centre.notices.run())
        self._background.begin(
            "vendor pages",
            self.centre.vendor_pages.run(may_be_private=not self.config.is_production),
        )
        self._background.begin("checkpoints", Checkpoints(self.clock).run(self.houses.values()))

    async def close(self) -> None:
        """Stop the background, answer what is queued, write checkpoints, close every file."""
        await self._background.end()
        for house in self.houses.values():
            await house.close()
        self.centre.close()
        self.clients.close()
        self._lock_file.close()

    async def _watch(self) -> None:
        while True:
            self.look()
            await self.clock.sleep(LOOK_EVERY_S)

    def look(self) -> None:
        """Tell the centre what only the books know, and let its detectors look."""
        if self._ussd is not None:
            self._ussd.look()
        for house in self.houses.values():
            tell_books(self.centre, house.look())
        self.centre.upkeep.look()
        self.centre.watch.look()
        self.centre.remedies.act_by_itself()
        self.centre.objectives.keep()
        self.centre.status.look()
        self.centre.regulators.look()

    async def ask(self, market: str, question: Question) -> Answer:
        """Ask a market for the centre. Raise Unavailable, or OutcomeUnknown: then ask again."""
        house = self.houses.get(market)
        if house is None:
            raise Unavailable(f"{market} is not open")
        return await house.making_good.answer(question)

    async def _send_text(self, market: str, message: str, phone: str, text: str) -> None:
        house = self.houses.get(market)
        if house is None:
            raise Unavailable(f"{market} is not open")
        await house.route.send(message_id=message, to=phone, text=text)

    # The site

    def site(self, *, sandbox: Sandbox | None = None) -> Site:
        """Return the web application of all channels and the console, and its hot doors."""
        branches = self.branches
        ussd = self._ussd = Ussd(
            branches=branches,
            texts=self.texts,
            clock=self.clock,
            noticed=self.switches.noticed,
            tell=self.signals.send,
        )
        ussd_secret = self.config.ussd_secret or None
        extra: Sequence[Any] = [
            *console(
                centre=self.centre,
                branches=branches,
                clock=self.clock,
                sandbox=sandbox,
                secure_cookies=self.config.is_production,
            ),
            *intake(self.centre, clock=self.clock),
            ussd_door(ussd, secret=ussd_secret),
        ]
        application = site(
            branches=branches,
            clients=self.clients,
            clock=self.clock,
            ready=self.ready,
            metrics=lambda: exposition(self.centre, list(self.houses)),
            extra=extra,
            is_sandbox=sandbox is not None,
            scrapes=scrapes(self.centre) if self.config.is_production else None,
        )
        find = finder(application.state.native, ussd, ussd_secret=ussd_secret)

        def stop() -> None:
            application.state["is_stopping"] = True

        return Site(application, door(find), stop)

    def ready(self) -> dict[str, bool]:
        """Say of each market whether it takes payments."""
        return dict.fromkeys(self.houses, True) | dict.fromkeys(self.shut, False)


def _tell_of(progress: Progress, code: str, told: str) -> None:
    progress(f"opening {code}: {told}")


def stage_settings(folder: Path, market: str, *, database: str = "") -> Config:
    """Return what a stage is built from: one market in a folder of its own, and nothing from outside.

    The keys are the same for every stage, so that the same play writes the same journal. With a
    `database` its journal and tables are there instead.
    """
    flags = {
        "data": folder,
        "database": database,
        "markets": market,
        "log_level": "warning",
        "pin_key": "the PIN key of a stage",
        "mark_key": "the mark key of a stage",
        "staff_key": "the staff key of a stage",
    }
    return read(file=None, environ={}, flags=flags)
