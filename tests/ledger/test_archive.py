"""The archive: old months in files, still read, proven and replayed; cut off anywhere, nothing is lost."""

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime

import msgspec
import pytest

from umoja.clock import from_micros, to_micros
from umoja.faults import Unavailable
from umoja.ledger.archive import Archivist, verify_segment
from umoja.ledger.archive_file import HEAD_BYTES, ArchiveFile, verify
from umoja.ledger.chain import JournalDamaged
from umoja.ledger.entries import Account, Bundle, Guard, Kind, Shelf, Transfer, Verdict
from umoja.ledger.journal import fold, row_of
from umoja.ledger.roll import Archive
from umoja.ledger.rules import State

TRUST = Account(1, "KES", Guard.DEBIT, Shelf.TRUST)
WALLET = Account(2, "KES", Guard.CREDIT, Shelf.EMONEY)
SHOP = Account(3, "KES", Guard.CREDIT, Shelf.EMONEY)


def at(month, day=15):
    return to_micros(datetime(2025, month, day, tzinfo=UTC))


def month_of(micros):
    return f"{from_micros(micros):%Y-%m}"


def post(ledger, name, moment, *, source=1, target=2, minor=100):
    opens = () if ledger.state.has(1) else (TRUST, WALLET, SHOP)
    bundle = Bundle(name, moment, (Transfer(Kind.POST, source, target, minor),), opens, b"s")
    assert ledger.post([bundle]) == [Verdict.DONE]


@pytest.fixture
def filled(side):
    """Give a journal of four months, three lines each and two in the last, with its checkpoint."""
    ledger = side.open()
    for month in (9, 10, 11):
        post(ledger, f"{month}a.0", at(month, 1))
        post(ledger, f"{month}b.0", at(month, 2), source=2, target=3, minor=7)
        post(ledger, f"{month}c.0", at(month, 28))
    post(ledger, "12a.0", at(12))
    post(ledger, "12b.0", at(12))
    ledger.save(ledger.taken())
    return ledger


def archivist(side, tell=lambda *_: None):
    return Archivist(
        side.store(), side.archive, market="KE", month_of=month_of, now=at(12, 20), tell=tell
    )


def rows_of(side):
    return [row_of(line) for lines, _ in side.roll().sealed() for line in lines]


def folded(rows):
    state = State()
    for row in rows:
        assert fold(state, row) == ""
    return msgspec.msgpack.encode(state.snapshot())


def test_a_plan_names_whole_months_and_changes_nothing(side, filled):
    planned = archivist(side).plan("2025-11")

    assert [(each.month, each.first, each.last, each.batches) for each in planned] == [
        ("2025-09", 1, 3, 3),
        ("2025-10", 4, 6, 3),
    ]
    assert not side.archive.exists()
    assert [tuple(row) for row in side.sql("SELECT count(*) FROM journal")] == [(11,)]


def test_what_a_start_needs_stays(side, filled):
    post(filled, "12c.0", at(12))

    assert [each.last for each in archivist(side).plan("2026-12")] == [3, 6, 9, 11]
    side.sql("DELETE FROM checkpoint")
    assert archivist(side).plan("2026-12") == []


def test_months_move_to_files_whose_heads_say_what_is_in_them(side, filled):
    heads = archivist(side).run("2025-11")

    assert sorted(path.name for path in side.archive.glob("*.uja*")) == [
        "KE-2025-09.uja",
        "KE-2025-10.uja",
    ]
    first, second = heads
    assert (first.market, first.month, first.first, first.last) == ("KE", "2025-09", 1, 3)
    assert (first.lines, first.batches, first.transfers, first.opened) == (3, 3, 3, 3)
    assert first.moved == {"KES": 207}
    assert (first.earliest, first.latest) == (at(9, 1), at(9, 28))
    assert (first.before, first.after) == ("00" * 32, second.before)
    text = (side.archive / "KE-2025-09.uja").read_bytes()[:HEAD_BYTES].decode().splitlines()
    assert text[0] == "UMOJA ARCHIVE 1"
    assert json.loads("".join(text[1:]))["month"] == "2025-09"
    assert [tuple(row) for row in side.sql("SELECT min(sequence) FROM journal")] == [(7,)]
    assert [tuple(row) for row in side.sql("SELECT min(last) FROM seals")] == [(7,)]


