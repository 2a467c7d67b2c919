"""The native API's messages: what comes in and goes out as JSON, and how parties are named."""

from functools import lru_cache
from typing import Annotated, Literal

import msgspec

from umoja.clock import from_micros
from umoja.markets.market import Market
from umoja.money import format_minor
from umoja.parties.directory import Directory
from umoja.parties.party import Party
from umoja.payments.order import Order, Price, Quote
from umoja.payments.wallets import Balance, Line
from umoja.reach import URL_MAX

KEY_MAX = 255
PAYOUT_LINES_MAX = 10_000
PARTY_MAX = 2**53 - 1
"""The largest number that every JSON reader keeps whole; far below what an account number holds."""

Text = Annotated[str, msgspec.Meta(max_length=80)]
Product = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=40,
        description="send_money, pay_till, …: see the market's products",
    ),
]
CurrencyCode = Annotated[
    str, msgspec.Meta(min_length=1, max_length=40, description="ISO 4217, one of the market's")
]
Reference = Annotated[
    str, msgspec.Meta(max_length=40, description="A bill's account, the number that gets airtime")
]
PartyNumber = Annotated[int, msgspec.Meta(ge=1, le=PARTY_MAX, description="The party's number")]
Phone = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=32,
        description="In any way of writing: with the trunk prefix, with + or 00, or bare",
    ),
]
Code = Annotated[
    str, msgspec.Meta(max_length=12, pattern=r"^[0-9]{1,12}$", description="As people type it")
]
Pin = Annotated[
    str,
    msgspec.Meta(
        max_length=12,
        pattern=r"^[0-9]{1,12}$",
        description="Of whoever signs; three wrong ones in a row lock it",
    ),
]
LineKey = Annotated[
    str,
    msgspec.Meta(
        pattern=rf"^[\x21-\x7e]{{1,{KEY_MAX}}}$",
        max_length=KEY_MAX,
        description="Yours for this one payment: visible ASCII characters, another one for each",
    ),
]
Yes = Annotated[bool, msgspec.Meta(description="True needs the payer's PIN")]
Amount = Annotated[
    str,
    msgspec.Meta(
        max_length=20,
        pattern=r"^(0|[1-9][0-9]{0,14})(\.[0-9]{1,4})?$",
        description="Major units as a decimal string, for example 1250 or 12.50",
    ),
]
WebhookUrl = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=URL_MAX,
        description="Begins with https://; without user, password and fragment",
    ),
]
EventKind = Literal[
    "payment.awaiting_confirmation",
    "payment.held",
    "payment.completed",
    "payment.declined",
    "payment.failed",
    "payment.cancelled",
    "payment.reversal_asked",
    "payment.reversal_refused",
    "payment.reversed",
]
EventId = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[0-9]{12}\.[0-9a-f]{32}$",
        max_length=45,
        description="As the header webhook-id told it",
    ),
]
PageSize = Annotated[int, msgspec.Meta(ge=1, le=100, description="How many lines a page has")]
PageToken = Annotated[
    str, msgspec.Meta(max_length=40, description="`next` of the page before; empty: the first page")
]


