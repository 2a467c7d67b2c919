"""The shape of the house: what the linters cannot say."""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

from umoja.markets import packs
from umoja.payments.catalogue import PRODUCTS

ROOT = Path(__file__).parent.parent
ROOMS = ROOT / "umoja"
FILES = sorted(path for path in ROOMS.rglob("*.py") if "packs/" not in str(path))
MONEY = [
    ROOMS / "money.py",
    *sorted((ROOMS / "ledger").rglob("*.py")),
    *sorted((ROOMS / "payments").rglob("*.py")),
]
BANNED_NAMES = {"utils", "helpers", "common", "base", "manager", "service", "services"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def floats_and_divisions(source: str) -> list[str]:
    """Return each float literal, `float` and `/` of a source, with its line."""
    found = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        is_float = token.type == tokenize.NUMBER and re.search(
            r"^[0-9_]*\.[0-9]|^[0-9_]+[eE]", token.string
        )
        is_division = token.type == tokenize.OP and token.string in {"/", "/="}
        if is_float or is_division:
            found.append(f"{token.start[0]}: {token.string}")
    found.extend(
        f"{node.lineno}: {getattr(node.func, 'id', '')}()"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") in {"float", "Decimal", "round"}
    )
    return found


@pytest.mark.parametrize("path", MONEY, ids=name_of)
def test_money_is_never_a_float_and_never_divided_in_passing(path: Path):
    assert floats_and_divisions(path.read_text()) == []


@pytest.mark.parametrize(
    ("source", "count"),
    [("x = 1.5", 1), ("x = a / b", 1), ("x /= 2", 1), ("x = float('1')", 1), ("x = round(1, 2)", 1),
     ("x = 1e3", 1), ("x = a // b", 0), ("x = 'a / 1.5'", 0), ("def f(a, /, b): ...", 1)],
)  # fmt: skip
def test_the_search_for_floats_finds_them(source: str, count: int):
    assert len(floats_and_divisions(source)) == count


def country_words() -> dict[str, str]:
    """Return what would name a country in code: codes, names, dialling codes, currencies."""
    words = {}
    for code in packs.codes():
        market = packs.load(code)
        for word in (market.code, market.iso3, market.name, *(c.code for c in market.currencies)):
            words[word] = code
        for zone in market.zones:
            words[zone] = code
    # An amount in dollars is no country: one market keeps wallets in them, others quote prices.
    words.pop("USD", None)
    return words


def test_no_country_is_named_in_a_string_of_the_code():
    words = country_words()
    assert len(words) > 30
    found = []
    for path in FILES:
        tree = ast.parse(path.read_text())
        docstrings = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        found += [
            f"{name_of(path)}:{node.lineno}: {node.value!r}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docstrings
            and node.value in words
        ]
    assert found == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_file_says_first_what_it_is_for(path: Path):
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert len(docstring.split()) >= 5, "one sentence that says what this file is for"


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.name == "__init__.py"], ids=name_of
)
def test_a_room_s_own_file_holds_a_docstring_and_no_code(path: Path):
    assert len(ast.parse(path.read_text()).body) == 1


def test_no_room_has_a_name_that_says_nothing():
    names = {part for path in FILES for part in path.relative_to(ROOMS).with_suffix("").parts}
    assert names & BANNED_NAMES == set()


def test_folders_are_at_most_two_doors_deep():
    deep = [name_of(path) for path in FILES if len(path.relative_to(ROOMS).parts) > 3]
    assert deep == []


def test_every_product_on_the_shelf_is_in_the_catalogue():
    shelf = {path.stem for path in (ROOMS / "payments" / "products").glob("*.py")} - {"__init__"}
    assert shelf == set(PRODUCTS)
    assert all(PRODUCTS[code].code == code for code in PRODUCTS)


def test_every_detector_on_the_shelf_is_in_the_watch():
    shelf = {path.stem for path in (ROOMS / "ops" / "detectors").glob("*.py")} - {"__init__"}
    watch = (ROOMS / "ops" / "watch.py").read_text()
    assert [name for name in sorted(shelf) if name not in watch] == []
    assert shelf


def test_every_pack_on_the_shelf_has_a_folder_and_no_python():
    shelf = {path.name for path in packs.PACKS.iterdir() if path.is_dir() and path.name[0] != "_"}
    assert shelf == set(packs.codes())
    assert list(packs.PACKS.rglob("*.py")) == []


def test_no_file_is_too_long_to_be_read():
    long = {name_of(path): len(path.read_text().splitlines()) for path in FILES}
    assert {name: lines for name, lines in long.items() if lines > 900} == {}


CONFIGURED = {
    f"umoja/{name}.py"
    for name in (
        "cli",
        "config",
        "app",
        "front",
        "house",
        "keeper",
        "opening",
        "posts",
        "premises",
        "ways",
        "commands/words",
        "simulator/crash_site",
    )
}
"""The command line, the hall, and what the hall is made of when its processes are apart."""


def test_only_the_hall_and_the_command_line_read_the_configuration():
    readers = {name_of(path) for path in FILES if "umoja.config" in path.read_text()}
    assert readers <= CONFIGURED
