"""The feed of a journal read from outside: what a desk tells of its orders, without the desk."""

from umoja.ledger.tail import Tail
from umoja.payments.clerk import decode_order
from umoja.payments.order import Order


class TailFeed:
    """Committed orders, read from the journal's tail: a payments.outbox.Feed."""

    def __init__(self, tail: Tail) -> None:
        self._tail = tail

    @property
    def head(self) -> int:
        """Return the sequence of the last committed line. Raise Unavailable."""
        return self._tail.head

    def orders(self, *, after: int = 0, limit: int = 500) -> list[tuple[int, Order]]:
        """Return up to `limit` orders behind line `after`; none only where there is none.

        Lines that tell of no order are passed over. Raise Unavailable.
        """
        found: list[tuple[int, Order]] = []
        while not found and (lines := self._tail.stories(after=after, limit=limit)):
            found = [(sequence, decode_order(story)) for sequence, story in lines if story]
            after = lines[-1][0]
        return found

    def close(self) -> None:
        self._tail.close()
