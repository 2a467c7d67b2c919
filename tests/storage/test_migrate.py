"""Migrations on both databases: phases, repeats, edits, and a start that refuses to run behind them."""

import json
import threading
from contextlib import closing

import pytest

from umoja.cli import run
from umoja.opening import (
    NotMigrated,
    Place,
    opened,
    require_all_migrated,
    require_migrated,
    upgrade_all,
)
from umoja.storage import migrate as migrating
from umoja.storage import plans
from umoja.storage.migrate import DatabaseTooNew, Phase, PlanBroken, migrate, state, upgrade

FILES = {
    "0001_pre_first.sql": "CREATE TABLE first (id INTEGER PRIMARY KEY, word TEXT NOT NULL) STRICT;",
    "0002_pre_more.sql": "ALTER TABLE first ADD COLUMN more TEXT NOT NULL DEFAULT ';';",
    "0003_post_less.sql": "ALTER TABLE first DROP COLUMN word;",
    "0004_pre_last.sql": "CREATE TABLE last (id INTEGER PRIMARY KEY) STRICT;",
}


@pytest.fixture
def plan(monkeypatch):
    """Let the plan `words` have these files; return a way to have only some of them."""
    have = dict(FILES)
    real = plans.read_plan

    def read(name: str) -> list[plans.Migration]:
        return plans.ordered(name, have) if name == "words" else real(name)

    monkeypatch.setattr(migrating, "read_plan", read)

    def only(*numbers: int) -> None:
        have.clear()
        have.update({name: text for name, text in FILES.items() if int(name[:4]) in numbers})

    only.files = have
    return only


def test_a_new_database_gets_everything_and_a_repeat_nothing(database, clock, plan):
    names = [
        "words/0001_pre_first",
        "words/0002_pre_more",
        "words/0003_post_less",
        "words/0004_pre_last",
    ]
    assert state(database, "words").is_new
    assert migrate(database, "words", clock) == names
    assert migrate(database, "words", clock) == []
    assert state(database, "words") == migrating.State(
        plan="words", applied=tuple(names), pre=(), post=()
    )
    assert database.run("INSERT INTO first (more) VALUES ('x')") == 1


def test_a_start_applies_what_is_safe_beside_the_program_before(database, clock, plan):
    plan(1)
    migrate(database, "words", clock)
    plan(1, 2, 3, 4)

    found = state(database, "words")
    assert (found.pre, found.post) == (
        ("words/0002_pre_more",), ("words/0003_post_less", "words/0004_pre_last"),
    )  # fmt: skip
    assert migrate(database, "words", clock) == ["words/0002_pre_more"]
    assert migrate(database, "words", clock) == []
    database.run("INSERT INTO first (word) VALUES ('of the old program')")
    assert upgrade(database, "words", clock, phase=Phase.ALL) == [
        "words/0003_post_less", "words/0004_pre_last",
    ]  # fmt: skip
    assert database.has_table("last")


def test_an_edit_and_a_newer_program_are_refused(database, clock, plan):
    migrate(database, "words", clock)
    plan.files["0001_pre_first.sql"] += " -- edited"
    with pytest.raises(PlanBroken, match="words/0001_pre_first was edited"):
        migrate(database, "words", clock)
    plan(1, 2)
    with pytest.raises(DatabaseTooNew, match="0003_post_less was applied by a newer program"):
        migrate(database, "words", clock)


def test_a_file_that_fails_leaves_the_ones_before_it(database, clock, plan):
    plan.files["0002_pre_more.sql"] = (
        "CREATE TABLE half (id INTEGER) STRICT; INSERT INTO nowhere VALUES (1);"
    )
    with pytest.raises(Exception, match="nowhere"):
        migrate(database, "words", clock)
    assert database.has_table("first")
    assert not database.has_table("half")


def test_two_starts_at_once_apply_each_file_once(open_it, clock, plan):
    done: list[list[str]] = []
    both = [
        threading.Thread(target=lambda each=each: done.append(migrate(each, "words", clock)))
        for each in (open_it(), open_it())
    ]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert sorted(name for names in done for name in names) == [
        "words/0001_pre_first", "words/0002_pre_more", "words/0003_post_less", "words/0004_pre_last",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("1_pre_x.sql", "a name is"),
        ("0001_mid_x.sql", "a name is"),
        ("0001_pre_x.sql", "number is that"),
    ],
)
def test_a_file_with_a_bad_name_or_number_is_refused(name: str, reason: str):
    with pytest.raises(PlanBroken, match=reason):
        plans.ordered("words", {name: "", "0001_post_y.sql": ""})


def test_production_does_not_start_behind_its_migrations(tmp_path, clock):
    place = Place(data=tmp_path)
    require_migrated(place, ["KE"])  # nothing there: a start makes it
    with opened(place, "messages", "KE") as messages:
        migrate(messages, "messages", clock)
        last = state(messages, "messages").applied[-1]
        messages.run("DELETE FROM migrations WHERE name = :name", name=last)

    with pytest.raises(NotMigrated, match=r"KE: messages/.* run umoja migrate --pre"):
        require_migrated(place, ["KE"])
    with pytest.raises(NotMigrated, match="umoja migrate --post"):
        require_all_migrated(place, ["KE"])


def test_the_command_shows_the_state(tmp_path, clock, capsys):
    place = Place(data=tmp_path)
    with opened(place, "centre") as centre:
        migrate(centre, "centre", clock)
    words = ("migrate", "--data", str(tmp_path), "--json")
    assert run([*words, "--dry-run"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [(each["where"], each["plan"]) for each in shown["plans"]] == [("centre", "centre")]
    assert shown["plans"][0]["pre"] == []
    assert run(["migrate", "--pre", "--post"]) == 2
    assert "--post applies everything" in capsys.readouterr().err


def test_what_is_pending_is_applied_by_the_place(tmp_path, clock, monkeypatch, plan):
    place = Place(data=tmp_path)
    plan(1)
    monkeypatch.setattr("umoja.opening.SHARED_PLANS", (("centre", "words"),))
    with closing(_made(place, clock)):
        pass
    plan(1, 2, 3)
    assert upgrade_all(place, [], clock, phase=Phase.PRE) == [("centre", "words/0002_pre_more")]
    assert upgrade_all(place, [], clock, phase=Phase.ALL) == [("centre", "words/0003_post_less")]
    assert upgrade_all(place, [], clock, phase=Phase.ALL) == []


def _made(place, clock):
    from umoja.opening import open_sql

    database = open_sql(place, "centre")
    migrate(database, "words", clock)
    return database
