"""Notices: who may send them, what is written of them, and a line that goes with its incident."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.ops.conftest import NOON
from tests.ops.test_make_good import found, opened, staffed
from umoja.clock import ManualClock, to_micros
from umoja.faults import OutcomeUnknown
from umoja.ops.centre import Centre
from umoja.ops.incident import Stage
from umoja.ops.notices import NoticeRefused
from umoja.signals import Answer, Question, Reached, TellTried


class Country:
    """Markets in which so many customers tried, and each is told once of an incident and kind."""

    def __init__(self, tried: int) -> None:
        self.tried = tried
        self.told: dict[tuple[str, str], int] = {}
        self.asked: list[TellTried] = []
        self.is_lost = False  # the answer, not the question

    async def ask(self, market: str, question: Question) -> Answer:
        assert market == "KE"
        assert isinstance(question, TellTried)
        self.asked.append(question)
        key = (question.incident, question.kind)
        before = self.told.get(key, 0)
        if not question.is_rehearsal:
            self.told[key] = self.tried
        if self.is_lost:
            raise OutcomeUnknown("KE went away before it answered")
        return Reached(told=self.tried - before, before=before, unreachable=1)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
def country() -> Country:
    return Country(1_234)


@pytest.fixture
def centre(tmp_path: Path, clock: ManualClock, country: Country):
    made = staffed(opened(tmp_path, clock, country))  # type: ignore[arg-type]
    yield made
    made.close()


def last_said(centre: Centre) -> tuple[str, str]:
    incident = centre.incidents.get("INC-000001")
    assert incident is not None
    return incident.timeline[-1].actor, incident.timeline[-1].what


async def test_a_notice_goes_to_who_tried_the_product_in_the_time_of_the_incident(
    centre: Centre, country: Country, clock: ManualClock
):
    incident = found(centre)
    assert await centre.notices.count(incident, "trouble") == Reached(told=1_234, unreachable=1)
    assert centre.notices.of_incident(incident.id) == []
    await centre.notices.send(incident, "trouble", actor="eve")
    country.tried = 1_235
    again = await centre.notices.send(incident, "trouble", actor="ada")
    assert (again.told, again.before) == (1, 1_234)
    assert [(each.told, each.sent_by) for each in centre.notices.of_incident(incident.id)] == [
        (1, "ada"),
        (1_234, "eve"),
    ]
    (counted, sent, _) = country.asked
    assert counted.is_rehearsal
    assert not sent.is_rehearsal
    since = to_micros(NOON - timedelta(seconds=30, minutes=5))
    assert (sent.product, sent.since, sent.until) == ("send_money", since, to_micros(NOON))
    assert last_said(centre) == ("ada", "notice “trouble” by SMS to 1 customer who tried")
    acts = [(e.actor, e.action, e.detail) for e in centre.audit.recent(limit=2)]
    assert acts == [
        ("ada", "notice_sent", "INC-000001 trouble: told 1"),
        ("eve", "notice_sent", "INC-000001 trouble: told 1234"),
    ]


async def test_an_answer_that_was_lost_is_asked_for_again_and_tells_nobody_twice(
    centre: Centre, country: Country
):
    incident = found(centre)
    country.is_lost = True
    with pytest.raises(OutcomeUnknown):
        await centre.notices.send(incident, "over", actor="eve")
    assert centre.notices.of_incident(incident.id) == []
    country.is_lost = False
    reached = await centre.notices.send(incident, "over", actor="eve")
    assert (reached.told, reached.before) == (0, 1_234)


@pytest.mark.parametrize("who", ["val", "gus", "nobody"])
async def test_who_may_not_tell_customers(centre: Centre, country: Country, who: str):
    incident = found(centre)
    for deed in (centre.notices.show, centre.notices.hide):
        with pytest.raises(NoticeRefused, match=f"{who} may not"):
            deed(incident, actor=who)
    with pytest.raises(NoticeRefused, match=f"{who} may not"):
        await centre.notices.send(incident, "trouble", actor=who)
    assert country.asked == []


async def test_there_are_two_kinds(centre: Centre, country: Country):
    with pytest.raises(NoticeRefused, match="trouble, over"):
        await centre.notices.send(found(centre), "rumour", actor="eve")
    assert country.asked == []


def test_a_line_names_its_product_and_stops_nothing(centre: Centre):
    incident = found(centre)
    switches = centre.notices._switches
    centre.notices.show(incident, actor="eve")
    assert centre.notices.is_shown(incident)
    assert centre.notices.shown() == [("KE", "send_money", "INC-000001")]
    assert switches.noticed("KE") == ["send_money"]
    assert switches.noticed("GH") == []
    assert switches.reason_stopped(market="KE", product="send_money") is None
    centre.notices.hide(incident, actor="eve")
    centre.notices.hide(incident, actor="eve")
    assert switches.stopped == {}
    assert last_said(centre) == ("eve", "line above the menu taken away")


def test_a_line_goes_when_its_incident_is_over_and_comes_no_more(centre: Centre):
    incident = found(centre)
    centre.notices.show(incident, actor="eve")
    centre.notices.look()
    assert centre.notices.is_shown(incident)
    over = centre.incidents.advance(incident.id, Stage.RESOLVED, actor="eve")
    centre.notices.look()
    assert not centre.notices.is_shown(incident)
    assert last_said(centre) == ("system", "line above the menu taken away")
    with pytest.raises(NoticeRefused, match="nothing to warn of"):
        centre.notices.show(over, actor="eve")


def test_a_line_of_an_incident_that_nobody_knows_is_taken_away(centre: Centre):
    switches = centre.notices._switches
    switches.stop(market="KE", product="notice:*", reason="INC-000099")
    switches.stop(market="KE", product="airtime", reason="drill")
    centre.notices.look()
    assert switches.stopped == {("KE", "airtime"): "drill"}
