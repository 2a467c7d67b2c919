"""Signing in and out, who is on the staff, and the audit log."""

import asyncio
from collections.abc import Mapping
from typing import Any

from litestar import Response, get, post
from litestar.exceptions import HTTPException

from umoja.clock import from_micros
from umoja.console.pages import FORM_MAX, SESSION_COOKIE, Asked, Pages, Visitor, own_path
from umoja.console.words import _, _n, minute, named, recorded
from umoja.faults import Busy
from umoja.ops.centre import Centre
from umoja.ops.staff import EVERYWHERE, PASSWORD_LEAST, HalfSigned, StaffRefused

AUDIT_PAGE = 100
RISING = ("viewer", "engineer", "administrator")  # each may what those before it may


def staff_pages(pages: Pages, centre: Centre) -> list[Any]:
    def sign_in_page(
        visitor: Visitor, *, to: str, status: int = 200, error: str = "", name: str = ""
    ) -> Response[str]:
        return pages.page(
            "sign_in.html", visitor, status=status, here="sign-in", error=error, name=name, to=to
        )

    @get("/sign-in", include_in_schema=False, name="console.sign-in")
    async def ask(request: Asked) -> Response[str]:
        to = own_path(request.query_params.get("to", "/"))
        return sign_in_page(pages.visitor(request), to=to)

    @post(
        "/sign-in",
        include_in_schema=False,
        request_max_body_size=FORM_MAX,
        name="console.signed-in",
    )
    async def enter(request: Asked) -> Response[str]:
        visitor = pages.visitor(request)
        fields = await pages.form(request)
        name, to = fields.get("name", "")[:40], own_path(fields.get("to", "/"))
        address = request.client.host if request.client else ""
        try:
            token = await asyncio.to_thread(
                centre.staff.sign_in, name, fields.get("password", ""), address=address
            )
        except Busy as busy:
            error = _n(
                "Too many wrong passwords. Try again in {n} second.",
                "Too many wrong passwords. Try again in {n} seconds.",
                busy.retry_after_s,
            )
            answer = sign_in_page(visitor, to=to, status=429, error=error, name=name)
            answer.headers["retry-after"] = str(busy.retry_after_s)
            return answer
        if token is None:
            error = _("Name or password is wrong.")
            return sign_in_page(visitor, to=to, status=401, error=error, name=name)
        if isinstance(token, HalfSigned):
            return pages.half_signed_in(token.token, to)
        return pages.signed_in(token, to)

    @post(
        "/sign-out",
        include_in_schema=False,
        request_max_body_size=FORM_MAX,
        name="console.sign-out",
    )
    async def leave(request: Asked) -> Response[str]:
        await pages.form(request)
        token = request.cookies.get(SESSION_COOKIE, "")
        if token:
            await asyncio.to_thread(centre.staff.sign_out, token)
        return pages.signed_out()

    @post(
        "/language",
        include_in_schema=False,
        request_max_body_size=FORM_MAX,
        name="console.language",
    )
    async def change_language(request: Asked) -> Response[str]:
        fields = await pages.form(request)
        return pages.in_language(fields.get("language", ""), fields.get("to", "/"))

    @get("/audit", include_in_schema=False, name="console.audit")
    async def audit(request: Asked) -> Response[str]:
        visitor = pages.visitor(request)
        if visitor.member is None:
            return pages.to_sign_in(request)
        pages.require(visitor, "see_audit")
        text = request.query_params.get("before", "0")
        before = int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0
        entries = await asyncio.to_thread(centre.audit.recent, limit=AUDIT_PAGE, before=before)
        return pages.page(
            "audit.html",
            visitor,
            here="audit",
            entries=entries,
            verified=await asyncio.to_thread(centre.audit.verify),
            older=entries[-1].number if len(entries) == AUDIT_PAGE else 0,
        )

    def shut(name: str) -> list[str]:
        """Return the markets that are not open now and in which somebody has a role."""
        held = next((each.roles for each in centre.staff.browse() if each.name == name), {})
        return sorted(held.keys() - {EVERYWHERE, *pages.markets})

    def staff_page(
        visitor: Visitor, *, status: int = 200, error: str = "", name: str = ""
    ) -> Response[str]:
        having = centre.staff.with_factor()
        shown = [
            {
                "name": each.name,
                "roles": _told(each.roles),
                "held": {code: _highest(held) for code, held in each.roles.items()},
                "shut": sorted(each.roles.keys() - {EVERYWHERE, *pages.markets}),
                "has_factor": each.name in having,
                "rests": _moment(centre.staff.rests_until(each.name)),
            }
            for each in centre.staff.browse()
        ]
        return pages.page(
            "staff.html",
            visitor,
            status=status,
            here="staff",
            staff=shown,
            error=error,
            name=name,
            least=PASSWORD_LEAST,
            rising=RISING,
        )

    @get("/staff", include_in_schema=False, name="console.staff")
    async def staff(request: Asked) -> Response[str]:
        visitor = pages.visitor(request)
        if visitor.member is None:
            return pages.to_sign_in(request)
        pages.require(visitor, "manage_staff")
        return staff_page(visitor)

    @post(
        "/staff", include_in_schema=False, request_max_body_size=FORM_MAX, name="console.staff.add"
    )
    async def add(request: Asked) -> Response[str]:
        visitor = pages.visitor(request)
        fields = await pages.form(request)
        member = pages.require(visitor, "manage_staff")
        if asked := await asyncio.to_thread(pages.code_first, visitor, member, "/staff"):
            return asked
        try:
            await asyncio.to_thread(
                centre.staff.add,
                fields.get("name", ""),
                fields.get("password", ""),
                {fields.get("market", ""): [fields.get("role", "")]},
                by=member.name,
            )
        except StaffRefused as cause:
            name = fields.get("name", "")[:40]
            return staff_page(visitor, status=422, error=recorded(str(cause)), name=name)
        return pages.see_other("/staff")

    @post(
        "/staff/{name:str}/remove",
        include_in_schema=False,
        request_max_body_size=FORM_MAX,
        name="console.staff.remove",
    )
    async def remove(request: Asked, name: str) -> Response[str]:
        visitor = pages.visitor(request)
        await pages.form(request)
        member = pages.require(visitor, "manage_staff")
        if asked := await asyncio.to_thread(pages.code_first, visitor, member, "/staff"):
            return asked
        try:
            await asyncio.to_thread(centre.staff.remove, name, by=member.name)
        except StaffRefused as cause:
            return staff_page(visitor, status=422, error=recorded(str(cause)))
        return pages.see_other("/staff")

    @post(
        "/staff/{name:str}/second-factor",
        include_in_schema=False,
        request_max_body_size=FORM_MAX,
        name="console.staff.second-factor",
    )
    async def reset(request: Asked, name: str) -> Response[str]:
        visitor = pages.visitor(request)
        await pages.form(request)
        member = pages.require(visitor, "manage_staff")
        if asked := await asyncio.to_thread(pages.code_first, visitor, member, "/staff"):
            return asked
        try:
            await asyncio.to_thread(centre.staff.reset_second_factor, name, by=member.name)
        except StaffRefused as cause:
            return staff_page(visitor, status=422, error=recorded(str(cause)))
        return pages.see_other("/staff")

    @post(
        "/staff/{name:str}/roles",
        include_in_schema=False,
        request_max_body_size=FORM_MAX,
        name="console.staff.roles",
    )
    async def change_roles(request: Asked, name: str) -> Response[str]:
        visitor = pages.visitor(request)
        fields = await pages.form(request)
        member = pages.require(visitor, "manage_staff")
        if asked := await asyncio.to_thread(pages.code_first, visitor, member, "/staff"):
            return asked
        wanted = {
            code: [fields[f"in-{code}"]]
            for code in (EVERYWHERE, *pages.markets, *await asyncio.to_thread(shut, name))
            if fields.get(f"in-{code}")
        }
        try:
            if name == member.name:
                raise StaffRefused("your own roles are changed by another administrator")  # noqa: TRY301
            await asyncio.to_thread(centre.staff.set_roles, name, wanted, by=member.name)
        except StaffRefused as cause:
            return staff_page(visitor, status=422, error=recorded(str(cause)))
        return pages.see_other("/staff")

    def account_page(
        visitor: Visitor, *, status: int = 200, error: str = "", is_changed: bool = False
    ) -> Response[str]:
        return pages.page(
            "account.html",
            visitor,
            status=status,
            here="account",
            roles=_told(visitor.member.roles) if visitor.member else "",
            error=error,
            is_changed=is_changed,
            least=PASSWORD_LEAST,
            factor=centre.staff.factor(visitor.member.name) if visitor.member else None,
        )

    @get("/account", include_in_schema=False, name="console.account")
    async def account(request: Asked) -> Response[str]:
        visitor = pages.visitor(request)
        if visitor.member is None:
            return pages.to_sign_in(request)
        return account_page(visitor, is_changed="changed" in request.query_params)

    @post(
        "/account/password",
        include_in_schema=False,
        request_max_body_size=FORM_MAX,
        name="console.account.password",
    )
    async def change(request: Asked) -> Response[str]:
        visitor = pages.visitor(request)
        fields = await pages.form(request)
        member = visitor.member
        if member is None:
            raise HTTPException(status_code=401)
        wanted = fields.get("new", "")
        if wanted != fields.get("again", ""):
            return account_page(visitor, status=422, error=_("The two new passwords differ"))
        address = request.client.host if request.client else ""
        # Who holds a session left open somewhere must not take the account over: the old password
        # is asked for as at the door, with its throttle and its lines in the audit log.
        try:
            is_right = await asyncio.to_thread(
                centre.staff.recognise, member.name, fields.get("old", ""), address=address
            )
        except Busy as busy:
            error = _n(
                "Too many wrong passwords: try again in {n} second",
                "Too many wrong passwords: try again in {n} seconds",
                busy.retry_after_s,
            )
            return account_page(visitor, status=429, error=error)
        if not is_right:
            return account_page(
                visitor, status=422, error=_("The password you have is another one")
            )
        try:
            await asyncio.to_thread(
                centre.staff.change_password,
                member.name,
                wanted,
                by=member.name,
                keep=visitor.session,
            )
        except StaffRefused as cause:
            return account_page(visitor, status=422, error=recorded(str(cause)))
        return pages.see_other("/account?changed")

    return [
        ask,
        enter,
        leave,
        change_language,
        audit,
        staff,
        add,
        change_roles,
        remove,
        reset,
        account,
        change,
    ]


def _highest(held: frozenset[str]) -> str:
    return next((role for role in reversed(RISING) if role in held), "")


def _moment(micros: int) -> str:
    return minute(from_micros(micros)) if micros else ""


def _told(roles: Mapping[str, frozenset[str]]) -> str:
    """Return what somebody may do where, for people."""
    return "; ".join(
        _(
            "{roles} in {market}",
            roles=", ".join(named(each) for each in sorted(held)),
            market=_("every market") if code == EVERYWHERE else code,
        )
        for code, held in sorted(roles.items())
    )
