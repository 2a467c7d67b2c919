"""What the console asks of a sandbox: phones to play with, and faults to switch. The simulator gives it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Phone:
    """A seeded person's phone, with the PIN that opens her wallet: nobody real has it."""

    name: str
    phone: str
    role: str
    pin: str
    code: str = ""  # an agent's, that customers type to withdraw


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A text message that reached a phone."""

    at: datetime
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultSwitch:
    """Something that can be made to go wrong, and whether it does now."""

    name: str
    title: str
    is_on: bool
    has_drill: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Surprise:
    """A drill of which nobody is told what and where it is, until it is over.

    While `is_running` the rest is empty, and so it is where nothing was left to go wrong. `incident` is
    the one that was found in that market, '' where none was; the times are seconds from the fault's
    beginning, None where it did not happen.
    """

    is_running: bool
    market: str = ""
    title: str = ""
    began_at: datetime | None = None
    incident: str = ""
    found_s: int | None = None
    acknowledged_s: int | None = None
    mitigated_s: int | None = None


class Sandbox(Protocol):
    """A running sandbox. Market codes are those of its branches; KeyError for any other."""

    def phones(self, market: str) -> Sequence[Phone]: ...

    def inbox(self, market: str, phone: str) -> Sequence[Text]:
        """Return the messages of a phone, oldest first."""
        ...

    def faults(self, market: str) -> Sequence[FaultSwitch]: ...

    def switch_fault(self, market: str, name: str, *, is_on: bool) -> None:
        """Switch a fault. Repeating is harmless. Raise KeyError for an unknown one."""
        ...

    def drill(self, market: str, name: str) -> None:
        """Start a drill; one that runs already is left alone."""
        ...

    def surprise(self) -> None:
        """Let something go wrong somewhere within two minutes; one that runs is left alone."""
        ...

    def surprised(self) -> Surprise | None:
        """Return the drill that runs, or what the last one was; None before the first."""
        ...
