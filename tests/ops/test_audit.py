"""The audit chain: whatever is changed, removed, added, exchanged or cut off is found."""

import threading
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from tests.ops.conftest import NOON
from tests.postgres import tables
from umoja.clock import ManualClock
from umoja.ops.audit import AuditLog, Verified
from umoja.storage.port import Sql

COPY_THE_LAST = (
    "INSERT INTO audit SELECT 6, at, actor, action, market, detail, digest FROM audit"
    " WHERE number = 5"
)
WHOLE = Verified(entries=5, broken_at=None, reason="")


@pytest.fixture
def written(audit: AuditLog, clock: ManualClock) -> AuditLog:
    for number in range(1, 6):
        audit.record(actor="asha", action="note_incident", market="KE", detail=f"entry {number}")
        clock.advance(timedelta(seconds=1))
    return audit


def tamper(tmp_path: Path, *statements: str) -> None:
    with closing(tables(tmp_path / "centre.db")) as database, database.transaction():
        for statement in statements:
            database.run(statement)


def test_entries_are_numbered_and_chained(written: AuditLog):
    assert written.verify() == WHOLE
    entries = written.recent()
    assert [each.number for each in entries] == [5, 4, 3, 2, 1]
    assert entries[-1].at == NOON
    assert (entries[0].actor, entries[0].action, entries[0].market, entries[0].detail) == (
        "asha",
        "note_incident",
        "KE",
        "entry 5",
    )
    assert len({each.digest for each in entries}) == 5
    assert [each.number for each in written.recent(limit=2, before=4)] == [3, 2]
    assert written.head() == (5, entries[0].digest)


def test_an_empty_log_is_whole(audit: AuditLog):
    assert audit.verify() == Verified(entries=0, broken_at=None, reason="")


@pytest.mark.parametrize("number", [1, 3, 5])
@pytest.mark.parametrize(
    "change",
    [
        "at = at + 1",
        "actor = 'ashb'",
        "action = 'note_inciden'",
        "market = ''",
        "detail = detail || ' '",
        "digest = zeroblob(32)",
        "market = 'note', action = 'KE'",
        "actor = 'ashan', action = 'ote_incident'",  # the same letters, cut elsewhere
    ],
)
def test_a_changed_entry_is_found(written: AuditLog, tmp_path: Path, number: int, change: str):
    tamper(tmp_path, f"UPDATE audit SET {change} WHERE number = {number}")

    found = written.verify()

    assert found.broken_at == number
    assert found.reason


@pytest.mark.parametrize(
    ("statements", "broken_at"),
    [
        (["DELETE FROM audit WHERE number = 1"], 1),
        (["DELETE FROM audit WHERE number = 3"], 3),
        (["DELETE FROM audit WHERE number = 5"], 5),
        (["DELETE FROM audit WHERE number >= 4"], 4),
        (["DELETE FROM audit"], 1),
        (["UPDATE audit SET number = 9 WHERE number = 5"], 5),
        (
            [
                "UPDATE audit SET number = 99 WHERE number = 2",
                "UPDATE audit SET number = 2 WHERE number = 3",
                "UPDATE audit SET number = 3 WHERE number = 99",
            ],
            2,
        ),
        (["DELETE FROM audit WHERE number = 5", "UPDATE audit_head SET entries = 4"], 4),
        (
            [
                "DELETE FROM audit WHERE number = 2",
                "UPDATE audit SET number = number - 1 WHERE number > 2",
                "UPDATE audit_head SET entries = 4",
            ],
            2,
        ),
        ([COPY_THE_LAST], 6),
        (["UPDATE audit_head SET entries = 3"], 4),
        (["UPDATE audit_head SET entries = 7"], 6),
        (["UPDATE audit_head SET digest = zeroblob(32)"], 5),
        (["DELETE FROM audit_head"], 6),
    ],
)  # fmt: skip
def test_a_removed_moved_or_added_entry_is_found(
    written: AuditLog, tmp_path: Path, statements, broken_at: int
):
    tamper(tmp_path, *statements)

    found = written.verify()

    assert found.broken_at == broken_at
    assert found.reason


def test_texts_are_cut_and_made_sound(audit: AuditLog):
    entry = audit.record(
        actor="a" * 500,
        action="b" * 500,
        market="c" * 500,
        detail="\x00\x1b[31m\ud800" + "d" * 9_000,
    )

    assert (len(entry.actor), len(entry.action), len(entry.market)) == (80, 40, 8)
    assert entry.detail.startswith("\N{REPLACEMENT CHARACTER}" * 2 + "[31m?ddd")
    assert len(entry.detail) == 2_000
    assert audit.verify().broken_at is None


def test_writers_at_the_same_time_make_one_chain(tmp_path: Path, audit: AuditLog, clock):
    others = [tables(tmp_path / "centre.db") for _ in range(3)]
    logs = [audit, *(AuditLog(each, clock=clock) for each in others)]
    broken = []

    def write(log: AuditLog) -> None:
        for number in range(25):
            log.record(actor="asha", action="see", detail=str(number))
            if number % 10 == 0 and log.verify().broken_at is not None:
                broken.append(number)

    threads = [threading.Thread(target=write, args=(log,)) for log in logs for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert broken == []
    assert audit.verify() == Verified(entries=200, broken_at=None, reason="")
    for each in others:
        each.close()


def test_a_long_log_is_read_in_pages(audit: AuditLog, database: Sql, tmp_path: Path):
    with database.transaction():
        for number in range(2_500):
            audit.record_inside(actor="asha", action="see", detail=str(number))
    assert audit.verify().entries == 2_500

    tamper(tmp_path, "UPDATE audit SET detail = 'x' WHERE number = 2001")

    assert audit.verify().broken_at == 2_001


def test_what_is_undone_leaves_no_entry(audit: AuditLog, database: Sql):
    def write_and_fail() -> None:
        with database.transaction():
            audit.record_inside(actor="asha", action="see")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()

    assert audit.verify().entries == 0
