"""The rooms' own tests once more, with their tables on PostgreSQL instead of in files."""

import os
import subprocess
import sys

import pytest

from tests.postgres import ON_POSTGRES, shared
from tests.storage.installation import ROOT

ROOMS = ("tests/parties", "tests/ops", "tests/channels_sms")


@pytest.mark.bench
@pytest.mark.timeout(600)
@pytest.mark.parametrize("room", ROOMS)
def test_a_room_keeps_its_promises_on_postgresql(room: str):
    shared()  # skips, with its reason, where no PostgreSQL can be had
    done = subprocess.run(
        [sys.executable, "-m", "pytest", room, "-q", "-x", "-p", "no:cacheprovider"],
        check=False, capture_output=True, text=True, timeout=590, cwd=ROOT,
        env={**os.environ, ON_POSTGRES: "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
