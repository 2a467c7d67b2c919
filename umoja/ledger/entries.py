"""What is written in the ledger: accounts, transfers, bundles, and the answer to each bundle."""

from enum import Enum

import msgspec


class Guard(Enum):
    """Which side of an account may not outweigh the other."""

    NONE = 0
    CREDIT = 1  # what it owes others: never overdrawn
    DEBIT = 2  # what others owe it: never credited beyond


class Shelf(Enum):
    """Where an account stands in the books. Each shelf and currency sums to nought by itself."""

    EMONEY = 0  # issued money: wallets, floats, tills, fees, taxes
    TRUST = 1  # the bank's money behind it: its debits equal the credits of EMONEY
    ACCRUAL = 2  # owed but not yet money: commission earned against commission spent


class Account(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An account of one currency. `id` is any whole number below 2**63 and means nothing here.

    `group` is a small number of the owner's choice: totals are kept of each group by itself.
    """

    id: int
    currency: str
    guard: Guard
    shelf: Shelf
    group: int = 0


class Kind(Enum):
    POST = 0  # move now
    HOLD = 1  # reserve at the source; named by `hold`
    COMMIT = 2  # move what the hold reserved, or less; the rest is free again
    VOID = 3  # let the hold go


class Transfer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Move `minor` units from `source` (debited) to `target` (credited).

    COMMIT and VOID name the hold; their accounts must be the hold's, a VOID's amount is not read.
    `expires_at` (microseconds, 0 never) belongs to HOLD: after it, only VOID ends the hold.
    """

    kind: Kind
    source: int
    target: int
    minor: int
    hold: str = ""
    expires_at: int = 0


class Bundle(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Transfers that are done all or none, once for ever by `id`, and the story they belong to.

    Ids of one thread are `thread.0`, `thread.1`, …; a bundle without transfers only tells.
    `opens` names accounts that may not exist yet: opening twice the same is harmless.
    """

    id: str
    at: int
    transfers: tuple[Transfer, ...] = ()
    opens: tuple[Account, ...] = ()
    story: bytes = b""


class Verdict(Enum):
    """The answer to a bundle, in the order of checking. Numbers never change."""

    DONE = 0
    ID_DIFFERS = 1  # this id was used for something else
    ACCOUNT_DIFFERS = 2  # opened before with another currency, guard or shelf
    ACCOUNT_UNKNOWN = 3
    SAME_ACCOUNT = 4
    AMOUNT_NOT_POSITIVE = 5
    CURRENCY_DIFFERS = 6
    SHELF_DIFFERS = 7  # accruals and money do not mix
    HOLD_UNKNOWN = 8
    HOLD_TAKEN = 9  # the name of this hold was used before
    HOLD_ENDED = 10
    HOLD_EXPIRED = 11
    HOLD_DIFFERS = 12  # other accounts, or more than was held
    NOT_ENOUGH = 13
    OVER_CREDITED = 14


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """`debits` and `credits` ever posted, `held` reserved at this account; minor units."""

    debits: int
    credits: int
    held: int

    @property
    def net(self) -> int:
        """Return credits less debits: what a wallet holds, held money included."""
        return self.credits - self.debits

    @property
    def available(self) -> int:
        return self.net - self.held


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the journal: bundle `id` was the `sequence`-th to be done.

    `source_before` and `target_before` are the lines before this one whose leading transfer has
    this line's leading source and target (0: none), so that a statement needs no index.
    """

    sequence: int
    id: str
    at: int
    transfers: tuple[Transfer, ...]
    opens: tuple[Account, ...]
    story: bytes
    source_before: int = 0
    target_before: int = 0
