"""Stories that every engine of the ledger is asked; each line is a bundle with its verdict.

    ID: TRANSFER; TRANSFER -> verdict      post A B 5 · hold H A B 5 · commit H A B 5 · void H A B
Accounts: A, B, C wallets of money; T trust; E earned and S spent (accruals); X wallet in another
currency. T may issue. Blank lines separate batches; `=` lines state balances (net/held).
"""

import re

import pytest

from umoja.ledger.entries import Account, Bundle, Guard, Kind, Shelf, Transfer, Verdict

ACCOUNTS = {
    "A": Account(10, "KES", Guard.CREDIT, Shelf.EMONEY),
    "B": Account(11, "KES", Guard.CREDIT, Shelf.EMONEY),
    "C": Account(12, "KES", Guard.CREDIT, Shelf.EMONEY),
    "T": Account(13, "KES", Guard.DEBIT, Shelf.TRUST),
    "E": Account(14, "KES", Guard.CREDIT, Shelf.ACCRUAL),
    "S": Account(15, "KES", Guard.DEBIT, Shelf.ACCRUAL),
    "X": Account(16, "USD", Guard.CREDIT, Shelf.EMONEY),
}

STORIES = {
    "money moves and the books follow": """
        1: post T A 500 -> done
        2: post A B 200 -> done
        = T -500/0 A 300/0 B 200/0
    """,
    "nobody is overdrawn": """
        1: post T A 500 -> done

        2: post A B 501 -> not_enough
        = A 500/0 B 0/0
    """,
    "one refusal undoes its bundle and leaves no trace": """
        1: post T A 500 -> done

        2: post A B 500; post A C 1 -> not_enough
        3: post A B 500 -> done
        = A 0/0 B 500/0 C 0/0
    """,
    "inside a bundle money that came can go on": """
        1: post T A 500; post A B 500; post B C 500 -> done
        = A 0/0 B 0/0 C 500/0
    """,
    "a done bundle repeated answers the same and moves nothing": """
        1: post T A 500 -> done

        1: post T A 500 -> done
        = A 500/0
    """,
    "a repeat inside one batch moves nothing either": """
        1: post T A 500 -> done
        1: post T A 500 -> done
        = A 500/0
    """,
    "an id that did something else is refused": """
        1: post T A 500 -> done

        1: post T A 501 -> id_differs
        = A 500/0
    """,
    "a refused id may be tried again": """
        1: post A B 5 -> not_enough

        2: post T A 5 -> done

        1: post A B 5 -> done
        = B 5/0
    """,
    "held money cannot be spent but is still there": """
        1: post T A 500 -> done
        2: hold h A B 300 -> done
        3: post A C 201 -> not_enough
        4: post A C 200 -> done
        = A 300/300 B 0/0 C 200/0
    """,
    "a hold is committed once": """
        1: post T A 500 -> done
        2: hold h A B 300 -> done

        3: commit h A B 300 -> done

        4: commit h A B 300 -> hold_ended
        5: void h A B -> hold_ended
        = A 200/0 B 300/0
    """,
    "part of a hold is committed, the rest is free": """
        1: post T A 500 -> done
        2: hold h A B 300 -> done
        3: commit h A B 100 -> done
        4: post A C 400 -> done
        = A 0/0 B 100/0 C 400/0
    """,
    "no more than was held is committed": """
        1: post T A 500 -> done
        2: hold h A B 300 -> done
        3: commit h A B 301 -> hold_differs
        = A 500/300 B 0/0
    """,
    "a voided hold gives the money back": """
        1: post T A 500 -> done
        2: hold h A B 500 -> done
        3: void h A B -> done
        4: post A C 500 -> done
        = A 0/0 C 500/0
    """,
    "the name of a hold is used once for ever": """
        1: post T A 500 -> done
        2: hold h A B 100 -> done
        3: hold h A C 100 -> hold_taken
        4: void h A B -> done
        5: hold h A B 100 -> hold_taken
        = A 500/0
    """,
    "a hold belongs to its accounts": """
        1: post T A 500 -> done
        2: hold h A B 100 -> done
        3: commit h A C 100 -> hold_differs
        4: void h B A -> hold_differs
        5: void x A B -> hold_unknown
        = A 500/100
    """,
    "an expired hold can only be let go": """
        1: post T A 500 -> done
        2: hold h A B 100 until 5 -> done
        @ 5
        3: commit h A B 100 -> hold_expired
        4: void h A B -> done
        = A 500/0 B 0/0
    """,
    "a hold in a refused bundle leaves nothing held": """
        1: post T A 500 -> done
        2: hold h A B 100; post A C 401 -> not_enough
        3: hold h A B 500 -> done
        = A 500/500
    """,
    "currencies do not mix": """
        1: post T A 500 -> done
        2: post A X 1 -> currency_differs
    """,
    "accruals and money do not mix": """
        1: post T A 500 -> done
        2: post A E 1 -> shelf_differs
        3: post S E 70 -> done
        = S -70/0 E 70/0
    """,
    "an earned accrual is not paid out twice": """
        1: post S E 70 -> done
        2: post E S 71 -> not_enough
        3: post E S 70 -> done
        = S 0/0 E 0/0
    """,
    "trust is not credited beyond what it holds": """
        1: post T A 500 -> done
        2: post A T 500 -> done
        = T 0/0 A 0/0
    """,
    "no amount is nothing or less": """
        1: post T A 0 -> amount_not_positive
        2: post T A -5 -> amount_not_positive
    """,
    "an account does not pay itself": """
        1: post A A 5 -> same_account
    """,
}


