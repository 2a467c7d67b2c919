"""Decide what becomes of a new order: product, parties, price, limits, in that order. Pure.

What only the ledger knows (is there enough?) is asked last, when the legs are posted.
"""

from datetime import date
from typing import Protocol

import msgspec

from umoja.markets.market import Ceiling, Market
from umoja.parties.party import SYSTEM, Party, Role, Status
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
from umoja.payments.pricing import NO_PRICE, Item, card_for, price
from umoja.payments.product import Product

AMOUNT_MAX = 10**15  # minor units: far above any market's ceiling, far below 64 bits
REFERENCE_MAX = 40
TERMS_MAX = 256  # kinds of orders remembered, and prices of each: a few hundred bytes apiece
PRICES_MAX = 1024
_ACTIVE = Status.ACTIVE

OPERATOR = Party(id=SYSTEM, role=Role.OPERATOR, name="")


class Facts(msgspec.Struct, frozen=True):
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


class Terms(msgspec.Struct, frozen=True):
    """What orders of one product between two kinds of parties have in common on one day."""

    fits: bool  # the currency is known, and such parties may take part
    step: int
    least: int
    is_first: bool  # in the market's first currency, in which limits count
    is_limited: bool  # the payer's ceilings count
    is_capped: bool  # the receiver's do
    payer_ceiling: Ceiling | None
    payee_ceiling: Ceiling | None
    nested: Ceiling | None  # what the service may do inside the payer's ceiling
    is_plain: bool  # an amount always costs the same
    prices: dict[int, Price]  # of amounts asked for lately, where it is plain


Known = dict[tuple[object, ...], Terms]
"""Terms found so far. They depend on their key and the market alone: a memo, bounded here."""


Decided = tuple[Price, Decline | None, Usage | None]
"""What an order costs, why it is refused if it is, and what the payer will have used after it.

The last is None where limits do not count the order.
"""


def decided(order: Ask | Order, facts: Facts, known: Known) -> Decided:
    """Judge an order, or what is asked for; `known` is the same dictionary every time."""
    product = PRODUCTS.get(order.product)
    if product is None:
        return NO_PRICE, Decline.PRODUCT_UNKNOWN, None
    if facts.stopped is not None:
        return NO_PRICE, Decline.PRODUCT_STOPPED, None
    payer, payee = facts.payer, facts.payee
    if payer is None or payee is None:
        return NO_PRICE, _form(order, product, facts) or _parties(product, facts), None
    terms = _terms(order, product, facts, payer, payee, known)
    # All at once because nearly every order passes: `_form` and `_parties` say what is wrong.
    amount, reference = order.amount, order.reference
    if not (
        terms.fits
        and terms.least <= amount <= AMOUNT_MAX
        and not amount % terms.step
        and payer.status is _ACTIVE
        and payee.status is _ACTIVE
        and payer.id != payee.id
        and not facts.is_sim_fresh
        and len(reference) <= REFERENCE_MAX
        and reference.isprintable()
        and (not product.needs_reference or reference.strip())
    ):
        decline = _form(order, product, facts) or _parties(product, facts)
        assert decline is not None, "what is refused has a reason"
        return NO_PRICE, decline, None
    priced = terms.prices.get(amount)
    if priced is None:
        found = price(facts.market, _item(order, product, facts))
        if isinstance(found, Decline):
            return NO_PRICE, found, None
        priced = found
        if terms.is_plain:
            if len(terms.prices) >= PRICES_MAX:
                terms.prices.clear()
            terms.prices[amount] = priced
    return _within_limits(order, product, facts, terms, priced)


def _terms(
    order: Ask | Order, product: Product, facts: Facts, payer: Party, payee: Party, known: Known
) -> Terms:
    organisation = payee if payee.role is Role.ORGANISATION else payer
    key = (
        product.code,
        order.currency,
        payer.role,
        payer.tier,
        payee.role,
        payee.tier,
        payee.category,
        organisation.plan,
        organisation.category,
        facts.dealer is not None,
        facts.day,
    )
    terms = known.get(key)
    if terms is None:
        if len(known) >= TERMS_MAX:
            known.clear()
        terms = known[key] = _made_terms(order, product, facts, payer, payee)
    return terms


