"""What a bench ran on: the machine, the versions, and how much CPU time its processes took."""

import os
import platform
import sqlite3
import time
from collections import defaultdict
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_LIBRARIES = ("umoja", "msgspec", "numpy", "uvicorn", "httptools", "litestar", "psycopg")
_TICKS = os.sysconf("SC_CLK_TCK")
APPEND = bytes(4096)


def machine() -> dict[str, object]:
    """Return the processor, its cores, the memory and the system."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load_before": [round(each, 2) for each in os.getloadavg()],
    }


def versions() -> dict[str, str]:
    """Return the versions of Python, SQLite and the libraries that payments pass through."""
    found = {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "sqlite": sqlite3.sqlite_version,
    }
    for name in _LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def cpu_s(process: int | None = None) -> float:
    """Return the CPU seconds of this process, or of another one and all that it has started."""
    if process is None:
        return time.process_time()
    children: dict[int, list[int]] = defaultdict(list)
    spent: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            # The name in brackets may hold anything: what follows its last bracket is plain.
            fields = path.read_text().rpartition(")")[2].split()
            number, parent = int(path.parent.name), int(fields[1])
            children[parent].append(number)
            # With the time of its ended children that were waited for.
            spent[number] = sum(int(fields[place]) for place in (11, 12, 13, 14))
    total, todo = 0, [process]
    while todo:
        number = todo.pop()
        total += spent.get(number, 0)
        todo += children[number]
    return total / _TICKS


def memory_mb(process: int | None = None) -> float | None:
    """Return the memory in use of this process or another one; None where it has ended."""
    with suppress(OSError):
        pages = int(Path(f"/proc/{process or os.getpid()}/statm").read_text().split()[1])
        return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
    return None


def small_appends(folder: Path, *, seconds: float) -> dict[str, object]:
    """Append 4 KiB and wait for the disk, again and again; return how often a second.

    It is what the medium gives to one writer that keeps one payment at a time.
    """
    path = folder / "appends"
    file = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    count, began = 0, time.perf_counter()
    try:
        while (took := time.perf_counter() - began) < seconds or not count:
            os.write(file, APPEND)
            os.fdatasync(file)
            count += 1
    finally:
        os.close(file)
        path.unlink()
    return {"appends_per_s": round(count / took, 1), "bytes": len(APPEND), "sync": "fdatasync"}


def _cpu_model() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
