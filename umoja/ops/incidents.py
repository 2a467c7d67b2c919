"""Incidents: what went wrong, whom it touched, and its timeline; one for each episode of a trouble.

Open incidents are held in memory and written behind: a disk that fails loses no incident while the
process runs, and what could not be written is written at the next look. What a person does to one is
written before she is told so. After a kill an open incident goes on where it was.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta

import msgspec
import structlog

from umoja.clock import Clock, from_micros, to_micros
from umoja.faults import Fault
from umoja.markets.market import Market
from umoja.money import Money
from umoja.ops.finding import Counts, Finding
from umoja.ops.impact import PERIOD_S, Harm, Impact
from umoja.ops.incident import (
    ACTIONS_MAX,
    CAUSES_MAX,
    HANGING_MAX,
    TASKS_MAX,
    Action,
    Cause,
    Incident,
    Post,
    Review,
    Stage,
    Task,
    Tick,
    may_follow,
    severity_of,
)
from umoja.ops.incident_work import (
    MOMENTS_MAX,
    NUMBER_DIGITS,
    Key,
    Work,
    id_of,
    kept,
    resumed,
    shown,
)
from umoja.ops.runbook import runbook_of
from umoja.storage.port import DatabaseDamaged, Sql

SYSTEM = "system"
NOTE_MAX = 1_000
NAME_MAX = 80
RECENT_MAX = 500

STEPS = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
"""Customers at which the timeline says how far an incident has come."""

GRAVEST = {Counts.PAYMENTS: 1, Counts.PINS: 1, Counts.RECEIPTS: 2}
"""A receipt that is missing is never as grave as a payment that fails."""

RETURNS_WITHIN = timedelta(minutes=10)
"""What comes back this soon is the same incident again: a flapping trouble is one, not twenty."""

HUNG_BEFORE = timedelta(minutes=5)
"""Payments that hang since so long before the trouble was seen still belong to it."""

WIDE = frozenset({"market", "monitoring"})
"""Kinds of cause that explain whatever else is found in the same market meanwhile."""

_MICROSECOND = timedelta(microseconds=1)

log = structlog.get_logger()


class IncidentUnknown(LookupError):
    """There is no incident of this id."""


class NoteRefused(ValueError):
    """A note is empty, too long, or one too many. It says which."""


class StepRefused(ValueError):
    """What a person asked for cannot be done with this incident now. It says why."""


class StillHanging(StepRefused):
    """Payments of unknown outcome hang on the incident and nobody owns them: it cannot be closed."""


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """What the watch knows around a finding: its cause, what had changed, and how wide it is."""

    cause: Cause | None = None
    changed: tuple[str, ...] = ()
    agents: int = 0
    share_percent: int = 0  # of the market's payments, failing above expectation
    is_money: bool = False  # the books themselves are in doubt
    hint: int = 4  # the severity that somebody else's alarm names: never less grave than that


class Hanging(msgspec.Struct, frozen=True, kw_only=True):
    """A payment whose outcome is unknown. `since` is in microseconds."""

    order: str
    product: str
    since: int


class Incidents:
    """Keeps incidents. Calls may come from any thread.

    What reads finished incidents or writes for people raises Unavailable where the file cannot be
    used; what the watch calls never does. Acts of people may be repeated: a repeat changes nothing.
    """

    def __init__(self, database: Sql, *, clock: Clock, markets: Sequence[Market]) -> None:
        """Take up a migrated file and the incidents that were open when it was left."""
        self._database = database
        self._clock = clock
        self._markets = {market.code: market for market in markets}
        self._lock = threading.RLock()
        self._working: dict[int, Work] = {}  # open ones, and those not written since they ended
        self._seen: dict[Key, int] = {}  # what is found now, and which incident it belongs to
        self._lately: dict[Key, int] = {}  # ended a moment ago: the same again is the same incident
        self._is_troubled = False
        self._heard: Callable[[Incident], None] = lambda _: None
        row = database.one("SELECT coalesce(max(number), 0) FROM incidents")
        self._last_number = int(row[0]) if row else 0
        since = to_micros(clock.now()) - RETURNS_WITHIN // _MICROSECOND
        for each in database.query(
            "SELECT * FROM incidents WHERE state = 'open' OR resolved_at >= :since", since=since
        ):
            found = resumed(self._database, each, self._clock)
            key = (found.market, found.detector, found.scope)
            if found.is_ended:
                self._lately[key] = found.number
                continue
            self._working[found.number] = found
            if not found.mitigated_at:
                found.seen_by.add(key)
                self._seen[key] = found.number
            else:
                self._lately[key] = found.number

    def listen(self, heard: Callable[[Incident], None]) -> None:
        """Have `heard` called when an incident is opened or returns; it must not wait."""
        self._heard = heard

    # Reading

    def open_ones(self, *, children: bool = False) -> list[Incident]:
        """Return what is open now, the gravest first, then the oldest. Asks no file.

        Those that another one explains are left out unless asked for.
        """
        with self._lock:
            found = [
                shown(each)
                for each in self._working.values()
                if not each.is_ended and (children or not each.parent)
            ]
        return sorted(found, key=lambda each: (each.severity, each.opened_at, each.id))

    def recent(self, *, limit: int = 50, market: str | None = None) -> list[Incident]:
        """Return incidents, newest first, at most 500; of one market where one is named."""
        with self._lock:
            rows = self._database.query(
                "SELECT * FROM incidents WHERE :any = 1 OR market = :market"
                " ORDER BY number DESC LIMIT :limit",
                any=int(market is None),
                market=market or "",
                limit=max(0, min(limit, RECENT_MAX)),
            )
            in_memory = {
                each.number: shown(each)
                for each in self._working.values()
                if market is None or each.market == market
            }
            on_disk = {int(row["number"]): row for row in rows}
            numbers = sorted(on_disk.keys() | in_memory.keys(), reverse=True)
            # A moment that is not on the disk yet stands in memory: memory goes before.
            return [
                in_memory[number]
                if number in in_memory
                else shown(resumed(self._database, on_disk[number], self._clock))
                for number in numbers[: max(0, limit)]
            ]

    def between(self, since: int, until: int, *, market: str | None = None) -> list[Incident]:
        """Return the incidents opened in [since, until) microseconds, oldest first, at most 500."""
        with self._lock:
            rows = self._database.query(
                "SELECT * FROM incidents WHERE opened_at >= :since AND opened_at < :until"
                " AND (:any = 1 OR market = :market) ORDER BY number LIMIT :limit",
                since=since,
                until=until,
                any=int(market is None),
                market=market or "",
                limit=RECENT_MAX,
            )
            return [
                shown(
                    self._working.get(int(row["number"]))
                    or resumed(self._database, row, self._clock)
                )
                for row in rows
            ]

    def get(self, incident_id: str) -> Incident | None:
        """Return an incident by its id, or None."""
        with self._lock:
            work = self._find(incident_id)
            return None if work is None else shown(work)

    def is_open(self, market: str, detector: str) -> datetime | None:
        """Return since when a detector's incident is open in a market, or None. Asks no file."""
        with self._lock:
            for (code, name, _), number in self._seen.items():
                if (code, name) == (market, detector):
                    return from_micros(self._working[number].opened_at)
        return None

    def value(self, incident: Incident) -> str:
        """Write an incident's money as people read it: KES 3,400.00 and USD 12.00, or ''."""
        return ", ".join(self._values(incident.market, incident.value_minor))

    # What people do

    def note(self, incident_id: str, *, actor: str, what: str) -> Incident:
        """Add a person's words to the timeline, durably; also after the end.

        Raise IncidentUnknown, NoteRefused, or a Fault where it could not be written.
        """
        text = _said(what, "a note")
        return self._change(incident_id, lambda work, now: work.say(now, _name(actor), text))

    def acknowledge(self, incident_id: str, *, actor: str) -> Incident:
        """Take an incident on: from now on it is a person's to close. The first one stays."""

        def change(work: Work, now: int) -> None:
            if work.acknowledged_by:
                return
            work.acknowledged_at, work.acknowledged_by = now, _name(actor)
            work.say(now, _name(actor), "acknowledged")

        return self._change(incident_id, change)

    def appoint(self, incident_id: str, post: Post, *, name: str, actor: str) -> Incident:
        """Give a role to somebody, or free it with an empty name."""
        holder = _clean(name)[:NAME_MAX]

        def change(work: Work, now: int) -> None:
            if work.sheet.roles.get(post.value, "") == holder:
                return
            word = post.value.replace("_", " ")
            if holder:
                work.sheet.roles[post.value] = holder
                work.say(now, _name(actor), f"{word}: {holder}")
            else:
                del work.sheet.roles[post.value]
                work.say(now, _name(actor), f"{word}: nobody")

        return self._change(incident_id, change)

    def advance(self, incident_id: str, stage: Stage, *, actor: str, why: str = "") -> Incident:
        """Take the incident to another stage.

        Raise StepRefused where that does not follow, StillHanging where it would be closed while
        payments of unknown outcome hang on it that nobody owns.
        """
        reason = _said(why, "a reason") if why.strip() else ""

        def change(work: Work, now: int) -> None:
            if work.stage is stage:
                return
            if not may_follow(work.stage, stage):
                raise StepRefused(
                    f"an incident does not go from {work.stage.value} to {stage.value}"
                )
            if stage is Stage.RESOLVED:
                _require_no_orphans(work)
            if not work.acknowledged_by:
                work.acknowledged_at, work.acknowledged_by = now, _name(actor)
            work.go(stage, now)
            work.say(now, _name(actor), f"{stage.value}: {reason}" if reason else stage.value)

        return self._change(incident_id, change)

    def name_cause(self, incident_id: str, cause: Cause, *, actor: str) -> Incident:
        """Put down what it was; one that was investigated is identified with it."""
        named = Cause(
            kind=_said(cause.kind, "a kind")[:40], name=_said(cause.name, "a cause")[:NAME_MAX]
        )

        def change(work: Work, now: int) -> None:
            if work.sheet.cause is not None and work.sheet.cause.name == named.name:
                return
            work.sheet.cause = named
            if work.stage is Stage.INVESTIGATING:
                work.go(Stage.IDENTIFIED, now)
            work.say(now, _name(actor), f"cause: {named.kind} {named.name}")

        return self._change(incident_id, change)

    def add_task(self, incident_id: str, *, what: str, owner: str, actor: str) -> Incident:
        """Add a task. Raise NoteRefused where it says nothing or there are too many."""
        text, who = _said(what, "a task"), _name(owner or actor)

        def change(work: Work, now: int) -> None:
            tasks = work.sheet.tasks
            if len(tasks) >= TASKS_MAX:
                raise NoteRefused(f"an incident has at most {TASKS_MAX} tasks")
            tasks.append(Task(number=len(tasks) + 1, what=text, owner=who, made_at=now))
            work.say(now, _name(actor), f"task {len(tasks)} for {who}: {text}")

        return self._change(incident_id, change)

    def finish_task(self, incident_id: str, number: int, *, actor: str) -> Incident:
        """Tick a task off. Raise StepRefused where there is none of that number."""

        def change(work: Work, now: int) -> None:
            tasks = work.sheet.tasks
            if not 1 <= number <= len(tasks):
                raise StepRefused(f"there is no task {number}")
            if tasks[number - 1].done_at:
                return
            tasks[number - 1] = msgspec.structs.replace(
                tasks[number - 1], done_at=now, done_by=_name(actor)
            )
            work.say(now, _name(actor), f"task {number} done")

        return self._change(incident_id, change)

    def tick(self, incident_id: str, step: int, *, actor: str, note: str = "") -> Incident:
        """Record that a step of the runbook was done. Raise StepRefused where it has no such step."""
        seen = _clean(note)[:NOTE_MAX]

        def change(work: Work, now: int) -> None:
            if not 1 <= step <= len(runbook_of(work.detector).steps):
                raise StepRefused(f"the runbook has no step {step}")
            if any(each.step == step for each in work.sheet.ticks):
                return
            work.sheet.ticks.append(Tick(step=step, by=_name(actor), at=now, note=seen))
            what = f"runbook step {step} done"
            work.say(now, _name(actor), f"{what}: {seen}" if seen else what)

        return self._change(incident_id, change)

    def own(self, incident_id: str, order: str, *, owner: str, actor: str) -> Incident:
        """Make somebody answerable for a payment of unknown outcome, until it has its end."""
        who = _name(owner)

        def change(work: Work, now: int) -> None:
            if order not in work.sheet.hanging:
                raise StepRefused("that payment does not hang on this incident")
            if work.sheet.hanging[order] == who:
                return
            work.sheet.hanging[order] = who
            work.say(now, _name(actor), f"payment {order} of unknown outcome is owned by {who}")

        return self._change(incident_id, change)

    def review(self, incident_id: str, review: Review, *, actor: str) -> Incident:
        """Write what was learned; a resolved incident is reviewed with it. May be written again."""
        written = Review(
            summary=_said(review.summary, "a summary"),
            causes=_said(review.causes, "the causes"),
            went_well=_clean(review.went_well)[:NOTE_MAX],
            went_badly=_clean(review.went_badly)[:NOTE_MAX],
            by=_name(actor),
        )

        def change(work: Work, now: int) -> None:
            if not work.is_ended:
                raise StepRefused("an incident is reviewed when it is resolved")
            if work.sheet.review == written:
                return
            work.sheet.review = written
            if work.stage is Stage.RESOLVED:
                work.go(Stage.REVIEWED, now)
            work.say(now, _name(actor), "review written")

        return self._change(incident_id, change)

    def add_action(
        self, incident_id: str, *, what: str, owner: str, due: str, actor: str
    ) -> Incident:
        """Add what is to be done about it for good. `due` is a date, YYYY-MM-DD."""
        text, who = _said(what, "an action"), _said(owner, "an owner")[:NAME_MAX]
        try:
            day = date.fromisoformat(due).isoformat()
        except ValueError as cause:
            raise NoteRefused("a date is written as 2026-03-31") from cause

        def change(work: Work, now: int) -> None:
            actions = work.sheet.actions
            if len(actions) >= ACTIONS_MAX:
                raise NoteRefused(f"an incident has at most {ACTIONS_MAX} actions")
            actions.append(Action(number=len(actions) + 1, what=text, owner=who, due=day))
            work.say(now, _name(actor), f"action {len(actions)} for {who} by {day}: {text}")

        return self._change(incident_id, change)

    def finish_action(self, incident_id: str, number: int, *, actor: str) -> Incident:
        """Tick an action off. Raise StepRefused where there is none of that number."""

        def change(work: Work, now: int) -> None:
            actions = work.sheet.actions
            if not 1 <= number <= len(actions):
                raise StepRefused(f"there is no action {number}")
            if actions[number - 1].done_at:
                return
            actions[number - 1] = msgspec.structs.replace(actions[number - 1], done_at=now)
            work.say(now, _name(actor), f"action {number} done")

        return self._change(incident_id, change)

    def tell(self, incident_id: str, *, what: str, actor: str = SYSTEM) -> None:
        """Have the system say something: a page sent, a notice, a remedy. Raises no Fault."""
        text = _clean(what)[:NOTE_MAX]
        with self._lock:
            try:
                work = self._find(incident_id)
                if work is None:
                    raise IncidentUnknown(f"there is no incident {incident_id[:20]}")
                if work.number in self._working:
                    work.say(to_micros(self._clock.now()), actor, text)
                    return
                self._change(incident_id, lambda work, now: work.say(now, actor, text))
            except (Fault, DatabaseDamaged) as cause:
                log.error("ops.incident.untold", incident=incident_id, cause=str(cause))  # noqa: TRY400

    def remedied(self, incident_id: str, remedy: str, *, actor: str, is_mitigated: bool) -> None:
        """Note a remedy that was carried out; where it stopped the harm, the incident is mitigated."""
        with self._lock:
            work = self._find(incident_id)
            if work is None:
                raise IncidentUnknown(f"there is no incident {incident_id[:20]}")
            now = to_micros(self._clock.now())
            if len(work.sheet.remedies) < TASKS_MAX:
                work.sheet.remedies.append(remedy)
            work.say(now, actor, f"remedy: {remedy}")
            if is_mitigated and may_follow(work.stage, Stage.MITIGATED):
                work.go(Stage.MITIGATED, now)

    # For the watch

    def found(
        self,
        market: str,
        detector: str,
        finding: Finding,
        *,
        counts: Counts,
        harm: Harm,
        scene: Scene | None = None,
    ) -> str:
        """Open an incident for a new finding, or carry the one that is open further; return its id.

        A second detector that sees the same cause in the same market adds to that incident. What an
        open, wider trouble explains becomes its child and is not told again.
        """
        now = to_micros(self._clock.now())
        key = (market, detector, finding.product)
        scene = scene or Scene()
        with self._lock:
            work = self._belonging(key, scene, now) or self._begun(
                key, finding, counts=counts, scene=scene, now=now
            )
            self._learn(work, scene, now)
            if key[1] == work.detector and key[2] == work.scope:
                self._count(work, harm, scene, now)
            return id_of(work.number)

    def quiet(self, market: str, detector: str, product: str | None = None) -> None:
        """Say that a detector finds nothing any more (of one product, or at all).

        When nobody sees the trouble any longer the harm has stopped. An incident that no person has
        taken, and on which nothing hangs, is resolved with it.
        """
        now = to_micros(self._clock.now())
        with self._lock:
            keys = [
                key
                for key in self._seen
                if key[:2] == (market, detector) and product in {None, key[2]}
            ]
            for key in keys:
                work = self._working[self._seen.pop(key)]
                work.seen_by.discard(key)
                self._lately[key] = work.number
                if work.seen_by or work.is_ended:
                    continue
                if work.stage is not Stage.MITIGATED:
                    work.go(Stage.MITIGATED, now)
                if not self._resolve_if_nobodys(work, now):
                    work.say(now, SYSTEM, f"mitigated: {self._told(work.shown, market)}")

    def unknown(self, market: str, hanging: Iterable[Hanging]) -> None:
        """Take note of a market's payments of unknown outcome, all of them as they are now.

        Those that began around an open incident hang on it until they are not told of any more.
        """
        now = to_micros(self._clock.now())
        orders = {each.order: each for each in hanging}
        with self._lock:
            for work in [each for each in self._working.values() if each.market == market]:
                if work.is_ended:
                    continue
                mine = work.sheet.hanging
                ended = [order for order in mine if order not in orders]
                for order in ended:
                    del mine[order]
                work.sheet.settled += len(ended)
                if work.counts is Counts.PAYMENTS and not work.parent and work.seen_by:
                    self._hang(work, orders.values(), now)
                if ended and not mine:
                    work.say(now, SYSTEM, "every payment of unknown outcome has found its end")
                    if work.stage is Stage.MITIGATED and not work.seen_by:
                        self._resolve_if_nobodys(work, now)
                work.is_changed = work.is_changed or bool(ended)

    def keep(self) -> None:
        """Write what has changed. What cannot be written now is written at the next call."""
        with self._lock:
            try:
                for work in list(self._working.values()):
                    if work.is_changed or work.kept_moments < len(work.moments):
                        kept(self._database, work)
                    if work.is_ended:
                        del self._working[work.number]
            except (Fault, DatabaseDamaged) as cause:
                if not self._is_troubled:
                    log.error("ops.incidents.unwritten", cause=str(cause))  # noqa: TRY400  expected
                self._is_troubled = True
                return
            self._is_troubled = False

    # Within the lock

    def _change(self, incident_id: str, change: Callable[[Work, int], None]) -> Incident:
        """Change an incident for a person: on a copy, which takes its place when it is written."""
        now = to_micros(self._clock.now())
        with self._lock:
            work = self._find(incident_id)
            if work is None:
                raise IncidentUnknown(f"there is no incident {incident_id[:20]}")
            if len(work.moments) >= MOMENTS_MAX:
                raise NoteRefused("this timeline is full")
            made = work.copied()
            change(made, now)
            kept(self._database, made)
            if made.number in self._working or not made.is_ended:
                self._working[made.number] = made
            return shown(made)

    def _find(self, incident_id: str) -> Work | None:
        number = _number(incident_id)
        if number is None:
            return None
        work = self._working.get(number)
        if work is not None:
            return work
        row = self._database.one("SELECT * FROM incidents WHERE number = :number", number=number)
        return None if row is None else resumed(self._database, row, self._clock)

    def _belonging(self, key: Key, scene: Scene, now: int) -> Work | None:
        """Return the incident that a finding belongs to already, or None."""
        number = self._seen.get(key)
        if number is not None:
            return self._working[number]
        work = self._returned(key, now) or self._of_cause(key[0], scene.cause)
        if work is None:
            return None
        self._seen[key] = work.number
        work.seen_by.add(key)
        if key[1] != work.detector and key[1] not in work.sheet.also:
            if len(work.sheet.also) < CAUSES_MAX:
                work.sheet.also.append(key[1])
            work.say(now, SYSTEM, f"seen by {key[1].replace('_', ' ')} too")
        return work

    def _returned(self, key: Key, now: int) -> Work | None:
        """Return what ended a moment ago and is here again, opened anew."""
        number = self._lately.pop(key, None)
        if number is None:
            return None
        try:
            work = self._find(id_of(number))
        except (Fault, DatabaseDamaged):
            return None  # the file cannot be read: then it is a new one
        if work is None or work.stage is Stage.REVIEWED:
            return None
        ended_at = work.resolved_at or work.mitigated_at
        # One that is still open takes it back at any time: two open ones of one key there are not.
        if work.is_ended and now - ended_at > RETURNS_WITHIN // _MICROSECOND:
            return None
        if ended_at:
            work.sheet.returns += 1
            work.go(Stage.INVESTIGATING, now)
            work.say(now, SYSTEM, f"came back after {(now - ended_at) // 1_000_000} s")
            self._working[work.number] = work
            self._heard(shown(work))
        return work

    def _of_cause(self, market: str, cause: Cause | None) -> Work | None:
        if cause is None:
            return None
        for work in self._working.values():
            known = work.sheet.cause
            is_same = known is not None and (known.kind, known.name) == (cause.kind, cause.name)
            if work.market == market and is_same and not work.is_ended and work.seen_by:
                return work
        return None

    def _begun(self, key: Key, finding: Finding, *, counts: Counts, scene: Scene, now: int) -> Work:
        market, detector, scope = key
        parent = next(
            (
                each
                for each in self._working.values()
                if each.market == market
                and not each.is_ended
                and not each.parent
                and each.sheet.cause is not None
                and each.sheet.cause.kind in WIDE
            ),
            None,
        )
        self._last_number += 1
        made = Work(
            number=self._last_number,
            market=market,
            detector=detector,
            scope=scope,
            counts=counts,
            title=finding.title,
            began_at=min(finding.began_s * 1_000_000, now),
            opened_at=now,
            impact=Impact(),
            taken_until=finding.began_s // PERIOD_S,
            shown=Impact(),
            severity=scene.hint,
        )
        self._working[made.number] = made
        self._seen[key] = made.number
        made.seen_by.add(key)
        since = from_micros(finding.began_s * 1_000_000)
        made.say(now, SYSTEM, f"opened: {finding.evidence}, since {since:%H:%M:%S} UTC")
        made.sheet.changed = list(scene.changed[:CAUSES_MAX])
        for changed in made.sheet.changed:
            made.say(now, SYSTEM, f"changed lately: {changed}")
        if parent is not None:
            made.parent = parent.number
            if len(parent.sheet.children) < HANGING_MAX:
                parent.sheet.children.append(id_of(made.number))
            made.say(now, SYSTEM, f"explained by {id_of(parent.number)}")
        log.warning("ops.incident.opened", incident=id_of(made.number), market=market)
        if parent is None:
            self._heard(shown(made))
        return made

    def _learn(self, work: Work, scene: Scene, now: int) -> None:
        """Take up a cause that the watch names; a person's word stands above it."""
        cause = scene.cause
        known = work.sheet.cause
        if cause is None or (known is not None and known.share_percent == 0):
            return
        if known is None or (known.kind, known.name) != (cause.kind, cause.name):
            told = f"cause: {cause.kind} {cause.name}"
            work.say(now, SYSTEM, f"{told}, {cause.share_percent} % of what failed")
            if work.stage is Stage.INVESTIGATING:
                work.go(Stage.IDENTIFIED, now)
        work.sheet.cause = cause

    def _resolve_if_nobodys(self, work: Work, now: int) -> bool:
        """Resolve what no person has taken and on which nothing hangs; tell whether it was."""
        if work.acknowledged_by or any(not owner for owner in work.sheet.hanging.values()):
            return False
        work.go(Stage.RESOLVED, now)
        work.say(now, SYSTEM, f"resolved: {self._told(work.shown, work.market)}")
        log.warning("ops.incident.resolved", incident=id_of(work.number), market=work.market)
        return True

    def _hang(self, work: Work, orders: Iterable[Hanging], now: int) -> None:
        first = work.began_at - HUNG_BEFORE // _MICROSECOND
        before = len(work.sheet.hanging)
        for each in orders:
            if len(work.sheet.hanging) >= HANGING_MAX:
                break
            is_of_it = not work.scope or each.product == work.scope
            if is_of_it and each.since >= first:
                work.sheet.hanging.setdefault(each.order, "")
        if len(work.sheet.hanging) > before:
            work.is_changed = True
            if not before:
                count = _counted(len(work.sheet.hanging), "payment")
                work.say(now, SYSTEM, f"{count} of unknown outcome hang on this")

    def _count(self, work: Work, harm: Harm, scene: Scene, now: int) -> None:
        """Take the harm up that came since the last look, and say how far it has come."""
        running = now // 1_000_000 // PERIOD_S
        if running > work.taken_until:
            work.impact.merge(harm.between(work.taken_until, running - 1))
            work.taken_until = running
        before, work.shown = (
            work.shown,
            work.impact.with_more(harm.between(running, running + 1)),
        )
        work.sheet.agents = max(work.sheet.agents, scene.agents)
        work.sheet.share_percent = max(work.sheet.share_percent, scene.share_percent)
        customers = work.shown.customers
        if work.shown.payments != before.payments:
            work.is_changed = True
            for step in STEPS:
                if before.customers < step <= customers:
                    told = self._told(work.shown, work.market)
                    work.say(now, SYSTEM, f"{step:,} customers passed: {told}")
        severity = severity_of(
            customers=customers,
            agents=work.sheet.agents,
            share_percent=work.sheet.share_percent,
            gravest=GRAVEST[work.counts],
            is_money=scene.is_money,
        )
        severity = min(severity, scene.hint)
        if severity < work.severity:
            work.say(now, SYSTEM, f"severity {work.severity} became {severity}")
            work.severity = severity

    def _told(self, impact: Impact, code: str) -> str:
        """Say an impact in a few words: 12 payments, KES 3,400.00, 11 customers."""
        parts = [_counted(impact.payments, "payment"), *self._values(code, impact.value_minor)]
        return ", ".join([*parts, _counted(impact.customers, "customer")])

    def _values(self, code: str, value_minor: Mapping[str, int]) -> list[str]:
        market = self._markets.get(code)
        return [
            market.written(Money(minor, currency))
            for currency, minor in sorted(value_minor.items())
            if market is not None and market.currency(currency) is not None
        ]


