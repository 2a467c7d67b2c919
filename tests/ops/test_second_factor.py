"""The second factor of staff: a code counts once, guessing is slow, who must have one may nothing before."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.ops.conftest import CHEAP, MARKETS
from tests.postgres import files_only
from umoja.clock import ManualClock
from umoja.faults import Busy, Unavailable
from umoja.ops.audit import AuditLog
from umoja.ops.one_time import code_at
from umoja.ops.second_factor import Required
from umoja.ops.staff import CodeNeeded, HalfSigned, SignInOver, Staff, StaffRefused
from umoja.storage.port import Sql

GOOD = "correct horse battery"
HERE = "192.0.2.7"
SALT = bytes(range(16))
KEY = b"a key that is not in the database"


@pytest.fixture
def opened(database: Sql, clock: ManualClock, audit: AuditLog) -> Callable[..., Staff]:
    def open_it(*, key: bytes = KEY, required: Required = Required.NOBODY) -> Staff:
        return Staff(
            database,
            clock=clock,
            audit=audit,
            markets=MARKETS,
            hasher=CHEAP,
            key=key,
            required=required,
        )

    return open_it


@pytest.fixture
def staff(opened: Callable[..., Staff]) -> Staff:
    made = opened()
    made.add("asha", GOOD, {"*": ["administrator"]}, by="test")
    return made


def shown(staff: Staff, clock: ManualClock, *, ahead: int = 0, name: str = "asha") -> str:
    """Return what the phone shows, `ahead` steps from now."""
    step = int(clock.now().timestamp()) // 30 + ahead
    return code_at(staff.offer(name, SALT), step)


def enrolled(staff: Staff, clock: ManualClock) -> tuple[str, list[str]]:
    """Set a factor up; return the session and the recovery codes. The code of now is used up."""
    session = staff.sign_in("asha", GOOD, address=HERE)
    assert isinstance(session, str)
    codes = staff.enrol(
        "asha", GOOD, salt=SALT, code=shown(staff, clock), session=session, address=HERE
    )
    return session, codes


def half(staff: Staff) -> str:
    found = staff.sign_in("asha", GOOD, address=HERE)
    assert isinstance(found, HalfSigned)
    return found.token


def test_signing_in_takes_both(staff: Staff, clock: ManualClock, audit: AuditLog):
    enrolled(staff, clock)
    clock.advance(timedelta(seconds=30))
    waiting = half(staff)
    assert staff.member(waiting) is None

    session = staff.enter(waiting, shown(staff, clock), address=HERE)

    assert session not in {None, waiting}
    member = staff.member(session or "")
    assert member is not None
    assert (member.name, member.must_enrol) == ("asha", False)
    with pytest.raises(SignInOver):
        staff.enter(waiting, shown(staff, clock, ahead=1), address=HERE)
    assert [each.action for each in reversed(audit.recent())] == [
        "staff_added",
        "sign_in",
        "second_factor_set_up",
        "sign_in",
    ]


def test_a_code_counts_once_wherever_it_is_used(staff: Staff, clock: ManualClock):
    session, _ = enrolled(staff, clock)
    used = shown(staff, clock)
    assert staff.enter(half(staff), used, address=HERE) is None  # enrolling used it
    assert staff.prove(session, used, address=HERE) is False
    early = shown(staff, clock, ahead=1)
    assert staff.enter(half(staff), early, address=HERE) is not None
    clock.advance(timedelta(seconds=30))
    assert staff.enter(half(staff), early, address=HERE) is None
    assert staff.enter(half(staff), used, address=HERE) is None
    assert staff.prove(session, shown(staff, clock, ahead=1), address=HERE) is True


@pytest.mark.parametrize(
    ("ahead", "counts"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)]
)
def test_one_step_of_drift_counts(staff: Staff, clock: ManualClock, ahead: int, counts: bool):
    enrolled(staff, clock)
    clock.advance(timedelta(minutes=5))
    session = staff.enter(half(staff), shown(staff, clock, ahead=ahead), address=HERE)
    assert (session is not None) is counts


def test_a_code_is_waited_for_five_minutes(staff: Staff, clock: ManualClock):
    enrolled(staff, clock)
    waiting = half(staff)
    clock.advance(timedelta(minutes=5))
    with pytest.raises(SignInOver):
        staff.enter(waiting, shown(staff, clock), address=HERE)
    for rubbish in ("", "x" * 10_000, "\ud800"):
        with pytest.raises(SignInOver):
            staff.enter(rubbish, shown(staff, clock), address=HERE)


def test_a_changed_password_ends_a_sign_in_that_waits(staff: Staff, clock: ManualClock):
    enrolled(staff, clock)
    waiting = half(staff)
    staff.change_password("asha", "another long password", by="juma")
    clock.advance(timedelta(seconds=30))
    with pytest.raises(SignInOver):
        staff.enter(waiting, shown(staff, clock), address=HERE)


def test_guessing_codes_costs_time_and_is_written_down(
    staff: Staff, clock: ManualClock, audit: AuditLog
):
    enrolled(staff, clock)
    waiting = half(staff)
    clock.advance(timedelta(seconds=30))
    for _ in range(5):
        assert staff.enter(waiting, "000000", address=HERE) is None
    with pytest.raises(Busy) as busy:
        staff.enter(waiting, shown(staff, clock), address=HERE)
    assert busy.value.retry_after_s == 30
    for number in range(5):  # from elsewhere too: whoever gets here knows the password
        assert staff.enter(waiting, "000000", address=f"198.51.100.{number}") is None
    with pytest.raises(Busy):
        staff.enter(waiting, shown(staff, clock), address="198.51.100.99")
    refused = [each for each in audit.recent() if each.action == "code_refused"]
    assert len(refused) == 10
    assert refused[-1].detail == f"from {HERE}"


def test_a_day_of_guesses_is_counted_together(staff: Staff, clock: ManualClock):
    """Pauses grow to a quarter of an hour and stay: about a hundred guesses a day, of a million."""
    enrolled(staff, clock)
    tries, began = 0, clock.now()
    while clock.now() - began < timedelta(hours=24):
        try:
            staff.enter(half(staff), "000000", address=f"198.51.100.{tries % 250}")
            tries += 1
        except Busy as busy:
            clock.advance(timedelta(seconds=busy.retry_after_s))
    assert 90 <= tries <= 115


def test_whoever_waits_gets_no_new_tries_for_it(staff: Staff, clock: ManualClock):
    enrolled(staff, clock)
    for number in range(10):
        assert staff.enter(half(staff), "000000", address=f"198.51.100.{number}") is None
    for _ in range(3):
        clock.advance(timedelta(hours=6))  # long after its pause
        assert staff.enter(half(staff), "000000", address=HERE) is None
        with pytest.raises(Busy):
            staff.enter(half(staff), "000000", address=HERE)


def test_a_right_code_takes_the_count_back(staff: Staff, clock: ManualClock):
    enrolled(staff, clock)
    for _ in range(3):
        clock.advance(timedelta(seconds=30))
        for _ in range(4):
            assert staff.enter(half(staff), "000000", address=HERE) is None
        assert staff.enter(half(staff), shown(staff, clock), address=HERE) is not None


def test_a_recovery_code_counts_once(staff: Staff, clock: ManualClock, audit: AuditLog):
    _, codes = enrolled(staff, clock)
    assert len(set(codes)) == 10
    assert all(len(code) == 12 and code.isdigit() for code in codes)

    typed = f" {codes[0][:4]} {codes[0][4:8]}-{codes[0][8:]}"
    assert staff.enter(half(staff), typed, address=HERE) is not None
    assert staff.enter(half(staff), codes[0], address=HERE) is None

    factor = staff.factor("asha")
    assert factor is not None
    assert factor.recovery_codes == 9
    assert f"from {HERE}, by a recovery code, 9 left" in [each.detail for each in audit.recent()]


def test_new_recovery_codes_replace_the_old(staff: Staff, clock: ManualClock):
    session, codes = enrolled(staff, clock)
    fresh = staff.renew_recovery_codes("asha", session=session)
    assert len(fresh) == 10
    assert staff.enter(half(staff), codes[0], address=HERE) is None
    assert staff.enter(half(staff), fresh[0], address=HERE) is not None
    clock.advance(timedelta(minutes=15))
    with pytest.raises(CodeNeeded):
        staff.renew_recovery_codes("asha", session=session)


@files_only
def test_neither_secret_nor_codes_are_in_the_file(
    staff: Staff, clock: ManualClock, database: Sql, tmp_path: Path
):
    _, codes = enrolled(staff, clock)
    secret = staff.offer("asha", SALT)
    database.close()
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert SALT in kept
    assert secret not in kept
    assert secret[:10] not in kept
    assert KEY not in kept
    assert not any(code.encode() in kept for code in codes)


def test_another_key_makes_other_secrets_and_says_so(
    staff: Staff, opened: Callable[..., Staff], clock: ManualClock
):
    _, codes = enrolled(staff, clock)
    other = opened(key=b"another key")
    assert other.offer("asha", SALT) != staff.offer("asha", SALT)
    clock.advance(timedelta(seconds=30))
    for code in (shown(staff, clock), shown(other, clock), codes[0]):
        with pytest.raises(Unavailable, match="key of the second factors is another one"):
            other.enter(half(other), code, address=HERE)
    assert staff.enter(half(staff), shown(staff, clock), address=HERE) is not None


def test_each_has_a_secret_of_her_own(staff: Staff):
    assert staff.offer("asha", SALT) != staff.offer("juma", SALT)
    assert staff.offer("asha", SALT) != staff.offer("asha", bytes(16))


def test_enrolling_takes_the_password_and_a_code(staff: Staff, clock: ManualClock):
    session = staff.sign_in("asha", GOOD, address=HERE)
    assert isinstance(session, str)
    code = shown(staff, clock)
    with pytest.raises(StaffRefused, match="password you have is another"):
        staff.enrol("asha", "not this one", salt=SALT, code=code, session=session, address=HERE)
    with pytest.raises(StaffRefused, match="clock of your phone"):
        staff.enrol("asha", GOOD, salt=SALT, code="000000", session=session, address=HERE)
    assert staff.factor("asha") is None
    assert isinstance(staff.sign_in("asha", GOOD, address=HERE), str)


def test_enrolling_ends_sessions_that_brought_no_code(
    staff: Staff, clock: ManualClock, database: Sql
):
    other = staff.sign_in("asha", GOOD, address=HERE)
    assert isinstance(other, str)
    session, _ = enrolled(staff, clock)
    assert staff.member(other) is None
    assert staff.member(session) is not None
    # One that a program without second factors made is none either.
    database.run("DELETE FROM session_codes")
    assert staff.member(session) is None


def test_another_phone_takes_a_fresh_code_of_the_old_one(staff: Staff, clock: ManualClock):
    session, codes = enrolled(staff, clock)
    clock.advance(timedelta(minutes=15))
    salt = bytes(16)

    def again() -> list[str]:
        code = code_at(staff.offer("asha", salt), int(clock.now().timestamp()) // 30)
        return staff.enrol("asha", GOOD, salt=salt, code=code, session=session, address=HERE)

    with pytest.raises(CodeNeeded):
        again()
    assert staff.prove(session, codes[3], address=HERE)  # the old phone is lost
    assert len(again()) == 10
    clock.advance(timedelta(seconds=30))
    assert staff.enter(half(staff), shown(staff, clock), address=HERE) is None
    assert staff.enter(half(staff), codes[4], address=HERE) is None


def test_a_code_is_fresh_for_fifteen_minutes_in_its_session(staff: Staff, clock: ManualClock):
    mine, _ = enrolled(staff, clock)
    staff.require_code("asha", mine)
    clock.advance(timedelta(minutes=15) - timedelta(seconds=1))
    other = staff.enter(half(staff), shown(staff, clock), address=HERE)
    assert other is not None
    staff.require_code("asha", mine)
    clock.advance(timedelta(seconds=1))
    for session in (mine, "", "rubbish"):
        with pytest.raises(CodeNeeded):
            staff.require_code("asha", session)
    staff.require_code("asha", other)
    with pytest.raises(CodeNeeded):
        staff.require_code("nobody", other)
    staff.add("juma", GOOD, {"*": ["administrator"]}, by="test")
    staff.require_code("juma", "")  # she has none, and need not
    assert staff.prove(mine, shown(staff, clock, ahead=1), address=HERE)
    staff.require_code("asha", mine)


def test_a_clock_that_is_set_back_makes_no_old_code_fresh(staff: Staff, clock: ManualClock):
    mine, _ = enrolled(staff, clock)
    clock.advance(-timedelta(seconds=30))
    staff.require_code("asha", mine)
    clock.advance(-timedelta(hours=1))
    with pytest.raises(CodeNeeded):
        staff.require_code("asha", mine)


@pytest.mark.parametrize(
    ("required", "roles", "must"),
    [
        (Required.NOBODY, {"*": ["administrator"]}, False),
        (Required.POWERFUL, {"*": ["viewer"]}, False),
        (Required.POWERFUL, {"*": ["engineer"]}, False),
        (Required.POWERFUL, {"KE": ["administrator"]}, True),
        (Required.POWERFUL, {"KE": ["viewer"], "*": ["administrator", "viewer"]}, True),
        (Required.EVERYBODY, {"KE": ["viewer"]}, True),
    ],
    ids=["nobody", "viewer", "engineer", "administrator-of-one", "administrator", "everybody"],
)
def test_who_must_have_one_may_nothing_before(
    opened: Callable[..., Staff], clock: ManualClock, required, roles, must: bool
):
    staff = opened(required=required)
    staff.add("asha", GOOD, roles, by="test")
    session = staff.sign_in("asha", GOOD, address=HERE)
    assert isinstance(session, str)
    for member in (staff.member(session), staff.named("asha")):
        assert member is not None
        assert member.must_enrol is must
        assert staff.may(member, "see", "KE") is not must
    if must:
        with pytest.raises(CodeNeeded):
            staff.require_code("asha", session)
    staff.enrol("asha", GOOD, salt=SALT, code=shown(staff, clock), session=session, address=HERE)
    assert staff.may(staff.member(session), "see", "KE")
    staff.require_code("asha", session)


def test_who_is_raised_to_power_must_enrol_at_once(opened: Callable[..., Staff]):
    staff = opened(required=Required.POWERFUL)
    staff.first_administrator()
    staff.add("asha", GOOD, {"KE": ["engineer"]}, by="administrator")
    session = staff.sign_in("asha", GOOD, address=HERE)
    assert isinstance(session, str)
    assert staff.may(staff.member(session), "note_incident", "KE")
    staff.set_roles("asha", {"KE": ["administrator"]}, by="administrator")
    assert not staff.may(staff.member(session), "note_incident", "KE")


def test_another_person_resets_it(staff: Staff, clock: ManualClock, audit: AuditLog):
    session, codes = enrolled(staff, clock)
    waiting = half(staff)
    with pytest.raises(StaffRefused, match="by another administrator"):
        staff.reset_second_factor("asha", by="asha")
    assert staff.member(session) is not None

    staff.reset_second_factor("asha", by="juma")

    assert staff.member(session) is None
    with pytest.raises(SignInOver):
        staff.enter(waiting, codes[0], address=HERE)
    assert isinstance(staff.sign_in("asha", GOOD, address=HERE), str)
    last = audit.recent(limit=2)[1]
    assert (last.actor, last.action, last.detail) == ("juma", "second_factor_reset", "asha")
    with pytest.raises(StaffRefused, match="asha has no second factor"):
        staff.reset_second_factor("asha", by="juma")
    with pytest.raises(StaffRefused, match="nobody named"):
        staff.reset_second_factor("eve", by="juma")


def test_who_is_let_go_leaves_no_factor_to_a_namesake(staff: Staff, clock: ManualClock):
    staff.add("juma", GOOD, {"*": ["administrator"]}, by="test")
    enrolled(staff, clock)
    assert staff.with_factor() == {"asha"}
    staff.remove("asha", by="juma")
    staff.add("asha", GOOD, {"*": ["viewer"]}, by="juma")
    assert staff.factor("asha") is None
    assert staff.with_factor() == frozenset()


def test_without_a_key_nobody_gets_in_by_a_code(
    staff: Staff, opened: Callable[..., Staff], clock: ManualClock
):
    _, codes = enrolled(staff, clock)
    keyless = opened(key=b"")
    for code in ("000000", codes[0]):
        with pytest.raises(Unavailable):
            keyless.enter(half(keyless), code, address=HERE)
