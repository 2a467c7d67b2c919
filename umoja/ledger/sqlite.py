"""The embedded engine: a journal of wide rows in one SQLite file, state as its fold in memory."""

import hashlib
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from umoja.clock import Clock
from umoja.faults import OutcomeUnknown, Unavailable
from umoja.ledger.entries import Account, Bundle, Row, Transfer, Verdict
from umoja.ledger.memory import JournalBatch
from umoja.ledger.rules import Snapshot, State
from umoja.storage.database import Database
from umoja.storage.migrate import migrate

ROWS_BETWEEN_CHECKPOINTS = 50_000
PAGE = 5_000

_moves = msgspec.msgpack.Encoder()
_read_moves = msgspec.msgpack.Decoder(tuple[tuple[Transfer, ...], tuple[Account, ...]])
_read_snapshot = msgspec.msgpack.Decoder(Snapshot)


class Fenced(Unavailable):
    """Another writer has taken over this journal: this one may not write any more."""


class JournalDamaged(RuntimeError):
    """A line of the journal cannot be read or breaks a rule. Restore it from a copy."""


class SqliteLedger:
    """A Ledger in a file. Every `post` is on the disk when it returns."""

    def __init__(
        self, path: Path, *, clock: Clock, progress: Callable[[int, int], None] = lambda *_: None
    ) -> None:
        """Open or make the journal and fold what the checkpoint does not hold yet.

        `progress` is told lines folded and lines to fold.
        """
        database = Database(path)
        migrate(database, "journal", clock)
        database.close()
        self._lock = threading.Lock()
        self._store = _connect(path)
        self._reader = _connect(path)
        self._reader_lock = threading.Lock()
        self._epoch = self._take_over()
        self._unsure = False
        (head,) = self._store.execute("SELECT coalesce(max(sequence), 0) FROM journal").fetchone()
        self._head = int(head)
        self._saved_at, self._companion, self.state = self._load_checkpoint()
        self._fold(progress)

    # Opening

    def _take_over(self) -> int:
        self._store.execute("BEGIN IMMEDIATE")
        (epoch,) = self._store.execute(
            "UPDATE writer SET epoch = epoch + 1 RETURNING epoch"
        ).fetchone()
        self._store.execute("COMMIT")
        return int(epoch)

    def _load_checkpoint(self) -> tuple[int, bytes, State]:
        found = self._store.execute(
            "SELECT sequence, state, companion, sha256 FROM checkpoint"
        ).fetchone()
        if found is None:
            return 0, b"", State()
        sequence, state, companion, digest = found
        # A checkpoint is only a short cut: a damaged or a too new one is passed over.
        if hashlib.sha256(state + companion).digest() != digest or sequence > self._head:
            return 0, b"", State()
        return sequence, companion, State.restored(_read_snapshot.decode(zlib.decompress(state)))

    def _fold(self, progress: Callable[[int, int], None]) -> None:
        todo = self._head - self._saved_at
        for done, row in enumerate(self.rows(after=self._saved_at), start=1):
            verdict = self.state.apply(Bundle(row.id, row.at, row.transfers, row.opens, row.story))
            if verdict is not Verdict.DONE:
                raise JournalDamaged(f"line {row.sequence} breaks a rule: {verdict.name}")
            if done % 5000 == 0:
                progress(done, todo)

    # Writing

    @contextmanager
    def batch(self) -> Iterator[JournalBatch]:
        with self._lock:
            if self._unsure:
                raise Unavailable("the journal's last commit is unclear: start again")
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
        """Commit the rows of a batch. Raise Unavailable: the journal does not have them.

        After a failed commit the journal is asked whether it has them after all.
        """
        lines = [_line(row) for row in rows]
        try:
            self._store.execute("BEGIN IMMEDIATE")
            self._require_epoch()
            self._store.executemany("INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?, ?)", lines)
            self._store.execute("COMMIT")
        except (sqlite3.Error, Fenced) as cause:
            self._roll_back()
            if isinstance(cause, Fenced):
                raise
            if not self._is_kept(rows[-1].sequence, rows[-1].id):
                raise Unavailable(f"the journal cannot be written: {cause}") from cause
        self._head = rows[-1].sequence

    def _require_epoch(self) -> None:
        """Raise Fenced where another writer has taken the journal over."""
        (epoch,) = self._store.execute("SELECT epoch FROM writer").fetchone()
        if epoch != self._epoch:
            raise Fenced(f"writer {epoch} has taken over from writer {self._epoch}")

    def _roll_back(self) -> None:
        if self._store.in_transaction:
            try:
                self._store.rollback()
            except sqlite3.Error as cause:
                self._unsure = True
                raise OutcomeUnknown("the journal's last commit is unclear") from cause

    def _is_kept(self, sequence: int, bundle_id: str) -> bool:
        try:
            found = self._store.execute(
                "SELECT id FROM journal WHERE sequence = ?", (sequence,)
            ).fetchone()
        except sqlite3.Error as cause:
            self._unsure = True  # memory and journal may differ: nobody writes until a new start
            raise OutcomeUnknown("the journal's last commit is unclear") from cause
        return found is not None and found[0] == bundle_id

    # Reading

    def row(self, bundle_id: str) -> Row | None:
        return self._one("WHERE id = ?", (bundle_id,))

    def at_sequence(self, sequence: int) -> Row | None:
        return self._one("WHERE sequence = ?", (sequence,))

    def _one(self, where: str, values: tuple[object, ...]) -> Row | None:
        with self._reader_lock:
            line = self._reader.execute(
                f"SELECT sequence, id, at, moves, story FROM journal {where}", values
            ).fetchone()
        return None if line is None else _row(line)

    def thread(self, thread: str) -> list[Row]:
        found: list[Row] = []
        while (row := self.row(f"{thread}.{len(found)}")) is not None:
            found.append(row)
        return found

    def rows(self, *, after: int = 0, limit: int | None = None) -> Iterator[Row]:
        left = limit
        while left is None or left > 0:
            with self._reader_lock:
                page = self._reader.execute(
                    "SELECT sequence, id, at, moves, story FROM journal"
                    " WHERE sequence > ? ORDER BY sequence LIMIT ?",
                    (after, PAGE if left is None else min(PAGE, left)),
                ).fetchall()
            if not page:
                return
            for line in page:
                yield _row(line)
            after = page[-1][0]
            if left is not None:
                left -= len(page)

    def touching(self, account: int, *, before: int = 0, limit: int = 50) -> list[Row]:
        below = before or 2**62
        with self._reader_lock:
            lines = self._reader.execute(
                "SELECT sequence, id, at, moves, story FROM journal WHERE sequence IN ("
                " SELECT sequence FROM (SELECT sequence FROM journal"
                "  WHERE source = :account AND source <> 0 AND sequence < :below"
                "  ORDER BY sequence DESC LIMIT :limit)"
                " UNION SELECT sequence FROM (SELECT sequence FROM journal"
                "  WHERE target = :account AND target <> 0 AND sequence < :below"
                "  ORDER BY sequence DESC LIMIT :limit))"
                " ORDER BY sequence DESC LIMIT :limit",
                {"account": account, "below": below, "limit": limit},
            ).fetchall()
        return [_row(line) for line in lines]

    @property
    def head(self) -> int:
        return self._head

    # Checkpoints

    def save(self, companion: bytes = b"") -> None:
        with self._lock:
            state = zlib.compress(msgspec.msgpack.encode(self.state.snapshot()), 1)
            digest = hashlib.sha256(state + companion).digest()
            try:
                self._store.execute("BEGIN IMMEDIATE")
                self._store.execute(
                    "INSERT INTO checkpoint VALUES (1, ?, ?, ?, ?) ON CONFLICT (only) DO UPDATE SET"
                    " sequence = excluded.sequence, state = excluded.state,"
                    " companion = excluded.companion, sha256 = excluded.sha256",
                    (self._head, state, companion, digest),
                )
                self._store.execute("COMMIT")
            except sqlite3.Error as cause:
                if self._store.in_transaction:
                    self._store.rollback()
                raise Unavailable(f"the checkpoint cannot be written: {cause}") from cause

    def saved(self) -> tuple[int, bytes]:
        return self._saved_at, self._companion

    def close(self) -> None:
        with self._lock, self._reader_lock:
            self._store.close()
            self._reader.close()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA busy_timeout = 5000")
    return connection


