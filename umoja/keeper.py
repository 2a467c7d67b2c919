"""The keeper: starts an installation's processes, starts again what dies, and ends all in order.

It holds the data folder and the public socket, and does nothing else: it is small, so that it stays.
What runs is written to `processes.json` in the data folder.
"""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import msgspec
import structlog

from umoja.clock import SystemClock
from umoja.config import Config
from umoja.faults import Unavailable
from umoja.logs import write_to_stderr
from umoja.opening import begin_production, open_sql
from umoja.parties.clients import Clients
from umoja.payments.desk import Desk
from umoja.payments.link import listen
from umoja.posts import LINE_MAX, Duty, heard, settings_of
from umoja.premises import (
    BACKLOG,
    DataInUse,
    Keys,
    address_of,
    centre_socket,
    desk_socket,
    hold,
    holder,
    is_alive,
    is_held,
    listening,
    listening_locally,
    load_markets,
    require_production_ready,
    site_socket,
    staff_key_of,
    trunk_socket,
)

AGAIN_AFTER_S = 0.2
AGAIN_AFTER_MOST_S = 5.0
SHUT_AGAIN_MOST_S = 30.0
HEALTHY_AFTER_S = 10.0
FRONT_STOP_S = 1.5
STOP_S = 20.0  # a market writes its checkpoint
READY_WITHIN_S = 120.0
ENDING_WITHIN_S = 5.0  # of a killed keeper's processes
LOOK_EVERY_S = 0.1
FRONTS_MOST = 4  # where nobody said how many

PROCESSES = "processes.json"

log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class Post:
    """One process's place: what it is told, and how it stands."""

    module: str
    duty: Duty
    stop_s: float = STOP_S
    pid: int = 0
    since: datetime | None = None
    state: str = "starting"  # starting, reading (about says how far), ready, shut (why), away
    about: str = ""
    restarts: int = 0
    has_told: bool = False  # at least once that it is ready, or shut
    opened: set[str] | None = None
    carrier: int = 0  # the process that carries a market's receipts, which the market starts

    @property
    def role(self) -> str:
        return self.duty.role

    @property
    def market(self) -> str:
        return self.duty.markets[0] if self.duty.role == "market" else ""


class Keeper:
    """Keeps posts filled, from `start` to `stop`."""

    def __init__(
        self,
        posts: list[Post],
        *,
        data: Path,
        lock: IO[str] | None,
        again_most_s: float = AGAIN_AFTER_MOST_S,
    ) -> None:
        """Take the posts, in the order in which they start, and the file that holds the folder.

        What dies again and again is started after at most `again_most_s`.
        """
        self.posts = posts
        self._clock = SystemClock()
        self._since = self._clock.now()
        self._data = data
        self._lock = lock
        self._again_most_s = again_most_s
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()

    def start(self) -> None:
        for place, post in enumerate(self.posts):
            self._tasks[place] = asyncio.create_task(self._keep(post), name=post.duty.name)
        self._note()

    async def until(self, is_so: Callable[[], bool], *, within_s: float) -> bool:
        """Wait until something is so of the posts; tell whether it came about in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not is_so():
                    self._changed.clear()
                    await self._changed.wait()
        return is_so()

    async def stop(self) -> None:
        """End all: fronts first, so that what they handed over is answered; the centre last."""
        for role in ("front", "market", "centre"):
            going = [self._tasks[n] for n, post in enumerate(self.posts) if post.role == role]
            for task in going:
                task.cancel()
            await asyncio.gather(*going, return_exceptions=True)
        (self._data / PROCESSES).unlink(missing_ok=True)

    # One post

    async def _keep(self, post: Post) -> None:
        """Keep a post filled until cancelled; a process that dies is started again, later and later."""
        pause_s = AGAIN_AFTER_S
        loop = asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            code = await self._fill(post)
            if post.state == "shut":
                log.error("keeper.shut", process=post.duty.name, cause=post.about)
            else:
                log.error("keeper.died", process=post.duty.name, pid=post.pid, code=code)
                post.state, post.about = "away", f"ended with {code}"
            post.pid = 0
            post.has_told = True
            post.restarts += 1
            post.duty = msgspec.structs.replace(post.duty, is_again=True)
            self._note()
            if loop.time() - began_s >= HEALTHY_AFTER_S:
                pause_s = AGAIN_AFTER_S
            await asyncio.sleep(pause_s)
            most_s = SHUT_AGAIN_MOST_S if post.state == "shut" else self._again_most_s
            pause_s = min(pause_s * 2, most_s)

    async def _fill(self, post: Post) -> int:
        """Run a post's process to its end; return its exit code."""
        handed = [post.duty.listening] if post.duty.listening >= 0 else []
        if self._lock is not None:
            handed.append(self._lock.fileno())  # the folder is held until the last has ended
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            post.module,
            *post.duty.markets[: post.role == "market"],  # for people who list processes
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=handed,
            limit=LINE_MAX,
        )
        post.pid, post.since = process.pid, self._clock.now()
        post.state, post.opened = "starting", set()  # why it ended last stays told until it works
        self._note()
        try:
            assert process.stdin is not None, "it was asked for"
            process.stdin.write(msgspec.json.encode(post.duty) + b"\n")
            await self._listen(post, process)
            return await process.wait()
        except asyncio.CancelledError:
            await _end(process, within_s=post.stop_s)
            raise

    async def _listen(self, post: Post, process: asyncio.subprocess.Process) -> None:
        """Note what a process tells of itself, until it ends."""
        assert process.stdout is not None, "it was asked for"
        while line := await process.stdout.readline():
            try:
                told = heard(line)
            except msgspec.MsgspecError:
                log.warning("keeper.noise", process=post.duty.name)
                continue
            if told.word == "carrier":
                post.carrier = int(told.about)
            elif told.word == "open":
                assert post.opened is not None, "it was started"
                post.opened.add(told.about)
            else:
                post.state, post.about = told.word, told.about
                if told.word != "reading":
                    post.has_told = True
                elif sys.stderr.isatty():
                    sys.stderr.write(f"\r\033[K{post.duty.name}: {told.about}\r")
                    sys.stderr.flush()
            self._note()

    # What runs

    def _note(self) -> None:
        """Write down what runs, and let whoever waits look again."""
        self._changed.set()
        rows = [_row("keeper", "", os.getpid(), self._since, "ready", "", 0)]
        rows += [
            _row(
                post.role,
                post.market,
                post.pid,
                post.since,
                post.state,
                post.about,
                post.restarts,
            )
            for post in self.posts
        ]
        rows += [
            _row("receipts", post.market, post.carrier, None, "ready", "", 0)
            for post in self.posts
            if post.carrier and post.state == "ready"
        ]
        draft = self._data / f"{PROCESSES}.new"
        try:
            draft.write_text(json.dumps(rows, indent=1), "utf-8")
            draft.replace(self._data / PROCESSES)
        except OSError as cause:  # a full disk stops no process
            log.warning("keeper.unwritten", cause=str(cause))


