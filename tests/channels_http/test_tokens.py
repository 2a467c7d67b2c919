"""OAuth2 client credentials, bearer tokens, and scopes."""

import base64
from datetime import timedelta

import httpx
import pytest

from tests.channels_http.conftest import PIN, Api, told
from umoja.channels.native_operations import OPERATIONS
from umoja.channels.tokens import REMEMBERED_MAX, Throttle
from umoja.clock import ManualClock
from umoja.parties.clients import SCOPES


async def ask(
    api: Api,
    form: dict | bytes | None = None,
    *,
    basic: tuple[str, str] | None = None,
    **headers: str,
) -> httpx.Response:
    if basic is not None:
        coded = base64.b64encode(":".join(basic).encode()).decode()
        headers["Authorization"] = f"Basic {coded}"
    if isinstance(form, bytes):
        headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
        return await api.http.post("/oauth2/token", content=form, headers=headers)
    return await api.http.post("/oauth2/token", data=form, headers=headers)


GRANT = {"grant_type": "client_credentials"}


async def test_a_token_by_basic_and_by_form(api: Api):
    in_form = GRANT | {"client_id": api.client_id, "client_secret": api.secret}
    for answer in (
        await ask(api, GRANT, basic=(api.client_id, api.secret)),
        await ask(api, in_form),
        await ask(api, GRANT | {"client_id": api.client_id}, basic=(api.client_id, api.secret)),
    ):
        body = answer.json()
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["pragma"] == "no-cache"
        assert (body["token_type"], body["expires_in"]) == ("Bearer", 3600)
        assert set(body["scope"].split()) == SCOPES
        market = await api.http.get(
            "/v1/market", headers={"Authorization": f"bearer {body['access_token']}"}
        )
        assert market.json()["code"] == "KE"


async def test_a_token_has_the_scopes_that_were_asked_for(api: Api):
    form = GRANT | {"scope": "parties:read"}
    body = (await ask(api, form, basic=(api.client_id, api.secret))).json()
    assert body["scope"] == "parties:read"
    signed = {"Authorization": f"Bearer {body['access_token']}"}
    assert (await api.http.get("/v1/parties", headers=signed)).status_code == 200
    refused = await api.http.get("/v1/payments?key=x", headers=signed)
    assert told(refused) == (403, "forbidden")
    assert 'scope="payments:read"' in refused.headers["www-authenticate"]


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({}, "invalid_request"),
        ({"grant_type": ""}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        (GRANT | {"scope": "everything"}, "invalid_scope"),
        (GRANT | {"colour": "red"}, "invalid_request"),
        (b"grant_type=client_credentials&grant_type=client_credentials", "invalid_request"),
        (b"grant_type=%ff", "invalid_request"),
        (b"\xff\xfe", "invalid_request"),
        (b"&".join(b"a=1" for _ in range(30)), "invalid_request"),
        (GRANT | {"client_secret": "x"}, "invalid_request"),
        (GRANT | {"client_id": "somebody-else"}, "invalid_request"),
    ],
)
async def test_a_form_that_will_not_do(api: Api, form: dict | bytes, error: str):
    answer = await ask(api, form, basic=(api.client_id, api.secret))
    assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert answer.json()["error_description"]
    assert answer.headers["cache-control"] == "no-store"


async def test_json_is_no_form(api: Api):
    answer = await api.http.post("/oauth2/token", json=GRANT)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("basic", "form"),
    [
        (("nobody", "x"), {}),
        (("", ""), {}),
        (("\x00", "\U0001f600"), {}),
        (("%ff", "x"), {}),
        (None, {}),
        (None, {"client_id": "nobody", "client_secret": "x"}),
        (None, {"client_id": "x" * 600, "client_secret": "x"}),
    ],
)
async def test_a_stranger_gets_no_token(api: Api, basic: tuple[str, str] | None, form: dict):
    answer = await ask(api, GRANT | form, basic=basic)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert answer.headers["www-authenticate"].startswith("Basic ")


