"""Objectives: what is left of each budget in every market, and how fast it burns in two windows."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from litestar import Response, get
from litestar.exceptions import HTTPException

from umoja.console.cards import BudgetLine, budget_line
from umoja.console.pages import Asked, Pages, Visitor
from umoja.console.words import _, number, place
from umoja.ops.centre import Centre
from umoja.ops.objectives import OBJECTIVE_DAYS, PAGES, TICKETS, Budget, Burn

SUMMED_FOR = timedelta(minutes=1)  # 28 days are summed up no more often, however many look

HOUR_S, DAY_S = 3_600, 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """One pair of windows of one budget, as texts."""

    long: str
    short: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveLine:
    """One product's objective with its budget and its paces."""

    budget: BudgetLine
    left: int  # per cent of the budget, 0 to 100, for the bar
    paces: tuple[Pace, ...]


class Budgets:
    """Sums budgets up, and remembers them for a minute."""

    def __init__(self, pages: Pages, centre: Centre) -> None:
        self._pages = pages
        self._centre = centre
        self._summed: dict[str, tuple[datetime, list[Budget]]] = {}

    async def of(self, code: str) -> list[Budget]:
        """Return the budgets of a market's products. Raise a Fault where they cannot be read."""
        now = self._pages.now()
        kept = self._summed.get(code)
        if kept is None or now - kept[0] >= SUMMED_FOR:
            found = await asyncio.to_thread(self._centre.objectives.budgets, code)
            kept = self._summed[code] = now, found
        return kept[1]


def objective_pages(pages: Pages, budgets: Budgets) -> list[Any]:
    def seen(visitor: Visitor) -> list[str]:
        return [code for code in pages.markets if pages.may_see(visitor, code)]

    async def listed(codes: Sequence[str]) -> list[dict[str, Any]]:
        return [
            {
                "code": code,
                "name": place(pages.markets[code]),
                "lines": [objective_line(each) for each in await budgets.of(code)],
            }
            for code in codes
        ]

    @get("/objectives", include_in_schema=False, name="console.objectives")
    async def show(request: Asked) -> Response[str]:
        visitor = pages.visitor(request)
        if visitor.member is None and pages.sandbox is None:
            return pages.to_sign_in(request)
        may = seen(visitor)
        wanted = request.query_params.get("market", "")
        if not may or (wanted in pages.markets and wanted not in may):
            raise HTTPException(status_code=403)
        market = wanted if wanted in may else ""
        return pages.page(
            "objectives.html",
            visitor,
            here="alarms",
            market=market,
            shown=await listed([market] if market else may),
            choices=[(code, place(pages.markets[code])) for code in may],
            windows=windows(*PAGES, *TICKETS),
            days=OBJECTIVE_DAYS,
        )

    return [show]


def objective_line(budget: Budget) -> ObjectiveLine:
    """Return a budget as a line of texts."""
    return ObjectiveLine(
        budget=budget_line(budget),
        left=min(max(budget.left_permille // 10, 0), 100),
        paces=tuple(_pace(each) for each in budget.rates),
    )


def _pace(burn: Burn) -> Pace:
    state = ("bad" if burn.name == "page" else "attention") if burn.is_over else ""
    return Pace(long=_times(burn.long), short=_times(burn.short), state=state)


def _times(tenths: int | None) -> str:
    return "–" if tenths is None else number(tenths / 10, decimals=1)


def windows(*pairs: tuple[int, int, int]) -> list[tuple[str, str, bool]]:
    """Return pairs of windows as people say them, the pace at which each speaks, and whether it pages."""
    return [
        (
            f"{_span(long_s)} · {_span(short_s)}",
            number(tenths / 10, decimals=1 if tenths % 10 else 0),
            (long_s, short_s, tenths) in PAGES,
        )
        for long_s, short_s, tenths in pairs
    ]


def _span(seconds: int) -> str:
    if seconds >= DAY_S:
        return _("{count} d", count=seconds // DAY_S)
    if seconds >= HOUR_S:
        return _("{count} h", count=seconds // HOUR_S)
    return _("{count} min", count=seconds // 60)
