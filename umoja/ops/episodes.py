"""Episodes: when a group begins to be in trouble, when that is sure, and when it is over. No I/O.

`Sums` is a cumulative sum for every group of a board at once; `Held` is for levels, which are
compared with a bound and must hold for a while. Both speak once an episode.
"""

from collections import deque
from collections.abc import Hashable

import numpy as np
import numpy.typing as npt

from umoja.ops.board import Array, Frame, Places

ALARM_AT = 22.0  # of a sum, in natural logarithms: by chance once in e^22 rows or so
MORE = 12.0  # of a sum that is loud, and no more, so that the end is seen
DOUBT = 3.0  # and below that a group that was loud is calm
LIKELY = 8.0  # beside a group that is loud, another seems to be in trouble too
QUIET_FOR_S = 60
BACK_STEPS = 40  # that are remembered, to count what was harmed before anybody was sure
RATE_OVER_S = 86_400.0  # of learning how much a group counts
RATE_FIRST = 1.0  # a second, until it is known
RATE_LEAST = 0.002
FEW = frozenset({"vendor", "cell"})
FEW_LESS = 2.5
"""Links to partners, and cells, are few among all groups, and what breaks most: they are believed sooner."""


class Bounds:
    """How sure one must be of each group, so that all have the same chance of a false alarm a day.

    Who is judged on a tenth of the counts is wrong a tenth as often at the same bound; so its bound
    may be lower by the logarithm of ten.
    """

    def __init__(self, *, alarm_at: float, few_less: float = FEW_LESS) -> None:
        """Take the bound of a group with one count a second or more."""
        self._alarm_at, self._few_less = alarm_at, few_less
        self._rate: Array = np.zeros(0)
        self._seen_s: Array = np.zeros(0)
        self._less: Array = np.zeros(0)

    def of(self, frame: Frame, counted: Array, may_learn: npt.NDArray[np.bool_]) -> Array:
        """Return the bounds of all groups, and learn how much each of them counts."""
        more = frame.groups[len(self._rate) :]
        if more:
            self._rate = np.concatenate([self._rate, np.full(len(more), RATE_FIRST)])
            self._seen_s = np.concatenate([self._seen_s, np.zeros(len(more))])
            less = [self._few_less if group.kind in FEW else 0.0 for group in more]
            self._less = np.concatenate([self._less, less])
        bounds: Array = self._alarm_at - self._less + np.log(np.clip(self._rate, RATE_LEAST, 1.0))
        if frame.step_s:
            self._seen_s += np.where(may_learn, frame.step_s, 0.0)
            part = frame.step_s / np.clip(self._seen_s, 600.0, RATE_OVER_S)
            rate = counted / frame.step_s - self._rate
            self._rate += np.where(may_learn, part * rate, 0.0)
        return bounds


class Sums:
    """A cumulative sum for every group. Groups are only ever added."""

    def __init__(self, *, alarm_at: float = ALARM_AT) -> None:
        self._alarm_at = alarm_at
        self.sums: Array = np.zeros(0)
        self.began_s: Places = np.zeros(0, np.int64)
        self.is_loud: npt.NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._worse_s: Places = np.zeros(0, np.int64)
        self._bounds: Array = np.zeros(0)

    def grow(self, size: int) -> None:
        more = size - len(self.sums)
        if more > 0:
            self.sums = np.concatenate([self.sums, np.zeros(more)])
            self.began_s = np.concatenate([self.began_s, np.zeros(more, np.int64)])
            self.is_loud = np.concatenate([self.is_loud, np.zeros(more, np.bool_)])
            self._worse_s = np.concatenate([self._worse_s, np.zeros(more, np.int64)])
            self._bounds = np.concatenate([self._bounds, np.full(more, self._alarm_at)])

    def add(self, gains: Array, now_s: int, step_s: float, bounds: Array | None = None) -> None:
        """Add a step's evidence: above nought where a trouble explains it better.

        `bounds` are where each group is sure; without them, where it was said at the making.
        """
        if bounds is not None:
            self._bounds = bounds
        sums = self.sums
        fresh = (sums == 0.0) & ~self.is_loud
        np.copyto(self.began_s, now_s - int(step_s), where=fresh)
        sums += gains
        np.maximum(sums, 0.0, out=sums)
        self.is_loud |= sums >= self._bounds
        np.minimum(sums, np.where(self.is_loud, MORE, self._bounds), out=sums)
        if self.is_loud.any():
            doubt = sums > DOUBT
            np.copyto(self._worse_s, now_s, where=doubt)
            self.is_loud &= doubt | (now_s - self._worse_s < QUIET_FOR_S)

    def forget(self, place: int) -> None:
        """Take back what is held against one group: nothing more will be heard of it."""
        self.sums[place] = 0.0
        self.is_loud[place] = False

    def likely(self) -> list[int]:
        """Return the places of the groups that are in trouble, or seem to be."""
        return [int(place) for place in np.flatnonzero(self.is_loud | (self.sums >= LIKELY))]

    def loud(self) -> list[int]:
        """Return the places of the groups that are in trouble."""
        return [int(place) for place in np.flatnonzero(self.is_loud)]


class Held:
    """Levels that are wrong for a while."""

    def __init__(self, *, for_s: int, clear_s: int = QUIET_FOR_S) -> None:
        self._for_s = for_s
        self._clear_s = clear_s
        self._began: dict[Hashable, int] = {}
        self._last: dict[Hashable, int] = {}
        self._loud: set[Hashable] = set()

    def knows(self, subject: Hashable) -> bool:
        """Tell whether a subject was wrong when it was last seen, or is in trouble still."""
        return subject in self._began

    def see(self, subject: Hashable, now_s: int, *, is_wrong: bool) -> int | None:
        """Return since when a subject is in trouble, or None."""
        if is_wrong:
            began_s = self._began.setdefault(subject, now_s)
            self._last[subject] = now_s
            if now_s - began_s >= self._for_s:
                self._loud.add(subject)
        elif subject in self._loud:
            if now_s - self._last[subject] >= self._clear_s:
                self._loud.discard(subject)
                del self._began[subject], self._last[subject]
        elif subject in self._began:
            del self._began[subject], self._last[subject]
        return self._began[subject] if subject in self._loud else None


class Back:
    """What every group lost in the last steps, beyond what is usual, and what it tried."""

    def __init__(self) -> None:
        self._steps: deque[tuple[int, Array, Array, Array]] = deque(maxlen=BACK_STEPS)

    def keep(self, now_s: int, *, payments: Array, minor: Array, tried: Array) -> None:
        """Keep a step; the arrays are the caller's no longer."""
        self._steps.append((now_s, payments, minor, tried))

    def since(self, began_s: int) -> Array:
        """Return payments, value and attempts (three lines) of every group after `began_s`."""
        size = len(self._steps[-1][1]) if self._steps else 0
        total = np.zeros((3, size))
        for now_s, *lost in reversed(self._steps):
            if now_s <= began_s:
                break
            for line, part in zip(total, lost, strict=True):
                line[: len(part)] += part
        return total
