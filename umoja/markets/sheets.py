"""Sheets: the YAML files of a pack read cell by cell, every fault kept with file, table and row.

Nothing here knows what a market is. A cell that cannot be read leaves a fault and a neutral value,
so that reading goes on and a person sees all faults at once; what is built from a sheet with faults
must not be used.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, time, timedelta
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import yaml

from umoja.money import AmountUnreadable, parse_minor, parse_percent

FILL_IN = "FILL IN"
NONE = "none"
SHEET_BYTES_MAX = 1_000_000
FAULTS_MAX = 200

_WORDS = re.compile(r"\s*,\s*")
_YES_NO = {"yes": True, "true": True, "no": False, "false": False}

# Only text comes out of these loaders: no number, date or truth value is ever guessed.
_Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)

Choice = TypeVar("Choice", bound=Enum)
Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class PackFault:
    """One thing that is wrong with a pack, and where."""

    file: str
    table: str
    row: str
    message: str

    def __str__(self) -> str:
        place = " / ".join(part for part in (self.file, self.table, self.row) if part)
        return f"{place}: {self.message}" if place else self.message


@dataclass(slots=True)
class Faults:
    """Collects what is wrong, each thing once; beyond FAULTS_MAX only that there is more."""

    found: list[PackFault] = field(default_factory=list)

    def add(self, *, file: str, table: str = "", row: str = "", message: str) -> None:
        fault = PackFault(file, table, row, message)
        if len(self.found) > FAULTS_MAX or fault in self.found:
            return
        if len(self.found) == FAULTS_MAX:
            fault = PackFault("", "", "", "and more: mend these first")
        self.found.append(fault)


class _Unreadable(ValueError):
    """The file is no sheet; the message says where and why."""


class _StrictLoader(_Loader):  # type: ignore[misc]
    """Refuses a key that stands twice: the second would silently win."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:  # noqa: FBT001, FBT002
        seen: set[str] = set()
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise _Unreadable(f"line {line}: a name must be one word, not a list")
            if key.value in seen:
                raise _Unreadable(f"line {line}: {key.value!r} stands here a second time")
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


