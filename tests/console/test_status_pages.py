"""The public status page for anybody, and what staff do: tell customers, and regulators in time."""

import asyncio
from datetime import timedelta
from typing import Any

import feedparser
import httpx
import pytest

from tests.console.conftest import Desk, Opened, told
from tests.console.test_whole_console import CHROMIUM, entered, found_by_axe
from umoja.clock import ManualClock
from umoja.faults import Unavailable
from umoja.ops.finding import Counts, Finding
from umoja.ops.impact import Harm
from umoja.ops.incident import Cause, Incident, Stage
from umoja.ops.incidents import Scene
from umoja.signals import Outcome

TELLING = "/incidents/INC-000001/telling"
TEXTS = {"text_en": "Send money: down since 12:00.", "text_sw": "Tuma pesa: haifanyi kazi."}


def trouble(
    desk: Desk, *, market: str = "KE", severity: int = 2, cause: Cause | None = None
) -> Incident:
    name = desk.centre.incidents.found(
        market, "failures",
        Finding(title="Payments fail", evidence="9 of 9",
                began_s=int(desk.clock.now().timestamp()) - 60, product="send_money"),
        counts=Counts.PAYMENTS, harm=Harm(), scene=Scene(hint=severity, cause=cause),
    )  # fmt: skip
    incident = desk.centre.incidents.get(name)
    assert incident is not None
    return incident


def works(desk: Desk) -> None:
    desk.gauge()
    desk.pays(30)
    desk.centre.status.look()


async def status(desk: Desk, path: str, **headers: str) -> httpx.Response:
    """Look as anybody does: without a cookie."""
    return await desk.http.get(path, headers={"cookie": ""} | headers)


@pytest.fixture
def public(opened: Opened) -> Desk:
    """Return a console as in production: whoever has not signed in sees the public page only."""
    return opened(is_sandbox=False)


# For anybody


async def test_it_needs_no_sign_in_sets_no_cookie_and_may_be_kept(public: Desk):
    works(public)
    html = "text/html; charset=utf-8"
    for path, kind in (
        ("/status", html),
        ("/status/KE", html),
        ("/status/ke", html),
        ("/status/KE.json", "application/json"),
        ("/status/KE.atom", "application/atom+xml"),
    ):
        answer = await status(public, path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind), path
        assert "set-cookie" not in answer.headers
        assert answer.headers["cache-control"] == "public, max-age=5"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert (await public.http.head("/status/KE")).status_code == 200
    assert (await public.http.post("/status/KE")).status_code == 405
    assert (await public.get("/")).status_code == 303


async def test_a_state_is_told_in_plain_words(public: Desk):
    works(public)
    page = told((await status(public, "/status/KE")).text)
    assert "Send money Working" in page
    assert "Buy airtime Not known" in page
    assert "We cannot see this service at the moment" in page
    assert "There are no messages." in page
    assert "As of 10/03 12:00, local time" in page
    public.pays(40, outcome=Outcome.FAILED)
    public.clock.advance(timedelta(seconds=5))
    public.centre.status.look()
    assert "Send money Not working" in told((await status(public, "/status/KE")).text)


async def test_the_whole_is_told_apart_from_its_parts(public: Desk):
    def whole(page: str) -> str:
        return told(page.partition('class="whole"')[2].partition("</p>")[0].partition(">")[2])

    works(public)
    assert whole((await status(public, "/status/KE")).text) == "Working"
    public.pays(40, outcome=Outcome.FAILED)
    public.centre.status.look()
    public.clock.advance(timedelta(seconds=5))
    assert whole((await status(public, "/status/KE")).text) == "Not working"
    public.pays(40, product="airtime")
    public.centre.status.look()
    public.clock.advance(timedelta(seconds=5))
    page = (await status(public, "/status/KE")).text
    assert whole(page) == "Some services do not work as they should"
    assert "Some services do not work" in told((await status(public, "/status")).text)
    assert (await status(public, "/status/KE.json")).json()["state"] == "down"


