"""Commands about market packs: check, make, show."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from umoja.commands.words import (
    OK,
    USAGE,
    WRONG,
    Json,
    complain,
    faults_counted,
    market_app,
    print_json,
    print_table,
)


@market_app.command
def check(code: str | None = None, *, packs: Path | None = None, as_json: Json = False) -> int:
    """Check one market pack or all; name file, table and row of each fault.

    Example: umoja market check KE
    """
    from umoja.markets import packs as shelf

    folder = packs or shelf.PACKS
    codes = [code.upper()] if code else list(shelf.codes(folder=folder))
    if not codes:
        complain(f"there is no pack in {folder}")
        return USAGE
    found: dict[str, list[str]] = {}
    for each in codes:
        if not (folder / each).is_dir():
            complain(f"there is no pack {each}; known are {', '.join(shelf.codes(folder=folder))}")
            return USAGE
        found[each] = [str(fault) for fault in shelf.check(folder / each)]
    if as_json:
        print_json(found)
    for each, faults in () if as_json else found.items():
        sys.stdout.write(f"{each}: {faults_counted(len(faults))}\n")
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
        complain(str(cause))
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
        complain(f"there is no pack {code}; known are {', '.join(shelf.codes(folder=folder))}")
        return USAGE
    found = shelf.load(code.upper(), folder=folder)
    try:
        wanted = date.fromisoformat(day) if day else found.business_day(SystemClock().now())
    except ValueError:
        complain(f"{day} is not a day: write it as 2026-03-31")
        return USAGE
    made = tables(found, wanted)
    if as_json:
        print_json(
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
        print_table(each.title, each.columns, each.rows, note=each.note)
    return OK
