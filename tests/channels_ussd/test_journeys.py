"""A day on the phone in each market: send, pay a bill, buy airtime, withdraw and look what is left.

Every screen stands here in full, in the market's own first language, with that market's prices and
taxes of 10 March 2026; so do the balances that are left, in minor units.
"""

from dataclasses import dataclass, field

import pytest

from umoja.payments.order import State


@dataclass(frozen=True, kw_only=True)
class Day:
    """What one customer types and sees. {b} and {a} are her friend's number and her own."""

    language: str
    amount: str
    minor: int
    sends: str
    sent: str
    bills: str
    buys: str
    withdraws: str
    balance: str
    left: tuple[int, int, int]  # her wallet, her friend's, the outlet's float
    pin: str = "1357"
    currency: tuple[str, ...] = field(default=())


DAYS = {
    "KE": Day(
        language="en",
        amount="1000",
        minor=100_000,
        sends="Send KES 1,000 to Baraka Mwangi {b}. Fee KES 13, total KES 1,013.\n"
        "Enter PIN to confirm\n0 Back  00 Menu",
        sent="confirmed. KES 1,000, Baraka Mwangi. Fee KES 13. You will get an SMS.",
        bills="Pay KES 1,000 to Duka Moja, ref INV-7. Fee KES 10, total KES 1,010.\n"
        "Enter PIN to confirm\n0 Back  00 Menu",
        buys="Airtime KES 1,000 for {a}. Fee KES 0, total KES 1,000.\n"
        "Enter PIN to confirm\n0 Back  00 Menu",
        withdraws="Withdraw KES 1,000 at Corner Kiosk. Fee KES 29, total KES 1,029.\n"
        "Enter PIN to confirm\n0 Back  00 Menu",
        balance="Balance: KES 5,948\nOn hold: KES 1,000",
        left=(594_800, 100_000, 100_000),
    ),
    "TZ": Day(
        language="sw",
        amount="30000",
        minor=3_000_000,
        sends="Tuma TZS 30,000 kwa Baraka Mwangi {b}. Ada TZS 400, jumla TZS 30,400.\n"
        "Weka PIN kuthibitisha\n0 Rudi  00 Menyu",
        sent="imethibitishwa. TZS 30,000, Baraka Mwangi. Ada TZS 400. Utapata SMS.",
        bills="Lipa TZS 30,000 kwa Duka Moja, kumb. INV-7. Ada TZS 300, jumla TZS 30,300.\n"
        "Weka PIN kuthibitisha\n0 Rudi  00 Menyu",
        buys="Muda wa TZS 30,000 kwa {a}. Ada TZS 0, jumla TZS 30,000.\n"
        "Weka PIN kuthibitisha\n0 Rudi  00 Menyu",
        # The operator's 1,850 and the levy of 351 on cash that is taken out.
        withdraws="Toa TZS 30,000 kwa Corner Kiosk. Ada TZS 1,850 + kodi TZS 351, jumla TZS 32,201.\n"
        "Weka PIN kuthibitisha\n0 Rudi  00 Menyu",
        balance="Salio: TZS 177,099\nImezuiwa: TZS 30,000",
        left=(17_709_900, 3_000_000, 3_000_000),
    ),
    "CD": Day(
        language="fr",
        amount="20",
        minor=2_000,
        currency=("1",),
        sends="Envoyer USD 20.00 à Baraka Mwangi {b}. Frais USD 0.05, total USD 20.05.\n"
        "PIN pour confirmer\n0 Retour  00 Menu",
        sent="confirmé. USD 20.00, Baraka Mwangi. Frais USD 0.05. Vous recevrez un SMS.",
        bills="Payer USD 20.00 à Duka Moja, réf. INV-7. Frais USD 0.20, total USD 20.20.\n"
        "PIN pour confirmer\n0 Retour  00 Menu",
        buys="Crédit USD 20.00 pour {a}. Frais USD 0.00, total USD 20.00.\n"
        "PIN pour confirmer\n0 Retour  00 Menu",
        withdraws="Retirer USD 20.00 chez Corner Kiosk. Frais USD 0.60, total USD 20.60.\n"
        "PIN pour confirmer\n0 Retour  00 Menu",
        balance="Solde : USD 119.15, CDF 0\nBloqué : USD 20.00",
        left=(11_915, 2_000, 2_000),
    ),
    "MZ": Day(
        language="pt",
        amount="2000",
        minor=200_000,
        sends="Enviar MZN 2,000 para Baraka Mwangi {b}. Taxa MZN 10, total MZN 2,010.\n"
        "PIN para confirmar\n0 Voltar  00 Menu",
        sent="confirmado. MZN 2,000, Baraka Mwangi. Taxa MZN 10. Vai receber um SMS.",
        bills="Pagar MZN 2,000 a Duka Moja, ref. INV-7. Taxa MZN 5, total MZN 2,005.\n"
        "PIN para confirmar\n0 Voltar  00 Menu",
        buys="Crédito MZN 2,000 para {a}. Taxa MZN 0, total MZN 2,000.\n"
        "PIN para confirmar\n0 Voltar  00 Menu",
        withdraws="Levantar MZN 2,000 em Corner Kiosk. Taxa MZN 40, total MZN 2,040.\n"
        "PIN para confirmar\n0 Voltar  00 Menu",
        balance="Saldo: MZN 11,945\nCativo: MZN 2,000",
        left=(1_194_500, 200_000, 200_000),
    ),
    "LS": Day(
        language="st",
        amount="500",
        minor=50_000,
        sends="Romela LSL 500.00 ho Baraka Mwangi {b}. Tefiso LSL 3.00, kakaretso LSL 503.00.\n"
        "Kenya PIN ho netefatsa\n0 Morao  00 Menu",
        sent="e netefalitsoe. LSL 500.00, Baraka Mwangi. Tefiso LSL 3.00. U tla fumana SMS.",
        bills="Lefa LSL 500.00 ho Duka Moja, ref INV-7. Tefiso LSL 3.00, kakaretso LSL 503.00.\n"
        "Kenya PIN ho netefatsa\n0 Morao  00 Menu",
        buys="Airtime LSL 500.00 bakeng sa {a}. Tefiso LSL 0.00, kakaretso LSL 500.00.\n"
        "Kenya PIN ho netefatsa\n0 Morao  00 Menu",
        withdraws="Hula LSL 500.00 ho Corner Kiosk. Tefiso LSL 10.00, kakaretso LSL 510.00.\n"
        "Kenya PIN ho netefatsa\n0 Morao  00 Menu",
        balance="Chelete e setseng: LSL 2,984.00\nE tšoeroeng: LSL 500.00",
        left=(298_400, 50_000, 50_000),
    ),
    "GH": Day(
        language="en",
        amount="250",
        minor=25_000,
        sends="Send GHS 250.00 to Baraka Mwangi {b}. Fee GHS 0.00, total GHS 250.00.\n"
        "Enter PIN to confirm\n0 Back  00 Menu",
        sent="confirmed. GHS 250.00, Baraka Mwangi. Fee GHS 0.00. You will get an SMS.",
        bills="Pay GHS 250.00 to Duka Moja, ref INV-7. Fee GHS 0.00, total GHS 250.00.\n"
        "Enter PIN to confirm\n0 Back  00 Menu",
        buys="Airtime GHS 250.00 for {a}. Fee GHS 0.00, total GHS 250.00.\n"
        "Enter PIN to confirm\n0 Back  00 Menu",
        withdraws="Withdraw GHS 250.00 at Corner Kiosk. Fee GHS 2.50, total GHS 252.50.\n"
        "Enter PIN to confirm\n0 Back  00 Menu",
        balance="Balance: GHS 1,497.50\nOn hold: GHS 250.00",
        left=(149_750, 25_000, 25_000),
    ),
    "EG": Day(
        language="ar",
        amount="800",
        minor=80_000,
        pin="135790",
        # The first transfer of the month is free.
        sends="تحويل EGP 800 إلى Baraka Mwangi {b}. الرسوم EGP 0، الإجمالي EGP 800.\n"
        "أدخل الرقم السري للتأكيد\n0 رجوع  00 القائمة",
        sent="تم. EGP 800، Baraka Mwangi. الرسوم EGP 0. ستصلك رسالة.",
        bills="دفع EGP 800 إلى Duka Moja، مرجع INV-7. الرسوم EGP 5، الإجمالي EGP 805.\n"
        "أدخل الرقم السري للتأكيد\n0 رجوع  00 القائمة",
        buys="شحن EGP 800 للرقم {a}. الرسوم EGP 0، الإجمالي EGP 800.\n"
        "أدخل الرقم السري للتأكيد\n0 رجوع  00 القائمة",
        withdraws="سحب EGP 800 من Corner Kiosk. الرسوم EGP 8، الإجمالي EGP 808.\n"
        "أدخل الرقم السري للتأكيد\n0 رجوع  00 القائمة",
        balance="الرصيد: EGP 4,787\nمحجوز: EGP 800",
        left=(478_700, 80_000, 80_000),
    ),
    "ET": Day(
        language="am",
        amount="1500",
        minor=150_000,
        # The tax on the fee is on top of it: 4 and 0.60, 3 and 0.45, 15 and 2.25.
        sends="ETB 1,500 ለBaraka Mwangi {b} ይላክ። ክፍያ ETB 4 + ግብር ETB 0.60፣ ድምር ETB 1,504.60።\n"
        "ለማረጋገጥ ፒን ያስገቡ\n0 ተመለስ  00 ምናሌ",
        sent="ተረጋግጧል። ETB 1,500፣ Baraka Mwangi። ክፍያ ETB 4.60። ኤስኤምኤስ ይደርስዎታል።",
        bills="ETB 1,500 ለDuka Moja ይከፈል፣ ማጣቀሻ INV-7። ክፍያ ETB 3 + ግብር ETB 0.45፣ ድምር ETB 1,503.45።\n"
        "ለማረጋገጥ ፒን ያስገቡ\n0 ተመለስ  00 ምናሌ",
        buys="የአየር ሰዓት ETB 1,500 ለ{a}። ክፍያ ETB 0፣ ድምር ETB 1,500።\nለማረጋገጥ ፒን ያስገቡ\n0 ተመለስ  00 ምናሌ",
        withdraws="ETB 1,500 ከCorner Kiosk ይውጣ። ክፍያ ETB 15 + ግብር ETB 2.25፣ ድምር ETB 1,517.25።\n"
        "ለማረጋገጥ ፒን ያስገቡ\n0 ተመለስ  00 ምናሌ",
        balance="ቀሪ ሂሳብ: ETB 8,974.70\nየተያዘ: ETB 1,500",
        left=(897_470, 150_000, 150_000),
    ),
}


