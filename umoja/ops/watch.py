"""The watch: lets every detector look at every market, and carries what they find to incidents.

A new detector is a file in `detectors/` and a line here.
"""

from collections.abc import Callable
from functools import partial

import structlog

from umoja.clock import Clock, to_micros
from umoja.ops.days import Days
from umoja.ops.detectors.sms_receipts import SmsReceipts
from umoja.ops.finding import Detector
from umoja.ops.incidents import Incidents
from umoja.ops.telemetry import Telemetry

DETECTORS: tuple[Detector, ...] = (SmsReceipts(),)

log = structlog.get_logger()


class Watch:
    """Looks when it is told to: every few seconds of the clock."""

    def __init__(
        self, *, telemetry: Telemetry, incidents: Incidents, days: Days, clock: Clock
    ) -> None:
        """Take up the detectors; one whose incident is open goes on from there."""
        self._telemetry = telemetry
        self._incidents = incidents
        self._days = days
        self._clock = clock
        self._on_duty: dict[tuple[str, str], Detector] = {}
        for market in telemetry.markets:
            for detector in DETECTORS:
                opened_at = incidents.is_open(market, detector.name)
                self._on_duty[market, detector.name] = (
                    detector
                    if opened_at is None
                    else detector.resumed(began_s=to_micros(opened_at) // 1_000_000)
                )

    def look(self) -> None:
        """Look once. Raises nothing: a detector's bug is logged and the others go on."""
        lost, why = self._telemetry.uncounted()
        if lost:
            log.error("ops.telemetry.uncounted", signals=lost, cause=repr(why))
        for market in self._telemetry.markets:
            self._step(f"look at {market}", partial(self._look_at, market))
        self._step("incidents", self._incidents.keep)
        self._step("days", self._days.keep)

    @staticmethod
    def _step(name: str, work: Callable[[], None]) -> None:
        """Do one part of a look; its bug is told and does not end the watch."""
        try:
            work()
        except Exception:
            log.exception("ops.watch.bug", part=name)

    def _look_at(self, market: str) -> None:
        facts = self._telemetry.facts(market)
        for (code, name), detector in self._on_duty.items():
            if code != market:
                continue
            judgement = detector.look(facts)
            self._on_duty[market, name] = judgement.detector
            if judgement.finding is None:
                self._incidents.quiet(market, name)
                continue
            self._incidents.found(
                market,
                name,
                judgement.finding,
                counts=detector.counts,
                harm=self._telemetry.harm(market, detector.counts),
            )
