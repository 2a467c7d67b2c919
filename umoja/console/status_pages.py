"""The public status page: what works in each market, for anybody, in the market's own languages.

Nobody signs in here, and nothing is said that only staff should know: no vendor, no money, no names.
One rendering serves all who look for a few seconds.
"""

import unicodedata
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from litestar import HttpMethod, Response, route

from umoja.clock import from_micros
from umoja.console.pages import Asked, Pages
from umoja.markets.market import Market
from umoja.markets.texts import LAST_RESORT, Texts
from umoja.ops.service_state import MESSAGES, State
from umoja.ops.status_messages import Message
from umoja.ops.status_page import HISTORY_DAYS, Day, Service, Shown, StatusPage, Work

KEPT_S = 5
READS = (HttpMethod.GET, HttpMethod.HEAD)
ACCEPTED_MAX = 300  # characters of Accept-Language that are read
PUBLIC_CSP = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'"
)
HTML, JSON, ATOM = "text/html", "application/json", "application/atom+xml"
FIRST_STRONG, LEFT_TO_RIGHT, ISOLATE_END = "\u2068", "\u2066", "\u2069"
ATOM_SPACE = "http://www.w3.org/2005/Atom"


def status_pages(pages: Pages, status: StatusPage, markets: Mapping[str, Market]) -> list[Any]:
    """Return the handlers of `/status`; they ask no file and know no visitor."""
    texts = Texts.load()
    kept: dict[tuple[str, str, str], tuple[datetime, bytes]] = {}

    def once(key: tuple[str, str, str], make: Callable[[], bytes]) -> bytes:
        """Return what was made a moment ago, or make it. There are as many keys as pages."""
        now = pages.now()
        found = kept.get(key)
        if found is None or not 0 <= (now - found[0]).total_seconds() < KEPT_S:
            found = kept[key] = (now, make())
        return found[1]

    def of_all(request: Asked, *, is_missing: bool = False) -> Response[bytes]:
        speech = _chosen(texts, request, sorted(texts.catalogues), LAST_RESORT)

        def make() -> bytes:
            rows = [
                (code, speech.named(market), market.brand, shown.state.value, speech.whole(shown))
                for code, market in markets.items()
                for shown in [status.shown(code)]
            ]
            return pages.render(
                "status_markets.html",
                speech=speech,
                rows=rows,
                languages=[texts.catalogues[each] for each in sorted(texts.catalogues)],
            ).encode()

        body = once(("", speech.language, str(is_missing)), make)
        return _answer(body, HTML, status=404 if is_missing else 200)

    @route("/status", http_method=READS, include_in_schema=False, name="status.markets")
    async def browse(request: Asked) -> Response[bytes]:
        return of_all(request)

    @route("/status/{name:str}", http_method=READS, include_in_schema=False, name="status.market")
    async def show(request: Asked, name: str) -> Response[bytes]:
        code, _, form = name.partition(".")
        code = code.upper()
        if code not in markets or form not in {"", "json", "atom"}:
            return of_all(request, is_missing=True)
        market = markets[code]
        speech = _chosen(texts, request, texts.offered(market), texts.language(market))
        key = (code, speech.language, form)
        match form:
            case "json":
                return _answer(once(key, lambda: as_json(status.shown(code), speech)), JSON)
            case "atom":
                address = status.address

                def feed() -> bytes:
                    return as_atom(status.shown(code), speech, address=address)

                return _answer(once(key, feed), ATOM)
            case _:
                return _answer(once(key, lambda: page(code, speech)), HTML)

    def page(code: str, speech: "Speech") -> bytes:
        shown = status.shown(code)
        return pages.render(
            "status.html",
            speech=speech,
            market=shown.market,
            state=shown.state.value,
            whole=speech.whole(shown),
            at=speech.moment(shown.market, shown.at),
            services=[_line(each, speech) for each in shown.services],
            works=[_work(each, shown, speech) for each in shown.works],
            messages=[_told(each, shown.market, speech) for each in shown.messages],
            languages=[texts.catalogues[each] for each in texts.offered(shown.market)],
            days=str(HISTORY_DAYS),
        ).encode()

    return [browse, show]


