"""Signals: what happened on the money plane, told upward without personal data. Never waits."""

from collections.abc import Callable
from datetime import datetime
from enum import Enum
from math import log2

from msgspec import Struct


class Outcome(Enum):
    """What became of an attempt, as operations count it."""

    COMPLETED = "completed"
    REFUSED = "refused"  # the customer's affair: balance, PIN, limits, cancelled
    FAILED = "failed"  # ours or a partner's
    PENDING = "pending"  # waits for a partner or a person
    UNKNOWN = "unknown"  # may have happened; recovery asks


class OrderSeen(Struct, frozen=True, gc=False, tag=True):
    """One attempt ended, or began to wait. `payer_mark` is a keyed hash that names nobody.

    Attempts that were completed at once, together and alike (also in how long they took: see
    `latency_bucket`), are told as one: `count` says how many, `value_minor` is their sum, and nobody
    is marked.

    `was_pending` says that the attempt was told before, as PENDING. `latency_ms` is from the ask to
    the answer; 0 where it was not measured. `partner` is who outside had a part in it (a bank, a
    seller of airtime), `cell` the pool of customers it belongs to; both empty where there is none.
    """

    at: datetime
    market: str
    product: str
    channel: str
    outcome: Outcome
    reason: str
    value_minor: int
    currency: str
    latency_ms: float
    payer_mark: int
    is_final: bool = True
    was_pending: bool = False
    partner: str = ""
    cell: str = ""
    count: int = 1


LATENCY_BUCKETS = 28  # half powers of two from one millisecond; the last is open (8.2 s and more)
_LATENCY_TOP_MS = 2 ** ((LATENCY_BUCKETS - 2) / 2)


def latency_bucket(latency_ms: float) -> int:
    """Return the bucket in which a latency is counted."""
    if latency_ms >= _LATENCY_TOP_MS:
        return LATENCY_BUCKETS - 1
    return int(2 * log2(latency_ms)) + 1 if latency_ms > 1 else 0


class MessageSeen(Struct, frozen=True, kw_only=True, gc=False, tag=True):
    """A text message was handed to a route, delivered, or given up; and what it was for.

    `state` is one of:
    `sent`: a route took it. Told once a message.
    `delivered`: it is on the phone. Told once a message, also when late.
    `failed`: a route refused it for the first time (later tries are not told), or took it and did
    not deliver it within its time. It may still be sent and delivered after that.

    `waited_s` is for `sent` the time since what it tells of happened; for `delivered` and `failed`
    the time since a route took it, 0 where none did. Messages of one payment bear the same
    `order_mark`, by which payments are counted and not messages; 0 where it is not known.
    """

    at: datetime
    market: str
    route: str
    state: str  # sent, delivered, failed
    product: str
    value_minor: int
    currency: str
    payer_mark: int
    waited_s: float
    order_mark: int = 0


class MessagesSeen(Struct, frozen=True, kw_only=True, gc=False, tag=True):
    """Many text messages that a route took in one second, or has delivered since, and in time.

    It says what as many MessageSeen would say of `sent` and `delivered`; those that failed or are late
    are always told one by one. `second` is when the route took them, whole seconds since 1970.
    """

    market: str
    route: str
    second: int
    sent: int = 0
    in_time: int = 0  # delivered within RECEIPT_DUE_S of being taken


class SessionsSeen(Struct, frozen=True, kw_only=True, gc=False, tag=True):
    """What became of menu sessions in the last second or so: how many were opened, and how others ended.

    `ended`: with a last screen. `failed`: it broke on something of ours. `lapsed`: nobody answered a
    screen any more, because the caller or the network had gone.
    """

    market: str
    channel: str
    opened: int = 0
    ended: int = 0
    failed: int = 0
    lapsed: int = 0


class CallbacksSeen(Struct, frozen=True, kw_only=True, gc=False, tag=True):
    """Callbacks between us and a partner in the last second or so, by their number.

    `channel` webhook: we tell a client of payments. `partner` is the client's id; an event counts
    with its first try (`failed`: it was not taken), for later tries of the same prove nothing new.
    `channel` ussd: a gateway calls us. `doubled` came twice: a gateway's that was answered before (once,
    however often it comes), a webhook's event that its client had, and asked for again.
    """

    market: str
    channel: str
    partner: str
    tried: int
    failed: int = 0
    doubled: int = 0


class FeesSeen(Struct, frozen=True, kw_only=True, gc=False, tag=True):
    """What payments of one product were charged, and what the tariff of their day says, priced anew.

    Both sums stand for all payments of the last seconds: where only some were looked at, what these
    show is scaled up.
    """

    product: str
    payments: int
    fee_minor: int
    due_minor: int


