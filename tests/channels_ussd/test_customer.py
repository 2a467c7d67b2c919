"""What customers do by USSD: pay, be told the price, mistype, come back, and never pay twice."""

import asyncio
import threading
from datetime import timedelta

import pytest

from umoja.channels import ussd as engine
from umoja.channels.ussd import DECLINED
from umoja.faults import Busy, OutcomeUnknown, Unavailable
from umoja.ledger.journal import Journal
from umoja.ops.board import ATTEMPTS, PAY, PIN, REFUSED, Board, Group
from umoja.parties.party import PinOutcome, Status
from umoja.payments.order import Decline, State
from umoja.signals import OrderSeen, Outcome


async def test_money_goes_after_name_price_and_pin(ke):
    amina = ke.customer("Amina Otieno", money=500_000)
    baraka = ke.customer("Baraka Mwangi")

    shown = await ke.dial(amina, "1", "0" + baraka.phone[3:], "1000", session="one")
    assert shown == (
        f"CON Send KES 1,000 to Baraka Mwangi {baraka.phone}. Fee KES 13, total KES 1,013.\n"
        "Enter PIN to confirm\n0 Back  00 Menu"
    )
    assert ke.stage.has(baraka, "wallet") == 0

    done = await ke.dial(amina, "1", "0" + baraka.phone[3:], "1000", "1357", session="one")

    assert done.startswith("END ")
    assert done.endswith("confirmed. KES 1,000, Baraka Mwangi. Fee KES 13. You will get an SMS.")
    assert ke.stage.has(amina, "wallet") == 398_700
    assert ke.stage.has(baraka, "wallet") == 100_000
    order = ke.stage.desk.find_receipt(done[4:14])
    assert (order.channel, order.client, order.product) == ("ussd", "ussd", "send_money")


async def test_a_callback_that_comes_again_pays_once(ke):
    amina = ke.customer("Amina", money=500_000)
    baraka = ke.customer("Baraka")
    keys = ("1", baraka.phone, "1000", "1357")

    first = await ke.dial(amina, *keys, session="one")
    again = await ke.send(amina.phone, "*".join(keys), session="one")

    assert again == first
    assert ke.stage.has(baraka, "wallet") == 100_000


async def test_a_callback_that_comes_again_after_a_restart_pays_once(ke):
    amina = ke.customer("Amina", money=500_000)
    baraka = ke.customer("Baraka")
    keys = ("1", baraka.phone, "1000", "1357")
    first = await ke.dial(amina, *keys, session="one")

    ke.ussd = engine.Ussd(
        branches={"KE": ke.stage.branch}, texts=ke.ussd._texts, clock=ke.stage.clock
    )
    again = await ke.send(amina.phone, "*".join(keys), session="one")

    assert again == first
    assert ke.stage.has(baraka, "wallet") == 100_000


async def test_the_same_callback_twice_at_once_is_done_once(ke, monkeypatch):
    amina = ke.customer("Amina", money=500_000)
    baraka = ke.customer("Baraka")
    submitted = []
    submit = ke.stage.desk.submit

    async def counting(request):
        submitted.append(request)
        return await submit(request)

    monkeypatch.setattr(ke.stage.desk, "submit", counting)
    text = f"1*{baraka.phone}*1000*1357"

    answers = await asyncio.gather(*(ke.send(amina.phone, text, session="one") for _ in range(20)))

    assert len(set(answers)) == 1
    assert len(submitted) == 1
    assert ke.stage.has(baraka, "wallet") == 100_000


async def test_two_sessions_pay_twice(ke):
    amina = ke.customer("Amina", money=500_000)
    baraka = ke.customer("Baraka")

    await ke.dial(amina, "1", baraka.phone, "1000", "1357")
    await ke.dial(amina, "1", baraka.phone, "1000", "1357")

    assert ke.stage.has(baraka, "wallet") == 200_000


