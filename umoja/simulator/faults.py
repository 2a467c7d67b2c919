"""Faults: what can be made to go wrong at the simulated partners, as switches with names."""

from collections.abc import Mapping
from dataclasses import dataclass

from umoja.partners.airtime import SimulatedAirtime
from umoja.partners.banks import SimulatedBank
from umoja.partners.sms_routes import SimulatedRoute

SMS_SLOW_S = 20.0
AIRTIME_SLOW_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that can go wrong: `name` is what is switched, `title` what a person reads."""

    name: str
    title: str


FAULTS = (
    Fault(name="sms-route-dead", title="The SMS route takes no messages"),
    Fault(name="sms-route-slow", title="The SMS route takes twenty seconds for each message"),
    Fault(name="sms-route-lossy", title="The SMS route loses three messages of ten, silently"),
    Fault(name="airtime-dead", title="The airtime seller does not answer"),
    Fault(name="airtime-slow", title="The airtime seller takes half a minute for each order"),
    Fault(name="airtime-answers-lost", title="Half of the airtime seller's answers never arrive"),
    Fault(name="trust-bank-short", title="The trust bank's statement shows too little money"),
)


class Faults:
    """The switches of every market's simulated partners. Nothing here touches money or people."""

    def __init__(
        self,
        *,
        routes: Mapping[str, SimulatedRoute],
        airtime: Mapping[str, SimulatedAirtime],
        banks: Mapping[str, SimulatedBank],
    ) -> None:
        self._routes = routes
        self._airtime = airtime
        self._banks = banks

    def list(self, market: str) -> tuple[Fault, ...]:
        """Return what can go wrong in a market. Raise KeyError where there is no such market."""
        self._routes[market]
        return FAULTS

    def is_on(self, market: str, name: str) -> bool:
        """Tell whether a fault is on. Raise KeyError for an unknown market or fault."""
        route, airtime, bank = self._routes[market], self._airtime[market], self._banks[market]
        return {
            "sms-route-dead": route.is_dead,
            "sms-route-slow": route.slow_s > 0,
            "sms-route-lossy": route.loses_permille > 0,
            "airtime-dead": airtime.is_dead,
            "airtime-slow": airtime.slow_s > 0,
            "airtime-answers-lost": airtime.loses_answers_permille > 0,
            "trust-bank-short": bank.short_permille > 0,
        }[name]

    def switch(self, market: str, name: str, *, is_on: bool) -> None:
        """Let a fault begin or end. Repeating is harmless. Raise KeyError as `is_on` does."""
        route, airtime, bank = self._routes[market], self._airtime[market], self._banks[market]
        match name:
            case "sms-route-dead":
                route.is_dead = is_on
            case "sms-route-slow":
                route.slow_s = SMS_SLOW_S * is_on
            case "sms-route-lossy":
                route.loses_permille = 300 * is_on
            case "airtime-dead":
                airtime.is_dead = is_on
            case "airtime-slow":
                airtime.slow_s = AIRTIME_SLOW_S * is_on
            case "airtime-answers-lost":
                airtime.loses_answers_permille = 500 * is_on
            case "trust-bank-short":
                bank.short_permille = is_on * 1
            case _:
                raise KeyError(name)
