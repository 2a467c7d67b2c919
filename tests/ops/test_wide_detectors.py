"""Detectors of all markets: quiet on calm hours, one incident with its cause and price on bad ones."""

from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pytest

from tests.ops.conftest import order
from umoja.clock import ManualClock
from umoja.ops.board import (
    ATTEMPTS,
    BUCKETS,
    CALLBACK,
    DOUBLED,
    FAILED,
    FEE,
    FEE_DUE,
    MISTAKEN_MAX,
    PAY,
    PIN,
    PIN_REASONS,
    REFUSED,
    SESSION,
    TIMED,
    VALUE,
    VALUE_FAILED,
    WIDTH,
    Board,
    Group,
    Key,
)
from umoja.ops.centre import Centre
from umoja.ops.shares import Shares
from umoja.payments.order import Decline
from umoja.signals import EchoSeen, FeesSeen, OrderSeen, Outcome

STEP_S = 10
KEYS = [
    *[
        Key("KE", PAY, product, channel, "", cell)
        for product in ("send_money", "withdraw")
        for channel in ("ussd", "api")
        for cell in ("c1", "c2")
    ],
    *[
        Key("KE", PAY, "bank_transfer", channel, bank, cell)
        for channel in ("ussd", "api")
        for bank in ("bank-a", "bank-b")
        for cell in ("c1", "c2")
    ],
    Key("KE", SESSION, "", "ussd", "", ""),
    Key("KE", CALLBACK, "", "", "shop", ""),
]
WORTH = 1_000


class Hours:
    """A market's steady counters, ten seconds at a time."""

    def __init__(self, centre: Centre, clock: ManualClock) -> None:
        self.centre, self.clock = centre, clock
        self.random = np.random.default_rng(1)
        self.rows = centre.telemetry.board.rows_of(KEYS)
        self.is_heard = True

    def run(self, minutes: float, change: Callable[[np.ndarray], None] = lambda _: None) -> None:
        for _ in range(int(minutes * 60 / STEP_S)):
            counts = np.zeros((len(KEYS), WIDTH))
            counts[:, ATTEMPTS] = self.random.poisson(20, len(KEYS))
            counts[:, FAILED] = self.random.binomial(counts[:, ATTEMPTS].astype(int), 0.004)
            counts[:, TIMED] = counts[:, ATTEMPTS]
            counts[:, BUCKETS] = counts[:, TIMED] * 11 + self.random.normal(0, 5, len(KEYS))
            counts[:, PIN] = self.random.binomial(counts[:, ATTEMPTS].astype(int), 0.01)
            counts[:, FEE_DUE] = counts[:, FEE] = counts[:, ATTEMPTS] * 10
            counts[:, VALUE] = counts[:, ATTEMPTS] * WORTH
            change(counts)
            counts[:, VALUE_FAILED] = counts[:, FAILED] * WORTH
            self.clock.advance(timedelta(seconds=STEP_S))
            board = self.centre.telemetry.board
            if self.is_heard:
                board.add_many(self.rows, counts)
                board.heard("KE", int(self.clock.now().timestamp()))
            self.centre.watch.look()

    def only(self):
        (incident,) = self.centre.incidents.open_ones()
        cause = incident.sheet.cause
        return incident.detector, cause.kind, cause.name


@pytest.fixture
def hours(centre: Centre, clock: ManualClock) -> Hours:
    made = Hours(centre, clock)
    made.run(25)
    assert centre.incidents.recent() == []
    return made


def at(**wanted: str) -> list[int]:
    return [
        place
        for place, key in enumerate(KEYS)
        if all(getattr(key, part) == value for part, value in wanted.items())
    ]


def failing(share: float, **wanted: str) -> Callable[[np.ndarray], None]:
    def change(counts: np.ndarray) -> None:
        rows = at(flow=PAY, **wanted)
        counts[rows, FAILED] = np.round(counts[rows, ATTEMPTS] * share)

    return change


@pytest.mark.parametrize(
    ("wanted", "cause"),
    [
        ({"partner": "bank-a"}, ("vendor", "bank-a")),
        ({"product": "withdraw"}, ("product", "withdraw")),
        ({"channel": "api"}, ("channel", "api")),
        ({"cell": "c2"}, ("cell", "c2")),
        ({}, ("market", "KE")),
    ],
)
def test_failures_are_found_in_half_a_minute_and_the_smallest_cause_is_named(
    hours: Hours, wanted, cause
):
    hours.run(0.5, failing(0.6, **wanted))

    assert hours.only() == ("failures", *cause)


