"""A schema of a PostgreSQL database behind the port `Sql`: the tables that SQLite keeps in a file."""

import hashlib
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper, NumericBinaryLoader, NumericLoader

from umoja.faults import OutcomeUnknown, Unavailable
from umoja.storage.dialect import for_psycopg
from umoja.storage.port import Kind, NotUnique, Row, Value
from umoja.storage.postgres import (
    Connection,
    Link,
    Server,
    alone,
    in_short,
    make_schema,
    not_now,
    told,
)

_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
_ENDED = ("08", "57")  # the classes of errors in which a session ends, whatever it had sent


class PostgresDatabase:
    """Tables in a schema. What `run` or `transaction` wrote is durable when they return.

    `plan` names the set of tables: transactions on the same plan wait for each other in all
    processes, those on another plan of the same schema do not. Sessions are opened when they are
    needed and made anew when they are lost. See umoja.storage.port.Sql for what each call does.
    """

    def __init__(self, server: Server, plan: str) -> None:
        """Connect to nothing yet."""
        assert _NAME.fullmatch(plan), "a plan's name is a short word"
        self._server = server
        self._plan = plan
        self._lock = threading.RLock()
        self._owner = 0  # the thread whose transaction is open
        self._inside: Connection | None = None
        self._has_written = False
        self._is_ready = False
        self._seen: int | None = None  # the count of changes that is known
        self._writer = Link(server, on_open=_adapt)
        self._reader = Link(server, reads_only=True, on_open=_adapt)
        key = hashlib.blake2b(f"umoja {server.schema} {plan}".encode(), digest_size=8).digest()
        number = int.from_bytes(key, "big", signed=True)
        self._begin = f"BEGIN; SELECT pg_advisory_xact_lock({number})".encode()
        self._count = (
            f"UPDATE changes SET version = version + 1 WHERE name = '{plan}' RETURNING version;"
            " COMMIT"
        ).encode()

    @property
    def name(self) -> str:
        return f"{self._server.schema}.{self._plan}"

    @property
    def kind(self) -> Kind:
        return "postgres"

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep all that is written inside, or nothing: see Sql.transaction."""
        with self._lock:
            assert self._owner == 0, "a transaction is not begun inside another"
            self._make_ready()
            refused: Exception | None = None
            with told(), self._writer.use() as connection:
                connection.execute(self._begin)
                self._inside, self._has_written = connection, False
                self._owner = threading.get_ident()
                try:
                    yield
                except Exception as cause:
                    self._owner = 0
                    if not _rolled_back(connection):
                        raise  # the session ends with it, and the server forgets what was open
                    refused = cause
                else:
                    self._owner = 0
                    self._writer.goes_on()
                    self._commit(connection)
                finally:
                    self._owner = 0
                    self._inside = None
            if refused is not None:
                raise refused  # outside: the session is as good as before

    def query(self, statement: str, /, **values: Value) -> list[Row]:
        if self._owner == threading.get_ident():
            return self._ask(self._own(), statement, values)
        with told():
            try:
                return self._read(statement, values)
            except (psycopg.OperationalError, psycopg.InterfaceError):
                return self._read(statement, values)  # once more, on a session made anew

    def one(self, statement: str, /, **values: Value) -> Row | None:
        rows = self.query(statement, **values)
        return rows[0] if rows else None

    def run(self, statement: str, /, **values: Value) -> int:
        if self._owner != threading.get_ident():
            with self.transaction():
                return self.run(statement, **values)
        connection = self._own()
        self._has_written = True
        with _unique(), told():
            return _cursor(connection).execute(for_psycopg(statement).encode(), values).rowcount

    def run_many(self, statement: str, rows: Iterable[Mapping[str, Value]], /) -> int:
        if self._owner != threading.get_ident():
            with self.transaction():
                return self.run_many(statement, rows)
        connection = self._own()
        self._has_written = True
        with _unique(), told():
            cursor = _cursor(connection)
            cursor.executemany(for_psycopg(statement).encode(), rows)
            return max(cursor.rowcount, 0)

    def has_table(self, name: str) -> bool:
        row = self.one("SELECT to_regclass(:name)::text", name=name)
        return row is not None and row[0] is not None

    def changed_elsewhere(self) -> bool:
        """Tell whether anybody else has written through this port: see Sql.changed_elsewhere.

        A change by hand is not counted. While the server is away the answer is False: nobody writes
        then, and what was written is told once it is back.
        """
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if self._owner:
                return False
            row = self.one("SELECT version FROM changes WHERE name = :plan", plan=self._plan)
            now = int(row[0]) if row is not None else 0
            before, self._seen = self._seen, now
        except Unavailable:
            return False
        else:
            return before != now
        finally:
            self._lock.release()

    def close(self) -> None:
        self._writer.close()
        self._reader.close()

    def _own(self) -> Connection:
        assert self._inside is not None, "a transaction of this thread is open"
        self._writer.goes_on()
        return self._inside

    def _ask(self, connection: Connection, statement: str, values: Mapping[str, Any]) -> list[Row]:
        with told():
            return _cursor(connection).execute(for_psycopg(statement).encode(), values).fetchall()

    def _read(self, statement: str, values: Mapping[str, Any]) -> list[Row]:
        with self._reader.use() as connection:
            return _cursor(connection).execute(for_psycopg(statement).encode(), values).fetchall()

    def _make_ready(self) -> None:
        """See once that the schema and the count of changes are there: who may not make them may use them."""
        if self._is_ready:
            return
        with told(), self._writer.use() as connection:
            if not self._is_counted(connection):
                with alone(connection, self._server.schema):
                    make_schema(connection, self._server.schema)
                    connection.execute(
                        "CREATE TABLE IF NOT EXISTS changes"
                        " (name text PRIMARY KEY, version bigint NOT NULL)"
                    )
                    connection.execute(
                        "INSERT INTO changes VALUES (%s, 0) ON CONFLICT DO NOTHING", (self._plan,)
                    )
        self._is_ready = True

    def _is_counted(self, connection: Connection) -> bool:
        found = connection.execute("SELECT to_regclass('changes') IS NOT NULL").fetchone()
        if found is None or not found[0]:
            return False
        row = connection.execute("SELECT 1 FROM changes WHERE name = %s", (self._plan,)).fetchone()
        return row is not None

    def _commit(self, connection: Connection) -> None:
        """Commit, and count the change for whoever remembers rows."""
        try:
            if not self._has_written:
                ended = connection.execute("COMMIT").statusmessage
                version = None
            else:
                cursor = connection.execute(self._count)
                found = cursor.fetchone()
                version = int(found[0]) if found else None
                cursor.nextset()
                ended = cursor.statusmessage
        except psycopg.Error as cause:
            if self._has_written and _is_unclear(cause):
                raise OutcomeUnknown(
                    f"a commit to {self.name} is unclear: {in_short(cause)}"
                ) from cause
            raise  # the server said no: nothing was kept
        assert ended == "COMMIT", f"a transaction without errors ended in {ended}"
        if version is not None and self._seen is not None and version == self._seen + 1:
            self._seen = version  # nobody else wrote in between


class NamedRow:
    """A row that is read by column name or by place."""

    __slots__ = ("_places", "_values")

    def __init__(self, places: dict[str, int], values: Sequence[Any]) -> None:
        self._places = places
        self._values = values

    def __getitem__(self, key: int | str, /) -> Any:
        return self._values[key if isinstance(key, int) else self._places[key]]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def keys(self) -> list[str]:
        return list(self._places)


def named(cursor: psycopg.Cursor[Any]) -> Callable[[Sequence[Any]], Row]:
    """Return what makes a row of a cursor's values: a row factory of the driver's."""
    columns = cursor.description or ()
    places = {column.name: place for place, column in enumerate(columns)}
    return lambda values: NamedRow(places, values)


class _OneOrNought(Int8BinaryDumper):
    """A truth value is kept as SQLite keeps it."""

    def dump(self, obj: Any) -> bytes | bytearray | memoryview | None:
        return super().dump(int(obj))


class _Whole(NumericLoader):
    """A sum of whole numbers is a whole number."""

    def load(self, data: Any) -> Any:
        return _plain(super().load(data))


class _WholeBinary(NumericBinaryLoader):
    def load(self, data: Any) -> Any:
        return _plain(super().load(data))


def _plain(value: Any) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


def _cursor(connection: Connection) -> psycopg.Cursor[Row]:
    return connection.cursor(binary=True, row_factory=named)


def _adapt(connection: Connection) -> None:
    """Let values come and go as they do with SQLite."""
    adapters = connection.adapters
    adapters.register_dumper(int, Int8Dumper)
    adapters.register_dumper(int, Int8BinaryDumper)
    adapters.register_dumper(bool, _OneOrNought)
    adapters.register_loader("numeric", _Whole)
    adapters.register_loader("numeric", _WholeBinary)


def _rolled_back(connection: Connection) -> bool:
    try:
        connection.execute("ROLLBACK")
    except psycopg.Error:
        return False
    return True


def _is_unclear(cause: psycopg.Error) -> bool:
    """Tell whether the server may have committed although no answer came."""
    return not_now(cause) and (cause.sqlstate is None or cause.sqlstate[:2] in _ENDED)


@contextmanager
def _unique() -> Iterator[None]:
    try:
        yield
    except psycopg.errors.UniqueViolation as cause:
        raise NotUnique(cause.diag.constraint_name or "a key is taken") from cause
