"""Whole benches, tiny: every mode and engine runs, proves its books and leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from umoja.cli import run as command
from umoja.clock import SystemClock
from umoja.faults import Unavailable
from umoja.opening import Place, kind_of, settle_as
from umoja.simulator import bench_overload
from umoja.simulator.bench import Engine, Mode, Plan, Teller, run, save_plot
from umoja.simulator.bench_postgres import Cluster, NoPostgres
from umoja.simulator.bench_told import is_right, rates_of, tables
from umoja.simulator.bench_workload import Workload

pytestmark = pytest.mark.bench

KEYS = {
    "mode", "engine", "workload", "customers", "payments", "payments_per_s", "payments_per_s_all",
    "p50_ms", "p99_ms", "cpu_us_per_payment", "baseline",
}  # fmt: skip


def benched(**values) -> dict:
    said: list[str] = []
    plan = Plan(**({"customers": 50, "payments": 60, "repeats": 3, "baseline_s": 0} | values))
    found = run(plan, Teller(step=lambda *_: None, say=said.append))
    assert said == []
    return found


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("umoja-"))


@pytest.fixture
def temp(tmp_path: Path, monkeypatch) -> Path:
    """Where a bench makes its folders: looked at afterwards."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def require_whole(found: dict, mode: str, engine: str) -> None:
    assert found.keys() >= KEYS
    assert (found["mode"], found["engine"]) == (mode, engine)
    assert (found["payments"], found["declined"], found["failed"]) == (60, 0, 0)
    assert len(found["payments_per_s_all"]) == 3
    assert sorted(found["payments_per_s_all"])[1] == found["payments_per_s"] > 0
    assert 0 < found["p50_ms"] <= found["p99_ms"] <= found["max_ms"]
    assert found["books"]["balanced"] is True
    assert found["books"]["every_answer_kept"] is True
    assert is_right(found)
    json.dumps(found)


@pytest.mark.parametrize("workload", list(Workload))
def test_the_ledger_s_bench(temp: Path, workload):
    found = benched(workload=workload, batch=8)
    require_whole(found, "ledger", "sqlite")
    assert found["workload"] == workload.value
    assert found["warm_up"] == 20
    assert found["books"]["lines_added"] == 20 + 60
    assert leftovers(temp) == []


def test_the_ledger_s_bench_of_an_open_loop():
    found = benched(batch=8, rates=(60.0, 120.0), seconds=1)
    require_whole(found, "ledger", "sqlite")
    loads = [(load["due"], load["payments"]) for load in found["open_loop"]]
    assert loads == [(60, 60), (120, 120)]
    assert found["books"]["lines_added"] == found["warm_up"] + 60 + 60 + 120


def test_the_desk_s_bench(temp: Path):
    found = benched(mode=Mode.DESK, workload=Workload.PAYDAY, window=7, rates=(100.0,), seconds=3)
    require_whole(found, "desk", "sqlite")
    assert found["open_loop"][0]["payments"] == 300
    assert found["books"]["lines_added"] == found["warm_up"] + 60 + 300
    assert leftovers(temp) == []


def test_the_server_s_bench(temp: Path):
    found = benched(mode=Mode.HTTP, connections=4, port=18492, rates=(50.0,), seconds=2)
    require_whole(found, "http", "sqlite")
    assert found["open_loop"][0]["payments"] == 100
    assert found["books"]["lines_added"] == found["warm_up"] + 60 + 100
    assert found["books"]["server_exit_code"] == 0
    assert leftovers(temp) == []


def test_the_server_s_bench_of_many_payments_in_a_request(temp: Path):
    found = benched(mode=Mode.HTTP, bulk=7, port=0)
    require_whole(found, "http", "sqlite")
    assert found["how"]["payments_in_a_request"] == 7
    assert found["books"]["lines_added"] == found["warm_up"] + 60
    assert leftovers(temp) == []


def test_the_server_s_bench_of_an_overload(temp: Path, monkeypatch, capfd):
    monkeypatch.setattr(bench_overload, "CALM_S", 0.1)
    monkeypatch.setattr(bench_overload, "AFTER_S", 0.3)
    monkeypatch.setattr("umoja.simulator.bench.LINES_LEAST", 8)
    found = benched(mode=Mode.HTTP, connections=4, port=0, overload=2.0, seconds=0.5)
    require_whole(found, "http", "sqlite")
    flood = found["overload"]
    assert flood["connections"] == 8
    assert flood["goodput_per_s"] > 0
    assert flood["other_answers"] == {}
    assert flood["lost"] == 0
    assert any(title == "Overload" for title, *_ in tables(found))
    assert leftovers(temp) == []


