"""A page: some journal lines taken apart into columns, so that thousands are added up at once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import Any

import numpy as np

from umoja.ledger.entries import Account, Kind, Row, Transfer

_source, _target, _minor = attrgetter("source"), attrgetter("target"), attrgetter("minor")
_POST = Kind.POST


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Lines in order. Transfers of all lines follow on each other; `line_of` says whose each is.

    Lines are counted from nought within the page, and so are transfers.
    """

    first: int  # the sequence of the first line; the others follow on it
    ids: Sequence[str]
    at: Any  # int64 by line
    leads: Any  # by line: its first transfer
    has_lead: Any  # bool by line
    source_before: Any  # int64 by line
    target_before: Any
    line_of: Any  # by transfer
    source: Any  # int64 by transfer
    target: Any
    minor: Any
    others: list[tuple[int, Transfer]]  # all transfers but plain posts, with their place
    opens: list[tuple[int, tuple[Account, ...]]]  # lines that open accounts, with their number
    moved: Sequence[tuple[Transfer, ...]]  # by line

    def __len__(self) -> int:
        return len(self.ids)


def page_of(rows: Sequence[Row]) -> Page:
    """Return a page of lines whose sequences follow on each other."""
    return page(
        rows[0].sequence,
        [row.id for row in rows],
        [row.at for row in rows],
        [row.source_before for row in rows],
        [row.target_before for row in rows],
        [(row.transfers, row.opens) for row in rows],
    )


def page(
    first: int,
    ids: Sequence[str],
    at: Sequence[int],
    source_before: Sequence[int],
    target_before: Sequence[int],
    moves: Iterable[tuple[tuple[Transfer, ...], tuple[Account, ...]]],
) -> Page:
    """Return a page of lines in columns, and of what each of them moves and opens."""
    moved, opened = zip(*moves, strict=True)
    lengths = np.fromiter(map(len, moved), np.int64, len(moved))
    flat: list[Transfer] = list(chain.from_iterable(moved))
    size = len(flat)
    return Page(
        first=first,
        ids=ids,
        at=np.array(at, np.int64),
        leads=np.cumsum(lengths) - lengths,
        has_lead=lengths > 0,
        source_before=np.array(source_before, np.int64),
        target_before=np.array(target_before, np.int64),
        line_of=np.repeat(np.arange(len(moved)), lengths),
        source=np.fromiter(map(_source, flat), np.int64, size),
        target=np.fromiter(map(_target, flat), np.int64, size),
        minor=np.fromiter(map(_minor, flat), np.int64, size),
        others=[(place, each) for place, each in enumerate(flat) if each.kind is not _POST],
        opens=[(line, each) for line, each in enumerate(opened) if each],
        moved=moved,
    )


def in_turn(first: Any, second: Any) -> Any:
    """Return two columns as one, an element of each in turn."""
    return np.stack([first, second], axis=1).ravel()


def runs(keys: Any) -> tuple[Any, Any]:
    """Return the order that puts equal keys together, each run in its old order, and where runs begin.

    The beginnings are places in that order.
    """
    order = np.argsort(keys, kind="stable")
    sorted_keys = keys[order]
    begins = np.flatnonzero(np.concatenate([[True], sorted_keys[1:] != sorted_keys[:-1]]))
    return order, begins


def spread(begins: Any, values: Any, size: int) -> Any:
    """Return one value for each element, given one for each run."""
    return np.repeat(values, np.diff(np.append(begins, size)))
