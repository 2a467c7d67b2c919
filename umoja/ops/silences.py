"""Silences: who wants which alerts quiet, why, and until when; also again and again in local time.

They are kept in memory and in the centre's database: a change is written before it is acknowledged.
"""

import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, time, timedelta
from enum import Enum
from zoneinfo import ZoneInfo

import msgspec
import structlog

from umoja.clock import Clock, from_micros, to_micros
from umoja.ops.matching import Matcher, MatcherRefused, all_match, checked
from umoja.storage.port import Sql

LIVE_MAX = 1_000
TEXT_MAX = 1_000
NOTES_MAX = 64
KEPT_FOR = 5 * 24 * 60 * 60 * 1_000_000
"""How long one that has ended is still shown."""

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAYS_NOTE, HOURS_NOTE, ZONE_NOTE = "umoja_days", "umoja_hours", "umoja_zone"
"""Annotations that make a silence a recurring one: mon,tue · 22:00-04:00 · a zone or a market."""


log = structlog.get_logger()


class SilenceRefused(ValueError):
    """A silence cannot be kept. It says why."""


class SilenceUnknown(LookupError):
    """There is no silence of this id."""


class State(Enum):
    """Whether a silence keeps anything quiet now. A recurring one is pending between its windows."""

    ACTIVE = "active"
    PENDING = "pending"
    EXPIRED = "expired"


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """When a recurring silence holds: on these days from one minute of the day to another, local time.

    `until` at or before `since` is on the next day; summer time moves with the clock on the wall.
    """

    days: tuple[int, ...]
    since: int
    until: int
    zone: str

    def holds(self, at: datetime) -> bool:
        """Tell whether a moment lies in it."""
        local = at.astimezone(ZoneInfo(self.zone))
        minute = local.hour * 60 + local.minute
        today, yesterday = local.weekday(), (local.weekday() - 1) % 7
        if self.since < self.until:
            return today in self.days and self.since <= minute < self.until
        return (today in self.days and minute >= self.since) or (
            yesterday in self.days and minute < self.until
        )

    @property
    def shown(self) -> str:
        """Return it as people write it: mon,tue 22:00-04:00 Africa/Nairobi."""
        days = ",".join(DAYS[each] for each in self.days)
        return f"{days} {_hour(self.since)}-{_hour(self.until)} {self.zone}"


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """One silence. Times are microseconds since 1970 UTC."""

    id: str
    matchers: tuple[Matcher, ...]
    starts_at: int
    ends_at: int
    created_by: str
    comment: str
    updated_at: int
    annotations: dict[str, str] = {}
    window: Window | None = None

    def state(self, now: int) -> State:
        """Return how it stands at a moment."""
        if self.ends_at <= now:
            return State.EXPIRED
        if self.starts_at > now:
            return State.PENDING
        if self.window is not None and not self.window.holds(from_micros(now)):
            return State.PENDING
        return State.ACTIVE


