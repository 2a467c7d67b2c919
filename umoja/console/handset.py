"""The handset: phones in the browser, for a sandbox only. They dial the real USSD callback.

The page asks here who may be played and what has arrived; what is typed goes from the browser to the
callback that gateways use, and never through this file.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
from litestar import MediaType, Response, get
from litestar.exceptions import HTTPException

from umoja.channels.ussd_menus import AGENT_ROOT, CUSTOMER_ROOT, MENUS
from umoja.console.pages import Asked, Pages
from umoja.console.sandbox import Sandbox
from umoja.console.words import place
from umoja.markets.market import Market
from umoja.markets.texts import Texts

INBOX_SHOWN = 30
PROMPT_LEAST = 4  # letters: a shorter piece of a prompt would be found in other screens too

_encode = msgspec.json.Encoder().encode


def pin_prompts(texts: Texts, market: Market) -> list[str]:
    """Return pieces of text by which a screen that asks for a PIN is known, in each language."""
    found = []
    for language in texts.offered(market):
        for key, entry in texts.catalogues[language].entries.items():
            if key.startswith("ask.pin"):
                found.append(max(_pieces(entry.text), key=len))
    return sorted({piece for piece in found if len(piece) >= PROMPT_LEAST})


def _pieces(text: str) -> Iterable[str]:
    """Return what stands between a text's fields."""
    for part in text.replace("}", "{").split("{")[::2]:
        yield part.strip()


def keys_to(root: str, *items: str) -> str:
    """Return what to press from a menu to one of its items and on, as in '6, 3'."""
    pressed = []
    for menu, item in zip((root, *items), items, strict=False):
        pressed.append(str(MENUS[menu].index(item) + 1))
    return ", ".join(pressed)


def handset_pages(pages: Pages, sandbox: Sandbox) -> list[Any]:
    markets, texts = pages.markets, Texts.load()

    def known(code: str) -> Market:
        if code not in markets:
            raise HTTPException(status_code=404)
        return markets[code]

    def told(value: Any) -> Response[bytes]:
        headers = {"cache-control": "no-store"}
        return Response(_encode(value), media_type=MediaType.JSON, headers=headers)

    @get("/handset", include_in_schema=False, name="console.handset")
    async def show(request: Asked) -> Response[str]:
        wanted = request.query_params.get("market", "")
        return pages.page(
            "handset.html",
            pages.visitor(request),
            here="handset",
            chosen=wanted if wanted in markets else next(iter(markets), ""),
            send_keys=keys_to(CUSTOMER_ROOT, "send_money"),
            withdraw_keys=keys_to(CUSTOMER_ROOT, "withdraw"),
            undo_keys=keys_to(CUSTOMER_ROOT, "account", "undo"),
            answer_keys=keys_to(CUSTOMER_ROOT, "account", "answer"),
            language_keys=keys_to(CUSTOMER_ROOT, "account", "language"),
            deposit_keys=keys_to(AGENT_ROOT, "deposit"),
        )

    @get("/handset/{code:str}", include_in_schema=False, name="console.handset.market")
    async def market(code: str) -> Response[bytes]:
        found = known(code)
        return told(
            {
                "code": found.code,
                "name": place(found),
                "brand": found.brand,
                "ussd": found.ussd_code,
                "zone": found.zones[0],
                "prompts": pin_prompts(texts, found),
                "phones": sandbox.phones(code),
            }
        )

    @get("/handset/{code:str}/inbox", include_in_schema=False, name="console.handset.inbox")
    async def inbox(request: Asked, code: str) -> Response[bytes]:
        number = known(code).phone_number(request.query_params.get("phone", ""))
        if number is None:
            raise HTTPException(status_code=400)
        if all(number != each.phone for each in sandbox.phones(code)):
            raise HTTPException(status_code=404)  # only who may be played shows her messages
        return told([*sandbox.inbox(code, number)][-INBOX_SHOWN:])

    return [show, market, inbox]
