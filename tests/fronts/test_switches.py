"""Switches kept in a file: what was stopped stays stopped, and a damaged file opens nothing."""

from pathlib import Path

import pytest

from umoja.faults import Unavailable
from umoja.switches import kept_switches


def test_no_file_means_all_is_open_and_writes_none(tmp_path: Path):
    switches = kept_switches(tmp_path / "s.json")
    assert switches.reason_stopped(market="KE", product="airtime") is None
    assert not (tmp_path / "s.json").exists()


def test_a_stop_is_kept_and_opened_again(tmp_path: Path):
    kept_switches(tmp_path / "s.json").stop(market="KE", product="*", reason="closed: «Ağ» down")
    again = kept_switches(tmp_path / "s.json")
    assert again.reason_stopped(market="KE", product="airtime") == "closed: «Ağ» down"
    assert again.reason_stopped(market="TZ", product="airtime") is None
    again.open(market="KE", product="*")
    assert kept_switches(tmp_path / "s.json").stopped == {}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"stopped": [{"market": "KE"}]}', '{"stopped": 5}']
)
def test_a_damaged_file_is_told_and_opens_nothing(tmp_path: Path, text: str):
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(Unavailable, match="mend it"):
        kept_switches(tmp_path / "s.json")


def test_a_stop_that_cannot_be_kept_holds_and_is_told_to_everybody(tmp_path: Path):
    switches = kept_switches(tmp_path / "gone" / "s.json")
    told: list[str] = []
    switches.listen(lambda: told.append("told"))
    with pytest.raises(Unavailable, match="cannot be written"):
        switches.stop(market="KE", product="airtime", reason="down")
    assert switches.reason_stopped(market="KE", product="airtime") == "down"
    assert told == ["told"]
