"""Tokens: OAuth2 client credentials at one door, and who holds the token that a call brings."""

import asyncio
import base64
import binascii
from collections import OrderedDict
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote_plus

import msgspec

from umoja.channels.native_call import Told, told
from umoja.channels.problems import Problem, problem
from umoja.channels.wire import TokenError, TokenOut
from umoja.clock import Clock
from umoja.parties.clients import SCOPES, Clients, Token

FORM = "application/x-www-form-urlencoded"
TOKEN_MAX = 512
SECRET_MAX = 512
WRONG_MAX = 5  # in a row, from one address for one client; then waiting doubles
WRONG_MAX_EACH = 100  # in a row, from one address for any client
WAIT_MAX_S = 60.0
FORGET_AFTER_S = 600.0
REMEMBERED_MAX = 10_000

_encode = msgspec.json.Encoder().encode
_NO_STORE = (("cache-control", "no-store"), ("pragma", "no-cache"))
_FIELDS = frozenset({"grant_type", "scope", "client_id", "client_secret"})


class Throttle:
    """Slows down whoever tells wrong secrets. Memory is bounded: the oldest are forgotten."""

    def __init__(self, clock: Clock, *, wrong_max: int) -> None:
        self._clock = clock
        self._wrong_max = wrong_max
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait_s(self, who: str) -> float:
        """Return for how long this one is not heard; nought where it may try."""
        count, since_s = self._wrong.get(who, (0, 0.0))
        if count < self._wrong_max:
            return 0.0
        wait_s = min(WAIT_MAX_S, 2.0 ** min(count - self._wrong_max, 10))
        return max(0.0, since_s + wait_s - self._clock.ticks_s())

    def wrong(self, who: str) -> None:
        now_s = self._clock.ticks_s()
        count, since_s = self._wrong.pop(who, (0, now_s))
        if now_s - since_s > FORGET_AFTER_S:
            count = 0
        while len(self._wrong) >= REMEMBERED_MAX:
            self._wrong.popitem(last=False)
        self._wrong[who] = (count + 1, now_s)

    def right(self, who: str) -> None:
        self._wrong.pop(who, None)


class Tokens:
    """Issues tokens and knows their holders."""

    def __init__(self, clients: Clients, *, clock: Clock) -> None:
        self._clients = clients
        self._pairs = Throttle(clock, wrong_max=WRONG_MAX)
        self._addresses = Throttle(clock, wrong_max=WRONG_MAX_EACH)

    def holder(self, authorization: str) -> Token | Told:
        """Return who holds the bearer token of this header, or the 401 to answer.

        Raise Unavailable where the clients cannot be read.
        """
        scheme, _, text = authorization.partition(" ")
        text = text.strip()
        if scheme.lower() != "bearer" or not text:
            return _unauthorized("", "Send a token as Authorization: Bearer …")
        token = None
        if len(text) <= TOKEN_MAX and text.isascii():
            token = self._clients.holder(text)
        if token is None:
            return _unauthorized("invalid_token", "The token is unknown, expired or revoked.")
        return token

    async def issue(self, *, headers: Mapping[str, str], body: bytes, address: str) -> Told:
        """Answer a token request: form in, JSON out, errors as RFC 6749 has them.

        Raise Unavailable where the clients cannot be read or the token not be kept.
        """
        asked = _asked(headers, body)
        if isinstance(asked, Told):
            return asked
        client_id, secret, scopes = asked
        pair = f"{address}|{client_id}"
        wait_s = max(self._pairs.wait_s(pair), self._addresses.wait_s(address))
        if wait_s > 0:
            return told(
                problem("too_many", detail="Too many wrong secrets; wait before trying again."),
                retry_after_s=int(wait_s) + 1,
                headers=_NO_STORE,
            )
        token = await asyncio.to_thread(self._clients.issue, client_id, secret, scopes=scopes)
        if token is None:
            self._pairs.wrong(pair)
            self._addresses.wrong(address)
            return _invalid_client()
        self._pairs.right(pair)
        self._addresses.right(address)
        return Told(
            status=200,
            body=_encode(
                TokenOut(
                    access_token=token.text,
                    token_type="Bearer",  # noqa: S106  the kind of token, not a secret
                    expires_in=token.expires_in_s,
                    scope=" ".join(sorted(token.scopes)),
                )
            ),
            headers=_NO_STORE,
        )


