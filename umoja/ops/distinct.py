"""How many different ones: exact for a few, within some two percent for many, in two kilobytes."""

from math import log

EXACT_MAX = 512
_REGISTERS = 2048
_INDEX_BITS = 11
_HASH_BITS = 64
_MASK = (1 << _HASH_BITS) - 1


class Distinct:
    """Counts the different marks it is given; never holds more than a few hundred of them.

    Up to EXACT_MAX it keeps them and is exact. From there on it is a HyperLogLog of 2,048
    registers, whose usual error is 2.3 percent.
    """

    __slots__ = ("_exact", "_registers")

    def __init__(self) -> None:
        self._exact: set[int] = set()
        self._registers: bytearray | None = None

    def add(self, mark: int) -> None:
        mark &= _MASK
        if self._registers is not None:
            self._note(self._registers, mark)
            return
        self._exact.add(mark)
        if len(self._exact) > EXACT_MAX:
            self._registers = self._spread()
            self._exact.clear()

    def merge(self, other: "Distinct") -> None:
        """Take in all that another has seen; the other stays as it is."""
        exact, registers = other.parts
        for mark in exact:
            self.add(mark)
        if registers is None:
            return
        if self._registers is None:
            self._registers = self._spread()
            self._exact.clear()
        self._registers = bytearray(map(max, self._registers, registers))

    @property
    def parts(self) -> tuple[frozenset[int], bytes | None]:
        """Return what it holds: the marks while they are few, then the registers instead."""
        return frozenset(self._exact), None if self._registers is None else bytes(self._registers)

    def kept(self) -> bytes:
        """Return all that it remembers, for `from_kept`; at most four kilobytes."""
        if self._registers is not None:
            return b"r" + bytes(self._registers)
        return b"e" + b"".join(mark.to_bytes(8, "big") for mark in sorted(self._exact))

    @classmethod
    def from_kept(cls, kept: bytes) -> "Distinct":
        """Return one that goes on where `kept` was taken. Raise ValueError for anything else."""
        made = cls()
        if kept[:1] == b"r" and len(kept) == _REGISTERS + 1:
            made._registers = bytearray(kept[1:])
        elif kept[:1] == b"e" and len(kept) % 8 == 1 and len(kept) <= 8 * EXACT_MAX + 1:
            made._exact = {
                int.from_bytes(kept[place : place + 8], "big") for place in range(1, len(kept), 8)
            }
        else:
            raise ValueError("these bytes are no count of different marks")
        return made

    def count(self) -> int:
        if self._registers is None:
            return len(self._exact)
        raw = 0.7213 / (1 + 1.079 / _REGISTERS) * _REGISTERS**2
        raw /= sum(2.0**-rank for rank in self._registers)
        empty = self._registers.count(0)
        if raw <= 2.5 * _REGISTERS and empty:
            raw = _REGISTERS * log(_REGISTERS / empty)
        return round(raw)

    def _spread(self) -> bytearray:
        registers = bytearray(_REGISTERS)
        for mark in self._exact:
            self._note(registers, mark)
        return registers

    @staticmethod
    def _note(registers: bytearray, mark: int) -> None:
        # Marks may be small or regular numbers: mixed first, so that every bit depends on all.
        value = ((mark ^ (mark >> 33)) * 0xFF51AFD7ED558CCD) & _MASK
        value = ((value ^ (value >> 33)) * 0xC4CEB9FE1A85EC53) & _MASK
        value ^= value >> 33
        index = value & (_REGISTERS - 1)
        rest = value >> _INDEX_BITS
        rank = (_HASH_BITS - _INDEX_BITS) - rest.bit_length() + 1
        registers[index] = max(registers[index], rank)
