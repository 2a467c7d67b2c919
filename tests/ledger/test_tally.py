"""The tally reaches by its own way what the rules reach: the same verdicts, the same balances."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umoja.ledger.entries import Account, Bundle, Guard, Kind, Row, Shelf, Transfer, Verdict
from umoja.ledger.page import page_of
from umoja.ledger.rules import State
from umoja.ledger.tally import Tally

ACCOUNTS = [
    Account(1, "KES", Guard.DEBIT, Shelf.TRUST),
    Account(2, "KES", Guard.CREDIT, Shelf.EMONEY),
    Account(3, "KES", Guard.CREDIT, Shelf.EMONEY),
    Account(4, "KES", Guard.NONE, Shelf.EMONEY, 3),
    Account(5, "USD", Guard.CREDIT, Shelf.EMONEY),
    Account(6, "KES", Guard.NONE, Shelf.ACCRUAL),
    Account(7, "KES", Guard.NONE, Shelf.ACCRUAL, 1),
]
OTHERWISE = Account(3, "KES", Guard.NONE, Shelf.EMONEY)

transfers = st.builds(
    Transfer,
    st.sampled_from([Kind.POST, Kind.POST, Kind.POST, *Kind]),
    st.sampled_from([1, 1, 2, 2, 3, 4, 5, 6, 7, 8]),
    st.sampled_from([2, 2, 3, 3, 1, 4, 5, 6, 7, 8]),
    st.integers(-1, 40),
    st.sampled_from(["", "h", "i", "j"]),
    st.sampled_from([0, 0, 0, 50]),
)
bundles = st.lists(
    st.tuples(
        st.lists(transfers, max_size=3).map(tuple),
        st.lists(st.sampled_from([*ACCOUNTS, OTHERWISE]), max_size=3).map(tuple),
        st.integers(0, 100),
    ),
    max_size=40,
)
START = ((Transfer(Kind.POST, 1, 2, 100), Transfer(Kind.POST, 1, 3, 5)), tuple(ACCOUNTS[:4]), 1)


def lines_and_faults(steps):
    """Judge by the rules; return every line, also the wrong ones, and what the rules say of each."""
    state, rows, faults = State(), [], []
    for sequence, (moves, opens, at) in enumerate(steps, start=1):
        verdict = state.apply(Bundle(f"{sequence}.0", at, moves, opens))
        before = (0, 0)
        if verdict is Verdict.DONE and moves:
            lead = moves[0]
            before = state.touch(lead.source, sequence), state.touch(lead.target, sequence)
        if verdict is not Verdict.DONE:
            faults.append(f"journal line {sequence} ({sequence}.0) breaks a rule: {verdict.name}")
        rows.append(
            Row(
                sequence=sequence,
                id=f"{sequence}.0",
                at=at,
                transfers=moves,
                opens=opens,
                story=b"",
                source_before=before[0],
                target_before=before[1],
            )
        )
    return state, rows, faults


@settings(max_examples=100, deadline=None)
@given(bundles, st.integers(1, 20))
def test_the_tally_and_the_rules_agree_about_every_line(steps, size):
    state, rows, faults = lines_and_faults([START, *steps])
    tally = Tally()

    found = []
    for start in range(0, len(rows), size):
        found += tally.take(page_of(rows[start : start + size]))

    assert found == faults
    assert tally.differences(state.snapshot()) == []
    assert dict(tally.totals()) == {form: net for form, net in state.totals() if net} | {
        form: net for form, net in tally.totals() if not net
    }
    assert list(tally.accounts()) == list(state.accounts())


def test_accounts_that_were_sorted_away_are_found_again(monkeypatch):
    monkeypatch.setattr("umoja.ledger.tally.FRESH_MAX", 3)
    many = [Account(10_000 - n, "KES", Guard.CREDIT, Shelf.EMONEY) for n in range(2_000)]
    steps = [START, ((), tuple(many), 2)]
    steps += [((Transfer(Kind.POST, 2, 10_000 - n, 1),), (), 3) for n in (0, 7, 1999)]
    steps.append(
        ((Transfer(Kind.POST, 2, 9_923, 1),), (Account(9_923, "KES", Guard.NONE, Shelf.EMONEY),), 3)
    )
    state, rows, faults = lines_and_faults(steps)
    tally = Tally()

    assert tally.take(page_of(rows)) == faults
    assert faults == ["journal line 6 (6.0) breaks a rule: ACCOUNT_DIFFERS"]
    assert tally.differences(state.snapshot()) == []


def test_a_thread_that_points_elsewhere_is_named():
    _, rows, _ = lines_and_faults([START, ((Transfer(Kind.POST, 2, 3, 1),), (), 2)])
    rows[1] = Row(
        **{name: getattr(rows[1], name) for name in Row.__struct_fields__} | {"source_before": 0}
    )

    assert Tally().take(page_of(rows)) == ["journal line 2 does not follow on the lines before it"]


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda state: state._debits.__setitem__(0, 7), "account 1: "),
        (lambda state: state._held.__setitem__(1, 7), "account 2: "),
        (lambda state: state._last.__setitem__(2, 7), "account 3: "),
        (
            lambda state: state._open(Account(99, "KES", Guard.NONE, Shelf.EMONEY), []),
            "account 99: ",
        ),
        (lambda state: state._holds.__setitem__("x", None), "open holds differ"),
    ],
)
def test_a_state_that_strayed_is_named(spoil, told):
    state, rows, _ = lines_and_faults([START])
    tally = Tally()
    tally.take(page_of(rows))
    if told == "open holds differ":
        state.apply(Bundle("h", 1, (Transfer(Kind.HOLD, 2, 3, 1, "h"),)))
        state._held[1] = 0
    else:
        spoil(state)

    (found,) = tally.differences(state.snapshot())

    assert found.startswith(told)