def _row(line: tuple[int, str, int, bytes, bytes]) -> Row:
    sequence, bundle_id, at, moves, story = line
    transfers, opens = _read_moves.decode(moves)
    return Row(
        sequence=sequence, id=bundle_id, at=at, transfers=transfers, opens=opens, story=story
    )


def _line(row: Row) -> tuple[int, str, int, int, int, bytes, bytes]:
    lead = row.transfers[0] if row.transfers else None
    return (
        row.sequence,
        row.id,
        row.at,
        lead.source if lead else 0,
        lead.target if lead else 0,
        _moves.encode((row.transfers, row.opens)),
        row.story,
    )


def journal_rows(path: Path) -> Iterator[Row]:
    """Yield a journal's lines without writing to it, also while its writer is at work.

    Raise FileNotFoundError where there is no journal.
    """
    if not path.exists():
        raise FileNotFoundError(path)
    reader = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, timeout=5)
    try:
        after = 0
        while True:
            page = reader.execute(
                "SELECT sequence, id, at, moves, story FROM journal"
                " WHERE sequence > ? ORDER BY sequence LIMIT ?",
                (after, PAGE),
            ).fetchall()
            if not page:
                return
            for line in page:
                yield _row(line)
            after = page[-1][0]
    finally:
        reader.close()
