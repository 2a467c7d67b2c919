"""What telemetry counts: exact figures of a sequence written by hand, and its bounds."""

import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops.conftest import NOON, gauge, message, order
from umoja.clock import ManualClock
from umoja.markets import packs
from umoja.ops.board import VALUE_FAILED
from umoja.ops.centre import Centre
from umoja.ops.finding import Counts
from umoja.ops.localise import route_of
from umoja.ops.metrics import exposition
from umoja.ops.telemetry import PRODUCTS, Part, Telemetry
from umoja.payments.catalogue import PRODUCTS as CATALOGUE
from umoja.signals import MessagesSeen, Outcome

DAY = timedelta(days=1)


def telemetry(clock: ManualClock, *codes: str, **rest) -> Telemetry:
    return Telemetry(clock=clock, markets=[packs.load(code) for code in codes or ("KE",)], **rest)


def test_every_product_of_the_catalogue_is_counted_apart():
    assert frozenset(CATALOGUE) == PRODUCTS


def test_figures_of_a_sequence_written_by_hand(clock: ManualClock):
    seen = telemetry(clock, expected=lambda market, moment: 1.5)
    # 60 attempts in a minute: 50 go well, 6 the customer's affair, 3 ours, 1 waits and is settled.
    for number in range(50):
        seen.hear(order(clock, payer_mark=number))
        clock.advance(timedelta(seconds=1))
    for reason in (
        "pin_wrong",
        "pin_wrong",
        "not_enough",
        "pin_wrong",
        "limit_daily",
        "not_enough",
    ):
        seen.hear(order(clock, outcome=Outcome.REFUSED, reason=reason, latency_ms=0))
        clock.advance(timedelta(seconds=1))
    for _ in range(3):
        seen.hear(order(clock, outcome=Outcome.FAILED, reason="partner_failed", latency_ms=900.0))
        clock.advance(timedelta(seconds=1))
    seen.hear(order(clock, product="airtime", outcome=Outcome.PENDING, is_final=False))
    clock.advance(timedelta(seconds=1))
    seen.hear(order(clock, product="airtime", was_pending=True, latency_ms=0))
    seen.gauge(
        "KE",
        pending=4,
        oldest_ms=2_500,
        float_minor={"KES": 70_00},
        issued={"KES": 1_000_00},
        trust={"KES": 999_00},
        head=61,
    )

    found = seen.figures("KE")

    assert (found.market, found.at) == ("KE", NOON + timedelta(seconds=60))
    assert (found.attempts, found.completed, found.refused, found.failed) == (60, 51, 6, 3)
    assert found.success_permille == 944  # 51 of 54
    assert found.per_second == 1.0
    assert found.expected_per_second == 1.5
    assert found.p50_ms is not None
    assert 8 <= found.p50_ms <= 11.4  # fifty-one of fifty-four took 10 ms, three 900 ms
    assert found.p99_ms is not None
    assert 724 <= found.p99_ms <= 1024
    assert (found.pending, found.oldest_pending_ms) == (4, 2_500)
    assert found.float_minor == {"KES": 70_00}
    assert found.trust_gap == {"KES": -1_00}
    assert (found.payments_today, found.moved_today) == (51, {"KES": 51 * 100_00})
    assert found.is_blind is False
    assert seen.parts("KE") == [
        Part(
            product="send_money",
            channel="ussd",
            attempts=59,
            completed=50,
            refused=6,
            failed=3,
            success_permille=943,
            p95_ms=seen.parts("KE")[0].p95_ms,
            reasons=(
                ("partner_failed", 3),
                ("pin_wrong", 3),
                ("not_enough", 2),
                ("limit_daily", 1),
            ),
        ),
        Part(
            product="airtime",
            channel="ussd",
            attempts=1,
            completed=1,
            refused=0,
            failed=0,
            success_permille=1000,
            p95_ms=seen.parts("KE")[1].p95_ms,
            reasons=(),
        ),
    ]


def test_nothing_is_known_where_nothing_happened(clock: ManualClock):
    found = telemetry(clock).figures("KE")

    assert (found.attempts, found.success_permille, found.p95_ms) == (0, None, None)
    assert (found.expected_per_second, found.sms_permille) == (None, None)
    assert found.is_blind is True


def test_the_window_is_five_minutes_and_what_is_older_is_gone(clock: ManualClock):
    seen = telemetry(clock)
    seen.hear(order(clock))
    clock.advance(timedelta(seconds=299))

    assert seen.figures("KE").attempts == 1

    clock.advance(timedelta(seconds=1))

    assert seen.figures("KE").attempts == 0
    assert seen.figures("KE").payments_today == 1


