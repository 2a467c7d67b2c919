"""A hall that carries a released batch out, in a process of its own: it is killed in the middle of it."""

import asyncio
import sys
from pathlib import Path

from umoja.app import Hall, stage_settings
from umoja.clock import SystemClock
from umoja.markets import packs


async def carry_on(folder: Path, code: str) -> None:
    hall = Hall(
        config=stage_settings(folder, code),
        clock=SystemClock(),
        markets={code: packs.load(code)},
    )
    hall.start()
    while True:
        batch = hall.centre.make_good.batch(1)
        assert batch is not None
        print(batch.state, batch.counts.get("done", 0), flush=True)
        if batch.state == "done":
            break
        await asyncio.sleep(0.005)
    await hall.close()


if __name__ == "__main__":
    asyncio.run(carry_on(Path(sys.argv[1]), sys.argv[2]))
