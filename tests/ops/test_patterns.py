"""Patterns of strangers: what they match, what is refused, and that none can hold the process up."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umoja.ops.patterns import PatternRefused, pattern


@pytest.mark.parametrize(
    ("text", "yes", "no"),
    [
        ("node.*", ["node", "nodeDown"], ["anode", "nod"]),
        ("a|bc|", ["a", "bc", ""], ["b", "abc"]),
        ("(foo|bar)-[0-9]+", ["foo-1", "bar-22"], ["foo-", "baz-1"]),
        ("[^a-c]x{2,3}", ["dxx", "zxxx"], ["axx", "dx", "dxxxx"]),
        (r"\d{2}\.\w+", ["12.ab_"], ["1.ab", "12xab"]),
        ("(?i)KE", ["ke", "Ke"], ["gh"]),
        ("^whole$", ["whole"], ["wholes"]),
        ("a{,2}", ["a{,2}"], ["aa"]),
        ("[]a]+", ["]", "a]"], ["b"]),
        ("(?:x|y)?z", ["z", "xz"], ["xyz"]),
        ("a.b", ["a-b"], ["a\nb"]),
    ],
)
def test_a_pattern_stands_for_the_whole_text(text: str, yes: list[str], no: list[str]) -> None:
    assert [each for each in yes if not pattern(text).matches(each)] == []
    assert [each for each in no if pattern(text).matches(each)] == []


@pytest.mark.parametrize(
    "text",
    ["(", ")", "a**", "*", "[a", "a{999}", "x{3,2}", r"\q", "(?=a)", "[z-a]", "\\", "a" * 1001],
)
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(PatternRefused):
        pattern(text)


def test_a_pattern_that_grows_too_large_is_refused() -> None:
    with pytest.raises(PatternRefused, match="too large"):
        pattern("((a{100}){100}){100}")


def test_a_pattern_that_would_ruin_others_reads_each_character_once() -> None:
    steps = 0

    def counted(text: str) -> bool:
        nonlocal steps
        found = pattern(text)
        outcome = found.matches("a" * 5_000 + "!")
        steps = len(found._steps)  # what grows, if anything does
        return outcome

    assert counted("(a+)+") is False
    assert steps <= 8
    assert counted("(.*a){20}") is False
    assert steps <= 100


@settings(max_examples=200, deadline=None)
@given(
    st.from_regex(r"\A(?:[ab]|\([ab]\|[ab]{0,2}\)|\.)(?:[*+?]|\{1,2\})?(?:[ab][*?]?){0,3}\Z"),
    st.text("ab", max_size=6),
)
def test_it_agrees_with_the_language_s_own(text: str, subject: str) -> None:
    assert pattern(text).matches(subject) == bool(re.fullmatch(text, subject))