@dataclass(frozen=True, slots=True, kw_only=True)
class Speech:
    """One language of the public page."""

    texts: Texts
    language: str

    @property
    def direction(self) -> str:
        return "rtl" if self.texts.is_right_to_left(self.language) else "ltr"

    def say(self, key: str, **fields: str) -> str:
        """Return a text of the page; in Arabic its fields keep their own direction."""
        if self.direction == "rtl":
            fields = {name: _apart(text) for name, text in fields.items()}
        return self.texts.say(self.language, f"status.{key}", **fields)

    def named(self, market: Market) -> str:
        return market.named(self.language)

    def service(self, product: str) -> str:
        """Return what people call a service; '' is all of them."""
        key = f"status.product.{product or 'all'}"
        known = self.texts.catalogues[self.language].entries
        return self.texts.say(self.language, key if key in known else f"item.{product}")

    def state(self, state: State, product: str = "") -> str:
        """Return a state in plain words; receipts are late where payments fail."""
        word = "late" if product == MESSAGES and state is State.PARTLY else state.value
        return self.say(f"state.{word}")

    def whole(self, shown: Shown) -> str:
        """Return how a market stands as a whole, in plain words."""
        is_ill = shown.state in {State.PARTLY, State.DOWN}
        if is_ill and any(each.state is State.WORKING for each in shown.services):
            return self.say("whole_some")
        return self.state(shown.state)

    def moment(self, market: Market, micros: int) -> str:
        return local_time(market, from_micros(micros))

    def day(self, day: Day) -> str:
        """Return what a day's bar means."""
        date = f"{day.day:%d/%m/%Y}"
        if day.state is None:
            return self.say("day", day=date, state=self.say("no_record"))
        state = self.state(day.state)
        if day.minutes:
            return self.say("day_trouble", day=date, state=state, minutes=str(day.minutes))
        return self.say("day", day=date, state=state)


def _apart(text: str) -> str:
    """Return a field with a direction of its own inside a sentence that runs right to left."""
    is_of_them = any(unicodedata.bidirectional(each) in {"R", "AL"} for each in text)
    return f"{FIRST_STRONG if is_of_them else LEFT_TO_RIGHT}{text}{ISOLATE_END}"


def local_time(market: Market, at: datetime) -> str:
    """Return a moment as people in a market read it."""
    return f"{market.local(at):%d/%m %H:%M}"


def as_json(shown: Shown, speech: Speech) -> bytes:
    """Return the page for programs; states are words that do not change with the language."""
    return msgspec.json.encode(
        {
            "market": shown.market.code,
            "name": speech.named(shown.market),
            "brand": shown.market.brand,
            "language": speech.language,
            "updated_at": _utc(shown.at),
            "state": shown.state.value,
            "services": [
                {
                    "service": each.product,
                    "name": speech.service(each.product),
                    "state": each.state.value,
                    "says": speech.state(each.state, each.product),
                    "days": [
                        {
                            "day": day.day.isoformat(),
                            "state": day.state.value if day.state else None,
                            "minutes": day.minutes,
                        }
                        for day in each.days
                    ],
                }
                for each in shown.services
            ],
            "planned": [
                {
                    "services": [each for each in work.products if each],
                    "from": _utc(work.starts_at),
                    "until": _utc(work.ends_at),
                    "says": _work(work, shown, speech),
                }
                for work in shown.works
            ],
            "messages": [
                {
                    "id": each.number,
                    "service": each.product or None,
                    "kind": each.kind,
                    "text": text_in(each, speech.language),
                    "published_at": _utc(each.published_at),
                    "corrected_at": _utc(each.withdrawn_at) if each.withdrawn_at else None,
                }
                for each in shown.messages
            ],
        }
    )


def as_atom(shown: Shown, speech: Speech, *, address: str) -> bytes:
    """Return the messages as Atom 1.0. `address` is where this site is reached; '' if unknown."""
    code = shown.market.code
    home = f"{address}/status/{code}?lang={speech.language}"
    feed = ET.Element("feed", {"xmlns": ATOM_SPACE, "xml:lang": speech.language})
    _add(feed, "id", _id(address, code, speech.language))
    _add(feed, "title", f"{shown.market.brand} {speech.named(shown.market)}: {speech.say('title')}")
    changed = [max(each.published_at, each.withdrawn_at) for each in shown.messages]
    _add(feed, "updated", _utc(max(changed, default=shown.at)))
    _add(_add(feed, "author"), "name", shown.market.operator)
    _add(feed, "link", rel="alternate", type="text/html", href=home)
    own = f"{address}/status/{code}.atom?lang={speech.language}"
    _add(feed, "link", rel="self", type=ATOM, href=own)
    for each in shown.messages:
        entry = _add(feed, "entry")
        text = text_in(each, speech.language)
        title = text if len(text) <= 80 else f"{text[:79]}…"
        if each.withdrawn_at:
            told = speech.say("corrected", time=speech.moment(shown.market, each.withdrawn_at))
            title, text = f"{told} {title}", f"{told} {text}"
        _add(entry, "id", _id(address, code, speech.language, str(each.number)))
        _add(entry, "title", title)
        _add(entry, "published", _utc(each.published_at))
        _add(entry, "updated", _utc(max(each.published_at, each.withdrawn_at)))
        _add(entry, "link", rel="alternate", type="text/html", href=f"{home}#message-{each.number}")
        _add(entry, "content", text, type="text")
    body: bytes = ET.tostring(feed, encoding="utf-8", xml_declaration=True)
    return body


