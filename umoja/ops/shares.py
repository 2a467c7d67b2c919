"""Shares: what share of each group's counts is usual, learned as it goes. No I/O."""

import numpy as np
import numpy.typing as npt

from umoja.ops.board import Array

LEARNED_OVER = 3_000.0  # counts
FORGET_OVER = 1_500.0  # steps, of a group with many counts in each

BELIEVED = 200.0  # counts that the first guess is worth


class Shares:
    """A usual share for every group. Groups are only ever added."""

    def __init__(
        self, *, first: float = 0.005, least: float = 0.002, times: float = 2.5, more: float = 0.02
    ) -> None:
        """Take the share that is guessed first, the least that is believed, and what is too much.

        Too much is so many times the usual share and a little `more`.
        """
        self._first, self._least, self._times, self._more = first, least, times, more
        self._share: Array = np.zeros(0)
        self._seen: Array = np.zeros(0)

    def weigh(self, tried: Array, failed: Array) -> tuple[Array, Array]:
        """Return the usual shares, and how much better "too much" explains each group's counts."""
        self._grow(len(tried))
        usual, broken = self._usual()
        return usual, _gains(tried, failed, usual, broken)

    def against(self, tried: Array, failed: Array, share: float) -> Array:
        """Return how much better a `share`, or what is too much if that is more, explains the counts."""
        self._grow(len(tried))
        usual, broken = self._usual()
        return _gains(tried, failed, usual, np.maximum(broken, share))

    @property
    def typical(self) -> Array:
        """Return the usual shares as they were learned, however small: what a loss is priced against."""
        return self._share

    def learn(self, tried: Array, failed: Array, may: npt.NDArray[np.bool_]) -> None:
        """Learn from the groups that may be learned from."""
        told = np.where(may, tried, 0.0)
        self._seen = np.minimum(self._seen + told, LEARNED_OVER)
        part = np.maximum(told / (told + self._seen), 0.0)
        part = np.minimum(part, np.where(self._seen >= LEARNED_OVER, 5.0 / FORGET_OVER, 1.0))
        self._share += part * (failed / np.maximum(tried, 1.0) - self._share)

    def _usual(self) -> tuple[Array, Array]:
        usual = np.clip(self._share, self._least, 0.6)
        return usual, np.minimum(usual * self._times + self._more, 0.9)

    def _grow(self, size: int) -> None:
        more = size - len(self._share)
        if more > 0:
            self._share = np.concatenate([self._share, np.full(more, self._first)])
            self._seen = np.concatenate([self._seen, np.full(more, BELIEVED)])


def _gains(tried: Array, failed: Array, usual: Array, broken: Array) -> Array:
    """Return the logarithms of how much likelier counts are at the share `broken` than at `usual`."""
    gains: Array = failed * np.log(broken / usual)
    gains += (tried - failed) * np.log((1 - broken) / (1 - usual))
    return gains
