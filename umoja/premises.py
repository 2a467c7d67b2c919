"""The premises: an installation's data folder, its lock, its keys, its local sockets, its markets.

All that processes of one installation must agree about before they speak to each other.
"""

import fcntl
import os
import socket
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO

from umoja.config import Config
from umoja.faults import Unavailable
from umoja.markets import packs
from umoja.markets.market import Market
from umoja.ops.second_factor import Required
from umoja.parties.credentials import key_at

PATH_MAX = 107  # bytes of a local socket's path
BACKLOG = 2_048
SANDBOX = "sandbox.json"  # what a sandbox remembers of itself


class DataInUse(RuntimeError):
    """Another Umoja is running on this data folder."""


class NotForProduction(RuntimeError):
    """Production mode will not start. `faults` has a sentence for each reason, with what to do."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


# The folder


def hold(folder: Path) -> IO[str]:
    """Hold the data folder for this process and those it hands the file to. Raise DataInUse.

    The hold ends with the last of them, however they end.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = (folder / "in-use").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as cause:
        file.close()
        raise DataInUse(f"another Umoja runs on {folder}: stop it, or choose --data") from cause
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def is_held(folder: Path) -> bool:
    """Tell whether an Umoja runs on a data folder now."""
    path = folder / "in-use"
    if not path.exists():
        return False
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def holder(folder: Path) -> int:
    """Return the number of the process that took a data folder last; 0 where none did."""
    try:
        return int((folder / "in-use").read_text("utf-8").strip() or 0)
    except (FileNotFoundError, ValueError):
        return 0


def is_alive(pid: int) -> bool:
    """Tell whether a process of this machine lives."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's
    return pid > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The keys of an installation: of all PIN hashes, and of the marks that count customers."""

    pin: bytes
    mark: bytes

    @classmethod
    def of(cls, config: Config) -> "Keys":
        """Return the configured keys, or those in the data folder, made at the first start."""
        return cls(
            pin=_key(config.pin_key, config.data / "pin.key"),
            mark=_key(config.mark_key, config.data / "mark.key"),
        )

    def pin_of(self, market: str) -> bytes:
        return sha256(self.pin + market.encode()).digest()


def staff_key_of(config: Config) -> bytes:
    """Return the key of staff's second factors; it is the centre's alone. See `Keys.of`."""
    return _key(config.staff_key, config.data / "staff.key")


def second_factor_of(config: Config) -> Required:
    """Return who must have a second factor: nobody in a sandbox, unless everybody has to."""
    if config.second_factor == "everybody":
        return Required.EVERYBODY
    return Required.POWERFUL if config.is_production else Required.NOBODY


def _key(configured: str, path: Path) -> bytes:
    return sha256(configured.encode()).digest() if configured else key_at(path)


# Markets


def load_markets(config: Config) -> dict[str, Market]:
    """Load the packs that the configuration names. Raise packs.PackUnknown or packs.PackFaulty."""
    folder = config.packs or packs.PACKS
    return {code: packs.load(code, folder=folder) for code in market_codes(config)}


def market_codes(config: Config) -> list[str]:
    """Return the codes of the markets that the configuration names: all packs where it names none."""
    return list(config.markets or packs.codes(folder=config.packs or packs.PACKS))


def require_production_ready(
    config: Config, markets: Mapping[str, Market], *, has_asserts: bool
) -> None:
    """Raise NotForProduction where asserts are off or a pack has figures nobody has read.

    So does a data folder that is a sandbox's: simulated people never meet real money.
    """
    faults = []
    if (config.data / SANDBOX).exists():
        faults.append(f"{config.data} holds a sandbox: choose another data folder")
    if not has_asserts:
        faults.append(
            "asserts are switched off (python -O or PYTHONOPTIMIZE): start without it,"
            " the books rely on them"
        )
    for code, market in markets.items():
        found = packs.placeholders(market)
        if found:
            faults.append(
                f"{code} has {len(found)} placeholder figures, the first in {found[0]}:"
                f" umoja market show {code} lists them; put real ones into a pack of your own"
            )
    if faults:
        raise NotForProduction(faults)


# Sockets


def listening(config: Config) -> socket.socket:
    """Return a socket bound to the configured address. Raise Unavailable where it is taken."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((config.host, config.port))
    except OSError as cause:
        bound.close()
        raise Unavailable(
            f"cannot listen at {config.host}:{config.port} ({cause.strerror}): choose another --port"
        ) from cause
    return bound


def address_of(config: Config) -> str:
    """Return the web address that people type."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"http://{host}:{config.port}"


def listening_locally(path: Path) -> socket.socket:
    """Return a local socket that only this user may open, and that listens.

    What an earlier process left there is removed: whoever calls this holds the data folder.
    """
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        path.unlink()
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    bound.bind(str(path))
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    bound.listen(BACKLOG)
    return bound


def desk_socket(data: Path, market: str = "") -> Path:
    """Return where a market's desk listens for fronts; without a market, all desks of one process.

    Raise Unavailable, as all of these do, where the path is too long for a socket.
    """
    return _fitting(data.resolve() / market / "desk.sock")


def site_socket(data: Path, market: str = "") -> Path:
    """Return where a market's process answers what fronts pass on; without a market, the hall."""
    return _fitting(data.resolve() / market / "site.sock")


def centre_socket(data: Path) -> Path:
    """Return where the centre's process answers what fronts pass on."""
    return _fitting(data.resolve() / "centre.sock")


def trunk_socket(data: Path) -> Path:
    """Return where the centre hears the markets' signals."""
    return _fitting(data.resolve() / "trunk.sock")


def _fitting(path: Path) -> Path:
    if len(os.fsencode(path)) > PATH_MAX:
        raise Unavailable(
            f"{path} is too long for a local socket ({PATH_MAX} bytes): choose a shorter data folder"
        )
    return path
