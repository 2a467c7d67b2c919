"""The crash harness: a real installation under load whose processes are killed at random moments.

Clients write down what they ask and what they are told; processes are killed with -9 and come back;
and in the end a checker compares the logs with the journal (see crash_check). The seed decides what
is killed and when; the machine decides what was under way at that moment.
"""

import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from umoja.clock import SystemClock
from umoja.faults import Unavailable
from umoja.ledger.books import audit
from umoja.ledger.journal import fold
from umoja.ledger.ledger import Ledger
from umoja.ledger.rules import State
from umoja.markets import packs
from umoja.opening import open_ledger
from umoja.payments.accounts import Purse, party_of, purse_of
from umoja.payments.clerk import decode_order
from umoja.payments.wallets import kind_of
from umoja.simulator import crash_log
from umoja.simulator.bench import busiest
from umoja.simulator.bench_stage import ground_of
from umoja.simulator.crash_check import Course, Line, Verdict, check
from umoja.simulator.crash_client import RESOLVE_S, Work
from umoja.simulator.crash_site import HOST, MortalCluster, Site
from umoja.simulator.population import PIN

TARGETS = {
    "sqlite": {"writer": 60, "front": 30, "centre": 10},
    "postgres": {"writer": 35, "front": 20, "centre": 5, "database": 15, "backend": 25},
}
"""What is killed, and how often of a hundred times, where any may be."""

CALM_S = (0.05, 1.2)  # between a comeback and the next kill
HASTY = 0.15  # so often the next kill does not wait for the comeback
WARM_UP_S = 20.0
SAID_MAX = 1200  # characters of what clients wrote that is told with a fault

Teller = Callable[[int, str], None]
"""Told how many were killed so far, and what is being done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run. `target` any, or one of TARGETS; `data` keeps the folder."""

    kills: int
    engine: str = "sqlite"
    target: str = "any"
    market: str = ""
    seed: int = 1
    fronts: int = 2
    clients: int = 2
    hands: int = 6
    customers: int = 400
    port: int = 9560
    data: Path | None = None


DISK = "disk"  # the writer's disk fails at its syncs; only on demand, for it needs strace


def targets_of(plan: Plan) -> dict[str, int]:
    """Return what may be killed and how often. Raise ValueError where the plan asks for another."""
    known = TARGETS[plan.engine]
    if plan.target == "any":
        return known
    if plan.target == DISK and plan.engine == "sqlite":
        return {DISK: 100}
    if plan.target not in known:
        words = [*known, DISK] if plan.engine == "sqlite" else list(known)
        raise ValueError(f"with {plan.engine} a target is any, {', '.join(words)}")
    chosen = {plan.target: known[plan.target]}
    return chosen | ({"backend": known["backend"]} if plan.target == "database" else {})


def run(plan: Plan, tell: Teller) -> dict[str, Any]:
    """Kill, compare, and return what was found: `violations` is empty when every promise held.

    Nothing is left running, whatever ends it. The folder is kept where something was found. Raise
    Unavailable where the installation cannot be started or does not come back.
    """
    targets = targets_of(plan)
    clock = SystemClock()
    market = packs.load(plan.market or busiest())
    ground = ground_of(market, customers=plan.customers, day=market.business_day(clock.now()))
    began_s = time.monotonic()
    with ExitStack() as stack:
        folder = stack.enter_context(_folder(plan))
        cluster = None
        if plan.engine == "postgres":
            cluster = stack.enter_context(MortalCluster(folder / "postgres"))
        site = Site(ground, folder, fronts=plan.fronts, port=plan.port, cluster=cluster)
        with site:
            done, faults = _fire(plan, targets, site, tell)
        tell(plan.kills, "comparing the clients' logs with the journal")
        found = _judged(plan, site, done, faults, began_s)
        if found["violations"]:
            found["kept"] = str(_rescued(folder, plan))
    return found


# Firing


