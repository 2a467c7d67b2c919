"""The menus of USSD: from where a caller stands and what she types to where she stands next.

A visit is replayed from its beginning at each callback, so everything here only reads: the same
keys lead to the same place as long as nobody is registered or closed meanwhile. What was typed
last in a flow, the PIN, makes it `is_full`; the engine then does what was asked for.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from umoja.markets.market import Market
from umoja.markets.texts import Texts, clean
from umoja.money import AmountUnreadable
from umoja.parties.credentials import is_fit
from umoja.parties.directory import Directory
from umoja.parties.party import Party, Role
from umoja.payments.decide import REFERENCE_MAX

BACK = "0"
HOME = "00"

CUSTOMER_ROOT = "customer"
AGENT_ROOT = "agent"
DEALER_ROOT = "dealer"
RESUME = "resume"
FIRST_PIN = "first_pin"

MENUS: dict[str, tuple[str, ...]] = {
    CUSTOMER_ROOT: ("send_money", "withdraw", "pay_till", "pay_bill", "airtime", "account"),
    "account": ("balance", "statement", "undo", "answer", "language", "change_pin"),
    AGENT_ROOT: ("deposit", "float", "commission", "float_transfer", "language", "change_pin"),
    DEALER_ROOT: ("float", "commission", "float_transfer", "language", "change_pin"),
    RESUME: ("continue", "main"),
}
"""The items of each menu. An item is the name of another menu or of a flow."""

FLOWS: dict[str, tuple[str, ...]] = {
    "send_money": ("currency", "customer", "amount", "pin"),
    "withdraw": ("currency", "agent", "amount", "pin"),
    "pay_till": ("currency", "till", "amount", "pin"),
    "pay_bill": ("currency", "bill", "reference", "amount", "pin"),
    "airtime": ("currency", "whose", "phone", "amount", "pin"),
    "balance": ("pin",),
    "statement": ("pin",),
    "undo": ("pin",),
    "answer": ("says", "pin"),
    "language": ("language",),
    "change_pin": ("old_pin", "new_pin", "again"),
    "deposit": ("currency", "customer", "amount", "pin"),
    "float": ("pin",),
    "commission": ("pin",),
    "float_transfer": ("currency", "agent", "amount", "pin"),
    FIRST_PIN: ("new_pin", "again"),
}
"""The questions of each flow, in their order."""

PAYMENTS = frozenset(
    {"send_money", "withdraw", "pay_till", "pay_bill", "airtime", "deposit", "float_transfer"}
)
"""Flows that pay; each is named like its product."""

SECRET = frozenset({"change_pin", FIRST_PIN})
"""Flows with a PIN before their last question: where they stand is never kept."""

_CODE = re.compile(r"[0-9]{1,12}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What was wrong with the last thing typed: a text's key and its fields."""

    key: str
    fields: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """Where a caller stands: in a menu, or in a flow with the answers that she has given."""

    place: str
    given: tuple[tuple[str, str], ...] = ()
    note: Note | None = None
    is_full: bool = False

    def answer(self, question: str) -> str:
        """Return what was given to a question, or '' where it was not asked."""
        return dict(self.given).get(question, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Who calls and where: all that the menus depend on besides what is typed."""

    market: Market
    directory: Directory
    texts: Texts
    party: Party
    language: str
    root: str
    resumed: Spot | None = None  # where the caller was cut off, when she is asked to go on


def root_of(party: Party, *, has_pin: bool) -> str:
    """Return where a caller begins: a first PIN comes before everything else."""
    if not has_pin:
        return FIRST_PIN
    match party.role:
        case Role.AGENT:
            return AGENT_ROOT
        case Role.DEALER:
            return DEALER_ROOT
        case _:
            return CUSTOMER_ROOT


def walk(scene: Scene, start: Spot, typed: list[str]) -> Spot | None:
    """Return where the keys lead, or None where something follows the end of a flow."""
    spot = start
    for text in typed:
        if spot.is_full:
            return None
        spot = _step(scene, spot, text.strip())
    return spot


def question(scene: Scene, spot: Spot) -> str:
    """Return what a flow asks next."""
    return _questions(scene, spot)[len(spot.given)]


def choices(scene: Scene, asked: str) -> list[str]:
    """Return what may be chosen from where a question offers a list, else nothing."""
    match asked:
        case "currency":
            return [currency.code for currency in scene.market.currencies]
        case "whose":
            return ["own_phone", "other_phone"]
        case "says":
            return ["give_back", "keep"]
        case "language":
            return scene.texts.offered(scene.market)
        case _:
            return []


def parent_of(scene: Scene, place: str) -> str | None:
    """Return the menu that holds this menu or flow, or None for where a caller begins."""
    if place == scene.root:
        return None
    for menu in (scene.root, "account"):
        if place in MENUS.get(menu, ()):
            return menu
    return scene.root


def serves_operators(scene: Scene, spot: Spot) -> bool:
    """Tell whether an assistant of the outlet may sign here with her own code and PIN."""
    return scene.party.role is Role.AGENT and spot.place in {
        "deposit",
        "float",
        "commission",
        "float_transfer",
    }


def digits_of(text: str) -> str:
    """Return the text with the decimal digits of every script written as 0-9."""
    return "".join(
        str(unicodedata.decimal(letter)) if letter.isdecimal() else letter for letter in text
    )


def _step(scene: Scene, spot: Spot, text: str) -> Spot:
    key = digits_of(text)
    if key == HOME and spot.place != RESUME:
        return Spot(place=scene.root)
    if key == BACK and spot.place != RESUME:
        if spot.given:
            return Spot(place=spot.place, given=spot.given[:-1])
        return Spot(place=parent_of(scene, spot.place) or scene.root)
    if spot.place in MENUS:
        return _choose(scene, spot, key)
    asked = question(scene, spot)
    if asked == "reference":
        key = clean(text)
    read = _READERS.get(asked)
    found = read(scene, spot, key) if read else _choice(scene, asked, key)
    if isinstance(found, Note):
        return replace(spot, note=found)
    if asked == "again" and found != spot.answer("new_pin"):
        kept = tuple(pair for pair in spot.given if pair[0] != "new_pin")
        return replace(spot, given=kept, note=Note(key="note.pin_differs"))
    after = replace(spot, given=(*spot.given, (asked, found)), note=None)
    return replace(after, is_full=len(after.given) == len(_questions(scene, after)))


def _choose(scene: Scene, spot: Spot, key: str) -> Spot:
    items = MENUS[spot.place]
    place = items[int(key) - 1] if _is_choice(key, len(items)) else ""
    match place:
        case "":
            return replace(spot, note=Note(key="note.choice"))
        case "continue" if scene.resumed is not None:
            return replace(scene.resumed, note=None)
        case "continue" | "main":
            return Spot(place=scene.root)
        case _:
            return Spot(place=place)


def _questions(scene: Scene, spot: Spot) -> tuple[str, ...]:
    """Return the questions of a flow without those that answer themselves."""
    return tuple(
        name
        for name in FLOWS[spot.place]
        if not (name == "currency" and len(scene.market.currencies) == 1)
        and not (name == "phone" and spot.answer("whose") == "own_phone")
    )


def currency_of(scene: Scene, spot: Spot) -> str:
    """Return the chosen currency, or the market's only one."""
    return spot.answer("currency") or scene.market.currencies[0].code


def _choice(scene: Scene, asked: str, key: str) -> str | Note:
    offered = choices(scene, asked)
    return offered[int(key) - 1] if _is_choice(key, len(offered)) else Note(key="note.choice")


def _is_choice(key: str, count: int) -> bool:
    return len(key) == 1 and key.isascii() and key.isdigit() and 1 <= int(key) <= count


def _customer(scene: Scene, _spot: Spot, key: str) -> str | Note:
    phone = scene.market.phone_number(key)
    if phone is None:
        return Note(key="note.phone")
    if phone == scene.party.phone:
        return Note(key="refused.same_party")
    party = scene.directory.by_phone(phone)
    if party is None or party.role is not Role.CUSTOMER:
        return Note(key="note.phone_unknown")
    return phone


def _phone(scene: Scene, _spot: Spot, key: str) -> str | Note:
    return scene.market.phone_number(key) or Note(key="note.phone")


def _agent(scene: Scene, spot: Spot, key: str) -> str | Note:
    party = scene.directory.by_agent_code(key) if _CODE.fullmatch(key) else None
    allowed = {Role.AGENT} if spot.place == "withdraw" else {Role.AGENT, Role.DEALER}
    if party is None or party.role not in allowed:
        return Note(key="note.agent")
    return Note(key="refused.same_party") if party.id == scene.party.id else key


def _till(scene: Scene, _spot: Spot, key: str) -> str | Note:
    found = scene.directory.by_till(key) if _CODE.fullmatch(key) else None
    return key if found else Note(key="note.till")


def _bill(scene: Scene, _spot: Spot, key: str) -> str | Note:
    found = scene.directory.by_paybill(key) if _CODE.fullmatch(key) else None
    return key if found else Note(key="note.bill")


def _reference(_scene: Scene, _spot: Spot, key: str) -> str | Note:
    is_fit_to_keep = 0 < len(key) <= REFERENCE_MAX and key.isprintable()
    return key if is_fit_to_keep else Note(key="note.reference")


def _amount(scene: Scene, spot: Spot, key: str) -> str | Note:
    """Return the amount in minor units, as text."""
    if any(letter in " ,'\u066c\u00a0\u202f" for letter in key):
        return Note(key="note.separators")
    currency = scene.market.currency(currency_of(scene, spot))
    assert currency is not None, "one of the market's own was chosen"
    try:
        money = scene.market.money(key, currency.code)
    except AmountUnreadable:
        return Note(key="note.amount", fields={"example": "1500"})
    if money.minor == 0:
        return Note(key="refused.too_small")
    if money.minor % currency.step:
        step = scene.market.written(replace(money, minor=currency.step))
        return Note(key="note.step", fields={"step": step})
    return str(money.minor)


def _pin(scene: Scene, spot: Spot, key: str) -> str | Note:
    """Return the PIN as typed: for outlets perhaps with an operator code before it."""
    digits = scene.market.pin_digits
    packed = key.replace(" ", "").replace("#", "")
    longest = digits + 6 if serves_operators(scene, spot) else digits
    if not (packed.isascii() and packed.isdigit() and digits <= len(packed) <= longest):
        return Note(key="note.pin_form", fields={"digits": str(digits)})
    return packed


def _new_pin(scene: Scene, _spot: Spot, key: str) -> str | Note:
    digits, rejects = scene.market.pin_digits, scene.market.pin_rejects_runs
    if is_fit(key, digits=digits, rejects_runs=rejects):
        return key
    if is_fit(key, digits=digits, rejects_runs=False):
        return Note(key="note.pin_unfit", fields={"example": "1234567890"[:digits]})
    return Note(key="note.pin_form", fields={"digits": str(digits)})


_READERS: dict[str, Callable[[Scene, Spot, str], str | Note]] = {
    "customer": _customer,
    "phone": _phone,
    "agent": _agent,
    "till": _till,
    "bill": _bill,
    "reference": _reference,
    "amount": _amount,
    "pin": _pin,
    "old_pin": _pin,
    "new_pin": _new_pin,
    "again": lambda _scene, _spot, key: key,
}
"""How each question without a list reads what was typed: the answer to keep, or what was wrong."""
