"""The books: what an auditor adds up from the journal, and every promise that does not hold."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from umoja.ledger.entries import Account, Balance, Guard, Row, Shelf
from umoja.ledger.page import page_of
from umoja.ledger.rules import State
from umoja.ledger.tally import TOLD_MAX, Tally

PART = 4_000  # lines that are added up at once


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrencyBooks:
    """One currency's totals, minor units. Issued e-money is what the trust account must hold."""

    currency: str
    accounts: int
    debits: int
    credits: int
    issued: int
    trust: int
    accrued: int
    by_kind: Mapping[str, int]

    @property
    def gap(self) -> int:
        """Return trust money less issued money: nought when the books are right."""
        return self.trust - self.issued


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """All that the audit found; `breaches` name each promise that does not hold."""

    rows: int
    holds: int
    held: int
    currencies: tuple[CurrencyBooks, ...]
    breaches: tuple[str, ...]


class Balances(Protocol):
    """Whoever can name every account and what it has: a state, or a tally."""

    def accounts(self) -> Iterator[tuple[Account, Balance]]: ...


def audit(
    rows: Iterable[Row],
    *,
    claimed: State | None = None,
    kind_of: Callable[[Account], str] = lambda account: account.shelf.name.lower(),
    step: Callable[[int], None] = lambda _: None,
) -> Books:
    """Add the journal up again from its first line and compare: with the rules, with a claimed state.

    `step` is told page by page how far it came. Memory: some sixty bytes an account, eight a line.
    """
    tally = Tally()
    breaches: list[str] = []
    more = 0
    for part in _in_parts(rows):
        found = tally.take(page_of(part))
        breaches += found[: max(0, TOLD_MAX - len(breaches))]
        more += len(found)
        step(tally.sequence)
    if more > len(breaches):
        breaches.append(f"and {more - len(breaches)} breaches more")
    breaches += [
        f"the bundle of line {first} was done twice: again in line {second}"
        for first, second in tally.twins()[:TOLD_MAX]
    ]
    if claimed is not None:
        breaches += tally.differences(claimed.snapshot())
    books = add_up(tally, kind_of=kind_of)
    breaches += breaks(tally, books)
    return Books(
        rows=tally.sequence,
        holds=len(tally.holds()),
        held=sum(hold.minor for hold in tally.holds()),
        currencies=books,
        breaches=tuple(breaches),
    )


def _in_parts(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Yield rows some thousands at a time, as far as their sequences follow on each other."""
    part: list[Row] = []
    for row in rows:
        if part and (len(part) == PART or row.sequence != part[-1].sequence + 1):
            yield part
            part = []
        part.append(row)
    if part:
        yield part


def add_up(state: Balances, *, kind_of: Callable[[Account], str]) -> tuple[CurrencyBooks, ...]:
    """Return the trial balance of each currency."""
    accounts: dict[str, int] = defaultdict(int)
    debits: dict[str, int] = defaultdict(int)
    credits_: dict[str, int] = defaultdict(int)
    shelves: dict[tuple[str, Shelf], int] = defaultdict(int)
    kinds: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for account, balance in state.accounts():
        currency = account.currency
        accounts[currency] += 1
        debits[currency] += balance.debits
        credits_[currency] += balance.credits
        shelves[currency, account.shelf] += balance.net
        kinds[currency][kind_of(account)] += balance.net
    return tuple(
        CurrencyBooks(
            currency=currency,
            accounts=accounts[currency],
            debits=debits[currency],
            credits=credits_[currency],
            issued=shelves[currency, Shelf.EMONEY],
            trust=-shelves[currency, Shelf.TRUST],
            accrued=shelves[currency, Shelf.ACCRUAL],
            by_kind=dict(sorted(kinds[currency].items())),
        )
        for currency in sorted(accounts)
    )


def breaks(state: Balances, books: tuple[CurrencyBooks, ...]) -> list[str]:
    """Return each promise of the books that does not hold, as a sentence."""
    found = []
    for book in books:
        if book.debits != book.credits:
            found.append(
                f"{book.currency}: debits {book.debits} differ from credits {book.credits}"
            )
        if book.gap != 0:
            found.append(
                f"{book.currency}: issued e-money {book.issued} differs from trust {book.trust}"
            )
        if book.accrued != 0:
            found.append(f"{book.currency}: accruals do not cancel: {book.accrued}")
    for account, balance in state.accounts():
        if balance.held < 0:
            found.append(f"account {account.id}: held money is negative")
        if account.guard is Guard.CREDIT and balance.available < 0:
            found.append(f"account {account.id}: overdrawn by {-balance.available}")
        if account.guard is Guard.DEBIT and balance.net > 0:
            found.append(f"account {account.id}: credited beyond its debits by {balance.net}")
    return found