def test_an_incident_of_failures_has_its_price_and_ends_by_itself(hours: Hours):
    hours.run(5, failing(0.5, partner="bank-a"))
    (incident,) = hours.centre.incidents.open_ones()
    hours.run(5)

    lost = 5 * 6 * 4 * 20 * 0.5  # minutes, steps, keys, attempts, share
    assert incident.payments == pytest.approx(lost, rel=0.08)
    assert incident.value_minor["KES"] == pytest.approx(lost * WORTH, rel=0.08)
    assert hours.centre.incidents.open_ones() == []
    assert len(hours.centre.incidents.recent()) == 1


def test_lost_echoes_keep_an_incident_open_while_nothing_goes_to_the_partner(hours: Hours):
    board = hours.centre.telemetry.board
    lost = 6

    def broken(counts: np.ndarray) -> None:
        failing(0.2, partner="bank-a")(counts)
        board.echo("KE", EchoSeen(partner="bank-a", asked=10, lost=lost))
        board.echo("KE", EchoSeen(partner="bank-b", asked=10, lost=0))

    def switched_off(counts: np.ndarray) -> None:
        broken(counts)
        rows = at(flow=PAY, partner="bank-a")
        counts[rows, REFUSED], counts[rows, FAILED] = counts[rows, ATTEMPTS], 0

    hours.run(0.5, broken)
    (incident,) = hours.centre.incidents.open_ones()
    assert hours.only() == ("failures", "vendor", "bank-a")
    assert incident.title == "Payments fail more than usual"

    hours.run(10, switched_off)
    assert [each.id for each in hours.centre.incidents.open_ones()] == [incident.id]

    lost = 0
    hours.run(4, lambda _: board.echo("KE", EchoSeen(partner="bank-a", asked=10, lost=0)))
    assert hours.centre.incidents.open_ones() == []
    assert len(hours.centre.incidents.recent()) == 1


def rare(
    hours: Hours, *, every_s: int, asked: int, fails: list[int]
) -> Callable[[np.ndarray], None]:
    """Return a life in which bank-a has a payment now and then and answers all echoes."""

    def change(counts: np.ndarray) -> None:
        rows = at(flow=PAY, partner="bank-a")
        counts[rows] = 0
        hours.centre.telemetry.board.echo("KE", EchoSeen(partner="bank-a", asked=asked, lost=0))
        if int(hours.clock.now().timestamp()) % every_s == 0:
            is_bad = fails.pop(0) if fails else 0
            counts[rows[0], [ATTEMPTS, FAILED, VALUE]] = 1, is_bad, WORTH

    return change


def looks_until_found(hours: Hours, change: Callable[[np.ndarray], None]) -> int:
    looks = 0
    while not hours.centre.incidents.open_ones():
        hours.run(1 / 6, change)
        looks += 1
    assert hours.only() == ("failures", "vendor", "bank-a")
    return looks


@pytest.mark.parametrize("asked", [0, 10])
def test_a_bank_that_answers_echoes_and_fails_payments_is_found_as_soon_as_without(
    hours: Hours, asked: int
):
    assert looks_until_found(hours, rare(hours, every_s=30, asked=asked, fails=[1] * 9)) == 14


@pytest.mark.parametrize("asked", [0, 2])
def test_so_it_is_where_few_ever_paid_through_the_bank(
    centre: Centre, clock: ManualClock, asked: int
):
    """Who is judged seldom is believed sooner; being asked often does not make him a busy one."""
    hours, fails = Hours(centre, clock), []
    life = rare(hours, every_s=60, asked=asked, fails=fails)
    hours.run(60, life)
    assert hours.centre.incidents.recent() == []
    fails += [1, 1, 0, 1, 1, 1, 1, 1]
    assert looks_until_found(hours, life) == 26


