"""OTLP over HTTP: protobuf and JSON, packed or broken, counted and bounded."""

import gzip
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)

from tests.channels_alerts.conftest import Doors
from umoja.ops import otlp

JSON = {"content-type": "application/json"}
PROTOBUF = {"content-type": "application/x-protobuf"}


def metrics(*values: int, service: str = "switch") -> dict[str, Any]:
    return {
        "resourceMetrics": [
            {
                "resource": {
                    "attributes": [{"key": "service.name", "value": {"stringValue": service}}]
                },
                "scopeMetrics": [
                    {
                        "metrics": [
                            {
                                "name": "queue",
                                "gauge": {
                                    "dataPoints": [
                                        {
                                            "asInt": str(value),
                                            "attributes": [
                                                {"key": "n", "value": {"intValue": str(number)}}
                                            ],
                                            "exemplars": [
                                                {"traceId": "5b8efff798038103d269b633813fc60c"}
                                            ],
                                        }
                                        for number, value in enumerate(values)
                                    ]
                                },
                            }
                        ]
                    }
                ],
            }
        ]
    }


def logs(*severities: int) -> bytes:
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    attribute = resource.resource.attributes.add()
    attribute.key, attribute.value.string_value = "service.name", "switch"
    scope = resource.scope_logs.add()
    for each in severities:
        scope.log_records.add(severity_number=each)
    return request.SerializeToString()


async def test_json_metrics_are_kept_as_the_latest_of_each(doors: Doors):
    first = await doors.http.post("/otlp/v1/metrics", json=metrics(1, 2))
    again = await doors.http.post("/otlp/v1/metrics", json=metrics(7))

    assert (first.status_code, first.json()) == (200, {})
    assert again.headers["content-type"] == "application/json"
    found = {each.attributes: each.value for each in doors.centre.arrivals.series()}
    assert found == {(("n", "0"),): 7.0, (("n", "1"),): 2.0}


async def test_logs_are_counted_by_gravity_and_no_text_is_kept(doors: Doors):
    body = gzip.compress(logs(9, 13, 17, 21))
    answer = await doors.http.post(
        "/otlp/v1/logs", content=body, headers=PROTOBUF | {"content-encoding": "gzip"}
    )

    assert (answer.status_code, answer.content) == (200, b"")
    (found,) = doors.centre.arrivals.services()
    assert (found.service, found.logs_5m, found.warnings_5m, found.errors_5m) == ("switch", 4, 1, 2)


@pytest.mark.parametrize("path", ["metrics", "logs"])
@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"\xff\xff", PROTOBUF, 400),
        (b"{", JSON, 400),
        (b"[" * 5_000, JSON, 400),
        (b'{"resourceLogs":3,"resourceMetrics":3}', JSON, 400),
        (b"", {"content-type": "text/plain"}, 415),
        (b"no gzip", PROTOBUF | {"content-encoding": "gzip"}, 400),
        (gzip.compress(b"\0" * 100, mtime=0)[:-9], PROTOBUF | {"content-encoding": "gzip"}, 400),
        (gzip.compress(b"\0" * (5 << 20), mtime=0), PROTOBUF | {"content-encoding": "gzip"}, 413),
        (b"", PROTOBUF | {"content-encoding": "br"}, 400),
        (b" " * ((1 << 20) + 1), JSON, 413),
    ],
    ids=[
        "no protobuf",
        "half of a value",
        "too deep",
        "no list",
        "plain text",
        "no gzip",
        "gzip cut short",
        "unpacks to too much",
        "unknown encoding",
        "too long",
    ],
)
async def test_what_cannot_be_read_is_refused(
    doors: Doors, path: str, body: bytes, headers: dict[str, str], status: int
):
    answer = await doors.http.post(f"/otlp/v1/{path}", content=body, headers=headers)

    assert answer.status_code == status


async def test_what_there_is_no_room_for_is_told_as_partial_success(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(otlp, "SERIES_EACH_MAX", 2)

    answer = await doors.http.post("/otlp/v1/metrics", json=metrics(1, 2, 3))

    assert answer.json()["partialSuccess"]["rejectedDataPoints"] == "1"
    packed = otlp.metrics_answer(1, is_json=False)
    assert ExportMetricsServiceResponse.FromString(packed).partial_success.rejected_data_points == 1
    assert doors.centre.arrivals.dropped == 1


async def test_the_oldest_series_gives_way_to_new_ones(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(otlp, "SERIES_MAX", 2)
    for service in ("a", "b", "c"):
        await doors.http.post("/otlp/v1/metrics", json=metrics(1, service=service))

    assert [each.service for each in doors.centre.arrivals.series()] == ["c", "b"]
    assert {each.service: each.series for each in doors.centre.arrivals.services()} == {
        "a": 0,
        "b": 1,
        "c": 1,
    }
