"""Plain requests are read in one go; whatever is unusual is left to the server's parser."""

import pytest

from umoja.channels.native_call import BODY_MAX
from umoja.channels.plain_head import HEAD_MAX, plain

LINES = (b"Host: umoja", b"Authorization: Bearer t", b"Content-Length: 2")


def request(*lines: bytes, first: bytes = b"POST /v1/quote HTTP/1.1", body: bytes = b"{}") -> bytes:
    return b"\r\n".join([first, *(lines or LINES)]) + b"\r\n\r\n" + body


def test_a_whole_plain_request_is_read():
    found = plain(request())
    assert found is not None
    assert (found.target, found.body) == (b"/v1/quote", b"{}")
    assert found.headers == {
        b"host": b"umoja",
        b"authorization": b"Bearer t",
        b"content-length": b"2",
    }


def test_space_around_a_value_is_no_part_of_it():
    found = plain(request(*LINES, b"Idempotency-Key:\t k 1 \t"))
    assert found is not None
    assert found.headers[b"idempotency-key"] == b"k 1"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET /v1/quote HTTP/1.1\r\nHost: umoja\r\nContent-Length: 0\r\n\r\n",
        request()[:-1],  # not whole
        request() + b"P",  # another one behind it
        request(body=b""),
        request(first=b"POST /v1/quote HTTP/1.0"),
        request(first=b"POST  /v1/quote HTTP/1.1"),
        request(first=b"POST /v1/quote\x00 HTTP/1.1"),
        request(first=b"POST http://umoja/v1/quote HTTP/1.1"),
        request(b"Authorization: t", b"Content-Length: 2"),  # no host
        request(b"Host: umoja"),  # no length
        request(b"Host: umoja", b"Content-Length: +2"),
        request(b"Host: umoja", b"Content-Length: 2, 2"),
        request(b"Host: umoja", b"Content-Length: \xb2"),
        request(*LINES, b"Content-Length: 2"),
        request(*LINES, b"content-length: 3"),
        request(*LINES, b"Host: other"),
        request(*LINES, b"Transfer-Encoding: chunked"),
        request(*LINES, b"Connection: close"),
        request(*LINES, b"Expect: 100-continue"),
        request(*LINES, b"Upgrade: h2c"),
        request(*LINES, b" folded: line"),
        request(*LINES, b"Name : value"),
        request(*LINES, b"No colon"),
        request(*LINES, b": no name"),
        request(*LINES, b"X-A: b\x00c"),
        request(*LINES, b"X-A: b\rc"),
        request(*LINES, b"X-A: b\nTransfer-Encoding: chunked"),
        request(*LINES, b"X-A: " + b"b" * HEAD_MAX),
        request(b"Host: umoja", b"Content-Length: %d" % (BODY_MAX + 1), body=b" " * (BODY_MAX + 1)),
    ],
)
def test_what_is_not_plain_is_left_to_the_parser(data: bytes):
    assert plain(data) is None
