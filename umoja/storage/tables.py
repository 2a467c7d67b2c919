"""What tables a plan makes: their columns, their keys, and in which order they can be filled."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass

from umoja.storage.migrate import read_plan, statements


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table. `parent` is the column that points at another row of the same table, or ''.

    `has_own_numbers`: the database numbers the rows where nobody else does.
    """

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    parent: str = ""
    has_own_numbers: bool = False


def tables_of(plan: str) -> list[Table]:
    """Return the tables of a plan, each behind those that it refers to. Raise PlanBroken.

    The plan is played into an empty database in memory, which then is asked.
    """
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        for migration in read_plan(plan):
            for statement in statements(migration.sql):
                database.execute(statement)
        names = database.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            " ORDER BY name"
        ).fetchall()
        found = {name: _table(database, name) for (name,) in names}
        needs = {name: _needs(database, name) for name in found}
    ordered: list[Table] = []
    while len(ordered) < len(found):
        done = {table.name for table in ordered}
        ready = [name for name in found if name not in done and needs[name] <= done]
        assert ready, f"the tables of {plan} refer to each other in a ring"
        ordered.extend(found[name] for name in ready)
    return ordered


def _table(database: sqlite3.Connection, name: str) -> Table:
    columns = database.execute(f"PRAGMA table_info({name})").fetchall()
    key = sorted((place, column) for _, column, _, _, _, place in columns if place)
    parent = [
        source
        for _, _, target, source, *_ in database.execute(f"PRAGMA foreign_key_list({name})")
        if target == name
    ]
    return Table(
        name=name,
        columns=tuple(column for _, column, *_ in columns),
        key=tuple(column for _, column in key),
        parent=parent[0] if parent else "",
        has_own_numbers=[kind for *_, kind, _, _, place in columns if place] == ["INTEGER"],
    )


def _needs(database: sqlite3.Connection, name: str) -> set[str]:
    rows = database.execute(f"PRAGMA foreign_key_list({name})").fetchall()
    return {target for _, _, target, *_ in rows} - {name}
