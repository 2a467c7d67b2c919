"""Staff: who may do what at the centre, their passwords and their sessions.

Signing in, out, failing to, and every change of staff are written to the audit log here; what staff
do beyond that is recorded by whoever does it for them.
"""

import hashlib
import json
import math
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import structlog
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from umoja.clock import Clock, to_micros
from umoja.faults import Busy, Fault
from umoja.ops.audit import AuditLog
from umoja.ops.throttle import Throttle
from umoja.storage.port import Row, Sql

EVERYWHERE = "*"
"""Stands for every market, and for what is of no market."""

FIRST = "administrator"

RIGHTS: dict[str, frozenset[str]] = {
    "see": frozenset({"viewer", "engineer", "administrator"}),
    "note_incident": frozenset({"engineer", "administrator"}),
    "work_incident": frozenset({"engineer", "administrator"}),
    "manage_duty": frozenset({"administrator"}),
    "allow_remedies": frozenset({"administrator"}),
    "draft_money": frozenset({"engineer", "administrator"}),
    "release_money": frozenset({"administrator"}),
    "publish": frozenset({"engineer", "administrator"}),
    "sandbox": frozenset({"engineer", "administrator"}),
    "see_audit": frozenset({"administrator"}),
    "manage_staff": frozenset({"administrator"}),
}
"""Each action, and the roles that allow it in the markets in which they are held."""

ROLES = frozenset().union(*RIGHTS.values())

PASSWORD_LEAST = 12
PASSWORD_MOST = 200
SESSION_FOR = timedelta(hours=12)
IDLE_FOR = timedelta(hours=2)
SEEN_EVERY = timedelta(minutes=1)  # a session's last use is written no more often
SESSIONS_MAX = 20  # of one member; the oldest give way
BROWSE_MAX = 1_000

PAIR_FREE = 5  # failures of a name from one address, before it waits
ADDRESS_FREE = 20  # of all names from one address
NAME_FREE = 50  # of a name from all addresses: more, so that nobody is easily locked out by others

_NAME = re.compile(r"[a-z][a-z0-9._-]{1,39}")
_MICROSECOND = timedelta(microseconds=1)

log = structlog.get_logger()


class StaffRefused(ValueError):
    """A name, a password or a role cannot be taken. It says which, in a sentence for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One of staff, and her roles by market; `*` is every market."""

    name: str
    roles: Mapping[str, frozenset[str]]


