"""The catalogue: every product that can be ordered. A new product is a file and a line here."""

from umoja.payments.product import Product
from umoja.payments.products.airtime import AIRTIME
from umoja.payments.products.compensation import COMPENSATION
from umoja.payments.products.deposit import DEPOSIT
from umoja.payments.products.float_purchase import FLOAT_PURCHASE
from umoja.payments.products.float_transfer import FLOAT_TRANSFER
from umoja.payments.products.pay_bill import PAY_BILL
from umoja.payments.products.pay_till import PAY_TILL
from umoja.payments.products.payout import PAYOUT
from umoja.payments.products.send_money import SEND_MONEY
from umoja.payments.products.till_compensation import TILL_COMPENSATION
from umoja.payments.products.withdraw import WITHDRAW

PRODUCTS: dict[str, Product] = {
    product.code: product
    for product in (
        SEND_MONEY,
        DEPOSIT,
        WITHDRAW,
        PAY_TILL,
        PAY_BILL,
        AIRTIME,
        PAYOUT,
        FLOAT_PURCHASE,
        FLOAT_TRANSFER,
        COMPENSATION,
        TILL_COMPENSATION,
    )
}

GIFTS = frozenset(code for code, product in PRODUCTS.items() if product.is_gift)
"""Products that only the centre orders, when two of its staff have released them."""
