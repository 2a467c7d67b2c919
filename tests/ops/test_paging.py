"""Paging: along the chain until somebody acknowledges, by real mail and real HTTP, through kills."""

import asyncio
import base64
import hmac
import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from umoja.clock import ManualClock
from umoja.faults import Unavailable
from umoja.markets import packs
from umoja.ops.centre import open_centre
from umoja.ops.duty import Contact, Duty, drafted
from umoja.ops.finding import Counts, Finding
from umoja.ops.impact import Harm
from umoja.ops.incident import Stage
from umoja.ops.incidents import Incidents
from umoja.ops.oncall import Chain, Layer, Roster, RosterRefused, Step
from umoja.ops.paging import Email, Pager, Sms, Text, Webhook
from umoja.reach import NotPublic, client, fetched, is_public
from umoja.storage.database import Database
from umoja.storage.migrate import migrate

NOON = datetime(2026, 3, 10, 9, 0, tzinfo=UTC)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Recorder:
    """A way that keeps what it was given, and refuses as often as it was told to."""

    def __init__(self, refuses: int = 0) -> None:
        self.got: list[tuple[str, Text]] = []
        self.refuses = refuses

    async def send(self, contact: Contact, text: Text) -> None:
        if self.refuses:
            self.refuses -= 1
            raise Unavailable("the line is busy")
        self.got.append((contact.name, text))


class Stage4:
    """A centre's duty, incidents and pager on one file."""

    def __init__(self, path: Path, clock: ManualClock) -> None:
        self.clock = clock
        self.database = Database(path)
        migrate(self.database, "centre", clock)
        self.incidents = Incidents(self.database, clock=clock, markets=[packs.load("KE")])
        self.duty = Duty(self.database, clock=clock)
        self.way = Recorder()
        self.pager = Pager(
            self.database,
            clock=clock,
            duty=self.duty,
            incidents=self.incidents,
            ways={"console": self.way},
            address="https://centre.example/",
        )
        self.incidents.listen(self.pager.heard)

    def found(self, customers: int = 60, detector: str = "failures") -> str:
        harm = Harm()
        second = int(self.clock.now().timestamp())
        for payer in range(customers):
            harm.add(second, product="deposit", minor=1, currency="KES", mark=payer, order=0)
        finding = Finding(title="Payments fail", evidence="9 of 9", began_s=second)
        return self.incidents.found("KE", detector, finding, counts=Counts.PAYMENTS, harm=harm)

    def step(self) -> int:
        return asyncio.run(self.pager.step())

    def said(self, name: str = "INC-000001") -> list[str]:
        incident = self.incidents.get(name)
        assert incident is not None
        return [each.what for each in incident.timeline]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
def stage(tmp_path: Path, clock: ManualClock) -> Iterator[Stage4]:
    made = Stage4(tmp_path / "centre.db", clock)
    made.duty.put_roster(
        Roster(
            name="centre",
            markets=("*",),
            layers=(
                Layer(
                    name="first", zone="Africa/Nairobi", people=("amina",), first_day="2026-03-02"
                ),
            ),
        )
    )
    steps = (Step(roster="centre", wait_s=60), Step(person="joao", wait_s=120))
    made.duty.put_chain(Chain(name="all", markets=("*",), steps=steps, rounds=2))
    yield made
    made.database.close()


