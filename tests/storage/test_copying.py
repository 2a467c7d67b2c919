"""Copying a whole installation: both ways, killed in the middle, refused where it must be, proved."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.postgres import Cluster, NoPostgres
from tests.stage import NOON, PIN_KEY
from tests.storage.installation import ENVIRON
from umoja.cli import run
from umoja.clock import ManualClock, SystemClock
from umoja.copying import copy
from umoja.faults import Unavailable
from umoja.ledger.entries import Account, Bundle, Guard, Kind, Shelf, Transfer
from umoja.ledger.lease import Held
from umoja.markets import packs
from umoja.opening import (
    Place,
    WrongKind,
    kind_of,
    open_ledger,
    open_sql,
    opened,
    settle_as,
    told_of,
)
from umoja.ops.centre import open_centre
from umoja.parties.clients import Clients
from umoja.parties.party import Party, Role
from umoja.parties.store import PartyStore
from umoja.premises import DataInUse, hold
from umoja.storage.migrate import migrate

CLOCK = SystemClock()
VICTIM = Path(__file__).with_name("copy_victim.py")
TRUST = Account(id=1 << 8 | 8 << 3, currency="KES", shelf=Shelf.TRUST, guard=Guard.NONE)
WALLET = Account(id=2 << 8 | 1 << 3, currency="KES", shelf=Shelf.EMONEY, guard=Guard.CREDIT)


@pytest.fixture(scope="module")
def cluster():
    try:
        made = Cluster()
    except NoPostgres as cause:
        pytest.skip(str(cause))
    yield made
    made.remove()


@pytest.fixture
def server(cluster):
    """Give an empty database of the server's."""
    name = cluster.schema()
    with cluster.connect() as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return cluster.url.replace("/postgres?", f"/{name}?")


def settled(place: Place) -> None:
    """Put something of everything there: money, people, PINs, clients, messages, acts of staff."""
    settle_as(place, "production", CLOCK)
    ledger = open_ledger(place, "KE", CLOCK)
    ledger.post([Bundle("open.0", 1, (), (TRUST, WALLET), b"")])
    for number in range(120):
        ledger.post(
            [
                Bundle(
                    f"in.{number}",
                    7 + number,
                    (Transfer(Kind.POST, TRUST.id, WALLET.id, 500 + number),),
                    (),
                    b"\x00\xff",
                )
            ]
        )
    ledger.close()
    store = PartyStore(
        open_sql(place, "parties", market="KE"),
        market=packs.load("KE"),
        clock=CLOCK,
        pin_key=PIN_KEY,
    )
    people = [
        (Party(id=0, role=Role.CUSTOMER, name=f"Zoë {n}", phone=f"2547000{n:05}"), "2580")
        for n in range(70)
    ]
    kept = store.register_many(people)
    dealer = store.register(Party(id=0, role=Role.DEALER, name="Dealer", phone="254799999999"))
    for child in kept[:3]:  # a parent that stands pages behind its children
        store.update(
            Party(**{name: getattr(child, name) for name in child.__struct_fields__ if name != "parent"},
                  parent=dealer.id)
        )  # fmt: skip
    store.close()
    clients = Clients(open_sql(place, "clients"), clock=CLOCK)
    client, secret = clients.register(name="Shop", market="KE", scopes=frozenset({"payments:read"}))
    assert clients.issue(client, secret, scopes=frozenset())
    clients.close()
    with opened(place, "messages", "KE") as messages:
        migrate(messages, "messages", CLOCK)
    centre = open_centre(open_sql(place, "centre"), clock=CLOCK, markets=[])
    for number in range(30):
        centre.audit.record(actor="amina", action="looked", detail=f"at {number} % of ‘all’")
    centre.close()


@pytest.fixture(params=["to postgresql", "to sqlite"])
def sides(request, tmp_path, server):
    files = Place(data=tmp_path / "files")
    database = Place(data=tmp_path / "keys", database=server)
    both = (files, database) if request.param == "to postgresql" else (database, files)
    settled(both[0])
    return both


def word(place: Place) -> str:
    return place.database or f"sqlite:{place.data}"


@pytest.mark.parametrize(
    "steps",
    [
        [24],
        pytest.param([3, 4, 5, 7, 9, 12, 16, 21, 27, 34, 42, 51, 60, 70], marks=pytest.mark.bench),
    ],
    ids=["once", "again and again"],
)
def test_a_copy_that_is_killed_ends_equal(sides, tmp_path, steps):
    source, target = sides
    for count in steps:
        done = subprocess.run(
            [sys.executable, str(VICTIM), word(source), word(target), str(tmp_path / "keys"), str(count)],
            check=False, capture_output=True, text=True, timeout=60, env=ENVIRON,
        )  # fmt: skip
        assert done.returncode == -9, done.stdout + done.stderr
        assert kind_of(target) in {"", "copying"}
    with pytest.raises(WrongKind, match="is not finished"):
        settle_as(target, "production", CLOCK)

    proof = copy(source, target, clock=CLOCK, page=25, lease_s=1)

    assert proof.is_equal
    rows = {f"{each.where} {each.table}": each.rows for each in proof.tables}
    assert rows["KE journal"] == (121, 121)
    assert rows["KE parties"] == (71, 71)
    assert rows["KE pins"] == (70, 70)
    assert rows["clients tokens"] == (1, 1)
    assert rows["centre audit"] == (30, 30)
    assert rows["centre audit_head"] == (1, 1)
    assert proof.books[0].totals[1]["KES"]["credits"] == sum(500 + n for n in range(120))
    assert proof.books[0].breaches == ()
    assert kind_of(target) == "production"
    _goes_on(target)
    with pytest.raises(WrongKind, match="holds an installation already"):
        copy(source, target, clock=CLOCK)


