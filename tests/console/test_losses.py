"""What an incident costs a minute: figures written out, and the chart of a real incident's page."""

from datetime import timedelta

import pytest

from tests.console.conftest import Desk, Opened, told
from umoja.console.charts import Bar, Mark, Tick, bar_chart
from umoja.console.losses import Counted, counted, losses, shown_between
from umoja.ops.board import WIDTH, Key
from umoja.ops.finding import Counts, Finding
from umoja.ops.incident import Cause, Stage
from umoja.signals import MessageSeen, Outcome

FIRST = 1_000


def minute(tried: int = 60, value: int = 60_000, failed: int = 0, failed_value: int = 0) -> Counted:
    return Counted(tried=tried, value=value, failed=failed, failed_value=failed_value)


def nobody_knows(_: int) -> float | None:
    return None


def row(**columns: int) -> list[int]:
    names = (
        "attempts refused failed unclear timed buckets pin doubled fee fee_due value value_failed"
    )
    places = {name: at for at, name in enumerate(names.split())}
    made = [0] * WIDTH
    for name, count in columns.items():
        made[places[name]] = count
    return made


def test_what_fails_beyond_the_usual_is_lost():
    usual = [minute(failed=1, failed_value=600)] * 5  # one per cent of the value
    bad = [minute(failed=30, failed_value=30_000), minute(failed=6, failed_value=6_000)]
    found = losses(usual + bad, first=FIRST, began=FIRST + 5, usual_a_minute=nobody_knows)
    assert [each.lost for each in found.points] == [0, 0, 0, 0, 0, 29_400, 5_400]
    assert (found.usual, found.total, found.blind_minutes) == (600, 34_800, 0)


def test_what_does_not_come_is_lost_where_the_usual_is_known():
    usual = [minute(tried=60, value=60_000)] * 10  # half of the market's usual 120
    found = losses(
        [*usual, minute(tried=10, value=10_000), minute(tried=52, value=52_000)],
        first=FIRST,
        began=FIRST + 10,
        usual_a_minute=lambda _: 120.0,
    )
    assert [(each.missing, each.lost) for each in found.points[-2:]] == [
        (50.0, 50_000.0),
        (0.0, 0.0),
    ]


def test_with_little_before_it_nothing_is_said_of_what_should_have_come():
    found = losses(
        [minute()] * 4 + [minute(tried=0, value=0)],
        first=FIRST,
        began=FIRST + 4,
        usual_a_minute=lambda _: 60.0,
    )
    assert found.total == 0


def test_a_minute_that_nobody_saw_is_no_good_minute():
    found = losses(
        [minute(), None, minute(failed=60, failed_value=60_000)],
        first=FIRST,
        began=FIRST + 1,
        usual_a_minute=nobody_knows,
    )
    assert [each.lost for each in found.points] == [0, None, 60_000]
    assert found.blind_minutes == 1


def test_a_long_incident_is_gathered_and_keeps_its_total():
    found = losses(
        [minute()] * 30 + [minute(failed=6, failed_value=6_000)] * 270,
        first=FIRST,
        began=FIRST + 30,
        usual_a_minute=nobody_knows,
    )
    assert len(found.points) == 75
    assert {each.minutes for each in found.points} == {4}
    assert found.total == 270 * 6_000
    assert found.points[-1].lost == 6_000


@pytest.mark.parametrize(
    ("cause", "tried", "failed_value"),
    [
        (None, 17, 900),
        (Cause(kind="market", name="KE"), 17, 900),
        (Cause(kind="product", name="airtime"), 7, 700),
        (Cause(kind="vendor", name="dealer"), 7, 700),
        (Cause(kind="channel", name="ussd"), 10, 200),
    ],
)
def test_only_what_the_cause_names_is_counted(cause: Cause | None, tried: int, failed_value: int):
    kept = {
        Key("KE", "pay", "send_money", "ussd"): row(
            attempts=12, refused=2, failed=1, value=12_000, value_failed=200
        ),
        Key("KE", "pay", "airtime", "api", "dealer"): row(
            attempts=7, unclear=3, value=700, value_failed=700
        ),
        Key("KE", "sms", "", "", "sim-a"): row(attempts=20, failed=5),
    }
    found = counted(kept, cause=cause, has_receipts=False)
    assert (found.tried, found.failed_value) == (tried, failed_value)


