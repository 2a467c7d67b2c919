"""The roll: all lines of a journal in order, those in archive files and those in the database."""

import threading
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from umoja.ledger.archive_file import ArchiveFile, Block
from umoja.ledger.chain import ORIGIN, JournalDamaged, Line, Seal, follow, require_span

PAGE = 5_000
SEALS = 5_000
BLOCKS_KEPT = 16
FILES_OPEN = 8


class Segment(NamedTuple):
    """The database's row about an archive file: its lines, its head's digest, the chain around it."""

    last: int
    first: int
    file: str
    sha256: bytes
    before: bytes
    after: bytes
    at: int


class Stock(Protocol):
    """What a database keeps of a journal. Any thread may read."""

    @property
    def where(self) -> str:
        """Return what people call this journal."""
        ...

    def head(self) -> int:
        """Return the sequence of the last line in the database."""
        ...

    def line(self, sequence: int) -> Line | None: ...
    def lines(self, *, after: int, limit: int) -> list[Line]: ...
    def ids(self, *, after: int, limit: int) -> list[tuple[int, str]]: ...
    def stories(self, *, after: int, limit: int) -> list[tuple[int, bytes]]: ...
    def seals(self, *, after: int, limit: int) -> list[Seal]:
        """Return seals whose last line is behind `after`, in order."""
        ...

    def segments(self) -> list[Segment]:
        """Return what lies in archive files, in order."""
        ...

    def unsealed(self) -> int:
        """Return the last line from before there were seals; -1: nobody has looked yet."""
        ...


class Archive:
    """The archive files of one journal. A few stay open, and a few blocks unpacked."""

    def __init__(self, folder: Path | None, segments: Callable[[], list[Segment]]) -> None:
        self._folder = folder
        self._ask = segments
        self._lock = threading.Lock()
        self._segments: list[Segment] = []
        self._lasts: list[int] = []
        self._files: OrderedDict[str, ArchiveFile] = OrderedDict()
        self._blocks: OrderedDict[tuple[str, int], Block] = OrderedDict()
        self.refresh()

    @property
    def last(self) -> int:
        """Return the last line that lies in a file, as of the last look; 0: none."""
        return self._lasts[-1] if self._lasts else 0

    @property
    def segments(self) -> list[Segment]:
        return list(self._segments)

    def refresh(self) -> int:
        """Look again which lines lie in files, and return the last of them."""
        found = self._ask()
        with self._lock:
            after, digest = 0, ORIGIN
            for each in found:
                if each.first != after + 1 or each.before != digest:
                    raise JournalDamaged(
                        f"the archive's row of {each.file} does not follow on the one before it"
                    )
                after, digest = each.last, each.after
            self._segments, self._lasts = found, [each.last for each in found]
        return self.last

    def line(self, sequence: int) -> Line | None:
        """Return a line that lies in a file. Raise JournalDamaged."""
        if not 0 < sequence <= self.last:
            return None
        lines, _ = self._block(sequence)
        return lines[sequence - lines[0][0]]

    def lines(self, *, after: int, limit: int) -> list[Line]:
        """Return lines behind `after` that lie in files, at most `limit`; maybe fewer."""
        if after >= self.last:
            return []
        lines, _ = self._block(after + 1)
        start = after + 1 - lines[0][0]
        return lines[start : start + limit]

    def batches(self, after: int) -> Block:
        """Return batches of a block behind line `after`, at which a batch must end."""
        lines, seals = self._block(after + 1)
        if lines[0][0] > after:
            return lines, seals
        return [line for line in lines if line[0] > after], [s for s in seals if s.last > after]

    def digest_at(self, sequence: int) -> bytes | None:
        """Return the chain's digest at a line, if a batch ends there."""
        if not 0 < sequence <= self.last:
            return None
        _, seals = self._block(sequence)
        return next((seal.digest for seal in seals if seal.last == sequence), None)

    def file_of(self, segment: Segment) -> ArchiveFile:
        """Open a file once more, for whoever reads all of it and closes it. Raise JournalDamaged."""
        if self._folder is None:
            raise JournalDamaged(
                f"lines {segment.first} to {segment.last} are in {segment.file}: say in which folder"
            )
        return ArchiveFile(self._folder.joinpath(segment.file), expected=segment.sha256)

    def close(self) -> None:
        with self._lock:
            for file in self._files.values():
                file.close()
            self._files.clear()
            self._blocks.clear()

    def _block(self, sequence: int) -> Block:
        with self._lock:
            segment = self._segments[bisect_left(self._lasts, sequence)]
            file = self._files.get(segment.file)
            if file is None:
                file = self._files[segment.file] = self.file_of(segment)
                if len(self._files) > FILES_OPEN:
                    self._files.popitem(last=False)[1].close()
            self._files.move_to_end(segment.file)
            number = file.block_of(sequence)
            name = (segment.file, number)
            block = self._blocks.get(name)
            if block is None:
                block = self._blocks[name] = file.block(number)
                if len(self._blocks) > BLOCKS_KEPT:
                    self._blocks.popitem(last=False)
            self._blocks.move_to_end(name)
            return block


