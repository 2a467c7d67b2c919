"""What every test leaves behind it: logs go where they went before."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """Undo what a command set up in this process: its stream may be closed by the next test."""
    yield
    structlog.reset_defaults()
