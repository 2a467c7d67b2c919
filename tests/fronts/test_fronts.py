"""Fronts as real processes: a sandbox behind two of them, paid through, killed, and counted."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest

from umoja.faults import Unavailable
from umoja.posts import Duty
from umoja.premises import desk_socket

PATIENCE_S = 20.0


class Running(NamedTuple):
    hall: "subprocess.Popen[bytes]"
    address: str
    data: Path
    token: str
    phones: list[str]


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _until(what: Any) -> None:
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.05)


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def _running(tmp_path: Path) -> Iterator[Running]:
    data = tmp_path / "d"
    address = f"http://127.0.0.1:{_port()}"
    words = ["up", "--data", str(data), "--markets", "KE", "--port", address.rpartition(":")[2]]
    words += ["--quiet-traffic", "--fronts", "2", "--customers", "20"]
    with (tmp_path / "told").open("wb") as told:
        hall = subprocess.Popen([sys.executable, "-m", "umoja", *words], stdout=told, stderr=told)
    try:
        _until(lambda: b"Ctrl-C stops" in (tmp_path / "told").read_bytes())
        client = json.loads((data / "sandbox.json").read_text())["clients"]["KE"]
        answer = httpx.post(
            f"{address}/oauth2/token",
            auth=(client["client_id"], client["client_secret"]),
            data={"grant_type": "client_credentials"},
            timeout=PATIENCE_S,
        )
        assert answer.status_code == 200, answer.text
        with sqlite3.connect(data / "KE" / "parties.db") as books:
            phones = [
                row[0] for row in books.execute("SELECT phone FROM parties WHERE role = 'customer'")
            ]
        yield Running(hall, address, data, answer.json()["access_token"], phones)
    finally:
        hall.terminate()
        try:
            hall.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            hall.kill()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with _running(tmp_path_factory.mktemp("f")) as made:
        yield made


def _pay(at: Running, key: str) -> httpx.Response:
    """Pay on a connection of its own, so that any of the fronts may take it."""
    return httpx.post(
        f"{at.address}/v1/payments",
        headers={"authorization": f"Bearer {at.token}", "idempotency-key": key},
        json={
            "product": "send_money",
            "payer": {"phone": at.phones[0]},
            "payee": {"phone": at.phones[1]},
            "amount": "10",
            "currency": "KES",
            "pin": "2580",
            "confirm": True,
        },
        timeout=PATIENCE_S,
    )


@pytest.mark.bench
def test_a_key_pays_once_whichever_front_takes_it(running: Running) -> None:
    answers = [_pay(running, "one") for _ in range(12)]
    assert {answer.status_code for answer in answers} <= {200, 201}, answers[-1].text
    assert len({answer.json()["id"] for answer in answers}) == 1


@pytest.mark.bench
def test_pages_and_live_pages_come_through_a_front(running: Running) -> None:
    wall = httpx.get(f"{running.address}/", timeout=PATIENCE_S)
    assert wall.status_code == 200
    assert "text/html" in wall.headers["content-type"]
    with httpx.stream("GET", f"{running.address}/wall/stream", timeout=PATIENCE_S) as live:
        assert live.status_code == 200
        assert live.headers["content-type"].startswith("text/event-stream")
        assert next(live.iter_bytes())


@pytest.mark.bench
def test_a_killed_front_loses_nothing_and_another_takes_its_place(running: Running) -> None:
    fronts = _children(running.hall.pid)
    assert len(fronts) == 2
    told: dict[str, str] = {}
    for number in range(30):
        if number == 10:
            os.kill(fronts[0], signal.SIGKILL)
        try:
            answer = _pay(running, f"k{number}")
        except httpx.TransportError:  # it was at the killed one: the same key asks again
            answer = _pay(running, f"k{number}")
        assert answer.status_code in {200, 201}, answer.text
        told[f"k{number}"] = answer.json()["id"]
    assert len(set(told.values())) == 30
    _until(lambda: len(_children(running.hall.pid)) == 2)
    for key, order in told.items():
        assert _pay(running, key).json()["id"] == order


@pytest.mark.bench
def test_fronts_end_with_their_hall_and_one_without_its_writer_says_when_to_come_back(
    tmp_path: Path,
) -> None:
    with _running(tmp_path) as running:
        fronts = _children(running.hall.pid)
        assert len(fronts) == 2
        running.hall.kill()
        running.hall.wait(PATIENCE_S)
        _until(lambda: not any(map(_is_alive, fronts)))
    with socket.socket() as at:
        at.bind(("127.0.0.1", 0))
        at.listen()
        duty = Duty(
            role="front",
            markets=["KE"],
            settings={"data": str(running.data), "markets": ["KE"], "log_level": "info"},
            listening=at.fileno(),
            desks={"KE": str(running.data / "desk.sock")},
            sites={"KE": str(running.data / "site.sock")},
            centre=str(running.data / "site.sock"),
        )
        alone = running._replace(address=f"http://127.0.0.1:{at.getsockname()[1]}")
        with subprocess.Popen(
            [sys.executable, "-m", "umoja.front"], stdin=subprocess.PIPE, pass_fds=(at.fileno(),)
        ) as front:
            assert front.stdin is not None
            front.stdin.write(msgspec.json.encode(duty) + b"\n")
            front.stdin.flush()
            for answer in (_pay(alone, "k"), httpx.get(alone.address, timeout=PATIENCE_S)):
                assert answer.status_code == 503
                assert int(answer.headers["retry-after"]) >= 1
            front.stdin.close()
            assert front.wait(PATIENCE_S) == 0


def test_a_path_too_long_for_a_socket_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="choose a shorter data folder"):
        desk_socket(tmp_path / ("d" * 120))
