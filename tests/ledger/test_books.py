"""The books add up, and every kind of breach is named."""

import msgspec

from umoja.ledger.books import audit
from umoja.ledger.entries import Account, Bundle, Guard, Kind, Shelf, Transfer
from umoja.ledger.memory import MemoryLedger

TRUST = Account(1, "KES", Guard.DEBIT, Shelf.TRUST)
WALLET = Account(2, "KES", Guard.CREDIT, Shelf.EMONEY)
FEES = Account(3, "KES", Guard.CREDIT, Shelf.EMONEY)
SPENT = Account(4, "KES", Guard.DEBIT, Shelf.ACCRUAL)
EARNED = Account(5, "KES", Guard.CREDIT, Shelf.ACCRUAL)


def books_of_a_day():
    ledger = MemoryLedger()
    ledger.post(
        [
            Bundle("o.0", 1, (), (TRUST, WALLET, FEES, SPENT, EARNED)),
            Bundle("a.0", 1, (Transfer(Kind.POST, 1, 2, 1000),)),
            Bundle("b.0", 1, (Transfer(Kind.POST, 2, 3, 30), Transfer(Kind.POST, 4, 5, 7))),
            Bundle("c.0", 1, (Transfer(Kind.HOLD, 2, 3, 50, "h"),)),
        ]
    )
    return ledger


def test_a_right_day_adds_up():
    ledger = books_of_a_day()

    books = audit(ledger.rows(), claimed=ledger.state)

    assert books.breaches == ()
    (kes,) = books.currencies
    assert (kes.issued, kes.trust, kes.gap, kes.accrued) == (1000, 1000, 0, 0)
    assert (kes.debits, kes.credits) == (1037, 1037)
    assert (books.rows, books.holds, books.held) == (4, 1, 50)


def test_a_missing_line_is_named():
    rows = list(books_of_a_day().rows())
    del rows[1]

    breaches = audit(rows).breaches

    assert breaches[0] == "journal line 2 is missing: found 3"
    assert breaches[1] == "journal line 3 (b.0) breaks a rule: NOT_ENOUGH"


def test_a_bundle_done_twice_is_named():
    rows = list(books_of_a_day().rows())
    rows.append(msgspec.structs.replace(rows[1], sequence=5))

    assert "the bundle of line 2 was done twice: again in line 5" in audit(rows).breaches


def test_a_state_in_use_that_strayed_is_named():
    ledger = books_of_a_day()
    ledger.state._credits[1] += 1

    (breach,) = audit(ledger.rows(), claimed=ledger.state).breaches

    assert breach.startswith("account 2: the journal says")


def test_a_line_that_breaks_a_rule_is_named():
    rows = list(books_of_a_day().rows())
    greedy = Transfer(Kind.POST, 2, 3, 921)
    rows.append(msgspec.structs.replace(rows[1], sequence=5, id="x.0", transfers=(greedy,)))

    assert audit(rows).breaches == ("journal line 5 (x.0) breaks a rule: NOT_ENOUGH",)
