"""Alarms of other systems as they stand, what mutes them, and the vendors' pages that are read."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from litestar import Response, get, post
from litestar.exceptions import HTTPException

from umoja.clock import from_micros
from umoja.console.pages import FORM_MAX, Asked, Pages, Visitor
from umoja.console.words import _, clock_time, day, minute, named, place
from umoja.ops.alarms import DETECTOR, Group, Standing
from umoja.ops.alert import Rule
from umoja.ops.centre import UNREADABLE, Centre
from umoja.ops.vendor_pages import URL_MAX, PageRefused

ALERTS_SHOWN = 200
EVERYWHERE = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmLine:
    """One alert as the list shows it."""

    fingerprint: str
    name: str
    severity: str
    summary: str
    labels: tuple[tuple[str, str], ...]
    since: str
    source: str
    link: str
    silenced_by: tuple[str, ...]
    inhibited_by: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLine:
    """Alerts about one thing in one market, and the incident that was opened for them."""

    market: str
    about: str
    incident: str
    alerts: tuple[AlarmLine, ...]


def alarm_pages(pages: Pages, centre: Centre) -> list[Any]:
    alarms, vendors = centre.alarms, centre.vendor_pages

    def listed(visitor: Visitor, market: str) -> dict[str, Any]:
        standing = alarms.standing()
        groups = [
            each
            for each in alarms.groups(standing)
            if market in {"", each.market} and may_see(pages, visitor, each.market)
        ]
        names = {
            each.alert.fingerprint: each.alert.name or each.alert.fingerprint for each in standing
        }
        opened = {
            (each.market, each.detector): each.id
            for each in reversed(centre.incidents.open_ones(children=True))
        }
        shown: list[GroupLine] = []
        room = ALERTS_SHOWN
        for group in groups:
            if room <= 0:
                break
            shown.append(_group_line(pages, group, names, opened, room))
            room -= len(shown[-1].alerts)
        seen = [each for group in groups for each in group.standing]
        muted = sum(each.is_suppressed for each in seen)
        return {
            "groups": shown,
            "loud": len(seen) - muted,
            "muted": muted,
            "more": max(0, len(seen) - ALERTS_SHOWN),
            "market": market,
            "services": centre.arrivals.services()[:50] if pages.may_see(visitor) else [],
        }

    def wanted(request: Asked) -> str:
        text = request.query_params.get("market", "")
        return text if text in pages.markets or text == EVERYWHERE else ""

    def vendor_lines() -> list[dict[str, Any]] | None:
        """Return the vendors' pages; None where they cannot be read: alarms stand in memory."""
        try:
            watched = vendors.browse()
        except UNREADABLE:
            return None
        announced = vendors.announcements()
        return [
            {
                "name": each.name,
                "url": each.url,
                "markets": ", ".join(each.markets),
                "added_by": each.added_by,
                "read": minute(from_micros(each.read_at)) if each.read_at else "",
                "trouble": each.trouble,
                "announced": announced.get(each.name, 0),
            }
            for each in watched
        ]

    async def alarms_page(
        request: Asked, visitor: Visitor, *, status: int = 200, error: str = "", **kept: str
    ) -> Response[str]:
        values = await asyncio.to_thread(listed, visitor, wanted(request))
        return pages.page(
            "alarms.html",
            visitor,
            status=status,
            here="alarms",
            error=error,
            kept=kept,
            vendors=await asyncio.to_thread(vendor_lines),
            rules=_rules(alarms.rules),
            may_work=pages.may(visitor, "work_incident"),
            url_max=URL_MAX,
            **values,
        )

    @get("/alarms", include_in_schema=False, name="console.alarms")
    async def show_alarms(request: Asked) -> Response[str]:
        visitor = pages.visitor(request)
        if visitor.member is None and pages.sandbox is None:
            return pages.to_sign_in(request)
        return await alarms_page(request, who_may_look(pages, request))

    @get("/alarms/live", include_in_schema=False, name="console.alarms.live")
    async def renew_alarms(request: Asked) -> Response[str]:
        visitor = who_may_look(pages, request)
        values = await asyncio.to_thread(listed, visitor, wanted(request))
        return pages.part("alarms_live.html", **values)

    @post(
        "/alarms/vendors",
        include_in_schema=False,
        request_max_body_size=FORM_MAX,
        name="console.alarms.vendor",
    )
    async def change_vendor(request: Asked) -> Response[str]:
        visitor = pages.visitor(request)
        fields = await pages.form(request)
        member = pages.require(visitor, "work_incident")
        act, name = fields.get("act", ""), fields.get("name", "")[:80]
        if act == "watch":
            try:
                await asyncio.to_thread(
                    lambda: vendors.add(
                        name=name,
                        url=fields.get("url", ""),
                        markets=[fields.get("market", "")],
                        actor=member.name,
                    )
                )
            except PageRefused as cause:
                return await alarms_page(
                    request, visitor, status=422, error=str(cause), name=name,
                    url=fields.get("url", "")[:URL_MAX],
                )  # fmt: skip
        elif act == "leave":
            await asyncio.to_thread(vendors.remove, name)
        else:
            raise HTTPException(status_code=400)
        await asyncio.to_thread(
            centre.audit.record,
            actor=member.name,
            action=f"vendor_page_{act}",
            market=fields.get("market", ""),
            detail=name,
        )
        return pages.see_other("/alarms#vendors")

    return [show_alarms, renew_alarms, change_vendor]


