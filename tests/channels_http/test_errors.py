"""Bad input of every kind: a clear error each time, nothing changed, never a 500."""

import json
from typing import Any

import httpx
import msgspec
import pytest
from litestar import get
from structlog.testing import capture_logs

from tests.channels_http.conftest import PIN, Api, told
from umoja.channels.http import site
from umoja.channels.problems import KINDS, TITLES, of_decline
from umoja.faults import Busy, OutcomeUnknown, Unavailable
from umoja.parties.party import Status
from umoja.payments.order import Decline

UNKNOWN = {"party": 999_999}


def test_every_decline_has_a_title_and_a_status():
    assert set(TITLES) == set(Decline)
    statuses = {decline: of_decline(decline).status for decline in Decline}
    assert {d for d, status in statuses.items() if status == 404} == {Decline.ORDER_UNKNOWN}
    assert {d for d, status in statuses.items() if status == 403} == {Decline.NOT_ALLOWED}
    assert {d for d, status in statuses.items() if status == 503} == {
        Decline.PRODUCT_STOPPED,
        Decline.BOOKS_BROKEN,
    }
    assert set(statuses.values()) == {403, 404, 422, 503}
    assert all(kind.title for kind in KINDS.values())
    assert all(word == kind.word for word, kind in KINDS.items())


def error(response: httpx.Response) -> tuple[int, str, str]:
    """Return status, word and the field that is named."""
    return (*told(response), response.json().get("field", ""))


BODIES: list[tuple[bytes, int, str, str]] = [
    (b"", 400, "bad_request", ""),
    (b"{", 400, "bad_request", ""),
    (b"nonsense", 400, "bad_request", ""),
    (b"\xef\xbb\xbf{}", 400, "bad_request", ""),
    (b'{"product": "\xff"}', 400, "bad_request", ""),
    (b'{"product": "\\ud800"}', 400, "bad_request", ""),
    (b'{"product": NaN}', 400, "bad_request", ""),
    (b"null", 422, "unprocessable", ""),
    (b"[]", 422, "unprocessable", ""),
    (b"[" * 60_000, 422, "unprocessable", ""),
    (b'{"product":' + b"[" * 60_000, 422, "unprocessable", "product"),
    (b"{}", 422, "unprocessable", "product"),
]


async def test_bodies_that_cannot_be_read(api: Api):
    head = api.stage.desk.head
    for path in ("/v1/payments", "/v1/quote"):
        found = [(body, *error(await api.post(path, body))) for body, *_ in BODIES]
        assert found == BODIES
    assert api.stage.desk.head == head


