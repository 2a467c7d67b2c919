"""Signals: what happened on the money plane, told upward without personal data. Never waits."""

from collections.abc import Callable
from datetime import datetime
from enum import Enum

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
    fee_minor: int = 0


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


Signal = OrderSeen | MessageSeen
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
