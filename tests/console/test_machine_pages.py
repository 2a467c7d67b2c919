"""Tokens of machines in the console: told once, listed without their text, revoked for good."""

import re
from datetime import timedelta

import pytest

from tests.console.conftest import Desk, told


async def made(desk: Desk, **fields: str) -> str:
    answer = await desk.post(
        "/tokens", **({"name": "prometheus", "scope-alerts": "1", "lasts": "90d"} | fields)
    )
    assert answer.status_code == 200, told(answer.text)
    found = re.search(r'<code class="secret"[^>]*>(umj_[\w-]+)</code>', answer.text)
    assert found is not None
    return found[1]


async def test_a_token_is_told_once_works_and_is_listed_without_its_text(desk: Desk):
    await desk.enter("amina", "administrator")
    assert "No machine has a token yet." in (await desk.get("/tokens")).text
    text = await made(desk)
    holder = desk.centre.machines.holder(text, "alerts")
    assert holder is not None
    assert (holder.name, holder.made_by) == ("prometheus", "amina")
    assert desk.centre.machines.holder(text, "otlp") is None
    page = (await desk.get("/tokens")).text
    assert text not in page
    assert (
        "prometheus valid alerts amina 2026-03-10 09:00 2026-06-08 09:00 2026-03-10 09:00"
        in told(page)
    )
    assert ("amina", "token made", "", "1 prometheus: alerts") in desk.acts()


async def test_a_token_without_an_end_and_one_that_has_ended(desk: Desk):
    await desk.enter("amina", "administrator")
    await made(desk, lasts="")
    assert "no end never" in told((await desk.get("/tokens")).text)
    await made(desk, name="short", lasts="30d")
    desk.clock.advance(timedelta(days=31))
    await desk.enter("amina")
    assert "short expired alerts" in told((await desk.get("/tokens")).text)


async def test_a_token_is_revoked_for_good(desk: Desk):
    await desk.enter("amina", "administrator")
    text = await made(desk)
    for _ in range(2):
        assert (await desk.post("/tokens/1/revoke")).status_code == 303
    assert desk.centre.machines.holder(text, "alerts") is None
    page = told((await desk.get("/tokens")).text)
    assert "prometheus revoked" in page
    assert "Revoke it" not in page
    assert [act[1] for act in desk.acts()].count("token revoked") == 1


@pytest.mark.parametrize("number", ["7", "-1", "x", "1234567890", "٣"])
async def test_a_token_that_is_not_there_cannot_be_revoked(desk: Desk, number: str):
    await desk.enter("amina", "administrator")
    assert (await desk.post(f"/tokens/{number}/revoke")).status_code == 404


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"name": " "}, "a token has a name"),
        ({"scope-alerts": "0"}, "a token has scopes among"),
        ({"lasts": "100y"}, "choose how long it is valid"),
    ],
)
async def test_a_token_that_will_not_do_says_why(desk: Desk, fields: dict[str, str], says: str):
    await desk.enter("amina", "administrator")
    answer = await desk.post(
        "/tokens", **({"name": "prometheus", "scope-alerts": "1", "lasts": "90d"} | fields)
    )
    assert answer.status_code == 422
    assert says in told(answer.text)
    assert desk.centre.machines.browse() == []


async def test_only_an_administrator_of_every_market_sees_or_makes_tokens(desk: Desk):
    assert (await desk.get("/tokens")).status_code == 303
    assert (await desk.post("/tokens", name="x")).status_code == 401
    await desk.enter("kofi", "administrator", market="GH")
    for answer in (
        await desk.get("/tokens"),
        await desk.post("/tokens", **{"name": "x", "scope-alerts": "1", "lasts": ""}),
        await desk.post("/tokens/1/revoke"),
    ):
        assert answer.status_code == 403
    assert desk.centre.machines.browse() == []