class Silences:
    """Keeps silences. Calls may come from any thread; those that write raise a Fault where they could not."""

    def __init__(
        self, database: Sql, *, clock: Clock, zone_of: Callable[[str], str | None] = lambda _: None
    ) -> None:
        """Take up what is kept. `zone_of` returns the time zone of a market's code, or None."""
        self._database = database
        self._clock = clock
        self._zone_of = zone_of
        self._lock = threading.Lock()
        self._kept: dict[str, Silence] = {}
        for row in database.query(
            "SELECT body FROM silences WHERE ends_at > :since", since=self._now() - KEPT_FOR
        ):
            found = msgspec.json.decode(row["body"], type=Silence)
            self._kept[found.id] = found

    def browse(self) -> list[Silence]:
        """Return those that have not long ended: active ones first, then pending, then expired."""
        now = self._now()
        order = [State.ACTIVE, State.PENDING, State.EXPIRED]
        with self._lock:
            found = [each for each in self._kept.values() if each.ends_at > now - KEPT_FOR]
        return sorted(
            found,
            key=lambda each: (order.index(each.state(now)), each.ends_at, each.id),
        )

    def get(self, silence_id: str) -> Silence:
        """Return one. Raise SilenceUnknown."""
        with self._lock:
            found = self._kept.get(silence_id)
        if found is None:
            raise SilenceUnknown(f"silence {silence_id[:40]} not found")
        return found

    def active(self) -> list[Silence]:
        """Return those that keep something quiet now."""
        now = self._now()
        with self._lock:
            return [each for each in self._kept.values() if each.state(now) is State.ACTIVE]

    def put(
        self,
        *,
        matchers: Iterable[Matcher],
        starts_at: int,
        ends_at: int,
        created_by: str,
        comment: str,
        annotations: Mapping[str, str] | None = None,
        silence_id: str = "",
    ) -> Silence:
        """Make a silence, or change the one of that id; return it as it is kept now.

        One that says something else of other alerts, or has ended, is not rewritten: it ends, and a
        new one begins. Raise SilenceRefused, SilenceUnknown.
        """
        now = self._now()
        made = _made(
            matchers,
            starts_at=starts_at,
            ends_at=ends_at,
            created_by=created_by,
            comment=comment,
            annotations=dict(annotations or {}),
            zone_of=self._zone_of,
            now=now,
        )
        with self._lock:
            before = self._kept.get(silence_id) if silence_id else None
            if silence_id and before is None:
                raise SilenceUnknown(f"silence {silence_id[:40]} not found")
            writes = []
            if before is not None and before.state(now) is not State.EXPIRED:
                if before.matchers == made.matchers:
                    starts = before.starts_at if before.starts_at <= now else made.starts_at
                    made = msgspec.structs.replace(made, id=before.id, starts_at=starts)
                else:
                    writes.append(_ended(before, now))
            if made.id not in self._kept:
                self._require_room(now)
                if made.starts_at < now:
                    made = msgspec.structs.replace(made, starts_at=now)
            writes.append(made)
            self._write(writes)
        log.info("ops.silence.kept", silence=made.id, by=created_by, ends=str(from_micros(ends_at)))
        return made

    def expire(self, silence_id: str) -> Silence:
        """End a silence now; repeating is harmless. Raise SilenceUnknown."""
        now = self._now()
        found = self.get(silence_id)
        if found.ends_at <= now:
            return found
        with self._lock:
            made = _ended(self._kept.get(silence_id, found), now)
            self._write([made])
        log.info("ops.silence.expired", silence=made.id)
        return made

    def muting(self, labels: Mapping[str, str], silences: Iterable[Silence]) -> list[str]:
        """Return the ids of those silences, of the given ones, that keep these labels quiet."""
        return [each.id for each in silences if all_match(each.matchers, labels)]

    def forget(self) -> None:
        """Remove what ended long ago. Raise a Fault where that could not be written."""
        since = self._now() - KEPT_FOR
        with self._lock:
            old = [each.id for each in self._kept.values() if each.ends_at <= since]
            if old:
                self._database.run("DELETE FROM silences WHERE ends_at <= :since", since=since)
            for each in old:
                del self._kept[each]

    def _write(self, silences: list[Silence]) -> None:
        self._database.run_many(
            "INSERT INTO silences (id, ends_at, body) VALUES (:id, :ends_at, :body)"
            " ON CONFLICT (id) DO UPDATE SET ends_at = excluded.ends_at, body = excluded.body",
            [
                {
                    "id": each.id,
                    "ends_at": each.ends_at,
                    "body": msgspec.json.encode(each).decode(),
                }
                for each in silences
            ],
        )
        self._kept.update({each.id: each for each in silences})

    def _require_room(self, now: int) -> None:
        if sum(each.ends_at > now for each in self._kept.values()) >= LIVE_MAX:
            raise SilenceRefused(f"there are {LIVE_MAX} silences already: expire some first")
        if len(self._kept) >= 10 * LIVE_MAX:
            oldest = min(self._kept.values(), key=lambda each: each.ends_at)
            self._database.run("DELETE FROM silences WHERE id = :id", id=oldest.id)
            del self._kept[oldest.id]

    def _now(self) -> int:
        return to_micros(self._clock.now())


