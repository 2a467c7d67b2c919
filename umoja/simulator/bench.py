"""A bench: how many payments a second this machine does, beside what it gives to others.

Everything is made, run, proved and cleaned up here; the modes are in files of their own. Nothing of
a running Umoja is touched: a bench has a folder of its own.
"""

import logging
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import structlog

from umoja.app import Settings, stage_settings
from umoja.clock import Clock, SystemClock, to_micros
from umoja.faults import Unavailable
from umoja.ledger.ledger import Ledger
from umoja.markets import packs
from umoja.markets.market import Market
from umoja.opening import has_any, open_sql, told_of, wipe
from umoja.ops.centre import open_centre
from umoja.parties.store import PartyStore
from umoja.payments.desk import Desk
from umoja.payments.outbox import Outbox
from umoja.signals import Signals
from umoja.simulator import bench_baseline
from umoja.simulator.bench_desk import DeskRunner
from umoja.simulator.bench_figures import Repeat, middle, offered_figures, rates_around
from umoja.simulator.bench_http import HttpRunner
from umoja.simulator.bench_ledger import LedgerRunner
from umoja.simulator.bench_machine import machine, memory_mb, versions
from umoja.simulator.bench_overload import LINES_LEAST, Flood
from umoja.simulator.bench_plot import plotted
from umoja.simulator.bench_postgres import Cluster, NoPostgres
from umoja.simulator.bench_run import Meter, Numbers, Runner, closed, opened
from umoja.simulator.bench_stage import (
    Ground,
    Note,
    Step,
    claim,
    ground_of,
    ledger_of,
    register,
    settle,
)
from umoja.simulator.bench_start import started_anew
from umoja.simulator.bench_workload import Drawer, Workload
from umoja.storage.migrate import migrate
from umoja.switches import Switches

WARM_UP_SHARE = 0.1  # of one repeat
OFFERED_S = 10.0  # one offered load, where no --seconds says otherwise
SEED = 7


class Mode(Enum):
    LEDGER = "ledger"
    DESK = "desk"
    HTTP = "http"


