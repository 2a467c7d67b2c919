"""The mail of one market: receipts with their outbox and route, and what its webhooks are told.

It is opened where the books are, or in a process of its own that reads the journal's tail.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from threading import Lock

from umoja.channels.pace import Pace
from umoja.channels.receipt_texts import Purses, Writer
from umoja.channels.sms import Receipts
from umoja.channels.webhooks import Sender
from umoja.clock import Clock
from umoja.markets.market import Market
from umoja.markets.texts import Texts
from umoja.opening import Where, open_sql
from umoja.parties.clients import Clients
from umoja.parties.directory import Directory
from umoja.partners.sms_routes import SimulatedRoute
from umoja.payments.deliveries import Deliveries
from umoja.payments.outbox import Feed, Outbox
from umoja.payments.webhooks import secret_of
from umoja.signals import Signals
from umoja.storage.migrate import migrate
from umoja.storage.port import Sql


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """One market's outgoing texts and events. Run `receipts` and `webhooks`, then close all."""

    database: Sql
    route: SimulatedRoute
    receipts: Receipts
    webhooks: Sender
    clients: "LiveClients"

    async def close(self) -> None:
        """Write down what became of messages and close. Call it when what runs has ended."""
        await self.receipts.close()
        await self.webhooks.close()
        await self.route.close()
        self.database.close()
        self.clients.close()


class LiveClients:
    """Says which clients are not revoked; their tables are opened when that is first asked."""

    def __init__(self, where: Where, clock: Clock) -> None:
        self._where = where
        self._clock = clock
        self._clients: Clients | None = None

    def among(self, clients: Collection[str]) -> frozenset[str]:
        """Return those that are not revoked. Waits for a file; raises what opening SQL raises."""
        if self._clients is None:
            self._clients = Clients(open_sql(self._where, "clients"), clock=self._clock)
        return self._clients.live(clients)

    def close(self) -> None:
        if self._clients is not None:
            self._clients.close()


class Outgoing:
    """A market's messages, where they are written beside whoever carries them: opened when needed.

    Calls may come from any thread.
    """

    def __init__(self, market: Market, *, where: Where, clock: Clock) -> None:
        self._market = market
        self._where = where
        self._clock = clock
        self._lock = Lock()
        self._database: Sql | None = None

    def tables(self) -> Sql:
        """Return the migrated tables. Raise what opening SQL raises."""
        with self._lock:
            if self._database is None:
                database = open_sql(self._where, "messages", market=self._market.code)
                try:
                    migrate(database, "messages", self._clock)
                except BaseException:
                    database.close()
                    raise
                self._database = database
            return self._database

    def close(self) -> None:
        with self._lock:
            if self._database is not None:
                self._database.close()
            self._database = None


def route_for_staff(market: Market, clock: Clock, is_out: Callable[[str], bool]) -> SimulatedRoute:
    """Return a route for the centre's own texts, where the receipts are carried elsewhere."""
    return SimulatedRoute(
        name="simulated",
        clock=clock,
        seed=f"{market.code}.staff",
        on_receipt=lambda _, __: None,
        market=market.code,
        is_out=is_out,
    )


def open_mail(
    market: Market,
    *,
    where: Where,
    clock: Clock,
    directory: Directory,
    purses: Purses,
    feed: Feed,
    texts: Texts,
    signals: Signals,
    pace: Pace,
    is_out: Callable[[str], bool],
    key: bytes,
    may_be_private: bool,
    events_pace: Pace | None = None,
) -> Mail:
    """Open a market's messages and join them to the route. Raise what opening SQL raises.

    `is_out` says of a route whether it was taken out of use. The secrets of webhooks are made of
    `key`; that they `may_be_private` is for a sandbox only.
    """
    database = open_sql(where, "messages", market=market.code)
    try:
        migrate(database, "messages", clock)
        outbox, deliveries = Outbox(database, feed), Deliveries(database, feed)
    except BaseException:
        database.close()
        raise
    made: list[Receipts] = []
    route = SimulatedRoute(
        name="simulated",
        clock=clock,
        seed=market.code,
        # the receipts are made a line further down, with this route in their hands
        on_receipt=lambda message, is_done: made[0].on_receipt(message, is_done),  # noqa: PLW0108
        on_delivered=lambda messages: made[0].on_delivered(messages),  # noqa: PLW0108
        market=market.code,
        is_out=is_out,
    )
    writer = Writer(market=market, directory=directory, purses=purses, texts=texts, clock=clock)
    made.append(
        Receipts(
            market=market.code,
            writer=writer,
            outbox=outbox,
            route=route,
            clock=clock,
            signals=signals,
            pace=pace,
        )
    )
    clients = LiveClients(where, clock)
    sender = Sender(
        market=market,
        directory=directory,
        deliveries=deliveries,
        secret=lambda webhook: secret_of(key, webhook),
        clock=clock,
        signals=signals,
        may_be_private=may_be_private,
        live=clients.among,
        pace=events_pace,
    )
    return Mail(database=database, route=route, receipts=made[0], webhooks=sender, clients=clients)
