"""The command line: its exit codes, its JSON, and one clear line for each expected trouble."""

import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.stage import raised
from umoja.cli import OK, REFUSED, UNAVAILABLE, USAGE, WRONG, run
from umoja.clock import ManualClock
from umoja.ops.centre import open_centre


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path: Path):
    """Let nothing of the machine's own settings in."""
    for name in ("UMOJA_DATA", "UMOJA_MARKETS", "UMOJA_PORT", "UMOJA_PACKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a data folder in which one market has had a few payments."""
    folder = tmp_path / "data"
    stage = raised("KE", folder / "KE", engine="sqlite")
    amina, baraka = stage.customer("Amina"), stage.customer("Baraka")
    stage.give_money(amina, 500_000)
    stage.pay("send_money", amina.id, baraka.id, 100_000)
    stage.close()
    return folder


def test_no_words_show_the_help(capsys):
    assert run([]) == OK
    told = capsys.readouterr().out
    for command in ("up", "serve", "simulate", "drill", "books", "audit", "market", "client"):
        assert command in told
    assert "Exit codes" in told


@pytest.mark.parametrize(
    "words",
    [
        ["dance"], ["up", "--port", "many"], ["up", "--customers", "0"], ["up", "--rate=-1"],
        ["simulate"], ["simulate", "GH", "--payments", "0"], ["drill", "sms-route-dead"],
        ["drill", "sms-route-dead", "--market", "GH", "--speed", "0"], ["market", "frown"],
        ["simulate", "GH", "--day", "2026-02-30"], ["market", "check", "XX"], ["market", "show", "XX"],
        ["market", "show", "KE", "--day", "today"], ["market", "new", "K"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_is_typed_wrong_is_told_and_ends_with_two(words: list[str], capsys):
    assert run(words) == USAGE
    told = capsys.readouterr()
    assert told.err + told.out != ""
    assert "Traceback" not in told.err + told.out


def test_a_configuration_that_is_refused_names_each_fault(capsys, tmp_path: Path):
    file = tmp_path / "umoja.toml"
    file.write_text('port = "many"\ncolour = "red"\npin_key = "change-me"\n')

    assert run(["serve", "--config", str(file)]) == REFUSED

    told = capsys.readouterr().err
    assert told.count("umoja: ") >= 4
    assert "port" in told
    assert "colour is not a setting" in told
    assert "pin_key is a placeholder" in told


def test_configuration_is_shown_with_origins_and_without_secrets(capsys, monkeypatch):
    monkeypatch.setenv("UMOJA_PORT", "9000")
    monkeypatch.setenv("UMOJA_PIN_KEY", "a-long-key-that-nobody-may-read")

    assert run(["config", "--json"]) == OK

    told = capsys.readouterr().out
    rows = {row["name"]: row for row in json.loads(told)}
    assert (rows["port"]["value"], rows["port"]["origin"]) == ("9000", "UMOJA_PORT")
    assert rows["pin_key"]["value"] == "(set)"
    assert "nobody-may-read" not in told


def test_an_example_configuration_is_one_that_production_takes(capsys, tmp_path: Path):
    assert run(["config", "--example"]) == OK
    file = tmp_path / "umoja.toml"
    file.write_text(capsys.readouterr().out)
    assert run(["config", "--config", str(file), "--json"]) == OK
    assert json.loads(capsys.readouterr().out)[0]["name"] == "data"


def test_books_that_balance_end_with_nought(data: Path, capsys):
    assert run(["books", "--data", str(data), "--json"]) == OK
    (book,) = json.loads(capsys.readouterr().out)["KE"]["currencies"]
    assert (book["issued"], book["trust"]) == (500_000, 500_000)

    assert run(["books", "--data", str(data)]) == OK
    assert "the books are right" in capsys.readouterr().out


def test_books_that_are_not_there_are_told(data: Path, tmp_path: Path, capsys):
    assert run(["books", "--data", str(tmp_path / "none")]) == UNAVAILABLE
    assert "start with umoja up" in capsys.readouterr().err
    assert run(["books", "--data", str(data), "--market", "GH"]) == UNAVAILABLE
    assert "no journal of GH" in capsys.readouterr().err


def test_audit_verify_finds_a_changed_entry(tmp_path: Path, capsys):
    centre = open_centre(
        tmp_path / "centre.db", clock=ManualClock(datetime(2026, 3, 10, tzinfo=UTC)), markets=[]
    )
    for n in range(3):
        centre.audit.record(actor="amina", action="note", detail=f"note {n}")
    centre.close()
    assert run(["audit", "verify", "--data", str(tmp_path), "--json"]) == OK
    assert json.loads(capsys.readouterr().out)["broken_at"] is None

    with sqlite3.connect(tmp_path / "centre.db") as database:
        (table,) = next(
            row
            for row in database.execute("SELECT name FROM sqlite_master WHERE name LIKE '%audit%'")
        )
        for (trigger,) in list(
            database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        ):
            database.execute(f"DROP TRIGGER {trigger}")
        database.execute(f"UPDATE {table} SET detail = 'another' WHERE detail = 'note 1'")
    assert run(["audit", "verify", "--data", str(tmp_path)]) == WRONG
    assert "BROKEN" in capsys.readouterr().out


def test_audit_verify_without_a_centre_is_told(tmp_path: Path, capsys):
    assert run(["audit", "verify", "--data", str(tmp_path)]) == UNAVAILABLE
    assert "no centre" in capsys.readouterr().err


def test_a_client_is_made_listed_and_revoked(data: Path, capsys):
    where = ["--data", str(data)]
    assert run(["client", "new", "Corner shop", "--market", "ke", "--json", *where]) == OK
    made = json.loads(capsys.readouterr().out)

    assert run(["client", "list", "--json", *where]) == OK
    told = capsys.readouterr().out
    assert [row["client"] for row in json.loads(told)] == [made["client_id"]]
    assert made["client_secret"] not in told

    assert run(["client", "revoke", made["client_id"], *where]) == OK
    assert run(["client", "revoke", made["client_id"], *where]) == WRONG
    assert run(["client", "new", "Shop", "--market", "GH", *where]) == UNAVAILABLE
    assert run(["client", "new", "Shop", "--market", "KE", "--scopes", "all", *where]) == USAGE


def test_packs_are_checked_and_a_new_one_is_made(capsys, tmp_path: Path):
    assert run(["market", "check", "--json"]) == OK
    assert len(json.loads(capsys.readouterr().out)) == 8

    assert run(["market", "new", "ZM", "--in", str(tmp_path)]) == OK
    assert run(["market", "new", "ZM", "--in", str(tmp_path)]) == USAGE
    assert run(["market", "check", "ZM", "--packs", str(tmp_path)]) == WRONG
    assert "faults" in capsys.readouterr().out
    assert run(["market", "show", "KE", "--day", "2024-01-31", "--json"]) == OK
