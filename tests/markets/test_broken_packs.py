"""Packs that somebody broke: each fault names file, table and row, and says what to do."""

import shutil
from pathlib import Path

import pytest

from umoja.markets import packs
from umoja.markets.sheets import FAULTS_MAX, SHEET_BYTES_MAX


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """Return a copy of a pack that has no fault."""
    return Path(shutil.copytree(packs.PACKS / "KE", tmp_path / "KE"))


def faults(pack: Path) -> list[str]:
    return [str(fault) for fault in packs.check(pack)]


def change(pack: Path, file: str, old: str, new: str) -> None:
    path = pack / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


SEND = "tariffs.yaml / tariffs / ke.send_on_net.2023"
EXCISE = "taxes.yaml / taxes / ke.excise.2023"
CHANGED = [
    # file, what is changed into what, the one fault that is told
    (
        "tariffs.yaml",
        "      1 - 100: 0\n      101 - 500: 7\n",
        "      101 - 500: 7\n      1 - 100: 0\n",
        f"{SEND}: the band from 1 stands after that from 101: write the lowest first",
    ),
    ("tariffs.yaml", "101 - 500: 7", "90 - 500: 7", f"{SEND}: bands overlap at 90"),
    (
        "tariffs.yaml",
        "501 - 1000: 13",
        "502 - 1000: 13",
        f"{SEND}: no band for amounts between 500 and 502",
    ),
    (
        "tariffs.yaml",
        "101 - 500: 7",
        "101 to 500: 7",
        f"{SEND}: a band must be like 101 - 500, not '101 to 500'",
    ),
    (
        "tariffs.yaml",
        "101 - 500: 7",
        "101 - 500: seven",
        f"{SEND}: the fee of 101 - 500 must be an amount or a percentage, not 'seven'",
    ),
    (
        "tariffs.yaml",
        "101 - 500: 7",
        "101 - 500.50: 7",
        f"{SEND}: the band 101 - 500.50 does not fit the step of KES",
    ),
    ("tariffs.yaml", "currency: KES", "currency: KSH", f"{SEND}: currency 'KSH' is not one of KES"),
    ("tariffs.yaml", "service: send_on_net", "service: send", f"{SEND}: unknown service 'send'"),
    (
        "tariffs.yaml",
        "    from: 2023-07-29",
        "    form: 2023-07-29",
        f"{SEND}: unknown word 'form'",
    ),
    (
        "tariffs.yaml",
        "    payer: customer",
        "    payer: the customer",
        f"{SEND}: 'payer' must be one of customer, merchant, sender_business, not 'the customer'",
    ),
    (
        "taxes.yaml",
        "rate: 15%",
        "rate: 15",
        f"{EXCISE}: 'rate' must be a percentage like 1.5%, not '15'",
    ),
    (
        "taxes.yaml",
        "from: 2023-07-29",
        "from: 29.7.2023",
        f"{EXCISE}: 'from' must be a day like 2023-07-29, not '29.7.2023'",
    ),
    (
        "taxes.yaml",
        "from: 2023-07-29",
        "from: 2023-07-01",
        f"{EXCISE}: holds on the same days as ke.excise.2018: end one of them with 'to'",
    ),
    (
        "taxes.yaml",
        "    to: 2018-06-30",
        "    to: 2012-06-30",
        "taxes.yaml / taxes / ke.excise.2013: ends on 2012-06-30 before it begins on 2013-02-08",
    ),
    (
        "taxes.yaml",
        "    as_of: 2024-06\n",
        "",
        f"{EXCISE}: 'as_of' is missing",
    ),
    (
        "taxes.yaml",
        "    confidence: high\n",
        "    confidence: sure\n",
        (
            "taxes.yaml / taxes / ke.excise.2013: 'confidence' must be one of high, medium, recalled,"
            " placeholder, not 'sure'"
        ),
    ),
    (
        "limits.yaml",
        "per_transaction: 250000",
        "per_transaction: 600000",
        "limits.yaml / tiers / individual: 'per_transaction' is more than 'daily'",
    ),
    (
        "market.yaml",
        "example: '712123456'",
        "example: '812123456'",
        "market.yaml / numbers: the example 812123456 does not fit the number plan",
    ),
    (
        "market.yaml",
        "mobile_pattern: '(?:1",
        "mobile_pattern: '(?:(1",
        (
            "market.yaml / numbers: 'mobile_pattern' is not a pattern: missing ), unterminated"
            " subpattern at position 0"
        ),
    ),
    (
        "market.yaml",
        "zones: [Africa/Nairobi]",
        "zones: [Africa/Nowhere]",
        "market.yaml / locale: unknown time zone 'Africa/Nowhere'",
    ),
    (
        "market.yaml",
        "weekend: [sat, sun]",
        "weekend: [samedi]",
        "market.yaml / locale: 'weekend' must be days like sat, sun, not 'samedi'",
    ),
    (
        "market.yaml",
        "default_language: en",
        "default_language: fr",
        "market.yaml / locale: 'default_language' 'fr' is not one of 'languages'",
    ),
    (
        "market.yaml",
        "code: KE",
        "code: KX",
        "market.yaml / market: 'code' is KX but the folder is KE",
    ),
    (
        "calendar.yaml",
        "2026-01-01: 'New",
        "1 January: 'New",
        "calendar.yaml / holidays: a holiday is a day like 2026-01-01, not '1 January'",
    ),
    (
        "regulator.yaml",
        "    severity: 3",
        "    severity: 5",
        "regulator.yaml / notices / whole_system: 'severity' must be a whole number from 1 to 4",
    ),
    (
        "regulator.yaml",
        "    scope: system",
        "    scope: country",
        "regulator.yaml / notices / whole_system: 'scope' must be one of provider, system, not 'country'",
    ),
    (
        "rules.yaml",
        "  dormancy:",
        "  dormant:",
        (
            "rules.yaml / rules / dormant: unknown rule; known are reversal, change_notice,"
            " incident_notice, safeguarding, interest, data_residency, reporting, consumer, dormancy,"
            " retention, security, customer_class, exchange, release_gate, regulators"
        ),
    ),
]


