"""Finds a partner who does not answer, also where nobody pays through him meanwhile.

What is judged stands in `failures`, where payments and echoes of a partner meet; this one tells it, so
that it is a trouble of its own: it hides no payments that fail for another reason.
"""

from collections.abc import Callable

from umoja.ops.board import Frame
from umoja.ops.finding import Alarm


class Echoes:
    """The detector of all markets. It stands behind `failures`."""

    name = "echoes"

    def __init__(self) -> None:
        self.unanswered: Callable[[], list[Alarm]] = list

    def look(self, frame: Frame) -> list[Alarm]:  # noqa: ARG002  failures has looked at it
        return self.unanswered()
