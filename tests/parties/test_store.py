"""The directory on real files: who is found, who is refused, and what three wrong PINs do."""

import hmac
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from tests.postgres import files_only, tables
from tests.stage import NOON, PIN_KEY, Stage, raised
from umoja.clock import ManualClock
from umoja.markets import packs
from umoja.parties import store as store_module
from umoja.parties.credentials import PinHash, is_fit, key_at
from umoja.parties.directory import PhoneTaken, PinUnfit
from umoja.parties.party import FIRST, Party, PinOutcome, Role, Status
from umoja.parties.store import PartyStore, PinKeyWrong


@pytest.fixture
def stage(tmp_path: Path):
    stage = raised("KE", tmp_path)
    yield stage
    stage.close()


def test_a_party_is_found_by_number_phone_and_codes(stage: Stage):
    customer, outlet, shop = stage.customer("Zawadi"), stage.outlet(), stage.organisation()
    assert customer.id == FIRST
    assert stage.store.get(customer.id) == customer
    assert stage.store.by_phone(customer.phone) == customer
    assert stage.store.by_agent_code(outlet.agent_code) == outlet
    assert stage.store.by_till(shop.till) == shop
    assert stage.store.by_paybill(shop.paybill) == shop
    assert stage.store.by_phone("") is None
    assert stage.store.by_till("1") is None
    assert stage.store.get(10**18) is None


def test_a_phone_belongs_to_one_party_until_it_is_closed(stage: Stage):
    first = stage.customer("First")
    with pytest.raises(PhoneTaken):
        stage.customer("Second", phone=first.phone)
    assert stage.store.count() == 1
    stage.store.update(msgspec.structs.replace(first, status=Status.CLOSED))
    second = stage.customer("Second", phone=first.phone)
    assert stage.store.by_phone(first.phone) == second


def test_many_phones_are_found_as_one_by_one(tmp_path: Path):
    first = raised("KE", tmp_path)
    people = [first.customer(f"Customer {place}") for place in range(103)]
    closed = msgspec.structs.replace(people[0], status=Status.CLOSED)
    first.store.update(closed)
    first.close()
    again = raised("KE", tmp_path)  # nobody is remembered
    asked = [each.phone for each in people] + ["254700999001", "", people[7].phone]
    try:
        assert again.store.by_phone(people[5].phone) == people[5]  # one is, by now
        found = again.store.by_phones(asked)
        assert found == {each.phone: each for each in people[1:]}
        assert again.store.by_phones(asked) == found
        assert again.store.by_phones([]) == {}
    finally:
        again.close()


def test_many_are_registered_all_or_none(stage: Stage):
    taken = stage.customer("Taken")
    rows = [
        (Party(id=0, role=Role.CUSTOMER, name="New", phone="254700999001"), "2580"),
        (Party(id=0, role=Role.CUSTOMER, name="Clash", phone=taken.phone), ""),
    ]
    with pytest.raises(PhoneTaken):
        stage.store.register_many(rows)
    assert stage.store.by_phone("254700999001") is None
    with pytest.raises(PinUnfit):
        stage.store.register_many([(rows[0][0], "12345")])
    kept = stage.store.register_many(rows[:1])
    assert stage.store.check_pin(kept[0].id, "2580") is PinOutcome.RIGHT


def test_an_assistant_is_found_at_her_outlet_only(stage: Stage):
    outlet, other = stage.outlet(), stage.outlet()
    assistant = stage.store.register(
        Party(id=0, role=Role.ASSISTANT, name="Neema", parent=outlet.id, operator_code="01")
    )
    assert stage.store.assistant(outlet.id, "01") == assistant
    assert stage.store.assistant(other.id, "01") is None
    assert stage.store.assistant(outlet.id, "") is None
    assert stage.store.children(outlet.id) == [assistant]


def test_three_wrong_pins_lock_until_the_pin_is_reset(stage: Stage):
    customer = stage.customer()
    assert stage.store.check_pin(customer.id, "2580") is PinOutcome.NOT_SET
    stage.store.set_pin(customer.id, "2580")
    assert stage.store.check_pin(customer.id, "0000") is PinOutcome.WRONG
    assert stage.store.check_pin(customer.id, "0000") is PinOutcome.WRONG
    assert stage.store.check_pin(customer.id, "2580") is PinOutcome.RIGHT
    outcomes = [stage.store.check_pin(customer.id, "0000") for _ in range(3)]
    assert outcomes == [PinOutcome.WRONG, PinOutcome.WRONG, PinOutcome.LOCKED]
    assert stage.store.check_pin(customer.id, "2580") is PinOutcome.LOCKED
    stage.store.reset_pin(customer.id)
    assert not stage.store.has_pin(customer.id)
    stage.store.set_pin(customer.id, "8250")
    assert stage.store.check_pin(customer.id, "8250") is PinOutcome.RIGHT


def test_guesses_at_the_same_time_are_counted_one_by_one(stage: Stage):
    customer = stage.customer()
    stage.store.set_pin(customer.id, "2580")
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(
            pool.map(lambda guess: stage.store.check_pin(customer.id, guess), ["0000"] * 24)
        )
    assert outcomes.count(PinOutcome.WRONG) == 2
    assert outcomes.count(PinOutcome.LOCKED) == 22


