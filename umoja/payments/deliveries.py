"""Deliveries: what webhooks are to be told of committed orders, kept until it is told or given up.

As with receipts the journal is the queue, behind a cursor of its own that moves in the transaction
which keeps the deliveries. A market without webhooks reads nothing and writes nothing here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import structlog

from umoja.payments.order import Order
from umoja.payments.outbox import Feed
from umoja.payments.webhooks import Webhook, event_id, event_kind, webhook_of
from umoja.storage.port import Row, Sql

BACK_OFF_S = (5, 15, 60, 300, 900, 3600)
"""Pauses after failed tries; the last one holds for all that follow."""

GIVE_UP_AFTER = timedelta(hours=24)
KEPT_FOR = timedelta(days=7)
WAITING_MAX = 10_000
"""So many wait for one webhook; what is beyond is left out, counted, and not told."""

PRUNE_AT_ONCE = 500
PAGE_MAX = 100

_SECOND = 1_000_000
_MICROSECOND = timedelta(microseconds=1)
_GIVE_UP_AFTER = GIVE_UP_AFTER // _MICROSECOND
_COLUMNS = (
    "place, webhook, event, kind, payment, body, state, tries, status, trouble,"
    " since, asked_at, tried_at, done_at, next_at"
)
_LISTED = _COLUMNS.replace(" body,", "")

Write = Callable[[str, str, Order], tuple[int, bytes]]
"""Makes an event's body of its id, its kind and the order, and says when it happened. The same line
makes the same body."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event on its way to one webhook. Times are microseconds; 0: not yet.

    `state` is waiting, delivered or given_up. `tries`, since it was made or asked for again; `status`
    is that of the last answer, 0 where there was none, and then `trouble` says why. `body` is empty
    where deliveries are listed.
    """

    place: int
    webhook: str
    event: str
    kind: str
    payment: str
    state: Literal["waiting", "delivered", "given_up"]
    tries: int
    status: int
    trouble: str
    since: int
    asked_at: int
    tried_at: int
    done_at: int
    next_at: int
    body: bytes = b""

    @property
    def sequence(self) -> int:
        return int(self.event.partition(".")[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What became of one try. A place that is freed may be another webhook's next."""

    webhook: str
    place: int
    at: int
    is_done: bool
    status: int = 0
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a webhook stands: failed tries in a row, and until when it rests.

    `is_back`: it answers again, and what waits for it is due now.
    """

    webhook: str
    failed: int
    rests_until: int
    is_back: bool = False


class Deliveries:
    """The sender's side. One process uses it; its calls may come from any thread.

    Every call raises Unavailable where nothing was written, OutcomeUnknown where it may have been;
    all of them may be repeated.
    """

    def __init__(self, database: Sql, feed: Feed) -> None:
        """Take up a migrated file."""
        self._database = database
        self._feed = feed
        self._pruned = 0  # the place up to which this round of pruning came

    @property
    def head(self) -> int:
        """Return the journal's last line. Raise Unavailable."""
        return self._feed.head

    def webhooks(self) -> list[Webhook]:
        """Return all webhooks that were not deleted, at most WEBHOOKS_MAX."""
        rows = self._database.query("SELECT * FROM webhooks WHERE deleted_at = 0 ORDER BY id")
        return [webhook_of(row) for row in rows]

    def take(
        self, limit: int, *, webhooks: Sequence[Webhook], write: Write, now: int
    ) -> tuple[set[str], int]:
        """Read up to `limit` orders of the journal; return who is told something, and how many were read.

        The deliveries are kept and the cursor moved before this returns. With nobody to be told there
        is nothing to be read: whoever registers says behind which line he hears.
        """
        if not webhooks:
            return set(), 0
        head = self._feed.head
        cursor = self._read_cursor()
        if cursor > head:
            log.warning("payments.deliveries.journal_shorter", cursor=cursor, head=head)
            self._database.run("UPDATE webhook_feed SET sequence = :head", head=head)
            cursor = head
        after = max(cursor, min(each.since_line for each in webhooks))
        if after >= head:
            return set(), 0
        orders = self._feed.orders(after=after, limit=limit)
        if not orders:
            return set(), 0
        # One that was registered a moment ago is told as well: the cursor passes its lines only once.
        # Whoever paid after it was registered is read here after it, too.
        known = {each.id for each in webhooks}
        live = self._database.query("SELECT id FROM webhooks WHERE deleted_at = 0")
        if any(row["id"] not in known for row in live):
            webhooks = self.webhooks()
        rows = _rows(orders, webhooks, write, now)
        with self._database.transaction():
            told = self._keep(rows)
            self._database.run("UPDATE webhook_feed SET sequence = :after", after=orders[-1][0])
        return told, len(orders)

    def _keep(self, rows: Mapping[str, list[dict[str, str | int | bytes]]]) -> set[str]:
        """Keep new deliveries of webhooks that are still there, as far as there is room."""
        told = set()
        for webhook, made in rows.items():
            live = self._database.one(
                "SELECT id FROM webhooks WHERE id = :id AND deleted_at = 0", id=webhook
            )
            if live is None:
                continue  # deleted a moment ago
            room = max(0, WAITING_MAX - waiting_for(self._database, webhook))
            if made[:room]:
                told.add(webhook)
                self._database.run_many(
                    "INSERT INTO deliveries (webhook, event, kind, payment, body, state, tries,"
                    " status, trouble, since, asked_at, tried_at, done_at, next_at)"
                    " VALUES (:webhook, :event, :kind, :payment, :body, 'waiting', 0,"
                    " 0, '', :since, :now, 0, 0, :now) ON CONFLICT (webhook, event) DO NOTHING",
                    made[:room],
                )
            if made[room:]:
                self._database.run(
                    "UPDATE webhooks SET left_out = left_out + :more WHERE id = :id",
                    more=len(made) - room,
                    id=webhook,
                )
                log.warning(
                    "payments.deliveries.left_out", webhook=webhook, events=len(made) - room
                )
        return told

    def due(self, webhook: str, now: int, limit: int) -> tuple[list[Delivery], int]:
        """Return up to `limit` deliveries that may be tried, and when the next one behind them may.

        0 where none waits. Nothing is written: what is in hand is the caller's to remember.
        """
        rows = self._database.query(
            f"SELECT {_COLUMNS} FROM deliveries WHERE webhook = :webhook AND state = 'waiting'"
            " ORDER BY next_at, place LIMIT :limit",
            webhook=webhook,
            limit=limit + 1,
        )
        found = [delivery_of(row) for row in rows]
        due = [each for each in found[:limit] if each.next_at <= now]
        rest = found[len(due) :]
        return due, rest[0].next_at if rest else 0

    def note(self, tried: Sequence[Tried], standings: Sequence[Standing], *, now: int) -> None:
        """Write down what became of tries and how webhooks stand, all or none.

        A repeat counts a try twice.
        """
        if not tried and not standings:
            return
        with self._database.transaction():
            done = [each for each in tried if each.is_done]
            if done:
                self._database.run_many(
                    "UPDATE deliveries SET state = 'delivered', tries = tries + 1, status = :status,"
                    " trouble = '', tried_at = :at, next_at = 0,"
                    " done_at = CASE done_at WHEN 0 THEN :at ELSE done_at END"
                    " WHERE place = :place AND webhook = :webhook AND state <> 'delivered'",
                    [
                        {
                            "webhook": each.webhook,
                            "place": each.place,
                            "status": each.status,
                            "at": each.at,
                        }
                        for each in done
                    ],
                )
            failed = [each for each in tried if not each.is_done]
            if failed:
                self._database.run_many(
                    "UPDATE deliveries SET tries = tries + 1, status = :status, trouble = :trouble,"
                    f" tried_at = :at, next_at = :at + CASE tries {_PAUSES}"
                    f" ELSE {BACK_OFF_S[-1] * _SECOND} END"
                    " WHERE place = :place AND webhook = :webhook AND state = 'waiting'",
                    [
                        {
                            "webhook": each.webhook,
                            "place": each.place,
                            "status": each.status,
                            "trouble": each.trouble,
                            "at": each.at,
                        }
                        for each in failed
                    ],
                )
            for each in standings:
                self._database.run(
                    "UPDATE webhooks SET failed = :failed, rests_until = :rests WHERE id = :id",
                    failed=each.failed,
                    rests=each.rests_until,
                    id=each.webhook,
                )
                if each.is_back:
                    self._database.run(
                        "UPDATE deliveries SET next_at = :now"
                        " WHERE webhook = :id AND state = 'waiting' AND next_at > :now",
                        now=now,
                        id=each.webhook,
                    )

    def give_up(self, webhook: str, now: int) -> int:
        """Give up what was tried for a whole day; return how many."""
        return self._database.run(
            "UPDATE deliveries SET state = 'given_up', next_at = 0"
            " WHERE webhook = :id AND state = 'waiting' AND asked_at <= :before",
            id=webhook,
            before=now - _GIVE_UP_AFTER,
        )

    def end_client(self, client: str, now: int) -> None:
        """Delete the webhooks of a client that is no more."""
        with self._database.transaction():
            self._database.run(
                "DELETE FROM deliveries WHERE webhook IN"
                " (SELECT id FROM webhooks WHERE client = :client)",
                client=client,
            )
            self._database.run(
                "UPDATE webhooks SET deleted_at = :now WHERE client = :client AND deleted_at = 0",
                now=now,
                client=client,
            )

    def prune(self, now: int, limit: int = PRUNE_AT_ONCE) -> bool:
        """Look at the next `limit` deliveries and forget those older than a week.

        Return whether there is more to look at now. Those that have to stay are passed over, so that
        they keep no other.
        """
        before = now - KEPT_FOR // _MICROSECOND
        rows = self._database.query(
            "SELECT place, asked_at, since FROM deliveries WHERE place > :after"
            " ORDER BY place LIMIT :limit",
            after=self._pruned,
            limit=limit,
        )
        if rows and any(row["asked_at"] < before for row in rows):
            self._database.run(
                "DELETE FROM deliveries WHERE state <> 'waiting' AND asked_at < :before"
                " AND place > :after AND place <= :last",
                before=before,
                after=self._pruned,
                last=rows[-1]["place"],
            )
        has_more = len(rows) == limit and rows[-1]["since"] < before
        self._pruned = rows[-1]["place"] if has_more else 0
        return has_more

    def _read_cursor(self) -> int:
        row = self._database.one("SELECT sequence FROM webhook_feed")
        assert row is not None, "the plan makes the one row"
        return int(row[0])


