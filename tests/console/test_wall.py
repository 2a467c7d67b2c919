"""The wall: what it shows of a market beside its payments, and that what is blind is never a number."""

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.console.conftest import Desk, told
from tests.console.test_cards import MARKET, figures, incident
from tests.stage import NOON
from umoja.clock import to_micros
from umoja.console.cards import Around, Card, card_of
from umoja.ops.alert import told as alert_told
from umoja.ops.metrics import exposition
from umoja.signals import CallbacksSeen, EchoSeen


def card(*opened: Any, figures_: dict[str, Any] | None = None, **around: Any) -> Card:
    return card_of(
        MARKET,
        figures(**(figures_ or {})),
        attempts=[60.0],
        open_incidents=opened,
        around=Around(**around),
    )


@pytest.mark.parametrize(
    ("around", "state", "says"),
    [
        ({"breaches": 0.0}, "good", ("books", "balance")),
        ({"breaches": 1.0}, "bad", ("books", "do not balance")),
        ({"offset_ms": -99.6}, "good", ("offset", "-100 ms")),
        ({"offset_ms": 101.0}, "attention", ("offset", "+101 ms")),
        ({"offset_ms": -1_000.0}, "bad", ("offset", "-1000 ms")),
        ({"able_permille": 950.0}, "good", ("able", "95 %")),
        ({"able_permille": 949.0}, "attention", ("able", "94 %")),
        ({"able_permille": 620.0}, "bad", ("able", "62 %")),
        ({"planned": ("airtime", "sim-a")}, "good", ("planned", "Planned work: airtime, sim-a")),
        ({"webhooks": (200, 2)}, "good", ("webhooks", "99.0 %")),
        (
            {"webhooks": (200, 60)},
            "good",
            ("webhooks_state", "bad"),
        ),  # one merchant's is no market's
        ({"webhooks": (19, 19)}, "good", ("webhooks_state", "")),  # too few to be judged
        ({"due_s": 7_200}, "good", ("due", "2.0 h left")),
        ({"due_s": -120}, "good", ("due", "overdue by 2 min")),
        ({"peak": (NOON + timedelta(hours=9), 24.31)}, "good", ("peak", "21:00 · 24.3")),
        ({}, "good", ("books", "")),
        ({}, "good", ("offset", "")),
        ({}, "good", ("unheard", "never heard")),
    ],
)
def test_what_is_told_beside_the_payments_is_judged(
    around: dict[str, Any], state: str, says: tuple[str, str]
):
    made = card(**around)
    assert (made.state, getattr(made, says[0])) == (state, says[1])


@pytest.mark.parametrize(("due_s", "state"), [(None, ""), (1_800, "attention"), (1_799, "bad")])
def test_a_regulators_clock_grows_urgent(due_s: int | None, state: str):
    assert card(due_s=due_s).due_state == state


def test_open_incidents_are_told_with_the_gravest_and_their_money():
    made = card(incident(3), incident(2))
    assert (made.incidents, made.severity, made.cost) == (2, 2, "KES 247 k")
    assert (card().severity, card().cost) == (0, "")


async def test_a_blind_market_has_a_word_in_the_place_of_its_numbers(desk: Desk):
    desk.gauge()
    desk.pays(40)
    assert "100 %" in (await desk.get("/")).text
    desk.clock.advance(timedelta(seconds=90))
    desk.gauge("GH")
    page = (await desk.get("/")).text
    [kenya] = re.findall(r'<article class="card" id="card-KE".*?</article>', page, re.DOTALL)
    text = told(kenya)
    assert text.startswith("Kenya blind Tue 12:01 blind not heard for 2 min")
    assert "of 40 in 5 min" not in text
    assert 'data-state="good"' not in kenya


