"""Metrics for a monitoring system that scrapes: the same figures as the wall's, in its text form."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from umoja.ops.centre import Centre
from umoja.ops.telemetry import Figures

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_GAUGES: tuple[tuple[str, str, Callable[[Figures], float | None]], ...] = (
    ("attempts_5m", "Attempts in the last five minutes", lambda f: f.attempts),
    ("completed_5m", "Completed payments in the last five minutes", lambda f: f.completed),
    ("refused_5m", "Attempts refused for the customer's reasons", lambda f: f.refused),
    ("failed_5m", "Attempts failed for our or a partner's reasons", lambda f: f.failed),
    ("success_permille", "Completed of completed and failed", lambda f: f.success_permille),
    ("blind", "1 where the market's desk gave no sign of life", lambda f: float(f.is_blind)),
    ("payments_per_second", "Attempts a second in the last minute", lambda f: f.per_second),
    ("expected_per_second", "Attempts a second as expected", lambda f: f.expected_per_second),
    ("latency_p95_seconds", "Latency that 95 % do not pass", lambda f: _seconds(f.p95_ms)),
    ("latency_p99_seconds", "Latency that 99 % do not pass", lambda f: _seconds(f.p99_ms)),
    ("pending", "Orders that wait for a partner", lambda f: f.pending),
    ("pending_oldest_seconds", "Age of the oldest one", lambda f: _seconds(f.oldest_pending_ms)),
    ("payments_today", "Completed payments of the business day", lambda f: f.payments_today),
    ("sms_sent_5m", "Receipts handed to a route", lambda f: f.sms_sent),
    ("sms_delivered_5m", "Receipts delivered", lambda f: f.sms_delivered),
    ("sms_failed_5m", "Receipts not delivered", lambda f: f.sms_failed),
)
_MONEY: tuple[tuple[str, str, Callable[[Figures], Mapping[str, int]]], ...] = (
    ("float_minor", "Float of all agents, minor units", lambda f: f.float_minor),
    ("issued_minor", "E-money owed to its holders", lambda f: f.issued),
    ("trust_minor", "Bank statement of the trust account", lambda f: f.trust),
    ("trust_gap_minor", "Bank statement less issued money", lambda f: f.trust_gap),
    ("moved_today_minor", "Value completed in the business day", lambda f: f.moved_today),
)


class _Figures(Collector):
    """Reads the figures once when it is asked."""

    def __init__(self, figures: Iterable[Figures]) -> None:
        self._figures = list(figures)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for name, about, value in _GAUGES:
            family = GaugeMetricFamily(f"umoja_{name}", about, labels=["market"])
            for figures in self._figures:
                found = value(figures)
                if found is not None:
                    family.add_metric([figures.market], found)
            yield family
        for name, about, by_currency in _MONEY:
            family = GaugeMetricFamily(f"umoja_{name}", about, labels=["market", "currency"])
            for figures in self._figures:
                for currency, minor in by_currency(figures).items():
                    family.add_metric([figures.market, currency], minor)
            yield family


class _Work(Collector):
    """Reads what the centre has to do, and what others have told it."""

    def __init__(self, centre: Centre) -> None:
        self._centre = centre

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        centre = self._centre
        open_ones = GaugeMetricFamily(
            "umoja_incidents_open",
            "Open incidents; market * stands for none of ours",
            labels=["market", "severity"],
        )
        found = Counter((each.market, each.severity) for each in centre.incidents.open_ones())
        for (market, severity), count in sorted(found.items()):
            open_ones.add_metric([market, str(severity)], count)
        yield open_ones
        alerts = GaugeMetricFamily(
            "umoja_alerts", "Alerts of other systems that fire", labels=["state"]
        )
        for state, count in centre.alarms.counts().items():
            alerts.add_metric([state], count)
        yield alerts
        yield GaugeMetricFamily(
            "umoja_silences_active",
            "Silences that keep something quiet now",
            value=len(centre.silences.active()),
        )
        works = GaugeMetricFamily(
            "umoja_planned_work", "Planned work that is on now", labels=["market"]
        )
        for market in centre.telemetry.markets:
            works.add_metric([market], len(centre.planned.on_now(market)))
        yield works
        asked, lost = (
            GaugeMetricFamily(
                f"umoja_echoes_{name}_5m",
                f"Echoes that partners {did}",
                labels=["market", "partner"],
            )
            for name, did in (("asked", "were asked for"), ("lost", "did not answer in time"))
        )
        for market in centre.telemetry.markets:
            for echo in centre.telemetry.echoes(market):
                asked.add_metric([market, echo.partner], echo.tried)
                lost.add_metric([market, echo.partner], echo.failed)
        yield asked
        yield lost
        announced = GaugeMetricFamily(
            "umoja_vendor_announcements", "Troubles that a vendor announces", labels=["vendor"]
        )
        for vendor, count in centre.vendor_pages.announcements().items():
            announced.add_metric([vendor], count)
        yield announced
        errors = GaugeMetricFamily(
            "umoja_otlp_error_logs_5m",
            "Logs at the level of errors that a service sent in five minutes",
            labels=["service"],
        )
        for each in centre.arrivals.services():
            errors.add_metric([each.service], each.errors_5m)
        yield errors
        yield CounterMetricFamily(
            "umoja_otlp_dropped",
            "Points and logs that were dropped because there were too many",
            value=centre.arrivals.dropped,
        )


def exposition(centre: Centre, markets: Iterable[str]) -> bytes:
    """Return the figures of the markets and of the centre's work as text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(centre.telemetry.figures(market) for market in markets))
    registry.register(_Work(centre))
    return generate_latest(registry)


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
