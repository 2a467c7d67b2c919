"""Matchers: what an alert's labels must say, as the Alertmanager's clients write it."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

import msgspec

from umoja.ops.patterns import PatternRefused, pattern

MATCHERS_MAX = 50
NAME_MAX = 128
VALUE_MAX = 1_024

_MATCHER = re.compile(
    r"""\s*(?P<name>"(?:[^"\\]|\\.)*"|[a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?P<sign>=~|!~|!=|=)\s*(?P<value>.*?)\s*""",
    re.DOTALL,
)
_PLAIN_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_ESCAPES = {"n": "\n", '"': '"', "\\": "\\"}


class MatcherRefused(ValueError):
    """A matcher cannot be read. It says why."""


class Matcher(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One condition on a label; a label that is not there is empty. Older clients know no `isEqual`."""

    name: str
    value: str
    is_regex: bool
    is_equal: bool = True

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether the labels fulfil it."""
        found = labels.get(self.name, "")
        is_so = _fits(self.value, found) if self.is_regex else found == self.value
        return is_so == self.is_equal

    @property
    def shown(self) -> str:
        """Return it as people write it."""
        sign = (
            ("=~" if self.is_regex else "=") if self.is_equal else "!~" if self.is_regex else "!="
        )
        name = self.name if _PLAIN_NAME.fullmatch(self.name) else f'"{_escaped(self.name)}"'
        return f'{name}{sign}"{_escaped(self.value)}"'


@lru_cache(maxsize=20_000)
def _fits(text: str, found: str) -> bool:
    """Tell whether a pattern fits; the same few values are asked for again and again."""
    return pattern(text).matches(found)


def all_match(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Tell whether labels fulfil every matcher."""
    return all(each.matches(labels) for each in matchers)


def checked(matchers: Iterable[Matcher]) -> tuple[Matcher, ...]:
    """Return matchers that are fit to be used. Raise MatcherRefused."""
    found = tuple(matchers)
    if len(found) > MATCHERS_MAX:
        raise MatcherRefused(f"at most {MATCHERS_MAX} matchers are taken")
    for each in found:
        if not each.name or len(each.name) > NAME_MAX or "\0" in each.name:
            raise MatcherRefused("a matcher names a label")
        if len(each.value) > VALUE_MAX or "\0" in each.value:
            raise MatcherRefused(
                f"a matcher's value has at most {VALUE_MAX} characters, and no zero"
            )
        if each.is_regex:
            try:
                pattern(each.value)
            except PatternRefused as cause:
                raise MatcherRefused(f"bad pattern for {each.name}: {cause}") from cause
    return found


def read_matcher(text: str) -> Matcher:
    """Read one matcher, `name="value"` with =, !=, =~ or !~. Raise MatcherRefused."""
    words = text.strip()
    if words.startswith("{") and words.endswith("}"):
        words = words[1:-1].rstrip(", ")
    found = _MATCHER.fullmatch(words)
    if found is None:
        raise MatcherRefused(f"bad matcher format: {text[:100]}")
    value = _unquoted(found["value"])
    return checked(
        [
            Matcher(
                name=_unquoted(found["name"]),
                value=value,
                is_regex=found["sign"] in {"=~", "!~"},
                is_equal=found["sign"] in {"=", "=~"},
            )
        ]
    )[0]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return re.sub(r"\\(.)", lambda each: _ESCAPES.get(each[1], each[0]), text[1:-1])
    if '"' in text:
        raise MatcherRefused(f"unbalanced quotes: {text[:100]}")
    return text
