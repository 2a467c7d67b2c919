"""Feeds: what the detectors are told in a running platform, from a market's own parts to an incident."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.ops.conftest import order
from tests.payments.test_soundings import cheaper
from tests.stage import Stage
from umoja.app import stage_settings
from umoja.clock import Clock, ManualClock
from umoja.house import House, open_house, tell_books
from umoja.markets.texts import Texts
from umoja.ops.centre import Centre
from umoja.parties.party import SYSTEM, Party
from umoja.payments.soundings import Soundings
from umoja.premises import Keys, load_markets
from umoja.signals import CallbacksSeen, SessionsSeen, Signals
from umoja.switches import Switches

LOOK_S = 5


def open_it(folder, clock: Clock, signals: Signals) -> House:
    config = stage_settings(folder, "KE")
    return open_house(
        load_markets(config)["KE"],
        config=config,
        clock=clock,
        keys=Keys.of(config),
        signals=signals,
        switches=Switches(),
        texts=Texts.load(),
        has_mail=False,
    )


class Both:
    """A market's house and the centre that hears it."""

    def __init__(self, house: House, centre: Centre, clock: ManualClock, signals: Signals) -> None:
        self.house, self.centre, self.clock = house, centre, clock
        signals.listen(centre.telemetry.hear)
        self.stage = Stage(
            market=house.branch.market,
            clock=clock,
            store=house.store,
            ledger=house.ledger,
            signals=signals,
            switches=Switches(),
            desk=house.branch.desk,
            wallets=house.branch.wallets,
        )

    def run(self, seconds: int, act: Callable[[], None] = lambda: None) -> None:
        for _ in range(seconds // LOOK_S):
            act()
            self.clock.advance(timedelta(seconds=LOOK_S))
            tell_books(self.centre, self.house.look())
            self.centre.watch.look()

    def only(self) -> tuple[str, str, str, str]:
        (incident,) = self.centre.incidents.open_ones()
        cause = incident.sheet.cause
        return incident.detector, incident.market, cause.kind, cause.name


@pytest.fixture
async def both(tmp_path, centre: Centre, clock: ManualClock) -> Iterator[Both]:
    signals = Signals()
    house = open_it(tmp_path, clock, signals)
    made = Both(house, centre, clock, signals)
    yield made
    await house.close()


async def test_a_fee_that_is_not_the_tariffs_is_an_incident_with_its_price(both: Both):
    stage = both.stage
    payer, payee = stage.customer(), stage.customer("Baraka Mwangi")
    stage.give_money(payer, 20_000_00)

    def pay() -> None:
        assert stage.pay("send_money", payer.id, payee.id, 1_000_00).decline is None

    both.run(60, pay)
    assert both.centre.incidents.recent() == []

    both.house = replace(
        both.house,
        soundings=Soundings(
            market=cheaper(stage.market, 3_25),
            feed=stage.desk,
            directory=stage.store,
            free=stage.wallets.free,
            clock=both.clock,
        ),
    )
    both.run(30, pay)

    assert both.only() == ("tariff_shift", "KE", "release", "send_money")
    (incident,) = both.centre.incidents.open_ones()
    assert incident.value_minor == {"KES": 6 * 3_25}


async def test_agents_without_float_are_an_incident_and_sleeping_ones_are_none(both: Both):
    stage = both.stage
    usual = stage.market.mean_value_minor
    outlets = [stage.outlet() for _ in range(10)]
    payee = stage.customer()
    for outlet in outlets[:6]:
        stage.give_float(outlet, usual)
    both.run(35 * 60)
    assert both.centre.incidents.recent() == []

    for outlet in outlets[:3]:
        assert stage.pay("deposit", outlet.id, payee.id, usual).decline is None
    both.run(120)

    assert both.only() == ("float_drought", "KE", "district", "KE")


async def sell_airtime(both: Both, payer: Party, minutes: int, *, every_s: int = 35) -> None:
    """Let one customer buy airtime now and then, for as long as nothing is found."""
    stage, house = both.stage, both.house
    for second in range(minutes * 60):
        if second % every_s == 0:
            asked = stage.ask("airtime", payer.id, SYSTEM, 50_00, reference=payer.phone)
            assert (await stage.desk.submit(asked)).decline is None
        await house.recovery.look()
        await asyncio.sleep(0.001)
        both.clock.advance(timedelta(seconds=1))
        if second % LOOK_S == 0:
            tell_books(both.centre, house.look())
            both.centre.watch.look()
            if both.centre.incidents.open_ones():
                return


async def test_a_partner_that_takes_half_a_minute_is_found_while_its_orders_wait(both: Both):
    payer = both.stage.customer()
    both.stage.give_money(payer, 20_000_00)
    await sell_airtime(both, payer, 10)
    assert both.centre.incidents.recent() == []

    began = both.clock.now()
    both.house.airtime.slow_s = 30.0
    await sell_airtime(both, payer, 5)

    assert both.only() == ("held_orders", "KE", "vendor", "airtime")
    (incident,) = both.centre.incidents.open_ones()
    assert incident.opened_at - began < timedelta(seconds=200)


async def test_a_partner_who_is_down_is_found_by_his_echoes_while_nobody_pays(both: Both):
    echoes = both.house.echoes
    asking = asyncio.create_task(echoes.run())

    async def pass_time(seconds: int) -> None:
        for second in range(seconds):
            for _ in range(2):
                await asyncio.sleep(0.001)
                both.clock.advance(timedelta(seconds=0.5))
            if second % LOOK_S == 0:
                tell_books(both.centre, both.house.look())
                both.centre.watch.look()

    await pass_time(300)
    assert both.centre.incidents.recent() == []
    began = both.clock.now()
    both.house.airtime.is_dead = True
    await pass_time(60)

    assert both.only() == ("echoes", "KE", "vendor", "airtime")
    (incident,) = both.centre.incidents.open_ones()
    assert incident.title == "A partner does not answer"
    assert incident.opened_at - began <= timedelta(seconds=30)
    assert (incident.payments, incident.severity) == (0, 4)
    both.centre.remedies.allow("open_circuit", market="KE", most_a_day=9, days=9, actor="amina")
    assert both.centre.remedies.act_by_itself() == []  # it hurts nobody yet

    both.house.airtime.is_dead = False
    await pass_time(240)
    assert both.centre.incidents.open_ones() == []
    asking.cancel()


async def test_a_partner_that_loses_an_answer_now_and_then_is_asked_again_and_is_not_slow(
    both: Both,
):
    payer = both.stage.customer()
    both.stage.give_money(payer, 20_000_00)
    both.house.airtime.loses_answers_permille = 200
    await sell_airtime(both, payer, 12)

    assert both.centre.incidents.recent() == []


@pytest.mark.parametrize("ahead_s", [2.4, -2.4])
async def test_a_market_whose_clock_is_wrong_is_an_incident(
    tmp_path, centre: Centre, clock: ManualClock, ahead_s: float
):
    signals, wrong = Signals(), ManualClock(clock.now() + timedelta(seconds=ahead_s))
    house = open_it(tmp_path, wrong, signals)
    both = Both(house, centre, clock, signals)
    for _ in range(8):
        wrong.advance(timedelta(seconds=LOOK_S))
        both.run(LOOK_S)

    assert both.only() == ("clock_skew", "KE", "node", "market process")
    await house.close()


async def test_books_that_waited_on_their_way_are_no_wrong_clock(
    tmp_path, centre: Centre, clock: ManualClock
):
    signals, late = Signals(), ManualClock(clock.now() - timedelta(seconds=0.9))
    house = open_it(tmp_path, late, signals)
    both = Both(house, centre, clock, signals)
    for _ in range(8):
        late.advance(timedelta(seconds=LOOK_S))
        both.run(LOOK_S)

    assert centre.incidents.recent() == []
    await house.close()


async def test_sessions_that_do_not_come_are_an_incident_of_their_channel(both: Both):
    hear = both.centre.telemetry.hear

    def payments() -> None:
        for _ in range(10):
            hear(order(both.clock, channel="api"))

    def sessions() -> None:
        payments()
        hear(SessionsSeen(market="KE", channel="ussd", opened=12, ended=10, lapsed=1))

    both.run(15 * 60, sessions)
    assert both.centre.incidents.recent() == []

    both.run(60, payments)

    assert both.only() == ("volume", "KE", "channel", "ussd")


def test_a_token_that_expires_is_an_incident_until_it_is_renewed(
    centre: Centre, clock: ManualClock
):
    machines = centre.machines
    _, text = machines.make(
        name="prometheus",
        scopes=frozenset({"metrics"}),
        expires=clock.now() + timedelta(hours=1),
        actor="administrator",
    )
    machines.make(
        name="unused",
        scopes=frozenset({"metrics"}),
        expires=clock.now() + timedelta(minutes=5),
        actor="administrator",
    )
    assert machines.holder(text, "metrics") is not None

    def look(minutes: int) -> None:
        for _ in range(minutes):
            clock.advance(timedelta(minutes=1))
            centre.upkeep.look()
            centre.watch.look()

    look(59)
    assert centre.incidents.recent() == []
    look(2)
    (incident,) = centre.incidents.open_ones()
    assert (incident.market, incident.detector) == ("*", "expiry")
    assert incident.sheet.cause.name == "token prometheus"

    machines.revoke(1, actor="administrator")
    look(3)

    assert centre.incidents.open_ones() == []


def test_a_database_server_whose_clock_is_another_is_an_incident(
    centre: Centre, clock: ManualClock
):
    """The tests' own day is years from the server's: more than any drift."""
    if centre._database.kind != "postgres":
        pytest.skip("the clock of a file is our own")
    for _ in range(6):
        clock.advance(timedelta(seconds=5))
        centre.upkeep.look_at_server()
        centre.watch.look()

    (incident,) = centre.incidents.open_ones()
    assert (incident.market, incident.detector) == ("*", "clock_skew")
    assert incident.sheet.cause.name == "database server"


def called(channel: str, partner: str, tried: int, **rest: int) -> CallbacksSeen:
    return CallbacksSeen(market="KE", channel=channel, partner=partner, tried=tried, **rest)


async def test_a_large_clients_dead_webhook_is_an_incident_that_names_it(both: Both):
    hear = both.centre.telemetry.hear

    def calm() -> None:
        hear(called("webhook", "ke-large", 20))
        hear(called("webhook", "ke-other", 5))
        hear(called("ussd", "ussd", 30))

    def dead() -> None:
        hear(called("webhook", "ke-large", 6, failed=6))
        hear(called("webhook", "ke-other", 5))
        hear(called("ussd", "ussd", 30))

    both.run(10 * 60, calm)
    assert both.centre.incidents.open_ones() == []
    both.run(15, dead)
    assert both.only() == ("failures", "KE", "vendor", "ke-large")
    (first, *_) = both.centre.telemetry.callbacks("KE")
    assert (first.channel, first.partner) == ("webhook", "ke-large")
    assert first.failed == 18
    # Sixty times five seconds: three were bad, one has just begun.
    assert first.tried == 56 * 20 + 18


async def test_a_gateway_that_repeats_itself_is_an_incident_that_names_it(both: Both):
    hear = both.centre.telemetry.hear
    both.run(10 * 60, lambda: hear(called("ussd", "ussd", 30)))
    assert both.centre.incidents.open_ones() == []
    both.run(60, lambda: hear(called("ussd", "ussd", 40, doubled=12)))
    assert both.only() == ("callbacks", "KE", "vendor", "ussd")


async def test_more_partners_than_there_is_room_for_are_counted_together(both: Both):
    for number in range(250):
        both.centre.telemetry.hear(called("webhook", f"ke-{number}", 1, failed=1))
    found = both.centre.telemetry.callbacks("KE")
    assert len(found) == 201
    assert (found[0].partner, found[0].tried) == ("other", 50)
    assert both.centre.telemetry.uncounted() == (0, None)
