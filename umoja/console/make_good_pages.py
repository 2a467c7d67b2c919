"""Make-good and notices in the console: who was wronged, batches and their release, what people are told."""

import asyncio
import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from typing import Any

from litestar import MediaType, Response, get, post
from litestar.exceptions import HTTPException

from umoja.clock import from_micros
from umoja.console.pages import FORM_MAX, HEADERS, Asked, Pages, Visitor
from umoja.console.words import _, later, place
from umoja.faults import Fault
from umoja.markets.texts import Texts
from umoja.ops.centre import Centre
from umoja.ops.incident import Incident
from umoja.ops.make_good import LINES_MAX, NOTE_MAX, Batch, Line, MakeGoodRefused
from umoja.ops.notices import KINDS, NoticeRefused
from umoja.ops.staff import CodeNeeded
from umoja.payments.noticing import notice_text
from umoja.signals import Reached, Wrong, Wrongs

FIELDS_MAX = LINES_MAX + 10
LISTED_MAX = 5  # batches whose lines stand on the page
SAID_FOR_LAST = 50  # incidents that the call centre may be asked about
COLUMNS = (
    "line", "order", "kind", "act", "product", "amount_minor", "currency", "who", "is_sure",
    "why", "state", "reason", "tries",
)  # fmt: skip

WRONGS = {
    "double_charge": later("paid twice"),
    "wrong_fee": later("charged too much"),
    "business_fee": later("business charged too much"),
    "stuck": later("money stuck"),
}
ACTS = {
    "reverse": later("ask it back of the receiver"),
    "compensate": later("pay it back ourselves"),
    "settle": later("end the hold"),
}
NOTICES = {
    "trouble": later("There is a disturbance"),
    "over": later("It works again"),
}
STATES = {
    "drafted": later("drafted: waits for a second person"),
    "released": later("released: being carried out"),
    "done": later("done"),
    "withdrawn": later("withdrawn"),
}
LINES = {
    "drafted": later("drafted"),
    "released": later("not asked for yet"),
    "unknown": later("not known: asked again"),
    "waiting": later("waiting"),
    "done": later("put right"),
    "declined": later("declined"),
    "withdrawn": later("withdrawn"),
}


def ticked(wrong: Wrong) -> str:
    """Return the name of a line's tick: the same for the same wrong, whenever it is found."""
    return f"t{hashlib.sha256(f'{wrong.order}|{wrong.kind}'.encode()).hexdigest()[:12]}"


