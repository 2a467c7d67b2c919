"""Regulators' clocks: within how many hours an incident has to be told to whom, and whether it was.

A clock begins when an incident meets the condition of a rule that the market's pack has, once for
each rule. What has begun does not lapse: it ends when a notice was sent, or when a person says with a
reason that none is required.
"""

import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import msgspec
import structlog

from umoja.clock import Clock, from_micros, to_micros
from umoja.faults import Fault
from umoja.markets.market import Market, Notice, NoticeRule
from umoja.ops.audit import AuditLog
from umoja.ops.incident import Incident
from umoja.ops.incidents import Incidents
from umoja.ops.service_state import is_whole
from umoja.storage.port import NUMBER_MAX, DatabaseDamaged, Row, Sql

BROWSE_MAX = 200
TEXT_MAX = 500
REFERENCE_MAX = 80
SLACK = timedelta(minutes=1)
"""Clocks differ by so much, and people give the minute only."""

HALF, LAST_QUARTER, OVERDUE = 1, 2, 3
_MICROSECOND = timedelta(microseconds=1)
_HOUR = timedelta(hours=1) // _MICROSECOND

log = structlog.get_logger()


class ClockUnknown(LookupError):
    """There is no clock of this number."""


class ClockRefused(ValueError):
    """A clock cannot be ended so. It says why, in a sentence for people."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A regulator's rule as it stood when a clock began."""

    scope: str
    hours: int
    recipient: str
    form: str
    detail: str
    standing: str
    source: str
    as_of: str


class RegulatorClock(msgspec.Struct, frozen=True, kw_only=True):
    """A duty to tell a regulator of an incident. Microseconds; 0: it has not happened."""

    number: int
    incident: str
    market: str
    rule: str
    body: Rule
    began_at: int
    counts_from: int
    due_at: int
    warned: int = 0
    sent_at: int = 0
    sent_by: str = ""
    reference: str = ""
    waived_at: int = 0
    waived_by: str = ""
    reason: str = ""

    @property
    def is_running(self) -> bool:
        return not self.sent_at and not self.waived_at

    @property
    def was_late(self) -> bool:
        return self.sent_at > self.due_at

    def left_s(self, now: int) -> int:
        """Return seconds until the notice is due; below nought it is overdue."""
        return (self.due_at - now) // 1_000_000

    def stage(self, now: int) -> int:
        """Return how far its time has gone: 0, HALF, LAST_QUARTER or OVERDUE."""
        whole, left = self.due_at - self.counts_from, self.due_at - now
        if left <= 0:
            return OVERDUE
        return LAST_QUARTER if left * 4 <= whole else HALF if left * 2 <= whole else 0


Remind = Callable[[Incident, RegulatorClock, int, str], None]


def applies(rule: NoticeRule, incident: Incident, *, now: datetime) -> bool:
    """Tell whether an incident as it stands now meets a rule's condition."""
    is_grave = incident.severity <= rule.severity
    is_long = now - incident.opened_at >= timedelta(minutes=rule.minutes)
    return is_grave and is_long and (rule.scope is Notice.PROVIDER or is_whole(incident))


