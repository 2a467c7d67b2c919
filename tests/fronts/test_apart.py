"""Processes apart, as in production: killed one after the other under load, and nothing is lost or doubled."""

import asyncio
import base64
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from umoja import config as settings
from umoja.app import Hall
from umoja.clock import SystemClock
from umoja.ledger.books import audit
from umoja.ledger.sqlite import journal_rows
from umoja.markets import packs
from umoja.parties.clients import SCOPES
from umoja.payments.clerk import decode_order
from umoja.payments.wallets import kind_of
from umoja.premises import load_markets
from umoja.simulator.population import plan, settle

PATIENCE_S = 30.0
MARKETS = ("KE", "LS")
CURRENCY = {"KE": "KES", "LS": "LSL"}


@dataclass
class Apart:
    keeper: "subprocess.Popen[bytes]"
    address: str
    file: Path
    data: Path
    told: Path
    clients: dict[str, tuple[str, str]]
    phones: dict[str, list[str]]
    pins: dict[str, str]
    tokens: dict[str, str]

    def rows(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads((self.data / "processes.json").read_text())
        return found

    def pid(self, role: str, market: str = "") -> int:
        return next(r["pid"] for r in self.rows() if (r["role"], r["market"]) == (role, market))

    def all_ready(self) -> bool:
        try:
            ready = httpx.get(f"{self.address}/readyz", timeout=PATIENCE_S).status_code == 200
        except httpx.TransportError:
            return False
        return ready and all(row["state"] == "ready" for row in self.rows())


def until(what: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.05)


def clean_packs(folder: Path) -> Path:
    """Copy the packs as an operator would fill them in: nothing in them is a placeholder."""
    for code in MARKETS:
        shutil.copytree(packs.PACKS / code, folder / code)
    for path in folder.rglob("*.yaml"):
        lines = [line for line in path.read_text("utf-8").splitlines() if "assumed:" not in line]
        text = "\n".join(lines).replace("confidence: placeholder", "confidence: medium")
        path.write_text(text + "\n", "utf-8")
    return folder


def written(folder: Path, *, port: int) -> Path:
    file = folder / "umoja.toml"
    lines = [
        f'data = "{folder / "d"}"',
        f'packs = "{folder / "packs"}"',
        'markets = ["KE", "LS"]',
        f"port = {port}",
        *(
            f'{name} = "{base64.b32encode(os.urandom(40)).decode()}"'
            for name in ("pin_key", "mark_key", "ussd_secret")
        ),
    ]
    file.write_text("\n".join(lines))
    return file


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    folder = tmp_path_factory.mktemp("a")
    clean_packs(folder / "packs")
    port = free_port()
    file = written(folder, port=port)
    config = settings.read(file=file, environ={}, flags={}, is_production=True)
    hall = Hall(config=config, clock=SystemClock(), markets=load_markets(config))
    clients, phones, pins = {}, {}, {}
    for code, branch in hall.branches.items():
        people = plan(branch.market, customers=20, seed=7)
        settle(branch, people)
        pins[code] = people.pin
        clients[code] = hall.clients.register(name="shop", market=code, scopes=SCOPES)
        with sqlite3.connect(config.data / code / "parties.db") as books:
            found = books.execute("SELECT phone FROM parties WHERE role = 'customer' ORDER BY id")
            phones[code] = [row[0] for row in found]
    hall.centre._database.run("INSERT INTO levels VALUES ('KE', 36000, 7200, 120)")  # 5 a second
    asyncio.run(hall.close())
    told = folder / "told"
    with told.open("wb") as out:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "umoja", "serve", "--config", str(file), "--fronts", "2"],
            stdout=out,
            stderr=out,
        )
    made = Apart(
        keeper, f"http://127.0.0.1:{port}", file, config.data, told, clients, phones, pins, {}
    )
    try:
        until(lambda: b"umoja serves" in told.read_bytes() or keeper.poll() is not None)
        assert keeper.poll() is None, told.read_text()
        for code in MARKETS:
            answer = httpx.post(
                f"{made.address}/oauth2/token",
                auth=clients[code],
                data={"grant_type": "client_credentials"},
                timeout=PATIENCE_S,
            )
            made.tokens[code] = answer.json()["access_token"]
        yield made
    finally:
        keeper.terminate()
        try:
            keeper.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            keeper.kill()


