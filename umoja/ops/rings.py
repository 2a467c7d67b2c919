"""Rings: counters for the last so many seconds or minutes, in memory that never grows."""

from array import array
from collections.abc import Iterator
from math import log2

LATENCY_BUCKETS = 28  # half powers of two from one millisecond; the last is open (12 s and more)


class Ring:
    """`slots` periods of `period_s` seconds, each with `width` counters; older ones are forgotten.

    Moments are whole seconds since 1970. A ring moves on when it is written to; what is asked of
    a period that nobody has written, or that is forgotten, is nought.
    """

    __slots__ = ("_cells", "_head", "period_s", "slots", "width")

    def __init__(self, *, period_s: int, slots: int, width: int) -> None:
        self.period_s = period_s
        self.slots = slots
        self.width = width
        self._cells = array("Q", bytes(8 * slots * width))
        self._head = -1

    @property
    def bytes_held(self) -> int:
        return self._cells.itemsize * len(self._cells)

    def add(self, second: int, column: int, by: int = 1) -> bool:
        """Count `by` (not negative) in the period of `second`; False where that is forgotten."""
        start = self._place(second)
        if start < 0:
            return False
        self._cells[start + column] += by
        return True

    def add_pair(self, second: int, first: int, other: int) -> bool:
        """Count one in each of two columns: what most signals need."""
        start = self._place(second)
        if start < 0:
            return False
        self._cells[start + first] += 1
        self._cells[start + other] += 1
        return True

    def total(self, column: int, *, since: int, until: int) -> int:
        """Return the sum of `column` over the periods that begin in [since, until)."""
        return sum(self.series(column, since=since, until=until))

    def series(self, column: int, *, since: int, until: int) -> Iterator[int]:
        """Yield `column` of each period that begins in [since, until), oldest first."""
        first = -(-since // self.period_s)
        last = -(-until // self.period_s)
        oldest = self._head - self.slots + 1
        for period in range(first, last):
            if oldest <= period <= self._head:
                yield self._cells[period % self.slots * self.width + column]
            else:
                yield 0

    def row(self, *, since: int, until: int) -> list[int]:
        """Return the sum of every column over the periods that begin in [since, until)."""
        first = max(-(-since // self.period_s), self._head - self.slots + 1)
        last = min(-(-until // self.period_s), self._head + 1)
        sums = [0] * self.width
        for period in range(first, last):
            start = period % self.slots * self.width
            for column, count in enumerate(self._cells[start : start + self.width]):
                sums[column] += count
        return sums

    def _place(self, second: int) -> int:
        period = second // self.period_s
        if period > self._head:
            self._move(period)
        elif period <= self._head - self.slots:
            return -1
        return period % self.slots * self.width

    def _move(self, period: int) -> None:
        empty = array("Q", bytes(8 * self.width))
        for passed in range(max(self._head + 1, period - self.slots + 1), period + 1):
            start = passed % self.slots * self.width
            self._cells[start : start + self.width] = empty
        self._head = period


def latency_bucket(latency_ms: float) -> int:
    """Return the column in which a latency is counted."""
    if latency_ms <= 1:
        return 0
    return min(LATENCY_BUCKETS - 1, int(2 * log2(latency_ms)) + 1)


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
