"""Finds agents that run out of float: far fewer than usual can serve a usual deposit.

What is usual is learned over a day, so that a market with many sleeping agents is none in trouble;
cash-in of a holiday takes a tenth of them and is no drought.
"""

from umoja.ops.board import Frame
from umoja.ops.finding import Alarm
from umoja.ops.levels import Levels

LEFT = 0.82  # of the agents that usually can serve, at least
LEARNED_OVER_S = 86_400.0
WARM_S = 1_800.0  # at first a level is believed sooner


class FloatDrought(Levels):
    """The detector of all markets."""

    def __init__(self) -> None:
        super().__init__(
            name="float_drought",
            title="Agents run out of float",
            gauge="agents_able_permille",
            cause_kind="district",
            is_wrong=lambda _: False,
            says="only {:,.0f} permille of the agents can serve",
            for_s=20,
            clear_s=300,
        )
        self._usual: dict[tuple[str, str], tuple[float, float]] = {}  # level, seconds learned

    def look(self, frame: Frame) -> list[Alarm]:
        """Judge one step, and learn from what is not wrong in it."""
        found = super().look(frame)
        for key, level in list(frame.gauges.get(self.gauge, {}).items()):
            if key[0] in frame.blind or self.is_off(key, level):
                continue
            usual, learned_s = self._usual.get(key, (level, 0.0))
            learned_s = min(learned_s + frame.step_s, LEARNED_OVER_S)
            usual += frame.step_s / max(learned_s, WARM_S) * (level - usual)
            self._usual[key] = usual, learned_s
        return found

    def is_off(self, key: tuple[str, str], level: float) -> bool:
        """Tell whether a level is far below what is usual there; the first half hour only learns."""
        usual, learned_s = self._usual.get(key, (level, 0.0))
        return learned_s >= WARM_S and level < LEFT * usual