@pytest.mark.parametrize("down_s", [None, 0, 1_200])
def test_a_partner_who_does_not_answer_hides_no_other_one(hours: Hours, down_s: int | None):
    board, began_s = hours.centre.telemetry.board, int(hours.clock.now().timestamp())

    def also(counts: np.ndarray) -> None:
        since_s = int(hours.clock.now().timestamp()) - began_s
        is_down = down_s is not None and since_s >= down_s
        board.echo("KE", EchoSeen(partner="airtime-a", asked=10, lost=10 * is_down))

    hours.run(20, also)
    hours.run(10, lambda counts: (also(counts), failing(1.0, partner="bank-a")(counts)))

    found = {
        (each.detector, each.sheet.cause.name): each.payments
        for each in hours.centre.incidents.open_ones()
    }
    assert found.pop(("failures", "bank-a")) == pytest.approx(10 * 6 * 4 * 20, rel=0.08)
    assert found == ({} if down_s is None else {("echoes", "airtime-a"): 0})


def test_a_partner_who_starts_anew_is_no_incident_and_who_is_asked_no_more_is_none(hours: Hours):
    board = hours.centre.telemetry.board

    def echoes(asked: int, lost: int) -> Callable[[np.ndarray], None]:
        return lambda _: board.echo("KE", EchoSeen(partner="airtime-a", asked=asked, lost=lost))

    hours.run(10, echoes(2, 0))
    hours.run(1 / 6, echoes(6, 5))
    hours.run(10, echoes(10, 0))
    assert hours.centre.incidents.recent() == []
    hours.run(1, echoes(10, 10))
    assert hours.only() == ("echoes", "vendor", "airtime-a")
    hours.run(5)  # he was taken out, and is asked no more
    assert hours.centre.incidents.open_ones() == []


def test_what_a_silent_partner_cost_is_counted_once(hours: Hours):
    """Told by echoes first, and by payments once enough of them have failed."""
    board = hours.centre.telemetry.board
    failed = 0

    def down(counts: np.ndarray) -> None:
        nonlocal failed
        rows = at(flow=PAY, partner="bank-a")
        counts[rows] = 0
        board.echo("KE", EchoSeen(partner="bank-a", asked=10, lost=10))
        if int(hours.clock.now().timestamp()) % 60 == 0:
            counts[rows[0], [ATTEMPTS, FAILED, VALUE]] = 1, 1, WORTH
            failed += 1

    hours.run(15, down)
    (incident,) = hours.centre.incidents.open_ones()
    assert (incident.detector, incident.sheet.cause.name) == ("echoes", "bank-a")
    assert "failures" in incident.sheet.also
    assert incident.payments == pytest.approx(failed, abs=1)


@pytest.mark.parametrize("lost", [0, 1])
def test_an_echo_that_is_lost_now_and_then_is_nothing(hours: Hours, lost: int):
    board = hours.centre.telemetry.board
    for _ in range(20):  # one of a hundred
        hours.run(1.5, lambda _: board.echo("KE", EchoSeen(partner="bank-a", asked=10, lost=0)))
        board.echo("KE", EchoSeen(partner="bank-a", asked=10, lost=lost))
    assert hours.centre.incidents.recent() == []


def test_customers_own_troubles_are_no_failures(hours: Hours):
    def refused(counts: np.ndarray) -> None:
        counts[:, REFUSED] = np.round(counts[:, ATTEMPTS] * 0.5)
        counts[:, FAILED] = 0

    hours.run(10, refused)

    assert hours.centre.incidents.recent() == []


def test_an_outage_in_which_nothing_fails_is_one_incident_of_the_market(hours: Hours):
    hours.run(2, lambda counts: counts.__imul__(0))

    assert hours.only() == ("volume", "market", "KE")


def test_a_channel_whose_sessions_are_lost_is_named(hours: Hours):
    def lose(counts: np.ndarray) -> None:
        counts[at(channel="ussd")] = 0

    hours.run(2, lose)

    assert hours.only() == ("volume", "channel", "ussd")


def test_a_quiet_day_is_no_outage(hours: Hours):
    hours.run(60, lambda counts: counts.__imul__(0.7))

    assert hours.centre.incidents.recent() == []


def test_slow_answers_of_a_cell_are_found(hours: Hours):
    def slow(counts: np.ndarray) -> None:
        counts[at(flow=PAY, cell="c1"), BUCKETS] += 4 * counts[at(flow=PAY, cell="c1"), TIMED]

    hours.run(1, slow)

    assert hours.only() == ("latency", "cell", "c1")


def test_wrong_fees_are_found_and_a_new_tariff_is_not(hours: Hours):
    def new(counts: np.ndarray) -> None:
        counts[at(product="withdraw"), FEE] *= 1.4
        counts[at(product="withdraw"), FEE_DUE] *= 1.4

    def wrong(counts: np.ndarray) -> None:
        counts[at(product="withdraw"), FEE] *= 1.4

    hours.run(10, new)
    assert hours.centre.incidents.recent() == []
    hours.run(1, wrong)

    assert hours.only() == ("tariff_shift", "release", "withdraw")


