"""A regulator's clock that runs out pages the commander, then the chain, once a mark, through restarts."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.ops.test_regulators import WHOLE, found
from umoja.clock import ManualClock
from umoja.console.words import said_in
from umoja.faults import Unavailable
from umoja.ops.centre import Centre
from umoja.ops.duty import Contact
from umoja.ops.incident import Cause, Post
from umoja.ops.oncall import Chain, Layer, Roster, Step
from umoja.ops.paging import GSM, Text, in_gsm, text_of

DUE = "2026-03-10 14:00 local time"


class Recorder:
    """A way that keeps what it was given."""

    def __init__(self) -> None:
        self.got: list[tuple[str, Text]] = []

    async def send(self, contact: Contact, text: Text) -> None:
        self.got.append((contact.name, text))


def staffed(centre: Centre) -> None:
    layer = Layer(name="first", zone="UTC", people=("joao",), first_day="2026-03-01")
    centre.duty.put_roster(Roster(name="centre", markets=("*",), layers=(layer,)))
    steps = (Step(roster="centre", wait_s=60), Step(person="kofi", wait_s=60))
    centre.duty.put_chain(
        Chain(name="all", markets=("*",), steps=steps, rounds=1, least_severity=2)
    )


class Room:
    """A centre with a clock of two hours that began at noon, on an incident that amina has taken."""

    def __init__(self, open_it: Callable[..., Centre], clock: ManualClock) -> None:
        self._open_it, self.clock = open_it, clock
        self.way, self.sms = Recorder(), Recorder()
        self.centre = self._opened()
        staffed(self.centre)
        self.incident = found(self.centre, severity=3, cause=WHOLE).id
        self.centre.regulators.look()
        self.centre.incidents.acknowledge(self.incident, actor="amina")
        self.step()
        assert self.way.got == []  # it was acknowledged before anybody could be paged

    def _opened(self) -> Centre:
        return self._open_it(ways={"console": self.way, "sms": self.sms}, say=said_in)

    def restart(self) -> None:
        self.centre.close()
        self.centre = self._opened()

    def step(self, minutes: float = 0) -> list[str]:
        """Let time pass, look and page; return who was paged meanwhile."""
        before = len(self.way.got)
        self.clock.advance(timedelta(minutes=minutes))
        self.centre.regulators.look()
        asyncio.run(self.centre.pager.step())
        return [name for name, _ in self.way.got[before:]]

    def said(self) -> list[str]:
        made = self.centre.incidents.get(self.incident)
        assert made is not None
        return [each.what for each in made.timeline]


@pytest.fixture
def room(opened: Callable[..., Centre], clock: ManualClock) -> Room:
    return Room(opened, clock)


def test_the_commander_is_paged_though_the_incident_is_acknowledged_then_the_chain(room: Room):
    room.centre.incidents.appoint(room.incident, Post.COMMANDER, name="zawadi", actor="amina")
    assert room.step(89) == []
    assert room.step(1) == ["zawadi"]
    assert room.way.got[-1][1].subject == (
        f"[INC-000001] S3 KE Central Bank of Kenya is to be told by {DUE}"
    )
    assert [room.step(minutes) for minutes in (4, 1, 1)] == [[], ["joao"], ["kofi"]]
    assert [room.step(1), room.step(10)] == [[], []]
    assert room.said()[-1] == "nobody has acknowledged: every step of the chain was tried"
    assert room.step(12) == []
    assert room.step(1) == ["zawadi"]  # the time is over
    assert room.way.got[-1][1].subject == (
        f"[INC-000001] S3 KE Central Bank of Kenya was to be told by {DUE}"
    )
    room.centre.close()


def test_without_a_commander_whoever_took_the_incident_is_paged(room: Room):
    assert room.step(90) == ["amina"]
    room.centre.close()


def test_without_anybody_the_chain_is_paged(opened: Callable[..., Centre], clock: ManualClock):
    way = Recorder()
    centre = opened(ways={"console": way})
    staffed(centre)
    found(centre, severity=3, cause=WHOLE)  # too light for the chain by itself
    for minutes in (0, 90):
        clock.advance(timedelta(minutes=minutes))
        centre.regulators.look()
        asyncio.run(centre.pager.step())
    assert [name for name, _ in way.got] == ["joao"]
    centre.close()


def test_once_a_mark_and_through_restarts(room: Room):
    room.clock.advance(timedelta(minutes=90))
    room.centre.regulators.look()
    room.restart()  # before anybody was paged
    assert [room.step(), room.step(), room.step()] == [["amina"], [], []]
    room.restart()
    assert room.step(4) == []
    assert room.step(1) == ["joao"]
    room.restart()
    assert room.step(1) == ["kofi"]
    room.centre.close()


def test_whoever_takes_it_ends_it_until_the_next_mark(room: Room):
    assert room.step(90) == ["amina"]
    [waiting] = room.centre.pager.waiting_for("amina")
    secret = room.way.got[-1][1].link.rpartition("/")[2]
    for _ in range(2):
        assert room.centre.pager.acknowledge(secret) is not None
    assert room.centre.pager.waiting_for("amina") == []
    assert room.said()[-1] == "regulator clock: amina sees to the notice"
    assert room.said().count(room.said()[-1]) == 1
    assert [room.step(5), room.step(24)] == [[], []]
    assert room.step(1) == ["amina"]
    assert room.centre.pager.reminder_of(waiting).taken_by == "amina"
    room.centre.close()


def test_a_notice_that_was_sent_or_is_not_required_pages_nobody(room: Room):
    assert room.step(90) == ["amina"]
    room.centre.regulators.sent(1, reference="CBK/7", actor="amina")
    assert room.centre.pager.waiting_for("amina") == []
    assert [room.step(5), room.step(60)] == [[], []]
    room.centre.close()


def test_the_mark_and_its_page_are_written_together(room: Room, monkeypatch: pytest.MonkeyPatch):
    real = room.centre.pager.forget_inside

    def broken(_clocks: object) -> None:
        raise Unavailable("the disk is full")

    monkeypatch.setattr(room.centre.pager, "forget_inside", broken)
    assert room.step(90) == []
    monkeypatch.setattr(room.centre.pager, "forget_inside", real)
    assert room.step() == ["amina"]
    assert len([each for each in room.said() if "last quarter" in each]) == 1
    room.centre.close()


# In whose language


def test_pages_are_written_in_the_language_of_whoever_is_paged(room: Room):
    for name, language in (("amina", "fr"), ("joao", "en")):
        room.centre.duty.put_contact(
            Contact(name=name, phone="+254712345678", market="KE", language=language)
        )
    room.centre.incidents.name_cause(
        room.incident, Cause(kind="vendor", name="bank switch"), actor="amina"
    )
    room.step(90)
    (who, text), (_, by_sms) = room.way.got[-1], room.sms.got[-1]
    assert who == "amina"
    assert text.subject == (
        "[INC-000001] S3 KE Central Bank of Kenya doit être informé avant"
        " 2026-03-10 14:00 heure locale"
    )
    lines = text.body.splitlines()
    assert lines[0].startswith("INC-000001: S3 KE Central Bank of Kenya doit")
    assert "ouvert\u202f: 9 of 9, depuis 08:59:30 UTC" in lines
    assert "0 paiements, 0 clients. Cause\u202f: fournisseur bank switch." in lines
    assert by_sms.short.startswith("INC-000001 S3 KE Central Bank of Kenya doit etre informé")
    assert set(by_sms.short) <= GSM
    room.step(5)
    assert room.way.got[-1][1].subject.endswith(f"is to be told by {DUE}")
    room.centre.close()


def test_a_page_of_an_incident_in_french(centre: Centre):
    incident = found(centre, severity=2)
    text = text_of(
        incident, value="KES 3,400.00", link="https://c.example/pages/x", page=1,
        say=lambda english: said_in("fr", english),
    )  # fmt: skip
    assert "0 paiements, 0 clients, 3\u202f400,00\u202fKES." in text.body.splitlines()
    assert text.body.splitlines()[-1] == "Acquitter\u202f: https://c.example/pages/x"
    assert text.short.endswith(" https://c.example/pages/x")
    assert len(text.short) <= 160


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("être à l’œuvre", "etre à l'?uvre"),
        ("3\u202f400,00\u202fKES", "3 400,00 KES"),
        ("ça échoue", "ca échoue"),
        ("你 [1]", "? ?1?"),
    ],
)
def test_a_text_message_has_the_letters_of_one(text: str, sent: str):
    assert in_gsm(text) == sent
    assert set(sent) <= GSM


def test_nobody_has_a_language_that_is_none(centre: Centre):
    with pytest.raises(ValueError, match="there is no such language"):
        centre.duty.put_contact(Contact(name="amina", language="fr; DROP"))
    assert centre.duty.contact("amina").language == "en"
    centre.duty.put_contact(Contact(name="amina", language="fr"))
    assert centre.duty.contact("amina").language == "fr"
