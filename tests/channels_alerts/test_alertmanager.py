"""The Alertmanager API: what is posted, what is shown, what is muted, and what is refused."""

from datetime import timedelta
from typing import Any

import pytest

from tests.channels_alerts.conftest import Doors, token_of

ROOT = "/alertmanager/api/v2"


def alert(name: str = "DiskFull", **labels: str) -> dict[str, Any]:
    return {"labels": {"alertname": name, **labels}}


def silence(**changes: Any) -> dict[str, Any]:
    return {
        "matchers": [{"name": "alertname", "value": "Disk.*", "isRegex": True}],
        "startsAt": "2026-03-10T09:00:00Z",
        "endsAt": "2026-03-10T10:00:00.123456789Z",
        "createdBy": "wanjiru",
        "comment": "known",
    } | changes


async def names(doors: Doors, **query: Any) -> list[str]:
    answer = await doors.http.get(f"{ROOT}/alerts", params=query)
    assert answer.status_code == 200, answer.text
    return [each["labels"]["alertname"] for each in answer.json()]


async def test_an_alert_is_shown_as_posted_with_the_fingerprint_of_the_real_one(doors: Doors):
    posted = alert(severity="critical", instance="db1", market="KE") | {
        "annotations": {"summary": "Disk of db1 is full"},
        "startsAt": "2026-03-10T08:59:00.123456789Z",
        "generatorURL": "http://prometheus/graph",
    }

    answer = await doors.http.post(f"{ROOT}/alerts", json=[posted])

    assert (answer.status_code, answer.content) == (200, b"")
    (found,) = (await doors.http.get(f"{ROOT}/alerts")).json()
    assert found == {
        "labels": posted["labels"],
        "annotations": posted["annotations"],
        "receivers": [{"name": "umoja"}],
        "fingerprint": "ad7592248a996202",
        "startsAt": "2026-03-10T08:59:00.123Z",
        "updatedAt": "2026-03-10T09:00:00.000Z",
        "endsAt": "2026-03-10T09:05:00.000Z",
        "generatorURL": "http://prometheus/graph",
        "status": {"state": "active", "silencedBy": [], "inhibitedBy": [], "mutedBy": []},
    }


async def test_go_s_year_one_is_no_time_and_an_end_ends(doors: Doors):
    zero = "0001-01-01T00:00:00.000Z"
    await doors.http.post(f"{ROOT}/alerts", json=[alert() | {"startsAt": zero, "endsAt": zero}])
    assert await names(doors) == ["DiskFull"]

    ended = alert() | {"startsAt": zero, "endsAt": "2026-03-10T09:00:00Z"}
    assert (await doors.http.post(f"{ROOT}/alerts", json=[ended])).status_code == 200
    doors.clock.advance(timedelta(seconds=1))

    assert await names(doors) == []


async def test_what_names_no_end_ends_five_minutes_after_its_last_repeat(doors: Doors):
    await doors.http.post(f"{ROOT}/alerts", json=[alert()])
    doors.clock.advance(timedelta(minutes=4))
    await doors.http.post(f"{ROOT}/alerts", json=[alert()])
    doors.clock.advance(timedelta(minutes=4))
    (found,) = (await doors.http.get(f"{ROOT}/alerts")).json()
    assert found["startsAt"] == "2026-03-10T09:00:00.000Z"

    doors.clock.advance(timedelta(minutes=2))

    assert await names(doors) == []


async def test_good_alerts_are_taken_beside_bad_ones(doors: Doors):
    bad = {"labels": {}}
    answer = await doors.http.post(f"{ROOT}/alerts", json=[bad, alert()])

    assert (answer.status_code, answer.json()) == (400, "at least one label pair required")
    assert await names(doors) == ["DiskFull"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{}",
        b'[{"labels":{"a":1}}]',
        b"[" * 3000,
        b'[{"labels":{"a":"\\u0000"}}]',
        b'[{"labels":{"a":"\\ud800"}}]',
        b'[{"labels":{"a":"b"},"startsAt":"soon"}]',
        b'[{"labels":{"a":"b"},"startsAt":"2026-03-10T09:00:00Z","endsAt":"2026-03-10T08:00:00Z"}]',
    ],
)
async def test_what_cannot_be_read_is_refused_and_nothing_is_kept(doors: Doors, body: bytes):
    answer = await doors.http.post(f"{ROOT}/alerts", content=body)

    assert answer.status_code == 400
    assert isinstance(answer.json(), str)
    assert (await doors.http.get(f"{ROOT}/alerts")).json() == []


