"""Finds a district whose agents run out of float or cash: the median request cannot be served."""

from umoja.ops.levels import Levels

SERVED_PERMILLE = 800  # of a district's agents, at least


def float_drought() -> Levels:
    """Return the detector of all markets."""
    return Levels(
        name="float_drought",
        title="Agents run out of float",
        gauge="agents_able_permille",
        cause_kind="district",
        is_wrong=lambda level: level < SERVED_PERMILLE,
        says="only {:,.0f} permille of the agents can serve",
        for_s=20,
        clear_s=300,
    )
