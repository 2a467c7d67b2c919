"""A client of the crash harness: a process with several hands that pay, repeat, ask back and read.

    python -m umoja.simulator.crash_client < the duty, one line of JSON

It ends when its standard input is closed, once it has learnt what became of everything it asked.
Each hand asks one thing at a time, and its log has what it asked before it was sent.
"""

import asyncio
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from umoja.money import format_minor
from umoja.simulator.bench_wire import AnswerUnreadable, Reader
from umoja.simulator.crash_log import Asked, Log, Told

ANSWER_S = 20.0  # then it is unknown
AGAIN_S = 0.05
AGAIN_MOST_S = 0.5
RESOLVE_S = 120.0  # after the end was asked for: what is unknown by then stays so
OWN_MAX = 200  # payments that a hand remembers to repeat and to ask back
OVER = {"declined", "cancelled", "failed"}
_encode = msgspec.json.Encoder().encode


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What a client is told: where to ask, as whom, with whose money. Amounts are minor units."""

    name: str
    host: str
    port: int
    client: str
    secret: str
    log: str
    seed: int
    hands: int
    first_customer: int
    customers: int
    least: int
    steps: int
    step: int
    digits: int
    currency: str
    pin: str


class _Lost(Exception):
    """The connection broke, or nothing came in time."""


class _Wire:
    """One kept-alive connection, made again whenever it was lost."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def connect(self) -> None:
        """Connect where it is not. Raise OSError where nobody listens: nothing was sent."""
        if self._open is None:
            self._open = await asyncio.open_connection(self._host, self._port)

    async def exchange(self, request: bytes) -> tuple[int, bytes]:
        """Send a request on an open connection and return status and body. Raise _Lost."""
        assert self._open is not None, "connect first"
        reader, writer = self._open
        cutter = Reader()
        try:
            async with asyncio.timeout(ANSWER_S):
                writer.write(request)
                while data := await reader.read(65_536):
                    if found := cutter.feed(data):
                        return found[0]
        except (OSError, TimeoutError, AnswerUnreadable) as cause:
            self.close()
            raise _Lost(str(cause)) from cause
        self.close()
        raise _Lost("it hung up")

    def close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None