class In(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What comes in: unknown fields are refused."""


class PartyRef(In, frozen=True, kw_only=True):
    """Names a party: exactly one of the fields. `operator` is the market's own account."""

    party: PartyNumber | None = None
    phone: Phone | None = None
    till: Code | None = None
    paybill: Code | None = None
    agent: Code | None = None
    operator: bool | None = None


class QuoteIn(In, frozen=True, kw_only=True):
    """What a payment would cost is asked; nothing is kept."""

    product: Product
    payer: PartyRef
    payee: PartyRef
    amount: Amount
    currency: CurrencyCode
    reference: Reference = ""


class PaymentIn(In, frozen=True, kw_only=True):
    """A payment. With `confirm` and the PIN it is done at once; without, it waits for a confirm.

    `actor` is the assistant who serves at the agent's outlet and signs in the agent's place.
    """

    product: Product
    payer: PartyRef
    payee: PartyRef
    amount: Amount
    currency: CurrencyCode
    reference: Reference = ""
    actor: PartyRef | None = None
    pin: Pin | None = None
    confirm: Yes = False


class ConfirmIn(In, frozen=True, kw_only=True):
    """The payer's yes, signed with the PIN; or no with `confirm` false, which cancels."""

    confirm: Yes = True
    pin: Pin | None = None


class PayoutLineIn(In, frozen=True, kw_only=True, gc=False):
    """One customer who is paid. `key` is remembered for ever, like an Idempotency-Key of its own."""

    key: LineKey
    phone: Phone
    amount: Amount
    reference: Reference = ""


class PayoutsIn(In, frozen=True, kw_only=True):
    """Payments of the client's organisation to customers, all in one currency."""

    currency: CurrencyCode
    lines: Annotated[list[PayoutLineIn], msgspec.Meta(min_length=1, max_length=PAYOUT_LINES_MAX)]


class ReverseIn(In, frozen=True, kw_only=True):
    """The payer asks the payment back, signed with the payer's PIN."""

    pin: Pin | None = None


class ConsentIn(In, frozen=True, kw_only=True):
    """The receiver gives the payment back (`agree`) or keeps it, signed with the receiver's PIN."""

    agree: bool
    pin: Pin | None = None


class PartyIn(In, frozen=True, kw_only=True):
    """A new customer, with the PIN she chose where she already chose one."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    phone: Phone
    language: Text = ""
    identity_kind: Text = ""
    identity_number: Annotated[str, msgspec.Meta(max_length=40)] = ""
    pin: Pin | None = None


class WebhookIn(In, frozen=True, kw_only=True):
    """An address that wants to hear of payments, and of which events."""

    url: WebhookUrl
    events: Annotated[list[EventKind], msgspec.Meta(min_length=1, max_length=9)]


class AgainIn(In, frozen=True, kw_only=True):
    """An event that is to be sent again."""

    event: EventId


class PinIn(In, frozen=True, kw_only=True):
    """A PIN to set. The old one is needed where there is one."""

    old_pin: Pin | None = None
    new_pin: Pin


class PaymentsQuery(In, frozen=True, kw_only=True):
    """Which payment is looked for: by its receipt number, or by the key it was asked with."""

    receipt: Annotated[str, msgspec.Meta(max_length=40, description="Ten of A-Z and 0-9")] = ""
    key: Annotated[
        str,
        msgspec.Meta(max_length=KEY_MAX, description="The Idempotency-Key it was asked with"),
    ] = ""


class PartiesQuery(In, frozen=True, kw_only=True):
    """Which parties are looked for: one by phone, till, paybill or agent code; else all, in pages."""

    phone: Annotated[str, msgspec.Meta(max_length=32)] = ""
    till: Annotated[str, msgspec.Meta(max_length=12)] = ""
    paybill: Annotated[str, msgspec.Meta(max_length=12)] = ""
    agent: Annotated[str, msgspec.Meta(max_length=12)] = ""
    role: Literal["", "customer", "dealer", "agent", "assistant", "organisation"] = ""
    page_size: PageSize = 20
    page_token: PageToken = ""


class PageQuery(In, frozen=True, kw_only=True):
    """Which page of a list."""

    page_size: PageSize = 20
    page_token: PageToken = ""


class TokenIn(In, frozen=True, kw_only=True):
    """OAuth2 client credentials, as a form. Id and secret may come by HTTP Basic instead."""

    grant_type: Literal["client_credentials"]
    scope: str = ""
    client_id: str = ""
    client_secret: str = ""


class TokenOut(msgspec.Struct, frozen=True, kw_only=True):
    """An access token: send it as `Authorization: Bearer …`."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int
    scope: str


class TokenError(msgspec.Struct, frozen=True, kw_only=True):
    """An error of the token endpoint, in the words of RFC 6749."""

    error: Literal["invalid_request", "invalid_client", "invalid_scope", "unsupported_grant_type"]
    error_description: str


class HealthOut(msgspec.Struct, frozen=True, kw_only=True):
    """The process answers."""

    status: Literal["up"]


class ReadyOut(msgspec.Struct, frozen=True, kw_only=True):
    """Which markets take payments; `shut` names those that do not."""

    ready: bool
    markets: dict[str, bool]
    shut: list[str]


class TaxOut(msgspec.Struct, frozen=True, gc=False):
    """What one tax takes; `included` means inside the fee, otherwise on top of it.

    Where it is made, as where a price and a payment are, the places of the fields are used: each
    payment is told in these three, and words cost five times as long.
    """

    tax: str
    amount: str
    included: bool


class PriceOut(msgspec.Struct, frozen=True, gc=False):
    """What it costs: amounts in major units, the rows of the market's pack that say so."""

    fee: str
    tariff: str
    taxes: list[TaxOut]
    payee_fee: str
    total: str


class QuoteOut(msgspec.Struct, frozen=True, kw_only=True):
    """What a payment would cost now, and the name of who would receive it."""

    product: str
    amount: str
    currency: str
    price: PriceOut
    payee_name: str


class PaymentOut(msgspec.Struct, frozen=True, gc=False):
    """A payment as it stands. Times are RFC 3339 UTC."""

    id: str
    market: str
    product: str
    channel: str
    state: str
    decline: str | None
    receipt: str | None
    amount: str
    currency: str
    price: PriceOut
    payer: int
    payee: int
    payee_name: str
    reference: str
    asked_at: str
    done_at: str | None
    expires_at: str | None


class PayoutLineOut(msgspec.Struct, frozen=True, gc=False):
    """What became of one line of payouts.

    `completed` and `declined` are final. `not_done`: nothing happened; `unknown`: it may have. Send
    both again with the same key. `fee` is what the organisation paid beyond the amount.
    """

    key: str
    state: Literal["completed", "declined", "not_done", "unknown"]
    payment: str | None
    receipt: str | None
    decline: str | None
    fee: str


class PayoutsOut(msgspec.Struct, frozen=True, kw_only=True):
    """What became of payouts, line by line in the order they were asked; `open` is the rest to repeat."""

    market: str
    payer: int
    currency: str
    completed: int
    declined: int
    open: int
    lines: list[PayoutLineOut]


class PaymentsOut(msgspec.Struct, frozen=True, kw_only=True):
    """The payments that were found; none is an empty list."""

    payments: list[PaymentOut]
    next: str | None


class BalanceOut(msgspec.Struct, frozen=True, kw_only=True):
    """What one purse has free, and what is held of it for something."""

    purse: str
    currency: str
    available: str
    held: str


class BalancesOut(msgspec.Struct, frozen=True, kw_only=True):
    """Every purse of a party in every currency of the market."""

    party: int
    balances: list[BalanceOut]


class LineOut(msgspec.Struct, frozen=True, kw_only=True):
    """One movement: what came, or went (negative), fees and taxes included."""

    sequence: int
    at: str
    payment: str
    receipt: str
    product: str
    step: str
    purse: str
    currency: str
    amount: str


class StatementOut(msgspec.Struct, frozen=True, kw_only=True):
    """A page, newest first; `next` is the page token of the older lines, null on the last."""

    lines: list[LineOut]
    next: str | None


class WebhookOut(msgspec.Struct, frozen=True, kw_only=True):
    """An address that hears of payments. `secret` is told in the answer that makes it, and never again.

    `failed` tries in a row have failed; where it `rests`, the next one is made at `rests_until`.
    `left_out` events were not kept because 10,000 waited already.
    """

    id: str
    url: str
    events: list[EventKind]
    secret: str | None
    created_at: str
    state: Literal["works", "rests"]
    failed: int
    rests_until: str | None
    left_out: int


class WebhooksOut(msgspec.Struct, frozen=True, kw_only=True):
    """All webhooks of this client, oldest first; there are ten at most."""

    webhooks: list[WebhookOut]
    next: str | None


class DeliveryOut(msgspec.Struct, frozen=True, kw_only=True):
    """One event on its way to a webhook.

    `status` is that of the last answer, null where none came: then `trouble` says why. `tries` are
    those since it was made, or asked for again.
    """

    event: str
    type: EventKind
    payment: str
    state: Literal["waiting", "delivered", "given_up"]
    status: int | None
    trouble: str | None
    tries: int
    happened_at: str
    tried_at: str | None
    delivered_at: str | None
    next_try_at: str | None


class DeliveriesOut(msgspec.Struct, frozen=True, kw_only=True):
    """A page, newest events first; `next` is the page token of the older ones, null on the last."""

    deliveries: list[DeliveryOut]
    next: str | None


class PartyOut(msgspec.Struct, frozen=True, kw_only=True):
    """A party of this market."""

    party: int
    role: str
    name: str
    phone: str
    tier: str
    language: str
    status: str
    agent: str | None
    till: str | None
    paybill: str | None


class PartiesOut(msgspec.Struct, frozen=True, kw_only=True):
    """A page of parties; `next` is the page token of those that follow, null on the last."""

    parties: list[PartyOut]
    next: str | None


class MarketOut(msgspec.Struct, frozen=True, kw_only=True):
    """The market that this token belongs to."""

    code: str
    name: str
    currencies: list[str]
    products: list[str]
    languages: list[str]
    pin_digits: int


def resolve(directory: Directory, market: Market, ref: PartyRef, *, operator: int) -> int | None:
    """Return the number of the party that is named; 0 where there is none, None where not one field.

    A wrong name is not an error here: the desk refuses party 0 in its own words.
    """
    named = (
        (ref.party is not None)
        + (ref.phone is not None)
        + (ref.till is not None)
        + (ref.paybill is not None)
        + (ref.agent is not None)
    )
    if named + bool(ref.operator) != 1:
        return None
    found: Party | None
    if ref.operator:
        return operator
    if ref.party is not None:
        found = directory.get(ref.party)
    elif ref.phone is not None:
        number = market.phone_number(ref.phone)
        found = directory.by_phone(number) if number else None
    elif ref.till is not None:
        found = directory.by_till(ref.till)
    elif ref.paybill is not None:
        found = directory.by_paybill(ref.paybill)
    else:
        assert ref.agent is not None, "one field is set"
        found = directory.by_agent_code(ref.agent)
    return found.id if found else 0


def moment(micros: int) -> str:
    """Return RFC 3339 UTC to the millisecond."""
    seconds, rest = divmod(micros, 1_000_000)
    return f"{_second(seconds)}.{rest // 1000:03d}Z"


@lru_cache(maxsize=256)
def _second(seconds: int) -> str:
    """Return a second as text: many payments are told of the same few."""
    return from_micros(seconds * 1_000_000).isoformat(timespec="seconds").removesuffix("+00:00")


def amount_out(market: Market, minor: int, currency: str) -> str:
    return _amount(minor, _digits(market, currency))


def _digits(market: Market, currency: str) -> int:
    known = market.currency(currency)
    return known.digits if known else 0


@lru_cache(maxsize=16_384)
def _amount(minor: int, digits: int) -> str:
    """Return an amount as text: fees, taxes and round amounts are few."""
    return format_minor(minor, digits=digits)


def price_out(market: Market, price: Price, *, amount: int, currency: str) -> PriceOut:
    digits = _digits(market, currency)
    on_top = 0
    taxes = []
    for line in price.taxes:
        if not line.is_included:
            on_top += line.minor
        taxes.append(TaxOut(line.tax, _amount(line.minor, digits), line.is_included))
    return PriceOut(
        _amount(price.fee, digits),
        price.fee_tariff,
        taxes,
        _amount(price.payee_fee, digits),
        _amount(amount + price.fee + on_top, digits),
    )


def quote_out(market: Market, quote: Quote) -> QuoteOut:
    return QuoteOut(
        product=quote.product,
        amount=amount_out(market, quote.amount, quote.currency),
        currency=quote.currency,
        price=price_out(market, quote.price, amount=quote.amount, currency=quote.currency),
        payee_name=quote.payee_name,
    )


def payment_out(market: Market, directory: Directory, order: Order) -> PaymentOut:
    payee = directory.get(order.payee)
    currency = order.currency
    return PaymentOut(
        order.id,
        order.market,
        order.product,
        order.channel,
        order.state._value_,  # `value` looks it up each time
        order.decline._value_ if order.decline else None,
        order.receipt or None,
        amount_out(market, order.amount, currency),
        currency,
        price_out(market, order.price, amount=order.amount, currency=currency),
        order.payer,
        order.payee,
        payee.name if payee else "",
        order.reference,
        moment(order.asked_at),
        moment(order.done_at) if order.done_at else None,
        moment(order.until) if order.until else None,
    )


def balance_out(market: Market, balance: Balance) -> BalanceOut:
    return BalanceOut(
        purse=balance.purse,
        currency=balance.currency,
        available=amount_out(market, balance.available, balance.currency),
        held=amount_out(market, balance.held, balance.currency),
    )


def line_out(market: Market, line: Line) -> LineOut:
    return LineOut(
        sequence=line.sequence,
        at=moment(line.at),
        payment=line.order_id,
        receipt=line.receipt,
        product=line.product,
        step=line.step,
        purse=line.purse,
        currency=line.currency,
        amount=amount_out(market, line.minor, line.currency),
    )


def party_out(party: Party) -> PartyOut:
    return PartyOut(
        party=party.id,
        role=party.role.value,
        name=party.name,
        phone=party.phone,
        tier=party.tier,
        language=party.language,
        status=party.status.value,
        agent=party.agent_code or None,
        till=party.till or None,
        paybill=party.paybill or None,
    )