async def test_days_of_trouble_are_told_in_words(public: Desk):
    works(public)
    about = trouble(public)
    public.centre.status.publish(
        about, product="send_money", kind="down", languages=("en", "sw"), actor="amina",
        texts={"en": "Down.", "sw": "Haifanyi kazi."},
    )  # fmt: skip
    public.centre.status.look()
    for _ in range(12):
        public.clock.advance(timedelta(seconds=10))
        public.gauge()
        public.centre.status.look()
    page = (await status(public, "/status/KE")).text
    assert "<li>10/03/2026: Not working, 2 min</li>" in page
    assert '<rect data-state="none" x="0" width="89" height="1"></rect>' in page
    assert '<rect data-state="down" x="89" width="1" height="1"><title>10/03/2026' in page
    assert len(page) < 10_000  # it is read on slow networks
    body = (await status(public, "/status/KE.json")).json()
    days = body["services"][0]["days"]
    assert len(days) == 90
    assert days[-2:] == [
        {"day": "2026-03-09", "state": None, "minutes": 0},
        {"day": "2026-03-10", "state": "down", "minutes": 2},
    ]


async def test_a_blind_centre_is_never_green(public: Desk):
    works(public)
    public.clock.advance(timedelta(seconds=31))
    body = (await status(public, "/status/KE.json")).json()
    assert body["state"] == "unknown"
    assert {each["state"] for each in body["services"]} == {"unknown"}
    page = (await status(public, "/status/KE")).text
    assert 'data-state="working"' not in page
    everything = told((await status(public, "/status")).text)
    assert "Kenya M-PESA Not known" in everything
    assert "Ghana Telecel Cash Not known" in everything


async def test_one_rendering_serves_all_for_a_few_seconds(public: Desk):
    works(public)
    first = (await status(public, "/status/KE.json")).content
    public.centre.status.publish(
        trouble(public), product="send_money", kind="down", languages=("en", "sw"), actor="amina",
        texts={"en": "Down.", "sw": "Haifanyi kazi."},
    )  # fmt: skip
    public.clock.advance(timedelta(seconds=4))
    assert (await status(public, "/status/KE.json")).content == first
    public.clock.advance(timedelta(seconds=1))
    body = (await status(public, "/status/KE.json")).json()
    assert [each["text"] for each in body["messages"]] == ["Down."]


@pytest.mark.parametrize(
    ("query", "accepted", "language", "title"),
    [
        ("", "", "en", "Service status"),
        ("?lang=sw", "fr", "sw", "Hali ya huduma"),
        ("?lang=fr", "", "en", "Service status"),
        ("?lang=zz", "sw;q=0.9, en;q=0.2", "sw", "Hali ya huduma"),
        ("", "fr, sw-KE;q=0.5", "sw", "Hali ya huduma"),
        ("", "sw;q=0", "en", "Service status"),
        ("", "sw;q=nonsense,,;;", "en", "Service status"),
    ],
)
async def test_a_market_speaks_its_languages(
    public: Desk, query: str, accepted: str, language: str, title: str
):
    page = (await status(public, f"/status/KE{query}", **{"accept-language": accepted})).text
    assert f'<html lang="{language}" dir="ltr">' in page
    assert f"<h1>{title}</h1>" in page


async def test_all_markets_are_listed_in_any_language_right_to_left_too(public: Desk):
    page = (await status(public, "/status?lang=ar")).text
    assert '<html lang="ar" dir="rtl">' in page
    assert "حالة الخدمة" in page
    page = (await status(public, "/status?lang=fr")).text
    assert "Tous les pays" in page
    assert 'href="/status/GH"' in page


@pytest.mark.parametrize("path", ["/status/XX", "/status/KE.xml", "/status/KE.json.atom"])
async def test_what_is_not_there_leads_to_all_markets(public: Desk, path: str):
    answer = await status(public, path)
    assert answer.status_code == 404
    assert 'href="/status/KE"' in answer.text
    assert "sign-in" not in answer.text


async def test_nothing_of_ours_is_told(public: Desk):
    works(public)
    about = trouble(public, cause=Cause(kind="vendor", name="Simba Bank"))
    public.centre.status.publish(
        about, product="send_money", kind="down", languages=("en", "sw"), actor="amina",
        texts={"en": "Down.", "sw": "Haifanyi kazi."},
    )  # fmt: skip
    public.centre.status.look()
    for path in ("/status/KE", "/status/KE.json", "/status/KE.atom"):
        text = (await status(public, path)).text
        for secret in ("Simba", "amina", "INC-0", "Payments fail", "KES", "severity", "failures"):
            assert secret not in text, (path, secret)