async def test_the_wall_tells_alarms_planned_work_levels_and_the_next_peak(desk: Desk):
    desk.gauge()
    centre, now = desk.centre, to_micros(desk.clock.now())
    centre.alarms.take_and_keep(
        [
            alert_told(
                labels={"alertname": "DiskFull"}, annotations={}, starts_at=now, ends_at=0,
                generator_url="", source="", now=now,
            )
        ]
    )  # fmt: skip
    centre.watch.planned = lambda market, _: {"sim-a"} if market == "KE" else set()
    centre.telemetry.board.gauge("KE", "breaches", "auditor", 0)
    centre.telemetry.board.gauge("KE", "clock_offset_ms", "db", 3.2)
    centre.telemetry.board.gauge("KE", "agents_able_permille", "north", 930)
    centre.telemetry.board.gauge("KE", "agents_able_permille", "south", 990)
    page = (await desk.get("/")).text
    text = told(page)
    assert "Alarms of others 1" in text
    assert "Planned work: sim-a" in text
    assert "Books balance" in text
    assert "Clocks +3 ms" in text
    assert "Next peak, UTC 10:00 4.0 a second" in text  # two markets of two a second all day
    assert "Agents’ float KES 2.0 k Agents who can serve 93 %" in text
    assert "Regulator" not in text
    [ghana] = re.findall(r'<article class="card" id="card-GH".*?</article>', page, re.DOTALL)
    assert [word in told(ghana) for word in ("Planned", "Books", "Clock")] == [False, False, False]
    centre.telemetry.board.gauge("KE", "breaches", "auditor", 1)
    centre.telemetry.board.gauge("KE", "clock_offset_ms", "db", -400)
    text = told((await desk.get("/")).text)
    assert "Books wrong in 1 market Clocks -400 ms" in text
    assert "Books do not balance Clock -400 ms" in text


async def test_a_regulators_clock_stands_on_the_card_and_above_all(desk: Desk):
    desk.gauge()
    opened = desk.incident()
    rules = desk.centre.regulators._markets["KE"].notices
    assert rules, "Kenya has rules on record"
    grave = replace(opened, severity=1, opened_at=desk.clock.now() - timedelta(days=1))
    desk.centre.regulators._judge(grave, desk.clock.now())
    desk.centre.regulators._write_met()
    text = told((await desk.get("/")).text)
    assert text.count("Regulator to be told") == 2


async def test_echoes_of_partners_stand_on_the_markets_page_and_among_the_metrics(desk: Desk):
    assert "Echoes" not in (await desk.get("/markets/KE")).text
    desk.centre.telemetry.echo("KE", EchoSeen(partner="airtime", asked=60, lost=0))
    desk.centre.telemetry.echo("KE", EchoSeen(partner="bank", asked=50, lost=7))
    page = told((await desk.get("/markets/KE")).text)
    assert (
        "Echoes of partners, last 5 minutes Partner Asked Not answered bank 50 7 airtime 60 0"
        in page
    )
    assert "Callbacks" not in page
    text = exposition(desk.centre, ["KE"]).decode()
    assert 'umoja_echoes_asked_5m{market="KE",partner="bank"} 50.0' in text
    assert 'umoja_echoes_lost_5m{market="KE",partner="bank"} 7.0' in text


async def test_callbacks_stand_on_the_card_and_by_partner_on_the_markets_page(desk: Desk):
    assert "Callbacks" not in (await desk.get("/markets/KE")).text
    hear = desk.centre.telemetry.hear
    hear(CallbacksSeen(market="KE", channel="webhook", partner="ke-dead", tried=9, failed=9))
    hear(CallbacksSeen(market="KE", channel="webhook", partner="ke-live", tried=91))
    hear(CallbacksSeen(market="KE", channel="ussd", partner="ussd", tried=70, doubled=3))
    page = (await desk.get("/markets/KE")).text
    rows = re.findall(r'<tr><th scope="row">(ke-dead|ke-live|ussd)</th>(.*?)</tr>', page)
    cells = [(name, re.findall(r"<td[^>]*>([^<]*)</td>", rest)) for name, rest in rows]
    assert cells == [
        ("ke-dead", ["webhook", "9", "9", "0"]),
        ("ke-live", ["webhook", "91", "0", "0"]),
        ("ussd", ["ussd", "70", "0", "3"]),
    ]
    wall = (await desk.get("/")).text
    (taken,) = re.findall(r"<dt>Webhooks taken</dt><dd>([^<]*)</dd>", wall)
    assert taken == "91.0 %"
