"""The lease: who writes a journal now, and how long a second start leaves it alone.

The epoch keeps the journal safe: a writer that lost it cannot commit. The lease only keeps two
starts from fencing each other off by mistake. It is counted on the database's clock, so that machines
whose own clocks disagree do not take it from each other; it is renewed by commits and by time, and let
go by a stop in order.
"""

import os
import secrets
import socket
from dataclasses import dataclass

from umoja.clock import from_micros
from umoja.faults import Unavailable

LEASE_S = 15
_MICROS = 1_000_000


class Held(Unavailable):
    """Another writer holds this journal, and its lease has not run out. Nothing was changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """The row that says who may write. `until` in microseconds since 1970; 0: let go."""

    epoch: int
    holder: str
    token: str
    until: int


def require_free(writer: Writer, *, now: int) -> None:
    """Raise Held where another's lease has not run out at `now`, in microseconds since 1970."""
    if writer.until > now:
        ends = from_micros(writer.until).strftime("%H:%M:%S")
        raise Held(
            f"the journal is held by {writer.holder} until {ends} UTC or longer:"
            " stop that one, wait until its lease has run out, or take over"
        )


def ends_at(now: int, lease_s: int) -> int:
    """Return when a lease taken `now` runs out, both in microseconds since 1970."""
    return now + lease_s * _MICROS


def this_process() -> str:
    """Return how this process is named to people: its machine and its number."""
    return f"{socket.gethostname()} process {os.getpid()}"


def fresh_token() -> str:
    """Return what no other writer, and no other start of this one, is called."""
    return secrets.token_hex(8)
