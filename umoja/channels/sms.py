"""Receipts: the text messages of committed orders, on their way to both sides' phones.

They are made from the journal's tail, behind the commit, so no payment waits for one. A message is
kept before it is sent: a crash loses none, and at worst hands one to the route again under its id.
"""

import asyncio
import hashlib
import traceback
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import structlog

from umoja.clock import Clock, from_micros, to_micros
from umoja.faults import Fault, Unavailable
from umoja.markets.texts import LAST_RESORT, Texts, clean
from umoja.money import Money
from umoja.parties.party import Party, Role, Status
from umoja.payments.branch import Branch
from umoja.payments.lifecycle import REVERSAL_ANSWER_FOR, Step
from umoja.payments.order import Order, State
from umoja.payments.outbox import Fate, Message, Outbox
from umoja.payments.ports import SmsRoute
from umoja.signals import MessageSeen, Signals

TEXT_MAX = 160
"""Characters of a text: one message of plain letters, at most three where the script needs more."""

DELIVERED_WITHIN = timedelta(seconds=30)
"""A message that a route took and did not deliver in this time is told as failed."""

AT_ONCE = 64  # messages with the route at the same time
IN_HAND_MAX = 2_000  # messages read from the file and not yet with the route
TAKE_AT_ONCE = 500  # orders of one round; a round that found so many is followed by another at once
PROBES = 8  # waiting messages tried in a round while the route refuses
REFUSED_IN_A_ROW = 20  # from so many on, the route counts as refusing
AWAITED_MAX = (
    50_000  # messages remembered until their delivery; those beyond are read from the file
)
FATES_MAX = 100_000
ROUND_S = 0.5
TROUBLE_S = 2.0  # pause where the file cannot be used
PRUNE_EVERY_S = 60.0
SEND_WITHIN_S = 60  # of real time: a route that never answers does not keep a place for ever

_SECOND = 1_000_000
_MICROSECOND = timedelta(microseconds=1)

T = TypeVar("T")

log = structlog.get_logger()


@dataclass(slots=True)
class _Found:
    """What one look into the file found."""

    fresh: list[Message] = field(default_factory=list)
    due: list[Message] = field(default_factory=list)
    lost: list[tuple[Message, int]] = field(default_factory=list)
    late: list[tuple[Message, int]] = field(default_factory=list)  # delivered, not remembered here
    is_more: bool = False


class Writer:
    """Writes what each side of an order is told, in her language. Asks no file and keeps nothing."""

    def __init__(self, *, branch: Branch, texts: Texts, clock: Clock) -> None:
        self._branch = branch
        self._texts = texts
        self._clock = clock

    def messages(self, order: Order) -> list[Message]:
        """Return the texts of an order as one journal line left it. Same line, same ids."""
        name = _event(order)
        if not name:
            return []
        found = []
        for side in ("payer", "payee"):
            key = f"sms.{name}.{side}"
            if key not in self._texts.catalogues[LAST_RESORT].entries:
                continue
            party = self._phone_of(order, side)
            if party is not None:
                found.append(self._message(order, side, key, party))
        return found

    def _phone_of(self, order: Order, side: str) -> Party | None:
        """Return who is told, or None where nobody is: the operator, and who has no phone."""
        party = self._branch.directory.get(order.payer if side == "payer" else order.payee)
        if party is None or not party.phone or party.status is Status.CLOSED:
            return None
        return party

    def _message(self, order: Order, side: str, key: str, party: Party) -> Message:
        market = self._branch.market
        other = self._branch.directory.get(order.payee if side == "payer" else order.payer)
        happened = _happened(order) or to_micros(self._clock.now())
        local = market.local(from_micros(happened))
        fields = {
            "receipt": order.receipt,
            "amount": market.written(Money(order.amount, order.currency)),
            "fee": market.written(Money(order.price.charge, order.currency)),
            "name": clean(other.name) if other else "",
            "reference": clean(order.reference),
            "when": f"{local:%d/%m/%y %H:%M}",
            "balance": self._balance(party, order.currency),
            "code": market.ussd_code,
        }
        language = self._texts.language(market, party.language)
        wanted = self._texts.catalogues[language].entries[key].fields
        text = self._texts.fit(
            language,
            key,
            limit=TEXT_MAX,
            shrink=[word for word in ("name", "reference") if word in wanted],
            **{word: fields[word] for word in wanted},
        )
        return Message(
            id=f"{order.id}.{order.events - 1}.{side}",
            phone=party.phone,
            text=text,
            kind=key.removeprefix("sms."),
            since=happened,
            product=order.product,
            value_minor=order.amount,
            currency=order.currency,
            payer_mark=order.payer_mark,
        )

    def _balance(self, party: Party, currency: str) -> str:
        """Write what is free in the purse that the party pays from, as it stands now."""
        market = self._branch.market
        for balance in self._branch.wallets.balances(party):
            if balance.currency == currency:  # the first purse of each role is the one she uses
                return market.written(Money(balance.available, currency))
        assert party.role is Role.ASSISTANT, "everybody else has a purse in each currency"
        return ""


