"""The wall's stream: what it sends, how many may listen, and when it ends."""

import asyncio
import json

from tests.console.conftest import Desk, Opened, told
from umoja.console import wall as wall_module
from umoja.console.pages import Pages
from umoja.console.wall import Wall


def wall_of(desk: Desk) -> Wall:
    markets = {code: stage.market for code, stage in desk.stages.items()}
    pages = Pages(
        staff=desk.centre.staff,
        clock=desk.clock,
        sandbox=desk.toys,
        secure_cookies=False,
        markets=markets,
        waiting=desk.centre.pager.waiting_for,
    )
    return Wall(centre=desk.centre, markets=markets, clock=desk.clock, pages=pages)


async def test_each_message_is_the_wall_as_it_is_now(desk: Desk, monkeypatch):
    monkeypatch.setattr(wall_module, "STREAM_EVERY_S", 0.0)
    monkeypatch.setattr(wall_module, "RENDERED_FOR_S", -1.0)
    wall = wall_of(desk)
    stream = wall.stream(may_look=lambda: True, is_stopping=lambda: False)
    first = await anext(stream)
    assert first.event == "wall"
    assert "Payments today 0" in told(json.loads(first.data))
    desk.gauge()
    desk.pays(3)
    second = told(json.loads((await anext(stream)).data))
    assert "Payments today 3" in second
    assert "Kenya good" in second
    await stream.aclose()


async def test_all_who_look_get_the_same_rendering(desk: Desk):
    wall = wall_of(desk)
    rendered = []
    wall._pages.render = lambda _name, **_values: rendered.append(1) or "text"
    streams = [wall.stream(may_look=lambda: True, is_stopping=lambda: False) for _ in range(5)]
    texts = [(await anext(stream)).data for stream in streams]
    assert texts == ['"text"'] * 5
    assert len(rendered) == 1
    assert wall.watchers == 5
    for stream in streams:
        await stream.aclose()
    assert wall.watchers == 0


async def test_a_stream_ends_when_the_house_closes(desk: Desk):
    asked = asyncio.create_task(desk.get("/wall/stream"))
    await asyncio.sleep(0)
    desk.application.state["is_stopping"] = True
    answer = await asked
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")


async def test_a_stream_ends_with_the_session(opened: Opened):
    desk = opened(is_sandbox=False)
    await desk.enter("amina", "viewer")
    token = desk.http.cookies["umoja_session"]
    wall = wall_of(desk)
    stream = wall.stream(
        may_look=lambda: desk.centre.staff.member(token) is not None, is_stopping=lambda: False
    )
    await anext(stream)
    desk.centre.staff.sign_out(token)
    assert [message async for message in stream] == []
    assert wall.watchers == 0


async def test_too_many_watchers_are_sent_away_with_a_time_to_come_back(desk: Desk, monkeypatch):
    monkeypatch.setattr(wall_module, "WATCHERS_MAX", 0)
    answer = await desk.get("/wall/stream", accept="text/event-stream")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "30"
