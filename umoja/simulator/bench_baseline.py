"""The baseline of a bench: what the same machine gives to others in the same minute.

PostgreSQL's own TPC-B, a plain SQL ledger that updates balance rows in one transaction a payment,
and how many small appends a second the medium makes durable.
"""

import re
import subprocess
from pathlib import Path
from typing import Any

from umoja.faults import Unavailable
from umoja.simulator.bench_machine import small_appends
from umoja.simulator.bench_postgres import programs

SCHEMA = "umoja_bench_baseline"
CLIENTS = 16
SCALE = 10  # of TPC-B: a million accounts
ACCOUNTS_MAX = 1_000_000  # of the plain ledger
APPENDS_S = 1.0
LONGEST_S = 600
_SETTINGS = (
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_sync_method",
    "data_checksums",
    "shared_buffers",
    "max_wal_size",
    "synchronous_standby_names",
)

TABLES = """
CREATE TABLE account (id bigint PRIMARY KEY, balance bigint NOT NULL);
CREATE TABLE payment (id bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(),
    payer bigint NOT NULL, payee bigint NOT NULL, amount bigint NOT NULL, fee bigint NOT NULL);
CREATE TABLE entry (id bigserial PRIMARY KEY, payment bigint NOT NULL, account bigint NOT NULL,
    minor bigint NOT NULL);
"""
PEOPLE = "INSERT INTO account SELECT id, 1000000000 FROM generate_series(1, %s) AS id"
FEES = "INSERT INTO account VALUES (0, 0)"

# The payer is drawn from the lower half and the payee from the upper: rows are always locked in
# the same order, so that no transaction is lost to a deadlock. The fee account comes last, as a
# good plain ledger does it: its row is held for as short a time as can be.
PAYMENT = """\\set payer random(1, :half)
\\set payee random(:half + 1, :accounts)
\\set amount random(10100, 20200)
BEGIN;
UPDATE account SET balance = balance - (:amount + 700) WHERE id = :payer AND balance >= :amount + 700;
UPDATE account SET balance = balance + :amount WHERE id = :payee;
WITH made AS (INSERT INTO payment (payer, payee, amount, fee)
    VALUES (:payer, :payee, :amount, 700) RETURNING id)
INSERT INTO entry (payment, account, minor)
    SELECT made.id, leg.account, leg.minor FROM made,
    (VALUES (:payer::bigint, -(:amount + 700)::bigint), (:payee, :amount), (0, 700)) AS leg (account, minor);
UPDATE account SET balance = balance + 700 WHERE id = 0;
COMMIT;
"""

_RATE = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)
_LATENCY = re.compile(r"^latency average = ([0-9.]+) ms", re.MULTILINE)
_FAILED = re.compile(r"^number of failed transactions: ([0-9]+)", re.MULTILINE)


def settings(url: str) -> dict[str, str]:
    """Return the server's version and what decides whether it keeps what it was given."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(%s)",
            (list(_SETTINGS),),
        ).fetchall()
    return {name: value for name, value in sorted(found) if value}


def measure(
    url: str, why_not: str, *, folder: Path, medium: Path, seconds: int, accounts: int
) -> dict[str, Any]:
    """Return the figures of everything that is compared with, `seconds` for each.

    `url` '' means that no PostgreSQL can be had, and `why_not` says why. Two tables' worth of rows
    are made in a schema of its own, and dropped. Raise Unavailable where pgbench fails.
    """
    found: dict[str, Any] = {"medium": small_appends(medium, seconds=APPENDS_S)}
    if not url:
        return found | {"postgres": None, "why_no_postgres": why_not}
    import psycopg

    try:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE".encode())
            connection.execute(f"CREATE SCHEMA {SCHEMA}".encode())
        try:
            found["postgres"] = settings(url)
            found["tpcb"] = _tpcb(url, seconds=seconds)
            found["sql_ledger"] = _sql_ledger(
                url, folder=folder, seconds=seconds, accounts=min(accounts, ACCOUNTS_MAX)
            )
        finally:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE".encode())
    except psycopg.Error as cause:
        raise Unavailable(f"the baseline cannot be taken: {cause}") from cause
    return found


def _tpcb(url: str, *, seconds: int) -> dict[str, Any]:
    _pgbench(url, "-i", "-q", "-s", str(SCALE))
    told = _pgbench(url, *_load(seconds))
    return {"scale": SCALE, **_figures(told)}


def _sql_ledger(url: str, *, folder: Path, seconds: int, accounts: int) -> dict[str, Any]:
    """Run the plain ledger and prove that its books balance too."""
    import psycopg

    accounts = max(2, accounts)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"SET search_path = {SCHEMA}".encode())
        connection.execute(TABLES.encode())
        connection.execute(FEES)
        connection.execute(PEOPLE, (accounts,))
        connection.execute("VACUUM ANALYZE account")
    script = folder / "plain-ledger.sql"
    script.write_text(PAYMENT, "utf-8")
    names = ("-D", f"half={accounts // 2}", "-D", f"accounts={accounts}")
    told = _pgbench(url, *_load(seconds), *names, "-f", str(script))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"SET search_path = {SCHEMA}".encode())
        row = connection.execute(
            "SELECT (SELECT sum(balance) FROM account), (SELECT sum(minor) FROM entry)"
        ).fetchone()
    assert row is not None, "sums have a row"
    balances = int(row[0])
    return {
        "accounts": accounts,
        "legs": 3,
        **_figures(told),
        "balanced": balances == accounts * 1_000_000_000 and not row[1],
    }


def _load(seconds: int) -> tuple[str, ...]:
    return ("-n", "-M", "prepared", "-c", str(CLIENTS), "-j", "2", "-T", str(seconds))


def _figures(told: str) -> dict[str, Any]:
    rate, latency, failed = _RATE.search(told), _LATENCY.search(told), _FAILED.search(told)
    if rate is None or latency is None:
        raise Unavailable(f"pgbench told no figures: {told[-300:].strip()}")
    return {
        "clients": CLIENTS,
        "per_s": float(rate.group(1)),
        "mean_ms": float(latency.group(1)),
        "failed": int(failed.group(1)) if failed else 0,
    }


def _pgbench(url: str, *words: str) -> str:
    program = programs() / "pgbench"
    if not program.exists():
        raise Unavailable("pgbench is not installed: install PostgreSQL's contributed programs")
    try:
        done = subprocess.run(  # noqa: S603  its words are ours
            [program, *words, url],
            check=False,
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            env={
                "PGOPTIONS": f"-c search_path={SCHEMA} -c synchronous_commit=on",
                "LC_ALL": "C.UTF-8",
            },
        )
    except subprocess.TimeoutExpired as cause:
        raise Unavailable("pgbench does not come to an end") from cause
    if done.returncode:
        raise Unavailable(f"pgbench failed: {done.stderr[-500:].strip()}")
    return done.stdout
