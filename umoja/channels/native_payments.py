"""The native API's payments: quote, pay, confirm, reverse, consent, find. Structs in, outcomes out.

Every function here may be called without a web framework: it is given who calls and what was asked.
Repeating any of them moves nothing twice.
"""

import asyncio
import re
from functools import lru_cache

from umoja.channels.native_call import CHANNEL, Answer, Call, Outcome
from umoja.channels.problems import Problem, of_decline, problem
from umoja.channels.wire import (
    ConfirmIn,
    ConsentIn,
    PartyRef,
    PaymentIn,
    PaymentOut,
    PaymentsOut,
    PaymentsQuery,
    QuoteIn,
    ReverseIn,
    payment_out,
    quote_out,
    resolve,
)
from umoja.money import AmountUnreadable, parse_minor
from umoja.parties.party import SYSTEM, PinOutcome, Role, Status
from umoja.payments.catalogue import GIFTS
from umoja.payments.order import Ask, Confirm, Consent, Decline, Order, Reverse, State

OPERATOR_SCOPE = "payments:operator"
PAYOUT_SCOPE = "payments:payout"
PAYOUT = "payout"

PIN_DECLINES = {
    PinOutcome.WRONG: Decline.PIN_WRONG,
    PinOutcome.LOCKED: Decline.PIN_LOCKED,
    PinOutcome.NOT_SET: Decline.PIN_NOT_SET,
}

_ORDER_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)


async def quote(call: Call, asked: QuoteIn) -> Outcome:
    """Say what a payment would cost now and who would receive it. Nothing is kept."""
    payer = _party(call, asked.payer, "payer")
    if isinstance(payer, Problem):
        return payer
    payee = _party(call, asked.payee, "payee")
    if isinstance(payee, Problem):
        return payee
    minor = minor_of(call, asked.amount, asked.currency)
    if isinstance(minor, Problem):
        return minor
    # A refused quote tells about the payer's money, so an organisation may ask for its own only.
    if call.client.organisation not in {0, payer}:
        return problem("not_allowed", detail="An organisation quotes only what it pays itself.")
    if payer == SYSTEM and OPERATOR_SCOPE not in call.scopes:
        return _lacks_operator_scope()
    found = await call.branch.desk.price(
        product=asked.product,
        payer=payer,
        payee=payee,
        amount=minor,
        currency=asked.currency,
        reference=asked.reference or "-",
    )
    if isinstance(found, Decline):
        return of_decline(found)
    return Answer(body=quote_out(call.branch.market, found))


async def pay(call: Call, asked: PaymentIn) -> Outcome:
    """Begin a payment, or do it at once where it is confirmed and signed.

    The desk remembers it by client and key for ever: a repeat is told what became of it, without
    another look at the PIN.
    """
    ask = _ask(call, asked)
    if isinstance(ask, Problem):
        return ask
    desk = call.branch.desk
    if ask.is_confirmed and not _is_signed_already(call, ask, asked.pin):
        known = await desk.look_up(desk.order_id(ask.client, ask.key))
        if known is None:
            refusal = await _signed(call, ask, asked.pin)
            if refusal is not None:
                return refusal
    return paid(call, await desk.submit(ask))


def pay_at_once(call: Call, asked: PaymentIn) -> Outcome | Ask | None:
    """Return what to ask of the desk; None where something has to be waited for before."""
    ask = _ask(call, asked)
    if isinstance(ask, Problem):
        return ask
    if ask.is_confirmed and not _is_signed_already(call, ask, asked.pin):
        return None
    return ask


def paid(call: Call, order: Order) -> Outcome:
    """Tell what the desk has made of a payment."""
    decline = order.decline
    if decline is Decline.KEY_REUSED:
        return of_decline(decline)
    # Refused at the beginning it never was a payment; what was refused later was one, and its
    # repeat is answered as its beginning was.
    if order.state is State.DECLINED and order.events == 1:
        assert decline is not None, "a refused order names its reason"
        return of_decline(decline, payment=order.id)
    return Answer(
        status=201, body=_told(call, order), headers=(("location", f"/v1/payments/{order.id}"),)
    )


async def confirm(call: Call, asked: ConfirmIn) -> Outcome:
    """Do a payment that waits, with its payer's PIN, or cancel it. A repeat is told how it stands."""
    order = await call.branch.desk.look_up(call.place) if _is_order_id(call.place) else None
    if order is None or order.client != call.client.id:
        return of_decline(Decline.ORDER_UNKNOWN)
    if order.state is State.AWAITING:
        if asked.confirm:
            refusal = await _signed(call, _as_ask(order), asked.pin)
            if refusal is not None:
                return _about(refusal, order)
        order = await call.branch.desk.submit(
            Confirm(order=order.id, client=call.client.id, says_yes=asked.confirm)
        )
    is_cancelled = order.state is State.CANCELLED and order.decline is Decline.ORDER_CANCELLED
    if order.state in {State.CANCELLED, State.DECLINED} and not (
        is_cancelled and not asked.confirm
    ):
        return of_decline(order.decline or Decline.ORDER_CANCELLED, payment=order.id)
    if not asked.confirm and not is_cancelled:
        return of_decline(Decline.TOO_LATE, payment=order.id)
    return Answer(body=_told(call, order))


