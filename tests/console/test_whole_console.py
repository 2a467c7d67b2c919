"""The whole console in a real browser: by keys, without script, and before axe (WCAG 2.2 AA)."""

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
import uvicorn

from tests.console.conftest import Desk
from tests.console.test_alarm_pages import DISK, HOST, fires, silenced
from tests.console.test_losses import quarter_of_an_hour
from tests.console.test_planned_pages import planned
from umoja.ops import paging
from umoja.ops.incident import Review, Stage
from umoja.ops.oncall import Chain, Layer, Roster, Step

CHROMIUM = shutil.which("chromium")
AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
QUIET = ["--no-sandbox", "--disable-gpu"]
SECRET = "a-secret-of-the-test-000"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine"),
]

SIGNED_IN = [
    "/",
    "/markets/KE",
    "/markets/GH?span=24h",
    "/incidents",
    "/incidents/INC-000001",
    "/incidents/INC-000002",
    "/incidents/times",
    "/incidents/INC-000003",
    "/alarms",
    "/silences",
    "/silences?q=nothing-like-it",
    "/planned",
    "/objectives",
    "/on-call",
    "/on-call/swaps",
    "/staff",
    "/tokens",
    "/audit",
    "/account",
    "/handset",
    "/drills",
    "/no-such-page",
]
SIGNED_OUT = ["/", "/sign-in", "/incidents/INC-000001", f"/pages/{SECRET}"]

STANDS_OUT = """() => {
    const hides = each => ['auto', 'scroll', 'hidden'].includes(getComputedStyle(each).overflowX);
    const found = [];
    if (document.documentElement.scrollWidth > innerWidth) found.push('the page itself');
    for (const panel of document.querySelectorAll('.panel, .card, .tiles > *')) {
        const right = panel.getBoundingClientRect().right;
        for (const each of panel.querySelectorAll('*')) {
            const box = each.getBoundingClientRect();
            if (!box.width || box.right <= right + 1) continue;
            let at = each.parentElement;
            while (at !== panel && !hides(at)) at = at.parentElement;
            if (!hides(at)) found.push(each.tagName + ' ' + each.textContent.trim().slice(0, 60));
        }
    }
    return found;
}"""


@contextmanager
def served(desk: Desk) -> Iterator[str]:
    """Serve the console on a port of this machine, from a thread."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = uvicorn.Server(
            uvicorn.Config(desk.application, log_config=None, access_log=False, lifespan="off")
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.01)
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        finally:
            desk.application.state["is_stopping"] = True
            server.should_exit = True
            thread.join()


@pytest.fixture
async def busy(desk: Desk) -> Desk:
    """Return a console of whose every part something is shown, with its administrator signed in."""
    desk.gauge()
    desk.pays(40)
    desk.customer("Wanjiku", money=1_000_00)
    duty, incidents = desk.centre.duty, desk.centre.incidents
    await desk.enter("amina", "administrator")
    desk.staff("kofi", "engineer", "GH")
    layer = Layer(
        name="first",
        zone="UTC",
        people=("amina", "kofi"),
        first_day="2026-02-24",
        hands_over_at="00:00",
    )
    duty.put_roster(Roster(name="centre", markets=("*",), layers=(layer,)))
    duty.put_chain(
        Chain(name="all", markets=("*",), steps=(Step(person="amina"),), least_severity=4)
    )
    duty.hand_over(roster="centre", given_by="kofi", body="All quiet")
    desk.centre.remedies.allow("switch_route", market="KE", most_a_day=3, days=30, actor="amina")
    ended = desk.incident(market="GH")
    for stage in (Stage.MITIGATED, Stage.RESOLVED):
        incidents.advance(ended.id, stage, actor="amina")
    incidents.review(ended.id, Review(summary="It broke", causes="A cable"), actor="amina")
    incidents.add_action(
        ended.id, what="Two cables", owner="amina", due="2026-12-01", actor="amina"
    )
    opened = desk.incident()
    incidents.note(opened.id, actor="amina", what="The vendor was rung")
    incidents.add_task(opened.id, what="Ring again", owner="amina", actor="amina")
    await desk.centre.pager.step()
    quarter_of_an_hour(desk)
    desk.pays(40)
    desk.gauge()
    desk.centre.objectives.keep()
    fires(desk, DISK, HOST, link="https://prometheus.example/graph")
    await silenced(desk)
    await silenced(
        desk, lasts="90d", **{"recurs": "1", "day-mon": "1"}, since="22:00", until="04:00"
    )
    await planned(desk, **{"on-airtime": "1"})
    await planned(desk, starts="2026-03-15T16:30", ends="2026-03-15T18:00")
    await planned(
        desk, ends="2026-06-10T00:00", **{"again": "1", "day-tue": "1", "day-fri": "1"},
        since="23:00", until="02:00",
    )  # fmt: skip
    await desk.post("/tokens", **{"name": "prometheus", "scope-alerts": "1", "lasts": "90d"})
    await desk.post("/alarms/vendors", act="watch", name="sms-east", url="https://status.example/")
    # Only the digest of a page's secret is kept: the test makes one of its own.
    desk.centre._database.run("UPDATE pages SET digest = :digest", digest=paging._digest(SECRET))
    return desk


def found_by_axe(page: Any) -> list[str]:
    page.add_script_tag(path=str(AXE))
    found = page.evaluate("rules => axe.run(document, {runOnly: rules})", RULES)["violations"]
    return [
        f"{page.url} {each['id']}: {node['html'][:160]} {node['failureSummary'][:300]}"
        for each in found
        for node in each["nodes"][:3]
    ]


@contextmanager
def entered(desk: Desk, **how: Any) -> Iterator[Any]:
    """Open a browser in which the desk's visitor is signed in, and yield its context."""
    from playwright.sync_api import sync_playwright

    with served(desk) as address, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        context = browser.new_context(base_url=address, **how)
        context.add_cookies(
            [
                {"name": name, "value": value, "url": address}
                for name, value in desk.http.cookies.items()
            ]
        )
        yield context
        browser.close()


