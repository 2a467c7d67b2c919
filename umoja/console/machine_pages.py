"""Tokens of machines: who may send us alerts and figures; made here and told once, revoked for good."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from litestar import Response, get, post
from litestar.exceptions import HTTPException

from umoja.console.pages import FORM_MAX, Asked, Pages, Visitor
from umoja.console.words import _, later, minute
from umoja.ops.centre import Centre
from umoja.ops.machines import NAME_MAX, SCOPES, Machine, TokenRefused, expiry

NUMBER_MAX = 9  # digits

LASTS: Mapping[str, str] = {
    "30d": later("30 days"),
    "90d": later("90 days"),
    "365d": later("a year"),
    "": later("until it is revoked"),
}
"""How long a token may be valid: what `expiry` reads, and what people read."""

OPENS: Mapping[str, str] = {
    "alerts": later("the Alertmanager API and webhooks"),
    "otlp": later("metrics and logs by OTLP"),
    "flags": later("feature flags"),
    "tickets": later("tickets, alarms, changes and problems of partners"),
    "metrics": later("read /metrics"),
}
"""What a scope opens, in the words of `umoja.ops.machines`; one that is not here is said as there."""


def machine_pages(pages: Pages, centre: Centre) -> list[Any]:
    machines = centre.machines

    async def page(
        visitor: Visitor,
        *,
        status: int = 200,
        error: str = "",
        made: Machine | None = None,
        secret: str = "",
        kept: Mapping[str, str] | None = None,
    ) -> Response[str]:
        now = pages.now()
        found = await asyncio.to_thread(machines.browse)
        return pages.page(
            "tokens.html",
            visitor,
            status=status,
            here="staff",
            error=error,
            made=made,
            secret=secret,
            kept=kept or {},
            tokens=[_shown(each, now) for each in found],
            scopes=[(scope, _(OPENS.get(scope, said))) for scope, said in SCOPES.items()],
            lasts=[(value, _(said)) for value, said in LASTS.items()],
            name_max=NAME_MAX,
        )

    @get("/tokens", include_in_schema=False, name="console.tokens")
    async def browse(request: Asked) -> Response[str]:
        visitor = pages.visitor(request)
        if visitor.member is None:
            return pages.to_sign_in(request)
        pages.require(visitor, "manage_staff")
        return await page(visitor)

    @post("/tokens", include_in_schema=False, request_max_body_size=FORM_MAX, name="console.token")
    async def make(request: Asked) -> Response[str]:
        """Make a token. Its text stands in this one answer and nowhere else."""
        visitor = pages.visitor(request)
        fields = await pages.form(request)
        member = pages.require(visitor, "manage_staff")
        if asked := await asyncio.to_thread(pages.code_first, visitor, member, "/tokens"):
            return asked
        lasts = fields.get("lasts", "")
        try:
            if lasts not in LASTS:
                raise TokenRefused("choose how long it is valid")  # noqa: TRY301
            made, secret = await asyncio.to_thread(
                lambda: machines.make(
                    name=fields.get("name", ""),
                    scopes=frozenset(each for each in SCOPES if fields.get(f"scope-{each}") == "1"),
                    expires=expiry(lasts, pages.now()) if lasts else None,
                    actor=member.name,
                )
            )
        except TokenRefused as cause:
            return await page(visitor, status=422, error=str(cause), kept=fields)
        return await page(visitor, made=made, secret=secret)

    @post(
        "/tokens/{number:str}/revoke",
        include_in_schema=False,
        request_max_body_size=FORM_MAX,
        name="console.token.revoke",
    )
    async def revoke(request: Asked, number: str) -> Response[str]:
        visitor = pages.visitor(request)
        await pages.form(request)
        member = pages.require(visitor, "manage_staff")
        is_number = number.isascii() and number.isdigit() and len(number) <= NUMBER_MAX
        if not is_number or not await asyncio.to_thread(
            lambda: machines.revoke(int(number), actor=member.name)
        ):
            raise HTTPException(status_code=404)
        return pages.see_other("/tokens")

    return [browse, make, revoke]


def _shown(machine: Machine, now: datetime) -> dict[str, Any]:
    return {
        "number": machine.number,
        "name": machine.name,
        "scopes": sorted(machine.scopes),
        "state": machine.state(now),
        "made_by": machine.made_by,
        "made": minute(machine.made_at),
        "expires": minute(machine.expires_at) if machine.expires_at else "",
        "used": minute(machine.used_at) if machine.used_at else "",
        "revoked": minute(machine.revoked_at) if machine.revoked_at else "",
    }