def test_the_chain_goes_on_until_somebody_acknowledges(stage: Stage4, clock: ManualClock):
    stage.found()
    assert stage.step() == 1
    assert stage.step() == 0  # the same again pages nobody
    clock.advance(timedelta(seconds=59))
    assert stage.step() == 0
    clock.advance(timedelta(seconds=1))
    assert stage.step() == 1
    clock.advance(timedelta(seconds=120))
    assert stage.step() == 1

    assert [who for who, _ in stage.way.got] == ["amina", "joao", "amina"]
    (page,) = stage.pager.waiting_for("joao")
    secret = stage.way.got[1][1].link.removeprefix("https://centre.example/pages/")
    assert stage.pager.acknowledge("not a secret") is None
    incident = stage.pager.acknowledge(secret)

    assert incident is not None
    assert incident.acknowledged_by == "joao"
    assert stage.pager.waiting_for("joao") == []
    clock.advance(timedelta(hours=1))
    assert stage.step() == 0
    assert [each for each in stage.said() if "paging" in each or "ack" in each] == [
        "paging amina by console",
        "paging joao by console",
        "paging amina by console",
        "acknowledged",
    ]
    assert page.incident == "INC-000001"


def test_the_rounds_end_and_the_timeline_says_so(stage: Stage4, clock: ManualClock):
    stage.found()
    for _ in range(10):
        stage.step()
        clock.advance(timedelta(minutes=2))
    assert [who for who, _ in stage.way.got] == ["amina", "joao", "amina", "joao"]
    assert stage.said()[-1] == "nobody has acknowledged: every step of the chain was tried"


def test_a_light_incident_pages_nobody_until_it_is_graver(stage: Stage4, clock: ManualClock):
    stage.found(customers=3)
    assert stage.step() == 0
    clock.advance(timedelta(seconds=5))
    stage.found(customers=60)
    assert stage.step() == 1
    assert stage.way.got[0][1].subject == "[INC-000001] S3 KE Payments fail"


def test_one_that_ends_by_itself_is_pursued_no_further(stage: Stage4, clock: ManualClock):
    stage.found()
    stage.step()
    stage.incidents.quiet("KE", "failures")
    clock.advance(timedelta(minutes=5))
    assert stage.step() == 0


def test_a_way_that_is_away_is_tried_again_and_then_told(stage: Stage4, clock: ManualClock):
    stage.way.refuses = 2
    stage.found()
    assert stage.step() == 0
    assert stage.step() == 0  # not yet due again
    clock.advance(timedelta(seconds=2))
    stage.step()
    clock.advance(timedelta(seconds=5))
    assert stage.step() == 1

    stage.duty.put_contact(Contact(name="joao"))
    stage.pager.ways = {}
    clock.advance(timedelta(seconds=60))
    stage.step()
    assert stage.said()[-1] == (
        "joao was not reached by console: this installation has no console: it is not configured"
    )
    assert stage.pager.pages("INC-000001")[-1].state == "failed"


def test_a_kill_sends_a_page_again_rather_than_none(
    stage: Stage4, clock: ManualClock, tmp_path: Path
):
    stage.way.refuses = 1
    stage.found()
    stage.step()  # it is kept, and not sent
    stage.incidents.keep()

    after = Stage4(tmp_path / "centre.db", clock)
    clock.advance(timedelta(seconds=2))
    assert after.step() == 1
    link = after.way.got[0][1].link
    assert after.pager.page_of(link.rpartition("/")[2]) is not None
    after.database.close()


def test_nobody_on_call_is_told_and_the_next_step_follows(stage: Stage4, clock: ManualClock):
    stage.duty.put_roster(
        Roster(
            name="centre",
            markets=("*",),
            layers=(Layer(name="first", zone="UTC", people=("amina",), first_day="2027-01-01"),),
        )
    )
    stage.found()
    stage.step()
    assert stage.said()[-1] == "nobody is on call in centre"
    clock.advance(timedelta(seconds=60))
    stage.step()
    assert [who for who, _ in stage.way.got] == ["joao"]


