"""Pricing: what an order costs, from the rows of the market's pack that hold on its day. Pure."""

from bisect import bisect_left
from datetime import date

import msgspec

from umoja.markets.market import (
    Band,
    Commission,
    FeePayer,
    Market,
    Service,
    Tariff,
    Tax,
    TaxBase,
)
from umoja.money import MILLIONTHS, Rate, Rounding, divide
from umoja.payments.limits import (
    NOTHING_USED,
    Used,
    above_threshold,
    in_first_currency,
    quota_left,
)
from umoja.payments.order import Decline, Price, TaxLine


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """What is priced: `minor` units of a service on a day of the market, for a plan."""

    service: Service
    currency: str
    minor: int
    day: date
    plan: str = ""
    used: Used = NOTHING_USED
    category: str = ""  # what the organisation sells: some taxes leave some of them out
    earns_commission: bool = False
    has_dealer: bool = False
    is_priced: bool = True  # movements of agents' float have no tariff


class Rung(msgspec.Struct, frozen=True, kw_only=True):
    """A tariff's row, with the last amount of each band so that the band is found at once."""

    tariff: Tariff
    lasts: tuple[int, ...]
    beyond: "Rung | None" = None  # prices what passes the plan's quota


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """All rows that price one service for one plan and category on one day: found once, used often."""

    rungs: tuple[Rung, ...]
    is_offered: bool
    inside: tuple[Tax, ...]  # of the fee
    all_inside: int  # their rates together, in millionths
    on_fee: tuple[Tax, ...]  # on top of it
    on_amount: tuple[Tax, ...]
    commission: Commission | None
    withheld: tuple[Tax, ...]

    @property
    def is_plain(self) -> bool:
        """Tell whether an amount always costs the same: no quota and no threshold is counted."""
        rungs = [*self.rungs, *(rung.beyond for rung in self.rungs if rung.beyond)]
        counted = [rung.tariff.free or rung.tariff.plan_quota for rung in rungs]
        return not any(counted) and not any(tax.threshold for tax in self.on_amount)


CARDS_MAX = 4096
NO_PRICE = Price()


def price(market: Market, item: Item) -> Price | Decline:
    """Return the price, or why this amount of this service cannot be bought."""
    if not item.is_priced:
        return NO_PRICE
    card = card_for(market, item)
    if not card.is_offered:
        return Decline.NOT_OFFERED
    fee = payee_fee = 0
    fee_row = payee_row = ""
    for rung in card.rungs:
        row = in_use(market, rung, item)
        if row is None:
            return Decline.NOT_OFFERED
        charged = charge(market, row, item)
        if isinstance(charged, Decline):
            return charged
        if rung.tariff.payer is not FeePayer.MERCHANT:  # a sending business is the payer
            fee, fee_row = charged, row.tariff.id
        else:
            payee_fee, payee_row = charged, row.tariff.id
    taxes = _taxes_of_fee(card, fee) if fee else ()
    if card.on_amount:
        on_amount = [
            TaxLine(tax.id, levy(market, tax, item), is_included=False) for tax in card.on_amount
        ]
        taxes += tuple([line for line in on_amount if line.minor > 0])
    earned = (
        _commission(card, item, fee=fee)
        if item.earns_commission and card.commission is not None
        else NOTHING_EARNED
    )
    return Price(
        fee,
        fee_row,
        payee_fee,
        payee_row,
        taxes,
        _taxes_of_fee(card, payee_fee) if payee_fee else (),
        earned.gross,
        earned.row,
        earned.withheld,
        earned.outlet,
        earned.dealer,
    )


def card_for(market: Market, item: Item) -> Card:
    """Return the rows that price the item: from the market's pack, remembered for the day."""
    key = (item.service, item.currency, item.plan, item.category, item.day)
    cards = market.cards
    card: Card | None = cards.get(key)
    if card is None:
        if len(cards) >= CARDS_MAX:
            cards.clear()
        card = cards[key] = _made_card(market, item)
    return card


def _made_card(market: Market, item: Item) -> Card:
    tariffs = market.tariffs_for(
        service=item.service, currency=item.currency, plan=item.plan, day=item.day
    )
    on_fee = _taxes_on(market, item, TaxBase.FEE)
    inside = tuple(tax for tax in on_fee if tax.is_included and tax.millionths)
    return Card(
        rungs=tuple(_rung(market, tariff) for tariff in tariffs),
        is_offered=bool(tariffs) and all(tariff.is_offered for tariff in tariffs),
        inside=inside,
        all_inside=sum(tax.millionths for tax in inside),
        on_fee=tuple(tax for tax in on_fee if not tax.is_included),
        on_amount=tuple(_taxes_on(market, item, TaxBase.AMOUNT)),
        commission=market.commission_for(
            service=item.service, currency=item.currency, day=item.day
        ),
        withheld=tuple(_taxes_on(market, item, TaxBase.COMMISSION)),
    )


