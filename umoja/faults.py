"""What goes wrong and is raised. Expected refusals are values (see payments.order.Decline), not faults.

    Fault
    ├── Unavailable        nothing happened; it may be tried again
    │   └── Busy           a queue is full: come back after `retry_after_s`
    └── OutcomeUnknown     it may have happened; it is asked after, never repeated

A broken promise of our own code is an AssertionError: somebody is paged.
"""


class Fault(Exception):
    """Something outside an order went wrong."""


class Unavailable(Fault):
    """Nothing happened: the same call may be made again later."""


class Busy(Unavailable):
    """A bounded queue is full. Nothing was done; try again after `retry_after_s` seconds."""

    def __init__(self, what: str, *, retry_after_s: int = 1) -> None:
        super().__init__(f"{what} is busy")
        self.retry_after_s = retry_after_s


class OutcomeUnknown(Fault):
    """It may have happened. Ask for the outcome; never simply repeat the call."""
