"""Finds every sentence that the console says: in its templates, its Python and its scripts."""

import ast
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from jinja2 import Environment, nodes

from umoja.console.pages import HERE
from umoja.console.words import said_by_scripts

TEMPLATES = sorted((HERE / "templates").glob("*.html"))
PYTHON = sorted(HERE.glob("*.py"))
_PARTS = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_CLASS = re.compile(r"\{% block body_class %\}.*?\{% endblock %\}", re.DOTALL)
_PLAIN = re.compile(r"\b(?:Umoja|UTC|API|Id|Webhook)\b")  # the same in every language
_WORD = re.compile(r"[^\W\d_]{2,}")
SHOWN = ("title", "aria-label", "placeholder", "alt", "aria-description", "label")


@dataclass
class Said:
    """What is said: single sentences, and pairs for one and for many."""

    words: set[str] = field(default_factory=set)
    counted: dict[str, str] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    """Calls whose sentence is not written out where it is said."""


def everything() -> Said:
    found = Said()
    for path in TEMPLATES:
        _of_template(path, found)
    for path in PYTHON:
        if path.name != "words.py":
            _of_python(path, found)
    found.words.update(said_by_scripts(HERE / "static"))
    return found


def _of_template(path: Path, found: Said) -> None:
    tree = Environment(autoescape=True).parse(path.read_text("utf-8"))
    for call in tree.find_all(nodes.Call):
        name = call.node.name if isinstance(call.node, nodes.Name) else ""
        texts = [each.value if isinstance(each, nodes.Const) else None for each in call.args]
        _take(found, name, texts, f"{path.name}:{call.lineno}")


def _of_python(path: Path, found: Said) -> None:
    for call in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            texts = [each.value if isinstance(each, ast.Constant) else None for each in call.args]
            _take(found, call.func.id, texts, f"{path.name}:{call.lineno}")


def _take(found: Said, name: str, texts: list[object], where: str) -> None:
    if name in {"_", "later"} and texts:
        if isinstance(texts[0], str):
            found.words.add(texts[0])
        elif name == "later":
            found.unread.append(where)
    if name == "_n":
        one, many = texts[:2]
        if isinstance(one, str) and isinstance(many, str):
            found.counted[one] = many
        else:
            found.unread.append(where)


class _Bare(HTMLParser):
    """Collects words that stand bare between tags or in an attribute that people read."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._quiet = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._quiet += tag in {"kbd", "code", "script", "style"}
        self.found += [
            value for name, value in attrs if name in SHOWN and value and _WORD.search(value)
        ]

    def handle_endtag(self, tag: str) -> None:
        self._quiet -= tag in {"kbd", "code", "script", "style"}

    def handle_data(self, data: str) -> None:
        if not self._quiet and _WORD.search(_PLAIN.sub("", data)):
            self.found.append(data.strip())


def bare_words(template: str) -> list[str]:
    """Return the words of a template that no `_()` says."""
    bare = _Bare()
    bare.feed(_PARTS.sub("", _CLASS.sub("", template)))
    bare.close()
    return bare.found


def fields_of(sentence: str) -> list[str]:
    return sorted(set(re.findall(r"\{([a-z_]+)\}", sentence)))


OPS = HERE.parent / "ops"
_SENTENCE = re.compile(r"[a-z]{3,}.* |.* .*[a-z]{3,}")
OF_MACHINES = {"alert.py", "otlp.py", "replay.py"}  # what these refuse is read by no page
_TOLD = {"say", "tell"}
_WORDS = {"title", "evidence", "what", "word", "says"}


def records() -> dict[str, str]:
    """Return what `ops` and the console refuse, tell and write down, by where: its fields as `7`."""
    found = {}
    for path in [*sorted(OPS.rglob("*.py")), *PYTHON]:
        if path.name in OF_MACHINES:
            continue
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(call, ast.Call):
                continue
            name = getattr(call.func, "attr", getattr(call.func, "id", ""))
            told = [each.value for each in call.keywords if each.arg in _WORDS]
            if name in _TOLD or name.endswith("Refused"):
                told += call.args
            for each in told:
                for text in _texts(each):
                    found[f"{path.name}:{call.lineno} {text}"] = text
    return {where: text for where, text in found.items() if _SENTENCE.search(text)}


def _texts(told: ast.expr) -> list[str]:
    """Return the texts that an expression may be, where they are written out."""
    if isinstance(told, ast.IfExp):
        return _texts(told.body) + _texts(told.orelse)
    if isinstance(told, ast.Constant) and isinstance(told.value, str):
        return [told.value.replace("{:,.0f}", "7").replace("{:+,.0f}", "+7")]
    if isinstance(told, ast.JoinedStr):
        return [
            "".join(
                each.value
                if isinstance(each, ast.Constant)
                else "'7'"
                if isinstance(each, ast.FormattedValue) and each.conversion == ord("r")
                else "7"
                for each in told.values
            )
        ]
    return []