def make_good_pages(pages: Pages, centre: Centre, *, texts: Texts | None = None) -> list[Any]:
    """Return the handlers. `texts` are what customers read, all of them where none are given."""
    spoken = texts or Texts.load()
    deeds = centre.make_good

    def found(incident_id: str) -> Incident:
        incident = centre.incidents.get(incident_id)
        # What is of no one market has no journal in which to look.
        if incident is None or incident.market not in pages.markets:
            raise HTTPException(status_code=404)
        return incident

    def of_staff(visitor: Visitor, incident: Incident) -> None:
        """Make-good is for staff of the market, in a sandbox too: it is about people's money."""
        pages.require(visitor, "see", incident.market)

    def written(market: str, minor: int, currency: str) -> str:
        return deeds.written(market, {currency: minor})

    # Make-good

    def batches(visitor: Visitor, incident: Incident) -> dict[str, Any]:
        name = visitor.member.name if visitor.member else ""
        may_release = pages.may(visitor, "release_money", incident.market)
        may_draft = pages.may(visitor, "draft_money", incident.market)
        return {
            "incident_id": incident.id,
            "batches": [
                {
                    "number": each.number,
                    "state": each.state,
                    "says": _(STATES[each.state]),
                    "note": each.note,
                    "lines": each.lines,
                    "total": deeds.written(each.market, each.totals),
                    "done": deeds.written(each.market, each.done),
                    "counts": [
                        (_(LINES[state]), each.counts[state])
                        for state in LINES
                        if each.counts.get(state)
                    ],
                    "ended": sum(each.counts.get(word, 0) for word in ("done", "declined")),
                    "drafted_by": each.drafted_by,
                    "drafted_at": from_micros(each.drafted_at),
                    "released_by": each.released_by,
                    "released_at": from_micros(each.released_at),
                    "may_release": each.state == "drafted"
                    and may_release
                    and name != each.drafted_by,
                    "is_own": name == each.drafted_by,
                    "may_withdraw": each.state == "drafted" and may_draft,
                }
                for each in deeds.of_incident(incident.id)
            ],
        }

    def listed(incident: Incident) -> list[dict[str, Any]]:
        """Return the lines of the newest batches; a file has those of each."""
        return [
            {
                "number": each.number,
                "rows": [row(each, line) for line in deeds.lines(each.number)],
            }
            for each in deeds.of_incident(incident.id)[:LISTED_MAX]
        ]

    def row(batch: Batch, line: Line) -> dict[str, Any]:
        return {
            "line": line.line,
            "order": line.order_id,
            "kind": _(WRONGS.get(line.kind, line.kind)),
            "act": _(ACTS.get(line.act, line.act)),
            "product": line.product,
            "amount": written(batch.market, line.amount_minor, line.currency),
            "state": line.state,
            "says": _(LINES[line.state]),
            "reason": line.reason.replace("_", " "),
        }

    def looked(incident: Incident, wrongs: Wrongs, ticks: Iterable[str] | None) -> dict[str, Any]:
        totals: dict[str, int] = {}
        for each in wrongs.lines:
            totals[each.currency] = totals.get(each.currency, 0) + each.amount_minor
        chosen = None if ticks is None else set(ticks)
        return {
            "lines": [
                {
                    "tick": ticked(each),
                    "is_ticked": each.is_sure if chosen is None else ticked(each) in chosen,
                    "is_sure": each.is_sure,
                    "order": each.order,
                    "who": each.who[:8],
                    "kind": _(WRONGS.get(each.kind, each.kind)),
                    "act": _(ACTS.get(each.act, each.act)),
                    "product": each.product,
                    "amount": written(incident.market, each.amount_minor, each.currency),
                    "at": from_micros(each.at),
                    "why": each.why,
                }
                for each in wrongs.lines
            ],
            "total": deeds.written(incident.market, totals),
            "looked_at": wrongs.looked_at,
            "unjudged": wrongs.unjudged,
            "more": wrongs.more,
        }

    async def page(
        visitor: Visitor,
        incident: Incident,
        *,
        after: int | None = None,
        ticks: Iterable[str] | None = None,
        note: str = "",
        error: str = "",
        status: int = 200,
    ) -> Response[str]:
        """Show the batches, and whom the incident wronged where `after` says from where to look."""
        wrongs: dict[str, Any] | None = None
        if after is not None:
            try:
                wrongs = looked(incident, await deeds.find(incident, after=after), ticks)
            except Fault as cause:
                error, status = error or _not_asked(cause), 503 if status == 200 else status
        return pages.page(
            "make_good.html",
            visitor,
            here="incidents",
            status=status,
            error=error,
            incident=incident,
            market=place(pages.markets[incident.market]),
            wrongs=wrongs,
            after=after or 0,
            note=note,
            note_max=NOTE_MAX,
            may_draft=pages.may(visitor, "draft_money", incident.market),
            listed=await asyncio.to_thread(listed, incident),
            **await asyncio.to_thread(batches, visitor, incident),
        )

    @get(
        "/incidents/{incident_id:str}/make-good", include_in_schema=False, name="console.make-good"
    )
    async def show(request: Asked, incident_id: str) -> Response[str]:
        visitor = pages.visitor(request)
        if visitor.member is None:
            return pages.to_sign_in(request)
        incident = found(incident_id)
        of_staff(visitor, incident)
        wanted = request.query_params.get("after")
        return await page(visitor, incident, after=None if wanted is None else _whole(wanted))

    @get(
        "/incidents/{incident_id:str}/make-good/live",
        include_in_schema=False,
        name="console.make-good.live",
    )
    async def live(request: Asked, incident_id: str) -> Response[str]:
        visitor = pages.visitor(request)
        incident = found(incident_id)
        of_staff(visitor, incident)
        values = await asyncio.to_thread(batches, visitor, incident)
        return pages.part("make_good_live.html", form_token=visitor.form_token, **values)

    @get(
        "/incidents/{incident_id:str}/make-good/{name:str}",
        include_in_schema=False,
        name="console.make-good.export",
    )
    async def export(request: Asked, incident_id: str, name: str) -> Response[str]:
        visitor = pages.visitor(request)
        incident = found(incident_id)
        of_staff(visitor, incident)
        number, _dot, kind = name.partition(".")
        batch = await asyncio.to_thread(deeds.batch, _whole(number))
        if batch is None or batch.incident != incident.id or kind not in {"csv", "json"}:
            raise HTTPException(status_code=404)
        lines = await asyncio.to_thread(deeds.lines, batch.number)
        return _file(batch, lines, kind)

    @post(
        "/incidents/{incident_id:str}/make-good",
        include_in_schema=False,
        request_max_body_size=FORM_MAX,
        name="console.make-good.act",
    )
    async def act(request: Asked, incident_id: str) -> Response[str]:
        visitor = pages.visitor(request)
        fields = await pages.form(request, fields_max=FIELDS_MAX)
        if visitor.member is None:
            raise HTTPException(status_code=401)
        incident = found(incident_id)
        of_staff(visitor, incident)
        who, name = visitor.member.name, fields.get("act", "")
        after = _whole(fields["after"]) if "after" in fields else None
        try:
            match name:
                case "draft":
                    pages.require(visitor, "draft_money", incident.market)
                    await draft(incident, fields, who, after or 0)
                case "release" | "withdraw":
                    number = _whole(fields.get("batch", ""))
                    batch = await asyncio.to_thread(deeds.batch, number)
                    if batch is None or batch.incident != incident.id:
                        raise HTTPException(status_code=404)
                    if name == "release":
                        await asyncio.to_thread(
                            deeds.release, number, actor=who, session=visitor.session
                        )
                    else:
                        await asyncio.to_thread(deeds.withdraw, number, actor=who)
                case _:
                    raise HTTPException(status_code=400)
        except CodeNeeded:
            return pages.to_code(f"/incidents/{incident.id}/make-good")
        except MakeGoodRefused as cause:
            return await page(
                visitor,
                incident,
                after=after if name == "draft" else None,
                ticks=fields,
                note=fields.get("note", ""),
                error=str(cause),
                status=422,
            )
        return pages.see_other(f"/incidents/{incident.id}/make-good")

    async def draft(incident: Incident, fields: Mapping[str, str], who: str, after: int) -> None:
        """Draft what is ticked, as the market says it now: a form's own sums are never trusted."""
        wanted = {name for name in fields if name.startswith("t") and len(name) == 13}
        try:
            wrongs = await deeds.find(incident, after=after)
        except Fault as cause:
            raise MakeGoodRefused(_not_asked(cause)) from cause
        lines = [each for each in wrongs.lines if ticked(each) in wanted]
        if len(lines) != len(wanted):
            raise MakeGoodRefused("what you ticked has changed meanwhile: look again")
        await asyncio.to_thread(
            deeds.draft, incident, lines, actor=who, note=fields.get("note", "")
        )

    # Notices

    def said(incident: Incident, key: str) -> list[dict[str, Any]]:
        """Return a text about the incident's product in each language of its market."""
        market = pages.markets[incident.market]
        return [
            {
                "code": code,
                "name": spoken.catalogues[code].autonym,
                "is_right_to_left": spoken.is_right_to_left(code),
                "text": notice_text(spoken, code, key, incident.product, limit=1_000),
                "needs_review": spoken.catalogues[code].entries[key].needs_review,
            }
            for code in spoken.offered(market)
        ]

    async def notices_page(
        visitor: Visitor,
        incident: Incident,
        *,
        counted: tuple[str, Reached] | None = None,
        error: str = "",
        status: int = 200,
    ) -> Response[str]:
        sent = await asyncio.to_thread(centre.notices.of_incident, incident.id)
        return pages.page(
            "notices.html",
            visitor,
            here="incidents",
            status=status,
            error=error,
            incident=incident,
            market=place(pages.markets[incident.market]),
            kinds=[(kind, _(NOTICES[kind]), said(incident, f"notice.{kind}")) for kind in KINDS],
            lines=said(incident, "notice.line"),
            is_shown=centre.notices.is_shown(incident),
            counted=counted,
            sent=[
                (_(NOTICES.get(each.kind, each.kind)), each, from_micros(each.sent_at))
                for each in sent
            ],
            may_publish=pages.may(visitor, "publish", incident.market),
        )

    @get("/incidents/{incident_id:str}/notices", include_in_schema=False, name="console.notices")
    async def notices(request: Asked, incident_id: str) -> Response[str]:
        visitor = pages.visitor(request)
        if visitor.member is None:
            return pages.to_sign_in(request)
        incident = found(incident_id)
        of_staff(visitor, incident)
        kind = request.query_params.get("count", "")
        if kind not in KINDS:
            return await notices_page(visitor, incident)
        try:
            counted = (kind, await centre.notices.count(incident, kind))
        except Fault as cause:
            return await notices_page(visitor, incident, error=_not_asked(cause), status=503)
        return await notices_page(visitor, incident, counted=counted)

    @post(
        "/incidents/{incident_id:str}/notices",
        include_in_schema=False,
        request_max_body_size=FORM_MAX,
        name="console.notices.act",
    )
    async def notify(request: Asked, incident_id: str) -> Response[str]:
        visitor = pages.visitor(request)
        fields = await pages.form(request)
        if visitor.member is None:
            raise HTTPException(status_code=401)
        incident = found(incident_id)
        member = pages.require(visitor, "publish", incident.market)
        try:
            match fields.get("act", ""):
                case "send":
                    kind = fields.get("kind", "")
                    await centre.notices.send(incident, kind, actor=member.name)
                case "show":
                    centre.notices.show(incident, actor=member.name)
                case "hide":
                    centre.notices.hide(incident, actor=member.name)
                case _:
                    raise HTTPException(status_code=400)
        except NoticeRefused as cause:
            return await notices_page(visitor, incident, error=str(cause), status=422)
        except Fault as cause:
            return await notices_page(visitor, incident, error=_not_asked(cause), status=503)
        return pages.see_other(f"/incidents/{incident.id}/notices")

    # The call centre

    def calls(visitor: Visitor) -> list[dict[str, Any]]:
        """Return what is said now, of each incident that is open or was lately."""
        day = pages.now().timestamp() - 86_400
        return [
            {
                "incident": each.id,
                "market": each.market,
                "market_name": place(pages.markets[each.market]),
                "product": each.product,
                "state": "trouble" if each.is_open else "over",
                "says": said(each, "call.trouble" if each.is_open else "call.over"),
            }
            for each in centre.incidents.recent(limit=SAID_FOR_LAST)
            if each.market in pages.markets
            and pages.may_see(visitor, each.market)
            and not each.parent
            and (each.resolved_at is None or each.resolved_at.timestamp() >= day)
        ]

    @get("/call-centre", include_in_schema=False, name="console.call-centre")
    async def call_centre(request: Asked) -> Response[str]:
        visitor = pages.visitor(request)
        if visitor.member is None and pages.sandbox is None:
            return pages.to_sign_in(request)
        return pages.page(
            "notices_calls.html",
            visitor,
            here="incidents",
            calls=await asyncio.to_thread(calls, visitor),
        )

    @get("/call-centre.json", include_in_schema=False, name="console.call-centre.json")
    async def call_centre_json(request: Asked) -> Response[str]:
        visitor = pages.visitor(request)
        if visitor.member is None and pages.sandbox is None:
            raise HTTPException(status_code=401)
        said_now = await asyncio.to_thread(calls, visitor)
        body = json.dumps({"incidents": said_now}, ensure_ascii=False)
        return Response(body, media_type=MediaType.JSON, headers=HEADERS)

    return [show, live, export, act, notices, notify, call_centre, call_centre_json]


