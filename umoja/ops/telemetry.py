"""Telemetry: what every market does now, counted from the signals of real orders.

A silence is never read as good: a market whose desk gave no sign of life for fifteen seconds is
blind, and minutes in which it was silent are None in every series.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import msgspec
import structlog

from umoja.clock import Clock, to_micros
from umoja.markets.market import Market
from umoja.money import Rounding, divide
from umoja.ops.board import ECHO, Board, Frame
from umoja.ops.counters import (
    ATTEMPTS,
    DONE,
    DUE_AFTER_S,
    FAILED,
    HEARD,
    IN_TIME,
    LATE,
    LATENCY,
    LATER_DONE,
    LATER_FAILED,
    LATER_REFUSED,
    LOST,
    MINUTE_MESSAGE,
    MINUTE_WIDTH,
    REFUSED,
    SENT,
    UNTIMED,
    Counters,
    judged_of,
)
from umoja.ops.finding import PERIOD_S, Counts, Facts
from umoja.ops.impact import Harm
from umoja.ops.rings import percentile_ms
from umoja.signals import CallbacksSeen, EchoSeen, MessagesSeen, OrderSeen, SessionsSeen, Signal

WINDOW_S = 300
RATE_S = 60
BLIND_AFTER_S = 15
FACTS_PERIODS = 12  # of messages, that detectors are shown at each look
SERIES_MAX = 24 * 60
TOP_REASONS = 5
OFFSETS = 4  # of a clock, of which the one least late counts
LATE_MS = 1_000.0  # that a message may have waited each time

PRODUCTS = frozenset(
    {
        "send_money",
        "deposit",
        "withdraw",
        "pay_till",
        "pay_bill",
        "airtime",
        "payout",
        "float_purchase",
        "float_transfer",
        "compensation",
        "till_compensation",
    }
)
"""Products that are counted apart where the hall names no others; every other is "unknown"."""

CHANNELS = frozenset({"api", "ussd"})

Expected = Callable[[Market, datetime], float | None]
"""Returns how many attempts a second are usual in a market at a moment; None where nobody knows."""

Curve = Callable[[Market, datetime], float]
"""Returns how busy a market is at a moment, at any level: for what learns the level itself."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One market now: the last five minutes where nothing else is said. Money in minor units."""

    market: str
    at: datetime
    attempts: int
    completed: int
    refused: int  # the customer's affair
    failed: int  # ours or a partner's
    success_permille: int | None  # of completed and failed; None where there are none
    per_second: float  # attempts, over the last minute
    expected_per_second: float | None  # None where nobody knows
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    pending: int
    oldest_pending_ms: int
    float_minor: Mapping[str, int]
    issued: Mapping[str, int]
    trust: Mapping[str, int]
    trust_gap: Mapping[str, int]  # the bank's statement less what was issued
    payments_today: int  # completed, in the market's business day
    moved_today: Mapping[str, int]
    sms_sent: int
    sms_delivered: int
    sms_failed: int
    sms_permille: int | None  # in time, of those that should have arrived; None where none should
    is_blind: bool  # nothing else here may be shown as good


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One product in one channel of a market, the last five minutes."""

    product: str
    channel: str
    attempts: int
    completed: int
    refused: int
    failed: int
    success_permille: int | None
    p95_ms: float | None
    reasons: tuple[tuple[str, int], ...]  # why it was refused or failed, the most frequent first


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """Callbacks between a market and one partner, or our echoes to him, the last five minutes."""

    channel: str  # webhook: we tell a client; ussd: a gateway asks us; echo: we ask him
    partner: str
    tried: int
    failed: int
    doubled: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """One minute of a market: its ring's row, and attempts, refused and bad of each product."""

    attempts: int
    refused: int
    bad: int
    row: list[int]
    products: list[tuple[str, int, int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gauge:
    """What only the books know, as they told it last."""

    second: int
    pending: int
    oldest_ms: int
    float_minor: Mapping[str, int]
    issued: Mapping[str, int]
    trust: Mapping[str, int]
    head: int


class Telemetry:
    """Counts what it hears and tells what it counted. It keeps nothing on a disk."""

    def __init__(
        self,
        *,
        clock: Clock,
        markets: Sequence[Market],
        expected: Expected | None = None,
        curve: Curve | None = None,
        products: Collection[str] = PRODUCTS,
        channels: Collection[str] = CHANNELS,
    ) -> None:
        """Take the sets of markets, products and channels: what is not in them is never added.

        The detectors are given `curve`; where there is none, `expected`.
        """
        self.markets: tuple[str, ...] = tuple(market.code for market in markets)
        self._clock = clock
        self._expected = expected
        self._curve: Expected | None = curve or expected
        self._counters = {
            market.code: Counters(
                market, products=frozenset(products), channels=frozenset(channels)
            )
            for market in markets
        }
        self.board = Board(self.markets)
        # Of currencies beside a market's first: the board adds money up, so it has to be of one kind.
        self._rates = {
            (market.code, currency): rate
            for market in markets
            for currency, rate in market.reference_rates.items()
        }
        self._usual: dict[str, float] = {}
        self._usual_minute = -1
        self._gauges: dict[str, _Gauge] = {}
        self._shown_s: dict[str, int] = {}
        self._offsets: dict[str, deque[float]] = {}
        self._began_s = self._now_s()
        self._uncounted = 0
        self._trouble: Exception | None = None

    # Hearing

    def hear(self, signal: Signal) -> None:
        """Count one signal. Never waits, never raises, touches no file: a payment is behind it."""
        try:
            if isinstance(signal, OrderSeen):
                self._counters[signal.market].order(signal)
                rate = self._rates.get((signal.market, signal.currency))
                self.board.order(signal if rate is None else _in_first_currency(signal, rate))
            elif isinstance(signal, MessagesSeen):
                self._counters[signal.market].messages_many(
                    signal.second, signal.route, sent=signal.sent, in_time=signal.in_time
                )
                self.board.messages(signal)
            elif isinstance(signal, SessionsSeen):
                self.board.sessions(signal)
            elif isinstance(signal, CallbacksSeen):
                self._counters[signal.market].called(self._now_s(), signal)
                self.board.callbacks(signal)
            else:
                self._counters[signal.market].message(signal)
                self.board.message(signal)
        except Exception as cause:  # noqa: BLE001  the centre's trouble is told at its next look
            self._uncounted += 1
            self._trouble = cause

    def hear_many(self, signals: Iterable[Signal]) -> None:
        """Count many signals, as `hear` counts one."""
        for signal in signals:
            self.hear(signal)

    def echo(self, market: str, seen: EchoSeen) -> None:
        """Count echoes of a partner."""
        self._counters[market].called(
            self._now_s(),
            CallbacksSeen(
                market=market,
                channel=ECHO,
                partner=seen.partner,
                tried=seen.asked,
                failed=seen.lost,
            ),
        )
        self.board.echo(market, seen)

    def gauge(
        self,
        market: str,
        *,
        pending: int,
        oldest_ms: int,
        float_minor: Mapping[str, int],
        issued: Mapping[str, int],
        trust: Mapping[str, int],
        head: int,
    ) -> None:
        """Take what the books say now. It is also the sign of life of the market's desk."""
        second = self._now_s()
        self._gauges[market] = _Gauge(
            second=second,
            pending=pending,
            oldest_ms=oldest_ms,
            float_minor=float_minor,
            issued=issued,
            trust=trust,
            head=head,
        )
        self._counters[market].heard(second)
        self.board.heard(market, second)
        self.board.gauge(market, "oldest_s", "recovery", oldest_ms / 1_000)
        for currency in trust.keys() | issued.keys():
            gap = trust.get(currency, 0) - issued.get(currency, 0)
            self.board.gauge(market, "trust_gap", currency, gap)

    def clock_told(self, market: str, micros: int) -> None:
        """Take what a market's clock says now; its distance from ours is kept as a level.

        A message that waits on its way makes a clock look late, never early: of the last few the
        one that was least late counts, and what is late by less than a second is not told.
        """
        lately = self._offsets.setdefault(market, deque(maxlen=OFFSETS))
        lately.append((micros - to_micros(self._clock.now())) / 1_000)
        if len(lately) == OFFSETS:
            least = max(lately)
            off = least if least > 0 else min(least + LATE_MS, 0.0)
            self.board.gauge(market, "clock_offset_ms", "market process", off)

    def messages(
        self, market: str, route: str, *, sent: int, in_time: int, lost: int, lost_minor: int = 0
    ) -> None:
        """Count many messages of now at once; `lost_minor` is the value of the payments they told of."""
        second = self._now_s()
        counters = self._counters[market]
        counters.messages_many(second, route, sent=sent, in_time=in_time, lost=lost)
        if lost:
            counters.lost_receipts.add_many(
                second, payments=lost, minor=lost_minor, currency=self.currency(market)
            )

    # Telling

    def figures(self, market: str) -> Figures:
        """Return a market's figures now. Raise KeyError for a market that is not watched."""
        counters = self._counters[market]
        now = self._clock.now()
        second = to_micros(now) // 1_000_000
        since, until = _window(second)
        row = counters.row(since=since, until=until)
        latency = row[LATENCY:UNTIMED]
        gauge = self._gauges.get(market)
        _, payments_today, moved_today = counters.today(second)
        sms = counters.message_row(since=since, until=until)
        due, _ = counters.due(second)
        judged = sum(each.judged for each in due)
        missing = sum(each.missing for each in due)
        return Figures(
            market=market,
            at=now,
            attempts=_attempts(row),
            completed=_completed(row),
            refused=_refused(row),
            failed=_failed(row),
            success_permille=_success(row),
            per_second=self._per_second(counters, second),
            expected_per_second=(
                self._expected(counters.market, now) if self._expected is not None else None
            ),
            p50_ms=percentile_ms(latency, 500),
            p95_ms=percentile_ms(latency, 950),
            p99_ms=percentile_ms(latency, 990),
            pending=gauge.pending if gauge else 0,
            oldest_pending_ms=gauge.oldest_ms if gauge else 0,
            float_minor=gauge.float_minor if gauge else {},
            issued=gauge.issued if gauge else {},
            trust=gauge.trust if gauge else {},
            trust_gap=(
                {
                    currency: gauge.trust.get(currency, 0) - gauge.issued.get(currency, 0)
                    for currency in sorted(gauge.trust.keys() | gauge.issued.keys())
                }
                if gauge
                else {}
            ),
            payments_today=payments_today,
            moved_today=moved_today,
            sms_sent=sms[SENT],
            sms_delivered=sms[IN_TIME] + sms[LATE],
            sms_failed=sms[LOST],
            sms_permille=(judged - missing) * 1000 // judged if judged else None,
            is_blind=gauge is None or second - gauge.second > BLIND_AFTER_S,
        )

    def parts(self, market: str) -> list[Part]:
        """Return each product and channel that was used, the most used first."""
        counters = self._counters[market]
        since, until = _window(self._now_s())
        found = []
        for (product, channel), cell in list(counters.cells.items()):
            row = cell.ring.row(since=since, until=until)
            if not any(row):
                continue
            reasons = counters.reason_counts(cell, since=since, until=until)
            found.append(
                Part(
                    product=product,
                    channel=channel,
                    attempts=_attempts(row),
                    completed=_completed(row),
                    refused=_refused(row),
                    failed=_failed(row),
                    success_permille=_success(row),
                    p95_ms=percentile_ms(row[LATENCY:UNTIMED], 950),
                    reasons=tuple(reasons[:TOP_REASONS]),
                )
            )
        return sorted(found, key=lambda part: (-part.attempts, part.product, part.channel))

    def callbacks(self, market: str) -> list[Called]:
        """Return the callbacks with each partner that had any: first what fails most, then the most."""
        return [each for each in self._called(market) if each.channel != ECHO]

    def echoes(self, market: str) -> list[Called]:
        """Return the echoes of each partner: first what fails most."""
        return [each for each in self._called(market) if each.channel == ECHO]

    def _called(self, market: str) -> list[Called]:
        since, until = _window(self._now_s())
        found = []
        for (channel, partner), ring in list(self._counters[market].callbacks.items()):
            tried, failed, doubled = ring.row(since=since, until=until)
            if tried or failed or doubled:
                found.append(
                    Called(
                        channel=channel,
                        partner=partner,
                        tried=tried,
                        failed=failed,
                        doubled=doubled,
                    )
                )
        return sorted(found, key=lambda each: (-each.failed, -each.tried, each.partner))

    def series(self, market: str, what: str, *, minutes: int = 60) -> list[float | None]:
        """Return one value a minute, oldest first, without the running minute; at most a day.

        `what` is attempts, completed, failed, refused (counts), per_second, success, sms (permille)
        or p95 (milliseconds); KeyError for anything else. None where the market was not heard, or
        where there was nothing to make the value of.
        """
        value = _SERIES[what]
        wanted = max(0, min(minutes, SERIES_MAX))
        second = self._now_s()
        until = second // 60 * 60
        since = until - wanted * 60
        rows = self._counters[market].minutes.rows(since=since, until=until)
        settled_until = second - DUE_AFTER_S
        return [
            value(list(row), since + (place + 1) * 60 <= settled_until)
            if row[HEARD] or _attempts(row)
            else None
            for place, row in enumerate(rows)
        ]

    # For the history

    def minute(self, market: str, minute_s: int) -> Minute | None:
        """Return what was counted in one minute of the last five, or None where nothing was heard."""
        counters = self._counters[market]
        row = counters.minutes.row(since=minute_s, until=minute_s + 60)
        if not row[HEARD] and not _attempts(row):
            return None
        sums: dict[str, list[int]] = {}
        for (product, _), cell in list(counters.cells.items()):
            part = cell.ring.row(since=minute_s, until=minute_s + 60)
            found = sums.setdefault(product, [0, 0, 0])
            found[0] += _attempts(part)
            found[1] += _refused(part)
            found[2] += _failed(part)
        return Minute(
            attempts=_attempts(row),
            refused=_refused(row),
            bad=_failed(row),
            row=list(row),
            products=[
                (name, found[0], found[1], found[2])
                for name, found in sorted(sums.items())
                if any(found)
            ],
        )

    def recall(self, market: str, minutes: Sequence[tuple[int, Sequence[int]]]) -> None:
        """Take up minutes that were kept before a start, oldest first; those of another form are left."""
        ring = self._counters[market].minutes
        for second, row in minutes:
            if len(row) == MINUTE_WIDTH:
                for column, by in enumerate(row):
                    if by:
                        ring.add(second, column, by)

    # For the watch

    def facts(self, market: str) -> Facts:
        """Return what detectors may know of a market now."""
        second = self._now_s()
        counters = self._counters[market]
        if counters.mend(second):
            log.warning("ops.telemetry.clock_set_back", market=market)
        # What was shown before is not shown again, but for a period or two of overlap.
        last = (second - self._shown_s.get(market, 0)) // PERIOD_S + 2
        self._shown_s[market] = second
        if not 0 < last < FACTS_PERIODS:
            last = FACTS_PERIODS
        due, by_route = counters.due(second, last=last)
        return Facts(market=market, now_s=second, due=due, by_route=by_route)

    def currency(self, market: str) -> str:
        """Return the market's first currency, in which the board counts money."""
        return self._counters[market].market.currencies[0].code

    def frame(self, planned: Mapping[str, Collection[str]] | None = None) -> Frame | None:
        """Return what all markets did since this was last asked; None where no time has passed.

        `planned` are the names that are worked on, by market. The watch asks; nobody else may, since
        what was told once is not told again.
        """
        second = self._now_s()
        if self._curve is not None and second // 60 != self._usual_minute:
            self._usual_minute = second // 60
            now = self._clock.now()
            self._usual = {
                code: usual
                for code, counters in self._counters.items()
                if (usual := self._curve(counters.market, now)) is not None
            }
        return self.board.step(
            second, blind_after_s=BLIND_AFTER_S, expected=self._usual, planned=planned
        )

    def harm(self, market: str, counts: Counts) -> Harm:
        """Return where the impact of a kind of trouble is counted."""
        counters = self._counters[market]
        match counts:
            case Counts.RECEIPTS:
                return counters.lost_receipts
            case Counts.PAYMENTS:
                return counters.failed_payments
            case Counts.PINS:
                return counters.wrong_pins

    def usual(self, market: str, at: datetime) -> float | None:
        """Return how many attempts a second are usual in a market at a moment; None: nobody knows."""
        if self._expected is None:
            return None
        return self._expected(self._counters[market].market, at)

    def today(self, market: str) -> tuple[date, int, dict[str, int]]:
        """Return the business day, its completed payments and the value they moved."""
        return self._counters[market].today(self._now_s())

    def go_on(self, market: str, *, day: date, payments: int, moved: dict[str, int]) -> None:
        """Take up what was counted of the running day before a stop. Call it once, at the start."""
        self._counters[market].go_on(self._now_s(), day=day, payments=payments, moved=moved)

    def uncounted(self) -> tuple[int, Exception | None]:
        """Return how many signals could not be counted since this was last asked, and the last why."""
        found = self._uncounted, self._trouble
        self._uncounted, self._trouble = 0, None
        return found

    def _now_s(self) -> int:
        return to_micros(self._clock.now()) // 1_000_000

    def _per_second(self, counters: Counters, second: int) -> float:
        """Return attempts a second over the last minute's whole periods, or since the start."""
        until = second // PERIOD_S * PERIOD_S
        since = until - RATE_S
        heard_s = min(RATE_S, until - self._began_s // PERIOD_S * PERIOD_S)
        if heard_s <= 0:
            return 0.0
        return _attempts(counters.row(since=since, until=until)) / heard_s


def _window(second: int) -> tuple[int, int]:
    """Return the five minutes that end with the running period."""
    until = (second // PERIOD_S + 1) * PERIOD_S
    return until - WINDOW_S, until


def _attempts(row: Sequence[int]) -> int:
    return sum(row[column] for column in ATTEMPTS)


def _completed(row: Sequence[int]) -> int:
    return row[DONE] + row[LATER_DONE]


def _refused(row: Sequence[int]) -> int:
    return row[REFUSED] + row[LATER_REFUSED]


def _failed(row: Sequence[int]) -> int:
    return row[FAILED] + row[LATER_FAILED]


def _success(row: Sequence[int]) -> int | None:
    completed, failed = _completed(row), _failed(row)
    return completed * 1000 // (completed + failed) if completed + failed else None


def _sms(row: list[int], is_settled: bool) -> float | None:  # noqa: FBT001  one of a table of such
    sent, in_time, late, lost = row[MINUTE_MESSAGE : MINUTE_MESSAGE + 4]
    # What was sent a moment ago and is on its way is not missing yet.
    judged, missing = judged_of(sent if is_settled else in_time + late, in_time, lost)
    return (judged - missing) * 1000 / judged if judged else None


def _success_of(row: list[int]) -> float | None:
    found = _success(row)
    return None if found is None else float(found)


_SERIES: dict[str, Callable[[list[int], bool], float | None]] = {
    "attempts": lambda row, _: float(_attempts(row)),
    "completed": lambda row, _: float(_completed(row)),
    "failed": lambda row, _: float(_failed(row)),
    "refused": lambda row, _: float(_refused(row)),
    "per_second": lambda row, _: _attempts(row) / 60,
    "success": lambda row, _: _success_of(row),
    "p95": lambda row, _: percentile_ms(row[LATENCY:UNTIMED], 950),
    "sms": _sms,
}


def _in_first_currency(seen: OrderSeen, rate: tuple[int, int]) -> OrderSeen:
    """Return an order with its money in the market's first currency, by the pack's reference rate."""
    numerator, denominator = rate
    value = divide(seen.value_minor * denominator, numerator, Rounding.HALF_UP)
    return msgspec.structs.replace(seen, value_minor=value)