class Client:
    """All hands of one process, and their common log."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.log = Log(Path(work.log))
        self.is_ending = False
        self.until_s = 0.0
        self._token = ""
        self._attempts = 0

    async def run(self) -> None:
        """Work until standard input is closed, then until everything is known."""
        life = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(life), sys.stdin.buffer
        )
        try:
            # A hand that fails ends the client there and then.
            async with asyncio.TaskGroup() as group:
                for place in range(self.work.hands):
                    group.create_task(_Hand(self, place).run())
                while await life.read(1024):
                    pass
                self.is_ending = True
                self.until_s = time.monotonic() + RESOLVE_S
        finally:
            self.log.close()

    def next_attempt(self) -> int:
        self._attempts += 1
        return self._attempts

    async def token(self, wire: _Wire, *, anew: bool) -> str:
        """Return a token; asking for one changes nothing, so it is simply asked again. Raise _Lost."""
        if self._token and not anew:
            return self._token
        work = self.work
        body = (
            f"grant_type=client_credentials&client_id={work.client}&client_secret={work.secret}"
        ).encode()
        status, told = await wire.exchange(
            b"POST /oauth2/token HTTP/1.1\r\nHost: %b\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%b"
            % (work.host.encode(), len(body), body)
        )
        if status != 200:
            raise _Lost(f"no token: {status}")
        self._token = msgspec.json.decode(told)["access_token"]
        return self._token


class _Hand:
    """Asks one thing at a time, and does not rest before it knows what became of it."""

    def __init__(self, client: Client, place: int) -> None:
        self._client = client
        self._work = client.work
        self._name = f"{client.work.name}h{place}"
        self._chance = random.Random(f"{client.work.seed} {self._name}")  # noqa: S311  no secret
        self._wire = _Wire(client.work.host, client.work.port)
        self._keys = 0
        self._own: list[tuple[Asked, str]] = []  # payments that were done, and their ids

    async def run(self) -> None:
        deeds: list[Callable[[], Any]] = [self._pay, self._pay_in_two, self._repeat, self._read]
        weights = [60, 12, 8, 20]
        deeds.append(self._ask_back)
        weights.append(6)
        while not self._client.is_ending:
            (deed,) = self._chance.choices(deeds, weights)
            await deed()
        self._wire.close()

    # Deeds

    async def _pay(self) -> None:
        await self._settled(self._fresh(is_confirmed=True))

    async def _pay_in_two(self) -> None:
        asked = self._fresh(is_confirmed=False)
        told = await self._settled(asked)
        if told.how == "done" and told.state == "awaiting_confirmation":
            await self._settled(_about(asked, "confirm"), order=told.order)

    async def _repeat(self) -> None:
        if self._own:
            await self._settled(self._chance.choice(self._own)[0])

    async def _ask_back(self) -> None:
        if not self._own:
            return
        asked, order = self._own.pop(self._chance.randrange(len(self._own)))
        told = await self._settled(_about(asked, "reverse"), order=order)
        if told.how == "done" and self._chance.random() < 0.7:
            await self._settled(_about(asked, "consent"), order=order)

    async def _read(self) -> None:
        work = self._work
        party = work.first_customer + self._chance.randrange(work.customers)
        await self._once(Asked(n=0, at=0, does="read", party=party))

    def _fresh(self, *, is_confirmed: bool) -> Asked:
        work, chance = self._work, self._chance
        payer, payee = chance.sample(range(work.customers), 2)
        self._keys += 1
        return Asked(
            n=0,
            at=0,
            does="pay",
            key=f"{self._name}-{self._keys}",
            payer=work.first_customer + payer,
            payee=work.first_customer + payee,
            minor=work.least + chance.randint(0, work.steps) * work.step,
            is_confirmed=is_confirmed,
        )

    # Asking until it is known

    async def _settled(self, asked: Asked, *, order: str = "") -> Told:
        """Ask until it is known what became of it: by looking, and by asking again with the same key."""
        pause_s = AGAIN_S
        while True:
            told = await self._once(asked, order=order)
            if told.how not in {"nothing", "unknown"}:
                if told.how == "done" and told.state == "completed" and asked.does != "reverse":
                    self._remember(asked, told.order)
                return told
            if self._client.is_ending and time.monotonic() > self._client.until_s:
                return told
            await asyncio.sleep(pause_s * self._chance.uniform(0.5, 1.5))
            pause_s = min(pause_s * 2, AGAIN_MOST_S)
            if told.how == "unknown" and self._chance.random() < 0.5:
                # What is found is known. What is not may still be on its way: only the repeat tells.
                seen = await self._once(_about(asked, "find"))
                if seen.how in {"done", "refused"} and asked.does == "pay":
                    return seen

    def _remember(self, asked: Asked, order: str) -> None:
        if asked.does != "pay":
            asked = _about(asked, "pay")
        if all(order != known for _, known in self._own):
            self._own.append((asked, order))
            if len(self._own) > OWN_MAX:
                del self._own[0]

    async def _once(self, asked: Asked, *, order: str = "") -> Told:
        """Ask once, writing down first what is asked and then what was told."""
        client = self._client
        number = client.next_attempt()
        anew = False
        while True:
            try:
                await self._wire.connect()
                token = await client.token(self._wire, anew=anew)
                await self._wire.connect()  # a token's answer may have closed it
            except (OSError, _Lost):
                await asyncio.sleep(AGAIN_S)
                if client.is_ending and time.monotonic() > client.until_s:
                    return Told(n=number, at=0, how="unknown")
                continue
            request = self._request(asked, order, token)
            client.log.write(msgspec.structs.replace(asked, n=number, at=time.monotonic_ns()))
            try:
                status, body = await self._wire.exchange(request)
            except _Lost as cause:
                told = Told(n=number, at=0, how="unknown", word=str(cause)[:80])
            else:
                told = self._understood(asked, status, body)
            client.log.write(
                told := msgspec.structs.replace(told, n=number, at=time.monotonic_ns())
            )
            if told.word == "unauthorized" and not anew:
                anew = True
                number = client.next_attempt()
                continue
            return told

    def _request(self, asked: Asked, order: str, token: str) -> bytes:
        work = self._work
        method, path, body, key = "POST", "", b"", ""
        match asked.does:
            case "pay":
                path, key = "/v1/payments", asked.key
                deed: dict[str, object] = {
                    "product": "send_money",
                    "payer": {"party": asked.payer},
                    "payee": {"party": asked.payee},
                    "amount": format_minor(asked.minor, digits=work.digits),
                    "currency": work.currency,
                    "reference": asked.key,
                }
                if asked.is_confirmed:
                    deed |= {"confirm": True, "pin": work.pin}
                body = _encode(deed)
            case "confirm":
                path = f"/v1/payments/{order}/confirm"
                body = _encode({"confirm": True, "pin": work.pin})
            case "reverse":
                path = f"/v1/payments/{order}/reverse"
                body = _encode({"pin": work.pin})
            case "consent":
                path = f"/v1/payments/{order}/consent"
                body = _encode({"agree": True, "pin": work.pin})
            case "find":
                method, path = "GET", f"/v1/payments?key={asked.key}"
            case _:
                method, path = "GET", f"/v1/parties/{asked.party}/balances"
        head = f"{method} {path} HTTP/1.1\r\nHost: {work.host}\r\nAuthorization: Bearer {token}\r\n"
        if method == "POST":
            key = key or f"{asked.key}-{asked.does}"
            head += f"Idempotency-Key: {key}\r\nContent-Type: application/json\r\n"
            head += f"Content-Length: {len(body)}\r\n"
        return head.encode() + b"\r\n" + body

    def _understood(self, asked: Asked, status: int, body: bytes) -> Told:
        found = _read(status, body)
        if status >= 400:
            return _refusal(asked, status, found)
        if asked.does == "read":
            return self._balance(found)
        if asked.does == "find":
            if not found["payments"]:
                return Told(n=0, at=0, how="absent")
            (found,) = found["payments"]
        return Told(
            n=0,
            at=0,
            how="refused" if found["state"] in OVER else "done",
            order=found["id"],
            receipt=found["receipt"] or "",
            state=found["state"],
        )

    def _balance(self, found: dict[str, Any]) -> Told:
        work = self._work
        (purse,) = [
            each
            for each in found["balances"]
            if each["purse"] == "wallet" and each["currency"] == work.currency
        ]
        return Told(
            n=0,
            at=0,
            how="balance",
            available=_minor(purse["available"], work.digits),
            held=_minor(purse["held"], work.digits),
        )


def _about(asked: Asked, does: str) -> Asked:
    return msgspec.structs.replace(asked, does=does)


def _read(status: int, body: bytes) -> Any:
    """Return what a body says. An answer of our own is JSON whatever it is about: else we were wrong."""
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as cause:
        raise AssertionError(f"an answer {status} that is not JSON: {body[:200]!r}") from cause


def _refusal(asked: Asked, status: int, found: dict[str, Any]) -> Told:
    word = found["type"].rpartition(":")[2].rpartition("/")[2]
    if status == 504:
        how = "unknown"
    elif status == 500:
        how = "unknown"  # a bug of the server's: it says nothing of the outcome
    elif found.get("payment") and asked.does in {"pay", "confirm"}:
        how = "refused"
    elif status in {429, 503} or word == "in_flight":
        how = "nothing"
    else:
        how = "turned_away"
    return Told(n=0, at=0, how=how, word=word, order=found.get("payment", ""))


def _minor(text: str, digits: int) -> int:
    whole, _, part = text.partition(".")
    return int(whole + part.ljust(digits, "0"))


def main() -> int:
    """Take the duty from standard input and do it."""
    work = msgspec.json.decode(sys.stdin.buffer.readline(), type=Work)
    asyncio.run(Client(work).run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
