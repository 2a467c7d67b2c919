"""A dozen kills of a real installation under load: nothing lost, nothing doubled, the same bytes again."""

import json
import shutil
import socket

import pytest

from tests.postgres import NoPostgres, programs
from umoja.cli import run
from umoja.simulator.crash import Plan, targets_of

KILLS = 12


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


@pytest.mark.bench
@pytest.mark.timeout(300)
@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_a_dozen_kills_lose_nothing_and_double_nothing(engine, capsys):
    if engine == "postgres":
        try:
            programs()
        except NoPostgres as cause:
            pytest.skip(str(cause))
    words = ["--kills", str(KILLS), "--engine", engine, "--port", str(free_port()), "--json"]
    code = run(["crash", *words])
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert found["violations"] == []
    assert (code, found["right"], found["kills"]) == (0, True, KILLS)
    assert sum(found["killed"].values()) == KILLS
    assert found["replayed_alike"]
    assert found["acknowledged"] > 100
    assert found["unknown_outcomes"] == found["resolved"]
    assert "umoja crash: 12 of 12 kills" in told.err


@pytest.mark.bench
@pytest.mark.timeout(200)
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_writer_whose_disk_fails_ends_and_the_next_one_knows_what_became_of_everything(capsys):
    words = ["--kills", "3", "--target", "disk", "--port", str(free_port()), "--json"]
    code = run(["crash", *words])
    told = capsys.readouterr()
    if code == 69 and "cannot be made to fail" in told.err:
        pytest.skip(told.err)
    found = json.loads(told.out)
    assert (found["violations"], found["killed"]) == ([], {"disk": 3})
    assert found["unknown_outcomes"] == found["resolved"]


def test_what_is_killed_is_what_was_asked_for():
    assert targets_of(Plan(kills=1, target="writer")) == {"writer": 60}
    assert set(targets_of(Plan(kills=1))) == {"writer", "front", "centre"}
    everything = targets_of(Plan(kills=1, engine="postgres"))
    assert set(everything) == {"writer", "front", "centre", "database", "backend"}
    database = targets_of(Plan(kills=1, engine="postgres", target="database"))
    assert set(database) == {"database", "backend"}


def test_a_database_is_killed_only_where_there_is_one(capsys):
    assert run(["crash", "--target", "database"]) == 2
    assert "with sqlite a target is any, writer, front, centre, disk" in capsys.readouterr().err


def test_a_folder_with_something_in_it_is_not_touched(tmp_path, capsys):
    (tmp_path / "letter").write_text("mine")
    assert run(["crash", "--kills", "1", "--data", str(tmp_path)]) == 69
    assert "is not empty: choose another --data" in capsys.readouterr().err
    assert (tmp_path / "letter").read_text() == "mine"
