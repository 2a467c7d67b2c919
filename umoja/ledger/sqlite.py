"""The embedded shelf: a journal's lines in one SQLite file."""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from umoja.clock import Clock
from umoja.faults import OutcomeUnknown, Unavailable
from umoja.ledger.chain import JournalDamaged, Line, Seal
from umoja.ledger.entries import Row
from umoja.ledger.journal import (
    Checkpoint,
    Fenced,
    Journal,
    column_of,
    columns_whole,
    row_of,
)
from umoja.ledger.keys import Column
from umoja.ledger.roll import Roll, Segment
from umoja.storage.database import Database
from umoja.storage.migrate import migrate

_SEALED = "INSERT INTO seals (last, first, digest, epoch, at) VALUES (?, ?, ?, ?, ?)"
_SEGMENT = (
    "INSERT INTO archives (last, first, file, sha256, before, after, at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_CHECKPOINT = "SELECT sequence, state, companion, sha256 FROM checkpoint"
_AT_ONCE = 512  # lines in a statement; a power of two
_LINE = "sequence, id, at, source_before, target_before, moves, story"


@cache
def _inserting(size: int) -> str:
    return "INSERT INTO journal VALUES " + ", ".join(["(?, ?, ?, ?, ?, ?, ?)"] * size)


class SqliteStock:
    """What a file keeps of a journal: see umoja.ledger.roll.Stock."""

    def __init__(self, path: Path, reader: sqlite3.Connection) -> None:
        self._path = path
        self._reading = threading.Lock()
        self._reader = reader

    @property
    def where(self) -> str:
        return f"{self._path.parent.name}/{self._path.name}"

    def _read(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        with self._reading:
            try:
                return self._reader.execute(query, values).fetchall()
            except sqlite3.DatabaseError as cause:
                if is_damaged(cause):
                    raise JournalDamaged(f"{self.where} is damaged: {cause}") from cause
                raise Unavailable(f"{self.where} cannot be read now: {cause}") from cause

    def head(self) -> int:
        return int(self._read("SELECT coalesce(max(sequence), 0) FROM journal")[0][0])

    def line(self, sequence: int) -> Line | None:
        found = self._read(f"SELECT {_LINE} FROM journal WHERE sequence = ?", (sequence,))
        return found[0] if found else None

    def lines(self, *, after: int, limit: int) -> list[Line]:
        return self._read(
            f"SELECT {_LINE} FROM journal WHERE sequence > ? ORDER BY sequence LIMIT ?",
            (after, limit),
        )

    def ids(self, *, after: int, limit: int) -> list[tuple[int, str]]:
        return self._read(
            "SELECT sequence, id FROM journal WHERE sequence > ? ORDER BY sequence LIMIT ?",
            (after, limit),
        )

    def stories(self, *, after: int, limit: int) -> list[tuple[int, bytes]]:
        return self._read(
            "SELECT sequence, story FROM journal WHERE sequence > ? ORDER BY sequence LIMIT ?",
            (after, limit),
        )

    def seals(self, *, after: int, limit: int) -> list[Seal]:
        rows = self._read(
            "SELECT last, first, digest, epoch, at FROM seals WHERE last > ? ORDER BY last LIMIT ?",
            (after, limit),
        )
        return [Seal(*row) for row in rows]

    def segments(self) -> list[Segment]:
        rows = self._read(
            "SELECT last, first, file, sha256, before, after, at FROM archives ORDER BY last"
        )
        return [Segment(*row) for row in rows]

    def unsealed(self) -> int:
        return int(self._read("SELECT unsealed FROM writer")[0][0])


class SqliteShelf(SqliteStock):
    """Lines in a file. What `append` took is on the disk when it returns."""

    def __init__(self, path: Path, *, clock: Clock) -> None:
        """Open or make the file and take the next epoch: a writer before this one is fenced off."""
        database = Database(path)
        migrate(database, "journal", clock)
        database.close()
        super().__init__(path, _connect(path))
        self._writing = threading.Lock()
        self._writer = _connect(path)
        self._are_columns_sound = True
        try:
            # What a writer left behind that failed at its last sync may be in memory only, and
            # look kept: written again and synced before anything rests on it.
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._epoch = self._take_over()
        except sqlite3.Error as cause:
            self.close()
            raise Unavailable(f"the journal cannot be opened for writing: {cause}") from cause

    def _take_over(self) -> int:
        self._writer.execute("BEGIN IMMEDIATE")
        (epoch,) = self._writer.execute(
            "UPDATE writer SET epoch = epoch + 1, unsealed = CASE WHEN unsealed < 0"
            " THEN (SELECT coalesce(max(sequence), 0) FROM journal) ELSE unsealed END"
            " RETURNING epoch"
        ).fetchone()
        self._writer.execute("COMMIT")
        return int(epoch)

    def append(self, lines: Sequence[Line], seal: Seal) -> None:
        with self._writing:
            is_sent = False
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                self._require_epoch()
                self._insert(lines)
                self._writer.execute(_SEALED, seal._replace(epoch=self._epoch))
                is_sent = True
                self._writer.execute("COMMIT")
            except Fenced:
                self._roll_back()
                raise
            except sqlite3.Error as cause:
                self._roll_back()
                if is_sent and _is_of_disk(cause):
                    # The lines may be in the file, whole, and only their sync have failed: this
                    # process does not see them, and the next one may.
                    raise OutcomeUnknown(
                        f"the disk failed in the journal's last commit ({cause})"
                    ) from cause
                # A failed commit may have reached the disk: the journal is asked.
                if not self._is_kept(seal):
                    raise Unavailable(f"the journal cannot be written: {cause}") from cause

    def _insert(self, lines: Sequence[Line]) -> None:
        """Insert lines, many in a statement: the interpreter is let go once for each statement."""
        first, left, size = 0, len(lines), _AT_ONCE
        while left:
            while size > left:
                size //= 2
            part = lines[first : first + size]
            self._writer.execute(_inserting(size), tuple(chain.from_iterable(part)))
            first, left = first + size, left - size

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

    def _is_kept(self, seal: Seal) -> bool:
        try:
            found = self._writer.execute(
                "SELECT digest FROM seals WHERE last = ?", (seal.last,)
            ).fetchone()
        except sqlite3.Error as cause:
            raise OutcomeUnknown("the journal's last commit is unclear") from cause
        return found is not None and found[0] == seal.digest

    def keep_seals(self, seals: Sequence[Seal]) -> None:
        with self._writing:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                self._require_epoch()
                self._writer.executemany(_SEALED, [s._replace(epoch=self._epoch) for s in seals])
                self._writer.execute("COMMIT")
            except (sqlite3.Error, Fenced) as cause:
                self._roll_back()
                if isinstance(cause, Fenced):
                    raise
                raise Unavailable(f"seals cannot be written: {cause}") from cause

    def checkpoint(self) -> Checkpoint | None:
        return _checkpoint(self._read(_CHECKPOINT))

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
                self._keep_columns(columns, anew=not self._are_columns_sound)
                self._writer.execute("COMMIT")
                self._are_columns_sound = True
            except (sqlite3.Error, Fenced) as cause:
                self._roll_back()
                if isinstance(cause, Fenced):
                    raise
                raise Unavailable(f"the checkpoint cannot be written: {cause}") from cause

    def _keep_columns(self, columns: Sequence[Column], *, anew: bool) -> None:
        if anew:
            self._writer.execute("DELETE FROM keys")
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
        kept = self._read("SELECT first, last, digests, lines, sha256 FROM keys ORDER BY first")
        found = [column for row in kept if (column := column_of(*row)) is not None]
        # What is damaged is left out now, and written anew with the next checkpoint.
        self._are_columns_sound = len(found) == len(kept) and columns_whole(found)
        return found if self._are_columns_sound else []

    def close(self) -> None:
        with self._writing, self._reading:
            self._writer.close()
            self._reader.close()


class SqliteArchiveStore(SqliteStock):
    """A journal's file as whoever archives it uses it, also beside its writer: it takes no epoch."""

    def __init__(self, path: Path) -> None:
        """Open a journal. Raise FileNotFoundError where there is none."""
        if not path.exists():
            raise FileNotFoundError(path)
        super().__init__(path, _connect(path))

    def checkpoint(self) -> Checkpoint | None:
        return _checkpoint(self._read(_CHECKPOINT))

    def first(self) -> int:
        return int(self._read("SELECT coalesce(min(sequence), 0) FROM journal")[0][0])

    def keep_segment(self, segment: Segment) -> None:
        self._write((_SEGMENT, segment))

    def drop(self, until: int) -> None:
        self._write(
            ("DELETE FROM journal WHERE sequence <= ?", (until,)),
            ("DELETE FROM seals WHERE last <= ?", (until,)),
        )

    def _write(self, *statements: tuple[str, Sequence[object]]) -> None:
        with self._reading:
            try:
                self._reader.execute("BEGIN IMMEDIATE")
                for statement, values in statements:
                    self._reader.execute(statement, values)
                self._reader.execute("COMMIT")
            except sqlite3.Error as cause:
                if self._reader.in_transaction:
                    self._reader.rollback()
                raise Unavailable(f"the journal cannot be archived now: {cause}") from cause

    def close(self) -> None:
        with self._reading:
            self._reader.close()


class SqliteLedger(Journal):
    """A Ledger in a file."""

    def __init__(
        self, path: Path, *, clock: Clock, progress: Callable[[int, int], None] = lambda *_: None
    ) -> None:
        """Open or make the journal; see Journal for `progress` and what is raised.

        Archive files are in the folder `archive` beside it.
        """
        shelf = SqliteShelf(path, clock=clock)
        try:
            super().__init__(shelf, archive=archive_of(path), progress=progress)
        except BaseException:
            shelf.close()
            raise


def _checkpoint(rows: Sequence[Any]) -> Checkpoint | None:
    if not rows:
        return None
    sequence, state, companion, sha256 = rows[0]
    return Checkpoint(sequence=sequence, state=state, companion=companion, sha256=sha256)


def archive_of(path: Path) -> Path:
    """Return the folder of the archive files of a journal's file, wherever links to it lead from."""
    return path.resolve().with_name("archive")


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA busy_timeout = 5000")
    return connection


def _is_of_disk(cause: sqlite3.Error) -> bool:
    """Tell whether the disk itself failed, not for want of room or of rights."""
    return getattr(cause, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_IOERR


def is_damaged(cause: sqlite3.DatabaseError) -> bool:
    """Tell whether a file is no database any more, or its pages contradict each other."""
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    return code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class SqliteRoll(Roll):
    """A journal's lines and seals, read beside its writer and never written."""

    def __init__(self, path: Path) -> None:
        """Open a journal. Raise FileNotFoundError where there is none."""
        if not path.exists():
            raise FileNotFoundError(path)
        self._database = sqlite3.connect(
            f"file:{path}?mode=ro",
            uri=True,
            isolation_level=None,
            timeout=5,
            check_same_thread=False,
        )
        known = self._database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'seals'")
        super().__init__(
            SqliteStock(path, self._database), archive_of(path), is_bare=known.fetchone() is None
        )

    def close(self) -> None:
        super().close()
        self._database.close()


def journal_rows(path: Path) -> Iterator[Row]:
    """Yield a journal's lines from its files and its database, each proven by its seal.

    It writes nothing, and may run while the writer is at work. Raise FileNotFoundError where there
    is no journal, JournalDamaged.
    """
    roll = SqliteRoll(path)
    try:
        for lines, _ in roll.sealed():
            yield from map(row_of, lines)
    finally:
        roll.close()
