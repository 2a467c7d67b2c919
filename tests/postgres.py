"""A private PostgreSQL for tests: a cluster in a temporary folder, on a Unix socket, no port opened.

PostgreSQL refuses to run as root: then its files and processes belong to the user `postgres`.
"""

import atexit
import contextlib
import ctypes
import hashlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
import pytest

from umoja.storage.database import Database
from umoja.storage.port import Sql
from umoja.storage.postgres import Server
from umoja.storage.postgres_database import PostgresDatabase

OLDEST = 15
START_S = 30
QUICK = {"fsync": "off", "full_page_writes": "off"}  # for tests that pull no plug


class NoPostgres(Exception):
    """No PostgreSQL can be had on this machine; the message says why."""


def programs() -> Path:
    """Return the folder of the newest PostgreSQL's programs. Raise NoPostgres."""
    found = [
        (int(folder.parent.name), folder)
        for folder in Path("/usr/lib/postgresql").glob("[0-9]*/bin")
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


def owner() -> pwd.struct_passwd | None:
    """Return whose the cluster must be, or None where it may be our own. Raise NoPostgres."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise NoPostgres("PostgreSQL does not run as root, and there is no user postgres")


class Cluster:
    """A server of the test's own. `kill` is what a power cut does to it; `start` starts it again."""

    def __init__(self, **settings: str) -> None:
        """Make the cluster and start it. Raise NoPostgres where that cannot be done."""
        self._programs = programs()
        self._owner = owner()
        # A short path of its own: a Unix socket's name has at most 107 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="umoja-pg-"))
        self._server: subprocess.Popen[bytes] | None = None
        self._names = itertools.count(1)
        self._settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "max_connections": "40",
            "shared_buffers": "32MB",
            "jit": "off",
            "autovacuum": "off",
            **settings,
        }
        try:
            if self._owner is not None:
                os.chown(self.folder, self._owner.pw_uid, self._owner.pw_gid)
            self._run("initdb", "-D", "data", "-U", "umoja", "-A", "trust", "-N", "-E", "UTF8",
                      "--locale=C.UTF-8")  # fmt: skip
            self.start()
        except BaseException:
            self.remove()
            raise

    @property
    def url(self) -> str:
        return f"postgresql:///postgres?host={self.folder}&user=umoja"

    @property
    def socket(self) -> Path:
        return self.folder / ".s.PGSQL.5432"

    def schema(self) -> str:
        """Return a name for a schema that no other test has."""
        return f"test_{next(self._names)}"

    def start(self) -> None:
        """Start the server; return once it answers."""
        assert self._server is None, "it is running"
        words = [f"-c{name}={value}" for name, value in self._settings.items()]
        deadline = time.monotonic() + START_S
        while True:
            with (self.folder / "log").open("ab") as log:
                self._server = subprocess.Popen(
                    [self._programs / "postgres", "-D", "data", *words],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    preexec_fn=_die_with_parent,  # noqa: PLW1509  no thread forks here
                    **self._who(),
                )
            if self.answers():
                return
            # The processes of a killed server take a moment to notice and to let go of its memory.
            assert time.monotonic() < deadline, self.told()
            time.sleep(0.05)

    def answers(self) -> bool:
        """Wait until the server answers; return False once it has ended instead."""
        assert self._server is not None, "it is not running"
        deadline = time.monotonic() + START_S
        while self._server.poll() is None:
            with contextlib.suppress(psycopg.OperationalError), self.connect():
                return True
            assert time.monotonic() < deadline, self.told()
            time.sleep(0.02)
        return False

    def stop(self) -> None:
        """Stop it in order, without waiting for its clients."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End the server's processes where they stand, as a power cut does."""
        self._end(signal.SIGKILL)

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.url, autocommit=True)

    def told(self) -> str:
        """Return the end of the server's own log."""
        return (self.folder / "log").read_text(errors="replace")[-3000:]

    def remove(self) -> None:
        if self._server is not None:
            self._end(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, number: signal.Signals) -> None:
        assert self._server is not None, "it is not running"
        self._server.send_signal(number)
        self._server.wait(START_S)
        self._server = None

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [self._programs / program, *words],
            check=False,
            capture_output=True,
            text=True,
            **self._who(),
        )
        if done.returncode:
            raise NoPostgres(f"{program} failed: {done.stderr[-500:]}")

    def _who(self) -> dict:
        rest = {"cwd": self.folder, "env": {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}}
        if self._owner is None:
            return rest
        return rest | {
            "user": self._owner.pw_uid,
            "group": self._owner.pw_gid,
            "extra_groups": [],
        }


def _die_with_parent() -> None:
    """Let the kernel stop the server when the tests are killed: nothing may be left behind."""
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)


ON_POSTGRES = "UMOJA_TESTS_ON_POSTGRES"
"""Set to 1, the rooms' tests run on PostgreSQL instead of on SQLite files: see tests/storage/test_rooms.py."""

files_only = pytest.mark.skipif(os.environ.get(ON_POSTGRES) == "1", reason="about the file itself")

_shared: list[Cluster] = []


def shared() -> Cluster:
    """Return a quick server for all tests of this process that pull no plug; skip where none can be had."""
    if not _shared:
        try:
            _shared.append(Cluster(**QUICK))
        except NoPostgres as cause:
            pytest.skip(str(cause))
        atexit.register(_shared[0].remove)
    return _shared[0]


def tables(path: Path, *, wait_s: float = 5.0) -> Sql:
    """Open the tables that a file has by default: in the file, or in a schema that stands for its folder."""
    if os.environ.get(ON_POSTGRES) != "1":
        return Database(path, wait_s=wait_s)
    return tables_on_server(path)


def tables_on_server(path: Path) -> Sql:
    """Open them on PostgreSQL: the same path is the same schema and plan."""
    folder = hashlib.blake2b(str(path.parent).encode(), digest_size=8).hexdigest()
    server = Server(url=shared().url, schema=f"t_{folder}", wait_s=5, allow_unsafe=True)
    return PostgresDatabase(server, path.stem)
