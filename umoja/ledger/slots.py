"""Slots: which place in the compact arrays belongs to which account number. Small, and quick where used."""

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

import numpy as np

IN_USE_MAX = 1_000_000  # numbers kept in a dictionary: some hundred bytes each


class Slots:
    """Numbers any 63 bits wide, each with the place at which it was added, from nought on.

    Numbers in use are found in a dictionary; the others in a sorted column, twelve bytes each.
    """

    __slots__ = ("_fresh", "_numbers", "_places", "_sorted", "in_use")

    def __init__(self) -> None:
        self._numbers = array("q")  # by place
        self.in_use: dict[int, int] = {}
        """The places at hand, for who asks often: read it afresh, never change it, and `get` the rest."""
        self._fresh: set[int] = set()  # not in the sorted column yet
        self._sorted = array("q")
        self._places = array("i")

    @classmethod
    def of_sorted(cls, numbers: bytes) -> "Slots":
        """Return slots of numbers that are sorted already, each at its place among them."""
        slots = cls()
        slots._numbers.frombytes(numbers)
        slots._sorted = array("q", slots._numbers)
        slots._places = array("i", bytes(4 * len(slots._numbers)))
        np.frombuffer(slots._places, dtype=np.int32)[:] = np.arange(
            len(slots._numbers), dtype=np.int32
        )
        return slots

    def __len__(self) -> int:
        return len(self._numbers)

    def get(self, number: int) -> int:
        """Return the place of a number, or -1 where it was never added."""
        place = self.in_use.get(number)
        return self._seek(number) if place is None else place

    def add(self, number: int) -> int:
        """Give a new number the next place and return it."""
        place = len(self._numbers)
        if len(self._fresh) >= IN_USE_MAX:
            self._settle()
        self._numbers.append(number)
        self.in_use[number] = place
        self._fresh.add(number)
        return place

    def remove_last(self, number: int) -> None:
        """Take back the newest number, which must be this one."""
        assert self._numbers[-1] == number, "only the newest number is taken back"
        if number not in self._fresh:
            # It was put among the sorted ones in the same breath: sort again without it.
            self._numbers.pop()
            self._sort()
            self.in_use.pop(number, None)
            return
        self._numbers.pop()
        self._fresh.remove(number)
        del self.in_use[number]

    def numbers(self) -> Iterator[int]:
        """Yield every number in the order of adding."""
        return iter(self._numbers)

    def places_of(self, numbers: Any) -> Any:
        """Return the place of each number of a column, -1 where it was never added; none is put at hand.

        Quick for sorted numbers: many at once are looked for where the one before was found.
        """
        found = np.full(len(numbers), -1, dtype=np.int64)
        if len(self._sorted):
            column = np.frombuffer(self._sorted, dtype=np.int64)
            at = np.minimum(np.searchsorted(column, numbers), len(column) - 1)
            is_there = column[at] == numbers
            found[is_there] = np.frombuffer(self._places, dtype=np.int32)[at[is_there]]
        missing = np.flatnonzero(found < 0)
        get = self.in_use.get
        found[missing] = [get(number, -1) for number in numbers[missing].tolist()]
        return found

    def copy(self) -> "array[int]":
        return array("q", self._numbers)

    def _seek(self, number: int) -> int:
        column = self._sorted
        index = bisect_left(column, number)
        if index == len(column) or column[index] != number:
            return -1
        place = self._places[index]
        if len(self.in_use) - len(self._fresh) >= IN_USE_MAX:
            # Whoever is needed again is found again; only the fresh ones live nowhere else.
            self.in_use = {each: self.in_use[each] for each in self._fresh}
        self.in_use[number] = place
        return place

    def _settle(self) -> None:
        """Put the fresh numbers into the sorted column."""
        self._sort()
        self.in_use.clear()

    def _sort(self) -> None:
        numbers = np.array(self._numbers, dtype=np.int64)
        order = np.argsort(numbers, kind="stable")
        self._sorted = array("q", numbers[order].tobytes())
        self._places = array("i", order.astype(np.int32).tobytes())
        self._fresh = set()
