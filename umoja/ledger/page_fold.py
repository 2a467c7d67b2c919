"""Folding by the page: thousands of lines that were judged and sealed before are applied at once.

The rules still hold: what cannot be seen to keep them whatever the order within the page is left to the
fold that goes line by line, and the state is then as it was.
"""

from typing import Any

import numpy as np

from umoja.ledger.entries import Bundle, Guard, Verdict
from umoja.ledger.page import Page, in_turn, runs
from umoja.ledger.rules import Columns, State, Undo

_CREDIT, _DEBIT = Guard.CREDIT.value, Guard.DEBIT.value


def fold_page(state: State, page: Page) -> bool:
    """Apply a page's lines in any order that gives the same state; False, and no trace, if unsure."""
    opened: Undo = []
    for line, accounts in page.opens:
        opening = Bundle(page.ids[line], int(page.at[line]), (), accounts)
        if state.apply(opening, opened) is not Verdict.DONE:
            state.take_back(opened)
            return False
    odd = sorted({int(page.line_of[place]) for place, _ in page.others})
    if _apply(state, page, odd):
        return True
    state.take_back(opened)
    return False


def _apply(state: State, page: Page, odd: list[int]) -> bool:
    """Apply all plain lines together, then the odd ones, which hold money or end a hold."""
    columns = state.columns()
    threads = _threads(columns, page)
    if threads is None:
        return False
    source, target, minor = page.source, page.target, page.minor
    if odd:
        is_plain = ~np.isin(page.line_of, odd)
        source, target, minor = source[is_plain], target[is_plain], minor[is_plain]
    posted = _Posted(columns, source, target, minor)
    if not posted.keeps_the_rules():
        return False
    posted.apply(1)
    done: Undo = []
    for line in odd:
        bundle = Bundle(page.ids[line], int(page.at[line]), page.moved[line])
        if state.apply(bundle, done) is not Verdict.DONE:
            state.take_back(done)
            posted.apply(-1)
            return False
    slots, sequences = threads
    columns.last[slots] = sequences
    return True


class _Posted:
    """Plain transfers of a page, gathered by account."""

    def __init__(self, columns: Columns, source: Any, target: Any, minor: Any) -> None:
        self._columns = columns
        self._source, self._target, self._minor = source, target, minor
        numbers, back = np.unique(np.concatenate([source, target]), return_inverse=True)
        self._slots = columns.slots.places_of(numbers)
        self._giver, self._taker = back[: len(source)], back[len(source) :]
        self._out = np.zeros(len(numbers), np.int64)
        self._in = np.zeros(len(numbers), np.int64)
        np.add.at(self._out, self._giver, minor)
        np.add.at(self._in, self._taker, minor)

    def keeps_the_rules(self) -> bool:
        """Tell whether no rule can be broken, in whichever order the transfers are done."""
        columns, slots = self._columns, self._slots
        if (slots < 0).any() or (self._minor <= 0).any() or (self._source == self._target).any():
            return False
        forms = columns.account_forms[slots]
        pools = np.array(columns.pools)[forms]
        if (pools[self._giver] != pools[self._taker]).any():
            return False
        guards = np.array(columns.guards)[forms]
        nets = columns.credits[slots] - columns.debits[slots]
        short = (guards == _CREDIT) & (nets - columns.held[slots] < self._out) & (self._out > 0)
        over = (guards == _DEBIT) & (-nets < self._in) & (self._in > 0)
        return not (short | over).any()

    def apply(self, sign: int) -> None:
        columns, slots = self._columns, self._slots
        columns.debits[slots] += sign * self._out
        columns.credits[slots] += sign * self._in
        changed = np.zeros(256, np.int64)
        np.add.at(changed, columns.account_forms[slots], sign * (self._in - self._out))
        for form in np.flatnonzero(changed).tolist():
            columns.nets[form] += int(changed[form])


def _threads(columns: Columns, page: Page) -> tuple[Any, Any] | None:
    """Return the accounts' slots and the newest lines that lead with them, where all threads are right."""
    lines = np.flatnonzero(page.has_lead)
    if not len(lines):
        nobody = np.zeros(0, np.int64)
        return nobody, nobody
    leads = page.leads[lines]
    accounts = in_turn(page.source[leads], page.target[leads])
    order, begins = runs(accounts)
    slots = columns.slots.places_of(accounts[order[begins]])
    if (slots < 0).any():
        return None
    sequences = np.repeat(lines + page.first, 2)
    before = np.empty_like(sequences)
    before[order[1:]] = sequences[order[:-1]]
    before[order[begins]] = columns.last[slots]
    if (before != in_turn(page.source_before[lines], page.target_before[lines])).any():
        return None
    ends = np.append(begins[1:], len(order)) - 1
    return slots, sequences[order[ends]]
