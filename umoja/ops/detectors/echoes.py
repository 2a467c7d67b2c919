"""Finds a partner who does not answer, also where nobody pays through him meanwhile.

A partner's echoes (umoja.payments.echoes) and the payments through him are one evidence here: where
few pay, and while none goes to him any more. It stands beside `failures` and not within it: a bank may
answer echoes and fail payments, and who does not answer hides nobody else's failures.
"""

import numpy as np

from umoja.ops.board import ATTEMPTS, ECHO, PAY, VALUE, Array, Frame, Places
from umoja.ops.episodes import LIKELY, QUIET_FOR_S, Back, Bounds, Sums
from umoja.ops.finding import Alarm
from umoja.ops.incident import Cause
from umoja.ops.shares import Shares

# A fifth failing and a half: an echo that is lost now and then is nothing.
LOOKED_FOR = ((0.2, 18.0), (0.5, 20.0))  # a share, and where its sum is sure
AWAY_S = 15  # so long echoes must be lost: a partner who starts anew is back before


class Echoes:
    """The detector of all markets."""

    name = "echoes"

    def __init__(self) -> None:
        self._shares = Shares(least=0.008)
        self._sums = [Sums(alarm_at=at) for _, at in LOOKED_FOR]
        self._alone = [
            Sums(alarm_at=at) for _, at in LOOKED_FOR
        ]  # what echoes say without payments
        self._bounds = Bounds(alarm_at=max(at for _, at in LOOKED_FOR))
        self._back = Back()
        self._open: dict[int, Alarm] = {}
        # Where payments through each partner stand, and in the same order his echoes.
        self._paid: Places = np.zeros(0, np.int64)
        self._echoes: Places = np.zeros(0, np.int64)
        self._lost_s: dict[int, int] = {}  # when he last lost an echo, and when he was last asked
        self._asked_s: dict[int, int] = {}
        self._size = 0

    def look(self, frame: Frame) -> list[Alarm]:
        self._grow(frame)
        tried, failed = frame.ended()
        paid, echoes, seen = self._paid, self._echoes, frame.is_seen
        judged = np.zeros(len(tried))
        judged[paid] = tried[paid] + tried[echoes]
        bounds = self._bounds.of(frame, judged, seen)
        is_calm = np.ones(len(tried), np.bool_)
        for (share, _), sums, alone in zip(LOOKED_FOR, self._sums, self._alone, strict=True):
            gains = self._shares.against(tried, failed, share)
            both, echoed = np.zeros(len(tried)), np.zeros(len(tried))
            both[paid], echoed[paid] = gains[paid] + gains[echoes], gains[echoes]
            for each, more in ((sums, both), (alone, echoed)):
                each.grow(len(tried))
                each.add(np.where(seen, more, 0.0), frame.now_s, frame.step_s, bounds)
            is_calm[paid] &= (sums.sums[paid] < LIKELY) & ~sums.is_loud[paid]
        is_calm[echoes] = is_calm[paid]
        self._shares.learn(tried, failed, is_calm & seen)
        mean = frame.counts[:, VALUE] / np.maximum(frame.counts[:, ATTEMPTS], 1.0)
        lost = failed - self._shares.typical * tried
        self._back.keep(frame.now_s, payments=lost, minor=lost * mean, tried=tried)
        self._hear(frame, tried, failed)
        return self._said(frame)

    def _hear(self, frame: Frame, tried: Array, failed: Array) -> None:
        """Note whose echoes came and were lost; who is asked no more is in no doubt any more."""
        for place, echo in zip(self._paid.tolist(), self._echoes.tolist(), strict=True):
            if failed[echo]:
                self._lost_s[place] = frame.now_s
            if tried[echo]:
                self._asked_s[place] = frame.now_s
            elif frame.is_seen[place] and frame.now_s - self._asked_s.get(place, 0) > QUIET_FOR_S:
                for sums in (*self._sums, *self._alone):
                    sums.forget(place)

    def _said(self, frame: Frame) -> list[Alarm]:
        known, self._open, said = self._open, {}, []
        echo_of = dict(zip(self._paid.tolist(), self._echoes.tolist(), strict=True))
        for place in sorted({at for sums in self._sums for at in sums.loud()}):
            first = known.get(place)
            began_s = min(int(s.began_s[place]) for s in self._sums if s.is_loud[place])
            if first is None and not self._is_away(place, began_s):
                continue
            back = self._back.since(began_s if first is None else frame.now_s - 1)
            echo = echo_of[place]
            evidence = f"{back[0][echo]:,.0f} of {back[2][echo]:,.0f} echoes were lost"
            alarm = Alarm(
                market=frame.groups[place].market,
                title="A partner does not answer",
                evidence=evidence if first is None else first.evidence,
                began_s=began_s if first is None else first.began_s,
                cause=Cause(kind="vendor", name=frame.groups[place].name, share_percent=100),
                payments=float(back[0][place]),
                minor=float(back[1][place]),
            )
            self._open[place] = first or alarm
            said.append(alarm)
        return said

    def _is_away(self, place: int, began_s: int) -> bool:
        """Tell whether echoes by themselves say so, and for long enough."""
        is_likely = any(sums.is_loud[place] or sums.sums[place] >= LIKELY for sums in self._alone)
        return is_likely and self._lost_s.get(place, 0) - began_s >= AWAY_S

    def _grow(self, frame: Frame) -> None:
        """Take up partners who are new."""
        if self._size == len(frame.groups):
            return
        self._size = len(frame.groups)
        found: dict[str, dict[tuple[str, str], int]] = {PAY: {}, ECHO: {}}
        for place, group in enumerate(frame.groups):
            if group.kind == "vendor" and group.flow in found:
                found[group.flow][group.market, group.name] = place
        links = [link for link in found[ECHO] if link in found[PAY]]
        self._paid = np.array([found[PAY][link] for link in links], np.int64)
        self._echoes = np.array([found[ECHO][link] for link in links], np.int64)
