"""Configuration: each value, where it came from, and what production will not accept.

Later wins: the default, the file (TOML), the environment (UMOJA_PORT=…), the command line.
"""

import re
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

PREFIX = "UMOJA_"
SECRET_LEAST = 32  # characters
FRONTS_MAX = 64
PLACEHOLDER = "change-me"
DATABASE_URL = "DATABASE_URL"  # as many hosts call it; UMOJA_DATABASE goes before
_URL = re.compile(r"postgres(ql)?://\S+")
_SECRETS = re.compile(
    r"(?P<before>://[^/?#@]*?:)[^@/]*(?=@)|(?P<named>[?&\s](?:password|sslpassword)=)[^&\s]*"
)


class ConfigFaulty(ValueError):
    """A value cannot be used. `faults` has a sentence for each, with what to do about it."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One value that can be configured."""

    name: str
    default: str | int | bool | tuple[str, ...]
    about: str
    is_secret: bool = False
    is_optional: bool = False  # a secret that production can do without
    is_made: bool = False  # where it is not set, the data folder has one of its own


FIELDS = (
    Field(name="data", default="umoja-data", about="the folder of all databases"),
    Field(
        name="database",
        default="",
        about="a PostgreSQL URL, postgresql://…; without it SQLite files in the data folder",
    ),
    Field(name="markets", default=(), about="which markets to open; none named: every pack"),
    Field(name="packs", default="", about="a folder of market packs that replace the shipped ones"),
    Field(name="host", default="127.0.0.1", about="the address to listen at"),
    Field(name="port", default=8470, about="the port to listen at"),
    Field(
        name="trusted_proxies",
        default="",
        about="addresses or networks of proxies before Umoja whose X-Forwarded-For is believed,"
        " with commas; empty: nobody's",
    ),
    Field(name="fronts", default=0, about="how many front processes; 0: all in one process"),
    Field(name="log_level", default="info", about="debug, info, warning or error"),
    Field(
        name="pin_key",
        default="",
        about="the key of all PIN hashes; lost, every customer needs a new PIN",
        is_secret=True,
    ),
    Field(
        name="mark_key",
        default="",
        about="the key of the marks that count customers without naming them",
        is_secret=True,
    ),
    Field(
        name="staff_key",
        default="",
        about="the key of staff's second factors; without it one is made in the data folder; lost,"
        " staff set theirs up anew",
        is_secret=True,
        is_made=True,
    ),
    Field(
        name="second_factor",
        default="powerful",
        about="who must have a second factor: powerful (in production, whoever may release money or"
        " manage staff) or everybody (in the sandbox too)",
    ),
    Field(
        name="public_url",
        default="",
        about="where people reach this console, for links in pages; empty: host and port",
    ),
    Field(name="mail_host", default="", about="the mail server for pages; empty: none by mail"),
    Field(name="mail_port", default=587, about="the mail server's port"),
    Field(name="mail_from", default="", about="the sender of pages by mail"),
    Field(name="mail_user", default="", about="whom to sign in as at the mail server"),
    Field(
        name="mail_password",
        default="",
        about="the password at the mail server",
        is_secret=True,
        is_optional=True,
    ),
    Field(
        name="ussd_secret",
        default="",
        about="what the USSD gateway sends in the header X-Gateway-Secret",
        is_secret=True,
    ),
)
_BY_NAME = {each.name: each for each in FIELDS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    value: str | int | bool | tuple[str, ...]
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the hall is built from. `origins` says of each field where its value came from."""

    data: Path
    database: str = field(repr=False)
    markets: tuple[str, ...]
    packs: Path | None
    host: str
    port: int
    trusted_proxies: str
    fronts: int
    log_level: str
    pin_key: str = field(repr=False)
    mark_key: str = field(repr=False)
    staff_key: str = field(repr=False)
    second_factor: str
    ussd_secret: str = field(repr=False)
    public_url: str
    mail_host: str
    mail_port: int
    mail_from: str
    mail_user: str
    mail_password: str = field(repr=False)
    is_production: bool
    origins: Mapping[str, str]

    def shown(self) -> list[tuple[str, str, str, str]]:
        """Return name, value, origin and meaning of each field; secrets only as set or not set."""
        rows = []
        for each in FIELDS:
            value = getattr(self, each.name)
            if each.is_secret:
                text = "(set)" if value else "(not set)"
            elif isinstance(value, tuple):
                text = ", ".join(value) or "(all)"
            elif each.name == "database":
                text = masked(str(value)) or "(SQLite files)"
            else:
                text = str(value) if value is not None else ""
            rows.append((each.name, text, self.origins[each.name], each.about))
        return rows


def masked(url: str) -> str:
    """Return a database URL with its secrets replaced: for logs, tables and people."""
    return _SECRETS.sub(lambda found: f"{found['before'] or found['named']}***", url)


def read(
    *,
    file: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, Any],
    is_production: bool = False,
) -> Config:
    """Put the configuration together. Raise ConfigFaulty with everything that is wrong at once.

    `flags` are what was given on the command line: None means not given.
    """
    faults: list[str] = []
    values = {each.name: Value(value=each.default, origin="default") for each in FIELDS}
    if file is not None:
        for name, given in _from_file(file, faults).items():
            if name not in _BY_NAME:
                faults.append(f"{file}: {name} is not a setting; known are {_names()}")
            else:
                _put(values, name, given, str(file), faults)
    if environ.get(DATABASE_URL):
        _put(values, "database", environ[DATABASE_URL], DATABASE_URL, faults)
    for key in sorted(environ):
        if key.startswith(PREFIX) and key.removeprefix(PREFIX).lower() in _BY_NAME:
            _put(values, key.removeprefix(PREFIX).lower(), environ[key], key, faults)
    for name, flag in flags.items():
        if flag is not None:
            option = f"--{name.replace('_', '-')}"
            _put(values, name, flag, option, faults)
    if is_production:
        faults.extend(_unsafe(values))
    if faults:
        raise ConfigFaulty(faults)
    plain: dict[str, Any] = {name: each.value for name, each in values.items()}
    plain["data"] = Path(plain["data"])
    plain["packs"] = Path(plain["packs"]) if plain["packs"] else None
    return Config(
        **plain,
        is_production=is_production,
        origins={name: each.origin for name, each in values.items()},
    )


def example() -> str:
    """Return a configuration file with fresh secrets, ready to be saved and read by its owner only."""
    lines = ["# Umoja in production: umoja serve --config umoja.toml"]
    for each in FIELDS:
        lines += ["", f"# {each.about}"]
        if each.is_secret and not each.is_optional:
            lines.append(f'{each.name} = "{secrets.token_hex(32)}"')
        elif isinstance(each.default, tuple):
            lines.append(f'{each.name} = []  # for example ["KE", "TZ"]')
        elif isinstance(each.default, str):
            lines.append(f'{each.name} = "{each.default}"')
        else:
            lines.append(f"{each.name} = {each.default}")
    return "\n".join(lines) + "\n"


def _from_file(file: Path, faults: list[str]) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as cause:
        faults.append(f"{file} cannot be read: {cause}")
        return {}


def _put(values: dict[str, Value], name: str, given: Any, origin: str, faults: list[str]) -> None:
    """Take a value over where it is of the field's kind."""
    default = _BY_NAME[name].default
    value: str | int | bool | tuple[str, ...]
    if isinstance(default, tuple):
        words = given.split(",") if isinstance(given, str) else given
        if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
            faults.append(f"{origin}: {name} is a list of words")
            return
        value = tuple(word.strip().upper() for word in words if word.strip())
    elif isinstance(default, int):
        try:
            value = int(given) if isinstance(given, str) else given
        except ValueError:
            value = -1
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 65_535:
            faults.append(f"{origin}: {name} is a whole number from 0 to 65535")
            return
    elif isinstance(given, str | Path):
        value = str(given)
    else:
        faults.append(f"{origin}: {name} is a text")
        return
    if name == "database" and value and not _URL.fullmatch(str(value)):
        # The text itself is not repeated: it may hold a password.
        faults.append(f"{origin}: database is a URL that begins with postgresql://")
        return
    if name == "trusted_proxies" and not _are_networks(str(value)):
        faults.append(f"{origin}: trusted_proxies is a list of addresses or networks, with commas")
        return
    if name == "fronts" and not 0 <= int(str(value)) <= FRONTS_MAX:
        faults.append(f"{origin}: fronts is a whole number from 0 to {FRONTS_MAX}")
        return
    if name == "log_level" and value not in {"debug", "info", "warning", "error"}:
        faults.append(f"{origin}: log_level is debug, info, warning or error")
        return
    if name == "second_factor" and value not in {"powerful", "everybody"}:
        faults.append(f"{origin}: second_factor is powerful or everybody")
        return
    values[name] = Value(value=value, origin=origin)


def _are_networks(text: str) -> bool:
    try:
        for each in filter(None, text.split(",")):
            ip_network(each.strip())
    except ValueError:
        return False
    return True


def _unsafe(values: Mapping[str, Value]) -> list[str]:
    """Say which secrets production will not start with, and what to do."""
    faults = []
    for each in FIELDS:
        value = str(values[each.name].value)
        if not each.is_secret or each.is_optional:  # how strong that is, others decide
            continue
        if not value and each.is_made:
            continue
        if not value:
            faults.append(f"{each.name} is not set: umoja config --example writes a file with one")
        elif PLACEHOLDER in value.lower() or len(set(value)) < 8:
            faults.append(f"{each.name} is a placeholder: set a random one of 64 characters")
        elif len(value) < SECRET_LEAST:
            faults.append(f"{each.name} has fewer than {SECRET_LEAST} characters: set a longer one")
    return faults


def _names() -> str:
    return ", ".join(each.name for each in FIELDS)
