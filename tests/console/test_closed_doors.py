"""Closed doors: in production no route of the console lets anybody in who has not signed in.

Routes are read from the application, so that a new page is tested from the day on which it exists.
"""

import re

import pytest
from litestar import Litestar

from tests.console.conftest import PASSWORD, Opened

PUBLIC = re.compile(
    r"/sign-in|/sign-out|/language|/static/.*|/status(/.*)?|/v1/.*|/oauth2/.*|/ussd/.*"
    r"|/healthz|/readyz|/metrics|/docs.*|/schema.*|/favicon\.ico"
    r"|/pages/\{secret.*|/calendars/.*"
)
"""What is meant for everybody, or has a key of its own: a token, a secret in the address."""

SHUT = frozenset({401, 403, 404})
PLACES = {"code": "KE", "market": "KE", "number": "1", "batch": "1", "line": "1", "incident_id": "INC-000001"}  # fmt: skip


def routes(application: Litestar) -> list[tuple[str, str]]:
    """Return method and path of every route that is not public."""
    found = []
    for route in application.routes:
        if PUBLIC.fullmatch(route.path) is None:
            methods = getattr(route, "methods", ())
            found += [(method, route.path) for method in ("GET", "POST") if method in methods]
    return sorted(found)


def filled(path: str) -> str:
    return re.sub(
        r"\{(\w+)(?::\w+)?\}",
        lambda part: PLACES.get(part[1], "INC-000001" if "incident" in path else "1"),
        path,
    )


async def test_nobody_gets_in_without_signing_in(opened: Opened):
    desk = opened(is_sandbox=False)
    desk.incident()
    asked = routes(desk.application)
    assert ("GET", "/incidents") in asked
    assert ("POST", "/tokens") in asked
    assert len(asked) > 40
    let_in = []
    for method, path in asked:
        place = filled(path)
        answer = await desk.get(place) if method == "GET" else await desk.post(place, on="1")
        is_sent_away = answer.status_code == 303 and answer.headers["location"].startswith(
            "/sign-in"
        )
        if answer.status_code not in SHUT and not is_sent_away:
            let_in.append((method, path, answer.status_code))
    assert let_in == []
    assert desk.acts() == []


async def test_a_form_of_another_site_is_refused_everywhere(opened: Opened):
    desk = opened(is_sandbox=False)
    desk.incident()
    await desk.enter("amina", "administrator")
    before = len(desk.acts())
    taken = []
    for method, path in routes(desk.application):
        if method == "POST":
            answer = await desk.raw(filled(path), {"on": "1", "name": "juma", "password": PASSWORD})
            if answer.status_code not in SHUT:
                taken.append((path, answer.status_code))
    assert taken == []
    assert len(desk.acts()) == before


@pytest.mark.parametrize("rubbish", ["9" * 25, "-1", "0", "x" * 300, "%00", "'\"<", "%F0%9F%98%80"])
async def test_rubbish_in_an_address_is_no_fault_of_ours(opened: Opened, rubbish: str):
    desk = opened()
    desk.incident()
    await desk.enter("amina", "administrator")
    broken = []
    for method, path in routes(desk.application):
        if path in {"/sign-out", "/wall/stream"}:  # it would sign out; it never ends
            continue
        place = re.sub(r"\{[^}]*\}", rubbish, path)
        fields = {"on": "1", "to": rubbish, "number": rubbish, "market": rubbish, "lines": rubbish}
        answer = (
            await desk.get(f"{place}?page={rubbish}&after={rubbish}&market={rubbish}&state={rubbish}&q={rubbish}")
            if method == "GET"
            else await desk.post(place, **fields)
        )  # fmt: skip
        if answer.status_code >= 500:
            broken.append((method, path, answer.status_code))
    assert broken == []


@pytest.mark.parametrize("path", ["/incidents", "/tokens"])
async def test_whoever_has_signed_in_is_let_in(opened: Opened, path: str):
    """Else the tests above could pass on a console that answers nobody."""
    desk = opened(is_sandbox=False)
    await desk.enter("amina", "administrator")
    assert (await desk.get(path)).status_code == 200
