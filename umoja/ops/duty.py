"""The book of duty: rosters, who stands in, how people are reached, handovers and calendar feeds."""

import hashlib
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from email.utils import parseaddr
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import msgspec
from icalendar import Calendar, Event

from umoja.clock import Clock, to_micros
from umoja.ops.incident import Incident
from umoja.ops.oncall import (
    Chain,
    Layer,
    Override,
    Roster,
    RosterRefused,
    Shift,
    Step,
    checked,
    checked_chain,
    on_call,
    shifts,
)
from umoja.storage.port import Row, Sql

ROSTERS_MAX = 50
OVERRIDES_MAX = 1_000
FEED_BACK = timedelta(days=14)
FEED_AHEAD = timedelta(days=90)
OVERRIDE_MOST = timedelta(days=60)
HANDOVER_MAX = 20_000  # characters


class Contact(msgspec.Struct, frozen=True, kw_only=True):
    """How one of staff is reached. `market` is whose SMS route carries to the phone."""

    name: str
    zone: str = "UTC"
    email: str = ""
    phone: str = ""
    market: str = ""
    webhook: str = ""
    secret: str = ""  # signs what goes to the webhook; never shown
    language: str = "en"  # in which pages are written


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """Planned work as a calendar shows it. Aware times."""

    number: int
    market: str
    what: str
    starts: datetime
    ends: datetime


Works = Callable[[datetime, datetime], Sequence[Work]]
"""Returns the planned work of every market between two moments."""


def _no_works(_since: datetime, _until: datetime) -> Sequence[Work]:
    return ()


class Swap(msgspec.Struct, frozen=True, kw_only=True):
    """An offer to change one stretch of duty for another. Times are microseconds."""

    number: int
    roster: str
    asked_by: str
    asked_of: str
    starts_at: int
    ends_at: int
    back_starts_at: int
    back_ends_at: int
    state: str


class Handover(msgspec.Struct, frozen=True, kw_only=True):
    """What one shift leaves to the next, and when it was taken over (0: not yet)."""

    number: int
    roster: str
    given_by: str
    taken_by: str
    made_at: int
    taken_at: int
    body: str


