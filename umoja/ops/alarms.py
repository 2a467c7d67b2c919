"""Alarms: the alerts that other systems tell us, one of each, grouped, muted, and made incidents.

What is told is taken up in memory and written behind: a disk that fails loses no alert while the
process runs. Their incidents are opened and ended by `look`, which the watch's loop calls.
"""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

import msgspec
import structlog
import yaml

from umoja.clock import Clock, to_micros
from umoja.faults import Busy, Fault
from umoja.ops.alert import Alert, Rule, group_of, merged, rank_of
from umoja.ops.finding import Counts, Finding
from umoja.ops.impact import Harm
from umoja.ops.incidents import Incidents, Scene
from umoja.ops.matching import Matcher, all_match, read_matcher
from umoja.ops.silences import Silence, Silences
from umoja.storage.port import DatabaseDamaged, Sql

ALERTS_MAX = 20_000
KEPT_FOR = 15 * 60 * 1_000_000
"""How long one that has ended is remembered: a late repeat finds it."""

GROUP_WAIT = 10 * 1_000_000
"""A group opens its incident only then: what comes with its parent is muted in time."""

QUIET_FOR = 30 * 1_000_000
QUIET_FOR_FLAPPING = 15 * 60 * 1_000_000
"""How long nothing of a group may fire before its incident is told that it ended."""

LOOK_EVERY_S = 5.0
GROUPS_MAX = 200  # that may have an incident at once
DETECTOR = "alarm"
NAMED_MAX = 5  # of alerts, in an incident's evidence

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An alert as it stands: which silences and which other alerts mute it."""

    alert: Alert
    is_firing: bool
    silenced_by: tuple[str, ...] = ()
    inhibited_by: tuple[str, ...] = ()

    @property
    def is_suppressed(self) -> bool:
        return bool(self.silenced_by or self.inhibited_by)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Alerts about one thing in one market (`*`: none of ours)."""

    market: str
    about: str
    standing: tuple[Standing, ...]


@dataclass(slots=True)
class _Held:
    """A group that fires, or did a moment ago. Times are microseconds."""

    since: int
    last_at: int
    is_open: bool = False
    is_flapping: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    source: tuple[Matcher, ...]
    target: tuple[Matcher, ...]
    equal: tuple[str, ...]


def shipped_rules() -> tuple[Rule, ...]:
    """Return which alarms mute which, as the program brings it."""
    text = (resources.files("umoja.ops") / "inhibitions.yaml").read_text("utf-8")
    return msgspec.convert(yaml.safe_load(text), tuple[Rule, ...])


