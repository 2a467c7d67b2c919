"""Playing the plan: the people's intents become orders at the desks, in the clock's time or at once.

People behave as people do: who has too little goes to an agent first, who would pass her ceiling
leaves it to another; some make mistakes all the same. Outlets are kept in float.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

import structlog

from umoja.clock import Clock, ManualClock, from_micros, to_micros
from umoja.faults import Busy, OutcomeUnknown, Unavailable
from umoja.money import Money
from umoja.parties.party import SYSTEM, Party, Role
from umoja.partners.airtime import REFUSED_ENDING
from umoja.payments.branch import Branch
from umoja.payments.order import Ask, Decline, Order, Quote, Request, Settle, State
from umoja.simulator.population import CLIENT, Cast, Population, cast_of
from umoja.simulator.traffic import SLICE_S, SLICE_US, Intent, Slip, habits_of, intents

IN_FLIGHT_MAX = 500  # orders of one market that wait for their answer
TRIES = 3  # of an order while its desk is busy
TROUBLE_S = 5.0
NOBODY = 999  # a number that no party has
DAY_BATCH = 64  # orders of a simulated day decided together
DAY_SLICES = 18  # or so many slices, three minutes, whichever is first

_TOO_MUCH = frozenset(
    {
        Decline.LIMIT_DAILY,
        Decline.LIMIT_MONTHLY,
        Decline.LIMIT_YEARLY,
        Decline.LIMIT_COUNT,
        Decline.AMOUNT_TOO_LARGE,
    }
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What is done about an intent: an order is asked for, or refused at the door with `refusal`."""

    ask: Ask
    refusal: Decline | None = None


class Player:
    """One market's people, deciding what they ask their desk for. Asks no clock and no chance."""

    def __init__(
        self, *, branch: Branch, people: Population, average: float, seed: int, run: str = ""
    ) -> None:
        """`run` tells the keys of one run's orders from those of another run of the same slices."""
        self.branch = branch
        self._people = people
        self._cast: Cast = cast_of(branch, people)
        self._habits = habits_of(branch.market, people, average=average)
        self._average = average
        self._seed = seed
        self._run = run

    def intents(self, number: int) -> list[Intent]:
        return intents(
            self.branch.market,
            self._people,
            self._habits,
            number=number,
            average=self._average,
            seed=self._seed,
        )

    def move(self, intent: Intent, *, key: str) -> Move:
        """Return what comes of an intent, as balances and ceilings stand now."""
        ask = self._ask(intent, intent.customer, key)
        match intent.slip:
            case Slip.PIN:
                return Move(ask=ask, refusal=Decline.PIN_WRONG)
            case Slip.RECKLESS | Slip.STRANGER:
                return Move(ask=ask)
            case Slip.NONE:
                pass
        for customer in (intent.customer, *intent.spares):
            tried = self._ask(intent, customer, key)
            answer = self._quote(tried)
            if isinstance(answer, Quote):
                return Move(ask=tried)
            if answer is Decline.NOT_ENOUGH:
                return Move(ask=self._topup(intent, customer, key))
            if answer not in _TOO_MUCH:
                return Move(ask=self._instead(tried, intent, customer, key, answer))
        return Move(ask=ask)

    def rebalancing(self, number: int) -> list[Ask]:
        """Return the orders that bring outlets and dealers back to the float they work with."""
        asks: list[Ask] = []
        for currency, mark in self._people.float_marks.items():
            for place, outlet in enumerate(self._cast.outlets):
                dealer = self._cast.dealers[self._people.outlets[place].dealer]
                has = self._float(outlet, Role.AGENT, currency)
                key = f"{number}-float-{place}"
                if has < mark // 3:
                    asks.append(self._transfer(dealer, outlet, mark, currency, key))
                elif has > 3 * mark:
                    asks.append(self._transfer(outlet, dealer, 2 * mark, currency, key))
            for place, dealer in enumerate(self._cast.dealers):
                if self._float(dealer, Role.DEALER, currency) < 2 * mark:
                    bank = f"{number}-bank-{place}-{currency}"
                    # The money has to be there before it is passed on: it goes first.
                    asks.insert(0, self._purchase(dealer, 6 * mark, currency, bank))
        return asks

    def _ask(self, intent: Intent, customer: int, key: str) -> Ask:
        """Return an intent as an order, with this customer on her side of it."""
        cast = self._cast
        person = cast.customers[customer]
        outlet = cast.outlets[intent.outlet]
        payer, payee, reference = person, SYSTEM, ""
        match intent.product:
            case "send_money":
                payee = cast.customers[intent.other]
                if payee == person:
                    payee = cast.customers[(intent.other + 1) % len(cast.customers)]
            case "deposit":
                payer, payee = outlet, person
            case "withdraw":
                payee = outlet
            case "pay_till":
                payee = cast.tills[intent.other]
            case "pay_bill":
                payee = cast.billers[intent.other]
                reference = f"A{1000 + customer}"
            case _:
                reference = self._people.customers[customer].party.phone
        if intent.slip is Slip.STRANGER:
            if intent.product == "airtime":
                reference = reference[: -len(REFUSED_ENDING)] + REFUSED_ENDING
            else:
                payee = NOBODY
        return self._made(
            intent.product, payer, payee, intent.amount, intent.currency, key,
            channel=intent.channel, reference=reference,
        )  # fmt: skip

    def _topup(self, intent: Intent, customer: int, key: str) -> Ask:
        """Return the deposit of somebody who has too little for what she meant to do."""
        outlet, person = self._cast.outlets[intent.outlet], self._cast.customers[customer]
        return self._made("deposit", outlet, person, intent.topup, intent.currency, key)

    def _instead(
        self, ask: Ask, intent: Intent, customer: int, key: str, answer: Decline | None
    ) -> Ask:
        """Return a withdrawal for a deposit that the wallet cannot hold; else the ask as it is."""
        if answer is not Decline.LIMIT_PAYEE_BALANCE or intent.product != "deposit":
            return ask
        outlet, person = self._cast.outlets[intent.outlet], self._cast.customers[customer]
        return self._made("withdraw", person, outlet, intent.amount, intent.currency, key)

    def _quote(self, ask: Ask) -> Quote | Decline:
        return self.branch.desk.quote(
            product=ask.product,
            payer=ask.payer,
            payee=ask.payee,
            amount=ask.amount,
            currency=ask.currency,
            reference=ask.reference or "-",
        )

    def _float(self, party: int, role: Role, currency: str) -> int:
        """Return an agent's float; of one who is not there any more as much as he needs."""
        if not party:
            return self._people.float_marks[currency]
        balances = self.branch.wallets.balances(Party(id=party, role=role, name=""))
        return next(b.available for b in balances if b.currency == currency)

    def _transfer(self, payer: int, payee: int, minor: int, currency: str, key: str) -> Ask:
        return self._made(
            "float_transfer", payer, payee, minor, currency, f"{key}-{currency}", channel="api"
        )

    def _purchase(self, dealer: int, minor: int, currency: str, bank: str) -> Ask:
        return self._made(
            "float_purchase", SYSTEM, dealer, minor, currency, bank, channel="api", reference=bank
        )

    def _made(
        self,
        product: str,
        payer: int,
        payee: int,
        amount: int,
        currency: str,
        key: str,
        *,
        channel: str = "ussd",
        reference: str = "",
    ) -> Ask:
        return Ask(
            client=CLIENT,
            key=f"{self._run}{key}",
            channel=channel,
            product=product,
            payer=payer,
            payee=payee,
            amount=amount,
            currency=currency,
            reference=reference,
        )


