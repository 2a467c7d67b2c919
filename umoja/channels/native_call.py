"""What the rooms of the native API hand each other: a call, its answer, and what an operation is."""

import base64
import binascii
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from umoja.channels.problems import KINDS, MEDIA_TYPE, Problem, problem
from umoja.parties.clients import Client
from umoja.payments.branch import Branch, Hatch
from umoja.payments.order import Ask, Order

if TYPE_CHECKING:
    from umoja.channels.native_payouts import Turns

CHANNEL = "api"
BODY_MAX = 64 * 1024
JSON = "application/json"
Headers = tuple[tuple[str, str], ...]

_encode = msgspec.json.Encoder().encode
_TOKEN = re.compile(r"p[1-9][0-9]{0,15}", re.ASCII)


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One authenticated call: of whom, in which market, and the one value its path names.

    `key` is the idempotency key where the operation needs one.
    """

    branch: Branch | Hatch
    client: Client
    scopes: frozenset[str]
    turns: "Turns"
    place: str = ""
    key: str = ""

    @property
    def whole(self) -> Branch:
        """Return the branch with its books, which a front does not have."""
        assert isinstance(self.branch, Branch), "a front passes this operation on"
        return self.branch


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for. `body` None is an answer without content."""

    status: int = 200
    body: msgspec.Struct | None = None
    headers: Headers = ()


Outcome = Answer | Problem


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """An answer as bytes, ready for any server."""

    status: int
    body: bytes
    media_type: str = JSON
    headers: Headers = ()


class Waiter(Protocol):
    """Whoever waits for an answer that may come later. One of the two is called, once."""

    def tell(self, answer: Told) -> None: ...

    def fail(self, cause: BaseException) -> None:
        """Tell a bug of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AtOnce:
    """The short way of an operation whose usual case asks the desk one thing and nothing else.

    `begin` returns the outcome, or what to ask of the desk, whose answer `end` tells, or None where it
    is no usual case: then `run` answers it from its beginning.
    """

    begin: Callable[[Call, Any], Outcome | Ask | None]
    end: Callable[[Call, Order], Outcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing that the API can do. Routes, the OpenAPI document and `/docs` are made of these.

    `place` is what the braces in `path` stand for. `takes` is the shape of the body, or of the
    query of a GET. `errors` are the words of problems beyond those that any operation may tell.
    """

    name: str
    method: str
    path: str
    tag: str
    title: str
    about: str
    scope: str  # empty: any token
    run: Callable[[Call, Any], Awaitable[Outcome]]
    takes: type[msgspec.Struct] | None
    gives: type[msgspec.Struct] | None
    status: int = 200
    place: str = ""  # "payment", "party" or "webhook"
    needs_key: bool = False
    errors: tuple[str, ...] = ()
    body_max: int = BODY_MAX
    at_once: AtOnce | None = None

    @property
    def has_body(self) -> bool:
        return self.takes is not None and self.method != "GET"


def told(outcome: Outcome, *, retry_after_s: int = 0, headers: Headers = ()) -> Told:
    """Return an answer or a problem as bytes. `retry_after_s` overrules the kind's own."""
    if isinstance(outcome, Problem):
        kind = KINDS.get(outcome.word)
        wait_s = retry_after_s or (kind.retry_after_s if kind else 0)
        if wait_s:
            headers = (*headers, ("retry-after", str(wait_s)))
        return Told(
            status=outcome.status, body=_encode(outcome), media_type=MEDIA_TYPE, headers=headers
        )
    return Told(
        status=outcome.status,
        body=b"" if outcome.body is None else _encode(outcome.body),
        headers=(*outcome.headers, *headers),
    )


def page_token(place: int) -> str:
    """Return the token of the page that begins behind `place`."""
    return base64.urlsafe_b64encode(f"p{place}".encode()).decode().rstrip("=")


def page_place(token: str) -> int | Problem:
    """Return the place that a page token stands for; nought for the first page."""
    if not token:
        return 0
    try:
        raw = token.encode("ascii") + b"=" * (-len(token) % 4)
        text = base64.b64decode(raw, altchars=b"-_", validate=True).decode("ascii")
    except (ValueError, binascii.Error):
        text = ""
    if _TOKEN.fullmatch(text) is None:
        return problem(
            "bad_request", field="page_token", detail="Take it from `next` of the page before."
        )
    return int(text[1:])