def lacks_scope(scope: str) -> Told:
    """Return the 403 of a token without the scope that an operation needs."""
    return told(
        problem("forbidden", detail=f"This needs a token with the scope {scope}."),
        headers=(
            (
                "www-authenticate",
                f'Bearer realm="umoja", error="insufficient_scope", scope="{scope}"',
            ),
        ),
    )


Asked = tuple[str, str, frozenset[str]]
"""Client id, secret and scopes."""


def _asked(headers: Mapping[str, str], body: bytes) -> Asked | Told:
    if headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        return _wrong("invalid_request", f"Send a form: Content-Type: {FORM}")
    form = _form(body)
    if form is None:
        return _wrong("invalid_request", "The form cannot be read, or has a field twice.")
    grant = form.get("grant_type", "")
    if not grant:
        return _wrong("invalid_request", "grant_type is needed.")
    if grant != "client_credentials":
        return _wrong("unsupported_grant_type", "Only client_credentials is known here.")
    unknown = sorted(form.keys() - _FIELDS)
    if unknown:
        return _wrong("invalid_request", "There is a field that is not known here.")
    scopes = frozenset(form.get("scope", "").split())
    if not scopes <= SCOPES:
        return _wrong("invalid_scope", f"Known scopes are {' '.join(sorted(SCOPES))}.")
    authorization = headers.get("authorization", "")
    if authorization:
        if "client_secret" in form:
            return _wrong("invalid_request", "Send the secret in one way only.")
        told_by_header = _basic(authorization)
        if told_by_header is None:
            return _invalid_client()
        client_id, secret = told_by_header
        if form.get("client_id", client_id) != client_id:
            return _wrong("invalid_request", "Header and form name different clients.")
    else:
        client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
        if not client_id or not secret:
            return _invalid_client()
    if len(client_id) > SECRET_MAX or len(secret) > SECRET_MAX:
        return _invalid_client()
    return client_id, secret, scopes


def _form(body: bytes) -> dict[str, str] | None:
    try:
        pairs = parse_qsl(
            body.decode("utf-8"),
            keep_blank_values=True,
            strict_parsing=bool(body),
            encoding="utf-8",
            errors="strict",
            max_num_fields=20,
        )
    except ValueError:
        return None
    form = dict(pairs)
    return form if len(form) == len(pairs) else None


def _basic(authorization: str) -> tuple[str, str] | None:
    """Return id and secret of HTTP Basic, each form-encoded as RFC 6749 has it."""
    scheme, _, coded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(coded.strip(), validate=True).decode("utf-8")
        client_id, colon, secret = text.partition(":")
        client_id = unquote_plus(client_id, errors="strict")
        secret = unquote_plus(secret, errors="strict")
    except (ValueError, binascii.Error):
        return None
    return (client_id, secret) if colon and client_id and secret else None


def _wrong(error: str, description: str) -> Told:
    return _error(400, error, description)


def _invalid_client() -> Told:
    """Say that nobody is known by this; which of the three was wrong is not told."""
    return _error(
        401,
        "invalid_client",
        "The client's id or secret is wrong, or it does not have the scope asked for.",
        headers=(("www-authenticate", 'Basic realm="umoja", charset="UTF-8"'),),
    )


def _error(
    status: int, error: str, description: str, *, headers: tuple[tuple[str, str], ...] = ()
) -> Told:
    body = {"error": error, "error_description": description}
    return Told(
        status=status,
        body=_encode(msgspec.convert(body, TokenError)),
        headers=(*_NO_STORE, *headers),
    )


def _unauthorized(error: str, detail: str) -> Told:
    challenge = 'Bearer realm="umoja"' + (f', error="{error}"' if error else "")
    refusal: Problem = problem("unauthorized", detail=detail)
    return told(refusal, headers=(("www-authenticate", challenge),))
