"""Receipts reach both sides in their language, whatever becomes of the route, the disk, the process."""

from datetime import timedelta

import msgspec
import pytest

from tests.channels_sms.conftest import Post
from tests.postgres import files_only
from umoja.faults import OutcomeUnknown, Unavailable
from umoja.parties.party import SYSTEM, Status
from umoja.payments.order import Consent, Reverse, Settle
from umoja.payments.outbox import Counts, Fate, message_id


def people(post: Post, *, languages: tuple[str, str] = ("en", "en")):
    found = []
    for name, language in zip(("Amina Otieno", "Baraka Mwangi"), languages, strict=True):
        party = msgspec.structs.replace(post.stage.customer(name), language=language)
        post.stage.store.update(party)
        found.append(party)
    post.stage.give_money(found[0], 2_000_000)
    return found


async def skip_what_was(post: Post) -> None:
    """Start, and let the texts of the beginning be delivered."""
    post.start()
    await post.pass_time(6)
    post.seen.clear()


async def test_both_sides_are_told_each_in_her_language(post_of):
    post = post_of("KE")
    amina, baraka = people(post, languages=("en", "sw"))
    await skip_what_was(post)

    order = post.stage.pay("send_money", amina.id, baraka.id, 100_000)
    await post.pass_time(6)

    assert post.texts(amina.phone)[-1] == (
        f"{order.receipt} confirmed. You sent KES 1,000 to Baraka Mwangi on 10/03/26 12:00."
        " Fee KES 13. Balance KES 18,987."
    )
    swahili = post.texts(baraka.phone)[-1]
    assert order.receipt in swahili
    assert "Umepokea" in swahili
    assert "Amina Otieno" in swahili
    assert swahili.endswith("KES 1,000.")
    assert (post.told("sent"), post.told("delivered"), post.told("failed")) == (2, 2, 0)


async def test_the_centre_is_told_what_a_message_was_for_and_no_phone(post_of):
    post = post_of("KE")
    amina, baraka = people(post)
    await skip_what_was(post)

    order = post.stage.pay("send_money", amina.id, baraka.id, 100_000)
    await post.pass_time(6)

    first = post.seen[0]
    assert (first.state, first.product, first.value_minor, first.currency) == (
        "sent", "send_money", 100_000, "KES",
    )  # fmt: skip
    assert first.payer_mark == order.payer_mark
    assert len({each.order_mark for each in post.seen}) == 1
    assert 0 < first.waited_s < 2
    delivered = [each.waited_s for each in post.seen if each.state == "delivered"]
    assert all(0.4 < waited <= 3.2 for waited in delivered)
    assert all(amina.phone not in str(each) and "Amina" not in str(each) for each in post.seen)


async def test_refused_and_waiting_orders_send_nothing(post_of):
    post = post_of("KE")
    amina, baraka = people(post)
    await skip_what_was(post)

    post.stage.pay("send_money", amina.id, baraka.id, 900_000_000)
    held = post.stage.pay("airtime", amina.id, SYSTEM, 10_000, reference=amina.phone)
    await post.pass_time(6)
    assert post.seen == []

    post.stage.desk.submit_now([Settle(order=held.id, is_done=False)])
    await post.pass_time(6)
    assert post.texts(amina.phone)[-1].startswith(f"Airtime KES 100 for {amina.phone} failed.")
    assert post.told("delivered") == 1


async def test_a_payment_asked_back_is_told_at_each_step(post_of):
    post = post_of("KE")
    amina, baraka = people(post)
    await skip_what_was(post)
    order = post.stage.pay("send_money", amina.id, baraka.id, 100_000)
    await post.pass_time(6)
    desk = post.stage.desk

    desk.submit_now([Reverse(order=order.id, payer=amina.id, client="test", channel="ussd")])
    await post.pass_time(6)
    assert "asks you to return KES 1,000" in post.texts(baraka.phone)[-1]

    desk.submit_now([Consent(order=order.id, payee=baraka.id, says_yes=True)])
    await post.pass_time(6)
    assert "KES 1,000 and fee KES 13 came back" in post.texts(amina.phone)[-1]
    assert len(set(post.texts(baraka.phone))) == 3


