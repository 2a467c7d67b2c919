"""The ports of payments: what partners must be able to do, real or simulated."""

from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple, Protocol, runtime_checkable

from umoja.faults import Fault

ReceiptListener = Callable[[str, bool], None]
"""Called with a message's id and whether it was delivered. Must not wait."""

DeliveryListener = Callable[[Sequence[str]], None]
"""Called with the ids of messages that were delivered together. Must not wait."""


class SmsRoute(Protocol):
    """Carries text messages to phones. Delivery is told later, by the listener given at making."""

    @property
    def name(self) -> str:
        """Return what operations call the way that texts go now."""
        ...

    async def send(self, *, message_id: str, to: str, text: str) -> None:
        """Hand one message over. Repeating the same id is harmless.

        Raise Unavailable: not taken, try again. Raise OutcomeUnknown: may have been taken.
        """
        ...


class Parcel(NamedTuple):
    """One message for a route: its id, the phone's number, the text."""

    message_id: str
    to: str
    text: str


@runtime_checkable
class BulkSmsRoute(SmsRoute, Protocol):
    """A route that takes many messages in one call. One that does not is handed them one by one."""

    async def send_many(self, parcels: Sequence[Parcel]) -> Sequence[Fault | None]:
        """Hand messages over; return for each what `send` would have raised, or None.

        What is raised holds for all of them.
        """
        ...


class TopUp(Enum):
    DONE = "done"
    REFUSED = "refused"


class Echoing(Protocol):
    """A partner who can be asked whether he is there, as with an echo of ISO 8583 (0800)."""

    async def echo(self) -> None:
        """Return once he has answered; nothing moves. Raise Unavailable or OutcomeUnknown."""
        ...


class AirtimePartner(Echoing, Protocol):
    """Sells airtime of a network. An order's id is its key: asking twice tops up once."""

    name: str

    async def top_up(self, *, order_id: str, phone: str, minor: int, currency: str) -> TopUp:
        """Top up a phone. Raise Unavailable: nothing happened. OutcomeUnknown: ask."""
        ...

    async def ask(self, order_id: str) -> TopUp | None:
        """Return what became of an order, or None where the partner never saw it."""
        ...
