"""Commands about old months: move them out of a journal, list their files, prove them."""

import sys
from typing import Annotated, Any

from cyclopts import App, Parameter

from umoja.commands.words import (
    OK,
    UNAVAILABLE,
    USAGE,
    WRONG,
    ConfigFile,
    Data,
    Database,
    Json,
    app,
    bar_shown,
    complain,
    config_of,
    print_json,
    print_table,
)

archive_app = App(
    name="archive", help="Old months of a journal, in compressed files that can still be read."
)
app.command(archive_app)

_COLUMNS = ("month", "first line", "last line", "lines", "file or state")


@archive_app.default
def archive(
    *,
    market: Annotated[str, Parameter(help="The market whose journal it is.")],
    before: Annotated[str, Parameter(help="The first month that stays, for example 2026-01.")],
    data: Data = None,
    database: Database = None,
    config: ConfigFile = None,
    dry_run: Annotated[
        bool, Parameter(negative="", help="Say what would be moved and change nothing.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Move a journal's months before a month into compressed files. The program may run meanwhile.

    Nothing leaves the journal before its file was synced and read back. Repeating it, also after it
    was cut off, is harmless. Statements and look-ups go on working: keep the files where they are.
    Example: umoja archive --market KE --before 2026-01
    """
    import re
    from contextlib import closing

    from umoja.clock import SystemClock, from_micros, to_micros
    from umoja.ledger.archive import Archivist
    from umoja.markets import packs as shelf
    from umoja.opening import open_archive, told_of

    code = market.upper()
    if not re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", before):
        complain(f"{before} is not a month: write it as 2026-01")
        return USAGE
    settings = config_of(config, {"data": data, "database": database})
    folder = settings.packs or shelf.PACKS
    if code not in shelf.codes(folder=folder):
        complain(f"there is no pack {code}: months are those of the market's own time")
        return USAGE
    found = shelf.load(code, folder=folder)
    now = SystemClock().now()
    if before > f"{found.local(now):%Y-%m}":
        complain(f"{before} has not begun: the month that runs stays in the journal")
        return USAGE
    try:
        store, files = open_archive(settings, code)
    except FileNotFoundError:
        complain(f"there is no journal of {code} in {told_of(settings)}")
        return UNAVAILABLE
    with closing(store), bar_shown() as bar:
        head = store.head()
        archivist = Archivist(
            store,
            files,
            market=code,
            month_of=lambda micros: f"{found.local(from_micros(micros)):%Y-%m}",
            now=to_micros(now),
            tell=lambda what, line: bar(f"{code}: {what}", line, head),
        )
        if dry_run:
            planned = archivist.plan(before)
            rows = [
                (each.month, each.first, each.last, each.lines, "would move") for each in planned
            ]
        else:
            heads = archivist.run(before)
            rows = [(each.month, each.first, each.last, each.lines, "moved") for each in heads]
    _tell(f"Archive of {code}", rows, as_json=as_json, note=f"files are in {files}")
    return OK


@archive_app.command(name="list")
def list_files(
    *,
    market: Annotated[str | None, Parameter(help="One market only.")] = None,
    data: Data = None,
    database: Database = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> int:
    """List the archive files of a market, or of all, with the lines that are in them.

    Example: umoja archive list --market KE
    """
    return _each(market, data, database, config, is_proof=False, as_json=as_json)


@archive_app.command
def verify(
    *,
    market: Annotated[str | None, Parameter(help="One market only.")] = None,
    data: Data = None,
    database: Database = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> int:
    """Read every archive file whole and say whether it is what was written. Exit code 1 if not.

    The lines that are still in the journal are proven by umoja books.
    Example: umoja archive verify --market KE
    """
    return _each(market, data, database, config, is_proof=True, as_json=as_json)


def _each(
    market: str | None, data: Any, database: Any, config: Any, *, is_proof: bool, as_json: bool
) -> int:
    from contextlib import closing

    from umoja.ledger.archive import verify_segment
    from umoja.ledger.chain import JournalDamaged
    from umoja.ledger.roll import Archive
    from umoja.opening import kept_markets, open_archive, told_of

    settings = config_of(config, {"data": data, "database": database})
    kept = kept_markets(settings)
    codes = [market.upper()] if market else kept
    report: list[dict[str, Any]] = []
    for code in codes:
        if code not in kept:
            complain(f"there is no journal of {code} in {told_of(settings)}")
            return UNAVAILABLE
        store, files = open_archive(settings, code)
        with closing(store), bar_shown() as bar:
            archive = Archive(files, store.segments)
            for segment in archive.segments:
                state = "listed"
                if is_proof:
                    bar(f"{code}: reading {segment.file}", segment.last, archive.last)
                    try:
                        verify_segment(archive, segment)
                        state = "whole"
                    except JournalDamaged as cause:
                        state = str(cause)
                report.append(
                    {
                        "market": code,
                        "file": segment.file,
                        "first": segment.first,
                        "last": segment.last,
                        "lines": segment.last - segment.first + 1,
                        "before": segment.before.hex(),
                        "after": segment.after.hex(),
                        "state": state,
                    }
                )
    is_whole = all(each["state"] in {"whole", "listed"} for each in report)
    if as_json:
        print_json({"whole": is_whole, "files": report} if is_proof else {"files": report})
    elif not report:
        sys.stdout.write("no month was archived yet\n")
    else:
        print_table(
            "Archive files",
            ("market", "file", "first line", "last line", "lines", "state"),
            [
                tuple(each[name] for name in ("market", "file", "first", "last", "lines", "state"))
                for each in report
            ],
        )
    return OK if is_whole else WRONG


def _tell(title: str, rows: list[tuple[Any, ...]], *, as_json: bool, note: str) -> None:
    if as_json:
        print_json(
            [dict(zip(("month", "first", "last", "lines", "state"), r, strict=True)) for r in rows]
        )
    elif rows:
        print_table(title, _COLUMNS, rows, note=note)
    else:
        sys.stdout.write("no whole month is due: a month leaves once a checkpoint is behind it\n")
