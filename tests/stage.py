"""A stage for tests: one market's money plane on real parts, in a folder of the test's own."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.postgres import tables
from umoja.clock import ManualClock
from umoja.ledger.ledger import Ledger
from umoja.ledger.memory import MemoryLedger
from umoja.ledger.sqlite import SqliteLedger
from umoja.markets import packs
from umoja.markets.market import Market
from umoja.parties.party import SYSTEM, Party, Role
from umoja.parties.store import PartyStore
from umoja.payments.branch import Branch
from umoja.payments.desk import Desk
from umoja.payments.order import Ask, Order
from umoja.payments.wallets import Wallets
from umoja.payments.webhooks import Webhooks
from umoja.signals import Signals
from umoja.storage.migrate import migrate
from umoja.storage.port import Sql
from umoja.switches import Switches

NOON = datetime(2026, 3, 10, 9, 0, tzinfo=UTC)
PIN_KEY = bytes(range(32))


@dataclass
class Stage:
    market: Market
    clock: ManualClock
    store: PartyStore
    ledger: Ledger
    signals: Signals
    switches: Switches
    desk: Desk
    wallets: Wallets
    asked: int = 0
    folder: Path | None = None
    messages: Sql | None = None

    @property
    def branch(self) -> Branch:
        return Branch(
            market=self.market,
            directory=self.store,
            desk=self.desk,
            wallets=self.wallets,
            webhooks=Webhooks(
                self._messages,
                market=self.market.code,
                key=PIN_KEY,
                clock=self.clock,
                is_open=True,
            ),
        )

    def _messages(self) -> Sql:
        if self.messages is None:
            assert self.folder is not None, "the stage was raised in a folder"
            self.messages = tables(self.folder / "messages.db")
            migrate(self.messages, "messages", self.clock)
        return self.messages

    @property
    def currency(self) -> str:
        return self.market.currencies[0].code

    def close(self) -> None:
        self.ledger.close()
        self.store.close()
        if self.messages is not None:
            self.messages.close()

    # People

    def customer(self, name: str = "Amina Otieno", *, phone: str = "", tier: str = "") -> Party:
        number = phone or self._phone(self.store.count() + 1)
        highest = self.market.tiers[-1].id
        return self.store.register(
            Party(id=0, role=Role.CUSTOMER, name=name, phone=number, tier=tier or highest)
        )

    def dealer(self) -> Party:
        number = self._phone(self.store.count() + 1)
        return self.store.register(Party(id=0, role=Role.DEALER, name="Mama Dealers", phone=number))

    def outlet(self, *, dealer: int = 0) -> Party:
        place = self.store.count() + 1
        return self.store.register(
            Party(
                id=0,
                role=Role.AGENT,
                name="Corner Kiosk",
                phone=self._phone(place),
                agent_code=f"{200000 + place}",
                parent=dealer,
            )
        )

    def organisation(self, *, plan: str = "", category: str = "shop") -> Party:
        place = self.store.count() + 1
        return self.store.register(
            Party(
                id=0,
                role=Role.ORGANISATION,
                name="Duka Moja",
                till=f"{500000 + place}",
                paybill=f"{800000 + place}",
                plan=plan,
                category=category,
            )
        )

    def _phone(self, place: int) -> str:
        example = self.market.phone_number(self.market.number_example)
        assert example is not None
        return f"{example[:-4]}{place:04d}"

    # Money

    def ask(self, product: str, payer: int, payee: int, amount: int, **rest: object) -> Ask:
        self.asked += 1
        values: dict[str, object] = {
            "client": "test",
            "key": f"key-{self.asked}",
            "channel": "api",
            "product": product,
            "payer": payer,
            "payee": payee,
            "amount": amount,
            "currency": self.currency,
        }
        return Ask(**(values | rest))  # type: ignore[arg-type]

    def pay(self, product: str, payer: int, payee: int, amount: int, **rest: object) -> Order:
        return self.desk.submit_now([self.ask(product, payer, payee, amount, **rest)])[0]

    def give_float(self, agent: Party, amount: int, **rest: object) -> Order:
        return self.pay("float_purchase", SYSTEM, agent.id, amount, reference="bank", **rest)

    def give_money(self, customer: Party, amount: int, **rest: object) -> None:
        """Deposit at an outlet made for it, in as many deposits as the tier needs."""
        outlet = self.outlet()
        assert self.give_float(outlet, amount, **rest).decline is None
        order = self.pay("deposit", outlet.id, customer.id, amount, **rest)
        assert order.decline is None, order.decline

    def has(self, party: Party, purse: str, currency: str = "") -> int:
        for balance in self.wallets.balances(party):
            if (balance.purse, balance.currency) == (purse, currency or self.currency):
                return balance.available
        raise AssertionError(purse)

    def held(self, party: Party, purse: str) -> int:
        return sum(
            balance.held
            for balance in self.wallets.balances(party)
            if (balance.purse, balance.currency) == (purse, self.currency)
        )

    def operator(self, purse: str) -> int:
        return self.has(Party(id=SYSTEM, role=Role.OPERATOR, name=""), purse)

    def breaches(self) -> tuple[str, ...]:
        return self.wallets.audit().breaches


def raised(
    code: str, folder: Path, *, engine: str = "memory", clock: ManualClock | None = None
) -> Stage:
    """Open the market's money plane; opening the same folder again goes on where it was."""
    market = packs.load(code)
    clock = clock or ManualClock(NOON)
    store = PartyStore(tables(folder / "parties.db"), market=market, clock=clock, pin_key=PIN_KEY)
    ledger: Ledger
    ledger = (
        MemoryLedger() if engine == "memory" else SqliteLedger(folder / "journal.db", clock=clock)
    )
    signals, switches = Signals(), Switches()
    desk = Desk(
        market=market,
        directory=store,
        ledger=ledger,
        clock=clock,
        signals=signals,
        switches=switches,
        mark_key=b"mark",
    )
    return Stage(
        market=market,
        clock=clock,
        store=store,
        ledger=ledger,
        signals=signals,
        switches=switches,
        desk=desk,
        wallets=Wallets(market=market, ledger=ledger),
        folder=folder,
    )
