"""Telling the public of an incident: drafts in every language of its market, published by staff."""

import asyncio
from collections.abc import Mapping
from typing import Any

from litestar import Response, get, post
from litestar.exceptions import HTTPException

from umoja.clock import from_micros
from umoja.console.pages import FORM_MAX, Asked, Pages, Visitor
from umoja.console.status_pages import Speech, local_time
from umoja.console.words import _, later
from umoja.markets.market import Market
from umoja.markets.texts import Texts
from umoja.ops.centre import Centre
from umoja.ops.incident import Incident, Stage
from umoja.ops.service_state import LISTED, MESSAGES, RECEIPTS, State
from umoja.ops.status_messages import KINDS, TEXT_MAX, MessageRefused

KIND_NAMES = {
    "partly": later("Some payments fail"),
    "down": later("Not working"),
    "identified": later("Cause found"),
    "watching": later("Working again, we watch"),
    "over": later("All clear"),
}
SUGGESTED = {
    Stage.INVESTIGATING: "partly",
    Stage.IDENTIFIED: "identified",
    Stage.MITIGATED: "watching",
    Stage.RESOLVED: "over",
    Stage.REVIEWED: "over",
}


def telling_pages(pages: Pages, centre: Centre) -> list[Any]:
    """Return the handlers of `/incidents/{id}/telling`."""
    texts = Texts.load()

    def found(incident_id: str) -> tuple[Incident, Market]:
        incident = centre.incidents.get(incident_id)
        market = pages.markets.get(incident.market) if incident is not None else None
        if incident is None or market is None:
            raise HTTPException(status_code=404)
        return incident, market

    def page(
        visitor: Visitor,
        incident_id: str,
        asked: Mapping[str, str],
        *,
        status: int = 200,
        error: str = "",
    ) -> Response[str]:
        incident, market = found(incident_id)
        kind = asked.get("kind", "")
        kind = kind if kind in KINDS else suggested(incident, centre)
        touched = MESSAGES if incident.detector in RECEIPTS else incident.product
        product = asked.get("product", touched if touched in LISTED else "")
        product = product if product in {"", *LISTED} else ""
        shown = centre.status.shown(market.code)
        return pages.page(
            "status_telling.html",
            visitor,
            status=status,
            here="incidents",
            incident=incident,
            market=market,
            may_publish=pages.may(visitor, "publish", market.code),
            kinds=[(each, _(name)) for each, name in KIND_NAMES.items()],
            kind=kind,
            product=product,
            products=["", *LISTED],
            services=[(each.product, each.state.value) for each in shown.services],
            is_grave={State.PARTLY.value, State.DOWN.value},
            drafts=[
                {
                    "language": code,
                    "autonym": texts.catalogues[code].autonym,
                    "direction": "rtl" if texts.is_right_to_left(code) else "ltr",
                    "needs_review": texts.catalogues[code]
                    .entries[key_of(kind, product)]
                    .needs_review,
                    "text": asked.get(f"text_{code}")
                    or drafted(
                        texts, code, kind=kind, product=product, incident=incident, market=market
                    ),
                }
                for code in texts.offered(market)
            ],
            messages=[
                {
                    "number": each.number,
                    "kind": _(KIND_NAMES[each.kind]),
                    "is_all_clear": each.kind == "over",
                    "product": each.product,
                    "by": each.published_by,
                    "at": local_time(market, from_micros(each.published_at)),
                    "texts": [
                        (code, "rtl" if texts.is_right_to_left(code) else "ltr", text)
                        for code, text in each.texts.items()
                        if code in texts.catalogues
                    ],
                    "withdrawn_by": each.withdrawn_by,
                }
                for each in centre.status.of_incident(incident)
            ],
            text_max=TEXT_MAX,
            error=error,
        )

    @get("/incidents/{incident_id:str}/telling", include_in_schema=False, name="console.telling")
    async def show(request: Asked, incident_id: str) -> Response[str]:
        visitor = pages.visitor(request)
        if visitor.member is None and pages.sandbox is None:
            return pages.to_sign_in(request)
        incident, _market = found(incident_id)
        if not pages.may_see(visitor, incident.market):
            raise HTTPException(status_code=403)
        return page(visitor, incident_id, request.query_params)

    @post(
        "/incidents/{incident_id:str}/telling",
        include_in_schema=False,
        request_max_body_size=FORM_MAX,
        name="console.telling.act",
    )
    async def act(request: Asked, incident_id: str) -> Response[str]:
        visitor = pages.visitor(request)
        fields = await pages.form(request)
        if visitor.member is None:
            raise HTTPException(status_code=401)
        incident, market = found(incident_id)
        member = pages.require(visitor, "publish", market.code)
        try:
            match fields.get("act", ""):
                case "publish":
                    await asyncio.to_thread(
                        centre.status.publish,
                        incident,
                        product=fields.get("product", ""),
                        kind=fields.get("kind", ""),
                        texts={
                            code: fields.get(f"text_{code}", "") for code in texts.offered(market)
                        },
                        languages=texts.offered(market),
                        actor=member.name,
                    )
                case "withdraw":
                    number = fields.get("number", "")
                    is_one = number.isascii() and number.isdigit() and len(number) < 10
                    await asyncio.to_thread(
                        centre.status.withdraw,
                        incident,
                        int(number) if is_one else 0,
                        reason=fields.get("reason", ""),
                        actor=member.name,
                    )
                case _other:
                    raise HTTPException(status_code=400)
        except MessageRefused as cause:
            return page(visitor, incident_id, fields, status=422, error=str(cause))
        return pages.see_other(f"/incidents/{incident.id}/telling")

    return [show, act]


def suggested(incident: Incident, centre: Centre) -> str:
    """Return which kind of message comes next: a first one tells of the trouble, whatever is known."""
    kind = SUGGESTED[incident.stage]
    if kind == "identified" and not centre.status.of_incident(incident):
        return "partly"
    return kind


def key_of(kind: str, product: str) -> str:
    """Return the key of a draft. Texts that are late are no payments that fail: they have their own."""
    return f"status.say.{'late' if kind == 'partly' and product == MESSAGES else kind}"


def drafted(
    texts: Texts, language: str, *, kind: str, product: str, incident: Incident, market: Market
) -> str:
    """Return the draft of a message in a language: the service, and since when in local time."""
    speech = Speech(texts=texts, language=language)
    if kind == "over":
        since = incident.mitigated_at or incident.resolved_at or incident.opened_at
    else:
        since = incident.began_at
    return texts.say(
        language,
        key_of(kind, product),
        product=speech.service(product),
        time=local_time(market, since),
    )
