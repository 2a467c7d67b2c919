"""Words: the console in the language of whoever reads it. docs/languages.md tells how to write them.

Sentences stand in English where they are used, as `_("{name} took it", name=…)`; a catalogue holds
the same sentences in another language. Which language is spoken belongs to the request that runs
now: `speak` sets it, and what a request starts or hands to a thread speaks it as well.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup, escape

from umoja.markets.market import Market

ENGLISH = "en"
LANGUAGES = {ENGLISH: "English", "fr": "Français"}
"""The languages of the console, each by the name that its speakers give it."""

LANGUAGE_COOKIE = "umoja_language"
ACCEPTED_MAX = 300  # characters of Accept-Language that are read
RECORD_MAX = 4_000  # a longer record is shown as it was written
NESTED_MAX = 3  # sentences in sentences
PROPER = frozenset({"address", "name", "order", "recipient", "target", "text", "who"})
"""Fields of records that are names of somebody or something: they are never translated."""
THIN_SPACE = "\u202f"  # narrow and never broken: between thousands, before a percent sign

_FOLDER = Path(__file__).parent / "catalogues"
_spoken: ContextVar[str] = ContextVar("spoken", default=ENGLISH)

_FIELD = re.compile(r"\{([a-z_]+)\}")
_NUMBER = re.compile(r"-?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?", re.ASCII)
_BEFORE_SIGN = re.compile(r" (?=[:;?!%»])|(?<=«) ")
_AMOUNT = re.compile(rf"\b([A-Z]{{3}}) ({_NUMBER.pattern})", re.ASCII)
_SHARE = re.compile(rf"({_NUMBER.pattern}) ?%", re.ASCII)
_QUALITY = re.compile(r"q=(?:(0)(?:\.([0-9]{0,3}))?|1(?:\.0{0,3})?)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """One language's words, by the English ones.

    `counted` are pairs for one and for many, by the sentence for one. `names` are names of the code.
    `records` are sentences that were written into records, with what stood in their fields.
    `places` are markets, by their codes.
    """

    words: Mapping[str, str]
    counted: Mapping[str, tuple[str, str]]
    names: Mapping[str, str]
    records: Mapping[str, str]
    places: Mapping[str, str]
    weekdays: tuple[str, ...]


@cache
def catalogue(language: str) -> Catalogue | None:
    """Return a language's catalogue; None for English, which is what stands in the code."""
    if language == ENGLISH:
        return None
    read = yaml.safe_load((_FOLDER / f"{language}.yaml").read_text(encoding="utf-8"))

    def set_of(part: str) -> dict[str, str]:
        return {sentence: _typeset(said) for sentence, said in read[part].items()}

    return Catalogue(
        words=set_of("words"),
        counted={one: (_typeset(a), _typeset(b)) for one, (a, b) in read["counted"].items()},
        names=set_of("names"),
        records=set_of("records"),
        places=read["places"],
        weekdays=tuple(read["weekdays"]),
    )


def _typeset(said: str) -> str:
    """Return a sentence whose spaces before high signs and inside quotes are never broken."""
    return _BEFORE_SIGN.sub(THIN_SPACE, said)


# Which language


def language() -> str:
    """Return the language that is spoken now."""
    return _spoken.get()


def speak(wanted: str) -> None:
    """Speak a language for the rest of this request; an unknown one is English."""
    _spoken.set(wanted if wanted in LANGUAGES else ENGLISH)


@contextmanager
def speaking(wanted: str) -> Iterator[None]:
    """Speak a language for a while."""
    before = _spoken.set(wanted)
    try:
        yield
    finally:
        _spoken.reset(before)


def chosen(*, kept: str, accepted: str) -> str:
    """Return the language for a reader: what she chose here, else what her browser asks for."""
    if kept in LANGUAGES:
        return kept
    asked: dict[str, int] = {}
    for each in accepted[:ACCEPTED_MAX].lower().split(","):
        tag, *parameters = (part.strip() for part in each.split(";"))
        known = ENGLISH if tag == "*" else tag.partition("-")[0]
        weight = _weight(parameters)
        if known in LANGUAGES and weight > asked.get(known, 0):
            asked[known] = weight
    return max(asked, key=lambda each: asked[each]) if asked else ENGLISH


