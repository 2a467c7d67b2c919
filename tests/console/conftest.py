"""The console on real parts, called in process: two markets, their centre, and a sandbox of toys."""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher
from litestar import Litestar

from tests.stage import NOON, Stage, raised
from umoja.channels.http import site
from umoja.channels.ussd import Ussd, ussd_door
from umoja.clock import ManualClock
from umoja.console.sandbox import FaultSwitch, Phone, Surprise, Text
from umoja.console.site import console
from umoja.markets.texts import Texts
from umoja.ops.centre import Centre, open_centre
from umoja.ops.finding import Counts, Finding
from umoja.ops.incidents import Incident
from umoja.ops.second_factor import Required
from umoja.parties.clients import Clients
from umoja.parties.party import Party
from umoja.signals import OrderSeen, Outcome
from umoja.storage.database import Database

PASSWORD = "a long enough password"
PIN = "1357"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@dataclass
class Toys:
    """A sandbox whose partners are not there: it remembers what was asked of it."""

    people: dict[str, list[Phone]] = field(default_factory=dict)
    inboxes: dict[tuple[str, str], list[Text]] = field(default_factory=dict)
    on: set[tuple[str, str]] = field(default_factory=set)
    drilled: list[tuple[str, str]] = field(default_factory=list)
    last: Surprise | None = None

    def phones(self, market: str) -> list[Phone]:
        return self.people.get(market, [])

    def inbox(self, market: str, phone: str) -> list[Text]:
        return self.inboxes.get((market, phone), [])

    def faults(self, market: str) -> list[FaultSwitch]:
        return [
            FaultSwitch(
                name=name,
                title=title,
                is_on=(market, name) in self.on,
                has_drill=name == "sms-route-dead",
            )
            for name, title in (
                ("sms-route-dead", "The SMS route is dead"),
                ("airtime-dead", "Airtime is dead"),
            )
        ]

    def switch_fault(self, market: str, name: str, *, is_on: bool) -> None:
        (self.on.add if is_on else self.on.discard)((market, name))

    def drill(self, market: str, name: str) -> None:
        self.drilled.append((market, name))

    def surprise(self) -> None:
        self.drilled.append(("somewhere", "something"))

    def surprised(self) -> Surprise | None:
        return self.last


@dataclass
class Desk:
    """A console, and a browser of one person that keeps cookies."""

    application: Litestar
    stages: dict[str, Stage]
    centre: Centre
    clock: ManualClock
    toys: Toys
    http: httpx.AsyncClient

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.http.get(path, headers={"accept": "text/html"} | headers)

    async def post(self, path: str, **fields: str) -> httpx.Response:
        """Send a form as the console's pages do, with the token of the visitor's own cookie."""
        if "umoja_form" not in self.http.cookies:
            await self.get("/sign-in")
        return await self.raw(path, {"form_token": self.http.cookies["umoja_form"]} | fields)

    async def raw(self, path: str, fields: dict[str, str], **headers: str) -> httpx.Response:
        return await self.http.post(path, data=fields, headers={"accept": "text/html"} | headers)

    def staff(self, name: str, role: str, market: str = "*") -> str:
        self.centre.staff.add(name, PASSWORD, {market: [role]}, by="test")
        return name

    async def enter(self, name: str, role: str = "", market: str = "*") -> None:
        """Sign in; with a role, take on the person first."""
        if role:
            self.staff(name, role, market)
        answer = await self.post("/sign-in", name=name, password=PASSWORD)
        assert answer.status_code == 303, answer.text

    def acts(self) -> list[tuple[str, str, str, str]]:
        """Return actor, action, market and detail of the audit log, oldest first."""
        entries = self.centre.audit.recent(limit=500)
        return [(e.actor, e.action, e.market, e.detail) for e in reversed(entries)]

    def incident(
        self,
        title: str = "SMS receipts do not arrive",
        market: str = "KE",
        detector: str = "sms_receipts",
    ) -> Incident:
        now_s = int(self.clock.now().timestamp())
        self.centre.incidents.found(
            market,
            detector,
            Finding(title=title, evidence="9 of 10 are missing", began_s=now_s),
            counts=Counts.RECEIPTS,
            harm=self.centre.telemetry.harm(market, Counts.RECEIPTS),
        )
        return self.centre.incidents.recent(limit=1)[0]

    def pays(self, count: int, *, market: str = "KE", currency: str = "KES", **rest: Any) -> None:
        values = {
            "at": self.clock.now(), "market": market, "product": "send_money", "channel": "ussd",
            "outcome": Outcome.COMPLETED, "reason": "", "value_minor": 1_234_50,
            "currency": currency, "latency_ms": 12.0, "payer_mark": 7,
        } | rest  # fmt: skip
        for _ in range(count):
            self.centre.telemetry.hear(OrderSeen(**values))

    def gauge(self, *markets: str, trust: int = 5_000_00, currency: str = "") -> None:
        for code in markets or self.stages:
            money = currency or self.stages[code].currency
            self.centre.telemetry.gauge(
                code, pending=0, oldest_ms=0, float_minor={money: 2_000_00},
                issued={money: 5_000_00}, trust={money: trust}, head=1,
            )  # fmt: skip

    def customer(self, name: str, *, market: str = "KE", money: int = 0) -> Party:
        stage = self.stages[market]
        party = stage.customer(name)
        stage.store.set_pin(party.id, PIN)
        if money:
            stage.give_money(party, money)
        self.toys.people.setdefault(market, []).append(
            Phone(name=name, phone=party.phone, role="customer", pin=PIN)
        )
        return party


