"""The auditor agrees with a writer that is right, and stops one that is not, whatever strayed."""

import asyncio
from datetime import timedelta

import pytest

from umoja.faults import Unavailable
from umoja.ledger.auditor import COMPARE_EVERY_S, IDLE_S, Auditor, Breach
from umoja.ledger.entries import Account, Bundle, Guard, Kind, Shelf, Transfer

TRUST = Account(1, "KES", Guard.DEBIT, Shelf.TRUST)
WALLET = Account(2, "KES", Guard.CREDIT, Shelf.EMONEY)
SHOP = Account(3, "KES", Guard.CREDIT, Shelf.EMONEY)


def issue(ledger, *names, minor=100):
    opens = () if ledger.state.has(1) else (TRUST, WALLET, SHOP)
    ledger.post(
        [Bundle(name, 5, (Transfer(Kind.POST, 1, 2, minor),), opens, b"s") for name in names]
    )


def auditor_of(ledger, clock, told=None):
    tell = (lambda why: None) if told is None else told.append
    return Auditor(ledger, market="KE", clock=clock, tell=tell)


def test_it_follows_the_writer_and_compares_at_the_same_line(side, clock):
    ledger = side.open()
    issue(ledger, *[f"{n}.0" for n in range(1_500)])
    ledger.post([Bundle("h.0", 6, (Transfer(Kind.HOLD, 2, 3, 40, "h"),))])
    auditor = auditor_of(ledger, clock)

    assert auditor.step()
    assert (auditor.sequence, auditor.compared) == (1_000, 0)
    issue(ledger, "later.0")
    assert auditor.step()
    assert (auditor.sequence, auditor.compared) == (1_501, 1_501)
    assert auditor.step()
    assert (auditor.sequence, auditor.compared) == (1_502, 1_501)
    assert not auditor.step()


def test_it_compares_again_after_a_while_and_only_then(side, clock):
    ledger = side.open()
    issue(ledger, "a.0")
    auditor = auditor_of(ledger, clock)
    auditor.compare()
    issue(ledger, "b.0")
    while auditor.step():
        pass
    assert (auditor.sequence, auditor.compared) == (2, 1)

    clock.advance(timedelta(seconds=COMPARE_EVERY_S))
    auditor.step()
    auditor.step()

    assert auditor.compared == 2


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda state: state._credits.__setitem__(1, 101), "account 2: the journal says"),
        (lambda state: state._held.__setitem__(1, 1), "account 2: the journal says"),
        (lambda state: state._last.__setitem__(1, 1), "account 2: the journal says"),
    ],
)
def test_a_writer_that_strayed_is_stopped_and_somebody_told(side, clock, spoil, told):
    ledger, pages = side.open(), []
    issue(ledger, "a.0", "b.0")
    spoil(ledger.state)
    auditor = auditor_of(ledger, clock, pages)

    with pytest.raises(Breach, match=told):
        auditor.compare()

    assert pages == [auditor.breach]
    assert auditor.breach.startswith("the auditor stopped KE at line 2: account 2: the journal")
    with pytest.raises(Unavailable, match="the auditor stopped KE"):
        issue(ledger, "c.0")
    with pytest.raises(Breach):
        auditor.step()
    assert pages == [auditor.breach]


def test_a_line_that_was_changed_under_the_writer_is_found(side, clock):
    ledger, pages = side.open(), []
    issue(ledger, "a.0", "b.0")
    issue(ledger, "c.0")
    ledger.save(ledger.taken())
    side.sql("UPDATE journal SET story = ? WHERE sequence = 2", (b"t",))

    with pytest.raises(Breach, match="lines 1 to 2 are not what was written"):
        auditor_of(ledger, clock, pages).compare()
    assert len(pages) == 1


def test_it_reads_on_through_archived_months(side, clock):
    from umoja.ledger.archive import Archivist

    ledger = side.open()
    for n in range(4):
        issue(ledger, f"{n}.0")
    ledger.save(ledger.taken())
    Archivist(side.store(), side.archive, market="KE", month_of=lambda _: "2025-01", now=0).run(
        "2025-02"
    )
    auditor = auditor_of(ledger, clock)

    auditor.compare()

    assert auditor.compared == 4
    assert side.sql("SELECT count(*) FROM journal")[0][0] == 1


def test_it_runs_in_the_background_until_a_breach(tmp_path, clock):
    from tests.ledger.conftest import SqliteSide

    side = SqliteSide(tmp_path, clock)
    ledger, pages = side.open(), []
    issue(ledger, "a.0")
    auditor = auditor_of(ledger, clock, pages)

    async def day():
        work = asyncio.create_task(auditor.run())
        while not auditor.compared:
            await asyncio.sleep(0.001)
            clock.advance(timedelta(seconds=IDLE_S))
        ledger.state._credits[1] += 1
        while not work.done():
            await asyncio.sleep(0.001)
            clock.advance(timedelta(seconds=COMPARE_EVERY_S))

    asyncio.run(day())
    side.close()

    assert len(pages) == 1
