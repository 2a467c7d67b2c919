"""The OpenAPI 3.1 document of the native API, made of its operations, shapes and kinds of problem."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from umoja.channels.native_call import JSON, Operation
from umoja.channels.native_operations import OPERATIONS
from umoja.channels.problems import KINDS, MEDIA_TYPE, Problem, problem
from umoja.channels.tokens import FORM
from umoja.channels.wire import (
    KEY_MAX,
    PARTY_MAX,
    BalanceOut,
    BalancesOut,
    DeliveriesOut,
    DeliveryOut,
    HealthOut,
    LineOut,
    MarketOut,
    PartiesOut,
    PartyOut,
    PaymentOut,
    PaymentsOut,
    PayoutLineOut,
    PayoutsOut,
    PriceOut,
    QuoteOut,
    ReadyOut,
    StatementOut,
    TaxOut,
    TokenError,
    TokenIn,
    TokenOut,
    WebhookOut,
    WebhooksOut,
)
from umoja.markets.market import Market
from umoja.money import format_minor
from umoja.parties.clients import SCOPES
from umoja.payments.catalogue import GIFTS, PRODUCTS

Json = dict[str, Any]

_REF = "#/components/schemas/{name}"
_EVERY = ("unauthorized", "too_many", "bug", "unavailable", "market_shut", "outcome_unknown")
_SCOPES = {
    "payments:read": "See payments, balances and statements",
    "payments:write": "Quote, pay, confirm, reverse, consent",
    "payments:payout": "Pay customers out of the organisation's till",
    "payments:operator": "Pay from the market's own account: issue float",
    "parties:read": "Find parties and see their details",
    "parties:write": "Register customers and set PINs",
}
_HEALTH = "Health"
_EVENT = "000000000042." + "0" * 31 + "1"
_ABOUT = """\
One API for mobile money in every market. A token belongs to one market and, where the client does, to \
one organisation.

- **Amounts** are decimal strings in major units (`"1250"` or `"12.50"`), never numbers.
- **Times** are RFC 3339 in UTC. **Parties** are named by number, phone, till, paybill or agent code.
- **Repeating is safe**: every request that moves money needs an `Idempotency-Key` of yours. The same \
key and body get the same answer; another body gets 422; while the first is being answered, 409.
- **Errors** are `application/problem+json` (RFC 9457). `type` is stable; `field` names what was wrong.
- **Pages** have a `next`: pass it on as `page_token` until it is null.
- After **429** or **503** wait as long as `Retry-After` says: nothing happened. After **504** ask for \
the outcome with the same key.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What examples are made of: a market's own currency, numbers and words."""

    market: str
    name: str
    currency: str
    amount: str
    fee: str
    total: str
    phone: str
    other_phone: str
    pin: str
    languages: tuple[str, ...]
    pin_digits: int
    tier: str


def sample_of(market: Market | None) -> Sample:
    """Return the examples' data for a market; where none is open, of nowhere."""
    if market is None:
        return Sample(
            market="XX", name="Nowhere", currency="USD", amount="10.00", fee="0.25", total="10.25",
            phone="700000001", other_phone="700000002", pin="1357", languages=("en",),
            pin_digits=4, tier="basic",
        )  # fmt: skip
    money = market.currencies[0]
    amount, fee = 100 * money.step, money.step
    number = market.number_example
    last = "1" if number[-1] != "1" else "2"
    return Sample(
        market=market.code,
        name=market.name,
        currency=money.code,
        amount=format_minor(amount, digits=money.digits),
        fee=format_minor(fee, digits=money.digits),
        total=format_minor(amount + fee, digits=money.digits),
        phone=number,
        other_phone=number[:-1] + last,
        pin="135790246813"[: market.pin_digits],
        languages=market.languages,
        pin_digits=market.pin_digits,
        tier=market.tiers[0].id,
    )


def document(sample: Sample, operations: Iterable[Operation] = OPERATIONS) -> Json:
    """Return the whole OpenAPI document as plain data."""
    operations = tuple(operations)
    paths: dict[str, Json] = {}
    for operation in operations:
        item = paths.setdefault(operation.path, {})
        item[operation.method.lower()] = _operation(operation, sample)
    paths |= _around(sample)
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "Umoja",
            "summary": "Mobile money for many markets",
            "description": _ABOUT,
            "version": _version(),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"oauth2": []}],
        "tags": [{"name": name} for name in _tags(operations)],
        "paths": paths,
        "components": {
            "schemas": _schemas(operations),
            "headers": _HEADERS,
            "securitySchemes": {
                "oauth2": {
                    "type": "oauth2",
                    "description": "Client credentials; a token lives an hour.",
                    "flows": {
                        "clientCredentials": {
                            "tokenUrl": "/oauth2/token",
                            "scopes": {scope: _SCOPES[scope] for scope in sorted(SCOPES)},
                        }
                    },
                }
            },
        },
    }


