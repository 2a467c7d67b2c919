"""The list of what the native API can do: routes, OpenAPI document and `/docs` are made of it."""

from umoja.channels import native_parties, native_payments, native_payouts, native_webhooks
from umoja.channels.native_call import AtOnce, Operation
from umoja.channels.wire import (
    AgainIn,
    BalancesOut,
    ConfirmIn,
    ConsentIn,
    DeliveriesOut,
    DeliveryOut,
    MarketOut,
    PageQuery,
    PartiesOut,
    PartiesQuery,
    PartyIn,
    PartyOut,
    PaymentIn,
    PaymentOut,
    PaymentsOut,
    PaymentsQuery,
    PayoutsIn,
    PayoutsOut,
    PinIn,
    QuoteIn,
    QuoteOut,
    ReverseIn,
    StatementOut,
    WebhookIn,
    WebhookOut,
    WebhooksOut,
)
from umoja.payments.order import Decline

PINS = ("pin_wrong", "pin_locked", "pin_not_set")
_AFTERWARDS = (
    "order_unknown",
    "order_expired",
    "order_cancelled",
    "not_reversible",
    "money_gone",
    "too_late",
)
_AT_ONCE = tuple(
    decline.value for decline in Decline if decline.value not in {*_AFTERWARDS, "key_reused"}
)
_QUOTED = tuple(word for word in _AT_ONCE if word not in PINS)

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="market",
        method="GET",
        path="/v1/market",
        tag="Market",
        title="The market of this token",
        about="Which currencies, products and languages there are. A token belongs to one market.",
        scope="",
        run=native_parties.market,
        takes=None,
        gives=MarketOut,
    ),
    Operation(
        name="quote",
        method="POST",
        path="/v1/quote",
        tag="Payments",
        title="What would it cost?",
        about="Fee, taxes and the receiver's name, to show before somebody pays. Nothing is kept.",
        scope="payments:write",
        run=native_payments.quote,
        takes=QuoteIn,
        gives=QuoteOut,
        errors=_QUOTED,
    ),
    Operation(
        name="pay",
        method="POST",
        path="/v1/payments",
        tag="Payments",
        title="Pay",
        about=(
            "With `confirm: true` and the payer's PIN it is done at once. Without, the payment waits"
            " five minutes for its confirm, with price and receiver's name to show. A product that"
            " asks a partner (airtime) answers in state `held` and completes by itself."
            " A payment that was refused keeps its key: try again with a new one."
        ),
        scope="payments:write",
        run=native_payments.pay,
        takes=PaymentIn,
        gives=PaymentOut,
        status=201,
        needs_key=True,
        errors=_AT_ONCE,
        at_once=AtOnce(begin=native_payments.pay_at_once, end=native_payments.paid),
    ),
    Operation(
        name="pay_out",
        method="POST",
        path="/v1/payouts",
        tag="Payments",
        title="Pay many customers",
        about=(
            "Up to 10,000 payments of the client's own organisation to customers, out of its till, each"
            " with a key, a phone and an amount. The whole request is read first: one line that cannot"
            " be read, and nothing is paid. Then each line is paid or declined by itself, durably,"
            " before you are answered. Where the money is used up on the way, that line and those that"
            " follow are declined one by one with `not_enough`, except smaller ones that still fit."
            " A line's key is remembered for ever, also across requests: send the same request again"
            " after a lost answer, and each line is told what became of it; lines that were `not_done`"
            " or `unknown` are then done. The same key with another amount or phone is declined with"
            " `key_reused`. A line that was declined keeps its key: try again with a new one. One"
            " request of a client at a time, at most 2 MiB."
        ),
        scope="payments:payout",
        run=native_payouts.pay_out,
        takes=PayoutsIn,
        gives=PayoutsOut,
        needs_key=True,
        errors=("not_allowed", "currency_unknown", "amount_too_precise"),
        body_max=2 * 1024 * 1024,
    ),
    Operation(
        name="find_payments",
        method="GET",
        path="/v1/payments",
        tag="Payments",
        title="Find a payment",
        about=(
            "By its receipt number, or by the idempotency key that you asked with: so you learn what"
            " became of a payment whose answer was lost. A list of one or none."
        ),
        scope="payments:read",
        run=native_payments.payments,
        takes=PaymentsQuery,
        gives=PaymentsOut,
    ),
    Operation(
        name="payment",
        method="GET",
        path="/v1/payments/{payment}",
        tag="Payments",
        title="One payment",
        about="The payment as it stands.",
        scope="payments:read",
        run=native_payments.payment,
        takes=None,
        gives=PaymentOut,
        place="payment",
        errors=("order_unknown",),
    ),
    Operation(
        name="confirm",
        method="POST",
        path="/v1/payments/{payment}/confirm",
        tag="Payments",
        title="Confirm or cancel",
        about="The payer's yes with the PIN; with `confirm: false` the payment is cancelled.",
        scope="payments:write",
        run=native_payments.confirm,
        takes=ConfirmIn,
        gives=PaymentOut,
        place="payment",
        needs_key=True,
        errors=(
            *_AT_ONCE,
            "order_unknown",
            "order_expired",
            "order_cancelled",
            "too_late",
        ),
    ),
    Operation(
        name="reverse",
        method="POST",
        path="/v1/payments/{payment}/reverse",
        tag="Payments",
        title="Ask a payment back",
        about=(
            "The payer asks back within the market's window. The amount is held at the receiver"
            " until she consents, refuses, or 24 hours are over."
        ),
        scope="payments:write",
        run=native_payments.reverse,
        takes=ReverseIn,
        gives=PaymentOut,
        place="payment",
        needs_key=True,
        errors=(*PINS, "not_allowed", "order_unknown", "not_reversible", "money_gone", "too_late"),
    ),
    Operation(
        name="consent",
        method="POST",
        path="/v1/payments/{payment}/consent",
        tag="Payments",
        title="Give it back or keep it",
        about=(
            "The receiver's answer to a payment that was asked back. With `agree: true` amount, fee"
            " and taxes go back to the payer."
        ),
        scope="payments:write",
        run=native_payments.consent,
        takes=ConsentIn,
        gives=PaymentOut,
        place="payment",
        needs_key=True,
        errors=(*PINS, "not_allowed", "order_unknown", "too_late"),
    ),
    Operation(
        name="register",
        method="POST",
        path="/v1/parties",
        tag="Parties",
        title="Register a customer",
        about="On the market's first tier. Names of every script are welcome.",
        scope="parties:write",
        run=native_parties.register,
        takes=PartyIn,
        gives=PartyOut,
        status=201,
        errors=("phone_taken", "pin_unfit", "not_allowed"),
    ),
    Operation(
        name="find_parties",
        method="GET",
        path="/v1/parties",
        tag="Parties",
        title="Find parties",
        about="One by phone, till, paybill or agent code (a list of one or none), or all in pages.",
        scope="parties:read",
        run=native_parties.parties,
        takes=PartiesQuery,
        gives=PartiesOut,
    ),
    Operation(
        name="party",
        method="GET",
        path="/v1/parties/{party}",
        tag="Parties",
        title="One party",
        about="A customer, dealer, agent, assistant or organisation by number.",
        scope="parties:read",
        run=native_parties.party,
        takes=None,
        gives=PartyOut,
        place="party",
        errors=("party_unknown",),
    ),
    Operation(
        name="set_pin",
        method="PUT",
        path="/v1/parties/{party}/pin",
        tag="Parties",
        title="Set or change a PIN",
        about="A first PIN needs no old one. Three wrong old ones in a row lock the PIN.",
        scope="parties:write",
        run=native_parties.set_pin,
        takes=PinIn,
        gives=None,
        status=204,
        place="party",
        errors=("party_unknown", "pin_unfit", *PINS),
    ),
    Operation(
        name="balances",
        method="GET",
        path="/v1/parties/{party}/balances",
        tag="Money of a party",
        title="Balances",
        about="Every purse in every currency: what is free, and what is held for something.",
        scope="payments:read",
        run=native_parties.balances,
        takes=None,
        gives=BalancesOut,
        place="party",
        errors=("party_unknown",),
    ),
    Operation(
        name="statement",
        method="GET",
        path="/v1/parties/{party}/statement",
        tag="Money of a party",
        title="Statement",
        about=(
            "Movements, newest first. Pass `next` on as `page_token` for the older ones: pages do"
            " not shift while new payments come."
        ),
        scope="payments:read",
        run=native_parties.statement,
        takes=PageQuery,
        gives=StatementOut,
        place="party",
        errors=("party_unknown",),
    ),
    Operation(
        name="register_webhook",
        method="POST",
        path="/v1/webhooks",
        tag="Webhooks",
        title="Be told of payments",
        about=(
            "Events are posted to an address of yours, signed (Standard Webhooks). A client of an"
            " organisation hears of its organisation's payments, any client of those it asked for"
            " itself; what moved no money only whoever asked for it. At least once, in no certain"
            " order, within a day: tell repeats by `webhook-id`, and read the payment where order"
            " matters. Keep the `secret`: it is told once. At most ten a client."
        ),
        scope="payments:read",
        run=native_webhooks.register,
        takes=WebhookIn,
        gives=WebhookOut,
        status=201,
        needs_key=True,
        errors=("webhooks_full",),
    ),
    Operation(
        name="webhooks",
        method="GET",
        path="/v1/webhooks",
        tag="Webhooks",
        title="Your webhooks",
        about="All of this client's, and how they stand.",
        scope="payments:read",
        run=native_webhooks.webhooks,
        takes=None,
        gives=WebhooksOut,
    ),
    Operation(
        name="webhook",
        method="GET",
        path="/v1/webhooks/{webhook}",
        tag="Webhooks",
        title="One webhook",
        about="As it stands now.",
        scope="payments:read",
        run=native_webhooks.webhook,
        takes=None,
        gives=WebhookOut,
        place="webhook",
        errors=("webhook_unknown",),
    ),
    Operation(
        name="remove_webhook",
        method="DELETE",
        path="/v1/webhooks/{webhook}",
        tag="Webhooks",
        title="Be told no more",
        about=(
            "What waits for it is forgotten; a request that is on its way at this moment may still"
            " arrive. Repeating is harmless."
        ),
        scope="payments:read",
        run=native_webhooks.remove,
        takes=None,
        gives=None,
        status=204,
        place="webhook",
        errors=("webhook_unknown",),
    ),
    Operation(
        name="deliveries",
        method="GET",
        path="/v1/webhooks/{webhook}/deliveries",
        tag="Webhooks",
        title="What was sent there",
        about=(
            "The events of the last seven days, newest first: whether each was taken, what was"
            " answered, how often it was tried, and when it is tried next."
        ),
        scope="payments:read",
        run=native_webhooks.deliveries,
        takes=PageQuery,
        gives=DeliveriesOut,
        place="webhook",
        errors=("webhook_unknown",),
    ),
    Operation(
        name="send_again",
        method="POST",
        path="/v1/webhooks/{webhook}/again",
        tag="Webhooks",
        title="Send an event again",
        about=(
            "Under the same `webhook-id`, whether it was taken, given up, or waits. A webhook that"
            " rests is tried at once."
        ),
        scope="payments:read",
        run=native_webhooks.send_again,
        takes=AgainIn,
        gives=DeliveryOut,
        place="webhook",
        errors=("webhook_unknown", "event_unknown"),
    ),
)
