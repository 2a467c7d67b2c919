"""Pay a bill: a customer pays an organisation under a reference; its plan says who bears the fee."""

from umoja.markets.market import Service
from umoja.parties.party import Role
from umoja.payments.accounts import Purse
from umoja.payments.order import Leg
from umoja.payments.product import Deal, Product, fee_legs, payee_fee_legs


def _legs(deal: Deal) -> tuple[Leg, ...]:
    amount = Leg(deal.payer(Purse.WALLET), deal.payee(Purse.TILL), deal.order.amount)
    return (amount, *fee_legs(deal, Purse.WALLET), *payee_fee_legs(deal, Purse.TILL))


PAY_BILL = Product(
    code="pay_bill",
    service=Service.PAY_BILL,
    payers=frozenset({Role.CUSTOMER}),
    payees=frozenset({Role.ORGANISATION}),
    payer_purse=Purse.WALLET,
    payee_purse=Purse.TILL,
    legs=_legs,
    needs_reference=True,
)