@pytest.mark.parametrize("header", ["Basic", "Basic !!!", "Basic \xe9", "Bearer x", "Digest a=b"])
async def test_a_header_that_is_no_basic(api: Api, header: str):
    answer = await ask(api, GRANT, Authorization=header.encode("latin-1"))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_a_scope_that_the_client_has_not_is_refused(api: Api):
    other = api.with_client(frozenset({"parties:read"}))
    answer = await ask(
        api, GRANT | {"scope": "payments:write"}, basic=(other.client_id, other.secret)
    )
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_wrong_secrets_are_slowed_down_for_that_client_only(api: Api, clock: ManualClock):
    for _ in range(5):
        assert (await ask(api, GRANT, basic=(api.client_id, "wrong"))).status_code == 401
    slow = await ask(api, GRANT, basic=(api.client_id, api.secret))
    assert told(slow) == (429, "too_many")
    assert slow.headers["retry-after"] == "2"
    other = api.with_client()
    assert (await ask(api, GRANT, basic=(other.client_id, other.secret))).status_code == 200
    clock.advance(timedelta(seconds=2))
    assert (await ask(api, GRANT, basic=(api.client_id, "wrong"))).status_code == 401
    assert told(await ask(api, GRANT, basic=(api.client_id, api.secret))) == (429, "too_many")
    clock.advance(timedelta(seconds=3))
    assert (await ask(api, GRANT, basic=(api.client_id, api.secret))).status_code == 200
    assert (await ask(api, GRANT, basic=(api.client_id, "wrong"))).status_code == 401