def test_a_flood_of_wrong_pins_is_fraud_and_no_outage(hours: Hours):
    def guess(counts: np.ndarray) -> None:
        counts[at(product="send_money"), PIN] += 5
        counts[at(product="send_money"), REFUSED] += 5

    hours.run(2, guess)

    assert hours.only() == ("fraud", "fraud", "send_money")


def test_a_flood_of_wrong_pins_counts_the_customers_whose_pins_were_tried(hours: Hours):
    tried = []

    def guess(_: np.ndarray) -> None:
        for _ in range(15):
            tried.append(1_000 + len(tried))
            for _ in range(3):
                seen = order(
                    hours.clock, outcome=Outcome.REFUSED, reason="pin_wrong", payer_mark=tried[-1]
                )
                hours.centre.telemetry.hear(seen)
        # Whoever is refused for anything else meanwhile has no part in it.
        other = order(hours.clock, outcome=Outcome.REFUSED, reason="not_enough", payer_mark=5)
        hours.centre.telemetry.hear(other)

    hours.run(2, guess)

    assert hours.only() == ("fraud", "fraud", "send_money")
    (incident,) = hours.centre.incidents.open_ones()
    # What the last look counted is told with the next one.
    assert len(tried) - 2 * 15 <= incident.customers <= len(tried)
    assert incident.payments == pytest.approx(len(tried), rel=0.15)


def test_the_board_knows_the_reasons_that_the_desk_gives_for_a_wrong_pin():
    assert {Decline.PIN_WRONG.value, Decline.PIN_LOCKED.value} == PIN_REASONS


def test_a_customer_with_a_wrong_pin_counts_once_in_ten_minutes(clock: ManualClock):
    board = Board(["KE", "GH"])

    def pins(*seen: OrderSeen) -> float:
        for each in seen:
            board.order(each)
        clock.advance(timedelta(seconds=5))
        frame = board.step(int(clock.now().timestamp()), blind_after_s=15, expected={})
        assert frame is not None
        return float(frame.counts[:, PIN][frame.places[Group("KE", PAY, "market", "KE")]])

    def wrong(mark: int, market: str = "KE") -> OrderSeen:
        refused = Outcome.REFUSED
        return order(clock, market=market, outcome=refused, reason="pin_wrong", payer_mark=mark)

    assert pins(wrong(7), wrong(7), wrong(7), wrong(8), wrong(7, "GH")) == 2
    clock.advance(timedelta(seconds=590))
    assert pins(wrong(7), wrong(9)) == 1
    assert pins(wrong(7)) == 1  # ten minutes after it was counted
    assert pins(wrong(0), wrong(0)) == 2  # nobody knows whose
    refused = order(clock, outcome=Outcome.REFUSED, reason="not_enough", payer_mark=10)
    assert pins(refused) == 0
    assert pins(*(wrong(mark) for mark in range(100, 100 + MISTAKEN_MAX))) == MISTAKEN_MAX
    assert len(board._mistaken["KE"]) == MISTAKEN_MAX
    board = Board(["KE"])
    board.order(wrong(7))
    clock.advance(timedelta(hours=-3))  # set back: who was counted then counts again
    assert pins(wrong(7)) == 2


def test_callbacks_that_come_twice_name_their_partner(hours: Hours):
    def double(counts: np.ndarray) -> None:
        counts[at(flow=CALLBACK), DOUBLED] = 8

    hours.run(1, double)

    assert hours.only() == ("callbacks", "vendor", "shop")


@pytest.mark.parametrize(
    ("what", "of", "calm", "wrong", "found"),
    [
        ("trust_gap", "KES", 0.0, -1.0, ("trust_gap", "trust", "KES")),
        ("breaches", "", 0.0, 1.0, ("invariants", "ledger", "KE")),
        ("oldest_s", "recovery", 80.0, 95.0, ("pending", "queue", "recovery")),
        ("clock_offset_ms", "node-1", -80.0, -900.0, ("clock_skew", "node", "node-1")),
        ("expires_in_s", "bank-a", 60.0, -1.0, ("expiry", "certificate", "bank-a")),
    ],
)
def test_levels_are_judged_and_name_what_is_wrong(hours: Hours, what, of, calm, wrong, found):
    board = hours.centre.telemetry.board
    board.gauge("KE", what, of, calm)
    hours.run(2)
    assert hours.centre.incidents.recent() == []

    board.gauge("KE", what, of, wrong)
    hours.run(1)

    assert hours.only() == found


