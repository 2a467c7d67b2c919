"""The watch: lets every detector look at every market, and carries what they find to incidents.

A new detector is a file in `detectors/` and a line here: among DETECTORS if it judges one market's
facts, among WIDE if it judges the board of all markets at once.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

import structlog

from umoja.clock import Clock, to_micros
from umoja.ops.board import Frame
from umoja.ops.chronicle import Chronicle
from umoja.ops.days import Days
from umoja.ops.detectors.budget_burn import BudgetBurn
from umoja.ops.detectors.callbacks import callbacks
from umoja.ops.detectors.clock_skew import clock_skew
from umoja.ops.detectors.echoes import Echoes
from umoja.ops.detectors.expiry import expiry
from umoja.ops.detectors.failures import Failures
from umoja.ops.detectors.float_drought import FloatDrought
from umoja.ops.detectors.fraud import fraud
from umoja.ops.detectors.held_orders import held_orders
from umoja.ops.detectors.invariants import invariants
from umoja.ops.detectors.latency import Latency
from umoja.ops.detectors.pending import pending
from umoja.ops.detectors.silence import Silence
from umoja.ops.detectors.sms_receipts import SmsReceipts
from umoja.ops.detectors.tariff_shift import TariffShift
from umoja.ops.detectors.trust_gap import trust_gap
from umoja.ops.detectors.volume import Volume
from umoja.ops.finding import Alarm, Counts, Detector, Finding, Wide
from umoja.ops.impact import PERIOD_S, Harm
from umoja.ops.incident import Cause
from umoja.ops.incidents import Incidents, Scene
from umoja.ops.localise import route_of
from umoja.ops.mutes import Mutes
from umoja.ops.telemetry import Telemetry
from umoja.ops.usual import Usual

DETECTORS: tuple[Detector, ...] = (SmsReceipts(),)

WIDE: tuple[Callable[[], Wide], ...] = (
    Silence,
    clock_skew,
    expiry,
    trust_gap,
    invariants,
    Volume,
    Failures,
    Echoes,
    pending,
    held_orders,
    Latency,
    callbacks,
    fraud,
    FloatDrought,
    TariffShift,
    BudgetBurn,
)
"""In this order: what may be the cause of another stands before it."""

SERVICE = frozenset({"volume", "failures", "latency", "pending", "held_orders"})
"""They see the same trouble from different sides: in one market it is one incident."""

FOLLOWS = frozenset({"budget_burn"})
"""What one of the service detectors found already explains them; they explain nothing themselves."""

ROOTS = frozenset({"clock_skew", "expiry"})
"""They explain what the service detectors see in their market while they last."""

AHEAD = frozenset({"echoes"})
"""They see a trouble before enough payments have failed of it. Of the service detectors they share an
incident with those that name the same cause: another partner's payments are another trouble."""

HELD_S = 7_200
"""So long what fails in a market with such a trouble is not learned as usual."""

BOOKS = frozenset({"trust_gap", "invariants"})

NEVER_PLANNED = BOOKS | {"fraud"}
"""No work explains them."""

WITH_THE_MARKET = SERVICE | FOLLOWS | {"echoes", "silence", "callbacks", "sms_receipts"}
"""Work on a whole market explains what these find in it, whatever they name."""

BY_SHARE = frozenset({"failures", "latency", "echoes"})
"""They judge a share of what comes. What is worked on is left out of what they see: one episode of
theirs would hide what else fails meanwhile, and nothing bad is learned as usual. What still fails when
the work is over is found as anything new."""

TAIL_S = 60
"""So long after work what it touched is left out of what is judged by its share."""

PRICED = frozenset({"volume", "failures", "latency", "tariff_shift"})
"""They tell at each look what it cost since the one before."""

ABSENT = frozenset({"volume", "silence"})
"""While one of them is open, what comes is less than usual."""

