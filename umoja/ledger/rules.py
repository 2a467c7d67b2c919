"""The rules of the ledger: judge a bundle against the state and apply it, all or nothing. No I/O.

The state is the fold of the journal: the same bundles in the same order give the same state.
"""

from array import array
from collections.abc import Callable

import msgspec

from umoja.ledger.entries import (
    Account,
    Balance,
    Bundle,
    Guard,
    Kind,
    Shelf,
    Transfer,
    Verdict,
)

HOLDS_ENDED_KEPT = 100_000  # names of ended holds remembered; an older one reads HOLD_UNKNOWN

Undo = list[Callable[[], None]]


class Hold(msgspec.Struct, frozen=True, array_like=True):
    """Money reserved: `minor` units of `source` for `target` until `expires_at` (0: no end)."""

    name: str
    source: int
    target: int
    minor: int
    expires_at: int


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """The whole state as bytes: for checkpoints, and to compare two states bit for bit."""

    accounts: list[Account]
    debits: bytes
    credits: bytes
    held: bytes
    holds: list[Hold]
    ended: list[str]


class State:
    """Balances in compact arrays, holds by name. Only `apply` changes it."""

    def __init__(self) -> None:
        self._slots: dict[int, int] = {}
        self._accounts: list[Account] = []
        self._debits = array("q")
        self._credits = array("q")
        self._held = array("q")
        self._guards = bytearray()
        self._holds: dict[str, Hold] = {}
        self._ended: dict[str, None] = {}

    # Reading

    def balance(self, account: int) -> Balance:
        """Return an account's balance; one never opened has nothing."""
        slot = self._slots.get(account)
        if slot is None:
            return Balance(debits=0, credits=0, held=0)
        return Balance(
            debits=self._debits[slot], credits=self._credits[slot], held=self._held[slot]
        )

    def available(self, account: int) -> int:
        """Return what may leave the account now, in minor units."""
        slot = self._slots.get(account)
        if slot is None:
            return 0
        return self._credits[slot] - self._debits[slot] - self._held[slot]

    def net(self, account: int) -> int:
        slot = self._slots.get(account)
        return 0 if slot is None else self._credits[slot] - self._debits[slot]

    def has(self, account: int) -> bool:
        return account in self._slots

    def hold(self, name: str) -> Hold | None:
        return self._holds.get(name)

    def holds_due(self, now: int, limit: int = 1000) -> list[Hold]:
        """Return open holds whose time is over, at most `limit`."""
        due = []
        for hold in self._holds.values():
            if hold.expires_at and hold.expires_at <= now:
                due.append(hold)
                if len(due) == limit:
                    break
        return due

    def accounts(self) -> list[tuple[Account, Balance]]:
        return [(account, self.balance(account.id)) for account in self._accounts]

    def holds(self) -> list[Hold]:
        return list(self._holds.values())

    # Changing

    def apply(self, bundle: Bundle, undo: Undo | None = None) -> Verdict:
        """Apply `bundle` whole and return DONE, or leave no trace and return why not.

        Where `undo` is given, what takes the bundle back again is added to it.
        """
        steps: Undo = []
        for account in bundle.opens:
            verdict = self._open(account, steps)
            if verdict is not Verdict.DONE:
                _take_back(steps)
                return verdict
        for transfer in bundle.transfers:
            verdict = self._move(transfer, bundle.at, steps)
            if verdict is not Verdict.DONE:
                _take_back(steps)
                return verdict
        if undo is not None:
            undo.extend(steps)
        return Verdict.DONE

    def _open(self, account: Account, steps: Undo) -> Verdict:
        slot = self._slots.get(account.id)
        if slot is not None:
            return Verdict.DONE if self._accounts[slot] == account else Verdict.ACCOUNT_DIFFERS
        self._slots[account.id] = len(self._accounts)
        self._accounts.append(account)
        self._debits.append(0)
        self._credits.append(0)
        self._held.append(0)
        self._guards.append(account.guard.value)

        def close() -> None:
            del self._slots[account.id]
            self._accounts.pop()
            self._debits.pop()
            self._credits.pop()
            self._held.pop()
            self._guards.pop()

        steps.append(close)
        return Verdict.DONE

    def _move(self, transfer: Transfer, at: int, steps: Undo) -> Verdict:
        source = self._slots.get(transfer.source)
        target = self._slots.get(transfer.target)
        if source is None or target is None:
            return Verdict.ACCOUNT_UNKNOWN
        if source == target:
            return Verdict.SAME_ACCOUNT
        match transfer.kind:
            case Kind.POST:
                verdict = self._judge(transfer, source, target)
                if verdict is Verdict.DONE:
                    self._post(source, target, transfer.minor, steps)
                return verdict
            case Kind.HOLD:
                return self._reserve(transfer, source, target, steps)
            case Kind.COMMIT | Kind.VOID:
                return self._end(transfer, source, target, at, steps)

    def _judge(self, transfer: Transfer, source: int, target: int) -> Verdict:
        if transfer.minor <= 0:
            return Verdict.AMOUNT_NOT_POSITIVE
        giver, taker = self._accounts[source], self._accounts[target]
        if giver.currency != taker.currency:
            return Verdict.CURRENCY_DIFFERS
        if (giver.shelf is Shelf.ACCRUAL) != (taker.shelf is Shelf.ACCRUAL):
            return Verdict.SHELF_DIFFERS
        free = self._credits[source] - self._debits[source] - self._held[source]
        if self._guards[source] == Guard.CREDIT.value and free < transfer.minor:
            return Verdict.NOT_ENOUGH
        if self._guards[target] == Guard.DEBIT.value:
            room = self._debits[target] - self._credits[target]
            if room < transfer.minor:
                return Verdict.OVER_CREDITED
        return Verdict.DONE

    def _post(self, source: int, target: int, minor: int, steps: Undo) -> None:
        self._debits[source] += minor
        self._credits[target] += minor

        def unpost() -> None:
            self._debits[source] -= minor
            self._credits[target] -= minor

        steps.append(unpost)

    def _reserve(self, transfer: Transfer, source: int, target: int, steps: Undo) -> Verdict:
        if not transfer.hold:
            return Verdict.HOLD_UNKNOWN
        if transfer.hold in self._holds or transfer.hold in self._ended:
            return Verdict.HOLD_TAKEN
        verdict = self._judge(transfer, source, target)
        if verdict is not Verdict.DONE:
            return verdict
        minor = transfer.minor
        self._holds[transfer.hold] = Hold(
            transfer.hold, transfer.source, transfer.target, minor, transfer.expires_at
        )
        self._held[source] += minor

        def release() -> None:
            del self._holds[transfer.hold]
            self._held[source] -= minor

        steps.append(release)
        return Verdict.DONE

    def _end(self, transfer: Transfer, source: int, target: int, at: int, steps: Undo) -> Verdict:
        hold = self._holds.get(transfer.hold)
        if hold is None:
            return Verdict.HOLD_ENDED if transfer.hold in self._ended else Verdict.HOLD_UNKNOWN
        if (hold.source, hold.target) != (transfer.source, transfer.target):
            return Verdict.HOLD_DIFFERS
        is_commit = transfer.kind is Kind.COMMIT
        if is_commit:
            if transfer.minor <= 0:
                return Verdict.AMOUNT_NOT_POSITIVE
            if transfer.minor > hold.minor:
                return Verdict.HOLD_DIFFERS
            if hold.expires_at and hold.expires_at <= at:
                return Verdict.HOLD_EXPIRED
            if self._guards[target] == Guard.DEBIT.value:
                room = self._debits[target] - self._credits[target]
                if room < transfer.minor:
                    return Verdict.OVER_CREDITED
        del self._holds[hold.name]
        self._held[source] -= hold.minor
        self._ended[hold.name] = None
        forgotten = None
        if len(self._ended) > HOLDS_ENDED_KEPT:
            forgotten = next(iter(self._ended))
            del self._ended[forgotten]

        def resume() -> None:
            self._holds[hold.name] = hold
            self._held[source] += hold.minor
            del self._ended[hold.name]
            if forgotten is not None:  # back to the front, so that the order of forgetting holds
                rest = list(self._ended)
                self._ended.clear()
                self._ended.update(dict.fromkeys([forgotten, *rest]))

        steps.append(resume)
        if is_commit:
            self._post(source, target, transfer.minor, steps)
        return Verdict.DONE

    # Keeping

    def snapshot(self) -> Snapshot:
        return Snapshot(
            list(self._accounts),
            self._debits.tobytes(),
            self._credits.tobytes(),
            self._held.tobytes(),
            list(self._holds.values()),
            list(self._ended),
        )

    @classmethod
    def restored(cls, snapshot: Snapshot) -> "State":
        state = cls()
        state._accounts = list(snapshot.accounts)
        state._slots = {account.id: slot for slot, account in enumerate(snapshot.accounts)}
        state._debits.frombytes(snapshot.debits)
        state._credits.frombytes(snapshot.credits)
        state._held.frombytes(snapshot.held)
        state._guards = bytearray(account.guard.value for account in snapshot.accounts)
        state._holds = {hold.name: hold for hold in snapshot.holds}
        state._ended = dict.fromkeys(snapshot.ended)
        return state


def _take_back(steps: Undo) -> None:
    for step in reversed(steps):
        step()
    steps.clear()
