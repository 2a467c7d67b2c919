"""Payments over the API: quote, pay, confirm, reverse, consent, find; and that repeats move nothing."""

import asyncio
from datetime import timedelta

import pytest

from tests.channels_http.conftest import PIN, Api, told
from umoja.clock import ManualClock


async def test_a_quote_names_price_and_receiver_and_keeps_nothing(api: Api):
    payer, payee = api.customer(money=100_000), api.customer("Baraka Mwangi")
    head = api.stage.desk.head
    answer = await api.post("/v1/quote", api.ask(payer, payee, amount="500"))
    assert answer.status_code == 200
    assert answer.json() == {
        "product": "send_money",
        "amount": "500.00",
        "currency": "KES",
        "price": {
            "fee": "7.00",
            "tariff": "ke.send_on_net.2023",
            "taxes": [{"tax": "ke.excise.2023", "amount": "0.91", "included": True}],
            "payee_fee": "0.00",
            "total": "507.00",
        },
        "payee_name": "Baraka Mwangi",
    }
    assert api.stage.desk.head == head


async def test_a_signed_payment_is_done_at_once(api: Api):
    payer, payee = api.customer(money=100_000), api.customer("Baraka Mwangi")
    answer = await api.post("/v1/payments", api.signed_ask(payer, payee, amount="500"))
    paid = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/payments/{paid['id']}"
    assert answer.headers["cache-control"] == "no-store"
    assert (paid["state"], paid["amount"], paid["price"]["total"]) == (
        "completed",
        "500.00",
        "507.00",
    )
    assert (paid["payee_name"], paid["channel"], paid["asked_at"]) == (
        "Baraka Mwangi",
        "api",
        "2026-03-10T09:00:00.000Z",
    )
    assert api.stage.has(payer, "wallet") == 100_000 - 50_700
    assert api.stage.has(payee, "wallet") == 50_000
    assert (await api.get(f"/v1/payments/{paid['id']}")).json() == paid
    assert (await api.get("/v1/payments", receipt=paid["receipt"])).json() == {
        "payments": [paid],
        "next": None,
    }
    assert api.stage.breaches() == ()


async def test_an_unsigned_payment_waits_for_its_payer(api: Api):
    payer, payee = api.customer(money=100_000), api.customer()
    asked = (await api.post("/v1/payments", api.ask(payer, payee))).json()
    assert (asked["state"], asked["receipt"], asked["expires_at"]) == (
        "awaiting_confirmation",
        None,
        "2026-03-10T09:05:00.000Z",
    )
    assert api.stage.has(payee, "wallet") == 0
    done = await api.post(f"/v1/payments/{asked['id']}/confirm", {"pin": PIN})
    assert (done.status_code, done.json()["state"]) == (200, "completed")
    assert api.stage.has(payee, "wallet") == 10_000
    again = await api.post(f"/v1/payments/{asked['id']}/confirm", {"pin": PIN})
    assert again.json() == done.json()
    assert api.stage.has(payee, "wallet") == 10_000


async def test_a_payment_may_be_cancelled_until_it_is_confirmed(api: Api):
    payer, payee = api.customer(money=100_000), api.customer()
    asked = (await api.post("/v1/payments", api.ask(payer, payee))).json()
    address = f"/v1/payments/{asked['id']}/confirm"
    no = await api.post(address, {"confirm": False})
    assert (no.status_code, no.json()["state"]) == (200, "cancelled")
    assert (await api.post(address, {"confirm": False})).json() == no.json()
    assert told(await api.post(address, {"pin": PIN})) == (422, "order_cancelled")
    paid = (await api.post("/v1/payments", api.signed_ask(payer, payee))).json()
    refused = await api.post(f"/v1/payments/{paid['id']}/confirm", {"confirm": False})
    assert told(refused) == (422, "too_late")
    assert api.stage.has(payee, "wallet") == 10_000


async def test_a_payment_that_nobody_confirms_expires(api: Api, clock: ManualClock):
    payer, payee = api.customer(money=100_000), api.customer()
    asked = (await api.post("/v1/payments", api.ask(payer, payee))).json()
    clock.advance(timedelta(minutes=5))
    late = await api.post(f"/v1/payments/{asked['id']}/confirm", {"pin": PIN})
    assert told(late) == (422, "order_expired")
    assert late.json()["payment"] == asked["id"]
    assert api.stage.has(payee, "wallet") == 0


async def test_a_reversal_waits_for_consent_and_gives_the_fee_back(api: Api):
    payer, payee = api.customer(money=100_000), api.customer()
    paid = (await api.post("/v1/payments", api.signed_ask(payer, payee, amount="500"))).json()
    address = f"/v1/payments/{paid['id']}"
    assert told(await api.post(f"{address}/consent", {"agree": True, "pin": PIN})) == (
        422,
        "too_late",
    )
    asked = await api.post(f"{address}/reverse", {"pin": PIN})
    assert (asked.status_code, asked.json()["state"]) == (200, "reversal_asked")
    assert told(await api.post(f"{address}/consent", {"agree": True})) == (422, "unprocessable")
    assert api.stage.held(payee, "wallet") == 50_000
    given = await api.post(f"{address}/consent", {"agree": True, "pin": PIN})
    assert given.json()["state"] == "reversed"
    assert (
        await api.post(f"{address}/consent", {"agree": True, "pin": PIN})
    ).json() == given.json()
    assert told(await api.post(f"{address}/consent", {"agree": False, "pin": PIN})) == (
        422,
        "too_late",
    )
    assert (api.stage.has(payer, "wallet"), api.stage.has(payee, "wallet")) == (100_000, 0)


