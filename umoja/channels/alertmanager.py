"""An Alertmanager, as its clients see it: the v2 API, and the webhook that real ones send to.

amtool and Prometheus talk to `/alertmanager`; other Alertmanagers post to `/webhooks/alertmanager`.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import yaml
from litestar import HttpMethod, Request, Response, route

from umoja.channels.machine_door import BODY_MAX, admitted, moment_of, written
from umoja.channels.native_call import Told
from umoja.clock import Clock, to_micros
from umoja.ops.alarms import Alarms, Group, Standing
from umoja.ops.alert import Alert, AlertRefused, told
from umoja.ops.machines import Machine, Machines
from umoja.ops.matching import Matcher, MatcherRefused, all_match, read_matcher
from umoja.ops.patterns import PatternRefused, pattern
from umoja.ops.silences import (
    Silence,
    SilenceRefused,
    Silences,
    SilenceUnknown,
    State,
)

ROOT = "/alertmanager/api/v2"
WEBHOOK = "/webhooks/alertmanager"
VERSION = "0.25.0"
"""The version whose API this is: amtool compares it with its own."""

RECEIVER = "umoja"
SHOWN_MAX = 5_000
FILTERS_MAX = 20
ALERTS_AT_ONCE_MAX = 2_000
WEBHOOK_HOLDS = 24 * 60 * 60 * 1_000_000
"""A webhook's alert ends by its notice; without one, so long after its last repeat."""

_JSON = "application/json"
_encode = msgspec.json.Encoder().encode

Asked = Request[Any, Any, Any]


class _Refused(ValueError):
    """A request cannot be read; the text is answered."""


class _PostedAlert(msgspec.Struct, rename="camel"):
    labels: dict[str, str]
    annotations: dict[str, str] | None = None
    starts_at: str | None = None
    ends_at: str | None = None
    generator_url: str | None = msgspec.field(name="generatorURL", default=None)


class _PostedSilence(msgspec.Struct, rename="camel"):
    matchers: list[Matcher]
    starts_at: str
    ends_at: str
    created_by: str
    comment: str
    id: str | None = None
    annotations: dict[str, str] | None = None


class _HookAlert(_PostedAlert, rename="camel"):
    status: str = "firing"


class _Hook(msgspec.Struct, rename="camel"):
    version: str
    alerts: list[_HookAlert]
    receiver: str = ""
    truncated_alerts: int = 0
    external_url: str = msgspec.field(name="externalURL", default="")


