"""Reaching out: HTTP to addresses that people typed in, without being led into a private network.

A name is resolved once, every address it has is judged, and the connection goes to the one that was
judged: a name that answers differently a moment later leads nowhere else. Redirects are not followed.
"""

import asyncio
import ipaddress
import socket
import ssl
from concurrent.futures import Executor
from contextlib import suppress
from functools import lru_cache
from urllib.parse import urlsplit

import httpx

from umoja.faults import Unavailable

WITHIN_S = 10.0
ANSWER_MAX = 1 << 20
URL_MAX = 500

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# All else has another use, or is what IPv4 was written as.
_UNICAST = ipaddress.IPv6Network("2000::/3")


class NotPublic(ValueError):
    """An address leads into a private network, and this installation does not go there."""


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the open internet."""
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFF_FFFF)
        if inner is not None:  # a gateway leads on to it
            found = inner
        elif found not in _UNICAST:
            return False
    return found.is_global and not found.is_multicast


def checked(url: str, *, may_be_private: bool) -> str:
    """Return an address that may be written down, or raise ValueError with what is wrong with it.

    It is not looked up: where its name leads is judged whenever it is gone to. Without TLS it may be
    only where it `may_be_private`.
    """
    schemes = {"https", "http"} if may_be_private else {"https"}
    if not url.isascii() or not url.isprintable() or " " in url or len(url) > URL_MAX:
        raise ValueError(f"an address has at most {URL_MAX} visible ASCII characters")
    try:
        parts, port = urlsplit(url), urlsplit(url).port
        host = httpx.URL(url).host
    except (ValueError, httpx.InvalidURL) as cause:
        raise ValueError("it is no address") from cause
    if parts.scheme not in schemes or not host or port == 0:
        raise ValueError("an address begins with https:// and a name")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("an address has no user, no password and no fragment")
    if not may_be_private and _is_surely_private(host):
        raise NotPublic("it leads into a private network")
    return url


def _is_surely_private(host: str) -> bool:
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    with suppress(OSError):  # 127.1 is an address, too
        name = socket.inet_ntoa(socket.inet_aton(name))
    try:
        return not is_public(name.strip("[]"))
    except ValueError:
        return False  # a name, not an address


@lru_cache(maxsize=1)
def _trust() -> ssl.SSLContext:
    """Return whom we trust, read once: it takes longer than a request."""
    return httpx.create_ssl_context(trust_env=False)


class _Judged(httpx.AsyncBaseTransport):
    """Connects to an address that was judged, under the name that was asked for."""

    def __init__(self, lookups: Executor | None = None) -> None:
        self._inner = httpx.AsyncHTTPTransport(verify=_trust(), trust_env=False)
        self._lookups = lookups

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        port = request.url.port or (443 if request.url.scheme == "https" else 80)
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(
                self._lookups,
                lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM),
            )
        except (OSError, UnicodeError) as cause:  # the latter: it is no name
            raise httpx.ConnectError(f"{host} has no address") from cause
        addresses = [str(each[4][0]) for each in found]
        if not addresses or not all(is_public(each) for each in addresses):
            raise NotPublic(f"{host} leads into a private network")
        request.extensions = {**request.extensions, "sni_hostname": host}
        request.url = request.url.copy_with(host=addresses[0])
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


def client(*, may_be_private: bool, lookups: Executor | None = None) -> httpx.AsyncClient:
    """Return a client for addresses that people typed in. `may_be_private` is for a sandbox only.

    Names are looked up in the threads of `lookups`, or in those of the loop: a name whose server does
    not answer keeps one of them for a while.
    """
    return httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(verify=_trust(), trust_env=False)
        if may_be_private
        else _Judged(lookups),
        timeout=WITHIN_S,
        follow_redirects=False,
        headers={"user-agent": "umoja"},
        trust_env=False,
    )


async def fetched(
    through: httpx.AsyncClient, request: httpx.Request, *, most: int = ANSWER_MAX
) -> tuple[int, bytes]:
    """Send a request; return the status and at most `most` bytes. Raise Unavailable or NotPublic."""
    try:
        async with asyncio.timeout(2 * WITHIN_S):
            answer = await through.send(request, stream=True)
            try:
                body = bytearray()
                async for piece in answer.aiter_bytes():
                    body += piece
                    if len(body) > most:
                        raise Unavailable(f"the answer is larger than {most} bytes")
                return answer.status_code, bytes(body)
            finally:
                await answer.aclose()
    except (httpx.HTTPError, TimeoutError, OSError) as cause:
        raise Unavailable(f"no answer: {type(cause).__name__}") from cause


async def posted(through: httpx.AsyncClient, request: httpx.Request, *, most: int) -> int:
    """Send a request; return the status. Of the answer no more is read than `most` bytes.

    It takes WITHIN_S at most, looking up included. Raise Unavailable, which says what hindered it (it
    may have arrived all the same), or NotPublic.
    """
    try:
        async with asyncio.timeout(WITHIN_S):
            answer = await through.send(request, stream=True)
            try:
                left = most
                async for piece in answer.aiter_raw():  # as it comes: what is packed stays packed
                    left -= len(piece)
                    if left < 0:
                        break
                return answer.status_code
            finally:
                await answer.aclose()
    except (httpx.HTTPError, TimeoutError, OSError) as cause:
        raise Unavailable(_hindrance(cause)) from cause


def _hindrance(cause: Exception) -> str:
    match cause:
        case TimeoutError() | httpx.TimeoutException():
            return f"no answer within {WITHIN_S:.0f} s"
        case httpx.ConnectError():
            return "no connection"
        case _:
            return "the connection broke"
