"""What the tests of storage share: a PostgreSQL of their own, and each database behind the port."""

import pytest

from tests.postgres import shared
from tests.stage import NOON
from umoja.clock import ManualClock
from umoja.storage.database import Database
from umoja.storage.postgres import Server
from umoja.storage.postgres_database import PostgresDatabase


@pytest.fixture(scope="session")
def quick_cluster():
    """Give one server for all tests of a process that pull no plug."""
    return shared()


@pytest.fixture
def clock():
    return ManualClock(NOON)


@pytest.fixture
def server(quick_cluster):
    """Give a schema that no other test has."""
    return Server(url=quick_cluster.url, schema=quick_cluster.schema(), wait_s=2, allow_unsafe=True)


@pytest.fixture(params=["sqlite", "postgres"])
def open_it(request, tmp_path):
    """Open the same tables again and again, on each database in turn."""
    made = []

    def opened(plan="centre"):
        if request.param == "sqlite":
            made.append(Database(tmp_path / f"{plan}.db", wait_s=0.2))
        else:
            made.append(PostgresDatabase(request.getfixturevalue("server"), plan))
        return made[-1]

    yield opened
    for each in made:
        each.close()


@pytest.fixture
def database(open_it):
    return open_it()
