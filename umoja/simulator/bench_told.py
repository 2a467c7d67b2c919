"""A bench at the terminal: its progress while it runs, its figures as tables when it is done."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from umoja.simulator.bench import Plan, Teller, run

Table = tuple[str, tuple[str, ...], Sequence[tuple[str, ...]], str]
"""Title, columns, rows and a note below."""

RATES_MAX = 20


def benched(plan: Plan) -> dict[str, Any]:
    """Run a bench and show on standard error how far it is. See bench.run for what is raised."""
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task("making ready", total=None)

        def step(what: str, done: int, todo: int) -> None:
            progress.update(task, description=what, completed=done, total=todo or None)

        def say(text: str) -> None:
            console.print(f"umoja bench: {text}", markup=False, highlight=False)

        return run(plan, Teller(step=step, say=say))


def is_right(found: dict[str, Any]) -> bool:
    """Tell whether money balances and nothing that was answered is missing."""
    books = found["books"]
    return bool(books["balanced"] and books["every_answer_kept"])


def rates_of(text: str) -> tuple[float, ...]:
    """Read loads with commas between them, for example 2000,4000. Raise ValueError."""
    try:
        rates = tuple(float(word) for word in text.split(",") if word.strip())
    except ValueError:
        rates = ()
    if not rates or len(rates) > RATES_MAX or any(not 0 < rate <= 1e6 for rate in rates):
        raise ValueError(f"loads are 1 to {RATES_MAX} numbers above 0, with commas: 2000,4000,8000")
    return rates


def tables(found: dict[str, Any]) -> list[Table]:
    """Return everything a person wants to see of a bench."""
    made = [_figures(found)]
    if "medium" in found["baseline"]:
        made.append(_baseline(found))
    if found["open_loop"]:
        made.append(_loads(found))
    if "overload" in found:
        made.append(_overload(found["overload"]))
    if "start" in found:
        made.append(_start(found["start"]))
    made.append(_where(found))
    return made


def _figures(found: dict[str, Any]) -> Table:
    rows = [
        ("payments a second (median)", _rate(found["payments_per_s"])),
        ("of each repeat", ", ".join(_rate(each) for each in found["payments_per_s_all"])),
        ("spread", _with(found["spread_percent"], " %")),
        ("p50 / p99 / longest", " / ".join(_ms(found[w]) for w in ("p50_ms", "p99_ms", "max_ms"))),
        ("CPU a payment", _with(found["cpu_us_per_payment"], " µs")),
    ]
    if found["load_cpu_us_per_payment"]:
        rows.append(("CPU of the load", _with(found["load_cpu_us_per_payment"], " µs a payment")))
    rows += [
        ("completed, declined, failed", _counts(found)),
        ("memory", _with(found["memory_mb"], " MB")),
        ("books", _books(found["books"])),
    ]
    title = (
        f"{found['mode']} on {found['engine']}, {found['workload']}: {found['repeats']} repeats,"
        f" {found['customers']:,} customers of {found['market']}"
    )
    return title, ("what", "how much"), rows, found["how"]["what"]


def _baseline(found: dict[str, Any]) -> Table:
    baseline = found["baseline"]
    rows = []
    names = {
        "sql_ledger": "plain SQL ledger, one transaction a payment, fee account",
        "tpcb": "pgbench TPC-B",
    }
    for name, text in names.items():
        if name in baseline:
            rows.append((text, _rate(baseline[name]["per_s"]), _times(baseline, name)))
    if "medium" in baseline:
        medium = baseline["medium"]
        text = f"appends of {medium['bytes']} bytes, each synced"
        rows.append((text, _rate(medium["appends_per_s"]), _times(baseline, "medium")))
    note = baseline.get("why_no_postgres", "")
    return (
        "Baseline, just before on the same machine",
        ("what", "a second", "Umoja is"),
        rows,
        f"no PostgreSQL: {note}" if note else "",
    )


def _loads(found: dict[str, Any]) -> Table:
    rows = [
        (
            _rate(load["offered_per_s"]),
            _rate(load["payments_per_s"]),
            _ms(load["p50_ms"]),
            _ms(load["p99_ms"]),
            _ms(load["max_ms"]),
            f"{load['declined']} / {load['failed']}",
        )
        for load in found["open_loop"]
    ]
    columns = ("offered a second", "completed", "p50", "p99", "longest", "declined / failed")
    return "Offered loads", columns, rows, "lateness from when each payment was due"


def _start(start: dict[str, Any]) -> Table:
    rows = [
        ("until payments are taken", f"{start['seconds']} s"),
        ("books from checkpoint and tail", f"{start['books_s']} s"),
        ("limits likewise", f"{start['limits_s']} s"),
        ("lines behind the checkpoint", f"{start['tail_lines']:,} of {start['lines']:,}"),
        ("accounts", f"{start['accounts']:,}"),
        ("memory", _with(start["memory_mb"], " MB")),
    ]
    return "Start anew, in a process of its own", ("what", "how much"), rows, ""


def _overload(flood: dict[str, Any]) -> Table:
    refused = ", ".join(f"{count:,} with {status}" for status, count in flood["refused"].items())
    rows = [
        ("wanted a second", _rate(flood["wanted_per_s"])),
        ("sent a second", _rate(flood["offered_per_s"])),
        ("held back a second", _rate(flood["held_back_per_s"])),
        ("completed a second", _rate(flood["goodput_per_s"])),
        ("of the rate before", f"{flood['goodput_share']:.0%}"),
        ("refused", refused or "none"),
        ("slowest refusal", _ms(flood["slowest_refusal_ms"])),
        ("p99 of the completed", _ms(flood["p99_ms"])),
        ("memory before / after", f"{flood['memory_mb_before']} / {flood['memory_mb_after']} MB"),
        ("as usual again after", f"{flood['recovered_s']:g} s"),
    ]
    note = "held back: every connection waited for its answer, and the server read no more"
    return "Overload", ("what", "how much"), rows, note


def _where(found: dict[str, Any]) -> Table:
    machine, how = found["machine"], found["how"]
    rows = [
        ("machine", f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB"),
        ("load before", " ".join(str(each) for each in machine["load_before"])),
        ("system", machine["system"]),
        ("versions", ", ".join(f"{name} {what}" for name, what in found["versions"].items())),
        ("durability", ", ".join(f"{name} {what}" for name, what in how["durability"].items())),
    ]
    rows += [(name, str(how[name])) for name in ("batch", "window", "connections") if name in how]
    return "On what", ("what", "which"), rows, ""


def _counts(found: dict[str, Any]) -> str:
    return f"{found['payments']:,}, {found['declined']:,}, {found['failed']:,}"


def _books(books: dict[str, Any]) -> str:
    if not books["balanced"]:
        return f"NOT RIGHT: {'; '.join(books['breaches'])}"
    if not books["every_answer_kept"]:
        return f"NOT RIGHT: {books['lines_added']} new lines are fewer than the answers given"
    return f"right: {books['journal_lines']:,} lines, {books['proved_by']}"


def _times(baseline: dict[str, Any], name: str) -> str:
    times = baseline.get(f"times_{name}")
    return f"{times:g} times as fast" if times is not None else ""


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2f}"


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} ms" if value < 10 else f"{value:,.0f} ms"


def _with(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{value:,g}{unit}"
