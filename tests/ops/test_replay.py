"""Replay: a plain series judged row by row, causally, with one alarm an episode."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.ops.curves import STEP_S, WINDOW, Curve, curves
from umoja.cli import run
from umoja.ops.replay import Replay, SeriesRefused, replayed

BEGAN = datetime(2026, 1, 5, tzinfo=UTC)
QUIET_KINDS = {"slow drift", "random walk", "calm 500", "calm 5"}
SURE_KINDS = {"level shift", "spike", "outage of 500", "stands still", "temperature falls"}


def lines(values: list[float], *, header: str = "timestamp,value") -> list[str]:
    return [header] + [
        f"{BEGAN + timedelta(seconds=STEP_S * place):%Y-%m-%d %H:%M:%S},{value}"
        for place, value in enumerate(values)
    ]


def alarms(curve: Curve) -> list[int]:
    replay = Replay(columns=["value"], step_s=STEP_S)
    return [
        place
        for place, value in enumerate(curve.values)
        if replay.row(BEGAN.timestamp() + place * STEP_S, [value])[1]
    ]


def test_calm_series_are_quiet_and_plain_troubles_are_said_once():
    for curve in curves(1, rows=2_400):
        said = alarms(curve)
        if curve.kind in QUIET_KINDS:
            assert said == [], curve.kind
        if curve.kind in SURE_KINDS:
            (trouble,) = curve.troubles
            assert [place for place in said if place < trouble] == [], curve.kind
            assert [trouble <= place < trouble + WINDOW for place in said] == [True], curve.kind


def test_a_row_is_judged_by_the_rows_before_it_and_by_nothing_else():
    (curve,) = [curve for curve in curves(3, rows=1_200) if curve.kind == "web traffic doubles"]
    whole = list(replayed(lines(curve.values)))

    for cut in (5, 13, 300, 900):
        assert list(replayed(lines(curve.values[:cut]))) == whole[:cut]


def test_every_score_lies_between_nought_and_one_whatever_comes():
    values = [0.0, 1e300, -1e300, 1e-300] * 60 + [5.0] * 100 + [1e12]

    scores = [row.score for row in replayed(lines(values))]

    assert len(scores) == len(values)
    assert all(0 <= score <= 1 for score in scores)


def test_a_share_that_fails_is_seen_where_the_number_does_not_move():
    replay = Replay(columns=["value", "successes"], step_s=60)

    said = [
        place
        for place in range(600)
        if replay.row(60.0 * place, [100 + place % 7, (100 if place < 500 else 88) + place % 7])[1]
    ]

    assert len(said) == 1
    assert 500 <= said[0] <= 503


def test_a_time_that_falls_is_no_alarm_and_one_that_rises_is():
    for factor, expected in ((0.4, []), (3.0, [500])):
        replay = Replay(columns=["value", "mean_time"], step_s=60)
        said = [
            place
            for place in range(560)
            if replay.row(
                60.0 * place, [200, (80 + place * 7919 % 13) * (factor if place >= 500 else 1)]
            )[1]
        ]
        assert said == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ([], "line 1: the file is empty; it begins with timestamp,value"),
        (["time,value"], "line 1: no column is called timestamp: time, value"),
        (["timestamp"], "line 1: a series has at least two columns: timestamp,value"),
        (["timestamp,value", "2026-01-01,1,2"], "line 2: 3 columns, the header has 2"),
        (
            ["timestamp,value", "2026-01-01,1", "2026-01-02,many"],
            "line 3: 'many' in value is no number",
        ),
        (
            ["timestamp,value", "yesterday,1"],
            "line 2: 'yesterday' is no time: write 2026-03-31 14:05:00, or seconds since 1970",
        ),
        (
            ["timestamp,value", "2026-01-05,1", "2026-01-01,1"],
            "line 3: 2026-01-01 lies before the row above it",
        ),
    ],
)
def test_what_is_no_series_is_refused_with_its_line(text, why):
    with pytest.raises(SeriesRefused) as refused:
        list(replayed(text))

    assert str(refused.value) == why


def test_gaps_and_missing_values_are_passed_over():
    text = ["timestamp,value", "1700000000,1", "1700000060,", "1700000600,nan", "1700000660,2"]

    assert [(row.timestamp, row.score, row.is_alarm) for row in replayed(text)] == [
        ("1700000000", 0.0, False),
        ("1700000060", 0.0, False),
        ("1700000600", 0.0, False),
        ("1700000660", 0.0, False),
    ]


def test_the_command_prints_rows_or_json_and_says_what_is_wrong(tmp_path, capsys):
    file = tmp_path / "series.csv"
    file.write_text("timestamp,value\n2026-01-01 00:00:00,5\n2026-01-01 00:05:00,6\n")

    assert run(["watch", "replay", str(file)]) == 0
    assert capsys.readouterr().out == (
        "timestamp,score,alarm\n2026-01-01 00:00:00,0.0000,0\n2026-01-01 00:05:00,0.0000,0\n"
    )
    assert run(["watch", "replay", str(file), "--json"]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert json.loads(first) == {"timestamp": "2026-01-01 00:00:00", "score": 0.0, "alarm": 0}
    assert run(["watch", "replay", str(tmp_path / "none.csv")]) == 2
    file.write_text("timestamp,value\n2026-01-01,five\n")
    assert run(["watch", "replay", str(file)]) == 2
    assert "line 2: 'five' in value is no number" in capsys.readouterr().err