async def test_a_wrong_pin_pays_nothing_and_is_counted_once(ke):
    amina = ke.customer("Amina", money=500_000)
    baraka = ke.customer("Baraka")
    heard = []
    ke.stage.signals.listen(heard.append)

    wrong = await ke.dial(amina, "1", baraka.phone, "1000", "9999", session="one")
    for _ in range(5):
        again = await ke.send(amina.phone, f"1*{baraka.phone}*1000*9999", session="one")

    assert wrong == "END Wrong PIN. After 3 wrong PINs your account is locked."
    assert again == wrong
    assert ke.stage.has(baraka, "wallet") == 0
    assert ke.stage.store.check_pin(amina.id, "1357") is PinOutcome.RIGHT
    assert [
        (signal.channel, signal.outcome, signal.reason)
        for signal in heard
        if isinstance(signal, OrderSeen)
    ] == [("ussd", Outcome.REFUSED, "pin_wrong")]


async def test_three_wrong_pins_lock(ke):
    amina = ke.customer("Amina", money=500_000)

    for _ in range(2):
        await ke.dial(amina, "6", "1", "9999")
    third = await ke.dial(amina, "6", "1", "9999")
    right = await ke.dial(amina, "6", "1", "1357")

    assert third == right == "END Your PIN is locked. Please call customer care."


async def test_wrong_pins_stand_on_the_board_of_the_centre_each_customer_once(ke):
    board = Board(["KE"])
    ke.stage.signals.listen(
        lambda signal: board.order(signal) if isinstance(signal, OrderSeen) else None
    )
    baraka = ke.customer("Baraka")
    for number in range(3):
        payer = ke.customer(f"Payer {number}", money=500_000)
        for _ in range(4):  # and the fourth finds it locked
            await ke.dial(payer, "1", baraka.phone, "1000", "9999")
    await ke.dial(payer, "1", baraka.phone, "1000", "1357")

    frame = board.step(int(ke.stage.clock.now().timestamp()), blind_after_s=15, expected={})
    assert frame is not None
    paid = frame.counts[frame.places[Group("KE", PAY, "product", "send_money")]]
    assert (paid[ATTEMPTS], paid[REFUSED], paid[PIN]) == (13, 13, 3)


async def test_what_is_no_pin_is_not_counted_as_a_try(ke):
    amina = ke.customer("Amina", money=500_000)

    for text in ("12", "abcd", "12345", "-135"):
        screen = await ke.dial(amina, "6", "1", text)
        assert screen.startswith("CON A PIN has 4 digits.")

    assert await ke.dial(amina, "6", "1", "99", "1357") == "END Balance: KES 5,000"


async def test_who_cannot_pay_is_told_before_the_pin(ke):
    amina = ke.customer("Amina", money=50_000)
    baraka = ke.customer("Baraka")
    heard = []
    ke.stage.signals.listen(heard.append)

    screen = await ke.dial(amina, "1", baraka.phone, "500")

    assert screen == "END You do not have enough money."
    assert [signal.reason for signal in heard] == ["not_enough"]


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("1,000", "Type the amount without spaces or commas."),
        ("1 000", "Type the amount without spaces or commas."),
        ("10.50", "Type a multiple of KES 1."),
        ("-5", "Type only the amount, for example 1500"),
        ("1e3", "Type only the amount, for example 1500"),
        ("0100", "Type only the amount, for example 1500"),
        ("ten", "Type only the amount, for example 1500"),
        ("", "Type only the amount, for example 1500"),
        ("0.00", "The amount is too small."),
    ],
)
async def test_an_amount_that_is_none_is_asked_for_again(ke, typed, told):
    amina = ke.customer("Amina", money=500_000)
    baraka = ke.customer("Baraka")

    screen = await ke.dial(amina, "1", baraka.phone, typed, session="one")
    after = await ke.send(amina.phone, f"1*{baraka.phone}*{typed}*100", session="one")

    assert screen == f"CON {told}\nEnter amount in KES\n0 Back  00 Menu"
    assert after.startswith("CON Send KES 100 to Baraka")


async def test_digits_of_other_scripts_are_read(ke):
    amina = ke.customer("Amina", money=500_000)
    baraka = ke.customer("Baraka")

    screen = await ke.dial(amina, "١", baraka.phone, "٥٠٠", "١٣٥٧")

    assert "KES 500, Baraka" in screen


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("12", "This is not a mobile number."),
        ("0712349999", "This number is not registered."),
        ("OWN", "You cannot pay yourself."),
    ],
)
async def test_a_receiver_that_is_none_is_asked_for_again(ke, typed, told):
    amina = ke.customer("Amina", money=500_000)

    screen = await ke.dial(amina, "1", amina.phone if typed == "OWN" else typed)

    assert screen == f"CON {told}\nEnter phone number\n0 Back  00 Menu"


