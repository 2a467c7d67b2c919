"""Withdraw: a customer gives e-money to an agent for cash, and bears fee and levy. The agent earns."""

from umoja.markets.market import Service
from umoja.parties.party import Role
from umoja.payments.accounts import Purse
from umoja.payments.order import Leg
from umoja.payments.product import Deal, Product, commission_legs, fee_legs


def _legs(deal: Deal) -> tuple[Leg, ...]:
    amount = Leg(deal.payer(Purse.WALLET), deal.payee(Purse.FLOAT), deal.order.amount)
    return (amount, *fee_legs(deal, Purse.WALLET), *commission_legs(deal, deal.order.payee))


WITHDRAW = Product(
    code="withdraw",
    service=Service.WITHDRAW_AGENT,
    payers=frozenset({Role.CUSTOMER}),
    payees=frozenset({Role.AGENT}),
    payer_purse=Purse.WALLET,
    payee_purse=Purse.FLOAT,
    legs=_legs,
    earns="payee",
)
