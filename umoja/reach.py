"""Reaching out: HTTP to addresses that people typed in, without being led into a private network.

A name is resolved once, every address it has is judged, and the connection goes to the one that was
judged: a name that answers differently a moment later leads nowhere else. Redirects are not followed.
"""

import asyncio
import ipaddress
import socket

import httpx

from umoja.faults import Unavailable

WITHIN_S = 10.0
ANSWER_MAX = 1 << 20


class NotPublic(ValueError):
    """An address leads into a private network, and this installation does not go there."""


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the open internet."""
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return found.is_global and not found.is_multicast


class _Judged(httpx.AsyncBaseTransport):
    """Connects to an address that was judged, under the name that was asked for."""

    def __init__(self) -> None:
        self._inner = httpx.AsyncHTTPTransport(trust_env=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        port = request.url.port or (443 if request.url.scheme == "https" else 80)
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as cause:
            raise httpx.ConnectError(f"{host} has no address") from cause
        addresses = [str(each[4][0]) for each in found]
        if not addresses or not all(is_public(each) for each in addresses):
            raise NotPublic(f"{host} leads into a private network")
        request.extensions = {**request.extensions, "sni_hostname": host}
        request.url = request.url.copy_with(host=addresses[0])
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


def client(*, may_be_private: bool) -> httpx.AsyncClient:
    """Return a client for addresses that people typed in. `may_be_private` is for a sandbox only."""
    return httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(trust_env=False) if may_be_private else _Judged(),
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
