"""The disk fills, is read-only, is slow, or fails at its sync: a clear word, and no wrong balance."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.stage import raised
from umoja.faults import Unavailable

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def small_disk(tmp_path):
    """Give a file system of a few megabytes, and a way to mount it again with other options."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(*words):
        return subprocess.run(["mount", *words, place], check=False, capture_output=True, text=True)

    made = mount("-t", "tmpfs", "-o", "size=3m", "tmpfs")
    if made.returncode:
        pytest.skip(f"a small file system cannot be mounted: {made.stderr.strip()}")
    yield place, mount
    subprocess.run(["umount", "--lazy", place], check=True)


def fill(place):
    """Leave no room at all on a disk; return the file to delete."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return filler


def paid_until_full(stage, payer, payee):
    """Pay until the journal takes no more; return the orders, the key that was refused, and why."""
    kept = []
    for number in range(10_000):
        try:
            kept.append(stage.pay("send_money", payer.id, payee.id, 100, key=f"k{number}"))
        except Unavailable as cause:
            return kept, f"k{number}", str(cause)
    raise AssertionError("the disk never filled")


def test_a_full_disk_keeps_what_was_acknowledged_and_goes_on_when_there_is_room(small_disk):
    place, _ = small_disk
    stage = raised("KE", place, engine="sqlite")
    payer, payee = stage.customer(), stage.customer("Brian Kamau")
    stage.give_money(payer, 100_000_00)
    filler = fill(place)
    kept, refused, why = paid_until_full(stage, payer, payee)
    assert why == "the journal cannot be written: database or disk is full"
    moved = sum(order.amount for order in kept)
    assert all(order.receipt for order in kept)
    assert (stage.has(payer, "wallet"), stage.has(payee, "wallet")) == (100_000_00 - moved, moved)
    assert stage.desk.find(stage.desk.order_id("test", refused)) is None
    assert stage.breaches() == ()

    filler.unlink()

    again = stage.pay("send_money", payer.id, payee.id, 100, key=refused)
    assert again.receipt
    assert stage.has(payee, "wallet") == moved + 100
    stage.close()
    stage = raised("KE", place, engine="sqlite")
    assert stage.has(payee, "wallet") == moved + 100
    assert [stage.desk.find(order.id).receipt for order in kept] == [x.receipt for x in kept]
    assert stage.breaches() == ()
    stage.close()


def test_a_market_on_a_full_disk_is_not_opened_and_says_why(small_disk):
    place, _ = small_disk
    stage = raised("KE", place, engine="sqlite")
    stage.give_money(stage.customer(), 1_000_00)
    stage.close()
    filler = fill(place)
    with pytest.raises(Unavailable, match=r"cannot be (used|opened)"):
        raised("KE", place, engine="sqlite")
    filler.unlink()
    stage = raised("KE", place, engine="sqlite")
    assert stage.ledger.head == 2
    stage.close()


def test_a_market_on_a_read_only_disk_is_not_opened_and_says_why(small_disk):
    place, mount = small_disk
    stage = raised("KE", place, engine="sqlite")
    stage.give_money(stage.customer(), 1_000_00)
    stage.close()
    assert mount("-o", "remount,ro").returncode == 0
    with pytest.raises(Unavailable, match=r"readonly|unable to open|read-only"):
        raised("KE", place, engine="sqlite")
    assert mount("-o", "remount,rw").returncode == 0
    stage = raised("KE", place, engine="sqlite")
    assert stage.ledger.head == 2
    assert stage.breaches() == ()
    stage.close()


# With a real process whose system calls are tampered with


class Victim:
    """A process that pays when it is told to: see disk_victim."""

    def __init__(self, folder):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.safety.disk_victim", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert self._process.stdout.readline().strip() == "ready"
        self._tracer = None

    def tamper(self, what):
        """Let strace do something to every sync from now on; skip the test where it may not."""
        strace = shutil.which("strace")
        if strace is None:
            pytest.skip("strace is not installed")
        pid = self._process.pid
        self._tracer = subprocess.Popen(
            [strace, "-f", "-qq", "-o", os.devnull, "-e", "trace=fdatasync,fsync",
             "-e", f"inject=fdatasync,fsync:{what}", "-p", str(pid)],
            stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        while "TracerPid:\t0\n" in Path(f"/proc/{pid}/status").read_text():
            if self._tracer.poll() is not None:
                told = self._tracer.communicate()[1]
                self.kill()
                pytest.skip(f"strace may not trace here: {told.strip()}")
            time.sleep(0.005)

    def ask(self, word):
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def kill(self):
        self._process.kill()
        self._process.communicate()
        if self._tracer is not None:
            self._tracer.communicate()

    def end(self):
        self._process.communicate()
        assert self._process.returncode == 0


def test_a_failed_sync_is_unknown_and_the_next_process_learns_what_became_of_it(tmp_path):
    victim = Victim(tmp_path)
    assert victim.ask("k1").startswith("completed ")
    assert victim.ask("balances") == "990000 10000"
    victim.kill()

    victim = Victim(tmp_path)
    victim.tamper("error=EIO")
    assert (
        victim.ask("k2") == "unknown the disk failed in the journal's last commit (disk I/O error)"
    )
    assert victim.ask("k3") == "unavailable the journal's last commit is unclear: start again", (
        "it went on writing behind a commit that it knows nothing of"
    )
    assert victim.ask("balances") == "990000 10000"
    victim.kill()

    victim = Victim(tmp_path)
    after = victim.ask("balances")
    assert after in {"990000 10000", "980000 20000"}  # that is what unknown means
    assert victim.ask("k2").startswith("completed ")
    assert victim.ask("k2").startswith("completed ")
    assert victim.ask("balances") == "980000 20000"
    victim.end()
    stage = raised("KE", tmp_path, engine="sqlite")
    assert stage.breaches() == ()
    stage.close()


def test_slow_syncs_make_payments_slow_and_not_wrong(tmp_path):
    victim = Victim(tmp_path)
    victim.tamper("delay_enter=50ms")
    told = [victim.ask(f"k{number}") for number in range(5)]
    assert all(answer.startswith("completed ") for answer in told)
    assert len(set(told)) == 5
    assert victim.ask("balances") == "950000 50000"
    victim.kill()
    victim = Victim(tmp_path)
    assert victim.ask("balances") == "950000 50000"
    victim.end()
