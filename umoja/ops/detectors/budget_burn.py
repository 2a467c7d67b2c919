"""Finds a budget that burns so fast that it must page: slow leaks that an adaptive eye gets used to.

How fast a budget burns is told as a level once a minute, from the minutes that are kept, in two
windows together. One alarm an episode.
"""

from umoja.ops.board import ATTEMPTS, FAILED, PAY, REFUSED, UNCLEAR, VALUE, Frame, Group
from umoja.ops.episodes import Held
from umoja.ops.finding import Alarm
from umoja.ops.incident import Cause
from umoja.ops.objectives import BURN, objective_of

FOR_S = 10
TITLE = "An objective’s budget burns too fast"


class BudgetBurn:
    """The detector of all markets."""

    name = "budget_burn"

    def __init__(self) -> None:
        self._held = Held(for_s=FOR_S, clear_s=60)
        self._open: dict[tuple[str, str], Alarm] = {}

    def look(self, frame: Frame) -> list[Alarm]:
        said = []
        for (market, product), level in list(frame.gauges.get(BURN, {}).items()):
            key = (market, product)
            if market in frame.blind:
                continue
            began_s = self._held.see(key, frame.now_s, is_wrong=level >= 1)
            if began_s is None:
                self._open.pop(key, None)
                continue
            first = self._open.get(key)
            payments, minor = _lost(frame, market, product)
            alarm = Alarm(
                market=market,
                title=TITLE,
                evidence=first.evidence
                if first
                else f"at {level:.1f} times the pace that pages, in both windows",
                began_s=began_s,
                cause=Cause(kind="product", name=product, share_percent=100),
                payments=payments,
                minor=minor,
                product=product,
            )
            self._open.setdefault(key, alarm)
            said.append(alarm)
        return said


def _lost(frame: Frame, market: str, product: str) -> tuple[float, float]:
    """Return what a product lost in this step beyond what its objective allows."""
    place = frame.places.get(Group(market, PAY, "product", product))
    if place is None or place >= len(frame.counts):
        return 0.0, 0.0
    counts = frame.counts[place]
    tried = max(float(counts[ATTEMPTS] - counts[REFUSED]), 0.0)
    failed = min(float(counts[FAILED] + counts[UNCLEAR]), tried)
    lost = max(failed - tried * (1000 - objective_of(product)) / 1000, 0.0)
    return lost, lost * float(counts[VALUE]) / max(float(counts[ATTEMPTS]), 1.0)
