"""Cut, hung, killed: whatever becomes of the connection or the server, nothing is lost or doubled."""

import contextlib
import os
import random
import signal
import threading

import pytest

from tests.faulty_proxy import Fault, FaultyProxy
from umoja.faults import OutcomeUnknown, Unavailable
from umoja.ledger.books import audit
from umoja.ledger.entries import Account, Bundle, Guard, Kind, Shelf, Transfer, Verdict
from umoja.ledger.journal import Fenced
from umoja.ledger.postgres import PostgresLedger
from umoja.storage.postgres import Server

TRUST = Account(1, "KES", Guard.DEBIT, Shelf.TRUST)
WALLET = Account(2, "KES", Guard.CREDIT, Shelf.EMONEY)
WAIT_S = 2


def issue(ledger, name, minor=100):
    opens = () if ledger.state.has(1) else (TRUST, WALLET)
    return ledger.post([Bundle(name, 5, (Transfer(Kind.POST, 1, 2, minor),), opens, b"s" * 300)])


def ids(ledger):
    return [row.id for row in ledger.rows()]


@pytest.fixture
def proxy(quick_cluster):
    made = FaultyProxy(quick_cluster.socket)
    yield made
    made.close()


@pytest.fixture
def far(server, proxy):
    """Give the server as it is seen through the proxy."""
    url = server.url.replace(server.url.split("host=")[1].split("&")[0], str(proxy.folder))
    return Server(url=url, schema=server.schema, wait_s=WAIT_S, allow_unsafe=True)


@pytest.fixture
def ledger(far, clock):
    opened = PostgresLedger(far, clock=clock)
    issue(opened, "a.0")
    yield opened
    opened.close()


def test_a_connection_cut_after_the_commit_arrived_kept_the_lines(ledger, proxy):
    proxy.on(b"COMMIT", Fault.CUT_AFTER)

    assert issue(ledger, "b.0") == [Verdict.DONE]

    assert proxy.faults_done == 1
    assert issue(ledger, "b.0") == [Verdict.DONE]
    assert issue(ledger, "c.0") == [Verdict.DONE]
    assert ids(ledger) == ["a.0", "b.0", "c.0"]
    assert ledger._shelf._epoch == 2
    assert audit(ledger.rows(), claimed=ledger.state).breaches == ()


def test_a_connection_cut_before_the_commit_arrived_kept_nothing(ledger, proxy):
    proxy.on(b"COMMIT", Fault.CUT_BEFORE)

    with pytest.raises(Unavailable, match="cannot be written"):
        issue(ledger, "b.0")

    assert proxy.faults_done == 1
    assert ledger.state.net(2) == 100
    assert issue(ledger, "b.0") == [Verdict.DONE]
    assert ids(ledger) == ["a.0", "b.0"]


def test_a_commit_that_arrives_late_is_waited_for(ledger, proxy):
    proxy.on(b"COMMIT", Fault.LATE, late_s=0.5)

    assert issue(ledger, "b.0") == [Verdict.DONE]

    assert ids(ledger) == ["a.0", "b.0"]


def test_a_commit_that_arrives_too_late_finds_its_transaction_gone(ledger, proxy):
    # The server ends a cut-off transaction before those who wait for its lock give up.
    proxy.on(b"COMMIT", Fault.LATE, late_s=1.5)

    with pytest.raises(Unavailable, match="cannot be written"):
        issue(ledger, "b.0")

    assert ids(ledger) == ["a.0"]
    assert issue(ledger, "c.0") == [Verdict.DONE]
    assert ids(ledger) == ["a.0", "c.0"]


def test_a_connection_lost_while_the_lines_are_sent_kept_nothing(ledger, proxy):
    proxy.on(b"s" * 300, Fault.CUT_BEFORE)

    with pytest.raises(Unavailable, match="cannot be written"):
        issue(ledger, "b.0")

    assert issue(ledger, "c.0") == [Verdict.DONE]
    assert ids(ledger) == ["a.0", "c.0"]


def test_an_answer_that_never_comes_is_not_waited_for_for_ever(ledger, proxy):
    proxy.on(b"COMMIT", Fault.HOLD)

    with pytest.raises(Unavailable, match="cannot be written"):
        issue(ledger, "b.0")

    assert issue(ledger, "c.0") == [Verdict.DONE]
    assert ids(ledger) == ["a.0", "c.0"]


@pytest.mark.parametrize(
    ("fault", "kept"),
    [(Fault.CUT_AFTER, ["a.0", "b.0"]), (Fault.CUT_BEFORE, ["a.0"])],
)
def test_where_nobody_can_be_asked_the_outcome_is_unknown(
    ledger, proxy, server, clock, fault, kept
):
    proxy.on(b"COMMIT", fault, refuse=True)

    with pytest.raises(OutcomeUnknown, match="did not come back within 2 seconds"):
        issue(ledger, "b.0")

    proxy.refuse(is_on=False)
    with pytest.raises(Unavailable, match="start again"):
        issue(ledger, "b.0")  # not before the journal was read
    ledger.close()
    again = PostgresLedger(server, clock=clock)
    assert ids(again) == kept
    assert issue(again, "b.0", 100) == [Verdict.DONE]
    assert ids(again) == ["a.0", "b.0"]
    again.close()


