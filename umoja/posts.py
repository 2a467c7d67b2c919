"""Posts: what a process is told when it starts, and how it tells its keeper that it works.

A process's duty comes on its standard input, secrets and all, and the input stays open while the
keeper lives: when it closes, the process ends. What it tells goes to its standard output, a line
each; logs go to standard error, which all processes share.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from umoja import config
from umoja.config import FIELDS, Config
from umoja.logs import write_to_stderr

LINE_MAX = 1 << 20


class Duty(msgspec.Struct, frozen=True, kw_only=True):
    """What a process of ours is told.

    `role` is market, receipts (of one market), centre or front. `markets` are those that it serves.
    `is_again`: an earlier process of this post, which has ended, may have left a lease behind. The
    rest is a front's: the public socket's number (of a carrier its own socket's), and where each
    market's desk and site, and the centre's, listen.
    """

    role: str
    markets: list[str]
    settings: dict[str, Any]
    is_production: bool = False
    is_again: bool = False
    share_of: int = 1  # how many fronts share what a front may use
    listening: int = -1
    desks: dict[str, str] = {}
    sites: dict[str, str] = {}
    centre: str = ""

    @property
    def name(self) -> str:
        is_of_one = self.role in {"market", "receipts"}
        return f"{self.role} {self.markets[0]}" if is_of_one else self.role

    def config(self) -> Config:
        return config.read(
            file=None, environ={}, flags=self.settings, is_production=self.is_production
        )


def settings_of(settings: Config) -> dict[str, Any]:
    """Return a configuration as a duty carries it, with whole paths: processes share no folder."""
    found: dict[str, Any] = {}
    for each in FIELDS:
        value = getattr(settings, each.name)
        if isinstance(value, Path):
            found[each.name] = str(value.resolve())
        elif isinstance(value, tuple):
            found[each.name] = list(value)
        elif value is not None:
            found[each.name] = value
    return found


class Shut(Exception):
    """The post cannot be filled now, for this reason; the keeper tries again later."""


class Told(msgspec.Struct, frozen=True):
    """What a process tells its keeper: reading and how far, ready, open MARKET, shut, carrier PID."""

    word: str
    about: str = ""


def tell(word: str, about: str = "") -> None:
    """Tell the keeper something; one that has gone hears nothing, and the process ends anyway."""
    try:
        sys.stdout.buffer.write(msgspec.json.encode(Told(word, about)) + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        return


heard: Callable[[bytes], Told] = msgspec.json.Decoder(Told).decode

Work = Callable[[Duty, asyncio.StreamReader], Awaitable[None]]


def man(work: Work) -> None:
    """Fill a post: take the duty, and do the work until the keeper hangs up or says to end."""
    sys.exit(asyncio.run(_man(work)))


async def _man(work: Work) -> int:
    life = asyncio.StreamReader(limit=LINE_MAX)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(life), sys.stdin.buffer
    )
    told = await life.readline()
    if not told:
        return 0
    duty = msgspec.json.decode(told, type=Duty)
    write_to_stderr(duty.settings["log_level"], process=duty.name)
    try:
        await work(duty, life)
    except Shut as cause:
        tell("shut", str(cause))
        return 1
    return 0


def paths(found: Mapping[str, Path]) -> dict[str, str]:
    return {code: str(path) for code, path in found.items()}