def example_body(operation: Operation, sample: Sample) -> Json | None:
    """Return an example of what the operation takes as its body."""
    payer, payee = {"phone": sample.phone}, {"phone": sample.other_phone}
    ask = {
        "product": "send_money",
        "payer": payer,
        "payee": payee,
        "amount": sample.amount,
        "currency": sample.currency,
    }
    bodies: dict[str, Json] = {
        "quote": ask,
        "pay": ask | {"confirm": True, "pin": sample.pin},
        "pay_out": {
            "currency": sample.currency,
            "lines": [
                {"key": "salary-2026-03-1", "phone": sample.phone, "amount": sample.amount},
                {
                    "key": "salary-2026-03-2",
                    "phone": sample.other_phone,
                    "amount": sample.amount,
                    "reference": "March",
                },
            ],
        },
        "confirm": {"confirm": True, "pin": sample.pin},
        "reverse": {"pin": sample.pin},
        "consent": {"agree": True, "pin": sample.pin},
        "register": {"name": "Amina Otieno", "phone": sample.phone, "pin": sample.pin},
        "set_pin": {"new_pin": sample.pin},
        "register_webhook": {
            "url": "https://shop.example/umoja",
            "events": ["payment.completed", "payment.reversed"],
        },
        "send_again": {"event": _EVENT},
    }
    return bodies.get(operation.name)


def example_answer(shape: type[msgspec.Struct] | None, sample: Sample) -> Any:
    """Return an example of an answer: made of the shape itself, so it cannot differ from it."""
    price = PriceOut(
        fee=sample.fee,
        tariff="send_on_net",
        taxes=[TaxOut(tax="excise", amount=sample.fee, included=True)],
        payee_fee=sample.fee,
        total=sample.total,
    )
    payment = PaymentOut(
        id="0" * 31 + "1", market=sample.market, product="send_money", channel="api",
        state="completed", decline=None, receipt="QHK3T7Z0AB", amount=sample.amount,
        currency=sample.currency, price=price, payer=1000, payee=1001, payee_name="Baraka Mwangi",
        reference="", asked_at="2026-03-10T09:00:00.000Z", done_at="2026-03-10T09:00:00.004Z",
        expires_at=None,
    )  # fmt: skip
    party = PartyOut(
        party=1000, role="customer", name="Amina Otieno", phone=sample.phone, tier=sample.tier,
        language=sample.languages[0], status="active", agent=None, till=None, paybill=None,
    )  # fmt: skip
    line = LineOut(
        sequence=42, at="2026-03-10T09:00:00.004Z", payment=payment.id, receipt="QHK3T7Z0AB",
        product="send_money", step="booked", purse="wallet", currency=sample.currency,
        amount=f"-{sample.total}",
    )  # fmt: skip
    webhook = WebhookOut(
        id="wh_0123456789abcdef01234567", url="https://shop.example/umoja",
        events=["payment.completed", "payment.reversed"], secret=None,
        created_at="2026-03-10T08:55:00.000Z", state="works", failed=0, rests_until=None, left_out=0,
    )  # fmt: skip
    delivery = DeliveryOut(
        event=_EVENT, type="payment.completed", payment=payment.id, state="delivered", status=204,
        trouble=None, tries=1, happened_at="2026-03-10T09:00:00.004Z",
        tried_at="2026-03-10T09:00:00.312Z", delivered_at="2026-03-10T09:00:00.312Z",
        next_try_at=None,
    )  # fmt: skip
    made: list[msgspec.Struct] = [
        payment,
        party,
        webhook,
        WebhooksOut(webhooks=[webhook], next=None),
        delivery,
        DeliveriesOut(deliveries=[delivery], next=None),
        PaymentsOut(payments=[payment], next=None),
        PayoutsOut(
            market=sample.market,
            payer=1002,
            currency=sample.currency,
            completed=1,
            declined=1,
            open=0,
            lines=[
                PayoutLineOut(
                    "salary-2026-03-1", "completed", payment.id, payment.receipt, None, sample.fee
                ),
                PayoutLineOut(
                    "salary-2026-03-2", "declined", payment.id, None, "not_enough", "0"
                ),
            ],
        ),
        PartiesOut(parties=[party], next="cDEwMDA"),
        StatementOut(lines=[line], next="cDQy"),
        QuoteOut(
            product="send_money", amount=sample.amount, currency=sample.currency, price=price,
            payee_name="Baraka Mwangi",
        ),
        BalancesOut(
            party=1000,
            balances=[
                BalanceOut(
                    purse="wallet", currency=sample.currency, available=sample.amount, held="0"
                )
            ],
        ),
        MarketOut(
            code=sample.market, name=sample.name, currencies=[sample.currency],
            products=sorted(PRODUCTS.keys() - GIFTS), languages=list(sample.languages),
            pin_digits=sample.pin_digits,
        ),
        TokenOut(
            access_token="umt_…", token_type="Bearer", expires_in=3600, scope="payments:read"  # noqa: S106
        ),
        HealthOut(status="up"),
        ReadyOut(ready=True, markets={sample.market: True}, shut=[]),
    ]  # fmt: skip
    return next((msgspec.to_builtins(each) for each in made if type(each) is shape), None)


