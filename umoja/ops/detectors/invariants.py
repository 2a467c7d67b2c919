"""Finds books that break their own rules: entries that do not add up, a balance below nought."""

from umoja.ops.levels import Levels


def invariants() -> Levels:
    """Return the detector of all markets."""
    return Levels(
        name="invariants",
        title="The books break a rule of theirs",
        gauge="breaches",
        cause_kind="ledger",
        is_wrong=lambda level: level > 0,
        says="{:,.0f} breaches",
        for_s=0,
    )
