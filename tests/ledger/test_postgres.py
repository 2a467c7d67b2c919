"""What the PostgreSQL engine adds: it is still there after a stop, it knows who else writes, and it
takes no server that would forget."""

import threading
from datetime import timedelta

import msgspec
import psycopg
import pytest

from umoja.faults import OutcomeUnknown, Unavailable
from umoja.ledger import keys, postgres
from umoja.ledger.books import audit
from umoja.ledger.chain import JournalDamaged, seal_of
from umoja.ledger.entries import Account, Bundle, Guard, Kind, Shelf, Transfer, Verdict
from umoja.ledger.journal import Fenced
from umoja.ledger.lease import Held
from umoja.ledger.postgres import PostgresLedger, PostgresShelf, journal_rows
from umoja.storage.migrate import DatabaseTooNew, PlanBroken
from umoja.storage.postgres import Server, ServerUnfit, migrate

TRUST = Account(1, "KES", Guard.DEBIT, Shelf.TRUST)
WALLET = Account(2, "KES", Guard.CREDIT, Shelf.EMONEY)
SHOP = Account(3, "KES", Guard.CREDIT, Shelf.EMONEY)


def issue(ledger, name, minor=100):
    opens = () if ledger.state.has(1) else (TRUST, WALLET, SHOP)
    return ledger.post([Bundle(name, 5, (Transfer(Kind.POST, 1, 2, minor),), opens, b"s")])


# Time is the server's: what a test can do is to bring a lease's end nearer.
AS_IF_LATER = "UPDATE writer SET until = until - %s"
LEFT_S = (
    "SELECT (until - extract(epoch FROM clock_timestamp()) * 1000000)::float8 / 1000000 FROM writer"
)


def state_of(ledger):
    return msgspec.msgpack.encode(ledger.state.snapshot())


@pytest.fixture
def open_ledger(server, clock):
    opened = []

    def open_it(**options):
        opened.append(PostgresLedger(server, clock=options.pop("clock", clock), **options))
        return opened[-1]

    yield open_it
    for ledger in opened:
        ledger.close()


@pytest.fixture
def run_sql(quick_cluster, server):
    """Do to the schema what the engine would not do itself; return the rows."""

    def run(query, values=None):
        with quick_cluster.connect() as connection:
            connection.execute(f"SET search_path = {server.schema}")
            cursor = connection.execute(query, values)
            return cursor.fetchall() if cursor.description else []

    return run


# It is still there


def test_state_is_the_same_after_a_stop_bit_for_bit(open_ledger):
    ledger = open_ledger()
    issue(ledger, "a.0")
    ledger.post([Bundle("h.0", 6, (Transfer(Kind.HOLD, 2, 3, 40, "h"),))])
    before = state_of(ledger)
    ledger.close()

    again = open_ledger()

    assert state_of(again) == before
    assert again.state.balance(2).available == 60
    repeat = Bundle("h.0", 9, (Transfer(Kind.HOLD, 2, 3, 40, "h"),))
    assert again.post([repeat]) == [Verdict.DONE]
    assert again.head == 2


def test_a_checkpoint_and_its_tail_give_the_same_state_as_the_whole_journal(open_ledger):
    ledger = open_ledger()
    issue(ledger, "a.0")
    ledger.save(ledger.taken(), b"companion")
    issue(ledger, "b.0", 11)
    before = state_of(ledger)
    ledger.close()

    again = open_ledger()

    assert again.saved() == (1, b"companion")
    assert state_of(again) == before


def test_a_checkpoint_longer_than_a_piece_comes_back_whole(open_ledger, run_sql, monkeypatch):
    monkeypatch.setattr(postgres, "PIECE", 10)
    ledger = open_ledger()
    issue(ledger, "a.0")
    ledger.save(ledger.taken(), b"x" * 25)
    ledger.save(ledger.taken(), b"a companion of 24 bytes.")
    ledger.close()

    again = open_ledger()

    assert again.saved() == (1, b"a companion of 24 bytes.")
    pieces = run_sql("SELECT place, bytes FROM piece WHERE owner = 'companion' ORDER BY place")
    assert pieces == [(0, b"a companio"), (1, b"n of 24 by"), (2, b"tes.")]


