"""The ledger mode of a bench: bundles of three legs straight to the port, in batches."""

import time
from collections.abc import Callable

from umoja.clock import Clock, to_micros
from umoja.ledger.entries import Verdict
from umoja.ledger.ledger import Ledger
from umoja.simulator.bench_figures import Offered, Repeat, Schedule
from umoja.simulator.bench_run import Meter, Tally, timed
from umoja.simulator.bench_stage import Ground, prove
from umoja.simulator.bench_workload import Draw

TOLD = "bundles straight to the ledger's port, each batch one durable commit"


class LedgerRunner:
    """Posts batches one after the other, as the desk's one writer does. See bench_run.Runner."""

    def __init__(
        self,
        ground: Ground,
        ledger: Ledger,
        *,
        clock: Clock,
        meter: Meter,
        batch: int,
        tell: Callable[[str], None],
        durability: dict[str, object],
    ) -> None:
        self._ground = ground
        self._ledger = ledger
        self._clock = clock
        self._meter = meter
        self._batch = batch
        self._tell = tell
        self._durability = durability
        self._lines = ledger.head
        self._done = 0

    def lap(self, draw: Draw, *, first: int, limit_s: float) -> Repeat:
        bundles = self._ground.bundles(draw, first=first, now=to_micros(self._clock.now()))
        size = self._batch
        parts = [bundles[at : at + size] for at in range(0, len(bundles), size)]
        del bundles
        tally, repeats, post = Tally(), list[Repeat](), self._ledger.post
        with timed(self._meter, tally, repeats):
            began = time.perf_counter()
            for part in parts:
                since = time.perf_counter()
                verdicts = post(part)
                now = time.perf_counter()
                tally.latencies += [now - since] * len(part)
                self._count(tally, verdicts)
                if limit_s and now - began >= limit_s:
                    break
        self._done += tally.done
        return repeats[0]

    def offer(self, draw: Draw, schedule: Schedule, *, first: int) -> Offered:
        bundles = self._ground.bundles(draw, first=first, now=to_micros(self._clock.now()))
        tally, repeats = Tally(), list[Repeat]()
        with timed(self._meter, tally, repeats):
            began, sent = time.perf_counter(), 0
            while sent < len(bundles):
                due = schedule.due_by(time.perf_counter() - began)
                if due == sent:
                    time.sleep(max(0.0, schedule.at_s(sent) - (time.perf_counter() - began)))
                    continue
                part = bundles[sent : min(due, sent + self._batch)]
                verdicts = self._ledger.post(part)
                now = time.perf_counter() - began
                tally.latencies += [
                    now - schedule.at_s(number) for number in range(sent, sent + len(part))
                ]
                self._count(tally, verdicts)
                sent += len(part)
        self._done += tally.done
        return Offered(
            rate=schedule.rate, seconds=schedule.seconds, due=len(bundles), repeat=repeats[0]
        )

    def _count(self, tally: Tally, verdicts: list[Verdict]) -> None:
        done = verdicts.count(Verdict.DONE)
        tally.done += done
        if done == len(verdicts):
            return
        refused = [verdict for verdict in verdicts if verdict is not Verdict.DONE]
        for verdict in refused:
            if verdict.name not in tally.reasons:
                self._tell(f"a bundle was refused: {verdict.name}")
            tally.why(verdict.name)
        tally.declined += len(refused)

    def books(self) -> dict[str, object]:
        found = prove(self._ledger)
        added = self._ledger.head - self._lines
        return found | {"lines_added": added, "every_answer_kept": added == self._done}

    def facts(self) -> dict[str, object]:
        return {
            "what": TOLD,
            "batch": self._batch,
            "durability": self._durability,
        }

    def close(self) -> None:
        self._ledger.close()
