"""The hall: the one file that knows every part of the house and joins them."""

import asyncio
import fcntl
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, NamedTuple

import structlog
import uvicorn
from litestar import Litestar

from umoja.channels.hot import door, finder
from umoja.channels.http import site
from umoja.channels.sms import Receipts
from umoja.channels.ussd import Ussd, ussd_door
from umoja.clock import Clock
from umoja.config import Config, read
from umoja.console.sandbox import Sandbox
from umoja.console.site import console
from umoja.faults import Fault, Unavailable
from umoja.ledger.journal import JournalDamaged
from umoja.ledger.sqlite import SqliteLedger
from umoja.markets import packs
from umoja.markets.market import Market
from umoja.markets.texts import Texts
from umoja.ops.centre import Centre, open_centre
from umoja.ops.metrics import exposition
from umoja.parties.clients import Clients
from umoja.parties.credentials import key_at
from umoja.parties.store import PartyStore, PinKeyWrong
from umoja.partners.airtime import SimulatedAirtime
from umoja.partners.banks import SimulatedBank
from umoja.partners.sms_routes import SimulatedRoute
from umoja.payments.branch import Branch
from umoja.payments.desk import Desk
from umoja.payments.outbox import Outbox
from umoja.payments.recovery import Recovery
from umoja.payments.wallets import Wallets
from umoja.signals import Signals
from umoja.storage.database import Database, DatabaseDamaged
from umoja.storage.migrate import PlanBroken, migrate
from umoja.switches import Switches

LOOK_EVERY_S = 5.0
SAVE_EVERY_S = 60.0
LINES_WORTH_SAVING = 2_000

log = structlog.get_logger()

Progress = Callable[[str], None]
"""Told in a few words what is being done."""

Settings = Config
"""What a hall is built from, as the rooms above the hall call it: they read no configuration."""


class DataInUse(RuntimeError):
    """Another Umoja is running on this data folder."""


class NotForProduction(RuntimeError):
    """Production mode will not start. `faults` has a sentence for each reason, with what to do."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


@dataclass(frozen=True, kw_only=True)
class House:
    """One market's parts, from its files to its partners."""

    branch: Branch
    store: PartyStore
    ledger: SqliteLedger
    outbox: Outbox
    messages: Database
    receipts: Receipts
    recovery: Recovery
    route: SimulatedRoute
    airtime: SimulatedAirtime
    bank: SimulatedBank


class Site(NamedTuple):
    """What a web server needs: the application, and the protocol with the hot doors in it."""

    application: Litestar
    protocol: type[asyncio.Protocol]


