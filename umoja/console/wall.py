"""The wall: every market on one screen, rendered once for all who look and sent as it changes."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from litestar import Response, get
from litestar.exceptions import HTTPException
from litestar.response import ServerSentEvent, ServerSentEventMessage

from umoja.clock import Clock
from umoja.console.africa import drawn
from umoja.console.cards import (
    NOTHING,
    Around,
    Card,
    IncidentLine,
    card_of,
    clock_state,
    incident_line,
    permille,
)
from umoja.console.pages import Asked, Pages
from umoja.console.words import _, _n, language, number
from umoja.faults import Busy
from umoja.markets.market import Market
from umoja.ops.centre import UNREADABLE, Centre
from umoja.ops.incident import Incident
from umoja.ops.telemetry import Called, Figures

STREAM_EVERY_S = 2.0
RENDERED_FOR_S = 1.5  # one rendering serves all who look
LOOK_FOR_END_S = 0.2
WATCHERS_MAX = 200
INCIDENTS_ON_WALL = 6
LINES_ON_WALL = 4  # open or lately resolved: what there is room for
KNOWN_FOR_S = 10.0  # what comes from a file or from many alarms is asked for no more often
PEAK_AHEAD_H = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """The figures of all markets together. Money is not added up over currencies."""

    at: datetime
    markets: int
    heard: int
    per_second: str
    expected: str
    payments_today: str
    success: str
    incidents: int
    gap: str
    gap_state: str
    books: str  # empty: nobody has told
    books_state: str
    offset: str  # of the clock that is the farthest off
    offset_state: str
    peak: str  # when all markets together are busiest within a day
    peak_note: str
    alarms: str
    alarms_note: str
    alarms_state: str
    due: str  # of the regulator's clock that ends first; empty: none runs
    due_state: str
    state: str
    word: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What stands beside the figures, asked for every ten seconds. Dues: market, seconds since 1970."""

    loud: int
    muted: int
    dues: tuple[tuple[str, int], ...]


