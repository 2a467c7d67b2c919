"""Finds payments and sessions that do not come: an outage in which nothing fails.

What is expected follows the market's day (season, payday, holidays, in its local time) where the
centre knows it, at a level that is learned; a dip to six tenths is a quiet day and no alarm.
"""

from math import log

import numpy as np

from umoja.ops.board import ATTEMPTS, PAY, SESSION, VALUE, Array, Frame, Group, Places
from umoja.ops.episodes import Back, Sums
from umoja.ops.finding import Alarm
from umoja.ops.incident import Cause

LOST = 0.15  # of the expected that still comes is called an outage
BOUND = 20.0  # expected payments that one step may weigh: two steps at least
LEARNED_OVER_S = 7_200.0
LEARNED_OVER = 400.0  # payments
LEARNS_BELOW = 8.0  # of the sum: who learns from good steps only believes in more than comes
NEAR_S = 400.0  # what is lost is priced at the level of these last minutes
NEAR = 200.0  # payments, of which the level of the last minutes is half believed
BESIDE = 100.0  # payments of the other channels, of which their level is half believed
WARM = 400.0  # expected payments before a group is judged
ALARM_AT = 22.0
GONE = 0.02  # of the expected that still comes: nothing does, and sooner that is sure
GONE_AT = 17.0
TITLE = "Payments do not come"


