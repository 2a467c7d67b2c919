"""An alert of another system: its labels, its times, what its repeats make of it. No I/O."""

import re
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlsplit

import msgspec

LABELS_MAX = 64
NAME_MAX = 128
VALUE_MAX = 1_024
NOTE_MAX = 4_096
URL_MAX = 2_000

RESOLVE_AFTER = 5 * 60 * 1_000_000
"""An alert that names no end ends by itself so long after it was last told."""

FLAPS = 4
FLAPS_WITHIN = 60 * 60 * 1_000_000
"""Who begins so often within this time flaps: it is held until it has been quiet for a while."""

_LINK = re.compile(
    r"https?://[^/?#\x00-\x20\x7f]+(?:/(?:C|/)*)?(?:\?(?:C|[/?])*)?(?:#(?:C|[/?])*)?".replace(
        "C", r"[\w.~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2}"
    ),
    re.ASCII | re.IGNORECASE,
)
"""A web address as RFC 3986 writes its path, query and fragment; its host is parsed, see _link."""

_HOST = re.compile(r"(?:[\w.~-]+|\[[0-9a-fA-F:.]+\])(?::\d{1,5})?", re.ASCII)

_OFFSET, _PRIME, _MASK = 14695981039346656037, 1099511628211, (1 << 64) - 1


class AlertRefused(ValueError):
    """An alert cannot be taken. It says why."""


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One alert as it stands. Times are microseconds since 1970 UTC."""

    fingerprint: str
    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: int
    ends_at: int
    updated_at: int
    generator_url: str = ""
    source: str = ""
    is_timed: bool = False  # it named no end: `ends_at` is ours
    begun: tuple[int, ...] = ()  # when it began lately, oldest first

    def is_firing(self, now: int) -> bool:
        return self.ends_at > now

    def is_flapping(self, now: int) -> bool:
        """Tell whether it came and went too often lately."""
        return sum(each > now - FLAPS_WITHIN for each in self.begun) >= FLAPS

    @property
    def name(self) -> str:
        return self.labels.get("alertname", "")


def fingerprint_of(labels: Mapping[str, str]) -> str:
    """Return the hash of labels, the same as the Alertmanager's own: 64 bits of FNV-1a in hex."""
    found = _OFFSET
    for name, value in sorted(labels.items()):
        for text in (name, value):
            for byte in (*text.encode("utf-8", "surrogatepass"), 0xFF):
                found = ((found ^ byte) * _PRIME) & _MASK
    return f"{found:016x}"


def told(
    *,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    starts_at: int,
    ends_at: int,
    generator_url: str,
    source: str,
    now: int,
    holds: int = RESOLVE_AFTER,
) -> Alert:
    """Return an alert of what was told; times of nought were not given. Raise AlertRefused.

    Without an end it lasts for `holds` after now. A link that no reader could follow is left out:
    better an alert without a link than no alert.
    """
    kept = {name: value for name, value in labels.items() if value}
    if not kept:
        raise AlertRefused("at least one label pair required")
    _require_fit(kept, "label", VALUE_MAX)
    _require_fit(annotations, "annotation", NOTE_MAX)
    if len(generator_url) > URL_MAX:
        raise AlertRefused(f"generatorURL has at most {URL_MAX} characters")
    starts = starts_at or ends_at or now
    if ends_at and ends_at < starts:
        raise AlertRefused("start time must be before end time")
    return Alert(
        fingerprint=fingerprint_of(kept),
        labels=kept,
        annotations={name: value for name, value in annotations.items() if value},
        starts_at=min(starts, now) if starts_at == 0 else starts,
        ends_at=ends_at or now + holds,
        updated_at=now,
        generator_url=_link(generator_url),
        source=source,
        is_timed=not ends_at,
        begun=(starts,),
    )


def _link(text: str) -> str:
    """Return text if it is a web address, otherwise nothing."""
    try:
        found = urlsplit(text)
        is_fit = bool(found.hostname) and found.port != 0 and text.isascii()
    except ValueError:
        is_fit = False
    return text if is_fit and _HOST.fullmatch(found.netloc) and _LINK.fullmatch(text) else ""


def merged(before: Alert | None, new: Alert, now: int) -> Alert:
    """Return what an alert becomes with its repeat: one that goes on keeps its beginning."""
    if before is None:
        return new
    begun = before.begun[-FLAPS:]
    if new.is_firing(now) and not before.is_firing(now):
        return msgspec.structs.replace(new, begun=(*begun, now)[-FLAPS:])
    is_same = before.is_firing(now) or new.starts_at <= before.ends_at
    starts_at = min(before.starts_at, new.starts_at) if is_same else new.starts_at
    return msgspec.structs.replace(new, starts_at=starts_at, begun=begun)


def _require_fit(pairs: Mapping[str, str], what: str, most: int) -> None:
    if len(pairs) > LABELS_MAX:
        raise AlertRefused(f"an alert has at most {LABELS_MAX} {what}s")
    for name, value in pairs.items():
        if not name or len(name) > NAME_MAX or not _is_fit(name):
            raise AlertRefused(f"invalid {what} name: {name[:40]!r}")
        if len(value) > most or not _is_fit(value):
            raise AlertRefused(f"invalid {what} value for {name[:40]!r}: too long, or broken text")


def _is_fit(text: str) -> bool:
    return "\0" not in text and text.encode("utf-8", "replace").decode() == text


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A parent mutes its children: while what fits `source` fires, what fits `target` is muted.

    Both must have the same values of the labels named in `equal`.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    equal: tuple[str, ...] = ()


RANKS: Mapping[str, int] = {
    "page": 1, "emergency": 1, "fatal": 1, "p1": 1, "sev1": 1,
    "critical": 2, "error": 2, "high": 2, "p2": 2, "sev2": 2,
    "warning": 3, "medium": 3, "p3": 3, "sev3": 3,
    "minor": 4, "low": 4, "p4": 4, "sev4": 4,
    "info": 0, "informational": 0, "none": 0, "ok": 0, "debug": 0,
}  # fmt: skip
"""What the label `severity` says of an incident's; 0: it opens none. Another word, or none, is 3."""


def rank_of(alerts: Iterable[Alert]) -> int:
    """Return the gravest severity that alerts hint at, 1 to 4; 0 where all only inform."""
    ranks = [RANKS.get(each.labels.get("severity", "").lower(), 3) for each in alerts]
    return min((each for each in ranks if each), default=0)


def group_of(alert: Alert, markets: Sequence[str]) -> tuple[str, str]:
    """Return the group of an alert: its market (`*` where it names none of ours) and what it is about."""
    told_market = alert.labels.get("market") or alert.labels.get("country") or ""
    market = told_market.upper() if told_market.upper() in markets else "*"
    return market, alert.labels.get("service") or alert.name or "alert"
