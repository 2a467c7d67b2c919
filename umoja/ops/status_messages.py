"""Messages of the public status page: their kinds, and what may not stand in them. Pure."""

import re
from collections.abc import Mapping

import msgspec

from umoja.ops.incident import Incident
from umoja.ops.service_state import State

TEXT_MAX = 500
KNOWN_NAME_LEAST = 4  # letters of a vendor's name that is looked for in a message

KINDS: Mapping[str, State | None] = {
    "partly": State.PARTLY,
    "down": State.DOWN,
    "identified": None,
    "watching": State.WORKING,
    "over": State.WORKING,
}
"""What a message may be, and what it says of its service; None: no more than those before it."""

_NUMBER = re.compile(r"\d(?:[\s.\-()]?\d){6,}")
_TIMES = re.compile(r"\b(\d{4}-\d\d-\d\d|\d\d?/\d\d?(/\d{2,4})?|\d\d?:\d\d)\b", re.ASCII)


class MessageRefused(ValueError):
    """A message cannot be published or withdrawn. It says why, in a sentence for people."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message of the status page. Microseconds; `withdrawn_at` 0: it stands. `product` '': all."""

    number: int
    incident: str
    market: str
    product: str
    kind: str
    texts: dict[str, str]
    published_by: str
    published_at: int
    withdrawn_by: str = ""
    withdrawn_at: int = 0


def checked(text: str, language: str, incident: Incident) -> str:
    """Return a text fit for the public: no phones, no vendors, no money. Raise MessageRefused."""
    clean = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    if not clean:
        raise MessageRefused(f"the text in {language!r} is missing")
    if len(clean) > TEXT_MAX:
        raise MessageRefused(f"the text in {language!r} has more than {TEXT_MAX} characters")
    if _NUMBER.search(_without_times(clean)):
        raise MessageRefused(f"the text in {language!r} has a long number: no phones, no accounts")
    cause = incident.sheet.cause
    if cause is not None and cause.kind in {"vendor", "partner", "route", "release"}:
        name = cause.name.casefold()
        if len(name) >= KNOWN_NAME_LEAST and name in clean.casefold():
            raise MessageRefused(
                f"the text in {language!r} names {cause.name}: that is ours to know"
            )
    for currency in incident.value_minor:
        if re.search(rf"\b{re.escape(currency)}\s?\d|\d\s?{re.escape(currency)}\b", clean):
            raise MessageRefused(f"the text in {language!r} names an amount of money")
    return clean


def _without_times(text: str) -> str:
    """Return a text without its dates and times: they are numbers, but nobody's."""
    return _TIMES.sub(" ", text)


def is_same(held: Message, incident: str, product: str, kind: str, texts: dict[str, str]) -> bool:
    """Tell whether a message that stands says just this of an incident."""
    is_standing = held.incident == incident and not held.withdrawn_at
    return is_standing and (held.product, held.kind, held.texts) == (product, kind, texts)


def first(texts: Mapping[str, str]) -> str:
    """Return the text for staff to read: in English, or in the market's first language."""
    return texts.get("en") or next(iter(texts.values()), "")
