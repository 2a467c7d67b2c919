"""Rings and counts of different marks against plain models that forget nothing."""

from hypothesis import given
from hypothesis import strategies as st

from umoja.ops.distinct import EXACT_MAX, Distinct
from umoja.ops.impact import Harm, Impact
from umoja.ops.rings import Ring, percentile_ms
from umoja.signals import LATENCY_BUCKETS, latency_bucket

WRITES = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 2), st.integers(0, 2)), max_size=60)


@given(WRITES, st.integers(0, 400), st.integers(0, 120))
def test_a_ring_agrees_with_a_dictionary_that_forgets_what_is_old(writes, since, length):
    ring = Ring(period_s=5, slots=6, width=3)
    model: dict[int, list[int]] = {}
    newest = -1
    for second, first, other in writes:
        period = second // 5
        newest = max(newest, period)
        is_kept = period > newest - 6

        assert ring.add_pair(second, first, other) is is_kept

        if is_kept:
            columns = model.setdefault(period, [0, 0, 0])
            columns[first] += 1
            columns[other] += 1
    wanted = [
        model.get(period, [0, 0, 0]) if period > newest - 6 else [0, 0, 0]
        for period in range(-(-since // 5), -(-(since + length) // 5))
    ]

    until = since + length
    assert [list(row) for row in ring.rows(since=since, until=until)] == wanted
    assert ring.row(since=since, until=until) == [sum(row[c] for row in wanted) for c in range(3)]
    for column in range(3):
        assert list(ring.series(column, since=since, until=until)) == [r[column] for r in wanted]
        assert ring.total(column, since=since, until=until) == sum(r[column] for r in wanted)


@given(WRITES)
def test_a_ring_never_grows(writes):
    ring = Ring(period_s=5, slots=6, width=3)
    before = ring.bytes_held

    for second, column, by in writes:
        ring.add(second * 1_000, column, by)

    assert ring.bytes_held == before == 8 * 6 * 3


def test_a_ring_begins_again_when_it_is_told_to():
    ring = Ring(period_s=5, slots=6, width=1)
    ring.add(10**9, 0)

    ring.forget_all()

    assert ring.add(100, 0) is True
    assert ring.total(0, since=0, until=200) == 1


def test_latencies_fall_into_half_powers_of_two():
    cases = {0.0: 0, 1.0: 0, 1.2: 1, 1.5: 2, 2.5: 3, 100.0: 14, 8_100.0: 26, 8_192.0: 27, 9e99: 27}

    assert {latency: latency_bucket(latency) for latency in cases} == cases
    assert latency_bucket(float("inf")) == LATENCY_BUCKETS - 1
    assert latency_bucket(float("nan")) == 0
    assert latency_bucket(-5.0) == 0


@given(st.lists(st.floats(1.01, 8_000), min_size=1, max_size=200), st.integers(1, 1_000))
def test_a_percentile_is_right_to_its_bucket(latencies, permille):
    buckets = [0] * LATENCY_BUCKETS
    for latency in latencies:
        buckets[latency_bucket(latency)] += 1
    exact = sorted(latencies)[-(-len(latencies) * permille // 1000) - 1]

    found = percentile_ms(buckets, permille)

    assert found is not None
    assert exact / 2**0.5 - 1e-6 <= found <= max(exact, 1) * 2**0.5 + 1e-6


def test_a_percentile_of_nothing_is_none():
    assert percentile_ms([0] * LATENCY_BUCKETS, 950) is None


@given(st.lists(st.integers(0, 2**64 - 1), max_size=300))
def test_few_marks_are_counted_exactly(marks):
    distinct = Distinct()
    for mark in marks:
        distinct.add(mark)

    assert distinct.count() == len(set(marks))


def test_many_marks_are_counted_within_seven_percent_and_kept_in_four_kilobytes():
    for many in (EXACT_MAX + 1, 2_000, 50_000):
        distinct = Distinct()
        for mark in range(many):
            distinct.add(mark)
            distinct.add(mark)

        assert abs(distinct.count() - many) <= many * 0.07
        assert len(distinct.kept()) <= 4_097


@given(
    st.sets(st.integers(0, 2**56 - 1), max_size=900), st.sets(st.integers(0, 2**56), max_size=900)
)
def test_merged_counts_are_those_of_all_marks_together(one, other):
    left, right, together = Distinct(), Distinct(), Distinct()
    for mark in one:
        left.add(mark)
        together.add(mark)
    for mark in other:
        right.add(mark)
        together.add(mark)

    left.merge(right)

    assert left.count() == together.count()
    assert Distinct.from_kept(left.kept()).count() == left.count()


def test_an_impact_goes_on_where_it_was_kept():
    impact = Impact()
    impact.add(product="deposit", minor=50_00, currency="KES", mark=1)
    impact.add(product="deposit", minor=25_00, currency="KES", mark=2)

    resumed = Impact.from_kept(impact.kept())
    resumed.add(product="airtime", minor=5, currency="USD", mark=2)

    assert resumed.payments == 3
    assert resumed.value_minor == {"KES": 75_00, "USD": 5}
    assert resumed.customers == 2
    assert resumed.products == {"deposit", "airtime"}


def test_harm_counts_a_payment_once_however_many_messages_it_has():
    harm = Harm()
    for order in (7, 7, 8, 0, 0):
        harm.add(100, product="deposit", minor=10, currency="KES", mark=order, order=order)

    assert harm.between(20, 20).payments == 4  # twice 0: an order that is not known
    assert harm.between(20, 20).value_minor == {"KES": 40}


def test_harm_remembers_three_minutes_and_counts_late_signals_as_now():
    harm = Harm()
    for second in (0, 100, 179, 180, 90):
        harm.add(second, product="deposit", minor=1, currency="KES", mark=second, order=0)

    assert harm.between(0, 0).payments == 0
    assert harm.between(20, 20).payments == 1
    assert harm.between(36, 36).payments == 2
    assert harm.between(0, 99).payments == 4


def test_harm_is_bounded_whatever_comes_in():
    harm = Harm()
    for number in range(20_000):
        harm.add(
            number, product=f"p{number}", minor=1, currency=f"c{number}", mark=number, order=number
        )

    found = harm.between(0, 10**9)

    assert found.payments == 180
    assert len(found.products) <= 36 * 32
    assert len(found.value_minor) <= 36 * 8
    assert len(harm._orders) == len(harm._remembered) == 8_192
