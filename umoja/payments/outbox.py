"""The outbox of one market: text messages made from committed orders, kept until they are delivered.

The journal is the queue: a cursor says how far it was read, and moves in the same transaction that
keeps the messages. So no order is passed over, and none makes a message twice, whenever it stops.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import timedelta
from enum import Enum
from itertools import islice
from typing import Protocol

import msgspec
import structlog

from umoja.payments.order import Order
from umoja.storage.port import Row, Sql

BACK_OFF_S = (1, 2, 5, 15, 60)
"""Pauses after the first refusals of a route; the last one holds for all that follow."""

GIVE_UP_AFTER = timedelta(hours=24)
KEPT_FOR = timedelta(days=30)
PRUNE_AT_ONCE = 500
LEASE = timedelta(minutes=2)
"""How long a message that was given out is not given out again, if nothing is noted of it."""

DELIVERED_WITHIN = timedelta(seconds=30)
"""A message that a route took and did not deliver in this time is told as failed."""

NOTICES_FROM = 1 << 61
"""Messages from this place on tell of no journal line and are due as they were written: so many a
second. A receipt's place is twice its line, far below."""

_SECOND = 1_000_000
_MICROSECOND = timedelta(microseconds=1)
_LOST_AFTER = DELIVERED_WITHIN // _MICROSECOND

_AT_ONCE = 100  # places named by one statement
_ROWS = 16  # messages kept by one statement: beyond, binding names costs more than it saves

_COLUMNS = "place, id, phone, text, kind, tries, since, product, value_minor, currency, payer_mark"
_BOUND = tuple(word for word in _COLUMNS.split(", ") if word != "tries")

log = structlog.get_logger()


