"""The reference engine: the same promises in plain memory, plainly. For tests and simulated days."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from umoja.faults import Unavailable
from umoja.ledger.entries import Bundle, Row, Verdict
from umoja.ledger.rules import State, Taken, Undo


class MemoryBatch:
    """A Batch of the reference engine."""

    def __init__(self, ledger: "MemoryLedger", before: "MemoryBatch | None" = None) -> None:
        self._ledger = ledger
        self._before = before
        self._undo: Undo = []
        self._rows: dict[str, Row] = {}
        self._is_ended = False

    def post(self, bundle: Bundle) -> Verdict:
        before = self.row(bundle.id)
        if before is not None:
            is_same = (before.transfers, before.opens) == (bundle.transfers, bundle.opens)
            return Verdict.DONE if is_same else Verdict.ID_DIFFERS
        verdict = self._ledger.state.apply(bundle, self._undo)
        if verdict is Verdict.DONE:
            self._rows[bundle.id] = self._row(bundle)
        return verdict

    def row(self, bundle_id: str) -> Row | None:
        own = self._rows.get(bundle_id)
        return own or (self._before or self._ledger).row(bundle_id)

    @property
    def next_sequence(self) -> int:
        before = self._ledger.head + 1 if self._before is None else self._before.next_sequence
        return before + len(self._rows)

    def commit(self) -> None:
        self.keep()
        self.stand()

    def keep(self) -> None:
        """There is no disk. Raise Unavailable where the ledger was shut meanwhile."""
        self._ledger.require_open()

    def stand(self) -> None:
        self._ledger.append(list(self._rows.values()))
        self._rows.clear()
        self._undo.clear()

    def end(self) -> None:
        if not self._is_ended:
            self._is_ended = True
            self._rows.clear()
            self._before = None
            self._ledger.take_back(self._undo)

    def _row(self, bundle: Bundle) -> Row:
        lead = bundle.transfers[0] if bundle.transfers else None
        return Row(
            sequence=self.next_sequence,
            id=bundle.id,
            at=bundle.at,
            transfers=bundle.transfers,
            opens=bundle.opens,
            story=bundle.story,
            source_before=self.line_before(lead.source) if lead else 0,
            target_before=self.line_before(lead.target) if lead else 0,
        )

    def line_before(self, account: int) -> int:
        for row in reversed(self._rows.values()):
            if account in led(row):
                return row.sequence
        if self._before is not None:
            return self._before.line_before(account)
        return max(self._ledger.touched.get(account, [0]))


class MemoryLedger:
    """A Ledger that forgets everything when it goes."""

    def __init__(self) -> None:
        self.state = State()
        self.touched: dict[int, list[int]] = {}
        self._journal: list[Row] = []
        self._places: dict[str, int] = {}
        self._lock = threading.RLock()
        self._shut = ""

    def shut(self, why: str) -> None:
        self._shut = self._shut or why

    def doubt(self, why: str) -> None:
        self.shut(why)

    @contextmanager
    def batch(self) -> Iterator[MemoryBatch]:
        batch = self.begin()
        try:
            yield batch
        finally:
            batch.end()

    def begin(self, before: MemoryBatch | None = None) -> MemoryBatch:
        self._lock.acquire()
        if before is None:
            try:
                self.require_open()
            except Unavailable:
                self._lock.release()
                raise
        return MemoryBatch(self, before)

    def require_open(self) -> None:
        """Raise Unavailable where nothing may be written any more."""
        if self._shut:
            raise Unavailable(self._shut)

    def take_back(self, undo: Undo) -> None:
        """End a batch, what it did taken back."""
        self.state.take_back(undo)
        self._lock.release()

    @property
    def is_awaited(self) -> bool:
        return False  # its lock is let go only by whoever took it

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
            for account in led(row):
                self.touched.setdefault(account, []).append(row.sequence)
                self.state.touch(account, row.sequence)

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

    def stories(self, *, after: int = 0) -> Iterator[tuple[int, bytes]]:
        for row in self.rows(after=after):
            yield row.sequence, row.story

    def touching(self, account: int, *, before: int = 0, limit: int = 50) -> list[Row]:
        sequences = self.touched.get(account, [])
        newest = [s for s in reversed(sequences) if not before or s < before][:limit]
        return [self._journal[sequence - 1] for sequence in newest]

    @property
    def is_unsure(self) -> bool:
        return False

    @property
    def head(self) -> int:
        return len(self._journal)

    def taken(self) -> Taken:
        return self.state.taken(self.head)

    def save(self, taken: Taken, companion: bytes = b"") -> None:
        """Keep nothing: there is no next start."""

    def saved(self) -> tuple[int, bytes]:
        return 0, b""

    def close(self) -> None:
        """Nothing is open."""


def led(row: Row) -> tuple[int, ...]:
    """Return the accounts whose statement shows this line: those of its leading transfer."""
    return (row.transfers[0].source, row.transfers[0].target) if row.transfers else ()
