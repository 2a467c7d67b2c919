"""Errors as RFC 9457 problems: one shape, stable types, for the native API."""

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


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error as the native API tells it. `payment` is the order it concerns, where there is one."""

    type: str
    title: str
    status: int
    detail: str = ""
    payment: str = ""
    field: str = ""


def of_decline(decline: Decline, *, payment: str = "") -> Problem:
    """Return a refusal as a problem: 404 for what is not there, 503 for what is closed, else 422."""
    match decline:
        case Decline.ORDER_UNKNOWN:
            status = 404
        case Decline.PRODUCT_STOPPED | Decline.BOOKS_BROKEN:
            status = 503
        case Decline.NOT_ALLOWED:
            status = 403
        case _:
            status = 422
    return Problem(type=TYPE + decline.value, title=TITLES[decline], status=status, payment=payment)


def of_status(status: int, title: str, *, detail: str = "", field: str = "") -> Problem:
    """Return a problem of the protocol itself: bad JSON, no token, too large."""
    word = {
        400: "bad_request",
        401: "unauthorized",
        403: "forbidden",
        404: "not_found",
        405: "method_not_allowed",
        409: "in_flight",
        413: "too_large",
        415: "media_type",
        422: "unprocessable",
        429: "too_many",
        500: "bug",
        503: "unavailable",
    }.get(status, "other")
    return Problem(type=TYPE + word, title=title, status=status, detail=detail, field=field)
