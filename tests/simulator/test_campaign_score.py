"""The campaign's scorer: two lists in, figures out, computed by hand here."""

from umoja.simulator.campaign_score import score


def fault(start: str, end: str, *, market="AA", cause="vendor x", money=0, **more):
    row = {
        "decoy": False,
        "planned": False,
        "market": market,
        "start": f"2026-03-04T{start}+00:00",
        "end": f"2026-03-04T{end}+00:00",
        "cause": cause,
        "money": money,
        "per_second": 10.0,
    }
    return row | more


def said(opened: str, *, market="AA", cause="vendor x", money=0, mitigated="", automatic=False):
    return {
        "market": market,
        "cause": cause,
        "opened": f"2026-03-04T{opened}+00:00",
        "mitigated": f"2026-03-04T{mitigated}+00:00" if mitigated else "",
        "money": money,
        "automatic": automatic,
    }


def test_faults_found_in_time_with_their_causes_and_money():
    truth = [
        fault("10:00:00", "10:20:00", money=1_000),
        fault("12:00:00", "12:20:00", market="BB", cause="cell c", money=500),
        fault("14:00:00", "14:20:00", cause="market AA"),
    ]
    incidents = [
        said("10:00:30", money=1_020, mitigated="10:01:00", automatic=True),
        said("12:01:00", market="BB", cause="cell c", money=450, mitigated="12:10:00"),
        said("14:00:20", cause="product p"),
    ]

    figures = score(truth, incidents, days=2)

    assert figures == {
        "recall": 1.0,
        "precision": 1.0,
        "detection_p50_s": 30.0,
        "detection_p95_s": 60.0,
        "market_right": 1.0,
        "cause_right": 0.6667,
        "mitigation_p50_s": 60.0,
        "mitigation_automatic_p50_s": 60.0,
        "false_incidents_per_day": 0.0,
        "in_planned_windows": 0.0,
        "money_error": 0.02,
        "recall_all": 1.0,
    }


def test_a_second_incident_of_one_fault_is_false_and_a_missed_fault_costs_recall():
    truth = [fault("10:00:00", "10:20:00"), fault("15:00:00", "15:20:00")]
    incidents = [said("10:00:30"), said("10:10:00")]

    figures = score(truth, incidents, days=0.5)

    assert (figures["recall"], figures["precision"]) == (0.5, 0.5)
    assert figures["false_incidents_per_day"] == 2.0


def test_two_faults_at_once_each_get_the_incident_of_their_cause():
    truth = [fault("10:00:00", "10:20:00"), fault("10:01:00", "10:30:00", cause="release r")]
    incidents = [said("10:01:20", cause="release r"), said("10:01:30")]

    figures = score(truth, incidents, days=1)

    assert (figures["recall"], figures["cause_right"], figures["precision"]) == (1.0, 1.0, 1.0)
    assert (figures["detection_p50_s"], figures["detection_p95_s"]) == (20.0, 90.0)


def test_decoys_are_no_faults_and_what_is_said_in_a_planned_window_is_counted():
    window = fault("09:00:00", "09:30:00", decoy=True, planned=True)
    blast = fault("16:00:00", "16:30:00", decoy=True)

    figures = score([window, blast], [said("09:05:00"), said("16:05:00")], days=1)

    assert (figures["in_planned_windows"], figures["false_incidents_per_day"]) == (1.0, 2.0)
    assert (figures["recall"], figures["precision"]) == (None, 0.0)


def test_a_fault_told_of_in_another_market_is_missed_and_makes_the_market_wrong():
    truth = [fault("10:00:00", "10:20:00"), fault("12:00:00", "12:20:00")]
    incidents = [said("10:01:00"), said("12:01:00", market="BB")]

    figures = score(truth, incidents, days=1)

    assert (figures["recall"], figures["market_right"]) == (0.5, 0.5)


def test_a_fault_where_hardly_anybody_pays_is_no_part_of_the_recall():
    truth = [fault("10:00:00", "10:20:00"), fault("12:00:00", "12:20:00", per_second=0.4)]

    figures = score(truth, [said("10:01:00")], days=1)

    assert (figures["recall"], figures["recall_all"]) == (1.0, 0.5)


def test_nothing_at_all_has_no_figures_but_says_so():
    figures = score([], [], days=1)

    assert figures["recall"] is None
    assert figures["detection_p50_s"] is None
    assert figures["false_incidents_per_day"] == 0.0
