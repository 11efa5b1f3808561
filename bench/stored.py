"""A shard whose states lie on a local disk, and clicks for it:
what the durability benchmarks share.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from actors.clicks.click import ClickBatch, key
from actors.clock import SystemClock
from actors.shard.settings import ShardSettings
from actors.shard.shard import Shard
from actors.snapshots.state_file import READ_BYTES
from actors.snapshots.store import SnapshotStore
from bench import untrained
from model.arrays import Keys
from model.bundle.bundle import Bundle
from monitoring.metrics import Metrics

ARM = "main"
ITEMS = 2000
BATCH_EVENTS = 2000  # kafka.records_per_poll_max
START_MS = 1_700_000_000_000
SETTINGS = ShardSettings()  # as shipped


class Clicks:
    """Clicks of `users` users spread evenly over `partitions`, on known items."""

    def __init__(self, users: int, partitions: int, seed: int = 1) -> None:
        self.partitions = partitions
        self._random = np.random.default_rng(seed)
        self._users = [
            self._random.integers(0, 2**63, users // partitions).astype(np.uint64)
            for _ in range(partitions)
        ]
        self._items = np.array([key(name) for name in untrained.catalogue(ITEMS)], dtype=np.uint64)
        self._ends = [0] * partitions

    def of_everybody(self, partition: int, share: float = 1.0) -> Iterator[ClickBatch]:
        """One click of each user of a partition, or of the first `share` of them."""
        users = self._users[partition]
        yield from self._batches(partition, users[: int(len(users) * share)])

    def of_anybody(self, partition: int, events: int) -> Iterator[ClickBatch]:
        """Clicks of users drawn at random, all equally likely."""
        for first in range(0, events, BATCH_EVENTS):
            count = min(BATCH_EVENTS, events - first)
            yield from self._batches(partition, self._random.choice(self._users[partition], count))

    def _batches(self, partition: int, users: Keys) -> Iterator[ClickBatch]:
        for first in range(0, len(users), BATCH_EVENTS):
            part = users[first : first + BATCH_EVENTS]
            start = self._ends[partition]
            self._ends[partition] = stop = start + len(part)
            offsets = np.arange(start, stop)
            yield ClickBatch(
                partition=partition,
                start=start,
                stop=stop,
                offsets=offsets,
                users=part,
                items=self._random.choice(self._items, len(part)),
                actions=np.full(len(part), key("click"), dtype=np.uint64),
                times_ms=START_MS + offsets,
                record_ms=START_MS + offsets,
            )


def shard(
    root: Path, bundle: Bundle, metrics: Metrics, settings: ShardSettings = SETTINGS
) -> Shard:
    """A shard over a directory, with the shipped settings unless others are given."""
    snapshots = SnapshotStore.from_uri(str(root), kept=2)
    return Shard("shard-0", {ARM: bundle}, snapshots, metrics, SystemClock(), settings)


def sample(metrics: Metrics, name: str, **labels: str) -> float:
    """A metric's value."""
    return metrics.registry.get_sample_value(f"echorank_{name}", labels) or 0.0


def read_through(root: Path) -> float:
    """Read all state files and do nothing with them; the seconds."""
    started = time.perf_counter()
    for path in root.rglob("*.arrow"):
        with path.open("rb", buffering=0) as file:
            while file.read(READ_BYTES):
                pass
    return time.perf_counter() - started


def forget_cached(root: Path) -> None:
    """Have the files read from the disk the next time, not from the system's memory."""
    for path in root.rglob("*.arrow"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
