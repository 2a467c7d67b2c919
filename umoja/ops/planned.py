"""Planned work: what is worked on, by whom, from when to when; once, or each week in local time.

While it is on, the watch pages for nothing that it explains. No work lasts longer than a day, so that
nobody is muted for ever. It is kept in memory and in the centre's database: a change is written, with
its entry in the audit log, before it is acknowledged.
"""

import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time, timedelta
from enum import Enum
from zoneinfo import ZoneInfo

import msgspec
import structlog

from umoja.clock import Clock, from_micros, to_micros
from umoja.markets.market import Market
from umoja.ops.audit import AuditLog
from umoja.ops.silences import Window
from umoja.storage.port import NUMBER_MAX, Row, Sql

EVERYWHERE = "*"
LONGEST = timedelta(hours=24)
LONGEST_AGAIN = timedelta(hours=12)
"""Of work that is done each week: a whole day on every day would mute for ever."""

SERIES_LONGEST = timedelta(days=366)
AHEAD_MOST = timedelta(days=366)
LIVE_MAX = 500
TOUCHES_MAX = 12
NAME_MAX = 40  # of what is touched, as the board has it
WHAT_MAX = 200
WHO_MAX = 80
KEPT_FOR = timedelta(days=14)
"""How long work that is over is still shown; the table keeps it."""

CHANGED_FOR = timedelta(hours=2)
"""So long after its end, work may still be why something fails."""

_MICROSECOND = timedelta(microseconds=1)
_DAY = timedelta(days=1)

log = structlog.get_logger()


class WorkRefused(ValueError):
    """Work cannot be planned or changed so. It says why, in a sentence for people."""


class WorkUnknown(LookupError):
    """There is no planned work of this number."""


class Standing(Enum):
    """Whether work is on now. What is done each week is coming between its times."""

    ON = "on"
    COMING = "coming"
    PAST = "past"


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """One time that work is done. Microseconds since 1970 UTC."""

    starts_at: int
    ends_at: int

    def holds(self, now: int) -> bool:
        return self.starts_at <= now < self.ends_at


class PlannedWork(msgspec.Struct, frozen=True, kw_only=True):
    """One planned work. Times are microseconds; `called_off_at` 0: it was not.

    `touches` are names of products, channels, partners or routes; none: the whole market. With a
    `window` it is done again each week between `starts_at` and `ends_at`; `moved` is the one time
    whose end was moved.
    """

    number: int
    market: str
    touches: tuple[str, ...]
    what: str
    done_by: str
    undone_by: str  # who may roll it back
    starts_at: int
    ends_at: int
    made_by: str
    made_at: int
    window: Window | None = None
    moved: Stretch | None = None
    called_off_by: str = ""
    called_off_at: int = 0

    def stretch(self, now: int) -> Stretch | None:
        """Return when it is done: now, or else next; None where that is over."""
        return next((each for each in self.stretches(now) if each.ends_at > now), None)

    def standing(self, now: int) -> Standing:
        """Return how it stands at a moment."""
        found = self.stretch(now)
        if found is None:
            return Standing.PAST
        return Standing.ON if found.holds(now) else Standing.COMING

    def stretches(self, since: int, *, days: int = 9) -> Iterator[Stretch]:
        """Yield the times that it is done, from the day before `since` on, for so many days."""
        until = self.called_off_at or NUMBER_MAX
        for found in self._planned_stretches(since, days):
            if found.starts_at < min(found.ends_at, until):
                yield Stretch(starts_at=found.starts_at, ends_at=min(found.ends_at, until))

    def _planned_stretches(self, since: int, days: int) -> Iterator[Stretch]:
        if self.window is None:
            yield Stretch(starts_at=self.starts_at, ends_at=self.ends_at)
            return
        zone = ZoneInfo(self.window.zone)
        first = from_micros(max(since, self.starts_at)).astimezone(zone).date() - _DAY
        for ahead in range(days + 1):
            day = first + ahead * _DAY
            if day.weekday() not in self.window.days:
                continue
            starts = datetime.combine(day, _clock_time(self.window.since), tzinfo=zone)
            is_next_day = self.window.until <= self.window.since
            last = day + _DAY if is_next_day else day
            ends = datetime.combine(last, _clock_time(self.window.until), tzinfo=zone)
            found = Stretch(
                starts_at=max(to_micros(starts.astimezone(UTC)), self.starts_at),
                ends_at=min(to_micros(ends.astimezone(UTC)), self.ends_at),
            )
            if self.moved is not None and self.moved.starts_at == found.starts_at:
                found = self.moved
            yield found

    def is_of(self, market: str) -> bool:
        return self.market in {market, EVERYWHERE}


