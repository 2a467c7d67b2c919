"""Incidents: the list, each with its impact, its work and its timeline, and what staff do to it."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from litestar import Response, get, post
from litestar.exceptions import HTTPException

from umoja.clock import from_micros
from umoja.console.cards import lasted
from umoja.console.impact import ImpactChart, Impacts
from umoja.console.pages import FORM_MAX, Asked, Pages, Visitor, clock_time, moment, words
from umoja.console.regulator_pages import telling_of
from umoja.console.wall import Wall
from umoja.console.words import _, later, place
from umoja.ops.centre import Centre
from umoja.ops.incident import Cause, Incident, Post, Review, Stage, stages_after, times_of
from umoja.ops.incidents import NOTE_MAX, IncidentUnknown, NoteRefused, StepRefused
from umoja.ops.remedies import RemedyRefused, offered
from umoja.ops.runbook import runbook_of

INCIDENTS_SHOWN = 100
HANGING_SHOWN = 20
MONTHS_SHOWN = 6

STATES = ("open", "resolved")
PLACES = {
    Stage.INVESTIGATING: later("We look for the cause"),
    Stage.IDENTIFIED: later("The cause is known"),
    Stage.MITIGATED: later("The harm has stopped"),
    Stage.RESOLVED: later("It is over"),
    Stage.REVIEWED: later("It is learned from"),
}

Fields = Mapping[str, str]
Act = Callable[[Centre, Incident, str, Fields], object]
"""What a button does: the centre, the incident, who presses, and the form's fields."""


def _number(fields: Fields) -> int:
    text = fields.get("number", "")
    if not (text.isascii() and text.isdigit() and len(text) < 7):
        raise StepRefused("there is none of that number")
    return int(text)


def _acknowledge(centre: Centre, incident: Incident, who: str, _fields: Fields) -> object:
    return centre.incidents.acknowledge(incident.id, actor=who)


def _advance(centre: Centre, incident: Incident, who: str, fields: Fields) -> object:
    try:
        stage = Stage(fields.get("stage", ""))
    except ValueError as cause:
        raise StepRefused("there is no such stage") from cause
    return centre.incidents.advance(incident.id, stage, actor=who, why=fields.get("why", ""))


def _appoint(centre: Centre, incident: Incident, who: str, fields: Fields) -> object:
    try:
        role = Post(fields.get("post", ""))
    except ValueError as cause:
        raise StepRefused("there is no such role") from cause
    name = fields.get("name", "")
    if name and name not in {each.name for each in centre.staff.browse()}:
        raise StepRefused("a role is held by one of staff")
    return centre.incidents.appoint(incident.id, role, name=name, actor=who)


def _name_cause(centre: Centre, incident: Incident, who: str, fields: Fields) -> object:
    cause = Cause(kind=fields.get("kind", ""), name=fields.get("name", ""))
    return centre.incidents.name_cause(incident.id, cause, actor=who)


def _add_task(centre: Centre, incident: Incident, who: str, fields: Fields) -> object:
    return centre.incidents.add_task(
        incident.id, what=fields.get("what", ""), owner=fields.get("owner", ""), actor=who
    )


def _finish_task(centre: Centre, incident: Incident, who: str, fields: Fields) -> object:
    return centre.incidents.finish_task(incident.id, _number(fields), actor=who)


def _own(centre: Centre, incident: Incident, who: str, fields: Fields) -> object:
    return centre.incidents.own(incident.id, fields.get("order", ""), owner=who, actor=who)


def _own_all(centre: Centre, incident: Incident, who: str, _fields: Fields) -> object:
    for order in incident.orphans:
        centre.incidents.own(incident.id, order, owner=who, actor=who)
    return None


def _tick(centre: Centre, incident: Incident, who: str, fields: Fields) -> object:
    return centre.incidents.tick(
        incident.id, _number(fields), actor=who, note=fields.get("note", "")
    )


def _remedy(centre: Centre, incident: Incident, who: str, fields: Fields) -> object:
    return centre.remedies.carry_out(
        incident, fields.get("remedy", ""), target=fields.get("target", ""), actor=who
    )


def _undo(centre: Centre, incident: Incident, who: str, fields: Fields) -> object:
    number = _number(fields)
    if number not in {each.number for each in centre.remedies.of_incident(incident.id)}:
        raise StepRefused("that remedy is not this incident's")
    return centre.remedies.undo(number, actor=who)


def _review(centre: Centre, incident: Incident, who: str, fields: Fields) -> object:
    review = Review(
        summary=fields.get("summary", ""),
        causes=fields.get("causes", ""),
        went_well=fields.get("went_well", ""),
        went_badly=fields.get("went_badly", ""),
    )
    return centre.incidents.review(incident.id, review, actor=who)


def _add_action(centre: Centre, incident: Incident, who: str, fields: Fields) -> object:
    return centre.incidents.add_action(
        incident.id,
        what=fields.get("what", ""),
        owner=fields.get("owner", ""),
        due=fields.get("due", ""),
        actor=who,
    )


