"""Schemathesis plays the OpenAPI document against the site: no 500, and every answer as it says."""

import asyncio
import io
import re
import threading
from collections.abc import Coroutine
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from requests.adapters import HTTPAdapter
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    ignored_auth,
    missing_required_header,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from urllib3 import HTTPResponse

from tests.stage import raised
from umoja.channels.docs_openapi import document, sample_of
from umoja.channels.http import site
from umoja.markets import packs
from umoja.parties.clients import SCOPES, Clients
from umoja.storage.database import Database

SAMPLE = sample_of(packs.load("KE"))
CHECKS = [
    not_a_server_error,
    allow_header_conformance,
    content_type_conformance,
    ignored_auth,
    missing_required_header,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
]

REAL: dict[str, list[Any]] = {}
"""Payments and parties that are there: chance would never guess them."""

schema = schemathesis.openapi.from_dict(document(SAMPLE))


class InProcess(HTTPAdapter):
    """Carries the requests of a session to an application in a loop of its own."""

    def __init__(self, application: Any) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        transport = httpx.ASGITransport(app=application)
        self.http = httpx.AsyncClient(transport=transport)

    def wait_for(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout=30)

    def send(self, request: requests.PreparedRequest, **_named: Any) -> requests.Response:
        body = request.body.encode() if isinstance(request.body, str) else request.body
        answer = self.wait_for(
            self.http.request(
                request.method or "",
                request.url or "",
                content=body,
                headers=[
                    (
                        name.encode("latin-1"),
                        value if isinstance(value, bytes) else value.encode("latin-1"),
                    )
                    for name, value in request.headers.items()
                    if name.lower() != "content-length"
                ],
            )
        )
        raw = HTTPResponse(
            body=io.BytesIO(answer.content),
            headers=answer.headers.multi_items(),
            status=answer.status_code,
            version=11,
            preload_content=False,
        )
        return self.build_response(request, raw)

    def close(self) -> None:
        self.wait_for(self.http.aclose())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(timeout=10)
        self.loop.close()


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory):
    stage = raised("KE", tmp_path_factory.mktemp("ke"))
    clients = Clients(
        Database(tmp_path_factory.mktemp("clients") / "clients.db"), clock=stage.clock
    )
    client, secret = clients.register(name="Schema", market="KE", scopes=SCOPES)
    token = clients.issue(client, secret, scopes=frozenset())
    people = []
    for name, phone in (("Amina", SAMPLE.phone), ("Baraka", SAMPLE.other_phone)):
        party = stage.customer(name, phone=stage.market.phone_number(phone))
        stage.store.set_pin(party.id, SAMPLE.pin)
        stage.give_money(party, 5_000_000)
        people.append(party.id)
    paid = stage.pay("send_money", *people, 10_000)
    asked = stage.desk.submit_now(
        [stage.ask("send_money", *people, 10_000, client=client, is_confirmed=False)]
    )
    REAL["payment"] = [paid.id, asked[0].id]
    REAL["party"] = people
    adapter = InProcess(
        site(
            branches={"KE": stage.branch},
            clients=clients,
            clock=stage.clock,
            ready=lambda: {"KE": True},
            metrics=lambda: b"",
            extra=[],
            is_sandbox=True,
        )
    )
    with requests.Session() as session:
        session.mount("http://umoja", adapter)
        session.headers["Authorization"] = f"Bearer {token.text}"
        yield session
        adapter.wait_for(stage.desk.close())
    assert stage.breaches() == ()
    stage.close()
    clients.close()


@schema.parametrize()
@settings(
    max_examples=25,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_the_site_answers_as_its_document_says(case: schemathesis.Case, session: requests.Session):
    for name, known in REAL.items():
        place = case.path_parameters.get(name)
        if re.fullmatch("[0-9a-f]{32}|[1-9][0-9]{0,15}", str(place)):
            case.path_parameters[name] = known[len(str(case.body)) % 2]
    case.call_and_validate(base_url="http://umoja", session=session, checks=CHECKS)