class Row:
    """A mapping of cells. Each cell is asked for once; what nobody asked for is an unknown key."""

    def __init__(
        self, cells: Any, *, faults: Faults, file: str, table: str = "", row: str = ""
    ) -> None:
        self.file, self.table, self.row = file, table, row
        self.faults = faults
        self._asked: set[str] = set()
        self.cells: dict[str, Any] = {}
        if isinstance(cells, dict):
            self.cells = cells
        else:
            self.fault("must hold lines of the form 'word: value'")
            self.faults = Faults()  # what else is wrong with it follows from that

    def fault(self, message: str) -> None:
        self.faults.add(file=self.file, table=self.table, row=self.row, message=message)

    def close(self) -> None:
        """Name every key that the format does not know."""
        for key in self.cells:
            if key not in self._asked:
                self.fault(f"unknown word {key!r}")

    def has(self, key: str) -> bool:
        """Tell whether the cell holds something; an empty cell counts as absent."""
        self._asked.add(key)
        return self.cells.get(key, "") not in {"", None} if self._is_text(key) else True

    def _is_text(self, key: str) -> bool:
        return isinstance(self.cells.get(key, ""), str)

    def text(self, key: str, *, default: str | None = None) -> str:
        """Return the text of a cell. Without a default the cell must be there."""
        if not self.has(key):
            if default is None:
                self.fault(f"{key!r} is missing")
            return default or ""
        if not self._is_text(key):
            self.fault(f"{key!r} must be one value")
            return default or ""
        found: str = self.cells[key].strip()
        if found == FILL_IN:
            self.fault(f"fill in {key!r}")
            return default or ""
        return found

    def _read(
        self, key: str, reader: Callable[[str], Read], neutral: Read, what: str, *, needed: bool
    ) -> Read:
        text = self.text(key, default=None if needed else "")
        if not text:
            return neutral
        try:
            return reader(text)
        except (ValueError, KeyError):
            self.fault(f"{key!r} must be {what}, not {text!r}")
            return neutral

    def whole(self, key: str, *, default: int | None = None, least: int = 0) -> int:
        def read(text: str) -> int:
            if not re.fullmatch(r"[0-9]{1,12}", text, re.ASCII) or int(text) < least:
                raise ValueError(text)
            return int(text)

        what = f"a whole number of {least} or more"
        return self._read(key, read, default or least, what, needed=default is None)

    def maybe_whole(self, key: str) -> int | None:
        return self.whole(key) if self.has(key) and self.cells[key] != NONE else None

    def decimal(self, key: str, *, least: float, most: float) -> float:
        """Return a number for maps and estimates; never for money."""

        def read(text: str) -> float:
            if not re.fullmatch(r"-?[0-9]{1,9}(\.[0-9]{1,6})?", text, re.ASCII):
                raise ValueError(text)
            if not least <= float(text) <= most:
                raise ValueError(text)
            return float(text)

        what = f"a number from {least:g} to {most:g}"
        return self._read(key, read, least, what, needed=True)

    def amount(self, key: str, *, digits: int, needed: bool = True) -> int | None:
        """Return minor units of an amount in major units; `none` and absence are None."""
        if not self.has(key) and not needed:
            return None
        if self.cells.get(key) == NONE:
            return None
        what = f"an amount like 150 with at most {digits} decimals, or none"
        return self._read(
            key, lambda text: parse_minor(text, digits=digits), None, what, needed=needed
        )

    def percent(self, key: str, *, needed: bool = True) -> int:
        """Return millionths of a share written like 1.5%."""
        return self._read(key, millionths, 0, "a percentage like 1.5%", needed=needed)

    def yes_no(self, key: str, *, default: bool | None = None) -> bool:
        return self._read(
            key, _YES_NO.__getitem__, bool(default), "yes or no", needed=default is None
        )

    def choice(self, key: str, choices: type[Choice], *, default: Choice | None = None) -> Choice:
        neutral = default or next(iter(choices))
        what = "one of " + ", ".join(str(each.value) for each in choices)
        return self._read(key, choices, neutral, what, needed=default is None)

    def one_of(self, key: str, choices: Mapping[str, Read], *, needed: bool = True) -> Read:
        neutral = next(iter(choices.values()))
        return self._read(
            key, choices.__getitem__, neutral, "one of " + ", ".join(choices), needed=needed
        )

    def day(self, key: str) -> date | None:
        """Return a day written 2023-07-29, or None where the cell is absent."""
        return self._read(key, iso_day, None, "a day like 2023-07-29", needed=False)

    def match(self, key: str, pattern: str, what: str, *, needed: bool = True) -> str:
        """Return text that fits the pattern, or nothing."""

        def read(text: str) -> str:
            if not re.fullmatch(pattern, text, re.ASCII):
                raise ValueError(text)
            return text

        return self._read(key, read, "", what, needed=needed)

    def span(self, key: str) -> tuple[time, time] | None:
        """Return the two times of day of '17:00 - 21:00', or None where the cell is absent."""

        def read(text: str) -> tuple[time, time]:
            first, last = re.split(r"\s*-\s*", text)
            return iso_time(first), iso_time(last)

        return self._read(key, read, None, "times like 17:00 - 21:00", needed=False)

    def words(self, key: str, *, needed: bool = True) -> tuple[str, ...]:
        """Return the words of a list, written [a, b] or a, b."""
        held = self.cells.get(key, "")
        if isinstance(held, list):
            self._asked.add(key)
            if not all(isinstance(each, str) for each in held):
                self.fault(f"{key!r} must be a list of words")
                return ()
            found = tuple(each.strip() for each in held if each.strip())
        else:
            text = self.text(key, default=None if needed else "")
            found = tuple(each for each in _WORDS.split(text) if each)
        if FILL_IN in found:
            self.fault(f"fill in {key!r}")
            return ()
        if needed and isinstance(held, list) and not found:
            self.fault(f"{key!r} is missing")
        return found

    def numbers(self, key: str, *, needed: bool = True) -> tuple[int, ...]:
        """Return whole numbers of a list whose items may be ranges: 1-5, 15."""
        found: list[int] = []
        for word in self.words(key, needed=needed):
            ends = re.fullmatch(r"([0-9]{1,4})(?:\s*-\s*([0-9]{1,4}))?", word, re.ASCII)
            if ends is None:
                self.fault(f"{key!r} must be whole numbers like 1-5, 15, not {word!r}")
                continue
            found.extend(range(int(ends[1]), int(ends[2] or ends[1]) + 1))
        return tuple(dict.fromkeys(found))

    def inner(self, key: str) -> "Row | None":
        """Return the lines below a key as a row at the same place, or None where absent."""
        if not self.has(key):
            return None
        if self.cells[key] == FILL_IN:
            self.fault(f"fill in {key!r}")
            return None
        return Row(
            self.cells[key], faults=self.faults, file=self.file, table=self.table, row=self.row
        )

    def rows(self, key: str) -> Iterator["Row"]:
        """Go through the items of a list, each a row named for its place in the list."""
        if not self.has(key):
            return
        held = self.cells[key]
        if not isinstance(held, list):
            self.fault(f"{key!r} must be a list, each item beginning with a dash")
            return
        for index, cells in enumerate(held, start=1):
            name = f"{self.row} {key} {index}".strip()
            yield Row(cells, faults=self.faults, file=self.file, table=self.table, row=name)


