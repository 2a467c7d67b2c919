"""Copying: a whole installation from files to a database server, or back, resumed and proved.

Rows go over in pages, in the order of their keys; the place where a table stands is kept in the
target, in the transaction that keeps the page. So a copy that is cut off at any moment goes on when
the same command is given again. At the end both sides are read again, row by row, and compared.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from umoja.clock import Clock, to_micros
from umoja.faults import Unavailable
from umoja.ledger.books import Books, audit
from umoja.ledger.chain import JournalDamaged
from umoja.ledger.entries import Row as Line
from umoja.ledger.journal import Fenced
from umoja.ledger.lease import Held, Writer, ends_at, fresh_token, require_free, this_process
from umoja.opening import (
    MARKET_PLANS,
    SHARED_PLANS,
    Place,
    WrongKind,
    archive_of,
    hold_journal,
    journal_rows,
    kept_markets,
    kind_of,
    opened,
    require_all_migrated,
    told_of,
    wipe,
    write_kind,
)
from umoja.payments.wallets import kind_of as kind_of_account
from umoja.premises import SANDBOX, hold
from umoja.storage.migrate import migrate
from umoja.storage.port import Row, Sql, Value
from umoja.storage.tables import Table, tables_of

PAGE = 2_000
LEASE_S = 6
STEP_EVERY = 500

NOT_COPIED = frozenset({"checkpoint", "keys", "writer", "installation"})
"""Folded anew from the journal by the first start, or written at the end."""

Step = Callable[[str, int, int], None]
"""Told what is being done, how many rows are behind, and how many there are in all."""

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode


@dataclass(frozen=True, slots=True, kw_only=True)
class TableProof:
    """One table on both sides: how many rows, and a digest of all of them in order of their key."""

    where: str
    table: str
    rows: tuple[int, int]
    digest: tuple[str, str]

    @property
    def is_equal(self) -> bool:
        return self.rows[0] == self.rows[1] and self.digest[0] == self.digest[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class BooksProof:
    """One market's journal folded on both sides: lines, totals by currency and form, all balances."""

    market: str
    lines: tuple[int, int]
    totals: tuple[Mapping[str, Mapping[str, int]], Mapping[str, Mapping[str, int]]]
    fold: tuple[str, str]
    breaches: tuple[str, ...]
    damage: str = ""
    """Why one of them could not be read to its end."""

    @property
    def is_equal(self) -> bool:
        return (
            not self.damage
            and self.lines[0] == self.lines[1]
            and self.totals[0] == self.totals[1]
            and self.fold[0] == self.fold[1]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was compared after copying. `keys` are files that are not in any database."""

    source: str
    target: str
    tables: tuple[TableProof, ...]
    books: tuple[BooksProof, ...]
    keys: tuple[str, ...]

    @property
    def is_equal(self) -> bool:
        return all(each.is_equal for each in self.tables) and all(
            each.is_equal for each in self.books
        )

    @property
    def told(self) -> str:
        """Say the result in a few sentences for people."""
        if not self.is_equal:
            return (
                "THE COPIES ARE NOT EQUAL: nobody can start on the target."
                " Repeat the copy; if it stays so, empty the target and begin anew"
            )
        keys = (
            f" No database holds {', '.join(self.keys)}: the program needs them."
            if self.keys
            else ""
        )
        return f"{self.target} is equal to {self.source}.{keys}"

    def as_dict(self) -> dict[str, Any]:
        return {"is_equal": self.is_equal, **asdict(self)}


def copy(
    source: Place,
    target: Place,
    *,
    clock: Clock,
    page: int = PAGE,
    lease_s: int = LEASE_S,
    step: Step = lambda *_: None,
) -> Proof:
    """Copy everything and prove it; until it is proved equal, nobody can start on the target.

    Raise DataInUse or Held where somebody writes on either side, WrongKind where the target holds
    anything that this copy has not put there, NotMigrated, Unavailable where the source holds
    nothing. Repeating it goes on where it was cut off, or begins anew where the source was started
    since.
    """
    if (source.data.resolve(), source.database) == (target.data.resolve(), target.database):
        raise Unavailable("source and target are the same place")
    markets = kept_markets(source)
    if not markets:
        raise Unavailable(f"there is nothing to copy in {told_of(source)}")
    kind = kind_of(source) or ("sandbox" if (source.data / SANDBOX).exists() else "production")
    if kind == "copying":
        raise WrongKind(f"a copy into {told_of(source)} is not finished: nothing is copied from it")
    require_all_migrated(source, markets)
    with ExitStack() as stack:
        holds = _Holds(clock, lease_s)
        stack.callback(holds.release)
        _hold_files(source, markets, stack)
        for market in markets if source.database else ():
            holds.take(source, market)
        if not target.database:
            stack.enter_context(hold(target.data))
        mark = _mark(source, markets)
        _begin(target, mark, clock)
        work = _Work(source, target, markets, clock=clock, page=page, holds=holds, step=step)
        work.count()
        for market in markets:
            _bring_archive(archive_of(source, market), archive_of(target, market))
        work.copy_all()
        proof = work.prove()
        if proof.is_equal:
            holds.renew(is_forced=True)
            write_kind(target, kind, clock)
    return proof


def place_of(text: str, *, data: Path) -> Place:
    """Read sqlite:FOLDER or a database URL; `data` is where a server's installation has its keys.

    Raise ValueError.
    """
    if text.startswith("sqlite:") and len(text) > len("sqlite:"):
        return Place(data=Path(text.removeprefix("sqlite:")))
    if text.startswith(("postgresql://", "postgres://")):
        return Place(data=data, database=text)
    raise ValueError("a place is sqlite:FOLDER or postgresql://…")


Sheet = tuple[str, tuple[str, ...], list[tuple[str, ...]], str]
"""A table for people: its title, its columns, its rows, and a note."""


def tables(proof: Proof) -> list[Sheet]:
    """Return the proof as tables for people."""
    rows: list[tuple[str, ...]] = [
        (
            each.where,
            each.table,
            f"{each.rows[0]:,}",
            f"{each.rows[1]:,}",
            each.digest[1][:16],
            _verdict(is_equal=each.is_equal),
        )
        for each in proof.tables
    ]
    found: list[Sheet] = [
        ("Rows", ("where", "table", "source", "target", "digest", "result"), rows, "")
    ]
    for each in proof.books:
        totals: list[tuple[str, ...]] = [
            (currency, form, str(minor), str(each.totals[1].get(currency, {}).get(form, "none")))
            for currency, forms in each.totals[0].items()
            for form, minor in forms.items()
        ]
        note = (
            f"{each.lines[1]:,} journal lines, fold {each.fold[1][:16]}:"
            f" {_verdict(is_equal=each.is_equal)}"
        )
        if each.breaches:
            note += f"; {len(each.breaches)} breaches, the first: {each.breaches[0]}"
        if each.damage:
            note += f"; {each.damage}"
        columns = ("currency", "account", "source (minor units)", "target (minor units)")
        found.append((f"Books of {each.market}", columns, totals, note))
    return found


def _verdict(*, is_equal: bool) -> str:
    return "equal" if is_equal else "NOT EQUAL"


class _Work:
    """One run of a copy: both sides are held, the target is ours."""

    def __init__(
        self,
        source: Place,
        target: Place,
        markets: Sequence[str],
        *,
        clock: Clock,
        page: int,
        holds: "_Holds",
        step: Step,
    ) -> None:
        self._source = source
        self._target = target
        self._markets = markets
        self._clock = clock
        self._page = page
        self._holds = holds
        self._tell = step
        self._done = 0
        self._total = 0
        self._plans = [(market, plan, plan) for market in markets for plan in MARKET_PLANS]
        self._plans += [("", database, plan) for database, plan in SHARED_PLANS]

    def count(self) -> None:
        """Count all rows: each is copied once and read twice more."""
        for market, database, plan in self._plans:
            with opened(self._source, database, market) as source:
                for table in _copied(plan):
                    row = source.one(f"SELECT count(*) FROM {table.name}")
                    self._total += 3 * int(row[0]) if row is not None else 0

    def copy_all(self) -> None:
        for market, database, plan in self._plans:
            with (
                opened(self._source, database, market) as source,
                opened(self._target, database, market) as target,
            ):
                migrate(target, plan, self._clock)
                migrate(target, "copied", self._clock)
                if plan == "journal" and self._target.database:
                    self._holds.take(self._target, market)
                for table in _copied(plan):
                    self._copy(source, target, table, where=f"{market or database}/{table.name}")
                if plan == "journal":
                    _hand_over_epoch(source, target)

    def _copy(self, source: Sql, target: Sql, table: Table, *, where: str) -> None:
        name = f"{table.name}"
        kept = target.one("SELECT place, rows FROM copied WHERE name = :name", name=name)
        place = _unpack(kept["place"]) if kept is not None else None
        rows = int(kept["rows"]) if kept is not None else 0
        self._step(f"copying {where}", rows)
        while page := _page(source, table, place, self._page):
            place = [page[-1][column] for column in table.key]
            rows += len(page)
            with target.transaction():
                target.run_many(_upsert(table), _in_order(source, table, page))
                target.run(
                    "INSERT INTO copied (name, place, rows) VALUES (:name, :place, :rows)"
                    " ON CONFLICT (name) DO UPDATE SET place = excluded.place, rows = excluded.rows",
                    name=name,
                    place=_pack(place),
                    rows=rows,
                )
            self._step(f"copying {where}", len(page))
        if target.kind == "postgres" and table.has_own_numbers and rows:
            _number_on(target, table)

    def prove(self) -> Proof:
        """Read both sides again and compare."""
        tables = []
        for market, database, plan in self._plans:
            with (
                opened(self._source, database, market) as source,
                opened(self._target, database, market) as target,
            ):
                for table in _copied(plan):
                    where = f"{market or database}/{table.name}"
                    first = self._digest(source, table, where)
                    second = self._digest(target, table, where)
                    tables.append(
                        TableProof(
                            where=market or database,
                            table=table.name,
                            rows=(first[0], second[0]),
                            digest=(first[1], second[1]),
                        )
                    )
        return Proof(
            source=told_of(self._source),
            target=told_of(self._target),
            tables=tuple(tables),
            books=tuple(self._books(market) for market in self._markets),
            keys=tuple(
                str(path)
                for name in ("pin.key", "mark.key", "staff.key", SANDBOX)
                if (path := self._source.data / name).exists()
            ),
        )

    def _digest(self, database: Sql, table: Table, where: str) -> tuple[int, str]:
        digest, rows, place = hashlib.sha256(), 0, None
        while page := _page(database, table, place, self._page):
            place = [page[-1][column] for column in table.key]
            for row in page:
                digest.update(_pack(list(row)))
            rows += len(page)
            self._step(f"comparing {where}", len(page))
        return rows, digest.hexdigest()

    def _books(self, market: str) -> BooksProof:
        sides, damage = [], ""
        for where in (self._source, self._target):
            fold = hashlib.sha256()
            try:
                books = audit(
                    self._watched(journal_rows(where, market), market, fold),
                    kind_of=kind_of_account,
                )
            except JournalDamaged as cause:
                damage = str(cause)
                books = Books(rows=0, holds=0, held=0, currencies=(), breaches=())
            totals = {
                each.currency: {**each.by_kind, "debits": each.debits, "credits": each.credits}
                for each in books.currencies
            }
            sides.append((books, totals, fold.hexdigest()))
        (ours, our_totals, our_fold), (theirs, their_totals, their_fold) = sides
        return BooksProof(
            market=market,
            lines=(ours.rows, theirs.rows),
            totals=(our_totals, their_totals),
            fold=(our_fold, their_fold),
            breaches=theirs.breaches,
            damage=damage,
        )

    def _watched(self, rows: Iterator[Line], market: str, fold: "hashlib._Hash") -> Iterator[Line]:
        """Pass lines on, with a digest of all that they move: equal digests fold to equal balances."""
        for count, row in enumerate(rows, start=1):
            fold.update(_pack((row.sequence, row.id, row.at, row.transfers, row.opens)))
            if count % STEP_EVERY == 0:
                self._holds.renew()
                self._tell(f"folding {market}", self._done, self._total)
            yield row

    def _step(self, what: str, rows: int) -> None:
        self._holds.renew()
        self._done += rows
        self._total = max(self._total, self._done)
        self._tell(what, self._done, self._total)


# Rows


def _copied(plan: str) -> list[Table]:
    return [table for table in tables_of(plan) if table.name not in NOT_COPIED]


def _page(database: Sql, table: Table, place: list[Value] | None, limit: int) -> list[Row]:
    """Return the next rows behind a place, in the order of the key."""
    key = ", ".join(table.key)
    after = ""
    values: dict[str, Value] = {"limit": limit}
    if place is not None:
        names = [f"k{number}" for number in range(len(place))]
        values |= dict(zip(names, place, strict=True))
        after = f" WHERE ({key}) > ({', '.join(f':{name}' for name in names)})"
    return database.query(
        f"SELECT {', '.join(table.columns)} FROM {table.name}{after} ORDER BY {key} LIMIT :limit",
        **values,
    )


def _upsert(table: Table) -> str:
    rest = [column for column in table.columns if column not in table.key]
    changes = ", ".join(f"{column} = excluded.{column}" for column in rest)
    return (
        f"INSERT INTO {table.name} ({', '.join(table.columns)})"
        f" VALUES ({', '.join(f':{column}' for column in table.columns)})"
        f" ON CONFLICT ({', '.join(table.key)}) DO {f'UPDATE SET {changes}' if rest else 'NOTHING'}"
    )


def _in_order(source: Sql, table: Table, page: Sequence[Row]) -> list[dict[str, Value]]:
    """Return a page's rows, each behind the row that it points at; those of other pages come along."""
    if not table.parent:
        return [dict(row) for row in page]
    (key,) = table.key
    known = {row[key]: row for row in page}
    ordered: dict[Value, Row] = {}
    for row in page:
        line = [row]
        while (above := line[-1][table.parent]) is not None and above not in ordered:
            found = known.get(above) or source.one(
                f"SELECT {', '.join(table.columns)} FROM {table.name} WHERE {key} = :key", key=above
            )
            assert found is not None, f"{table.name} points at a row that is not there"
            assert len(line) <= len(page) + 1_000, f"{table.name} has a ring"
            line.append(found)
        for each in reversed(line):
            ordered.setdefault(each[key], each)
    return [dict(row) for row in ordered.values()]


def _number_on(target: Sql, table: Table) -> None:
    """Let the server go on numbering behind the rows that were brought."""
    (key,) = table.key
    row = target.one(f"SELECT max({key}) FROM {table.name}")
    if row is not None and row[0] is not None:
        target.run(
            "SELECT setval(pg_get_serial_sequence(:name, :key), :last)",
            name=table.name,
            key=key,
            last=max(int(row[0]), 1),
        )


def _bring_archive(source: Path, target: Path) -> None:
    """Copy the files of archived journal months, where the two sides do not share a folder."""
    if not source.is_dir() or source.resolve() == target.resolve():
        return
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in sorted(source.iterdir()):
        made = target / path.name
        if path.is_file() and not (made.exists() and made.stat().st_size == path.stat().st_size):
            draft = target / f"{path.name}.part"
            shutil.copyfile(path, draft)
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            draft.chmod(0o600)
            draft.replace(made)


def _hand_over_epoch(source: Sql, target: Sql) -> None:
    """Let the target's next writer take the epoch behind the source's."""
    (writer,) = (table for table in tables_of("journal") if table.name == "writer")
    columns = [column for column in writer.columns if column not in writer.key]
    row = source.one(f"SELECT {', '.join(columns)} FROM writer")
    assert row is not None, "a journal is made with its writer's row"
    target.run(
        f"UPDATE writer SET {', '.join(f'{column} = :{column}' for column in columns)}", **dict(row)
    )


# Who else is there


def _hold_files(place: Place, markets: Sequence[str], stack: ExitStack) -> None:
    if place.database:
        return
    stack.enter_context(hold(place.data))
    for market in markets:
        stack.enter_context(hold_journal(place.data / market / "journal.db"))


def _mark(source: Place, markets: Sequence[str]) -> bytes:
    """Return what tells one state of a source from another: each start takes the next epoch."""
    epochs = []
    for market in markets:
        with opened(source, "journal", market) as journal:
            row = journal.one("SELECT epoch FROM writer")
            epochs.append(int(row[0]) if row is not None else 0)
    return _pack([told_of(source), list(markets), epochs])


def _begin(target: Place, mark: bytes, clock: Clock) -> None:
    """Make the target ours. Raise WrongKind where it holds anything else."""
    kind = kind_of(target)
    if kind and kind != "copying":
        raise WrongKind(
            f"{told_of(target)} holds an installation already: nothing there is touched"
        )
    if not kind:
        with opened(target, "clients") as clients:
            is_foreign = clients.has_table("clients")
        if is_foreign or kept_markets(target):
            raise WrongKind(f"{told_of(target)} is not empty: nothing there is touched")
        write_kind(target, "copying", clock)
    with opened(target, "clients") as clients:
        migrate(clients, "copied", clock)
        row = clients.one("SELECT place FROM copied WHERE name = 'source'")
    if row is not None and _unpack(row["place"])[0] != _unpack(mark)[0]:
        raise WrongKind(
            f"{told_of(target)} holds a part of {_unpack(row['place'])[0]}: finish that copy first,"
            " or empty it"
        )
    if row is not None and bytes(row["place"]) != mark:
        # The source was started in between: what was copied then may have changed since.
        wipe(target)
        write_kind(target, "copying", clock)
        row = None
    if row is None:
        with opened(target, "clients") as clients:
            migrate(clients, "copied", clock)
            clients.run(
                "INSERT INTO copied (name, place, rows) VALUES ('source', :mark, 0)", mark=mark
            )


@dataclass(slots=True)
class _Lease:
    database: Sql
    token: str = field(default_factory=fresh_token)


class _Holds:
    """Leases on a server's journals, taken without an epoch and renewed page by page."""

    def __init__(self, clock: Clock, lease_s: int) -> None:
        self._clock = clock
        self._lease_s = lease_s
        self._leases: list[_Lease] = []
        self._stack = ExitStack()
        self._renewed_s = clock.ticks_s()

    def take(self, place: Place, market: str) -> None:
        """Hold one journal. A copy that was cut off is waited for; anybody else raises Held."""
        from umoja.storage.postgres import Patience

        lease = _Lease(self._stack.enter_context(opened(place, "journal", market)))
        patience = Patience(self._lease_s + 1)
        while True:
            try:
                self._take(lease)
            except Held as cause:
                if "copy" not in str(cause) or not patience.left_s():
                    raise
                patience.pause()
            else:
                break
        self._leases.append(lease)

    def _take(self, lease: _Lease) -> None:
        with _locked(lease.database) as before:
            now = to_micros(self._clock.now())
            require_free(before, now=now)
            lease.database.run(
                "UPDATE writer SET holder = :holder, token = :token, until = :until",
                holder=f"a copy by {this_process()}",
                token=lease.token,
                until=ends_at(now, self._lease_s),
            )

    def renew(self, *, is_forced: bool = False) -> None:
        """Renew what is due. Raise Fenced where somebody has started on one of them."""
        if not is_forced and self._clock.ticks_s() - self._renewed_s < self._lease_s / 3:
            return
        self._renewed_s = self._clock.ticks_s()
        until = ends_at(to_micros(self._clock.now()), self._lease_s)
        for lease in self._leases:
            changed = lease.database.run(
                "UPDATE writer SET until = :until WHERE token = :token",
                until=until,
                token=lease.token,
            )
            if not changed:
                raise Fenced(f"somebody has started on {lease.database.name} during the copy")

    def release(self) -> None:
        with self._stack:
            for lease in self._leases:
                lease.database.run(
                    "UPDATE writer SET until = 0 WHERE token = :token", token=lease.token
                )


@contextmanager
def _locked(database: Sql) -> Iterator[Writer]:
    with database.transaction():
        row = database.one("SELECT epoch, holder, token, until FROM writer FOR UPDATE")
        assert row is not None, "a journal is made with its writer's row"
        yield Writer(epoch=row[0], holder=row[1], token=row[2], until=row[3])
