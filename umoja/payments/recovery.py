"""Recovery: ends what waits.

Held orders are carried to their partner, and asked after where the partner's answer was lost; what
nobody answered in time lapses.

The same loop serves a new order and one found after a crash: an order in state HELD is either new
to the partner or known to him, and the partner's own key (the order's id) makes a repeat harmless.
"""

import asyncio
from contextlib import suppress

import structlog

from umoja.clock import Clock, to_micros
from umoja.faults import Busy, Fault, OutcomeUnknown, Unavailable
from umoja.payments.desk import Desk
from umoja.payments.lifecycle import WAITING
from umoja.payments.order import Decline, Lapse, Order, Settle, State
from umoja.payments.ports import AirtimePartner, TopUp
from umoja.signals import HELD_LATE_S, HeldSeen, Hung

ROUND_S = 1
AT_ONCE = 32  # orders with a partner at the same time: a slow one holds up no more than these
TRIES_UNAVAILABLE = 5  # then the money goes back
BACK_OFF_S = (1, 2, 5, 15, 60)
HUNG_AFTER_S = 60
HUNG_MAX = 200

log = structlog.get_logger()


class Recovery:
    """Looks after one market's waiting orders. Never holds up the desk."""

    def __init__(self, *, desk: Desk, airtime: AirtimePartner, clock: Clock) -> None:
        self._desk = desk
        self._airtime = airtime
        self._clock = clock
        self._at_work: dict[str, asyncio.Task[None]] = {}
        self._tries: dict[str, int] = {}
        self._not_before_s: dict[str, float] = {}
        self._found = {order.id for order in desk.waiting() if order.state is State.HELD}
        self._watched: dict[str, tuple[str, int]] = {}  # partner, when booked; until late or ended
        self._late = set(self._found)  # what was found was late for our own reasons
        self._held: dict[str, list[int]] = {}  # by partner: judged, late

    async def run(self) -> None:
        """Look every second, until cancelled."""
        while True:
            await self.look()
            await self._clock.sleep(ROUND_S)

    async def look(self) -> None:
        """Start an errand for each held order that is due, and let lapse what is over."""
        now = to_micros(self._clock.now())
        self._judge(now)
        # Durable before a partner hears of it: he would deliver what nobody has paid for. And still
        # held: what was settled meanwhile is not brought to him once more.
        durable = await self._desk.settled(self._desk.waiting)
        held = {order.id for order in self._desk.waiting() if order.state is State.HELD}
        for order in durable:
            if order.state is State.HELD and order.id in held:
                self._start(order)
        for order in durable:
            if order.state in WAITING and order.until and order.until <= now:
                with suppress(Unavailable):  # it waits on, and is looked at again next second
                    await self._desk.submit(Lapse(order=order.id))

    def held(self) -> list[HeldSeen]:
        """Return how long partners let orders wait, since this was last asked."""
        told, self._held = self._held, {}
        return [
            HeldSeen(partner=partner, judged=judged, late=late)
            for partner, (judged, late) in told.items()
        ]

    def _judge(self, now: int) -> None:
        """Count each order once: when its partner has answered, or when it has waited for long."""
        waiting = {order.id: order for order in self._desk.waiting() if order.state is State.HELD}
        self._late &= waiting.keys()
        for order in waiting.values():
            if order.id not in self._late:
                # The partner's name is that of its product, as the desk tells it.
                self._watched.setdefault(order.id, (order.product, order.booked_at))
        for name, (partner, since) in list(self._watched.items()):
            is_late = now - since >= HELD_LATE_S * 1_000_000
            if name in waiting and not is_late:
                continue
            del self._watched[name]
            counts = self._held.setdefault(partner, [0, 0])
            counts[0] += 1
            if is_late:
                counts[1] += 1
                if name in waiting:
                    self._late.add(name)

    async def close(self) -> None:
        """Stop the errands; held orders are taken up again at the next start."""
        for task in self._at_work.values():
            task.cancel()
        await asyncio.gather(*self._at_work.values(), return_exceptions=True)

    def pending(self) -> tuple[int, int]:
        """Return how many orders wait for a partner and the age of the oldest in milliseconds."""
        held = [order.booked_at for order in self._desk.waiting() if order.state is State.HELD]
        if not held:
            return 0, 0
        oldest_us = to_micros(self._clock.now()) - min(held)
        return len(held), max(0, oldest_us // 1000)

    def hung(self, limit: int = HUNG_MAX) -> list[Hung]:
        """Return the orders whose outcome nobody knows, and those that wait long, oldest first."""
        late = to_micros(self._clock.now()) - HUNG_AFTER_S * 1_000_000
        held = [
            order
            for order in self._desk.waiting()
            if order.state is State.HELD and (order.id in self._found or order.booked_at < late)
        ]
        held.sort(key=lambda order: order.booked_at)
        return [Hung(order.id, order.product, order.booked_at) for order in held[:limit]]

    def _start(self, order: Order) -> None:
        is_due = self._clock.ticks_s() >= self._not_before_s.get(order.id, 0)
        if order.id in self._at_work or len(self._at_work) >= AT_ONCE or not is_due:
            return
        task = asyncio.create_task(self._carry(order))
        self._at_work[order.id] = task
        task.add_done_callback(lambda _: self._at_work.pop(order.id, None))

    async def _carry(self, order: Order) -> None:
        """Bring one order to its partner, or ask after it, and settle what he says."""
        try:
            outcome = await self._outcome(order)
        except OutcomeUnknown as fault:
            self._found.add(order.id)  # from now on it is asked after, never repeated
            self._later(order, fault)
            return
        except Unavailable as fault:
            if self._later(order, fault) < TRIES_UNAVAILABLE:
                return
            outcome = None
        settle = Settle(
            order=order.id,
            is_done=outcome is TopUp.DONE,
            decline=_decline(outcome),
        )
        try:
            await self._desk.submit(settle)
        except (Busy, Unavailable) as fault:
            self._found.add(order.id)
            self._later(order, fault)
            return
        self._tries.pop(order.id, None)
        self._not_before_s.pop(order.id, None)
        self._found.discard(order.id)

    async def _outcome(self, order: Order) -> TopUp:
        if order.id in self._found:
            known = await self._airtime.ask(order.id)
            if known is not None:
                return known
        return await self._airtime.top_up(
            order_id=order.id,
            phone=order.reference,
            minor=order.amount,
            currency=order.currency,
        )

    def _later(self, order: Order, fault: Fault) -> int:
        tries = self._tries.get(order.id, 0) + 1
        self._tries[order.id] = tries
        pause_s = BACK_OFF_S[min(tries, len(BACK_OFF_S)) - 1]
        self._not_before_s[order.id] = self._clock.ticks_s() + pause_s
        log.info("payments.order.waits", order=order.id, market=order.market, cause=str(fault))
        return tries


def _decline(outcome: TopUp | None) -> Decline | None:
    match outcome:
        case TopUp.DONE:
            return None
        case TopUp.REFUSED:
            return Decline.PARTNER_REFUSED
        case None:
            return Decline.PARTNER_FAILED
