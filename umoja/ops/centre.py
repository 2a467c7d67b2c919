"""The centre: telemetry, the watch, incidents, staff and the audit log, opened on one file."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from threading import Event

import structlog

from umoja.clock import Clock, from_micros, to_micros
from umoja.faults import Busy, Fault
from umoja.markets.busy import busy_at
from umoja.markets.market import Market
from umoja.ops.alarms import Alarms
from umoja.ops.alert import Alert
from umoja.ops.audit import AuditLog
from umoja.ops.chronicle import Chronicle
from umoja.ops.days import Days
from umoja.ops.duty import Duty, Work, Works
from umoja.ops.incidents import Incidents
from umoja.ops.machines import Machines
from umoja.ops.make_good import Asker, MakeGood, nobody
from umoja.ops.notices import Notices
from umoja.ops.objectives import Objectives
from umoja.ops.otlp import Arrivals
from umoja.ops.paging import Console, Pager, Way
from umoja.ops.planned import PlannedWorks
from umoja.ops.regulators import Regulators
from umoja.ops.remedies import Remedies
from umoja.ops.second_factor import Required
from umoja.ops.silences import Silences
from umoja.ops.staff import FIRST, Staff
from umoja.ops.status_page import StatusPage
from umoja.ops.telemetry import CHANNELS, PRODUCTS, Expected, Telemetry
from umoja.ops.upkeep import Upkeep
from umoja.ops.usual import Usual
from umoja.ops.vendor_pages import VendorPages
from umoja.ops.watch import Watch
from umoja.storage.database import Database, DatabaseDamaged
from umoja.storage.migrate import migrate
from umoja.storage.port import Sql
from umoja.switches import Switches

WAIT_S = 1.0
"""How long another process may hold the file: the watch looks in the loop that serves pages."""

UNREADABLE: tuple[type[Exception], ...] = (Fault, DatabaseDamaged)
"""What reading and writing the centre's records raises where they cannot be had now."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Centre:
    """The operations plane, joined. It hears of payments and never holds one up."""

    telemetry: Telemetry
    watch: Watch
    incidents: Incidents
    staff: Staff
    audit: AuditLog
    duty: Duty
    pager: Pager
    remedies: Remedies
    objectives: Objectives
    alarms: Alarms
    silences: Silences
    planned: PlannedWorks
    machines: Machines
    upkeep: Upkeep
    arrivals: Arrivals
    vendor_pages: VendorPages
    status: StatusPage
    regulators: Regulators
    make_good: MakeGood
    notices: Notices
    _days: Days = field(repr=False)
    _usual: Usual | None = field(repr=False)
    _database: Sql = field(repr=False)
    _closed: Event = field(repr=False, default_factory=Event)

    def first_administrator(self) -> str | None:
        """Make the first administrator where there is no staff, and put her on call for everything.

        Return her password, told once, or None where there is staff already.
        """
        password = self.staff.first_administrator()
        if password is not None:
            self.duty.begin_with(FIRST)
        return password

    def close(self) -> None:
        """Write what is not written yet, and close the file. Closing twice is harmless."""
        if self._closed.is_set():
            return
        self._closed.set()
        try:
            self.alarms.keep()
            self.incidents.keep()
            self.objectives.keep()
            self.status.keep()
            self._days.keep(is_last=True)
            if self._usual is not None:
                self._usual.keep()
            entries, digest = self.audit.head()
            if self.telemetry.markets:  # not where somebody only looked into the file
                log.info("ops.audit.head", entries=entries, digest=digest)
        except UNREADABLE as cause:
            log.warning("ops.centre.unread", cause=str(cause))
        finally:
            self._database.close()


def _taken(alarms: Alarms, alerts: list[Alert]) -> None:
    """Take up what vendors announce; the next reading brings again what there is no room for now."""
    try:
        alarms.take_and_keep(alerts)
    except Busy as cause:
        log.warning("ops.vendor_pages.untold", cause=str(cause))


def _works_of(planned: PlannedWorks) -> Works:
    """Return what tells calendars of planned work."""

    def works(since: datetime, until: datetime) -> list[Work]:
        return [
            Work(
                number=work.number,
                market=work.market,
                what=work.what,
                starts=from_micros(stretch.starts_at),
                ends=from_micros(stretch.ends_at),
            )
            for work, stretch in planned.every(to_micros(since), to_micros(until))
        ]

    return works