def test_a_folder_that_is_kept_is_gone_on_with(tmp_path: Path):
    first = benched(data=tmp_path / "kept")
    second = benched(data=tmp_path / "kept", journal=30)
    lines = first["books"]["journal_lines"]
    assert second["books"]["journal_lines"] == lines + 30 + 20 + 60
    with pytest.raises(Unavailable, match="another bench"):
        benched(data=tmp_path / "kept", customers=51)


def test_a_bench_by_time_ends(temp: Path):
    found = benched(payments=0, seconds=0.05, repeats=2)
    assert found["payments"] > 0
    assert len(found["payments_per_s_all"]) == 2
    assert is_right(found)


def test_more_than_a_day_s_ceilings_allow_is_declined_and_not_counted():
    said: list[str] = []
    plan = Plan(mode=Mode.DESK, customers=2, payments=12_000, repeats=1, baseline_s=0)
    found = run(plan, Teller(step=lambda *_: None, say=said.append))
    assert "ceilings" in said[0]
    assert any("limit_daily" in each for each in said)
    assert found["declined"] > 0
    assert found["payments"] + found["declined"] == 12_000
    assert is_right(found)


def test_postgres_and_its_baseline():
    try:
        found = benched(engine=Engine.POSTGRES, baseline_s=1)
    except NoPostgres as cause:
        pytest.skip(str(cause))
    require_whole(found, "ledger", "postgres")
    assert found["how"]["durability"]["fsync"] == "on"
    assert found["how"]["durability"]["synchronous_commit"] == "on"
    baseline = found["baseline"]
    assert baseline["sql_ledger"]["balanced"] is True
    assert baseline["tpcb"]["per_s"] > 0
    assert baseline["medium"]["appends_per_s"] > 0
    assert baseline["times_sql_ledger"] == round(
        found["payments_per_s"] / baseline["sql_ledger"]["per_s"], 2
    )
    assert [title for title, *_ in tables(found)][1].startswith("Baseline")


