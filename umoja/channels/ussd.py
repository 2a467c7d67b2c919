"""USSD: the phone's own menus, behind the callback that gateways commonly make.

At each key press the gateway posts everything typed so far, joined by `*`; the answer begins with
CON (the session goes on) or END. The visit is replayed each time, so any process can answer. What
costs is done once: a payment's idempotency key is made of phone, session and product, and the last
answer of a session is remembered for a repeated callback.

The PIN is the last thing typed and stands in `text`: texts are never logged and never kept, except
as a keyed digest.
"""

import asyncio
import hashlib
import hmac
import secrets
import traceback
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import structlog
from litestar import MediaType, Request, Response, post
from litestar.handlers import HTTPRouteHandler

from umoja.channels.native_call import Told
from umoja.channels.ussd_menus import (
    MENUS,
    PAYMENTS,
    RESUME,
    SECRET,
    Scene,
    Spot,
    choices,
    currency_of,
    parent_of,
    question,
    root_of,
    serves_operators,
    walk,
)
from umoja.clock import Clock, from_micros
from umoja.faults import OutcomeUnknown, Unavailable
from umoja.markets.texts import (
    LAST_RESORT,
    NAME_MIN,
    SCREEN_MAX,
    Texts,
    characters,
    clean,
    clipped,
)
from umoja.money import Money
from umoja.parties.directory import PinUnfit
from umoja.parties.party import SYSTEM, Party, PinOutcome, Role, Status
from umoja.payments.branch import Branch
from umoja.payments.lifecycle import REVERSAL_WINDOW_H, Step
from umoja.payments.noticing import notice_text
from umoja.payments.order import Ask, Consent, Decline, Order, Quote, Reverse, State
from umoja.payments.wallets import Line
from umoja.signals import CallbacksSeen, SessionsSeen

CHANNEL = "ussd"
TEXT_MAX = 500
SESSION_MAX = 80
BODY_MAX = 4096
VISITS_MAX = 50_000
REPEATED_MAX = 10_000  # callbacks that are known to have come twice
RESUME_WITHIN_S = 180.0
TELL_EVERY_S = 1.0
STATEMENT_LINES = 5
UNDO_LOOKS_BACK = 50  # movements among which the last send is looked for
PLAIN = "text/plain; charset=utf-8"
SECRET_HEADER = "X-Umoja-Secret"  # noqa: S105  the header's name, not what it holds

DECLINED: dict[Decline, str] = {
    Decline.MALFORMED: "refused.other",
    Decline.PRODUCT_UNKNOWN: "refused.other",
    Decline.PRODUCT_STOPPED: "refused.stopped",
    Decline.NOT_OFFERED: "refused.not_offered",
    Decline.CURRENCY_UNKNOWN: "refused.other",
    Decline.AMOUNT_TOO_PRECISE: "refused.too_precise",
    Decline.AMOUNT_TOO_SMALL: "refused.too_small",
    Decline.AMOUNT_TOO_LARGE: "refused.too_large",
    Decline.PAYER_UNKNOWN: "refused.payer_barred",
    Decline.PAYER_BARRED: "refused.payer_barred",
    Decline.PAYEE_UNKNOWN: "refused.payee_unknown",
    Decline.PAYEE_BARRED: "refused.payee_barred",
    Decline.SAME_PARTY: "refused.same_party",
    Decline.REFERENCE_MISSING: "refused.reference_missing",
    Decline.PIN_WRONG: "refused.pin_wrong",
    Decline.PIN_LOCKED: "refused.pin_locked",
    Decline.PIN_NOT_SET: "refused.pin_not_set",
    Decline.SIM_SWAPPED: "refused.sim_swapped",
    Decline.NOT_ENOUGH: "refused.not_enough",
    Decline.AGENT_FLOAT_SHORT: "refused.float_short",
    Decline.LIMIT_DAILY: "refused.limit_daily",
    Decline.LIMIT_MONTHLY: "refused.limit_monthly",
    Decline.LIMIT_YEARLY: "refused.limit_yearly",
    Decline.LIMIT_COUNT: "refused.limit_count",
    Decline.LIMIT_PAYEE_BALANCE: "refused.limit_payee",
    Decline.KEY_REUSED: "refused.other",
    Decline.ORDER_UNKNOWN: "refused.other",
    Decline.ORDER_EXPIRED: "refused.expired",
    Decline.ORDER_CANCELLED: "refused.other",
    Decline.NOT_ALLOWED: "refused.other",
    Decline.TOO_LATE: "refused.too_late",
    Decline.NOT_REVERSIBLE: "refused.not_reversible",
    Decline.MONEY_GONE: "refused.money_gone",
    Decline.PARTNER_REFUSED: "refused.partner",
    Decline.PARTNER_FAILED: "refused.partner",
    Decline.BOOKS_BROKEN: "refused.stopped",
}
"""What a customer is told about each refusal."""

