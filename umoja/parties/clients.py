"""Clients: the programs that may call a market's API, their secrets and their tokens.

Secrets and tokens are long and random, so a plain digest of them is kept and nothing can be guessed
from it. Both are shown once.
"""

import hashlib
import hmac
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from umoja.clock import Clock, to_micros
from umoja.storage.migrate import migrate
from umoja.storage.port import Row, Sql

TOKEN_FOR = timedelta(hours=1)
TOKENS_PER_CLIENT = 50  # the oldest give way
REMEMBERED_MAX = 10_000
REMEMBERED_FOR_S = 5.0  # so long a revoked token may still be taken by a process that knew it

SCOPES = frozenset(
    {
        "payments:read",
        "payments:write",
        "payments:payout",
        "payments:operator",
        "parties:read",
        "parties:write",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A program bound to one market; `organisation` 0 acts for the market as a whole."""

    id: str
    name: str
    market: str
    scopes: frozenset[str]
    organisation: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    text: str
    client: Client
    scopes: frozenset[str]
    expires_in_s: int


class Clients:
    """Keeps clients and tokens in one file. Every method may be called from any thread."""

    def __init__(self, database: Sql, *, clock: Clock) -> None:
        migrate(database, "clients", clock)
        self._database = database
        self._clock = clock
        self._known: dict[str, tuple[float, Token]] = {}  # and until when

    def close(self) -> None:
        self._database.close()

    def register(
        self, *, name: str, market: str, scopes: frozenset[str], organisation: int = 0
    ) -> tuple[str, str]:
        """Keep a new client; return its id and its secret, which is not told again."""
        assert scopes <= SCOPES, f"no such scope: {sorted(scopes - SCOPES)}"
        client_id = f"{market.lower()}-{secrets.token_hex(6)}"
        secret = secrets.token_urlsafe(32)
        self._database.run(
            "INSERT INTO clients VALUES"
            " (:id, :name, :hash, :scopes, :market, :organisation, :now, 0)",
            id=client_id,
            name=name[:80],
            hash=_digest(secret),
            scopes=" ".join(sorted(scopes)),
            market=market,
            organisation=organisation,
            now=to_micros(self._clock.now()),
        )
        return client_id, secret

    def issue(self, client_id: str, secret: str, *, scopes: frozenset[str]) -> Token | None:
        """Return a token with the scopes asked for (none named: all), or None.

        None says only that id, secret or scope is wrong, and takes the same time for each.
        """
        row = self._database.one(
            "SELECT * FROM clients WHERE id = :id AND revoked_at = 0", id=client_id
        )
        kept = row["secret_hash"] if row else bytes(32)
        is_right = hmac.compare_digest(kept, _digest(secret))
        if row is None or not is_right:
            return None
        client = _client(row)
        granted = scopes or client.scopes
        if not granted <= client.scopes:
            return None
        text = f"umt_{secrets.token_urlsafe(32)}"
        now = self._clock.now()
        with self._database.transaction():
            self._database.run("DELETE FROM tokens WHERE expires_at < :now", now=to_micros(now))
            self._database.run(
                "DELETE FROM tokens WHERE client = :client AND hash NOT IN (SELECT hash FROM tokens"
                " WHERE client = :client ORDER BY made_at DESC LIMIT :keep)",
                client=client.id,
                keep=TOKENS_PER_CLIENT - 1,
            )
            self._database.run(
                "INSERT INTO tokens VALUES (:hash, :client, :scopes, :now, :expires)",
                hash=_digest(text),
                client=client.id,
                scopes=" ".join(sorted(granted)),
                now=to_micros(now),
                expires=to_micros(now + TOKEN_FOR),
            )
        return Token(
            text=text,
            client=client,
            scopes=granted,
            expires_in_s=int(TOKEN_FOR.total_seconds()),
        )

    def holder(self, text: str) -> Token | None:
        """Return who holds this token, or None where it is unknown, expired or revoked."""
        known = self._known.get(text)
        if known is not None and known[0] > self._clock.ticks_s():
            return known[1]
        self._known.pop(text, None)
        now = to_micros(self._clock.now())
        row = self._database.one(
            "SELECT clients.*, tokens.scopes AS granted, tokens.expires_at FROM tokens"
            " JOIN clients ON clients.id = tokens.client"
            " WHERE tokens.hash = :hash AND tokens.expires_at > :now AND clients.revoked_at = 0",
            hash=_digest(text),
            now=now,
        )
        if row is None:
            return None
        token = Token(
            text=text,
            client=_client(row),
            scopes=frozenset(row["granted"].split()),
            expires_in_s=(row["expires_at"] - now) // 1_000_000,
        )
        if len(self._known) >= REMEMBERED_MAX:
            self._known.clear()
        known_for_s = min(
            REMEMBERED_FOR_S, timedelta(microseconds=row["expires_at"] - now).total_seconds()
        )
        self._known[text] = (self._clock.ticks_s() + known_for_s, token)
        return token

    def revoke(self, client_id: str) -> bool:
        """End a client and its tokens; False where there is none. Repeating is harmless."""
        with self._database.transaction():
            changed = self._database.run(
                "UPDATE clients SET revoked_at = :now WHERE id = :id AND revoked_at = 0",
                now=to_micros(self._clock.now()),
                id=client_id,
            )
            self._database.run("DELETE FROM tokens WHERE client = :id", id=client_id)
        self._known.clear()
        return changed > 0

    def live(self, clients: Collection[str]) -> frozenset[str]:
        """Return those of these clients that are not revoked."""
        return frozenset(
            client
            for client in clients
            if self._database.one(
                "SELECT id FROM clients WHERE id = :id AND revoked_at = 0", id=client
            )
        )

    def browse(self) -> list[Client]:
        """Return the clients that are not revoked, at most 1,000."""
        rows = self._database.query(
            "SELECT * FROM clients WHERE revoked_at = 0 ORDER BY market, id LIMIT 1000"
        )
        return [_client(row) for row in rows]


def _client(row: Row) -> Client:
    return Client(
        id=row["id"],
        name=row["name"],
        market=row["market"],
        scopes=frozenset(row["scopes"].split()),
        organisation=row["organisation"],
    )


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
