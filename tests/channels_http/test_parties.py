"""Parties over the API: registered, found, their PINs, balances and statements."""

from typing import Any

import pytest

from tests.channels_http.conftest import PIN, Api, told

NEW = {"name": "Wanjiku Kamau", "phone": "0712 000 999"}


async def test_a_new_customer_is_kept_found_and_paid(api: Api):
    answer = await api.post("/v1/parties", NEW | {"pin": PIN, "language": "sw"})
    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/parties/{made['party']}"
    assert made == {
        "party": made["party"],
        "role": "customer",
        "name": "Wanjiku Kamau",
        "phone": "254712000999",
        "tier": "individual",
        "language": "sw",
        "status": "active",
        "agent": None,
        "till": None,
        "paybill": None,
    }
    assert (await api.get(f"/v1/parties/{made['party']}")).json() == made
    for written in ("0712000999", "+254712000999", "254712000999", "712-000-999"):
        found = (await api.get("/v1/parties", phone=written)).json()
        assert found == {"parties": [made], "next": None}
    payer = api.customer(money=100_000)
    ask = api.signed_ask(payer, payer) | {"payee": {"phone": "0712000999"}}
    assert (await api.post("/v1/payments", ask)).json()["payee_name"] == "Wanjiku Kamau"
    balances = (await api.get(f"/v1/parties/{made['party']}/balances")).json()
    assert balances == {
        "party": made["party"],
        "balances": [{"purse": "wallet", "currency": "KES", "available": "100.00", "held": "0.00"}],
    }


@pytest.mark.parametrize(
    "name", ["محمد علي", "አበበ በቀለ", "Zoë \U0001f469\u200d\U0001f33e", "O'Brien <b>", "Ng'ang'a; --"]
)
async def test_names_of_every_script_are_kept_as_they_are(api: Api, name: str):
    made = (await api.post("/v1/parties", NEW | {"name": name})).json()
    assert made["name"] == name
    assert (await api.get(f"/v1/parties/{made['party']}")).json()["name"] == name


@pytest.mark.parametrize(
    ("change", "status", "word", "field"),
    [
        ({"name": ""}, 422, "unprocessable", "name"),
        ({"name": "   "}, 422, "unprocessable", "name"),
        ({"name": "a\x00b"}, 422, "unprocessable", "name"),
        ({"name": "a\nb"}, 422, "unprocessable", "name"),
        ({"name": "evil\u202egpj"}, 422, "unprocessable", "name"),
        ({"name": "x" * 81}, 422, "unprocessable", "name"),
        ({"name": None}, 422, "unprocessable", "name"),
        ({"phone": "12"}, 422, "unprocessable", "phone"),
        ({"phone": "+255741234567"}, 422, "unprocessable", "phone"),
        ({"phone": "07\u0661\u0662345678"}, 422, "unprocessable", "phone"),
        ({"phone": 712345678}, 422, "unprocessable", "phone"),
        ({"language": "tlh"}, 422, "unprocessable", "language"),
        (
            {"identity_kind": "library_card", "identity_number": "1"},
            422,
            "unprocessable",
            "identity_kind",
        ),
        ({"identity_kind": "passport"}, 422, "unprocessable", "identity_number"),
        ({"identity_number": "A1"}, 422, "unprocessable", "identity_kind"),
        (
            {"identity_kind": "passport", "identity_number": "\x00"},
            422,
            "unprocessable",
            "identity_number",
        ),
        ({"pin": "123"}, 422, "pin_unfit", "pin"),
        ({"pin": "13579"}, 422, "pin_unfit", "pin"),
        ({"tier": "gold"}, 422, "unprocessable", "tier"),
    ],
)
async def test_a_customer_who_cannot_be_kept(
    api: Api, change: dict[str, Any], status: int, word: str, field: str
):
    before = api.stage.store.count()
    answer = await api.post("/v1/parties", NEW | change)
    assert (*told(answer), answer.json()["field"]) == (status, word, field)
    assert api.stage.store.count() == before


async def test_a_phone_number_has_one_owner(api: Api):
    await api.post("/v1/parties", NEW)
    answer = await api.post("/v1/parties", NEW | {"name": "Another", "phone": "+254712000999"})
    assert (*told(answer), answer.json()["field"]) == (409, "phone_taken", "phone")
    assert api.stage.store.count() == 1


async def test_parties_are_found_by_what_people_type(api: Api):
    outlet, shop = api.stage.outlet(), api.stage.organisation()
    by = {"agent": outlet.agent_code, "till": shop.till, "paybill": shop.paybill}
    found = {
        kind: (await api.get("/v1/parties", **{kind: code})).json()["parties"][0]["party"]
        for kind, code in by.items()
    }
    assert found == {"agent": outlet.id, "till": shop.id, "paybill": shop.id}
    assert (await api.get("/v1/parties", till="0", role="agent")).json()["parties"] == []
    assert (await api.get("/v1/parties", till=shop.till, role="agent")).json()["parties"] == []


