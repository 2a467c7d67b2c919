"""Staff: who may do what at the centre, their passwords, second factors and sessions.

Signing in, out, failing to, and every change of staff are written to the audit log here; what staff
do beyond that is recorded by whoever does it for them.
"""

import hashlib
import json
import math
import re
import secrets
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

import structlog
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from umoja.clock import Clock, to_micros
from umoja.faults import Busy, Fault
from umoja.ops.audit import AuditLog
from umoja.ops.second_factor import SALT_BYTES, Factor, Required, SecondFactors, Taken
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

POWERFUL = RIGHTS["release_money"] | RIGHTS["manage_staff"]
"""Roles in which a password alone is too little."""

PASSWORD_LEAST = 12
PASSWORD_MOST = 200
SESSION_FOR = timedelta(hours=12)
IDLE_FOR = timedelta(hours=2)
SEEN_EVERY = timedelta(minutes=1)  # a session's last use is written no more often
SESSIONS_MAX = 20  # of one member; the oldest give way
BROWSE_MAX = 1_000
CODE_WITHIN = timedelta(minutes=5)  # from the password to the code
FRESH_FOR = timedelta(minutes=15)
STEP_MOST = timedelta(minutes=1)  # that a clock is set back in good order
RESTS_FOR = timedelta(days=1)
"""So long whoever was let in by another has no hand in money: one administrator alone could otherwise
make the second pair of eyes and use it before anybody saw."""

PAIR_FREE = 5  # failures of a name from one address, before it waits
ADDRESS_FREE = 20  # of all names from one address
NAME_FREE = 50  # of a name from all addresses: more, so that nobody is easily locked out by others
CODE_FREE = 5  # wrong codes of a name from one address
CODE_NAME_FREE = 10  # and from all: few, for whoever gets so far knows the password
CODE_FORGOTTEN_AFTER_S = 86_400.0  # a code has six digits: a day's guesses are counted together

_NAME = re.compile(r"[a-z][a-z0-9._-]{1,39}")
_MICROSECOND = timedelta(microseconds=1)

log = structlog.get_logger()


class StaffRefused(ValueError):
    """A name, a password or a role cannot be taken. It says which, in a sentence for people."""


class CodeNeeded(StaffRefused):
    """A code of the second factor has to be given first: the last one is too old, or there is none."""


