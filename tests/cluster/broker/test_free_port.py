from __future__ import annotations

import socket

import pytest

from actors.errors import ConfigError
from cluster.broker.free_port import HOST, RAY_UP_TO, free_port, lent_from


def test_a_free_port_is_lent_to_nobody_else() -> None:
    """It lies between those of Ray's workers and those of the kernel, where one can listen."""
    port = free_port()
    assert RAY_UP_TO < port < lent_from()
    with socket.create_server((HOST, port)):
        pass


def test_a_port_in_use_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one port to choose from, and somebody there, the error says so."""
    with socket.create_server((HOST, free_port())) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr("cluster.broker.free_port.RAY_UP_TO", port - 1)
        monkeypatch.setattr("cluster.broker.free_port.lent_from", lambda: port + 1)
        with pytest.raises(ConfigError, match=f"no port from {port} to {port} on {HOST} is free"):
            free_port()
