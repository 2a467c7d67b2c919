"""API clients: secrets told once, tokens that expire, revocation that is felt."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.postgres import files_only, tables
from tests.stage import NOON
from umoja.clock import ManualClock
from umoja.parties.clients import TOKENS_PER_CLIENT, Clients

READ = frozenset({"payments:read"})
BOTH = frozenset({"payments:read", "payments:write"})


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
def clients(tmp_path: Path, clock: ManualClock):
    clients = Clients(tables(tmp_path / "clients.db"), clock=clock)
    yield clients
    clients.close()


def test_a_token_names_its_client_and_its_scopes(clients: Clients):
    client, secret = clients.register(name="Shop", market="KE", scopes=BOTH)
    token = clients.issue(client, secret, scopes=READ)
    assert token is not None
    holder = clients.holder(token.text)
    assert holder is not None
    assert (holder.client.id, holder.client.market, holder.scopes) == (client, "KE", READ)
    assert clients.issue(client, secret, scopes=frozenset()).scopes == BOTH


def test_a_wrong_id_secret_or_scope_gets_nothing(clients: Clients):
    client, secret = clients.register(name="Shop", market="KE", scopes=READ)
    assert clients.issue("nobody", secret, scopes=READ) is None
    assert clients.issue(client, secret + "x", scopes=READ) is None
    assert clients.issue(client, "", scopes=READ) is None
    assert clients.issue(client, secret, scopes=BOTH) is None
    assert clients.holder("umt_nonsense") is None


def test_a_token_expires_after_an_hour(clients: Clients, clock: ManualClock):
    client, secret = clients.register(name="Shop", market="KE", scopes=READ)
    token = clients.issue(client, secret, scopes=READ)
    clock.advance(timedelta(minutes=59))
    assert clients.holder(token.text) is not None
    clock.advance(timedelta(minutes=2))
    assert clients.holder(token.text) is None


def test_a_revoked_client_is_out_at_once(clients: Clients):
    client, secret = clients.register(name="Shop", market="KE", scopes=READ)
    token = clients.issue(client, secret, scopes=READ)
    assert clients.holder(token.text) is not None
    assert clients.revoke(client)
    assert not clients.revoke(client)
    assert clients.holder(token.text) is None
    assert clients.issue(client, secret, scopes=READ) is None
    assert clients.browse() == []


def test_old_tokens_give_way_so_that_the_table_never_grows(clients: Clients, clock: ManualClock):
    client, secret = clients.register(name="Shop", market="KE", scopes=READ)
    tokens = []
    for _ in range(TOKENS_PER_CLIENT + 1):
        clock.advance(timedelta(seconds=1))
        tokens.append(clients.issue(client, secret, scopes=READ))
    assert clients.holder(tokens[0].text) is None
    assert clients.holder(tokens[1].text) is not None


@files_only
def test_neither_secret_nor_token_is_in_the_file(clients: Clients, tmp_path: Path):
    client, secret = clients.register(name="Shop", market="KE", scopes=READ)
    token = clients.issue(client, secret, scopes=READ)
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("clients.db*"))
    assert client.encode() in kept
    assert secret.encode() not in kept
    assert token.text.encode() not in kept
