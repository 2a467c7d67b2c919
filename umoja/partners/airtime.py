"""A network that sells airtime: simulated, because no telecom network can be had here."""

from collections import OrderedDict
from random import Random

from umoja.clock import Clock
from umoja.faults import OutcomeUnknown, Unavailable
from umoja.payments.ports import TopUp

DELAY_MS = (200, 1500)
REMEMBERED_MAX = 100_000
REFUSED_ENDING = "000"


class SimulatedAirtime:
    """Tops up phones that nobody holds: implements payments.ports.AirtimePartner.

    Numbers that end in 000 are refused. It remembers the last hundred thousand orders; an order
    older than those is forgotten, and would be topped up again. So would be one from before a restart:
    what it knows lives as long as the process.
    """

    def __init__(self, *, name: str, clock: Clock, seed: str) -> None:
        self.name = name
        self.is_dead = False  # answers nobody, tops up nobody
        self.slow_s = 0.0  # seconds more until it answers
        self.loses_answers_permille = 0  # of orders: topped up, but the answer never arrives
        self._clock = clock
        self._random = Random(f"{seed}.airtime")  # noqa: S311  play, not secrets
        self._outcomes: OrderedDict[str, TopUp] = OrderedDict()
        self._sold: dict[str, int] = {}

    async def top_up(self, *, order_id: str, phone: str, minor: int, currency: str) -> TopUp:
        """Top up a phone, once an order. Raise Unavailable or OutcomeUnknown as faults are set."""
        pause_ms = self._random.randint(*DELAY_MS)
        is_lost = self._random.randrange(1000) < self.loses_answers_permille
        self._require_alive()
        await self._clock.sleep(pause_ms / 1000 + self.slow_s)
        self._require_alive()
        outcome = self._outcomes.get(order_id)
        if outcome is None:
            outcome = TopUp.REFUSED if phone.endswith(REFUSED_ENDING) else TopUp.DONE
            self._remember(order_id, outcome)
            if outcome is TopUp.DONE:
                self._sold[currency] = self._sold.get(currency, 0) + minor
        if is_lost:
            raise OutcomeUnknown(f"{self.name} did not answer")
        return outcome

    async def ask(self, order_id: str) -> TopUp | None:
        """Return what became of an order, None where it is not known. Raise Unavailable."""
        self._require_alive()
        await self._clock.sleep(DELAY_MS[0] / 1000)
        self._require_alive()
        return self._outcomes.get(order_id)

    async def echo(self) -> None:
        """Answer. Raise Unavailable or OutcomeUnknown as faults are set."""
        is_lost = self._random.randrange(1000) < self.loses_answers_permille
        self._require_alive()
        await self._clock.sleep(DELAY_MS[0] / 1000 + self.slow_s)
        self._require_alive()
        if is_lost:
            raise OutcomeUnknown(f"{self.name} did not answer")

    def sold_minor(self, currency: str) -> int:
        """Return what was topped up since the start, in minor units."""
        return self._sold.get(currency, 0)

    def _require_alive(self) -> None:
        if self.is_dead:
            raise Unavailable(f"{self.name} does not answer")

    def _remember(self, order_id: str, outcome: TopUp) -> None:
        self._outcomes[order_id] = outcome
        while len(self._outcomes) > REMEMBERED_MAX:
            self._outcomes.popitem(last=False)
