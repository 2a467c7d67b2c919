"""Usage of every party in compact columns: what limits and quotas count. A fold of the journal."""

from array import array
from collections.abc import Iterable

import msgspec

from umoja.markets.market import Service
from umoja.payments.limits import NOTHING_USED, Usage, Used

NO_USAGE = Usage()
_ROOM = 4096  # rows added at least when the columns grow


class Packed(msgspec.Struct, array_like=True):
    """All columns as bytes, for a checkpoint."""

    counted: list[str]
    party: list[bytes]
    services: list[list[bytes]]


class _Columns:
    """Rows of whole numbers by party; a row that was never written is nought."""

    __slots__ = ("columns",)

    def __init__(self, forms: str) -> None:
        self.columns = tuple(array(form) for form in forms)

    def row(self, party: int) -> tuple[int, ...] | None:
        columns = self.columns
        if party >= len(columns[0]):
            return None
        return tuple([column[party] for column in columns])

    def put(self, party: int, row: Iterable[int]) -> None:
        columns = self.columns
        rows = len(columns[0])
        if party >= rows:
            more = party + 1 - rows + max(_ROOM, rows // 8)
            for column in columns:
                column.frombytes(bytes(more * column.itemsize))
        for column, value in zip(columns, row, strict=True):
            column[party] = value

    def packed(self) -> list[bytes]:
        return [column.tobytes() for column in self.columns]

    def unpack(self, packed: list[bytes]) -> None:
        for column, data in zip(self.columns, packed, strict=True):
            column.frombytes(data)


class Counters:
    """What each party has used. Party numbers are small and dense: they are the row."""

    def __init__(self, counted: frozenset[Service]) -> None:
        """Count by themselves the services that the market's rows ask for."""
        self._party = _Columns("iqiqiqiq")
        self._services = {service: _Columns("iiqiiq") for service in Service if service in counted}

    def get(self, party: int, service: Service) -> Usage:
        row = self._party.row(party)
        if row is None:
            return NO_USAGE
        columns = self._services.get(service)
        used = NOTHING_USED
        if columns is not None and (of_service := columns.row(party)) is not None:
            used = Used(*of_service)
        day, day_value, day_count, day_sent, month, month_value, year, year_value = row
        return Usage(
            day, day_value, day_count, day_sent, month, month_value, year, year_value, used
        )

    def put(self, party: int, service: Service, usage: Usage) -> None:
        self._party.put(
            party,
            (
                usage.day,
                usage.day_value,
                usage.day_count,
                usage.day_sent,
                usage.month,
                usage.month_value,
                usage.year,
                usage.year_value,
            ),
        )
        columns = self._services.get(service)
        if columns is not None:
            used = usage.used
            columns.put(
                party,
                (
                    used.day,
                    used.day_count,
                    used.day_value,
                    used.month,
                    used.month_count,
                    used.month_value,
                ),
            )

    def packed(self) -> Packed:
        return Packed(
            [service.value for service in self._services],
            self._party.packed(),
            [columns.packed() for columns in self._services.values()],
        )

    def unpack(self, packed: Packed) -> bool:
        """Take up what was packed; False, and nothing taken, where other services were counted."""
        if packed.counted != [service.value for service in self._services]:
            return False
        self._party.unpack(packed.party)
        for columns, data in zip(self._services.values(), packed.services, strict=True):
            columns.unpack(data)
        return True
