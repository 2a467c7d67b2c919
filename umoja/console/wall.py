"""The wall: every market on one screen, rendered once for all who look and sent as it changes."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from litestar import Response, get
from litestar.exceptions import HTTPException
from litestar.response import ServerSentEvent, ServerSentEventMessage

from umoja.clock import Clock
from umoja.console.africa import drawn
from umoja.console.cards import Card, IncidentLine, card_of, incident_line, permille
from umoja.console.pages import Asked, Pages
from umoja.faults import Busy
from umoja.markets.market import Market
from umoja.ops.centre import UNREADABLE, Centre
from umoja.ops.incident import Incident

STREAM_EVERY_S = 2.0
RENDERED_FOR_S = 1.5  # one rendering serves all who look
LOOK_FOR_END_S = 0.2
WATCHERS_MAX = 200
INCIDENTS_ON_WALL = 6
LINES_ON_WALL = 4  # open or lately resolved: what there is room for


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
    state: str
    word: str


class Wall:
    """Renders the live part of the wall."""

    def __init__(
        self, *, centre: Centre, markets: Mapping[str, Market], clock: Clock, pages: Pages
    ) -> None:
        self._centre = centre
        self._markets = markets
        self._clock = clock
        self._pages = pages
        self._text = ""
        self._rendered_s = float("-inf")
        self.watchers = 0

    def card(self, code: str) -> Card:
        telemetry, incidents = self._centre.telemetry, self._centre.incidents
        return card_of(
            self._markets[code],
            telemetry.figures(code),
            attempts=telemetry.series(code, "attempts"),
            open_incidents=[each for each in incidents.open_ones() if each.market == code],
        )

    def line(self, incident: Incident) -> IncidentLine:
        return incident_line(incident, self._markets.get(incident.market), now=self._clock.now())

    def values(self) -> dict[str, Any]:
        """Return what the wall's templates show."""
        telemetry = self._centre.telemetry
        opened = self._centre.incidents.open_ones()
        figures = {code: telemetry.figures(code) for code in self._markets}
        cards = [
            card_of(
                market,
                figures[code],
                attempts=telemetry.series(code, "attempts"),
                open_incidents=[each for each in opened if each.market == code],
            )
            for code, market in self._markets.items()
        ]
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
                per_second=f"{sum(each.per_second for each in figures.values()):,.1f}",
                expected=f"usual {sum(each for each in usual if each is not None):,.1f}"
                if any(each is not None for each in usual)
                else "",
                payments_today=f"{sum(each.payments_today for each in figures.values()):,}",
                success=permille(completed * 1000 // judged if judged else None),
                incidents=len(opened),
                gap=f"in {gaps} {'market' if gaps == 1 else 'markets'}"
                if gaps
                else "none"
                if heard
                else "–",
                gap_state="bad" if gaps else "",
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
                if loop.time() - self._rendered_s > RENDERED_FOR_S:
                    self._text = json.dumps(self._pages.render("wall_live.html", **self.values()))
                    self._rendered_s = loop.time()
                yield ServerSentEventMessage(data=self._text, event="wall", retry=2000)
                until_s = loop.time() + STREAM_EVERY_S
                while loop.time() < until_s and not is_stopping():  # noqa: ASYNC110  nobody tells
                    await asyncio.sleep(LOOK_FOR_END_S)
        finally:
            self.watchers -= 1


def _worst(cards: list[Card]) -> dict[str, str]:
    """Return how the whole stands, and the words for it."""
    for state, words in (
        ("bad", "in trouble"),
        ("blind", "not heard"),
        ("attention", "to be looked at"),
    ):
        found = [card.name for card in cards if card.state == state]
        if found:
            names = ", ".join(found[:2]) + (f" and {len(found) - 2} more" if found[2:] else "")
            return {"state": state, "word": f"{names} {words}"}
    return (
        {"state": "good", "word": "All markets are well"}
        if cards
        else {
            "state": "blind",
            "word": "No market is open",
        }
    )


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
