"""The archive: old months of a journal leave the database for compressed files, safely in every step.

A file is written under a passing name, synced, read back whole and compared; then it gets its own name,
then the database's row about it is committed, and only then do lines leave the journal, some at a time.
Whatever is cut off in between is taken up again by the next run: nothing is lost, nothing is twice.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from umoja.faults import Unavailable
from umoja.ledger.archive_file import ArchiveFile, Block, Head, verify, write
from umoja.ledger.chain import ORIGIN, JournalDamaged, Seal, follow, require_span
from umoja.ledger.entries import Kind
from umoja.ledger.journal import Checkpoint, read_snapshot, row_of
from umoja.ledger.roll import SEALS, Archive, Segment, Stock
from umoja.ledger.rules import Snapshot

BLOCK_LINES = 1_000
DROP_LINES = 20_000  # lines that leave the database in one commit: the writer waits meanwhile
ENDING = ".uja"
_MOVES = frozenset({Kind.POST, Kind.COMMIT})


class ArchiveStore(Stock, Protocol):
    """A journal's database, as whoever archives it needs it. It takes no epoch."""

    def checkpoint(self) -> Checkpoint | None: ...
    def first(self) -> int:
        """Return the first line that is still in the database; 0: none."""
        ...

    def keep_segment(self, segment: Segment) -> None:
        """Keep the row about a file, durably. Raise Unavailable."""
        ...

    def drop(self, until: int) -> None:
        """Remove lines and seals up to `until`, in one commit. Raise Unavailable."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A month whose lines may leave the journal."""

    month: str
    first: int
    last: int
    batches: int

    @property
    def lines(self) -> int:
        return self.last - self.first + 1


class Archivist:
    """Moves the old months of one market's journal into files. One at a time on a folder."""

    def __init__(
        self,
        store: ArchiveStore,
        folder: Path,
        *,
        market: str,
        month_of: Callable[[int], str],
        now: int,
        tell: Callable[[str, int], None] = lambda *_: None,
    ) -> None:
        """`month_of` tells the month (2025-12) of a moment in microseconds, in the market's own time.

        `tell` is told each step by its name, and the last line that it is about.
        """
        self._store = store
        self._folder = folder
        self._market = market
        self._month_of = month_of
        self._now = now
        self._tell = tell
        self._archive = Archive(folder, store.segments)

    def plan(self, before: str) -> list[Planned]:
        """Return the months before `before` (2026-01) that are still in the journal.

        What a start still needs from the database stays there: lines behind the checkpoint, and the
        last batch. Raise Unavailable where the journal was never opened by a program that seals.
        """
        if self._store.unsealed() < 0:
            raise Unavailable("the journal has no seals yet: start the program once, it seals them")
        kept = self._store.checkpoint()
        limit = kept.sequence if kept is not None and kept.is_whole else 0
        limit = min(limit, self._store.head() - 1)
        return list(self._months(before, limit))

    def _months(self, before: str, limit: int) -> Iterator[Planned]:
        month, first, last, batches = "", 0, 0, 0
        for seal in self._seals(self._archive.refresh()):
            # A clock that was put back does not open a month again.
            of_seal = max(month, self._month_of(seal.at))
            if of_seal >= before or seal.last > limit:
                break
            if month and of_seal != month:
                yield Planned(month=month, first=first, last=last, batches=batches)
                batches = 0
            if not batches:
                first = seal.first
            month, last, batches = of_seal, seal.last, batches + 1
        if batches:
            yield Planned(month=month, first=first, last=last, batches=batches)

    def _seals(self, after: int) -> Iterator[Seal]:
        while page := self._store.seals(after=after, limit=SEALS):
            yield from page
            after = page[-1].last

    def run(self, before: str) -> list[Head]:
        """Move all the months before `before`; return the heads of the files made.

        Finish first what an earlier run did not. Raise Unavailable, JournalDamaged: lines are left
        where they are.
        """
        with self._alone():
            self.finish()
            return [self._move(each) for each in self.plan(before)]

    def finish(self) -> None:
        """Let lines go whose file stands already, where an earlier run was cut off."""
        first, last = self._store.first(), self._archive.refresh()
        if 0 < first <= last:
            for segment in self._archive.segments:
                if segment.last >= first:
                    verify_segment(self._archive, segment)
            self._drop(last)

    def _move(self, planned: Planned) -> Head:
        name = f"{self._market}-{planned.month}{ENDING}"
        if any(each.file == name for each in self._archive.segments):
            name = f"{self._market}-{planned.month}-{planned.first}{ENDING}"
        passing = self._folder.joinpath(f"{name}.part")
        kept = self._store.checkpoint()
        if kept is None or not kept.is_whole:
            raise Unavailable(
                "the journal's checkpoint is damaged: it is written anew within a minute"
            )
        before = self._archive.segments[-1].after if self._archive.last else ORIGIN
        sums = _Sums(read_snapshot(kept.state), market=self._market, month=planned.month)
        try:
            written = write(
                passing,
                self._blocks(planned, before, sums),
                lambda: sums.told() | {"before": before.hex(), "written": self._now},
            )
        except OSError as cause:
            passing.unlink(missing_ok=True)
            raise Unavailable(f"{passing} cannot be written: {cause.strerror}") from cause
        self._tell("written", planned.last)
        file = ArchiveFile(passing, expected=written.sha256)
        try:
            verify(file)
        finally:
            file.close()
        self._tell("read back", planned.last)
        passing.replace(self._folder.joinpath(name))
        _sync_folder(self._folder)
        self._tell("named", planned.last)
        self._store.keep_segment(
            Segment(
                planned.last,
                planned.first,
                name,
                written.sha256,
                before,
                bytes.fromhex(written.head.after),
                self._now,
            )
        )
        self._tell("recorded", planned.last)
        self._archive.refresh()
        self._drop(planned.last)
        return written.head

    def _blocks(self, planned: Planned, before: bytes, sums: "_Sums") -> Iterator[Block]:
        """Yield whole batches of the month that fit their seals."""
        after, digest, where = planned.first - 1, before, self._store.where
        while after < planned.last:
            seals: list[Seal] = []
            at = after
            for seal in self._store.seals(after=after, limit=BLOCK_LINES):
                if seal.last > planned.last or at - after >= BLOCK_LINES:
                    break
                require_span(at, seal, where=where)
                seals.append(seal)
                at = seal.last
            if not seals:
                raise JournalDamaged(f"{where}: the seal of line {after + 1} is missing")
            lines = self._store.lines(after=after, limit=at - after)
            digest = follow(digest, after, lines, seals, where=where)
            sums.add(lines, seals, digest)
            yield lines, seals
            after = at
            self._tell("packed", after)

    def _drop(self, last: int) -> None:
        while 0 < (first := self._store.first()) <= last:
            until = min(last, first + DROP_LINES - 1)
            self._store.drop(until)
            self._tell("dropped", until)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self._folder.joinpath("in-use")).open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as cause:
                raise Unavailable(f"somebody else archives into {self._folder} now") from cause
            yield