def test_an_auditor_reads_beside_the_writer_and_writes_nothing(open_ledger, server):
    ledger = open_ledger()
    issue(ledger, "a.0")

    rows = list(journal_rows(server))

    assert [row.id for row in rows] == ["a.0"]
    assert audit(rows, claimed=ledger.state).breaches == ()
    assert issue(ledger, "b.0") == [Verdict.DONE]


def test_where_no_journal_is_an_auditor_is_told_so_and_makes_none(server, quick_cluster):
    with pytest.raises(FileNotFoundError, match="no journal in the schema"):
        list(journal_rows(server))

    with quick_cluster.connect() as connection:
        (found,) = connection.execute("SELECT to_regnamespace(%s)", (server.schema,)).fetchone()
    assert found is None


def test_two_markets_live_in_one_database_and_do_not_meet(server, quick_cluster, clock):
    other = Server(url=server.url, schema=quick_cluster.schema(), allow_unsafe=True)
    here, there = PostgresLedger(server, clock=clock), PostgresLedger(other, clock=clock)

    issue(here, "a.0", 100)
    issue(there, "a.0", 7)

    assert (here.state.net(2), there.state.net(2)) == (100, 7)
    here.close()
    there.close()


# Who else writes


def test_a_second_start_is_told_who_writes(open_ledger):
    first = open_ledger(holder="node-a process 12", lease_s=15)
    issue(first, "a.0")

    with pytest.raises(Held, match=r"held by node-a process 12 until [\d:]{8} UTC or longer"):
        open_ledger(holder="node-b process 7")

    assert issue(first, "b.0") == [Verdict.DONE]


def test_a_stop_in_order_lets_the_lease_go(open_ledger):
    open_ledger(holder="node-a").close()

    assert issue(open_ledger(holder="node-b"), "a.0") == [Verdict.DONE]


def test_a_lease_that_ran_out_holds_nobody_up(open_ledger, run_sql):
    first = open_ledger(lease_s=15)
    run_sql(AS_IF_LATER, (14_000_000,))
    with pytest.raises(Held):
        open_ledger()
    run_sql(AS_IF_LATER, (1_000_000,))

    second = open_ledger()

    assert issue(second, "a.0") == [Verdict.DONE]
    with pytest.raises(Fenced):
        issue(first, "b.0")


def test_a_commit_renews_the_lease_once_a_third_of_it_is_over(open_ledger, clock, run_sql):
    ledger = open_ledger(lease_s=600)
    run_sql(AS_IF_LATER, (199_000_000,))
    clock.advance(timedelta(seconds=199))
    issue(ledger, "a.0")
    ((early,),) = run_sql(LEFT_S)
    clock.advance(timedelta(seconds=1))
    issue(ledger, "b.0")
    ((late,),) = run_sql(LEFT_S)

    assert early < 402
    assert 402 < late <= 600


def test_a_writer_with_nothing_to_do_renews_its_lease_by_time(open_ledger, run_sql):
    ledger = open_ledger(lease_s=3)
    run_sql(AS_IF_LATER, (3_000_000,))

    for _ in range(100):
        if run_sql(LEFT_S)[0][0] > 0:
            break
        threading.Event().wait(0.05)
    else:
        pytest.fail("the lease was not renewed")

    ledger._shelf.renew()  # by hand as well


