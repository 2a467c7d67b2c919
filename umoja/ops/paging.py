"""Paging: an incident is pursued along its chain until somebody acknowledges it.

A regulator's clock that runs out is pursued in its own right, from the commander on, whoever has
acknowledged its incident. Pages are written in English and said in the language of whoever is paged.

What is due is decided by pure functions; every page is on the disk before it is sent, so that a kill
sends one again rather than none. A way that fails (a mail server that is away) is told in the
timeline and does not hold up the other ways or the next step.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import smtplib
import ssl
import unicodedata
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from email.message import EmailMessage
from functools import partial
from typing import Protocol

import msgspec
import structlog

from umoja.clock import Clock, to_micros
from umoja.faults import Fault, Unavailable
from umoja.ops.duty import Contact, Duty
from umoja.ops.incident import Incident, Post, Stage
from umoja.ops.incidents import Incidents
from umoja.ops.oncall import Chain, Step, chain_for, is_night, on_call
from umoja.reach import NotPublic, client, fetched
from umoja.storage.port import DatabaseDamaged, Row, Sql

ROUND_S = 2.0
TRIES_MAX = 5
TRY_AGAIN_S = (2, 5, 15, 30)
PAGE_FOR = timedelta(days=2)
WAITING_MAX = 1_000
SEND_WITHIN_S = 30.0
TOGETHER = 8  # pages on their way at the same time
COMMANDER_WAIT_S = 300
"""So long the commander has for a regulator's clock before the chain is paged."""

SMS_MAX = 160
GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡"
    "ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
"""The letters of a text message of 160; with any other one it has room for 70."""

_SECOND = 1_000_000
_MICROSECOND = timedelta(microseconds=1)

log = structlog.get_logger()


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """What a page says. `link` is where it is acknowledged, or ''."""

    subject: str
    short: str  # fits one text message
    body: str
    link: str
    incident: str
    severity: int
    market: str
    page: int


Say = Callable[[str], str]
"""Says an English sentence in somebody's language, or as it is where it has none."""


class Way(Protocol):
    """One way to reach a person. May be slow; is not asked twice at once for the same page."""

    async def send(self, contact: Contact, text: Text) -> None:
        """Hand a page over. Raise Unavailable where it was not taken: it is tried again."""
        ...


# Deciding


class Pursuit(msgspec.Struct, frozen=True, kw_only=True):
    """How far a chain has come with one incident. `next_at` is in microseconds."""

    incident: str
    chain: Chain
    step: int = 0
    round: int = 0
    next_at: int = 0
    ended_at: int = 0


def next_step(pursuit: Pursuit, *, now: int) -> tuple[Step | None, Pursuit]:
    """Return the step that is due and the pursuit behind it; None: nothing is due, or it is over."""
    if pursuit.ended_at or now < pursuit.next_at:
        return None, pursuit
    if pursuit.round >= pursuit.chain.rounds:
        return None, msgspec.structs.replace(pursuit, ended_at=now)
    step = pursuit.chain.steps[pursuit.step]
    is_last = pursuit.step + 1 == len(pursuit.chain.steps)
    after = msgspec.structs.replace(
        pursuit,
        step=0 if is_last else pursuit.step + 1,
        round=pursuit.round + 1 if is_last else pursuit.round,
        next_at=now + step.wait_s * _SECOND,
    )
    return step, after


def is_over(incident: Incident | None) -> bool:
    """Tell whether nobody need be paged any more."""
    if incident is None or incident.acknowledged_by or incident.parent:
        return True
    return incident.stage in {Stage.RESOLVED, Stage.REVIEWED}


class Reminder(msgspec.Struct, frozen=True, kw_only=True):
    """A regulator's clock that has passed a mark. Times are microseconds; 0: not yet."""

    number: int
    clock: int
    mark: int
    incident: str
    recipient: str
    due_at: int
    due: str  # in the market's time
    chain: Chain
    step: int = 0
    round: int = 0
    next_at: int = 0
    ended_at: int = 0
    taken_by: str = ""

    def words(self, now: int) -> str:
        """Return what it reminds of."""
        if now >= self.due_at:
            return f"{self.recipient} was to be told by {self.due}"
        return f"{self.recipient} is to be told by {self.due}"


