"""The books: what an auditor adds up from the journal, and every promise that does not hold."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from umoja.ledger.entries import Account, Bundle, Guard, Row, Shelf, Verdict
from umoja.ledger.rules import State


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


def audit(
    rows: Iterable[Row],
    *,
    claimed: State | None = None,
    kind_of: Callable[[Account], str] = lambda account: account.shelf.name.lower(),
    step: Callable[[int], None] = lambda _: None,
) -> Books:
    """Fold the journal again from nothing and compare: with the rules, and with a claimed state.

    `step` is told every thousand rows how far it came.
    """
    state = State()
    breaches: list[str] = []
    ids: set[str] = set()
    expected = 0
    for row in rows:
        expected += 1
        if row.sequence != expected:
            breaches.append(f"journal line {expected} is missing: found {row.sequence}")
            expected = row.sequence
        if row.id in ids:
            breaches.append(f"bundle {row.id} was done twice")
        ids.add(row.id)
        verdict = state.apply(Bundle(row.id, row.at, row.transfers, row.opens, row.story))
        if verdict is not Verdict.DONE:
            breaches.append(f"journal line {row.sequence} ({row.id}) breaks a rule: {verdict.name}")
        elif row.transfers:
            lead = row.transfers[0]
            before = state.touch(lead.source, row.sequence), state.touch(lead.target, row.sequence)
            if before != (row.source_before, row.target_before):
                breaches.append(
                    f"journal line {row.sequence} does not follow on the lines before it"
                )
        if expected % 1000 == 0:
            step(expected)
    if claimed is not None:
        breaches.extend(_differences(state, claimed))
    books = add_up(state, kind_of=kind_of)
    breaches.extend(breaks(state, books))
    return Books(
        rows=expected,
        holds=len(state.holds()),
        held=sum(hold.minor for hold in state.holds()),
        currencies=books,
        breaches=tuple(breaches),
    )


def add_up(state: State, *, kind_of: Callable[[Account], str]) -> tuple[CurrencyBooks, ...]:
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


def breaks(state: State, books: tuple[CurrencyBooks, ...]) -> list[str]:
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


def _differences(folded: State, claimed: State) -> list[str]:
    """Compare two states account by account."""
    found: list[str] = []
    ours = {account.id: balance for account, balance in folded.accounts()}
    theirs = {account.id: balance for account, balance in claimed.accounts()}
    found.extend(
        f"account {account}: the journal says {ours.get(account)},"
        f" the state in use says {theirs.get(account)}"
        for account in sorted(ours.keys() | theirs.keys())
        if ours.get(account) != theirs.get(account)
    )
    if {hold.name for hold in folded.holds()} != {hold.name for hold in claimed.holds()}:
        found.append("open holds differ between the journal and the state in use")
    return found
