"""The second factor in the console: the code at the door, setting it up, recovery codes, a fresh code."""

import asyncio
from typing import Any
from urllib.parse import quote

import segno
from litestar import Response, get, post
from litestar.exceptions import HTTPException

from umoja.console.pages import FORM_MAX, HALF_COOKIE, SET_UP, Asked, Pages, Visitor, own_path
from umoja.console.words import _, _n, recorded
from umoja.faults import Busy
from umoja.ops.one_time import address_of, in_letters
from umoja.ops.second_factor import SALT_BYTES
from umoja.ops.staff import CodeNeeded, Member, SignInOver, Staff, StaffRefused

GROUP = 4  # letters or digits that stand together, for whoever copies them


def factor_pages(pages: Pages, staff: Staff) -> list[Any]:
    def code_page(
        visitor: Visitor, *, to: str, is_signing_in: bool, status: int = 200, error: str = ""
    ) -> Response[str]:
        return pages.page(
            "code.html",
            visitor,
            here="sign-in" if is_signing_in else "account",
            status=status,
            error=error,
            to=to,
            is_signing_in=is_signing_in,
        )

    def too_many(visitor: Visitor, busy: Busy, *, to: str, is_signing_in: bool) -> Response[str]:
        error = _too_many(busy)
        answer = code_page(visitor, to=to, is_signing_in=is_signing_in, status=429, error=error)
        answer.headers["retry-after"] = str(busy.retry_after_s)
        return answer

    def wrong(visitor: Visitor, *, to: str, is_signing_in: bool) -> Response[str]:
        error = _("This code is wrong, or was used before: wait for the next one")
        return code_page(visitor, to=to, is_signing_in=is_signing_in, status=401, error=error)

    # At the door

    @get("/sign-in/code", include_in_schema=False, name="console.sign-in.code")
    async def ask(request: Asked) -> Response[str]:
        to = own_path(request.query_params.get("to", "/"))
        if not request.cookies.get(HALF_COOKIE):
            return pages.see_other(f"/sign-in?to={quote(to)}")
        return code_page(pages.visitor(request), to=to, is_signing_in=True)

    @post(
        "/sign-in/code",
        include_in_schema=False,
        request_max_body_size=FORM_MAX,
        name="console.signed-in.code",
    )
    async def enter(request: Asked) -> Response[str]:
        visitor = pages.visitor(request)
        fields = await pages.form(request)
        to = own_path(fields.get("to", "/"))
        half = request.cookies.get(HALF_COOKIE, "")
        try:
            token = await asyncio.to_thread(
                staff.enter, half, fields.get("code", ""), address=_address(request)
            )
        except SignInOver:
            return pages.see_other(f"/sign-in?to={quote(to)}")
        except Busy as busy:
            return too_many(visitor, busy, to=to, is_signing_in=True)
        if token is None:
            return wrong(visitor, to=to, is_signing_in=True)
        return pages.signed_in(token, to)

    # A fresh code

    @get("/account/code", include_in_schema=False, name="console.account.code")
    async def ask_again(request: Asked) -> Response[str]:
        visitor = pages.visitor(request)
        if visitor.member is None:
            return pages.to_sign_in(request)
        to = own_path(request.query_params.get("to", "/"))
        return code_page(visitor, to=to, is_signing_in=False)

    @post(
        "/account/code",
        include_in_schema=False,
        request_max_body_size=FORM_MAX,
        name="console.account.code.given",
    )
    async def prove(request: Asked) -> Response[str]:
        visitor = pages.visitor(request)
        fields = await pages.form(request)
        if visitor.member is None:
            raise HTTPException(status_code=401)
        to = own_path(fields.get("to", "/"))
        if staff.factor(visitor.member.name) is None:
            return pages.see_other(SET_UP)
        try:
            is_right = await asyncio.to_thread(
                staff.prove, visitor.session, fields.get("code", ""), address=_address(request)
            )
        except Busy as busy:
            return too_many(visitor, busy, to=to, is_signing_in=False)
        if not is_right:
            return wrong(visitor, to=to, is_signing_in=False)
        return pages.see_other(to)

    # Setting it up

    def set_up_page(
        visitor: Visitor, member: Member, salt: bytes, *, status: int = 200, error: str = ""
    ) -> Response[str]:
        secret = staff.offer(member.name, salt)
        drawn = segno.make(address_of(secret, name=member.name), micro=False, error="m")
        return pages.page(
            "second_factor.html",
            visitor,
            here="account",
            status=status,
            error=error,
            name=member.name,
            is_must=visitor.enrolling is not None,
            picture=drawn.svg_data_uri(border=4, light="#fff", dark="#000", scale=4),
            secret=_in_groups(in_letters(secret)),
            salt=salt.hex(),
        )

    @get(SET_UP, include_in_schema=False, name="console.account.second-factor")
    async def offer(request: Asked) -> Response[str]:
        """Offer a secret. Nothing is kept before a code of it has come back."""
        visitor = pages.visitor(request)
        member = visitor.member or visitor.enrolling
        if member is None:
            return pages.to_sign_in(request)
        if staff.factor(member.name) is not None:
            asked = pages.code_first(visitor, member, SET_UP)
            if asked is not None:
                return asked
        return set_up_page(visitor, member, staff.fresh_salt())

    @post(
        SET_UP,
        include_in_schema=False,
        request_max_body_size=FORM_MAX,
        name="console.account.second-factor.set-up",
    )
    async def set_up(request: Asked) -> Response[str]:
        """Set it up. The recovery codes stand in this one answer and nowhere else."""
        visitor = pages.visitor(request)
        fields = await pages.form(request)
        member = visitor.member or visitor.enrolling
        if member is None:
            raise HTTPException(status_code=401)
        salt = _salt(fields.get("salt", ""))
        try:
            codes = await asyncio.to_thread(
                staff.enrol,
                member.name,
                fields.get("password", ""),
                salt=salt,
                code=fields.get("code", ""),
                session=visitor.session,
                address=_address(request),
            )
        except CodeNeeded:
            return pages.to_code(SET_UP)
        except Busy as busy:
            answer = set_up_page(visitor, member, salt, status=429, error=_too_many(busy))
            answer.headers["retry-after"] = str(busy.retry_after_s)
            return answer
        except StaffRefused as cause:
            return set_up_page(visitor, member, salt, status=422, error=recorded(str(cause)))
        return codes_page(pages.visitor(request), codes, is_set_up=True)

    def codes_page(visitor: Visitor, codes: list[str], *, is_set_up: bool) -> Response[str]:
        return pages.page(
            "recovery_codes.html",
            visitor,
            here="account",
            codes=[_in_groups(each) for each in codes],
            is_set_up=is_set_up,
        )

    @post(
        "/account/recovery-codes",
        include_in_schema=False,
        request_max_body_size=FORM_MAX,
        name="console.account.recovery-codes",
    )
    async def renew(request: Asked) -> Response[str]:
        visitor = pages.visitor(request)
        await pages.form(request)
        if visitor.member is None:
            raise HTTPException(status_code=401)
        try:
            codes = await asyncio.to_thread(
                staff.renew_recovery_codes, visitor.member.name, session=visitor.session
            )
        except CodeNeeded:
            return pages.to_code("/account")
        except StaffRefused:  # she has none: there is nothing to recover
            return pages.see_other(SET_UP)
        return codes_page(visitor, codes, is_set_up=False)

    return [ask, enter, ask_again, prove, offer, set_up, renew]


def _too_many(busy: Busy) -> str:
    return _n(
        "Too many wrong tries: wait {n} second and try again",
        "Too many wrong tries: wait {n} seconds and try again",
        busy.retry_after_s,
    )


def _address(request: Asked) -> str:
    return request.client.host if request.client else ""


def _salt(text: str) -> bytes:
    """Return the salt of a form of ours; 400 for anything else."""
    try:
        salt = bytes.fromhex(text)
    except ValueError:
        raise HTTPException(status_code=400) from None
    if len(salt) != SALT_BYTES:
        raise HTTPException(status_code=400)
    return salt


def _in_groups(text: str) -> str:
    return " ".join(text[start : start + GROUP] for start in range(0, len(text), GROUP))