def test_a_page_by_mail_arrives_at_a_real_server(stage: Stage4):
    letters: list[Any] = []

    class Box:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
            letters.append(envelope)
            return "250 OK"

    port = free_port()
    server = Controller(Box(), hostname="127.0.0.1", port=port)
    server.start()
    try:
        stage.pager.ways = {
            "email": Email(host="127.0.0.1", port=port, sender="centre@example.com", is_plain=True)
        }
        stage.duty.put_chain(
            Chain(name="all", markets=("*",), steps=(Step(person="amina", via=("email",)),))
        )
        stage.duty.put_contact(Contact(name="amina", email="amina@example.com"))
        stage.found()
        assert stage.step() == 1
    finally:
        server.stop()
    (letter,) = letters
    text = letter.content.decode()
    assert letter.rcpt_tos == ["amina@example.com"]
    assert "Subject: [INC-000001] S3 KE Payments fail" in text
    assert "Acknowledge: https://centre.example/pages/" in text
    assert "Message-ID: <page-1@umoja>" in text


def test_a_page_by_webhook_is_signed(stage: Stage4):
    got: list[tuple[dict[str, str], bytes]] = []

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append(({k.lower(): v for k, v in self.headers.items()}, body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Taker)
    Thread(target=server.serve_forever, daemon=True).start()
    stage.duty.put_contact(
        Contact(name="amina", webhook=f"http://127.0.0.1:{server.server_port}/in")
    )
    stage.duty.put_chain(
        Chain(name="all", markets=("*",), steps=(Step(person="amina", via=("webhook",)),))
    )
    stage.found()
    try:
        stage.pager.ways = {"webhook": Webhook(clock=stage.clock, may_be_private=False)}
        assert stage.step() == 0  # not into a private network, outside a sandbox
        stage.clock.advance(timedelta(seconds=2))
        stage.pager.ways = {"webhook": Webhook(clock=stage.clock, may_be_private=True)}
        assert stage.step() == 1
    finally:
        server.shutdown()
        server.server_close()
    headers, body = got[0]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    secret = stage.duty.contact("amina").secret.encode()
    assert len(secret) >= 32
    expected = base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert json.loads(body)["data"]["incident"] == "INC-000001"


def test_a_text_message_keeps_its_link_whole(stage: Stage4):
    sent: list[tuple[str, str, str, str]] = []

    async def send(market: str, message: str, phone: str, text: str) -> None:
        sent.append((market, message, phone, text))

    stage.pager.ways = {"sms": Sms(send)}
    stage.duty.put_contact(Contact(name="amina", phone="+254712345678", market="KE"))
    stage.duty.put_chain(
        Chain(name="all", markets=("*",), steps=(Step(person="amina", via=("sms",)),))
    )
    stage.found()
    assert stage.step() == 1
    ((market, message, phone, text),) = sent
    assert (market, message, phone) == ("KE", "page-1", "+254712345678")
    assert len(text) <= 160
    link = text.rpartition(" ")[2]
    assert stage.pager.page_of(link.rpartition("/")[2]) is not None


@pytest.mark.parametrize(
    ("contact", "says"),
    [
        (Contact(name="a", zone="Nowhere"), "no time zone"),
        (Contact(name="a", email="not one"), "no e-mail address"),
        (Contact(name="a", email="a@b.c\r\nBcc: x@y.z"), "no e-mail address"),
        (Contact(name="a", phone="0712"), "written in full"),
        (Contact(name="a", webhook="file:///etc/passwd"), "begins with https"),
    ],
)
def test_a_contact_that_reaches_nobody_is_refused(stage: Stage4, contact: Contact, says: str):
    with pytest.raises(RosterRefused, match=says):
        stage.duty.put_contact(contact)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "169.254.169.254",
        "192.168.0.1",
        "::1",
        "fd00::1",
        "::ffff:10.0.0.1",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
    ],
)
def test_private_addresses_are_not_public(address: str):
    assert not is_public(address)


def test_a_name_that_leads_inside_is_not_followed():
    async def ask() -> None:
        async with client(may_be_private=False) as through:
            await fetched(through, through.build_request("GET", "http://localhost:1/"))

    with pytest.raises(NotPublic):
        asyncio.run(ask())


