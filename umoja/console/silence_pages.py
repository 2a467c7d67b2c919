"""Silences: who keeps which alarms quiet, why and until when; also again and again in local time."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from litestar import Response, get, post
from litestar.exceptions import HTTPException

from umoja.clock import from_micros, to_micros
from umoja.console.alarm_pages import EVERYWHERE, may_see, who_may_look
from umoja.console.pages import FORM_MAX, Asked, Pages, Visitor
from umoja.console.words import _, later, minute
from umoja.ops.alarms import Standing
from umoja.ops.centre import Centre
from umoja.ops.matching import Matcher, MatcherRefused, all_match, read_matcher
from umoja.ops.silences import (
    DAYS,
    DAYS_NOTE,
    HOURS_NOTE,
    LIVE_MAX,
    TEXT_MAX,
    ZONE_NOTE,
    Silence,
    SilenceRefused,
    SilenceUnknown,
    State,
)

SILENCES_SHOWN = 200
MUTED_SHOWN = 10  # of what a silence keeps quiet now
MATCHERS_TEXT_MAX = 8_000
LASTS: Mapping[str, tuple[str, timedelta]] = {
    "1h": (later("1 hour"), timedelta(hours=1)),
    "2h": (later("2 hours"), timedelta(hours=2)),
    "4h": (later("4 hours"), timedelta(hours=4)),
    "12h": (later("12 hours"), timedelta(hours=12)),
    "1d": (later("1 day"), timedelta(days=1)),
    "7d": (later("7 days"), timedelta(days=7)),
    "30d": (later("30 days"), timedelta(days=30)),
    "90d": (later("90 days"), timedelta(days=90)),
    "365d": (later("a year"), timedelta(days=365)),
}
"""How long a silence may be asked for: the field's value, what people read, and the time."""

DAY_NAMES = (
    later("Monday"), later("Tuesday"), later("Wednesday"), later("Thursday"), later("Friday"),
    later("Saturday"), later("Sunday"),
)  # fmt: skip

STATES = tuple(each.value for each in State)

Fields = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceLine:
    """One silence as the list shows it."""

    id: str
    state: str
    matchers: tuple[str, ...]
    author: str
    reason: str
    starts: str
    ends: str
    window: str
    mutes: tuple[str, ...]
    mutes_count: int
    may_end: bool