def body(at: Apart, code: str, payer: int) -> dict[str, Any]:
    phones = at.phones[code]
    return {
        "product": "send_money",
        "payer": {"phone": phones[payer % len(phones)]},
        "payee": {"phone": phones[(payer + 1) % len(phones)]},
        "amount": "10",
        "currency": CURRENCY[code],
        "pin": at.pins[code],
        "confirm": True,
    }


def pay(at: Apart, code: str, key: str, payer: int = 0) -> httpx.Response:
    return httpx.post(
        f"{at.address}/v1/payments",
        headers={"authorization": f"Bearer {at.tokens[code]}", "idempotency-key": key},
        json=body(at, code, payer),
        timeout=PATIENCE_S,
    )


def booked(at: Apart, code: str, prefix: str) -> "Counter[str]":
    """Return how often each order of a client's key was booked, by the journal alone."""
    found: Counter[str] = Counter()
    for row in journal_rows(at.data / code / "journal.db"):
        if row.story:
            order = decode_order(row.story)
            if order.client == at.clients[code][0] and order.step == "booked":
                found[order.id] += 1
    return found


class Storm:
    """Many clients at once: each repeats with its key until it has its answer."""

    def __init__(self, at: Apart, code: str, name: str, *, count: int) -> None:
        self.at = at
        self.code = code
        self.keys = [f"{name}-{number}" for number in range(count)]
        self.orders: dict[str, str] = {}
        self.statuses: Counter[int] = Counter()
        self.broken = 0

    async def run(self, *, workers: int = 20) -> None:
        waiting = list(enumerate(self.keys))
        async with httpx.AsyncClient(timeout=PATIENCE_S) as web:
            await asyncio.gather(*(self._work(web, waiting) for _ in range(workers)))

    async def _work(self, web: httpx.AsyncClient, waiting: list[tuple[int, str]]) -> None:
        while waiting:
            number, key = waiting.pop()
            self.orders[key] = await self._pay(web, number, key)

    async def _pay(self, web: httpx.AsyncClient, number: int, key: str) -> str:
        while True:
            try:
                answer = await web.post(
                    f"{self.at.address}/v1/payments",
                    headers={
                        "authorization": f"Bearer {self.at.tokens[self.code]}",
                        "idempotency-key": key,
                    },
                    json=body(self.at, self.code, number),
                )
            except httpx.TransportError:
                self.broken += 1
                await asyncio.sleep(0.02)
                continue
            self.statuses[answer.status_code] += 1
            if answer.status_code in {200, 201}:
                found: str = answer.json()["id"]
                assert answer.json()["state"] == "completed", answer.text
                return found
            assert answer.status_code in {409, 503, 504}, answer.text
            assert int(answer.headers["retry-after"]) >= 1, answer.text
            assert answer.headers["content-type"].startswith("application/problem+json")
            await asyncio.sleep(0.05)

    async def until(self, done: int) -> None:
        while len(self.orders) < done:
            await asyncio.sleep(0.002)


@pytest.mark.bench
async def test_killed_one_after_the_other_under_load_nothing_is_lost_or_doubled(apart: Apart):
    until(apart.all_ready)
    storm, other = Storm(apart, "KE", "storm", count=200), Storm(apart, "LS", "other", count=40)
    running = asyncio.gather(storm.run(), other.run(workers=2))
    for done, role, market in (
        (20, "centre", ""),
        (50, "front", ""),
        (80, "market", "KE"),
        (140, "market", "KE"),
    ):
        await storm.until(done)
        os.kill(apart.pid(role, market), signal.SIGKILL)
        if role == "market":
            while apart.pid(role, market) == 0 or not await asyncio.to_thread(apart.all_ready):
                await asyncio.sleep(0.05)
    await running
    assert len(storm.orders) == 200 and len(set(storm.orders.values())) == 200
    assert len(other.orders) == 40
    assert 503 not in other.statuses and 504 not in other.statuses  # the other market went on
    until(apart.all_ready)
    until(lambda: all(pay(apart, "KE", storm.keys[0]).status_code < 500 for _ in range(8)))
    for key in storm.keys[::10]:
        assert pay(apart, "KE", key, storm.keys.index(key)).json()["id"] == storm.orders[key]
    for each in (storm, other):
        counts = booked(apart, each.code, each.keys[0])
        assert {order: counts[order] for order in each.orders.values()} == dict.fromkeys(
            each.orders.values(), 1
        )
        assert (
            audit(journal_rows(apart.data / each.code / "journal.db"), kind_of=kind_of).breaches
            == ()
        )