async def test_the_feed_is_atom_with_corrections(public: Desk):
    works(public)
    public.centre.status.address = "https://umoja.example"
    about = trouble(public)
    for text in ("Send money <b>is down</b> & out.", "Working again."):
        public.clock.advance(timedelta(minutes=1))
        public.centre.status.publish(
            about, product="send_money", kind="down", languages=("en", "sw"), actor="amina",
            texts={"en": text, "sw": "Taarifa."},
        )  # fmt: skip
    public.centre.status.withdraw(about, 1, reason="not so", actor="amina")
    answer = await status(public, "/status/KE.atom")
    assert answer.headers["content-type"].startswith("application/atom+xml")
    feed = feedparser.parse(answer.content)
    assert (feed.bozo, feed.version) == (False, "atom10")
    assert feed.feed.title == "M-PESA Kenya: Service status"
    assert feed.feed.author == "Safaricom PLC"
    assert feed.feed.updated == "2026-03-10T09:02:00Z"
    assert feed.feed.id == "https://umoja.example/status/KE/en"
    assert [(each.id, each.published, each.link) for each in feed.entries] == [
        (
            "https://umoja.example/status/KE/en/2",
            "2026-03-10T09:02:00Z",
            "https://umoja.example/status/KE?lang=en#message-2",
        ),
        (
            "https://umoja.example/status/KE/en/1",
            "2026-03-10T09:01:00Z",
            "https://umoja.example/status/KE?lang=en#message-1",
        ),
    ]
    newest, oldest = feed.entries
    assert newest.content[0].value == "Working again."
    assert oldest.content[0].value == (
        "Corrected 10/03 12:02: this message was wrong. Send money <b>is down</b> & out."
    )
    page = (await status(public, "/status/KE")).text
    assert "<s>Send money &lt;b&gt;is down&lt;/b&gt; &amp; out.</s>" in page
    assert "<p>Working again.</p>" in page


async def test_a_centre_that_cannot_read_its_file_still_shows_the_page(
    public: Desk, monkeypatch: pytest.MonkeyPatch
):
    def broken(*_: Any, **__: Any) -> None:
        raise Unavailable("the disk is gone")

    works(public)
    for name in ("query", "one"):
        monkeypatch.setattr(public.centre._database, name, broken)
    assert "Send money Working" in told((await status(public, "/status/KE")).text)


# What staff do


async def test_a_message_is_drafted_in_every_language_and_published(desk: Desk):
    works(desk)
    trouble(desk)
    await desk.enter("amina", "engineer")
    page = (await desk.get(TELLING)).text
    assert "Send money: since 10/03 11:59 some payments fail or are late." in page
    assert "Tuma pesa: tangu 10/03 11:59 baadhi ya malipo yanashindwa" in page
    page = (await desk.get(f"{TELLING}?kind=down&product=")).text
    assert "All services: not working since 10/03 11:59." in page
    answer = await desk.post(TELLING, act="publish", kind="down", product="send_money", **TEXTS)
    assert answer.status_code == 303, answer.text
    desk.clock.advance(timedelta(seconds=5))
    desk.centre.status.look()
    public = told((await status(desk, "/status/KE?lang=sw")).text)
    assert "Tuma pesa: haifanyi kazi." in public
    assert "Tuma pesa Haifanyi kazi" in public
    assert ("amina", "status_published", "KE") in [act[:3] for act in desk.acts()]
    incident = told((await desk.get("/incidents/INC-000001")).text)
    assert "published on the status page: Send money: down since 12:00." in incident
    assert "1 message published" in incident


async def test_of_late_receipts_nobody_is_told_that_payments_fail(desk: Desk):
    desk.incident()
    await desk.enter("amina", "engineer")
    page = (await desk.get(TELLING)).text
    assert (
        "Confirmation SMS: since 10/03 12:00 some are late or do not arrive. Payments work" in page
    )
    assert "SMS za uthibitisho: tangu 10/03 12:00 baadhi zinachelewa au hazifiki. Malipo" in page
    assert "payments fail or are late" not in page


