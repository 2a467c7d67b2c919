"""Compensation: the operator gives a customer back what a payment should not have cost her.

It is paid out of the fees that the operator has earned, so it can never be more than these. The
reference is the order that it makes good.
"""

from umoja.markets.market import Service
from umoja.parties.party import Role
from umoja.payments.accounts import Purse
from umoja.payments.order import Leg
from umoja.payments.product import Deal, Product


def _legs(deal: Deal) -> tuple[Leg, ...]:
    return (Leg(deal.system(Purse.FEES), deal.payee(Purse.WALLET), deal.order.amount),)


COMPENSATION = Product(
    code="compensation",
    service=Service.AGENT_FLOAT,  # of all services the one that is never priced and never taxed
    payers=frozenset({Role.OPERATOR}),
    payees=frozenset({Role.CUSTOMER}),
    payer_purse=Purse.FEES,
    payee_purse=Purse.WALLET,
    legs=_legs,
    needs_reference=True,
    is_gift=True,
)
