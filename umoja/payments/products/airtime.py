"""Airtime: a customer buys talk time for her own or another number; held until the network answers."""

from umoja.markets.market import Service
from umoja.parties.party import Role
from umoja.payments.accounts import Purse
from umoja.payments.order import Leg
from umoja.payments.product import Deal, Product, fee_legs


def _legs(deal: Deal) -> tuple[Leg, ...]:
    amount = Leg(deal.payer(Purse.WALLET), deal.system(Purse.AIRTIME), deal.order.amount)
    return (amount, *fee_legs(deal, Purse.WALLET))


AIRTIME = Product(
    code="airtime",
    service=Service.AIRTIME,
    payers=frozenset({Role.CUSTOMER}),
    payees=frozenset({Role.OPERATOR}),
    payer_purse=Purse.WALLET,
    payee_purse=Purse.AIRTIME,
    legs=_legs,
    needs_reference=True,  # the number that gets the airtime
    asks_partner=True,
    is_given_to_operator=True,
)
