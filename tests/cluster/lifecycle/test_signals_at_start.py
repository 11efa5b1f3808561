"""SIGTERM and Ctrl-C while Ray starts, at whatever moment:
an end in order, and nothing is left running.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.waiting import until

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("usual_signals")]

ROOT = Path(__file__).parents[3]
PROGRAM = """
import sys
sys.path.insert(0, {root!r})
from cluster.wiring import start
from model.network.export import random_bundle
from model.config import ModelConfig
start_system = start.start_system
load = lambda _: random_bundle(ModelConfig(), ("a", "b"))
start.start_system = lambda settings: start_system(settings, load=load)
from cluster.cli.main import app
app(["up"])
"""
# What runs when the signal comes: Ray's control store; its raylet, the last before Ray connects; a
# worker, after that.
MOMENTS = [(signal.SIGINT, "gcs_server"), (signal.SIGTERM, "raylet"), (signal.SIGTERM, "ray::")]


@pytest.mark.parametrize(("number", "moment"), MOMENTS, ids=["store", "raylet", "worker"])
async def test_a_signal_while_ray_starts_ends_in_order(
    number: signal.Signals, moment: str, tmp_path: Path
) -> None:
    """Exit code 0 as after the start, no stack, and neither Ray nor the broker are left."""
    mark = uuid.uuid4().hex
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith("ECHORANK__")
    }
    environ |= {"MARK": mark, "ECHORANK__RAY__CPUS": "1", "PYTHONUNBUFFERED": "1"}
    environ.pop("KAFKA_HOME", None)  # the embedded broker starts sooner
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(root=str(ROOT))],
        cwd=tmp_path,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            await until(
                lambda: process.poll() is not None or any(moment in each for each in marked(mark))
            )
            process.send_signal(number)
            said, _ = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 0, said
    assert "received ***" not in said
    assert "Traceback" not in said
    await until(lambda: not marked(mark), within_s=15)


def marked(mark: str) -> list[str]:
    """The programs of the processes that have the mark in their environment."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if f"MARK={mark}".encode() in folder.joinpath("environ").read_bytes():
                    found.append(folder.joinpath("cmdline").read_bytes().split(b"\0")[0].decode())
            except OSError:  # it has ended, or is somebody else's
                continue
    return found
