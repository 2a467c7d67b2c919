"""Webhooks: the addresses at which clients want to hear of payments, and which events each one hears.

A webhook's secret is not kept: it is made of the installation's key and the webhook's id, so a copy
of the tables signs nothing.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from umoja.clock import Clock, to_micros
from umoja.payments.lifecycle import Step
from umoja.payments.order import Order, State
from umoja.storage.port import Row, Sql

WEBHOOKS_EACH = 10  # of a client
WEBHOOKS_MAX = 2_000  # of a market
DELETED_EACH = 50  # of a client that are remembered, so that deleting again is told the same
SECRET_PREFIX = "whsec_"  # noqa: S105  Standard Webhooks

_KINDS = {state: f"payment.{state.value}" for state in State}
_REFUSED = "payment.reversal_refused"

EVENTS: tuple[str, ...] = (*_KINDS.values(), _REFUSED)
"""Kinds of events: the state in which a payment is now, or that its receiver kept it."""

_OWN = frozenset({_KINDS[State.AWAITING], _KINDS[State.DECLINED], _KINDS[State.CANCELLED]})
"""No money moved: told to the client that asked. A shop does not learn who tried and had not enough."""


class WebhooksFull(Exception):
    """The client has as many webhooks as it may, or the market has."""


class KeyTaken(Exception):
    """The key made another webhook, or one that was deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One address. It hears of journal lines behind `since_line`; times are microseconds.

    `failed` tries in a row have failed; above some it rests until `rests_until`. `left_out` events
    were not kept, because too many waited.
    """

    id: str
    client: str
    organisation: int
    url: str
    events: tuple[str, ...]
    since_line: int
    made_at: int
    deleted_at: int = 0
    failed: int = 0
    rests_until: int = 0
    left_out: int = 0

    def hears(self, kind: str, order: Order) -> bool:
        """Tell whether it is told of this event: of its organisation's money, or of its client's asks."""
        if kind not in self.events:
            return False
        if order.client == self.client:
            return True
        return kind not in _OWN and self.organisation in {order.payer, order.payee} - {0}


def event_kind(order: Order) -> str:
    """Return what an order's journal line tells, as an event."""
    return _REFUSED if order.step == Step.REVERSAL_REFUSED.value else _KINDS[order.state]


def event_id(sequence: int, order: Order) -> str:
    """Return the id of what a journal line tells. Ids grow with the journal."""
    return f"{sequence:012d}.{order.id}"


def secret_of(key: bytes, webhook: str) -> str:
    """Return the secret with which a webhook's deliveries are signed, as its client is told it."""
    whole = hmac.digest(key, f"webhook|{webhook}".encode(), "sha256")
    return SECRET_PREFIX + base64.b64encode(whole).decode()


