"""Detectors: quiet on calm days, loud in time on bad ones, one alarm an episode."""

from collections.abc import Callable
from random import Random

import pytest

from tests.ops.weather import Weather
from umoja.clock import ManualClock
from umoja.ops.centre import Centre
from umoja.ops.detectors.sms_receipts import SmsReceipts, Stream
from umoja.ops.finding import Due, Facts, Finding, Judgement
from umoja.ops.incident import Cause

NOTICED_WITHIN_S = 60
CLEARED_WITHIN_S = 240


def looked(detector: SmsReceipts, *dues: tuple[int, int], began_s: int = 0) -> Judgement:
    """Let a detector look every five seconds at periods of (judged, missing)."""
    judgement = Judgement(detector=detector, finding=None)
    seen: list[Due] = []
    for place, (judged, missing) in enumerate(dues, start=1):
        period_s = began_s + 5 * place
        seen.append(Due(began_s=period_s, judged=judged, missing=missing))
        judgement = judgement.detector.look(
            Facts(market="KE", now_s=period_s + 20, due=tuple(seen[-60:]))
        )
    return judgement


def begun(began_s: int = 100) -> SmsReceipts:
    """Return a detector that has looked before, when nothing was there."""
    looked_s = began_s + 20
    return SmsReceipts(looked_s=looked_s, whole=Stream(judged_until_s=began_s))


@pytest.mark.parametrize(
    ("periods", "is_loud"),
    [
        ([(2, 2)] * 5, False),  # ten missing are not enough to be sure
        ([(2, 2)] * 7, True),
        ([(200, 0)] * 3 + [(2, 2)] * 7, True),  # calm before a storm does not deafen it
        ([(1000, 10)] * 20, False),  # the usual share, of many
        ([(1000, 20)] * 20, False),
        ([(100, 3)] * 20, False),
        ([(100, 20)] * 2, True),  # a fifth is missing
        ([(5000, 5)] * 20, False),  # a blast that arrives
        ([(0, 0)] * 50, False),  # silence is no finding, and no proof either
        ([(1, 1), (40, 0)] * 20, False),  # one now and then
    ],
)
def test_periods_and_what_is_made_of_them(periods, is_loud: bool):
    judgement = looked(begun(), *periods, began_s=100)

    assert (judgement.finding is not None) is is_loud


def test_the_same_facts_twice_change_nothing():
    facts = Facts(market="KE", now_s=125, due=(Due(began_s=105, judged=2, missing=2),))
    once = begun().look(facts)

    again = once.detector.look(facts)

    assert again == once
    assert again.finding is None


def test_what_was_sent_before_the_first_look_is_no_evidence():
    assert looked(SmsReceipts(), *[(10, 10)] * 5).finding is None
    assert looked(SmsReceipts(), *[(10, 10)] * 7).finding is not None


def test_a_sleep_of_the_whole_program_is_no_evidence_against_a_route():
    asleep = tuple(Due(began_s=105 + 5 * place, judged=10, missing=10) for place in range(5))

    woken = begun().look(Facts(market="KE", now_s=145, due=asleep))

    assert woken.finding is None
    assert looked(woken.detector, *[(10, 10)] * 4, began_s=125).finding is None
    assert looked(woken.detector, *[(10, 10)] * 6, began_s=125).finding is not None


def test_a_finding_says_since_when_and_how_much():
    judgement = looked(begun(1_000), *[(100, 1)] * 4, *[(4, 4)] * 4, began_s=1_000)

    assert judgement.finding == Finding(
        title="SMS receipts do not arrive",
        evidence="12 of 12 receipts are missing, 1.8% is usual",
        began_s=1_025,
    )


def test_loud_it_needs_good_messages_to_be_quiet_again_not_silence():
    loud = looked(begun(), *[(4, 4)] * 4, began_s=100).detector

    assert looked(loud, *[(0, 0)] * 200, began_s=120).finding is not None
    assert looked(loud, *[(10, 0)] * 8, began_s=120).finding is not None  # too early to say
    assert looked(loud, *[(10, 0)] * 20, began_s=120).finding is None


def test_flapping_is_one_episode():
    loud = looked(begun(), *[(4, 4)] * 4, began_s=100).detector

    flapping = looked(loud, *([(10, 0)] * 6 + [(10, 10)] * 2) * 10, began_s=120)

    assert flapping.finding is not None


