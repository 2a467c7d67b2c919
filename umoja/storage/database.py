"""One SQLite file: opened safely, written in whole transactions, read beside them, by any thread."""

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from umoja.faults import OutcomeUnknown, Unavailable
from umoja.storage.port import DatabaseDamaged, Kind, NotUnique, Row, Value

__all__ = [
    "Database",
    "DatabaseDamaged",
    "NotUnique",
    "Row",
    "SqliteTooOld",
    "Value",
    "require_sqlite",
]

SQLITE_LEAST = (3, 37, 0)  # the first that knows STRICT tables
WAIT_S = 5.0

_NOT_NOW = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)
_TAKEN = frozenset(
    {
        sqlite3.SQLITE_CONSTRAINT_UNIQUE,
        sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
        sqlite3.SQLITE_CONSTRAINT_ROWID,
    }
)
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class SqliteTooOld(RuntimeError):
    """The SQLite library of this Python lacks what the tables need."""


class Database:
    """A database file. What `run` or `transaction` wrote is on the disk when they return.

    A disk that is full, a file that is read-only or locked by another for too long raise
    Unavailable: nothing happened. A commit that the disk failed in the middle of raises
    OutcomeUnknown. Statements take named values: `one("… WHERE id = :id", id=7)`.
    """

    def __init__(self, path: Path, *, wait_s: float = WAIT_S) -> None:
        """Open the file or make it, readable by its owner only (a folder made for it, too).

        `wait_s` is how long another process may hold the file before Unavailable is raised.
        """
        require_sqlite(sqlite3.sqlite_version_info)
        self.path = path
        self._lock = threading.RLock()
        self._reading = threading.Lock()
        self._owner = 0  # the thread whose transaction is open
        with self._faults():
            _keep_private(path)
            self._writer = _connect(path, wait_s)
            self._reader = _connect(path, wait_s)
            self._reader.execute("PRAGMA query_only = ON")
        self._version = self._data_version()

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def kind(self) -> Kind:
        return "sqlite"

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep all that is written inside, or nothing when anything is raised.

        One transaction at a time: other threads and processes wait. `query` and `one` inside see
        what was written inside. Transactions do not nest.
        """
        with self._lock:
            assert self._owner == 0, "a transaction is not begun inside another"
            with self._faults():
                self._writer.execute("BEGIN IMMEDIATE")
            self._owner = threading.get_ident()
            try:
                yield
                self._commit()
            finally:
                self._owner = 0
                self._abandon()

    def query(self, sql: str, /, **values: Value) -> list[Row]:
        """Return all rows, readable by column name and by place."""
        if self._owner == threading.get_ident():
            with self._faults():
                return self._writer.execute(sql, values).fetchall()
        with self._reading, self._faults():
            return self._reader.execute(sql, values).fetchall()

    def one(self, sql: str, /, **values: Value) -> Row | None:
        """Return the first row, or None."""
        rows = self.query(sql, **values)
        return rows[0] if rows else None

    def run(self, sql: str, /, **values: Value) -> int:
        """Write, in the open transaction or in one of its own; return how many rows changed."""
        if self._owner == threading.get_ident():
            with self._faults():
                return self._writer.execute(sql, values).rowcount
        with self.transaction():
            return self.run(sql, **values)

    def run_many(self, sql: str, rows: Iterable[Mapping[str, Value]], /) -> int:
        """Write one statement for many rows, all or none; return how many rows changed."""
        if self._owner == threading.get_ident():
            with self._faults():
                return self._writer.executemany(sql, rows).rowcount
        with self.transaction():
            return self.run_many(sql, rows)

    def has_table(self, name: str) -> bool:
        found = self.one(
            "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = :name", name=name
        )
        return found is not None

    def changed_elsewhere(self) -> bool:
        """Tell whether another connection to this file has written since this was last asked.

        Never waits: while a transaction of our own is open the answer is False, and the question
        may be asked again.
        """
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if self._owner:
                return False
            before, self._version = self._version, self._data_version()
            return before != self._version
        finally:
            self._lock.release()

    def close(self) -> None:
        """Close the file. What was committed stays; closing twice is harmless."""
        with self._lock, self._reading:
            self._reader.close()
            self._writer.close()

    def _data_version(self) -> int:
        with self._faults():
            (version,) = self._writer.execute("PRAGMA data_version").fetchone()
        return int(version)

    def _commit(self) -> None:
        try:
            self._writer.execute("COMMIT")
        except sqlite3.OperationalError as cause:
            if _primary(cause) == sqlite3.SQLITE_IOERR:
                # The line may have reached the disk although the disk did not say so.
                raise OutcomeUnknown(f"a commit to {self.path.name} is unclear: {cause}") from cause
            raise self._told(cause) from cause

    def _abandon(self) -> None:
        if self._writer.in_transaction:
            with self._faults():
                self._writer.execute("ROLLBACK")

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError as cause:
            if getattr(cause, "sqlite_errorcode", 0) in _TAKEN:
                raise NotUnique(str(cause)) from cause
            raise  # the caller's own rule, spoken by the database
        except (sqlite3.DatabaseError, OSError) as cause:
            told = self._told(cause)
            if told is cause:
                raise
            raise told from cause

    def _told(self, cause: sqlite3.DatabaseError | OSError) -> Exception:
        """Return the fault that says it in the house's words, or the cause where it is a bug."""
        if isinstance(cause, OSError):
            return Unavailable(f"{self.path.name} cannot be opened: {cause.strerror}")
        code = _primary(cause)
        if code in _DAMAGED:
            return DatabaseDamaged(f"{self.path.name} is no sound database: {cause}")
        if code in _NOT_NOW:
            return Unavailable(f"{self.path.name} cannot be used now: {cause}")
        return cause


def require_sqlite(version: tuple[int, ...]) -> None:
    """Raise SqliteTooOld where this version of the SQLite library will not do."""
    if version < SQLITE_LEAST:
        found, least = (".".join(map(str, parts)) for parts in (version, SQLITE_LEAST))
        raise SqliteTooOld(
            f"this Python brings SQLite {found}; Umoja needs {least} or newer:"
            " use a newer Python or operating system"
        )


def _primary(cause: sqlite3.DatabaseError) -> int:
    code: int = getattr(cause, "sqlite_errorcode", 0)
    return code & 0xFF


def _keep_private(path: Path) -> None:
    """Make the file before SQLite does: its companions (-wal, -shm) take over its permissions.

    One that is there is not opened: closing it would let go of every lock that this process has on
    it, and the next process to close the file would throw away the log that we are writing to.
    """
    _make_folder(path.parent)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDONLY, 0o600))
    if path.stat().st_mode & 0o077 and path.stat().st_uid == os.geteuid():
        path.chmod(0o600)


def _make_folder(folder: Path) -> None:
    if not folder.exists():
        _make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _connect(path: Path, wait_s: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=wait_s, isolation_level=None, check_same_thread=False
    )
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection
