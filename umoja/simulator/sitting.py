"""A sitting: the sandbox from its first start to Ctrl-C, a simulated day, a drill on a stage."""

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import structlog

from umoja.app import Hall, Settings, stage_settings
from umoja.clock import Clock, FastClock, ManualClock, SystemClock
from umoja.faults import Unavailable
from umoja.keeper import fronts_before
from umoja.logs import write_to_stderr
from umoja.markets.busy import day_factor
from umoja.markets.market import Market
from umoja.money import format_minor
from umoja.opening import begin_production, settle_as, throw_away_sandbox, upgrade_all
from umoja.parties.clients import SCOPES
from umoja.premises import (
    SANDBOX,
    DataInUse,
    address_of,
    hold,
    is_held,
    listening,
    load_markets,
    require_production_ready,
)
from umoja.serving import Site, prepare_to_serve, serve_until_stopped
from umoja.simulator.drill import DETECTOR_OF, drill
from umoja.simulator.population import Population, is_settled, plan, settle
from umoja.simulator.run import Traffic, play_day
from umoja.simulator.sandbox import SandboxDesk, faults_of
from umoja.simulator.traffic import expected_per_second
from umoja.storage.migrate import Phase

SURE_EVERY_S = 0.2
WARM_UP_S = 90  # of a drill's clock, before the fault
STAGE_CUSTOMERS = 2_000  # of a drill: enough for payments of a usual size

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is simulated: payments a second on an average day, shared among the markets."""

    rate: float
    shares: dict[str, float]

    @classmethod
    def of(cls, rate: float, markets: dict[str, Market]) -> "Scale":
        """Share the rate by the square root of each market's own, so that small ones are seen."""
        weights = {code: market.payments_a_second**0.5 for code, market in markets.items()}
        total = sum(weights.values())
        return cls(rate=rate, shares={code: rate * w / total for code, w in weights.items()})


def sit(config: Settings, *, is_fresh: bool, rate: float, customers: int, seed: int) -> int:
    """Run the sandbox until it is told to stop; return the exit code."""
    write_to_stderr(config.log_level)
    with listening(config) as at:
        while asyncio.run(
            _sit(config, at, is_fresh=is_fresh, rate=rate, customers=customers, seed=seed)
        ):
            is_fresh = False
    return 0


async def _sit(
    config: Settings, at: socket.socket, *, is_fresh: bool, rate: float, customers: int, seed: int
) -> bool:
    """Run the sandbox; return whether it is to begin again: see `_answer`."""
    markets = load_markets(config)
    _prepare(config.data, is_fresh=is_fresh)
    hold(config.data).close()  # raises where another runs there: its tables are not to be touched
    kept = _begun(config, list(markets), is_fresh=is_fresh, seed=seed, customers=customers)
    scale = Scale.of(rate, markets)
    tell = _Teller()
    hall = Hall(
        config=config,
        clock=SystemClock(),
        markets=markets,
        expected=_expected(scale),
        take_over=True,
        progress=tell.step,
    )
    sandbox: SandboxDesk | None = None
    traffic: Traffic | None = None
    running: asyncio.Task[None] | None = None
    try:
        _require_a_market(hall)
        if (kept["seed"], kept["customers"]) != (seed, customers):
            tell.say(
                f"{config.data} keeps its {kept['customers']} customers a market of seed"
                f" {kept['seed']}: --fresh begins anew"
            )
        populations = _settled(hall, kept, tell)
        _clients_for(hall, kept, config.data)
        hall.start()
        sandbox = SandboxDesk(hall=hall, populations=populations, faults=faults_of(hall))
        if rate > 0:
            traffic = Traffic(
                branches=hall.branches,
                populations=populations,
                clock=hall.clock,
                scale=scale.shares,
                seed=kept["seed"],
            )
            running = asyncio.create_task(traffic.run(), name="traffic")
        prepare_to_serve()
        is_unsure = await _answer(
            hall,
            hall.site(sandbox=sandbox),
            at=at.dup(),
            on_ready=lambda: tell.ready(hall, kept, populations),
        )
    finally:
        tell.step("")
        if running is not None and traffic is not None:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await traffic.close()
        if sandbox is not None:
            await sandbox.close()
        await hall.close()
    tell.say(
        "It is unclear what became of a commit: beginning again, which reads it."
        if is_unsure
        else "Stopped. Nothing is lost: the same command goes on from here."
    )
    return is_unsure


