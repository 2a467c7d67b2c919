"""An incident as it is worked on in memory, and how it is written to the centre's tables and read."""

import copy
import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from umoja.clock import Clock, from_micros, to_micros
from umoja.ops.finding import Counts
from umoja.ops.impact import PERIOD_S, Impact
from umoja.ops.incident import Incident, Moment, Sheet, Stage
from umoja.storage.port import Row, Sql

MOMENTS_MAX = 500  # of one incident
NUMBER_DIGITS = 6

Key = tuple[str, str, str]
"""A market, a detector and its scope: who finds something."""


@dataclass(slots=True, kw_only=True)
class Work:
    """An incident as it is worked on."""

    number: int
    market: str
    detector: str
    scope: str
    counts: Counts
    title: str
    began_at: int
    opened_at: int
    impact: Impact  # of the periods before `taken_until`
    taken_until: int  # the first period of harm that is not in `impact` yet
    shown: Impact  # with the running period
    severity: int
    stage: Stage = Stage.INVESTIGATING
    acknowledged_at: int = 0
    acknowledged_by: str = ""
    identified_at: int = 0
    mitigated_at: int = 0
    resolved_at: int = 0
    reviewed_at: int = 0
    parent: int = 0
    sheet: Sheet = field(default_factory=Sheet)
    seen_by: set[Key] = field(default_factory=set)  # who finds it now
    moments: list[Moment] = field(default_factory=list)
    kept_moments: int = 0
    is_changed: bool = True

    @property
    def is_ended(self) -> bool:
        return self.stage in {Stage.RESOLVED, Stage.REVIEWED}

    def say(self, at: int, actor: str, what: str) -> None:
        """Add a line to the timeline. A full one takes no more, whoever speaks."""
        self.is_changed = True
        if len(self.moments) < MOMENTS_MAX:
            self.moments.append(Moment(at=from_micros(at), actor=actor, what=what))

    def go(self, stage: Stage, at: int) -> None:
        """Go to a stage and note when; going back forgets that the harm had stopped."""
        self.stage = stage
        self.is_changed = True
        match stage:
            case Stage.INVESTIGATING:
                self.mitigated_at = self.resolved_at = 0
            case Stage.IDENTIFIED:
                self.identified_at = self.identified_at or at
            case Stage.MITIGATED:
                self.mitigated_at = at
            case Stage.RESOLVED:
                self.mitigated_at = self.mitigated_at or at
                self.resolved_at = at
            case Stage.REVIEWED:
                self.reviewed_at = at

    def copied(self) -> "Work":
        """Return a copy that may be changed without the original."""
        made = copy.copy(self)
        made.moments = list(self.moments)
        made.seen_by = set(self.seen_by)
        made.sheet = msgspec.convert(msgspec.to_builtins(self.sheet), Sheet)
        return made


def shown(work: Work) -> Incident:
    """Return what others may see of it."""
    return Incident(
        id=id_of(work.number),
        market=work.market,
        product=_product(work),
        detector=work.detector,
        title=work.title,
        stage=work.stage,
        severity=work.severity,
        began_at=from_micros(work.began_at),
        opened_at=from_micros(work.opened_at),
        acknowledged_at=_when(work.acknowledged_at),
        acknowledged_by=work.acknowledged_by,
        identified_at=_when(work.identified_at),
        mitigated_at=_when(work.mitigated_at),
        resolved_at=_when(work.resolved_at),
        reviewed_at=_when(work.reviewed_at),
        payments=work.shown.payments,
        value_minor=dict(work.shown.value_minor),
        customers=work.shown.customers,
        timeline=tuple(work.moments),
        sheet=work.copied().sheet,
        parent=id_of(work.parent) if work.parent else "",
    )