async def test_filters_and_flags_choose(doors: Doors):
    await doors.http.post(
        f"{ROOT}/alerts", json=[alert("A", team="x"), alert("B", team="y"), alert("C")]
    )
    await doors.http.post(
        f"{ROOT}/silences",
        json=silence(matchers=[{"name": "alertname", "value": "B", "isRegex": False}]),
    )

    assert sorted(await names(doors, filter='team=~"x|y"')) == ["A", "B"]
    assert await names(doors, filter='team=""') == ["C"]
    assert await names(doors, filter=['team!="x"', "alertname=B"]) == ["B"]
    assert sorted(await names(doors, silenced="false")) == ["A", "C"]
    assert await names(doors, active="false") == ["B"]
    assert len(await names(doors, receiver="um.*")) == 3
    assert await names(doors, receiver="team-x") == []
    assert await names(doors, receiver_matchers='owner="x"') == []


@pytest.mark.parametrize(
    "query", ["filter=%22", "filter=a%3D~%22((%22", "active=maybe", "receiver=(", "receiver=a**"]
)
async def test_a_query_that_cannot_be_read_is_refused(doors: Doors, query: str):
    assert (await doors.http.get(f"{ROOT}/alerts?{query}")).status_code == 400


async def test_a_silence_is_shown_changed_and_expired(doors: Doors):
    made = (await doors.http.post(f"{ROOT}/silences", json=silence())).json()["silenceID"]

    (found,) = (await doors.http.get(f"{ROOT}/silences")).json()
    assert found == {
        "id": made,
        "matchers": [{"name": "alertname", "value": "Disk.*", "isRegex": True, "isEqual": True}],
        "startsAt": "2026-03-10T09:00:00.000Z",
        "endsAt": "2026-03-10T10:00:00.123Z",
        "updatedAt": "2026-03-10T09:00:00.000Z",
        "createdBy": "wanjiru",
        "comment": "known",
        "annotations": {},
        "status": {"state": "active"},
    }

    longer = silence(id=made, endsAt="2026-03-10T12:00:00Z")
    same = (await doors.http.post(f"{ROOT}/silences", json=longer)).json()["silenceID"]
    assert same == made
    other = silence(id=made, matchers=[{"name": "a", "value": "b", "isRegex": False}])
    new = (await doors.http.post(f"{ROOT}/silences", json=other)).json()["silenceID"]
    assert new != made
    one = (await doors.http.get(f"{ROOT}/silence/{made}")).json()
    assert one["status"] == {"state": "expired"}

    for _ in range(2):
        assert (await doors.http.delete(f"{ROOT}/silence/{new}")).status_code == 200
    assert (await doors.http.get(f"{ROOT}/silences?expired=false")).json() == []
    assert len((await doors.http.get(f"{ROOT}/silences")).json()) == 2


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"matchers": []}, 400),
        ({"matchers": [{"name": "a", "value": ".*", "isRegex": True}]}, 400),
        ({"matchers": [{"name": "a", "value": "((", "isRegex": True}]}, 400),
        ({"endsAt": "2026-03-10T09:00:00Z"}, 400),
        ({"startsAt": "2026-03-09T09:00:00Z", "endsAt": "2026-03-10T08:00:00Z"}, 400),
        ({"createdBy": ""}, 400),
        ({"comment": " "}, 400),
        ({"annotations": {"umoja_hours": "late"}}, 400),
        ({"id": "00000000-0000-4000-8000-000000000000"}, 404),
    ],
)
async def test_a_silence_that_cannot_be_kept_is_refused(doors: Doors, changes: Any, status: int):
    answer = await doors.http.post(f"{ROOT}/silences", json=silence(**changes))

    assert answer.status_code == status
    assert (await doors.http.get(f"{ROOT}/silences")).json() == []


