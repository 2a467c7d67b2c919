"""The second factor at the console's doors: both steps, setting it up, a fresh code for money, resets."""

import html
import re
from datetime import timedelta

import pytest

from tests.console.conftest import PASSWORD, Desk, Opened, told
from tests.console.test_closed_doors import SHUT, filled, routes
from umoja.clock import to_micros
from umoja.ops.make_good import MakeGoodRefused
from umoja.ops.one_time import code_at
from umoja.ops.second_factor import Required
from umoja.signals import Wrong

SET_UP = "/account/second-factor"


class Phone:
    """An authenticator that was given a secret."""

    def __init__(self, desk: Desk, secret: bytes) -> None:
        self._desk, self._secret = desk, secret

    @classmethod
    async def of(cls, desk: Desk) -> tuple["Phone", str]:
        """Read what the page offers; return the phone and the salt of the form."""
        page = await desk.get(SET_UP)
        assert page.status_code == 200, page.text
        (salt,) = re.findall(r'name="salt" value="([0-9a-f]{32})"', page.text)
        (name,) = re.findall(r'name="username" value="([^"]+)"', page.text)
        return cls(desk, desk.centre.staff.offer(name, bytes.fromhex(salt))), salt

    def shows(self) -> str:
        return code_at(self._secret, int(self._desk.clock.now().timestamp()) // 30)

    def shows_next(self) -> str:
        """Wait for a code that was not used yet."""
        self._desk.clock.advance(timedelta(seconds=30))
        return self.shows()


async def set_up(desk: Desk) -> tuple[Phone, list[str]]:
    phone, salt = await Phone.of(desk)
    answer = await desk.post(SET_UP, salt=salt, password=PASSWORD, code=phone.shows())
    assert answer.status_code == 200, answer.text
    codes = re.findall(r"<li><code>([0-9 ]+)</code>", answer.text)
    assert len(codes) == 10
    return phone, codes


async def test_both_steps_lead_in(desk: Desk):
    await desk.enter("amina", "administrator")
    phone, _ = await set_up(desk)
    await desk.post("/sign-out")

    answer = await desk.post("/sign-in", name="amina", password=PASSWORD, to="/audit?before=3")
    assert answer.headers["location"] == "/sign-in/code?to=/audit%3Fbefore%3D3"
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("umoja_half_signed=")
    for part in ("httponly", "samesite=strict", "path=/"):
        assert part in cookie
    assert (await desk.get("/audit")).status_code == 303  # not in yet
    # What is half signed in is no session, wherever it is put.
    half = desk.http.cookies["umoja_half_signed"]
    assert (await desk.get("/audit", cookie=f"umoja_session={half}")).status_code == 303

    assert "The password is right." in (await desk.get("/sign-in/code?to=/audit")).text
    wrong = await desk.post("/sign-in/code", code="000000", to="/audit?before=3")
    assert wrong.status_code == 401
    assert "wrong, or was used before" in wrong.text
    right = await desk.post("/sign-in/code", code=phone.shows_next(), to="/audit?before=3")
    assert (right.status_code, right.headers["location"]) == (303, "/audit?before=3")
    assert (await desk.get("/audit")).status_code == 200
    assert "umoja_half_signed" not in desk.http.cookies


@pytest.mark.parametrize("to", ["//evil.example", "https://evil.example/", "/\\evil.example"])
async def test_the_code_leads_nowhere_else(desk: Desk, to: str):
    await desk.enter("amina", "administrator")
    phone, _ = await set_up(desk)
    assert (await desk.post("/account/code", code=phone.shows_next(), to=to)).headers[
        "location"
    ] == "/"
    await desk.post("/sign-out")
    await desk.post("/sign-in", name="amina", password=PASSWORD, to=to)
    answer = await desk.post("/sign-in/code", code=phone.shows_next(), to=to)
    assert answer.headers["location"] == "/"


async def test_whoever_was_too_slow_begins_again(desk: Desk):
    await desk.enter("amina", "administrator")
    phone, _ = await set_up(desk)
    await desk.post("/sign-out")
    await desk.post("/sign-in", name="amina", password=PASSWORD)
    desk.clock.advance(timedelta(minutes=5))
    answer = await desk.post("/sign-in/code", code=phone.shows(), to="/audit")
    assert answer.headers["location"] == "/sign-in?to=/audit"
    desk.http.cookies.clear()
    assert (await desk.get("/sign-in/code?to=/audit")).headers["location"] == "/sign-in?to=/audit"


async def test_who_guesses_codes_has_to_wait(desk: Desk):
    await desk.enter("amina", "administrator")
    phone, _ = await set_up(desk)
    await desk.post("/sign-out")
    await desk.post("/sign-in", name="amina", password=PASSWORD)
    answers = [await desk.post("/sign-in/code", code="000000") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429]
    assert answers[-1].headers["retry-after"] == "30"
    assert "Too many wrong tries: wait 30 seconds and try again." in answers[-1].text
    assert (await desk.post("/sign-in/code", code=phone.shows_next())).status_code == 303


async def test_a_recovery_code_leads_in_and_is_counted_on_the_account(desk: Desk):
    await desk.enter("amina", "administrator")
    _, codes = await set_up(desk)
    await desk.post("/sign-out")
    await desk.post("/sign-in", name="amina", password=PASSWORD)
    assert (await desk.post("/sign-in/code", code=codes[0])).status_code == 303
    assert "9 recovery codes are left." in told((await desk.get("/account")).text)
    renewed = await desk.post("/account/recovery-codes")
    assert len(re.findall(r"<li><code>", renewed.text)) == 10
    assert codes[1] not in renewed.text
    assert renewed.headers["cache-control"] == "no-store"


async def test_nothing_is_kept_before_a_code_came_back(desk: Desk):
    await desk.enter("amina", "administrator")
    page = await desk.get(SET_UP)
    assert page.headers["cache-control"] == "no-store"
    (picture,) = re.findall(r'<img class="qr" src="(data:image/svg\+xml[^"]+)"', page.text)
    assert "http" not in html.unescape(picture).replace("http%3A%2F%2Fwww.w3.org", "")
    phone, salt = await Phone.of(desk)
    for fields, status, says in (
        ({"salt": salt, "password": PASSWORD, "code": "000000"}, 422, "clock of your phone"),
        ({"salt": salt, "password": "wrong", "code": phone.shows()}, 422, "is another one"),
        ({"salt": "zz", "password": PASSWORD, "code": phone.shows()}, 400, ""),
        ({"salt": "00", "password": PASSWORD, "code": phone.shows()}, 400, ""),
        ({}, 400, ""),
    ):
        answer = await desk.post(SET_UP, **fields)
        assert answer.status_code == status
        assert says in answer.text
        assert PASSWORD not in answer.text
        if status == 422:
            assert salt in answer.text  # the same secret: the phone has it already
    assert desk.centre.staff.factor("amina") is None


async def test_another_phone_needs_a_fresh_code(desk: Desk):
    await desk.enter("amina", "administrator")
    phone, _ = await set_up(desk)
    desk.clock.advance(timedelta(minutes=15))
    assert (await desk.get(SET_UP)).headers["location"] == f"/account/code?to={SET_UP}"
    salt = "00" * 16
    answer = await desk.post(SET_UP, salt=salt, password=PASSWORD, code=phone.shows())
    assert answer.headers["location"] == f"/account/code?to={SET_UP}"
    answer = await desk.post("/account/code", code=phone.shows(), to=SET_UP)
    assert answer.headers["location"] == SET_UP
    other, _ = await set_up(desk)
    await desk.post("/sign-out")
    await desk.post("/sign-in", name="amina", password=PASSWORD)
    assert (await desk.post("/sign-in/code", code=phone.shows_next())).status_code == 401
    assert (await desk.post("/sign-in/code", code=other.shows())).status_code == 303


def drafted(desk: Desk) -> str:
    incident = desk.incident()
    wrong = Wrong(
        order="a" * 32, kind="double_charge", act="reverse", product="send_money",
        amount_minor=100_00, currency="KES", at=to_micros(desk.clock.now()), who="ab12",
        is_sure=True, why="the same again",
    )  # fmt: skip
    desk.centre.make_good.draft(incident, [wrong], actor="eve")
    return f"/incidents/{incident.id}/make-good"


@pytest.mark.parametrize(
    "required", [Required.NOBODY, Required.POWERFUL], ids=["sandbox", "production"]
)
async def test_money_goes_only_with_a_fresh_code(opened: Opened, required: Required):
    desk = opened(is_sandbox=required is Required.NOBODY, second_factor=required)
    desk.staff("eve", "engineer")
    desk.staff("amina", "administrator")
    await desk.enter("amina")
    phone, _ = await set_up(desk)
    if required is not Required.NOBODY:  # whom another let in has no hand in money for a day
        rests = "no hand in money before 2026-03-11 09:00 UTC"
        assert told((await desk.get("/staff")).text).count(rests) == 2
        with pytest.raises(MakeGoodRefused, match="eve was let in by another lately"):
            drafted(desk)
        desk.clock.advance(timedelta(days=1))
        await desk.post("/sign-in", name="amina", password=PASSWORD)
        await desk.post("/sign-in/code", code=phone.shows())
        assert "no hand in money" not in told((await desk.get("/staff")).text)
    page = drafted(desk)
    desk.clock.advance(timedelta(minutes=15))

    first = await desk.post(page, act="release", batch="1")
    assert (first.status_code, first.headers["location"]) == (303, f"/account/code?to={page}")
    batch = desk.centre.make_good.batch(1)
    assert batch is not None
    assert batch.state == "drafted"
    assert "This needs a fresh code" in (await desk.get(f"/account/code?to={page}")).text
    assert (await desk.post("/account/code", code="000000", to=page)).status_code == 401
    given = await desk.post("/account/code", code=phone.shows(), to=page)
    assert given.headers["location"] == page
    second = await desk.post(page, act="release", batch="1")
    assert second.headers["location"] == page
    batch = desk.centre.make_good.batch(1)
    assert batch is not None
    assert (batch.state, batch.released_by) == ("released", "amina")


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/staff", {"name": "juma", "password": PASSWORD, "role": "viewer", "market": "*"}),
        ("/staff/kofi/remove", {}),
        ("/staff/kofi/roles", {"in-KE": "administrator"}),
        ("/staff/kofi/second-factor", {}),
        ("/tokens", {"name": "prom", "scope-alerts": "1", "lasts": "90d"}),
    ],
)
async def test_who_makes_a_second_person_gives_a_fresh_code(desk: Desk, path: str, fields: dict):
    """Else a session left open could make the second pair of eyes itself."""
    desk.staff("kofi", "viewer")
    await desk.enter("kofi")
    await set_up(desk)
    desk.http.cookies.clear()
    await desk.enter("amina", "administrator")
    phone, _ = await set_up(desk)
    desk.clock.advance(timedelta(minutes=15))
    before = len(desk.acts())
    answer = await desk.post(path, **fields)
    assert answer.headers["location"].startswith("/account/code?to=/")
    assert len(desk.acts()) == before
    await desk.post("/account/code", code=phone.shows())
    assert (await desk.post(path, **fields)).status_code in {200, 303}
    assert len(desk.acts()) == before + 2


