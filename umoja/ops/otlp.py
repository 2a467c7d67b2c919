"""OTLP: metrics and logs of other services, decoded and kept as the latest of each, bounded.

Kept are the last value of each series and how many logs of which gravity each service wrote lately.
No text of a log is kept: there may be anything in it.
"""

import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from google.protobuf.json_format import (  # type: ignore[import-untyped]
    MessageToJson,
    Parse,
    ParseError,
)
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from umoja.clock import Clock, to_micros

SERIES_MAX = 20_000
SERIES_EACH_MAX = 5_000  # of one service
SERVICES_MAX = 500
POINTS_MAX = 20_000  # of one request
ATTRIBUTES_MAX = 32
TEXT_MAX = 200
UNPACKED_MAX = 4 << 20
MINUTES = 60
ERROR_FROM = 17  # the severity number at which OTLP's errors begin
WARN_FROM = 13

_MINUTE = 60 * 1_000_000


class OtlpRefused(ValueError):
    """A body cannot be read. It says why."""


class TooLarge(OtlpRefused):
    """A body is too large once it is unpacked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latest:
    """The last value of one series."""

    service: str
    metric: str
    unit: str
    attributes: tuple[tuple[str, str], ...]
    value: float
    at: int


@dataclass(slots=True)
class _Service:
    series: int = 0
    seen_at: int = 0
    minutes: OrderedDict[int, list[int]] = field(
        default_factory=OrderedDict
    )  # all, warnings, errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What one service told lately. Logs are of the last five whole minutes and the running one."""

    service: str
    series: int
    seen_at: int
    logs_5m: int
    warnings_5m: int
    errors_5m: int


