"""Webhooks over the API: registered, listed, deleted, and nobody else's."""

import pytest

from tests.channels_http.conftest import Api, told
from umoja.payments.deliveries import Deliveries
from umoja.payments.webhooks import EVENTS, Webhooks

ASKED = {"url": "https://shop.example/umoja", "events": ["payment.reversed", "payment.completed"]}


async def test_one_is_made_with_a_secret_that_is_told_once(api: Api):
    answer = await api.post("/v1/webhooks", ASKED, key="first")
    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/webhooks/{made['id']}"
    assert made["secret"].startswith("whsec_")
    assert made["events"] == ["payment.completed", "payment.reversed"]
    assert (made["state"], made["failed"], made["left_out"]) == ("works", 0, 0)
    listed = (await api.get("/v1/webhooks")).json()
    assert listed["webhooks"] == [made | {"secret": None}]
    one = (await api.get(f"/v1/webhooks/{made['id']}")).json()
    assert one == made | {"secret": None}
    rows = api.stage._messages().query("SELECT * FROM webhooks")
    assert made["secret"] not in str([dict(row) for row in rows])


async def test_the_same_key_is_the_same_webhook(api: Api):
    first = (await api.post("/v1/webhooks", ASKED, key="same")).json()
    again = (await api.post("/v1/webhooks", ASKED, key="same")).json()
    assert again["id"] == first["id"]
    assert len((await api.get("/v1/webhooks")).json()["webhooks"]) == 1
    other = ASKED | {"url": "https://shop.example/other"}
    assert told(await api.post("/v1/webhooks", other, key="same")) == (422, "key_reused")


async def test_what_made_it_is_remembered_over_a_restart_and_its_secret_is_not_told(api: Api):
    kept = api.stage.branch.webhooks
    words = {
        "client": "ke-shop", "organisation": 0, "key": "k", "url": "https://a.example",
        "events": EVENTS, "head": 0,
    }  # fmt: skip
    first, is_new = kept.register(**words)
    again, is_new_again = kept.register(**words)
    assert (first.id, is_new, is_new_again) == (again.id, True, False)


async def test_deleting_may_be_repeated_and_its_key_stays_used(api: Api):
    made = (await api.post("/v1/webhooks", ASKED, key="gone")).json()
    for _ in range(2):
        answer = await api.http.delete(f"/v1/webhooks/{made['id']}", headers=api.signed())
        assert answer.status_code == 204
    assert told(await api.get(f"/v1/webhooks/{made['id']}")) == (404, "webhook_unknown")
    assert told(await api.get(f"/v1/webhooks/{made['id']}/deliveries")) == (404, "webhook_unknown")
    assert (await api.get("/v1/webhooks")).json() == {"webhooks": [], "next": None}
    other = ASKED | {"url": "https://shop.example/2"}
    assert told(await api.post("/v1/webhooks", other, key="gone")) == (422, "key_reused")


async def test_another_clients_are_not_there(api: Api):
    made = (await api.post("/v1/webhooks", ASKED)).json()
    place = f"/v1/webhooks/{made['id']}"
    for other in (api.with_client(), api.with_client(market="TZ")):
        assert (await other.get("/v1/webhooks")).json()["webhooks"] == []
        assert told(await other.get(place)) == (404, "webhook_unknown")
        assert told(await other.get(f"{place}/deliveries")) == (404, "webhook_unknown")
        again = await other.post(f"{place}/again", {"event": f"{0:012d}.{'0' * 32}"})
        assert told(again) == (404, "webhook_unknown")
        gone = await other.http.delete(place, headers=other.signed())
        assert told(gone) == (404, "webhook_unknown")
    assert (await api.get(place)).status_code == 200


