"""Brings a database file to the form this program needs: numbered SQL files, forward only.

A plan is a named series of files, `migrations/<plan>/NNNN_pre_name.sql` or `NNNN_post_name.sql`;
several plans may live in one database file. A `pre` file is safe while the program before it still
runs, a `post` file only once that program is gone.
"""

import hashlib
import re
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources

from umoja.clock import Clock, to_micros
from umoja.storage.database import Database

_NAME = re.compile(r"(?P<number>[0-9]{4})_(?P<phase>pre|post)_[a-z0-9_]+\.sql")


class PlanBroken(RuntimeError):
    """The files and what the database remembers of them do not agree: nothing was changed."""


class DatabaseTooNew(PlanBroken):
    """A newer program has finished its upgrade here: this one may not use the database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One file of a plan. `name` is 'plan/NNNN_phase_name', as the database remembers it."""

    name: str
    number: int
    is_post: bool
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrate(database: Database, plan: str, clock: Clock) -> list[str]:
    """Apply what is pending, each file in a transaction of its own; return the names applied.

    Repeating it, also from two processes at once, applies nothing twice. Raise PlanBroken where an
    applied file was edited or is out of order; raise whatever the SQL raised, with the files before
    it kept.
    """
    return apply(database, read_plan(plan), plan=plan, clock=clock)


def pending(database: Database, plan: str) -> list[str]:
    """Return the names that `migrate` would apply, in order. Raise PlanBroken as it would."""
    return [each.name for each in _open(database, read_plan(plan), plan)]


def read_plan(plan: str) -> list[Migration]:
    """Return the files of a plan in order, as the program brings them. Raise PlanBroken."""
    folder = resources.files("umoja.storage") / "migrations" / plan
    if not folder.is_dir():
        raise PlanBroken(f"there is no plan {plan}")
    return ordered(
        plan,
        {
            entry.name: entry.read_text(encoding="utf-8")
            for entry in folder.iterdir()
            if entry.name.endswith(".sql")
        },
    )


def ordered(plan: str, files: dict[str, str]) -> list[Migration]:
    """Return the migrations of files given by name. Raise PlanBroken for a name or number amiss."""
    migrations: list[Migration] = []
    for file_name, sql in sorted(files.items()):
        found = _NAME.fullmatch(file_name)
        if found is None:
            raise PlanBroken(f"{plan}/{file_name}: a name is NNNN_pre_words.sql or NNNN_post_…")
        migration = Migration(
            name=f"{plan}/{file_name.removesuffix('.sql')}",
            number=int(found["number"]),
            is_post=found["phase"] == "post",
            sql=sql,
        )
        if migrations and migrations[-1].number == migration.number:
            raise PlanBroken(f"{migration.name}: its number is that of {migrations[-1].name}")
        migrations.append(migration)
    return migrations


def apply(database: Database, migrations: list[Migration], *, plan: str, clock: Clock) -> list[str]:
    """Apply those of the given migrations that are pending: see `migrate`."""
    database.run(
        "CREATE TABLE IF NOT EXISTS migrations ("
        " name TEXT PRIMARY KEY, applied_at INTEGER NOT NULL, sha256 TEXT NOT NULL"
        ") STRICT, WITHOUT ROWID"
    )
    names = []
    for migration in _open(database, migrations, plan):
        with database.transaction():
            # Another process may have applied it between our look and our lock.
            if migration not in _open(database, migrations, plan):
                continue
            for statement in statements(migration.sql):
                database.run(statement)
            database.run(
                "INSERT INTO migrations VALUES (:name, :now, :sha256)",
                name=migration.name,
                now=to_micros(clock.now()),
                sha256=migration.sha256,
            )
        names.append(migration.name)
    return names


def _open(database: Database, migrations: list[Migration], plan: str) -> list[Migration]:
    """Return what is not applied yet: see `still_open`."""
    return still_open(migrations, _applied(database, plan))


def still_open(migrations: list[Migration], applied: Mapping[str, str]) -> list[Migration]:
    """Return what is not applied yet, once it is sure that what is applied is what we know.

    `applied` are the names that a database remembers, each with its digest. Raise PlanBroken.
    """
    for migration in migrations:
        digest = applied.get(migration.name)
        if digest is not None and digest != migration.sha256:
            raise PlanBroken(
                f"{migration.name} was edited after it had been applied:"
                " put it back as it was and write a new one"
            )
    for name in sorted(applied.keys() - {migration.name for migration in migrations}):
        if "_post_" in name:
            raise DatabaseTooNew(f"{name} was applied by a newer program: start that one")
    todo = [migration for migration in migrations if migration.name not in applied]
    latest = max((each.number for each in migrations if each.name in applied), default=0)
    for migration in todo:
        if migration.number < latest:
            raise PlanBroken(f"{migration.name} came after number {latest:04d} had been applied")
    return todo


def _applied(database: Database, plan: str) -> dict[str, str]:
    known = database.one("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'migrations'")
    if known is None:
        return {}
    rows = database.query(
        "SELECT name, sha256 FROM migrations WHERE substr(name, 1, length(:start)) = :start",
        start=f"{plan}/",
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
