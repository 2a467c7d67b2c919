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


def pin_hash(key: bytes, *, party: int, salt: bytes, pin: str) -> bytes:
    """Return 32 bytes that only the holder of the key can compute: a PIN has few digits."""
    return hmac.digest(key, b"pin|%d|%s|%s" % (party, salt, pin.encode()), "sha256")


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
