"""PostgreSQL: connections opened safely and made anew when lost, and schemas brought up to date."""

import hashlib
import os
import re
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from umoja.clock import Clock, to_micros
from umoja.faults import Unavailable
from umoja.storage.plans import read_plan, still_open
from umoja.storage.port import DatabaseDamaged, ServerUnfit

try:
    import psycopg
    from psycopg import sql
    from psycopg.conninfo import conninfo_to_dict
except ImportError as cause:
    raise ImportError("PostgreSQL needs its driver: install umoja[postgres]") from cause

__all__ = [
    "Connection",
    "Link",
    "Patience",
    "Server",
    "ServerUnfit",
    "alone",
    "drop_schemas",
    "in_short",
    "make_schema",
    "migrate",
    "not_now",
    "told",
]

VERSION_LEAST = 15
WAIT_S = 10
_WATCH_S = 0.5
_PAUSE_S = 0.1
_IDLE_S = 60.0  # then a session that nobody uses is given back to the server
_SCHEMA = re.compile(r"[a-z][a-z0-9_]{0,62}")
_DURABLE = frozenset({"on", "remote_apply"})
_DAMAGED = frozenset({"XX001", "XX002"})
_READ_ONLY = "25006"
_FELL_ASLEEP = "25P03"  # the server has ended a transaction in which nothing was asked for too long
_FORBIDDEN = "42501"

