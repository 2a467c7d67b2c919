"""Forms: legs that are kept without the parties are the legs that the product itself makes."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umoja.markets import packs
from umoja.payments.accounts import PARTY_SHIFT, Accounts
from umoja.payments.catalogue import PRODUCTS
from umoja.payments.order import Ask, Leg, Price, TaxLine
from umoja.payments.product import Deal, form_of, sides

MINOR = st.integers(0, 10**6)
PARTY = st.integers(2, 2**31)
TAXES = st.lists(st.builds(TaxLine, st.just("vat"), st.integers(0, 50), st.booleans()), max_size=3)
PRICES = st.builds(
    Price,
    fee=st.integers(200, 10**6),
    payee_fee=st.integers(200, 10**6),
    taxes=TAXES.map(tuple),
    payee_taxes=TAXES.map(tuple),
    withheld=MINOR,
    outlet_part=MINOR,
    dealer_part=MINOR,
)


def ask(product: str, payer: int, payee: int, amount: int) -> Ask:
    return Ask(
        client="c", key="k", channel="api", product=product, payer=payer, payee=payee,
        amount=amount, currency="USD",
    )  # fmt: skip


def filled(form, payer: int, payee: int, dealer: int) -> tuple[Leg, ...]:
    who = sides(payer, payee, dealer)
    return tuple(Leg(who[a] | s, who[b] | t, minor) for a, s, b, t, minor in form)


@pytest.mark.parametrize("code", sorted(PRODUCTS))
@given(price=PRICES, amount=st.integers(1, 10**9), parties=st.lists(PARTY, min_size=6, max_size=6))
def test_a_form_filled_with_parties_is_what_the_product_makes(code, price, amount, parties):
    product, slot = PRODUCTS[code], Accounts(packs.load("CD")).slot("USD")
    payer, payee, dealer, *others = parties
    # The form is made of one order, and used for another.
    form = form_of(product, ask(code, *others[:2], amount), price, slot)
    order = ask(code, payer, payee, amount)
    assert filled(form, payer, payee, dealer) == product.legs(Deal(order, price, slot, dealer))


def test_a_form_written_out():
    price = Price(fee=13, taxes=(TaxLine("excise", 2, is_included=True),))
    order = ask("send_money", 70, 71, 500)
    form = form_of(PRODUCTS["send_money"], order, price, 0)
    wallet, fees, taxes = 1 << 3, 9 << 3, 10 << 3
    assert form == (
        (0, wallet, 1, wallet, 500),
        (0, wallet, 3, fees, 11),
        (0, wallet, 3, taxes, 2),
    )
    assert filled(form, 90, 91, 0)[0] == Leg(
        90 << PARTY_SHIFT | wallet, 91 << PARTY_SHIFT | wallet, 500
    )


def test_the_order_that_a_form_is_made_of_is_left_as_it_was():
    order = ask("withdraw", 70, 71, 500)
    before = msgspec.structs.replace(order)
    form_of(PRODUCTS["withdraw"], order, Price(outlet_part=3, dealer_part=1, withheld=1), 0)
    assert order == before