def errors_of(operation: Operation) -> list[str]:
    """Return the words of every problem that an operation may answer, by status."""
    words = {*_EVERY, *operation.errors}
    if operation.scope:
        words.add("forbidden")
    if operation.has_body:
        words |= {"bad_request", "media_type", "too_large", "unprocessable"}
    elif operation.takes is not None:
        words.add("bad_request")
    if operation.needs_key:
        words |= {"key_missing", "in_flight", "key_reused"}
    return sorted(words, key=lambda word: (KINDS[word].status, word))


def example_problem(word: str) -> Json:
    """Return an example of a problem, with the parts that it usually has."""
    field = {
        "unprocessable": "amount", "bad_request": "page_size", "pin_unfit": "pin",
        "phone_taken": "phone", "key_missing": "Idempotency-Key",
    }.get(word, "")  # fmt: skip
    found: Json = msgspec.to_builtins(problem(word, field=field))
    return found


# Parts

_PLACES: dict[str, tuple[str, Json]] = {
    "party": ("The party's number", {"type": "integer", "minimum": 1, "maximum": PARTY_MAX}),
    "payment": ("The payment's id", {"type": "string", "pattern": "^[0-9a-f]{32}$"}),
    "webhook": ("The webhook's id", {"type": "string", "pattern": "^wh_[0-9a-f]{24}$"}),
}
"""What may stand in the braces of a path."""
_HEADERS: Json = {
    "RetryAfter": {
        "description": "Seconds to wait before the next try.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "Location": {
        "description": "Where what was made can be read.",
        "schema": {"type": "string"},
    },
    "WwwAuthenticate": {
        "description": "How to authenticate.",
        "schema": {"type": "string"},
    },
}


def _operation(operation: Operation, sample: Sample) -> Json:
    found: Json = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.title,
        "description": operation.about,
        "security": [{"oauth2": [operation.scope] if operation.scope else []}],
        "responses": _responses(operation, sample),
    }
    parameters = _parameters(operation)
    if parameters:
        found["parameters"] = parameters
    if operation.has_body and operation.takes is not None:
        found["requestBody"] = {
            "required": True,
            "content": {
                JSON: {
                    "schema": _ref(operation.takes),
                    "examples": {"usual": {"value": example_body(operation, sample)}},
                }
            },
        }
    return found


def _parameters(operation: Operation) -> list[Json]:
    found: list[Json] = []
    if operation.place:
        about, schema = _PLACES[operation.place]
        found.append(
            {
                "name": operation.place,
                "in": "path",
                "required": True,
                "description": about,
                "schema": schema,
            }
        )
    if operation.needs_key:
        found.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": True,
                "description": "Yours, and new for each new intention. A repeat has the same one.",
                "schema": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": KEY_MAX,
                    "pattern": r"^[\x21-\x7e]+$",
                },
            }
        )
    if operation.takes is not None and not operation.has_body:
        _, shapes = msgspec.json.schema_components([operation.takes], ref_template=_REF)
        for name, schema in shapes[operation.takes.__name__]["properties"].items():
            about = schema.pop("description", "")
            parameter = {"name": name, "in": "query", "required": False, "schema": _solid(schema)}
            found.append(parameter | ({"description": about} if about else {}))
    return found


def _solid(schema: Json) -> Json:
    """Return a query's schema without null: what is not sent is not there."""
    solid = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
    if solid:
        return dict(solid[0])
    return {
        key: value for key, value in schema.items() if key != "default" or value not in {"", None}
    }


def _responses(operation: Operation, sample: Sample) -> Json:
    good: Json = {"description": operation.title}
    if operation.gives is not None:
        example = example_answer(operation.gives, sample)
        if operation.name == "register_webhook":
            example["secret"] = "whsec_…"  # noqa: S105  told this once
        good["content"] = {
            JSON: {"schema": _ref(operation.gives), "examples": {"usual": {"value": example}}}
        }
    if operation.status == 201:
        good["headers"] = {"Location": {"$ref": "#/components/headers/Location"}}
    return {str(operation.status): good} | _problems(errors_of(operation))


