"""What is usual in a market: the curve of its days at a level that is learned from what comes.

The curve is the pack's (season, paydays, holidays, peaks); how much comes at all nobody has to know
beforehand. The level fades over a week and is kept for the next start.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

import structlog

from umoja.clock import Clock, from_micros, to_micros
from umoja.faults import Fault
from umoja.markets.busy import busy_at
from umoja.markets.market import Market
from umoja.storage.port import DatabaseDamaged, Sql

FADES_OVER_MIN = 7 * 24 * 60
KNOWN_AFTER_MIN = 120  # minutes that were seen, before anybody is told what is usual
BACK_MIN = 3  # minutes that are caught up with after a pause; the others are gone
KEEP_EVERY_MIN = 5

Came = Callable[[str, int], int | None]
"""Returns the attempts of a market in the minute that begins at a second; None: it was not heard."""

log = structlog.get_logger()


class Usual:
    """Learns and tells. `look` is for one caller; `per_second` may be called from any thread."""

    def __init__(self, database: Sql, *, clock: Clock, markets: Sequence[Market]) -> None:
        """Take a migrated database, and what was learned before."""
        self._database = database
        self._clock = clock
        self._markets = {market.code: market for market in markets}
        self._levels: dict[str, tuple[float, float, int]] = {
            row["market"]: (row["came"], row["usual"], row["minutes"])
            for row in database.query("SELECT market, came, usual, minutes FROM levels")
        }
        self._until_min = self._now_min()
        self._kept_min = self._until_min

    def per_second(self, market: Market, at: datetime) -> float | None:
        """Return how many attempts a second are usual at a moment; None: not learned yet."""
        came, usual, minutes = self._levels.get(market.code, (0.0, 0.0, 0))
        if minutes < KNOWN_AFTER_MIN or usual <= 0.0:
            return None
        return came / usual * busy_at(market, at)

    def look(self, came: Came, *, is_ill: Callable[[str], bool]) -> None:
        """Learn from the minutes that have ended. What comes to a market that is ill is not usual.

        A disk that fails is logged, and what was learned is written later.
        """
        now = self._now_min()
        for minute in range(max(self._until_min, now - BACK_MIN), now):
            for code, market in self._markets.items():
                count = None if is_ill(code) else came(code, minute * 60)
                if count is not None:
                    self._learn(market, minute, count)
        self._until_min = now
        if now - self._kept_min >= KEEP_EVERY_MIN:
            self.keep()

    def _learn(self, market: Market, minute: int, count: int) -> None:
        came, usual, minutes = self._levels.get(market.code, (0.0, 0.0, 0))
        fades = 1 - 1 / FADES_OVER_MIN
        middle = from_micros((minute * 60 + 30) * 1_000_000)
        self._levels[market.code] = (
            came * fades + count,
            usual * fades + 60 * busy_at(market, middle),
            minutes + 1,
        )

    def keep(self) -> None:
        """Write the levels down for the next start. A disk that fails is logged."""
        self._kept_min = self._now_min()
        try:
            self._database.run_many(
                "INSERT INTO levels (market, came, usual, minutes)"
                " VALUES (:market, :came, :usual, :minutes) ON CONFLICT (market) DO UPDATE SET"
                " came = excluded.came, usual = excluded.usual, minutes = excluded.minutes",
                [
                    {"market": code, "came": came, "usual": usual, "minutes": minutes}
                    for code, (came, usual, minutes) in self._levels.items()
                    if code in self._markets
                ],
            )
        except (Fault, DatabaseDamaged) as cause:
            log.warning("ops.usual.unwritten", cause=str(cause))

    def _now_min(self) -> int:
        return to_micros(self._clock.now()) // 60_000_000
