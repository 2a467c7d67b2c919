"""The stage of a bench: one market's money plane with people and their money, made in bulk.

A folder that is kept is used again by the next bench of the same size: making ten million
customers takes minutes.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from umoja.clock import Clock, to_micros
from umoja.faults import Unavailable
from umoja.ledger.books import Books, add_up, audit, breaks
from umoja.ledger.entries import Account, Bundle, Kind, Transfer, Verdict
from umoja.ledger.ledger import Ledger
from umoja.markets.market import Market, Service, Tariff
from umoja.opening import Where, open_ledger
from umoja.parties.directory import Directory
from umoja.parties.party import FIRST, Party, Role
from umoja.payments.accounts import Accounts, Purse
from umoja.payments.catalogue import PRODUCTS
from umoja.payments.order import Ask
from umoja.payments.wallets import kind_of
from umoja.simulator.bench_workload import Crowd, Draw
from umoja.simulator.population import PIN

NOTE = "bench.json"
CLIENT = "bench"
CHANNEL = "api"
PER_MERCHANT = 20  # customers
PER_OUTLET = 50
CROWD_LEAST = 4  # merchants and outlets
PART = 1_000  # accounts in a bundle, parties in a call
PARTS_AT_ONCE = 10
FLOAT = 10**13  # minor units: an outlet never runs short
OPENING_PAYMENTS = 1_000  # usual payments that a customer can make where no ceiling says less
FOLDED_MAX = 2_000_000  # lines: beyond, books are proved from the state in use alone
COMPARED_MAX = 500_000  # accounts: likewise

Step = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """The first number of each crowd: the others follow on it, one by one."""

    dealer: int
    outlets: int
    merchants: int
    customers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What a payment of a bench costs at least and at most, and the steps between; minor units."""

    least: int
    steps: int
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a bench plays on: the market, the numbers of its people, and what they have."""

    market: Market
    accounts: Accounts
    crowd: Crowd
    cast: Cast
    prices: Prices
    opening: int

    @property
    def currency(self) -> str:
        return self.market.currencies[0].code

    def sides(self, product: str, payer: int, payee: int) -> tuple[int, int]:
        """Return the numbers of the parties that a drawn payment's places stand for."""
        cast = self.cast
        match product:
            case "pay_bill":
                return cast.customers + payer, cast.merchants + payee
            case "withdraw":
                return cast.customers + payer, cast.outlets + payee
            case "deposit":
                return cast.outlets + payer, cast.customers + payee
            case _:
                return cast.customers + payer, cast.customers + payee

    def amount(self, steps: int) -> int:
        return self.prices.least + steps * self.prices.step

    def asks(self, draw: Draw, *, first: int) -> list[Ask]:
        """Return the orders of a draw; the key of each is its number, from `first` on."""
        currency = self.currency
        found = []
        for number, (product, payer, payee, steps) in enumerate(
            zip(draw.products, draw.payers, draw.payees, draw.amounts, strict=True), start=first
        ):
            giver, taker = self.sides(product, payer, payee)
            found.append(
                Ask(
                    client=CLIENT,
                    key=f"b{number}",
                    channel=CHANNEL,
                    product=product,
                    payer=giver,
                    payee=taker,
                    amount=self.amount(steps),
                    currency=currency,
                    reference="bench" if PRODUCTS[product].needs_reference else "",
                )
            )
        return found

    def bundles(self, draw: Draw, *, first: int, now: int) -> list[Bundle]:
        """Return a draw as bundles of three legs: the amount, the fee, the tax on the fee."""
        accounts, currency = self.accounts, self.currency
        fees = accounts.system(Purse.FEES, currency)
        taxes = accounts.system(Purse.TAXES, currency)
        post = Kind.POST
        found = []
        for number, (product, payer, payee, steps) in enumerate(
            zip(draw.products, draw.payers, draw.payees, draw.amounts, strict=True), start=first
        ):
            giver, taker = self.sides(product, payer, payee)
            kind = PRODUCTS[product]
            source = accounts.number(giver, kind.payer_purse, currency)
            amount = self.amount(steps)
            fee = max(2, amount // 20)
            tax = max(1, fee // 8)
            found.append(
                Bundle(
                    f"{number:032x}.0",
                    now,
                    (
                        Transfer(
                            post, source, accounts.number(taker, kind.payee_purse, currency), amount
                        ),
                        Transfer(post, source, fees, fee - tax),
                        Transfer(post, source, taxes, tax),
                    ),
                )
            )
        return found


def ground_of(market: Market, *, customers: int, day: date) -> Ground:
    """Plan who there is and what a payment is worth. The same market and size give the same."""
    currency = market.currencies[0]
    merchants = max(CROWD_LEAST, customers // PER_MERCHANT)
    outlets = max(CROWD_LEAST, customers // PER_OUTLET)
    prices = _prices(market, day)
    ceiling = market.ceiling(tier=market.tiers[-1].id, currency=currency.code)
    # Half of what she may have: there is room for what she gets, and for what she gives.
    opening = market.mean_value_minor * OPENING_PAYMENTS
    daily = opening
    if ceiling is not None and ceiling.balance is not None:
        opening = min(opening, ceiling.balance // 2)
    if ceiling is not None and ceiling.daily is not None:
        daily = min(daily, ceiling.daily)
    opening = opening // currency.step * currency.step
    most = prices.least + prices.steps * prices.step
    return Ground(
        market=market,
        accounts=Accounts(market),
        crowd=Crowd(
            customers=customers,
            merchants=merchants,
            outlets=outlets,
            # An eighth on top for what a payment costs its payer.
            payments_each=max(1, min(opening, daily) // (most + most // 8)),
        ),
        cast=Cast(
            dealer=FIRST,
            outlets=FIRST + 1,
            merchants=FIRST + 1 + outlets,
            customers=FIRST + 1 + outlets + merchants,
        ),
        prices=prices,
        opening=opening,
    )


def _prices(market: Market, day: date) -> Prices:
    """Return small amounts that bear a fee in every service of the workloads, so that all legs are there."""
    currency = market.currencies[0]
    plans = {"", _plan(market)}
    least, most = [currency.step], []
    for service in (Service.SEND_ON_NET, Service.PAY_BILL, Service.WITHDRAW_AGENT):
        least.append(market.minimum(service=service, currency=currency.code))
        for tariff in market.tariffs:
            is_ours = tariff.service is service and tariff.plan in plans
            if is_ours and tariff.currency == currency.code:
                first = _first_with_fee(tariff, day)
                if first:
                    least.append(first)
                    most.append(tariff.bands[-1].last)
    first = -(-max(least) // currency.step) * currency.step
    last = min([2 * first, *(each for each in most if each >= first)])
    return Prices(least=first, steps=(last - first) // currency.step, step=currency.step)


def _plan(market: Market) -> str:
    """Return the plan of the merchants' paybills: the first one that the market has, or none."""
    plans = {each.plan for each in market.tariffs if each.service is Service.PAY_BILL}
    return min(plans, default="")


def _first_with_fee(tariff: Tariff, day: date) -> int:
    """Return the least amount that a tariff of the day asks a fee for; 0: none, or not in force."""
    if not tariff.is_offered or not tariff.period.holds(day):
        return 0
    return next((band.first for band in tariff.bands if band.fee or band.millionths), 0)


# Making people and money


def settle(ground: Ground, ledger: Ledger, clock: Clock, *, step: Step) -> None:
    """Open every purse and put money into it, straight through the ledger, unless that was done.

    Cut off in the middle it may be done again: what was done then is not done twice.

    Raise Unavailable, or OutcomeUnknown, where the ledger does.
    """
    openings = -(-ground.crowd.customers // PART) - 1 + _parts_before_customers(ground)
    if ledger.row(_opening_id(openings)) is not None:
        return
    now = to_micros(clock.now())
    parts: list[Bundle] = []
    done, total = 0, _accounts_to_open(ground)
    for number, (accounts, minor) in enumerate(_openings(ground)):
        parts.append(_opening(ground, accounts, minor, number, now))
        done += len(accounts)
        if len(parts) == PARTS_AT_ONCE:
            _post(ledger, parts)
            parts = []
            step("money", done, total)
    _post(ledger, parts)
    step("money", total, total)


def _accounts_to_open(ground: Ground) -> int:
    crowd = ground.crowd
    return crowd.customers + crowd.merchants + crowd.outlets + 2


def _parts_before_customers(ground: Ground) -> int:
    return 1 + -(-ground.crowd.outlets // PART) + -(-ground.crowd.merchants // PART)


def _opening_id(place: int) -> str:
    return f"bench.opening.{place}"


def _openings(ground: Ground) -> Iterator[tuple[list[int], int]]:
    """Yield account numbers with what each of them gets, at most PART at a time."""
    number, currency = ground.accounts.number, ground.currency
    cast, crowd = ground.cast, ground.crowd
    system = ground.accounts.system
    yield [system(Purse.FEES, currency), system(Purse.TAXES, currency)], 0
    for first, many, purse, minor in (
        (cast.outlets, crowd.outlets, Purse.FLOAT, FLOAT),
        (cast.merchants, crowd.merchants, Purse.TILL, 0),
        (cast.customers, crowd.customers, Purse.WALLET, ground.opening),
    ):
        for at in range(first, first + many, PART):
            last = min(at + PART, first + many)
            yield [number(party, purse, currency) for party in range(at, last)], minor


def _opening(ground: Ground, numbers: list[int], minor: int, place: int, now: int) -> Bundle:
    trust = ground.accounts.system(Purse.TRUST, ground.currency)
    opens: tuple[Account, ...] = tuple(map(ground.accounts.account, [trust, *numbers]))
    transfers = (
        tuple(Transfer(Kind.POST, trust, number, minor) for number in numbers) if minor else ()
    )
    return Bundle(_opening_id(place), now, transfers, opens)


def _post(ledger: Ledger, bundles: list[Bundle]) -> None:
    for bundle, verdict in zip(bundles, ledger.post(bundles), strict=True):
        assert verdict is Verdict.DONE, f"{bundle.id} was refused: {verdict.name}"


def register(ground: Ground, directory: Directory, *, pins: bool, step: Step) -> None:
    """Register everybody of the cast who is not there yet, in the order of their numbers."""
    there = directory.count()
    people = _people(ground, after=there)
    total = 1 + ground.crowd.outlets + ground.crowd.merchants + ground.crowd.customers
    pin = PIN[: ground.market.pin_digits] if pins else ""
    part: list[tuple[Party, str]] = []
    expected = FIRST + there
    for party in people:
        part.append((party, pin if party.role in {Role.CUSTOMER, Role.AGENT} else ""))
        if len(part) == PART:
            expected = _kept(directory, part, expected)
            part = []
            step("people", expected - FIRST, total)
    if part:
        _kept(directory, part, expected)
    step("people", total, total)


def _kept(directory: Directory, part: list[tuple[Party, str]], expected: int) -> int:
    kept = directory.register_many(part)
    assert kept[0].id == expected, "numbers are given one after the other"
    return expected + len(kept)


def _people(ground: Ground, *, after: int) -> Iterator[Party]:
    """Yield everybody in the order of their numbers, behind the first `after`."""
    market, crowd = ground.market, ground.crowd
    place = 0
    plan = _plan(market)
    whole = 1 + crowd.outlets + crowd.merchants + crowd.customers
    language, tier = market.default_language, market.tiers[-1].id
    for place in range(after, whole):
        number = FIRST + place
        if number == ground.cast.dealer:
            yield Party(id=0, role=Role.DEALER, name="Bench dealer", phone=phone_of(market, place))
        elif number < ground.cast.merchants:
            yield Party(
                id=0,
                role=Role.AGENT,
                name=f"Outlet {place}",
                phone=phone_of(market, place),
                agent_code=f"{number}",
                parent=ground.cast.dealer,
                language=language,
            )
        elif number < ground.cast.customers:
            yield Party(
                id=0,
                role=Role.ORGANISATION,
                name=f"Merchant {place}",
                paybill=f"{number}",
                plan=plan,
                category="shop",
            )
        else:
            yield Party(
                id=0,
                role=Role.CUSTOMER,
                name=f"Customer {place}",
                phone=phone_of(market, place),
                tier=tier,
                language=language,
            )


def phone_of(market: Market, place: int) -> str:
    """Return a number of the operator's own ranges, or '' where they have no more."""
    prefixes = market.own_prefixes or (market.number_example[:2],)
    length = market.national_length[0]
    for prefix in prefixes:
        digits = length - len(prefix)
        if place < 10**digits:
            return f"{market.dialling_code}{prefix}{place:0{digits}d}"
        place -= 10**digits
    return ""


# What a folder holds


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What a folder of a bench was made for, so that only the like of it is played there."""

    market: str
    engine: str
    customers: int
    people: str  # none, registered, or with pins


def claim(folder: Path, wanted: Note) -> None:
    """Take the folder for a bench, or find that it is one of the same kind; make it where missing.

    Raise Unavailable where it holds anything else: nothing there is touched.
    """
    path = folder / NOTE
    if folder.exists() and not folder.is_dir():
        raise Unavailable(f"{folder} is no folder: choose another --data")
    if not path.exists():
        if folder.exists() and any(folder.iterdir()):
            raise Unavailable(
                f"{folder} holds something that is no bench, and nothing there is touched:"
                " choose another --data"
            )
        folder.mkdir(parents=True, exist_ok=True, mode=0o711)
        path.write_text(json.dumps(asdict(wanted), indent=2), "utf-8")
        return
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except ValueError as cause:
        raise Unavailable(f"{path} is damaged: choose another --data") from cause
    if found != asdict(wanted):
        told = ", ".join(f"{name} {value}" for name, value in found.items())
        raise Unavailable(f"{folder} was made for another bench ({told}): choose another --data")


# The books afterwards


def prove(ledger: Ledger) -> dict[str, object]:
    """Prove that money balances, and say how it was proved.

    Up to two million lines and half a million accounts the journal is folded again and compared
    with the state in use; beyond that the state in use is added up, for memory's sake.
    """
    lines = ledger.head
    if lines <= FOLDED_MAX and len(ledger.state) <= COMPARED_MAX:
        books: Books = audit(ledger.rows(), claimed=ledger.state, kind_of=kind_of)
        currencies, breaches, how = books.currencies, books.breaches, "the journal folded again"
    else:
        currencies = add_up(ledger.state, kind_of=kind_of)
        breaches = tuple(breaks(ledger.state, currencies))
        how = "the state in use added up"
    return {
        "balanced": not breaches,
        "proved_by": how,
        "journal_lines": lines,
        "currencies": [
            {
                "currency": each.currency,
                "accounts": each.accounts,
                "issued": each.issued,
                "trust": each.trust,
            }
            for each in currencies
        ],
        "breaches": list(breaches[:20]),
    }


def ledger_of(where: Where, market: Market, clock: Clock, *, step: Step) -> Ledger:
    """Open or make the journal of a market, as the hall has it."""
    return open_ledger(
        where, market.code, clock, progress=lambda done, todo: step("journal", done, todo)
    )
