"""The commands about the operations centre: tokens told once, and vendors' pages."""

import json
import sqlite3
from pathlib import Path

import pytest

from umoja.cli import OK, UNAVAILABLE, USAGE, WRONG, run
from umoja.clock import SystemClock
from umoja.markets import packs
from umoja.ops.centre import open_centre
from umoja.ops.one_time import code_at


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data"
    (folder / "KE").mkdir(parents=True)
    (folder / "KE" / "journal.db").touch()
    open_centre(folder / "centre.db", clock=SystemClock(), markets=[packs.load("KE")]).close()
    return str(folder)


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = OK) -> str:
    assert run(["ops", *words]) == code
    told = capsys.readouterr()
    return told.out if code == OK else told.err


def test_a_token_is_told_once_listed_and_revoked(data: str, capsys: pytest.CaptureFixture[str]):
    text = said(capsys, "token", "--scope", "alerts,otlp", "--name", "prom", "--expires", "90d",
                "--data", data).strip()  # fmt: skip
    assert text.startswith("umj_")
    assert len(text) == 47

    (row,) = json.loads(said(capsys, "tokens", "--data", data, "--json"))
    assert (row["number"], row["name"], row["scopes"], row["state"]) == (
        1,
        "prom",
        "alerts otlp",
        "valid",
    )
    assert text not in said(capsys, "tokens", "--data", data)
    said(capsys, "revoke", "1", "--data", data)
    (row,) = json.loads(said(capsys, "tokens", "--data", data, "--json"))
    assert row["state"] == "revoked"
    kept = sqlite3.connect(Path(data) / "centre.db")
    assert kept.execute("SELECT actor, action FROM audit ORDER BY number").fetchall() == [
        ("command line", "token made"),
        ("command line", "token revoked"),
    ]
    kept.close()


def test_what_is_typed_wrong_is_told(data: str, capsys: pytest.CaptureFixture[str]):
    assert "scopes among alerts" in said(
        capsys, "token", "--scope", "all", "--data", data, code=USAGE
    )
    words = ("token", "--scope", "alerts", "--expires", "soon", "--data", data)
    assert "an end is 12h" in said(capsys, *words, code=USAGE)
    assert "there is no token 7" in said(capsys, "revoke", "7", "--data", data, code=WRONG)
    assert "there is no centre" in said(
        capsys, "tokens", "--data", f"{data}/none", code=UNAVAILABLE
    )


def test_a_vendor_s_page_is_watched_listed_and_removed(
    data: str, capsys: pytest.CaptureFixture[str]
):
    url = "https://status.example.com/api/v2/summary.json"
    said(capsys, "watch", "route", url, "--markets", "ke", "--data", data)

    (row,) = json.loads(said(capsys, "pages", "--data", data, "--json"))
    assert row == {
        "name": "route",
        "address": url,
        "markets": "KE",
        "last read": "not yet",
        "trouble": "-",
    }
    assert "https://" in said(capsys, "watch", "x", "ftp://x", "--data", data, code=USAGE)
    said(capsys, "unwatch", "route", "--data", data)
    assert "no page route" in said(capsys, "unwatch", "route", "--data", data, code=WRONG)


def test_a_second_factor_is_reset_on_the_machine(data: str, capsys: pytest.CaptureFixture[str]):
    clock, salt, good = SystemClock(), bytes(16), "a long enough password"
    centre = open_centre(
        Path(data) / "centre.db", clock=clock, markets=[packs.load("KE")], staff_key=b"a key"
    )
    centre.staff.add("asha", good, {"*": ["administrator"]}, by="test")
    session = centre.staff.sign_in("asha", good, address="192.0.2.1")
    code = code_at(centre.staff.offer("asha", salt), int(clock.now().timestamp()) // 30)
    centre.staff.enrol(
        "asha", good, salt=salt, code=code, session=str(session), address="192.0.2.1"
    )

    told = said(capsys, "reset-second-factor", "asha", "--data", data)  # beside a centre that runs

    assert "asha signs in with the password alone" in told
    assert centre.staff.factor("asha") is None
    assert centre.staff.member(str(session)) is None
    last = centre.audit.recent(limit=1)[0]
    assert (last.actor, last.action, last.detail) == ("command line", "second_factor_reset", "asha")
    centre.close()
    words = ("reset-second-factor", "asha", "--data", data)
    assert "asha has no second factor" in said(capsys, *words, code=WRONG)
    words = ("reset-second-factor", "nobody", "--data", data)
    assert "there is nobody named nobody" in said(capsys, *words, code=WRONG)
