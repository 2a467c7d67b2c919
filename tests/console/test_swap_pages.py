"""Swaps in the console: offered from one's own shifts, answered by who was asked, and both change hands."""

from datetime import UTC, datetime

import pytest

from tests.console.conftest import Desk, told
from umoja.ops.oncall import Layer, Roster, on_call

AMINA = "centre|amina|202603160800|202603230800"  # the third Monday of March 2026, for a week
KOFI = "centre|kofi|202603230800|202603300800"


async def roster(desk: Desk, *people: str) -> Roster:
    made = Roster(
        name="centre",
        markets=("*",),
        layers=(Layer(name="first", zone="UTC", people=people, first_day="2026-03-02"),),
    )
    desk.centre.duty.put_roster(made)
    return made


def on_duty(desk: Desk, made: Roster, day: int) -> str:
    found = on_call(made, desk.centre.duty.overrides(), datetime(2026, 3, day, 12, tzinfo=UTC))
    assert found is not None
    return found[0]


async def test_a_swap_is_offered_answered_and_both_shifts_change_hands(desk: Desk):
    desk.staff("kofi", "engineer")
    await desk.enter("amina", "engineer")
    made = await roster(desk, "amina", "kofi")
    page = (await desk.get("/on-call/swaps")).text
    assert "centre: 2026-03-16 08:00 to 2026-03-23 08:00" in page
    assert "kofi: 2026-03-23 08:00 to 2026-03-30 08:00" in page
    answer = await desk.post("/on-call/swaps", act="offer", mine=AMINA, theirs=KOFI)
    assert answer.status_code == 303, told(answer.text)
    text = told((await desk.get("/on-call/swaps")).text)
    assert "kofi (centre): 2026-03-16 08:00 to 2026-03-23 08:00 of yours for" in text
    assert on_duty(desk, made, 17) == "amina"

    await desk.post("/sign-out")
    await desk.enter("kofi")
    assert "1 waits for you" in told((await desk.get("/on-call")).text)
    text = told((await desk.get("/on-call/swaps")).text)
    assert "amina asks you (centre): you take 2026-03-16 08:00 to 2026-03-23 08:00" in text
    assert (await desk.post("/on-call/swaps", act="yes", number="1")).status_code == 303
    assert (on_duty(desk, made, 17), on_duty(desk, made, 24)) == ("kofi", "amina")
    assert [act[:2] for act in desk.acts()][-1] == ("kofi", "swap_yes")
    again = await desk.post("/on-call/swaps", act="yes", number="1")
    assert again.status_code == 422
    assert "that offer is open no longer" in told(again.text)


@pytest.mark.parametrize("act", ["no", "withdraw"])
async def test_an_offer_that_is_refused_or_withdrawn_changes_nothing(desk: Desk, act: str):
    desk.staff("kofi", "engineer")
    await desk.enter("amina", "engineer")
    made = await roster(desk, "amina", "kofi")
    await desk.post("/on-call/swaps", act="offer", mine=AMINA, theirs=KOFI)
    if act == "no":
        assert (await desk.post("/on-call/swaps", act="yes", number="1")).status_code == 422
        await desk.enter("kofi")
    assert (await desk.post("/on-call/swaps", act=act, number="1")).status_code == 303
    assert (on_duty(desk, made, 17), on_duty(desk, made, 24)) == ("amina", "kofi")
    assert desk.centre.duty.swaps(person="amina") == []


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"mine": KOFI, "theirs": AMINA}, "somebody else's by now"),
        ({"mine": AMINA, "theirs": AMINA}, "somebody else's by now"),
        ({"mine": AMINA.replace("0800", "0900"), "theirs": KOFI}, "somebody else's by now"),
        ({"mine": "", "theirs": ""}, "somebody else's by now"),
        ({"act": "yes", "number": "9"}, "open no longer"),
        ({"act": "withdraw", "number": "x"}, "open no longer"),
    ],
)
async def test_what_cannot_be_swapped_says_why(desk: Desk, fields: dict[str, str], says: str):
    desk.staff("kofi", "engineer")
    await desk.enter("amina", "engineer")
    await roster(desk, "amina", "kofi")
    answer = await desk.post("/on-call/swaps", **({"act": "offer"} | fields))
    assert answer.status_code == 422
    assert says in told(answer.text).replace("&#39;", "'")
    assert desk.centre.duty.swaps(person="amina") == []


async def test_without_a_shift_there_is_nothing_to_swap_and_strangers_sign_in(desk: Desk):
    assert (await desk.get("/on-call/swaps")).headers["location"] == "/sign-in?to=/on-call/swaps"
    assert (await desk.post("/on-call/swaps", act="yes", number="1")).status_code == 401
    await desk.enter("amina", "viewer")
    text = told((await desk.get("/on-call/swaps")).text)
    assert "You have no shift within two months." in text
    assert "Nobody asks you to swap." in text
    await roster(desk, "amina")
    text = told((await desk.get("/on-call/swaps")).text)
    assert "Nobody else has a shift in your rosters" in text
    assert (await desk.post("/on-call/swaps", act="burn")).status_code == 400
