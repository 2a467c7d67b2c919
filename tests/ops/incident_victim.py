"""A process that opens an incident and is killed: see test_incidents."""

import os
import signal
import sys
from pathlib import Path

from tests.ops.conftest import MARKETS, NOON
from tests.ops.weather import Weather
from umoja.clock import ManualClock
from umoja.markets import packs
from umoja.ops.centre import open_centre


def main() -> None:
    clock = ManualClock(NOON)
    markets = [packs.load(code) for code in MARKETS]
    centre = open_centre(Path(sys.argv[1]), clock=clock, markets=markets)
    weather = Weather(centre, clock, per_second=2.0, seed=1, lost_permille=0)
    weather.run(60)
    weather.is_dead = True
    weather.run(120)
    (incident,) = centre.incidents.open_ones()
    sys.stdout.write(f"{incident.id} {incident.payments} {incident.customers}\n")
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


main()
