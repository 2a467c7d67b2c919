"""Echoes: each partner is asked every few seconds whether it answers. No money moves.

Where few people pay, a partner may be down for long before three payments have failed; an echo does
not wait for customers. One that is lost makes the next ones come quickly, so that what is amiss is
known within a minute, and a partner that is well is hardly troubled.
"""

import asyncio
from collections.abc import Mapping

import structlog

from umoja.clock import Clock
from umoja.faults import Fault
from umoja.payments.ports import Echoing
from umoja.signals import EchoSeen

CALM_S = 5
HASTY_S = 1
HASTY_FOR_S = 60  # since an echo was lost last
ANSWER_S = 5  # an echo that takes longer is lost

log = structlog.get_logger()


class Echoes:
    """Asks one market's partners. Never holds up the desk, nor one partner another."""

    def __init__(self, partners: Mapping[str, Echoing], *, clock: Clock) -> None:
        """Take partners by the names that the desk tells of them."""
        self._partners = dict(partners)
        self._clock = clock
        self._counts: dict[str, list[int]] = {}  # by partner: asked, lost
        self._lost_s: dict[str, float] = {}  # when each one lost an echo last
        self._at_work: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Ask until cancelled."""
        due_s = dict.fromkeys(self._partners, self._clock.ticks_s())
        try:
            while True:
                now_s = self._clock.ticks_s()
                for name in self._partners:
                    if due_s[name] <= now_s:
                        due_s[name] = now_s + self._pause_s(name, now_s)
                        task = asyncio.create_task(self.ask(name))
                        self._at_work.add(task)
                        task.add_done_callback(self._ended)
                await self._clock.sleep(HASTY_S)
        finally:
            for task in self._at_work:
                task.cancel()
            await asyncio.gather(*self._at_work, return_exceptions=True)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._at_work.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("payments.echo.bug", exc_info=task.exception())

    async def ask(self, name: str) -> None:
        """Ask one partner once, and count what came of it."""
        why = await self._trouble(name)
        counts = self._counts.setdefault(name, [0, 0])
        counts[0] += 1
        if why:
            counts[1] += 1
            now_s = self._clock.ticks_s()
            if not self._is_hasty(name, now_s):  # the first of a row
                log.warning("payments.echo.lost", partner=name, cause=why)
            self._lost_s[name] = now_s

    def told(self) -> list[EchoSeen]:
        """Return what came of echoes since this was last asked."""
        counts, self._counts = self._counts, {}
        return [
            EchoSeen(partner=partner, asked=asked, lost=lost)
            for partner, (asked, lost) in counts.items()
        ]

    async def _trouble(self, name: str) -> str:
        """Return why an echo was lost; nothing where it was answered in time."""
        asking = asyncio.ensure_future(self._partners[name].echo())
        waiting = asyncio.ensure_future(self._clock.sleep(ANSWER_S))
        try:
            await asyncio.wait([asking, waiting], return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                return f"no answer within {ANSWER_S} seconds"
            asking.result()
        except (Fault, OSError) as fault:  # an adapter's broken connection is a lost echo too
            return str(fault) or type(fault).__name__
        finally:
            asking.cancel()
            waiting.cancel()
        return ""

    def _pause_s(self, name: str, now_s: float) -> int:
        return HASTY_S if self._is_hasty(name, now_s) else CALM_S

    def _is_hasty(self, name: str, now_s: float) -> bool:
        lost_s = self._lost_s.get(name)
        return lost_s is not None and now_s - lost_s <= HASTY_FOR_S