Opened = Callable[..., Desk]


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opened]:
    """Open a console; with `is_sandbox=False` as in production."""
    closers: list[Callable[[], None]] = []
    browsers: list[httpx.AsyncClient] = []

    def open_it(
        *,
        is_sandbox: bool = True,
        secure_cookies: bool = False,
        codes: Sequence[str] = ("GH", "KE"),
        second_factor: Required = Required.NOBODY,
    ) -> Desk:
        clock = ManualClock(NOON)
        stages = {code: raised(code, tmp_path / code, clock=clock) for code in codes}
        centre = open_centre(
            tmp_path / "centre.db",
            clock=clock,
            markets=[stage.market for stage in stages.values()],
            expected=lambda _market, _at: 2.0,
            staff_key=b"the key of second factors in tests",
            second_factor=second_factor,
        )
        centre.staff._hasher = CHEAP
        for stage in stages.values():
            stage.signals.listen(centre.telemetry.hear)
        branches = {code: stage.branch for code, stage in stages.items()}
        toys = Toys()
        clients = Clients(Database(tmp_path / "clients.db"), clock=clock)
        texts = Texts.load()
        application = site(
            branches=branches,
            clients=clients,
            clock=clock,
            ready=lambda: dict.fromkeys(branches, True),
            metrics=lambda: b"",
            extra=[
                *console(
                    centre=centre,
                    branches=branches,
                    clock=clock,
                    sandbox=toys if is_sandbox else None,
                    secure_cookies=secure_cookies,
                ),
                ussd_door(Ussd(branches=branches, texts=texts, clock=clock)),
            ],
            is_sandbox=is_sandbox,
        )
        scheme = "https" if secure_cookies else "http"
        http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=application, client=("192.0.2.7", 4711)),
            base_url=f"{scheme}://console.test",
        )
        browsers.append(http)
        closers.extend([centre.close, clients.close, *(stage.close for stage in stages.values())])
        return Desk(
            application=application,
            stages=stages,
            centre=centre,
            clock=clock,
            toys=toys,
            http=http,
        )

    yield open_it
    for http in browsers:
        await http.aclose()
    for close in closers:
        close()


@pytest.fixture
def desk(opened: Opened) -> Desk:
    return opened()


def told(page: str) -> str:
    """Return a page's text without its tags, spaces folded."""
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())