@pytest.mark.parametrize(("file", "old", "new", "told"), CHANGED)
def test_a_fault_is_named_with_file_table_and_row(pack, file, old, new, told):
    change(pack, file, old, new)
    assert faults(pack) == [told]


def test_a_missing_source_is_named(pack):
    path = pack / "taxes.yaml"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    where = next(place for place, line in enumerate(lines) if "source: 'The Standard" in line)
    path.write_text("".join(lines[:where] + lines[where + 1 :]), encoding="utf-8")
    assert faults(pack) == [f"{EXCISE}: 'source' is missing"]


@pytest.mark.parametrize(
    ("held", "told"),
    [
        (b"", "it is empty"),
        (b"# nothing but a remark\n", "it is empty"),
        (b"taxes: [a: b\n  : {", "line 2: did not find expected ',' or ']'"),
        (b"taxes:\n\tke.x:\n", "line 2 begins with a tab: use spaces"),
        (b"taxes:\n  a: {}\n  a: {}\n", "line 3: 'a' stands here a second time"),
        (b"taxes: {}\ntaxes: {}\n", "line 2: 'taxes' stands here a second time"),
        (b"taxes:\n  ? [a, b]\n  : x\n", "line 2: a name must be one word, not a list"),
        (b"- a\n- b\n", "it must hold tables, each a name and a colon"),
        (b"just words", "it must hold tables, each a name and a colon"),
        (b"taxes: {}\n---\ntaxes: {}\n", "line 2: but found another document"),
        (b"taxes: &a\n  x: *a\n", "line 1: found unconstructable recursive node"),
        (b"taxes: " + b"[" * 5000 + b"]" * 5000, "lists too deep in each other"),
        (b"#" * (SHEET_BYTES_MAX + 1), f"it is larger than {SHEET_BYTES_MAX} bytes"),
    ],
)
def test_a_file_that_is_no_sheet_is_named_with_its_line(pack, held, told):
    (pack / "taxes.yaml").write_bytes(held)
    assert faults(pack) == [f"taxes.yaml: the file cannot be read: {told}"]


def test_a_file_that_is_no_text_is_named(pack):
    (pack / "taxes.yaml").write_bytes(b"taxes:\n  \xff\xfe\x00\x80")
    assert faults(pack) == ["taxes.yaml: the file is not UTF-8 text (byte 10)"]


def test_a_file_that_is_missing_or_a_folder_is_named(pack):
    (pack / "taxes.yaml").unlink()
    assert faults(pack) == ["taxes.yaml: the file is missing"]
    (pack / "taxes.yaml").mkdir()
    assert faults(pack) == ["taxes.yaml: the file cannot be opened: Is a directory"]


def test_a_misspelt_file_is_not_passed_over(pack):
    (pack / "gaps.yaml").rename(pack / "gap.yaml")
    (only,) = faults(pack)
    assert only.startswith("gap.yaml: unknown file; the files of a pack are market.yaml, ")


def test_a_misspelt_table_is_not_passed_over(pack):
    change(pack, "taxes.yaml", "taxes:\n", "taxis:\n")
    assert faults(pack) == [
        "taxes.yaml / taxis: unknown table",
    ]


def test_a_row_without_cells_is_one_fault(pack):
    (pack / "taxes.yaml").write_text("taxes:\n  ke.x:\n", encoding="utf-8")
    assert faults(pack) == ["taxes.yaml / taxes / ke.x: must hold lines of the form 'word: value'"]


def test_no_code_is_ever_run_by_a_pack(pack):
    (pack / "taxes.yaml").write_text(
        'taxes: !!python/object/apply:os.system ["exit 3"]\n', encoding="utf-8"
    )
    assert faults(pack) == ["taxes.yaml / taxes: must hold lines of the form 'word: value'"]


def test_very_many_faults_are_told_as_many(pack):
    rows = "".join(f"  t{place}: {{kind: vat}}\n" for place in range(1000))
    (pack / "taxes.yaml").write_text("taxes:\n" + rows, encoding="utf-8")
    told = faults(pack)
    assert len(told) == FAULTS_MAX + 1
    assert told[-1] == "and more: mend these first"


def test_a_faulty_pack_is_refused_with_every_fault(pack):
    change(pack, "tariffs.yaml", "101 - 500: 7", "90 - 500: 7")
    change(pack, "taxes.yaml", "rate: 15%", "rate: 15")
    with pytest.raises(packs.PackFaulty) as caught:
        packs.load("KE", pack.parent)
    assert [str(fault) for fault in caught.value.faults] == [
        f"{SEND}: bands overlap at 90",
        f"{EXCISE}: 'rate' must be a percentage like 1.5%, not '15'",
    ]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    assert faults(tmp_path / "QQ") == ["QQ: there is no such folder"]
