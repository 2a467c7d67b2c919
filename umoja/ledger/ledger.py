"""The port of the ledger: what every engine promises, whatever it is made of."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from umoja.ledger.entries import Bundle, Row, Verdict
from umoja.ledger.rules import State, Taken


class Batch(Protocol):
    """Bundles judged one after the other and kept together. Nobody else writes meanwhile."""

    def post(self, bundle: Bundle) -> Verdict:
        """Judge one bundle; what is done counts at once for the next ones of this batch.

        A done id posted again with the same transfers answers DONE and moves nothing; with
        other transfers ID_DIFFERS.
        """
        ...

    def row(self, bundle_id: str) -> Row | None:
        """Return the line of a bundle that was done, in this batch or before it.

        Whoever finds none and posts the id next has it looked up once and not twice.
        """
        ...

    @property
    def next_sequence(self) -> int:
        """Return the sequence that the next done bundle gets."""
        ...

    def commit(self) -> None:
        """Make all that was done durable, and count it as done. Repeating is harmless.

        Raise Unavailable: nothing of the batch was done, because it could not be kept or the ledger
        was shut meanwhile. Raise OutcomeUnknown: it may have been; the ledger refuses to write until
        it was opened anew.
        """
        ...

    def keep(self) -> None:
        """Make all that was done durable: the first half of `commit`, for a thread of its own.

        Nothing is posted to this batch meanwhile; one that was begun behind it may go on. Raise as
        `commit` does.
        """
        ...

    def stand(self) -> None:
        """Count what was kept as done: the second half, in the thread that posts."""
        ...

    def end(self) -> None:
        """Take back what does not stand, the newest batch first. Repeating is harmless."""
        ...


class Ledger(Protocol):
    """One market's money. One writer at a time; reading is allowed to anybody."""

    state: State
    """The fold of all that is done. Read it; never change it."""

    def batch(self) -> AbstractContextManager[Batch]:
        """Open a batch; leaving it without `commit` undoes all of it."""
        ...

    def begin(self, before: Any = None) -> Batch:
        """Open a batch that is ended by hand, with nobody else in between.

        `before` is the newest open batch of this ledger, all of it judged, perhaps not kept yet: what
        is judged now counts on it. Where it is not kept, this one is ended first, then that one.
        """
        ...

    @property
    def is_awaited(self) -> bool:
        """Tell whether a thread waits until no batch is open: let it in before you begin the next."""
        ...

    def shut(self, why: str) -> None:
        """Write nothing any more and raise Unavailable with `why`, until the journal is opened anew.

        For when what is served must no longer be trusted. Reading goes on.
        """
        ...

    def doubt(self, why: str) -> None:
        """Shut it because what is done is not known here any more: its process starts again."""
        ...

    def post(self, bundles: Sequence[Bundle]) -> list[Verdict]:
        """Post one batch of bundles, commit it, and return the answer to each."""
        ...

    def row(self, bundle_id: str) -> Row | None:
        """Return the journal's line for a bundle that was done."""
        ...

    def at_sequence(self, sequence: int) -> Row | None: ...

    def thread(self, thread: str) -> list[Row]:
        """Return the lines whose ids are `thread.0`, `thread.1`, … in order of doing."""
        ...

    def rows(self, *, after: int = 0, limit: int | None = None) -> Iterator[Row]:
        """Yield lines in order of doing, behind sequence `after`."""
        ...

    def stories(self, *, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield sequence and story of the lines behind `after`, in order, and decode nothing else."""
        ...

    def touching(self, account: int, *, before: int = 0, limit: int = 50) -> list[Row]:
        """Return the newest lines whose leading transfer has the account on either side.

        Below sequence `before` (0: from the newest), newest first, at most `limit`.
        """
        ...

    @property
    def is_unsure(self) -> bool:
        """Tell whether a commit's outcome is unknown: nothing more is written until it is opened anew."""
        ...

    @property
    def head(self) -> int:
        """Return the sequence of the last line; the next one done gets this plus one."""
        ...

    def taken(self) -> Taken:
        """Copy the state between two batches, quickly. Raise Unavailable where it is unclear."""
        ...

    def save(self, taken: Taken, companion: bytes = b"") -> None:
        """Write a checkpoint of a copy, with a companion's bytes of the same moment.

        It may take long and may run beside the writer. Raise Unavailable.
        """
        ...

    def saved(self) -> tuple[int, bytes]:
        """Return the sequence and the companion's bytes of the checkpoint this start used."""
        ...

    def close(self) -> None: ...
