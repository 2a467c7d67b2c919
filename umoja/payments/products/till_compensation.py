"""Till compensation: the operator gives a business back what a payment should not have cost it.

As compensation, but into the till of an organisation.
"""

from umoja.markets.market import Service
from umoja.parties.party import Role
from umoja.payments.accounts import Purse
from umoja.payments.order import Leg
from umoja.payments.product import Deal, Product


def _legs(deal: Deal) -> tuple[Leg, ...]:
    return (Leg(deal.system(Purse.FEES), deal.payee(Purse.TILL), deal.order.amount),)


TILL_COMPENSATION = Product(
    code="till_compensation",
    service=Service.AGENT_FLOAT,
    payers=frozenset({Role.OPERATOR}),
    payees=frozenset({Role.ORGANISATION}),
    payer_purse=Purse.FEES,
    payee_purse=Purse.TILL,
    legs=_legs,
    needs_reference=True,
    is_gift=True,
)
