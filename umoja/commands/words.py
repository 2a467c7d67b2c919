"""What all commands share: the application, its common options, and how answers are printed."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter
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
drill_app = App(name="drill", help="Play faults and see what the centre makes of them.")
ops_app = App(
    name="ops",
    help="The operations centre: tokens of machines, vendors' status pages, second factors of staff.",
)
watch_app = App(name="watch", help="The detectors, on a series of your own.")
app.command(market_app)
app.command(audit_app)
app.command(client_app)
app.command(ops_app)
app.command(watch_app)
app.command(drill_app)

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


class Refused(Exception):
    """The configuration cannot be used."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def config_of(file: Path | None, flags: dict[str, Any], *, is_production: bool = False) -> "Config":
    import os

    from umoja import config as settings

    try:
        return settings.read(
            file=file, environ=os.environ, flags=flags, is_production=is_production
        )
    except settings.ConfigFaulty as cause:
        raise Refused(cause.faults) from cause


def clients_of(config: "Config") -> Any:
    from contextlib import closing

    from umoja.clock import SystemClock
    from umoja.opening import open_sql
    from umoja.parties.clients import Clients

    return closing(Clients(open_sql(config, "clients"), clock=SystemClock()))


def centre_parts_of(config: "Config") -> Any:
    """Open the tokens of machines and the vendors' pages, also beside an installation that runs.

    Raise Unavailable where there is none.
    """
    from umoja.opening import kept_markets
    from umoja.ops.machines import Machines
    from umoja.ops.vendor_pages import VendorPages

    return _centre(
        config,
        lambda database, clock, audit: (
            Machines(database, clock=clock, audit=audit),
            VendorPages(database, clock=clock, markets=kept_markets(config), take=lambda _: None),
        ),
    )


def staff_of(config: "Config") -> Any:
    """Open staff, also beside an installation that runs. Raise Unavailable where there is none."""
    from umoja.opening import kept_markets
    from umoja.ops.staff import Staff

    return _centre(
        config,
        lambda database, clock, audit: Staff(
            database, clock=clock, audit=audit, markets=kept_markets(config)
        ),
    )


@contextmanager
def _centre(config: "Config", parts: Callable[[Any, Any, Any], Any]) -> Iterator[Any]:
    """Open the centre's tables and yield what `parts` makes of database, clock and audit log."""
    from umoja.clock import SystemClock
    from umoja.faults import Unavailable
    from umoja.opening import is_there, opened, told_of
    from umoja.ops.audit import AuditLog
    from umoja.storage.migrate import migrate

    if not is_there(config, "centre"):
        raise Unavailable(f"there is no centre in {told_of(config)}: start with umoja up")
    clock = SystemClock()
    with opened(config, "centre") as database:
        migrate(database, "centre", clock)
        yield parts(database, clock, AuditLog(database, clock=clock))


def faults_counted(faults: int) -> str:
    return "good" if not faults else "1 fault" if faults == 1 else f"{faults} faults"


def complain(text: str) -> None:
    sys.stderr.write(f"umoja: {text}\n")


def print_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False, default=str)
    sys.stdout.write("\n")


def print_table(title: str, columns: Any, rows: Any, *, note: str = "") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, caption=note or None, title_justify="left", caption_justify="left")
    for column in columns:
        table.add_column(str(column))
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def progress_shown(title: str) -> Any:
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


def bar_shown() -> Any:
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
