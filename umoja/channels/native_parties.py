"""The native API's parties: register, find, PINs, balances, statements; and the market itself.

Structs in, outcomes out; every function may be called without a web framework.
"""

import asyncio
import re
import unicodedata

from umoja.channels.native_call import Answer, Call, Outcome, page_place, page_token
from umoja.channels.native_payments import PIN_DECLINES
from umoja.channels.problems import Problem, of_decline, problem
from umoja.channels.wire import (
    PARTY_MAX,
    BalancesOut,
    MarketOut,
    PageQuery,
    PartiesOut,
    PartiesQuery,
    PartyIn,
    PinIn,
    StatementOut,
    balance_out,
    line_out,
    party_out,
)
from umoja.parties.directory import PhoneTaken, PinUnfit
from umoja.parties.party import Party, Role
from umoja.payments.catalogue import GIFTS, PRODUCTS

_NUMBER = re.compile(r"[1-9][0-9]{0,15}", re.ASCII)
_TURNING = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})


async def market(call: Call, _asked: None) -> Outcome:
    """Describe the market that the token belongs to."""
    found = call.branch.market
    return Answer(
        body=MarketOut(
            code=found.code,
            name=found.name,
            currencies=[currency.code for currency in found.currencies],
            products=sorted(PRODUCTS.keys() - GIFTS),
            languages=list(found.languages),
            pin_digits=found.pin_digits,
        )
    )


async def register(call: Call, asked: PartyIn) -> Outcome:
    """Keep a new customer, on the market's first tier. A phone number that is taken is refused."""
    if call.client.organisation:
        return problem("not_allowed", detail="An organisation's client registers nobody.")
    party = _new_customer(call, asked)
    if isinstance(party, Problem):
        return party
    try:
        kept = await asyncio.to_thread(call.branch.directory.register, party, pin=asked.pin or "")
    except PhoneTaken:
        return problem("phone_taken", field="phone")
    except PinUnfit as cause:
        return problem("pin_unfit", field="pin", detail=str(cause))
    return Answer(
        status=201, body=party_out(kept), headers=(("location", f"/v1/parties/{kept.id}"),)
    )


async def parties(call: Call, asked: PartiesQuery) -> Outcome:
    """Find one party by phone or code (a list of one or none), or page through all of them."""
    named = [name for name in ("phone", "till", "paybill", "agent") if getattr(asked, name)]
    if len(named) > 1:
        return problem("bad_request", field=named[1], detail="Look by one thing at a time.")
    after = page_place(asked.page_token)
    if isinstance(after, Problem):
        return after
    directory, own = call.branch.directory, call.client.organisation
    if named:
        one = _find(call, named[0], getattr(asked, named[0]))
        found = [one] if one is not None and own in {0, one.id} else []
        more = False
    elif own:
        one = directory.get(own)
        found, more = [one] if one is not None and one.id > after else [], False
    else:
        found = await asyncio.to_thread(
            directory.browse, after=after, limit=asked.page_size + 1, role=asked.role
        )
        more = len(found) > asked.page_size
        found = found[: asked.page_size]
    return Answer(
        body=PartiesOut(
            parties=[
                party_out(party)
                for party in found
                if not asked.role or party.role.value == asked.role
            ],
            next=page_token(found[-1].id) if more else None,
        )
    )


async def party(call: Call, _asked: None) -> Outcome:
    """Return one party."""
    found = _party(call)
    return found if isinstance(found, Problem) else Answer(body=party_out(found))


async def set_pin(call: Call, asked: PinIn) -> Outcome:
    """Set a first PIN, or another one where the old one is right. Three wrong ones lock."""
    found = _party(call)
    if isinstance(found, Problem):
        return found
    directory = call.branch.directory
    try:
        if asked.old_pin is not None:
            outcome = await asyncio.to_thread(
                directory.change_pin, found.id, old=asked.old_pin, new=asked.new_pin
            )
            decline = PIN_DECLINES.get(outcome)
            return Answer(status=204) if decline is None else of_decline(decline, field="old_pin")
        if await asyncio.to_thread(directory.has_pin, found.id):
            return problem(
                "unprocessable", field="old_pin", detail="There is a PIN: the old one is needed."
            )
        await asyncio.to_thread(directory.set_pin, found.id, asked.new_pin)
    except PinUnfit as cause:
        return problem("pin_unfit", field="new_pin", detail=str(cause))
    return Answer(status=204)


