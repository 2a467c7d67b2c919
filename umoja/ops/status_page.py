"""What the public is told: the state of each market's services, ninety days of it, and messages.

States are computed at every look; messages are published by staff in all languages of the market.
Everything that a page shows is in memory: however many look, no file is asked.
"""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import msgspec
import structlog

from umoja.clock import Clock, from_micros, to_micros
from umoja.faults import Fault
from umoja.markets.market import Market
from umoja.ops.audit import AuditLog
from umoja.ops.incident import Incident
from umoja.ops.incidents import Incidents
from umoja.ops.planned import PlannedWork, Stretch
from umoja.ops.service_state import LISTED, MESSAGES, Heard, State, listed, states, worst
from umoja.ops.status_messages import (
    KINDS,
    TEXT_MAX,
    Message,
    MessageRefused,
    checked,
    first,
    is_same,
)
from umoja.ops.telemetry import Telemetry
from umoja.storage.port import DatabaseDamaged, Sql

HISTORY_DAYS = 90
WORKS_AHEAD = timedelta(days=7)
WORKS_MAX = 20
KEPT_DAYS = 100
MESSAGES_MAX = 100  # of one market, that are shown; all are kept
STALE_S = 30
"""States that were not looked at for so long are not known any more."""

GAP_S = 60  # a longer time between two looks counts as not recorded
WRITE_EVERY_S = 60
TROUBLE_S = 60  # so long in a day makes the day's state
RECORDED_PERCENT = 90  # of a day, below which nobody can say that it went well

