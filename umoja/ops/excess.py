"""Excess: the shape of a detector that finds too many of one kind among a flow's counts."""

from collections.abc import Collection

import numpy as np

from umoja.ops.board import ATTEMPTS, VALUE, Frame
from umoja.ops.episodes import Back, Bounds, Sums
from umoja.ops.finding import Alarm
from umoja.ops.incident import Cause
from umoja.ops.shares import Shares

ALARM_AT = 17.5  # where there is one count a second: one kind of group of one flow is judged


class Excess:
    """Judges one column against the attempts, group by group; one alarm an episode."""

    def __init__(
        self,
        *,
        name: str,
        title: str,
        what: str,
        flow: str,
        kinds: Collection[str],
        column: int,
        cause_kind: str = "",
        shares: Shares,
        much: float,
        alarm_at: float = ALARM_AT,
        is_lost: bool = False,
    ) -> None:
        """`much` is a share that is far beyond the usual.

        `is_lost`: what is found is money in danger, to be counted in the incident's price.
        """
        self.name = name
        self._title, self._what = title, what
        self._flow, self._kinds = flow, frozenset(kinds)
        self._column, self._cause_kind = column, cause_kind
        self._shares = shares
        self._is_lost = is_lost
        self._sums = Sums()
        self._more = Sums()  # of a share that is far beyond the usual: fewer counts are enough
        self._much = much
        self._bounds = Bounds(alarm_at=alarm_at, few_less=0.0)
        self._back = Back()
        self._open: dict[int, Alarm] = {}

    def look(self, frame: Frame) -> list[Alarm]:
        tried = frame.counts[:, ATTEMPTS]
        found = np.minimum(frame.counts[:, self._column], tried)
        sums = self._sums
        sums.grow(len(tried))
        _, gains = self._shares.weigh(tried, found)
        bounds = self._bounds.of(frame, tried, frame.is_seen)
        sums.add(np.where(frame.is_seen, gains, 0.0), frame.now_s, frame.step_s, bounds)
        more = self._shares.against(tried, found, self._much)
        self._more.grow(len(tried))
        self._more.add(np.where(frame.is_seen, more, 0.0), frame.now_s, frame.step_s, bounds)
        is_calm = (sums.sums < 3.0) & ~sums.is_loud & ~self._more.is_loud
        self._shares.learn(tried, found, is_calm & frame.is_seen)
        more = found - self._shares.typical * tried
        mean = frame.counts[:, VALUE] / np.maximum(tried, 1.0)
        self._back.keep(frame.now_s, payments=more, minor=more * mean, tried=tried)
        loud = {
            place
            for place in {*sums.loud(), *self._more.loud()}
            if frame.groups[place].flow == self._flow and frame.groups[place].kind in self._kinds
        }
        for place in [place for place in self._open if place not in loud]:
            del self._open[place]
        return [self._alarm(frame, place) for place in sorted(loud)]

    def _began_s(self, place: int) -> int:
        return min(
            int(sums.began_s[place]) for sums in (self._sums, self._more) if sums.is_loud[place]
        )

    def _alarm(self, frame: Frame, place: int) -> Alarm:
        first = self._open.get(place)
        began_s = first.began_s if first else self._began_s(place)
        since_s = frame.now_s - 1 if first else began_s
        payments, minor, tried = (float(each) for each in self._back.since(since_s)[:, place])
        group = frame.groups[place]
        evidence = first.evidence if first else f"{payments:,.0f} of {tried:,.0f} {self._what}"
        alarm = Alarm(
            market=group.market,
            title=self._title,
            evidence=evidence,
            began_s=began_s,
            cause=Cause(kind=self._cause_kind or group.kind, name=group.name, share_percent=100),
            payments=max(payments, 0.0) if self._is_lost else 0.0,
            minor=max(minor, 0.0) if self._is_lost else 0.0,
            product=group.name if group.kind == "product" else "",
        )
        self._open.setdefault(place, alarm)
        return alarm
