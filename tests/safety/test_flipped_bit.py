"""One bit of a journal line is flipped on the disk: it is named, and no wrong balance is ever served."""

import sqlite3

import pytest

from tests.stage import raised
from umoja.cli import run
from umoja.ledger.journal import JournalDamaged

LINE = 4


@pytest.fixture
def journal(tmp_path):
    """Give a market's folder with a few payments, everything written into the one file."""
    folder = tmp_path / "KE"
    folder.mkdir()
    stage = raised("KE", folder, engine="sqlite")
    payer, payee = stage.customer(), stage.customer("Brian Kamau")
    stage.give_money(payer, 1_000_00)
    for number in range(4):
        stage.pay("send_money", payer.id, payee.id, 10_00 + number, key=f"k{number}")
    stage.close()
    return folder / "journal.db"


def flip(path, column, offset):
    """Flip the lowest bit of a byte of one line, in the file itself."""
    reader = sqlite3.connect(path)
    moves, story = reader.execute(
        "SELECT moves, story FROM journal WHERE sequence = ?", (LINE,)
    ).fetchone()
    reader.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    reader.close()
    whole = bytearray(path.read_bytes())
    at = whole.find(moves + story)
    assert at > 0, "a line's moves and story stand side by side in the file"
    at += offset + (len(moves) if column == "story" else 0)
    whole[at] ^= 1
    path.write_bytes(whole)


@pytest.mark.parametrize(
    ("column", "offset"), [("moves", 12), ("moves", 3), ("story", 5), ("story", 60)]
)
def test_the_market_is_not_opened_and_books_says_where(journal, column, offset, tmp_path, capsys):
    flip(journal, column, offset)

    with pytest.raises(JournalDamaged, match=r"line|seal") as told:
        raised("KE", journal.parent, engine="sqlite")
    assert str(LINE) in str(told.value)
    assert run(["books", "--data", str(tmp_path)]) != 0
    said = capsys.readouterr()
    assert str(LINE) in said.out + said.err
    assert "Traceback" not in said.err


def test_nothing_is_said_of_a_sound_journal(journal, tmp_path, capsys):
    stage = raised("KE", journal.parent, engine="sqlite")
    assert stage.ledger.head == 6
    stage.close()
    assert run(["books", "--data", str(tmp_path)]) == 0
    assert "the books are right" in capsys.readouterr().out
