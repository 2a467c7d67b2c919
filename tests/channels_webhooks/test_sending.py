"""What clients are told of payments: behind the commit, at least once, under one id, and nobody else's."""

import json
from datetime import timedelta

import pytest

from tests.channels_webhooks.conftest import Shop
from umoja.faults import Unavailable
from umoja.payments.deliveries import WAITING_MAX, Tried, again
from umoja.payments.order import Consent, Reverse
from umoja.storage.port import Sql


async def test_a_shop_hears_that_it_was_paid(shop: Shop):
    webhook = shop.register()
    shop.start()
    order = shop.pay(125_000)
    await shop.until(lambda: shop.receiver.got)
    (got,) = shop.receiver.got
    told = json.loads(got.body)
    assert got.headers["webhook-id"] == told["id"] == f"{shop.stage.desk.head:012d}.{order.id}"
    assert told["type"] == "payment.completed"
    assert told["timestamp"] == "2026-03-10T09:00:00.000Z"
    assert told["data"]["id"] == order.id
    assert told["data"]["receipt"] == order.receipt
    assert told["data"]["amount"] == "1250.00"
    assert told["data"]["payee"] == shop.till.id
    assert shop.payer.phone not in got.body.decode()
    assert shop.payer.name not in got.body.decode()
    await shop.until(lambda: shop.states(webhook) == [("payment.completed", "delivered", 204, 1)])
    await shop.until(lambda: shop.seen)
    assert (shop.told("tried"), shop.told("failed"), shop.told("doubled")) == (1, 0, 0)
    assert {(each.channel, each.partner) for each in shop.seen} == {("webhook", "ke-shop")}


async def test_only_what_was_asked_for_and_what_came_after_it(shop: Shop):
    shop.pay()
    some = shop.register("/some", events=("payment.reversed", "payment.reversal_asked"))
    whole = shop.register("/all")
    shop.start()
    order = shop.pay()
    shop.stage.desk.submit_now(
        [Reverse(order=order.id, payer=shop.payer.id, client="test", channel="api")]
    )
    shop.stage.desk.submit_now([Consent(order=order.id, payee=shop.till.id, says_yes=True)])
    await shop.until(lambda: len(shop.receiver.got) == 5)
    await shop.until(lambda: all(each[1] == "delivered" for each in shop.states(whole)))
    assert [each[0] for each in shop.states(some)] == [
        "payment.reversal_asked",
        "payment.reversed",
    ]
    assert [each[0] for each in shop.states(whole)] == [
        "payment.completed",
        "payment.reversal_asked",
        "payment.reversed",
    ]
    assert {json.loads(each.body)["data"]["id"] for each in shop.receiver.got} == {order.id}


async def test_who_could_not_pay_is_told_only_to_the_client_that_asked(shop: Shop):
    theirs = shop.register("/theirs")
    asker = shop.register("/asker", client="ke-app", organisation=0)
    shop.start()
    poor = shop.stage.customer("Baraka Mwangi")
    refused = shop.stage.pay("pay_till", poor.id, shop.till.id, 10_000, client="ke-app")
    assert refused.decline is not None
    paid = shop.pay()  # by another client: the app does not hear of it
    await shop.until(lambda: len(shop.receiver.got) == 2)
    assert [json.loads(each.body)["data"]["id"] for each in shop.receiver.at("/theirs")] == [
        paid.id
    ]
    assert [json.loads(each.body)["data"]["decline"] for each in shop.receiver.at("/asker")] == [
        "not_enough"
    ]
    assert [each[0] for each in shop.states(theirs)] == ["payment.completed"]
    assert [each[0] for each in shop.states(asker)] == ["payment.declined"]


async def test_money_of_others_is_nobodys(shop: Shop):
    webhook = shop.register()
    shop.start()
    other = shop.stage.organisation()
    shop.stage.pay("pay_till", shop.payer.id, other.id, 10_000)
    shop.pay()
    await shop.until(lambda: shop.receiver.got)
    await shop.pass_time(3)
    assert len(shop.receiver.got) == 1
    assert len(shop.states(webhook)) == 1


async def test_killed_between_sending_and_noting_it_is_sent_again_under_its_id(shop: Shop):
    shop.receiver.answers["/shop"] = ""  # it has the event, and its answer does not come
    shop.register()
    shop.start()
    shop.pay()
    await shop.until(lambda: shop.receiver.got)
    await shop.stop(gently=False)
    del shop.receiver.answers["/shop"]
    shop.start()
    await shop.until(lambda: len(shop.receiver.got) == 2)
    first, second = shop.receiver.got
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