def _problems(words: Iterable[str]) -> Json:
    """Return one response for each status, with an example of every problem that has it."""
    found: Json = {}
    for word in words:
        kind = KINDS[word]
        response = found.setdefault(
            str(kind.status),
            {
                "description": kind.title,
                "content": {MEDIA_TYPE: {"schema": _ref(Problem), "examples": {}}},
            },
        )
        response["content"][MEDIA_TYPE]["examples"][word] = {
            "summary": kind.title,
            "value": example_problem(word),
        }
        if len(response["content"][MEDIA_TYPE]["examples"]) > 1:
            response["description"] = "Refused: the problem's type says why"
        name, header = ("Retry-After", "RetryAfter") if kind.retry_after_s else ("", "")
        if kind.status in {401, 403}:
            name, header = "WWW-Authenticate", "WwwAuthenticate"
        if name:
            headers = response.setdefault("headers", {})
            headers[name] = {"$ref": f"#/components/headers/{header}"}
    return found


def _around(sample: Sample) -> dict[str, Json]:
    """Return the paths beside the operations: the token, health and figures."""
    return {
        "/oauth2/token": {"post": _token(sample)},
        "/healthz": {
            "get": _plain("healthz", "Does the process answer?", {"200": _good(HealthOut, sample)})
        },
        "/readyz": {
            "get": _plain(
                "readyz",
                "Does every market take payments?",
                {
                    "200": _good(ReadyOut, sample),
                    "503": {
                        "description": "A market is shut; the answer says which",
                        "headers": {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}},
                        "content": {
                            JSON: {
                                "schema": _ref(ReadyOut),
                                "examples": {
                                    "shut": {
                                        "value": {
                                            "ready": False,
                                            "markets": {sample.market: False},
                                            "shut": [sample.market],
                                        }
                                    }
                                },
                            }
                        },
                    },
                },
            )
        },
        "/metrics": {
            "get": _plain(
                "metrics",
                "Figures for a monitoring system; in production with a token of the scope metrics",
                {
                    "200": {
                        "description": "Prometheus text",
                        "content": {"text/plain": {"schema": {"type": "string"}}},
                    }
                },
            )
        },
    }


def _plain(name: str, title: str, responses: Json) -> Json:
    return {
        "operationId": name,
        "tags": [_HEALTH],
        "summary": title,
        "security": [],
        "responses": responses | _problems(["bug"]),
    }


def _good(shape: type[msgspec.Struct], sample: Sample) -> Json:
    return {
        "description": (shape.__doc__ or "").split("\n")[0],
        "content": {
            JSON: {
                "schema": _ref(shape),
                "examples": {"usual": {"value": example_answer(shape, sample)}},
            }
        },
    }


def _token(sample: Sample) -> Json:
    return {
        "operationId": "token",
        "tags": ["Access"],
        "summary": "Get an access token",
        "description": (
            "OAuth2 client credentials (RFC 6749, section 4.4). Id and secret by HTTP Basic or in the"
            " form. Without `scope` the token has all of the client's."
        ),
        "security": [],
        "requestBody": {
            "required": True,
            "content": {
                FORM: {
                    "schema": _ref(TokenIn),
                    "examples": {
                        "usual": {
                            "value": {
                                "grant_type": "client_credentials",
                                "client_id": f"{sample.market.lower()}-0123456789ab",
                                "client_secret": "…",
                            }
                        }
                    },
                }
            },
        },
        "responses": {
            "200": _good(TokenOut, sample),
            "400": _token_error("invalid_request", "invalid_scope", "unsupported_grant_type"),
            "401": _token_error("invalid_client")
            | {"headers": {"WWW-Authenticate": {"$ref": "#/components/headers/WwwAuthenticate"}}},
            **_problems(["too_large", "too_many", "bug", "unavailable", "outcome_unknown"]),
        },
    }


def _token_error(*words: str) -> Json:
    return {
        "description": "Refused, in the words of RFC 6749",
        "content": {
            JSON: {
                "schema": _ref(TokenError),
                "examples": {
                    word: {"value": {"error": word, "error_description": "Why, for people."}}
                    for word in words
                },
            }
        },
    }


def _ref(shape: type[msgspec.Struct]) -> Json:
    return {"$ref": _REF.format(name=shape.__name__)}


def _schemas(operations: Iterable[Operation]) -> Mapping[str, Any]:
    shapes: list[type[msgspec.Struct]] = [
        Problem, TokenIn, TokenOut, TokenError, HealthOut, ReadyOut,
    ]  # fmt: skip
    for operation in operations:
        shapes += [operation.gives] if operation.gives is not None else []
        shapes += [operation.takes] if operation.takes is not None and operation.has_body else []
    _, components = msgspec.json.schema_components(shapes, ref_template=_REF)
    return dict(sorted(components.items()))


def _tags(operations: Iterable[Operation]) -> list[str]:
    return list(dict.fromkeys(["Access", *(each.tag for each in operations), _HEALTH]))


def _version() -> str:
    try:
        return version("umoja")
    except PackageNotFoundError:  # run from a folder that was not installed
        return "0"
