"""What a product is: who pays whom, for which service, and which legs that makes. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from umoja.markets.market import Service
from umoja.parties.party import Role
from umoja.payments.accounts import Accounts, Purse
from umoja.payments.order import Leg, Order


class Deal(msgspec.Struct, frozen=True, kw_only=True):
    """An order that is about to be booked, with the account numbers of its market."""

    order: Order
    accounts: Accounts
    dealer: int = 0  # the head office of the agent who earns on this order

    def payer(self, purse: Purse) -> int:
        return self.accounts.number(self.order.payer, purse, self.order.currency)

    def payee(self, purse: Purse) -> int:
        return self.accounts.number(self.order.payee, purse, self.order.currency)

    def party(self, party: int, purse: Purse) -> int:
        return self.accounts.number(party, purse, self.order.currency)

    def system(self, purse: Purse) -> int:
        return self.accounts.system(purse, self.order.currency)


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


def fee_legs(deal: Deal, payer_purse: Purse) -> tuple[Leg, ...]:
    """Return what the payer gives beyond the amount: fee less its taxes, and the taxes."""
    price = deal.order.price
    if not price.fee and not price.taxes:
        return ()
    payer = deal.payer(payer_purse)
    return _fee_and_taxes(
        deal,
        payer,
        fee=price.fee,
        inside=sum(line.minor for line in price.taxes if line.is_included),
        on_top=price.on_top,
    )


def payee_fee_legs(deal: Deal, payee_purse: Purse) -> tuple[Leg, ...]:
    """Return what a receiving business gives of its receipts."""
    price = deal.order.price
    return _fee_and_taxes(
        deal,
        deal.payee(payee_purse),
        fee=price.payee_fee,
        inside=sum(line.minor for line in price.payee_taxes if line.is_included),
        on_top=sum(line.minor for line in price.payee_taxes if not line.is_included),
    )


def commission_legs(deal: Deal, agent: int) -> tuple[Leg, ...]:
    """Return the accrual of an agent's commission: the outlet's part, the dealer's, the tax."""
    price = deal.order.price
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
    return tuple(leg for leg in legs if leg.minor > 0)


def _fee_and_taxes(
    deal: Deal, giver: int, *, fee: int, inside: int, on_top: int
) -> tuple[Leg, ...]:
    assert 0 <= inside <= fee, "taxes inside a fee are a part of it"
    return some(
        [
            Leg(giver, deal.system(Purse.FEES), fee - inside),
            Leg(giver, deal.system(Purse.TAXES), inside + on_top),
        ]
    )
