"""Rings: counters for the last so many seconds or minutes, in memory that never grows."""

from array import array
from collections.abc import Iterator
from operator import add

from umoja.signals import LATENCY_BUCKETS


class Ring:
    """`slots` periods of `period_s` seconds, each with `width` counters; older ones are forgotten.

    Moments are whole seconds since 1970. A ring moves on when it is written to; what is asked of
    a period that nobody has written, or that is forgotten, is nought. One thread writes at a time;
    reading beside it is safe and may miss what is being written.
    """

    __slots__ = ("_cells", "_empty", "_head", "period_s", "slots", "width")

    def __init__(self, *, period_s: int, slots: int, width: int) -> None:
        self.period_s = period_s
        self.slots = slots
        self.width = width
        self._cells = array("Q", bytes(8 * slots * width))
        self._empty = array("Q", bytes(8 * width))
        self._head = -1

    @property
    def bytes_held(self) -> int:
        return self._cells.itemsize * len(self._cells)

    @property
    def newest_s(self) -> int:
        """Return when the newest period that was written to begins; negative where none was."""
        return self._head * self.period_s

    def add(self, second: int, column: int, by: int = 1) -> bool:
        """Count `by` (not negative) in the period of `second`; False where that is forgotten."""
        start = self._place(second)
        if start < 0:
            return False
        self._cells[start + column] += by
        return True

    def add_pair(self, second: int, first: int, other: int, by: int = 1) -> bool:
        """Count `by` (not negative) in each of two columns: what most signals need."""
        period = second // self.period_s
        if period != self._head:
            start = self._place(second)
            if start < 0:
                return False
        else:
            start = period % self.slots * self.width
        cells = self._cells
        cells[start + first] += by
        cells[start + other] += by
        return True

    def total(self, column: int, *, since: int, until: int) -> int:
        """Return the sum of `column` over the periods that begin in [since, until)."""
        return sum(self.series(column, since=since, until=until))

    def series(self, column: int, *, since: int, until: int) -> Iterator[int]:
        """Yield `column` of each period that begins in [since, until), oldest first."""
        for row in self.rows(since=since, until=until):
            yield row[column]

    def rows(self, *, since: int, until: int) -> Iterator["array[int]"]:
        """Yield all columns of each period that begins in [since, until), oldest first."""
        first = -(-since // self.period_s)
        last = -(-until // self.period_s)
        head = self._head
        for period in range(first, last):
            if head - self.slots < period <= head:
                start = period % self.slots * self.width
                yield self._cells[start : start + self.width]
            else:
                yield self._empty

    def row(self, *, since: int, until: int) -> list[int]:
        """Return the sum of every column over the periods that begin in [since, until)."""
        first = max(-(-since // self.period_s), self._head - self.slots + 1)
        last = min(-(-until // self.period_s), self._head + 1)
        sums = [0] * self.width
        for period in range(first, last):
            start = period % self.slots * self.width
            sums = list(map(add, sums, self._cells[start : start + self.width]))
        return sums

    def forget_all(self) -> None:
        """Begin again: for a clock that was set back, whose past lies in the ring's future."""
        self._cells = array("Q", bytes(8 * self.slots * self.width))
        self._head = -1

    def _place(self, second: int) -> int:
        period = second // self.period_s
        if period > self._head:
            self._move(period)
        elif period <= self._head - self.slots or period < 0:
            return -1
        return period % self.slots * self.width

    def _move(self, period: int) -> None:
        for passed in range(max(self._head + 1, period - self.slots + 1), period + 1):
            start = passed % self.slots * self.width
            self._cells[start : start + self.width] = self._empty
        self._head = period


def percentile_ms(buckets: list[int], permille: int) -> float | None:
    """Return the latency that `permille` of the counted ones do not pass; None where none is.

    Within a bucket the counted ones are taken to lie evenly, so it is right to about a tenth.
    """
    counted = sum(buckets)
    if not counted:
        return None
    wanted = counted * permille / 1000
    passed = 0
    for index, count in enumerate(buckets):
        if count and passed + count >= wanted:
            low = 0.0 if index == 0 else 2 ** ((index - 1) / 2)
            return low + (2 ** (index / 2) - low) * (wanted - passed) / count
        passed += count
    return 2 ** ((LATENCY_BUCKETS - 1) / 2)
