"""Who pays whom in a bench: places of payers and payees, drawn from a seed, the same every time."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

EXPONENT = 0.99  # of the zipf workload, as the field's key-value benches have it
HOT_SHARE = 0.2  # of all payments go to one merchant
PAYDAY = (("send_money", 45), ("pay_bill", 35), ("withdraw", 12), ("deposit", 8))
"""What people do when wages have come, in hundredths: by product."""

PAYDAY_SHARE = 0.2  # of the customers make
PAYDAY_LOAD = 0.8  # this share of a payday's payments

Places = npt.NDArray[np.int64]


class Workload(Enum):
    UNIFORM = "uniform"  # everybody alike, from person to person
    ZIPF = "zipf"  # few customers pay often, few merchants receive most
    MERCHANT = "merchant"  # one merchant receives a fifth, the rest is uniform
    PAYDAY = "payday"  # a fifth of the customers do most: send, pay bills, draw and bring cash


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """How many there are of each kind, and how often one customer may pay before a ceiling says no."""

    customers: int
    merchants: int
    outlets: int
    payments_each: int = 1 << 40


@dataclass(frozen=True, slots=True)
class Draw:
    """Many payments at once, column by column: places among the customers, merchants or outlets.

    Which crowd a place means follows from the product: `send_money` customer to customer,
    `pay_bill` customer to merchant, `withdraw` customer to outlet, `deposit` outlet to customer.
    """

    products: list[str]
    payers: list[int]
    payees: list[int]
    amounts: list[int]  # steps above the least amount

    def __len__(self) -> int:
        return len(self.products)


class Drawer:
    """Draws payments of one workload, for ever, `total` of them known to come."""

    def __init__(
        self, workload: Workload, crowd: Crowd, *, seed: int, total: int, span: int
    ) -> None:
        """Amounts are drawn from 0 to `span` - 1. The same arguments draw the same payments."""
        assert crowd.customers >= 2, "somebody pays somebody else"
        assert span >= 1, "an amount has room"
        self._workload = workload
        self._crowd = crowd
        self._random = np.random.default_rng([seed, list(Workload).index(workload)])
        self._span = span
        self._of_customers = self._of_merchants = np.zeros(0)
        if workload is Workload.ZIPF:
            # Somewhat less than the ceilings allow, for luck does not spread payments evenly.
            cap = min(1.0, 0.8 * crowd.payments_each / max(total, 1))
            self._of_customers = np.cumsum(capped(zipf(crowd.customers), cap))
            self._of_merchants = np.cumsum(zipf(crowd.merchants))

    @property
    def hottest(self) -> dict[str, float]:
        """Return which share of all payments the busiest payer and payee have."""
        crowd = self._crowd
        match self._workload:
            case Workload.UNIFORM:
                payer, payee = 1 / crowd.customers, 1 / crowd.customers
            case Workload.ZIPF:
                payer, payee = float(self._of_customers[0]), float(self._of_merchants[0])
            case Workload.MERCHANT:
                payer, payee = 1 / crowd.customers, HOT_SHARE
            case Workload.PAYDAY:
                bills = dict(PAYDAY)["pay_bill"] / 100
                payer = PAYDAY_LOAD / max(1, round(crowd.customers * PAYDAY_SHARE))
                payee = bills / crowd.merchants
        return {"payer": round(payer, 6), "payee": round(payee, 6)}

    def draw(self, count: int) -> Draw:
        """Return the next `count` payments."""
        amounts = self._random.integers(0, self._span, count).tolist()
        match self._workload:
            case Workload.UNIFORM:
                payers, payees = self._pairs(count)
                return Draw(["send_money"] * count, payers.tolist(), payees.tolist(), amounts)
            case Workload.ZIPF:
                payers = self._ranked(self._of_customers, count)
                payees = self._ranked(self._of_merchants, count)
                return Draw(["pay_bill"] * count, payers.tolist(), payees.tolist(), amounts)
            case Workload.MERCHANT:
                payers, payees = self._pairs(count)
                is_hot = self._random.random(count) < HOT_SHARE
                payees[is_hot] = 0
                products = ["pay_bill" if hot else "send_money" for hot in is_hot.tolist()]
                return Draw(products, payers.tolist(), payees.tolist(), amounts)
            case Workload.PAYDAY:
                return self._payday(count, amounts)

    def _pairs(self, count: int) -> tuple[Places, Places]:
        """Return customers and, for each, another one."""
        customers = self._crowd.customers
        payers = self._random.integers(0, customers, count)
        steps = self._random.integers(1, customers, count)
        return payers, (payers + steps) % customers

    def _ranked(self, sums: npt.NDArray[np.float64], count: int) -> Places:
        found = np.searchsorted(sums, self._random.random(count), side="right")
        # Ranks are spread over the numbers: neighbours in the ranking are no neighbours in memory.
        return scattered(np.minimum(found, len(sums) - 1), len(sums))

    def _payday(self, count: int, amounts: list[int]) -> Draw:
        crowd, random = self._crowd, self._random
        busy = max(1, round(crowd.customers * PAYDAY_SHARE))
        is_busy = random.random(count) < PAYDAY_LOAD
        customers = np.where(
            is_busy, random.integers(0, busy, count), random.integers(0, crowd.customers, count)
        )
        customers = scattered(customers, crowd.customers)
        others = (customers + random.integers(1, crowd.customers, count)) % crowd.customers
        merchants = random.integers(0, crowd.merchants, count).tolist()
        outlets = random.integers(0, crowd.outlets, count).tolist()
        names = [name for name, _ in PAYDAY]
        kinds = random.choice(len(names), count, p=[share / 100 for _, share in PAYDAY]).tolist()
        draw = Draw([], [], [], amounts)
        for kind, customer, other, merchant, outlet in zip(
            kinds, customers.tolist(), others.tolist(), merchants, outlets, strict=True
        ):
            product = names[kind]
            draw.products.append(product)
            draw.payers.append(outlet if product == "deposit" else customer)
            draw.payees.append(
                {"send_money": other, "pay_bill": merchant, "withdraw": outlet}.get(
                    product, customer
                )
            )
        return draw

    def slices(self, total: int, size: int) -> Iterator[Draw]:
        """Yield `total` payments, at most `size` at a time."""
        while total > 0:
            yield self.draw(min(size, total))
            total -= size


def zipf(many: int) -> npt.NDArray[np.float64]:
    """Return each rank's share of all, the busiest first."""
    weights = np.arange(1, many + 1, dtype=np.float64) ** -EXPONENT
    shares: npt.NDArray[np.float64] = weights / weights.sum()
    return shares


def capped(shares: npt.NDArray[np.float64], cap: float) -> npt.NDArray[np.float64]:
    """Return the shares with nobody above `cap`; what the busiest lose, the others share.

    Where the cap leaves no room (less than one part for each), all are alike.
    """
    many = len(shares)
    if cap * many <= 1:
        return np.full(many, 1 / many)
    # The busiest `top` get the cap, the rest share what is left as before: the least such `top`.
    rests = np.cumsum(shares[::-1])[::-1]
    scales = (1 - np.arange(many) * cap) / rests
    top = int(np.argmax(shares * scales <= cap))
    return np.concatenate([np.full(top, cap), shares[top:] * scales[top]])


def scattered(ranks: Places, many: int) -> Places:
    """Return a place for each rank, no two the same: a walk through all places by a large step."""
    step = next(step for step in _STEPS if many % step)
    return ranks * step % many


_STEPS = (7_368_787, 6_700_417, 104_729, 7_919, 101)  # primes: one of them does not divide `many`
