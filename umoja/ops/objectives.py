"""Objectives: what share must succeed, what is left of the budget, and how fast it burns.

For that every minute of each market and product is kept for 400 days, and fills the charts at a start.

A minute that was not heard is not kept: later it is a gap, never a good minute.
"""

from dataclasses import dataclass
from typing import Final

import msgspec
import structlog

from umoja.clock import Clock, to_micros
from umoja.faults import Fault
from umoja.ops.telemetry import Telemetry
from umoja.storage.port import DatabaseDamaged, Sql

MINUTE_S = 60
SETTLED_AFTER_S = 20  # after its end, when its receipts have come or are counted as missing
KEPT_FOR_S = 400 * 86_400
PRUNE_EVERY_S = 3_600
BACKLOG_MAX = 30  # minutes written at once after a trouble; older ones are in memory's charts only

OBJECTIVE_DAYS = 28
OBJECTIVES_PERMILLE = {"send_to_bank": 985, "airtime": 985}
"""Of attempts that no customer's own cause refused, how many must succeed, where a partner answers."""

OBJECTIVE_PERMILLE = 995
"""For everything that our own ledger decides."""

PAGES = ((3_600, 300, 144), (21_600, 1_800, 60))
TICKETS = ((86_400, 7_200, 30), (259_200, 21_600, 10))
"""A long and a short window in seconds, and how many tenths of the even rate both must burn at.

Two per cent of 28 days' budget in an hour, five in six hours page; ten in a day or in three days are
for working hours. From the multi-window rules of site reliability engineering.
"""

BAD_LEAST = 20  # below so many failures a burn rate says nothing
STILL_S = 180  # a budget that does not burn in these last seconds has stopped burning

BURN: Final = "budget_burn"
"""The gauge of the board that tells of each product how many times the pace that pages it burns."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """What was counted in a stretch. `judged` leaves out what a customer's own cause refused."""

    judged: int
    bad: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Burn:
    """How fast a budget burns in a long and a short window, in tenths of the even pace.

    None: nothing was judged there. `limit` is what both must reach, `is_over` whether they do, with
    enough failures to be sure.
    """

    name: str  # 'page' or 'ticket'
    long_s: int
    short_s: int
    limit: int
    long: int | None
    short: int | None
    is_over: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What is left of an objective's budget. `left_permille` may be below nought."""

    market: str
    product: str
    objective_permille: int
    judged: int
    bad: int
    allowed: int
    left_permille: int
    burns: str  # '', 'ticket' or 'page'
    rates: tuple[Burn, ...] = ()  # the fastest window first


def objective_of(product: str) -> int:
    return OBJECTIVES_PERMILLE.get(product, OBJECTIVE_PERMILLE)


def is_burning(long: Count, short: Count, *, objective_permille: int, tenths: int) -> bool:
    """Tell whether a budget burns at `tenths`/10 times the even rate, in both windows."""
    allowed = 1000 - objective_permille
    return long.bad >= BAD_LEAST and all(
        each.judged > 0 and each.bad * 10_000 > tenths * allowed * each.judged
        for each in (long, short)
    )


def pace(count: Count, *, objective_permille: int) -> int | None:
    """Return how fast a budget burns, in tenths of the even pace; None where nothing was judged."""
    allowed = 1000 - objective_permille
    return count.bad * 10_000 // (allowed * count.judged) if count.judged else None


