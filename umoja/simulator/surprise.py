"""A surprise drill: a fault somewhere in the sandbox, and nobody is told which until it is over."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from random import Random

from umoja.clock import Clock
from umoja.console.sandbox import Surprise
from umoja.ops.centre import Centre
from umoja.ops.incident import Incident, Stage
from umoja.simulator.faults import Fault, Faults

BEGINS_AFTER_S = (20, 120)
LASTS_MOST_S = 900  # where nobody does anything about it
LOOK_EVERY_S = 1.0
SEEN_MAX = 500


class Surprises:
    """Chooses what goes wrong and where, and says so afterwards. One at a time."""

    def __init__(
        self,
        *,
        centre: Centre,
        faults: Faults,
        markets: Sequence[str],
        clock: Clock,
        random: Random,
    ) -> None:
        self._centre = centre
        self._faults = faults
        self._markets = sorted(markets)
        self._clock = clock
        self._random = random
        self._hidden: tuple[str, str] | None = None  # market and fault, while it is on
        self.last: Surprise | None = None

    def is_hidden(self, market: str, name: str) -> bool:
        """Tell whether a fault must not be shown as switched on: it is what people look for."""
        return self._hidden == (market, name)

    async def run(self) -> None:
        """Play one, to its end: until its incident is mitigated, or for a quarter of an hour.

        The fault is off when this returns, also where it is cancelled. Where nothing is left that could
        go wrong, `last` names no market.
        """
        chosen = self._chosen()
        if chosen is None:
            self.last = Surprise(is_running=False)
            return
        market, fault = chosen
        self.last = Surprise(is_running=True)
        told = Surprise(is_running=False, market=market, title=fault.title)
        began: datetime | None = None
        known: set[str] = set()
        try:
            await self._clock.sleep(self._random.randint(*BEGINS_AFTER_S))
            known = {each.id for each in self._of(market)}
            began = self._clock.now()
            self._hidden = (market, fault.name)
            self._faults.switch(market, fault.name, is_on=True)
            until_s = self._clock.ticks_s() + LASTS_MOST_S
            while self._clock.ticks_s() < until_s and not self._is_dealt_with(market, known):
                await self._clock.sleep(LOOK_EVERY_S)
        finally:
            self._faults.switch(market, fault.name, is_on=False)
            self._hidden = None
            found = None if began is None else self._found(market, known)
            self.last = told if began is None else _told(told, began, found)

    def _chosen(self) -> tuple[str, Fault] | None:
        """Choose among what is not switched on already; None where everything is."""
        off = [
            (market, fault)
            for market in self._markets
            for fault in self._faults.list(market)
            if not self._faults.is_on(market, fault.name)
        ]
        return self._random.choice(off) if off else None

    def _of(self, market: str) -> list[Incident]:
        return self._centre.incidents.recent(limit=SEEN_MAX, market=market)

    def _found(self, market: str, known: set[str]) -> Incident | None:
        """Return the first incident of the market since the fault began."""
        fresh = [each for each in self._of(market) if each.id not in known and not each.parent]
        return min(fresh, key=lambda each: each.opened_at, default=None)

    def _is_dealt_with(self, market: str, known: set[str]) -> bool:
        found = self._found(market, known)
        return found is not None and (
            found.mitigated_at is not None or found.stage in {Stage.RESOLVED, Stage.REVIEWED}
        )


def _told(told: Surprise, began: datetime, found: Incident | None) -> Surprise:
    if found is None:
        return replace(told, began_at=began)

    def after_s(at: datetime | None) -> int | None:
        return None if at is None else max(0, round((at - began).total_seconds()))

    return replace(
        told,
        began_at=began,
        incident=found.id,
        found_s=after_s(found.opened_at),
        acknowledged_s=after_s(found.acknowledged_at),
        mitigated_s=after_s(found.mitigated_at or found.resolved_at),
    )
