"""Make-good: two people, each line once whatever is killed, and what the incident is told of it."""

import asyncio
import contextlib
import threading
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.ops.conftest import CHEAP, MARKETS, NOON
from tests.postgres import tables
from umoja.clock import ManualClock, to_micros
from umoja.faults import OutcomeUnknown, Unavailable
from umoja.markets import packs
from umoja.ops import make_good, one_time
from umoja.ops.centre import Centre, open_centre
from umoja.ops.finding import Counts, Finding
from umoja.ops.impact import Harm
from umoja.ops.incident import Incident, Stage
from umoja.ops.make_good import Batch, MakeGoodRefused, key_of, window_of
from umoja.ops.second_factor import Required
from umoja.signals import Amend, Amended, Answer, FindWrongs, Question, Wrong, Wrongs
from umoja.storage.port import NotUnique

PASSWORD = "a long enough password"
BEGAN_S = int(NOON.timestamp()) - 30


class Country:
    """The markets as the centre sees them: they do what is asked once a key, and may fail around it."""

    def __init__(self) -> None:
        self.wrongs: list[Wrong] = []
        self.more = 0
        self.asked: list[Question] = []
        self.paid: Counter[str] = Counter()  # money that moved, by order and kind
        self.done: dict[str, Amended] = {}  # by key
        self.says: dict[str, Amended] = {}  # by order, else done
        self.before: list[Exception] = []  # raised before anything is done
        self.after: list[Exception] = []  # raised when it is done already

    async def ask(self, market: str, question: Question) -> Answer:
        del market
        await asyncio.sleep(0)
        self.asked.append(question)
        if self.before:
            raise self.before.pop(0)
        if isinstance(question, FindWrongs):
            return Wrongs(lines=self.wrongs, looked_at=len(self.wrongs), more=self.more)
        assert isinstance(question, Amend)
        told = self.says.get(question.order, Amended(state="done", reason="R1"))
        if question.key not in self.done and told.state == "done":
            self.paid[f"{question.order}/{question.kind}"] += 1
            self.done[question.key] = told
        if self.after:
            raise self.after.pop(0)
        return told


def wrong(number: int, **changes: Any) -> Wrong:
    values = {
        "order": f"{number:032x}", "kind": "double_charge", "act": "reverse",
        "product": "send_money", "amount_minor": 100_00, "currency": "KES",
        "at": to_micros(NOON), "who": "ab12", "is_sure": True, "why": "the same again",
    } | changes  # fmt: skip
    return Wrong(**values)


def opened(
    folder: Path,
    clock: ManualClock,
    country: Country,
    second_factor: Required = Required.NOBODY,
) -> Centre:
    centre = open_centre(
        tables(folder / "centre.db"),
        clock=clock,
        markets=[packs.load(code) for code in MARKETS],
        ask=country.ask,
        staff_key=b"the key of second factors in tests",
        second_factor=second_factor,
    )
    centre.staff._hasher = CHEAP
    return centre


def staffed(centre: Centre) -> Centre:
    for name, role, market in (
        ("eve", "engineer", "*"),
        ("ada", "administrator", "*"),
        ("bo", "administrator", "*"),
        ("gus", "administrator", "GH"),
        ("val", "viewer", "*"),
    ):
        centre.staff.add(name, PASSWORD, {market: [role]}, by="test")
    return centre


def found(centre: Centre, product: str = "send_money") -> Incident:
    finding = Finding(title="Payments fail", evidence="9 of 9", began_s=BEGAN_S, product=product)
    name = centre.incidents.found("KE", "failures", finding, counts=Counts.PAYMENTS, harm=Harm())
    incident = centre.incidents.get(name)
    assert incident is not None
    return incident


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
def country() -> Country:
    return Country()


@pytest.fixture
def centre(tmp_path: Path, clock: ManualClock, country: Country):
    made = staffed(opened(tmp_path, clock, country))
    yield made
    made.close()


def drafted(centre: Centre, count: int = 3, **changes: Any) -> Batch:
    wrongs = [wrong(number, **changes) for number in range(1, count + 1)]
    return centre.make_good.draft(found(centre), wrongs, actor="eve")


def states(centre: Centre, number: int = 1) -> list[str]:
    return [line.state for line in centre.make_good.lines(number)]