def who_may_look(pages: Pages, request: Asked) -> Visitor:
    """Return who asks: in a sandbox anybody, else whoever has a role. Raise 401 or 403."""
    visitor = pages.visitor(request)
    is_staff = any(pages.may(visitor, "see", code) for code in (EVERYWHERE, *pages.markets))
    if pages.sandbox is None and not is_staff:
        raise HTTPException(status_code=401 if visitor.member is None else 403)
    return visitor


def may_see(pages: Pages, visitor: Visitor, market: str) -> bool:
    """Tell whether somebody sees the alarms of a market, or of none of ours."""
    return pages.may_see(visitor, market if market in pages.markets else EVERYWHERE)


def _group_line(
    pages: Pages,
    group: Group,
    names: Mapping[str, str],
    opened: Mapping[tuple[str, str], str],
    room: int,
) -> GroupLine:
    market = pages.markets.get(group.market)
    return GroupLine(
        market=place(market) if market else _("no market of ours"),
        about=group.about,
        incident=opened.get((group.market, f"{DETECTOR}:{group.about}"), ""),
        alerts=tuple(_alarm_line(each, names) for each in group.standing[:room]),
    )


def _alarm_line(standing: Standing, names: Mapping[str, str]) -> AlarmLine:
    alert = standing.alert
    link = alert.generator_url or alert.annotations.get("link", "")
    began = from_micros(alert.starts_at)
    return AlarmLine(
        fingerprint=alert.fingerprint,
        name=alert.name or alert.fingerprint,
        severity=named(alert.labels.get("severity", "")),
        summary=alert.annotations.get("summary") or alert.annotations.get("message", ""),
        labels=tuple(
            (name, value)
            for name, value in sorted(alert.labels.items())
            if name not in {"alertname", "severity"}
        ),
        since=f"{day(began)} {clock_time(began)}",
        source=alert.source,
        link=link if link.startswith(("https://", "http://")) else "",
        silenced_by=standing.silenced_by,
        inhibited_by=tuple(names.get(each, each) for each in standing.inhibited_by),
    )


def _rules(rules: Iterable[Rule]) -> list[tuple[str, str, str]]:
    """Return which alarms mute which others, as texts: source, target, and what must be equal."""
    return [
        (", ".join(each.source), ", ".join(each.target), ", ".join(each.equal)) for each in rules
    ]
