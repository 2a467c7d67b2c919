"""The reference engine: the same promises in plain memory. For tests and simulated days."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from umoja.ledger.entries import Bundle, Row, Verdict
from umoja.ledger.rules import State, Undo


class Journal(Protocol):
    """What a batch needs of the engine it belongs to."""

    state: State

    @property
    def head(self) -> int: ...
    def row(self, bundle_id: str) -> Row | None: ...
    def append(self, rows: list[Row]) -> None:
        """Keep the rows durably and move `head`; see Batch.commit for what is raised."""
        ...


class JournalBatch:
    """The Batch of every engine that keeps its own journal."""

    def __init__(self, ledger: Journal) -> None:
        self._ledger = ledger
        self._undo: Undo = []
        self._rows: dict[str, Row] = {}

    def post(self, bundle: Bundle) -> Verdict:
        before = self._rows.get(bundle.id) or self._ledger.row(bundle.id)
        if before is not None:
            return Verdict.DONE if same(before, bundle) else Verdict.ID_DIFFERS
        verdict = self._ledger.state.apply(bundle, self._undo)
        if verdict is Verdict.DONE:
            self._rows[bundle.id] = as_row(bundle, self.next_sequence)
        return verdict

    @property
    def next_sequence(self) -> int:
        return self._ledger.head + len(self._rows) + 1

    def commit(self) -> None:
        if self._rows:
            self._ledger.append(list(self._rows.values()))
        self._rows.clear()
        self._undo.clear()

    def abandon(self) -> None:
        """Take back what was not committed."""
        for step in reversed(self._undo):
            step()
        self._undo.clear()
        self._rows.clear()


class MemoryLedger:
    """A Ledger that forgets everything when it goes."""

    def __init__(self) -> None:
        self.state = State()
        self._journal: list[Row] = []
        self._places: dict[str, int] = {}
        self._touched: dict[int, list[int]] = {}
        self._companion = b""
        self._lock = threading.RLock()

    @contextmanager
    def batch(self) -> Iterator[JournalBatch]:
        with self._lock:
            batch = JournalBatch(self)
            try:
                yield batch
            finally:
                batch.abandon()

    def post(self, bundles: Sequence[Bundle]) -> list[Verdict]:
        with self.batch() as batch:
            verdicts = [batch.post(bundle) for bundle in bundles]
            batch.commit()
        return verdicts

    def append(self, rows: list[Row]) -> None:
        """Take over the rows of a committed batch."""
        for row in rows:
            self._places[row.id] = len(self._journal)
            self._journal.append(row)
            for account in touched(row):
                self._touched.setdefault(account, []).append(row.sequence)

    def row(self, bundle_id: str) -> Row | None:
        place = self._places.get(bundle_id)
        return None if place is None else self._journal[place]

    def at_sequence(self, sequence: int) -> Row | None:
        return self._journal[sequence - 1] if 0 < sequence <= len(self._journal) else None

    def thread(self, thread: str) -> list[Row]:
        found: list[Row] = []
        while (row := self.row(f"{thread}.{len(found)}")) is not None:
            found.append(row)
        return found

    def rows(self, *, after: int = 0, limit: int | None = None) -> Iterator[Row]:
        last = len(self._journal) if limit is None else min(after + limit, len(self._journal))
        for place in range(after, last):
            yield self._journal[place]

    def touching(self, account: int, *, before: int = 0, limit: int = 50) -> list[Row]:
        sequences = self._touched.get(account, [])
        newest = [s for s in reversed(sequences) if not before or s < before][:limit]
        return [self._journal[sequence - 1] for sequence in newest]

    @property
    def head(self) -> int:
        return len(self._journal)

    def save(self, companion: bytes = b"") -> None:
        self._companion = companion

    def saved(self) -> tuple[int, bytes]:
        return 0, b""

    def close(self) -> None:
        """Nothing is open."""


def as_row(bundle: Bundle, sequence: int) -> Row:
    return Row(
        sequence=sequence,
        id=bundle.id,
        at=bundle.at,
        transfers=bundle.transfers,
        opens=bundle.opens,
        story=bundle.story,
    )


def same(row: Row, bundle: Bundle) -> bool:
    """Tell whether a bundle repeats a line: the same money moves; time and story may differ."""
    return row.transfers == bundle.transfers and row.opens == bundle.opens


def touched(bundle: Bundle | Row) -> set[int]:
    """Return the accounts whose statement shows this bundle: those of its leading transfer."""
    return {bundle.transfers[0].source, bundle.transfers[0].target} if bundle.transfers else set()
