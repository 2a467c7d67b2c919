"""Two writers are started by mistake: one is refused or fenced off with a clear word, nothing is doubled."""

import pytest

from tests.stage import NOON, raised
from umoja.clock import ManualClock
from umoja.ledger.journal import Fenced
from umoja.ledger.lease import Held
from umoja.opening import Place, open_ledger
from umoja.premises import DataInUse, hold


def test_a_second_desk_on_the_same_files_fences_the_first_off_and_nothing_is_doubled(tmp_path):
    first = raised("KE", tmp_path, engine="sqlite")
    payer, payee = first.customer(), first.customer("Brian Kamau")
    first.give_money(payer, 1_000_00)
    done = first.pay("send_money", payer.id, payee.id, 100_00, key="k1")

    second = raised("KE", tmp_path, engine="sqlite")  # as if nothing had been locked
    with pytest.raises(Fenced, match="writer 2 has taken over from writer 1"):
        first.pay("send_money", payer.id, payee.id, 100_00, key="k2")

    assert second.pay("send_money", payer.id, payee.id, 100_00, key="k1").receipt == done.receipt
    assert second.pay("send_money", payer.id, payee.id, 100_00, key="k2").receipt
    assert second.has(payee, "wallet") == 200_00
    assert first.has(payee, "wallet") == 100_00  # what it tried was taken back
    assert second.breaches() == ()
    first.close()
    second.close()


def test_a_journal_reached_by_two_folders_is_opened_by_one(tmp_path):
    clock = ManualClock(NOON)
    (tmp_path / "one").mkdir()
    (tmp_path / "two").symlink_to(tmp_path / "one")
    first = open_ledger(Place(data=tmp_path / "one"), "KE", clock)
    with pytest.raises(Held, match=r"journal.db is held by .* process [0-9]+: stop that one first"):
        open_ledger(Place(data=tmp_path / "two"), "KE", clock)
    first.close()
    open_ledger(Place(data=tmp_path / "two"), "KE", clock).close()


def test_a_second_start_on_the_same_folder_is_told_so(tmp_path):
    with hold(tmp_path), pytest.raises(DataInUse, match="another Umoja runs on"):
        hold(tmp_path)
