"""Noticing: tells the customers of a market who tried a product in a time, once each, by SMS.

Who tried stands in the journal, also those who were refused. The messages lie in the outbox's table
beside the receipts and go the same way, so many a second: a crash loses none and doubles none.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import msgspec

from umoja.clock import Clock, to_micros
from umoja.ledger.ledger import Ledger
from umoja.markets.market import Market
from umoja.markets.texts import LAST_RESORT, Texts
from umoja.parties.directory import Directory
from umoja.parties.party import Party, Role, Status
from umoja.payments.catalogue import PRODUCTS
from umoja.payments.order import Order
from umoja.payments.outbox import NOTICES_FROM
from umoja.payments.wronged import line_before
from umoja.signals import Reached, TellTried
from umoja.storage.port import Row, Sql

A_SECOND = 20
"""Notices handed to a route in a second: receipts go before them."""

CUSTOMERS_MAX = 20_000
"""Told by one call; the same call again goes on with the rest."""

ROWS_MAX = 1_000_000
TEXT_MAX = 160
KINDS = ("trouble", "over")
AT_ONCE = 100
STEP = 500

_SECOND = 1_000_000
_KEPT_FOR = 30 * 86_400 * _SECOND
_SERVED = {"deposit"}  # the customer is the one who receives

_decode = msgspec.msgpack.Decoder(Order).decode


class Noticing:
    """Writes notices of one market into its outbox. Calls wait for files: not in an event loop."""

    def __init__(
        self,
        *,
        market: Market,
        ledger: Ledger,
        directory: Directory,
        texts: Texts,
        outbox: Callable[[], Sql],
        mark: Callable[[int], int],
        clock: Clock,
        pause: Callable[[], None] = lambda: None,
    ) -> None:
        """Take what reads the market; `outbox` returns the migrated tables of its messages.

        `pause` is called after each few hundred lines, for payments to go before.
        """
        self._pause = pause
        self._market = market
        self._ledger = ledger
        self._directory = directory
        self._texts = texts
        self._outbox = outbox
        self._mark = mark
        self._clock = clock

    def tell(self, asked: TellTried) -> Reached:
        """Put a notice into the outbox for each customer who tried and was not told yet.

        Raise Unavailable where nothing more was written: asking again goes on.
        """
        assert asked.kind in KINDS, "the centre knows the kinds"
        database = self._outbox()
        told = before = unreachable = 0
        is_cut = False
        tried = self._tried(asked)
        while parties := list(islice(tried, AT_ONCE)):
            reachable = [each for each in parties if each.phone and each.status is not _CLOSED]
            unreachable += len(parties) - len(reachable)
            new = _not_told(database, {self._id(asked, each): each for each in reachable})
            before += len(reachable) - len(new)
            if told + len(new) > CUSTOMERS_MAX:
                is_cut = True
                break
            if new and not asked.is_rehearsal:
                self._keep(database, asked, new)
            told += len(new)
        return Reached(told=told, before=before, unreachable=unreachable, is_cut=is_cut)

    def told_at(self, sequence: int) -> int | None:
        """Return when the payer's receipt of a journal line was delivered; 0: not; None: unknown."""
        row = self._outbox().one(
            "SELECT state, next_at FROM messages WHERE place = :place", place=2 * sequence
        )
        if row is None:
            return None
        return int(row["next_at"]) if row["state"] == "delivered" else 0

    def _tried(self, asked: TellTried) -> Iterator[Party]:
        """Yield the customers who tried, each once, in the order of their first attempt."""
        seen: set[int] = set()
        after = line_before(self._ledger, asked.since)
        for _ in range(ROWS_MAX // STEP):
            rows = list(self._ledger.rows(after=after, limit=STEP))
            for row in rows:
                if row.at > asked.until:
                    return
                order = _decode(row.story) if row.story else None
                if order is None or (asked.product and order.product != asked.product):
                    continue
                party = order.payee if order.product in _SERVED else order.payer
                # An order of before that ends now was not tried now.
                if party in seen or order.asked_at < asked.since:
                    continue
                seen.add(party)
                found = self._directory.get(party)
                if found is not None and found.role is Role.CUSTOMER:
                    yield found
            if not rows:
                return
            after = rows[-1].sequence
            self._pause()

    def _id(self, asked: TellTried, party: Party) -> str:
        """Return a message's id: the same for the same customer, incident and kind, and no name."""
        return f"notice.{asked.incident}.{asked.kind}.{self._mark(party.id):x}"

    def _keep(self, database: Sql, asked: TellTried, new: dict[str, Party]) -> None:
        now = to_micros(self._clock.now())
        with database.transaction():
            row = database.one(
                "SELECT max(place) AS place,"
                " max(CASE WHEN state = 'waiting' THEN next_at ELSE 0 END) AS due"
                " FROM messages WHERE place >= :first",
                first=NOTICES_FROM,
            )
            assert row is not None, "a sum has a row"
            place = row["place"] or NOTICES_FROM
            due = max(now, row["due"] or 0)
            database.run_many(
                "INSERT INTO messages (place, id, phone, text, kind, tries, since, product,"
                " value_minor, currency, payer_mark, state, made_at, sent_at, next_at) VALUES"
                " (:place, :id, :phone, :text, :kind, 0, :now, :product, 0, '', :mark,"
                " 'waiting', :now, 0, :next_at) ON CONFLICT (id) DO NOTHING",
                [
                    {
                        "place": place + number,
                        "id": name,
                        "phone": party.phone,
                        "text": self._text(asked, party),
                        "kind": f"notice.{asked.kind}",
                        "now": now,
                        "product": asked.product,
                        "mark": self._mark(party.id),
                        "next_at": due + number * _SECOND // A_SECOND,
                    }
                    for number, (name, party) in enumerate(new.items(), 1)
                ],
            )
            database.run(
                "DELETE FROM messages WHERE place >= :first AND made_at < :before",
                first=NOTICES_FROM,
                before=now - _KEPT_FOR,
            )

    def _text(self, asked: TellTried, party: Party) -> str:
        language = self._texts.language(self._market, party.language)
        return notice_text(self._texts, language, f"notice.{asked.kind}", asked.product)


_CLOSED = Status.CLOSED


def notice_text(texts: Texts, language: str, key: str, product: str, limit: int = TEXT_MAX) -> str:
    """Return what is said about a product, or about everything where none is named."""
    name = f"item.{product}"
    if name not in texts.catalogues[LAST_RESORT].entries or product not in PRODUCTS:
        name = "notice.everything"
    service = texts.say(language, name)
    return texts.fit(language, key, limit=limit, shrink=("service",), service=service)


def _not_told(database: Sql, wanted: dict[str, Party]) -> dict[str, Party]:
    """Return those whose message does not exist yet."""
    if not wanted:
        return {}
    ids = list(wanted)
    names = ", ".join(f":i{number}" for number in range(len(ids)))
    rows: Sequence[Row] = database.query(
        f"SELECT id FROM messages WHERE id IN ({names})",
        **{f"i{number}": each for number, each in enumerate(ids)},
    )
    known = {row["id"] for row in rows}
    return {name: party for name, party in wanted.items() if name not in known}
