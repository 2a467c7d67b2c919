"""The tally: adds a journal up once more, by other means than the writer, thousands of lines at once.

It judges by the same rules as umoja.ledger.rules and shares none of its code: what both agree about was
reached in two ways. Columns only: some sixty bytes an account, eight a line for ids.
"""

from array import array
from collections.abc import Iterator
from typing import Any

import numpy as np

from umoja.ledger.entries import Account, Balance, Guard, Kind, Shelf, Transfer, Verdict
from umoja.ledger.page import Page, in_turn, runs, spread
from umoja.ledger.rules import HOLDS_ENDED_KEPT, Form, Hold, Snapshot

FRESH_MAX = 200_000  # accounts found by name before they are sorted among the others
ROOM = 1_024
TOLD_MAX = 100  # breaches of a kind that are told
_FIRST = frozenset({Verdict.ACCOUNT_UNKNOWN.value, Verdict.SAME_ACCOUNT.value})


class Tally:
    """Balances of a journal so far. Give it pages in order; it says what they break."""

    def __init__(self, *, knows_ids: bool = True) -> None:
        """`knows_ids`: remember every id, to find one that was done twice."""
        self.sequence = 0
        self.ids: array[int] | None = array("q") if knows_ids else None
        self._numbers = np.zeros(ROOM, np.int64)  # by slot, as all the columns
        self._forms_of = np.zeros(ROOM, np.uint8)
        self._debits = np.zeros(ROOM, np.int64)
        self._credits = np.zeros(ROOM, np.int64)
        self._held = np.zeros(ROOM, np.int64)
        self._last = np.zeros(ROOM, np.int64)
        self._size = 0
        self._sorted = np.zeros(0, np.int64)
        self._slots = np.zeros(0, np.int32)
        self._fresh: dict[int, int] = {}
        self._forms: list[Form] = []
        self._currency_of = np.zeros(256, np.int16)  # by form
        self._is_accrual = np.zeros(256, bool)
        self._guards_credit = np.zeros(256, bool)
        self._guards_debit = np.zeros(256, bool)
        self._holds: dict[str, Hold] = {}
        self._ended: dict[str, None] = {}

    # Reading

    def __len__(self) -> int:
        return self._size

    def accounts(self) -> Iterator[tuple[Account, Balance]]:
        """Yield every account with its balance, in the order of opening."""
        for slot in range(self._size):
            form = self._forms[self._forms_of[slot]]
            yield (
                Account(
                    int(self._numbers[slot]), form.currency, form.guard, form.shelf, form.group
                ),
                Balance(
                    debits=int(self._debits[slot]),
                    credits=int(self._credits[slot]),
                    held=int(self._held[slot]),
                ),
            )

    def holds(self) -> list[Hold]:
        return list(self._holds.values())

    def totals(self) -> list[tuple[Form, int]]:
        """Return credits less debits of all accounts of each form."""
        nets = self._credits[: self._size] - self._debits[: self._size]
        forms = self._forms_of[: self._size]
        return [(form, int(nets[forms == place].sum())) for place, form in enumerate(self._forms)]

    # Adding up

    def take(self, page: Page) -> list[str]:
        """Add a page up; return what it breaks. A line that breaks a rule is left out."""
        found: list[str] = []
        if page.first != self.sequence + 1:
            found.append(f"journal line {self.sequence + 1} is missing: found {page.first}")
        if self.ids is not None:
            self.ids.extend(map(hash, page.ids))
        low, high = 0, len(page)
        while low < high:
            fault = self._take(page, low, high, found)
            if fault is None:
                break
            line, verdict = fault
            if line > low:
                again = self._take(page, low, line, found)
                assert again is None, "the lines before the first one that is wrong are right"
            if len(found) < TOLD_MAX:
                found.append(
                    f"journal line {page.first + line} ({page.ids[line]}) breaks a rule:"
                    f" {verdict.name}"
                )
            low = line + 1
        self.sequence = page.first + len(page) - 1
        return found

    def _take(
        self, page: Page, low: int, high: int, found: list[str]
    ) -> tuple[int, Verdict] | None:
        """Add lines low to high up, or leave no trace and return the first that is wrong, and why."""
        size, step = self._size, _Step(page, low, high)
        fault = self._open(page, low, high, step)
        step.source_slot = self._slots_of(step.source)
        step.target_slot = self._slots_of(step.target)
        self._judge_accounts(step, size)
        self._judge_others(page, step)
        self._judge_money(step)
        fault = step.first_fault(fault)
        if fault is not None:
            self._forget(size, step)
            return fault
        self._book(step)
        self._touch(page, low, high, found)
        return None

    # Accounts

    def _open(self, page: Page, low: int, high: int, step: "_Step") -> tuple[int, Verdict] | None:
        for line, accounts in page.opens:
            if not low <= line < high:
                continue
            for account in accounts:
                form = Form(account.currency, account.guard, account.shelf, account.group)
                slot = self._slot_of(account.id)
                if slot < 0:
                    self._add(account.id, form)
                    step.born.append(line)
                elif self._forms[self._forms_of[slot]] != form:
                    return line, Verdict.ACCOUNT_DIFFERS
        return None

    def _add(self, number: int, form: Form) -> None:
        if len(self._fresh) >= max(FRESH_MAX, self._size >> 3):
            self._sort()
        if self._size == len(self._numbers):
            for name in ("_numbers", "_forms_of", "_debits", "_credits", "_held", "_last"):
                column = getattr(self, name)
                setattr(self, name, np.concatenate([column, np.zeros(len(column), column.dtype)]))
        if form not in self._forms:
            place = len(self._forms)
            assert place < 256, "a market has few kinds of accounts"
            currencies = [each.currency for each in self._forms]
            known = form.currency in currencies
            self._currency_of[place] = (
                self._currency_of[currencies.index(form.currency)] if known else place
            )
            self._is_accrual[place] = form.shelf is Shelf.ACCRUAL
            self._guards_credit[place] = form.guard is Guard.CREDIT
            self._guards_debit[place] = form.guard is Guard.DEBIT
            self._forms.append(form)
        slot = self._size
        self._numbers[slot] = number
        self._forms_of[slot] = self._forms.index(form)
        self._debits[slot] = self._credits[slot] = self._held[slot] = self._last[slot] = 0
        self._fresh[number] = slot
        self._size += 1

    def _sort(self) -> None:
        numbers = self._numbers[: self._size]
        order = np.argsort(numbers, kind="stable")
        self._sorted, self._slots = numbers[order], order.astype(np.int32)
        self._fresh = {}

    def _slot_of(self, number: int) -> int:
        slot = self._fresh.get(number)
        if slot is not None:
            return slot
        place = int(np.searchsorted(self._sorted, number))
        is_there = place < len(self._sorted) and int(self._sorted[place]) == number
        return int(self._slots[place]) if is_there else -1

    def _slots_of(self, numbers: Any) -> Any:
        """Return the slot of each number, -1 where there is none."""
        if not len(numbers):
            return np.zeros(0, np.int64)
        unique, back = np.unique(numbers, return_inverse=True)
        slots = np.full(len(unique), -1, np.int64)
        if len(self._sorted):
            places = np.minimum(np.searchsorted(self._sorted, unique), len(self._sorted) - 1)
            is_there = self._sorted[places] == unique
            slots[is_there] = self._slots[places[is_there]]
        get = self._fresh.get
        for place in np.flatnonzero(slots < 0).tolist():
            slots[place] = get(int(unique[place]), -1)
        return slots[back]

    def _forget(self, size: int, step: "_Step") -> None:
        """Take back what a step opened and held."""
        for slot in range(size, self._size):
            number = int(self._numbers[slot])
            if self._fresh.pop(number, None) is None:
                keep = self._slots != slot
                self._sorted, self._slots = self._sorted[keep], self._slots[keep]
        self._size = size
        if step.holds_before is not None:
            self._holds, self._ended = step.holds_before

    # Judging

    def _judge_accounts(self, step: "_Step", size: int) -> None:
        """Check all that is known without balances; the first rule broken is kept of each transfer."""
        source, target = step.source_slot, step.target_slot
        unknown = (source < 0) | (target < 0)
        if step.born:
            born = np.array(step.born)
            for slots in (source, target):
                is_new = slots >= size
                unknown[is_new] |= born[slots[is_new] - size] > step.line_of[is_new]
        giver, taker = self._forms_of[source], self._forms_of[target]
        is_moved = ~step.is_end  # posts and holds; what ends a hold was judged with it
        # From the last rule to the first: the first one broken is what stands.
        step.blame(
            is_moved & (self._is_accrual[giver] != self._is_accrual[taker]), Verdict.SHELF_DIFFERS
        )
        step.blame(
            is_moved & (self._currency_of[giver] != self._currency_of[taker]),
            Verdict.CURRENCY_DIFFERS,
        )
        step.blame(is_moved & (step.minor <= 0), Verdict.AMOUNT_NOT_POSITIVE)
        step.blame(step.source == step.target, Verdict.SAME_ACCOUNT)
        step.blame(unknown, Verdict.ACCOUNT_UNKNOWN)

    def _judge_others(self, page: Page, step: "_Step") -> None:
        if not step.others:
            return
        step.holds_before = dict(self._holds), dict(self._ended)
        for place, transfer in step.others:
            verdict = self._hold(place, transfer, int(page.at[step.line_of[place]]), step)
            if verdict is not Verdict.DONE and step.why[place] not in _FIRST:
                step.why[place] = verdict.value
            if step.why[place]:
                return  # nothing behind the first fault is judged now

    def _hold(self, place: int, transfer: Transfer, at: int, step: "_Step") -> Verdict:
        name, minor = transfer.hold, transfer.minor
        if transfer.kind is Kind.HOLD:
            if not name:
                return Verdict.HOLD_UNKNOWN
            if name in self._holds or name in self._ended:
                return Verdict.HOLD_TAKEN
            self._holds[name] = Hold(
                name, transfer.source, transfer.target, minor, transfer.expires_at
            )
            step.held[place] = minor
            return Verdict.DONE
        hold = self._holds.get(name)
        if hold is None:
            return Verdict.HOLD_ENDED if name in self._ended else Verdict.HOLD_UNKNOWN
        if (hold.source, hold.target) != (transfer.source, transfer.target):
            return Verdict.HOLD_DIFFERS
        if transfer.kind is Kind.COMMIT:
            if minor <= 0:
                return Verdict.AMOUNT_NOT_POSITIVE
            if minor > hold.minor:
                return Verdict.HOLD_DIFFERS
            if hold.expires_at and hold.expires_at <= at:
                return Verdict.HOLD_EXPIRED
        del self._holds[name]
        self._ended[name] = None
        if len(self._ended) > HOLDS_ENDED_KEPT:
            del self._ended[next(iter(self._ended))]
        step.held[place] = -hold.minor
        return Verdict.DONE

    def _judge_money(self, step: "_Step") -> None:
        """Check what each account had at each moment."""
        if not len(step.source):
            return
        source, target = step.source_slot, step.target_slot
        slots = in_turn(source, target)
        order, begins = runs(slots)
        at = slots[order[begins]]
        moved = step.moved
        nets = self._after(
            in_turn(-moved, moved), order, begins, self._credits[at] - self._debits[at]
        )
        frees = self._after(
            in_turn(-moved - step.held, moved),
            order,
            begins,
            self._credits[at] - self._debits[at] - self._held[at],
        )
        asked = np.where(step.is_hold, step.minor, 0)  # a hold asks for room and takes none yet
        step.blame(
            ~step.is_void & self._guards_debit[self._forms_of[target]] & (nets[1::2] + asked > 0),
            Verdict.OVER_CREDITED,
            keeps_others=True,
        )
        step.blame(
            ~step.is_end & self._guards_credit[self._forms_of[source]] & (frees[0::2] < 0),
            Verdict.NOT_ENOUGH,
            keeps_others=True,
        )

    @staticmethod
    def _after(changes: Any, order: Any, begins: Any, start: Any) -> Any:
        """Return for each change what its account has after it, in the order of the changes."""
        sums = np.cumsum(changes[order])
        before = np.concatenate([[0], sums])[begins]
        found = np.empty_like(sums)
        found[order] = sums + spread(begins, start - before, len(sums))
        return found

    # Booking

    def _book(self, step: "_Step") -> None:
        np.add.at(self._debits, step.source_slot, step.moved)
        np.add.at(self._credits, step.target_slot, step.moved)
        if step.others:
            np.add.at(self._held, step.source_slot, step.held)

    def _touch(self, page: Page, low: int, high: int, found: list[str]) -> None:
        """Follow the threads of statements: each line names the ones before it of its two accounts."""
        lines = np.flatnonzero(page.has_lead[low:high]) + low
        if not len(lines):
            return
        leads = page.leads[lines]
        slots = in_turn(self._slots_of(page.source[leads]), self._slots_of(page.target[leads]))
        order, begins = runs(slots)
        sequences = np.repeat(lines + page.first, 2)
        before = np.empty_like(sequences)
        before[order[1:]] = sequences[order[:-1]]
        before[order[begins]] = self._last[slots[order[begins]]]
        ends = np.append(begins[1:], len(order)) - 1
        self._last[slots[order[ends]]] = sequences[order[ends]]
        claimed = in_turn(page.source_before[lines], page.target_before[lines])
        astray = np.unique(np.flatnonzero(before != claimed) >> 1)[:TOLD_MAX]
        found += [
            f"journal line {line} does not follow on the lines before it"
            for line in (lines[astray] + page.first).tolist()
        ]

    # Comparing

    def twins(self) -> list[tuple[int, int]]:
        """Return pairs of lines whose ids are the same, as far as sixty-four bits tell; few."""
        if self.ids is None:
            return []
        digests = np.frombuffer(self.ids, np.int64)
        in_order = np.sort(digests)
        doubled = in_order[1:][in_order[1:] == in_order[:-1]]
        if not len(doubled):
            return []
        places = np.flatnonzero(np.isin(digests, doubled))
        firsts: dict[int, int] = {}
        found = []
        for place in places.tolist():
            digest = self.ids[place]
            if digest in firsts:
                found.append((firsts[digest], place + 1))
            firsts.setdefault(digest, place + 1)
        return found

    def differences(self, taken: Snapshot) -> list[str]:
        """Compare with a state in use as of the same line; return what differs, as sentences."""
        size = self._size
        order = np.argsort(self._numbers[:size], kind="stable")
        ours = self._numbers[:size][order]
        theirs = np.frombuffer(taken.ids, np.int64)
        if len(ours) == len(theirs) and bool((ours == theirs).all()):
            is_same = np.ones(size, bool)
            for mine, other in (
                (self._debits, taken.debits),
                (self._credits, taken.credits),
                (self._held, taken.held),
                (self._last, taken.last),
            ):
                is_same &= mine[:size][order] == np.frombuffer(other, np.int64)
            forms = np.frombuffer(taken.account_forms, np.uint8)
            places = {form: place for place, form in enumerate(taken.forms)}
            renamed = np.full(256, -1, np.int16)
            for place, form in enumerate(self._forms):
                renamed[place] = places.get(form, -1)
            is_same &= renamed[self._forms_of[:size][order]] == forms
            strange = ours[~is_same]
        else:
            strange = np.setxor1d(ours, theirs)
        found = [
            f"account {number}: the journal says {self._told(number)},"
            f" the state in use says {_told_in(taken, number)}"
            for number in strange[:TOLD_MAX].tolist()
        ]
        if {hold.name for hold in self._holds.values()} != {hold.name for hold in taken.holds}:
            found.append("open holds differ between the journal and the state in use")
        return found

    def _told(self, number: int) -> Balance | None:
        slot = self._slot_of(number)
        if slot < 0:
            return None
        return Balance(
            debits=int(self._debits[slot]),
            credits=int(self._credits[slot]),
            held=int(self._held[slot]),
        )


