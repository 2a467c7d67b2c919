"""One archive file: a stretch of a journal, compressed, that can be read, verified and replayed alone.

It begins with a page of readable text (which market, which lines, their totals, the chain's digests
before and behind them), then come blocks of whole batches with their seals, and at the end where each
block stands. Every block has a digest in that table, the table in the head, and the head in the
journal's row about the file. Blocks are compressed with zlib: at level 6 a line becomes a fifth of
itself and is read back in about a microsecond; lzma makes a seventh of it but reads four times as slow,
and zstd is not in the standard library.
"""

import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b, sha256
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from umoja.faults import Unavailable
from umoja.ledger.chain import JournalDamaged, Line, Seal, follow

HEAD_BYTES = 4096
LEVEL = 6
BLOCK_MAX = 256 << 20  # bytes of a block when it is unpacked
_MAGIC = b"UMOJA ARCHIVE 1\n"

_pack = msgspec.msgpack.Encoder().encode
_unpack_block = msgspec.msgpack.Decoder(tuple[list[Line], list[Seal]]).decode


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says of itself. Amounts are minor units by currency; moments micros since 1970."""

    market: str
    month: str
    first: int
    last: int
    lines: int
    batches: int
    transfers: int
    opened: int
    moved: Mapping[str, int]
    earliest: int
    latest: int
    before: str
    after: str
    written: int
    table_at: int
    table_bytes: int
    table_digest: str


class Place(NamedTuple):
    """Where a block stands: lines first to last, at `offset`, so many bytes with this digest."""

    first: int
    last: int
    offset: int
    size: int
    digest: bytes


Block = tuple[list[Line], list[Seal]]
"""Whole batches, and the seal of each."""

_unpack_table = msgspec.msgpack.Decoder(list[Place]).decode
_unpack_head = msgspec.json.Decoder(Head).decode


class Written(NamedTuple):
    """A file that stands whole on the disk, under a name of its own that nobody reads yet."""

    head: Head
    sha256: bytes


def write(path: Path, blocks: Iterable[Block], head: Callable[[], dict[str, object]]) -> Written:
    """Write a file and return once it is on the disk. `head` returns what it says of itself.

    It is asked after the last block has passed. Raise OSError.
    """
    table: list[Place] = []
    with path.open("wb") as file:
        file.write(bytes(HEAD_BYTES))
        for lines, seals in blocks:
            packed = zlib.compress(_pack((lines, seals)), LEVEL)
            table.append(
                Place(seals[0].first, seals[-1].last, file.tell(), len(packed), _digest(packed))
            )
            file.write(packed)
        where = _pack(table)
        at = file.tell()
        file.write(where)
        full = msgspec.convert(
            {
                **head(),
                "table_at": at,
                "table_bytes": len(where),
                "table_digest": _digest(where).hex(),
            },
            Head,
        )
        text = _MAGIC + msgspec.json.format(msgspec.json.encode(full), indent=1)
        assert len(text) < HEAD_BYTES, "a head is a page"
        page = text.ljust(HEAD_BYTES - 1) + b"\n"
        file.seek(0)
        file.write(page)
        file.flush()
        os.fsync(file.fileno())
    return Written(full, sha256(page).digest())


class ArchiveFile:
    """A file that is open for reading. Raise JournalDamaged wherever it is not what was written."""

    def __init__(self, path: Path, *, expected: bytes = b"") -> None:
        """Open a file. `expected` is the digest of its head, where somebody remembers it."""
        self.where = path.name
        try:
            self._file: IO[bytes] = path.open("rb")
        except OSError as cause:
            raise JournalDamaged(f"the archive file {path} cannot be read: {cause}") from cause
        try:
            page = self._file.read(HEAD_BYTES)
            self.head = self._head_of(page, expected)
            self.table = self._table()
        except BaseException:
            self._file.close()
            raise

    def _head_of(self, page: bytes, expected: bytes) -> Head:
        if expected and sha256(page).digest() != expected:
            raise JournalDamaged(f"{self.where}: its head is not what was written")
        try:
            if len(page) != HEAD_BYTES or not page.startswith(_MAGIC):
                raise JournalDamaged(f"{self.where} is no archive file, or its head is damaged")
            return _unpack_head(page[len(_MAGIC) :].strip())
        except msgspec.DecodeError as cause:
            raise JournalDamaged(f"{self.where}: its head cannot be read: {cause}") from cause

    def _table(self) -> list[Place]:
        size = os.fstat(self._file.fileno()).st_size
        if self.head.table_at + self.head.table_bytes != size:
            raise JournalDamaged(f"{self.where}: its end is missing, or something was added")
        data = self._read(self.head.table_at, self.head.table_bytes)
        if _digest(data).hex() != self.head.table_digest:
            raise JournalDamaged(f"{self.where}: its table of blocks is damaged")
        return _unpack_table(data)

    def block_of(self, sequence: int) -> int:
        """Return the number of the block that has a line of this file."""
        low, high = 0, len(self.table) - 1
        while low < high:
            middle = (low + high) >> 1
            low, high = (middle + 1, high) if self.table[middle].last < sequence else (low, middle)
        return low

    def block(self, number: int) -> Block:
        """Return one block, which is what was written."""
        place = self.table[number]
        packed = self._read(place.offset, place.size)
        if _digest(packed) != place.digest:
            raise JournalDamaged(
                f"{self.where}: lines {place.first} to {place.last} are not what was written"
            )
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(packed, BLOCK_MAX)
        if unpacker.unconsumed_tail:
            raise JournalDamaged(f"{self.where}: a block is larger than any batch")
        return _unpack_block(data)

    def blocks(self, *, after: int = 0) -> Iterator[Block]:
        """Yield the blocks that have lines behind `after`."""
        if after < self.head.last:
            for number in range(self.block_of(after + 1), len(self.table)):
                yield self.block(number)

    def close(self) -> None:
        self._file.close()

    def _read(self, offset: int, size: int) -> bytes:
        # Where the handle stands is nobody's business: several threads read the same file.
        if self._file.closed:
            raise Unavailable(f"{self.where} was closed")
        try:
            return os.pread(self._file.fileno(), size, offset)
        except OSError as cause:
            raise JournalDamaged(f"{self.where} cannot be read: {cause}") from cause


def verify(file: ArchiveFile) -> tuple[int, int]:
    """Read a whole file and return how many lines and batches it has. Raise JournalDamaged."""
    digest, after, lines_read, batches = bytes.fromhex(file.head.before), file.head.first - 1, 0, 0
    for lines, seals in file.blocks():
        digest = follow(digest, after, lines, seals, where=file.where)
        after = seals[-1].last
        lines_read += len(lines)
        batches += len(seals)
    told = (file.head.after, file.head.last, file.head.lines, file.head.batches)
    if (digest.hex(), after, lines_read, batches) != told:
        raise JournalDamaged(f"{file.where}: what it holds is not what its head says")
    return lines_read, batches


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()
