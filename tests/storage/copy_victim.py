"""A copy that ends itself as kill -9 does after so many steps: `copy_victim.py FROM TO DATA STEPS`."""

import os
import signal
import sys
from pathlib import Path

from umoja.clock import SystemClock
from umoja.copying import copy, place_of


def main() -> None:
    source, target, data, steps = sys.argv[1:]
    left = int(steps)

    def step(_what: str, _done: int, _total: int) -> None:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    places = [place_of(text, data=Path(data)) for text in (source, target)]
    proof = copy(*places, clock=SystemClock(), page=25, lease_s=1, step=step)
    sys.stdout.write(proof.told)


if __name__ == "__main__":
    main()
