"""A house closes all of its files, whatever one of its parts meets."""

import pytest

from tests.ops.test_feeds import open_it
from umoja.clock import SystemClock
from umoja.faults import Busy
from umoja.signals import Signals


@pytest.mark.parametrize("part", ["recovery", "outgoing", "desk"])
async def test_a_part_that_fails_leaves_no_file_open(tmp_path, monkeypatch, part: str):
    house = open_it(tmp_path, SystemClock(), Signals())

    async def broken_later() -> None:
        raise KeyError("a bug")

    def broken() -> None:
        raise KeyError("a bug")

    match part:
        case "recovery":
            monkeypatch.setattr(house.recovery, "close", broken_later)
        case "outgoing":
            monkeypatch.setattr(house.outgoing, "close", broken)
        case "desk":
            monkeypatch.setattr(house.branch.desk, "close", broken_later)
    with pytest.raises(KeyError):
        await house.close()

    again = open_it(tmp_path, SystemClock(), Signals())  # nobody holds the journal
    await again.close()


async def test_a_checkpoint_that_cannot_be_written_stops_no_house_from_closing(
    tmp_path, monkeypatch
):
    house = open_it(tmp_path, SystemClock(), Signals())

    async def full() -> None:
        raise Busy("the disk is full")

    monkeypatch.setattr(house.branch.desk, "close", full)
    await house.close()
    await open_it(tmp_path, SystemClock(), Signals()).close()