async def test_a_receiver_may_keep_what_was_asked_back(api: Api):
    payer, payee = api.customer(money=100_000), api.customer()
    paid = (await api.post("/v1/payments", api.signed_ask(payer, payee))).json()
    address = f"/v1/payments/{paid['id']}"
    assert told(await api.post(f"{address}/reverse", {"pin": "2468"})) == (422, "pin_wrong")
    assert told(await api.post(f"{address}/reverse", {})) == (422, "unprocessable")
    await api.post(f"{address}/reverse", {"pin": PIN})
    kept = await api.post(f"{address}/consent", {"agree": False, "pin": PIN})
    assert kept.json()["state"] == "completed"
    assert api.stage.has(payee, "wallet") == 10_000


async def test_airtime_is_held_until_its_partner_answers(api: Api):
    payer = api.customer(money=100_000)
    ask = api.signed_ask(payer, payer, product="airtime", reference="0712000001")
    held = await api.post("/v1/payments", ask | {"payee": {"operator": True}})
    assert (held.status_code, held.json()["state"], held.json()["receipt"]) == (201, "held", None)


async def test_only_the_operator_s_scope_issues_float(api: Api):
    outlet = api.stage.outlet()
    ask = {
        "product": "float_purchase",
        "payer": {"operator": True},
        "payee": {"agent": outlet.agent_code},
        "amount": "1000",
        "currency": "KES",
        "reference": "bank line 7",
        "confirm": True,
    }
    plain = api.with_client(frozenset({"payments:write", "payments:read"}))
    assert told(await plain.post("/v1/payments", ask)) == (403, "forbidden")
    assert told(await plain.post("/v1/quote", {k: ask[k] for k in ask if k != "confirm"})) == (
        403,
        "forbidden",
    )
    assert api.stage.has(outlet, "float") == 0
    assert (await api.post("/v1/payments", ask)).status_code == 201
    assert api.stage.has(outlet, "float") == 100_000


async def test_no_client_makes_good_by_itself(api: Api):
    """What the operator gives back is released by two people at the centre: no scope stands for them."""
    customer = api.customer(money=100_000)
    ask = {
        "product": "compensation",
        "payer": {"operator": True},
        "payee": {"phone": customer.phone},
        "amount": "1",
        "currency": "KES",
        "reference": "0" * 32,
        "confirm": True,
    }
    assert told(await api.post("/v1/payments", ask)) == (403, "forbidden")
    assert api.stage.has(customer, "wallet") == 100_000


async def test_an_assistant_signs_for_her_outlet_and_for_no_other(api: Api):
    from umoja.parties.party import Party, Role

    customer = api.customer()
    outlet, other = api.stage.outlet(), api.stage.outlet()
    api.stage.give_float(outlet, 500_000)
    neema = api.stage.store.register(
        Party(id=0, role=Role.ASSISTANT, name="Neema", parent=outlet.id, operator_code="11"),
        pin="2468",
    )
    ask = api.ask(outlet, customer, product="deposit", confirm=True, actor={"party": neema.id})
    assert told(await api.post("/v1/payments", ask | {"pin": PIN})) == (422, "pin_wrong")
    assert (await api.post("/v1/payments", ask | {"pin": "2468"})).status_code == 201
    assert api.stage.has(customer, "wallet") == 10_000
    strange = ask | {"payer": {"party": other.id}, "pin": "2468"}
    assert told(await api.post("/v1/payments", strange)) == (403, "not_allowed")


# Repeats


async def test_the_same_key_and_body_get_the_same_answer(api: Api):
    payer, payee = api.customer(money=100_000), api.customer()
    ask = api.signed_ask(payer, payee)
    first = await api.post("/v1/payments", ask, key="once")
    again = await api.post("/v1/payments", ask, key="once")
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert api.stage.has(payee, "wallet") == 10_000
    found = (await api.get("/v1/payments", key="once")).json()
    assert [each["id"] for each in found["payments"]] == [first.json()["id"]]


async def test_a_repeat_is_answered_although_the_pin_was_changed_meanwhile(api: Api):
    payer, payee = api.customer(money=100_000), api.customer()
    ask = api.signed_ask(payer, payee)
    first = await api.post("/v1/payments", ask, key="once")
    api.stage.store.set_pin(payer.id, "2468")
    for _ in range(4):
        assert (await api.post("/v1/payments", ask, key="once")).content == first.content
    assert (await api.post("/v1/payments", ask | {"pin": "2468"}, key="two")).status_code == 201