async def test_an_outlet_is_no_receiver_of_a_send(ke):
    amina = ke.customer("Amina", money=500_000)
    outlet = ke.outlet()

    screen = await ke.dial(amina, "1", outlet.phone)

    assert screen.startswith("CON This number is not registered.")


async def test_cash_is_withdrawn_at_an_agent(ke):
    amina = ke.customer("Amina", money=500_000)
    outlet = ke.outlet()

    shown = await ke.dial(amina, "2", outlet.agent_code, "1000", session="one")
    done = await ke.dial(amina, "2", outlet.agent_code, "1000", "1357", session="one")

    assert "Withdraw KES 1,000 at Corner Kiosk. Fee KES 29, total KES 1,029." in shown
    assert done.startswith("END ")
    assert ke.stage.has(outlet, "float") == 100_000
    assert ke.stage.has(amina, "wallet") == 397_100


async def test_a_till_and_a_bill_are_paid(ke):
    amina = ke.customer("Amina", money=500_000)
    shop = ke.stage.organisation()

    await ke.dial(amina, "3", shop.till, "300", "1357")
    shown = await ke.dial(amina, "4", shop.paybill, "INV-7 b", "200", session="one")
    done = await ke.dial(amina, "4", shop.paybill, "INV-7 b", "200", "1357", session="one")

    assert "Pay KES 200 to Duka Moja, ref INV-7 b." in shown
    assert ke.stage.desk.find_receipt(done[4:14]).reference == "INV-7 b"
    assert ke.stage.has(shop, "till") > 0


@pytest.mark.parametrize(
    ("keys", "phone"), [(("1",), "own"), (("2", "0712999888"), "254712999888")]
)
async def test_airtime_waits_for_the_network(ke, keys, phone):
    amina = ke.customer("Amina", money=500_000)

    done = await ke.dial(amina, "5", *keys, "100", "1357")

    assert done == "END KES 100 is being processed. You will get an SMS."
    (order,) = ke.stage.desk.waiting()
    assert order.state is State.HELD
    assert order.reference == (amina.phone if phone == "own" else phone)


async def test_nought_goes_back_and_two_noughts_home(ke):
    amina = ke.customer("Amina", money=500_000)
    baraka = ke.customer("Baraka")
    home = await ke.dial(amina)

    assert await ke.dial(amina, "1", "0") == home
    assert await ke.dial(amina, "1", baraka.phone, "500", "00") == home
    assert (await ke.dial(amina, "6", "1", "0")).startswith("CON 1 Balance")
    assert await ke.dial(amina, "0") == home
    assert await ke.dial(amina, "00") == home
    assert (await ke.dial(amina, "1", baraka.phone, "500", "0", "700")).startswith(
        "CON Send KES 700 to Baraka"
    )


async def test_a_dropped_session_is_taken_up_again(ke):
    amina = ke.customer("Amina", money=500_000)
    baraka = ke.customer("Baraka")
    await ke.dial(amina, "1", baraka.phone, session="dropped")

    ke.stage.clock.advance(timedelta(minutes=2))
    offer = await ke.dial(amina, session="next")
    question = await ke.dial(amina, "1", session="next")
    done = await ke.dial(amina, "1", "500", "1357", session="next")

    assert offer == "CON Your last session was cut off.\n1 Continue\n2 Main menu"
    assert question == "CON Enter amount in KES\n0 Back  00 Menu"
    assert done.startswith("END ")
    assert ke.stage.has(baraka, "wallet") == 50_000


async def test_a_dropped_session_may_be_left(ke):
    amina = ke.customer("Amina", money=500_000)
    baraka = ke.customer("Baraka")
    await ke.dial(amina, "1", baraka.phone, session="dropped")

    wrong = await ke.dial(amina, "0", session="next")
    home = await ke.dial(amina, "2", session="next")
    balance = await ke.dial(amina, "2", "6", "1", "1357", session="next")

    assert wrong.startswith("CON Please choose a number from the list.")
    assert home.startswith("CON M-PESA\n1 Send money")
    assert balance == "END Balance: KES 5,000"


