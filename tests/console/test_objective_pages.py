"""Objectives in the console: budgets of every market and the pace at which they burn."""

from datetime import timedelta

from tests.console.conftest import Desk, Opened, told
from umoja.console.objective_pages import objective_line
from umoja.ops.objectives import Budget, Burn
from umoja.signals import Outcome


def kept_minutes(desk: Desk, minutes: int, *, good: int, bad: int) -> None:
    desk.clock.advance(timedelta(seconds=25))
    for _ in range(minutes):
        desk.pays(good)
        desk.pays(bad, outcome=Outcome.FAILED)
        desk.gauge()
        desk.clock.advance(timedelta(seconds=60))
        desk.centre.objectives.keep()


def test_a_line_tells_the_budget_and_every_pace():
    burns = (
        Burn(name="page", long_s=3_600, short_s=300, limit=144, long=150, short=145, is_over=True),
        Burn(
            name="ticket", long_s=86_400, short_s=7_200, limit=30, long=31, short=40, is_over=True
        ),
        Burn(
            name="ticket",
            long_s=259_200,
            short_s=21_600,
            limit=10,
            long=9,
            short=None,
            is_over=False,
        ),
    )
    line = objective_line(
        Budget(
            market="KE", product="send_money", objective_permille=995, judged=10_000, bad=40,
            allowed=50, left_permille=204, burns="page", rates=burns,
        )
    )  # fmt: skip
    assert (line.budget.left, line.left, line.budget.left_state) == ("20 %", 20, "attention")
    assert [(each.long, each.short, each.state) for each in line.paces] == [
        ("15.0", "14.5", "bad"),
        ("3.1", "4.0", "attention"),
        ("0.9", "–", ""),
    ]


async def test_budgets_of_every_market_and_of_one(desk: Desk):
    assert (
        told((await desk.get("/objectives")).text).count("No minute with payments was kept yet.")
        == 2
    )
    desk.clock.advance(timedelta(minutes=2))
    kept_minutes(desk, 6, good=90, bad=10)
    text = told((await desk.get("/objectives")).text)
    # A tenth fails of which a two hundredth may: twenty times the even pace, in all windows.
    assert (
        "send money 99.5 % 600 60 of 3 used up too fast: 20.0 · 20.0 too fast: 20.0 · 20.0" in text
    )
    assert "1 h · 5 min pages at 14.4 6 h · 30 min pages at 6 1 d · 2 h tells at 3" in text
    only = told((await desk.get("/objectives?market=GH")).text)
    assert "send money" not in only
    assert "No minute with payments was kept yet." in only
    market = told((await desk.get("/markets/KE")).text)
    assert "how fast each budget burns" in market
    assert "99.5 % 600 60 of 3 used up much too fast 20.0 · 20.0 20.0 · 20.0" in market


async def test_objectives_are_seen_by_who_may_see_the_market(opened: Opened):
    desk = opened(is_sandbox=False)
    assert (await desk.get("/objectives")).headers["location"] == "/sign-in?to=/objectives"
    await desk.enter("kofi", "viewer", market="GH")
    page = (await desk.get("/objectives")).text
    assert ("of-GH" in page, "of-KE" in page) == (True, False)
    assert (await desk.get("/objectives?market=KE")).status_code == 403