class Volume:
    """The detector of all markets."""

    name = "volume"

    def __init__(self) -> None:
        self._came: Array = np.zeros(0)
        self._usual: Array = np.zeros(0)
        self._seen: Array = np.zeros(0)
        self._mean: Array = np.zeros(0)
        self._near: Array = np.zeros((2, 0))  # what came in the last minutes, and what was expected
        self._usual_now: Array = np.zeros(0)
        self._expected: dict[str, float] = {}
        self._sums = Sums(alarm_at=ALARM_AT)
        self._gone = Sums(alarm_at=GONE_AT)
        self._doors: list[tuple[int, Places]] = []  # a market's place, and by what it is entered
        self._back = Back()
        self._since: dict[str, int] = {}
        self._open: dict[str, tuple[Alarm, int]] = {}

    def look(self, frame: Frame) -> list[Alarm]:
        counts = frame.counts
        size = len(counts)
        if not frame.step_s:
            return []
        self._grow(size)
        usual = self._curve(frame) * frame.step_s
        level = self._came / np.maximum(self._usual, 1e-9)
        expected = level * usual
        weight = np.minimum(1.0, BOUND / np.maximum(expected, 1e-9))
        gains = weight * (counts[:, ATTEMPTS] * log(LOST) + expected * (1 - LOST))
        may_judge = frame.is_seen & (self._seen >= WARM)
        self._sums.grow(size)
        self._sums.add(np.where(may_judge, gains, 0.0), frame.now_s, frame.step_s)
        self._gone.grow(size)
        once = np.minimum(weight, BOUND / 2 / np.maximum(expected, 1e-9))  # never in one step
        came, due = self._entered(counts[:, ATTEMPTS], expected)
        gone = once * (came * log(GONE) + due * (1 - GONE))
        self._gone.add(np.where(may_judge, gone, 0.0), frame.now_s, frame.step_s)
        is_loud = self._sums.is_loud | self._gone.is_loud
        may_learn = frame.is_seen & (self._sums.sums < LEARNS_BELOW) & ~is_loud
        if self._since:  # of a market with a part that is cut off the whole is not usual either
            may_learn &= np.array(
                [group.market not in self._since for group in frame.groups], np.bool_
            )
        # What comes against the day's curve, over two hours; over longer where little comes.
        kept = 1 - np.minimum(frame.step_s / LEARNED_OVER_S, expected / LEARNED_OVER)
        self._came = np.where(may_learn, kept * self._came + counts[:, ATTEMPTS], self._came)
        self._usual = np.where(may_learn, kept * self._usual + usual, self._usual)
        self._seen += np.where(may_learn, counts[:, ATTEMPTS], 0.0)
        mean = counts[:, VALUE] / np.maximum(counts[:, ATTEMPTS], 1.0)
        known = may_learn & (counts[:, ATTEMPTS] > 0)
        gain = np.minimum(0.2, counts[:, ATTEMPTS] / 5_000.0)
        self._mean = np.where(
            known & (self._mean > 0), self._mean + gain * (mean - self._mean),
            np.where(known, mean, self._mean),
        )  # fmt: skip
        near = self._near * (1 - min(1.0, frame.step_s / NEAR_S))
        near += np.stack([counts[:, ATTEMPTS], expected])
        self._near = np.where(may_learn, near, self._near)
        # A market wanders about its level: what would have come now is told by what came lately.
        expected = expected * (self._near[0] + NEAR) / (self._near[1] + NEAR)
        lost = np.maximum(expected - counts[:, ATTEMPTS], -expected)
        self._back.keep(frame.now_s, payments=lost, minor=lost * self._mean, tried=expected)
        return self._said(frame)

    def _said(self, frame: Frame) -> list[Alarm]:
        loud: dict[str, list[int]] = {}
        for place in sorted({*self._sums.loud(), *self._gone.loud()}):
            group = frame.groups[place]
            if (group.flow == PAY and group.kind in {"market", "channel"}) or (
                group.flow == SESSION and group.kind == "market"
            ):
                loud.setdefault(group.market, []).append(place)
        for gone in [market for market in self._since if market not in loud]:
            del self._since[gone]
            self._open.pop(gone, None)
        said = []
        for market, places in loud.items():
            self._since.setdefault(market, frame.now_s)
            if market in self._open:
                first, place = self._open[market]
                said.append(_with(first, *self._lost(frame, place, frame.now_s - 1)))
            elif frame.now_s > self._since[market]:
                said.append(self._first(frame, market, places))
        return said

    def _first(self, frame: Frame, market: str, places: list[int]) -> Alarm:
        began_s = min(
            int(sums.began_s[place])
            for sums in (self._sums, self._gone)
            for place in sums.loud()
            if place in places
        )
        back = self._back.since(began_s)
        whole = frame.places[Group(market, PAY, "market", market)]
        cause, place = Cause(kind="market", name=market, share_percent=100), whole
        for group, at in frame.places.items():
            if group.market == market and group.flow == PAY and group.kind == "channel":
                gone = back[0, at] / max(back[2, at], 1e-9)
                others = back[2, whole] - back[2, at]
                rest = (back[0, whole] - back[0, at]) / max(others, 1e-9)
                if gone > 0.5 and rest < 0.4:
                    cause, place = Cause(kind="channel", name=group.name, share_percent=100), at
        if cause.kind == "market" and back[0, whole] < 0.5 * back[2, whole]:
            # Payments come, sessions do not yet: the channel of the sessions.
            sessions = [
                group.name
                for group in frame.places
                if group.market == market and group.flow == SESSION and group.kind == "channel"
            ]
            if sessions:
                cause = Cause(kind="channel", name=sessions[0], share_percent=100)
                place = frame.places.get(Group(market, PAY, "channel", sessions[0]), whole)
        expected = float(back[2, place])
        payments, minor = self._lost(frame, place, began_s)
        alarm = Alarm(
            market=market,
            title=TITLE,
            evidence=f"{payments:,.0f} of {expected:,.0f} expected payments did not come",
            began_s=began_s,
            cause=cause,
            payments=max(payments, 0.0),
            minor=max(minor, 0.0),
        )
        self._open[market] = alarm, place
        return alarm

    def _lost(self, frame: Frame, place: int, since_s: int) -> tuple[float, float]:
        """Return the payments that did not come after a second, and their value.

        Of a channel that is cut the others tell how busy the market is meanwhile.
        """
        back = self._back.since(since_s)
        payments, minor, expected = (float(each) for each in back[:, place])
        group = frame.groups[place]
        others = [
            at
            for each, at in frame.places.items()
            if each[:3] == (group.market, PAY, "channel") and at != place
        ]
        if group.kind == "channel" and others:
            beside = float(back[2, others].sum())
            came = beside - float(back[0, others].sum())
            more = expected * ((came + BESIDE) / (beside + BESIDE) - 1)
            minor += more * float(self._mean[place])
            payments += more
        return payments, minor

    def _entered(self, came: Array, expected: Array) -> tuple[Array, Array]:
        """Return what came and what was expected, a whole market's by the doors it is entered by.

        Where a channel has menus, one is opened before anything is paid, and not each is followed by a
        payment: that no menu is opened says more than that nothing is paid. A payment or a text that
        follows from one that did not come says nothing more.
        """
        came, expected = came.copy(), expected.copy()
        for whole, doors in self._doors:
            if (self._seen[doors] >= WARM).all():
                came[whole] = came[doors].sum()
                expected[whole] = expected[doors].sum()
        return came, expected

    def _curve(self, frame: Frame) -> Array:
        """Return for each group what is usual in its market now; it changes once a minute."""
        if self._expected != frame.expected or len(self._usual_now) != len(frame.groups):
            if len(self._usual_now) != len(frame.groups):
                self._doors = _doors(frame)
            self._expected = dict(frame.expected)
            self._usual_now = np.array(
                [frame.expected.get(group.market, 1.0) for group in frame.groups]
            )
        return self._usual_now

    def _grow(self, size: int) -> None:
        more = size - len(self._seen)
        if more > 0:
            blank = np.zeros(more)
            self._near = np.concatenate([self._near, np.zeros((2, more))], axis=1)
            self._came = np.concatenate([self._came, blank])
            self._usual = np.concatenate([self._usual, blank])
            self._seen = np.concatenate([self._seen, blank])
            self._mean = np.concatenate([self._mean, blank])


def _doors(frame: Frame) -> list[tuple[int, Places]]:
    """Return the places of the markets that have menus, with those of their doors."""
    found = []
    for group, whole in frame.places.items():
        menus = frame.places.get(Group(group.market, SESSION, "market", group.market))
        if group[1:3] != (PAY, "market") or menus is None:
            continue
        others = [
            place
            for each, place in frame.places.items()
            if each[:3] == (group.market, PAY, "channel")
            and Group(group.market, SESSION, "channel", each.name) not in frame.places
        ]
        found.append((whole, np.array([menus, *others], np.int64)))
    return found


def _with(alarm: Alarm, payments: float, minor: float) -> Alarm:
    return Alarm(
        market=alarm.market,
        title=alarm.title,
        evidence=alarm.evidence,
        began_s=alarm.began_s,
        cause=alarm.cause,
        payments=payments,
        minor=minor,
    )