def _made_terms(
    order: Ask | Order, product: Product, facts: Facts, payer: Party, payee: Party
) -> Terms:
    market, service = facts.market, product.service
    first = market.currencies[0].code
    currency = market.currency(order.currency)
    fits = currency is not None and payer.role in product.payers and payee.role in product.payees
    is_exempt = market.is_limit_exempt(service) or payee.category in market.limit_exempt
    is_limited = payer.role is Role.CUSTOMER and not is_exempt
    item = _item(order, product, facts)
    return Terms(
        fits=fits,
        step=currency.step if currency and not product.is_gift else 1,
        least=max(1, market.minimum(service=service, currency=order.currency)),
        is_first=order.currency == first,
        is_limited=is_limited,
        is_capped=payee.role is Role.CUSTOMER,
        payer_ceiling=market.ceiling(tier=payer.tier, currency=first, day=facts.day),
        payee_ceiling=market.ceiling(tier=payee.tier, currency=first, day=facts.day),
        nested=market.service_ceilings.get((first, service.value)),
        is_plain=fits and (not item.is_priced or card_for(market, item).is_plain),
        prices={},
    )


class Counted(Protocol):
    """What of an order limits count."""

    @property
    def product(self) -> str: ...
    @property
    def amount(self) -> int: ...
    @property
    def currency(self) -> str: ...


def entry(market: Market, order: Counted, *, day: date) -> Entry:
    """Return the order as the payer's usage counts it."""
    value = in_first_currency(market, order.amount, order.currency)
    return Entry(day, value, PRODUCTS[order.product].service)


def counts_for_usage(order: Counted) -> bool:
    """Tell whether limits count this product: those that customers pay."""
    return Role.CUSTOMER in PRODUCTS[order.product].payers


def order_of(
    ask: Ask,
    order_id: str,
    market: str,
    fingerprint: str,
    now: int,
    payer_mark: int,
    price: Price = NO_PRICE,
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
        price=price,
        asked_at=now,
        payer_mark=payer_mark,
    )


def _form(order: Ask | Order, product: Product, facts: Facts) -> Decline | None:
    """Judge what can be judged from the order itself."""
    currency = facts.market.currency(order.currency)
    if currency is None:
        return Decline.CURRENCY_UNKNOWN
    if order.amount <= 0:
        return Decline.AMOUNT_TOO_SMALL
    if order.amount > AMOUNT_MAX:
        return Decline.AMOUNT_TOO_LARGE
    if order.amount % currency.step and not product.is_gift:
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


def _item(order: Ask | Order, product: Product, facts: Facts) -> Item:
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
        is_priced=Role.CUSTOMER in product.payers | product.payees and not product.is_gift,
    )


def _within_limits(
    order: Ask | Order, product: Product, facts: Facts, terms: Terms, priced: Price
) -> Decided:
    """Judge the payer's and the receiver's ceilings, which count in the market's first currency."""
    value = order.amount
    if not terms.is_first:
        value = in_first_currency(facts.market, value, order.currency)
    after = None
    if terms.is_limited:
        if terms.payer_ceiling is None:
            return priced, Decline.PAYER_BARRED, None
        after = added(facts.usage, Entry(facts.day, value, product.service))
        decline = may_pay(terms.payer_ceiling, after, value=value)
        if decline is None and terms.nested is not None:
            decline = may_use(terms.nested, after, value=value)
        if decline is not None:
            return priced, decline, None
    if terms.is_capped:
        if terms.payee_ceiling is None:
            return priced, Decline.PAYEE_BARRED, None
        decline = may_receive(terms.payee_ceiling, value=value, balance=facts.payee_balance)
        if decline is not None:
            return priced, decline, None
    return priced, None, after
