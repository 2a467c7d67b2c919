"""Finds receipts that do not arrive: a dead, slow or lossy SMS route in one market.

It judges counts, not ratios, so that one lost message at night is no alarm and a hundred at noon
are. A cumulative sum weighs, message by message, how much better "the route is broken" explains
what is seen than "it loses its usual share"; the usual share is learned from calm times, within
limits. A blast of many messages that arrive makes the sum smaller, however many they are.
"""

from math import log

from msgspec import Struct
from msgspec.structs import replace

from umoja.ops.finding import Counts, Due, Facts, Finding, Judgement

SHARE_FIRST = 0.02  # missing in calm times, until it is learned
SHARE_LEAST = 0.01
SHARE_MOST = 0.10
BROKEN_TIMES = 8  # so many times the usual share is called broken
BROKEN_MOST = 0.5
DEAD = 0.3  # of all messages: what a route carries that is dead, where there is another
LEARNED_OVER = 2_000  # messages
ALARM_AT = 26.0  # of the sum: a dozen missing in a row; by chance alone once in e^26 messages
DEAD_AT = 27.0  # of the sum of a dead route
CLEAR_AT = 5.0  # of the sum of evidence for a good route
STALL_S = 15  # between two looks: then we slept ourselves, and late deliveries prove nothing
QUIET_FOR_S = 60  # and no period that looks broken for so long

TITLE = "SMS receipts do not arrive"


class SmsReceipts(Struct, frozen=True, kw_only=True):
    """The detector with what it has learned of one market."""

    share: float = SHARE_FIRST
    alarm_sum: float = 0.0
    dead_sum: float = 0.0
    clear_sum: float = 0.0
    looked_s: int = 0
    judged_until_s: int = 0
    began_s: int = 0  # of the rise that led, or may lead, to an alarm
    usual: float = SHARE_FIRST  # the share when the rise began
    rise_missing: int = 0
    rise_judged: int = 0
    broken_s: int = 0  # the last period that looked broken
    is_loud: bool = False

    @property
    def name(self) -> str:
        return "sms_receipts"

    @property
    def counts(self) -> Counts:
        return Counts.RECEIPTS

    def resumed(self, *, began_s: int) -> "SmsReceipts":
        """Return a detector that is loud and has seen no good message yet."""
        return replace(self, is_loud=True, began_s=began_s, broken_s=began_s)

    def look(self, facts: Facts) -> Judgement:
        """Judge the periods that have become due since the last look."""
        now = replace(self, looked_s=facts.now_s)
        if facts.now_s - self.looked_s > STALL_S:
            # At the first look, and after a sleep of the whole program, deliveries are not known or
            # are late for our own reasons: what was sent until now is no evidence.
            now = replace(now, judged_until_s=max(facts.now_s, now.judged_until_s))
        for due in facts.due:
            if due.began_s > now.judged_until_s:
                now = now.after(due)
        return Judgement(detector=now, finding=_finding(now) if now.is_loud else None)

    def after(self, due: Due) -> "SmsReceipts":
        """Return the detector as it is once this period was judged."""
        if not due.judged:
            return replace(self, judged_until_s=due.began_s)
        weight = _weight(due, self.share)
        if self.is_loud:
            return self._calmer(due, weight)
        total = max(0.0, self.alarm_sum + weight)
        dead = max(0.0, self.dead_sum + _weight(due, self.share, least=DEAD))
        is_loud = total >= ALARM_AT or dead >= DEAD_AT
        was_calm = not self.alarm_sum and not self.dead_sum
        if not total and not dead:
            return replace(
                self,
                judged_until_s=due.began_s,
                share=_learned(self.share, due),
                alarm_sum=0.0,
                dead_sum=0.0,
                rise_missing=0,
                rise_judged=0,
            )
        return replace(
            self,
            judged_until_s=due.began_s,
            share=self.share if is_loud else _learned(self.share, due),
            alarm_sum=total,
            dead_sum=dead,
            began_s=due.began_s if was_calm else self.began_s,
            usual=self.share if was_calm else self.usual,
            rise_missing=self.rise_missing + due.missing,
            rise_judged=self.rise_judged + due.judged,
            broken_s=due.began_s,
            clear_sum=0.0,
            is_loud=is_loud,
        )

    def _calmer(self, due: Due, weight: float) -> "SmsReceipts":
        """Judge a period while loud: quiet again needs good messages, silence proves nothing."""
        evidence = max(0.0, self.clear_sum - weight)
        broken_s = due.began_s if weight > 0 else self.broken_s
        if evidence >= CLEAR_AT and due.began_s - broken_s >= QUIET_FOR_S:
            return SmsReceipts(share=self.share, looked_s=self.looked_s, judged_until_s=due.began_s)
        return replace(self, judged_until_s=due.began_s, clear_sum=evidence, broken_s=broken_s)


def _finding(loud: SmsReceipts) -> Finding:
    if loud.rise_judged:
        evidence = (
            f"{loud.rise_missing} of {loud.rise_judged} receipts are missing,"
            f" {loud.usual:.1%} is usual"
        )
    else:
        evidence = "found before the last start"
    return Finding(title=TITLE, evidence=evidence, began_s=loud.began_s)


def _weight(due: Due, share: float, *, least: float = 0.0) -> float:
    """Return how much more likely a broken route makes this than a usual one, as a logarithm."""
    broken = max(least, min(BROKEN_MOST, BROKEN_TIMES * share))
    arrived = due.judged - due.missing
    return due.missing * log(broken / share) + arrived * log((1 - broken) / (1 - share))


def _learned(share: float, due: Due) -> float:
    part = due.judged / (due.judged + LEARNED_OVER)
    share += part * (due.missing / due.judged - share)
    return min(SHARE_MOST, max(SHARE_LEAST, share))
