"""OTLP over HTTP: metrics and logs of other services, as protobuf or JSON, packed or not."""

import asyncio
from collections.abc import Callable
from typing import Any

from litestar import HttpMethod, Request, Response, route

from umoja.channels.machine_door import BODY_MAX, admitted
from umoja.channels.native_call import Told
from umoja.ops.machines import Machines
from umoja.ops.otlp import (
    Arrivals,
    OtlpRefused,
    TooLarge,
    logs_answer,
    logs_of,
    metrics_answer,
    metrics_of,
    unpacked,
)

ROOT = "/otlp/v1"
PROTOBUF = "application/x-protobuf"
JSON = "application/json"

_INVALID = 3  # google.rpc.Code.INVALID_ARGUMENT

Asked = Request[Any, Any, Any]


def otlp_doors(*, arrivals: Arrivals, machines: Machines) -> list[Any]:
    """Return the handlers of metrics and logs."""

    def metrics(body: bytes, *, is_json: bool) -> bytes:
        return metrics_answer(
            arrivals.take_metrics(metrics_of(body, is_json=is_json)), is_json=is_json
        )

    def logs(body: bytes, *, is_json: bool) -> bytes:
        return logs_answer(arrivals.take_logs(logs_of(body, is_json=is_json)), is_json=is_json)

    def door(path: str, take: Callable[..., bytes]) -> Any:
        async def handler(request: Asked) -> Response[bytes]:
            machine = await admitted(machines, "otlp", request.headers)
            if isinstance(machine, Told):
                return Response(
                    machine.body,
                    status_code=machine.status,
                    media_type=machine.media_type,
                    headers=dict(machine.headers),
                )
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind not in {PROTOBUF, JSON}:
                return _refused(415, f"send {PROTOBUF} or {JSON}", is_json=True)
            is_json = kind == JSON
            body = await request.body()
            encoding = request.headers.get("content-encoding", "").strip().lower()
            try:
                answer = await asyncio.to_thread(
                    lambda: take(unpacked(body, encoding), is_json=is_json)
                )
            except TooLarge as cause:
                return _refused(413, str(cause), is_json=is_json)
            except OtlpRefused as cause:
                return _refused(400, str(cause), is_json=is_json)
            return Response(answer, media_type=kind, headers={"cache-control": "no-store"})

        return route(
            path,
            http_method=HttpMethod.POST,
            status_code=200,
            request_max_body_size=BODY_MAX,
            include_in_schema=False,
            name=f"otlp {path}",
        )(handler)

    return [door(f"{ROOT}/metrics", metrics), door(f"{ROOT}/logs", logs)]


def _refused(status: int, text: str, *, is_json: bool) -> Response[bytes]:
    """Answer a google.rpc.Status, as OTLP has it: code and message."""
    if is_json:
        body = b'{"code":3,"message":"' + text.replace('"', "'").encode() + b'"}'
    else:
        message = text.encode()[:120]
        body = bytes([0x08, _INVALID, 0x12, len(message)]) + message
    return Response(body, status_code=status, media_type=JSON if is_json else PROTOBUF)
