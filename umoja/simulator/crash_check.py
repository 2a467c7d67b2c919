"""The checker of the crash harness: compares what clients were told with what the journal holds.

It is a pure function over logs and journal. It knows nothing of how the journal was written, and it
trusts no part of the program under test beyond the reading of journal lines.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from umoja.simulator.crash_log import Asked, Entry, Told

SHOWN_MAX = 20  # violations of one kind that are told in full
RANKS = {"awaiting_confirmation": 0, "completed": 1, "reversal_asked": 2, "reversed": 3}
"""How far a payment has come. The harness never says no to a reversal, so none ever goes back."""

FINAL = {"done", "refused"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One journal line of an order of the harness's clients."""

    sequence: int
    order: str
    key: str
    step: str
    state: str
    receipt: str
    payer: int
    payee: int
    minor: int


@dataclass(frozen=True, slots=True)
class Course:
    """What one party had free and held, after each journal line that changed it; nothing before the first."""

    sequences: list[int] = field(default_factory=list)
    had: list[tuple[int, int]] = field(default_factory=list)

    def add(self, sequence: int, available: int, held: int) -> None:
        self.sequences.append(sequence)
        self.had.append((available, held))

    def explains(self, seen: tuple[int, int], *, first: int, last: int) -> bool:
        """Tell whether it had that after one of the lines `first` to `last`."""
        begin = max(bisect_right(self.sequences, first) - 1, 0)
        end = bisect_right(self.sequences, last)
        return seen in self.had[begin:end]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was counted, and every promise that was broken, as sentences."""

    asked: int
    acknowledged: int
    refused: int
    unknown: int
    resolved: int
    repeats: int
    reads: int
    lines: int
    violations: tuple[str, ...]


@dataclass(slots=True)
class _Fate:
    """All that one key was asked and told, in the order of its one asker."""

    first: Asked
    told: list[tuple[Asked, Told]] = field(default_factory=list)
    open: int = 0  # attempts that were never answered


def check(
    logs: Mapping[str, Sequence[Entry]],
    journal: Sequence[Line],
    courses: Mapping[int, Course],
    *,
    head: int,
) -> Verdict:
    """Compare the clients' logs with the journal. Keys must be unique among all clients.

    `courses` has everybody whose money was read; `head` is the journal's last line.
    """
    found = _Found()
    fates, reads = _sorted_out(logs, found)
    by_key: dict[str, list[Line]] = defaultdict(list)
    for line in journal:
        by_key[line.key].append(line)
    for key in sorted(by_key.keys() - fates.keys()):
        found.say("phantom", f"the journal has a payment {key} that nobody asked for")
    times = _Times(fates, by_key, head)
    counts: dict[str, int] = defaultdict(int)
    for key, fate in fates.items():
        _judge_told(key, fate, found, counts)
        _judge_kept(key, fate, by_key.get(key, []), found)
    _judge_receipts(journal, found)
    _judge_order(fates, by_key, times, found)
    for asked, told in reads:
        _judge_read(asked, told, courses, times, found)
    return Verdict(
        asked=len(fates),
        acknowledged=counts["done"],
        refused=counts["refused"],
        unknown=counts["unknown"],
        resolved=counts["resolved"],
        repeats=counts["repeats"],
        reads=len(reads),
        lines=len(journal),
        violations=found.sentences(),
    )


class _Found:
    """Violations by kind, so that one cause does not hide another."""

    def __init__(self) -> None:
        self._by_kind: dict[str, list[str]] = defaultdict(list)

    def say(self, kind: str, sentence: str) -> None:
        self._by_kind[kind].append(f"{kind}: {sentence}")

    def sentences(self) -> tuple[str, ...]:
        told: list[str] = []
        for kind, sentences in self._by_kind.items():
            told += sentences[:SHOWN_MAX]
            if len(sentences) > SHOWN_MAX:
                told.append(f"{kind}: and {len(sentences) - SHOWN_MAX} more")
        return tuple(told)


def _sorted_out(
    logs: Mapping[str, Sequence[Entry]], found: _Found
) -> tuple[dict[str, _Fate], list[tuple[Asked, Told]]]:
    fates: dict[str, _Fate] = {}
    reads: list[tuple[Asked, Told]] = []
    for client, log in logs.items():
        waiting: dict[int, Asked] = {}
        for entry in log:
            if isinstance(entry, Asked):
                waiting[entry.n] = entry
                if entry.does != "read" and entry.key not in fates:
                    fates[entry.key] = _Fate(entry)
                continue
            asked = waiting.pop(entry.n, None)
            if asked is None:
                found.say("log", f"{client} was told of attempt {entry.n}, which it never made")
            elif asked.does != "read":
                fates[asked.key].told.append((asked, entry))
            elif entry.how == "balance":
                reads.append((asked, entry))
        for asked in waiting.values():
            if asked.does != "read":
                fates[asked.key].open += 1
    return fates, reads


def _judge_told(key: str, fate: _Fate, found: _Found, counts: dict[str, int]) -> None:
    """Find what the client itself can see: two different answers about one key, or none at last."""
    orders = {told.order for _, told in fate.told if told.order}
    receipts = {told.receipt for _, told in fate.told if told.receipt}
    if len(orders) > 1:
        found.say("contradiction", f"{key} was told to be payments {', '.join(sorted(orders))}")
    if len(receipts) > 1:
        found.say("contradiction", f"{key} was told receipts {', '.join(sorted(receipts))}")
    reached = -1
    is_known = was_refused = False
    done = 0
    for asked, told in fate.told:
        if told.how == "done":
            done += asked.does == "pay"
            rank = RANKS.get(told.state, -1)
            if was_refused:
                found.say("contradiction", f"{key} was refused for good, and then it was done")
            if rank < reached:
                found.say("contradiction", f"{key} went back to {told.state}")
            reached, is_known = max(reached, rank), True
        elif told.how == "refused":
            if reached >= RANKS["completed"]:
                found.say("contradiction", f"{key} was done, and then refused: {told.word}")
            was_refused = is_known = True
        elif told.how == "absent" and is_known:
            found.say("contradiction", f"{key} was known, and then there was no such payment")
    counts["done"] += reached >= 0
    counts["refused"] += was_refused
    counts["repeats"] += max(0, done - 1)
    is_open = fate.open > 0
    has_doubt = False
    for _, told in fate.told:
        if told.how == "unknown":
            has_doubt = is_open = True
        elif told.how in FINAL and not fate.open:
            is_open = False
    counts["unknown"] += has_doubt or fate.open > 0
    counts["resolved"] += has_doubt and not is_open
    if is_open:
        found.say("unresolved", f"nobody ever learnt what became of {key}")


def _judge_kept(key: str, fate: _Fate, lines: list[Line], found: _Found) -> None:
    """Find what is missing of what was acknowledged, and what is there twice."""
    asked = fate.first
    hows = {told.how for _, told in fate.told}
    if not lines:
        if hows & FINAL:
            word = "acknowledged" if "done" in hows else "refused for good"
            found.say("missing", f"{key} was {word}, and the journal does not have it")
        return
    orders = {line.order for line in lines}
    if len(orders) > 1:
        found.say("doubled", f"{key} is {len(orders)} payments: {', '.join(sorted(orders))}")
    for step in ("booked", "reversed"):
        times = sum(line.step == step for line in lines)
        if times > 1:
            found.say("doubled", f"{key} was {step} {times} times")
    if not fate.open and hows <= {"nothing", "turned_away", "absent"}:
        found.say("contradiction", f"nothing had happened of {key}, it was told, and it was kept")
    kept_rank = max(RANKS.get(line.state, -1) for line in lines)
    if any((x.payer, x.payee, x.minor) != (asked.payer, asked.payee, asked.minor) for x in lines):
        found.say("altered", f"{key} is not what was asked")
    kept = {line.receipt: line for line in lines if line.receipt}
    for attempt, told in fate.told:
        if told.how not in FINAL:
            continue
        if told.order and told.order not in orders:
            found.say("missing", f"{key}: the journal does not have payment {told.order}")
        if told.receipt and told.receipt not in kept:
            found.say("missing", f"{key}: the journal does not have receipt {told.receipt}")
        if told.how == "done" and RANKS.get(told.state, 9) > kept_rank:
            found.say("missing", f"{key}: {attempt.does} was told {told.state}, never kept")


def _judge_receipts(journal: Iterable[Line], found: _Found) -> None:
    owners: dict[str, str] = {}
    for line in journal:
        if line.receipt and owners.setdefault(line.receipt, line.order) != line.order:
            found.say("doubled", f"receipt {line.receipt} was given to two payments")


class _Times:
    """Which journal lines were certainly there at a moment, and which certainly not yet."""

    def __init__(
        self, fates: Mapping[str, _Fate], by_key: Mapping[str, list[Line]], head: int
    ) -> None:
        known: list[tuple[int, int]] = []  # told at, a line that was there then
        begun: list[tuple[int, int]] = []  # first asked at, the first line of it
        for key, fate in fates.items():
            lines = by_key.get(key)
            if not lines:
                continue
            begun.append((fate.first.at, lines[0].sequence))
            known += [
                (told.at, sequence)
                for _, told in fate.told
                if told.how == "done" and (sequence := _told_line(told, lines))
            ]
        known.sort()
        begun.sort()
        self._told_at = [at for at, _ in known]
        self._there: list[int] = []
        highest = 0
        for _, sequence in known:
            highest = max(highest, sequence)
            self._there.append(highest)
        self._asked_at = [at for at, _ in begun]
        self._not_yet: list[int] = [head + 1] * (len(begun) + 1)
        for place in range(len(begun) - 1, -1, -1):
            self._not_yet[place] = min(begun[place][1], self._not_yet[place + 1])

    def there_at(self, moment: int) -> int:
        """Return the highest line that somebody had been told of before the moment."""
        place = bisect_left(self._told_at, moment)
        return self._there[place - 1] if place else 0

    def last_possible_at(self, moment: int) -> int:
        """Return the highest line that can have been there at the moment.

        One behind it belongs to what was asked for later, or the lines are not in order.
        """
        return self._not_yet[bisect_right(self._asked_at, moment)] - 1


def _told_line(told: Told, lines: list[Line]) -> int:
    """Return the line at which a payment reached the state that was told; 0: none did."""
    rank = RANKS.get(told.state, 9)
    return next((line.sequence for line in lines if RANKS.get(line.state, -1) >= rank), 0)


def _judge_order(
    fates: Mapping[str, _Fate],
    by_key: Mapping[str, list[Line]],
    times: _Times,
    found: _Found,
) -> None:
    """Find what was asked after another was answered, and stands before it in the journal."""
    for key, fate in fates.items():
        lines = by_key.get(key)
        if lines and lines[0].sequence < (there := times.there_at(fate.first.at)):
            found.say(
                "order",
                f"{key} is line {lines[0].sequence}, and was asked after line {there} was told",
            )


def _judge_read(
    asked: Asked, told: Told, courses: Mapping[int, Course], times: _Times, found: _Found
) -> None:
    """Find a balance that the party had at no moment between the asking and the answer."""
    first, last = times.there_at(asked.at), times.last_possible_at(told.at)
    seen = told.available, told.held
    course = courses.get(asked.party)
    if course is None or not course.explains(seen, first=first, last=last):
        found.say(
            "read",
            f"party {asked.party} was told to have {seen[0]} and {seen[1]} held,"
            f" which was so after none of the lines {first} to {last}",
        )
