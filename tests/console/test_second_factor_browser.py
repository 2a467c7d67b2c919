"""A second factor in a real browser: set up and signed in with by keys alone, and before axe."""

from datetime import timedelta

import pytest

from tests.console.conftest import PASSWORD, Desk
from tests.console.test_whole_console import CHROMIUM, QUIET, found_by_axe, served
from umoja.ops.one_time import code_at

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine"),
]


def shown(desk: Desk, secret: bytes) -> str:
    desk.clock.advance(timedelta(seconds=30))
    return code_at(secret, int(desk.clock.now().timestamp()) // 30)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_set_up_and_signed_in_with_by_keys_alone(desk: Desk, scheme: str):
    from playwright.sync_api import sync_playwright

    desk.staff("amina", "administrator")
    found: list[str] = []
    complaints: list[str] = []
    with served(desk) as address, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=QUIET)

        def opened(**how: object) -> object:
            context = browser.new_context(base_url=address, color_scheme=scheme, **how)
            page = context.new_page()
            page.on(
                "console",
                lambda said: complaints.append(said.text) if said.type == "error" else None,
            )
            page.on(
                "request",
                lambda asked: (
                    None
                    if asked.url.startswith((address, "data:"))
                    else complaints.append(asked.url)
                ),
            )
            return page

        page = opened()
        page.goto("/sign-in?to=/account")
        page.locator("#name:focus").wait_for()  # where the page itself puts it
        for text in ("amina", PASSWORD):
            page.keyboard.type(text)
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.get_by_role("link", name="Set up your second factor").focus()
        page.keyboard.press("Enter")
        page.wait_for_url(f"{address}/account/second-factor")
        drawn = page.locator("img.qr")
        assert drawn.evaluate("image => image.complete && image.naturalWidth > 100")
        salt = bytes.fromhex(page.locator("[name=salt]").input_value())
        secret = desk.centre.staff.offer("amina", salt)
        page.locator("#password").focus()
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Tab")
        page.keyboard.type(shown(desk, secret))
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Your recovery codes").wait_for()
        assert page.locator(".recovery code").count() == 10
        page.context.close()

        page = opened()
        page.goto("/sign-in?to=/staff")
        page.locator("#name:focus").wait_for()  # where the page itself puts it
        for text in ("amina", PASSWORD):
            page.keyboard.type(text)
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_url("**/sign-in/code?to=/staff")
        page.locator("#code:focus").wait_for()
        page.keyboard.type(shown(desk, secret))
        page.keyboard.press("Enter")
        page.wait_for_url(f"{address}/staff")
        assert page.get_by_role("link", name="amina").is_visible()
        page.context.close()
        assert complaints == []

        page = opened(
            bypass_csp=True, reduced_motion="reduce", viewport={"width": 390, "height": 844}
        )
        page.goto("/sign-in")
        page.locator("#name").fill("amina")
        page.locator("#password").fill(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url("**/sign-in/code?to=/")
        page.locator("#code").fill("000000")
        page.keyboard.press("Enter")
        page.locator("#error").wait_for()
        found += found_by_axe(page)
        page.locator("#code").fill(shown(desk, secret))
        page.keyboard.press("Enter")
        page.wait_for_url(f"{address}/")
        for path in ("/account", "/account/code?to=/staff", "/account/second-factor", "/staff"):
            page.goto(path)
            found += found_by_axe(page)
        page.goto("/account")
        page.get_by_role("button", name="Make ten new recovery codes").click()
        page.locator(".recovery").wait_for()
        found += found_by_axe(page)
        browser.close()
    assert not found, "\n".join(found)
