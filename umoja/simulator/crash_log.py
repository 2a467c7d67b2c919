"""A client's own log in the crash harness: what it asked and what it was told, a line each.

A line is in the file before the next thing is done, so that what a client knew is known even where
the client itself was ended. Moments are nanoseconds of the machine's stopwatch, one for all processes.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec


class Asked(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Attempt `n` of a client: a call was sent. `key` is the idempotency key of the payment it is about.

    `does` is pay, confirm, reverse, consent, find or read; `party` is whose money is read.
    """

    n: int
    at: int
    does: str
    key: str = ""
    payer: int = 0
    payee: int = 0
    minor: int = 0
    is_confirmed: bool = False
    party: int = 0


class Told(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What attempt `n` was told, and when.

    `how`: done, refused for good (it was kept), turned_away (not kept: it may be asked again),
    nothing (happened), unknown (it may have happened, or the connection broke), absent (there is
    no such payment), balance.
    """

    n: int
    at: int
    how: str
    word: str = ""
    order: str = ""
    receipt: str = ""
    state: str = ""
    available: int = 0
    held: int = 0


Entry = Asked | Told

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Entry).decode


class Log:
    """Writes one client's log."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, entry: Entry) -> None:
        line = _encode(entry) + b"\n"
        assert os.write(self._file, line) == len(line), "a short line is written whole"

    def close(self) -> None:
        os.close(self._file)


def read(path: Path) -> list[Entry]:
    """Return what a log says; a last line that was cut off is left out."""
    return entries(path.read_bytes().splitlines(keepends=True))


def entries(lines: Iterable[bytes]) -> list[Entry]:
    return [_decode(line) for line in lines if line.endswith(b"\n")]
