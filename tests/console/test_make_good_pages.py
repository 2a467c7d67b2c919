"""Make-good and notices in the console, on a real market: from a double charge to money that came back."""

import asyncio
import csv
import io
import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.console.conftest import Desk, Opened, told
from tests.console.test_whole_console import CHROMIUM, entered, found_by_axe
from tests.console.test_words import english_in
from umoja.channels.ussd import Ussd
from umoja.faults import Unavailable
from umoja.markets.texts import Texts
from umoja.ops.incident import Stage
from umoja.partners.airtime import SimulatedAirtime
from umoja.payments.making_good import MakingGood
from umoja.payments.noticing import Noticing
from umoja.payments.wronged import Wronged
from umoja.signals import Answer, Question
from umoja.storage.database import Database
from umoja.storage.migrate import migrate

PAGE = "/incidents/INC-000001/make-good"
NOTICES = "/incidents/INC-000001/notices"


@pytest.fixture
def joined(opened: Opened, tmp_path):
    """Open a console whose market answers, as the hall joins them."""
    closers: list[Callable[[], None]] = []

    def make(**rest: Any) -> Desk:
        desk = opened(**rest)
        stage = desk.stages["KE"]
        outbox = Database(tmp_path / "messages.db")
        migrate(outbox, "messages", desk.clock)
        closers.append(outbox.close)
        noticing = Noticing(
            market=stage.market,
            ledger=stage.ledger,
            directory=stage.store,
            texts=Texts.load(),
            outbox=lambda: outbox,
            mark=stage.desk.mark,
            clock=desk.clock,
        )
        making = MakingGood(
            desk=stage.desk,
            directory=stage.store,
            partner=SimulatedAirtime(name="simulated", clock=desk.clock, seed="KE"),
            wronged=Wronged(
                market=stage.market,
                ledger=stage.ledger,
                directory=stage.store,
                find=stage.desk.find,
                waiting=stage.desk.waiting,
                mark=stage.desk.mark,
                clock=desk.clock,
                told_at=noticing.told_at,
            ),
            noticing=noticing,
            clock=desk.clock,
        )

        async def ask(market: str, question: Question) -> Answer:
            if market != "KE":
                raise Unavailable(f"{market} is not open")
            return await making.answer(question)

        desk.centre.make_good._ask = desk.centre.notices._ask = ask
        return desk

    yield make
    for close in closers:
        close()


@pytest.fixture
async def desk(joined: Callable[..., Desk]):
    """A console with one incident, in which Amina paid 1,000 twice."""
    made = joined()
    amina = made.customer("Amina Otieno", money=20_000_00)
    baraka = made.customer("Baraka Mwangi")
    made.clock.advance(timedelta(hours=2))
    made.incident("Payments fail")
    for _ in range(2):
        made.stages["KE"].pay("send_money", amina.id, baraka.id, 1_000_00)
    made.clock.advance(timedelta(seconds=30))
    yield made
    await made.stages["KE"].desk.close()
    assert made.stages["KE"].breaches() == ()


def ticks(page: str) -> list[str]:
    return re.findall(r'type="checkbox" name="(t[0-9a-f]{12})"', page)


async def test_from_a_double_charge_to_money_that_is_asked_back(desk: Desk):
    await desk.enter("eve", "engineer")
    empty = told((await desk.get(PAGE)).text)
    assert "No batch yet." in empty
    assert "Look into the journal" in empty

    answer = await desk.get(f"{PAGE}?after=0")
    page = told(answer.text)
    assert "paid twice" in page
    assert "suspicion" in page
    assert "KES 1,013" in page
    assert "the payer may have meant both" in page
    assert "Amina" not in page
    assert "254712" not in page
    (tick,) = ticks(answer.text)
    assert f'name="{tick}" value="1"' in answer.text
    assert " checked" not in answer.text  # a suspicion is ticked by a person

    refused = await desk.post(PAGE, act="draft", after="0")
    assert refused.status_code == 422
    assert "tick at least one line" in told(refused.text)
    drafted = await desk.post(PAGE, act="draft", after="0", note="called us", **{tick: "1"})
    assert (drafted.status_code, drafted.headers["location"]) == (303, PAGE)
    page = told((await desk.get(f"{PAGE}?after=0")).text)
    assert "who is not in a batch already" in page
    assert "Batch 1: drafted: waits for a second person" in page
    assert "called us" in page
    assert "Release: let" not in page  # an engineer drafts
    own = await desk.post(PAGE, act="release", batch="1")
    assert own.status_code == 422
    assert "eve may not do this" in told(own.text)

    await desk.post("/sign-out")
    await desk.enter("ada", "administrator")
    assert "Release: let KES 1,013 go" in told((await desk.get(PAGE)).text)
    assert (await desk.post(PAGE, act="release", batch="1")).status_code == 303
    assert await desk.centre.make_good.work() == 1
    live = told((await desk.get(f"{PAGE}/live")).text)
    assert "the receiver was asked and has a day to answer" in told((await desk.get(PAGE)).text)
    assert "released: being carried out" in live
    assert "0 of 1 lines at their end, nothing put right" in live
    assert [act for _, act, _, _ in desk.acts() if act.startswith("make_good")] == [
        "make_good_drafted",
        "make_good_released",
    ]