def _told_in(taken: Snapshot, number: int) -> Balance | None:
    ids = np.frombuffer(taken.ids, np.int64)
    place = int(np.searchsorted(ids, number))
    if place == len(ids) or int(ids[place]) != number:
        return None
    debits, credits_, held = (
        int(np.frombuffer(column, np.int64)[place])
        for column in (taken.debits, taken.credits, taken.held)
    )
    return Balance(debits=debits, credits=credits_, held=held)


class _Step:
    """Some lines of a page while they are judged."""

    def __init__(self, page: Page, low: int, high: int) -> None:
        begin = int(page.leads[low])
        end = int(page.leads[high]) if high < len(page) else len(page.source)
        part = slice(begin, end)
        self.source, self.target, self.minor = (
            page.source[part],
            page.target[part],
            page.minor[part],
        )
        self.line_of = page.line_of[part]
        self.others = [(place - begin, each) for place, each in page.others if begin <= place < end]
        size = end - begin
        self.is_hold, self.is_void = np.zeros(size, bool), np.zeros(size, bool)
        self.is_end = np.zeros(size, bool)
        for place, each in self.others:
            self.is_hold[place] = each.kind is Kind.HOLD
            self.is_void[place] = each.kind is Kind.VOID
            self.is_end[place] = each.kind is not Kind.HOLD
        self.moved = np.where(self.is_hold | self.is_void, 0, self.minor)
        self.held = np.zeros(size, np.int64)
        self.why = np.zeros(size, np.int8)
        self.born: list[int] = []  # for each account that was opened: in which line
        self.holds_before: tuple[dict[str, Hold], dict[str, None]] | None = None
        self.source_slot: Any = None
        self.target_slot: Any = None

    def blame(self, where: Any, verdict: Verdict, *, keeps_others: bool = False) -> None:
        """Note why transfers are wrong, over or under what was noted before."""
        self.why[where & (self.why == 0) if keeps_others else where] = verdict.value

    def first_fault(self, opening: tuple[int, Verdict] | None) -> tuple[int, Verdict] | None:
        wrong = np.flatnonzero(self.why)
        if not len(wrong):
            return opening
        place = int(wrong[0])
        line = int(self.line_of[place])
        if opening is not None and opening[0] <= line:
            return opening
        return line, Verdict(int(self.why[place]))