class Traffic:
    """Plays every market's people in the clock's time. Never holds more than it may in flight."""

    def __init__(
        self,
        *,
        branches: Mapping[str, Branch],
        populations: Mapping[str, Population],
        clock: Clock,
        scale: Mapping[str, float],
        seed: int,
    ) -> None:
        """`scale` is by market how many payments a second there are on average."""
        self._clock = clock
        self._began_us = to_micros(clock.now())
        self._players = [
            Player(
                branch=branch,
                people=populations[code],
                average=scale.get(code, 0.0),
                seed=seed,
                run=f"{self._began_us}-",
            )
            for code, branch in branches.items()
            if code in populations
        ]
        self._in_flight: dict[str, set[asyncio.Task[None]]] = {code: set() for code in branches}
        self.dropped = 0
        """Intents that were let go because too much was in flight already, or a desk stayed busy."""

    async def run(self) -> None:
        """Play until cancelled. A market's trouble does not stop the others."""
        await asyncio.gather(*(self._play(player) for player in self._players))

    async def close(self) -> None:
        """Stop waiting for answers. Orders that the desks have stay with them."""
        tasks = [task for tasks in self._in_flight.values() for task in tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _play(self, player: Player) -> None:
        number = self._began_us // SLICE_US - 1
        while True:
            now = to_micros(self._clock.now())
            # After a long sleep of the machine what was missed is not made up for.
            number = max(number + 1, now // SLICE_US)
            try:
                await self._slice(player, number)
            except Exception:
                log.exception("simulator.traffic.bug", market=player.branch.market.code)
                await self._clock.sleep(TROUBLE_S)

    async def _slice(self, player: Player, number: int) -> None:
        planned = player.intents(number)
        await self._until(number, 0.0)
        for ask in player.rebalancing(number):
            self._begin(player, Move(ask=ask))
        for place, intent in enumerate(planned):
            if not await self._until(number, intent.after_s):
                continue
            self._begin(player, player.move(intent, key=f"{number}-{place}"))
        await self._until(number, SLICE_S)

    async def _until(self, number: int, after_s: float) -> bool:
        """Wait for a moment of a slice; False where it was long ago."""
        moment_us = number * SLICE_US + round(after_s * 1_000_000)
        wait_s = (moment_us - to_micros(self._clock.now())) / 1_000_000
        if wait_s > 0:
            await self._clock.sleep(wait_s)
        return moment_us >= self._began_us and wait_s > -SLICE_S

    def _begin(self, player: Player, move: Move) -> None:
        if move.refusal is not None:
            player.branch.desk.refuse(move.ask, move.refusal)
            return
        tasks = self._in_flight[player.branch.market.code]
        if len(tasks) >= IN_FLIGHT_MAX:
            self.dropped += 1
            return
        task = asyncio.create_task(self._submit(player, move.ask))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _submit(self, player: Player, ask: Ask) -> None:
        """Ask the desk; come back a few times where it is busy, as people do."""
        market = player.branch.market.code
        for _ in range(TRIES):
            try:
                await player.branch.desk.submit(ask)
            except Busy as busy:
                await self._clock.sleep(busy.retry_after_s)
            except Unavailable:
                await self._clock.sleep(TROUBLE_S)
            except OutcomeUnknown as cause:
                log.warning("simulator.order.unknown", market=market, cause=str(cause))
                return
            except AssertionError as cause:  # the desk has logged it with its trace
                log.error("simulator.order.bug", market=market, cause=str(cause))  # noqa: TRY400
                return
            else:
                return
        self.dropped += 1


def play_day(
    branch: Branch,
    people: Population,
    *,
    day: date,
    per_second: float,
    seed: int,
    clock: ManualClock,
    step: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Play one of the market's days as fast as it goes and return what it came to.

    The clock is moved through the day. The same people, day, rate and seed write the same journal.
    `step` is told how many payments were asked for so far.
    """
    market = branch.market
    begins = to_micros(datetime.combine(day, time(0), market.zone))
    ends = to_micros(datetime.combine(day + timedelta(days=1), time(0), market.zone))
    assert to_micros(clock.now()) <= begins, "a clock does not run backwards"
    player = Player(branch=branch, people=people, average=per_second, seed=seed)
    tally = _Tally()
    waiting: list[tuple[str, Intent]] = []
    since = begins // SLICE_US
    for number in range(begins // SLICE_US, ends // SLICE_US):
        waiting += [(f"{number}-{n}", intent) for n, intent in enumerate(player.intents(number))]
        is_last = number + 1 == ends // SLICE_US
        if len(waiting) < DAY_BATCH and number - since < DAY_SLICES and not is_last:
            continue
        clock.advance(from_micros(number * SLICE_US) - clock.now())
        tally.add(_answered(player, number, waiting, tally))
        since, waiting = number, []
        step(tally.asked)
    tally.add(branch.desk.submit_now(tally.settling()))
    return tally.told(branch)


def _answered(
    player: Player, number: int, waiting: list[tuple[str, Intent]], tally: "_Tally"
) -> list[Order]:
    """Let the desk answer one batch: what partners say of the last one, float, then the people."""
    desk = player.branch.desk
    requests: list[Request] = [*tally.settling(), *player.rebalancing(number)]
    answers = []
    for key, intent in waiting:
        move = player.move(intent, key=key)
        if move.refusal is None:
            requests.append(move.ask)
        else:
            answers.append(desk.refuse(move.ask, move.refusal))
    return answers + desk.submit_now(requests)


class _Tally:
    """What a simulated day came to."""

    def __init__(self) -> None:
        self.asked = 0
        self._states: Counter[str] = Counter()
        self._products: Counter[str] = Counter()
        self._declines: Counter[str] = Counter()
        self._moved: Counter[str] = Counter()
        self._held: list[Order] = []

    def add(self, orders: list[Order]) -> None:
        for order in orders:
            if order.state is State.HELD:
                self._held.append(order)
                continue
            self.asked += 1
            self._states[order.state.value] += 1
            self._products[order.product] += 1
            if order.decline is not None:
                self._declines[order.decline.value] += 1
            if order.state is State.COMPLETED:
                self._moved[order.currency] += order.amount

    def settling(self) -> list[Settle]:
        """Return what the simulated network says of the orders that wait for it, each once."""
        held, self._held = self._held, []
        return [_settled(order) for order in held]

    def told(self, branch: Branch) -> dict[str, Any]:
        written = branch.market.written
        return {
            "payments": self.asked,
            "completed": self._states[State.COMPLETED.value],
            "refused": self._states[State.DECLINED.value],
            "failed": self._states[State.FAILED.value],
            **{f"moved {c}": written(Money(minor, c)) for c, minor in sorted(self._moved.items())},
            "by product": dict(sorted(self._products.items())),
            "refused because": dict(sorted(self._declines.items())),
        }


def _settled(order: Order) -> Settle:
    is_done = not order.reference.endswith(REFUSED_ENDING)
    decline = None if is_done else Decline.PARTNER_REFUSED
    return Settle(order=order.id, is_done=is_done, decline=decline)
