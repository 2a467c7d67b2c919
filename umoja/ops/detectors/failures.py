"""Finds payments that fail more than usual, and names the smallest thing that explains them.

Counts are judged and not ratios, against a share that is learned as it goes: an objective with a
fixed idea of usual cries wolf on every drifting day, one on ratios cries at night. What customers
cause themselves (refused) is not looked at.
"""

from collections.abc import Callable, Collection

import numpy as np

from umoja.ops.board import (
    ATTEMPTS,
    CALLBACK,
    FAILED,
    PAY,
    VALUE,
    VALUE_FAILED,
    Array,
    Frame,
    Group,
)
from umoja.ops.episodes import LIKELY, Back, Bounds, Sums
from umoja.ops.finding import Alarm
from umoja.ops.localise import smallest
from umoja.ops.shares import Shares

ALARM_AT = 20.0  # of the sums, in natural logarithms
BAD_AT = 18.0
FIFTH = 0.2
HALF = 0.5
TITLE = "Payments fail more than usual"


class Failures:
    """The detector of all markets."""

    name = "failures"

    def __init__(self) -> None:
        self._shares = Shares(least=0.008)
        self._sums = Sums(alarm_at=ALARM_AT)
        self._bad = Sums(alarm_at=BAD_AT)  # of a fifth failing
        self._worst = Sums(alarm_at=ALARM_AT)  # of half and more failing: five in a row are enough
        # What fails and is slow at once is surer than either of them.
        self._both = Sums(alarm_at=BAD_AT)
        self._worst_both = Sums(alarm_at=BAD_AT)
        self._all = (self._sums, self._bad, self._worst, self._both, self._worst_both)
        self._bounds = Bounds(alarm_at=ALARM_AT)
        # What slow answers say of each group: a little slower, much slower.
        self.slower: Callable[[], tuple[Array, Array]] = lambda: (np.zeros(0), np.zeros(0))
        self._back = Back()
        self.held: Collection[str] = ()  # markets with a trouble that is known: nothing is learned
        self._open: dict[tuple[str, str], tuple[Alarm, int]] = {}
        self._since: dict[tuple[str, str], int] = {}
        self._wholes: dict[str, int] = {}
        self._links: dict[tuple[str, str], int] = {}
        self._size = 0

    def lost(self, market: str, since_s: int, *, name: str) -> tuple[float, float]:
        """Return the payments and the value that were lost beyond the usual after a second.

        Of what goes through a partner of this `name` where there is one, else of what fails in the
        market for sure, else of the whole market.
        """
        place = self._links.get((market, name))
        if place is None and (market, PAY) in self._open:
            _, place = self._open[market, PAY]
        if place is None:
            place = self._wholes.get(market)
        if place is None:
            return 0.0, 0.0
        payments, minor, _ = self._back.since(since_s)[:, place]
        return float(payments), float(minor)

    def _fails(self, place: int, group: Group) -> bool:
        """Tell whether payments fail in a group that is in trouble, and are not slow alone."""
        is_told = (group.market, group.flow) in self._open
        return is_told or any(
            sums.is_loud[place] or sums.sums[place] >= LIKELY
            for sums in (self._sums, self._bad, self._worst)
        )

    def look(self, frame: Frame) -> list[Alarm]:
        counts = frame.counts
        tried, failed = frame.ended()
        sums = self._sums
        sums.grow(len(tried))
        _, gains = self._shares.weigh(tried, failed)
        bounds = self._bounds.of(frame, tried, frame.is_seen)
        sums.add(np.where(frame.is_seen, gains, 0.0), frame.now_s, frame.step_s, bounds)
        # A payment that fails is slow for that, as one that timed out: it is evidence once.
        well = 1 - failed / np.maximum(tried, 1.0)
        slow, much = (well * _of_size(told, len(tried)) for told in self.slower())
        fifth, half = (self._shares.against(tried, failed, share) for share in (FIFTH, HALF))
        is_calm = (sums.sums < 3.0) & ~sums.is_loud
        for other, more in (
            (self._bad, fifth),
            (self._worst, half),
            (self._both, fifth + slow),
            (self._worst_both, half + much),
        ):
            other.grow(len(tried))
            other.add(np.where(frame.is_seen, more, 0.0), frame.now_s, frame.step_s, bounds)
            is_calm &= ~other.is_loud
        if self.held:
            is_calm &= np.array([group.market not in self.held for group in frame.groups], np.bool_)
        self._shares.learn(tried, failed, is_calm & frame.is_seen)
        typical = self._shares.typical
        lost = failed - typical * tried
        mean = counts[:, VALUE] / np.maximum(counts[:, ATTEMPTS], 1.0)
        # Of those that failed the value is known; of those nobody knows the end of it is not.
        sure = counts[:, FAILED]
        each = np.where(sure > 0, counts[:, VALUE_FAILED] / np.maximum(sure, 1.0), mean)
        self._back.keep(
            frame.now_s, payments=lost, minor=failed * each - typical * tried * mean, tried=tried
        )
        if self._size < len(frame.groups):
            self._size = len(frame.groups)
            self._wholes = {
                group.market: place
                for group, place in frame.places.items()
                if group.flow == PAY and group.kind == "market"
            }
            self._links = {
                (group.market, group.name): place
                for group, place in frame.places.items()
                if group.flow == PAY and group.kind == "vendor"
            }
        return self._said(frame)

    def _said(self, frame: Frame) -> list[Alarm]:
        loud: dict[tuple[str, str], list[int]] = {}
        for place in sorted({at for sums in self._all for at in sums.loud()}):
            group = frame.groups[place]
            if group.flow in {PAY, CALLBACK} and self._fails(place, group):
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
            for sums in self._all
            for place in sums.loud()
            if place in places
        )
        back = self._back.since(began_s)
        likely = [
            at
            for at in {at for sums in self._all for at in sums.likely()}
            if frame.groups[at].market == market and frame.groups[at].flow == flow
        ]
        cause, place = smallest(frame, market, flow, back[0], back[2], among=likely, sure=places)
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


def _of_size(told: Array, size: int) -> Array:
    """Return what was told of the first groups, with nought for those that are new since."""
    found = np.zeros(size)
    found[: len(told)] = told[:size]
    return found


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