def test_the_rate_is_over_whole_periods_and_right_from_the_first_seconds(clock: ManualClock):
    seen = telemetry(clock)
    for _ in range(20):
        seen.hear(order(clock))
        clock.advance(timedelta(milliseconds=500))

    assert seen.figures("KE").per_second == 2.0

    clock.advance(timedelta(seconds=30))

    assert seen.figures("KE").per_second == 0.5  # twenty in forty seconds


@pytest.mark.parametrize(
    ("sent", "in_time", "late", "failed", "expected"),
    [
        (10, 10, 0, 0, (10, 10, 0, 1000)),
        (10, 9, 0, 0, (10, 9, 0, 900)),  # one is overdue
        (10, 9, 1, 0, (10, 10, 0, 900)),  # one came, but late
        (10, 9, 0, 1, (10, 9, 1, 900)),  # the overdue one was given up: counted once
        (0, 0, 0, 8, (0, 0, 8, 0)),  # a dead route takes nothing
        (5, 5, 0, 5, (5, 5, 5, 500)),
        (0, 0, 0, 0, (0, 0, 0, None)),
    ],
)
def test_receipts_are_judged_when_they_should_have_arrived(
    clock: ManualClock, sent: int, in_time: int, late: int, failed: int, expected
):
    seen = telemetry(clock)
    for _ in range(sent):
        seen.hear(message(clock, "sent", waited_s=0.2))
    for _ in range(failed - min(failed, sent - in_time - late)):
        seen.hear(message(clock, "failed"))
    clock.advance(timedelta(seconds=3))
    for _ in range(in_time):
        seen.hear(message(clock, "delivered", waited_s=3.0))

    on_its_way = seen.figures("KE")

    assert on_its_way.sms_permille is None  # nothing is due yet

    clock.advance(timedelta(seconds=27))
    for _ in range(late):
        seen.hear(message(clock, "delivered", waited_s=30.0))
    for _ in range(min(failed, sent - in_time - late)):
        seen.hear(message(clock, "failed", waited_s=30.0))

    found = seen.figures("KE")

    assert (found.sms_sent, found.sms_delivered, found.sms_failed, found.sms_permille) == expected


def test_a_market_is_blind_fifteen_seconds_after_its_last_sign(clock: ManualClock):
    seen = telemetry(clock)
    seen.gauge("KE", pending=0, oldest_ms=0, float_minor={}, issued={}, trust={}, head=0)
    seen.hear(order(clock))
    clock.advance(timedelta(seconds=15))

    assert seen.figures("KE").is_blind is False

    clock.advance(timedelta(seconds=1))
    seen.hear(order(clock))

    assert seen.figures("KE").is_blind is True


def test_a_day_is_the_markets_own(clock: ManualClock):
    clock = ManualClock(datetime(2026, 3, 10, 20, 59, 50, tzinfo=UTC))  # 23:59:50 in Nairobi
    seen = telemetry(clock, "KE", "GH")
    for market, currency in (("KE", "KES"), ("GH", "GHS")):
        seen.hear(order(clock, market=market, currency=currency))

    assert seen.figures("KE").payments_today == 1

    clock.advance(timedelta(seconds=10))

    assert (seen.figures("KE").payments_today, seen.figures("GH").payments_today) == (0, 1)
    assert seen.figures("KE").moved_today == {"KES": 0}

    seen.hear(order(clock, at=clock.now() - timedelta(seconds=5)))  # late, of yesterday
    seen.hear(order(clock))

    assert seen.figures("KE").payments_today == 1
    assert seen.today("KE")[0].isoformat() == "2026-03-11"


def test_series_are_by_minute_and_silent_minutes_are_no_zeros(clock: ManualClock):
    seen = telemetry(clock)
    for count in (3, 0, 6):
        for _ in range(count):
            seen.hear(order(clock))
            seen.hear(message(clock, "sent"))
            seen.hear(message(clock, "delivered"))
        if count:
            seen.hear(order(clock, outcome=Outcome.FAILED))
            seen.hear(order(clock, outcome=Outcome.REFUSED, reason="pin_wrong"))
        clock.advance(timedelta(seconds=60))
    seen.hear(order(clock))  # the running minute is left out

    assert seen.series("KE", "attempts", minutes=4) == [None, 5.0, None, 8.0]
    assert seen.series("KE", "completed", minutes=3) == [3.0, None, 6.0]
    assert seen.series("KE", "failed", minutes=3) == [1.0, None, 1.0]
    assert seen.series("KE", "refused", minutes=3) == [1.0, None, 1.0]
    assert seen.series("KE", "per_second", minutes=1) == [8 / 60]
    assert seen.series("KE", "success", minutes=3) == [750.0, None, 857.0]
    assert seen.series("KE", "sms", minutes=3) == [1000.0, None, 1000.0]
    assert seen.series("KE", "p95", minutes=1)[0] is not None
    assert len(seen.series("KE", "attempts", minutes=10**9)) == 24 * 60
    assert seen.series("KE", "attempts", minutes=-1) == []
    with pytest.raises(KeyError):
        seen.series("KE", "nonsense")


