"""Finds a partner that lets orders wait: told by those that wait, before any of them has ended."""

from umoja.ops.board import FAILED, HELD
from umoja.ops.excess import Excess
from umoja.ops.shares import Shares


def held_orders() -> Excess:
    """Return the detector of all markets."""
    return Excess(
        name="held_orders",
        title="Orders wait long at a partner",
        what="orders have waited for more than ten seconds",
        flow=HELD,
        kinds={"vendor"},
        column=FAILED,
        shares=Shares(first=0.01, least=0.01, times=3.0, more=0.1),
        much=0.5,
    )
