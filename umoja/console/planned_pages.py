"""Planned work: what is on now, what is coming and what was; planned, ended, extended, called off."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from litestar import Response, get, post
from litestar.exceptions import HTTPException

from umoja.clock import from_micros, to_micros
from umoja.console.alarm_pages import EVERYWHERE, may_see, who_may_look
from umoja.console.cards import touched
from umoja.console.pages import FORM_MAX, Asked, Pages, Visitor
from umoja.console.silence_pages import DAY_NAMES
from umoja.console.words import _, minute, named, place
from umoja.markets.market import Market
from umoja.ops.board import PAY, SMS
from umoja.ops.centre import Centre
from umoja.ops.planned import (
    LONGEST,
    NAME_MAX,
    WHAT_MAX,
    WHO_MAX,
    Busy,
    PlannedWork,
    Standing,
    Stretch,
    WorkRefused,
    WorkUnknown,
    busy_in,
)
from umoja.ops.service_state import SERVICES
from umoja.ops.silences import DAYS, DAYS_NOTE, HOURS_NOTE, ZONE_NOTE, SilenceRefused, window_of
from umoja.ops.telemetry import CHANNELS

WORKS_SHOWN = 200
BUSY_SHOWN = 6
NAMES_TEXT_MAX = 600
NUMBER_DIGITS_MAX = 9
LONGER = (15, 30, 60, 120)  # minutes
LONGEST_H = LONGEST // timedelta(hours=1)

Fields = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkLine:
    """One planned work as the list shows it."""

    number: int
    standing: str
    what: str
    market: str
    touches: str
    done_by: str
    undone_by: str
    made_by: str
    times: str
    zone: str
    again: str
    became: str
    busy: tuple[str, ...]
    may_change: bool


def planned_pages(pages: Pages, centre: Centre) -> list[Any]:
    works = centre.planned

    def line(work: PlannedWork, visitor: Visitor) -> WorkLine:
        now = to_micros(pages.now())
        standing = work.standing(now)
        stretch = work.stretch(now) or Stretch(starts_at=work.starts_at, ends_at=work.ends_at)
        zone = _zone_of(work, pages.markets)
        return WorkLine(
            number=work.number,
            standing=standing.value,
            what=work.what,
            market=_market(work.market, pages.markets),
            touches=_touched(work),
            done_by=work.done_by,
            undone_by=work.undone_by,
            made_by=work.made_by,
            times=_times(stretch, zone),
            zone=str(zone),
            again=_again(work),
            became=_("called off by {who}", who=work.called_off_by) if work.called_off_by else "",
            busy=()
            if standing is Standing.PAST
            else tuple(_warnings(work.market, stretch, pages.markets)),
            may_change=standing is not Standing.PAST
            and pages.may(visitor, "work_incident", work.market),
        )

    def names() -> list[str]:
        """Return the partners and routes that payments and messages go through now."""
        found = centre.telemetry.board.groups()
        known = {each.name for each in found if each.kind == "vendor" and each.flow in {PAY, SMS}}
        return sorted(known)[:WORKS_SHOWN]

    def page(
        visitor: Visitor,
        *,
        status: int = 200,
        error: str = "",
        kept: Fields | None = None,
        looked: Sequence[str] | None = None,
    ) -> Response[str]:
        found = [
            each
            for each in works.browse()
            if each.market == EVERYWHERE or may_see(pages, visitor, each.market)
        ]
        lines = [line(each, visitor) for each in found[:WORKS_SHOWN]]
        return pages.page(
            "planned.html",
            visitor,
            status=status,
            here="alarms",
            error=error,
            kept=kept or {},
            looked=looked,
            groups=[
                (standing.value, [each for each in lines if each.standing == standing.value])
                for standing in Standing
            ],
            may_work=any(
                pages.may(visitor, "work_incident", code) for code in (EVERYWHERE, *pages.markets)
            ),
            choices=[
                (code, place(market))
                for code, market in pages.markets.items()
                if pages.may(visitor, "work_incident", code)
            ],
            may_all=pages.may(visitor, "work_incident", EVERYWHERE),
            products=[(each, named(each)) for each in SERVICES],
            channels=[(each, named(each)) for each in sorted(CHANNELS)],
            partners=names(),
            days=[(short, _(name)) for short, name in zip(DAYS, DAY_NAMES, strict=True)],
            zones=sorted({"UTC", *(z for each in pages.markets.values() for z in each.zones)}),
            longer=LONGER,
            longest_h=LONGEST_H,
            what_max=WHAT_MAX,
            who_max=WHO_MAX,
            names_max=NAMES_TEXT_MAX,
        )

    @get("/planned", include_in_schema=False, name="console.planned")
    async def show(request: Asked) -> Response[str]:
        visitor = pages.visitor(request)
        if visitor.member is None and pages.sandbox is None:
            return pages.to_sign_in(request)
        visitor = who_may_look(pages, request)
        wanted = request.query_params.get("market", "")
        kept = {"market": wanted} if wanted in pages.markets else None
        return await asyncio.to_thread(lambda: page(visitor, kept=kept))

    @post(
        "/planned",
        include_in_schema=False,
        request_max_body_size=FORM_MAX,
        name="console.planned.act",
    )
    async def act(request: Asked) -> Response[str]:
        visitor = pages.visitor(request)
        fields = await pages.form(request)
        if visitor.member is None:
            raise HTTPException(status_code=401)
        name = fields.get("act", "")
        if name not in {"plan", "look", "end", "extend", "call_off"}:
            raise HTTPException(status_code=400)
        try:
            if name in {"plan", "look"}:
                market = fields.get("market", "")
                if market not in {EVERYWHERE, *pages.markets}:
                    raise HTTPException(status_code=400)
                member = pages.require(visitor, "work_incident", market)
                if name == "look":
                    looked = _looked(fields, pages)
                    return await asyncio.to_thread(
                        lambda: page(visitor, kept=fields, looked=looked)
                    )
                await asyncio.to_thread(lambda: _plan(centre, fields, pages, member.name))
            else:
                work = works.get(_number(fields.get("number", "")))
                member = pages.require(visitor, "work_incident", work.market)
                if name == "end":
                    await asyncio.to_thread(works.end_now, work.number, actor=member.name)
                elif name == "call_off":
                    await asyncio.to_thread(works.call_off, work.number, actor=member.name)
                else:
                    minutes = _number(fields.get("minutes", ""))
                    await asyncio.to_thread(
                        lambda: works.extend(work.number, minutes=minutes, actor=member.name)
                    )
        except WorkUnknown:
            raise HTTPException(status_code=404) from None
        except (WorkRefused, SilenceRefused) as cause:
            told, kept = str(cause), fields if name in {"plan", "look"} else None
            return await asyncio.to_thread(lambda: page(visitor, status=422, error=told, kept=kept))
        return pages.see_other("/planned")

    return [show, act]


def _plan(centre: Centre, fields: Fields, pages: Pages, actor: str) -> PlannedWork:
    starts, ends = _stretch_of(fields, pages)
    zone = fields.get("zone", "UTC")
    notes = {}
    if fields.get("again") == "1":
        days = [each for each in DAYS if fields.get(f"day-{each}") == "1"]
        since, until = fields.get("since", ""), fields.get("until", "")
        if not days or not since or not until:
            raise WorkRefused("work that is done each week has days, a beginning and an end")
        notes = {DAYS_NOTE: ",".join(days), HOURS_NOTE: f"{since}-{until}", ZONE_NOTE: zone}
    return centre.planned.plan(
        market=fields.get("market", ""),
        touches=_names(fields),
        what=fields.get("what", ""),
        done_by=fields.get("done_by", ""),
        undone_by=fields.get("undone_by", ""),
        starts=starts,
        ends=ends,
        actor=actor,
        window=window_of(notes, lambda _: None),
    )


def _names(fields: Fields) -> list[str]:
    """Return the names that a form says are touched; none: the whole market."""
    if fields.get("whole") == "1":
        return []
    text = fields.get("partners", "")
    if len(text) > NAMES_TEXT_MAX:
        raise WorkRefused(f"a name has at most {NAME_MAX} letters, as the market's page shows it")
    found = [each for each in (*SERVICES, *sorted(CHANNELS)) if fields.get(f"on-{each}") == "1"]
    found += [each for each in text.split(",") if each.strip()]
    if not found:
        raise WorkRefused("say what is touched: the whole market, or parts of it")
    return found


def _looked(fields: Fields, pages: Pages) -> list[str]:
    """Return why the time in a form is a bad one."""
    starts, ends = _stretch_of(fields, pages)
    if ends <= starts:
        raise WorkRefused("it ends before it begins")
    last = min(ends, starts + LONGEST)
    stretch = Stretch(starts_at=to_micros(starts), ends_at=to_micros(last))
    return list(_warnings(fields.get("market", ""), stretch, pages.markets))


def _stretch_of(fields: Fields, pages: Pages) -> tuple[datetime, datetime]:
    """Return the beginning and the end in a form; no beginning is now."""
    zone = fields.get("zone", "UTC")
    if zone not in {"UTC", *(each for market in pages.markets.values() for each in market.zones)}:
        raise WorkRefused("choose in which zone the times are")
    starts = _moment(fields["starts"], zone) if fields.get("starts") else pages.now()
    return starts, _moment(fields.get("ends", ""), zone)


def _moment(text: str, zone: str) -> datetime:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    except (ValueError, OverflowError) as cause:
        raise WorkRefused("a time is written as 2026-03-31T22:00") from cause


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= NUMBER_DIGITS_MAX):
        raise WorkUnknown("a number is digits")
    return int(text)


def _warnings(code: str, stretch: Stretch, markets: Mapping[str, Market]) -> Iterable[str]:
    """Yield why a stretch is a bad time, of one market or of all."""
    found = [
        (market, busy)
        for market in markets.values()
        if code in {EVERYWHERE, market.code}
        for busy in busy_in(market, stretch)
    ]
    for market, busy in found[:BUSY_SHOWN]:
        yield _warning(market, busy)


def _warning(market: Market, busy: Busy) -> str:
    name = place(market)
    match busy.kind:
        case "peak":
            return _("{market}: the busy hours {hours} lie in it", market=name, hours=busy.hours)
        case "payday":
            return _("{market}: it is payday", market=name)
        case _:
            return _("{market}: it is a busy season", market=name)


def _market(code: str, markets: Mapping[str, Market]) -> str:
    if code == EVERYWHERE:
        return _("every market")
    return place(markets[code]) if code in markets else code


def _touched(work: PlannedWork) -> str:
    return ", ".join(map(touched, work.touches)) or _("the whole market")


def _zone_of(work: PlannedWork, markets: Mapping[str, Market]) -> ZoneInfo:
    if work.window is not None:
        return ZoneInfo(work.window.zone)
    return markets[work.market].zone if work.market in markets else ZoneInfo("UTC")


def _times(stretch: Stretch, zone: ZoneInfo) -> str:
    starts = from_micros(stretch.starts_at).astimezone(zone)
    ends = from_micros(stretch.ends_at).astimezone(zone)
    return _(
        "{start} to {end} ({zone})", start=minute(starts), end=minute(ends), zone=f"{starts:%Z}"
    )


def _again(work: PlannedWork) -> str:
    window = work.window
    if window is None:
        return ""
    days = ", ".join(_(DAY_NAMES[each]) for each in window.days)
    hours = window.shown.split(" ")[1]
    until = from_micros(work.ends_at).astimezone(ZoneInfo(window.zone))
    return _(
        "{days}, {hours}, {zone}, until {day}",
        days=days, hours=hours, zone=window.zone, day=minute(until),
    )  # fmt: skip