_MICROSECOND = timedelta(microseconds=1)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One day of a service; `state` None: it was not recorded. `minutes` of trouble."""

    day: date
    state: State | None
    minutes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One line of a market's page; days are oldest first, today last."""

    product: str
    state: State
    days: tuple[Day, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Planned work as the public is told of it: services, '' for all of them. Microseconds."""

    products: tuple[str, ...]
    starts_at: int
    ends_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a market's page shows; messages are newest first, planned work the next one first."""

    market: Market
    at: int
    state: State
    services: tuple[Service, ...]
    messages: tuple[Message, ...]
    works: tuple[Work, ...] = ()


@dataclass(slots=True)
class _Tally:
    """Seconds of one day in each state, and when the service last went well (microseconds)."""

    seconds: dict[State, int]
    seen_at: int = 0
    is_changed: bool = False


Planned = Callable[[str, int], Collection[str]]
Works = Callable[[str, int, int], Sequence[tuple[PlannedWork, Stretch]]]
"""Returns what is worked on in a market between two moments, the first one first."""

_COLUMNS = {
    State.WORKING: "working",
    State.PLANNED: "planned",
    State.UNKNOWN: "unclear",
    State.PARTLY: "partly",
    State.DOWN: "down",
}


class StatusPage:
    """Keeps what the public page shows. Calls may come from any thread.

    What reads asks no file. Publishing and withdrawing raise a Fault where they were not written.
    """

    def __init__(
        self,
        database: Sql,
        *,
        clock: Clock,
        telemetry: Telemetry,
        incidents: Incidents,
        audit: AuditLog,
        markets: Sequence[Market],
        planned: Planned = lambda _, __: (),
        works: Works = lambda _, __, ___: (),
        address: str = "",
    ) -> None:
        """Take a migrated database. `address` is where this console is reached, for feeds."""
        self._database = database
        self._clock = clock
        self._telemetry = telemetry
        self._incidents = incidents
        self._audit = audit
        self._markets = {market.code: market for market in markets}
        self._planned = planned
        self._works = works
        self.address = address.rstrip("/")
        self._lock = threading.Lock()  # held for moments only: pages wait for it
        self._writing = threading.Lock()  # of those who publish, one after the other
        self._states: dict[str, dict[str, State]] = {}
        self._looked_s: dict[str, int] = {}
        self._seen: dict[tuple[str, str], int] = {}
        self._written_s = 0
        self._swept: date | None = None
        self._is_troubled = False
        self._days = self._kept_days()
        self._messages = {code: self._kept_messages(code) for code in self._markets}

    # Looking

    def look(self) -> None:
        """Compute every market's states, and count the time since the last look. Raises nothing."""
        for code in self._markets:
            try:
                self._look_at(code)
            except Exception:
                log.exception("ops.status_page.bug", market=code)
        self.keep(is_last=False)

    def _look_at(self, code: str) -> None:
        heard = self._heard(code)
        now_s = self._now() // 1_000_000
        found = states(heard)
        with self._lock:
            before_s = self._looked_s.get(code)
            if before_s is not None and 0 < now_s - before_s <= GAP_S:
                day = self._markets[code].business_day(self._clock.now())
                for product, state in self._states.get(code, {}).items():
                    tally = self._tally(code, product, day)
                    tally.seconds[state] += now_s - before_s
                    tally.seen_at = self._seen.get((code, product), 0)
                    tally.is_changed = True
            self._states[code] = found
            self._looked_s[code] = now_s

    def _heard(self, code: str) -> Heard:
        now = self._now()
        figures = self._telemetry.figures(code)
        done: dict[str, int] = {}
        failed: dict[str, int] = {}
        for part in self._telemetry.parts(code):
            done[part.product] = done.get(part.product, 0) + part.completed
            failed[part.product] = failed.get(part.product, 0) + part.failed
        went_well = {product for product, count in done.items() if count and product in LISTED}
        if figures.sms_permille:
            went_well.add(MESSAGES)
        opened = tuple(each for each in self._incidents.open_ones() if each.market == code)
        with self._lock:
            self._seen.update({(code, product): now for product in went_well})
            seen = {
                product: max(0, now - self._seen[code, product]) // 1_000_000
                for product in LISTED
                if self._seen.get((code, product))
            }
            told = self._told(code, opened)
        return Heard(
            market=code,
            is_blind=figures.is_blind,
            done=done,
            failed=failed,
            sms_permille=figures.sms_permille,
            incidents=opened,
            seen_s=seen,
            told=told,
            planned=self._planned(code, now // 1_000_000),
        )

    def _told(self, code: str, opened: Sequence[Incident]) -> dict[str, State]:
        """Return what staff say of services now: the last word about each incident that is open."""
        is_open = {each.id for each in opened}
        said: dict[tuple[str, str], State] = {}
        for message in reversed(self._messages[code]):  # the oldest first
            state = KINDS[message.kind]
            if message.incident in is_open and not message.withdrawn_at and state is not None:
                if state is State.WORKING:  # it takes back what was said of this service, or of all
                    for key in [key for key in said if key[0] == message.incident]:
                        if message.product in {"", key[1]}:
                            del said[key]
                else:
                    said[message.incident, message.product] = state
        found: dict[str, State] = {}
        for (_, product), state in said.items():
            services = [product] if product else [each for each in LISTED if each != MESSAGES]
            for each in services:
                found[each] = worst([found.get(each, State.WORKING), state])
        return found

    def keep(self, *, is_last: bool = True) -> None:
        """Write what was counted, once a minute; what cannot be written is written later."""
        now_s = self._now() // 1_000_000
        if not is_last and now_s - self._written_s < WRITE_EVERY_S:
            return
        self._written_s = now_s
        with self._lock:
            changed = [(key, tally) for key, tally in self._days.items() if tally.is_changed]
            rows: list[dict[str, str | int]] = [
                {
                    "market": market,
                    "product": product,
                    "day": day.isoformat(),
                    "seen_at": tally.seen_at,
                    **{column: tally.seconds[state] for state, column in _COLUMNS.items()},
                }
                for (market, product, day), tally in changed
            ]
            for _, tally in changed:
                tally.is_changed = False
        try:
            if rows:
                self._database.run_many(_WRITE_DAY, rows)
            self._sweep()
            self._is_troubled = False
        except (Fault, DatabaseDamaged) as cause:
            with self._lock:
                for _, tally in changed:
                    tally.is_changed = True
            if not self._is_troubled:
                log.warning("ops.status_page.unwritten", cause=str(cause))
            self._is_troubled = True

    # Telling

    def shown(self, code: str) -> Shown:
        """Return what a market's page shows now. Raise KeyError for a market that is not watched."""
        market = self._markets[code]
        now = self._now()
        today = market.business_day(self._clock.now())
        with self._lock:
            found = self._states.get(code, {})
            if now // 1_000_000 - self._looked_s.get(code, 0) > STALE_S:
                found = dict.fromkeys(found or listed(Heard(market=code, is_blind=True)), _BLIND)
            services = tuple(
                Service(product=product, state=state, days=self._history(code, product, today))
                for product, state in found.items()
            )
            since = now - timedelta(days=HISTORY_DAYS) // _MICROSECOND
            messages = tuple(each for each in self._messages[code] if each.published_at >= since)
        is_unseen = all(each.state is State.UNKNOWN for each in services)
        known = [each.state for each in services if each.state is not State.UNKNOWN]
        return Shown(
            market=market,
            at=now,
            state=State.UNKNOWN if is_unseen else worst(known),
            services=services,
            messages=messages,
            works=self._told_works(code, now),
        )

    def _told_works(self, code: str, now: int) -> tuple[Work, ...]:
        """Return the work on now and in the next week that touches services, without its words."""
        found = []
        for work, stretch in self._works(code, now, now + WORKS_AHEAD // _MICROSECOND):
            products = tuple(each for each in LISTED if each in work.touches)
            if products or not work.touches:
                found.append(
                    Work(
                        products=products or ("",),
                        starts_at=stretch.starts_at,
                        ends_at=stretch.ends_at,
                    )
                )
        return tuple(found[:WORKS_MAX])

    def state(self, code: str) -> State:
        """Return how a market stands as a whole."""
        return self.shown(code).state

    def of_incident(self, incident: Incident) -> list[Message]:
        """Return the messages about an incident that the page shows, newest first."""
        with self._lock:
            held = self._messages.get(incident.market, [])
            return [each for each in held if each.incident == incident.id]

    def _history(self, code: str, product: str, today: date) -> tuple[Day, ...]:
        first = today - timedelta(days=HISTORY_DAYS - 1)
        days = [first + timedelta(days=place) for place in range(HISTORY_DAYS)]
        return tuple(
            _day(day, self._days.get((code, product, day)), self._length_s(code, day))
            for day in days
        )

    def _length_s(self, code: str, day: date) -> int:
        """Return how many seconds of a market's day have passed; roughly, where clocks are changed."""
        local = self._markets[code].local(self._clock.now())
        if local.date() != day:
            return 86_400
        return local.hour * 3_600 + local.minute * 60 + local.second

    # What staff do

    def publish(
        self,
        incident: Incident,
        *,
        product: str,
        kind: str,
        texts: Mapping[str, str],
        languages: Collection[str],
        actor: str,
    ) -> Message:
        """Publish a message in all of the market's languages. Repeating the last one changes nothing.

        Raise MessageRefused where a text is missing, too long, or tells what is not for the public.
        """
        if incident.market not in self._messages:
            raise MessageRefused("this market is not open: it has no status page")
        if kind not in KINDS:
            raise MessageRefused("there is no such kind of message")
        if product not in {"", *LISTED}:
            raise MessageRefused("there is no such service on the page")
        said = {each: checked(texts.get(each, ""), each, incident) for each in languages}
        with self._writing:
            held = self._messages[incident.market]
            if held and is_same(held[0], incident.id, product, kind, said):
                return held[0]
            made = self._written(
                Message(
                    number=0,
                    incident=incident.id,
                    market=incident.market,
                    product=product,
                    kind=kind,
                    texts=said,
                    published_by=actor,
                    published_at=self._now(),
                )
            )
            with self._lock:
                self._messages[incident.market] = [made, *held][:MESSAGES_MAX]
        self._incidents.tell(
            incident.id, what=f"published on the status page: {first(said)}", actor=actor
        )
        return made

    def _written(self, message: Message) -> Message:
        """Write a new message and its entry in the audit log; return it with its number."""
        with self._database.transaction():
            rows = self._database.query(
                "INSERT INTO status_messages (incident, market, product, kind, texts,"
                " published_by, published_at, withdrawn_by, withdrawn_at) VALUES (:incident,"
                " :market, :product, :kind, :texts, :actor, :now, '', 0) RETURNING number",
                incident=message.incident,
                market=message.market,
                product=message.product,
                kind=message.kind,
                texts=msgspec.json.encode(message.texts).decode(),
                actor=message.published_by,
                now=message.published_at,
            )
            made = msgspec.structs.replace(message, number=int(rows[0]["number"]))
            self._audit.record_inside(
                actor=made.published_by,
                action="status_published",
                market=made.market,
                detail=f"{made.incident}, message {made.number}, {made.kind}: {first(made.texts)}",
            )
        return made

    def withdraw(self, incident: Incident, number: int, *, reason: str, actor: str) -> Message:
        """Mark a message as wrong: it stays to be seen, as corrected. Repeating is harmless.

        `reason` is for the timeline and the audit log, not for the public. Raise MessageRefused.
        """
        why = reason.strip()[:TEXT_MAX]
        if not why:
            raise MessageRefused("say why it is withdrawn: staff read it, the public does not")
        with self._writing:
            held = self._messages.get(incident.market, [])
            found = next((each for each in held if each.number == number), None)
            if found is None or found.incident != incident.id:
                raise MessageRefused(f"there is no message {number} of this incident")
            if found.withdrawn_at:
                return found
            made = msgspec.structs.replace(found, withdrawn_by=actor, withdrawn_at=self._now())
            with self._database.transaction():
                self._database.run(
                    "UPDATE status_messages SET withdrawn_by = :actor, withdrawn_at = :now"
                    " WHERE number = :number",
                    actor=actor,
                    now=made.withdrawn_at,
                    number=number,
                )
                self._audit.record_inside(
                    actor=actor,
                    action="status_withdrawn",
                    market=incident.market,
                    detail=f"{incident.id}, message {number}: {why}",
                )
            with self._lock:
                self._messages[incident.market] = [
                    made if each.number == number else each for each in held
                ]
        self._incidents.tell(
            incident.id, what=f"withdrawn from the status page: {why}", actor=actor
        )
        return made

    # Within

    def _now(self) -> int:
        return to_micros(self._clock.now())

    def _tally(self, code: str, product: str, day: date) -> _Tally:
        found = self._days.get((code, product, day))
        if found is None:
            found = _Tally(dict.fromkeys(State, 0))
            self._days[code, product, day] = found
        return found

    def _sweep(self) -> None:
        """Forget days that are not shown any more, once a day."""
        today = from_micros(self._now()).date()
        if self._swept == today:
            return
        before = today - timedelta(days=KEPT_DAYS)
        self._database.run("DELETE FROM status_days WHERE day < :before", before=before.isoformat())
        with self._lock:
            self._days = {key: tally for key, tally in self._days.items() if key[2] >= before}
        self._swept = today

    def _kept_days(self) -> dict[tuple[str, str, date], _Tally]:
        found = {}
        since = from_micros(self._now()).date() - timedelta(days=KEPT_DAYS)
        for row in self._database.query(
            "SELECT * FROM status_days WHERE day >= :since ORDER BY day", since=since.isoformat()
        ):
            seconds = {state: int(row[column]) for state, column in _COLUMNS.items()}
            tally = _Tally(seconds, seen_at=int(row["seen_at"]))
            key = str(row["market"]), str(row["product"])
            found[(*key, date.fromisoformat(row["day"]))] = tally
            self._seen[key] = max(self._seen.get(key, 0), tally.seen_at)
        return found

    def _kept_messages(self, code: str) -> list[Message]:
        rows = self._database.query(
            "SELECT * FROM status_messages WHERE market = :market"
            " ORDER BY published_at DESC, number DESC LIMIT :limit",
            market=code,
            limit=MESSAGES_MAX,
        )
        return [
            msgspec.convert(dict(row) | {"texts": msgspec.json.decode(row["texts"])}, Message)
            for row in rows
        ]


_BLIND = State.UNKNOWN

_WRITE_DAY = (
    "INSERT INTO status_days (market, product, day, working, planned, unclear, partly, down,"
    " seen_at) VALUES (:market, :product, :day, :working, :planned, :unclear, :partly, :down,"
    " :seen_at) ON CONFLICT (market, product, day) DO UPDATE SET working = excluded.working,"
    " planned = excluded.planned, unclear = excluded.unclear, partly = excluded.partly,"
    " down = excluded.down, seen_at = excluded.seen_at"
)


def _day(day: date, tally: _Tally | None, length_s: int) -> Day:
    """Judge one day: a minute of trouble is its state, and a day half seen is not known."""
    if tally is None:
        return Day(day=day, state=None, minutes=0)
    seconds = tally.seconds
    minutes = (seconds[State.DOWN] + seconds[State.PARTLY]) // 60
    known = sum(seconds.values()) - seconds[State.UNKNOWN]
    if seconds[State.DOWN] >= TROUBLE_S:
        state = State.DOWN
    elif seconds[State.PARTLY] >= TROUBLE_S:
        state = State.PARTLY
    elif known * 100 < RECORDED_PERCENT * length_s:
        state = State.UNKNOWN
    else:
        state = State.PLANNED if seconds[State.PLANNED] >= TROUBLE_S else State.WORKING
    return Day(day=day, state=state, minutes=minutes)
