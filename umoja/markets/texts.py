"""Texts: what the house says to people, one catalogue a language, read strictly from YAML.

A catalogue maps keys to texts with named fields. An entry is a text, or a text with `review: true`
where the wording is not certain. Every language has every key with the same fields: `faults_in`
names each difference, and `Texts.load` refuses catalogues that have one.
"""

import re
import string
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from umoja.markets.market import Market

SCREEN_MAX = 160
"""Characters of one USSD screen, as gateways count them: UTF-16 units.

The network below sends a screen in 160 octets: 182 letters of GSM-7, but 80 of Arabic or Amharic.
Most gateways send the rest of a longer screen after it; where one does not, its screens in these
scripts are cut by the network, and the catalogue's texts have to be made shorter.
"""

NAME_MIN = 6
"""The fewest characters that are left of a name or a reference that gives way."""

LAST_RESORT = "en"
"""What is spoken where neither the person's language nor the market's has a catalogue."""

_FOLDER = Path(__file__).parent / "catalogues"
_KEY = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)+", re.ASCII)
_FIELD = re.compile(r"[a-z][a-z_]*", re.ASCII)
_HEADER = frozenset({"language", "autonym", "right_to_left", "entries"})

_GSM7 = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM7_DOUBLE = frozenset("\f^{}\\[~]|€")


class CatalogueFaulty(ValueError):
    """The catalogues are not fit to speak with. `faults` has one sentence for each fault."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults[:5]) + ("; …" if len(faults) > 5 else ""))
        self.faults = faults


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One text with `{named}` fields. `needs_review`: a speaker of the language has to look."""

    text: str
    fields: frozenset[str]
    needs_review: bool


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """All texts of one language. `autonym` is the language's name in itself."""

    language: str
    autonym: str
    is_right_to_left: bool
    entries: Mapping[str, Entry]


class Texts:
    """Speaks every language that has a catalogue."""

    def __init__(self, catalogues: Mapping[str, Catalogue]) -> None:
        """Raise CatalogueFaulty where the catalogues differ in keys or fields."""
        faults = faults_in(catalogues)
        if faults:
            raise CatalogueFaulty(faults)
        self.catalogues = catalogues

    @classmethod
    def load(cls, folder: Path = _FOLDER) -> "Texts":
        """Read every catalogue of the folder. Raise CatalogueFaulty with all that is wrong."""
        return _loaded(folder)

    def say(self, language: str, key: str, **fields: str) -> str:
        """Return the text in a language that has a catalogue. Fields must be those of the text."""
        return self.catalogues[language].entries[key].text.format(**fields)

    def fit(
        self,
        language: str,
        key: str,
        *,
        limit: int = SCREEN_MAX,
        shrink: Collection[str] = (),
        **fields: str,
    ) -> str:
        """Return the text in at most `limit` characters: the fields named in `shrink` give way."""
        text = self.catalogues[language].entries[key].text.format_map(fields)
        for width in (24, 18, 13, 9, NAME_MIN):
            if characters(text) <= limit:
                return text
            cut = {name: clipped(fields[name], width) for name in shrink}
            text = self.say(language, key, **{**fields, **cut})
        return clipped_lines(text, limit)

    def language(self, market: Market, wanted: str = "") -> str:
        """Return what to speak with somebody who wants `wanted`: that, or the market's default."""
        for language in (wanted, market.default_language):
            if language in self.catalogues:
                return language
        return LAST_RESORT

    def offered(self, market: Market) -> list[str]:
        """Return the market's languages that have a catalogue, in the market's order."""
        return [code for code in market.languages if code in self.catalogues]

    def is_right_to_left(self, language: str) -> bool:
        return self.catalogues[language].is_right_to_left


def faults_in(catalogues: Mapping[str, Catalogue]) -> list[str]:
    """Return one sentence for each key that a language lacks and each field that differs.

    The catalogue of last resort is the measure for the others.
    """
    measure = catalogues.get(LAST_RESORT)
    if measure is None:
        return [f"there is no catalogue for {LAST_RESORT}"]
    faults = []
    for language, catalogue in sorted(catalogues.items()):
        have, want = catalogue.entries, measure.entries
        faults += [f"{language}: {key} is missing" for key in sorted(want.keys() - have.keys())]
        faults += [f"{language}: {key} is unknown" for key in sorted(have.keys() - want.keys())]
        faults += [
            f"{language}: {key} has fields {_listed(have[key].fields)}, not "
            f"{_listed(want[key].fields)}"
            for key in sorted(have.keys() & want.keys())
            if have[key].fields != want[key].fields
        ]
    return faults