def looked_by_route(
    detector: SmsReceipts, *periods: dict[str, tuple[int, int]], began_s: int = 100
) -> Judgement:
    """Let a detector look every five seconds at periods of (judged, missing) of each route."""
    judgement = Judgement(detector=detector, finding=None)
    for place, period in enumerate(periods, start=1):
        at_s = began_s + 5 * place
        by_route = {
            route: (Due(began_s=at_s, judged=judged, missing=missing),)
            for route, (judged, missing) in period.items()
        }
        due = Due(
            began_s=at_s,
            judged=sum(judged for judged, _ in period.values()),
            missing=sum(missing for _, missing in period.values()),
        )
        judgement = judgement.detector.look(
            Facts(market="KE", now_s=at_s + 20, due=(due,), by_route=by_route)
        )
    return judgement


GOOD_HOUR = [{"a": (4, 0), "b": (1, 0)}] * 720


def test_a_lesser_route_that_is_dead_is_named_beside_one_that_carries_nearly_all():
    dead = [{"a": (19, 0), "b": (1, 1)}]
    assert looked_by_route(begun(), *GOOD_HOUR, *dead * 5).finding is None
    found = looked_by_route(begun(), *GOOD_HOUR, *dead * 7).finding
    assert found is not None
    assert found.cause == Cause(kind="vendor", name="b", share_percent=100)
    assert found.evidence == "6 of 6 receipts are missing, 1.4% is usual"
    # The same messages without their routes are five in a hundred, and no trouble yet.
    whole = looked(begun(), *[(5, 0)] * 720, *[(20, 1)] * 7, began_s=100)
    assert whole.finding is None


def test_a_good_route_is_not_named_for_one_that_is_dead():
    found = looked_by_route(begun(), *GOOD_HOUR, *[{"a": (10, 10), "b": (10, 0)}] * 3).finding
    assert found is not None
    assert found.cause == Cause(kind="vendor", name="a", share_percent=100)


def test_a_dead_route_that_carries_nothing_any_more_is_no_trouble():
    dead = [{"a": (10, 0), "b": (2, 2)}] * 6
    loud = looked_by_route(begun(), *GOOD_HOUR, *dead)
    assert loud.finding is not None
    now_s = 100 + 5 * (len(GOOD_HOUR) + len(dead))
    left = [{"a": (10, 0), "b": (0, 0)}]
    assert looked_by_route(loud.detector, *left * 11, began_s=now_s).finding is not None
    assert looked_by_route(loud.detector, *left * 14, began_s=now_s).finding is None
    # Where nobody sends at all, nothing is known of it.
    silent = [{"a": (0, 0), "b": (0, 0)}]
    assert looked_by_route(loud.detector, *silent * 500, began_s=now_s).finding is not None


def test_a_lesser_route_needs_good_messages_of_its_own_to_be_quiet_again():
    loud = looked_by_route(begun(), *GOOD_HOUR, *[{"a": (19, 0), "b": (1, 1)}] * 7)
    now_s = 100 + 5 * (len(GOOD_HOUR) + 7)
    still = [{"a": (19, 0), "b": (1, 1)}]
    assert looked_by_route(loud.detector, *still * 100, began_s=now_s).finding is not None
    well = [{"a": (19, 0), "b": (1, 0)}]
    assert looked_by_route(loud.detector, *well * 11, began_s=now_s).finding is not None
    assert looked_by_route(loud.detector, *well * 80, began_s=now_s).finding is None


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_days_of_usual_losses_by_many_small_routes_never_make_it_loud(seed):
    random = Random(seed)
    detector = begun()
    for place in range(1, 2 * 17_280):
        period = {}
        for at, chance in enumerate([0.01, 0.03, 0.1, 0.5]):
            judged = sum(random.random() < chance for _ in range(3))
            missing = sum(random.randrange(1000) < 20 for _ in range(judged))
            period[f"route-{at}"] = (judged, missing)
        judgement = looked_by_route(detector, period, began_s=5 * place)
        detector = judgement.detector
        assert judgement.finding is None


@pytest.mark.parametrize(
    ("per_second", "lost_permille", "hours", "seed"),
    [(0.05, 10, 3, 1), (0.05, 20, 3, 2), (1.0, 10, 1, 3), (3.0, 10, 1, 4), (3.0, 0, 1, 5)],
)
def test_a_calm_day_opens_nothing(
    centre: Centre, clock: ManualClock, per_second, lost_permille, hours, seed
):
    weather = Weather(centre, clock, per_second=per_second, seed=seed, lost_permille=lost_permille)

    weather.run(hours * 3_600)

    assert centre.incidents.recent() == []


