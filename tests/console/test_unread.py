"""What people read where the centre's own file is damaged: that payments go on, and never that all is well."""

import pytest

from tests.console.conftest import PASSWORD, Desk
from tests.console.test_alarm_pages import DISK, fires, silenced


def damage(desk: Desk) -> None:
    """Overwrite the centre's file behind its back, and let go of what is remembered of it."""
    database = desk.centre._database
    database._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    path = database.path
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * (path.stat().st_size - 100))
    database._writer.execute("PRAGMA shrink_memory")


@pytest.mark.parametrize(
    "path",
    [
        "/incidents",
        "/incidents/INC-000001",
        "/objectives",
        "/on-call",
        "/on-call/swaps",
        "/staff",
        "/tokens",
        "/audit",
        "/account",
    ],
)
async def test_a_damaged_file_is_a_page_that_says_so_and_not_a_bug(desk: Desk, path: str):
    await desk.enter("amina", "administrator")
    damage(desk)
    answer = await desk.get(path)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "15")
    assert "The centre cannot read its records now" in answer.text
    assert "Payments go on" in answer.text
    assert (await desk.get(path, accept="*/*")).text == "The centre cannot read its records now"


async def test_the_wall_goes_on_and_nobody_is_let_in(desk: Desk):
    desk.gauge()
    await desk.enter("amina", "administrator")
    damage(desk)
    assert (await desk.get("/")).status_code == 200
    answer = await desk.post("/sign-in", name="amina", password=PASSWORD)
    assert answer.status_code == 503
    assert "/sign-out" not in answer.text


async def test_alarms_and_silences_stand_in_memory_and_are_shown(desk: Desk):
    await desk.enter("amina", "engineer")
    fires(desk, DISK)
    await silenced(desk)
    damage(desk)
    alarms = (await desk.get("/alarms")).text
    assert "0 alarms are loud, 1 is muted" in alarms
    assert "The centre cannot read its records now" in alarms
    assert "a planned move" in (await desk.get("/silences")).text
