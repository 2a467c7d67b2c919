"""The impact chart of an incident: money lost a minute, with its beginning, finding and end."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup

from umoja.clock import from_micros
from umoja.console.charts import Bar, Mark, Tick, bar_chart, rounded_up
from umoja.console.losses import (
    PARTS,
    RECEIPTS,
    Counted,
    Losses,
    Point,
    counted,
    losses,
    shown_between,
)
from umoja.console.pages import amount
from umoja.console.words import _, clock_time, money, named, number, place
from umoja.markets.market import Market
from umoja.ops.centre import Centre
from umoja.ops.incident import Cause, Incident

REMEMBERED_MAX = 20_000  # minutes of incidents: read once, however many look
SETTLED_MIN = 3  # the chronicle writes a minute after its end; one that was missed stays missed
TICKS = 6
BEFORE_LEAST_MIN = 5  # minutes before the beginning that are shown, seen or not
ROWS_MAX = 100

Subject = tuple[str, str, str, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table beneath the chart, as texts."""

    at: str
    tried: str
    failed: str
    missing: str
    lost: str
    is_blind: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ImpactChart:
    """What an incident's page shows of its losses in one market."""

    market: str
    svg: Markup
    says: str
    about: str
    marks: tuple[tuple[str, str, str], ...]  # kind, name, when
    rows: tuple[Row, ...]
    blind: int
    has_usual: bool  # something fails on a good day, too
    part: str  # what of the market is counted; empty: all of it
    rated: str  # which currencies are counted at the pack's reference rate, in the first one


class Impacts:
    """Draws impact charts. Minutes that were read are remembered, at most 20,000 of them."""

    def __init__(self, centre: Centre) -> None:
        self._centre = centre
        self._kept: OrderedDict[tuple[Subject, int], Counted | None] = OrderedDict()

    def chart(self, incident: Incident, market: Market, *, now: datetime) -> ImpactChart:
        """Return the chart of an incident in a market. Raise a Fault where minutes cannot be read."""
        now_min = int(now.timestamp()) // 60
        since, until = shown_between(incident, now_min)
        has_receipts = incident.detector in RECEIPTS
        began = int(incident.began_at.timestamp()) // 60
        minutes = self._minutes(
            market.code, incident.sheet.cause, since, until, now_min, has_receipts=has_receipts
        )
        while since < began - BEFORE_LEAST_MIN and minutes and minutes[0] is None:
            since, minutes = since + 1, minutes[1:]  # nobody was here yet

        def usual_a_minute(minute: int) -> float | None:
            if has_receipts:
                return None  # receipts follow payments: none is expected for itself
            a_second = self._centre.telemetry.usual(market.code, _at(minute))
            return None if a_second is None else a_second * 60

        found = losses(minutes, first=since, began=began, usual_a_minute=usual_a_minute)
        return _drawn(incident, market, found, since=since, until=until, has_receipts=has_receipts)

    def _minutes(
        self,
        code: str,
        cause: Cause | None,
        since: int,
        until: int,
        now_min: int,
        *,
        has_receipts: bool,
    ) -> list[Counted | None]:
        kind, name = (cause.kind, cause.name) if cause is not None else ("", "")
        subject = (code, kind, name, has_receipts)
        places = range(since, until)
        unread = [each for each in places if each < now_min and (subject, each) not in self._kept]
        chronicle = self._centre.watch.chronicle
        if unread and chronicle is not None:
            first = unread[0]
            for at, row in enumerate(chronicle.between(code, first, unread[-1] + 1), first):
                if row is None and at > now_min - SETTLED_MIN:
                    continue  # it may still be written
                self._kept[subject, at] = (
                    None if row is None else counted(row, cause=cause, has_receipts=has_receipts)
                )
        while len(self._kept) > REMEMBERED_MAX:
            self._kept.popitem(last=False)
        found = [self._kept.get((subject, each)) for each in places]
        if until - 1 == now_min and not self._centre.telemetry.figures(code).is_blind:
            running = self._centre.telemetry.board.running(code)
            found[-1] = counted(running, cause=cause, has_receipts=has_receipts)
        return found