async def reverse(call: Call, asked: ReverseIn) -> Outcome:
    """Ask a completed payment back with its payer's PIN: the amount is held at the receiver."""
    order = await _visible(call)
    if isinstance(order, Problem):
        return order
    if call.client.organisation not in {0, order.payer}:
        return problem("not_allowed", payment=order.id, detail="Only the payer may ask it back.")
    # Nothing is asked of the desk without a PIN: the payment's state may change at any moment.
    if order.state is State.COMPLETED:
        refusal = await _signed(call, _as_ask(order), asked.pin)
        if refusal is not None:
            return _about(refusal, order)
        order = await call.branch.desk.submit(
            Reverse(order=order.id, payer=order.payer, client=call.client.id, channel=CHANNEL)
        )
    if order.state in {State.REVERSAL_ASKED, State.REVERSED}:
        return Answer(body=_told(call, order))
    is_done = order.state is State.COMPLETED
    decline = order.decline if is_done and order.decline else Decline.NOT_REVERSIBLE
    return of_decline(decline, payment=order.id)


async def consent(call: Call, asked: ConsentIn) -> Outcome:
    """Give a payment back that was asked back, or keep it, with the receiver's PIN."""
    order = await _visible(call)
    if isinstance(order, Problem):
        return order
    if call.client.organisation not in {0, order.payee}:
        return problem("not_allowed", payment=order.id, detail="Only the receiver may consent.")
    if order.state is State.REVERSED and asked.agree:
        return Answer(body=_told(call, order))
    if order.state is not State.REVERSAL_ASKED:
        return problem("too_late", payment=order.id, detail="No reversal waits for an answer.")
    refusal = await _right_pin(call, order.payee, asked.pin)
    if refusal is not None:
        told = of_decline(refusal) if isinstance(refusal, Decline) else refusal
        return _about(told, order)
    order = await call.branch.desk.submit(
        Consent(order=order.id, payee=order.payee, says_yes=asked.agree)
    )
    if order.state is not (State.REVERSED if asked.agree else State.COMPLETED):
        return problem("too_late", payment=order.id, detail="It was answered otherwise already.")
    return Answer(body=_told(call, order))


async def payment(call: Call, _asked: None) -> Outcome:
    """Return a payment as it stands."""
    order = await _visible(call)
    return order if isinstance(order, Problem) else Answer(body=_told(call, order))


async def payments(call: Call, asked: PaymentsQuery) -> Outcome:
    """Find a payment by its receipt or by the key that it was asked with: a list of one or none."""
    if bool(asked.receipt) == bool(asked.key):
        return problem(
            "bad_request",
            field="receipt" if not asked.receipt else "key",
            detail="Name the payment by exactly one of receipt and key.",
        )
    desk = call.whole.desk
    found = await desk.settled(
        lambda: (
            desk.find_receipt(asked.receipt)
            if asked.receipt
            else desk.find(desk.order_id(call.client.id, asked.key))
        )
    )
    seen = [] if found is None or not _sees(call, found) else [_told(call, found)]
    return Answer(body=PaymentsOut(payments=seen, next=None))


# Reading what was asked


def _ask(call: Call, asked: PaymentIn) -> Ask | Problem:
    payer = _party(call, asked.payer, "payer")
    if isinstance(payer, Problem):
        return payer
    payee = _party(call, asked.payee, "payee")
    if isinstance(payee, Problem):
        return payee
    minor = minor_of(call, asked.amount, asked.currency)
    if isinstance(minor, Problem):
        return minor
    actor = _actor(call, asked.actor, {payer, payee})
    if isinstance(actor, Problem):
        return actor
    if asked.pin is not None and not asked.confirm:
        return problem(
            "unprocessable", field="pin", detail="A PIN is only taken together with confirm: true."
        )
    if call.client.organisation not in {0, payer, payee}:
        return problem("not_allowed", detail="This client acts for its organisation only.")
    if asked.product == PAYOUT and PAYOUT_SCOPE not in call.scopes:
        return problem("forbidden", detail=f"Money is paid out with the scope {PAYOUT_SCOPE}.")
    if payer == SYSTEM and OPERATOR_SCOPE not in call.scopes:
        return _lacks_operator_scope()
    if asked.product in GIFTS:
        return problem(
            "forbidden", detail="Two people of the operations centre release what makes good."
        )
    return Ask(
        client=call.client.id,
        key=call.key,
        channel=CHANNEL,
        product=asked.product,
        payer=payer,
        payee=payee,
        amount=minor,
        currency=asked.currency,
        reference=asked.reference,
        actor=actor,
        is_confirmed=asked.confirm,
    )


