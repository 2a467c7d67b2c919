"""The site on real parts, called in process: two markets, their clients, and people with money."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar

from tests.stage import Stage, raised
from umoja.channels.http import site
from umoja.clock import ManualClock
from umoja.parties.clients import SCOPES, Clients
from umoja.parties.party import Party
from umoja.storage.database import Database

PIN = "1357"
TYPE = "urn:umoja:problem:"


@dataclass
class Api:
    """A site and one market's client. `post` signs and gives each request a key of its own."""

    application: Litestar
    stage: Stage
    clients: Clients
    token: str
    http: httpx.AsyncClient
    client_id: str
    secret: str
    keys: itertools.count = field(default_factory=lambda: itertools.count(1))

    async def get(self, path: str, **params: Any) -> httpx.Response:
        return await self.http.get(path, params=params, headers=self.signed())

    async def post(self, path: str, body: Any, *, key: str = "", **headers: str) -> httpx.Response:
        headers = {"Idempotency-Key": key or f"key-{next(self.keys)}"} | headers
        if isinstance(body, bytes):
            headers.setdefault("Content-Type", "application/json")
            return await self.http.post(path, content=body, headers=self.signed() | headers)
        return await self.http.post(path, json=body, headers=self.signed() | headers)

    def signed(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def with_client(
        self, scopes: frozenset[str] = SCOPES, *, market: str = "", organisation: int = 0
    ) -> "Api":
        """Return the same site as another client sees it."""
        client, secret = self.clients.register(
            name="Other",
            market=market or self.stage.market.code,
            scopes=scopes,
            organisation=organisation,
        )
        token = self.clients.issue(client, secret, scopes=frozenset())
        assert token is not None
        return Api(
            application=self.application,
            stage=self.stage,
            clients=self.clients,
            token=token.text,
            http=self.http,
            client_id=client,
            secret=secret,
            keys=self.keys,
        )

    # People and payments

    def customer(self, name: str = "Amina Otieno", *, money: int = 0) -> Party:
        party = self.stage.customer(name)
        self.stage.store.set_pin(party.id, PIN)
        if money:
            self.stage.give_money(party, money)
        return party

    def ask(self, payer: Party, payee: Party, **rest: Any) -> dict[str, Any]:
        return {
            "product": "send_money",
            "payer": {"party": payer.id},
            "payee": {"party": payee.id},
            "amount": "100",
            "currency": self.stage.currency,
        } | rest

    def signed_ask(self, payer: Party, payee: Party, **rest: Any) -> dict[str, Any]:
        return self.ask(payer, payee, confirm=True, pin=PIN) | rest


@dataclass
class Doors:
    """What the site is given beside its markets, changed by a test as it likes."""

    ready: dict[str, bool] = field(default_factory=dict)
    metrics: Callable[[], bytes] = lambda: b"umoja_pending 0\n"
    extra: list[Any] = field(default_factory=list)


@pytest.fixture
def doors() -> Doors:
    return Doors(ready={"KE": True, "TZ": True})


@pytest.fixture
async def api(tmp_path: Path, doors: Doors):
    first = raised("KE", tmp_path / "ke")
    second = raised("TZ", tmp_path / "tz", clock=first.clock)
    clients = Clients(Database(tmp_path / "clients.db"), clock=first.clock)
    client, secret = clients.register(name="Shop", market="KE", scopes=SCOPES)
    token = clients.issue(client, secret, scopes=frozenset())
    assert token is not None
    application = site(
        branches={"KE": first.branch, "TZ": second.branch},
        clients=clients,
        clock=first.clock,
        ready=lambda: doors.ready,
        metrics=lambda: doors.metrics(),  # noqa: PLW0108  looked up at each call
        extra=doors.extra,
        is_sandbox=True,
    )
    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport, base_url="http://umoja") as http:
        yield Api(
            application=application,
            stage=first,
            clients=clients,
            token=token.text,
            http=http,
            client_id=client,
            secret=secret,
        )
    await first.desk.close()
    await second.desk.close()
    first.close()
    second.close()
    clients.close()


@pytest.fixture
def clock(api: Api) -> ManualClock:
    return api.stage.clock


def told(response: httpx.Response) -> tuple[int, str]:
    """Return status and the last word of the problem's type, after looking at its form."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    body = response.json()
    assert body["status"] == response.status_code
    assert body["title"]
    return response.status_code, body["type"].removeprefix(TYPE)
