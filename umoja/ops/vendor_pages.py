"""Vendors' status pages: what our vendors say of themselves, read every minute or so.

Read are Statuspage's `summary.json`, RSS and Atom. What a vendor announces becomes an alert that only
informs: it pages nobody, and stands among what changed lately when an incident is opened.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import unescape
from typing import Any
from urllib.parse import urlsplit

import feedparser  # type: ignore[import-untyped]
import httpx
import msgspec
import structlog

from umoja.clock import EPOCH, Clock, to_micros
from umoja.faults import Fault, Unavailable
from umoja.ops.alert import Alert, AlertRefused, told
from umoja.reach import NotPublic, client, fetched
from umoja.storage.port import DatabaseDamaged, Row, Sql

READ_EVERY_S = 60.0
PAGES_MAX = 100
ANNOUNCED_MAX = 50  # of one page
URL_MAX = 500
TEXT_MAX = 500
HOLDS = 5 * 60 * 1_000_000
"""How long an announcement stands after it was last read."""

FRESH_FOR = timedelta(hours=24)
"""A feed does not say what is over: an entry stands for so long, unless it says so itself."""

ALERT = "VendorTrouble"

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
_OVER = re.compile(r"\b(resolved|completed|postmortem|operational|cancell?ed)\b", re.IGNORECASE)
_TAG = re.compile(r"<[^>]{0,500}>")

log = structlog.get_logger()


class PageRefused(ValueError):
    """A page cannot be watched. It says why."""


class Unreadable(ValueError):
    """What came is no status page that we can read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorPage:
    """One page that is read. `markets` empty: all of them. `trouble`: why it could not be read."""

    name: str
    url: str
    markets: tuple[str, ...]
    added_by: str
    read_at: int = 0
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """Something a vendor announces that is not over. Microseconds."""

    title: str
    since: int
    impact: str = ""
    link: str = ""