FIELDS: list[tuple[dict[str, Any], int, str, str]] = [
    ({"colour": "red"}, 422, "unprocessable", "colour"),
    ({"payer": {"party": 1000, "colour": 1}}, 422, "unprocessable", "payer.colour"),
    ({"payer": {}}, 422, "unprocessable", "payer"),
    ({"payer": {"party": 1000, "phone": "0712345678"}}, 422, "unprocessable", "payer"),
    ({"payer": {"phone": ""}}, 422, "unprocessable", "payer.phone"),
    ({"payer": {"phone": "7" * 33}}, 422, "unprocessable", "payer.phone"),
    ({"payer": {"party": "1000"}}, 422, "unprocessable", "payer.party"),
    ({"payer": {"party": 0}}, 422, "unprocessable", "payer.party"),
    ({"payer": {"party": -1}}, 422, "unprocessable", "payer.party"),
    ({"payer": {"party": 2**53}}, 422, "unprocessable", "payer.party"),
    ({"payer": {"party": 2**63}}, 422, "unprocessable", "payer.party"),
    ({"payer": {"party": 10**400}}, 422, "unprocessable", "payer.party"),
    ({"payer": {"till": "12a"}}, 422, "unprocessable", "payer.till"),
    ({"payer": {"till": "\u0661\u0662"}}, 422, "unprocessable", "payer.till"),
    ({"payer": None}, 422, "unprocessable", "payer"),
    ({"product": 7}, 422, "unprocessable", "product"),
    ({"product": ""}, 422, "unprocessable", "product"),
    ({"product": "x" * 41}, 422, "unprocessable", "product"),
    ({"amount": 100}, 422, "unprocessable", "amount"),
    ({"amount": 1e300}, 422, "unprocessable", "amount"),
    ({"amount": ""}, 422, "unprocessable", "amount"),
    ({"amount": "-1"}, 422, "unprocessable", "amount"),
    ({"amount": "+1"}, 422, "unprocessable", "amount"),
    ({"amount": "1e3"}, 422, "unprocessable", "amount"),
    ({"amount": "1,000"}, 422, "unprocessable", "amount"),
    ({"amount": " 1"}, 422, "unprocessable", "amount"),
    ({"amount": "1."}, 422, "unprocessable", "amount"),
    ({"amount": "0x10"}, 422, "unprocessable", "amount"),
    ({"amount": "NaN"}, 422, "unprocessable", "amount"),
    ({"amount": "\u0661\u0660\u0660"}, 422, "unprocessable", "amount"),
    ({"amount": "1" * 16}, 422, "unprocessable", "amount"),
    ({"amount": "9" * 400}, 422, "unprocessable", "amount"),
    ({"amount": "100\x00"}, 422, "unprocessable", "amount"),
    ({"reference": "x" * 41}, 422, "unprocessable", "reference"),
    ({"pin": 1357}, 422, "unprocessable", "pin"),
    ({"pin": "12x4"}, 422, "unprocessable", "pin"),
    ({"pin": None}, 422, "unprocessable", "pin"),
    ({"confirm": False}, 422, "unprocessable", "pin"),
    ({"confirm": "yes"}, 422, "unprocessable", "confirm"),
    ({"actor": {}}, 422, "unprocessable", "actor"),
    ({"actor": UNKNOWN}, 403, "not_allowed", "actor"),
    ({"amount": "100.001"}, 422, "amount_too_precise", "amount"),
    ({"amount": "100\n"}, 422, "amount_too_precise", "amount"),
    ({"currency": "XXX"}, 422, "currency_unknown", "currency"),
    ({"currency": "\x00"}, 422, "currency_unknown", "currency"),
]

REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"amount": "0"}, 422, "amount_too_small"),
    ({"amount": "0.00"}, 422, "amount_too_small"),
    ({"amount": "100.50"}, 422, "amount_too_precise"),
    ({"amount": "250001"}, 422, "amount_too_large"),
    ({"amount": "9" * 15}, 422, "amount_too_large"),
    ({"amount": "90000"}, 422, "not_enough"),
    ({"product": "teleport"}, 422, "product_unknown"),
    ({"product": "\u202e"}, 422, "product_unknown"),
    ({"product": "pay_bill"}, 422, "reference_missing"),
    ({"product": "deposit"}, 422, "payer_unknown"),
    ({"payer": UNKNOWN}, 422, "payer_unknown"),
    ({"payer": {"party": 1}}, 422, "payer_unknown"),
    ({"payer": {"party": 2**53 - 1}}, 422, "payer_unknown"),
    ({"payer": {"phone": "112"}}, 422, "payer_unknown"),
    ({"payer": {"phone": "\x00\U0001f600"}}, 422, "payer_unknown"),
    ({"payee": UNKNOWN}, 422, "payee_unknown"),
    ({"payee": {"till": "0"}}, 422, "payee_unknown"),
    ({"payee": {"operator": True}}, 422, "payee_unknown"),
    ({"reference": "a\x00b"}, 422, "malformed"),
    ({"reference": "a\u202eb"}, 422, "malformed"),
    ({"pin": "2468"}, 422, "pin_wrong"),
]


