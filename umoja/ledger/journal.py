"""The journal: what every durable engine has in common, whatever database keeps its lines.

State and keys are the fold of the lines. A batch changes them in memory, its lines are appended in
one durable commit, and only then is anybody answered. A commit that fails takes the batch back.
"""

import hashlib
import threading
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import msgspec

from umoja.faults import OutcomeUnknown, Unavailable
from umoja.ledger.entries import Account, Bundle, Row, Transfer, Verdict
from umoja.ledger.keys import Column, Keys, digest_of
from umoja.ledger.rules import Snapshot, State, Taken, Undo

PAGE = 5_000
TOLD_EVERY = 10_000

Line = tuple[int, str, int, int, int, bytes, bytes]
"""sequence, id, at, source_before, target_before, moves, story: as a database keeps a row."""

encode_moves = msgspec.msgpack.Encoder().encode
_read_moves = msgspec.msgpack.Decoder(tuple[tuple[Transfer, ...], tuple[Account, ...]]).decode
_encode_snapshot = msgspec.msgpack.Encoder().encode
_read_snapshot = msgspec.msgpack.Decoder(Snapshot).decode


class Fenced(Unavailable):
    """Another writer has taken over this journal: this one may not write any more."""


class JournalDamaged(RuntimeError):
    """A line of the journal cannot be read or breaks a rule. Restore it from a copy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The fold as of line `sequence`, as bytes, with the digest of all of it."""

    sequence: int
    state: bytes
    companion: bytes
    sha256: bytes

    @property
    def is_whole(self) -> bool:
        return hashlib.sha256(self.state + self.companion).digest() == self.sha256


class Shelf(Protocol):
    """Where lines are kept. One writer, who took the epoch; any thread may read."""

    def head(self) -> int:
        """Return the sequence of the last line."""
        ...

    def append(self, lines: Sequence[Line]) -> None:
        """Keep the lines durably, all or none.

        Raise Fenced where another writer has taken over, Unavailable where they are not kept,
        OutcomeUnknown where that could not be found out.
        """
        ...

    def line(self, sequence: int) -> Line | None: ...
    def lines(self, *, after: int, limit: int) -> list[Line]: ...
    def ids(self, *, after: int, limit: int) -> list[tuple[int, str]]: ...
    def checkpoint(self) -> Checkpoint | None: ...
    def keep_checkpoint(self, checkpoint: Checkpoint, columns: Sequence[Column]) -> None:
        """Replace the checkpoint, and keep key columns not kept yet. Raise Unavailable."""
        ...

    def columns(self) -> list[Column]:
        """Return the key columns kept, oldest first, without a gap; none where one is damaged."""
        ...

    def close(self) -> None: ...


class Batch:
    """Bundles judged one after the other and kept together: see umoja.ledger.ledger.Batch."""

    def __init__(self, journal: "Journal") -> None:
        self._journal = journal
        self._undo: Undo = []
        self._lines: list[Line] = []
        self._digests: list[int] = []
        self._places: dict[str, int] = {}
        self._lasts: dict[int, int] = {}  # of accounts that this batch's leading transfers have
        self._next = journal.head + 1

    def post(self, bundle: Bundle) -> Verdict:
        journal = self._journal
        name = bundle.id
        place = self._places.get(name)
        if place is not None:
            known = row_of(self._lines[place])
            return Verdict.DONE if same(known, bundle) else Verdict.ID_DIFFERS
        digest = digest_of(name)
        before = journal.row_with(name, digest)
        if before is not None:
            return Verdict.DONE if same(before, bundle) else Verdict.ID_DIFFERS
        state, undo = journal.state, self._undo
        verdict = state.apply(bundle, undo)
        if verdict is not Verdict.DONE:
            return verdict
        source_before = target_before = 0
        transfers = bundle.transfers
        if transfers:
            lead, lasts = transfers[0], self._lasts
            source_before = lasts.get(lead.source) or state.last(lead.source)
            target_before = lasts.get(lead.target) or state.last(lead.target)
            lasts[lead.source] = lasts[lead.target] = self._next
        moves = encode_moves((transfers, bundle.opens))
        self._places[name] = len(self._lines)
        self._digests.append(digest)
        self._lines.append(
            (self._next, name, bundle.at, source_before, target_before, moves, bundle.story)
        )
        self._next += 1
        return verdict

    @property
    def next_sequence(self) -> int:
        return self._next

    def commit(self) -> None:
        if self._lines:
            self._journal.append(self._lines, self._digests, self._lasts)
        self._undo = []  # it stands
        self.abandon()

    def abandon(self) -> None:
        """Take back what was not committed."""
        self._journal.state.take_back(self._undo)
        self._lines, self._digests, self._places, self._lasts = [], [], {}, {}
        self._next = self._journal.head + 1