def batch(centre: Centre, number: int = 1) -> Batch:
    known = centre.make_good.batch(number)
    assert known is not None
    return known


def told(centre: Centre) -> list[tuple[str, str]]:
    incident = centre.incidents.get("INC-000001")
    assert incident is not None
    return [(each.actor, each.what) for each in incident.timeline if "make-good" in each.what]


def acts(centre: Centre) -> list[tuple[str, str, str]]:
    entries = reversed(centre.audit.recent(limit=500))
    return [(e.actor, e.action, e.detail) for e in entries if "make_good" in e.action]


# The whole way


async def test_a_batch_is_drafted_released_carried_out_and_told(centre: Centre, country: Country):
    country.wrongs = [
        wrong(1),
        wrong(2, kind="wrong_fee", act="compensate", amount_minor=3_25),
        wrong(3, kind="stuck", act="settle", amount_minor=50_00, is_sure=False),
    ]
    country.says[wrong(3).order] = Amended(state="declined", reason="money_gone")
    incident = found(centre)

    seen = await centre.make_good.find(incident)
    assert seen.lines == country.wrongs
    made = centre.make_good.draft(incident, seen.lines, actor="eve", note=" twice on Tuesday ")
    assert (made.number, made.state, made.totals, made.lines) == (
        1, "drafted", {"KES": 153_25}, 3,
    )  # fmt: skip
    assert made.note == "twice on Tuesday"
    assert await centre.make_good.work() == 0  # a draft moves nothing
    assert (await centre.make_good.find(incident)).lines == []

    released = centre.make_good.release(1, actor="ada")
    assert (released.state, released.released_by) == ("released", "ada")
    assert await centre.make_good.work() == 3
    assert await centre.make_good.work() == 0

    done = batch(centre)
    assert (done.state, done.done, done.counts) == (
        "done", {"KES": 103_25}, {"done": 2, "declined": 1},
    )  # fmt: skip
    assert [line.reason for line in centre.make_good.lines(1)] == ["R1", "R1", "money_gone"]
    assert [each.key for each in country.asked if isinstance(each, Amend)] == [
        "INC-000001.1.1", "INC-000001.1.2", "INC-000001.1.3",
    ]  # fmt: skip
    assert told(centre) == [
        ("eve", "make-good batch 1 drafted: 3 lines, KES 153.25"),
        ("ada", "make-good batch 1 released: 3 lines, KES 153.25"),
        ("system", "make-good batch 1 done: 2 of 3 put right, KES 103.25; 1 declined"),
    ]
    assert acts(centre) == [
        ("eve", "make_good_drafted", "INC-000001 batch 1: 3 lines, KES 153.25"),
        (
            "ada",
            "make_good_released",
            "INC-000001 batch 1, drafted by eve: 3 lines, KES 153.25",
        ),
        (
            "system",
            "make_good_done",
            "INC-000001 batch 1: 2 of 3 put right, KES 103.25; 1 declined",
        ),
    ]


def test_the_time_of_a_trouble_has_a_margin_and_ends_now_at_most(
    centre: Centre, clock: ManualClock
):
    incident = found(centre)
    now = to_micros(clock.now())
    assert window_of(incident, now) == ((BEGAN_S - 300) * 1_000_000, now)
    clock.advance(timedelta(minutes=20))
    centre.incidents.advance(incident.id, Stage.RESOLVED, actor="ada")
    over = centre.incidents.get(incident.id)
    assert over is not None
    later = to_micros(clock.now()) + 3_600_000_000
    assert window_of(over, later)[1] == to_micros(clock.now()) + 600_000_000


async def test_the_market_is_asked_of_the_incident_s_product_and_further(
    centre: Centre, country: Country
):
    country.more = 77
    incident = found(centre)
    assert (await centre.make_good.find(incident)).more == 77
    await centre.make_good.find(incident, after=77)
    first, second = country.asked
    assert isinstance(first, FindWrongs)
    assert isinstance(second, FindWrongs)
    assert (first.products, first.after, second.after) == (("send_money",), 0, 77)


# Four eyes