class Alarms:
    """Keeps alerts and opens incidents for them. Calls may come from any thread."""

    def __init__(
        self,
        database: Sql,
        *,
        clock: Clock,
        incidents: Incidents,
        silences: Silences,
        markets: Sequence[str],
        rules: Iterable[Rule] | None = None,
    ) -> None:
        """Take up the alerts that are kept."""
        self._database = database
        self._clock = clock
        self._incidents = incidents
        self._silences = silences
        self._markets = tuple(markets)
        self.rules = tuple(shipped_rules() if rules is None else rules)
        self._rules = [
            _Rule(
                source=tuple(map(read_matcher, each.source)),
                target=tuple(map(read_matcher, each.target)),
                equal=each.equal,
            )
            for each in self.rules
        ]
        self._lock = threading.Lock()
        self._alerts: OrderedDict[str, Alert] = OrderedDict()
        self._unwritten: set[str] = set()
        self._gone: set[str] = set()
        self._is_troubled = False
        self._held: dict[tuple[str, str], _Held] = {}
        for row in database.query("SELECT body FROM alerts"):
            found = msgspec.json.decode(row["body"], type=Alert)
            self._alerts[found.fingerprint] = found
        now = self._now()
        # An incident that was open when we were stopped is ours to end.
        for incident in incidents.open_ones(children=True):
            name, _, about = incident.detector.partition(":")
            if name == DETECTOR:
                self._held[incident.market, about] = _Held(now, now, is_open=True)

    # Taking in

    def take(self, alerts: Iterable[Alert]) -> int:
        """Take alerts up; return how many were new or began anew. A repeat changes nothing but times.

        Raise Busy where there are too many already; those before were taken.
        """
        now = self._now()
        begun = 0
        with self._lock:
            for new in alerts:
                before = self._alerts.get(new.fingerprint)
                if before is None and not new.is_firing(now):
                    continue  # the end of something we never heard of
                if before is None and len(self._alerts) >= ALERTS_MAX:
                    self._make_room(now)
                begun += before is None or (new.is_firing(now) and not before.is_firing(now))
                self._alerts[new.fingerprint] = merged(before, new, now)
                self._unwritten.add(new.fingerprint)
                self._gone.discard(new.fingerprint)
        return begun

    def take_and_keep(self, alerts: Iterable[Alert]) -> int:
        """Take alerts up and write them at once; see `take` and `keep`."""
        begun = self.take(alerts)
        self.keep()
        return begun

    def keep(self) -> None:
        """Write what is not written yet. What cannot be written now is written at the next call."""
        with self._lock:
            writes = [self._alerts[each] for each in self._unwritten if each in self._alerts]
            gone = list(self._gone)
            self._unwritten, self._gone = set(), set()
        if not writes and not gone:
            return
        try:
            with self._database.transaction():
                self._database.run_many(
                    "INSERT INTO alerts (fingerprint, ends_at, body)"
                    " VALUES (:fingerprint, :ends_at, :body) ON CONFLICT (fingerprint) DO UPDATE"
                    " SET ends_at = excluded.ends_at, body = excluded.body",
                    [
                        {
                            "fingerprint": each.fingerprint,
                            "ends_at": each.ends_at,
                            "body": msgspec.json.encode(each).decode(),
                        }
                        for each in writes
                    ],
                )
                self._database.run_many(
                    "DELETE FROM alerts WHERE fingerprint = :fingerprint",
                    [{"fingerprint": each} for each in gone],
                )
            self._is_troubled = False
        except (Fault, DatabaseDamaged) as cause:
            with self._lock:
                self._unwritten |= {each.fingerprint for each in writes}
                self._gone |= set(gone) - self._alerts.keys()
            if not self._is_troubled:
                log.error("ops.alarms.unwritten", cause=str(cause))  # noqa: TRY400  expected
            self._is_troubled = True

    # Reading

    def standing(self, *, with_ended: bool = False) -> list[Standing]:
        """Return the alerts that fire, each with what mutes it, by fingerprint."""
        now = self._now()
        with self._lock:
            alerts = [each for each in self._alerts.values() if with_ended or each.is_firing(now)]
        firing = [each for each in alerts if each.is_firing(now)]
        inhibited = self._inhibited(firing)
        silences = self._silences.active()
        return sorted(
            (
                Standing(
                    alert=each,
                    is_firing=each.is_firing(now),
                    silenced_by=tuple(self._silences.muting(each.labels, silences)),
                    inhibited_by=inhibited.get(each.fingerprint, ()),
                )
                for each in alerts
            ),
            key=lambda each: each.alert.fingerprint,
        )

    def groups(self, standing: Iterable[Standing] | None = None) -> list[Group]:
        """Return alerts by market and what they are about."""
        found: dict[tuple[str, str], list[Standing]] = {}
        for each in self.standing() if standing is None else standing:
            found.setdefault(group_of(each.alert, self._markets), []).append(each)
        return [
            Group(market=market, about=about, standing=tuple(alerts))
            for (market, about), alerts in sorted(found.items())
        ]

    def affected(self, silence: Silence) -> list[Alert]:
        """Return the alerts that fire now and that a silence fits: what it would hide."""
        return [
            each.alert for each in self.standing() if all_match(silence.matchers, each.alert.labels)
        ]

    def counts(self) -> Mapping[str, int]:
        """Return how many alerts are active and how many are suppressed."""
        standing = self.standing()
        suppressed = sum(each.is_suppressed for each in standing)
        return {"active": len(standing) - suppressed, "suppressed": suppressed}

    # Incidents

    async def run(self) -> None:
        """Look every few seconds until cancelled; a bug is told and does not end it."""
        while True:
            try:
                await asyncio.to_thread(self.look)
            except Exception:
                log.exception("ops.alarms.bug")
            await self._clock.sleep(LOOK_EVERY_S)

    def look(self) -> None:
        """Open, carry further and end the incidents of what fires; forget what ended long ago."""
        now = self._now()
        for group in self.groups():
            loud = [each.alert for each in group.standing if not each.is_suppressed]
            rank = rank_of(loud)
            if not rank:
                continue
            key = (group.market, group.about)
            held = self._held.get(key)
            if held is None:
                if len(self._held) >= GROUPS_MAX:
                    log.error("ops.alarms.too_many_groups", market=group.market)
                    continue
                held = self._held[key] = _Held(now, now)
            held.last_at = now
            held.is_flapping = any(each.is_flapping(now) for each in loud)
            if held.is_open or now - held.since >= GROUP_WAIT:
                held.is_open = True
                self._tell(group, loud, rank, is_flapping=held.is_flapping)
        for key, held in list(self._held.items()):
            wait = QUIET_FOR_FLAPPING if held.is_flapping else QUIET_FOR
            if held.last_at == now or (held.is_open and now - held.last_at < wait):
                continue
            del self._held[key]
            if held.is_open:
                market, about = key
                self._incidents.quiet(market, f"{DETECTOR}:{about}")
        self._forget(now)
        self.keep()
        try:
            self._silences.forget()
        except (Fault, DatabaseDamaged) as cause:
            log.warning("ops.silences.unwritten", cause=str(cause))

    def _tell(self, group: Group, loud: list[Alert], rank: int, *, is_flapping: bool) -> None:
        loud = sorted(loud, key=lambda each: (rank_of([each]) or 9, each.starts_at))
        first = loud[0]
        title = first.annotations.get("summary") or first.annotations.get("message") or first.name
        named = ", ".join(f"{each.name or 'alert'}{_where(each)}" for each in loud[:NAMED_MAX])
        more = f" and {len(loud) - NAMED_MAX} more" if len(loud) > NAMED_MAX else ""
        self._incidents.found(
            group.market,
            f"{DETECTOR}:{group.about}",
            Finding(
                title=title[:200] or group.about,
                evidence=f"{named}{more} by {first.source or 'another system'}"
                + (", coming and going" if is_flapping else ""),
                began_s=min(each.starts_at for each in loud) // 1_000_000,
            ),
            counts=Counts.PAYMENTS,
            harm=Harm(),
            scene=Scene(hint=rank),
        )

    # Within

    def _inhibited(self, firing: list[Alert]) -> dict[str, tuple[str, ...]]:
        """Return by which alerts each of the firing ones is muted."""
        found: dict[str, list[str]] = {}
        for rule in self._rules:
            parents: dict[tuple[str, ...], list[Alert]] = {}
            for each in firing:
                if all_match(rule.source, each.labels):
                    same = tuple(each.labels.get(name, "") for name in rule.equal)
                    parents.setdefault(same, []).append(each)
            if not parents:
                continue
            for each in firing:
                same = tuple(each.labels.get(name, "") for name in rule.equal)
                for parent in parents.get(same, ())[:NAMED_MAX]:
                    # What fits both sides mutes nothing of its own kind: else two could hide each other.
                    if parent is not each and all_match(rule.target, each.labels):
                        if all_match(rule.source, each.labels):
                            break
                        found.setdefault(each.fingerprint, []).append(parent.fingerprint)
        return {key: tuple(dict.fromkeys(value)) for key, value in found.items()}

    def _make_room(self, now: int) -> None:
        ended = next((key for key, each in self._alerts.items() if not each.is_firing(now)), None)
        if ended is None:
            raise Busy("the list of alerts", retry_after_s=60)
        self._drop(ended)

    def _forget(self, now: int) -> None:
        with self._lock:
            for key in [
                key for key, each in self._alerts.items() if each.ends_at <= now - KEPT_FOR
            ]:
                self._drop(key)

    def _drop(self, key: str) -> None:
        del self._alerts[key]
        self._unwritten.discard(key)
        self._gone.add(key)

    def _now(self) -> int:
        return to_micros(self._clock.now())


def _where(alert: Alert) -> str:
    place = alert.labels.get("instance") or alert.labels.get("job") or ""
    return f" at {place}" if place else ""