class Wall:
    """Renders the live part of the wall."""

    def __init__(
        self, *, centre: Centre, markets: Mapping[str, Market], clock: Clock, pages: Pages
    ) -> None:
        self._centre = centre
        self._markets = markets
        self._clock = clock
        self._pages = pages
        self._rendered: dict[str, tuple[float, str]] = {}  # by language: when, and the text
        self._known: tuple[float, Beside] | None = None
        self._curves: dict[str, tuple[datetime, Mapping[datetime, float]]] = {}
        self.watchers = 0

    def card(self, code: str) -> Card:
        opened = self._centre.incidents.open_ones()
        return self._card(code, self._centre.telemetry.figures(code), opened, self._beside())

    def _card(
        self, code: str, figures: Figures, opened: Sequence[Incident], beside: Beside
    ) -> Card:
        return card_of(
            self._markets[code],
            figures,
            attempts=self._centre.telemetry.series(code, "attempts"),
            open_incidents=[each for each in opened if each.market == code],
            around=self._around(code, beside),
        )

    def _around(self, code: str, beside: Beside) -> Around:
        board, now = self._centre.telemetry.board, self._clock.now()
        now_s = int(now.timestamp())
        heard_s = board.heard_at(code)
        return Around(
            unheard_s=max(now_s - heard_s, 0) if heard_s else None,
            breaches=max(board.levels(code, "breaches").values(), default=None),
            offset_ms=max(board.levels(code, "clock_offset_ms").values(), key=abs, default=None),
            able_permille=min(board.levels(code, "agents_able_permille").values(), default=None),
            planned=tuple(sorted(self._centre.watch.planned(code, now_s))),
            planned_until=self._centre.planned.until(code),
            webhooks=_webhooks(self._centre.telemetry.callbacks(code)),
            due_s=min((due - now_s for market, due in beside.dues if market == code), default=None),
            peak=self._peak(code, now),
        )

    def _beside(self) -> Beside:
        """Return what is asked for seldom: alarms, and clocks of regulators."""
        ticks_s = self._clock.ticks_s()
        if self._known is None or ticks_s - self._known[0] >= KNOWN_FOR_S:
            counts = self._centre.alarms.counts()
            try:
                running = self._centre.regulators.running()
            except UNREADABLE:
                running = []  # the incident's page says that it cannot be read
            dues = tuple((each.market, each.due_at // 1_000_000) for each in running)
            beside = Beside(loud=counts["active"], muted=counts["suppressed"], dues=dues)
            self._known = ticks_s, beside
        return self._known[1]

    def _peak(self, code: str, now: datetime) -> tuple[datetime, float] | None:
        """Return the busiest whole hour of the next day, as the market's usual curve has it."""
        return _busiest(self._curve(code, now))

    def _curve(self, code: str, now: datetime) -> Mapping[datetime, float]:
        """Return what is usual in a market at each whole hour of the next day; asked once an hour."""
        hour = now.replace(minute=0, second=0, microsecond=0)
        kept = self._curves.get(code)
        if kept is None or kept[0] != hour:
            telemetry = self._centre.telemetry
            hours = [hour + timedelta(hours=ahead) for ahead in range(1, PEAK_AHEAD_H + 1)]
            found = {at: usual for at in hours if (usual := telemetry.usual(code, at))}
            kept = self._curves[code] = hour, found
        return kept[1]

    def _above(self, cards: Sequence[Card]) -> dict[str, str]:
        """Return what stands above all markets: the books, the clocks and the next peak."""
        now = self._clock.now()
        told = [card for card in cards if card.books]
        wrong = sum(card.books_state == "bad" for card in told)
        board = self._centre.telemetry.board
        offsets = [
            level
            for code in self._markets
            for level in board.levels(code, "clock_offset_ms").values()
        ]
        worst = max(offsets, key=abs, default=None)
        summed: dict[datetime, float] = {}
        for code in self._markets:
            for at, usual in self._curve(code, now).items():
                summed[at] = summed.get(at, 0.0) + usual
        peak = _busiest(summed)
        return {
            "books": ""
            if not told
            else _n("wrong in {n} market", "wrong in {n} markets", wrong)
            if wrong
            else _("balance"),
            "books_state": "bad" if wrong else "",
            "offset": "" if worst is None else f"{worst:+.0f} ms",
            "offset_state": "" if worst is None else _not_good(clock_state(worst)),
            "peak": "" if peak is None else f"{peak[0]:%H:%M}",
            "peak_note": ""
            if peak is None
            else _("{rate} a second", rate=number(peak[1], decimals=1)),
        }

    def line(self, incident: Incident) -> IncidentLine:
        return incident_line(incident, self._markets.get(incident.market), now=self._clock.now())

    def values(self) -> dict[str, Any]:
        """Return what the wall's templates show."""
        telemetry = self._centre.telemetry
        opened, beside = self._centre.incidents.open_ones(), self._beside()
        figures = {code: telemetry.figures(code) for code in self._markets}
        cards = [self._card(code, figures[code], opened, beside) for code in self._markets]
        completed = sum(each.completed for each in figures.values())
        judged = completed + sum(each.failed for each in figures.values())
        gaps = sum(any(each.trust_gap.values()) for each in figures.values())
        heard = sum(not each.is_blind for each in figures.values())
        usual = [each.expected_per_second for each in figures.values()]
        return {
            "headline": Headline(
                at=self._clock.now(),
                markets=len(cards),
                heard=heard,
                per_second=number(sum(each.per_second for each in figures.values()), decimals=1),
                expected=_(
                    "usual {rate}",
                    rate=number(sum(each for each in usual if each is not None), decimals=1),
                )
                if any(each is not None for each in usual)
                else "",
                payments_today=number(sum(each.payments_today for each in figures.values())),
                success=permille(completed * 1000 // judged if judged else None),
                incidents=len(opened),
                gap=_n("in {n} market", "in {n} markets", gaps)
                if gaps
                else _("none")
                if heard
                else NOTHING,
                gap_state="bad" if gaps else "",
                alarms=number(beside.loud),
                alarms_note=_n("{n} muted", "{n} muted", beside.muted) if beside.muted else "",
                alarms_state="attention" if beside.loud else "",
                **_first_due(beside, cards),
                **self._above(cards),
                **_worst(cards),
            ),
            "cards": cards,
            "incidents": [self.line(incident) for incident in opened[:INCIDENTS_ON_WALL]],
            "more_incidents": max(0, len(opened) - INCIDENTS_ON_WALL),
            "resolved": self._resolved(max(0, LINES_ON_WALL - len(opened))),
        }

    def _resolved(self, most: int) -> list[IncidentLine]:
        """Return what was resolved last; nothing where the file cannot be read: the wall goes on."""
        if not most:
            return []
        try:
            recent = self._centre.incidents.recent(limit=2 * LINES_ON_WALL)
        except UNREADABLE:
            return []
        return [self.line(each) for each in recent if each.resolved_at is not None][:most]

    def picture(self, cards: list[Card]) -> Any:
        """Return the map of these cards."""
        return drawn(
            {card.code: card.state for card in cards}, {card.code: card.name for card in cards}
        )

    async def stream(
        self, *, may_look: Callable[[], bool], is_stopping: Callable[[], bool]
    ) -> AsyncIterator[ServerSentEventMessage]:
        """Yield the live part every two seconds, until whoever looks has left or the house closes."""
        self.watchers += 1
        loop = asyncio.get_running_loop()
        try:
            while may_look() and not is_stopping():
                rendered_s, text = self._rendered.get(language(), (float("-inf"), ""))
                if loop.time() - rendered_s > RENDERED_FOR_S:
                    text = json.dumps(self._pages.render("wall_live.html", **self.values()))
                    self._rendered[language()] = loop.time(), text
                yield ServerSentEventMessage(data=text, event="wall", retry=2000)
                until_s = loop.time() + STREAM_EVERY_S
                while loop.time() < until_s and not is_stopping():  # noqa: ASYNC110  nobody tells
                    await asyncio.sleep(LOOK_FOR_END_S)
        finally:
            self.watchers -= 1


def _busiest(curve: Mapping[datetime, float]) -> tuple[datetime, float] | None:
    return max(curve.items(), key=lambda each: each[1], default=None)


def _not_good(state: str) -> str:
    return "" if state == "good" else state


def _first_due(beside: Beside, cards: Sequence[Card]) -> dict[str, str]:
    """Return how long is left of the regulator's clock that ends first."""
    code = min(beside.dues, key=lambda each: each[1])[0] if beside.dues else ""
    card = next((each for each in cards if each.code == code), None)
    return {"due": card.due if card else "", "due_state": card.due_state if card else ""}


def _worst(cards: list[Card]) -> dict[str, str]:
    """Return how the whole stands, and the words for it."""
    for state in ("bad", "blind", "attention"):
        found = [card.name for card in cards if card.state == state]
        if not found:
            continue
        names = ", ".join(found[:2])
        if found[2:]:
            names = _n("{names} and {n} more", "{names} and {n} more", len(found) - 2, names=names)
        if state == "bad":
            word = _("{markets} in trouble", markets=names)
        elif state == "blind":
            word = _("{markets} not heard", markets=names)
        else:
            word = _("{markets} to be looked at", markets=names)
        return {"state": state, "word": word}
    if cards:
        return {"state": "good", "word": _("All markets are well")}
    return {"state": "blind", "word": _("No market is open")}


def wall_pages(pages: Pages, wall: Wall) -> list[Any]:
    @get("/", include_in_schema=False, name="console.wall")
    async def show(request: Asked) -> Response[str]:
        visitor = pages.visitor(request)
        if not pages.may_see(visitor):
            if visitor.member is None:
                return pages.to_sign_in(request)
            mine = [code for code in pages.markets if pages.may_see(visitor, code)]
            if mine:
                return pages.see_other(f"/markets/{mine[0]}")
            raise HTTPException(status_code=403)
        values = wall.values()
        return pages.page(
            "wall.html", visitor, here="wall", map=wall.picture(values["cards"]), **values
        )

    @get("/wall/stream", include_in_schema=False, name="console.wall.stream")
    async def stream(request: Asked) -> Response[Any]:
        if not pages.may_see(pages.visitor(request)):
            raise HTTPException(status_code=401)
        if wall.watchers >= WATCHERS_MAX:
            raise Busy("the wall", retry_after_s=30)
        state = request.app.state
        return ServerSentEvent(
            wall.stream(
                may_look=lambda: pages.may_see(pages.visitor(request)),
                is_stopping=lambda: bool(state.get("is_stopping")),
            ),
            headers={"cache-control": "no-store"},
        )

    return [show, stream]


def _webhooks(called: Sequence[Called]) -> tuple[int, int] | None:
    """Return how many events clients were told, and how many were not taken; None where none were."""
    ours = [each for each in called if each.channel == "webhook"]
    return (sum(each.tried for each in ours), sum(each.failed for each in ours)) if ours else None