def alertmanager_doors(
    *, alarms: Alarms, silences: Silences, machines: Machines, clock: Clock
) -> list[Any]:
    """Return the handlers of the Alertmanager API and of the webhook."""
    began = to_micros(clock.now())

    def door(path: str, method: str, answer: Callable[[Asked, Machine], Any]) -> Any:
        """Return a handler that lets in whoever has a token, and answers what is refused as text."""

        async def handler(request: Asked) -> Response[bytes]:
            machine = await admitted(machines, "alerts", request.headers)
            if isinstance(machine, Told):
                refusal = _answer("a token with the scope alerts is needed", status=machine.status)
                refusal.headers.update(machine.headers)
                return refusal
            try:
                found = await answer(request, machine)
            except (
                _Refused,
                AlertRefused,
                SilenceRefused,
                MatcherRefused,
                PatternRefused,
            ) as cause:
                return _answer(str(cause), status=400)
            except SilenceUnknown as cause:
                return _answer(str(cause), status=404)
            return found if isinstance(found, Response) else _answer(found)

        return route(
            path,
            http_method=HttpMethod(method),
            status_code=200,
            request_max_body_size=BODY_MAX,
            include_in_schema=False,
            name=f"alertmanager.{method} {path}",
        )(handler)

    async def status(_: Asked, __: Machine) -> Any:
        return {
            "cluster": {"name": "umoja", "status": "ready", "peers": []},
            "versionInfo": {
                "version": VERSION,
                "revision": "",
                "branch": "umoja",
                "buildUser": "",
                "buildDate": "",
                "goVersion": "",
            },
            "config": {"original": _config(alarms)},
            "uptime": written(began),
        }

    async def receivers(request: Asked, _: Machine) -> Any:
        matchers = _matchers(_query(request).get("receiver_matchers", []))
        return [{"name": RECEIVER}] if all_match(matchers, {}) else []

    async def get_alerts(request: Asked, _: Machine) -> Any:
        keeps = _filter(_query(request))
        found = await asyncio.to_thread(lambda: [e for e in alarms.standing() if keeps(e)])
        return _bounded([_gettable(each) for each in found[:SHOWN_MAX]], len(found))

    async def get_groups(request: Asked, _: Machine) -> Any:
        query = _query(request)
        keeps, shows_muted = _filter(query), _flag(query, "muted")

        def gathered() -> list[Group]:
            return alarms.groups(each for each in alarms.standing() if keeps(each))

        groups = await asyncio.to_thread(gathered)
        left = SHOWN_MAX
        shown = []
        for group in groups:
            if not shows_muted and all(each.is_suppressed for each in group.standing):
                continue
            if left > 0:
                shown.append(_group(group, left))
            left -= len(group.standing)
        return _bounded(shown, SHOWN_MAX - min(left, 0))

    async def post_alerts(request: Asked, machine: Machine) -> Any:
        posted = _decoded(await request.body(), list[_PostedAlert])
        taken, faults = _taken(posted, source=machine.name, now=to_micros(clock.now()))
        await asyncio.to_thread(alarms.take_and_keep, taken)
        if faults:
            raise _Refused("; ".join(faults))
        return Response(b"", media_type=_JSON, headers={"cache-control": "no-store"})

    async def get_silences(request: Asked, _: Machine) -> Any:
        query = _query(request)
        matchers = _matchers(query.get("filter", []))
        wanted = {state for state in State if _flag(query, state.value)}
        now = to_micros(clock.now())
        found = [
            each
            for each in silences.browse()
            if each.state(now) in wanted
            and all_match(matchers, {one.name: one.value for one in each.matchers})
        ]
        return _bounded([_shown(each, now) for each in found[:SHOWN_MAX]], len(found))

    async def post_silences(request: Asked, _: Machine) -> Any:
        posted = _decoded(await request.body(), _PostedSilence)
        starts_at, ends_at = _moment(posted.starts_at), _moment(posted.ends_at)

        def put() -> Silence:
            return silences.put(
                matchers=posted.matchers,
                starts_at=starts_at,
                ends_at=ends_at,
                created_by=posted.created_by,
                comment=posted.comment,
                annotations=posted.annotations,
                silence_id=posted.id or "",
            )

        return {"silenceID": (await asyncio.to_thread(put)).id}

    async def get_silence(request: Asked, _: Machine) -> Any:
        found = silences.get(str(request.path_params["silence"]))
        return _shown(found, to_micros(clock.now()))

    async def delete_silence(request: Asked, _: Machine) -> Any:
        await asyncio.to_thread(silences.expire, str(request.path_params["silence"]))
        return Response(b"", media_type=_JSON, headers={"cache-control": "no-store"})

    async def hook(request: Asked, machine: Machine) -> Any:
        posted = _decoded(await request.body(), _Hook)
        if posted.version != "4":
            raise _Refused("only version 4 of the webhook is known")
        now = to_micros(clock.now())
        taken, faults = _taken(
            posted.alerts, source=posted.receiver[:80] or machine.name, now=now, holds=WEBHOOK_HOLDS
        )
        begun = await asyncio.to_thread(alarms.take_and_keep, taken)
        if faults:
            raise _Refused("; ".join(faults))
        return {"taken": len(taken), "begun": begun, "truncated": posted.truncated_alerts}

    return [
        door(f"{ROOT}/status", "GET", status),
        door(f"{ROOT}/receivers", "GET", receivers),
        door(f"{ROOT}/alerts", "GET", get_alerts),
        door(f"{ROOT}/alerts", "POST", post_alerts),
        door(f"{ROOT}/alerts/groups", "GET", get_groups),
        door(f"{ROOT}/silences", "GET", get_silences),
        door(f"{ROOT}/silences", "POST", post_silences),
        door(f"{ROOT}/silence/{{silence:str}}", "GET", get_silence),
        door(f"{ROOT}/silence/{{silence:str}}", "DELETE", delete_silence),
        door(WEBHOOK, "POST", hook),
    ]


# Reading