async def test_whoever_drafted_it_is_offered_no_release_even_as_administrator(desk: Desk):
    await desk.enter("ada", "administrator")
    (tick,) = ticks((await desk.get(f"{PAGE}?after=0")).text)
    await desk.post(PAGE, act="draft", after="0", **{tick: "1"})
    page = told((await desk.get(PAGE)).text)
    assert "You drafted it: somebody else has to release it." in page
    assert "Release: let" not in page
    answer = await desk.post(PAGE, act="release", batch="1")
    assert answer.status_code == 422
    assert "a second person releases it" in told(answer.text)
    assert (await desk.post(PAGE, act="withdraw", batch="1")).status_code == 303
    assert "Batch 1: withdrawn" in told((await desk.get(PAGE)).text)


async def test_what_was_ticked_must_still_be_so(desk: Desk):
    await desk.enter("eve", "engineer")
    answer = await desk.post(PAGE, act="draft", after="0", t0123456789ab="1")
    assert answer.status_code == 422
    assert "has changed meanwhile" in told(answer.text)
    assert desk.centre.make_good.of_incident("INC-000001") == []


async def test_a_batch_is_a_file_to_take_along(desk: Desk):
    await desk.enter("eve", "engineer")
    (tick,) = ticks((await desk.get(f"{PAGE}?after=0")).text)
    await desk.post(PAGE, act="draft", after="0", **{tick: "1"})
    answer = await desk.get(f"{PAGE}/1.csv")
    assert answer.headers["content-disposition"] == (
        'attachment; filename="INC-000001-batch-1.csv"'
    )
    (line,) = csv.DictReader(io.StringIO(answer.text))
    assert (line["kind"], line["amount_minor"], line["state"]) == (
        "double_charge",
        "101300",
        "drafted",
    )
    about = json.loads((await desk.get(f"{PAGE}/1.json")).text)
    assert (about["totals"], about["drafted_by"]) == ({"KES": 101300}, "eve")
    assert about["lines"][0]["order"] == line["order"]
    for path in (f"{PAGE}/2.csv", f"{PAGE}/1.xml", f"{PAGE}/x.csv"):
        assert (await desk.get(path)).status_code == 404


@pytest.mark.parametrize(
    ("role", "market", "status"),
    [("viewer", "GH", 403), ("viewer", "KE", 200), ("engineer", "GH", 403)],
)
async def test_only_staff_of_the_market_look(desk: Desk, role: str, market: str, status: int):
    assert (await desk.get(PAGE)).headers["location"] == f"/sign-in?to={PAGE}"
    await desk.enter("val", role, market)
    for path in (PAGE, f"{PAGE}/live", NOTICES):
        assert (await desk.get(path)).status_code == status
    if status == 200:
        assert (await desk.post(PAGE, act="draft", after="0", t0123456789ab="1")).status_code == 403
        assert (await desk.post(NOTICES, act="send", kind="trouble")).status_code == 403


async def test_where_the_market_is_away_it_says_so(opened: Opened):
    desk = opened()
    desk.incident()
    await desk.enter("eve", "engineer")
    answer = await desk.get(f"{PAGE}?after=0")
    assert answer.status_code == 503
    assert "the market cannot be asked now: KE is not joined to this centre" in told(answer.text)
    answer = await desk.post(NOTICES, act="send", kind="trouble")
    assert answer.status_code == 503


# Notices


async def test_who_tried_is_counted_then_told_and_it_stands_in_the_timeline(desk: Desk):
    await desk.enter("eve", "engineer")
    page = told((await desk.get(NOTICES)).text)
    assert "Our service: there is a disturbance and we are working on it." in page
    assert "Huduma yetu: kuna hitilafu" in page
    assert "Nothing yet." in page
    assert "It would reach 1 customer." in told((await desk.get(f"{NOTICES}?count=trouble")).text)

    assert (await desk.post(NOTICES, act="send", kind="trouble")).status_code == 303
    assert "1 customer, by eve" in told((await desk.get(NOTICES)).text)
    page = told((await desk.get(f"{NOTICES}?count=trouble")).text)
    assert "It would reach 0 customers. 1 was told before." in page
    incident = desk.centre.incidents.get("INC-000001")
    assert incident is not None
    assert incident.timeline[-1].what == "notice “trouble” by SMS to 1 customer who tried"
    assert ("eve", "notice_sent", "KE", "INC-000001 trouble: told 1") in desk.acts()
    assert (await desk.post(NOTICES, act="send", kind="rumour")).status_code == 422


