"""The console in a real browser, on a sandbox of its own: the wall lives, keys work, a phone pays."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

CHROMIUM = shutil.which("chromium")
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync",
    "--disable-component-update", "--no-first-run",
]  # fmt: skip

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine"),
]


class Sandbox:
    """A running sandbox of two markets; it can be stopped and let go on."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        self._log = (folder / "log").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "umoja", "up", "--data", str(folder / "data"),
             "--port", str(port), "--markets", "EG,KE"],
            stdout=self._log, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def wait(self) -> None:
        until = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < until:
            try:
                if httpx.get(f"{self.address}/healthz").status_code == 200:
                    return
            except httpx.HTTPError:
                time.sleep(0.1)
        raise AssertionError(self.log())

    def log(self) -> str:
        self._log.flush()
        return Path(self._log.name).read_text()

    def send(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def close(self) -> None:
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        self.process.wait(timeout=20)
        self._log.close()


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    made = Sandbox(tmp_path_factory.mktemp("sandbox"))
    try:
        made.wait()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield opened
        opened.close()


@pytest.fixture
def page(browser, sandbox: Sandbox) -> Iterator[object]:
    """A page that fails its test where the browser complains or asks another host."""
    context = browser.new_context(viewport={"width": 1366, "height": 768}, base_url=sandbox.address)
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on(
        "console", lambda said: complaints.append(said.text) if said.type == "error" else None
    )
    opened.on(
        "request",
        lambda asked: (
            None if asked.url.startswith(sandbox.address) else complaints.append(asked.url)
        ),
    )
    opened.complaints = complaints
    yield opened
    assert complaints == []
    context.close()


def payments_today(page) -> int:
    text = page.locator(".headline dl div", has_text="Payments today").locator("dd").inner_text()
    return int(text.replace(",", ""))


def test_the_wall_lives_and_keys_go_where_they_say(page):
    page.goto("/")
    assert page.locator(".card").count() == 2
    before = payments_today(page)
    page.wait_for_function(
        "before => Number([...document.querySelectorAll('.headline dl div')].find("
        "each => each.textContent.includes('Payments today')).querySelector('dd')"
        ".textContent.replaceAll(',', '')) > before",
        arg=before,
        timeout=30_000,
    )
    page.keyboard.press("2")
    page.wait_for_url("**/markets/KE")
    page.keyboard.press("i")
    page.wait_for_url("**/incidents")
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("1")  # a key of the help's, not of the page's
    page.keyboard.press("Escape")
    assert not page.locator("#help").is_visible()
    page.keyboard.press("w")
    page.wait_for_url(re.compile("/$"))
    page.keyboard.press("h")
    page.wait_for_url("**/handset**")


def test_keyboard_focus_stays_while_the_wall_changes(page):
    page.goto("/")
    page.locator("#to-KE").focus()
    at = page.locator(".headline").get_attribute("data-at")
    page.wait_for_function(
        "at => document.querySelector('.headline').dataset.at !== at", arg=at, timeout=30_000
    )
    assert page.evaluate("document.activeElement.id") == "to-KE"
    page.keyboard.press("Enter")
    page.wait_for_url("**/markets/KE")


def test_the_theme_is_turned_and_kept(page):
    page.goto("/")
    light = page.evaluate("getComputedStyle(document.body.parentElement).backgroundColor")
    page.keyboard.press("t")
    dark = page.evaluate("getComputedStyle(document.body.parentElement).backgroundColor")
    assert light != dark
    page.goto("/incidents")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


@pytest.mark.parametrize("path", ["/", "/markets/KE", "/incidents", "/handset", "/sign-in"])
@pytest.mark.parametrize(("width", "height"), [(1366, 768), (1920, 1080), (390, 844)])
def test_pages_fit_their_screen(page, path: str, width: int, height: int):
    page.set_viewport_size({"width": width, "height": height})
    page.goto(path)
    page.wait_for_selector("footer")
    across, down = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
    )
    assert across <= width
    if path == "/" and width > 1000:
        assert down <= height  # all markets on one screen


def test_when_nothing_is_heard_the_wall_says_so_and_is_blind(page, sandbox: Sandbox):
    page.goto("/")
    page.wait_for_selector(".headline")
    sandbox.send(signal.SIGSTOP)
    try:
        page.wait_for_selector("body.is-stale", timeout=30_000)
        assert "No news from the centre since" in page.locator("#stale").inner_text()
        assert page.locator(".card").first.get_attribute("data-state") == "blind"
        assert page.locator(".card .light").first.inner_text() == "blind"
        assert page.locator("[data-place=KE]").get_attribute("data-state") == "blind"
    finally:
        sandbox.send(signal.SIGCONT)
    page.wait_for_selector("body:not(.is-stale)", timeout=30_000)
    assert not page.locator("#stale").is_visible()


def test_a_phone_dials_sends_money_and_both_get_their_message(page):
    page.goto("/handset?market=KE")
    left, right = page.locator("[data-side=left]"), page.locator("[data-side=right]")
    screen, typed = left.locator("[data-part=text]"), left.locator("[data-part=typed]")
    left.locator("[data-part=person] option").first.wait_for(state="attached")
    pin = left.locator(".chip", has_text="PIN").locator("b").inner_text()
    receiver = left.locator(".chip", has_text="Other phone").locator("b").inner_text()

    def answers(key: str) -> str:
        """Type with the physical keyboard, send, and wait for the next screen."""
        page.wait_for_function(
            "() => document.querySelector('[data-side=left] .is-waiting') === null"
        )
        page.keyboard.type(key)
        page.keyboard.press("Enter")
        page.wait_for_function(
            "() => document.querySelector('[data-side=left] .is-waiting') === null &&"
            " document.querySelector('[data-side=left] [data-part=typed]').value === ''"
        )
        return screen.inner_text()

    left.locator(".phone").focus()
    assert "1 " in answers("*334#")
    answers("1")
    assert typed.get_attribute("type") == "text"
    answers(receiver)
    answers("51")
    assert typed.get_attribute("type") == "password"
    done = answers(pin)
    assert "51" in done
    assert left.locator("[data-part=mode]").inner_text() == "ended"
    receipt = re.search(r"[A-Z0-9]{10}", done)
    assert receipt, done
    for side in (left, right):
        message = side.locator("[data-part=inbox] li", has_text=receipt.group())
        message.wait_for(timeout=30_000)
        assert "51" in message.inner_text()


def test_the_keypad_dials_and_hangs_up_and_other_codes_are_not_served(page):
    page.goto("/handset?market=EG")
    right = page.locator("[data-side=right]")
    right.locator("[data-part=person] option").first.wait_for(state="attached")
    for key in "*9#":
        right.locator(f'[data-press="{key}"]').click()
    right.locator("[data-press=call]").click()
    page.wait_for_selector("[data-side=right] .in-session")
    text = right.locator("[data-part=text]")
    assert page.evaluate("each => getComputedStyle(each).direction", text.element_handle()) == "rtl"
    right.locator("[data-press=end]").click()
    assert right.locator(".in-session").count() == 0
    for key in "*100#":
        right.locator(f'[data-press="{key}"]').click()
    right.locator("[data-press=back]").click()
    right.locator("[data-press=call]").click()
    assert text.inner_text() == "Only *9# answers here."
