"""Commands that rehearse: traffic, drills, benches, crashes, detectors on a series."""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from umoja.commands.words import (
    OK,
    USAGE,
    WRONG,
    Customers,
    Json,
    app,
    complain,
    drill_app,
    print_json,
    print_table,
    progress_shown,
    watch_app,
)


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
        complain(f"{day} is not a day: write it as 2026-03-31")
        return USAGE
    from umoja.simulator.sitting import simulate_day

    with progress_shown(f"{market.upper()}: simulating") as step:
        report = simulate_day(
            market.upper(), day=wanted, payments=payments, customers=customers, seed=seed, step=step
        )
    if as_json:
        print_json(report)
    else:
        rows = [(name, str(value)) for name, value in report.items()]
        print_table(f"{market.upper()} simulated", ("what", "how much"), rows)
    return WRONG if report["breaches"] else OK


@watch_app.command(name="replay")
def watch_replay(
    file: Annotated[Path, Parameter(help="A CSV with a header.")],
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
        source = file.open(encoding="utf-8-sig", newline="")
    except OSError as cause:
        complain(f"{file} cannot be read: {cause.strerror}")
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
            complain(f"{file}: {cause}")
            return USAGE
        except UnicodeDecodeError:
            complain(f"{file}: this is no text in UTF-8")
            return USAGE
    return OK


@drill_app.default
def drill(
    fault: Annotated[
        str,
        Parameter(
            help="sms-route-dead is played with real payments; bank-timeouts, database-slow,"
            " bad-tariff, fraud-spike, float-drought, market-outage, clock-skew,"
            " duplicate-callbacks, ussd-loss, expiry, queue-stuck, slow-leak, two-at-once,"
            " trust-mismatch and monitoring-dead on counters, each after its decoy."
        ),
    ],
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
    from umoja.simulator.campaign_faults import KINDS
    from umoja.simulator.drill import DETECTOR_OF

    if fault in KINDS and fault not in DETECTOR_OF:
        return _drill_counts(fault, market.upper(), seed=seed, as_json=as_json)
    from umoja.simulator.sitting import stage_drill

    def tell(line: str) -> None:
        sys.stderr.write(f"{line}\n")

    report = stage_drill(fault, market=market.upper(), speed=speed, seed=seed, tell=tell)
    if as_json:
        print_json(report)
    else:
        timeline = report.pop("timeline")
        rows = [(name, str(value)) for name, value in report.items()]
        print_table(f"Drill {fault} in {market.upper()}", ("what", "result"), rows)
        print_table("Timeline", ("at", "who", "what"), [tuple(each.values()) for each in timeline])
    return OK if report["passed"] else WRONG


@drill_app.command
def campaign(
    *,
    days: Annotated[int, Parameter(validator=Number(gte=3, lte=400))] = 30,
    faults: Annotated[int, Parameter(validator=Number(gte=1, lte=2_000))] = 60,
    decoys: Annotated[int, Parameter(validator=Number(gte=0, lte=2_000))] = 40,
    seed: int = 1,
    as_json: Json = False,
) -> int:
    """Run weeks of eight markets with faults and decoys; print what was true, said, and the scores.

    The scores come from the two lists alone. The first two days are calm: what is usual is learned.

    Example: umoja drill campaign --days 30 --faults 60 --decoys 40 --seed 101 --json
    """
    from umoja.simulator.campaign import campaign as run_campaign

    def tell(line: str) -> None:
        sys.stderr.write(f"{line}\n")

    report = run_campaign(days=days, faults=faults, decoys=decoys, seed=seed, tell=tell)
    if as_json:
        print_json(report)
        return OK
    lists = ("truth", "incidents")
    rows = [(name, str(value)) for name, value in report.items() if name not in lists]
    print_table(f"Campaign of {days} days, seed {seed}", ("what", "result"), rows)
    return OK


def _drill_counts(fault: str, market: str, *, seed: int, as_json: bool) -> int:
    from umoja.simulator.campaign import drill_counts

    report = drill_counts(fault, market=market, seed=seed)
    if as_json:
        print_json(report)
    else:
        said = report.pop("incidents")
        truth = report.pop("truth")
        print_table(
            f"Drill {fault} in {market}",
            ("what", "result"),
            [(name, str(value)) for name, value in report.items()],
        )
        print_table(
            "What was true",
            ("kind", "start", "end", "cause"),
            [(row["kind"], row["start"], row["end"], row["cause"]) for row in truth],
        )
        print_table(
            "What the centre said",
            ("incident", "opened", "detector", "cause", "mitigated"),
            [
                (row["id"], row["opened"], row["detector"], row["cause"], row["mitigated"])
                for row in said
            ],
        )
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
    bulk: Annotated[
        int,
        Parameter(
            help="Payments in one request of an organisation (http); 0: one each.",
            validator=Number(gte=0, lte=10_000),
        ),
    ] = 0,
    overload: Annotated[
        float,
        Parameter(
            help="Then offer so many times the measured rate for --seconds (http).",
            validator=Number(gte=0, lte=100),
        ),
    ] = 0.0,
    restart: Annotated[
        bool,
        Parameter(
            help="Then start anew with all of that as a tail, and time it (ledger, desk).",
            negative=(),
        ),
    ] = False,
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
        complain(str(cause))
        return USAGE
    if not payments and not seconds:
        complain("a bench ends somewhere: give --payments or --seconds")
        return USAGE
    if (bulk or overload) and mode != "http":
        complain("--bulk and --overload are for http: umoja bench http …")
        return USAGE
    if restart and mode == "http":
        complain("--restart is for ledger and desk: umoja bench desk --restart")
        return USAGE
    if data is not None and database and engine == "postgres":
        complain(
            "--data keeps a bench's files; in a database of yours nothing is kept: give one of both"
        )
        return USAGE
    if bulk and overload:
        complain("one of --bulk and --overload at a time")
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
            bulk=bulk,
            overload=overload,
            is_plotted=plot is not None,
            does_restart=restart,
        )
    )
    if plot is not None:
        benches.save_plot(found, plot)
    if as_json:
        print_json(found)
    else:
        for title, columns, rows, note in tables(found):
            print_table(title, columns, rows, note=note)
    return OK if is_right(found) else WRONG


@app.command
def crash(
    *,
    kills: Annotated[
        int, Parameter(help="How many processes to kill.", validator=Number(gte=1, lte=100_000))
    ] = 200,
    engine: Literal["sqlite", "postgres"] = "sqlite",
    target: Annotated[
        Literal["any", "writer", "front", "centre", "database", "disk"],
        Parameter(
            help="What to kill; database: with --engine postgres; disk: the writer's syncs fail"
            " (needs strace)."
        ),
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
        complain(str(cause))
        return USAGE
    found = crashed(plan)
    if as_json:
        print_json(found)
    else:
        print_table("Crash", ("what", "how much"), rows(found))
        sys.stdout.writelines(f"BROKEN {sentence}\n" for sentence in found["violations"])
        sys.stdout.write(f"{verdict(found)}\n")
    return OK if found["right"] else WRONG
