"""Payouts: one request pays many; each line once, whatever is repeated, lost or short."""

import asyncio
from typing import Any

import pytest

from tests.channels_http.conftest import Api, told
from umoja.channels import native_payouts
from umoja.faults import Busy, OutcomeUnknown, Unavailable
from umoja.parties.clients import SCOPES
from umoja.parties.party import Party
from umoja.payments import desk as desk_module

FEE = 5_00  # of 101 to 1,500 shillings


@pytest.fixture
def shop(api: Api) -> Party:
    """Return an organisation with 10,000 shillings in its till."""
    shop = api.stage.organisation()
    buyer = api.customer("Buyer", money=20_000_00)
    assert api.stage.pay("pay_till", buyer.id, shop.id, 10_000_00).receipt
    return shop


@pytest.fixture
def payer(api: Api, shop: Party) -> Api:
    return api.with_client(organisation=shop.id)


def line(key: str, party: Party | str, amount: str = "200", **more: Any) -> dict[str, Any]:
    phone = party if isinstance(party, str) else party.phone
    return {"key": key, "phone": phone, "amount": amount, **more}


def asked(*lines: dict[str, Any]) -> dict[str, Any]:
    return {"currency": "KES", "lines": list(lines)}


async def test_each_line_is_paid_out_of_the_till_with_its_fee(payer: Api, shop: Party):
    stage = payer.stage
    before = stage.has(shop, "till")
    first, second = payer.customer("First"), payer.customer("Second")
    trunk_form = "0" + second.phone.removeprefix("254")
    answer = await payer.post(
        "/v1/payouts",
        asked(line("a", first), line("b", trunk_form, "1500", reference="March")),
    )
    body = answer.json()
    assert answer.status_code == 200
    assert (body["payer"], body["completed"], body["declined"], body["open"]) == (shop.id, 2, 0, 0)
    assert [(each["key"], each["state"], each["fee"]) for each in body["lines"]] == [
        ("a", "completed", "5.00"),
        ("b", "completed", "5.00"),
    ]
    assert stage.has(first, "wallet") == 200_00
    assert stage.has(second, "wallet") == 1_500_00
    assert stage.has(shop, "till") == before - 200_00 - 1_500_00 - 2 * FEE
    found = await payer.get(f"/v1/payments/{body['lines'][1]['payment']}")
    assert (found.json()["product"], found.json()["reference"]) == ("payout", "March")
    assert found.json()["receipt"] == body["lines"][1]["receipt"]
    assert stage.breaches() == ()


async def test_a_repeat_is_told_the_same_and_pays_nothing_twice(payer: Api):
    first, second = payer.customer("First"), payer.customer("Second")
    whole = asked(line("a", first), line("b", second))
    one = await payer.post("/v1/payouts", whole, key="batch")
    again = await payer.post("/v1/payouts", whole, key="batch")
    elsewhere = await payer.post("/v1/payouts", asked(line("b", second)), key="another")
    assert one.json() == again.json()
    assert elsewhere.json()["lines"] == one.json()["lines"][1:]
    assert payer.stage.has(first, "wallet") == 200_00
    assert payer.stage.has(second, "wallet") == 200_00


async def test_another_body_under_the_same_key_is_refused(payer: Api):
    first = payer.customer("First")
    assert (await payer.post("/v1/payouts", asked(line("a", first)), key="k")).status_code == 200
    other = await payer.post("/v1/payouts", asked(line("b", first)), key="k")
    assert told(other) == (422, "key_reused")
    assert payer.stage.has(first, "wallet") == 200_00


async def test_a_line_s_key_with_something_else_is_declined_and_the_others_are_paid(payer: Api):
    first, second = payer.customer("First"), payer.customer("Second")
    await payer.post("/v1/payouts", asked(line("a", first)))
    body = (
        await payer.post("/v1/payouts", asked(line("a", first, "300"), line("b", second)))
    ).json()
    assert [(each["state"], each["decline"], each["payment"]) for each in body["lines"]] == [
        ("declined", "key_reused", None),
        ("completed", None, body["lines"][1]["payment"]),
    ]
    assert payer.stage.has(first, "wallet") == 200_00