def text_of(
    incident: Incident,
    *,
    value: str,
    link: str,
    page: int,
    reminds: str = "",
    say: Say = lambda text: text,
) -> Text:
    """Write a page. `value` is the money as people read it, or ''; `reminds` of what, where it does."""
    title = say(incident.title)
    head = f"S{incident.severity} {incident.market} {say(reminds) if reminds else title}"
    if value:
        harm = say(f"{incident.payments:,} payments, {incident.customers:,} customers, {value}")
    else:
        harm = say(f"{incident.payments:,} payments, {incident.customers:,} customers")
    cause = incident.sheet.cause
    why = " " + say(f"Cause: {cause.kind} {cause.name}.") if cause else ""
    evidence = say(incident.timeline[0].what) if incident.timeline else ""
    body = [f"{incident.id}: {head}", ""]
    body += [title] if reminds else []
    body += [evidence, harm + "." + why]
    body += [say(f"Changed lately: {each}") for each in incident.sheet.changed]
    if link:
        body += ["", say(f"Acknowledge: {link}")]
    # The link stays whole: what is too long gives way before it.
    room = SMS_MAX - len(incident.id) - len(link) - 3
    told = in_gsm(f"{head}. {harm}.")[: max(room, 20)]
    return Text(
        subject=f"[{incident.id}] {head}"[:150].replace("\n", " "),
        short=f"{incident.id} {told} {link}".strip(),
        body="\n".join(body),
        link=link,
        incident=incident.id,
        severity=incident.severity,
        market=incident.market,
        page=page,
    )


def in_gsm(text: str) -> str:
    """Return a text in the letters of a text message: an ê is an e, what has no likeness is a ?."""
    plain = text.replace("’", "'").replace("–", "-")
    likeness = (each if each in GSM else unicodedata.normalize("NFKD", each)[0] for each in plain)
    return "".join(each if each in GSM else "?" for each in likeness)


# Ways


class Console:
    """A page in the console itself: it is there as soon as it is kept."""

    async def send(self, contact: Contact, text: Text) -> None:
        """Do nothing: whoever is signed in sees the pages that wait for her."""


class Email:
    """Pages by a mail server (SMTP), with STARTTLS unless it is on this very machine."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        sender: str,
        user: str = "",
        password: str = "",
        is_plain: bool = False,
    ) -> None:
        self._host, self._port, self._sender = host, port, sender
        self._user, self._password, self._is_plain = user, password, is_plain

    async def send(self, contact: Contact, text: Text) -> None:
        if not contact.email:
            raise Unavailable(f"{contact.name} has no e-mail address")
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = (
            self._sender,
            contact.email,
            text.subject,
        )
        message["Message-ID"] = f"<page-{text.page}@umoja>"  # the same again where it is repeated
        message.set_content(text.body)
        try:
            await asyncio.to_thread(self._hand_over, message)
        except (OSError, smtplib.SMTPException) as cause:
            raise Unavailable(f"the mail server: {type(cause).__name__}") from cause

    def _hand_over(self, message: EmailMessage) -> None:
        with smtplib.SMTP(self._host, self._port, timeout=10) as server:
            if not self._is_plain:
                server.starttls(context=ssl.create_default_context())
            if self._user:
                server.login(self._user, self._password)
            server.send_message(message)


SendText = Callable[[str, str, str, str], Awaitable[None]]
"""Sends market, message id, phone and text by that market's own route; raises Unavailable."""


class Sms:
    """Pages as text messages, through our own routes."""

    def __init__(self, send: SendText) -> None:
        self._send = send

    async def send(self, contact: Contact, text: Text) -> None:
        if not contact.phone or not contact.market:
            raise Unavailable(f"{contact.name} has no phone, or no market to reach it by")
        await self._send(contact.market, f"page-{text.page}", contact.phone, text.short)


