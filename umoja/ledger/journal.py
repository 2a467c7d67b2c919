"""The journal: what every durable engine has in common, whatever database keeps its lines.

State and keys are the fold of the lines. A batch changes them in memory, its lines are appended in
one durable commit, and only then is anybody answered. A commit that fails takes the batch back.
"""

import gc
import hashlib
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from umoja.faults import OutcomeUnknown, Unavailable
from umoja.ledger.awaited import AwaitedLock
from umoja.ledger.chain import ORIGIN, JournalDamaged, Line, Seal, seal_of
from umoja.ledger.entries import Account, Bundle, Row, Transfer, Verdict
from umoja.ledger.keys import Column, Keys, digest_of
from umoja.ledger.page import page
from umoja.ledger.page_fold import fold_page
from umoja.ledger.roll import PAGE, Roll, Stock
from umoja.ledger.rules import Snapshot, State, Taken, Undo

encode_moves = msgspec.msgpack.Encoder().encode
_read_moves = msgspec.msgpack.Decoder(tuple[tuple[Transfer, ...], tuple[Account, ...]]).decode
_encode_snapshot = msgspec.msgpack.Encoder().encode
read_snapshot = msgspec.msgpack.Decoder(Snapshot).decode

log = structlog.get_logger()

_DONE = Verdict.DONE
_NOTHING_LOOKED: tuple[str | None, int, bool] = (None, 0, False)


class Fenced(Unavailable):
    """Another writer has taken over this journal: this one may not write any more."""


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


class Shelf(Stock, Protocol):
    """Where lines are kept. One writer, who took the epoch; any thread may read."""

    def append(self, lines: Sequence[Line], seal: Seal) -> None:
        """Keep the lines and their seal durably, all or none; the seal is given this epoch.

        Raise Fenced where another writer has taken over, Unavailable where they are not kept,
        OutcomeUnknown where that could not be found out.
        """
        ...

    def keep_seals(self, seals: Sequence[Seal]) -> None:
        """Keep seals of lines that were written before there were seals. Raise Fenced, Unavailable."""
        ...

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

    def __init__(self, journal: "Journal", before: "Batch | None" = None) -> None:
        """Begin behind the journal's last line, or behind a batch that is on its way to the shelf."""
        self._journal = journal
        self._before = before
        self._undo: Undo = []
        self._lines: list[Line] = []
        self._digests: dict[int, int] = {}  # of ids, and the lines they stand at
        self._twins: list[tuple[int, int]] = []  # likewise, of digests that another id has as well
        self._places: dict[str, int] = {}
        self.lasts: dict[int, int] = {}  # of accounts that this batch's leading transfers have
        self._lasts_before = {} if before is None else before.lasts  # it does not change any more
        # An id that was looked up and is not there, its digest, and whether another id has it too.
        self._looked = _NOTHING_LOOKED
        self._first = journal.head + 1 if before is None else before.next_sequence
        self._state, self._lines_of = journal.state, journal.lines_of
        self.is_ended = False

    def row(self, bundle_id: str) -> Row | None:
        digest, before = digest_of(bundle_id), self._before
        lines = self._lines_of(digest)
        is_twin = bool(lines) or self.has(digest) or (before is not None and before.has(digest))
        if not is_twin:
            self._looked = (bundle_id, digest, False)
            return None
        found = self.own(bundle_id)
        if found is None and before is not None:
            found = before.own(bundle_id)
        if found is None and lines:
            found = self._journal.row_among(lines, bundle_id)
        if found is None:
            self._looked = (bundle_id, digest, True)
        return found

    def has(self, digest: int) -> bool:
        """Tell whether an id of this batch has this digest."""
        return digest in self._digests

    def own(self, bundle_id: str) -> Row | None:
        """Return the line of a bundle that was done in this very batch."""
        place = self._places.get(bundle_id)
        return None if place is None else row_of(self._lines[place])

    def post(self, bundle: Bundle) -> Verdict:
        name, lines, places = bundle.id, self._lines, self._places
        if self._looked[0] != name:
            done = self.row(name)
            if done is not None:
                return Verdict.DONE if same(done, bundle) else Verdict.ID_DIFFERS
        state = self._state
        verdict = state.apply(bundle, self._undo)
        if verdict is not _DONE:
            return verdict
        sequence = self._first + len(lines)
        source_before = target_before = 0
        transfers = bundle.transfers
        if transfers:
            lead, lasts, before = transfers[0], self.lasts, self._lasts_before
            source, target = lead.source, lead.target
            source_before = lasts.get(source) or before.get(source) or state.last(source)
            target_before = lasts.get(target) or before.get(target) or state.last(target)
            lasts[source] = lasts[target] = sequence
        _, digest, is_twin = self._looked
        if is_twin:
            self._twins.append((digest, sequence))
        else:
            self._digests[digest] = sequence
        self._looked = _NOTHING_LOOKED
        places[name] = len(lines)
        moves = encode_moves((transfers, bundle.opens))
        lines.append((sequence, name, bundle.at, source_before, target_before, moves, bundle.story))
        return verdict

    @property
    def next_sequence(self) -> int:
        return self._first + len(self._lines)

    def commit(self) -> None:
        self.keep()
        self.stand()

    def keep(self) -> None:
        if self._lines:
            self._journal.keep(self._lines)

    def stand(self) -> None:
        assert self._before is None or self._before.is_ended, "the one before it comes first"
        if self._lines:
            self._journal.stand(self._digests, self._twins, self.lasts, self._lines[-1][0])
        self._undo = []
        self._clear()

    def end(self) -> None:
        if self.is_ended:
            return
        self._clear()
        self.is_ended = True
        self._before = None
        self._journal.take_back(self, self._undo)

    def _clear(self) -> None:
        self._lines, self._digests, self._places, self.lasts = [], {}, {}, {}
        self._twins = []
        self._looked = _NOTHING_LOOKED
        self._first = self._journal.head + 1