_PIN_DECLINES = {
    PinOutcome.WRONG: Decline.PIN_WRONG,
    PinOutcome.LOCKED: Decline.PIN_LOCKED,
    PinOutcome.NOT_SET: Decline.PIN_NOT_SET,
}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """What the phone shows. `shown` is the order it is about; `is_sure` False is not remembered."""

    text: str
    goes_on: bool = False
    shown: str = ""
    is_sure: bool = True


@dataclass(slots=True, kw_only=True)
class Visit:
    """The last session of one phone. It holds no PIN: `spot` is kept only where none was typed."""

    session: str
    at_s: float
    digest: bytes
    answer: str = ""
    spot: Spot | None = None
    resumed: Spot | None = None
    shown: str = ""
    is_open: bool = True  # its end was not counted yet


class Ussd:
    """Answers the callbacks of every market."""

    def __init__(
        self,
        *,
        branches: dict[str, Branch],
        texts: Texts,
        clock: Clock,
        noticed: Callable[[str], Sequence[str]] = lambda _: (),
        tell: Callable[[SessionsSeen | CallbacksSeen], None] = lambda _: None,
    ) -> None:
        """Take the markets. `noticed` names the products (or `*`) that a market's callers are warned of.

        `tell` is told what became of sessions and how many callbacks came, at most once a second and
        market; it must not wait.
        """
        self._branches = branches
        self._texts = texts
        self._clock = clock
        self._noticed = noticed
        self._visits: OrderedDict[tuple[str, str], Visit] = OrderedDict()
        self._running: dict[bytes, asyncio.Task[str]] = {}
        self._repeated: OrderedDict[bytes, None] = OrderedDict()  # callbacks that came again
        self._key = secrets.token_bytes(32)
        self._tell = tell
        self._counts: dict[str, Counter[str]] = {}
        self._calls: dict[
            str, list[int]
        ] = {}  # since the last look: all, and those that came twice
        self._told_s = 0.0

    def look(self) -> None:
        """Tell what became of sessions since the last look. Call it every few seconds."""
        now_s = self._told_s = self._clock.ticks_s()
        while self._visits:
            who, visit = next(iter(self._visits.items()))
            if now_s - visit.at_s <= RESUME_WITHIN_S:
                break
            del self._visits[who]
            if visit.is_open:
                self._count(who[0], "lapsed")
        counts, self._counts = self._counts, {}
        for market, counted in counts.items():
            self._tell(SessionsSeen(market=market, channel=CHANNEL, **counted))
        calls, self._calls = self._calls, {}
        for market, (tried, doubled) in calls.items():
            self._tell(
                CallbacksSeen(
                    market=market, channel=CHANNEL, partner=CHANNEL, tried=tried, doubled=doubled
                )
            )

    def _count(self, market: str, what: str) -> None:
        self._counts.setdefault(market, Counter())[what] += 1
        if self._clock.ticks_s() - self._told_s >= TELL_EVERY_S and what != "lapsed":
            self.look()

    def _repeats(self, market: str, digest: bytes) -> None:
        """Count a callback that comes twice; who gets no answer asks thrice, and that is one still."""
        if digest in self._repeated:
            return
        self._repeated[digest] = None
        if len(self._repeated) > REPEATED_MAX:
            self._repeated.popitem(last=False)
        self._calls.setdefault(market, [0, 0])[1] += 1

    async def answer(
        self, *, market: str, session: str, service_code: str, phone: str, text: str
    ) -> str:
        """Return 'CON …' or 'END …', at most 160 UTF-16 units, whatever comes in.

        Repeating a call is harmless: the same session and text get the same answer, at the same
        time or later, and a payment is made once.
        """
        branch = self._branches.get(market)
        if branch is None:
            return _end(self._texts.say(LAST_RESORT, "end.garbled"))
        speaks = self._texts.language(branch.market)
        if not session or len(session) > SESSION_MAX or len(text) > TEXT_MAX:
            return _end(self._texts.say(speaks, "end.garbled"))
        number = branch.market.phone_number(phone)
        if number is None:
            return _end(self._texts.say(speaks, "end.garbled"))
        del service_code  # one menu a market: the code says nothing more
        digest = self._digest(market, number, session, text)
        running = self._running.get(digest)
        self._calls.setdefault(market, [0, 0])[0] += 1
        if running is not None:
            self._repeats(market, digest)
        else:
            running = asyncio.create_task(self._guarded(branch, number, session, text, digest))
            self._running[digest] = running
            running.add_done_callback(lambda _: self._running.pop(digest, None))
        # A gateway that hangs up must not stop a payment halfway.
        return await asyncio.shield(running)

    def _digest(self, *parts: str) -> bytes:
        whole = "\0".join(parts).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(whole, key=self._key, digest_size=16).digest()

    async def _guarded(
        self, branch: Branch, phone: str, session: str, text: str, digest: bytes
    ) -> str:
        try:
            return await self._visited(branch, phone, session, text, digest)
        except Exception as cause:  # noqa: BLE001  a phone shows what we say, whatever broke
            # Neither the message nor the locals: they may hold a PIN.
            places = "".join(traceback.format_tb(cause.__traceback__)[-3:])
            kind = type(cause).__name__
            log.error("channels.ussd.bug", market=branch.market.code, kind=kind, places=places)  # noqa: TRY400
            self._end_visit(branch.market.code, phone, session, "failed")
            return _end(self._texts.say(self._texts.language(branch.market), "end.unknown"))

    async def _visited(
        self, branch: Branch, phone: str, session: str, text: str, digest: bytes
    ) -> str:
        party = branch.directory.by_phone(phone)
        if party is None:
            speaks = self._texts.language(branch.market)
            brand = branch.market.brand
            return _end(self._texts.fit(speaks, "end.unregistered", limit=_BODY, brand=brand))
        speaks = self._texts.language(branch.market, party.language)
        if party.status is not Status.ACTIVE:
            return _end(self._texts.say(speaks, "refused.payer_barred"))
        visit, is_repeat = self._visit(branch.market.code, phone, session, text, digest)
        if is_repeat:
            self._repeats(branch.market.code, digest)
            return visit.answer
        has_pin = branch.directory.has_pin(party.id) or (
            party.role is Role.AGENT and bool(branch.directory.children(party.id))
        )
        scene = Scene(
            market=branch.market,
            directory=branch.directory,
            texts=self._texts,
            party=party,
            language=speaks,
            root=root_of(party, has_pin=has_pin),
            resumed=visit.resumed,
        )
        start = Spot(place=RESUME if visit.resumed and has_pin else scene.root)
        spot = walk(scene, start, text.split("*") if text else [])
        caller = _Caller(
            branch=branch,
            scene=scene,
            clock=self._clock,
            session=session,
            noticed=self._noticed(branch.market.code),
        )
        if spot is None:
            self._end_visit(branch.market.code, phone, session, "ended")
            return _end(caller.say("end.garbled"))
        # Before anything is done the visit is over, so that who dials again meanwhile is not
        # asked to go on with what is being done.
        visit.spot = None
        if spot.is_full:
            screen = await caller.finish(spot, visit.shown)
        else:
            screen = await caller.asked(spot, visit.shown)
            if screen.goes_on:
                visit.spot = _kept(spot, visit.resumed)
        visit.shown = screen.shown
        answer = f"{'CON' if screen.goes_on else 'END'} {screen.text}"
        assert characters(answer) <= SCREEN_MAX, "a screen fits"
        visit.digest, visit.answer = digest, answer if screen.is_sure else ""
        if not screen.goes_on:
            outcome = "ended" if screen.is_sure else "failed"
            self._end_visit(branch.market.code, phone, session, outcome)
        return answer

    def _end_visit(self, market: str, phone: str, session: str, what: str) -> None:
        """Count the end of a session, once."""
        visit = self._visits.get((market, phone))
        if visit is not None and visit.session == session and visit.is_open:
            visit.is_open = False
            self._count(market, what)

    def _visit(
        self, market: str, phone: str, session: str, text: str, digest: bytes
    ) -> tuple[Visit, bool]:
        """Return this session's visit, and whether this very callback was answered already."""
        now_s = self._clock.ticks_s()
        before = self._visits.pop((market, phone), None)
        if before is not None and now_s - before.at_s > RESUME_WITHIN_S:
            if before.is_open:
                self._count(market, "lapsed")
            before = None
        if before is not None and before.session == session:
            visit = before
            is_repeat = bool(visit.answer) and hmac.compare_digest(visit.digest, digest)
        else:
            if before is not None and before.is_open:
                self._count(market, "lapsed")
            visit = Visit(session=session, at_s=now_s, digest=digest)
            self._count(market, "opened")
            is_repeat = False
            if before is not None and before.spot is not None and not text:
                visit.resumed = before.spot
                visit.shown = before.shown
        self._visits[market, phone] = visit
        if len(self._visits) > VISITS_MAX:
            self._visits.popitem(last=False)
        if not is_repeat:
            visit.at_s, visit.digest, visit.answer = now_s, digest, ""
        return visit, is_repeat


