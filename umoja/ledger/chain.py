"""The chain: each committed batch is sealed with a digest of its lines and of the seal before it. No I/O.

One bit changed anywhere, a line or a seal missing or swapped, and the seals behind it do not fit.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

import msgspec

Line = tuple[int, str, int, int, int, bytes, bytes]
"""sequence, id, at, source_before, target_before, moves, story: as a database keeps a row."""

ORIGIN = bytes(32)
"""The digest before the first line."""

SPAN_MAX = 1_000_000  # lines of one batch; a seal that names more is damaged

_encode = msgspec.msgpack.Encoder().encode


class JournalDamaged(RuntimeError):
    """What is kept of a journal is not what was written, or breaks a rule.

    Restore it from a copy: see docs/journal.md. Nothing may be written to it meanwhile.
    """


class Seal(NamedTuple):
    """The lines `first` to `last` were committed together, by the writer of `epoch`.

    `digest` is of the seal before and of these lines; `at` is the last line's moment.
    """

    last: int
    first: int
    digest: bytes
    epoch: int
    at: int


def link(before: bytes, lines: Sequence[Line]) -> bytes:
    """Return the digest of lines in order, with all that lies before them."""
    return blake2b(before + _encode(lines), digest_size=32).digest()


def seal_of(before: bytes, lines: Sequence[Line], *, epoch: int = 0) -> Seal:
    """Return the seal of a batch, which has at least one line."""
    return Seal(lines[-1][0], lines[0][0], link(before, lines), epoch, lines[-1][2])


def follow(
    before: bytes, after: int, lines: Sequence[Line], seals: Sequence[Seal], *, where: str
) -> bytes:
    """Return the digest at the last seal, where lines and seals behind line `after` all fit.

    `where` names the journal or file to people. Raise JournalDamaged.
    """
    digest, place = before, 0
    for seal in seals:
        require_span(after, seal, where=where)
        part = lines[place : place + seal.last - after]
        for expected, line in enumerate(part, start=seal.first):
            if line[0] != expected:
                raise JournalDamaged(f"{where}: line {expected} is missing")
        if len(part) < seal.last - after:
            raise JournalDamaged(f"{where}: line {after + len(part) + 1} is missing")
        digest = link(digest, part)
        if digest != seal.digest:
            raise JournalDamaged(
                f"{where}: lines {seal.first} to {seal.last} are not what was written:"
                " they do not fit their seal"
            )
        place += len(part)
        after = seal.last
    return digest


def require_span(after: int, seal: Seal, *, where: str) -> None:
    """Raise JournalDamaged where a seal does not begin behind line `after`, or cannot be right."""
    if seal.first != after + 1:
        raise JournalDamaged(f"{where}: the seal of line {after + 1} is missing")
    if not 0 < seal.last - after <= SPAN_MAX:
        raise JournalDamaged(f"{where}: the seal of line {after + 1} cannot be read")
