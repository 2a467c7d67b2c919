"""Receipts: the text messages of committed orders, on their way to both sides' phones.

They are made from the journal's tail, behind the commit, so no payment waits for one. A message is
kept before it is sent: a crash loses none, and at worst hands one to the route again under its id.
While payments come in they take a bounded share of the processor, and catch up when it is quiet.
"""

import asyncio
import traceback
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice, takewhile
from typing import Any, TypeVar

import structlog

from umoja.channels.pace import Pace
from umoja.channels.receipt_texts import Writer
from umoja.clock import Clock, to_micros
from umoja.faults import Fault, Unavailable
from umoja.payments.outbox import Fate, Message, Orders, Outbox
from umoja.payments.ports import BulkSmsRoute, Parcel, SmsRoute
from umoja.signals import MessageSeen, Signals

AT_ONCE = 64  # messages with a route that takes them one by one
BATCHES_AT_ONCE = 8  # with a route that takes many at a time
BATCH_MAX = 500
IN_HAND_MAX = 2_000  # messages read from the file and not yet with the route
TAKE_AT_ONCE = 500  # orders of one round; a round that found so many is followed by another at once
PROBES = 8  # waiting messages tried in a round while the route refuses
REFUSED_IN_A_ROW = 20  # from so many on, the route counts as refusing
AWAITED_MAX = (
    100_000  # messages remembered until their delivery; those beyond are read from the file
)
FATES_MAX = 100_000
SENT_KEPT_S = 3  # what is delivered within it is noted once, as delivered
NOTE_FEW = 200  # fates that are noted at once; more wait for each other, for they share pages
NOTE_EVERY_S = 2.0
ROUND_S = 0.5
TROUBLE_S = 2.0  # pause where the file cannot be used
PRUNE_EVERY_S = 60.0
SEND_WITHIN_S = 60  # of real time: a route that never answers does not keep a place for ever

_SECOND = 1_000_000

T = TypeVar("T")

log = structlog.get_logger()


@dataclass(slots=True)
class _Look:
    """One look into the file: what is to be noted there, and what was found."""

    fates: list[tuple[int, Fate]]
    sent: list[tuple[int, int]]
    untold: list[tuple[str, bool]]
    is_noted: bool = False
    fresh: list[Message] = field(default_factory=list)
    due: list[Message] = field(default_factory=list)
    lost: list[tuple[Message, int]] = field(default_factory=list)
    late: list[tuple[Message, int]] = field(default_factory=list)  # delivered, not remembered here
    is_more: bool = False