class Busy(msgspec.Struct, frozen=True, kw_only=True):
    """Why a stretch is a bad time in a market. `hours` are local, or empty: the whole day."""

    market: str
    kind: str  # peak, payday, season
    hours: str = ""


def busy_in(market: Market, stretch: Stretch) -> list[Busy]:
    """Return why a stretch is a bad time: the market's peaks, paydays and seasons. Nobody is refused."""
    starts = market.local(from_micros(stretch.starts_at))
    ends = market.local(from_micros(stretch.ends_at - 1))
    days = [starts.date() + ahead * _DAY for ahead in range((ends.date() - starts.date()).days + 1)]
    found = []
    for since, until, permille in market.peaks:
        is_in = any(
            datetime.combine(day, since, tzinfo=starts.tzinfo) < ends
            and starts < datetime.combine(day, until, tzinfo=starts.tzinfo)
            for day in days
        )
        if is_in and permille > 1000:
            hours = f"{since:%H:%M}–{until:%H:%M}"
            found.append(Busy(market=market.code, kind="peak", hours=hours))
    if any(market.payday_near(day) for day in days):
        found.append(Busy(market=market.code, kind="payday"))
    if any(market.season_permille(day) > 1000 for day in days):
        found.append(Busy(market=market.code, kind="season"))
    return found