def test_a_heard_minute_without_payments_is_nought(clock: ManualClock):
    seen = telemetry(clock)
    seen.gauge("KE", pending=0, oldest_ms=0, float_minor={}, issued={}, trust={}, head=0)
    clock.advance(timedelta(seconds=60))

    assert seen.series("KE", "attempts", minutes=1) == [0.0]
    assert seen.series("KE", "success", minutes=1) == [None]


def test_labels_are_closed_whatever_comes_in(clock: ManualClock):
    seen = telemetry(clock)
    for number in range(3_000):
        seen.hear(
            order(
                clock,
                product=f"product-{number}",
                channel=f"channel-{number}",
                currency=f"{number}",
                outcome=Outcome.FAILED,
                reason=f"reason-{number}" * 9,
            )
        )
        seen.hear(order(clock, currency=f"{number}"))
        seen.hear(message(clock, "failed", product=f"{number}", currency=f"{number}"))

    counters = seen._counters["KE"]

    assert sorted(counters.cells) == [("send_money", "ussd"), ("unknown", "unknown")]
    assert len(counters.reasons) == 48
    assert max(map(len, counters.reasons)) == 40
    assert counters.moved_today == {"KES": 0}
    assert counters.lost_receipts.between(0, 2**40).products == {"unknown"}
    assert seen.parts("KE")[1].reasons[0] == ("other", 2_952)
    assert seen.figures("KE").attempts == 6_000


def test_a_year_of_signals_takes_no_more_memory_than_a_day(clock: ManualClock):
    seen = telemetry(clock)

    def fill() -> int:
        for _ in range(500):
            clock.advance(timedelta(hours=1))
            for product in PRODUCTS:
                seen.hear(
                    order(clock, product=product, outcome=Outcome.FAILED, reason="not_enough")
                )
                seen.hear(message(clock, "failed", order_mark=len(product)))
        counters = seen._counters["KE"]
        rings = [
            *counters.messages.values(),
            counters.minutes,
            *(c.ring for c in counters.cells.values()),
        ]
        return (
            sum(ring.bytes_held for ring in rings)
            + sys.getsizeof(counters.cells)
            + len(counters.lost_receipts._periods)
            + len(counters.failed_payments._periods)
        )

    assert fill() == fill()


def test_hearing_never_raises_and_what_could_not_be_counted_is_told(clock: ManualClock):
    seen = telemetry(clock)

    seen.hear(order(clock, market="XX"))
    seen.hear(None)  # type: ignore[arg-type]
    seen.hear(message(clock, "failed", waited_s=float("nan")))
    seen.hear(order(clock, latency_ms=float("nan")))
    seen.hear(order(clock, latency_ms=float("inf")))

    lost, why = seen.uncounted()
    assert lost == 3
    assert why is not None
    assert seen.uncounted() == (0, None)
    assert seen.figures("KE").completed == 2


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(allow_nan=True, allow_infinity=True),
            st.integers(-(2**70), 2**70),
            st.text(max_size=5),
            st.sampled_from(Outcome),
            st.booleans(),
        ),
        max_size=20,
    )
)
def test_hearing_takes_any_numbers_and_texts(signals):
    clock = ManualClock(NOON)
    seen = telemetry(clock)
    for number, whole, text, outcome, was_pending in signals:
        seen.hear(
            order(clock, latency_ms=number, value_minor=whole, reason=text, outcome=outcome,
                  payer_mark=whole, was_pending=was_pending)
        )  # fmt: skip
        seen.hear(message(clock, text, waited_s=number, value_minor=whole, order_mark=whole))

    found = seen.figures("KE")

    assert found.completed == sum(1 for each in signals if each[3] is Outcome.COMPLETED)
    assert found.failed == sum(1 for each in signals if each[3] is Outcome.FAILED)


