"""Series: one online model of any regular series, and how unlikely its newest row is. No I/O.

A row's surprise depends on the rows before it and on nothing else. One setting serves every series:
what a series usually does, how far it usually strays and how heavy its tails are is learned from it.

Five questions are asked of each row, each judged by its own history: is it far from what was to be
expected a moment ago (a spike); has it strayed for a while from its level and season (a shift, a
missing cycle, a slow loss); is it wilder or tamer than it was; does it stand still. The answer is a
number of decades: 4 means that something so strange is expected once in ten thousand rows.
"""

from math import copysign, exp, log, log10, sqrt

DAY_S = 86_400
WEEK_S = 7 * DAY_S
PROBATION_S = 2 * DAY_S
PROBATION_ROWS = (120, 400)  # at least and at most, whatever the step
SLOTS_MIN, SLOTS_MAX = 4, 4_096  # a season with fewer or more rows than that is not learned

SEASONS_FIRST = 2.5  # cycles before a season is believed
LEVEL_ROWS = 100  # at least, over which the slow level is the mean
FAST = 0.4  # how fast a local level follows
OFFSET = 0.1  # how fast a season's level follows
ERROR = 0.005  # how slowly predictors are compared
TAIL_SHARE = 0.05  # of rows that are called the tail of a statistic
TAIL_FIRST = 40  # rows before a tail says anything
TAIL_TOP = 3  # of these are beyond it
TAIL_LEAST = 0.35  # of a statistic's mean: no true tail falls faster
TAIL_DECADES = 1.3  # how rare its beginning is
TAIL_SHAPE = 0.12  # of the tail: a little heavier than exponential, since real ones are
DECADES_MAX = 12.0
SPREAD_OVER = 24  # rows
SHORT_EVERY, LONG_EVERY = 4, 10
STILL_TIMES = 6  # the longest run ever seen, to be as strange as can be
FLOOR = 0.0003  # of a series' usual magnitude: a smaller difference never matters
RECORD_BY = 1.1
RECORD_KEPT = 0.9998  # a row: half of it is forgotten in 3,500
RECORD_DECADES = 4.5
CAP = 8.0  # a residual is taken in for at most so many usual ones: one spike teaches little


