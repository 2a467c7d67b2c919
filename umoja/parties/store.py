"""The directory in SQL: a file or a schema for each market, with personal data of no other.

Parties that were read are remembered, so that an order costs no query; what another process changes
is seen within a second. So are the hashes of PINs, where what another process changes is seen within
ten milliseconds.
"""

import hmac
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from umoja.clock import Clock, to_micros
from umoja.markets.market import Market
from umoja.parties.credentials import (
    TRIES_MAX,
    PinHash,
    fresh_salt,
    is_fit,
    key_mark,
)
from umoja.parties.directory import PhoneTaken, PinUnfit
from umoja.parties.party import FIRST, Party, PinOutcome, Role, Status
from umoja.storage.migrate import migrate
from umoja.storage.port import NotUnique, Row, Sql, Value

REMEMBERED_MAX = 200_000
PAGE_MAX = 1_000
LOOK_S = 1.0
PINS_MAX = 50_000
PIN_LOOK_S = 0.01

_COLUMNS = (
    "id, role, name, phone, tier, language, status, identity_kind, identity_number, parent,"
    " agent_code, till, paybill, operator_code, plan, category, sim_swapped_at, registered_at"
)
_VALUES = ", ".join(f":{column.strip()}" for column in _COLUMNS.split(","))
_CHANGES = ", ".join(f"{column.strip()} = :{column.strip()}" for column in _COLUMNS.split(",")[1:])
_AT_ONCE = 100  # numbers in one query
_NAMES = tuple(f"p{at}" for at in range(_AT_ONCE))
_NAMED = ", ".join(f":{name}" for name in _NAMES)
_HOLDERS = "role IN ('customer', 'dealer', 'agent') AND status <> 'closed'"


class PinKeyWrong(RuntimeError):
    """The key is not the one with which this market's PINs were kept: nobody could sign in."""


