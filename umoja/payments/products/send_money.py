"""Send money: one customer pays another of the same market, and bears the fee."""

from umoja.markets.market import Service
from umoja.parties.party import Role
from umoja.payments.accounts import Purse
from umoja.payments.order import Leg
from umoja.payments.product import Deal, Product, fee_legs


def _legs(deal: Deal) -> tuple[Leg, ...]:
    amount = Leg(deal.payer(Purse.WALLET), deal.payee(Purse.WALLET), deal.order.amount)
    return (amount, *fee_legs(deal, Purse.WALLET))


SEND_MONEY = Product(
    code="send_money",
    service=Service.SEND_ON_NET,
    payers=frozenset({Role.CUSTOMER}),
    payees=frozenset({Role.CUSTOMER}),
    payer_purse=Purse.WALLET,
    payee_purse=Purse.WALLET,
    legs=_legs,
    is_reversible=True,
)
