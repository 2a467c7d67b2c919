"""The chain: whatever is changed in a journal that was closed is noticed, named, and never served."""

import hashlib

import msgspec
import pytest

from umoja.faults import Unavailable
from umoja.ledger.chain import ORIGIN, JournalDamaged, Seal, follow, link, seal_of
from umoja.ledger.entries import Account, Bundle, Guard, Kind, Shelf, Transfer, Verdict
from umoja.ledger.journal import row_of

TRUST = Account(1, "KES", Guard.DEBIT, Shelf.TRUST)
WALLET = Account(2, "KES", Guard.CREDIT, Shelf.EMONEY)
SHOP = Account(3, "KES", Guard.CREDIT, Shelf.EMONEY)
LINE = (1, "a.0", 5, 0, 0, b"m", b"s")


def issue(ledger, *names, minor=100):
    opens = () if ledger.state.has(1) else (TRUST, WALLET, SHOP)
    return ledger.post(
        [Bundle(name, 5, (Transfer(Kind.POST, 1, 2, minor),), opens, b"s") for name in names]
    )


def state_of(ledger):
    return msgspec.msgpack.encode(ledger.state.snapshot())


def test_a_link_is_blake2b_of_the_digest_before_and_the_lines_as_msgpack():
    # [[1, "a.0", 5, 0, 0, bin "m", bin "s"]] written out by hand
    packed = b"\x91\x97\x01\xa3a.0\x05\x00\x00\xc4\x01m\xc4\x01s"

    assert link(ORIGIN, [LINE]) == hashlib.blake2b(bytes(32) + packed, digest_size=32).digest()


def test_every_field_of_a_line_is_in_its_seal():
    sealed = link(ORIGIN, [LINE])
    others = [
        (2, "a.0", 5, 0, 0, b"m", b"s"),
        (1, "b.0", 5, 0, 0, b"m", b"s"),
        (1, "a.0", 6, 0, 0, b"m", b"s"),
        (1, "a.0", 5, 1, 0, b"m", b"s"),
        (1, "a.0", 5, 0, 1, b"m", b"s"),
        (1, "a.0", 5, 0, 0, b"n", b"s"),
        (1, "a.0", 5, 0, 0, b"m", b"t"),
        (1, "a.0", 5, 0, 0, b"ms", b""),
    ]

    assert sealed not in {link(ORIGIN, [other]) for other in others}


def test_following_names_what_is_missing():
    lines = [(n, f"{n}.0", 5, 0, 0, b"", b"") for n in range(1, 7)]
    first = seal_of(ORIGIN, lines[:2])
    second = seal_of(first.digest, lines[2:])

    assert follow(ORIGIN, 0, lines, [first, second], where="KE") == second.digest
    with pytest.raises(JournalDamaged, match="KE: line 4 is missing"):
        follow(ORIGIN, 0, lines[:3] + lines[4:], [first, second], where="KE")
    with pytest.raises(JournalDamaged, match="KE: line 6 is missing"):
        follow(ORIGIN, 0, lines[:5], [first, second], where="KE")
    with pytest.raises(JournalDamaged, match="KE: the seal of line 1 is missing"):
        follow(ORIGIN, 0, lines, [second], where="KE")
    with pytest.raises(JournalDamaged, match="the seal of line 1 cannot be read"):
        follow(ORIGIN, 0, lines, [Seal(1 << 60, 1, b"", 0, 0)], where="KE")


def test_each_batch_has_one_seal_that_names_its_writer(side):
    ledger = side.open()
    issue(ledger, "a.0", "b.0")
    issue(ledger, "c.0")

    seals = side.sql("SELECT first, last, epoch, at FROM seals ORDER BY last")

    assert [tuple(each) for each in seals] == [(1, 2, 1, 5), (3, 3, 1, 5)]


# Damage while it is closed


