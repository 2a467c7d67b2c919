"""The http mode of a bench: a real server in another process, payments through the native API."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

import msgspec

from umoja.app import Hall, Settings
from umoja.clock import Clock
from umoja.faults import Unavailable
from umoja.ledger.tail import Tail
from umoja.money import format_minor
from umoja.opening import open_sql
from umoja.parties.clients import SCOPES, Clients
from umoja.payments.tail import TailFeed
from umoja.premises import load_markets
from umoja.simulator.bench_bulk import count_payouts, fill_till, payouts
from umoja.simulator.bench_figures import Offered, Repeat, Schedule
from umoja.simulator.bench_machine import memory_mb
from umoja.simulator.bench_overload import Flood
from umoja.simulator.bench_run import Meter, Tally, timed
from umoja.simulator.bench_stage import Ground, Step, ledger_of, prove, register, settle
from umoja.simulator.bench_wire import Load, count_payment
from umoja.simulator.bench_workload import Draw
from umoja.simulator.population import PIN
from umoja.storage.port import Sql

TOLD = (
    "POST /v1/payments, confirmed and signed with the payer's PIN: token, idempotency, product,"
    " price, tax, limits, receipt, durable journal line, telemetry; text messages to both sides,"
    " made and sent by the market's carrier"
)
TOLD_BULK = (
    "POST /v1/payouts, many payments of one organisation in a request: token, idempotency of each,"
    " product, price, tax, limits, receipt, durable journal line, telemetry; text messages to both"
    " sides, made and sent by the market's carrier"
)
HOST = "127.0.0.1"
START_S = 120.0
STOP_S = 60.0
TEXTS_S = 600.0  # so long the text messages are waited for at the end
TEXTS_LOOK_S = 0.1
TOKEN_S = 1_800.0  # then another one is asked for: a token lasts an hour
_encode = msgspec.json.Encoder().encode


class HttpRunner:
    """A server process, and many connections to it. See bench_run.Runner."""

    def __init__(
        self,
        ground: Ground,
        where: Settings,
        *,
        clock: Clock,
        counted: tuple[int, ...],
        durability: dict[str, object],
        connections: int,
        port: int,
        bulk: int,
        step: Step,
        tell: Callable[[str], None],
    ) -> None:
        """Make people, money and a client, and start the server. Raise Unavailable.

        With `bulk`, so many payments go into one request, of one organisation to customers.
        """
        self._ground = ground
        self._where = where
        self._folder = folder = where.data
        self._durability = durability
        self._clock = clock
        self._bulk = bulk
        self._connections = 1 if bulk else connections
        self._step = step
        self._tell = tell
        self._answered = 0
        self._token = ""
        self._token_at = 0.0
        code = ground.market.code
        hall = Hall(config=where, clock=clock, markets=load_markets(where))
        try:
            if code not in hall.houses:
                raise Unavailable(f"the market cannot be opened: {hall.shut.get(code)}")
            house = hall.houses[code]
            register(ground, house.store, pins=True, step=step)
            settle(ground, house.ledger, clock, step=step)
            self._client, self._secret = hall.clients.register(
                name="bench",
                market=code,
                scopes=SCOPES,
                organisation=ground.cast.merchants if bulk else 0,
            )
            if bulk:
                fill_till(ground, house.ledger, clock)
            self._lines = house.ledger.head
        finally:
            asyncio.run(hall.close())
        with ExitStack() as stack:
            self._log = stack.enter_context((folder / "server.log").open("ab"))
            self._server = _started(where, code, port, self._log.fileno())
            stack.callback(self._stop)
            self._port = self._wait_ready()
            self._loop = stack.enter_context(asyncio.Runner())
            self._load = self._loop.run(self._connected())
            stack.callback(self._load.close)
            self._rest = stack.pop_all()
        self._meter = Meter(counted=(self._server.pid, *counted), is_load_apart=True)

    async def _connected(self) -> Load:
        load = Load(
            HOST,
            self._port,
            connections=self._connections,
            count=count_payouts if self._bulk else count_payment,
        )
        await load.connect()
        return load

    def lap(self, draw: Draw, *, first: int, limit_s: float) -> Repeat:
        requests = self._requests(draw, first)
        return self._loop.run(self._lap(requests, limit_s))

    def offer(self, draw: Draw, schedule: Schedule, *, first: int) -> Offered:
        requests = self._requests(draw, first)
        return self._loop.run(self._offer(requests, schedule))

    async def _lap(self, requests: list[bytes], limit_s: float) -> Repeat:
        tally, repeats = await self._ready(), list[Repeat]()
        with timed(self._meter, tally, repeats):
            await self._load.lap(requests, limit_s=limit_s)
        self._note(tally)
        return repeats[0]

    async def _offer(self, requests: list[bytes], schedule: Schedule) -> Offered:
        tally, repeats = await self._ready(), list[Repeat]()
        with timed(self._meter, tally, repeats):
            await self._load.offer(requests, schedule)
        self._note(tally)
        return Offered(
            rate=schedule.rate, seconds=schedule.seconds, due=len(requests), repeat=repeats[0]
        )

    async def _ready(self) -> Tally:
        await self._load.connect()
        tally = self._load.tally = Tally()
        return tally

    def _note(self, tally: Tally) -> None:
        self._answered += tally.done
        for reason, times in tally.reasons.items():
            self._tell(f"{times} requests were not done: {reason}")

    def _requests(self, draw: Draw, first: int) -> list[bytes]:
        """Return a draw as whole HTTP requests, each with a key of its own."""
        ground = self._ground
        digits = ground.market.currencies[0].digits
        if self._bulk:
            return payouts(
                ground, draw, first=first, size=self._bulk, head=self._head("/v1/payouts")
            )
        head = self._head("/v1/payments")
        pin = PIN[: ground.market.pin_digits]
        texts: dict[int, str] = {}
        found: list[bytes] = []
        for ask in ground.asks(draw, first=first):
            text = texts.get(ask.amount)
            if text is None:
                text = texts[ask.amount] = format_minor(ask.amount, digits=digits)
            body = _encode(
                {
                    "product": ask.product,
                    "payer": {"party": ask.payer},
                    "payee": {"party": ask.payee},
                    "amount": text,
                    "currency": ask.currency,
                    "reference": ask.reference,
                    "pin": pin,
                    "confirm": True,
                }
            )
            found.append(
                b"%b%d\r\nContent-Length: %d\r\n\r\n%b"
                % (head, first + len(found), len(body), body)
            )
        return found

    def _head(self, path: str) -> bytes:
        """Return the head of a request, up to the number in its key."""
        return (
            f"POST {path} HTTP/1.1\r\nHost: {HOST}:{self._port}\r\n"
            f"Authorization: Bearer {self._fresh_token()}\r\n"
            "Content-Type: application/json\r\nIdempotency-Key: b"
        ).encode()

    def overload(self, draw: Draw, *, first: int, flood: Flood) -> dict[str, object]:
        """Offer more than can be done, look how that goes, and how long it is felt afterwards."""
        requests = self._requests(draw, first)
        found = self._loop.run(flood.run(HOST, self._port, requests, self._server.pid))
        self._answered += flood.done
        return found

    def _fresh_token(self) -> str:
        now = time.monotonic()
        if not self._token or now - self._token_at > TOKEN_S:
            database = open_sql(self._where, "clients")
            try:
                token = Clients(database, clock=self._clock).issue(
                    self._client, self._secret, scopes=frozenset()
                )
            finally:
                database.close()
            assert token is not None, "the client was just made"
            self._token, self._token_at = token.text, now
        return self._token

    def _wait_ready(self) -> int:
        """Return the port at which the server answers. Raise Unavailable where it does not start."""
        assert self._server.stdout is not None, "it was started with a pipe"
        # It ends by itself where it cannot start, and then the pipe does.
        line = self._server.stdout.readline().split()
        if len(line) != 2 or line[0] != b"ready":
            told = (self._folder / "server.log").read_text(errors="replace").strip()
            raise Unavailable(f"the server does not start: {told[-300:] or 'it says nothing'}")
        return int(line[1])

    def books(self) -> dict[str, object]:
        memory = memory_mb(self._server.pid)
        texts = self._texts()
        self._rest.close()
        code = self._server.returncode
        ledger = ledger_of(self._where, self._ground.market, self._clock, step=self._step)
        try:
            found = prove(ledger)
            added = ledger.head - self._lines
        finally:
            ledger.close()
        return found | {
            "lines_added": added,
            "every_answer_kept": added >= self._answered,
            "server_exit_code": code,
            "server_memory_mb": memory,
            **texts,
        }

    def _texts(self) -> dict[str, object]:
        """Wait until the carrier has made all text messages; return how far it was behind."""
        code = self._ground.market.code
        messages = open_sql(self._where, "messages", market=code)
        journal = TailFeed(Tail(open_sql(self._where, "journal", market=code)))
        try:
            head, began = journal.head, time.monotonic()
            behind = left = head - _read_to(messages)
            while left > 0 and time.monotonic() - began < TEXTS_S:
                self._step("text messages", behind - left, behind)
                time.sleep(TEXTS_LOOK_S)
                left = head - _read_to(messages)
            counts = messages.query("SELECT state, count(*) AS n FROM messages GROUP BY state")
        finally:
            journal.close()
            messages.close()
        return {
            "texts_behind_orders": behind,
            "texts_caught_up_s": round(time.monotonic() - began, 1) if left <= 0 else None,
            "texts": {str(row["state"]): int(row["n"]) for row in counts},
        }

    def facts(self) -> dict[str, object]:
        return {
            "what": TOLD_BULK if self._bulk else TOLD,
            "payments_in_a_request": self._bulk or 1,
            "connections": self._connections,
            "receipts_sent": True,
            "load": "another process on the same machine",
            "durability": self._durability,
        }

    def close(self) -> None:
        """Stop the server; what it was told to answer it answers first."""
        self._rest.close()

    def _stop(self) -> None:
        if self._server.poll() is None:
            self._server.terminate()
            try:
                self._server.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
        if self._server.stdout is not None:
            self._server.stdout.close()


def _read_to(messages: Sql) -> int:
    """Return the journal's last line whose messages are kept; 0 before the carrier's first round."""
    if not messages.has_table("feed"):
        return 0
    row = messages.one("SELECT sequence FROM feed")
    return 0 if row is None else int(row[0])


def _started(where: Settings, market: str, port: int, log: int) -> "subprocess.Popen[bytes]":
    server = subprocess.Popen(  # noqa: S603  its words are ours
        [sys.executable, "-m", "umoja.simulator.bench_server", str(where.data), market, str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        # Ctrl-C is ours to answer: the server is stopped once the load has ended.
        start_new_session=True,
    )
    assert server.stdin is not None, "it was asked for"
    with suppress(BrokenPipeError), server.stdin as told:  # one that ended says why in its log
        told.write(where.database.encode() + b"\n")  # it may hold a password
    return server
