"""A network between clients and one broker that can be refused, cut,
held or made to lose answers.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import Literal, Self

HOST = "127.0.0.1"
CHUNK_BYTES = 65_536
TICK_S = 0.02  # how soon a change of `how` reaches a connection on which nothing moves
RESET = struct.pack("ii", 1, 0)  # SO_LINGER for 0 s: close() sends RST

# pass     bytes flow
# hold     connections open and stay open, and nothing moves, as in a network partition; what was
# sent arrives later
# deaf     requests reach the broker, its answers are thrown away
# refuse   nobody listens, and open connections are reset, as after the end of a process
How = Literal["pass", "hold", "deaf", "refuse"]


@dataclass(eq=False)
class Link:
    """One client's connection and its counterpart to the broker."""

    client: socket.socket
    broker: socket.socket
    lost_bytes: int = 0
    closed: threading.Event = field(default_factory=threading.Event)

    def reset(self) -> None:
        """Break both sides off; the thread that moves their bytes closes them at once."""
        self.closed.set()
        for side in (self.client, self.broker):
            with contextlib.suppress(OSError):
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        with contextlib.suppress(OSError):
            # wakes the thread, which may wait for a broker that does not read
            self.broker.shutdown(socket.SHUT_RDWR)


class TcpProxy:
    """Listens on `port` and passes everything to `target` on this machine; a context manager."""

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self.target = target
        self._how: How = "pass"
        self._links: set[Link] = set()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self._listen()

    @property
    def address(self) -> str:
        """What clients connect to."""
        return f"{HOST}:{self.port}"

    def be(self, how: How) -> None:
        """Treat what is open and what comes from now on in this way.

        A connection that has lost answers is reset when `deaf` ends: its next byte would be in the
        middle of one.
        """
        with self._lock:
            before = self._how
            self._how = how
            links = list(self._links)
        if how == "refuse":
            self._deafen()
        elif self._listener is None:
            self._listen()
        for link in links:
            if how == "refuse" or (before == "deaf" and link.lost_bytes):
                link.reset()

    def reset(self) -> None:
        """Break off every open connection; new ones are taken as before."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.reset()

    def close(self) -> None:
        """End every connection and thread."""
        self.be("refuse")
        for thread in self._threads:
            thread.join(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _listen(self) -> None:
        self._listener = socket.create_server((HOST, self.port), backlog=64)
        self._start(self._accept, self._listener)

    def _deafen(self) -> None:
        listener = self._listener
        self._listener = None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
            listener.close()

    def _start(self, work: object, *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads = [old for old in self._threads if old.is_alive()] + [thread]
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                broker = socket.create_connection((HOST, self.target), timeout=5)
            except OSError:
                client.close()
                continue
            link = Link(client, broker)
            with self._lock:
                self._links.add(link)
            self._start(self._pump, link)

    def _pump(self, link: Link) -> None:
        try:
            while not link.closed.is_set():
                self._step(link)
        except OSError:
            pass  # one side has gone, so the other goes too
        finally:
            link.reset()
            link.client.close()
            link.broker.close()
            with self._lock:
                self._links.discard(link)

    def _step(self, link: Link) -> None:
        """Move what there is, or wait a little."""
        if self._how == "hold":
            link.closed.wait(TICK_S)
            return
        readable, _, _ = select.select([link.client, link.broker], [], [], TICK_S)
        for source in readable:
            if not (data := source.recv(CHUNK_BYTES)):
                raise ConnectionResetError
            if source is link.client:
                link.broker.sendall(data)
            elif self._how == "deaf":
                link.lost_bytes += len(data)
            else:
                link.client.sendall(data)
