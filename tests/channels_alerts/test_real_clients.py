"""Real programs of others against our doors: amtool, Prometheus, an Alertmanager, OpenTelemetry."""

import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from tests.channels_alerts.conftest import Running

Program = Callable[[str], str]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextmanager
def started(*words: str) -> Iterator[None]:
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


def waited_for(look: Callable[[], Any], what: str, within_s: float = 45.0) -> Any:
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            found = look()
        except httpx.HTTPError:
            found = None
        if found:
            return found
        time.sleep(0.2)
    pytest.fail(f"{what} did not come within {within_s} s")


def test_amtool_works(running: Running, program: Program, tmp_path: Path):
    settings = tmp_path / "http.yml"
    settings.write_text(f"authorization: {{type: Bearer, credentials: {running.token}}}\n")

    def amtool(*words: str, code: int = 0) -> str:
        done = subprocess.run(
            [
                program("amtool"),
                f"--alertmanager.url={running.url}/alertmanager",
                f"--http.config.file={settings}",
                *words,
            ],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done.stdout if not code else done.stderr

    amtool(
        "alert", "add", "DiskFull", "severity=critical", "market=KE", "--annotation=summary=full"
    )
    amtool("alert", "add", "DiskSlow", "instance=db1")
    found = json.loads(amtool("alert", "query", "-o", "json", "alertname=~Disk.*"))
    assert sorted(each["labels"]["alertname"] for each in found) == ["DiskFull", "DiskSlow"]

    words = ("alertname=DiskSlow", "--comment=known", "--duration=1h", "--author=wanjiru")
    made = amtool("silence", "add", *words).strip()
    assert "DiskSlow" not in amtool("alert", "query")
    assert "suppressed" in amtool("alert", "query", "--silenced")
    assert made in amtool("silence", "update", made, "--duration=2h")
    kept = tmp_path / "silences.json"
    kept.write_text(amtool("silence", "query", "-o", "json"))
    amtool("silence", "expire", made)
    assert made not in amtool("silence", "query")
    assert made in amtool("silence", "query", "--expired")
    amtool("silence", "import", str(kept))
    assert "wanjiru" in amtool("silence", "query")

    config = tmp_path / "shown.yml"
    config.write_text(amtool("config", "show"))
    assert "SUCCESS" in amtool("check-config", str(config))
    assert "umoja" in amtool("config", "routes", "test", "market=KE")
    assert "ready" in amtool("cluster", "show")
    assert "at least one matcher must not match the empty string" in amtool(
        "silence", "add", "a=", "--comment=x", code=1
    )


@pytest.mark.bench
def test_prometheus_sends_its_alerts_here_and_takes_them_back(
    running: Running, program: Program, tmp_path: Path
):
    port = free_port()
    rules = tmp_path / "rules.yml"
    said = (
        "groups: [{name: t, rules: [{alert: Said, expr: 'vector(1) > %d', labels: {market: KE}}]}]"
    )
    rules.write_text(said % 0)
    at = f"127.0.0.1:{running.port}"
    settings = tmp_path / "prometheus.yml"
    settings.write_text(
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
        f"rule_files: [{rules}]\n"
        "alerting: {alertmanagers: [{path_prefix: /alertmanager, authorization: {credentials:"
        f" {running.token}}}, static_configs: [{{targets: ['{at}']}}]}}]}}\n"
        "scrape_configs: [{job_name: umoja, authorization: {credentials:"
        f" {running.token}}}, static_configs: [{{targets: ['{at}']}}]}}]\n"
    )

    def standing() -> list[dict[str, str]]:
        return [each.alert.labels for each in running.centre.alarms.standing()]

    with started(
        program("prometheus"),
        f"--config.file={settings}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-lifecycle",
        "--rules.alert.resend-delay=1s",
    ):
        waited_for(standing, "the alert")
        assert standing() == [{"alertname": "Said", "market": "KE"}]
        answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/query", params={"query": "up"})
        assert answer.json()["data"]["result"][0]["value"][1] == "1"

        rules.write_text(said % 2)
        httpx.post(f"http://127.0.0.1:{port}/-/reload")
        waited_for(lambda: not standing(), "its end")


@pytest.mark.bench
def test_an_alertmanager_sends_its_webhook_here_with_the_same_fingerprint(
    running: Running, program: Program, tmp_path: Path
):
    port = free_port()
    settings = tmp_path / "alertmanager.yml"
    settings.write_text(
        "route: {receiver: umoja, group_wait: 1s, group_interval: 1s}\n"
        "receivers: [{name: umoja, webhook_configs: [{url:"
        f" '{running.url}/webhooks/alertmanager', http_config:"
        f" {{authorization: {{credentials: {running.token}}}}}}}]}}]\n"
    )
    at = f"http://127.0.0.1:{port}/api/v2"
    alert = {"labels": {"alertname": "NodeDown", "instance": "é1", "market": "KE"}}

    def one() -> Any:
        return [each.alert for each in running.centre.alarms.standing()]

    with started(
        program("prometheus-alertmanager"),
        f"--config.file={settings}",
        f"--storage.path={tmp_path / 'am'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ):
        waited_for(lambda: httpx.get(f"{at}/status").is_success, "the Alertmanager")
        assert httpx.post(f"{at}/alerts", json=[alert]).is_success
        (ours,) = waited_for(one, "the webhook")
        (theirs,) = httpx.get(f"{at}/alerts").json()
        assert ours.fingerprint == theirs["fingerprint"]
        assert ours.labels == alert["labels"]

        httpx.post(f"{at}/alerts", json=[alert | {"endsAt": "2020-01-01T00:00:00Z"}])
        waited_for(lambda: not one(), "the notice of its end")


def test_opentelemetry_s_exporter_is_answered_as_it_expects(running: Running):
    exporter = OTLPMetricExporter(
        endpoint=f"{running.url}/otlp/v1/metrics",
        headers={"authorization": f"Bearer {running.token}"},
        compression=Compression.Gzip,
    )
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    provider = MeterProvider([reader], resource=Resource.create({"service.name": "switch"}))
    meter = provider.get_meter("test")
    meter.create_counter("requests", unit="1").add(3, {"route": "/pay"})
    meter.create_histogram("wait", unit="s").record(0.5)

    assert provider.force_flush(10_000)
    provider.shutdown()

    found = {each.metric: each for each in running.centre.arrivals.series(service="switch")}
    assert (found["requests"].value, found["requests"].attributes) == (3.0, (("route", "/pay"),))
    assert (found["wait"].value, found["wait"].unit) == (0.5, "s")


def test_promtool_finds_nothing_in_our_metrics(running: Running, program: Program):
    signed = {"authorization": f"Bearer {running.token}"}
    text = httpx.get(f"{running.url}/metrics", headers=signed).text

    done = subprocess.run(
        [program("promtool"), "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
