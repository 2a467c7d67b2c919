"""The handset in a real browser: the eye, a dropped line, a lost network, an agent, the guide."""

import itertools
from contextlib import suppress

import pytest

from tests.console.test_browser import (  # noqa: F401  fixtures
    CHROMIUM,
    browser,
    page,
    sandbox,
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine"),
]


class Left:
    """The left phone of a page, worked with the physical keyboard, in the hands of a person of its own.

    A session that one test left open is offered to whoever dials next from the same phone.
    """

    people = itertools.count(3)

    def __init__(self, page, market: str) -> None:  # noqa: F811
        self.page = page
        page.goto(f"/handset?market={market}")
        self.side = page.locator("[data-side=left]")
        self.side.locator("[data-part=person] option").first.wait_for(state="attached")
        self.part("person").select_option(index=next(self.people))
        self.typed, self.screen = self.part("typed"), self.part("text")
        self.pin, self.other = self.chip("PIN"), self.chip("Other phone")
        self.side.locator(".phone").focus()

    def part(self, name: str):
        return self.side.locator(f"[data-part={name}]")

    def chip(self, name: str) -> str:
        return self.side.locator(".chip", has_text=name).locator("b").inner_text()

    def send(self, *keys: str) -> str:
        for key in keys:
            self.page.keyboard.type(key)
            with self.page.expect_response("**/ussd/*"):
                self.page.keyboard.press("Enter")
            self.page.wait_for_function(
                "() => document.querySelector('[data-side=left] .is-waiting') === null"
            )
        return self.screen.inner_text()


def test_an_eye_shows_the_hidden_pin_and_goes_with_the_question(page):  # noqa: F811
    left = Left(page, "KE")
    left.send("", "1", left.other, "52")
    eye = left.part("eye")
    page.keyboard.type("98")
    assert left.typed.get_attribute("type") == "password"
    eye.click()
    assert (left.typed.get_attribute("type"), eye.get_attribute("aria-pressed")) == ("text", "true")
    eye.click()
    assert left.typed.get_attribute("type") == "password"
    left.side.locator("[data-press=end]").click()
    assert (left.typed.input_value(), left.typed.get_attribute("type")) == ("", "text")
    assert not eye.is_visible()


def test_after_a_dropped_line_the_menu_offers_to_go_on(page):  # noqa: F811
    left = Left(page, "KE")
    drop = left.part("drop")
    assert drop.is_disabled()
    asked = left.send("", "1", left.other)
    drop.click()
    assert left.screen.inner_text() == "The line dropped. Dial *334# again to go on."
    assert drop.is_disabled()
    assert "1 " in left.send("")
    assert left.send("1") == asked


def test_a_lost_network_is_told_and_dialling_again_works(page):  # noqa: F811
    left = Left(page, "KE")
    left.send("")
    page.route("**/ussd/*", lambda route: route.abort())
    page.keyboard.type("1")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-side=left] .phone:not(.in-session)")
    assert left.screen.inner_text() == "No network. Nothing more is known: dial again."
    page.unroute("**/ussd/*")
    page.complaints.clear()  # the browser's own line about the request that we cut
    assert "1 " in left.send("")


def test_hanging_up_while_an_answer_is_awaited_leaves_the_phone_free(page):  # noqa: F811
    from playwright.sync_api import TimeoutError as Late

    left = Left(page, "KE")
    page.route("**/ussd/*", lambda _route: None)  # an answer that never comes
    waiting = page.locator("[data-side=left] .is-waiting")
    for _ in range(
        10
    ):  # a browser on a busy machine may lose a key; while it waits one does nothing
        page.keyboard.press("Enter")
        with suppress(Late):
            waiting.wait_for(timeout=3_000)
            break
    assert waiting.is_visible()
    page.keyboard.press("Escape")
    page.wait_for_selector("[data-side=left] .phone:not(.is-waiting)")
    assert left.screen.inner_text() == "Dial *334# and press Call."
    page.unroute("**/ussd/*")
    page.complaints.clear()
    assert "1 " in left.send("")


def test_an_agent_is_played_and_takes_a_deposit(page):  # noqa: F811
    left = Left(page, "KE")
    agents = left.side.locator("optgroup[label=agents] option")
    left.part("person").select_option(agents.first.get_attribute("value"))
    left.side.locator(".phone").focus()
    done = left.send("", "1", left.other, "100", left.pin)
    assert "100" in done
    assert left.part("mode").inner_text() == "ended"
    receipt = done.split()[0]
    right = page.locator("[data-side=right] [data-part=inbox] li", has_text=receipt)
    right.wait_for(timeout=30_000)


def test_the_guide_opens_from_the_keyboard_and_fits_the_screen(page):  # noqa: F811
    for width, height in ((1366, 768), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        page.goto("/handset")
        summary = page.locator(".guide summary")
        summary.focus()
        page.keyboard.press("Enter")
        panel = page.locator(".guide .panel")
        panel.wait_for()
        box = panel.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width


def test_a_screen_and_a_message_in_arabic_stand_from_right_to_left(page):  # noqa: F811
    left = Left(page, "KE")
    answers = iter(["CON Umoja\n1 تحويل أموال", "END Done"])
    page.route("**/ussd/*", lambda route: route.fulfill(body=next(answers)))
    told = [{"at": "2026-03-31T09:00:00Z", "text": "ABC تم. EGP 50"}]
    page.route("**/inbox?*", lambda route: route.fulfill(json=told))
    left.send("")
    screen = left.part("screen")
    assert (screen.get_attribute("dir"), screen.get_attribute("lang")) == ("rtl", "ar")
    bubble = left.part("inbox").locator("li").first
    bubble.wait_for()
    page.wait_for_function("document.querySelector('[data-side=left] li')?.dir === 'rtl'")
    assert bubble.get_attribute("lang") == "ar"
    assert left.part("inbox").evaluate("list => getComputedStyle(list).direction") == "ltr"
    left.send("1")
    assert (screen.get_attribute("dir"), screen.get_attribute("lang")) == ("ltr", "")
    page.unroute("**/ussd/*")
    page.unroute("**/inbox?*")
