"""A process whose disk is made to fail: pays when it is told to, and says what it was answered.

    python -m tests.safety.disk_victim FOLDER

Each line of its input is the key of a payment, or `balances`; each is answered with a line.
"""

import sys
from pathlib import Path

from tests.stage import raised
from umoja.faults import OutcomeUnknown, Unavailable


def main(folder: Path) -> None:
    stage = raised("KE", folder, engine="sqlite")
    if stage.ledger.head == 0:
        amina, brian = stage.customer("Amina Otieno"), stage.customer("Brian Kamau")
        stage.give_money(amina, 10_000_00)
    else:
        amina, brian = stage.store.browse(role="customer", limit=2)
    say("ready")
    for line in sys.stdin:
        word = line.strip()
        if word == "balances":
            say(f"{stage.has(amina, 'wallet')} {stage.has(brian, 'wallet')}")
            continue
        try:
            order = stage.pay("send_money", amina.id, brian.id, 100_00, key=word)
        except OutcomeUnknown as cause:
            say(f"unknown {cause}")
        except Unavailable as cause:
            say(f"unavailable {cause}")
        else:
            say(f"{order.state.value} {order.receipt}")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