class Webhook:
    """Pages as signed JSON: headers `webhook-id`, `-timestamp`, `-signature` (Standard Webhooks)."""

    def __init__(self, *, clock: Clock, may_be_private: bool) -> None:
        self._clock = clock
        self._may_be_private = may_be_private

    async def send(self, contact: Contact, text: Text) -> None:
        if not contact.webhook:
            raise Unavailable(f"{contact.name} has no webhook")
        name = f"page-{text.page}"
        stamp = str(to_micros(self._clock.now()) // _SECOND)
        body = json.dumps(
            {"type": "page", "timestamp": stamp, "data": msgspec.to_builtins(text)}, sort_keys=True
        ).encode()
        digest = hmac.digest(contact.secret.encode(), f"{name}.{stamp}.".encode() + body, "sha256")
        async with client(may_be_private=self._may_be_private) as through:
            request = through.build_request(
                "POST",
                contact.webhook,
                content=body,
                headers={
                    "content-type": "application/json",
                    "webhook-id": name,
                    "webhook-timestamp": stamp,
                    "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
                },
            )
            try:
                status, _ = await fetched(through, request, most=64 * 1024)
            except NotPublic as cause:
                raise Unavailable(str(cause)) from cause
        if not 200 <= status < 300:
            raise Unavailable(f"the webhook answered {status}")


class _Absent:
    """A way that this installation has not configured: a page by it fails at once and says so."""

    def __init__(self, via: str) -> None:
        self._via = via

    async def send(self, contact: Contact, text: Text) -> None:  # noqa: ARG002  the port's form
        raise Unavailable(f"this installation has no {self._via}: it is not configured")


# Pursuing


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page as it stands. Times are microseconds; 0: not yet."""

    number: int
    incident: str
    person: str
    via: str
    made_at: int
    sent_at: int
    tries: int
    state: str
    trouble: str
    reminder: int = 0  # of a regulator's clock; 0: of the incident itself


class Pager:
    """Pursues incidents. One process runs it; `heard` may be called from any thread.

    `value` writes an incident's money for people; `address` is where this console is reached; `say`
    says an English text (second) in a language (first).
    """

    def __init__(
        self,
        database: Sql,
        *,
        clock: Clock,
        duty: Duty,
        incidents: Incidents,
        ways: Mapping[str, Way],
        address: str,
        value: Callable[[Incident], str] = lambda _: "",
        say: Callable[[str, str], str] = lambda _, text: text,
    ) -> None:
        """Take a migrated database. Pursuits and pages that were under way go on."""
        self._database = database
        self._clock = clock
        self._duty = duty
        self._incidents = incidents
        self.ways = dict(ways)
        self._address = address.rstrip("/")
        self._value = value
        self._say = say
        self._heard: deque[Incident] = deque(maxlen=WAITING_MAX)
        self._secrets: dict[int, str] = {}
        self._is_troubled = False

    def heard(self, incident: Incident) -> None:
        """Hear of an incident that was opened or came back. Never waits."""
        self._heard.append(incident)

    async def run(self) -> None:
        """Pursue, round after round, until cancelled."""
        while True:
            try:
                await self.step()
                self._is_troubled = False
            except (Fault, DatabaseDamaged) as cause:
                if not self._is_troubled:
                    log.error("ops.paging.waits", cause=str(cause))  # noqa: TRY400  expected
                self._is_troubled = True
            except Exception:
                log.exception("ops.paging.bug")
            await self._clock.sleep(ROUND_S)

    async def step(self) -> int:
        """Take up what was heard, make the pages that are due and send those that wait.

        Return how many were sent. Raise a Fault where the database cannot be used; nothing is lost.
        """
        await asyncio.to_thread(self._take_up)
        await asyncio.to_thread(self._make_due)
        await asyncio.to_thread(self._make_reminders_due)
        return await self._send_waiting()

    def pages(self, incident: str) -> list[Page]:
        """Return the pages of an incident, oldest first, at most 500."""
        return [
            _page(row)
            for row in self._database.query(
                "SELECT * FROM pages WHERE incident = :incident ORDER BY number LIMIT 500",
                incident=incident,
            )
        ]

    def waiting_for(self, person: str) -> list[Page]:
        """Return the pages that a person has not acknowledged, of incidents that nobody has taken."""
        rows = self._database.query(
            "SELECT * FROM pages WHERE person = :person AND state IN ('waiting', 'sent')"
            " AND made_at > :since ORDER BY number DESC LIMIT 50",
            person=person,
            since=to_micros(self._clock.now() - PAGE_FOR),
        )
        return [page for page in map(_page, rows) if not self._is_over(page)]

    def _is_over(self, page: Page) -> bool:
        """Tell whether what a page is about waits for nobody any more."""
        if not page.reminder:
            return is_over(self._incidents.get(page.incident))
        found = self.reminder_of(page)
        return found is None or found.ended_at > 0

    def page_of(self, secret: str) -> Page | None:
        """Return the page behind the secret of its link, for two days, or None."""
        row = self._database.one(
            "SELECT * FROM pages WHERE digest = :digest AND made_at > :since",
            digest=_digest(secret[:200]),
            since=to_micros(self._clock.now() - PAGE_FOR),
        )
        return None if row is None else _page(row)

    def acknowledge(self, secret: str) -> Incident | None:
        """Acknowledge by the secret of a page's link; repeating is harmless. None: there is no such page."""
        page = self.page_of(secret)
        return None if page is None else self.take(page)

    def take(self, page: Page) -> Incident:
        """Acknowledge what a page is about, as whoever was paged; repeating is harmless."""
        incident = self._incidents.acknowledge(page.incident, actor=page.person)
        with self._database.transaction():
            self._database.run(
                "UPDATE pages SET state = 'acknowledged' WHERE number = :number",
                number=page.number,
            )
            taken = page.reminder and self._database.run(
                "UPDATE reminders SET ended_at = :now, taken_by = :who"
                " WHERE number = :number AND ended_at = 0",
                now=to_micros(self._clock.now()),
                who=page.person,
                number=page.reminder,
            )
        if taken:
            self._incidents.tell(
                page.incident, what=f"regulator clock: {page.person} sees to the notice"
            )
        return incident

    # Regulators' clocks

    def remind_inside(
        self, incident: Incident, *, clock: int, mark: int, recipient: str, due_at: int, due: str
    ) -> None:
        """Pursue a clock that has passed a mark, in the caller's transaction; once for each mark.

        Its commander is paged first, or whoever has acknowledged the incident; then the chain of the
        gravest incidents of its market. A reminder of an earlier mark ends with it.
        """
        chain = chain_for(self._duty.chains(), market=incident.market, severity=1)
        steps = chain.steps if chain is not None else ()
        first = incident.sheet.roles.get(Post.COMMANDER.value) or incident.acknowledged_by
        if first:
            via = _ways_to(self._duty.contact(first))
            steps = (Step(person=first, via=via, wait_s=COMMANDER_WAIT_S), *steps)
        if not steps:
            return
        pursued = Chain(
            name="regulator clock",
            markets=(incident.market,),
            steps=steps,
            rounds=chain.rounds if chain is not None else 3,
        )
        self.forget_inside([clock])
        self._database.run(
            "INSERT INTO reminders (clock, mark, incident, recipient, due_at, due, chain, step,"
            " round, next_at, ended_at, taken_by) VALUES (:clock, :mark, :incident, :recipient,"
            " :due_at, :due, :chain, 0, 0, 0, 0, '') ON CONFLICT (clock, mark) DO NOTHING",
            clock=clock,
            mark=mark,
            incident=incident.id,
            recipient=recipient,
            due_at=due_at,
            due=due,
            chain=msgspec.json.encode(pursued).decode(),
        )

    def forget_inside(self, clocks: Sequence[int]) -> None:
        """Pursue clocks no longer, in the caller's transaction: their notices were sent."""
        for clock in clocks:
            self._database.run(
                "UPDATE reminders SET ended_at = :now WHERE clock = :clock AND ended_at = 0",
                now=to_micros(self._clock.now()),
                clock=clock,
            )

    def reminder_of(self, page: Page) -> Reminder | None:
        """Return what a page reminds of, or None where it is of the incident itself."""
        if not page.reminder:
            return None
        row = self._database.one(
            "SELECT * FROM reminders WHERE number = :number", number=page.reminder
        )
        return None if row is None else _reminder(row)

    def _make_reminders_due(self) -> None:
        now = self._clock.now()
        stamp = to_micros(now)
        rows = self._database.query(
            "SELECT * FROM reminders WHERE ended_at = 0 AND next_at <= :now"
            " ORDER BY number LIMIT 200",
            now=stamp,
        )
        for found in map(_reminder, rows):
            incident = self._incidents.get(found.incident)
            pursuit = Pursuit(
                incident=found.incident,
                chain=found.chain,
                step=found.step,
                round=found.round,
                next_at=found.next_at,
            )
            step, after = next_step(pursuit, now=stamp)
            people: list[str] = []
            told = ""
            if step is not None and incident is not None:
                people, told = self._people(step, incident, now)
            elif after.ended_at:
                told = "nobody has acknowledged: every step of the chain was tried"
            pages = [(who, via) for who in people for via in (step.via if step else ())]
            with self._database.transaction():
                changed = self._database.run(
                    "UPDATE reminders SET step = :step, round = :round, next_at = :next_at,"
                    " ended_at = :ended_at WHERE number = :number AND ended_at = 0",
                    step=after.step,
                    round=after.round,
                    next_at=after.next_at,
                    ended_at=after.ended_at,
                    number=found.number,
                )
                if not changed:
                    continue  # the notice was sent a moment ago
                for person, via in pages:
                    self._insert(found.incident, person, via, reminder=found.number)
            for person, via in pages:
                self._incidents.tell(found.incident, what=f"paging {person} by {via}")
            if told:
                self._incidents.tell(found.incident, what=told)

    # Within a step

    def _take_up(self) -> None:
        while self._heard:
            incident = self._heard[0]
            chain = chain_for(
                self._duty.chains(), market=incident.market, severity=incident.severity
            )
            if chain is not None and not is_over(incident):
                self._database.run(
                    "INSERT INTO pursuits (incident, chain, step, round, next_at, ended_at)"
                    " VALUES (:incident, :chain, 0, 0, 0, 0) ON CONFLICT (incident) DO UPDATE SET"
                    " chain = excluded.chain, step = 0, round = 0, next_at = 0, ended_at = 0",
                    incident=incident.id,
                    chain=msgspec.json.encode(chain).decode(),
                )
            self._heard.popleft()  # only now: what could not be kept is taken up again
        self._take_up_graver()

    def _take_up_graver(self) -> None:
        """Pursue incidents that were too light for a chain when they were opened, and are not now."""
        chains = self._duty.chains()
        known = {row["incident"] for row in self._database.query("SELECT incident FROM pursuits")}
        for incident in self._incidents.open_ones():
            if incident.id in known or is_over(incident):
                continue
            chain = chain_for(chains, market=incident.market, severity=incident.severity)
            if chain is not None:
                self._database.run(
                    "INSERT INTO pursuits (incident, chain, step, round, next_at, ended_at)"
                    " VALUES (:incident, :chain, 0, 0, 0, 0) ON CONFLICT (incident) DO NOTHING",
                    incident=incident.id,
                    chain=msgspec.json.encode(chain).decode(),
                )

    def _make_due(self) -> None:
        now = self._clock.now()
        stamp = to_micros(now)
        rows = self._database.query(
            "SELECT * FROM pursuits WHERE ended_at = 0 AND next_at <= :now LIMIT 200", now=stamp
        )
        for row in rows:
            pursuit = Pursuit(
                incident=row["incident"],
                chain=msgspec.json.decode(row["chain"], type=Chain),
                step=row["step"],
                round=row["round"],
                next_at=row["next_at"],
            )
            incident = self._incidents.get(pursuit.incident)
            if incident is None or is_over(incident):
                self._keep(msgspec.structs.replace(pursuit, ended_at=stamp), incident, [], "")
                continue
            step, after = next_step(pursuit, now=stamp)
            if step is None:
                told = "nobody has acknowledged: every step of the chain was tried"
                self._keep(after, incident, [], told if after.ended_at else "")
                continue
            people, trouble = self._people(step, incident, now)
            self._keep(after, incident, [(who, via) for who in people for via in step.via], trouble)

    def _people(self, step: Step, incident: Incident, now: datetime) -> tuple[list[str], str]:
        if step.person:
            person = step.person
        else:
            roster = self._duty.roster(step.roster)
            found = on_call(roster, self._duty.overrides(), now) if roster else None
            if found is None:
                return [], f"nobody is on call in {step.roster}"
            person = found[0]
        zone = self._duty.contact(person).zone
        if step.only_by_day and incident.severity > 1 and is_night(now, zone):
            return [], f"{person} is not paged at night"
        return [person], ""

    def _keep(
        self,
        pursuit: Pursuit,
        incident: Incident | None,
        pages: Sequence[tuple[str, str]],
        told: str,
    ) -> None:
        """Write the pursuit and its new pages together, and say so in the timeline."""
        with self._database.transaction():
            self._database.run(
                "UPDATE pursuits SET step = :step, round = :round, next_at = :next_at,"
                " ended_at = :ended_at WHERE incident = :incident",
                incident=pursuit.incident,
                step=pursuit.step,
                round=pursuit.round,
                next_at=pursuit.next_at,
                ended_at=pursuit.ended_at,
            )
            for person, via in pages:
                self._insert(pursuit.incident, person, via, reminder=0)
        if incident is not None:
            for person, via in pages:
                self._incidents.tell(incident.id, what=f"paging {person} by {via}")
            if told:
                self._incidents.tell(incident.id, what=told)

    def _insert(self, incident: str, person: str, via: str, *, reminder: int) -> None:
        """Write a page that waits to be sent, in the caller's transaction."""
        secret = secrets.token_urlsafe(24)
        rows = self._database.query(
            "INSERT INTO pages (incident, person, via, digest, made_at, sent_at, tries, state,"
            " trouble, reminder) VALUES (:incident, :person, :via, :digest, :now, 0, 0, 'waiting',"
            " '', :reminder) RETURNING number",
            incident=incident,
            person=person,
            via=via,
            digest=_digest(secret),
            now=to_micros(self._clock.now()),
            reminder=reminder,
        )
        self._secrets[int(rows[0]["number"])] = secret

    async def _send_waiting(self) -> int:
        now = to_micros(self._clock.now())
        rows = await asyncio.to_thread(
            self._database.query,
            "SELECT * FROM pages WHERE state = 'waiting' AND sent_at <= :now"
            " ORDER BY number LIMIT 100",
            now=now,
        )
        together = asyncio.Semaphore(TOGETHER)

        async def one(page: Page) -> bool:
            async with together:
                return await self._send(page)

        sent = await asyncio.gather(*[one(_page(row)) for row in rows])
        return sum(sent)

    async def _send(self, page: Page) -> bool:
        """Send one page and note what came of it; tell whether it was taken."""
        incident = self._incidents.get(page.incident)
        reminder = await asyncio.to_thread(self.reminder_of, page)
        if incident is None or (
            reminder.ended_at > 0 if reminder is not None else is_over(incident)
        ):
            await self._note(page, "failed" if incident is None else "acknowledged", "", 0)
            return False
        secret = self._secrets.get(page.number, "")
        if not secret:  # made by a process that is gone: it gets a new link
            secret = secrets.token_urlsafe(24)
            await asyncio.to_thread(
                self._database.run,
                "UPDATE pages SET digest = :digest WHERE number = :number",
                digest=_digest(secret),
                number=page.number,
            )
        link = f"{self._address}/pages/{secret}"
        way = self.ways.get(page.via) or _Absent(page.via)
        try:
            contact = await asyncio.to_thread(self._duty.contact, page.person)
            text = text_of(
                incident,
                value=self._value(incident),
                link=link,
                page=page.number,
                reminds=reminder.words(to_micros(self._clock.now())) if reminder else "",
                say=partial(self._say, contact.language),
            )
            async with asyncio.timeout(SEND_WITHIN_S):
                await way.send(contact, text)
        except Exception as cause:  # noqa: BLE001  a way may break in any manner; the others go on
            trouble = str(cause) if isinstance(cause, Fault) else type(cause).__name__
            is_last = page.tries + 1 >= TRIES_MAX or isinstance(way, _Absent)
            again = 0 if is_last else TRY_AGAIN_S[min(page.tries, len(TRY_AGAIN_S) - 1)]
            await self._note(page, "failed" if is_last else "waiting", trouble, again)
            if is_last:
                self._secrets.pop(page.number, None)
                self._incidents.tell(
                    page.incident, what=f"{page.person} was not reached by {page.via}: {trouble}"
                )
            return False
        self._secrets.pop(page.number, None)
        await self._note(page, "sent", "", 0)
        return True

    async def _note(self, page: Page, state: str, trouble: str, again_s: int) -> None:
        await asyncio.to_thread(
            self._database.run,
            "UPDATE pages SET state = :state, tries = tries + 1, sent_at = :at,"
            " trouble = :trouble WHERE number = :number AND state <> 'acknowledged'",
            state=state,
            at=to_micros(self._clock.now()) + again_s * _SECOND,
            trouble=trouble[:200],
            number=page.number,
        )


def _page(row: Row) -> Page:
    return Page(
        number=row["number"],
        incident=row["incident"],
        person=row["person"],
        via=row["via"],
        made_at=row["made_at"],
        sent_at=row["sent_at"],
        tries=row["tries"],
        state=row["state"],
        trouble=row["trouble"],
        reminder=row["reminder"],
    )


def _reminder(row: Row) -> Reminder:
    chain = msgspec.json.decode(row["chain"], type=Chain)
    return msgspec.convert(dict(row) | {"chain": chain}, Reminder)


def _ways_to(contact: Contact) -> tuple[str, ...]:
    """Return every way by which somebody is reached: a clock that runs out is no time to choose."""
    ways = {"email": contact.email, "sms": contact.phone, "webhook": contact.webhook}
    return ("console", *(via for via, address in ways.items() if address))


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
