"""Commands about data at rest: migrations, copies, the books, the configuration, the audit log."""

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from umoja.commands.words import (
    OK,
    UNAVAILABLE,
    USAGE,
    WRONG,
    ConfigFile,
    Data,
    Database,
    Json,
    Markets,
    app,
    audit_app,
    bar_shown,
    complain,
    config_of,
    print_json,
    print_table,
    progress_shown,
)


@app.command
def migrate(
    *,
    config: ConfigFile = None,
    data: Data = None,
    database: Database = None,
    markets: Markets = None,
    pre: Annotated[
        bool, Parameter(negative="", help="Only what is safe while the program before still runs.")
    ] = False,
    post: Annotated[
        bool, Parameter(negative="", help="All the rest too: no older program runs any more.")
    ] = False,
    dry_run: Annotated[
        bool, Parameter(negative="", help="Show the state and change nothing.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Bring all tables to the form this program needs. Without --pre or --post: what --pre does.

    Before an upgrade: --pre with the new program, then restart, then --post.
    Example: umoja migrate --pre --config umoja.toml
    """
    from umoja.clock import SystemClock
    from umoja.opening import states, upgrade_all
    from umoja.premises import market_codes
    from umoja.storage.migrate import Phase

    if pre and post:
        complain("choose one of --pre and --post: --post applies everything")
        return USAGE
    settings = config_of(config, {"data": data, "database": database, "markets": markets})
    codes = market_codes(settings)
    phase = Phase.ALL if post else Phase.PRE
    done = [] if dry_run else upgrade_all(settings, codes, SystemClock(), phase=phase)
    found = states(settings, codes)
    if as_json:
        print_json(
            {
                "applied_now": [{"where": where, "migration": name} for where, name in done],
                "plans": [
                    {
                        "where": each.where,
                        "plan": each.state.plan,
                        "applied": each.state.applied,
                        "pre": each.state.pre,
                        "post": each.state.post,
                    }
                    for each in found
                ],
            }
        )
        return OK
    rows = [
        (
            each.where,
            each.state.plan,
            str(len(each.state.applied)),
            ", ".join(each.state.pre) or "none",
            ", ".join(each.state.post) or "none",
        )
        for each in found
    ]
    columns = ("where", "plan", "applied", "pending (pre)", "pending (post)")
    print_table("Migrations", columns, rows, note=f"{len(done)} applied now")
    return OK


@app.command
def copy(
    *,
    source: Annotated[str, Parameter(name="--from", help="sqlite:FOLDER or postgresql://…")],
    target: Annotated[str, Parameter(name="--to", help="sqlite:FOLDER or postgresql://…")],
    data: Annotated[
        Path | None,
        Parameter(
            name="--data", help="Where a server's installation has its keys. Default: umoja-data."
        ),
    ] = None,
    page: Annotated[
        int, Parameter(help="Rows in one transaction.", validator=Number(gte=1, lte=100_000))
    ] = 2_000,
    as_json: Json = False,
) -> int:
    """Move a whole installation between SQLite files and PostgreSQL, and prove that both are equal.

    Neither side may run. Cut off at any moment, the same command goes on. Exit code 1: not equal.
    Example: umoja copy --from sqlite:umoja-data --to postgresql://umoja@db/umoja
    """
    from umoja.clock import SystemClock
    from umoja.copying import copy as copy_all
    from umoja.copying import place_of, tables

    settings = config_of(None, {"data": data})
    try:
        places = [place_of(text, data=settings.data) for text in (source, target)]
    except ValueError as cause:
        complain(str(cause))
        return USAGE
    with bar_shown() as step:
        proof = copy_all(places[0], places[1], clock=SystemClock(), page=page, step=step)
    if as_json:
        print_json(proof.as_dict())
    else:
        for title, columns, rows, note in tables(proof):
            print_table(title, columns, rows, note=note)
        sys.stdout.write(proof.told + "\n")
    return OK if proof.is_equal else WRONG


@app.command(name="config")
def show_config(
    *,
    config: ConfigFile = None,
    example: Annotated[
        bool, Parameter(negative="", help="Write a file with fresh secrets instead.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Print each setting, where it came from and what it is for. Secrets are never printed.

    Example: umoja config --example > umoja.toml
    """
    from umoja import config as settings

    if example:
        sys.stdout.write(settings.example())
        return OK
    rows = config_of(config, {}).shown()
    if as_json:
        print_json(
            [dict(zip(("name", "value", "origin", "about"), row, strict=True)) for row in rows]
        )
        return OK
    print_table("Configuration", ("setting", "value", "from", "what it is"), rows)
    return OK


@app.command
def books(
    *,
    data: Data = None,
    database: Database = None,
    config: ConfigFile = None,
    market: str | None = None,
    as_json: Json = False,
) -> int:
    """Fold every journal again: trial balance, issued e-money against the trust account, breaches.

    It may run beside the program. Exit code 1 where anything does not hold.
    Example: umoja books --market KE
    """
    from dataclasses import asdict

    from umoja.ledger.books import audit
    from umoja.markets import packs as shelf
    from umoja.money import format_minor
    from umoja.opening import journal_rows, kept_markets, told_of
    from umoja.payments.wallets import kind_of

    settings = config_of(config, {"data": data, "database": database})
    kept = kept_markets(settings)
    codes = [market.upper()] if market else kept
    if not codes:
        complain(f"there are no books in {told_of(settings)}: start with umoja up")
        return UNAVAILABLE
    report: dict[str, Any] = {}
    is_right = True
    for code in codes:
        if code not in kept:
            complain(f"there is no journal of {code} in {told_of(settings)}")
            return UNAVAILABLE
        with progress_shown(f"{code}: adding up") as step:
            found = audit(journal_rows(settings, code), kind_of=kind_of, step=step)
        is_right = is_right and not found.breaches
        report[code] = asdict(found)
        if as_json:
            continue
        digits = (
            {c.code: c.digits for c in shelf.load(code).currencies} if code in shelf.codes() else {}
        )
        for book in found.currencies:

            def text(minor: int, places: int = digits.get(book.currency, 0)) -> str:
                return format_minor(minor, digits=places, grouped=True)

            rows = [(kind, text(net)) for kind, net in book.by_kind.items()]
            rows += [
                ("debits", text(book.debits)),
                ("credits", text(book.credits)),
                ("issued e-money", text(book.issued)),
                ("trust account", text(book.trust)),
                ("gap", text(book.gap)),
            ]
            note = f"{found.rows} journal lines, {found.holds} holds, {book.accounts} accounts"
            print_table(f"{code} {book.currency}", ("account", "balance"), rows, note=note)
        for breach in found.breaches:
            sys.stdout.write(f"BREACH {code}: {breach}\n")
    if as_json:
        print_json(report)
    else:
        sys.stdout.write("the books are right\n" if is_right else "THE BOOKS ARE NOT RIGHT\n")
    return OK if is_right else WRONG


@audit_app.command
def verify(
    *,
    data: Data = None,
    database: Database = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> int:
    """Read the audit log from its first entry and say whether the chain holds.

    Example: umoja audit verify --data umoja-data
    """
    from umoja.clock import SystemClock
    from umoja.opening import is_there, open_sql, told_of
    from umoja.ops.centre import open_centre

    settings = config_of(config, {"data": data, "database": database})
    if not is_there(settings, "centre"):
        complain(f"there is no centre in {told_of(settings)}: start with umoja up")
        return UNAVAILABLE
    centre = open_centre(open_sql(settings, "centre"), clock=SystemClock(), markets=[])
    try:
        verified = centre.audit.verify()
    finally:
        centre.close()
    is_whole = verified.broken_at is None
    if as_json:
        print_json(
            {
                "entries": verified.entries,
                "broken_at": verified.broken_at,
                "reason": verified.reason,
            }
        )
    elif is_whole:
        sys.stdout.write(f"{verified.entries} entries, the chain holds\n")
    else:
        sys.stdout.write(f"BROKEN at entry {verified.broken_at}: {verified.reason}\n")
    return OK if is_whole else WRONG
