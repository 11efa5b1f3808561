"""The faults' own means: a disk that is full, an fsync that is slow, an order that is fair."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.chaos.faults import FAULTS, SHORT, possible, schedule
from tests.chaos.questions import Asked, longest_silence_s
from tests.chaos.targets.disks import SlowDisk, SmallDisk

SYNC = (
    "import os, time; began = time.monotonic(); os.fsync(os.open('.', os.O_RDONLY)); "
    "print(time.monotonic() - began)"
)


def test_a_full_disk_takes_no_byte(tmp_path: Path) -> None:
    """After `fill` every write fails with ENOSPC, after `free` it works,
    after `close` nothing is mounted.
    """
    disk = SmallDisk(tmp_path / "disk", 1 << 20)
    if disk.refused:
        pytest.skip(disk.refused)
    try:
        disk.fill()
        with pytest.raises(OSError, match="No space left") as caught:
            (disk.path / "more").write_bytes(bytes(100))
        assert caught.value.errno == errno.ENOSPC
        disk.free()
        (disk.path / "more").write_bytes(bytes(100))
    finally:
        disk.close()
    assert not os.path.ismount(disk.path)


def test_fsync_is_slow_as_long_as_it_is_told(tmp_path: Path) -> None:
    """A Python process with the folder on its path waits for each fsync,
    and counts it; `normal` ends that.
    """
    disk = SlowDisk(tmp_path / "slow")

    def sync_s() -> float:
        environ = {**os.environ, "PYTHONPATH": str(disk.path)}
        done = subprocess.run(
            [sys.executable, "-c", SYNC], env=environ, cwd=tmp_path, capture_output=True, check=True
        )
        return float(done.stdout)

    disk.slow(0.3)
    assert sync_s() >= 0.3
    assert disk.delayed() == 1
    disk.normal()
    sync_s()
    assert disk.delayed() == 1


def test_every_fault_has_its_turn() -> None:
    """A schedule has the length asked for, strikes evenly, and is the same for the same seed."""
    order = schedule(list(FAULTS), 50, np.random.default_rng(3))
    assert len(order) == 50
    counts = Counter(order)
    assert set(counts) == set(FAULTS)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert order == schedule(list(FAULTS), 50, np.random.default_rng(3))
    assert set(SHORT) <= set(FAULTS)


def test_leaders_die_only_where_others_can_lead() -> None:
    """One broker dies as a whole, of several one that leads; every other fault strikes either."""
    one = set(possible(1))
    several = set(possible(3))
    assert one | several == set(FAULTS)
    assert one - several == {"kill broker", "kill shard + broker"}
    assert several - one == {"kill broker leader", "kill shard + broker leader"}


def test_silence_is_the_longest_time_without_a_good_answer() -> None:
    """Errors do not end it, and the ends of the time count."""
    began = time.monotonic()
    asked = [
        Asked(began + at, 0.0, code, stale=False)
        for at, code in ((1, "OK"), (3, "UNAVAILABLE"), (6, "OK"))
    ]
    assert longest_silence_s(asked, began, began + 8) == pytest.approx(5)
    assert longest_silence_s(asked, began, began + 20) == pytest.approx(14)
    assert longest_silence_s([], began, began + 2) == pytest.approx(2)
