"""Float purchase: an agent or dealer paid money into the trust bank and gets e-money for it.

The only product that issues e-money: the reference is the bank's line, and the order's key must be
made of it, so that one deposit at the bank is issued once.
"""

from umoja.markets.market import Service
from umoja.parties.party import Role
from umoja.payments.accounts import Purse
from umoja.payments.order import Leg
from umoja.payments.product import Deal, Product


def _legs(deal: Deal) -> tuple[Leg, ...]:
    return (Leg(deal.system(Purse.TRUST), deal.payee(Purse.FLOAT), deal.order.amount),)


FLOAT_PURCHASE = Product(
    code="float_purchase",
    service=Service.AGENT_FLOAT,
    payers=frozenset({Role.OPERATOR}),
    payees=frozenset({Role.AGENT, Role.DEALER}),
    payer_purse=Purse.TRUST,
    payee_purse=Purse.FLOAT,
    legs=_legs,
    needs_reference=True,
)