class Hall:
    """All markets and their centre, joined. Opened once, run, closed; then it is done with."""

    def __init__(
        self,
        *,
        config: Config,
        clock: Clock,
        markets: Mapping[str, Market],
        expected: Callable[[Market, datetime], float] | None = None,
        progress: Progress = lambda _: None,
    ) -> None:
        """Open every file. Raise DataInUse, or a Fault where the centre cannot be opened.

        A market that cannot be opened is shut and named in `shut`; the others go on.
        """
        self.config = config
        self.clock = clock
        self.signals = Signals()
        self.switches = Switches()
        self.texts = Texts.load()
        config.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock_file = _only_one(config.data)
        self._pin_key = _key(config.pin_key, config.data / "pin.key")
        self._mark_key = _key(config.mark_key, config.data / "mark.key")
        self.clients = Clients(Database(config.data / "clients.db"), clock=clock)
        self.houses: dict[str, House] = {}
        self.shut: dict[str, str] = {}
        for code, market in markets.items():
            progress(f"opening {code}")
            try:
                self.houses[code] = self._house(market)
            except (Fault, DatabaseDamaged, JournalDamaged, PinKeyWrong, PlanBroken) as cause:
                log.exception("app.market.shut", market=code)
                self.shut[code] = str(cause)
        self.centre: Centre = open_centre(
            config.data / "centre.db",
            clock=clock,
            markets=[house.branch.market for house in self.houses.values()],
            expected=expected,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._saved_at: dict[str, int] = {}

    @property
    def branches(self) -> dict[str, Branch]:
        return {code: house.branch for code, house in self.houses.items()}

    def _house(self, market: Market) -> House:
        folder = self.config.data / market.code
        store = PartyStore(
            Database(folder / "parties.db"),
            market=market,
            clock=self.clock,
            pin_key=sha256(self._pin_key + market.code.encode()).digest(),
        )
        ledger = SqliteLedger(folder / "journal.db", clock=self.clock)
        desk = Desk(
            market=market,
            directory=store,
            ledger=ledger,
            clock=self.clock,
            signals=self.signals,
            switches=self.switches,
            mark_key=self._mark_key,
        )
        branch = Branch(
            market=market,
            directory=store,
            desk=desk,
            wallets=Wallets(market=market, ledger=ledger),
        )
        messages = Database(folder / "messages.db")
        migrate(messages, "messages", self.clock)
        outbox = Outbox(messages, desk)
        receipts: list[Receipts] = []
        route = SimulatedRoute(
            name="simulated",
            clock=self.clock,
            seed=market.code,
            # the receipts are made a line further down, with this route in their hands
            on_receipt=lambda message, is_done: receipts[0].on_receipt(message, is_done),  # noqa: PLW0108
            market=market.code,
        )
        receipts.append(
            Receipts(
                branch=branch,
                outbox=outbox,
                route=route,
                texts=self.texts,
                clock=self.clock,
                signals=self.signals,
            )
        )
        airtime = SimulatedAirtime(name="simulated", clock=self.clock, seed=market.code)
        return House(
            branch=branch,
            store=store,
            ledger=ledger,
            outbox=outbox,
            messages=messages,
            receipts=receipts[0],
            recovery=Recovery(desk=desk, airtime=airtime, clock=self.clock),
            route=route,
            airtime=airtime,
            bank=SimulatedBank(),
        )

    # Running

    def start(self) -> None:
        """Start what works in the background. Call it once, inside a running loop.

        From here on the centre hears of orders: what was booked before (a sandbox's first money)
        is no traffic.
        """
        self.signals.listen(self.centre.telemetry.hear)
        for house in self.houses.values():
            self._begin(house.recovery.run(), f"recovery-{house.branch.market.code}")
            self._begin(house.receipts.run(), f"receipts-{house.branch.market.code}")
        self._begin(self._watch(), "watch")
        self._begin(self._save_now_and_then(), "checkpoints")

    def _begin(self, work: Any, name: str) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work, name=name)
        task.add_done_callback(_tell_if_died)
        self._tasks.append(task)

    async def close(self) -> None:
        """Stop the background, answer what is queued, write checkpoints, close every file."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for house in self.houses.values():
            await house.recovery.close()
            await house.receipts.close()
            with suppress(Fault):  # a checkpoint only shortens the next start
                await house.branch.desk.close()
            await house.route.close()
            house.ledger.close()
            house.store.close()
            house.messages.close()
        self.centre.close()
        self.clients.close()
        self._lock_file.close()

    async def _watch(self) -> None:
        while True:
            self.look()
            await self.clock.sleep(LOOK_EVERY_S)

    def look(self) -> None:
        """Tell the centre what only the books know, and let its detectors look."""
        for code, house in self.houses.items():
            pending, oldest_ms = house.recovery.pending()
            desk = house.branch.desk
            totals = house.branch.wallets.totals()
            self.centre.telemetry.gauge(
                code,
                pending=pending,
                oldest_ms=oldest_ms,
                float_minor={total.currency: total.agents_float for total in totals},
                issued={total.currency: total.issued for total in totals},
                trust={
                    total.currency: house.bank.statement_balance(total.currency, total.trust)
                    for total in totals
                },
                head=desk.head,
            )
        self.centre.watch.look()

    async def _save_now_and_then(self) -> None:
        while True:
            await self.clock.sleep(SAVE_EVERY_S)
            for code, house in self.houses.items():
                head = house.branch.desk.head
                if head - self._saved_at.get(code, 0) < LINES_WORTH_SAVING:
                    continue
                try:
                    await asyncio.to_thread(house.branch.desk.save)
                    self._saved_at[code] = head
                except Fault as cause:
                    log.warning("app.checkpoint.failed", market=code, cause=str(cause))

    # The site

    def site(self, *, sandbox: Sandbox | None = None) -> Site:
        """Return the web application of all channels and the console, and its hot doors."""
        branches = self.branches
        ussd = Ussd(branches=branches, texts=self.texts, clock=self.clock)
        ussd_secret = self.config.ussd_secret or None
        extra: Sequence[Any] = [
            *console(
                centre=self.centre,
                branches=branches,
                clock=self.clock,
                sandbox=sandbox,
                secure_cookies=self.config.is_production,
            ),
            ussd_door(ussd, secret=ussd_secret),
        ]
        application = site(
            branches=branches,
            clients=self.clients,
            clock=self.clock,
            ready=self.ready,
            metrics=lambda: exposition(self.centre.telemetry, list(self.houses)),
            extra=extra,
            is_sandbox=sandbox is not None,
        )
        find = finder(application.state.native, ussd, ussd_secret=ussd_secret)
        return Site(application, door(find))

    def ready(self) -> dict[str, bool]:
        """Say of each market whether it takes payments."""
        return dict.fromkeys(self.houses, True) | dict.fromkeys(self.shut, False)


def stage_settings(folder: Path, market: str) -> Config:
    """Return what a stage is built from: one market in a folder of its own, and nothing from outside.

    The keys are the same for every stage, so that the same play writes the same journal.
    """
    flags = {
        "data": folder,
        "markets": market,
        "log_level": "warning",
        "pin_key": "the PIN key of a stage",
        "mark_key": "the mark key of a stage",
    }
    return read(file=None, environ={}, flags=flags)


def load_markets(config: Config) -> dict[str, Market]:
    """Load the packs that the configuration names. Raise packs.PackUnknown or packs.PackFaulty."""
    folder = config.packs or packs.PACKS
    codes = config.markets or packs.codes(folder=folder)
    return {code: packs.load(code, folder=folder) for code in codes}


def require_production_ready(markets: Mapping[str, Market], *, has_asserts: bool) -> None:
    """Raise NotForProduction where asserts are off or a pack has figures nobody has read."""
    faults = []
    if not has_asserts:
        faults.append(
            "asserts are switched off (python -O or PYTHONOPTIMIZE): start without it,"
            " the books rely on them"
        )
    for code, market in markets.items():
        found = packs.placeholders(market)
        if found:
            faults.append(
                f"{code} has {len(found)} placeholder figures, the first in {found[0]}:"
                f" umoja market show {code} lists them; put real ones into a pack of your own"
            )
    if faults:
        raise NotForProduction(faults)


def _only_one(folder: Path) -> IO[str]:
    """Hold the data folder for this process; the hold ends with the process, however it ends."""
    file = (folder / "in-use").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as cause:
        file.close()
        raise DataInUse(f"another Umoja runs on {folder}: stop it, or choose --data") from cause
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def _key(configured: str, path: Path) -> bytes:
    return sha256(configured.encode()).digest() if configured else key_at(path)


def _tell_if_died(task: asyncio.Task[None]) -> None:
    """Log the end of a background part: none ever ends by itself."""
    if not task.cancelled() and task.exception() is not None:
        log.error("app.part.died", part=task.get_name(), exc_info=task.exception())


def listening(config: Config) -> socket.socket:
    """Return a socket bound to the configured address. Raise Unavailable where it is taken."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((config.host, config.port))
    except OSError as cause:
        bound.close()
        raise Unavailable(
            f"cannot listen at {config.host}:{config.port} ({cause.strerror}): choose another --port"
        ) from cause
    return bound


class _Server(uvicorn.Server):
    """The web server without signal handling of its own: the hall decides what ends it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve_until_stopped(
    served: Site,
    *,
    at: socket.socket,
    on_ready: Callable[[], None],
    is_behind_fronts: bool = False,
) -> None:
    """Answer requests until the process is told to end (Ctrl-C, SIGTERM); a second time: at once."""
    server = _Server(
        uvicorn.Config(
            served.application,
            log_config=None,
            access_log=False,
            http=served.protocol,
            lifespan="off",
            # a front tells whom it answers; only fronts can open the local socket
            forwarded_allow_ips="*" if is_behind_fronts else None,
            server_header=False,
            timeout_graceful_shutdown=1,
            timeout_keep_alive=30,
        )
    )

    def stop() -> None:
        server.force_exit = server.should_exit
        server.should_exit = True
        served.application.state["is_stopping"] = True  # live pages end by themselves

    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop)
    serving = asyncio.create_task(server.serve(sockets=[at]))
    while not server.started and not serving.done():  # noqa: ASYNC110  it tells in no other way
        await asyncio.sleep(0.01)
    if server.started:
        on_ready()
    await serving
