"""The drills' page of a sandbox: a fault somewhere, and nobody is told which until it is over."""

import asyncio
from typing import Any

from litestar import Response, get, post

from umoja.console.pages import FORM_MAX, Asked, Pages
from umoja.console.sandbox import Sandbox
from umoja.console.words import place
from umoja.ops.centre import Centre


def drill_pages(pages: Pages, sandbox: Sandbox, centre: Centre) -> list[Any]:
    @get("/drills", include_in_schema=False, name="console.drills")
    async def show(request: Asked) -> Response[str]:
        visitor = pages.visitor(request)
        drilled = sandbox.surprised()
        known = pages.markets.get(drilled.market) if drilled else None
        return pages.page(
            "drills.html",
            visitor,
            here="drills",
            drilled=drilled,
            where=place(known) if known else "",
            may_play=pages.may(visitor, "sandbox"),
        )

    @post(
        "/drills",
        include_in_schema=False,
        request_max_body_size=FORM_MAX,
        name="console.surprise",
    )
    async def surprise(request: Asked) -> Response[str]:
        visitor = pages.visitor(request)
        await pages.form(request)
        member = pages.require(visitor, "sandbox")
        await asyncio.to_thread(
            centre.audit.record,
            actor=member.name,
            action="drill_started",
            market="*",
            detail="surprise",
        )
        sandbox.surprise()
        return pages.see_other("/drills")

    return [show, surprise]
