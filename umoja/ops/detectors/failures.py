"""Finds payments that fail more than usual, and names the smallest thing that explains them.

Counts are judged and not ratios, against a share that is learned as it goes: an objective with a
fixed idea of usual cries wolf on every drifting day, one on ratios cries at night. What customers
cause themselves (refused) is not looked at.
"""

import numpy as np

from umoja.ops.board import ATTEMPTS, CALLBACK, FAILED, PAY, REFUSED, UNCLEAR, VALUE, Frame
from umoja.ops.episodes import Back, Sums
from umoja.ops.finding import Alarm
from umoja.ops.localise import smallest
from umoja.ops.shares import Shares

ALARM_AT = 20.0  # of the sums, in natural logarithms
HALF = 0.5
TITLE = "Payments fail more than usual"


class Failures:
    """The detector of all markets."""

    name = "failures"

    def __init__(self) -> None:
        self._shares = Shares(least=0.004)
        self._sums = Sums(alarm_at=ALARM_AT)
        self._worst = Sums(alarm_at=ALARM_AT)  # of half and more failing: five in a row are enough
        self._back = Back()
        self._open: dict[tuple[str, str], tuple[Alarm, int]] = {}
        self._since: dict[tuple[str, str], int] = {}
        self._wholes: dict[str, int] = {}
        self._size = 0

    def lost(self, market: str, since_s: int) -> tuple[float, float]:
        """Return the payments and the value that a market lost beyond the usual after a second."""
        place = self._wholes.get(market)
        if place is None:
            return 0.0, 0.0
        payments, minor, _ = self._back.since(since_s)[:, place]
        return float(payments), float(minor)

    def look(self, frame: Frame) -> list[Alarm]:
        counts = frame.counts
        tried = np.maximum(counts[:, ATTEMPTS] - counts[:, REFUSED], 0.0)
        failed = np.minimum(counts[:, FAILED] + counts[:, UNCLEAR], tried)
        sums = self._sums
        sums.grow(len(tried))
        usual, gains = self._shares.weigh(tried, failed)
        sums.add(np.where(frame.is_seen, gains, 0.0), frame.now_s, frame.step_s)
        self._worst.grow(len(tried))
        broken = failed * np.log(HALF / usual) + (tried - failed) * np.log(HALF / (1 - usual))
        self._worst.add(np.where(frame.is_seen, broken, 0.0), frame.now_s, frame.step_s)
        is_calm = (sums.sums < 3.0) & ~sums.is_loud & ~self._worst.is_loud
        self._shares.learn(tried, failed, is_calm & frame.is_seen)
        lost = failed - usual * tried
        mean = counts[:, VALUE] / np.maximum(counts[:, ATTEMPTS], 1.0)
        self._back.keep(frame.now_s, payments=lost, minor=lost * mean, tried=tried)
        if self._size < len(frame.groups):
            self._size = len(frame.groups)
            self._wholes = {
                group.market: place
                for group, place in frame.places.items()
                if group.flow == PAY and group.kind == "market"
            }
        return self._said(frame)

    def _said(self, frame: Frame) -> list[Alarm]:
        loud: dict[tuple[str, str], list[int]] = {}
        for place in sorted({*self._sums.loud(), *self._worst.loud()}):
            group = frame.groups[place]
            if group.flow in {PAY, CALLBACK}:
                loud.setdefault((group.market, group.flow), []).append(place)
        for gone in [key for key in self._since if key not in loud]:
            del self._since[gone]
            self._open.pop(gone, None)
        said = []
        for key, places in loud.items():
            self._since.setdefault(key, frame.now_s)
            if key in self._open:
                first, place = self._open[key]
                payments, minor, _ = self._back.since(frame.now_s - 1)[:, place]
                said.append(_again(first, float(payments), float(minor)))
            elif frame.now_s > self._since[key]:  # one step more, so that every series has its say
                said.append(self._first(frame, key, places))
        return said

    def _first(self, frame: Frame, key: tuple[str, str], places: list[int]) -> Alarm:
        market, flow = key
        began_s = min(
            int(sums.began_s[place])
            for sums in (self._sums, self._worst)
            for place in sums.loud()
            if place in places
        )
        back = self._back.since(began_s)
        cause, place = smallest(frame, market, flow, back[0], back[2], among=places)
        payments, minor, tried = (float(each) for each in back[:, place])
        alarm = Alarm(
            market=market,
            title=TITLE if flow == PAY else "Callbacks fail more than usual",
            evidence=f"{payments:,.0f} of {tried:,.0f} failed beyond the usual",
            began_s=began_s,
            cause=cause,
            payments=payments,
            minor=minor,
            product=cause.name if cause.kind == "product" else "",
        )
        self._open[key] = alarm, place
        return alarm


def _again(alarm: Alarm, payments: float, minor: float) -> Alarm:
    return Alarm(
        market=alarm.market,
        title=alarm.title,
        evidence=alarm.evidence,
        began_s=alarm.began_s,
        cause=alarm.cause,
        payments=payments,
        minor=minor,
        product=alarm.product,
    )
