"""Finds answers that are slow: at once, or a little more every hour.

Judged is the mean place in the latency histogram, whose buckets are half powers of two: one place
more is forty per cent slower. Each answer is held against what its own kind usually takes, a product
at a partner: a bank takes ten times as long as an own account, and a group with more banks in it than
a moment ago is not slower. What creeps is found against the same hour of the days before, so that an
evening's load, which comes every day, is none; and beside the rest of its market, so that a heavier
day, which all of it feels, is none: a leak is in one process.
"""

import numpy as np
import numpy.typing as npt

from umoja.ops.board import BUCKETS, PAY, TIMED, Array, Frame, Group, Key, Places
from umoja.ops.episodes import Back, Bounds, Sums
from umoja.ops.finding import Alarm
from umoja.ops.localise import smallest

SLOWER = 1.2  # buckets: half as slow again
TWICE = 2.0
MUCH = 3.2  # buckets: three times as long
NOISE = 3.0  # at least: the variance of one answer's bucket, with what answers have in common
NOISE_FIRST = 18.0
CAUTION = 1.5  # times what is seen: it is not quite the bell's curve
BESIDE_FAILURES = 1.2  # of that caution need not be where payments fail besides
ALARM_AT = 20.0
KIND_KNOWN = 20.0  # answers, before those of a kind are judged
KIND_SEEN = 2_000.0  # answers, after which what a kind takes is learned
KIND_OVER_S = 7 * 86_400.0  # and no more but slowly
BOUND = 40.0  # answers that one step may weigh
LEARNED_OVER_S = 3_600.0
HOUR_S = 3_600
HOURS_PART = 0.2  # of a new day in what is usual at an hour, once it is known
CREPT = 0.45  # buckets: a sixth slower than the hour is on other days
CREPT_STILL = 0.25
APART = 0.15  # buckets: five per cent slower than the rest of the market, against other days
APART_STILL = 0.08
STRAYS_FIRST = 0.03  # buckets that an hour apart strays by, until it is learned
STRAYS_PART = 0.05
SURE = 4.0  # standard errors
WARM = 300.0  # answers
TITLE = "Answers are slow"


class Kinds:
    """What answers of each kind usually take: of a product at a partner, in one market."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, str, str], int] = {}
        self._of: Places = np.zeros(0, np.int64)  # the kind of each key
        self._group: Places = np.zeros(
            0, np.int64
        )  # by kind: who must be calm for it to be learned
        self._usual: Array = np.zeros(0)
        self._seen: Array = np.zeros(0)

    def beyond(self, frame: Frame) -> tuple[Array, Array]:
        """Return each group's answers that can be judged, and their buckets beyond the usual."""
        self._grow(frame)
        timed, buckets = frame.by_key[:, TIMED], frame.by_key[:, BUCKETS]
        timed = np.where(self._seen[self._of] >= KIND_KNOWN, timed, 0.0)
        more = np.where(timed > 0, buckets - timed * self._usual[self._of], 0.0)
        summed = frame.summed(np.stack([timed, more], axis=1))
        return summed[:, 0], summed[:, 1]

    def learn(self, frame: Frame, is_calm: npt.NDArray[np.bool_]) -> None:
        """Learn from the kinds whose group is calm."""
        size = len(self._usual)
        timed = np.bincount(self._of, frame.by_key[:, TIMED], size)
        buckets = np.bincount(self._of, frame.by_key[:, BUCKETS], size)
        told = np.where(is_calm[self._group], timed, 0.0)
        self._seen += told
        part = np.maximum(
            told / np.clip(self._seen, 1.0, None) * (self._seen < KIND_SEEN),
            np.minimum(frame.step_s / KIND_OVER_S, told / KIND_SEEN),
        )
        self._usual += part * (buckets / np.maximum(timed, 1.0) - self._usual)

    def _grow(self, frame: Frame) -> None:
        fresh = frame.keys[len(self._of) :]
        if not fresh:
            return
        of = [self._places.setdefault(_kind(key), len(self._places)) for key in fresh]
        self._of = np.concatenate([self._of, np.array(of, np.int64)])
        kinds = list(self._places)[len(self._usual) :]
        self._group = np.concatenate(
            [self._group, np.array([_judge(frame, *kind) for kind in kinds], np.int64)]
        )
        self._usual = np.concatenate([self._usual, np.zeros(len(kinds))])
        self._seen = np.concatenate([self._seen, np.zeros(len(kinds))])


