r"""Patterns: regular expressions that strangers send, matched in time that grows only with the text.

A pattern becomes a machine that reads each character once: there is no going back, so no pattern can
hold the process up. Known are literals, `.`, classes, \d \w \s, groups, `|`, `*`, `+`, `?`, {m,n},
and (?i), (?s) at the beginning. A pattern always stands for the whole text.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

PATTERN_MAX = 1_000
STATES_MAX = 1_000
REPEAT_MAX = 200
DEPTH_MAX = 50
STEPS_KEPT_MAX = 20_000

Test = Callable[[str], bool]

_CLASSES: dict[str, Test] = {
    "d": lambda c: "0" <= c <= "9",
    "w": lambda c: c == "_" or (c.isascii() and c.isalnum()),
    "s": lambda c: c in "\t\n\f\r ",
}
_PLAIN = {"n": "\n", "t": "\t", "r": "\r", "f": "\f"}


class PatternRefused(ValueError):
    """A pattern cannot be read, or is too large. It says why."""


@dataclass(slots=True)
class _State:
    """One state: reads a character that passes `test`, or goes on without reading."""

    test: Test | None = None
    nexts: list[int] = field(default_factory=list)


class Pattern:
    """A pattern made ready. Matching is safe from any thread and remembers a bounded number of steps."""

    def __init__(self, states: list[_State], start: int, end: int) -> None:
        self._states = states
        self._end = end
        self._start = self._closed([start])
        self._steps: dict[tuple[frozenset[int], str], frozenset[int]] = {}

    def matches(self, text: str) -> bool:
        """Tell whether the whole text is what the pattern says."""
        now = self._start
        for each in text:
            key = (now, each)
            after = self._steps.get(key)
            if after is None:
                after = self._closed(
                    [
                        self._states[place].nexts[0]
                        for place in now
                        if (test := self._states[place].test) is not None and test(each)
                    ]
                )
                if len(self._steps) >= STEPS_KEPT_MAX:
                    self._steps.clear()
                self._steps[key] = after
            if not after:
                return False
            now = after
        return self._end in now

    def _closed(self, places: list[int]) -> frozenset[int]:
        found: set[int] = set()
        todo = list(places)
        while todo:
            place = todo.pop()
            if place in found:
                continue
            found.add(place)
            state = self._states[place]
            if state.test is None:
                todo.extend(state.nexts)
        return frozenset(found)


@lru_cache(maxsize=512)
def pattern(text: str) -> Pattern:
    """Return a pattern. Raise PatternRefused."""
    if len(text) > PATTERN_MAX:
        raise PatternRefused(f"a pattern has at most {PATTERN_MAX} characters")
    reader = _Reader(text)
    start, end = reader.whole()
    return Pattern(reader.states, start, end)


Part = tuple[int, int]
"""Where a piece of the machine begins and ends."""


class _Reader:
    """Reads a pattern from left to right and builds its machine."""

    def __init__(self, text: str) -> None:
        self.states: list[_State] = []
        self._text = text
        self._at = 0
        self._depth = 0
        self._ignores_case = False
        self._dot_is_all = False

    def whole(self) -> Part:
        while self._text.startswith("(?", self._at):
            end = self._text.find(")", self._at)
            flags = self._text[self._at + 2 : end]
            if end < 0 or not flags or set(flags) - {"i", "s"}:
                break
            self._ignores_case |= "i" in flags
            self._dot_is_all |= "s" in flags
            self._at = end + 1
        part = self._choice()
        if self._at < len(self._text):
            raise PatternRefused("a ) without its (")
        return part

    def _state(self, test: Test | None = None, *nexts: int) -> int:
        if len(self.states) >= STATES_MAX:
            raise PatternRefused("the pattern is too large")
        self.states.append(_State(test, list(nexts)))
        return len(self.states) - 1

    def _choice(self) -> Part:
        parts = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            parts.append(self._sequence())
        if len(parts) == 1:
            return parts[0]
        start, end = self._state(), self._state()
        for first, last in parts:
            self.states[start].nexts.append(first)
            self.states[last].nexts.append(end)
        return start, end

    def _sequence(self) -> Part:
        start = end = self._state()
        while self._peek() not in {"", "|", ")"}:
            first, last = self._repeated()
            self.states[end].nexts.append(first)
            end = last
        return start, end

    def _repeated(self) -> Part:
        begun = self._at
        part = self._atom()
        ended = self._at
        least, most = self._count()
        if (least, most) == (1, 1):
            return part
        self._at, after = begun, self._at
        # What repeats is read again for each time: that builds its states anew.
        start = end = self._state()
        for _ in range(least):
            self._at = begun
            first, last = self._atom()
            self.states[end].nexts.append(first)
            end = last
        if most < 0:
            self._at = begun
            first, last = self._atom()
            loop = self._state(None, first)
            self.states[end].nexts.append(loop)
            self.states[last].nexts.append(loop)
            out = self._state()
            self.states[loop].nexts.append(out)
            end = out
        else:
            out = self._state()
            for _ in range(most - least):
                self.states[end].nexts.append(out)
                self._at = begun
                first, last = self._atom()
                self.states[end].nexts.append(first)
                end = last
            self.states[end].nexts.append(out)
            end = out
        assert ended <= after, "a count stands behind what it counts"
        self._at = after
        return start, end

    def _count(self) -> tuple[int, int]:
        """Read how often: least and most (-1: without end). A `?` behind it says nothing about a match."""
        found = {"*": (0, -1), "+": (1, -1), "?": (0, 1)}.get(self._peek())
        if found is not None:
            self._at += 1
        elif self._peek() == "{" and (read := self._braces()) is not None:
            found = read
        else:
            return 1, 1
        if self._peek() == "?":
            self._at += 1
        if self._peek() in {"*", "+", "?"}:
            raise PatternRefused("nothing to repeat")
        return found

    def _braces(self) -> tuple[int, int] | None:
        end = self._text.find("}", self._at)
        words = self._text[self._at + 1 : end].split(",") if end >= 0 else []
        if len(words) not in {1, 2} or not words[0].isdecimal() or not words[0].isascii():
            return None
        if len(words) == 2 and words[1] and not (words[1].isascii() and words[1].isdecimal()):
            return None
        if any(len(word) > 4 for word in words):
            raise PatternRefused(f"a count is at most {REPEAT_MAX}")
        least = int(words[0])
        most = least if len(words) == 1 else int(words[1]) if words[1] else -1
        if max(least, most) > REPEAT_MAX or (most >= 0 and most < least):
            raise PatternRefused(f"a count is at most {REPEAT_MAX}, the smaller one first")
        self._at = end + 1
        return least, most

    def _atom(self) -> Part:
        each = self._take()
        if each == "(":
            return self._group()
        if each in {"*", "+", "?"}:
            raise PatternRefused("nothing to repeat")
        if each in {"^", "$"}:
            # The whole text is meant anyway: at its ends they say nothing.
            if (each == "^" and self._at == 1) or (each == "$" and self._at == len(self._text)):
                place = self._state()
                return place, place
            raise PatternRefused(f"{each} stands at the end of a pattern only")
        if each == ".":
            return self._reads((lambda _: True) if self._dot_is_all else (lambda c: c != "\n"))
        if each == "[":
            return self._reads(self._class())
        if each == "\\":
            return self._reads(self._escaped())
        return self._reads(self._same(each))

    def _group(self) -> Part:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise PatternRefused("groups are too deep")
        if self._peek() == "?":
            if not self._text.startswith("?:", self._at):
                raise PatternRefused("only (?:…) is known of special groups")
            self._at += 2
        part = self._choice()
        if self._peek() != ")":
            raise PatternRefused("a ( without its )")
        self._at += 1
        self._depth -= 1
        return part

    def _class(self) -> Test:
        is_not = self._peek() == "^"
        if is_not:
            self._at += 1
        tests: list[Test] = []
        is_first = True
        while self._peek() != "]" or is_first:
            is_first = False
            each = self._take()
            if each == "\\":
                kind = self._peek()
                if kind.lower() in _CLASSES:
                    tests.append(self._escaped())
                    continue
                each = self._literal()
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in {"]", ""}:
                self._at += 1
                last = self._take()
                if last == "\\":
                    last = self._literal()
                if last < each:
                    raise PatternRefused("a range goes upward")
                tests.append(self._range(each, last))
            else:
                tests.append(self._same(each))
        self._at += 1
        return lambda c: any(test(c) for test in tests) != is_not

    def _escaped(self) -> Test:
        kind = self._peek()
        test = _CLASSES.get(kind.lower())
        if test is None:
            return self._same(self._literal())
        self._at += 1
        return test if kind.islower() else lambda c: not test(c)

    def _literal(self) -> str:
        each = self._take()
        if each in _PLAIN:
            return _PLAIN[each]
        if each.isalnum():
            raise PatternRefused(f"\\{each} is not known")
        return each

    def _same(self, char: str) -> Test:
        if self._ignores_case:
            lower = char.lower()
            return lambda c: c.lower() == lower
        return lambda c: c == char

    def _range(self, first: str, last: str) -> Test:
        if self._ignores_case:
            return lambda c: first <= c.lower() <= last or first <= c.upper() <= last
        return lambda c: first <= c <= last

    def _reads(self, test: Test) -> Part:
        end = self._state()
        return self._state(test, end), end

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        each = self._peek()
        if not each:
            raise PatternRefused("the pattern ends too early")
        self._at += 1
        return each