def _drawn(
    incident: Incident,
    market: Market,
    found: Losses,
    *,
    since: int,
    until: int,
    has_receipts: bool,
) -> ImpactChart:
    def written(lost: float) -> str:
        return money(amount(market, round(lost), market.currencies[0].code))

    most = rounded_up(max([each.lost or 0.0 for each in found.points] + [found.usual]))
    marks = _marks(incident)
    length = (until - since) * 60
    total = written(found.total)
    name, says = _named(place(market), total, has_receipts=has_receipts)
    if found.total <= 0:
        says = _("Nothing was lost beyond the usual in this time.")
    return ImpactChart(
        market=place(market),
        svg=bar_chart(
            [Bar(value=each.lost, says=_says(each, written)) for each in found.points],
            name=name,
            describes=says,
            level=found.usual,
            top=written(most) if found.total > 0 else "",  # an empty chart has no scale
            most=most,
            marks=[
                Mark(at=(at.timestamp() - since * 60) / length, name=said, kind=kind)
                for kind, said, at in marks
            ],
            ticks=_ticks(since, until),
        ),
        says=says,
        about=name,
        marks=tuple((kind, said, clock_time(at)) for kind, said, at in marks),
        rows=tuple(_row(each, written) for each in found.points[-ROWS_MAX:]),
        blind=found.blind_minutes,
        has_usual=found.usual > 0,
        part=_part(incident.sheet.cause) if not has_receipts else "",
        rated=", ".join(each.code for each in market.currencies[1:]),
    )


def _part(cause: Cause | None) -> str:
    """Return which part of a market's payments a chart counts, as its incident's cause names it."""
    if cause is None or cause.kind not in PARTS:
        return ""
    return _("only {kind} {name}", kind=named(cause.kind), name=named(cause.name))


def _named(market: str, total: str, *, has_receipts: bool) -> tuple[str, str]:
    """Return what a chart shows, and what it comes to."""
    if has_receipts:
        return (
            _("Value of payments without a receipt, a minute, in {market}", market=market),
            _("{total} in all, without a receipt beyond the usual.", total=total),
        )
    return (
        _("Money lost a minute in {market}", market=market),
        _("{total} in all: failed beyond the usual, or did not come.", total=total),
    )


def _marks(incident: Incident) -> list[tuple[str, str, datetime]]:
    moments = (
        ("began", _("began"), incident.began_at),
        ("opened", _("found"), incident.opened_at),
        ("acknowledged", _("acknowledged"), incident.acknowledged_at),
        ("mitigated", _("mitigated"), incident.mitigated_at),
        ("resolved", _("resolved"), incident.resolved_at),
    )
    return [(kind, said, at) for kind, said, at in moments if at is not None]


def _ticks(since: int, until: int) -> Sequence[Tick]:
    step = max((until - since) // TICKS, 1)
    step = next((each for each in (1, 2, 5, 10, 15, 30, 60, 120, 240) if each >= step), 240)
    first = -(-since // step) * step
    return [
        Tick(at=(minute - since) / (until - since), name=f"{_at(minute):%H:%M}")
        for minute in range(first, until, step)
    ]


def _says(point: Point, written: Callable[[float], str]) -> str:
    at = f"{_at(point.minute):%H:%M}"
    if point.lost is None:
        return _("{at} UTC: nobody saw", at=at)
    return _("{at} UTC: {lost} lost a minute", at=at, lost=written(point.lost))


def _row(point: Point, written: Callable[[float], str]) -> Row:
    is_blind = point.lost is None
    return Row(
        at=f"{_at(point.minute):%H:%M}",
        tried="" if is_blind else number(point.tried),
        failed="" if is_blind else number(point.failed),
        missing="" if is_blind else number(point.missing),
        lost=_("not seen") if point.lost is None else written(point.lost),
        is_blind=is_blind,
    )


def _at(minute: int) -> datetime:
    return from_micros(minute * 60_000_000)