# The client's side


def listed(
    database: Sql, webhook: str, *, before: int = 0, limit: int = PAGE_MAX
) -> list[Delivery]:
    """Return deliveries of a webhook, the newest events first; those of lines before `before`."""
    rows = database.query(
        f"SELECT {_LISTED} FROM deliveries WHERE webhook = :webhook AND event < :before"
        " ORDER BY event DESC LIMIT :limit",
        webhook=webhook,
        before=f"{before:012d}" if before else "~",
        limit=limit,
    )
    return [delivery_of(row) for row in rows]


def waiting_for(database: Sql, webhook: str) -> int:
    """Return how many deliveries wait for a webhook."""
    row = database.one(
        "SELECT count(*) FROM deliveries WHERE webhook = :webhook AND state = 'waiting'",
        webhook=webhook,
    )
    assert row is not None, "a count is a row"
    return int(row[0])


class QueueFull(Exception):
    """Too many wait for this webhook already."""


def again(database: Sql, webhook: str, event: str, now: int) -> Delivery | None:
    """Have an event sent again, now; return its delivery, or None where it is not kept.

    One that waits is only tried sooner. A webhook that rests is tried as well. Raise QueueFull.
    """
    with database.transaction():
        row = database.one(
            f"SELECT {_LISTED} FROM deliveries WHERE webhook = :webhook AND event = :event",
            webhook=webhook,
            event=event,
        )
        if row is None:
            return None
        if row["state"] != "waiting" and waiting_for(database, webhook) >= WAITING_MAX:
            raise QueueFull
        database.run(
            "UPDATE deliveries SET next_at = :now, asked_at = :now,"
            " tries = CASE state WHEN 'waiting' THEN tries ELSE 0 END, state = 'waiting'"
            " WHERE place = :place",
            now=now,
            place=row["place"],
        )
        database.run("UPDATE webhooks SET rests_until = 0 WHERE id = :id", id=webhook)
        row = database.one(
            f"SELECT {_LISTED} FROM deliveries WHERE place = :place", place=row["place"]
        )
        assert row is not None, "it was changed a moment ago"
        return delivery_of(row)