def signature(secret: str, *, event: str, stamp: str, body: bytes) -> str:
    """Return the header `webhook-signature` of Standard Webhooks; `stamp` is in seconds since 1970."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    digest = hmac.digest(key, f"{event}.{stamp}.".encode() + body, "sha256")
    return f"v1,{base64.b64encode(digest).decode()}"


class Webhooks:
    """One market's webhooks. Calls wait for files: not in an event loop.

    Every call raises Unavailable where nothing was written, OutcomeUnknown where it may have been;
    all of them may be repeated.
    """

    def __init__(
        self, tables: Callable[[], Sql], *, market: str, key: bytes, clock: Clock, is_open: bool
    ) -> None:
        """Take the market's messages, opened when they are first needed.

        `is_open`: addresses may be private and without TLS; for a sandbox only.
        """
        self._tables = tables
        self._market = market
        self._key = key
        self._clock = clock
        self.is_open = is_open

    def secret(self, webhook: str) -> str:
        return secret_of(self._key, webhook)

    def register(
        self,
        *,
        client: str,
        organisation: int,
        key: str,
        url: str,
        events: Sequence[str],
        head: int,
    ) -> tuple[Webhook, bool]:
        """Keep an address; return it, and whether it is new. The same key is the same webhook.

        It hears of what is committed behind line `head`. Raise KeyTaken where the key made another
        one, WebhooksFull.
        """
        made = Webhook(
            id=self._id(client, key),
            client=client,
            organisation=organisation,
            url=url,
            events=tuple(each for each in EVENTS if each in events),
            since_line=head,
            made_at=to_micros(self._clock.now()),
        )
        database = self._tables()
        with database.transaction():
            row = database.one("SELECT * FROM webhooks WHERE id = :id", id=made.id)
            if row is not None:
                known = webhook_of(row)
                if known.deleted_at or (known.url, known.events) != (made.url, made.events):
                    raise KeyTaken
                return known, False
            each = database.one(
                "SELECT count(*) FROM webhooks WHERE client = :client AND deleted_at = 0",
                client=client,
            )
            whole = database.one("SELECT count(*) FROM webhooks WHERE deleted_at = 0")
            assert each is not None, "a count is a row"
            assert whole is not None, "a count is a row"
            if each[0] >= WEBHOOKS_EACH or whole[0] >= WEBHOOKS_MAX:
                raise WebhooksFull
            database.run(
                "INSERT INTO webhooks VALUES (:id, :client, :organisation, :url, :events,"
                " :since_line, :made_at, 0, 0, 0, 0)",
                id=made.id,
                client=client,
                organisation=organisation,
                url=url,
                events=" ".join(made.events),
                since_line=head,
                made_at=made.made_at,
            )
        return made, True

    def browse(self, client: str) -> list[Webhook]:
        """Return a client's webhooks, oldest first."""
        rows = self._tables().query(
            "SELECT * FROM webhooks WHERE client = :client AND deleted_at = 0 ORDER BY made_at, id",
            client=client,
        )
        return [webhook_of(row) for row in rows]

    def find(self, client: str, webhook: str) -> Webhook | None:
        """Return a client's webhook, a deleted one too; nobody else's."""
        row = self._tables().one(
            "SELECT * FROM webhooks WHERE id = :id AND client = :client", id=webhook, client=client
        )
        return None if row is None else webhook_of(row)

    def remove(self, client: str, webhook: str) -> bool:
        """Tell an address nothing more and forget what was on its way; False where it is not there."""
        database = self._tables()
        with database.transaction():
            found = database.run(
                "UPDATE webhooks SET deleted_at = CASE deleted_at WHEN 0 THEN :now ELSE deleted_at END"
                " WHERE id = :id AND client = :client",
                now=to_micros(self._clock.now()),
                id=webhook,
                client=client,
            )
            if found:
                database.run("DELETE FROM deliveries WHERE webhook = :id", id=webhook)
                database.run(
                    "DELETE FROM webhooks WHERE client = :client AND deleted_at > 0 AND id NOT IN"
                    " (SELECT id FROM webhooks WHERE client = :client AND deleted_at > 0"
                    " ORDER BY deleted_at DESC, id LIMIT :keep)",
                    client=client,
                    keep=DELETED_EACH,
                )
        return found > 0

    def tables(self) -> Sql:
        """Return the market's messages: deliveries lie beside their webhooks."""
        return self._tables()

    def now(self) -> int:
        return to_micros(self._clock.now())

    def _id(self, client: str, key: str) -> str:
        whole = f"{self._market}\0{client}\0{key}".encode()
        return f"wh_{hashlib.blake2b(whole, digest_size=12).hexdigest()}"


def webhook_of(row: Row) -> Webhook:
    return Webhook(
        id=row["id"],
        client=row["client"],
        organisation=row["organisation"],
        url=row["url"],
        events=tuple(row["events"].split()),
        since_line=row["since_line"],
        made_at=row["made_at"],
        deleted_at=row["deleted_at"],
        failed=row["failed"],
        rests_until=row["rests_until"],
        left_out=row["left_out"],
    )
