"""Commands about the programs that may call the API of a market."""

import sys
from typing import Annotated

from cyclopts import Parameter

from umoja.commands.words import (
    OK,
    UNAVAILABLE,
    USAGE,
    WRONG,
    ConfigFile,
    Data,
    Database,
    Json,
    client_app,
    clients_of,
    complain,
    config_of,
    print_json,
    print_table,
)


@client_app.command(name="new")
def new_client(
    name: str,
    *,
    market: str,
    scopes: str = "payments:read,payments:write,parties:read",
    organisation: Annotated[int, Parameter(help="The party it acts for; 0: the market.")] = 0,
    data: Data = None,
    database: Database = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> int:
    """Let a program call one market's API; its secret is told once.

    Example: umoja client new "Corner shop" --market KE --organisation 1007
    """
    from umoja.parties.clients import SCOPES

    wanted = frozenset(word.strip() for word in scopes.split(",") if word.strip())
    if not wanted <= SCOPES:
        complain(f"scopes are {', '.join(sorted(SCOPES))}")
        return USAGE
    from umoja.opening import kept_markets, told_of

    settings = config_of(config, {"data": data, "database": database})
    if market.upper() not in kept_markets(settings):
        complain(f"there is no market {market.upper()} in {told_of(settings)}: start with umoja up")
        return UNAVAILABLE
    with clients_of(settings) as clients:
        client, secret = clients.register(
            name=name, market=market.upper(), scopes=wanted, organisation=organisation
        )
    if as_json:
        print_json({"client_id": client, "client_secret": secret})
    else:
        sys.stdout.write(f"client_id      {client}\nclient_secret  {secret}\n")
    return OK


@client_app.command(name="list")
def list_clients(
    *,
    data: Data = None,
    database: Database = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> int:
    """List the programs that may call, without their secrets."""
    settings = config_of(config, {"data": data, "database": database})
    with clients_of(settings) as clients:
        rows = [
            (each.id, each.name, each.market, " ".join(sorted(each.scopes)), str(each.organisation))
            for each in clients.browse()
        ]
    columns = ("client", "name", "market", "scopes", "organisation")
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        print_table("API clients", columns, rows)
    return OK


@client_app.command(name="revoke")
def revoke_client(
    client: str, *, data: Data = None, database: Database = None, config: ConfigFile = None
) -> int:
    """End a client and its tokens at once."""
    settings = config_of(config, {"data": data, "database": database})
    with clients_of(settings) as clients:
        was_there = clients.revoke(client)
    if not was_there:
        complain(f"there is no client {client}")
    return OK if was_there else WRONG