async def test_another_administrator_resets_it_and_never_her_own(desk: Desk):
    desk.staff("kofi", "administrator")
    await desk.enter("kofi")
    await set_up(desk)
    answer = await desk.post("/staff/kofi/second-factor")
    assert answer.status_code == 422
    assert "reset by another administrator" in answer.text
    desk.http.cookies.clear()
    await desk.enter("amina", "administrator")
    assert "Reset the second factor of kofi" in (await desk.get("/staff")).text
    assert (await desk.post("/staff/kofi/second-factor")).status_code == 303
    assert ("amina", "second_factor_reset", "", "kofi") in desk.acts()
    assert "Reset the second factor of kofi" not in (await desk.get("/staff")).text
    desk.http.cookies.clear()
    await desk.enter("kofi")  # by the password alone
    desk.http.cookies.clear()
    await desk.enter("juma", "engineer")
    assert (await desk.post("/staff/kofi/second-factor")).status_code == 403


async def test_in_production_who_has_power_and_no_factor_may_only_set_it_up(opened: Opened):
    desk = opened(is_sandbox=False, second_factor=Required.POWERFUL)
    desk.incident()
    desk.staff("kofi", "viewer")
    await desk.enter("amina", "administrator")
    before = desk.acts()
    let_in = []
    for method, path in routes(desk.application):
        if path == SET_UP:
            continue
        answer = (
            await desk.get(filled(path))
            if method == "GET"
            else await desk.post(filled(path), on="1", name="juma", password=PASSWORD)
        )
        is_led = answer.status_code == 303 and (
            answer.headers["location"] == SET_UP
            or answer.headers["location"].startswith("/sign-in")
        )
        if answer.status_code not in SHUT and not is_led:
            let_in.append((method, path, answer.status_code))
    assert let_in == []
    assert desk.acts() == before
    assert (await desk.get("/")).headers["location"] == SET_UP
    page = await desk.get(SET_UP)
    assert "Nothing else is open to you before." in told(page.text)
    assert "Sign out" in page.text
    assert 'href="/staff"' not in page.text
    await set_up(desk)
    assert (await desk.get("/staff")).status_code == 200


