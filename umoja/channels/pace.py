"""Pace: bounds what work behind the scenes takes of the processor while payments come in."""

import time
from collections.abc import Callable

PERCENT = 17
"""What measured work may take, of one processor. With what is not measured (handing over, the route,
telling of deliveries: three parts in ten of the whole) it stays below a quarter."""

SpentS = Callable[[], float]
"""Returns seconds of processor time that the calling thread has used: only differences count."""


UNBOUNDED = 100
"""For a process in which nobody else works."""


class Pace:
    """Adds up what was spent since the last pause, and says how long the next one has to be."""

    def __init__(self, percent: int = PERCENT, *, spent_s: SpentS = time.thread_time) -> None:
        """Take what may be used, in percent of one processor's time."""
        assert 0 < percent <= UNBOUNDED, "a part of the whole"
        self._percent = percent
        self._spent_s = spent_s
        self._used_s = 0.0
        self._head = 0

    def now_s(self) -> float:
        """Return the thread's stopwatch, for `used`."""
        return self._spent_s()

    def used(self, since_s: float) -> None:
        """Count what this thread has used since its stopwatch stood at `since_s`."""
        self._used_s += max(0.0, self._spent_s() - since_s)

    def spent(self, seconds: float) -> None:
        """Count what cannot be measured here: work that is done among others', by what one of it costs."""
        self._used_s += seconds

    def pause_s(self, head: int) -> float:
        """Return the pause that is due, and begin anew. Quiet times owe none.

        `head` is the journal's: where it has moved since this was last asked, payments are coming in.
        """
        used_s, self._used_s = self._used_s, 0.0
        is_quiet = head == self._head
        self._head = head
        return 0.0 if is_quiet else used_s * (100 - self._percent) / self._percent