Planned = Callable[[str, int], Collection[str]]
"""Returns the names (a vendor, a product, a channel, the market) that are under planned work."""

Changed = Callable[[str, int], Sequence[str]]
"""Returns what was changed lately in a market: changes, releases, tariff dates."""

log = structlog.get_logger()


@dataclass(slots=True)
class _Case:
    """What is found now about one cause in one market."""

    cause: Cause
    harm: Harm
    seen: set[tuple[str, str]]  # detectors and products that find it
    payments: float = 0.0
    minor: float = 0.0
    told: tuple[int, int] = (0, 0)
    marked_until: int = 0
    since_s: int = 0
    is_priced: bool = False  # by what its whole market lost


class Watch:
    """Looks when it is told to: every few seconds of the clock."""

    def __init__(
        self,
        *,
        telemetry: Telemetry,
        incidents: Incidents,
        days: Days,
        clock: Clock,
        chronicle: Chronicle | None = None,
        usual: Usual | None = None,
        planned: Planned = lambda _, __: (),
        changed: Changed = lambda _, __: (),
    ) -> None:
        """Take up the detectors; one whose incident is open goes on from there."""
        self._telemetry = telemetry
        self._incidents = incidents
        self._days = days
        self._clock = clock
        self.chronicle = chronicle
        self._usual = usual
        self.planned = planned
        self.changed = changed
        self._wide = tuple(make() for make in WIDE)
        self._failures = next(each for each in self._wide if isinstance(each, Failures))
        latency = next(each for each in self._wide if isinstance(each, Latency))
        self._failures.slower = lambda: latency.gains
        self._cases: dict[tuple[str, str, str], _Case] = {}
        self._said: dict[tuple[str, str, str], tuple[str, str, str]] = {}
        self._on_duty: dict[tuple[str, str], Detector] = {}
        self._mutes = Mutes()
        self._mutes_of_routes = Mutes()
        self._lost_until: dict[str, int] = {}
        self._routes: dict[str, Cause] = {}
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
        frame = self._telemetry.frame(self._touched())
        if frame is not None:
            self._step("look at all", partial(self._look_at_all, frame))
        for market in self._telemetry.markets:
            self._step(f"look at {market}", partial(self._look_at, market, frame))
        self._mutes_of_routes.settle()
        self._step("incidents", self._incidents.keep)
        self._step("days", self._days.keep)
        if self.chronicle is not None:
            self._step("chronicle", self.chronicle.keep)
        if self._usual is not None:
            self._step("usual", partial(self._usual.look, self._came, is_ill=self._is_absent))

    def _touched(self) -> dict[str, set[str]]:
        """Return what is worked on in each market, and was a moment ago: what hung then still fails."""
        now_s = to_micros(self._clock.now()) // 1_000_000
        return {
            market: {*self.planned(market, now_s), *self.planned(market, now_s - TAIL_S)}
            for market in self._telemetry.markets
        }

    def _came(self, market: str, minute_s: int) -> int | None:
        found = self._telemetry.minute(market, minute_s)
        return None if found is None else found.attempts

    def _is_absent(self, market: str) -> bool:
        return any(
            each.market == market and not ABSENT.isdisjoint({each.detector, *each.sheet.also})
            for each in self._incidents.open_ones()
        )

    @staticmethod
    def _step(name: str, work: Callable[[], None]) -> None:
        """Do one part of a look; its bug is told and does not end the watch."""
        try:
            work()
        except Exception:
            log.exception("ops.watch.bug", part=name)

    def _look_at(self, market: str, frame: Frame | None) -> None:
        facts = self._telemetry.facts(market)
        for each in DETECTORS:
            name = each.name
            detector = self._on_duty[market, name]
            judgement = detector.look(facts)
            self._on_duty[market, name] = judgement.detector
            if judgement.finding is None:
                self._routes.pop(market, None)
                self._incidents.quiet(market, name)
                continue
            cause = self._routes.get(market) or judgement.finding.cause
            if cause is None and frame is not None:
                cause = route_of(frame, market)
            if cause is not None:
                self._routes[market] = cause
            finding = judgement.finding
            if self._incidents.is_open(market, name) is None:
                if self._mutes_of_routes.is_muted(
                    (market, name),
                    facts.now_s,
                    is_explained=self._explains(market, name, cause, facts.now_s),
                    harmed=self._lost_lately(market, detector.counts, facts.now_s),
                ):
                    continue
                over_s = self._mutes_of_routes.over_s((market, name))
                finding = replace(finding, began_s=max(finding.began_s, over_s))
            self._incidents.found(
                market,
                name,
                finding,
                counts=detector.counts,
                harm=self._telemetry.harm(market, detector.counts),
                scene=Scene(cause=cause, changed=tuple(self.changed(market, facts.now_s))),
            )

    def _lost_lately(self, market: str, counts: Counts, now_s: int) -> int:
        """Return what was lost since this was last asked."""
        running = now_s // PERIOD_S
        since, self._lost_until[market] = self._lost_until.get(market, running), running
        return self._telemetry.harm(market, counts).between(since, running - 1).payments

    def _look_at_all(self, frame: Frame) -> None:
        said: dict[tuple[str, str, str], tuple[str, str, str]] = {}
        self._failures.held = {
            market
            for (market, name, _), case in self._said.items()
            if name in ROOTS | AHEAD and frame.now_s - self._cases[case].since_s < HELD_S
        }
        found: list[tuple[Wide, list[Alarm]]] = [(detector, []) for detector in self._wide]
        for detector, alarms in found:
            self._step(detector.name, partial(_look_with, detector, frame, alarms))
        for detector, alarms in found:
            for alarm in alarms:
                key = (alarm.market, detector.name, alarm.product)
                case = self._said.get(key) or self._case_of(alarm, detector.name, said)
                if self._is_muted(key, case, alarm, frame.now_s):
                    continue
                said[key] = case
                # What was muted while work was on is nobody's loss: it counts from the work's end.
                began_s = max(alarm.began_s, self._mutes.over_s(key))
                told = self._counted_once(replace(alarm, began_s=began_s), key, said, frame.now_s)
                self._tell(told, detector.name, case, frame.now_s)
        for key in self._said:
            if key not in said:
                self._incidents.quiet(*key)
        self._said = said
        self._mutes.settle()
        self._cases = {key: case for key, case in self._cases.items() if key in said.values()}

    def _case_of(
        self, alarm: Alarm, name: str, said: dict[tuple[str, str, str], tuple[str, str, str]]
    ) -> tuple[str, str, str]:
        """Return which case an alarm belongs to: one that is open and explains it, or its own."""
        if name in SERVICE or name in FOLLOWS:
            for kinds in (ROOTS, SERVICE):
                for found in (said, self._said):
                    for (market, other, _), case in found.items():
                        if market == alarm.market and other in kinds and case in self._cases:
                            return case
        if name in AHEAD:
            for found in (said, self._said):
                for (market, other, _), case in found.items():
                    if market != alarm.market or case not in self._cases:
                        continue
                    if other in ROOTS or case[1:] == (alarm.cause.kind, alarm.cause.name):
                        return case
        return alarm.market, alarm.cause.kind, alarm.cause.name

    def _is_muted(
        self,
        key: tuple[str, str, str],
        case: tuple[str, str, str],
        alarm: Alarm,
        now_s: int,
    ) -> bool:
        """Tell whether planned work keeps an alarm quiet: while it is on, and a little longer."""
        known = self._cases.get(case)
        if known is not None and known.cause.name == alarm.cause.name:
            return False  # it was broken before the work began
        return self._mutes.is_muted(
            key,
            now_s,
            is_explained=self._explains(alarm.market, key[1], alarm.cause, now_s),
            # A budget burns on for an hour after its cause: that is told by whoever finds the cause.
            harmed=alarm.payments if key[1] in PRICED else 0.0 if key[1] in FOLLOWS else None,
        )

    def _explains(self, market: str, detector: str, cause: Cause | None, now_s: int) -> bool:
        """Tell whether work that is on now explains what a detector finds."""
        names = self.planned(market, now_s)
        if not names or detector in NEVER_PLANNED:
            return False
        if market in names and detector in WITH_THE_MARKET:
            return True
        return cause is not None and cause.name in names

    def _tell(self, alarm: Alarm, name: str, key: tuple[str, str, str], now_s: int) -> None:
        case = self._cases.get(key)
        if case is None:
            case = self._cases[key] = _Case(alarm.cause, Harm(), set())
            case.marked_until = alarm.began_s // PERIOD_S
            case.since_s = now_s
        case.seen.add((name, alarm.product))
        if name in ROOTS:
            # Nothing may be loud but the root, and payments fail for it all the same.
            since_s = now_s - 1 if case.is_priced else alarm.began_s
            payments, minor = self._failures.lost(alarm.market, since_s, name=alarm.cause.name)
            alarm = replace(alarm, payments=payments, minor=minor)
            case.is_priced = True
        elif case.is_priced and (name == "failures" or name in AHEAD):
            alarm = replace(alarm, payments=0.0, minor=0.0)
        self._price(case, alarm, now_s)
        self._incidents.found(
            alarm.market,
            name,
            Finding(
                title=alarm.title,
                evidence=alarm.evidence,
                began_s=alarm.began_s,
                product=alarm.product,
            ),
            counts=Counts.PAYMENTS,
            harm=case.harm,
            scene=Scene(
                cause=case.cause,
                changed=tuple(self.changed(alarm.market, now_s)),
                is_money=name in BOOKS,
            ),
        )

    def _counted_once(
        self,
        alarm: Alarm,
        key: tuple[str, str, str],
        said: dict[tuple[str, str, str], tuple[str, str, str]],
        now_s: int,
    ) -> Alarm:
        """Return the alarm with what no other one has told: echoes and failures see the same loss."""
        mine = said[key]
        if key[1] in AHEAD:
            is_told = any(
                other == "failures" and case == mine for (_, other, _), case in said.items()
            )
            return replace(alarm, payments=0.0, minor=0.0) if is_told else alarm
        case = self._cases.get(mine)
        if key[1] != "failures" or key in self._said or case is None:
            return alarm
        if AHEAD.isdisjoint(name for name, _ in case.seen):
            return alarm
        payments, minor = self._failures.lost(alarm.market, now_s - 1, name=alarm.cause.name)
        return replace(alarm, payments=payments, minor=minor)

    def _price(self, case: _Case, alarm: Alarm, now_s: int) -> None:
        """Add what was lost beyond the usual, and whoever was refused for it meanwhile."""
        case.payments += alarm.payments
        case.minor += alarm.minor
        payments, minor = max(int(case.payments), case.told[0]), max(int(case.minor), case.told[1])
        more = payments - case.told[0], minor - case.told[1]
        running = now_s // PERIOD_S
        if more == (0, 0):
            return
        case.told = payments, minor
        counts = Counts.PINS if case.cause.kind == "fraud" else Counts.PAYMENTS
        touched = self._telemetry.harm(alarm.market, counts)
        marks = touched.between(case.marked_until, running - 1).marks
        case.marked_until = max(case.marked_until, running)
        case.harm.add_many(
            now_s,
            payments=more[0],
            minor=more[1],
            currency=self._telemetry.currency(alarm.market),
            product=alarm.product,
            marks=marks,
        )


def _look_with(detector: Wide, frame: Frame, alarms: list[Alarm]) -> None:
    alarms += detector.look(frame.without_planned() if detector.name in BY_SHARE else frame)
