"""Finds a certificate or a token of a link that has expired; before that it is a task, not an alarm."""

from umoja.ops.levels import Levels


def expiry() -> Levels:
    """Return the detector of all markets."""
    return Levels(
        name="expiry",
        title="A certificate or token has expired",
        gauge="expires_in_s",
        cause_kind="certificate",
        is_wrong=lambda level: level <= 0,
        says="{:,.0f} s left",
        for_s=0,
        since=lambda level: int(-level),
    )
