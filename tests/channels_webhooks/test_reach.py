"""Where people's addresses lead: never into a private network, however its address is written."""

import pytest

from umoja.faults import Unavailable
from umoja.reach import NotPublic, checked, client, fetched, is_public, posted


@pytest.mark.parametrize(
    "address",
    [
        "::ffff:10.0.0.1",
        "::ffff:0:7f00:1",
        "::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a00:1",
        "2002:a00:1::1",
        "fec0::1",
        "fe80::1%eth0",
        "100.64.0.1",
    ],
)
def test_a_private_address_in_other_clothes_is_not_public(address: str):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["41.90.0.1", "2a00:1450:4001::1", "::ffff:41.90.0.1", "64:ff9b::295a:1"]
)
def test_what_is_public_is(address: str):
    assert is_public(address)


def test_one_that_is_typed_in_is_refused_at_once():
    with pytest.raises(NotPublic):
        checked("https://[64:ff9b::a9fe:a9fe]/latest", may_be_private=False)


@pytest.mark.parametrize("may_be_private", [True, False], ids=["sandbox", "production"])
@pytest.mark.parametrize("host", ["a..b", f"{'a' * 64}.example"], ids=["gap", "long"])
async def test_a_name_that_cannot_be_looked_up_is_an_address_that_does_not_answer(
    host: str, may_be_private: bool
):
    through = client(may_be_private=may_be_private)
    request = through.build_request("POST", f"https://{host}/")
    with pytest.raises(Unavailable):
        await posted(through, request, most=10)
    with pytest.raises(Unavailable):
        await fetched(through, request)
    await through.aclose()
