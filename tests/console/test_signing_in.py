"""Signing in and out: cookies, where one is sent afterwards, wrong passwords, changing one's own."""

import pytest

from tests.console.conftest import PASSWORD, Desk, Opened, told
from umoja.console.pages import own_path


async def test_signing_in_gives_a_session_that_no_script_reads(desk: Desk):
    desk.staff("amina", "viewer")
    answer = await desk.post("/sign-in", name="amina", password=PASSWORD, to="/audit")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/audit"
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("umoja_session=")
    for part in ("httponly", "samesite=strict", "path=/"):
        assert part in cookie
    assert "secure" not in cookie
    assert "amina" in told((await desk.get("/")).text)


async def test_in_production_both_cookies_are_for_safe_connections_only(opened: Opened):
    desk = opened(is_sandbox=False, secure_cookies=True)
    desk.staff("amina", "viewer")
    page = await desk.get("/sign-in")
    assert "secure" in page.headers["set-cookie"].lower()
    answer = await desk.post("/sign-in", name="amina", password=PASSWORD)
    assert "secure" in answer.headers["set-cookie"].lower()
    assert (await desk.get("/")).status_code == 200


@pytest.mark.parametrize(
    ("asked", "goes"),
    [
        ("/markets/KE", "/markets/KE"),
        ("/audit?before=3", "/audit?before=3"),
        ("", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("\\\\evil.example", "/"),
        ("https://evil.example/", "/"),
        ("javascript:alert(1)", "/"),
        ("/ok\r\nset-cookie: a=b", "/"),
        ("/\t/evil.example", "/"),
        ("evil.example", "/"),
        ("/" + "a" * 300, "/"),
        ("/😀", "/"),
    ],
)
async def test_after_signing_in_one_stays_on_this_site(desk: Desk, asked: str, goes: str):
    desk.staff("amina", "viewer")
    answer = await desk.post("/sign-in", name="amina", password=PASSWORD, to=asked)
    assert answer.headers["location"] == goes
    assert own_path(asked) == goes


async def test_a_wrong_password_and_an_unknown_name_are_answered_alike(desk: Desk):
    desk.staff("amina", "viewer")
    wrong = await desk.post("/sign-in", name="amina", password="something else")
    unknown = await desk.post("/sign-in", name="nobody", password="something else")
    assert (wrong.status_code, unknown.status_code) == (401, 401)
    for answer in (wrong, unknown):
        assert "Name or password is wrong." in answer.text
        assert "umoja_session" not in answer.headers.get("set-cookie", "")
        assert "something else" not in answer.text


async def test_who_guesses_has_to_wait_and_is_told_how_long(desk: Desk):
    desk.staff("amina", "viewer")
    answers = [await desk.post("/sign-in", name="amina", password="no") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429]
    assert answers[-1].headers["retry-after"] == "30"
    assert "Too many wrong passwords. Try again in 30 seconds." in answers[-1].text
    # The right one too has to wait: a guesser learns nothing.
    assert (await desk.post("/sign-in", name="amina", password=PASSWORD)).status_code == 429


async def test_signing_out_ends_the_session_here_and_at_the_centre(desk: Desk):
    await desk.enter("amina", "administrator")
    token = desk.http.cookies["umoja_session"]
    answer = await desk.post("/sign-out")
    assert answer.headers["location"] == "/sign-in"
    assert desk.centre.staff.member(token) is None
    desk.http.cookies.set("umoja_session", token, domain="console.test")
    assert (await desk.get("/audit")).status_code == 303
    assert (await desk.post("/sign-out")).status_code == 303  # again is harmless


@pytest.mark.parametrize("token", ["", "x", "\"'", "a" * 5_000, "%00", "=;"])
async def test_a_session_that_is_none_is_nobody(desk: Desk, token: str):
    page = await desk.get("/audit", cookie=f"umoja_session={token}; umoja_form={token}")
    assert page.status_code == 303


async def test_one_changes_ones_own_password_and_is_signed_out_elsewhere(desk: Desk):
    await desk.enter("amina", "viewer")
    elsewhere = desk.centre.staff.sign_in("amina", PASSWORD, address="192.0.2.9")
    fresh = "quite another password"
    answer = await desk.post("/account/password", old=PASSWORD, new=fresh, again=fresh)
    assert answer.headers["location"] == "/account?changed"
    assert "Your password is changed." in (await desk.get("/account?changed")).text
    assert desk.centre.staff.member(elsewhere) is None
    assert desk.centre.staff.sign_in("amina", PASSWORD, address="192.0.2.9") is None
    assert desk.centre.staff.sign_in("amina", fresh, address="192.0.2.9") is not None
    assert ("amina", "password_changed", "", "amina") in desk.acts()


@pytest.mark.parametrize(
    ("old", "new", "again", "says"),
    [
        ("not the one", "quite another password", "quite another password", "is another one"),
        (PASSWORD, "quite another password", "quite another passwort", "passwords differ"),
        (PASSWORD, "short", "short", "at least 12 characters"),
        (PASSWORD, "aaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaa", "too easily guessed"),
    ],
)
async def test_a_password_that_will_not_do_is_not_taken(
    desk: Desk, old: str, new: str, again: str, says: str
):
    await desk.enter("amina", "viewer")
    answer = await desk.post("/account/password", old=old, new=new, again=again)
    assert answer.status_code == 422
    assert says in answer.text
    assert new not in answer.text
    assert desk.centre.staff.sign_in("amina", PASSWORD, address="192.0.2.9") is not None


async def test_who_is_removed_is_out_at_once(desk: Desk):
    await desk.enter("amina", "administrator")
    desk.staff("juma", "administrator")
    juma = desk.centre.staff.sign_in("juma", PASSWORD, address="192.0.2.9")
    await desk.post("/staff/juma/remove")
    assert desk.centre.staff.member(juma) is None


@pytest.mark.parametrize(
    ("name", "password", "role", "market", "says"),
    [
        ("a", PASSWORD, "viewer", "*", "a name has 2 to 40 letters"),
        ("juma", "short", "viewer", "*", "at least 12 characters"),
        ("juma", PASSWORD, "king", "*", "roles are"),
        ("juma", PASSWORD, "viewer", "XX", "there is no market XX"),
        ("amina", PASSWORD, "viewer", "*", "there is somebody named amina already"),
    ],
)
async def test_staff_that_cannot_be_taken_on_says_why(
    desk: Desk, name: str, password: str, role: str, market: str, says: str
):
    await desk.enter("amina", "administrator")
    answer = await desk.post("/staff", name=name, password=password, role=role, market=market)
    assert answer.status_code == 422
    assert says in told(answer.text)
    assert [each.name for each in desk.centre.staff.browse()] == ["amina"]


async def test_the_last_administrator_stays(desk: Desk):
    await desk.enter("amina", "administrator")
    answer = await desk.post("/staff/amina/remove")
    assert answer.status_code == 422
    assert "somebody must remain administrator" in answer.text


async def test_what_somebody_may_do_is_changed_at_once_and_written_down(desk: Desk):
    await desk.enter("amina", "administrator")
    desk.staff("kofi", "viewer")
    kofi = desk.centre.staff.sign_in("kofi", PASSWORD, address="192.0.2.9")
    answer = await desk.post(
        "/staff/kofi/roles", **{"in-*": "", "in-KE": "engineer", "in-GH": "viewer"}
    )
    assert answer.status_code == 303
    member = desk.centre.staff.member(kofi)
    assert member is not None
    assert member.roles == {"KE": frozenset({"engineer"}), "GH": frozenset({"viewer"})}
    assert "viewer in GH; engineer in KE" in (await desk.get("/staff")).text
    assert [act[1] for act in desk.acts()][-1] == "roles_changed"


@pytest.mark.parametrize(
    ("path", "fields", "says"),
    [
        ("/staff/kofi/roles", {}, "at least one role"),
        ("/staff/kofi/roles", {"in-KE": "queen"}, "roles are administrator, engineer, viewer"),
        ("/staff/nobody/roles", {"in-KE": "viewer"}, "there is nobody named nobody"),
        ("/staff/amina/roles", {"in-KE": "viewer"}, "changed by another administrator"),
    ],
)
async def test_roles_that_cannot_be_given_change_nothing(
    desk: Desk, path: str, fields: dict[str, str], says: str
):
    await desk.enter("amina", "administrator")
    desk.staff("kofi", "viewer")
    answer = await desk.post(path, **fields)
    assert answer.status_code == 422
    assert says in answer.text
    assert [dict(each.roles) for each in desk.centre.staff.browse()] == [
        {"*": frozenset({"administrator"})},
        {"*": frozenset({"viewer"})},
    ]


async def test_only_an_administrator_changes_roles(desk: Desk):
    desk.staff("kofi", "viewer")
    await desk.enter("juma", "engineer")
    answer = await desk.post("/staff/kofi/roles", **{"in-*": "administrator"})
    assert answer.status_code == 403


async def test_roles_in_a_market_that_is_shut_stay_until_somebody_takes_them_back(desk: Desk):
    await desk.enter("amina", "administrator")
    desk.staff("kofi", "engineer", "KE")
    desk.centre._database.run(
        "UPDATE staff SET roles = :roles WHERE name = 'kofi'",
        roles='{"KE": ["engineer"], "TZ": ["viewer"]}',
    )
    assert "In TZ, not open now" in (await desk.get("/staff")).text
    kept = await desk.post("/staff/kofi/roles", **{"in-KE": "viewer", "in-TZ": "viewer"})
    assert kept.status_code == 303
    [kofi] = [each for each in desk.centre.staff.browse() if each.name == "kofi"]
    assert kofi.roles == {"KE": frozenset({"viewer"}), "TZ": frozenset({"viewer"})}
    await desk.post("/staff/kofi/roles", **{"in-KE": "viewer", "in-TZ": ""})
    await desk.post("/staff/kofi/roles", **{"in-KE": "viewer", "in-TZ": "viewer"})
    [kofi] = [each for each in desk.centre.staff.browse() if each.name == "kofi"]
    assert kofi.roles == {"KE": frozenset({"viewer"})}  # what was taken back is not given here
