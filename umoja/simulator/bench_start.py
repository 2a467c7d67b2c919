"""The start of a market's money plane, timed in a process of its own: journal, limits, memory.

    python -m umoja.simulator.bench_start FOLDER MARKET

The database's URL comes on standard input, an empty line for files. It prints one JSON object.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from umoja.app import Settings, stage_settings
from umoja.clock import SystemClock
from umoja.faults import Unavailable
from umoja.markets import packs
from umoja.opening import open_ledger, open_sql
from umoja.parties.store import PartyStore
from umoja.payments.desk import Desk
from umoja.signals import Signals
from umoja.simulator.bench_machine import memory_mb
from umoja.switches import Switches


def started_anew(where: Settings, market: str) -> dict[str, Any]:
    """Start a market that was stopped, in another process; return how long that took.

    Raise Unavailable where it does not start.
    """
    done = subprocess.run(  # noqa: S603  its words are ours
        [sys.executable, "-m", "umoja.simulator.bench_start", str(where.data), market],
        input=f"{where.database}\n".encode(),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise Unavailable(f"it does not start again: {done.stderr.decode(errors='replace')[-300:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _start(where: Settings, market: str) -> dict[str, Any]:
    clock, pack = SystemClock(), packs.load(market)
    began = time.perf_counter()
    ledger = open_ledger(where, market, clock, take_over=True)
    folded = time.perf_counter()
    store = PartyStore(
        open_sql(where, "parties", market=market),
        market=pack,
        clock=clock,
        pin_key=where.pin_key.encode(),
    )
    desk = Desk(
        market=pack,
        directory=store,
        ledger=ledger,
        clock=clock,
        signals=Signals(),
        switches=Switches(),
        mark_key=where.mark_key.encode(),
    )
    ended = time.perf_counter()
    return {
        "seconds": round(ended - began, 2),
        "books_s": round(folded - began, 2),
        "limits_s": round(ended - folded, 2),
        "lines": desk.head,
        "tail_lines": desk.head - ledger.saved()[0],
        "accounts": len(ledger.state),
        "memory_mb": memory_mb(),
    }


if __name__ == "__main__":
    folder, code = sys.argv[1:]
    settings = stage_settings(Path(folder), code, database=sys.stdin.readline().strip())
    print(json.dumps(_start(settings, code)))  # noqa: T201  its one answer