@pytest.mark.parametrize(
    "change", [{"amount": "101"}, {"reference": "x"}, {"confirm": False, "pin": None}]
)
async def test_the_same_key_with_another_body_is_refused(api: Api, change: dict):
    payer, payee = api.customer(money=100_000), api.customer()
    ask = api.signed_ask(payer, payee)
    await api.post("/v1/payments", ask, key="once")
    assert told(await api.post("/v1/payments", ask | change, key="once")) == (422, "key_reused")
    assert api.stage.has(payee, "wallet") == 10_000


async def test_a_refused_payment_stays_refused_under_its_key(api: Api):
    payer, payee = api.customer(), api.customer()
    ask = api.signed_ask(payer, payee)
    first = await api.post("/v1/payments", ask, key="once")
    assert told(first) == (422, "not_enough")
    api.stage.give_money(payer, 100_000)
    again = await api.post("/v1/payments", ask, key="once")
    assert (again.status_code, again.content) == (422, first.content)
    assert (await api.post("/v1/payments", ask, key="two")).status_code == 201


async def test_a_repeat_of_a_wrong_pin_counts_once(api: Api):
    payer, payee = api.customer(money=100_000), api.customer()
    wrong = api.signed_ask(payer, payee, pin="2468")
    for _ in range(5):
        assert told(await api.post("/v1/payments", wrong, key="once")) == (422, "pin_wrong")
    right = api.signed_ask(payer, payee)
    assert told(await api.post("/v1/payments", right, key="once")) == (422, "key_reused")
    assert (await api.post("/v1/payments", right, key="two")).status_code == 201


async def test_three_wrong_pins_lock(api: Api):
    payer, payee = api.customer(money=100_000), api.customer()
    wrong = api.signed_ask(payer, payee, pin="2468")
    answers = [told(await api.post("/v1/payments", wrong)) for _ in range(4)]
    assert answers == [(422, "pin_wrong")] * 2 + [(422, "pin_locked")] * 2
    assert told(await api.post("/v1/payments", api.signed_ask(payer, payee))) == (422, "pin_locked")


async def test_confirm_reverse_and_consent_keep_their_keys_apart(api: Api):
    payer, payee = api.customer(money=100_000), api.customer()
    asked = (await api.post("/v1/payments", api.ask(payer, payee), key="same")).json()
    address = f"/v1/payments/{asked['id']}"
    done = await api.post(f"{address}/confirm", {"pin": PIN}, key="same")
    assert done.json()["state"] == "completed"
    other = await api.post(f"{address}/confirm", {"confirm": False}, key="same")
    assert told(other) == (422, "key_reused")
    assert (await api.post(f"{address}/reverse", {"pin": PIN}, key="same")).status_code == 200
    assert (await api.post(f"{address}/confirm", {"pin": PIN}, key="same")).content == done.content


async def test_a_request_in_flight_is_not_begun_again(api: Api):
    payer, payee = api.customer(money=100_000), api.customer()
    ask = api.signed_ask(payer, payee)
    with api.stage.desk._lock:  # the desk answers nobody until this is left
        first = asyncio.create_task(api.post("/v1/payments", ask, key="once"))
        while not api.stage.desk.queued and not first.done():
            await asyncio.sleep(0)
        second = await api.post("/v1/payments", ask, key="once")
    assert told(second) == (409, "in_flight")
    assert second.headers["retry-after"] == "1"
    assert (await first).status_code == 201
    assert (await api.post("/v1/payments", ask, key="once")).status_code == 201


async def test_twenty_at_once_with_one_key_pay_once(api: Api):
    payer, payee = api.customer(money=100_000), api.customer()
    ask = api.signed_ask(payer, payee)
    answers = await asyncio.gather(*(api.post("/v1/payments", ask, key="once") for _ in range(20)))
    paid = {answer.json()["id"] for answer in answers if answer.status_code == 201}
    assert len(paid) == 1
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert api.stage.has(payee, "wallet") == 10_000


async def test_twenty_at_once_with_their_own_keys_pay_twenty_times(api: Api):
    payer, payee = api.customer(money=100_000), api.customer()
    ask = api.signed_ask(payer, payee, amount="10")
    answers = await asyncio.gather(*(api.post("/v1/payments", ask) for _ in range(20)))
    assert [answer.status_code for answer in answers] == [201] * 20
    assert len({answer.json()["receipt"] for answer in answers}) == 20
    assert api.stage.has(payee, "wallet") == 20_000


async def test_two_clients_may_use_the_same_key(api: Api):
    payer, payee = api.customer(money=100_000), api.customer()
    other = api.with_client()
    ask = api.signed_ask(payer, payee)
    first = await api.post("/v1/payments", ask, key="once")
    second = await other.post("/v1/payments", ask, key="once")
    assert first.json()["id"] != second.json()["id"]
    assert api.stage.has(payee, "wallet") == 20_000
    asked = (await api.post("/v1/payments", api.ask(payer, payee))).json()
    foreign = await other.post(f"/v1/payments/{asked['id']}/confirm", {"pin": PIN})
    assert told(foreign) == (404, "order_unknown")
