"""Rosters: whose turn it is, in local time, through summer time, overrides and gaps."""

from datetime import UTC, datetime, timedelta

import pytest

from umoja.ops.oncall import (
    Chain,
    Hours,
    Layer,
    Override,
    Roster,
    RosterRefused,
    Step,
    chain_for,
    checked,
    checked_chain,
    gaps,
    is_night,
    on_call,
    shifts,
)


def utc(day: int, hour: int, minute: int = 0, month: int = 3) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


def micros(at: datetime) -> int:
    return int(at.timestamp()) * 1_000_000


def weekly(*people: str, zone: str = "Africa/Nairobi", **more: object) -> Layer:
    values = {"name": "first", "zone": zone, "people": people, "first_day": "2026-03-02"} | more
    return Layer(**values)  # type: ignore[arg-type]


def roster(*layers: Layer) -> Roster:
    return Roster(name="centre", markets=("*",), layers=layers)


SUN = roster(
    weekly("amina", name="nairobi", hours=(Hours(starts="08:00", ends="16:00"),)),
    weekly(
        "joao", name="maputo", zone="Africa/Maputo", hours=(Hours(starts="15:00", ends="23:00"),)
    ),
    weekly("efua", name="accra", zone="Africa/Accra", hours=(Hours(starts="21:00", ends="05:00"),)),
)


@pytest.mark.parametrize(
    ("at", "who"),
    [
        (utc(2, 4, 59), None),  # 07:59 in Nairobi: it has not begun
        (utc(2, 5), "amina"),  # 08:00 in Nairobi
        (utc(9, 4, 59), "amina"),
        (utc(9, 5), "joao"),
        (utc(16, 5), "amina"),
    ],
)
def test_turns_change_at_the_local_hour(at: datetime, who: str | None):
    duty = on_call(roster(weekly("amina", "joao")), [], at)
    assert (duty[0] if duty else None) == who


@pytest.mark.parametrize(
    ("at", "who"),
    [
        (utc(10, 6), "nairobi"),
        (utc(10, 13), "maputo"),
        (utc(10, 20, 59), "maputo"),
        (utc(10, 21), "accra"),
        (utc(11, 4, 59), "accra"),
        (utc(11, 5), "nairobi"),
    ],
)
def test_the_sun_is_followed_without_a_gap(at: datetime, who: str):
    duty = on_call(SUN, [], at)
    assert duty is not None
    assert duty[1] == who
    assert gaps(SUN, [], since=utc(10, 0), until=utc(20, 0)) == []


def test_eight_in_cairo_is_eight_before_and_after_summer_time():
    cairo = roster(weekly("amina", "joao", zone="Africa/Cairo", turn_days=1))
    found = shifts(cairo, [], since=utc(22, 12, month=4), until=utc(26, 12, month=4))

    assert [(each.person, each.starts.hour) for each in found[1:]] == [
        ("amina", 6),  # 23 April, UTC+2
        ("joao", 5),  # 24 April: summer time began at midnight
        ("amina", 5),
        ("joao", 5),
    ]
    assert found[1].ends - found[1].starts == timedelta(hours=23)


def test_a_later_layer_stands_above_in_its_hours_and_an_override_above_both():
    both = roster(
        weekly("amina"),
        weekly("joao", name="weekend", hours=(Hours(days=(5, 6)),)),
    )
    saturday = utc(14, 9)
    assert on_call(both, [], utc(13, 9)) == ("amina", "first")
    assert on_call(both, [], saturday) == ("joao", "weekend")

    override = Override(
        number=1,
        roster="centre",
        person="efua",
        made_by="amina",
        starts_at=micros(saturday),
        ends_at=micros(saturday + timedelta(hours=2)),
    )
    assert on_call(both, [override], saturday) == ("efua", "override")
    assert on_call(both, [override], saturday + timedelta(hours=2)) == ("joao", "weekend")
    found = shifts(both, [override], since=utc(14, 8), until=utc(14, 12))
    assert [(each.person, each.starts.hour, each.ends.hour) for each in found] == [
        ("joao", 8, 9),
        ("efua", 9, 11),
        ("joao", 11, 12),
    ]


def test_a_swap_touches_only_the_shifts_of_the_two():
    turns = roster(weekly("amina", "joao", "efua", turn_days=1))
    swap = Override(
        number=1,
        roster="centre",
        person="joao",
        instead_of="amina",
        made_by="amina",
        starts_at=micros(utc(2, 0)),
        ends_at=micros(utc(30, 0)),
    )
    found = shifts(turns, [swap], since=utc(2, 5), until=utc(5, 5))
    assert [each.person for each in found] == ["joao", "joao", "efua"]


def test_hours_without_anybody_are_told():
    office = roster(
        weekly("amina", hours=(Hours(days=(0, 1, 2, 3, 4), starts="08:00", ends="18:00"),))
    )
    assert gaps(office, [], since=utc(13, 6), until=utc(16, 6)) == [
        (utc(13, 15), utc(16, 5)),
    ]


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (weekly(), "has 1 to 50 people"),
        (weekly("amina", zone="Mars/Base"), "is no time zone"),
        (weekly("amina", zone="../../etc/passwd"), "is no time zone"),
        (weekly("amina", turn_days=0), "lasts 1 to 366 days"),
        (weekly("amina", first_day="tomorrow"), "days are 2026-03-31"),
        (weekly("amina", hands_over_at="25:00"), "hours 08:00"),
        (weekly("amina", hours=(Hours(days=(7,)),)), "0 (Monday) to 6"),
    ],
)
def test_a_roster_that_cannot_work_is_refused(layer: Layer, says: str):
    with pytest.raises(RosterRefused) as caught:
        checked(roster(layer))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (Step(), "a roster or a person"),
        (Step(roster="centre", person="amina"), "one of the two"),
        (Step(roster="nobody"), "no roster nobody"),
        (Step(person="amina", via=("pigeon",)), "pages by console, email, sms, webhook"),
        (Step(person="amina", wait_s=5), "waits 30 seconds"),
    ],
)
def test_a_chain_that_cannot_work_is_refused(step: Step, says: str):
    with pytest.raises(RosterRefused) as caught:
        checked_chain(Chain(name="all", markets=("*",), steps=(step,)), ["centre"])
    assert says in str(caught.value)


def test_a_chain_that_names_the_market_goes_first():
    step = (Step(person="amina"),)
    everywhere = Chain(name="all", markets=("*",), steps=step)
    ghana = Chain(name="west", markets=("GH",), steps=step, least_severity=2)
    chains = [everywhere, ghana]

    assert chain_for(chains, market="GH", severity=2) is ghana
    assert chain_for(chains, market="GH", severity=3) is everywhere
    assert chain_for(chains, market="KE", severity=1) is everywhere
    assert chain_for(chains, market="KE", severity=4) is None


def test_night_is_where_the_person_lives():
    assert is_night(utc(10, 4), "Africa/Accra")
    assert not is_night(utc(10, 4), "Africa/Nairobi")
    assert is_night(utc(10, 22), "Africa/Accra")
