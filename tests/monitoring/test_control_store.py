"""Ray's control store is found by its session, measured, found again,
and left out where it does not run.
"""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

from prometheus_client import CollectorRegistry

from monitoring.control_store import ControlStore
from monitoring.metrics import Metrics

NAME = "echorank_ray_control_store_bytes"
PAGE = os.sysconf("SC_PAGE_SIZE")


def runs(
    proc: Path, pid: int, session: str, pages: int, program: str = "/ray/gcs/gcs_server"
) -> Path:
    """A process as /proc shows it."""
    folder = proc / str(pid)
    folder.mkdir(parents=True)
    folder.joinpath("cmdline").write_bytes(
        b"\0".join([program.encode(), f"--session-name={session}".encode(), b""])
    )
    folder.joinpath("statm").write_text(f"9999 {pages} 1 1 0 1 0\n")
    return folder


def test_the_control_store_of_this_session_is_measured(tmp_path: Path) -> None:
    """Another cluster's on the same machine, and other programs of this one, are not."""
    runs(tmp_path, 10, "other", 7)
    runs(tmp_path, 11, "mine", 13, program="/ray/raylet/raylet")
    runs(tmp_path, 12, "mine", 100)
    tmp_path.joinpath("13").mkdir()  # ended while it was looked at
    metrics = Metrics(CollectorRegistry())
    ControlStore("mine", tmp_path).export(metrics)
    assert metrics.registry.get_sample_value(NAME, {"program": "gcs_server"}) == 100 * PAGE


def test_a_control_store_that_was_restarted_is_found_again(tmp_path: Path) -> None:
    """Meanwhile it is nothing, not its last size."""
    first = runs(tmp_path, 12, "mine", 100)
    store = ControlStore("mine", tmp_path)
    assert store.resident_bytes() == 100 * PAGE
    shutil.rmtree(first)
    assert math.isnan(store.resident_bytes())
    runs(tmp_path, 77, "mine", 50)
    assert store.resident_bytes() == 50 * PAGE


def test_a_control_store_on_another_machine_has_no_series(tmp_path: Path) -> None:
    """Only the process beside it shows it; a system without /proc shows nothing."""
    for proc in (tmp_path, tmp_path / "missing"):
        metrics = Metrics(CollectorRegistry())
        ControlStore("mine", proc).export(metrics)
        assert metrics.registry.get_sample_value(NAME, {"program": "gcs_server"}) is None