async def balances(call: Call, _asked: None) -> Outcome:
    """Return every purse of a party in every currency, the empty ones too."""
    found = _party(call)
    if isinstance(found, Problem):
        return found
    whole = call.whole
    held = await whole.desk.settled(lambda: whole.wallets.balances(found))
    return Answer(
        body=BalancesOut(
            party=found.id,
            balances=[balance_out(call.branch.market, balance) for balance in held],
        )
    )


async def statement(call: Call, asked: PageQuery) -> Outcome:
    """Return a page of a party's movements, newest first. New ones never shift a later page."""
    found = _party(call)
    if isinstance(found, Problem):
        return found
    before = page_place(asked.page_token)
    if isinstance(before, Problem):
        return before
    size, read = asked.page_size, call.whole.wallets.statement
    page = await asyncio.to_thread(read, found, before=before, limit=size)
    older = []
    if len(page) >= size:
        older = await asyncio.to_thread(read, found, before=page[-1].sequence, limit=1)
    return Answer(
        body=StatementOut(
            lines=[line_out(call.branch.market, line) for line in page],
            next=page_token(page[-1].sequence) if older else None,
        )
    )


def _party(call: Call) -> Party | Problem:
    """Return the party that the path names, where this client may know of it."""
    number = int(call.place) if _NUMBER.fullmatch(call.place) else 0
    found = call.branch.directory.get(number) if 0 < number <= PARTY_MAX else None
    if found is None or call.client.organisation not in {0, found.id}:
        return problem("party_unknown")
    return found


def _find(call: Call, by: str, value: str) -> Party | None:
    directory = call.branch.directory
    match by:
        case "phone":
            number = call.branch.market.phone_number(value)
            return directory.by_phone(number) if number else None
        case "till":
            return directory.by_till(value)
        case "paybill":
            return directory.by_paybill(value)
        case _:
            return directory.by_agent_code(value)


def _new_customer(call: Call, asked: PartyIn) -> Party | Problem:
    """Return the customer as she would be kept, or which field will not do."""
    of = call.branch.market
    if not _is_readable(asked.name):
        return problem(
            "unprocessable",
            field="name",
            detail="A name has letters, and no control or direction-turning characters.",
        )
    phone = of.phone_number(asked.phone)
    if phone is None:
        return problem("unprocessable", field="phone", detail="No mobile number of this market.")
    if asked.language and asked.language not in of.languages:
        return problem(
            "unprocessable",
            field="language",
            detail=f"This market speaks {', '.join(of.languages)}.",
        )
    if bool(asked.identity_kind) != bool(asked.identity_number):
        missing = "identity_number" if asked.identity_kind else "identity_kind"
        return problem("unprocessable", field=missing, detail="Kind and number go together.")
    if asked.identity_kind and asked.identity_kind not in of.identity_kinds:
        return problem(
            "unprocessable",
            field="identity_kind",
            detail=f"This market knows {', '.join(of.identity_kinds)}.",
        )
    if asked.identity_number and not _is_readable(asked.identity_number):
        return problem("unprocessable", field="identity_number", detail="It cannot be read.")
    return Party(
        id=0,
        role=Role.CUSTOMER,
        name=" ".join(asked.name.split()),
        phone=phone,
        tier=of.tiers[0].id,
        language=asked.language or of.default_language,
        identity_kind=asked.identity_kind,
        identity_number=" ".join(asked.identity_number.split()),
    )


def _is_readable(text: str) -> bool:
    """Tell whether a text can be shown as one line as it was meant; every script and emoji may be."""
    return bool(text.strip()) and not any(
        unicodedata.category(letter) in {"Cc", "Cs", "Zl", "Zp"}
        or unicodedata.bidirectional(letter) in _TURNING
        for letter in text
    )