def test_without_postgres_the_baseline_says_so(temp: Path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("umoja.simulator.bench_postgres._WHERE", temp / "nowhere")
    said: list[str] = []
    plan = Plan(customers=50, payments=60, repeats=1, baseline_s=1)
    found = run(plan, Teller(step=lambda *_: None, say=said.append))
    assert found["baseline"]["postgres"] is None
    assert "not installed" in found["baseline"]["why_no_postgres"]
    assert found["baseline"]["medium"]["appends_per_s"] > 0
    assert "not installed" in said[0]
    assert any("no PostgreSQL" in note for *_, note in tables(found))
    with pytest.raises(NoPostgres):
        benched(engine=Engine.POSTGRES)


def test_a_cluster_stops_and_can_be_taken_up_again():
    with tempfile.TemporaryDirectory(prefix="umoja-test-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        try:
            with Cluster(folder / "postgres") as cluster:
                process = cluster.process
        except NoPostgres as cause:
            pytest.skip(str(cause))
        assert not Path(f"/proc/{process}").exists()
        with Cluster(folder / "postgres"):
            pass


@pytest.fixture
def url() -> Iterator[str]:
    """A PostgreSQL that somebody else has."""
    with tempfile.TemporaryDirectory(prefix="umoja-test-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        try:
            with Cluster(folder / "postgres") as cluster:
                yield cluster.url
        except NoPostgres as cause:
            pytest.skip(str(cause))


@pytest.mark.parametrize("mode", list(Mode))
def test_a_database_of_the_user_s_is_left_as_it_was(url: str, mode):
    found = benched(mode=mode, engine=Engine.POSTGRES, database=url, connections=4, window=7)
    require_whole(found, mode.value, "postgres")
    assert found["how"]["durability"]["fsync"] == "on"
    assert schemas(url) == ["public"]


def test_a_database_that_holds_an_installation_is_refused_and_untouched(url: str, tmp_path: Path):
    where = Place(data=tmp_path, database=url)
    settle_as(where, "production", SystemClock())
    before = schemas(url)
    with pytest.raises(Unavailable, match=r"holds an installation.*nothing there is touched"):
        benched(engine=Engine.POSTGRES, database=url)
    assert schemas(url) == before
    assert kind_of(where) == "production"


def schemas(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' ORDER BY nspname"
        ).fetchall()
    return [name for (name,) in rows if name != "information_schema"]


@pytest.mark.parametrize("mode", [Mode.LEDGER, Mode.DESK])
def test_a_start_has_all_that_was_done_as_its_tail(temp: Path, mode):
    found = benched(mode=mode, does_restart=True, window=7, batch=8)
    start = found["start"]
    assert start["tail_lines"] == found["books"]["lines_added"] == 20 + 60
    assert start["lines"] == found["books"]["journal_lines"]
    assert start["accounts"] == found["books"]["currencies"][0]["accounts"]
    assert start["seconds"] > 0
    assert start["memory_mb"] > 10
    assert any(title.startswith("Start anew") for title, *_ in tables(found))
    assert leftovers(temp) == []


def test_texts_are_made_by_a_carrier_and_all_of_them(temp: Path):
    found = benched(mode=Mode.HTTP, connections=4, port=0)
    assert found["books"]["texts_caught_up_s"] is not None
    # Two for each payment, and one for each of the opening's people who is told.
    assert sum(found["books"]["texts"].values()) == 2 * found["books"]["lines_added"]


# The command


def test_what_is_kept_and_a_database_of_the_user_s_do_not_go_together(tmp_path: Path, capfd):
    words = ["bench", "desk", "--engine", "postgres", "--database", "postgresql:///nowhere",
             "--data", str(tmp_path / "kept")]  # fmt: skip
    assert command(words) == 2
    assert "give one of both" in capfd.readouterr().err
    assert not (tmp_path / "kept").exists()


def test_json_is_one_object_and_the_plot_is_written(tmp_path: Path, capfd):
    plot = tmp_path / "curve.svg"
    words = ["bench", "ledger", "--payments", "60", "--customers", "50", "--repeats", "2",
             "--baseline-seconds", "0", "--seconds", "0.1", "--plot", str(plot), "--json"]  # fmt: skip
    assert command(words) == 0
    found = json.loads(capfd.readouterr().out)
    assert found.keys() >= KEYS
    assert len(found["open_loop"]) == 7
    assert plot.read_text().startswith("<svg")


def test_a_table_says_where_and_how(capfd):
    assert (
        command(["bench", "--payments", "20", "--customers", "50", "--baseline-seconds", "0"]) == 0
    )
    told = capfd.readouterr().out
    for words in ("payments a second (median)", "books", "right:", "cores", "synchronous FULL"):
        assert words in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--open-loop", "fast"], "loads are"),
        (["--open-loop", "0"], "loads are"),
        (["--payments", "0"], "--seconds"),
        (["--engine", "paper"], "paper"),
        (["--market", "XX"], "XX"),
        (["desk", "--bulk", "10"], "for http"),
        (["http", "--bulk", "10", "--overload", "4"], "at a time"),
    ],
)
def test_what_cannot_be_benched_is_told(words, told, capfd):
    assert command(["bench", *words]) == 2
    heard = capfd.readouterr()
    assert told in heard.err + heard.out


def test_a_plot_that_cannot_be_written_is_told(tmp_path: Path):
    with pytest.raises(Unavailable, match="cannot be written"):
        save_plot({"open_loop": [], "mode": "", "engine": "", "workload": "", "customers": 1},
                  tmp_path / "no" / "plot.svg")  # fmt: skip


@pytest.mark.parametrize(
    ("text", "rates"), [("2000", (2000.0,)), ("1,2.5, 4", (1.0, 2.5, 4.0)), ("7,", (7.0,))]
)
def test_loads_are_read(text, rates):
    assert rates_of(text) == rates


@pytest.mark.parametrize(
    ("balanced", "kept", "right"),
    [(True, True, True), (False, True, False), (True, False, False)],
)
def test_a_bench_is_right_when_money_balances_and_nothing_is_missing(balanced, kept, right):
    books = {"balanced": balanced, "every_answer_kept": kept}
    assert is_right({"books": books}) is right


# Ctrl-C


def children_of(process: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[1]) == process:
                found.append(int(path.parent.name))
    return found


@pytest.mark.parametrize("mode", ["ledger", "desk", "http"])
def test_ctrl_c_stops_everything_and_cleans_up(tmp_path: Path, mode):
    words = [sys.executable, "-m", "umoja", "bench", mode, "--payments", "0", "--seconds", "60",
             "--customers", "50", "--baseline-seconds", "0", "--port", "18493"]  # fmt: skip
    bench = subprocess.Popen(
        words, env=os.environ | {"TMPDIR": str(tmp_path)}, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 60
        while not is_under_way(tmp_path, mode):
            assert bench.poll() is None, bench.stderr.read()
            assert time.monotonic() < deadline, "the bench did not begin"
            time.sleep(0.05)
        children = children_of(bench.pid)
        assert bool(children) == (mode == "http")
        bench.send_signal(signal.SIGINT)
        _, said = bench.communicate(timeout=60)
    finally:
        bench.kill()
        bench.communicate()
    assert bench.returncode == 130, said
    assert leftovers(tmp_path) == []
    assert [child for child in children if Path(f"/proc/{child}").exists()] == []


def is_under_way(folder: Path, mode: str) -> bool:
    """Tell whether payments are being made: the journal has grown beyond the people's money."""
    grown = [path for path in folder.glob("umoja-bench-*/KE/journal.db-wal")
             if path.stat().st_size > 400_000]  # fmt: skip
    has_server = bool(list(folder.glob("umoja-bench-*/server.log")))
    return bool(grown) and (mode != "http" or has_server)
