"""The OpenAPI document, the page made of it, health, metrics, and the headers of all of them."""

import re
from html.parser import HTMLParser

import pytest

from tests.channels_http.conftest import Api, Doors, told
from umoja.channels.docs_openapi import document, errors_of, sample_of
from umoja.channels.native_operations import OPERATIONS
from umoja.channels.problems import KINDS
from umoja.markets import packs


async def test_the_document_describes_every_operation_with_examples(api: Api):
    answer = await api.http.get("/schema/openapi.json")
    whole = answer.json()
    assert (answer.headers["content-type"], whole["openapi"]) == ("application/json", "3.1.0")
    told_of = {(method.upper(), path) for path, item in whole["paths"].items() for method in item}
    assert {(each.method, each.path) for each in OPERATIONS} < told_of
    for path, item in whole["paths"].items():
        for method, operation in item.items():
            for status, response in operation["responses"].items():
                for media, content in response.get("content", {}).items():
                    where = f"{method} {path} {status} {media}"
                    assert content["schema"], where
                    if media != "text/plain":
                        assert content["examples"], where
                        assert all(e["value"] is not None for e in content["examples"].values())


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_error_of_an_operation_is_a_known_kind(operation):
    assert set(errors_of(operation)) <= set(KINDS)
    assert {KINDS[word].status for word in errors_of(operation)} >= {401, 429, 500, 503}


@pytest.mark.parametrize("code", packs.codes())
def test_examples_fit_the_market(code: str):
    market = packs.load(code)
    sample = sample_of(market)
    assert market.phone_number(sample.phone)
    assert market.phone_number(sample.other_phone) not in {None, market.phone_number(sample.phone)}
    assert market.money(sample.amount, sample.currency).minor % market.currencies[0].step == 0
    assert len(sample.pin) == market.pin_digits
    assert document(sample)["paths"]


def test_where_no_market_is_open_there_is_a_document_all_the_same():
    assert document(sample_of(None))["paths"]


class Links(HTMLParser):
    """Collects what a page loads, where it points, and its ids."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.points: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.tags.add(tag)
        self.ids += [named["id"]] if named.get("id") else []
        if tag == "a":
            self.points.append(named["href"] or "")
        elif named.get("src") or named.get("href"):
            self.loads.append(named.get("src") or named.get("href") or "")
        assert not any(name.startswith("on") or name == "style" for name in named)


async def test_the_page_loads_nothing_from_elsewhere_and_runs_nothing(api: Api):
    answer = await api.http.get("/docs")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    links = Links()
    links.feed(answer.text)
    assert links.loads == ["/docs/docs.css"]
    assert not links.tags & {"script", "style", "iframe", "img", "object"}
    assert all(link.startswith(("#", "/")) for link in links.points)
    assert {link[1:] for link in links.points if link.startswith("#")} <= set(links.ids)
    assert len(links.ids) == len(set(links.ids))
    style = await api.http.get("/docs/docs.css")
    assert style.headers["content-type"].startswith("text/css")
    assert not re.search(r"url\(|@import|http", style.text)


async def test_the_page_shows_every_operation_and_every_error(api: Api):
    text = (await api.http.get("/docs")).text
    for operation in OPERATIONS:
        assert f'id="{operation.name}"' in text
        assert operation.title.replace("&", "&amp;") in text
    for word in KINDS:
        assert f"<code>{word}</code>" in text
    assert "This is a sandbox" in text
    assert "Idempotency-Key: $(date" in text


async def test_health(api: Api, doors: Doors):
    assert (await api.http.get("/healthz")).json() == {"status": "up"}
    assert (await api.http.head("/healthz")).status_code == 200
    ready = await api.http.get("/readyz")
    assert (ready.status_code, ready.json()) == (
        200,
        {"ready": True, "markets": {"KE": True, "TZ": True}, "shut": []},
    )
    doors.ready["TZ"] = False
    shut = await api.http.get("/readyz")
    assert (shut.status_code, shut.headers["retry-after"]) == (503, "60")
    assert shut.json() == {"ready": False, "markets": {"KE": True, "TZ": False}, "shut": ["TZ"]}
    doors.ready.clear()
    assert (await api.http.get("/readyz")).status_code == 503


async def test_metrics(api: Api, doors: Doors):
    doors.metrics = lambda: b'umoja_pending{market="KE"} 3\n'
    answer = await api.http.get("/metrics")
    assert answer.content == b'umoja_pending{market="KE"} 3\n'
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize(
    "path", ["/v1/market", "/healthz", "/metrics", "/schema/openapi.json", "/v1/x"]
)
async def test_headers_that_every_answer_has(api: Api, path: str):
    answer = await api.http.get(path, headers=api.signed())
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "server" not in answer.headers


async def test_a_shut_market_is_told_to_its_clients(api: Api):
    other = api.with_client(market="GH")
    answer = await other.get("/v1/market")
    assert told(answer) == (503, "market_shut")
    assert answer.headers["retry-after"] == "60"
