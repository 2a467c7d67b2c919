"""The published Kenyan tariff of 29 July 2023 at both edges of every band, and the duty inside it.

All figures are cents. The excise duty of 15 % lies inside the fee: the fee is 115 % of what the
operator keeps.
"""

import pytest

from tests.stage import Stage
from umoja.payments.order import Decline, Quote

SEND = [
    # from, to (shillings), fee, of which duty (cents)
    (1, 100, 0, 0),
    (101, 500, 700, 91),
    (501, 1_000, 1_300, 170),
    (1_001, 1_500, 2_300, 300),
    (1_501, 2_500, 3_300, 430),
    (2_501, 3_500, 5_300, 691),
    (3_501, 5_000, 5_700, 743),
    (5_001, 7_500, 7_800, 1_017),
    (7_501, 10_000, 9_000, 1_174),
    (10_001, 15_000, 10_000, 1_304),
    (15_001, 20_000, 10_500, 1_370),
    (20_001, 250_000, 10_800, 1_409),
]
WITHDRAW = [
    (50, 100, 1_100, 143),
    (101, 2_500, 2_900, 378),
    (2_501, 3_500, 5_200, 678),
    (3_501, 5_000, 6_900, 900),
    (5_001, 7_500, 8_700, 1_135),
    (7_501, 10_000, 11_500, 1_500),
    (10_001, 15_000, 16_700, 2_178),
    (15_001, 20_000, 18_500, 2_413),
    (20_001, 35_000, 19_700, 2_570),
    (35_001, 50_000, 27_800, 3_626),
    (50_001, 250_000, 30_900, 4_030),
]


def quoted(stage: Stage, product: str, payer: int, payee: int, shillings: int) -> Quote | Decline:
    return stage.desk.quote(
        product=product, payer=payer, payee=payee, amount=shillings * 100, currency="KES"
    )


@pytest.fixture
def rich(ke: Stage):
    rich = ke.customer("Rich")
    for _ in range(2):
        ke.give_money(rich, 200_000_00)
    return rich


@pytest.mark.parametrize(("first", "last", "fee", "duty"), SEND)
def test_sending_costs_what_was_published(ke, rich, first, last, fee, duty):
    friend = ke.customer("Friend")
    for shillings in (first, last):
        quote = quoted(ke, "send_money", rich.id, friend.id, shillings)
        assert isinstance(quote, Quote), quote
        assert quote.price.fee == fee
        assert sum(line.minor for line in quote.price.taxes) == duty
        assert all(line.is_included for line in quote.price.taxes)
        assert quote.total == shillings * 100 + fee


@pytest.mark.parametrize(("first", "last", "fee", "duty"), WITHDRAW)
def test_withdrawing_costs_what_was_published(ke, rich, first, last, fee, duty):
    outlet = ke.outlet()
    for shillings in (first, last):
        quote = quoted(ke, "withdraw", rich.id, outlet.id, shillings)
        assert isinstance(quote, Quote), quote
        assert quote.price.fee == fee
        assert sum(line.minor for line in quote.price.taxes) == duty


def test_outside_the_bands_nothing_is_sold(ke, rich):
    friend, outlet = ke.customer("Friend"), ke.outlet()
    assert quoted(ke, "send_money", rich.id, friend.id, 250_001) is Decline.AMOUNT_TOO_LARGE
    assert quoted(ke, "withdraw", rich.id, outlet.id, 49) is Decline.AMOUNT_TOO_SMALL
    assert quoted(ke, "withdraw", rich.id, outlet.id, 250_001) is Decline.AMOUNT_TOO_LARGE


def test_a_send_moves_amount_fee_and_duty_to_where_they_belong(ke, rich):
    friend = ke.customer("Friend")
    before = ke.has(rich, "wallet")
    order = ke.pay("send_money", rich.id, friend.id, 1_000_00)
    assert order.decline is None
    assert ke.has(rich, "wallet") == before - 1_000_00 - 13_00
    assert ke.has(friend, "wallet") == 1_000_00
    assert ke.operator("fees") == 1_130
    assert ke.operator("taxes") == 170
    assert ke.breaches() == ()


def test_a_withdrawal_earns_the_outlet_and_its_dealer_their_published_commission(ke, rich):
    # 1,000 shillings: commission 10.00, of it 5 % withheld, the rest 80 to 20.
    dealer = ke.dealer()
    outlet = ke.outlet(dealer=dealer.id)
    order = ke.pay("withdraw", rich.id, outlet.id, 1_000_00)
    assert order.decline is None
    assert ke.has(outlet, "float") == 1_000_00
    assert (order.price.commission, order.price.withheld) == (1_000, 50)
    assert ke.has(outlet, "commission") == 760
    assert ke.has(dealer, "commission") == 190
    assert ke.breaches() == ()


@pytest.mark.parametrize(
    ("shillings", "commission"),
    [(50, 400), (100, 400), (101, 800), (510, 800), (511, 900), (20_020, 5_500), (20_021, 7_100)],
)
def test_a_deposit_is_free_and_earns_the_published_commission(ke, shillings, commission):
    customer, outlet = ke.customer(), ke.outlet()
    ke.give_float(outlet, 100_000_00)
    order = ke.pay("deposit", outlet.id, customer.id, shillings * 100)
    assert order.decline is None
    assert order.price.charge == 0
    assert order.price.commission == commission
    assert ke.has(customer, "wallet") == shillings * 100