def characters(text: str) -> int:
    """Return the length as gateways count it: UTF-16 units, so most emoji count as two."""
    if text.isascii():
        return len(text)
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def segments(text: str) -> int:
    """Return how many text messages this takes: 160 or 153 of GSM-7, else 70 or 67 UTF-16 units."""
    if not text:
        return 0
    if all(letter in _GSM7 or letter in _GSM7_DOUBLE for letter in text):
        length = sum(2 if letter in _GSM7_DOUBLE else 1 for letter in text)
        whole, part = 160, 153
    else:
        length, whole, part = characters(text), 70, 67
    return 1 if length <= whole else -(-length // part)


def clean(text: str) -> str:
    """Return a name or reference as one line without control, direction or unpaired characters."""
    if not text.isprintable():  # which is all of what is not seen, but for the plain space
        text = "".join(" " if unicodedata.category(each) in _UNSEEN else each for each in text)
    return " ".join(text.split())


_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})


def clipped(text: str, width: int) -> str:
    """Return the text in at most `width` characters; a dot says that something was cut off."""
    if characters(text) <= width:
        return text
    kept = text[: width - 1]
    while characters(kept) > width - 1:
        kept = kept[:-1]
    while kept and (unicodedata.combining(kept[-1]) or kept[-1].isspace()):
        kept = kept[:-1]
    return f"{kept}."


def clipped_lines(text: str, limit: int) -> str:
    """Return the text cut to `limit` characters, by lines first: the last line is kept longest."""
    lines = text.split("\n")
    while characters("\n".join(lines)) > limit and len(lines) > 1:
        lines.pop(-2)
    return clipped("\n".join(lines), limit)


def parsed(source: str, *, name: str) -> tuple[Catalogue | None, list[str]]:
    """Read one catalogue's YAML. Return it with a sentence for each fault of its own."""
    faults: list[str] = []
    try:
        data = yaml.load(source, _loader(name, faults))  # noqa: S506  a SafeLoader, see _loader
    except yaml.YAMLError as error:
        return None, [f"{name}: not YAML: {' '.join(str(error).split())[:120]}"]
    if not isinstance(data, dict) or not isinstance(data.get("entries"), dict):
        return None, [*faults, f"{name}: needs language, autonym and entries"]
    faults += [f"{name}: {word} is unknown" for word in sorted(map(str, data.keys() - _HEADER))]
    for word in ("language", "autonym"):
        if not isinstance(data.get(word), str) or not data[word]:
            faults.append(f"{name}: {word} is missing")
    entries = {}
    for key, value in data["entries"].items():
        entry, trouble = _entry(value)
        if not isinstance(key, str) or _KEY.fullmatch(key) is None:
            faults.append(f"{name}: {key!r} is not a key")
        elif entry is None:
            faults.append(f"{name}: {key} {trouble}")
        else:
            entries[key] = entry
    if faults:
        return None, faults
    return Catalogue(
        language=data["language"],
        autonym=data["autonym"],
        is_right_to_left=data.get("right_to_left") is True,
        entries=entries,
    ), []


@cache
def _loaded(folder: Path) -> Texts:
    catalogues, faults = {}, []
    for path in sorted(folder.glob("*.yaml")):
        catalogue, troubles = parsed(path.read_text("utf-8"), name=path.name)
        faults += troubles
        if catalogue is None:
            continue
        if catalogue.language != path.stem:
            faults.append(f"{path.name}: says that its language is {catalogue.language}")
        catalogues[catalogue.language] = catalogue
    if faults:
        raise CatalogueFaulty(faults)
    return Texts(catalogues)


def _entry(value: object) -> tuple[Entry | None, str]:
    """Return the entry, or None and what is wrong with it."""
    needs_review: object = False
    if isinstance(value, dict):
        if not value.keys() <= {"text", "review"}:
            return None, "has words beside text and review"
        needs_review = value.get("review", False)
        value = value.get("text")
    if not isinstance(value, str) or not value.strip():
        return None, "has no text"
    if not isinstance(needs_review, bool):
        return None, "has a review that is neither true nor false"
    try:
        parts = list(string.Formatter().parse(value))
    except ValueError:
        return None, "has a brace without its other half"
    fields = [field for _, field, _, _ in parts if field is not None]
    plain = all(_FIELD.fullmatch(field) for field in fields)
    if not plain or any(form or turn for _, _, form, turn in parts):
        return None, "has a field that is not a plain name"
    return Entry(text=value, fields=frozenset(fields), needs_review=needs_review), ""


def _loader(name: str, faults: list[str]) -> type[yaml.SafeLoader]:
    """Return a loader that notes keys which come twice: YAML itself keeps the last in silence."""

    class Loader(yaml.SafeLoader):
        pass

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = loader.construct_object(key_node, deep=True)
            if key in found:
                faults.append(f"{name}: {key} comes twice")
            found[key] = loader.construct_object(value_node, deep=True)
        return found

    Loader.add_constructor("tag:yaml.org,2002:map", mapping)
    return Loader


def _listed(fields: frozenset[str]) -> str:
    return ", ".join(sorted(fields)) or "none"
