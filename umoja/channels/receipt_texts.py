"""What each side of an order is told in a text message: in her language, and what money is about whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from umoja.clock import Clock, from_micros, to_micros
from umoja.markets.market import Market
from umoja.markets.texts import LAST_RESORT, Texts, clean
from umoja.parties.directory import Directory
from umoja.parties.party import Party, Status
from umoja.payments.lifecycle import REVERSAL_ANSWER_FOR, Step
from umoja.payments.order import Order, State
from umoja.payments.outbox import Message, Orders, message_id, order_mark

TEXT_MAX = 160
"""Characters of a text: one message of plain letters, at most three where the script needs more."""

MOMENTS_MAX = 1_000

_MINUTE = 60_000_000


class Purses(Protocol):
    """Says what is free in purses: the wallets where the books are, or a question to them."""

    def free(self, asked: Sequence[tuple[Party, str]]) -> Sequence[int | None]:
        """Return for each party and currency what she may pay with now, in minor units.

        None where she has no purse of her own. Raise Unavailable where nobody can be asked.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """One text of one language and side, made ready to be filled in."""

    language: str
    key: str
    kind: str
    side: str
    shrink: tuple[str, ...]
    has_fee: bool
    has_reference: bool
    has_balance: bool


_Draft = tuple[Order, int, int, Party, Party | None, _Form]
"""A message that only wants its balance: order, its mark, place, who is told, the other, the form."""


class Writer:
    """Writes what each side of an order is told. Asks no file and keeps nothing of anybody."""

    def __init__(
        self, *, market: Market, directory: Directory, purses: Purses, texts: Texts, clock: Clock
    ) -> None:
        self._market = market
        self._directory = directory
        self._purses = purses
        self._texts = texts
        self._clock = clock
        self._forms: dict[tuple[str, str, str], _Form | None] = {}
        self._moments: dict[int, str] = {}

    def messages(self, orders: Orders) -> list[Message]:
        """Return the texts of orders as their journal lines left them. Same lines, same ids."""
        drafts: list[_Draft] = []
        for sequence, order in orders:
            self._draft(sequence, order, drafts)
        asked = [
            (party, order.currency) for order, _, _, party, _, form in drafts if form.has_balance
        ]
        balances = iter(self._purses.free(asked) if asked else ())
        return [
            self._message(draft, next(balances) if draft[5].has_balance else None)
            for draft in drafts
        ]

    def _draft(self, sequence: int, order: Order, drafts: list[_Draft]) -> None:
        """Add what is told of an order. Nobody tells the operator, nor who has no phone."""
        name = _event(order)
        if not name:
            return
        payer, payee = self._directory.get(order.payer), self._directory.get(order.payee)
        mark = order_mark(order.id)
        if payer is not None and payer.phone and payer.status is not _CLOSED:
            form = self._form(name, "payer", payer.language)
            if form is not None:
                drafts.append((order, mark, 2 * sequence, payer, payee, form))
        if payee is not None and payee.phone and payee.status is not _CLOSED:
            form = self._form(name, "payee", payee.language)
            if form is not None:
                drafts.append((order, mark, 2 * sequence + 1, payee, payer, form))

    def _form(self, name: str, side: str, wanted: str) -> _Form | None:
        """Return the form of a text for who wants a language, or None where she is told nothing."""
        language = self._texts.language(self._market, wanted)
        place = (name, side, language)
        if place not in self._forms:
            key = f"sms.{name}.{side}"
            form = None
            if key in self._texts.catalogues[LAST_RESORT].entries:
                fields = self._texts.catalogues[language].entries[key].fields
                form = _Form(
                    language=language,
                    key=key,
                    kind=key.removeprefix("sms."),
                    side=side,
                    shrink=tuple(word for word in ("name", "reference") if word in fields),
                    has_fee="fee" in fields,
                    has_reference="reference" in fields,
                    has_balance="balance" in fields,
                )
            self._forms[place] = form
        return self._forms[place]

    def _message(self, draft: _Draft, balance: int | None) -> Message:
        order, mark, place, party, other, form = draft
        written, currency = self._market.written_minor, order.currency
        happened = _happened(order) or to_micros(self._clock.now())
        fields = {
            "receipt": order.receipt,
            "amount": written(order.amount, currency),
            "name": clean(other.name) if other else "",
            "when": self._moment(happened),
            "code": self._market.ussd_code,
        }
        if form.has_fee:
            fields["fee"] = written(order.price.charge, currency)
        if form.has_reference:
            fields["reference"] = clean(order.reference)
        if form.has_balance:
            fields["balance"] = "" if balance is None else written(balance, currency)
        return Message(
            id=message_id(order.id, place // 2, form.side),
            place=place,
            phone=party.phone,
            text=self._texts.fit(
                form.language, form.key, limit=TEXT_MAX, shrink=form.shrink, **fields
            ),
            kind=form.kind,
            since=happened,
            product=order.product,
            value_minor=order.amount,
            currency=currency,
            payer_mark=order.payer_mark,
            order_mark=mark,
        )

    def _moment(self, micros: int) -> str:
        """Write a moment in the market's own time, to the minute."""
        minute = micros // _MINUTE
        written = self._moments.get(minute)
        if written is None:
            local = self._market.local(from_micros(micros))
            if len(self._moments) >= MOMENTS_MAX:
                self._moments.clear()
            written = self._moments[minute] = f"{local:%d/%m/%y %H:%M}"
        return written


_BOOKED = frozenset({Step.BOOKED.value, Step.SETTLED.value})
_ENDED = frozenset({*_BOOKED, Step.FAILED.value})
_ASKED_BACK = frozenset(
    {Step.REVERSAL_ASKED.value, Step.REVERSED.value, Step.REVERSAL_REFUSED.value}
)
_FAILED, _ASKED = Step.FAILED.value, Step.REVERSAL_ASKED.value
_COMPLETED, _CLOSED = State.COMPLETED, Status.CLOSED
_ANSWER_FOR = REVERSAL_ANSWER_FOR // timedelta(microseconds=1)


def _event(order: Order) -> str:
    """Return the name of the text that tells of this journal line, or '' where nobody is told."""
    step = order.step
    if step in _BOOKED:
        return order.product if order.state is _COMPLETED else ""
    if step == _FAILED:
        return f"{order.product}_failed"
    return step if step in _ASKED_BACK else ""


def _happened(order: Order) -> int:
    """Return when the journal line was written, or 0 where the order does not say."""
    if order.step in _ENDED:
        return order.done_at
    return order.until - _ANSWER_FOR if order.step == _ASKED else 0
