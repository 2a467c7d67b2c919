"""Usage of every party in compact rows: what limits and quotas count. A fold of the journal."""

from struct import Struct

import msgspec

from umoja.markets.market import Service
from umoja.payments.limits import NOTHING_USED, Usage, Used

NO_USAGE = Usage()
_ROOM = 4096  # rows added at least when they grow
_OF_PARTY = Struct("<iqiqiqiq")  # the fields of Usage, but for the service's
_OF_SERVICE = Struct("<iiqiiq")  # the fields of Used


class Packed(msgspec.Struct, array_like=True):
    """All rows as bytes, for a checkpoint. Services are counted in the order of their names here."""

    counted: list[str]
    party: bytes
    services: list[bytes]


class Counters:
    """What each party has used. Party numbers are small and dense: they are the row."""

    def __init__(self, counted: frozenset[Service]) -> None:
        """Count by themselves the services that the market's rows ask for."""
        self._party = bytearray()
        self._services = {service: bytearray() for service in Service if service in counted}

    def get(self, party: int, service: Service) -> Usage:
        """Return what a party has used; a row that was never written is nought."""
        at = party * _OF_PARTY.size
        if at >= len(self._party):
            return NO_USAGE
        day, day_value, day_count, day_sent, month, month_value, year, year_value = (
            _OF_PARTY.unpack_from(self._party, at)
        )
        used, rows = NOTHING_USED, self._services.get(service)
        at = party * _OF_SERVICE.size
        if rows is not None and at < len(rows):
            used = Used(*_OF_SERVICE.unpack_from(rows, at))
        return Usage(
            day, day_value, day_count, day_sent, month, month_value, year, year_value, used
        )

    def put(self, party: int, service: Service, usage: Usage) -> None:
        at = party * _OF_PARTY.size
        if at >= len(self._party):
            _grow(self._party, party, _OF_PARTY.size)
        _OF_PARTY.pack_into(
            self._party,
            at,
            usage.day,
            usage.day_value,
            usage.day_count,
            usage.day_sent,
            usage.month,
            usage.month_value,
            usage.year,
            usage.year_value,
        )
        rows = self._services.get(service)
        if rows is None:
            return
        at = party * _OF_SERVICE.size
        if at >= len(rows):
            _grow(rows, party, _OF_SERVICE.size)
        used = usage.used
        _OF_SERVICE.pack_into(
            rows,
            at,
            used.day,
            used.day_count,
            used.day_value,
            used.month,
            used.month_count,
            used.month_value,
        )

    def packed(self) -> Packed:
        return Packed(
            [service.value for service in self._services],
            bytes(self._party),
            [bytes(rows) for rows in self._services.values()],
        )

    def unpack(self, packed: Packed) -> bool:
        """Take up what was packed; False, and nothing taken, where other services were counted."""
        if packed.counted != [service.value for service in self._services]:
            return False
        self._party += packed.party
        for rows, data in zip(self._services.values(), packed.services, strict=True):
            rows.extend(data)
        return True


def _grow(rows: bytearray, party: int, size: int) -> None:
    """Add rows of nought up to a party's, and some for those who come next."""
    there = len(rows) // size
    rows += bytes(size * (party + 1 - there + max(_ROOM, there // 8)))