def test_a_receipt_is_worth_what_the_minutes_payments_are_worth_in_the_mean():
    kept = {
        Key("KE", "pay", "send_money", "ussd"): row(attempts=10, value=5_000),
        Key("KE", "sms", "", "", "sim-a"): row(attempts=20, failed=5),
    }
    assert counted(kept, cause=None, has_receipts=True) == Counted(
        tried=20, value=10_000, failed=5, failed_value=2_500
    )


async def test_a_market_of_two_currencies_has_a_chart_in_its_first(opened: Opened):
    desk = opened(codes=("CD",))
    desk.gauge("CD")
    desk.pays(2, market="CD", currency="USD", outcome=Outcome.FAILED, value_minor=100_00)
    desk.pays(3, market="CD", currency="CDF", outcome=Outcome.FAILED, value_minor=280_000_00)
    incident = desk.incident(title="Payments fail", market="CD", detector="failures")
    text = told((await desk.get(f"/incidents/{incident.id}")).text)
    # Twice 100 dollars, and three times 280,000 francs at 2,778 for a dollar: 100.79 each.
    assert "Money lost a minute in DR Congo USD 502.37 in all" in text
    assert "CDF at the pack’s reference rate" in text


async def test_receipts_of_two_currencies_are_priced_in_the_first(opened: Opened):
    desk = opened(codes=("CD",))
    desk.gauge("CD")
    desk.pays(2, market="CD", currency="USD", value_minor=100_00)
    desk.pays(2, market="CD", currency="CDF", value_minor=138_900_00)  # 50 dollars
    for state in ("sent", "sent", "sent", "sent", "failed"):
        desk.centre.telemetry.hear(
            MessageSeen(
                at=desk.clock.now(), market="CD", route="simulated", state=state,
                product="send_money", value_minor=100_00, currency="USD", payer_mark=1,
                waited_s=0.0, order_mark=0,
            )
        )  # fmt: skip
    incident = desk.incident(market="CD")
    text = told((await desk.get(f"/incidents/{incident.id}")).text)
    assert "Value of payments without a receipt, a minute, in DR Congo USD 75.00 in all" in text


def test_bars_say_what_they_are_and_escape_what_they_are_told():
    svg = bar_chart(
        [Bar(value=50.0, says="half"), Bar(value=None, says="<not seen>")],
        name="Lost & found",
        describes="all",
        level=10.0,
        top="100",
        most=100.0,
        marks=[Mark(at=0.5, name="found", kind="opened")],
        ticks=[Tick(at=0.0, name="12:00")],
    )
    assert 'aria-label="Lost &amp; found"' in svg
    assert '<rect class="bar" x="0.00" y="97.00" width="359.40" height="71.00"><title>half' in svg
    assert 'class="unseen-bar" x="360.00" y="26.00"' in svg
    assert "<title>&lt;not seen&gt;</title>" in svg
    assert '<g class="mark" data-kind="opened"><line x1="360.0" x2="360.0"' in svg
    assert '<text class="hour" x="21.6"' in svg