async def test_a_field_that_will_not_do_is_named(api: Api):
    payer, payee = api.customer(money=100_000), api.customer()
    head = api.stage.desk.head
    found = []
    for change, *_ in FIELDS:
        body = json.dumps(api.signed_ask(payer, payee) | change).encode()
        found.append((change, *error(await api.post("/v1/payments", body))))
    assert found == FIELDS
    assert api.stage.desk.head == head, "nothing was kept"
    assert api.stage.has(payer, "wallet") == 100_000


async def test_a_payment_that_is_refused_moves_nothing(api: Api):
    payer, payee = api.customer(money=100_000), api.customer()
    found = []
    for change, *_ in REFUSED:
        answer = await api.post("/v1/payments", api.signed_ask(payer, payee) | change)
        found.append((change, *told(answer)))
    assert found == REFUSED
    assert api.stage.has(payer, "wallet") == 100_000
    assert api.stage.has(payee, "wallet") == 0
    assert api.stage.breaches() == ()


async def test_references_in_every_script_and_emoji_are_taken(api: Api):
    payer, shop = api.customer(money=100_000), api.stage.organisation()
    for reference in ("مرحبا", "ሰላም", "Zoë \U0001f389", "'; DROP TABLE parties; --"):
        ask = api.signed_ask(payer, shop, product="pay_bill", reference=reference, amount="10")
        answer = await api.post("/v1/payments", ask)
        assert (answer.status_code, answer.json().get("reference")) == (201, reference)


async def test_who_pays_and_who_is_paid(api: Api):
    payer, payee = api.customer(money=100_000), api.customer()
    ask = api.signed_ask(payer, payee)
    assert told(await api.post("/v1/payments", api.signed_ask(payer, payer))) == (422, "same_party")
    no_pin = api.stage.customer()
    assert told(await api.post("/v1/payments", api.signed_ask(no_pin, payee))) == (
        422,
        "pin_not_set",
    )
    api.stage.store.update(msgspec.structs.replace(payee, status=Status.SUSPENDED))
    assert told(await api.post("/v1/payments", ask)) == (422, "payee_barred")
    api.stage.store.update(msgspec.structs.replace(payee, status=Status.ACTIVE))
    api.stage.store.swap_sim(payer.id)
    assert told(await api.post("/v1/payments", ask)) == (422, "sim_swapped")


async def test_a_stopped_product_says_when_to_come_back_and_with_what(api: Api):
    payer, payee = api.customer(money=100_000), api.customer()
    api.stage.switches.stop(market="KE", product="send_money", reason="drill")
    answer = await api.post("/v1/payments", api.signed_ask(payer, payee))
    assert told(answer) == (503, "product_stopped")
    assert answer.headers["retry-after"] == "60"
    assert "new Idempotency-Key" in answer.json()["detail"]


HEADERS: list[tuple[dict[str, str], int, str, str]] = [
    ({"Idempotency-Key": ""}, 400, "key_missing", "Idempotency-Key"),
    ({"Idempotency-Key": "a b"}, 400, "bad_request", "Idempotency-Key"),
    ({"Idempotency-Key": "x" * 256}, 400, "bad_request", "Idempotency-Key"),
    ({"Content-Type": "text/plain"}, 415, "media_type", ""),
    ({"Content-Type": ""}, 415, "media_type", ""),
    ({"Content-Type": "application/x-www-form-urlencoded"}, 415, "media_type", ""),
]


async def test_headers_that_will_not_do(api: Api):
    payer, payee = api.customer(money=100_000), api.customer()
    body = json.dumps(api.signed_ask(payer, payee)).encode()
    found = [
        (headers, *error(await api.post("/v1/payments", body, **headers)))
        for headers, *_ in HEADERS
    ]
    assert found == HEADERS
    assert api.stage.has(payee, "wallet") == 0
    good = {"Content-Type": "application/json; charset=utf-8"}
    assert (await api.post("/v1/payments", body, **good)).status_code == 201


