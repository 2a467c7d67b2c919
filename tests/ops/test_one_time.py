"""One-time codes: the vectors of RFC 6238, the drift of a phone's clock, what a phone reads."""

import pytest

from umoja.ops.one_time import address_of, code_at, in_letters, step_of

SECRET = b"12345678901234567890"  # of the RFC

VECTORS = [
    (59, "94287082"),
    (1111111109, "07081804"),
    (1111111111, "14050471"),
    (1234567890, "89005924"),
    (2000000000, "69279037"),
    (20000000000, "65353130"),
]


@pytest.mark.parametrize(("at_s", "code"), VECTORS, ids=[str(at_s) for at_s, _ in VECTORS])
def test_the_vectors_of_the_rfc(at_s: int, code: str):
    assert code_at(SECRET, at_s // 30, digits=8) == code
    assert code_at(SECRET, at_s // 30) == code[2:]


@pytest.mark.parametrize(
    ("at_s", "step"),
    [(1234567859, None), (1234567860, 41152263), (1234567919, 41152263), (1234567950, None)],
)
def test_a_phone_may_be_one_step_early_or_late(at_s: int, step: int | None):
    """89005924 is the code of step 41152263, from 1234567890 to 1234567919."""
    assert step_of(SECRET, "005924", at_s=at_s) == step


@pytest.mark.parametrize("code", ["", "5924", "0005924", "00592４", "abcdef", "\ud800"])
def test_what_is_no_code_is_of_no_step(code: str):
    assert step_of(SECRET, code, at_s=1234567890) is None


def test_what_an_authenticator_reads():
    assert in_letters(SECRET) == "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
    assert address_of(SECRET, name="amina") == (
        "otpauth://totp/Umoja:amina?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
        "&issuer=Umoja&algorithm=SHA1&digits=6&period=30"
    )