# A peer that is gone is noticed in about ten seconds, not in the two hours of the system's own.
_NETWORK = {
    "application_name": "umoja",
    "keepalives": "1",
    "keepalives_idle": "4",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where a schema lives, and how long its server is waited for.

    `url` is a libpq URL or DSN; it may name several hosts, of which the one that takes writes is
    used. `wait_s` bounds connecting, locks and answers. `allow_unsafe` takes a server that forgets
    in a power cut (fsync off): for tests and tries only. A pooler between must keep one session
    for one connection.
    """

    url: str = field(repr=False)
    schema: str
    wait_s: int = WAIT_S
    allow_unsafe: bool = False

    def __post_init__(self) -> None:
        if not _SCHEMA.fullmatch(self.schema):
            raise ValueError("a schema's name is small letters, digits and underscores")
        try:
            conninfo_to_dict(self.url)
        except psycopg.ProgrammingError:
            # Its own message may repeat parts of the URL, and those may be a password.
            raise ValueError("the database URL cannot be read: postgresql://…") from None

    def connect(self, *, reads_only: bool = False, wait_s: int = 0) -> Connection:
        """Open a session, each statement its own transaction until BEGIN.

        Raise psycopg.OperationalError, or ServerUnfit.
        """
        wait_s = wait_s or self.wait_s
        values: dict[str, Any] = {
            "target_session_attrs": "read-write",
            **_NETWORK,
            **conninfo_to_dict(self.url),
            "connect_timeout": str(wait_s),
        }
        connection = psycopg.connect(**values, autocommit=True)
        try:
            self._prepare(connection, reads_only=reads_only, wait_s=wait_s)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: Connection, *, reads_only: bool, wait_s: int) -> None:
        settings = {
            "search_path": self.schema,
            "lock_timeout": f"{wait_s}s",
            # Not for what writes: it would cut short a commit's wait for the replicas, and the
            # server would call that a success. There a Link bounds the wait from outside.
            "statement_timeout": f"{wait_s}s" if reads_only else "0",
            # A session that was cut off lets go of its locks before those who wait give up.
            "idle_in_transaction_session_timeout": f"{max(wait_s // 2, 1)}s",
            "default_transaction_isolation": "read committed",
            "default_transaction_read_only": "on" if reads_only else "off",
            "client_encoding": "UTF8",
        }
        (found,) = connection.execute(
            "SELECT current_setting('server_version_num')::int, current_setting('server_encoding'),"
            " current_setting('fsync'), current_setting('full_page_writes'),"
            " current_setting('synchronous_commit')"
        ).fetchall()
        version, encoding, fsync, full_pages, commit = found
        if version < VERSION_LEAST * 10_000:
            raise ServerUnfit(
                f"PostgreSQL {version // 10_000} is too old: {VERSION_LEAST} or newer is needed"
            )
        if encoding != "UTF8":
            raise ServerUnfit(
                f"the database's encoding is {encoding}: make it with ENCODING 'UTF8'"
            )
        if "off" in {fsync, full_pages} and not self.allow_unsafe:
            raise ServerUnfit(
                f"this server forgets in a power cut (fsync = {fsync},"
                f" full_page_writes = {full_pages}): set both to on and restart it"
            )
        if commit not in _DURABLE:
            settings["synchronous_commit"] = "on"
        names = list(settings)
        calls = ", ".join(["set_config(%s, %s, false)"] * len(names))
        connection.execute(
            f"SELECT {calls}",
            [word for name in names for word in (name, settings[name])],
        )
        (commit,) = _first(connection, "SELECT current_setting('synchronous_commit')")
        if commit not in _DURABLE:
            raise ServerUnfit(f"synchronous_commit stays {commit}: set it to on")


class Link:
    """One session with a server: made when needed, made anew once it was lost. One user at a time.

    An answer that does not come within `answer_s` cuts the session: whoever waits for it gets
    psycopg.OperationalError.
    """

    def __init__(
        self,
        server: Server,
        *,
        reads_only: bool = False,
        answer_s: int = 0,
        on_open: Callable[[Connection], None] = lambda _: None,
    ) -> None:
        """Connect to nothing yet. `on_open` is shown each session as soon as it is made."""
        self._server = server
        self._reads_only = reads_only
        self._answer_s = answer_s or server.wait_s
        self._on_open = on_open
        self._using = threading.Lock()
        self._guard = threading.Lock()  # of the three below, which the watch looks at
        self._connection: Connection | None = None
        self._plug: socket.socket | None = None
        self._since = -1.0
        self._idle_since = 0.0
        self._closed = threading.Event()
        _watched(self)

    @contextmanager
    def use(self, *, wait_s: int = 0) -> Iterator[Connection]:
        """Lend the session. Whatever is raised inside ends it: the server forgets what was open.

        Raise psycopg.OperationalError where none can be made, ServerUnfit, Unavailable once closed.
        """
        with self._using:
            if self._closed.is_set():
                raise Unavailable("the database was closed")
            connection = self._live() or self._open(wait_s)
            with self._guard:
                self._since = time.monotonic()
            try:
                yield connection
            except BaseException:
                self._drop()
                raise
            finally:
                self._since = -1.0
                self._idle_since = time.monotonic()

    def goes_on(self) -> None:
        """Begin the wait for an answer anew: the user of the session got one and asks again."""
        with self._guard:
            if self._since >= 0:
                self._since = time.monotonic()

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query that only reads; ask once more where the session was lost.

        Raise Unavailable, DatabaseDamaged.
        """
        with told():
            try:
                return self._rows(query, values)
            except (psycopg.OperationalError, psycopg.InterfaceError):
                return self._rows(query, values)

    def close(self) -> None:
        """End the session; closing twice is harmless. Whoever uses it is waited for."""
        self._closed.set()
        with self._using:
            self._drop()

    def _rows(self, query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self.use() as connection:
            return connection.execute(query, values, binary=True).fetchall()

    def _live(self) -> Connection | None:
        """Return the session if it still stands. One that speaks unasked has been ended."""
        if self._connection is None or self._plug is None:
            return None
        try:
            self._plug.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return self._connection
        except OSError:
            pass  # reset: as lost as one that was closed
        self._drop()
        return None

    def _open(self, wait_s: int) -> Connection:
        connection = self._server.connect(reads_only=self._reads_only, wait_s=wait_s)
        with self._guard:
            self._connection = connection
            # A handle of our own: it can be cut while libpq waits, and is never somebody else's.
            self._plug = socket.socket(fileno=os.dup(connection.fileno()))
        self._on_open(connection)
        return connection

    def _drop(self) -> None:
        with self._guard:
            connection, plug = self._connection, self._plug
            self._connection = self._plug = None
            if plug is not None:
                plug.close()
        if connection is not None:
            connection.close()

    def look(self) -> None:
        """Cut off a session whose answer does not come, and end one that nobody uses."""
        now_s = time.monotonic()
        with self._guard:
            is_late = self._since >= 0 and now_s - self._since > self._answer_s
            is_idle = (
                self._since < 0
                and self._connection is not None
                and now_s - self._idle_since > _IDLE_S
            )
            if is_late and self._plug is not None:
                with suppress(OSError):  # it ended by itself in the same moment
                    self._plug.shutdown(socket.SHUT_RDWR)
        if is_idle and self._using.acquire(blocking=False):
            try:
                self._drop()
            finally:
                self._using.release()


_links: "weakref.WeakSet[Link]" = weakref.WeakSet()
_links_guard = threading.Lock()
_watch: list[threading.Thread] = []


def _watched(link: Link) -> None:
    """Put a link under the watch: one thread for all of a process, begun with the first."""
    with _links_guard:
        _links.add(link)
        if not _watch:
            _watch.append(threading.Thread(target=_look_on, name="database-watch", daemon=True))
            _watch[0].start()


def _look_on() -> None:
    while True:
        time.sleep(_WATCH_S)
        with _links_guard:
            links = list(_links)
        for link in links:
            link.look()
        del links[:]


class Patience:
    """How long something outside is waited for, in real seconds: also where the clock stands still."""

    def __init__(self, wait_s: int) -> None:
        self._until = time.monotonic() + wait_s

    def left_s(self) -> int:
        """Return whole seconds left, at least one until there are none."""
        left = self._until - time.monotonic()
        return max(int(left), 1) if left > 0 else 0

    def pause(self) -> None:
        time.sleep(_PAUSE_S)


@contextmanager
def told() -> Iterator[None]:
    """Raise what the driver raises in the house's words: nothing inside may have been committed.

    Unavailable, DatabaseDamaged, or ServerUnfit where a right is missing. A statement that is wrong
    stays what it is: a bug.
    """
    try:
        yield
    except psycopg.Error as cause:
        if cause.sqlstate in _DAMAGED:
            raise DatabaseDamaged(f"the database is damaged: {cause}") from cause
        if cause.sqlstate == _FORBIDDEN:
            raise ServerUnfit(
                f"{in_short(cause)}: the database's user needs CREATE on the database, or a schema"
                " of its own"
            ) from cause
        if not_now(cause):
            raise Unavailable(f"the database cannot be used now: {in_short(cause)}") from cause
        raise


def not_now(cause: psycopg.Error) -> bool:
    """Tell whether an error is the server's or the network's affair, and not a wrong statement."""
    return isinstance(
        cause, psycopg.OperationalError | psycopg.InterfaceError
    ) or cause.sqlstate in {_READ_ONLY, _FELL_ASLEEP}


def in_short(cause: psycopg.Error) -> str:
    """Return the first line of what the driver says."""
    return str(cause).partition("\n")[0] or type(cause).__name__


def migrate(server: Server, plan: str, clock: Clock) -> list[str]:
    """Make the schema where it is missing and apply what is pending; return the names applied.

    A plan's files for PostgreSQL are those of `<plan>_postgres`: see umoja.storage.migrate for
    their names and phases. Repeating it, also from two processes at once, applies nothing twice.
    Raise PlanBroken, Unavailable, ServerUnfit, or whatever the SQL raised, with the files before it
    kept.
    """
    migrations = read_plan(f"{plan}_postgres")
    names: list[str] = []
    with told(), server.connect() as connection:
        if not still_open(migrations, _applied(connection, plan)):
            return []
        with alone(connection, server.schema):
            make_schema(connection, server.schema)
        while True:
            with alone(connection, server.schema):
                pending = still_open(migrations, _applied(connection, plan))
                if not pending:
                    return names
                migration = pending[0]
                connection.execute(migration.sql.encode())
                connection.execute(
                    "INSERT INTO migrations VALUES (%s, %s, %s)",
                    (migration.name, to_micros(clock.now()), migration.sha256),
                )
            names.append(migration.name)


def make_schema(connection: Connection, schema: str) -> None:
    """Make the schema and its list of migrations, only where missing: who may not may still use them."""
    if not _first(connection, "SELECT to_regnamespace(%s)::oid", (schema,))[0]:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    if not _first(connection, "SELECT to_regclass('migrations')::oid")[0]:
        connection.execute(
            "CREATE TABLE migrations ("
            " name text PRIMARY KEY, applied_at bigint NOT NULL, sha256 text NOT NULL)"
        )


def drop_schemas(server: Server, names: Sequence[str]) -> None:
    """Remove whole schemas, with all that is in them, in the order given; each may be missing."""
    with told(), server.connect() as connection:
        for name in names:
            drop = sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name))
            connection.execute(drop)


@contextmanager
def alone(connection: Connection, schema: str) -> Iterator[None]:
    """One transaction at a time in all processes that migrate this schema."""
    key = hashlib.blake2b(f"umoja migrations {schema}".encode(), digest_size=8).digest()
    with connection.transaction():
        number = int.from_bytes(key, "big", signed=True)
        connection.execute("SELECT pg_advisory_xact_lock(%s::bigint)", (number,))
        yield


def _applied(connection: Connection, plan: str) -> dict[str, str]:
    if not _first(connection, "SELECT to_regclass('migrations')::oid")[0]:
        return {}
    rows = connection.execute(
        "SELECT name, sha256 FROM migrations WHERE starts_with(name, %s)", (f"{plan}_postgres/",)
    ).fetchall()
    return dict(rows)


def _first(connection: Connection, query: str, values: Sequence[Any] = ()) -> tuple[Any, ...]:
    found = connection.execute(query, values).fetchone()
    assert found is not None, "this query has one row"
    return found
