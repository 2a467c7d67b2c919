"""What docs/webhooks.md tells merchants' developers: its code runs, and says yes to ours and no to others'."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.channels_webhooks.conftest import Shop
from tests.stage import NOON
from umoja.payments.webhooks import EVENTS

DOCS = Path(__file__).parents[2] / "docs" / "webhooks.md"


@pytest.fixture
def is_genuine() -> Callable[..., bool]:
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    names: dict[str, Callable[..., bool]] = {}
    exec(code, names)
    return names["is_genuine"]


async def test_the_documented_example_verifies_what_is_sent(
    shop: Shop, is_genuine: Callable[..., bool]
):
    webhook, other = shop.register(), shop.register("/other")
    secret = shop.stage.branch.webhooks.secret(webhook.id)
    shop.start()
    shop.pay()
    await shop.until(lambda: shop.receiver.at("/shop"))
    (got,) = shop.receiver.at("/shop")
    now = int(NOON.timestamp())
    assert is_genuine(secret, got.headers, got.body, now)
    assert not is_genuine(secret, got.headers, got.body + b" ", now)
    assert not is_genuine(secret, got.headers | {"webhook-id": "1"}, got.body, now)
    assert not is_genuine(secret, got.headers, got.body, now + 400)
    theirs = shop.stage.branch.webhooks.secret(other.id)
    assert not is_genuine(theirs, got.headers, got.body, now)


def test_the_document_names_every_event():
    text = DOCS.read_text("utf-8")
    assert [event for event in EVENTS if f"`{event}`" not in text] == []