def open_centre(
    where: Path | Sql,
    *,
    clock: Clock,
    markets: Sequence[Market],
    expected: Expected | None = None,
    learns_usual: bool = False,
    products: Collection[str] = PRODUCTS,
    channels: Collection[str] = CHANNELS,
    switches: Switches | None = None,
    ways: Mapping[str, Way] | None = None,
    address: str = "",
    ask: Asker = nobody,
    say: Callable[[str, str], str] = lambda _, text: text,
    staff_key: bytes = b"",
    second_factor: Required = Required.NOBODY,
) -> Centre:
    """Open the centre's file or make it, or take its tables; open incidents go on where they were.

    `expected` returns how many attempts a second are usual in a market at a moment; with
    `learns_usual` that is learned instead, on the curve of each market's days. Products and channels
    that are not named are counted as unknown. Remedies act through `switches`; pages go by `ways` (in
    the console without any), with links to `address`. `ask` asks a market whom a trouble wronged, and
    makes that good there. `say` says a page's English (second) in a language (first). `staff_key` is
    that of second factors (without it nobody can have one) and `second_factor` says who must. Raise
    Unavailable where the file cannot be used, DatabaseDamaged where it is broken.
    """
    database: Sql = Database(where, wait_s=WAIT_S) if isinstance(where, Path) else where
    try:
        migrate(database, "centre", clock)
        usual = Usual(database, clock=clock, markets=markets) if learns_usual else None
        telemetry = Telemetry(
            clock=clock,
            markets=markets,
            expected=expected if usual is None else usual.per_second,
            curve=None if usual is None else busy_at,
            products=products,
            channels=channels,
        )
        audit = AuditLog(database, clock=clock)
        incidents = Incidents(database, clock=clock, markets=markets)
        days = Days(database, telemetry=telemetry, clock=clock)
        objectives = Objectives(database, telemetry=telemetry, clock=clock)
        duty = Duty(database, clock=clock)
        pager = Pager(
            database,
            clock=clock,
            duty=duty,
            incidents=incidents,
            ways=ways or {"console": Console()},
            address=address,
            value=incidents.value,
            say=say,
        )
        incidents.listen(pager.heard)
        zones = {market.code: market.zones[0] for market in markets}
        silences = Silences(database, clock=clock, zone_of=zones.get)
        alarms = Alarms(
            database, clock=clock, incidents=incidents, silences=silences, markets=list(zones)
        )
        vendor_pages = VendorPages(
            database, clock=clock, markets=zones, take=lambda alerts: _taken(alarms, alerts)
        )
        planned = PlannedWorks(database, clock=clock, audit=audit, markets=markets)
        duty.works = _works_of(planned)
        watch = Watch(
            telemetry=telemetry,
            incidents=incidents,
            days=days,
            clock=clock,
            chronicle=Chronicle(database, board=telemetry.board, clock=clock),
            usual=usual,
            planned=planned.names,
            changed=lambda market, _: [*planned.changed(market), *vendor_pages.changed(market)],
        )
        staff = Staff(
            database,
            clock=clock,
            audit=audit,
            markets=[market.code for market in markets],
            key=staff_key,
            required=second_factor,
        )
        switches = Switches() if switches is None else switches
        machines = Machines(database, clock=clock, audit=audit)
        return Centre(
            telemetry=telemetry,
            watch=watch,
            incidents=incidents,
            staff=staff,
            audit=audit,
            duty=duty,
            pager=pager,
            remedies=Remedies(
                database,
                clock=clock,
                incidents=incidents,
                switches=switches,
            ),
            objectives=objectives,
            alarms=alarms,
            silences=silences,
            planned=planned,
            machines=machines,
            upkeep=Upkeep(database, board=telemetry.board, machines=machines, clock=clock),
            arrivals=Arrivals(clock),
            vendor_pages=vendor_pages,
            status=StatusPage(
                database,
                clock=clock,
                telemetry=telemetry,
                incidents=incidents,
                audit=audit,
                markets=markets,
                planned=lambda *asked: watch.planned(*asked),  # noqa: PLW0108  it may be replaced
                works=planned.between,
                address=address,
            ),
            regulators=Regulators(
                database,
                clock=clock,
                incidents=incidents,
                audit=audit,
                markets=markets,
                remind=lambda incident, clock, mark, due: pager.remind_inside(
                    incident,
                    clock=clock.number,
                    mark=mark,
                    recipient=clock.body.recipient,
                    due_at=clock.due_at,
                    due=due,
                ),
                settle=pager.forget_inside,
            ),
            make_good=MakeGood(
                database,
                clock=clock,
                incidents=incidents,
                staff=staff,
                audit=audit,
                markets=markets,
                ask=ask,
            ),
            notices=Notices(
                database,
                clock=clock,
                incidents=incidents,
                staff=staff,
                audit=audit,
                switches=switches,
                ask=ask,
            ),
            _days=days,
            _usual=usual,
            _database=database,
        )
    except BaseException:
        database.close()
        raise
