"""The campaign: weeks of eight markets with faults and decoys, watched by the real centre.

The world's counters go into the telemetry that real signals feed; the watch, its detectors, the
incidents and the remedies are those of every running Umoja, on a clock that is moved by hand. Only
people are played: an engineer on shift carries out the runbook's step where the system may not.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from umoja.clock import ManualClock, from_micros, to_micros
from umoja.markets import packs
from umoja.ops.board import ATTEMPTS, FAILED, REFUSED, SMS
from umoja.ops.centre import Centre, open_centre
from umoja.ops.incident import Incident, Stage
from umoja.simulator.campaign_faults import KINDS, RARE, Trouble, begun
from umoja.simulator.campaign_score import score
from umoja.simulator.campaign_world import RATES, STEP_S, Place, Step, World
from umoja.simulator.traffic import expected_per_second
from umoja.switches import Switches

BEGINS = datetime(2026, 3, 2, tzinfo=UTC)
WARM_S = 2 * 86_400  # before the first fault, so that a usual day is known
APART_S = 2_400  # between two troubles of one market
LOOK_BACK_S = 1_800  # after which a remedy is undone that nothing needed
SHIFT_S = 180  # from the opening until an engineer has carried out the runbook's step
AUTOMATIC = ("switch_route", "open_circuit", "roll_back_tariff", "stop_market")
DRILL_RATE = 40.0  # payments a second
ENGINEER = "engineer on shift"

Tell = Callable[[str], None]


@dataclass(slots=True)
class _Run:
    """What is under way."""

    world: World
    centre: Centre
    clock: ManualClock
    switches: Switches
    troubles: list[Trouble]
    open: list[Trouble] = field(default_factory=list)
    ahead: list[Trouble] = field(default_factory=list)


def campaign(
    *, days: int, faults: int, decoys: int, seed: int, tell: Tell = lambda _: None
) -> dict[str, Any]:
    """Run it and return truth, incidents and scores. The same arguments give the same answer."""
    random = np.random.default_rng([seed, 7])
    markets = [packs.load(code) for code in packs.codes()]
    order = [markets[at] for at in random.permutation(len(markets))]
    world = World(order, began=BEGINS, rates=RATES, seed=seed, expected=expected_per_second)
    troubles = planned_troubles(world, days=days, faults=faults, decoys=decoys, random=random)
    truth, incidents = _played(world, troubles, days=days, random=random, tell=tell)
    return {
        "days": days,
        "seed": seed,
        "truth": truth,
        "incidents": incidents,
        **score(truth, incidents, days=days),
    }


def drill_counts(fault: str, *, market: str, seed: int) -> dict[str, Any]:
    """Play one fault and its decoy on counters in one market; return what the centre made of them.

    Raise KeyError for a fault that the campaign does not know.
    """
    kind = KINDS[fault]
    random = np.random.default_rng([seed, 11])
    world = World(
        [packs.load(market)],
        began=BEGINS,
        rates=(DRILL_RATE,),
        seed=seed,
        expected=expected_per_second,
    )
    start_s = int(BEGINS.timestamp()) + WARM_S + 9 * 3_600
    decoy = begun(kind, market=market, start_s=start_s, is_decoy=True, random=random)
    begins_s = decoy.end_s + APART_S
    troubles = [decoy, begun(kind, market=market, start_s=begins_s, is_decoy=False, random=random)]
    if fault == "two-at-once":
        both = begun(
            KINDS["bad-tariff"], market=market, start_s=begins_s + 60, is_decoy=False, random=random
        )
        troubles.append(both)
    seconds = max(trouble.end_s for trouble in troubles) + APART_S - int(BEGINS.timestamp())
    days = seconds / 86_400
    truth, incidents = _played(world, troubles, days=days, random=random, tell=lambda _: None)
    figures = score(truth, incidents, days=days)
    return {
        "fault": fault,
        "market": market,
        "seed": seed,
        "truth": truth,
        "incidents": incidents,
        "detection_s": figures["detection_p95_s"],
        "passed": figures["recall"] == 1
        and figures["cause_right"] == 1
        and not figures["false_incidents_per_day"],
    }


def _played(
    world: World,
    troubles: list[Trouble],
    *,
    days: float,
    random: np.random.Generator,
    tell: Tell,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Let the days pass under the eyes of a centre; return what was true and what it said."""
    clock = ManualClock(BEGINS)
    began_s = int(BEGINS.timestamp())
    switches = Switches()
    markets = [place.market for place in world.places.values()]
    with _quiet_logs(), tempfile.TemporaryDirectory() as folder:
        centre = open_centre(
            Path(folder) / "centre.db",
            clock=clock,
            markets=markets,
            expected=lambda market, moment: expected_per_second(
                market, moment, world.averages[market.code]
            ),
            switches=switches,
        )
        try:
            run = _Run(world, centre, clock, switches, troubles, ahead=list(troubles))
            centre.watch.chronicle = None  # its minutes are simulated, and nobody reads them again
            centre.watch.planned = partial(_planned, run)
            centre.watch.changed = partial(_changed, run)
            for name in AUTOMATIC:
                for market in markets:
                    centre.remedies.allow(
                        name, market=market.code, most_a_day=20, days=90, actor="operations"
                    )
            rows = centre.telemetry.board.rows_of(world.keys)
            for number in range(int(days * 86_400) // STEP_S):
                if number % 8_640 == 0:
                    tell(f"day {number // 8_640 + 1} of {days:.0f}")
                _advance(run, world.step(number), rows, random)
            incidents = _said(centre, began_s, int(began_s + days * 86_400))
        finally:
            centre.close()
    return [_truth(trouble, world.places[trouble.market]) for trouble in troubles], incidents


def planned_troubles(
    world: World, *, days: int, faults: int, decoys: int, random: np.random.Generator
) -> list[Trouble]:
    """Return all troubles in the order of time: one at a time in a market, or two that are meant."""
    codes = list(world.places)
    # Where more is paid there is more to break: more vendors, links and cells.
    weights = np.array([place.rate**0.25 for place in world.places.values()])
    weights /= weights.sum()
    busy: dict[str, list[tuple[int, int]]] = {code: [] for code in codes}
    first_s = int(world.began.timestamp()) + WARM_S
    last_s = int(world.began.timestamp()) + days * 86_400 - 7_200
    found: list[Trouble] = []
    wanted = [*_kinds(faults, random, is_decoy=False), *_kinds(decoys, random, is_decoy=True)]
    for name, is_decoy in wanted:
        for _ in range(400):
            code = codes[int(random.choice(len(codes), p=weights))]
            start_s = int(random.integers(first_s, max(first_s + 1, last_s))) // STEP_S * STEP_S
            made = begun(
                KINDS[name], market=code, start_s=start_s, is_decoy=is_decoy, random=random
            )
            if made.end_s > last_s + 3_600:
                continue
            if any(
                start_s < end + APART_S and made.end_s + APART_S > begin
                for begin, end in busy[code]
            ):
                continue
            busy[code].append((made.start_s, made.end_s))
            found.append(made)
            if name == "two-at-once" and not is_decoy:
                later_s = start_s + int(random.integers(0, 30)) * STEP_S
                other = begun(
                    KINDS["bad-tariff"], market=code, start_s=later_s, is_decoy=False, random=random
                )
                found.append(other)
                busy[code].append((other.start_s, other.end_s))
            break
    return sorted(found, key=lambda each: (each.start_s, each.market, each.kind))


def _kinds(count: int, random: np.random.Generator, *, is_decoy: bool) -> list[tuple[str, bool]]:
    """Return so many kinds, all of them as often as the others but for the rare ones."""
    found: list[tuple[str, bool]] = []
    names = list(KINDS)
    size = 0
    while size < count:
        for at in random.permutation(len(names)):
            name = names[at]
            rare = sum(each == name for each, _ in found)
            if not is_decoy and name in RARE and rare + 1 > max(1, count // 30):
                continue
            weight = 2 if name == "two-at-once" and not is_decoy else 1
            if size + weight <= count:
                found.append((name, is_decoy))
                size += weight
            if size >= count:
                break
    return found


def _advance(
    run: _Run, step: Step, rows: np.typing.NDArray[np.int64], random: np.random.Generator
) -> None:
    """Let one step happen, be told, and be looked at."""
    now_s = step.now_s
    while run.ahead and run.ahead[0].start_s < now_s:
        trouble = run.ahead.pop(0)
        place = run.world.places[trouble.market]
        trouble.per_second = expected_per_second(
            place.market, from_micros(trouble.start_s * 1_000_000), place.rate
        )
        run.open.append(trouble)
    for trouble in run.open:
        place = run.world.places[trouble.market]
        if not _is_stopped(run, trouble):
            trouble.apply(place, step, random)
        if not trouble.is_mended:
            trouble.apply_echo(place, step, random)
    for market, switch in run.switches.stopped:
        _refuse(run.world.places[market], step, switch)
    _feed(run, step, rows)
    run.clock.advance(timedelta(seconds=STEP_S))
    run.centre.watch.look()
    working = run.centre.incidents.open_ones()
    if working:
        run.centre.remedies.act_by_itself()
        for incident in working:
            _work(run, incident, now_s)
    if run.switches.stopped and now_s % 600 == 0:
        _look_back(run, now_s)
    ended = [trouble for trouble in run.open if trouble.end_s <= now_s]
    if ended:
        run.open = [trouble for trouble in run.open if trouble.end_s > now_s]
        for trouble in ended:
            _undo(run, trouble)


def _is_stopped(run: _Run, trouble: Trouble) -> bool:
    """Tell whether the harm is stopped: by its switch, or by hand."""
    # The rail is still broken where it is switched off; nothing goes there any more.
    return trouble.is_mended or (trouble.market, trouble.switch) in run.switches.stopped


def _refuse(place: Place, step: Step, switch: str) -> None:
    """Play the desk: what a switch stops is refused at once."""
    kind, _, name = switch.partition(":")
    if kind == "partner":
        rows = place.of(flow="pay", partner=name)
    elif switch == "*":
        rows = place.of(flow="pay")
    else:
        return
    step.counts[rows, REFUSED] = step.counts[rows, ATTEMPTS]
    step.counts[rows, FAILED] = 0.0


def _feed(run: _Run, step: Step, rows: np.typing.NDArray[np.int64]) -> None:
    """Tell the telemetry, as the markets' processes would."""
    telemetry = run.centre.telemetry
    board = telemetry.board
    counts = step.counts
    for code, place in run.world.places.items():
        if not step.is_heard[code]:
            continue
        board.heard(code, step.now_s)
        for row in place.of(flow=SMS).tolist():
            sent, lost = int(counts[row, ATTEMPTS]), int(counts[row, FAILED])
            telemetry.messages(
                code,
                run.world.keys[row].partner,
                sent=sent,
                in_time=max(sent - lost, 0),
                lost=lost,
                lost_minor=round(lost * place.mean_minor),
            )
    board.add_many(rows, counts)
    for (code, what, of), level in step.gauges.items():
        board.gauge(code, what, of, level)


def _work(run: _Run, incident: Incident, now_s: int) -> None:
    """Play the engineer on shift: the runbook's step, some minutes after the page."""
    if incident.sheet.remedies or incident.stage is Stage.MITIGATED or incident.sheet.cause is None:
        return
    if now_s - to_micros(incident.opened_at) // 1_000_000 < SHIFT_S:
        return
    run.centre.incidents.remedied(
        incident.id,
        f"{incident.sheet.cause.name} mended by hand",
        actor=ENGINEER,
        is_mitigated=True,
    )
    cause = (incident.sheet.cause.kind, incident.sheet.cause.name)
    for trouble in run.open:
        # Only what was named rightly is mended: a wrong cause mends nothing.
        if trouble.market == incident.market and not trouble.is_decoy and trouble.cause == cause:
            trouble.is_mended = True


def _undo(run: _Run, trouble: Trouble) -> None:
    """Put back what was taken out of use for a trouble that is over."""
    for done in run.centre.remedies.holding():
        if done.market == trouble.market and done.target in {trouble.cause[1], "*"}:
            run.centre.remedies.undo(done.number, actor=ENGINEER)


def _look_back(run: _Run, now_s: int) -> None:
    """Play the engineer who finds nothing broken where something was taken out of use."""
    for done in run.centre.remedies.holding():
        is_needed = any(
            trouble.market == done.market and done.target in {trouble.cause[1], "*"}
            for trouble in run.open
        )
        if not is_needed and now_s - done.done_at // 1_000_000 >= LOOK_BACK_S:
            run.centre.remedies.undo(done.number, actor=ENGINEER)


def _planned(run: _Run, market: str, _now_s: int) -> frozenset[str]:
    names: frozenset[str] = frozenset()
    for trouble in run.open:
        if trouble.market == market and trouble.planned:
            names |= trouble.planned
    return names


def _changed(run: _Run, market: str, now_s: int) -> list[str]:
    return [
        trouble.changed
        for trouble in run.troubles
        if trouble.changed and trouble.market == market and 0 <= now_s - trouble.start_s <= 7_200
    ]


def _said(centre: Centre, since_s: int, until_s: int) -> list[dict[str, Any]]:
    """Return what the centre said, oldest first; what another incident explains is not told apart."""
    rows = []
    day = 86_400
    for first in range(since_s, until_s, day):
        for incident in centre.incidents.between(first * 1_000_000, (first + day) * 1_000_000):
            if incident.parent:
                continue
            cause = incident.sheet.cause
            rows.append(
                {
                    "id": incident.id,
                    "detector": incident.detector,
                    "market": incident.market,
                    "cause": f"{cause.kind} {cause.name}" if cause else "",
                    "opened": _iso(incident.opened_at),
                    "mitigated": _iso(incident.mitigated_at),
                    "resolved": _iso(incident.resolved_at),
                    "automatic": any("allowed by" in done for done in incident.sheet.remedies),
                    "severity": incident.severity,
                    "evidence": incident.timeline[0].what,
                    "payments": incident.payments,
                    "money": sum(incident.value_minor.values()),
                }
            )
    return rows


def _truth(trouble: Trouble, place: Place) -> dict[str, Any]:
    return {
        "kind": trouble.kind,
        "decoy": trouble.is_decoy,
        "planned": bool(trouble.planned),
        "market": trouble.market,
        "start": _iso(from_micros(trouble.start_s * 1_000_000)),
        "end": _iso(from_micros(trouble.end_s * 1_000_000)),
        "cause": "" if trouble.is_decoy else " ".join(trouble.cause),
        "per_second": round(trouble.per_second, 3),
        "payments": round(trouble.payments),
        "money": round(trouble.minor),
        "currency": place.market.currencies[0].code,
    }


def _iso(moment: datetime | None) -> str:
    return "" if moment is None else moment.isoformat()


@contextmanager
def _quiet_logs() -> Iterator[None]:
    """Keep the centre's log to what went wrong with itself."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    try:
        yield
    finally:
        structlog.configure(**before)
