"""Finds fees that are not what the tariff in force says. A new tariff shifts both, a wrong one only one."""

import numpy as np

from umoja.ops.board import ATTEMPTS, FEE, FEE_DUE, PAY, Frame
from umoja.ops.episodes import Back
from umoja.ops.finding import Alarm
from umoja.ops.incident import Cause

WRONG = 0.02  # of the fees that are due
PAYMENTS = 2.0  # at least, before it is sure: a fee is right or wrong, chance has no part in it
QUIET_STEPS = 6


class TariffShift:
    """The detector of all markets."""

    name = "tariff_shift"

    def __init__(self) -> None:
        self._wrong: dict[int, list[float]] = {}  # payments, since, steps that were right
        self._back = Back()
        self._open: dict[int, Alarm] = {}

    def look(self, frame: Frame) -> list[Alarm]:
        counts = frame.counts
        due = counts[:, FEE_DUE]
        more = counts[:, FEE] - due
        is_wrong = (np.abs(more) > WRONG * due) & frame.is_seen
        value = np.where(is_wrong, np.abs(more), 0.0)
        tried = counts[:, ATTEMPTS]
        self._back.keep(
            frame.now_s, payments=np.where(is_wrong, tried, 0.0), minor=value, tried=tried
        )
        for place in {*map(int, np.flatnonzero(is_wrong)), *self._wrong}:
            group = frame.groups[place]
            if group.flow == PAY and group.kind == "product":
                self._see(place, frame, is_wrong=bool(is_wrong[place]), tried=float(tried[place]))
        for place in [place for place, kept in self._wrong.items() if kept[2] >= QUIET_STEPS]:
            del self._wrong[place]
            self._open.pop(place, None)
        return [
            self._alarm(frame, place) for place, kept in self._wrong.items() if kept[0] >= PAYMENTS
        ]

    def _see(self, place: int, frame: Frame, *, is_wrong: bool, tried: float) -> None:
        kept = self._wrong.get(place)
        if kept is None:
            if is_wrong:
                self._wrong[place] = [tried, frame.now_s - frame.step_s, 0.0, frame.now_s]
            return
        if kept[3] == frame.now_s:
            return
        kept[3] = frame.now_s
        if is_wrong:
            kept[0] += tried
            kept[2] = 0.0
        elif tried:
            kept[2] += 1

    def _alarm(self, frame: Frame, place: int) -> Alarm:
        first = self._open.get(place)
        began_s = int(self._wrong[place][1])
        since_s = frame.now_s - 1 if first else began_s
        payments, minor, tried = (float(each) for each in self._back.since(since_s)[:, place])
        group = frame.groups[place]
        alarm = Alarm(
            market=group.market,
            title="Fees are not what the tariff says",
            evidence=first.evidence if first else f"{payments:,.0f} of {tried:,.0f} fees are wrong",
            began_s=began_s,
            cause=Cause(kind="release", name=group.name, share_percent=100),
            payments=payments,
            minor=minor,
            product=group.name,
        )
        self._open.setdefault(place, alarm)
        return alarm