async def test_a_setting_wants_it_of_everybody(opened: Opened):
    desk = opened(second_factor=Required.EVERYBODY)
    desk.staff("kofi", "viewer")
    signed_in = await desk.post("/sign-in", name="kofi", password=PASSWORD, to="/incidents")
    assert (signed_in.status_code, signed_in.headers["location"]) == (303, SET_UP)
    assert (await desk.get("/on-call")).headers["location"] == SET_UP
    assert (await desk.get("/")).status_code == 200  # in a sandbox anybody may look
    await set_up(desk)
    assert (await desk.get("/on-call")).status_code == 200


async def test_without_one_nothing_is_asked_for_in_a_sandbox(desk: Desk):
    await desk.enter("amina", "administrator")
    assert (await desk.post("/account/code", code="000000")).headers["location"] == SET_UP
    assert (await desk.post("/account/recovery-codes")).headers["location"] == SET_UP
    await desk.post("/staff", name="juma", password=PASSWORD, role="viewer", market="*")
    assert "juma" in [each.name for each in desk.centre.staff.browse()]


async def test_a_changed_password_keeps_the_session_and_its_code(desk: Desk):
    await desk.enter("amina", "administrator")
    phone, _ = await set_up(desk)
    fresh = "quite another password"
    answer = await desk.post("/account/password", old=PASSWORD, new=fresh, again=fresh)
    assert answer.headers["location"] == "/account?changed"
    assert (await desk.get("/staff")).status_code == 200
    await desk.post("/sign-out")
    answer = await desk.post("/sign-in", name="amina", password=fresh)
    assert answer.headers["location"].startswith("/sign-in/code")
    assert (await desk.post("/sign-in/code", code=phone.shows_next())).status_code == 303