async def test_nothing_is_passed_over_that_was_paid_while_nobody_sent(shop: Shop):
    webhook = shop.register()
    shop.start()
    shop.pay()
    await shop.until(lambda: shop.states(webhook) == [("payment.completed", "delivered", 204, 1)])
    await shop.stop()
    orders = [shop.pay() for _ in range(3)]
    shop.start()
    await shop.until(lambda: len(shop.receiver.got) == 4)
    told = {json.loads(each.body)["data"]["id"] for each in shop.receiver.got[1:]}
    assert told == {each.id for each in orders}


async def test_a_dead_address_beside_a_live_one_slows_only_itself(shop: Shop):
    shop.receiver.answers["/dead"] = ""
    dead = [shop.register("/dead", client=f"ke-dead-{number}") for number in range(3)]
    live = shop.register("/live")
    shop.start()
    for _ in range(20):
        shop.pay()
    await shop.until(lambda: len(shop.receiver.at("/live")) == 20)
    # Each dead one has at most four requests open, and nothing of it has been decided yet.
    assert len(shop.receiver.at("/dead")) <= 3 * 4
    assert all(each[1] == "waiting" for webhook in dead for each in shop.states(webhook))
    await shop.until(lambda: all(each[1:] == ("delivered", 204, 1) for each in shop.states(live)))


async def test_tries_get_rarer_and_after_a_day_it_is_given_up(shop: Shop):
    shop.receiver.answers["/shop"] = "500 Oops\r\ncontent-length: 0\r\n\r\n"
    webhook = shop.register()
    shop.start()
    shop.pay()
    await shop.until(lambda: shop.states(webhook) == [("payment.completed", "waiting", 500, 1)])
    row = shop.stage._messages().one("SELECT tried_at, next_at FROM deliveries")
    assert row["next_at"] - row["tried_at"] == 5_000_000
    await shop.until(lambda: shop.states(webhook)[0][3] == 4)
    row = shop.stage._messages().one("SELECT tried_at, next_at FROM deliveries")
    assert row["next_at"] - row["tried_at"] == 300_000_000
    await shop.until(lambda: shop.seen)
    assert (shop.told("tried"), shop.told("failed")) == (1, 1)  # later tries prove nothing new
    shop.stage.clock.advance(timedelta(hours=24))
    await shop.until(lambda: shop.states(webhook)[0][1] == "given_up")
    tries = shop.states(webhook)[0][3]
    await shop.pass_time(30)
    assert shop.states(webhook)[0][3] == tries


async def test_a_webhook_that_fails_five_times_rests_and_what_waits_is_sent_when_it_is_back(
    shop: Shop,
):
    shop.receiver.answers["/shop"] = "503 Away\r\ncontent-length: 0\r\n\r\n"
    webhook = shop.register()
    shop.start()
    for _ in range(30):
        shop.pay()
    await shop.until(lambda: shop.kept(webhook).failed >= 5)
    kept = shop.kept(webhook)
    assert kept.failed == 5
    assert kept.rests_until > shop.stage.branch.webhooks.now()
    tried = len(shop.receiver.got)
    assert tried <= 5 + 3  # those that were under way when the fifth had failed
    await shop.pass_time(20)
    assert len(shop.receiver.got) == tried
    await shop.until(lambda: shop.kept(webhook).failed == 6)  # one more try after 30 seconds
    assert len(shop.receiver.got) == tried + 1
    del shop.receiver.answers["/shop"]
    await shop.until(lambda: all(each[1] == "delivered" for each in shop.states(webhook)))
    assert (shop.kept(webhook).failed, shop.kept(webhook).rests_until) == (0, 0)
    assert len({each.headers["webhook-id"] for each in shop.receiver.got}) == 30


