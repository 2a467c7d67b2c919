"""The catalogues: every language says the same things, and what is wrong with one is named."""

import pytest

from umoja.markets import packs
from umoja.markets.texts import (
    CatalogueFaulty,
    Texts,
    characters,
    clean,
    clipped,
    clipped_lines,
    faults_in,
    parsed,
    segments,
)

HEAD = "language: xx\nautonym: Xx\nentries:\n"


@pytest.fixture(scope="module")
def texts() -> Texts:
    return Texts.load()


def test_seven_languages_say_the_same_with_the_same_fields(texts):
    assert sorted(texts.catalogues) == ["am", "ar", "en", "fr", "pt", "st", "sw"]
    assert faults_in(texts.catalogues) == []
    assert len(texts.catalogues["en"].entries) > 100
    assert [code for code in texts.catalogues if texts.is_right_to_left(code)] == ["ar"]


def test_each_language_is_named_in_itself(texts):
    assert {code: each.autonym for code, each in texts.catalogues.items()} == {
        "am": "አማርኛ",
        "ar": "العربية",
        "en": "English",
        "fr": "Français",
        "pt": "Português",
        "st": "Sesotho",
        "sw": "Kiswahili",
    }


@pytest.mark.parametrize(
    ("code", "speaks", "offered"),
    [
        ("KE", "en", ["en", "sw"]),
        ("TZ", "sw", ["sw", "en"]),
        ("CD", "fr", ["fr", "sw"]),
        ("MZ", "pt", ["pt", "en"]),
        ("LS", "st", ["st", "en"]),
        ("GH", "en", ["en"]),
        ("EG", "ar", ["ar", "en"]),
        ("ET", "am", ["am", "en"]),
    ],
)
def test_a_market_speaks_its_own_languages(texts, code, speaks, offered):
    market = packs.load(code)
    assert texts.language(market) == speaks
    assert texts.offered(market) == offered
    assert texts.language(market, "no such language") == speaks
    assert texts.language(market, offered[-1]) == offered[-1]


def test_words_of_which_nobody_is_sure_are_marked(texts):
    unsure = {
        code: sum(entry.needs_review for entry in each.entries.values())
        for code, each in texts.catalogues.items()
    }
    assert unsure["am"] > 100
    assert unsure["st"] > 100
    assert unsure["en"] == 0


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (": [", "xx.yaml: not YAML"),
        ("- a\n", "xx.yaml: needs language, autonym and entries"),
        ("language: xx\nentries: {}\n", "xx.yaml: autonym is missing"),
        (HEAD + "  a.b: x\n  a.b: y\n", "xx.yaml: a.b comes twice"),
        (HEAD + "  a.b: ''\n", "xx.yaml: a.b has no text"),
        (HEAD + "  a.b: 5\n", "xx.yaml: a.b has no text"),
        (HEAD + "  B: x\n", "xx.yaml: 'B' is not a key"),
        (HEAD + "  a.b: 'x {'\n", "xx.yaml: a.b has a brace without its other half"),
        (HEAD + "  a.b: 'x {}'\n", "xx.yaml: a.b has a field that is not a plain name"),
        (HEAD + "  a.b: 'x {c.d}'\n", "xx.yaml: a.b has a field that is not a plain name"),
        (HEAD + "  a.b: 'x {c!r}'\n", "xx.yaml: a.b has a field that is not a plain name"),
        (HEAD + "  a.b: {text: x, review: 7}\n", "xx.yaml: a.b has a review that is neither"),
        (HEAD + "  a.b: {text: x, by: me}\n", "xx.yaml: a.b has words beside text and review"),
    ],
)
def test_what_is_wrong_with_a_catalogue_is_named(source, told):
    catalogue, faults = parsed(source, name="xx.yaml")
    assert catalogue is None
    assert len(faults) == 1
    assert faults[0].startswith(told)


def test_a_language_that_differs_is_refused(texts, tmp_path):
    (tmp_path / "en.yaml").write_text(
        "language: en\nautonym: English\nentries: {a.b: 'one {name}', a.c: two}\n"
    )
    (tmp_path / "fr.yaml").write_text(
        "language: fr\nautonym: Français\nentries: {a.b: 'un', a.d: deux}\n", encoding="utf-8"
    )
    with pytest.raises(CatalogueFaulty) as caught:
        Texts.load(tmp_path)
    assert caught.value.faults == [
        "fr: a.c is missing",
        "fr: a.d is unknown",
        "fr: a.b has fields none, not name",
    ]


@pytest.mark.parametrize(
    ("text", "width", "cut"),
    [
        ("short", 5, "short"),
        ("longer", 5, "long."),
        ("ab cd", 4, "ab."),
        ("🦁🦁🦁", 4, "🦁."),
        ("e\u0301e\u0301e\u0301", 4, "e\u0301e."),
    ],
)
def test_names_are_cut_between_letters(text, width, cut):
    assert clipped(text, width) == cut
    assert characters(clipped(text, width)) <= width


def test_lines_give_way_before_the_last_one():
    assert clipped_lines("one\ntwo\nthree", 9) == "one\nthree"
    assert clipped_lines("one\ntwo\nthree", 40) == "one\ntwo\nthree"


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("  Amina \n Otieno ", "Amina Otieno"),
        ("\u202eevil\u202c", "evil"),
        ("a\x00b", "a b"),
        ("سلمى", "سلمى"),
        ("\ud800x", "x"),
    ],
)
def test_names_are_one_line_that_turns_nothing(typed, kept):
    assert clean(typed) == kept


@pytest.mark.parametrize(
    ("text", "messages"),
    [("", 0), ("a" * 160, 1), ("a" * 161, 2), ("€" * 81, 2), ("س" * 70, 1), ("س" * 71, 2)],
)
def test_messages_are_counted_as_networks_do(text, messages):
    assert segments(text) == messages
