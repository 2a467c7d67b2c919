"""Serving: an application behind a web server, from its first request to the end in order."""

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import uvicorn

YOUNG_MAX = 50_000  # objects made before Python looks for garbage among them
SWITCH_S = 0.0005


def prepare_to_serve() -> None:
    """Set how Python itself works, for a process that serves. Once, when it has started.

    It looks for garbage less often and leaves what the start has made to itself: parties, plans and
    packs live as long as the process, and walking them again and again took a tenth of a payment's
    time. What is thrown away behind requests is freed by counting references, as ever.

    A thread that waits for the interpreter gets it within half a millisecond instead of five: while
    a batch is decided, the thread that commits the one before would not even begin.
    """
    gc.unfreeze()  # what an earlier start in this process has made is garbage by now
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MAX, 20, 50)
    sys.setswitchinterval(SWITCH_S)


class Site(NamedTuple):
    """What a web server needs: the application, and the protocol with the hot doors in it.

    `on_stop` is called when it begins to stop: live pages then end by themselves.
    """

    application: Any
    protocol: type[asyncio.Protocol]
    on_stop: Callable[[], None] = lambda: None


class _Server(uvicorn.Server):
    """The web server without signal handling of its own: the hall decides what ends it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve_until_stopped(
    served: Site,
    *,
    at: socket.socket,
    on_ready: Callable[[], None],
    is_behind_fronts: bool = False,
    trusted_proxies: str = "",
    life: asyncio.StreamReader | None = None,
) -> None:
    """Answer requests until the process is told to end (Ctrl-C, SIGTERM); a second time: at once.

    Who asks is the peer of the connection, whatever a header says. Only fronts are believed when
    they tell whom they answer, and the proxies that are trusted (addresses or networks, with commas).

    With `life` the process is kept by another: it ends when that one hangs up, and Ctrl-C at the
    terminal, which reaches both, is the keeper's to hear.
    """
    server = _Server(
        uvicorn.Config(
            served.application,
            log_config=None,
            access_log=False,
            http=served.protocol,
            lifespan="off",
            proxy_headers=is_behind_fronts or bool(trusted_proxies),
            # only fronts can open the local socket
            forwarded_allow_ips="*" if is_behind_fronts else trusted_proxies,
            server_header=False,
            timeout_graceful_shutdown=1,
            timeout_keep_alive=30,
        )
    )

    def stop() -> None:
        server.force_exit = server.should_exit
        server.should_exit = True
        served.on_stop()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop)
    loop.add_signal_handler(signal.SIGINT, stop if life is None else lambda: None)
    watching = None if life is None else asyncio.create_task(_at_end(life, stop), name="life")
    serving = asyncio.create_task(server.serve(sockets=[at]))
    try:
        while not server.started and not serving.done():  # noqa: ASYNC110  it tells in no other way
            await asyncio.sleep(0.01)
        if server.started:
            on_ready()
        await serving
    finally:
        if watching is not None:
            watching.cancel()


async def _at_end(life: asyncio.StreamReader, stop: Callable[[], None]) -> None:
    while await life.read(1024):
        pass
    stop()
