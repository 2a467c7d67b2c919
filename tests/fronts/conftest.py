"""Short folders for local sockets, a stage behind one, and patience without timing."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stage import Stage, raised

PATIENCE_S = 20.0


@pytest.fixture
def short():
    """Return a folder whose path leaves room for a socket's name."""
    folder = Path(tempfile.mkdtemp(prefix="uf"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def ke(tmp_path: Path):
    stage: Stage = raised("KE", tmp_path / "ke")
    yield stage
    stage.close()


@pytest.fixture
def until():
    """Return what waits in the loop until something is so."""

    async def wait(what: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not what():
                await asyncio.sleep(0.005)

    return wait