def test_one_who_was_told_to_takes_over_and_the_first_is_fenced_off(open_ledger):
    first = open_ledger()
    issue(first, "a.0")
    second = open_ledger(take_over=True, holder="node-b")

    with pytest.raises(Fenced, match=r"writer 2 \(node-b\) has taken over from writer 1"):
        issue(first, "b.0")
    with pytest.raises(Fenced):
        first.save(first.taken())
    with pytest.raises(Fenced):
        first._shelf.renew()

    assert first.state.net(2) == 100
    assert issue(second, "b.0") == [Verdict.DONE]
    assert second.state.net(2) == 200
    assert second._shelf.checkpoint() is None


def test_taking_over_waits_until_the_transaction_before_has_ended(open_ledger, server, clock):
    first = open_ledger()
    issue(first, "a.0")
    with first._shelf._writer.use() as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT epoch FROM writer FOR UPDATE")
        connection.execute("INSERT INTO journal VALUES (2, 'b.0', 1, 0, 0, '\\x9290f0', '')")
        found = []
        starting = threading.Thread(
            target=lambda: found.append(PostgresShelf(server, clock=clock, take_over=True))
        )
        starting.start()
        starting.join(0.3)
        assert found == []
        connection.execute("COMMIT")
    starting.join(5)

    (second,) = found
    assert second.head() == 2
    second.close()


def test_one_who_cannot_have_the_writer_s_row_is_told_in_time(server, clock):
    PostgresShelf(server, clock=clock).close()
    impatient = Server(url=server.url, schema=server.schema, wait_s=1, allow_unsafe=True)
    with psycopg.connect(server.url) as other:
        other.execute(f"SELECT epoch FROM {server.schema}.writer FOR UPDATE")

        with pytest.raises(Unavailable, match="lock timeout"):
            PostgresShelf(impatient, clock=clock)


# Memory and journal in step


def test_a_failed_commit_leaves_memory_and_journal_in_step(open_ledger, run_sql):
    ledger = open_ledger()
    issue(ledger, "a.0")
    run_sql(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN RAISE disk_full; END $$"
    )
    run_sql("CREATE TRIGGER filled BEFORE INSERT ON journal EXECUTE FUNCTION full_disk()")

    with pytest.raises(Unavailable, match="cannot be written"):
        issue(ledger, "b.0")

    assert ledger.state.net(2) == 100
    run_sql("DROP TRIGGER filled ON journal")
    assert issue(ledger, "b.0") == [Verdict.DONE]
    assert ledger.state.net(2) == 200
    assert audit(ledger.rows(), claimed=ledger.state).breaches == ()


def test_a_commit_that_the_server_refuses_at_the_last_moment_kept_nothing(open_ledger, run_sql):
    ledger = open_ledger()
    issue(ledger, "a.0")
    run_sql(
        "CREATE FUNCTION too_late() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN RAISE serialization_failure; END $$"
    )
    run_sql(
        "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON journal DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION too_late()"
    )

    with pytest.raises(Unavailable, match="cannot be written"):
        issue(ledger, "b.0")

    run_sql("DROP TRIGGER late ON journal")
    assert issue(ledger, "b.0") == [Verdict.DONE]
    assert ledger.state.net(2) == 200
    assert run_sql("SELECT epoch FROM writer") == [(2,)]


def test_a_server_that_lost_lines_is_not_written_to(open_ledger, run_sql):
    ledger = open_ledger()
    issue(ledger, "a.0")
    issue(ledger, "b.0")
    run_sql("DELETE FROM journal WHERE sequence = 2")  # as an older replica would stand there

    with pytest.raises(JournalDamaged, match="ends at line 1, but line 2 was kept"):
        issue(ledger, "c.0")

    assert run_sql("SELECT id FROM journal") == [("a.0",)]


