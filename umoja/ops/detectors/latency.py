"""Finds answers that are slow: at once, or a little more every hour.

Judged is the mean place in the latency histogram, whose buckets are half powers of two: one place
more is forty per cent slower. What creeps is found against the same hour of the days before, so that
an evening's load, which comes every day, is none.
"""

import numpy as np

from umoja.ops.board import BUCKETS, PAY, TIMED, Array, Frame
from umoja.ops.episodes import Back, Sums
from umoja.ops.finding import Alarm
from umoja.ops.localise import smallest

SLOWER = 1.2  # buckets: half as slow again
MUCH = 3.2  # buckets: three times as long
NOISE = 6.0  # the variance of one answer's bucket, with what answers have in common
BOUND = 40.0  # answers that one step may weigh
LEARNED_OVER_S = 3_600.0
HOUR_S = 3_600
HOURS_PART = 0.2  # of a new day in what is usual at an hour, once it is known
CREPT = 0.45  # buckets: a sixth slower than the hour is on other days
CREPT_STILL = 0.25
SURE = 4.0  # standard errors
WARM = 300.0  # answers
TITLE = "Answers are slow"


class Latency:
    """The detector of all markets."""

    name = "latency"

    def __init__(self) -> None:
        self._mean: Array = np.zeros(0)
        self._seen: Array = np.zeros(0)
        self._noise: Array = np.zeros(0)
        self._hours: Array = np.zeros((24, 0))  # the mean of each hour of the day, in UTC
        self._days: Array = np.zeros((24, 0))  # how many days each is made of
        self._hour: Array = np.zeros((2, 0))  # answers and their buckets in the running hour
        self._hour_s = 0
        self.gains: Array = np.zeros(0)  # what the last step says of each group, in logarithms
        self._sums = Sums()
        self._much = Sums()  # of answers that take three times as long
        self._back = Back()
        self._since: dict[str, int] = {}
        self._open: dict[str, Alarm] = {}
        self._creep: Array = np.zeros(0)  # how much slower the last hours were, hour for hour
        self._crept: dict[str, Alarm] = {}

    def look(self, frame: Frame) -> list[Alarm]:
        timed = frame.counts[:, TIMED]
        size = len(timed)
        if not frame.step_s:
            return []
        self._grow(size)
        mean = frame.counts[:, BUCKETS] / np.maximum(timed, 1.0)
        weight = np.minimum(timed, BOUND)
        at = frame.now_s // HOUR_S % 24
        known = self._days[at] > 0
        self._turn(frame.now_s // HOUR_S)
        usual = np.where(known, np.maximum(self._mean, self._hours[at]), self._mean)
        over = mean - usual
        gains = weight * (SLOWER * np.clip(over, -4.0, 4.0) - SLOWER * SLOWER / 2) / self._noise
        may_judge = frame.is_seen & (self._seen >= WARM)
        self._sums.grow(size)
        self.gains = np.where(may_judge, gains, 0.0)
        self._sums.add(self.gains, frame.now_s, frame.step_s)
        self._much.grow(size)
        much = weight * (MUCH * np.clip(over, -4.0, 4.0) - MUCH * MUCH / 2) / self._noise
        self._much.add(np.where(may_judge, much, 0.0), frame.now_s, frame.step_s)
        is_calm = (self._sums.sums < 3.0) & ~self._sums.is_loud & ~self._much.is_loud
        may_learn = frame.is_seen & is_calm & (timed > 0)
        told = np.where(may_learn, timed, 0.0)
        self._seen += told
        part = np.maximum(
            told / np.maximum(self._seen, 1.0),
            frame.step_s / LEARNED_OVER_S * (told > 0) * np.minimum(1.0, told / 20.0),
        )
        self._mean += part * (mean - self._mean)
        # How far one answer strays, as this group shows it: banks beside own accounts stray far.
        strays = 1.5 * weight * np.clip(over, -4.0, 4.0) ** 2
        self._noise += np.where(
            may_learn & (self._seen > WARM / 4), 0.002 * (strays - self._noise), 0.0
        )
        np.maximum(self._noise, NOISE, out=self._noise)
        self._hour += np.where(may_learn, np.stack([timed, frame.counts[:, BUCKETS]]), 0.0)
        # What is slow is lost in time and not in money: its weight only says where it is.
        self._back.keep(frame.now_s, payments=over * timed, minor=np.zeros(size), tried=timed)
        return [*self._said(frame), *self._creeps(frame)]

    def _said(self, frame: Frame) -> list[Alarm]:
        loud: dict[str, list[int]] = {}
        for place in sorted({*self._sums.loud(), *self._much.loud()}):
            if frame.groups[place].flow == PAY:
                loud.setdefault(frame.groups[place].market, []).append(place)
        for gone in [market for market in self._since if market not in loud]:
            del self._since[gone]
            self._open.pop(gone, None)
        said = []
        for market, places in loud.items():
            self._since.setdefault(market, frame.now_s)
            if market not in self._open and frame.now_s > self._since[market]:
                began_s = min(
                    int(sums.began_s[place])
                    for sums in (self._sums, self._much)
                    for place in sums.loud()
                    if place in places
                )
                back = self._back.since(began_s)
                likely = [
                    at
                    for at in {*self._sums.likely(), *self._much.likely()}
                    if frame.groups[at].market == market and frame.groups[at].flow == PAY
                ]
                cause, place = smallest(
                    frame, market, PAY, back[0], back[2], among=likely, sure=places
                )
                slower = 2 ** (float(back[0, place] / max(back[2, place], 1.0)) / 2)
                self._open[market] = Alarm(
                    market=market,
                    title=TITLE,
                    evidence=f"answers take {slower:.1f} times as long as usual",
                    began_s=began_s,
                    cause=cause,
                    product=cause.name if cause.kind == "product" else "",
                )
            if market in self._open:
                said.append(self._open[market])
        return said

    def _creeps(self, frame: Frame) -> list[Alarm]:
        worst: dict[str, list[int]] = {}
        for place in map(int, np.flatnonzero(self._creep > CREPT_STILL)):
            group = frame.groups[place]
            if group.flow == PAY and (group.market in self._crept or self._creep[place] > CREPT):
                worst.setdefault(group.market, []).append(place)
        for gone in [market for market in self._crept if market not in worst]:
            del self._crept[gone]
        for market, places in worst.items():
            if market in self._crept or market in self._open:
                continue
            lost = np.maximum(self._creep, 0.0) * self._seen
            cause, place = smallest(frame, market, PAY, lost, self._seen, among=places, sure=places)
            slower = 2 ** (float(self._creep[place]) / 2)
            self._crept[market] = Alarm(
                market=market,
                title="Answers get slower hour by hour",
                evidence=f"{slower:.2f} times as long as at these hours before",
                began_s=frame.now_s - 2 * HOUR_S,
                cause=cause,
            )
        return [alarm for market, alarm in self._crept.items() if market not in self._open]

    def _turn(self, hour: int) -> None:
        """Take the hour that has ended into what is usual at it."""
        if hour == self._hour_s:
            return
        ended, self._hour_s = self._hour_s % 24, hour
        timed, buckets = self._hour
        told = timed >= WARM / 4
        mean = buckets / np.maximum(timed, 1.0)
        days = self._days[ended]
        more = np.where(told & (days > 0), mean - self._hours[ended], 0.0)
        sure = SURE * np.sqrt(self._noise / np.maximum(timed, 1.0))
        kept = np.where(told & (days > 0), (self._creep + more) / 2, self._creep / 2)
        self._creep = np.where(kept > sure, kept, np.minimum(kept, CREPT_STILL))
        # What creeps is learned last: it would be usual before it is found.
        may = told & ((days == 0) | (self._creep < CREPT_STILL))
        part = np.maximum(1 / (days + 1), HOURS_PART)
        self._hours[ended] += np.where(may, part * (mean - self._hours[ended]), 0.0)
        self._days[ended] += may
        self._hour[:] = 0.0

    def _grow(self, size: int) -> None:
        more = size - len(self._mean)
        if more > 0:
            blank = np.zeros(more)
            self._mean = np.concatenate([self._mean, blank])
            self._seen = np.concatenate([self._seen, blank])
            self._noise = np.concatenate([self._noise, np.full(more, 3 * NOISE)])
            self._creep = np.concatenate([self._creep, blank])
            days = np.zeros((24, more))
            self._hours = np.concatenate([self._hours, days], axis=1)
            self._days = np.concatenate([self._days, days], axis=1)
            self._hour = np.concatenate([self._hour, np.zeros((2, more))], axis=1)
