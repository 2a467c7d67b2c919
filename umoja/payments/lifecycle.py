"""The life of an order: which state may follow which, and how long a state lasts. Pure."""

from datetime import timedelta
from enum import Enum

from umoja.payments.order import State

AWAITING_FOR = timedelta(minutes=5)
"""How long an order waits for its payer's yes before it is cancelled."""

HELD_FOR = timedelta(hours=24)
"""How long money is held for a partner's answer. Only recovery ends such a hold, never the clock
alone: a partner who may have delivered must be asked first."""

REVERSAL_ANSWER_FOR = timedelta(hours=24)
"""How long the receiver of a payment that was asked back may think; then the hold is let go."""

REVERSAL_WINDOW_H = 24
"""Within how many hours a payment may be asked back where the market's pack says nothing."""


class Step(Enum):
    """What a journal row of an order tells."""

    ASKED = "asked"
    BOOKED = "booked"
    DECLINED = "declined"
    CANCELLED = "cancelled"
    SETTLED = "settled"
    FAILED = "failed"
    REVERSAL_ASKED = "reversal_asked"
    REVERSED = "reversed"
    REVERSAL_REFUSED = "reversal_refused"


COUNTS = frozenset({Step.BOOKED.value})
"""Steps after which the payer has used of her limits."""

UNCOUNTS = frozenset({Step.FAILED.value, Step.REVERSED.value})
"""Steps that give back what was used, in the periods that still run."""

STEPS: dict[State, frozenset[State]] = {
    State.AWAITING: frozenset({State.COMPLETED, State.HELD, State.DECLINED, State.CANCELLED}),
    State.HELD: frozenset({State.COMPLETED, State.FAILED}),
    State.COMPLETED: frozenset({State.REVERSAL_ASKED}),
    State.REVERSAL_ASKED: frozenset({State.REVERSED, State.COMPLETED}),
    State.DECLINED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
    State.REVERSED: frozenset(),
}


def may_follow(state: State, following: State) -> bool:
    return following in STEPS[state]


WAITING = frozenset({State.AWAITING, State.HELD, State.REVERSAL_ASKED})
"""States that do not last: something or somebody must end them."""