def test_a_market_that_is_away_is_told_and_the_other_goes_on(apart: Apart):
    until(apart.all_ready)
    away = apart.pid("market", "LS")
    os.kill(away, signal.SIGSTOP)  # it hangs, and then is killed: the kernel keeps its sockets open
    try:
        assert pay(apart, "KE", "while-away").status_code == 201
    finally:
        os.kill(away, signal.SIGKILL)
    until(lambda: apart.pid("market", "LS") != away)
    ready = httpx.get(f"{apart.address}/readyz", timeout=PATIENCE_S)
    if ready.status_code != 200:
        assert ready.json()["markets"]["KE"] is True
        assert ready.json()["shut"] == ["LS"]
        assert int(ready.headers["retry-after"]) >= 1
        refused = pay(apart, "LS", "too-early")
        assert refused.status_code in {201, 503}
    until(apart.all_ready)
    until(lambda: pay(apart, "LS", "back").status_code == 201)  # each front finds it by itself


@pytest.mark.bench
def test_payments_go_on_without_the_centre_and_pages_say_so(apart: Apart):
    until(apart.all_ready)
    centre = apart.pid("centre")
    os.kill(centre, signal.SIGKILL)
    assert pay(apart, "KE", "without-centre").status_code == 201
    page = httpx.get(f"{apart.address}/", timeout=PATIENCE_S)
    assert page.status_code in {303, 503}  # it may be back by now
    until(apart.all_ready)
    assert httpx.get(f"{apart.address}/", timeout=PATIENCE_S).status_code == 303
    signed = {"authorization": f"Bearer {machine_token(apart, 'metrics')}"}
    figures = httpx.get(f"{apart.address}/metrics", headers=signed, timeout=PATIENCE_S).text
    assert 'umoja_expected_per_second{market="KE"}' in figures  # its level was learned before
    assert 'umoja_expected_per_second{market="LS"}' not in figures
    assert 'umoja_blind{market="KE"}' in figures


def machine_token(at: Apart, scope: str) -> str:
    """Make a token beside what runs, as an operator does."""
    words = ["ops", "token", "--scope", scope, "--config", str(at.file)]
    made = subprocess.run(
        [sys.executable, "-m", "umoja", *words], capture_output=True, text=True, check=True
    )
    return made.stdout.strip()


def test_machines_come_in_through_a_front_by_their_token(apart: Apart):
    until(apart.all_ready)
    alert = [{"labels": {"alertname": "Watchdog", "severity": "none"}}]
    with httpx.Client(base_url=apart.address, timeout=PATIENCE_S) as web:
        assert web.get("/metrics").status_code == 401
        assert web.post("/alertmanager/api/v2/alerts", json=alert).status_code == 401
        web.headers["authorization"] = f"Bearer {machine_token(apart, 'alerts,otlp,metrics')}"
        assert web.post("/alertmanager/api/v2/alerts", json=alert).status_code == 200
        (found,) = web.get("/alertmanager/api/v2/alerts").json()
        assert found["labels"]["alertname"] == "Watchdog"
        assert web.post("/otlp/v1/metrics", json={}).json() == {}
        assert 'umoja_alerts{state="active"} 1.0' in web.get("/metrics").text


