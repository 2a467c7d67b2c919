"""What planned work keeps quiet, and when it no longer does. No I/O.

An alarm that begins while work explains it is muted. When the work is over, what is wrong still is
nobody's plan: it is told once it is sure that the trouble, and not the detector's memory of it, goes on.
"""

from collections.abc import Hashable
from dataclasses import dataclass

AFTER_S = 150
"""So long after the work nothing is told: detectors need a minute or two of good payments to be calm."""

HARMED = 3.0
"""Payments lost after the work that say that the trouble goes on. Where there is one in minutes, a
detector stays loud for hours for want of good ones."""

AFTER_MOST_S = 600
"""What costs no payments (a queue, a clock) is told when it is loud for so long after the work."""


@dataclass(slots=True)
class _Muted:
    over_s: int = 0  # when the work was over; 0: it is on
    harmed: float = 0.0


class Mutes:
    """Remembers alarms by their keys. Call `settle` after each look: what was not asked for is over."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, _Muted] = {}
        self._asked: set[Hashable] = set()

    def is_muted(
        self, key: Hashable, now_s: int, *, is_explained: bool, harmed: float | None
    ) -> bool:
        """Tell whether an alarm stays quiet now.

        `harmed` are payments that it cost since the last look; None: it is not counted in payments.
        """
        self._asked.add(key)
        if is_explained:
            self._kept[key] = _Muted()
            return True
        found = self._kept.get(key)
        if found is None:
            return False
        if not found.over_s:
            found.over_s = now_s
            return True
        passed_s = now_s - found.over_s
        if harmed is None:
            return passed_s < AFTER_MOST_S
        found.harmed += harmed
        return passed_s < AFTER_S or found.harmed < HARMED

    def over_s(self, key: Hashable) -> int:
        """Return when the work was over that kept an alarm quiet; 0: none did."""
        found = self._kept.get(key)
        return 0 if found is None else found.over_s

    def settle(self) -> None:
        """Forget the alarms that were not asked for since this was last called."""
        self._kept = {key: each for key, each in self._kept.items() if key in self._asked}
        self._asked = set()
