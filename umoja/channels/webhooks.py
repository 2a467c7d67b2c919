"""Webhooks: clients are told what became of payments, behind the commit, from the journal's tail.

Each webhook has a lane of its own: one that does not answer slows no other, and no payment. An event
is kept before it is sent, and sent until its client took it or a day is over: at least once, in no
certain order, always under the same id.
"""

import asyncio
import traceback
from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import httpx
import msgspec
import structlog

from umoja.channels.pace import Pace
from umoja.channels.wire import PaymentOut, moment, payment_out
from umoja.clock import Clock, to_micros
from umoja.faults import Fault
from umoja.markets.market import Market
from umoja.parties.directory import Directory
from umoja.payments.deliveries import Deliveries, Delivery, Standing, Tried
from umoja.payments.lifecycle import REVERSAL_ANSWER_FOR, Step
from umoja.payments.order import Order, State
from umoja.payments.webhooks import Webhook, signature
from umoja.reach import NotPublic, client, posted
from umoja.signals import CallbacksSeen, Signals

EACH_AT_ONCE = 4  # requests of one webhook
IN_HAND_EACH = 50  # events of one webhook that were read from the file and are not noted yet
AT_ONCE = 128  # of all that answer
PROBES_AT_ONCE = 32  # of all that do not: they wait for each other and for nobody else
TAKE_AT_ONCE = 500  # orders of one round
RESTS_FROM = 5  # failed tries in a row, from which on a webhook rests
REST_S = 30
REST_MOST_S = 600
READ_MOST = 1024  # bytes of an answer
ROUND_S = 0.5
TROUBLE_S = 2.0
KNOWN_FOR_S = 2.0  # so long it takes until a new webhook is seen
LOOK_AGAIN_S = 5.0  # at a lane in which nothing waits: somebody may have asked for an event again
CLIENTS_EVERY_S = 10.0
GIVE_UP_EVERY_S = 300.0
PRUNE_EVERY_S = 60.0
IDLE_S = 60.0  # after which a lane's connections are closed
PERCENT = 8
"""What events may take of a processor while payments come in."""

SEND_S = 0.0006
"""What one request takes of a processor, as it was measured: it is made among others in the loop."""

_SECOND = 1_000_000
_ANSWER_FOR = REVERSAL_ANSWER_FOR // timedelta(microseconds=1)

T = TypeVar("T")

Live = Callable[[Collection[str]], Collection[str]]
"""Returns which of these clients are not revoked. Waits for a file; raises Unavailable."""