DAMAGE = {
    "a bit of a story": (
        "UPDATE journal SET story = ? WHERE sequence = 3",
        (b"r",),
        "lines 3 to 3 are not what was written",
    ),
    "an amount that decodes and breaks no rule": (
        "UPDATE journal SET moves = ? WHERE sequence = 3",
        (msgspec.msgpack.encode(((Transfer(Kind.POST, 1, 2, 101),), ())),),
        "lines 3 to 3 are not what was written",
    ),
    "a moment": (
        "UPDATE journal SET at = at + 1 WHERE sequence = 1",
        (),
        "lines 1 to 2 are not what was written",
    ),
    "a line in the middle": ("DELETE FROM journal WHERE sequence = 3", (), "line 3 is missing"),
    "the last line": ("DELETE FROM journal WHERE sequence = 4", (), "line 4 is missing"),
    "a line of a batch": ("DELETE FROM journal WHERE sequence = 1", (), "line 1 is missing"),
    "two lines swapped": (
        "UPDATE journal SET id = CASE id WHEN 'c.0' THEN 'd.0' ELSE 'c.0' END WHERE sequence > 2",
        (),
        "lines 3 to 3 are not what was written",
    ),
    "a seal in the middle": (
        "DELETE FROM seals WHERE last = 3",
        (),
        "the seal of line 3 is missing",
    ),
    "the last seal": ("DELETE FROM seals WHERE last = 4", (), "the seal of line 4 is missing"),
    "all seals": ("DELETE FROM seals", (), "the seal of line 1 is missing"),
    "a bit of a seal": (
        "UPDATE seals SET digest = ? WHERE last = 3",
        (bytes(32),),
        "lines 3 to 3 are not what was written",
    ),
}


def told_where(side):
    return "KE/journal.db" if side.name == "sqlite" else "the journal in test_"


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_named_and_nothing_is_served(side, what):
    ledger = side.open()
    issue(ledger, "a.0", "b.0")
    issue(ledger, "c.0")
    issue(ledger, "d.0")
    ledger.close()
    query, values, message = DAMAGE[what]
    side.sql(query, values)

    with pytest.raises(JournalDamaged, match=message) as raised:
        side.open()
    assert told_where(side) in str(raised.value)
    with pytest.raises(JournalDamaged, match=message):
        list(side.roll().sealed())


def test_a_tail_cut_off_with_its_seals_is_missed_by_the_checkpoint(side):
    ledger = side.open()
    issue(ledger, "a.0")
    issue(ledger, "b.0")
    ledger.save(ledger.taken())
    ledger.close()
    side.sql("DELETE FROM journal WHERE sequence = 2")
    side.sql("DELETE FROM seals WHERE last = 2")

    with pytest.raises(JournalDamaged, match=r"ends at line 1.* lines 2 to 2 are missing"):
        side.open()


def test_the_seal_at_the_checkpoint_is_needed(side):
    ledger = side.open()
    issue(ledger, "a.0")
    ledger.save(ledger.taken())
    issue(ledger, "b.0")
    ledger.close()
    side.sql("UPDATE seals SET last = 5 WHERE last = 1")

    with pytest.raises(JournalDamaged, match="the seal of line 1, where its checkpoint was taken"):
        side.open()


def test_the_chain_goes_on_after_a_start_from_a_checkpoint(side):
    ledger = side.open()
    issue(ledger, "a.0", "b.0")
    ledger.save(ledger.taken())
    ledger.close()
    ledger = side.open()
    issue(ledger, "c.0")
    ledger.close()

    again = side.open()

    assert again.state.net(2) == 300
    pages = list(side.roll().sealed())
    assert [line[1] for lines, _ in pages for line in lines] == ["a.0", "b.0", "c.0"]


def test_a_failed_commit_leaves_the_chain_where_it_was(tmp_path, clock):
    from tests.ledger.conftest import SqliteSide

    side = SqliteSide(tmp_path, clock)
    ledger = side.open()
    issue(ledger, "a.0")
    ledger._shelf._writer.execute("PRAGMA query_only = ON")
    with pytest.raises(Unavailable):
        issue(ledger, "b.0")
    ledger._shelf._writer.execute("PRAGMA query_only = OFF")
    assert issue(ledger, "b.0") == [Verdict.DONE]
    side.close()

    assert side.open().state.net(2) == 200
    side.close()