def test_an_incident_is_worked_on_by_keys_alone(busy: Desk):
    with entered(busy) as context:
        page = context.new_page()
        page.goto("/incidents/INC-000002")
        page.keyboard.press("n")
        page.keyboard.type("a note with the letters a, k and t")
        assert page.locator("#note").input_value() == "a note with the letters a, k and t"
        page.locator("h1").click()
        page.keyboard.press("k")
        page.keyboard.type("ring the vendor")
        assert page.locator("#task").input_value() == "ring the vendor"
        page.locator("h1").click()
        page.keyboard.press("?")
        page.locator("#keys").click()  # whoever speaks to the machine switches single keys off
        page.keyboard.press("Escape")
        page.keyboard.press("a")
        page.keyboard.press("i")
        assert "Nobody has taken it." in page.locator("#live").inner_text()
        page.reload()
        page.locator("#help-open").click()
        assert page.locator("#keys").inner_text() == "Switch single keys on"
        page.locator("#keys").click()
        page.keyboard.press("Escape")
        page.keyboard.press("a")
        page.get_by_text("Acknowledged by amina").wait_for()
    assert busy.centre.incidents.get("INC-000002").acknowledged_by == "amina"


def test_an_incident_is_worked_on_without_any_script(busy: Desk):
    with entered(busy, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto("/incidents/INC-000002")
        page.get_by_role("button", name="Acknowledge").click()
        page.get_by_text("Acknowledged by amina").wait_for()
        page.locator("#task").fill("ring the vendor")
        page.get_by_role("button", name="Add the task").click()
        page.get_by_text("task 2 for amina: ring the vendor").wait_for()


@pytest.mark.bench  # it waits for a page to renew itself
def test_what_is_folded_out_stays_so_when_the_page_renews_itself(busy: Desk):
    with entered(busy) as context:
        page = context.new_page()
        page.goto("/incidents/INC-000003")
        page.locator("#impact-table summary").click()
        busy.centre.incidents.note("INC-000003", actor="kofi", what="renewed by now")
        page.get_by_text("renewed by now").wait_for()
        assert page.locator("#impact-table").get_attribute("open") is not None
        assert page.locator("#impact-table tbody tr").first.is_visible()
        page.locator("h1").click()
        page.keyboard.press("l")
        page.wait_for_url("**/alarms")


@pytest.mark.bench  # too slow for the quick suite; in every build
def test_nothing_stands_out_of_its_panel_in_any_language_on_any_screen(busy: Desk):
    found: list[str] = []
    with entered(busy) as context:
        page = context.new_page()
        for language in ("en", "fr"):
            page.goto("/")
            page.locator(f"button[name=language][value={language}]").click()
            page.locator(f"html[lang={language}]").wait_for()
            for width in (1920, 1366, 390):
                page.set_viewport_size({"width": width, "height": 844})
                for path in SIGNED_IN:
                    page.goto(path)
                    out = page.evaluate(STANDS_OUT)
                    found += [f"{language} {width} {path}: {each}" for each in out]
    assert found == []


@pytest.mark.bench  # too slow for the quick suite; in every build
def test_axe_finds_nothing_on_any_page_light_and_dark(busy: Desk):
    from playwright.sync_api import sync_playwright

    found: list[str] = []
    with served(busy) as address, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        for scheme, width in (("light", 1366), ("dark", 390)):
            for paths, is_in in ((SIGNED_IN, True), (SIGNED_OUT, False)):
                context = browser.new_context(
                    base_url=address,
                    bypass_csp=True,  # for axe alone; test_browser holds the policy itself
                    color_scheme=scheme,
                    reduced_motion="reduce",
                    viewport={"width": width, "height": 844},
                )
                if is_in:
                    context.add_cookies(
                        [
                            {"name": name, "value": value, "url": address}
                            for name, value in busy.http.cookies.items()
                        ]
                    )
                page = context.new_page()
                for path in paths:
                    page.goto(path, wait_until="load")
                    found += found_by_axe(page)
                page.goto("/incidents")
                page.locator("#help-open").click()
                found += found_by_axe(page)
                context.close()
        browser.close()
    assert not found, "\n".join(found)