def test_what_was_archived_is_read_as_before_by_the_writer_and_by_the_next_one(side, filled):
    before = list(filled.rows())
    statement = filled.touching(3)
    assert [row.sequence for row in statement] == [8, 5, 2]

    archivist(side).run("2025-12")

    for ledger in (filled, side.open()):
        assert list(ledger.rows()) == before
        assert ledger.touching(3) == statement
        assert ledger.row("9b.0") == before[1]
        assert ledger.at_sequence(9) == before[8]
        assert ledger.thread("10a") == [before[3]]
        assert next(ledger.stories(after=8)) == (9, b"s")


def test_an_archived_id_is_not_done_twice(side, filled):
    archivist(side).run("2025-12")
    again = side.open()

    bundle = Bundle("9a.0", at(12), (Transfer(Kind.POST, 1, 2, 100),), (TRUST, WALLET, SHOP))
    other = Bundle("9a.0", at(12), (Transfer(Kind.POST, 1, 2, 101),), (TRUST, WALLET, SHOP))
    assert again.post([bundle, other]) == [Verdict.DONE, Verdict.ID_DIFFERS]
    assert again.head == 11


def test_files_and_journal_replay_to_the_same_state_bit_for_bit(side, filled):
    before = msgspec.msgpack.encode(filled.state.snapshot())
    archivist(side).run("2025-12")
    post(filled, "12d.0", at(12))
    rows = rows_of(side)

    assert [row.sequence for row in rows] == list(range(1, 13))
    assert folded(rows[:-1]) == before
    assert folded(rows) == msgspec.msgpack.encode(filled.state.snapshot())


def test_a_journal_whose_checkpoint_and_keys_are_lost_starts_from_its_files(side, filled):
    before = msgspec.msgpack.encode(filled.state.snapshot())
    archivist(side).run("2025-12")
    filled.close()
    side.sql("DELETE FROM checkpoint")
    side.sql("DELETE FROM keys")

    again = side.open()

    assert msgspec.msgpack.encode(again.state.snapshot()) == before
    assert again.row("9a.0").sequence == 1


def test_a_month_that_went_in_two_parts_has_two_files(side, filled):
    archivist(side).run("2025-12")
    post(filled, "12e.0", at(11))  # a clock that was put back
    filled.save(filled.taken())
    archivist(side).run("2026-01")
    post(filled, "12f.0", at(12))
    filled.save(filled.taken())
    archivist(side).run("2026-01")

    assert sorted(path.name for path in side.archive.glob("*.uja")) == [
        "KE-2025-09.uja",
        "KE-2025-10.uja",
        "KE-2025-11-12.uja",
        "KE-2025-11.uja",
        "KE-2025-12.uja",
    ]
    assert [row.sequence for row in rows_of(side)] == list(range(1, 14))


STEPS = ["packed", "written", "read back", "named", "recorded", "dropped"]


class CutOff(BaseException):
    """The power went."""


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("last", [3, 6])
def test_cut_off_in_any_step_the_next_run_ends_it(side, filled, step, last):
    before = list(filled.rows())

    def cut(name, line):
        if (name, line) == (step, last):
            raise CutOff

    with pytest.raises(CutOff):
        archivist(side, cut).run("2025-11")
    assert list(side.open().rows()) == before
    archivist(side).run("2025-11")

    assert [row.sequence for row in rows_of(side)] == list(range(1, 12))
    assert list(side.open().rows()) == before
    assert sorted(path.name for path in side.archive.glob("*.uja*")) == [
        "KE-2025-09.uja",
        "KE-2025-10.uja",
    ]
    assert [tuple(row) for row in side.sql("SELECT min(sequence) FROM journal")] == [(7,)]