def delivery_of(row: Row) -> Delivery:
    return Delivery(**{name: row[name] for name in row.keys()})  # noqa: SIM118  a row is no mapping


_PAUSES = " ".join(
    f"WHEN {tries} THEN {pause_s * _SECOND}" for tries, pause_s in enumerate(BACK_OFF_S)
)


def _rows(
    orders: Sequence[tuple[int, Order]], webhooks: Sequence[Webhook], write: Write, now: int
) -> dict[str, list[dict[str, str | int | bytes]]]:
    """Return what each webhook is told of these orders. A body is made once, and only if needed."""
    by_party: dict[int, list[Webhook]] = {}
    by_client: dict[str, list[Webhook]] = {}
    for each in webhooks:
        by_client.setdefault(each.client, []).append(each)
        if each.organisation:
            by_party.setdefault(each.organisation, []).append(each)
    found: dict[str, list[dict[str, str | int | bytes]]] = {}
    for sequence, order in orders:
        near = {
            each.id: each
            for each in (
                *by_client.get(order.client, ()),
                *by_party.get(order.payer, ()),
                *by_party.get(order.payee, ()),
            )
        }
        if not near:
            continue
        kind, event = event_kind(order), event_id(sequence, order)
        hearing = [
            each for each in near.values() if each.since_line < sequence and each.hears(kind, order)
        ]
        if not hearing:
            continue
        since, body = write(event, kind, order)
        for each in hearing:
            found.setdefault(each.id, []).append(
                {
                    "webhook": each.id,
                    "event": event,
                    "kind": kind,
                    "payment": order.id,
                    "body": body,
                    "since": since,
                    "now": now,
                }
            )
    return found
