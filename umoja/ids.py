"""Identifiers: 128-bit ids that sort by time, and ten-character receipts that never come twice."""

import secrets
from functools import cache
from random import Random
from typing import NewType, Protocol

from umoja.clock import Clock, to_micros

OrderId = NewType("OrderId", str)
PartyId = NewType("PartyId", int)
ReceiptNumber = NewType("ReceiptNumber", str)

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_RECEIPT = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_RECEIPTS = 36**10
_MARKETS = 26 * 26
_SPAN = _RECEIPTS // _MARKETS  # 5.4 million million receipts a market
# An affine walk through all ten-character words: a bijection because the step shares no
# factor with 36**10 (it is neither even nor divisible by three).
_STEP = 1_618_033_988_749_895
_SHIFT = 1_202_056_903_159_594


class Ids(Protocol):
    """Makes identifiers: 26 characters, sortable by time of making, never the same twice."""

    def make(self) -> str: ...


class RandomIds:
    """Ids of 48 bits of milliseconds and 80 bits of chance."""

    def __init__(self, clock: Clock, random: Random | None = None) -> None:
        self._clock = clock
        self._random = random

    def make(self) -> str:
        tail = self._random.getrandbits(80) if self._random else secrets.randbits(80)
        value = ((to_micros(self._clock.now()) // 1000) << 80) | tail
        return "".join(_CROCKFORD[(value >> shift) & 31] for shift in range(125, -1, -5))


def receipt(*, market: str, sequence: int) -> ReceiptNumber:
    """Return the receipt number of a market's payment number `sequence`: ten of A-Z0-9, for ever unique.

    Each market (two letters) has its own span of numbers, so no market needs to ask another.
    """
    assert 0 <= sequence < _SPAN, "a market's receipts are used up"
    value = ((_span_of(market) + sequence) * _STEP + _SHIFT) % _RECEIPTS
    # Twice the large number is divided; what is left of it is small and quick.
    value, low = divmod(value, 1_679_616)
    last, middle = divmod(value, 1_679_616)
    pairs = _PAIRS
    return ReceiptNumber(
        f"{pairs[low % 1296]}{pairs[low // 1296]}"
        f"{pairs[middle % 1296]}{pairs[middle // 1296]}{pairs[last]}"
    )


@cache
def _span_of(market: str) -> int:
    """Return the first of a market's own numbers."""
    assert len(market) == 2, "a market code has two letters"
    place = (ord(market[0]) - 65) * 26 + (ord(market[1]) - 65)
    assert 0 <= place < _MARKETS, "a market code is A-Z"
    return place * _SPAN


_PAIRS = [_RECEIPT[pair % 36] + _RECEIPT[pair // 36] for pair in range(1296)]
_BACK = pow(_STEP, -1, _RECEIPTS)
_VALUES = {letter: value for value, letter in enumerate(_RECEIPT)}


def receipt_place(number: str) -> tuple[str, int] | None:
    """Return the market and the sequence that a receipt number stands for, or None for no receipt."""
    if len(number) != 10 or not all(letter in _VALUES for letter in number):
        return None
    value = 0
    for letter in reversed(number):
        value = value * 36 + _VALUES[letter]
    place, sequence = divmod((value - _SHIFT) * _BACK % _RECEIPTS, _SPAN)
    if place >= _MARKETS:
        return None
    return chr(65 + place // 26) + chr(65 + place % 26), sequence