class Objectives:
    """Keeps minutes and answers from them. Calls may come from any thread."""

    def __init__(self, database: Sql, *, telemetry: Telemetry, clock: Clock) -> None:
        """Take a migrated database, and fill the charts of the last day from it."""
        self._database = database
        self._telemetry = telemetry
        self._clock = clock
        now_s = self._now_s()
        self._kept_until = (now_s - SETTLED_AFTER_S) // MINUTE_S * MINUTE_S
        self._pruned_s = 0
        self._used: set[tuple[str, str]] = set()  # markets and products since the start
        for market in telemetry.markets:
            rows = database.query(
                "SELECT minute, body FROM tallies WHERE market = :market AND product = ''"
                " AND minute >= :since ORDER BY minute",
                market=market,
                since=now_s - 86_400,
            )
            telemetry.recall(
                market, [(row["minute"], msgspec.msgpack.decode(row["body"])) for row in rows]
            )

    def keep(self) -> None:
        """Write the minutes that are over. A disk that fails is told, and tried again next time."""
        until = (self._now_s() - SETTLED_AFTER_S) // MINUTE_S * MINUTE_S
        since = max(self._kept_until, until - BACKLOG_MAX * MINUTE_S)
        if until <= since:
            return
        rows: list[dict[str, str | int | bytes]] = []
        for minute in range(since, until, MINUTE_S):
            for market in self._telemetry.markets:
                rows += self._rows(market, minute)
        self._used |= {(str(row["market"]), str(row["product"])) for row in rows if row["product"]}
        try:
            self._database.run_many(
                "INSERT INTO tallies (market, product, minute, attempts, refused, bad, body)"
                " VALUES (:market, :product, :minute, :attempts, :refused, :bad, :body)"
                " ON CONFLICT (market, product, minute) DO NOTHING",
                rows,
            )
            if until - self._pruned_s >= PRUNE_EVERY_S:
                self._database.run(
                    "DELETE FROM tallies WHERE minute < :before", before=until - KEPT_FOR_S
                )
                self._pruned_s = until
        except (Fault, DatabaseDamaged) as cause:
            log.warning("ops.objectives.unkept", cause=str(cause))
            return
        self._kept_until = until
        self._tell_burns()

    def _tell_burns(self) -> None:
        """Tell the board how fast each budget burns now, for the detector that pages."""
        try:
            for market, product in sorted(self._used):
                level = self._burning(market, product)
                self._telemetry.board.gauge(market, BURN, product, level)
        except (Fault, DatabaseDamaged) as cause:
            log.warning("ops.objectives.unread", cause=str(cause))

    def _burning(self, market: str, product: str) -> float:
        """Return how many times the pace that pages a product's budget burns.

        The pace is the slower one of both windows, and of the last minutes: what is over is over.
        """
        until = self._now_s()
        since = until - SETTLED_AFTER_S - MINUTE_S  # where the last minute that is kept may end
        goal = objective_of(product)

        def counted(span: int) -> Count:
            return self.counted(market, product, since=since - span, until=until)

        last = pace(counted(STILL_S), objective_permille=goal)
        if last == 0:
            return 0.0
        found = 0.0
        for long_s, short_s, tenths in PAGES:
            long, short = counted(long_s), counted(short_s)
            if long.bad >= BAD_LEAST:
                paces = [pace(each, objective_permille=goal) or 0 for each in (long, short)]
                found = max(found, min(paces if last is None else [*paces, last]) / tenths)
        return found

    def _rows(self, market: str, minute: int) -> list[dict[str, str | int | bytes]]:
        whole = self._telemetry.minute(market, minute)
        if whole is None:
            return []
        rows: list[dict[str, str | int | bytes]] = [
            {
                "market": market,
                "product": "",
                "minute": minute,
                "attempts": whole.attempts,
                "refused": whole.refused,
                "bad": whole.bad,
                "body": msgspec.msgpack.encode(whole.row),
            }
        ]
        rows += [
            {
                "market": market,
                "product": product,
                "minute": minute,
                "attempts": attempts,
                "refused": refused,
                "bad": bad,
                "body": b"",
            }
            for product, attempts, refused, bad in whole.products
        ]
        return rows

    def counted(self, market: str, product: str, *, since: int, until: int) -> Count:
        """Return what was counted in [since, until) seconds; '' is the whole market."""
        row = self._database.one(
            "SELECT coalesce(sum(attempts - refused), 0), coalesce(sum(bad), 0) FROM tallies"
            " WHERE market = :market AND product = :product"
            " AND minute >= :since AND minute < :until",
            market=market,
            product=product,
            since=since,
            until=until,
        )
        assert row is not None, "a sum is one row"
        return Count(judged=int(row[0]), bad=int(row[1]))

    def products(self, market: str) -> list[str]:
        """Return the products that were used in the objective's days."""
        # From one name to the next along the key: to read every minute of 400 days takes a second.
        rows = self._database.query(
            "WITH RECURSIVE names(product) AS ("
            " SELECT min(product) FROM tallies WHERE market = :market AND product > ''"
            " UNION ALL SELECT (SELECT min(product) FROM tallies WHERE market = :market"
            " AND product > names.product) FROM names WHERE names.product IS NOT NULL)"
            " SELECT product FROM names WHERE product IS NOT NULL AND EXISTS (SELECT 1 FROM tallies"
            " WHERE market = :market AND product = names.product AND minute >= :since)"
            " ORDER BY product",
            market=market,
            since=self._now_s() - OBJECTIVE_DAYS * 86_400,
        )
        return [row["product"] for row in rows]

    def budgets(self, market: str) -> list[Budget]:
        """Return each product's budget, and how fast it burns now."""
        return [self._budget(market, product) for product in self.products(market)]

    def _budget(self, market: str, product: str) -> Budget:
        now = self._now_s()
        objective = objective_of(product)
        month = self.counted(market, product, since=now - OBJECTIVE_DAYS * 86_400, until=now)
        budget = month.judged * (1000 - objective)  # in thousandths of a payment
        rates = tuple(
            self._burn(market, product, name, windows, now)
            for name, group in (("page", PAGES), ("ticket", TICKETS))
            for windows in group
        )
        over = [each.name for each in rates if each.is_over]
        burns = "page" if "page" in over else over[0] if over else ""
        return Budget(
            market=market,
            product=product,
            objective_permille=objective,
            judged=month.judged,
            bad=month.bad,
            allowed=budget // 1000,
            left_permille=(budget - month.bad * 1000) * 1000 // budget if budget else 1000,
            burns=burns,
            rates=rates,
        )

    def _burn(
        self, market: str, product: str, name: str, windows: tuple[int, int, int], now: int
    ) -> Burn:
        long_s, short_s, tenths = windows
        goal = objective_of(product)
        long = self.counted(market, product, since=now - long_s, until=now)
        short = self.counted(market, product, since=now - short_s, until=now)
        return Burn(
            name=name,
            long_s=long_s,
            short_s=short_s,
            limit=tenths,
            long=pace(long, objective_permille=goal),
            short=pace(short, objective_permille=goal),
            is_over=is_burning(long, short, objective_permille=goal, tenths=tenths),
        )

    def _now_s(self) -> int:
        return to_micros(self._clock.now()) // 1_000_000