def _row(
    role: str,
    market: str,
    pid: int,
    since: datetime | None,
    state: str,
    about: str,
    restarts: int,
) -> dict[str, Any]:
    return {
        "role": role,
        "market": market,
        "pid": pid,
        "since": since.isoformat(timespec="seconds") if since else "",
        "state": state,
        "about": about,
        "restarts": restarts,
    }


async def _end(process: asyncio.subprocess.Process, *, within_s: float) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(within_s):
            await process.wait()
    except TimeoutError:
        log.warning("keeper.killed", pid=process.pid)
        process.kill()
        await process.wait()


def running(data: Path) -> list[dict[str, Any]]:
    """Return what runs on a data folder, a row each; empty where nothing does.

    Raise Unavailable where what is written there cannot be read.
    """
    path = data / PROCESSES
    if not is_held(data):
        return []
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return [_row("all in one", "", holder(data), None, "ready", "", 0)]
    except (OSError, ValueError) as cause:
        raise Unavailable(f"{path} cannot be read: {cause}") from cause
    return rows


# All in one process, behind fronts


@asynccontextmanager
async def fronts_before(
    desks: Mapping[str, Desk], *, config: Config, at: socket.socket
) -> AsyncIterator[socket.socket]:
    """Run the configured fronts at a public socket; the hall serves at the one returned."""
    data = config.data
    desk_at, hall_at = desk_socket(data), site_socket(data)
    local = listening_locally(hall_at)
    at.listen(BACKLOG)
    server = await listen(desk_at, desks)
    duty = Duty(
        role="front",
        markets=list(desks),
        settings=settings_of(config),
        is_production=config.is_production,
        share_of=config.fronts,
        listening=at.fileno(),
        desks=dict.fromkeys(desks, str(desk_at)),
        sites=dict.fromkeys(desks, str(hall_at)),
        centre=str(hall_at),
    )
    keeper = Keeper(
        [_front(duty) for _ in range(config.fronts)],
        data=data,
        lock=None,
    )
    keeper.start()
    try:
        await keeper.until(lambda: _are_open(keeper.posts, desks), within_s=READY_WITHIN_S)
        yield local
    finally:
        await keeper.stop()
        server.close()
        at.close()
        local.close()
        for path in (desk_at, hall_at):
            path.unlink(missing_ok=True)


def _front(duty: Duty) -> Post:
    return Post(module="umoja.front", duty=duty, stop_s=FRONT_STOP_S)


def _are_open(posts: list[Post], markets: Mapping[str, Any]) -> bool:
    """Tell whether each front answers for each market, or has ended and will be started again."""
    return all(
        post.state == "away" or (post.state == "ready" and set(markets) <= (post.opened or set()))
        for post in posts
        if post.role == "front"
    )


# Processes apart


def serve_apart(config: Config, *, fronts: int, take_over: bool = False) -> int:
    """Run production mode, each market in a process of its own, until told to stop.

    Return the exit code. Raise NotForProduction, DataInUse, or Unavailable where no market opens.
    """
    write_to_stderr(config.log_level, process="keeper")
    markets = load_markets(config)
    require_production_ready(config, markets, has_asserts=__debug__)
    begin_production(config, list(markets), SystemClock())
    return run_apart(config, fronts=fronts, take_over=take_over)