def _as_ask(order: Order) -> Ask:
    """Return what a kept order asks: for whose PIN is needed, and for signals."""
    return Ask(
        client=order.client,
        key=order.id,
        channel=CHANNEL,
        product=order.product,
        payer=order.payer,
        payee=order.payee,
        amount=order.amount,
        currency=order.currency,
        reference=order.reference,
        actor=order.actor,
    )


def _party(call: Call, ref: PartyRef, field: str) -> int | Problem:
    number = resolve(call.branch.directory, call.branch.market, ref, operator=SYSTEM)
    if number is None:
        return problem(
            "unprocessable",
            field=field,
            detail="Name a party by exactly one of party, phone, till, paybill, agent, operator.",
        )
    return number


def _actor(call: Call, ref: PartyRef | None, sides: set[int]) -> int | Problem:
    """Return who serves in an agent's place: an active assistant of the outlet that takes part."""
    if ref is None:
        return 0
    number = _party(call, ref, "actor")
    if isinstance(number, Problem):
        return number
    actor = call.branch.directory.get(number)
    if (
        actor is None
        or actor.role is not Role.ASSISTANT
        or actor.status is not Status.ACTIVE
        or actor.parent not in sides
    ):
        return problem(
            "not_allowed", field="actor", detail="The actor is no assistant of the outlet's."
        )
    return number


def minor_of(call: Call, amount: str, currency: str, *, field: str = "amount") -> int | Problem:
    """Return the amount in minor units of a currency of the market, or what is wrong with it."""
    known = call.branch.market.currency(currency)
    if known is None:
        return of_decline(Decline.CURRENCY_UNKNOWN, field="currency")
    try:
        return _read(amount, known.digits)
    except AmountUnreadable:
        # its form was right, so it has more decimals than the currency
        return of_decline(Decline.AMOUNT_TOO_PRECISE, field=field)


@lru_cache(maxsize=16_384)
def _read(amount: str, digits: int) -> int:
    """Read an amount: many ask for the same round ones. Raise AmountUnreadable."""
    return parse_minor(amount, digits=digits)


# Who may


def _is_order_id(text: str) -> bool:
    return _ORDER_ID.fullmatch(text) is not None


def _sees(call: Call, order: Order) -> bool:
    return call.client.organisation in {0, order.payer, order.payee}


async def _visible(call: Call) -> Order | Problem:
    """Return the payment that the path names, where this client may know of it."""
    order = await call.branch.desk.look_up(call.place) if _is_order_id(call.place) else None
    if order is None or not _sees(call, order):
        return of_decline(Decline.ORDER_UNKNOWN)
    return order


def _is_signed_already(call: Call, ask: Ask, pin: str | None) -> bool:
    """Tell at once whether the payer has said so: a right PIN at first try, nothing to be written."""
    if pin is None or ask.payer in {0, SYSTEM, call.client.organisation}:
        return False
    return call.branch.directory.has_given(_signer(call, ask), pin)


def _signer(call: Call, ask: Ask) -> int:
    """Return whose PIN is needed: the payer's, or that of the assistant who acts for her outlet."""
    actor = call.branch.directory.get(ask.actor) if ask.actor else None
    return actor.id if actor is not None and actor.parent == ask.payer else ask.payer


async def _signed(call: Call, ask: Ask, pin: str | None) -> Problem | None:
    """Check that whoever pays says so; return why not. A wrong PIN counts and is told to signals.

    The market's own account is the operator's scope's; an unknown payer is the desk's to refuse.
    """
    if ask.payer == SYSTEM:
        return None if OPERATOR_SCOPE in call.scopes else _lacks_operator_scope()
    if ask.payer == 0:
        return None
    refusal = await _right_pin(call, _signer(call, ask), pin)
    if isinstance(refusal, Decline):
        await call.branch.desk.note_refused(ask, refusal)
        return of_decline(refusal)
    return refusal


async def _right_pin(call: Call, signer: int, pin: str | None) -> Decline | Problem | None:
    """Compare a PIN; none is needed of the organisation that this client belongs to."""
    if signer == call.client.organisation:
        return None
    if pin is None:
        return problem("unprocessable", field="pin", detail="A PIN is needed for this.")
    if call.branch.directory.has_given(signer, pin):
        return None
    # A wrong one is written down before it is answered: that waits for a disk.
    outcome = await asyncio.to_thread(call.branch.directory.check_pin, signer, pin)
    return PIN_DECLINES.get(outcome)


def _lacks_operator_scope() -> Problem:
    return problem(
        "forbidden", detail=f"The market's own account pays with the scope {OPERATOR_SCOPE}."
    )


# Telling


def _told(call: Call, order: Order) -> PaymentOut:
    return payment_out(call.branch.market, call.branch.directory, order)


def _about(refusal: Problem, order: Order) -> Problem:
    """Return the problem with the payment that it concerns."""
    return problem(refusal.word, detail=refusal.detail, field=refusal.field, payment=order.id)
