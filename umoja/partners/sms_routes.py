"""A route for text messages: simulated, because no telecom network can be had here."""

import asyncio
import heapq
from collections import OrderedDict, deque
from dataclasses import dataclass
from datetime import datetime
from random import Random

from umoja.clock import Clock
from umoja.faults import Busy, Unavailable
from umoja.payments.ports import ReceiptListener

DELAY_MS = (500, 3000)
STEP_S = 0.1  # how often the route looks at what has arrived
INBOX_MAX = 50
PHONES_MAX = 100_000
TEXTS_MAX = 30_000  # in all inboxes together
REMEMBERED_MAX = 100_000
IN_TRANSIT_MAX = 50_000


@dataclass(frozen=True, slots=True)
class Delivered:
    """One text as it lies on a phone."""

    at: datetime
    text: str
    message_id: str


class SimulatedRoute:
    """Carries texts to phones that exist only here: implements payments.ports.SmsRoute.

    A text arrives half a second to three seconds after it was taken. Each phone keeps its last
    fifty; the phone that was quiet for longest is forgotten where there are too many.
    """

    def __init__(
        self, *, name: str, clock: Clock, seed: str, on_receipt: ReceiptListener, market: str
    ) -> None:
        self.name = name
        self.market = market
        self.is_dead = False  # takes nothing; what it had taken still arrives
        self.slow_s = 0.0  # seconds more until a text is taken, and again until it arrives
        self.loses_permille = 0  # of texts: taken, never delivered, nobody told
        self._clock = clock
        self._random = Random(f"{seed}.sms")  # noqa: S311  play, not secrets
        self._on_receipt = on_receipt
        self._inboxes: OrderedDict[str, deque[Delivered]] = OrderedDict()
        self._texts = 0
        self._known: OrderedDict[str, bool] = OrderedDict()  # by message: is it delivered?
        self._in_transit: list[tuple[float, int, str, str, str]] = []
        self._taken = 0
        self._carrier: asyncio.Task[None] | None = None

    async def send(self, *, message_id: str, to: str, text: str) -> None:
        """Take one message. Raise Unavailable or Busy: not taken.

        The same id is taken and delivered once; where it was delivered, that is told again.
        """
        self._require_alive()
        if self.slow_s:
            await self._clock.sleep(self.slow_s)
            self._require_alive()
        if message_id in self._known:
            if self._known[message_id]:
                self._on_receipt(message_id, True)  # noqa: FBT003  the listener's form
            return
        if len(self._in_transit) >= IN_TRANSIT_MAX:
            raise Busy(self.name)
        self._known[message_id] = False
        if len(self._known) > REMEMBERED_MAX:
            self._known.popitem(last=False)
        delay_s = self._random.randint(*DELAY_MS) / 1000 + self.slow_s
        if self._random.randrange(1000) < self.loses_permille:
            return
        self._taken += 1
        due_s = self._clock.ticks_s() + delay_s
        heapq.heappush(self._in_transit, (due_s, self._taken, message_id, to, text))
        if self._carrier is None or self._carrier.done():
            self._carrier = asyncio.create_task(self._carry(), name=f"sms-{self.market}")

    def inbox(self, phone: str) -> list[Delivered]:
        """Return the texts on a phone, newest last."""
        return list(self._inboxes.get(phone, ()))

    async def close(self) -> None:
        """Stop; what is on its way does not arrive."""
        if self._carrier is not None:
            self._carrier.cancel()
            await asyncio.gather(self._carrier, return_exceptions=True)

    def _require_alive(self) -> None:
        if self.is_dead:
            raise Unavailable(f"{self.name} does not answer")

    async def _carry(self) -> None:
        """Deliver what has arrived, until nothing is on its way."""
        while self._in_transit:
            await self._clock.sleep(STEP_S)
            now_s = self._clock.ticks_s()
            while self._in_transit and self._in_transit[0][0] <= now_s:
                _, _, message_id, phone, text = heapq.heappop(self._in_transit)
                self._deliver(phone, Delivered(self._clock.now(), text, message_id))
                if message_id in self._known:
                    self._known[message_id] = True
                self._on_receipt(message_id, True)  # noqa: FBT003  the listener's form

    def _deliver(self, phone: str, delivered: Delivered) -> None:
        inbox = self._inboxes.setdefault(phone, deque(maxlen=INBOX_MAX))
        self._inboxes.move_to_end(phone)
        self._texts += len(inbox) < INBOX_MAX
        inbox.append(delivered)
        while len(self._inboxes) > PHONES_MAX or (
            self._texts > TEXTS_MAX and len(self._inboxes) > 1
        ):
            _, forgotten = self._inboxes.popitem(last=False)
            self._texts -= len(forgotten)
