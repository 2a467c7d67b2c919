"""The installation of the crash harness: a keeper with its processes, as production has them.

    python -m umoja.simulator.crash_server < settings, one line of JSON

It is production's own keeper; it only starts again sooner what is killed every few seconds.
"""

import ctypes
import signal
import sys
from typing import Any

import msgspec

from umoja import config
from umoja.faults import Fault
from umoja.keeper import run_apart
from umoja.logs import write_to_stderr

AGAIN_MOST_S = 0.4
_END_WITH_PARENT = 1  # prctl's PR_SET_PDEATHSIG


def main() -> int:
    """Serve until told to stop; return the exit code."""
    ctypes.CDLL(None).prctl(_END_WITH_PARENT, signal.SIGTERM)
    flags: dict[str, Any] = msgspec.json.decode(sys.stdin.buffer.readline())
    settings = config.read(file=None, environ={}, flags=flags)
    write_to_stderr(settings.log_level, process="keeper")
    try:
        return run_apart(settings, fronts=settings.fronts, again_most_s=AGAIN_MOST_S)
    except Fault as fault:
        sys.stderr.write(f"{fault}\n")
        return 69


if __name__ == "__main__":
    sys.exit(main())