def _whole(text: str) -> int:
    """Return a whole number of a path or a form; 404 for anything else."""
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise HTTPException(status_code=404)
    return int(text)


def _not_asked(cause: Fault) -> str:
    return f"the market cannot be asked now: {cause}"


def _file(batch: Batch, lines: list[Line], kind: str) -> Response[str]:
    """Return a batch as a file: order ids and sums, nobody's name or number."""
    rows = [
        {name: line.order_id if name == "order" else getattr(line, name) for name in COLUMNS}
        for line in lines
    ]
    headers = HEADERS | {
        "content-disposition": f'attachment; filename="{batch.incident}-batch-{batch.number}.{kind}"'
    }
    if kind == "json":
        about = {
            "batch": batch.number, "incident": batch.incident, "market": batch.market,
            "state": batch.state, "note": batch.note, "drafted_by": batch.drafted_by,
            "released_by": batch.released_by, "totals": batch.totals, "done": batch.done,
            "lines": rows,
        }  # fmt: skip
        text = json.dumps(about, ensure_ascii=False, indent=1)
        return Response(text, media_type=MediaType.JSON, headers=headers)
    out = io.StringIO()
    table = csv.DictWriter(out, COLUMNS)
    table.writeheader()
    table.writerows(rows)
    return Response(out.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)