async def test_a_session_is_taken_up_within_three_minutes_only(ke):
    amina = ke.customer("Amina", money=500_000)
    baraka = ke.customer("Baraka")
    await ke.dial(amina, "1", baraka.phone)

    ke.stage.clock.advance(timedelta(minutes=3, seconds=1))

    assert (await ke.dial(amina)).startswith("CON M-PESA")


async def test_nothing_is_taken_up_after_an_end_nor_out_of_a_menu(ke):
    amina = ke.customer("Amina", money=500_000)
    await ke.dial(amina, "6", "1", "1357")
    assert (await ke.dial(amina, "6")).startswith("CON 1 Balance")

    assert (await ke.dial(amina)).startswith("CON M-PESA")


async def test_no_pin_is_kept_in_memory(ke):
    amina = ke.customer("Amina", money=500_000)
    baraka = ke.customer("Baraka")
    await ke.dial(amina, "1", baraka.phone, "500", "1357")
    await ke.dial(baraka, "6", "6", "1357", "8642")

    kept = repr(ke.ussd._visits)

    assert "1357" not in kept
    assert "8642" not in kept


async def test_the_oldest_session_is_forgotten_first(ke, monkeypatch):
    monkeypatch.setattr(engine, "VISITS_MAX", 2)
    amina, baraka, caro = (ke.customer(name, money=50_000) for name in ("A", "B", "C"))

    for party in (amina, baraka, caro):
        await ke.dial(party, "1", amina.phone if party is not amina else baraka.phone)

    assert len(ke.ussd._visits) == 2
    assert (await ke.dial(amina)).startswith("CON M-PESA")
    assert (await ke.dial(caro)).startswith("CON Your last session was cut off.")


async def test_a_first_pin_is_chosen_before_anything_else(ke):
    amina = ke.stage.customer("Amina")

    welcome = await ke.dial(amina)
    short = await ke.dial(amina, "123")
    differs = await ke.dial(amina, "8642", "8643")
    done = await ke.dial(amina, "8642", "8642")

    assert welcome == "CON Welcome to M-PESA. Choose a secret PIN of 4 digits"
    assert short.startswith("CON A PIN has 4 digits.\nWelcome")
    assert differs.startswith("CON The two PINs differ. Start again.\nWelcome")
    assert done == "END Your PIN is set. Never tell it to anybody."
    assert ke.stage.store.check_pin(amina.id, "8642") is PinOutcome.RIGHT
    assert (await ke.dial(amina)).startswith("CON M-PESA")


async def test_a_market_may_refuse_pins_that_are_runs(handset_of):
    eg = handset_of("EG")
    amina = eg.speaks(eg.stage.customer("Amina"), "en")

    screen = await eg.dial(amina, "123456")

    assert screen.startswith("CON Too easy. Avoid PINs like 123456.")
    assert not eg.stage.store.has_pin(amina.id)


async def test_the_pin_is_changed_with_the_old_one(ke):
    amina = ke.customer("Amina")

    wrong = await ke.dial(amina, "6", "6", "1111", "8642", "8642")
    done = await ke.dial(amina, "6", "6", "1357", "8642", "8642")

    assert wrong.startswith("END Wrong PIN.")
    assert done.startswith("END Your PIN is set.")
    assert ke.stage.store.check_pin(amina.id, "8642") is PinOutcome.RIGHT


async def test_the_language_is_changed(ke):
    amina = ke.customer("Amina")

    offered = await ke.dial(amina, "6", "5")
    done = await ke.dial(amina, "6", "5", "2")

    assert offered == "CON Choose language\n1 English\n2 Kiswahili\n0 Back  00 Menu"
    assert done == "END Kuanzia sasa tutatumia Kiswahili."
    assert (await ke.dial(amina)).startswith("CON M-PESA\n1 Tuma pesa")


