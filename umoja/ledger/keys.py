"""Keys: at which line of the journal an id stands, for every id that was ever done. A fold of the journal.

The newest ids are in a dictionary; older ones in sorted columns of twelve bytes an id, which are
merged as they grow. A filter in front of them answers for nearly all ids that were never done.
"""

import hashlib
import threading
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

NEWEST_MAX = 250_000
MERGE_AT = 8  # columns of one size, before they become one of the next
FILTER_BITS_AN_ID = 10
FILTER_LEAST = 1 << 23  # bits
_WINDOWS = (0, 17, 34)  # three parts of a digest, each of which names a bit of the filter


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """Digests in order, with the lines they stand at, counted from `first`. Never changed."""

    first: int
    last: int
    digests: "array[int]"
    lines: "array[int]"

    def __len__(self) -> int:
        return len(self.digests)

    def sha256(self) -> bytes:
        return hashlib.sha256(self.digests.tobytes() + self.lines.tobytes()).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """Columns, oldest first, with the filter in front of them. Columns and ids never change.

    The filter is handed on: bits of ids settled later are set in it, none is ever taken away. So who
    still holds an older one is at worst sent to look in vain.
    """

    columns: tuple[Column, ...] = ()
    cells: bytearray = field(default_factory=lambda: bytearray(1))
    ids: int = 0

    def may_have(self, digest: int) -> bool:
        cells = self.cells
        mask = len(cells) * 8 - 1
        bit = digest & mask  # the first window: nearly always it has the answer
        if not cells[bit >> 3] >> (bit & 7) & 1:
            return False
        for window in _WINDOWS[1:]:
            bit = digest >> window & mask
            if not cells[bit >> 3] >> (bit & 7) & 1:
                return False
        return True

    def at(self, digest: int) -> Iterator[int]:
        """Yield the lines at which ids with this digest stand, the newest first."""
        for column in reversed(self.columns):
            digests = column.digests
            place = bisect_left(digests, digest)
            found = []
            while place < len(digests) and digests[place] == digest:
                found.append(column.first + column.lines[place])
                place += 1
            yield from reversed(found)