def _weight(parameters: list[str]) -> int:
    """Return a quality in thousandths; nought where it is not written as it should be."""
    if not parameters:
        return 1000
    found = _QUALITY.fullmatch(parameters[0].replace(" ", ""))
    if found is None:
        return 0
    return int((found[2] or "").ljust(3, "0")) if found[1] else 1000


# Sentences


def _(sentence: str, /, **fields: Any) -> str:
    """Return a sentence in the language spoken, its `{fields}` filled in.

    Whole numbers are written as the language does. Markup among the fields makes the answer markup,
    with everything else escaped.
    """
    found = catalogue(language())
    return _filled(found.words.get(sentence, sentence) if found else sentence, fields)


def _n(one: str, many: str, n: int, /, **fields: Any) -> str:
    """Return the sentence for `n` things; `{n}` is the number. French counts nought as one."""
    found = catalogue(language())
    if found is None:
        return _filled(one if n == 1 else many, {"n": n, **fields})
    pair = found.counted.get(one, (one, many))
    return _filled(pair[0] if abs(n) < 2 else pair[1], {"n": n, **fields})


def later(sentence: str) -> str:
    """Return a sentence as it is, for a constant: it is said with `_` when somebody reads it."""
    return sentence


def _filled(sentence: str, fields: Mapping[str, Any]) -> str:
    if not fields:
        return sentence
    said = {
        name: number(value) if isinstance(value, int) and not isinstance(value, bool) else value
        for name, value in fields.items()
    }
    if any(hasattr(value, "__html__") for value in said.values()):
        safe = {name: str(escape(value)) for name, value in said.items()}
        return Markup(_put(str(escape(sentence)), safe))  # noqa: S704  all of it is escaped
    return _put(sentence, {name: str(value) for name, value in said.items()})


def _put(sentence: str, fields: Mapping[str, str]) -> str:
    return _FIELD.sub(lambda at: fields[at[1]], sentence)


# Names and records


def named(name: str) -> str:
    """Return a name of the code as people read it: send_money becomes send money."""
    found = catalogue(language())
    plain = name.replace("_", " ").replace("-", " ")
    return found.names.get(name, plain) if found else plain


def place(market: Market) -> str:
    """Return what a market is called in the language spoken; English where nothing else is known."""
    found = catalogue(language())
    known = found.places.get(market.code) if found else None
    return known or market.named(language())


def record(text: str) -> str:
    """Return what was written into a record, in the language spoken where its pattern is known.

    What is not known is shown as it was written; in a page it is marked as English by `recorded`.
    """
    return _recorded(language(), text) or text


def said_in(spoken: str, text: str) -> str:
    """Return a record in a language: for what is sent to somebody, and not shown to who asks."""
    with speaking(spoken if spoken in LANGUAGES else ENGLISH):
        return record(text)


def recorded(text: str) -> Markup:
    """Return a record for a page: translated, or as it was written and marked as English.

    What is markup already is left as it is: it was said by `recorded` before.
    """
    if language() == ENGLISH or not text or isinstance(text, Markup):
        return escape(text)
    found = _recorded(language(), text)
    if found is None:
        return Markup('<span lang="en">{}</span>').format(text)
    return escape(found)


@lru_cache(maxsize=4_096)
def _recorded(spoken: str, text: str, deep: int = 0) -> str | None:
    """Return a record in a language; None where no pattern is like it."""
    known = catalogue(spoken)
    if known is None or len(text) > RECORD_MAX:
        return None
    whole = known.records.get(text) or known.names.get(text)
    if whole is not None:
        return whole
    for parts, said in _patterns(spoken):
        found = _fitted(parts, text)
        if found is not None:
            return _put(
                said,
                {
                    name: value if name in PROPER else _piece(spoken, value, deep + 1)
                    for name, value in found.items()
                },
            )
    return None