class Engine(Enum):
    SQLITE = "sqlite"
    POSTGRES = "postgres"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is benched. `payments` are those measured in all repeats together; 0: by time alone."""

    mode: Mode = Mode.LEDGER
    engine: Engine = Engine.SQLITE
    workload: Workload = Workload.UNIFORM
    market: str = ""
    customers: int = 10_000
    payments: int = 100_000
    repeats: int = 5
    seconds: float = 0.0  # a repeat or an offered load ends after so many
    rates: tuple[float, ...] = ()  # of open loops
    batch: int = 1_000  # bundles in one commit, in the ledger mode
    window: int = 2_000  # orders that wait at the desk in a closed loop
    connections: int = 256
    journal: int = 0  # payments that are in the journal before anything is measured
    baseline_s: int = 5
    data: Path | None = None
    database: str = ""
    port: int = 0
    bulk: int = 0  # payments in one request; 0: each in one of its own
    overload: float = 0.0  # times the measured rate, offered for `seconds`
    is_plotted: bool = False
    does_restart: bool = False  # start anew afterwards, with all that was done as a tail

    @property
    def each(self) -> int:
        """Return how many payments one repeat has at most."""
        if not self.payments:
            return 1 << 62
        return max(1, self.payments // self.repeats)


@dataclass(frozen=True, slots=True, kw_only=True)
class Teller:
    """How a bench tells what it does: a step that takes long, and sentences that stay."""

    step: Step
    say: Callable[[str], None]


def busiest() -> str:
    """Return the code of the market with the most payments a second: what is benched by default."""
    return max(packs.codes(), key=lambda code: packs.load(code).payments_a_second)


def run(plan: Plan, tell: Teller) -> dict[str, Any]:
    """Run the bench and return its one object. Nothing is left running, whatever ends it.

    Raise Unavailable where the folder, the port or the database cannot be used.
    """
    _log_to_stderr()
    clock = SystemClock()
    market = packs.load(plan.market or busiest())
    ground = ground_of(market, customers=plan.customers, day=market.business_day(clock.now()))
    facts = machine()
    with ExitStack() as stack:
        folder = stack.enter_context(_folder(plan, market))
        cluster, why_not = _cluster(plan, folder, stack)
        url = plan.database or (cluster.url if cluster else "")
        is_apart = plan.engine is Engine.POSTGRES
        where = stage_settings(folder, market.code, database=url if is_apart else "")
        if plan.database and is_apart:
            _claim_database(where, stack)
        baseline = _baseline(plan, url, why_not, folder, tell)
        counted = (cluster.process,) if cluster and is_apart else ()
        runner = _runner(plan, ground, where, counted, clock, tell)
        stack.callback(runner.close)
        found = _measured(plan, ground, runner, Numbers(to_micros(clock.now())), tell)
        tell.step("books", 0, 0)
        books = runner.books()
        if plan.does_restart:
            runner.close()
            tell.step("start", 0, 0)
            found["start"] = started_anew(where, market.code)
    rate = found["payments_per_s"]
    return {
        "mode": plan.mode.value,
        "engine": plan.engine.value,
        "workload": plan.workload.value,
        "market": market.code,
        "customers": plan.customers,
        **found,
        "baseline": baseline | _ratios(rate, baseline),
        "books": books,
        "how": runner.facts(),
        "machine": facts,
        "versions": versions(),
        "at": clock.now().isoformat(timespec="seconds"),
    }


def _measured(
    plan: Plan, ground: Ground, runner: Runner, numbers: Numbers, tell: Teller
) -> dict[str, Any]:
    """Warm up, measure the closed loop, then each offered load."""
    known = plan.payments or ground.crowd.payments_each * plan.customers
    drawer = Drawer(
        plan.workload,
        ground.crowd,
        seed=SEED,
        total=known + plan.journal,
        span=ground.prices.steps + 1,
    )
    _require_room(plan, ground, tell)
    # Enough that most people have been met once, where that is a matter of moments.
    warm = max(
        1, round(min(plan.each, 100_000) * WARM_UP_SHARE), min(plan.each, plan.customers, 20_000)
    )
    before = closed(
        runner,
        drawer,
        numbers,
        payments=warm + plan.journal,
        limit_s=0 if plan.journal else plan.seconds * WARM_UP_SHARE,
    )
    repeats: list[Repeat] = []
    for number in range(plan.repeats):
        tell.step("repeats", number, plan.repeats)
        repeats.append(closed(runner, drawer, numbers, payments=plan.each, limit_s=plan.seconds))
    tell.step("repeats", plan.repeats, plan.repeats)
    found: dict[str, Any] = {
        **middle(repeats),
        "loop": "closed",
        "repeats": plan.repeats,
        "warm_up": before.done,
        "hottest_shares": drawer.hottest,
        "memory_mb": memory_mb(),
    }
    rates = plan.rates
    if not rates and plan.is_plotted:
        rates = rates_around(found["payments_per_s"])
    seconds = plan.seconds or OFFERED_S
    loads = []
    for number, rate in enumerate(rates):
        tell.step("offered loads", number, len(rates))
        loads.append(offered_figures(opened(runner, drawer, numbers, rate=rate, seconds=seconds)))
    found["open_loop"] = loads
    if plan.overload:
        assert isinstance(runner, HttpRunner), "only a server can be flooded"
        tell.step("overload", 0, 0)
        flood = Flood(
            peak=found["payments_per_s"],
            times=plan.overload,
            seconds=seconds,
            connections=max(plan.connections, LINES_LEAST),
        )
        draw = drawer.draw(flood.requests)
        found["overload"] = runner.overload(draw, first=numbers.take(flood.requests), flood=flood)
    return found


def _require_room(plan: Plan, ground: Ground, tell: Teller) -> None:
    """Say so where more is asked of the customers than their ceilings allow in a day."""
    if plan.mode is Mode.LEDGER or not plan.payments:
        return
    room = ground.crowd.payments_each * plan.customers // 4
    if plan.payments + plan.journal > room:
        tell.say(
            f"{plan.payments + plan.journal} payments are many for {plan.customers} customers:"
            " a day's ceilings may decline some; more --customers help"
        )


def _ratios(rate: float, baseline: dict[str, Any]) -> dict[str, object]:
    """Return how many times as fast as each baseline the bench was."""
    found = {}
    for name, key in (("tpcb", "per_s"), ("sql_ledger", "per_s"), ("medium", "appends_per_s")):
        figures = baseline.get(name)
        if figures and figures[key]:
            found[f"times_{name}"] = round(rate / figures[key], 2)
    return found


# Making ready


@contextmanager
def _folder(plan: Plan, market: Market) -> Iterator[Path]:
    """Lend the folder of --data, or one that is thrown away afterwards."""
    people = {Mode.LEDGER: "none", Mode.DESK: "registered", Mode.HTTP: "with PINs"}[plan.mode]
    wanted = Note(
        market=market.code,
        engine=plan.engine.value,
        customers=plan.customers,
        people=people,
    )
    if plan.data is not None:
        claim(plan.data, wanted)
        yield plan.data.resolve()
        return
    made = Path(tempfile.mkdtemp(prefix="umoja-bench-"))
    made.chmod(0o711)  # the private PostgreSQL's user passes through to its own folder
    try:
        claim(made, wanted)
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _cluster(plan: Plan, folder: Path, stack: ExitStack) -> tuple[Cluster | None, str]:
    """Start a private PostgreSQL where one is needed; for a baseline only where it can be had."""
    if plan.database or (plan.engine is Engine.SQLITE and not plan.baseline_s):
        return None, "no baseline was asked for"
    try:
        return stack.enter_context(Cluster(folder / "postgres")), ""
    except NoPostgres as cause:
        if plan.engine is Engine.POSTGRES:
            raise
        return None, str(cause)


def _baseline(plan: Plan, url: str, why_not: str, folder: Path, tell: Teller) -> dict[str, Any]:
    if not plan.baseline_s:
        return {"skipped": "no baseline was asked for"}
    tell.step("baseline", 0, 0)
    found = bench_baseline.measure(
        url,
        why_not,
        folder=folder,
        medium=folder,
        seconds=plan.baseline_s,
        accounts=plan.customers,
    )
    if why_not:
        tell.say(f"no baseline on PostgreSQL: {why_not}")
    return found


def _claim_database(where: Settings, stack: ExitStack) -> None:
    """Take a database of the user's for this bench; what is made there goes when it ends.

    Raise Unavailable where it holds anything of Umoja's: nothing there is touched.
    """
    if has_any(where):
        raise Unavailable(
            f"{told_of(where)} holds an installation, or what a bench that was killed has left, and"
            " nothing there is touched: give an empty database"
        )
    stack.callback(wipe, where)


def _runner(
    plan: Plan,
    ground: Ground,
    where: Settings,
    counted: tuple[int, ...],
    clock: Clock,
    tell: Teller,
) -> Runner:
    durability = _durability(where)
    if plan.mode is Mode.HTTP:
        return HttpRunner(
            ground,
            where,
            clock=clock,
            counted=counted,
            durability=durability,
            connections=plan.connections,
            port=plan.port,
            bulk=plan.bulk,
            step=tell.step,
            tell=tell.say,
        )
    ledger = ledger_of(where, ground.market, clock, step=tell.step)
    try:
        settle(ground, ledger, clock, step=tell.step)
        if plan.does_restart and plan.mode is Mode.LEDGER:
            ledger.save(ledger.taken())
        meter = Meter(counted=counted)
        if plan.mode is Mode.LEDGER:
            return LedgerRunner(
                ground,
                ledger,
                clock=clock,
                meter=meter,
                batch=plan.batch,
                tell=tell.say,
                durability=durability,
            )
        return _desk(plan, ground, where, ledger, durability, meter, clock, tell)
    except BaseException:
        ledger.close()
        raise


def _durability(where: Settings) -> dict[str, object]:
    """Say what a commit survives."""
    if where.database:
        return dict(bench_baseline.settings(where.database))
    return {
        "journal_mode": "WAL",
        "synchronous": "FULL",
        "commit": "one fsync of the write-ahead log a batch, before anybody is answered",
    }


def _desk(
    plan: Plan,
    ground: Ground,
    where: Settings,
    ledger: Ledger,
    durability: dict[str, object],
    meter: Meter,
    clock: Clock,
    tell: Teller,
) -> DeskRunner:
    """Join a desk with all that hears of its orders, as the hall does."""
    market = ground.market
    with ExitStack() as stack:
        store = PartyStore(
            open_sql(where, "parties", market=market.code),
            market=market,
            clock=clock,
            pin_key=where.pin_key.encode(),
        )
        stack.callback(store.close)
        register(ground, store, pins=False, step=tell.step)
        signals = Signals()
        centre = open_centre(open_sql(where, "centre"), clock=clock, markets=[market])
        stack.callback(centre.close)
        signals.listen(centre.telemetry.hear)
        desk = Desk(
            market=market,
            directory=store,
            ledger=ledger,
            clock=clock,
            signals=signals,
            switches=Switches(),
            mark_key=where.mark_key.encode(),
        )
        if plan.does_restart:
            desk.save()
        messages = open_sql(where, "messages", market=market.code)
        stack.callback(messages.close)
        migrate(messages, "messages", clock)
        Outbox(messages, desk)
        rest = stack.pop_all()
    return DeskRunner(
        ground,
        desk,
        ledger,
        store,
        meter=meter,
        window=plan.window,
        tell=tell.say,
        durability=durability,
        on_close=rest.close,
        does_save=not plan.does_restart,
    )


def _log_to_stderr() -> None:
    """Keep standard output for the figures; only what is wrong is told."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def save_plot(found: dict[str, Any], path: Path) -> None:
    """Write the curve of the offered loads as an SVG. Raise Unavailable where it cannot be written."""
    try:
        path.write_text(plotted(found), "utf-8")
    except OSError as cause:
        raise Unavailable(f"the plot cannot be written to {path}: {cause.strerror}") from cause
