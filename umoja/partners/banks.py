"""The bank that keeps a market's trust account: simulated, for no real bank's statement is at hand."""


class SimulatedBank:
    """A bank that has what the market's books say it has, and whatever is made to differ.

    It cannot know money of its own: deposits at a real bank are beyond this program. What it gives
    is a statement that is read apart from the books, so that a difference has to be noticed.
    """

    def __init__(self) -> None:
        self.short_permille = 0  # of what was booked, that the statement does not show

    def statement_balance(self, currency: str, booked_minor: int) -> int:  # noqa: ARG002  a real bank needs it
        """Return the trust account's balance in minor units, given what was booked to it."""
        return booked_minor - -(-booked_minor * self.short_permille // 1000)