async def test_where_money_runs_out_the_rest_is_declined_one_by_one(payer: Api, shop: Party):
    one, two, three = (payer.customer(name) for name in ("One", "Two", "Three"))
    has = payer.stage.has(shop, "till")
    rest = has - 200_00 - FEE
    body = (
        await payer.post(
            "/v1/payouts",
            asked(line("a", one), line("b", two, str(rest // 100)), line("c", three, "101")),
        )
    ).json()
    # The second is short of its fee alone; the third, which is smaller, still fits.
    assert [(each["state"], each["decline"]) for each in body["lines"]] == [
        ("completed", None),
        ("declined", "not_enough"),
        ("completed", None),
    ]
    assert (body["completed"], body["declined"]) == (2, 1)
    assert payer.stage.has(two, "wallet") == 0
    assert payer.stage.has(shop, "till") == rest - 101_00 - FEE


async def test_who_is_not_known_or_has_no_readable_number_is_declined_alone(payer: Api):
    known = payer.customer("Known")
    lines = [line("a", "254799999999"), line("b", "abc"), line("c", known)]
    body = (await payer.post("/v1/payouts", asked(*lines))).json()
    assert [each["decline"] for each in body["lines"]] == ["payee_unknown", "payee_unknown", None]


@pytest.mark.parametrize(
    ("change", "status", "word", "field"),
    [
        ({"lines": []}, 422, "unprocessable", "lines"),
        ({"lines": [{"key": "a", "phone": "0700000001"}]}, 422, "unprocessable", "lines[0].amount"),
        ({"lines": [line("a", "0700000001", "-1")]}, 422, "unprocessable", "lines[0].amount"),
        (
            {"lines": [line("a", "0700000001"), line("b", "0700000001", "0.123")]},
            422,
            "amount_too_precise",
            "lines[1].amount",
        ),
        (
            {"lines": [line("a", "0700000001"), line("a", "0700000002")]},
            422,
            "unprocessable",
            "lines[1].key",
        ),
        ({"lines": [line("a b", "0700000001")]}, 422, "unprocessable", "lines[0].key"),
        ({"currency": "USD"}, 422, "currency_unknown", "currency"),
        ({"payer": {"party": 1}}, 422, "unprocessable", "payer"),
        (
            {"lines": [line(str(n), "0700000001", "1") for n in range(10_001)]},
            422,
            "unprocessable",
            "lines",
        ),
    ],
)
async def test_one_line_that_cannot_be_read_and_nothing_is_paid(
    payer: Api, shop: Party, change: dict[str, Any], status: int, word: str, field: str
):
    before = payer.stage.has(shop, "till")
    good = line("good", payer.customer("Good"))
    answer = await payer.post("/v1/payouts", asked(good) | change)
    assert told(answer) == (status, word)
    assert answer.json()["field"] == field
    assert payer.stage.has(shop, "till") == before


async def test_only_an_organisation_s_own_client_with_the_scope_pays_out(api: Api, shop: Party):
    whole = asked(line("a", api.customer("Payee")))
    for_the_market = await api.post("/v1/payouts", whole)
    of_a_customer = api.with_client(organisation=api.customer("Person").id)
    without = api.with_client(SCOPES - {"payments:payout"}, organisation=shop.id)
    assert told(for_the_market) == (403, "not_allowed")
    assert told(await of_a_customer.post("/v1/payouts", whole)) == (403, "not_allowed")
    assert told(await without.post("/v1/payouts", whole)) == (403, "forbidden")
    single = {
        "product": "payout",
        "payer": {"till": shop.till},
        "payee": {"party": api.customer("Other").id},
        "amount": "200",
        "currency": "KES",
        "confirm": True,
    }
    assert told(await without.post("/v1/payments", single)) == (403, "forbidden")
    with_it = api.with_client(organisation=shop.id)
    assert (await with_it.post("/v1/payments", single)).json()["state"] == "completed"


async def test_a_body_beyond_two_mebibytes_is_refused(payer: Api):
    answer = await payer.post("/v1/payouts", b" " * (2 * 1024 * 1024 + 1))
    assert told(answer) == (413, "too_large")


async def test_single_payments_get_in_between(payer: Api, api: Api, monkeypatch):
    # Slices of 5 and batches of 10: without slices the single payment would wait for all 200.
    monkeypatch.setattr(native_payouts, "SLICE", 5)
    monkeypatch.setattr(desk_module, "BATCH_MAX", 10)
    payees = [payer.customer(f"Payee {n}") for n in range(10)]
    sender, receiver = api.customer("Sender", money=1_000_00), api.customer("Receiver")
    many = asked(*(line(str(n), payees[n % 10], "1") for n in range(200)))
    order: list[str] = []
    api.stage.desk.listen(lambda done: order.append(done.product))
    paying_out = asyncio.create_task(payer.post("/v1/payouts", many))
    while not order:  # the first slice is booked
        await asyncio.sleep(0)
    single = await api.post("/v1/payments", api.signed_ask(sender, receiver))
    body = (await paying_out).json()
    assert single.json()["state"] == "completed"
    assert body["completed"] == 200
    assert order.count("payout") == 200
    assert order.index("send_money") < 100


async def test_a_client_pays_out_one_request_at_a_time_and_few_clients_at_once(
    payer: Api, api: Api, shop: Party, monkeypatch
):
    monkeypatch.setattr(native_payouts, "SLICE", 1)
    payee = payer.customer("Payee")
    others = [api.with_client(organisation=shop.id) for _ in range(2)]
    many = [asked(*(line(f"{who}{n}", payee, "1") for n in range(20))) for who in "abcd"]
    answers = await asyncio.gather(
        payer.post("/v1/payouts", many[0]),
        payer.post("/v1/payouts", many[1]),
        others[0].post("/v1/payouts", many[2]),
        others[1].post("/v1/payouts", many[3]),
    )
    assert answers[0].json()["completed"] == 20
    assert told(answers[1]) == (429, "too_many")
    assert answers[2].json()["completed"] == 20
    assert told(answers[3]) == (503, "unavailable")
    assert answers[3].headers["retry-after"] == "5"
    again = await payer.post("/v1/payouts", many[1])
    assert again.json()["completed"] == 20


async def test_what_the_desk_could_not_do_is_told_line_by_line(payer: Api, monkeypatch):
    monkeypatch.setattr(native_payouts, "SLICE", 1)
    desk, payees = payer.stage.desk, [payer.customer(f"Payee {n}") for n in range(4)]
    whole = asked(*(line(str(n), payee) for n, payee in enumerate(payees)))
    enqueue = desk.enqueue_many
    faults = [None, Unavailable("the disk is full"), OutcomeUnknown("unclear"), Busy("the desk")]

    def troubled(requests):
        fault = faults.pop(0)
        if isinstance(fault, Busy):
            raise fault
        if fault is None:
            return enqueue(requests)
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        done.set_result([fault])
        return done

    monkeypatch.setattr(desk, "enqueue_many", troubled)
    body = (await payer.post("/v1/payouts", whole, key="k")).json()
    assert [each["state"] for each in body["lines"]] == [
        "completed",
        "not_done",
        "unknown",
        "not_done",
    ]
    assert (body["completed"], body["declined"], body["open"]) == (1, 0, 3)
    monkeypatch.undo()
    again = (await payer.post("/v1/payouts", whole, key="k")).json()
    assert again["completed"] == 4
    assert again["lines"][0] == body["lines"][0]
    assert [payer.stage.has(payee, "wallet") for payee in payees] == [200_00] * 4


async def test_a_full_desk_answers_503_and_nothing_is_done(payer: Api, monkeypatch):
    payee = payer.customer("Payee")
    monkeypatch.setattr(desk_module, "QUEUE_MAX", 1)
    answer = await payer.post("/v1/payouts", asked(line("a", payee), line("b", payee)))
    assert told(answer) == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    monkeypatch.undo()
    assert payer.stage.has(payee, "wallet") == 0
