"""Markets for the simulator's tests, on real parts and a clock that is moved by hand."""

from pathlib import Path

import pytest

from tests.stage import Stage, raised


@pytest.fixture
def raise_stage(tmp_path: Path):
    stages: list[Stage] = []

    def make(code: str, **rest: object) -> Stage:
        stages.append(raised(code, tmp_path / f"{code}-{len(stages)}", **rest))
        return stages[-1]

    yield make
    for stage in stages:
        stage.close()
