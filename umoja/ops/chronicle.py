"""The chronicle: each minute of every market by flow, product, channel, partner and cell, for 400 days.

A minute in which a market was not heard has no row: whoever reads finds a gap there, not a nought.
"""

import zlib
from collections import deque

import msgspec
import structlog

from umoja.clock import Clock, to_micros
from umoja.faults import Fault
from umoja.ops.board import WIDTH, Board, Key
from umoja.storage.port import DatabaseDamaged, Sql

KEPT_DAYS = 400
DAY_MIN = 24 * 60
WAITING_MAX = 2 * 60 * 8  # rows that wait for a database that fails; the oldest are given up
READ_MAX = 31 * DAY_MIN  # minutes that are read at once
UNPACKED_MAX = 1 << 20  # bytes

log = structlog.get_logger()

Minute = dict[Key, list[int]]


class Chronicle:
    """Writes minutes down as they end, and reads them again."""

    def __init__(self, database: Sql, *, board: Board, clock: Clock) -> None:
        self._database = database
        self._board = board
        self._clock = clock
        self._minute = self._now()
        self._swept = 0
        self._waiting: deque[dict[str, str | int | bytes]] = deque(maxlen=WAITING_MAX)

    def keep(self) -> None:
        """Write the minute that has ended, if one has. A disk that fails is logged, and tried again."""
        now = self._now()
        if now == self._minute:
            return
        minute, self._minute = self._minute, now
        for market, counted in self._board.minute().items():
            self._waiting.append({"market": market, "minute": minute, "counted": _packed(counted)})
        try:
            if self._waiting:
                self._database.run_many(
                    "INSERT INTO minutes (market, minute, counted)"
                    " VALUES (:market, :minute, :counted)"
                    " ON CONFLICT (market, minute) DO NOTHING",
                    list(self._waiting),
                )
                self._waiting.clear()
            if now - self._swept >= 60:
                self._swept = now
                self._database.run(
                    "DELETE FROM minutes WHERE minute < :before", before=now - KEPT_DAYS * DAY_MIN
                )
        except (Fault, DatabaseDamaged) as cause:
            log.warning("ops.chronicle.unwritten", cause=str(cause), waiting=len(self._waiting))

    def between(self, market: str, since: int, until: int) -> list[Minute | None]:
        """Return each minute of [since, until), oldest first; None where the market was not heard.

        Minutes count from 1970 in UTC; at most a month of them. Columns are those of the board.
        Raise Unavailable where the database cannot be read.
        """
        until = min(until, since + READ_MAX)
        found: list[Minute | None] = [None] * max(0, until - since)
        for row in self._database.query(
            "SELECT minute, counted FROM minutes"
            " WHERE market = :market AND minute >= :since AND minute < :until",
            market=market,
            since=since,
            until=until,
        ):
            found[int(row["minute"]) - since] = _unpacked(market, bytes(row["counted"]))
        return found

    def _now(self) -> int:
        return to_micros(self._clock.now()) // 60_000_000


def _packed(counted: Minute) -> bytes:
    """Pack a minute: of each key its parts, and its counts without the noughts at the end."""
    rows = []
    for key, counts in sorted(counted.items()):
        last = max((at + 1 for at, count in enumerate(counts) if count), default=0)
        rows.append([*key[1:], counts[:last]])
    return zlib.compress(msgspec.msgpack.encode(rows), 1)


def _unpacked(market: str, kept: bytes) -> Minute:
    reader = zlib.decompressobj()
    rows = msgspec.msgpack.decode(reader.decompress(kept, UNPACKED_MAX))
    return {Key(market, *row[:-1]): row[-1] + [0] * (WIDTH - len(row[-1])) for row in rows}
