"""Switches: what the centre decided, read by the desk. The last known value survives the centre's absence."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from umoja.faults import Unavailable

Stops = Mapping[tuple[str, str], str]
"""Why what is stopped, by market and product; `*` stands for every product."""


NOTICE = "notice:"
"""Stands before a product of which customers are told above the menu; it stops nothing."""


class Switches:
    """Stops by market and product; `*` stands for every product. Absent means open."""

    def __init__(self) -> None:
        self.stopped: dict[tuple[str, str], str] = {}
        self._listeners: list[Callable[[], None]] = []

    def stop(self, *, market: str, product: str, reason: str) -> None:
        self.stopped[market, product] = reason
        self._tell()

    def open(self, *, market: str, product: str) -> None:
        if self.stopped.pop((market, product), None) is not None:
            self._tell()

    def take(self, stops: Stops) -> None:
        """Take over all that somebody else decided, in place of what was known."""
        if dict(stops) != self.stopped:
            self.stopped = dict(stops)
            self._tell()

    def reason_stopped(self, *, market: str, product: str) -> str | None:
        """Return why the product is stopped in the market, or None when it is open."""
        return self.stopped.get((market, product)) or self.stopped.get((market, "*"))

    def noticed(self, market: str) -> list[str]:
        """Return of which products (or `*`) a market's customers are told that they are disturbed."""
        return sorted(
            product.removeprefix(NOTICE)
            for code, product in self.stopped
            if code == market and product.startswith(NOTICE)
        )

    def is_route_out(self, market: str, route: str) -> bool:
        """Tell whether an SMS route was taken out of use in a market: its texts go by another."""
        return (market, f"route:{route}") in self.stopped

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each change, in the thread that made it."""
        self._listeners.append(listener)

    def _tell(self) -> None:
        """Tell everybody; that one of them could not do his part is raised at the end."""
        trouble: Unavailable | None = None
        for listener in self._listeners:
            try:
                listener()
            except Unavailable as cause:
                trouble = cause
        if trouble is not None:
            raise trouble


def kept_switches(path: Path) -> Switches:
    """Return the switches of a file, each change of them kept there before anybody acts on it.

    No file: all is open. Raise Unavailable where the file cannot be read: what was stopped is not
    opened by a damaged disk. A change that cannot be kept raises Unavailable and holds until the end.
    """
    switches = Switches()
    if path.exists():
        try:
            rows = json.loads(path.read_text("utf-8"))["stopped"]
            switches.stopped = {(row["market"], row["product"]): row["reason"] for row in rows}
        except (OSError, ValueError, KeyError, TypeError) as cause:
            raise Unavailable(
                f"{path} cannot be read: mend it, or remove it to open all products"
            ) from cause
    switches.listen(lambda: _keep(path, switches.stopped))
    return switches


def _keep(path: Path, stops: Stops) -> None:
    rows = [
        {"market": market, "product": product, "reason": reason}
        for (market, product), reason in sorted(stops.items())
    ]
    draft = path.with_name(f"{path.name}.new")
    try:
        with draft.open("w", encoding="utf-8") as file:
            json.dump({"stopped": rows}, file, ensure_ascii=False, indent=1)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as cause:
        raise Unavailable(f"{path} cannot be written: {cause.strerror}") from cause
