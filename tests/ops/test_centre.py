"""The centre as a whole: what opens it, and what it leaves alone."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ops.weather import Weather
from tests.postgres import tables
from umoja.clock import ManualClock
from umoja.ops.centre import Centre, open_centre
from umoja.storage.database import DatabaseDamaged


def test_looking_into_the_file_of_a_running_centre_changes_and_prints_nothing(
    opened: Callable[..., Centre], clock: ManualClock, tmp_path: Path, capsys
):
    running = opened()
    weather = Weather(running, clock, per_second=3.0, seed=1)
    weather.is_dead = True
    weather.run(120)
    running.audit.record(actor="asha", action="see_audit")
    capsys.readouterr()

    visitor = open_centre(tables(tmp_path / "centre.db"), clock=clock, markets=[])
    verified = visitor.audit.verify()
    visitor.watch.look()
    visitor.close()

    assert (verified.entries, verified.broken_at) == (1, None)
    assert capsys.readouterr().out == ""
    assert [each.state for each in running.incidents.recent()] == ["open"]
    running.close()
    running.close()


def test_a_market_that_is_not_run_keeps_its_incident(
    opened: Callable[..., Centre], clock: ManualClock, tmp_path: Path
):
    running = opened()
    weather = Weather(running, clock, per_second=3.0, seed=1)
    weather.is_dead = True
    weather.run(120)
    running.close()

    without = open_centre(tables(tmp_path / "centre.db"), clock=clock, markets=[])
    without.watch.look()

    assert [each.market for each in without.incidents.open_ones()] == ["KE"]
    without.close()


def test_a_damaged_file_is_named(clock: ManualClock, tmp_path: Path):
    (tmp_path / "centre.db").write_bytes(b"this is no database at all, only words" * 100)

    with pytest.raises(DatabaseDamaged, match=r"centre\.db"):
        open_centre(tmp_path / "centre.db", clock=clock, markets=[])


def test_figures_of_a_market_that_is_not_watched_are_a_mistake(centre: Centre):
    assert centre.telemetry.markets == ("KE", "GH")
    with pytest.raises(KeyError):
        centre.telemetry.figures("XX")