def _rung(market: Market, tariff: Tariff) -> Rung:
    beyond = market.tariff(tariff.beyond) if tariff.plan_quota is not None else None
    return Rung(
        tariff=tariff,
        lasts=tuple(band.last for band in tariff.bands),
        beyond=Rung(tariff=beyond, lasts=tuple(band.last for band in beyond.bands))
        if beyond is not None
        else None,
    )


def in_use(market: Market, rung: Rung, item: Item) -> Rung | None:
    """Return the row that prices: this one, or the one beyond it once a plan's quota is used up."""
    quota = rung.tariff.plan_quota
    if quota is None or quota_left(item.used, quota, value=_value(market, item)):
        return rung
    return rung.beyond


def charge(market: Market, rung: Rung, item: Item) -> int | Decline:
    """Return the fee of one row in minor units, free quota, floor and cap applied."""
    tariff = rung.tariff
    bands, minor = tariff.bands, item.minor
    if bands and minor < bands[0].first:
        return Decline.AMOUNT_TOO_SMALL
    place = bisect_left(rung.lasts, minor)
    if place == len(bands) or minor < bands[place].first:
        return Decline.AMOUNT_TOO_LARGE
    if tariff.free and quota_left(item.used, tariff.free, value=_value(market, item)):
        return 0
    band = bands[place]
    if not band.millionths:
        return band.fee
    share = Rate(band.millionths).of(minor)
    if tariff.fee_min is not None:
        share = max(share, tariff.fee_min)
    return share if tariff.fee_max is None else min(share, tariff.fee_max)


def find(bands: tuple[Band, ...], minor: int) -> Band | None:
    """Return the band that an amount falls into; both ends of a band belong to it."""
    for band in bands:
        if minor <= band.last:
            return band if minor >= band.first else None
    return None


def _taxes_of_fee(card: Card, fee: int) -> tuple[TaxLine, ...]:
    """Return the tax lines on one side's fee.

    Taxes inside a fee are parts of one gross: each bears its rate of the net, and the net with all
    of them is the fee. They never add up to more than the fee: the last one bears the rounding.
    """
    lines = []
    if card.inside:
        all_inside = card.all_inside
        left = fee - divide(fee * MILLIONTHS, MILLIONTHS + all_inside, Rounding.HALF_UP)
        last = card.inside[-1]
        for tax in card.inside:
            part = min(left, Rate(tax.millionths).inside(fee, all_millionths=all_inside))
            part = left if tax is last else part
            left -= part
            if part > 0:
                lines.append(TaxLine(tax.id, part, is_included=True))
    for tax in card.on_fee:
        part = Rate(tax.millionths).of(fee)
        if part > 0:
            lines.append(TaxLine(tax.id, part, is_included=False))
    return tuple(lines)


def _taxes_on(market: Market, item: Item, base: TaxBase) -> list[Tax]:
    """Return the taxes that this payment bears: those that do not leave out what is sold."""
    taxes = market.taxes_on(base=base, service=item.service, day=item.day, currency=item.currency)
    return [tax for tax in taxes if item.category not in tax.exempt]


def levy(market: Market, tax: Tax, item: Item) -> int:
    """Return a tax on the amount, above its threshold where it has one."""
    taxable = item.minor
    if tax.threshold is not None:
        taxable = above_threshold(item.used, tax.threshold, value=_value(market, item))
    if tax.bands:
        band = find(tax.bands, taxable)
        if band is None:
            return 0
        return Rate(band.millionths).of(taxable) if band.millionths else band.fee
    return Rate(tax.millionths).of(taxable)


class Earned(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent's house earns on a payment, minor units."""

    gross: int = 0
    row: str = ""
    withheld: int = 0
    outlet: int = 0
    dealer: int = 0


NOTHING_EARNED = Earned()


def _commission(card: Card, item: Item, *, fee: int) -> Earned:
    """Return what the agent's house earns: tax withheld first, the rest split with the dealer."""
    row = card.commission
    assert row is not None, "a commission is asked for where there is a row"
    band = find(row.bands, item.minor)
    gross = band.fee if band else 0
    if band and band.millionths:
        gross = Rate(band.millionths).of(item.minor)
    gross += Rate(row.amount_millionths).of(item.minor) + Rate(row.fee_millionths).of(fee)
    withheld = sum(Rate(tax.millionths).of(gross) for tax in card.withheld)
    net = gross - withheld
    outlet = divide(net * row.outlet_permille, 1000, Rounding.HALF_UP) if item.has_dealer else net
    return Earned(gross=gross, row=row.id, withheld=withheld, outlet=outlet, dealer=net - outlet)


def _value(market: Market, item: Item) -> int:
    return in_first_currency(market, item.minor, item.currency)
