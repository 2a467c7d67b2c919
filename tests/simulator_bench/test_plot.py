"""The plot: well-formed SVG with axes, units and a text for whoever does not see it."""

import xml.etree.ElementTree as ET

import pytest

from umoja.simulator.bench_plot import plotted, rounded_up

SVG = "{http://www.w3.org/2000/svg}"


def found(*loads: tuple[float, float, float | None]) -> dict:
    return {
        "mode": "desk",
        "engine": "sqlite",
        "workload": "uniform",
        "customers": 2_000,
        "open_loop": [
            {"offered_per_s": offered, "payments_per_s": done, "p99_ms": late}
            for offered, done, late in loads
        ],
    }


def test_both_curves_have_a_point_for_each_load():
    root = ET.fromstring(plotted(found((20_000, 13_000, 1_500), (2_000, 2_000, 4.3))))
    assert len(root.findall(f"{SVG}circle")) == 4
    texts = [each.text for each in root.findall(f"{SVG}text")]
    assert "Umoja desk on sqlite, uniform, 2,000 customers" in texts
    assert "completed (payments a second)" in texts
    assert "p99 from when a payment was due (ms)" in texts
    assert "offered load (payments a second)" in texts
    assert {"20,000", "15,000", "10,000", "1"} <= set(texts)
    assert root.get("aria-label").startswith("offered 2000 a second: done 2000, p99 4.3 ms")


def test_everything_lies_inside_the_drawing():
    root = ET.fromstring(plotted(found((5, 0, None), (7, 1, 0.02), (9, 9, 100_000))))
    for circle in root.findall(f"{SVG}circle"):
        assert 90 <= float(circle.get("cx")) <= 696
        assert 70 <= float(circle.get("cy")) <= 560


def test_no_load_is_said_and_nothing_from_elsewhere_is_loaded():
    text = plotted(found())
    assert "No load was offered." in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 1), (0.4, 0.4), (1, 1), (1.1, 1.5), (13_314, 15_000), (20_000, 20_000), (90, 100)],
)
def test_axes_end_at_round_numbers(value, expected):
    assert rounded_up(value) == pytest.approx(expected)
