"""Swaps of on-call shifts: one of mine for one of yours, offered, and answered by who was asked."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from litestar import Response, get, post
from litestar.exceptions import HTTPException

from umoja.clock import from_micros
from umoja.console.pages import FORM_MAX, Asked, Pages, Visitor
from umoja.console.words import _, minute
from umoja.ops.centre import Centre
from umoja.ops.duty import Swap
from umoja.ops.oncall import RosterRefused, Shift

AHEAD = timedelta(days=60)
SHIFTS_SHOWN = 60  # of one roster

Fields = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One shift as a form offers it; `value` is what the form sends back."""

    value: str
    says: str


def swap_pages(pages: Pages, centre: Centre) -> list[Any]:
    duty = centre.duty

    def upcoming() -> list[Shift]:
        """Return the shifts of all rosters that end within two months, soonest first."""
        now = pages.now()
        found = [
            each
            for roster in duty.rosters()
            for each in duty.shifts(roster, since=now, until=now + AHEAD)[:SHIFTS_SHOWN]
        ]
        return sorted(found, key=lambda each: (each.starts, each.roster))

    def shown(name: str) -> dict[str, Any]:
        offers = duty.swaps(person=name)
        shifts = upcoming()
        mine = [each for each in shifts if each.person == name]
        rosters = {each.roster for each in mine}
        return {
            "asked": [_offer(each) for each in offers if each.asked_of == name],
            "offered": [_offer(each) for each in offers if each.asked_by == name],
            "mine": [Choice(value=_value(each), says=_when(each, each.roster)) for each in mine],
            "theirs": [
                Choice(value=_value(each), says=_when(each, _whose(each, rosters)))
                for each in shifts
                if each.person != name and each.roster in rosters
            ],
        }

    async def page(visitor: Visitor, *, status: int = 200, error: str = "") -> Response[str]:
        assert visitor.member is not None, "only staff get here"
        values = await asyncio.to_thread(shown, visitor.member.name)
        return pages.page(
            "swaps.html", visitor, status=status, here="on-call", error=error, **values
        )

    def offer(name: str, fields: Fields) -> str:
        shifts = {_value(each): each for each in upcoming()}
        given, taken = (shifts.get(fields.get(field, "")) for field in ("mine", "theirs"))
        if given is None or taken is None or given.person != name or taken.person == name:
            raise RosterRefused("one of these shifts is somebody else's by now: choose again")
        if given.roster != taken.roster:
            raise RosterRefused("shifts are swapped within one roster")
        number = duty.offer_swap(
            roster=given.roster,
            asked_by=name,
            asked_of=taken.person,
            given=(given.starts, given.ends),
            taken=(taken.starts, taken.ends),
        )
        return f"{number} {given.roster} with {taken.person}"

    @get("/on-call/swaps", include_in_schema=False, name="console.swaps")
    async def show(request: Asked) -> Response[str]:
        visitor = pages.visitor(request)
        if visitor.member is None:
            return pages.to_sign_in(request)
        return await page(visitor)

    @post(
        "/on-call/swaps",
        include_in_schema=False,
        request_max_body_size=FORM_MAX,
        name="console.swap",
    )
    async def act(request: Asked) -> Response[str]:
        """Offer, answer or withdraw a swap: each member her own, whatever her role."""
        visitor = pages.visitor(request)
        fields = await pages.form(request)
        if visitor.member is None:
            raise HTTPException(status_code=401)
        name, what = visitor.member.name, fields.get("act", "")
        number = fields.get("number", "")
        detail = number
        try:
            if what == "offer":
                detail = await asyncio.to_thread(offer, name, fields)
            elif what in {"yes", "no", "withdraw"}:
                if not (number.isascii() and number.isdigit() and len(number) < 10):
                    raise RosterRefused("that offer is open no longer")  # noqa: TRY301
                is_done = await asyncio.to_thread(
                    lambda: (
                        duty.withdraw_swap(int(number), by=name)
                        if what == "withdraw"
                        else duty.answer_swap(int(number), by=name, says_yes=what == "yes")
                    )
                )
                if not is_done:
                    raise RosterRefused("that offer is open no longer")  # noqa: TRY301
            else:
                raise HTTPException(status_code=400)
        except RosterRefused as cause:
            return await page(visitor, status=422, error=str(cause))
        await asyncio.to_thread(
            centre.audit.record, actor=name, action=f"swap_{what}", detail=detail
        )
        return pages.see_other("/on-call/swaps")

    return [show, act]


def _value(shift: Shift) -> str:
    return f"{shift.roster}|{shift.person}|{shift.starts:%Y%m%d%H%M}|{shift.ends:%Y%m%d%H%M}"


def _whose(shift: Shift, rosters: Collection[str]) -> str:
    return shift.person if len(rosters) == 1 else f"{shift.person} ({shift.roster})"


def _when(shift: Shift, whose: str) -> str:
    return _(
        "{whose}: {starts} to {ends}",
        whose=whose,
        starts=minute(shift.starts),
        ends=minute(shift.ends),
    )


def _offer(swap: Swap) -> dict[str, Any]:
    return {
        "number": swap.number,
        "roster": swap.roster,
        "asked_by": swap.asked_by,
        "asked_of": swap.asked_of,
        "given": _stretch(swap.starts_at, swap.ends_at),
        "taken": _stretch(swap.back_starts_at, swap.back_ends_at),
    }


def _stretch(starts: int, ends: int) -> str:
    return _(
        "{starts} to {ends}", starts=minute(from_micros(starts)), ends=minute(from_micros(ends))
    )
