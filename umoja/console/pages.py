"""Pages: templates, the signed-in member, the form token, and what every answer of the console bears."""

import hmac
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from litestar import MediaType, Request, Response
from litestar.datastructures import Cookie
from litestar.exceptions import HTTPException

from umoja.clock import Clock
from umoja.console import words as spoken
from umoja.console.sandbox import Sandbox
from umoja.console.words import LANGUAGE_COOKIE, LANGUAGES, _, _n, later
from umoja.faults import Busy, OutcomeUnknown
from umoja.markets.market import Market
from umoja.money import Money
from umoja.ops.centre import UNREADABLE
from umoja.ops.paging import Page
from umoja.ops.staff import CodeNeeded, Member, Staff

HERE = Path(__file__).parent
SESSION_COOKIE = "umoja_session"
HALF_COOKIE = "umoja_half_signed"
FORM_COOKIE = "umoja_form"
FORM_FIELD = "form_token"
FORM_MAX = 32 * 1024
UNREAD_RETRY_S = 15
PATH_MAX = 200
SET_UP = "/account/second-factor"
LANGUAGE_KEPT_S = 365 * 24 * 3_600

moment, minute, clock_time, words = spoken.moment, spoken.minute, spoken.clock_time, spoken.named

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)

HEADERS = {"content-security-policy": CSP, "cache-control": "no-store"}

REFUSED = {
    400: (
        later("That could not be read"),
        later("Go back, load the page again and try once more."),
    ),
    401: (later("Sign in first"), later("This needs a member of staff.")),
    403: (
        later("You may not do this"),
        later(
            "Your role does not allow it here. If it should, load the page again and try once more."
        ),
    ),
    404: (
        later("There is no such page"),
        later("The address may be mistyped, or the market is not open."),
    ),
    405: (later("That does not work here"), later("Go back and use the buttons of the page.")),
    413: (later("That is too much"), later("The form is larger than this page takes.")),
}
"""What people read when something is refused: a title, and what they can do."""

TOO_MANY = (later("Too many look at once"), later("Try again in a moment."))
UNCLEAR = (
    later("It is not known whether that was done"),
    later("Look before you try again: it may have been done although no answer came."),
)
UNREAD = (
    later("The centre cannot read its records now"),
    later("Payments go on: they do not need the centre. The log says what is broken."),
)
"""What people read when the centre's own records fail it."""

