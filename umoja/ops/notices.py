"""Notices: what customers who tried are told by SMS of an incident, and the line above their menu.

Who they are is found in their market; the centre knows how many. The line stands among the switches,
so that it outlives the centre's absence; it goes when its incident is over.
"""

import asyncio
from collections.abc import Sequence

import msgspec
import structlog

from umoja.clock import Clock, to_micros
from umoja.faults import Fault
from umoja.ops.audit import AuditLog
from umoja.ops.incident import Incident
from umoja.ops.incidents import Incidents
from umoja.ops.make_good import Asker, nobody, window_of
from umoja.ops.staff import Staff
from umoja.signals import Reached, TellTried
from umoja.storage.port import DatabaseDamaged, Sql
from umoja.switches import NOTICE, Switches

KINDS = ("trouble", "over")
"""That something is disturbed, and that it works again."""

SENT_MAX = 200  # of one incident
LOOK_EVERY_S = 5.0
EVERYTHING = "*"
SYSTEM = "system"

log = structlog.get_logger()


class NoticeRefused(ValueError):
    """A notice cannot be sent or shown. It says why."""


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """One notice that was sent: to how many, and how many had been told before or have no phone."""

    number: int
    incident: str
    market: str
    product: str
    kind: str
    told: int
    told_before: int
    unreachable: int
    sent_by: str
    sent_at: int


class Notices:
    """Sends notices and shows the line. Acts of people raise NoticeRefused or a Fault.

    The line is shown, hidden and looked after in the event loop: switches are told by its sockets.
    """

    def __init__(
        self,
        database: Sql,
        *,
        clock: Clock,
        incidents: Incidents,
        staff: Staff,
        audit: AuditLog,
        switches: Switches,
        ask: Asker = nobody,
    ) -> None:
        self._database = database
        self._clock = clock
        self._incidents = incidents
        self._staff = staff
        self._audit = audit
        self._switches = switches
        self._ask = ask

    def of_incident(self, incident: str) -> list[Sent]:
        """Return what was sent for an incident, newest first."""
        rows = self._database.query(
            "SELECT * FROM customer_notices WHERE incident = :incident"
            " ORDER BY number DESC LIMIT :most",
            incident=incident,
            most=SENT_MAX,
        )
        return [msgspec.convert(dict(row), Sent) for row in rows]

    async def count(self, incident: Incident, kind: str) -> Reached:
        """Return whom a notice would reach now. Nothing is sent."""
        return await self._asked(incident, kind, is_rehearsal=True)

    async def send(self, incident: Incident, kind: str, *, actor: str) -> Reached:
        """Tell those who tried and were not told of this yet; again for who tried since.

        Where no answer came some may have been told: the same call goes on, and tells nobody twice.
        """
        if kind not in KINDS:
            raise NoticeRefused(f"a notice is one of {', '.join(KINDS)}")
        await asyncio.to_thread(self._require, actor, incident.market)
        if len(await asyncio.to_thread(self.of_incident, incident.id)) >= SENT_MAX:
            raise NoticeRefused(f"an incident has at most {SENT_MAX} notices")
        reached = await self._asked(incident, kind, is_rehearsal=False)
        await asyncio.to_thread(self._note, incident, kind, reached, actor)
        customers = "1 customer" if reached.told == 1 else f"{reached.told:,} customers"
        self._incidents.tell(
            incident.id, what=f"notice “{kind}” by SMS to {customers} who tried", actor=actor
        )
        return reached

    async def _asked(self, incident: Incident, kind: str, *, is_rehearsal: bool) -> Reached:
        since, until = window_of(incident, to_micros(self._clock.now()))
        reached = await self._ask(
            incident.market,
            TellTried(
                incident=incident.id,
                kind=kind,
                product=incident.product,
                since=since,
                until=until,
                is_rehearsal=is_rehearsal,
            ),
        )
        assert isinstance(reached, Reached), "a market answers what it was asked"
        return reached

    def _note(self, incident: Incident, kind: str, reached: Reached, actor: str) -> None:
        with self._database.transaction():
            self._database.run(
                "INSERT INTO customer_notices (incident, market, product, kind, told, told_before,"
                " unreachable, sent_by, sent_at) VALUES (:incident, :market, :product, :kind,"
                " :told, :before, :unreachable, :actor, :now)",
                incident=incident.id,
                market=incident.market,
                product=incident.product,
                kind=kind,
                told=reached.told,
                before=reached.before,
                unreachable=reached.unreachable,
                actor=actor,
                now=to_micros(self._clock.now()),
            )
            self._audit.record_inside(
                actor=actor,
                action="notice_sent",
                market=incident.market,
                detail=f"{incident.id} {kind}: told {reached.told}",
            )

    # The line above the menu

    def is_shown(self, incident: Incident) -> bool:
        """Tell whether customers see a line above their menu because of this incident's product."""
        return (incident.market, _switch(incident)) in self._switches.stopped

    def show(self, incident: Incident, *, actor: str) -> None:
        """Show the line until it is hidden or the incident is over. A repeat changes nothing."""
        self._require(actor, incident.market)
        if not incident.is_open:
            raise NoticeRefused("the incident is over: there is nothing to warn of")
        if self.is_shown(incident):
            return
        self._switches.stop(market=incident.market, product=_switch(incident), reason=incident.id)
        self._tell(incident, "line above the menu shown", "notice_shown", actor)

    def hide(self, incident: Incident, *, actor: str) -> None:
        """Take the line away. A repeat changes nothing."""
        self._require(actor, incident.market)
        if self.is_shown(incident):
            self._switches.open(market=incident.market, product=_switch(incident))
            self._tell(incident, "line above the menu taken away", "notice_hidden", actor)

    def shown(self) -> Sequence[tuple[str, str, str]]:
        """Return the lines that are shown: market, product (`*`: all), incident."""
        return sorted(
            (market, product.removeprefix(NOTICE), incident)
            for (market, product), incident in self._switches.stopped.items()
            if product.startswith(NOTICE)
        )

    async def run(self) -> None:
        """Take away the lines of incidents that are over, until cancelled."""
        while True:
            self.look()  # in the loop: switches tell the markets by sockets of the loop
            await self._clock.sleep(LOOK_EVERY_S)

    def look(self) -> None:
        """Take away the lines whose incident is over. Raises no Fault: it is looked at again."""
        try:
            for market, product, name in self.shown():
                incident = self._incidents.get(name)
                if incident is not None and incident.is_open:
                    continue
                self._switches.open(market=market, product=NOTICE + product)
                if incident is not None:
                    what = "line above the menu taken away"
                    self._tell(incident, what, "notice_hidden", SYSTEM)
        except (Fault, DatabaseDamaged) as cause:
            log.warning("ops.notices.not_looked", cause=str(cause))

    def _tell(self, incident: Incident, what: str, action: str, actor: str) -> None:
        self._audit.record(actor=actor, action=action, market=incident.market, detail=incident.id)
        self._incidents.tell(incident.id, what=what, actor=actor)

    def _require(self, actor: str, market: str) -> None:
        if not self._staff.may(self._staff.named(actor), "publish", market):
            raise NoticeRefused(f"{actor} may not tell customers of {market}")


def _switch(incident: Incident) -> str:
    return NOTICE + (incident.product or EVERYTHING)