def _goes_on(place: Place) -> None:
    """Work on a copy as on the first: the numbers go on, the epochs too, PINs and chains hold."""
    ledger = open_ledger(place, "KE", CLOCK)
    assert ledger.head == 121
    ledger.post([Bundle("in.120", 9, (Transfer(Kind.POST, TRUST.id, WALLET.id, 1),), (), b"")])
    assert ledger.state.balance(WALLET.id).net == sum(500 + n for n in range(120)) + 1
    ledger.close()
    store = PartyStore(
        open_sql(place, "parties", market="KE"),
        market=packs.load("KE"),
        clock=CLOCK,
        pin_key=PIN_KEY,
    )
    assert (
        store.register(Party(id=0, role=Role.CUSTOMER, name="New", phone="254711111111")).id == 1071
    )
    assert store.has_given(1005, "2580")
    assert store.get(1000).parent == 1070
    store.close()
    centre = open_centre(open_sql(place, "centre"), clock=CLOCK, markets=[])
    assert centre.audit.verify().broken_at is None
    centre.close()
    with opened(place, "journal", "KE") as journal:
        assert journal.one("SELECT epoch FROM writer")[0] >= 2


def test_a_source_that_was_started_since_is_copied_anew(sides):
    source, target = sides
    stopped = iter(range(12))

    def step(*_: object) -> None:
        if next(stopped, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy(source, target, clock=CLOCK, page=25, lease_s=1, step=step)
    ledger = open_ledger(source, "KE", CLOCK)
    ledger.post([Bundle("late.0", 9, (Transfer(Kind.POST, TRUST.id, WALLET.id, 1),), (), b"")])
    ledger.close()
    with opened(source, "parties", "KE") as parties:
        parties.run("DELETE FROM pins WHERE party = 1000")

    proof = copy(source, target, clock=CLOCK, lease_s=1)

    assert proof.is_equal
    assert proof.books[0].lines == (122, 122)


def test_nobody_may_write_on_either_side_meanwhile(sides):
    source, target = sides
    ledger = open_ledger(source, "KE", CLOCK)
    with pytest.raises(Held, match=r"held by .* process \d+"):
        copy(source, target, clock=CLOCK, lease_s=1)
    ledger.close()
    refused = []

    def step(*_: object) -> None:
        with pytest.raises(Held):
            open_ledger(source, "KE", CLOCK)
        refused.append(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy(source, target, clock=CLOCK, lease_s=5, step=step)
    assert refused == [1]
    open_ledger(source, "KE", CLOCK).close()


def test_a_target_that_holds_anything_else_is_left_alone(sides, tmp_path):
    source, target = sides
    with opened(target, "clients") as clients:
        migrate(clients, "clients", CLOCK)
    with pytest.raises(WrongKind, match="is not empty"):
        copy(source, target, clock=CLOCK)
    with opened(target, "clients") as clients:
        assert not clients.has_table("copied")


def test_what_is_not_equal_is_told_and_cannot_be_started_on(sides, tmp_path):
    source, target = sides
    steps = []

    def spoil(what: str, *_: object) -> None:
        if what.startswith("comparing") and not steps:
            steps.append(what)
            with opened(target, "journal", "KE") as journal:
                journal.run("UPDATE journal SET at = at + 1 WHERE sequence = 60")

    proof = copy(source, target, clock=CLOCK, lease_s=1, step=spoil)

    assert not proof.is_equal
    assert [each.table for each in proof.tables if not each.is_equal] == ["journal"]
    assert "NOT EQUAL" in proof.told
    with pytest.raises(WrongKind, match="is not finished"):
        settle_as(target, "production", CLOCK)


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    def told(*words: str) -> tuple[int, str]:
        return run(["copy", *words]), capsys.readouterr().err

    empty, other = f"sqlite:{tmp_path / 'none'}", f"sqlite:{tmp_path / 'other'}"
    code, errors = told("--from", empty, "--to", other)
    assert (code, "there is nothing to copy in" in errors) == (69, True)
    assert told("--from", empty, "--to", empty)[0] == 69
    code, errors = told("--from", "mysql://x", "--to", other)
    assert (code, "a place is sqlite:FOLDER or postgresql://" in errors) == (2, True)
    held = hold(tmp_path / "held")
    settled(Place(data=tmp_path / "held"))
    with pytest.raises(DataInUse):
        copy(Place(data=tmp_path / "held"), Place(data=tmp_path / "other"), clock=CLOCK)
    held.close()


def test_a_place_is_told_without_its_password():
    place = Place(
        data=Path("keys"), database="postgresql://amina:secret@db/umoja?password=also&a=b"
    )
    assert told_of(place) == "postgresql://amina:***@db/umoja?password=***&a=b"
    with pytest.raises(Unavailable, match="same place"):
        copy(place, place, clock=ManualClock(NOON))
