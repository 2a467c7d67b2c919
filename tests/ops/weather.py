"""Weather for detectors: seeded payments and their messages, on calm days and on bad ones."""

import heapq
from collections.abc import Callable
from datetime import timedelta
from random import Random

from tests.ops.conftest import MARKETS, gauge, message, order
from umoja.clock import ManualClock
from umoja.ops.centre import Centre

LOOK_EVERY_S = 5
GIVEN_UP_AFTER_S = 30.0  # as the receipts' carrier does
CUSTOMERS = 300


class Weather:
    """One market's payments, two messages each, a second at a time on a manual clock."""

    def __init__(
        self,
        centre: Centre,
        clock: ManualClock,
        *,
        per_second: float,
        seed: int,
        lost_permille: int = 10,
        market: str = "KE",
        currency: str = "KES",
    ) -> None:
        self.centre = centre
        self.clock = clock
        self.per_second = per_second
        self.lost_permille = lost_permille
        self.is_dead = False
        self.slow_s = 0.0
        self.market = market
        self.currency = currency
        self.harmed: list[tuple[int, int]] = []  # payer and value of payments without a receipt
        self.seconds = 0
        self._random = Random(seed)
        self._later: list[tuple[float, int, str, float, dict[str, object]]] = []
        self._paid = self._told = 0

    def run(self, seconds: int, *, until: Callable[[], bool] = lambda: False) -> int:
        """Let time pass, at most so long; return after how many seconds `until` was true."""
        for second in range(1, seconds + 1):
            for _ in range(self._poisson(self.per_second)):
                self.pay()
            self._step()
            if until():
                return second
        return seconds

    def pay(self) -> None:
        self._paid += 1
        payer, minor = self._random.randrange(CUSTOMERS), self._random.randrange(1, 50_000)
        product = self._random.choice(["send_money", "deposit", "withdraw"])
        what = {"market": self.market, "currency": self.currency, "product": product,
                "value_minor": minor, "payer_mark": payer}  # fmt: skip
        self.centre.telemetry.hear(order(self.clock, **what))
        for _ in range(2):
            self._text(order_mark=self._paid, **what)
        if self.is_dead:
            self.harmed.append((payer, minor))

    def blast(self, count: int, *, within_s: float) -> None:
        """Send many messages at once that all arrive, some of them after a while in a queue."""
        for _ in range(count):
            self._tell("sent", waited_s=0.0)
            self._arrive(self._random.uniform(0.5, within_s))

    def open(self) -> bool:
        return bool(self.centre.incidents.open_ones())

    def _text(self, **what: object) -> None:
        if self.is_dead:
            self._tell("failed", waited_s=0.0, **what)
            return
        self._tell("sent", waited_s=0.1, **what)
        if self._random.randrange(1000) < self.lost_permille:
            self._after(GIVEN_UP_AFTER_S, "failed", **what)
        else:
            self._arrive(self._random.uniform(0.5, 3.0) + self.slow_s, **what)

    def _arrive(self, waited_s: float, **what: object) -> None:
        if waited_s > GIVEN_UP_AFTER_S:
            self._after(GIVEN_UP_AFTER_S, "failed", **what)
        self._after(waited_s, "delivered", **what)

    def _tell(self, state: str, **what: object) -> None:
        self.centre.telemetry.hear(message(self.clock, state, **({"market": self.market} | what)))

    def _after(self, waited_s: float, state: str, **what: object) -> None:
        self._told += 1
        heapq.heappush(
            self._later, (self.clock.ticks_s() + waited_s, self._told, state, waited_s, what)
        )

    def _step(self) -> None:
        self.clock.advance(timedelta(seconds=1))
        self.seconds += 1
        while self._later and self._later[0][0] <= self.clock.ticks_s():
            _, _, state, waited_s, what = heapq.heappop(self._later)
            self._tell(state, waited_s=waited_s, **what)
        if self.seconds % LOOK_EVERY_S == 0:
            gauge(self.centre, *MARKETS)
            self.centre.watch.look()

    def _poisson(self, mean: float) -> int:
        count, left = 0, self._random.expovariate(1)
        while left < mean:
            count += 1
            left += self._random.expovariate(1)
        return count
