"""A house: one market's parts, opened on its files and joined to its partners.

A hall holds the houses of all markets in one process; a market process holds one.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from umoja.channels.pace import Pace
from umoja.clock import Clock, to_micros
from umoja.config import Config
from umoja.faults import Fault
from umoja.ledger.auditor import Auditor
from umoja.ledger.chain import JournalDamaged
from umoja.ledger.journal import Journal
from umoja.ledger.ledger import Ledger
from umoja.mail import Mail, Outgoing, open_mail
from umoja.markets.market import Market
from umoja.markets.texts import Texts
from umoja.opening import open_ledger, open_sql
from umoja.ops.centre import Centre
from umoja.ops.incidents import Hanging
from umoja.parties.party import Party
from umoja.parties.store import PartyStore, PinKeyWrong
from umoja.partners.airtime import SimulatedAirtime
from umoja.partners.banks import SimulatedBank
from umoja.partners.sms_routes import SimulatedRoute
from umoja.payments.branch import Branch
from umoja.payments.desk import Desk
from umoja.payments.echoes import Echoes
from umoja.payments.making_good import MakingGood
from umoja.payments.noticing import Noticing
from umoja.payments.recovery import Recovery
from umoja.payments.soundings import Soundings
from umoja.payments.wallets import Wallets
from umoja.payments.webhooks import Webhooks
from umoja.payments.wronged import Wronged
from umoja.premises import Keys
from umoja.signals import BooksSeen, Signals
from umoja.storage.database import DatabaseDamaged
from umoja.storage.migrate import PlanBroken
from umoja.switches import Switches

SAVE_EVERY_S = 60.0
BAR = 20  # characters
TELL_EVERY_S = 0.5
LINES_WORTH_SAVING = 2_000
REST_S = 0.01
"""Whoever reads a long journal in a thread lets payments go before, so long after each few hundred lines."""

SHUT = (Fault, DatabaseDamaged, JournalDamaged, PinKeyWrong, PlanBroken)
"""Why a market cannot be opened. The others go on."""

log = structlog.get_logger()


Progress = Callable[[str], None]
"""Told in a few words how far the reading of a journal is."""


class _SettledPurses:
    """Purses for whoever writes texts in a thread: a text must not tell what a crash could undo."""

    def __init__(self, desk: Desk, wallets: Wallets) -> None:
        self._desk = desk
        self._wallets = wallets

    def free(self, asked: Sequence[tuple[Party, str]]) -> list[int | None]:
        return self._desk.settled_elsewhere(lambda: self._wallets.free(asked))


class Reading:
    """Tells a start's progress as a bar with what is left, not too often."""

    def __init__(self, clock: Clock, tell: Progress) -> None:
        self._clock = clock
        self._tell = tell
        self._told_s = clock.ticks_s()
        self._began: dict[str, tuple[float, int]] = {}  # when each part did, and at which line

    def books(self, done: int, todo: int) -> None:
        self._say("books", done, todo)

    def limits(self, done: int, todo: int) -> None:
        self._say("limits", done, todo)

    def _say(self, what: str, done: int, todo: int) -> None:
        now_s = self._clock.ticks_s()
        began_s, first = self._began.setdefault(what, (now_s, done))
        if now_s - self._told_s < TELL_EVERY_S or todo <= 0:
            return
        self._told_s = now_s
        full = min(done * BAR // todo, BAR)
        text = f"{what}: [{'#' * full}{'.' * (BAR - full)}] {done:,} of {todo:,} lines read"
        if done > first and now_s > began_s:
            left_s = (todo - done) * (now_s - began_s) / (done - first)
            text += f", about {left_s:.0f} s left"
        self._tell(text)


@dataclass(frozen=True, kw_only=True)
class House:
    """One market's parts, from its files to its partners."""

    branch: Branch
    store: PartyStore
    ledger: Ledger
    mail: Mail | None  # None: receipts and webhooks are another process's
    recovery: Recovery
    airtime: SimulatedAirtime
    bank: SimulatedBank
    making_good: MakingGood
    soundings: Soundings
    echoes: Echoes
    clock: Clock
    outgoing: Outgoing
    auditor: Auditor | None = None

    @property
    def route(self) -> SimulatedRoute:
        """Return the route of a house that has its mail in it."""
        assert self.mail is not None, "the mail is carried elsewhere"
        return self.mail.route

    def parts(self) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        """Return what works in the background, each with its name; to be run inside a loop."""
        code = self.branch.market.code
        found = [
            (f"recovery-{code}", self.recovery.run()),
            (f"echoes-{code}", self.echoes.run()),
        ]
        if self.auditor is not None:
            found.append((f"auditor-{code}", self.auditor.run()))
        if self.mail is not None:
            found.append((f"receipts-{code}", self.mail.receipts.run()))
            found.append((f"webhooks-{code}", self.mail.webhooks.run()))
        return found

    def look(self) -> BooksSeen:
        """Return what only the books know now."""
        pending, oldest_ms = self.recovery.pending()
        totals = self.branch.wallets.totals()
        agents, able = self.soundings.agents()
        return BooksSeen(
            market=self.branch.market.code,
            pending=pending,
            oldest_ms=oldest_ms,
            float_minor={total.currency: total.agents_float for total in totals},
            issued={total.currency: total.issued for total in totals},
            trust={
                total.currency: self.bank.statement_balance(total.currency, total.trust)
                for total in totals
            },
            head=self.branch.desk.head,
            hung=self.recovery.hung(),
            breaches=int(self.auditor is not None and bool(self.auditor.breach)),
            fees=self.soundings.fees(),
            held=self.recovery.held(),
            echoes=self.echoes.told(),
            agents=agents,
            agents_able=able,
            clock=to_micros(self.clock.now()),
        )

    async def close(self) -> None:
        """Answer what is queued, write a checkpoint, close every file, whatever one of them meets."""
        async with AsyncExitStack() as last_first:
            last_first.callback(self.store.close)
            last_first.callback(self.ledger.close)
            last_first.push_async_callback(self._close_desk)
            if self.mail is not None:
                last_first.push_async_callback(self.mail.close)
            last_first.callback(self.outgoing.close)
            last_first.push_async_callback(self.recovery.close)

    async def _close_desk(self) -> None:
        with suppress(Fault):  # a checkpoint only shortens the next start
            await self.branch.desk.close()


def open_house(
    market: Market,
    *,
    config: Config,
    clock: Clock,
    keys: Keys,
    signals: Signals,
    switches: Switches,
    texts: Texts,
    take_over: bool = False,
    has_mail: bool = True,
    progress: Progress = lambda _: None,
) -> House:
    """Open a market's journal and tables and join its parts. Raise one of SHUT where that fails.

    `progress` is told now and then how much of a long journal is read.

    `take_over` fences off a writer whose lease still runs, on a database server. Without its mail
    the receipts are for another process to carry.
    """
    store = PartyStore(
        open_sql(config, "parties", market=market.code),
        market=market,
        clock=clock,
        pin_key=keys.pin_of(market.code),
    )
    told = Reading(clock, progress)
    ledger = open_ledger(config, market.code, clock, take_over=take_over, progress=told.books)
    desk = Desk(
        market=market,
        directory=store,
        ledger=ledger,
        clock=clock,
        signals=signals,
        switches=switches,
        mark_key=keys.mark,
        progress=told.limits,
    )
    outgoing = Outgoing(market, where=config, clock=clock)
    branch = Branch(
        market=market,
        directory=store,
        desk=desk,
        wallets=Wallets(market=market, ledger=ledger),
        webhooks=Webhooks(
            outgoing.tables,
            market=market.code,
            key=keys.pin_of(market.code),
            clock=clock,
            is_open=not config.is_production,
        ),
    )
    mail = None
    if has_mail:
        mail = open_mail(
            market,
            where=config,
            clock=clock,
            directory=store,
            purses=_SettledPurses(desk, branch.wallets),
            feed=desk,
            texts=texts,
            signals=signals,
            pace=Pace(),
            is_out=partial(switches.is_route_out, market.code),
            key=keys.pin_of(market.code),
            may_be_private=not config.is_production,
        )
    airtime = SimulatedAirtime(name="simulated", clock=clock, seed=market.code)
    rest = partial(time.sleep, REST_S)
    noticing = Noticing(
        market=market,
        ledger=ledger,
        directory=store,
        texts=texts,
        outbox=outgoing.tables,
        mark=desk.mark,
        clock=clock,
        pause=rest,
    )
    making_good = MakingGood(
        desk=desk,
        directory=store,
        partner=airtime,
        wronged=Wronged(
            market=market,
            ledger=ledger,
            directory=store,
            find=desk.find,
            waiting=desk.waiting,
            mark=desk.mark,
            clock=clock,
            told_at=noticing.told_at,
            pause=rest,
        ),
        noticing=noticing,
        clock=clock,
    )
    return House(
        branch=branch,
        store=store,
        ledger=ledger,
        mail=mail,
        recovery=Recovery(desk=desk, airtime=airtime, clock=clock),
        airtime=airtime,
        bank=SimulatedBank(),
        making_good=making_good,
        echoes=Echoes({"airtime": airtime}, clock=clock),
        soundings=Soundings(
            market=market,
            feed=desk,
            directory=store,
            free=branch.wallets.free,
            clock=clock,
        ),
        clock=clock,
        outgoing=outgoing,
        auditor=(
            Auditor(ledger, market=market.code, clock=clock)
            if isinstance(ledger, Journal)
            else None
        ),
    )


def tell_books(centre: Centre, books: BooksSeen) -> None:
    """Tell the centre what a market's books say now."""
    centre.incidents.unknown(
        books.market,
        [Hanging(order=each.order, product=each.product, since=each.since) for each in books.hung],
    )
    centre.telemetry.gauge(
        books.market,
        pending=books.pending,
        oldest_ms=books.oldest_ms,
        float_minor=books.float_minor,
        issued=books.issued,
        trust=books.trust,
        head=books.head,
    )
    board = centre.telemetry.board
    board.gauge(books.market, "breaches", "auditor", books.breaches)
    for fees in books.fees:
        board.fees(books.market, fees)
    for held in books.held:
        board.held(books.market, held)
    for echo in books.echoes:
        centre.telemetry.echo(books.market, echo)
    if books.agents:
        able = 1000 * books.agents_able // books.agents
        board.gauge(books.market, "agents_able_permille", books.market, able)
    if books.clock:
        centre.telemetry.clock_told(books.market, books.clock)


class Checkpoints:
    """Writes a market's checkpoint now and then, where enough has been booked since the last."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._saved_at: dict[str, int] = {}

    async def run(self, houses: Iterable[House]) -> None:
        """Write them until cancelled. A checkpoint that fails is told and tried again later."""
        while True:
            await self._clock.sleep(SAVE_EVERY_S)
            for house in list(houses):
                await self._save(house.branch)

    async def _save(self, branch: Branch) -> None:
        code, head = branch.market.code, branch.desk.head
        if head - self._saved_at.get(code, 0) < LINES_WORTH_SAVING:
            return
        try:
            await asyncio.to_thread(branch.desk.save)
            self._saved_at[code] = head
        except Fault as cause:
            log.warning("house.checkpoint.failed", market=code, cause=str(cause))


class Background:
    """What works beside the answering of requests, begun by name and ended together."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Start a part, inside a running loop; that it ended by itself is logged as an error."""
        task: asyncio.Task[None] = asyncio.create_task(work, name=name)
        task.add_done_callback(_tell_if_died)
        self._tasks.append(task)

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _tell_if_died(task: asyncio.Task[None]) -> None:
    """Log the end of a background part: none ever ends by itself."""
    if not task.cancelled() and task.exception() is not None:
        log.error("house.part.died", part=task.get_name(), exc_info=task.exception())
