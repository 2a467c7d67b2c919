"""The command line: every command that Umoja has. Heavy parts are imported when a command needs them.

Exit codes: 0 all is well · 1 something was found wrong (books, packs, audit, a drill) · 2 the command
was typed wrong · 69 the data folder is in use or cannot be opened · 78 the configuration is refused ·
130 interrupted.
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number

if TYPE_CHECKING:
    from umoja.config import Config

OK = 0
WRONG = 1
USAGE = 2
UNAVAILABLE = 69
REFUSED = 78
INTERRUPTED = 130

EPILOGUE = (
    "Exit codes: 0 all is well, 1 something was found wrong, 2 typed wrong, 69 data in use or not"
    " readable, 78 configuration refused, 130 interrupted."
)

app = App(
    name="umoja",
    help="One mobile-money platform for many markets, and the one operations centre that runs them.",
    help_epilogue=EPILOGUE,
    version_flags=["--version"],
    version="0.1.0",
)
market_app = App(name="market", help="Check, make and show market packs.")
audit_app = App(name="audit", help="The chained log of what staff did.")
client_app = App(name="client", help="Programs that may call a market's API.")
watch_app = App(name="watch", help="The detectors, on a series of your own.")
app.command(market_app)
app.command(audit_app)
app.command(client_app)
app.command(watch_app)

Json = Annotated[bool, Parameter(name="--json", negative="", help="Answer as JSON.")]
Data = Annotated[
    Path | None, Parameter(name="--data", help="The data folder. Default: umoja-data.")
]
Database = Annotated[
    str | None,
    Parameter(
        name="--database", help="A PostgreSQL URL. Default: SQLite files in the data folder."
    ),
]
Markets = Annotated[
    str | None, Parameter(name="--markets", help="Codes with commas, for example KE,GH.")
]
Customers = Annotated[
    int,
    Parameter(help="Simulated customers in each market.", validator=Number(gte=1, lte=20_000)),
]
ConfigFile = Annotated[Path | None, Parameter(name="--config", help="A configuration file (TOML).")]


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
    config = _config(
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
    settings = _config(config, {"fronts": fronts, "database": database}, is_production=True)
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

    settings = _config(config, {"data": data})
    rows = running(settings.data)
    if as_json:
        _print_json(rows)
    elif rows:
        columns = ("role", "market", "pid", "since", "state", "about", "restarts")
        told = [tuple(str(row[column]) for column in columns) for row in rows]
        _print_table("Processes", columns, told)
    else:
        _complain(f"nothing runs on {settings.data}")
    return OK if rows and all(row["state"] == "ready" for row in rows) else WRONG


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
        _complain("choose one of --pre and --post: --post applies everything")
        return USAGE
    settings = _config(config, {"data": data, "database": database, "markets": markets})
    codes = market_codes(settings)
    phase = Phase.ALL if post else Phase.PRE
    done = [] if dry_run else upgrade_all(settings, codes, SystemClock(), phase=phase)
    found = states(settings, codes)
    if as_json:
        _print_json(
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
    _print_table("Migrations", columns, rows, note=f"{len(done)} applied now")
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

    settings = _config(None, {"data": data})
    try:
        places = [place_of(text, data=settings.data) for text in (source, target)]
    except ValueError as cause:
        _complain(str(cause))
        return USAGE
    with _bar() as step:
        proof = copy_all(places[0], places[1], clock=SystemClock(), page=page, step=step)
    if as_json:
        _print_json(proof.as_dict())
    else:
        for title, columns, rows, note in tables(proof):
            _print_table(title, columns, rows, note=note)
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
    rows = _config(config, {}).shown()
    if as_json:
        _print_json(
            [dict(zip(("name", "value", "origin", "about"), row, strict=True)) for row in rows]
        )
        return OK
    _print_table("Configuration", ("setting", "value", "from", "what it is"), rows)
    return OK


@market_app.command
def check(code: str | None = None, *, packs: Path | None = None, as_json: Json = False) -> int:
    """Check one market pack or all; name file, table and row of each fault.

    Example: umoja market check KE
    """
    from umoja.markets import packs as shelf

    folder = packs or shelf.PACKS
    codes = [code.upper()] if code else list(shelf.codes(folder=folder))
    if not codes:
        _complain(f"there is no pack in {folder}")
        return USAGE
    found: dict[str, list[str]] = {}
    for each in codes:
        if not (folder / each).is_dir():
            _complain(f"there is no pack {each}; known are {', '.join(shelf.codes(folder=folder))}")
            return USAGE
        found[each] = [str(fault) for fault in shelf.check(folder / each)]
    if as_json:
        _print_json(found)
    for each, faults in () if as_json else found.items():
        sys.stdout.write(f"{each}: {_faults_counted(len(faults))}\n")
        sys.stdout.writelines(f"  {fault}\n" for fault in faults)
    return WRONG if any(found.values()) else OK


@market_app.command
def new(code: str, *, folder: Annotated[Path, Parameter(name="--in")] = Path()) -> int:
    """Make a folder for a new market, with every table to fill in.

    Example: umoja market new ZM --in my-packs
    """
    from umoja.markets import packs as shelf

    try:
        made = shelf.new(code.upper(), folder)
    except (ValueError, FileExistsError) as cause:
        _complain(str(cause))
        return USAGE
    sys.stdout.write(
        f"{made} is ready to be filled in; then: umoja market check {code.upper()}"
        f" --packs {folder}\n"
    )
    return OK


@market_app.command
def show(
    code: str, *, day: str | None = None, packs: Path | None = None, as_json: Json = False
) -> int:
    """Print a market's tariffs, limits and taxes, with the source of each.

    Example: umoja market show KE --day 2024-01-31
    """
    from datetime import date

    from umoja.clock import SystemClock
    from umoja.markets import packs as shelf
    from umoja.markets.show import tables

    folder = packs or shelf.PACKS
    if not (folder / code.upper()).is_dir():
        _complain(f"there is no pack {code}; known are {', '.join(shelf.codes(folder=folder))}")
        return USAGE
    found = shelf.load(code.upper(), folder=folder)
    try:
        wanted = date.fromisoformat(day) if day else found.business_day(SystemClock().now())
    except ValueError:
        _complain(f"{day} is not a day: write it as 2026-03-31")
        return USAGE
    made = tables(found, wanted)
    if as_json:
        _print_json(
            [
                {
                    "title": each.title,
                    "note": each.note,
                    "rows": [dict(zip(each.columns, row, strict=True)) for row in each.rows],
                }
                for each in made
            ]
        )
        return OK
    for each in made:
        _print_table(each.title, each.columns, each.rows, note=each.note)
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

    settings = _config(config, {"data": data, "database": database})
    kept = kept_markets(settings)
    codes = [market.upper()] if market else kept
    if not codes:
        _complain(f"there are no books in {told_of(settings)}: start with umoja up")
        return UNAVAILABLE
    report: dict[str, Any] = {}
    is_right = True
    for code in codes:
        if code not in kept:
            _complain(f"there is no journal of {code} in {told_of(settings)}")
            return UNAVAILABLE
        with _progress(f"{code}: adding up") as step:
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
            _print_table(f"{code} {book.currency}", ("account", "balance"), rows, note=note)
        for breach in found.breaches:
            sys.stdout.write(f"BREACH {code}: {breach}\n")
    if as_json:
        _print_json(report)
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

    settings = _config(config, {"data": data, "database": database})
    if not is_there(settings, "centre"):
        _complain(f"there is no centre in {told_of(settings)}: start with umoja up")
        return UNAVAILABLE
    centre = open_centre(open_sql(settings, "centre"), clock=SystemClock(), markets=[])
    try:
        verified = centre.audit.verify()
    finally:
        centre.close()
    is_whole = verified.broken_at is None
    if as_json:
        _print_json(
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
        _complain(f"scopes are {', '.join(sorted(SCOPES))}")
        return USAGE
    from umoja.opening import kept_markets, told_of

    settings = _config(config, {"data": data, "database": database})
    if market.upper() not in kept_markets(settings):
        _complain(
            f"there is no market {market.upper()} in {told_of(settings)}: start with umoja up"
        )
        return UNAVAILABLE
    with _clients(settings) as clients:
        client, secret = clients.register(
            name=name, market=market.upper(), scopes=wanted, organisation=organisation
        )
    if as_json:
        _print_json({"client_id": client, "client_secret": secret})
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
    settings = _config(config, {"data": data, "database": database})
    with _clients(settings) as clients:
        rows = [
            (each.id, each.name, each.market, " ".join(sorted(each.scopes)), str(each.organisation))
            for each in clients.browse()
        ]
    columns = ("client", "name", "market", "scopes", "organisation")
    if as_json:
        _print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        _print_table("API clients", columns, rows)
    return OK


@client_app.command(name="revoke")
def revoke_client(
    client: str, *, data: Data = None, database: Database = None, config: ConfigFile = None
) -> int:
    """End a client and its tokens at once."""
    settings = _config(config, {"data": data, "database": database})
    with _clients(settings) as clients:
        was_there = clients.revoke(client)
    if not was_there:
        _complain(f"there is no client {client}")
    return OK if was_there else WRONG


@app.command
def simulate(
    market: str,
    *,
    day: Annotated[str | None, Parameter(help="Which day. Default: today.")] = None,
    payments: Annotated[
        int,
        Parameter(
            help="About how many payments in the day.", validator=Number(gte=1, lte=10_000_000)
        ),
    ] = 5_000,
    customers: Customers = 300,
    seed: int = 7,
    as_json: Json = False,
) -> int:
    """Simulate one market's day as fast as it goes, and prove its books at the end.

    Example: umoja simulate TZ --day 2026-12-24 --payments 20000
    """
    from datetime import date

    try:
        wanted = date.fromisoformat(day) if day else None
    except ValueError:
        _complain(f"{day} is not a day: write it as 2026-03-31")
        return USAGE
    from umoja.simulator.sitting import simulate_day

    with _progress(f"{market.upper()}: simulating") as step:
        report = simulate_day(
            market.upper(), day=wanted, payments=payments, customers=customers, seed=seed, step=step
        )
    if as_json:
        _print_json(report)
    else:
        rows = [(name, str(value)) for name, value in report.items()]
        _print_table(f"{market.upper()} simulated", ("what", "how much"), rows)
    return WRONG if report["breaches"] else OK


@watch_app.command(name="replay")
def watch_replay(
    file: Annotated[Path, Parameter(help="A CSV with a header; - reads what is piped in.")],
    *,
    as_json: Json = False,
) -> int:
    """Run the detectors over a plain series: columns timestamp,value and any further ones.

    Prints a row for each: timestamp,score,alarm. The score lies between 0 and 1; a half and more is
    an alarm, and alarm is 1 on the first row of an episode only. A row is judged by the rows before
    it and by nothing else, and the first ones are never alarms: what is usual is learned from them.

    Example: umoja watch replay payments.csv
    """
    from umoja.ops.replay import SeriesRefused, replayed

    out = sys.stdout
    try:
        source = sys.stdin if str(file) == "-" else file.open(encoding="utf-8-sig", newline="")
    except OSError as cause:
        _complain(f"{file} cannot be read: {cause.strerror}")
        return USAGE
    with source as lines:
        try:
            if not as_json:
                out.write("timestamp,score,alarm\n")
            for row in replayed(lines):
                if as_json:
                    told = {"timestamp": row.timestamp, "score": round(row.score, 4)}
                    out.write(json.dumps(told | {"alarm": int(row.is_alarm)}) + "\n")
                else:
                    out.write(f"{row.timestamp},{row.score:.4f},{row.is_alarm:d}\n")
        except SeriesRefused as cause:
            out.flush()
            _complain(f"{file}: {cause}")
            return USAGE
        except UnicodeDecodeError:
            _complain(f"{file}: this is no text in UTF-8")
            return USAGE
    return OK


@app.command
def drill(
    fault: str,
    *,
    market: str,
    speed: Annotated[
        float,
        Parameter(help="How many times as fast as real time.", validator=Number(gte=1, lte=60)),
    ] = 20.0,
    seed: int = 7,
    as_json: Json = False,
) -> int:
    """Play a fault on a stage of its own and see the centre notice it, size it and resolve it.

    Example: umoja drill sms-route-dead --market GH
    """
    from umoja.simulator.sitting import stage_drill

    def tell(line: str) -> None:
        sys.stderr.write(f"{line}\n")

    report = stage_drill(fault, market=market.upper(), speed=speed, seed=seed, tell=tell)
    if as_json:
        _print_json(report)
    else:
        timeline = report.pop("timeline")
        rows = [(name, str(value)) for name, value in report.items()]
        _print_table(f"Drill {fault} in {market.upper()}", ("what", "result"), rows)
        _print_table("Timeline", ("at", "who", "what"), [tuple(each.values()) for each in timeline])
    return OK if report["passed"] else WRONG


@app.command
def bench(
    mode: Annotated[
        Literal["ledger", "desk", "http"],
        Parameter(help="Bundles to the ledger, orders without HTTP, or a server on loopback."),
    ] = "ledger",
    *,
    engine: Literal["sqlite", "postgres"] = "sqlite",
    workload: Annotated[
        Literal["uniform", "zipf", "merchant", "payday"],
        Parameter(help="Who pays whom; merchant: one of them receives a fifth of all."),
    ] = "uniform",
    market: Annotated[str, Parameter(help="Default: the busiest.")] = "",
    customers: Annotated[int, Parameter(validator=Number(gte=2, lte=100_000_000))] = 10_000,
    payments: Annotated[
        int,
        Parameter(
            help="In all repeats together; 0: by --seconds alone.",
            validator=Number(gte=0, lte=1_000_000_000),
        ),
    ] = 100_000,
    repeats: Annotated[int, Parameter(validator=Number(gte=1, lte=100))] = 5,
    seconds: Annotated[
        float,
        Parameter(
            help="A repeat ends after so many; also how long a load is offered (then 10, if 0).",
            validator=Number(gte=0, lte=86_400),
        ),
    ] = 0.0,
    open_loop: Annotated[
        str, Parameter(help="Also offer these loads a second, with commas: 2000,4000.")
    ] = "",
    journal: Annotated[
        int, Parameter(help="Payments in the journal before measuring.", validator=Number(gte=0))
    ] = 0,
    batch: Annotated[int, Parameter(validator=Number(gte=1, lte=20_000))] = 1_000,
    window: Annotated[
        int, Parameter(help="Orders that wait at the desk.", validator=Number(gte=1, lte=20_000))
    ] = 2_000,
    connections: Annotated[int, Parameter(validator=Number(gte=1, lte=10_000))] = 256,
    port: Annotated[
        int, Parameter(help="Of the server; 0: any free one.", validator=Number(gte=0, lte=65_535))
    ] = 0,
    baseline: Annotated[
        int,
        Parameter(
            name="--baseline-seconds", help="For each; 0: none.", validator=Number(gte=0, lte=300)
        ),
    ] = 5,
    database: Annotated[
        str, Parameter(help="A PostgreSQL to use; default: a private one, started and stopped.")
    ] = "",
    data: Annotated[
        Path | None,
        Parameter(name="--data", help="Keep people and journal here for another bench."),
    ] = None,
    plot: Annotated[
        Path | None, Parameter(help="Write rate and p99 against offered load as an SVG.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Measure how many payments a second this machine does, beside a baseline; prove the books.

    Nothing of a running Umoja is touched. Example: umoja bench desk --workload zipf --json
    """
    from umoja.simulator import bench as benches
    from umoja.simulator.bench_told import benched, is_right, rates_of, tables
    from umoja.simulator.bench_workload import Workload

    try:
        rates = rates_of(open_loop) if open_loop else ()
    except ValueError as cause:
        _complain(str(cause))
        return USAGE
    if not payments and not seconds:
        _complain("a bench ends somewhere: give --payments or --seconds")
        return USAGE
    found = benched(
        benches.Plan(
            mode=benches.Mode(mode),
            engine=benches.Engine(engine),
            workload=Workload(workload),
            market=market.upper(),
            customers=customers,
            payments=payments,
            repeats=repeats,
            seconds=seconds,
            rates=rates,
            batch=batch,
            window=window,
            connections=connections,
            journal=journal,
            baseline_s=baseline,
            data=data,
            database=database,
            port=port,
            is_plotted=plot is not None,
        )
    )
    if plot is not None:
        benches.save_plot(found, plot)
    if as_json:
        _print_json(found)
    else:
        for title, columns, rows, note in tables(found):
            _print_table(title, columns, rows, note=note)
    return OK if is_right(found) else WRONG


