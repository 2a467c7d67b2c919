"""Whatever is asked in whatever order, in every market: money is conserved and nobody goes below nought."""

import tempfile
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.stage import raised
from umoja.markets import packs
from umoja.parties.party import SYSTEM
from umoja.payments.order import Confirm, Consent, Lapse, Reverse, Settle, State
from umoja.payments.wallets import PURSES

AMOUNTS = st.one_of(
    st.integers(1, 200_000_00), st.sampled_from([1, 99, 100, 100_00, 101_00, 1_000_00])
)


class Payments(RuleBasedStateMachine):
    """Random people pay each other; a plain sum of what was issued is the reference."""

    @initialize(code=st.sampled_from(packs.codes()), seed=st.integers(0, 3))
    def begin(self, code: str, seed: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.stage = raised(code, Path(self.folder.name))
        stage = self.stage
        self.people = [stage.customer(f"Person {n}") for n in range(3)]
        self.dealer = stage.dealer()
        self.outlets = [stage.outlet(dealer=self.dealer.id), stage.outlet()]
        self.shops = [stage.organisation(), stage.organisation(category="utilities")]
        self.orders: list[str] = []
        self.issued = dict.fromkeys((c.code for c in stage.market.currencies), 0)

    def _pay(self, *words: object, currency: int, **rest: object) -> None:
        currencies = self.stage.market.currencies
        code = currencies[currency % len(currencies)].code
        order = self.stage.pay(*words, currency=code, **rest)
        self.orders.append(order.id)
        if order.product == "float_purchase" and order.decline is None:
            self.issued[code] += order.amount

    @rule(who=st.integers(0, 1), amount=st.integers(1, 10**9), currency=st.integers(0, 1))
    def buy_float(self, who: int, amount: int, currency: int) -> None:
        agent = [self.outlets[0], self.dealer][who]
        self._pay("float_purchase", SYSTEM, agent.id, amount, currency=currency, reference="bank")

    @rule(amount=AMOUNTS, currency=st.integers(0, 1))
    def move_float(self, amount: int, currency: int) -> None:
        self._pay("float_transfer", self.dealer.id, self.outlets[0].id, amount, currency=currency)

    @rule(
        product=st.sampled_from(
            ["deposit", "withdraw", "send_money", "pay_till", "pay_bill", "airtime", "payout"]
        ),
        a=st.integers(0, 2),
        b=st.integers(0, 2),
        amount=AMOUNTS,
        currency=st.integers(0, 1),
        is_confirmed=st.booleans(),
    )
    def pay(self, product, a, b, amount, currency, is_confirmed) -> None:
        one, other, outlet, shop = (
            self.people[a].id,
            self.people[b].id,
            self.outlets[b % 2].id,
            self.shops[b % 2].id,
        )
        step = self.stage.market.currencies[0].step
        amount = max(step, amount - amount % step)
        sides = {
            "deposit": (outlet, one),
            "withdraw": (one, outlet),
            "send_money": (one, other),
            "pay_till": (one, shop),
            "pay_bill": (one, shop),
            "airtime": (one, SYSTEM),
            "payout": (shop, one),
        }[product]
        self._pay(
            product, *sides, amount, currency=currency, reference="ref", is_confirmed=is_confirmed
        )

    @rule(which=st.integers(0, 400), what=st.integers(0, 7), days=st.integers(0, 2))
    def go_on(self, which: int, what: int, days: int) -> None:
        if not self.orders:
            return
        order = self.stage.desk.find(self.orders[which % len(self.orders)])
        if order is None:
            return
        self.stage.clock.advance(timedelta(days=days // 2, minutes=1))
        requests = [
            Confirm(order=order.id, client="test"),
            Confirm(order=order.id, client="test", says_yes=False),
            Settle(order=order.id, is_done=True),
            Settle(order=order.id, is_done=False),
            Reverse(order=order.id, payer=order.payer, client="test", channel="api"),
            Consent(order=order.id, payee=order.payee, says_yes=True),
            Consent(order=order.id, payee=order.payee, says_yes=False),
            Lapse(order=order.id),
        ]
        self.stage.desk.submit_now([requests[what], requests[what]])

    @invariant()
    def the_books_hold(self) -> None:
        if not hasattr(self, "stage"):
            return
        assert self.stage.breaches() == ()
        for total in self.stage.wallets.totals():
            assert total.issued == total.trust == self.issued[total.currency]

    @invariant()
    def nobody_is_below_nought(self) -> None:
        if not hasattr(self, "stage"):
            return
        for party in [*self.people, *self.outlets, *self.shops, self.dealer]:
            for balance in self.stage.wallets.balances(party):
                assert balance.available >= 0
                assert balance.held >= 0
            assert PURSES[party.role]

    @invariant()
    def what_waits_is_what_is_held(self) -> None:
        if not hasattr(self, "stage"):
            return
        held = {
            order.id
            for order in self.stage.desk.waiting()
            if order.state in {State.HELD, State.REVERSAL_ASKED}
        }
        holds = {hold.name.split(".")[0] for hold in self.stage.ledger.state.holds()}
        assert holds == held

    def teardown(self) -> None:
        if hasattr(self, "stage"):
            self.stage.close()
            self.folder.cleanup()


Payments.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestPayments = Payments.TestCase
