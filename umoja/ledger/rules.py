"""The rules of the ledger: judge a bundle against the state and apply it, all or nothing. No I/O.

The state is the fold of the journal: the same bundles in the same order give the same state.
"""

from array import array
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np

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
from umoja.ledger.slots import Slots

HOLDS_ENDED_KEPT = 100_000  # names of ended holds remembered; an older one reads HOLD_UNKNOWN
_POST, _HOLD, _COMMIT = Kind.POST, Kind.HOLD, Kind.COMMIT
_DONE = Verdict.DONE
_CREDIT, _DEBIT = Guard.CREDIT.value, Guard.DEBIT.value


class Hold(msgspec.Struct, frozen=True, array_like=True):
    """Money reserved: `minor` units of `source` for `target` until `expires_at` (0: no end)."""

    name: str
    source: int
    target: int
    minor: int
    expires_at: int


class Form(msgspec.Struct, frozen=True, array_like=True):
    """What accounts of one kind have in common: an account is its number and its form."""

    currency: str
    guard: Guard
    shelf: Shelf
    group: int = 0


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """The whole state as bytes, accounts in order of their numbers.

    For checkpoints, and to compare two states bit for bit.
    """

    forms: list[Form]
    ids: bytes
    account_forms: bytes
    debits: bytes
    credits: bytes
    held: bytes
    last: bytes
    holds: list[Hold]
    ended: list[str]


Posted = tuple[Transfer, ...]
"""A step that can be taken back: transfers that moved money. A usual bundle's are there already."""


class _Opened(msgspec.Struct, frozen=True, array_like=True, gc=False):
    number: int


class _Reserved(msgspec.Struct, frozen=True, array_like=True, gc=False):
    hold: Hold
    slot: int


class _Ended(msgspec.Struct, frozen=True, array_like=True, gc=False):
    hold: Hold
    slot: int
    forgotten: str


Step = Posted | _Opened | _Reserved | _Ended
Undo = list[Step]
"""What was done, in order, so that `State.take_back` can undo it."""


class Columns(NamedTuple):
    """A state's columns by slot, which are written to, and what is kept of each form."""

    slots: Slots
    debits: Any
    credits: Any
    held: Any
    last: Any
    account_forms: Any
    guards: list[int]
    pools: list[int]
    nets: list[int]