class Journal:
    """A Ledger that keeps its lines on a shelf. Every `post` is durable when it returns."""

    def __init__(
        self, shelf: Shelf, *, progress: Callable[[int, int], None] = lambda *_: None
    ) -> None:
        """Fold what the checkpoint does not hold yet; `progress` is told lines folded and to fold."""
        self._shelf = shelf
        self._lock = threading.Lock()
        self._is_unsure = False
        self._head = shelf.head()
        checkpoint = shelf.checkpoint()
        # A checkpoint is only a short cut: a damaged or a too new one is passed over.
        if checkpoint is None or not checkpoint.is_whole or checkpoint.sequence > self._head:
            checkpoint = None
        self._saved_at = checkpoint.sequence if checkpoint else 0
        self._companion = checkpoint.companion if checkpoint else b""
        self.state = State.restored(_read_snapshot(checkpoint.state)) if checkpoint else State()
        columns = [each for each in shelf.columns() if each.last <= self._head]
        self._keys = Keys(tuple(columns))
        self._fold(progress)

    def _fold(self, progress: Callable[[int, int], None]) -> None:
        todo = self._head - self._saved_at
        for sequence, name in self._pages(self._shelf.ids, self._keys.last):
            if sequence > self._saved_at:
                break
            self._keys.add(digest_of(name), sequence)
        for done, line in enumerate(self._pages(self._shelf.lines, self._saved_at), start=1):
            row = _readable(line)
            if row.sequence != self._saved_at + done:
                raise JournalDamaged(f"line {self._saved_at + done} is missing")
            fault = fold(self.state, row)
            if fault:
                raise JournalDamaged(fault)
            if row.sequence > self._keys.last:
                self._keys.add(digest_of(row.id), row.sequence)
            if done % TOLD_EVERY == 0:
                progress(done, todo)

    @staticmethod
    def _pages(read: Callable[..., list[tuple]], after: int) -> Iterator[tuple]:  # type: ignore[type-arg]
        while page := read(after=after, limit=PAGE):
            yield from page
            after = page[-1][0]

    # Writing

    @contextmanager
    def batch(self) -> Iterator[Batch]:
        with self._lock:
            if self._is_unsure:
                raise Unavailable("the journal's last commit is unclear: start again")
            batch = Batch(self)
            try:
                yield batch
            finally:
                batch.abandon()

    def post(self, bundles: Sequence[Bundle]) -> list[Verdict]:
        with self.batch() as batch:
            verdicts = [batch.post(bundle) for bundle in bundles]
            batch.commit()
        return verdicts

    def append(
        self, lines: Sequence[Line], digests: Sequence[int], lasts: Mapping[int, int]
    ) -> None:
        """Keep the lines of a batch; see Batch.commit for what is raised."""
        try:
            self._shelf.append(lines)
        except OutcomeUnknown:
            # Memory and journal may differ from here on: nobody writes until a new start has read.
            self._is_unsure = True
            raise
        add = self._keys.add
        for sequence, digest in enumerate(digests, start=lines[0][0]):
            add(digest, sequence)
        for account, sequence in lasts.items():
            self.state.touch(account, sequence)
        self._head = lines[-1][0]

    # Reading

    def row(self, bundle_id: str) -> Row | None:
        return self.row_with(bundle_id, digest_of(bundle_id))

    def row_with(self, bundle_id: str, digest: int) -> Row | None:
        """Return the line of an id whose digest is at hand."""
        for sequence in self._keys.at(digest):
            line = self._shelf.line(sequence)
            if line is not None and line[1] == bundle_id:
                return row_of(line)
        return None

    def at_sequence(self, sequence: int) -> Row | None:
        line = self._shelf.line(sequence)
        return None if line is None else row_of(line)

    def thread(self, thread: str) -> list[Row]:
        found: list[Row] = []
        while (row := self.row(f"{thread}.{len(found)}")) is not None:
            found.append(row)
        return found

    def rows(self, *, after: int = 0, limit: int | None = None) -> Iterator[Row]:
        left = limit
        while left is None or left > 0:
            page = self._shelf.lines(after=after, limit=PAGE if left is None else min(PAGE, left))
            if not page:
                return
            yield from map(row_of, page)
            after = page[-1][0]
            left = None if left is None else left - len(page)

    def touching(self, account: int, *, before: int = 0, limit: int = 50) -> list[Row]:
        found: list[Row] = []
        sequence = self.state.last(account)
        if before:
            # A page goes on from a line that the page before it ended with: no need to walk to it.
            known = self.at_sequence(before)
            if known is not None and leads(known, account):
                sequence = behind(known, account)
        while sequence and len(found) < limit:
            row = self.at_sequence(sequence)
            assert row is not None, "a line that is pointed at was committed"
            if not before or sequence < before:
                found.append(row)
            sequence = behind(row, account)
        return found

    @property
    def head(self) -> int:
        return self._head

    # Checkpoints

    def taken(self) -> Taken:
        with self._lock:
            if self._is_unsure:
                raise Unavailable("the journal's last commit is unclear: start again")
            return self.state.taken(self._head)

    def save(self, taken: Taken, companion: bytes = b"") -> None:
        state = _encode_snapshot(taken.sorted())
        settled = self._keys.settled.columns
        self._shelf.keep_checkpoint(
            Checkpoint(
                sequence=taken.sequence,
                state=state,
                companion=companion,
                sha256=hashlib.sha256(state + companion).digest(),
            ),
            [column for column in settled if column.last <= taken.sequence],
        )

    def saved(self) -> tuple[int, bytes]:
        return self._saved_at, self._companion

    def close(self) -> None:
        with self._lock:
            self._keys.close()
            self._shelf.close()


