"""The doors of machines on a real centre: in process for answers, on a socket for real programs."""

import shutil
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from umoja.channels.http import site
from umoja.channels.intake import intake, scrapes
from umoja.clock import Clock, ManualClock, SystemClock
from umoja.markets import packs
from umoja.ops.centre import Centre, open_centre
from umoja.ops.machines import SCOPES
from umoja.ops.metrics import exposition
from umoja.parties.clients import Clients
from umoja.storage.database import Database

NOON = datetime(2026, 3, 10, 9, 0, tzinfo=UTC)


def built(folder: Path, clock: Clock, *, needs_token: bool = True) -> tuple[Any, Centre, Clients]:
    """Return the application of a centre process, its centre and its clients."""
    markets = [packs.load(code) for code in ("KE", "GH")]
    centre = open_centre(folder / "centre.db", clock=clock, markets=markets)
    clients = Clients(Database(folder / "clients.db"), clock=clock)
    application = site(
        branches={},
        clients=clients,
        clock=clock,
        ready=lambda: {"KE": True},
        metrics=lambda: exposition(centre, ["KE", "GH"]),
        extra=intake(centre, clock=clock),
        is_sandbox=False,
        scrapes=scrapes(centre) if needs_token else None,
    )
    return application, centre, clients


def token_of(centre: Centre, *scopes: str) -> str:
    _, text = centre.machines.make(
        name="test", scopes=frozenset(scopes or SCOPES), expires=None, actor="test"
    )
    return text


@dataclass
class Doors:
    http: httpx.AsyncClient
    centre: Centre
    clock: ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
async def doors(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Doors]:
    application, centre, clients = built(tmp_path, clock)
    headers = {"authorization": f"Bearer {token_of(centre)}"}
    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://umoja", headers=headers
    ) as http:
        yield Doors(http, centre, clock)
    centre.close()
    clients.close()


@dataclass
class Running:
    port: int
    token: str
    centre: Centre

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """Serve on a socket of this machine, by its own clock."""
    application, centre, clients = built(tmp_path, SystemClock())
    server = uvicorn.Server(uvicorn.Config(application, log_config=None, lifespan="off"))
    bound = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    yield Running(bound.getsockname()[1], token_of(centre), centre)
    server.should_exit = True
    thread.join(10)
    bound.close()
    centre.close()
    clients.close()


@pytest.fixture
def program() -> Callable[[str], str]:
    def found(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            pytest.skip(f"{name} is not installed")
        return path

    return found