def window_of(
    annotations: Mapping[str, str], zone_of: Callable[[str], str | None]
) -> Window | None:
    """Read when a recurring silence holds; None where it is a plain one. Raise SilenceRefused."""
    days, hours = annotations.get(DAYS_NOTE, ""), annotations.get(HOURS_NOTE, "")
    if not days and not hours:
        return None
    named = [each.strip().lower()[:3] for each in days.split(",") if each.strip()] or list(DAYS)
    if any(each not in DAYS for each in named):
        raise SilenceRefused(f"{DAYS_NOTE} are names of days with commas: {','.join(DAYS)}")
    since, _, until = (hours or "00:00-00:00").partition("-")
    told_zone = annotations.get(ZONE_NOTE, "UTC")
    zone = zone_of(told_zone.upper()) or told_zone
    try:
        ZoneInfo(zone)
        return Window(
            days=tuple(sorted({DAYS.index(each) for each in named})),
            since=_minute(since),
            until=_minute(until),
            zone=zone,
        )
    except (ValueError, OSError, LookupError) as cause:
        raise SilenceRefused(
            f"{HOURS_NOTE} is 22:00-04:00, {ZONE_NOTE} a time zone or one of our markets"
        ) from cause


def _made(
    matchers: Iterable[Matcher],
    *,
    starts_at: int,
    ends_at: int,
    created_by: str,
    comment: str,
    annotations: dict[str, str],
    zone_of: Callable[[str], str | None],
    now: int,
) -> Silence:
    try:
        kept = checked(matchers)
        if not kept:
            raise SilenceRefused("at least one matcher required")
        if all(each.matches({}) for each in kept):
            raise SilenceRefused("at least one matcher must not match the empty string")
    except MatcherRefused as cause:
        raise SilenceRefused(str(cause)) from cause
    if ends_at <= starts_at:
        raise SilenceRefused("end time must be after start time")
    if ends_at <= now:
        raise SilenceRefused("end time can't be in the past")
    for name, text in (("createdBy", created_by), ("comment", comment)):
        if not text.strip():
            raise SilenceRefused(f"{name} missing: a silence has an author and a reason")
        if len(text) > TEXT_MAX or not _is_fit(text):
            raise SilenceRefused(f"{name} has at most {TEXT_MAX} characters, none of them broken")
    if len(annotations) > NOTES_MAX or any(
        len(name) > TEXT_MAX or len(text) > TEXT_MAX or not _is_fit(name + text)
        for name, text in annotations.items()
    ):
        raise SilenceRefused(
            f"at most {NOTES_MAX} annotations of at most {TEXT_MAX} characters are taken"
        )
    return Silence(
        id=_fresh_id(),
        matchers=kept,
        starts_at=starts_at,
        ends_at=ends_at,
        created_by=created_by,
        comment=comment,
        updated_at=now,
        annotations=annotations,
        window=window_of(annotations, zone_of),
    )


def _ended(silence: Silence, now: int) -> Silence:
    """Return it ended now; one that had not begun never will."""
    return msgspec.structs.replace(
        silence, starts_at=min(silence.starts_at, now), ends_at=now, updated_at=now
    )


def _minute(text: str) -> int:
    found = time.fromisoformat(text.strip())
    return found.hour * 60 + found.minute


def _hour(minute: int) -> str:
    return f"{timedelta(minutes=minute)}".zfill(8)[:5]


def _is_fit(text: str) -> bool:
    return "\0" not in text and text.encode("utf-8", "replace").decode() == text


def _fresh_id() -> str:
    """Return a random id in the form that Alertmanager's clients insist on (RFC 9562, version 4)."""
    found = f"{secrets.randbits(128) & ~(0xF << 76) & ~(0x3 << 62) | (4 << 76) | (2 << 62):032x}"
    return "-".join([found[:8], found[8:12], found[12:16], found[16:20], found[20:]])