class Duty:
    """Keeps it all in the centre's database. Calls may come from any thread.

    Every call raises a Fault where the database cannot be used; writing again what stands changes
    nothing, except that an override or a handover made twice is there twice.
    """

    def __init__(self, database: Sql, *, clock: Clock) -> None:
        """Take a migrated database."""
        self._database = database
        self._clock = clock
        self.works: Works = _no_works

    # Rosters and chains

    def rosters(self) -> list[Roster]:
        rows = self._database.query("SELECT body FROM rosters ORDER BY name")
        return [msgspec.json.decode(row["body"], type=Roster) for row in rows]

    def roster(self, name: str) -> Roster | None:
        return next((each for each in self.rosters() if each.name == name), None)

    def put_roster(self, roster: Roster) -> None:
        """Keep a roster, in place of one of the same name. Raise RosterRefused."""
        checked(roster)
        with self._database.transaction():
            names = {row["name"] for row in self._database.query("SELECT name FROM rosters")}
            if roster.name not in names and len(names) >= ROSTERS_MAX:
                raise RosterRefused(f"there are at most {ROSTERS_MAX} rosters")
            self._put("rosters", roster.name, roster)

    def remove_roster(self, name: str) -> None:
        """Remove a roster. Raise RosterRefused while a chain still pages it."""
        for chain in self.chains():
            if any(step.roster == name for step in chain.steps):
                raise RosterRefused(f"chain {chain.name} still pages {name}: change it first")
        self._database.run("DELETE FROM rosters WHERE name = :name", name=name)

    def chains(self) -> list[Chain]:
        rows = self._database.query("SELECT body FROM chains ORDER BY name")
        return [msgspec.json.decode(row["body"], type=Chain) for row in rows]

    def put_chain(self, chain: Chain) -> None:
        """Keep a chain, in place of one of the same name. Raise RosterRefused."""
        checked_chain(chain, [each.name for each in self.rosters()])
        self._put("chains", chain.name, chain)

    def remove_chain(self, name: str) -> None:
        self._database.run("DELETE FROM chains WHERE name = :name", name=name)

    def _put(self, table: str, name: str, body: Roster | Chain) -> None:
        self._database.run(
            f"INSERT INTO {table} (name, body) VALUES (:name, :body)"
            " ON CONFLICT (name) DO UPDATE SET body = excluded.body",
            name=name,
            body=msgspec.json.encode(body).decode(),
        )

    def begin_with(self, person: str) -> None:
        """Put one person on call for everything, where there is no roster yet: nobody is forgotten."""
        if self.rosters() or self.chains():
            return
        layer = Layer(
            name="first",
            zone="UTC",
            people=(person,),
            first_day=self._clock.now().date().isoformat(),
            hands_over_at="00:00",
        )
        self.put_roster(Roster(name="centre", markets=("*",), layers=(layer,)))
        step = Step(roster="centre")
        self.put_chain(Chain(name="everything", markets=("*",), steps=(step,), least_severity=4))

    # Standing in

    def overrides(self, *, since: datetime | None = None) -> list[Override]:
        """Return the overrides that end after `since` (now, where not given), oldest first."""
        rows = self._database.query(
            "SELECT * FROM overrides WHERE removed_at = 0 AND ends_at > :since"
            " ORDER BY number LIMIT :most",
            since=to_micros(since or self._clock.now()),
            most=OVERRIDES_MAX,
        )
        return [_override(row) for row in rows]

    def stand_in(
        self,
        *,
        roster: str,
        person: str,
        starts: datetime,
        ends: datetime,
        made_by: str,
        why: str = "",
        instead_of: str = "",
    ) -> int:
        """Put somebody on call for a while; return the override's number. Raise RosterRefused."""
        self._check_stretch(roster, starts, ends)
        if not person:
            raise RosterRefused("an override names a person")
        with self._database.transaction():
            return self._stand_in(
                roster, person, instead_of, to_micros(starts), to_micros(ends), made_by, why
            )

    def remove_override(self, number: int) -> None:
        """Take an override back; what was before holds again."""
        self._database.run(
            "UPDATE overrides SET removed_at = :now WHERE number = :number AND removed_at = 0",
            now=to_micros(self._clock.now()),
            number=number,
        )

    def _stand_in(
        self, roster: str, person: str, instead_of: str, starts: int, ends: int, by: str, why: str
    ) -> int:
        rows = self._database.query(
            "INSERT INTO overrides (roster, person, instead_of, starts_at, ends_at, made_by, why,"
            " removed_at) VALUES (:roster, :person, :instead_of, :starts, :ends, :by, :why, 0)"
            " RETURNING number",
            roster=roster,
            person=person[:80],
            instead_of=instead_of,
            starts=starts,
            ends=ends,
            by=by,
            why=why[:200],
        )
        return int(rows[0]["number"])

    def _check_stretch(self, roster: str, starts: datetime, ends: datetime) -> None:
        if self.roster(roster) is None:
            raise RosterRefused(f"there is no roster {roster}")
        if ends <= starts:
            raise RosterRefused("it ends before it begins")
        if ends - starts > OVERRIDE_MOST:
            raise RosterRefused(f"that is longer than {OVERRIDE_MOST.days} days: change the roster")
        if ends <= self._clock.now():
            raise RosterRefused("that is over already")

    # Swaps

    def offer_swap(
        self,
        *,
        roster: str,
        asked_by: str,
        asked_of: str,
        given: tuple[datetime, datetime],
        taken: tuple[datetime, datetime],
    ) -> int:
        """Offer one stretch of one's own duty for one of another's. Raise RosterRefused."""
        for starts, ends in (given, taken):
            self._check_stretch(roster, starts, ends)
        if asked_by == asked_of:
            raise RosterRefused("a swap is with somebody else")
        rows = self._returning(
            "INSERT INTO swaps (roster, asked_by, asked_of, starts_at, ends_at, back_starts_at,"
            " back_ends_at, state) VALUES (:roster, :asked_by, :asked_of, :starts, :ends,"
            " :back_starts, :back_ends, 'offered') RETURNING number",
            roster=roster,
            asked_by=asked_by,
            asked_of=asked_of,
            starts=to_micros(given[0]),
            ends=to_micros(given[1]),
            back_starts=to_micros(taken[0]),
            back_ends=to_micros(taken[1]),
        )
        return int(rows[0]["number"])

    def answer_swap(self, number: int, *, by: str, says_yes: bool) -> bool:
        """Answer an offer, as the one who was asked; tell whether there was one to answer.

        With a yes both stretches change hands together, and only where each is the other's.
        """
        with self._database.transaction():
            row = self._database.one(
                "SELECT * FROM swaps WHERE number = :number AND asked_of = :by"
                " AND state = 'offered'",
                number=number,
                by=by,
            )
            if row is None:
                return False
            self._database.run(
                "UPDATE swaps SET state = :state WHERE number = :number",
                state="taken" if says_yes else "refused",
                number=number,
            )
            if says_yes:
                why = f"swap {number}"
                self._stand_in(
                    row["roster"], by, row["asked_by"], row["starts_at"], row["ends_at"], by, why
                )
                self._stand_in(
                    row["roster"],
                    row["asked_by"],
                    by,
                    row["back_starts_at"],
                    row["back_ends_at"],
                    by,
                    why,
                )
        return True

    def withdraw_swap(self, number: int, *, by: str) -> bool:
        """Take back an offer of one's own; tell whether there was one that nobody had answered."""
        return bool(
            self._database.run(
                "UPDATE swaps SET state = 'refused' WHERE number = :number AND asked_by = :by"
                " AND state = 'offered'",
                number=number,
                by=by,
            )
        )

    def swaps(self, *, person: str) -> list[Swap]:
        """Return the open offers that a person made or was made, newest first."""
        rows = self._database.query(
            "SELECT * FROM swaps WHERE state = 'offered' AND :person IN (asked_by, asked_of)"
            " ORDER BY number DESC LIMIT 100",
            person=person,
        )
        return [msgspec.convert(dict(row), Swap) for row in rows]

    # Who

    def on_call_now(self) -> list[tuple[Roster, str, str]]:
        """Return each roster with who is on call and by which layer; '' where nobody is."""
        now = self._clock.now()
        overrides = self.overrides()
        return [
            (roster, *(on_call(roster, overrides, now) or ("", ""))) for roster in self.rosters()
        ]

    def shifts(self, roster: Roster, *, since: datetime, until: datetime) -> list[Shift]:
        return shifts(roster, self.overrides(since=since), since=since, until=until)

    def contact(self, name: str) -> Contact:
        """Return how somebody is reached; one who has said nothing is reached in the console."""
        row = self._database.one("SELECT * FROM contacts WHERE name = :name", name=name)
        return Contact(name=name) if row is None else msgspec.convert(dict(row), Contact)

    def put_contact(self, contact: Contact) -> None:
        """Keep how somebody is reached. Raise RosterRefused where it cannot be one."""
        try:
            ZoneInfo(contact.zone)
        except (KeyError, ValueError, OSError) as cause:
            raise RosterRefused(f"{contact.zone!r} is no time zone") from cause
        address = contact.email
        is_odd = "@" not in parseaddr(address)[1] or any(c in address for c in "\r\n,;")
        if address and (is_odd or len(address) > 200):
            raise RosterRefused(f"{address[:60]!r} is no e-mail address")
        digits = contact.phone.removeprefix("+")
        if contact.phone and not (digits.isascii() and digits.isdigit() and 8 <= len(digits) <= 15):
            raise RosterRefused("a phone is written in full: +254712345678")
        url = urlsplit(contact.webhook)
        if contact.webhook and (url.scheme not in {"http", "https"} or not url.hostname):
            raise RosterRefused("a webhook is an address that begins with https://")
        if not (contact.language.isascii() and contact.language.isalpha()) or not (
            len(contact.language) <= 8
        ):
            raise RosterRefused("there is no such language")
        kept = msgspec.structs.asdict(contact)
        if contact.webhook and not contact.secret:
            kept["secret"] = self.contact(contact.name).secret or secrets.token_urlsafe(32)
        names = list(kept)
        self._database.run(
            f"INSERT INTO contacts ({', '.join(names)})"
            f" VALUES ({', '.join(f':{name}' for name in names)}) ON CONFLICT (name) DO UPDATE SET "
            + ", ".join(f"{name} = excluded.{name}" for name in names[1:]),
            **kept,
        )

    # Handover

    def hand_over(self, *, roster: str, given_by: str, body: str) -> int:
        """Keep what a shift leaves to the next; return its number. Raise RosterRefused."""
        if not body.strip() or len(body) > HANDOVER_MAX:
            raise RosterRefused(f"a handover says something, in at most {HANDOVER_MAX} letters")
        rows = self._returning(
            "INSERT INTO handovers (roster, given_by, taken_by, made_at, taken_at, body)"
            " VALUES (:roster, :given_by, '', :now, 0, :body) RETURNING number",
            roster=roster,
            given_by=given_by,
            now=to_micros(self._clock.now()),
            body=body,
        )
        return int(rows[0]["number"])

    def take_over(self, number: int, *, by: str) -> bool:
        """Take a handover, as somebody else than who gave it; tell whether it was there to take."""
        changed = self._database.run(
            "UPDATE handovers SET taken_by = :by, taken_at = :now"
            " WHERE number = :number AND taken_at = 0 AND given_by <> :by",
            by=by,
            now=to_micros(self._clock.now()),
            number=number,
        )
        return changed == 1

    def handovers(self, *, limit: int = 20) -> list[Handover]:
        """Return the newest handovers first."""
        rows = self._database.query(
            "SELECT * FROM handovers ORDER BY number DESC LIMIT :limit", limit=min(limit, 200)
        )
        return [msgspec.convert(dict(row), Handover) for row in rows]

    # Calendars

    def make_calendar(self, *, roster: str = "", person: str = "") -> str:
        """Return the secret of a new feed, told once: of a roster, or of one person's shifts."""
        if bool(roster) == bool(person):
            raise RosterRefused("a feed is of a roster or of a person: one of the two")
        if roster and self.roster(roster) is None:
            raise RosterRefused(f"there is no roster {roster}")
        secret = secrets.token_urlsafe(24)
        self._database.run(
            "INSERT INTO calendars (digest, roster, person, made_at, revoked_at)"
            " VALUES (:digest, :roster, :person, :now, 0)",
            digest=_digest(secret),
            roster=roster,
            person=person,
            now=to_micros(self._clock.now()),
        )
        return secret

    def revoke_calendars(self, *, roster: str = "", person: str = "") -> int:
        """End all feeds of a roster or of a person; return how many."""
        return self._database.run(
            "UPDATE calendars SET revoked_at = :now"
            " WHERE revoked_at = 0 AND roster = :roster AND person = :person",
            now=to_micros(self._clock.now()),
            roster=roster,
            person=person,
        )

    def feed(self, secret: str) -> bytes | None:
        """Return the calendar (RFC 5545) behind a secret, two weeks back to 90 days ahead, or None.

        Planned work in the markets of its rosters stands in it too.
        """
        row = self._database.one(
            "SELECT roster, person FROM calendars WHERE digest = :digest AND revoked_at = 0",
            digest=_digest(secret[:200]),
        )
        if row is None:
            return None
        now = self._clock.now()
        since, until = now - FEED_BACK, now + FEED_AHEAD
        overrides = self.overrides(since=since)
        rosters = [each for each in self.rosters() if row["roster"] in {"", each.name}]
        found = [
            shift
            for roster in rosters
            for shift in shifts(roster, overrides, since=since, until=until)
            if row["person"] in {"", shift.person}
        ]
        if row["person"]:  # only of the rosters in which she has a shift
            mine = {shift.roster for shift in found}
            rosters = [each for each in rosters if each.name in mine]
        markets = {market for roster in rosters for market in roster.markets}
        works = [
            each
            for each in self.works(since, until)
            if not markets.isdisjoint({each.market, "*"}) or (each.market == "*" and markets)
        ]
        name = row["roster"] or f"{row['person']} on call"
        return calendar(found, name=name, now=now, works=works)

    def _returning(self, sql: str, **values: str | int | bytes) -> list[Row]:
        with self._database.transaction():
            return self._database.query(sql, **values)


