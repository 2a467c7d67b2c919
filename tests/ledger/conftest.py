"""What the ledger's tests share: a PostgreSQL of their own, and every engine, opened and closed."""

from datetime import UTC, datetime

import pytest

from tests.postgres import QUICK, Cluster, NoPostgres
from umoja.clock import ManualClock
from umoja.ledger.memory import MemoryLedger
from umoja.ledger.postgres import PostgresLedger
from umoja.ledger.sqlite import SqliteLedger
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