class Message(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One text message. `id` and `place` are of the order's journal line and the side it goes to.

    `place` is twice the line's sequence, one more for the payee: messages lie in the order of the
    journal. `since` is when what it tells of happened, in microseconds. Product, value, currency,
    payer mark and order mark say what it was for, to operations, who see neither phone nor text.
    """

    id: str
    place: int
    phone: str
    text: str
    kind: str
    since: int
    product: str = ""
    value_minor: int = 0
    currency: str = ""
    payer_mark: int = 0
    order_mark: int = 0  # the same for all messages of an order; not kept
    tries: int = 0  # how often a route refused it


Orders = Sequence[tuple[int, Order]]
"""Orders as their journal lines left them, each with the line's sequence."""

Write = Callable[[Orders], list[Message]]
"""Makes the messages of orders. Same lines, same ids and places."""


class Feed(Protocol):
    """Committed orders in the journal's order: a desk has them, and so has a journal's reader."""

    @property
    def head(self) -> int:
        """Return the sequence of the last line. Raise Unavailable."""
        ...

    def orders(self, *, after: int = 0, limit: int = 500) -> Orders:
        """Return up to `limit` orders behind line `after`. Raise Unavailable."""
        ...


def message_id(order_id: str, sequence: int, side: str) -> str:
    """Return the id of a message. Ids grow with the journal, so their index grows at its end."""
    return f"{sequence:012d}.{order_id}.{side}"


def order_mark(order_id: str) -> int:
    """Return a number that all messages of an order share, and that does not tell the order."""
    return int.from_bytes(hashlib.blake2b(order_id.encode(), digest_size=7).digest())


class Fate(Enum):
    """What became of a message."""

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

    def __init__(self, database: Sql, feed: Feed) -> None:
        """Take up a migrated file. What a stopped process had in its hands is given out again.

        So is what a route had taken a moment before and nobody told of: word of it may have been lost
        with the process. The route knows the ids.
        """
        self._database = database
        self._feed = feed
        for state in ("waiting", "sent"):
            database.run(
                "UPDATE messages SET state = 'waiting', next_at = 0"
                " WHERE state = :state AND place < :notices",
                state=state,
                notices=NOTICES_FROM,
            )
        self._cursor = self._read_cursor()
        head = self._head = feed.head
        if self._cursor > head:
            log.warning("payments.outbox.journal_shorter", cursor=self._cursor, head=head)
            database.run("UPDATE feed SET sequence = :head", head=head)
            self._cursor = head

    @property
    def head(self) -> int:
        """Return the journal's last line when `take` looked last. Asks no file."""
        return self._head

    def take(self, limit: int, *, write: Write, now: int) -> tuple[list[Message], int]:
        """Read up to `limit` orders of the journal; return their messages and how many were read.

        The messages are kept and the cursor moved before this returns. Those that are too old to be
        sent are kept as failed and not returned.
        """
        before, self._head = self._cursor, self._feed.head
        if self._head <= before:
            return [], 0
        orders = self._feed.orders(after=before, limit=limit)
        if not orders:
            return [], 0
        written = write(orders)
        after = orders[-1][0]
        with self._database.transaction():
            cursor = self._read_cursor()
            if cursor == before:
                written = self._not_kept(written)
                self._insert(written, now)
                self._database.run("UPDATE feed SET sequence = :after", after=after)
        if cursor != before:
            # An unclear commit had been kept: its messages are due when their lease is over.
            self._cursor = cursor
            return [], len(orders)
        self._cursor = after
        return [message for message in written if not _is_over(message, now)], len(orders)

    def _not_kept(self, written: list[Message]) -> list[Message]:
        """Return the messages whose place is free, which is all, but for a journal from a copy."""
        if not written:
            return written
        kept = {
            row["place"]: row["id"]
            for row in self._database.query(
                "SELECT place, id FROM messages WHERE place >= :first AND place <= :last",
                first=written[0].place,
                last=written[-1].place,
            )
        }
        if not kept:
            return written
        fresh = [message for message in written if kept.get(message.place) != message.id]
        for names, values in _among([each.place for each in fresh if each.place in kept]):
            self._database.run(f"DELETE FROM messages WHERE place IN ({names})", **values)
        return fresh

    def due(self, now: int, limit: int) -> list[Message]:
        """Give out messages whose pause is over; those tried for a whole day are given up."""
        rows = self._database.query(
            f"SELECT {_COLUMNS} FROM messages WHERE state = 'waiting' AND next_at <= :now"
            " ORDER BY next_at, place LIMIT :limit",
            now=now,
            limit=limit,
        )
        if not rows:
            return []
        messages = [_message(row) for row in rows]
        given = [message for message in messages if not _is_over(message, now)]
        over = [message.place for message in messages if _is_over(message, now)]
        with self._database.transaction():
            self._mark(
                [message.place for message in given],
                "next_at = :next_at WHERE state = 'waiting'",
                next_at=now + LEASE // _MICROSECOND,
            )
            self._mark(
                over, "state = 'failed', next_at = :next_at WHERE state = 'waiting'", next_at=now
            )
        return given

    def next_due_at(self) -> int | None:
        """Return when the next message may be tried again, or None where none waits."""
        row = self._database.one("SELECT min(next_at) FROM messages WHERE state = 'waiting'")
        return None if row is None or row[0] is None else int(row[0])

    def note(
        self,
        fates: Sequence[tuple[int, Fate]],
        *,
        now: int,
        sent: Sequence[tuple[int, int]] = (),
    ) -> None:
        """Write down what became of messages, all or none. A repeat or a late word is harmless.

        `fates` are by place. `sent` are those that a route took: place and when that was; those of
        which nothing is told within DELIVERED_WITHIN of it are given up. Order does not matter,
        but for words of different calls.
        """
        if not fates and not sent:
            return
        places: dict[Fate, list[int]] = {fate: [] for fate in Fate}
        for place, fate in fates:
            places[fate].append(place)
        with self._database.transaction():
            if sent:
                self._database.run_many(
                    "UPDATE messages SET state = 'sent', sent_at = :at, next_at = :lost_at"
                    " WHERE place = :place AND state = 'waiting'",
                    [{"place": place, "at": at, "lost_at": at + _LOST_AFTER} for place, at in sent],
                )
            # In this order a later word wins over an earlier one, and a delivery over all.
            self._mark(
                places[Fate.REFUSED],
                f"tries = tries + 1, next_at = :now + CASE tries {_PAUSES}"
                f" ELSE {BACK_OFF_S[-1] * _SECOND} END WHERE state = 'waiting'",
                now=now,
            )
            self._mark(
                places[Fate.LOST],
                "state = 'failed', next_at = :now WHERE state = 'sent'",
                now=now,
            )
            self._mark(
                places[Fate.DELIVERED],
                "state = 'delivered', next_at = :now WHERE state <> 'delivered'",
                now=now,
            )

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
            " ORDER BY next_at, place LIMIT :limit",
            now=now,
            limit=limit,
        )
        lost = [(_message(row), int(row["sent_at"])) for row in rows]
        self.note([(message.place, Fate.LOST) for message, _ in lost], now=now)
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

    def _insert(self, messages: Sequence[Message], now: int) -> None:
        """Keep new messages, given out already."""
        next_at = now + LEASE // _MICROSECOND
        old = [message for message in messages if _is_over(message, now)]
        new = messages if not old else [each for each in messages if not _is_over(each, now)]
        for state, part, until in (("waiting", new, next_at), ("failed", old, now)):
            for rows in _parts(part):
                statement, names = _INSERTS[len(rows)]
                values: list[str | int] = []
                for each in rows:
                    values += (
                        each.place, each.id, each.phone, each.text, each.kind, each.since,
                        each.product, each.value_minor, each.currency, each.payer_mark,
                    )  # fmt: skip
                self._database.run(
                    statement,
                    **dict(zip(names, values, strict=True)),
                    state=state,
                    now=now,
                    next_at=until,
                )

    def _mark(self, places: Sequence[int], change: str, **values: int) -> None:
        """Change messages by their places, in the open transaction."""
        for names, among in _among(sorted(places)):
            self._database.run(
                f"UPDATE messages SET {change} AND place IN ({names})", **among, **values
            )


