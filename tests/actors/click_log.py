"""A small log of clicks with offset holes, and batches cut from it."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from actors.clicks.click import ClickBatch, key
from actors.clock import ManualClock
from actors.shard.settings import ShardSettings
from actors.shard.shard import Shard
from actors.snapshots.store import SnapshotStore
from model.bundle.bundle import Bundle
from model.config import ModelConfig
from model.network.export import random_bundle
from monitoring.metrics import Metrics

B = TypeVar("B", bound=Bundle)
ITEMS = tuple(f"item-{number}" for number in range(20))
CONFIG = ModelConfig(width=32, expand=2, state_size=4, ring_length=8, tail_length=16, slots=4)


def bundle(seed: int = 0, config: ModelConfig = CONFIG) -> Bundle:
    """A small untrained bundle."""
    return random_bundle(config, ITEMS, seed)


def bundle_of(kind: type[B]) -> B:
    """The same bundle as an instance of a class that overrides something."""
    made = kind.__new__(kind)
    vars(made).update(vars(bundle()))
    return made


class ClickLog:
    """One partition's clicks: `length` offsets of which about a fifth are holes;
    40 users, 25 items, 5 unknown.
    """

    def __init__(self, length: int = 1000, seed: int = 7, partition: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.length = length
        self.partition = partition
        self.offsets = np.flatnonzero(random.random(length) < 0.8)
        n = len(self.offsets)
        self.users = random.integers(0, 40, n).astype(np.uint64) * np.uint64(2**57 + 1)
        known = bundle()._keys
        self.items = np.concatenate([known, np.arange(5, dtype=np.uint64)])[
            random.integers(0, 25, n)
        ]
        self.times_ms = 1_700_000_000_000 + np.cumsum(random.integers(0, 5000, n))

    def batch(self, start: int, stop: int) -> ClickBatch:
        """The clicks of the offsets [start, stop)."""
        at = slice(*np.searchsorted(self.offsets, [start, stop]))
        return ClickBatch(
            partition=self.partition,
            start=start,
            stop=stop,
            offsets=self.offsets[at],
            users=self.users[at],
            items=self.items[at],
            actions=np.full(len(self.offsets[at]), key("click"), dtype=np.uint64),
            times_ms=self.times_ms[at],
            record_ms=self.times_ms[at],
        )

    def all(self) -> ClickBatch:
        """The whole log as one batch."""
        return self.batch(0, self.length)


def deliveries(length: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    """Ranges that cover [0, length) in order, cut anywhere,
    some sent again or overlapping what was sent.
    """
    # so far back, so many offsets
    steps = st.tuples(st.integers(0, length // 4), st.integers(0, length // 3))
    return st.lists(steps, max_size=12).map(lambda drawn: _ranges(drawn, length))


def _ranges(steps: list[tuple[int, int]], length: int) -> list[tuple[int, int]]:
    ranges = []
    reached = 0
    for back, size in steps:
        start = max(0, reached - back)
        ranges.append((start, min(length, start + size)))
        reached = max(reached, ranges[-1][1])
    return [*ranges, (reached, length)]


def shard(
    root: object,
    arms: dict[str, Bundle] | None = None,
    snapshots: SnapshotStore | None = None,
    **settings: Any,
) -> Shard:
    """A shard over a directory, with its own metrics and a clock that stands still."""
    return Shard(
        "shard-0",
        arms or {"main": bundle()},
        snapshots or SnapshotStore.from_uri(str(root), kept=3),
        Metrics(CollectorRegistry()),
        ManualClock(),
        ShardSettings(**{"users_initial": 4, **settings}),
    )


def sample(metrics: Metrics, name: str, **labels: str) -> float:
    """A sample's value, 0 if it is not there."""
    return metrics.registry.get_sample_value(f"echorank_{name}", labels) or 0.0