def test_the_throttle_remembers_so_many_and_no_more(clock: ManualClock):
    throttle = Throttle(clock, wrong_max=1)
    for number in range(REMEMBERED_MAX + 1):
        throttle.wrong(f"who-{number}")
    assert throttle.wait_s("who-0") == 0.0
    assert throttle.wait_s("who-1") > 0
    clock.advance(timedelta(hours=1))
    throttle.wrong("who-1")
    assert throttle.wait_s("who-1") == 1.0


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Bearer umt_nonsense", "Basic eDp5", "umt_x", "Bearer " + "x" * 5000,
     "Bearer \xe9\xff", "Bearer a b"],
)  # fmt: skip
async def test_calls_without_a_good_token(api: Api, header: str):
    answer = await api.http.get("/v1/market", headers={"Authorization": header.encode("latin-1")})
    assert told(answer) == (401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith('Bearer realm="umoja"')


async def test_a_token_ends_after_an_hour_and_with_its_client(api: Api, clock: ManualClock):
    other = api.with_client()
    assert (await other.get("/v1/market")).status_code == 200
    api.clients.revoke(other.client_id)
    assert told(await other.get("/v1/market")) == (401, "unauthorized")
    clock.advance(timedelta(minutes=61))
    expired = await api.get("/v1/market")
    assert told(expired) == (401, "unauthorized")
    assert 'error="invalid_token"' in expired.headers["www-authenticate"]


async def test_every_operation_asks_for_a_token_and_for_its_scope(api: Api):
    party = api.customer()
    without = {scope: api.with_client(SCOPES - {scope}) for scope in SCOPES}
    only = {scope: api.with_client(frozenset({scope})) for scope in SCOPES}
    none = api.with_client(frozenset())
    for operation in OPERATIONS:
        path = operation.path.format(payment="0" * 32, party=party.id, webhook=f"wh_{'0' * 24}")
        method = operation.method
        assert told(await api.http.request(method, path)) == (401, "unauthorized"), operation.name
        if not operation.scope:
            answer = await api.http.request(method, path, headers=none.signed())
            assert answer.status_code == 200
            continue
        headers = without[operation.scope].signed()
        answer = await api.http.request(method, path, headers=headers)
        assert told(answer) == (403, "forbidden"), operation.name
        answer = await api.http.request(method, path, headers=only[operation.scope].signed())
        assert answer.status_code not in {401, 403}, operation.name


# One market, one organisation


async def test_a_client_of_another_market_sees_and_pays_nothing_here(api: Api):
    payer, payee = api.customer(money=100_000), api.customer()
    paid = (await api.post("/v1/payments", api.signed_ask(payer, payee))).json()
    other = api.with_client(market="TZ")
    assert (await other.get("/v1/market")).json()["code"] == "TZ"
    assert told(await other.get(f"/v1/payments/{paid['id']}")) == (404, "order_unknown")
    assert (await other.get("/v1/payments", receipt=paid["receipt"])).json()["payments"] == []
    assert told(await other.get(f"/v1/parties/{payer.id}")) == (404, "party_unknown")
    assert told(await other.get(f"/v1/parties/{payer.id}/balances")) == (404, "party_unknown")
    ask = api.signed_ask(payer, payee, currency="TZS", amount="5000")
    assert told(await other.post("/v1/payments", ask)) == (422, "payer_unknown")
    assert told(await other.post("/v1/payments", api.signed_ask(payer, payee))) == (
        422,
        "currency_unknown",
    )
    reverse = await other.post(f"/v1/payments/{paid['id']}/reverse", {"pin": PIN})
    assert told(reverse) == (404, "order_unknown")
    assert api.stage.has(payee, "wallet") == 10_000


async def test_an_organisation_s_client_acts_for_it_alone(api: Api):
    payer, payee = api.customer(money=100_000), api.customer()
    own, foreign = api.stage.organisation(), api.stage.organisation()
    private = (await api.post("/v1/payments", api.signed_ask(payer, payee))).json()
    shop = api.with_client(organisation=own.id)

    till = {"product": "pay_till", "amount": "50"}
    assert told(await shop.post("/v1/payments", api.signed_ask(payer, payee))) == (
        403,
        "not_allowed",
    )
    assert told(await shop.post("/v1/payments", api.signed_ask(payer, foreign, **till))) == (
        403,
        "not_allowed",
    )
    assert told(await shop.post("/v1/quote", api.ask(payer, own, **till))) == (403, "not_allowed")
    paid = await shop.post("/v1/payments", api.signed_ask(payer, own, **till))
    assert paid.status_code == 201
    assert (await shop.get(f"/v1/payments/{paid.json()['id']}")).status_code == 200

    assert told(await shop.get(f"/v1/payments/{private['id']}")) == (404, "order_unknown")
    assert (await shop.get("/v1/payments", receipt=private["receipt"])).json()["payments"] == []
    for act, body in (("reverse", {"pin": PIN}), ("consent", {"agree": True, "pin": PIN})):
        answer = await shop.post(f"/v1/payments/{private['id']}/{act}", body)
        assert told(answer) == (404, "order_unknown")
    own_paid = f"/v1/payments/{paid.json()['id']}"
    assert told(await shop.post(f"{own_paid}/reverse", {"pin": PIN})) == (403, "not_allowed")

    for tail in ("", "/balances", "/statement"):
        assert (await shop.get(f"/v1/parties/{own.id}{tail}")).status_code == 200
        assert told(await shop.get(f"/v1/parties/{payer.id}{tail}")) == (404, "party_unknown")
    found = (await shop.get("/v1/parties")).json()
    assert ([each["party"] for each in found["parties"]], found["next"]) == ([own.id], None)
    assert (await shop.get("/v1/parties", phone=payer.phone)).json()["parties"] == []
    assert (await shop.get("/v1/parties", till=own.till)).json()["parties"][0]["party"] == own.id
    assert (await shop.get("/v1/parties", till=foreign.till)).json()["parties"] == []
    new = {"name": "Somebody", "phone": "0712999999"}
    assert told(await shop.post("/v1/parties", new)) == (403, "not_allowed")
    set_pin = await api.http.put(
        f"/v1/parties/{payer.id}/pin", json={"new_pin": "2468"}, headers=shop.signed()
    )
    assert told(set_pin) == (404, "party_unknown")


async def test_an_organisation_s_client_consents_without_a_pin(api: Api):
    payer = api.customer(money=100_000)
    own = api.stage.organisation()
    shop = api.with_client(organisation=own.id)
    ask = api.signed_ask(payer, own, product="pay_till", amount="50")
    paid = (await api.post("/v1/payments", ask)).json()
    address = f"/v1/payments/{paid['id']}"
    assert (await api.post(f"{address}/reverse", {"pin": PIN})).status_code == 200
    assert told(await api.post(f"{address}/consent", {"agree": True})) == (422, "unprocessable")
    given = await shop.post(f"{address}/consent", {"agree": True})
    assert (given.status_code, given.json()["state"]) == (200, "reversed")
    assert api.stage.has(payer, "wallet") == 100_000
