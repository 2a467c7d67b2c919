"""The site: every HTTP path of the platform on one Litestar application, and what all of them share.

The native API's decisions are in `native`; here are routes, errors, headers and pages.
"""

import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from html import escape
from typing import Any

import msgspec
import structlog
from litestar import HttpMethod, Litestar, MediaType, Request, Response, route
from litestar.datastructures import MutableScopeHeaders, State
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.types import Message, Scope

from umoja.channels.docs_openapi import Sample, document, sample_of
from umoja.channels.docs_page import CSP, STATIC, page
from umoja.channels.native import Native, Received
from umoja.channels.native_call import BODY_MAX, JSON, Operation, Told, told
from umoja.channels.native_operations import OPERATIONS
from umoja.channels.problems import of_status, problem
from umoja.channels.wire import HealthOut, ReadyOut
from umoja.clock import Clock
from umoja.faults import Busy, Fault, OutcomeUnknown
from umoja.parties.clients import Clients
from umoja.payments.branch import Branch

METRICS_TYPE = "text/plain; version=0.0.4"  # the framework adds the charset

_API = ("/v1", "/oauth2", "/schema", "/healthz", "/readyz", "/metrics")
_encode = msgspec.json.Encoder().encode

log = structlog.get_logger()

Asked = Request[Any, Any, Any]

Scrapes = Callable[[Mapping[str, str]], Awaitable[Told | None]]
"""Says whether a request with these headers may read the figures: None, or what is answered instead."""


def site(
    *,
    branches: Mapping[str, Branch],
    clients: Clients,
    clock: Clock,
    ready: Callable[[], Mapping[str, bool]],
    metrics: Callable[[], bytes],
    extra: Sequence[Any],
    is_sandbox: bool,
    scrapes: Scrapes | None = None,
) -> Litestar:
    """Return the web application: the native API, its documents, health, and `extra` handlers.

    `ready` says of each market whether it takes payments; `metrics` returns figures as text, to
    whomever `scrapes` does not refuse by their headers. The
    application's `state.native` answers the same operations without the framework.
    """
    native = Native(branches=branches, clients=clients, clock=clock)
    return Litestar(
        [
            *(_native(native, operations) for operations in _by_path(OPERATIONS)),
            _token(native),
            *_documents(branches, is_sandbox=is_sandbox),
            *_health(ready, metrics, scrapes),
            *extra,
        ],
        state=State({"native": native}),
        openapi_config=None,
        logging_config=None,
        debug=False,
        request_max_body_size=BODY_MAX,
        before_send=[_guarded],
        exception_handlers={
            HTTPException: _refused,
            Fault: _faulty,
            Exception: _bug,
        },
    )


# Routes


def _native(native: Native, operations: Sequence[Operation]) -> HTTPRouteHandler:
    """Return the handler of the operations at one path of the API, a method each."""
    by_method = {each.method: each for each in operations}
    path, place = operations[0].path, operations[0].place

    @route(
        path.replace("}", ":str}"),
        http_method=[HttpMethod(method) for method in by_method],
        status_code=200,  # each answer brings its own
        request_max_body_size=max(each.body_max for each in operations),
        include_in_schema=False,
        name=f"native.{operations[0].name}",
    )
    async def answer(request: Asked) -> Response[bytes]:
        operation = by_method[request.method]
        return _response(
            await native.answer(
                operation,
                Received(
                    authorization=request.headers.get("authorization", ""),
                    content_type=request.headers.get("content-type", ""),
                    key=request.headers.get("idempotency-key", ""),
                    body=await request.body() if operation.has_body else b"",
                    query=request.scope["query_string"],
                    place=str(request.path_params[place]) if place else "",
                ),
            )
        )

    return answer


def _by_path(operations: Sequence[Operation]) -> list[list[Operation]]:
    found: dict[str, list[Operation]] = {}
    for operation in operations:
        found.setdefault(operation.path, []).append(operation)
    return list(found.values())


def _token(native: Native) -> HTTPRouteHandler:
    @route(
        "/oauth2/token",
        http_method=HttpMethod.POST,
        status_code=200,
        include_in_schema=False,
        name="oauth2.token",
    )
    async def token(request: Asked) -> Response[bytes]:
        address = request.client.host if request.client else ""
        body = await request.body()
        return _response(
            await native.tokens.issue(headers=request.headers, body=body, address=address)
        )

    return token


def _documents(branches: Mapping[str, Branch], *, is_sandbox: bool) -> list[HTTPRouteHandler]:
    """Return the OpenAPI document and the page made of it; both are made once."""
    first = next(iter(branches.values()), None)
    machine, people = _written(sample_of(first.market if first else None), is_sandbox=is_sandbox)
    style = (STATIC / "docs.css").read_bytes()

    async def schema() -> Response[bytes]:
        return Response(machine, media_type=JSON)

    async def docs() -> Response[str]:
        return Response(people, media_type=MediaType.HTML, headers={"content-security-policy": CSP})

    async def docs_style() -> Response[bytes]:
        headers = {"cache-control": "max-age=300"}
        return Response(style, media_type=MediaType.CSS, headers=headers)

    return [
        _readable("/schema/openapi.json", schema),
        _readable("/docs", docs),
        _readable("/docs/docs.css", docs_style),
    ]


