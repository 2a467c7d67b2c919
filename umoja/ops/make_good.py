"""Make-good: batches of wrongs, drafted by one person, released by another, put right line by line.

The centre knows orders' ids, amounts and counts. What a wrong is, and how it is put right, is known
in its market, which is asked: see signals.Question. Each line has a key of its own for ever, and its
outcome is written before the next one is asked for: whatever is killed, nothing is done twice.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta

import msgspec
import structlog

from umoja.clock import Clock, from_micros, to_micros
from umoja.faults import Fault, OutcomeUnknown, Unavailable
from umoja.markets.market import Market
from umoja.money import Money
from umoja.ops.audit import AuditLog
from umoja.ops.incident import Incident
from umoja.ops.incidents import Incidents
from umoja.ops.staff import Staff
from umoja.signals import Amend, Amended, Answer, FindWrongs, Question, Wrong, Wrongs
from umoja.storage.port import DatabaseDamaged, NotUnique, Row, Sql

LINES_MAX = 500
"""Lines of one batch: as many as a person can look through before she lets money go."""

BATCHES_MAX = 100  # of one incident
NOTE_MAX = 500
AT_ONCE = 100  # lines taken up in one round
BEFORE = timedelta(minutes=5)
"""A trouble began a little before anybody saw it."""

AFTER = timedelta(minutes=10)
"""Who was not told what became of a payment tries again for a while after the trouble."""

ROUND_S = 1.0
TROUBLE_S = 5.0
AGAIN_S: Mapping[str, int] = {"released": 15, "unknown": 5, "waiting": 60}
"""After how many seconds a line is asked for again, by what is known of it."""

SYSTEM = "system"
_SECOND = 1_000_000
_MICROSECOND = timedelta(microseconds=1)
_OPEN = "('released', 'unknown', 'waiting')"

log = structlog.get_logger()

Asker = Callable[[str, Question], Awaitable[Answer]]
"""Asks a market. Raises Unavailable, or OutcomeUnknown: then the same question is asked again."""


class MakeGoodRefused(ValueError):
    """A batch cannot be drafted, released or withdrawn. It says why, in a sentence for people."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One wrong of a batch. `state`: drafted, released, unknown, waiting, done, declined, withdrawn."""

    batch: int
    line: int
    market: str
    order_id: str
    kind: str
    act: str
    product: str
    amount_minor: int
    currency: str
    wronged_at: int
    who: str
    is_sure: bool
    why: str
    state: str
    reason: str
    tries: int
    next_at: int
    ended_at: int


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Wrongs that are put right together. `totals` of all lines and `done`: minor units by currency."""

    number: int
    incident: str
    market: str
    state: str
    note: str
    drafted_by: str
    drafted_at: int
    released_by: str
    released_at: int
    ended_by: str
    ended_at: int
    totals: dict[str, int] = {}
    done: dict[str, int] = {}
    counts: dict[str, int] = {}  # lines by state

    @property
    def lines(self) -> int:
        return sum(self.counts.values())


async def nobody(market: str, question: Question) -> Answer:
    """Stand for markets that nobody has joined to this centre."""
    del question
    raise Unavailable(f"{market} is not joined to this centre")


def key_of(incident: str, batch: int, line: int) -> str:
    """Return the key under which a line is carried out, however often it is asked for."""
    return f"{incident}.{batch}.{line}"


def window_of(incident: Incident, now: int) -> tuple[int, int]:
    """Return from when to when an incident did harm, in microseconds, with a margin on both sides."""
    end = now if incident.resolved_at is None else to_micros(incident.resolved_at)
    since = to_micros(incident.began_at) - BEFORE // _MICROSECOND
    return since, min(end + AFTER // _MICROSECOND, now)


class MakeGood:
    """Keeps batches and carries them out. Calls may come from any thread, but for those awaited.

    What reads or writes raises a Fault where that cannot be done; deciding raises MakeGoodRefused.
    """

    def __init__(
        self,
        database: Sql,
        *,
        clock: Clock,
        incidents: Incidents,
        staff: Staff,
        audit: AuditLog,
        markets: Sequence[Market],
        ask: Asker = nobody,
    ) -> None:
        """Take a migrated database; what was released and not ended goes on with `run`."""
        self._database = database
        self._clock = clock
        self._incidents = incidents
        self._staff = staff
        self._audit = audit
        self._markets = {market.code: market for market in markets}
        self._ask = ask

    # Reading

    def batch(self, number: int) -> Batch | None:
        row = self._database.one("SELECT * FROM batches WHERE number = :number", number=number)
        return None if row is None else self._batch(row)

    def of_incident(self, incident: str) -> list[Batch]:
        """Return an incident's batches, newest first."""
        rows = self._database.query(
            "SELECT * FROM batches WHERE incident = :incident ORDER BY number DESC LIMIT :most",
            incident=incident,
            most=BATCHES_MAX,
        )
        return [self._batch(row) for row in rows]

    def lines(self, number: int) -> list[Line]:
        """Return a batch's lines, in their order."""
        rows = self._database.query(
            "SELECT * FROM batch_lines WHERE batch = :batch ORDER BY line LIMIT :most",
            batch=number,
            most=LINES_MAX,
        )
        return [_line(row) for row in rows]

    def written(self, market: str, totals: Mapping[str, int]) -> str:
        """Write sums as people read them, or 'nothing'."""
        known = self._markets.get(market)
        said = [
            known.written(Money(minor, currency))
            if known is not None and known.currency(currency) is not None
            else f"{minor} {currency}"
            for currency, minor in sorted(totals.items())
        ]
        return ", ".join(said) or "nothing"

    async def find(self, incident: Incident, *, after: int = 0) -> Wrongs:
        """Ask the market whom the incident wronged; leave out what is in a batch already.

        `after` goes on where an answer ended. Raise a Fault where the market cannot be asked.
        """
        since, until = window_of(incident, to_micros(self._clock.now()))
        asked = FindWrongs(
            since=since,
            until=until,
            products=(incident.product,) if incident.product else (),
            after=after,
        )
        found = await self._ask(incident.market, asked)
        assert isinstance(found, Wrongs), "a market answers what it was asked"
        taken = await asyncio.to_thread(self._taken, incident.market, found.lines)
        free = [each for each in found.lines if (each.order, each.kind) not in taken]
        return msgspec.structs.replace(found, lines=free)

    def _taken(self, market: str, wrongs: Sequence[Wrong]) -> set[tuple[str, str]]:
        """Return those wrongs, by order and kind, that are in a batch which is not over for them."""
        taken = set()
        for at in range(0, len(wrongs), AT_ONCE):
            part = {each.order for each in wrongs[at : at + AT_ONCE]}
            names = ", ".join(f":o{number}" for number in range(len(part)))
            rows = self._database.query(
                "SELECT order_id, kind FROM batch_lines WHERE market = :market"
                " AND state <> 'declined' AND state <> 'withdrawn'"
                f" AND order_id IN ({names})",
                market=market,
                **{f"o{number}": each for number, each in enumerate(sorted(part))},
            )
            taken |= {(row["order_id"], row["kind"]) for row in rows}
        return taken

    # Deciding

    def draft(
        self, incident: Incident, wrongs: Sequence[Wrong], *, actor: str, note: str = ""
    ) -> Batch:
        """Write a batch down: nothing moves. Raise MakeGoodRefused."""
        if not wrongs:
            raise MakeGoodRefused("tick at least one line")
        if len(wrongs) > LINES_MAX:
            raise MakeGoodRefused(f"a batch has at most {LINES_MAX} lines")
        if len({(each.order, each.kind) for each in wrongs}) < len(wrongs):
            raise MakeGoodRefused("a line comes twice")
        if any(each.amount_minor <= 0 for each in wrongs):
            raise MakeGoodRefused("a line is about no money")
        now = to_micros(self._clock.now())
        try:
            with self._database.transaction():
                self._require(actor, "draft_money", incident.market)
                self._require_rested(actor)
                if len(self.of_incident(incident.id)) >= BATCHES_MAX:
                    raise MakeGoodRefused(f"an incident has at most {BATCHES_MAX} batches")
                rows = self._database.query(
                    "INSERT INTO batches (incident, market, state, note, drafted_by, drafted_at,"
                    " released_by, released_at, ended_by, ended_at) VALUES (:incident, :market,"
                    " 'drafted', :note, :actor, :now, '', 0, '', 0) RETURNING *",
                    incident=incident.id,
                    market=incident.market,
                    note=note.strip()[:NOTE_MAX],
                    actor=actor,
                    now=now,
                )
                number = int(rows[0]["number"])
                self._database.run_many(
                    "INSERT INTO batch_lines (batch, line, market, order_id, kind, act, product,"
                    " amount_minor, currency, wronged_at, who, is_sure, why, state, reason, tries,"
                    " next_at, ended_at) VALUES (:batch, :line, :market, :order, :kind, :act,"
                    " :product, :amount_minor, :currency, :at, :who, :is_sure, :why, 'drafted', '',"
                    " 0, 0, 0)",
                    [
                        {
                            **msgspec.structs.asdict(each),
                            "act": self._act_of(incident.market, each),
                            "is_sure": int(each.is_sure),
                            "batch": number,
                            "line": place,
                            "market": incident.market,
                        }
                        for place, each in enumerate(wrongs, 1)
                    ],
                )
                made = self._batch(rows[0])
                told = self._told(made)
                self._audit.record_inside(
                    actor=actor,
                    action="make_good_drafted",
                    market=incident.market,
                    detail=f"{incident.id} batch {number}: {told}",
                )
        except NotUnique as cause:
            raise MakeGoodRefused(
                "one of these lines is in another batch already: look again"
            ) from cause
        self._incidents.tell(
            incident.id, what=f"make-good batch {number} drafted: {told}", actor=actor
        )
        return made

    def release(self, number: int, *, actor: str, session: str = "") -> Batch:
        """Let a batch go. It takes a second person: never whoever drafted it, nor who was let in lately.

        What that person may do is read in the transaction that lets it go, and whether her session
        brought a fresh code of her second factor. A repeat by the same person changes nothing. Raise
        MakeGoodRefused, and CodeNeeded.
        """
        with self._database.transaction():
            batch = self._known(number)
            self._require(actor, "release_money", batch.market)
            self._require_rested(actor)
            if actor == batch.drafted_by:
                raise MakeGoodRefused("a second person releases it, not whoever drafted it")
            if batch.state != "drafted":
                if batch.released_by == actor:
                    return batch
                raise MakeGoodRefused(f"the batch is {batch.state} already")
            self._staff.require_code(actor, session)
            changed = self._database.run(
                "UPDATE batches SET state = 'released', released_by = :actor, released_at = :now"
                " WHERE number = :number AND state = 'drafted'",
                actor=actor,
                now=to_micros(self._clock.now()),
                number=number,
            )
            if changed != 1:
                raise MakeGoodRefused("somebody else was faster: look again")
            self._database.run(
                "UPDATE batch_lines SET state = 'released'"
                " WHERE batch = :number AND state = 'drafted'",
                number=number,
            )
            released = self._known(number)
            told = self._told(released)
            self._audit.record_inside(
                actor=actor,
                action="make_good_released",
                market=batch.market,
                detail=f"{batch.incident} batch {number}, drafted by {batch.drafted_by}: {told}",
            )
        self._incidents.tell(
            batch.incident, what=f"make-good batch {number} released: {told}", actor=actor
        )
        return released

    def withdraw(self, number: int, *, actor: str) -> Batch:
        """Give a draft up: its lines may be drafted anew. A repeat changes nothing."""
        with self._database.transaction():
            batch = self._known(number)
            self._require(actor, "draft_money", batch.market)
            if batch.state == "withdrawn":
                return batch
            changed = self._database.run(
                "UPDATE batches SET state = 'withdrawn', ended_by = :actor, ended_at = :now"
                " WHERE number = :number AND state = 'drafted'",
                actor=actor,
                now=to_micros(self._clock.now()),
                number=number,
            )
            if changed != 1:
                raise MakeGoodRefused(f"the batch is {batch.state}: only a draft is withdrawn")
            self._database.run(
                "UPDATE batch_lines SET state = 'withdrawn' WHERE batch = :number", number=number
            )
            self._audit.record_inside(
                actor=actor,
                action="make_good_withdrawn",
                market=batch.market,
                detail=f"{batch.incident} batch {number}",
            )
            withdrawn = self._known(number)
        self._incidents.tell(
            batch.incident, what=f"make-good batch {number} withdrawn", actor=actor
        )
        return withdrawn

    def _require(self, actor: str, right: str, market: str) -> None:
        """Ask the staff's own table, now: what a session knew may be over."""
        if not self._staff.may(self._staff.named(actor), right, market):
            raise MakeGoodRefused(f"{actor} may not do this in {market}")

    def _require_rested(self, actor: str) -> None:
        """Raise MakeGoodRefused for who was let in lately: she may be the other person's own hand."""
        until = self._staff.rests_until(actor)
        if until:
            raise MakeGoodRefused(
                f"{actor} was let in by another lately: no hand in money before"
                f" {from_micros(until):%Y-%m-%d %H:%M} UTC"
            )

    def _act_of(self, market: str, wrong: Wrong) -> str:
        """Return what is to be done: what could not be given back by its receiver, we pay."""
        row = self._database.one(
            "SELECT 1 FROM batch_lines WHERE market = :market AND order_id = :order"
            " AND kind = :kind AND act = 'reverse' AND state = 'declined' LIMIT 1",
            market=market,
            order=wrong.order,
            kind=wrong.kind,
        )
        return wrong.act if row is None or wrong.act != "reverse" else "compensate"

    def _known(self, number: int) -> Batch:
        batch = self.batch(number)
        if batch is None:
            raise MakeGoodRefused(f"there is no batch {number}")
        return batch

    # Doing

    async def run(self) -> None:
        """Carry out what was released, until cancelled."""
        while True:
            try:
                done = await self.work()
            except (Fault, DatabaseDamaged) as cause:
                log.warning("ops.make_good.waits", cause=str(cause))
                await self._clock.sleep(TROUBLE_S)
                continue
            if not done:
                await self._clock.sleep(ROUND_S)

    async def work(self) -> int:
        """Carry out the lines that are due now, each market's one after the other; return how many."""
        due = await asyncio.to_thread(self._due)
        by_market: dict[str, list[tuple[str, Line]]] = defaultdict(list)
        for incident, line in due:
            by_market[line.market].append((incident, line))
        counts = await asyncio.gather(*(self._carry(lines) for lines in by_market.values()))
        return sum(counts)

    def _due(self) -> list[tuple[str, Line]]:
        rows = self._database.query(
            "SELECT batch_lines.*, batches.incident FROM batch_lines"
            " JOIN batches ON batches.number = batch_lines.batch"
            f" WHERE batch_lines.state IN {_OPEN} AND next_at <= :now"
            " ORDER BY next_at, batch, line LIMIT :most",
            now=to_micros(self._clock.now()),
            most=AT_ONCE,
        )
        return [(str(row["incident"]), _line(row)) for row in rows]

    async def _carry(self, lines: Sequence[tuple[str, Line]]) -> int:
        """Ask for one market's lines; where it cannot be asked now, the rest waits with the first."""
        for place, (incident, line) in enumerate(lines):
            asked = Amend(
                key=key_of(incident, line.batch, line.line),
                order=line.order_id,
                kind=line.kind,
                act=line.act,
                amount_minor=line.amount_minor,
                currency=line.currency,
            )
            try:
                told = await self._ask(line.market, asked)
            except OutcomeUnknown as cause:
                await asyncio.to_thread(self._note, line, "unknown", str(cause))
                continue
            except Unavailable as cause:
                # What is not known of a line stays unknown: only an answer ends that.
                await asyncio.to_thread(self._note, line, line.state, str(cause))
                return place
            assert isinstance(told, Amended), "a market answers what it was asked"
            await asyncio.to_thread(self._note, line, told.state, told.reason)
        return len(lines)

    def _note(self, line: Line, state: str, reason: str) -> None:
        """Write down what is known of a line now; with its last one a batch is done."""
        assert state in {"done", "declined", *AGAIN_S}, f"a line is not {state}"
        now = to_micros(self._clock.now())
        is_over = state in {"done", "declined"}
        ended: Batch | None = None
        with self._database.transaction():
            self._database.run(
                "UPDATE batch_lines SET state = :state, reason = :reason, tries = tries + 1,"
                " next_at = :next_at, ended_at = :ended_at"
                f" WHERE batch = :batch AND line = :line AND state IN {_OPEN}",
                state=state,
                reason=reason[:NOTE_MAX],
                next_at=0 if is_over else now + AGAIN_S[state] * _SECOND,
                ended_at=now if is_over else 0,
                batch=line.batch,
                line=line.line,
            )
            if is_over and self._end(line.batch, now):
                ended = self._known(line.batch)
                self._audit.record_inside(
                    actor=SYSTEM,
                    action="make_good_done",
                    market=ended.market,
                    detail=f"{ended.incident} batch {ended.number}: {self._outcome(ended)}",
                )
        if ended is not None:
            self._incidents.tell(
                ended.incident,
                what=f"make-good batch {ended.number} done: {self._outcome(ended)}",
            )

    def _end(self, number: int, now: int) -> bool:
        """End a batch none of whose lines is open; tell whether this call ended it."""
        row = self._database.one(
            f"SELECT 1 FROM batch_lines WHERE batch = :batch AND state IN {_OPEN} LIMIT 1",
            batch=number,
        )
        if row is not None:
            return False
        return bool(
            self._database.run(
                "UPDATE batches SET state = 'done', ended_by = :system, ended_at = :now"
                " WHERE number = :number AND state = 'released'",
                system=SYSTEM,
                now=now,
                number=number,
            )
        )

    # Telling

    def _batch(self, row: Row) -> Batch:
        sums = self._database.query(
            "SELECT state, currency, count(*) AS lines, sum(amount_minor) AS minor"
            " FROM batch_lines WHERE batch = :batch GROUP BY state, currency",
            batch=row["number"],
        )
        totals: dict[str, int] = defaultdict(int)
        done: dict[str, int] = defaultdict(int)
        counts: dict[str, int] = defaultdict(int)
        for each in sums:
            totals[each["currency"]] += int(each["minor"])
            counts[each["state"]] += int(each["lines"])
            if each["state"] == "done":
                done[each["currency"]] += int(each["minor"])
        values = {name: row[name] for name in _OF_BATCH}
        return Batch(**values, totals=dict(totals), done=dict(done), counts=dict(counts))

    def _told(self, batch: Batch) -> str:
        lines = "1 line" if batch.lines == 1 else f"{batch.lines} lines"
        return f"{lines}, {self.written(batch.market, batch.totals)}"

    def _outcome(self, batch: Batch) -> str:
        declined = batch.counts.get("declined", 0)
        said = f"{batch.counts.get('done', 0)} of {batch.lines} put right"
        said += f", {self.written(batch.market, batch.done)}"
        return said + (f"; {declined} declined" if declined else "")


_OF_BATCH = tuple(
    name for name in Batch.__struct_fields__ if name not in {"totals", "done", "counts"}
)


def _line(row: Row) -> Line:
    values = {name: row[name] for name in Line.__struct_fields__}
    return Line(**{**values, "is_sure": bool(values["is_sure"])})