class State:
    """Balances in compact arrays, holds by name. Only `apply`, `touch` and `take_back` change it.

    An account takes some fifty bytes, and a hundred more while it is in use.
    """

    def __init__(self) -> None:
        self._slots = Slots()
        self._debits = array("q")
        self._credits = array("q")
        self._held = array("q")
        self._last = array("q")  # the newest journal line whose leading transfer has the account
        self._account_forms = bytearray()
        self._forms: list[Form] = []
        self._form_places: dict[Form, int] = {}
        self._guards: list[int] = []  # by form
        self._pools: list[tuple[str, bool]] = []  # by form: money moves within a pool only
        self._pool_places: list[int] = []  # by form: its pool as a small number
        self._nets: list[int] = []  # by form: credits less debits of all its accounts
        self._holds: dict[str, Hold] = {}
        self._ended: dict[str, None] = {}

    # Reading

    def balance(self, account: int) -> Balance:
        """Return an account's balance; one never opened has nothing."""
        slot = self._slots.get(account)
        if slot < 0:
            return Balance(debits=0, credits=0, held=0)
        return Balance(
            debits=self._debits[slot], credits=self._credits[slot], held=self._held[slot]
        )

    def available(self, account: int) -> int:
        """Return what may leave the account now, in minor units."""
        slot = self._slots.get(account)
        if slot < 0:
            return 0
        return self._credits[slot] - self._debits[slot] - self._held[slot]

    def net(self, account: int) -> int:
        found = self._slots.in_use.get(account)
        slot = self._slots.get(account) if found is None else found
        return 0 if slot < 0 else self._credits[slot] - self._debits[slot]

    def has(self, account: int) -> bool:
        return self._slots.get(account) >= 0

    def last(self, account: int) -> int:
        """Return the sequence of the newest line whose leading transfer has the account; 0: none."""
        found = self._slots.in_use.get(account)
        slot = self._slots.get(account) if found is None else found
        return 0 if slot < 0 else self._last[slot]

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

    def accounts(self) -> Iterator[tuple[Account, Balance]]:
        """Yield every account with its balance, in the order of opening."""
        for slot, number in enumerate(self._slots.numbers()):
            form = self._forms[self._account_forms[slot]]
            yield (
                Account(number, form.currency, form.guard, form.shelf, form.group),
                Balance(
                    debits=self._debits[slot], credits=self._credits[slot], held=self._held[slot]
                ),
            )

    def holds(self) -> list[Hold]:
        return list(self._holds.values())

    def totals(self) -> list[tuple[Form, int]]:
        """Return credits less debits of all accounts of each form, without adding them up again."""
        return list(zip(self._forms, self._nets, strict=True))

    def __len__(self) -> int:
        return len(self._debits)

    def columns(self) -> "Columns":
        """Return the columns themselves, for who changes thousands of accounts at once.

        They must be let go before an account is opened: a column that is lent out cannot grow.
        """
        return Columns(
            slots=self._slots,
            debits=np.frombuffer(self._debits, dtype=np.int64),
            credits=np.frombuffer(self._credits, dtype=np.int64),
            held=np.frombuffer(self._held, dtype=np.int64),
            last=np.frombuffer(self._last, dtype=np.int64),
            account_forms=np.frombuffer(self._account_forms, dtype=np.uint8),
            guards=self._guards,
            pools=self._pool_places,
            nets=self._nets,
        )

    # Changing

    def apply(self, bundle: Bundle, undo: Undo | None = None) -> Verdict:
        """Apply `bundle` whole and return DONE, or leave no trace and return why not.

        Where `undo` is given, what takes the bundle back again is added to it.
        """
        transfers = bundle.transfers
        if not bundle.opens and self._post_all(transfers):
            if undo is not None:
                undo.append(transfers)
            return _DONE
        return self._apply_by_step(bundle, undo)

    def _post_all(self, transfers: tuple[Transfer, ...]) -> bool:
        """Move all the money of a usual bundle, or leave no trace: one by one it is said why not.

        Usual transfers, all in one place because they are by far the most frequent ones: those that
        follow on each other from one account look it up once, and debit it once.
        """
        slots = self._slots
        in_use, debits, credits_, forms = (
            slots.in_use,
            self._debits,
            self._credits,
            self._account_forms,
        )
        nets, guards, pools = self._nets, self._guards, self._pool_places
        number = source = -1
        giver = pool = free = spent = done = 0
        is_guarded = False
        for transfer in transfers:
            if transfer.kind is not _POST:
                break
            minor = transfer.minor
            if transfer.source != number:
                if spent:
                    debits[source] += spent
                    nets[giver] -= spent
                    spent = 0
                number = transfer.source
                found = in_use.get(number)
                source = slots.get(number) if found is None else found
                if source < 0:
                    break
                giver = forms[source]
                pool = pools[giver]
                is_guarded = guards[giver] == _CREDIT
                if is_guarded:
                    free = credits_[source] - debits[source] - self._held[source]
            found = in_use.get(transfer.target)
            target = slots.get(transfer.target) if found is None else found
            if target < 0 or target == source or minor <= 0:
                break
            taker = forms[target]
            if pools[taker] != pool or guards[taker] == _DEBIT:
                break
            if is_guarded:
                if free < minor:
                    break
                free -= minor
            spent += minor
            credits_[target] += minor
            nets[taker] += minor
            done += 1
        if spent:
            debits[source] += spent
            nets[giver] -= spent
        if done == len(transfers):
            return True
        self._unpost(transfers[:done])
        return False

    def _apply_by_step(self, bundle: Bundle, undo: Undo | None) -> Verdict:
        """Apply a bundle of any kind, transfer by transfer, or return why not."""
        steps: Undo = []
        verdict = _DONE
        for account in bundle.opens:
            verdict = self._open(account, steps)
            if verdict is not _DONE:
                break
        else:
            get = self._slots.get
            for transfer in bundle.transfers:
                source, target = get(transfer.source), get(transfer.target)
                verdict = self._move(transfer, source, target, bundle.at, steps)
                if verdict is not _DONE:
                    break
        if verdict is not _DONE:
            self.take_back(steps)
        elif undo is not None:
            undo.extend(steps)
        return verdict

    def touch(self, account: int, sequence: int) -> int:
        """Note that line `sequence` has the account in its lead; return the line before it."""
        slot = self._slots.get(account)
        before = self._last[slot]
        self._last[slot] = sequence
        return before

    def touch_all(self, lines: Mapping[int, int]) -> None:
        """Note for each account the newest line that has it in its lead."""
        slots, last = self._slots, self._last
        in_use = slots.in_use
        for account, sequence in lines.items():
            slot = in_use.get(account)
            last[slots.get(account) if slot is None else slot] = sequence

    def take_back(self, undo: Undo) -> None:
        """Undo steps, the newest first, and empty the list."""
        for step in reversed(undo):
            match step:
                case tuple():
                    self._unpost(step)
                case _Opened():
                    self._close(step.number)
                case _Reserved():
                    del self._holds[step.hold.name]
                    self._held[step.slot] -= step.hold.minor
                case _Ended():
                    self._resume(step)
        undo.clear()

    def _unpost(self, transfers: Posted) -> None:
        get, forms = self._slots.get, self._account_forms
        for transfer in reversed(transfers):
            source, target, minor = get(transfer.source), get(transfer.target), transfer.minor
            self._debits[source] -= minor
            self._credits[target] -= minor
            self._nets[forms[source]] += minor
            self._nets[forms[target]] -= minor

    def _open(self, account: Account, steps: Undo) -> Verdict:
        form = Form(account.currency, account.guard, account.shelf, account.group)
        slot = self._slots.get(account.id)
        if slot >= 0:
            same = self._forms[self._account_forms[slot]] == form
            return _DONE if same else Verdict.ACCOUNT_DIFFERS
        self._slots.add(account.id)
        self._debits.append(0)
        self._credits.append(0)
        self._held.append(0)
        self._last.append(0)
        self._account_forms.append(self._form_place(form))
        steps.append(_Opened(account.id))
        return _DONE

    def _close(self, number: int) -> None:
        self._slots.remove_last(number)
        self._debits.pop()
        self._credits.pop()
        self._held.pop()
        self._last.pop()
        self._account_forms.pop()

    def _form_place(self, form: Form) -> int:
        place = self._form_places.get(form)
        if place is None:
            place = len(self._forms)
            assert place < 256, "a market has few kinds of accounts"
            self._form_places[form] = place
            self._forms.append(form)
            self._guards.append(form.guard.value)
            pool = (form.currency, form.shelf is Shelf.ACCRUAL)
            self._pool_places.append(self._pools.index(pool) if pool in self._pools else place)
            self._pools.append(pool)
            self._nets.append(0)
        return place

    def _move(self, transfer: Transfer, source: int, target: int, at: int, steps: Undo) -> Verdict:
        if source < 0 or target < 0:
            return Verdict.ACCOUNT_UNKNOWN
        if source == target:
            return Verdict.SAME_ACCOUNT
        if transfer.kind is _POST:
            verdict = self._judge(transfer.minor, source, target)
            if verdict is _DONE:
                self._post(transfer, source, target, steps)
            return verdict
        if transfer.kind is _HOLD:
            return self._reserve(transfer, source, target, steps)
        return self._end(transfer, source, target, at, steps)

    def _judge(self, minor: int, source: int, target: int) -> Verdict:
        if minor <= 0:
            return Verdict.AMOUNT_NOT_POSITIVE
        giver, taker = self._account_forms[source], self._account_forms[target]
        if self._pools[giver][0] != self._pools[taker][0]:
            return Verdict.CURRENCY_DIFFERS
        if self._pools[giver][1] != self._pools[taker][1]:
            return Verdict.SHELF_DIFFERS
        free = self._credits[source] - self._debits[source] - self._held[source]
        if self._guards[giver] == _CREDIT and free < minor:
            return Verdict.NOT_ENOUGH
        if self._guards[taker] == _DEBIT and self._room(target) < minor:
            return Verdict.OVER_CREDITED
        return _DONE

    def _room(self, slot: int) -> int:
        """Return how much may still be credited to an account that others owe."""
        return self._debits[slot] - self._credits[slot]

    def _post(self, transfer: Transfer, source: int, target: int, steps: Undo) -> None:
        minor = transfer.minor
        self._debits[source] += minor
        self._credits[target] += minor
        self._nets[self._account_forms[source]] -= minor
        self._nets[self._account_forms[target]] += minor
        steps.append((transfer,))

    def _reserve(self, transfer: Transfer, source: int, target: int, steps: Undo) -> Verdict:
        if not transfer.hold:
            return Verdict.HOLD_UNKNOWN
        if transfer.hold in self._holds or transfer.hold in self._ended:
            return Verdict.HOLD_TAKEN
        verdict = self._judge(transfer.minor, source, target)
        if verdict is not _DONE:
            return verdict
        hold = Hold(
            transfer.hold, transfer.source, transfer.target, transfer.minor, transfer.expires_at
        )
        self._holds[hold.name] = hold
        self._held[source] += hold.minor
        steps.append(_Reserved(hold, source))
        return _DONE

    def _end(self, transfer: Transfer, source: int, target: int, at: int, steps: Undo) -> Verdict:
        hold = self._holds.get(transfer.hold)
        if hold is None:
            return Verdict.HOLD_ENDED if transfer.hold in self._ended else Verdict.HOLD_UNKNOWN
        if (hold.source, hold.target) != (transfer.source, transfer.target):
            return Verdict.HOLD_DIFFERS
        is_commit = transfer.kind is _COMMIT
        if is_commit:
            if transfer.minor <= 0:
                return Verdict.AMOUNT_NOT_POSITIVE
            if transfer.minor > hold.minor:
                return Verdict.HOLD_DIFFERS
            if hold.expires_at and hold.expires_at <= at:
                return Verdict.HOLD_EXPIRED
            is_guarded = self._guards[self._account_forms[target]] == _DEBIT
            if is_guarded and self._room(target) < transfer.minor:
                return Verdict.OVER_CREDITED
        del self._holds[hold.name]
        self._held[source] -= hold.minor
        self._ended[hold.name] = None
        forgotten = ""
        if len(self._ended) > HOLDS_ENDED_KEPT:
            forgotten = next(iter(self._ended))
            del self._ended[forgotten]
        steps.append(_Ended(hold, source, forgotten))
        if is_commit:
            self._post(transfer, source, target, steps)
        return _DONE

    def _resume(self, step: _Ended) -> None:
        self._holds[step.hold.name] = step.hold
        self._held[step.slot] += step.hold.minor
        del self._ended[step.hold.name]
        if step.forgotten:  # back to the front, so that the order of forgetting holds
            rest = list(self._ended)
            self._ended = dict.fromkeys([step.forgotten, *rest])

    # Keeping

    def snapshot(self) -> Snapshot:
        """Return a copy of the state that later changes do not touch; quick, see `Taken.sorted`."""
        return self.taken(0).sorted()

    def taken(self, sequence: int) -> "Taken":
        """Copy the state after line `sequence` as fast as memory is copied, to be sorted elsewhere."""
        return Taken(
            sequence,
            list(self._forms),
            self._slots.copy(),
            bytes(self._account_forms),
            array("q", self._debits),
            array("q", self._credits),
            array("q", self._held),
            array("q", self._last),
            sorted(self._holds.values(), key=lambda hold: hold.name),
            list(self._ended),
        )

    @classmethod
    def restored(cls, snapshot: Snapshot) -> "State":
        state = cls()
        for form in snapshot.forms:
            state._form_place(form)
        state._slots = Slots.of_sorted(snapshot.ids)
        state._account_forms = bytearray(snapshot.account_forms)
        state._debits.frombytes(snapshot.debits)
        state._credits.frombytes(snapshot.credits)
        state._held.frombytes(snapshot.held)
        state._last.frombytes(snapshot.last)
        state._holds = {hold.name: hold for hold in snapshot.holds}
        state._ended = dict.fromkeys(snapshot.ended)
        if len(state):
            moved = np.frombuffer(snapshot.credits, np.int64) - np.frombuffer(
                snapshot.debits, np.int64
            )
            forms = np.frombuffer(snapshot.account_forms, np.uint8)
            state._nets = [int(moved[forms == place].sum()) for place in range(len(state._forms))]
        return state