class PlannedWorks:
    """Keeps planned work. Calls may come from any thread; those that write raise a Fault."""

    def __init__(
        self, database: Sql, *, clock: Clock, audit: AuditLog, markets: Sequence[Market]
    ) -> None:
        """Take a migrated database; work that is planned there holds at once."""
        self._database = database
        self._clock = clock
        self._audit = audit
        self._markets = {market.code: market for market in markets}
        self._writing = threading.Lock()
        rows = database.query(
            "SELECT * FROM planned_works WHERE ends_at > :since ORDER BY number",
            since=self._now() - KEPT_FOR // _MICROSECOND,
        )
        self._kept: dict[int, PlannedWork] = {int(row["number"]): _work(row) for row in rows}

    # Reading: no file is asked

    def browse(self) -> list[PlannedWork]:
        """Return what is on now, then what is coming, then what is over, the latest of those first."""
        now = self._now()
        order = list(Standing)
        since = now - KEPT_FOR // _MICROSECOND

        def place(work: PlannedWork) -> tuple[int, int, int]:
            standing, found = work.standing(now), work.stretch(now)
            at = -_over_at(work) if found is None else found.starts_at
            return order.index(standing), at, work.number

        kept = [each for each in self._kept.values() if _over_at(each) > since]
        return sorted(kept, key=place)

    def get(self, number: int) -> PlannedWork:
        """Return one. Raise WorkUnknown."""
        found = self._kept.get(number) if 0 < number <= NUMBER_MAX else None
        if found is None:
            raise WorkUnknown(f"there is no planned work {number}")
        return found

    def on_now(self, market: str) -> list[PlannedWork]:
        """Return what is done in a market now."""
        now = self._now()
        return [
            each
            for each in list(self._kept.values())
            if each.is_of(market) and each.standing(now) is Standing.ON
        ]

    def between(self, market: str, since: int, until: int) -> list[tuple[PlannedWork, Stretch]]:
        """Return each time that something is done in a market in [since, until), the first one first."""
        return self._between(market, since, until)

    def _between(
        self, market: str | None, since: int, until: int
    ) -> list[tuple[PlannedWork, Stretch]]:
        days = (until - since) // (_DAY // _MICROSECOND) + 2
        found = [
            (each, stretch)
            for each in list(self._kept.values())
            if market is None or each.is_of(market)
            for stretch in each.stretches(since, days=days)
            if stretch.starts_at < until and stretch.ends_at > since
        ]
        return sorted(found, key=lambda pair: (pair[1].starts_at, pair[0].number))

    def names(self, market: str, at_s: int) -> frozenset[str]:
        """Return what is worked on in a market at a second: names, or the market's code for all of it."""
        at = at_s * 1_000_000 + 999_999  # what begins within a second holds in it
        return frozenset(
            name
            for each in list(self._kept.values())
            if each.is_of(market) and each.standing(at) is Standing.ON
            for name in each.touches or (market,)
        )

    def every(self, since: int, until: int) -> list[tuple[PlannedWork, Stretch]]:
        """Return each time that something is done anywhere in [since, until), once each."""
        return self._between(None, since, until)

    def until(self, market: str) -> datetime | None:
        """Return when the last of what is done in a market now ends, or None."""
        now = self._now()
        ends = [
            stretch.ends_at
            for each in self.on_now(market)
            if (stretch := each.stretch(now)) is not None
        ]
        return from_micros(max(ends)) if ends else None

    def changed(self, market: str) -> list[str]:
        """Return what is done in a market, or was a moment ago: for what may be behind an incident."""
        now = self._now()
        return [
            f"planned work {each.number}: {each.what}, until {self._at(market, stretch.ends_at)}"
            for each, stretch in self.between(market, now - CHANGED_FOR // _MICROSECOND, now + 1)
        ]

    # What staff do

    def plan(
        self,
        *,
        market: str,
        touches: Sequence[str],
        what: str,
        done_by: str,
        undone_by: str,
        starts: datetime,
        ends: datetime,
        actor: str,
        window: Window | None = None,
    ) -> PlannedWork:
        """Plan work; return it. What began earlier begins now. Raise WorkRefused."""
        now = self._now()
        made = PlannedWork(
            number=0,
            market=market,
            touches=_touches(touches),
            what=_said(what, "say what is done", WHAT_MAX),
            done_by=_said(done_by, "say who does it", WHO_MAX),
            undone_by=_said(undone_by, "say who may roll it back", WHO_MAX),
            starts_at=max(to_micros(starts), now),
            ends_at=to_micros(ends),
            made_by=actor,
            made_at=now,
            window=window,
        )
        if market != EVERYWHERE and market not in self._markets:
            raise WorkRefused("there is no such market")
        if made.ends_at <= now:
            raise WorkRefused("that is over already")
        if made.ends_at <= made.starts_at:
            raise WorkRefused("it ends before it begins")
        if made.starts_at - now > AHEAD_MOST // _MICROSECOND:
            raise WorkRefused("that is more than a year ahead")
        if window is None:
            _require_short(made.starts_at, made.ends_at)
        else:
            _require_weekly(made, window)
        self.forget()
        with self._writing:
            live = sum(
                each.standing(now) is not Standing.PAST for each in list(self._kept.values())
            )
            if live >= LIVE_MAX:
                raise WorkRefused(f"there are {LIVE_MAX} planned works already: call some off")
            with self._database.transaction():
                rows = self._database.query(
                    "INSERT INTO planned_works (market, ends_at, body)"
                    " VALUES (:market, :ends_at, :body) RETURNING number",
                    market=made.market,
                    ends_at=made.ends_at,
                    body=_body(made),
                )
                made = msgspec.structs.replace(made, number=int(rows[0]["number"]))
                self._record(made, "work_planned", actor)
            self._kept[made.number] = made
        log.info("ops.planned.made", work=made.number, market=market)
        return made

    def end_now(self, number: int, *, actor: str) -> PlannedWork:
        """End what is done now, earlier than planned; other weeks stay. Repeating changes nothing.

        Raise WorkUnknown, WorkRefused where it has not begun.
        """
        with self._writing:
            found, now = self.get(number), self._now()
            if found.standing(now) is Standing.PAST:
                return found
            stretch = found.stretch(now)
            if stretch is None or not stretch.holds(now):
                if found.moved is not None and found.moved.ends_at <= now:
                    return found  # this week's was ended already
                raise WorkRefused("it has not begun: call it off")
            return self._moved(found, stretch, now, "work_ended", actor)

    def extend(self, number: int, *, minutes: int, actor: str) -> PlannedWork:
        """Let what is done now go on for longer. Raise WorkUnknown, WorkRefused."""
        if not 1 <= minutes <= LONGEST // timedelta(minutes=1):
            raise WorkRefused("it goes on for 1 to 1,440 minutes more")
        with self._writing:
            found, now = self.get(number), self._now()
            stretch = found.stretch(now)
            if stretch is None or not stretch.holds(now):
                raise WorkRefused("it is not on now")
            ends_at = stretch.ends_at + minutes * 60_000_000
            _require_short(stretch.starts_at, ends_at)
            return self._moved(found, stretch, ends_at, "work_extended", actor)

    def call_off(self, number: int, *, actor: str) -> PlannedWork:
        """Do it no more, this time or any other. Repeating changes nothing. Raise WorkUnknown."""
        with self._writing:
            found, now = self.get(number), self._now()
            if found.standing(now) is Standing.PAST:
                return found
            made = msgspec.structs.replace(found, called_off_by=actor, called_off_at=now)
            return self._write(made, "work_called_off", actor)

    def forget(self) -> None:
        """Let go of what ended long ago; the table keeps it."""
        since = self._now() - KEPT_FOR // _MICROSECOND
        with self._writing:
            for each in [each for each in self._kept.values() if _over_at(each) <= since]:
                del self._kept[each.number]

    # Within the lock

    def _moved(
        self, found: PlannedWork, stretch: Stretch, ends_at: int, action: str, actor: str
    ) -> PlannedWork:
        if found.window is None:
            made = msgspec.structs.replace(found, ends_at=max(ends_at, found.starts_at + 1))
        else:
            moved = Stretch(starts_at=stretch.starts_at, ends_at=ends_at)
            made = msgspec.structs.replace(found, moved=moved)
        return self._write(made, action, actor)

    def _write(self, made: PlannedWork, action: str, actor: str) -> PlannedWork:
        with self._database.transaction():
            self._database.run(
                "UPDATE planned_works SET ends_at = :ends_at, body = :body WHERE number = :number",
                number=made.number,
                ends_at=max(made.ends_at, made.moved.ends_at if made.moved else 0),
                body=_body(made),
            )
            self._record(made, action, actor)
        self._kept[made.number] = made
        return made

    def _record(self, work: PlannedWork, action: str, actor: str) -> None:
        found = work.stretch(self._now())
        until = from_micros(found.ends_at if found else _over_at(work))
        touched = ", ".join(work.touches) or "the whole market"
        self._audit.record_inside(
            actor=actor,
            action=action,
            market=work.market,
            detail=f"planned work {work.number}: {work.what}; {touched}; until"
            f" {until:%Y-%m-%d %H:%M} UTC; by {work.done_by}, rolled back by {work.undone_by}",
        )

    def _at(self, code: str, micros: int) -> str:
        market = self._markets.get(code)
        at = from_micros(micros)
        if market is None:
            return f"{at:%Y-%m-%d %H:%M} UTC"
        return f"{market.local(at):%Y-%m-%d %H:%M %Z}"

    def _now(self) -> int:
        return to_micros(self._clock.now())


def _over_at(work: PlannedWork) -> int:
    """Return when work was over, or will be for good."""
    last = max(work.ends_at, work.moved.ends_at if work.moved else 0)
    return work.called_off_at or last


def _require_short(starts_at: int, ends_at: int) -> None:
    if ends_at - starts_at > LONGEST // _MICROSECOND:
        raise WorkRefused("planned work lasts at most 24 hours: plan what comes after it anew")


def _require_weekly(work: PlannedWork, window: Window) -> None:
    length = (window.until - window.since) % (24 * 60) or 24 * 60
    if length > LONGEST_AGAIN // timedelta(minutes=1):
        raise WorkRefused("work that is done each week lasts at most 12 hours each time")
    if work.ends_at - work.starts_at > SERIES_LONGEST // _MICROSECOND:
        raise WorkRefused("work that is done each week is planned for a year at most")
    if work.stretch(work.starts_at) is None:
        raise WorkRefused("none of these days lies between its beginning and its end")


def _touches(names: Sequence[str]) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(each.strip() for each in names if each.strip()))
    if len(found) > TOUCHES_MAX:
        raise WorkRefused(f"work touches at most {TOUCHES_MAX} things: choose the whole market")
    for each in found:
        if len(each) > NAME_MAX or not each.isprintable() or not _is_fit(each):
            raise WorkRefused(
                f"a name has at most {NAME_MAX} letters, as the market's page shows it"
            )
    return found


def _said(text: str, missing: str, most: int) -> str:
    found = " ".join(text.split())
    if not found:
        raise WorkRefused(missing)
    if len(found) > most or not found.isprintable() or not _is_fit(found):
        raise WorkRefused(f"that text has at most {most} letters, none of them broken")
    return found


def _is_fit(text: str) -> bool:
    return text.encode("utf-8", "replace").decode() == text


def _clock_time(minute: int) -> time:
    return time(minute // 60 % 24, minute % 60)


def _body(work: PlannedWork) -> str:
    return msgspec.json.encode(work).decode()


def _work(row: Row) -> PlannedWork:
    found = msgspec.json.decode(row["body"], type=PlannedWork)
    return msgspec.structs.replace(found, number=int(row["number"]))
