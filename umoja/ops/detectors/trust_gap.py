"""Finds a trust account that is not what was issued. There is no gap that is small enough."""

from umoja.ops.levels import Levels


def trust_gap() -> Levels:
    """Return the detector of all markets."""
    return Levels(
        name="trust_gap",
        title="The trust account is not what was issued",
        gauge="trust_gap",
        cause_kind="trust",
        is_wrong=lambda level: level != 0,
        says="a gap of {:,.0f} in minor units",
        for_s=10,
    )
