"""The README's tour: every command it shows is run as it stands there."""

import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_sittings import ENVIRON, ROOT, Sandbox

BLOCK = re.compile(r"```sh\n(?P<lines>.*?)```", re.DOTALL)
REFUSES = {"serve": 78}
"""Production refuses the shipped packs: they hold figures that nobody has read."""


def shown() -> list[str]:
    """Return the commands of the tour, without ./run and without what is said of them."""
    found = []
    for block in BLOCK.finditer((ROOT / "README.md").read_text("utf-8")):
        for line in block["lines"].splitlines():
            command = line.partition("  #")[0].strip()
            if command.startswith("./run "):
                found.append(command.removeprefix("./run "))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the sandbox has run, as the tour says."""
    made = tmp_path_factory.mktemp("tour")
    sandbox = Sandbox(made / "umoja-data")
    assert sandbox.end(signal.SIGINT)[0] == 0
    (made / "umoja.toml").write_text(
        subprocess.run(
            [sys.executable, "-m", "umoja", "config", "--example"],
            check=True, capture_output=True, text=True, env=ENVIRON,
        ).stdout
    )  # fmt: skip
    return made


def test_the_tour_shows_the_commands_that_there_are():
    first = {command.split()[0] for command in shown()}
    assert {"market", "simulate", "drill", "config", "books", "audit", "serve"} <= first


@pytest.mark.parametrize("command", shown())
def test_a_command_of_the_tour_runs(command: str, folder: Path):
    words, _, written = command.partition(" > ")
    done = subprocess.run(
        [sys.executable, "-m", "umoja", *shlex.split(words)],
        check=False, capture_output=True, text=True, timeout=90, cwd=folder, env=ENVIRON,
    )  # fmt: skip
    assert done.returncode == REFUSES.get(words.split()[0], 0), done.stderr
    assert done.stdout or words.split()[0] in REFUSES
    assert not written or written == "umoja.toml"
