"""Commands that run Umoja: all in one process, or in processes apart."""

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from umoja.commands.words import (
    OK,
    WRONG,
    ConfigFile,
    Customers,
    Data,
    Database,
    Json,
    Markets,
    app,
    complain,
    config_of,
    print_json,
    print_table,
)


@app.command
def up(
    *,
    port: Annotated[int | None, Parameter(help="Where to listen. Default: 8470.")] = None,
    host: Annotated[str | None, Parameter(help="At which address. Default: 127.0.0.1.")] = None,
    data: Data = None,
    database: Database = None,
    markets: Markets = None,
    quiet_traffic: Annotated[
        bool, Parameter(negative="", help="Do not simulate any payments.")
    ] = False,
    fresh: Annotated[
        bool, Parameter(negative="", help="Throw the sandbox's data away and begin anew.")
    ] = False,
    rate: Annotated[
        float,
        Parameter(
            help="Simulated payments a second, all markets together.",
            validator=Number(gte=0, lte=1_000),
        ),
    ] = 24.0,
    customers: Customers = 300,
    fronts: Annotated[
        int | None,
        Parameter(help="Processes that take requests. Default: 0, all in one process."),
    ] = None,
    seed: Annotated[int, Parameter(help="The same seed makes the same people and days.")] = 7,
) -> int:
    """Start the sandbox: every market, simulated people and payments, and the operations centre.

    Example: umoja up --markets KE,GH --port 9000
    """
    config = config_of(
        None,
        {
            "port": port,
            "host": host,
            "data": data,
            "database": database,
            "markets": markets,
            "fronts": fronts,
        },
    )
    from umoja.simulator.sitting import sit

    return sit(
        config,
        is_fresh=fresh,
        rate=0.0 if quiet_traffic else rate,
        customers=customers,
        seed=seed,
    )


@app.command
def serve(
    *,
    config: ConfigFile = None,
    fronts: Annotated[
        int | None,
        Parameter(
            help="Processes that take requests; 0: all in one process. Default: one a processor."
        ),
    ] = None,
    database: Database = None,
    take_over: Annotated[
        bool,
        Parameter(
            negative="",
            help="Fence off a writer whose lease on the database still runs. Be sure that it is gone.",
        ),
    ] = False,
) -> int:
    """Start in production mode: no sandbox, no simulator, no seeded credentials.

    Each market, the centre and the fronts run in processes of their own; umoja ps shows them.
    Example: umoja serve --config umoja.toml
    """
    settings = config_of(config, {"fronts": fronts, "database": database}, is_production=True)
    from umoja.keeper import fronts_of, serve_apart

    wanted = fronts_of(settings)
    if wanted:
        return serve_apart(settings, fronts=wanted, take_over=take_over)
    from umoja.simulator.sitting import serve_forever

    return serve_forever(settings, take_over=take_over)


@app.command
def ps(*, config: ConfigFile = None, data: Data = None, as_json: Json = False) -> int:
    """Show the processes of a running Umoja. Exit code 1 where one of them is not ready.

    Example: umoja ps --data umoja-data
    """
    from umoja.keeper import running

    settings = config_of(config, {"data": data})
    rows = running(settings.data)
    if as_json:
        print_json(rows)
    elif rows:
        columns = ("role", "market", "pid", "since", "state", "about", "restarts")
        told = [tuple(str(row[column]) for column in columns) for row in rows]
        print_table("Processes", columns, told)
    else:
        complain(f"nothing runs on {settings.data}")
    return OK if rows and all(row["state"] == "ready" for row in rows) else WRONG
