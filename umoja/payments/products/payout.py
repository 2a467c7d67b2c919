"""Payout: an organisation pays a customer out of its receipts, and bears the fee."""

from umoja.markets.market import Service
from umoja.parties.party import Role
from umoja.payments.accounts import Purse
from umoja.payments.order import Leg
from umoja.payments.product import Deal, Product, fee_legs


def _legs(deal: Deal) -> tuple[Leg, ...]:
    amount = Leg(deal.payer(Purse.TILL), deal.payee(Purse.WALLET), deal.order.amount)
    return (amount, *fee_legs(deal, Purse.TILL))


PAYOUT = Product(
    code="payout",
    service=Service.BULK_PAYOUT,
    payers=frozenset({Role.ORGANISATION}),
    payees=frozenset({Role.CUSTOMER}),
    payer_purse=Purse.TILL,
    payee_purse=Purse.WALLET,
    legs=_legs,
)
