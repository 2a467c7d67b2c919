"""What we give to Prometheus and Grafana: it uses only figures that we expose, and promtool likes it."""

import json
import re
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.channels_alerts.conftest import Doors
from umoja.ops.metrics import exposition
from umoja.signals import OrderSeen, Outcome

DEPLOY = Path(__file__).parents[2] / "deploy"
APART = {"umoja_signals_lost_total"}
"""Exposed by the centre's process only, where markets run apart."""

RULES = DEPLOY / "prometheus" / "umoja.rules.yml"
DASHBOARD = DEPLOY / "grafana" / "umoja.json"


def exposed(doors: Doors) -> set[str]:
    doors.centre.telemetry.hear(
        OrderSeen(
            at=datetime(2026, 3, 10, 9, 0, tzinfo=UTC),
            market="KE",
            product="send_money",
            channel="ussd",
            outcome=Outcome.COMPLETED,
            reason="",
            value_minor=1,
            currency="KES",
            latency_ms=10.0,
            payer_mark=1,
        )
    )
    text = exposition(doors.centre, ["KE"]).decode()
    return set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE)) | APART


@pytest.mark.parametrize("file", [RULES, DASHBOARD], ids=lambda file: file.name)
async def test_only_figures_that_are_exposed_are_used(doors: Doors, file: Path):
    used = set(re.findall(r"umoja_\w+", file.read_text("utf-8")))

    assert len(used) >= 10
    assert used - exposed(doors) == set()


async def test_the_dashboard_shows_every_figure(doors: Doors):
    assert exposed(doors) - set(re.findall(r"umoja_\w+", DASHBOARD.read_text("utf-8"))) == set()


def test_the_dashboard_s_panels_have_ids_places_and_questions_of_their_own():
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]

    assert len({each["id"] for each in panels}) == len(panels)
    places = [(each["gridPos"]["x"], each["gridPos"]["y"]) for each in panels]
    assert len(set(places)) == len(panels)
    assert all(each["targets"] for each in panels)


def test_promtool_finds_nothing_in_the_rules(program: Callable[[str], str]):
    done = subprocess.run(
        [program("promtool"), "check", "rules", "--lint-fatal", str(RULES)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS: 9 rules found" in done.stdout


@pytest.mark.parametrize(
    ("tool", "file"),
    [("promtool", "prometheus.example.yml"), ("amtool", "alertmanager.example.yml")],
)
def test_the_examples_are_configurations(program: Callable[[str], str], tool: str, file: str):
    words = ["check", "config", "--syntax-only"] if tool == "promtool" else ["check-config"]
    done = subprocess.run(
        [program(tool), *words, str(DEPLOY / "prometheus" / file)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
