"""Plain requests: one whole POST in one piece, with nothing unusual about it, read in one go.

Whatever is not plain (a body in chunks, a header twice, a second request behind it, a control
character) is none of ours: the server's parser then has it, with its own way of refusing.
"""

import re
from functools import lru_cache

import msgspec

from umoja.channels.native_call import BODY_MAX

HEAD_MAX = 8 * 1024

_LINE = re.compile(rb"POST (/[!-~]*) HTTP/1\.1", re.ASCII)
_USUAL = bytes({9, *range(0x20, 0x100)} - {0x7F})
_NOT_PLAIN = frozenset(
    {b"connection", b"keep-alive", b"expect", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)
_END = b"\r\n\r\n"


class Plain(msgspec.Struct, frozen=True, gc=False):
    """Target, headers (names in small letters) and body."""

    target: bytes
    headers: dict[bytes, bytes]
    body: bytes


def plain(data: bytes) -> Plain | None:
    """Return the request that these bytes are from their first to their last, or None."""
    if not data.startswith(b"POST "):
        return None
    end = data.find(_END, 0, HEAD_MAX)
    if end < 0:
        return None
    head = data[:end]
    first, *lines = head.split(b"\r\n")
    if head.translate(None, _USUAL) != b"\r\n" * len(lines):
        return None
    line = _LINE.fullmatch(first)
    if line is None:
        return None
    headers: dict[bytes, bytes] = {}
    for each in lines:
        name, colon, value = each.partition(b":")
        known = _name(name)
        if not colon or not known:
            return None
        headers[known] = value.strip(b" \t")
    length = headers.get(b"content-length", b"")
    body = data[end + 4 :]
    if (
        len(headers) != len(lines)
        or not _NOT_PLAIN.isdisjoint(headers)
        or b"host" not in headers
        or not length.isdigit()
        or len(length) > 5
        or int(length) != len(body)
        or len(body) > BODY_MAX
    ):
        return None
    return Plain(line[1], headers, body)


@lru_cache(maxsize=256)
def _name(name: bytes) -> bytes:
    """Return a header's name in small letters, or nothing where it is not plain.

    It is of letters, digits and hyphens: no space before the colon, no folded line.
    """
    return name.lower() if name.replace(b"-", b"0").isalnum() else b""