async def test_groups_are_by_market_and_what_it_is_about(doors: Doors):
    await doors.http.post(
        f"{ROOT}/alerts",
        json=[
            alert("A", market="ke", instance="1"),
            alert("A", market="KE", instance="2"),
            alert("B", service="core", country="GH"),
            alert("A", market="nowhere"),
        ],
    )

    found = (await doors.http.get(f"{ROOT}/alerts/groups")).json()

    assert [(each["labels"], len(each["alerts"])) for each in found] == [
        ({"alertname": "A"}, 1),
        ({"service": "core", "market": "GH"}, 1),
        ({"alertname": "A", "market": "KE"}, 2),
    ]


async def test_status_and_receivers(doors: Doors):
    status = (await doors.http.get(f"{ROOT}/status")).json()
    assert status["cluster"]["status"] == "ready"
    assert status["config"]["original"].startswith("route:\n  receiver: umoja\n")
    assert (await doors.http.get(f"{ROOT}/receivers")).json() == [{"name": "umoja"}]


async def test_nobody_comes_in_without_a_token_of_that_scope(doors: Doors):
    plain = doors.http
    plain.headers.pop("authorization")
    other = token_of(doors.centre, "otlp", "metrics")
    right = token_of(doors.centre, "alerts")

    for headers in ({}, {"authorization": f"Bearer {other}"}, {"authorization": "Basic !!"}):
        answer = await plain.get(f"{ROOT}/alerts", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert (await plain.post("/webhooks/alertmanager", json={})).status_code == 401
    assert (await plain.post("/otlp/v1/logs", json={})).status_code == 401
    assert (await plain.get("/metrics")).status_code == 401

    assert (await plain.get(f"{ROOT}/alerts", auth=("x", right))).status_code == 200
    assert (await plain.get(f"{ROOT}/alerts", headers={"x-api-key": right})).status_code == 200
    read = await plain.get("/metrics", headers={"authorization": f"Bearer {other}"})
    assert read.status_code == 200
    assert "umoja_alerts" in read.text


async def test_too_large_a_body_is_refused(doors: Doors):
    answer = await doors.http.post(f"{ROOT}/alerts", content=b" " * ((1 << 20) + 1))

    assert answer.status_code == 413


# The webhook


def hook(status: str, **changes: Any) -> dict[str, Any]:
    return {
        "version": "4",
        "groupKey": '{}:{alertname="NodeDown"}',
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "umoja",
        "groupLabels": {"alertname": "NodeDown"},
        "commonLabels": {"alertname": "NodeDown"},
        "commonAnnotations": {},
        "externalURL": "http://am:9093",
        "alerts": [
            {
                "status": status,
                "labels": {"alertname": "NodeDown", "instance": "n1", "market": "KE"},
                "annotations": {"summary": "n1 is down"},
                "startsAt": "2026-03-10T08:58:00.5Z",
                "endsAt": "0001-01-01T00:00:00Z" if status == "firing" else "2026-03-10T09:00:00Z",
                "generatorURL": "",
                "fingerprint": "aa",
            }
        ],
    } | changes


async def test_a_webhook_s_alert_fires_until_its_notice_and_repeats_are_harmless(doors: Doors):
    first = await doors.http.post("/webhooks/alertmanager", json=hook("firing"))
    again = await doors.http.post("/webhooks/alertmanager", json=hook("firing"))
    doors.clock.advance(timedelta(hours=5))

    assert (first.json(), again.json()) == (
        {"taken": 1, "begun": 1, "truncated": 0},
        {"taken": 1, "begun": 0, "truncated": 0},
    )
    assert await names(doors) == ["NodeDown"]

    for _ in range(2):
        ended = await doors.http.post("/webhooks/alertmanager", json=hook("resolved"))
        assert ended.status_code == 200
    assert await names(doors) == []


@pytest.mark.parametrize("body", [{}, hook("firing", version="3"), hook("firing", alerts=3)])
async def test_a_webhook_that_cannot_be_read_is_refused(doors: Doors, body: Any):
    assert (await doors.http.post("/webhooks/alertmanager", json=body)).status_code == 400
