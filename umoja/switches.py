"""Switches: what the centre decided, read by the desk. The last known value survives the centre's absence."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Switches:
    """Stops by market and product; `*` stands for every product. Absent means open."""

    stopped: dict[tuple[str, str], str] = field(default_factory=dict)

    def stop(self, *, market: str, product: str, reason: str) -> None:
        self.stopped[market, product] = reason

    def open(self, *, market: str, product: str) -> None:
        self.stopped.pop((market, product), None)

    def reason_stopped(self, *, market: str, product: str) -> str | None:
        """Return why the product is stopped in the market, or None when it is open."""
        return self.stopped.get((market, product)) or self.stopped.get((market, "*"))
