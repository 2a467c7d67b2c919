"""Drills: a fault is switched on, the centre must notice it by itself, and be calm again after.

The same drill runs from the command line on a clock of its own and from the console on the sandbox.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from umoja.clock import Clock
from umoja.ops.centre import Centre
from umoja.ops.incident import Incident
from umoja.simulator.faults import Faults

NOTICE_WITHIN_S = 60
LASTS_S = 60  # after it was noticed, so that there is an impact to tell
CLEAR_WITHIN_S = 240
STEP_S = 1.0

DETECTOR_OF = {"sms-route-dead": "sms_receipts"}
"""Which detector must find a fault. A fault without one has no drill yet."""

Tell = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drilled:
    """What a drill showed. Times are seconds of its clock; None where it did not happen."""

    fault: str
    market: str
    is_calm_before: bool
    noticed_after_s: float | None = None
    cleared_after_s: float | None = None
    opened: int = 0
    incident: Incident | None = None

    @property
    def is_passed(self) -> bool:
        return (
            self.is_calm_before
            and self.noticed_after_s is not None
            and self.noticed_after_s <= NOTICE_WITHIN_S
            and self.cleared_after_s is not None
            and self.opened == 1
        )


async def drill(
    *,
    centre: Centre,
    faults: Faults,
    market: str,
    fault: str,
    clock: Clock,
    tell: Tell = lambda _: None,
) -> Drilled:
    """Switch a fault on and off again and watch the centre. The fault is off when this returns."""
    detector = DETECTOR_OF[fault]

    def found() -> Incident | None:
        for incident in centre.incidents.open_ones():
            if incident.market == market and incident.detector == detector:
                return incident
        return None

    if found() is not None:
        tell("not calm: an incident of this kind is open already")
        return Drilled(fault=fault, market=market, is_calm_before=False)
    before = {incident.id for incident in centre.incidents.recent(limit=500, market=market)}
    tell(f"{fault} in {market}: switched on")
    began_s = clock.ticks_s()
    faults.switch(market, fault, is_on=True)
    try:
        incident = await _until(clock, found, within_s=CLEAR_WITHIN_S)
        noticed_s = clock.ticks_s() - began_s
        if incident is None:
            tell(f"nobody noticed within {CLEAR_WITHIN_S} s")
            return Drilled(fault=fault, market=market, is_calm_before=True)
        tell(f"noticed after {noticed_s:.0f} s: {incident.id} {incident.title}")
        await clock.sleep(LASTS_S)
    finally:
        faults.switch(market, fault, is_on=False)
    off_s = clock.ticks_s()
    tell("switched off")
    number = incident.id
    is_cleared = await _until(clock, lambda: found() is None or None, within_s=CLEAR_WITHIN_S)
    cleared_s = clock.ticks_s() - off_s if is_cleared else None
    tell(f"resolved after {cleared_s:.0f} s" if cleared_s is not None else "not resolved in time")
    after = centre.incidents.recent(limit=500, market=market)
    return Drilled(
        fault=fault,
        market=market,
        is_calm_before=True,
        noticed_after_s=noticed_s,
        cleared_after_s=cleared_s,
        opened=sum(1 for each in after if each.id not in before and each.detector == detector),
        incident=centre.incidents.get(number),
    )


async def _until(clock: Clock, look: Callable[[], T | None], *, within_s: float) -> T | None:
    """Look every second of the clock until there is something, or the time is over."""
    until_s = clock.ticks_s() + within_s
    while (found := look()) is None:
        if clock.ticks_s() >= until_s:
            return None
        await clock.sleep(STEP_S)
    return found
