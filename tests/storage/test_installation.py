"""A whole sandbox on PostgreSQL: payments, a kill, the next start, its books, and who may not start."""

import json
import signal
import time

import pytest

from tests.postgres import Cluster, NoPostgres
from tests.storage.installation import Sandbox, free_port, umoja
from umoja.clock import SystemClock
from umoja.opening import Place, WrongKind, begin_production, write_kind


@pytest.fixture(scope="module")
def cluster():
    """Give a server that keeps its promises in a power cut: the program takes no other."""
    try:
        made = Cluster()
    except NoPostgres as cause:
        pytest.skip(str(cause))
    yield made
    made.remove()


@pytest.fixture
def begun():
    sandboxes: list[Sandbox] = []
    yield sandboxes
    for sandbox in sandboxes:
        if sandbox.process.poll() is None:
            sandbox.process.kill()
        sandbox.process.communicate()


def lines(cluster) -> int:
    with cluster.connect() as connection:
        return connection.execute("SELECT count(*) FROM market_ls.journal").fetchone()[0]


@pytest.mark.bench
@pytest.mark.timeout(300)
def test_a_sandbox_lives_on_postgresql_and_goes_on_after_a_kill(cluster, tmp_path, begun):
    data, url = tmp_path / "data", cluster.url
    words = ("--database", url)
    begun.append(Sandbox(data, *words, "--rate", "100"))
    before = lines(cluster)
    deadline = time.monotonic() + 30
    while lines(cluster) < before + 50:
        assert time.monotonic() < deadline, "no payments came"
        time.sleep(0.05)
    begun[0].end(signal.SIGKILL)
    kept = lines(cluster)

    begun.append(Sandbox(data, *words, "--quiet-traffic"))
    assert "gh-" not in begun[1].told
    assert lines(cluster) >= kept
    other = umoja("up", "--data", str(data), *words, "--port", str(free_port()))
    assert (other.returncode, "another Umoja runs" in other.stderr) == (69, True)
    errors = begun[1].end(signal.SIGINT)
    assert "Traceback" not in errors
    assert "Nothing is lost" in errors

    books = umoja("books", "--data", str(data), "--json", DATABASE_URL=url)
    assert books.returncode == 0, books.stdout + books.stderr
    found = json.loads(books.stdout)
    assert (list(found), found["LS"]["breaches"]) == (["LS"], [])
    assert found["LS"]["rows"] == lines(cluster)
    audit = umoja("audit", "verify", "--data", str(data), "--database", url)
    assert audit.returncode == 0, audit.stdout
    assert "sandbox" in umoja("client", "list", "--database", url).stdout
    assert not list(data.rglob("*.db")), "nothing is in files"

    state = umoja("migrate", "--dry-run", "--json", "--markets", "LS", "--database", url)
    assert [each["pre"] + each["post"] for each in json.loads(state.stdout)["plans"]] == [[]] * 6
    place = Place(data=data, database=url)
    with pytest.raises(WrongKind, match="holds a sandbox"):
        begin_production(place, ["LS"], SystemClock())
    write_kind(place, "production", SystemClock())
    refused = umoja("up", "--data", str(data), *words, "--fresh", "--port", str(free_port()))
    assert (refused.returncode, "nothing there is touched" in refused.stderr) == (78, True)
    assert lines(cluster) == found["LS"]["rows"]
