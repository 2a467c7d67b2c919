"""What detectors are given and what they give: facts in, a judgement out. Frozen, both of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from umoja.ops.board import Frame
from umoja.ops.incident import Cause

PERIOD_S = 5  # of messages that are judged together


class Counts(Enum):
    """Which signals an incident's impact is counted from."""

    RECEIPTS = "receipts"  # payments that went well, whose receipt did not arrive
    PAYMENTS = "payments"  # payments that failed
    PINS = "pins"  # payments that a wrong PIN was given for


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """Messages that were handed to a route in one period, and should have arrived by now.

    `judged` is how many there were, `missing` how many of them failed or are overdue.
    """

    began_s: int
    judged: int
    missing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a detector may know of one market. Seconds are since 1970.

    `due` is oldest first and without gaps; it comes again with each look, newer periods added.
    `by_route` has the same periods of each SMS route alone.
    """

    market: str
    now_s: int
    due: tuple[Due, ...]
    by_route: Mapping[str, tuple[Due, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something is wrong since `began_s`. `product` is empty where it is not one product's affair.

    `cause` is what the detector itself knows of it; None where others have to find it.
    """

    title: str
    evidence: str
    began_s: int
    product: str = ""
    cause: Cause | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The detector as it is after a look, and what it has found: the same at each look, until quiet."""

    detector: "Detector"
    finding: Finding | None


class Detector(Protocol):
    """Looks at one market's facts. It is frozen: what it has learned is in the one it returns."""

    @property
    def name(self) -> str: ...

    @property
    def counts(self) -> Counts: ...

    def look(self, facts: Facts) -> Judgement:
        """Judge what is new in the facts. The same facts a second time change nothing."""
        ...

    def resumed(self, *, began_s: int) -> "Detector":
        """Return a detector that found something before the program was stopped."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """What a detector of all markets finds in one of them; given at every step, until it is over.

    `payments` and `minor` are what was lost beyond the usual in this step; at the first alarm of an
    episode, since it began. `scope` is the cause that other alarms about the same may take over.
    """

    market: str
    title: str
    evidence: str
    began_s: int
    cause: Cause
    payments: float = 0.0
    minor: float = 0.0
    product: str = ""


class Wide(Protocol):
    """Looks at all markets at once. It remembers what it has learned, and does nothing else."""

    @property
    def name(self) -> str: ...

    def look(self, frame: Frame) -> list[Alarm]:
        """Judge one step. Call it with each step once, in the order of time."""
        ...