def text_in(message: Message, language: str) -> str:
    """Return a message in a language, or in the first one that it was written in."""
    return message.texts.get(language) or next(iter(message.texts.values()), "")


def _line(service: Service, speech: Speech) -> dict[str, Any]:
    troubled = [day for day in service.days if day.minutes]
    return {
        "product": service.product,
        "name": speech.service(service.product),
        "state": service.state.value,
        "says": speech.state(service.state, service.product),
        "runs": _runs(service.days, speech),
        "troubled": [speech.day(day) for day in reversed(troubled)],
    }


def _runs(days: Sequence[Day], speech: Speech) -> list[tuple[str, int, int, str]]:
    """Return days that stand together as one: state, first place, length; a day of trouble has words.

    The page is read on slow networks: ninety bars for each service would be most of its bytes.
    """
    runs: list[tuple[str, int, int, str]] = []
    for place, day in enumerate(days):
        state = day.state.value if day.state else "none"
        says = speech.day(day) if day.minutes else ""
        if runs and runs[-1][0] == state and not says and not runs[-1][3]:
            runs[-1] = (state, runs[-1][1], runs[-1][2] + 1, "")
        else:
            runs.append((state, place, 1, says))
    return runs


def _work(work: Work, shown: Shown, speech: Speech) -> str:
    """Return planned work in plain words: which services, and from when to when in local time."""
    names = ", ".join(speech.service(each) for each in work.products)
    start, end = (speech.moment(shown.market, each) for each in (work.starts_at, work.ends_at))
    if work.starts_at <= shown.at:
        return speech.say("work.now", product=names, time=end)
    return speech.say("work.coming", product=names, start=start, end=end)


def _told(message: Message, market: Market, speech: Speech) -> dict[str, Any]:
    return {
        "number": message.number,
        "kind": message.kind,
        "text": text_in(message, speech.language),
        "at": speech.moment(market, message.published_at),
        "iso": _utc(message.published_at),
        "corrected": speech.say("corrected", time=speech.moment(market, message.withdrawn_at))
        if message.withdrawn_at
        else "",
    }


def _chosen(texts: Texts, request: Asked, offered: list[str], default: str) -> Speech:
    """Return the language: what the address asks for, else the browser, else the market's own."""
    wanted = request.query_params.get("lang", "")
    if wanted in offered:
        return Speech(texts=texts, language=wanted)
    weighed: list[tuple[int, int, str]] = []
    accepted = request.headers.get("accept-language", "")[:ACCEPTED_MAX].lower()
    for place, each in enumerate(accepted.split(",")):
        tag, _, weight = each.partition(";")
        language = tag.strip().partition("-")[0]
        if language in offered:
            weighed.append((-_thousandths(weight), place, language))
    best = min(weighed, default=(0, 0, default))
    return Speech(texts=texts, language=best[2] if best[0] < 0 else default)


def _thousandths(weight: str) -> int:
    """Return a quality like q=0.8 in thousandths; 1000 where there is none, 0 where it is none."""
    text = weight.replace(" ", "")
    if not text:
        return 1000
    whole, _, part = text.removeprefix("q=").partition(".")
    if whole not in {"0", "1"} or (part and not (part.isascii() and part.isdigit())):
        return 0
    return min(1000, int(whole) * 1000 + int((part + "000")[:3]))


def _answer(body: bytes, media_type: str, *, status: int = 200) -> Response[bytes]:
    return Response(
        body,
        status_code=status,
        media_type=media_type,
        headers={
            "cache-control": f"public, max-age={KEPT_S}",
            "content-security-policy": PUBLIC_CSP,
            "vary": "accept-language",
            "access-control-allow-origin": "*",
        },
    )


def _add(parent: ET.Element, name: str, text: str = "", **attributes: str) -> ET.Element:
    made = ET.SubElement(parent, name, attributes)
    made.text = "".join(each if each.isprintable() else " " for each in text) or None
    return made


def _id(address: str, *parts: str) -> str:
    """Return an id that stays the same for ever: below our address, where it is known."""
    start = f"{address}/status" if address else "urn:umoja:status"
    return (":" if not address else "/").join([start, *parts])


def _utc(micros: int) -> str:
    return f"{from_micros(micros):%Y-%m-%dT%H:%M:%SZ}"
