"""The embedded shelf: a journal's lines in one SQLite file."""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from umoja.clock import Clock
from umoja.faults import OutcomeUnknown, Unavailable
from umoja.ledger.entries import Row
from umoja.ledger.journal import (
    PAGE,
    Checkpoint,
    Fenced,
    Journal,
    Line,
    column_of,
    columns_whole,
    row_of,
)
from umoja.ledger.keys import Column
from umoja.storage.database import Database
from umoja.storage.migrate import migrate

_LINE = "sequence, id, at, source_before, target_before, moves, story"


class SqliteShelf:
    """Lines in a file. What `append` took is on the disk when it returns."""

    def __init__(self, path: Path, *, clock: Clock) -> None:
        """Open or make the file and take the next epoch: a writer before this one is fenced off."""
        database = Database(path)
        migrate(database, "journal", clock)
        database.close()
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        self._writer = _connect(path)
        self._reader = _connect(path)
        self._epoch = self._take_over()

    def _take_over(self) -> int:
        self._writer.execute("BEGIN IMMEDIATE")
        (epoch,) = self._writer.execute(
            "UPDATE writer SET epoch = epoch + 1 RETURNING epoch"
        ).fetchone()
        self._writer.execute("COMMIT")
        return int(epoch)

    def head(self) -> int:
        with self._reading:
            (head,) = self._reader.execute(
                "SELECT coalesce(max(sequence), 0) FROM journal"
            ).fetchone()
        return int(head)

    def append(self, lines: Sequence[Line]) -> None:
        with self._writing:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                self._require_epoch()
                self._writer.executemany("INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?, ?)", lines)
                self._writer.execute("COMMIT")
            except Fenced:
                self._roll_back()
                raise
            except sqlite3.Error as cause:
                self._roll_back()
                # A failed commit may have reached the disk: the journal is asked.
                if not self._is_kept(lines[-1]):
                    raise Unavailable(f"the journal cannot be written: {cause}") from cause

    def _require_epoch(self) -> None:
        """Raise Fenced where another writer has taken the journal over."""
        (epoch,) = self._writer.execute("SELECT epoch FROM writer").fetchone()
        if epoch != self._epoch:
            raise Fenced(f"writer {epoch} has taken over from writer {self._epoch}")

    def _roll_back(self) -> None:
        if self._writer.in_transaction:
            try:
                self._writer.rollback()
            except sqlite3.Error as cause:
                raise OutcomeUnknown("the journal's last commit is unclear") from cause

    def _is_kept(self, line: Line) -> bool:
        try:
            found = self._writer.execute(
                "SELECT id FROM journal WHERE sequence = ?", (line[0],)
            ).fetchone()
        except sqlite3.Error as cause:
            raise OutcomeUnknown("the journal's last commit is unclear") from cause
        return found is not None and found[0] == line[1]

    def line(self, sequence: int) -> Line | None:
        with self._reading:
            found: Line | None = self._reader.execute(
                f"SELECT {_LINE} FROM journal WHERE sequence = ?", (sequence,)
            ).fetchone()
        return found

    def lines(self, *, after: int, limit: int) -> list[Line]:
        with self._reading:
            return _page(self._reader, after, limit)

    def ids(self, *, after: int, limit: int) -> list[tuple[int, str]]:
        with self._reading:
            return self._reader.execute(
                "SELECT sequence, id FROM journal WHERE sequence > ? ORDER BY sequence LIMIT ?",
                (after, limit),
            ).fetchall()

    def checkpoint(self) -> Checkpoint | None:
        with self._reading:
            found = self._reader.execute(
                "SELECT sequence, state, companion, sha256 FROM checkpoint"
            ).fetchone()
        if found is None:
            return None
        sequence, state, companion, sha256 = found
        return Checkpoint(sequence=sequence, state=state, companion=companion, sha256=sha256)

    def keep_checkpoint(self, checkpoint: Checkpoint, columns: Sequence[Column]) -> None:
        with self._writing:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                self._require_epoch()
                self._writer.execute(
                    "INSERT INTO checkpoint VALUES (1, ?, ?, ?, ?) ON CONFLICT (only) DO UPDATE SET"
                    " sequence = excluded.sequence, state = excluded.state,"
                    " companion = excluded.companion, sha256 = excluded.sha256",
                    (
                        checkpoint.sequence,
                        checkpoint.state,
                        checkpoint.companion,
                        checkpoint.sha256,
                    ),
                )
                self._keep_columns(columns)
                self._writer.execute("COMMIT")
            except (sqlite3.Error, Fenced) as cause:
                self._roll_back()
                if isinstance(cause, Fenced):
                    raise
                raise Unavailable(f"the checkpoint cannot be written: {cause}") from cause

    def _keep_columns(self, columns: Sequence[Column]) -> None:
        kept = set(self._writer.execute("SELECT first, last FROM keys").fetchall())
        now = {(column.first, column.last) for column in columns}
        self._writer.executemany(
            "DELETE FROM keys WHERE first = ? AND last = ?", sorted(kept - now)
        )
        for column in columns:
            if (column.first, column.last) not in kept:
                self._writer.execute(
                    "INSERT INTO keys VALUES (?, ?, ?, ?, ?)",
                    (
                        column.first,
                        column.last,
                        column.digests.tobytes(),
                        column.lines.tobytes(),
                        column.sha256(),
                    ),
                )

    def columns(self) -> list[Column]:
        with self._reading:
            kept = self._reader.execute(
                "SELECT first, last, digests, lines, sha256 FROM keys ORDER BY first"
            ).fetchall()
        found = [column for row in kept if (column := column_of(*row)) is not None]
        return found if len(found) == len(kept) and columns_whole(found) else []

    def close(self) -> None:
        with self._writing, self._reading:
            self._writer.close()
            self._reader.close()


class SqliteLedger(Journal):
    """A Ledger in a file."""

    def __init__(
        self, path: Path, *, clock: Clock, progress: Callable[[int, int], None] = lambda *_: None
    ) -> None:
        """Open or make the journal; see Journal for `progress` and what is raised."""
        super().__init__(SqliteShelf(path, clock=clock), progress=progress)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA busy_timeout = 5000")
    return connection


def _page(reader: sqlite3.Connection, after: int, limit: int) -> list[Line]:
    return reader.execute(
        f"SELECT {_LINE} FROM journal WHERE sequence > ? ORDER BY sequence LIMIT ?",
        (after, limit),
    ).fetchall()


def journal_rows(path: Path) -> Iterator[Row]:
    """Yield a journal's lines without writing to it, also while its writer is at work.

    Raise FileNotFoundError where there is no journal.
    """
    if not path.exists():
        raise FileNotFoundError(path)
    reader = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, timeout=5)
    try:
        after = 0
        while page := _page(reader, after, PAGE):
            yield from map(row_of, page)
            after = page[-1][0]
    finally:
        reader.close()
