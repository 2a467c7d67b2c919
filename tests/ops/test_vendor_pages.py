"""Vendors' status pages, read from a real server: Statuspage, Atom, RSS, and what is no page at all."""

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from umoja.clock import ManualClock, to_micros
from umoja.ops.centre import Centre
from umoja.ops.vendor_pages import Announced, PageRefused, Unreadable, announced_in
from umoja.reach import client

SUMMARY = {
    "page": {"name": "Vendor"},
    "status": {"indicator": "major", "description": "Partial outage"},
    "incidents": [
        {
            "name": "SMS are <b>late</b>",
            "status": "investigating",
            "impact": "major",
            "created_at": "2026-03-10T08:30:00.000Z",
            "shortlink": "https://stspg.io/x",
        },
        {"name": "Old", "status": "resolved", "created_at": "2026-03-10T08:30:00Z"},
    ],
    "scheduled_maintenances": [
        {"name": "Later", "status": "scheduled", "created_at": "2026-03-10T08:30:00Z"}
    ],
}
ATOM = """<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom"><title>V</title>
<entry><title>Delays at the bank</title><updated>2026-03-10T08:40:00Z</updated>
<published>2026-03-10T08:00:00Z</published><link href="https://v.example/1"/>
<summary>Investigating - we look into it</summary></entry>
<entry><title>Cut</title><updated>2026-03-10T08:50:00Z</updated>
<summary>&lt;p&gt;Resolved - it is over&lt;/p&gt;</summary></entry>
<entry><title>Ancient</title><updated>2026-03-01T08:50:00Z</updated></entry></feed>"""
RSS = """<?xml version="1.0"?><rss version="2.0"><channel><title>V</title>
<item><title>Card switch down</title><pubDate>Tue, 10 Mar 2026 08:45:00 GMT</pubDate></item>
</channel></rss>"""


class Vendor(ThreadingHTTPServer):
    """Answers what a test puts on its shelf."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.shelf: dict[str, tuple[int, bytes]] = {}
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Vendor

    def do_GET(self) -> None:
        status, body = self.server.shelf.get(self.path, (404, b""))
        self.send_response(status)
        if status == 302:
            self.send_header("location", "/summary.json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    server = Vendor()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join(10)
    server.server_close()


async def read(centre: Centre, *, may_be_private: bool = True) -> None:
    async with client(may_be_private=may_be_private) as through:
        await centre.vendor_pages.read_all(through)


def test_statuspage_atom_and_rss_are_read(clock: ManualClock):
    now = to_micros(clock.now())
    minute = 60_000_000

    assert announced_in(json.dumps(SUMMARY).encode(), now) == (
        Announced(
            title="SMS are late", since=now - 30 * minute, impact="major", link="https://stspg.io/x"
        ),
    )
    assert announced_in(ATOM.encode(), now) == (
        Announced(title="Delays at the bank", since=now - 60 * minute, link="https://v.example/1"),
    )
    assert announced_in(RSS.encode(), now) == (
        Announced(title="Card switch down", since=now - 15 * minute),
    )
    assert announced_in(b'{"status":{"indicator":"minor","description":"Slow"}}', now) == (
        Announced(title="Slow", since=now, impact="minor"),
    )
    assert announced_in(b'{"status":{"indicator":"none","description":"All well"}}', now) == ()


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"<html><p>no</p></html>", b'{"status":1}', b"\xff"]
)
def test_what_is_no_status_page_is_said_so(body: bytes):
    with pytest.raises(Unreadable):
        announced_in(body, 1)


async def test_an_announcement_is_an_alert_that_pages_nobody_and_ends(
    centre: Centre, clock: ManualClock, vendor: Vendor
):
    vendor.shelf["/summary.json"] = (200, json.dumps(SUMMARY).encode())
    centre.vendor_pages.add(
        name="Sms-Route", url=f"{vendor.url}/summary.json", markets=["ke"], actor="wanjiru"
    )

    await read(centre)

    (alert,) = centre.alarms.standing()
    assert alert.alert.labels == {
        "alertname": "VendorTrouble",
        "severity": "info",
        "vendor": "sms-route",
        "announcement": "SMS are late",
        "market": "KE",
    }
    assert centre.vendor_pages.changed("KE") == ["sms-route announces: SMS are late"]
    assert centre.vendor_pages.changed("GH") == []
    assert centre.vendor_pages.announcements() == {"sms-route": 1}
    clock.advance(timedelta(seconds=30))
    centre.alarms.look()
    assert centre.incidents.open_ones() == []

    vendor.shelf["/summary.json"] = (200, b'{"status":{"indicator":"none"}}')
    await read(centre)
    assert centre.alarms.standing() == []
    assert centre.vendor_pages.changed("KE") == []


async def test_one_page_s_trouble_is_told_and_holds_up_no_other(
    centre: Centre, clock: ManualClock, vendor: Vendor
):
    vendor.shelf |= {
        "/rss": (200, RSS.encode()),
        "/away": (302, b""),
        "/large": (200, b"<" * ((1 << 20) + 1)),
    }
    for name in ("rss", "away", "large", "none"):
        centre.vendor_pages.add(name=name, url=f"{vendor.url}/{name}", markets=[], actor="wanjiru")

    await read(centre)

    told = {each.name: each.trouble for each in centre.vendor_pages.browse()}
    assert told == {
        "away": "it answers 302",  # a redirect leads nowhere
        "large": "the answer is larger than 1048576 bytes",
        "none": "it answers 404",
        "rss": "",
    }
    assert len(centre.alarms.standing()) == 1
    assert {each.read_at for each in centre.vendor_pages.browse()} == {to_micros(clock.now())}


async def test_production_is_not_led_into_a_private_network(centre: Centre, vendor: Vendor):
    vendor.shelf["/rss"] = (200, RSS.encode())
    centre.vendor_pages.add(name="inside", url=f"{vendor.url}/rss", markets=[], actor="wanjiru")

    await read(centre, may_be_private=False)

    assert centre.alarms.standing() == []
    (page,) = centre.vendor_pages.browse()
    assert page.trouble == "127.0.0.1 leads into a private network"


@pytest.mark.parametrize(
    ("name", "url", "markets"),
    [
        ("a b", "https://v.example", []),
        ("a", "ftp://v.example", []),
        ("a", "https://user:secret@v.example", []),
        ("a", "https://", []),
        ("a", "https://v.example/" + "x" * 500, []),
        ("a", "https://v.example", ["XX"]),
    ],
)
def test_a_page_that_cannot_be_watched_is_refused(
    centre: Centre, name: str, url: str, markets: list[str]
):
    with pytest.raises(PageRefused):
        centre.vendor_pages.add(name=name, url=url, markets=markets, actor="wanjiru")


def test_a_page_is_watched_no_longer(centre: Centre):
    centre.vendor_pages.add(name="a", url="https://v.example", markets=[], actor="wanjiru")

    assert centre.vendor_pages.remove("a")
    assert not centre.vendor_pages.remove("a")
    assert centre.vendor_pages.browse() == []
