"""What the ledger's tests share: a PostgreSQL of their own, and every engine, opened and closed."""

import sqlite3
from datetime import UTC, datetime

import pytest

from tests.postgres import QUICK, Cluster, NoPostgres
from umoja.clock import ManualClock
from umoja.ledger.memory import MemoryLedger
from umoja.ledger.postgres import PostgresArchiveStore, PostgresLedger, PostgresRoll
from umoja.ledger.sqlite import SqliteArchiveStore, SqliteLedger, SqliteRoll
from umoja.storage.postgres import Server

START = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture(scope="session")
def quick_cluster():
    """Give one server for all tests that pull no plug; each worker of a parallel run has its own."""
    yield from _cluster(**QUICK)


@pytest.fixture(scope="module")
def cluster():
    """Give a server that keeps its promises in a power cut, for one module's tests to kill."""
    yield from _cluster()


def _cluster(**settings):
    try:
        made = Cluster(**settings)
    except NoPostgres as cause:
        pytest.skip(str(cause))
    yield made
    made.remove()


@pytest.fixture
def clock():
    return ManualClock(START)


@pytest.fixture
def server(quick_cluster):
    """Give a schema that no other test has."""
    return Server(url=quick_cluster.url, schema=quick_cluster.schema(), wait_s=5, allow_unsafe=True)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def engine(request, tmp_path, clock):
    """Give each engine in turn, empty."""
    if request.param == "memory":
        made = MemoryLedger()
    elif request.param == "sqlite":
        made = SqliteLedger(tmp_path / "journal.db", clock=clock)
    else:
        made = PostgresLedger(request.getfixturevalue("server"), clock=clock)
    yield made
    made.close()


class SqliteSide:
    """A journal in a file, opened and spoilt by its tests."""

    name = "sqlite"

    def __init__(self, folder, clock):
        self.folder = folder / "KE"
        self.folder.mkdir(exist_ok=True)
        self.archive = self.folder / "archive"
        self.path = self.folder / "journal.db"
        self.clock = clock
        self._opened = []

    def open(self):
        self._opened.append(SqliteLedger(self.path, clock=self.clock))
        return self._opened[-1]

    def roll(self):
        return self._kept(SqliteRoll(self.path))

    def store(self):
        return self._kept(SqliteArchiveStore(self.path))

    def sql(self, query, values=()):
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            return connection.execute(query, values).fetchall()
        finally:
            connection.close()

    def _kept(self, made):
        self._opened.append(made)
        return made

    def close(self):
        for each in reversed(self._opened):
            each.close()
        self._opened = []


class PostgresSide(SqliteSide):
    """The same in a schema."""

    name = "postgres"

    def __init__(self, folder, clock, server, cluster):
        super().__init__(folder, clock)
        self.server = server
        self.cluster = cluster

    def open(self):
        return self._kept(
            PostgresLedger(self.server, clock=self.clock, archive=self.archive, take_over=True)
        )

    def roll(self):
        return self._kept(PostgresRoll(self.server, self.archive))

    def store(self):
        return self._kept(PostgresArchiveStore(self.server))

    def sql(self, query, values=()):
        with self.cluster.connect() as connection:
            connection.execute(f"SET search_path = {self.server.schema}")
            cursor = connection.execute(query.replace("?", "%s"), values)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(params=["sqlite", "postgres"])
def side(request, tmp_path, clock):
    """Give each durable engine in turn, with a way to do to it what the engine would not do itself."""
    if request.param == "sqlite":
        made = SqliteSide(tmp_path, clock)
    else:
        cluster = request.getfixturevalue("quick_cluster")
        made = PostgresSide(tmp_path, clock, request.getfixturevalue("server"), cluster)
    yield made
    made.close()
