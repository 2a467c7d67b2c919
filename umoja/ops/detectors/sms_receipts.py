"""Finds receipts that do not arrive: a dead, slow or lossy SMS route in one market.

It judges counts, not ratios, so that one lost message at night is no alarm and a hundred at noon
are. A cumulative sum weighs, message by message, how much better "the route is broken" explains
what is seen than "it loses its usual share"; the usual share is learned from calm times, within
limits. A blast of many messages that arrive makes the sum smaller, however many they are.

The whole market is judged, and each of its routes alone: beside a route that is well a lesser one
may be dead for long before a market's share of losses says so.
"""

from collections.abc import Mapping
from math import log

from msgspec import Struct
from msgspec.structs import replace

from umoja.ops.episodes import FEW_LESS, RATE_OVER_S
from umoja.ops.finding import PERIOD_S, Counts, Due, Facts, Finding, Judgement
from umoja.ops.incident import Cause

SHARE_FIRST = 0.02  # missing in calm times, until it is learned
SHARE_LEAST = 0.01
SHARE_MOST = 0.10
BROKEN_TIMES = 8  # so many times the usual share is called broken
BROKEN_MOST = 0.5
DEAD = 0.3  # of all messages: what a route carries that is dead, where there is another
DEAD_ROUTE = 0.8  # of those that went by it
LEARNED_OVER = 2_000  # messages
ALARM_AT = 26.0  # of the sum: a dozen missing in a row; by chance alone once in e^26 messages
DEAD_AT = 27.0  # of the sum of a dead route
CLEAR_AT = 5.0  # of the sum of evidence for a good route
STALL_S = 15  # between two looks: then we slept ourselves, and late deliveries prove nothing
QUIET_FOR_S = 60  # and no period that looks broken for so long
LEFT_AFTER = 20  # messages by other routes, and none by this one: it is out of use
RATE_LEAST = 0.02  # messages a second: of who carries still less, a few losses are one phone's

TITLE = "SMS receipts do not arrive"


class Stream(Struct, frozen=True, kw_only=True):
    """What was learned of the messages of a market, or of one route, and the evidence against them."""

    share: float = SHARE_FIRST
    alarm_sum: float = 0.0
    dead_sum: float = 0.0
    clear_sum: float = 0.0
    judged_until_s: int = 0
    began_s: int = 0  # of the rise that led, or may lead, to an alarm
    usual: float = SHARE_FIRST  # the share when the rise began
    rise_missing: int = 0
    rise_judged: int = 0
    broken_s: int = 0  # the last period that looked broken
    is_loud: bool = False
    rate: float = 1.0  # messages a second
    seen_s: int = 0
    used_s: int = 0  # the last period with a message
    passed_by: int = 0  # messages that others carried since

    def after(self, due: Due, *, is_route: bool, others: int = 0) -> "Stream":
        """Return the stream as it is once this period was judged; `others` went by other routes."""
        seen_s = self.seen_s + PERIOD_S
        part = PERIOD_S / min(max(seen_s, 600.0), RATE_OVER_S)
        now = replace(
            self,
            judged_until_s=due.began_s,
            rate=self.rate + part * (due.judged / PERIOD_S - self.rate),
            seen_s=seen_s,
            used_s=due.began_s if due.judged else self.used_s,
            passed_by=0 if due.judged else self.passed_by + others,
        )
        if not due.judged:
            return _calm(now) if is_route and _is_left(now) else now
        return _calmer(now, due) if now.is_loud else _weighed(now, due, is_route=is_route)


class SmsReceipts(Struct, frozen=True, kw_only=True):
    """The detector with what it has learned of one market and its routes."""

    whole: Stream = Stream()
    routes: Mapping[str, Stream] = {}
    looked_s: int = 0

    @property
    def name(self) -> str:
        return "sms_receipts"

    @property
    def counts(self) -> Counts:
        return Counts.RECEIPTS

    def resumed(self, *, began_s: int) -> "SmsReceipts":
        """Return a detector that is loud and has seen no good message yet."""
        loud = replace(self.whole, is_loud=True, began_s=began_s, broken_s=began_s)
        return replace(self, whole=loud)

    def look(self, facts: Facts) -> Judgement:
        """Judge the periods that have become due since the last look."""
        # At the first look, and after a sleep of the whole program, deliveries are not known or
        # are late for our own reasons: what was sent until now is no evidence.
        until_s = facts.now_s if facts.now_s - self.looked_s > STALL_S else 0
        judged = {due.began_s: due.judged for due in facts.due}
        whole = _judged(self.whole, facts.due, until_s, {})
        routes = {
            route: _judged(self.routes.get(route, Stream()), dues, until_s, judged, is_route=True)
            for route, dues in facts.by_route.items()
        }
        now = SmsReceipts(whole=whole, routes=routes, looked_s=facts.now_s)
        return Judgement(detector=now, finding=_finding(now))


