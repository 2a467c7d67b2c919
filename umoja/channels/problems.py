"""Errors as RFC 9457 problems: one shape, stable types, for the native API."""

from dataclasses import dataclass

import msgspec

from umoja.payments.order import Decline

TYPE = "urn:umoja:problem:"
MEDIA_TYPE = "application/problem+json"

TITLES: dict[Decline, str] = {
    Decline.MALFORMED: "A field of the order cannot be read",
    Decline.PRODUCT_UNKNOWN: "There is no such product",
    Decline.PRODUCT_STOPPED: "The product is stopped for the moment",
    Decline.NOT_OFFERED: "This market does not offer the service",
    Decline.CURRENCY_UNKNOWN: "This market has no wallets in that currency",
    Decline.AMOUNT_TOO_PRECISE: "The amount is finer than the smallest payable step",
    Decline.AMOUNT_TOO_SMALL: "The amount is below the least that can be paid",
    Decline.AMOUNT_TOO_LARGE: "The amount is above the most that can be paid at once",
    Decline.PAYER_UNKNOWN: "The payer is not known, or may not pay with this product",
    Decline.PAYER_BARRED: "The payer's account is barred",
    Decline.PAYEE_UNKNOWN: "The receiver is not known, or may not be paid with this product",
    Decline.PAYEE_BARRED: "The receiver's account is barred",
    Decline.SAME_PARTY: "Payer and receiver are the same",
    Decline.REFERENCE_MISSING: "A reference is needed",
    Decline.PIN_WRONG: "The PIN is wrong",
    Decline.PIN_LOCKED: "The PIN is locked after three wrong entries",
    Decline.PIN_NOT_SET: "No PIN is set yet",
    Decline.SIM_SWAPPED: "The SIM was changed a short while ago",
    Decline.NOT_ENOUGH: "There is not enough money",
    Decline.AGENT_FLOAT_SHORT: "The agent's float is too small",
    Decline.LIMIT_DAILY: "The day's limit would be passed",
    Decline.LIMIT_MONTHLY: "The month's limit would be passed",
    Decline.LIMIT_YEARLY: "The year's limit would be passed",
    Decline.LIMIT_COUNT: "The day's number of payments would be passed",
    Decline.LIMIT_PAYEE_BALANCE: "The receiver's wallet would hold more than it may",
    Decline.KEY_REUSED: "The idempotency key was used for something else",
    Decline.ORDER_UNKNOWN: "There is no such payment",
    Decline.ORDER_EXPIRED: "The payment was not confirmed in time",
    Decline.ORDER_CANCELLED: "The payment was cancelled",
    Decline.NOT_ALLOWED: "This is not allowed",
    Decline.TOO_LATE: "The time for this is over",
    Decline.NOT_REVERSIBLE: "This payment cannot be asked back",
    Decline.MONEY_GONE: "The receiver no longer has the money",
    Decline.PARTNER_REFUSED: "The partner refused",
    Decline.PARTNER_FAILED: "The partner could not be reached; nothing was paid",
    Decline.BOOKS_BROKEN: "The market is closed until its books are right again",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What can be wrong: the last word of the problem's type, its status and its title.

    `retry_after_s` above nought: the answer has that Retry-After, unless told otherwise.
    """

    word: str
    status: int
    title: str
    retry_after_s: int = 0


def _declined(decline: Decline) -> Kind:
    """Give a refusal its status: 404 for what is not there, 503 for what is closed, else 422."""
    match decline:
        case Decline.ORDER_UNKNOWN:
            status = 404
        case Decline.PRODUCT_STOPPED | Decline.BOOKS_BROKEN:
            status = 503
        case Decline.NOT_ALLOWED:
            status = 403
        case _:
            status = 422
    return Kind(
        word=decline.value,
        status=status,
        title=TITLES[decline],
        retry_after_s=60 if status == 503 else 0,
    )


_PROTOCOL = (
    Kind(word="bad_request", status=400, title="The request cannot be read"),
    Kind(word="key_missing", status=400, title="The header Idempotency-Key is needed"),
    Kind(word="unauthorized", status=401, title="A valid access token is needed"),
    Kind(word="forbidden", status=403, title="The token does not have the scope for this"),
    Kind(word="not_found", status=404, title="There is nothing at this address"),
    Kind(word="party_unknown", status=404, title="There is no such party"),
    Kind(word="webhook_unknown", status=404, title="There is no such webhook"),
    Kind(word="event_unknown", status=404, title="There is no such event, or it is no longer kept"),
    Kind(word="method_not_allowed", status=405, title="This address does not know that method"),
    Kind(
        word="in_flight",
        status=409,
        title="A request with this idempotency key is being answered",
        retry_after_s=1,
    ),
    Kind(word="phone_taken", status=409, title="Another party has this phone number"),
    Kind(word="webhooks_full", status=409, title="There are as many webhooks as there may be"),
    Kind(word="too_large", status=413, title="The request is too large"),
    Kind(word="media_type", status=415, title="The request's media type is not understood"),
    Kind(word="unprocessable", status=422, title="A field is missing, unknown or not of its kind"),
    Kind(word="pin_unfit", status=422, title="This PIN may not be chosen"),
    Kind(word="too_many", status=429, title="Too many requests at once", retry_after_s=1),
    Kind(word="bug", status=500, title="Something went wrong on our side"),
    Kind(
        word="unavailable",
        status=503,
        title="This cannot be done at the moment; nothing happened",
        retry_after_s=5,
    ),
    Kind(word="market_shut", status=503, title="The market is not open", retry_after_s=60),
    Kind(
        word="outcome_unknown",
        status=504,
        title="It may have happened: ask for the outcome",
        retry_after_s=5,
    ),
)

KINDS: dict[str, Kind] = {
    kind.word: kind for kind in (*_PROTOCOL, *(_declined(decline) for decline in Decline))
}
"""Every kind of problem by its word. Words are stable: programs may rely on them."""

_OF_STATUS = {kind.status: kind.word for kind in reversed(_PROTOCOL)}


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error as the native API tells it (RFC 9457).

    `type` is stable and meant for programs, `title` and `detail` for people. `field` names what was
    wrong in the request; `payment` is the payment that it concerns, where there is one.
    """

    type: str
    title: str
    status: int
    detail: str = ""
    payment: str = ""
    field: str = ""

    @property
    def word(self) -> str:
        return self.type.removeprefix(TYPE)


def problem(word: str, *, detail: str = "", field: str = "", payment: str = "") -> Problem:
    """Return a problem of a known kind. `word` is one of KINDS."""
    kind = KINDS[word]
    return Problem(
        type=TYPE + kind.word,
        title=kind.title,
        status=kind.status,
        detail=detail,
        payment=payment,
        field=field,
    )


def of_decline(decline: Decline, *, payment: str = "", field: str = "") -> Problem:
    """Return a refusal as a problem. `payment` is its id where the refused order was kept."""
    detail = ""
    if payment and KINDS[decline.value].status == 503:
        detail = "This payment was refused for good: try again later with a new Idempotency-Key."
    return problem(decline.value, detail=detail, payment=payment, field=field)


def of_status(status: int, *, detail: str = "") -> Problem:
    """Return the problem of a bare HTTP status: what the framework found out by itself."""
    word = _OF_STATUS.get(status)
    if word is None:
        return Problem(type="about:blank", title=f"Status {status}", status=status, detail=detail)
    return problem(word, detail=detail)
