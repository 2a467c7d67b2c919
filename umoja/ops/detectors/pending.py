"""Finds a queue that stands still: its oldest grows older and older. A large batch drains again."""

from umoja.ops.levels import Levels

OLDEST_S = 90.0  # of a head that should have moved long ago; a batch drains within a minute


def pending() -> Levels:
    """Return the detector of all markets."""
    return Levels(
        name="pending",
        title="Payments wait too long for their outcome",
        gauge="oldest_s",
        cause_kind="queue",
        is_wrong=lambda level: level >= OLDEST_S,
        says="the oldest waits for {:,.0f} s",
        for_s=0,
        since=int,
    )