async def test_a_rest_outlives_a_restart_and_ends_where_an_event_is_asked_for_again(shop: Shop):
    shop.receiver.answers["/shop"] = "503 Away\r\ncontent-length: 0\r\n\r\n"
    webhook = shop.register()
    shop.start()
    for _ in range(6):
        shop.pay()
    await shop.until(lambda: shop.kept(webhook).failed >= 5)
    await shop.stop()
    tried = len(shop.receiver.got)
    shop.start()
    await shop.pass_time(10)
    assert len(shop.receiver.got) == tried
    del shop.receiver.answers["/shop"]
    (row,) = shop.stage._messages().query("SELECT event FROM deliveries ORDER BY event LIMIT 1")
    again(shop.stage._messages(), webhook.id, row["event"], shop.stage.branch.webhooks.now())
    await shop.until(lambda: all(each[1] == "delivered" for each in shop.states(webhook)))


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n", 302),
        ("400 No\r\ncontent-length: 0\r\n\r\n", 400),
        ("nonsense", 0),
    ],
    ids=["redirect", "refused", "rubbish"],
)
async def test_what_is_no_yes_is_tried_again(shop: Shop, answer: str, status: int):
    shop.receiver.answers["/shop"] = answer + ("\r\n\r\n" if answer == "nonsense" else "")
    webhook = shop.register()
    shop.start()
    shop.pay()
    await shop.until(lambda: shop.states(webhook) and shop.states(webhook)[0][3] == 1)
    assert shop.states(webhook) == [("payment.completed", "waiting", status, 1)]
    assert shop.receiver.at("/elsewhere") == []


async def test_a_long_answer_is_a_yes_all_the_same_and_is_not_read(shop: Shop):
    shop.receiver.answers["/shop"] = f"200 OK\r\ncontent-length: {1 << 24}\r\n\r\n" + "x" * 5000
    webhook = shop.register()
    shop.start()
    shop.pay()
    await shop.until(lambda: shop.states(webhook) == [("payment.completed", "delivered", 200, 1)])


@pytest.mark.parametrize(
    "url",
    ["https://127.0.0.1:1/x", "https://localhost:1/x", "https://2130706433:1/", "https://[::1]:1/"],
)
async def test_a_private_network_is_not_gone_to_in_production(shop: Shop, url: str):
    shop.may_be_private = False
    webhook = shop.register(url=url)
    shop.start()
    shop.pay()
    await shop.until(lambda: shop.states(webhook) and shop.states(webhook)[0][3] == 1)
    row = shop.stage._messages().one("SELECT status, trouble FROM deliveries")
    assert row["status"] == 0
    assert row["trouble"].endswith("leads into a private network")


async def test_what_was_delivered_is_sent_again_when_it_is_asked_for_and_counted_as_double(
    shop: Shop,
):
    webhook = shop.register()
    shop.start()
    shop.pay()
    await shop.until(lambda: shop.states(webhook) == [("payment.completed", "delivered", 204, 1)])
    event = shop.receiver.got[0].headers["webhook-id"]
    now = shop.stage.branch.webhooks.now()
    assert again(shop.stage._messages(), webhook.id, event, now).state == "waiting"
    await shop.until(lambda: len(shop.receiver.got) == 2)
    assert shop.receiver.got[1].headers["webhook-id"] == event
    assert shop.receiver.got[1].body == shop.receiver.got[0].body
    await shop.until(lambda: shop.told("tried") == 2)
    assert (shop.told("failed"), shop.told("doubled")) == (0, 1)


async def test_a_deleted_webhook_and_those_of_a_revoked_client_are_told_nothing(shop: Shop):
    gone, revoked = shop.register("/gone"), shop.register("/revoked", client="ke-other")
    stays = shop.register("/stays")
    shop.start()
    shop.pay()
    await shop.until(lambda: len(shop.receiver.got) == 3)
    assert shop.stage.branch.webhooks.remove("ke-shop", gone.id)
    assert shop.stage.branch.webhooks.remove("ke-shop", gone.id)  # repeating is harmless
    shop.revoked.add("ke-other")
    await shop.pass_time(12)
    shop.pay()
    await shop.until(lambda: len(shop.receiver.at("/stays")) == 2)
    await shop.pass_time(5)
    assert len(shop.receiver.at("/gone")) == len(shop.receiver.at("/revoked")) == 1
    assert shop.states(gone) == shop.states(revoked) == []
    assert len(shop.states(stays)) == 2


async def test_a_market_without_webhooks_reads_no_journal(shop: Shop):
    read = []

    class Watched:
        head = property(lambda _: read.append("head") or 0)

        def orders(self, **_):
            read.append("orders")
            return []

    shop.start()
    shop.deliveries._feed = Watched()
    shop.pay()
    await shop.pass_time(20)
    assert read == []
    shop.register()
    await shop.until(lambda: read)