class Tail:
    """The upper tail of a statistic, learned as it comes: a high quantile and the mean beyond it."""

    __slots__ = ("_beyond", "_count", "_first", "_level", "_size", "_skip", "_turn")

    def __init__(self, *, every: int = 1) -> None:
        """Learn from one row in `every`: a smoothed statistic says the same many times over."""
        self._level = 0.0
        self._beyond = 0.0
        self._size = 0.0
        self._count = 0
        self._skip = every
        self._turn = 0
        self._first: list[float] = []

    @property
    def is_known(self) -> bool:
        return self._count >= TAIL_FIRST

    def decades(self, value: float, floor: float) -> float:
        """Return how rare a value is: 3 where one in a thousand is as large. Learns nothing.

        `floor` is a difference so small that it never matters.
        """
        over = value - self._level
        if over <= 0 or self._count < TAIL_FIRST:
            return 0.0
        # A generalised Pareto tail above the quantile that TAIL_SHARE of the rows pass.
        beyond = max(self._beyond, TAIL_LEAST * self._size, floor)
        return TAIL_DECADES + log10(1 + TAIL_SHAPE * over / beyond) / TAIL_SHAPE

    def learn(self, value: float) -> None:
        self._turn += 1
        if self._turn < self._skip:
            return
        self._turn = 0
        self._count += 1
        count = self._count
        if count <= TAIL_FIRST:
            self._first.append(value)
            if count == TAIL_FIRST:
                self._begin()
            return
        self._size += 0.01 * (min(value, 4 * self._level + self._size) - self._size)
        # A quantile by small steps: up where a row passes it, down by as much less where none does.
        rate = max(8.0 / count, 0.01) * self._size
        if value > self._level:
            over = value - self._level
            self._beyond += max(2.0 / count, 0.02) * (min(over, 6 * self._beyond) - self._beyond)
            self._level += rate * (1 - TAIL_SHARE)
        else:
            self._level = max(0.0, self._level - rate * TAIL_SHARE)

    def _begin(self) -> None:
        known = sorted(self._first)
        middle, high = known[len(known) // 2], known[-TAIL_TOP - 1]
        self._size = sum(known) / len(known)
        self._level = high
        self._beyond = max(sum(known[-TAIL_TOP:]) / TAIL_TOP - high, 0.3 * (high - middle), 1e-12)
        self._first = []


class Season:
    """What is usual at each place of a cycle, apart from the level that moves."""

    __slots__ = ("_known", "_period_s", "_values", "slots", "step_s")

    def __init__(self, *, period_s: int, step_s: float) -> None:
        self.slots = round(period_s / step_s)
        self.step_s = step_s
        self._period_s = period_s
        self._values = [0.0] * self.slots
        self._known = [0] * self.slots

    def place(self, at_s: float) -> int:
        return int(at_s % self._period_s / self.step_s + 0.5) % self.slots

    def usual(self, place: int) -> float | None:
        """Return what was learned of a place, or None where it was never seen."""
        return self._values[place] if self._known[place] else None

    def learn(self, place: int, value: float, bound: float) -> None:
        """Take a row in, as far as `bound` from what is usual: a trouble is no custom yet."""
        seen = self._known[place]
        if seen:
            strays = value - self._values[place]
            if seen > 1:
                strays = max(-bound, min(bound, strays))
            self._values[place] += max(0.15, 1 / (seen + 1)) * strays
        else:
            self._values[place] = value
        self._known[place] = seen + 1


class Series:
    """One series. `surprise` takes its rows in the order of time."""

    __slots__ = (
        "_cycles", "_errors", "_is_up_only", "_level", "_long", "_longest", "_magnitude", "_plain_size",
        "_previous", "_probation", "_record", "_rows", "_same", "_same_share", "_scale", "_season_size",
        "_short", "_slow", "_spread", "_sum", "_tails", "_whole", "_wide", "_window",
    )  # fmt: skip

    def __init__(self, *, step_s: float, is_up_only: bool = False) -> None:
        """Take the step of the rows in seconds; 0 where times are mere places in a list.

        `is_up_only`: only more than usual is strange.
        """
        self._is_up_only = is_up_only
        self._cycles = [
            _Cycle(season) for period_s in (DAY_S, WEEK_S) if (season := _season(period_s, step_s))
        ]
        least, most = PROBATION_ROWS
        self._probation = min(most, max(least, int(PROBATION_S / step_s))) if step_s else least
        slots = self._cycles[0].season.slots if self._cycles else LEVEL_ROWS
        # The slow level is a mean over whole days, so that it does not move with the hours.
        self._whole = -(-LEVEL_ROWS // slots) * slots
        self._window: list[float] = []
        self._sum = 0.0
        self._rows = 0
        self._record = 0.0
        self._level = self._slow = self._previous = self._magnitude = 0.0
        self._errors = [0.0, 0.0]  # of: the last value, a level
        self._scale = self._spread = self._wide = 0.0
        self._short = [0.0, 0.0]  # strays for a short while: from the level alone, and with season
        self._long = [0.0, 0.0]
        self._plain_size = self._season_size = 0.0
        self._same = self._longest = 0
        self._same_share = 0.0
        self._tails = [
            Tail(every=every) for every in (1, 6, SHORT_EVERY, LONG_EVERY, SHORT_EVERY, LONG_EVERY)
        ]

    @property
    def is_on_probation(self) -> bool:
        return self._rows <= self._probation

    def surprise(self, at_s: float, value: float, *, weight: float = 1.0) -> float:
        """Take the next row and return how strange it is, in decades.

        `weight` is how much its residual counts: a mean of few payments strays further than one of
        many, and says less.
        """
        # The square root calms counts, whose spread grows with their level, and bends others little.
        value = copysign(sqrt(abs(value)), value)
        self._rows += 1
        rows = self._rows
        if rows == 1:
            self._level = self._previous = value
            self._magnitude = abs(value)
            self._learn(at_s, value)
            return 0.0
        self._magnitude += _gain(rows, 0.002) * (abs(value) - self._magnitude)
        floor = max(FLOOR * self._magnitude, 1e-9)
        expected, season = self._expected(at_s, value)
        residual = (value - expected) * weight
        size = abs(residual)
        scale = self._scale or size or floor
        wide = self._wide or scale
        self._spread += (min(size, CAP * scale) - self._spread) / SPREAD_OVER
        ratio = (self._spread + floor) / (wide + floor)
        wilder = log(ratio) if ratio > 1 else -0.7 * log(ratio)
        tails = self._tails
        is_warm = 2 * rows > self._probation
        found = 0.0
        if is_warm:
            if self._is_up_only:
                residual = max(residual, 0.0)
                wilder = wilder if ratio > 1 else 0.0
            spike = abs(residual)
            found = tails[0].decades(spike, floor)
            if spike < RECORD_BY * self._record:
                # Nothing that was as large not long ago is as rare as a tail would have it.
                found = min(found, RECORD_DECADES)
            self._record = max(spike, self._record * RECORD_KEPT)
            found = max(found, tails[1].decades(wilder, 0.02))
            tails[0].learn(spike)
            tails[1].learn(wilder)
            found = max(found, self._strays(value, season, weight, floor))
        found = max(found, self._stands_still(value))

        self._scale = scale + _gain(rows, 0.01) * (min(size, CAP * scale) - scale)
        self._wide = wide + _gain(rows, 0.002) * (min(size, CAP * wide) - wide)
        self._learn(at_s, value)
        return 0.0 if self.is_on_probation else min(found, DECADES_MAX)

    def _strays(self, value: float, season: float | None, weight: float, floor: float) -> float:
        """Return how strange it is to have strayed so far, for so long, from level and season."""
        plain = (value - self._slow) * weight
        found = self._strayed(0, plain, floor)
        bound = CAP * (self._plain_size or abs(plain))
        self._plain_size += 0.005 * (min(abs(plain), bound) - self._plain_size)
        if season is None:
            return found
        strays = plain - season * weight
        if not self._season_size:
            self._season_size = self._plain_size
        bound = CAP * self._season_size
        self._season_size += 0.005 * (min(abs(strays), bound) - self._season_size)
        seasonal = self._strayed(1, strays, floor)
        is_better = self._season_size < 0.8 * self._plain_size and self._tails[4].is_known
        return seasonal if is_better else found

    def _strayed(self, which: int, strays: float, floor: float) -> float:
        self._short[which] += 0.15 * (strays - self._short[which])
        self._long[which] += 0.03 * (strays - self._long[which])
        found = 0.0
        short, long = self._short[which], self._long[which]
        if self._is_up_only:
            short, long = max(short, 0.0), max(long, 0.0)
        for place, size in ((2, abs(short)), (3, abs(long))):
            tail = self._tails[place + 2 * which]
            found = max(found, tail.decades(size, floor))
            tail.learn(size)
        return found

    def _expected(self, at_s: float, value: float) -> tuple[float, float | None]:
        """Return what the best predictor so far expected, and what the season adds to the level."""
        best, least = self._level, -1.0
        for index, guess in enumerate((self._previous, self._level)):
            error = self._errors[index]
            if error and (least < 0 or error < least):
                best, least = guess, error
            self._errors[index] = _error(error, abs(value - guess))
        season: float | None = None
        season_error = -1.0
        for cycle in self._cycles:
            usual = cycle.season.usual(cycle.season.place(at_s))
            if usual is None:
                continue
            guess = usual + cycle.offset
            error = cycle.error
            if error and error < least and self._rows > 2 * cycle.season.slots:
                best, least = guess, error
            if error and (season_error < 0 or error < season_error):
                season_error = error
                season = usual if self._rows > SEASONS_FIRST * cycle.season.slots else season
            cycle.error = _error(error, abs(value - guess))
        return best, season

    def _learn(self, at_s: float, value: float) -> None:
        self._previous = value
        self._level += FAST * (value - self._level)
        bound = CAP * self._scale
        window, whole = self._window, self._whole
        if len(window) < whole:
            window.append(value)
            self._sum += value
        else:
            # A trouble moves the level, but no single row moves it far.
            kept = max(self._slow - bound, min(self._slow + bound, value)) if bound else value
            place = self._rows % whole
            self._sum += kept - window[place]
            window[place] = kept
        self._slow = self._sum / len(window)
        if self._rows >= whole:
            for cycle in self._cycles:
                cycle.learn(cycle.season.place(at_s), value, self._slow, bound)

    def _stands_still(self, value: float) -> float:
        """Return how strange it is that the value is the same once more."""
        is_same = value == self._previous
        share = min(max(self._same_share, 1 / self._rows), 0.999)
        if not is_same:
            self._longest = max(self._longest, self._same)
        self._same = self._same + 1 if is_same else 0
        self._same_share += _gain(self._rows, 0.002) * (is_same - self._same_share)
        rare = -self._same * log10(share)
        # At night it may always stand still: then only much longer than ever is strange.
        return min(rare, DECADES_MAX * self._same / (STILL_TIMES * (self._longest + 4)))


class _Cycle:
    """A season with the level it is laid on, and how well it predicts."""

    __slots__ = ("error", "offset", "season")

    def __init__(self, season: Season) -> None:
        self.season = season
        self.offset = 0.0
        self.error = 0.0

    def learn(self, place: int, value: float, slow: float, bound: float) -> None:
        usual = self.season.usual(place)
        if usual is not None:
            self.offset += OFFSET * (value - usual - self.offset)
        self.season.learn(place, value - slow, bound)


def _error(error: float, size: float) -> float:
    return error + ERROR * (min(size, CAP * error) - error) if error else size


def _gain(rows: int, least: float) -> float:
    return max(1 / rows, least)


def _season(period_s: int, step_s: float) -> Season | None:
    if step_s <= 0 or not SLOTS_MIN <= period_s / step_s <= SLOTS_MAX:
        return None
    return Season(period_s=period_s, step_s=step_s)


def squashed(decades: float, alarm_at: float) -> float:
    """Return a score in [0, 1] that is a half where the alarm is."""
    return 1 / (1 + exp(-1.6 * (decades - alarm_at))) if decades > 0 else 0.0
