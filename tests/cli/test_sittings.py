"""Whole sittings as a user has them: the sandbox up and down, a simulated day, a drill."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENVIRON = {
    **{name: value for name, value in os.environ.items() if not name.startswith("UMOJA_")},
    "PYTHONPATH": str(ROOT),
}


def umoja(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "umoja", *words],
        check=False, capture_output=True, text=True, timeout=90, env=ENVIRON,
    )  # fmt: skip


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Sandbox:
    """A sandbox in a process of its own."""

    def __init__(self, data: Path, *words: str) -> None:
        self.port = free_port()
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "umoja", "up", "--data", str(data), "--port", str(self.port),
                "--markets", "GH,LS", "--customers", "20", *words,
            ],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRON,
        )  # fmt: skip
        self.told = ""
        for line in self.process.stdout:
            self.told += line
            if "Ctrl-C" in line:
                return
        raise AssertionError(f"it did not start: {self.process.communicate()[1]}")

    def get(self, path: str) -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            return answer.status

    def end(self, by: signal.Signals) -> tuple[int, str]:
        self.process.send_signal(by)
        _, errors = self.process.communicate(timeout=20)
        return self.process.returncode, errors


@pytest.fixture
def start():
    begun: list[Sandbox] = []

    def begin(data: Path, *words: str) -> Sandbox:
        begun.append(Sandbox(data, *words))
        return begun[-1]

    yield begin
    for sandbox in begun:
        if sandbox.process.poll() is None:
            sandbox.process.kill()
        sandbox.process.communicate()


def test_the_sandbox_says_where_to_look_goes_on_after_a_kill_and_ends_cleanly(
    start, tmp_path: Path
):
    data = tmp_path / "data"

    first = start(data, "--rate", "50")
    assert f"http://127.0.0.1:{first.port}/handset" in first.told
    assert re.search(r"administrator / \S{12,}", first.told)
    clients = re.findall(r"(gh-\w+)  (\S{40,})   PINs (\d{4})", first.told)
    assert len(clients) == 1
    assert first.get("/healthz") == 200
    busy = umoja("up", "--data", str(data), "--port", str(free_port()))
    assert (busy.returncode, "another Umoja runs" in busy.stderr) == (69, True)
    assert first.end(signal.SIGKILL)[0] == -signal.SIGKILL

    second = start(data, "--quiet-traffic", "--seed", "8")
    assert re.findall(r"(gh-\w+)  (\S{40,})   PINs (\d{4})", second.told) == clients
    assert "told once" not in second.told
    code, errors = second.end(signal.SIGINT)
    assert code == 0
    assert "Traceback" not in errors
    assert "keeps its 20 customers" in errors
    assert "Nothing is lost" in errors

    books = umoja("books", "--data", str(data), "--json")
    assert books.returncode == 0, books.stdout
    rows = {market: found["rows"] for market, found in json.loads(books.stdout).items()}
    assert set(rows) == {"GH", "LS"}
    assert min(rows.values()) >= 26
    assert umoja("audit", "verify", "--data", str(data)).returncode == 0
    assert umoja("serve", "--config", str(tmp_path / "none.toml")).returncode == 78


UNCLEAR = """
import pathlib, sys
from umoja.cli import run
from umoja.faults import OutcomeUnknown
from umoja.ledger.sqlite import SqliteShelf

flag, append = pathlib.Path(sys.argv[1]), SqliteShelf.append

def unclear(shelf, lines, seal):
    append(shelf, lines, seal)
    if flag.exists():  # it is kept, and whoever asked does not hear of it
        flag.unlink()
        raise OutcomeUnknown("the disk failed in the journal's last commit")

SqliteShelf.append = unclear
sys.exit(run(sys.argv[2:]))
"""


def test_a_sandbox_whose_commit_became_unclear_begins_again_and_reads_what_became_of_it(
    tmp_path: Path,
):
    flag, data, port = tmp_path / "fail", tmp_path / "data", free_port()
    words = ["up", "--data", str(data), "--port", str(port), "--markets", "LS", "--customers", "20"]
    process = subprocess.Popen(
        [sys.executable, "-c", UNCLEAR, str(flag), *words, "--rate", "50"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRON,
    )  # fmt: skip
    try:
        starts = 0
        for line in process.stdout:
            if "Ctrl-C" not in line:
                continue
            starts += 1
            if starts == 2:
                break
            flag.touch()
        assert (starts, flag.exists()) == (2, False)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0
    assert "unclear what became of a commit: beginning again" in errors
    assert "Nothing is lost" in errors
    assert umoja("books", "--data", str(data)).returncode == 0


def test_fresh_throws_away_a_sandbox_and_nothing_else(start, tmp_path: Path):
    data = tmp_path / "data"
    assert start(data, "--quiet-traffic").end(signal.SIGTERM)[0] == 0
    (data / "GH" / "journal.db").write_bytes(b"")
    again = start(data, "--quiet-traffic", "--fresh")
    assert "told once" in again.told
    assert again.end(signal.SIGINT)[0] == 0

    other = tmp_path / "other"
    other.mkdir()
    (other / "letters.txt").write_text("dear")
    refused = umoja("up", "--data", str(other), "--fresh", "--port", str(free_port()))
    assert refused.returncode == 69
    assert "no sandbox" in refused.stderr
    assert (other / "letters.txt").read_text() == "dear"


def test_a_simulated_day_balances_and_comes_twice_the_same():
    words = ("simulate", "ls", "--day", "2026-12-24", "--payments", "400", "--customers", "40")
    told = [umoja(*words, "--json") for _ in range(2)]

    assert [each.returncode for each in told] == [0, 0]
    report = json.loads(told[0].stdout)
    assert report == json.loads(told[1].stdout)
    assert report["breaches"] == []
    assert report["issued LSL"] == report["trust LSL"]
    assert 300 < report["payments"] < 500
    assert re.fullmatch(r"[0-9a-f]{16}", report["journal digest"])


def test_the_drill_of_a_dead_sms_route_passes():
    told = umoja("drill", "sms-route-dead", "--market", "gh", "--speed", "60", "--json")

    assert told.returncode == 0, told.stderr
    report = json.loads(told.stdout)
    assert report["passed"] is True
    assert report["noticed_after_s"] <= 60
    assert report["incidents"] == 1
    assert report["payments"] > 10
    assert report["customers"] > 10
    assert report["value_minor"]["GHS"] > 0
    assert report["state"] == "resolved"
    assert len(report["timeline"]) >= 2


def test_a_drill_that_nobody_knows_names_those_that_there_are():
    told = umoja("drill", "volcano", "--market", "GH")

    assert told.returncode == 69
    assert "sms-route-dead" in told.stderr
