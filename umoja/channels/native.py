"""The native API: bytes in, bytes out. Who calls, may he, what does he ask; then the rooms decide.

Nothing here knows a web framework: `Native.answer` may be called from any handler.
"""

import asyncio
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

import msgspec
import structlog

from umoja.channels.native_call import (
    JSON,
    Answer,
    AtOnce,
    Call,
    Operation,
    Outcome,
    Told,
    Waiter,
    told,
)
from umoja.channels.native_keys import Keys
from umoja.channels.native_operations import OPERATIONS, PINS
from umoja.channels.native_payouts import Turns
from umoja.channels.problems import Problem, problem
from umoja.channels.tokens import Tokens, lacks_scope
from umoja.channels.wire import KEY_MAX
from umoja.clock import Clock
from umoja.faults import Busy, Fault, OutcomeUnknown
from umoja.parties.clients import Clients
from umoja.payments.branch import Branch, Hatch
from umoja.payments.order import Ask, Order

log = structlog.get_logger()

_KEY = re.compile(rf"[\x21-\x7e]{{1,{KEY_MAX}}}", re.ASCII)
_AT = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_NAMED = re.compile(r"(?:unknown|required) field `(?P<name>[^`]*)`")
_DECODERS: dict[type[msgspec.Struct], msgspec.json.Decoder[msgspec.Struct]] = {
    operation.takes: msgspec.json.Decoder(operation.takes)
    for operation in OPERATIONS
    if operation.takes is not None and operation.has_body
}


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it came: what its body is, what stands in its path, and the headers that count.

    A header that was not sent is empty.
    """

    authorization: str = ""
    content_type: str = ""
    key: str = ""
    body: bytes = b""
    query: bytes = b""
    place: str = ""


class Native:
    """Answers the operations for every market."""

    def __init__(
        self, *, branches: Mapping[str, Branch | Hatch], clients: Clients, clock: Clock
    ) -> None:
        self._branches = branches
        self.tokens = Tokens(clients, clock=clock)
        self._keys = Keys(clock)
        self._turns = Turns()

    async def answer(self, operation: Operation, received: Received) -> Told:
        """Answer one request. Faults are told as problems; only a bug of ours is raised."""
        try:
            admitted = self._admitted(operation, received)
            if not isinstance(admitted, _Admitted):
                return admitted
            call, asked = admitted.call, admitted.asked
            if not operation.needs_key:
                return told(await operation.run(call, asked))
            entry = _Entry(self._keys, operation, received, call)
            if entry.instead is not None:
                return told(entry.instead)
            with entry:
                return told(entry.kept(await operation.run(call, asked)))
        except Fault as fault:
            return _faulty(operation, fault)

    def answer_soon(self, operation: Operation, received: Received, waiter: Waiter) -> bool:
        """Answer one request without a task of its own, now or when the desk has answered.

        False: it is no usual case and nothing was done; `answer` it. Like there, only a bug of ours
        is raised (or told to the waiter as one).
        """
        short = operation.at_once
        if short is None:
            return False
        try:
            admitted = self._admitted(operation, received)
            if not isinstance(admitted, _Admitted):
                waiter.tell(admitted)
                return True
            entry = _Entry(self._keys, operation, received, admitted.call)
            if entry.instead is not None:
                waiter.tell(told(entry.instead))
                return True
            with entry:
                begun = short.begin(admitted.call, admitted.asked)
                if begun is None:
                    return False
                if not isinstance(begun, Ask):
                    waiter.tell(told(entry.kept(begun)))
                    return True
                call = admitted.call
                call.branch.desk.enqueue_for(_Ending(entry, short, call, waiter), begun)
                entry.stay()
        except Fault as fault:
            waiter.tell(_faulty(operation, fault))
        return True

    def _admitted(self, operation: Operation, received: Received) -> "_Admitted | Told":
        """Return who asks what, or why that is not to be answered."""
        token = self.tokens.holder(received.authorization)
        if isinstance(token, Told):
            return token
        if operation.scope and operation.scope not in token.scopes:
            return lacks_scope(operation.scope)
        branch = self._branches.get(token.client.market)
        if branch is None:
            return told(problem("market_shut"))
        asked = _asked(operation, received)
        if isinstance(asked, Problem):
            return told(asked)
        key = ""
        if operation.needs_key:
            key = received.key
            if not key:
                return told(problem("key_missing", field="Idempotency-Key"))
            if _KEY.fullmatch(key) is None:
                detail = f"1 to {KEY_MAX} visible ASCII characters."
                return told(problem("bad_request", field="Idempotency-Key", detail=detail))
        call = Call(
            branch=branch,
            client=token.client,
            scopes=token.scopes,
            turns=self._turns,
            place=received.place,
            key=key,
        )
        return _Admitted(call, asked)


class _Admitted(msgspec.Struct, frozen=True):
    call: Call
    asked: msgspec.Struct | None


class _Entry:
    """A request that moves money, among its like: one at a time for a key, and the same answer again.

    `instead` is what it is answered without being run. What is entered is left at the end of a
    `with`, or, once told to `stay`, by `leave`.
    """

    __slots__ = ("_body", "_does_stay", "_keys", "_place", "instead", "operation")

    def __init__(self, keys: Keys, operation: Operation, received: Received, call: Call) -> None:
        self.operation = operation
        self._keys = keys
        self._body = received.body
        self._place = (call.client.id, f"{operation.name} {received.place}", call.key)
        self._does_stay = False
        self.instead = keys.enter(self._place, received.body)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        if not self._does_stay:
            self.leave()

    def stay(self) -> None:
        self._does_stay = True

    def leave(self) -> None:
        self._keys.leave(self._place)

    def kept(self, outcome: Outcome) -> Outcome:
        """Return the outcome, remembered where its repeats have to be told the same."""
        if self.operation.name == "pay_out" and isinstance(outcome, Answer):
            # Its answer is long, and the desk tells it again: kept is only what was asked.
            self._keys.keep(self._place, self._body, None)
        elif _is_kept_here(self.operation, outcome):
            self._keys.keep(self._place, self._body, outcome)
        return outcome


class _Ending:
    """A request that was handed to the desk, and tells its waiter the answer: a desk.Waiting."""

    __slots__ = ("_call", "_entry", "_short", "_waiter")

    def __init__(self, entry: _Entry, short: AtOnce, call: Call, waiter: Waiter) -> None:
        self._entry = entry
        self._short = short
        self._call = call
        self._waiter = waiter

    def done(self) -> bool:
        return (
            False  # also where the connection is gone: its key is left, its repeat finds the order
        )

    def set_result(self, order: Order) -> None:
        entry = self._entry
        entry.leave()
        try:
            answered = told(entry.kept(self._short.end(self._call, order)))
        except Exception as cause:  # noqa: BLE001  told as a bug of ours, whatever it is
            self._waiter.fail(cause)
            return
        self._waiter.tell(answered)

    def set_exception(self, cause: BaseException) -> None:
        entry = self._entry
        entry.leave()
        if isinstance(cause, asyncio.CancelledError):
            cause = OutcomeUnknown("the desk went away")
        if isinstance(cause, Fault):
            self._waiter.tell(_faulty(entry.operation, cause))
        else:
            self._waiter.fail(cause)


def _faulty(operation: Operation, fault: Fault) -> Told:
    match fault:
        case Busy():
            return told(problem("unavailable"), retry_after_s=fault.retry_after_s)
        case OutcomeUnknown():
            log.error("channels.native.unknown", operation=operation.name, cause=str(fault))
            detail = "Ask again with the same Idempotency-Key, or look the payment up by it."
            return told(problem("outcome_unknown", detail=detail))
        case _:
            log.warning("channels.native.unavailable", operation=operation.name, cause=str(fault))
            return told(problem("unavailable"))


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
    content = received.content_type
    if content != JSON and content.partition(";")[0].strip().lower() != JSON:
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