def silence_pages(pages: Pages, centre: Centre) -> list[Any]:
    alarms, silences = centre.alarms, centre.silences

    def seen(visitor: Visitor) -> list[Standing]:
        """Return the alarms that stand now in the markets that somebody may see."""
        return [
            each
            for group in alarms.groups()
            if may_see(pages, visitor, group.market)
            for each in group.standing
        ]

    def silence_values(visitor: Visitor, *, state: str, words: str) -> dict[str, Any]:
        now = to_micros(pages.now())
        firing = seen(visitor)
        sought = words.casefold()
        found = [
            each
            for each in silences.browse()
            if state in {"", each.state(now).value} and sought in _text_of(each).casefold()
        ]
        lines = []
        for each in found[:SILENCES_SHOWN]:
            mutes = (
                [at.alert.name for at in firing if all_match(each.matchers, at.alert.labels)]
                if each.state(now) is not State.EXPIRED
                else []
            )
            lines.append(
                _silence_line(
                    each,
                    now,
                    mutes,
                    may_end=pages.may(visitor, "work_incident", _market_of(pages, each.matchers)),
                )
            )
        return {
            "silences": lines,
            "count": len(found),
            "states": STATES,
            "state": state,
            "sought": words,
        }

    async def silences_page(
        request: Asked,
        visitor: Visitor,
        *,
        status: int = 200,
        error: str = "",
        kept: Fields | None = None,
        would: list[str] | None = None,
    ) -> Response[str]:
        state = request.query_params.get("state", "")
        words = request.query_params.get("q", "")[:80]
        values = await asyncio.to_thread(
            lambda: silence_values(visitor, state=state if state in STATES else "", words=words)
        )
        if kept is None:
            kept = await asyncio.to_thread(begun, request, visitor)
        return pages.page(
            "silences.html",
            visitor,
            status=status,
            here="alarms",
            error=error,
            kept=kept,
            would=would,
            may_work=_may_work(pages, visitor),
            lasts=[(value, _(said)) for value, (said, _time) in LASTS.items()],
            days=[(short, _(name)) for short, name in zip(DAYS, DAY_NAMES, strict=True)],
            zones=sorted(
                {"UTC", *(zone for each in pages.markets.values() for zone in each.zones)}
            ),
            text_max=TEXT_MAX,
            most=LIVE_MAX,
            **values,
        )

    def begun(request: Asked, visitor: Visitor) -> Fields:
        """Return what the form begins with: an alarm's labels, or what another silence says."""
        like = request.query_params.get("like", "")
        if like:
            try:
                return _fields_of(silences.get(like))
            except SilenceUnknown:
                return {"lasts": "2h"}
        return {"matchers": labels_of(request, visitor), "lasts": "2h"}

    def labels_of(request: Asked, visitor: Visitor) -> str:
        """Return matchers for the alert that a link names, so that nobody has to type them."""
        sought = request.query_params.get("for", "")[:32]
        if not sought:
            return ""
        for each in seen(visitor):
            if each.alert.fingerprint == sought:
                labels = sorted(each.alert.labels.items())
                return "\n".join(
                    Matcher(name=name, value=value, is_regex=False).shown for name, value in labels
                )
        return ""

    @get("/silences", include_in_schema=False, name="console.silences")
    async def show_silences(request: Asked) -> Response[str]:
        visitor = pages.visitor(request)
        if visitor.member is None and pages.sandbox is None:
            return pages.to_sign_in(request)
        return await silences_page(request, who_may_look(pages, request))

    @post(
        "/silences",
        include_in_schema=False,
        request_max_body_size=FORM_MAX,
        name="console.silences.act",
    )
    async def act(request: Asked) -> Response[str]:
        visitor = pages.visitor(request)
        fields = await pages.form(request)
        if visitor.member is None:
            raise HTTPException(status_code=401)
        name = fields.get("act", "")
        if name not in {"make", "look", "end"}:
            raise HTTPException(status_code=400)
        try:
            if name == "end":
                found = silences.get(fields.get("id", ""))
                member = pages.require(visitor, "work_incident", _market_of(pages, found.matchers))
                await asyncio.to_thread(silences.expire, found.id)
                detail = found.id
            else:
                matchers = _matchers(fields.get("matchers", ""))
                member = pages.require(visitor, "work_incident", _market_of(pages, matchers))
                if name == "look":
                    would = await asyncio.to_thread(lambda: _would_mute(seen(visitor), matchers))
                    return await silences_page(request, visitor, kept=fields, would=would)
                made = await asyncio.to_thread(put, fields, matchers, member.name)
                detail = f"{made.id} {' '.join(each.shown for each in made.matchers)}"[:400]
        except SilenceUnknown:
            raise HTTPException(status_code=404) from None
        except (SilenceRefused, MatcherRefused) as cause:
            return await silences_page(request, visitor, status=422, error=str(cause), kept=fields)
        await asyncio.to_thread(
            centre.audit.record,
            actor=member.name,
            action="silence_ended" if name == "end" else "silence_made",
            detail=detail,
        )
        return pages.see_other("/silences")

    def put(fields: Fields, matchers: list[Matcher], author: str) -> Silence:
        now = pages.now()
        starts = _moment(fields.get("starts", "")) or now
        if fields.get("lasts", "") not in LASTS:
            raise SilenceRefused("choose how long it lasts")
        notes: dict[str, str] = {}
        if fields.get("recurs") == "1":
            days = [each for each in DAYS if fields.get(f"day-{each}") == "1"]
            since, until = fields.get("since", ""), fields.get("until", "")
            if not days or not since or not until:
                raise SilenceRefused("a recurring silence has days, a beginning and an end")
            notes = {
                DAYS_NOTE: ",".join(days),
                HOURS_NOTE: f"{since}-{until}",
                ZONE_NOTE: fields.get("zone", "UTC").strip() or "UTC",
            }
        return silences.put(
            matchers=matchers,
            starts_at=to_micros(max(starts, now)),
            ends_at=to_micros(max(starts, now) + LASTS[fields["lasts"]][1]),
            created_by=author,
            comment=fields.get("comment", ""),
            annotations=notes,
        )

    return [show_silences, act]


