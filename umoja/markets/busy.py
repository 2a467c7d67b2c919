"""How busy a market usually is at each moment: the day's curve, its peaks, season, paydays, holidays. Pure.

The curve has no level: it is 1 on average over a usual day, and a market's payments a second are
that many times its own average.
"""

from datetime import date, datetime, time
from functools import cache

from umoja.markets.market import Market

HOURS = (
    0.25, 0.15, 0.10, 0.08, 0.10, 0.25, 0.55, 0.85, 1.05, 1.20, 1.25, 1.25,
    1.20, 1.20, 1.20, 1.20, 1.25, 1.30, 1.30, 1.25, 1.10, 0.85, 0.60, 0.40,
)  # fmt: skip
"""How busy a usual day is at the beginning of each local hour, before the market's own peaks."""

RAMP_MIN = 30  # minutes over which a peak comes and goes
WEEKEND = 0.9
HOLIDAY = 0.85
PAYDAY = 1.15


def busy_at(market: Market, moment: datetime) -> float:
    """Return how busy a moment usually is, against the average of a usual day."""
    local = market.local(moment)
    at_min = local.hour * 60 + local.minute + local.second / 60
    return _busy(at_min, market.peaks) / _shape(market.peaks) * day_factor(market, local.date())


def day_factor(market: Market, day: date) -> float:
    """Return how much busier than a usual one a day is: season, payday, weekend, holiday."""
    factor = market.season_permille(day) / 1000
    if market.payday_near(day):
        factor *= PAYDAY
    if day in market.holidays:
        return factor * HOLIDAY
    return factor * WEEKEND if day.weekday() in market.weekend else factor


def _busy(at_min: float, peaks: tuple[tuple[time, time, int], ...]) -> float:
    """Return the day's curve at a minute of the local day, with the market's peaks."""
    hour, part = divmod(at_min / 60, 1)
    before, after = HOURS[int(hour) % 24], HOURS[(int(hour) + 1) % 24]
    busy = before + (after - before) * part
    for first, last, permille in peaks:
        begins, ends = first.hour * 60 + first.minute, last.hour * 60 + last.minute
        # How far inside the peak: 0 outside, 1 where the ramp is over.
        inside = min((at_min - begins) / RAMP_MIN, (ends - at_min) / RAMP_MIN, 1.0)
        busy *= 1 + max(0.0, inside) * (permille - 1000) / 1000
    return busy


@cache
def _shape(peaks: tuple[tuple[time, time, int], ...]) -> float:
    """Return the mean of the curve over a day, so that a usual day has its average."""
    return sum(_busy(minute, peaks) for minute in range(24 * 60)) / (24 * 60)