class Journal:
    """A Ledger that keeps its lines on a shelf. Every `post` is durable when it returns."""

    def __init__(
        self,
        shelf: Shelf,
        *,
        archive: Path | None = None,
        progress: Callable[[int, int], None] = lambda *_: None,
    ) -> None:
        """Fold what the checkpoint does not hold yet; `progress` is told lines folded and to fold.

        `archive` is the folder of archive files. Raise JournalDamaged where what is read is not what
        was written: nothing may be served from it.
        """
        self._shelf = shelf
        self._lock = AwaitedLock()  # held while batches are open
        self._open: list[Batch] = []
        self._is_unsure = False
        self._shut = ""  # why nothing may be written any more
        self._roll = Roll(shelf, archive)
        self._head = self._roll.head()
        checkpoint = shelf.checkpoint()
        # A checkpoint is only a short cut: a damaged one is passed over, and written anew.
        if checkpoint is not None and not checkpoint.is_whole:
            log.warning("journal.checkpoint.damaged", journal=shelf.where)
            checkpoint = None
        if checkpoint is not None and checkpoint.sequence > self._head:
            raise JournalDamaged(
                f"{shelf.where} ends at line {self._head}, but its checkpoint knows line"
                f" {checkpoint.sequence}: lines {self._head + 1} to {checkpoint.sequence} are missing"
            )
        self._saved_at = checkpoint.sequence if checkpoint else 0
        self._companion = checkpoint.companion if checkpoint else b""
        self.state = State.restored(read_snapshot(checkpoint.state)) if checkpoint else State()
        columns = [each for each in shelf.columns() if each.last <= self._head]
        self._keys = Keys(tuple(columns))
        self.lines_of = self._keys.at
        """Returns the lines at which an id with a digest may stand; usually none."""
        self._chain = self._sealed_before()
        with _without_collecting():
            self._fold(progress)

    def _sealed_before(self) -> bytes:
        """Seal what was written before there were seals; return the digest at the checkpoint."""
        shelf, until = self._shelf, self._shelf.unsealed()
        seals = shelf.seals(after=until - 1, limit=1) if until > 0 else []
        if until > 0 and not seals and until > self._roll.archive.last:
            log.info("journal.sealing", journal=shelf.where, lines=until)
            self._seal_old(until)
        digest = self._roll.digest_at(self._saved_at)
        if digest is None:
            raise JournalDamaged(
                f"{shelf.where}: the seal of line {self._saved_at}, where its checkpoint was taken,"
                " is missing"
            )
        return digest

    def _seal_old(self, until: int) -> None:
        after, digest = 0, b""
        while found := self._shelf.seals(after=after, limit=PAGE):
            after, digest = found[-1].last, found[-1].digest
        digest = digest or ORIGIN
        while after < until:
            cut = self._saved_at if after < self._saved_at else until  # a batch ended there
            lines = self._shelf.lines(after=after, limit=min(PAGE, cut - after))
            if not lines or lines[-1][0] - after != len(lines):
                raise JournalDamaged(f"{self._shelf.where}: a line behind {after} is missing")
            seal = seal_of(digest, lines)
            self._shelf.keep_seals([seal])
            after, digest = seal.last, seal.digest

    def _fold(self, progress: Callable[[int, int], None]) -> None:
        todo = self._head - self._saved_at
        for sequence, name in self._pages(self._roll.ids, self._keys.last):
            if sequence > self._saved_at:
                break
            self._keys.add(digest_of(name), sequence)
        done = 0
        for lines, digest in self._roll.sealed(after=self._saved_at, before=self._chain):
            assert digest, "a writer has sealed what was not"
            for begin in range(0, len(lines), PAGE):
                part = lines[begin : begin + PAGE]
                self._fold_lines(part)
                done += len(part)
                progress(done, todo)
            self._chain = digest
        if self._saved_at + done != self._head:
            raise JournalDamaged(
                f"{self._shelf.where} was to end at line {self._head},"
                f" but line {self._saved_at + done} is the last that can be read"
            )

    def _fold_lines(self, lines: Sequence[Line]) -> None:
        """Apply lines that fit their seals: all at once, or one by one where that does not do."""
        sequences, ids, at, source_before, target_before, moves, _ = zip(*lines, strict=True)
        try:
            taken_apart = page(
                sequences[0], ids, at, source_before, target_before, map(_read_moves, moves)
            )
        except msgspec.DecodeError as cause:
            raise JournalDamaged(
                f"{self._shelf.where}: lines {sequences[0]} to {sequences[-1]} cannot be read: {cause}"
            ) from cause
        if not fold_page(self.state, taken_apart):
            for line in lines:
                fault = fold(self.state, row_of(line))
                if fault:
                    raise JournalDamaged(f"{self._shelf.where}: {fault}")
        fresh = max(0, self._keys.last + 1 - sequences[0])
        if fresh < len(ids):
            self._keys.add_lines(list(map(digest_of, ids[fresh:])), sequences[0] + fresh)

    @staticmethod
    def _pages(read: Callable[..., list[tuple]], after: int) -> Iterator[tuple]:  # type: ignore[type-arg]
        while page := read(after=after, limit=PAGE):
            yield from page
            after = page[-1][0]

    # Writing

    def shut(self, why: str) -> None:
        """Write nothing any more, and say why, until the journal is opened anew. Reading goes on."""
        self._shut = self._shut or why

    def doubt(self, why: str) -> None:
        self._is_unsure = True
        self.shut(why)

    @contextmanager
    def batch(self) -> Iterator[Batch]:
        batch = self.begin()
        try:
            yield batch
        finally:
            batch.end()

    def begin(self, before: Batch | None = None) -> Batch:
        if before is None:
            self._lock.acquire()
            if self._shut:
                self._lock.release()
                raise Unavailable(self._shut)
        assert before is (self._open[-1] if self._open else None), "behind the newest, or alone"
        batch = Batch(self, before)
        self._open.append(batch)
        return batch

    @property
    def is_awaited(self) -> bool:
        return self._lock.is_awaited

    def take_back(self, batch: Batch, undo: Undo) -> None:
        """End an open batch, what it did taken back; behind the last one others get in."""
        assert not undo or batch is self._open[-1], "the newest is taken back first"
        self.state.take_back(undo)
        self._open.remove(batch)
        if not self._open:
            self._lock.release()

    def post(self, bundles: Sequence[Bundle]) -> list[Verdict]:
        with self.batch() as batch:
            verdicts = [batch.post(bundle) for bundle in bundles]
            batch.commit()
        return verdicts

    def keep(self, lines: Sequence[Line]) -> None:
        """Keep the lines of a batch; see umoja.ledger.ledger.Batch for what is raised."""
        if self._shut:  # since the batch was begun
            raise Unavailable(self._shut)
        try:
            seal = seal_of(self._chain, lines)
            self._shelf.append(lines, seal)
        except (Unavailable, JournalDamaged):
            raise
        except Exception as cause:
            # Memory and journal may differ from here on: nobody writes until a new start has read.
            self.doubt("the journal's last commit is unclear: start again")
            if isinstance(cause, OutcomeUnknown):
                raise
            log.exception("journal.bug", journal=self._shelf.where)
            raise OutcomeUnknown("the journal's last commit met a bug of ours") from cause
        self._chain = seal.digest

    def stand(
        self,
        digests: Mapping[int, int],
        twins: Sequence[tuple[int, int]],
        lasts: Mapping[int, int],
        last: int,
    ) -> None:
        """Count a batch as done that was kept up to line `last`."""
        self._keys.add_all(digests, twins, last)
        self.state.touch_all(lasts)
        self._head = last

    # Reading

    def row(self, bundle_id: str) -> Row | None:
        return self.row_among(self.lines_of(digest_of(bundle_id)), bundle_id)

    def row_among(self, lines: Sequence[int], bundle_id: str) -> Row | None:
        """Return the line of an id, which is at one of these lines or was never done."""
        for sequence in lines:
            line = self._roll.line(sequence)
            if line is not None and line[1] == bundle_id:
                return row_of(line)
        return None

    def at_sequence(self, sequence: int) -> Row | None:
        line = self._roll.line(sequence)
        return None if line is None else row_of(line)

    def thread(self, thread: str) -> list[Row]:
        found: list[Row] = []
        while (row := self.row(f"{thread}.{len(found)}")) is not None:
            found.append(row)
        return found

    def rows(self, *, after: int = 0, limit: int | None = None) -> Iterator[Row]:
        left = limit
        while left is None or left > 0:
            page = self._roll.lines(after=after, limit=PAGE if left is None else min(PAGE, left))
            if not page:
                return
            yield from map(row_of, page)
            after = page[-1][0]
            left = None if left is None else left - len(page)

    def stories(self, *, after: int = 0) -> Iterator[tuple[int, bytes]]:
        yield from self._pages(self._roll.stories, after)

    def sealed(self, *, after: int, before: bytes) -> Iterator[tuple[list[Line], bytes]]:
        """Yield lines behind `after` that fit their seals, with the chain's digest: see Roll.sealed."""
        return self._roll.sealed(after=after, before=before)

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

    @property
    def is_unsure(self) -> bool:
        return self._is_unsure

    # Checkpoints

    def taken(self) -> Taken:
        with self._lock:
            if self._shut:
                raise Unavailable(self._shut)
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
            self._roll.close()
            self._shelf.close()


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Let Python look for no garbage meanwhile: folding leaves none, and the looking took a quarter."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


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
