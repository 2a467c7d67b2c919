"""Finds a market that is not heard: blind, and never called good. A quiet night still has its beat."""

from umoja.ops.board import Frame
from umoja.ops.episodes import Held
from umoja.ops.finding import Alarm
from umoja.ops.incident import Cause

FOR_S = 15
TITLE = "Blind: the market is not heard"


class Silence:
    """The detector of all markets. A market that was never heard is not missed."""

    name = "silence"

    def __init__(self) -> None:
        self._held = Held(for_s=FOR_S, clear_s=20)
        self._known: set[str] = set()
        self._blind: set[str] = set()
        self._open: dict[str, Alarm] = {}
        self._last_s = 0

    def look(self, frame: Frame) -> list[Alarm]:
        said = []
        slept = self._last_s and frame.now_s - self._last_s > FOR_S  # we, and not the market
        self._last_s = frame.now_s
        self._known |= {market for market, heard_s in frame.blind.items() if heard_s}
        watched = self._known | set(self._open)
        for market in watched:
            is_blind = market in frame.blind and not slept
            began_s = self._held.see(market, frame.now_s, is_wrong=is_blind)
            if began_s is None:
                self._open.pop(market, None)
                continue
            if market not in self._open:
                heard_s = frame.blind.get(market, began_s)
                self._open[market] = Alarm(
                    market=market,
                    title=TITLE,
                    evidence=f"no sign of life for {frame.now_s - heard_s} s",
                    began_s=heard_s or began_s,
                    cause=Cause(kind="monitoring", name=market, share_percent=100),
                )
            said.append(self._open[market])
        return said
