"""Making good: one wrong after the other, through the desk, each done once whatever breaks between.

What is asked for bears a key of the centre's. A compensation is an order under that key; a reversal
and a held order are what they are by their state. So whoever does not know what became of a line
asks for it again.
"""

import asyncio

from umoja.clock import Clock, to_micros
from umoja.faults import Fault, Unavailable
from umoja.parties.directory import Directory
from umoja.parties.party import SYSTEM, Role
from umoja.payments.desk import Desk
from umoja.payments.lifecycle import Step
from umoja.payments.noticing import Noticing
from umoja.payments.order import Ask, Decline, Lapse, Order, Reverse, Settle, State
from umoja.payments.ports import AirtimePartner, TopUp
from umoja.payments.wronged import Wronged, is_lapsed, is_past_due
from umoja.signals import (
    Amend,
    Amended,
    Answer,
    FindWrongs,
    Question,
    TellTried,
)

CLIENT = "make-good"
CHANNEL = "centre"

KEPT = "the receiver did not give it back"
ASKED = "the receiver was asked and has a day to answer"
PARTNER_SILENT = "the partner has not said what became of it"

_COMPENSATES = {Role.CUSTOMER: "compensation", Role.ORGANISATION: "till_compensation"}


class MakingGood:
    """Answers the centre's questions about one market, and does what two of its staff decided."""

    def __init__(
        self,
        *,
        desk: Desk,
        directory: Directory,
        partner: AirtimePartner,
        wronged: Wronged,
        noticing: Noticing,
        clock: Clock,
    ) -> None:
        self._desk = desk
        self._directory = directory
        self._partner = partner
        self._wronged = wronged
        self._noticing = noticing
        self._clock = clock

    async def answer(self, question: Question) -> Answer:
        """Answer the centre. Raise Unavailable, or OutcomeUnknown: then ask again."""
        match question:
            case FindWrongs():
                return await asyncio.to_thread(self._wronged.find, question)
            case TellTried():
                return await asyncio.to_thread(self._noticing.tell, question)
            case Amend():
                return await self.carry_out(question)

    async def carry_out(self, asked: Amend) -> Amended:
        """Make one wrong good, or say why not. Repeating it moves nothing twice."""
        order = await self._desk.look_up(asked.order)
        if order is None:
            return _declined(Decline.ORDER_UNKNOWN.value)
        match asked.act:
            case "compensate":
                return await self._compensate(asked, order)
            case "reverse":
                return await self._reverse(order)
            case "settle":
                return await self._settle(order)
            case _:
                return _declined(Decline.MALFORMED.value)

    async def _compensate(self, asked: Amend, order: Order) -> Amended:
        wronged = order.payee if asked.kind == "business_fee" else order.payer
        party = self._directory.get(wronged)
        product = _COMPENSATES.get(party.role) if party else None
        if product is None:
            return _declined(Decline.PAYEE_UNKNOWN.value)
        ask = Ask(
            client=CLIENT,
            key=asked.key,
            channel=CHANNEL,
            product=product,
            payer=SYSTEM,
            payee=wronged,
            amount=asked.amount_minor,
            currency=asked.currency,
            reference=order.id,
        )
        known = await self._desk.look_up(self._desk.order_id(CLIENT, asked.key))
        if known is None:
            refusal = _why_not(asked, order)
            if refusal is not None:
                return _declined(refusal)
            # A refusal is kept under the key for ever: what passes by itself is waited for instead.
            quote = await self._desk.price(
                product=product,
                payer=SYSTEM,
                payee=wronged,
                amount=asked.amount_minor,
                currency=asked.currency,
                reference=order.id,
            )
            if quote is Decline.PRODUCT_STOPPED:
                raise Unavailable("compensation is stopped in this market")
        done = await self._desk.submit(ask)
        if done.state is State.COMPLETED:
            return Amended(state="done", reason=done.receipt)
        return _declined(done.decline.value if done.decline else done.state.value)

    async def _reverse(self, order: Order) -> Amended:
        if order.state is State.COMPLETED and order.step != Step.REVERSAL_REFUSED.value:
            asked = Reverse(order=order.id, payer=order.payer, client=CLIENT, channel=CHANNEL)
            order = await self._desk.submit(asked)
            if order.state is State.COMPLETED and order.decline is not None:
                return _declined(order.decline.value)
        match order.state:
            case State.REVERSED:
                return Amended(state="done", reason=order.receipt)
            case State.REVERSAL_ASKED:
                return Amended(state="waiting", reason=ASKED)
            case State.COMPLETED:
                return _declined(KEPT)
            case _:
                return _declined(Decline.NOT_REVERSIBLE.value)

    async def _settle(self, order: Order) -> Amended:
        """End what is held: as its partner says; without his word only when its time is over."""
        now = to_micros(self._clock.now())
        if order.state is State.REVERSAL_ASKED:
            if not is_lapsed(order, now):
                return Amended(state="waiting", reason=ASKED)
            order = await self._desk.submit(Lapse(order=order.id))
        if order.state is State.HELD:
            said = await self._word_of_partner(order)
            if said is None and not is_past_due(order, now):
                return Amended(state="waiting", reason=PARTNER_SILENT)
            refusal = Decline.PARTNER_REFUSED if said is TopUp.REFUSED else Decline.PARTNER_FAILED
            is_done = said is TopUp.DONE
            order = await self._desk.submit(
                Settle(order=order.id, is_done=is_done, decline=None if is_done else refusal)
            )
        match order.state:
            case State.COMPLETED if order.step == Step.REVERSAL_REFUSED.value:
                return Amended(state="done", reason="let go: the receiver keeps it")
            case State.COMPLETED:
                return Amended(state="done", reason="it had been delivered: the payment stands")
            case State.FAILED:
                return Amended(state="done", reason="the money went back to the payer")
            case State.REVERSED:
                return Amended(state="done", reason="the receiver gave it back")
            case _:
                return _declined(order.state.value)

    async def _word_of_partner(self, order: Order) -> TopUp | None:
        """Return what the partner says became of an order; None where he does not know or say."""
        try:
            return await self._partner.ask(order.id)
        except Fault:
            return None  # the same as silence: only time decides then


def _why_not(asked: Amend, order: Order) -> str | None:
    """Return why an order gives no claim to this sum (any more), or None: it does."""
    if order.state is not State.COMPLETED:
        return f"the payment is {order.state.value.replace('_', ' ')} now"
    price = order.price
    most = {
        "double_charge": order.total,
        "wrong_fee": price.charge,
        "business_fee": price.payee_fee
        + sum(line.minor for line in price.payee_taxes if not line.is_included),
    }.get(asked.kind, 0)
    is_within = asked.currency == order.currency and 0 < asked.amount_minor <= most
    return None if is_within else "more than the payment can have taken wrongly"


def _declined(reason: str) -> Amended:
    return Amended(state="declined", reason=reason)
