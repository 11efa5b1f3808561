"""The proxy that stands for a bad network: each of its ways, on plain sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from cluster.broker.free_port import free_port
from tests.kafka.tcp_proxy import HOST, TcpProxy


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that sends back what it gets; its port."""
    with socket.create_server((HOST, 0)) as server:
        thread = threading.Thread(target=_serve, args=(server,), daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def _serve(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    with connection:
        try:
            while data := connection.recv(1024):
                connection.sendall(data)
        except OSError:
            return


def connect(proxy: TcpProxy, timeout_s: float = 0.3) -> socket.socket:
    """A client of the proxy."""
    return socket.create_connection((HOST, proxy.port), timeout=timeout_s)


def test_it_passes(echo: int) -> None:
    """Bytes come back through it."""
    with TcpProxy(free_port(), echo) as proxy, connect(proxy, 5) as client:
        client.sendall(b"hello")
        assert client.recv(16) == b"hello"


def test_held_bytes_arrive_later(echo: int) -> None:
    """While held, a connection is open and silent; afterwards nothing is missing."""
    with TcpProxy(free_port(), echo) as proxy, connect(proxy) as client:
        client.sendall(b"one")
        assert client.recv(16) == b"one"
        proxy.be("hold")
        client.sendall(b"two")
        with pytest.raises(TimeoutError):
            client.recv(16)
        proxy.be("pass")
        client.settimeout(5)
        assert client.recv(16) == b"two"


def test_refused_clients_are_reset_and_come_back(echo: int) -> None:
    """Open connections break, new ones are refused, and the port is the same afterwards."""
    with TcpProxy(free_port(), echo) as proxy, connect(proxy, 5) as client:
        client.sendall(b"one")
        assert client.recv(16) == b"one"
        proxy.be("refuse")
        with pytest.raises(ConnectionResetError):
            client.recv(16)
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)
        proxy.be("pass")
        with connect(proxy, 5) as again:
            again.sendall(b"two")
            assert again.recv(16) == b"two"


def test_lost_answers_end_the_connection(echo: int) -> None:
    """What went missing is never made up: the connection is reset when answers flow again."""
    with TcpProxy(free_port(), echo) as proxy, connect(proxy) as client:
        proxy.be("deaf")
        client.sendall(b"one")
        with pytest.raises(TimeoutError):
            client.recv(16)
        proxy.be("pass")
        client.settimeout(5)
        with pytest.raises(ConnectionResetError):
            client.recv(16)
