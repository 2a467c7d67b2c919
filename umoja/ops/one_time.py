"""One-time codes as RFC 6238 has them: digits that a phone and we work out from a secret and the time."""

import base64
import hmac
from urllib.parse import quote, urlencode

STEP_S = 30
DIGITS = 6
DRIFT = 1  # steps by which the clock of a phone may differ, either way
ISSUER = "Umoja"


def code_at(secret: bytes, step: int, *, digits: int = DIGITS) -> str:
    """Return the code of a time step: SHA-1, as every authenticator reads it."""
    digest = hmac.digest(secret, step.to_bytes(8, "big"), "sha1")
    start = digest[-1] & 0x0F
    number = int.from_bytes(digest[start : start + 4], "big") & 0x7FFF_FFFF
    return f"{number % 10**digits:0{digits}d}"


def step_of(secret: bytes, code: str, *, at_s: int) -> int | None:
    """Return the newest step near `at_s` whose code this is, or None.

    All steps are compared, each in constant time: how long it takes tells nothing of the code.
    """
    given = code.encode("utf-8", "replace")
    found: int | None = None
    for step in range(max(0, at_s // STEP_S - DRIFT), at_s // STEP_S + DRIFT + 1):
        is_it = hmac.compare_digest(code_at(secret, step).encode(), given)
        found = step if is_it else found
    return found


def in_letters(secret: bytes) -> str:
    """Return a secret as people type it into an authenticator: base 32, without padding."""
    return base64.b32encode(secret).decode().rstrip("=")


def address_of(secret: bytes, *, name: str) -> str:
    """Return the address that an authenticator reads from a QR code."""
    asked = {
        "secret": in_letters(secret),
        "issuer": ISSUER,
        "algorithm": "SHA1",
        "digits": DIGITS,
        "period": STEP_S,
    }
    return f"otpauth://totp/{ISSUER}:{quote(name)}?{urlencode(asked)}"
