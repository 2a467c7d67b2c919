"""The audit log: every act of staff, in a chain in which no link can be changed unnoticed.

Each entry's digest covers all its fields and the digest before it; how many entries there are and
the last digest stand beside the log, so that entries cut off at its end are missed too. Whoever can
write the file can forge all of it anew: the log tells its last digest to the program's own log when
it is closed, and `head` to whoever keeps it elsewhere.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime

import msgspec

from umoja.clock import Clock, from_micros, to_micros
from umoja.storage.port import Row, Sql

ACTOR_MAX = 80
ACTION_MAX = 40
MARKET_MAX = 8
DETAIL_MAX = 2_000
PAGE_MAX = 500
VERIFY_AT_ONCE = 1_000

_ORIGIN = bytes(32)
_STRANGE = "\N{REPLACEMENT CHARACTER}"

_encode = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One act. Its number counts from 1 without gaps; `digest` is hexadecimal."""

    number: int
    at: datetime
    actor: str
    action: str
    market: str
    detail: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What reading the whole log showed: where the chain is broken first, or None, and why."""

    entries: int
    broken_at: int | None
    reason: str


class AuditLog:
    """Writes and reads the log. Any thread and any process may write; entries never interleave."""

    def __init__(self, database: Sql, *, clock: Clock) -> None:
        """Take a migrated file."""
        self._database = database
        self._clock = clock

    def record(self, *, actor: str, action: str, market: str = "", detail: str = "") -> Entry:
        """Write an act down, durably. A Fault says that it was not, or may not have been, written.

        Texts are cut to their greatest length; control characters and broken letters are replaced.
        """
        with self._database.transaction():
            return self.record_inside(actor=actor, action=action, market=market, detail=detail)

    def record_inside(
        self, *, actor: str, action: str, market: str = "", detail: str = ""
    ) -> Entry:
        """Write an act down in the caller's transaction: both are kept, or neither."""
        head = self._head()
        number, previous = head[0] + 1, head[1]
        values: dict[str, str | int] = {
            "number": number,
            "at": to_micros(self._clock.now()),
            "actor": _clean(actor, ACTOR_MAX),
            "action": _clean(action, ACTION_MAX),
            "market": _clean(market, MARKET_MAX),
            "detail": _clean(detail, DETAIL_MAX),
        }
        digest = _digest(previous, values)
        self._database.run(
            "INSERT INTO audit VALUES (:number, :at, :actor, :action, :market, :detail, :digest)",
            **values,
            digest=digest,
        )
        self._database.run(
            "UPDATE audit_head SET entries = :number, digest = :digest",
            number=number,
            digest=digest,
        )
        row = self._database.one("SELECT * FROM audit WHERE number = :number", number=number)
        assert row is not None, "it was written a moment ago"
        return _entry(row)

    def recent(self, *, limit: int = 50, before: int = 0) -> list[Entry]:
        """Return entries, newest first, at most 500; those before the number `before`, where given."""
        rows = self._database.query(
            "SELECT * FROM audit WHERE :before <= 0 OR number < :before"
            " ORDER BY number DESC LIMIT :limit",
            before=min(before, 2**62),
            limit=max(0, min(limit, PAGE_MAX)),
        )
        return [_entry(row) for row in rows]

    def head(self) -> tuple[int, str]:
        """Return how many entries there are and the last digest, to be kept in another place."""
        entries, digest = self._head()
        return entries, digest.hex()

    def verify(self) -> Verified:
        """Read the whole log and say whether the chain holds. It may run beside writers."""
        number, digest = 0, _ORIGIN
        while True:
            rows = self._database.query(
                "SELECT * FROM audit WHERE number > :number ORDER BY number LIMIT :limit",
                number=number,
                limit=VERIFY_AT_ONCE,
            )
            for row in rows:
                reason = _fault_of(row, number + 1, digest)
                if reason:
                    return Verified(entries=number, broken_at=number + 1, reason=reason)
                number, digest = row["number"], bytes(row["digest"])
            if len(rows) == VERIFY_AT_ONCE:
                continue
            head = self._database.one("SELECT entries, digest FROM audit_head")
            if head is None:
                reason = "the count that was kept beside the log is missing"
                return Verified(entries=number, broken_at=number + 1, reason=reason)
            entries, last = int(head["entries"]), bytes(head["digest"])
            if entries <= number:
                break
            newer = self._database.one(
                "SELECT 1 FROM audit WHERE number > :number LIMIT 1", number=number
            )
            if newer is None:
                reason = f"entries {number + 1} to {entries} were removed from the end"
                return Verified(entries=number, broken_at=number + 1, reason=reason)
        if entries < number:
            reason = f"the log should end with entry {entries}"
            return Verified(entries=number, broken_at=entries + 1, reason=reason)
        if last != digest:
            reason = "the last digest is not the one that was kept beside the log"
            return Verified(entries=number, broken_at=number, reason=reason)
        return Verified(entries=number, broken_at=None, reason="")

    def _head(self) -> tuple[int, bytes]:
        row = self._database.one("SELECT entries, digest FROM audit_head")
        assert row is not None, "the plan makes the one row"
        return int(row["entries"]), bytes(row["digest"])


def _fault_of(row: Row, number: int, previous: bytes) -> str:
    """Return what is wrong with the entry that should bear this number, or ''."""
    if row["number"] != number:
        return f"entry {number} is missing"
    values = {name: row[name] for name in ("number", "at", "actor", "action", "market", "detail")}
    if bytes(row["digest"]) != _digest(previous, values):
        return "the entry is not what was written, or one before it was exchanged"
    return ""


def _digest(previous: bytes, values: dict[str, str | int]) -> bytes:
    """Digest a link: length-prefixed fields, so that no two different entries look alike."""
    fields = [values[name] for name in ("number", "at", "actor", "action", "market", "detail")]
    return hashlib.sha256(previous + _encode(fields)).digest()


def _clean(text: str, most: int) -> str:
    sound = text[:most].encode("utf-8", "replace").decode()
    return "".join(each if each.isprintable() or each == "\n" else _STRANGE for each in sound)


def _entry(row: Row) -> Entry:
    return Entry(
        number=row["number"],
        at=from_micros(row["at"]),
        actor=row["actor"],
        action=row["action"],
        market=row["market"],
        detail=row["detail"],
        digest=bytes(row["digest"]).hex(),
    )