@app.command
def crash(
    *,
    kills: Annotated[
        int, Parameter(help="How many processes to kill.", validator=Number(gte=1, lte=100_000))
    ] = 200,
    engine: Literal["sqlite", "postgres"] = "sqlite",
    target: Annotated[
        Literal["any", "writer", "front", "centre", "database"],
        Parameter(help="What to kill; the database with --engine postgres only."),
    ] = "any",
    seed: Annotated[int, Parameter(help="The same seed kills the same kinds as quickly.")] = 1,
    market: Annotated[str, Parameter(help="Default: the busiest.")] = "",
    fronts: Annotated[int, Parameter(validator=Number(gte=1, lte=8))] = 2,
    port: Annotated[int, Parameter(help="Where it listens.", validator=Number(gte=1))] = 9560,
    data: Annotated[
        Path | None, Parameter(name="--data", help="Keep the installation and all logs here.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Kill -9 processes of an installation of its own under load; prove that nothing was lost.

    Afterwards no acknowledged payment is missing, none is doubled, every unknown outcome is known,
    the books are right, and the journal replays to the same bytes. Exit code 1 where not.
    Example: umoja crash --kills 200 --engine postgres
    """
    from umoja.simulator.crash import Plan, targets_of
    from umoja.simulator.crash_told import crashed, rows, verdict

    plan = Plan(
        kills=kills,
        engine=engine,
        target=target,
        market=market.upper(),
        seed=seed,
        fronts=fronts,
        port=port,
        data=data,
    )
    try:
        targets_of(plan)
    except ValueError as cause:
        _complain(str(cause))
        return USAGE
    found = crashed(plan)
    if as_json:
        _print_json(found)
    else:
        _print_table("Crash", ("what", "how much"), rows(found))
        sys.stdout.writelines(f"BROKEN {sentence}\n" for sentence in found["violations"])
        sys.stdout.write(f"{verdict(found)}\n")
    return OK if found["right"] else WRONG


def main() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(words: list[str]) -> int:
    """Run one command; return its exit code. Expected troubles are one line, not a trace."""
    from umoja.faults import Fault

    try:
        code = app(
            words or ["--help"], exit_on_error=False, print_error=True, result_action="return_value"
        )
    except CycloptsError:
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # whoever read us has left: nothing more to say
        return OK
    except _Refused as refused:
        for fault in refused.faults:
            _complain(fault)
        return REFUSED
    except Fault as fault:
        _complain(str(fault))
        return UNAVAILABLE
    except Exception as cause:
        told = _expected(cause)
        if told is None:
            raise
        for line in told[1]:
            _complain(line)
        return told[0]
    return code if isinstance(code, int) else OK


class _Refused(Exception):
    """The configuration cannot be used."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def _expected(cause: Exception) -> tuple[int, list[str]] | None:
    """Return exit code and sentences for a trouble that is told, or None for a bug."""
    from umoja.markets.packs import PackFaulty, PackUnknown

    if isinstance(cause, PackUnknown):
        return USAGE, [str(cause)]
    if isinstance(cause, PackFaulty):
        return WRONG, [str(fault) for fault in cause.faults]
    if "umoja.premises" in sys.modules:
        from umoja.premises import DataInUse, NotForProduction

        if isinstance(cause, DataInUse):
            return UNAVAILABLE, [str(cause)]
        if isinstance(cause, NotForProduction):
            return REFUSED, cause.faults
    if "umoja.opening" in sys.modules:
        from umoja.ledger.journal import JournalDamaged
        from umoja.opening import NotMigrated, WrongKind
        from umoja.storage.migrate import PlanBroken
        from umoja.storage.port import DatabaseDamaged, ServerUnfit

        if isinstance(cause, NotMigrated | WrongKind | PlanBroken | ServerUnfit):
            return REFUSED, [str(cause)]
        if isinstance(cause, DatabaseDamaged | JournalDamaged):
            return UNAVAILABLE, [str(cause)]
    return None


def _config(file: Path | None, flags: dict[str, Any], *, is_production: bool = False) -> "Config":
    import os

    from umoja import config as settings

    try:
        return settings.read(
            file=file, environ=os.environ, flags=flags, is_production=is_production
        )
    except settings.ConfigFaulty as cause:
        raise _Refused(cause.faults) from cause


def _clients(config: "Config") -> Any:
    from contextlib import closing

    from umoja.clock import SystemClock
    from umoja.opening import open_sql
    from umoja.parties.clients import Clients

    return closing(Clients(open_sql(config, "clients"), clock=SystemClock()))


def _faults_counted(faults: int) -> str:
    return "good" if not faults else "1 fault" if faults == 1 else f"{faults} faults"


def _complain(text: str) -> None:
    sys.stderr.write(f"umoja: {text}\n")


def _print_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False, default=str)
    sys.stdout.write("\n")


def _print_table(title: str, columns: Any, rows: Any, *, note: str = "") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, caption=note or None, title_justify="left", caption_justify="left")
    for column in columns:
        table.add_column(str(column))
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _progress(title: str) -> Any:
    """Show how far something came, on a terminal and only there; the steps are counted."""
    from contextlib import contextmanager

    @contextmanager
    def shown() -> Any:
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        console = Console(stderr=True)
        with Progress(
            SpinnerColumn(),
            TextColumn("{task.description} {task.completed:,.0f}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ) as progress:
            task = progress.add_task(title, total=None)
            yield lambda done: progress.update(task, completed=done)

    return shown()


def _bar() -> Any:
    """Show what is being done and how far it came, on a terminal and only there."""
    from contextlib import contextmanager

    @contextmanager
    def shown() -> Any:
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("", total=None)

            def step(what: str, done: int, total: int) -> None:
                bar.update(task, description=what, completed=done, total=total or None)

            yield step

    return shown()
