"""The tail of a journal: its committed lines' stories, read beside the writer and never written."""

from umoja.storage.port import Sql


class Tail:
    """Reads a journal in order. It takes no epoch and holds up nobody; any thread may use it."""

    def __init__(self, database: Sql) -> None:
        """Take the database in which a writer has made the journal. Closing the tail closes it."""
        self._database = database

    @property
    def head(self) -> int:
        """Return the sequence of the last committed line. Raise Unavailable."""
        row = self._database.one("SELECT coalesce(max(sequence), 0) AS head FROM journal")
        assert row is not None, "a sum of nothing is a row as well"
        return int(row["head"])

    def stories(self, *, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Return sequence and story of up to `limit` lines behind `after`. Raise Unavailable."""
        rows = self._database.query(
            "SELECT sequence, story FROM journal WHERE sequence > :after"
            " ORDER BY sequence LIMIT :limit",
            after=after,
            limit=limit,
        )
        return [(row[0], row[1]) for row in rows]

    def close(self) -> None:
        self._database.close()
