"""Commands about the operations centre: tokens of machines, vendors' pages, second factors of staff."""

import sys
from typing import Annotated

from cyclopts import Parameter

from umoja.commands.words import (
    OK,
    USAGE,
    WRONG,
    ConfigFile,
    Data,
    Database,
    Json,
    centre_parts_of,
    complain,
    config_of,
    ops_app,
    print_json,
    print_table,
    staff_of,
)

ACTOR = "command line"


@ops_app.command
def token(
    *,
    scope: Annotated[
        str, Parameter(help="What it is for, with commas: alerts, otlp, flags, tickets, metrics.")
    ],
    name: Annotated[str, Parameter(help="Whose it is, for the list.")] = "",
    expires: Annotated[
        str, Parameter(help="When it ends: 12h, 90d, 4w, or 2027-01-31T12:00Z; never without it.")
    ] = "",
    data: Data = None,
    database: Database = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> int:
    """Make a token for a machine; it is told once.

    Example: umoja ops token --scope alerts --name prometheus --expires 90d
    """
    from umoja.clock import SystemClock
    from umoja.ops.machines import TokenRefused, expiry

    scopes = frozenset(word.strip() for word in scope.split(",") if word.strip())
    settings = config_of(config, {"data": data, "database": database})
    try:
        with centre_parts_of(settings) as (machines, _):
            made, text = machines.make(
                name=name or " ".join(sorted(scopes)) or "machine",
                scopes=scopes,
                expires=expiry(expires, SystemClock().now()) if expires else None,
                actor=ACTOR,
            )
    except TokenRefused as cause:
        complain(str(cause))
        return USAGE
    if as_json:
        print_json({"number": made.number, "token": text, "scopes": sorted(made.scopes)})
    else:
        sys.stdout.write(f"{text}\n")
    return OK


@ops_app.command
def tokens(
    *,
    data: Data = None,
    database: Database = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> int:
    """List the tokens of machines: what each is for, until when, and when it was last used."""
    from umoja.clock import SystemClock

    settings = config_of(config, {"data": data, "database": database})
    now = SystemClock().now()
    with centre_parts_of(settings) as (machines, _):
        rows = [
            (
                each.number,
                each.name,
                " ".join(sorted(each.scopes)),
                each.state(now),
                _moment(each.made_at),
                _moment(each.expires_at),
                _moment(each.used_at),
            )
            for each in machines.browse()
        ]
    columns = ("number", "name", "scopes", "state", "made", "expires", "last used")
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        print_table("Tokens of machines", columns, rows)
    return OK


@ops_app.command
def revoke(
    number: int, *, data: Data = None, database: Database = None, config: ConfigFile = None
) -> int:
    """End a token at once, by its number in the list."""
    settings = config_of(config, {"data": data, "database": database})
    with centre_parts_of(settings) as (machines, _):
        was_there = machines.revoke(number, actor=ACTOR)
    if not was_there:
        complain(f"there is no token {number}")
    return OK if was_there else WRONG


@ops_app.command
def watch(
    name: str,
    url: str,
    *,
    markets: Annotated[
        str, Parameter(help="Whose vendor it is, with commas; without it all markets'.")
    ] = "",
    data: Data = None,
    database: Database = None,
    config: ConfigFile = None,
) -> int:
    """Read a vendor's status page from now on: Statuspage's summary.json, RSS or Atom.

    Example: umoja ops watch sms-route https://status.example.com/api/v2/summary.json --markets KE,TZ
    """
    from umoja.ops.vendor_pages import PageRefused

    settings = config_of(config, {"data": data, "database": database})
    try:
        with centre_parts_of(settings) as (_, pages):
            made = pages.add(name=name, url=url, markets=markets.split(","), actor=ACTOR)
    except PageRefused as cause:
        complain(str(cause))
        return USAGE
    sys.stdout.write(f"{made.name} is read within a minute: umoja ops pages shows how it went\n")
    return OK


@ops_app.command
def unwatch(
    name: str, *, data: Data = None, database: Database = None, config: ConfigFile = None
) -> int:
    """Read a vendor's status page no longer."""
    settings = config_of(config, {"data": data, "database": database})
    with centre_parts_of(settings) as (_, pages):
        was_there = pages.remove(name)
    if not was_there:
        complain(f"there is no page {name}")
    return OK if was_there else WRONG


@ops_app.command
def pages(
    *,
    data: Data = None,
    database: Database = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> int:
    """List the vendors' status pages that are read, and what hinders it."""
    from umoja.clock import from_micros

    settings = config_of(config, {"data": data, "database": database})
    with centre_parts_of(settings) as (_, kept):
        rows = [
            (
                each.name,
                each.url,
                ",".join(each.markets) or "all",
                _moment(from_micros(each.read_at)) if each.read_at else "not yet",
                each.trouble or "-",
            )
            for each in kept.browse()
        ]
    columns = ("name", "address", "markets", "last read", "trouble")
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        print_table("Vendors' status pages", columns, rows)
    return OK


@ops_app.command
def reset_second_factor(
    name: str, *, data: Data = None, database: Database = None, config: ConfigFile = None
) -> int:
    """Take somebody's second factor away, whose phone and recovery codes are lost.

    She is signed out; with her password alone she then sets up another one. The audit log tells it.
    In the console another administrator does the same.
    """
    from umoja.ops.staff import StaffRefused

    settings = config_of(config, {"data": data, "database": database})
    try:
        with staff_of(settings) as staff:
            staff.reset_second_factor(name, by=ACTOR)
    except StaffRefused as cause:
        complain(str(cause))
        return WRONG
    sys.stdout.write(f"{name} signs in with the password alone, and sets up a second factor anew\n")
    return OK


def _moment(moment: object) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else "-"