def _finish_action(centre: Centre, incident: Incident, who: str, fields: Fields) -> object:
    return centre.incidents.finish_action(incident.id, _number(fields), actor=who)


ACTS: dict[str, Act] = {
    "acknowledge": _acknowledge,
    "stage": _advance,
    "appoint": _appoint,
    "cause": _name_cause,
    "task": _add_task,
    "task_done": _finish_task,
    "own": _own,
    "own_all": _own_all,
    "tick": _tick,
    "remedy": _remedy,
    "undo": _undo,
    "review": _review,
    "action": _add_action,
    "action_done": _finish_action,
}


def incident_pages(pages: Pages, wall: Wall, centre: Centre) -> list[Any]:
    impacts = Impacts(centre)

    def found(incident_id: str) -> Incident:
        incident = centre.incidents.get(incident_id)
        if incident is None:
            raise HTTPException(status_code=404)
        return incident

    def chart(incident: Incident) -> ImpactChart | None:
        market = pages.markets.get(incident.market)
        return None if market is None else impacts.chart(incident, market, now=pages.now())

    def shown(visitor: Visitor, incident: Incident) -> dict[str, Any]:
        line, ended = wall.line(incident), incident.resolved_at
        sheet = incident.sheet
        ticks = {each.step: each for each in sheet.ticks}
        done = centre.remedies.of_incident(incident.id)
        holding = {(each.remedy, each.target) for each in done if not each.undone_at}
        return {
            "form_token": visitor.form_token,
            "may_work": pages.may(visitor, "work_incident", incident.market),
            "telling": telling_of(
                centre, incident, pages.markets.get(incident.market), now=pages.now()
            ),
            "incident": {
                "id": incident.id,
                "code": incident.market,
                "market": line.market,
                "title": incident.title,
                "state": incident.state,
                "stage": incident.stage.value,
                "stage_says": _(PLACES[incident.stage]),
                "is_ours": incident.market in pages.markets,
                "chart": chart(incident),
                "severity": incident.severity,
                "detectors": ", ".join(map(words, (incident.detector, *sheet.also))),
                "product": words(incident.product) if incident.product else _("several products"),
                "payments": line.payments,
                "customers": line.customers,
                "value": line.value,
                "share": sheet.share_percent,
                "agents": sheet.agents,
                "opened": moment(incident.opened_at),
                "resolved": moment(ended) if ended else "",
                "lasted": lasted((ended - incident.opened_at).total_seconds())
                if ended
                else line.lasted,
                "timeline": incident.timeline,
                "acknowledged_by": incident.acknowledged_by,
                "acknowledged_at": clock_time(incident.acknowledged_at)
                if incident.acknowledged_at
                else "",
                "cause": sheet.cause,
                "changed": sheet.changed,
                "returns": sheet.returns,
                "parent": incident.parent,
                "children": sheet.children,
                "roles": [
                    (post.value, words(post.value), sheet.roles.get(post.value, ""))
                    for post in Post
                ],
                "tasks": sheet.tasks,
                "hanging": list(sheet.hanging.items())[:HANGING_SHOWN],
                "hanging_count": len(sheet.hanging),
                "orphans": len(incident.orphans),
                "settled": sheet.settled,
                "stages": [
                    (stage.value, _(PLACES[stage]))
                    for stage in stages_after(incident.stage)
                    if stage is not Stage.REVIEWED
                ],
                "runbook": runbook_of(incident.detector).title,
                "steps": [
                    (number, step, ticks.get(number))
                    for number, step in enumerate(runbook_of(incident.detector).steps, 1)
                ],
                "remedies": [
                    (remedy.name, target, remedy.says.format(target=target))
                    for remedy, target in offered(incident)
                    if (remedy.name, target) not in holding
                ],
                "done": [
                    {
                        "number": each.number,
                        "says": each.says,
                        "by": each.done_by,
                        "allowed_by": each.allowed_by,
                        "at": clock_time(from_micros(each.done_at)),
                        "undone": each.undone_by,
                    }
                    for each in done
                ],
                "pages": [
                    (each.person, each.via, each.state, each.trouble)
                    for each in centre.pager.pages(incident.id)
                ],
                "review": sheet.review,
                "actions": sheet.actions,
                "is_ended": not incident.is_open,
            },
        }

    def page(
        visitor: Visitor, incident: Incident, *, status: int = 200, error: str = "", note: str = ""
    ) -> Response[str]:
        values = shown(visitor, incident)
        del values["form_token"]  # the page has it of its own
        return pages.page(
            "incident.html",
            visitor,
            status=status,
            here="incidents",
            may_note=pages.may(visitor, "note_incident", incident.market),
            people=sorted(each.name for each in centre.staff.browse()),
            kinds=("vendor", "partner", "route", "product", "channel", "release", "market"),
            error=error,
            note=note,
            note_max=NOTE_MAX,
            **values,
        )

    @get("/incidents", include_in_schema=False, name="console.incidents")
    async def browse(request: Asked) -> Response[str]:
        visitor = pages.visitor(request)
        if visitor.member is None and pages.sandbox is None:
            return pages.to_sign_in(request)
        wanted = request.query_params.get("market", "")
        market = wanted if wanted in pages.markets else None
        asked = request.query_params.get("state", "")
        state = asked if asked in STATES else ""
        recent = await asyncio.to_thread(
            centre.incidents.recent, limit=INCIDENTS_SHOWN, market=market
        )
        lines = [
            wall.line(each)
            for each in recent
            if pages.may_see(visitor, each.market) and state in {"", each.state}
        ]
        return pages.page(
            "incidents.html",
            visitor,
            here="incidents",
            incidents=lines,
            market=market or "",
            state=state,
            states=STATES,
            most=INCIDENTS_SHOWN,
        )

    @get("/incidents/times", include_in_schema=False, name="console.incident.times")
    async def times(request: Asked) -> Response[str]:
        visitor = pages.visitor(request)
        if visitor.member is None and pages.sandbox is None:
            return pages.to_sign_in(request)
        rows = []
        for since, until in months(request_now(), MONTHS_SHOWN):
            month = await asyncio.to_thread(
                centre.incidents.between, _micros(since), _micros(until)
            )
            for code, market in sorted(pages.markets.items()):
                mine = [each for each in month if each.market == code]
                if mine and pages.may_see(visitor, code):
                    told = times_of(mine)
                    rows.append((f"{since:%Y-%m}", place(market), told))
        return pages.page("incident_times.html", visitor, here="incidents", rows=rows, told=_told)

    def request_now() -> datetime:
        return pages.now()

    @get("/incidents/{incident_id:str}", include_in_schema=False, name="console.incident")
    async def show(request: Asked, incident_id: str) -> Response[str]:
        visitor = pages.visitor(request)
        if visitor.member is None and pages.sandbox is None:
            return pages.to_sign_in(request)
        incident = found(incident_id)
        if not pages.may_see(visitor, incident.market):
            raise HTTPException(status_code=403)
        return await asyncio.to_thread(page, visitor, incident)

    @get("/incidents/{incident_id:str}/live", include_in_schema=False, name="console.incident.live")
    async def renew(request: Asked, incident_id: str) -> Response[str]:
        visitor = pages.visitor(request)
        if visitor.member is None and pages.sandbox is None:
            raise HTTPException(status_code=401)
        incident = found(incident_id)
        if not pages.may_see(visitor, incident.market):
            raise HTTPException(status_code=403)
        values = await asyncio.to_thread(shown, visitor, incident)
        return pages.part("incident_live.html", **values)

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
            told = str(cause)
            return await asyncio.to_thread(
                lambda: page(visitor, incident, status=422, error=told, note=text)
            )
        await asyncio.to_thread(
            centre.audit.record,
            actor=member.name,
            action="note_written",
            market=incident.market,
            detail=incident.id,
        )
        return pages.see_other(f"/incidents/{incident.id}")

    @post(
        "/incidents/{incident_id:str}/acts",
        include_in_schema=False,
        request_max_body_size=FORM_MAX,
        name="console.incident.act",
    )
    async def act(request: Asked, incident_id: str) -> Response[str]:
        visitor = pages.visitor(request)
        fields = await pages.form(request)
        if visitor.member is None:
            raise HTTPException(status_code=401)
        incident = found(incident_id)
        member = pages.require(visitor, "work_incident", incident.market)
        name = fields.get("act", "")
        if name not in ACTS:
            raise HTTPException(status_code=400)
        try:
            await asyncio.to_thread(ACTS[name], centre, incident, member.name, fields)
        except (IncidentUnknown, NoteRefused, StepRefused, RemedyRefused) as cause:
            told = str(cause)
            return await asyncio.to_thread(
                lambda: page(visitor, found(incident_id), status=422, error=told)
            )
        await asyncio.to_thread(
            centre.audit.record,
            actor=member.name,
            action=f"incident_{name}",
            market=incident.market,
            detail=incident.id,
        )
        return pages.see_other(f"/incidents/{incident.id}")

    return [browse, times, show, renew, note, act]


def months(now: datetime, count: int) -> list[tuple[datetime, datetime]]:
    """Return the last months, the running one first, each with its beginning and its end in UTC."""
    found = []
    end = datetime(now.year + now.month // 12, now.month % 12 + 1, 1, tzinfo=UTC)
    for _month in range(count):
        year, month = (end.year, end.month - 1) if end.month > 1 else (end.year - 1, 12)
        start = datetime(year, month, 1, tzinfo=UTC)
        found.append((start, end))
        end = start
    return found


def _micros(at: datetime) -> int:
    return int(at.timestamp()) * 1_000_000


def _told(seconds: int | None) -> str:
    return "–" if seconds is None else lasted(seconds)