def read(line, at):
    found = re.fullmatch(r"(\w+): (.+) -> (\w+)", line)
    transfers = []
    for part in found[2].split(";"):
        words = part.split()
        expires = 0
        if "until" in words:
            place = words.index("until")
            expires = int(words[place + 1])
            words = words[:place]
        kind = Kind[words[0].upper()]
        if kind is Kind.POST:
            _, source, target, minor = words
            hold = ""
        else:
            _, hold, source, target, *rest = words
            minor = rest[0] if rest else 0
        transfers.append(
            Transfer(kind, ACCOUNTS[source].id, ACCOUNTS[target].id, int(minor), hold, expires)
        )
    return Bundle(f"{found[1]}.0", at, tuple(transfers), ()), Verdict[found[3].upper()]


@pytest.fixture
def ledger(engine):
    verdicts = engine.post([Bundle("open.0", 0, (), tuple(ACCOUNTS.values()))])
    assert verdicts == [Verdict.DONE]
    return engine


def test_the_number_of_stories_is_known():
    assert len(STORIES) == 23


@pytest.mark.parametrize("name", STORIES)
def test_story(ledger, name):
    at = 1
    batch = []

    def flush():
        verdicts = ledger.post([bundle for bundle, _ in batch])
        assert verdicts == [verdict for _, verdict in batch]
        batch.clear()

    for text in STORIES[name].strip().splitlines():
        line = text.strip()
        if not line:
            flush()
        elif line.startswith("@"):
            flush()
            at = int(line.split()[1])
        elif line.startswith("="):
            flush()
            words = line.split()[1:]
            for account, expected in zip(words[::2], words[1::2], strict=True):
                balance = ledger.state.balance(ACCOUNTS[account].id)
                assert (account, f"{balance.net}/{balance.held}") == (account, expected)
        else:
            batch.append(read(line, at))
    flush()


def test_opening_an_account_twice_the_same_is_harmless_and_otherwise_refused(ledger):
    again = Bundle("again.0", 0, (), (ACCOUNTS["A"],))
    other = Bundle("other.0", 0, (), (Account(10, "USD", Guard.CREDIT, Shelf.EMONEY),))

    assert ledger.post([again, other]) == [Verdict.DONE, Verdict.ACCOUNT_DIFFERS]


def test_an_unknown_account_moves_nothing(ledger):
    bundle = Bundle("1.0", 0, (Transfer(Kind.POST, 13, 999, 5),))

    assert ledger.post([bundle]) == [Verdict.ACCOUNT_UNKNOWN]
    assert ledger.state.net(13) == 0


def test_a_batch_left_without_commit_is_undone(ledger):
    head = ledger.head
    with ledger.batch() as batch:
        assert batch.post(read("1: post T A 500 -> done", 1)[0]) is Verdict.DONE
        assert ledger.state.net(10) == 500

    assert ledger.state.net(10) == 0
    assert ledger.head == head
    assert ledger.row("1.0") is None


def test_a_batch_behind_another_sees_it_and_follows_on_its_lines(ledger):
    head = ledger.head
    first = read("1: post T A 500 -> done", 1)[0]
    second = read("2: post A B 200 -> done", 2)[0]
    ahead = ledger.begin()
    assert ahead.post(first) is Verdict.DONE
    behind = ledger.begin(ahead)
    assert behind.next_sequence == head + 2
    assert behind.row(first.id).transfers == first.transfers
    assert behind.post(first) is Verdict.DONE  # a repeat: it moves nothing
    assert behind.post(second) is Verdict.DONE
    ahead.keep()
    ahead.stand()
    ahead.end()
    assert ledger.head == head + 1
    behind.commit()
    behind.end()

    assert (ledger.state.net(10), ledger.state.net(11)) == (300, 200)
    assert [row.sequence for row in ledger.touching(10)] == [head + 2, head + 1]
    assert (ledger.row(second.id).source_before, ledger.row(first.id).sequence) == (
        head + 1,
        head + 1,
    )


def test_what_was_judged_behind_a_batch_that_is_not_kept_goes_with_it(ledger):
    head = ledger.head
    ahead = ledger.begin()
    ahead.post(read("1: post T A 500 -> done", 1)[0])
    behind = ledger.begin(ahead)
    assert behind.post(read("2: post A B 200 -> done", 2)[0]) is Verdict.DONE
    behind.end()
    ahead.end()

    assert (ledger.state.net(10), ledger.state.net(11), ledger.head) == (0, 0, head)
    assert ledger.post([read("2: post A B 200 -> done", 2)[0]]) == [Verdict.NOT_ENOUGH]


def test_lines_are_found_by_id_by_sequence_by_thread_and_by_account(ledger):
    first = Bundle("order.0", 7, (Transfer(Kind.POST, 13, 10, 500),), (), b"told")
    second = Bundle("order.1", 8, (Transfer(Kind.POST, 10, 11, 200),), (), b"again")
    ledger.post([first, second])

    assert ledger.row("order.0").story == b"told"
    assert ledger.at_sequence(3).id == "order.1"
    assert [row.id for row in ledger.thread("order")] == ["order.0", "order.1"]
    assert [row.id for row in ledger.touching(10)] == ["order.1", "order.0"]
    assert [row.id for row in ledger.touching(10, before=3)] == ["order.0"]
    assert [row.sequence for row in ledger.rows(after=1)] == [2, 3]
    assert [row.sequence for row in ledger.rows(after=0, limit=2)] == [1, 2]
    assert ledger.head == 3


def test_a_refused_bundle_takes_no_sequence(ledger):
    verdicts = ledger.post(
        [read("1: post A B 5 -> not_enough", 1)[0], read("2: post T A 5 -> done", 1)[0]]
    )

    assert verdicts == [Verdict.NOT_ENOUGH, Verdict.DONE]
    assert ledger.row("2.0").sequence == 2
