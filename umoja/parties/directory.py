"""The directory of one market: who is who, found by number, phone or code, and their PINs."""

from collections.abc import Sequence
from typing import Protocol

from umoja.parties.party import Party, PinOutcome


class PhoneTaken(ValueError):
    """Another party of this market already has this phone number or code."""


class PinUnfit(ValueError):
    """A PIN must be of the market's length and, where the market says so, no run of digits."""


class Directory(Protocol):
    """Finds and keeps parties. Writes are durable when they return; PINs are never returned.

    Every method may be called from any thread. A party that does not exist is None, or KeyError
    where a write names one.
    """

    def get(self, party_id: int) -> Party | None: ...

    def by_phone(self, phone: str) -> Party | None:
        """Find the customer, agent or dealer with this full number; closed ones hold none."""
        ...

    def by_phones(self, phones: Sequence[str]) -> dict[str, Party]:
        """Find many as `by_phone` finds one; those that nobody holds are absent."""
        ...

    def by_agent_code(self, code: str) -> Party | None: ...
    def by_till(self, code: str) -> Party | None: ...
    def by_paybill(self, code: str) -> Party | None: ...

    def assistant(self, outlet: int, operator_code: str) -> Party | None:
        """Find the assistant who types this operator code at an outlet."""
        ...

    def children(self, parent: int) -> list[Party]:
        """Return a dealer's outlets or an outlet's assistants, at most 1,000."""
        ...

    def register(self, party: Party, *, pin: str = "") -> Party:
        """Keep a new party and return it with its number. Raise PhoneTaken or PinUnfit."""
        ...

    def register_many(self, parties: Sequence[tuple[Party, str]]) -> list[Party]:
        """Keep parties with their PINs (or ''), all or none. Raise as register does."""
        ...

    def update(self, party: Party) -> None:
        """Keep changed details. Raise PhoneTaken, or KeyError where nobody has the number."""
        ...

    def has_pin(self, party_id: int) -> bool: ...

    def set_pin(self, party_id: int, pin: str) -> None:
        """Set a first PIN, or another by staff's leave; it unlocks. Raise PinUnfit."""
        ...

    def change_pin(self, party_id: int, *, old: str, new: str) -> PinOutcome:
        """Set another PIN where the old one is right; a wrong one counts. Raise PinUnfit."""
        ...

    def has_given(self, party_id: int, pin: str) -> bool:
        """Tell whether this is the PIN, where that can be told without writing: else ask check_pin.

        Quick enough for an event loop. False says nothing: the PIN may be wrong, locked or not set,
        or right after a wrong one.
        """
        ...

    def check_pin(self, party_id: int, pin: str) -> PinOutcome:
        """Compare in constant time; three wrong in a row lock until the PIN is reset."""
        ...

    def reset_pin(self, party_id: int) -> None:
        """Forget a PIN, so that its owner sets another one. It also unlocks."""
        ...

    def swap_sim(self, party_id: int) -> None:
        """Note a SIM swap: money cannot leave for the lock time.

        The PIN stays: whoever has the new card must know it, and nobody may choose another one
        just by holding the card.
        """
        ...

    def browse(self, *, after: int = 0, limit: int = 50, role: str = "") -> list[Party]:
        """Return parties with numbers above `after`, in their order; at most 1,000 a page."""
        ...

    def count(self, role: str = "") -> int: ...