async def test_a_message_is_withdrawn_with_a_reason(desk: Desk):
    works(desk)
    trouble(desk)
    await desk.enter("amina", "engineer")
    await desk.post(TELLING, act="publish", kind="down", product="send_money", **TEXTS)
    refused = await desk.post(TELLING, act="withdraw", number="1", reason=" ")
    assert refused.status_code == 422
    assert "say why it is withdrawn" in refused.text
    assert (await desk.post(TELLING, act="withdraw", number="1", reason="no")).status_code == 303
    assert "Withdrawn by amina" in (await desk.get(TELLING)).text
    assert "this message was wrong" in (await status(desk, "/status/KE")).text
    assert (await desk.post(TELLING, act="withdraw", number="x", reason="n")).status_code == 422


async def test_the_all_clear_is_suggested_and_missed(desk: Desk):
    works(desk)
    about = trouble(desk)
    await desk.enter("amina", "engineer")
    await desk.post(TELLING, act="publish", kind="down", product="send_money", **TEXTS)
    desk.centre.incidents.advance(about.id, Stage.MITIGATED, actor="amina")
    assert "Send money: working again." in (await desk.get(TELLING)).text
    desk.clock.advance(timedelta(minutes=7))
    desk.centre.incidents.advance(about.id, Stage.RESOLVED, actor="amina")
    page = (await desk.get(TELLING)).text
    assert "the all clear was not given" in page
    assert "Send money: working as usual again since 10/03 12:00." in page
    await desk.post(TELLING, act="publish", kind="over", product="send_money", **TEXTS)
    assert "the all clear was not given" not in (await desk.get(TELLING)).text


async def test_what_is_refused_is_said_and_the_words_are_kept(desk: Desk):
    trouble(desk)
    await desk.enter("amina", "engineer")
    texts = TEXTS | {"text_en": "Call 0712 345 678 now"}
    answer = await desk.post(TELLING, act="publish", kind="down", product="send_money", **texts)
    assert answer.status_code == 422
    assert "has a long number" in answer.text
    assert "Call 0712 345 678 now" in answer.text
    assert (await desk.post(TELLING, act="nothing")).status_code == 400
    assert "status_published" not in [act[1] for act in desk.acts()]


async def test_only_staff_of_the_market_publish(desk: Desk):
    trouble(desk)
    fields = {"act": "publish", "kind": "down", "product": "send_money"} | TEXTS
    assert (await desk.post(TELLING, **fields)).status_code == 401
    await desk.enter("kofi", "viewer")
    assert (await desk.post(TELLING, **fields)).status_code == 403
    assert "Your role may not publish" in (await desk.get(TELLING)).text
    await desk.enter("efua", "engineer", "GH")
    assert (await desk.post(TELLING, **fields)).status_code == 403
    assert (await desk.get("/incidents/INC-000009/telling")).status_code == 404
    assert desk.centre.status.shown("KE").messages == ()


# Regulators


def clocked(desk: Desk) -> ManualClock:
    trouble(desk, severity=1, cause=Cause(kind="market", name="KE"))
    desk.centre.regulators.look()
    return desk.clock


async def test_clocks_are_shown_where_they_run(desk: Desk):
    clock = clocked(desk)
    await desk.enter("amina", "engineer")
    page = told((await desk.get("/regulators")).text)
    assert "Central Bank of Kenya 2026-03-10 14:00 2.0 h" in page
    assert "Ghana: no rule on record for this market; ask your compliance officer." in page
    assert "The Standard (Kenya) of July 2019" in page
    page = told((await desk.get("/incidents/INC-000001")).text)
    assert "2.0 h left, due 2026-03-10 14:00 local time" in page
    clock.advance(timedelta(hours=3))
    assert "overdue by 60 min" in told((await desk.get("/regulators")).text)
    assert "overdue by 60 min" in told((await desk.get("/incidents/INC-000001/live")).text)


async def test_a_market_without_a_rule_says_so_on_its_incident(desk: Desk):
    trouble(desk, market="GH")
    page = told((await desk.get("/incidents/INC-000001")).text)
    assert "no rule on record for this market; ask your compliance officer." in page
    trouble(desk, severity=4)
    page = told((await desk.get("/incidents/INC-000002")).text)
    assert "No regulator has to be told of this as it stands now." in page