def _begun(
    config: Settings, codes: list[str], *, is_fresh: bool, seed: int, customers: int
) -> dict[str, Any]:
    """Bring the tables of a sandbox up to date; return what it remembers of itself.

    Raise WrongKind where the database holds anything else.
    """
    clock = SystemClock()
    if config.database:
        if is_fresh:
            throw_away_sandbox(config)
        settle_as(config, "sandbox", clock)
    kept = _kept(config.data, seed=seed, customers=customers)
    if not config.database:
        settle_as(config, "sandbox", clock)
    upgrade_all(config, codes, clock, phase=Phase.ALL)
    return kept


def serve_forever(config: Settings, *, take_over: bool = False) -> int:
    """Run production mode until it is told to stop; return the exit code."""
    write_to_stderr(config.log_level)
    markets = load_markets(config)
    require_production_ready(config, markets, has_asserts=__debug__)
    with listening(config) as at:
        while asyncio.run(_serve(config, markets, at, take_over=take_over)):
            pass
    return 0


async def _serve(
    config: Settings, markets: dict[str, Market], at: socket.socket, *, take_over: bool
) -> bool:
    """Serve; return whether to begin again: see `_answer`."""
    hold(config.data).close()
    begin_production(config, list(markets), SystemClock())
    hall = Hall(config=config, clock=SystemClock(), markets=markets, take_over=take_over)
    try:
        _require_a_market(hall)
        hall.start()

        def ready() -> None:
            # Made only now that it can be told: a start that was cut off takes no password with it.
            password = hall.centre.first_administrator()
            sys.stderr.write(f"umoja serves {', '.join(hall.branches)} at {address_of(config)}\n")
            if password:
                sys.stderr.write(f"first administrator: administrator / {password} (told once)\n")

        prepare_to_serve()
        return await _answer(hall, hall.site(), at=at.dup(), on_ready=ready)
    finally:
        await hall.close()


async def _answer(
    hall: Hall, served: Site, *, at: socket.socket, on_ready: Callable[[], None]
) -> bool:
    """Answer requests until told to stop: in this process, or behind fronts.

    True: it stopped by itself, because what became of a commit is unclear. Only a new start reads it.
    """
    watching = asyncio.create_task(_stop_when_unsure(hall), name="sureness")
    try:
        if not hall.config.fronts:
            await serve_until_stopped(
                served, at=at, on_ready=on_ready, trusted_proxies=hall.config.trusted_proxies
            )
        else:
            desks = {code: branch.desk for code, branch in hall.branches.items()}
            async with fronts_before(desks, config=hall.config, at=at) as local:
                await serve_until_stopped(
                    served, at=local, on_ready=on_ready, is_behind_fronts=True
                )
        if watching.done():
            watching.result()  # raises what it met, if it was no unclear commit
        return watching.done()
    finally:
        watching.cancel()


async def _stop_when_unsure(hall: Hall) -> None:
    """Have this process stop serving once the outcome of a market's commit is unknown."""
    while not (unsure := [c for c, house in hall.houses.items() if house.ledger.is_unsure]):
        await hall.clock.sleep(SURE_EVERY_S)
    log.error("sitting.unsure", markets=unsure)
    os.kill(os.getpid(), signal.SIGTERM)  # as whoever stops it would