def test_a_clock_that_is_set_back_blinds_nobody(clock: ManualClock):
    seen = telemetry(clock)
    seen.hear(order(clock, at=clock.now() + DAY))
    seen.hear(order(clock))

    assert seen.figures("KE").attempts == 0

    seen.facts("KE")
    seen.hear(order(clock))

    assert seen.figures("KE").attempts == 1


def test_no_signal_is_lost_between_threads(clock: ManualClock):
    seen = telemetry(clock)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [
            threading.Thread(target=lambda: [seen.hear(order(clock)) for _ in range(2_000)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)

    assert seen.figures("KE").completed == 8_000
    assert seen.figures("KE").payments_today == 8_000


def test_the_metrics_page_says_the_same(clock: ManualClock, centre):
    centre.telemetry.hear(order(clock))
    gauge(centre, "KE")

    text = exposition(centre, ["KE", "GH"]).decode()

    assert 'umoja_completed_5m{market="KE"} 1.0' in text
    assert 'umoja_blind{market="KE"} 0.0' in text
    assert 'umoja_blind{market="GH"} 1.0' in text
    assert 'umoja_success_permille{market="KE"} 1000.0' in text
    assert 'umoja_success_permille{market="GH"}' not in text
    assert 'umoja_moved_today_minor{currency="KES",market="KE"} 10000.0' in text


def test_money_of_a_second_currency_is_counted_in_the_market_s_first(clock: ManualClock):
    telemetry = Telemetry(clock=clock, markets=[packs.load("CD")])
    failed = {"outcome": Outcome.FAILED, "reason": "bank", "market": "CD"}
    telemetry.hear(order(clock, value_minor=500, currency="USD", **failed))
    telemetry.hear(order(clock, value_minor=100_000_00, currency="CDF", **failed))
    clock.advance(timedelta(seconds=5))

    frame = telemetry.frame()

    counts = frame.counts[
        next(
            at for group, at in frame.places.items() if (group.kind, group.name) == ("market", "CD")
        )
    ]
    # 2,778 francs a dollar: 100,000 francs are 36.00 dollars (35.997).
    assert counts[VALUE_FAILED] == 500 + 3600


def test_payments_told_as_one_are_counted_like_as_many_told_one_by_one(clock: ManualClock):
    minors = [100_00, 250_00, 5_00]
    apart, together = telemetry(clock), telemetry(clock)
    for minor in minors:
        apart.hear(order(clock, value_minor=minor, latency_ms=10.0))
    together.hear(order(clock, value_minor=355_00, latency_ms=10.4, payer_mark=0, count=3))
    figures, frames = [], []
    for each in (apart, together):
        each.gauge("KE", pending=0, oldest_ms=0, float_minor={}, issued={}, trust={}, head=3)
        figures.append(each.figures("KE"))
        frames.append(each.frame())
    assert figures[0] == figures[1]
    assert figures[1].payments_today == 3
    assert frames[0].groups == frames[1].groups
    assert frames[0].counts.tolist() == frames[1].counts.tolist()


def test_a_receipt_that_is_late_touches_its_customer_and_one_that_is_late_and_lost_counts_once(
    centre: Centre, clock: ManualClock
):
    seen = centre.telemetry
    for state, waited_s, mark in (
        ("delivered", 2.0, 11), ("delivered", 20.0, 12), ("failed", 31.0, 13), ("delivered", 90.0, 13),
    ):  # fmt: skip
        seen.hear(
            message(
                clock, state, waited_s=waited_s, order_mark=mark, payer_mark=mark, value_minor=500
            )
        )
    now = int(clock.now().timestamp())
    harm = seen.harm("KE", Counts.RECEIPTS).between(0, now)
    assert (harm.payments, harm.value_minor, harm.customers) == (2, {"KES": 1_000}, 2)


def test_of_routes_that_lose_something_the_worst_is_named(centre: Centre, clock: ManualClock):
    seen = centre.telemetry
    for route in ("a", "b"):
        seen.hear(
            MessagesSeen(market="KE", route=route, second=int(clock.now().timestamp()), sent=9)
        )
    clock.advance(timedelta(seconds=5))
    frame = seen.frame()
    assert route_of(frame, "KE") is None
    seen.hear(MessagesSeen(market="KE", route="a", second=int(clock.now().timestamp()), sent=9))
    seen.hear(message(clock, "delivered", route="b", waited_s=20.0))
    clock.advance(timedelta(seconds=5))
    assert route_of(seen.frame(), "KE").name == "b"
