"""On-call in the console: who is on call, the pages that wait, handovers, links of pages and feeds."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from litestar import Response, get, post
from litestar.exceptions import HTTPException

from umoja.clock import from_micros, to_micros
from umoja.console.pages import FORM_MAX, HEADERS, Asked, Pages, Visitor
from umoja.console.words import ENGLISH, LANGUAGES, _, minute, record, recorded
from umoja.ops.centre import Centre
from umoja.ops.duty import HANDOVER_MAX, Contact, Swap, drafted
from umoja.ops.oncall import Chain, Roster, RosterRefused, gaps
from umoja.ops.paging import Page
from umoja.ops.remedies import REMEDIES, RemedyRefused

AHEAD = timedelta(days=14)


def duty_pages(pages: Pages, centre: Centre) -> list[Any]:
    duty, clock = centre.duty, pages.now

    def shown() -> dict[str, Any]:
        now = clock()
        overrides = duty.overrides()
        return {
            "on_duty": [
                {
                    "name": roster.name,
                    "markets": ", ".join(roster.markets).replace("*", _("every market")),
                    "who": who,
                    "by": by,
                    "gaps": len(gaps(roster, overrides, since=now, until=now + AHEAD)),
                    "shifts": [
                        (each.person, minute(each.starts), minute(each.ends))
                        for each in duty.shifts(roster, since=now, until=now + AHEAD)[:6]
                    ],
                }
                for roster, who, by in duty.on_call_now()
            ],
            "overrides": [
                (each.number, each.roster, each.person, _at(each.starts_at), _at(each.ends_at))
                for each in overrides
            ],
            "rosters_json": _json(duty.rosters()),
            "chains_json": _json(duty.chains()),
            "handovers": duty.handovers(limit=5),
            "allowances": centre.remedies.allowances(),
            "remedies": sorted(REMEDIES),
        }

    def asked_of(name: str) -> list[Swap]:
        return [each for each in duty.swaps(person=name) if each.asked_of == name]

    async def page(visitor: Visitor, *, status: int = 200, error: str = "", told: str = "") -> Any:
        assert visitor.member is not None, "only staff get here"
        name = visitor.member.name
        values = await asyncio.to_thread(shown)
        return pages.page(
            "on_call.html",
            visitor,
            status=status,
            here="on-call",
            error=error,
            told=told,
            waiting=await asyncio.to_thread(centre.pager.waiting_for, name),
            swaps_asked=len(await asyncio.to_thread(asked_of, name)),
            contact=await asyncio.to_thread(duty.contact, name),
            draft=_in_words(drafted(centre.incidents.open_ones(), by=name, now=clock())),
            handover_max=HANDOVER_MAX,
            people=sorted(each.name for each in centre.staff.browse()),
            may_manage=pages.may(visitor, "manage_duty"),
            may_allow=pages.may(visitor, "allow_remedies"),
            **values,
        )

    @get("/on-call", include_in_schema=False, name="console.on-call")
    async def show(request: Asked) -> Any:
        visitor = pages.visitor(request)
        if visitor.member is None:
            return pages.to_sign_in(request)
        return await page(visitor)

    @post(
        "/on-call",
        include_in_schema=False,
        request_max_body_size=FORM_MAX,
        name="console.on-call.act",
    )
    async def act(request: Asked) -> Any:
        visitor = pages.visitor(request)
        fields = await pages.form(request)
        member = pages.require(visitor, "see", "*" if visitor.member is None else _any(visitor))
        name = fields.get("act", "")
        told = ""
        try:
            match name:
                case "contact":
                    made = Contact(
                        name=member.name,
                        zone=fields.get("zone", "UTC"),
                        email=fields.get("email", ""),
                        phone=fields.get("phone", ""),
                        market=fields.get("market", ""),
                        webhook=fields.get("webhook", ""),
                        language=fields.get("language", ENGLISH),
                    )
                    if made.language not in LANGUAGES:
                        raise RosterRefused("there is no such language")  # noqa: TRY301
                    await asyncio.to_thread(duty.put_contact, made)
                case "calendar":
                    secret = await asyncio.to_thread(lambda: duty.make_calendar(person=member.name))
                    told = _("Your calendar, told once: {path}", path=f"/calendars/{secret}.ics")
                case "hand_over":
                    await asyncio.to_thread(
                        lambda: duty.hand_over(
                            roster=fields.get("roster", ""),
                            given_by=member.name,
                            body=fields.get("body", ""),
                        )
                    )
                case "acknowledge":  # being paged is the right to it, as with the link of a page
                    waiting = await asyncio.to_thread(centre.pager.waiting_for, member.name)
                    paged = {str(each.number): each for each in waiting}
                    page_ = paged.get(fields.get("number", ""))
                    if page_ is None:
                        raise RosterRefused("that page waits no longer")  # noqa: TRY301
                    await asyncio.to_thread(centre.pager.take, page_)
                case "take_over":
                    number = int(fields.get("number", "0")[:9])
                    if not await asyncio.to_thread(duty.take_over, number, by=member.name):
                        raise RosterRefused("it was taken already, or is your own")  # noqa: TRY301
                case "stand_in":
                    pages.require(visitor, "manage_duty")
                    await asyncio.to_thread(
                        lambda: duty.stand_in(
                            roster=fields.get("roster", ""),
                            person=fields.get("person", ""),
                            starts=_utc(fields.get("starts", "")),
                            ends=_utc(fields.get("ends", "")),
                            made_by=member.name,
                        )
                    )
                case "remove_override":
                    pages.require(visitor, "manage_duty")
                    await asyncio.to_thread(duty.remove_override, int(fields["number"][:9]))
                case "rosters":
                    pages.require(visitor, "manage_duty")
                    rosters = msgspec.json.decode(fields.get("body", ""), type=list[Roster])
                    for roster in rosters:
                        await asyncio.to_thread(duty.put_roster, roster)
                case "chains":
                    pages.require(visitor, "manage_duty")
                    for chain in msgspec.json.decode(fields.get("body", ""), type=list[Chain]):
                        await asyncio.to_thread(duty.put_chain, chain)
                case "allow":
                    pages.require(visitor, "allow_remedies")
                    await asyncio.to_thread(
                        lambda: centre.remedies.allow(
                            fields.get("remedy", ""),
                            market=fields.get("market", ""),
                            most_a_day=int(fields.get("most", "0")[:4]),
                            days=int(fields.get("days", "0")[:4]),
                            actor=member.name,
                        )
                    )
                case "forbid":
                    pages.require(visitor, "allow_remedies")
                    await asyncio.to_thread(
                        lambda: centre.remedies.forbid(
                            fields.get("remedy", ""), market=fields.get("market", "")
                        )
                    )
                case _:
                    raise HTTPException(status_code=400)
        except (RosterRefused, RemedyRefused, msgspec.MsgspecError, ValueError, KeyError) as cause:
            return await page(visitor, status=422, error=recorded(str(cause)))
        await asyncio.to_thread(
            centre.audit.record, actor=member.name, action=f"duty_{name}", detail=""
        )
        return await page(visitor, told=told) if told else pages.see_other("/on-call")

    @get("/pages/{secret:str}", include_in_schema=False, name="console.page")
    async def paged(request: Asked, secret: str) -> Any:
        """Show what a page is about. Looking changes nothing: mail servers follow links."""
        found = await asyncio.to_thread(centre.pager.page_of, secret)
        if found is None:
            raise HTTPException(status_code=404)
        return await asyncio.to_thread(page_about, request, secret, found)

    def page_about(request: Asked, secret: str, found: Page) -> Response[str]:
        incident = centre.incidents.get(found.incident)
        assert incident is not None, "a page is of an incident, and none is removed"
        reminder = centre.pager.reminder_of(found)
        return pages.page(
            "paged.html",
            pages.visitor(request),
            here="page",
            incident=incident,
            person=found.person,
            secret=secret,
            reminder=reminder,
            reminds=reminder.words(to_micros(clock())) if reminder else "",
            value=centre.incidents.value(incident),
        )

    @post(
        "/pages/{secret:str}",
        include_in_schema=False,
        request_max_body_size=FORM_MAX,
        name="console.page.acknowledge",
    )
    async def acknowledge(request: Asked, secret: str) -> Any:
        await pages.form(request)
        found = await asyncio.to_thread(centre.pager.page_of, secret)
        if found is None:
            raise HTTPException(status_code=404)
        incident = await asyncio.to_thread(centre.pager.acknowledge, secret)
        assert incident is not None, "it was found a moment ago"
        await asyncio.to_thread(
            centre.audit.record,
            actor=found.person,
            action="page_acknowledged",
            market=incident.market,
            detail=incident.id,
        )
        return await asyncio.to_thread(page_about, request, secret, found)

    @get("/calendars/{name:str}", include_in_schema=False, name="console.calendar")
    async def calendar(name: str) -> Response[bytes]:
        if not name.endswith(".ics"):
            raise HTTPException(status_code=404)
        feed = await asyncio.to_thread(duty.feed, name.removesuffix(".ics"))
        if feed is None:
            raise HTTPException(status_code=404)
        return Response(
            feed,
            media_type="text/calendar; charset=utf-8",
            headers=HEADERS | {"content-disposition": 'inline; filename="on-call.ics"'},
        )

    return [show, act, paged, acknowledge, calendar]


def _any(visitor: Visitor) -> str:
    """Return a market in which a member has a role: on-call is everybody's who has any."""
    assert visitor.member is not None, "asked only of members"
    return next(iter(visitor.member.roles), "*")


def _json(values: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(values), indent=2).decode()


def _in_words(draft: str) -> str:
    """Return a drafted handover in the language of whoever amends it, line by line."""
    lines = [(line, line.lstrip()) for line in draft.split("\n")]
    return "\n".join(line[: len(line) - len(text)] + record(text) for line, text in lines)


def _utc(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError as cause:
        raise RosterRefused("a time is written as 2026-03-31T08:00, in UTC") from cause


def _at(micros: int) -> str:
    return minute(from_micros(micros))
