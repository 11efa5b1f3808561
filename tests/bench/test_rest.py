"""What the memory of a system at rest is read from, and how its growth is counted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench import rest

PAGE = os.sysconf("SC_PAGE_SIZE")


def runs(proc: Path, pid: int, parent: int, command: str, pages: int) -> None:
    """A process as /proc shows it; its name has a bracket and a blank, as a name may."""
    folder = proc / str(pid)
    folder.mkdir(parents=True)
    folder.joinpath("stat").write_text(f"{pid} (a) b) S {parent} 1 1 0")
    folder.joinpath("cmdline").write_bytes(command.replace(" ", "\0").encode() + b"\0")
    folder.joinpath("statm").write_text(f"9999 {pages} 1 1 0 1 0\n")


def test_only_what_was_started_here_counts(tmp_path: Path) -> None:
    """Ray's processes by their programs, actors by their ids;
    other clusters and other programs are left out.
    """
    runs(tmp_path, 1, 0, "init", 1)
    runs(tmp_path, 10, 1, "python -m bench.rest", 2)
    runs(tmp_path, 11, 10, "/ray/gcs/gcs_server --port=0", 3)
    runs(tmp_path, 12, 10, "/ray/raylet/raylet --head", 4)
    runs(tmp_path, 13, 12, "ray::shard-0", 5)
    runs(tmp_path, 14, 12, "ray::DashboardAgent", 6)
    runs(tmp_path, 15, 12, "ray::IDLE", 7)
    runs(tmp_path, 20, 1, "/ray/gcs/gcs_server --port=0", 8)
    found = rest.below(10, list(rest.processes(tmp_path)))
    sizes = {rest.named(each, {13: "shard-0"}): each.resident_bytes // PAGE for each in found}
    assert sizes == {"control store": 3, "raylet": 4, "shard-0": 5, "agent": 6, None: 7}


def test_growth_is_that_of_the_second_half() -> None:
    """What a process takes while it warms up is no growth;
    a steady one is found, in bytes an hour.
    """
    seconds = [60.0 * minute for minute in range(60)]
    warming = [min(minute, 20) * 1_000_000 for minute in range(60)]
    assert rest.slope(seconds, warming) == pytest.approx(0, abs=1e-3)
    assert rest.slope(seconds, [1_000_000 * minute for minute in range(60)]) == pytest.approx(
        60_000_000
    )


def test_the_report_has_a_row_for_each_process() -> None:
    """Also for one that was seen too seldom to tell how it grows."""
    series = {
        "raylet": [(0.0, 2 << 20), (30.0, 3 << 20)],
        "agent": [(30.0 * n, (1 << 20) + n) for n in range(10)],
    }
    rows = rest.summary(series)
    assert [(row["process"], row["samples"], row["bytes_per_hour"]) for row in rows] == [
        ("agent", 10, 120),
        ("raylet", 2, None),
    ]
    assert "| raylet | 2.0 | 3.0 | 3.0 | - |" in rest.markdown(rows, {"commit": "abc"})
