"""A branch: one market's whole money plane, as the channels and the console are handed it."""

from dataclasses import dataclass
from typing import Protocol

from umoja.markets.market import Market
from umoja.parties.directory import Directory
from umoja.payments.desk import Desk, Waiting
from umoja.payments.order import Ask, Decline, Order, Quote, Request
from umoja.payments.wallets import Wallets
from umoja.payments.webhooks import Webhooks


class Teller(Protocol):
    """What a door asks of a desk, near or far: see payments.desk.Desk and payments.link.FarDesk."""

    def order_id(self, client: str, key: str) -> str: ...
    async def submit(self, request: Request) -> Order: ...
    def enqueue_for(self, waiting: Waiting, request: Request) -> None: ...
    async def look_up(self, order: str) -> Order | None: ...
    async def price(
        self,
        *,
        product: str,
        payer: int,
        payee: int,
        amount: int,
        currency: str,
        reference: str = "-",
    ) -> Quote | Decline: ...
    async def note_refused(self, ask: Ask, decline: Decline) -> Order: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    market: Market
    directory: Directory
    desk: Desk
    wallets: Wallets
    webhooks: Webhooks


@dataclass(frozen=True, slots=True, kw_only=True)
class Hatch:
    """What a front has of a branch: it knows the parties and can ask the desk, and holds no money."""

    market: Market
    directory: Directory
    desk: Teller


class Placed(Protocol):
    """Whatever belongs to a market: a branch, and what is left of one far from its books."""

    @property
    def market(self) -> Market: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What the centre has of a branch: it knows the market, and of people and money nothing."""

    market: Market