class VendorPages:
    """Keeps which pages are read, and reads them. Writers raise a Fault where it was not written."""

    def __init__(
        self,
        database: Sql,
        *,
        clock: Clock,
        markets: Iterable[str],
        take: Callable[[list[Alert]], None],
    ) -> None:
        """Take a migrated database. `take` is given the alerts of each reading."""
        self._database = database
        self._clock = clock
        self._take = take
        self._markets = frozenset(markets)
        self._announced: dict[str, tuple[Announced, ...]] = {}
        self._kept: dict[str, VendorPage] = {}

    def browse(self) -> list[VendorPage]:
        """Return all pages, by name."""
        rows = self._database.query("SELECT * FROM vendor_pages ORDER BY name LIMIT 100")
        return [_page(row) for row in rows]

    def add(self, *, name: str, url: str, markets: Iterable[str], actor: str) -> VendorPage:
        """Watch a vendor's page, or change its address. Raise PageRefused."""
        made = VendorPage(
            name=name.strip().lower(),
            url=_checked(url),
            markets=tuple(sorted({each.strip().upper() for each in markets if each.strip()})),
            added_by=actor[:80],
        )
        if not _NAME.fullmatch(made.name):
            raise PageRefused("a name is of small letters, digits, dots and dashes; 40 at most")
        if self._markets and not self._markets.issuperset(made.markets):
            raise PageRefused(f"markets are {', '.join(sorted(self._markets))}")
        with self._database.transaction():
            row = self._database.one(
                "SELECT count(*) FROM vendor_pages WHERE name <> :name", name=made.name
            )
            if row is not None and int(row[0]) >= PAGES_MAX:
                raise PageRefused(f"{PAGES_MAX} pages are watched already: remove one first")
            self._database.run(
                "INSERT INTO vendor_pages (name, url, markets, added_by, read_at, trouble)"
                " VALUES (:name, :url, :markets, :actor, 0, '') ON CONFLICT (name) DO UPDATE SET"
                " url = excluded.url, markets = excluded.markets, added_by = excluded.added_by",
                name=made.name,
                url=made.url,
                markets=",".join(made.markets),
                actor=made.added_by,
            )
        return made

    def announcements(self) -> Mapping[str, int]:
        """Return how many announcements of each watched vendor stand now. Asks no file."""
        return {name: len(self._announced.get(name, ())) for name in sorted(self._kept)}

    def remove(self, name: str) -> bool:
        """Watch a page no longer; False where it was not watched."""
        found = self._database.run("DELETE FROM vendor_pages WHERE name = :name", name=name)
        return found > 0

    def changed(self, market: str) -> list[str]:
        """Return what vendors of a market announce now, in a few words each. Asks no file."""
        return [
            f"{name} announces: {each.title}"
            for name, announced in sorted(self._announced.items())
            if name in self._kept and market in (self._kept[name].markets or (market,))
            for each in announced
        ]

    async def run(self, *, may_be_private: bool) -> None:
        """Read all pages, round after round, until cancelled. `may_be_private` is for a sandbox only."""
        async with client(may_be_private=may_be_private) as through:
            while True:
                try:
                    await self.read_all(through)
                except (Fault, DatabaseDamaged) as cause:
                    log.warning("ops.vendor_pages.waits", cause=str(cause))
                except Exception:
                    log.exception("ops.vendor_pages.bug")
                await self._clock.sleep(READ_EVERY_S)

    async def read_all(self, through: httpx.AsyncClient) -> None:
        """Read every page once; one that cannot be read holds up none of the others."""
        pages = await asyncio.to_thread(self.browse)
        self._kept = {each.name: each for each in pages}
        self._announced = {
            name: each for name, each in self._announced.items() if name in self._kept
        }
        for at in range(0, len(pages), 5):
            await asyncio.gather(*(self._read(through, each) for each in pages[at : at + 5]))

    async def _read(self, through: httpx.AsyncClient, page: VendorPage) -> None:
        trouble = ""
        try:
            request = through.build_request(
                "GET", page.url, headers={"accept": "application/json, application/xml, */*"}
            )
            status, body = await fetched(through, request)
            _require_found(status)
            now = to_micros(self._clock.now())
            announced = await asyncio.to_thread(announced_in, body, now)
            await asyncio.to_thread(self._tell, page, announced, now)
        except (Unavailable, NotPublic, Unreadable, httpx.InvalidURL, UnicodeError) as cause:
            trouble = str(cause)[:TEXT_MAX]
        if trouble != page.trouble:
            log.warning("ops.vendor_pages.read", page=page.name, trouble=trouble or "none any more")
        await asyncio.to_thread(self._note, page, trouble)

    def _tell(self, page: VendorPage, announced: tuple[Announced, ...], now: int) -> None:
        """Carry announcements to the alarms; those that are not there any more end."""
        before = self._announced.get(page.name, ())
        self._announced[page.name] = announced
        gone = [each for each in before if each.title not in {a.title for a in announced}]
        alerts = [
            alert
            for each, is_over in [*((a, False) for a in announced), *((g, True) for g in gone)]
            for alert in _alerts(page, each, now=now, is_over=is_over)
        ]
        self._take(alerts)

    def _note(self, page: VendorPage, trouble: str) -> None:
        self._database.run(
            "UPDATE vendor_pages SET read_at = :now, trouble = :trouble WHERE name = :name",
            now=to_micros(self._clock.now()),
            trouble=trouble,
            name=page.name,
        )


def _require_found(status: int) -> None:
    if status != 200:
        raise Unreadable(f"it answers {status}")


def announced_in(body: bytes, now: int) -> tuple[Announced, ...]:
    """Read what a status page announces and is not over. Raise Unreadable."""
    text = body.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"{"):
        return _in_summary(text, now)
    if text.startswith(b"<"):
        return _in_feed(text, now)
    raise Unreadable("it is neither Statuspage's JSON nor a feed")


class _Incident(msgspec.Struct):
    name: str = ""
    status: str = ""
    impact: str = ""
    created_at: str = ""
    started_at: str | None = None
    shortlink: str | None = ""


class _Status(msgspec.Struct):
    indicator: str = "none"
    description: str = ""


class _Summary(msgspec.Struct):
    status: _Status
    incidents: list[_Incident] = []
    scheduled_maintenances: list[_Incident] = []


