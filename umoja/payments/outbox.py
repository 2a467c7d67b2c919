"""The outbox of one market: text messages made from committed orders, kept until they are delivered.

The journal is the queue: a cursor says how far it was read, and moves in the same transaction that
keeps the messages. So no order is passed over, and none makes a message twice, whenever it stops.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from enum import Enum

import msgspec

from umoja.payments.desk import Desk
from umoja.payments.order import Order
from umoja.storage.database import Database, Row

BACK_OFF_S = (1, 2, 5, 15, 60)
"""Pauses after the first refusals of a route; the last one holds for all that follow."""

GIVE_UP_AFTER = timedelta(hours=24)
KEPT_FOR = timedelta(days=30)
PRUNE_AT_ONCE = 500
LEASE = timedelta(minutes=2)
"""How long a message that was given out is not given out again, if nothing is noted of it."""

_SECOND = 1_000_000
_MICROSECOND = timedelta(microseconds=1)

_COLUMNS = "id, phone, text, kind, tries, since, product, value_minor, currency, payer_mark"


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One text message. `id` is of the order's journal line and the side it goes to.

    `since` is when what it tells of happened, in microseconds. Product, value, currency and payer
    mark say what it was for, to operations, who see neither phone nor text.
    """

    id: str
    phone: str
    text: str
    kind: str
    since: int
    product: str = ""
    value_minor: int = 0
    currency: str = ""
    payer_mark: int = 0
    tries: int = 0  # how often a route refused it


Write = Callable[[Order], list[Message]]
"""Makes the messages of an order as one journal line left it. Same order, same ids."""