class Regulators:
    """Keeps the clocks. Calls may come from any thread; acts of staff raise a Fault if not written."""

    def __init__(
        self,
        database: Sql,
        *,
        clock: Clock,
        incidents: Incidents,
        audit: AuditLog,
        markets: Sequence[Market],
        remind: Remind = lambda *_: None,
        settle: Callable[[Sequence[int]], None] = lambda _: None,
    ) -> None:
        """Take a migrated database; clocks that run go on.

        `remind` is given the incident, the clock, its mark and when it is due, as people read it,
        when the last quarter of a clock's time begins and when it is over: inside the transaction in
        which that is noted, so that it happens once whatever is killed. `settle` is given the clocks
        that have ended, inside their transaction.
        """
        self._database = database
        self._clock = clock
        self._incidents = incidents
        self._audit = audit
        self._markets = {market.code: market for market in markets}
        self._remind = remind
        self._settle = settle
        self._lock = threading.Lock()
        self._begun: dict[tuple[str, str], RegulatorClock] = {
            (each.incident, each.rule): each for each in self.running()
        }
        self._met: dict[tuple[str, str], RegulatorClock] = {}  # begun, and not yet written
        self._is_troubled = False

    def has_rules(self, market: str) -> bool:
        """Tell whether any rule is on record for a market."""
        found = self._markets.get(market)
        return found is not None and bool(found.notices)

    # Reading

    def running(self) -> list[RegulatorClock]:
        """Return every clock that runs, the next one due first."""
        rows = self._database.query(
            "SELECT * FROM regulator_clocks WHERE sent_at = 0 AND waived_at = 0"
            " ORDER BY due_at, number LIMIT 1000"
        )
        return [_clock(row) for row in rows]

    def ended(self) -> list[RegulatorClock]:
        """Return clocks that have ended, the youngest first, at most 200."""
        rows = self._database.query(
            "SELECT * FROM regulator_clocks WHERE sent_at > 0 OR waived_at > 0"
            " ORDER BY number DESC LIMIT :limit",
            limit=BROWSE_MAX,
        )
        return [_clock(row) for row in rows]

    def of_incident(self, incident: str) -> list[RegulatorClock]:
        """Return an incident's clocks, the next one due first."""
        rows = self._database.query(
            "SELECT * FROM regulator_clocks WHERE incident = :incident ORDER BY due_at, number",
            incident=incident,
        )
        return [_clock(row) for row in rows]

    def get(self, number: int) -> RegulatorClock:
        """Return one. Raise ClockUnknown."""
        row = None
        if 0 < number <= NUMBER_MAX:
            row = self._database.one(
                "SELECT * FROM regulator_clocks WHERE number = :number", number=number
            )
        if row is None:
            raise ClockUnknown(f"there is no clock {number}")
        return _clock(row)

    # Looking

    def look(self) -> None:
        """Begin the clocks whose conditions are met, and warn of those that run out. Raises nothing.

        What cannot be written now is remembered, and written at the next look.
        """
        try:
            now = self._clock.now()
            opened = self._incidents.open_ones()
            for incident in opened:
                self._judge(incident, now)
            self._write_met()
            for found in list(self._begun.values()):
                self._say(found, to_micros(now))
            names = {each.id for each in opened}
            with self._lock:
                self._begun = {
                    key: each
                    for key, each in self._begun.items()
                    if each.is_running or each.incident in names
                }
            self._is_troubled = False
        except (Fault, DatabaseDamaged) as cause:
            if not self._is_troubled:
                log.error("ops.regulators.unwritten", cause=str(cause))  # noqa: TRY400  expected
            self._is_troubled = True
        except Exception:
            log.exception("ops.regulators.bug")

    def _judge(self, incident: Incident, now: datetime) -> None:
        market = self._markets.get(incident.market)
        for rule in market.notices if market is not None else ():
            key = incident.id, rule.id
            if key in self._met or key in self._begun:
                continue
            is_in_force = market is not None and rule.period.holds(
                market.business_day(incident.opened_at)
            )
            if is_in_force and applies(rule, incident, now=now):
                self._met[key] = _begun(rule, incident, now)

    def _write_met(self) -> None:
        for key, met in list(self._met.items()):
            with self._lock:
                before = self._found(met)
                made = before or self._written(met)
                self._begun[key] = made
            del self._met[key]
            if before is None:
                self._incidents.tell(
                    made.incident,
                    what=f"regulator clock: {made.body.recipient} is to be told by"
                    f" {self._at(made.market, made.due_at)} ({made.body.hours} h,"
                    f" known from {made.body.standing})",
                )

    def _found(self, met: RegulatorClock) -> RegulatorClock | None:
        row = self._database.one(
            "SELECT * FROM regulator_clocks WHERE incident = :incident AND rule = :rule",
            incident=met.incident,
            rule=met.rule,
        )
        return None if row is None else _clock(row)

    def _written(self, met: RegulatorClock) -> RegulatorClock:
        with self._database.transaction():
            rows = self._database.query(
                "INSERT INTO regulator_clocks (incident, market, rule, body, began_at, counts_from,"
                " due_at, warned, sent_at, sent_by, reference, waived_at, waived_by, reason)"
                " VALUES (:incident, :market, :rule, :body, :began_at, :counts_from, :due_at,"
                " 0, 0, '', '', 0, '', '') RETURNING number",
                incident=met.incident,
                market=met.market,
                rule=met.rule,
                body=msgspec.json.encode(met.body).decode(),
                began_at=met.began_at,
                counts_from=met.counts_from,
                due_at=met.due_at,
            )
        return msgspec.structs.replace(met, number=int(rows[0]["number"]))

    def _say(self, found: RegulatorClock, now: int) -> None:
        """Warn once at each stage, in the timeline; in the last quarter page as well."""
        stage = found.stage(now)
        if not found.is_running or stage <= found.warned:
            return
        due = self._at(found.market, found.due_at)
        incident = self._incidents.get(found.incident)  # before the transaction: it has a lock too
        with self._lock:
            with self._database.transaction():
                noted = self._database.run(
                    "UPDATE regulator_clocks SET warned = :stage WHERE number = :number"
                    " AND warned < :stage AND sent_at = 0 AND waived_at = 0",
                    stage=stage,
                    number=found.number,
                )
                if noted and stage >= LAST_QUARTER and incident is not None:
                    self._remind(incident, found, stage, due)
            self._learn(found.incident)
        if not noted:
            return
        word = {
            HALF: f"half of the time has gone, the notice is due by {due}",
            LAST_QUARTER: f"the last quarter of the time has begun, the notice is due by {due}",
            OVERDUE: f"the notice was due by {due} and is not recorded as sent",
        }[stage]
        self._incidents.tell(
            found.incident, what=f"regulator clock: {found.body.recipient}, {word}"
        )
        if stage >= LAST_QUARTER:
            log.warning("ops.regulators.due", incident=found.incident, clock=found.number)

    # What staff do

    def sent(
        self, number: int, *, reference: str, actor: str, at: datetime | None = None
    ) -> RegulatorClock:
        """Record that a notice was sent, when and under which reference.

        One notice ends all of the incident's clocks to the same recipient. Repeating it changes
        nothing. Raise ClockUnknown, ClockRefused.
        """
        said = " ".join(reference.split())
        if not said or len(said) > REFERENCE_MAX or not said.isprintable():
            raise ClockRefused(
                f"give the reference of the notice, {REFERENCE_MAX} characters at most"
            )
        when = self._clock.now() if at is None else at
        with self._lock:
            found = self.get(number)
            if found.sent_at and found.reference == said:
                return found
            if not found.is_running:
                raise ClockRefused(_ended(found))
            if when > self._clock.now() + SLACK:
                raise ClockRefused("a notice cannot have been sent later than now")
            if when <= from_micros(found.counts_from) - SLACK:
                raise ClockRefused("a notice cannot have been sent before the incident was noticed")
            when = max(when, from_micros(found.counts_from))
            with self._database.transaction():
                mine = [
                    each
                    for each in self.of_incident(found.incident)
                    if each.is_running and each.body.recipient == found.body.recipient
                ]
                for each in mine:
                    self._database.run(
                        "UPDATE regulator_clocks SET sent_at = :at, sent_by = :actor,"
                        " reference = :reference WHERE number = :number",
                        at=to_micros(when),
                        actor=actor,
                        reference=said,
                        number=each.number,
                    )
                self._settle([each.number for each in mine])
                self._audit.record_inside(
                    actor=actor,
                    action="regulator_told",
                    market=found.market,
                    detail=f"{found.incident}, {found.body.recipient}, reference {said}",
                )
            self._learn(found.incident)
        self._incidents.tell(
            found.incident,
            what=f"regulator clock: notice to {found.body.recipient} sent at"
            f" {self._at(found.market, to_micros(when))}, reference {said}",
            actor=actor,
        )
        return self.get(number)

    def not_required(self, number: int, *, reason: str, actor: str) -> RegulatorClock:
        """End a clock because no notice is required, with the reason. Repeating changes nothing.

        Raise ClockUnknown, ClockRefused.
        """
        why = " ".join(reason.split())
        if not why or len(why) > TEXT_MAX or not why.isprintable():
            raise ClockRefused(f"say why no notice is required, in {TEXT_MAX} characters at most")
        with self._lock:
            found = self.get(number)
            if found.waived_at and found.reason == why:
                return found
            if not found.is_running:
                raise ClockRefused(_ended(found))
            with self._database.transaction():
                self._database.run(
                    "UPDATE regulator_clocks SET waived_at = :now, waived_by = :actor,"
                    " reason = :why WHERE number = :number",
                    now=to_micros(self._clock.now()),
                    actor=actor,
                    why=why,
                    number=number,
                )
                self._settle([number])
                self._audit.record_inside(
                    actor=actor,
                    action="regulator_waived",
                    market=found.market,
                    detail=f"{found.incident}, {found.body.recipient}: {why}",
                )
            self._learn(found.incident)
        self._incidents.tell(
            found.incident,
            what=f"regulator clock: no notice to {found.body.recipient} is required: {why}",
            actor=actor,
        )
        return self.get(number)

    # Within

    def _learn(self, incident: str) -> None:
        """Take up how an incident's clocks stand: what has ended does not begin again."""
        for each in self.of_incident(incident):
            self._begun[each.incident, each.rule] = each

    def _at(self, code: str, micros: int) -> str:
        market = self._markets.get(code)
        at = from_micros(micros)
        if market is None:
            return f"{at:%Y-%m-%d %H:%M} UTC"
        return f"{market.local(at):%Y-%m-%d %H:%M} local time"


def _begun(rule: NoticeRule, incident: Incident, now: datetime) -> RegulatorClock:
    """Return a new clock. It counts from when the centre noticed, whatever made it grave later."""
    counts_from = to_micros(incident.opened_at)
    return RegulatorClock(
        number=0,
        incident=incident.id,
        market=incident.market,
        rule=rule.id,
        body=Rule(
            scope=rule.scope.value,
            hours=rule.hours,
            recipient=rule.recipient,
            form=rule.form,
            detail=rule.detail,
            standing=rule.standing.value,
            source=rule.source.what,
            as_of=rule.source.as_of,
        ),
        began_at=to_micros(now),
        counts_from=counts_from,
        due_at=counts_from + rule.hours * _HOUR,
    )


def _ended(found: RegulatorClock) -> str:
    if found.sent_at:
        return f"{found.sent_by} recorded a notice already, reference {found.reference}"
    return f"{found.waived_by} said already that no notice is required"


def _clock(row: Row) -> RegulatorClock:
    return msgspec.convert(dict(row) | {"body": msgspec.json.decode(row["body"])}, RegulatorClock)
