"""What outlets, their assistants and dealers do by USSD."""

from umoja.parties.party import PinOutcome


async def test_an_outlet_deposits_for_a_customer(ke):
    outlet = ke.outlet(float_minor=1_000_000)
    amina = ke.customer("Amina Otieno")

    shown = await ke.dial(outlet, "1", amina.phone, "1000", session="one")
    done = await ke.dial(outlet, "1", amina.phone, "1000", "1357", session="one")

    assert shown == (
        f"CON Deposit KES 1,000 to Amina Otieno {amina.phone}.\n"
        "PIN, or operator code then PIN\n0 Back  00 Menu"
    )
    assert done.startswith("END ")
    assert ke.stage.has(amina, "wallet") == 100_000
    assert ke.stage.desk.find_receipt(done[4:14]).actor == 0


async def test_an_assistant_signs_with_her_code_and_pin(ke):
    outlet = ke.outlet(float_minor=1_000_000)
    neema = ke.assistant(outlet, code="12", pin="2468")
    amina = ke.customer("Amina")

    together = await ke.dial(outlet, "1", amina.phone, "1000", "122468")
    apart = await ke.dial(outlet, "1", amina.phone, "1000", "12 2468")

    assert ke.stage.desk.find_receipt(together[4:14]).actor == neema.id
    assert ke.stage.desk.find_receipt(apart[4:14]).actor == neema.id
    assert ke.stage.has(amina, "wallet") == 200_000


async def test_wrong_signs_are_refused(ke):
    outlet = ke.outlet(float_minor=1_000_000)
    neema = ke.assistant(outlet, code="12", pin="2468")
    amina = ke.customer("Amina")

    for typed in ("132468", "121357", "9999"):
        screen = await ke.dial(outlet, "1", amina.phone, "1000", typed)
        assert screen.startswith("END Wrong PIN.")

    assert ke.stage.has(amina, "wallet") == 0
    assert ke.stage.store.check_pin(neema.id, "2468") is PinOutcome.RIGHT


async def test_a_customer_cannot_sign_with_more_digits(ke):
    amina = ke.customer("Amina", money=500_000)

    assert (await ke.dial(amina, "6", "1", "121357")).startswith("CON A PIN has 4 digits.")


async def test_float_and_commission_are_shown(ke):
    outlet = ke.outlet(float_minor=1_000_000)
    amina = ke.customer("Amina")
    await ke.dial(outlet, "1", amina.phone, "1000", "1357")

    assert await ke.dial(outlet, "2", "1357") == "END Float: KES 9,000"
    assert (await ke.dial(outlet, "3", "1357")).startswith("END Commission: KES ")


async def test_float_goes_to_another_outlet(ke):
    outlet = ke.outlet(float_minor=1_000_000)
    other = ke.outlet()

    shown = await ke.dial(outlet, "4", other.agent_code, "2500", session="one")
    done = await ke.dial(outlet, "4", other.agent_code, "2500", "1357", session="one")

    assert shown == (
        "CON Send float KES 2,500 to Corner Kiosk.\nPIN, or operator code then PIN\n0 Back  00 Menu"
    )
    assert done.endswith("confirmed. KES 2,500, Corner Kiosk. Fee KES 0. You will get an SMS.")
    assert ke.stage.has(outlet, "float") == 750_000
    assert ke.stage.has(other, "float") == 250_000


async def test_an_outlet_sends_no_float_to_itself(ke):
    outlet = ke.outlet(float_minor=1_000_000)

    screen = await ke.dial(outlet, "4", outlet.agent_code)

    assert screen.startswith("CON You cannot pay yourself.")


async def test_an_outlet_without_float_is_told_before_the_pin(ke):
    outlet = ke.outlet()
    amina = ke.customer("Amina")

    assert await ke.dial(outlet, "1", amina.phone, "1000") == "END The agent's float is too small."


async def test_a_dealer_has_a_menu_of_her_own(ke):
    dealer = ke.stage.dealer()
    ke.stage.store.set_pin(dealer.id, "1357")
    ke.stage.give_float(dealer, 1_000_000)
    outlet = ke.outlet()

    home = await ke.dial(dealer)
    done = await ke.dial(dealer, "3", outlet.agent_code, "2500", "1357")

    assert home.startswith("CON M-PESA\n1 Float balance")
    assert done.startswith("END ")
    assert ke.stage.has(outlet, "float") == 250_000


async def test_an_outlet_with_assistants_needs_no_pin_of_its_own(ke):
    outlet = ke.stage.outlet()
    ke.stage.give_float(outlet, 1_000_000)
    ke.assistant(outlet, code="12", pin="2468")

    assert (await ke.dial(outlet)).startswith("CON M-PESA\n1 Deposit for customer")
    assert await ke.dial(outlet, "2", "122468") == "END Float: KES 10,000"