class HeldSeen(Struct, frozen=True, kw_only=True, gc=False, tag=True):
    """How long a partner let orders wait, since this was last told.

    `judged` orders were answered, or have waited for HELD_LATE_S and still do; the latter are the
    `late` ones, told once each. `partner` is called as in OrderSeen.
    """

    partner: str
    judged: int
    late: int


class EchoSeen(Struct, frozen=True, kw_only=True, gc=False, tag=True):
    """How many echoes a partner was sent since this was last told, and how many he lost.

    Lost is one that was not answered in time. `partner` is called as in OrderSeen.
    """

    partner: str
    asked: int
    lost: int


class Hung(Struct, frozen=True, array_like=True):
    """A payment whose outcome is unknown, or that has waited long for one. `since` in microseconds."""

    order: str
    product: str
    since: int


class BooksSeen(Struct, frozen=True, kw_only=True, tag=True):
    """What only the books of a market know now, told every few seconds: also its sign of life.

    Money in minor units by currency. `trust` is the bank's statement of the trust account.
    """

    market: str
    pending: int
    oldest_ms: int
    float_minor: dict[str, int]
    issued: dict[str, int]
    trust: dict[str, int]
    head: int
    hung: list[Hung] = []
    breaches: int = 0  # promises of the books that the auditor found broken
    clock: int = 0  # of the market's process, in microseconds since 1970; 0: not told
    fees: list[FeesSeen] = []
    held: list[HeldSeen] = []
    echoes: list[EchoSeen] = []
    agents: int = 0  # that may serve customers; 0: not counted
    agents_able: int = 0  # that have enough float for a usual deposit


HELD_LATE_S = 10
"""An order that a partner has not answered after so many seconds waits long."""

RECEIPT_DUE_S = 15
"""A text that is not on its phone so many seconds after a route took it is late."""

Signal = OrderSeen | MessageSeen | MessagesSeen | SessionsSeen | CallbacksSeen
Listener = Callable[[Signal], None]


class Signals:
    """A bell: whoever listens hears each signal at once, in order. A listener must not wait."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def send(self, signal: Signal) -> None:
        for listener in self._listeners:
            listener(signal)


# What the centre asks of a market, and is answered: orders' ids, amounts and counts, nobody's name


class FindWrongs(Struct, frozen=True, kw_only=True, tag=True):
    """Asks whom a trouble wronged, from `since` to `until` in microseconds.

    Of these products, or of all where none is named; behind journal line `after`, to go on where an
    answer had to end.
    """

    since: int
    until: int
    products: tuple[str, ...] = ()
    after: int = 0


class Wrong(Struct, frozen=True, kw_only=True, gc=False):
    """One wrong done by one order. `who` is a keyed hash that names nobody.

    `kind` is double_charge, wrong_fee, business_fee or stuck; `act` is what would make it good:
    reverse, compensate or settle. Not `is_sure`: a suspicion, of which `why` says what speaks against.
    """

    order: str
    kind: str
    act: str
    product: str
    amount_minor: int
    currency: str
    at: int
    who: str
    is_sure: bool
    why: str


class Wrongs(Struct, frozen=True, kw_only=True, tag=True):
    """Whom a trouble wronged. `more`: go on behind this journal line; 0: that is all.

    `unjudged` orders have a price that depends on what their payer had used before, or on what is no
    longer known: whoever doubts these looks at them one by one.
    """

    lines: list[Wrong]
    looked_at: int
    unjudged: int = 0
    more: int = 0


class Amend(Struct, frozen=True, kw_only=True, tag=True):
    """Asks a market to make one wrong good. The same key again is harmless."""

    key: str
    order: str
    kind: str
    act: str
    amount_minor: int
    currency: str


class Amended(Struct, frozen=True, kw_only=True, tag=True):
    """What became of it: `done`, `declined` with the reason, or `waiting` for somebody else's word."""

    state: str
    reason: str = ""


class TellTried(Struct, frozen=True, kw_only=True, tag=True):
    """Asks a market to tell those customers who tried a product (or any: '') in a time, by SMS.

    `kind` is trouble or over. Nobody is told twice of one incident and kind.
    """

    incident: str
    kind: str
    product: str
    since: int
    until: int
    is_rehearsal: bool = False  # only count them


class Reached(Struct, frozen=True, kw_only=True, tag=True):
    """How many customers are told now, were told before, and could not be: they have no phone.

    `is_cut`: there were more than one call reaches; the same call again goes on.
    """

    told: int
    before: int = 0
    unreachable: int = 0
    is_cut: bool = False


Question = FindWrongs | Amend | TellTried
Answer = Wrongs | Amended | Reached
