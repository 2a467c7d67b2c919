"""A proxy that breaks what it carries: cuts, holds back, delays or slows a connection, when told.

It carries bytes between a Unix socket or a TCP port of its own and a target of the same kind.
"""

import contextlib
import enum
import select
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

CHUNK = 1 << 16


class Fault(enum.Enum):
    """What becomes of a message from the client that holds the trigger."""

    CUT_BEFORE = enum.auto()  # it does not arrive, and both sides lose the connection
    CUT_AFTER = enum.auto()  # it arrives and is answered; the answer does not come back
    HOLD = enum.auto()  # nothing goes on in either direction, and nobody is told
    LATE = enum.auto()  # the client loses the connection, the message arrives a moment later


class FaultyProxy:
    """Carries every connection faithfully until told otherwise. Close it when done."""

    def __init__(self, target: Path | tuple[str, int]) -> None:
        self._target = target
        self.folder = Path(tempfile.mkdtemp(prefix="umoja-px-"))
        if isinstance(target, Path):
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(self.folder / target.name))
        else:
            self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.listen()
        self._trigger = b""
        self._fault: Fault | None = None
        self._is_refusing = self._refuse_then = False
        self.late_s = 0.0
        self.delay_s = 0.0
        self.bytes_a_second = 0
        self.faults_done = 0
        self._guard = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._ended = threading.Event()
        self._accepting = self._start(self._accept)

    @property
    def port(self) -> int:
        return self._listener.getsockname()[1]

    def on(
        self, trigger: bytes, fault: Fault, *, late_s: float = 0.0, refuse: bool = False
    ) -> None:
        """Let the next message with these bytes suffer a fault; `refuse`: none may connect after."""
        self.late_s = late_s
        self._trigger, self._fault, self._refuse_then = trigger, fault, refuse

    def refuse(self, *, is_on: bool = True) -> None:
        """Close every new connection at once, until told otherwise."""
        self._is_refusing = is_on

    def cut(self) -> None:
        """End every connection that is open now."""
        with self._guard:
            for each in self._sockets:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._ended.set()
        self._accepting.join()
        self._listener.close()
        self.cut()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, target: Callable[..., None], *values: object) -> threading.Thread:
        thread = threading.Thread(target=target, args=values, daemon=True)
        thread.start()
        return thread

    def _accept(self) -> None:
        while not self._ended.is_set():
            ready, _, _ = select.select([self._listener], [], [], 0.05)
            if not ready:
                continue
            client, _ = self._listener.accept()
            if self._is_refusing:
                client.close()
                continue
            try:
                server = self._connected()
            except OSError:
                client.close()
                continue
            with self._guard:
                self._sockets |= {client, server}
            self._start(self._carry, client, server)

    def _connected(self) -> socket.socket:
        if isinstance(self._target, Path):
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(self._target))
            return server
        return socket.create_connection(self._target)

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        try:
            while True:
                ready, _, _ = select.select([client, server], [], [])
                for source in ready:
                    data = source.recv(CHUNK)
                    if not data:
                        return
                    if source is client and self._fault and self._trigger in data:
                        self._suffer(client, server, data)
                        return
                    self._pass_on(data, server if source is client else client)
        except OSError:
            return  # either side went away
        finally:
            with self._guard:
                self._sockets -= {client, server}
            client.close()
            server.close()

    def _pass_on(self, data: bytes, target: socket.socket) -> None:
        if self.delay_s:
            time.sleep(self.delay_s)
        if not self.bytes_a_second:
            target.sendall(data)
            return
        step = max(self.bytes_a_second // 20, 1)
        for start in range(0, len(data), step):
            target.sendall(data[start : start + step])
            time.sleep(0.05)

    def _suffer(self, client: socket.socket, server: socket.socket, data: bytes) -> None:
        fault, self._fault = self._fault, None
        if self._refuse_then:
            self._is_refusing = True
        if fault is Fault.CUT_AFTER:
            server.sendall(data)
            server.recv(CHUNK)
        elif fault is Fault.LATE:
            client.shutdown(socket.SHUT_RDWR)
            time.sleep(self.late_s)
            server.sendall(data)
            server.recv(CHUNK)
        elif fault is Fault.HOLD:
            self.faults_done += 1
            self._ended.wait()
            return
        self.faults_done += 1