@lru_cache(maxsize=16)
def _written(sample: Sample, *, is_sandbox: bool) -> tuple[bytes, str]:
    """Return the OpenAPI document and its page."""
    whole = document(sample)
    return _encode(whole), page(whole, sample, is_sandbox=is_sandbox)


def _health(
    ready: Callable[[], Mapping[str, bool]],
    metrics: Callable[[], bytes],
    scrapes: Scrapes | None,
) -> list[HTTPRouteHandler]:
    async def healthz() -> Response[bytes]:
        return Response(_encode(HealthOut(status="up")), media_type=JSON)

    async def readyz() -> Response[bytes]:
        markets = dict(ready())
        shut = sorted(code for code, is_open in markets.items() if not is_open)
        is_ready = bool(markets) and not shut
        return Response(
            _encode(ReadyOut(ready=is_ready, markets=markets, shut=shut)),
            media_type=JSON,
            status_code=200 if is_ready else 503,
            headers={} if is_ready else {"retry-after": "60"},
        )

    async def figures(request: Asked) -> Response[bytes]:
        refusal = await scrapes(request.headers) if scrapes is not None else None
        if refusal is not None:
            return _response(refusal)
        return Response(metrics(), media_type=METRICS_TYPE)

    return [
        _readable("/healthz", healthz),
        _readable("/readyz", readyz),
        _readable("/metrics", figures),
    ]


def _readable(path: str, answer: Callable[..., Any]) -> HTTPRouteHandler:
    """Return a handler that answers GET and HEAD."""
    methods = [HttpMethod.GET, HttpMethod.HEAD]
    return route(path, http_method=methods, status_code=200, include_in_schema=False)(answer)


# Errors


def _refused(request: Asked, cause: HTTPException) -> Response[Any]:
    """Tell what the framework refused: no such path, no such method, a body that is too large."""
    headers = {
        name: value
        for name, value in (cause.headers or {}).items()
        if name.lower() in {"allow", "retry-after", "www-authenticate", "location"}
    }
    if cause.status_code >= 500:
        return _bug(request, cause)
    if _is_page(request):
        return _error_page(cause.status_code, of_status(cause.status_code).title, headers)
    return _response(told(of_status(cause.status_code), headers=tuple(headers.items())))


def _faulty(request: Asked, cause: Fault) -> Response[Any]:
    """Tell what is not to be had now, or whose outcome nobody knows."""
    log.warning("channels.http.fault", route=_route(request), fault=type(cause).__name__)
    word = "outcome_unknown" if isinstance(cause, OutcomeUnknown) else "unavailable"
    wait_s = cause.retry_after_s if isinstance(cause, Busy) else 5
    refusal = problem(word)
    if _is_page(request):
        return _error_page(refusal.status, refusal.title, {"retry-after": str(wait_s)})
    return _response(told(refusal, retry_after_s=wait_s))


def _bug(request: Asked, cause: Exception) -> Response[Any]:
    """Tell that we were wrong, and nothing more; the log has the places."""
    # Neither the message nor the locals: they may hold a PIN or a name.
    places = "".join(traceback.format_tb(cause.__traceback__)[-5:])
    log.error("channels.http.bug", route=_route(request), kind=type(cause).__name__, places=places)
    refusal = problem("bug")
    if _is_page(request):
        return _error_page(refusal.status, refusal.title, {})
    return _response(told(refusal))


def _route(request: Asked) -> str:
    """Return method and path as it was declared: what stands in its braces may name somebody."""
    return f"{request.method} {request.scope.get('path_template') or 'no route'}"


def _is_page(request: Asked) -> bool:
    """Tell whether a person's browser asks for a page."""
    path = request.scope["path"]
    is_api = any(path == root or path.startswith(f"{root}/") for root in _API)
    return not is_api and "text/html" in request.headers.get("accept", "")


def _error_page(status: int, title: str, headers: Mapping[str, str]) -> Response[str]:
    text = escape(title)
    return Response(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{text}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="stylesheet" href="/docs/docs.css"></head><body><main class="alone">'
        f'<h1>{status}</h1><p>{text}.</p><p><a href="/">To the wall</a></p></main></body></html>',
        status_code=status,
        media_type=MediaType.HTML,
        headers={**headers, "content-security-policy": CSP},
    )


# Headers


def _response(answer: Told) -> Response[bytes]:
    return Response(
        answer.body,
        status_code=answer.status,
        media_type=answer.media_type,
        headers=dict(answer.headers),
    )


async def _guarded(message: Message, scope: Scope) -> None:
    """Add to every answer what keeps browsers from guessing, framing and storing."""
    if message["type"] != "http.response.start":
        return
    headers = MutableScopeHeaders.from_message(message)
    headers.setdefault("x-content-type-options", "nosniff")
    headers.setdefault("referrer-policy", "no-referrer")
    headers.setdefault("x-frame-options", "DENY")
    headers.setdefault("cross-origin-opener-policy", "same-origin")
    if scope["path"].startswith(_API):
        headers.setdefault("cache-control", "no-store")
        headers.setdefault("content-security-policy", "default-src 'none'; frame-ancestors 'none'")
