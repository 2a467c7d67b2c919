"""Days: what was counted of each market's business day, kept now and then for the next start."""

import json
from datetime import date

import structlog

from umoja.clock import Clock
from umoja.faults import Fault
from umoja.ops.telemetry import Telemetry
from umoja.storage.port import DatabaseDamaged, Sql

KEEP_EVERY_S = 15.0
"""What a kill may lose of the day's count on the wall; the books lose nothing."""

log = structlog.get_logger()


class Days:
    """Carries the counts of the running day over a stop."""

    def __init__(self, database: Sql, *, telemetry: Telemetry, clock: Clock) -> None:
        """Hand what was kept of the running day to the telemetry."""
        self._database = database
        self._telemetry = telemetry
        self._clock = clock
        self._kept_s = clock.ticks_s()
        self._kept: dict[str, tuple[str, int]] = {}
        known = set(telemetry.markets)
        for row in database.query("SELECT market, day, payments, moved FROM days"):
            if row["market"] in known:
                telemetry.go_on(
                    row["market"],
                    day=date.fromisoformat(row["day"]),
                    payments=row["payments"],
                    moved=json.loads(row["moved"]),
                )

    def keep(self, *, is_last: bool = False) -> None:
        """Write the counts down where it is time. A disk that fails is logged; repeating is harmless."""
        now_s = self._clock.ticks_s()
        if not is_last and now_s - self._kept_s < KEEP_EVERY_S:
            return
        self._kept_s = now_s
        rows: list[dict[str, str | int]] = []
        for market in self._telemetry.markets:
            day, payments, moved = self._telemetry.today(market)
            if self._kept.get(market) != (str(day), payments):
                rows.append(
                    {
                        "market": market,
                        "day": str(day),
                        "payments": payments,
                        "moved": json.dumps(moved, sort_keys=True),
                    }
                )
        if not rows:
            return
        try:
            self._database.run_many(
                "INSERT INTO days VALUES (:market, :day, :payments, :moved)"
                " ON CONFLICT (market) DO UPDATE SET day = :day, payments = :payments,"
                " moved = :moved",
                rows,
            )
        except (Fault, DatabaseDamaged) as cause:
            log.warning("ops.days.unwritten", cause=str(cause))
            return
        for row in rows:
            self._kept[str(row["market"])] = (str(row["day"]), int(str(row["payments"])))
