"""Incidents: what went wrong, whom it touched, and its timeline; one for each episode of a finding.

Open incidents are held in memory and written behind: a disk that fails loses no incident while the
process runs, and what could not be written is written at the next look. After a kill an open
incident goes on where it was.
"""

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from umoja.clock import Clock, from_micros, to_micros
from umoja.faults import Fault
from umoja.markets.market import Market
from umoja.money import Money
from umoja.ops.finding import Counts, Finding
from umoja.ops.impact import PERIOD_S, Harm, Impact
from umoja.storage.database import Database, DatabaseDamaged, Row

SYSTEM = "system"
NOTE_MAX = 1_000
MOMENTS_MAX = 500  # of one incident
RECENT_MAX = 500
NUMBER_DIGITS = 6

STEPS = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
"""Customers at which the timeline says how far an incident has come."""

SEVERITIES = ((5_000, 1), (500, 2), (50, 3), (0, 4))
"""From how many customers on an incident has which severity; 1 is the gravest."""

GRAVEST = {Counts.PAYMENTS: 1, Counts.RECEIPTS: 2}
"""A receipt that is missing is never as grave as a payment that fails."""

log = structlog.get_logger()


class IncidentUnknown(LookupError):
    """There is no incident of this id."""


class NoteRefused(ValueError):
    """A note is empty, too long, or one too many. It says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One line of a timeline."""

    at: datetime
    actor: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One incident as it stands. Values are minor units by currency."""

    id: str
    market: str
    product: str  # empty where several are touched, or none yet
    detector: str
    title: str
    state: str  # open or resolved
    severity: int  # 1, the gravest, to 4
    opened_at: datetime
    resolved_at: datetime | None
    payments: int
    value_minor: Mapping[str, int]
    customers: int
    timeline: tuple[Moment, ...]


@dataclass(slots=True, kw_only=True)
class _Open:
    """An open incident as it is worked on."""

    number: int
    market: str
    detector: str
    scope: str
    counts: Counts
    title: str
    opened_at: int
    impact: Impact  # of the periods before `taken_until`
    taken_until: int  # the first period of harm that is not in `impact` yet
    shown: Impact  # with the running period
    severity: int
    resolved_at: int = 0
    moments: list[Moment] = field(default_factory=list)
    kept_moments: int = 0
    is_changed: bool = True

    def say(self, at: int, actor: str, what: str) -> None:
        """Add a line to the timeline; the last places are for the system's own."""
        self.moments.append(Moment(at=from_micros(at), actor=actor, what=what))
        self.is_changed = True


