"""Localise: when several series of a market move, name the smallest thing that explains them. Pure."""

from collections.abc import Collection

from umoja.ops.board import ATTEMPTS, FAILED, SMS, Array, Frame, Group
from umoja.ops.incident import Cause

EXPLAINS = 0.8  # of what was lost: a smaller share is no explanation
KINDS = ("vendor", "product", "channel", "cell", "market")


def smallest(
    frame: Frame,
    market: str,
    flow: str,
    lost: Array,
    tried: Array,
    *,
    among: Collection[int],
    sure: Collection[int],
) -> tuple[Cause, int]:
    """Return the cause and the place of its group.

    `lost` is what each group lost beyond the usual, `tried` how much it tried, `sure` the places of
    those that are in trouble, `among` of those that seem to be. Of the ones that explain most of what
    the sure ones lost, the one that tried least is named.
    """
    whole = frame.places[Group(market, flow, "market", market)]
    best, best_place, least = Cause(kind="market", name=market, share_percent=100), whole, 0.0
    total = max((float(lost[place]) for place in sure), default=0.0)
    if total <= 0:
        return best, best_place
    widest = float(tried[whole])
    for place in sorted(among, key=lambda at: KINDS.index(frame.groups[at].kind)):
        group = frame.groups[place]
        if group.kind == "market" or lost[place] < EXPLAINS * total:
            continue
        # What tries as much as the whole market explains nothing that the market does not.
        if tried[place] < 0.97 * widest and (not least or tried[place] < 0.97 * least):
            share = min(100, round(100 * float(lost[place]) / total))
            best = Cause(kind=group.kind, name=group.name, share_percent=share)
            best_place, least = place, float(tried[place])
    return best, best_place


def route_of(frame: Frame, market: str) -> Cause | None:
    """Return the SMS route of which the most messages are missing now, or None where none is."""
    best, worst = None, 0.0
    whole = frame.places.get(Group(market, SMS, "market", market))
    if whole is None:
        return None
    total = float(frame.counts[whole, FAILED]) if whole < len(frame.counts) else 0.0
    for group, place in frame.places.items():
        if group.market != market or group.flow != SMS or group.kind != "vendor":
            continue
        lost, sent = frame.counts[place, FAILED], frame.counts[place, ATTEMPTS]
        share = float(lost / max(sent, lost, 1.0))
        if lost and share > worst:
            worst = share
            best = Cause(
                kind="vendor",
                name=group.name,
                share_percent=min(100, round(100 * float(lost) / max(total, 1.0))),
            )
    return best
