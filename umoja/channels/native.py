"""The native API: bytes in, bytes out. Who calls, may he, what does he ask; then the rooms decide.

Nothing here knows a web framework: `Native.answer` may be called from any handler.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

import msgspec
import structlog

from umoja.channels.native_call import JSON, Answer, Call, Operation, Outcome, Told, told
from umoja.channels.native_keys import Keys
from umoja.channels.native_operations import OPERATIONS, PINS
from umoja.channels.problems import Problem, problem
from umoja.channels.tokens import Tokens, lacks_scope
from umoja.channels.wire import KEY_MAX
from umoja.clock import Clock
from umoja.faults import Busy, OutcomeUnknown, Unavailable
from umoja.parties.clients import Clients, Token
from umoja.payments.branch import Branch, Hatch

log = structlog.get_logger()

_KEY = re.compile(rf"[\x21-\x7e]{{1,{KEY_MAX}}}", re.ASCII)
_AT = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_NAMED = re.compile(r"(?:unknown|required) field `(?P<name>[^`]*)`")
_DECODERS: dict[type[msgspec.Struct], msgspec.json.Decoder[msgspec.Struct]] = {
    operation.takes: msgspec.json.Decoder(operation.takes)
    for operation in OPERATIONS
    if operation.takes is not None and operation.has_body
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A request as it came. Names of headers are in small letters."""

    headers: Mapping[str, str]
    body: bytes = b""
    query: bytes = b""
    place: str = ""
    path: str = ""


class Native:
    """Answers the operations for every market."""

    def __init__(
        self, *, branches: Mapping[str, Branch | Hatch], clients: Clients, clock: Clock
    ) -> None:
        self._branches = branches
        self.tokens = Tokens(clients, clock=clock)
        self._keys = Keys(clock)

    async def answer(self, operation: Operation, received: Received) -> Told:
        """Answer one request. Faults are told as problems; only a bug of ours is raised."""
        try:
            token = self.tokens.holder(received.headers.get("authorization", ""))
            if isinstance(token, Told):
                return token
            if operation.scope and operation.scope not in token.scopes:
                return lacks_scope(operation.scope)
            outcome = await self._outcome(operation, received, token)
        except Busy as fault:
            return told(problem("unavailable"), retry_after_s=fault.retry_after_s)
        except Unavailable as fault:
            log.warning("channels.native.unavailable", operation=operation.name, cause=str(fault))
            return told(problem("unavailable"))
        except OutcomeUnknown as fault:
            log.error("channels.native.unknown", operation=operation.name, cause=str(fault))  # noqa: TRY400
            detail = "Ask again with the same Idempotency-Key, or look the payment up by it."
            return told(problem("outcome_unknown", detail=detail))
        return told(outcome)

    async def _outcome(self, operation: Operation, received: Received, token: Token) -> Outcome:
        branch = self._branches.get(token.client.market)
        if branch is None:
            return problem("market_shut")
        asked = _asked(operation, received)
        if isinstance(asked, Problem):
            return asked
        key = received.headers.get("idempotency-key", "") if operation.needs_key else ""
        call = Call(
            branch=branch,
            client=token.client,
            scopes=token.scopes,
            place=received.place,
            key=key,
        )
        if not operation.needs_key:
            return await operation.run(call, asked)
        if not key:
            return problem("key_missing", field="Idempotency-Key")
        if _KEY.fullmatch(key) is None:
            return problem(
                "bad_request",
                field="Idempotency-Key",
                detail=f"1 to {KEY_MAX} visible ASCII characters.",
            )
        return await self._once(operation, received, call, asked)

    async def _once(
        self, operation: Operation, received: Received, call: Call, asked: msgspec.Struct | None
    ) -> Outcome:
        """Run an operation that moves money: one at a time for a key, and the same answer again."""
        place = (call.client.id, f"{operation.name} {received.place}", call.key)
        digest = self._keys.digest(received.body)
        instead = self._keys.enter(place, digest)
        if instead is not None:
            return instead
        try:
            outcome = await operation.run(call, asked)
        finally:
            self._keys.leave(place)
        if _is_kept_here(operation, outcome):
            self._keys.keep(place, digest, outcome)
        return outcome


def _is_kept_here(operation: Operation, outcome: Outcome) -> bool:
    """Tell what is remembered beside the desk: it knows payments by their key, but no PINs."""
    if isinstance(outcome, Answer):
        return operation.name != "pay"
    return outcome.word in PINS or (operation.name != "pay" and bool(outcome.payment))


def _asked(operation: Operation, received: Received) -> msgspec.Struct | Problem | None:
    """Return what a request asks, in the shape of the operation, or what is wrong with it."""
    if operation.takes is None:
        return None
    if not operation.has_body:
        return _queried(operation.takes, received.query)
    content = received.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content != JSON:
        return problem("media_type", detail=f"Send JSON: Content-Type: {JSON}")
    return decoded(_DECODERS[operation.takes], received.body)


def decoded(decoder: msgspec.json.Decoder[msgspec.Struct], body: bytes) -> msgspec.Struct | Problem:
    """Return a body in its shape: 400 where it is no JSON, 422 naming the field where it differs."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as cause:
        return _misshapen("unprocessable", str(cause))
    except UnicodeDecodeError:
        return problem("bad_request", detail="The body is not UTF-8.")
    except msgspec.DecodeError:
        return problem("bad_request", detail="The body is not well-formed JSON.")
    except RecursionError:
        return problem("bad_request", detail="The body is nested too deeply.")


def _queried(shape: type[msgspec.Struct], query: bytes) -> msgspec.Struct | Problem:
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            encoding="utf-8",
            errors="strict",
            max_num_fields=20,
        )
    except ValueError:
        return problem("bad_request", detail="The query cannot be read.")
    named: dict[str, str] = {}
    for name, value in pairs:
        if name in named:
            return problem("bad_request", field=name[:40], detail="It is given twice.")
        named[name] = value
    try:
        found: msgspec.Struct = msgspec.convert(named, shape, strict=False)
    except msgspec.ValidationError as cause:
        return _misshapen("bad_request", str(cause))
    return found


def _misshapen(word: str, told_by_decoder: str) -> Problem:
    """Return what the decoder found as a problem that names the field, whole path first."""
    at = _AT.search(told_by_decoder)
    named = _NAMED.search(told_by_decoder)
    path = at["path"] if at else ""
    if named is not None:
        path = f"{path}.{named['name']}" if path else named["name"]
    detail = told_by_decoder[: at.start()] if at else told_by_decoder
    return problem(word, field=path[:80], detail=detail[:200])
