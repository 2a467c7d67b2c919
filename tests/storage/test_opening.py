"""Where an installation is, who may open it, and what its configuration says without its password."""

import os
from pathlib import Path

import pytest

from umoja import config
from umoja.clock import SystemClock
from umoja.faults import Unavailable
from umoja.ledger.lease import Held
from umoja.opening import (
    Place,
    WrongKind,
    begin_production,
    has_any,
    kept_markets,
    kind_of,
    open_ledger,
    open_sql,
    settle_as,
)

CLOCK = SystemClock()
URL = "postgresql://umoja:pass-word@db.example/umoja?sslmode=require"


def read(**flags: object) -> config.Config:
    return config.read(file=None, environ={}, flags=flags)


def test_a_second_writer_is_refused_by_whatever_name_it_finds_the_journal(tmp_path):
    first, second = Place(data=tmp_path / "first"), Place(data=tmp_path / "second")
    ledger = open_ledger(first, "KE", CLOCK)
    with pytest.raises(
        Held, match=rf"journal\.db is held by .* process {os.getpid()}: stop that one"
    ):
        open_ledger(first, "KE", CLOCK)

    second.data.mkdir()
    (second.data / "KE").symlink_to(first.data / "KE")
    with pytest.raises(Held):
        open_ledger(second, "KE", CLOCK)
    (second.data / "KE").unlink()
    (second.data / "KE").mkdir()
    (second.data / "KE" / "journal.db").symlink_to(first.data / "KE" / "journal.db")
    with pytest.raises(Held):
        open_ledger(second, "KE", CLOCK)
    (second.data / "KE" / "journal.db").unlink()
    os.link(first.data / "KE" / "journal.db", second.data / "KE" / "journal.db")
    with pytest.raises(Held, match="a second name"):
        open_ledger(second, "KE", CLOCK)
    (second.data / "KE" / "journal.db").unlink()

    ledger.close()
    open_ledger(first, "KE", CLOCK).close()


def test_a_sandbox_and_production_never_mix(tmp_path):
    place = Place(data=tmp_path)
    assert (has_any(place), kind_of(place), kept_markets(place)) == (False, "", [])
    settle_as(place, "sandbox", CLOCK)
    settle_as(place, "sandbox", CLOCK)
    assert (has_any(place), kind_of(place)) == (True, "sandbox")
    with pytest.raises(WrongKind, match="holds a sandbox, and nothing there is touched"):
        begin_production(place, [], CLOCK)


def test_a_server_that_is_away_is_told_as_that(tmp_path):
    place = Place(data=tmp_path, database=f"postgresql:///umoja?host={tmp_path}&user=nobody")
    for ask in (kept_markets, kind_of, has_any):
        with pytest.raises(Unavailable, match="database cannot be used now"):
            ask(place)
    tables = open_sql(place, "clients")
    with pytest.raises(Unavailable):
        tables.run("DELETE FROM tokens")
    assert not tables.changed_elsewhere()
    tables.close()


def test_the_database_comes_from_where_hosts_put_it():
    found = config.read(file=None, environ={"DATABASE_URL": URL}, flags={})
    assert (found.database, found.origins["database"]) == (URL, "DATABASE_URL")
    found = config.read(
        file=None, environ={"DATABASE_URL": URL, "UMOJA_DATABASE": "postgres://other/x"}, flags={}
    )
    assert found.database == "postgres://other/x"
    found = config.read(file=None, environ={"DATABASE_URL": URL}, flags={"database": ""})
    assert found.database == ""
    assert read().database == ""


@pytest.mark.parametrize("url", ["mysql://x:geheim@y", "geheim", "host=x password=geheim"])
def test_another_url_is_refused_and_not_repeated(url: str):
    with pytest.raises(config.ConfigFaulty, match="begins with postgresql://") as refused:
        read(database=url)
    assert "geheim" not in str(refused.value)


def test_the_password_is_never_shown():
    found = read(database=URL)
    shown = {name: value for name, value, *_ in found.shown()}
    assert shown["database"] == "postgresql://umoja:***@db.example/umoja?sslmode=require"
    assert "pass-word" not in repr(found)
    assert config.masked("postgresql://db/x?user=a&password=b&sslmode=c") == (
        "postgresql://db/x?user=a&password=***&sslmode=c"
    )
    assert config.masked("postgresql://a:b:c%40d@h1,h2:5/x") == "postgresql://a:***@h1,h2:5/x"
    assert {name: value for name, value, *_ in read().shown()}["database"] == "(SQLite files)"


def test_a_place_is_no_longer_than_it_must(tmp_path: Path):
    assert kept_markets(Place(data=tmp_path / "none")) == []
    assert not (tmp_path / "none").exists()
