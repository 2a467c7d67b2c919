"""Regulators' clocks in the console: which run, until when, the draft of the notice, and their end."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from litestar import Response, get, post
from litestar.exceptions import HTTPException

from umoja.clock import from_micros, to_micros
from umoja.console.cards import lasted
from umoja.console.pages import FORM_MAX, HEADERS, Asked, Pages, Visitor
from umoja.console.words import minute, place
from umoja.markets.market import Market
from umoja.ops.centre import Centre
from umoja.ops.incident import Incident
from umoja.ops.regulator_notice import drafted
from umoja.ops.regulators import (
    HALF,
    REFERENCE_MAX,
    TEXT_MAX,
    ClockRefused,
    ClockUnknown,
    RegulatorClock,
)
from umoja.ops.status_messages import first

STATES = {0: "good", HALF: "attention"}
LOCAL = "%Y-%m-%dT%H:%M"  # as a field for a date and a time is filled in


def regulator_pages(pages: Pages, centre: Centre) -> list[Any]:
    """Return the handlers of `/regulators`."""
    clocks = centre.regulators

    def found(visitor: Visitor, number: int) -> tuple[RegulatorClock, Incident, Market]:
        try:
            clock = clocks.get(number)
        except ClockUnknown:
            raise HTTPException(status_code=404) from None
        incident, market = centre.incidents.get(clock.incident), pages.markets.get(clock.market)
        if incident is None or market is None:
            raise HTTPException(status_code=404)
        if not pages.may_see(visitor, clock.market):
            raise HTTPException(status_code=401 if visitor.member is None else 403)
        return clock, incident, market

    def draft(clock: RegulatorClock, incident: Incident, market: Market) -> str:
        return drafted(
            clock,
            incident,
            market,
            now=pages.now(),
            remedies=[each.says for each in centre.remedies.of_incident(incident.id)],
            told=[
                (from_micros(each.published_at), first(each.texts))
                for each in reversed(centre.status.of_incident(incident))
                if not each.withdrawn_at
            ],
        )

    def page(
        visitor: Visitor,
        number: int,
        *,
        status: int = 200,
        error: str = "",
        kept: Mapping[str, str],
    ) -> Response[str]:
        clock, incident, market = found(visitor, number)
        return pages.page(
            "regulators_clock.html",
            visitor,
            status=status,
            here="regulators",
            clock=clock_line(clock, market, now=pages.now()),
            incident=incident,
            market=market,
            body=clock.body,
            draft=draft(clock, incident, market),
            may_end=pages.may(visitor, "publish", market.code) and clock.is_running,
            local_now=f"{market.local(pages.now()):{LOCAL}}",
            reference_max=REFERENCE_MAX,
            reason_max=TEXT_MAX,
            error=error,
            kept=kept,
        )

    @get("/regulators", include_in_schema=False, name="console.regulators")
    async def browse(request: Asked) -> Response[str]:
        visitor = pages.visitor(request)
        if visitor.member is None and pages.sandbox is None:
            return pages.to_sign_in(request)
        seen = {code: each for code, each in pages.markets.items() if pages.may_see(visitor, code)}
        running = await asyncio.to_thread(clocks.running)
        ended = await asyncio.to_thread(clocks.ended)
        now = pages.now()
        return pages.page(
            "regulators.html",
            visitor,
            here="regulators",
            running=[clock_line(e, seen[e.market], now=now) for e in running if e.market in seen],
            ended=[clock_line(e, seen[e.market], now=now) for e in ended if e.market in seen],
            rules=[(market, rule) for market in seen.values() for rule in market.notices],
            without=[place(market) for code, market in seen.items() if not clocks.has_rules(code)],
        )

    @get("/regulators/{number:int}", include_in_schema=False, name="console.regulator")
    async def show(request: Asked, number: int) -> Response[str]:
        visitor = pages.visitor(request)
        if visitor.member is None and pages.sandbox is None:
            return pages.to_sign_in(request)
        return await asyncio.to_thread(page, visitor, number, kept={})

    @get("/regulators/{number:int}/notice.txt", include_in_schema=False, name="console.notice")
    async def notice(request: Asked, number: int) -> Response[str]:
        visitor = pages.visitor(request)
        if visitor.member is None and pages.sandbox is None:
            return pages.to_sign_in(request)
        text = await asyncio.to_thread(lambda: draft(*found(visitor, number)))
        return Response(text, media_type="text/plain", headers=HEADERS)

    @post(
        "/regulators/{number:int}",
        include_in_schema=False,
        request_max_body_size=FORM_MAX,
        name="console.regulator.act",
    )
    async def act(request: Asked, number: int) -> Response[str]:
        visitor = pages.visitor(request)
        fields = await pages.form(request)
        if visitor.member is None:
            raise HTTPException(status_code=401)
        _clock, _incident, market = await asyncio.to_thread(found, visitor, number)
        member = pages.require(visitor, "publish", market.code)
        try:
            match fields.get("act", ""):
                case "sent":
                    await asyncio.to_thread(
                        clocks.sent,
                        number,
                        reference=fields.get("reference", ""),
                        actor=member.name,
                        at=_at(market, fields.get("at", "")),
                    )
                case "not_required":
                    await asyncio.to_thread(
                        clocks.not_required,
                        number,
                        reason=fields.get("reason", ""),
                        actor=member.name,
                    )
                case _:
                    raise HTTPException(status_code=400)
        except ClockRefused as cause:
            return await asyncio.to_thread(
                page, visitor, number, status=422, error=str(cause), kept=fields
            )
        return pages.see_other(f"/regulators/{number}")

    return [browse, show, notice, act]


def clock_line(clock: RegulatorClock, market: Market, *, now: datetime) -> dict[str, Any]:
    """Return a clock as lists show it."""
    micros = to_micros(now)
    left = clock.left_s(micros)
    return {
        "number": clock.number,
        "incident": clock.incident,
        "market": place(market),
        "recipient": clock.body.recipient,
        "hours": clock.body.hours,
        "standing": clock.body.standing,
        "due": minute(market.local(from_micros(clock.due_at))),
        "is_running": clock.is_running,
        "is_overdue": left <= 0,
        "left": lasted(abs(left)),
        "state": STATES.get(clock.stage(micros), "bad"),
        "sent": f"{market.local(from_micros(clock.sent_at)):%Y-%m-%d %H:%M}"
        if clock.sent_at
        else "",
        "sent_by": clock.sent_by,
        "reference": clock.reference,
        "was_late": clock.was_late,
        "waived_by": clock.waived_by,
        "reason": clock.reason,
    }


def telling_of(centre: Centre, incident: Incident, market: Market | None, *, now: datetime) -> Any:
    """Return what `incident_clocks.html` shows of an incident: its clocks, and what was published."""
    if market is None:
        return None
    return {
        "clocks": [
            clock_line(each, market, now=now) for each in centre.regulators.of_incident(incident.id)
        ],
        "has_rules": centre.regulators.has_rules(incident.market),
        "published": sum(not each.withdrawn_at for each in centre.status.of_incident(incident)),
    }


def _at(market: Market, text: str) -> datetime | None:
    """Read a moment in a market's own time; None where none is given. Raise ClockRefused."""
    if not text.strip():
        return None
    try:
        local = datetime.strptime(text.strip()[:16], LOCAL).replace(tzinfo=market.zone)
    except ValueError as cause:
        raise ClockRefused("a time is written as 2026-03-31T14:05, in the market's time") from cause
    return local.astimezone(UTC)
