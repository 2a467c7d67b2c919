"""What a product is: who pays whom, for which service, and which legs that makes. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from umoja.markets.market import Service
from umoja.parties.party import SYSTEM, Role
from umoja.payments.accounts import PARTY_SHIFT, Purse
from umoja.payments.order import Ask, Leg, Order, Price, TaxLine


class Deal(msgspec.Struct, frozen=True, gc=False):
    """What is about to be booked at a price, with the account numbers of its market and currency.

    Numbers are made here as accounts.Accounts makes them: it is asked for each leg.
    """

    order: Ask | Order
    price: Price
    slot: int  # the currency's part of an account number
    dealer: int = 0  # the head office of the agent who earns on this order

    def payer(self, purse: Purse) -> int:
        return self.order.payer << PARTY_SHIFT | purse.tail | self.slot

    def payee(self, purse: Purse) -> int:
        return self.order.payee << PARTY_SHIFT | purse.tail | self.slot

    def party(self, party: int, purse: Purse) -> int:
        return party << PARTY_SHIFT | purse.tail | self.slot

    def system(self, purse: Purse) -> int:
        return SYSTEM << PARTY_SHIFT | purse.tail | self.slot


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One way to move money. `legs` must begin with the leg that carries the amount."""

    code: str
    service: Service
    payers: frozenset[Role]
    payees: frozenset[Role]
    payer_purse: Purse
    payee_purse: Purse
    legs: Callable[[Deal], tuple[Leg, ...]]
    needs_reference: bool = False
    asks_partner: bool = False  # the amount is held until a partner has answered
    earns: str = ""  # which side is the agent who earns commission: payer or payee
    is_reversible: bool = False  # by the customer, with the receiver's consent
    is_given_to_operator: bool = False  # the payee is the market's own account
    is_gift: bool = False  # of the operator's own: it costs nothing, and any minor unit will do


Form = tuple[tuple[int, int, int, int, int], ...]
"""A product's legs without the parties: of each leg the side and the purse (with its currency) that
gives, those that take, and the minor units. Sides are places in `sides`.
"""

_SYMBOLS = (1 << 40, 1 << 41, 1 << 42, SYSTEM)  # payer, payee, dealer: no party has such a number
_TAIL = (1 << PARTY_SHIFT) - 1


def sides(payer: int, payee: int, dealer: int) -> tuple[int, int, int, int]:
    """Return who stands on the sides of a form: payer, payee, dealer, operator."""
    return (
        payer << PARTY_SHIFT,
        payee << PARTY_SHIFT,
        dealer << PARTY_SHIFT,
        SYSTEM << PARTY_SHIFT,
    )


def form_of(product: Product, order: Ask | Order, price: Price, slot: int) -> Form:
    """Return a product's legs for an amount at a price, whoever pays whom.

    Legs depend on nothing else, so this may be kept for many orders.
    """
    payer, payee, dealer, _ = _SYMBOLS
    of_nobody = msgspec.structs.replace(order, payer=payer, payee=payee)
    found = []
    for leg in product.legs(Deal(of_nobody, price, slot, dealer)):
        giver, taker = leg.source, leg.target
        found.append(
            (
                _SYMBOLS.index(giver >> PARTY_SHIFT),
                giver & _TAIL,
                _SYMBOLS.index(taker >> PARTY_SHIFT),
                taker & _TAIL,
                leg.minor,
            )
        )
    return tuple(found)


def fee_legs(deal: Deal, payer_purse: Purse) -> tuple[Leg, ...]:
    """Return what the payer gives beyond the amount: fee less its taxes, and the taxes."""
    price = deal.price
    if not price.fee and not price.taxes:
        return ()
    return _fee_and_taxes(deal, deal.payer(payer_purse), price.fee, price.taxes)


def payee_fee_legs(deal: Deal, payee_purse: Purse) -> tuple[Leg, ...]:
    """Return what a receiving business gives of its receipts."""
    price = deal.price
    if not price.payee_fee and not price.payee_taxes:
        return ()
    return _fee_and_taxes(deal, deal.payee(payee_purse), price.payee_fee, price.payee_taxes)


def commission_legs(deal: Deal, agent: int) -> tuple[Leg, ...]:
    """Return the accrual of an agent's commission: the outlet's part, the dealer's, the tax."""
    price = deal.price
    spent = deal.system(Purse.SPENT)
    legs = [
        Leg(spent, deal.party(agent, Purse.COMMISSION), price.outlet_part),
        Leg(spent, deal.system(Purse.WITHHELD), price.withheld),
    ]
    if price.dealer_part:
        legs.append(Leg(spent, deal.party(deal.dealer, Purse.COMMISSION), price.dealer_part))
    return some(legs)


def some(legs: list[Leg]) -> tuple[Leg, ...]:
    """Return the legs that move something."""
    return tuple([leg for leg in legs if leg.minor > 0])


def _fee_and_taxes(deal: Deal, giver: int, fee: int, taxes: tuple[TaxLine, ...]) -> tuple[Leg, ...]:
    inside = on_top = 0
    for line in taxes:
        if line.is_included:
            inside += line.minor
        else:
            on_top += line.minor
    assert 0 <= inside <= fee, "taxes inside a fee are a part of it"
    legs = []
    if fee > inside:
        legs.append(Leg(giver, deal.system(Purse.FEES), fee - inside))
    if inside or on_top:
        legs.append(Leg(giver, deal.system(Purse.TAXES), inside + on_top))
    return tuple(legs)
