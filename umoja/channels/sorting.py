"""Sorting: which process answers a request that a front does not answer itself.

A market's API and menus are answered by that market's process, the console by the centre's. What
must work while any of them is away, a front answers alone: tokens, and whether anything works.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from umoja.channels.forward import BODY_MAX, Forward, body_of, tell
from umoja.channels.native_call import Told, told
from umoja.channels.problems import problem
from umoja.channels.tokens import Tokens
from umoja.channels.wire import HealthOut, ReadyOut
from umoja.faults import Unavailable

SHUT_RETRY_S = 60
_NO_STORE = (("cache-control", "no-store"),)
_encode = msgspec.json.Encoder().encode


class Sorting:
    """An ASGI application: answers the little that a front knows, and passes the rest on.

    `sites` are the markets' processes; `ready` says of each market whether it takes payments.
    """

    def __init__(
        self,
        *,
        tokens: Tokens,
        sites: Mapping[str, Forward],
        centre: Forward,
        ready: Callable[[], Mapping[str, bool]],
    ) -> None:
        self._tokens = tokens
        self._sites = sites
        self._centre = centre
        self._ready = ready

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", "a front speaks HTTP only"
        found = await self._sorted(scope, receive)
        if isinstance(found, Told):
            await tell(send, found, has_body=scope["method"] != "HEAD")
        elif found is not None:
            await found(scope, receive, send)

    async def _sorted(self, scope: Any, receive: Any) -> Forward | Told | None:
        """Return who answers, or the answer; None where whoever asked has left."""
        path, is_read = scope["path"], scope["method"] in {"GET", "HEAD"}
        if path == "/healthz" and is_read:
            return Told(status=200, body=_encode(HealthOut(status="up")), headers=_NO_STORE)
        if path == "/readyz" and is_read:
            return _readiness(self._ready())
        if path == "/oauth2/token" and scope["method"] == "POST":
            return await self._token(scope, receive)
        if path.startswith("/v1/"):
            return self._of_token(scope)
        if path.startswith("/ussd/"):
            return self._sites.get(path.removeprefix("/ussd/")) or self._any()
        if path.startswith(("/docs", "/schema", "/oauth2/")):
            return self._any()
        return self._centre

    async def _token(self, scope: Any, receive: Any) -> Told | None:
        body = await body_of(receive)
        if body is None:
            return None
        if len(body) > BODY_MAX:
            return told(problem("too_large"))
        address = scope["client"][0] if scope["client"] else ""
        try:
            return await self._tokens.issue(headers=_named(scope), body=body, address=address)
        except Unavailable:
            return told(problem("unavailable"))

    def _of_token(self, scope: Any) -> Forward | Told:
        """Return the process of the market whose token the request bears."""
        try:
            token = self._tokens.holder(_named(scope).get("authorization", ""))
        except Unavailable:
            return told(problem("unavailable"))
        if isinstance(token, Told):
            return token
        return self._sites.get(token.client.market) or told(problem("market_shut"))

    def _any(self) -> Forward:
        """Return the process of a market that answers now: these pages are the same in all."""
        ready = self._ready()
        codes = sorted(self._sites, key=lambda code: (not ready.get(code, False), code))
        return self._sites[codes[0]] if codes else self._centre


def _named(scope: Any) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _readiness(markets: Mapping[str, bool]) -> Told:
    shut = sorted(code for code, is_open in markets.items() if not is_open)
    is_ready = bool(markets) and not shut
    return Told(
        status=200 if is_ready else 503,
        body=_encode(ReadyOut(ready=is_ready, markets=dict(markets), shut=shut)),
        headers=_NO_STORE if is_ready else (*_NO_STORE, ("retry-after", str(SHUT_RETRY_S))),
    )
