"""The gate before the hot doors: bounds what is in work, and leaves room for whoever asks for little.

It stands before any reading of tokens, PINs and JSON, so that turning somebody away costs next to
nothing. A client is known by the bare credentials that it sends: false ones never get further than
the look at their token, so they fill nothing up.
"""

from typing import Final

from umoja.channels.native_call import Told, told
from umoja.channels.problems import problem

IN_WORK_MAX = 6_000  # half of it is less than one client may have at the desk
HOLD_S: Final = 0.5
"""For so long nothing more is read from a connection that was turned away: it was told to wait."""

FULL: Final = told(problem("unavailable"), retry_after_s=1)
TOO_MANY: Final = told(problem("too_many", detail="Wait for answers before sending more."))


class Gate:
    """Counts the requests in work. Used from one event loop only.

    A client may have as many in work as there are places left: one alone takes at most half of
    them, two a third each, and so on. So there is always room for the next one.
    """

    def __init__(self, most: int = IN_WORK_MAX) -> None:
        self._left = most
        self._each: dict[bytes, int] = {}

    def enter(self, who: bytes) -> Told | None:
        """Take a place, or return what to answer instead. Whoever was let in must leave."""
        has = self._each.get(who, 0)
        left = self._left
        if has >= left:
            return TOO_MANY if left else FULL
        self._left = left - 1
        self._each[who] = has + 1
        return None

    def leave(self, who: bytes) -> None:
        """Give a place back."""
        self._left += 1
        has = self._each[who] - 1
        if has:
            self._each[who] = has
        else:
            del self._each[who]
