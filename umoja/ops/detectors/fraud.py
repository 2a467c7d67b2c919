"""Finds what looks like fraud: far more customers with a wrong PIN than this product has.

A bulk payment has few. Customers are counted and not their tries: the board leaves out who tries again.
"""

from umoja.ops.board import PAY, PIN
from umoja.ops.excess import Excess
from umoja.ops.shares import Shares


def fraud() -> Excess:
    """Return the detector of all markets."""
    return Excess(
        name="fraud",
        title="Wrong PINs far above the usual",
        what="had a wrong PIN beyond the usual",
        flow=PAY,
        kinds={"product"},
        column=PIN,
        cause_kind="fraud",
        shares=Shares(first=0.015, least=0.01, times=3.0, more=0.05),
        much=0.16,
        is_lost=True,
    )
