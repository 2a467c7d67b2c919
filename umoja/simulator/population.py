"""The people of a simulated market: planned from a seed, registered, and given money by real orders.

A plan is data: the same market, size and seed make the same people. Settling a plan may stop
anywhere and be done again: whoever is there already is found, and every order has a key of its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import msgspec
import yaml

from umoja.markets.market import Ceiling, Market, Service, Tier
from umoja.parties.party import SYSTEM, Party, Role
from umoja.payments.branch import Branch
from umoja.payments.catalogue import PRODUCTS
from umoja.payments.order import Ask, Order

CLIENT = "simulator"
CHANNEL = "api"
WORDS = Path(__file__).parent / "people.yaml"
PIN = "2580147369"
"""Everybody's PIN, as many of its digits as the market asks for. It is no run of digits."""

TIER_SHARES = (60, 34, 6)  # of customers, by the place of their tier; the last one for all behind
PER_OUTLET = 15  # customers
PER_DEALER = 150
PER_TILL = 20
PER_BILLER = 50
BATCH = 500
OPENING_SPREAD = 0.7
FLOAT_PAYMENTS = 200  # mean payments that an outlet's float can pay out
UNLIMITED_DAY_PAYMENTS = 1_000  # mean payments a day of somebody whom no ceiling holds

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What a market's people are called, what they sell, and how their payments are mixed."""

    given: tuple[str, ...]
    family: tuple[str, ...]
    shops: tuple[str, ...]
    outlets: tuple[str, ...]
    dealers: tuple[str, ...]
    billers: tuple[tuple[str, str], ...]
    mix: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """A planned customer: what she brings to an agent first, by currency, in minor units.

    `day_minor` is how much a day her ceilings leave her for good, in the market's first currency.
    """

    party: Party
    opening: Mapping[str, int]
    day_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlet:
    """A planned outlet, the place of its dealer, and who serves there."""

    party: Party
    dealer: int
    assistants: tuple[Party, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Population:
    """Everybody planned for one market. Their numbers are given when they are registered."""

    market: str
    seed: int
    pin: str
    dealers: tuple[Party, ...]
    outlets: tuple[Outlet, ...]
    tills: tuple[Party, ...]
    billers: tuple[Party, ...]
    customers: tuple[Customer, ...]
    float_marks: Mapping[str, int] = field(default_factory=dict)
    """By currency: the float in minor units that an outlet is kept at."""
    mix: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """The numbers of a population's parties in their directory, in the plan's order; 0: not there."""

    dealers: tuple[int, ...]
    outlets: tuple[int, ...]
    tills: tuple[int, ...]
    billers: tuple[int, ...]
    customers: tuple[int, ...]


def plan(market: Market, *, customers: int, seed: int) -> Population:
    """Return the people of a market. The same market, size and seed give the same people."""
    assert customers > 0, "a market has customers"
    random = Random(f"{seed}|people|{market.code}")  # noqa: S311  play, not secrets
    words = words_of(market.code)
    phones = _phones(market, random)
    agent_codes = _codes(market, "agent", random)
    tills = _codes(market, "till", random)
    paybills = _codes(market, "paybill", random)
    dealers = tuple(
        Party(
            id=0,
            role=Role.DEALER,
            name=_named(words.dealers, place),
            phone=next(phones),
            language=market.default_language,
            agent_code=next(agent_codes),
        )
        for place in range(max(2, customers // PER_DEALER))
    )
    outlets = tuple(
        Outlet(
            party=Party(
                id=0,
                role=Role.AGENT,
                name=_named(words.outlets, place),
                phone=next(phones),
                language=_language(market, random),
                agent_code=next(agent_codes),
            ),
            dealer=place % len(dealers),
            assistants=_assistants(words, random) if place % 2 == 0 else (),
        )
        for place in range(max(4, customers // PER_OUTLET))
    )
    plans = sorted({each.plan for each in market.tariffs if each.service is Service.PAY_BILL})
    return Population(
        market=market.code,
        seed=seed,
        pin=PIN[: market.pin_digits],
        dealers=dealers,
        outlets=outlets,
        tills=tuple(
            Party(
                id=0,
                role=Role.ORGANISATION,
                name=_named(words.shops, place),
                till=next(tills),
                category="shop",
            )
            for place in range(max(4, customers // PER_TILL))
        ),
        billers=tuple(
            Party(
                id=0,
                role=Role.ORGANISATION,
                name=_named([name for name, _ in words.billers], place),
                paybill=next(paybills),
                plan=plans[place % len(plans)] if plans else "",
                category=words.billers[place % len(words.billers)][1],
            )
            for place in range(max(3, customers // PER_BILLER))
        ),
        customers=tuple(
            _customer(market, words, random, next(phones), place) for place in range(customers)
        ),
        float_marks={
            currency.code: _multiple(mean_of(market, currency.code) * FLOAT_PAYMENTS, currency.step)
            for currency in market.currencies
        },
        mix=words.mix,
    )


def settle(branch: Branch, people: Population) -> None:
    """Register everybody and give them money. Stopped in the middle, it may be done again.

    Raise Unavailable or OutcomeUnknown where the disk does; what was done until then stays.
    """
    _registered(branch, people)
    cast = cast_of(branch, people)
    for part in _parts(_gifts(people, cast), BATCH):
        _paid(branch, part)


def is_settled(branch: Branch, people: Population) -> bool:
    """Tell whether `settle` came to its end: its last order is kept."""
    last = people.customers[-1]
    key = _opening_key(people, len(people.customers) - 1, list(last.opening)[-1])
    return branch.desk.find(branch.desk.order_id(CLIENT, key)) is not None


def cast_of(branch: Branch, people: Population) -> Cast:
    """Return the numbers of those who are registered, and 0 for whoever is not there any more."""
    find = branch.directory
    return Cast(
        dealers=_ids(find.by_phone(each.phone) for each in people.dealers),
        outlets=_ids(find.by_phone(each.party.phone) for each in people.outlets),
        tills=_ids(find.by_till(each.till) for each in people.tills),
        billers=_ids(find.by_paybill(each.paybill) for each in people.billers),
        customers=_ids(find.by_phone(each.party.phone) for each in people.customers),
    )


def words_of(code: str) -> Words:
    """Return the words of a market; those that it lacks are the usual ones."""
    kept = _kept_words()
    found = kept["usual"] | kept.get(code, {})
    return Words(
        given=tuple(found["given"]),
        family=tuple(found["family"]),
        shops=tuple(found["shops"]),
        outlets=tuple(found["outlets"]),
        dealers=tuple(found["dealers"]),
        billers=tuple((name, category) for name, category in found["billers"]),
        mix=dict(found["mix"]),
    )


def mean_of(market: Market, currency: str) -> int:
    """Return a usual payment in minor units of the currency."""
    if currency == market.currencies[0].code:
        return market.mean_value_minor
    numerator, denominator = market.reference_rates[currency]
    return market.mean_value_minor * numerator // denominator


def window(market: Market, service: Service, currency: str) -> tuple[int, int] | None:
    """Return the least and the most that every tariff of the service takes; None: none does."""
    rows = [
        row
        for row in market.tariffs
        if row.service is service and row.currency == currency and row.is_offered and row.bands
    ]
    least = max([market.minimum(service=service, currency=currency), *(_first(r) for r in rows)])
    most = min((row.bands[-1].last for row in rows), default=0)
    return (least, most) if least <= most else None


@cache
def _kept_words() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(WORDS.read_text("utf-8"))
    return found


# Planning


def _customer(market: Market, words: Words, random: Random, phone: str, place: int) -> Customer:
    tier = _tier(market, random)
    ceiling = market.ceiling(tier=tier.id, currency=market.currencies[0].code) or Ceiling()
    kind, number = "", ""
    if market.identity_kinds and _needs_document(market, tier):
        kind = random.choice(market.identity_kinds)
        number = f"{random.randrange(10**7, 10**8)}{place % 10}"
    party = Party(
        id=0,
        role=Role.CUSTOMER,
        name=f"{random.choice(words.given)} {random.choice(words.family)}",
        phone=phone,
        tier=tier.id,
        language=_language(market, random),
        identity_kind=kind,
        identity_number=number,
    )
    return Customer(
        party=party,
        opening=_opening(market, ceiling, random),
        day_minor=_day_minor(market, ceiling),
    )


def _tier(market: Market, random: Random) -> Tier:
    shares = [TIER_SHARES[min(place, 2)] for place in range(len(market.tiers))]
    return random.choices(market.tiers, weights=shares)[0]


def _needs_document(market: Market, tier: Tier) -> bool:
    asked = " ".join(tier.requires)
    is_lowest = tier.id == market.tiers[0].id
    return not is_lowest or "document" in asked or any(k in asked for k in market.identity_kinds)


def _opening(market: Market, ceiling: Ceiling, random: Random) -> dict[str, int]:
    """Return what a customer brings first: about five usual payments, well below her ceilings."""
    found = {}
    for currency in market.currencies:
        share = random.lognormvariate(0, OPENING_SPREAD)
        wanted = round(mean_of(market, currency.code) * 5 * share)
        limits = [
            _in_currency(market, limit, currency.code) // 3
            for limit in (ceiling.per_transaction, ceiling.balance)
            if limit is not None
        ]
        least, most = window(market, Service.DEPOSIT_AGENT, currency.code) or (1, wanted)
        amount = _multiple(min([wanted, most, *limits]), currency.step)
        found[currency.code] = max(amount, _multiple(least + currency.step - 1, currency.step))
    return found


def _day_minor(market: Market, ceiling: Ceiling) -> int:
    """Return what a customer may pay on each day of a year, all her ceilings considered."""
    bounds = [market.mean_value_minor * UNLIMITED_DAY_PAYMENTS]
    if ceiling.daily is not None:
        bounds.append(ceiling.daily)
    if ceiling.monthly is not None:
        bounds.append(ceiling.monthly // 31)
    if ceiling.yearly is not None:
        bounds.append(ceiling.yearly // 366)
    return min(bounds)


def _assistants(words: Words, random: Random) -> tuple[Party, ...]:
    return tuple(
        Party(
            id=0,
            role=Role.ASSISTANT,
            name=f"{random.choice(words.given)} {random.choice(words.family)}",
            operator_code=f"{place}",
        )
        for place in range(1, 3)
    )


def _language(market: Market, random: Random) -> str:
    """Return what somebody speaks: mostly the market's default language."""
    if random.random() < 0.7:
        return market.default_language
    return random.choice(market.languages)


def _phones(market: Market, random: Random) -> Iterator[str]:
    """Yield numbers of the operator's own ranges, none twice, none that airtime refuses."""
    prefixes = market.own_prefixes or (market.number_example[:2],)
    length = market.national_length[0]
    taken = set()
    while True:
        for _ in range(10_000):
            prefix = random.choice(prefixes)
            national = prefix + "".join(random.choices("0123456789", k=length - len(prefix)))
            phone = market.phone_number(f"+{market.dialling_code}{national}")
            is_fit = phone and not national.startswith(market.excluded_prefixes)
            if is_fit and phone not in taken and not national.endswith("000"):
                break
        else:
            raise AssertionError(f"the number plan of {market.code} leaves no numbers")
        assert phone is not None, "a fit number was read"
        taken.add(phone)
        yield phone


def _codes(market: Market, kind: str, random: Random) -> Iterator[str]:
    """Yield codes of a kind that the market knows, none twice."""
    allowed = next((each.digits for each in market.short_codes if each.kind == kind), (6,))
    digits = 6 if 6 in allowed else allowed[-1]
    taken: set[int] = set()
    while True:
        code = random.randrange(10 ** (digits - 1), 10**digits)
        if code not in taken:
            taken.add(code)
            yield str(code)


def _named(names: Sequence[str], place: int) -> str:
    """Return a name from the list; a second round through it is numbered."""
    round_, at = divmod(place, len(names))
    return names[at] if round_ == 0 else f"{names[at]} {round_ + 1}"


def _in_currency(market: Market, minor: int, currency: str) -> int:
    """Return what minor units of the first currency are worth in another, rounded down."""
    if currency == market.currencies[0].code:
        return minor
    numerator, denominator = market.reference_rates[currency]
    return minor * numerator // denominator


def _multiple(minor: int, step: int) -> int:
    return minor // step * step


def _first(row: Any) -> int:
    first: int = row.bands[0].first
    return first


# Settling


def _registered(branch: Branch, people: Population) -> None:
    """Register who is not there yet: whoever has a parent after the parent."""
    find, pin = branch.directory, people.pin
    _register(branch, [(each, pin) for each in people.dealers if not find.by_phone(each.phone)])
    dealers = [find.by_phone(each.phone) for each in people.dealers]
    fresh = []
    for outlet in people.outlets:
        dealer = dealers[outlet.dealer]
        if find.by_phone(outlet.party.phone) is None:
            fresh.append((_under(outlet.party, dealer), pin))
    _register(branch, fresh)
    fresh = []
    for outlet in people.outlets:
        parent = find.by_phone(outlet.party.phone)
        for each in outlet.assistants:
            if parent is not None and not find.assistant(parent.id, each.operator_code):
                fresh.append((_under(each, parent), pin))
    fresh += [(each, "") for each in people.tills if not find.by_till(each.till)]
    fresh += [(each, "") for each in people.billers if not find.by_paybill(each.paybill)]
    fresh += [(c.party, pin) for c in people.customers if not find.by_phone(c.party.phone)]
    for part in _parts(fresh, BATCH):
        _register(branch, part)


def _register(branch: Branch, parties: list[tuple[Party, str]]) -> None:
    if parties:
        branch.directory.register_many(parties)


def _under(party: Party, parent: Party | None) -> Party:
    return msgspec.structs.replace(party, parent=parent.id if parent else 0)


def _gifts(people: Population, cast: Cast) -> list[Ask]:
    """Return the orders that bring money in: dealers buy float, pass it on, customers deposit."""
    served: list[dict[str, int]] = [dict(people.float_marks) for _ in people.outlets]
    for place, customer in enumerate(people.customers):
        for currency, minor in customer.opening.items():
            served[place % len(served)][currency] += minor
    owed: list[dict[str, int]] = [
        {currency: 4 * mark for currency, mark in people.float_marks.items()}
        for _ in people.dealers
    ]
    for place, outlet in enumerate(people.outlets):
        for currency, minor in served[place].items():
            owed[outlet.dealer][currency] += minor
    asks = [
        _gift(people, "float_purchase", SYSTEM, cast.dealers[n], f"dealer-{n}-{c}", minor, c)
        for n, sums in enumerate(owed)
        for c, minor in sums.items()
    ]
    asks += [
        _gift(
            people,
            "float_transfer",
            cast.dealers[people.outlets[n].dealer],
            cast.outlets[n],
            f"outlet-{n}-{c}",
            minor,
            c,
        )
        for n, sums in enumerate(served)
        for c, minor in sums.items()
    ]
    asks += [
        Ask(
            client=CLIENT,
            key=_opening_key(people, n, c),
            channel=CHANNEL,
            product="deposit",
            payer=cast.outlets[n % len(cast.outlets)],
            payee=cast.customers[n],
            amount=minor,
            currency=c,
        )
        for n, customer in enumerate(people.customers)
        for c, minor in customer.opening.items()
    ]
    return asks


def _gift(
    people: Population, product: str, payer: int, payee: int, what: str, minor: int, currency: str
) -> Ask:
    return Ask(
        client=CLIENT,
        key=f"settle-{people.seed}-{what}",
        channel=CHANNEL,
        product=product,
        payer=payer,
        payee=payee,
        amount=minor,
        currency=currency,
        reference=f"opening {what}" if PRODUCTS[product].needs_reference else "",
    )


def _opening_key(people: Population, place: int, currency: str) -> str:
    return f"settle-{people.seed}-customer-{place}-{currency}"


def _paid(branch: Branch, asks: list[Ask]) -> list[Order]:
    return branch.desk.submit_now(asks)


def _parts(items: list[T], size: int) -> Iterator[list[T]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]


def _ids(parties: Iterator[Party | None]) -> tuple[int, ...]:
    return tuple(party.id if party is not None else 0 for party in parties)
