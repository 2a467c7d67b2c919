"""Making good: each wrong is put right once, through the desk, and the books balance afterwards."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.payments.test_wronged import reader
from tests.stage import Stage
from umoja.clock import to_micros
from umoja.faults import Fault, OutcomeUnknown, Unavailable
from umoja.markets.texts import Texts
from umoja.parties.party import SYSTEM, Party, Status
from umoja.payments.making_good import ASKED, KEPT, PARTNER_SILENT, MakingGood
from umoja.payments.noticing import A_SECOND, Noticing
from umoja.payments.order import Consent, Decline, Order, State
from umoja.payments.outbox import NOTICES_FROM, Outbox
from umoja.payments.ports import TopUp
from umoja.signals import Amend, Amended, FindWrongs, Reached, TellTried, Wrongs
from umoja.storage.database import Database
from umoja.storage.migrate import migrate


class Partner:
    """A partner that says what it is told to say."""

    name = "played"

    def __init__(self) -> None:
        self.word: TopUp | Fault | None = None

    async def top_up(self, **_: Any) -> TopUp:
        raise AssertionError("nobody asks to top up again")

    async def ask(self, order_id: str) -> TopUp | None:
        del order_id
        if isinstance(self.word, Fault):
            raise self.word
        return self.word


@pytest.fixture
def partner() -> Partner:
    return Partner()


@pytest.fixture
def outbox(tmp_path: Path, ke: Stage):
    database = Database(tmp_path / "messages.db")
    migrate(database, "messages", ke.clock)
    yield database
    database.close()


@pytest.fixture
def making(ke: Stage, partner: Partner, outbox: Database) -> MakingGood:
    return MakingGood(
        desk=ke.desk,
        directory=ke.store,
        partner=partner,
        wronged=reader(ke),
        noticing=Noticing(
            market=ke.market,
            ledger=ke.ledger,
            directory=ke.store,
            texts=Texts.load(),
            outbox=lambda: outbox,
            mark=ke.desk.mark,
            clock=ke.clock,
        ),
        clock=ke.clock,
    )


@pytest.fixture
async def paid(ke: Stage):
    payer, payee = ke.customer(), ke.customer("Baraka Mwangi")
    ke.give_money(payer, 20_000_00)
    ke.pay("send_money", payer.id, payee.id, 1_000_00)
    yield payer, payee, ke.pay("send_money", payer.id, payee.id, 1_000_00)
    await ke.desk.close()
    assert ke.breaches() == ()


def amend(order: Order, act: str, minor: int, *, kind: str = "double_charge", **rest: str) -> Amend:
    values = {"key": "INC-000001.1.1", "order": order.id, "currency": "KES"} | rest
    return Amend(kind=kind, act=act, amount_minor=minor, **values)


# Compensation


async def test_a_compensation_is_paid_out_of_our_fees_once(ke: Stage, making: MakingGood, paid):
    payer, _, order = paid
    had, fees = ke.has(payer, "wallet"), ke.operator("fees")
    assert fees > 3_25
    asked = amend(order, "compensate", 3_25, kind="wrong_fee")
    done = await making.carry_out(asked)
    assert done.state == "done"
    assert await making.carry_out(asked) == done
    assert (ke.has(payer, "wallet"), ke.operator("fees")) == (had + 3_25, fees - 3_25)
    booked = ke.desk.find_receipt(done.reason)
    assert booked is not None
    assert (booked.product, booked.payer, booked.reference) == ("compensation", SYSTEM, order.id)
    assert booked.price.charge == 0
    other = amend(order, "compensate", 3_25, kind="wrong_fee", key="INC-000001.1.2")
    assert (await making.carry_out(other)).state == "done"
    assert ke.has(payer, "wallet") == had + 6_50


async def test_a_business_gets_its_part_back_into_its_till(ke: Stage, making: MakingGood, paid):
    payer, _, _ = paid
    till = ke.organisation()
    order = ke.pay("pay_till", payer.id, till.id, 5_000_00)
    assert order.price.payee_fee > 0
    had = ke.has(till, "till")
    asked = amend(order, "compensate", 1_00, kind="business_fee")
    assert (await making.carry_out(asked)).state == "done"
    assert ke.has(till, "till") == had + 1_00


@pytest.mark.parametrize(
    ("minor", "rest"),
    [(1_013_01, {}), (1, {"currency": "USD"}), (13_01, {"kind": "wrong_fee"})],
    ids=["more than was paid", "another currency", "more than the fee"],
)
async def test_the_market_pays_no_more_than_the_payment_can_have_taken(
    ke: Stage, making: MakingGood, paid, minor: int, rest: dict[str, str]
):
    payer, _, order = paid
    had = ke.has(payer, "wallet")
    told = await making.carry_out(amend(order, "compensate", minor, **rest))
    assert told == Amended(state="declined", reason="more than the payment can have taken wrongly")
    assert ke.has(payer, "wallet") == had


async def test_what_went_back_in_the_meantime_is_not_paid_again(
    ke: Stage, making: MakingGood, paid
):
    _payer, payee, order = paid
    assert (await making.carry_out(amend(order, "reverse", 1_013_00))).state == "waiting"
    told = await making.carry_out(amend(order, "compensate", 1_013_00, key="k2"))
    assert told == Amended(state="declined", reason="the payment is reversal asked now")
    ke.desk.submit_now([Consent(order=order.id, payee=payee.id, says_yes=True)])
    told = await making.carry_out(amend(order, "compensate", 1_013_00, key="k2"))
    assert told == Amended(state="declined", reason="the payment is reversed now")


async def test_a_refusal_has_its_reason(ke: Stage, making: MakingGood, paid):
    payer, _, order = paid
    fees = ke.operator("fees")
    told = await making.carry_out(amend(order, "compensate", 1_013_00))
    assert fees < 1_013_00
    assert told == Amended(state="declined", reason="not_enough")
    ke.store.update(replaced(payer, status=Status.SUSPENDED))
    told = await making.carry_out(amend(order, "compensate", 1_00, key="k2"))
    assert told == Amended(state="declined", reason="payee_barred")
    unknown = msgspec.structs.replace(order, id="0" * 32)
    told = await making.carry_out(amend(unknown, "compensate", 1_00, key="k3"))
    assert told == Amended(state="declined", reason="order_unknown")


async def test_where_compensations_are_stopped_nothing_is_refused_for_ever(
    ke: Stage, making: MakingGood, paid
):
    _payer, _, order = paid
    ke.switches.stop(market="KE", product="*", reason="drill")
    asked = amend(order, "compensate", 1_00)
    with pytest.raises(Unavailable, match="stopped"):
        await making.carry_out(asked)
    ke.switches.open(market="KE", product="*")
    assert (await making.carry_out(asked)).state == "done"


# Reversal


async def test_a_double_charge_is_asked_back_and_ends_as_its_receiver_says(
    ke: Stage, making: MakingGood, paid
):
    payer, payee, order = paid
    had = ke.has(payer, "wallet")
    asked = amend(order, "reverse", 1_013_00)
    assert await making.carry_out(asked) == Amended(state="waiting", reason=ASKED)
    assert await making.carry_out(asked) == Amended(state="waiting", reason=ASKED)
    assert ke.held(payee, "wallet") == 1_000_00
    ke.desk.submit_now([Consent(order=order.id, payee=payee.id, says_yes=True)])
    assert (await making.carry_out(asked)).state == "done"
    assert (await making.carry_out(asked)).state == "done"
    assert ke.has(payer, "wallet") == had + 1_013_00


async def test_what_its_receiver_keeps_is_not_asked_for_again(ke: Stage, making: MakingGood, paid):
    _payer, payee, order = paid
    asked = amend(order, "reverse", 1_013_00)
    await making.carry_out(asked)
    ke.desk.submit_now([Consent(order=order.id, payee=payee.id, says_yes=False)])
    assert await making.carry_out(asked) == Amended(state="declined", reason=KEPT)
    assert ke.held(payee, "wallet") == 0


async def test_a_reversal_that_cannot_be_says_why(ke: Stage, making: MakingGood, paid):
    _payer, payee, order = paid
    third = ke.customer()
    assert ke.pay("send_money", payee.id, third.id, 1_900_00).decline is None
    told = await making.carry_out(amend(order, "reverse", 1_013_00))
    assert told == Amended(state="declined", reason="money_gone")
    ke.clock.advance(timedelta(days=4))
    told = await making.carry_out(amend(order, "reverse", 1_013_00))
    assert told == Amended(state="declined", reason="too_late")


# Stuck money


@pytest.mark.parametrize(
    ("word", "hours", "told", "state"),
    [
        (TopUp.DONE, 2, "it had been delivered: the payment stands", State.COMPLETED),
        (TopUp.REFUSED, 2, "the money went back to the payer", State.FAILED),
        (None, 23, PARTNER_SILENT, State.HELD),
        (OutcomeUnknown("lost"), 23, PARTNER_SILENT, State.HELD),
        (None, 24, "the money went back to the payer", State.FAILED),
        (Unavailable("away"), 24, "the money went back to the payer", State.FAILED),
        (TopUp.DONE, 24, "it had been delivered: the payment stands", State.COMPLETED),
    ],
)
async def test_held_money_ends_as_the_partner_says_and_without_his_word_after_a_day(
    ke: Stage, making: MakingGood, partner: Partner, paid, word, hours, told, state
):
    payer, _, _ = paid
    had = ke.has(payer, "wallet")
    order = ke.pay("airtime", payer.id, SYSTEM, 100_00, reference="254712000001")
    ke.clock.advance(timedelta(hours=hours))
    partner.word = word
    asked = amend(order, "settle", order.total, kind="stuck")
    for _ in range(2):
        said = await making.carry_out(asked)
        assert said.reason == told
        assert said.state == ("waiting" if state is State.HELD else "done")
    standing = ke.desk.find(order.id)
    assert standing is not None
    assert standing.state is state
    if state is State.FAILED:
        assert standing.decline is Decline.PARTNER_FAILED or word is TopUp.REFUSED
        assert ke.has(payer, "wallet") == had


async def test_a_reversal_past_its_time_is_let_go(ke: Stage, making: MakingGood, paid):
    _payer, payee, order = paid
    await making.carry_out(amend(order, "reverse", 1_013_00))
    asked = amend(order, "settle", 1_000_00, kind="stuck", key="k2")
    assert (await making.carry_out(asked)).state == "waiting"
    ke.clock.advance(timedelta(hours=24, minutes=5))
    assert (await making.carry_out(asked)).state == "done"
    assert ke.held(payee, "wallet") == 0


async def test_the_centre_is_answered_what_it_asked(ke: Stage, making: MakingGood, paid):
    now = to_micros(ke.clock.now())
    found = await making.answer(FindWrongs(since=now - 60_000_000, until=now))
    assert isinstance(found, Wrongs)
    assert [each.kind for each in found.lines] == ["double_charge"]


# Telling who tried


def tell(ke: Stage, **changes: Any) -> TellTried:
    now = to_micros(ke.clock.now())
    values = {
        "incident": "INC-000001", "kind": "trouble", "product": "send_money",
        "since": now - 3_600_000_000, "until": now,
    } | changes  # fmt: skip
    return TellTried(**values)


async def test_who_tried_is_told_once_in_her_language_and_nobody_else(
    ke: Stage, making: MakingGood, outbox: Database, paid
):
    payer, payee, _ = paid
    swahili = ke.customer("Neema Juma")
    ke.store.update(replaced(swahili, language="sw"))
    ke.customer("Never Tried")
    ke.clock.advance(timedelta(hours=2))
    # A refused attempt is one, too; and one of another product is not.
    assert ke.pay("send_money", swahili.id, payee.id, 1_000_00).decline is Decline.NOT_ENOUGH
    ke.pay("send_money", payer.id, payee.id, 700_00)
    ke.pay("airtime", payee.id, SYSTEM, 50_00, reference="254712000001")

    assert await making.answer(tell(ke, is_rehearsal=True)) == Reached(told=2)
    assert outbox.query("SELECT * FROM messages") == []
    assert await making.answer(tell(ke)) == Reached(told=2)
    assert await making.answer(tell(ke)) == Reached(told=0, before=2)

    rows = outbox.query("SELECT * FROM messages ORDER BY place")
    assert [(row["phone"], row["text"]) for row in rows] == [
        (
            swahili.phone,
            "Tuma pesa: kuna hitilafu na tunaishughulikia. Usirudie malipo: subiri SMS yake.",
        ),
        (
            payer.phone,
            (
                "Send money: there is a disturbance and we are working on it."
                " Do not repeat a payment: wait for its SMS."
            ),
        ),
    ]
    assert all(swahili.phone not in row["id"] and str(swahili.id) not in row["id"] for row in rows)
    assert await making.answer(tell(ke, kind="over")) == Reached(told=2)
    assert await making.answer(tell(ke, incident="INC-000002", product="")) == Reached(told=3)


async def test_who_has_no_phone_any_more_is_counted(ke: Stage, making: MakingGood, paid):
    payer, _, _ = paid
    ke.store.update(replaced(payer, status=Status.CLOSED))
    assert await making.answer(tell(ke)) == Reached(told=0, unreachable=1)


@pytest.mark.parametrize(
    ("state", "told"), [("delivered", 7), ("sent", 0), ("failed", 0), ("waiting", 0)]
)
async def test_when_a_receipt_was_on_its_phone_is_read_from_the_messages(
    ke: Stage, making: MakingGood, outbox: Database, state: str, told: int
):
    outbox.run(
        "INSERT INTO messages VALUES (84, 'm', '254', 'text', 'k', :state, 0, 1, 1, 5, 7,"
        " 'send_money', 1, 'KES', 1)",
        state=state,
    )
    noticing = making._noticing
    assert noticing.told_at(42) == told
    assert noticing.told_at(41) is None  # nobody wrote one, or it is older than a month


async def test_notices_go_so_many_a_second_also_after_a_restart(
    ke: Stage, making: MakingGood, outbox: Database
):
    payee = ke.customer()
    for _ in range(2 * A_SECOND):
        ke.pay("send_money", ke.customer().id, payee.id, 100_00)
    assert await making.answer(tell(ke)) == Reached(told=2 * A_SECOND)
    now = to_micros(ke.clock.now())
    for _ in range(2):  # the second time as after a restart
        queue = Outbox(outbox, ke.desk)
    assert queue.due(now, 500) == []
    first = queue.due(now + 1_000_000, 500)
    assert len(first) == A_SECOND
    assert {each.place > NOTICES_FROM for each in first} == {True}
    assert len(queue.due(now + 2_000_000, 500)) == A_SECOND


def replaced(party: Party, **changes: Any) -> Party:
    return msgspec.structs.replace(party, **changes)
