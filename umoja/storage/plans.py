"""Plans: the numbered SQL files that this program brings, and what of them a database still lacks.

A plan is a named series of files, `migrations/<plan>/NNNN_pre_name.sql` or `NNNN_post_name.sql`;
several plans may live in one database. A `pre` file is safe while the program before it still runs,
a `post` file only once that program is gone. Files are written in one dialect for both databases;
where PostgreSQL needs other tables, a folder `<plan>_postgres` has its own.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from umoja.storage.port import Kind

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


def plan_for(plan: str, kind: Kind) -> str:
    """Return the plan's own name for a database, under which its migrations are remembered."""
    own = f"{plan}_{kind}"
    folder = resources.files("umoja.storage") / "migrations" / own
    return own if folder.is_dir() else plan


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