class Receipts:
    """Carries one market's receipts from the journal to a route. Never holds up a payment.

    A route that refuses, hangs or loses, and a file that cannot be written, slow only the texts.
    """

    def __init__(
        self,
        *,
        writer: Writer,
        market: str,
        outbox: Outbox,
        route: SmsRoute,
        clock: Clock,
        signals: Signals,
        pace: Pace | None = None,
    ) -> None:
        """Take the parts. `pace` bounds what the texts take while payments come in."""
        self._market = market
        self._writer = writer
        self._outbox = outbox
        self._route = route
        self._bulk = route if isinstance(route, BulkSmsRoute) else None
        self._clock = clock
        self._signals = signals
        self._pace = pace or Pace()
        self._queue: asyncio.Queue[Sequence[Message]] = asyncio.Queue()
        self._in_hand: set[int] = set()
        # What was handed over, when, and to which route: there may be another one by now.
        self._awaited: OrderedDict[str, tuple[Message, int, str]] = OrderedDict()
        self._sent: dict[int, int] = {}  # by place: when it was taken; not noted yet
        self._fates: deque[tuple[int, Fate]] = deque(maxlen=FATES_MAX)
        # Told by the route, and not remembered here: what it is and whether it was delivered.
        self._untold: deque[tuple[str, bool]] = deque(maxlen=FATES_MAX)
        self._refused_in_a_row = 0
        self._is_troubled = False
        self._pruned_s = self._noted_s = clock.ticks_s()
        self._errand: asyncio.Future[Any] | None = None

    async def run(self) -> None:
        """Look into the file and hand over what is there, until cancelled. Call it once."""
        count = BATCHES_AT_ONCE if self._bulk else AT_ONCE
        carriers = [asyncio.create_task(self._carry()) for _ in range(count)]
        try:
            while True:
                pause_s = await self._round()
                if pause_s:
                    await self._clock.sleep(pause_s)
        finally:
            for carrier in carriers:
                carrier.cancel()
            await asyncio.gather(*carriers, return_exceptions=True)

    async def close(self) -> None:
        """Write down what became of messages. Call it when `run` has ended."""
        if self._errand is not None:
            await asyncio.gather(self._errand, return_exceptions=True)
        try:
            look = self._to_note(is_last=True)
            await self._off_loop(lambda: self._note(look))
        except Fault as cause:
            # What is not written down is sent again under its id at the next start.
            log.warning("channels.sms.unnoted", market=self._market, cause=str(cause))

    def on_receipt(self, message_id: str, is_delivered: bool) -> None:  # noqa: FBT001  the port's form
        """Hear from the route what became of a message. Never waits; a repeat is harmless."""
        if is_delivered:
            self.on_delivered((message_id,))
            return
        known = self._awaited.pop(message_id, None)
        if known is None:
            self._untold.append((message_id, False))
            return
        message, sent_at, route = known
        self._fates.append((message.place, Fate.LOST))
        now = self._clock.now()
        self._tell(message, "failed", (to_micros(now) - sent_at) / _SECOND, now, route)

    def on_delivered(self, message_ids: Sequence[str]) -> None:
        """Hear from the route that messages are on their phones: `on_receipt` for many at once."""
        forget, is_noted, note = self._awaited.pop, self._sent.pop, self._fates.append
        now = self._clock.now()
        at = to_micros(now)
        for message_id in message_ids:
            known = forget(message_id, None)
            if known is None:
                self._untold.append((message_id, True))
                continue
            message, sent_at, route = known
            is_noted(message.place, None)
            note((message.place, Fate.DELIVERED))
            self._tell(message, "delivered", (at - sent_at) / _SECOND, now, route)

    # Looking into the file

    async def _round(self) -> float:
        """Look once, hand over what was found; return how long to pause. Raises nothing."""
        look = self._to_note()
        pause_s = ROUND_S
        try:
            await self._off_loop(lambda: self._look(look))
            self._is_troubled = False
        except Exception as cause:  # noqa: BLE001  the loop outlives whatever breaks in a round
            # The texts wait in the file or in the journal, where the next round finds them.
            if not isinstance(cause, Fault):
                self._log_bug("channels.sms.bug", cause)
            elif not self._is_troubled:
                log.warning("channels.sms.waits", market=self._market, cause=str(cause))
            self._is_troubled = True
            pause_s = TROUBLE_S
        since_s = self._pace.now_s()
        if look.is_noted:
            self._was_noted(look)
        # What was found before a trouble is given out already: it is carried all the same.
        self._hand_over([*look.due, *look.fresh])
        self._tell_lost(look.lost)
        now = self._clock.now()
        for message, sent_at in look.late:
            waited_s = (to_micros(now) - sent_at) / _SECOND if sent_at else 0
            self._tell(message, "delivered", waited_s, now)
        self._pace.used(since_s)
        owed_s = self._pace.pause_s(self._outbox.head)
        return owed_s if look.is_more else max(pause_s, owed_s)

    def _to_note(self, *, is_last: bool = False) -> _Look:
        """Gather what is known and not noted. What was sent a moment ago waits for its delivery."""
        until = to_micros(self._clock.now()) - (0 if is_last else SENT_KEPT_S * _SECOND)
        now_s = self._clock.ticks_s()
        is_early = len(self._fates) > NOTE_FEW and now_s - self._noted_s < NOTE_EVERY_S
        if is_early and not is_last:
            return _Look(fates=[], sent=[], untold=[])
        self._noted_s = now_s
        fates = list(self._fates)
        due = takewhile(lambda each: each[1] <= until, self._sent.items())
        # Only what is noted as sent can be noted as lost.
        lost = [(place, self._sent[place]) for place, fate in fates
                if fate is Fate.LOST and place in self._sent]  # fmt: skip
        return _Look(
            fates=fates,
            sent=[*due, *lost],
            untold=list(islice(self._untold, TAKE_AT_ONCE)),
        )

    def _was_noted(self, look: _Look) -> None:
        """Forget what is written down now; until then it is kept to be written again."""
        for _ in look.fates:
            self._fates.popleft()
        for _ in look.untold:
            self._untold.popleft()
        for place, _ in look.sent:
            self._sent.pop(place, None)

    def _hand_over(self, messages: Sequence[Message]) -> None:
        """Queue what is not in hand yet, in parts as large as the route takes them."""
        hand = self._in_hand
        new = [message for message in messages if message.place not in hand]
        hand.update([message.place for message in new])
        size = BATCH_MAX if self._bulk else 1
        for at in range(0, len(new), size):
            self._queue.put_nowait(new[at : at + size])

    def _look(self, look: _Look) -> None:
        """Read and write the file, in a thread of its own. Repeating is harmless."""
        since_s = self._pace.now_s()
        now = to_micros(self._clock.now())
        self._note(look)
        look.lost = self._outbox.give_up(now, TAKE_AT_ONCE)
        room = IN_HAND_MAX - len(self._in_hand)
        at_once = PROBES if self._refused_in_a_row >= REFUSED_IN_A_ROW else TAKE_AT_ONCE
        if room > 0:
            look.due = self._outbox.due(now, min(room, at_once))
            room -= len(look.due)
        limit = min(TAKE_AT_ONCE, room // 2)  # an order has two sides
        if limit > 0:
            look.fresh, read = self._outbox.take(limit, write=self._write, now=now)
            look.is_more = read == TAKE_AT_ONCE
        if self._clock.ticks_s() - self._pruned_s >= PRUNE_EVERY_S:
            self._pruned_s = self._clock.ticks_s()
            self._outbox.prune(now)
        self._pace.used(since_s)

    def _note(self, look: _Look) -> None:
        """Write down what became of messages, those too that are not remembered here."""
        if not (look.fates or look.sent or look.untold):
            return
        fates = list(look.fates)
        late: dict[str, tuple[Message, int]] = {}
        for message_id, is_delivered in look.untold:
            kept = self._outbox.story(message_id)
            if kept is None:
                continue
            message, state, sent_at = kept
            fates.append((message.place, Fate.DELIVERED if is_delivered else Fate.LOST))
            # Looked at before it is noted, to tell a repeat from a first.
            if is_delivered and state != "delivered":
                late[message_id] = (message, sent_at)
        self._outbox.note(fates, sent=look.sent, now=to_micros(self._clock.now()))
        look.late = list(late.values())
        look.is_noted = True

    def _write(self, orders: Orders) -> list[Message]:
        """Write orders' texts. One that cannot be written does not stop those behind it."""
        try:
            return self._writer.messages(orders)
        except Unavailable:
            raise  # nothing was kept: the same orders come again
        except Exception as cause:  # noqa: BLE001  it is told, and the orders behind it go on
            if len(orders) > 1:
                return [message for each in orders for message in self._write([each])]
            self._log_bug("channels.sms.unwritten", cause, order=orders[0][1].id)
            return []

    async def _off_loop(self, work: Callable[[], T]) -> T:
        """Do what waits for the disk in a thread; it is done to its end even when we are stopped."""
        errand = asyncio.ensure_future(asyncio.to_thread(work))
        self._errand = errand
        return await asyncio.shield(errand)

    # Handing over

    async def _carry(self) -> None:
        """Hand one batch after the other to the route, until cancelled."""
        while True:
            batch = await self._queue.get()
            try:
                await self._send(batch)
            finally:
                self._in_hand.difference_update([message.place for message in batch])

    async def _send(self, batch: Sequence[Message]) -> None:
        """Hand a batch over and note what came of it. Raises nothing but a cancellation."""
        # Awaited already now: a fast route tells of the delivery before it answers.
        self._await(batch, to_micros(self._clock.now()))
        troubles: Sequence[Exception | None]
        try:
            async with asyncio.timeout(SEND_WITHIN_S):
                troubles = await self._give(batch)
        except Exception as cause:  # noqa: BLE001  a partner's program may raise anything
            troubles = [cause] * len(batch)
            if not isinstance(cause, (Fault, TimeoutError)):
                self._log_bug("channels.sms.route_bug", cause, route=self._route.name)
        now = self._clock.now()
        at = to_micros(now)
        for message, trouble in zip(batch, troubles, strict=True):
            if trouble is None:
                self._is_taken(message, at, now)
            else:
                self._is_refused(message, now)

    async def _give(self, batch: Sequence[Message]) -> Sequence[Exception | None]:
        if self._bulk is None:
            (message,) = batch
            await self._route.send(message_id=message.id, to=message.phone, text=message.text)
            return [None]
        troubles = await self._bulk.send_many(
            [Parcel(message.id, message.phone, message.text) for message in batch]
        )
        if len(troubles) != len(batch):
            raise TypeError("a route answers for each message")
        return troubles

    def _is_taken(self, message: Message, at: int, now: datetime) -> None:
        self._refused_in_a_row = 0
        route = self._route.name
        known = self._awaited.get(message.id)
        if known is not None:
            route = known[2]
            self._awaited[message.id] = (message, at, route)
        self._sent[message.place] = at  # also where it was delivered already: that note wins
        self._tell(message, "sent", (at - message.since) / _SECOND, now, route)

    def _is_refused(self, message: Message, now: datetime) -> None:
        """Note that the route did not take it, or may have: the same id again is harmless."""
        self._refused_in_a_row += 1
        self._fates.append((message.place, Fate.REFUSED))
        known = self._awaited.pop(message.id, None)
        if known is not None and message.tries == 0:
            self._tell(message, "failed", 0, now, known[2])

    def _log_bug(self, event: str, cause: Exception, **rest: str) -> None:
        """Tell where it happened, but not the words of the trouble: a phone may stand in them."""
        place = "".join(traceback.format_tb(cause.__traceback__)[-1:]).strip()
        log.error(event, market=self._market, kind=type(cause).__name__, place=place, **rest)

    def _await(self, batch: Sequence[Message], at: int) -> None:
        awaited, route = self._awaited, self._route.name
        for message in batch:
            awaited[message.id] = (message, at, route)
        while len(awaited) > AWAITED_MAX:
            awaited.popitem(last=False)

    # Telling the centre

    def _tell_lost(self, lost: list[tuple[Message, int]]) -> None:
        """Tell what was not delivered in time, but not what we heard of a moment ago."""
        if not lost:
            return
        heard = {place for place, _ in self._fates}
        now = self._clock.now()
        for message, sent_at in lost:
            known = self._awaited.pop(message.id, None)
            if known is not None or message.place not in heard:
                route = known[2] if known is not None else ""
                self._tell(message, "failed", (to_micros(now) - sent_at) / _SECOND, now, route)

    def _tell(
        self, message: Message, state: str, waited_s: float, now: datetime, route: str = ""
    ) -> None:
        """Tell of a message; `route` is the one in use now where it is not known which took it."""
        self._signals.send(
            MessageSeen(
                at=now,
                market=self._market,
                route=route or self._route.name,
                state=state,
                product=message.product,
                value_minor=message.value_minor,
                currency=message.currency,
                payer_mark=message.payer_mark,
                waited_s=max(waited_s, 0),
                order_mark=message.order_mark,
            )
        )