class Sheet:
    """One file of a pack: a mapping of table names to tables."""

    def __init__(self, folder: Path, file: str, *, faults: Faults, needed: bool = True) -> None:
        self.file = file
        self._faults = faults
        self._tables = _tables(folder / file, file, faults, needed=needed)
        self._asked: set[str] = set()

    def table(self, name: str, *, needed: bool = True) -> Row | None:
        """Return a table whose lines are one row."""
        self._asked.add(name)
        if name not in self._tables:
            if needed and self._tables:
                self._faults.add(file=self.file, table=name, message="the table is missing")
            return None
        return Row(self._tables[name], faults=self._faults, file=self.file, table=name)

    def rows(self, name: str, *, needed: bool = True) -> Iterator[Row]:
        """Go through the named rows of a table. A row left to FILL IN is a fault."""
        table = self.table(name, needed=needed)
        if table is None:
            return
        if needed and not table.cells:
            table.fault("has no rows")
        for row, cells in table.cells.items():
            if row == FILL_IN:
                table.fault("fill in the name of the row")
                continue
            yield Row(cells, faults=self._faults, file=self.file, table=name, row=row)

    def close(self) -> None:
        """Name every table that the format does not know."""
        for name in self._tables:
            if name not in self._asked:
                self._faults.add(file=self.file, table=name, message="unknown table")


def _tables(path: Path, file: str, faults: Faults, *, needed: bool) -> dict[str, Any]:
    if not needed and not path.exists():
        return {}
    try:
        return _read(path)
    except FileNotFoundError:
        faults.add(file=file, message="the file is missing")
    except OSError as closed:
        faults.add(file=file, message=f"the file cannot be opened: {closed.strerror}")
    except UnicodeDecodeError as odd:
        faults.add(file=file, message=f"the file is not UTF-8 text (byte {odd.start + 1})")
    except RecursionError:
        faults.add(file=file, message="the file cannot be read: lists too deep in each other")
    except yaml.YAMLError as wrong:
        faults.add(file=file, message=f"the file cannot be read: {_said(wrong)}")
    except _Unreadable as wrong:
        faults.add(file=file, message=f"the file cannot be read: {wrong}")
    return {}


def _read(path: Path) -> dict[str, Any]:
    """Return the tables of a file. Raise OSError, YAMLError, UnicodeDecodeError or _Unreadable."""
    with path.open("rb") as file:
        raw = file.read(SHEET_BYTES_MAX + 1)
    if len(raw) > SHEET_BYTES_MAX:
        raise _Unreadable(f"it is larger than {SHEET_BYTES_MAX} bytes")
    text = raw.decode("utf-8")
    for number, line in enumerate(text.splitlines(), start=1):
        if "\t" in line[: len(line) - len(line.lstrip())]:
            raise _Unreadable(f"line {number} begins with a tab: use spaces")
    found = yaml.load(text, Loader=_StrictLoader)  # noqa: S506
    if not found:
        raise _Unreadable("it is empty")
    if not isinstance(found, dict):
        raise _Unreadable("it must hold tables, each a name and a colon")
    return found


def _said(wrong: yaml.YAMLError) -> str:
    """Return where and why, without the parser's own words for the file."""
    mark = getattr(wrong, "problem_mark", None)
    why = " ".join(str(getattr(wrong, "problem", "") or wrong).split())
    why = why.replace(' in "<unicode string>"', "")
    return f"line {mark.line + 1}: {why}" if mark else why


def iso_day(text: str) -> date:
    """Read 2023-07-29. Raise ValueError for any other form."""
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text, re.ASCII):
        raise ValueError(text)
    return date.fromisoformat(text)


def iso_time(text: str) -> time:
    """Read 17:00. Raise ValueError for any other form."""
    if not re.fullmatch(r"[0-9]{2}:[0-9]{2}", text, re.ASCII):
        raise ValueError(text)
    return time.fromisoformat(text)


def millionths(text: str) -> int:
    """Read 1.5% as millionths. Raise AmountUnreadable without the sign."""
    if not text.endswith("%"):
        raise AmountUnreadable(f"not a percentage: {text[:40]!r}")
    return parse_percent(text[:-1].strip())


def day_before(day: date) -> date:
    return day - timedelta(days=1)
