"""The port of all that lives in SQL apart from the journal: what SQLite and PostgreSQL both promise.

Statements are written once, in the words that both understand: values by name (`:id`), ON CONFLICT,
RETURNING, no rowid, booleans as 0 and 1, whole numbers of 64 bits, bytes as bytes.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

NUMBER_MAX = (1 << 63) - 1
"""The largest whole number that a database takes: what people typed is compared with it first."""

Value = str | bytes | int | float | None
Kind = Literal["sqlite", "postgres"]


class DatabaseDamaged(RuntimeError):
    """The database is none, or is broken. Restore it from a copy."""


class ServerUnfit(RuntimeError):
    """A server, or its settings, would not keep what it was given. The message says what to do."""


class NotUnique(Exception):
    """A row with the same key is there already. Nothing of the transaction was kept."""


class Row(Protocol):
    """One row of an answer, read by column name or by place; `dict(row)` works."""

    def __getitem__(self, key: int | str, /) -> Any: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __len__(self) -> int: ...
    def keys(self) -> list[str]: ...


class Sql(Protocol):
    """A database. What `run` or `transaction` wrote is durable when they return.

    Every call may come from any thread. Raise Unavailable where nothing was written, OutcomeUnknown
    where a commit is unclear, NotUnique, DatabaseDamaged.
    """

    @property
    def name(self) -> str:
        """Return what people call it: a file's name, or a schema's. Never a secret."""
        ...

    @property
    def kind(self) -> Kind: ...

    def transaction(self) -> AbstractContextManager[None]:
        """Keep all that is written inside, or nothing when anything is raised.

        One transaction at a time: other threads and processes wait. `query` and `one` inside see
        what was written inside. Transactions do not nest.
        """
        ...

    def query(self, sql: str, /, **values: Value) -> list[Row]:
        """Return all rows."""
        ...

    def one(self, sql: str, /, **values: Value) -> Row | None:
        """Return the first row, or None."""
        ...

    def run(self, sql: str, /, **values: Value) -> int:
        """Write, in the open transaction or in one of its own; return how many rows changed."""
        ...

    def run_many(self, sql: str, rows: Iterable[Mapping[str, Value]], /) -> int:
        """Write one statement for many rows, all or none; return how many rows changed."""
        ...

    def has_table(self, name: str) -> bool: ...

    def changed_elsewhere(self) -> bool:
        """Tell whether anybody else has written since this was last asked.

        Never waits for a transaction: what cannot be asked now is answered False and may be asked
        again.
        """
        ...

    def close(self) -> None:
        """Let the database go. What was committed stays; closing twice is harmless."""
        ...
