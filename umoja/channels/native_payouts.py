"""The native API's payouts: one request of an organisation that pays thousands of customers.

The lines are handed to the desk in slices, never many at once, so that the payments of everybody
else get in between. The desk remembers each line by its own key, for ever: a repeat of the whole
request, or of a line in another one, is told what became of it and pays nothing twice.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

from umoja.channels.native_call import CHANNEL, Answer, Call, Outcome
from umoja.channels.native_payments import PAYOUT, minor_of
from umoja.channels.problems import Problem, problem
from umoja.channels.wire import PayoutLineOut, PayoutsIn, PayoutsOut, amount_out
from umoja.faults import Busy, OutcomeUnknown
from umoja.parties.party import Role
from umoja.payments.order import Ask, Decline, Order, State

if TYPE_CHECKING:
    from asyncio import Future

SLICE: Final = 500  # lines that are handed to the desk together: half of its batch
SLICES_AHEAD: Final = 4  # two on their way to the disk, two that are decided behind them
AT_ONCE_MAX: Final = 2  # requests of one market: each takes its share of the desk's batches

_Answers = list[Order | BaseException]


class Turns:
    """Who pays out right now: one request of a client, few of a market. Used from one event loop."""

    def __init__(self) -> None:
        self._under_way: dict[str, set[str]] = {}

    def refusal(self, market: str, client: str) -> Problem | None:
        """Return why this client has to wait, or None."""
        under_way = self._under_way.get(market, set())
        if client in under_way:
            return problem("too_many", detail="Wait for the answer to the payouts before these.")
        if len(under_way) >= AT_ONCE_MAX:
            detail = "Others are paying out at the moment; nothing happened."
            return problem("unavailable", detail=detail)
        return None

    @contextmanager
    def taken(self, market: str, client: str) -> Iterator[None]:
        """Take a turn that nobody refuses."""
        under_way = self._under_way.setdefault(market, set())
        under_way.add(client)
        try:
            yield
        finally:
            under_way.discard(client)


async def pay_out(call: Call, asked: PayoutsIn) -> Outcome:
    """Pay many customers out of the till of the organisation whose client asks.

    Every line has an answer of its own. Where the money is used up on the way, or a limit is reached,
    that line is declined and the next one judged by itself.
    """
    payer = call.branch.directory.get(call.client.organisation)
    if payer is None or payer.role is not Role.ORGANISATION:
        return problem("not_allowed", detail="Only a client of an organisation pays out.")
    amounts = _amounts(call, asked)
    if isinstance(amounts, Problem):
        return amounts
    market = call.branch.market.code
    refusal = call.turns.refusal(market, call.client.id)
    if refusal is not None:
        return refusal
    with call.turns.taken(market, call.client.id):
        answers = await _answers(call, asked, amounts)
    fees: dict[int, str] = {}
    lines = [
        _line(call, line.key, answer, fees) for line, answer in zip_longest(asked.lines, answers)
    ]
    states = [line.state for line in lines]
    completed, declined = states.count("completed"), states.count("declined")
    told = PayoutsOut(
        market=market,
        payer=payer.id,
        currency=asked.currency,
        completed=completed,
        declined=declined,
        open=len(lines) - completed - declined,
        lines=lines,
    )
    return Answer(body=told)


def _amounts(call: Call, asked: PayoutsIn) -> list[int] | Problem:
    """Return each line's amount in minor units, or what is wrong with the first line that is not right."""
    amounts: list[int] = []
    keys: set[str] = set()
    known: dict[str, int] = {}  # many are paid the same
    for place, line in enumerate(asked.lines):
        if line.key in keys:
            field = f"lines[{place}].key"
            return problem("unprocessable", field=field, detail="Another line has this key.")
        keys.add(line.key)
        minor = known.get(line.amount)
        if minor is None:
            found = minor_of(call, line.amount, asked.currency, field=f"lines[{place}].amount")
            if isinstance(found, Problem):
                return found
            minor = known[line.amount] = found
        amounts.append(minor)
    return amounts


async def _answers(call: Call, asked: PayoutsIn, amounts: list[int]) -> _Answers:
    """Hand the lines to the desk; return the answers to as many of them as it took.

    Raise Busy where it took none.
    """
    desk = call.whole.desk
    ahead: deque[Future[_Answers]] = deque()
    answers: _Answers = []
    for first in range(0, len(amounts), SLICE):
        if len(ahead) == SLICES_AHEAD:
            answers += await ahead.popleft()
        asks = _asks(call, asked, amounts, range(first, min(first + SLICE, len(amounts))))
        try:
            ahead.append(desk.enqueue_many(asks))
        except Busy:
            if not first:
                raise
            break  # the rest is told as not done
    while ahead:
        answers += await ahead.popleft()
    return answers


def _asks(call: Call, asked: PayoutsIn, amounts: list[int], places: range) -> list[Ask]:
    phone_number = call.branch.market.phone_number
    lines = asked.lines[places.start : places.stop]
    numbers = [phone_number(line.phone) for line in lines]
    known = call.branch.directory.by_phones([number for number in numbers if number])
    client, payer, currency = call.client.id, call.client.organisation, asked.currency
    asks: list[Ask] = []
    for line, number, amount in zip(lines, numbers, amounts[places.start :], strict=False):
        payee = known.get(number) if number else None
        asks.append(
            Ask(
                client=client,
                key=line.key,
                channel=CHANNEL,
                product=PAYOUT,
                payer=payer,
                payee=payee.id if payee else 0,  # whom the desk does not know it refuses
                amount=amount,
                currency=currency,
                reference=line.reference,
            )
        )
    return asks


def _line(
    call: Call, key: str, answer: Order | BaseException | None, fees: dict[int, str]
) -> PayoutLineOut:
    """Return what is told of a line; `fees` are those told so far, by the price that they are of."""
    if isinstance(answer, OutcomeUnknown):
        return PayoutLineOut(key, "unknown", None, None, None, "0")
    if answer is None or isinstance(answer, BaseException):
        return PayoutLineOut(key, "not_done", None, None, None, "0")
    if answer.state is State.COMPLETED:
        price = answer.price  # one object for all whom it fits, and alive as long as the answers
        fee = fees.get(id(price))
        if fee is None:
            fee = amount_out(call.branch.market, price.charge, answer.currency)
            fees[id(price)] = fee
        return PayoutLineOut(key, "completed", answer.id, answer.receipt, None, fee)
    decline = answer.decline
    assert decline is not None, "what is neither done nor open was refused"
    payment = None if decline is Decline.KEY_REUSED else answer.id
    return PayoutLineOut(key, "declined", payment, None, decline._value_, "0")