async def test_too_many_that_wait_are_left_out_and_counted(shop: Shop, monkeypatch):
    monkeypatch.setattr("umoja.payments.deliveries.WAITING_MAX", 3)
    assert WAITING_MAX == 10_000
    shop.receiver.answers["/shop"] = "503 Away\r\ncontent-length: 0\r\n\r\n"
    webhook = shop.register()
    shop.start()
    for _ in range(8):
        shop.pay()
    await shop.until(lambda: shop.kept(webhook).left_out)
    assert shop.kept(webhook).left_out == 5
    assert len(shop.states(webhook)) == 3


async def test_a_file_that_cannot_be_used_for_a_while_loses_nothing(shop: Shop, monkeypatch):
    webhook = shop.register()
    shop.start()
    await shop.pass_time(3)
    real: type[Sql] = type(shop.database)
    original = real.transaction

    def broken(self):
        raise Unavailable("the disk is away")

    head = shop.stage.desk.head
    shop.pay()
    monkeypatch.setattr(real, "transaction", broken)
    await shop.pass_time(5)
    assert shop.receiver.got == []
    monkeypatch.setattr(real, "transaction", original)
    await shop.until(lambda: shop.states(webhook) == [("payment.completed", "delivered", 204, 1)])
    assert shop.stage.desk.head == head + 1


async def test_a_new_webhook_hears_of_what_is_paid_before_the_sender_has_seen_it(shop: Shop):
    first = shop.register("/first")
    shop.start()
    shop.pay()
    await shop.until(lambda: shop.states(first) == [("payment.completed", "delivered", 204, 1)])
    await shop.rest()
    shop.sender._known_s = shop.stage.clock.ticks_s()  # it asks again in two seconds
    second = shop.register("/second")
    shop.pay()
    await shop.until(lambda: len(shop.receiver.at("/first")) == 2)
    await shop.pass_time(5)
    assert [each[0] for each in shop.states(second)] == ["payment.completed"]


async def test_an_answer_to_a_deleted_webhook_is_no_answer_for_another_one(shop: Shop):
    """A place in the file that was freed is given to the next event: its number alone names nothing."""
    shop.receiver.answers["/gone"] = ""
    gone = shop.register("/gone")
    shop.start()
    shop.pay()
    await shop.until(lambda: shop.receiver.got)
    old = shop.stage._messages().one("SELECT place FROM deliveries")["place"]
    shop.stage.branch.webhooks.remove("ke-shop", gone.id)
    shop.receiver.answers["/stays"] = "503 Away\r\ncontent-length: 0\r\n\r\n"
    stays = shop.register("/stays")
    shop.pay()
    await shop.until(lambda: shop.states(stays))
    rows = shop.stage._messages().query("SELECT place FROM deliveries")
    assert [row["place"] for row in rows] == [old]
    late = Tried(webhook=gone.id, place=old, at=1, is_done=True, status=200)
    shop.deliveries.note([late], [], now=1)
    assert shop.states(stays)[0][1] == "waiting"


async def test_old_events_are_forgotten_as_fast_as_they_come_and_one_that_waits_keeps_no_other(
    shop: Shop,
):
    webhook = shop.register()
    shop.start()
    await shop.pass_time(1)
    week_us = 7 * 86_400 * 1_000_000
    now = shop.stage.branch.webhooks.now()
    rows = [
        {
            "webhook": webhook.id,
            "event": f"{number:012d}.x",
            "state": "waiting" if number < 3 else "delivered",
            "since": now - week_us - 2 if number < 9 else now - 1,
        }
        for number in range(12)
    ]
    with shop.database.transaction():
        shop.database.run_many(
            "INSERT INTO deliveries (webhook, event, kind, payment, body, state, tries, status,"
            " trouble, since, asked_at, tried_at, done_at, next_at) VALUES (:webhook, :event,"
            " 'payment.completed', 'x', x'00', :state, 0, 0, '', :since, :since, 0, 0, 0)",
            rows,
        )
    assert shop.deliveries.prune(now, 3)  # those that wait stand before it
    assert shop.deliveries.prune(now, 3)
    assert shop.deliveries.prune(now, 3)
    assert not shop.deliveries.prune(now, 3)
    kept = shop.database.query("SELECT event FROM deliveries ORDER BY event")
    assert [int(row["event"][:12]) for row in kept] == [0, 1, 2, 9, 10, 11]