async def test_ten_are_enough(api: Api):
    for number in range(10):
        answer = await api.post("/v1/webhooks", ASKED | {"url": f"https://s.example/{number}"})
        assert answer.status_code == 201
    assert told(await api.post("/v1/webhooks", ASKED)) == (409, "webhooks_full")
    assert (await api.with_client().post("/v1/webhooks", ASKED)).status_code == 201
    first = (await api.get("/v1/webhooks")).json()["webhooks"][0]["id"]
    await api.http.delete(f"/v1/webhooks/{first}", headers=api.signed())
    assert (await api.post("/v1/webhooks", ASKED)).status_code == 201


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"url": "ftp://shop.example"}, "url"),
        ({"url": "https://user:word@shop.example/"}, "url"),
        ({"url": "https://"}, "url"),
        ({"url": "https://shop.example:99999/"}, "url"),
        ({"url": "https://shop example/"}, "url"),
        ({"url": "https://shop.example/\n"}, "url"),
        ({"url": "https://d\u00fcka.example/"}, "url"),
        ({"url": "https://shop.example/" + "x" * 500}, "url"),
        ({"url": ""}, "url"),
        ({"url": 7}, "url"),
        ({"events": []}, "events"),
        ({"events": ["payment.stolen"]}, "events[0]"),
        ({"events": ["payment.held"] * 10}, "events"),
        ({"secret": "mine"}, "secret"),
    ],
    ids=lambda value: None if isinstance(value, str) else str(value)[:40].encode("ascii", "replace").decode(),
)  # fmt: skip
async def test_rubbish_is_refused_and_the_field_named(api: Api, change: dict, field: str):
    answer = await api.post("/v1/webhooks", ASKED | change)
    assert told(answer) == (422, "unprocessable")
    assert answer.json()["field"] == field
    assert (await api.get("/v1/webhooks")).json()["webhooks"] == []


@pytest.mark.parametrize("place", ["wh_1", "wh_" + "0" * 24, "wh_" + "0" * 23 + "%0a", "%27--"])
async def test_rubbish_in_the_path_is_not_there(api: Api, place: str):
    assert told(await api.get(f"/v1/webhooks/{place}")) == (404, "webhook_unknown")
    answer = await api.http.delete(f"/v1/webhooks/{place}", headers=api.signed())
    assert told(answer) == (404, "webhook_unknown")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://shop.example/", "https://"),
        ("https://127.0.0.1/", "private"),
        ("https://10.1.2.3:8443/", "private"),
        ("https://169.254.169.254/latest", "private"),
        ("https://[::1]/", "private"),
        ("https://[::ffff:10.0.0.1]/", "private"),
        ("https://localhost/", "private"),
        ("https://127.1/", "private"),
        ("https://0x7f000001/", "private"),
    ],
)
async def test_in_production_only_tls_and_the_open_internet(api: Api, monkeypatch, url, why):
    monkeypatch.setattr(
        Webhooks, "is_open", property(lambda _: False, lambda *_: None), raising=False
    )
    answer = await api.post("/v1/webhooks", ASKED | {"url": url})
    assert told(answer) == (422, "unprocessable")
    assert why in answer.json()["detail"]
    assert (await api.post("/v1/webhooks", ASKED)).status_code == 201


async def test_what_was_sent_is_listed_in_pages_and_sent_again(api: Api):
    payer, till = api.customer(money=1_000_000), api.stage.organisation()
    shop = api.with_client(organisation=till.id)
    made = (await shop.post("/v1/webhooks", ASKED)).json()
    orders = [api.stage.pay("pay_till", payer.id, till.id, 10_000).id for _ in range(5)]
    deliveries = Deliveries(api.stage._messages(), api.stage.desk)
    deliveries.take(
        500, webhooks=deliveries.webhooks(), write=lambda *_: (1_773_133_200_000_000, b"{}"), now=7
    )
    place = f"/v1/webhooks/{made['id']}"
    first = (await shop.get(f"{place}/deliveries", page_size=3)).json()
    rest = (await shop.get(f"{place}/deliveries", page_size=3, page_token=first["next"])).json()
    found = [*first["deliveries"], *rest["deliveries"]]
    assert [each["payment"] for each in found] == orders[::-1]
    assert rest["next"] is None
    assert {each["state"] for each in found} == {"waiting"}
    assert found[0]["happened_at"] == "2026-03-10T09:00:00.000Z"
    event = found[0]["event"]
    again = await shop.post(f"{place}/again", {"event": event})
    assert again.status_code == 200
    assert (again.json()["event"], again.json()["state"]) == (event, "waiting")
    nothing = {"event": f"{99:012d}.{'0' * 32}"}
    assert told(await shop.post(f"{place}/again", nothing)) == (404, "event_unknown")
    bad = await shop.post(f"{place}/again", {"event": "' OR 1=1 --"})
    assert told(bad) == (422, "unprocessable")
    page = await shop.get(f"{place}/deliveries", page_token="rubbish")
    assert told(page) == (400, "bad_request")
