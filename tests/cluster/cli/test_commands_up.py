"""`echorank up`, as a user and a service manager meet it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.cli.command_line import ROOT

# Stands in for cluster.wiring.start, which starts Ray: what `up` does with a system shows without
# one.
FAKE_WIRING = """
import sys, types

class System:
    gateway_address, monitoring_address, scraped_at = "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:2"
    bootstrap_servers, broker_kind = "127.0.0.1:3", "embedded"
    def wait_ready(self, timeout_s, say):
        assert timeout_s is None
        say("Catching up: 5 records behind.")
        print("ready", flush=True)
    def check_alive(self): pass
    def stop(self): print("snapshots written", flush=True)

sys.modules["cluster.wiring.start"] = wiring = types.ModuleType("cluster.wiring.start")
wiring.start_system = lambda settings: System()
import cluster.wiring
cluster.wiring.start = wiring
from cluster.cli.main import app
app(["up"])
"""


@pytest.mark.usefixtures("usual_signals")
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_up_drains_and_stops_on_a_signal(stop: signal.Signals, tmp_path: Path) -> None:
    """SIGTERM and Ctrl-C stop the system in order, and the exit code is 0."""
    with subprocess.Popen(
        [sys.executable, "-c", FAKE_WIRING],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        seen = []
        for line in process.stdout:
            seen.append(line)
            if "broker" in line and "embedded" in line:
                break
        process.send_signal(stop)
        rest, _ = process.communicate(timeout=20)
    assert process.returncode == 0, rest
    assert "ready\n" in seen
    assert any("127.0.0.1:1" in line for line in seen)
    assert rest.splitlines()[-2:] == ["snapshots written", "Stopped."]


def test_up_tells_a_service_manager_how_far_it_is(tmp_path: Path) -> None:
    """systemd's Type=notify: progress, then readiness, then the stop, however long each takes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "NOTIFY_SOCKET": str(tmp_path / "notify")}
        with subprocess.Popen(
            [sys.executable, "-c", FAKE_WIRING], cwd=tmp_path, env=environ
        ) as process:
            told = [manager.recv(1000).decode().splitlines()[0] for _ in range(3)]
            process.send_signal(signal.SIGTERM)
            told.append(manager.recv(1000).decode().splitlines()[0])
    assert told == [
        "STATUS=Starting broker, Ray and actors ...",
        "STATUS=Catching up: 5 records behind.",
        "READY=1",
        "STOPPING=1",
    ]