class SignInOver(StaffRefused):
    """The password was given too long ago, or was changed: signing in begins again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One of staff, and her roles by market; `*` is every market.

    Who `must_enrol` may nothing before she has a second factor.
    """

    name: str
    roles: Mapping[str, frozenset[str]]
    must_enrol: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfSigned:
    """The password was right; `token` is no session, and becomes one with a code."""

    token: str = field(repr=False)


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
        key: bytes = b"",
        required: Required = Required.NOBODY,
    ) -> None:
        """Take a migrated file. `hasher` is given in tests only, where it is cheap.

        `key` is that of second factors, kept outside the database; `required` says who must have one.
        """
        self._database = database
        self._clock = clock
        self._audit = audit
        self._markets = frozenset(markets)
        self._hasher = hasher or PasswordHasher()
        self._throttle = Throttle(clock)
        self._code_throttle = Throttle(clock, forgotten_after_s=CODE_FORGOTTEN_AFTER_S)
        self._factors = SecondFactors(database, clock=clock, key=key)
        self._required = required
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

    def sign_in(self, name: str, password: str, *, address: str) -> str | HalfSigned | None:
        """Return the token of a new session, or None where name or password is wrong.

        Who has a second factor is half signed in: see `enter`. None says no more, and takes as long
        for a name that nobody has. Raise Busy, with the seconds to wait, after repeated failures of
        the name or of the address.
        """
        name = _as_typed(name)
        if not self.recognise(name, password, address=address):
            return None
        token, now = secrets.token_urlsafe(32), to_micros(self._clock.now())
        row = self._row(name)
        if row is None:
            return None  # removed meanwhile
        fresh = (
            self._hasher.hash(password) if self._hasher.check_needs_rehash(row["password"]) else ""
        )
        with self._database.transaction():
            if fresh:
                self._database.run(
                    "UPDATE staff SET password = :fresh WHERE name = :name", fresh=fresh, name=name
                )
            if self._factors.of(name) is not None:
                self._begin_sign_in(name, token, now)
                return HalfSigned(token=token)
            self._begin_session(name, token, now)
            self._audit.record_inside(actor=name, action="sign_in", detail=f"from {address[:64]}")
        return token

    def enter(self, token: str, code: str, *, address: str) -> str | None:
        """Give the code that a half signed-in member still owes; return the token of her session.

        None says that the code is wrong or was used before. Raise SignInOver where she has to begin
        again, and Busy as `sign_in` does.
        """
        digest, now = _digest(token), to_micros(self._clock.now())
        row = self._database.one(
            "SELECT name FROM sign_ins WHERE digest = :digest AND made_at > :oldest",
            digest=digest,
            oldest=now - CODE_WITHIN // _MICROSECOND,
        )
        if row is None:
            raise SignInOver("signing in took too long: begin again")
        name: str = row["name"]
        self._count_try(name, address)
        made = secrets.token_urlsafe(32)
        with self._database.transaction():
            taken = self._factors.take_inside(name, code)
            if taken is not None:
                if not self._database.run("DELETE FROM sign_ins WHERE digest = :d", d=digest):
                    raise SignInOver("signing in took too long: begin again")
                self._begin_session(name, made, now)
                self._prove_inside(made, now)
                self._audit.record_inside(
                    actor=name, action="sign_in", detail=f"from {address[:64]}{_how(taken)}"
                )
        return made if self._judged(name, address, is_right=taken is not None) else None

    def recognise(self, name: str, password: str, *, address: str) -> bool:
        """Tell whether a password is right, with the door's throttle and its lines in the audit log.

        Raise Busy as `sign_in` does.
        """
        name = _as_typed(name)
        pair = (name, address[:64])
        keys: dict[Hashable, int] = {
            pair: PAIR_FREE,
            ("", address[:64]): ADDRESS_FREE,
            name: NAME_FREE,
        }
        wait_s = self._throttle.take(keys)
        if wait_s > 0:
            raise Busy("signing in", retry_after_s=math.ceil(wait_s))
        try:
            row = self._row(name)
            is_right = self._is_right(row, password)
        except BaseException:
            self._throttle.give_back(keys)  # nobody knows whether it was right
            raise
        if not is_right:
            # A password typed into the field of the name must not be kept: only names we know.
            known = name if row is not None else "unknown"
            self._audit.record(actor=known, action="sign_in_failed", detail=f"from {address[:64]}")
            return False
        self._throttle.give_back(keys)
        self._throttle.succeed(pair)
        return True

    def member(self, token: str) -> Member | None:
        """Return whose session this is, or None where it is unknown, ended, idle or too old.

        So is one that never brought a code of the second factor that its member has.
        """
        digest = _digest(token)
        row = self._database.one(
            "SELECT staff.name, roles, sessions.made_at, seen_at, proved_at,"
            " second_factors.name AS factor FROM sessions"
            " JOIN staff ON staff.name = sessions.name"
            " LEFT JOIN second_factors ON second_factors.name = sessions.name"
            " LEFT JOIN session_codes ON session_codes.digest = sessions.digest"
            " WHERE sessions.digest = :digest",
            digest=digest,
        )
        if row is None or (row["factor"] is not None and row["proved_at"] is None):
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
        return self._bound(_member(row), has_factor=row["factor"] is not None)

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
        only there. Nobody (None) may nothing, nor may who must enrol a second factor first.
        """
        assert action in RIGHTS, f"there is no action {action}"
        if member is None or member.must_enrol:
            return False
        held = set(member.roles.get(EVERYWHERE, ()))
        if market:
            held |= member.roles.get(market, frozenset())
        return not RIGHTS[action].isdisjoint(held)

    def named(self, name: str) -> Member | None:
        """Return who bears a name, with what she may do now, or None: nobody does any more."""
        row = self._row(name)
        if row is None:
            return None
        return self._bound(_member(row), has_factor=self._factors.of(name) is not None)

    # The second factor

    def factor(self, name: str) -> Factor | None:
        """Return what is told of somebody's second factor, or None: she has none."""
        return self._factors.of(name)

    def with_factor(self) -> frozenset[str]:
        """Return who has a second factor, at most a thousand."""
        rows = self._database.query(
            "SELECT name FROM second_factors ORDER BY name LIMIT :limit", limit=BROWSE_MAX
        )
        return frozenset(row["name"] for row in rows)

    def offer(self, name: str, salt: bytes) -> bytes:
        """Return the secret of a factor that `enrol` would give. Nothing is kept."""
        return self._factors.secret(name, salt)

    def fresh_salt(self) -> bytes:
        return secrets.token_bytes(SALT_BYTES)

    def enrol(
        self, name: str, password: str, *, salt: bytes, code: str, session: str, address: str
    ) -> list[str]:
        """Give somebody the factor of a salt, in place of any other; return her recovery codes.

        They are told once. Her other sessions end. Raise StaffRefused where the password or the code
        is another one, CodeNeeded where she has a factor and gave no fresh code of it, and Busy.
        """
        if not self.recognise(name, password, address=address):
            raise StaffRefused("the password you have is another one")
        if self._factors.of(name) is not None:
            self.require_code(name, session)
        self._count_try(name, address)
        digest = _digest(session)
        with self._database.transaction():
            has_one = self._factors.of(name) is not None
            if has_one:  # asked again: another session may have been faster
                self.require_code(name, session)
            codes = self._factors.put_inside(name, salt=salt, code=code)
            if codes is not None:
                self._end_sessions(name, keep=digest)
                self._prove_inside(session, to_micros(self._clock.now()))
                action = "second_factor_replaced" if has_one else "second_factor_set_up"
                self._audit.record_inside(actor=name, action=action, detail=name)
        self._judged(name, address, is_right=codes is not None)
        if codes is None:
            raise StaffRefused("the code is another one: look at the clock of your phone")
        return codes

    def prove(self, session: str, code: str, *, address: str) -> bool:
        """Give a fresh code in a session: tell whether it counted. Raise Busy as `sign_in` does."""
        member = self.member(session)
        if member is None:
            return False
        self._count_try(member.name, address)
        with self._database.transaction():
            taken = self._factors.take_inside(member.name, code)
            if taken is not None:
                self._prove_inside(session, to_micros(self._clock.now()))
                self._audit.record_inside(
                    actor=member.name,
                    action="code_given",
                    detail=f"from {address[:64]}{_how(taken)}",
                )
        return self._judged(member.name, address, is_right=taken is not None)

    def require_code(self, name: str, session: str) -> None:
        """Raise CodeNeeded where somebody has to give a code before an act that wants a fresh one.

        She has, where she has a factor and her session's last code is more than fifteen minutes old,
        or where she has none and must. It may be asked in the transaction of the act.
        """
        member = self.named(name)
        if member is None or member.must_enrol:
            raise CodeNeeded("a second factor has to be set up first")
        if self._factors.of(name) is not None and not self._is_fresh(name, session):
            raise CodeNeeded("a code of your second factor is needed first")

    def renew_recovery_codes(self, name: str, *, session: str) -> list[str]:
        """Return ten new recovery codes, told once; the old ones count no longer. Raise CodeNeeded."""
        with self._database.transaction():
            self.require_code(name, session)
            if self._factors.of(name) is None:
                raise StaffRefused("there is no second factor")
            codes = self._factors.renew_codes_inside(name)
            self._audit.record_inside(actor=name, action="recovery_codes_renewed", detail=name)
        return codes

    def reset_second_factor(self, name: str, *, by: str) -> None:
        """Take somebody's factor away and sign her out: the phone is lost. Never one's own.

        Raise StaffRefused, also where she has none.
        """
        if name == by:
            raise StaffRefused("your own second factor is reset by another administrator")
        with self._database.transaction():
            self._require_known(name)
            if not self._factors.remove_inside(name):
                raise StaffRefused(f"{name} has no second factor")
            self._let_in(name)
            self._end_sessions(name)
            self._audit.record_inside(actor=by, action="second_factor_reset", detail=name)

    def rests_until(self, name: str) -> int:
        """Return until when somebody has no hand in money, in microseconds since 1970; 0: she has.

        Where nobody must have a second factor, in a sandbox, nobody rests.
        """
        if self._required is Required.NOBODY:
            return 0
        row = self._database.one("SELECT at FROM let_in WHERE name = :name", name=name)
        if row is None:
            return 0
        until = int(row["at"]) + RESTS_FOR // _MICROSECOND
        return until if until > to_micros(self._clock.now()) else 0

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
            self._let_in(name)
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
            is_other = held is not None and json.loads(held["roles"]) != kept_roles
            if name != by and is_other:
                self._let_in(name)
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
            self._end_sessions(name, keep=_digest(keep))
            if name != by:
                self._let_in(name)
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

    def _bound(self, member: Member, *, has_factor: bool) -> Member:
        """Return a member, marked where she must have a second factor and has none."""
        held = frozenset().union(*member.roles.values())
        must = self._required is Required.EVERYBODY or (
            self._required is Required.POWERFUL and not held.isdisjoint(POWERFUL)
        )
        return replace(member, must_enrol=True) if must and not has_factor else member

    def _begin_sign_in(self, name: str, token: str, now: int) -> None:
        self._database.run(
            "DELETE FROM sign_ins WHERE made_at <= :oldest",
            oldest=now - CODE_WITHIN // _MICROSECOND,
        )
        self._database.run(
            "DELETE FROM sign_ins WHERE name = :name AND digest NOT IN (SELECT digest FROM"
            " sign_ins WHERE name = :name ORDER BY made_at DESC LIMIT :keep)",
            name=name,
            keep=SESSIONS_MAX - 1,
        )
        self._database.run(
            "INSERT INTO sign_ins VALUES (:digest, :name, :now)",
            digest=_digest(token),
            name=name,
            now=now,
        )

    def _begin_session(self, name: str, token: str, now: int) -> None:
        self._prune(name, now)
        self._database.run(
            "INSERT INTO sessions VALUES (:digest, :name, :now, :now)",
            digest=_digest(token),
            name=name,
            now=now,
        )

    def _end_sessions(self, name: str, *, keep: bytes = b"") -> None:
        """End all of a member's sessions but one, and what was half signed in."""
        self._database.run(
            "DELETE FROM sessions WHERE name = :name AND digest <> :keep", name=name, keep=keep
        )
        self._database.run("DELETE FROM sign_ins WHERE name = :name", name=name)

    def _prove_inside(self, session: str, now: int) -> None:
        """Note that a session brought a code. Nothing is noted of a session that has ended."""
        digest = _digest(session)
        self._database.run("DELETE FROM session_codes WHERE digest = :digest", digest=digest)
        self._database.run(
            "INSERT INTO session_codes SELECT digest, :now FROM sessions WHERE digest = :digest",
            now=now,
            digest=digest,
        )

    def _is_fresh(self, name: str, session: str) -> bool:
        row = self._database.one(
            "SELECT proved_at FROM session_codes JOIN sessions USING (digest)"
            " WHERE digest = :digest AND name = :name",
            digest=_digest(session),
            name=name,
        )
        if row is None:
            return False
        age: timedelta = (to_micros(self._clock.now()) - row["proved_at"]) * _MICROSECOND
        # From the future: the clock was set back, and nobody knows how old it is.
        return -STEP_MOST <= age < FRESH_FOR

    def _count_try(self, name: str, address: str) -> None:
        """Count a try of a code before it is looked at, so that no crowd of them slips in at once.

        Raise Busy where there were too many. A right code takes the counts back.
        """
        keys: dict[Hashable, int] = {(name, address[:64]): CODE_FREE, name: CODE_NAME_FREE}
        wait_s = self._code_throttle.take(keys)
        if wait_s > 0:
            raise Busy("codes", retry_after_s=math.ceil(wait_s))

    def _judged(self, name: str, address: str, *, is_right: bool) -> bool:
        """Write a wrong code down, or forget the tries before a right one; tell which it was."""
        if is_right:
            self._code_throttle.succeed((name, address[:64]))
            self._code_throttle.succeed(name)
        else:
            self._audit.record(actor=name, action="code_refused", detail=f"from {address[:64]}")
        return is_right

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

    def _let_in(self, name: str) -> None:
        self._database.run(
            "INSERT INTO let_in (name, at) VALUES (:name, :now)"
            " ON CONFLICT (name) DO UPDATE SET at = excluded.at",
            now=to_micros(self._clock.now()),
            name=name,
        )

    def _insert(self, name: str, kept: str, roles: Mapping[str, list[str]]) -> None:
        self._database.run(
            "INSERT INTO staff (name, password, roles, added_at, changed_at)"
            " VALUES (:name, :kept, :roles, :now, :now)",
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


def _as_typed(name: str) -> str:
    return name[:80].strip().lower()


def _how(taken: Taken) -> str:
    return f", by a recovery code, {taken.recovery_codes} left" if taken.is_recovery else ""


def _is_live(made_at: int, seen_at: int, now: int) -> bool:
    return now - made_at < SESSION_FOR // _MICROSECOND and now - seen_at < IDLE_FOR // _MICROSECOND


def _digest(token: str) -> bytes:
    return hashlib.sha256(token[:200].encode("utf-8", "replace")).digest()


def _member(row: Row) -> Member:
    return _as_member(row["name"], json.loads(row["roles"]))


def _as_member(name: str, roles: Mapping[str, Iterable[str]]) -> Member:
    return Member(name=name, roles={market: frozenset(held) for market, held in roles.items()})
