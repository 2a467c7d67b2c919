"""PINs: what makes one fit, and how one is kept. The key of the hashes is not in the database."""

import hashlib
import hmac
import os
import secrets
from itertools import pairwise
from pathlib import Path

TRIES_MAX = 3
KEY_BYTES = 32
SALT_BYTES = 16
BLOCK_BYTES = 64  # of SHA-256


def is_fit(pin: str, *, digits: int, rejects_runs: bool) -> bool:
    """Tell whether a PIN may be chosen: ASCII digits of the market's length, not 1111 or 1234."""
    if len(pin) != digits or not (pin.isascii() and pin.isdigit()):
        return False
    if not rejects_runs:
        return True
    steps = {int(after) - int(before) for before, after in pairwise(pin)}
    return steps not in ({0}, {1}, {-1})


def fresh_salt() -> bytes:
    return secrets.token_bytes(SALT_BYTES)


class PinHash:
    """Makes the hashes of PINs that only the holder of the key can compute: a PIN has few digits.

    They are HMAC-SHA256 as RFC 2104 has it. What depends on the key alone is done once.
    """

    def __init__(self, key: bytes) -> None:
        assert len(key) <= BLOCK_BYTES, "a longer key would be hashed first"
        padded = key.ljust(BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(bytes(each ^ 0x36 for each in padded))
        self._outer = hashlib.sha256(bytes(each ^ 0x5C for each in padded))

    def of(self, *, party: int, salt: bytes, pin: str) -> bytes:
        """Return 32 bytes."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(b"pin|%d|%s|%s" % (party, salt, pin.encode()))
        outer.update(inner.digest())
        return outer.digest()


def key_mark(key: bytes) -> bytes:
    """Return what is kept to tell a right key from a wrong one."""
    return hashlib.sha256(b"pin key|" + hmac.digest(key, b"mark", "sha256")).digest()


def key_at(path: Path) -> bytes:
    """Return the key in this file, made at first use and readable by its owner only.

    Raise ValueError where the file holds something else.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        made = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(made, "w") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
    text = path.read_text("ascii").strip()
    try:
        key = bytes.fromhex(text)
    except ValueError as cause:
        raise ValueError(f"{path.name} holds no key: 64 hexadecimal digits") from cause
    if len(key) != KEY_BYTES:
        raise ValueError(f"{path.name} holds no key: 64 hexadecimal digits")
    return key