def simulate_day(
    code: str,
    *,
    day: date | None,
    payments: int,
    customers: int,
    seed: int,
    step: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Play one market's day as fast as it goes, in a folder that is thrown away; return figures."""
    with tempfile.TemporaryDirectory(prefix="umoja-day-") as folder:
        config = stage_settings(Path(folder), code)
        write_to_stderr(config.log_level)
        markets = load_markets(config)
        market = markets[code]
        wanted = day or market.business_day(SystemClock().now())
        clock = ManualClock(datetime.combine(wanted, time(0), market.zone) - timedelta(hours=1))
        hall = Hall(config=config, clock=clock, markets=markets)
        try:
            people = plan(market, customers=customers, seed=seed)
            settle(hall.branches[code], people)
            played = play_day(
                hall.branches[code],
                people,
                day=wanted,
                per_second=payments / 86_400 / day_factor(market, wanted),
                seed=seed,
                clock=clock,
                step=step,
            )
            branch = hall.branches[code]
            books = branch.wallets.audit()
            report: dict[str, Any] = {"market": code, "day": str(wanted), "seed": seed, **played}
            for total in branch.wallets.totals():
                digits = next(c.digits for c in market.currencies if c.code == total.currency)
                report[f"issued {total.currency}"] = format_minor(total.issued, digits=digits)
                report[f"trust {total.currency}"] = format_minor(total.trust, digits=digits)
            report["journal lines"] = books.rows
            report["journal digest"] = _digest(hall, code)
            report["breaches"] = list(books.breaches)
            return report
        finally:
            asyncio.run(hall.close())


def stage_drill(
    fault: str, *, market: str, speed: float, seed: int, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Play a fault on a stage of its own, with a clock `speed` times as fast; return what it showed."""
    if fault not in DETECTOR_OF:
        raise Unavailable(f"there is no drill {fault}; known are {', '.join(sorted(DETECTOR_OF))}")
    with tempfile.TemporaryDirectory(prefix="umoja-drill-") as folder:
        return asyncio.run(
            _stage_drill(
                fault, market=market, speed=speed, seed=seed, tell=tell, folder=Path(folder)
            )
        )


async def _stage_drill(
    fault: str,
    *,
    market: str,
    speed: float,
    seed: int,
    tell: Callable[[str], None],
    folder: Path,
) -> dict[str, Any]:
    config = stage_settings(folder, market)
    write_to_stderr(config.log_level)
    markets = load_markets(config)
    scale = Scale(rate=3.0, shares={market: 3.0})
    # Ten in the morning of a usual day there: a drill shows the same at any hour of ours.
    start = datetime.combine(date(2026, 3, 11), time(10), markets[market].zone)
    clock: Clock = FastClock(start=start, speed=speed)
    hall = Hall(config=config, clock=clock, markets=markets, expected=_expected(scale))
    running: asyncio.Task[None] | None = None
    traffic: Traffic | None = None
    try:
        people = plan(markets[market], customers=STAGE_CUSTOMERS, seed=seed)
        settle(hall.branches[market], people)
        hall.start()
        traffic = Traffic(
            branches=hall.branches,
            populations={market: people},
            clock=clock,
            scale=scale.shares,
            seed=seed,
        )
        running = asyncio.create_task(traffic.run(), name="traffic")
        tell(f"{market}: calm for {WARM_UP_S} s, {speed:g} times as fast as real time")
        await clock.sleep(WARM_UP_S)
        shown = await drill(
            centre=hall.centre,
            faults=faults_of(hall),
            market=market,
            fault=fault,
            clock=clock,
            tell=tell,
        )
    finally:
        if running is not None and traffic is not None:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await traffic.close()
        await hall.close()
    incident = shown.incident
    return {
        "fault": fault,
        "market": market,
        "passed": shown.is_passed,
        "calm_before": shown.is_calm_before,
        "noticed_after_s": _rounded(shown.noticed_after_s),
        "cleared_after_s": _rounded(shown.cleared_after_s),
        "incidents": shown.opened,
        "incident": incident.id if incident else None,
        "title": incident.title if incident else None,
        "product": incident.product if incident else None,
        "payments": incident.payments if incident else None,
        "value_minor": dict(incident.value_minor) if incident else {},
        "customers": incident.customers if incident else None,
        "state": incident.state if incident else None,
        "timeline": [
            {"at": each.at.isoformat(timespec="seconds"), "who": each.actor, "what": each.what}
            for each in (incident.timeline if incident else ())
        ],
    }


class _Teller:
    """What the person at the terminal is told while the sandbox starts and once it runs."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()

    def step(self, text: str) -> None:
        """Show what is being done, on a line that the next one replaces."""
        if self._is_terminal:
            sys.stderr.write(f"\r\033[K{text}")
            sys.stderr.flush()

    def say(self, text: str) -> None:
        self.step("")
        sys.stderr.write(f"{text}\n")

    def ready(
        self,
        hall: Hall,
        kept: dict[str, Any],
        populations: dict[str, Population],
    ) -> None:
        """Say where to look and with what to sign in."""
        self.step("")
        # Made only now that it can be told: a start that was cut off takes no password with it.
        password = hall.centre.first_administrator()
        address = address_of(hall.config)
        lines = [
            "",
            f"Umoja runs {', '.join(hall.branches)}. This is a sandbox: people and payments are simulated.",
            "",
            f"  wall      {address}/",
            f"  handset   {address}/handset",
            f"  API       {address}/docs",
        ]
        if password:
            lines.append(
                f"  sign in   {address}/sign-in   administrator / {password}   (told once)"
            )
        lines += ["", "  sandbox credentials"]
        for code, client in kept["clients"].items():
            pin = populations[code].pin if code in populations else ""
            lines.append(
                f"    {code}  {client['client_id']}  {client['client_secret']}   PINs {pin}"
            )
        lines.extend(f"  {code} is shut: {reason}" for code, reason in hall.shut.items())
        lines += ["", f"Data is kept in {hall.config.data}. Ctrl-C stops.", ""]
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()


def _expected(scale: Scale) -> Callable[[Market, datetime], float]:
    def per_second(market: Market, moment: datetime) -> float:
        return expected_per_second(market, moment, scale.shares.get(market.code, 0.0))

    return per_second


def _prepare(data: Path, *, is_fresh: bool) -> None:
    """Empty a sandbox's folder where that was asked.

    Raise Unavailable where the folder holds anything else: simulated people never meet real money.
    """
    if data.exists() and not data.is_dir():
        raise Unavailable(f"{data} is no folder: choose another --data")
    if not data.exists() or not any(data.iterdir()):
        return
    if not (data / SANDBOX).exists():
        raise Unavailable(
            f"{data} holds something that is no sandbox, and nothing there is touched:"
            " choose another --data"
        )
    if not is_fresh:
        return
    if is_held(data):
        raise DataInUse(f"another Umoja runs on {data}: stop it, or choose --data")
    for path in data.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _kept(data: Path, *, seed: int, customers: int) -> dict[str, Any]:
    """Return what the sandbox remembers of itself; the first start's seed and size stay."""
    path = data / SANDBOX
    if path.exists():
        try:
            found = json.loads(path.read_text("utf-8"))
            return {word: found[word] for word in ("seed", "customers", "clients")}
        except (ValueError, KeyError, TypeError) as cause:
            raise Unavailable(f"{path} is damaged: --fresh begins anew") from cause
    made = {"seed": seed, "customers": customers, "clients": {}}
    _keep(data, made)
    return made


def _keep(data: Path, kept: dict[str, Any]) -> None:
    draft = data / f"{SANDBOX}.new"
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w") as file:
        json.dump(kept, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(data / SANDBOX)


def _settled(hall: Hall, kept: dict[str, Any], tell: _Teller) -> dict[str, Population]:
    """Make everybody who is not there yet, and return all of them."""
    populations = {}
    for code, branch in hall.branches.items():
        tell.step(f"{code}: people and their money")
        people = plan(branch.market, customers=kept["customers"], seed=kept["seed"])
        if not is_settled(branch, people):
            settle(branch, people)
        populations[code] = people
    return populations


def _clients_for(hall: Hall, kept: dict[str, Any], data: Path) -> None:
    """Make one API client for each market that has none."""
    missing = [code for code in hall.branches if code not in kept["clients"]]
    for code in missing:
        client, secret = hall.clients.register(name="sandbox", market=code, scopes=SCOPES)
        kept["clients"][code] = {"client_id": client, "client_secret": secret}
    if missing:
        _keep(data, kept)


def _require_a_market(hall: Hall) -> None:
    """Raise Unavailable where no market could be opened, with each one's reason."""
    if not hall.houses:
        reasons = "; ".join(f"{code}: {reason}" for code, reason in hall.shut.items())
        raise Unavailable(f"no market can be opened: {reasons or 'none was named'}")


def _digest(hall: Hall, code: str) -> str:
    """Return a digest of all that a market's journal tells: the same day has the same one."""
    digest = sha256()
    for row in hall.houses[code].ledger.rows():
        digest.update(row.story)
    return digest.hexdigest()[:16]


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