def _kept(spot: Spot, resumed: Spot | None) -> Spot | None:
    """Return where to go on after a drop: where something was answered already, never a PIN."""
    if spot.place == RESUME:
        return resumed
    if not spot.given or spot.place in SECRET:
        return None
    return replace(spot, note=None)


_BODY = SCREEN_MAX - len("CON ")
_SHRINK = ("name", "reference")
_OF_ORDERS = frozenset({"undo", "answer"})  # places that are about a payment of the past


def _end(text: str) -> str:
    return f"END {clipped(text, _BODY)}"


class _Caller:
    """One callback of somebody who is known: says and does what the menus led to."""

    def __init__(
        self,
        *,
        branch: Branch,
        scene: Scene,
        clock: Clock,
        session: str,
        noticed: Sequence[str] = (),
    ) -> None:
        self._branch = branch
        self._noticed = noticed
        self._scene = scene
        self._clock = clock
        self._session = session
        self._party = scene.party

    # Saying

    def say(self, key: str, **fields: str) -> str:
        return self._scene.texts.say(self._scene.language, key, **fields)

    def _fit(self, key: str, limit: int = _BODY, /, **fields: str) -> str:
        shrink = [name for name in _SHRINK if name in fields]
        return self._scene.texts.fit(
            self._scene.language, key, limit=limit, shrink=shrink, **fields
        )

    def _end(self, key: str, *, is_sure: bool = True, **fields: str) -> Screen:
        return Screen(text=self._fit(key, **fields), is_sure=is_sure)

    def _refused(self, decline: Decline) -> Screen:
        return self._end(DECLINED[decline])

    async def asked(self, spot: Spot, shown: str) -> Screen:
        """Return what asks for the next key, or the end where there is nothing to ask."""
        if spot.place in _OF_ORDERS:  # they tell of payments: only of what is durable
            return await self._branch.desk.settled(lambda: self._screen(spot, shown))
        return self._screen(spot, shown)

    def _screen(self, spot: Spot, shown: str) -> Screen:
        if spot.place in MENUS:
            return self._menu(spot, shown)
        asked = question(self._scene, spot)
        if spot.place in PAYMENTS and asked == "pin":
            return self._confirmation(spot)
        if spot.place in _OF_ORDERS:
            return self._about_order(spot, asked, shown)
        return self._asking(spot, self._question(spot, asked))

    def _menu(self, spot: Spot, shown: str) -> Screen:
        head = {RESUME: self.say("ask.resume"), self._scene.root: self._scene.market.brand}
        lines = [head.get(spot.place, ""), *self._list(MENUS[spot.place])]
        menu = "\n".join(filter(None, lines))
        if spot.place == self._scene.root and spot.note is None:
            menu = self._warned(menu)
        return replace(self._asking(spot, menu), shown=shown)

    def _warned(self, menu: str) -> str:
        """Put what is disturbed now above a menu, as far as there is room for a whole line of it."""
        texts, language = self._scene.texts, self._scene.language
        said = [notice_text(texts, language, "notice.line", each) for each in self._noticed]
        for line in dict.fromkeys(said):
            if characters(line) + 1 + characters(menu) > _BODY:
                break
            menu = f"{line}\n{menu}"
        return menu

    def _list(self, items: tuple[str, ...] | list[str]) -> list[str]:
        catalogues = self._scene.texts.catalogues
        return [
            f"{number} "
            + (
                catalogues[item].autonym
                if item in catalogues
                else item
                if self._scene.market.currency(item)
                else self.say(f"item.{item}")
            )
            for number, item in enumerate(items, start=1)
        ]

    def _question(self, spot: Spot, asked: str) -> str:
        digits = str(self._scene.market.pin_digits)
        match asked:
            case "customer" | "phone":
                return self.say("ask.phone")
            case "amount":
                return self.say("ask.amount", currency=currency_of(self._scene, spot))
            case "pin" if serves_operators(self._scene, spot):
                return self.say("ask.pin_operator")
            case "old_pin":
                return self.say("ask.pin_old")
            case "again":
                return self.say("ask.pin_again")
            case "new_pin" if spot.place == self._scene.root:
                return self.say("ask.pin_first", brand=self._scene.market.brand, digits=digits)
            case "new_pin":
                return self.say("ask.pin_new", digits=digits)
            case _:
                head = self.say("ask.whose" if asked == "says" else f"ask.{asked}")
                return "\n".join([head, *self._list(choices(self._scene, asked))])

    def _asking(self, spot: Spot, text: str, shown: str = "") -> Screen:
        """Put what was wrong before the question and the way back behind it."""
        note = self._note(spot)
        has_back = spot.place != RESUME and (
            bool(spot.given) or parent_of(self._scene, spot.place) is not None
        )
        back = self.say("item.back") if has_back else ""
        whole = "\n".join(filter(None, (note, text, back)))
        if characters(whole) > _BODY:
            whole = "\n".join(filter(None, (note, text)))
        return Screen(text=clipped(whole, _BODY), goes_on=True, shown=shown)

    def _above(self, spot: Spot, lines: list[str], /, **fields: str) -> Screen:
        """Show what will be done above the lines that ask for it: names give way to these.

        Where something was typed wrongly there is no room to name the way back, which stays open;
        and where an amount would be cut, what was wrong is left out: half an amount is a lie.
        """
        note = self._note(spot)
        asking = "\n".join(lines if note else [*lines, self.say("item.back")])
        room = _BODY - characters(asking) - 1
        if note and self._shortest(spot, fields) > room - characters(note) - 1:
            note = ""
        room -= characters(note) + 1 if note else 0
        head = self._fit(f"confirm.{spot.place}", room, **fields)
        return Screen(text="\n".join(filter(None, (note, head, asking))), goes_on=True)

    def _shortest(self, spot: Spot, fields: dict[str, str]) -> int:
        """Return how long the head of a confirmation is when names have given way."""
        cut = {name: clipped(fields[name], NAME_MIN) for name in _SHRINK if name in fields}
        return characters(self.say(f"confirm.{spot.place}", **{**fields, **cut}))

    def _note(self, spot: Spot) -> str:
        return self.say(spot.note.key, **spot.note.fields) if spot.note else ""

    # Paying

    def _confirmation(self, spot: Spot) -> Screen:
        """Show who receives, how much, and what it costs; or why it cannot be done."""
        ask = self._ask(spot)
        if ask is None:
            return self._refused(Decline.PAYEE_UNKNOWN)
        quote = self._branch.desk.quote(
            product=ask.product,
            payer=ask.payer,
            payee=ask.payee,
            amount=ask.amount,
            currency=ask.currency,
            reference=ask.reference or "-",
        )
        if isinstance(quote, Decline):
            self._branch.desk.refuse(ask, quote)
            return self._refused(quote)
        fields = {
            "amount": self._written(quote.amount, quote.currency),
            "fee": self._price(quote, with_tax=True),
            "total": self._written(quote.total, quote.currency),
            "name": _shown(quote.payee_name),
            "phone": spot.answer("customer") or self._airtime_phone(spot),
            "reference": clean(ask.reference),
        }
        signs = "ask.pin_operator" if serves_operators(self._scene, spot) else "ask.pin_confirm"
        lines = [self.say(signs)]
        if self._shortest(spot, fields) > _BODY - characters("\n".join(lines)) - 1:
            fields["fee"] = self._price(quote, with_tax=False)
        return self._above(spot, lines, **fields)

    def _price(self, quote: Quote, *, with_tax: bool) -> str:
        """Return what the payer gives beside the amount: one sum, or fee and tax apart."""
        if not (with_tax and quote.price.on_top):
            return self._written(quote.price.charge, quote.currency)
        fee = self._written(quote.price.fee, quote.currency)
        tax = self._written(quote.price.on_top, quote.currency)
        return f"{fee} + {self.say('word.tax')} {tax}"

    def _ask(self, spot: Spot, actor: int = 0) -> Ask | None:
        """Return the order that the answers make, or None where its receiver is gone."""
        directory = self._branch.directory
        reference = spot.answer("reference")
        payee: Party | None = None
        match spot.place:
            case "send_money" | "deposit":
                payee = directory.by_phone(spot.answer("customer"))
            case "withdraw" | "float_transfer":
                payee = directory.by_agent_code(spot.answer("agent"))
            case "pay_till":
                payee = directory.by_till(spot.answer("till"))
            case "pay_bill":
                payee = directory.by_paybill(spot.answer("bill"))
            case _:
                reference = self._airtime_phone(spot)
        if payee is None and spot.place != "airtime":
            return None
        return Ask(
            client=CHANNEL,
            key=f"{self._party.phone}|{self._session}|{spot.place}",
            channel=CHANNEL,
            product=spot.place,
            payer=self._party.id,
            payee=payee.id if payee else SYSTEM,
            amount=int(spot.answer("amount")),
            currency=currency_of(self._scene, spot),
            reference=reference,
            actor=actor,
        )

    def _airtime_phone(self, spot: Spot) -> str:
        return spot.answer("phone") or self._party.phone

    # Doing

    async def finish(self, spot: Spot, shown: str) -> Screen:
        """Do what a flow was for. Whatever cannot be done now is told, never raised."""
        try:
            return await self._finish(spot, shown)
        except Unavailable:
            return self._end("end.busy", is_sure=False)
        except OutcomeUnknown:
            return self._end("end.unknown", is_sure=False)

    async def _finish(self, spot: Spot, shown: str) -> Screen:
        match spot.place:
            case "first_pin" | "change_pin":
                return await self._set_pin(spot)
            case "language":
                return await self._speak(spot.answer("language"))
            case _:
                pass
        outcome, actor = await self._signed(spot)
        if spot.place in PAYMENTS:
            return await self._pay(spot, outcome, actor)
        if outcome is not PinOutcome.RIGHT:
            return self._refused(_PIN_DECLINES[outcome])
        match spot.place:
            case "undo":
                return await self._undo(shown)
            case "answer":
                return await self._give_or_keep(shown, gives=spot.answer("says") == "give_back")
            case "statement":
                return await self._statement()
            case _:
                return await self._balances(spot.place)

    async def _signed(self, spot: Spot) -> tuple[PinOutcome, int]:
        """Check the PIN that was typed last. Return also the assistant who typed it, or 0."""
        typed = spot.answer("pin")
        digits = self._scene.market.pin_digits
        signer, actor = self._party.id, 0
        if len(typed) > digits:
            assistant = self._branch.directory.assistant(self._party.id, typed[:-digits])
            if assistant is None or assistant.status is not Status.ACTIVE:
                return PinOutcome.WRONG, 0
            signer = actor = assistant.id
        check = self._branch.directory.check_pin
        return await asyncio.to_thread(check, signer, typed[-digits:]), actor

    async def _pay(self, spot: Spot, outcome: PinOutcome, actor: int) -> Screen:
        ask = self._ask(spot, actor)
        if ask is None:
            return self._refused(Decline.PAYEE_UNKNOWN)
        if outcome is not PinOutcome.RIGHT:
            decline = _PIN_DECLINES[outcome]
            self._branch.desk.refuse(ask, decline)
            return self._refused(decline)
        order = await self._branch.desk.submit(ask)
        amount = self._written(order.amount, order.currency)
        match order.state:
            case State.COMPLETED | State.REVERSAL_ASKED | State.REVERSED:
                payee = self._branch.directory.get(order.payee)
                return self._end(
                    "done.paid",
                    receipt=order.receipt,
                    amount=amount,
                    name=_shown(payee.name) if payee else order.reference,
                    fee=self._written(order.price.charge, order.currency),
                )
            case State.HELD | State.AWAITING:
                return self._end("done.waiting", amount=amount)
            case State.DECLINED | State.FAILED | State.CANCELLED:
                return self._refused(order.decline or Decline.ORDER_CANCELLED)

    # Asking money back, and being asked

    def _about_order(self, spot: Spot, asked: str, shown: str) -> Screen:
        """Show which payment is meant; the PIN is then for this one and no other."""
        is_undo = spot.place == "undo"
        order = self._last_send() if is_undo else self._asked_back(shown)
        if order is None:
            return self._end("done.undo_none" if is_undo else "done.answer_none")
        if asked == "pin" and not is_undo:
            if order.id != shown:
                return self._end("end.garbled")  # what she answered about is answered already
            return self._asking(spot, self.say("ask.pin_confirm"), order.id)
        other = self._branch.directory.get(order.payee if is_undo else order.payer)
        parts = (
            [self.say("ask.pin_confirm")] if is_undo else self._list(choices(self._scene, "says"))
        )
        screen = self._above(
            spot,
            parts,
            amount=self._written(order.amount, order.currency),
            name=_shown(other.name) if other else "",
            when=self._moment(order.done_at),
        )
        return replace(screen, shown=order.id)

    def _last_send(self) -> Order | None:
        """Return the newest send that may still be asked back."""
        hours = self._scene.market.reversal_window_h or REVERSAL_WINDOW_H
        earliest = self._clock.now() - timedelta(hours=hours)
        for line in self._branch.wallets.statement(self._party, limit=UNDO_LOOKS_BACK):
            if line.product != "send_money" or line.minor > 0 or line.step != Step.BOOKED.value:
                continue
            order = self._branch.desk.find(line.order_id)
            if order is not None and order.state is State.COMPLETED:
                return order if from_micros(order.done_at) >= earliest else None
        return None

    def _asked_back(self, shown: str) -> Order | None:
        """Return the payment that was shown, or else the first one that waits for an answer."""
        waiting = self._branch.desk.awaiting_consent(self._party.id)
        meant = [order for order in waiting if order.id == shown]
        return next(iter(meant or waiting), None)

    async def _undo(self, shown: str) -> Screen:
        if not shown:
            return self._end("end.garbled")
        order = await self._branch.desk.submit(
            Reverse(order=shown, payer=self._party.id, client=CHANNEL, channel=CHANNEL)
        )
        if order.decline is not None:
            return self._refused(order.decline)
        payee = self._branch.directory.get(order.payee)
        return self._end(
            "done.undo",
            name=_shown(payee.name) if payee else "",
            amount=self._written(order.amount, order.currency),
        )

    async def _give_or_keep(self, shown: str, *, gives: bool) -> Screen:
        if not shown:
            return self._end("end.garbled")
        order = await self._branch.desk.submit(
            Consent(order=shown, payee=self._party.id, says_yes=gives)
        )
        if order.decline is not None:
            return self._refused(order.decline)
        payer = self._branch.directory.get(order.payer)
        return self._end(
            "done.given" if order.state is State.REVERSED else "done.kept",
            name=_shown(payer.name) if payer else "",
            amount=self._written(order.amount, order.currency),
        )

    # The account

    async def _set_pin(self, spot: Spot) -> Screen:
        directory, new = self._branch.directory, spot.answer("new_pin")
        try:
            if spot.place == "change_pin":
                old = spot.answer("old_pin")
                outcome = await asyncio.to_thread(
                    directory.change_pin, self._party.id, old=old, new=new
                )
                if outcome is not PinOutcome.RIGHT:
                    return self._refused(_PIN_DECLINES[outcome])
            else:
                await asyncio.to_thread(directory.set_pin, self._party.id, new)
        except PinUnfit:
            example = "1234567890"[: self._scene.market.pin_digits]
            return self._end("note.pin_unfit", example=example)
        return self._end("done.pin")

    async def _speak(self, language: str) -> Screen:
        party = self._branch.directory.get(self._party.id) or self._party
        changed = msgspec.structs.replace(party, language=language)
        await asyncio.to_thread(self._branch.directory.update, changed)
        return Screen(text=self._scene.texts.say(language, "done.language"))

    async def _balances(self, place: str) -> Screen:
        """Show one purse in every currency, with what is on hold where something is."""
        purse = "wallet" if place == "balance" else place
        held, free = [], []
        for balance in await self._branch.desk.settled(
            lambda: self._branch.wallets.balances(self._party)
        ):
            if balance.purse == purse:
                free.append(self._written(balance.available, balance.currency))
                if balance.held:
                    held.append(self._written(balance.held, balance.currency))
        text = self.say(f"done.{place}", balance=", ".join(free))
        if held:
            text += "\n" + self.say("done.held", balance=", ".join(held))
        return Screen(text=clipped(text, _BODY))

    async def _statement(self) -> Screen:
        lines = await asyncio.to_thread(
            self._branch.wallets.statement, self._party, limit=STATEMENT_LINES
        )
        text = ""
        for line in lines:
            longer = f"{text}\n{self._line(line)}" if text else self._line(line)
            if characters(longer) > _BODY:
                break
            text = longer
        return Screen(text=text) if text else self._end("done.statement_empty")

    def _line(self, line: Line) -> str:
        word = line.product.replace("float_purchase", "float").replace("float_transfer", "float")
        if line.step == Step.REVERSED.value or line.product == "compensation":
            word = "returned"
        elif line.product in {"send_money", "payout"}:
            word = "received" if line.minor > 0 else "sent"
        sign = "+" if line.minor > 0 else "-"
        amount = self._written(abs(line.minor), line.currency)
        return f"{self._moment(line.at)} {sign}{amount} {self.say(f'word.{word}')}"

    # Writing

    def _written(self, minor: int, currency: str) -> str:
        return self._scene.market.written(Money(minor, currency))

    def _moment(self, micros: int) -> str:
        moment: datetime = self._scene.market.local(from_micros(micros))
        return moment.strftime("%d/%m %H:%M")


