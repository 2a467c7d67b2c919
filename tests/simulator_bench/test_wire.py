"""The load's side of the wire: answers cut from a stream, and lateness counted from when it was due."""

import asyncio

import pytest

from umoja.faults import Unavailable
from umoja.simulator.bench_figures import Schedule
from umoja.simulator.bench_wire import AnswerUnreadable, Load, Reader

ONE = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"
TWO = b"HTTP/1.1 402 Payment Required\r\ndate: x\r\ncontent-length:3\r\n\r\nabc"


@pytest.mark.parametrize("size", [1, 2, 7, 50, 1_000])
def test_answers_are_whole_however_they_arrive(size):
    stream = ONE + TWO + ONE
    reader = Reader()
    found = []
    for at in range(0, len(stream), size):
        found += reader.feed(stream[at : at + size])
    assert found == [(201, b"{}"), (402, b"abc"), (201, b"{}")]


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"nonsense\r\n\r\n"]
)
def test_what_is_no_plain_answer_is_told(data):
    with pytest.raises(AnswerUnreadable):
        Reader().feed(data)


class Slow:
    """A server of one's own: it answers its first request late, and every third with a refusal."""

    def __init__(self, *, stall_s: float = 0.0, drops: bool = False) -> None:
        self.seen = 0
        self._stall_s = stall_s
        self._drops = drops

    async def __aenter__(self) -> int:
        self._tasks: set[asyncio.Task] = set()
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        return self._server.sockets[0].getsockname()[1]

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.seen += 1
                number = self.seen
                if number == 1:
                    await asyncio.sleep(self._stall_s)
                if self._drops and number == 2:
                    break
                writer.write(TWO if number % 3 == 0 else ONE)
        except asyncio.IncompleteReadError:
            pass
        writer.close()


REQUEST = b"POST / HTTP/1.1\r\n\r\n"


async def test_a_closed_loop_sends_everything_and_counts_answers():
    async with Slow() as port:
        load = Load("127.0.0.1", port, connections=3)
        await load.connect()
        await load.lap([REQUEST] * 30, limit_s=0)
        assert (load.tally.done, load.tally.declined, load.tally.failed) == (20, 10, 0)
        assert len(load.tally.latencies) == 30
        load.close()


async def test_a_stall_makes_all_late_that_were_due_meanwhile():
    server = Slow(stall_s=0.4)
    async with server as port:
        load = Load("127.0.0.1", port, connections=1)
        await load.connect()
        await load.offer([REQUEST] * 60, Schedule(rate=200, seconds=0.3))
        assert server.seen == 60
        late = load.tally.latencies
        assert len(late) == 60
        # due at 5 ms × its number, and none was answered before the 400 ms were over
        assert min(seconds + number * 0.005 for number, seconds in enumerate(late)) >= 0.399
        assert late[0] >= 0.4
        assert late[40] >= 0.2 - 0.001
        load.close()


async def test_a_lost_connection_fails_its_request_and_the_next_lap_opens_another():
    async with Slow(drops=True) as port:
        load = Load("127.0.0.1", port, connections=1)
        await load.connect()
        await load.lap([REQUEST] * 2, limit_s=0)
        assert (load.tally.done, load.tally.failed) == (1, 1)
        assert "lost" in next(iter(load.tally.reasons))
        await load.connect()
        await load.lap([REQUEST], limit_s=0)
        assert load.tally.done + load.tally.declined == 2
        load.close()


async def test_a_server_that_is_not_there_is_told():
    async with Slow() as port:
        pass
    with pytest.raises(Unavailable, match="cannot be reached"):
        await Load("127.0.0.1", port, connections=1).connect()