async def test_a_notice_is_drafted_and_its_sending_recorded(desk: Desk):
    clock = clocked(desk)
    await desk.enter("amina", "engineer")
    page = (await desk.get("/regulators/2")).text
    assert "NOTICE OF AN INCIDENT (DRAFT)" in page
    text = await desk.get("/regulators/2/notice.txt")
    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    assert "To:                       Central Bank of Kenya" in text.text
    clock.advance(timedelta(minutes=90))
    late = {"act": "sent", "reference": "CBK/7", "at": "2026-03-10T15:00"}
    refused = await desk.post("/regulators/2", **late)
    assert refused.status_code == 422
    assert "later than now" in refused.text
    assert 'value="CBK/7"' in refused.text
    for at, says in (
        ("yesterday", "2026-03-31T14:05"),
        ("2026-03-10T11:59", "before the incident"),
    ):
        refused = await desk.post("/regulators/2", **(late | {"at": at}))
        assert refused.status_code == 422
        assert says in refused.text
    sent = await desk.post("/regulators/2", **(late | {"at": "2026-03-10T13:20"}))
    assert sent.status_code == 303
    page = told((await desk.get("/regulators")).text)
    assert "No notice is due." in page
    assert page.count("sent 2026-03-10 13:20 by amina, reference CBK/7") == 2
    assert ("amina", "regulator_told", "KE") in [act[:3] for act in desk.acts()]
    page = told((await desk.get("/incidents/INC-000001")).text)
    assert "told, reference CBK/7" in page


async def test_a_clock_is_ended_with_a_reason_by_who_may(desk: Desk):
    clocked(desk)
    fields = {"act": "not_required", "reason": "a drill"}
    assert (await desk.post("/regulators/1", **fields)).status_code == 401
    await desk.enter("kofi", "viewer")
    assert (await desk.post("/regulators/1", **fields)).status_code == 403
    assert "Your role may not record notices" in (await desk.get("/regulators/1")).text
    await desk.enter("amina", "engineer")
    assert (await desk.post("/regulators/1", act="not_required", reason="")).status_code == 422
    assert (await desk.post("/regulators/1", act="nothing")).status_code == 400
    assert (await desk.post("/regulators/1", **fields)).status_code == 303
    assert "not required, says amina: a drill" in told((await desk.get("/regulators")).text)
    assert (await desk.get("/regulators/9")).status_code == 404


async def test_regulators_are_for_staff_in_production(public: Desk):
    clocked(public)
    for path in ("/regulators", "/regulators/1", "/regulators/1/notice.txt", TELLING):
        answer = await public.get(path)
        assert (answer.status_code, answer.headers["location"][:8]) == (303, "/sign-in"), path
    await public.enter("efua", "engineer", "GH")
    assert (await public.get("/regulators/1")).status_code == 403
    assert "Central Bank of Kenya" not in (await public.get("/regulators")).text


PUBLIC = ["/status", "/status?lang=ar", "/status/KE", "/status/KE?lang=sw", "/status/XX"]
STAFF = [TELLING, "/regulators", "/regulators/1", "/regulators/2"]


@pytest.mark.browser
@pytest.mark.bench  # too slow for the quick suite; in every build
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")
async def test_axe_finds_nothing_light_and_dark_wide_and_narrow(desk: Desk):
    works(desk)
    clocked(desk)
    await desk.enter("amina", "engineer")
    await desk.post(TELLING, act="publish", kind="down", product="send_money", **TEXTS)
    await desk.post(TELLING, act="withdraw", number="1", reason="no")
    await desk.post("/regulators/1", act="not_required", reason="a drill")
    desk.centre.status.look()
    assert await asyncio.to_thread(looked_at, desk) == []


def looked_at(desk: Desk) -> list[str]:
    """Look at every page in a browser; return what axe finds, and each page that is too wide."""
    found: list[str] = []
    for scheme, width in (("light", 1366), ("dark", 375)):
        size = {"width": width, "height": 844}
        with entered(desk, color_scheme=scheme, viewport=size, bypass_csp=True) as context:
            page = context.new_page()
            for path in (*PUBLIC, *STAFF):
                page.goto(path, wait_until="load")
                found += found_by_axe(page)
                wide = "document.documentElement.scrollWidth > innerWidth"
                if page.evaluate(wide):
                    found.append(f"{path} is wider than {width}")
    return found


def test_values_are_as_the_test_thinks(desk: Desk):
    """The stage's clock stands at noon in Kenya, of which all times above are made."""
    noon: Any = desk.clock.now()
    assert desk.stages["KE"].market.local(noon).isoformat() == "2026-03-10T12:00:00+03:00"
