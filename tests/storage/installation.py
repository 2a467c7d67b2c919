"""A sandbox in a process of its own, for the tests of whole installations."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENVIRON = {
    **{
        name: value
        for name, value in os.environ.items()
        if not name.startswith("UMOJA_") and name != "DATABASE_URL"
    },
    "PYTHONPATH": str(ROOT),
}


def umoja(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "umoja", *words],
        check=False, capture_output=True, text=True, timeout=90, env=ENVIRON | environ,
    )  # fmt: skip


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Sandbox:
    """`umoja up`, from its first line to its end."""

    def __init__(self, data: Path, *words: str, markets: str = "LS") -> None:
        self.port = free_port()
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "umoja", "up", "--data", str(data), "--port", str(self.port),
                "--markets", markets, "--customers", "20", *words,
            ],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRON,
        )  # fmt: skip
        self.told = ""
        for line in self.process.stdout:
            self.told += line
            if "Ctrl-C" in line:
                return
        raise AssertionError(f"it did not start: {self.process.communicate()[1]}")

    def end(self, by: signal.Signals) -> str:
        """End it by a signal; return what it wrote to standard error."""
        self.process.send_signal(by)
        return self.process.communicate(timeout=30)[1]
