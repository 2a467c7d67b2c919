"""Overload at the hot doors: refused at once and cheaply, fair, and nothing half done."""

import asyncio
import json

import pytest

from tests.channels_hot.test_hot import Running, answer
from umoja.channels import hot
from umoja.channels.gate import Gate
from umoja.parties.clients import SCOPES
from umoja.payments import desk as desk_module


@pytest.fixture
async def running(tmp_path, monkeypatch):
    monkeypatch.setattr(hot, "HOLD_S", 0.01)
    async with Running(tmp_path) as site:
        yield site


def test_one_client_takes_half_two_a_third_each_and_room_is_left():
    gate = Gate(most=12)
    alone = [gate.enter(b"a") for _ in range(12)]
    assert [each is None for each in alone] == [True] * 6 + [False] * 6
    assert {each.status for each in alone if each} == {429}
    assert [gate.enter(b"b") is None for _ in range(4)] == [True, True, True, False]
    assert gate.enter(b"c") is None
    for _ in range(6):
        gate.leave(b"a")
    assert [gate.enter(b"b") is None for _ in range(4)] == [True, True, True, False]


def test_who_has_nothing_in_work_is_refused_only_where_there_is_no_place_left():
    gate = Gate(most=3)
    assert [gate.enter(who) for who in (b"a", b"b", b"c")] == [None, None, None]
    refused = gate.enter(b"d")
    assert refused is not None
    assert refused.status == 503
    assert dict(refused.headers)["retry-after"] == "1"
    gate.leave(b"b")
    assert gate.enter(b"d") is None


async def test_a_full_desk_answers_503_with_retry_after_and_nothing_is_done(running, monkeypatch):
    monkeypatch.setattr(desk_module, "QUEUE_MAX", 0)
    reader, writer = await running.connected()
    request = running.request("/v1/payments", running.payment(), idempotency_key="full")
    writer.write(request)
    status, headers, body = await answer(reader)
    assert (status, headers["retry-after"]) == (503, "1")
    assert json.loads(body)["type"] == "urn:umoja:problem:unavailable"
    monkeypatch.undo()
    writer.write(request)  # on the same connection, with the same key
    assert (await answer(reader))[0] == 201
    assert running.stage.has(running.payee, "wallet") == 100_00
    writer.close()


async def test_a_greedy_client_is_told_429_and_another_is_served(running):
    running.gate_holds(4)
    other, secret = running.clients.register(name="Other", market="KE", scopes=SCOPES)
    token = running.clients.issue(other, secret, scopes=frozenset())
    stuck = []  # nothing is answered for the moment
    running.stage.desk.enqueue_for = lambda waiting, _: stuck.append(waiting)
    greedy = [await running.connected() for _ in range(3)]
    for number, (_, writer) in enumerate(greedy):
        writer.write(
            running.request("/v1/payments", running.payment(), idempotency_key=f"g{number}")
        )
    status, headers, body = await answer(greedy[2][0])  # the other two wait
    assert (status, headers["retry-after"]) == (429, "1")
    assert json.loads(body)["type"] == "urn:umoja:problem:too_many"
    reader, writer = await running.connected()
    writer.write(
        running.request("/v1/quote", running.quote(), authorization=f"Bearer {token.text}")
    )
    assert (await answer(reader))[0] == 200
    for waiting in stuck:  # the desk went away: whoever waited learns that it may have happened
        waiting.set_exception(asyncio.CancelledError())
    assert [(await answer(reader))[0] for reader, _ in greedy[:2]] == [504, 504]
    del running.stage.desk.enqueue_for
    greedy[0][1].write(running.request("/v1/payments", running.payment(), idempotency_key="g0"))
    assert (await answer(greedy[0][0]))[0] == 201
    for _, writer in greedy:
        writer.close()
    writer.close()


async def test_a_refused_connection_is_read_again_after_its_pause(running):
    running.gate_holds(0)
    reader, writer = await running.connected()
    request = running.request("/v1/payments", running.payment(), idempotency_key="k")
    writer.write(request)
    assert (await answer(reader))[0] == 503
    running.gate_holds(4)
    writer.write(request)
    assert (await answer(reader))[0] == 201
    writer.close()


async def test_false_tokens_take_no_places(running):
    running.gate_holds(1)
    reader, writer = await running.connected()
    for number in range(5):
        writer.write(
            running.request("/v1/quote", running.quote(), authorization=f"Bearer no{number}")
        )
        assert (await answer(reader))[0] == 401
    writer.write(running.request("/v1/quote", running.quote()))
    assert (await answer(reader))[0] == 200
    writer.close()
