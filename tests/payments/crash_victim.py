"""A process that pays until it is killed: it tells each payment only after it was acknowledged."""

import asyncio
import sys
from pathlib import Path

from tests.stage import raised
from umoja.payments.order import Reverse


async def pay_for_ever(folder: Path, begin: int) -> None:
    stage = raised("KE", folder, engine="sqlite")
    if stage.store.count("customer") == 0:
        people = [stage.customer(f"Person {n}") for n in range(8)]
        for person in people:
            stage.give_money(person, 200_000_00, client="seed")
    people = stage.store.browse(role="customer", limit=8)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    number = begin

    async def one(place: int) -> None:
        payer, payee = people[place % 8], people[(place * 5 + 1) % 8]
        ask = stage.ask("send_money", payer.id, payee.id, 1_00 + place % 50 * 1_00, key=f"k{place}")
        order = await stage.desk.submit(ask)
        sys.stdout.write(f"{place} {order.id} {order.receipt or order.decline.value}\n")
        sys.stdout.flush()
        if order.receipt and place % 7 == 0:
            await stage.desk.submit(
                Reverse(order=order.id, payer=payer.id, client="t", channel="api")
            )

    while True:
        await asyncio.gather(*(one(number + n) for n in range(20)))
        number += 20
        if number % 200 == 0:
            await asyncio.to_thread(stage.desk.save)


if __name__ == "__main__":
    asyncio.run(pay_for_ever(Path(sys.argv[1]), int(sys.argv[2])))
