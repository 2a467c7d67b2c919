"""The port of SQL on both databases: transactions, values, uniqueness, changes made elsewhere."""

import threading
from collections.abc import Callable
from functools import partial

import pytest

from tests.postgres import Cluster
from umoja.faults import OutcomeUnknown, Unavailable
from umoja.storage.database import Database
from umoja.storage.dialect import for_postgres, for_psycopg
from umoja.storage.migrate import migrate
from umoja.storage.port import NotUnique, Sql
from umoja.storage.postgres_database import PostgresDatabase

DAYS = "INSERT INTO days VALUES (:market, :day, :payments, :moved)"


def put(database: Sql, market: str, payments: int = 1) -> None:
    database.run(DAYS, market=market, day="2026-03-10", payments=payments, moved="{}")


@pytest.fixture
def made(database, clock):
    migrate(database, "centre", clock)
    return database


def test_rows_are_read_by_name_and_by_place(made):
    put(made, "KE", 2**40)
    row = made.one("SELECT market, payments FROM days WHERE market = :m", m="KE")
    assert (row["market"], row[1], len(row), list(row), dict(row)) == (
        "KE", 2**40, 2, ["KE", 2**40], {"market": "KE", "payments": 2**40},
    )  # fmt: skip
    assert row.keys() == ["market", "payments"]
    assert made.one("SELECT market FROM days WHERE market = :m", m="GH") is None
    with pytest.raises((IndexError, KeyError)):
        row["nothing"]


def test_sums_are_whole_numbers_and_texts_are_compared_by_their_bytes(made):
    for market in ("b", "B", "a", "é", "_"):
        put(made, market, 3)
    assert made.one("SELECT sum(payments), count(*) FROM days")[0] == 15
    assert type(made.one("SELECT sum(payments) FROM days")[0]) is int
    rows = made.query("SELECT market FROM days ORDER BY market")
    assert [row[0] for row in rows] == ["B", "_", "a", "b", "é"]


def test_a_transaction_is_kept_whole_or_not_at_all(made):
    with pytest.raises(RuntimeError, match="enough"):
        _put_and_fail(made)
    assert made.one("SELECT count(*) FROM days")[0] == 0
    with made.transaction():
        put(made, "KE")
        assert made.run("UPDATE days SET payments = 5 WHERE market <> 'XX'") == 1
    assert made.one("SELECT payments FROM days")[0] == 5


def test_a_key_that_is_taken_is_told_and_nothing_is_kept(made):
    put(made, "KE")
    with pytest.raises(NotUnique):
        _together(made, lambda: put(made, "GH"), lambda: put(made, "KE"))
    assert made.one("SELECT count(*) FROM days")[0] == 1
    put(made, "GH")


def test_many_rows_are_kept_or_none(made):
    rows = [{"market": f"M{n}", "day": "", "payments": n, "moved": "{}"} for n in range(50)]
    assert made.run_many(DAYS, rows) == 50
    with pytest.raises(NotUnique):
        made.run_many(DAYS, [{**rows[0], "market": "new"}, rows[3]])
    assert made.one("SELECT count(*) FROM days")[0] == 50
    assert made.run_many(DAYS, []) == 0


def test_a_percent_sign_and_a_colon_in_a_text_stay_what_they_are(made):
    put(made, "%s :m 100%")
    assert made.one("SELECT market FROM days WHERE market LIKE '%:m 100%'")[0] == "%s :m 100%"


