"""The console's site: the wall, markets, incidents, staff and audit, as pages that the server renders."""

from collections.abc import Mapping
from typing import Any

import structlog
from litestar import Response, Router
from litestar.datastructures import CacheControlHeader
from litestar.exceptions import HTTPException
from litestar.static_files import create_static_files_router

from umoja.clock import Clock
from umoja.console.alarm_pages import alarm_pages
from umoja.console.drill_pages import drill_pages
from umoja.console.duty_pages import duty_pages
from umoja.console.factor_pages import factor_pages
from umoja.console.handset import handset_pages
from umoja.console.incident_pages import incident_pages
from umoja.console.machine_pages import machine_pages
from umoja.console.make_good_pages import make_good_pages
from umoja.console.market_pages import market_pages
from umoja.console.objective_pages import Budgets, objective_pages
from umoja.console.pages import HERE, Asked, Pages
from umoja.console.planned_pages import planned_pages
from umoja.console.regulator_pages import regulator_pages
from umoja.console.sandbox import Sandbox
from umoja.console.silence_pages import silence_pages
from umoja.console.staff_pages import staff_pages
from umoja.console.status_pages import status_pages
from umoja.console.swap_pages import swap_pages
from umoja.console.telling_pages import telling_pages
from umoja.console.wall import Wall, wall_pages
from umoja.ops.centre import UNREADABLE, Centre
from umoja.payments.branch import Placed

STATIC_FOR_S = 3_600  # pages name a version with each file

log = structlog.get_logger()


def console(
    *,
    centre: Centre,
    branches: Mapping[str, Placed],
    clock: Clock,
    sandbox: Sandbox | None,
    secure_cookies: bool,
) -> list[Any]:
    """Return all handlers of the console.

    In a sandbox anybody may look; without one every page but signing in needs a member of staff.
    The wall's stream ends where the application's state says `is_stopping`.
    """
    markets = {code: branch.market for code, branch in branches.items()}
    pages = Pages(
        staff=centre.staff,
        clock=clock,
        sandbox=sandbox,
        secure_cookies=secure_cookies,
        markets=markets,
        waiting=centre.pager.waiting_for,
    )
    budgets = Budgets(pages, centre)
    wall = Wall(centre=centre, markets=markets, clock=clock, pages=pages)
    handlers = [
        *wall_pages(pages, wall),
        *market_pages(pages, wall, centre, budgets),
        *incident_pages(pages, wall, centre),
        *staff_pages(pages, centre),
        *factor_pages(pages, centre.staff),
        *duty_pages(pages, centre),
        *swap_pages(pages, centre),
        *status_pages(pages, centre.status, markets),
        *telling_pages(pages, centre),
        *regulator_pages(pages, centre),
        *alarm_pages(pages, centre),
        *silence_pages(pages, centre),
        *planned_pages(pages, centre),
        *machine_pages(pages, centre),
        *objective_pages(pages, budgets),
        *make_good_pages(pages, centre),
    ]
    if sandbox is not None:
        handlers += handset_pages(pages, sandbox)
        handlers += drill_pages(pages, sandbox, centre)

    def speak(request: Asked) -> None:
        pages.speak(request)

    def refused(request: Asked, cause: HTTPException) -> Response[str]:
        return pages.refused(request, cause)  # a function: the framework copies what it is given

    def unread(request: Asked, cause: Exception) -> Response[str]:
        log.warning("console.unread", fault=type(cause).__name__)
        return pages.unread(request, cause)

    return [
        Router(
            "/",
            route_handlers=handlers,
            before_request=speak,
            exception_handlers={HTTPException: refused, **dict.fromkeys(UNREADABLE, unread)},
        ),
        create_static_files_router(
            path="/static",
            directories=[HERE / "static"],
            cache_control=CacheControlHeader(max_age=STATIC_FOR_S, public=True),
            include_in_schema=False,
        ),
    ]