async def test_the_mini_statement_has_the_newest_first(ke):
    amina = ke.customer("Amina")
    assert await ke.dial(amina, "6", "2", "1357") == "END No payments yet."
    ke.stage.give_money(amina, 500_000)
    baraka = ke.customer("Baraka")
    ke.stage.clock.advance(timedelta(hours=1))
    await ke.dial(amina, "1", baraka.phone, "1000", "1357")

    assert await ke.dial(amina, "6", "2", "1357") == (
        "END 10/03 13:00 -KES 1,013 sent\n10/03 12:00 +KES 5,000 deposit"
    )
    assert await ke.dial(baraka, "6", "2", "1357") == "END 10/03 13:00 +KES 1,000 received"


async def test_what_an_organisation_paid_out_stands_in_the_statement(ke):
    amina, baraka = ke.customer("Amina", money=500_000), ke.customer("Baraka")
    shop = ke.stage.organisation()
    assert ke.stage.pay("pay_till", amina.id, shop.id, 4_000_00).receipt
    assert ke.stage.pay("payout", shop.id, baraka.id, 1_500_00).receipt
    assert await ke.dial(baraka, "6", "2", "1357") == "END 10/03 12:00 +KES 1,500 received"


async def test_a_send_is_asked_back_and_given_back(ke):
    amina = ke.customer("Amina", money=500_000)
    baraka = ke.customer("Baraka Mwangi")
    await ke.dial(amina, "1", baraka.phone, "1000", "1357")

    shown = await ke.dial(amina, "6", "3", session="one")
    asked = await ke.dial(amina, "6", "3", "1357", session="one")
    question = await ke.dial(baraka, "6", "4", session="two")
    given = await ke.dial(baraka, "6", "4", "1", "1357", session="two")

    assert shown.startswith("CON Ask Baraka Mwangi to return KES 1,000 sent 10/03 12:00?")
    assert asked == "END We asked Baraka Mwangi to return KES 1,000. You will get an SMS."
    assert question == (
        "CON Amina asks back KES 1,000 sent 10/03 12:00.\n"
        "1 Give it back\n2 Keep it\n0 Back  00 Menu"
    )
    assert given == "END You returned KES 1,000 to Amina."
    assert ke.stage.has(amina, "wallet") == 500_000
    assert ke.stage.has(baraka, "wallet") == 0


async def test_nobody_is_asked_for_money_before_the_asking_is_durable(handset_of, monkeypatch):
    ke = handset_of("KE", "sqlite")
    amina = ke.customer("Amina", money=500_000)
    baraka = ke.customer("Baraka")
    await ke.dial(amina, "1", baraka.phone, "1000", "1357")
    await ke.dial(amina, "6", "3", session="one")
    is_free = threading.Event()

    def lost(journal, lines):
        assert is_free.wait(20), "the test has forgotten to let go"
        raise Unavailable("the disk is full")

    monkeypatch.setattr(Journal, "keep", lost)
    asking = asyncio.create_task(ke.send(amina.phone, "6*3*1357", session="one"))
    while not ke.stage.desk.awaiting_consent(baraka.id):
        await asyncio.sleep(0.001)
    seen = asyncio.create_task(ke.send(baraka.phone, "6*4", session="two"))
    await asyncio.sleep(0.05)
    assert not seen.done()
    is_free.set()

    assert await seen == "END Nobody asked you to return money."
    assert "asked Baraka" not in await asking
    await ke.stage.desk.close()


async def test_a_receiver_may_keep_what_was_asked_back(ke):
    amina = ke.customer("Amina", money=500_000)
    baraka = ke.customer("Baraka")
    await ke.dial(amina, "1", baraka.phone, "1000", "1357")
    await ke.dial(amina, "6", "3", "1357")

    kept = await ke.dial(baraka, "6", "4", "2", "1357")

    assert kept == "END You keep KES 1,000. Amina will be told."
    assert ke.stage.has(baraka, "wallet") == 100_000