async def test_the_line_above_the_menu_comes_and_goes_with_its_incident(desk: Desk):
    await desk.enter("eve", "engineer")
    switches = desk.centre.notices._switches
    ussd = Ussd(
        branches={"KE": desk.stages["KE"].branch},
        texts=Texts.load(),
        clock=desk.clock,
        noticed=switches.noticed,
    )
    phone = desk.toys.people["KE"][0].phone

    async def menu(session: str) -> str:
        return await ussd.answer(
            market="KE", session=session, service_code="*1#", phone=phone, text=""
        )

    plain = await menu("s1")
    assert plain.startswith("CON M-PESA\n1 Send money")
    assert (await desk.post(NOTICES, act="show")).status_code == 303
    assert (await desk.post(NOTICES, act="show")).status_code == 303
    assert await menu("s2") == plain.replace("CON ", "CON Our service: disturbed now\n")
    assert "reads it now" in told((await desk.get(NOTICES)).text)
    desk.centre.notices.look()
    assert switches.noticed("KE") == ["*"]
    desk.centre.incidents.advance("INC-000001", Stage.RESOLVED, actor="eve")
    desk.centre.notices.look()
    assert await menu("s3") == plain
    assert [act for _, act, _, _ in desk.acts() if act.startswith("notice_")] == [
        "notice_shown",
        "notice_hidden",
    ]
    answer = await desk.post(NOTICES, act="show")
    assert answer.status_code == 422
    assert "nothing to warn of" in told(answer.text)


async def test_the_call_centre_reads_what_to_say(desk: Desk):
    assert "any body" not in (await desk.get("/call-centre")).text
    page = told((await desk.get("/call-centre")).text)
    assert "Kenya · several products INC-000001 disturbed now" in page
    assert "Please do not repeat a payment" in page
    (said,) = (await desk.get("/call-centre.json")).json()["incidents"]
    assert (said["incident"], said["market"], said["state"]) == ("INC-000001", "KE", "trouble")
    assert [each["code"] for each in said["says"]] == ["en", "sw"]
    desk.centre.incidents.advance("INC-000001", Stage.RESOLVED, actor="eve")
    (said,) = (await desk.get("/call-centre.json")).json()["incidents"]
    assert said["state"] == "over"
    desk.clock.advance(timedelta(hours=25))
    page = told((await desk.get("/call-centre")).text)
    assert "Nothing is disturbed" in page


async def test_in_production_nobody_reads_it_without_signing_in(joined: Callable[..., Desk]):
    desk = joined(is_sandbox=False)
    assert (await desk.get("/call-centre")).status_code == 303
    assert (await desk.get("/call-centre.json")).status_code == 401


# Whoever reads it


PATHS = [PAGE, f"{PAGE}?after=0", NOTICES, f"{NOTICES}?count=trouble", "/call-centre"]


async def test_it_is_french_for_who_reads_french(desk: Desk):
    await desk.enter("ada", "administrator")
    (tick,) = ticks((await desk.get(f"{PAGE}?after=0")).text)
    french = {"accept-language": "fr"}
    page = (await desk.get(f"{PAGE}?after=0", **french)).text
    assert english_in(page) == []
    await desk.post(PAGE, act="draft", after="0", **{tick: "1"})
    for path in (*PATHS, f"{PAGE}/live"):
        # What customers are told is in their languages, and one of these is English.
        page = re.sub(r'<p lang="[a-z]+"[^>]*>.*?</p>', "", (await desk.get(path, **french)).text)
        assert english_in(page) == [], path


@pytest.mark.browser
@pytest.mark.bench  # too slow for the quick suite; in every build
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")
async def test_axe_finds_nothing_light_and_dark_wide_and_narrow(desk: Desk):
    await desk.enter("ada", "administrator")
    answer = await desk.get(f"{PAGE}?after=0")
    (tick,) = ticks(answer.text)
    for _ in range(2):
        await desk.post(PAGE, act="draft", after="0", note="they rang", **{tick: "1"})
        await desk.post(PAGE, act="withdraw", batch="1")
    desk.staff("bo", "administrator")
    desk.centre.make_good.release(2, actor="bo")
    await desk.centre.make_good.work()
    stage = desk.stages["KE"]
    payer, payee = stage.store.browse(role="customer", limit=2)
    for _ in range(2):
        stage.pay("send_money", payer.id, payee.id, 700_00)
    await desk.post(NOTICES, act="send", kind="trouble")
    await desk.post(NOTICES, act="show")
    found = await asyncio.to_thread(looked_at, desk)
    assert found == [], "\n".join(found)


def looked_at(desk: Desk) -> list[str]:
    """Look at every page in a browser; return what axe finds, and each page that is too wide."""
    found: list[str] = []
    for scheme, width in (("light", 1366), ("dark", 375)):
        size = {"width": width, "height": 844}
        with entered(desk, color_scheme=scheme, viewport=size, bypass_csp=True) as context:
            page = context.new_page()
            for path in PATHS:
                page.goto(path, wait_until="load")
                found += found_by_axe(page)
                if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                    found.append(f"{path} is wider than {width}")
    return found
