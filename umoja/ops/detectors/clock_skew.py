"""Finds a machine whose clock is wrong: answers before their questions, tokens that expire early."""

from umoja.ops.levels import Levels

OFFSET_MS = 100.0


def clock_skew() -> Levels:
    """Return the detector of all markets."""
    return Levels(
        name="clock_skew",
        title="A clock is wrong",
        gauge="clock_offset_ms",
        cause_kind="node",
        is_wrong=lambda level: abs(level) > OFFSET_MS,
        says="{:+,.0f} ms off",
        for_s=10,
    )
