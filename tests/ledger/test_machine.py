"""A random life of the ledger: no engine ever parts from the reference, and money is conserved."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from umoja.clock import ManualClock
from umoja.ledger.books import audit
from umoja.ledger.entries import Account, Bundle, Guard, Kind, Shelf, Transfer, Verdict
from umoja.ledger.memory import MemoryLedger
from umoja.ledger.postgres import PostgresLedger
from umoja.ledger.sqlite import SqliteLedger
from umoja.storage.postgres import Server

ACCOUNTS = (
    Account(1, "KES", Guard.DEBIT, Shelf.TRUST),
    Account(2, "KES", Guard.CREDIT, Shelf.EMONEY),
    Account(3, "KES", Guard.CREDIT, Shelf.EMONEY),
    Account(4, "KES", Guard.CREDIT, Shelf.EMONEY),
    Account(5, "USD", Guard.CREDIT, Shelf.EMONEY),
    Account(6, "KES", Guard.DEBIT, Shelf.ACCRUAL),
    Account(7, "KES", Guard.CREDIT, Shelf.ACCRUAL),
)
numbers = st.sampled_from([account.id for account in ACCOUNTS])
transfers = st.builds(
    Transfer,
    st.sampled_from([Kind.POST, Kind.POST, Kind.POST, Kind.HOLD, Kind.COMMIT, Kind.VOID]),
    numbers,
    numbers,
    st.integers(-1, 60),
    st.sampled_from(["", "h1", "h2", "h3"]),
    st.sampled_from([0, 0, 3]),
)
bundles = st.builds(
    Bundle,
    st.sampled_from([f"{n}.0" for n in range(25)]),
    st.integers(1, 5),
    st.lists(transfers, max_size=4).map(tuple),
    st.just(()),
    st.just(b""),
)


class LedgerLife(RuleBasedStateMachine):
    keeps = True  # what was done is still there after a stop

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.server = self.schema_of_its_own()
        self.clock = ManualClock(datetime(2026, 11, 23, tzinfo=UTC))
        self.reference = MemoryLedger()
        self.engine = self.opened()
        start = Bundle("open.0", 0, (Transfer(Kind.POST, 1, 2, 100),), ACCOUNTS)
        assert self.reference.post([start]) == self.engine.post([start]) == [Verdict.DONE]
        self.steps = 0

    def opened(self):
        """Open what is kept where this life's engine keeps it, or make it."""
        raise NotImplementedError

    @rule(batch=st.lists(bundles, min_size=1, max_size=5))
    def post(self, batch):
        assert self.engine.post(batch) == self.reference.post(batch)

    @rule(batch=st.lists(bundles, min_size=1, max_size=3))
    def leave_without_commit(self, batch):
        before = msgspec.msgpack.encode(self.engine.state.snapshot())
        with self.engine.batch() as left:
            for bundle in batch:
                left.post(bundle)
        assert msgspec.msgpack.encode(self.engine.state.snapshot()) == before

    @rule(
        first=st.lists(bundles, min_size=1, max_size=4),
        second=st.lists(bundles, min_size=1, max_size=4),
        kept=st.integers(0, 2),
    )
    def judge_one_batch_behind_another(self, first, second, kept):
        before = msgspec.msgpack.encode(self.engine.state.snapshot())
        ahead = self.engine.begin()
        verdicts = [ahead.post(bundle) for bundle in first]
        behind = self.engine.begin(ahead)
        later = [behind.post(bundle) for bundle in second]
        if kept:
            ahead.keep()
            ahead.stand()
            ahead.end()
            assert verdicts == self.reference.post(first)
        if kept == 2:
            behind.commit()
            assert later == self.reference.post(second)
        behind.end()
        ahead.end()
        if not kept:
            assert msgspec.msgpack.encode(self.engine.state.snapshot()) == before

    def schema_of_its_own(self):
        return None

    @precondition(lambda self: self.keeps and self.reference.head > 2)
    @rule(save=st.booleans())
    def stop_and_start(self, save):
        if save:
            self.engine.save(self.engine.taken())
        self.engine.close()
        self.engine = self.opened()

    @invariant()
    def engines_agree_and_money_is_conserved(self):
        assert self.engine.head == self.reference.head
        ours, theirs = self.engine.state.snapshot(), self.reference.state.snapshot()
        assert sorted(ours.holds, key=lambda h: h.name) == sorted(
            theirs.holds, key=lambda h: h.name
        )
        assert (ours.debits, ours.credits, ours.held) == (
            theirs.debits,
            theirs.credits,
            theirs.held,
        )
        assert audit(self.engine.rows(), claimed=self.engine.state).breaches == ()

    def teardown(self):
        self.engine.close()
        self.folder.cleanup()


class MemoryLife(LedgerLife):
    keeps = False

    def opened(self):
        return MemoryLedger()


class SqliteLife(LedgerLife):
    def opened(self):
        return SqliteLedger(Path(self.folder.name) / "journal.db", clock=self.clock)


def postgres_life(cluster):
    class PostgresLife(LedgerLife):
        def schema_of_its_own(self):
            return Server(url=cluster.url, schema=cluster.schema(), allow_unsafe=True)

        def opened(self):
            return PostgresLedger(self.server, clock=self.clock)

    return PostgresLife


@pytest.mark.parametrize("life", [MemoryLife, SqliteLife])
def test_a_random_life(life):
    run_state_machine_as_test(
        life, settings=settings(max_examples=20, stateful_step_count=15, deadline=None)
    )


def test_a_random_life_on_postgres(quick_cluster):
    run_state_machine_as_test(
        postgres_life(quick_cluster),
        settings=settings(max_examples=12, stateful_step_count=15, deadline=None),
    )
