"""Logs: how every process of ours writes what happens. Never a PIN, a secret or a full number.

A trace is written as text with places only: the library's own default would show the values of
local variables, and there may be a PIN among them.
"""

import logging
import sys
from typing import Any

import structlog


def write_to_stderr(level: str, *, process: str = "") -> None:
    """Write what happens to stderr: for people on a terminal, as JSON for machines.

    Processes of one installation share the stream: each says its name, and writes whole lines.
    """
    is_terminal = sys.stderr.isatty()

    def named(_logger: Any, _method: str, event: Any) -> Any:
        return event | {"process": process} if process else event

    structlog.configure(
        processors=[
            named,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer() if is_terminal else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s %(message)s")