class PartyStore:
    """Keeps the parties of one market: see parties.directory.Directory for what each call does."""

    def __init__(self, database: Sql, *, market: Market, clock: Clock, pin_key: bytes) -> None:
        """Bring the file up to date. Raise PinKeyWrong."""
        migrate(database, "parties", clock)
        self._database = database
        self._market = market
        self._clock = clock
        self._key = pin_key
        self._lock = threading.Lock()
        self._known: dict[int, Party] = {}
        self._by: dict[tuple[str, str], int] = {}
        self._looked_s = clock.ticks_s()
        self._is_stale = False
        self._pin_hash = PinHash(pin_key)
        # Salt and hash of PINs whose last try was right. Never the PIN itself.
        self._pins: dict[int, tuple[bytes, bytes]] = {}
        self._pin_changes = 0
        self._pins_looked_s = self._looked_s
        self._prove_key()

    def close(self) -> None:
        self._database.close()

    # Finding

    def get(self, party_id: int) -> Party | None:
        self._look()
        known = self._known.get(party_id)
        return known or self._read("id = :value", party_id)

    def by_phone(self, phone: str) -> Party | None:
        return self._find("phone", phone, f"phone = :value AND {_HOLDERS}")

    def by_phones(self, phones: Sequence[str]) -> dict[str, Party]:
        self._look()
        known, by = self._known, self._by
        found: dict[str, Party] = {}
        unread: list[str] = []
        for phone in phones:
            party = known.get(by.get(("phone", phone), 0))
            if party is None:
                unread.append(phone)
            else:
                found[phone] = party
        for first in range(0, len(unread), _AT_ONCE):
            part = unread[first : first + _AT_ONCE]
            part += part[-1:] * (_AT_ONCE - len(part))  # one form of the statement for all
            rows = self._database.query(
                f"SELECT {_COLUMNS} FROM parties WHERE phone IN ({_NAMED}) AND {_HOLDERS}",
                **dict(zip(_NAMES, part, strict=True)),
            )
            for row in rows:
                party = self._remembered(_party(row))
                with self._lock:
                    by["phone", party.phone] = party.id
                found[party.phone] = party
        return found

    def by_agent_code(self, code: str) -> Party | None:
        return self._find("agent_code", code, "agent_code = :value")

    def by_till(self, code: str) -> Party | None:
        return self._find("till", code, "till = :value")

    def by_paybill(self, code: str) -> Party | None:
        return self._find("paybill", code, "paybill = :value")

    def assistant(self, outlet: int, operator_code: str) -> Party | None:
        if not operator_code:
            return None
        row = self._database.one(
            f"SELECT {_COLUMNS} FROM parties WHERE parent = :outlet AND operator_code = :code",
            outlet=outlet,
            code=operator_code,
        )
        return _party(row) if row else None

    def children(self, parent: int) -> list[Party]:
        rows = self._database.query(
            f"SELECT {_COLUMNS} FROM parties WHERE parent = :parent ORDER BY id LIMIT :limit",
            parent=parent,
            limit=PAGE_MAX,
        )
        return [_party(row) for row in rows]

    def browse(self, *, after: int = 0, limit: int = 50, role: str = "") -> list[Party]:
        rows = self._database.query(
            f"SELECT {_COLUMNS} FROM parties WHERE id > :after"
            " AND (:role = '' OR role = :role) ORDER BY id LIMIT :limit",
            after=after,
            role=role,
            limit=max(1, min(limit, PAGE_MAX)),
        )
        return [_party(row) for row in rows]

    def count(self, role: str = "") -> int:
        row = self._database.one(
            "SELECT count(*) FROM parties WHERE :role = '' OR role = :role", role=role
        )
        assert row is not None, "a count has a row"
        return int(row[0])

    # Keeping

    def register(self, party: Party, *, pin: str = "") -> Party:
        return self.register_many([(party, pin)])[0]

    def register_many(self, parties: Sequence[tuple[Party, str]]) -> list[Party]:
        for _, pin in parties:
            self._require_fit(pin)
        now = to_micros(self._clock.now())
        kept: list[Party] = []
        with self._taken(), self._database.transaction():
            row = self._database.one("SELECT coalesce(max(id), 0) FROM parties")
            assert row is not None, "a maximum has a row"
            number = max(FIRST, int(row[0]) + 1)
            for party, _ in parties:
                kept.append(
                    msgspec.structs.replace(
                        party, id=number, registered_at=party.registered_at or now
                    )
                )
                number += 1
            self._database.run_many(
                f"INSERT INTO parties ({_COLUMNS}) VALUES ({_VALUES})",
                [_values(party) for party in kept],
            )
            self._keep_pins(
                [(party.id, pin) for party, (_, pin) in zip(kept, parties, strict=True) if pin],
                now,
            )
        return kept

    def update(self, party: Party) -> None:
        with self._taken():
            changed = self._database.run(
                f"UPDATE parties SET {_CHANGES} WHERE id = :id",
                **_values(party),
            )
        if not changed:
            raise KeyError(party.id)
        self._forget()

    # PINs

    def has_pin(self, party_id: int) -> bool:
        return (
            self._database.one("SELECT 1 FROM pins WHERE party = :party", party=party_id)
            is not None
        )

    def set_pin(self, party_id: int, pin: str) -> None:
        if not pin:
            raise PinUnfit("a PIN is needed")
        self._require_fit(pin)
        if self.get(party_id) is None:
            raise KeyError(party_id)
        with self._changing_pin(party_id):
            self._keep_pin(party_id, pin, to_micros(self._clock.now()))

    def change_pin(self, party_id: int, *, old: str, new: str) -> PinOutcome:
        if not new:
            raise PinUnfit("a PIN is needed")
        self._require_fit(new)
        with self._changing_pin(party_id):
            outcome = self._checked(party_id, old)
            if outcome is PinOutcome.RIGHT:
                self._keep_pin(party_id, new, to_micros(self._clock.now()))
        return outcome

    def has_given(self, party_id: int, pin: str) -> bool:
        self._look_at_pins()
        known = self._pins.get(party_id) or self._read_pin(party_id)
        return known is not None and self._is_right(party_id, *known, pin)

    def check_pin(self, party_id: int, pin: str) -> PinOutcome:
        # The usual case writes nothing: right at first try. Everything else is counted inside a
        # transaction, so that guesses made at the same time count one by one.
        if self.has_given(party_id, pin):
            return PinOutcome.RIGHT
        with self._changing_pin(party_id):
            return self._checked(party_id, pin)

    def reset_pin(self, party_id: int) -> None:
        with self._changing_pin(party_id):
            self._database.run("DELETE FROM pins WHERE party = :party", party=party_id)

    def swap_sim(self, party_id: int) -> None:
        with self._database.transaction():
            changed = self._database.run(
                "UPDATE parties SET sim_swapped_at = :now WHERE id = :party",
                now=to_micros(self._clock.now()),
                party=party_id,
            )
            if not changed:
                raise KeyError(party_id)
        self._forget()

    # Inside

    def _checked(self, party_id: int, pin: str) -> PinOutcome:
        row = self._database.one(
            "SELECT salt, hash, tries FROM pins WHERE party = :party", party=party_id
        )
        if row is None:
            return PinOutcome.NOT_SET
        if row["tries"] >= TRIES_MAX:
            return PinOutcome.LOCKED
        if self._is_right(party_id, row["salt"], row["hash"], pin):
            self._database.run("UPDATE pins SET tries = 0 WHERE party = :party", party=party_id)
            return PinOutcome.RIGHT
        self._database.run("UPDATE pins SET tries = tries + 1 WHERE party = :party", party=party_id)
        return PinOutcome.LOCKED if row["tries"] + 1 >= TRIES_MAX else PinOutcome.WRONG

    def _is_right(self, party_id: int, salt: bytes, kept: bytes, pin: str) -> bool:
        return hmac.compare_digest(self._pin_hash.of(party=party_id, salt=salt, pin=pin), kept)

    def _read_pin(self, party_id: int) -> tuple[bytes, bytes] | None:
        """Return salt and hash of a PIN whose last try was right; None for any other, or for none."""
        changes = self._pin_changes
        row = self._database.one(
            "SELECT salt, hash, tries FROM pins WHERE party = :party", party=party_id
        )
        if row is None or row["tries"]:
            return None
        found = (row["salt"], row["hash"])
        with self._lock:
            if changes == self._pin_changes:  # else it may have been tried wrongly by now
                if len(self._pins) >= PINS_MAX:
                    del self._pins[next(iter(self._pins))]
                self._pins[party_id] = found
        return found

    @contextmanager
    def _changing_pin(self, party_id: int) -> Iterator[None]:
        """Open a transaction that may change this party's PIN or its tries: neither is remembered."""
        self._forget_pin(party_id)
        try:
            with self._database.transaction():
                yield
        finally:
            self._forget_pin(party_id)  # also what was read meanwhile

    def _forget_pin(self, party_id: int) -> None:
        with self._lock:
            self._pin_changes += 1
            self._pins.pop(party_id, None)

    def _keep_pin(self, party_id: int, pin: str, now: int) -> None:
        self._keep_pins([(party_id, pin)], now)

    def _keep_pins(self, pins: Sequence[tuple[int, str]], now: int) -> None:
        rows: list[dict[str, Value]] = []
        for party_id, pin in pins:
            salt = fresh_salt()
            kept = self._pin_hash.of(party=party_id, salt=salt, pin=pin)
            rows.append({"party": party_id, "salt": salt, "hash": kept, "now": now})
        self._database.run_many(
            "INSERT INTO pins (party, salt, hash, tries, set_at)"
            " VALUES (:party, :salt, :hash, 0, :now) ON CONFLICT (party) DO UPDATE SET"
            " salt = excluded.salt, hash = excluded.hash, tries = 0, set_at = excluded.set_at",
            rows,
        )

    def _require_fit(self, pin: str) -> None:
        market = self._market
        if pin and not is_fit(pin, digits=market.pin_digits, rejects_runs=market.pin_rejects_runs):
            raise PinUnfit(f"a PIN has {market.pin_digits} digits and is no run of digits")

    def _prove_key(self) -> None:
        mark = key_mark(self._key)
        self._database.run(
            "INSERT INTO pin_key (only, mark) VALUES (1, :mark) ON CONFLICT DO NOTHING", mark=mark
        )
        row = self._database.one("SELECT mark FROM pin_key")
        assert row is not None, "the mark was just kept"
        if not hmac.compare_digest(row["mark"], mark):
            raise PinKeyWrong(
                f"the PIN key is not the one of {self._database.name}: bring back the old key"
            )

    def _find(self, kind: str, value: str, where: str) -> Party | None:
        if not value:
            return None
        self._look()
        known = self._known.get(self._by.get((kind, value), 0))
        if known is not None:
            return known
        party = self._read(where, value)
        if party is not None:
            with self._lock:
                self._by[kind, value] = party.id
        return party

    def _read(self, where: str, value: int | str) -> Party | None:
        row = self._database.one(f"SELECT {_COLUMNS} FROM parties WHERE {where}", value=value)
        if row is None:
            return None
        return self._remembered(_party(row))

    def _remembered(self, party: Party) -> Party:
        with self._lock:
            if len(self._known) >= REMEMBERED_MAX:
                self._known.clear()
                self._by.clear()
            self._known[party.id] = party
        return party

    def _look(self) -> None:
        """Forget what is remembered when another process has written."""
        now_s = self._clock.ticks_s()
        if now_s - self._looked_s >= LOOK_S:
            self._looked_s = now_s
            self._look_elsewhere()
            if self._is_stale:
                self._is_stale = False
                self._forget()

    def _look_at_pins(self) -> None:
        """Forget PINs when another process has written: it may have counted a wrong one.

        Within PIN_LOOK_S of its third wrong try elsewhere, a PIN can be tried once more here.
        """
        now_s = self._clock.ticks_s()
        if now_s - self._pins_looked_s >= PIN_LOOK_S:
            self._pins_looked_s = now_s
            self._look_elsewhere()

    def _look_elsewhere(self) -> None:
        if self._database.changed_elsewhere():
            self._is_stale = True
            with self._lock:
                self._pin_changes += 1
                self._pins.clear()

    def _forget(self) -> None:
        with self._lock:
            self._known.clear()
            self._by.clear()

    def _taken(self) -> "_Taken":
        return _Taken()


class _Taken:
    """Tells a broken uniqueness rule of the database as PhoneTaken."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, cause: BaseException | None, _trace: object) -> None:
        if isinstance(cause, NotUnique):
            raise PhoneTaken("another party has this phone number or code") from cause


def _values(party: Party) -> dict[str, Any]:
    values = msgspec.structs.asdict(party)
    values["role"] = party.role.value
    values["status"] = party.status.value
    values["parent"] = party.parent or None
    return values


def _party(row: Row) -> Party:
    values = dict(row)
    values["role"] = Role(values["role"])
    values["status"] = Status(values["status"])
    values["parent"] = values["parent"] or 0
    return Party(**values)
