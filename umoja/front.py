"""A front: a process that takes requests, checks who asks, and hands orders to the hall's desks.

It holds no money and may be killed at any moment. What it does not answer itself goes on to the
hall. The hall's side is here too: `fronts_before` starts the processes, and starts again what died.
"""

import asyncio
import os
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from hashlib import sha256
from pathlib import Path

import msgspec
import structlog
import uvicorn

from umoja.channels.forward import Forward
from umoja.channels.hot import door, finder
from umoja.channels.native import Native
from umoja.clock import Clock, SystemClock
from umoja.faults import Unavailable
from umoja.logs import write_to_stderr
from umoja.markets import packs
from umoja.parties.clients import Clients
from umoja.parties.credentials import key_at
from umoja.parties.store import PartyStore
from umoja.payments.branch import Hatch
from umoja.payments.desk import Desk
from umoja.payments.link import FarDesk, Link, listen
from umoja.storage.database import Database

PATH_MAX = 107  # bytes of a local socket's path
BACKLOG = 2_048
LINK_WITHIN_S = 5.0
STOP_WITHIN_S = 1.5
AGAIN_AFTER_S = 0.2
AGAIN_AFTER_MOST_S = 5.0
HEALTHY_AFTER_S = 10.0

log = structlog.get_logger()


class Duty(msgspec.Struct, frozen=True, kw_only=True):
    """What a front is told when it starts, on its standard input, which stays open while the hall lives."""

    data: str
    packs: str
    markets: list[str]
    pin_key: str
    log_level: str
    listening: int


# The hall's side


def desk_socket(data: Path) -> Path:
    """Return where the desks listen. Raise Unavailable where the path is too long for a socket."""
    return _fitting(data.resolve() / "desk.sock")


def hall_socket(data: Path) -> Path:
    """Return where the hall listens for its fronts. Raise Unavailable as `desk_socket` does."""
    return _fitting(data.resolve() / "hall.sock")


def listening_locally(path: Path) -> socket.socket:
    """Return a bound local socket that only this user may open."""
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        path.unlink()  # an earlier hall's; the data folder is held by this one
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    bound.bind(str(path))
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    return bound


@asynccontextmanager
async def fronts_before(
    desks: Mapping[str, Desk],
    *,
    count: int,
    data: Path,
    own_packs: Path | None,
    pin_key: str,
    log_level: str,
    at: socket.socket,
) -> AsyncIterator[socket.socket]:
    """Run so many fronts at a public socket; the hall serves at the one returned."""
    desk_at = desk_socket(data)
    hall_at = listening_locally(hall_socket(data))
    hall_at.listen(BACKLOG)
    at.listen(BACKLOG)
    server = await listen(desk_at, desks)
    duty = Duty(
        data=str(data.resolve()),  # noqa: ASYNC240  once, at the start
        packs=str(own_packs.resolve()) if own_packs else "",  # noqa: ASYNC240
        markets=list(desks),
        pin_key=pin_key,
        log_level=log_level,
        listening=at.fileno(),
    )
    keeping = [asyncio.create_task(_keep_up(duty), name=f"front-{n}") for n in range(count)]
    try:
        yield hall_at
    finally:
        for task in keeping:
            task.cancel()
        await asyncio.gather(*keeping, return_exceptions=True)
        server.close()
        at.close()
        hall_at.close()
        for path in (desk_at, hall_socket(data)):
            path.unlink(missing_ok=True)


async def _keep_up(duty: Duty) -> None:
    """Keep one front running until cancelled; one that dies is started again, later and later."""
    pause_s = AGAIN_AFTER_S
    loop = asyncio.get_running_loop()
    while True:
        began_s = loop.time()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "umoja.front",
            stdin=asyncio.subprocess.PIPE,
            pass_fds=(duty.listening,),
        )
        try:
            assert process.stdin is not None, "it was asked for"
            process.stdin.write(msgspec.json.encode(duty) + b"\n")
            code = await process.wait()
        except asyncio.CancelledError:
            await _end(process)
            raise
        log.error("front.died", pid=process.pid, code=code)
        if loop.time() - began_s >= HEALTHY_AFTER_S:
            pause_s = AGAIN_AFTER_S
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, AGAIN_AFTER_MOST_S)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_WITHIN_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _fitting(path: Path) -> Path:
    if len(os.fsencode(path)) > PATH_MAX:
        raise Unavailable(
            f"{path} is too long for a local socket ({PATH_MAX} bytes): choose a shorter data folder"
        )
    return path


# The front's side


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _front(duty: Duty, life: asyncio.StreamReader) -> None:
    data = Path(duty.data)
    clock: Clock = SystemClock()
    clients = Clients(Database(data / "clients.db"), clock=clock)
    link = Link(desk_socket(data))
    key = sha256(duty.pin_key.encode()).digest() if duty.pin_key else key_at(data / "pin.key")
    folder = Path(duty.packs) if duty.packs else packs.PACKS
    hatches: dict[str, Hatch] = {}
    for code in duty.markets:
        market = packs.load(code, folder=folder)
        store = PartyStore(
            Database(data / code / "parties.db"),
            market=market,
            clock=clock,
            pin_key=sha256(key + code.encode()).digest(),
        )
        hatches[code] = Hatch(
            market=market, directory=store, desk=FarDesk(market=market, link=link)
        )
    native = Native(branches=hatches, clients=clients, clock=clock)
    server = _Server(
        uvicorn.Config(
            Forward(hall_socket(data)),
            log_config=None,
            access_log=False,
            http=door(finder(native)),
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=1,
            timeout_keep_alive=30,
        )
    )

    def stop() -> None:
        server.should_exit = True

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # Ctrl-C is the hall's to hear
    keeping = asyncio.create_task(link.run(), name="link")
    with_hall = asyncio.create_task(life.read(), name="life")
    with_hall.add_done_callback(lambda _: stop())  # it ends when the hall does, however that ends
    try:
        await server.serve(sockets=[socket.socket(fileno=duty.listening)])
    finally:
        keeping.cancel()
        with_hall.cancel()
        await asyncio.gather(keeping, with_hall, return_exceptions=True)


async def _main() -> None:
    life = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(life), sys.stdin.buffer
    )
    told = await life.readline()
    if told:
        duty = msgspec.json.decode(told, type=Duty)
        write_to_stderr(duty.log_level)
        await _front(duty, life)


if __name__ == "__main__":
    asyncio.run(_main())
