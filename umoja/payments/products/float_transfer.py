"""Float transfer: an agent or dealer moves float to another one, to rebalance. Free and untaxed."""

from umoja.markets.market import Service
from umoja.parties.party import Role
from umoja.payments.accounts import Purse
from umoja.payments.order import Leg
from umoja.payments.product import Deal, Product


def _legs(deal: Deal) -> tuple[Leg, ...]:
    return (Leg(deal.payer(Purse.FLOAT), deal.payee(Purse.FLOAT), deal.order.amount),)


FLOAT_TRANSFER = Product(
    code="float_transfer",
    service=Service.AGENT_FLOAT,
    payers=frozenset({Role.AGENT, Role.DEALER}),
    payees=frozenset({Role.AGENT, Role.DEALER}),
    payer_purse=Purse.FLOAT,
    payee_purse=Purse.FLOAT,
    legs=_legs,
)
