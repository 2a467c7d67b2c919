"""Charts and the map: what the server draws, and the colours in which it is seen."""

import re
from pathlib import Path

import pytest

from umoja.console import charts
from umoja.console.africa import _lands, drawn
from umoja.console.charts import SPANS, Scale, around, chart, gathered, line_chart, mean
from umoja.markets import packs

CSS = (Path(charts.__file__).parent / "static" / "console.css").read_text("utf-8")


def points(svg: str) -> list[str]:
    return re.findall(r'<polyline points="([^"]*)"', svg)


def test_a_line_goes_from_the_left_to_the_right_and_up_with_its_value():
    svg = line_chart([0, 5, 10], name="Test", scale=Scale(least=0, most=10))
    assert points(svg) == ["0.0,58.0 120.0,30.0 240.0,2.0"]


def test_what_is_not_known_is_a_gap_and_never_nought():
    svg = line_chart([1, 1, None, 1, None], name="Test", scale=Scale(least=0, most=1))
    assert points(svg) == ["0.0,2.0 60.0,2.0", "132.0,2.0 180.0,2.0"]


def test_what_lies_beyond_the_scale_stays_inside_the_drawing():
    svg = line_chart([-5, 50], name="Test", scale=Scale(least=0, most=10))
    assert points(svg) == ["0.0,58.0 240.0,2.0"]


def test_with_nothing_to_show_it_says_so():
    svg = line_chart([None, None], name="Test")
    assert 'aria-label="Test: nothing to show yet"' in svg
    assert points(svg) == []
    assert points(line_chart([], name="Test")) == []


def test_a_name_cannot_break_out_of_the_drawing():
    assert '"><script>' not in line_chart([1, 2], name='"><script>')


def test_a_peak_does_not_hide_the_usual_level():
    assert around(10.0, [8.0, 1_000.0]) == Scale(least=0, most=30.0)
    assert around(10.0, [8.0, 12.0]) == Scale(least=0, most=16.0)
    assert around(10.0, [None]) == Scale(least=0, most=16.0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 1), (-3, 1), (0.3, 0.5), (1, 1), (3, 5), (51, 100), (100, 100), (1_200, 2_000)],
)
def test_a_scale_ends_at_a_round_number(value: float, expected: float):
    assert charts.rounded_up(value) == expected


def test_minutes_are_gathered_to_points():
    assert gathered([1, 3, None, None, 5], 2, mean) == [2, None, 5]
    assert gathered([1, 3, 2], 2, max) == [3, 2]


def test_a_chart_of_shares_begins_close_below_what_it_shows():
    made = chart([98.0, 99.5], title="Success", unit="%", span=SPANS[0], by=mean)
    assert (made.bottom, made.top, made.latest) == ("90", "100", "99.5")
    made = chart([98.0, 60.0], title="Success", unit="%", span=SPANS[0], by=mean)
    assert (made.bottom, made.top) == ("50", "100")
    made = chart([3.0], title="Success", unit="%", span=SPANS[0], by=mean)
    assert (made.bottom, made.top) == ("0", "100")


def test_every_market_has_its_place_on_the_map():
    codes = packs.codes()
    page = drawn(dict.fromkeys(codes, "good"), {code: packs.load(code).name for code in codes})
    assert sorted(re.findall(r'data-place="(\w+)"', page)) == sorted(codes)
    assert len(re.findall(r"<path", page)) == 53
    assert len(re.findall(r"<circle", page)) == 1  # one is so small that it could not be hit


def test_a_market_that_is_not_on_the_map_is_left_out():
    page = drawn({"XX": "good"}, {"XX": "Nowhere"})
    assert "Nowhere" not in page
    assert len(re.findall(r'class="land"', page)) == 53


# Colours


def themes() -> dict[str, dict[str, str]]:
    """Return the tokens of both themes, as the stylesheet has them."""
    light = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{3,6})\b", CSS.split("}")[0]))
    dark = CSS[CSS.index(':root[data-theme="dark"]') :].split("}")[0]
    return {"light": light, "dark": dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{3,6})\b", dark))}


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * each for each in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


PAIRS = [
    ("ink", "bg"), ("ink", "panel"), ("ink", "sunk"), ("muted", "bg"), ("muted", "panel"),
    ("muted", "sunk"), ("accent", "panel"), ("accent", "bg"), ("accent-ink", "accent"),
    ("good", "good-bg"), ("attention", "attention-bg"), ("bad", "bad-bg"), ("blind", "blind-bg"),
    ("good", "panel"), ("attention", "panel"), ("bad", "panel"), ("blind", "panel"), ("bad", "bg"),
    ("muted", "bad-bg"),
]  # fmt: skip


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), PAIRS)
def test_text_is_read_on_its_ground(theme: str, text: str, ground: str):
    tokens = themes()[theme]
    assert contrast(tokens[text], tokens[ground]) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("sign", ["focus", "spark", "bad-line", "map-good"])
def test_signs_are_seen_on_their_ground(theme: str, sign: str):
    tokens = themes()[theme]
    assert contrast(tokens[sign], tokens["panel"]) >= 3.0


def test_both_ways_to_the_dark_theme_have_the_same_tokens():
    chosen = CSS[CSS.index(':root[data-theme="dark"]') :].split("}")[0].split("{")[1]
    system = CSS[CSS.index(':root:not([data-theme="light"])') :].split("}")[0].split("{")[1]
    assert chosen.split() == system.split()


def test_contrast_is_measured_as_the_guidelines_do():
    assert contrast("#000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#fff") == pytest.approx(4.48, abs=0.01)


def test_every_land_of_the_drawing_is_read():
    drawing = (Path(charts.__file__).parent / "static" / "africa.svg").read_text("utf-8")
    assert drawing.count("<path") == len(_lands()) == 53