async def test_only_the_send_that_was_shown_is_asked_back(ke):
    amina = ke.customer("Amina", money=500_000)
    baraka, caro = ke.customer("Baraka"), ke.customer("Caro")
    await ke.dial(amina, "1", baraka.phone, "1000", "1357")
    await ke.dial(amina, "6", "3", session="one")
    ke.stage.pay("send_money", amina.id, caro.id, 70_000)

    done = await ke.send(amina.phone, "6*3*1357", session="one")

    assert "Baraka" in done
    assert ke.stage.has(baraka, "wallet") == 0
    assert ke.stage.has(caro, "wallet") == 70_000


async def test_without_having_seen_which_send_nothing_is_asked_back(ke):
    amina = ke.customer("Amina", money=500_000)
    baraka = ke.customer("Baraka")
    await ke.dial(amina, "1", baraka.phone, "1000", "1357")

    done = await ke.send(amina.phone, "6*3*1357", session="fresh")

    assert done == "END We could not read that. Please dial again."
    assert ke.stage.has(baraka, "wallet") == 100_000


async def test_an_old_send_is_not_asked_back(ke):
    amina = ke.customer("Amina", money=500_000)
    baraka = ke.customer("Baraka")
    await ke.dial(amina, "1", baraka.phone, "1000", "1357")

    ke.stage.clock.advance(timedelta(hours=ke.stage.market.reversal_window_h, minutes=1))

    assert await ke.dial(amina, "6", "3") == "END You have no payment that can be undone."


async def test_a_market_with_two_currencies_asks_which(handset_of):
    cd = handset_of("CD")
    amina = cd.customer("Amina")
    cd.stage.give_money(amina, 10_000)
    baraka = cd.customer("Baraka")

    first = await cd.dial(amina, "1", session="one")
    shown = await cd.dial(amina, "1", "1", baraka.phone, "20.50", session="one")
    done = await cd.dial(amina, "1", "1", baraka.phone, "20.50", "1357", session="one")
    balance = await cd.dial(baraka, "6", "1", "1357")

    assert first == "CON Choose currency\n1 USD\n2 CDF\n0 Back  00 Menu"
    assert "Send USD 20.50 to Baraka" in shown
    assert done.startswith("END ")
    assert balance == "END Balance: USD 20.50, CDF 0"


async def test_strangers_are_told_how_to_register(ke):
    assert await ke.send("254712000999", "") == (
        "END Your number is not registered. To register, take your ID to an agent of M-PESA. "
        "It is free."
    )


async def test_a_barred_customer_gets_no_menu(ke):
    import msgspec

    amina = ke.customer("Amina", money=500_000)
    ke.stage.store.update(msgspec.structs.replace(amina, status=Status.SUSPENDED))

    assert (await ke.dial(amina)).startswith("END Your account cannot pay now.")


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Busy("the desk"), "END We are busy. Nothing was done. Please try again in a minute."),
        (
            OutcomeUnknown("lost"),
            "END Your request is being checked. You will get an SMS. Do not repeat it.",
        ),
        (
            AssertionError("bug 1357"),
            "END Your request is being checked. You will get an SMS. Do not repeat it.",
        ),
    ],
)
async def test_faults_are_told_and_may_be_tried_again(ke, monkeypatch, capsys, fault, told):
    amina = ke.customer("Amina", money=500_000)
    baraka = ke.customer("Baraka")
    submit = ke.stage.desk.submit

    async def failing(request):
        raise fault

    monkeypatch.setattr(ke.stage.desk, "submit", failing)
    first = await ke.dial(amina, "1", baraka.phone, "500", "1357", session="one")
    monkeypatch.setattr(ke.stage.desk, "submit", submit)
    second = await ke.send(amina.phone, f"1*{baraka.phone}*500*1357", session="one")

    assert first == told
    assert "confirmed. KES 500" in second
    assert "1357" not in capsys.readouterr().out


def test_every_refusal_has_words():
    assert set(DECLINED) == set(Decline)


async def test_names_cannot_turn_or_break_a_screen(ke):
    amina = ke.customer("Amina", money=500_000)
    baraka = ke.customer("\u202eevil\u202c\nEND \u200f{fee} 🦁 سلمى")

    shown = await ke.dial(amina, "1", baraka.phone, "500")

    assert f"to evil END {{fee}} 🦁 سلمى {baraka.phone}." in shown
    assert not {"\u202e", "\u200f", "\u202c"} & set(shown)