async def test_a_closed_party_and_an_organisation_without_phone_get_no_text(post_of):
    post = post_of("KE")
    amina, baraka = people(post)
    shop = post.stage.organisation()
    await skip_what_was(post)

    post.stage.pay("pay_till", amina.id, shop.id, 100_000)
    post.stage.pay("send_money", amina.id, baraka.id, 100_000)
    post.stage.store.update(msgspec.structs.replace(baraka, status=Status.CLOSED))
    await post.pass_time(6)

    assert post.told("delivered") == 2  # both to Amina


async def test_a_dead_route_is_told_once_a_message_and_delivers_all_when_it_is_back(post_of):
    post = post_of("GH")
    amina, baraka = people(post)
    await skip_what_was(post)
    post.route.is_dead = True

    orders = [post.stage.pay("send_money", amina.id, baraka.id, 1_000 + n) for n in range(20)]
    await post.pass_time(70)
    assert (post.told("failed"), post.told("sent")) == (40, 0)
    assert post.outbox.counts().waiting == 40

    post.route.is_dead = False
    await post.pass_time(70)
    assert (post.told("failed"), post.told("sent"), post.told("delivered")) == (40, 40, 40)
    got = post.texts(baraka.phone)
    assert len(got) == 20
    assert {text.split()[0] for text in got} == {order.receipt for order in orders}


async def test_while_the_route_refuses_few_waiting_messages_knock(post_of):
    post = post_of("GH")
    amina, baraka = people(post)
    await skip_what_was(post)
    post.route.is_dead = True
    for n in range(100):
        post.stage.pay("send_money", amina.id, baraka.id, 1_000 + n)

    await post.pass_time(20)

    tries = post.database.one("SELECT sum(tries) FROM messages")[0]
    assert 200 < tries <= 200 + 8 * 2 * 21


async def test_a_slow_route_holds_up_neither_payments_nor_the_count_in_hand(post_of):
    post = post_of("GH")
    amina, baraka = people(post)
    await skip_what_was(post)
    post.route.slow_s = 20.0

    for n in range(50):
        order = post.stage.pay("send_money", amina.id, baraka.id, 1_000 + n)
        assert order.receipt
    await post.pass_time(15)
    assert post.told("sent") == 0
    assert len(post.receipts._in_hand) == 100

    post.route.slow_s = 0.0
    await post.pass_time(60)
    assert (post.told("sent"), len(post.receipts._in_hand)) == (100, 0)
    assert len(post.texts(baraka.phone)) == 50


async def test_what_is_taken_and_not_delivered_in_time_is_told_as_failed_and_once(post_of):
    post = post_of("KE")
    amina, baraka = people(post)
    await skip_what_was(post)
    post.route.loses_permille = 1000

    post.stage.pay("send_money", amina.id, baraka.id, 100_000)
    await post.pass_time(25)
    assert (post.told("sent"), post.told("failed")) == (2, 0)
    await post.pass_time(60)

    assert (post.told("sent"), post.told("failed"), post.told("delivered")) == (2, 2, 0)
    assert post.outbox.counts().failed == 2
    assert {round(each.waited_s) for each in post.seen if each.state == "failed"} <= {30, 31}


async def test_a_late_delivery_is_still_told_and_a_repeated_word_is_not(post_of):
    post = post_of("KE")
    amina, baraka = people(post)
    await skip_what_was(post)
    post.route.loses_permille = 1000
    order = post.stage.pay("send_money", amina.id, baraka.id, 100_000)
    payee = message_id(order.id, post.stage.desk.head, "payee")
    await post.pass_time(40)

    for _ in range(3):
        post.receipts.on_receipt(payee, True)
        await post.pass_time(1)
    post.receipts.on_receipt("nothing.of.ours", True)
    await post.pass_time(1)

    assert post.told("delivered") == 1
    assert post.outbox.find(payee)[1] == "delivered"


class Whimsical:
    """A route that does to each message what it is told to do next: a trouble, or None to take it."""

    name = "whimsical"

    def __init__(self, *does: Exception | None) -> None:
        self.does = list(does)
        self.got: list[str] = []
        self.hears = lambda message_id: None

    async def send(self, *, message_id: str, to: str, text: str) -> None:
        trouble = self.does.pop(0) if self.does else None
        if not isinstance(trouble, Unavailable):
            self.got.append(message_id)
            self.hears(message_id)
        if trouble is not None:
            raise trouble


