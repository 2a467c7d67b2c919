"""Incidents: the list, and each with its impact, its timeline and the notes of staff."""

import asyncio
from typing import Any

from litestar import Response, get, post
from litestar.exceptions import HTTPException

from umoja.console.cards import lasted
from umoja.console.pages import FORM_MAX, Asked, Pages, Visitor, moment, words
from umoja.console.wall import Wall
from umoja.ops.centre import Centre
from umoja.ops.incident import Incident
from umoja.ops.incidents import NOTE_MAX, IncidentUnknown, NoteRefused

INCIDENTS_SHOWN = 100


def incident_pages(pages: Pages, wall: Wall, centre: Centre) -> list[Any]:
    def found(incident_id: str) -> Incident:
        incident = centre.incidents.get(incident_id)
        if incident is None:
            raise HTTPException(status_code=404)
        return incident

    def shown(incident: Incident) -> dict[str, Any]:
        line, ended = wall.line(incident), incident.resolved_at
        return {
            "incident": {
                "id": incident.id,
                "code": incident.market,
                "market": line.market,
                "title": incident.title,
                "state": incident.state,
                "severity": incident.severity,
                "detector": words(incident.detector),
                "product": words(incident.product) if incident.product else "several products",
                "payments": line.payments,
                "customers": line.customers,
                "value": line.value,
                "opened": moment(incident.opened_at),
                "resolved": moment(ended) if ended else "",
                "lasted": lasted((ended - incident.opened_at).total_seconds())
                if ended
                else line.lasted,
                "timeline": incident.timeline,
            }
        }

    def page(
        visitor: Visitor, incident: Incident, *, status: int = 200, error: str = "", note: str = ""
    ) -> Response[str]:
        return pages.page(
            "incident.html",
            visitor,
            status=status,
            here="incidents",
            may_note=pages.may(visitor, "note_incident", incident.market),
            error=error,
            note=note,
            note_max=NOTE_MAX,
            **shown(incident),
        )

    @get("/incidents", include_in_schema=False, name="console.incidents")
    async def browse(request: Asked) -> Response[str]:
        visitor = pages.visitor(request)
        if visitor.member is None and pages.sandbox is None:
            return pages.to_sign_in(request)
        wanted = request.query_params.get("market", "")
        market = wanted if wanted in pages.markets else None
        recent = await asyncio.to_thread(
            centre.incidents.recent, limit=INCIDENTS_SHOWN, market=market
        )
        lines = [wall.line(each) for each in recent if pages.may_see(visitor, each.market)]
        return pages.page(
            "incidents.html",
            visitor,
            here="incidents",
            incidents=lines,
            market=market or "",
            most=INCIDENTS_SHOWN,
        )

    @get("/incidents/{incident_id:str}", include_in_schema=False, name="console.incident")
    async def show(request: Asked, incident_id: str) -> Response[str]:
        visitor = pages.visitor(request)
        if visitor.member is None and pages.sandbox is None:
            return pages.to_sign_in(request)
        incident = found(incident_id)
        if not pages.may_see(visitor, incident.market):
            raise HTTPException(status_code=403)
        return page(visitor, incident)

    @get("/incidents/{incident_id:str}/live", include_in_schema=False, name="console.incident.live")
    async def renew(request: Asked, incident_id: str) -> Response[str]:
        visitor = pages.visitor(request)
        if visitor.member is None and pages.sandbox is None:
            raise HTTPException(status_code=401)
        incident = found(incident_id)
        if not pages.may_see(visitor, incident.market):
            raise HTTPException(status_code=403)
        return pages.part("incident_live.html", **shown(incident))

    @post(
        "/incidents/{incident_id:str}/notes",
        include_in_schema=False,
        request_max_body_size=FORM_MAX,
        name="console.incident.note",
    )
    async def note(request: Asked, incident_id: str) -> Response[str]:
        visitor = pages.visitor(request)
        fields = await pages.form(request)
        if visitor.member is None:
            raise HTTPException(status_code=401)
        incident = found(incident_id)
        member = pages.require(visitor, "note_incident", incident.market)
        text = fields.get("note", "")
        try:
            await asyncio.to_thread(
                centre.incidents.note, incident.id, actor=member.name, what=text
            )
        except (IncidentUnknown, NoteRefused) as cause:
            return page(visitor, incident, status=422, error=str(cause), note=text)
        await asyncio.to_thread(
            centre.audit.record,
            actor=member.name,
            action="note_written",
            market=incident.market,
            detail=incident.id,
        )
        return pages.see_other(f"/incidents/{incident.id}")

    return [browse, show, renew, note]
