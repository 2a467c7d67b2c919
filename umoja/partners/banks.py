"""The bank that keeps a market's trust account: simulated, for no real bank's statement is at hand."""


class SimulatedBank:
    """A bank that has what the market's books say it has, and whatever is made to differ.

    It cannot know money of its own: deposits at a real bank are beyond this program. What it gives
    is a statement that is read apart from the books, so that a difference has to be noticed.
    """

    def __init__(self) -> None:
        self._missing: dict[str, int] = {}

    def statement_balance(self, currency: str, booked_minor: int) -> int:
        """Return the trust account's balance in minor units, given what was booked to it."""
        return booked_minor - self._missing.get(currency, 0)

    def lose(self, currency: str, minor: int) -> None:
        """Let the statement show `minor` units less than was booked; 0 puts it right again."""
        self._missing[currency] = minor

    @property
    def missing(self) -> dict[str, int]:
        """Return by currency how much less the statement shows."""
        return {currency: minor for currency, minor in self._missing.items() if minor}