def _decoded(body: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as cause:
        raise _Refused(f"the body cannot be read: {cause}") from cause


def _moment(text: str | None) -> int:
    try:
        return moment_of(text)
    except ValueError as cause:
        raise _Refused(str(cause)) from cause


def _taken(
    posted: Sequence[_PostedAlert], *, source: str, now: int, holds: int = 0
) -> tuple[list[Alert], list[str]]:
    """Return the alerts that are fit, and why others are not."""
    if len(posted) > ALERTS_AT_ONCE_MAX:
        raise _Refused(f"at most {ALERTS_AT_ONCE_MAX} alerts are taken at once")
    alerts: list[Alert] = []
    faults: list[str] = []
    for each in posted:
        try:
            ends_at = _moment(each.ends_at)
            if isinstance(each, _HookAlert):
                # What fires has no end yet; a real one's is when it would give up hope.
                ends_at = 0 if each.status == "firing" else min(ends_at or now, now)
            alerts.append(
                told(
                    labels=each.labels,
                    annotations=each.annotations or {},
                    starts_at=_moment(each.starts_at),
                    ends_at=ends_at,
                    generator_url=each.generator_url or "",
                    source=source,
                    now=now,
                    **({"holds": holds} if holds else {}),
                )
            )
        except (AlertRefused, _Refused) as cause:
            if len(faults) < 10:
                faults.append(str(cause))
    return alerts, faults


def _query(request: Asked) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    text = request.scope["query_string"].decode("latin-1")
    for name, value in parse_qsl(text, keep_blank_values=True)[:100]:
        found.setdefault(name, []).append(value)
    return found


def _flag(query: dict[str, list[str]], name: str) -> bool:
    text = query.get(name, ["true"])[-1].lower()
    if text not in {"true", "1", "t", "yes", "false", "0", "f", "no"}:
        raise _Refused(f"{name} is true or false")
    return text in {"true", "1", "t", "yes"}


def _matchers(texts: Sequence[str]) -> list[Matcher]:
    if len(texts) > FILTERS_MAX:
        raise _Refused(f"at most {FILTERS_MAX} filters are taken")
    return [read_matcher(each) for each in texts]


def _filter(query: dict[str, list[str]]) -> Callable[[Standing], bool]:
    """Return which alerts a query asks for."""
    matchers = _matchers(query.get("filter", []))
    by_receiver = _matchers(query.get("receiver_matchers", []))
    active, silenced = _flag(query, "active"), _flag(query, "silenced")
    inhibited = _flag(query, "inhibited")
    _flag(query, "unprocessed")  # none of ours is: they are grouped as they come
    receiver = query.get("receiver", [""])[-1]
    is_ours = (not receiver or pattern(receiver).matches(RECEIVER)) and all_match(by_receiver, {})

    def keeps(each: Standing) -> bool:
        return (
            is_ours
            and (active or each.is_suppressed)
            and (silenced or not each.silenced_by)
            and (inhibited or not each.inhibited_by)
            and all_match(matchers, each.alert.labels)
        )

    return keeps


# Writing


def _answer(value: Any, *, status: int = 200) -> Response[bytes]:
    return Response(
        _encode(value),
        status_code=status,
        media_type=_JSON,
        headers={"cache-control": "no-store"},
    )


def _bounded(shown: list[Any], total: int) -> Response[bytes]:
    answer = _answer(shown)
    if total > SHOWN_MAX:
        answer.headers["x-umoja-left-off"] = str(total - SHOWN_MAX)
    return answer


def _gettable(each: Standing) -> dict[str, Any]:
    alert = each.alert
    found: dict[str, Any] = {
        "labels": alert.labels,
        "annotations": alert.annotations,
        "receivers": [{"name": RECEIVER}],
        "fingerprint": alert.fingerprint,
        "startsAt": written(alert.starts_at),
        "updatedAt": written(alert.updated_at),
        "endsAt": written(alert.ends_at),
        "status": {
            "state": "suppressed" if each.is_suppressed else "active",
            "silencedBy": each.silenced_by,
            "inhibitedBy": each.inhibited_by,
            "mutedBy": [],
        },
    }
    if alert.generator_url:
        found["generatorURL"] = alert.generator_url
    return found


def _group(group: Group, most: int) -> dict[str, Any]:
    first = group.standing[0].alert
    name = "service" if first.labels.get("service") else "alertname"
    labels = {name: group.about} if first.labels.get(name) else {}
    if group.market != "*":
        labels["market"] = group.market
    return {
        "labels": labels,
        "routeLabels": {},
        "receiver": {"name": RECEIVER},
        "alerts": [_gettable(each) for each in group.standing[:most]],
    }


def _shown(silence: Silence, now: int) -> dict[str, Any]:
    return {
        "id": silence.id,
        "matchers": silence.matchers,
        "startsAt": written(silence.starts_at),
        "endsAt": written(silence.ends_at),
        "updatedAt": written(silence.updated_at),
        "createdBy": silence.created_by,
        "comment": silence.comment,
        "annotations": silence.annotations,
        "status": {"state": silence.state(now).value},
    }


def _config(alarms: Alarms) -> str:
    """Return what stands for a configuration, in words that Alertmanager's own tools can read."""
    return yaml.safe_dump(
        {
            "route": {
                "receiver": RECEIVER,
                "group_by": ["market", "service", "alertname"],
                "group_wait": "10s",
                "group_interval": "5m",
                "repeat_interval": "4h",
            },
            "receivers": [{"name": RECEIVER}],
            "inhibit_rules": [
                {
                    "source_matchers": list(each.source),
                    "target_matchers": list(each.target),
                    "equal": list(each.equal),
                }
                for each in alarms.rules
            ],
        },
        sort_keys=False,
    )