Asked = Request[Any, Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Who looks at a page: a member of staff, or in a sandbox anybody.

    A member who must set up her second factor first is in `enrolling` instead: nobody yet, but there.
    """

    member: Member | None
    form_token: str
    enrolling: Member | None = None
    session: str = field(default="", repr=False)
    path: str = "/"
    """Where to come back to, after the language was changed."""


class Pages:
    """Renders the console's pages and knows who asks for them."""

    def __init__(
        self,
        *,
        staff: Staff,
        clock: Clock,
        sandbox: Sandbox | None,
        secure_cookies: bool,
        markets: dict[str, Market],
        waiting: Callable[[str], Sequence[Page]],
    ) -> None:
        self.sandbox = sandbox
        self.markets = markets
        self._staff = staff
        self._clock = clock
        self._secure = secure_cookies
        self._waiting = waiting
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=select_autoescape(default=True, default_for_string=True),
            undefined=StrictUndefined,
            optimized=False,  # else filters of constants are worked out once, in one language
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals.update(
            markets=list(markets.values()),
            is_sandbox=sandbox is not None,
            versions={path.name: int(path.stat().st_mtime) for path in (HERE / "static").iterdir()},
        )
        self._templates.globals.update(
            {"_": _, "_n": _n}, language=spoken.language, languages=LANGUAGES
        )
        self._templates.filters.update(
            moment=spoken.moment,
            minute=spoken.minute,
            day=spoken.day,
            clock_time=spoken.clock_time,
            weekday=spoken.weekday,
            words=spoken.named,
            record=spoken.recorded,
            said=spoken.record,
            place=spoken.place,
            number=spoken.number,
        )

    def now(self) -> datetime:
        return self._clock.now()

    # Who

    def visitor(self, request: Asked) -> Visitor:
        """Return who asks, and speak her language. Where staff cannot be read, nobody gets in."""
        self.speak(request)
        token = request.cookies.get(SESSION_COOKIE, "")
        try:
            member = self._staff.member(token) if token else None
        except UNREADABLE:
            member = None
        form_token = request.cookies.get(FORM_COOKIE, "")
        if not 20 <= len(form_token) <= 80 or not form_token.isascii():
            form_token = secrets.token_urlsafe(24)
        is_enrolling = member is not None and member.must_enrol
        return Visitor(
            member=None if is_enrolling else member,
            form_token=form_token,
            enrolling=member if is_enrolling else None,
            session=token,
            path=_shown_path(request),
        )

    def speak(self, request: Asked) -> None:
        """Speak the language of whoever asks, until this request is answered."""
        kept = request.cookies.get(LANGUAGE_COOKIE, "")
        accepted = request.headers.get("accept-language", "")
        spoken.speak(spoken.chosen(kept=kept, accepted=accepted))

    def may(self, visitor: Visitor, action: str, market: str = "*") -> bool:
        return self._staff.may(visitor.member, action, market)

    def may_see(self, visitor: Visitor, market: str = "*") -> bool:
        """Tell whether figures may be shown: in a sandbox to anybody, else to staff of the market."""
        return self.sandbox is not None or self.may(visitor, "see", market)

    def require(self, visitor: Visitor, action: str, market: str = "*") -> Member:
        """Return the member, or raise 401 for nobody and 403 for one who may not."""
        if visitor.member is None:
            raise HTTPException(status_code=401)
        if not self.may(visitor, action, market):
            raise HTTPException(status_code=403)
        return visitor.member

    def code_first(self, visitor: Visitor, member: Member, to: str) -> Response[str] | None:
        """Return the way to give a fresh code and come back to a path, where one is needed."""
        try:
            self._staff.require_code(member.name, visitor.session)
        except CodeNeeded:
            return self.to_code(to)
        return None

    def to_code(self, to: str) -> Response[str]:
        return self.see_other(f"/account/code?to={quote(to)}")

    # Asking

    async def form(self, request: Asked, *, fields_max: int = 20) -> dict[str, str]:
        """Return the fields of a form of ours; raise 403 for one that another site made."""
        body = await request.body()
        try:
            fields = dict(
                parse_qsl(
                    body.decode("utf-8"),
                    keep_blank_values=True,
                    errors="strict",
                    max_num_fields=fields_max,
                )
            )
        except ValueError:
            raise HTTPException(status_code=400) from None
        kept = request.cookies.get(FORM_COOKIE, "")
        given = fields.get(FORM_FIELD, "")
        is_ours = bool(kept) and hmac.compare_digest(given.encode(), kept.encode())
        site = request.headers.get("sec-fetch-site", "same-origin")
        if not is_ours or site not in {"same-origin", "none"}:
            raise HTTPException(status_code=403)
        return fields

    # Answering

    def render(self, template: str, **values: Any) -> str:
        return self._templates.get_template(template).render(**values)

    def page(
        self, template: str, visitor: Visitor, *, here: str = "", status: int = 200, **values: Any
    ) -> Response[str]:
        """Return a whole page for its visitor; `here` is what the navigation marks as current."""
        text = self.render(
            template,
            member=visitor.member,
            enrolling=visitor.enrolling,
            form_token=visitor.form_token,
            here=here,
            now=self._clock.now(),
            may_see_audit=self.may(visitor, "see_audit"),
            may_manage_staff=self.may(visitor, "manage_staff"),
            paged_for=self._paged_for(visitor, here),
            path=visitor.path,
            script_words=dict(spoken.of_scripts(HERE / "static", spoken.language())),
            **values,
        )
        return Response(
            text,
            status_code=status,
            media_type=MediaType.HTML,
            headers=HEADERS,
            cookies=[self._cookie(FORM_COOKIE, visitor.form_token)],
        )

    def part(self, template: str, **values: Any) -> Response[str]:
        """Return the part of a page that its script puts in the place of the old one."""
        return Response(self.render(template, **values), media_type=MediaType.HTML, headers=HEADERS)

    def refused(self, request: Asked, cause: HTTPException) -> Response[str]:
        """Return the page for what was refused; to a script that asked for a part, a bare line."""
        status = cause.status_code
        self.speak(request)
        title, detail = (_(each) for each in REFUSED.get(status, REFUSED[400]))
        headers = {
            name: value
            for name, value in (cause.headers or {}).items()
            if name.lower() in {"allow", "retry-after"}
        }
        if "text/html" not in request.headers.get("accept", ""):
            return Response(title, status_code=status, media_type=MediaType.TEXT, headers=headers)
        answer = self.page(
            "refused.html", self.visitor(request), status=status, title=title, detail=detail
        )
        answer.headers.update(headers)
        return answer

    def unread(self, request: Asked, cause: Exception) -> Response[str]:
        """Return the page for what the centre's own records refused: it says that payments go on."""
        self.speak(request)
        said = (
            UNCLEAR
            if isinstance(cause, OutcomeUnknown)
            else TOO_MANY
            if isinstance(cause, Busy)
            else UNREAD
        )
        title, detail = (_(each) for each in said)
        wait_s = cause.retry_after_s if isinstance(cause, Busy) else UNREAD_RETRY_S
        headers = {"retry-after": str(wait_s)}
        if "text/html" not in request.headers.get("accept", ""):
            return Response(title, status_code=503, media_type=MediaType.TEXT, headers=headers)
        answer = self.page(
            "refused.html", self.visitor(request), status=503, title=title, detail=detail
        )
        answer.headers.update(headers)
        return answer

    def _paged_for(self, visitor: Visitor, here: str) -> list[str]:
        """Return the incidents for which a member is paged, newest first; the on-call page has them."""
        if visitor.member is None or here == "on-call":
            return []
        try:
            return list(dict.fromkeys(each.incident for each in self._waiting(visitor.member.name)))
        except UNREADABLE:
            return []  # the page itself says what cannot be read

    def to_sign_in(self, request: Asked) -> Response[str]:
        """Send whoever has not signed in to do so, and back to this page afterwards.

        Who has, and must set up a second factor, is sent to do that.
        """
        token = request.cookies.get(SESSION_COOKIE, "")
        if token:
            member = self._staff.member(token)  # raises where staff cannot be read: no help either
            if member is not None and member.must_enrol:
                return self.see_other(SET_UP)
        return self.see_other(f"/sign-in?to={quote(request.scope['path'])}")

    def signed_in(self, token: str, to: str) -> Response[str]:
        """Lead on whoever has signed in; who must set up a second factor first does that."""
        member = self._staff.member(token)
        if member is not None and member.must_enrol:
            to = SET_UP
        return _see_other(to, [self._cookie(SESSION_COOKIE, token), self._gone(HALF_COOKIE)])

    def half_signed_in(self, token: str, to: str) -> Response[str]:
        """Ask for the code: the password was right."""
        return _see_other(f"/sign-in/code?to={quote(to)}", [self._cookie(HALF_COOKIE, token)])

    def signed_out(self) -> Response[str]:
        return _see_other("/sign-in", [self._gone(SESSION_COOKIE)])

    def in_language(self, wanted: str, to: str) -> Response[str]:
        """Go back to a path of ours and speak a language from now on; 400 for one we do not speak."""
        if wanted not in LANGUAGES:
            raise HTTPException(status_code=400)
        kept = self._cookie(LANGUAGE_COOKIE, wanted)
        kept.max_age, kept.samesite = LANGUAGE_KEPT_S, "lax"  # a link from elsewhere keeps it
        return _see_other(own_path(to), [kept])

    def see_other(self, to: str) -> Response[str]:
        return _see_other(to, [])

    def _gone(self, name: str) -> Cookie:
        gone = self._cookie(name, "")
        gone.max_age = 0
        return gone

    def _cookie(self, name: str, value: str) -> Cookie:
        return Cookie(
            key=name,
            value=value,
            path="/",
            httponly=True,
            secure=self._secure,
            samesite="strict",
        )


def own_path(text: str) -> str:
    """Return a path of this site to go to after signing in; the wall for anything else."""
    is_own = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isascii()
    is_plain = text.isprintable() and len(text) <= PATH_MAX and "\\" not in text
    return text if is_own and is_plain else "/"


def _shown_path(request: Asked) -> str:
    """Return the path of the page that is looked at; after a form, of the page that had it."""
    if request.method == "GET":
        query = request.scope["query_string"].decode("latin-1")
        return own_path(request.scope["path"] + (f"?{query}" if query else ""))
    came = urlsplit(request.headers.get("referer", "")[:PATH_MAX])
    return own_path(came.path + (f"?{came.query}" if came.query else ""))


def _see_other(to: str, cookies: list[Cookie]) -> Response[str]:
    return Response(
        "",
        status_code=303,
        media_type=MediaType.TEXT,
        headers={"location": to, "cache-control": "no-store"},
        cookies=cookies,
    )


def amount(market: Market, minor: int, currency: str) -> str:
    """Return an amount for people; one of an unknown currency as bare minor units."""
    if market.currency(currency) is None:
        return f"{minor} {currency}"
    sign = "-" if minor < 0 else ""
    return spoken.money(sign + market.written(Money(abs(minor), currency)))