def kept(database: Sql, work: Work) -> None:
    """Write an incident and what is new of its timeline, together."""
    values: dict[str, Any] = {
        "number": work.number,
        "market": work.market,
        "detector": work.detector,
        "scope": work.scope,
        "counts": work.counts.value,
        "product": _product(work),
        "title": work.title,
        "state": "resolved" if work.is_ended else "open",
        "stage": work.stage.value,
        "severity": work.severity,
        "began_at": work.began_at,
        "opened_at": work.opened_at,
        "acknowledged_at": work.acknowledged_at,
        "acknowledged_by": work.acknowledged_by,
        "identified_at": work.identified_at,
        "mitigated_at": work.mitigated_at,
        "resolved_at": work.resolved_at,
        "reviewed_at": work.reviewed_at,
        "payments": work.shown.payments,
        "customers": work.shown.customers,
        "value_minor": json.dumps(work.shown.value_minor, sort_keys=True),
        "impact": work.shown.kept(),
        "parent": work.parent,
        "sheet": msgspec.json.encode(work.sheet).decode(),
    }
    names = list(values)
    with database.transaction():
        database.run(
            f"INSERT INTO incidents ({', '.join(names)})"
            f" VALUES ({', '.join(f':{name}' for name in names)})"
            " ON CONFLICT (number) DO UPDATE SET "
            + ", ".join(f"{name} = excluded.{name}" for name in names if name not in _FIXED),
            **values,
        )
        _write_moments(database, work)
    work.kept_moments = len(work.moments)
    work.is_changed = False


def _write_moments(database: Sql, work: Work) -> None:
    database.run_many(
        "INSERT INTO moments (incident, place, at, actor, what)"
        " VALUES (:incident, :place, :at, :actor, :what)"
        " ON CONFLICT (incident, place) DO UPDATE SET"
        " at = excluded.at, actor = excluded.actor, what = excluded.what",
        [
            {
                "incident": work.number,
                "place": place,
                "at": to_micros(each.at),
                "actor": each.actor,
                "what": each.what,
            }
            for place, each in enumerate(work.moments)
            if place >= work.kept_moments
        ],
    )


def resumed(database: Sql, row: Row, clock: Clock) -> Work:
    """Return an incident as its row says; counting of harm goes on from now."""
    rows = database.query(
        "SELECT at, actor, what FROM moments WHERE incident = :number ORDER BY place",
        number=row["number"],
    )
    moments = [
        Moment(at=from_micros(each["at"]), actor=each["actor"], what=each["what"]) for each in rows
    ]
    return Work(
        number=row["number"],
        market=row["market"],
        detector=row["detector"],
        scope=row["scope"],
        counts=Counts(row["counts"]),
        title=row["title"],
        began_at=row["began_at"] or row["opened_at"],
        opened_at=row["opened_at"],
        impact=Impact.from_kept(row["impact"]),
        taken_until=to_micros(clock.now()) // 1_000_000 // PERIOD_S,
        shown=Impact.from_kept(row["impact"]),
        severity=row["severity"],
        stage=Stage(row["stage"]),
        acknowledged_at=row["acknowledged_at"],
        acknowledged_by=row["acknowledged_by"],
        identified_at=row["identified_at"],
        mitigated_at=row["mitigated_at"],
        resolved_at=row["resolved_at"],
        reviewed_at=row["reviewed_at"],
        parent=row["parent"],
        sheet=msgspec.json.decode(row["sheet"], type=Sheet),
        moments=moments,
        kept_moments=len(moments),
        is_changed=False,
    )


_FIXED = frozenset({"number", "market", "detector", "scope", "counts", "began_at", "opened_at"})
"""Columns that never change after the opening."""


def _product(work: Work) -> str:
    if work.scope:
        return work.scope
    touched = work.shown.products
    return next(iter(touched)) if len(touched) == 1 else ""


def _when(micros: int) -> datetime | None:
    return from_micros(micros) if micros else None


def id_of(number: int) -> str:
    return f"INC-{number:0{NUMBER_DIGITS}d}"