def test_a_pin_is_changed_only_by_who_knows_the_old_one(stage: Stage):
    customer = stage.customer()
    stage.store.set_pin(customer.id, "2580")
    assert stage.store.change_pin(customer.id, old="1357", new="8642") is PinOutcome.WRONG
    assert stage.store.change_pin(customer.id, old="2580", new="8641") is PinOutcome.RIGHT
    assert stage.store.check_pin(customer.id, "8641") is PinOutcome.RIGHT
    with pytest.raises(PinUnfit):
        stage.store.change_pin(customer.id, old="8641", new="12a4")


def test_a_sim_swap_is_noted_and_leaves_the_pin_as_it_was(stage: Stage):
    customer = stage.customer()
    stage.store.set_pin(customer.id, "2580")
    stage.store.swap_sim(customer.id)
    found = stage.store.get(customer.id)
    assert found is not None
    assert found.sim_swapped_at > 0
    assert stage.store.check_pin(customer.id, "2580") is PinOutcome.RIGHT
    with pytest.raises(KeyError):
        stage.store.swap_sim(77)


@pytest.mark.parametrize(
    ("pin", "fits"),
    [
        ("2580", True), ("1122", True), ("1111", False), ("1234", False), ("4321", False),
        ("123", False), ("12345", False), ("12a4", False), ("١٢٣٥", False), ("", False),
    ],
)  # fmt: skip
def test_pins_that_anybody_would_try_first_are_refused(pin: str, fits: bool):
    assert is_fit(pin, digits=4, rejects_runs=True) is fits


@files_only
def test_the_pin_itself_is_nowhere_in_the_file(stage: Stage, tmp_path: Path):
    customer = stage.customer()
    stage.store.set_pin(customer.id, "730519"[:4])
    stage.close()
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("parties.db*"))
    assert b"7305" not in kept


def test_a_wrong_key_is_found_at_the_start_and_not_by_the_customers(stage: Stage, tmp_path: Path):
    with pytest.raises(PinKeyWrong):
        PartyStore(
            tables(tmp_path / "parties.db"),
            market=packs.load("KE"),
            clock=ManualClock(NOON),
            pin_key=bytes(32),
        )


def test_a_key_is_made_once_and_read_by_its_owner_only(tmp_path: Path):
    made = key_at(tmp_path / "keys" / "pin.key")
    assert len(made) == 32
    assert key_at(tmp_path / "keys" / "pin.key") == made
    assert (tmp_path / "keys" / "pin.key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "bad").write_text("short")
    with pytest.raises(ValueError, match="holds no key"):
        key_at(tmp_path / "bad")


def test_what_another_process_writes_is_seen_within_a_second(stage: Stage, tmp_path: Path):
    customer = stage.customer("Before")
    assert stage.store.get(customer.id) is not None
    other = tables(tmp_path / "parties.db")
    other.run("UPDATE parties SET name = 'After' WHERE id = :id", id=customer.id)
    other.close()
    stage.clock.advance(timedelta(seconds=2))
    found = stage.store.get(customer.id)
    assert found is not None
    assert found.name == "After"


def test_a_pin_that_is_remembered_is_forgotten_at_a_wrong_try(stage: Stage):
    customer = stage.customer()
    stage.store.set_pin(customer.id, "2580")
    for _ in range(2):
        assert stage.store.has_given(customer.id, "2580")  # remembered by now
        for _ in range(2):
            assert stage.store.check_pin(customer.id, "0000") is PinOutcome.WRONG
        assert not stage.store.has_given(customer.id, "2580")  # the tries are in the file
        assert stage.store.check_pin(customer.id, "2580") is PinOutcome.RIGHT
    for _ in range(3):
        stage.store.check_pin(customer.id, "0000")
    assert not stage.store.has_given(customer.id, "2580")
    assert stage.store.check_pin(customer.id, "2580") is PinOutcome.LOCKED
    stage.store.reset_pin(customer.id)
    stage.store.set_pin(customer.id, "8642")
    assert not stage.store.has_given(customer.id, "2580")
    assert stage.store.has_given(customer.id, "8642")
    assert stage.store.change_pin(customer.id, old="8642", new="1357") is PinOutcome.RIGHT
    assert not stage.store.has_given(customer.id, "8642")


def test_a_pin_locked_by_another_process_is_soon_locked_here(stage: Stage, tmp_path: Path):
    customer = stage.customer()
    stage.store.set_pin(customer.id, "2580")
    assert stage.store.has_given(customer.id, "2580")
    other = PartyStore(
        tables(tmp_path / "parties.db"), market=stage.market, clock=stage.clock, pin_key=PIN_KEY
    )
    for _ in range(3):
        other.check_pin(customer.id, "0000")
    other.close()
    stage.clock.advance(timedelta(milliseconds=10))
    assert not stage.store.has_given(customer.id, "2580")
    assert stage.store.check_pin(customer.id, "2580") is PinOutcome.LOCKED


def test_what_is_kept_of_a_pin_is_its_hmac(stage: Stage):
    key, salt = bytes(range(32)), bytes(16)
    assert PinHash(key).of(party=7, salt=salt, pin="2580") == hmac.digest(
        key, b"pin|7|" + salt + b"|2580", "sha256"
    )


def test_no_more_pins_are_remembered_than_there_is_room_for(stage: Stage, monkeypatch):
    monkeypatch.setattr(store_module, "PINS_MAX", 2)
    customers = [stage.customer(f"Customer {n}") for n in range(4)]
    for customer in customers:
        stage.store.set_pin(customer.id, "2580")
        assert stage.store.has_given(customer.id, "2580")
    assert len(stage.store._pins) == 2
    assert all(stage.store.has_given(customer.id, "2580") for customer in customers)
