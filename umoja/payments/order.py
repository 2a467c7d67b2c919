"""An order: what somebody asked for, what it costs, what became of it. Frozen data and their words."""

from enum import Enum

import msgspec


class Decline(Enum):
    """Why an order was refused: returned, never raised. Names are stable; dialects translate."""

    __hash__ = object.__hash__

    MALFORMED = "malformed"
    PRODUCT_UNKNOWN = "product_unknown"
    PRODUCT_STOPPED = "product_stopped"
    NOT_OFFERED = "not_offered"
    CURRENCY_UNKNOWN = "currency_unknown"
    AMOUNT_TOO_PRECISE = "amount_too_precise"
    AMOUNT_TOO_SMALL = "amount_too_small"
    AMOUNT_TOO_LARGE = "amount_too_large"
    PAYER_UNKNOWN = "payer_unknown"
    PAYER_BARRED = "payer_barred"
    PAYEE_UNKNOWN = "payee_unknown"
    PAYEE_BARRED = "payee_barred"
    SAME_PARTY = "same_party"
    REFERENCE_MISSING = "reference_missing"
    PIN_WRONG = "pin_wrong"
    PIN_LOCKED = "pin_locked"
    PIN_NOT_SET = "pin_not_set"
    SIM_SWAPPED = "sim_swapped"
    NOT_ENOUGH = "not_enough"
    AGENT_FLOAT_SHORT = "agent_float_short"
    LIMIT_DAILY = "limit_daily"
    LIMIT_MONTHLY = "limit_monthly"
    LIMIT_YEARLY = "limit_yearly"
    LIMIT_COUNT = "limit_count"
    LIMIT_PAYEE_BALANCE = "limit_payee_balance"
    KEY_REUSED = "key_reused"
    ORDER_UNKNOWN = "order_unknown"
    ORDER_EXPIRED = "order_expired"
    ORDER_CANCELLED = "order_cancelled"
    NOT_ALLOWED = "not_allowed"
    TOO_LATE = "too_late"
    NOT_REVERSIBLE = "not_reversible"
    MONEY_GONE = "money_gone"
    PARTNER_REFUSED = "partner_refused"
    PARTNER_FAILED = "partner_failed"
    BOOKS_BROKEN = "books_broken"


OURS = frozenset({Decline.PRODUCT_STOPPED, Decline.PARTNER_FAILED, Decline.BOOKS_BROKEN})
"""Refusals that are our affair or a partner's: operations count them as failures."""


class State(Enum):
    """Where an order stands. Which may follow which: see lifecycle."""

    __hash__ = object.__hash__

    AWAITING = "awaiting_confirmation"
    HELD = "held"  # money is held; a partner is asked
    COMPLETED = "completed"
    DECLINED = "declined"
    FAILED = "failed"  # a partner refused after the hold; the money went back
    CANCELLED = "cancelled"
    REVERSAL_ASKED = "reversal_asked"  # held at the receiver until she consents
    REVERSED = "reversed"


class Leg(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`minor` units go from account `source` to account `target`."""

    source: int
    target: int
    minor: int


class TaxLine(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one tax row takes of this order; `is_included` means inside the fee, otherwise on top."""

    tax: str
    minor: int
    is_included: bool


class Price(msgspec.Struct, frozen=True, gc=False):
    """What an order costs, in minor units of its currency, and the rows that say so.

    The places of its fields are used where each order is priced: words cost five times as long.
    """

    fee: int = 0  # what the payer is asked for, taxes inside it included
    fee_tariff: str = ""
    payee_fee: int = 0  # what the receiving business bears
    payee_fee_tariff: str = ""
    taxes: tuple[TaxLine, ...] = ()  # on the payer's side
    payee_taxes: tuple[TaxLine, ...] = ()
    commission: int = 0  # gross, what the agent's house earns
    commission_row: str = ""
    withheld: int = 0  # of the commission, for the tax office
    outlet_part: int = 0
    dealer_part: int = 0

    @property
    def on_top(self) -> int:
        """Return the payer's taxes that are not inside the fee."""
        return sum(line.minor for line in self.taxes if not line.is_included)

    @property
    def charge(self) -> int:
        """Return what the payer pays beyond the amount."""
        return self.fee + self.on_top


class Order(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One order as the journal keeps it: all that is needed to tell the story again.

    Amounts are minor units of `currency`, times microseconds since 1970 UTC, parties their numbers.
    Make one with words, but where each order passes: there the places of its fields are used.
    """

    id: str
    market: str
    product: str
    channel: str
    client: str
    fingerprint: str  # of what was asked: the same key with another one is refused
    payer: int = 0
    payee: int = 0
    actor: int = 0  # the assistant or operator who acts for the payer or the agent
    amount: int = 0
    currency: str = ""
    reference: str = ""
    price: Price = Price()
    state: State = State.AWAITING
    decline: Decline | None = None
    receipt: str = ""
    step: str = ""  # what happened in this journal row: see lifecycle.Step
    asked_at: int = 0
    booked_at: int = 0  # when the money moved or was held
    done_at: int = 0
    events: int = 1  # journal rows of this order, this one included
    legs: tuple[Leg, ...] = ()
    hold: str = ""
    reversal_of: str = ""
    until: int = 0  # when the present state lapses by itself; 0: never
    payer_mark: int = 0
    payee_language: str = ""

    @property
    def total(self) -> int:
        """Return what leaves the payer's wallet."""
        return self.amount + self.price.charge


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """A price asked for without an order: what the payer would pay and who would receive."""

    product: str
    amount: int
    currency: str
    price: Price
    payee: int
    payee_name: str

    @property
    def total(self) -> int:
        return self.amount + self.price.charge


class Ask(msgspec.Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """A new order as a channel hands it to the desk, parties already found and PIN already checked.

    `key` makes a repeat harmless: within `client` the same key with the same ask gets the same
    order; with another ask KEY_REUSED. `is_confirmed` False stops at AWAITING until Confirm.
    """

    client: str
    key: str
    channel: str
    product: str
    payer: int
    payee: int
    amount: int
    currency: str
    reference: str = ""
    actor: int = 0
    is_confirmed: bool = True


class Confirm(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The payer has seen name and price and says yes (or no: the order is cancelled)."""

    order: str
    client: str
    says_yes: bool = True


class Reverse(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The payer asks a completed payment back: the amount is held at the receiver until she answers."""

    order: str
    payer: int
    client: str
    channel: str


class Consent(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The receiver of a payment that was asked back gives it back, or keeps it."""

    order: str
    payee: int
    says_yes: bool


class Settle(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What became of a held order at its partner: done, or refused with a reason."""

    order: str
    is_done: bool
    decline: Decline | None = None
    partner_reference: str = ""


class Lapse(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The time of the order's present state is over: what waits is cancelled, what is held let go."""

    order: str


Request = Ask | Confirm | Reverse | Consent | Settle | Lapse
