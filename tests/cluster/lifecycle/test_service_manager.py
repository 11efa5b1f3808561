"""What systemd is told, over a real socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.lifecycle import service_manager


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Listens as systemd does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(5)
        yield listening


def test_progress_buys_time_and_readiness_is_told_once(
    manager: socket.socket, tmp_path: Path
) -> None:
    """One message each; only the second one counts as started."""
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    service_manager.starting("Catching up: 5 records behind.", environ)
    assert manager.recv(1000).decode().splitlines() == [
        "STATUS=Catching up: 5 records behind.",
        "EXTEND_TIMEOUT_USEC=300000000",
    ]
    service_manager.ready(environ)
    assert manager.recv(1000).decode().splitlines()[0] == "READY=1"
    service_manager.stopping(environ)
    assert manager.recv(1000).decode().splitlines()[0] == "STOPPING=1"


def test_an_abstract_socket_is_found() -> None:
    """Its name begins with @."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0echorank-test-notify")
        listening.settimeout(5)
        service_manager.ready({"NOTIFY_SOCKET": "@echorank-test-notify"})
        assert listening.recv(1000).startswith(b"READY=1")


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}])
def test_without_a_service_manager_nothing_is_told(environ: dict[str, str]) -> None:
    """As from a shell; other kinds of sockets are left alone."""
    service_manager.ready(environ)


def test_a_service_manager_that_does_not_listen_is_no_reason_to_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged."""
    service_manager.ready({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    assert "cannot be told READY=1" in caplog.text
