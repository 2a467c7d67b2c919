"""The board: what every market does, by flow, product, channel, partner and cell, a step at a time.

All markets stand in one table, so that a look at all of them is a few operations on arrays. Signals
are added one by one (`order`, `message`) or many at once (`add_many`); the watch takes a step off
every few seconds. A step is counted once for every key and once for every group of keys that a
detector may judge: a market's flow, and each product, channel, partner and cell of it.
"""

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from umoja.signals import (
    RECEIPT_DUE_S,
    CallbacksSeen,
    EchoSeen,
    FeesSeen,
    HeldSeen,
    MessageSeen,
    MessagesSeen,
    OrderSeen,
    Outcome,
    SessionsSeen,
    latency_bucket,
)

# Columns of a key. Money is in minor units of the market's first currency.
(
    ATTEMPTS, REFUSED, FAILED, UNCLEAR, TIMED, BUCKETS, PIN, DOUBLED, FEE, FEE_DUE, VALUE, VALUE_FAILED,
) = range(12)  # fmt: skip
WIDTH: Final = 12

KEYS_MAX: Final = 512  # a market; what is beyond is counted as "other"
NAME_MAX: Final = 40
# What an order is refused for (umoja.payments.order.Decline): tries beyond the third find it locked.
PIN_REASONS: Final = frozenset({"pin_wrong", "pin_locked"})
PIN_AGAIN_S: Final = 600  # who mistakes a PIN again within that is counted already
MISTAKEN_MAX: Final = 4_096  # customers a market that are remembered for it

PAY: Final = "pay"
SMS: Final = "sms"
SESSION: Final = "session"
CALLBACK: Final = "callback"
HELD: Final = "held"
ECHO: Final = "echo"

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


class Key(NamedTuple):
    """What is counted apart."""

    market: str
    flow: str = PAY
    product: str = ""
    channel: str = ""
    partner: str = ""
    cell: str = ""


class Group(NamedTuple):
    """Keys of one market and flow that share something; `kind`: market, product, channel, vendor, cell."""

    market: str
    flow: str
    kind: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One step of all markets. Rows are the board's groups, which are only ever added to."""

    now_s: int
    step_s: float
    groups: Sequence[Group]
    counts: Array  # [group, column]
    keys: Sequence[Key]  # only ever added to, as the groups are
    by_key: Array  # [key, column]; nought where planned work touches a key
    gather: Places  # the keys of each group, one group behind the other
    starts: Places  # where a group's keys begin in `gather`
    is_seen: npt.NDArray[np.bool_]  # by group: its market is heard; nothing may be made of others
    places: Mapping[Group, int]
    gauges: Mapping[str, Mapping[tuple[str, str], float]]  # what; market, of which: as told last
    blind: Mapping[str, int]  # markets that are not heard, and since when
    expected: Mapping[
        str, float
    ]  # attempts a second that are usual; a market nobody knows is absent
    unplanned: Array | None = None  # counts without what is worked on; None: nothing is

    def without_planned(self) -> "Frame":
        """Return the frame as it is without the payments that planned work touches."""
        return self if self.unplanned is None else replace(self, counts=self.unplanned)

    def ended(self) -> tuple[Array, Array]:
        """Return for each group what was tried and not refused, and how much of it went wrong."""
        counts = self.counts
        tried = np.maximum(counts[:, ATTEMPTS] - counts[:, REFUSED], 0.0)
        return tried, np.minimum(counts[:, FAILED] + counts[:, UNCLEAR], tried)

    def summed(self, by_key: Array) -> Array:
        """Return for each group the sum of its keys' lines."""
        if not self.groups:
            return by_key[:0]
        summed: Array = np.add.reduceat(by_key[self.gather], self.starts, axis=0)
        return summed


@dataclass(slots=True)
class _Index:
    """Where keys and groups stand."""

    rows: dict[Key, int] = field(default_factory=dict)
    keys: list[Key] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    places: dict[Group, int] = field(default_factory=dict)
    members: list[list[int]] = field(default_factory=list)
    gather: Places = field(default_factory=lambda: np.zeros(0, np.int64))
    starts: Places = field(default_factory=lambda: np.zeros(0, np.int64))
    is_stale: bool = False


