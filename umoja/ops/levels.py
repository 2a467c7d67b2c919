"""Levels: the shape of a detector that compares what was told as a level with a bound."""

from collections.abc import Callable

from umoja.ops.board import Frame
from umoja.ops.episodes import Held
from umoja.ops.finding import Alarm
from umoja.ops.incident import Cause


class Levels:
    """Judges one gauge of every market; one alarm an episode of each subject."""

    def __init__(
        self,
        *,
        name: str,
        title: str,
        gauge: str,
        cause_kind: str,
        is_wrong: Callable[[float], bool],
        says: str,
        for_s: int,
        clear_s: int = 60,
        since: Callable[[float], int] = lambda _: 0,
    ) -> None:
        """`says` is a format for the level; `since` tells how long a level has been wrong already."""
        self.name = name
        self._title, self.gauge, self._cause_kind = title, gauge, cause_kind
        self._is_wrong, self._says, self._since = is_wrong, says, since
        self._held = Held(for_s=for_s, clear_s=clear_s)
        self._open: dict[tuple[str, str], Alarm] = {}

    def is_off(self, _: tuple[str, str], level: float) -> bool:
        """Tell whether the level of a market's something is wrong."""
        return self._is_wrong(level)

    def look(self, frame: Frame) -> list[Alarm]:
        said = []
        for key, level in list(frame.gauges.get(self.gauge, {}).items()):
            market, of = key
            is_wrong = self.is_off(key, level)
            if not (is_wrong or self._held.knows(key)) or market in frame.blind:
                continue
            began_s = self._held.see(key, frame.now_s, is_wrong=is_wrong)
            if began_s is None:
                self._open.pop(key, None)
                continue
            if key not in self._open:
                self._open[key] = Alarm(
                    market=market,
                    title=self._title,
                    evidence=self._says.format(level),
                    began_s=began_s - self._since(level),
                    cause=Cause(kind=self._cause_kind, name=of or market, share_percent=100),
                )
            said.append(self._open[key])
        return said