def _kind(key: Key) -> tuple[str, str, str]:
    return (key.market, key.product, key.partner) if key.flow == PAY else (key.market, "", "")


def _judge(frame: Frame, market: str, product: str, partner: str) -> int:
    """Return the place of the group that tells whether a kind's answers may be learned from."""
    wanted = [("vendor", partner), ("product", product), ("market", market)]
    found = (frame.places.get(Group(market, PAY, *each)) for each in wanted)
    return next((place for place in found if place is not None), 0)


class Latency:
    """The detector of all markets."""

    name = "latency"

    def __init__(self) -> None:
        self._kinds = Kinds()
        self._bounds = Bounds(alarm_at=ALARM_AT, few_less=0.0)
        self._much_bounds = Bounds(alarm_at=ALARM_AT)
        self._mean: Array = np.zeros(0)
        self._seen: Array = np.zeros(0)
        self._noise: Array = np.zeros(0)
        self._hours: Array = np.zeros((24, 0))  # the mean of each hour of the day, in UTC
        self._days: Array = np.zeros((24, 0))  # how many days each is made of
        self._hour: Array = np.zeros((2, 0))  # answers and their buckets in the running hour
        self._hour_s = 0
        # What the last step says of each group, in logarithms: that answers take twice as long, and
        # three times.
        self.gains: tuple[Array, Array] = np.zeros(0), np.zeros(0)
        self._sums = Sums()
        self._much = Sums()  # of answers that take three times as long
        self._back = Back()
        self._since: dict[str, int] = {}
        self._open: dict[str, Alarm] = {}
        self._creep: Array = np.zeros(0)  # how much slower the last hours were, hour for hour
        self._crept: dict[str, Alarm] = {}
        self._apart: Array = np.zeros(0)  # how much more so than the rest of the market
        self._strays: Array = np.zeros(0)  # the mean square of that in calm hours
        self._whole: Places = np.zeros(0, np.int64)  # the place of each group's market
        self._is_cell: npt.NDArray[np.bool_] = np.zeros(0, np.bool_)  # a cell is one process

    def look(self, frame: Frame) -> list[Alarm]:
        if not frame.step_s:
            return []
        timed, buckets = self._kinds.beyond(frame)
        size = len(timed)
        self._grow(frame)
        mean = buckets / np.maximum(timed, 1.0)
        weight = np.minimum(timed, BOUND)
        at = frame.now_s // HOUR_S % 24
        known = self._days[at] > 0
        self._turn(frame.now_s // HOUR_S)
        usual = np.where(known, np.maximum(self._mean, self._hours[at]), self._mean)
        over = mean - usual
        may_judge = frame.is_seen & (self._seen >= WARM)
        strays = np.clip(over, -4.0, 4.0)
        slower, twice, much = (
            np.where(may_judge, weight * (more * strays - more * more / 2) / self._noise, 0.0)
            for more in (SLOWER, TWICE, MUCH)
        )
        self._sums.grow(size)
        self.gains = BESIDE_FAILURES * twice, BESIDE_FAILURES * much
        bounds = self._bounds.of(frame, timed, frame.is_seen)
        self._sums.add(slower, frame.now_s, frame.step_s, bounds)
        self._much.grow(size)
        bounds = self._much_bounds.of(frame, timed, frame.is_seen)
        self._much.add(much, frame.now_s, frame.step_s, bounds)
        is_calm = (self._sums.sums < 3.0) & ~self._sums.is_loud & ~self._much.is_loud
        self._kinds.learn(frame, frame.is_seen & is_calm)
        may_learn = frame.is_seen & is_calm & (timed > 0)
        told = np.where(may_learn, timed, 0.0)
        self._seen += told
        part = np.maximum(
            told / np.maximum(self._seen, 1.0),
            frame.step_s / LEARNED_OVER_S * (told > 0) * np.minimum(1.0, told / 20.0),
        )
        self._mean += part * (mean - self._mean)
        # How far one answer strays, as this group shows it: banks beside own accounts stray far.
        strayed = CAUTION * weight * strays**2
        self._noise += np.where(
            may_learn & (self._seen > WARM / 4), 0.002 * (strayed - self._noise), 0.0
        )
        np.maximum(self._noise, NOISE, out=self._noise)
        self._hour += np.where(may_learn, np.stack([timed, buckets]), 0.0)
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
        slower = np.maximum(self._creep, self._apart)
        is_sure = (self._creep > CREPT) | (self._apart > APART)
        is_still = (self._creep > CREPT_STILL) | (self._apart > APART_STILL)
        for place in map(int, np.flatnonzero(is_still)):
            group = frame.groups[place]
            if group.flow == PAY and (group.market in self._crept or is_sure[place]):
                worst.setdefault(group.market, []).append(place)
        for gone in [market for market in self._crept if market not in worst]:
            del self._crept[gone]
        for market, places in worst.items():
            if market in self._crept or market in self._open:
                continue
            lost = np.maximum(slower, 0.0) * self._seen
            cause, place = smallest(frame, market, PAY, lost, self._seen, among=places, sure=places)
            times = 2 ** (float(slower[place]) / 2)
            self._crept[market] = Alarm(
                market=market,
                title="Answers get slower hour by hour",
                evidence=f"{times:.2f} times as long as at these hours before",
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
        apart, spread = self._beside(timed, more, told & (days > 0))
        kept = (self._apart + apart) / 2
        self._apart = np.where(kept > SURE * spread, kept, np.minimum(kept, APART_STILL))
        calm = (apart != 0.0) & (self._apart < APART_STILL)
        self._strays += np.where(calm, STRAYS_PART * (apart**2 - self._strays), 0.0)
        # What creeps is learned last: it would be usual before it is found.
        is_calm = (self._creep < CREPT_STILL) & (self._apart < APART_STILL)
        may = told & ((days == 0) | is_calm)
        part = np.maximum(1 / (days + 1), HOURS_PART)
        self._hours[ended] += np.where(may, part * (mean - self._hours[ended]), 0.0)
        self._days[ended] += may
        self._hour[:] = 0.0

    def _beside(
        self, timed: Array, more: Array, known: npt.NDArray[np.bool_]
    ) -> tuple[Array, Array]:
        """Return how much slower each cell was than the rest of its market, and how far that strays.

        `more` is how much slower than at this hour of other days; nought where nobody can tell.
        """
        rest = timed[self._whole] - timed
        can = self._is_cell & known & known[self._whole] & (rest > timed / 4)
        rest = np.where(can, rest, 1.0)
        of_rest = (timed[self._whole] * more[self._whole] - timed * more) / rest
        by_chance = self._noise * (1 / np.maximum(timed, 1.0) + 1 / rest)
        # Of a mean that takes half of each new hour, the square strays a third as far.
        spread = np.sqrt((by_chance + self._strays) / 3)
        return np.where(can, more - of_rest, 0.0), spread

    def _grow(self, frame: Frame) -> None:
        fresh = frame.groups[len(self._mean) :]
        more = len(fresh)
        if more > 0:
            blank = np.zeros(more)
            self._mean = np.concatenate([self._mean, blank])
            self._seen = np.concatenate([self._seen, blank])
            self._noise = np.concatenate([self._noise, np.full(more, NOISE_FIRST)])
            self._creep = np.concatenate([self._creep, blank])
            self._apart = np.concatenate([self._apart, blank])
            self._strays = np.concatenate([self._strays, np.full(more, STRAYS_FIRST**2)])
            whole = [
                frame.places[Group(group.market, group.flow, "market", group.market)]
                for group in fresh
            ]
            self._whole = np.concatenate([self._whole, np.array(whole, np.int64)])
            is_cell = np.array([group.kind == "cell" for group in fresh], np.bool_)
            self._is_cell = np.concatenate([self._is_cell, is_cell])
            days = np.zeros((24, more))
            self._hours = np.concatenate([self._hours, days], axis=1)
            self._days = np.concatenate([self._days, days], axis=1)
            self._hour = np.concatenate([self._hour, np.zeros((2, more))], axis=1)
