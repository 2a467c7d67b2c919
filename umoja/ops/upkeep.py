"""Upkeep: what wears out or goes wrong by itself, looked at once a minute: tokens' ends, the server's clock.

It only tells levels; whether one is bad is for the detectors to say. What belongs to no market is
told of the market `*`.
"""

from datetime import datetime, timedelta

import structlog

from umoja.clock import Clock, SystemClock, to_micros
from umoja.faults import Fault
from umoja.ops.board import Board
from umoja.ops.machines import Machines
from umoja.storage.port import DatabaseDamaged, Sql

EVERY_S = 60.0
EVERYWHERE = "*"
USED_WITHIN = timedelta(days=7)
"""Whose token was not used for so long misses nothing when it ends."""

FAR_S = 10 * 365 * 86_400.0
"""Told of a token that is gone: nothing ends."""

log = structlog.get_logger()


class Upkeep:
    """Looks at the centre's own keys and at its database server."""

    def __init__(self, database: Sql, *, board: Board, machines: Machines, clock: Clock) -> None:
        self._database = database
        self._board = board
        self._machines = machines
        self._clock = clock
        self._looked_s: float | None = None
        self._told: set[str] = set()

    def look(self) -> None:
        """Look where it is time. What cannot be read now is logged and read at the next look."""
        now_s = self._clock.ticks_s()
        if self._looked_s is not None and now_s - self._looked_s < EVERY_S:
            return
        self._looked_s = now_s
        try:
            self._look_at_tokens(self._clock.now())
            if isinstance(self._clock, SystemClock):  # one that is moved by hand is nobody's
                self.look_at_server()
        except (Fault, DatabaseDamaged) as cause:
            log.warning("ops.upkeep.unread", cause=str(cause))

    def _look_at_tokens(self, now: datetime) -> None:
        standing: dict[str, float] = {}
        for token in self._machines.browse():
            is_used = token.used_at is not None and now - token.used_at <= USED_WITHIN
            if token.expires_at is None or token.revoked_at is not None or not is_used:
                continue
            left_s = (token.expires_at - now).total_seconds()
            name = f"token {token.name}"
            # One that was renewed under its name has its successor's end.
            standing[name] = max(left_s, standing.get(name, left_s))
        for name in self._told - standing.keys():
            self._board.gauge(EVERYWHERE, "expires_in_s", name, FAR_S)
        self._told = set(standing)
        for name, left_s in standing.items():
            self._board.gauge(EVERYWHERE, "expires_in_s", name, left_s)

    def look_at_server(self) -> None:
        """Compare the database server's clock with ours, in the middle of asking for it.

        Nothing is told of a file, whose clock is ours. Raise Unavailable.
        """
        if self._database.kind != "postgres":
            return
        before = to_micros(self._clock.now())
        row = self._database.one(
            "SELECT CAST(1000000 * extract(epoch FROM clock_timestamp()) AS bigint) AS now"
        )
        after = to_micros(self._clock.now())
        if row is None:
            return
        off_ms = (int(row["now"]) - (before + after) // 2) / 1_000
        wait_ms = (after - before) / 2_000
        # Nobody knows where in the waiting the server looked at its clock: that much may be ours.
        sure_ms = max(abs(off_ms) - wait_ms, 0.0)
        self._board.gauge(
            EVERYWHERE, "clock_offset_ms", "database server", sure_ms if off_ms > 0 else -sure_ms
        )