class Arrivals:
    """Keeps what arrived, in memory. Calls may come from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._series: OrderedDict[tuple[Any, ...], Latest] = OrderedDict()
        self._services: OrderedDict[str, _Service] = OrderedDict()
        self.dropped = 0

    def series(self, *, service: str = "", limit: int = 1_000) -> list[Latest]:
        """Return the latest values, of one service where it is named; the newest first."""
        with self._lock:
            found = [
                each
                for each in reversed(self._series.values())
                if not service or each.service == service
            ]
        return found[: max(0, min(limit, SERIES_MAX))]

    def services(self) -> list[Heard]:
        """Return who told anything, the noisiest in errors first."""
        since = self._now() // _MINUTE - 5
        with self._lock:
            found = []
            for name, each in self._services.items():
                lately = [counts for minute, counts in each.minutes.items() if minute >= since]
                found.append(
                    Heard(
                        service=name,
                        series=each.series,
                        seen_at=each.seen_at,
                        logs_5m=sum(counts[0] for counts in lately),
                        warnings_5m=sum(counts[1] for counts in lately),
                        errors_5m=sum(counts[2] for counts in lately),
                    )
                )
        return sorted(found, key=lambda each: (-each.errors_5m, each.service))

    def take_metrics(self, request: ExportMetricsServiceRequest) -> int:
        """Take metrics up; return how many points were dropped because there are too many."""
        dropped = points = 0
        with self._lock:
            for resource in request.resource_metrics:
                name = _service_of(resource.resource.attributes)
                service = self._service(name)
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        kind = metric.WhichOneof("data")
                        if kind is None:
                            continue
                        for point in getattr(metric, kind).data_points:
                            points += 1
                            is_room = points <= POINTS_MAX and service is not None
                            kept = is_room and self._put(name, service, metric, kind, point)
                            dropped += not kept
            self.dropped += dropped
        return dropped

    def take_logs(self, request: ExportLogsServiceRequest) -> int:
        """Count logs by service and gravity; return how many were dropped."""
        dropped = 0
        minute = self._now() // _MINUTE
        with self._lock:
            for resource in request.resource_logs:
                service = self._service(_service_of(resource.resource.attributes))
                for scope in resource.scope_logs:
                    if service is None:
                        dropped += len(scope.log_records)
                        continue
                    counts = service.minutes.setdefault(minute, [0, 0, 0])
                    for record in scope.log_records:
                        counts[0] += 1
                        counts[1] += WARN_FROM <= record.severity_number < ERROR_FROM
                        counts[2] += record.severity_number >= ERROR_FROM
                    while len(service.minutes) > MINUTES:
                        service.minutes.popitem(last=False)
            self.dropped += dropped
        return dropped

    # Within the lock

    def _service(self, name: str) -> _Service | None:
        found = self._services.get(name)
        if found is None:
            if len(self._services) >= SERVICES_MAX:
                return None
            found = self._services[name] = _Service()
        found.seen_at = self._now()
        return found

    def _put(self, name: str, service: Any, metric: Any, kind: str, point: Any) -> bool:
        attributes = _attributes(point.attributes)
        if kind in {"histogram", "exponential_histogram", "summary"}:
            value = point.sum / point.count if point.count else 0.0
        else:
            value = point.as_double if point.HasField("as_double") else float(point.as_int)
        key = (name, metric.name[:TEXT_MAX], attributes)
        if key not in self._series:
            if service.series >= SERIES_EACH_MAX:
                return False
            service.series += 1
            while len(self._series) >= SERIES_MAX:
                _, old = self._series.popitem(last=False)
                self._services[old.service].series -= 1
        self._series[key] = Latest(
            service=name,
            metric=metric.name[:TEXT_MAX],
            unit=metric.unit[:20],
            attributes=attributes,
            value=value,
            at=self._now(),
        )
        self._series.move_to_end(key)
        return True

    def _now(self) -> int:
        return to_micros(self._clock.now())


# Reading and writing


def unpacked(body: bytes, encoding: str) -> bytes:
    """Return a body without its packing (gzip, deflate). Raise OtlpRefused, TooLarge."""
    if encoding in {"", "identity"}:
        return body
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        raise OtlpRefused("the content is packed in a way that is not known: use gzip")
    unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        found = unpacking.decompress(body, UNPACKED_MAX)
    except zlib.error as cause:
        raise OtlpRefused("the packed body is broken") from cause
    if unpacking.unconsumed_tail:
        raise TooLarge(f"an unpacked body has at most {UNPACKED_MAX} bytes")
    if not unpacking.eof:
        raise OtlpRefused("the packed body ends too early")
    return found


def metrics_of(body: bytes, *, is_json: bool) -> ExportMetricsServiceRequest:
    """Decode metrics. Raise OtlpRefused."""
    request = ExportMetricsServiceRequest()
    _decode(body, request, is_json=is_json)
    return request


def logs_of(body: bytes, *, is_json: bool) -> ExportLogsServiceRequest:
    """Decode logs. Raise OtlpRefused."""
    request = ExportLogsServiceRequest()
    _decode(body, request, is_json=is_json)
    return request


def metrics_answer(dropped: int, *, is_json: bool) -> bytes:
    """Return what is answered: empty where everything was taken."""
    answer = ExportMetricsServiceResponse()
    if dropped:
        answer.partial_success.rejected_data_points = dropped
        answer.partial_success.error_message = "too many series: the rest was dropped"
    return _encoded(answer, is_json=is_json)


def logs_answer(dropped: int, *, is_json: bool) -> bytes:
    """Return what is answered: empty where everything was taken."""
    answer = ExportLogsServiceResponse()
    if dropped:
        answer.partial_success.rejected_log_records = dropped
        answer.partial_success.error_message = "too many services: the rest was dropped"
    return _encoded(answer, is_json=is_json)


def _decode(body: bytes, into: Any, *, is_json: bool) -> None:
    try:
        if is_json:
            # Ids are hexadecimal there, not what this reader takes bytes for; we need none of them.
            value = msgspec.json.decode(body)
            text = msgspec.json.encode(_without_ids(value, 0))
            Parse(text, into, ignore_unknown_fields=True, max_recursion_depth=50)
        else:
            into.ParseFromString(body)
    except (
        DecodeError,
        ParseError,
        msgspec.MsgspecError,
        UnicodeDecodeError,
        RecursionError,
    ) as cause:
        raise OtlpRefused(f"the body is no OTLP {'JSON' if is_json else 'protobuf'}") from cause


def _without_ids(value: Any, depth: int) -> Any:
    if depth > 100:
        raise RecursionError
    if isinstance(value, dict):
        return {
            name: _without_ids(each, depth + 1)
            for name, each in value.items()
            if name not in {"traceId", "spanId", "trace_id", "span_id", "exemplars"}
        }
    if isinstance(value, list):
        return [_without_ids(each, depth + 1) for each in value]
    return value


def _encoded(answer: Message, *, is_json: bool) -> bytes:
    found: bytes = (
        MessageToJson(answer, indent=None).encode() if is_json else answer.SerializeToString()
    )
    return found


def _service_of(attributes: Iterable[KeyValue]) -> str:
    return dict(_attributes(attributes, keeps=lambda name: name == "service.name")).get(
        "service.name", "unknown"
    )


def _attributes(
    attributes: Iterable[KeyValue], *, keeps: Callable[[str], bool] = lambda _: True
) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for each in attributes:
        if len(found) >= ATTRIBUTES_MAX:
            break
        if keeps(each.key):
            found[each.key[:TEXT_MAX]] = _text(each.value)
    return tuple(sorted(found.items()))


def _text(value: Any) -> str:
    kind = value.WhichOneof("value")
    if kind is None:
        return ""
    if kind in {"array_value", "kvlist_value", "bytes_value"}:
        return f"({kind.removesuffix('_value')})"
    found = getattr(value, kind)
    return str(found).lower() if kind == "bool_value" else str(found)[:TEXT_MAX]