def digest_of(name: str) -> int:
    """Return 64 bits of an id. Two ids may share them: the journal's line decides."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


class Keys:
    """Digests of ids and the lines they may stand at. One thread adds, any thread asks."""

    def __init__(self, columns: tuple[Column, ...] = ()) -> None:
        """Take up columns that an earlier `settled` returned."""
        self._newest: dict[int, int] = {}
        self._frozen: dict[int, int] = {}  # the newest of a moment ago, while they are settled
        self._twins: dict[int, tuple[int, ...]] = {}  # further lines of a digest, nearly never any
        self._settled = _with_filter(columns)
        self._last = columns[-1].last if columns else 0
        self._builder: threading.Thread | None = None
        self._built: Settled | None = None

    @property
    def last(self) -> int:
        """Return the newest line that was noted."""
        return self._last

    @property
    def settled(self) -> Settled:
        """Return what is settled and will not change: fit to be kept."""
        return self._settled

    def add(self, digest: int, sequence: int) -> None:
        """Note that an id with this digest stands at line `sequence`, the newest so far."""
        self._note(digest, sequence)
        self._last = sequence
        if len(self._newest) >= NEWEST_MAX:
            self._settle()

    def add_all(
        self, fresh: Mapping[int, int], twins: Sequence[tuple[int, int]], last: int
    ) -> None:
        """Note lines by digests, all of them newer than what was noted before, up to line `last`.

        `fresh` are of digests that no id has so far; `twins` of digests that one has, `fresh` included.
        """
        self._newest.update(fresh)
        for digest, sequence in twins:
            self._note(digest, sequence)
        self._last = last
        if len(self._newest) >= NEWEST_MAX:
            self._settle()

    def add_lines(self, digests: Sequence[int], first: int) -> None:
        """Note ids that stand at line `first` and on, one each, the newest so far."""
        fresh = dict(zip(digests, range(first, first + len(digests)), strict=True))
        if len(fresh) == len(digests) and self._newest.keys().isdisjoint(fresh):
            self.add_all(fresh, (), first + len(digests) - 1)
            return
        for sequence, digest in enumerate(digests, start=first):
            self.add(digest, sequence)

    def _note(self, digest: int, sequence: int) -> None:
        newest = self._newest
        if digest in newest:
            self._twins[digest] = (newest[digest], *self._twins.get(digest, ()))
        newest[digest] = sequence

    def at(self, digest: int) -> tuple[int, ...]:
        """Return the lines at which ids with this digest stand, the newest first; usually none."""
        # Asked in the order in which ids move on, so that none is missed while it moves.
        newest, frozen = self._newest.get(digest), self._frozen.get(digest)
        settled = self._settled
        if newest is None and frozen is None and not settled.may_have(digest):
            return ()
        found = [] if newest is None else [newest]
        found += [] if frozen is None else [frozen]
        found += self._twins.get(digest, ())
        return tuple(dict.fromkeys([*found, *settled.at(digest)]))

    def close(self) -> None:
        """Wait for what is being settled."""
        if self._builder is not None:
            self._builder.join()

    def _settle(self) -> None:
        """Hand the newest ids to a thread that settles them, and take over what it made before."""
        if self._builder is not None:
            if self._builder.is_alive():
                return  # the dictionary grows on meanwhile
            assert self._built is not None, "the builder ended in a bug of its own"
            self._settled = self._built
            self._frozen = {}
            self._builder = None
            self._built = None
        if len(self._newest) < NEWEST_MAX:
            return
        self._frozen = self._newest
        self._newest = {}
        self._builder = threading.Thread(
            target=self._build,
            args=(self._settled, self._frozen, dict(self._twins), self._last),
            daemon=True,
        )
        self._builder.start()

    def _build(
        self, settled: Settled, fresh: dict[int, int], twins: dict[int, tuple[int, ...]], last: int
    ) -> None:
        first = settled.columns[-1].last + 1 if settled.columns else 1
        others = [(each, line) for each, lines in twins.items() for line in lines if line >= first]
        digests = np.fromiter(fresh.keys(), dtype=np.uint64, count=len(fresh))
        lines = np.fromiter(fresh.values(), dtype=np.int64, count=len(fresh))
        digests = np.concatenate([digests, np.array([d for d, _ in others], dtype=np.uint64)])
        lines = np.concatenate([lines, np.array([line for _, line in others], dtype=np.int64)])
        columns = [*settled.columns, _column(first, last, digests, lines)]
        while (run := _run_to_merge(columns)) > 0:
            columns[-run:] = [_merged(columns[-run:])]
        ids = settled.ids + len(digests)
        if ids * FILTER_BITS_AN_ID > len(settled.cells) * 8:
            self._built = _with_filter(tuple(columns))
            return
        # Not in a copy: a copy of a large one stops every payment for a twentieth of a second.
        _note(settled.cells, digests)
        self._built = Settled(columns=tuple(columns), cells=settled.cells, ids=ids)


def _run_to_merge(columns: list[Column]) -> int:
    """Return how many columns at the end are of about one size, once there are enough of them."""
    size = len(columns[-1])
    run = 0
    for column in reversed(columns):
        if len(column) >= 2 * size:
            break
        run += 1
    return run if run >= MERGE_AT else 0


def _merged(columns: list[Column]) -> Column:
    digests = np.concatenate([np.frombuffer(each.digests, np.uint64) for each in columns])
    lines = np.concatenate(
        [np.frombuffer(each.lines, np.uint32) + np.int64(each.first) for each in columns]
    )
    return _column(columns[0].first, columns[-1].last, digests, lines)


def _column(first: int, last: int, digests: Any, lines: Any) -> Column:
    order = np.lexsort((lines, digests))
    return Column(
        first=first,
        last=last,
        digests=array("Q", digests[order].tobytes()),
        lines=array("I", (lines[order] - first).astype(np.uint32).tobytes()),
    )


def _with_filter(columns: tuple[Column, ...]) -> Settled:
    """Return the columns with a filter that has room for as many again."""
    ids = sum(len(column) for column in columns)
    if not ids:
        return Settled()
    bits = FILTER_LEAST
    while bits < 2 * ids * FILTER_BITS_AN_ID:
        bits *= 2
    cells = bytearray(bits // 8)
    for column in columns:
        _note(cells, np.frombuffer(column.digests, np.uint64))
    return Settled(columns=columns, cells=cells, ids=ids)


def _note(cells: bytearray, digests: Any) -> None:
    """Set the bits of each digest."""
    mask = np.uint64(len(cells) * 8 - 1)
    array_of = np.frombuffer(cells, dtype=np.uint8)
    for window in _WINDOWS:
        bits = np.sort(digests >> np.uint64(window) & mask)
        places = bits >> np.uint64(3)
        starts = np.flatnonzero(np.diff(places, prepend=places[:1] - np.uint64(1)))
        set_here = np.uint8(1) << (bits & np.uint64(7)).astype(np.uint8)
        array_of[places[starts]] |= np.bitwise_or.reduceat(set_here, starts)