log = structlog.get_logger()


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What a webhook is told: the payment as its client may see it, as it was at this event."""

    id: str
    type: str
    timestamp: str
    data: PaymentOut


_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class _Lane:
    """One webhook, and what is under way to it."""

    webhook: Webhook
    failed: int = 0
    rests_until: int = 0
    look_at: int = 0  # when there may be something to send
    in_hand: set[int] = field(default_factory=set)  # until it is noted
    queue: deque[Delivery] = field(default_factory=deque)  # of it, what is not sent yet
    carriers: int = 0
    through: httpx.AsyncClient | None = None
    lookups: ThreadPoolExecutor | None = None
    used_s: float = 0.0

    @property
    def rests(self) -> bool:
        return self.failed >= RESTS_FROM

    def room(self, now: int) -> int:
        if self.rests:
            return 0 if self.in_hand or now < self.rests_until else 1
        return IN_HAND_EACH - len(self.in_hand)

    async def close(self) -> None:
        through, self.through = self.through, None
        if through is not None:
            await through.aclose()
        lookups, self.lookups = self.lookups, None
        if lookups is not None:
            lookups.shutdown(wait=False)


@dataclass(slots=True)
class _Look:
    """One look into the file: what is to be noted there, and what was found."""

    tried: list[Tried]
    standings: dict[str, Standing]
    is_noted: bool = False
    webhooks: list[Webhook] | None = None  # None: they were not asked for
    due: list[tuple[str, list[Delivery], int]] = field(default_factory=list)
    told: set[str] = field(default_factory=set)
    read: int = 0
    head: int = 0


class Sender:
    """Tells one market's webhooks. Never holds up a payment; a webhook never holds up another one."""

    def __init__(
        self,
        *,
        market: Market,
        directory: Directory,
        deliveries: Deliveries,
        secret: Callable[[str], str],
        clock: Clock,
        signals: Signals,
        may_be_private: bool,
        live: Live = lambda clients: clients,
        pace: Pace | None = None,
    ) -> None:
        """Take the parts. `secret` returns that of a webhook; `live` says which clients are not revoked."""
        self._market = market
        self._directory = directory
        self._deliveries = deliveries
        self._secret = secret
        self._clock = clock
        self._signals = signals
        self._may_be_private = may_be_private
        self._live = live
        self._pace = pace or Pace(PERCENT)
        self._lanes: dict[str, _Lane] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(AT_ONCE)
        self._probes = asyncio.Semaphore(PROBES_AT_ONCE)
        self._tried: deque[Tried] = deque()
        self._standings: dict[str, Standing] = {}
        self._counts: dict[str, Counter[str]] = {}
        self._is_troubled = False
        never = float("-inf")
        self._known_s = self._clients_s = never
        self._gave_up_s = self._pruned_s = clock.ticks_s()
        self._errand: asyncio.Future[Any] | None = None

    async def run(self) -> None:
        """Look into the journal and send what is there, until cancelled. Call it once."""
        try:
            while True:
                await self._clock.sleep(await self._round())
        finally:
            for task in self._sending:
                task.cancel()
            await asyncio.gather(*self._sending, return_exceptions=True)
            for lane in self._lanes.values():
                await lane.close()

    async def close(self) -> None:
        """Write down what became of tries. Call it when `run` has ended."""
        if self._errand is not None:
            await asyncio.gather(self._errand, return_exceptions=True)
        look = self._to_note()
        try:
            await self._off_loop(lambda: self._note(look))
        except Fault as cause:
            # What is not written down is sent again under its id at the next start.
            log.warning("channels.webhooks.unnoted", market=self._market.code, cause=str(cause))

    # Looking

    async def _round(self) -> float:
        """Look once and send what was found; return how long to pause. Raises nothing."""
        look, pause_s = self._to_note(), ROUND_S
        rooms = self._rooms()
        try:
            await self._off_loop(lambda: self._look(look, rooms))
            self._is_troubled = False
        except Exception as cause:  # noqa: BLE001  the loop outlives whatever breaks in a round
            # The events wait in the file or in the journal, where the next round finds them.
            if not isinstance(cause, Fault):
                self._log_bug("channels.webhooks.bug", cause)
            elif not self._is_troubled:
                log.warning("channels.webhooks.waits", market=self._market.code, cause=str(cause))
            self._is_troubled = True
            pause_s = TROUBLE_S
        since_s = self._pace.now_s()
        if look.is_noted:
            self._was_noted(look)
        if look.webhooks is not None:
            await self._know(look.webhooks)
        for webhook in look.told:
            if webhook in self._lanes:
                self._lanes[webhook].look_at = 0
        for webhook, due, look_at in look.due:
            self._hand_over(webhook, due, look_at)
        self._tell()
        self._pace.used(since_s)
        owed_s = self._pace.pause_s(look.head)
        return owed_s if look.read == TAKE_AT_ONCE else max(pause_s, owed_s)

    def _to_note(self) -> _Look:
        return _Look(tried=list(self._tried), standings=dict(self._standings))

    def _was_noted(self, look: _Look) -> None:
        """Forget what is written down now; until then it is in hand, and not sent again."""
        for each in look.tried:
            self._tried.popleft()
            lane = self._lanes.get(each.webhook)
            if lane is not None:
                lane.in_hand.discard(each.place)
                lane.look_at = 0
        for webhook, standing in look.standings.items():
            if self._standings.get(webhook) is standing:
                del self._standings[webhook]

    def _rooms(self) -> list[tuple[str, int, int]]:
        """Return the lanes that may send more now: which one, how much more, and how much is in hand."""
        now = to_micros(self._clock.now())
        return [
            (webhook, room, len(lane.in_hand))
            for webhook, lane in self._lanes.items()
            if lane.look_at <= now and (room := lane.room(now)) > 0
        ]

    def _look(self, look: _Look, rooms: Sequence[tuple[str, int, int]]) -> None:
        """Read and write the file, in a thread of its own."""
        since_s, ticks_s = self._pace.now_s(), self._clock.ticks_s()
        now = to_micros(self._clock.now())
        self._note(look)
        known = [lane.webhook for lane in self._lanes.values()]
        if ticks_s - self._known_s >= KNOWN_FOR_S:
            known = self._deliveries.webhooks()
            if known and ticks_s - self._clients_s >= CLIENTS_EVERY_S:
                known = self._of_live(known, now)
                self._clients_s = ticks_s
            look.webhooks = known
            self._known_s = ticks_s
        if known:
            look.head = self._deliveries.head
            look.told, look.read = self._deliveries.take(
                TAKE_AT_ONCE, webhooks=known, write=self._write, now=now
            )
            for webhook, room, in_hand in rooms:
                due, next_at = self._deliveries.due(webhook, now, room + in_hand)
                look.due.append((webhook, due, next_at))
            self._keep_house(ticks_s, now)
        self._pace.used(since_s)

    def _keep_house(self, ticks_s: float, now: int) -> None:
        """Give up what is too old, and forget what is older still."""
        if ticks_s - self._gave_up_s >= GIVE_UP_EVERY_S:
            self._gave_up_s = ticks_s
            for lane in list(self._lanes.values()):
                given_up = self._deliveries.give_up(lane.webhook.id, now)
                if given_up:
                    log.warning(
                        "channels.webhooks.given_up",
                        market=self._market.code,
                        webhook=lane.webhook.id,
                        events=given_up,
                    )
        if ticks_s - self._pruned_s >= PRUNE_EVERY_S:
            has_more = self._deliveries.prune(now)
            self._pruned_s = self._pruned_s if has_more else ticks_s

    def _note(self, look: _Look) -> None:
        self._deliveries.note(
            look.tried, list(look.standings.values()), now=to_micros(self._clock.now())
        )
        look.is_noted = True

    def _of_live(self, webhooks: list[Webhook], now: int) -> list[Webhook]:
        """Delete the webhooks of revoked clients; return the others."""
        clients = {each.client for each in webhooks}
        try:
            live = set(self._live(clients))
        except Fault as cause:
            log.warning("channels.webhooks.clients_unread", cause=str(cause))
            return webhooks  # as they were known last; they are asked after again
        for gone in sorted(clients - live):
            self._deliveries.end_client(gone, now)
            log.warning("channels.webhooks.client_gone", market=self._market.code, client=gone)
        return [each for each in webhooks if each.client in live]

    async def _know(self, webhooks: Sequence[Webhook]) -> None:
        """Make a lane for each new webhook, and end the lanes of those that are gone."""
        now_s = self._clock.ticks_s()
        there = {each.id for each in webhooks}
        for webhook in [each for each in self._lanes if each not in there]:
            lane = self._lanes.pop(webhook)
            lane.queue.clear()
            await lane.close()
        for each in webhooks:
            known = self._lanes.get(each.id)
            if known is None:
                self._lanes[each.id] = _Lane(
                    each, failed=each.failed, rests_until=each.rests_until, used_s=now_s
                )
                continue
            known.webhook = each
            if each.id not in self._standings and each.rests_until < known.rests_until:
                known.rests_until = each.rests_until  # its client asked for an event again
                known.look_at = 0
            if known.through is not None and not known.in_hand and now_s - known.used_s > IDLE_S:
                await known.close()

    def _write(self, event: str, kind: str, order: Order) -> tuple[int, bytes]:
        """Return when an event happened, and its body."""
        happened = _happened(order) or to_micros(self._clock.now())
        told = Event(
            id=event,
            type=kind,
            timestamp=moment(happened),
            data=payment_out(self._market, self._directory, order),
        )
        return happened, _encode(told)

    async def _off_loop(self, work: Callable[[], T]) -> T:
        """Do what waits for the disk in a thread; it is done to its end even when we are stopped."""
        errand = asyncio.ensure_future(asyncio.to_thread(work))
        self._errand = errand
        return await asyncio.shield(errand)

    # Sending

    def _hand_over(self, webhook: str, due: Sequence[Delivery], next_at: int) -> None:
        """Begin to send what is not in hand yet."""
        lane = self._lanes.get(webhook)
        if lane is None:
            return
        now = to_micros(self._clock.now())
        room = lane.room(now)
        new = [each for each in due if each.place not in lane.in_hand][: max(room, 0)]
        if not new and not lane.in_hand:
            again = now + int(LOOK_AGAIN_S * _SECOND)
            lane.look_at = min(again, next_at) if next_at else again
        for each in new:
            lane.in_hand.add(each.place)
        lane.queue.extend(new)
        while lane.carriers < min(EACH_AT_ONCE, len(lane.queue)):
            lane.carriers += 1
            task = asyncio.create_task(self._carry(lane))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _carry(self, lane: _Lane) -> None:
        """Send what is in a lane's queue, one after the other, until it is empty."""
        try:
            while lane.queue:
                await self._send(lane, lane.queue.popleft())
        finally:
            lane.carriers -= 1

    async def _send(self, lane: _Lane, delivery: Delivery) -> None:
        """Try one delivery and keep what came of it. Raises nothing but a cancellation."""
        async with self._probes if lane.rests else self._places:
            if not self._is_there(lane):
                return
            lane.used_s = self._clock.ticks_s()
            status, trouble = 0, ""
            try:
                status = await self._post(lane, delivery)
            except (Fault, NotPublic) as cause:
                trouble = str(cause)
            except Exception as cause:  # noqa: BLE001  a stranger's server may lead to anything
                trouble = "it could not be sent"
                self._log_bug("channels.webhooks.send_bug", cause)
        self._pace.spent(SEND_S)
        if not self._is_there(lane):
            return  # it was deleted meanwhile
        at = to_micros(self._clock.now())
        is_done = 200 <= status < 300
        self._tried.append(
            Tried(
                webhook=lane.webhook.id,
                place=delivery.place,
                at=at,
                is_done=is_done,
                status=status,
                trouble=trouble,
            )
        )
        counts = self._counts.setdefault(lane.webhook.client, Counter())
        if delivery.tries == 0:
            counts["tried"] += 1
            counts["failed"] += not is_done
            counts["doubled"] += delivery.done_at > 0
        self._stand(lane, at, is_done=is_done)

    def _is_there(self, lane: _Lane) -> bool:
        return self._lanes.get(lane.webhook.id) is lane

    def _stand(self, lane: _Lane, at: int, *, is_done: bool) -> None:
        """Let a webhook that fails again and again rest, longer and longer; wake one that answers."""
        before = lane.failed
        if is_done:
            lane.failed = lane.rests_until = 0
        elif not lane.rests:
            lane.failed += 1
            lane.rests_until = at + REST_S * _SECOND if lane.failed >= RESTS_FROM else 0
        elif at >= lane.rests_until:
            lane.failed += 1
            rest_s = min(REST_S << min(lane.failed - RESTS_FROM, 8), REST_MOST_S)
            lane.rests_until = at + rest_s * _SECOND
        if lane.rests:
            for each in lane.queue:  # it is tried when the rest is over
                lane.in_hand.discard(each.place)
            lane.queue.clear()
        if lane.failed != before:
            self._standings[lane.webhook.id] = Standing(
                webhook=lane.webhook.id,
                failed=lane.failed,
                rests_until=lane.rests_until,
                is_back=before >= RESTS_FROM and not lane.failed,
            )

    async def _post(self, lane: _Lane, delivery: Delivery) -> int:
        """Send one event; return the status. Raise Unavailable, NotPublic."""
        if lane.through is None:
            # A name whose server does not answer keeps a thread for long: each lane has its own.
            lane.lookups = ThreadPoolExecutor(1, thread_name_prefix="webhook-lookup")
            lane.through = client(may_be_private=self._may_be_private, lookups=lane.lookups)
        stamp = str(to_micros(self._clock.now()) // _SECOND)
        secret = self._secret(lane.webhook.id)
        request = lane.through.build_request(
            "POST",
            lane.webhook.url,
            content=delivery.body,
            headers={
                "content-type": "application/json",
                "accept-encoding": "identity",
                "webhook-id": delivery.event,
                "webhook-timestamp": stamp,
                "webhook-signature": signature(
                    secret, event=delivery.event, stamp=stamp, body=delivery.body
                ),
            },
        )
        return await posted(lane.through, request, most=READ_MOST)

    def _tell(self) -> None:
        """Tell the centre what was tried since the last round, by client."""
        counts, self._counts = self._counts, {}
        for partner, counted in counts.items():
            if counted["tried"]:
                self._signals.send(
                    CallbacksSeen(
                        market=self._market.code, channel="webhook", partner=partner, **counted
                    )
                )

    def _log_bug(self, event: str, cause: Exception) -> None:
        """Tell where it happened, but not the words of the trouble: a payment may stand in them."""
        place = "".join(traceback.format_tb(cause.__traceback__)[-1:]).strip()
        log.error(event, market=self._market.code, kind=type(cause).__name__, place=place)


def _happened(order: Order) -> int:
    """Return when the journal line was written, or 0 where the order does not say."""
    match order.state:
        case State.AWAITING:
            return order.asked_at
        case State.HELD:
            return order.booked_at
        case State.REVERSAL_ASKED:
            return order.until - _ANSWER_FOR
        case State.REVERSED:
            return 0
        case State.COMPLETED if order.step == Step.REVERSAL_REFUSED.value:
            return 0
        case _:
            return order.done_at
