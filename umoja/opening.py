"""Opening: where an installation's journals and tables are, and how each is opened there.

Without a database URL everything is in files below the data folder: `XX/journal.db`,
`XX/parties.db`, `XX/messages.db` of each market, `clients.db` and `centre.db`. With one, each market
has a schema of its own (`market_xx`), and so have `clients` and `centre`; keys stay in the folder.
"""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from umoja.clock import Clock, to_micros
from umoja.faults import Unavailable
from umoja.ledger.archive import ArchiveStore
from umoja.ledger.entries import Row
from umoja.ledger.lease import Held, this_process
from umoja.ledger.ledger import Ledger
from umoja.ledger.roll import Roll
from umoja.ledger.sqlite import SqliteArchiveStore, SqliteLedger, SqliteRoll
from umoja.ledger.sqlite import archive_of as archive_beside
from umoja.ledger.sqlite import journal_rows as rows_in_file
from umoja.storage.database import WAIT_S, Database, DatabaseDamaged
from umoja.storage.migrate import Phase, State, migrate, state, upgrade
from umoja.storage.port import Sql

if TYPE_CHECKING:
    from umoja.storage.postgres import Server

MARKET_PLANS = ("journal", "parties", "messages")
SHARED_PLANS = (("clients", "clients"), ("clients", "installation"), ("centre", "centre"))
"""Each database that all markets share, and the plans in it."""

ARCHIVE = "archive"

Progress = Callable[[int, int], None]


