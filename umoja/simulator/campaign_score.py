"""The campaign's score: what was true against what was said. It reads these two lists and no more."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

LATE_S = 300  # after a fault's end an incident may still be about it
EARLY_S = 60
RATED_PER_SECOND = 1.0  # below that a fault is no part of the recall

Row = Mapping[str, Any]


def score(
    truth: Sequence[Row], incidents: Sequence[Row], *, days: float
) -> dict[str, float | None]:
    """Return the figures. Times in the rows are ISO 8601; money is in minor units.

    Each incident is given to one fault at most: of its market, open when the incident was, the one
    of the same cause first. A second incident of a fault that has one already is counted as false.
    """
    faults = [row for row in truth if not row["decoy"]]
    matched, strangers = _matched(faults, incidents)
    found = [(faults[at], incidents[by]) for at, by in sorted(matched.items())]
    rated = [at for at, fault in enumerate(faults) if fault["per_second"] >= RATED_PER_SECOND]
    delays = sorted(max(0.0, _s(said["opened"]) - _s(fault["start"])) for fault, said in found)
    mended = sorted(
        _s(said["mitigated"]) - _s(fault["start"]) for fault, said in found if said["mitigated"]
    )
    by_itself = sorted(
        _s(said["mitigated"]) - _s(fault["start"])
        for fault, said in found
        if said["mitigated"] and said.get("automatic")
    )
    wrong_market = _elsewhere(faults, incidents, matched, strangers)
    money = sorted(
        abs(said["money"] - fault["money"]) / fault["money"]
        for fault, said in found
        if fault["money"] > 0
    )
    planned = [row for row in truth if row["decoy"] and row.get("planned")]
    return {
        "recall": _part(sum(at in matched for at in rated), len(rated)),
        "precision": _part(len(found), len(incidents)),
        "detection_p50_s": _at(delays, 50),
        "detection_p95_s": _at(delays, 95),
        "market_right": _part(len(found), len(found) + wrong_market),
        "cause_right": _part(
            sum(said["cause"] == fault["cause"] for fault, said in found), len(found)
        ),
        "mitigation_p50_s": _at(mended, 50),
        "mitigation_automatic_p50_s": _at(by_itself, 50),
        "false_incidents_per_day": round(len(strangers) / days, 3),
        "in_planned_windows": float(
            sum(
                any(
                    window["market"] == incidents[by]["market"]
                    and _s(window["start"]) <= _s(incidents[by]["opened"]) <= _s(window["end"])
                    for window in planned
                )
                for by in strangers
            )
        ),
        "money_error": _at(money, 50),
        "recall_all": _part(len(found), len(faults)),
    }


def _matched(faults: Sequence[Row], incidents: Sequence[Row]) -> tuple[dict[int, int], list[int]]:
    """Return which incident each fault has, and the incidents that no fault has."""
    matched: dict[int, int] = {}
    strangers = []
    order = sorted(range(len(incidents)), key=lambda by: str(incidents[by]["opened"]))
    for by in order:
        said = incidents[by]
        candidates = [
            at
            for at, fault in enumerate(faults)
            if at not in matched and fault["market"] == said["market"] and _covers(fault, said)
        ]
        if not candidates:
            strangers.append(by)
            continue
        same = [at for at in candidates if faults[at]["cause"] == said["cause"]]
        matched[(same or candidates)[0]] = by
    return matched, strangers


def _covers(fault: Row, said: Row) -> bool:
    opened = _s(said["opened"])
    return _s(fault["start"]) - EARLY_S <= opened <= _s(fault["end"]) + LATE_S


def _elsewhere(
    faults: Sequence[Row],
    incidents: Sequence[Row],
    matched: Mapping[int, int],
    strangers: Sequence[int],
) -> int:
    """Return how many faults were told of only in a market that was not theirs."""
    return sum(
        any(
            _covers(fault, incidents[by]) and incidents[by]["cause"] == fault["cause"]
            for by in strangers
        )
        for at, fault in enumerate(faults)
        if at not in matched
    )


def _s(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _part(some: int, whole: int) -> float | None:
    return round(some / whole, 4) if whole else None


def _at(values: Sequence[float], percent: int) -> float | None:
    """Return the value that so many per cent do not pass (the nearest rank)."""
    if not values:
        return None
    return round(values[max(0, -(-len(values) * percent // 100) - 1)], 4)
