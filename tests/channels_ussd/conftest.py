"""A handset that dials as a gateway does: everything typed so far, joined by stars, at each key."""

import itertools
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from tests.stage import Stage, raised
from umoja.channels.ussd import Ussd
from umoja.markets.texts import Texts
from umoja.parties.party import Party, Role


@dataclass
class Handset:
    stage: Stage
    ussd: Ussd
    seen: list[str] = field(default_factory=list)
    sessions: itertools.count = field(default_factory=lambda: itertools.count(1))

    async def dial(self, party: Party, *keys: str, session: str = "") -> str:
        """Dial and type: return the last screen; `seen` has all of them."""
        session = session or f"session-{next(self.sessions)}"
        screen = ""
        for typed in range(len(keys) + 1):
            screen = await self.send(party.phone, "*".join(keys[:typed]), session=session)
        return screen

    async def send(self, phone: str, text: str, *, session: str = "alone") -> str:
        screen = await self.ussd.answer(
            market=self.stage.market.code,
            session=session,
            service_code=self.stage.market.ussd_code,
            phone="+" + phone,
            text=text,
        )
        self.seen.append(screen)
        return screen

    def customer(self, name: str, *, money: int = 0, language: str = "en") -> Party:
        party = self.stage.customer(name)
        party = self.speaks(party, language)
        self.stage.store.set_pin(party.id, self.pin)
        if money:
            self.stage.give_money(party, money)
        return party

    def outlet(self, *, float_minor: int = 0, language: str = "en") -> Party:
        party = self.speaks(self.stage.outlet(), language)
        self.stage.store.set_pin(party.id, self.pin)
        if float_minor:
            self.stage.give_float(party, float_minor)
        return party

    def assistant(self, outlet: Party, *, code: str, pin: str) -> Party:
        party = Party(id=0, role=Role.ASSISTANT, name="Neema", parent=outlet.id, operator_code=code)
        return self.stage.store.register(party, pin=pin)

    def speaks(self, party: Party, language: str) -> Party:
        changed = msgspec.structs.replace(party, language=language)
        self.stage.store.update(changed)
        return changed

    @property
    def pin(self) -> str:
        return "135790"[: self.stage.market.pin_digits]


@pytest.fixture
def handset_of(tmp_path: Path):
    stages: list[Stage] = []

    def make(code: str, engine: str = "memory") -> Handset:
        stage = raised(code, tmp_path / f"{code}-{len(stages)}", engine=engine)
        stages.append(stage)
        branches = {code: stage.branch}
        return Handset(stage, Ussd(branches=branches, texts=Texts.load(), clock=stage.clock))

    yield make
    for stage in stages:
        stage.close()


@pytest.fixture
def ke(handset_of) -> Handset:
    return handset_of("KE")
