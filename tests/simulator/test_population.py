"""The people of every market are real to it, come twice the same, and their money balances."""

import pytest

from tests.stage import Stage
from umoja.faults import Unavailable
from umoja.markets import packs
from umoja.parties.credentials import is_fit
from umoja.parties.party import PinOutcome, Role
from umoja.simulator.population import Population, cast_of, is_settled, plan, settle, words_of

CODES = packs.codes()


def everybody(people: Population):
    yield from people.dealers
    yield from (outlet.party for outlet in people.outlets)
    yield from (customer.party for customer in people.customers)


@pytest.mark.parametrize("code", CODES)
def test_the_same_seed_makes_the_same_people_and_another_seed_others(code: str):
    market = packs.load(code)

    people = plan(market, customers=40, seed=7)

    assert plan(market, customers=40, seed=7) == people
    others = plan(market, customers=40, seed=8)
    assert {p.phone for p in everybody(people)} & {p.phone for p in everybody(others)} == set()


@pytest.mark.parametrize("code", CODES)
def test_phones_and_codes_are_of_the_market_s_own_and_come_once(code: str):
    market = packs.load(code)
    people = plan(market, customers=300, seed=7)

    phones = [party.phone for party in everybody(people)]
    assert len(phones) == len(set(phones)) == 300 + 20 + 2
    for phone in phones:
        assert market.phone_number(f"+{phone}") == phone
        national = phone.removeprefix(market.dialling_code)
        assert national.startswith(market.own_prefixes)
        assert not phone.endswith("000")
    lengths = {each.kind: each.digits for each in market.short_codes}
    for kind, codes in (
        (
            "agent",
            [o.party.agent_code for o in people.outlets] + [d.agent_code for d in people.dealers],
        ),
        ("till", [party.till for party in people.tills]),
        ("paybill", [party.paybill for party in people.billers]),
    ):
        assert len(codes) == len(set(codes)) >= 5
        assert {len(each) for each in codes} <= set(lengths[kind])


@pytest.mark.parametrize("code", CODES)
def test_customers_have_the_market_s_tiers_documents_and_languages(code: str):
    market = packs.load(code)
    people = plan(market, customers=300, seed=7)

    tiers = {customer.party.tier for customer in people.customers}
    assert tiers == {tier.id for tier in market.tiers}
    assert {c.party.language for c in people.customers} == set(market.languages)
    default = sum(c.party.language == market.default_language for c in people.customers)
    assert default > 150
    for customer in people.customers:
        party = customer.party
        assert (party.identity_kind == "") == (party.identity_number == "")
        assert party.identity_kind in {"", *market.identity_kinds}
        if party.tier != market.tiers[0].id:
            assert party.identity_number


@pytest.mark.parametrize("code", CODES)
def test_everybody_has_the_one_pin_which_the_market_would_take(code: str):
    market = packs.load(code)

    pin = plan(market, customers=20, seed=7).pin

    assert is_fit(pin, digits=market.pin_digits, rejects_runs=True)


def test_a_market_without_words_of_its_own_gets_the_usual_ones():
    assert words_of("??") == words_of("usual")
    assert {words_of(code).given for code in CODES} & {words_of("usual").given} == set()


@pytest.mark.parametrize("code", CODES)
def test_settled_people_can_sign_and_pay_and_the_books_balance(code: str, raise_stage):
    stage: Stage = raise_stage(code)
    people = plan(stage.market, customers=60, seed=7)
    declined = []
    stage.desk.listen(lambda order: declined.append(order) if order.decline else None)

    settle(stage.branch, people)

    assert declined == []
    assert is_settled(stage.branch, people)
    assert stage.breaches() == ()
    for total in stage.wallets.totals():
        assert total.issued == total.trust > 0
    for customer in people.customers[:5]:
        party = stage.store.by_phone(customer.party.phone)
        assert stage.store.check_pin(party.id, people.pin) is PinOutcome.RIGHT
        for currency, minor in customer.opening.items():
            assert stage.has(party, "wallet", currency) == minor > 0
    outlet = stage.store.by_phone(people.outlets[0].party.phone)
    dealer = stage.store.by_phone(people.dealers[0].phone)
    assert outlet.parent == dealer.id
    assert [each.role for each in stage.store.children(outlet.id)] == [Role.ASSISTANT] * 2
    for currency, mark in people.float_marks.items():
        assert stage.has(outlet, "float", currency) >= mark


class Interrupted(Exception):
    """The process ends here."""


@pytest.mark.parametrize("after", [0, 1, 2, 3, 4, 5])
def test_settling_that_was_cut_off_anywhere_is_done_to_its_end_by_the_next(
    after: int, raise_stage, monkeypatch
):
    stage: Stage = raise_stage("CD", engine="sqlite")
    people = plan(stage.market, customers=30, seed=7)
    monkeypatch.setattr("umoja.simulator.population.BATCH", 20)
    steps = 0

    def counted(work):
        def step(*given):
            nonlocal steps
            steps += 1
            if steps > after:
                raise Interrupted
            return work(*given)

        return step

    with monkeypatch.context() as cut:
        cut.setattr(stage.store, "register_many", counted(stage.store.register_many))
        cut.setattr(stage.desk, "submit_now", counted(stage.desk.submit_now))
        with pytest.raises(Interrupted):
            settle(stage.branch, people)
    assert not is_settled(stage.branch, people)

    for _ in range(2):
        settle(stage.branch, people)

    whole: Stage = raise_stage("CD", engine="sqlite")
    settle(whole.branch, people)
    assert stage.wallets.totals() == whole.wallets.totals()
    assert stage.desk.head == whole.desk.head
    assert stage.store.count() == whole.store.count()
    assert is_settled(stage.branch, people)
    assert 0 not in cast_of(stage.branch, people).customers


def test_settling_tells_a_full_disk_and_goes_on_later(raise_stage, monkeypatch):
    stage: Stage = raise_stage("GH")
    people = plan(stage.market, customers=20, seed=7)

    def full(*_):
        raise Unavailable("disk full")

    with monkeypatch.context() as disk:
        disk.setattr(stage.desk, "submit_now", full)
        with pytest.raises(Unavailable):
            settle(stage.branch, people)
    settle(stage.branch, people)

    assert is_settled(stage.branch, people)
