"""A private PostgreSQL for a bench: a cluster in a folder, on a Unix socket, no port opened.

PostgreSQL refuses to run as root: then its files and processes belong to the user `postgres`.
"""

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from umoja.faults import Unavailable

OLDEST = 15
START_S = 60
_OWNERS = ("postgres", "nobody")
_WHERE = Path("/usr/lib/postgresql")
_END_WITH_PARENT = 1  # prctl's PR_SET_PDEATHSIG

DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
SETTINGS = {
    "listen_addresses": "",
    "max_connections": "60",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "jit": "off",
    **DURABLE,
}


class NoPostgres(Unavailable):
    """No PostgreSQL can be had on this machine; the message says why and what to do."""


def programs() -> Path:
    """Return the folder of the newest PostgreSQL's programs. Raise NoPostgres."""
    found = [
        (int(folder.parent.name), folder)
        for folder in _WHERE.glob("[0-9]*/bin")
        if (folder / "initdb").exists() and folder.parent.name.isdecimal()
    ]
    if found:
        version, newest = max(found)
        if version < OLDEST:
            raise NoPostgres(f"PostgreSQL {version} is too old: {OLDEST} or newer is needed")
        return newest
    if elsewhere := shutil.which("initdb"):
        return Path(elsewhere).resolve().parent
    raise NoPostgres("PostgreSQL is not installed: install the package postgresql")


class Cluster:
    """A server of the bench's own, durable, ended by `close` or with this process."""

    def __init__(self, folder: Path) -> None:
        """Make the cluster in `folder`, or take up the one that is there, and start it.

        Raise NoPostgres where that cannot be done.
        """
        self._programs = programs()
        self._owner = _owner()
        self._folder = folder
        self._server: subprocess.Popen[bytes] | None = None
        # A short path of its own: a Unix socket's name has at most 107 characters.
        self._socket = Path(tempfile.mkdtemp(prefix="umoja-pg-"))
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self._owner is not None:
                _require_way(folder, self._owner)
                for each in (folder, self._socket):
                    os.chown(each, self._owner.pw_uid, self._owner.pw_gid)
            if not (folder / "data" / "PG_VERSION").exists():
                self._run(
                    "initdb", "-D", "data", "-U", "umoja", "-A", "trust", "-N", "-E", "UTF8",
                    "--locale=C.UTF-8", "--data-checksums",
                )  # fmt: skip
            self._start()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _cause: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        return f"postgresql:///postgres?host={self._socket}&user=umoja"

    @property
    def process(self) -> int:
        assert self._server is not None, "it was started"
        return self._server.pid

    def close(self) -> None:
        """Stop the server in order; closing twice is harmless. The cluster's files stay."""
        server, self._server = self._server, None
        if server is not None and server.poll() is None:
            server.send_signal(signal.SIGINT)
            try:
                server.wait(START_S)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
        shutil.rmtree(self._socket, ignore_errors=True)

    def _start(self) -> None:
        import psycopg

        words = [
            f"-c{name}={value}"
            for name, value in {**SETTINGS, "unix_socket_directories": str(self._socket)}.items()
        ]
        with (self._folder / "log").open("ab") as log:
            self._server = subprocess.Popen(  # noqa: S603  its words are ours
                [self._programs / "postgres", "-D", "data", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is ours to answer: the server is stopped once nobody needs it any more.
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509  no thread forks here
                **self._who(),
            )
        deadline = time.monotonic() + START_S
        while self._server.poll() is None and time.monotonic() < deadline:
            with suppress(psycopg.OperationalError), psycopg.connect(self.url):
                return
            time.sleep(0.05)
        raise NoPostgres(f"PostgreSQL does not start: {self._told()}")

    def _told(self) -> str:
        lines = (self._folder / "log").read_text(errors="replace").splitlines()
        return " / ".join(lines[-3:])

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(  # noqa: S603  its words are ours
            [self._programs / program, *words],
            check=False,
            capture_output=True,
            text=True,
            **self._who(),
        )
        if done.returncode:
            raise NoPostgres(f"{program} failed: {done.stderr[-500:].strip()}")

    def _who(self) -> dict[str, Any]:
        rest: dict[str, Any] = {
            "cwd": self._folder,
            "env": {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"},
        }
        if self._owner is None:
            return rest
        return rest | {
            "user": self._owner.pw_uid,
            "group": self._owner.pw_gid,
            "extra_groups": [],
        }


def _owner() -> pwd.struct_passwd | None:
    """Return whose the cluster must be, or None where it may be our own. Raise NoPostgres."""
    if os.geteuid() != 0:
        return None
    for name in _OWNERS:
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise NoPostgres("PostgreSQL does not run as root, and there is no user postgres")


def _require_way(folder: Path, owner: pwd.struct_passwd) -> None:
    """Raise NoPostgres where the cluster's owner cannot reach its folder."""
    for parent in folder.resolve().parents:
        found = parent.stat()
        is_open = found.st_mode & 0o001 or (found.st_uid == owner.pw_uid and found.st_mode & 0o100)
        if not is_open:
            raise NoPostgres(
                f"the user {owner.pw_name} cannot enter {parent}: choose another --data"
            )


def _end_with_parent() -> None:
    """Let the kernel stop the server when we are killed: nothing may be left behind."""
    ctypes.CDLL(None).prctl(_END_WITH_PARENT, signal.SIGQUIT)