def test_lines_that_this_writer_does_not_know_stop_it_until_it_has_read_them(open_ledger, run_sql):
    ledger = open_ledger()
    issue(ledger, "a.0")
    moves = msgspec.msgpack.encode(((Transfer(Kind.POST, 1, 2, 5),), ()))
    run_sql("INSERT INTO journal VALUES (2, 'b.0', 1, 1, 1, %b, '')", (moves,))
    before = ledger._roll.digest_at(1)
    seal = seal_of(before, [(2, "b.0", 1, 1, 1, moves, b"")], epoch=1)
    run_sql("INSERT INTO seals VALUES (%s, %s, %b, %s, %s)", seal)

    with pytest.raises(OutcomeUnknown, match="goes on to line 2, this writer knows 1"):
        issue(ledger, "c.0")
    with pytest.raises(Unavailable, match="start again"):
        issue(ledger, "c.0")

    ledger.close()
    again = open_ledger()
    assert issue(again, "c.0") == [Verdict.DONE]
    assert again.state.net(2) == 205


# Damage


def test_a_damaged_checkpoint_is_passed_over_and_the_journal_read_instead(open_ledger, run_sql):
    ledger = open_ledger()
    issue(ledger, "a.0")
    ledger.save(ledger.taken(), b"companion")
    ledger.close()
    run_sql("UPDATE piece SET bytes = set_byte(bytes, 2, 0) WHERE owner = 'state'")

    again = open_ledger()

    assert again.saved() == (0, b"")
    assert again.state.net(2) == 100


def test_a_checkpoint_that_lacks_a_piece_is_passed_over(open_ledger, run_sql):
    ledger = open_ledger()
    issue(ledger, "a.0")
    ledger.save(ledger.taken(), b"companion")
    ledger.close()
    run_sql("DELETE FROM piece WHERE owner = 'companion'")

    again = open_ledger()

    assert again.saved() == (0, b"")
    assert again.state.net(2) == 100


def test_a_damaged_key_column_is_read_anew_from_the_journal_and_kept_anew(
    open_ledger, run_sql, monkeypatch
):
    monkeypatch.setattr(keys, "NEWEST_MAX", 10)
    ledger = open_ledger()
    issue(ledger, "a.0")
    for number in range(60):
        issue(ledger, f"n{number}.0", 1)
        ledger._keys.close()
    ledger.save(ledger.taken())
    ledger.close()
    kept = run_sql("SELECT count(*) FROM keys")
    assert kept > [(0,)]
    flipped = "set_byte(bytes, 3, get_byte(bytes, 3) # 255)"
    run_sql(f"UPDATE piece SET bytes = {flipped} WHERE owner LIKE 'digests 1-%'")

    again = open_ledger()

    assert again.row("n7.0").sequence == 9
    assert issue(again, "n7.0", 1) == [Verdict.DONE]
    assert again.head == 61
    again._keys.close()
    issue(again, "z.0", 1)
    again.save(again.taken())
    again.close()
    assert open_ledger()._shelf._are_columns_sound
    assert run_sql("SELECT count(*) FROM keys") > [(0,)]


def test_a_flipped_byte_in_a_line_is_named(open_ledger, run_sql):
    ledger = open_ledger()
    issue(ledger, "a.0")
    issue(ledger, "b.0")
    ledger.close()
    run_sql("UPDATE journal SET moves = set_byte(moves, 0, 193) WHERE sequence = 2")

    with pytest.raises(JournalDamaged, match="lines 2 to 2 are not what was written"):
        open_ledger()


def test_a_line_that_nobody_sealed_is_named(open_ledger, run_sql):
    ledger = open_ledger()
    issue(ledger, "a.0")
    ledger.close()
    moves = msgspec.msgpack.encode(((Transfer(Kind.POST, 2, 3, 101),), ()))
    run_sql("INSERT INTO journal VALUES (2, 'x.0', 1, 1, 0, %b, '')", (moves,))

    with pytest.raises(JournalDamaged, match="the seal of line 2 is missing"):
        open_ledger()


def test_a_missing_line_is_named(open_ledger, run_sql):
    ledger = open_ledger()
    for name in ("a.0", "b.0", "c.0"):
        issue(ledger, name)
    ledger.close()
    run_sql("DELETE FROM journal WHERE sequence = 2")

    with pytest.raises(JournalDamaged, match="line 2 is missing"):
        open_ledger()


