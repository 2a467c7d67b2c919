"""The server of an http bench: the whole hall of one market in a process of its own, on loopback.

    python -m umoja.simulator.bench_server FOLDER MARKET PORT

As in production the receipts are carried by a process beside it. The database's URL comes on standard
input, an empty line for files. It says "ready" and its port on standard output once it answers, and
stops in order on SIGTERM.
"""

import asyncio
import ctypes
import logging
import signal
import sys
from dataclasses import replace
from pathlib import Path

import structlog

from umoja.app import Hall, stage_settings
from umoja.carrier import Carriage
from umoja.clock import SystemClock
from umoja.faults import Fault
from umoja.house import Background
from umoja.posts import Duty, settings_of
from umoja.premises import listening, load_markets
from umoja.serving import prepare_to_serve, serve_until_stopped

_END_WITH_PARENT = 1  # prctl's PR_SET_PDEATHSIG


def main(words: list[str]) -> int:
    """Serve until told to stop; return the exit code."""
    folder, market, port = words
    ctypes.CDLL(None).prctl(_END_WITH_PARENT, signal.SIGTERM)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        asyncio.run(_serve(Path(folder), market, int(port)))
    except Fault as fault:
        sys.stderr.write(f"{fault}\n")
        return 69
    return 0


async def _serve(folder: Path, market: str, port: int) -> None:
    database = sys.stdin.readline().strip()
    config = replace(stage_settings(folder, market, database=database), port=port)
    at = listening(config)
    hall = Hall(config=config, clock=SystemClock(), markets=load_markets(config), has_mail=False)
    background = Background()
    try:
        hall.start()
        for code, house in hall.houses.items():
            carriage = Carriage(
                duty=Duty(role="market", markets=[code], settings=settings_of(config)),
                branch=house.branch,
                directory=house.store,
                signals=hall.signals,
            )
            background.begin(f"receipts-{code}", carriage.run())

        def ready() -> None:
            sys.stdout.write(f"ready {at.getsockname()[1]}\n")
            sys.stdout.flush()

        prepare_to_serve()
        await serve_until_stopped(hall.site(), at=at, on_ready=ready)
    finally:
        await background.end()
        await hall.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
