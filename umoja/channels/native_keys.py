"""Idempotency keys: which are being answered right now, and what was answered a short while ago.

What a payment became is remembered by its desk for ever, for the key makes its id. Kept here is only
what no desk knows: the requests in flight, refusals for a wrong PIN, and the answers to a confirm, a
reversal or a consent, which the desk repeats in its own way later on.
"""

import hashlib
import secrets
from collections import OrderedDict
from dataclasses import dataclass

from umoja.channels.native_call import Outcome
from umoja.channels.problems import problem
from umoja.clock import Clock

IN_FLIGHT_MAX = 20_000
IN_FLIGHT_EACH = 2_000  # of one client, so that no client takes all places
KEPT_MAX = 20_000
KEPT_FOR_S = 3600.0

Place = tuple[str, str, str]
"""Client, address and key: the same key at another address is another key."""


@dataclass(frozen=True, slots=True)
class _Kept:
    digest: bytes
    outcome: Outcome | None
    until_s: float


class Keys:
    """Used from one event loop only. Memory is bounded: the oldest answers give way."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._in_flight: set[Place] = set()
        self._each: dict[str, int] = {}
        self._kept: OrderedDict[Place, _Kept] = OrderedDict()
        self._salt = secrets.token_bytes(32)

    def _digest(self, body: bytes) -> bytes:
        """Return what a body is compared by: keyed, because there may be a PIN in it."""
        return hashlib.blake2b(body, key=self._salt, digest_size=16).digest()

    def enter(self, place: Place, body: bytes) -> Outcome | None:
        """Begin a request, or return what it is answered instead. Whoever began must leave."""
        if place in self._in_flight:
            return problem("in_flight")
        kept = self._kept.get(place)
        if kept is not None and kept.until_s > self._clock.ticks_s():
            if not secrets.compare_digest(kept.digest, self._digest(body)):
                return problem("key_reused")
            if kept.outcome is not None:
                return kept.outcome
        each = self._each.get(place[0], 0)
        if each >= IN_FLIGHT_EACH:
            return problem("too_many", detail="Wait for answers before sending more.")
        if len(self._in_flight) >= IN_FLIGHT_MAX:
            return problem("unavailable")
        self._in_flight.add(place)
        self._each[place[0]] = each + 1
        return None

    def leave(self, place: Place) -> None:
        """End what `enter` began."""
        self._in_flight.discard(place)
        left = self._each[place[0]] - 1
        if left:
            self._each[place[0]] = left
        else:
            del self._each[place[0]]

    def keep(self, place: Place, body: bytes, outcome: Outcome | None) -> None:
        """Remember an answer for its repeats; None: only what was asked, and the repeat is run."""
        while len(self._kept) >= KEPT_MAX:
            self._kept.popitem(last=False)
        self._kept[place] = _Kept(self._digest(body), outcome, self._clock.ticks_s() + KEPT_FOR_S)
        self._kept.move_to_end(place)