class Board:
    """Counts. Any thread may add; one takes steps off."""

    def __init__(self, markets: Sequence[str]) -> None:
        self.markets = tuple(markets)
        self._lock = threading.Lock()
        self._index = _Index()
        self._now: list[list[float]] = []
        self._is_told = False  # one by one, since the last step
        self._many: Array = np.zeros((0, WIDTH))
        self._per_market = dict.fromkeys(markets, 0)
        self._gauges: dict[str, dict[tuple[str, str], float]] = {}
        self._heard: dict[str, int] = {}
        self._taken_s = 0
        self._minute: Array = np.zeros((0, WIDTH))
        self._seen: set[str] = set()  # markets that were heard in this minute
        self._mistaken: dict[str, dict[int, int]] = {market: {} for market in markets}

    # Adding

    def order(self, seen: OrderSeen) -> None:
        """Count one order, or many that are told as one. Costs two microseconds."""
        key = Key(seen.market, PAY, seen.product, seen.channel, seen.partner, seen.cell)
        outcome = seen.outcome
        with self._lock:
            columns = self._columns(key)
            if not seen.was_pending:
                count = seen.count
                columns[ATTEMPTS] += count
                columns[VALUE] += seen.value_minor
                if seen.latency_ms > 0:
                    columns[TIMED] += count
                    columns[BUCKETS] += count * latency_bucket(seen.latency_ms)
            if outcome is Outcome.COMPLETED:
                return
            if outcome is Outcome.REFUSED:
                columns[REFUSED] += 1
                if seen.reason in PIN_REASONS and self._is_first(seen):
                    columns[PIN] += 1
            elif outcome is Outcome.FAILED:
                columns[FAILED] += 1
                columns[VALUE_FAILED] += seen.value_minor
            elif outcome is Outcome.UNKNOWN:
                columns[UNCLEAR] += 1

    def message(self, seen: MessageSeen) -> None:
        """Count one message of a route: taken, or missing. One that comes late was missing too."""
        if seen.state == "delivered" and seen.waited_s <= RECEIPT_DUE_S:
            return
        key = Key(seen.market, SMS, "", "", seen.route, "")
        with self._lock:
            self._columns(key)[ATTEMPTS if seen.state == "sent" else FAILED] += 1

    def messages(self, seen: MessagesSeen) -> None:
        """Count many messages that a route took."""
        if not seen.sent:
            return
        key = Key(seen.market, SMS, "", "", seen.route, "")
        with self._lock:
            self._columns(key)[ATTEMPTS] += seen.sent

    def sessions(self, seen: SessionsSeen) -> None:
        """Count what became of menu sessions. Who lets one lapse is a customer who changed her mind."""
        key = Key(seen.market, SESSION, "", seen.channel, "", "")
        with self._lock:
            columns = self._columns(key)
            columns[ATTEMPTS] += seen.opened
            columns[FAILED] += seen.failed
            columns[REFUSED] += seen.lapsed

    def callbacks(self, seen: CallbacksSeen) -> None:
        """Count callbacks of a partner. What came twice was a callback as well."""
        key = Key(seen.market, CALLBACK, "", seen.channel, seen.partner, "")
        with self._lock:
            columns = self._columns(key)
            columns[ATTEMPTS] += seen.tried
            columns[FAILED] += seen.failed
            columns[DOUBLED] += seen.doubled

    def fees(self, market: str, seen: FeesSeen) -> None:
        """Count what was charged beside what was due."""
        key = Key(market, PAY, seen.product, "", "", "")
        with self._lock:
            columns = self._columns(key)
            columns[FEE] += seen.fee_minor
            columns[FEE_DUE] += seen.due_minor

    def held(self, market: str, seen: HeldSeen) -> None:
        """Count orders that a partner answered, or lets wait for long: these are counted as failed."""
        key = Key(market, HELD, "", "", seen.partner, "")
        with self._lock:
            columns = self._columns(key)
            columns[ATTEMPTS] += seen.judged
            columns[FAILED] += seen.late

    def echo(self, market: str, seen: EchoSeen) -> None:
        """Count echoes of a partner: those that he did not answer as failed."""
        key = Key(market, ECHO, "", "", seen.partner, "")
        with self._lock:
            # What is found is told of payments through him, also where nobody has made one yet.
            self._columns(key._replace(flow=PAY))
            columns = self._columns(key)
            columns[ATTEMPTS] += seen.asked
            columns[FAILED] += seen.lost

    def _columns(self, key: Key) -> list[float]:
        """Return the running counts of a key, to be added to under the lock."""
        row = self._index.rows.get(key)
        if row is None:
            row = self._row(key)
        self._is_told = True
        return self._now[row]

    def rows_of(self, keys: Iterable[Key]) -> Places:
        """Return where keys stand, for `add_many`; new ones are added as far as there is room."""
        with self._lock:
            return np.array([self._index.rows.get(key, -1) if key in self._index.rows else self._row(key)
                             for key in keys], np.int64)  # fmt: skip

    def add_many(self, rows: Places, counts: Array) -> None:
        """Add counts of many signals at once: one line of all columns for each row, each row once."""
        with self._lock:
            if len(self._many) < len(self._now):
                self._many = np.concatenate(
                    [self._many, np.zeros((len(self._now) - len(self._many), WIDTH))]
                )
            self._many[rows] += counts

    def gauge(self, market: str, what: str, of: str, value: float) -> None:
        """Take a level as it is now: the oldest that waits, a gap, an offset, what is left."""
        self._gauges.setdefault(what, {})[market, of] = value

    def heard(self, market: str, now_s: int) -> None:
        """Note a sign of life of a market's desk."""
        self._heard[market] = now_s

    def levels(self, market: str, what: str) -> dict[str, float]:
        """Return a market's levels of one kind as told last, by what they are of."""
        told = list(self._gauges.get(what, {}).items())
        return {of: level for (code, of), level in told if code == market}

    def groups(self) -> list[Group]:
        """Return every group that was counted so far."""
        with self._lock:
            return list(self._index.groups)

    def heard_at(self, market: str) -> int:
        """Return when a market gave its last sign of life, in seconds since 1970; 0: never."""
        return self._heard.get(market, 0)

    # Taking

    def step(
        self,
        now_s: int,
        *,
        blind_after_s: int,
        expected: Mapping[str, float],
        planned: Mapping[str, Collection[str]] | None = None,
    ) -> Frame | None:
        """Take off what was counted since the last step; None where no time has passed.

        `planned` are the names that are worked on, by market.
        """
        if now_s <= self._taken_s:
            return None
        step_s = now_s - self._taken_s if self._taken_s else 0
        self._taken_s = now_s
        with self._lock:
            index = self._index
            if index.is_stale:
                _arrange(index)
            if self._is_told:
                counts = np.array(self._now, np.float64)
                for columns in self._now:
                    columns[:] = [0] * WIDTH
                self._is_told = False
            else:
                counts = np.zeros((len(self._now), WIDTH))
            if len(self._many):
                counts[: len(self._many)] += self._many
                self._many[:] = 0
            if len(self._minute) < len(counts):
                more = np.zeros((len(counts) - len(self._minute), WIDTH))
                self._minute = np.concatenate([self._minute, more])
            self._minute += counts
            groups, keys = tuple(index.groups), tuple(index.keys)
            gather, starts = index.gather, index.starts
            touched = _touched(index, planned or {}, len(counts))
        blind = {
            market: self._heard.get(market, 0)
            for market in self.markets
            if now_s - self._heard.get(market, 0) > blind_after_s
        }
        self._seen.update(market for market in self.markets if market not in blind)
        summed = np.add.reduceat(counts[gather], starts, axis=0) if groups else counts
        unplanned = None
        if touched and groups:
            counts[touched] = 0.0
            unplanned = np.add.reduceat(counts[gather], starts, axis=0)
        return Frame(
            now_s=now_s,
            step_s=float(step_s),
            groups=groups,
            counts=summed,
            keys=keys,
            by_key=counts,
            gather=gather,
            starts=starts,
            is_seen=np.array([group.market not in blind for group in groups], np.bool_)
            if blind
            else np.ones(len(groups), np.bool_),
            places=index.places,
            gauges=self._gauges,
            blind=blind,
            expected=expected,
            unplanned=unplanned,
        )

    def minute(self) -> dict[str, dict[Key, list[int]]]:
        """Return what was taken off since this was last asked, of the markets that were heard."""
        with self._lock:
            counts, self._minute = self._minute, np.zeros_like(self._minute)
            heard, self._seen = self._seen, set()
            found: dict[str, dict[Key, list[int]]] = {market: {} for market in sorted(heard)}
            used = counts.sum(axis=1) != 0
            for key, row in self._index.rows.items():
                if row < len(counts) and used[row] and key.market in found:
                    found[key.market][key] = [round(count) for count in counts[row].tolist()]
        return found

    def running(self, market: str) -> dict[Key, list[int]]:
        """Return what a market did since `minute` was last asked; it stays counted."""
        with self._lock:
            found: dict[Key, list[int]] = {}
            for key, row in self._index.rows.items():
                if key.market != market:
                    continue
                counts = np.array(self._now[row], np.float64)
                for more in (self._many, self._minute):
                    if row < len(more):
                        counts += more[row]
                if counts.any():
                    found[key] = [round(count) for count in counts.tolist()]
        return found

    # Within the lock

    def _is_first(self, seen: OrderSeen) -> bool:
        """Tell whether a wrong PIN is a customer's first for a while.

        Who has forgotten hers tries thrice: that is one customer, and no flood.
        """
        mark, second = seen.payer_mark, int(seen.at.timestamp())
        if not mark:
            return True  # nobody knows whose
        mistaken = self._mistaken[seen.market]
        if abs(second - mistaken.get(mark, -PIN_AGAIN_S)) < PIN_AGAIN_S:
            return False
        mistaken.pop(mark, None)
        if len(mistaken) >= MISTAKEN_MAX:
            del mistaken[next(iter(mistaken))]
        mistaken[mark] = second
        return True

    def _row(self, key: Key) -> int:
        market = key.market
        if market not in self._per_market:
            raise KeyError(market)
        if self._per_market[market] >= KEYS_MAX:
            key = Key(market, key.flow, "other")
        else:
            key = Key(*(part[:NAME_MAX] for part in key))
        found = self._index.rows.get(key)
        if found is not None:
            return found
        index = self._index
        row = index.rows[key] = len(self._now)
        index.keys.append(key)
        self._now.append([0.0] * WIDTH)
        self._per_market[market] += 1
        shared = [
            ("market", market),
            ("product", key.product),
            ("channel", key.channel),
            ("vendor", key.partner),
            ("cell", key.cell),
        ]
        for kind, name in shared:
            if not name:
                continue
            group = Group(market, key.flow, kind, name)
            place = index.places.get(group)
            if place is None:
                place = index.places[group] = len(index.groups)
                index.groups.append(group)
                index.members.append([])
            index.members[place].append(row)
        index.is_stale = True
        return row


def _touched(index: _Index, planned: Mapping[str, Collection[str]], size: int) -> list[int]:
    """Return the rows of the keys that planned work touches by any of their parts."""
    if not any(planned.values()):
        return []
    return [
        row
        for key, row in index.rows.items()
        if row < size
        and (names := planned.get(key.market))
        and any(part in names for part in (key.market, *key[2:]) if part)
    ]


def _arrange(index: _Index) -> None:
    index.gather = np.array([row for members in index.members for row in members], np.int64)
    sizes = [len(members) for members in index.members]
    index.starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    index.is_stale = False
