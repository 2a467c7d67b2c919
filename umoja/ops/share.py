"""Share: a cumulative sum over counts that tells when too many of them fail, and learns what is usual.

Counts are judged and not ratios: one failure of one says little, a hundred of a thousand say much.
"""

from math import log

LEARNED_OVER = 4_000  # of the counted, at least, before the usual share is another
FORGET_OVER = 2_000  # rows
LEAST = 0.0005
MOST = 0.5
TIMES = (3.0, 1.6)  # so many times the usual share is called broken: much, and a little
BROKEN_MOST = 0.9
LEARNS_BELOW = 4.0  # of the sum: in doubt nothing is learned


class Share:
    """Judges how many of so many fail, row by row."""

    __slots__ = ("_judged", "_share", "_sums")

    def __init__(self) -> None:
        self._share = 0.0
        self._judged = 0.0
        self._sums = [0.0] * len(TIMES)

    def evidence(self, count: float, failed: float) -> float:
        """Take a row; return by how much (a natural logarithm) a broken share explains it better."""
        if count <= 0:
            return max(self._sums)
        if self._judged < LEARNED_OVER / 10:
            self._learn(count, failed)
            return 0.0
        usual = min(MOST, max(LEAST, self._share))
        for place, times in enumerate(TIMES):
            broken = min(BROKEN_MOST, usual * times + 0.01)
            gain = failed * log(broken / usual) + (count - failed) * log((1 - broken) / (1 - usual))
            self._sums[place] = max(0.0, self._sums[place] + gain)
        found = max(self._sums)
        if found < LEARNS_BELOW:
            self._learn(count, failed)
        return found

    def forget(self) -> None:
        """Begin a new sum, after an episode."""
        self._sums = [0.0] * len(TIMES)

    def _learn(self, count: float, failed: float) -> None:
        self._judged += count
        part = max(count / max(self._judged, 1.0), min(0.02, count / LEARNED_OVER))
        part = max(part if self._judged < LEARNED_OVER else 0.0, min(0.01, count / LEARNED_OVER))
        self._share += part * (failed / count - self._share)