def _require_no_orphans(work: Work) -> None:
    orphans = [order for order, owner in work.sheet.hanging.items() if not owner]
    if orphans:
        count = _counted(len(orphans), "payment")
        raise StillHanging(
            f"{count} of unknown outcome would be left alone: settle or reverse each,"
            f" or give it an owner; the first is {orphans[0]}"
        )


def _number(incident_id: str) -> int | None:
    head, _, digits = incident_id.partition("-")
    is_one = head == "INC" and digits.isascii() and digits.isdigit()
    if not is_one or not NUMBER_DIGITS <= len(digits) <= 15:
        return None
    return int(digits) if id_of(int(digits)) == incident_id else None


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _said(text: str, what: str) -> str:
    """Return text fit to be kept. Raise NoteRefused where it says nothing or too much."""
    clean = _clean(text)
    if not clean:
        raise NoteRefused(f"{what} says something")
    if len(clean) > NOTE_MAX:
        raise NoteRefused(f"{what} has at most {NOTE_MAX} characters")
    return clean


def _name(actor: str) -> str:
    return _clean(actor)[:NAME_MAX]


def _clean(text: str) -> str:
    """Return text that can be kept and shown: no control characters, no broken letters."""
    sound = text.encode("utf-8", "replace").decode()
    kept = "".join(each if each.isprintable() or each == "\n" else " " for each in sound)
    return kept.strip()
