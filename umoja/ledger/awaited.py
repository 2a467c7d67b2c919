"""A lock that tells its holder whether somebody waits for it. For who holds it again and again."""

import threading
from typing import Self


class AwaitedLock:
    """A plain lock; any thread may release it. Whoever holds it long looks at `is_awaited`."""

    __slots__ = ("_counting", "_lock", "_waiting")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counting = threading.Lock()
        self._waiting = 0

    def acquire(self, *, blocking: bool = True) -> bool:
        """Take it, and wait for it unless told not to. Return whether it was taken."""
        if self._lock.acquire(blocking=False):
            return True
        if not blocking:
            return False
        with self._counting:
            self._waiting += 1
        try:
            return self._lock.acquire()
        finally:
            with self._counting:
                self._waiting -= 1

    def release(self) -> None:
        self._lock.release()

    @property
    def is_awaited(self) -> bool:
        """Tell whether a thread waits for it now."""
        return self._waiting > 0

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
