"""Money is a whole number of minor units of one currency. It is never a float or a Decimal."""

import re
from dataclasses import dataclass
from enum import Enum

_AMOUNT = re.compile(r"(?P<whole>0|[1-9][0-9]{0,14})(?:\.(?P<part>[0-9]{1,4}))?", re.ASCII)
_PERCENT = re.compile(r"(?P<whole>[0-9]{1,3})(?:\.(?P<part>[0-9]{1,4}))?", re.ASCII)

MILLIONTHS = 1_000_000


class AmountUnreadable(ValueError):
    """The text is not an amount of this currency."""


class Rounding(Enum):
    """How a product of an amount and a rate becomes whole minor units again."""

    HALF_UP = "half_up"
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True, order=False)
class Money:
    """`minor` whole minor units of `currency` (ISO 4217). Adding two currencies is a fault."""

    minor: int
    currency: str

    def __add__(self, other: "Money") -> "Money":
        assert self.currency == other.currency, f"{self.currency} + {other.currency}"
        return Money(self.minor + other.minor, self.currency)

    def __sub__(self, other: "Money") -> "Money":
        assert self.currency == other.currency, f"{self.currency} - {other.currency}"
        return Money(self.minor - other.minor, self.currency)

    def share(self, weights: tuple[int, ...]) -> tuple["Money", ...]:
        """Divide into parts by `weights`; the parts add up to the whole, first parts get the rest."""
        total = sum(weights)
        assert total > 0, "weights add up to something"
        assert min(weights) >= 0, "no weight is negative"
        parts = [self.minor * weight // total for weight in weights]
        for index in range(self.minor - sum(parts)):
            parts[index % len(parts)] += 1
        return tuple(Money(part, self.currency) for part in parts)


@dataclass(frozen=True, slots=True)
class Rate:
    """A share in millionths (15 % is 150,000) that names its rounding."""

    millionths: int
    rounding: Rounding = Rounding.HALF_UP

    def of(self, minor: int) -> int:
        """Return this share of `minor` units, rounded to a whole `unit`."""
        return divide(minor * self.millionths, MILLIONTHS, self.rounding)

    def inside(self, gross: int, *, all_millionths: int) -> int:
        """Return what this rate contributed to `gross`, which bears `all_millionths` on top of net."""
        return divide(gross * self.millionths, MILLIONTHS + all_millionths, self.rounding)


def divide(top: int, bottom: int, rounding: Rounding) -> int:
    """Divide whole numbers by the named rounding. `bottom` is positive, `top` not negative."""
    assert bottom > 0, "divided by something"
    assert top >= 0, "amounts are not negative"
    match rounding:
        case Rounding.HALF_UP:
            return (2 * top + bottom) // (2 * bottom)
        case Rounding.UP:
            return -(-top // bottom)
        case Rounding.DOWN:
            return top // bottom


def parse_minor(text: str, *, digits: int) -> int:
    """Read '1234.50' as whole minor units of a currency with `digits` decimals.

    Raise AmountUnreadable for signs, separators, exponents or more decimals than the currency has.
    """
    found = _AMOUNT.fullmatch(text)
    if found is None:
        raise AmountUnreadable(f"not an amount: {text[:40]!r}")
    part = found["part"] or ""
    if len(part) > digits:
        raise AmountUnreadable(f"more than {digits} decimals: {text[:40]!r}")
    scale: int = 10**digits
    return int(found["whole"]) * scale + int(part.ljust(digits, "0") or "0")


def format_minor(minor: int, *, digits: int, grouped: bool = False) -> str:
    """Write whole minor units as '1234.50', or '1,234.50' when grouped for people."""
    sign = "-" if minor < 0 else ""
    whole, part = divmod(abs(minor), 10**digits)
    head = f"{whole:,}" if grouped else str(whole)
    return f"{sign}{head}.{part:0{digits}d}" if digits else f"{sign}{head}"


def parse_percent(text: str) -> int:
    """Read '0.55' (percent) as millionths (5,500)."""
    found = _PERCENT.fullmatch(text)
    if found is None:
        raise AmountUnreadable(f"not a percentage: {text[:40]!r}")
    return int(found["whole"]) * 10_000 + int((found["part"] or "").ljust(4, "0"))
