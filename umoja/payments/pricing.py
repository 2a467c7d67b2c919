"""Pricing: what an order costs, from the rows of the market's pack that hold on its day. Pure."""

from dataclasses import dataclass, field
from datetime import date

from umoja.markets.market import Band, FeePayer, Market, Service, Tariff, Tax, TaxBase
from umoja.money import MILLIONTHS, Rate, Rounding, divide
from umoja.payments.limits import Used, above_threshold, in_first_currency, quota_left
from umoja.payments.order import Decline, Price, TaxLine


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """What is priced: `minor` units of a service on a day of the market, for a plan."""

    service: Service
    currency: str
    minor: int
    day: date
    plan: str = ""
    used: Used = field(default_factory=Used)
    category: str = ""  # what the organisation sells: some taxes leave some of them out
    earns_commission: bool = False
    has_dealer: bool = False
    is_priced: bool = True  # movements of agents' float have no tariff


def price(market: Market, item: Item) -> Price | Decline:
    """Return the price, or why this amount of this service cannot be bought."""
    if not item.is_priced:
        return Price()
    tariffs = market.tariffs_for(
        service=item.service, currency=item.currency, plan=item.plan, day=item.day
    )
    if not tariffs or not all(tariff.is_offered for tariff in tariffs):
        return Decline.NOT_OFFERED
    fee = payee_fee = 0
    fee_row = payee_row = ""
    for tariff in tariffs:
        row = in_use(market, tariff, item)
        if row is None:
            return Decline.NOT_OFFERED
        charged = charge(market, row, item)
        if isinstance(charged, Decline):
            return charged
        if tariff.payer is FeePayer.CUSTOMER:
            fee, fee_row = charged, row.id
        else:
            payee_fee, payee_row = charged, row.id
    taxes = _taxes(market, item, fee=fee, is_payer=True)
    commission = _commission(market, item, fee=fee)
    return Price(
        fee=fee,
        fee_tariff=fee_row,
        payee_fee=payee_fee,
        payee_fee_tariff=payee_row,
        taxes=taxes,
        payee_taxes=_taxes(market, item, fee=payee_fee, is_payer=False),
        commission=commission.gross,
        commission_row=commission.row,
        withheld=commission.withheld,
        outlet_part=commission.outlet,
        dealer_part=commission.dealer,
    )


def in_use(market: Market, tariff: Tariff, item: Item) -> Tariff | None:
    """Return the row that prices: this one, or the one beyond it once a plan's quota is used up."""
    if tariff.plan_quota is None:
        return tariff
    if quota_left(item.used, tariff.plan_quota, value=_value(market, item)):
        return tariff
    return market.tariff(tariff.beyond)


def charge(market: Market, tariff: Tariff, item: Item) -> int | Decline:
    """Return the fee of one row in minor units, free quota, floor and cap applied."""
    if tariff.bands and item.minor < tariff.bands[0].first:
        return Decline.AMOUNT_TOO_SMALL
    band = find(tariff.bands, item.minor)
    if band is None:
        return Decline.AMOUNT_TOO_LARGE
    if tariff.free and quota_left(item.used, tariff.free, value=_value(market, item)):
        return 0
    if not band.millionths:
        return band.fee
    share = Rate(band.millionths).of(item.minor)
    if tariff.fee_min is not None:
        share = max(share, tariff.fee_min)
    return share if tariff.fee_max is None else min(share, tariff.fee_max)


def find(bands: tuple[Band, ...], minor: int) -> Band | None:
    """Return the band that an amount falls into; both ends of a band belong to it."""
    for band in bands:
        if minor <= band.last:
            return band if minor >= band.first else None
    return None


def _taxes(market: Market, item: Item, *, fee: int, is_payer: bool) -> tuple[TaxLine, ...]:
    """Return the tax lines on one side's fee, and on the amount for the payer.

    Taxes inside a fee are parts of one gross: each bears its rate of the net, and the net with all
    of them is the fee. They never add up to more than the fee: the last one bears the rounding.
    """
    lines = []
    on_fee = _taxes_on(market, item, TaxBase.FEE)
    inside = [tax for tax in on_fee if tax.is_included and tax.millionths]
    all_inside = sum(tax.millionths for tax in inside)
    left = fee - divide(fee * MILLIONTHS, MILLIONTHS + all_inside, Rounding.HALF_UP)
    for tax in inside:
        part = min(left, Rate(tax.millionths).inside(fee, all_millionths=all_inside))
        part = left if tax is inside[-1] else part
        left -= part
        lines.append(TaxLine(tax.id, part, is_included=True))
    lines.extend(
        TaxLine(tax.id, Rate(tax.millionths).of(fee), is_included=False)
        for tax in on_fee
        if not tax.is_included
    )
    if is_payer:
        on_amount = _taxes_on(market, item, TaxBase.AMOUNT)
        lines.extend(
            TaxLine(tax.id, levy(market, tax, item), is_included=False) for tax in on_amount
        )
    return tuple(line for line in lines if line.minor > 0)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Earned:
    gross: int = 0
    row: str = ""
    withheld: int = 0
    outlet: int = 0
    dealer: int = 0


def _commission(market: Market, item: Item, *, fee: int) -> Earned:
    """Return what the agent's house earns: tax withheld first, the rest split with the dealer."""
    if not item.earns_commission:
        return Earned()
    row = market.commission_for(service=item.service, currency=item.currency, day=item.day)
    if row is None:
        return Earned()
    band = find(row.bands, item.minor)
    gross = band.fee if band else 0
    if band and band.millionths:
        gross = Rate(band.millionths).of(item.minor)
    gross += Rate(row.amount_millionths).of(item.minor) + Rate(row.fee_millionths).of(fee)
    taxes = _taxes_on(market, item, TaxBase.COMMISSION)
    withheld = sum(Rate(tax.millionths).of(gross) for tax in taxes)
    net = gross - withheld
    outlet = divide(net * row.outlet_permille, 1000, Rounding.HALF_UP) if item.has_dealer else net
    return Earned(gross=gross, row=row.id, withheld=withheld, outlet=outlet, dealer=net - outlet)


def _value(market: Market, item: Item) -> int:
    return in_first_currency(market, item.minor, item.currency)
