"""A market's page: figures, charts, money, incidents, and in a sandbox its faults and drills."""

import asyncio
from collections.abc import Callable
from typing import Any

from litestar import Response, get, post
from litestar.exceptions import HTTPException

from umoja.console.cards import money_line, part_line
from umoja.console.charts import SPANS, Chart, Span, chart, mean
from umoja.console.objective_pages import Budgets, objective_line, windows
from umoja.console.pages import FORM_MAX, Asked, Pages, Visitor
from umoja.console.wall import Wall
from umoja.console.words import _, later
from umoja.ops.centre import Centre
from umoja.ops.objectives import PAGES

INCIDENTS_SHOWN = 8
CALLBACKS_SHOWN = 20  # partners: those first that fail most

_SERIES: tuple[tuple[str, str, str, float, Callable[[list[float]], float]], ...] = (
    (later("Payments"), "attempts", later("a minute"), 1.0, mean),
    (later("Success"), "success", "%", 10.0, mean),
    (later("Latency p95"), "p95", "ms", 1.0, max),
    (later("SMS in time"), "sms", "%", 10.0, mean),
)
"""Title, what telemetry calls it, unit, divisor, and how minutes are gathered to a point."""


def market_pages(pages: Pages, wall: Wall, centre: Centre, budgets: Budgets) -> list[Any]:
    markets, telemetry = pages.markets, centre.telemetry

    def known(code: str) -> str:
        if code not in markets:
            raise HTTPException(status_code=404)
        return code

    def charts(code: str, span: Span) -> list[Chart]:
        found = []
        for title, what, unit, divisor, by in _SERIES:
            series = telemetry.series(code, what, minutes=span.minutes)
            values = [None if value is None else value / divisor for value in series]
            found.append(chart(values, title=_(title), unit=_(unit), span=span, by=by))
        return found

    async def live(request: Asked, visitor: Visitor, code: str) -> dict[str, Any]:
        market, figures = markets[code], telemetry.figures(code)
        wanted = request.query_params.get("span", "")
        span = next((each for each in SPANS if each.name == wanted), SPANS[0])
        currencies = dict.fromkeys([*figures.issued, *figures.trust])
        recent = await asyncio.to_thread(
            centre.incidents.recent, limit=INCIDENTS_SHOWN, market=code
        )
        return {
            "card": wall.card(code),
            "span": span,
            "spans": SPANS,
            "charts": charts(code, span),
            "parts": [part_line(part) for part in telemetry.parts(code)],
            "callbacks": telemetry.callbacks(code)[:CALLBACKS_SHOWN],
            "echoes": telemetry.echoes(code)[:CALLBACKS_SHOWN],
            "budgets": [objective_line(each) for each in await budgets.of(code)],
            "windows": windows(*PAGES),
            "money": [money_line(market, figures, currency) for currency in currencies],
            "incidents": [wall.line(each) for each in recent],
            "faults": pages.sandbox.faults(code) if pages.sandbox is not None else None,
            "may_play": pages.may(visitor, "sandbox", code),
        }

    @get("/markets/{code:str}", include_in_schema=False, name="console.market")
    async def show(request: Asked, code: str) -> Response[str]:
        visitor = pages.visitor(request)
        if not pages.may_see(visitor, known(code)):
            if visitor.member is None:
                return pages.to_sign_in(request)
            raise HTTPException(status_code=403)
        return pages.page("market.html", visitor, here=code, **await live(request, visitor, code))

    @get("/markets/{code:str}/live", include_in_schema=False, name="console.market.live")
    async def renew(request: Asked, code: str) -> Response[str]:
        visitor = pages.visitor(request)
        if not pages.may_see(visitor, known(code)):
            raise HTTPException(status_code=401)
        return pages.part(
            "market_live.html",
            member=visitor.member,
            form_token=visitor.form_token,
            **await live(request, visitor, code),
        )

    @post(
        "/markets/{code:str}/faults/{name:str}",
        include_in_schema=False,
        request_max_body_size=FORM_MAX,
        name="console.fault",
    )
    async def switch(request: Asked, code: str, name: str) -> Response[str]:
        visitor = pages.visitor(request)
        fields = await pages.form(request)
        member = pages.require(visitor, "sandbox", known(code))
        if pages.sandbox is None or name not in {each.name for each in pages.sandbox.faults(code)}:
            raise HTTPException(status_code=404)
        is_on = fields.get("on") == "1"
        await asyncio.to_thread(
            centre.audit.record,
            actor=member.name,
            action="fault_switched_on" if is_on else "fault_switched_off",
            market=code,
            detail=name,
        )
        pages.sandbox.switch_fault(code, name, is_on=is_on)
        return pages.see_other(f"/markets/{code}#faults")

    @post(
        "/markets/{code:str}/drills/{name:str}",
        include_in_schema=False,
        request_max_body_size=FORM_MAX,
        name="console.drill",
    )
    async def drill(request: Asked, code: str, name: str) -> Response[str]:
        visitor = pages.visitor(request)
        await pages.form(request)
        member = pages.require(visitor, "sandbox", known(code))
        if pages.sandbox is None or not any(
            each.has_drill and each.name == name for each in pages.sandbox.faults(code)
        ):
            raise HTTPException(status_code=404)
        await asyncio.to_thread(
            centre.audit.record, actor=member.name, action="drill_started", market=code, detail=name
        )
        pages.sandbox.drill(code, name)
        return pages.see_other(f"/markets/{code}#faults")

    return [show, renew, switch, drill]