def _shown(name: str) -> str:
    """Return a name fit for a screen: one line, nothing that turns or hides letters, not too long."""
    return clipped(clean(name), 32)


def ussd_door(ussd: Ussd, *, secret: str | None = None) -> HTTPRouteHandler:
    """Return the handler of gateway callbacks: a form in, plain text out, always for a phone to show.

    With `secret`, callers must send it in the header X-Umoja-Secret; others get 403.
    """

    @post(
        "/ussd/{market:str}",
        include_in_schema=False,
        media_type=MediaType.TEXT,
        status_code=200,
        request_max_body_size=BODY_MAX,
        name="ussd",
    )
    async def callback(market: str, request: Request[Any, Any, Any]) -> Response[str]:
        told = await called_back(
            ussd, market=market, headers=request.headers, body=await request.body(), secret=secret
        )
        return Response(told.body.decode(), status_code=told.status, media_type=MediaType.TEXT)

    return callback


async def called_back(
    ussd: Ussd, *, market: str, headers: Mapping[str, str], body: bytes, secret: str | None
) -> Told:
    """Answer one callback, whatever server it came through; header names in small letters."""
    given = headers.get(SECRET_HEADER.lower(), "")
    if secret is not None and not hmac.compare_digest(given.encode(), secret.encode()):
        return Told(status=403, body=b"forbidden", media_type=PLAIN)
    form = _form(body)
    answer = await ussd.answer(
        market=market,
        session=form.get("sessionId", ""),
        service_code=form.get("serviceCode", ""),
        phone=form.get("phoneNumber", ""),
        text=form.get("text", ""),
    )
    return Told(status=200, body=answer.encode(), media_type=PLAIN)


def _form(body: bytes) -> dict[str, str]:
    """Return the fields of a form, or none where it is not one: the phone is then told so."""
    try:
        pairs = parse_qsl(
            body.decode("utf-8"),
            keep_blank_values=True,
            encoding="utf-8",
            errors="strict",
            max_num_fields=20,
        )
    except ValueError:
        return {}
    return dict(pairs)
