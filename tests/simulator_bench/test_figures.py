"""The maths of a bench: percentiles, medians, when to send, and what counts as late."""

import pytest

from umoja.simulator.bench_figures import (
    Latencies,
    Offered,
    Repeat,
    Schedule,
    middle,
    offered_figures,
    rates_around,
)


def latencies(*milliseconds: float) -> Latencies:
    found = Latencies()
    found.add_all(each / 1000 for each in milliseconds)
    return found


@pytest.mark.parametrize(
    ("milliseconds", "percent", "expected"),
    [
        ([5.0], 50, 5.0),
        ([5.0], 100, 5.0),
        ([1.0, 2.0], 50, 1.0),
        ([1.0, 2.0], 51, 2.0),
        (list(range(1, 101)), 50, 50.0),
        (list(range(1, 101)), 99, 99.0),
        (list(range(1, 101)), 99.1, 100.0),
        ([1.0] * 99 + [1000.0], 99, 1.0),
        ([1.0] * 98 + [1000.0] * 2, 99, 1000.0),
        ([100.0, 1.0, 10.0], 100, 100.0),
    ],
)
def test_a_percentile_is_what_so_many_took_at_most(milliseconds, percent, expected):
    # told as the upper edge of a class one part in a hundred wide
    assert expected <= latencies(*milliseconds).at_ms(percent) <= expected * 1.0101


def test_nothing_measured_has_no_percentile():
    assert Latencies().at_ms(99) is None


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 0.00123, 0.5, 77.7, 1e6])
def test_one_by_one_and_all_at_once_count_the_same(seconds):
    one, many = Latencies(), Latencies()
    one.add(seconds, times=3)
    many.add_all([seconds] * 3)
    assert one.counts.tolist() == many.counts.tolist()
    assert len(one) == 3


def test_joined_latencies_are_those_of_both():
    both = latencies(1.0, 2.0)
    both.join(latencies(3.0))
    assert len(both) == 3
    assert both.at_ms(100) >= 3.0


@pytest.mark.parametrize(
    ("rate", "seconds", "elapsed", "due"),
    [
        (10, 1, -0.1, 0),
        (10, 1, 0.0, 1),
        (10, 1, 0.0999, 1),
        (10, 1, 0.1, 2),
        (10, 1, 0.55, 6),
        (10, 1, 0.9, 10),
        (10, 1, 50.0, 10),
        (0.5, 4, 1.9, 1),
        (0.5, 4, 2.0, 2),
        (3, 0.1, 0.0, 1),
    ],
)
def test_what_is_due_depends_on_the_time_alone(rate, seconds, elapsed, due):
    assert Schedule(rate=rate, seconds=seconds).due_by(elapsed) == due


@pytest.mark.parametrize(
    ("rate", "seconds", "total"), [(10, 1, 10), (0.5, 4, 2), (3, 0.1, 1), (1000, 2.5, 2500)]
)
def test_a_load_is_its_rate_times_its_length(rate, seconds, total):
    assert Schedule(rate=rate, seconds=seconds).total == total


def test_payments_are_due_evenly_spaced():
    schedule = Schedule(rate=4, seconds=2)
    assert [schedule.at_s(number) for number in range(4)] == [0, 0.25, 0.5, 0.75]


def repeat(done: int, seconds: float, *, cpu_s: float = 0.0, late_ms: float = 1.0) -> Repeat:
    return Repeat(
        done=done,
        declined=1,
        failed=2,
        seconds=seconds,
        cpu_s=cpu_s,
        load_cpu_s=cpu_s / 2,
        latencies=latencies(*[late_ms] * 10),
    )


def test_the_median_of_the_repeats_stands_for_all():
    found = middle(
        [
            repeat(100, 1.0, cpu_s=0.010, late_ms=1.0),
            repeat(300, 1.0, cpu_s=0.003, late_ms=1.0),
            repeat(200, 2.0, cpu_s=0.004, late_ms=9.0),
        ]
    )
    assert found["payments_per_s_all"] == [100.0, 300.0, 100.0]
    assert found["payments_per_s"] == 100.0
    assert found["spread_percent"] == 200.0
    assert (found["payments"], found["declined"], found["failed"]) == (600, 3, 6)
    assert found["cpu_us_per_payment"] == 20.0  # of 100, 10 and 20
    assert found["load_cpu_us_per_payment"] == 10.0
    assert found["p50_ms"] < 1.02
    assert found["p99_ms"] >= 9.0


def test_a_repeat_in_which_nothing_was_done_has_a_rate_of_nought():
    assert middle([repeat(0, 0.0)])["payments_per_s"] == 0.0
    assert middle([repeat(0, 0.0)])["cpu_us_per_payment"] is None


def test_an_offered_load_tells_what_was_asked_and_what_was_done():
    found = offered_figures(
        Offered(rate=100, seconds=2, due=200, repeat=repeat(150, 3.0, late_ms=40))
    )
    assert found["offered_per_s"] == 100
    assert found["due"] == 200
    assert found["payments_per_s"] == 50.0
    assert 40 <= found["p99_ms"] <= 40.5


def test_a_plot_s_loads_lie_around_the_peak():
    assert rates_around(1000) == (200, 400, 600, 800, 900, 1000, 1100)
    assert min(rates_around(0.4)) == 1