class Taken:
    """A copy of a state, not yet in order: what a checkpoint is made of, beside the writer."""

    def __init__(
        self,
        sequence: int,
        forms: list[Form],
        ids: "array[int]",
        account_forms: bytes,
        debits: "array[int]",
        credits_: "array[int]",
        held: "array[int]",
        last: "array[int]",
        holds: list[Hold],
        ended: list[str],
    ) -> None:
        self.sequence = sequence
        self._forms = forms
        self._ids = ids
        self._account_forms = account_forms
        self._columns = (debits, credits_, held, last)
        self._holds = holds
        self._ended = ended

    def sorted(self) -> Snapshot:
        """Return the snapshot, accounts by number and forms by name: one state, one sequence of bytes."""
        ids = np.frombuffer(self._ids, dtype=np.int64)
        order = np.argsort(ids, kind="stable")
        places = sorted(
            range(len(self._forms)),
            key=lambda place: (
                self._forms[place].currency,
                self._forms[place].guard.value,
                self._forms[place].shelf.value,
                self._forms[place].group,
            ),
        )
        renamed = np.zeros(256, dtype=np.uint8)
        for new, old in enumerate(places):
            renamed[old] = new
        forms = renamed[np.frombuffer(self._account_forms, dtype=np.uint8)]
        debits, credits_, held, last = (
            np.frombuffer(column, dtype=np.int64)[order].tobytes() for column in self._columns
        )
        return Snapshot(
            [self._forms[place] for place in places],
            ids[order].tobytes(),
            forms[order].tobytes(),
            debits,
            credits_,
            held,
            last,
            self._holds,
            self._ended,
        )