class Where(Protocol):
    """Where an installation is: its data folder, and the URL of its database, '' for files."""

    @property
    def data(self) -> Path: ...
    @property
    def database(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an installation is, named by hand."""

    data: Path
    database: str = ""


class NotMigrated(RuntimeError):
    """The database lacks migrations that this program needs. Nothing was changed."""


class WrongKind(RuntimeError):
    """The database holds a sandbox where production was to start, or the other way round."""


# Opening


def open_sql(where: Where, plan: str, *, market: str = "", wait_s: float = WAIT_S) -> Sql:
    """Open the tables of a plan: of a market, or without one those that all markets share.

    `wait_s` is how long others are waited for. Files are made where they are missing; a server is
    connected to when it is first asked. Raise Unavailable, DatabaseDamaged.
    """
    if where.database:
        from umoja.storage.postgres_database import PostgresDatabase

        schema = schema_of(market) if market else plan
        return PostgresDatabase(server(where, schema, wait_s=max(int(wait_s * 2), 2)), plan)
    return Database(_file(where, plan, market), wait_s=wait_s)


def open_ledger(
    where: Where,
    market: str,
    clock: Clock,
    *,
    take_over: bool = False,
    progress: Progress = lambda *_: None,
) -> Ledger:
    """Open a market's journal as its one writer; the writer before this one is fenced off.

    Raise Held where another writer is alive: on a server as long as its lease runs, unless told to
    `take_over`; with files as long as its process lives, whatever the journal is called by. Raise
    JournalDamaged, Unavailable.
    """
    if where.database:
        from umoja.ledger.postgres import PostgresLedger

        return PostgresLedger(
            server(where, schema_of(market)),
            clock=clock,
            take_over=take_over,
            archive=archive_of(where, market),
            progress=progress,
        )
    return _LedgerInFile(_file(where, "journal", market), clock=clock, progress=progress)


def server(where: Where, schema: str, *, wait_s: int = 0) -> "Server":
    """Return a schema of the database. Raise Unavailable where the driver is not installed."""
    try:
        from umoja.storage.postgres import WAIT_S as SERVER_WAIT_S
        from umoja.storage.postgres import Server
    except ImportError as cause:
        raise Unavailable(str(cause)) from cause
    return Server(url=where.database, schema=schema, wait_s=wait_s or SERVER_WAIT_S)


def archive_of(where: Where, market: str) -> Path:
    """Return the folder of a market's archived months: files, whichever database keeps the rest."""
    return where.data / market / ARCHIVE


def schema_of(market: str) -> str:
    return f"market_{market.lower()}"


def journal_rows(where: Where, market: str) -> Iterator[Row]:
    """Yield a journal's lines without writing, also while its writer is at work.

    Raise FileNotFoundError where there is no journal, Unavailable.
    """
    if where.database:
        from umoja.ledger.postgres import journal_rows as rows_in_schema

        return rows_in_schema(server(where, schema_of(market)), archive_of(where, market))
    return rows_in_file(_file(where, "journal", market))


def open_archive(where: Where, market: str) -> tuple[ArchiveStore, Path]:
    """Open a journal as whoever archives it uses it, also beside its writer; and its files' folder.

    Raise FileNotFoundError where there is no journal, Unavailable.
    """
    if where.database:
        from umoja.ledger.postgres import PostgresArchiveStore

        return PostgresArchiveStore(server(where, schema_of(market))), archive_of(where, market)
    path = _file(where, "journal", market)
    return SqliteArchiveStore(path), archive_beside(path)


def open_roll(where: Where, market: str) -> Roll:
    """Open a journal to read it with its seals, also beside its writer; see journal_rows."""
    if where.database:
        from umoja.ledger.postgres import PostgresRoll

        return PostgresRoll(server(where, schema_of(market)), archive_of(where, market))
    return SqliteRoll(_file(where, "journal", market))


def kept_markets(where: Where) -> list[str]:
    """Return the codes of the markets that have a journal there."""
    if not where.database:
        return sorted(path.parent.name for path in where.data.glob("*/journal.db"))
    from umoja.storage.postgres import Link

    link = Link(server(where, "clients"), reads_only=True)
    try:
        rows = link.rows(
            "SELECT nspname::text FROM pg_namespace WHERE nspname ~ '^market_[a-z0-9]+$'"
            " AND to_regclass(quote_ident(nspname) || '.journal') IS NOT NULL ORDER BY nspname"
        )
    finally:
        link.close()
    return [name.removeprefix("market_").upper() for (name,) in rows]


def has_any(where: Where) -> bool:
    """Tell whether anything of an installation is there."""
    if not where.database:
        return any((where.data / f"{name}.db").exists() for name in ("clients", "centre")) or bool(
            kept_markets(where)
        )
    with opened(where, "clients") as clients:
        return clients.has_table("migrations") or bool(kept_markets(where))


def is_there(where: Where, plan: str) -> bool:
    """Tell whether the tables of a plan that all markets share were made. Nothing is made."""
    if not where.database:
        return _file(where, plan, "").exists()
    with opened(where, plan) as tables:
        return tables.has_table("migrations")


def told_of(where: Where) -> str:
    """Return what people call the place: a folder, or a URL without its password."""
    return shown_url(where.database) if where.database else str(where.data)


def shown_url(url: str) -> str:
    """Return a database URL with every secret in it replaced."""
    from umoja.config import masked

    return masked(url)


@contextmanager
def opened(where: Where, plan: str, market: str = "") -> Iterator[Sql]:
    """Open tables for a while."""
    found = open_sql(where, plan, market=market)
    try:
        yield found
    finally:
        found.close()


def _file(where: Where, plan: str, market: str) -> Path:
    return where.data / market / f"{plan}.db" if market else where.data / f"{plan}.db"


# One writer for a file


class _LedgerInFile(SqliteLedger):
    """A ledger whose file is held for this process until it is closed, or the process has ended."""

    def __init__(self, path: Path, *, clock: Clock, progress: Progress) -> None:
        self._hold = hold_journal(path)
        try:
            super().__init__(path, clock=clock, progress=progress)
        except BaseException:
            self._hold.close()
            raise

    def close(self) -> None:
        super().close()
        self._hold.close()


def hold_journal(path: Path) -> IO[str]:
    """Hold a journal's file for one writer until the returned file is closed. Raise Held.

    The hold lies beside the file itself, wherever links to it lead from: two data folders that share
    a journal meet here.
    """
    real = path.resolve()
    real.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if real.exists() and real.stat().st_nlink > 1:
        raise Held(
            f"{path} has a second name (a hard link), and its log has not: writing to it would damage"
            " it. Keep one name"
        )
    made = os.open(real.with_name(f"{real.name}.writer"), os.O_CREAT | os.O_RDWR, 0o600)
    file = os.fdopen(made, "r+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as cause:
        holder = file.read(200).strip() or "another process"
        file.close()
        raise Held(f"{path} is held by {holder}: stop that one first") from cause
    file.truncate(0)
    file.write(f"{this_process()}\n")
    file.flush()
    return file


# Migrations


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One plan in one database of an installation. `market` is '' for what all share."""

    market: str
    database: str
    state: State

    @property
    def where(self) -> str:
        return self.market or self.database


def plans(markets: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return market, database and plan of everything that an installation with these markets has."""
    found = [(market, plan, plan) for market in markets for plan in MARKET_PLANS]
    return [*found, *(("", database, plan) for database, plan in SHARED_PLANS)]


def states(where: Where, markets: Sequence[str], *, passes_damaged: bool = False) -> list[Found]:
    """Return how far each plan has come. Nothing is made: a file that is missing is new.

    Where it `passes_damaged`, a market's damaged file is left out instead of raised.
    """
    found = []
    for market, database, plan in plans(markets):
        if not where.database and not _file(where, database, market).exists():
            continue
        try:
            with opened(where, database, market) as tables:
                found.append(Found(market=market, database=database, state=state(tables, plan)))
        except DatabaseDamaged:
            if not (market and passes_damaged):
                raise
    return found


def upgrade_all(
    where: Where, markets: Sequence[str], clock: Clock, *, phase: Phase
) -> list[tuple[str, str]]:
    """Apply a phase everywhere; return where and what was applied. Repeating it is harmless."""
    done = []
    for market, database, plan in plans(markets):
        if not where.database and not _file(where, database, market).exists():
            continue
        with opened(where, database, market) as tables:
            if state(tables, plan).is_new:
                names = migrate(tables, plan, clock)
            else:
                names = upgrade(tables, plan, clock, phase=phase)
        done += [(market or database, name) for name in names]
    return done


def require_migrated(where: Where, markets: Sequence[str]) -> None:
    """Raise NotMigrated where an installation that is in use lacks what this program needs.

    What is new altogether is no upgrade: a start makes it. What waits for the end of the program
    before (`post`) may wait. A market whose file is damaged is passed over: it stays shut, and its
    own opening says why, while the others go on.
    """
    lacking = [
        f"{found.where}: {name}"
        for found in states(where, markets, passes_damaged=True)
        if not found.state.is_new
        for name in found.state.pre
    ]
    if lacking:
        rest = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise NotMigrated(
            f"{told_of(where)} lacks migrations ({lacking[0]}{rest}):"
            " run umoja migrate --pre, then start again"
        )


def require_all_migrated(where: Where, markets: Sequence[str]) -> None:
    """Raise NotMigrated where anything at all is pending, also what may wait for a start."""
    for found in states(where, markets):
        pending = (*found.state.pre, *found.state.post)
        if pending and found.state.plan != "installation":  # what a place is, is not copied
            raise NotMigrated(
                f"{told_of(where)} lacks the migration {pending[0]} in {found.where}:"
                " run umoja migrate --post first"
            )


# What an installation is


def kind_of(where: Where) -> str:
    """Return sandbox, production or copying; '' where it was never said."""
    if not where.database and not _file(where, "clients", "").exists():
        return ""
    with opened(where, "clients") as clients:
        if not clients.has_table("installation"):
            return ""
        row = clients.one("SELECT kind FROM installation")
        return str(row["kind"]) if row is not None else ""


def write_kind(where: Where, kind: str, clock: Clock) -> None:
    """Say what an installation is. Repeating it is harmless."""
    with opened(where, "clients") as clients:
        migrate(clients, "installation", clock)
        clients.run(
            "INSERT INTO installation (only, kind, made_at) VALUES (1, :kind, :now)"
            " ON CONFLICT (only) DO UPDATE SET kind = excluded.kind",
            kind=kind,
            now=to_micros(clock.now()),
        )


def settle_as(where: Where, kind: str, clock: Clock) -> None:
    """Begin or go on as a sandbox or as production. Raise WrongKind: the two never mix.

    So does a copy that was not finished.
    """
    before = kind_of(where)
    if before == "copying":
        raise WrongKind(
            f"a copy into {told_of(where)} is not finished: repeat umoja copy, it goes on from there"
        )
    if not before and kind == "sandbox" and where.database and has_any(where):
        before = "production"
    if before and before != kind:
        raise WrongKind(
            f"{told_of(where)} holds {'a sandbox' if before == 'sandbox' else 'production'},"
            " and nothing there is touched: choose another database"
        )
    if not before:
        write_kind(where, kind, clock)


def begin_production(where: Where, markets: Sequence[str], clock: Clock) -> None:
    """Make sure that production may start here. Raise NotMigrated, WrongKind: nothing was changed."""
    require_migrated(where, markets)
    settle_as(where, "production", clock)


def throw_away_sandbox(where: Where) -> None:
    """Remove a sandbox's schemas from a database server. Raise WrongKind where it is none."""
    if not where.database or not has_any(where):
        return
    if kind_of(where) != "sandbox":
        raise WrongKind(f"{told_of(where)} holds no sandbox, and nothing there is touched")
    wipe(where)


def wipe(where: Where) -> None:
    """Remove all schemas or database files of an installation. Whoever calls this knows whose it is."""
    if where.database:
        from umoja.storage.postgres import drop_schemas

        names = [schema_of(market) for market in kept_markets(where)]
        drop_schemas(server(where, "clients"), [*names, "centre", "clients"])
        return
    paths = [_file(where, plan, code) for code in kept_markets(where) for plan in MARKET_PLANS]
    paths += [_file(where, "centre", ""), _file(where, "clients", "")]  # what says it is ours: last
    for path in paths:
        for end in ("-shm", "-wal", ""):
            path.with_name(f"{path.name}{end}").unlink(missing_ok=True)
