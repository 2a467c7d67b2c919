"""Pay a till: a customer pays a shop; the tariff says who bears the fee."""

from umoja.markets.market import Service
from umoja.parties.party import Role
from umoja.payments.accounts import Purse
from umoja.payments.order import Leg
from umoja.payments.product import Deal, Product, fee_legs, payee_fee_legs


def _legs(deal: Deal) -> tuple[Leg, ...]:
    amount = Leg(deal.payer(Purse.WALLET), deal.payee(Purse.TILL), deal.order.amount)
    return (amount, *fee_legs(deal, Purse.WALLET), *payee_fee_legs(deal, Purse.TILL))


PAY_TILL = Product(
    code="pay_till",
    service=Service.PAY_MERCHANT,
    payers=frozenset({Role.CUSTOMER}),
    payees=frozenset({Role.ORGANISATION}),
    payer_purse=Purse.WALLET,
    payee_purse=Purse.TILL,
    legs=_legs,
    is_reversible=True,
)
