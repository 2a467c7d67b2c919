"""What the SQLite engine adds: it is still there after a stop, and it knows when it is not alone."""

import sqlite3
from datetime import UTC, datetime

import msgspec
import pytest

from umoja.clock import ManualClock
from umoja.faults import OutcomeUnknown, Unavailable
from umoja.ledger.books import audit
from umoja.ledger.chain import JournalDamaged
from umoja.ledger.entries import Account, Bundle, Guard, Kind, Shelf, Transfer, Verdict
from umoja.ledger.journal import Fenced
from umoja.ledger.sqlite import SqliteLedger

TRUST = Account(1, "KES", Guard.DEBIT, Shelf.TRUST)
WALLET = Account(2, "KES", Guard.CREDIT, Shelf.EMONEY)
SHOP = Account(3, "KES", Guard.CREDIT, Shelf.EMONEY)


def open_ledger(folder):
    clock = ManualClock(datetime(2026, 11, 23, tzinfo=UTC))
    return SqliteLedger(folder / "journal.db", clock=clock)


def issue(ledger, name, minor=100):
    opens = () if ledger.state.has(1) else (TRUST, WALLET, SHOP)
    return ledger.post([Bundle(name, 5, (Transfer(Kind.POST, 1, 2, minor),), opens, b"s")])


def test_state_is_the_same_after_a_stop_bit_for_bit(tmp_path):
    ledger = open_ledger(tmp_path)
    issue(ledger, "a.0")
    ledger.post([Bundle("h.0", 6, (Transfer(Kind.HOLD, 2, 3, 40, "h"),))])
    before = msgspec.msgpack.encode(ledger.state.snapshot())
    ledger.close()

    again = open_ledger(tmp_path)

    assert msgspec.msgpack.encode(again.state.snapshot()) == before
    assert again.state.balance(2).available == 60


def test_a_checkpoint_and_its_tail_give_the_same_state_as_the_whole_journal(tmp_path):
    ledger = open_ledger(tmp_path)
    issue(ledger, "a.0")
    ledger.save(ledger.taken(), b"companion")
    issue(ledger, "b.0", 11)
    before = msgspec.msgpack.encode(ledger.state.snapshot())
    ledger.close()

    again = open_ledger(tmp_path)

    assert again.saved() == (1, b"companion")
    assert msgspec.msgpack.encode(again.state.snapshot()) == before


def test_a_damaged_checkpoint_is_passed_over_and_the_journal_read_instead(tmp_path):
    ledger = open_ledger(tmp_path)
    issue(ledger, "a.0")
    ledger.save(ledger.taken(), b"companion")
    ledger.close()
    with sqlite3.connect(tmp_path / "journal.db") as store:
        store.execute("UPDATE checkpoint SET companion = x'00'")

    again = open_ledger(tmp_path)

    assert again.saved() == (0, b"")
    assert again.state.net(2) == 100


def test_a_second_writer_fences_off_the_first(tmp_path):
    first = open_ledger(tmp_path)
    issue(first, "a.0")
    second = open_ledger(tmp_path)

    with pytest.raises(Fenced):
        issue(first, "b.0")

    assert first.state.net(2) == 100
    assert issue(second, "b.0") == [Verdict.DONE]
    assert second.state.net(2) == 200


def test_a_failed_commit_leaves_memory_and_journal_in_step(tmp_path):
    ledger = open_ledger(tmp_path)
    issue(ledger, "a.0")
    ledger._shelf._writer.execute("PRAGMA query_only = ON")

    with pytest.raises(Unavailable):
        issue(ledger, "b.0")

    assert ledger.state.net(2) == 100
    ledger._shelf._writer.execute("PRAGMA query_only = OFF")
    assert issue(ledger, "b.0") == [Verdict.DONE]
    assert ledger.state.net(2) == 200
    assert audit(ledger.rows(), claimed=ledger.state).breaches == ()


def test_a_journal_with_a_line_that_nobody_sealed_is_not_opened(tmp_path):
    ledger = open_ledger(tmp_path)
    issue(ledger, "a.0")
    ledger.close()
    moves = msgspec.msgpack.encode(((Transfer(Kind.POST, 2, 3, 101),), ()))
    with sqlite3.connect(tmp_path / "journal.db") as store:
        store.execute("INSERT INTO journal VALUES (2, 'x.0', 1, 2, 3, ?, x'')", (moves,))

    with pytest.raises(JournalDamaged, match="the seal of line 2 is missing"):
        open_ledger(tmp_path)


def test_a_commit_that_meets_a_bug_is_unclear_and_nothing_is_written_before_a_new_start(
    tmp_path, monkeypatch
):
    ledger = open_ledger(tmp_path)
    issue(ledger, "a.0")

    def bug(_lines, _seal):
        raise OverflowError("too large for a column")

    monkeypatch.setattr(ledger._shelf, "append", bug)
    with pytest.raises(OutcomeUnknown):
        issue(ledger, "b.0")
    monkeypatch.undo()
    assert (ledger.is_unsure, ledger.state.net(2)) == (True, 100)
    with pytest.raises(Unavailable, match="start again"):
        issue(ledger, "c.0")
    ledger.close()
    assert open_ledger(tmp_path).head == 1
