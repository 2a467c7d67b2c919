"""Intake: the doors through which other systems tell the centre what they see."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from umoja.channels.alertmanager import alertmanager_doors
from umoja.channels.machine_door import admitted
from umoja.channels.native_call import Told
from umoja.channels.otlp import otlp_doors
from umoja.clock import Clock
from umoja.ops.centre import Centre


def intake(centre: Centre, *, clock: Clock) -> list[Any]:
    """Return the handlers of all doors of machines that lead to the centre."""
    return [
        *alertmanager_doors(
            alarms=centre.alarms, silences=centre.silences, machines=centre.machines, clock=clock
        ),
        *otlp_doors(arrivals=centre.arrivals, machines=centre.machines),
    ]


def scrapes(centre: Centre) -> Callable[[Mapping[str, str]], Awaitable[Told | None]]:
    """Return who may read /metrics: called with a request's headers, it returns what refuses them."""

    async def refusal(headers: Mapping[str, str]) -> Told | None:
        found = await admitted(centre.machines, "metrics", headers)
        return found if isinstance(found, Told) else None

    return refusal
