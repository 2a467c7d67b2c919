"""Make-good with processes apart: the centre asks a market over the trunk, and what two people released is done."""

import asyncio
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from tests.fronts.test_apart import PATIENCE_S, clean_packs, free_port, until, written
from umoja import config as settings
from umoja.app import Hall
from umoja.clock import ManualClock, SystemClock
from umoja.ops.finding import Counts, Finding
from umoja.ops.impact import Harm
from umoja.ops.one_time import code_at
from umoja.payments.order import Ask
from umoja.premises import load_markets
from umoja.simulator.population import plan, settle

PASSWORD = "a long enough password"
SALT = bytes(16)
SECRETS: dict[str, bytes] = {}
PAGE = "/incidents/INC-000001/make-good"

pytestmark = pytest.mark.bench


@pytest.fixture
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Serve two markets in which somebody paid twice, with an incident and two of staff."""
    folder = tmp_path_factory.mktemp("m")
    clean_packs(folder / "packs")
    port = free_port()
    file = written(folder, port=port)
    file.write_text(file.read_text() + '\nhost = "127.0.0.1"')
    config = settings.read(file=file, environ={}, flags={}, is_production=True)
    clock = ManualClock(SystemClock().now() - timedelta(minutes=2))
    hall = Hall(config=config, clock=clock, markets=load_markets(config))
    branch = hall.branches["KE"]
    settle(branch, plan(branch.market, customers=20, seed=7))
    clock.advance(timedelta(seconds=30))
    payer, payee = branch.directory.browse(role="customer", limit=2)
    hall.centre.incidents.found(
        "KE",
        "failures",
        Finding(
            title="Payments fail",
            evidence="9 of 9",
            began_s=int(clock.now().timestamp()),
            product="send_money",
        ),
        counts=Counts.PAYMENTS,
        harm=Harm(),
    )
    for key in ("a", "b"):
        (order,) = branch.desk.submit_now(
            [
                Ask(
                    client="shop", key=key, channel="api", product="send_money", payer=payer.id,
                    payee=payee.id, amount=500_00, currency="KES",
                )
            ]
        )  # fmt: skip
        assert order.decline is None
        clock.advance(timedelta(seconds=5))
    staff = hall.centre.staff
    for name in ("ada", "bo", "eva"):
        staff.add(name, PASSWORD, {"*": ["administrator"]}, by="test")
        staff.enrol(
            name,
            PASSWORD,
            salt=SALT,
            code=code_at(staff.offer(name, SALT), int(clock.now().timestamp()) // 30),
            session=str(staff.sign_in(name, PASSWORD, address="192.0.2.1")),
            address="192.0.2.1",
        )
        SECRETS[name] = staff.offer(name, SALT)
    # All but one were let in yesterday: whoever was let in today has no hand in money yet.
    staff._database.run("UPDATE let_in SET at = at - :day WHERE name <> 'eva'", day=86_400_000_000)
    asyncio.run(hall.close())
    told = folder / "told"
    with told.open("wb") as out:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "umoja", "serve", "--config", str(file), "--fronts", "1"],
            stdout=out,
            stderr=out,
        )
    try:
        until(lambda: b"umoja serves" in told.read_bytes() or keeper.poll() is not None)
        assert keeper.poll() is None, told.read_text()
        yield f"http://127.0.0.1:{port}", config.data
    finally:
        keeper.terminate()
        try:
            keeper.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            keeper.kill()


class Person:
    """One of staff at a browser. Cookies are sent by hand: the browser would want TLS for them."""

    def __init__(self, address: str, name: str) -> None:
        self.http = httpx.Client(
            base_url=address, timeout=PATIENCE_S, headers={"accept": "text/html"}
        )
        self.cookies: dict[str, str] = {}
        self.get("/sign-in")
        asked = self.post("/sign-in", name=name, password=PASSWORD)
        assert asked.headers["location"] == "/sign-in/code?to=/"
        code = code_at(SECRETS[name], int(SystemClock().now().timestamp()) // 30)
        entered = self.post("/sign-in/code", code=code)
        assert (entered.status_code, entered.headers["location"]) == (303, "/")

    def _sent(self, answer: httpx.Response) -> httpx.Response:
        for each in answer.headers.get_list("set-cookie"):
            name, _, value = each.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer

    @property
    def _cookie(self) -> dict[str, str]:
        return {"cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}

    def get(self, path: str) -> httpx.Response:
        return self._sent(self.http.get(path, headers=self._cookie))

    def post(self, path: str, **fields: str) -> httpx.Response:
        data = {"form_token": self.cookies["umoja_form"], **fields}
        return self._sent(self.http.post(path, data=data, headers=self._cookie))


def test_the_whole_way_over_the_trunk(apart: tuple[str, Path]):
    address, data = apart
    ada, bo = Person(address, "ada"), Person(address, "bo")

    found = ada.get(f"{PAGE}?after=0")
    until(lambda: ada.get(f"{PAGE}?after=0").status_code == 200)
    found = ada.get(f"{PAGE}?after=0")
    (tick,) = re.findall(r'name="(t[0-9a-f]{12})"', found.text)
    eva = Person(address, "eva")
    refused = eva.post(PAGE, act="draft", after="0", **{tick: "1"})
    assert refused.status_code == 422
    assert "eva was let in by another lately: no hand in money before" in refused.text
    assert ada.post(PAGE, act="draft", after="0", **{tick: "1"}).status_code == 303
    assert ada.post(PAGE, act="release", batch="1").status_code == 422
    assert bo.post(PAGE, act="release", batch="1").status_code == 303
    until(lambda: "the receiver was asked" in bo.get(PAGE).text)

    notices = "/incidents/INC-000001/notices"
    assert bo.post(notices, act="send", kind="trouble").status_code == 303
    assert "1 customer, by bo" in bo.get(notices).text
    assert bo.post(notices, act="show").status_code == 303

    def delivered() -> list[tuple[str]]:
        with sqlite3.connect(f"file:{data / 'KE' / 'messages.db'}?mode=ro", uri=True) as messages:
            return messages.execute(
                "SELECT state FROM messages WHERE kind = 'notice.trouble'"
            ).fetchall()

    until(lambda: delivered() == [("delivered",)])
