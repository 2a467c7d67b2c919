"""The sandbox: seeded phones, their inboxes and the faults, as the console's buttons reach them."""

import asyncio
from collections.abc import Mapping
from random import Random

import structlog

from umoja.app import Hall
from umoja.console.sandbox import FaultSwitch, Phone, Surprise, Text
from umoja.parties.party import Role
from umoja.simulator.drill import DETECTOR_OF, drill
from umoja.simulator.faults import Faults
from umoja.simulator.population import Population
from umoja.simulator.surprise import Surprises

PHONES_MAX = 1_000  # of each role; the first ones made

log = structlog.get_logger()


def faults_of(hall: Hall) -> Faults:
    """Return the switches of every simulated partner of the hall."""
    return Faults(
        routes={code: house.route for code, house in hall.houses.items()},
        airtime={code: house.airtime for code, house in hall.houses.items()},
        banks={code: house.bank for code, house in hall.houses.items()},
    )


class SandboxDesk:
    """Implements console.sandbox.Sandbox on a running hall."""

    def __init__(
        self, *, hall: Hall, populations: Mapping[str, Population], faults: Faults
    ) -> None:
        self._hall = hall
        self._populations = populations
        self._faults = faults
        self._phones: dict[str, tuple[int, list[Phone]]] = {}
        self._drills: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._surprises = Surprises(
            centre=hall.centre,
            faults=faults,
            markets=list(hall.houses),
            clock=hall.clock,
            random=Random(),  # noqa: S311  nobody's money hangs on it
        )
        self._surprise: asyncio.Task[None] | None = None

    def phones(self, market: str) -> list[Phone]:
        """Return customers and agents who may be played, customers first."""
        directory = self._hall.houses[market].branch.directory
        # Phones ask for their messages every two seconds: who they are is read when somebody new
        # has come.
        parties = directory.count()
        known = self._phones.get(market)
        if known is not None and known[0] == parties:
            return known[1]
        pin = self._populations[market].pin
        found: list[Phone] = []
        for role, most in ((Role.CUSTOMER, PHONES_MAX), (Role.AGENT, PHONES_MAX)):
            found += [
                Phone(
                    name=party.name,
                    phone=party.phone,
                    role=party.role.value,
                    pin=pin,
                    code=party.agent_code,
                )
                for party in directory.browse(role=role.value, limit=most)
            ]
        self._phones[market] = (parties, found)
        return found

    def inbox(self, market: str, phone: str) -> list[Text]:
        return [
            Text(at=each.at, text=each.text)
            for each in self._hall.houses[market].route.inbox(phone)
        ]

    def faults(self, market: str) -> list[FaultSwitch]:
        return [
            FaultSwitch(
                name=each.name,
                title=each.title,
                is_on=self._faults.is_on(market, each.name)
                and not self._surprises.is_hidden(market, each.name),
                has_drill=each.name in DETECTOR_OF,
            )
            for each in self._faults.list(market)
        ]

    def switch_fault(self, market: str, name: str, *, is_on: bool) -> None:
        self._faults.switch(market, name, is_on=is_on)

    def drill(self, market: str, name: str) -> None:
        """Start a drill; one that runs already is left alone."""
        running = self._drills.get((market, name))
        if name not in DETECTOR_OF or (running is not None and not running.done()):
            return
        self._drills[market, name] = asyncio.create_task(self._drill(market, name))

    def surprise(self) -> None:
        if self._surprise is None or self._surprise.done():
            self._surprise = asyncio.create_task(self._surprises.run(), name="surprise")
            self._surprise.add_done_callback(_tell_if_died)

    def surprised(self) -> Surprise | None:
        if self._surprise is not None and not self._surprise.done():
            return Surprise(is_running=True)
        return self._surprises.last

    async def close(self) -> None:
        tasks = [*self._drills.values(), *([self._surprise] if self._surprise else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _drill(self, market: str, name: str) -> None:
        drilled = await drill(
            centre=self._hall.centre,
            faults=self._faults,
            market=market,
            fault=name,
            clock=self._hall.clock,
        )
        log.info(
            "simulator.drill.done",
            market=market,
            fault=name,
            passed=drilled.is_passed,
            noticed_after_s=drilled.noticed_after_s,
        )


def _tell_if_died(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("simulator.surprise.died", exc_info=task.exception())