def _insert_of(rows: int) -> tuple[str, tuple[str, ...]]:
    """Return a statement that keeps so many messages, and the names of their values in order."""
    lines = ", ".join(
        f"({', '.join(f':{word}{row}' for word in _BOUND)}, 0, :state, :now, 0, :next_at)"
        for row in range(rows)
    )
    columns = f"{', '.join(_BOUND)}, tries, state, made_at, sent_at, next_at"
    names = tuple(f"{word}{row}" for row in range(rows) for word in _BOUND)
    return f"INSERT INTO messages ({columns}) VALUES {lines}", names


_INSERTS = {rows: _insert_of(rows) for rows in (1, _ROWS)}


def _parts(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """Part messages into as many as one statement keeps, and the rest one by one."""
    whole = len(messages) - len(messages) % _ROWS
    for at in range(0, whole, _ROWS):
        yield messages[at : at + _ROWS]
    for message in messages[whole:]:
        yield (message,)


_NAMES = tuple(f"p{at}" for at in range(_AT_ONCE))
_NAMED = ", ".join(f":{name}" for name in _NAMES)


def _among(places: Collection[int]) -> Iterator[tuple[str, dict[str, int]]]:
    """Name places for statements of one form each: the last is filled up with repeats."""
    left = iter(places)
    while part := list(islice(left, _AT_ONCE)):
        part += part[-1:] * (_AT_ONCE - len(part))
        yield _NAMED, dict(zip(_NAMES, part, strict=True))


_PAUSES = " ".join(
    f"WHEN {tries} THEN {pause_s * _SECOND}" for tries, pause_s in enumerate(BACK_OFF_S)
)


def _is_over(message: Message, now: int) -> bool:
    return message.since < now - GIVE_UP_AFTER // _MICROSECOND


def _message(row: Row) -> Message:
    return Message(
        id=row["id"],
        place=row["place"],
        phone=row["phone"],
        text=row["text"],
        kind=row["kind"],
        since=row["since"],
        product=row["product"],
        value_minor=row["value_minor"],
        currency=row["currency"],
        payer_mark=row["payer_mark"],
        order_mark=order_mark(_order_id(row["id"])),
        tries=row["tries"],
    )


def _order_id(message: str) -> str:
    """Return the order's part of a message's id; earlier programs wrote it first."""
    return max(message.split("."), key=len)