def quarter_of_an_hour(desk: Desk) -> str:
    """Play ten good minutes and five bad ones; return the id of the incident, found in the third."""
    chronicle = desk.centre.watch.chronicle
    assert chronicle is not None
    opened = ""
    for place in range(15):
        desk.gauge("KE")
        is_bad = place >= 10
        desk.pays(10, outcome=Outcome.COMPLETED, value_minor=100_00)
        desk.pays(5 if is_bad else 0, outcome=Outcome.FAILED, value_minor=100_00)
        desk.clock.advance(timedelta(seconds=5))
        desk.centre.telemetry.frame()
        if place == 12:
            desk.centre.incidents.found(
                "KE",
                "failures",
                Finding(
                    title="Payments fail more than usual",
                    evidence="15 of 45",
                    began_s=int(desk.clock.now().timestamp()) - 120,
                ),
                counts=Counts.PAYMENTS,
                harm=desk.centre.telemetry.harm("KE", Counts.PAYMENTS),
            )
            opened = desk.centre.incidents.recent(limit=1)[0].id
        desk.clock.advance(timedelta(seconds=55))
        chronicle.keep()
    return opened


async def test_an_incidents_page_draws_its_money_minute_by_minute(desk: Desk):
    incident = quarter_of_an_hour(desk)
    desk.gauge("KE")
    desk.pays(2, outcome=Outcome.FAILED, value_minor=100_00)
    page = (await desk.get(f"/incidents/{incident}")).text
    text = told(page)
    assert "Money lost a minute in Kenya KES 2,700 in all" in text  # five of 500 and 200 now
    assert page.count('<rect class="bar"') == 16
    assert 'class="unseen-bar"' not in page  # what was before the centre was opened is left out
    assert "not seen" not in text
    assert [f'data-kind="{kind}"' in page for kind in ("began", "opened", "mitigated")] == [
        True,
        True,
        False,
    ]
    assert "09:12 15 5 0 KES 500" in text
    live = await desk.get(f"/incidents/{incident}/live")
    assert "KES 2,700 in all" in live.text
    desk.centre.incidents.advance(incident, Stage.MITIGATED, actor="amina")
    assert 'data-kind="mitigated"' in (await desk.get(f"/incidents/{incident}/live")).text


async def test_a_chart_counts_what_the_cause_names_and_says_so(desk: Desk):
    incident = quarter_of_an_hour(desk)
    for name, says in (
        ("send_money", "KES 2,500 in all"),
        ("airtime", "Nothing was lost beyond the usual in this time."),
    ):
        cause = Cause(kind="product", name=name)
        desk.centre.incidents.name_cause(incident, cause, actor="amina")
        text = told((await desk.get(f"/incidents/{incident}")).text)
        assert says in text
        assert f"only product {name.replace('_', ' ')}" in text


async def test_the_chart_ends_a_little_after_the_incident(desk: Desk):
    incident_id = quarter_of_an_hour(desk)
    for stage in (Stage.MITIGATED, Stage.RESOLVED):
        desk.centre.incidents.advance(incident_id, stage, actor="amina")
    incident = desk.centre.incidents.get(incident_id)
    assert incident is not None
    now = int(desk.clock.now().timestamp()) // 60
    began = int(incident.began_at.timestamp()) // 60
    assert shown_between(incident, now + 600) == (began - 30, now + 10)
    assert shown_between(incident, now) == (began - 30, now + 1)


async def test_what_was_not_seen_meanwhile_is_hatched_and_named(desk: Desk):
    incident = quarter_of_an_hour(desk)
    desk.clock.advance(timedelta(minutes=10))
    page = (await desk.get(f"/incidents/{incident}")).text
    assert page.count('<rect class="unseen-bar"') == 11  # ten, and the running one
    assert "11 minutes were not seen" in told(page)
    assert "09:20 not seen" in told(page)


async def test_an_incident_of_no_market_of_ours_has_no_chart(desk: Desk):
    await desk.get("/incidents")
    desk.centre.incidents.found(
        "*",
        "alarm:disk",
        Finding(title="Disk full", evidence="disk", began_s=int(desk.clock.now().timestamp())),
        counts=Counts.PAYMENTS,
        harm=desk.centre.telemetry.harm("KE", Counts.PAYMENTS),
    )
    page = await desk.get("/incidents/INC-000001")
    assert page.status_code == 200
    assert "losses" not in page.text
    assert "no market of ours" in page.text
