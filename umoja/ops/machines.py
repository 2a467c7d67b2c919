"""Tokens of machines: what may send us alerts and figures, or read ours. Only digests are kept."""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from umoja.clock import Clock, from_micros, to_micros
from umoja.faults import Fault
from umoja.ops.audit import AuditLog
from umoja.storage.port import NUMBER_MAX, Row, Sql

SCOPES: dict[str, str] = {
    "alerts": "the Alertmanager API and webhooks",
    "otlp": "metrics and logs by OTLP",
    "flags": "feature flags",
    "tickets": "tickets, alarms, changes and problems of partners",
    "metrics": "read /metrics",
}
"""What a token may be for, and what that opens."""

PREFIX = "umj_"
TOKEN_MAX = 200
TOKENS_MAX = 1_000
NAME_MAX = 80
USED_EVERY = 60 * 1_000_000
"""A token's last use is written no more often."""

_SPAN = re.compile(r"([1-9][0-9]{0,4})([hdw])")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


log = structlog.get_logger()


class TokenRefused(ValueError):
    """A token cannot be made. It says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A token as it is listed; the token itself nobody can tell any more."""

    number: int
    name: str
    scopes: frozenset[str]
    made_by: str
    made_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    used_at: datetime | None

    def state(self, now: datetime) -> str:
        """Return how it stands: valid, expired or revoked."""
        if self.revoked_at is not None:
            return "revoked"
        is_over = self.expires_at is not None and self.expires_at <= now
        return "expired" if is_over else "valid"


class Machines:
    """Makes tokens and knows their holders. Calls may come from any thread, and raise Faults."""

    def __init__(self, database: Sql, *, clock: Clock, audit: AuditLog) -> None:
        self._database = database
        self._clock = clock
        self._audit = audit

    def make(
        self, *, name: str, scopes: frozenset[str], expires: datetime | None, actor: str
    ) -> tuple[Machine, str]:
        """Make a token; return it listed, and its text, which is told this once. Raise TokenRefused."""
        known = ", ".join(SCOPES)
        if not scopes or not scopes <= SCOPES.keys():
            raise TokenRefused(f"a token has scopes among {known}")
        now = self._clock.now()
        if expires is not None and expires <= now:
            raise TokenRefused("a token expires in the future")
        label = " ".join("".join(c if c.isprintable() else " " for c in name).split())
        if not label or len(label) > NAME_MAX:
            raise TokenRefused(f"a token has a name of at most {NAME_MAX} characters")
        text = PREFIX + secrets.token_urlsafe(32)
        with self._database.transaction():
            row = self._database.one(
                "SELECT count(*) FROM machine_tokens WHERE revoked_at = 0"
                " AND (expires_at = 0 OR expires_at > :now)",
                now=to_micros(now),
            )
            if row is not None and int(row[0]) >= TOKENS_MAX:
                raise TokenRefused(f"there are {TOKENS_MAX} tokens already: revoke some first")
            rows = self._database.query(
                "INSERT INTO machine_tokens (name, scopes, digest, made_by, made_at, expires_at,"
                " revoked_at, used_at) VALUES (:name, :scopes, :digest, :actor, :now, :expires, 0, 0)"
                " RETURNING *",
                name=label,
                scopes=" ".join(sorted(scopes)),
                digest=_digest(text),
                actor=actor,
                now=to_micros(now),
                expires=to_micros(expires) if expires else 0,
            )
            made = _machine(rows[0])
            self._audit.record_inside(
                actor=actor,
                action="token made",
                detail=f"{made.number} {label}: {' '.join(sorted(scopes))}",
            )
        return made, text

    def holder(self, text: str, scope: str) -> Machine | None:
        """Return whose token this is where it is valid now; None where not.

        Raise Unavailable where the tokens cannot be read.
        """
        if not text or len(text) > TOKEN_MAX or not text.isascii():
            return None
        digest = _digest(text)
        row = self._database.one(
            "SELECT * FROM machine_tokens WHERE digest = :digest", digest=digest
        )
        # What is looked up is a digest of 256 bits of chance: how long that takes tells nothing.
        if row is None or not hmac.compare_digest(bytes(row["digest"]), digest):
            return None
        found = _machine(row)
        now = self._clock.now()
        if found.state(now) != "valid" or scope not in found.scopes:
            return None
        if to_micros(now) - int(row["used_at"]) >= USED_EVERY:
            self._note_use(found.number, to_micros(now))
        return found

    def _note_use(self, number: int, now: int) -> None:
        """Write down that a token was used; where that cannot be written, it is used all the same."""
        try:
            self._database.run(
                "UPDATE machine_tokens SET used_at = :now WHERE number = :number",
                now=now,
                number=number,
            )
        except Fault as cause:
            log.warning("ops.machines.use_unwritten", token=number, cause=str(cause))

    def browse(self) -> list[Machine]:
        """Return all tokens, newest first, at most 1,000."""
        return [
            _machine(row)
            for row in self._database.query(
                "SELECT * FROM machine_tokens ORDER BY number DESC LIMIT 1000"
            )
        ]

    def revoke(self, number: int, *, actor: str) -> bool:
        """End a token at once; False where there is none. Repeating is harmless."""
        if not 0 < number <= NUMBER_MAX:
            return False
        with self._database.transaction():
            row = self._database.one(
                "SELECT * FROM machine_tokens WHERE number = :number", number=number
            )
            if row is None:
                return False
            if row["revoked_at"] == 0:
                self._database.run(
                    "UPDATE machine_tokens SET revoked_at = :now WHERE number = :number",
                    now=to_micros(self._clock.now()),
                    number=number,
                )
                self._audit.record_inside(
                    actor=actor, action="token revoked", detail=f"{number} {row['name']}"
                )
        return True


def expiry(text: str, now: datetime) -> datetime:
    """Read when a token ends: 12h, 90d, 4w, or a moment with its zone. Raise TokenRefused."""
    found = _SPAN.fullmatch(text.strip())
    if found is not None:
        return now + timedelta(**{_UNITS[found[2]]: int(found[1])})
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as cause:
        raise TokenRefused(
            "an end is 12h, 90d, 4w or a moment such as 2027-01-31T12:00Z"
        ) from cause
    if moment.tzinfo is None:
        raise TokenRefused("a moment has a zone: 2027-01-31T12:00Z")
    return moment


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _machine(row: Row) -> Machine:
    def when(name: str) -> datetime | None:
        return from_micros(row[name]) if row[name] else None

    return Machine(
        number=row["number"],
        name=row["name"],
        scopes=frozenset(row["scopes"].split()),
        made_by=row["made_by"],
        made_at=from_micros(row["made_at"]),
        expires_at=when("expires_at"),
        revoked_at=when("revoked_at"),
        used_at=when("used_at"),
    )