@pytest.mark.parametrize("path", ["/v1/payments", "/v1/quote", "/v1/parties", "/oauth2/token"])
async def test_a_body_that_is_too_large(api: Api, path: str):
    answer = await api.post(path, b'"' + b"x" * (64 * 1024) + b'"')
    assert told(answer) == (413, "too_large")


@pytest.mark.parametrize(
    ("method", "path", "status", "word"),
    [
        ("GET", "/v1", 404, "not_found"),
        ("GET", "/v1/nowhere", 404, "not_found"),
        ("GET", "/v1/payments/x/y/z", 404, "not_found"),
        ("DELETE", "/v1/payments", 405, "method_not_allowed"),
        ("GET", "/v1/quote", 405, "method_not_allowed"),
        ("GET", "/oauth2/token", 405, "method_not_allowed"),
        ("PATCH", "/schema/openapi.json", 405, "method_not_allowed"),
        ("GET", "/nowhere", 404, "not_found"),
    ],
)
async def test_addresses_that_are_not_there(
    api: Api, method: str, path: str, status: int, word: str
):
    answer = await api.http.request(method, path, headers=api.signed())
    assert told(answer) == (status, word)
    assert ("allow" in answer.headers) == (status == 405)


async def test_a_browser_gets_a_page_where_nothing_is(api: Api):
    answer = await api.http.get("/nowhere", headers={"Accept": "text/html"})
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert "There is nothing at this address" in answer.text
    machine = await api.http.get("/v1/nowhere", headers={"Accept": "text/html"})
    assert told(machine) == (404, "not_found")


NO_PAYMENTS = [
    "x",
    "0" * 31,
    "0" * 33,
    "0" * 32,
    "A" * 32,
    "%00",
    "\U0001f600",
    "%ff",
    "9" * 400,
    "'",
]
NO_PARTIES = [
    "x", "0", "-1", "1", "999999", str(2**53), str(2**63), "9" * 400, "%00", "1.5", "\u0661", "1000%20",
]  # fmt: skip


async def test_payments_that_are_not_there(api: Api):
    acts = {"confirm": {"pin": PIN}, "reverse": {"pin": PIN}, "consent": {"agree": True}}
    for place in NO_PAYMENTS:
        assert told(await api.get(f"/v1/payments/{place}")) == (404, "order_unknown"), place
        for act, body in acts.items():
            answer = await api.post(f"/v1/payments/{place}/{act}", body)
            assert told(answer) == (404, "order_unknown"), (place, act)


async def test_parties_that_are_not_there(api: Api):
    for place in NO_PARTIES:
        for tail in ("", "/balances", "/statement"):
            answer = await api.get(f"/v1/parties/{place}{tail}")
            assert told(answer) == (404, "party_unknown"), (place, tail)
        answer = await api.http.put(
            f"/v1/parties/{place}/pin", json={"new_pin": PIN}, headers=api.signed()
        )
        assert told(answer) == (404, "party_unknown"), place


QUERIES: list[tuple[str, str, str]] = [
    ("/v1/payments", "", "receipt"),
    ("/v1/payments", "receipt=A&key=B", "key"),
    ("/v1/payments", "receipt=A&receipt=B", "receipt"),
    ("/v1/payments", "colour=red", "colour"),
    ("/v1/payments", "receipt=%ff", ""),
    ("/v1/payments", f"receipt={'x' * 41}", "receipt"),
    ("/v1/payments", "&".join(f"a{n}=1" for n in range(30)), ""),
    ("/v1/parties", "phone=1&till=2", "till"),
    ("/v1/parties", "role=king", "role"),
    ("/v1/parties", "page_size=0", "page_size"),
    ("/v1/parties", "page_size=101", "page_size"),
    ("/v1/parties", "page_size=x", "page_size"),
    ("/v1/parties", "page_size=" + "9" * 400, "page_size"),
    ("/v1/parties", "page_token=x", "page_token"),
    ("/v1/parties", "page_token=%F0%9F%98%80", "page_token"),
    ("/v1/parties", "page_token=cDA", "page_token"),
]