def _judged(
    stream: Stream,
    dues: tuple[Due, ...],
    until_s: int,
    all_judged: Mapping[int, int],
    *,
    is_route: bool = False,
) -> Stream:
    if until_s > stream.judged_until_s:
        stream = replace(stream, judged_until_s=until_s)
    for due in dues:
        if due.began_s > stream.judged_until_s:
            others = all_judged.get(due.began_s, 0) - due.judged
            stream = stream.after(due, is_route=is_route, others=others)
    return stream


def _weighed(stream: Stream, due: Due, *, is_route: bool) -> Stream:
    """Judge a period of a stream that is not loud."""
    # Who is judged seldom is wrong seldom: less evidence makes as sure (umoja.ops.episodes).
    less = FEW_LESS - log(min(1.0, max(RATE_LEAST, stream.rate))) if is_route else 0.0
    total = max(0.0, stream.alarm_sum + _weight(due, stream.share))
    dead_share = DEAD_ROUTE if is_route else DEAD
    dead = max(0.0, stream.dead_sum + _weight(due, stream.share, least=dead_share))
    if not total and not dead:
        return replace(
            stream,
            share=_learned(stream.share, due),
            alarm_sum=0.0,
            dead_sum=0.0,
            rise_missing=0,
            rise_judged=0,
        )
    is_loud = total >= ALARM_AT - less or dead >= DEAD_AT - less
    was_calm = not stream.alarm_sum and not stream.dead_sum
    return replace(
        stream,
        share=stream.share if is_loud else _learned(stream.share, due),
        alarm_sum=total,
        dead_sum=dead,
        began_s=due.began_s if was_calm else stream.began_s,
        usual=stream.share if was_calm else stream.usual,
        rise_missing=stream.rise_missing + due.missing,
        rise_judged=stream.rise_judged + due.judged,
        broken_s=due.began_s,
        clear_sum=0.0,
        is_loud=is_loud,
    )


def _calmer(stream: Stream, due: Due) -> Stream:
    """Judge a period while loud: quiet again needs good messages, silence proves nothing."""
    weight = _weight(due, stream.share)
    evidence = max(0.0, stream.clear_sum - weight)
    broken_s = due.began_s if weight > 0 else stream.broken_s
    if evidence >= CLEAR_AT and due.began_s - broken_s >= QUIET_FOR_S:
        return _calm(stream)
    return replace(stream, clear_sum=evidence, broken_s=broken_s)


def _is_left(stream: Stream) -> bool:
    """Tell whether a route is out of use: others have carried what was sent for a while."""
    return (
        stream.is_loud
        and stream.passed_by >= LEFT_AFTER
        and stream.judged_until_s - stream.used_s >= QUIET_FOR_S
    )


def _calm(stream: Stream) -> Stream:
    return Stream(
        share=stream.share,
        judged_until_s=stream.judged_until_s,
        rate=stream.rate,
        seen_s=stream.seen_s,
        used_s=stream.used_s,
    )


def _finding(now: SmsReceipts) -> Finding | None:
    loud = {name: stream for name, stream in now.routes.items() if stream.is_loud}
    if not loud and not now.whole.is_loud:
        return None
    cause, told = None, now.whole
    if loud:
        name, worst = max(loud.items(), key=lambda each: each[1].rise_missing)
        missing = sum(stream.rise_missing for stream in now.routes.values())
        share = round(100 * worst.rise_missing / missing) if missing else 100
        cause = Cause(kind="vendor", name=name, share_percent=share)
        told = worst if not told.is_loud else told
    if told.rise_judged:
        evidence = (
            f"{told.rise_missing} of {told.rise_judged} receipts are missing,"
            f" {told.usual:.1%} is usual"
        )
    else:
        evidence = "found before the last start"
    return Finding(title=TITLE, evidence=evidence, began_s=told.began_s, cause=cause)


def _weight(due: Due, share: float, *, least: float = 0.0) -> float:
    """Return how much more likely a broken route makes this than a usual one, as a logarithm."""
    broken = max(least, min(BROKEN_MOST, BROKEN_TIMES * share))
    arrived = due.judged - due.missing
    return due.missing * log(broken / share) + arrived * log((1 - broken) / (1 - share))


def _learned(share: float, due: Due) -> float:
    part = due.judged / (due.judged + LEARNED_OVER)
    share += part * (due.missing / due.judged - share)
    return min(SHARE_MOST, max(SHARE_LEAST, share))
