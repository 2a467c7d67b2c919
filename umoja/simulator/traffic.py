"""Traffic as a plan: how busy each moment of a market's day is, and who means to pay whom then. Pure.

Time is cut into slices of ten seconds, numbered since 1970. A slice's intents depend on the seed, the
market and the slice's number only: a day can be played from any slice on, fast or slowly.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from random import Random

from umoja.clock import from_micros
from umoja.markets.busy import busy_at
from umoja.markets.market import Market
from umoja.payments.catalogue import PRODUCTS
from umoja.simulator.population import Population, mean_of, window

SLICE_S = 10
SLICE_US = SLICE_S * 1_000_000

SIZES = {
    "send_money": 0.8,
    "deposit": 1.3,
    "withdraw": 1.3,
    "pay_till": 0.5,
    "pay_bill": 1.1,
    "airtime": 0.06,
}
"""How large a payment of a product is, against the market's mean."""

SPREAD = 0.7  # of amounts: the sigma of their logarithm
API_SHARES = {"pay_till": 0.4, "pay_bill": 0.6, "airtime": 0.1}
"""How many payments of a product come through the API and not by USSD."""

SPARES = 2  # others who might pay instead
CAPACITY_USED = 0.5  # of what all customers' ceilings allow, at most
SCALE_LEAST = 0.02


class Slip(Enum):
    """What is wrong with an intent from its beginning. Some things always are."""

    NONE = "none"
    PIN = "pin"  # a wrong PIN
    RECKLESS = "reckless"  # much more than usual, without a look at the balance
    STRANGER = "stranger"  # to somebody who is not there


SLIPS = (
    (Slip.PIN, 0.010),
    (Slip.RECKLESS, 0.012),
    (Slip.STRANGER, 0.004),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """Somebody means to pay, `after_s` seconds into the slice. People are places in the population.

    `other` is the receiving customer, the till or the biller, as the product has it; `spares` are
    customers who might pay instead; `topup` is what she would deposit first if she had too little.
    """

    after_s: float
    product: str
    channel: str
    customer: int
    outlet: int
    other: int
    spares: tuple[int, ...]
    amount: int
    topup: int
    currency: str
    slip: Slip


@dataclass(frozen=True, kw_only=True)
class Habits:
    """What a market's people do on average, worked out once: see `habits_of`."""

    products: tuple[str, ...]
    weights: tuple[int, ...]
    customers: tuple[int, ...]
    customer_weights: tuple[int, ...]
    windows: Mapping[tuple[str, str], tuple[int, int]]
    means: Mapping[str, int]
    currencies: tuple[str, ...]
    currency_weights: tuple[int, ...]
    scale: float


def expected_per_second(market: Market, moment: datetime, average: float) -> float:
    """Return how many payments a second are usual at a moment, given the average of a usual day."""
    return average * busy_at(market, moment)


def habits_of(market: Market, people: Population, *, average: float) -> Habits:
    """Work out who does what. `average` payments a second are to be borne by these people.

    Few people with much traffic pay small amounts, so that their ceilings last for the day.
    """
    currencies = tuple(currency.code for currency in market.currencies)
    windows = {
        (product, currency): found
        for product in SIZES
        for currency in currencies
        if (found := window(market, PRODUCTS[product].service, currency)) is not None
    }
    offered = tuple(
        product
        for product in people.mix
        if all((product, currency) in windows for currency in currencies)
    )
    days = [customer.day_minor for customer in people.customers]
    bound = 5 * sum(days) // len(days)  # nobody pays for everybody
    weights = tuple(max(1, min(day, bound)) for day in days)
    paid = sum(people.mix[p] * SIZES[p] for p in offered if p != "deposit")
    mean_first = market.mean_value_minor * paid / sum(people.mix[p] for p in offered)
    demand = average * 86_400 * mean_first
    scale = min(1.0, CAPACITY_USED * sum(weights) / demand) if demand else 1.0
    return Habits(
        products=offered,
        weights=tuple(people.mix[product] for product in offered),
        customers=tuple(range(len(days))),
        customer_weights=weights,
        windows=windows,
        means={currency: mean_of(market, currency) for currency in currencies},
        currencies=currencies,
        currency_weights=tuple(2 if place == 0 else 1 for place in range(len(currencies))),
        scale=max(SCALE_LEAST, scale),
    )


def intents(
    market: Market, people: Population, habits: Habits, *, number: int, average: float, seed: int
) -> list[Intent]:
    """Return who means to pay in a slice, in the order of time. The same arguments, the same list."""
    middle = from_micros(number * SLICE_US + SLICE_US // 2)
    rate = expected_per_second(market, middle, average)
    if rate <= 0:
        return []
    random = Random(f"{seed}|{market.code}|{number}")  # noqa: S311  play, not secrets
    found = []
    after_s = random.expovariate(rate)
    while after_s < SLICE_S:
        found.append(_intent(market, people, habits, random, after_s))
        after_s += random.expovariate(rate)
    return found


def _intent(
    market: Market, people: Population, habits: Habits, random: Random, after_s: float
) -> Intent:
    (product,) = random.choices(habits.products, weights=habits.weights)
    (currency,) = random.choices(habits.currencies, weights=habits.currency_weights)
    customer, *spares = random.choices(
        habits.customers, weights=habits.customer_weights, k=1 + SPARES
    )
    slip = _slip(random)
    size = SIZES[product] * (8 if slip is Slip.RECKLESS else 1)
    others = {"pay_till": len(people.tills), "pay_bill": len(people.billers)}
    is_api = random.random() < API_SHARES.get(product, 0)
    return Intent(
        after_s=after_s,
        product=product,
        channel="api" if is_api and slip is not Slip.PIN else "ussd",
        customer=customer,
        outlet=random.randrange(len(people.outlets)),
        other=random.randrange(others.get(product, len(people.customers))),
        spares=tuple(spares),
        amount=_amount(market, habits, random, product, currency, size),
        topup=_amount(market, habits, random, "deposit", currency, 6),
        currency=currency,
        slip=slip,
    )


def _slip(random: Random) -> Slip:
    drawn = random.random()
    for slip, share in SLIPS:
        if drawn < share:
            return slip
        drawn -= share
    return Slip.NONE


def _amount(
    market: Market, habits: Habits, random: Random, product: str, currency: str, size: float
) -> int:
    """Return a likely amount: two figures and noughts, as people pay, inside the tariff's window."""
    spread = random.lognormvariate(-SPREAD * SPREAD / 2, SPREAD)
    least, most = habits.windows.get((product, currency), (1, 10**12))
    wanted = max(least, min(most, round(habits.means[currency] * habits.scale * size * spread)))
    unit: int = 10 ** max(0, int(math.log10(wanted)) - 1)
    kept = market.currency(currency)
    assert kept is not None, "habits know the market's currencies only"
    step = max(kept.step, unit // kept.step * kept.step)
    amount = round(wanted / step) * step
    if amount < least:
        return -(-least // kept.step) * kept.step
    return min(amount, most // kept.step * kept.step)