class Incidents:
    """Keeps incidents. Calls may come from any thread.

    What reads finished incidents or writes notes raises Unavailable where the file cannot be used;
    what the watch calls never does.
    """

    def __init__(self, database: Database, *, clock: Clock, markets: Sequence[Market]) -> None:
        """Take up a migrated file and the incidents that were open when it was left."""
        self._database = database
        self._clock = clock
        self._markets = {market.code: market for market in markets}
        self._lock = threading.RLock()
        self._open: dict[tuple[str, str, str], _Open] = {}
        self._ended: list[_Open] = []  # resolved, and not on the disk yet
        self._is_troubled = False
        row = database.one("SELECT coalesce(max(number), 0) FROM incidents")
        self._last_number = int(row[0]) if row else 0
        for each in database.query("SELECT * FROM incidents WHERE state = 'open'"):
            found = self._resumed(each)
            self._open[found.market, found.detector, found.scope] = found

    # Reading

    def open_ones(self) -> list[Incident]:
        """Return what is open now, the gravest first, then the oldest. Asks no file."""
        with self._lock:
            found = [self._shown(each) for each in self._open.values()]
        return sorted(found, key=lambda each: (each.severity, each.opened_at, each.id))

    def recent(self, *, limit: int = 50, market: str | None = None) -> list[Incident]:
        """Return incidents, newest first, at most 500; of one market where one is named."""
        with self._lock:
            rows = self._database.query(
                "SELECT * FROM incidents WHERE :market IS NULL OR market = :market"
                " ORDER BY number DESC LIMIT :limit",
                market=market,
                limit=max(0, min(limit, RECENT_MAX)),
            )
            in_memory = {
                each.number: self._shown(each)
                for each in (*self._open.values(), *self._ended)
                if market is None or each.market == market
            }
            kept = {int(row["number"]): row for row in rows}
            numbers = sorted(kept.keys() | in_memory.keys(), reverse=True)
            # A moment that is not on the disk yet stands in memory: memory goes before.
            return [
                in_memory[number] if number in in_memory else self._read(kept[number])
                for number in numbers[: max(0, limit)]
            ]

    def get(self, incident_id: str) -> Incident | None:
        """Return an incident by its id, or None."""
        number = _number(incident_id)
        if number is None:
            return None
        with self._lock:
            working = self._working(number)
            if working is not None:
                return self._shown(working)
            row = self._database.one(
                "SELECT * FROM incidents WHERE number = :number", number=number
            )
            return None if row is None else self._read(row)

    def is_open(self, market: str, detector: str) -> datetime | None:
        """Return since when a detector's incident is open in a market, or None. Asks no file."""
        with self._lock:
            for (code, name, _), each in self._open.items():
                if (code, name) == (market, detector):
                    return from_micros(each.opened_at)
        return None

    # Writing

    def note(self, incident_id: str, *, actor: str, what: str) -> Incident:
        """Add a person's words to the timeline, durably; also after the end.

        Raise IncidentUnknown, NoteRefused, or a Fault where it could not be written.
        """
        text = _clean(what)
        if not text:
            raise NoteRefused("a note says something")
        if len(text) > NOTE_MAX:
            raise NoteRefused(f"a note has at most {NOTE_MAX} characters")
        with self._lock:
            found = self.get(incident_id)
            if found is None:
                raise IncidentUnknown(f"there is no incident {incident_id[:20]}")
            if len(found.timeline) >= MOMENTS_MAX:
                raise NoteRefused("this timeline is full")
            number = _number(found.id)
            assert number is not None, "it was found by it"
            moment = Moment(at=self._clock.now(), actor=_clean(actor)[:80], what=text)
            working = self._working(number)
            if working is None:
                self._keep_moments(number, [moment], first=len(found.timeline))
            else:
                working.moments.append(moment)
                try:
                    self._keep(working)
                except Fault:
                    working.moments.remove(moment)  # it was not kept: the person may try again
                    raise
            after = self.get(incident_id)
        assert after is not None, "incidents are never removed"
        return after

    # For the watch

    def found(
        self, market: str, detector: str, finding: Finding, *, counts: Counts, harm: Harm
    ) -> None:
        """Open an incident for a new finding, or carry the one that is open further."""
        now = to_micros(self._clock.now())
        key = (market, detector, finding.product)
        with self._lock:
            working = self._open.get(key)
            if working is None:
                working = self._open[key] = self._begun(key, finding, counts=counts, now=now)
                log.warning("ops.incident.opened", incident=_id(working.number), market=market)
            self._count(working, harm, now)

    def quiet(self, market: str, detector: str) -> None:
        """Resolve what is open of a detector that finds nothing any more."""
        now = to_micros(self._clock.now())
        with self._lock:
            for key in [each for each in self._open if each[:2] == (market, detector)]:
                working = self._open.pop(key)
                working.resolved_at = now
                working.say(now, SYSTEM, f"resolved: {self._told(working.shown, market)}")
                self._ended.append(working)
                log.warning("ops.incident.resolved", incident=_id(working.number), market=market)

    def keep(self) -> None:
        """Write what has changed. What cannot be written now is written at the next call."""
        with self._lock:
            try:
                for working in [*self._ended, *self._open.values()]:
                    if working.is_changed or working.kept_moments < len(working.moments):
                        self._keep(working)
                    if working.resolved_at:
                        self._ended.remove(working)
            except (Fault, DatabaseDamaged) as cause:
                if not self._is_troubled:
                    log.error("ops.incidents.unwritten", cause=str(cause))  # noqa: TRY400  expected
                self._is_troubled = True
                return
            self._is_troubled = False

    # Within the lock

    def _begun(
        self, key: tuple[str, str, str], finding: Finding, *, counts: Counts, now: int
    ) -> _Open:
        market, detector, scope = key
        self._last_number += 1
        made = _Open(
            number=self._last_number,
            market=market,
            detector=detector,
            scope=scope,
            counts=counts,
            title=finding.title,
            opened_at=now,
            impact=Impact(),
            taken_until=finding.began_s // PERIOD_S,
            shown=Impact(),
            severity=4,
        )
        since = from_micros(finding.began_s * 1_000_000)
        made.say(now, SYSTEM, f"opened: {finding.evidence}, since {since:%H:%M:%S} UTC")
        return made

    def _count(self, working: _Open, harm: Harm, now: int) -> None:
        """Take the harm up that came since the last look, and say how far it has come."""
        running = now // 1_000_000 // PERIOD_S
        if running > working.taken_until:
            working.impact.merge(harm.between(working.taken_until, running - 1))
            working.taken_until = running
        before, working.shown = (
            working.shown,
            working.impact.with_more(harm.between(running, running + 1)),
        )
        if working.shown.payments == before.payments:
            return
        working.is_changed = True
        customers = working.shown.customers
        for step in STEPS:
            if before.customers < step <= customers:
                told = self._told(working.shown, working.market)
                working.say(now, SYSTEM, f"{step:,} customers passed: {told}")
        severity = max(
            GRAVEST[working.counts], next(s for least, s in SEVERITIES if customers >= least)
        )
        if severity < working.severity:
            working.say(now, SYSTEM, f"severity {working.severity} became {severity}")
            working.severity = severity

    def _told(self, impact: Impact, code: str) -> str:
        """Say an impact in a few words: 12 payments, KES 3,400.00, 11 customers."""
        market = self._markets.get(code)
        values = [
            market.written(Money(minor, currency))
            for currency, minor in sorted(impact.value_minor.items())
            if market is not None and market.currency(currency) is not None
        ]
        parts = [_counted(impact.payments, "payment"), *values]
        return ", ".join([*parts, _counted(impact.customers, "customer")])

    def _working(self, number: int) -> _Open | None:
        for each in (*self._open.values(), *self._ended):
            if each.number == number:
                return each
        return None

    def _shown(self, working: _Open) -> Incident:
        return Incident(
            id=_id(working.number),
            market=working.market,
            product=_product(working),
            detector=working.detector,
            title=working.title,
            state="resolved" if working.resolved_at else "open",
            severity=working.severity,
            opened_at=from_micros(working.opened_at),
            resolved_at=from_micros(working.resolved_at) if working.resolved_at else None,
            payments=working.shown.payments,
            value_minor=dict(working.shown.value_minor),
            customers=working.shown.customers,
            timeline=tuple(working.moments),
        )

    # The file

    def _keep(self, working: _Open) -> None:
        with self._database.transaction():
            self._database.run(
                "INSERT INTO incidents VALUES (:number, :market, :detector, :scope, :counts,"
                " :product, :title, :state, :severity, :opened_at, :resolved_at, :payments, :customers,"
                " :value_minor, :impact)"
                " ON CONFLICT (number) DO UPDATE SET product = :product, state = :state,"
                " severity = :severity, resolved_at = :resolved_at, payments = :payments,"
                " customers = :customers, value_minor = :value_minor, impact = :impact",
                number=working.number,
                market=working.market,
                detector=working.detector,
                scope=working.scope,
                counts=working.counts.value,
                product=_product(working),
                title=working.title,
                state="resolved" if working.resolved_at else "open",
                severity=working.severity,
                opened_at=working.opened_at,
                resolved_at=working.resolved_at,
                payments=working.shown.payments,
                customers=working.shown.customers,
                value_minor=json.dumps(working.shown.value_minor, sort_keys=True),
                impact=working.shown.kept(),
            )
            fresh = working.moments[working.kept_moments :]
            self._write_moments(working.number, fresh, first=working.kept_moments)
        working.kept_moments = len(working.moments)
        working.is_changed = False

    def _keep_moments(self, number: int, moments: Sequence[Moment], *, first: int) -> None:
        with self._database.transaction():
            self._write_moments(number, moments, first=first)

    def _write_moments(self, number: int, moments: Sequence[Moment], *, first: int) -> None:
        self._database.run_many(
            "INSERT INTO moments VALUES (:incident, :place, :at, :actor, :what)"
            " ON CONFLICT (incident, place) DO UPDATE SET at = :at, actor = :actor, what = :what",
            [
                {
                    "incident": number,
                    "place": first + place,
                    "at": to_micros(each.at),
                    "actor": each.actor,
                    "what": each.what,
                }
                for place, each in enumerate(moments)
            ],
        )

    def _read(self, row: Row) -> Incident:
        return Incident(
            id=_id(row["number"]),
            market=row["market"],
            product=row["product"],
            detector=row["detector"],
            title=row["title"],
            state=row["state"],
            severity=row["severity"],
            opened_at=from_micros(row["opened_at"]),
            resolved_at=from_micros(row["resolved_at"]) if row["resolved_at"] else None,
            payments=row["payments"],
            value_minor=json.loads(row["value_minor"]),
            customers=row["customers"],
            timeline=tuple(self._moments(row["number"])),
        )

    def _moments(self, number: int) -> list[Moment]:
        rows = self._database.query(
            "SELECT at, actor, what FROM moments WHERE incident = :number ORDER BY place",
            number=number,
        )
        return [
            Moment(at=from_micros(row["at"]), actor=row["actor"], what=row["what"]) for row in rows
        ]

    def _resumed(self, row: Row) -> _Open:
        moments = self._moments(row["number"])
        now = to_micros(self._clock.now())
        return _Open(
            number=row["number"],
            market=row["market"],
            detector=row["detector"],
            scope=row["scope"],
            counts=Counts(row["counts"]),
            title=row["title"],
            opened_at=row["opened_at"],
            impact=Impact.from_kept(row["impact"]),
            taken_until=now // 1_000_000 // PERIOD_S,
            shown=Impact.from_kept(row["impact"]),
            severity=row["severity"],
            moments=moments,
            kept_moments=len(moments),
            is_changed=False,
        )


def _product(working: _Open) -> str:
    if working.scope:
        return working.scope
    touched = working.shown.products
    return next(iter(touched)) if len(touched) == 1 else ""


def _id(number: int) -> str:
    return f"INC-{number:0{NUMBER_DIGITS}d}"


def _number(incident_id: str) -> int | None:
    head, _, digits = incident_id.partition("-")
    is_one = head == "INC" and digits.isascii() and digits.isdigit()
    if not is_one or not NUMBER_DIGITS <= len(digits) <= 15:
        return None
    return int(digits) if _id(int(digits)) == incident_id else None


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _clean(text: str) -> str:
    """Return text that can be kept and shown: no control characters, no broken letters."""
    sound = text.encode("utf-8", "replace").decode()
    kept = "".join(each if each.isprintable() or each == "\n" else " " for each in sound)
    return kept.strip()