def calendar(
    found: Sequence[Shift], *, name: str, now: datetime, works: Sequence[Work] = ()
) -> bytes:
    """Write shifts as a calendar, and planned work beside them, which makes nobody busy.

    The same shift and the same work have the same id in every feed and at every time.
    """
    made = Calendar()
    made.add("prodid", "-//Umoja//on-call//EN")
    made.add("version", "2.0")
    made.add("x-wr-calname", name)
    for shift in found:
        event = Event()
        event.add("uid", f"{shift.roster}-{to_micros(shift.starts)}-{shift.person}@umoja")
        event.add("dtstamp", now)
        event.add("dtstart", shift.starts)
        event.add("dtend", shift.ends)
        event.add("summary", f"{shift.person}: {shift.roster}")
        event.add("description", f"on call by {shift.layer}")
        made.add_component(event)
    for work in works:
        event = Event()
        event.add("uid", f"work-{work.number}-{to_micros(work.starts)}@umoja")
        event.add("dtstamp", now)
        event.add("dtstart", work.starts)
        event.add("dtend", work.ends)
        event.add("transp", "TRANSPARENT")
        event.add("summary", f"planned work {work.number}, {work.market}: {work.what}")
        made.add_component(event)
    return bytes(made.to_ical())


def drafted(
    incidents: Sequence[Incident], *, by: str, now: datetime, notes: Sequence[str] = ()
) -> str:
    """Write the handover of a shift: what is open, what hangs, who does what. For people to amend."""
    lines = [f"Handover by {by}, {now:%Y-%m-%d %H:%M} UTC", ""]
    if not incidents:
        lines.append("No incident is open.")
    for each in incidents:
        lines.append(
            f"{each.id} S{each.severity} {each.market} {each.title}: {each.stage.value},"
            f" {each.payments:,} payments, {each.customers:,} customers"
        )
        cause = each.sheet.cause
        if cause is not None:
            lines.append(f"  cause: {cause.kind} {cause.name}")
        lines.extend(f"  {role.replace('_', ' ')}: {who}" for role, who in each.sheet.roles.items())
        lines.extend(
            f"  task {task.number} for {task.owner}: {task.what}"
            for task in each.sheet.tasks
            if not task.done_at
        )
        if each.sheet.hanging:
            alone = len(each.orphans)
            lines.append(
                f"  {len(each.sheet.hanging)} payments of unknown outcome, {alone} without owner"
            )
    lines.extend(["", *notes] if notes else [])
    return "\n".join(lines)


def _override(row: Row) -> Override:
    return Override(
        number=row["number"],
        roster=row["roster"],
        person=row["person"],
        starts_at=row["starts_at"],
        ends_at=row["ends_at"],
        made_by=row["made_by"],
        why=row["why"],
        instead_of=row["instead_of"],
    )


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
