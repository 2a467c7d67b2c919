"""The ports of payments: what partners must be able to do, real or simulated."""

from collections.abc import Callable
from enum import Enum
from typing import Protocol

ReceiptListener = Callable[[str, bool], None]
"""Called with a message's id and whether it was delivered. Must not wait."""


class SmsRoute(Protocol):
    """Carries text messages to phones. Delivery is told later, by the listener given at making."""

    name: str

    async def send(self, *, message_id: str, to: str, text: str) -> None:
        """Hand one message over. Repeating the same id is harmless.

        Raise Unavailable: not taken, try again. Raise OutcomeUnknown: may have been taken.
        """
        ...


class TopUp(Enum):
    DONE = "done"
    REFUSED = "refused"


class AirtimePartner(Protocol):
    """Sells airtime of a network. An order's id is its key: asking twice tops up once."""

    name: str

    async def top_up(self, *, order_id: str, phone: str, minor: int, currency: str) -> TopUp:
        """Top up a phone. Raise Unavailable: nothing happened. OutcomeUnknown: ask."""
        ...

    async def ask(self, order_id: str) -> TopUp | None:
        """Return what became of an order, or None where the partner never saw it."""
        ...