def _may_work(pages: Pages, visitor: Visitor) -> bool:
    return any(pages.may(visitor, "work_incident", code) for code in (EVERYWHERE, *pages.markets))


def _market_of(pages: Pages, matchers: Iterable[Matcher]) -> str:
    """Return the one market that matchers are bound to; `*` where they may fit any."""
    bound = {
        each.value.upper()
        for each in matchers
        if each.name == "market" and each.is_equal and not each.is_regex
    }
    code = next(iter(bound)) if len(bound) == 1 else EVERYWHERE
    return code if code in pages.markets else EVERYWHERE


def _matchers(text: str) -> list[Matcher]:
    """Read matchers, one a line. Raise MatcherRefused."""
    if len(text) > MATCHERS_TEXT_MAX:
        raise MatcherRefused(f"matchers have at most {MATCHERS_TEXT_MAX} characters together")
    return [read_matcher(line) for line in text.splitlines() if line.strip()]


def _would_mute(standing: Iterable[Standing], matchers: list[Matcher]) -> list[str]:
    if not matchers:
        raise MatcherRefused("at least one matcher required")
    return sorted(
        each.alert.name or each.alert.fingerprint
        for each in standing
        if all_match(matchers, each.alert.labels)
    )


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError as cause:
        raise SilenceRefused("a time is written as 2026-03-31T08:00, in UTC") from cause


def _fields_of(silence: Silence) -> dict[str, str]:
    """Return a silence as the fields of the form, for another one like it."""
    fields = {
        "matchers": "\n".join(each.shown for each in silence.matchers),
        "comment": silence.comment,
        "lasts": "2h",
    }
    if silence.window is not None:
        since, _dash, until = silence.annotations.get(HOURS_NOTE, "").partition("-")
        fields |= {"recurs": "1", "since": since, "until": until, "zone": silence.window.zone}
        fields |= {"lasts": "90d"} | {f"day-{DAYS[each]}": "1" for each in silence.window.days}
    return fields


def _text_of(silence: Silence) -> str:
    return " ".join(
        [
            silence.id,
            silence.created_by,
            silence.comment,
            *(each.shown for each in silence.matchers),
        ]
    )


def _silence_line(silence: Silence, now: int, mutes: list[str], *, may_end: bool) -> SilenceLine:
    state = silence.state(now)
    return SilenceLine(
        id=silence.id,
        state=state.value,
        matchers=tuple(each.shown for each in silence.matchers),
        author=silence.created_by,
        reason=silence.comment,
        starts=minute(from_micros(silence.starts_at)),
        ends=minute(from_micros(silence.ends_at)),
        window=_window(silence),
        mutes=tuple(sorted(set(mutes))[:MUTED_SHOWN]),
        mutes_count=len(mutes),
        may_end=may_end and state is not State.EXPIRED,
    )


def _window(silence: Silence) -> str:
    window = silence.window
    if window is None:
        return ""
    days = ", ".join(_(DAY_NAMES[each]) for each in window.days)
    hours = window.shown.split(" ")[1]
    return _("{days}, {hours}, {zone}", days=days, hours=hours, zone=window.zone)