def test_one_writer_at_a_time_also_from_another_opening(made, open_it):
    other = open_it()
    put(made, "KE", 0)
    both = [threading.Thread(target=_add, args=(each, 20)) for each in (made, other, made)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert made.one("SELECT payments FROM days")[0] == 60


def _put_and_fail(database: Sql) -> None:
    with database.transaction():
        put(database, "KE")
        assert database.one("SELECT count(*) FROM days")[0] == 1
        raise RuntimeError("enough")


def _together(database: Sql, *acts: Callable[[], object]) -> None:
    with database.transaction():
        for act in acts:
            act()


def _add(database: Sql, times: int) -> None:
    done = 0
    while done < times:
        try:
            with database.transaction():
                before = database.one("SELECT payments FROM days")[0]
                database.run("UPDATE days SET payments = :p", p=before + 1)
        except Unavailable:
            continue  # the other one was faster for too long: nothing happened
        done += 1


def test_who_waits_too_long_for_another_file_s_writer_is_told_and_nothing_happened(tmp_path, clock):
    made, other = (Database(tmp_path / "centre.db", wait_s=0.1) for _ in range(2))
    migrate(made, "centre", clock)
    with made.transaction():
        put(made, "KE")
        with pytest.raises(Unavailable):
            put(other, "GH")
    put(other, "GH")
    assert made.one("SELECT count(*) FROM days")[0] == 2
    made.close()
    other.close()


def test_a_writer_that_falls_asleep_on_a_server_makes_room_for_the_others(server, clock):
    made, other = (PostgresDatabase(server, "centre") for _ in range(2))
    migrate(made, "centre", clock)
    with pytest.raises(Unavailable):  # the other waits until the server has ended this one
        _together(made, lambda: put(made, "KE"), lambda: put(other, "GH"))
    assert [row[0] for row in other.query("SELECT market FROM days")] == ["GH"]
    made.close()
    other.close()


def test_what_others_wrote_is_noticed_and_what_we_wrote_is_not(made, open_it):
    other = open_it()
    other.changed_elsewhere()
    made.changed_elsewhere()
    assert not made.changed_elsewhere()
    put(made, "KE")
    assert not made.changed_elsewhere()
    put(other, "GH")
    put(made, "TZ")
    assert made.changed_elsewhere()
    assert not made.changed_elsewhere()
    with made.transaction():
        assert not made.changed_elsewhere()
    assert other.changed_elsewhere()


def test_the_next_call_after_closing_says_so(made):
    made.close()
    made.close()
    with pytest.raises(Exception, match="closed"):
        made.query("SELECT 1")


def test_a_lost_session_is_made_anew_and_a_lost_commit_is_unclear(server, quick_cluster, clock):
    database = PostgresDatabase(server, "centre")
    migrate(database, "centre", clock)
    put(database, "KE")
    _cut(quick_cluster)
    assert database.one("SELECT count(*) FROM days")[0] == 1
    put(database, "GH")
    cut = partial(_cut, quick_cluster)
    with pytest.raises(Unavailable):
        _together(database, cut, lambda: put(database, "TZ"))
    with pytest.raises(OutcomeUnknown):
        _together(database, lambda: put(database, "TZ"), cut)
    with pytest.raises(Unavailable):
        _together(database, lambda: database.one("SELECT 1"), cut)
    assert database.one("SELECT count(*) FROM days")[0] == 2
    put(database, "TZ")
    database.close()


def _cut(cluster: Cluster) -> None:
    """End every session of ours, as an operator or a failing server does."""
    with cluster.connect() as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND application_name = 'umoja'"
        )
        while connection.execute(
            "SELECT 1 FROM pg_stat_activity WHERE application_name = 'umoja'"
        ).fetchone():
            pass


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (
            "SELECT a FROM b WHERE c = :c AND d = :c",
            "SELECT a FROM b WHERE c = %(c)s AND d = %(c)s",
        ),
        ("SELECT ':no', x::int, only", "SELECT ':no', x::int, \"only\""),
        ("SELECT 5 % 2 -- :no %", "SELECT 5 %% 2 -- :no %%"),
        ("CAST(x AS INTEGER)", "CAST(x AS bigint)"),
    ],
)
def test_a_statement_is_said_to_the_driver(said: str, meant: str):
    assert for_psycopg(said) == meant


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("CREATE TABLE a (b INTEGER NOT NULL) STRICT;", "CREATE TABLE a (b bigint NOT NULL)"),
        ("CREATE TABLE a (b BLOB) STRICT, WITHOUT ROWID", "CREATE TABLE a (b bytea)"),
        (
            "CREATE TABLE a (b INTEGER PRIMARY KEY, c TEXT)",
            (
                "CREATE TABLE a (b bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,"
                ' c text COLLATE "C")'
            ),
        ),
        ("INSERT INTO a VALUES (zeroblob(32))", "INSERT INTO a VALUES (decode(repeat('00', 32), 'hex'))"),
    ],
)  # fmt: skip
def test_a_definition_is_said_in_the_server_s_types(said: str, meant: str):
    assert for_postgres(said) == meant