KILLED = """
import os, signal, sys
from pathlib import Path
from umoja.clock import from_micros
from umoja.ledger.archive import Archivist
from umoja.ledger.sqlite import SqliteArchiveStore
folder, step = Path(sys.argv[1]), sys.argv[2]
def tell(name, line):
    if name == step:
        os.kill(os.getpid(), signal.SIGKILL)
Archivist(SqliteArchiveStore(folder / "journal.db"), folder / "archive", market="KE",
          month_of=lambda micros: f"{from_micros(micros):%Y-%m}", now=0, tell=tell).run("2025-11")
"""


@pytest.mark.parametrize("side", ["sqlite"], indirect=True)
@pytest.mark.parametrize("step", ["read back", "recorded"])
def test_a_process_that_was_killed_leaves_everything_readable(side, filled, step):
    before = list(filled.rows())
    filled.close()

    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(side.folder), step], check=False, env=dict(os.environ)
    )

    assert killed.returncode == -signal.SIGKILL
    assert list(side.open().rows()) == before
    archivist(side).run("2025-11")
    assert list(side.open().rows()) == before


def test_nothing_leaves_where_the_lines_do_not_fit_their_seals(side, filled):
    side.sql("UPDATE journal SET at = at + 1 WHERE sequence = 5")

    with pytest.raises(JournalDamaged, match="lines 5 to 5 are not what was written"):
        archivist(side).run("2025-11")
    assert [tuple(row) for row in side.sql("SELECT min(sequence) FROM journal")] == [(4,)]


def test_every_byte_of_a_file_is_watched(side, filled):
    archivist(side).run("2025-10")
    path = side.archive / "KE-2025-09.uja"
    whole = path.read_bytes()
    archive = Archive(side.archive, side.store().segments)
    (segment,) = archive.segments

    for place in [0, 40, HEAD_BYTES - 1, *range(HEAD_BYTES, len(whole), 5), len(whole) - 1]:
        spoilt = bytearray(whole)
        spoilt[place] ^= 4
        path.write_bytes(spoilt)
        with pytest.raises(JournalDamaged):
            verify_segment(archive, segment)
    path.write_bytes(whole[:-1])
    with pytest.raises(JournalDamaged, match="its end is missing"):
        ArchiveFile(path)
    path.write_bytes(whole)
    file = ArchiveFile(path)
    assert verify(file) == (3, 3)
    file.close()


def test_a_damaged_or_missing_file_is_named_where_it_is_needed(side, filled):
    archivist(side).run("2025-11")
    (side.archive / "KE-2025-09.uja").unlink()
    again = filled

    assert again.at_sequence(5).id == "10b.0"
    with pytest.raises(JournalDamaged, match=r"KE-2025-09\.uja cannot be read"):
        again.at_sequence(2)
    with pytest.raises(JournalDamaged, match=r"KE-2025-09\.uja"):
        rows_of(side)


def test_a_file_of_another_stretch_does_not_pass(side, filled):
    archivist(side).run("2025-11")
    (side.archive / "KE-2025-10.uja").replace(side.archive / "KE-2025-09.uja")

    with pytest.raises(JournalDamaged, match="its head is not what was written"):
        rows_of(side)


def test_a_row_of_the_archive_that_is_missing_is_noticed(side, filled):
    archivist(side).run("2025-11")
    filled.close()
    side.sql("DELETE FROM archives WHERE last = 3")

    with pytest.raises(JournalDamaged, match="does not follow on the one before it"):
        side.open()


def test_two_do_not_archive_at_once(side, filled):
    def again(name, line):
        if name == "written":
            with pytest.raises(Unavailable, match="somebody else archives"):
                archivist(side).run("2025-11")

    archivist(side, again).run("2025-10")


def test_a_full_disk_leaves_the_journal_as_it_was(side, filled):
    side.archive.mkdir()
    (side.archive / "KE-2025-09.uja.part").symlink_to("/dev/full")

    with pytest.raises(
        Unavailable, match=r"KE-2025-09\.uja\.part cannot be written: No space left"
    ):
        archivist(side).run("2025-10")
    assert [tuple(row) for row in side.sql("SELECT min(sequence) FROM journal")] == [(1,)]