@pytest.mark.parametrize(
    ("who", "says"),
    [
        ("eve", "eve may not do this in KE"),  # an engineer drafts and releases nothing
        ("val", "val may not do this in KE"),
        ("gus", "gus may not do this in KE"),  # of another market
        ("nobody", "nobody may not do this in KE"),
    ],
)
def test_who_may_not_release(centre: Centre, who: str, says: str):
    drafted(centre)
    with pytest.raises(MakeGoodRefused, match=says):
        centre.make_good.release(1, actor=who)
    assert (batch(centre).state, states(centre)) == ("drafted", ["drafted"] * 3)


def test_whoever_drafted_it_never_releases_it_whatever_she_may(centre: Centre):
    centre.make_good.draft(found(centre), [wrong(1)], actor="ada")
    for _ in range(2):  # two sessions of one person are one person
        token = centre.staff.sign_in("ada", PASSWORD, address="192.0.2.1")
        assert token is not None
        member = centre.staff.member(token)
        assert member is not None
        with pytest.raises(MakeGoodRefused, match="a second person"):
            centre.make_good.release(1, actor=member.name)
    assert centre.make_good.release(1, actor="bo").state == "released"


def enrol(centre: Centre, clock: ManualClock, name: str) -> None:
    """Give somebody a second factor, as she would herself."""
    salt, session = bytes(16), str(centre.staff.sign_in(name, PASSWORD, address="::1"))
    code = one_time.code_at(centre.staff.offer(name, salt), int(clock.now().timestamp()) // 30)
    centre.staff.enrol(name, PASSWORD, salt=salt, code=code, session=session, address="::1")


# An administrator alone could make the second pair of eyes: what was let in by another rests a day


@pytest.mark.parametrize("how", ["taken on", "roles changed", "password set", "factor reset"])
@pytest.mark.parametrize("hand", ["drafts", "releases"])
def test_whom_another_let_in_has_no_hand_in_money_for_a_day(
    tmp_path: Path, clock: ManualClock, how: str, hand: str
):
    centre = staffed(opened(tmp_path, clock, Country(), Required.POWERFUL))
    for name in ("ada", "bo"):
        enrol(centre, clock, name)
    clock.advance(timedelta(days=2))
    match how:
        case "taken on":
            centre.staff.add("eva", PASSWORD, {"*": ["administrator"]}, by="ada")
            enrol(centre, clock, "eva")
        case "roles changed":
            centre.staff.set_roles("eve", {"*": ["administrator"]}, by="ada")
            enrol(centre, clock, "eve")
        case "password set":
            centre.staff.change_password("bo", PASSWORD + "!", by="ada")
        case "factor reset":
            centre.staff.reset_second_factor("bo", by="ada")
            enrol(centre, clock, "bo")
    who = {"taken on": "eva", "roles changed": "eve"}.get(how, "bo")
    refused = f"{who} was let in by another lately: no hand in money before"
    rested = clock.now() + timedelta(days=1)

    if hand == "drafts":
        with pytest.raises(MakeGoodRefused, match=refused):
            centre.make_good.draft(found(centre), [wrong(1)], actor=who)
        clock.advance(rested - clock.now())
        assert centre.make_good.draft(found(centre), [wrong(1)], actor=who).state == "drafted"
    else:
        centre.make_good.draft(found(centre), [wrong(1)], actor="ada")
        with pytest.raises(MakeGoodRefused, match=refused):
            centre.make_good.release(1, actor=who)
        assert batch(centre).state == "drafted"
        assert centre.make_good.withdraw(1, actor=who).state == "withdrawn"  # nothing moves
        clock.advance(rested - clock.now() - timedelta(seconds=1))
        with pytest.raises(MakeGoodRefused, match=refused):
            centre.make_good.release(1, actor=who)
        clock.advance(timedelta(seconds=1))
        with pytest.raises(MakeGoodRefused, match="withdrawn already"):
            centre.make_good.release(1, actor=who)
    centre.close()


def test_nobody_rests_for_what_she_did_herself_nor_in_a_sandbox(tmp_path: Path, clock: ManualClock):
    centre = staffed(opened(tmp_path, clock, Country(), Required.POWERFUL))
    clock.advance(timedelta(days=2))
    centre.staff.change_password("bo", PASSWORD + "!", by="bo")
    assert centre.staff.rests_until("bo") == 0
    assert centre.staff.rests_until("nobody") == 0
    centre.staff.set_roles("bo", {"*": ["administrator"]}, by="ada")  # as she had it
    assert centre.staff.rests_until("bo") == 0
    centre.staff.add("eva", PASSWORD, {"*": ["administrator"]}, by="ada")
    assert centre.staff.rests_until("eva") == to_micros(clock.now() + timedelta(days=1))
    centre.close()
    sandbox = opened(tmp_path, clock, Country())
    assert sandbox.staff.rests_until("eva") == 0
    sandbox.close()


def test_the_table_itself_refuses_one_person_as_both(centre: Centre):
    drafted(centre)
    with pytest.raises(Exception, match=r"(?i)check") as refused:
        centre.make_good._database.run(
            "UPDATE batches SET state = 'released', released_by = drafted_by WHERE number = 1"
        )
    assert not isinstance(refused.value, NotUnique)
    assert batch(centre).state == "drafted"


def test_a_right_that_was_lost_in_between_is_lost(centre: Centre):
    drafted(centre)
    token = centre.staff.sign_in("bo", PASSWORD, address="192.0.2.1")
    assert token is not None
    member = centre.staff.member(token)
    assert centre.staff.may(member, "release_money", "KE")  # what her page still believes
    centre.staff.set_roles("bo", {"*": ["engineer"]}, by="ada")
    with pytest.raises(MakeGoodRefused, match="bo may not"):
        centre.make_good.release(1, actor="bo")
    centre.staff.remove("bo", by="ada")
    with pytest.raises(MakeGoodRefused, match="bo may not"):
        centre.make_good.release(1, actor="bo")


def test_a_viewer_drafts_nothing(centre: Centre):
    with pytest.raises(MakeGoodRefused, match="val may not"):
        centre.make_good.draft(found(centre), [wrong(1)], actor="val")
    assert centre.make_good.of_incident("INC-000001") == []


# Once


def test_a_release_that_is_repeated_changes_nothing(centre: Centre):
    drafted(centre)
    first = centre.make_good.release(1, actor="ada")
    assert centre.make_good.release(1, actor="ada") == first
    with pytest.raises(MakeGoodRefused, match="released already"):
        centre.make_good.release(1, actor="bo")
    assert len(told(centre)) == 2


async def test_two_releases_at_once_let_it_go_once(centre: Centre, country: Country):
    drafted(centre, 20)
    gate = threading.Barrier(2)
    outcomes: list[str] = []

    def let_go(who: str) -> None:
        gate.wait()
        try:
            outcomes.append(centre.make_good.release(1, actor=who).released_by)
        except MakeGoodRefused as cause:
            outcomes.append(str(cause))

    threads = [threading.Thread(target=let_go, args=(who,)) for who in ("ada", "bo")]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert "the batch is released already" in outcomes
    # Two workers at once ask twice for some lines, and each line is done once all the same.
    await asyncio.gather(centre.make_good.work(), centre.make_good.work())
    assert set(country.paid.values()) == {1}
    assert len(country.paid) == 20
    assert batch(centre).counts == {"done": 20}
    assert [what for _, what in told(centre)][-1].startswith("make-good batch 1 done: 20 of 20")
    assert len(told(centre)) == 3


def test_one_wrong_is_in_one_batch_at_a_time(centre: Centre):
    drafted(centre, 2)
    with pytest.raises(MakeGoodRefused, match="in another batch"):
        centre.make_good.draft(found(centre, "airtime"), [wrong(9), wrong(2)], actor="ada")
    assert centre.make_good.batch(2) is None
    # Another wrong of the same order is another wrong.
    centre.make_good.draft(found(centre), [wrong(2, kind="wrong_fee")], actor="ada")
    centre.make_good.withdraw(1, actor="eve")
    assert states(centre) == ["withdrawn", "withdrawn"]
    assert centre.make_good.draft(found(centre), [wrong(2)], actor="ada").lines == 1


async def test_what_its_receiver_did_not_give_back_is_ours_to_pay_next_time(
    centre: Centre, country: Country
):
    country.says[wrong(1).order] = Amended(state="declined", reason="money_gone")
    drafted(centre, 1)
    centre.make_good.release(1, actor="ada")
    await centre.make_good.work()
    assert batch(centre).state == "done"
    again = centre.make_good.draft(found(centre), [wrong(1)], actor="eve")
    assert [line.act for line in centre.make_good.lines(again.number)] == ["compensate"]


@pytest.mark.parametrize("killed_after", [0, 1, 4, 9])
async def test_a_kill_in_the_middle_goes_on_and_does_nothing_twice(
    tmp_path: Path, clock: ManualClock, country: Country, killed_after: int
):
    centre = staffed(opened(tmp_path, clock, country))
    drafted(centre, 10)
    centre.make_good.release(1, actor="ada")

    class Killed(BaseException):
        """The process ends: no handler of ours runs."""

    ask = country.ask

    async def dying(market: str, question: Question) -> Answer:
        answer = await ask(market, question)
        if len(country.paid) > killed_after:
            raise Killed  # it was done there, and nobody here has written it down
        return answer

    centre.make_good._ask = dying
    with pytest.raises(Killed):
        await centre.make_good.work()
    centre.close()
    assert len(country.paid) == killed_after + 1

    again = opened(tmp_path, clock, country)
    assert batch(again).counts == (
        {"done": killed_after, "released": 10 - killed_after} if killed_after else {"released": 10}
    )
    while await again.make_good.work():
        pass
    assert (batch(again).state, batch(again).counts) == ("done", {"done": 10})
    assert Counter(country.paid.values()) == {1: 10}
    again.close()


async def test_what_is_not_known_is_asked_again_under_the_same_key(
    centre: Centre, country: Country, clock: ManualClock
):
    drafted(centre, 2)
    centre.make_good.release(1, actor="ada")
    country.after = [OutcomeUnknown("no answer came")]
    assert await centre.make_good.work() == 2
    assert states(centre) == ["unknown", "done"]
    assert centre.make_good.lines(1)[0].reason == "no answer came"
    assert await centre.make_good.work() == 0
    clock.advance(timedelta(seconds=5))
    # A market that is away does not make the unknown known.
    country.before = [Unavailable("away")]
    assert await centre.make_good.work() == 0
    assert states(centre) == ["unknown", "done"]
    clock.advance(timedelta(seconds=5))
    assert await centre.make_good.work() == 1
    assert (batch(centre).state, states(centre)) == ("done", ["done", "done"])
    assert set(country.paid.values()) == {1}
    keys = [each.key for each in country.asked if isinstance(each, Amend)]
    assert keys.count("INC-000001.1.1") == 3


async def test_a_market_that_is_away_is_asked_one_line_and_then_left(
    centre: Centre, country: Country, clock: ManualClock
):
    drafted(centre, 3)
    centre.make_good.release(1, actor="ada")
    country.before = [Unavailable("KE is not connected to the centre")]
    assert await centre.make_good.work() == 0
    assert len(country.asked) == 1
    assert states(centre) == ["released"] * 3
    clock.advance(timedelta(seconds=15))
    assert await centre.make_good.work() == 3
    assert batch(centre).state == "done"


async def test_who_waits_for_a_receiver_looks_again_every_minute(
    centre: Centre, country: Country, clock: ManualClock
):
    drafted(centre, 1)
    country.says[wrong(1).order] = Amended(state="waiting", reason="she was asked")
    centre.make_good.release(1, actor="ada")
    assert await centre.make_good.work() == 1
    assert (states(centre), batch(centre).state) == (["waiting"], "released")
    clock.advance(timedelta(seconds=59))
    assert await centre.make_good.work() == 0
    del country.says[wrong(1).order]
    clock.advance(timedelta(seconds=1))
    assert await centre.make_good.work() == 1
    assert batch(centre).state == "done"


# What is refused


@pytest.mark.parametrize(
    ("wrongs", "says"),
    [
        ([], "tick at least one line"),
        ([wrong(1), wrong(1)], "a line comes twice"),
        ([wrong(1, amount_minor=0)], "about no money"),
        ([wrong(number) for number in range(make_good.LINES_MAX + 1)], "at most 500 lines"),
    ],
)
def test_a_draft_that_will_not_do(centre: Centre, wrongs: list[Wrong], says: str):
    with pytest.raises(MakeGoodRefused, match=says):
        centre.make_good.draft(found(centre), wrongs, actor="eve")
    assert centre.make_good.of_incident("INC-000001") == []


def test_only_a_draft_is_withdrawn_and_nothing_else_is_released(centre: Centre):
    drafted(centre)
    assert centre.make_good.withdraw(1, actor="ada").state == "withdrawn"
    assert centre.make_good.withdraw(1, actor="eve").ended_by == "ada"
    with pytest.raises(MakeGoodRefused, match="withdrawn already"):
        centre.make_good.release(1, actor="bo")
    drafted(centre)
    centre.make_good.release(2, actor="ada")
    with pytest.raises(MakeGoodRefused, match="only a draft"):
        centre.make_good.withdraw(2, actor="eve")
    with pytest.raises(MakeGoodRefused, match="there is no batch 7"):
        centre.make_good.release(7, actor="ada")


def test_sums_of_several_currencies_are_told_apart(centre: Centre):
    wrongs = [wrong(1), wrong(2, amount_minor=5), wrong(3, currency="XXX", amount_minor=7)]
    made = centre.make_good.draft(found(centre), wrongs, actor="eve")
    assert made.totals == {"KES": 100_05, "XXX": 7}
    assert centre.make_good.written("KE", made.totals) == "KES 100.05, 7 XXX"
    assert centre.make_good.written("KE", {}) == "nothing"


def test_keys_tell_lines_apart():
    assert key_of("INC-000001", 1, 11) != key_of("INC-000001", 11, 1)


# Whatever people and markets do


class Life(RuleBasedStateMachine):
    """Drafts, releases, withdrawals and work in any order, with markets that fail around it."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock(NOON)
        self.country = Country()
        self.drafts = 0

    @initialize()
    def begin(self) -> None:
        from tempfile import TemporaryDirectory

        self.folder = TemporaryDirectory()
        self.centre = staffed(opened(Path(self.folder.name), self.clock, self.country))
        self.incident = found(self.centre)

    @rule(orders=st.sets(st.integers(1, 6), min_size=1), who=st.sampled_from(["eve", "ada"]))
    def draft(self, orders: set[int], who: str) -> None:
        try:
            self.centre.make_good.draft(
                self.incident, [wrong(each) for each in sorted(orders)], actor=who
            )
            self.drafts += 1
        except MakeGoodRefused:
            pass

    @rule(number=st.integers(1, 4), who=st.sampled_from(["eve", "ada", "bo", "gus"]))
    def release(self, number: int, who: str) -> None:
        with contextlib.suppress(MakeGoodRefused):
            self.centre.make_good.release(number, actor=who)

    @rule(number=st.integers(1, 4))
    def withdraw(self, number: int) -> None:
        with contextlib.suppress(MakeGoodRefused):
            self.centre.make_good.withdraw(number, actor="eve")

    @rule(
        fault=st.sampled_from([None, Unavailable, OutcomeUnknown]),
        is_after=st.booleans(),
        refused=st.integers(0, 6),
    )
    def work(self, fault: type[Exception] | None, is_after: bool, refused: int) -> None:
        self.country.before, self.country.after = [], []
        if fault is not None:
            (self.country.after if is_after else self.country.before).append(
                OutcomeUnknown("lost") if is_after else fault("trouble")
            )
        order = wrong(refused).order
        if refused and f"{order}/double_charge" not in self.country.paid:
            self.country.says = {order: Amended(state="declined", reason="no")}
        self.loop.run_until_complete(self.centre.make_good.work())
        self.country.says = {}
        self.clock.advance(timedelta(seconds=20))

    @invariant()
    def nothing_is_done_twice_or_by_one_person_alone(self) -> None:
        if not self.drafts:
            return
        assert set(self.country.paid.values()) <= {1}
        live: Counter[str] = Counter()
        done = 0
        for each in self.centre.make_good.of_incident(self.incident.id):
            lines = self.centre.make_good.lines(each.number)
            found_states = {line.state for line in lines}
            if each.state == "drafted":
                assert found_states == {"drafted"}
            elif each.state == "withdrawn":
                assert found_states == {"withdrawn"}
            else:
                assert each.released_by in {"ada", "bo"}
                assert each.released_by != each.drafted_by
                is_open = bool(found_states & {"released", "unknown", "waiting"})
                assert is_open == (each.state == "released")
            for line in lines:
                live[line.order_id] += line.state not in {"declined", "withdrawn"}
                done += line.state == "done"
        assert max(live.values(), default=0) <= 1
        assert done <= sum(self.country.paid.values())

    def teardown(self) -> None:
        if hasattr(self, "centre"):
            self.centre.close()
            self.folder.cleanup()
        self.loop.close()


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=8,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
