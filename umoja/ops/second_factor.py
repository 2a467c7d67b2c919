"""Second factors of staff: what is kept of them, which codes count, and who must have one.

A secret is worked out from a salt in the database and a key outside it, and is never kept: whoever
has a copy of the database alone has no code.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

import structlog

from umoja.clock import Clock, from_micros, to_micros
from umoja.faults import Unavailable
from umoja.ops.one_time import DIGITS, step_of
from umoja.storage.port import Sql

SALT_BYTES = 16
SECRET_BYTES = 20  # as long as the digest, as RFC 4226 wants it
RECOVERY_CODES = 10
RECOVERY_DIGITS = 12
TYPED_MOST = 40  # characters of a code, with the gaps that people type

_GAPS = re.compile(r"[\s-]+")

log = structlog.get_logger()


class Required(Enum):
    """Who must have a second factor. POWERFUL: whoever may release money or manage staff."""

    NOBODY = "nobody"
    POWERFUL = "powerful"
    EVERYBODY = "everybody"


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """Somebody's second factor: since when, and how many recovery codes are left."""

    made_at: datetime
    recovery_codes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A code that counted, once."""

    is_recovery: bool
    recovery_codes: int


class SecondFactors:
    """Keeps second factors in the centre's tables. What ends in `_inside` needs a transaction."""

    def __init__(self, database: Sql, *, clock: Clock, key: bytes) -> None:
        """`key` is kept outside the database; without one nobody gets a factor, and none is right."""
        self._database = database
        self._clock = clock
        self._key = key

    def of(self, name: str) -> Factor | None:
        """Return somebody's second factor, or None."""
        row = self._database.one(
            "SELECT made_at, (SELECT count(*) FROM recovery_codes WHERE name = :name) AS codes"
            " FROM second_factors WHERE name = :name",
            name=name,
        )
        if row is None:
            return None
        return Factor(made_at=from_micros(row["made_at"]), recovery_codes=row["codes"])

    def secret(self, name: str, salt: bytes) -> bytes:
        """Return the secret that belongs to a name and a salt."""
        assert self._key, "second factors need a key"
        assert len(salt) == SALT_BYTES, "a salt has sixteen bytes"
        return hmac.digest(self._key, b"code|%s|%s" % (name.encode(), salt), "sha256")[
            :SECRET_BYTES
        ]

    def put_inside(self, name: str, *, salt: bytes, code: str) -> list[str] | None:
        """Give somebody a factor in place of the one she had; None where the code is another one.

        Return her recovery codes, told once.
        """
        step = step_of(self.secret(name, salt), bare(code), at_s=self._now_s())
        if step is None:
            return None
        self.remove_inside(name)
        self._database.run(
            "INSERT INTO second_factors VALUES (:name, :salt, :mark, :now, :step)",
            name=name,
            salt=salt,
            mark=self._mark(),
            now=to_micros(self._clock.now()),
            step=step,
        )
        return self.renew_codes_inside(name)

    def renew_codes_inside(self, name: str) -> list[str]:
        """Give somebody ten new recovery codes, told once, in place of the old ones."""
        self._database.run("DELETE FROM recovery_codes WHERE name = :name", name=name)
        made: list[str] = []
        while len(made) < RECOVERY_CODES:
            code = f"{secrets.randbelow(10**RECOVERY_DIGITS):0{RECOVERY_DIGITS}d}"
            if code not in made:
                made.append(code)
        for code in made:
            self._database.run(
                "INSERT INTO recovery_codes VALUES (:name, :digest)",
                name=name,
                digest=self._recovery_digest(name, code),
            )
        return made

    def take_inside(self, name: str, code: str) -> Taken | None:
        """Count a code of the phone or a recovery code, once; None for one that does not count.

        Raise Unavailable where the key is another one than that with which the factor was made.
        """
        row = self._database.one(
            "SELECT salt, key_mark FROM second_factors WHERE name = :name", name=name
        )
        if row is None:
            return None
        if not hmac.compare_digest(bytes(row["key_mark"]), self._mark()):
            log.error("ops.second_factor.key_changed", name=name)
            raise Unavailable(
                "the key of the second factors is another one: put staff.key back as it was, or"
                " umoja ops reset-second-factor"
            )
        code = bare(code)
        if len(code) == RECOVERY_DIGITS:
            is_counted = self._take_recovery(name, code)
        else:
            is_counted = self._take_step(name, bytes(row["salt"]), code)
        if not is_counted:
            return None
        kept = self.of(name)
        assert kept is not None, "it was read a moment ago"
        return Taken(is_recovery=len(code) == RECOVERY_DIGITS, recovery_codes=kept.recovery_codes)

    def remove_inside(self, name: str) -> bool:
        """Take somebody's factor away with its recovery codes; tell whether there was one."""
        return bool(self._database.run("DELETE FROM second_factors WHERE name = :name", name=name))

    def _take_step(self, name: str, salt: bytes, code: str) -> bool:
        step = step_of(self.secret(name, salt), code, at_s=self._now_s())
        if step is None:
            return False
        changed = self._database.run(
            "UPDATE second_factors SET last_step = :step WHERE name = :name AND last_step < :step",
            name=name,
            step=step,
        )
        return changed == 1

    def _take_recovery(self, name: str, code: str) -> bool:
        changed = self._database.run(
            "DELETE FROM recovery_codes WHERE name = :name AND digest = :digest",
            name=name,
            digest=self._recovery_digest(name, code),
        )
        return changed == 1

    def _recovery_digest(self, name: str, code: str) -> bytes:
        assert self._key, "second factors need a key"
        said = f"recovery|{name}|{code}".encode("utf-8", "replace")
        return hmac.digest(self._key, said, "sha256")

    def _mark(self) -> bytes:
        return hashlib.sha256(b"staff key|" + hmac.digest(self._key, b"mark", "sha256")).digest()

    def _now_s(self) -> int:
        return int(self._clock.now().timestamp())


def bare(code: str) -> str:
    """Return a code as it was typed without its gaps; '' for what cannot be one."""
    found = _GAPS.sub("", code[:TYPED_MOST])
    is_one = found.isascii() and found.isdigit() and len(found) in {DIGITS, RECOVERY_DIGITS}
    return found if is_one else ""