@cache
def _patterns(spoken: str) -> list[tuple[list[str], str]]:
    """Return the patterns of records, as words and fields by turns; the longest words come first."""
    known = catalogue(spoken)
    assert known is not None, "English records are as they were written"
    found = [(_FIELD.split(sentence), said) for sentence, said in known.records.items()]
    found.sort(key=lambda each: -sum(map(len, each[0][::2])))
    return [each for each in found if len(each[0]) > 1]


def _fitted(parts: list[str], text: str) -> dict[str, str] | None:
    """Return what stands in the fields of a pattern; each has a letter at least.

    The words are looked for from left to right, each once: whatever people write into a record, the
    time it takes grows with its length only. Expressions that go back would not promise that.
    """
    words, names = parts[::2], parts[1::2]
    at, end = len(words[0]), len(text) - len(words[-1])
    if not text.startswith(words[0]) or not text.endswith(words[-1]):
        return None
    found = {}
    for name, following in zip(names[:-1], words[1:-1], strict=True):
        place = text.find(following, at + 1, end)
        if place < 0:
            return None
        found[name] = text[at:place]
        at = place + len(following)
    if at >= end:
        return None
    found[names[-1]] = text[at:end]
    return found


def _piece(spoken: str, value: str, deep: int) -> str:
    """Return what stood in a field: a name or a sentence of ours translated, a number rewritten."""
    whole = _recorded(spoken, value, deep) if deep <= NESTED_MAX else None
    if whole is not None:
        return whole
    if _NUMBER.fullmatch(value):
        return _points(value)
    shares = _SHARE.sub(lambda at: f"{_points(at[1])}{THIN_SPACE}%", value)
    return _AMOUNT.sub(lambda at: f"{_points(at[2])}{THIN_SPACE}{at[1]}", shares)


# Numbers and times


def number(value: float, *, decimals: int = 0) -> str:
    """Return a number as the language writes it: 1,234.5 or 1 234,5."""
    return figures(f"{value:,.{decimals}f}")


def figures(text: str) -> str:
    """Return a text whose numbers are written in English as the language spoken writes them."""
    if language() == ENGLISH:
        return text
    return _NUMBER.sub(lambda found: _points(found[0]), text)


def _points(written: str) -> str:
    return written.translate({ord(","): THIN_SPACE, ord("."): ","})


def money(text: str) -> str:
    """Return an amount written in English, `KES 1,234.50`, as the language spoken writes it."""
    if language() == ENGLISH:
        return text
    code, _space, amount = text.partition(" ")
    sign = "-" if code.startswith("-") else ""
    return f"{sign}{figures(amount)}{THIN_SPACE}{code.removeprefix('-')}" if amount else text


def percent(text: str) -> str:
    """Return a share written in English, such as `98.5 %`."""
    return text if language() == ENGLISH else figures(text).replace(" %", f"{THIN_SPACE}%")


def day(at: date) -> str:
    return at.strftime("%Y-%m-%d" if language() == ENGLISH else "%d/%m/%Y")


def minute(at: datetime) -> str:
    """Return a moment to the minute, without its zone."""
    return f"{day(at)} {at:%H:%M}"


def moment(at: datetime) -> str:
    """Return a moment to the second, in UTC."""
    return f"{day(at)} {at:%H:%M:%S} UTC"


def clock_time(at: datetime) -> str:
    return at.strftime("%H:%M:%S")


def weekday(at: datetime) -> str:
    """Return a day of the week and the time, as a wall has room for: Mon 14:05."""
    found = catalogue(language())
    name = found.weekdays[at.weekday()] if found else at.strftime("%a")
    return f"{name} {at:%H:%M}"


# The pages' script


@cache
def of_scripts(folder: Path, spoken: str) -> Mapping[str, str]:
    """Return what the scripts of a folder say, in a language; nothing for English."""
    known = catalogue(spoken)
    if known is None:
        return {}
    return {each: known.words[each] for each in said_by_scripts(folder) if each in known.words}


def said_by_scripts(folder: Path) -> list[str]:
    """Return every sentence that the scripts of a folder say with `_("…")`."""
    found: dict[str, None] = {}
    for path in sorted(folder.glob("*.js")):
        for each in re.findall(r'\b_\("([^"\\]+)"', path.read_text(encoding="utf-8")):
            found[each] = None
    return list(found)
