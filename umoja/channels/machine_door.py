"""The doors of machines: who may come in by which token, and how times are read and written there."""

import asyncio
import base64
import binascii
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from umoja.channels.native_call import Told, told
from umoja.channels.problems import problem
from umoja.clock import from_micros, to_micros
from umoja.ops.machines import Machine, Machines

BODY_MAX = 1 << 20
YEAR_MOST = 9_000

_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,30}))?([Zz]|[+-]\d\d:?\d\d)?"
)


async def admitted(
    machines: Machines, scope: str, headers: Mapping[str, str], *, realm: str = "umoja"
) -> Machine | Told:
    """Return the machine whose token came, or the 401 to answer.

    A token comes as a bearer, as the password of Basic (older amtool can do no other), or in
    X-API-Key. Raise Unavailable where the tokens cannot be read.
    """
    text = _token(headers)
    found = await asyncio.to_thread(machines.holder, text, scope) if text else None
    if found is not None:
        return found
    return told(
        problem("unauthorized", detail=f"Send a token with the scope {scope}: umoja ops token."),
        headers=(("www-authenticate", f'Bearer realm="{realm}"'),),
    )


def _token(headers: Mapping[str, str]) -> str:
    scheme, _, text = headers.get("authorization", "").partition(" ")
    text = text.strip()
    if scheme.lower() == "bearer":
        return text
    if scheme.lower() == "basic" and len(text) <= 1_000:
        try:
            pair = base64.b64decode(text, validate=True).decode("latin-1")
        except (binascii.Error, ValueError):
            return ""
        return pair.partition(":")[2]
    return headers.get("x-api-key", "").strip()


def moment_of(text: str | None) -> int:
    """Read RFC 3339, however fine, as microseconds; 0 where it says nothing (also as year 0001).

    Raise ValueError.
    """
    if not text:
        return 0
    found = _MOMENT.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text[:40]!r} is not a time as RFC 3339 has it")
    day, hour, fine, zone = found.groups()
    moment = datetime.fromisoformat(f"{day}T{hour}.{(fine or '0')[:6].ljust(6, '0')}")
    if zone and zone.upper() != "Z":
        moment = datetime.fromisoformat(f"{moment.isoformat()}{zone}")
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment.year < 1971:  # what Go sends for nothing
        return 0
    if moment.year > YEAR_MOST:
        raise ValueError(f"the year {moment.year} is too far")
    return to_micros(moment)


def written(micros: int) -> str:
    """Write microseconds as Alertmanager's clients read them."""
    return f"{from_micros(micros):%Y-%m-%dT%H:%M:%S}.{micros % 1_000_000 // 1_000:03d}Z"
