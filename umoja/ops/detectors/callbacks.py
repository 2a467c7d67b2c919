"""Finds callbacks that come twice: a partner that repeats itself. Money does not move twice for it."""

from umoja.ops.board import CALLBACK, DOUBLED
from umoja.ops.excess import Excess
from umoja.ops.shares import Shares


def callbacks() -> Excess:
    """Return the detector of all markets."""
    return Excess(
        name="callbacks",
        title="Callbacks come twice",
        what="callbacks came twice",
        flow=CALLBACK,
        kinds={"vendor"},
        column=DOUBLED,
        shares=Shares(first=0.001, least=0.001, times=2.5, more=0.03),
        much=0.3,
        # Of each that is repeated one repeat counts, and hardly any is: three are no chance.
        alarm_at=16.0,
    )