# The server and the schema


def test_a_server_that_forgets_in_a_power_cut_is_refused(server, clock):
    strict = Server(url=server.url, schema=server.schema)

    with pytest.raises(ServerUnfit, match=r"forgets in a power cut .fsync = off"):
        PostgresLedger(strict, clock=clock)


def test_commits_that_are_not_waited_for_are_switched_off(open_ledger, server):
    url = f"{server.url}&options=-csynchronous_commit%3Doff"

    with Server(url=url, schema=server.schema, allow_unsafe=True).connect() as connection:
        assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)


def test_a_database_of_another_encoding_is_refused(server, quick_cluster):
    with quick_cluster.connect() as connection:
        connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    url = server.url.replace("/postgres?", "/latin?")

    with pytest.raises(ServerUnfit, match="encoding is LATIN1: make it with ENCODING 'UTF8'"):
        Server(url=url, schema="x", allow_unsafe=True).connect()


def test_a_url_that_cannot_be_read_is_refused_without_being_repeated():
    with pytest.raises(ValueError, match="the database URL cannot be read") as told:
        Server(url="postgresql://umoja:s3cr%zzet@host/", schema="x")

    assert "s3cr" not in str(told.value)
    assert "s3cret" not in repr(Server(url="postgresql://umoja:s3cret@host/", schema="x"))


@pytest.mark.parametrize("name", ["", "Upper", "1a", "a-b", 'a"; DROP TABLE x; --', "a" * 64])
def test_a_schema_has_a_plain_name(name):
    with pytest.raises(ValueError, match="small letters"):
        Server(url="postgresql://host/", schema=name)


def test_a_server_that_is_not_there_is_unavailable(tmp_path, clock):
    nowhere = Server(url=f"postgresql:///x?host={tmp_path}", schema="x", wait_s=2)

    with pytest.raises(Unavailable, match="cannot be used now"):
        PostgresLedger(nowhere, clock=clock)


def test_a_user_who_may_make_no_schema_is_told_what_is_needed(server, quick_cluster, clock):
    with quick_cluster.connect() as connection:
        connection.execute("CREATE ROLE guest LOGIN")
    guest = Server(
        url=server.url.replace("user=umoja", "user=guest"), schema="guests", allow_unsafe=True
    )

    with pytest.raises(ServerUnfit, match=r"permission denied .* needs CREATE on the database"):
        PostgresLedger(guest, clock=clock)
    with quick_cluster.connect() as connection:
        connection.execute("CREATE SCHEMA guests AUTHORIZATION guest")

    ledger = PostgresLedger(guest, clock=clock)
    assert issue(ledger, "a.0") == [Verdict.DONE]
    ledger.close()


def test_migrating_twice_and_from_two_at_once_applies_once(server, clock):
    found = []
    both = [
        threading.Thread(target=lambda: found.append(migrate(server, "journal", clock)))
        for _ in range(2)
    ]
    for each in both:
        each.start()
    for each in both:
        each.join()

    assert sorted(name for names in found for name in names) == [
        "journal_postgres/0001_pre_journal",
        "journal_postgres/0002_pre_seals",
    ]
    assert migrate(server, "journal", clock) == []


def test_an_edited_migration_is_refused(server, clock, run_sql):
    migrate(server, "journal", clock)
    run_sql("UPDATE migrations SET sha256 = 'other'")

    with pytest.raises(PlanBroken, match="was edited after it had been applied"):
        migrate(server, "journal", clock)


def test_a_schema_that_a_newer_program_has_finished_is_refused(server, clock, run_sql):
    migrate(server, "journal", clock)
    run_sql("INSERT INTO migrations VALUES ('journal_postgres/0009_post_later', 0, 'x')")

    with pytest.raises(DatabaseTooNew, match="0009_post_later"):
        PostgresLedger(server, clock=clock)