class Staff:
    """Keeps staff. Calls may come from any thread; those with a password take a tenth of a second.

    Every call that writes raises a Fault where it could not be written.
    """

    def __init__(
        self,
        database: Sql,
        *,
        clock: Clock,
        audit: AuditLog,
        markets: Iterable[str],
        hasher: PasswordHasher | None = None,
    ) -> None:
        """Take a migrated file. `hasher` is given in tests only, where it is cheap."""
        self._database = database
        self._clock = clock
        self._audit = audit
        self._markets = frozenset(markets)
        self._hasher = hasher or PasswordHasher()
        self._throttle = Throttle(clock)
        self._nobody = ""

    # Signing in

    def first_administrator(self) -> str | None:
        """Make the first administrator where there is no staff; return her password, told once."""
        if self._database.one("SELECT 1 FROM staff LIMIT 1") is not None:
            return None
        password = "-".join(secrets.token_hex(2) for _ in range(6))
        kept = self._hasher.hash(password)
        with self._database.transaction():
            if self._database.one("SELECT 1 FROM staff LIMIT 1") is not None:
                return None  # another process was faster
            self._insert(FIRST, kept, {EVERYWHERE: ["administrator"]})
            self._audit.record_inside(
                actor="system", action="staff_added", detail=f"{FIRST}: the first administrator"
            )
        return password

    def sign_in(self, name: str, password: str, *, address: str) -> str | None:
        """Return the token of a new session, or None where name or password is wrong.

        None says no more, and takes as long for a name that nobody has. Raise Busy, with the
        seconds to wait, after repeated failures of the name or of the address.
        """
        name = name[:80].strip().lower()
        keys = {(name, address[:64]): PAIR_FREE, ("", address[:64]): ADDRESS_FREE, name: NAME_FREE}
        wait_s = max(self._throttle.wait_s(key) for key in keys)
        if wait_s > 0:
            raise Busy("signing in", retry_after_s=math.ceil(wait_s))
        row = self._row(name)
        if not self._is_right(row, password):
            for key, free in keys.items():
                self._throttle.fail(key, free=free)
            # A password typed into the field of the name must not be kept: only names we know.
            known = name if row is not None else "unknown"
            self._audit.record(actor=known, action="sign_in_failed", detail=f"from {address[:64]}")
            return None
        assert row is not None, "a password was right"
        self._throttle.succeed((name, address[:64]))
        token = secrets.token_urlsafe(32)
        now = to_micros(self._clock.now())
        fresh = (
            self._hasher.hash(password) if self._hasher.check_needs_rehash(row["password"]) else ""
        )
        with self._database.transaction():
            if fresh:
                self._database.run(
                    "UPDATE staff SET password = :fresh WHERE name = :name", fresh=fresh, name=name
                )
            self._prune(name, now)
            self._database.run(
                "INSERT INTO sessions VALUES (:digest, :name, :now, :now)",
                digest=_digest(token),
                name=name,
                now=now,
            )
            self._audit.record_inside(actor=name, action="sign_in", detail=f"from {address[:64]}")
        return token

    def member(self, token: str) -> Member | None:
        """Return whose session this is, or None where it is unknown, ended, idle or too old."""
        digest = _digest(token)
        row = self._database.one(
            "SELECT staff.name, roles, made_at, seen_at FROM sessions JOIN staff USING (name)"
            " WHERE digest = :digest",
            digest=digest,
        )
        if row is None:
            return None
        now = to_micros(self._clock.now())
        if not _is_live(row["made_at"], row["seen_at"], now):
            return None
        if now - row["seen_at"] >= SEEN_EVERY // _MICROSECOND:
            try:
                self._database.run(
                    "UPDATE sessions SET seen_at = :now WHERE digest = :digest",
                    now=now,
                    digest=digest,
                )
            except Fault as cause:  # reading goes on; at worst the session ends as idle
                log.warning("ops.staff.session_unwritten", cause=str(cause))
        return _member(row)

    def sign_out(self, token: str) -> None:
        """End a session. Repeating is harmless."""
        digest = _digest(token)
        with self._database.transaction():
            row = self._database.one("SELECT name FROM sessions WHERE digest = :d", d=digest)
            if row is None:
                return
            self._database.run("DELETE FROM sessions WHERE digest = :d", d=digest)
            self._audit.record_inside(actor=row["name"], action="sign_out")

    # Rights

    def may(self, member: Member | None, action: str, market: str) -> bool:
        """Tell whether a member may do this in a market; '' or '*' is what is of no one market.

        A role that is held everywhere counts in each market; one that is held in a market counts
        only there. Nobody (None) may nothing.
        """
        assert action in RIGHTS, f"there is no action {action}"
        if member is None:
            return False
        held = set(member.roles.get(EVERYWHERE, ()))
        if market:
            held |= member.roles.get(market, frozenset())
        return not RIGHTS[action].isdisjoint(held)

    def named(self, name: str) -> Member | None:
        """Return who bears a name, with what she may do now, or None: nobody does any more."""
        row = self._row(name)
        return None if row is None else _member(row)

    # Changing

    def add(
        self, name: str, password: str, roles: Mapping[str, Iterable[str]], *, by: str
    ) -> Member:
        """Take somebody on. Raise StaffRefused where name, password or roles will not do."""
        kept_roles = self._roles(roles)
        if not _NAME.fullmatch(name):
            raise StaffRefused(
                "a name has 2 to 40 letters a-z, digits, dots, dashes, and begins with a letter"
            )
        _require_good(password, name)
        kept = self._hasher.hash(password)
        with self._database.transaction():
            if self._row(name) is not None:
                raise StaffRefused(f"there is somebody named {name} already")
            self._insert(name, kept, kept_roles)
            told = json.dumps(kept_roles, sort_keys=True)
            self._audit.record_inside(actor=by, action="staff_added", detail=f"{name}: {told}")
        return _as_member(name, kept_roles)

    def set_roles(self, name: str, roles: Mapping[str, Iterable[str]], *, by: str) -> Member:
        """Change what somebody may do, at once. Raise StaffRefused, also for the last administrator.

        Roles in a market that is not open now may be kept or changed where she has some there.
        """
        with self._database.transaction():
            self._require_known(name)
            held = self._row(name)
            kept_roles = self._roles(roles, beside=json.loads(held["roles"]) if held else ())
            self._database.run(
                "UPDATE staff SET roles = :roles, changed_at = :now WHERE name = :name",
                roles=json.dumps(kept_roles, sort_keys=True),
                now=to_micros(self._clock.now()),
                name=name,
            )
            self._require_administrator()
            told = json.dumps(kept_roles, sort_keys=True)
            self._audit.record_inside(actor=by, action="roles_changed", detail=f"{name}: {told}")
        return _as_member(name, kept_roles)

    def change_password(self, name: str, password: str, *, by: str, keep: str = "") -> None:
        """Set a password and end the member's sessions, but the one whose token is `keep`."""
        _require_good(password, name)
        kept = self._hasher.hash(password)
        with self._database.transaction():
            self._require_known(name)
            self._database.run(
                "UPDATE staff SET password = :kept, changed_at = :now WHERE name = :name",
                kept=kept,
                now=to_micros(self._clock.now()),
                name=name,
            )
            self._database.run(
                "DELETE FROM sessions WHERE name = :name AND digest <> :keep",
                name=name,
                keep=_digest(keep),
            )
            self._audit.record_inside(actor=by, action="password_changed", detail=name)

    def remove(self, name: str, *, by: str) -> None:
        """Let somebody go: she is signed out at once. Raise StaffRefused for the last administrator."""
        with self._database.transaction():
            self._require_known(name)
            self._database.run("DELETE FROM sessions WHERE name = :name", name=name)
            self._database.run("DELETE FROM staff WHERE name = :name", name=name)
            self._require_administrator()
            self._audit.record_inside(actor=by, action="staff_removed", detail=name)

    def browse(self) -> list[Member]:
        """Return everybody, by name, at most a thousand."""
        rows = self._database.query(
            "SELECT name, roles FROM staff ORDER BY name LIMIT :limit", limit=BROWSE_MAX
        )
        return [_member(row) for row in rows]

    # Within

    def _row(self, name: str) -> Row | None:
        return self._database.one("SELECT name, password, roles FROM staff WHERE name = :n", n=name)

    def _is_right(self, row: Row | None, password: str) -> bool:
        """Compare a password; for a name that nobody has against a hash that nothing opens."""
        if not self._nobody:
            self._nobody = self._hasher.hash(secrets.token_urlsafe(32))
        kept = self._nobody if row is None else row["password"]
        sound = password.encode("utf-8", "replace")
        if len(password) > PASSWORD_MOST:
            sound = b""
        try:
            self._hasher.verify(kept, sound)
        except (VerificationError, InvalidHashError):
            return False
        return row is not None

    def _insert(self, name: str, kept: str, roles: Mapping[str, list[str]]) -> None:
        self._database.run(
            "INSERT INTO staff VALUES (:name, :kept, :roles, :now, :now)",
            name=name,
            kept=kept,
            roles=json.dumps(roles, sort_keys=True),
            now=to_micros(self._clock.now()),
        )

    def _roles(
        self, roles: Mapping[str, Iterable[str]], *, beside: Iterable[str] = ()
    ) -> dict[str, list[str]]:
        """Return roles as they are kept; `beside` are markets that may be named though shut."""
        made = {market: sorted(set(held)) for market, held in roles.items()}
        if not made or not all(made.values()):
            raise StaffRefused("at least one role in each market that is named")
        for market, held in made.items():
            if market != EVERYWHERE and market not in self._markets and market not in beside:
                raise StaffRefused(f"there is no market {market[:8]}")
            if not set(held) <= ROLES:
                raise StaffRefused(f"roles are {', '.join(sorted(ROLES))}")
        return made

    def _require_known(self, name: str) -> None:
        if self._row(name) is None:
            raise StaffRefused(f"there is nobody named {name[:40]}")

    def _require_administrator(self) -> None:
        """Undo the caller's transaction where nobody would be left who can manage staff."""
        rows = self._database.query("SELECT name, roles FROM staff")
        if not any(self.may(_member(row), "manage_staff", EVERYWHERE) for row in rows):
            raise StaffRefused("somebody must remain administrator of every market")

    def _prune(self, name: str, now: int) -> None:
        self._database.run(
            "DELETE FROM sessions WHERE made_at <= :oldest OR seen_at <= :idle",
            oldest=now - SESSION_FOR // _MICROSECOND,
            idle=now - IDLE_FOR // _MICROSECOND,
        )
        self._database.run(
            "DELETE FROM sessions WHERE name = :name AND digest NOT IN (SELECT digest FROM"
            " sessions WHERE name = :name ORDER BY made_at DESC LIMIT :keep)",
            name=name,
            keep=SESSIONS_MAX - 1,
        )


def _require_good(password: str, name: str) -> None:
    if len(password) < PASSWORD_LEAST:
        raise StaffRefused(f"a password has at least {PASSWORD_LEAST} characters")
    if len(password) > PASSWORD_MOST:
        raise StaffRefused(f"a password has at most {PASSWORD_MOST} characters")
    if name in password.lower() or len(set(password)) < 5:
        raise StaffRefused("this password is too easily guessed")
    try:
        password.encode()
    except UnicodeEncodeError as cause:
        raise StaffRefused("a password is made of letters that can be written") from cause


def _is_live(made_at: int, seen_at: int, now: int) -> bool:
    return now - made_at < SESSION_FOR // _MICROSECOND and now - seen_at < IDLE_FOR // _MICROSECOND


def _digest(token: str) -> bytes:
    return hashlib.sha256(token[:200].encode("utf-8", "replace")).digest()


def _member(row: Row) -> Member:
    return _as_member(row["name"], json.loads(row["roles"]))


def _as_member(name: str, roles: Mapping[str, Iterable[str]]) -> Member:
    return Member(name=name, roles={market: frozenset(held) for market, held in roles.items()})
