"""Brings a database to the form this program needs: numbered SQL files, forward only.

A start applies what is safe beside the program before it (`pre`), up to the first file that is not;
the rest (`post`) waits for `umoja migrate --post`. A database in which nothing was applied yet gets
all of it. See umoja.storage.plans for the files.
"""

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from umoja.clock import Clock, to_micros
from umoja.storage.dialect import for_postgres
from umoja.storage.plans import (
    DatabaseTooNew,
    Migration,
    PlanBroken,
    ordered,
    plan_for,
    read_plan,
    still_open,
)
from umoja.storage.port import Sql

__all__ = [
    "DatabaseTooNew",
    "Migration",
    "Phase",
    "PlanBroken",
    "State",
    "apply",
    "migrate",
    "ordered",
    "pending",
    "read_plan",
    "state",
    "still_open",
    "upgrade",
]


class Phase(Enum):
    """Which files are applied. PRE stops before the first file that is not; POST does all."""

    PRE = "pre"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How far a plan has come in a database: names of its files, in order."""

    plan: str
    applied: tuple[str, ...]
    pre: tuple[str, ...]
    """Safe to apply now, beside the program before this one."""
    post: tuple[str, ...]
    """Waits until no older program runs; with it, whatever comes behind."""

    @property
    def is_new(self) -> bool:
        """Tell whether nothing was ever applied here."""
        return not self.applied


def migrate(database: Sql, plan: str, clock: Clock) -> list[str]:
    """Make a database ready for this program, as a start does; return the names applied.

    Each file is applied in a transaction of its own. Repeating it, also from two processes at once,
    applies nothing twice. Raise PlanBroken where an applied file was edited or is out of order;
    raise whatever the SQL raised, with the files before it kept.
    """
    found = state(database, plan)
    return upgrade(database, plan, clock, phase=Phase.ALL if found.is_new else Phase.PRE)


def upgrade(database: Sql, plan: str, clock: Clock, *, phase: Phase) -> list[str]:
    """Apply the files of a phase that are pending: see `migrate`."""
    own = plan_for(plan, database.kind)
    migrations = read_plan(own)
    if phase is Phase.PRE:
        found = state(database, plan)
        wanted = {*found.applied, *found.pre}
        migrations = [each for each in migrations if each.name in wanted]
    return apply(database, migrations, plan=own, clock=clock)


def state(database: Sql, plan: str) -> State:
    """Return how far a plan has come. Nothing is written. Raise PlanBroken."""
    own = plan_for(plan, database.kind)
    migrations = read_plan(own)
    todo = _open(database, migrations, own)
    first_post = next((place for place, each in enumerate(todo) if each.is_post), len(todo))
    return State(
        plan=plan,
        applied=tuple(each.name for each in migrations if each not in todo),
        pre=tuple(each.name for each in todo[:first_post]),
        post=tuple(each.name for each in todo[first_post:]),
    )


def pending(database: Sql, plan: str) -> list[str]:
    """Return the names of all files not applied yet, in order. Raise PlanBroken."""
    found = state(database, plan)
    return [*found.pre, *found.post]


def apply(database: Sql, migrations: list[Migration], *, plan: str, clock: Clock) -> list[str]:
    """Apply those of the given migrations that are pending: see `migrate`."""
    if not _open(database, migrations, plan):
        return []  # who may not make tables may still use them
    database.run(_defined(database, _MIGRATIONS))
    names = []
    for migration in _open(database, migrations, plan):
        with database.transaction():
            # Another process may have applied it between our look and our lock.
            if migration not in _open(database, migrations, plan):
                continue
            for statement in statements(migration.sql):
                database.run(_defined(database, statement))
            database.run(
                "INSERT INTO migrations VALUES (:name, :now, :sha256)",
                name=migration.name,
                now=to_micros(clock.now()),
                sha256=migration.sha256,
            )
        names.append(migration.name)
    return names


_MIGRATIONS = (
    "CREATE TABLE IF NOT EXISTS migrations ("
    " name TEXT PRIMARY KEY, applied_at INTEGER NOT NULL, sha256 TEXT NOT NULL"
    ") STRICT, WITHOUT ROWID"
)


def _defined(database: Sql, statement: str) -> str:
    return for_postgres(statement) if database.kind == "postgres" else statement


def _open(database: Sql, migrations: list[Migration], plan: str) -> list[Migration]:
    """Return what is not applied yet: see `still_open`."""
    return still_open(migrations, _applied(database, plan))


def _applied(database: Sql, plan: str) -> dict[str, str]:
    if not database.has_table("migrations"):
        return {}
    rows = database.query(
        "SELECT name, sha256 FROM migrations WHERE name LIKE :start",
        start=f"{plan}/%",
    )
    return {row["name"]: row["sha256"] for row in rows}


def statements(sql: str) -> Iterator[str]:
    """Yield the statements of a script one by one: triggers and texts with semicolons stay whole.

    The library's own way of running a script commits in between; a migration must not.
    """
    gathered = ""
    for piece in re.split(r"(?<=;)", sql):
        gathered += piece
        if sqlite3.complete_statement(gathered):
            if _says_something(gathered):
                yield gathered.strip()
            gathered = ""
    if _says_something(gathered):
        yield gathered.strip()


def _says_something(text: str) -> bool:
    return bool(re.sub(r"--[^\n]*|/\*.*?\*/|[\s;]", "", text, flags=re.DOTALL))