@pytest.mark.parametrize("code", sorted(DAYS))
async def test_a_day_on_the_phone(handset_of, code):
    day, phone = DAYS[code], handset_of(code)
    stage = phone.stage
    amina = phone.customer("Amina Otieno", money=day.minor * 10, language=day.language)
    baraka = phone.customer("Baraka Mwangi", language=day.language)
    outlet, shop = phone.outlet(language=day.language), stage.organisation()
    assert phone.pin == day.pin

    async def does(*keys: str) -> tuple[str, str]:
        """Return the question before the PIN, and what became of it."""
        session = f"{code}-{keys[0]}"
        shown = await phone.dial(amina, *keys, session=session)
        return shown, await phone.dial(amina, *keys, day.pin, session=session)

    def screen(text: str) -> str:
        return "CON " + text.replace("{b}", baraka.phone).replace("{a}", amina.phone)

    assert (await phone.dial(amina)).startswith(f"CON {stage.market.brand}\n1 ")
    # Typed as people do at home, where the market writes numbers with a nought before them.
    friend = stage.market.trunk_prefix + baraka.phone.removeprefix(stage.market.dialling_code)
    shown, sent = await does("1", *day.currency, friend, day.amount)
    assert shown == screen(day.sends)
    assert sent[:4] == "END "
    assert sent[15:] == day.sent
    shown, paid = await does("4", *day.currency, shop.paybill, "INV-7", day.amount)
    assert shown == screen(day.bills)
    assert stage.desk.find_receipt(paid[4:14]).reference == "INV-7"
    shown, _ = await does("5", *day.currency, "1", day.amount)
    assert shown == screen(day.buys)
    assert [order.state for order in stage.desk.waiting()] == [State.HELD]
    shown, taken = await does("2", *day.currency, outlet.agent_code, day.amount)
    assert shown == screen(day.withdraws)
    assert stage.desk.find_receipt(taken[4:14]).payee == outlet.id

    assert await phone.dial(amina, "6", "1", day.pin) == f"END {day.balance}"
    assert (
        stage.has(amina, "wallet"),
        stage.has(baraka, "wallet"),
        stage.has(outlet, "float"),
    ) == day.left
    assert stage.breaches() == ()


async def test_the_second_transfer_of_a_month_has_its_price(handset_of):
    phone = handset_of("EG")
    amina = phone.customer("Amina", money=1_000_000, language="en")
    baraka = phone.customer("Baraka", language="en")

    await phone.dial(amina, "1", baraka.phone, "800", "135790")
    second = await phone.dial(amina, "1", baraka.phone, "800")

    assert "Fee EGP 1, total EGP 801." in second


async def test_a_wallet_of_the_second_currency_pays_by_its_own_prices(handset_of):
    phone = handset_of("CD")
    amina, baraka = phone.customer("Amina", language="fr"), phone.customer("Baraka")
    phone.stage.give_money(amina, 10_000_000, currency="CDF")

    cents = await phone.dial(amina, "1", "2", baraka.phone, "1000.50", session="one")
    shown = await phone.dial(amina, "1", "2", baraka.phone, "1000.50", "20000", session="one")

    assert "Tapez un multiple de CDF 1" in cents
    assert "Envoyer CDF 20,000 à Baraka" in shown
    assert "Frais CDF 150, total CDF 20,150." in shown
