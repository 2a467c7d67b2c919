"""A branch: one market's whole money plane, as the channels and the console are handed it."""

from dataclasses import dataclass

from umoja.markets.market import Market
from umoja.parties.directory import Directory
from umoja.payments.desk import Desk
from umoja.payments.wallets import Wallets


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    market: Market
    directory: Directory
    desk: Desk
    wallets: Wallets
