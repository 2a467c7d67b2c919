"""Remedies: what can be done about an incident at once, by a person or by the system within limits.

Each acts through the switches: it takes a product, a partner or a route out of use in one market, and
undoing it puts that back. What the system may do by itself somebody has allowed, for a market, so
many times a day, until a date.
"""

from dataclasses import dataclass
from datetime import timedelta

import msgspec
import structlog

from umoja.clock import Clock, to_micros
from umoja.faults import Fault
from umoja.ops.incident import Incident
from umoja.ops.incidents import SYSTEM, Incidents
from umoja.ops.runbook import runbook_of
from umoja.ops.service_state import RECEIPTS
from umoja.storage.port import DatabaseDamaged, Row, Sql
from umoja.switches import Switches

ALLOWED_MOST = 20  # a day
ALLOWED_FOR_MOST = timedelta(days=92)
_MICROSECOND = timedelta(microseconds=1)
_DAY = timedelta(days=1) // _MICROSECOND

log = structlog.get_logger()


class RemedyRefused(ValueError):
    """A remedy cannot be carried out, allowed or undone. It says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """One kind of remedy. `of` is the kind of cause that it fits; `prefix` stands before its target."""

    name: str
    says: str
    of: frozenset[str]
    prefix: str


REMEDIES = {
    each.name: each
    for each in (
        Remedy(
            name="switch_route",
            says="take the SMS route {target} out of use: texts go by the other one",
            of=frozenset({"vendor", "route"}),
            prefix="route:",
        ),
        Remedy(
            name="open_circuit",
            says="open the circuit to {target}: its orders are refused at once",
            of=frozenset({"vendor", "partner"}),
            prefix="partner:",
        ),
        Remedy(
            name="roll_back_tariff",
            says="take the tariff {target} back to the row before",
            of=frozenset({"release", "tariff"}),
            prefix="tariff:",
        ),
        Remedy(
            name="stop_product",
            says="stop {target}",
            of=frozenset({"product", "release"}),
            prefix="",
        ),
        Remedy(
            name="stop_market",
            says="stop every product of the market",
            of=frozenset({"market", "ledger", "trust"}),
            prefix="",
        ),
    )
}


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """What the system may do by itself. Times are microseconds."""

    remedy: str
    market: str
    most_a_day: int
    ends_at: int
    allowed_by: str
    allowed_at: int


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """A remedy that was carried out. Times are microseconds; `undone_at` 0: it still holds."""

    number: int
    incident: str
    remedy: str
    market: str
    target: str
    done_by: str
    allowed_by: str
    done_at: int
    undone_by: str
    undone_at: int

    @property
    def says(self) -> str:
        return REMEDIES[self.remedy].says.format(target=self.target)


def target_of(remedy: Remedy, incident: Incident) -> str:
    """Return what a remedy would act on in this incident, or '' where its cause does not say."""
    cause = incident.sheet.cause
    # A vendor may carry texts or take orders: which of the two, the detector knows.
    if remedy.name == ("open_circuit" if incident.detector in RECEIPTS else "switch_route"):
        return ""
    if remedy.name == "stop_market":
        of_runbook = {step.remedy for step in runbook_of(incident.detector).steps}
        is_of_all = cause is not None and cause.kind in remedy.of
        return "*" if is_of_all or remedy.name in of_runbook else ""
    if cause is not None and cause.kind in remedy.of:
        return cause.name
    return incident.product if remedy.name == "stop_product" else ""


def offered(incident: Incident) -> list[tuple[Remedy, str]]:
    """Return the remedies that fit an incident, with their targets; those of its runbook first."""
    of_runbook = [step.remedy for step in runbook_of(incident.detector).steps if step.remedy]
    names = dict.fromkeys([*of_runbook, *REMEDIES])
    found = [(REMEDIES[name], target_of(REMEDIES[name], incident)) for name in names]
    return [(remedy, target) for remedy, target in found if target]


class Remedies:
    """Carries remedies out. Calls may come from any thread.

    A remedy is written down before it acts: after a kill in between it is carried out again, which is
    harmless. Carrying out what holds already changes nothing.
    """

    def __init__(
        self, database: Sql, *, clock: Clock, incidents: Incidents, switches: Switches
    ) -> None:
        """Take a migrated database, and act again on what was not undone."""
        self._database = database
        self._clock = clock
        self._incidents = incidents
        self._switches = switches
        for each in self.holding():
            self._act(each)

    # Reading

    def of_incident(self, incident: str) -> list[Done]:
        """Return what was carried out for an incident, oldest first."""
        rows = self._database.query(
            "SELECT * FROM remedies WHERE incident = :incident ORDER BY number LIMIT 200",
            incident=incident,
        )
        return [_done(row) for row in rows]

    def holding(self) -> list[Done]:
        """Return every remedy that was not undone, oldest first."""
        rows = self._database.query(
            "SELECT * FROM remedies WHERE undone_at = 0 ORDER BY number LIMIT 1000"
        )
        return [_done(row) for row in rows]

    def allowances(self) -> list[Allowance]:
        """Return what the system may do by itself now."""
        rows = self._database.query(
            "SELECT * FROM allowances WHERE ends_at > :now ORDER BY market, remedy",
            now=to_micros(self._clock.now()),
        )
        return [msgspec.convert(dict(row), Allowance) for row in rows]

    # Allowing

    def allow(
        self, remedy: str, *, market: str, most_a_day: int, days: int, actor: str
    ) -> Allowance:
        """Allow the system a remedy in one market. Raise RemedyRefused."""
        if remedy not in REMEDIES:
            raise RemedyRefused(f"there is no remedy {remedy[:40]}")
        if not 1 <= most_a_day <= ALLOWED_MOST:
            raise RemedyRefused(f"once to {ALLOWED_MOST} times a day")
        if not 1 <= days <= ALLOWED_FOR_MOST.days:
            raise RemedyRefused(f"for one to {ALLOWED_FOR_MOST.days} days; then it is asked again")
        now = to_micros(self._clock.now())
        made = Allowance(
            remedy=remedy,
            market=market,
            most_a_day=most_a_day,
            ends_at=now + days * _DAY,
            allowed_by=actor,
            allowed_at=now,
        )
        self._database.run(
            "INSERT INTO allowances (remedy, market, most_a_day, ends_at, allowed_by, allowed_at)"
            " VALUES (:remedy, :market, :most_a_day, :ends_at, :allowed_by, :allowed_at)"
            " ON CONFLICT (remedy, market) DO UPDATE SET most_a_day = excluded.most_a_day,"
            " ends_at = excluded.ends_at, allowed_by = excluded.allowed_by,"
            " allowed_at = excluded.allowed_at",
            **msgspec.structs.asdict(made),
        )
        return made

    def forbid(self, remedy: str, *, market: str) -> None:
        """Take an allowance back at once; repeating is harmless."""
        self._database.run(
            "DELETE FROM allowances WHERE remedy = :remedy AND market = :market",
            remedy=remedy,
            market=market,
        )

    # Doing

    def carry_out(
        self, incident: Incident, remedy: str, *, target: str, actor: str, allowed_by: str = ""
    ) -> Done:
        """Carry a remedy out for an incident. Raise RemedyRefused, or a Fault where it was not kept."""
        kind = REMEDIES.get(remedy)
        if kind is None or not target:
            raise RemedyRefused("there is no such remedy for this incident")
        if target not in {found for each, found in offered(incident) if each is kind}:
            raise RemedyRefused(f"{target[:40]} is not what this incident is about")
        now = to_micros(self._clock.now())
        with self._database.transaction():
            row = self._database.one(
                "SELECT * FROM remedies WHERE remedy = :remedy AND market = :market"
                " AND target = :target AND undone_at = 0",
                remedy=remedy,
                market=incident.market,
                target=target,
            )
            if row is not None:
                return _done(row)
            rows = self._database.query(
                "INSERT INTO remedies (incident, remedy, market, target, done_by, allowed_by,"
                " done_at, undone_by, undone_at) VALUES (:incident, :remedy, :market, :target,"
                " :actor, :allowed_by, :now, '', 0) RETURNING *",
                incident=incident.id,
                remedy=remedy,
                market=incident.market,
                target=target,
                actor=actor,
                allowed_by=allowed_by or actor,
                now=now,
            )
            done = _done(rows[0])
        self._act(done)
        told = done.says if actor != SYSTEM else f"{done.says} (allowed by {allowed_by})"
        self._incidents.remedied(incident.id, told, actor=actor, is_mitigated=True)
        return done

    def undo(self, number: int, *, actor: str) -> Done:
        """Put back what a remedy took out of use; repeating is harmless. Raise RemedyRefused."""
        now = to_micros(self._clock.now())
        with self._database.transaction():
            row = self._database.one("SELECT * FROM remedies WHERE number = :number", number=number)
            if row is None:
                raise RemedyRefused(f"there is no remedy {number}")
            if row["undone_at"]:
                return _done(row)
            self._database.run(
                "UPDATE remedies SET undone_by = :actor, undone_at = :now WHERE number = :number",
                actor=actor,
                now=now,
                number=number,
            )
        done = _done(row)
        self._switches.open(market=done.market, product=_switch(done))
        self._incidents.tell(done.incident, what=f"undone: {done.says}", actor=actor)
        return msgspec.structs.replace(done, undone_by=actor, undone_at=now)

    def act_by_itself(self) -> list[Done]:
        """Carry out what is allowed for open incidents that have none yet. Raises nothing."""
        done = []
        try:
            allowances = {(each.remedy, each.market): each for each in self.allowances()}
            for incident in self._incidents.open_ones():
                name = runbook_of(incident.detector).first_remedy
                allowance = allowances.get((name, incident.market))
                if allowance is None or incident.sheet.remedies or not self._is_room(allowance):
                    continue
                if incident.detector == "echoes" and not incident.payments:
                    continue  # only echoes tell: what hurts nobody yet is not switched off unseen
                target = target_of(REMEDIES[name], incident)
                if target:
                    done.append(
                        self.carry_out(
                            incident,
                            name,
                            target=target,
                            actor=SYSTEM,
                            allowed_by=allowance.allowed_by,
                        )
                    )
        except (Fault, DatabaseDamaged, RemedyRefused) as cause:
            log.error("ops.remedies.not_done", cause=str(cause))  # noqa: TRY400  expected
        return done

    def _is_room(self, allowance: Allowance) -> bool:
        row = self._database.one(
            "SELECT count(*) FROM remedies WHERE remedy = :remedy AND market = :market"
            " AND done_by = :system AND done_at > :since",
            remedy=allowance.remedy,
            market=allowance.market,
            system=SYSTEM,
            since=to_micros(self._clock.now()) - _DAY,
        )
        return row is not None and int(row[0]) < allowance.most_a_day

    def _act(self, done: Done) -> None:
        self._switches.stop(
            market=done.market, product=_switch(done), reason=f"{done.incident}: {done.says}"
        )


def _switch(done: Done) -> str:
    return REMEDIES[done.remedy].prefix + done.target


def _done(row: Row) -> Done:
    return msgspec.convert(dict(row), Done)
