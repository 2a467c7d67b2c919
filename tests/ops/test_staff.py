"""Staff: the table of rights, passwords, sessions and the throttle against guessing."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from tests.ops.conftest import CHEAP, MARKETS
from tests.postgres import files_only
from umoja.clock import ManualClock
from umoja.faults import Busy
from umoja.ops.audit import AuditLog
from umoja.ops.staff import ROLES, Member, Staff, StaffRefused
from umoja.ops.throttle import Throttle
from umoja.storage.database import Database

GOOD = "correct horse battery"
HERE = "192.0.2.7"

RIGHTS = """
action          viewer  engineer  administrator
see             yes     yes       yes
note_incident   no      yes       yes
sandbox         no      yes       yes
see_audit       no      no        yes
manage_staff    no      no        yes
"""


def cells() -> list[tuple[str, str, bool]]:
    head, *rows = [line.split() for line in RIGHTS.strip().splitlines()]
    return [
        (row[0], role, cell == "yes")
        for row in rows
        for role, cell in zip(head[1:], row[1:], strict=True)
    ]


@pytest.mark.parametrize(("action", "role", "is_allowed"), cells())
def test_the_table_of_rights(staff: Staff, action: str, role: str, is_allowed: bool):
    here = Member(name="asha", roles={"KE": frozenset({role})})
    everywhere = Member(name="juma", roles={"*": frozenset({role})})

    assert staff.may(here, action, "KE") is is_allowed
    assert staff.may(here, action, "GH") is False
    assert staff.may(here, action, "*") is False
    assert staff.may(here, action, "") is False
    for market in ("KE", "GH", "*", ""):
        assert staff.may(everywhere, action, market) is is_allowed
    assert staff.may(None, action, "KE") is False
    assert staff.may(Member(name="nobody", roles={}), action, "KE") is False


def test_an_action_that_does_not_exist_is_a_bug(staff: Staff):
    with pytest.raises(AssertionError, match="no action"):
        staff.may(None, "fly", "KE")


def test_the_first_administrator_is_made_once_and_may_everything(staff: Staff, audit: AuditLog):
    password = staff.first_administrator()

    assert password is not None
    assert staff.first_administrator() is None
    token = staff.sign_in("administrator", password, address=HERE)
    assert token is not None
    member = staff.member(token)
    assert member == Member(name="administrator", roles={"*": frozenset({"administrator"})})
    assert staff.may(member, "manage_staff", "*")
    assert [(each.actor, each.action) for each in reversed(audit.recent())] == [
        ("system", "staff_added"),
        ("administrator", "sign_in"),
    ]
    assert all(password not in each.detail for each in audit.recent())


def test_signing_in_and_out(staff: Staff, audit: AuditLog):
    staff.add("asha", GOOD, {"KE": ["engineer", "viewer"], "GH": ["viewer"]}, by="administrator")

    token = staff.sign_in("Asha ", GOOD, address=HERE)
    other = staff.sign_in("asha", GOOD, address=HERE)

    assert token is not None
    assert other not in {None, token}
    assert staff.member(token) == Member(
        name="asha",
        roles={"KE": frozenset({"engineer", "viewer"}), "GH": frozenset({"viewer"})},
    )

    staff.sign_out(token)
    staff.sign_out(token)
    staff.sign_out("nonsense")

    assert staff.member(token) is None
    assert other is not None
    assert staff.member(other) is not None
    assert [each.action for each in reversed(audit.recent())] == [
        "staff_added",
        "sign_in",
        "sign_in",
        "sign_out",
    ]


@files_only
def test_neither_password_nor_token_is_in_the_file(
    staff: Staff, database: Database, tmp_path: Path
):
    staff.add("asha", GOOD, {"KE": ["viewer"]}, by="administrator")
    token = staff.sign_in("asha", GOOD, address=HERE)
    assert token is not None
    assert staff.sign_in(GOOD, GOOD, address=HERE) is None  # the password in the name's field
    database.close()

    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())

    assert b"$argon2id$" in kept
    assert GOOD.encode() not in kept
    assert token.encode() not in kept


@pytest.mark.parametrize("text", ["", "x" * 10_000, "\ud800", "é\x00", "a" * 43])
def test_what_is_no_token_is_nobodys(staff: Staff, text: str):
    assert staff.member(text) is None


def test_a_session_ends_after_two_idle_hours_and_after_twelve_at_all(
    staff: Staff, clock: ManualClock
):
    staff.add("asha", GOOD, {"KE": ["viewer"]}, by="administrator")
    idle = staff.sign_in("asha", GOOD, address=HERE)
    used = staff.sign_in("asha", GOOD, address=HERE)
    assert idle is not None
    assert used is not None

    clock.advance(timedelta(minutes=119))
    assert staff.member(used) is not None
    clock.advance(timedelta(minutes=1))
    assert staff.member(idle) is None
    for _ in range(9):
        clock.advance(timedelta(hours=1))
        assert staff.member(used) is not None
    clock.advance(timedelta(minutes=59))
    assert staff.member(used) is not None
    clock.advance(timedelta(minutes=1))

    assert staff.member(used) is None


def test_a_member_has_at_most_twenty_sessions(staff: Staff, clock: ManualClock, database: Database):
    staff.add("asha", GOOD, {"KE": ["viewer"]}, by="administrator")
    tokens = []
    for _ in range(22):
        tokens.append(staff.sign_in("asha", GOOD, address=HERE))
        clock.advance(timedelta(seconds=1))

    live = [token for token in tokens if token is not None and staff.member(token) is not None]

    assert live == tokens[2:]


def test_a_changed_password_ends_the_other_sessions(staff: Staff):
    staff.add("asha", GOOD, {"KE": ["viewer"]}, by="administrator")
    mine = staff.sign_in("asha", GOOD, address=HERE)
    other = staff.sign_in("asha", GOOD, address=HERE)
    assert mine is not None
    assert other is not None

    staff.change_password("asha", "another long password", by="asha", keep=mine)

    assert staff.member(mine) is not None
    assert staff.member(other) is None
    assert staff.sign_in("asha", GOOD, address=HERE) is None
    assert staff.sign_in("asha", "another long password", address=HERE) is not None


def test_who_is_let_go_is_signed_out_at_once(staff: Staff):
    staff.first_administrator()
    staff.add("asha", GOOD, {"KE": ["viewer"]}, by="administrator")
    token = staff.sign_in("asha", GOOD, address=HERE)
    assert token is not None

    staff.remove("asha", by="administrator")

    assert staff.member(token) is None
    assert staff.sign_in("asha", GOOD, address=HERE) is None
    assert [each.name for each in staff.browse()] == ["administrator"]


def test_changed_roles_count_at_once(staff: Staff):
    staff.first_administrator()
    staff.add("asha", GOOD, {"KE": ["viewer"]}, by="administrator")
    token = staff.sign_in("asha", GOOD, address=HERE)
    assert token is not None

    staff.set_roles("asha", {"*": ["engineer"]}, by="administrator")

    assert staff.may(staff.member(token), "sandbox", "GH")


def test_an_administrator_always_remains(staff: Staff, audit: AuditLog):
    staff.first_administrator()
    before = audit.verify().entries

    with pytest.raises(StaffRefused, match="remain"):
        staff.remove("administrator", by="administrator")
    with pytest.raises(StaffRefused, match="remain"):
        staff.set_roles("administrator", {"KE": ["administrator"]}, by="administrator")

    assert staff.browse()[0].roles == {"*": frozenset({"administrator"})}
    assert audit.verify().entries == before


@pytest.mark.parametrize(
    ("name", "password", "roles", "told"),
    [
        ("a", GOOD, {"KE": ["viewer"]}, "a name has"),
        ("Asha", GOOD, {"KE": ["viewer"]}, "a name has"),
        ("asha <b>", GOOD, {"KE": ["viewer"]}, "a name has"),
        ("a" * 41, GOOD, {"KE": ["viewer"]}, "a name has"),
        ("administrator", GOOD, {"KE": ["viewer"]}, "already"),
        ("asha", "short", {"KE": ["viewer"]}, "at least 12"),
        ("asha", "x1" * 101, {"KE": ["viewer"]}, "at most 200"),
        ("asha", "aaaaaaaaaaaaaaaa", {"KE": ["viewer"]}, "easily guessed"),
        ("asha", "asha-asha-asha-1", {"KE": ["viewer"]}, "easily guessed"),
        ("asha", "correct horse \ud800", {"KE": ["viewer"]}, "can be written"),
        ("asha", GOOD, {}, "at least one role"),
        ("asha", GOOD, {"KE": []}, "at least one role"),
        ("asha", GOOD, {"KE": ["king"]}, "roles are administrator, engineer, viewer"),
        ("asha", GOOD, {"XX": ["viewer"]}, "no market XX"),
    ],
)
def test_staff_that_cannot_be_taken_on(staff: Staff, audit: AuditLog, name, password, roles, told):
    staff.first_administrator()

    with pytest.raises(StaffRefused, match=told):
        staff.add(name, password, roles, by="administrator")

    assert [each.name for each in staff.browse()] == ["administrator"]
    assert audit.verify().entries == 1


def test_guessing_a_password_costs_time_and_is_written_down(
    staff: Staff, clock: ManualClock, audit: AuditLog
):
    staff.add("asha", GOOD, {"KE": ["viewer"]}, by="administrator")
    for _ in range(5):
        assert staff.sign_in("asha", "a wrong password", address=HERE) is None

    with pytest.raises(Busy) as busy:
        staff.sign_in("asha", GOOD, address=HERE)

    assert busy.value.retry_after_s == 30
    assert staff.sign_in("asha", GOOD, address="192.0.2.8") is not None  # she is not locked out
    clock.advance(timedelta(seconds=30))
    assert staff.sign_in("asha", "a wrong password", address=HERE) is None
    with pytest.raises(Busy) as busy:
        staff.sign_in("asha", GOOD, address=HERE)
    assert busy.value.retry_after_s == 60
    clock.advance(timedelta(seconds=60))
    assert staff.sign_in("asha", GOOD, address=HERE) is not None
    failed = [each for each in audit.recent() if each.action == "sign_in_failed"]
    assert [(each.actor, each.detail) for each in failed] == [("asha", f"from {HERE}")] * 6


def test_guessing_names_from_one_address_costs_time_too(staff: Staff, audit: AuditLog):
    for number in range(20):
        assert staff.sign_in(f"name{number}", GOOD, address=HERE) is None

    with pytest.raises(Busy):
        staff.sign_in("another", GOOD, address=HERE)

    assert {each.actor for each in audit.recent()} == {"unknown"}


def test_a_throttle_forgets_and_is_bounded(clock: ManualClock):
    throttle = Throttle(clock, remembered_max=100)
    for number in range(1_000):
        assert throttle.take({number: 1}) == 0.0

    assert len(throttle) == 100
    assert (throttle.wait_s(0), throttle.wait_s(999)) == (0.0, 30.0)

    for pause_s in (30, 60, 120, 240, 480, 900, 900):
        assert throttle.take({999: 1}) == pause_s
        clock.advance(timedelta(seconds=pause_s))
        assert throttle.take({999: 1}) == 0.0
    assert throttle.wait_s(999) == 900.0

    clock.advance(timedelta(minutes=31))
    assert throttle.take({999: 2}) == 0.0
    assert throttle.wait_s(999) == 0.0

    assert throttle.take({999: 2}) == 0.0
    assert throttle.wait_s(999) == 30.0
    throttle.succeed(999)
    assert throttle.wait_s(999) == 0.0


def test_a_try_counts_for_all_its_keys_or_for_none(clock: ManualClock):
    throttle = Throttle(clock)
    assert throttle.take({"name": 1, "address": 3}) == 0.0
    for _ in range(5):
        assert throttle.take({"name": 1, "address": 3}) == 30.0
    assert throttle.take({"address": 3}) == 0.0
    assert throttle.wait_s("address") == 0.0  # two were counted, and not the five that had to wait

    throttle.give_back({"name": 1, "address": 3})
    assert (throttle.wait_s("name"), throttle.wait_s("address")) == (0.0, 0.0)
    assert throttle.take({"address": 3}) == 0.0
    assert throttle.take({"address": 3}) == 0.0
    assert throttle.wait_s("address") == 30.0


def test_a_crowd_of_guesses_at_once_is_judged_no_more_often_than_one_after_the_other(
    staff: Staff, audit: AuditLog
):
    staff.add("asha", GOOD, {"KE": ["viewer"]}, by="administrator")
    at_once = threading.Barrier(32)

    def guess(number: int) -> str:
        at_once.wait()
        try:
            token = staff.sign_in("asha", f"a wrong password {number}", address=HERE)
        except Busy:
            return "has to wait"
        return "wrong" if token is None else "in"

    with ThreadPoolExecutor(32) as crowd:
        answers = Counter(crowd.map(guess, range(32)))

    assert answers == {"wrong": 5, "has to wait": 27}
    assert sum(each.action == "sign_in_failed" for each in audit.recent()) == 5


def test_a_right_password_takes_nothing_from_the_tries_of_others(staff: Staff):
    staff.add("asha", GOOD, {"KE": ["viewer"]}, by="administrator")
    for _ in range(60):  # more than an address, or a name, has free
        assert staff.sign_in("asha", GOOD, address=HERE) is not None
    for number in range(19):
        assert staff.sign_in(f"name{number}", GOOD, address=HERE) is None
    assert staff.sign_in("asha", GOOD, address=HERE) is not None
    assert staff.sign_in("another", GOOD, address=HERE) is None
    with pytest.raises(Busy):
        staff.sign_in("asha", GOOD, address=HERE)


def test_a_password_that_could_not_be_judged_is_no_failure(staff: Staff, monkeypatch):
    staff.add("asha", GOOD, {"KE": ["viewer"]}, by="administrator")
    with monkeypatch.context() as patch:
        patch.setattr(staff, "_row", unreadable)
        for _ in range(10):
            with pytest.raises(OSError, match="the disk"):
                staff.sign_in("asha", GOOD, address=HERE)
    assert staff.sign_in("asha", GOOD, address=HERE) is not None


def unreadable(name: str) -> None:
    raise OSError("the disk is gone")


def test_staff_and_sessions_outlive_a_stop(staff: Staff, database: Database, clock, audit):
    staff.add("asha", GOOD, {"*": ["viewer"]}, by="administrator")
    token = staff.sign_in("asha", GOOD, address=HERE)
    assert token is not None

    again = Staff(database, clock=clock, audit=audit, markets=MARKETS, hasher=CHEAP)

    assert again.member(token) == Member(name="asha", roles={"*": frozenset({"viewer"})})
    assert again.first_administrator() is None
    assert frozenset({"administrator", "engineer", "viewer"}) == ROLES