@pytest.mark.parametrize(
    ("messages_a_second", "missing_permille"), [(0.1, 10), (2.0, 10), (6.0, 30)]
)
@pytest.mark.parametrize("seed", [1, 2])
def test_days_of_usual_losses_never_make_it_loud(messages_a_second, missing_permille, seed):
    random = Random(seed)
    detector = begun()

    for period in range(1, 2 * 17_280):
        judged = sum(random.random() < messages_a_second / 10 for _ in range(50))
        missing = sum(random.randrange(1000) < missing_permille for _ in range(judged))
        due = Due(began_s=period * 5, judged=judged, missing=missing)
        judgement = detector.look(Facts(market="KE", now_s=period * 5 + 20, due=(due,)))
        detector = judgement.detector
        assert judgement.finding is None


@pytest.mark.parametrize("per_second", [1.0, 3.0])
@pytest.mark.parametrize("seed", range(5))
def test_a_dead_route_is_noticed_in_a_minute_and_cleared_in_four(
    centre: Centre, clock: ManualClock, per_second: float, seed: int
):
    weather = Weather(centre, clock, per_second=per_second, seed=seed)
    weather.run(90)
    assert centre.incidents.recent() == []

    weather.is_dead = True
    noticed_s = weather.run(300, until=weather.open)
    weather.run(60)
    weather.is_dead = False
    cleared_s = weather.run(600, until=lambda: not weather.open())
    weather.run(600)

    assert noticed_s <= NOTICED_WITHIN_S
    assert cleared_s <= CLEARED_WITHIN_S
    (incident,) = centre.incidents.recent()
    assert (incident.market, incident.detector) == ("KE", "sms_receipts")
    assert incident.state == "resolved"
    assert incident.payments >= len(weather.harmed)
    # besides the harmed ones, the one in a hundred that is lost on any day
    assert incident.payments <= len(weather.harmed) * 1.1 + 3
    assert incident.customers >= len({payer for payer, _ in weather.harmed})


def fall_silent(weather: Weather) -> None:
    weather.lost_permille = 1_000


def slow_down(weather: Weather) -> None:
    weather.slow_s = 45.0


def lose_a_third(weather: Weather) -> None:
    weather.lost_permille = 333


@pytest.mark.parametrize("fault", [fall_silent, slow_down, lose_a_third])
@pytest.mark.parametrize("seed", [1, 2])
def test_other_troubles_of_a_route_are_noticed(
    centre: Centre, clock: ManualClock, fault: Callable[[Weather], None], seed: int
):
    weather = Weather(centre, clock, per_second=3.0, seed=seed)
    weather.run(120)

    fault(weather)

    assert weather.run(300, until=weather.open) <= NOTICED_WITHIN_S
    (incident,) = centre.incidents.open_ones()
    assert incident.sheet.cause == Cause(kind="vendor", name="simulated", share_percent=100)


def test_a_marketing_blast_is_no_incident(centre: Centre, clock: ManualClock):
    weather = Weather(centre, clock, per_second=1.0, seed=9)
    weather.run(120)

    for _ in range(5):
        weather.blast(5_000, within_s=14.0)
        weather.run(60)

    assert centre.incidents.recent() == []


def test_a_dead_route_at_night_is_noticed_when_there_is_enough_to_judge(
    centre: Centre, clock: ManualClock
):
    weather = Weather(centre, clock, per_second=0.05, seed=3)
    weather.run(3_600)

    weather.is_dead = True

    assert weather.run(1_200, until=weather.open) <= 600


def test_only_the_market_of_the_route_has_an_incident(centre: Centre, clock: ManualClock):
    other = Weather(centre, clock, per_second=2.0, seed=1, market="GH", currency="GHS")
    weather = Weather(centre, clock, per_second=2.0, seed=2)
    other.is_dead = True

    for _ in range(120):
        weather.run(1)
        other.pay()

    assert [each.market for each in centre.incidents.open_ones()] == ["GH"]


def test_a_blind_market_is_not_called_good(centre: Centre, clock: ManualClock):
    weather = Weather(centre, clock, per_second=2.0, seed=5)
    weather.is_dead = True
    weather.run(120)
    assert weather.open()

    weather.per_second = 0.0
    weather.run(3_600)

    assert weather.open()