class Receipts:
    """Carries one market's receipts from the journal to a route. Never holds up a payment.

    A route that refuses, hangs or loses, and a file that cannot be written, slow only the texts.
    """

    def __init__(
        self,
        *,
        branch: Branch,
        outbox: Outbox,
        route: SmsRoute,
        texts: Texts,
        clock: Clock,
        signals: Signals,
    ) -> None:
        self._market = branch.market.code
        self._writer = Writer(branch=branch, texts=texts, clock=clock)
        self._outbox = outbox
        self._route = route
        self._clock = clock
        self._signals = signals
        self._queue: asyncio.Queue[Message] = asyncio.Queue()
        self._in_hand: set[str] = set()
        self._awaited: OrderedDict[str, tuple[Message, int]] = OrderedDict()
        self._fates: deque[tuple[str, Fate]] = deque(maxlen=FATES_MAX)
        self._untold: deque[str] = deque(maxlen=FATES_MAX)  # delivered, and not remembered here
        self._refused_in_a_row = 0
        self._is_troubled = False
        self._pruned_s = clock.ticks_s()
        self._errand: asyncio.Future[Any] | None = None

    async def run(self) -> None:
        """Look into the file and hand over what is there, until cancelled. Call it once."""
        carriers = [asyncio.create_task(self._carry()) for _ in range(AT_ONCE)]
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
        if not self._fates:
            return
        try:
            await self._off_loop(self._note)
        except Fault as cause:
            # What is not written down is sent again under its id at the next start.
            log.warning("channels.sms.unnoted", market=self._market, cause=str(cause))

    def on_receipt(self, message_id: str, is_delivered: bool) -> None:  # noqa: FBT001  the port's form
        """Hear from the route what became of a message. Never waits; a repeat is harmless."""
        self._fates.append((message_id, Fate.DELIVERED if is_delivered else Fate.LOST))
        known = self._awaited.pop(message_id, None)
        if known is not None:
            message, sent_at = known
            waited_s = (to_micros(self._clock.now()) - sent_at) / _SECOND
            self._tell(message, "delivered" if is_delivered else "failed", waited_s)
        elif is_delivered:
            self._untold.append(message_id)

    # Looking into the file

    async def _round(self) -> float:
        """Look once, hand over what was found; return how long to pause. Raises nothing."""
        found = _Found()
        pause_s = ROUND_S
        try:
            await self._off_loop(lambda: self._look(found))
            self._is_troubled = False
        except Exception as cause:  # noqa: BLE001  the loop outlives whatever breaks in a round
            # The texts wait in the file or in the journal, where the next round finds them.
            if not isinstance(cause, Fault):
                self._log_bug("channels.sms.bug", cause)
            elif not self._is_troubled:
                log.warning("channels.sms.waits", market=self._market, cause=str(cause))
            self._is_troubled = True
            pause_s = TROUBLE_S
        # What was found before a trouble is given out already: it is carried all the same.
        for message in (*found.due, *found.fresh):
            if message.id not in self._in_hand:
                self._in_hand.add(message.id)
                self._queue.put_nowait(message)
        self._tell_lost(found.lost)
        now = to_micros(self._clock.now())
        for message, sent_at in found.late:
            self._tell(message, "delivered", (now - (sent_at or now)) / _SECOND)
        return 0 if found.is_more else pause_s

    def _look(self, found: _Found) -> None:
        """Read and write the file, in a thread of its own. Repeating is harmless."""
        now = to_micros(self._clock.now())
        self._find_late(found)  # before they are noted as delivered, to tell a repeat from a first
        self._note()
        found.lost = self._outbox.give_up(now, TAKE_AT_ONCE)
        room = IN_HAND_MAX - len(self._in_hand)
        at_once = PROBES if self._refused_in_a_row >= REFUSED_IN_A_ROW else TAKE_AT_ONCE
        if room > 0:
            found.due = self._outbox.due(now, min(room, at_once))
            room -= len(found.due)
        limit = min(TAKE_AT_ONCE, room // 2)  # an order has two sides
        if limit > 0:
            found.fresh, read = self._outbox.take(limit, write=self._write, now=now)
            found.is_more = read == TAKE_AT_ONCE
        if self._clock.ticks_s() - self._pruned_s >= PRUNE_EVERY_S:
            self._pruned_s = self._clock.ticks_s()
            self._outbox.prune(now)

    def _find_late(self, found: _Found) -> None:
        for _ in range(min(TAKE_AT_ONCE, len(self._untold))):
            kept = self._outbox.story(self._untold[0])
            self._untold.popleft()
            is_known = any(kept and kept[0].id == message.id for message, _ in found.late)
            if kept is not None and kept[1] != "delivered" and not is_known:
                found.late.append((kept[0], kept[2]))

    def _note(self) -> None:
        fates = list(self._fates)
        now = to_micros(self._clock.now())
        self._outbox.note(fates, now=now, lost_at=now + DELIVERED_WITHIN // _MICROSECOND)
        for _ in fates:  # only now: what could not be written is written next time
            self._fates.popleft()

    def _write(self, order: Order) -> list[Message]:
        """Write an order's texts. One that cannot be written does not stop those behind it."""
        try:
            return self._writer.messages(order)
        except Unavailable:
            raise  # nothing was kept: the same order comes again
        except Exception as cause:  # noqa: BLE001  it is told, and the orders behind it go on
            self._log_bug("channels.sms.unwritten", cause, order=order.id)
            return []

    async def _off_loop(self, work: Callable[[], T]) -> T:
        """Do what waits for the disk in a thread; it is done to its end even when we are stopped."""
        errand = asyncio.ensure_future(asyncio.to_thread(work))
        self._errand = errand
        return await asyncio.shield(errand)

    # Handing over

    async def _carry(self) -> None:
        """Hand one message after the other to the route, until cancelled."""
        while True:
            message = await self._queue.get()
            try:
                await self._send(message)
            finally:
                self._in_hand.discard(message.id)

    async def _send(self, message: Message) -> None:
        """Hand one message over and note what came of it. Raises nothing but a cancellation."""
        # Awaited already now: a fast route tells of the delivery before it answers.
        self._await(message)
        try:
            async with asyncio.timeout(SEND_WITHIN_S):
                await self._route.send(message_id=message.id, to=message.phone, text=message.text)
        except Exception as cause:  # noqa: BLE001  a partner's program may raise anything
            # Unavailable: not taken. Everything else may have been taken: the same id again is harmless.
            if not isinstance(cause, (Fault, TimeoutError)):
                self._log_bug("channels.sms.route_bug", cause, route=self._route.name)
            self._refused_in_a_row += 1
            self._fates.append((message.id, Fate.REFUSED))
            was_awaited = self._awaited.pop(message.id, None) is not None
            if was_awaited and message.tries == 0:
                self._tell(message, "failed", 0)
            return
        self._refused_in_a_row = 0
        now = to_micros(self._clock.now())
        if message.id in self._awaited:
            self._awaited[message.id] = (message, now)
        self._fates.append((message.id, Fate.SENT))
        self._tell(message, "sent", (now - message.since) / _SECOND)

    def _log_bug(self, event: str, cause: Exception, **rest: str) -> None:
        """Tell where it happened, but not the words of the trouble: a phone may stand in them."""
        place = "".join(traceback.format_tb(cause.__traceback__)[-1:]).strip()
        log.error(event, market=self._market, kind=type(cause).__name__, place=place, **rest)

    def _await(self, message: Message) -> None:
        self._awaited[message.id] = (message, to_micros(self._clock.now()))
        if len(self._awaited) > AWAITED_MAX:
            self._awaited.popitem(last=False)

    # Telling the centre

    def _tell_lost(self, lost: list[tuple[Message, int]]) -> None:
        """Tell what was not delivered in time, but not what we heard of a moment ago."""
        if not lost:
            return
        heard = {message_id for message_id, _ in self._fates}
        now = to_micros(self._clock.now())
        for message, sent_at in lost:
            if self._awaited.pop(message.id, None) is not None or message.id not in heard:
                self._tell(message, "failed", (now - sent_at) / _SECOND)

    def _tell(self, message: Message, state: str, waited_s: float) -> None:
        order_id = message.id.partition(".")[0]
        digest = hashlib.blake2b(order_id.encode(), digest_size=7).digest()
        self._signals.send(
            MessageSeen(
                at=self._clock.now(),
                market=self._market,
                route=self._route.name,
                state=state,
                product=message.product,
                value_minor=message.value_minor,
                currency=message.currency,
                payer_mark=message.payer_mark,
                waited_s=max(waited_s, 0),
                order_mark=int.from_bytes(digest),
            )
        )


def _event(order: Order) -> str:
    """Return the name of the text that tells of this journal line, or '' where nobody is told."""
    match order.step:
        case Step.BOOKED.value | Step.SETTLED.value if order.state is State.COMPLETED:
            return order.product
        case Step.FAILED.value:
            return f"{order.product}_failed"
        case Step.REVERSAL_ASKED.value | Step.REVERSED.value | Step.REVERSAL_REFUSED.value:
            return order.step
        case _:
            return ""


def _happened(order: Order) -> int:
    """Return when the journal line was written, or 0 where the order does not say."""
    match order.step:
        case Step.BOOKED.value | Step.SETTLED.value | Step.FAILED.value:
            return order.done_at
        case Step.REVERSAL_ASKED.value:
            return order.until - REVERSAL_ANSWER_FOR // _MICROSECOND
        case _:
            return 0
