"""A route for text messages: simulated, because no telecom network can be had here."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from random import Random

from umoja.clock import Clock
from umoja.faults import Busy, Fault, Unavailable
from umoja.payments.ports import DeliveryListener, Parcel, ReceiptListener

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
    """Carries texts to phones that exist only here: implements payments.ports.BulkSmsRoute.

    A text arrives half a second to three seconds after it was taken. Each phone keeps its last
    fifty; the phone that was quiet for longest is forgotten where there are too many.
    """

    def __init__(
        self,
        *,
        name: str,
        clock: Clock,
        seed: str,
        on_receipt: ReceiptListener,
        market: str,
        on_delivered: DeliveryListener | None = None,
        is_out: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """Take who hears of deliveries: one by one, or many at once where `on_delivered` is given.

        There are two ways to the phones, `name` and `name-2`. The first is used unless `is_out` says
        that it was taken out of use; the faults below are the first one's.
        """
        self._names = (name, f"{name}-2")
        self._is_out = is_out
        self.market = market
        self.is_dead = False  # takes nothing; what it had taken still arrives
        self.slow_s = 0.0  # seconds more until a text is taken, and again until it arrives
        self.loses_permille = 0  # of texts: taken, never delivered, nobody told
        self._clock = clock
        self._random = Random(f"{seed}.sms")  # noqa: S311  play, not secrets
        self._on_receipt = on_receipt
        self._on_delivered = on_delivered
        self._inboxes: OrderedDict[str, deque[Delivered]] = OrderedDict()
        self._texts = 0
        self._known: OrderedDict[str, bool] = OrderedDict()  # by message: is it delivered?
        self._due: dict[int, list[Parcel]] = {}  # by the step at which they arrive
        self._in_transit = 0
        self._step = 0  # the last one that was delivered
        self._carrier: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """Return the way that is in use now."""
        return self._names[self._is_out(self._names[0])]

    async def send(self, *, message_id: str, to: str, text: str) -> None:
        """Take one message. Raise Unavailable or Busy: not taken.

        The same id is taken and delivered once; where it was delivered, that is told again.
        """
        self._require_alive()
        await self._wait()
        trouble = self._take(Parcel(message_id, to, text))
        if trouble is not None:
            raise trouble

    async def send_many(self, parcels: Sequence[Parcel]) -> list[Fault | None]:
        """Take messages as `send` does, all after one wait; return what `send` would have raised."""
        self._require_alive()
        await self._wait()
        return [self._take(parcel) for parcel in parcels]

    def _take(self, parcel: Parcel) -> Fault | None:
        message_id = parcel.message_id
        is_delivered = self._known.get(message_id)
        if is_delivered is not None:
            if is_delivered:
                self._on_receipt(message_id, True)  # noqa: FBT003  the listener's form
            return None
        if self._in_transit >= IN_TRANSIT_MAX:
            return Busy(self.name)
        self._known[message_id] = False
        if len(self._known) > REMEMBERED_MAX:
            self._known.popitem(last=False)
        draw = self._random.random
        is_first = self.name == self._names[0]
        if is_first and self.loses_permille and draw() * 1000 < self.loses_permille:
            return None
        delay_s = (DELAY_MS[0] + draw() * (DELAY_MS[1] - DELAY_MS[0])) / 1000
        delay_s += self.slow_s * is_first
        step = int((self._clock.ticks_s() + delay_s) / STEP_S) + 1
        self._due.setdefault(step, []).append(parcel)
        self._in_transit += 1
        if self._carrier is None or self._carrier.done():
            self._step = int(self._clock.ticks_s() / STEP_S)
            self._carrier = asyncio.create_task(self._carry(), name=f"sms-{self.market}")
        return None

    def inbox(self, phone: str) -> list[Delivered]:
        """Return the texts on a phone, newest last."""
        return list(self._inboxes.get(phone, ()))

    async def close(self) -> None:
        """Stop; what is on its way does not arrive."""
        if self._carrier is not None:
            self._carrier.cancel()
            await asyncio.gather(self._carrier, return_exceptions=True)

    async def _wait(self) -> None:
        if self.slow_s and self.name == self._names[0]:
            await self._clock.sleep(self.slow_s)
            self._require_alive()

    def _require_alive(self) -> None:
        if self.is_dead and self.name == self._names[0]:
            raise Unavailable(f"{self.name} does not answer")

    async def _carry(self) -> None:
        """Deliver what has arrived, until nothing is on its way."""
        while self._in_transit:
            await self._clock.sleep(STEP_S)
            last = int(self._clock.ticks_s() / STEP_S)
            for step in range(self._step + 1, last + 1):
                self._arrive(self._due.pop(step, ()))
            self._step = last

    def _arrive(self, parcels: Sequence[Parcel]) -> None:
        now = self._clock.now()
        self._in_transit -= len(parcels)
        known = self._known
        for message_id, phone, text in parcels:
            self._deliver(phone, Delivered(now, text, message_id))
            if message_id in known:
                known[message_id] = True
        if self._on_delivered is not None:
            self._on_delivered([parcel.message_id for parcel in parcels])
            return
        for parcel in parcels:
            self._on_receipt(parcel.message_id, True)  # noqa: FBT003  the listener's form

    def _deliver(self, phone: str, delivered: Delivered) -> None:
        inbox = self._inboxes.get(phone)
        if inbox is None:
            inbox = self._inboxes[phone] = deque(maxlen=INBOX_MAX)
        else:
            self._inboxes.move_to_end(phone)
        self._texts += len(inbox) < INBOX_MAX
        inbox.append(delivered)
        while len(self._inboxes) > PHONES_MAX or (
            self._texts > TEXTS_MAX and len(self._inboxes) > 1
        ):
            _, forgotten = self._inboxes.popitem(last=False)
            self._texts -= len(forgotten)