def verify_segment(archive: Archive, segment: Segment) -> Head:
    """Read a file whole and compare it with its row; return its head. Raise JournalDamaged."""
    file = archive.file_of(segment)
    try:
        verify(file)
        head = file.head
    finally:
        file.close()
    told = (segment.first, segment.last, segment.before.hex(), segment.after.hex())
    if (head.first, head.last, head.before, head.after) != told:
        raise JournalDamaged(f"{segment.file} is another stretch of the journal than its row says")
    return head


class _Sums:
    """What a file's head says of its lines, added up while they pass."""

    def __init__(self, snapshot: Snapshot, *, market: str, month: str) -> None:
        self._ids = np.frombuffer(snapshot.ids, dtype=np.int64)
        self._forms = snapshot.account_forms
        self._currencies = [form.currency for form in snapshot.forms]
        self._market, self._month = market, month
        self._first = self._last = self._lines = self._batches = self._transfers = self._opened = 0
        self._earliest = self._latest = 0
        self._moved: dict[str, int] = {}
        self._after = b""

    def add(self, lines: list[Any], seals: list[Seal], digest: bytes) -> None:
        self._first = self._first or seals[0].first
        self._last, self._after = seals[-1].last, digest
        self._lines += len(lines)
        self._batches += len(seals)
        moments = [line[2] for line in lines]
        self._earliest = min(moments) if not self._earliest else min(self._earliest, *moments)
        self._latest = max(self._latest, *moments)
        sources, minors = [], []
        for line in lines:
            row = row_of(line)
            self._opened += len(row.opens)
            self._transfers += len(row.transfers)
            for transfer in row.transfers:
                if transfer.kind in _MOVES:
                    sources.append(transfer.source)
                    minors.append(transfer.minor)
        places = np.searchsorted(self._ids, np.array(sources, dtype=np.int64))
        for place, minor in zip(places.tolist(), minors, strict=True):
            currency = self._currencies[self._forms[place]]
            self._moved[currency] = self._moved.get(currency, 0) + minor

    def told(self) -> dict[str, object]:
        return {
            "market": self._market,
            "month": self._month,
            "first": self._first,
            "last": self._last,
            "lines": self._lines,
            "batches": self._batches,
            "transfers": self._transfers,
            "opened": self._opened,
            "moved": self._moved,
            "earliest": self._earliest,
            "latest": self._latest,
            "after": self._after.hex(),
        }


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
