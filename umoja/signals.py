"""Signals: what happened on the money plane, told upward without personal data. Never waits."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class Outcome(Enum):
    """What became of an attempt, as operations count it."""

    COMPLETED = "completed"
    REFUSED = "refused"  # the customer's affair: balance, PIN, limits, cancelled
    FAILED = "failed"  # ours or a partner's
    PENDING = "pending"  # waits for a partner or a person
    UNKNOWN = "unknown"  # may have happened; recovery asks


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderSeen:
    """One attempt ended, or began to wait. `payer_mark` is a keyed hash that names nobody."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSeen:
    """A text message was handed to a route, delivered, or given up; and what it was for."""

    at: datetime
    market: str
    route: str
    state: str  # sent, delivered, failed
    product: str
    value_minor: int
    currency: str
    payer_mark: int
    waited_s: float


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