class Roll:
    """Reads a journal from its first line on, wherever the lines are. Any thread may."""

    def __init__(self, stock: Stock, folder: Path | None, *, is_bare: bool = False) -> None:
        """Take the journal's database and the folder of its archive files.

        `is_bare`: no program that knows of seals has opened it yet.
        """
        self._stock = stock
        self._is_bare = is_bare
        self.archive = Archive(folder, list if is_bare else stock.segments)

    def head(self) -> int:
        return max(self._stock.head(), self.archive.refresh())

    def line(self, sequence: int) -> Line | None:
        line = self._stock.line(sequence)
        if line is None and sequence > 0:
            if sequence > self.archive.last:
                self.archive.refresh()
            line = self.archive.line(sequence)
        return line

    def lines(self, *, after: int, limit: int) -> list[Line]:
        """Return lines behind `after`, at most `limit`; none only where there is none."""
        if after < self.archive.last:
            return self.archive.lines(after=after, limit=limit)
        found = self._stock.lines(after=after, limit=limit)
        if (not found or found[0][0] != after + 1) and after < self.archive.refresh():
            return self.archive.lines(after=after, limit=limit)  # they moved there meanwhile
        return found

    def ids(self, *, after: int, limit: int) -> list[tuple[int, str]]:
        if after < self.archive.last:
            return [(line[0], line[1]) for line in self.archive.lines(after=after, limit=limit)]
        found = self._stock.ids(after=after, limit=limit)
        if (not found or found[0][0] != after + 1) and after < self.archive.refresh():
            return self.ids(after=after, limit=limit)
        return found

    def stories(self, *, after: int, limit: int) -> list[tuple[int, bytes]]:
        if after < self.archive.last:
            return [(line[0], line[6]) for line in self.archive.lines(after=after, limit=limit)]
        found = self._stock.stories(after=after, limit=limit)
        if (not found or found[0][0] != after + 1) and after < self.archive.refresh():
            return self.stories(after=after, limit=limit)
        return found

    def digest_at(self, sequence: int) -> bytes | None:
        """Return the chain's digest at a line, or None where no batch ends there."""
        if sequence == 0:
            return ORIGIN
        found = self._stock.seals(after=sequence - 1, limit=1)
        if found and found[0].last == sequence:
            return found[0].digest
        self.archive.refresh()
        return self.archive.digest_at(sequence)

    def sealed(
        self, *, after: int = 0, before: bytes = ORIGIN
    ) -> Iterator[tuple[list[Line], bytes]]:
        """Yield lines behind `after` that fit their seals, page by page, and the digest at each end.

        `before` is the digest at `after`, where a batch must end. Lines from before there were seals
        come with the digest b'' and unproven. Raise JournalDamaged.
        """
        stock = self._stock
        if self._is_bare:
            yield from self._unproven(after)
            return
        while True:
            if after < self.archive.refresh():
                lines, seals = self.archive.batches(after)
            else:
                found = stock.seals(after=after, limit=SEALS)
                if not found and not stock.lines(after=after, limit=1):
                    return
                if not found:
                    # It may have been written, or moved, since we asked.
                    if stock.seals(after=after, limit=1) or after < self.archive.refresh():
                        continue
                    if 0 <= stock.unsealed() <= after:
                        raise JournalDamaged(
                            f"{stock.where}: the seal of line {after + 1} is missing"
                        )
                    yield from self._unproven(after)
                    return
                if found[0].first != after + 1 and after < self.archive.refresh():
                    continue
                seals = self._few(after, found)
                lines = stock.lines(after=after, limit=seals[-1].last - after)
                if (not lines or lines[0][0] != after + 1) and after < self.archive.refresh():
                    continue
            before = follow(before, after, lines, seals, where=stock.where)
            after = seals[-1].last
            yield lines, before

    def _unproven(self, after: int) -> Iterator[tuple[list[Line], bytes]]:
        while lines := self._stock.lines(after=after, limit=PAGE):
            yield lines, b""
            after = lines[-1][0]

    def _few(self, after: int, seals: list[Seal]) -> list[Seal]:
        """Return as many of the seals as have about a page of lines."""
        at, found = after, []
        for seal in seals:
            require_span(at, seal, where=self._stock.where)
            found.append(seal)
            at = seal.last
            if at - after >= PAGE:
                break
        return found

    def close(self) -> None:
        self.archive.close()
