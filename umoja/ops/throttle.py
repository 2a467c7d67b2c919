"""A throttle against guessing: whoever fails too often waits, longer each time; bounded memory."""

import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from umoja.clock import Clock

FORGOTTEN_AFTER_S = 900.0
PAUSE_FIRST_S = 30.0
PAUSE_MOST_S = 900.0
REMEMBERED_MAX = 10_000


@dataclass(slots=True)
class _Failures:
    count: int
    last_s: float
    free_at_s: float


class Throttle:
    """Counts failures by key. Each key has some failures free; every one more costs a pause.

    A key that did not fail for fifteen minutes (or as long as is given) is forgotten, and so is the
    one that failed longest ago where there are too many.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        remembered_max: int = REMEMBERED_MAX,
        forgotten_after_s: float = FORGOTTEN_AFTER_S,
    ) -> None:
        self._clock = clock
        self._forgotten_after_s = forgotten_after_s
        self._remembered_max = remembered_max
        self._failures: OrderedDict[Hashable, _Failures] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._failures)

    def wait_s(self, key: Hashable) -> float:
        """Return how long this key must wait before its next try; nought where it may try now."""
        with self._lock:
            return self._wait_s(key)

    def take(self, keys: Mapping[Hashable, int]) -> float:
        """Count a try before it is known how it ends, so that no crowd of them slips in at once.

        `keys` are what it counts for, each with how many failures are free: from that many on the key
        has to wait. Return nought, or how long to wait where one of them must: then nothing is counted.
        """
        now_s = self._clock.ticks_s()
        with self._lock:
            wait_s = max(self._wait_s(key) for key in keys)
            if wait_s > 0:
                return wait_s
            for key, free in keys.items():
                self._fail(key, free, now_s)
            return 0.0

    def give_back(self, keys: Mapping[Hashable, int]) -> None:
        """Take back the count of a try that was no failure; others that are counted stay so."""
        now_s = self._clock.ticks_s()
        with self._lock:
            for key, free in keys.items():
                found = self._failures.get(key)
                if found is None:
                    continue
                found.count -= 1
                if found.count < free:
                    found.free_at_s = min(found.free_at_s, now_s)
                if not found.count:
                    del self._failures[key]

    def _wait_s(self, key: Hashable) -> float:
        found = self._failures.get(key)
        return 0.0 if found is None else max(0.0, found.free_at_s - self._clock.ticks_s())

    def _fail(self, key: Hashable, free: int, now_s: float) -> None:
        found = self._failures.pop(key, None)
        if found is None or now_s - max(found.last_s, found.free_at_s) > self._forgotten_after_s:
            found = _Failures(count=0, last_s=now_s, free_at_s=now_s)
        found.count += 1
        found.last_s = now_s
        if found.count >= free:
            doubled = PAUSE_FIRST_S * 2 ** min(found.count - free, 10)
            found.free_at_s = now_s + min(PAUSE_MOST_S, doubled)
        self._failures[key] = found
        while len(self._failures) > self._remembered_max:
            self._failures.popitem(last=False)

    def succeed(self, key: Hashable) -> None:
        """Forget a key's failures."""
        with self._lock:
            self._failures.pop(key, None)
