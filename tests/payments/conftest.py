"""Stages of the markets that the tests of payments play on."""

from pathlib import Path

import pytest

from tests.stage import Stage, raised


@pytest.fixture
def ke(tmp_path: Path):
    stage = raised("KE", tmp_path / "ke")
    yield stage
    stage.close()


@pytest.fixture
def raise_stage(tmp_path: Path):
    stages: list[Stage] = []

    def make(code: str, **rest: object) -> Stage:
        stages.append(raised(code, tmp_path / f"{code}-{len(stages)}", **rest))
        return stages[-1]

    yield make
    for stage in stages:
        stage.close()
