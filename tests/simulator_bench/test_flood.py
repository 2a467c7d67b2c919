"""The load of an overload, and requests of many payments: what is counted, and as what."""

import asyncio
import json
from datetime import date

import pytest

from tests.simulator_bench.test_wire import Slow
from umoja.faults import Unavailable
from umoja.markets import packs
from umoja.simulator import bench_overload
from umoja.simulator.bench_bulk import count_payouts, payouts
from umoja.simulator.bench_overload import Flood
from umoja.simulator.bench_run import Tally
from umoja.simulator.bench_stage import ground_of
from umoja.simulator.bench_workload import Drawer, Workload

REQUEST = b"POST / HTTP/1.1\r\n\r\n"


REFUSED_AFTER_S = 0.005


class Turning(Slow):
    """A server that turns every second request away, not at once."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.seen += 1
                status = b"201" if self.seen % 2 else b"503"
                if status == b"503":
                    await asyncio.sleep(REFUSED_AFTER_S)
                writer.write(b"HTTP/1.1 " + status + b" x\r\ncontent-length: 2\r\n\r\n{}")
        except asyncio.IncompleteReadError:
            pass
        writer.close()


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(bench_overload, "CALM_S", 0.05)
    monkeypatch.setattr(bench_overload, "AFTER_S", 0.05)


async def test_refused_requests_are_sent_again_and_counted_apart(quick):
    flood = Flood(peak=200.0, times=2.0, seconds=0.5, connections=5)
    async with Turning() as port:
        found = await flood.run("127.0.0.1", port, [REQUEST] * flood.requests, 1)
    assert found["connections"] == 5
    assert found["wanted_per_s"] == 400.0
    assert set(found["refused"]) == {"503"}
    assert 0 < found["refused"]["503"] <= flood.done + 5
    # A timer of the loop may fire a clock's tick early.
    assert found["slowest_refusal_ms"] >= REFUSED_AFTER_S * 1000 * 0.9
    assert (found["lost"], found["other_answers"]) == (0, {})


async def test_more_than_was_made_ready_is_told(quick):
    flood = Flood(peak=200.0, times=4.0, seconds=0.2, connections=5)
    async with Turning() as port:
        with pytest.raises(Unavailable, match="made ready"):
            await flood.run("127.0.0.1", port, [REQUEST] * 3, 1)


async def test_a_server_that_is_gone_is_told():
    async with Turning() as port:
        pass
    with pytest.raises(Unavailable, match="0 connections"):
        await Flood(peak=1.0, times=1.0, seconds=1.0, connections=1).run("127.0.0.1", port, [], 1)


def test_a_draw_is_cut_into_requests_of_many_payments_each():
    market = packs.load("KE")
    ground = ground_of(market, customers=50, day=date(2026, 11, 24))
    drawer = Drawer(Workload.UNIFORM, ground.crowd, seed=1, total=100, span=1)
    found = payouts(ground, drawer.draw(7), first=40, size=3, head=b"head ")
    bodies = [json.loads(each.partition(b"\r\n\r\n")[2]) for each in found]
    assert [each.partition(b"\r\n")[0] for each in found] == [b"head 40", b"head 43", b"head 46"]
    assert [[line["key"] for line in body["lines"]] for body in bodies] == [
        ["b40", "b41", "b42"],
        ["b43", "b44", "b45"],
        ["b46"],
    ]
    assert all(market.phone_number(line["phone"]) for body in bodies for line in body["lines"])


def test_the_lines_of_an_answer_are_counted_one_by_one():
    tally = Tally()
    body = b'{"completed":5,"declined":2,"open":1,"lines":[{"decline":"not_enough"}]}'
    count_payouts(tally, 200, body)
    count_payouts(tally, 503, b"{}")
    assert (tally.done, tally.declined, tally.failed) == (5, 2, 2)
    assert tally.reasons == {"lines were not done: not_enough": 1, "503 {}": 1}