def _in_summary(text: bytes, now: int) -> tuple[Announced, ...]:
    try:
        found = msgspec.json.decode(text, type=_Summary)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as cause:
        raise Unreadable("it is no summary.json of a Statuspage") from cause
    announced = [
        Announced(
            title=_plain(each.name),
            since=_moment(each.started_at or each.created_at, now),
            impact=each.impact[:40],
            link=_link(each.shortlink or ""),
        )
        for each in [
            *found.incidents,
            *(each for each in found.scheduled_maintenances if each.status == "in_progress"),
        ]
        if each.status not in {"resolved", "postmortem", "completed"} and each.name
    ]
    if not announced and found.status.indicator not in {"none", "maintenance"}:
        title = _plain(found.status.description) or found.status.indicator[:40]
        announced = [Announced(title=title, since=now, impact=found.status.indicator[:40])]
    return tuple(announced[:ANNOUNCED_MAX])


def _in_feed(text: bytes, now: int) -> tuple[Announced, ...]:
    found: Any = feedparser.parse(text)
    if not found.version:
        raise Unreadable("it is no feed that we can read")
    since = now - FRESH_FOR // timedelta(microseconds=1)
    announced = []
    for entry in found.entries[:ANNOUNCED_MAX]:
        parsed = entry.get("updated_parsed") or entry.get("published_parsed")
        began = entry.get("published_parsed") or parsed
        title = _plain(str(entry.get("title", "")))
        words = f"{title} {_newest(_plain(str(entry.get('summary', ''))))}"
        if parsed is None or not title or _OVER.search(words):
            continue
        if not since <= _of_parsed(parsed) <= now + HOLDS:
            continue
        announced.append(
            Announced(title=title, since=_of_parsed(began), link=_link(str(entry.get("link", ""))))
        )
    return tuple(announced)


def _newest(text: str) -> str:
    """Return the newest update of an entry's text: they stand there newest first."""
    return text[:200]


def _of_parsed(parsed: Any) -> int:
    year, month, day, hour, minute, second = parsed[:6]
    moment = EPOCH.replace(
        year=max(year, 1970), month=month, day=day, hour=hour, minute=minute, second=min(second, 59)
    )
    return to_micros(moment)


def _moment(text: str, now: int) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return now
    return min(to_micros(moment), now) if moment.tzinfo and moment.year > 1970 else now


def _alerts(page: VendorPage, each: Announced, *, now: int, is_over: bool) -> list[Alert]:
    made = []
    for market in page.markets or ("",):
        labels: Mapping[str, str] = {
            "alertname": ALERT,
            "severity": "info",
            "vendor": page.name,
            "announcement": each.title[:200],
            "market": market,
        }
        try:
            made.append(
                told(
                    labels=labels,
                    annotations={
                        "summary": f"{page.name} announces: {each.title}",
                        "impact": each.impact,
                        "link": each.link,
                    },
                    starts_at=min(each.since, now),
                    ends_at=now if is_over else 0,
                    generator_url="",
                    source=f"status page of {page.name}",
                    now=now,
                    holds=HOLDS,
                )
            )
        except AlertRefused as cause:
            log.warning("ops.vendor_pages.alert", page=page.name, cause=str(cause))
    return made


def _plain(text: str) -> str:
    """Return text without markup and control characters, cut."""
    words = unescape(_TAG.sub(" ", text[: 4 * TEXT_MAX]))
    sound = words.encode("utf-8", "replace").decode()
    return " ".join("".join(c if c.isprintable() else " " for c in sound).split())[:TEXT_MAX]


def _link(text: str) -> str:
    return text[:URL_MAX] if text.startswith(("https://", "http://")) else ""


def _checked(url: str) -> str:
    try:
        found = urlsplit(url.strip())
        is_fit = found.scheme in {"http", "https"} and bool(found.hostname) and found.port != 0
    except ValueError:
        is_fit = False
    if not is_fit or len(url) > URL_MAX or "@" in url or not url.isascii():
        raise PageRefused("an address is https://…, without a user in it")
    return url.strip()


def _page(row: Row) -> VendorPage:
    return VendorPage(
        name=row["name"],
        url=row["url"],
        markets=tuple(filter(None, row["markets"].split(","))),
        added_by=row["added_by"],
        read_at=row["read_at"],
        trouble=row["trouble"],
    )