def test_a_swap_changes_both_stretches_or_none(stage: Stage4, clock: ManualClock):
    stage.duty.put_roster(
        Roster(
            name="centre",
            markets=("*",),
            layers=(
                Layer(
                    name="first",
                    zone="UTC",
                    people=("amina", "joao"),
                    first_day="2026-03-10",
                    turn_days=1,
                    hands_over_at="00:00",
                ),
            ),
        )
    )
    day = timedelta(days=1)
    tomorrow = NOON.replace(hour=0) + day
    number = stage.duty.offer_swap(
        roster="centre",
        asked_by="joao",
        asked_of="amina",
        given=(tomorrow, tomorrow + day),
        taken=(tomorrow + day, tomorrow + 2 * day),
    )
    assert not stage.duty.answer_swap(number, by="joao", says_yes=True)  # not his to answer
    assert stage.duty.answer_swap(number, by="amina", says_yes=True)
    assert not stage.duty.answer_swap(number, by="amina", says_yes=True)

    roster = stage.duty.roster("centre")
    assert roster is not None
    found = stage.duty.shifts(roster, since=tomorrow, until=tomorrow + 3 * day)
    assert [(each.person, each.layer) for each in found] == [
        ("amina", "override"),
        ("joao", "override"),
        ("joao", "first"),
    ]


def test_a_feed_is_a_calendar_with_steady_ids(stage: Stage4, clock: ManualClock):
    secret = stage.duty.make_calendar(person="amina")
    first = stage.duty.feed(secret)
    assert first is not None
    assert first.startswith(b"BEGIN:VCALENDAR\r\n")
    assert all(len(line) <= 75 for line in first.split(b"\r\n"))
    ids = [line for line in first.split(b"\r\n") if line.startswith(b"UID:")]
    assert len(ids) == 1  # one person: one stretch
    assert stage.duty.feed("x" * 32) is None
    assert stage.duty.revoke_calendars(person="amina") == 1
    assert stage.duty.feed(secret) is None


def test_a_handover_tells_what_is_open_and_is_taken_by_another(stage: Stage4):
    name = stage.found()
    stage.incidents.acknowledge(name, actor="amina")
    stage.incidents.add_task(name, what="ring the bank", owner="joao", actor="amina")
    body = drafted(stage.incidents.open_ones(), by="amina", now=NOON, notes=["Payday tomorrow."])
    assert body.splitlines() == [
        "Handover by amina, 2026-03-10 09:00 UTC",
        "",
        "INC-000001 S3 KE Payments fail: investigating, 60 payments, 60 customers",
        "  task 1 for joao: ring the bank",
        "",
        "Payday tomorrow.",
    ]
    number = stage.duty.hand_over(roster="centre", given_by="amina", body=body)
    assert not stage.duty.take_over(number, by="amina")
    assert stage.duty.take_over(number, by="joao")
    assert not stage.duty.take_over(number, by="efua")
    assert stage.duty.handovers()[0].taken_by == "joao"


def test_no_page_after_the_stage_says_it_is_over(stage: Stage4, clock: ManualClock):
    name = stage.found()
    stage.incidents.advance(name, Stage.RESOLVED, actor="amina")
    assert stage.step() == 0


def test_the_first_of_staff_is_on_call_for_everything_until_there_are_rosters(
    tmp_path: Path, clock: ManualClock
):
    centre = open_centre(tmp_path / "c.db", clock=clock, markets=[packs.load("KE")])
    assert centre.first_administrator()
    assert centre.first_administrator() is None
    assert [(each.name, who) for each, who, _ in centre.duty.on_call_now()] == [
        ("centre", "administrator")
    ]
    finding = Finding(title="Odd", evidence="1 of 9", began_s=int(NOON.timestamp()))
    centre.incidents.found("KE", "failures", finding, counts=Counts.PAYMENTS, harm=Harm())
    asyncio.run(centre.pager.step())
    assert [page.state for page in centre.pager.waiting_for("administrator")] == ["sent"]
    centre.close()