async def test_queries_that_cannot_be_read(api: Api):
    found = []
    for path, query, _ in QUERIES:
        status, word, field = error(await api.http.get(f"{path}?{query}", headers=api.signed()))
        assert (status, word) == (400, "bad_request"), query
        found.append((path, query, field))
    assert found == QUERIES


async def test_a_search_that_finds_nothing_is_an_empty_list(api: Api):
    for receipt in ("x", "AAAAAAAAAA", "%00", "\U0001f600", "QHK3T7Z0A"):
        found = await api.get("/v1/payments", receipt=receipt)
        assert found.json() == {"payments": [], "next": None}


@pytest.mark.parametrize(
    ("fault", "status", "word", "wait"),
    [
        (Busy("the desk", retry_after_s=7), 503, "unavailable", "7"),
        (Unavailable("the journal cannot be written"), 503, "unavailable", "5"),
        (OutcomeUnknown("the disk said nothing"), 504, "outcome_unknown", "5"),
    ],
)
async def test_faults_are_told_and_their_cause_is_not(
    api: Api, monkeypatch: pytest.MonkeyPatch, fault: Exception, status: int, word: str, wait: str
):
    payer, payee = api.customer(money=100_000), api.customer()

    async def submit(_request: object) -> None:
        raise fault

    monkeypatch.setattr(api.stage.desk, "submit", submit)
    ask = api.signed_ask(payer, payee)
    with capture_logs():
        answer = await api.post("/v1/payments", ask, key="once")
    assert told(answer) == (status, word)
    assert answer.headers["retry-after"] == wait
    assert str(fault) not in answer.text
    monkeypatch.undo()
    assert (await api.post("/v1/payments", ask, key="once")).status_code == 201


async def test_a_bug_of_ours_is_a_500_without_its_inside(api: Api, monkeypatch: pytest.MonkeyPatch):
    payer, payee = api.customer(money=100_000), api.customer()

    async def submit(_request: object) -> None:
        raise AssertionError("secret inside")

    monkeypatch.setattr(api.stage.desk, "submit", submit)
    ask = api.signed_ask(payer, payee)
    with capture_logs() as logged:
        answer = await api.post("/v1/payments", ask, key="once")
    assert told(answer) == (500, "bug")
    assert "secret inside" not in answer.text
    assert [(entry["event"], entry["route"]) for entry in logged] == [
        ("channels.http.bug", "POST /v1/payments")
    ]
    assert "submit" in logged[0]["places"]
    assert PIN not in str(logged)
    monkeypatch.undo()
    assert (await api.post("/v1/payments", ask, key="once")).status_code == 201


async def test_other_handlers_on_the_site_are_guarded_too(api: Api):
    @get("/extra", include_in_schema=False)
    async def extra() -> str:
        raise RuntimeError("inside")

    application = site(
        branches={},
        clients=api.clients,
        clock=api.stage.clock,
        ready=dict,
        metrics=lambda: b"",
        extra=[extra],
        is_sandbox=False,
    )
    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport, base_url="http://umoja") as http:
        with capture_logs() as logged:
            assert told(await http.get("/extra")) == (500, "bug")
            page = await http.get("/extra", headers={"Accept": "text/html"})
        assert [entry["route"] for entry in logged] == ["GET /extra"] * 2
        assert page.status_code == 500
        assert "inside" not in page.text
        assert page.headers["x-content-type-options"] == "nosniff"
        assert told(await http.get("/v1/market", headers=api.signed())) == (503, "market_shut")
        assert (await http.get("/docs")).status_code == 200
        assert (await http.get("/readyz")).status_code == 503