def test_one_fenced_off_in_its_own_unclear_commit_is_told_what_stands(ledger, proxy, server, clock):
    proxy.on(b"COMMIT", Fault.CUT_AFTER, refuse=True)
    found = []
    asking = threading.Thread(target=lambda: found.append(issue(ledger, "b.0")))
    asking.start()
    while not proxy.faults_done:
        threading.Event().wait(0.01)
    second = PostgresLedger(server, clock=clock, take_over=True)
    issue(second, "c.0")
    proxy.refuse(is_on=False)
    asking.join(10)

    assert found == [[Verdict.DONE]]
    with pytest.raises(Fenced):
        issue(ledger, "d.0")
    assert ids(second) == ["a.0", "b.0", "c.0"]
    second.close()


def test_one_whose_unclear_commit_another_s_line_replaced_is_fenced_off(
    ledger, proxy, server, clock
):
    proxy.on(b"COMMIT", Fault.CUT_BEFORE, refuse=True)
    found = []

    def ask():
        try:
            issue(ledger, "b.0")
        except Unavailable as told:
            found.append(told)

    asking = threading.Thread(target=ask)
    asking.start()
    while not proxy.faults_done:
        threading.Event().wait(0.01)
    second = PostgresLedger(server, clock=clock, take_over=True)
    issue(second, "c.0")
    proxy.refuse(is_on=False)
    asking.join(10)

    assert [type(each) for each in found] == [Fenced]
    assert ids(second) == ["a.0", "c.0"]
    assert ledger.state.net(2) == 100
    second.close()


def test_reads_and_appends_go_on_after_the_connections_were_cut_between_them(ledger, proxy):
    for number in range(3):
        proxy.cut()

        assert ledger.row("a.0").sequence == 1
        assert issue(ledger, f"n{number}.0") == [Verdict.DONE]

    assert ids(ledger) == ["a.0", "n0.0", "n1.0", "n2.0"]


def test_a_slow_line_is_slow_and_nothing_else(ledger, proxy):
    proxy.bytes_a_second = 20_000
    proxy.delay_s = 0.01

    assert issue(ledger, "b.0") == [Verdict.DONE]

    assert ids(ledger) == ["a.0", "b.0"]


# The server itself, with every promise on


@pytest.fixture
def strict(cluster):
    return Server(url=cluster.url, schema=cluster.schema(), wait_s=10)


def test_a_restart_between_calls_is_survived(cluster, strict, clock):
    ledger = PostgresLedger(strict, clock=clock)
    issue(ledger, "a.0")
    cluster.stop()

    with pytest.raises(Unavailable):
        ledger.row("a.0")
    with pytest.raises(Unavailable):
        issue(ledger, "b.0")

    cluster.start()
    assert ledger.row("a.0").sequence == 1
    assert issue(ledger, "b.0") == [Verdict.DONE]
    assert ids(ledger) == ["a.0", "b.0"]
    ledger.close()


def backend_of(ledger):
    """Return the number of the process at the other end of the writer's session."""
    while (connection := ledger._shelf._writer._connection) is None:
        threading.Event().wait(0.005)
    return connection.info.backend_pid


def killed_backend(cluster, ledger):
    """Kill one process of the server: it ends all the others and recovers."""
    number = backend_of(ledger)
    with contextlib.suppress(ProcessLookupError):
        os.kill(number, signal.SIGKILL)
        while True:  # until the server has noticed
            os.kill(number, 0)
            threading.Event().wait(0.002)
    cluster.answers()


def killed_server(cluster, _ledger):
    cluster.kill()
    cluster.start()


def restarted_server(cluster, _ledger):
    cluster.stop()
    cluster.start()


def ended_session(cluster, ledger):
    with cluster.connect() as connection:
        connection.execute("SELECT pg_terminate_backend(%s)", (backend_of(ledger),))


@pytest.mark.parametrize(
    ("blow", "times"),
    [(killed_server, 4), (killed_backend, 4), (restarted_server, 2), (ended_session, 8)],
)
def test_no_blow_in_the_middle_of_appends_loses_or_doubles_a_line(
    cluster, strict, clock, blow, times
):
    chance = random.Random(7)
    ledger = PostgresLedger(strict, clock=clock)
    issue(ledger, "open.0", 1)
    told = {"open.0": 1}
    unclear = {}
    ended = threading.Event()
    held = [ledger]

    def pay():
        number = 0
        while not ended.is_set():
            batch = {f"{number + place}.0": number + place + 1 for place in range(20)}
            number += len(batch)
            bundles = [
                Bundle(name, 5, (Transfer(Kind.POST, 1, 2, minor),), (), b"s" * 300)
                for name, minor in batch.items()
            ]
            try:
                verdicts = held[0].post(bundles)
            except OutcomeUnknown:
                unclear.update(batch)
                held[0].close()
                held[0] = PostgresLedger(strict, clock=clock, take_over=True)
            except Unavailable:
                ended.wait(0.01)
            else:
                assert verdicts == [Verdict.DONE] * 20
                told.update(batch)

    paying = threading.Thread(target=pay)
    paying.start()
    for _ in range(times):
        threading.Event().wait(chance.uniform(0.02, 0.12))
        blow(cluster, held[0])
        before = len(told)
        while len(told) == before and paying.is_alive():  # it goes on again
            threading.Event().wait(0.01)
    ended.set()
    paying.join(30)
    assert not paying.is_alive()

    ledger = held[0]
    found = ids(ledger)
    assert len(found) == len(set(found))
    assert set(found) >= set(told)
    assert set(found) - set(told) <= set(unclear)
    assert ledger.state.net(2) == sum(
        minor for name, minor in (told | unclear).items() if name in found
    )
    assert audit(ledger.rows(), claimed=ledger.state).breaches == ()
    claimed = ledger.state.balance(2)
    ledger.close()
    again = PostgresLedger(strict, clock=clock)
    assert again.state.balance(2) == claimed
    again.close()
