"""Where the crash harness plays: an installation with people and money, its server, its database.

All of it is the harness's own and is thrown away, and all of it is real: files on the disk, processes
that can be killed, a PostgreSQL that is durable.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import msgspec

from umoja.app import Hall, stage_settings
from umoja.clock import SystemClock
from umoja.config import Config
from umoja.faults import Unavailable
from umoja.keeper import running
from umoja.parties.clients import SCOPES
from umoja.posts import settings_of
from umoja.premises import load_markets
from umoja.simulator.bench_postgres import Cluster, NoPostgres
from umoja.simulator.bench_stage import Ground, register, settle

HOST = "127.0.0.1"
START_S = 120.0
STOP_S = 60.0
BACK_S = 90.0  # for a process that was killed to be there again
LOOK_S = 0.02
ROLES = {"writer": "market", "front": "front", "centre": "centre", "disk": "market"}


class MortalCluster(Cluster):
    """A private PostgreSQL that can be killed and started again on the same files."""

    def kill(self) -> int:
        """End the server where it stands, as a power cut does to it; return its process."""
        assert self._server is not None, "it is running"
        process = self._server.pid
        self._server.kill()
        self._server.wait()
        return process

    def revive(self) -> None:
        """Start it again; what is left of its processes may need a moment to go. Raise NoPostgres."""
        deadline = time.monotonic() + BACK_S
        while True:
            try:
                self._start()
            except NoPostgres:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return

    def backends(self) -> list[int]:
        """Return the processes that serve a session of the installation's."""
        parent = self.process
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                stat = (entry / "stat").read_text().rpartition(") ")[2].split()
                if int(stat[1]) == parent and b": umoja " in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
        return sorted(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a client needs to ask: where, as whom."""

    port: int
    client: str
    secret: str


class Site:
    """One installation under fire. Use it with `with`: nothing is left running."""

    def __init__(
        self, ground: Ground, folder: Path, *, fronts: int, port: int, cluster: MortalCluster | None
    ) -> None:
        """Plan it; entering makes people and money, and starts the processes. Raise Unavailable."""
        self.ground = ground
        self.folder = folder
        self.cluster = cluster
        self._port = port
        config = stage_settings(folder / "data", ground.market.code)
        self.config: Config = replace(
            config,
            fronts=fronts,
            port=port,
            host=HOST,
            database=cluster.url if cluster else "",
            log_level="info",
        )
        self._server: subprocess.Popen[bytes] | None = None
        self._rest = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            client, secret = self._prepare()
            log = stack.enter_context((self.folder / "server.log").open("ab"))
            self._server = _started(self.config, log.fileno())
            stack.callback(self.stop)
            self._wait(self._are_all_ready, START_S, "the installation does not start")
            self.access = Access(port=self._port, client=client, secret=secret)
            self._rest = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._rest.close()

    def _prepare(self) -> tuple[str, str]:
        """Make everybody, their money, and a client; return its id and secret."""
        ground, clock = self.ground, SystemClock()
        self.config.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        hall = Hall(config=self.config, clock=clock, markets=load_markets(self.config))
        code = ground.market.code
        try:
            if code not in hall.houses:
                raise Unavailable(f"the market cannot be opened: {hall.shut.get(code)}")
            house = hall.houses[code]
            register(ground, house.store, pins=True, step=_silent)
            settle(ground, house.ledger, clock, step=_silent)
            return hall.clients.register(name="crash", market=code, scopes=SCOPES)
        finally:
            asyncio.run(hall.close())

    # Killing

    def candidates(self, what: str) -> list[int]:
        """Return the processes of a kind that run now: writer, front, centre, backend or database.

        For `disk` it is the writer, whose disk is made to fail.
        """
        if what == "database":
            return [self.cluster.process] if self.cluster else []
        if what == "backend":
            return self.cluster.backends() if self.cluster else []
        rows = [row for row in self._rows() if row["role"] == ROLES[what] and row["pid"]]
        # One that is starting has no commit on its way: its disk may fail later.
        return [row["pid"] for row in rows if what != "disk" or row["state"] == "ready"]

    def kill(self, what: str, pid: int) -> None:
        """Kill -9 one process of those that `candidates` named; a database is started again."""
        if what == "database":
            assert self.cluster is not None, "it was named"
            self.cluster.kill()
            self.cluster.revive()
            return
        if what == "disk":
            _fail_syncs(pid)
            return
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def wait_back(self, *, gone: int) -> None:
        """Wait until everything is ready again, and another process is in the killed one's place.

        Raise Unavailable where it does not come back.
        """
        self._wait(
            lambda: self._are_all_ready() and all(row["pid"] != gone for row in self._rows()),
            BACK_S,
            "what was killed does not come back",
        )

    def _rows(self) -> list[dict[str, Any]]:
        with suppress(Unavailable):
            return running(self.config.data)
        return []

    def _are_all_ready(self) -> bool:
        rows = self._rows()
        return len(rows) > 1 and all(row["state"] == "ready" for row in rows)

    def _wait(self, is_so: Callable[[], bool], most_s: float, why_not: str) -> None:
        deadline = time.monotonic() + most_s
        while not is_so():
            assert self._server is not None, "it was started"
            if self._server.poll() is not None or time.monotonic() > deadline:
                states = ", ".join(
                    f"{row['role']} {row['state']} {row['about']}".strip() for row in self._rows()
                )
                raise Unavailable(f"{why_not} ({states or 'nothing runs'}): {self._told()}")
            time.sleep(LOOK_S)

    def _told(self) -> str:
        log = self.folder / "server.log"
        return log.read_text(errors="replace")[-600:].strip() if log.exists() else ""

    # Ending

    def stop(self) -> int:
        """Stop the installation in order and return the keeper's exit code; repeating is harmless."""
        server = self._server
        assert server is not None, "it was started"
        if server.poll() is None:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(STOP_S)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
        if server.stdin is not None and not server.stdin.closed:
            server.stdin.close()
        return server.returncode


def _fail_syncs(pid: int) -> None:
    """Let every sync of a process fail from now on; it must end by itself, for it knows nothing.

    Raise Unavailable where it goes on, or where its system calls cannot be tampered with.
    """
    strace = shutil.which("strace")
    if strace is None:
        raise Unavailable("strace is not installed: disks cannot be made to fail")
    tampering = subprocess.Popen(  # noqa: S603  its words are ours
        [strace, "-f", "-qq", "-o", os.devnull, "-e", "trace=fdatasync,fsync",
         "-e", "inject=fdatasync,fsync:error=EIO", "-p", str(pid)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        _, told = tampering.communicate(timeout=STOP_S)
    except subprocess.TimeoutExpired:
        tampering.terminate()
        tampering.communicate()
        raise Unavailable(f"writer {pid} goes on although its disk fails") from None
    if tampering.returncode and Path(f"/proc/{pid}").exists():
        raise Unavailable(f"disks cannot be made to fail here: {told.strip()[-200:]}")


def _started(config: Config, log: int) -> "subprocess.Popen[bytes]":
    server = subprocess.Popen(
        [sys.executable, "-m", "umoja.simulator.crash_server"],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        start_new_session=True,  # Ctrl-C is the harness's to answer
    )
    assert server.stdin is not None, "it was asked for"
    server.stdin.write(msgspec.json.encode(settings_of(config)) + b"\n")
    server.stdin.flush()
    return server


def _silent(_what: str, _done: int, _todo: int) -> None:
    """Tell nobody how far it came: a crash's stage is small."""
