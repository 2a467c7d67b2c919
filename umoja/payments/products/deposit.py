"""Deposit: a customer hands cash to an agent and gets e-money of the agent's float. The agent earns."""

from umoja.markets.market import Service
from umoja.parties.party import Role
from umoja.payments.accounts import Purse
from umoja.payments.order import Leg
from umoja.payments.product import Deal, Product, commission_legs


def _legs(deal: Deal) -> tuple[Leg, ...]:
    amount = Leg(deal.payer(Purse.FLOAT), deal.payee(Purse.WALLET), deal.order.amount)
    return (amount, *commission_legs(deal, deal.order.payer))


DEPOSIT = Product(
    code="deposit",
    service=Service.DEPOSIT_AGENT,
    payers=frozenset({Role.AGENT}),
    payees=frozenset({Role.CUSTOMER}),
    payer_purse=Purse.FLOAT,
    payee_purse=Purse.WALLET,
    legs=_legs,
    earns="payer",
)
