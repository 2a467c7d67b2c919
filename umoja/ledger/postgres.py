"""The shelf for production: a journal's lines in a schema of a PostgreSQL database.

What is required of the server: version 15 or newer, encoding UTF8, fsync and full_page_writes on
(data checksums advised). synchronous_commit is set to on where it is weaker. With replicas,
synchronous_standby_names decides whether a line that was answered survives the loss of the primary:
name at least one. One database may hold many markets, each in its own schema.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg

from umoja.clock import Clock
from umoja.faults import OutcomeUnknown, Unavailable
from umoja.ledger.chain import JournalDamaged, Line, Seal
from umoja.ledger.entries import Row
from umoja.ledger.journal import (
    Checkpoint,
    Fenced,
    Journal,
    column_of,
    columns_whole,
    row_of,
)
from umoja.ledger.keys import Column
from umoja.ledger.lease import LEASE_S, Writer, ends_at, fresh_token, require_free, this_process
from umoja.ledger.roll import Roll, Segment
from umoja.storage.postgres import (
    Connection,
    Link,
    Patience,
    Server,
    ServerUnfit,
    in_short,
    migrate,
    not_now,
    told,
)

PIECE = 8 << 20  # bytes
SAVING_S = 600  # for a whole checkpoint
_LINE = "sequence, id, at, source_before, target_before, moves, story"
_KINDS = ("int8", "text", "int8", "int8", "int8", "bytea", "bytea")
_SEALED = "INSERT INTO seals (last, first, digest, epoch, at) VALUES (%s, %s, %s, %s, %s)"
_COPY = f"COPY journal ({_LINE}) FROM STDIN (FORMAT BINARY)"
_AFTER = f"SELECT {_LINE} FROM journal WHERE sequence > %s ORDER BY sequence LIMIT %s"
_HEAD = "SELECT coalesce(max(sequence), 0) FROM journal"
_WRITER = "SELECT epoch, holder, token, until FROM writer FOR UPDATE"
_NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_BEGIN = f"BEGIN; {_WRITER}; {_HEAD}"


class PostgresStock:
    """What a schema keeps of a journal: see umoja.ledger.roll.Stock."""

    def __init__(self, server: Server, reader: Link) -> None:
        self._server = server
        self._reader = reader

    @property
    def where(self) -> str:
        return f"the journal in {self._server.schema}"

    def head(self) -> int:
        return int(self._reader.rows(_HEAD)[0][0])

    def line(self, sequence: int) -> Line | None:
        found = self._reader.rows(f"SELECT {_LINE} FROM journal WHERE sequence = %s", (sequence,))
        return found[0] if found else None

    def lines(self, *, after: int, limit: int) -> list[Line]:
        return self._reader.rows(_AFTER, (after, limit))

    def ids(self, *, after: int, limit: int) -> list[tuple[int, str]]:
        return self._reader.rows(
            "SELECT sequence, id FROM journal WHERE sequence > %s ORDER BY sequence LIMIT %s",
            (after, limit),
        )

    def stories(self, *, after: int, limit: int) -> list[tuple[int, bytes]]:
        return self._reader.rows(
            "SELECT sequence, story FROM journal WHERE sequence > %s ORDER BY sequence LIMIT %s",
            (after, limit),
        )

    def seals(self, *, after: int, limit: int) -> list[Seal]:
        rows = self._reader.rows(
            "SELECT last, first, digest, epoch, at FROM seals WHERE last > %s"
            " ORDER BY last LIMIT %s",
            (after, limit),
        )
        return [Seal(*row) for row in rows]

    def segments(self) -> list[Segment]:
        rows = self._reader.rows(
            "SELECT last, first, file, sha256, before, after, at FROM archives ORDER BY last"
        )
        return [Segment(*row) for row in rows]

    def unsealed(self) -> int:
        return int(self._reader.rows("SELECT unsealed FROM writer")[0][0])

    def checkpoint(self) -> Checkpoint | None:
        found = self._reader.rows("SELECT sequence, sha256 FROM checkpoint")
        if not found:
            return None
        sequence, sha256 = found[0]
        return Checkpoint(
            sequence=sequence,
            state=self._pieced("state"),
            companion=self._pieced("companion"),
            sha256=sha256,
        )

    def _pieced(self, owner: str) -> bytes:
        pieces: list[bytes] = []
        query = "SELECT bytes FROM piece WHERE owner = %s AND place = %s"
        while found := self._reader.rows(query, (owner, len(pieces))):
            pieces.append(found[0][0])
        return b"".join(pieces)


class PostgresShelf(PostgresStock):
    """Lines in a table. What `append` took is durable when it returns."""

    def __init__(
        self,
        server: Server,
        *,
        clock: Clock,
        holder: str = "",
        lease_s: int = LEASE_S,
        take_over: bool = False,
    ) -> None:
        """Open or make the schema and take the next epoch: a writer before this one is fenced off.

        `holder` names this writer to people. Raise Held where another's lease still runs, unless
        told to `take_over`; Unavailable where the server cannot be had; ServerUnfit where it would
        not keep lines; PlanBroken where the schema is another program's.
        """
        migrate(server, "journal", clock)
        super().__init__(server, Link(server, reads_only=True))
        self._clock = clock
        self._holder = holder or this_process()
        self._token = fresh_token()
        self._lease_s = lease_s
        self._renewed_s = clock.ticks_s()
        self._writing = threading.Lock()
        self._writer = Link(server)
        self._saver = Link(server, answer_s=SAVING_S)
        self._ended = threading.Event()
        self._are_columns_sound = True
        try:
            self._epoch = self._take_over(is_told=take_over)
        except BaseException:
            self._close_links()
            raise
        self._renewing = threading.Thread(target=self._renew_by_time, name="lease", daemon=True)
        self._renewing.start()

    def _take_over(self, *, is_told: bool) -> int:
        """Return the next epoch, once the transaction of whoever wrote before has ended."""
        with told(), self._writer.use() as connection, connection.transaction():
            before = _writer_locked(connection)
            now = _now_of(connection)
            if not is_told:
                require_free(before, now=now)
            connection.execute(
                "UPDATE writer SET epoch = %s, holder = %s, token = %s, until = %s,"
                " unsealed = CASE WHEN unsealed < 0"
                " THEN (SELECT coalesce(max(sequence), 0) FROM journal) ELSE unsealed END",
                (before.epoch + 1, self._holder, self._token, ends_at(now, self._lease_s)),
            )
        return before.epoch + 1

    # Writing

    def append(self, lines: Sequence[Line], seal: Seal) -> None:
        """Keep the lines and their seal durably: see Shelf.append.

        Where the session is lost in the commit, another asks what became of it: it takes the next
        epoch, which waits for the old transaction to end, and reads. Nothing is ever sent twice.
        Raise JournalDamaged where the database has not all the lines this writer knows.
        """
        with self._writing:
            is_sent = False
            try:
                with self._writer.use() as connection:
                    writer, head = _begun(connection)
                    self._require(writer)
                    _require_head(head, lines[0][0] - 1)
                    self._renew_when_due(connection)
                    with connection.cursor().copy(_COPY) as copy:
                        copy.set_types(_KINDS)
                        write = copy.write_row
                        for line in lines:
                            write(line)
                    is_sent = True
                    ended = _sealed_and_ended(connection, seal._replace(epoch=self._epoch))
                    assert ended == "COMMIT", f"a transaction without errors ended in {ended}"
            except psycopg.Error as cause:
                if is_sent:
                    self._resolve(lines, cause)
                elif not_now(cause):
                    raise Unavailable(
                        f"the journal cannot be written: {in_short(cause)}"
                    ) from cause
                else:
                    raise

    def _require(self, writer: Writer) -> None:
        """Raise Fenced where another writer has taken the journal over.

        The token tells: every opening has its own, and the epoch also grows when we ourselves ask
        after an unclear commit.
        """
        if writer.token != self._token:
            raise Fenced(
                f"writer {writer.epoch} ({writer.holder}) has taken over from writer {self._epoch}"
            )

    def _resolve(self, lines: Sequence[Line], cause: psycopg.Error) -> None:
        """Return if the lines are kept. Raise Unavailable or Fenced if not, OutcomeUnknown."""
        patience = Patience(self._server.wait_s)
        while left_s := patience.left_s():
            try:
                found, writer = self._asked(lines, left_s)
            except (psycopg.Error, ServerUnfit) as trouble:
                if isinstance(trouble, ServerUnfit) or not not_now(trouble):
                    raise OutcomeUnknown("the journal's last commit is unclear") from trouble
                patience.pause()
                continue
            if found == list(lines):
                return  # they stand, also where another has taken over since
            self._require(writer)
            if found:
                raise JournalDamaged(f"line {found[0][0]} is not what this writer appended")
            raise Unavailable(f"the journal cannot be written: {in_short(cause)}") from cause
        raise OutcomeUnknown(
            "the journal's last commit is unclear: the database did not come back"
            f" within {self._server.wait_s} seconds"
        ) from cause

    def _asked(self, lines: Sequence[Line], wait_s: int) -> tuple[list[Line], Writer]:
        """Return what stands where the lines would, and who writes now: we, unless fenced off."""
        with self._writer.use(wait_s=wait_s) as connection, connection.transaction():
            writer = _writer_locked(connection)
            if writer.token == self._token:
                # Also when an earlier try of ours came through without our being told.
                writer = Writer(
                    epoch=writer.epoch + 1,
                    holder=self._holder,
                    token=self._token,
                    until=ends_at(_now_of(connection), self._lease_s),
                )
                connection.execute(
                    "UPDATE writer SET epoch = %s, until = %s", (writer.epoch, writer.until)
                )
            found = connection.execute(
                _AFTER, (lines[0][0] - 1, len(lines)), binary=True
            ).fetchall()
        if writer.token == self._token:
            self._epoch = writer.epoch
        return found, writer

    # The lease

    def renew(self) -> None:
        """Renew the lease, as commits and a thread of this shelf's own do. Raise Fenced, Unavailable."""
        with self._writing, told(), self._writer.use() as connection, connection.transaction():
            self._require(_writer_locked(connection))
            self._renew(connection)

    def _renew_when_due(self, connection: Connection) -> None:
        if self._clock.ticks_s() - self._renewed_s >= self._lease_s // 3:
            self._renew(connection)

    def _renew(self, connection: Connection) -> None:
        self._renewed_s = self._clock.ticks_s()
        until = ends_at(_now_of(connection), self._lease_s)
        connection.execute("UPDATE writer SET until = %s", (until,))

    def _renew_by_time(self) -> None:
        while not self._ended.wait(max(self._lease_s // 3, 1)):
            try:
                self.renew()
            except Fenced:
                return  # the next append says so
            except Unavailable:
                continue  # the next beat tries again, and if it runs out, the epoch still guards

    # Checkpoints

    def keep_seals(self, seals: Sequence[Seal]) -> None:
        with self._writing, told(), self._writer.use() as connection, connection.transaction():
            self._require(_writer_locked(connection))
            connection.cursor().executemany(_SEALED, [s._replace(epoch=self._epoch) for s in seals])

    def keep_checkpoint(self, checkpoint: Checkpoint, columns: Sequence[Column]) -> None:
        """Replace the checkpoint, on a session of its own: appends wait for its last step only.

        Raise Fenced, Unavailable.
        """
        try:
            with told(), self._saver.use() as connection, connection.transaction():
                _keep_pieces(connection, "state", checkpoint.state)
                _keep_pieces(connection, "companion", checkpoint.companion)
                connection.execute(
                    "INSERT INTO checkpoint (sequence, sha256) VALUES (%s, %s)"
                    " ON CONFLICT (only_one) DO UPDATE"
                    " SET sequence = excluded.sequence, sha256 = excluded.sha256",
                    (checkpoint.sequence, checkpoint.sha256),
                )
                _keep_columns(connection, columns, anew=not self._are_columns_sound)
                self._require(_writer_locked(connection))
            self._are_columns_sound = True
        except psycopg.errors.UniqueViolation as cause:
            raise Unavailable("another writer kept its checkpoint at the same moment") from cause

    def columns(self) -> list[Column]:
        kept = self._reader.rows("SELECT first, last, sha256 FROM keys ORDER BY first")
        found = []
        for first, last, sha256 in kept:
            digests = self._pieced(_owner("digests", first, last))
            lines = self._pieced(_owner("lines", first, last))
            column = column_of(first, last, digests, lines, sha256)
            if column is not None:
                found.append(column)
        # What is damaged is left out now, and written anew with the next checkpoint.
        self._are_columns_sound = len(found) == len(kept) and columns_whole(found)
        return found if self._are_columns_sound else []

    def close(self) -> None:
        """Let the lease go and end the sessions; closing twice is harmless."""
        if self._ended.is_set():
            return
        self._ended.set()
        try:
            with self._writing, told(), self._writer.use() as connection:
                connection.execute("UPDATE writer SET until = 0 WHERE token = %s", (self._token,))
        except Unavailable:
            pass  # then the lease runs out by itself
        finally:
            self._close_links()
        self._renewing.join()

    def _close_links(self) -> None:
        for link in (self._writer, self._reader, self._saver):
            link.close()


class PostgresLedger(Journal):
    """A Ledger in a schema of a PostgreSQL database."""

    def __init__(
        self,
        server: Server,
        *,
        clock: Clock,
        holder: str = "",
        lease_s: int = LEASE_S,
        take_over: bool = False,
        archive: Path | None = None,
        progress: Callable[[int, int], None] = lambda *_: None,
    ) -> None:
        """Open or make the journal: see PostgresShelf, and Journal for `archive` and `progress`."""
        shelf = PostgresShelf(
            server, clock=clock, holder=holder, lease_s=lease_s, take_over=take_over
        )
        try:
            super().__init__(shelf, archive=archive, progress=progress)
        except BaseException:
            shelf.close()
            raise


class PostgresArchiveStore(PostgresStock):
    """A journal's schema as whoever archives it uses it, also beside its writer: it takes no epoch."""

    def __init__(self, server: Server) -> None:
        super().__init__(server, Link(server, reads_only=True))
        self._writer = Link(server, answer_s=SAVING_S)

    def first(self) -> int:
        return int(self._reader.rows("SELECT coalesce(min(sequence), 0) FROM journal")[0][0])

    def keep_segment(self, segment: Segment) -> None:
        """Keep the row about a file. Raise Unavailable, also where it may have been kept: look again."""
        with told(), self._writer.use() as connection:
            connection.execute(
                "INSERT INTO archives (last, first, file, sha256, before, after, at)"
                " VALUES (%s, %s, %s, %b, %b, %b, %s)",
                segment,
            )

    def drop(self, until: int) -> None:
        with told(), self._writer.use() as connection, connection.transaction():
            connection.execute("DELETE FROM journal WHERE sequence <= %s", (until,))
            connection.execute("DELETE FROM seals WHERE last <= %s", (until,))

    def close(self) -> None:
        self._reader.close()
        self._writer.close()


class PostgresRoll(Roll):
    """A journal's lines and seals, read beside its writer and never written."""

    def __init__(self, server: Server, archive: Path | None = None) -> None:
        """Open a journal. Raise Unavailable, and FileNotFoundError where there is none."""
        self._link = Link(server, reads_only=True)
        try:
            ((journal, seals),) = self._link.rows(
                "SELECT to_regclass('journal')::oid, to_regclass('seals')::oid"
            )
            if journal is not None:
                stock = PostgresStock(server, self._link)
                super().__init__(stock, archive, is_bare=seals is None)
        except BaseException:
            self._link.close()
            raise
        if journal is None:
            self._link.close()
            raise FileNotFoundError(f"there is no journal in the schema {server.schema}")

    def close(self) -> None:
        super().close()
        self._link.close()


def journal_rows(server: Server, archive: Path | None = None) -> Iterator[Row]:
    """Yield a journal's lines from its files and its database, each proven by its seal.

    It writes nothing, and may run while the writer is at work. Raise Unavailable, JournalDamaged, and
    FileNotFoundError where there is no journal.
    """
    roll = PostgresRoll(server, archive)
    try:
        for lines, _ in roll.sealed():
            yield from map(row_of, lines)
    finally:
        roll.close()


def _writer_locked(connection: Connection) -> Writer:
    """Return the writer's row, held until this transaction ends.

    It is locked and not updated: thousands of dead versions of one row would pile up while somebody
    takes a copy of the database, and every commit would have to walk past them.
    """
    return _writer_of(connection.execute(_WRITER).fetchone())


def _now_of(connection: Connection) -> int:
    """Return the server's time, microseconds since 1970: the one clock that all writers share."""
    row = connection.execute(_NOW).fetchone()
    assert row is not None, "a query without FROM has one row"
    return int(row[0])


def _begun(connection: Connection) -> tuple[Writer, int]:
    """Begin a transaction; return the writer's row, locked, and the journal's last line.

    All in one message. The last line is looked for after the lock was had, not as of the asking.
    """
    cursor = connection.execute(_BEGIN)
    cursor.nextset()
    writer = _writer_of(cursor.fetchone())
    cursor.nextset()
    (head,) = cursor.fetchone() or (0,)
    return writer, head


def _sealed_and_ended(connection: Connection, seal: Seal) -> str | None:
    """Keep a seal and commit, in one message; return what the commit ended in.

    All values are our own numbers and a digest: they need no binding.
    """
    cursor = connection.execute(
        "INSERT INTO seals (last, first, digest, epoch, at) VALUES"
        f" ({seal.last:d}, {seal.first:d}, '\\x{seal.digest.hex()}', {seal.epoch:d}, {seal.at:d});"
        " COMMIT",
        prepare=False,
    )
    cursor.nextset()
    return cursor.statusmessage


def _writer_of(row: tuple[Any, ...] | None) -> Writer:
    assert row is not None, "a journal is made with its writer's row"
    epoch, holder, token, until = row
    return Writer(epoch=epoch, holder=holder, token=token, until=until)


def _require_head(head: int, known: int) -> None:
    """Raise where the journal does not end at the line that this writer knows as the last."""
    if head < known:
        raise JournalDamaged(
            f"the journal ends at line {head}, but line {known} was kept: a server without the"
            " newest lines has taken over. Find the one that has them before anything is written"
        )
    if head > known:
        # A commit of ours was interrupted from within, and came through.
        raise OutcomeUnknown(f"the journal goes on to line {head}, this writer knows {known}")


def _keep_pieces(connection: Connection, owner: str, value: bytes) -> None:
    connection.execute("DELETE FROM piece WHERE owner = %s", (owner,))
    view = memoryview(value)
    for place, start in enumerate(range(0, len(value), PIECE)):
        connection.execute(
            "INSERT INTO piece (owner, place, bytes) VALUES (%s, %s, %b)",
            (owner, place, view[start : start + PIECE]),
        )


def _keep_columns(connection: Connection, columns: Sequence[Column], *, anew: bool) -> None:
    kept = set(connection.execute("SELECT first, last FROM keys").fetchall())
    now = set() if anew else {(column.first, column.last) for column in columns}
    for first, last in sorted(kept - now):
        connection.execute("DELETE FROM keys WHERE first = %s", (first,))
        for kind in ("digests", "lines"):
            connection.execute("DELETE FROM piece WHERE owner = %s", (_owner(kind, first, last),))
    for column in columns:
        if anew or (column.first, column.last) not in kept:
            _keep_pieces(
                connection,
                _owner("digests", column.first, column.last),
                column.digests.tobytes(),
            )
            _keep_pieces(
                connection, _owner("lines", column.first, column.last), column.lines.tobytes()
            )
            connection.execute(
                "INSERT INTO keys VALUES (%s, %s, %s)",
                (column.first, column.last, column.sha256()),
            )


def _owner(kind: str, first: int, last: int) -> str:
    return f"{kind} {first}-{last}"