def run_apart(
    config: Config,
    *,
    fronts: int,
    take_over: bool = False,
    again_most_s: float = AGAIN_AFTER_MOST_S,
) -> int:
    """Run an installation's processes until told to stop, whatever it is for; see serve_apart.

    `take_over` fences off writers whose leases on a database server still run. What dies again and
    again is started after at most `again_most_s`.
    """
    codes = list(load_markets(config))
    return asyncio.run(
        _serve_apart(config, codes, fronts, take_over=take_over, again_most_s=again_most_s)
    )


def fronts_of(config: Config) -> int:
    """Return how many fronts are wanted: as many as processors, a few, where nobody said."""
    if config.origins["fronts"] == "default":
        return max(1, min(len(os.sched_getaffinity(0)), FRONTS_MOST))
    return config.fronts


async def _serve_apart(
    config: Config, codes: list[str], fronts: int, *, take_over: bool, again_most_s: float
) -> int:
    at = listening(config)
    with await _held(config.data) as lock, closing(at):
        _prepare(config, codes)
        at.listen(BACKLOG)
        posts = _posts(config, codes, fronts, at)
        for post in posts if take_over else ():
            post.duty = msgspec.structs.replace(post.duty, is_again=True)
        keeper = Keeper(posts, data=config.data, lock=lock, again_most_s=again_most_s)
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, stopping.set)
        keeper.start()
        starting = asyncio.create_task(_started(keeper, config), name="starting")
        ending = asyncio.create_task(stopping.wait(), name="ending")
        try:
            await asyncio.wait({starting, ending}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
            await stopping.wait()
        finally:
            starting.cancel()
            ending.cancel()
            await keeper.stop()
            for path in _sockets(config.data, codes):
                path.unlink(missing_ok=True)
    return 0


async def _held(data: Path) -> IO[str]:
    """Hold the data folder, also where processes of a keeper that was killed still write its end.

    Raise DataInUse where they, or another Umoja, hold it for longer.
    """
    for _ in range(int(ENDING_WITHIN_S / LOOK_EVERY_S)):
        try:
            return hold(data)
        except DataInUse:
            if is_alive(holder(data)):
                raise
            await asyncio.sleep(LOOK_EVERY_S)
    return hold(data)


def _sockets(data: Path, codes: list[str]) -> list[Path]:
    found = [centre_socket(data), trunk_socket(data)]
    for code in codes:
        found += [desk_socket(data, code), site_socket(data, code)]
    return found


def _prepare(config: Config, codes: list[str]) -> None:
    """Make what all processes share before the first of them starts; prove that paths fit."""
    _sockets(config.data, codes)
    Keys.of(config)
    staff_key_of(config)
    Clients(open_sql(config, "clients"), clock=SystemClock()).close()


def _posts(config: Config, codes: list[str], fronts: int, at: socket.socket) -> list[Post]:
    settings = settings_of(config)
    data = config.data
    desks = {code: str(desk_socket(data, code)) for code in codes}
    sites = {code: str(site_socket(data, code)) for code in codes}

    def duty(role: str, markets: list[str], **rest: Any) -> Duty:
        only = settings | {"markets": markets}
        return Duty(
            role=role,
            markets=markets,
            settings=only,
            is_production=config.is_production,
            share_of=fronts,
            **rest,
        )

    posts = [Post(module="umoja.market_process", duty=duty("market", [code])) for code in codes]
    posts.append(Post(module="umoja.centre_process", duty=duty("centre", codes)))
    front = duty(
        "front",
        codes,
        listening=at.fileno(),
        desks=desks,
        sites=sites,
        centre=str(centre_socket(data)),
    )
    return posts + [_front(front) for _ in range(fronts)]


async def _started(keeper: Keeper, config: Config) -> None:
    """Say where it serves once every market has told how it stands and fronts know those that do.

    Raise Unavailable where none could be opened.
    """
    of_markets = [post for post in keeper.posts if post.role == "market"]
    await keeper.until(
        lambda: all(post.has_told for post in keeper.posts if post.role != "front"),
        within_s=READY_WITHIN_S,
    )
    opened = {post.market: post for post in of_markets if post.state == "ready"}
    for post in of_markets:
        if post.state == "reading":
            sys.stderr.write(f"{post.market} opens when its journal is read: {post.about}\n")
        elif post.state != "ready":
            sys.stderr.write(f"{post.market} is shut: {post.about or 'it does not start'}\n")
    if not opened and all(post.state != "reading" for post in of_markets):
        reasons = "; ".join(f"{post.market}: {post.about}" for post in of_markets)
        raise Unavailable(f"no market can be opened: {reasons}")
    await keeper.until(lambda: _are_open(keeper.posts, opened), within_s=READY_WITHIN_S)
    served = ", ".join(opened) or "nothing yet"
    sys.stderr.write(f"umoja serves {served} at {address_of(config)}\n")
    sys.stderr.flush()