async def test_pages_of_parties_are_whole_and_without_repeats(api: Api):
    everybody = [api.stage.customer(f"Customer {number}").id for number in range(7)]
    api.stage.outlet()
    for size in (1, 3, 7, 100):
        seen: list[int] = []
        token = ""
        while True:
            page = (
                await api.get("/v1/parties", role="customer", page_size=size, page_token=token)
            ).json()
            assert 1 <= len(page["parties"]) <= size
            seen += [each["party"] for each in page["parties"]]
            token = page["next"]
            if token is None:
                break
        assert seen == everybody


async def put_pin(api: Api, party: int, body: dict[str, Any]):
    return await api.http.put(f"/v1/parties/{party}/pin", json=body, headers=api.signed())


async def test_a_pin_is_set_once_and_then_changed_with_the_old_one(api: Api):
    party = api.stage.customer()
    assert told(await put_pin(api, party.id, {"new_pin": "111"})) == (422, "pin_unfit")
    assert told(await put_pin(api, party.id, {"old_pin": PIN, "new_pin": "2468"})) == (
        422,
        "pin_not_set",
    )
    first = await put_pin(api, party.id, {"new_pin": PIN})
    assert (first.status_code, first.content) == (204, b"")
    again = await put_pin(api, party.id, {"new_pin": "2468"})
    assert (*told(again), again.json()["field"]) == (422, "unprocessable", "old_pin")
    wrong = await put_pin(api, party.id, {"old_pin": "9753", "new_pin": "2468"})
    assert (*told(wrong), wrong.json()["field"]) == (422, "pin_wrong", "old_pin")
    assert (await put_pin(api, party.id, {"old_pin": PIN, "new_pin": "2468"})).status_code == 204
    for _ in range(2):
        await put_pin(api, party.id, {"old_pin": PIN, "new_pin": "2580"})
    locked = await put_pin(api, party.id, {"old_pin": PIN, "new_pin": "2580"})
    assert told(locked) == (422, "pin_locked")


async def pages(api: Api, party: int, size: int) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    token = ""
    while True:
        page = (
            await api.get(f"/v1/parties/{party}/statement", page_size=size, page_token=token)
        ).json()
        assert len(page["lines"]) <= size
        lines += page["lines"]
        token = page["next"]
        if token is None:
            return lines
        assert page["lines"], "a page that is followed by another has lines"


async def test_a_statement_is_whole_whatever_its_pages(api: Api):
    payer, payee = api.customer(money=100_000), api.customer()
    for number in range(1, 8):
        ask = api.signed_ask(payer, payee, amount=str(10 * number))
        await api.post("/v1/payments", ask)
    wanted = ["-70.00", "-60.00", "-50.00", "-40.00", "-30.00", "-20.00", "-10.00", "1000.00"]
    for size in (1, 2, 3, 8, 100):
        lines = await pages(api, payer.id, size)
        assert [line["amount"] for line in lines] == wanted
    assert lines[0]["product"] == "send_money"
    assert lines[-1]["product"] == "deposit"
    assert await pages(api, api.stage.customer().id, 5) == []


async def test_new_payments_do_not_shift_the_pages(api: Api):
    payer, payee = api.customer(money=100_000), api.customer()
    for number in range(1, 5):
        await api.post("/v1/payments", api.signed_ask(payer, payee, amount=str(10 * number)))
    address = f"/v1/parties/{payer.id}/statement"
    first = (await api.get(address, page_size=2)).json()
    assert [line["amount"] for line in first["lines"]] == ["-40.00", "-30.00"]
    await api.post("/v1/payments", api.signed_ask(payer, payee, amount="90"))
    second = (await api.get(address, page_size=2, page_token=first["next"])).json()
    assert [line["amount"] for line in second["lines"]] == ["-20.00", "-10.00"]
    again = (await api.get(address, page_size=2, page_token=first["next"])).json()
    assert again == second


async def test_lines_that_move_nothing_do_not_end_a_statement(api: Api):
    payer = api.customer(money=100_000)
    for _ in range(5):
        ask = api.ask(payer, payer, product="airtime", reference="0712000001", amount="10")
        ask |= {"payee": {"operator": True}, "confirm": True, "pin": PIN}
        assert (await api.post("/v1/payments", ask)).json()["state"] == "held"
    assert [line["amount"] for line in await pages(api, payer.id, 1)] == ["1000.00"]
    held = (await api.get(f"/v1/parties/{payer.id}/balances")).json()["balances"][0]
    assert (held["available"], held["held"]) == ("950.00", "50.00")


async def test_the_market_tells_what_there_is(api: Api):
    market = (await api.get("/v1/market")).json()
    assert (market["code"], market["currencies"], market["pin_digits"]) == ("KE", ["KES"], 4)
    assert "send_money" in market["products"]
    assert market["languages"] == ["en", "sw"]
