"""Schemathesis plays Alertmanager's own OpenAPI document against our doors."""

from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.channels_alerts.conftest import NOON, built, token_of
from tests.channels_http.test_schema import InProcess
from umoja.clock import ManualClock

SPEC = Path(__file__).parents[3] / "shared" / "specs" / "alertmanager-v2-openapi.yaml"
CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]

if not SPEC.exists():
    pytest.skip("the document of the Alertmanager's API is not here", allow_module_level=True)

raw = yaml.safe_load(SPEC.read_text("utf-8"))
raw["basePath"] = "/alertmanager/api/v2"
schema = schemathesis.openapi.from_dict(raw)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory):
    application, centre, clients = built(tmp_path_factory.mktemp("centre"), ManualClock(NOON))
    adapter = InProcess(application)
    with requests.Session() as session:
        session.mount("http://umoja", adapter)
        session.headers["Authorization"] = f"Bearer {token_of(centre, 'alerts')}"
        yield session
    centre.close()
    clients.close()


@schema.parametrize()
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_the_document_says(case: Any, session: requests.Session):
    body = case.body
    if isinstance(body, dict) and len(str(body)) % 2:
        # Chance never finds a silence that may be kept.
        body |= {"startsAt": "2026-03-10T09:00:00Z", "endsAt": "2026-03-11T09:00:00Z"}
        body |= {"matchers": [{"name": "a", "value": "b", "isRegex": False}]}
        body.pop("id", None)
    case.call_and_validate(
        base_url="http://umoja/alertmanager/api/v2", session=session, checks=CHECKS
    )