def test_each_request_finds_its_process(apart: Apart):
    until(apart.all_ready)
    with httpx.Client(base_url=apart.address, timeout=PATIENCE_S) as web:
        assert web.get("/healthz").json() == {"status": "up"}
        assert web.head("/healthz").content == b""
        assert web.get("/readyz").json()["markets"] == {"KE": True, "LS": True}
        assert web.get("/docs").status_code == 200
        assert web.get("/schema/openapi.json").status_code == 200
        assert web.get("/sign-in").status_code == 200
        assert web.get("/v1/payments").status_code == 401
        assert web.post("/v1/payments", json={}).status_code == 401
        assert web.get("/no/such/page").status_code in {303, 404}
        wrong = web.post("/oauth2/token", data={"grant_type": "password"})
        assert wrong.json()["error"] == "unsupported_grant_type"
        for code in MARKETS:
            until(lambda code=code: pay(apart, code, f"find-{code}").status_code < 500)
            made = pay(apart, code, f"find-{code}").json()
            headers = {"authorization": f"Bearer {apart.tokens[code]}"}
            assert web.get(f"/v1/payments/{made['id']}", headers=headers).json()["id"] == made["id"]
            phone = apart.phones[code][0]
            form = {"sessionId": "s", "serviceCode": "*1#", "phoneNumber": phone, "text": ""}
            assert web.post(f"/ussd/{code}", data=form).status_code == 403
        other = "KE" if made["market"] == "LS" else "LS"
        headers = {"authorization": f"Bearer {apart.tokens[other]}"}
        assert web.get(f"/v1/payments/{made['id']}", headers=headers).status_code == 404


def test_ps_shows_what_runs_and_a_second_start_is_refused(apart: Apart, tmp_path: Path):
    until(apart.all_ready)
    until(lambda: sum(row["role"] == "receipts" for row in apart.rows()) == 2)
    shown = subprocess.run(
        [sys.executable, "-m", "umoja", "ps", "--data", str(apart.data), "--json"],
        capture_output=True,
        check=True,
    )
    rows = json.loads(shown.stdout)
    assert [(row["role"], row["market"]) for row in rows] == [
        ("keeper", ""),
        ("market", "KE"),
        ("market", "LS"),
        ("centre", ""),
        ("front", ""),
        ("front", ""),
        ("receipts", "KE"),
        ("receipts", "LS"),
    ]
    assert len({row["pid"] for row in rows}) == 8
    assert {row["state"] for row in rows} == {"ready"}
    file = tmp_path / "umoja.toml"
    text = apart.file.read_text()
    file.write_text(
        text.replace(f"port = {apart.address.rpartition(':')[2]}", f"port = {free_port()}")
    )
    second = subprocess.run(
        [sys.executable, "-m", "umoja", "serve", "--config", str(file)],
        check=False,
        capture_output=True,
    )
    assert second.returncode == 69
    assert b"another Umoja runs on" in second.stderr


def test_logs_are_one_stream_of_whole_lines_with_names(apart: Apart):
    until(apart.all_ready)
    lines = [line for line in apart.told.read_text().splitlines() if line.startswith("{")]
    for line in lines:
        assert "process" in msgspec.json.decode(line), line
    text = apart.told.read_text()
    assert not any(secret in text for secret in apart.tokens.values())
    assert not any(phone in text for phone in apart.phones["KE"])


@pytest.mark.bench
def test_a_damaged_market_stays_shut_and_processes_end_with_their_keeper(
    apart: Apart, tmp_path: Path
):
    """A second installation of the same data would be refused: this one has its own."""
    folder = tmp_path / "b"
    shutil.copytree(apart.file.parent / "packs", folder / "packs")
    file = written(folder, port=free_port())
    damaged = folder / "d" / "LS"
    damaged.mkdir(parents=True)
    (damaged / "journal.db").write_bytes(b"this is no database, whatever its name says" * 100)
    told = folder / "told"
    with told.open("wb") as out:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "umoja", "serve", "--config", str(file), "--fronts", "1"],
            stdout=out,
            stderr=out,
        )
    at = replace(apart, keeper=keeper, file=file, data=folder / "d", told=told)
    try:
        until(lambda: b"umoja serves KE at" in told.read_bytes() or keeper.poll() is not None)
        assert keeper.poll() is None, told.read_text()
        assert "LS is shut: journal.db is no sound database" in told.read_text()
        assert "first administrator: administrator / " in told.read_text()
        shut = next(row for row in at.rows() if row["market"] == "LS")
        assert shut["state"] in {"shut", "starting"}
        assert "no sound database" in shut["about"]
        pids = [row["pid"] for row in at.rows() if row["pid"]]
        keeper.kill()
        keeper.wait(PATIENCE_S)
        until(lambda: not any(is_alive(pid) for pid in pids))
    finally:
        keeper.kill()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
