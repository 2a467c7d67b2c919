"""Decide what becomes of a new order: product, parties, price, limits, in that order. Pure.

What only the ledger knows (is there enough?) is asked last, when the legs are posted.
"""

from datetime import date

import msgspec

from umoja.markets.market import Market
from umoja.parties.party import SYSTEM, Party, Role, Status
from umoja.payments.accounts import Accounts
from umoja.payments.catalogue import PRODUCTS
from umoja.payments.limits import (
    Entry,
    Usage,
    added,
    in_first_currency,
    may_pay,
    may_receive,
    may_use,
    used_in,
)
from umoja.payments.order import Ask, Decline, Order, Price
from umoja.payments.pricing import NO_PRICE, Item, price
from umoja.payments.product import Deal, Product

AMOUNT_MAX = 10**15  # minor units: far above any market's ceiling, far below 64 bits
REFERENCE_MAX = 40

OPERATOR = Party(id=SYSTEM, role=Role.OPERATOR, name="")


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """All that was gathered for one order before it is decided."""

    market: Market
    day: date
    payer: Party | None
    payee: Party | None
    dealer: Party | None
    usage: Usage
    payee_balance: int  # all wallets of the receiver in the market's first currency
    stopped: str | None
    is_sim_fresh: bool = False  # the payer's SIM was swapped a short while ago


def decided(order: Order, facts: Facts) -> tuple[Price, Decline | None]:
    """Return what the order costs, and the reason where it is refused."""
    product = PRODUCTS.get(order.product)
    if product is None:
        return NO_PRICE, Decline.PRODUCT_UNKNOWN
    if facts.stopped is not None:
        return NO_PRICE, Decline.PRODUCT_STOPPED
    decline = _form(order, product, facts) or _parties(product, facts)
    if decline is not None:
        return NO_PRICE, decline
    assert facts.payer is not None, "a payer was found"
    assert facts.payee is not None, "a payee was found"
    priced = price(facts.market, _item(order, product, facts))
    if isinstance(priced, Decline):
        return NO_PRICE, priced
    return priced, _within_limits(order, product, facts, facts.payer, facts.payee)


def entry(market: Market, order: Order, *, day: date) -> Entry:
    """Return the order as the payer's usage counts it."""
    return Entry(
        day=day,
        value=in_first_currency(market, order.amount, order.currency),
        service=PRODUCTS[order.product].service,
    )


def counts_for_usage(order: Order) -> bool:
    """Tell whether limits count this product: those that customers pay."""
    return Role.CUSTOMER in PRODUCTS[order.product].payers


def deal(order: Order, accounts: Accounts, dealer: Party | None) -> Deal:
    return Deal(order=order, accounts=accounts, dealer=dealer.id if dealer else 0)


def order_of(
    ask: Ask, *, order_id: str, market: str, fingerprint: str, now: int, payer_mark: int = 0
) -> Order:
    """Return the order that an ask begins, not yet decided."""
    return Order(
        id=order_id,
        market=market,
        product=ask.product,
        channel=ask.channel,
        client=ask.client,
        fingerprint=fingerprint,
        payer=ask.payer,
        payee=ask.payee,
        actor=ask.actor,
        amount=ask.amount,
        currency=ask.currency,
        reference=ask.reference,
        price=NO_PRICE,
        asked_at=now,
        payer_mark=payer_mark,
    )


def _form(order: Order, product: Product, facts: Facts) -> Decline | None:
    """Judge what can be judged from the order itself."""
    currency = facts.market.currency(order.currency)
    if currency is None:
        return Decline.CURRENCY_UNKNOWN
    if order.amount <= 0:
        return Decline.AMOUNT_TOO_SMALL
    if order.amount > AMOUNT_MAX:
        return Decline.AMOUNT_TOO_LARGE
    if order.amount % currency.step:
        return Decline.AMOUNT_TOO_PRECISE
    if product.needs_reference and not order.reference.strip():
        return Decline.REFERENCE_MISSING
    if len(order.reference) > REFERENCE_MAX or not order.reference.isprintable():
        return Decline.MALFORMED
    least = facts.market.minimum(service=product.service, currency=order.currency)
    return Decline.AMOUNT_TOO_SMALL if order.amount < least else None


def _parties(product: Product, facts: Facts) -> Decline | None:
    payer, payee = facts.payer, facts.payee
    if payer is None or payer.role not in product.payers:
        return Decline.PAYER_UNKNOWN
    if payer.status is not Status.ACTIVE:
        return Decline.PAYER_BARRED
    if facts.is_sim_fresh:
        return Decline.SIM_SWAPPED
    if payee is None or payee.role not in product.payees:
        return Decline.PAYEE_UNKNOWN
    if payee.status is not Status.ACTIVE:
        return Decline.PAYEE_BARRED
    return Decline.SAME_PARTY if payer.id == payee.id else None


def _item(order: Order, product: Product, facts: Facts) -> Item:
    assert facts.payer is not None, "parties were judged"
    assert facts.payee is not None, "parties were judged"
    organisation = facts.payee if facts.payee.role is Role.ORGANISATION else facts.payer
    return Item(
        service=product.service,
        currency=order.currency,
        minor=order.amount,
        day=facts.day,
        plan=organisation.plan,
        category=organisation.category,
        used=used_in(facts.usage, day=facts.day),
        earns_commission=bool(product.earns),
        has_dealer=facts.dealer is not None,
        is_priced=Role.CUSTOMER in product.payers | product.payees,
    )


def _within_limits(
    order: Order, product: Product, facts: Facts, payer: Party, payee: Party
) -> Decline | None:
    """Judge the payer's and the receiver's ceilings, which count in the market's first currency."""
    market = facts.market
    first = market.currencies[0].code
    value = in_first_currency(market, order.amount, order.currency)
    is_exempt = market.is_limit_exempt(product.service) or payee.category in market.limit_exempt
    if payer.role is Role.CUSTOMER and not is_exempt:
        ceiling = market.ceiling(tier=payer.tier, currency=first, day=facts.day)
        if ceiling is None:
            return Decline.PAYER_BARRED
        after = added(facts.usage, Entry(day=facts.day, value=value, service=product.service))
        decline = may_pay(ceiling, after, value=value)
        nested = market.service_ceilings.get((first, product.service.value))
        if decline is None and nested is not None:
            decline = may_use(nested, after, value=value)
        if decline is not None:
            return decline
    if payee.role is Role.CUSTOMER:
        ceiling = market.ceiling(tier=payee.tier, currency=first, day=facts.day)
        if ceiling is None:
            return Decline.PAYEE_BARRED
        return may_receive(ceiling, value=value, balance=facts.payee_balance)
    return None
