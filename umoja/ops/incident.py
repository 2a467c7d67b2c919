"""An incident as data: its stages, roles, tasks and review, and what may follow what. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

import msgspec

TASKS_MAX = 100
ACTIONS_MAX = 100
HANGING_MAX = 500
CAUSES_MAX = 20


class Stage(Enum):
    """How far the work on an incident has come. `MITIGATED`: the harm has stopped, the cause may not have."""

    INVESTIGATING = "investigating"
    IDENTIFIED = "identified"
    MITIGATED = "mitigated"
    RESOLVED = "resolved"
    REVIEWED = "reviewed"


_MAY_FOLLOW: Mapping[Stage, frozenset[Stage]] = {
    Stage.INVESTIGATING: frozenset({Stage.IDENTIFIED, Stage.MITIGATED, Stage.RESOLVED}),
    Stage.IDENTIFIED: frozenset({Stage.INVESTIGATING, Stage.MITIGATED, Stage.RESOLVED}),
    Stage.MITIGATED: frozenset({Stage.INVESTIGATING, Stage.RESOLVED}),
    Stage.RESOLVED: frozenset({Stage.INVESTIGATING, Stage.REVIEWED}),
    Stage.REVIEWED: frozenset(),
}


def may_follow(before: Stage, after: Stage) -> bool:
    """Tell whether an incident may go from one stage to the other."""
    return after in _MAY_FOLLOW[before]


def stages_after(stage: Stage) -> list[Stage]:
    """Return where an incident may go from here, in the order of the work."""
    return [each for each in Stage if each in _MAY_FOLLOW[stage]]


class Post(Enum):
    """A role in an incident. Each is held by one person at a time."""

    COMMANDER = "commander"
    COMMUNICATIONS = "communications"
    SCRIBE = "scribe"
    VENDOR_LIAISON = "vendor_liaison"


SEVERITIES = ((5_000, 1), (500, 2), (50, 3), (0, 4))
"""From how many customers on an incident has which severity; 1 is the gravest."""

SHARES = ((50, 1), (20, 2), (5, 3))
"""Per cent of a market's payments failing above expectation, and the severity it makes by itself.

A small market can lose everything without ever reaching many customers.
"""

AGENTS = ((200, 1), (50, 2), (10, 3))
"""Agents and merchants touched, and the severity that makes: each of them stands for a queue."""


def severity_of(
    *,
    customers: int,
    agents: int = 0,
    share_percent: int = 0,
    gravest: int = 1,
    is_money: bool = False,
) -> int:
    """Compute a severity, 1 to 4, from live impact; the gravest of what each figure says.

    `gravest` bounds it from below (a missing receipt is never as grave as a failed payment).
    `is_money`: the books themselves are in doubt, which is always 1.
    """
    if is_money:
        return 1
    said = [next(grade for least, grade in SEVERITIES if customers >= least)]
    said += [grade for least, grade in SHARES if share_percent >= least and customers > 0]
    said += [grade for least, grade in AGENTS if agents >= least]
    return max(gravest, min(said))


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """Something somebody does while the incident lasts. Times are microseconds; 0: not yet."""

    number: int
    what: str
    owner: str
    made_at: int
    done_at: int = 0
    done_by: str = ""


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """What the review decided, with its owner and its date (YYYY-MM-DD)."""

    number: int
    what: str
    owner: str
    due: str
    done_at: int = 0


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """What was learned."""

    summary: str = ""
    causes: str = ""
    went_well: str = ""
    went_badly: str = ""
    by: str = ""


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """The smallest thing that explains what moved: a vendor, a product, a channel, a release, a market."""

    kind: str
    name: str
    share_percent: int = 0  # of the excess failures that it explains


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """A step of the runbook that somebody has done (counted from 1), when, and what was seen."""

    step: int
    by: str
    at: int
    note: str = ""


class Sheet(msgspec.Struct, kw_only=True):
    """What people and the system have put down about one incident, apart from its timeline."""

    roles: dict[str, str] = {}
    tasks: list[Task] = []
    actions: list[Action] = []
    review: Review = Review()
    cause: Cause | None = None
    also: list[str] = []  # other detectors that see the same
    hanging: dict[str, str] = {}  # payments of unknown outcome, by order, and who owns each
    settled: int = 0  # how many that hung have found their end
    returns: int = 0  # how often the same came back
    agents: int = 0
    share_percent: int = 0
    children: list[str] = []
    changed: list[str] = []  # what had changed lately when it was opened
    remedies: list[str] = []
    ticks: list[Tick] = []  # of the detector's runbook


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One line of a timeline."""

    at: datetime
    actor: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One incident as it stands. Values are minor units by currency; None: has not happened."""

    id: str
    market: str
    product: str  # empty where several are touched, or none yet
    detector: str
    title: str
    stage: Stage
    severity: int  # 1, the gravest, to 4
    began_at: datetime  # when the trouble began, as the detector tells it
    opened_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str
    identified_at: datetime | None
    mitigated_at: datetime | None
    resolved_at: datetime | None
    reviewed_at: datetime | None
    payments: int
    value_minor: Mapping[str, int]
    customers: int
    timeline: tuple[Moment, ...]
    sheet: Sheet
    parent: str = ""

    @property
    def is_open(self) -> bool:
        return self.stage not in {Stage.RESOLVED, Stage.REVIEWED}

    @property
    def state(self) -> str:
        """Return the shortest word for it: open or resolved."""
        return "open" if self.is_open else "resolved"

    @property
    def is_taken(self) -> bool:
        """Tell whether a person works on it: then a person closes it."""
        return bool(self.acknowledged_by)

    @property
    def orphans(self) -> list[str]:
        """Return the payments of unknown outcome that nobody owns yet."""
        return [order for order, owner in self.sheet.hanging.items() if not owner]


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """How long the steps of one or of many incidents took (medians, in seconds); None: never happened."""

    incidents: int
    detect_s: int | None
    acknowledge_s: int | None
    mitigate_s: int | None
    restore_s: int | None


def times_of(incidents: list[Incident]) -> Times:
    """Return the median times to detect, acknowledge, mitigate and restore.

    Detection counts from the trouble's beginning; the others from the opening.
    """
    return Times(
        incidents=len(incidents),
        detect_s=_median([_seconds(i.began_at, i.opened_at) for i in incidents]),
        acknowledge_s=_median([_seconds(i.opened_at, i.acknowledged_at) for i in incidents]),
        mitigate_s=_median([_seconds(i.opened_at, i.mitigated_at) for i in incidents]),
        restore_s=_median([_seconds(i.opened_at, i.resolved_at) for i in incidents]),
    )


def _seconds(since: datetime, until: datetime | None) -> int | None:
    return None if until is None else max((until - since) // timedelta(seconds=1), 0)


def _median(values: list[int | None]) -> int | None:
    known = sorted(value for value in values if value is not None)
    return known[len(known) // 2] if known else None