# Journals from before there were seals


def unsealed(side, lines):
    ledger = side.open()
    for number in range(lines):
        issue(ledger, f"{number}.0")
    return ledger


def forget_seals(side):
    side.sql("DELETE FROM seals")
    side.sql("UPDATE writer SET unsealed = -1")


def test_an_old_journal_is_sealed_at_its_first_opening(side):
    ledger = unsealed(side, 4)
    before = state_of(ledger)
    ledger.close()
    forget_seals(side)

    again = side.open()

    assert state_of(again) == before
    assert [tuple(row) for row in side.sql("SELECT first, last FROM seals")] == [(1, 4)]
    issue(again, "x.0")
    again.close()
    side.sql("UPDATE journal SET at = 9 WHERE sequence = 2")
    with pytest.raises(JournalDamaged, match="lines 1 to 4 are not what was written"):
        side.open()


def test_an_old_journal_with_a_checkpoint_has_a_seal_that_ends_there(side):
    ledger = unsealed(side, 2)
    ledger.save(ledger.taken())
    issue(ledger, "x.0")
    issue(ledger, "y.0")
    ledger.close()
    forget_seals(side)

    assert side.open().state.net(2) == 400
    assert [tuple(row) for row in side.sql("SELECT first, last FROM seals ORDER BY last")] == [
        (1, 2),
        (3, 4),
    ]


def test_sealing_an_old_journal_goes_on_where_it_was_cut_off(side):
    ledger = unsealed(side, 4)
    ledger.close()
    seals = side.sql("SELECT last, first, digest, epoch, at FROM seals ORDER BY last")
    forget_seals(side)
    side.sql("UPDATE writer SET unsealed = 4")
    side.sql(
        "INSERT INTO seals (last, first, digest, epoch, at) VALUES (?, ?, ?, ?, ?)", tuple(seals[0])
    )

    assert side.open().state.net(2) == 400
    assert [tuple(row) for row in side.sql("SELECT first, last FROM seals ORDER BY last")] == [
        (1, 1),
        (2, 4),
    ]


def test_an_old_journal_is_read_as_it_is_before_its_first_opening(side):
    ledger = unsealed(side, 3)
    ledger.close()
    side.sql("DROP TABLE seals")

    pages = list(side.roll().sealed())

    assert [row_of(line).id for lines, _ in pages for line in lines] == ["0.0", "1.0", "2.0"]
    assert {digest for _, digest in pages} == {b""}


# Checkpoints that are damaged are made anew


def test_damaged_key_columns_are_written_anew(tmp_path, clock, monkeypatch):
    from tests.ledger.conftest import SqliteSide

    monkeypatch.setattr("umoja.ledger.keys.NEWEST_MAX", 2)
    side = SqliteSide(tmp_path, clock)
    ledger = unsealed(side, 6)
    ledger._keys.close()
    issue(ledger, "x.0")
    ledger.save(ledger.taken())
    side.close()
    ((kept,),) = side.sql("SELECT count(*) FROM keys")
    assert kept
    side.sql("UPDATE keys SET lines = zeroblob(length(lines))")

    ledger = side.open()
    assert ledger.row("1.0").sequence == 2
    ledger._keys.close()
    issue(ledger, "y.0")
    ledger.save(ledger.taken())
    side.close()

    from umoja.ledger.sqlite import SqliteShelf

    shelf = SqliteShelf(side.path, clock=clock)
    assert shelf.columns()
    shelf.close()


def test_a_journal_that_was_shut_says_why_and_can_be_read(engine):
    issue(engine, "a.0")
    engine.shut("the books are wrong")

    with pytest.raises(Unavailable, match="the books are wrong"):
        issue(engine, "b.0")
    assert engine.row("a.0").sequence == 1
