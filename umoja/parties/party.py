"""Who takes part: customers, agents and their dealers and assistants, organisations. Frozen data."""

from enum import Enum

import msgspec

SYSTEM = 1  # the operator itself: trust, fees, taxes, commission
FIRST = 1000  # the first number given to anybody


class Role(Enum):
    __hash__ = object.__hash__

    CUSTOMER = "customer"
    DEALER = "dealer"  # an agent head office
    AGENT = "agent"  # an outlet, with float
    ASSISTANT = "assistant"  # serves at an outlet with an operator PIN of her own
    ORGANISATION = "organisation"  # is paid by till or paybill
    OPERATOR = "operator"  # the market's own accounts


class Status(Enum):
    __hash__ = object.__hash__

    ACTIVE = "active"
    SUSPENDED = "suspended"  # by staff
    CLOSED = "closed"


class Party(msgspec.Struct, frozen=True, kw_only=True):
    """One party of one market. `phone` is digits with the dialling code; codes are what people type."""

    id: int
    role: Role
    name: str
    phone: str = ""
    tier: str = ""
    language: str = ""
    status: Status = Status.ACTIVE
    identity_kind: str = ""
    identity_number: str = ""
    parent: int = 0  # an outlet's dealer, an assistant's outlet
    agent_code: str = ""
    till: str = ""
    paybill: str = ""
    operator_code: str = ""  # what an assistant types, one at each outlet
    plan: str = ""  # who bears the fee of a paybill
    category: str = ""  # what an organisation sells: utilities, school, shop
    sim_swapped_at: int = 0  # microseconds UTC; money may not leave for a while after
    registered_at: int = 0

    @property
    def first_name(self) -> str:
        return self.name.split(" ")[0]

    @property
    def masked_phone(self) -> str:
        """Return the number with its middle hidden: fit for logs and screens."""
        return f"{self.phone[:5]}•••{self.phone[-3:]}" if self.phone else ""


class PinOutcome(Enum):
    RIGHT = "right"
    WRONG = "wrong"
    LOCKED = "locked"
    NOT_SET = "not_set"