@pytest.mark.parametrize(
    "trouble",
    [
        Unavailable("shut"),
        OutcomeUnknown("no answer"),
        TimeoutError(),
        ValueError("a bug of theirs"),
    ],
    ids=lambda trouble: type(trouble).__name__,
)
async def test_whatever_a_route_raises_the_message_is_tried_again_under_its_id(post_of, trouble):
    route = Whimsical(trouble, trouble)
    post = post_of("KE", route=route)
    people(post)
    post.start()
    await post.pass_time(5)
    got = sorted(route.got)

    assert len(set(got)) == post.told("sent")
    assert post.told("failed") == 2
    assert post.outbox.counts().sent == len(set(got))
    assert post.running is not None
    assert not post.running.done()


async def test_a_route_that_tells_of_the_delivery_before_it_answers_is_understood(post_of):
    route = Whimsical()
    post = post_of("KE", route=route)
    people(post)
    post.start()
    route.hears = lambda message_id: post.receipts.on_receipt(message_id, True)
    await post.pass_time(3)

    counts = post.outbox.counts()
    assert counts == Counts(delivered=counts.delivered)
    assert counts.delivered == post.told("delivered") == post.told("sent") > 0


@pytest.mark.parametrize("gently", [True, False], ids=["stopped", "killed"])
async def test_nothing_is_lost_by_a_restart_at_any_moment(post_of, gently):
    post = post_of("KE")
    amina, baraka = people(post)
    await skip_what_was(post)
    post.route.slow_s = 1.0
    receipts = set()

    for n in range(12):
        for _ in range(3):
            receipts.add(post.stage.pay("send_money", amina.id, baraka.id, 10_000).receipt)
        await post.pass_time(0.3 + 0.2 * n)
        await post.stop(gently=gently)
        post.start()
    await post.pass_time(140)

    got = [text.split()[0] for text in post.texts(baraka.phone)]
    assert sorted(got) == sorted(receipts)  # each once: the route knows the ids
    counts = post.outbox.counts()
    assert counts == Counts(delivered=counts.delivered)


@files_only
async def test_a_file_that_cannot_be_written_delays_texts_and_ends_nothing(post_of):
    post = post_of("KE")
    amina, baraka = people(post)
    await skip_what_was(post)
    post.database.run("PRAGMA max_page_count = 1")  # the disk is full from now on
    full = post.database.one("PRAGMA page_count")[0]
    with post.database._lock:
        post.database._writer.execute(f"PRAGMA max_page_count = {full}")

    for _ in range(300):
        post.stage.pay("send_money", amina.id, baraka.id, 1_000)
    await post.pass_time(10)
    assert post.running is not None
    assert not post.running.done()
    with post.database._lock:
        post.database._writer.execute("PRAGMA max_page_count = 1000000")
    await post.pass_time(140)

    receipts = post.database.query("SELECT text FROM messages WHERE kind = 'send_money.payee'")
    assert len(receipts) == 300
    assert post.outbox.counts().waiting == 0


async def test_texts_about_what_is_a_day_old_are_not_sent(post_of):
    post = post_of("KE")
    amina, baraka = people(post)
    post.stage.pay("send_money", amina.id, baraka.id, 100_000)
    post.stage.clock.advance(timedelta(hours=25))

    post.start()
    await post.pass_time(6)

    assert post.seen == []
    assert post.outbox.counts().waiting == 0
    assert post.outbox.counts().failed > 0


async def test_many_orders_are_read_in_bounded_parts(post_of):
    post = post_of("KE")
    amina, baraka = people(post)
    stage = post.stage
    for _ in range(6):
        stage.desk.submit_now(
            [stage.ask("send_money", amina.id, baraka.id, 100) for _ in range(250)]
        )
    post.start()
    post.route.slow_s = 0.2
    most = 0

    for _ in range(200):
        await post.pass_time(0.1)
        most = max(most, len(post.receipts._in_hand))

    assert 500 < most <= 2_000
    assert post.told("delivered") >= 3_000


async def test_the_outbox_notes_a_fate_twice_without_harm(post_of):
    post = post_of("KE")
    amina, _ = people(post)
    post.start()
    await post.pass_time(6)
    done = [each.message_id for each in post.route.inbox(amina.phone)]
    assert len(done) == 1
    place = post.outbox.find(done[0])[0].place

    for fate in (Fate.DELIVERED, Fate.REFUSED, Fate.LOST):
        post.outbox.note([(place, fate)], now=10**16, sent=[(place, 10**16)])

    assert post.outbox.find(done[0])[1] == "delivered"