class Fate(Enum):
    """What became of a message."""

    SENT = "sent"  # the route took it
    REFUSED = "refused"  # the route did not take it, or may not have: it is tried again
    DELIVERED = "delivered"  # it is on the phone; also where it had been given up
    LOST = "lost"  # the route took it and did not deliver it


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How many messages are in each state, of those not yet pruned."""

    waiting: int = 0
    sent: int = 0
    delivered: int = 0
    failed: int = 0


class Outbox:
    """Keeps one market's messages. One process uses it; its calls may come from any thread.

    Every call raises Unavailable where nothing was written, OutcomeUnknown where it may have been;
    all of them may be repeated.
    """

    def __init__(self, database: Database, desk: Desk) -> None:
        """Take up a migrated file. What a stopped process had in its hands is given out again.

        So is what a route had taken a moment before and nobody told of: word of it may have been lost
        with the process. The route knows the ids.
        """
        self._database = database
        self._desk = desk
        database.run(
            "UPDATE messages SET state = 'waiting', next_at = 0 WHERE state IN ('waiting', 'sent')"
        )
        self._cursor = self._read_cursor()

    @property
    def is_behind(self) -> bool:
        """Tell whether the journal has lines that were not read yet. Asks no file."""
        return self._desk.head > self._cursor

    def take(self, limit: int, *, write: Write, now: int) -> tuple[list[Message], int]:
        """Read up to `limit` orders of the journal; return their messages and how many were read.

        The messages are kept and the cursor moved before this returns. Those that are too old to be
        sent are kept as failed and not returned.
        """
        if not self.is_behind:
            return [], 0
        fresh: list[Message] = []
        with self._database.transaction():
            cursor = self._read_cursor()
            orders = self._desk.orders(after=cursor, limit=limit)
            for sequence, order in orders:
                fresh += [each for each in write(order) if self._insert(each, now)]
                cursor = sequence
            self._database.run("UPDATE feed SET sequence = :cursor", cursor=cursor)
        self._cursor = cursor
        return fresh, len(orders)

    def due(self, now: int, limit: int) -> list[Message]:
        """Give out messages whose pause is over; those tried for a whole day are given up."""
        rows = self._database.query(
            f"SELECT {_COLUMNS} FROM messages WHERE state = 'waiting' AND next_at <= :now"
            " ORDER BY next_at LIMIT :limit",
            now=now,
            limit=limit,
        )
        if not rows:
            return []
        messages = [_message(row) for row in rows]
        with self._database.transaction():
            for message in messages:
                is_over = _is_over(message, now)
                self._database.run(
                    "UPDATE messages SET state = :state, next_at = :next_at"
                    " WHERE id = :id AND state = 'waiting'",
                    id=message.id,
                    state="failed" if is_over else "waiting",
                    next_at=now if is_over else now + LEASE // _MICROSECOND,
                )
        return [message for message in messages if not _is_over(message, now)]

    def next_due_at(self) -> int | None:
        """Return when the next message may be tried again, or None where none waits."""
        row = self._database.one("SELECT min(next_at) FROM messages WHERE state = 'waiting'")
        return None if row is None or row[0] is None else int(row[0])

    def note(self, fates: Sequence[tuple[str, Fate]], *, now: int, lost_at: int = 0) -> None:
        """Write down what became of messages, all or none. A repeat or a late word is harmless.

        `lost_at` is when those sent now are given up, if nobody tells of their delivery.
        """
        if not fates:
            return
        with self._database.transaction():
            for message_id, fate in fates:
                self._note(message_id, fate, now, lost_at)

    def mark_sent(self, message_id: str, *, now: int) -> None:
        self.note([(message_id, Fate.SENT)], now=now)

    def mark_delivered(self, message_id: str, *, is_delivered: bool, now: int) -> None:
        self.note([(message_id, Fate.DELIVERED if is_delivered else Fate.LOST)], now=now)

    def find(self, message_id: str) -> tuple[Message, str] | None:
        """Return a message and its state."""
        known = self.story(message_id)
        return None if known is None else known[:2]

    def story(self, message_id: str) -> tuple[Message, str, int] | None:
        """Return a message, its state, and when a route took it last (0: none did)."""
        row = self._database.one(
            f"SELECT {_COLUMNS}, state, sent_at FROM messages WHERE id = :id", id=message_id
        )
        return None if row is None else (_message(row), str(row["state"]), int(row["sent_at"]))

    def give_up(self, now: int, limit: int) -> list[tuple[Message, int]]:
        """Note as lost what a route took and did not deliver in time; return it, and when it took it.

        What is told of such a message later is noted all the same.
        """
        rows = self._database.query(
            f"SELECT {_COLUMNS}, sent_at FROM messages WHERE state = 'sent' AND next_at <= :now"
            " ORDER BY next_at LIMIT :limit",
            now=now,
            limit=limit,
        )
        lost = [(_message(row), int(row["sent_at"])) for row in rows]
        self.note([(message.id, Fate.LOST) for message, _ in lost], now=now)
        return lost

    def counts(self) -> Counts:
        rows = self._database.query("SELECT state, count(*) AS n FROM messages GROUP BY state")
        return Counts(**{row["state"]: row["n"] for row in rows})

    def prune(self, now: int, limit: int = PRUNE_AT_ONCE) -> int:
        """Forget up to `limit` messages that are older than thirty days; return how many."""
        # They lie in the order of making: the oldest are found without an index on the time.
        return self._database.run(
            "DELETE FROM messages WHERE made_at < :before AND place IN"
            " (SELECT place FROM messages ORDER BY place LIMIT :limit)",
            before=now - KEPT_FOR // _MICROSECOND,
            limit=limit,
        )

    def _read_cursor(self) -> int:
        row = self._database.one("SELECT sequence FROM feed")
        assert row is not None, "the plan makes the one row"
        return int(row[0])

    def _insert(self, message: Message, now: int) -> bool:
        """Keep a new message; tell whether it is to be sent now."""
        is_over = _is_over(message, now)
        values = msgspec.structs.asdict(message)
        inserted = self._database.run(
            f"INSERT INTO messages ({_COLUMNS}, state, made_at, sent_at, next_at)"
            " VALUES (:id, :phone, :text, :kind, :tries, :since, :product, :value_minor,"
            " :currency, :payer_mark, :state, :now, 0, :next_at) ON CONFLICT (id) DO NOTHING",
            **values,
            state="failed" if is_over else "waiting",
            now=now,
            next_at=now if is_over else now + LEASE // _MICROSECOND,
        )
        return inserted == 1 and not is_over

    def _note(self, message_id: str, fate: Fate, now: int, lost_at: int) -> None:
        match fate:
            case Fate.SENT:
                self._database.run(
                    "UPDATE messages SET state = 'sent', sent_at = :now, next_at = :lost_at"
                    " WHERE id = :id AND state = 'waiting'",
                    id=message_id,
                    now=now,
                    lost_at=lost_at,
                )
            case Fate.REFUSED:
                self._database.run(
                    "UPDATE messages SET tries = tries + 1, next_at = :now + CASE tries"
                    f" {_PAUSES} ELSE {BACK_OFF_S[-1] * _SECOND} END"
                    " WHERE id = :id AND state = 'waiting'",
                    id=message_id,
                    now=now,
                )
            case Fate.DELIVERED:
                self._database.run(
                    "UPDATE messages SET state = 'delivered', next_at = :now"
                    " WHERE id = :id AND state <> 'delivered'",
                    id=message_id,
                    now=now,
                )
            case Fate.LOST:
                self._database.run(
                    "UPDATE messages SET state = 'failed', next_at = :now"
                    " WHERE id = :id AND state = 'sent'",
                    id=message_id,
                    now=now,
                )


_PAUSES = " ".join(
    f"WHEN {tries} THEN {pause_s * _SECOND}" for tries, pause_s in enumerate(BACK_OFF_S)
)


def _is_over(message: Message, now: int) -> bool:
    return message.since < now - GIVE_UP_AFTER // _MICROSECOND


def _message(row: Row) -> Message:
    return Message(
        id=row["id"],
        phone=row["phone"],
        text=row["text"],
        kind=row["kind"],
        since=row["since"],
        product=row["product"],
        value_minor=row["value_minor"],
        currency=row["currency"],
        payer_mark=row["payer_mark"],
        tries=row["tries"],
    )
