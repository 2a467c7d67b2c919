"""What a party has and what moved: balances and statements, read from the ledger."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from umoja.ledger.books import Books, audit
from umoja.ledger.entries import Account, Kind, Row, Shelf
from umoja.ledger.ledger import Ledger
from umoja.markets.market import Market
from umoja.parties.party import Party, Role
from umoja.payments.accounts import Accounts, Purse, purse_of
from umoja.payments.order import Order

PURSES = {
    Role.CUSTOMER: (Purse.WALLET,),
    Role.AGENT: (Purse.FLOAT, Purse.COMMISSION),
    Role.DEALER: (Purse.FLOAT, Purse.COMMISSION),
    Role.ORGANISATION: (Purse.TILL,),
    Role.ASSISTANT: (),
    Role.OPERATOR: (Purse.TRUST, Purse.FEES, Purse.TAXES, Purse.AIRTIME, Purse.SUSPENSE),
}

_decode = msgspec.msgpack.Decoder(Order).decode


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """What one purse holds, in minor units: free to use, and held for something."""

    purse: str
    currency: str
    available: int
    held: int


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a statement: `minor` is what came (+) or went (-), fees and taxes included."""

    sequence: int
    at: int
    order_id: str
    receipt: str
    product: str
    step: str
    purse: str
    currency: str
    minor: int
    other_party: int


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """A currency's sums in minor units: what agents have, what is issued, what the trust holds."""

    currency: str
    agents_float: int
    issued: int
    trust: int


class Wallets:
    """Reads the money of one market. Never writes."""

    def __init__(self, *, market: Market, ledger: Ledger) -> None:
        self._market = market
        self._ledger = ledger
        self._accounts = Accounts(market)

    def balances(self, party: Party) -> list[Balance]:
        """Return every purse of a party in every currency, also the empty ones."""
        found = []
        for purse in PURSES[party.role]:
            for currency in self._market.currencies:
                balance = self._ledger.state.balance(
                    self._accounts.number(party.id, purse, currency.code)
                )
                found.append(
                    Balance(
                        purse=purse.name.lower(),
                        currency=currency.code,
                        available=balance.available,
                        held=balance.held,
                    )
                )
        return found

    def free(self, asked: Sequence[tuple[Party, str]]) -> list[int | None]:
        """Return for each party and currency what is free in the purse that she pays from.

        None where she has none.
        """
        available, number = self._ledger.state.available, self._accounts.number
        return [
            available(number(party.id, purses[0], currency))
            if (purses := PURSES[party.role])
            else None
            for party, currency in asked
        ]

    def statement(self, party: Party, *, before: int = 0, limit: int = 20) -> list[Line]:
        """Return the newest movements below journal line `before` (0: from the newest).

        Lines that only hold or let go move nothing and are passed over. At most `limit`, or a few
        more where the last journal line moved several purses: a line is never split over two pages.
        """
        lines: list[Line] = []
        for purse in PURSES[party.role]:
            for currency in self._market.currencies:
                lines += self._movements(party, purse, currency.code, before=before, limit=limit)
        lines.sort(key=lambda line: line.sequence, reverse=True)
        last = lines[limit - 1].sequence if len(lines) > limit else 0
        return [line for line in lines if line.sequence >= last]

    def _movements(
        self, party: Party, purse: Purse, currency: str, *, before: int, limit: int
    ) -> list[Line]:
        """Return the newest movements of one purse, at most `limit`."""
        number = self._accounts.number(party.id, purse, currency)
        found: list[Line] = []
        while rows := self._ledger.touching(number, before=before, limit=limit):
            for row in rows:
                minor = _moved(row, number)
                if not minor or not row.story:
                    continue
                order = _decode(row.story)
                found.append(
                    Line(
                        sequence=row.sequence,
                        at=row.at,
                        order_id=order.id,
                        receipt=order.receipt,
                        product=order.product,
                        step=order.step,
                        purse=purse.name.lower(),
                        currency=currency,
                        minor=minor,
                        other_party=order.payee if order.payer == party.id else order.payer,
                    )
                )
                if len(found) == limit:
                    return found
            before = rows[-1].sequence
        return found

    def totals(self) -> list[Totals]:
        """Return agents' float, issued e-money and trust of each currency, from the state in use.

        It costs the same with ten accounts and with ten million.
        """
        floats: Counter[str] = Counter()
        issued: Counter[str] = Counter()
        trust: Counter[str] = Counter()
        for form, net in self._ledger.state.totals():
            if form.group == Purse.FLOAT.value:
                floats[form.currency] += net
            if form.shelf is Shelf.EMONEY:
                issued[form.currency] += net
            elif form.shelf is Shelf.TRUST:
                trust[form.currency] -= net
        return [
            Totals(
                currency=each.code,
                agents_float=floats[each.code],
                issued=issued[each.code],
                trust=trust[each.code],
            )
            for each in self._market.currencies
        ]

    def audit(self) -> Books:
        """Fold the whole journal again and compare it with the state in use."""
        return audit(self._ledger.rows(), claimed=self._ledger.state, kind_of=kind_of)


def _moved(row: Row, number: int) -> int:
    """Return what a line brought to an account (+) or took from it (-)."""
    minor = 0
    for transfer in row.transfers:
        if transfer.kind in {Kind.POST, Kind.COMMIT}:
            minor += transfer.minor * (transfer.target == number)
            minor -= transfer.minor * (transfer.source == number)
    return minor


def kind_of(account: Account) -> str:
    """Return the heading of the trial balance under which an account is added up."""
    return purse_of(account.id).name.lower()