def test_a_district_with_far_fewer_agents_than_usual_is_in_a_drought(hours: Hours):
    board = hours.centre.telemetry.board
    board.gauge("KE", "agents_able_permille", "north", 600.0)  # many sleep, always
    hours.run(31)
    board.gauge("KE", "agents_able_permille", "north", 520.0)
    hours.run(3)
    assert hours.centre.incidents.recent() == []

    board.gauge("KE", "agents_able_permille", "north", 450.0)
    hours.run(1)

    assert hours.only() == ("float_drought", "district", "north")


def test_a_market_that_is_not_heard_is_blind_and_nothing_else_is_said_of_it(hours: Hours):
    hours.is_heard = False
    hours.run(5)
    assert hours.only() == ("silence", "monitoring", "KE")

    hours.is_heard = True
    hours.run(3)

    assert hours.centre.incidents.open_ones() == []
    assert len(hours.centre.incidents.recent()) == 1


def test_what_is_planned_is_no_incident_and_stays_none_for_as_long_as_it_lasts(hours: Hours):
    hours.centre.watch.planned = lambda market, now_s: {"bank-a"} if market == "KE" else ()
    hours.run(5, failing(1.0, partner="bank-a"))
    hours.centre.watch.planned = lambda market, now_s: ()
    hours.run(0.5)

    assert hours.centre.incidents.recent() == []


def test_an_expired_certificate_explains_the_payments_that_fail_for_it(hours: Hours):
    hours.centre.telemetry.board.gauge("KE", "expires_in_s", "bank-a", -1.0)
    hours.run(3, failing(1.0, partner="bank-a"))

    assert hours.only() == ("expiry", "certificate", "bank-a")
    (incident,) = hours.centre.incidents.open_ones()
    assert incident.payments == pytest.approx(3 * 6 * 4 * 20, rel=0.1)


def test_real_orders_stand_on_the_board_beside_what_is_counted_at_once(
    centre: Centre, clock: ManualClock
):
    hear = centre.telemetry.hear
    hear(order(clock))
    centre.telemetry.board.fees(
        "KE", FeesSeen(product="send_money", payments=1, fee_minor=50, due_minor=45)
    )
    hear(order(clock, outcome=Outcome.FAILED, reason="bank", partner="bank-a", value_minor=7))
    hear(order(clock, outcome=Outcome.REFUSED, reason="pin_wrong"))
    clock.advance(timedelta(seconds=5))

    frame = centre.telemetry.frame()

    by_group = {
        (group.kind, group.name): frame.counts[place].tolist()
        for group, place in frame.places.items()
    }
    assert by_group["market", "KE"][ATTEMPTS] == 3
    assert by_group["market", "KE"][REFUSED] == 1
    assert by_group["market", "KE"][PIN] == 1
    assert by_group["vendor", "bank-a"][FAILED] == 1
    assert by_group["product", "send_money"][FEE] == 50
    assert by_group["product", "send_money"][FEE_DUE] == 45
    assert centre.telemetry.frame() is None


def test_minutes_are_kept_and_a_gap_is_none(hours: Hours):
    now = int(hours.clock.now().timestamp()) // 60
    hours.is_heard = False
    hours.run(3)
    hours.is_heard = True
    hours.run(2)

    minutes = hours.centre.watch.chronicle.between("KE", now - 2, now + 6)

    assert minutes[0] is not None
    assert sum(counts[ATTEMPTS] for counts in minutes[0].values()) > 1_000
    assert minutes[3] is None
    assert minutes[0].keys() == set(KEYS)


def test_what_always_fails_often_and_gets_better_is_no_evidence_of_trouble():
    shares = Shares()
    tried, failed = np.array([1_000.0]), np.array([400.0])
    for _ in range(2_000):
        shares.weigh(tried, failed)
        shares.learn(tried, failed, np.array([True]))

    assert shares.typical[0] == pytest.approx(0.4, abs=0.01)
    assert shares.against(tried, np.array([200.0]), 0.2)[0] < 0
    assert shares.against(tried, np.array([950.0]), 0.2)[0] > 20
