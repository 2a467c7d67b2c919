"""Whose account is which: the numbers of accounts are made of a party, a purse and a currency."""

from enum import Enum

from umoja.ledger.entries import Account, Guard, Shelf
from umoja.markets.market import Market
from umoja.parties.party import SYSTEM

PARTY_SHIFT = 8
"""An account number is the party's number, shifted, with its purse and its currency behind it."""


class Purse(Enum):
    """What a party keeps apart. The first four belong to anybody, the rest to the operator."""

    __hash__ = object.__hash__

    def __init__(self, place: int) -> None:
        self.tail = place << 3
        """The purse's part of an account number."""

    WALLET = 1  # a customer's money
    FLOAT = 2  # an agent's e-money to serve customers with
    TILL = 3  # an organisation's receipts
    COMMISSION = 4  # earned by an agent, not yet paid out: an accrual
    TRUST = 8  # the bank's money behind all issued money
    FEES = 9
    TAXES = 10  # for the tax office
    AIRTIME = 11  # for the network that sold the airtime
    SPENT = 12  # commission as the operator's cost: an accrual
    WITHHELD = 13  # of commission, for the tax office: an accrual
    SUSPENSE = 14  # somebody's money, nobody knows yet whose


_SHELVES = {
    Purse.TRUST: Shelf.TRUST,
    Purse.COMMISSION: Shelf.ACCRUAL,
    Purse.SPENT: Shelf.ACCRUAL,
    Purse.WITHHELD: Shelf.ACCRUAL,
}
_GUARDS = {Purse.TRUST: Guard.DEBIT, Purse.SPENT: Guard.DEBIT}


class Accounts:
    """The account numbers of one market."""

    def __init__(self, market: Market) -> None:
        assert len(market.currencies) <= 8, "three bits name the currency"
        self._slots = {currency.code: slot for slot, currency in enumerate(market.currencies)}
        self._codes = [currency.code for currency in market.currencies]

    def number(self, party: int, purse: Purse, currency: str) -> int:
        return party << PARTY_SHIFT | purse.tail | self._slots[currency]

    def slot(self, currency: str) -> int:
        """Return the currency's part of an account number."""
        return self._slots[currency]

    def system(self, purse: Purse, currency: str) -> int:
        return self.number(SYSTEM, purse, currency)

    def account(self, number: int) -> Account:
        """Return the account of a number as the ledger opens it."""
        purse = Purse(number >> 3 & 31)
        return Account(
            number,
            self._codes[number & 7],
            _GUARDS.get(purse, Guard.CREDIT),
            _SHELVES.get(purse, Shelf.EMONEY),
            purse.value,
        )

    def currency(self, number: int) -> str:
        return self._codes[number & 7]


def purse_of(number: int) -> Purse:
    return Purse(number >> 3 & 31)


def party_of(number: int) -> int:
    return number >> PARTY_SHIFT