def _fire(
    plan: Plan, targets: dict[str, int], site: Site, tell: Teller
) -> tuple[Counter[str], list[str]]:
    """Keep load on and kill; return how often what was killed, and what went wrong meanwhile."""
    chance = random.Random(plan.seed)  # noqa: S311  no secret
    done: Counter[str] = Counter()
    with _clients(plan, site) as clients:
        _wait_for_load(site.folder)
        while (number := done.total()) < plan.kills:
            time.sleep(chance.uniform(*CALM_S))
            (what,) = chance.choices(list(targets), list(targets.values()))
            pids = site.candidates(what)
            if not pids:
                time.sleep(0.1)  # it is on its way back
                continue
            pid = chance.choice(pids)
            site.kill(what, pid)
            done[what] += 1
            tell(number + 1, f"killed {what} {pid}")
            if chance.random() >= HASTY:
                site.wait_back(gone=pid)
        site.wait_back(gone=0)
        faults = [
            f"client: number {place} ended by itself with {client.returncode}"
            for place, client in enumerate(clients)
            if client.poll() is not None
        ]
    faults += [
        f"client: ended with {client.returncode}: {_last_said(site.folder)}"
        for client in clients
        if client.returncode
    ]
    return done, faults


@contextmanager
def _clients(plan: Plan, site: Site) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Run client processes; leaving lets each learn what became of everything it asked."""
    clients: list[subprocess.Popen[bytes]] = []
    with (site.folder / "clients.log").open("ab") as log:
        try:
            for place in range(plan.clients):
                client = subprocess.Popen(
                    [sys.executable, "-m", "umoja.simulator.crash_client"],
                    stdin=subprocess.PIPE,
                    stderr=log,
                    stdout=log,
                    start_new_session=True,
                )
                clients.append(client)
                assert client.stdin is not None, "it was asked for"
                client.stdin.write(msgspec.json.encode(_work(plan, site, place)) + b"\n")
                client.stdin.flush()
            yield clients
        except BaseException:
            for client in clients:  # what they still wait for proves nothing any more
                client.kill()
            raise
        finally:
            for client in clients:
                assert client.stdin is not None, "it was asked for"
                client.stdin.close()
            for client in clients:
                try:
                    client.wait(RESOLVE_S * 1.5)
                except subprocess.TimeoutExpired:
                    client.kill()
                    client.wait()


def _work(plan: Plan, site: Site, place: int) -> Work:
    ground = site.ground
    return Work(
        name=f"c{place}",
        host=HOST,
        port=site.access.port,
        client=site.access.client,
        secret=site.access.secret,
        log=str(site.folder / f"client-{place}.log"),
        seed=plan.seed,
        hands=plan.hands,
        first_customer=ground.cast.customers,
        customers=plan.customers,
        least=ground.prices.least,
        steps=ground.prices.steps,
        step=ground.prices.step,
        digits=ground.market.currencies[0].digits,
        currency=ground.currency,
        pin=PIN[: ground.market.pin_digits],
    )


def _wait_for_load(folder: Path) -> None:
    """Wait until clients are being answered. Raise Unavailable where they are not."""
    deadline = time.monotonic() + WARM_UP_S
    while not any(b'"how":"done"' in path.read_bytes() for path in folder.glob("client-*.log")):
        if time.monotonic() > deadline:
            raise Unavailable(f"no payment came through: {_why_not(folder)}")
        time.sleep(0.05)


def _last_said(folder: Path) -> str:
    """Return the end of what the clients wrote that is not their log: a traceback, as a rule."""
    return (folder / "clients.log").read_text(errors="replace")[-SAID_MAX:].strip()


def _why_not(folder: Path) -> str:
    """Return the end of what the clients say, or else what they were told most often."""
    if said := _last_said(folder):
        return said
    told = Counter(
        f"{entry.how} {entry.word}".strip()
        for path in folder.glob("client-*.log")
        for entry in crash_log.read(path)
        if isinstance(entry, crash_log.Told)
    )
    return ", ".join(f"{word} ({times} times)" for word, times in told.most_common(3)) or "silence"


# Judging


def _judged(
    plan: Plan, site: Site, done: Counter[str], faults: list[str], began_s: float
) -> dict[str, Any]:
    logs = {path.stem: crash_log.read(path) for path in sorted(site.folder.glob("client-*.log"))}
    violations = list(faults)
    code = site.ground.market.code
    ledger = open_ledger(site.config, code, SystemClock(), take_over=True)
    try:
        folded = [_folded(ledger) for _ in range(2)]
        taken = msgspec.msgpack.encode(ledger.taken().sorted())
        books = audit(ledger.rows(), claimed=ledger.state, kind_of=kind_of)
        head = ledger.head
    finally:
        ledger.close()
    first, again = folded
    violations += [f"books: {breach}" for breach in books.breaches]
    violations += [f"replay: {fault}" for fault in first.faults]
    if not first.state == again.state == taken:
        violations.append("replay: the same journal was folded to different states")
    verdict: Verdict = check(logs, first.lines, first.courses, head=head)
    violations += verdict.violations
    if not verdict.acknowledged:
        violations.append("load: no payment was ever acknowledged: nothing was proved")
    return {
        "right": not violations,
        "engine": plan.engine,
        "market": code,
        "seed": plan.seed,
        "kills": done.total(),
        "killed": dict(sorted(done.items())),
        "seconds": round(time.monotonic() - began_s, 1),
        "payments_asked": verdict.asked,
        "acknowledged": verdict.acknowledged,
        "refused": verdict.refused,
        "unknown_outcomes": verdict.unknown,
        "resolved": verdict.resolved,
        "repeats_answered": verdict.repeats,
        "balances_read": verdict.reads,
        "journal_lines": head,
        "state_bytes": len(taken),
        "replayed_alike": first.state == again.state == taken,
        "violations": violations,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Folded:
    state: bytes
    lines: list[Line]
    courses: dict[int, Course]
    faults: list[str]


def _folded(ledger: Ledger) -> _Folded:
    """Fold the journal from its first line; note what each customer had after each line."""
    state = State()
    lines: list[Line] = []
    courses: dict[int, Course] = {}
    faults: list[str] = []
    for row in ledger.rows():
        fault = fold(state, row)
        if fault:
            faults.append(fault)
            break
        touched = {each.source for each in row.transfers} | {each.target for each in row.transfers}
        for account in touched:
            if purse_of(account) is Purse.WALLET:
                balance = state.balance(account)
                course = courses.setdefault(party_of(account), Course())
                course.add(row.sequence, balance.available, balance.held)
        if row.story:
            order = decode_order(row.story)
            lines.append(
                Line(
                    sequence=row.sequence,
                    order=order.id,
                    key=order.reference,
                    step=order.step,
                    state=order.state.value,
                    receipt=order.receipt,
                    payer=order.payer,
                    payee=order.payee,
                    minor=order.amount,
                )
            )
    snapshot = state.taken(ledger.head).sorted()
    return _Folded(
        state=msgspec.msgpack.encode(snapshot), lines=lines, courses=courses, faults=faults
    )


# The folder


@contextmanager
def _folder(plan: Plan) -> Iterator[Path]:
    """Give an empty folder: a temporary one, or the one that is to be kept. Raise Unavailable."""
    if plan.data is not None:
        if plan.data.exists() and any(plan.data.iterdir()):
            raise Unavailable(f"{plan.data} is not empty: choose another --data")
        plan.data.mkdir(parents=True, exist_ok=True, mode=0o711)
        yield plan.data.resolve()
        return
    made = Path(tempfile.mkdtemp(prefix="umoja-crash-"))
    made.chmod(0o711)  # the private PostgreSQL's user passes through to its own folder
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _rescued(folder: Path, plan: Plan) -> Path:
    """Return where the logs of a run that found something are: they outlive a temporary folder."""
    if plan.data is not None:
        return folder
    kept = Path(tempfile.mkdtemp(prefix="umoja-crash-found-"))
    for path in folder.glob("*.log"):
        shutil.copy2(path, kept)
    return kept