def fold(state: State, row: Row) -> str:
    """Apply one line; return what is wrong with it, or ''."""
    verdict = state.apply(Bundle(row.id, row.at, row.transfers, row.opens, row.story))
    if verdict is not Verdict.DONE:
        return f"line {row.sequence} breaks a rule: {verdict.name}"
    if row.transfers:
        lead = row.transfers[0]
        before = (state.touch(lead.source, row.sequence), state.touch(lead.target, row.sequence))
        if before != (row.source_before, row.target_before):
            return f"line {row.sequence} does not follow on the lines before it"
    return ""


def leads(row: Row, account: int) -> bool:
    """Tell whether the account is on either side of the leading transfer."""
    return bool(row.transfers) and account in {row.transfers[0].source, row.transfers[0].target}


def behind(row: Row, account: int) -> int:
    """Return the line before this one whose leading transfer has the account; 0: none."""
    return row.source_before if row.transfers[0].source == account else row.target_before


def same(row: Row, bundle: Bundle) -> bool:
    """Tell whether a bundle repeats a line: the same money moves; time and story may differ."""
    return row.transfers == bundle.transfers and row.opens == bundle.opens


def row_of(line: Line) -> Row:
    sequence, name, at, source_before, target_before, moves, story = line
    transfers, opens = _read_moves(moves)
    return Row(
        sequence=sequence,
        id=name,
        at=at,
        transfers=transfers,
        opens=opens,
        story=story,
        source_before=source_before,
        target_before=target_before,
    )


def _readable(line: Line) -> Row:
    try:
        return row_of(line)
    except msgspec.DecodeError as cause:
        raise JournalDamaged(f"line {line[0]} cannot be read: {cause}") from cause


def columns_whole(columns: Sequence[Column]) -> bool:
    """Tell whether columns follow on each other from the first line on."""
    first = 1
    for column in columns:
        if column.first != first or column.last < first:
            return False
        first = column.last + 1
    return True


def column_of(first: int, last: int, digests: bytes, lines: bytes, sha256: bytes) -> Column | None:
    """Return a kept column, or None where its bytes are not those that were kept."""
    if hashlib.sha256(digests + lines).digest() != sha256:
        return None
    return Column(first=first, last=last, digests=array("Q", digests), lines=array("I", lines))
