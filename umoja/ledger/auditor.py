"""The auditor: adds the journal up behind the writer's back, all day, and compares what they have.

It reads every line from the first one on as it is kept, proves it by its seal, judges it by its own tally,
and whenever it has come up to the writer compares all balances, totals and holds at the same line. What it
finds stops the market's writer and is told: better no payment than a wrong balance.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Protocol

import structlog

from umoja.clock import Clock
from umoja.faults import Unavailable
from umoja.ledger.chain import ORIGIN, JournalDamaged, Line
from umoja.ledger.entries import Shelf
from umoja.ledger.journal import row_of
from umoja.ledger.page import page_of
from umoja.ledger.rules import Taken
from umoja.ledger.tally import Tally

SHARE = 20  # of its time it works one part in so many
COMPARE_EVERY_S = 300
IDLE_S = 5
STEP_LINES = 1_000
NEAR = 20_000  # lines behind the writer at which a comparison is worth its copy of the state

log = structlog.get_logger()


class Writer(Protocol):
    """The writer's side, as the auditor looks at it."""

    @property
    def head(self) -> int: ...
    def sealed(self, *, after: int, before: bytes) -> Iterator[tuple[list[Line], bytes]]:
        """Yield lines behind `after` that fit their seals: see umoja.ledger.roll.Roll."""
        ...

    def taken(self) -> Taken: ...
    def shut(self, why: str) -> None: ...


class Breach(Exception):
    """The books do not hold. The writer has been stopped."""


class Auditor:
    """Audits one market's writer. `step` is a piece of work, `run` goes on until it is cancelled."""

    def __init__(
        self,
        writer: Writer,
        *,
        market: str,
        clock: Clock,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`tell` is called once with a sentence when the books do not hold: page somebody."""
        self._writer = writer
        self._market = market
        self._clock = clock
        self._tell = tell
        self._tally = Tally(knows_ids=False)
        self._lines = writer.sealed(after=0, before=ORIGIN)
        self._rest: list[Line] = []  # read and not yet added up
        self._read_to = (0, ORIGIN)
        self._until: Taken | None = None  # the writer's state that is compared next
        self._compared_s = clock.ticks_s()
        self.compared = 0
        self.breach = ""

    @property
    def sequence(self) -> int:
        """Return the last line that was added up."""
        return self._tally.sequence

    async def run(self) -> None:
        """Work now and then until cancelled, or until a breach was told."""
        while not self.breach:
            began_s = self._clock.ticks_s()
            try:
                has_more = await asyncio.to_thread(self.step)
            except Breach:
                return
            except Unavailable as cause:
                log.info("auditor.waits", market=self._market, cause=str(cause))
                has_more = False
            spent_s = self._clock.ticks_s() - began_s
            # A step too quick to be timed does not make a busy loop.
            await self._clock.sleep(spent_s * (SHARE - 1) if has_more and spent_s else IDLE_S)

    def step(self) -> bool:
        """Add some lines up and compare where it is time; tell whether there is more to do at once.

        Raise Breach where the books do not hold: the writer was stopped and somebody told. Raise
        Unavailable where the journal cannot be read now: call it again.
        """
        if self.breach:
            raise Breach(self.breach)
        try:
            has_more = self._add_up()
            self._compare()
        except JournalDamaged as cause:
            self._stop(str(cause))
        return has_more

    def compare(self) -> None:
        """Add up all there is and compare now. Raise as `step` does."""
        self._until = self._writer.taken()
        while self._until is not None:
            self.step()

    def _add_up(self) -> bool:
        if not self._rest:
            self._rest = self._read()
        limit = STEP_LINES
        if self._until is not None:
            limit = min(limit, self._until.sequence - self._tally.sequence)
        lines, self._rest = self._rest[:limit], self._rest[limit:]
        if lines:
            found = self._tally.take(page_of([row_of(line) for line in lines]))
            if found:
                self._stop(found[0])
        return bool(lines)

    def _read(self) -> list[Line]:
        """Return the next lines that fit their seals; none where the writer has no more."""
        if self._writer.head == self._read_to[0]:
            return []
        for lines, digest in self._lines:
            self._read_to = lines[-1][0], digest
            return lines
        # That reading came to its end; the writer has gone on since.
        after, before = self._read_to
        self._lines = self._writer.sealed(after=after, before=before)
        for lines, digest in self._lines:
            self._read_to = lines[-1][0], digest
            return lines
        return []

    def _compare(self) -> None:
        if self._until is None:
            is_near = self._writer.head - self._tally.sequence <= NEAR
            is_due = self._clock.ticks_s() - self._compared_s >= COMPARE_EVERY_S
            if is_near and (is_due or not self.compared) and self._writer.head:
                self._until = self._writer.taken()
            return
        if self._tally.sequence < self._until.sequence:
            return
        taken, self._until = self._until, None
        assert taken.sequence == self._tally.sequence, (
            "lines are added up as far as the copy, not further"
        )
        found = self._tally.differences(taken.sorted()) or self._gaps()
        if found:
            self._stop(found[0])
        self.compared = taken.sequence
        self._compared_s = self._clock.ticks_s()
        log.debug("auditor.agrees", market=self._market, line=taken.sequence)

    def _gaps(self) -> list[str]:
        """Return what of the books does not hold, whoever added them up."""
        sums: dict[tuple[str, Shelf], int] = {}
        for form, net in self._tally.totals():
            key = (form.currency, form.shelf)
            sums[key] = sums.get(key, 0) + net
        found = []
        for currency in sorted({currency for currency, _ in sums}):
            issued = sums.get((currency, Shelf.EMONEY), 0)
            trust = -sums.get((currency, Shelf.TRUST), 0)
            if issued != trust:
                found.append(f"{currency}: issued e-money {issued} differs from trust {trust}")
            if sums.get((currency, Shelf.ACCRUAL), 0):
                found.append(f"{currency}: accruals do not cancel")
        return found

    def _stop(self, why: str) -> None:
        self.breach = f"the auditor stopped {self._market} at line {self._tally.sequence}: {why}"
        self._writer.shut(self.breach)
        log.critical("auditor.breach", market=self._market, why=why, line=self._tally.sequence)
        self._tell(self.breach)
        raise Breach(self.breach)
